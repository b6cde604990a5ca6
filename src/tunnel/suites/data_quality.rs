//! A lot of data, each way alone and both ways at once: every byte is compared as it comes.

use std::time::Instant;

use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::transfer::{Ends, Load, Transfer};

/// How much more time than others the checks may take in all.
const PATIENCE: u32 = 6;

/// The suite. Comparing tells more than a digest: the first byte that is wrong. The SHA-256 of what was
/// carried is in the records, for whoever wants to compare it with what another program has seen; it is
/// made when the transfer is over, so as not to be measured.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "data-quality",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "up",
            "all that the client sends in bulk arrives, in order",
            "RFC 9293, section 2.2",
            |trial| carry(trial, true, false),
        )
        .alone()
        .patience(PATIENCE),
        Plan::must(
            "down",
            "all that the service sends in bulk arrives, in order",
            "RFC 9293, section 2.2",
            |trial| carry(trial, false, true),
        )
        .alone()
        .patience(PATIENCE),
        Plan::must(
            "both",
            "all that both ends send in bulk at once arrives, in order",
            "RFC 9293, section 2.2",
            |trial| carry(trial, true, true),
        )
        .alone()
        .patience(PATIENCE),
    ]),
};

fn carry(trial: &mut Trial<'_>, up: bool, down: bool) -> Result<(), Stop> {
    let bytes = match trial.sizes() {
        Sizes::Quick => 1_200_000,
        Sizes::Full => 100_000_000,
    };
    let mut load = || Load::new(Data::new(trial.random()), bytes);
    let transfer = Transfer {
        up: up.then(&mut load),
        down: down.then(&mut load),
    };
    let ends = Ends::of(trial.connect()?).plain();
    let begun = Instant::now();
    transfer.clone().carry(&ends, trial.bounds(PATIENCE))?;
    trial.throughput(transfer.bytes(), begun);
    trial.carried(transfer.bytes());
    for (name, load) in [("sha256-up", transfer.up), ("sha256-down", transfer.down)] {
        if let Some(load) = load {
            trial.record(name, load.data.sha256(load.bytes));
        }
    }
    Ok(())
}
