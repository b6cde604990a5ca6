//! The suite about what goes wrong around a program: it copes, and goes on serving others.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use super::probe::{Answer, Close, Side, reset};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::is_reset;
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::route::Target;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "faults",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(&[
        CheckDef::must(
            "refused",
            "a service that refuses becomes the protocol's failure or a close, and can come back",
            "harness",
            refused,
        )
        .fresh_process(),
        CheckDef::must(
            "silent",
            "a silent service holds up nobody else, and is heard when it speaks",
            "harness",
            silent,
        )
        .fresh_process(),
        CheckDef::must(
            "gone-reading",
            "when the service goes while the client sends, the client sees an end",
            "harness",
            gone_reading,
        )
        .fresh_process(),
        CheckDef::must(
            "gone-writing",
            "when the service goes while it sends, the client sees an end",
            "harness",
            gone_writing,
        )
        .fresh_process(),
        CheckDef::must(
            "killed",
            "when the program is killed in mid-transfer, both sides see an end",
            "harness",
            killed,
        )
        .fresh_process(),
        CheckDef::must(
            "garbage",
            "after garbage in place of the handshake the program serves others",
            "harness",
            garbage,
        )
        .fresh_process(),
        CheckDef::must(
            "half-handshake/others",
            "half a handshake and then silence holds up nobody else",
            "harness",
            half_handshake,
        )
        .fresh_process(),
        CheckDef::should(
            "half-handshake/ended",
            "half a handshake and then silence is ended by the program",
            "harness",
            half_handshake_ended,
        )
        .fresh_process()
        .timeout_factor(ENDING),
    ]),
};

/// What is sent at once where a transfer is to be under way.
const PIECE: usize = 64 * 1024;
/// The most that a program may take from a client whose service has gone, for that long: the system alone
/// may hold tens of megabytes of it.
const MOST: usize = 64 << 20;
const MOST_TIME: Duration = Duration::from_secs(2);
/// How many times a check's deadline a program gets to end half a handshake.
const ENDING: u32 = 6;
/// How long to wait for what a program makes of garbage, each time.
const GARBAGE: Duration = Duration::from_millis(200);

fn refused(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.works("an ordinary connection before")?;
    context.refuse(true)?;
    let mut client = context.raw()?;
    let target = Target::Address(context.route().service);
    match context.ask(&mut client, &target)? {
        Answer::Refused(how) => context.note(how),
        Answer::Connected => {
            return Err(client.failed("the program tells success, and the service refuses"));
        }
        Answer::Forwards => {
            let left = context.deadline.remaining();
            let close = client.close_within(left)?;
            context.note(format!("the client sees: {}", close.name()));
            if close == Close::Nothing {
                return Err(client.failed("the client sees no end, and the service refuses"));
            }
        }
    }
    drop(client);
    context.refuse(false)?;
    // A program that looks from time to time whether the service lives must find that out first.
    context.serves_again("an ordinary connection afterwards")
}

fn silent(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let (mut client, mut service) = context.sides(Side::Client)?;
    client.send(b"Are you there?\r\n")?;
    context.works("another connection beside one whose service is silent")?;
    service.expect("the client's words", b"Are you there?\r\n")?;
    service.send(b"Now I am.\r\n")?;
    client.expect("the service's words", b"Now I am.\r\n")
}

fn gone_reading(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let piece = context.random().bytes(PIECE);
    let (client, mut service) = context.sides(Side::Client)?;
    let mut stream = client.into_stream();
    let limit = context.scaled_timeout(MOST_TIME);
    let noticed = thread::scope(|scope| {
        let sender = scope.spawn(|| send_until_closed(&mut stream, &piece, limit));
        let under_way = service.receive_all(&piece);
        // As when its process dies: whether what it had not read makes a reset of its close would be chance.
        let gone = reset(service);
        let noticed = sender
            .join()
            .unwrap_or(Noticed::Never("by a panic".to_owned()));
        under_way.and(gone).map(|()| noticed)
    })?;
    match noticed {
        Noticed::Closed => context.works("another connection beside one whose service has gone"),
        Noticed::Never(how) => Err(CheckError::failed(format!(
            "the service has gone, and the client sees no end: {how}"
        ))),
    }
}

/// What a sender finds out about a receiver that has gone.
enum Noticed {
    Closed,
    /// What happened instead.
    Never(String),
}

/// Sends until that fails or the other side has closed, or all is taken for too long.
fn send_until_closed(stream: &mut Stream, piece: &[u8], limit: Duration) -> Noticed {
    let begun = Instant::now();
    let mut taken = 0;
    while taken < MOST || begun.elapsed() < limit {
        if stream.has_ended() {
            return Noticed::Closed;
        }
        match stream.write_all(piece) {
            Ok(()) => taken += piece.len(),
            Err(error) if is_reset(&error) => return Noticed::Closed,
            Err(error) => return Noticed::Never(error.to_string()),
        }
    }
    Noticed::Never(format!(
        "{taken} bytes were taken in {:.1?}",
        begun.elapsed()
    ))
}

