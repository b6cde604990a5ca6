//! The suite that every tunnel must pass first: it starts, connects, carries, closes and stops.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitStatus;
use std::time::Duration;

use super::address::{Addresses, Family, Pair, connect_from};
use super::child::{Backoff, Child, End};
use super::conversation::{Conversation, Stop};
use super::error::{Error, ErrorKind};
use super::harness::{Book, Page, Plan};
use super::port::Lease;
use super::report::{Failure, Outcome};
use super::service::Service;
use super::{Route, Stream, Target, Tunnel};
use crate::deadline::Deadline;

const SUITE: &str = "connectivity";
/// How often waiting for a connection looks whether there is still somebody to make it.
const LOOK: Duration = Duration::from_millis(10);

const START: Plan = Plan {
    name: "start",
    statement: "the program listens where it was told to, and a client can connect",
};
const HANDSHAKE: Plan = Plan {
    name: "handshake",
    statement: "the program answers the handshake as its protocol says",
};
const ACCEPT: Plan = Plan {
    name: "accept",
    statement: "the program connects to the service, with the service's address family",
};
const SOURCE: Plan = Plan {
    name: "source",
    statement: "the program connects from the address that it was bound to or tells",
};
const SERVICE_TO_CLIENT: Plan = Plan {
    name: "service-to-client",
    statement: "what the service says first arrives at the client, and nothing else",
};
const CLIENT_TO_SERVICE: Plan = Plan {
    name: "client-to-service",
    statement: "what the client says arrives at the service, and nothing else",
};
const CLIENT_HALF_CLOSE: Plan = Plan {
    name: "client-half-close",
    statement: "what the client sent before it closed its sending half arrives whole",
};
const END: Plan = Plan {
    name: "end",
    statement: "after the close both ends read nothing more, and the service sees the end",
};
const SERVICE_HALF_CLOSE: Plan = Plan {
    name: "service-half-close",
    statement: "what the service sent before it closed its sending half arrives whole",
};
const NAME_LITERAL: Plan = Plan {
    name: "name-literal",
    statement: "a destination given as a name that is an address in text form is reached",
};
const NAME: Plan = Plan {
    name: "name",
    statement: "the destination localhost is reached by name",
};
const STOP: Plan = Plan {
    name: "stop",
    statement: "the program runs until TERM, and TERM ends it",
};
const PORT_CLOSED: Plan = Plan {
    name: "port-closed",
    statement: "when the program has ended, nothing answers at its port",
};

/// Runs the suite on those of the combinations of address families that this machine has.
pub(super) fn run(
    tunnel: &dyn Tunnel,
    combinations: &[(Family, Family)],
    addresses: &Addresses,
    book: &mut Book,
) -> Result<(), Error> {
    for &families in combinations {
        let Some(pairs) = addresses.pick(families.0, families.1) else {
            let reason = missing(addresses, families);
            book.leave_out(SUITE, families, Outcome::Skipped, reason);
            continue;
        };
        if let Err(error) = book.time_left() {
            let reason = format!("not run: {error} to end");
            book.leave_out(SUITE, families, Outcome::Failed, reason);
            continue;
        }
        match run_on(tunnel, pairs, book) {
            // Only when nothing has run yet is this all that there is to say.
            Err(error) if book.is_empty() => return Err(error),
            Err(error) => {
                book.leave_out(SUITE, families, Outcome::Failed, error.to_string());
            }
            Ok(()) => {}
        }
    }
    Ok(())
}

/// Runs the suite on one combination. An error means that not a single check was made.
fn run_on(tunnel: &dyn Tunnel, (front, back): (Pair, Pair), book: &mut Book) -> Result<(), Error> {
    let no_port = |what: &str, ip: IpAddr| {
        let message = format!("no port for {what} on {ip}");
        move |error| Error::new(ErrorKind::Port, message, Some(error))
    };
    let lease = Lease::take(front.server).map_err(no_port("the program", front.server))?;
    let service = Service::bind(&[back.server]).map_err(no_port("the service", back.server))?;
    let route = Route {
        listen: lease.addr(),
        service: SocketAddr::new(back.server, service.port()),
        client: front.client,
        outgoing: back.client,
    };
    let combination = Combination {
        tunnel,
        route,
        service,
    };
    let child = combination.spawn()?;
    combination.run(child, &mut book.page(SUITE, route));
    Ok(())
}

/// Says which family cannot connect here.
fn missing(addresses: &Addresses, (listen, service): (Family, Family)) -> String {
    let lacks = |family: &Family| addresses.pick(*family, *family).is_none();
    let family = [listen, service].into_iter().find(lacks);
    let name = family.map_or("such", Family::name);
    format!("no two {name} addresses of this machine can connect to each other")
}

