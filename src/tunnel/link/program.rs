//! A started program with all that belongs to it, and the ways to and through it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::deadline::Backoff;
use crate::deadline::{Deadline, prose};
use crate::proto::decode::Decoded;
use crate::proto::proxy_protocol::{self, Header};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Options;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::ends::address::{Pair, connect_from};
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::listening;
use crate::tunnel::programs::port::Lease;
use crate::tunnel::programs::setup::Setup;
use crate::tunnel::report::{Ended, Failure};
use crate::tunnel::route::{Kind, Route, Target};

/// How often waiting for a connection looks whether there is still somebody to make it.
const LOOK: Duration = Duration::from_millis(10);

/// How long to wait for the client's connection when one of the program's own has come.
const ANOTHER: Duration = Duration::from_millis(500);
/// How soon a connection ends that is made to see whether the service lives.
const AT_ONCE: Duration = Duration::from_millis(2);
/// How often to try for a port that is free for datagrams too.
const ATTEMPTS: u32 = 20;
/// How much of a header is looked at: the longest that names addresses of TCP, and some more.
const HEADER: usize = 256;

/// Where a program can be started: one combination of address families.
#[derive(Clone, Copy)]
pub(crate) struct LaunchSpec<'a> {
    pub(crate) tunnel: &'a dyn Tunnel,
    pub(crate) options: &'a Options,
    pub(crate) front: Pair,
    pub(crate) back: Pair,
}

/// A started program, its port and the service behind it. Dropping it ends the program.
pub(crate) struct StartedProgram<'a> {
    connector: Connector<'a>,
    child: Programs,
    service: Service,
    ports: Ports,
    /// Where a forwarder of datagrams sends them: on the service's port.
    datagrams: Option<UdpSocket>,
    /// The connection that found it listening, until it is used.
    first: Option<Stream>,
    ready_after: Duration,
    _lease: Option<Lease>,
}

/// The way to and through a program. A copy of it can be used on any thread.
#[derive(Clone, Copy)]
pub(crate) struct Connector<'a> {
    pub(crate) tunnel: &'a dyn Tunnel,
    pub(crate) route: Route,
    /// See [`TunnelHarness::segment_size`](crate::tunnel::TunnelHarness::segment_size).
    pub(crate) segment_size: Option<usize>,
}

impl<'a> LaunchSpec<'a> {
    /// Starts the program; it need not listen yet.
    pub(crate) fn start(&self) -> Result<StartedProgram<'a>, Error> {
        let no_port = |what: &str, ip: IpAddr| {
            let message = format!("no port for {what} on {ip}");
            move |error| Error::new(ErrorKind::Port, message, Some(error))
        };
        let (near, far) = (self.front.server, self.back.server);
        let running = self.tunnel.running();
        let (listen, lease) = match running {
            Some(running) => (running.listen, None),
            None => {
                let lease = Lease::take(near, &self.options.ports);
                let lease = lease.map_err(no_port("the program", near))?;
                (lease.addr(), Some(lease))
            }
        };
        let has_datagrams = !self.tunnel.kind().carries_connections();
        let service = match running.and_then(|running| running.service) {
            Some(address) => Service::bind_at(address).and_then(|service| {
                let datagrams = has_datagrams.then(|| UdpSocket::bind(address));
                Ok((service, datagrams.transpose()?))
            }),
            None => bind_service(far, has_datagrams),
        };
        let (service, datagrams) = service.map_err(no_port("the service", far))?;
        let route = Route {
            listen,
            service: service.addr(),
            client: self.front.client,
            outgoing: self.back.client,
        };
        let connector = Connector {
            tunnel: self.tunnel,
            route,
            segment_size: self.options.segment_size,
        };
        let ports = self.options.ports.clone();
        Ok(StartedProgram {
            connector,
            child: start(self.tunnel, &route, &ports, None)?,
            ports,
            service,
            datagrams,
            first: None,
            ready_after: Duration::ZERO,
            _lease: lease,
        })
    }
}

