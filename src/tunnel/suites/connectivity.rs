//! The suite that every tunnel must pass first: it starts, connects, carries, closes and stops.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::process::ExitStatus;

use crate::tunnel::ends::address::Family;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::service::Service;
use crate::tunnel::error::Error;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::child::End;
use crate::tunnel::programs::program::{Program, Site};
use crate::tunnel::report::Strictness;
use crate::tunnel::run::book::Page;
use crate::tunnel::run::plan::{Routes, Rule, Steps, Table};
use crate::tunnel::run::sequence::Sequence;
use crate::tunnel::{Route, Stop, Stream, Target, Tunnel};

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "connectivity",
    routes: Routes::Each,
    applies: |_| Ok(()),
    steps: Steps::Sequence(Sequence {
        rules: &[
            START,
            HANDSHAKE,
            ACCEPT,
            SOURCE,
            SERVICE_TO_CLIENT,
            CLIENT_TO_SERVICE,
            CLIENT_HALF_CLOSE,
            END,
            SERVICE_HALF_CLOSE,
            NAME_LITERAL,
            NAME,
            STOP,
            PORT_CLOSED,
        ],
        run,
    }),
};

const START: Rule = must(
    "start",
    "the program listens where it was told to, and a client can connect",
    "harness",
);
const HANDSHAKE: Rule = must(
    "handshake",
    "the program answers the handshake as its protocol says",
    "the protocol of the tunnel",
);
const ACCEPT: Rule = must(
    "accept",
    "the program connects to the service, with the service's address family",
    "harness",
);
const SOURCE: Rule = must(
    "source",
    "the program connects from the address that it was bound to or tells",
    "harness",
);
const SERVICE_TO_CLIENT: Rule = must(
    "service-to-client",
    "what the service says first arrives at the client, and nothing else",
    "RFC 9293, section 2.2",
);
const CLIENT_TO_SERVICE: Rule = must(
    "client-to-service",
    "what the client says arrives at the service, and nothing else",
    "RFC 9293, section 2.2",
);
const CLIENT_HALF_CLOSE: Rule = must(
    "client-half-close",
    "what the client sent before it closed its sending half arrives whole",
    "RFC 9293, section 3.6",
);
const END: Rule = must(
    "end",
    "after the close both ends read nothing more, and the service sees the end",
    "RFC 9293, section 3.6",
);
const SERVICE_HALF_CLOSE: Rule = must(
    "service-half-close",
    "what the service sent before it closed its sending half arrives whole",
    "RFC 9293, section 3.6",
);
const NAME_LITERAL: Rule = must(
    "name-literal",
    "a destination given as a name that is an address in text form is reached",
    "harness",
);
const NAME: Rule = must(
    "name",
    "the destination localhost is reached by name",
    "harness",
);
const STOP: Rule = must(
    "stop",
    "the program runs until TERM, and TERM ends it",
    "harness",
);
const PORT_CLOSED: Rule = must(
    "port-closed",
    "when the program has ended, nothing answers at its port",
    "harness",
);

const fn must(name: &'static str, statement: &'static str, source: &'static str) -> Rule {
    Rule::new(Strictness::Must, name, statement, source)
}

/// Runs the suite on one combination. An error means that not a single check was made.
fn run(site: &Site<'_>, page: &mut Page<'_>) -> Result<(), Error> {
    let mut program = site.start()?;
    page.set_route(program.line().route);
    judge(&mut program, page);
    Ok(())
}

