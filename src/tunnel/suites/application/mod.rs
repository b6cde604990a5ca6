//! The suite of whole protocols: the crate's own servers behind the program, clients before it.
//!
//! Each dialogue is held twice, first with a server alone. What the client gets and what the server has in its
//! record must be the same through the program: nothing here says a second time what HTTP or SMTP is.

mod clients;
mod datagrams;
mod http;
mod smtp;
mod stream;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::server::TestServer;
use crate::server::protocol::Protocol;
use crate::tunnel::check::connection_group::about;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{Checks, Routes, SuiteDef};
use crate::tunnel::check::stand_in::{Place, STOP, stand_in};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::{Failure, first_difference};
use crate::tunnel::route::{Kind, Route, Target};

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "application",
    routes: Routes::First,
    applies,
    checks: Checks::RequireConnection(&[
        stream::LINES,
        stream::MANY,
        stream::SCRIPT,
        stream::SCRIPT_HALF_CLOSE,
        http::KEPT,
        http::PIPELINED,
        http::CHUNKED,
        http::CONTINUE,
        http::LARGE,
        http::UPGRADE,
        http::CUT,
        http::CUT_CHUNKED,
        http::RESET,
        http::MANY,
        smtp::SESSION,
        smtp::LARGE,
        datagrams::EXCHANGE,
        clients::CURL,
        clients::CURL_MAIL,
        clients::PYTHON,
        clients::SWAKS,
    ]),
};

/// What a client reads at once.
const PIECE: usize = 16 * 1024;

fn applies(tunnel: &dyn Tunnel) -> Result<(), String> {
    match tunnel.kind() != Kind::ProxyProtocol && reads_first(tunnel) {
        true => {
            Err("the service reads something first that the crate's servers do not know".to_owned())
        }
        false => Ok(()),
    }
}

/// Whether the service reads anything before the client's data: asked with a stream that has nothing.
fn reads_first(tunnel: &dyn Tunnel) -> bool {
    struct Nothing {
        was_read: bool,
    }
    impl Read for Nothing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            self.was_read = true;
            Ok(0)
        }
    }
    impl Write for Nothing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let route = Route {
        listen: nowhere,
        service: nowhere,
        client: nowhere.ip(),
        outgoing: nowhere.ip(),
    };
    let mut nothing = Nothing { was_read: false };
    let done = tunnel.preamble(&mut nothing, nowhere, &route);
    nothing.was_read || done.is_err()
}

/// What a client says, and until when it then listens.
struct Turn {
    say: Vec<u8>,
    until: Until,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    /// Until the server closes.
    End,
    /// Until these bytes.
    Bytes(&'static [u8]),
    /// Until so many replies of SMTP (RFC 5321, section 4.2) have come.
    Replies(usize),
}

impl Until {
    fn is_reached(self, came: &[u8]) -> bool {
        match self {
            Until::End => false,
            Until::Bytes(last) => came.ends_with(last),
            Until::Replies(count) => {
                let lines = came.split_inclusive(|byte| *byte == b'\n');
                let is_last = |line: &&[u8]| line.get(3) == Some(&b' ') && line.ends_with(b"\r\n");
                lines.filter(is_last).count() == count
            }
        }
    }
}

fn turn(say: impl Into<Vec<u8>>, until: Until) -> Turn {
    let say = say.into();
    Turn { say, until }
}

/// What has come of a dialogue with a server alone: the answers, and the server's record.
struct Alone {
    answers: Vec<Vec<u8>>,
    record: Vec<Vec<u8>>,
}

/// Holds a dialogue with a server alone, then through the program, and compares.
fn compare<P: Protocol>(
    context: &mut CheckContext<'_>,
    start: impl Fn(&Place) -> io::Result<TestServer<P>>,
    dialogue: &[Turn],
    record: impl Fn(&TestServer<P>) -> Vec<Vec<u8>>,
) -> Result<(), CheckError> {
    let alone = hold_alone(context, &start, dialogue, &record)?;
    let came = stand_in(context, &start, |context, mut server| {
        let held =
            connect(context).and_then(|mut client| hold(&mut client, dialogue, &alone.answers));
        stop(&mut server, held)?;
        Ok(record(&server))
    })?;
    let said: usize = dialogue.iter().map(|turn| turn.say.len()).sum();
    let answered: usize = alone.answers.iter().map(Vec::len).sum();
    context.carried((said + answered) as u64);
    same_record(&alone.record, &came)
}

/// As [`compare`], with all of `dialogues` at once.
fn compare_at_once<P: Protocol>(
    context: &mut CheckContext<'_>,
    start: impl Fn(&Place) -> io::Result<TestServer<P>>,
    dialogues: &[Vec<Turn>],
    record: impl Fn(&TestServer<P>) -> Vec<Vec<u8>>,
) -> Result<(), CheckError> {
    let alone = dialogues
        .iter()
        .map(|dialogue| hold_alone(context, &start, dialogue, &record))
        .collect::<Result<Vec<_>, _>>()?;
    let mut came = stand_in(context, &start, |context, mut server| {
        let held = hold_all(context, dialogues, &alone);
        stop(&mut server, held)?;
        Ok(record(&server))
    })?;
    let mut due: Vec<_> = alone.into_iter().flat_map(|one| one.record).collect();
    // Who came first is no matter.
    due.sort();
    came.sort();
    same_record(&due, &came)
}

/// The clients' parts, on a thread each.
fn hold_all(
    context: &mut CheckContext<'_>,
    dialogues: &[Vec<Turn>],
    alone: &[Alone],
) -> Result<(), CheckError> {
    let connector = context.connector();
    let opening = context.deadline("a connection through the program");
    let whole = context.deadline("the answer");
    let target = Target::Address(context.route().service);
    let (size, failure) = (dialogues.len(), Mutex::new(None));
    let one = |dialogue: &[Turn], alone: &Alone| {
        let mut stream = connector.connect_again(&opening)?;
        connector.handshake(&mut stream, &target, &opening)?;
        stream.forget();
        stream.set_deadline(whole);
        let mut client = Endpoint::new(stream, "the client");
        hold(&mut client, dialogue, &alone.answers)
    };
    thread::scope(|scope| {
        for (dialogue, alone) in dialogues.iter().zip(alone) {
            let (one, failure) = (&one, &failure);
            scope.spawn(move || {
                if let Err(error) = one(dialogue, alone) {
                    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(error);
                }
            });
        }
    });
    context.connected(size as u64);
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(about(format!("one of {size} connections"), error)),
        None => Ok(()),
    }
}

