//! Many transfers of many sizes, many at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::transfer::{Load, Transfer};

/// How much more time than others the check may take in all.
const TIMEOUT_FACTOR: u32 = 18;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "punishment",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[CheckDef::must(
        "transfers",
        "all of many transfers, of many sizes and many at once, arrive whole",
        "RFC 9293, section 2.2",
        punish,
    )
    .fresh_process()
    .exclusive()
    .timeout_factor(TIMEOUT_FACTOR)]),
};

/// How hard it is.
struct Measure {
    transfers: usize,
    at_once: usize,
    smallest: u64,
    largest: u64,
}

impl Measure {
    fn of(sizes: Sizes) -> Measure {
        match sizes {
            Sizes::Quick => Measure {
                transfers: 12,
                at_once: 6,
                smallest: 1_000,
                largest: 300_000,
            },
            Sizes::Full => Measure {
                transfers: 100,
                at_once: 20,
                smallest: 100_000,
                largest: 250_000_000,
            },
        }
    }
}

fn punish(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let measure = Measure::of(context.sizes());
    let bounds = context.bounds(TIMEOUT_FACTOR);
    let transfers = transfers(&measure, context.random());
    let total = transfers.iter().map(Transfer::bytes).sum();
    let next = AtomicUsize::new(0);
    let begun = Instant::now();
    connection_group::run(context, bounds, measure.at_once, |_, group| {
        while let Some(transfer) = transfers.get(next.fetch_add(1, Ordering::Relaxed)) {
            let ends = group.open().map_err(|error| about(transfer, error))?;
            let carried = transfer.clone().carry(&ends, bounds);
            carried.map_err(|error| about(transfer, error))?;
        }
        Ok(())
    })?;
    context.throughput(total, begun);
    context.carried(total);
    Ok(())
}

fn about(transfer: &Transfer, error: CheckError) -> CheckError {
    let way = match (&transfer.up, &transfer.down) {
        (Some(_), Some(_)) => "both ways",
        (Some(_), None) => "up",
        _ => "down",
    };
    connection_group::about(
        format!("a transfer of {} bytes {way}", transfer.bytes()),
        error,
    )
}

/// The largest comes first, the smallest last; the others are between, more small than large, and in no
/// order. They go up, down and both ways in turn.
fn transfers(measure: &Measure, random: &mut Random) -> Vec<Transfer> {
    let last = measure.transfers - 1;
    let transfer = |number| {
        let bytes = match number {
            0 => measure.largest,
            n if n == last => measure.smallest,
            _ => size(
                measure,
                random.below(1 << 32) as f64 / f64::from(1u32 << 31) / 2.0,
            ),
        };
        let [up, down] = [(); 2].map(|()| Load::new(Data::new(random), bytes));
        Transfer {
            up: (number % 3 != 1).then_some(up),
            down: (number % 3 != 0).then_some(down),
        }
    };
    (0..measure.transfers).map(transfer).collect()
}

/// A size for a number from 0 to 1: half of them are in the lowest eighth of the orders of magnitude.
fn size(measure: &Measure, number: f64) -> u64 {
    let times = measure.largest as f64 / measure.smallest as f64;
    let bytes = measure.smallest as f64 * times.powf(number.powi(3));
    (bytes as u64).clamp(measure.smallest, measure.largest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_transfers_are_small_and_the_limits_are_reached() {
        let measure = Measure::of(Sizes::Full);
        let transfers = transfers(&measure, &mut Random::new(1));
        let sizes: Vec<u64> = transfers
            .iter()
            .map(|transfer| {
                [&transfer.up, &transfer.down]
                    .into_iter()
                    .flatten()
                    .map(|l| l.bytes)
                    .max()
                    .unwrap()
            })
            .collect();
        assert_eq!(sizes.len(), 100);
        assert_eq!(sizes.iter().max(), Some(&250_000_000));
        assert_eq!(sizes.iter().min(), Some(&100_000));
        assert_eq!(sizes[0], 250_000_000);
        let small = sizes.iter().filter(|size| **size < 1_000_000).count();
        assert!((55..85).contains(&small), "{small}");
        let large = sizes.iter().filter(|size| **size > 50_000_000).count();
        assert!((1..15).contains(&large), "{large}");
        let both = transfers
            .iter()
            .filter(|t| t.up.is_some() && t.down.is_some())
            .count();
        assert_eq!(both, 33);
        assert!(transfers.iter().all(|t| t.up.is_some() || t.down.is_some()));
        assert_eq!(
            (size(&measure, 0.0), size(&measure, 1.0)),
            (100_000, 250_000_000)
        );
    }
}
