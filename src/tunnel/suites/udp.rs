//! The suite of datagrams: through SOCKS5 (RFC 1928 section 7), and through forwarders.
//!
//! The check itself is the service: it receives what the program sends on, and answers. So what must not
//! arrive is told from what is late by sending something right after it on the same way, where nothing
//! overtakes: no check waits for something that does not come, but for the end of an association.

pub(crate) mod association;
pub(crate) mod client;
mod far;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use self::association::{Association, Exchange, encoded};
use self::client::Client;
use self::far::{Far, answered};
use crate::deadline::Deadline;
use crate::proto::socks5::Host;
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::listening;
use crate::tunnel::route::Kind;
use crate::tunnel::suites::connectivity::{self, mapped};

/// How long nothing must arrive before a closed association counts as one that forwards no more.
const QUIET: Duration = Duration::from_millis(300);
/// How many datagrams another association must carry meanwhile: a busy program is quiet too.
const MEANWHILE: u32 = 10;
/// How long a program may take to see that its association is over, and how many datagrams another one must
/// have carried by then.
const OVER_LIMIT: Duration = Duration::from_secs(3);
const OVER_AFTER: u32 = 3 * MEANWHILE;
const SOURCE: &str = "RFC 1928, section 7";
const DATAGRAMS: &str = "RFC 768; RFC 1928, section 7";
/// How many clients there are at once, and how often all of them send.
const CLIENTS: usize = 20;
const ROUNDS: u32 = 5;
/// What a client's first datagram begins with, and how soon it sends that again.
const FIRST: &str = "first of client ";
const AGAIN: Duration = Duration::from_millis(300);
/// How long is waited for datagrams that may be lost, on an idle machine.
const SOON: Duration = Duration::from_secs(2);
/// How much more time than others the check may take that waits.
const IDLE_FACTOR: u32 = 3;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "udp",
    routes: Routes::Each,
    applies: |tunnel| match tunnel.kind() {
        Kind::Socks5 | Kind::ForwardUdp => Ok(()),
        _ => Err("it carries no datagrams".to_owned()),
    },
    checks: Checks::Independent(&[
        CheckDef::must(
            "associate",
            "UDP ASSOCIATE is granted with a port",
            SOURCE,
            associates,
        )
        .only_for(is_socks5),
        CheckDef::must(
            "echo",
            "a datagram arrives, and the answer with the service's address",
            DATAGRAMS,
            echo,
        )
        .only_for(carries_datagrams),
        CheckDef::must(
            "several",
            "further datagrams arrive too, each as it is",
            DATAGRAMS,
            several,
        )
        .only_for(carries_datagrams),
        CheckDef::must(
            "payload-0",
            "an empty payload arrives, and so does the answer",
            DATAGRAMS,
            |context| payload(context, 0),
        )
        .only_for(carries_datagrams),
        CheckDef::must(
            "payload-1400",
            "1400 bytes arrive, and come back",
            DATAGRAMS,
            |context| payload(context, 1400),
        )
        .only_for(carries_datagrams),
        CheckDef::harness(
            "payload-9000",
            "9000 bytes arrive, and come back",
            |context| payload(context, 9000),
        )
        .only_for(carries_datagrams),
        CheckDef::harness(
            "payload-60000",
            "60000 bytes arrive, and come back",
            |context| payload(context, 60_000),
        )
        .only_for(carries_datagrams),
        CheckDef::must(
            "clients",
            "each of twenty clients at once has the answers that are its own",
            DATAGRAMS,
            clients,
        )
        .fresh_process()
        .only_for(carries_datagrams),
        CheckDef::harness(
            "burst",
            "of twenty clients that send their first datagram at once each is heard and answered",
            burst,
        )
        .fresh_process()
        .only_for(carries_datagrams),
        CheckDef::harness(
            "idle",
            "datagrams are still carried after a while without any",
            idle,
        )
        .only_for(carries_datagrams)
        .timeout_factor(IDLE_FACTOR),
        CheckDef::harness(
            "wildcard",
            "a program that takes datagrams at all addresses answers from the one that was asked",
            wildcard,
        )
        .only_for(carries_datagrams),
        CheckDef::must(
            "two-services",
            "one association reaches two services",
            SOURCE,
            two_services,
        )
        .only_for(is_socks5),
        CheckDef::must("name", "localhost is reached by name", SOURCE, name).only_for(is_socks5),
        CheckDef::harness(
            "name-answer",
            "the answer to a datagram that was sent to a name tells an address",
            name_answer,
        )
        .only_for(is_socks5),
        CheckDef::harness(
            "name-literal",
            "a name that is an address in text form is reached",
            name_literal,
        )
        .only_for(is_socks5),
        CheckDef::must(
            "fragment",
            "a fragment is not sent on as if it were whole",
            SOURCE,
            fragment,
        )
        .only_for(is_socks5),
        CheckDef::harness(
            "junk",
            "malformed datagrams are dropped, and the association goes on",
            junk,
        )
        .only_for(is_socks5),
        CheckDef::must(
            "stranger",
            "a datagram from another address than the client's is dropped",
            SOURCE,
            stranger,
        )
        .only_for(is_socks5),
        CheckDef::must(
            "closed",
            "when the TCP connection is closed, nothing is sent on",
            SOURCE,
            closed,
        )
        .only_for(is_socks5),
    ]),
};

