//! Several connections open at once, and many in a row.

use crate::tunnel::check::context::Trial;
use crate::tunnel::check::crowd;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::transfer::Load;

/// What each end of a connection sends.
const BYTES: u64 = 1000;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "concurrency",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "10-at-once",
            "ten connections that are open at once carry what is theirs",
            "harness",
            |trial| at_once(trial, 10),
        )
        .own(),
        Plan::must(
            "100-at-once",
            "a hundred connections that are open at once carry what is theirs",
            "harness",
            |trial| at_once(trial, 100),
        )
        .own(),
        Plan::must(
            "20-in-a-row",
            "twenty connections one after the other carry what is theirs",
            "harness",
            in_a_row,
        ),
    ]),
};

fn at_once(trial: &mut Trial<'_>, size: usize) -> Result<(), Stop> {
    let bounds = trial.bounds(1);
    let seed = trial.random().next();
    crowd::run(trial, bounds, size, |index, crowd| {
        let mut random = Random::new(seed ^ index as u64);
        let [up, down] = [(); 2].map(|()| Load::new(Data::new(&mut random), BYTES));
        let carry = || {
            let mut ends = crowd.open()?;
            // Nobody begins before all are there: a program that serves one at a time stops here.
            crowd.wait_for_all(size)?;
            up.clone().send(&mut ends.client, "the client", bounds)?;
            up.receive(&mut ends.service, "the service", bounds)?;
            down.clone()
                .send(&mut ends.service, "the service", bounds)?;
            down.receive(&mut ends.client, "the client", bounds)
        };
        carry().map_err(|stop| crowd::about(format!("one of {size} connections"), stop))
    })?;
    trial.carried(2 * BYTES * size as u64);
    Ok(())
}

fn in_a_row(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let deadline = trial.deadline("twenty connections");
    for number in 1..=20 {
        let done = trial.connect().and_then(|both| both.whole(&deadline));
        done.map_err(|stop| crowd::about(format!("connection {number} of 20"), stop))?;
    }
    Ok(())
}
