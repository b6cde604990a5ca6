//! The suite of what the standards say about a proxy's handshake, as far as it shows from outside.
//!
//! Each statement is checked with the client's messages whole, and once more, under the same id with
//! `/cut` at its end, one byte a segment and split in two: in a full run at each byte, in a quick one at
//! twelve places. TCP promises no segments, so that a
//! program has to put them together, but no standard of proxies says so: those are rules of the harness.
//! After each check an ordinary connection still works.
//!
//! The numbers of statements in comments are those of the list in `suites/statements.rs`, which says for
//! each what checks show it. Its tests fail when one has none.
//!
//! What no check can see from outside, and what other suites look at:
//!
//! | statement | why it is not here |
//! |-|-|
//! | SOCKS5: reply 04 for an unreachable host | it needs an address where nobody answers; all of this machine's do |
//! | SOCKS5: reply 01 or 02 for a prohibited route | it needs another routing table |
//! | SOCKS5: reply 02, CONNECT: 403 where a rule forbids it | the rules are those of the program's own configuration |
//! | SOCKS5: reply 06, the time to live is over | it needs a network with routers |
//! | SOCKS5: method 01 taken to its end | GSSAPI needs a key distribution center |
//! | SOCKS4: replies 5c and 5d | they need an identd on the client's side |
//! | SOCKS5: what a request with RSV other than 00 gets | both ways are right; it is checked that it is one of them |
//! | UDP ASSOCIATE | the suite of UDP |
//! | data, half-closes, resets, many connections, a refusing service behind a forwarder, TERM | whatever the protocol: the suites of closing, concurrency, turnover, faults and life |
//! | PROXY protocol: LOCAL and UNKNOWN | a forwarder sends them for connections of its own, such as health checks |

mod connect;
pub(crate) mod cut;
mod proxy_protocol;
mod socks4;
mod socks5;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::address::connect_from;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::ends::service::Service;
use crate::tunnel::route::Kind;
use cut::statements;

/// The tables for what the tunnel speaks.
pub(crate) fn suites(kind: Kind) -> &'static [&'static SuiteDef] {
    match kind {
        Kind::Socks4 => &[&socks4::SUITE],
        Kind::Socks4a => &[&socks4::SUITE_4A],
        Kind::Socks5 => &[&socks5::SUITE],
        Kind::HttpConnect => &[&connect::SUITE],
        Kind::ProxyProtocol => &[&proxy_protocol::SUITE],
        Kind::Forward | Kind::ForwardUdp | Kind::Other => &[&NOTHING],
    }
}

/// Stands in the report for what cannot be checked.
const NOTHING: SuiteDef = SuiteDef {
    name: "conformance",
    routes: Routes::First,
    applies: |tunnel| {
        Err(match tunnel.kind() {
            Kind::Forward | Kind::ForwardUdp => "a forwarder has no handshake".to_owned(),
            _ => "what it speaks is not known".to_owned(),
        })
    },
    checks: Checks::Independent(&[CheckDef::must(
        "handshake",
        "the handshake is as its protocol says",
        "the protocol of the tunnel",
        |_| Ok(()),
    )
    .only_for(|_| true)]),
};

/// The user and the password that are set; without, there is nothing to look at.
fn credentials<'a>(context: &CheckContext<'a>) -> Result<(&'a [u8], &'a [u8]), CheckError> {
    let set = context.tunnel().credentials();
    set.ok_or_else(|| CheckError::Skipped("no user and password are set".to_owned()))
}

/// A password that is right up to its colon, and wrong behind it.
fn other_behind_colon(password: &[u8]) -> Result<Vec<u8>, CheckError> {
    let Some(colon) = password.iter().position(|byte| *byte == b':') else {
        return Err(CheckError::Skipped("the password has no colon".to_owned()));
    };
    let mut wrong = password[..=colon].to_vec();
    wrong.extend(password[colon + 1..].iter().map(|byte| byte ^ 1));
    match wrong == password {
        true => Err(CheckError::Skipped(
            "the password ends in its colon".to_owned(),
        )),
        false => Ok(wrong),
    }
}

/// An address of the service's family that refuses, and keeps its port while this lives: a socket that
/// is bound and does not listen.
struct Refusing {
    address: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    fn new(context: &CheckContext<'_>) -> Result<Refusing, CheckError> {
        let ip = context.route().service.ip();
        let bound = || {
            let any = SocketAddr::new(ip, 0);
            let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
            socket.bind(&any.into())?;
            let address = socket.local_addr()?.as_socket();
            std::io::Result::Ok(address.map(|address| Refusing {
                address,
                _socket: socket,
            }))
        };
        match bound() {
            Ok(Some(refusing)) => Ok(refusing),
            _ => Err(CheckError::Skipped(format!("no port that refuses on {ip}"))),
        }
    }
}

/// A service of this family beside that of the route, for a client that names its address.
fn service_of(context: &CheckContext<'_>, family: Family) -> Result<Service, CheckError> {
    let route = context.route();
    if context.tunnel().binds_outgoing() && Family::of(route.outgoing) != family {
        let reason = format!("the program is bound to {}", route.outgoing);
        return Err(CheckError::Skipped(reason));
    }
    let ip: IpAddr = match family {
        _ if Family::of(route.service.ip()) == family => route.service.ip(),
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    Service::bind(&[ip])
        .map_err(|error| CheckError::Skipped(format!("no {} service here: {error}", family.name())))
}

/// A service at `localhost`, where the program takes names.
fn localhost(context: &CheckContext<'_>) -> Result<Service, CheckError> {
    takes_names(context)?;
    crate::tunnel::suites::connectivity::localhost(context.tunnel(), &context.route())
}

fn takes_names(context: &CheckContext<'_>) -> Result<(), CheckError> {
    match context.tunnel().takes_names() {
        true => Ok(()),
        false => Err(CheckError::Skipped("the program takes no names".to_owned())),
    }
}

/// A name of `length` bytes that cannot exist, so that nobody is asked for it: its label is longer than
/// 63 bytes (RFC 1035 section 2.3.4).
fn impossible_name(length: usize) -> Vec<u8> {
    vec![b'a'; length]
}

/// Connects from `ip` to where the program listens for it after BIND.
fn come(
    context: &CheckContext<'_>,
    wire: &Wire,
    ip: IpAddr,
    listens: SocketAddr,
) -> Result<Endpoint, CheckError> {
    let deadline = context.deadline("the connection from outside");
    let tcp = connect_from(ip, listens, deadline.remaining()).map_err(|error| {
        wire.failed(format!(
            "{ip} cannot connect to {listens}, as told: {error}"
        ))
    })?;
    let stream = context.connector().accepted(tcp, &deadline);
    Ok(Endpoint::new(stream, "the service"))
}

/// The service must not have been connected to.
fn not_reached(context: &CheckContext<'_>, wire: &Wire) -> Result<(), CheckError> {
    match context.service().is_idle() {
        true => Ok(()),
        false => Err(wire.failed("the program has connected to the service all the same")),
    }
}
