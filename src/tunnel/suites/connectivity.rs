//! The suite that every tunnel must pass first: it starts, connects, carries, closes and stops.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitStatus;

use crate::net::address::canonical;
use crate::tunnel::check::context::{CheckContext, Kept};
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::child::ExitReport;
use crate::tunnel::route::{Route, Target};

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "connectivity",
    routes: Routes::Each,
    applies: |_| Ok(()),
    checks: Checks::Sequence(&[
        CheckDef::must(
            "start",
            "the program listens where it was told to, and a client can connect",
            "harness",
            start,
        ),
        CheckDef::must(
            "handshake",
            "the program answers the handshake as its protocol says",
            "the protocol of the tunnel",
            handshake,
        ),
        CheckDef::must(
            "accept",
            "the program connects to the service, with the service's address family",
            "harness",
            accept,
        ),
        CheckDef::must(
            "source",
            "the program connects from the address that it was bound to or tells",
            "harness",
            source,
        )
        .not_required(),
        CheckDef::must(
            "service-to-client",
            "what the service says first arrives at the client, and nothing else",
            "RFC 9293, section 2.2",
            |context| {
                let deadline = context.deadline("the service's words");
                context.kept.both().greet_client(&deadline)
            },
        ),
        CheckDef::must(
            "client-to-service",
            "what the client says arrives at the service, and nothing else",
            "RFC 9293, section 2.2",
            |context| {
                let deadline = context.deadline("the client's words");
                context.kept.both().greet_service(&deadline)
            },
        ),
        CheckDef::must(
            "client-half-close",
            "what the client sent before it closed its sending half arrives whole",
            "RFC 9293, section 3.6",
            |context| {
                let deadline = context.deadline("the client's last words");
                let CheckContext { kept, evidence, .. } = context;
                kept.both()
                    .client_half_close(&deadline, &mut evidence.notes)
            },
        ),
        CheckDef::must(
            "end",
            "after the close both ends read nothing more, and the service sees the end",
            "RFC 9293, section 3.6",
            end,
        ),
        CheckDef::must(
            "service-half-close",
            "what the service sent before it closed its sending half arrives whole",
            "RFC 9293, section 3.6",
            service_half_close,
        ),
        CheckDef::must(
            "name-literal",
            "a destination given as a name that is an address in text form is reached",
            "harness",
            name_literal,
        )
        .only_for(|tunnel| tunnel.takes_names()),
        CheckDef::must(
            "name",
            "the destination localhost is reached by name",
            "harness",
            name,
        )
        .only_for(|tunnel| tunnel.takes_names()),
        CheckDef::must(
            "stop",
            "the program runs until TERM, and TERM ends it",
            "harness",
            stop,
        )
        .always(),
        CheckDef::must(
            "port-closed",
            "when the program has ended, nothing answers at its port",
            "harness",
            |context| {
                own(context.program.child())?;
                context.port_closed()
            },
        )
        .always(),
    ]),
};

fn start(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("the program to listen");
    context.program.child().start_rest(&deadline)?;
    let client = context.program.first_connection(&deadline)?;
    let note = match context.program.child().is_foreign() {
        true => "it already ran".to_owned(),
        false => format!("ready after {:.1?}", context.program.child().age()),
    };
    context.note(note);
    context.kept.client = Some(client);
    context.kept.listened = true;
    Ok(())
}

fn handshake(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("the handshake");
    let connector = context.connector();
    let target = Target::Address(connector.route.service);
    let client = client(&mut context.kept);
    let says = connector.handshake(client, &target, &deadline)?;
    let silent = client.sent().is_empty() && client.received().is_empty();
    context.kept.says = says;
    match silent {
        true => Err(CheckError::Skipped("this kind has no handshake".to_owned())),
        false => Ok(()),
    }
}

fn accept(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("the program to connect");
    let connector = context.connector();
    let client = client(&mut context.kept);
    let (mut service, peer) = context.program.accept(client, &deadline)?;
    right_family(&connector.route, peer)?;
    if connector.manners.waits_for_client() {
        let note = "it connects to the service when the client has spoken";
        context.evidence.notes.push(note.to_owned());
    }
    connector.preamble(&mut service, client)?;
    context.kept.peer = Some(peer);
    let client = context.kept.client.take();
    context.kept.both = client.map(|client| Conversation::new(client, service));
    Ok(())
}

fn source(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let (tunnel, route) = (context.tunnel(), context.route());
    let peer = context.kept.peer.expect("the program has connected");
    let says = context.kept.says;
    judge_source(tunnel, &route, peer, says, &mut context.evidence.notes)
}

fn end(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("the end");
    let both = context.kept.both.take().expect("both ends are open");
    both.end(&deadline, &mut context.evidence.notes)
}

fn service_half_close(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("the service's last words");
    let mut both = context.program.open(None, &deadline)?;
    both.greet_client(&deadline)?;
    both.greet_service(&deadline)?;
    both.service_half_close(&deadline, &mut context.evidence.notes)?;
    both.end(&deadline, &mut context.evidence.notes)
}

fn name_literal(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("a connection by name");
    let address = context.route().service;
    let target = Target::Name(address.ip().to_string(), address.port());
    context
        .program
        .open_to(&target, &deadline)?
        .whole(&deadline)
}

fn name(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let deadline = context.deadline("a connection by name");
    let localhost = localhost(context.tunnel(), &context.route())?;
    let target = Target::Name("localhost".to_owned(), localhost.port());
    let both = context
        .program
        .open(Some((&target, &localhost)), &deadline)?;
    both.whole(&deadline)
}

fn stop(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    own(context.program.child())?;
    let ends = context.stop();
    judge_ends(&ends, context.kept.listened, &mut context.evidence.notes)
}