/// Runs all checks on a started program, and ends it.
fn judge(program: &mut Program<'_>, page: &mut Page<'_>) {
    let line = program.line();
    let connected = page.check(&START, "the program to listen", |deadline, notes| {
        program.child().start_rest(deadline)?;
        let stream = program.first_connection(deadline)?;
        notes.push(match program.child().is_foreign() {
            true => "it already ran".to_owned(),
            false => format!("ready after {:.1?}", program.child().age()),
        });
        Ok(stream)
    });
    let listened = connected.is_some();
    if let Some(stream) = connected {
        // `None` says which check was the last one, and that is in the report.
        let _ = talk(program, page, stream);
    }
    page.skip_rest(&running(line.tunnel));
    if page.is_broken() {
        program.child().settle();
    }
    let grace = page.grace();
    page.check(&STOP, "the program to end", |_, notes| {
        own(program.child())?;
        judge_ends(&program.child().stop(grace), listened, notes)
    });
    page.check(&PORT_CLOSED, "the port to close", |deadline, _| {
        own(program.child())?;
        line.port_closed(deadline)
    });
    // The same end once more, or the stop itself if there was no time left for the check.
    page.explain(&program.explain(grace));
}

/// What is checked on a running program of this kind, so that what was not reached can be told.
fn running(tunnel: &dyn Tunnel) -> Vec<&'static Rule> {
    let mut rules = vec![
        &START,
        &HANDSHAKE,
        &ACCEPT,
        &SOURCE,
        &SERVICE_TO_CLIENT,
        &CLIENT_TO_SERVICE,
        &CLIENT_HALF_CLOSE,
        &END,
        &SERVICE_HALF_CLOSE,
    ];
    if tunnel.takes_names() {
        rules.extend([&NAME_LITERAL, &NAME]);
    }
    rules
}

/// All that needs a running program; ends at the first check after which the next make no sense.
fn talk(program: &mut Program<'_>, page: &mut Page<'_>, mut stream: Stream) -> Option<()> {
    let line = program.line();
    let target = Target::Address(line.route.service);
    let mut told = None;
    let shaken = page.check(&HANDSHAKE, "the handshake", |deadline, _| {
        told = line.handshake(&mut stream, &target, deadline)?;
        match stream.sent().is_empty() && stream.received().is_empty() {
            true => Err(Stop::Skipped("this kind has no handshake".to_owned())),
            false => Ok(()),
        }
    });
    if shaken.is_none() && page.is_broken() {
        return None;
    }
    let accepted = page.check(&ACCEPT, "the program to connect", |deadline, _| {
        let (mut service, peer) = program.accept(&stream, deadline)?;
        right_family(&line.route, peer)?;
        line.preamble(&mut service, &stream)?;
        Ok((service, peer))
    });
    let (service, peer) = accepted?;
    page.check(&SOURCE, "nothing", |_, notes| {
        source(line.tunnel, &line.route, peer, told, notes)
    });

    let mut both = Conversation::new(stream, service);
    page.check(&SERVICE_TO_CLIENT, "the service's words", |deadline, _| {
        both.greet_client(deadline)
    })?;
    page.check(&CLIENT_TO_SERVICE, "the client's words", |deadline, _| {
        both.greet_service(deadline)
    })?;
    page.check(
        &CLIENT_HALF_CLOSE,
        "the client's last words",
        |deadline, notes| both.client_half_close(deadline, notes),
    )?;
    page.check(&END, "the end", |deadline, notes| both.end(deadline, notes))?;
    page.check(
        &SERVICE_HALF_CLOSE,
        "the service's last words",
        |deadline, notes| {
            let mut both = program.open(None, deadline)?;
            both.greet_client(deadline)?;
            both.greet_service(deadline)?;
            both.service_half_close(deadline, notes)?;
            both.end(deadline, notes)
        },
    )?;
    match line.tunnel.takes_names() {
        true => by_name(program, page),
        false => Some(()),
    }
}

fn by_name(program: &mut Program<'_>, page: &mut Page<'_>) -> Option<()> {
    let line = program.line();
    let address = line.route.service;
    page.check(&NAME_LITERAL, "a connection by name", |deadline, _| {
        let target = Target::Name(address.ip().to_string(), address.port());
        program.open_to(&target, deadline)?.whole(deadline)
    })?;
    page.check(&NAME, "a connection by name", |deadline, _| {
        let localhost = localhost(line.tunnel, &line.route)?;
        let target = Target::Name("localhost".to_owned(), localhost.port());
        let both = program.open(Some((&target, &localhost)), deadline)?;
        both.whole(deadline)
    })
}

