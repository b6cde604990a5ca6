//! The suite of UDP through SOCKS5 (RFC 1928 section 7).
//!
//! The check itself is the service: it receives what the relay sends on, and answers. So what must not
//! arrive is told from what is late by sending something right after it on the same way, where nothing
//! overtakes: no check waits for something that does not come, but for the end of an association.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::proto::decode::Decoded;
use crate::proto::socks5::udp::{decode, encode};
use crate::proto::socks5::{self, Bound, Host, UDP_ASSOCIATE};
use crate::server::address::canonical;
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::ends::socks5::request;
use crate::tunnel::link::socks5::place;
use crate::tunnel::report::Failure;
use crate::tunnel::route::Kind;
use crate::tunnel::suites::connectivity::{self, mapped};

/// More than the largest datagram.
const BUFFER: usize = 65_536;
/// The bytes of a datagram that are shown.
const MOST_SHOWN: usize = 256;
/// How long nothing must arrive before a closed association counts as one that forwards no more.
const QUIET: Duration = Duration::from_millis(300);
/// How many datagrams another association must carry meanwhile: a busy program is quiet too.
const MEANWHILE: u32 = 10;
/// How long a program may take to see that its association is over, and how many datagrams another one must
/// have carried by then.
const OVER_LIMIT: Duration = Duration::from_secs(3);
const OVER_AFTER: u32 = 3 * MEANWHILE;
const SOURCE: &str = "RFC 1928, section 7";

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "udp",
    routes: Routes::Each,
    applies: |tunnel| match tunnel.kind() {
        Kind::Socks5 => Ok(()),
        _ => Err("datagrams are relayed by SOCKS5 alone".to_owned()),
    },
    checks: Checks::Independent(&[
        CheckDef::must(
            "associate",
            "UDP ASSOCIATE is granted with a port",
            SOURCE,
            associates,
        ),
        CheckDef::must(
            "echo",
            "a datagram arrives, and the answer with the service's address",
            SOURCE,
            echo,
        ),
        CheckDef::must(
            "several",
            "further datagrams arrive too, each as it is",
            SOURCE,
            several,
        ),
        CheckDef::must(
            "payload-0",
            "an empty payload arrives, and so does the answer",
            SOURCE,
            |context| payload(context, 0),
        ),
        CheckDef::must(
            "payload-1400",
            "1400 bytes arrive, and come back",
            SOURCE,
            |context| payload(context, 1400),
        ),
        CheckDef::harness(
            "payload-9000",
            "9000 bytes arrive, and come back",
            |context| payload(context, 9000),
        ),
        CheckDef::harness(
            "payload-60000",
            "60000 bytes arrive, and come back",
            |context| payload(context, 60_000),
        ),
        CheckDef::must(
            "two-services",
            "one association reaches two services",
            SOURCE,
            two_services,
        ),
        CheckDef::must("name", "localhost is reached by name", SOURCE, name),
        CheckDef::harness(
            "name-answer",
            "the answer to a datagram that was sent to a name tells an address",
            name_answer,
        ),
        CheckDef::harness(
            "name-literal",
            "a name that is an address in text form is reached",
            name_literal,
        ),
        CheckDef::must(
            "fragment",
            "a fragment is not sent on as if it were whole",
            SOURCE,
            fragment,
        ),
        CheckDef::harness(
            "junk",
            "malformed datagrams are dropped, and the association goes on",
            junk,
        ),
        CheckDef::must(
            "stranger",
            "a datagram from another address than the client's is dropped",
            SOURCE,
            stranger,
        ),
        CheckDef::must(
            "closed",
            "when the TCP connection is closed, nothing is sent on",
            SOURCE,
            closed,
        ),
    ]),
};

/// Statements 44 and 53.
fn associates(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut association = Association::new(context)?;
    let relay = association.relay;
    context.note(format!("the relay is at {relay}"));
    association.stays()?;
    drop(association);
    context.still_works()
}

