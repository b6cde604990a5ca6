//! Many short connections, and what the program keeps of them.

use std::time::{Duration, Instant};

use crate::deadline::Backoff;
use crate::deadline::Deadline;
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::crowd;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::programs::usage::Usage;

/// How much more time than others the checks may take in all.
const PATIENCE: u32 = 12;
/// Connections before the first look: a program may open files and start threads at the first ones.
const WARM_UP: usize = 20;
/// Descriptors that a program may have opened for itself meanwhile, however many connections there were.
const OWN: usize = 8;
/// How long a program may take to close what the last connections had.
const CLOSING: Duration = Duration::from_secs(5);

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "turnover",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "connections",
            "each of many short connections in a row works",
            "harness",
            connections,
        )
        .own()
        .alone()
        .patience(PATIENCE),
        Plan::must(
            "descriptors",
            "after many short connections the program holds as many descriptors as before",
            "harness",
            descriptors,
        )
        .own()
        .patience(PATIENCE),
    ]),
};

fn how_many(trial: &Trial<'_>) -> usize {
    match trial.sizes() {
        Sizes::Quick => 150,
        Sizes::Full => 1000,
    }
}

fn connections(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let waits = turn_over(trial, how_many(trial))?;
    trial.latencies(waits);
    Ok(())
}

fn descriptors(trial: &mut Trial<'_>) -> Result<(), Stop> {
    turn_over(trial, WARM_UP)?;
    let before = settled(trial, 0)?;
    turn_over(trial, how_many(trial))?;
    let after = settled(trial, before.descriptors)?;
    let tell = |usage: Usage| match usage.processes {
        1 => usage.descriptors.to_string(),
        processes => format!("{} in {processes} processes", usage.descriptors),
    };
    let told = format!(
        "descriptors: {} before, {} after",
        tell(before),
        tell(after)
    );
    trial.note(told.clone());
    match after.descriptors <= before.descriptors + OWN {
        true => Ok(()),
        false => {
            let times = how_many(trial);
            Err(Stop::failed(format!(
                "{told}, with {times} connections between"
            )))
        }
    }
}

/// Makes short connections in a row; how long each took.
fn turn_over(trial: &mut Trial<'_>, times: usize) -> Result<Vec<Duration>, Stop> {
    let bounds = trial.bounds(PATIENCE);
    let one = |trial: &mut Trial<'_>| {
        let deadline = bounds.next("a short connection");
        let begun = Instant::now();
        trial.program.open(None, &deadline)?.whole(&deadline)?;
        Ok(begun.elapsed())
    };
    let mut waits = Vec::with_capacity(times);
    for number in 1..=times {
        trial.connected(1);
        let what = format_args!("connection {number} of {times}");
        waits.push(one(trial).map_err(|stop| crowd::about(what, stop))?);
    }
    Ok(waits)
}

/// What the program holds, once it has closed what it closes: as little as `before`, or whatever it
/// still holds in the end.
fn settled(trial: &mut Trial<'_>, before: usize) -> Result<Usage, Stop> {
    let limit = CLOSING.min(trial.deadline("descriptors").remaining() / 2);
    let deadline = Deadline::new(limit, "the program to close its connections");
    let mut pause = Backoff::new(Duration::from_millis(1));
    let mut last = trial.usage()?;
    // It has closed all when nothing changes any more, if nobody knows how much that is.
    let mut same = 0;
    while last.descriptors > before && !deadline.expired() && (before > 0 || same < 10) {
        pause.sleep(&deadline);
        let next = trial.usage()?;
        same = if next == last { same + 1 } else { 0 };
        last = next;
    }
    Ok(last)
}
