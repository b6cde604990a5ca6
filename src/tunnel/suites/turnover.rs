//! Many short connections, and what the program keeps of them.

use std::time::{Duration, Instant};

use crate::deadline::Backoff;
use crate::deadline::Deadline;
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::programs::usage::Usage;

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 12;
/// Connections before the first look: a program may open files and start threads at the first ones.
const WARM_UP: usize = 20;
/// Descriptors that a program may have opened for itself meanwhile, however many connections there were.
const OWN: usize = 8;
/// How long a program may take to close what the last connections had.
const CLOSING: Duration = Duration::from_secs(5);

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "turnover",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "connections",
            "each of many short connections in a row works",
            "harness",
            connections,
        )
        .fresh_process()
        .exclusive()
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "descriptors",
            "after many short connections the program holds as many descriptors as before",
            "harness",
            descriptors,
        )
        .fresh_process()
        .timeout_factor(TIMEOUT_FACTOR),
    ]),
};

fn how_many(context: &CheckContext<'_>) -> usize {
    match context.sizes() {
        Sizes::Quick => 150,
        Sizes::Full => 1000,
    }
}

fn connections(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let waits = turn_over(context, how_many(context))?;
    context.latencies(waits);
    Ok(())
}

fn descriptors(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    turn_over(context, WARM_UP)?;
    let before = settled(context, 0)?;
    turn_over(context, how_many(context))?;
    let after = settled(context, before.descriptors)?;
    let tell = |usage: Usage| match usage.processes {
        1 => usage.descriptors.to_string(),
        processes => format!("{} in {processes} processes", usage.descriptors),
    };
    let told = format!(
        "descriptors: {} before, {} after",
        tell(before),
        tell(after)
    );
    context.note(told.clone());
    match after.descriptors <= before.descriptors + OWN {
        true => Ok(()),
        false => {
            let times = how_many(context);
            Err(CheckError::failed(format!(
                "{told}, with {times} connections between"
            )))
        }
    }
}

/// Makes short connections in a row; how long each took.
fn turn_over(context: &mut CheckContext<'_>, times: usize) -> Result<Vec<Duration>, CheckError> {
    let bounds = context.bounds(TIMEOUT_FACTOR);
    let one = |context: &mut CheckContext<'_>| {
        let deadline = bounds.next("a short connection");
        let begun = Instant::now();
        context.program.open(None, &deadline)?.whole(&deadline)?;
        Ok(begun.elapsed())
    };
    let mut waits = Vec::with_capacity(times);
    for number in 1..=times {
        context.connected(1);
        let what = format_args!("connection {number} of {times}");
        waits.push(one(context).map_err(|error| connection_group::about(what, error))?);
    }
    Ok(waits)
}

/// What the program holds, once it has closed what it closes: as little as `before`, or whatever it
/// still holds in the end.
fn settled(context: &mut CheckContext<'_>, before: usize) -> Result<Usage, CheckError> {
    let limit = CLOSING.min(context.deadline("descriptors").remaining() / 2);
    let deadline = Deadline::new(limit, "the program to close its connections");
    let mut pause = Backoff::new(Duration::from_millis(1));
    let mut last = context.usage()?;
    // It has closed all when nothing changes any more, if nobody knows how much that is.
    let mut same = 0;
    while last.descriptors > before && !deadline.expired() && (before > 0 || same < 10) {
        pause.sleep(&deadline);
        let next = context.usage()?;
        same = if next == last { same + 1 } else { 0 };
        last = next;
    }
    Ok(last)
}