impl<'a> StartedProgram<'a> {
    pub(crate) fn connector(&self) -> Connector<'a> {
        self.connector
    }

    pub(crate) fn child(&mut self) -> &mut Programs {
        &mut self.child
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// What receives the datagrams that are forwarded, if that is what the program does.
    pub(crate) fn datagrams(&self) -> Option<&UdpSocket> {
        self.datagrams.as_ref()
    }

    /// Leaves the service's port for datagrams to somebody else, or takes it again.
    pub(crate) fn lend_datagrams(&mut self, lend: bool) -> io::Result<()> {
        match lend {
            true => self.datagrams = None,
            false => self.datagrams = Some(UdpSocket::bind(self.service.addr())?),
        }
        Ok(())
    }

    pub(crate) fn service_mut(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Waits until it listens. The connection that finds that out is kept for the first who needs one.
    pub(crate) fn get_ready(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        self.child.start_rest(deadline)?;
        match self.datagrams {
            Some(_) => self.wait_for_its_port(deadline)?,
            None => self.first = Some(self.first_connection(deadline)?),
        }
        self.ready_after = self.child.age();
        Ok(())
    }

    /// Whether nobody has used the connection yet that found it listening.
    pub(crate) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// From its start until it listened.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A connection to the program: the one that found it listening, or a fresh one.
    pub(crate) fn connect(&mut self, deadline: &Deadline) -> Result<Stream, CheckError> {
        match self.first.take() {
            Some(mut stream) => {
                stream.set_deadline(*deadline);
                Ok(stream)
            }
            None => self.connector.connect_again(deadline),
        }
    }

    /// Starts it again where it was, once it has ended; with so many descriptors at most, if that is said.
    pub(crate) fn start_again(&mut self, descriptors: Option<usize>) -> Result<(), Error> {
        self.first = None;
        let Connector { tunnel, route, .. } = self.connector;
        self.child = start(tunnel, &route, &self.ports, descriptors)?;
        Ok(())
    }

    /// Whether another check can use it as if nothing had been done with it: it runs, and nobody is on
    /// the way to the service.
    pub(crate) fn is_as_new(&mut self) -> bool {
        // What came late is the next check's to ignore no more than a connection is.
        let is_quiet = self.datagrams.as_ref().is_none_or(|socket| {
            let peeked = socket
                .set_nonblocking(true)
                .and_then(|()| socket.recv_from(&mut [0]));
            socket.set_nonblocking(false).is_ok() && peeked.is_err()
        });
        is_quiet && !self.has_first() && !self.child.has_exited() && self.service.is_idle()
    }

    /// Whether it has ended, or is about to: how, if anything of it ended by itself.
    pub(crate) fn death(&mut self, grace: Duration) -> Option<String> {
        self.child.settle();
        match self.child.has_exited() {
            true => Some(self.child.deaths(grace)).filter(|how| !how.is_empty()),
            false => None,
        }
    }

    /// Ends it, and tells all about it in words.
    pub(crate) fn explain(&mut self, grace: Duration) -> Vec<Ended> {
        self.child.settle();
        self.child.explain(grace)
    }

    /// Connects as soon as the program listens. This connection is to be used: with a forwarder every
    /// connection already reaches the service.
    pub(crate) fn first_connection(&mut self, deadline: &Deadline) -> Result<Stream, CheckError> {
        let Route { listen, client, .. } = self.connector.route;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let error = match self.connector.connect(deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if self.child.has_exited() {
                let message = format!("the program ended before it listened on {listen}");
                return Err(CheckError::died(message));
            }
            if !may_come_later(&error) {
                let message = format!("cannot connect to {listen} from {client}: {error}");
                return Err(CheckError::failed(message));
            }
            if deadline.expired() {
                return Err(CheckError::failed(format!(
                    "nothing listens on {listen} after {:.1?}: connecting from {client}: {error}{}",
                    deadline.elapsed(),
                    listening::elsewhere(self.child.id(), listen),
                )));
            }
            pause.sleep(deadline);
        }
    }

    /// Waits until the program takes datagrams.
    fn wait_for_its_port(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        let listen = self.connector.route.listen;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            // One that was not started here says nothing of its port.
            if self.child.is_foreign() || listening::takes_datagrams_at(listen) {
                return Ok(());
            }
            if self.child.has_exited() {
                let message = format!("the program ended before it took datagrams on {listen}");
                return Err(CheckError::died(message));
            }
            if deadline.expired() {
                return Err(CheckError::failed(format!(
                    "nothing takes datagrams on {listen} after {:.1?}",
                    deadline.elapsed()
                )));
            }
            pause.sleep(deadline);
        }
    }

    /// A connection through the running program to the service, asked for as `target`.
    pub(crate) fn open_to(
        &mut self,
        target: &Target,
        deadline: &Deadline,
    ) -> Result<Conversation, CheckError> {
        let mut client = self.connect(deadline)?;
        self.connector.handshake(&mut client, target, deadline)?;
        let (mut service, _) = self.accept(&client, deadline)?;
        self.connector.preamble(&mut service, &client)?;
        Ok(Conversation::new(client, service))
    }

    /// A connection through the running program: to the service unless told otherwise.
    pub(crate) fn open(
        &mut self,
        to: Option<(&Target, &Service)>,
        deadline: &Deadline,
    ) -> Result<Conversation, CheckError> {
        let Some((target, service)) = to else {
            let own = Target::Address(self.connector.route.service);
            return self.open_to(&own, deadline);
        };
        let mut client = self.connect(deadline)?;
        self.connector.handshake(&mut client, target, deadline)?;
        let (mut service, _) =
            self.connector
                .accept(service, &client, &mut self.child, deadline)?;
        self.connector.preamble(&mut service, &client)?;
        Ok(Conversation::new(client, service))
    }

    /// As [`StartedProgram::accept`], at another service.
    pub(crate) fn accept_at(
        &mut self,
        service: &Service,
        client: &Stream,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        self.connector
            .accept(service, client, &mut self.child, deadline)
    }

    /// See [`Connector::accept`].
    pub(crate) fn accept(
        &mut self,
        client: &Stream,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        self.connector
            .accept(&self.service, client, &mut self.child, deadline)
    }
}