/// Statement 45.
fn echo(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let association = Association::new(context)?;
    let service = Far::new(context)?;
    let Exchange { from, told } = association.exchange(&service, b"echo")?;
    context
        .evidence
        .notes
        .extend(told.socket_addr().and_then(mapped));
    context.note(format!("came from {}", from.ip()));
    let outgoing = context.route().outgoing;
    match context.tunnel().binds_outgoing() && from.ip() != outgoing {
        false => Ok(()),
        true => Err(CheckError::failed(format!(
            "the datagram came from {}, not from {outgoing}",
            from.ip()
        ))),
    }
}

/// Statement 46.
fn several(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut association = Association::new(context)?;
    let service = Far::new(context)?;
    for payload in [&b"first"[..], b"second", b"\x00\x00\x00\x01 third"] {
        association.exchange(&service, payload)?;
    }
    association.stays()
}

/// Statement 47.
fn payload(context: &mut CheckContext<'_>, length: usize) -> Result<(), CheckError> {
    let association = Association::new(context)?;
    let service = Far::new(context)?;
    let payload = context.random().bytes(length);
    association.exchange(&service, &payload)?;
    context.carried(2 * length as u64);
    Ok(())
}

/// As statement 45, with answers that must not be mixed up.
fn two_services(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let association = Association::new(context)?;
    let services = [Far::new(context)?, Far::new(context)?];
    for round in [&b"one"[..], b"two"] {
        for service in &services {
            association.exchange(service, round)?;
        }
    }
    Ok(())
}

/// Statement 48.
fn name(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    by_name(context).map(drop)
}

/// Statement 48, the header: RFC 1928 leaves open whether it has the name or the address.
fn name_answer(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let exchange = by_name(context).map_err(|error| match error {
        CheckError::Failed(message, _) => CheckError::Skipped(format!("no answer: {message}")),
        error => error,
    });
    match exchange?.told.host {
        Host::Ip(_) => Ok(()),
        Host::Name(name) => {
            let name = String::from_utf8_lossy(&name).into_owned();
            Err(CheckError::failed(format!(
                "the answer's header tells the name {name:?}"
            )))
        }
    }
}

fn by_name(context: &mut CheckContext<'_>) -> Result<Exchange, CheckError> {
    if !context.tunnel().takes_names() {
        return Err(CheckError::Skipped("the program takes no names".to_owned()));
    }
    // The same rules as for streams; its port is not used.
    let streams = connectivity::localhost(context.tunnel(), &context.route())?;
    let association = Association::new(context)?;
    let service = Far::at(streams.addrs(), &association.deadline)?;
    let host = Host::Name(b"localhost".to_vec());
    association.exchange_by(&service, &host, b"by name")
}

fn name_literal(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    if !context.tunnel().takes_names() {
        return Err(CheckError::Skipped("the program takes no names".to_owned()));
    }
    let association = Association::new(context)?;
    let service = Far::new(context)?;
    let host = Host::Name(service.address().ip().to_string().into_bytes());
    association
        .exchange_by(&service, &host, b"by name")
        .map(drop)
}

/// Statement 49. A program may put fragments together; the first of two alone is nothing in any case.
fn fragment(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut association = Association::new(context)?;
    let service = Far::new(context)?;
    association.exchange(&service, b"before")?;
    let (host, port) = service.named();
    association.send(&encoded(1, &host, port, b"a fragment")?)?;
    // Received first if the fragment was dropped.
    association.exchange(&service, b"after")?;
    association.stays()
}

/// Statement 50.
fn junk(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut association = Association::new(context)?;
    let service = Far::new(context)?;
    association.exchange(&service, b"before")?;
    let (host, port) = service.named();
    let whole = encoded(0, &host, port, b"junk")?;
    let mut bad_type = whole.clone();
    bad_type[3] = 9;
    for junk in [&[][..], &[0], &[0, 0, 0], &whole[..7], &bad_type] {
        association.send(junk)?;
    }
    association.exchange(&service, b"after")?;
    association.stays()
}

