//! Requests, addresses and replies (RFC 1928 sections 4 to 6).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::{granted, open, opened, opening, own_host, reply, request};
use crate::net::address::canonical;
use crate::proto::socks5::{self, BIND, CONNECT, Host, Reply};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::wire::{CLOSE_LIMIT, Wire};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::address::connect_from;
use crate::tunnel::suites::conformance::{
    Refusing, come, impossible_name, localhost, not_reached, service_of, takes_names,
};
use crate::tunnel::suites::connectivity::mapped;
use crate::tunnel::suites::probe;

/// How long a program may take for its second reply before it is tried whether it has lost the request;
/// on a busy machine so many times as long as its first reply took.
const SOON: Duration = Duration::from_millis(500);
const TIMES_AS_LONG: u32 = 50;
/// How long this machine may take to say that there is no route; it says so at once.
const NOWHERE_LIMIT: Duration = Duration::from_secs(1);
/// How long a quick run and a full one wait for the end of a client that says nothing more.
const QUICK_SILENCE: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_secs(5);

/// Statement 24.
pub(super) fn connect(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context);
    ask(context, wire, CONNECT, &host, port)?;
    granted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 24, the address.
pub(super) fn bound(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context);
    ask(context, wire, CONNECT, &host, port)?;
    let told = granted(wire)?.bound;
    let peer = wire.carries(context, None, b"")?;
    let Some(told) = told.socket_addr() else {
        context.note(format!("the reply tells {}", told.describe()));
        return Ok(());
    };
    context.evidence.notes.extend(mapped(told));
    let told = canonical(told);
    let right = told.ip() == peer.ip() && (told.port() == 0 || told.port() == peer.port());
    match told.ip().is_unspecified() || right {
        true => Ok(()),
        false => Err(wire.failed(format!(
            "the program says that it connects from {told}, but it came from {peer}"
        ))),
    }
}

/// Statement 24, the length: a client may read that many bytes at once.
pub(super) fn bound_type(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let (host, port) = own_host(context);
    if !matches!(host, Host::Ip(ip) if ip.is_ipv4()) {
        return Err(CheckError::Skipped(
            "the service has no IPv4 address".to_owned(),
        ));
    }
    ask(context, wire, CONNECT, &host, port)?;
    match granted(wire)?.bound.host {
        Host::Ip(ip) if ip.is_ipv4() => wire.carries(context, None, b"").map(drop),
        Host::Ip(_) => Err(wire.failed("the reply tells an IPv6 address")),
        Host::Name(_) => Err(wire.failed("the reply tells a name")),
    }
}

pub(super) fn ipv4(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    connect_by(context, wire, Family::V4)
}

/// Statement 25.
pub(super) fn ipv6(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    connect_by(context, wire, Family::V6)
}

fn connect_by(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    family: Family,
) -> Result<(), CheckError> {
    let service = service_of(context, family)?;
    let host = Host::Ip(service.addr().ip());
    ask(context, wire, CONNECT, &host, service.port())?;
    granted(wire)?;
    wire.carries(context, Some(&service), b"").map(drop)
}

/// Statement 26.
pub(super) fn name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let service = localhost(context)?;
    let host = Host::Name(b"localhost".to_vec());
    ask(context, wire, CONNECT, &host, service.port())?;
    granted(wire)?;
    wire.carries(context, Some(&service), b"").map(drop)
}