impl Connector<'_> {
    /// A fresh connection to the program.
    pub(crate) fn connect(&self, deadline: &Deadline) -> io::Result<Stream> {
        // At the very end there is still time for one attempt.
        let limit = deadline.remaining().max(Duration::from_millis(1));
        let tcp = connect_from(self.route.client, self.route.listen, limit)?;
        Ok(Stream::new(tcp, *deadline).in_segments(self.segment_size))
    }

    /// As [`Connector::connect`], where the program has listened before.
    pub(crate) fn connect_again(&self, deadline: &Deadline) -> Result<Stream, CheckError> {
        let listen = self.route.listen;
        self.connect(deadline).map_err(|error| {
            CheckError::failed(format!("cannot connect to {listen} again: {error}"))
        })
    }

    /// Asks for a connection to `target`; the address that the program says it connects from.
    pub(crate) fn handshake(
        &self,
        stream: &mut Stream,
        target: &Target,
        deadline: &Deadline,
    ) -> Result<Option<SocketAddr>, CheckError> {
        stream.set_deadline(*deadline);
        self.tunnel.handshake(stream, target).map_err(|error| {
            let failure = Failure {
                sent: Some(stream.sent().to_vec()),
                received: Some(stream.received().to_vec()),
                ..Failure::default()
            };
            CheckError::with(
                format!("the handshake for {} failed: {error}", target.to_report()),
                failure,
            )
        })
    }

    /// What the service reads before the data.
    pub(crate) fn preamble(&self, service: &mut Stream, client: &Stream) -> Result<(), CheckError> {
        let read = client
            .local_addr()
            .and_then(|client| self.tunnel.preamble(service, client, &self.route));
        read.map_err(|error| {
            let failure = Failure {
                received: Some(service.received().to_vec()),
                ..Failure::default()
            };
            CheckError::with(
                format!("what the service reads first is wrong: {error}"),
                failure,
            )
        })
    }

    /// Accepts at the service, and stops waiting when nobody is left who could connect.
    pub(crate) fn accept(
        &self,
        service: &Service,
        client: &Stream,
        child: &mut Programs,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        // A program that says of each connection that it is its own must not use up the check's time.
        let no_other = Deadline::new(ANOTHER.min(deadline.remaining() / 4), "another connection");
        loop {
            // Looked at first: what closed may have connected before, and that is then accepted below.
            let hopeless = match child.has_exited() {
                true => Some("the program has ended"),
                false if client.has_ended() => {
                    Some("the program has closed the client's connection")
                }
                false => None,
            };
            let look = Deadline::new(LOOK.min(deadline.remaining()), "a connection");
            match (service.accept(&look), hopeless) {
                (Ok((tcp, peer)), _) => {
                    let mut stream = self.accepted(tcp, deadline);
                    match self.is_health_check(&mut stream, service) && !client.has_ended() {
                        true if !no_other.expired() => {}
                        _ => return Ok((stream, peer)),
                    }
                }
                (Err(error), _) if error.kind() != io::ErrorKind::TimedOut => {
                    return Err(CheckError::failed(format!(
                        "the service cannot accept: {error}"
                    )));
                }
                (_, Some(why)) => {
                    return Err(CheckError::failed(format!(
                        "no connection to the service: {why}"
                    )));
                }
                _ if deadline.expired() => {
                    return Err(CheckError::failed(deadline.error("").to_string()));
                }
                _ => {}
            }
        }
    }

    /// Whether a connection that has come to the service is the program's own, to see whether the service
    /// lives: by its header of the PROXY protocol; or it ends at once, and nothing has come. That is looked for
    /// in the first of a program, and in all of one that has made such.
    pub(crate) fn is_health_check(&self, stream: &mut Stream, service: &Service) -> bool {
        let is_one = match self.tunnel.kind() {
            Kind::ProxyProtocol => match header(stream) {
                Some(header) => !matches!(header, Header::Tcp { .. }),
                None => stream.has_ended(),
            },
            Kind::Forward => {
                let looks = service.looks_for_health_checks();
                stream.has_ended()
                    || (looks && stream.has_more_within(AT_ONCE) && stream.has_ended())
            }
            _ => return false,
        };
        if is_one {
            service.add_health_check();
        }
        is_one
    }

    /// What every connection at the service becomes.
    pub(crate) fn accepted(&self, tcp: TcpStream, deadline: &Deadline) -> Stream {
        Stream::new(tcp, *deadline).in_segments(self.segment_size)
    }

    /// Waits until nothing answers at the program's port.
    pub(crate) fn port_closed(&self, deadline: &Deadline) -> Result<(), CheckError> {
        let Route { listen, client, .. } = self.route;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let limit = deadline.remaining().max(Duration::from_millis(1));
            match connect_from(client, listen, limit) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
                _ if !deadline.expired() => pause.sleep(deadline),
                Ok(_) => {
                    return Err(CheckError::failed(format!(
                        "{listen} still accepts connections"
                    )));
                }
                Err(error) => {
                    return Err(CheckError::failed(format!(
                        "{listen} does not refuse: {error}"
                    )));
                }
            }
        }
    }
}