/// Statement 51.
fn stranger(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let association = Association::new(context)?;
    let service = Far::new(context)?;
    association.exchange(&service, b"before")?;
    let stranger = association.stranger(context)?;
    let (host, port) = service.named();
    let datagram = encoded(0, &host, port, b"from a stranger")?;
    let sent = stranger.send_to(&datagram, association.relay);
    sent.map_err(|error| CheckError::Skipped(format!("a stranger cannot send: {error}")))?;
    association.exchange(&service, b"after").map(drop)
}

/// Statement 52. A relay that is gone refuses; one that only drops shows by silence, which means something
/// while the program does other work of the kind.
fn closed(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let other = Association::new(context)?;
    let other_service = Far::new(context)?;
    let meanwhile = || {
        let carried = other.exchange(&other_service, b"meanwhile");
        carried
            .map_err(|error| connection_group::about("another association, which is open", error))
    };
    let association = Association::new(context)?;
    let service = Far::new(context)?;
    association.exchange(&service, b"before")?;
    meanwhile()?;
    let Association { near, control, .. } = association;
    drop(control);
    let closed = Instant::now();
    let (host, port) = service.named();
    let datagram = encoded(0, &host, port, b"too late")?;
    let (mut carried, mut quiet) = (0, 0);
    while quiet < MEANWHILE {
        // The first is lost without a word; its refusal is told to the next one.
        match near.send(&datagram) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Ok(()),
            _ => {}
        }
        meanwhile()?;
        carried += 1;
        let pause = Deadline::new(QUIET / MEANWHILE, "a datagram");
        match service.receive(&pause) {
            Err(_) if pause.expired() => quiet += 1,
            Err(error) => return Err(error),
            Ok(_) if closed.elapsed() > OVER_LIMIT && carried > OVER_AFTER => {
                return Err(CheckError::failed(format!(
                    "{:.1?} after the TCP connection was closed, datagrams still arrive",
                    closed.elapsed()
                )));
            }
            Ok(_) => quiet = 0,
        }
    }
    Ok(())
}

/// A datagram and its answer.
struct Exchange {
    /// Where the datagram came from at the service.
    from: SocketAddr,
    /// What the header of the answer tells.
    told: Bound,
}

/// A client of an association.
pub(crate) struct Association {
    /// The TCP connection that keeps it alive.
    control: Endpoint,
    near: UdpSocket,
    relay: SocketAddr,
    deadline: Deadline,
}

impl Association {
    pub(crate) fn new(context: &mut CheckContext<'_>) -> Result<Association, CheckError> {
        let mut control = context.raw()?;
        let bound = associate(context, &mut control)?;
        if bound.port == 0 {
            return Err(control.failed("the reply tells port 0"));
        }
        match bound.socket_addr() {
            Some(told) => context.evidence.notes.extend(mapped(told)),
            None => context.note(format!("the reply tells {}", bound.describe())),
        }
        let route = context.route();
        let relay = place(&bound, route.listen);
        let deadline = context.deadline("the answer");
        let near = UdpSocket::bind((route.client, 0)).and_then(|near| {
            near.connect(relay)?;
            Ok(near)
        });
        let near = near.map_err(|error| {
            control.failed(format!("{} cannot send to {relay}: {error}", route.client))
        })?;
        Ok(Association {
            control,
            near,
            relay,
            deadline,
        })
    }

    /// There and back again.
    fn exchange(&self, service: &Far, payload: &[u8]) -> Result<Exchange, CheckError> {
        let (host, _) = service.named();
        self.exchange_by(service, &host, payload)
    }

    /// As [`Association::exchange`], with another name for the service's host.
    fn exchange_by(
        &self,
        service: &Far,
        host: &Host,
        payload: &[u8],
    ) -> Result<Exchange, CheckError> {
        let port = service.address().port();
        self.send(&encoded(0, host, port, payload)?)?;
        let deadline = self
            .deadline
            .waiting_for("the datagram to come to the service");
        let (index, came, from) = service.receive(&deadline)?;
        same(
            "the service has another payload than was sent",
            payload,
            &came,
        )?;
        // Another one than the client's, so that an echo by the relay itself is none.
        let answer: Vec<u8> = payload.iter().rev().map(|byte| byte ^ 0x55).collect();
        service.answer(index, &answer, from)?;
        let told = self.expect(service.addresses[index], host, &answer)?;
        Ok(Exchange { from, told })
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), CheckError> {
        let sent = self.near.send(datagram);
        sent.map(drop).map_err(|error| {
            CheckError::failed(format!("the client cannot send to {}: {error}", self.relay))
        })
    }

