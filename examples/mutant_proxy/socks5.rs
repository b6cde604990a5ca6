//! SOCKS5 (RFC 1928), with user and password (RFC 1929).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process;

use crate::mutation::Mutation;
use crate::options::Options;
use crate::outgoing::Target;
use crate::serve::{self, Proxy, Replies};
use crate::udp;
use crate::wire::{Wire, invalid};

const REPLIES: Replies = Replies {
    success: |options, address| reply(options, 0, address),
    failure: |options, error| failure(options, code(error)),
};

/// Reply codes (RFC 1928 section 6).
const GENERAL: u8 = 1;
const REFUSED: u8 = 5;
const UNKNOWN_COMMAND: u8 = 7;
const UNKNOWN_ADDRESS_TYPE: u8 = 8;

pub(crate) fn serve(proxy: &Proxy, mut wire: Wire) -> io::Result<()> {
    let options = wire.options;
    wire.begin();
    let [version, count] = wire.array()?;
    if version == 4 && options.has(Mutation::GrantsSocks4) {
        wire.answer(&[0, 0x5a, 0, 0, 0, 0, 0, 0])?;
        return wire.close();
    }
    if version != 5 && !options.has(Mutation::IgnoresVersion) {
        return Err(invalid(format!("version {version}")));
    }
    if count > 127 && options.has(Mutation::SignedMethodCount) {
        return Err(invalid(format!("{} methods", count as i8)));
    }
    let methods = wire.bytes(count.into())?;
    let garbage = b"HTTP/1.1 400 Bad Request\r\n\r\n";
    let Some(mut wire) = serve::opening(wire, garbage)? else {
        return Ok(());
    };
    if options.has(Mutation::DropsPipelined) {
        wire.forget();
    }
    let Some(method) = choose(options, &methods) else {
        return wire.fail(&[own_version(options), 0xff]);
    };
    wire.answer(&[own_version(options), method])?;
    let mut version = None;
    if method == 2 {
        let Some((back, read)) = login(proxy, wire)? else {
            return Ok(());
        };
        (wire, version) = (back, read);
    }
    request(wire, version)
}

/// Encodes an address as in requests, replies and datagrams (RFC 1928 section 5).
pub(crate) fn encode(options: &Options, address: SocketAddr) -> Vec<u8> {
    let host = match address.ip() {
        IpAddr::V4(ip) if options.has(Mutation::TellsMapped) => {
            [&[4][..], &ip.to_ipv6_mapped().octets()].concat()
        }
        IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
    };
    [&host[..], &address.port().to_be_bytes()].concat()
}

/// A failure (RFC 1928 section 6), with zeros as its address.
pub(crate) fn failure(options: &Options, code: u8) -> Vec<u8> {
    let code = match () {
        () if options.has(Mutation::OneFailureCode) => GENERAL,
        () if options.has(Mutation::UnknownFailureCode) => 0x5b,
        () => code,
    };
    reply(options, code, SocketAddr::from(([0; 4], 0)))
}

pub(crate) fn reply(options: &Options, code: u8, address: SocketAddr) -> Vec<u8> {
    let reserved = u8::from(options.has(Mutation::ReservedNotZero));
    let mut reply = vec![own_version(options), code, reserved];
    let port = address.port().to_be_bytes();
    match () {
        () if options.has(Mutation::TellsName) => reply.extend([&b"\x03\x01a"[..], &port].concat()),
        () if options.has(Mutation::TellsEmptyName) => {
            reply.extend([&b"\x03\x00"[..], &port].concat());
        }
        () => reply.extend(encode(options, address)),
    }
    if options.has(Mutation::WrongAddressType) {
        reply[3] ^= 1 ^ 4;
    }
    reply
}

fn own_version(options: &Options) -> u8 {
    match options.has(Mutation::WrongVersion) {
        true => 4,
        false => 5,
    }
}

