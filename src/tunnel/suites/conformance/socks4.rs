//! SOCKS4 and its extension 4a, by their memos.

use std::net::{SocketAddr, SocketAddrV4};

use super::{Refusing, come, impossible_name, localhost, not_reached, statements};
use crate::proto::socks4::{self, BIND, CONNECT, Host, Reply};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{Checks, Routes, SuiteDef};
use crate::tunnel::check::wire::{CLOSE_LIMIT, Wire};
use crate::tunnel::core::check_error::CheckError;

/// The suite's table: what SOCKS4 and 4a have in common, and more statements that are checked in pieces too.
macro_rules! suite {
    ($name:literal { $($more:tt)* }) => {
        SuiteDef {
            name: $name,
            routes: Routes::First,
            applies: |_| Ok(()),
            checks: Checks::RequireConnection(statements! {
                cut {
                    Must "connect" "CONNECT is granted by 00 5a and six bytes, and carries" "SOCKS4 memo, CONNECT" connect;
                    Must "refused" "a refused connection gets 00 5b and six bytes" "SOCKS4 memo, CONNECT" refused;
                    Must "closes" "after a failure the program closes" "SOCKS4 memo, CONNECT" closes;
                    Must "bind" "BIND tells where it listens and who has connected, and carries" "SOCKS4 memo, BIND" bind;
                    Must "command" "the command 09 gets 00 5b or a close" "SOCKS4 memo" command;
                    Must "version-0" "version 00 gets no connection" "SOCKS4 memo, CONNECT" version::<0>;
                    Must "version-3" "version 03 gets no connection" "SOCKS4 memo, CONNECT" version::<3>;
                    Must "port-0" "CONNECT to port 0 gets a failure" "SOCKS4 memo, CONNECT" port_0;
                    Harness "http" "GET / HTTP/1.0 gets no connection, and a close" "harness" http;
                    Harness "early-data" "data in one segment with the request reaches the service" "harness" early_data;
                    $($more)*
                }
                whole {
                    Harness "half-request" "the end after half a request is followed by a close within 2 seconds" "harness" half_request;
                }
            }),
        }
    };
}

/// The suite for SOCKS4.
pub(super) const SUITE: SuiteDef = suite!("socks4" {});

/// The suite for SOCKS4a: all of SOCKS4, and names.
pub(super) const SUITE_4A: SuiteDef = suite!("socks4a" {
    Must "name" "CONNECT to localhost by name is granted" "SOCKS4a memo" name;
    Harness "name-literal" "CONNECT by a name that is an address in text form is granted" "harness" name_literal;
    Must "unknown-name" "a name that cannot exist gets a failure" "SOCKS4a memo" unknown_name;
    Harness "longest-name" "a name of 255 bytes that cannot exist gets a failure or a close" "harness" longest_name;
});

/// Statement 54.
fn connect(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context)?;
    wire.send(&request(context, CONNECT, &host, port)?)?;
    granted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 55.
fn refused(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let refusing = Refusing::new(context)?;
    let host = ipv4(refusing.address)?;
    wire.send(&request(context, CONNECT, &host, refusing.address.port())?)?;
    match wire.answer("the reply", socks4::reply)?.code {
        0x5b => Ok(()),
        code => Err(wire.failed(format!(
            "the reply code is {code:02x}, {}",
            socks4::meaning(code)
        ))),
    }
}

fn closes(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    refused(context, wire)?;
    wire.closes(CLOSE_LIMIT)
}

/// Statement 56.
fn name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let service = localhost(context)?;
    let host = Host::Name(b"localhost".to_vec());
    wire.send(&request(context, CONNECT, &host, service.port())?)?;
    granted(wire)?;
    wire.carries(context, Some(&service), b"").map(drop)
}

fn name_literal(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let service = context.route().service;
    let host = Host::Name(service.ip().to_string().into_bytes());
    wire.send(&request(context, CONNECT, &host, service.port())?)?;
    granted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

fn unknown_name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask_impossible(context, wire, 64)?;
    let reply = wire.answer("the reply", socks4::reply)?;
    denied(context, wire, Some(reply))
}

