//! The choice of a method (RFC 1928 section 3).

use super::{method, no_credentials, own_method};
use crate::proto::socks5::{NO_AUTHENTICATION, NO_METHOD, USER_PASSWORD};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::wire::{CLOSE_LIMIT, Wire};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::suites::conformance::credentials;

/// Statement 1.
pub(super) fn no_auth(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    no_credentials(context)?;
    wire.send(&[5, 1, 0])?;
    method(wire, &[NO_AUTHENTICATION]).map(drop)
}

/// Statement 2. A program may be made to prefer either.
pub(super) fn choice(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    no_credentials(context)?;
    wire.send(&[5, 2, 0, 2])?;
    method(wire, &[NO_AUTHENTICATION, USER_PASSWORD]).map(drop)
}

/// Statements 3 to 5.
pub(super) fn only<const METHOD: u8>(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    if METHOD == USER_PASSWORD {
        no_credentials(context)?;
    }
    wire.send(&[5, 1, METHOD])?;
    method(wire, &[NO_METHOD, METHOD]).map(drop)
}

/// Statement 6.
pub(super) fn no_methods(_: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(&[5, 0])?;
    // Whoever waits for more gets an end.
    wire.half_close();
    no_method(wire)
}

/// Statement 7.
pub(super) fn most_methods(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let own = own_method(context);
    let mut greeting = vec![0x80; 257];
    greeting[..2].copy_from_slice(&[5, 255]);
    greeting[256] = own;
    wire.send(&greeting)?;
    method(wire, &[own]).map(drop)
}

/// Statement 8.
pub(super) fn version<const VERSION: u8>(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    wire.send(&[VERSION, 1, own_method(context)])?;
    no_method(wire)
}

/// Statement 9.
pub(super) fn http(_: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(b"GET / HTTP/1.0\r\n\r\n")?;
    no_method(wire)
}

/// Statement 13.
pub(super) fn login_required(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    credentials(context)?;
    wire.send(&[5, 1, 0])?;
    method(wire, &[NO_METHOD]).map(drop)
}

/// Statement 14.
pub(super) fn login_chosen(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    credentials(context)?;
    wire.send(&[5, 2, 0, 2])?;
    method(wire, &[USER_PASSWORD]).map(drop)
}

/// The end of statements 3 and 13. The standard has the client close; a server need not trust it.
pub(super) fn closes(_: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(&[5, 1, 0x80])?;
    match method(wire, &[NO_METHOD, 0x80])? {
        NO_METHOD => wire.closes(CLOSE_LIMIT),
        _ => Err(CheckError::Skipped("it takes the method 80".to_owned())),
    }
}

/// Statement 58.
pub(super) fn socks4(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let std::net::SocketAddr::V4(service) = context.route().service else {
        return Err(CheckError::Skipped(
            "SOCKS4 has no IPv6 addresses".to_owned(),
        ));
    };
    let mut request = vec![4, 1];
    request.extend(service.port().to_be_bytes());
    request.extend(service.ip().octets());
    request.extend(b"u\0");
    wire.send(&request)?;
    let came = wire.end.take_up_to("the connection to be closed", 2)?;
    match came[..] {
        // Whoever says so must mean it.
        [0, 0x5a] => {
            wire.end.take("the rest of the reply", 6)?;
            wire.carries(context, None, b"")?;
            context.note("it speaks SOCKS4 too");
            Ok(())
        }
        [] => Ok(()),
        _ => wire.rest().map(drop),
    }
}

/// The program closes, and has not chosen a method.
fn no_method(wire: &mut Wire) -> Result<(), CheckError> {
    let came = wire.rest()?;
    match came[..] {
        [5, method, ..] if method != NO_METHOD => {
            Err(wire.failed(format!("the program chooses method {method:02x}")))
        }
        _ => Ok(()),
    }
}