/// The client's part of a dialogue, each answer of which is known.
fn hold(client: &mut Endpoint, dialogue: &[Turn], answers: &[Vec<u8>]) -> Result<(), CheckError> {
    for (turn, answer) in dialogue.iter().zip(answers) {
        client.send(&turn.say)?;
        client.expect("the answer", answer)?;
    }
    client.expect_end()
}

fn hold_alone<P: Protocol>(
    context: &CheckContext<'_>,
    start: &impl Fn(&Place) -> io::Result<TestServer<P>>,
    dialogue: &[Turn],
    record: &impl Fn(&TestServer<P>) -> Vec<Vec<u8>>,
) -> Result<Alone, CheckError> {
    let place = Place {
        addr: SocketAddr::new(context.route().service.ip(), 0),
        has_header: false,
    };
    let hold = || {
        let mut server = start(&place)?;
        let mut client = Stream::new(
            TcpStream::connect(server.local_addr())?,
            context.deadline("the server's answer"),
        );
        let mut answers = Vec::new();
        for turn in dialogue {
            client.write_all(&turn.say)?;
            answers.push(read_until(&mut client, turn.until)?);
        }
        server.stop(STOP).map_err(io::Error::other)?;
        let record = record(&server);
        Ok(Alone { answers, record })
    };
    let held: io::Result<Alone> = hold();
    held.map_err(|error| CheckError::NotMade(format!("without the program: {error}")))
}

fn read_until(client: &mut Stream, until: Until) -> io::Result<Vec<u8>> {
    let mut came = Vec::new();
    let mut piece = vec![0; PIECE];
    while !until.is_reached(&came) {
        match (client.read(&mut piece)?, until) {
            (0, Until::End) => break,
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (length, _) => came.extend_from_slice(&piece[..length]),
        }
    }
    Ok(came)
}

/// Stops a server after a dialogue. What was wrong with that comes first: it is why a handler failed.
fn stop<P: Protocol>(
    server: &mut TestServer<P>,
    done: Result<(), CheckError>,
) -> Result<(), CheckError> {
    let stopped = server.stop(STOP);
    done?;
    stopped.map_err(|error| CheckError::failed(error.to_string()))
}

/// A client, through the program.
fn connect(context: &mut CheckContext<'_>) -> Result<Endpoint, CheckError> {
    let mut client = context.raw()?;
    let deadline = context.deadline("a connection through the program");
    let target = Target::Address(context.route().service);
    let connector = context.connector();
    connector.handshake(client.stream(), &target, &deadline)?;
    client.stream().forget();
    Ok(client)
}

fn same_record(alone: &[Vec<u8>], through: &[Vec<u8>]) -> Result<(), CheckError> {
    let (due, came) = (alone.len(), through.len());
    for (index, (alone, through)) in alone.iter().zip(through).enumerate() {
        if alone != through {
            let at = first_difference(alone, through);
            let failure = Failure {
                expected: Some(alone.clone()),
                received: Some(through.clone()),
                ..Failure::default()
            };
            return Err(CheckError::with(
                format!(
                    "of what the server has, number {} of {due} is another than without the program, from byte {at} on",
                    index + 1
                ),
                failure,
            ));
        }
    }
    match due == came {
        true => Ok(()),
        false => Err(CheckError::failed(format!(
            "the server has {came} of {due} in its record"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tunnel::kinds::custom::Custom;
    use crate::tunnel::kinds::socks5::Socks5;
    use crate::tunnel::link::tunnel::ReadWrite;

    #[test]
    fn what_a_service_reads_first_is_found_out() {
        assert!(!reads_first(&Socks5::template("none")));
        let plain = Custom::template("none");
        assert!(!reads_first(&plain));
        let reads = plain
            .preamble(|service: &mut dyn ReadWrite, _, _: &Route| service.read_exact(&mut [0; 3]));
        assert!(applies(&reads).is_err());
    }

    #[test]
    fn records_that_differ_are_told_apart() {
        let one = [b"one".to_vec(), b"two".to_vec()];
        same_record(&one, &one).unwrap();
        for (other, text) in [
            (&[b"one".to_vec(), b"twO".to_vec()][..], "number 2 of 2"),
            (&one[..1], "1 of 2"),
        ] {
            match same_record(&one, other) {
                Err(CheckError::Failed(message, _)) => assert!(message.contains(text), "{message}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
