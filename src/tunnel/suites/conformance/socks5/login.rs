//! User and password (RFC 1929).

use super::{granted, method, own_host, request};
use crate::proto::socks5::{self, CONNECT, USER_PASSWORD};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::wire::{CLOSE_LIMIT, Wire};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::suites::conformance::{credentials, not_reached, other_behind_colon};

/// Statement 15.
pub(super) fn right(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    match login(wire, 1, user, password)? {
        Some(0) => {}
        status => return Err(wire.failed(denial(status))),
    }
    let (host, port) = own_host(context);
    wire.send(&request(CONNECT, &host, port)?)?;
    granted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 16.
pub(super) fn wrong_password(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    let wrong: Vec<u8> = password.iter().map(|byte| byte ^ 1).collect();
    denied(context, wire, user, &wrong)
}

pub(super) fn wrong_user(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    let wrong: Vec<u8> = user.iter().map(|byte| byte ^ 1).collect();
    denied(context, wire, &wrong, password)
}

/// Statement 17.
pub(super) fn password_prefix(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    match credentials(context)? {
        (user, [prefix @ .., _]) if !prefix.is_empty() => denied(context, wire, user, prefix),
        _ => Err(CheckError::Skipped(
            "the password has one byte only".to_owned(),
        )),
    }
}

/// Statement 18.
pub(super) fn password_nul(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    if password.len() == 255 {
        return Err(CheckError::Skipped("the password has 255 bytes".to_owned()));
    }
    denied(context, wire, user, &[password, b"\0"].concat())
}

/// The colon of statement 15.
pub(super) fn password_colon(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    denied(context, wire, user, &other_behind_colon(password)?)
}

/// Statement 19.
pub(super) fn empty(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    context.still_works()?;
    match login(wire, 1, b"", b"")? {
        Some(0) => Err(wire.failed("an empty user and password are taken")),
        _ => not_reached(context, wire),
    }
}

/// Statement 20.
pub(super) fn version(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    greet(wire)?;
    wire.send(&encode(5, user, password))?;
    refused_login(context, wire)
}

/// Statement 21.
pub(super) fn longest(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    denied(context, wire, &[b'u'; 255], &[b'p'; 255])
}

/// Statement 23.
pub(super) fn left_out(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    greet(wire)?;
    let (host, port) = own_host(context);
    wire.send(&request(CONNECT, &host, port)?)?;
    // Whoever takes it for the beginning of a login gets an end.
    wire.half_close();
    refused_login(context, wire)
}

/// The program says no and closes, also right after it has said yes to others, and serves no request
/// that comes nevertheless.
fn denied(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    user: &[u8],
    password: &[u8],
) -> Result<(), CheckError> {
    context.still_works()?;
    match login(wire, 1, user, password)? {
        Some(status) if status != 0 => {}
        Some(_) => return Err(wire.failed("the login is taken")),
        None => return Err(wire.failed(denial(None))),
    }
    let (host, port) = own_host(context);
    wire.send(&request(CONNECT, &host, port)?)?;
    wire.closes(CLOSE_LIMIT)?;
    not_reached(context, wire)
}

/// The program says no in whichever version, or nothing, and closes.
fn refused_login(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    match wire.end.take_up_to("the password reply", 2)?[..] {
        [_, 0] => return Err(wire.failed("the program says yes")),
        _ => wire.rest()?,
    };
    not_reached(context, wire)
}

/// Logs in; the status, or `None` if the program closes in place of it.
fn login(
    wire: &mut Wire,
    version: u8,
    user: &[u8],
    password: &[u8],
) -> Result<Option<u8>, CheckError> {
    greet(wire)?;
    wire.send(&encode(version, user, password))?;
    wire.message("the password reply", socks5::credentials_reply)
}

fn greet(wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(&[5, 1, USER_PASSWORD])?;
    method(wire, &[USER_PASSWORD]).map(drop)
}

/// Also what the standard does not allow.
fn encode(version: u8, user: &[u8], password: &[u8]) -> Vec<u8> {
    let counted = |text: &[u8]| [&[text.len() as u8], text].concat();
    [vec![version], counted(user), counted(password)].concat()
}

fn denial(status: Option<u8>) -> String {
    match status {
        Some(status) => format!("the login fails with status {status:02x}"),
        None => "the program closes in place of the password reply".to_owned(),
    }
}
