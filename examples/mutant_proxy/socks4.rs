//! SOCKS4, and its extension 4A.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::mutation::Mutation;
use crate::options::{Options, Protocol};
use crate::outgoing::Target;
use crate::serve::{self, Replies};
use crate::wire::{Wire, invalid};

/// The longest user and name.
const LONGEST: usize = 255;
/// Result codes: granted, rejected, and rejected because the user is another one.
const GRANTED: u8 = 0x5a;
const REJECTED: u8 = 0x5b;
const OTHER_USER: u8 = 0x5d;

const REPLIES: Replies = Replies {
    success: |options, address| reply(options, GRANTED, address),
    failure: |options, _| failure(options, REJECTED),
};

pub(crate) fn serve(mut wire: Wire) -> io::Result<()> {
    let options = wire.options;
    wire.begin();
    let [version, command] = wire.array()?;
    if version != 4 && !options.has(Mutation::IgnoresVersion) {
        return Err(invalid(format!("version {version}")));
    }
    let port = u16::from_be_bytes(wire.array()?);
    let ip = Ipv4Addr::from(wire.array::<4>()?);
    let user = text(&mut wire)?;
    // 4A: an address that cannot be, and then a name.
    let is_named = ip.octets()[..3] == [0; 3] && ip.octets()[3] != 0;
    let target = match is_named && options.protocol == Protocol::Socks4a {
        true => Target::Name(
            String::from_utf8_lossy(&text(&mut wire)?).into_owned(),
            port,
        ),
        false => Target::Address(SocketAddr::new(ip.into(), port)),
    };
    let Some(wire) = serve::opening(wire, b"HTTP/1.1 400 Bad Request\r\n\r\n")? else {
        return Ok(());
    };
    let right_user = options.login.as_ref().map(|(user, _)| user);
    if right_user.is_some_and(|right| *right != user) && !options.has(Mutation::AcceptsAnyUser) {
        return wire.fail(&failure(options, OTHER_USER));
    }
    match command {
        1 => serve::establish(wire, &target, &REPLIES),
        2 => serve::bind(wire, &target, &REPLIES),
        _ if options.has(Mutation::TakesAnyCommand) => serve::establish(wire, &target, &REPLIES),
        _ => wire.fail(&failure(options, REJECTED)),
    }
}

/// Up to the next NUL.
fn text(wire: &mut Wire) -> io::Result<Vec<u8>> {
    let text = wire.until(&[0], LONGEST)?;
    text.filter(|text| text.len() <= LONGEST)
        .ok_or_else(|| invalid("a text beyond 255 bytes"))
}

fn failure(options: &Options, code: u8) -> Vec<u8> {
    let code = match () {
        () if options.has(Mutation::OneFailureCode) => REJECTED,
        () if options.has(Mutation::UnknownFailureCode) => 5,
        () => code,
    };
    reply(options, code, SocketAddr::from(([0; 4], 0)))
}

/// The version of a reply is 0. An IPv6 address does not fit, and zeros stand for it.
fn reply(options: &Options, code: u8, address: SocketAddr) -> Vec<u8> {
    let version = match options.has(Mutation::WrongVersion) {
        true => 4,
        false => 0,
    };
    let (ip, port) = match address.ip() {
        IpAddr::V4(ip) => (ip, address.port()),
        IpAddr::V6(_) => (Ipv4Addr::UNSPECIFIED, 0),
    };
    let port = port.to_be_bytes();
    [&[version, code][..], &port, &ip.octets()].concat()
}