fn is_socks5(tunnel: &dyn Tunnel) -> bool {
    tunnel.kind() == Kind::Socks5
}

fn carries_datagrams(_: &dyn Tunnel) -> bool {
    true
}

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
    let client = Client::new(context)?;
    let service = Far::new(context)?;
    let (from, told) = client.exchange(&service, b"echo")?;
    let told = told.and_then(|told| told.socket_addr());
    context.evidence.notes.extend(told.and_then(mapped));
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
    let mut client = Client::new(context)?;
    let service = Far::new(context)?;
    for payload in [&b"first"[..], b"second", b"\x00\x00\x00\x01 third"] {
        client.exchange(&service, payload)?;
    }
    match &mut client {
        Client::Association(association) => association.stays(),
        Client::Plain(_) => Ok(()),
    }
}

/// Statement 47.
fn payload(context: &mut CheckContext<'_>, length: usize) -> Result<(), CheckError> {
    let client = Client::new(context)?;
    let service = Far::new(context)?;
    let payload = context.random().bytes(length);
    client.exchange(&service, &payload)?;
    context.carried(2 * length as u64);
    Ok(())
}

/// All that are known to the program by a first exchange; then all send before the service answers any, so that an
/// answer can go to another.
fn clients(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let service = Far::new(context)?;
    let clients = many(context)?;
    let deadline = context.deadline("the answer");
    for (index, client) in clients.iter().enumerate() {
        let first = introduce(client, &service, index, &deadline);
        first.map_err(one_of_many)?;
    }
    for round in 1..=ROUNDS {
        all_at_once(&clients, &service, round, &deadline)?;
    }
    Ok(())
}

/// Sends a first datagram until it comes to the service, and no second one if that has it: while a program makes
/// its arrangements for one client, it may lose what the next one sends.
fn introduce(
    client: &Client,
    service: &Far,
    index: usize,
    deadline: &Deadline,
) -> Result<(), CheckError> {
    let first = format!("{FIRST}{index}").into_bytes();
    let deadline = deadline.waiting_for("the datagram to come to the service");
    loop {
        client.send(service.address(), &first)?;
        let pause = Deadline::new(AGAIN.min(deadline.remaining()), "a datagram");
        match service.receive(&pause) {
            Ok((socket, came, from)) if came == first => {
                service.answer(socket, &answered(&first), from)?;
                return client.expect(service.address(), &answered(&first));
            }
            // That of another client, once more.
            Ok((_, came, _)) if came.starts_with(FIRST.as_bytes()) => {}
            Ok(_) => return Err(CheckError::failed("the service has what nobody has sent")),
            Err(error) if !pause.expired() || deadline.expired() => return Err(error),
            Err(_) => {}
        }
    }
}