/// A service on a free port, and what takes datagrams on the same port if that is wanted.
fn bind_service(ip: IpAddr, has_datagrams: bool) -> io::Result<(Service, Option<UdpSocket>)> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        let service = Service::bind(&[ip])?;
        if !has_datagrams {
            return Ok((service, None));
        }
        match UdpSocket::bind(service.addr()) {
            Ok(datagrams) => return Ok((service, Some(datagrams))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts.next().is_some() => {
            }
            Err(error) => return Err(error),
        }
    }
}

/// Starts the first program of `tunnel`, if it has any to start. The one that the client connects to may open as
/// many `descriptors`, if that is said.
pub(crate) fn start(
    tunnel: &dyn Tunnel,
    route: &Route,
    ports: &Ports,
    descriptors: Option<usize>,
) -> Result<Programs, Error> {
    if tunnel.running().is_some() {
        return Ok(Programs::none());
    }
    let fail = |source| {
        let message = format!("cannot make the command for {}", tunnel.slug());
        Error::new(ErrorKind::Program, message, Some(source))
    };
    let mut setup = Setup::new(*route, ports.clone());
    let mut programs = tunnel.programs(&mut setup).map_err(fail)?;
    if programs.is_empty() {
        let text = "it gives no program, and tells of none that runs".to_owned();
        return Err(fail(prose(io::ErrorKind::InvalidInput, text)));
    }
    if let (Some(last), Some(limit)) = (programs.last_mut(), descriptors) {
        last.limit_descriptors(limit);
    }
    Programs::start(setup, programs)
}

/// The header of the PROXY protocol that a connection begins with, which stays there; `None` where it does not
/// come, or is none: who reads it says so.
fn header(stream: &mut Stream) -> Option<Header> {
    let mut pause = Backoff::new(Duration::from_micros(100));
    let (mut buffer, mut before) = ([0; HEADER], 0);
    let mut quiet = Deadline::new(ANOTHER, "the header");
    while stream.has_more_within(quiet.remaining()) {
        let length = stream.peek(&mut buffer).ok()?;
        let input = &buffer[..length];
        let decoded = match input.first()? {
            b'\r' => proxy_protocol::v2(input),
            _ => proxy_protocol::v1(input),
        };
        match decoded {
            Ok(Decoded::Complete { value, .. }) => return Some(value),
            Ok(Decoded::Partial { .. }) if length > before => {
                quiet = Deadline::new(ANOTHER, "the header");
            }
            Ok(Decoded::Partial { .. }) if !quiet.expired() => pause.sleep(&quiet),
            _ => return None,
        }
        before = length;
    }
    None
}

