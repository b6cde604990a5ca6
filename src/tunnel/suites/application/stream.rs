//! Plain streams: a `TestTcpServer` and a `ScriptedTcpServer` behind the program.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Turn, Until, compare, compare_at_once, connect, turn};
use crate::connection::Connection;
use crate::script::{Script, ScriptedTcpServer};
use crate::tcp::{Tcp, TestTcpServer};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::check::stand_in::{Place, skip_header, stand_in};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::ends::proxy_header::ProxyHeader;
use crate::tunnel::route::Kind;

pub(super) const LINES: CheckDef = CheckDef::must(
    "tcp/lines",
    "a TestTcpServer and its client say the same lines as without the program",
    "harness",
    lines,
);
pub(super) const MANY: CheckDef = CheckDef::must(
    "tcp/many",
    "sixteen clients of a TestTcpServer at once say the same lines as without the program",
    "harness",
    many,
);
pub(super) const SCRIPT: CheckDef = CheckDef::must(
    "script",
    "a client does what a ScriptedTcpServer expects of it, and gets what that sends",
    "harness",
    script,
);

pub(super) const SCRIPT_HALF_CLOSE: CheckDef = CheckDef::harness(
    "script/half-close",
    "a ScriptedTcpServer sees its client's half-close, and can still answer",
    half_close,
);

/// How many clients there are at once.
const CLIENTS: usize = 16;
/// How long an instruction of a script may take.
const INSTRUCTION: Duration = Duration::from_secs(5);

/// Answers each line with as many bytes of another kind, and goes after `quit`.
fn serve(place: &Place) -> io::Result<TestTcpServer<SocketAddr>> {
    place
        .builder::<Tcp>()
        .tolerate_silent_clients()
        .start(place.addr, |mut conn: Connection| {
            loop {
                let line = conn.read_line()?;
                match line.trim_end() {
                    "" => return Ok(()),
                    "quit" => return conn.write_all(b"bye\r\n"),
                    text => {
                        let answer: String = text.chars().rev().collect();
                        write!(conn, "{answer}\r\n")?;
                    }
                }
            }
        })
}

fn record(server: &TestTcpServer<SocketAddr>) -> Vec<Vec<u8>> {
    let all = server.connections();
    let received = all
        .iter()
        .map(|one| without_header(one.received()).to_vec());
    // A program may look whether the service lives.
    let mut received: Vec<_> = received.filter(|bytes| !bytes.is_empty()).collect();
    received.sort();
    received
}

/// What came behind a header of the PROXY protocol.
fn without_header(received: &[u8]) -> &[u8] {
    let mut rest = received;
    match ProxyHeader::read(&mut rest) {
        Ok(_) => rest,
        Err(_) => received,
    }
}

fn dialogue(name: &str) -> Vec<Turn> {
    let line = |number: usize| {
        let long = "0123456789".repeat(number * number);
        turn(format!("{name}:{number}:{long}\r\n"), Until::Bytes(b"\r\n"))
    };
    let lines = (1..=20).map(line);
    lines.chain([turn("quit\r\n", Until::End)]).collect()
}

fn lines(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    compare(context, serve, &dialogue("one"), record)
}

fn many(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let dialogues: Vec<_> = (0..CLIENTS)
        .map(|index| dialogue(&format!("client {index}")))
        .collect();
    compare_at_once(context, serve, &dialogues, record)
}

fn script(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let data = context.random().bytes(50_000);
    let script = begin(context)?
        .send_bytes("Who are you?\r\n")
        .expect_line("somebody")
        .send_in_pieces(data.clone(), 7000, Duration::from_millis(1))
        .expect_bytes(data.clone())
        .send_bytes("Good bye.\r\n")
        .expect_disconnect();
    context.carried(2 * data.len() as u64);
    play(context, &script, |mut client| {
        client.expect("what the script says first", b"Who are you?\r\n")?;
        client.send(b"somebody\r\n")?;
        client.expect("what the script sends", &data)?;
        client.send(&data)?;
        client.expect("what the script says last", b"Good bye.\r\n")
    })
}

fn half_close(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let script = begin(context)?
        .expect_line("all that I have to say")
        .expect_half_close()
        .send_bytes("All?\r\n")
        .disconnect();
    play(context, &script, |mut client| {
        client.send(b"all that I have to say\r\n")?;
        client.shut()?;
        client.expect("the answer after the half-close", b"All?\r\n")?;
        client.expect_end()
    })
}

/// What every script begins with.
fn begin(context: &CheckContext<'_>) -> Result<Script, CheckError> {
    if context.service().is_checked() {
        let why = "the program makes connections of its own, which a script does not expect";
        return Err(CheckError::Skipped(why.to_owned()));
    }
    let script = Script::new().timeout(INSTRUCTION).expect_connect();
    Ok(match context.tunnel().kind() {
        Kind::ProxyProtocol => script.then(skip_header),
        _ => script,
    })
}

/// Has a scripted server play, and a client do its part.
fn play(
    context: &mut CheckContext<'_>,
    script: &Script,
    client: impl FnOnce(Endpoint) -> Result<(), CheckError>,
) -> Result<(), CheckError> {
    let start = |place: &Place| ScriptedTcpServer::run(place.addr, script);
    stand_in(context, start, |context, peer| {
        let done = connect(context).and_then(client);
        // One that is dropped without this panics with what was wrong.
        let joined = peer.join();
        match (done, joined) {
            (_, Err(error)) => Err(CheckError::failed(format!("the script: {error}"))),
            (done, Ok(())) => done,
        }
    })
}