/// Statement 27.
pub(super) fn name_literal(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    takes_names(context)?;
    let service = context.route().service;
    let host = Host::Name(service.ip().to_string().into_bytes());
    ask(context, wire, CONNECT, &host, service.port())?;
    granted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 28.
pub(super) fn refused(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    refusal_code(context, wire).map(drop)
}

pub(super) fn refused_code(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let code = refusal_code(context, wire)?;
    is_code(wire, code, &[5])
}

pub(super) fn closes(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    refusal_code(context, wire)?;
    wire.closes(CLOSE_LIMIT)
}

fn refusal_code(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<u8, CheckError> {
    let refusing = Refusing::new(context)?;
    let address = refusing.address;
    ask(
        context,
        wire,
        CONNECT,
        &Host::Ip(address.ip()),
        address.port(),
    )?;
    failure(context, wire)
}

/// Statement 30.
pub(super) fn no_route(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    no_route_failure(context, wire).map(drop)
}

/// Statements 30 and 31.
pub(super) fn no_route_code(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let code = no_route_failure(context, wire)?;
    is_code(wire, code, &[3, 2])
}

/// This machine itself is asked first, for not every system says the same of such addresses.
fn no_route_failure(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<u8, CheckError> {
    let nowhere = probe::nowhere(context.route().service.ip());
    let own = connect_from(context.route().outgoing, nowhere, NOWHERE_LIMIT);
    match own.map_err(|error| error.kind()) {
        Err(io::ErrorKind::NetworkUnreachable) => {}
        other => {
            let reason = format!("this system says of {nowhere}: {other:?}");
            return Err(CheckError::Skipped(reason));
        }
    }
    ask(
        context,
        wire,
        CONNECT,
        &Host::Ip(nowhere.ip()),
        nowhere.port(),
    )?;
    failure(context, wire)
}

/// Statement 33.
pub(super) fn unknown_name(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    unknown_name_failure(context, wire, 64).map(drop)
}

pub(super) fn unknown_name_code(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let code = unknown_name_failure(context, wire, 64)?;
    is_code(wire, code, &[4, 1])
}

/// Statement 37.
pub(super) fn longest_name(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    unknown_name_failure(context, wire, 255).map(drop)
}

fn unknown_name_failure(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    length: usize,
) -> Result<u8, CheckError> {
    takes_names(context)?;
    let port = context.route().service.port();
    let host = Host::Name(impossible_name(length));
    ask(context, wire, CONNECT, &host, port)?;
    failure(context, wire)
}

/// Statement 37.
pub(super) fn empty_name(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    open(context, wire)?;
    let [high, low] = context.route().service.port().to_be_bytes();
    wire.send(&[5, CONNECT, 0, 3, 0, high, low])?;
    failure_or_close(context, wire).map(drop)
}

/// Statement 34.
pub(super) fn command<const COMMAND: u8>(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    command_failure(context, wire, COMMAND).map(drop)
}

pub(super) fn command_code(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let code = command_failure(context, wire, 0x7f)?;
    is_code(wire, code, &[7])
}

fn command_failure(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    command: u8,
) -> Result<u8, CheckError> {
    let (host, port) = own_host(context);
    ask(context, wire, command, &host, port)?;
    failure(context, wire)
}

/// Statement 36.
pub(super) fn address_type<const TYPE: u8>(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    type_failure(context, wire, TYPE).map(drop)
}

pub(super) fn address_type_code(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let code = type_failure(context, wire, 9)?;
    is_code(wire, code, &[8])
}

fn type_failure(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    kind: u8,
) -> Result<u8, CheckError> {
    open(context, wire)?;
    let (host, port) = own_host(context);
    let mut message = request(CONNECT, &host, port)?;
    message[3] = kind;
    wire.send(&message)?;
    failure(context, wire)
}

/// Statement 38.
pub(super) fn port_0(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, _) = own_host(context);
    ask(context, wire, CONNECT, &host, 0)?;
    failure(context, wire).map(drop)
}

/// Statement 39.
pub(super) fn version(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    open(context, wire)?;
    let (host, port) = own_host(context);
    let mut message = request(CONNECT, &host, port)?;
    message[0] = 4;
    wire.send(&message)?;
    failure_or_close(context, wire).map(drop)
}

/// Statement 40.
pub(super) fn reserved(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    open(context, wire)?;
    let (host, port) = own_host(context);
    let mut message = request(CONNECT, &host, port)?;
    message[2] = 1;
    wire.send(&message)?;
    match wire.answer("the reply", socks5::reply)?.code {
        0 => wire.carries(context, None, b"").map(drop),
        code => failed_by(context, wire, code),
    }
}

/// Statement 35.
pub(super) fn bind(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let listens = listens(context, wire)?;
    let from = context.route().service.ip();
    let mut far = come(context, wire, from, listens)?;
    let peer = granted(wire)?.bound;
    let here = far.stream().local_addr();
    let here = here.map_err(|error| wire.failed(format!("who has connected: {error}")))?;
    match peer.socket_addr() {
        Some(told) if told.ip().is_unspecified() => {}
        Some(told) if canonical(told) == here => context.evidence.notes.extend(mapped(told)),
        Some(told) => {
            return Err(wire.failed(format!(
                "the second reply tells {told}, but {here} has connected"
            )));
        }
        None => context.note(format!("the second reply tells {}", peer.describe())),
    }
    wire.carries_back(&mut far)
}

/// Statement 35, of a program that has no BIND.
pub(super) fn bind_code(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (host, port) = own_host(context);
    ask(context, wire, BIND, &host, port)?;
    match wire.answer("the first reply", socks5::reply)?.code {
        0 => Err(CheckError::Skipped("it has BIND".to_owned())),
        code => is_code(wire, code, &[7, 2]),
    }
}

/// Statement 35, whom it is for.
pub(super) fn bind_stranger(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    let route = context.route();
    let others = [route.client, route.outgoing];
    let like = |ip: &&IpAddr| ip.is_ipv4() == route.service.is_ipv4() && **ip != route.service.ip();
    let Some(&stranger) = others.iter().find(like) else {
        return Err(CheckError::Skipped(
            "there is no other address here".to_owned(),
        ));
    };
    let listens = listens(context, wire)?;
    let _stranger = come(context, wire, stranger, listens)?;
    // It may wait for the right one, or give up.
    let limit = context.deadline("a connection").remaining();
    let _right = connect_from(route.service.ip(), listens, limit);
    match reply(wire)? {
        Some(Reply { code: 0, bound })
            if bound.socket_addr().map(|told| canonical(told).ip()) == Some(stranger) =>
        {
            Err(wire.failed(format!(
                "it was asked for {}, and takes {stranger}",
                route.service.ip()
            )))
        }
        _ => Ok(()),
    }
}

/// Asks for BIND; where the program listens for the service's host.
fn listens(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<SocketAddr, CheckError> {
    let (host, port) = own_host(context);
    ask(context, wire, BIND, &host, port)?;
    let reply = wire.answer("the first reply", socks5::reply)?;
    if reply.code != 0 {
        failed_by(context, wire, reply.code)?;
        let meaning = socks5::meaning(reply.code);
        return Err(CheckError::Unsupported(format!(
            "BIND: reply code {:02x}, {meaning}",
            reply.code
        )));
    }
    let told = reply.bound;
    if told.port == 0 {
        return Err(wire.failed("the first reply tells port 0"));
    }
    let route = context.route();
    let ip = match told.host {
        Host::Ip(ip) if !ip.is_unspecified() => ip.to_canonical(),
        // Zeros, or a name, which means what only the program knows.
        _ if context.tunnel().binds_outgoing() => route.outgoing,
        _ => route.listen.ip(),
    };
    if let Host::Name(_) = told.host {
        context.note(format!("the first reply tells {}", told.describe()));
    }
    Ok(SocketAddr::new(ip, told.port))
}

/// Statement 11.
pub(super) fn pipelined(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    in_one(context, wire, b"")
}

/// Statement 12.
pub(super) fn early_data(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    in_one(context, wire, b"early\x00\xff")
}

fn in_one(context: &mut CheckContext<'_>, wire: &mut Wire, data: &[u8]) -> Result<(), CheckError> {
    let (host, port) = own_host(context);
    let mut message = opening(context)?.concat();
    message.extend(request(CONNECT, &host, port)?);
    message.extend(data);
    let begun = Instant::now();
    wire.send(&message)?;
    opened(context, wire)?;
    if wire.has_more_within(SOON.max(TIMES_AS_LONG * begun.elapsed())) {
        granted(wire)?;
        return wire.carries(context, None, data).map(drop);
    }
    // A slow program still answers after the client's end; one that has lost the request closes now, and
    // need not be waited for.
    wire.half_close();
    granted(wire)?;
    let (mut service, _) = context.accept(&mut wire.end)?;
    service.expect("the data sent with the request", data)
}

/// Statement 41.
pub(super) fn half_greeting(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    wire.send(&[5])?;
    wire.ends_half(context)
}

/// Statement 41.
pub(super) fn half_request(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<(), CheckError> {
    open(context, wire)?;
    wire.send(&[5, CONNECT, 0, 1, 127])?;
    wire.ends_half(context)
}

/// Statement 42.
pub(super) fn silence(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(&[5])?;
    context.still_works()?;
    let limit = match context.sizes() {
        Sizes::Quick => QUICK_SILENCE,
        Sizes::Full => SILENCE,
    };
    let begun = Instant::now();
    let ended = wire.rest_within(limit).is_ok();
    let evidence = match ended {
        true => format!("closed {}", probe::coarse_since(begun)),
        false => format!("open after {limit:.1?}"),
    };
    context.record("silence after one byte", evidence);
    Ok(())
}

/// Greets, logs in and makes a request.
fn ask(
    context: &CheckContext<'_>,
    wire: &mut Wire,
    command: u8,
    host: &Host,
    port: u16,
) -> Result<(), CheckError> {
    open(context, wire)?;
    wire.send(&request(command, host, port)?)
}

/// Reads a reply that must be a failure; its code.
fn failure(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<u8, CheckError> {
    match failure_or_close(context, wire)? {
        Some(code) => Ok(code),
        None => Err(wire.failed("the program closes in place of the reply")),
    }
}

fn failure_or_close(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
) -> Result<Option<u8>, CheckError> {
    let Some(Reply { code, .. }) = reply(wire)? else {
        return not_reached(context, wire).map(|()| None);
    };
    failed_by(context, wire, code)?;
    not_reached(context, wire)?;
    Ok(Some(code))
}

/// The request must not be granted. Codes from 09 on are unassigned, which forbids nobody to use them: Tor
/// has F0 to F7 for what happens to its hidden services.
fn failed_by(context: &mut CheckContext<'_>, wire: &Wire, code: u8) -> Result<(), CheckError> {
    match code {
        0 => return Err(wire.failed("the program grants the request")),
        1..=8 => {}
        _ => context.note(format!("the reply code {code:02x} is unassigned")),
    }
    Ok(())
}

fn is_code(wire: &Wire, code: u8, right: &[u8]) -> Result<(), CheckError> {
    match right.contains(&code) {
        true => Ok(()),
        false => Err(wire.failed(format!(
            "the reply code is {code:02x}, {}",
            socks5::meaning(code)
        ))),
    }
}
