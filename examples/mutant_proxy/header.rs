//! Forwarders: what connects is connected to the service, which may be told from where by a header of
//! the PROXY protocol.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Mutex;

use socket2::SockRef;

use crate::mutation::Mutation;
use crate::options::{Options, Protocol};
use crate::outgoing::{self, Target};
use crate::relay;
use crate::wire::{Wire, is_passing};

/// How a header of version 1 begins (section 2.1 of the protocol's text), and one of version 2 (section 2.2).
const WORD: &[u8] = b"PROXY ";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 2 has before the addresses.
const FIXED: usize = 16;

pub(crate) fn serve(mut wire: Wire) -> io::Result<()> {
    let options = wire.options;
    let service = options
        .service
        .expect("the command line was checked for it");
    if options.has(Mutation::ConnectsWhenSpokenTo) {
        // An end is as good as a word.
        let _ = wire.peek();
    }
    if options.has(Mutation::LooksFirst) {
        drop(outgoing::connect(options, &Target::Address(service)));
    }
    let mut service = match outgoing::connect(options, &Target::Address(service)) {
        Ok(service) => service,
        // All that a forwarder can tell is an end.
        Err(error) => return wire.close().and(Err(error)),
    };
    let (client, early) = wire.finish()?;
    let (from, to) = match options.has(Mutation::HeaderOfOpen) {
        true => of_open(&client)?,
        false => (client.peer_addr()?, client.local_addr()?),
    };
    let header = header(options, from, to);
    match options.slow {
        true => header
            .chunks(1)
            .try_for_each(|byte| service.write_all(byte))?,
        false => service.write_all(&header)?,
    }
    relay::run(options, client, early, service, Vec::new())
}

/// The connection before, for what mixes it up with the next one.
static BEFORE: Mutex<Option<TcpStream>> = Mutex::new(None);

/// The addresses of the connection before if its client has not ended it, otherwise those of this one.
fn of_open(client: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    let mut before = BEFORE.lock().expect("no thread panics with it");
    let before = before.replace(client.try_clone()?);
    let open = before.filter(is_open);
    let stream = open.as_ref().unwrap_or(client);
    Ok((stream.peer_addr()?, stream.local_addr()?))
}

/// Whether the client has not ended it, as far as the system knows yet.
fn is_open(stream: &TcpStream) -> bool {
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    let peeked = SockRef::from(stream).recv_with_flags(&mut [MaybeUninit::uninit()], flags);
    match peeked {
        Ok(count) => count > 0,
        Err(error) => is_passing(&error),
    }
}

fn header(options: &Options, mut from: SocketAddr, mut to: SocketAddr) -> Vec<u8> {
    if options.has(Mutation::HeaderSwapped) {
        (from, to) = (to, from);
    }
    if options.has(Mutation::HeaderOtherPort) {
        from.set_port(from.port() ^ 1);
    }
    if options.has(Mutation::TellsMapped) {
        (from, to) = (mapped(from), mapped(to));
    }
    let mut header = match options.protocol {
        Protocol::ProxyV1 => version_1(options, from, to),
        Protocol::ProxyV2 => version_2(options, from, to),
        _ => return Vec::new(),
    };
    match () {
        () if options.has(Mutation::NoHeader) => header.clear(),
        () if options.has(Mutation::HeaderTwice) => header.extend_from_within(..),
        () if options.has(Mutation::HeaderCut) => drop(header.pop()),
        () => {}
    }
    header
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// How long the header is with which `data` begins, zero if it begins with something else. `None` means that
/// more must come to tell.
pub(crate) fn length(data: &[u8]) -> Option<usize> {
    let may_begin = |with: &[u8]| data.starts_with(with) || with.starts_with(data);
    match () {
        () if may_begin(WORD) => {
            let line = data.windows(2).position(|pair| pair == b"\r\n");
            line.map(|at| at + 2)
        }
        () if may_begin(SIGNATURE) => {
            let rest = data.get(FIXED - 2..FIXED)?.try_into().ok()?;
            let all = FIXED + usize::from(u16::from_be_bytes(rest));
            (data.len() >= all).then_some(all)
        }
        () => Some(0),
    }
}

/// A line of text (section 2.1).
fn version_1(options: &Options, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    if options.has(Mutation::HeaderUnknown) {
        return b"PROXY UNKNOWN\r\n".to_vec();
    }
    let family = match from.is_ipv4() != options.has(Mutation::HeaderOtherFamily) {
        true => "TCP4",
        false => "TCP6",
    };
    let (from_ip, to_ip) = (from.ip(), to.ip());
    let (from, to) = (from.port(), to.port());
    format!("PROXY {family} {from_ip} {to_ip} {from} {to}\r\n").into_bytes()
}

/// The signature, version 2 and command PROXY, family and STREAM, a length and the addresses.
fn version_2(options: &Options, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    if options.has(Mutation::HeaderUnknown) {
        return [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    }
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut body = [octets(from.ip()), octets(to.ip())].concat();
    body.extend(from.port().to_be_bytes());
    body.extend(to.port().to_be_bytes());
    let family = match from.is_ipv4() != options.has(Mutation::HeaderOtherFamily) {
        true => 0x11,
        false => 0x21,
    };
    let length = u8::try_from(body.len()).expect("at most 36");
    [SIGNATURE, &[0x21, family, 0, length], &body].concat()
}
