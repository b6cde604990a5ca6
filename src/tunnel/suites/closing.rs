//! The suite about the ends of connections: what was sent before them arrives, and so do they.

use std::time::Duration;

use super::probe::{Close, Side, carry};
use crate::deadline::Deadline;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::suites::probe;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "closing",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "client-half-close/bytes",
            "all that the client sent before it closed its sending half arrives",
            "RFC 9293, section 3.6",
            |context| half_close_bytes(context, Side::Client),
        ),
        CheckDef::harness(
            "client-half-close/carried",
            "the client's half-close reaches the service, which can still answer",
            |context| half_close_carried(context, Side::Client),
        ),
        CheckDef::must(
            "service-half-close/bytes",
            "all that the service sent before it closed its sending half arrives",
            "RFC 9293, section 3.6",
            |context| half_close_bytes(context, Side::Service),
        ),
        CheckDef::harness(
            "service-half-close/carried",
            "the service's half-close reaches the client, which can still answer",
            |context| half_close_carried(context, Side::Service),
        ),
        CheckDef::must(
            "client-close",
            "all that the client sent before it closed arrives, and then the end",
            "RFC 9293, section 3.6",
            |context| close(context, Side::Client),
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "service-close",
            "all that the service sent before it closed arrives, and then the end",
            "RFC 9293, section 3.6",
            |context| close(context, Side::Service),
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "client-reset",
            "when the client resets its connection, the service sees a reset or an end",
            "harness",
            |context| reset(context, Side::Client),
        ),
        CheckDef::harness(
            "client-reset/told",
            "a reset by the client in mid-transfer does not become an end in order",
            |context| reset_told(context, Side::Client),
        ),
        CheckDef::must(
            "service-reset",
            "when the service resets its connection, the client sees a reset or an end",
            "harness",
            |context| reset(context, Side::Service),
        ),
        CheckDef::harness(
            "service-reset/told",
            "a reset by the service in mid-transfer does not become an end in order",
            |context| reset_told(context, Side::Service),
        ),
    ]),
};

/// For what carries megabytes, byte by byte if the program likes that.
const TIMEOUT_FACTOR: u32 = 3;
/// More than a program reads at once, and less than the system holds on the way.
const SOME: usize = 200_000;
/// What has arrived before a reset in mid-transfer, and how long that may take.
const PART: usize = 100_000;
const SOON: Duration = Duration::from_secs(2);
/// What the other side still says after a half-close.
const ANSWER: &[u8] = b"Answer after the end.\r\n";

/// What is sent right before a close: too much for the system to hold with full sizes.
fn much(context: &mut CheckContext<'_>) -> Vec<u8> {
    let length = match context.sizes() {
        Sizes::Quick => 1 << 20,
        Sizes::Full => 4 << 20,
    };
    context.random().bytes(length)
}

/// `near` sends and says that this was all; whether the other way stays open is not looked at.
fn half_close_bytes(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let data = context.random().bytes(SOME);
    let (near, far) = context.sides(near)?;
    context.carried(data.len() as u64);
    let (near, mut far) = carry(near, far, &data, |stream| (stream.shutdown_write(), stream))?;
    let patience = context.patience();
    if end_within(&mut far, patience)? == Close::Nothing {
        context.note(format!("{} sees no end", far.who()));
    }
    drop(near);
    Ok(())
}

/// `near` says that it has sent all; `far` sees that, and its answer still arrives.
fn half_close_carried(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let (mut near, mut far) = context.sides(near)?;
    near.send(b"All.\r\n")?;
    near.shut()?;
    far.expect("the words before the half-close", b"All.\r\n")?;
    let patience = context.patience();
    if end_within(&mut far, patience)? == Close::Nothing {
        return Err(far.failed(format!("{} sees no end after {patience:.1?}", far.who())));
    }
    far.send(ANSWER)?;
    near.expect("the answer after the half-close", ANSWER)?;
    drop(far);
    near.expect_end()
}

/// `near` sends and closes.
fn close(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let data = much(context);
    let (near, far) = context.sides(near)?;
    context.carried(data.len() as u64);
    let ((), mut far) = carry(near, far, &data, drop)?;
    let left = context.deadline.remaining();
    match end_within(&mut far, left)? {
        Close::Nothing => {
            let who = far.who();
            let message = format!("{who} has all bytes and no end: the other side has closed");
            Err(CheckError::failed(message))
        }
        _ => Ok(()),
    }
}

/// `near` resets an idle connection, which has worked.
fn reset(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let (mut near, mut far) = context.sides(near)?;
    near.send(b"Here.\r\n")?;
    far.expect("the words before the reset", b"Here.\r\n")?;
    probe::reset(near)?;
    let left = context.deadline.remaining();
    match far.close_within(left)? {
        Close::Nothing => {
            let message = format!("{} sees neither a reset nor an end", far.who());
            Err(far.failed(message))
        }
        close => {
            context.note(format!("{} sees: {}", far.who(), close.name()));
            Ok(())
        }
    }
}

/// `near` resets after a part of what it has to say. Whoever sees an end in order takes that part for all.
fn reset_told(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let part = context.random().bytes(PART);
    let soon = Deadline::new(context.scaled_timeout(SOON), "the bytes before the reset");
    let (mut near, mut far) = context.sides(near)?;
    near.stream().set_deadline(soon);
    far.stream().set_deadline(soon);
    context.carried(part.len() as u64);
    let who = near.who();
    // What arrives is said elsewhere.
    let carried = carry(near, far, &part, |stream| stream).map_err(|error| match error {
        CheckError::Failed(message, _) => {
            CheckError::Skipped(format!("before the reset: {message}"))
        }
        error => error,
    });
    let (near, mut far) = carried?;
    far.stream().set_deadline(context.deadline);
    near.reset()
        .map_err(|error| CheckError::Skipped(format!("this machine cannot reset: {error}")))?;
    let left = context.deadline.remaining();
    match far.close_within(left)? {
        Close::End => Err(far.failed(format!(
            "{who} has reset after {PART} bytes, and {} sees an end in order: it cannot know that more was to come",
            far.who()
        ))),
        // That it sees anything is said elsewhere.
        Close::Reset | Close::Nothing => Ok(()),
    }
}

/// Waits for the end of a connection that was closed in order: a reset could cost bytes.
fn end_within(far: &mut Endpoint, limit: Duration) -> Result<Close, CheckError> {
    match far.close_within(limit)? {
        Close::Reset => {
            let message = format!(
                "{} has all bytes, then a reset in place of the end",
                far.who()
            );
            Err(CheckError::failed(message))
        }
        close => Ok(close),
    }
}