/// None of them has sent anything before.
fn burst(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let service = Far::new(context)?;
    let mut clients = many(context)?;
    let soon = Deadline::new(context.scaled_timeout(SOON), "the answer");
    for client in &mut clients {
        client.set_deadline(soon);
    }
    all_at_once(&clients, &service, 0, &soon)
}

fn many(context: &mut CheckContext<'_>) -> Result<Vec<Client>, CheckError> {
    (0..CLIENTS).map(|_| Client::new(context)).collect()
}

fn all_at_once(
    clients: &[Client],
    service: &Far,
    round: u32,
    deadline: &Deadline,
) -> Result<(), CheckError> {
    let deadline = deadline.waiting_for("the datagrams of all clients to come to the service");
    let says = |index: usize| format!("client {index}, round {round}").into_bytes();
    for (index, client) in clients.iter().enumerate() {
        client
            .send(service.address(), &says(index))
            .map_err(one_of_many)?;
    }
    let mut came = Vec::new();
    while came.len() < clients.len() {
        let next = service.receive(&deadline).map_err(|error| {
            let (came, all) = (came.len(), clients.len());
            connection_group::about(format!("of {all} clients {came} are heard"), error)
        })?;
        // One that was sent twice may come late.
        if !next.1.starts_with(FIRST.as_bytes()) {
            came.push(next);
        }
    }
    for (socket, payload, from) in came {
        service.answer(socket, &answered(&payload), from)?;
    }
    for (index, client) in clients.iter().enumerate() {
        client
            .expect(service.address(), &answered(&says(index)))
            .map_err(one_of_many)?;
    }
    Ok(())
}

fn one_of_many(error: CheckError) -> CheckError {
    connection_group::about(format!("one of {CLIENTS} clients"), error)
}

fn idle(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let long = match context.sizes() {
        Sizes::Quick => Duration::from_secs(1),
        Sizes::Full => Duration::from_secs(20),
    };
    let client = Client::new(context)?;
    let service = Far::new(context)?;
    client.exchange(&service, b"before")?;
    let long = long.min(context.deadline.remaining() / 2);
    thread::sleep(long);
    let after = client.exchange(&service, b"after");
    after
        .map(drop)
        .map_err(|error| connection_group::about(format_args!("idle for {long:.0?}"), error))
}

/// Asked at an address that the system would not choose by itself for the answer.
fn wildcard(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let client = Client::new(context)?;
    let service = Far::new(context)?;
    let program = client.program();
    match listening::takes_datagrams_everywhere(program.port()) {
        Some(true) => {}
        Some(false) => {
            let why = format!("it takes datagrams at {program} alone");
            return Err(CheckError::Skipped(why));
        }
        None => {
            let why = "this system does not tell where a program takes datagrams".to_owned();
            return Err(CheckError::Skipped(why));
        }
    }
    let route = context.route();
    let near = UdpSocket::bind((route.client, 0))
        .map_err(|error| CheckError::Skipped(format!("no socket for the client: {error}")))?;
    let others = [route.outgoing, route.service.ip(), route.client];
    let like = |ip: &&IpAddr| ip.is_ipv4() == program.is_ipv4() && **ip != program.ip();
    let Some(other) = others.iter().find(like) else {
        let why = "there is no other address here".to_owned();
        return Err(CheckError::Skipped(why));
    };
    let asked = SocketAddr::new(*other, program.port());
    let from = client.asks(&near, asked, &service, b"asked elsewhere")?;
    match from == asked {
        true => Ok(()),
        false => Err(CheckError::failed(format!(
            "asked at {asked}, it answers from {from}: who has asked does not know that"
        ))),
    }
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
