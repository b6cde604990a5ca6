//! Forwarders: what connects is connected to the service, which may be told from where by a header of
//! the PROXY protocol.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use crate::mutation::Mutation;
use crate::options::{Options, Protocol};
use crate::outgoing::{self, Target};
use crate::relay;
use crate::wire::Wire;

/// How a header of version 2 begins (section 2.2 of the protocol's text).
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

pub(crate) fn serve(wire: Wire) -> io::Result<()> {
    let options = wire.options;
    let service = options
        .service
        .expect("the command line was checked for it");
    let mut service = match outgoing::connect(options, &Target::Address(service)) {
        Ok(service) => service,
        // All that a forwarder can tell is an end.
        Err(error) => return wire.close().and(Err(error)),
    };
    let (client, early) = wire.finish()?;
    let header = header(options, client.peer_addr()?, client.local_addr()?);
    match options.slow {
        true => header
            .chunks(1)
            .try_for_each(|byte| service.write_all(byte))?,
        false => service.write_all(&header)?,
    }
    relay::run(options, client, early, service, Vec::new())
}

fn header(options: &Options, mut from: SocketAddr, mut to: SocketAddr) -> Vec<u8> {
    if options.has(Mutation::HeaderSwapped) {
        (from, to) = (to, from);
    }
    if options.has(Mutation::HeaderOtherPort) {
        from.set_port(from.port() ^ 1);
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