/// The method for a client that offers `methods` (RFC 1928 section 3).
fn choose(options: &Options, methods: &[u8]) -> Option<u8> {
    let methods = match options.has(Mutation::LastMethodOnly) {
        true => &methods[methods.len().saturating_sub(1)..],
        false => methods,
    };
    let offered = |method: u8| methods.contains(&method).then_some(method);
    match () {
        () if options.has(Mutation::NoMethod) => None,
        () if options.has(Mutation::OtherMethod) => Some(2),
        () if options.has(Mutation::MethodNotOffered) => Some(0),
        () if options.login.is_none() => offered(0),
        () if options.has(Mutation::NeedsNoLogin) => offered(0).or(offered(2)),
        () => offered(2),
    }
}

/// The sub-negotiation (RFC 1929 section 2). `None` means that the client was turned away; a number is
/// the version of a request that has come in its place.
fn login(proxy: &Proxy, mut wire: Wire) -> io::Result<Option<(Wire, Option<u8>)>> {
    let options = wire.options;
    let own = match options.has(Mutation::LoginVersionFive) {
        true => 5,
        false => 1,
    };
    wire.begin();
    let [version] = wire.array()?;
    if version == 5 && options.has(Mutation::SkipsLogin) {
        return Ok(Some((wire, Some(version))));
    }
    if version != 1 && !options.has(Mutation::IgnoresLoginVersion) {
        return wire.fail(&[own, 1]).map(|()| None);
    }
    let [length] = wire.array()?;
    let user = wire.bytes(length.into())?;
    let [length] = wire.array()?;
    let password = wire.bytes(length.into())?;
    if user.len() == 255 && options.has(Mutation::DiesOnLongLogin) {
        process::exit(134);
    }
    let from = wire.stream.peer_addr()?.ip();
    if proxy.logins.check(options, from, &user, &password) {
        wire.answer(&[own, 0])?;
    } else if options.has(Mutation::GoesOnAfterBadLogin) {
        wire.answer(&[own, 1])?;
    } else {
        return wire.fail(&[own, 1]).map(|()| None);
    }
    Ok(Some((wire, None)))
}

fn request(mut wire: Wire, version: Option<u8>) -> io::Result<()> {
    let options = wire.options;
    wire.begin();
    let version = match version {
        Some(version) => version,
        None => wire.array::<1>()?[0],
    };
    let [command, reserved, kind] = wire.array()?;
    if reserved != 0 && options.has(Mutation::ChecksReserved) {
        return Err(invalid(format!("reserved byte {reserved}")));
    }
    if version != 5 && !options.has(Mutation::IgnoresVersion) {
        return wire.fail(&failure(options, GENERAL));
    }
    let kind = match kind {
        1 | 3 | 4 => kind,
        _ if options.has(Mutation::TakesAnyAddressType) => 1,
        _ => return wire.fail(&failure(options, UNKNOWN_ADDRESS_TYPE)),
    };
    let target = read_target(&mut wire, kind)?;
    match command {
        1 => serve::establish(wire, &target, &REPLIES),
        2 if options.has(Mutation::NoBind) => wire.fail(&failure(options, REFUSED)),
        2 => serve::bind(wire, &target, &REPLIES),
        3 if !options.has(Mutation::NoUdp) => udp::associate(wire, &target),
        _ if options.has(Mutation::TakesAnyCommand) => serve::establish(wire, &target, &REPLIES),
        _ => wire.fail(&failure(options, UNKNOWN_COMMAND)),
    }
}

fn read_target(wire: &mut Wire, kind: u8) -> io::Result<Target> {
    let ip: IpAddr = match kind {
        1 => wire.array::<4>()?.into(),
        4 => wire.array::<16>()?.into(),
        _ => {
            let [length] = wire.array()?;
            let name = wire.bytes(length.into())?;
            let port = u16::from_be_bytes(wire.array()?);
            return Ok(Target::Name(
                String::from_utf8_lossy(&name).into_owned(),
                port,
            ));
        }
    };
    let port = u16::from_be_bytes(wire.array()?);
    Ok(Target::Address(SocketAddr::new(ip, port)))
}

fn code(error: &io::Error) -> u8 {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, PermissionDenied,
        TimedOut,
    };
    match error.kind() {
        PermissionDenied => 2,
        NetworkUnreachable => 3,
        HostUnreachable | TimedOut | NotFound => 4,
        ConnectionRefused => REFUSED,
        _ => GENERAL,
    }
}
