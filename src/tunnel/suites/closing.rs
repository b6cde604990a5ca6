//! The suite about the ends of connections: what was sent before them arrives, and so do they.

use std::time::Duration;

use super::probe::{Close, Side, carry};
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::End;
use crate::tunnel::suites::probe;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "closing",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "client-half-close/bytes",
            "all that the client sent before it closed its sending half arrives",
            "RFC 9293, section 3.6",
            |trial| half_close_bytes(trial, Side::Client),
        ),
        Plan::harness(
            "client-half-close/carried",
            "the client's half-close reaches the service, which can still answer",
            |trial| half_close_carried(trial, Side::Client),
        ),
        Plan::must(
            "service-half-close/bytes",
            "all that the service sent before it closed its sending half arrives",
            "RFC 9293, section 3.6",
            |trial| half_close_bytes(trial, Side::Service),
        ),
        Plan::harness(
            "service-half-close/carried",
            "the service's half-close reaches the client, which can still answer",
            |trial| half_close_carried(trial, Side::Service),
        ),
        Plan::must(
            "client-close",
            "all that the client sent before it closed arrives, and then the end",
            "RFC 9293, section 3.6",
            |trial| close(trial, Side::Client),
        )
        .patience(PATIENCE),
        Plan::must(
            "service-close",
            "all that the service sent before it closed arrives, and then the end",
            "RFC 9293, section 3.6",
            |trial| close(trial, Side::Service),
        )
        .patience(PATIENCE),
        Plan::must(
            "client-reset",
            "when the client resets its connection, the service sees a reset or an end",
            "harness",
            |trial| reset(trial, Side::Client),
        ),
        Plan::must(
            "service-reset",
            "when the service resets its connection, the client sees a reset or an end",
            "harness",
            |trial| reset(trial, Side::Service),
        ),
    ]),
};

/// For what carries megabytes, byte by byte if the program likes that.
const PATIENCE: u32 = 3;
/// More than a program reads at once, and less than the system holds on the way.
const SOME: usize = 200_000;
/// What the other side still says after a half-close.
const ANSWER: &[u8] = b"Answer after the end.\r\n";

/// What is sent right before a close: too much for the system to hold with full sizes.
fn much(trial: &mut Trial<'_>) -> Vec<u8> {
    let length = match trial.sizes() {
        Sizes::Quick => 1 << 20,
        Sizes::Full => 4 << 20,
    };
    trial.random().bytes(length)
}

/// `near` sends and says that this was all; whether the other way stays open is not looked at.
fn half_close_bytes(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let data = trial.random().bytes(SOME);
    let (near, far) = trial.sides(near)?;
    trial.carried(data.len() as u64);
    let (near, mut far) = carry(near, far, &data, |stream| (stream.shutdown_write(), stream))?;
    let patience = trial.patience();
    if end_within(&mut far, patience)? == Close::Nothing {
        trial.note(format!("{} sees no end", far.who()));
    }
    drop(near);
    Ok(())
}

/// `near` says that it has sent all; `far` sees that, and its answer still arrives.
fn half_close_carried(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let (mut near, mut far) = trial.sides(near)?;
    near.send(b"All.\r\n")?;
    near.stream()
        .shutdown_write()
        .map_err(|error| near.failed(format!("{} cannot close its half: {error}", near.who())))?;
    far.expect("the words before the half-close", b"All.\r\n")?;
    let patience = trial.patience();
    if end_within(&mut far, patience)? == Close::Nothing {
        return Err(far.failed(format!("{} sees no end after {patience:.1?}", far.who())));
    }
    far.send(ANSWER)?;
    near.expect("the answer after the half-close", ANSWER)?;
    drop(far);
    near.expect_end()
}

/// `near` sends and closes.
fn close(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let data = much(trial);
    let (near, far) = trial.sides(near)?;
    trial.carried(data.len() as u64);
    let ((), mut far) = carry(near, far, &data, drop)?;
    let left = trial.deadline.remaining();
    match end_within(&mut far, left)? {
        Close::Nothing => {
            let who = far.who();
            let message = format!("{who} has all bytes and no end: the other side has closed");
            Err(Stop::failed(message))
        }
        _ => Ok(()),
    }
}

/// `near` resets an idle connection, which has worked.
fn reset(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let (mut near, mut far) = trial.sides(near)?;
    near.send(b"Here.\r\n")?;
    far.expect("the words before the reset", b"Here.\r\n")?;
    probe::reset(near)?;
    let left = trial.deadline.remaining();
    match far.close_within(left)? {
        Close::Nothing => {
            let message = format!("{} sees neither a reset nor an end", far.who());
            Err(far.failed(message))
        }
        close => {
            trial.note(format!("{} sees: {}", far.who(), close.name()));
            Ok(())
        }
    }
}

/// Waits for the end of a connection that was closed in order: a reset could cost bytes.
fn end_within(far: &mut End, limit: Duration) -> Result<Close, Stop> {
    match far.close_within(limit)? {
        Close::Reset => {
            let message = format!(
                "{} has all bytes, then a reset in place of the end",
                far.who()
            );
            Err(Stop::failed(message))
        }
        close => Ok(close),
    }
}
