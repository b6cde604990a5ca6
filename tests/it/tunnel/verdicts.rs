//! What one suite must say of mutants, and of proxies that are right.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Family, Outcome, Report, Suite};

use super::PATIENT;
use super::mutant::{Protocol, failed};

/// Long enough for what works on a loaded machine, and waited for in full by what does not.
const SHORT: Duration = Duration::from_secs(4);
/// What a program gets to end that is known not to end.
const BRIEF: Duration = Duration::from_millis(300);
/// How many mutants run at once.
const AT_ONCE: usize = 4;

/// What a suite must say of one mutant.
#[derive(Debug)]
pub(super) struct Verdict {
    mutation: &'static str,
    protocol: Protocol,
    /// The checks that fail, and no others.
    fails: &'static [&'static str],
    hangs: bool,
    stays: bool,
}

pub(super) const fn verdict(
    protocol: Protocol,
    mutation: &'static str,
    fails: &'static [&'static str],
) -> Verdict {
    Verdict {
        mutation,
        protocol,
        fails,
        hangs: false,
        stays: false,
    }
}

/// It makes a check wait until its deadline.
pub(super) const fn hangs(verdict: Verdict) -> Verdict {
    Verdict {
        hangs: true,
        ..verdict
    }
}

/// It does not end when it is told to.
pub(super) const fn stays(verdict: Verdict) -> Verdict {
    Verdict {
        stays: true,
        ..verdict
    }
}

/// Checks what `suite` says of the mutants, a few at once. The runs are strict: whatever does not hold
/// fails.
pub(super) fn judge(suite: Suite, verdicts: &[Verdict]) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(one) = verdicts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(misjudged(suite, one));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn misjudged(suite: Suite, one: &Verdict) -> Option<String> {
    let options = vec!["--mutation", one.mutation].leak();
    let report = strict(one.protocol.harness(options), suite)
        .check_deadline(if one.hangs { SHORT } else { PATIENT })
        .stop_deadline(if one.stays { BRIEF } else { PATIENT })
        .run()
        .unwrap();
    let due: BTreeSet<String> = one.fails.iter().map(|id| (*id).to_owned()).collect();
    let failed = failed(&report);
    (failed != due).then(|| format!("{one:?}\nhas failed {failed:?}\n{report}"))
}

/// Checks that a right proxy passes all of `suite` with these options; gives the report.
#[track_caller]
pub(super) fn passes(suite: Suite, protocol: Protocol, options: &'static [&'static str]) -> Report {
    let report = run(suite, protocol, options);
    report.assert_passed();
    report
}

/// The report of a strict run.
pub(super) fn run(suite: Suite, protocol: Protocol, options: &'static [&'static str]) -> Report {
    let harness = strict(protocol.harness(options), suite);
    harness.check_deadline(PATIENT).run().unwrap()
}

/// How many checks of a report ended so.
pub(super) fn count(report: &Report, outcome: Outcome) -> usize {
    let checks = report.checks().iter();
    checks.filter(|check| check.outcome() == outcome).count()
}

fn strict(harness: TunnelHarness, suite: Suite) -> TunnelHarness {
    let families = [(Family::V4, Family::V4)];
    harness.suite(suite).families(families).strict(true)
}
