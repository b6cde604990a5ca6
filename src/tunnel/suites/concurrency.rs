//! Several connections open at once, and many in a row.

use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::transfer::Load;

/// What each end of a connection sends.
const BYTES: u64 = 1000;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "concurrency",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "10-at-once",
            "ten connections that are open at once carry what is theirs",
            "harness",
            |context| at_once(context, 10),
        )
        .fresh_process(),
        CheckDef::must(
            "100-at-once",
            "a hundred connections that are open at once carry what is theirs",
            "harness",
            |context| at_once(context, 100),
        )
        .fresh_process(),
        CheckDef::must(
            "20-in-a-row",
            "twenty connections one after the other carry what is theirs",
            "harness",
            in_a_row,
        ),
    ]),
};

fn at_once(context: &mut CheckContext<'_>, size: usize) -> Result<(), CheckError> {
    let bounds = context.bounds(1);
    let seed = context.random().next();
    connection_group::run(context, bounds, size, |index, group| {
        let mut random = Random::new(seed ^ index as u64);
        let [up, down] = [(); 2].map(|()| Load::new(Data::new(&mut random), BYTES));
        let carry = || {
            let mut ends = group.open()?;
            // Nobody begins before all are there: a program that serves one at a time stops here.
            group.wait_for_all(size)?;
            up.clone().send(&mut ends.client, "the client", bounds)?;
            up.receive(&mut ends.service, "the service", bounds)?;
            down.clone()
                .send(&mut ends.service, "the service", bounds)?;
            down.receive(&mut ends.client, "the client", bounds)
        };
        carry()
            .map_err(|error| connection_group::about(format!("one of {size} connections"), error))
    })?;
    context.carried(2 * BYTES * size as u64);
    Ok(())
}

fn in_a_row(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let bounds = context.bounds(1);
    connection_group::in_a_row(context, bounds, 20).map(drop)
}
