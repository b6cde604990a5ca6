//! The way to and through a started program.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::connection::Connection;
use crate::deadline::{Backoff, Deadline};
use crate::proto::decode::Decoded;
use crate::proto::proxy_protocol::{self, Header};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::address::connect_from;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::report::Failure;
use crate::tunnel::route::{Kind, Route, Target};

/// How often waiting for a connection looks whether there is still somebody to make it.
const LOOK: Duration = Duration::from_millis(10);
/// How long to wait for the client's connection when one of the program's own has come.
const ANOTHER: Duration = Duration::from_millis(500);
/// How soon a connection ends that is made to see whether the service lives.
const AT_ONCE: Duration = Duration::from_millis(2);
/// How long a program may take to connect before it is asked whether it waits for the client, and what is said then.
const PROMPT: Duration = Duration::from_millis(400);
const OPENER: &[u8] = b"Is anybody there?\r\n";
/// How much of a header is looked at: the longest that names addresses of TCP, and some more.
const HEADER: usize = 256;

/// The way to and through a program. A copy of it can be used on any thread.
#[derive(Clone, Copy)]
pub(crate) struct Connector<'a> {
    pub(crate) tunnel: &'a dyn Tunnel,
    pub(crate) route: Route,
    /// See [`TunnelHarness::segment_size`](crate::tunnel::TunnelHarness::segment_size).
    pub(crate) segment_size: Option<usize>,
    pub(crate) manners: &'a Manners,
}

/// What a run has found out of its program's ways.
#[derive(Debug, Default)]
pub(crate) struct Manners {
    /// How often in a row it has connected to the service only when the client had spoken.
    waited: AtomicU32,
}