fn longest_name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask_impossible(context, wire, 255)?;
    failure_or_close(context, wire)
}

fn ask_impossible(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    length: usize,
) -> Result<(), CheckError> {
    let port = context.route().service.port();
    let host = Host::Name(impossible_name(length));
    wire.send(&request(context, CONNECT, &host, port)?)
}

/// Statement 57.
fn command(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context)?;
    wire.send(&request(context, 9, &host, port)?)?;
    failure_or_close(context, wire)
}

fn version<const VERSION: u8>(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (host, port) = own_host(context)?;
    let mut message = request(context, CONNECT, &host, port)?;
    message[0] = VERSION;
    wire.send(&message)?;
    no_grant(context, wire)
}

fn port_0(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, _) = own_host(context)?;
    wire.send(&request(context, CONNECT, &host, 0)?)?;
    let reply = wire.answer("the reply", socks4::reply)?;
    denied(context, wire, Some(reply))
}

fn http(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(b"GET / HTTP/1.0\r\n\r\n")?;
    no_grant(context, wire)
}

fn early_data(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let data = b"early\x00\xff";
    let (host, port) = own_host(context)?;
    let mut message = request(context, CONNECT, &host, port)?;
    message.extend(data);
    wire.send(&message)?;
    granted(wire)?;
    wire.carries(context, None, data).map(drop)
}

fn bind(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context)?;
    wire.send(&request(context, BIND, &host, port)?)?;
    let first = wire.answer("the first reply", socks4::reply)?;
    let Ok(told) = first.granted() else {
        let meaning = socks4::meaning(first.code);
        let how = format!("BIND: reply code {:02x}, {meaning}", first.code);
        return Err(CheckError::Unsupported(how));
    };
    let route = context.route();
    let ip = match told.ip().is_unspecified() {
        // The memo: then it is the address that the client has connected to.
        true => route.listen.ip(),
        false => (*told.ip()).into(),
    };
    let listens = SocketAddr::new(ip, told.port());
    let mut far = come(context, wire, route.service.ip(), listens)?;
    granted(wire)?;
    wire.carries_back(&mut far)
}

fn half_request(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context)?;
    let message = request(context, CONNECT, &host, port)?;
    wire.send(&message[..5])?;
    wire.ends_half(context)
}

/// The service of the route, as a request names it.
fn own_host(context: &CheckContext<'_>) -> Result<(Host, u16), CheckError> {
    let service = context.route().service;
    ipv4(service).map(|host| (host, service.port()))
}

fn ipv4(address: SocketAddr) -> Result<Host, CheckError> {
    match address {
        SocketAddr::V4(address) => Ok(Host::Ip(*address.ip())),
        SocketAddr::V6(_) => Err(CheckError::Skipped(
            "SOCKS4 has no IPv6 addresses".to_owned(),
        )),
    }
}

fn request(
    context: &CheckContext<'_>,
    command: u8,
    host: &Host,
    port: u16,
) -> Result<Vec<u8>, CheckError> {
    let user = context
        .tunnel()
        .credentials()
        .map_or(&b"u"[..], |(user, _)| user);
    let request = socks4::request(command, host, port, user);
    request.map_err(|error| CheckError::failed(error.to_string()))
}

fn granted(wire: &mut Wire) -> Result<SocketAddrV4, CheckError> {
    let reply = wire.answer("the reply", socks4::reply)?;
    reply
        .granted()
        .map_err(|error| wire.failed(error.to_string()))
}

fn failure_or_close(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let reply = wire.message("the reply", socks4::reply)?;
    denied(context, wire, reply)
}

fn denied(context: &CheckContext<'_>, wire: &Wire, reply: Option<Reply>) -> Result<(), CheckError> {
    match reply.map(Reply::granted) {
        Some(Ok(_)) => Err(wire.failed("the program grants the request")),
        _ => not_reached(context, wire),
    }
}

/// Whatever is answered, and in which protocol, is no grant.
fn no_grant(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    // Whoever waits for more gets an end.
    wire.half_close();
    match wire.rest()?[..] {
        [0, 0x5a, ..] => Err(wire.failed("the program grants the request")),
        _ => not_reached(context, wire),
    }
}