fn right_family(route: &Route, peer: SocketAddr) -> Result<(), Stop> {
    let due = Family::of(route.service.ip());
    match Family::of(peer.ip()) {
        family if family == due => Ok(()),
        family => Err(Stop::failed(format!(
            "the connection from {peer} is {}, not {}",
            family.name(),
            due.name()
        ))),
    }
}

/// Compares where the connection came from with what is known about that.
fn source(
    tunnel: &dyn Tunnel,
    route: &Route,
    peer: SocketAddr,
    told: Option<SocketAddr>,
    notes: &mut Vec<String>,
) -> Result<(), Stop> {
    notes.push(format!("came from {}", peer.ip()));
    let binds = tunnel.binds_outgoing();
    if binds && peer.ip() != route.outgoing {
        return Err(Stop::failed(format!(
            "the connection came from {}, not from {}",
            peer.ip(),
            route.outgoing
        )));
    }
    // All zeros is how a proxy says that it does not tell; a port alone says little.
    let told = told.filter(|told| !told.ip().is_unspecified());
    match told {
        Some(told) if told.ip() != peer.ip() => Err(untrue(told, peer)),
        Some(told) if told.port() != 0 && told.port() != peer.port() => Err(untrue(told, peer)),
        None if !binds => Err(Stop::Skipped(
            "the program is not bound to an address and does not tell one".to_owned(),
        )),
        _ => Ok(()),
    }
}

/// A service on every address that `localhost` means here, as the program may choose any.
pub(in crate::tunnel) fn localhost(tunnel: &dyn Tunnel, route: &Route) -> Result<Service, Stop> {
    let found = ("localhost", 0).to_socket_addrs().map_err(|error| {
        Stop::Skipped(format!("this machine cannot look up localhost: {error}"))
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
        return Err(Stop::Skipped(reason));
    }
    Service::bind(&ips).map_err(|error| Stop::Skipped(format!("cannot listen on {ips:?}: {error}")))
}

/// Skips what only those programs can be asked that the harness has started.
fn own(programs: &Programs) -> Result<(), Stop> {
    match programs.is_foreign() {
        true => Err(Stop::Skipped("it already ran, and goes on".to_owned())),
        false => Ok(()),
    }
}

/// Judges how each program ended.
pub(in crate::tunnel) fn judge_ends(
    ends: &[End],
    listened: bool,
    notes: &mut Vec<String>,
) -> Result<(), Stop> {
    let mut judged = Ok(());
    for end in ends {
        // All of them are noted, and the first failure is told.
        judged = match (judged, judge_end(end, listened, notes)) {
            (Err(first @ Stop::Failed(..)), _) => Err(first),
            (Err(skipped), Ok(())) => Err(skipped),
            (_, next) => next,
        };
    }
    judged
}

/// Judges how a program ended.
fn judge_end(end: &End, listened: bool, notes: &mut Vec<String>) -> Result<(), Stop> {
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
        None => Err(Stop::failed(how)),
        Some(_) if end.by_itself && !listened => Err(Stop::Skipped(
            "the program had ended before it was ready".to_owned(),
        )),
        Some(_) if end.by_itself => Err(Stop::failed(format!(
            "the program ended before it was told to: {how}"
        ))),
        Some(_) if end.killed => Err(Stop::failed(how)),
        Some(status) if is_crash(status) => Err(Stop::failed(format!(
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

fn untrue(told: SocketAddr, peer: SocketAddr) -> Stop {
    Stop::failed(format!(
        "the program says that it connects from {told}, but it came from {peer}"
    ))
}

#[cfg(test)]
mod tests;