    /// The answer of the service at `from`, which was asked by the name `asked`; what its header tells.
    pub(crate) fn expect(
        &self,
        from: SocketAddr,
        asked: &Host,
        payload: &[u8],
    ) -> Result<Bound, CheckError> {
        let mut buffer = vec![0; BUFFER];
        let came = receive(&self.near, &mut buffer, &self.deadline)?;
        let shown = |message: String| {
            let failure = Failure {
                received: Some(first(came).to_vec()),
                ..Failure::default()
            };
            CheckError::with(message, failure)
        };
        let datagram = decode(came).map_err(|error| shown(error.to_string()))?;
        if datagram.fragment != 0 {
            return Err(shown(format!(
                "the answer has FRAG {:02x}",
                datagram.fragment
            )));
        }
        match datagram.peer.socket_addr() {
            Some(told) if canonical(told) == from => {}
            Some(told) => {
                return Err(shown(format!(
                    "the answer's header tells {told}, not {from}"
                )));
            }
            None if datagram.peer.host == *asked && datagram.peer.port == from.port() => {}
            None => {
                let told = datagram.peer.describe();
                return Err(shown(format!(
                    "the answer's header tells {told}, not {from}"
                )));
            }
        }
        same(
            "the client has another payload than was answered",
            payload,
            datagram.data,
        )?;
        Ok(datagram.peer)
    }

    /// The program has not closed the TCP connection.
    fn stays(&mut self) -> Result<(), CheckError> {
        match self.control.stream().has_ended() {
            false => Ok(()),
            true => Err(self
                .control
                .failed("the program has closed the TCP connection")),
        }
    }

    /// A socket at another address of the client's family.
    fn stranger(&self, context: &CheckContext<'_>) -> Result<UdpSocket, CheckError> {
        let route = context.route();
        let others = [route.service.ip(), route.outgoing, route.listen.ip()];
        let like = |ip: &&IpAddr| ip.is_ipv4() == route.client.is_ipv4() && **ip != route.client;
        let bound = others.iter().find(like).map(|ip| UdpSocket::bind((*ip, 0)));
        match bound {
            Some(Ok(socket)) => Ok(socket),
            _ => Err(CheckError::Skipped(
                "there is no other address here".to_owned(),
            )),
        }
    }
}

/// Asks for an association for a client that does not say where it sends from (statement 44).
fn associate(context: &CheckContext<'_>, control: &mut Endpoint) -> Result<Bound, CheckError> {
    let anyone: IpAddr = match Family::of(context.route().listen.ip()) {
        Family::V4 => [0; 4].into(),
        Family::V6 => [0; 16].into(),
    };
    let credentials = context.tunnel().credentials();
    let done = request(
        control.stream(),
        credentials,
        UDP_ASSOCIATE,
        &Host::Ip(anyone),
        0,
    );
    done.map_err(|error| match refusal(control) {
        // Statement 53; or a rule of the program's own configuration forbids it.
        Some(code @ (7 | 2)) => CheckError::Unsupported(format!(
            "UDP ASSOCIATE: reply code {code:02x}, {}",
            socks5::meaning(code)
        )),
        _ => control.failed(format!("UDP ASSOCIATE: {error}")),
    })
}

/// The code of the last reply.
fn refusal(control: &mut Endpoint) -> Option<u8> {
    let came = control.stream().received();
    // It is preceded by the method, and by the answer to a login.
    [2, 4]
        .into_iter()
        .find_map(|at| match socks5::reply(came.get(at..)?) {
            Ok(Decoded::Complete { value, used }) if at + used == came.len() => Some(value.code),
            _ => None,
        })
}

/// The service: a socket, or one for each address of a name.
struct Far {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
}

