//! A lot of data, each way alone and both ways at once: every byte is compared as it comes.

use std::time::Instant;

use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::transfer::{Ends, Load, Transfer};

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 6;

/// The suite. Comparing tells more than a digest: the first byte that is wrong. The SHA-256 of what was
/// carried is in the records, for whoever wants to compare it with what another program has seen; it is
/// made when the transfer is over, so as not to be measured.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "data-quality",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "up",
            "all that the client sends in bulk arrives, in order",
            "RFC 9293, section 2.2",
            |context| carry(context, true, false),
        )
        .exclusive()
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "down",
            "all that the service sends in bulk arrives, in order",
            "RFC 9293, section 2.2",
            |context| carry(context, false, true),
        )
        .exclusive()
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "both",
            "all that both ends send in bulk at once arrives, in order",
            "RFC 9293, section 2.2",
            |context| carry(context, true, true),
        )
        .exclusive()
        .timeout_factor(TIMEOUT_FACTOR),
    ]),
};

fn carry(context: &mut CheckContext<'_>, up: bool, down: bool) -> Result<(), CheckError> {
    let bytes = match context.sizes() {
        Sizes::Quick => 1_200_000,
        Sizes::Full => 100_000_000,
    };
    let mut load = || Load::new(Data::new(context.random()), bytes);
    let transfer = Transfer {
        up: up.then(&mut load),
        down: down.then(&mut load),
    };
    let ends = Ends::of(context.connect()?).plain();
    let begun = Instant::now();
    transfer
        .clone()
        .carry(&ends, context.bounds(TIMEOUT_FACTOR))?;
    context.throughput(transfer.bytes(), begun);
    context.carried(transfer.bytes());
    for (name, load) in [("sha256-up", transfer.up), ("sha256-down", transfer.down)] {
        if let Some(load) = load {
            context.record(name, load.data.sha256(load.bytes));
        }
    }
    Ok(())
}