/// One route through one process of the program.
struct Combination<'a> {
    tunnel: &'a dyn Tunnel,
    route: Route,
    service: Service,
}

impl Combination<'_> {
    /// Runs all checks on a started program, and ends it.
    fn run(&self, mut child: Child, page: &mut Page<'_>) {
        let connected = page.check(&START, "the program to listen", |deadline, notes| {
            let stream = self.first_connection(&mut child, deadline)?;
            notes.push(format!("ready after {:.1?}", child.age()));
            Ok(stream)
        });
        let listened = connected.is_some();
        if let Some(stream) = connected {
            // `None` says which check was the last one, and that is in the report.
            let _ = self.talk(page, &mut child, stream);
        }
        page.skip_rest(&self.plans());
        if page.has_failed() {
            child.settle();
        }
        let grace = page.grace();
        page.check(&STOP, "the program to end", |_, notes| {
            judge_end(&child.stop(grace), listened, notes)
        });
        // The same end once more, or the stop itself if there was no time left for the check.
        let end = child.stop(grace);
        page.check(&PORT_CLOSED, "the port to close", |deadline, _| {
            self.port_closed(deadline)
        });
        page.explain(child.command(), &end.describe(), &child.output());
    }

    fn spawn(&self) -> Result<Child, Error> {
        let command = self.tunnel.command(&self.route).map_err(|error| {
            let message = format!("cannot make the command for {}", self.tunnel.slug());
            Error::new(ErrorKind::Program, message, Some(error))
        })?;
        Child::spawn(command)
    }

    /// What is checked on a running program of this kind, so that what was not reached can be told.
    fn plans(&self) -> Vec<&'static Plan> {
        let mut plans = vec![
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
        if self.tunnel.takes_names() {
            plans.extend([&NAME_LITERAL, &NAME]);
        }
        plans
    }

    /// All that needs a running program; ends at the first check after which the next make no sense.
    fn talk(&self, page: &mut Page<'_>, child: &mut Child, mut stream: Stream) -> Option<()> {
        let target = Target::Address(self.route.service);
        let mut told = None;
        let shaken = page.check(&HANDSHAKE, "the handshake", |deadline, _| {
            told = self.handshake(&mut stream, &target, deadline)?;
            match stream.sent().is_empty() && stream.received().is_empty() {
                true => Err(Stop::Skipped("this kind has no handshake".to_owned())),
                false => Ok(()),
            }
        });
        if shaken.is_none() && page.has_failed() {
            return None;
        }
        let accepted = page.check(&ACCEPT, "the program to connect", |deadline, _| {
            let (service, peer) = accept(&self.service, &stream, child, deadline)?;
            self.right_family(peer)?;
            Ok((service, peer))
        });
        let (service, peer) = accepted?;
        page.check(&SOURCE, "nothing", |_, notes| {
            self.source(peer, told, notes)
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
                let mut both = self.open(&target, &self.service, child, deadline)?;
                both.greet_client(deadline)?;
                both.greet_service(deadline)?;
                both.service_half_close(deadline, notes)?;
                both.end(deadline, notes)
            },
        )?;
        match self.tunnel.takes_names() {
            true => self.by_name(page, child),
            false => Some(()),
        }
    }

    fn by_name(&self, page: &mut Page<'_>, child: &mut Child) -> Option<()> {
        let Route { service, .. } = self.route;
        page.check(&NAME_LITERAL, "a connection by name", |deadline, _| {
            let target = Target::Name(service.ip().to_string(), service.port());
            self.open(&target, &self.service, child, deadline)?
                .whole(deadline)
        })?;
        page.check(&NAME, "a connection by name", |deadline, _| {
            let localhost = self.localhost()?;
            let target = Target::Name("localhost".to_owned(), localhost.port());
            self.open(&target, &localhost, child, deadline)?
                .whole(deadline)
        })
    }

    /// Connects as soon as the program listens. This connection is used: with a forwarder every
    /// connection already reaches the service.
    fn first_connection(&self, child: &mut Child, deadline: &Deadline) -> Result<Stream, Stop> {
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let error = match self.connect(deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if child.has_exited() {
                return Err(Stop::failed(format!(
                    "the program ended before it listened on {}",
                    self.route.listen
                )));
            }
            if !may_come_later(&error) || deadline.expired() {
                return Err(Stop::failed(format!(
                    "nothing listens on {} after {:.1?}: connecting from {}: {error}",
                    self.route.listen,
                    deadline.elapsed(),
                    self.route.client
                )));
            }
            pause.sleep(deadline);
        }
    }

    fn connect(&self, deadline: &Deadline) -> io::Result<Stream> {
        // At the very end there is still time for one attempt.
        let limit = deadline.remaining().max(Duration::from_millis(1));
        let tcp = connect_from(self.route.client, self.route.listen, limit)?;
        Ok(Stream::new(tcp, *deadline))
    }

    fn handshake(
        &self,
        stream: &mut Stream,
        target: &Target,
        deadline: &Deadline,
    ) -> Result<Option<SocketAddr>, Stop> {
        stream.set_deadline(*deadline);
        self.tunnel.handshake(stream, target).map_err(|error| {
            let failure = Box::new(Failure {
                sent: Some(stream.sent().to_vec()),
                received: Some(stream.received().to_vec()),
                ..Failure::default()
            });
            Stop::Failed(
                format!("the handshake for {target} failed: {error}"),
                failure,
            )
        })
    }

    /// A further connection through the running program.
    fn open(
        &self,
        target: &Target,
        service: &Service,
        child: &mut Child,
        deadline: &Deadline,
    ) -> Result<Conversation, Stop> {
        let listen = self.route.listen;
        let mut client = self
            .connect(deadline)
            .map_err(|error| Stop::failed(format!("cannot connect to {listen} again: {error}")))?;
        self.handshake(&mut client, target, deadline)?;
        let (service, _) = accept(service, &client, child, deadline)?;
        Ok(Conversation::new(client, service))
    }

    fn right_family(&self, peer: SocketAddr) -> Result<(), Stop> {
        let due = Family::of(self.route.service.ip());
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
        &self,
        peer: SocketAddr,
        told: Option<SocketAddr>,
        notes: &mut Vec<String>,
    ) -> Result<(), Stop> {
        notes.push(format!("came from {}", peer.ip()));
        let binds = self.tunnel.binds_outgoing();
        if binds && peer.ip() != self.route.outgoing {
            return Err(Stop::failed(format!(
                "the connection came from {}, not from {}",
                peer.ip(),
                self.route.outgoing
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
    fn localhost(&self) -> Result<Service, Stop> {
        let found = ("localhost", 0).to_socket_addrs().map_err(|error| {
            Stop::Skipped(format!("this machine cannot look up localhost: {error}"))
        })?;
        let mut ips: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        ips.dedup();
        let due = Family::of(self.route.service.ip());
        let first = ips.first().copied().map(Family::of);
        let reachable = match self.tunnel.binds_outgoing() {
            // A bound program can only reach its own family, and most take the first address.
            true => first == Some(due),
            false => ips.iter().any(|ip| Family::of(*ip) == due),
        };
        if !reachable || !ips.iter().all(IpAddr::is_loopback) {
            let reason = format!("localhost means {ips:?} here, which does not suit the route");
            return Err(Stop::Skipped(reason));
        }
        Service::bind(&ips)
            .map_err(|error| Stop::Skipped(format!("cannot listen on {ips:?}: {error}")))
    }

    fn port_closed(&self, deadline: &Deadline) -> Result<(), Stop> {
        let Route { listen, client, .. } = self.route;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let limit = deadline.remaining().max(Duration::from_millis(1));
            match connect_from(client, listen, limit) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                _ if !deadline.expired() => pause.sleep(deadline),
                Ok(_) => return Err(Stop::failed(format!("{listen} still accepts connections"))),
                Err(error) => {
                    return Err(Stop::failed(format!("{listen} does not refuse: {error}")));
                }
            }
        }
    }
}

/// Accepts at the service, and stops waiting when nobody is left who could connect.
fn accept(
    service: &Service,
    client: &Stream,
    child: &mut Child,
    deadline: &Deadline,
) -> Result<(Stream, SocketAddr), Stop> {
    let done = |(tcp, peer): (TcpStream, SocketAddr)| (Stream::new(tcp, *deadline), peer);
    loop {
        // Looked at first: what closed may have connected before, and that is then accepted below.
        let hopeless = match child.has_exited() {
            true => Some("the program has ended"),
            false if client.has_ended() => Some("the program has closed the client's connection"),
            false => None,
        };
        let look = Deadline::new(LOOK.min(deadline.remaining()), "a connection");
        match (service.accept(&look), hopeless) {
            (Ok(accepted), _) => return Ok(done(accepted)),
            (Err(error), _) if error.kind() != io::ErrorKind::TimedOut => {
                return Err(Stop::failed(format!("the service cannot accept: {error}")));
            }
            (_, Some(why)) => {
                return Err(Stop::failed(format!("no connection to the service: {why}")));
            }
            _ if deadline.expired() => return Err(Stop::failed(deadline.error("").to_string())),
            _ => {}
        }
    }
}

/// Judges how the program ended.
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

/// Whether a failed connect may succeed once the program listens.
fn may_come_later(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock
    )
}

fn untrue(told: SocketAddr, peer: SocketAddr) -> Stop {
    Stop::failed(format!(
        "the program says that it connects from {told}, but it came from {peer}"
    ))
}

#[cfg(test)]
mod tests;