/// Whether a failed connect may succeed once the program listens.
fn may_come_later(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::Command;

    use super::*;
    use crate::tunnel::kinds::forward::Forward;
    use crate::tunnel::kinds::proxy_protocol::ProxyProtocol;

    /// IPv4 on both sides.
    fn connector(tunnel: &dyn Tunnel) -> (Connector<'_>, Service) {
        let service = Service::bind(&[[127, 0, 0, 1].into()]).unwrap();
        let route = Route {
            listen: "127.0.0.1:1".parse().unwrap(),
            service: SocketAddr::new([127, 0, 0, 1].into(), service.port()),
            client: [127, 0, 0, 1].into(),
            outgoing: [127, 0, 0, 1].into(),
        };
        let connector = Connector {
            tunnel,
            route,
            segment_size: None,
        };
        (connector, service)
    }

    fn no_command(_: &Route) -> Command {
        unreachable!("nothing is started here")
    }

    fn message(error: CheckError) -> String {
        match error {
            CheckError::Failed(message, _) => format!("failed: {message}"),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn nobody_who_could_connect_ends_the_wait_at_once() {
        let tunnel = Forward::template("sleep 1000");
        let (connector, service) = connector(&tunnel);
        let mut child = start(&tunnel, &connector.route, &Ports::default(), None).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
        let client = Stream::new(client, deadline);

        let (accepted, _) = listener.accept().unwrap();
        let short = Deadline::new(Duration::from_millis(30), "the program to connect");
        let error = connector
            .accept(&service, &client, &mut child, &short)
            .unwrap_err();
        assert_eq!(
            message(error),
            "failed: timed out after 30ms waiting for the program to connect"
        );
        drop(accepted);
        let error = connector
            .accept(&service, &client, &mut child, &deadline)
            .unwrap_err();
        assert!(message(error).contains("the program has closed the client's connection"));
        child.stop(Duration::from_secs(30));
        let error = connector
            .accept(&service, &client, &mut child, &deadline)
            .unwrap_err();
        assert!(message(error).contains("the program has ended"));
        assert!(!deadline.expired());

        // What connected before that is not lost.
        let _early = TcpStream::connect(connector.route.service).unwrap();
        assert!(
            connector
                .accept(&service, &client, &mut child, &deadline)
                .is_ok()
        );
    }

    #[test]
    fn a_connection_that_looks_whether_the_service_lives_is_not_the_clients() {
        let forward = Forward::template("sleep 1000");
        let v2 = ProxyProtocol::template("sleep 1000").v2();
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
        for (tunnel, words) in [
            (&forward as &dyn Tunnel, &b""[..]),
            (&v2, b""),
            (&v2, local),
        ] {
            let (connector, service) = connector(tunnel);
            let mut child = start(tunnel, &connector.route, &Ports::default(), None).unwrap();
            let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let client = Stream::new(client, deadline);
            let mut look = TcpStream::connect(connector.route.service).unwrap();
            look.write_all(words).unwrap();
            drop(look);
            let mut own = TcpStream::connect(connector.route.service).unwrap();
            own.write_all(b"PROXY").unwrap();
            let (_, peer) = connector
                .accept(&service, &client, &mut child, &deadline)
                .unwrap();
            assert_eq!(peer, own.local_addr().unwrap());
            assert_eq!(service.take_health_checks(), 1);
            child.stop(Duration::from_secs(30));
        }
    }

    #[test]
    fn a_port_that_still_answers_is_not_closed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let tunnel = Forward::spawn(no_command);
        let (mut connector, _) = connector(&tunnel);
        connector.route.listen = listener.local_addr().unwrap();
        let deadline = Deadline::new(Duration::from_millis(30), "the port to close");
        let error = message(connector.port_closed(&deadline).unwrap_err());
        assert!(error.ends_with("still accepts connections"), "{error}");
        drop(listener);
        let deadline = Deadline::new(Duration::from_secs(30), "the port to close");
        connector.port_closed(&deadline).unwrap();
    }
}