impl Far {
    fn new(context: &CheckContext<'_>) -> Result<Far, CheckError> {
        let ip = context.route().service.ip();
        let bound = UdpSocket::bind((ip, 0)).and_then(|socket| {
            let addresses = vec![socket.local_addr()?];
            Ok(Far {
                sockets: vec![socket],
                addresses,
            })
        });
        bound
            .map_err(|error| CheckError::Skipped(format!("no port for a service on {ip}: {error}")))
    }

    /// The same port on each of `addresses`.
    fn at(addresses: Vec<SocketAddr>, deadline: &Deadline) -> Result<Far, CheckError> {
        loop {
            let mut far = Far {
                sockets: Vec::new(),
                addresses: Vec::new(),
            };
            let mut port = 0;
            for address in &addresses {
                let Ok(socket) = UdpSocket::bind((address.ip(), port)) else {
                    break;
                };
                let Ok(here) = socket.local_addr() else { break };
                port = here.port();
                far.sockets.push(socket);
                far.addresses.push(here);
            }
            if far.sockets.len() == addresses.len() {
                return Ok(far);
            }
            if deadline.expired() {
                return Err(CheckError::Skipped(
                    "no port for a service on localhost".to_owned(),
                ));
            }
        }
    }

    fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// As a header names it.
    fn named(&self) -> (Host, u16) {
        (Host::Ip(self.address().ip()), self.address().port())
    }

    /// The next datagram: on which socket, its payload, and where it came from.
    fn receive(&self, deadline: &Deadline) -> Result<(usize, Vec<u8>, SocketAddr), CheckError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            for (index, socket) in self.sockets.iter().enumerate() {
                // With several, a short look at each in turn.
                let most = match self.sockets.len() {
                    1 => deadline.remaining(),
                    _ => Duration::from_millis(5),
                };
                let limit = most.min(deadline.remaining()).max(Duration::from_millis(1));
                let read = socket
                    .set_read_timeout(Some(limit))
                    .and_then(|()| socket.recv_from(&mut buffer));
                match read {
                    Ok((length, from)) => return Ok((index, buffer[..length].to_vec(), from)),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        return Err(CheckError::failed(format!(
                            "the service cannot receive: {error}"
                        )));
                    }
                }
            }
            deadline
                .check()
                .map_err(|error| CheckError::failed(error.to_string()))?;
        }
    }

    fn answer(&self, index: usize, payload: &[u8], to: SocketAddr) -> Result<(), CheckError> {
        let sent = self.sockets[index].send_to(payload, to);
        sent.map(drop)
            .map_err(|error| CheckError::failed(format!("the service cannot answer {to}: {error}")))
    }
}

pub(crate) fn encoded(
    fragment: u8,
    host: &Host,
    port: u16,
    payload: &[u8],
) -> Result<Vec<u8>, CheckError> {
    encode(fragment, host, port, payload).map_err(|error| CheckError::failed(error.to_string()))
}

/// The next datagram within the deadline.
fn receive<'a>(
    socket: &UdpSocket,
    buffer: &'a mut [u8],
    deadline: &Deadline,
) -> Result<&'a [u8], CheckError> {
    loop {
        let left = deadline.check();
        let left = left.map_err(|error| CheckError::failed(error.to_string()))?;
        let read = socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .and_then(|()| socket.recv(buffer));
        match read {
            Ok(length) => return Ok(&buffer[..length]),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                return Err(CheckError::failed(format!(
                    "the client cannot receive: {error}"
                )));
            }
        }
    }
}

fn same(message: &str, expected: &[u8], received: &[u8]) -> Result<(), CheckError> {
    if expected == received {
        return Ok(());
    }
    let (due, came) = (expected.len(), received.len());
    let failure = Failure {
        expected: Some(first(expected).to_vec()),
        received: Some(first(received).to_vec()),
        ..Failure::default()
    };
    Err(CheckError::with(
        format!("{message}: {came} bytes, {due} were due"),
        failure,
    ))
}

fn first(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MOST_SHOWN)]
}

/// A timeout of the socket, which is judged by the deadline.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests;