fn client(kept: &mut Kept) -> &mut Stream {
    kept.client.as_mut().expect("the client has connected")
}

fn right_family(route: &Route, peer: SocketAddr) -> Result<(), CheckError> {
    let due = Family::of(route.service.ip());
    match Family::of(peer.ip()) {
        family if family == due => Ok(()),
        family => Err(CheckError::failed(format!(
            "the connection from {peer} is {}, not {}",
            family.name(),
            due.name()
        ))),
    }
}

/// Compares where the connection came from with what is known about that.
fn judge_source(
    tunnel: &dyn Tunnel,
    route: &Route,
    peer: SocketAddr,
    told: Option<SocketAddr>,
    notes: &mut Vec<String>,
) -> Result<(), CheckError> {
    notes.push(format!("came from {}", peer.ip()));
    let binds = tunnel.binds_outgoing();
    if binds && peer.ip() != route.outgoing {
        return Err(CheckError::failed(format!(
            "the connection came from {}, not from {}",
            peer.ip(),
            route.outgoing
        )));
    }
    // All zeros is how a proxy says that it does not tell; a port alone says little.
    let told = told.filter(|told| !told.ip().is_unspecified());
    notes.extend(told.and_then(mapped));
    match told.map(canonical) {
        Some(told) if told.ip() != peer.ip() => Err(untrue(told, peer)),
        Some(told) if told.port() != 0 && told.port() != peer.port() => Err(untrue(told, peer)),
        None if !binds => Err(CheckError::Skipped(
            "the program is not bound to an address and does not tell one".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// A service on every address that `localhost` means here, as the program may choose any.
pub(crate) fn localhost(tunnel: &dyn Tunnel, route: &Route) -> Result<Service, CheckError> {
    let found = ("localhost", 0).to_socket_addrs().map_err(|error| {
        CheckError::Skipped(format!("this machine cannot look up localhost: {error}"))
    })?;
    let mut ips: Vec<IpAddr> = found.map(|address| address.ip()).collect();
    ips.dedup();
    let due = Family::of(route.service.ip());
    let first = ips.first().copied().map(Family::of);
    let reachable = match tunnel.binds_outgoing() {
        // A bound program can only reach its own family, and most take the first address.
        true => first == Some(due),
        false => ips.iter().any(|ip| Family::of(*ip) == due),
    };
    if !reachable || !ips.iter().all(IpAddr::is_loopback) {
        let reason = format!("localhost means {ips:?} here, which does not suit the route");
        return Err(CheckError::Skipped(reason));
    }
    Service::bind(&ips)
        .map_err(|error| CheckError::Skipped(format!("cannot listen on {ips:?}: {error}")))
}

/// Skips what only those programs can be asked that the harness has started.
fn own(programs: &Programs) -> Result<(), CheckError> {
    match programs.is_foreign() {
        true => Err(CheckError::Skipped(
            "it already ran, and goes on".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Judges how each program ended.
pub(crate) fn judge_ends(
    ends: &[ExitReport],
    listened: bool,
    notes: &mut Vec<String>,
) -> Result<(), CheckError> {
    let mut judged = Ok(());
    for end in ends {
        // All of them are noted, and the first failure is told.
        judged = match (judged, judge_end(end, listened, notes)) {
            (Err(first @ CheckError::Failed(..)), _) => Err(first),
            (Err(skipped), Ok(())) => Err(skipped),
            (_, next) => next,
        };
    }
    judged
}

/// Judges how a program ended.
fn judge_end(end: &ExitReport, listened: bool, notes: &mut Vec<String>) -> Result<(), CheckError> {
    let how = end.describe();
    notes.push(how.clone());
    if end.strays > 0 {
        let strays = match end.strays {
            1 => "1 process".to_owned(),
            more => format!("{more} processes"),
        };
        notes.push(format!("killed {strays} that had left its group"));
    }
    match end.status {
        None => Err(CheckError::failed(how)),
        Some(_) if end.by_itself && !listened => Err(CheckError::Skipped(
            "the program had ended before it was ready".to_owned(),
        )),
        Some(_) if end.by_itself => Err(CheckError::failed(format!(
            "the program ended before it was told to: {how}"
        ))),
        Some(_) if end.killed => Err(CheckError::failed(how)),
        Some(status) if is_crash(status) => Err(CheckError::failed(format!(
            "the program crashed when told to end: {how}"
        ))),
        Some(_) => Ok(()),
    }
}

/// Whether a status is that of a program gone wrong: a signal of that kind, or the status that a
/// shell makes of one.
fn is_crash(status: ExitStatus) -> bool {
    // ILL, ABRT, BUS, FPE, SEGV; BUS is 7 on Linux and 10 on the BSDs, where 7 is as bad.
    const CRASHES: [i32; 6] = [4, 6, 7, 8, 10, 11];
    let by_code = status.code().and_then(|code| code.checked_sub(128));
    #[cfg(unix)]
    let signal = by_code.or(std::os::unix::process::ExitStatusExt::signal(&status));
    #[cfg(not(unix))]
    let signal = by_code;
    signal.is_some_and(|signal| CRASHES.contains(&signal))
}

/// A note on the form of an IPv4 address that is told as an IPv6 one, as by a program that has one socket
/// for both families.
pub(crate) fn mapped(told: SocketAddr) -> Option<String> {
    let meant = canonical(told);
    (meant != told).then(|| format!("tells {meant} as {told}, an IPv4-mapped IPv6 address"))
}

fn untrue(told: SocketAddr, peer: SocketAddr) -> CheckError {
    CheckError::failed(format!(
        "the program says that it connects from {told}, but it came from {peer}"
    ))
}

#[cfg(test)]
mod tests;