impl Manners {
    /// Whether it connects to the service only when the client has said something, as programs do that choose a
    /// service by that. Once may be chance.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.waited.load(Ordering::Relaxed) > 1
    }

    /// Whether it did so the last time.
    pub(crate) fn has_waited(&self) -> bool {
        self.waited.load(Ordering::Relaxed) > 0
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

    /// Accepts at the service, and stops waiting when nobody is left who could connect. A forwarder that waits for
    /// the client to speak is told something, which is taken away again at the service.
    pub(crate) fn accept(
        &self,
        service: &Service,
        client: &mut Stream,
        child: &mut Programs,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        let mut opener = Opener::new(self, client);
        if self.manners.waits_for_client() {
            opener.say(client);
        }
        let (mut stream, peer) = self.wait(service, client, child, deadline, &mut opener)?;
        match opener.was_said {
            true => {
                opener.take(&mut stream)?;
                self.manners.waited.fetch_add(1, Ordering::Relaxed);
            }
            false => self.manners.waited.store(0, Ordering::Relaxed),
        }
        Ok((stream, peer))
    }

    /// Has the client say something to a program that has waited for that before, where somebody else accepts it, or
    /// nobody.
    pub(crate) fn speak_if_waited_for(&self, client: &mut Stream) -> Opener {
        let mut opener = Opener::new(self, client);
        if self.manners.has_waited() {
            opener.say(client);
        }
        opener
    }

    /// As [`Connector::accept`], at a service on several addresses, which a name stands for. A program may connect
    /// to more than one of them and go on with one (RFC 8305): that is the one that carries what the client says.
    /// Unless it has spoken already, it then says what [`Opener::take`] takes away again, behind the preamble.
    pub(crate) fn accept_by_name(
        &self,
        service: &Service,
        client: &mut Stream,
        child: &mut Programs,
        deadline: &Deadline,
        has_spoken: bool,
    ) -> Result<(Stream, SocketAddr, Opener), CheckError> {
        let mut opener = Opener {
            may_be_said: service.has_several() && !has_spoken,
            was_said: false,
        };
        opener.say(client);
        let (stream, peer) = self.wait(service, client, child, deadline, &mut opener)?;
        Ok((stream, peer, opener))
    }

    fn wait(
        &self,
        service: &Service,
        client: &mut Stream,
        child: &mut Programs,
        deadline: &Deadline,
        opener: &mut Opener,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        // A program that says of each connection that it is its own must not use up the check's time.
        let no_other = Deadline::new(ANOTHER.min(deadline.remaining() / 4), "another connection");
        let prompt = Deadline::new(PROMPT.min(deadline.remaining() / 4), "a connection");
        let mut held: Vec<(Stream, SocketAddr)> = Vec::new();
        loop {
            if let Some(carries) = held.iter().position(|(stream, _)| stream.has_data()) {
                return Ok(held.swap_remove(carries));
            }
            held.retain(|(stream, _)| !stream.has_ended());
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
                        _ if service.has_several() => held.push((stream, peer)),
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
                    let but = match held.len() {
                        0 => String::new(),
                        many => format!("; of {many} connections none carries what it says"),
                    };
                    return Err(CheckError::failed(deadline.error(&but).to_string()));
                }
                _ if prompt.expired() => opener.say(client),
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

    /// What a connection becomes that a server of the crate has accepted in place of the service.
    pub(crate) fn accepted_by_server(
        &self,
        conn: Connection,
        deadline: &Deadline,
    ) -> io::Result<Stream> {
        Ok(Stream::of(conn, *deadline)?.in_segments(self.segment_size))
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

/// What the client says so that the program connects to the service, if it waits for that, or so that its connection
/// is known among others.
#[derive(Debug)]
pub(crate) struct Opener {
    may_be_said: bool,
    was_said: bool,
}

impl Opener {
    /// A client that has said something already needs none; and what says where to is a handshake.
    fn new(connector: &Connector<'_>, client: &Stream) -> Opener {
        let is_forwarder = connector.tunnel.kind() == Kind::Forward;
        Opener {
            may_be_said: is_forwarder && client.sent().is_empty(),
            was_said: false,
        }
    }

    /// Once at most. If it cannot be sent, the wait for the program tells why.
    fn say(&mut self, client: &mut Stream) {
        if self.may_be_said {
            self.may_be_said = false;
            self.was_said = client.write_all(OPENER).is_ok();
            client.forget();
        }
    }

    /// Takes it away at the service, if it was said.
    pub(crate) fn take(&self, service: &mut Stream) -> Result<(), CheckError> {
        if !self.was_said {
            return Ok(());
        }
        let mut came = [0; OPENER.len()];
        let read = service.read_exact(&mut came);
        let came_whole = read.is_ok() && came == OPENER;
        let failure = Failure {
            expected: Some(OPENER.to_vec()),
            received: Some(service.received().to_vec()),
            ..Failure::default()
        };
        service.forget();
        match (came_whole, read) {
            (true, _) => Ok(()),
            (false, Err(error)) => Err(CheckError::with(
                format!("what the client has said first does not come: {error}"),
                failure,
            )),
            (false, Ok(())) => Err(CheckError::with(
                "the service has something else than the client has said first",
                failure,
            )),
        }
    }
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

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::process::Command;

    use super::*;
    use crate::tunnel::kinds::forward::Forward;
    use crate::tunnel::kinds::proxy_protocol::ProxyProtocol;
    use crate::tunnel::link::launch::{Means, start};

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
            manners: Box::leak(Box::default()),
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
        let mut child = start(&tunnel, &connector.route, &Means::default(), None).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
        let mut client = Stream::new(client, deadline);

        let (accepted, _) = listener.accept().unwrap();
        let short = Deadline::new(Duration::from_millis(30), "the program to connect");
        let error = connector
            .accept(&service, &mut client, &mut child, &short)
            .unwrap_err();
        assert_eq!(
            message(error),
            "failed: timed out after 30ms waiting for the program to connect"
        );
        drop(accepted);
        let error = connector
            .accept(&service, &mut client, &mut child, &deadline)
            .unwrap_err();
        assert!(message(error).contains("the program has closed the client's connection"));
        child.stop(Duration::from_secs(30));
        let error = connector
            .accept(&service, &mut client, &mut child, &deadline)
            .unwrap_err();
        assert!(message(error).contains("the program has ended"));
        assert!(!deadline.expired());

        // What connected before that is not lost.
        let _early = TcpStream::connect(connector.route.service).unwrap();
        assert!(
            connector
                .accept(&service, &mut client, &mut child, &deadline)
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
            let mut child = start(tunnel, &connector.route, &Means::default(), None).unwrap();
            let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let mut client = Stream::new(client, deadline);
            let mut look = TcpStream::connect(connector.route.service).unwrap();
            look.write_all(words).unwrap();
            drop(look);
            let mut own = TcpStream::connect(connector.route.service).unwrap();
            own.write_all(b"PROXY").unwrap();
            let (_, peer) = connector
                .accept(&service, &mut client, &mut child, &deadline)
                .unwrap();
            assert_eq!(peer, own.local_addr().unwrap());
            assert_eq!(service.take_health_checks(), 1);
            child.stop(Duration::from_secs(30));
        }
    }

    /// As a program does that connects to both addresses of a name (RFC 8305), in either order.
    #[cfg(target_os = "linux")]
    #[test]
    fn of_two_connections_that_counts_which_carries_the_data() {
        let ips = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        let tunnel = crate::tunnel::kinds::socks5::Socks5::template("sleep 1000");
        let (connector, _) = connector(&tunnel);
        let mut child = start(&tunnel, &connector.route, &Means::default(), None).unwrap();
        let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
        for (first, has_spoken) in [(0, false), (1, false), (0, true)] {
            let service = Service::bind(&ips).unwrap();
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (mut near, _) = listener.accept().unwrap();
            let mut client = Stream::new(client, deadline);
            if has_spoken {
                client.write_all(b"early").unwrap();
            }
            let port = service.port();
            let program = std::thread::spawn(move || {
                let dropped = TcpStream::connect((ips[first], port)).unwrap();
                let mut kept = TcpStream::connect((ips[1 - first], port)).unwrap();
                drop(dropped);
                let mut said = vec![0; if has_spoken { 5 } else { OPENER.len() }];
                near.read_exact(&mut said).unwrap();
                kept.write_all(&said).unwrap();
                (near, kept)
            });
            let accepted =
                connector.accept_by_name(&service, &mut client, &mut child, &deadline, has_spoken);
            let (mut stream, peer, opener) = accepted.unwrap();
            opener.take(&mut stream).unwrap();
            let (_near, mut kept) = program.join().unwrap();
            assert_eq!(peer, kept.local_addr().unwrap());
            kept.write_all(b"!").unwrap();
            let mut came = vec![0; if has_spoken { 6 } else { 1 }];
            stream.read_exact(&mut came).unwrap();
            assert_eq!(came, if has_spoken { b"early!" } else { &b"!"[..] });
        }
        child.stop(Duration::from_secs(30));
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