fn gone_writing(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let piece = context.random().bytes(PIECE);
    let (mut client, mut service) = context.sides(Side::Client)?;
    service.send(&piece)?;
    client.receive_all(&piece)?;
    // How much of this gets there does not matter: the service goes in the middle of it.
    service.send(&piece)?;
    reset(service)?;
    let left = context.deadline.remaining();
    match client.drain(left) {
        Close::Nothing => Err(client.failed("the service has gone, and the client sees no end")),
        _ => context.works("another connection beside one whose service has gone"),
    }
}

fn killed(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let piece = context.random().bytes(PIECE);
    let (mut client, mut service) = context.sides(Side::Client)?;
    client.send(&piece)?;
    service.receive_all(&piece[..PIECE / 2])?;
    service.send(&piece)?;
    context.send_signal(Signal::Kill, Whom::Group);
    for end in [&mut client, &mut service] {
        let left = context.deadline.remaining();
        if end.drain(left) == Close::Nothing {
            let message = format!("the program was killed, and {} sees no end", end.who());
            return Err(end.failed(message));
        }
    }
    Ok(())
}

fn garbage(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    if context.request()?.is_empty() {
        return Err(CheckContext::no_handshake());
    }
    for (what, bytes) in all_garbage(context.random()) {
        let mut client = context.raw()?;
        // It may be closed before all of it is sent.
        let _ = client.stream().write_all(&bytes);
        let _ = client.stream().shutdown_write();
        client.drain(GARBAGE.min(context.patience()));
        if !context.is_running() {
            return Err(client.failed(format!("the program ended when it was sent {what}")));
        }
    }
    context.still_works()
}

/// What no handshake begins with, and what some might take for their own.
fn all_garbage(random: &mut Random) -> [(&'static str, Vec<u8>); 6] {
    // The head of a TLS record with a ClientHello that never comes.
    let hello = [
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..],
        &random.bytes(500),
    ]
    .concat();
    [
        ("random bytes", random.bytes(1000)),
        ("zeros", vec![0; 1000]),
        ("bytes ff", vec![0xff; 1000]),
        ("a TLS ClientHello", hello),
        (
            "an unknown HTTP request",
            b"FROB / HTTP/9.9\r\n\r\n".to_vec(),
        ),
        ("nothing", Vec::new()),
    ]
}

fn half_handshake(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let _half = context.half_handshake()?;
    context.works("another connection beside half a handshake")
}

fn half_handshake_ended(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    if context.sizes() == Sizes::Quick {
        let reason = "programs take their time for that: only with full sizes";
        return Err(CheckError::Skipped(reason.to_owned()));
    }
    let mut half = context.half_handshake()?;
    let limit = context.patience();
    match half.drain(limit) {
        Close::Nothing => Err(half.failed(format!("it is still open after {limit:.1?}"))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::deadline::Deadline;

    fn told(noticed: &Noticed) -> &str {
        match noticed {
            Noticed::Closed => "closed",
            Noticed::Never(how) => how,
        }
    }

    #[test]
    fn a_sender_notices_an_end_a_reset_and_a_receiver_that_takes_nothing() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let pair = |limit| {
            let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (far, _) = listener.accept().unwrap();
            let deadline = Deadline::new(limit, "the receiver");
            (Stream::new(near, deadline), Stream::new(far, deadline))
        };
        let long = Duration::from_secs(20);
        let (mut near, far) = pair(long);
        far.shutdown_write().unwrap();
        assert_eq!(
            told(&send_until_closed(&mut near, &[0; PIECE], Duration::ZERO)),
            "closed"
        );
        let (mut near, far) = pair(long);
        far.reset().unwrap();
        assert_eq!(
            told(&send_until_closed(&mut near, &[0; PIECE], Duration::ZERO)),
            "closed"
        );
        let (mut near, _far) = pair(Duration::from_millis(100));
        let noticed = send_until_closed(&mut near, &[0; PIECE], Duration::ZERO);
        assert_eq!(
            told(&noticed),
            "timed out after 100ms waiting for the receiver"
        );
        let (mut near, mut far) = pair(long);
        let taker = thread::spawn(move || io::copy(&mut far, &mut io::sink()));
        let noticed = send_until_closed(&mut near, &[0; PIECE], Duration::ZERO);
        let how = told(&noticed);
        assert!(how.starts_with("67108864 bytes were taken in "), "{how}");
        drop(near);
        assert_eq!(taker.join().unwrap().unwrap(), MOST as u64);
    }
}
