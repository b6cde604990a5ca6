//! Many short connections, and what the program keeps of them.

use std::time::Duration;

use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::suites::resources::holds_as_before;

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 12;
/// Connections before the first look: a program may open files and start threads at the first ones.
const WARM_UP: usize = 20;
/// As many descriptors more are not a program's own that it has opened meanwhile, however many connections
/// there were.
const OWN: usize = 9;

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
    let times = how_many(context);
    holds_as_before(context, times, OWN, |context| {
        turn_over(context, times).map(drop)
    })
}

/// Makes short connections in a row; how long each took.
fn turn_over(context: &mut CheckContext<'_>, times: usize) -> Result<Vec<Duration>, CheckError> {
    let bounds = context.bounds(TIMEOUT_FACTOR);
    connection_group::in_a_row(context, bounds, times)
}
