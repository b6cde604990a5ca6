//! SOCKS4 and its extension 4a, by their memos.

use std::net::{SocketAddr, SocketAddrV4};

use super::{Refusing, come, impossible_name, localhost, not_reached, statements};
use crate::proto::socks4::{self, BIND, CONNECT, Host, Reply};
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Routes, Steps, Table};
use crate::tunnel::check::wire::{CLOSE_LIMIT, Wire};
use crate::tunnel::core::check_error::Stop;

/// The suite's table: what SOCKS4 and 4a have in common, and more statements that are checked in pieces too.
macro_rules! table {
    ($name:literal { $($more:tt)* }) => {
        Table {
            name: $name,
            routes: Routes::First,
            applies: |_| Ok(()),
            steps: Steps::Standing(statements! {
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
pub(super) const TABLE: Table = table!("socks4" {});

/// The suite for SOCKS4a: all of SOCKS4, and names.
pub(super) const TABLE_4A: Table = table!("socks4a" {
    Must "name" "CONNECT to localhost by name is granted" "SOCKS4a memo" name;
    Harness "name-literal" "CONNECT by a name that is an address in text form is granted" "harness" name_literal;
    Must "unknown-name" "a name that cannot exist gets a failure" "SOCKS4a memo" unknown_name;
    Harness "longest-name" "a name of 255 bytes that cannot exist gets a failure or a close" "harness" longest_name;
});

/// Statement 54.
fn connect(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, port) = own_host(trial)?;
    wire.send(&request(trial, CONNECT, &host, port)?)?;
    granted(wire)?;
    wire.carries(trial, None, b"").map(drop)
}

/// Statement 55.
fn refused(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let refusing = Refusing::new(trial)?;
    let host = ipv4(refusing.address)?;
    wire.send(&request(trial, CONNECT, &host, refusing.address.port())?)?;
    match wire.answer("the reply", socks4::reply)?.code {
        0x5b => Ok(()),
        code => Err(wire.failed(format!(
            "the reply code is {code:02x}, {}",
            socks4::meaning(code)
        ))),
    }
}

fn closes(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    refused(trial, wire)?;
    wire.closes(CLOSE_LIMIT)
}

/// Statement 56.
fn name(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let service = localhost(trial)?;
    let host = Host::Name(b"localhost".to_vec());
    wire.send(&request(trial, CONNECT, &host, service.port())?)?;
    granted(wire)?;
    wire.carries(trial, Some(&service), b"").map(drop)
}

fn name_literal(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let service = trial.route().service;
    let host = Host::Name(service.ip().to_string().into_bytes());
    wire.send(&request(trial, CONNECT, &host, service.port())?)?;
    granted(wire)?;
    wire.carries(trial, None, b"").map(drop)
}

fn unknown_name(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    ask_impossible(trial, wire, 64)?;
    let reply = wire.answer("the reply", socks4::reply)?;
    denied(trial, wire, Some(reply))
}

fn longest_name(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    ask_impossible(trial, wire, 255)?;
    failure_or_close(trial, wire)
}

fn ask_impossible(trial: &mut Trial<'_>, wire: &mut Wire, length: usize) -> Result<(), Stop> {
    let port = trial.route().service.port();
    let host = Host::Name(impossible_name(length));
    wire.send(&request(trial, CONNECT, &host, port)?)
}

/// Statement 57.
fn command(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, port) = own_host(trial)?;
    wire.send(&request(trial, 9, &host, port)?)?;
    failure_or_close(trial, wire)
}

fn version<const VERSION: u8>(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, port) = own_host(trial)?;
    let mut message = request(trial, CONNECT, &host, port)?;
    message[0] = VERSION;
    wire.send(&message)?;
    no_grant(trial, wire)
}

fn port_0(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, _) = own_host(trial)?;
    wire.send(&request(trial, CONNECT, &host, 0)?)?;
    let reply = wire.answer("the reply", socks4::reply)?;
    denied(trial, wire, Some(reply))
}

fn http(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    wire.send(b"GET / HTTP/1.0\r\n\r\n")?;
    no_grant(trial, wire)
}

fn early_data(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let data = b"early\x00\xff";
    let (host, port) = own_host(trial)?;
    let mut message = request(trial, CONNECT, &host, port)?;
    message.extend(data);
    wire.send(&message)?;
    granted(wire)?;
    wire.carries(trial, None, data).map(drop)
}

fn bind(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, port) = own_host(trial)?;
    wire.send(&request(trial, BIND, &host, port)?)?;
    let first = wire.answer("the first reply", socks4::reply)?;
    let Ok(told) = first.granted() else {
        let meaning = socks4::meaning(first.code);
        let how = format!("BIND: reply code {:02x}, {meaning}", first.code);
        return Err(Stop::Unsupported(how));
    };
    let route = trial.route();
    let ip = match told.ip().is_unspecified() {
        // The memo: then it is the address that the client has connected to.
        true => route.listen.ip(),
        false => (*told.ip()).into(),
    };
    let listens = SocketAddr::new(ip, told.port());
    let mut far = come(trial, wire, route.service.ip(), listens)?;
    granted(wire)?;
    wire.carries_back(&mut far)
}

fn half_request(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let (host, port) = own_host(trial)?;
    let message = request(trial, CONNECT, &host, port)?;
    wire.send(&message[..5])?;
    wire.ends_half(trial)
}

/// The service of the route, as a request names it.
fn own_host(trial: &Trial<'_>) -> Result<(Host, u16), Stop> {
    let service = trial.route().service;
    ipv4(service).map(|host| (host, service.port()))
}

fn ipv4(address: SocketAddr) -> Result<Host, Stop> {
    match address {
        SocketAddr::V4(address) => Ok(Host::Ip(*address.ip())),
        SocketAddr::V6(_) => Err(Stop::Skipped("SOCKS4 has no IPv6 addresses".to_owned())),
    }
}

fn request(trial: &Trial<'_>, command: u8, host: &Host, port: u16) -> Result<Vec<u8>, Stop> {
    let user = trial
        .tunnel()
        .credentials()
        .map_or(&b"u"[..], |(user, _)| user);
    let request = socks4::request(command, host, port, user);
    request.map_err(|error| Stop::failed(error.to_string()))
}

fn granted(wire: &mut Wire) -> Result<SocketAddrV4, Stop> {
    let reply = wire.answer("the reply", socks4::reply)?;
    reply
        .granted()
        .map_err(|error| wire.failed(error.to_string()))
}

fn failure_or_close(trial: &Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    let reply = wire.message("the reply", socks4::reply)?;
    denied(trial, wire, reply)
}

fn denied(trial: &Trial<'_>, wire: &Wire, reply: Option<Reply>) -> Result<(), Stop> {
    match reply.map(Reply::granted) {
        Some(Ok(_)) => Err(wire.failed("the program grants the request")),
        _ => not_reached(trial, wire),
    }
}

/// Whatever is answered, and in which protocol, is no grant.
fn no_grant(trial: &Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    // Whoever waits for more gets an end.
    wire.half_close();
    match wire.rest()?[..] {
        [0, 0x5a, ..] => Err(wire.failed("the program grants the request")),
        _ => not_reached(trial, wire),
    }
}
