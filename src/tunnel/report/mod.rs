//! What a run found: data first, and a text that can be read on its own.

mod check;
mod display;
mod json;
mod measures;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use check::{Check, Ended, Failure, Outcome, Strictness};
pub use measures::{Latency, Measures};

pub(super) use json::{read_check, write_check};

/// What came out of a run: every check of every suite, in the order of the suites.
///
/// Its `Display` is for people: the failures first with all that is needed to understand them, then
/// the deviations in short, then the counts and what was noted for each combination, then the total.
/// [`to_json`](Report::to_json) is for programs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    pub(super) tunnel: String,
    pub(super) checks: Vec<Check>,
    pub(super) expectations: Vec<Expectation>,
    pub(super) warnings: Vec<String>,
    pub(super) seed: u64,
    pub(super) strict: bool,
    pub(super) elapsed: Duration,
    pub(super) shown: Shown,
}

/// Whether somebody has the report's text already.
#[derive(Debug, Default)]
pub(super) struct Shown(AtomicBool);

impl Shown {
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clone for Shown {
    fn clone(&self) -> Shown {
        Shown(AtomicBool::new(self.is_set()))
    }
}

/// So many failed checks a short panic names.
const MOST_NAMED: usize = 20;

/// How many checks ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// With [`Outcome::Passed`].
    pub passed: usize,
    /// With [`Outcome::Failed`].
    pub failed: usize,
    /// With [`Outcome::Deviates`].
    pub deviates: usize,
    /// With [`Outcome::Unsupported`].
    pub unsupported: usize,
    /// With [`Outcome::Skipped`].
    pub skipped: usize,
    /// With [`Outcome::NotRun`].
    pub not_run: usize,
}

/// The checks of one suite in numbers, or those of a whole run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SuiteSummary {
    /// The suite's name, the first part of its checks' ids; of a whole run the tunnel's name.
    pub name: String,
    /// How its checks ended.
    pub counts: Counts,
    /// How long its checks took, one after the other: side by side they are done sooner.
    pub elapsed: Duration,
    /// The payload that they carried, in bytes.
    pub bytes: u64,
    /// How many connections they made.
    pub connections: u64,
    /// The lowest throughput of those that measured one, in bytes a second.
    pub throughput: Option<u64>,
    /// Of those that measured latency: all their waits counted, and the longest of their percentiles.
    pub latency: Option<Latency>,
}

/// A deviation that was [expected](crate::TunnelHarness::known_deviation), and whether it is still there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Expectation {
    /// The pattern of the checks' ids.
    pub pattern: String,
    /// Why it was expected.
    pub reason: String,
    /// What came of it.
    pub state: ExpectationState,
}

/// How far a run has come. See [`TunnelHarness::on_progress`](crate::TunnelHarness::on_progress).
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Progress<'a> {
    /// How many checks have ended, whatever came of them.
    pub done: usize,
    /// How many there are.
    pub total: usize,
    /// How many have failed.
    pub failed: usize,
    /// The one that ended last.
    pub last: &'a Check,
}

/// What came of an expected deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExpectationState {
    /// A check with such an id deviated.
    Met,
    /// Such checks ran, and none deviated: the expectation can go.
    Gone,
    /// No such check was judged in this run.
    Unused,
}

impl Report {
    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.counts().passed
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.counts().failed
    }

    /// How many checks were skipped, each with a reason.
    pub fn skipped(&self) -> usize {
        self.counts().skipped
    }

    /// How many checks ended how.
    pub fn counts(&self) -> Counts {
        Counts::of(&self.checks)
    }

    /// Every check, in the order of the suites.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The check with this id: `connectivity/46/handshake`. Of several rounds the first that failed, or
    /// the first.
    pub fn check(&self, id: &str) -> Option<&Check> {
        let mut those = self.checks.iter().filter(|check| check.id == id);
        let failed = those.clone().find(|c| c.outcome == Outcome::Failed);
        failed.or_else(|| those.next())
    }

    /// Each suite in numbers, in the order of its first check.
    pub fn suites(&self) -> Vec<SuiteSummary> {
        let mut names: Vec<&str> = Vec::new();
        for check in &self.checks {
            if !names.contains(&check.suite()) {
                names.push(check.suite());
            }
        }
        names.into_iter().map(|name| self.suite(name)).collect()
    }

    /// The whole run in numbers.
    pub fn total(&self) -> SuiteSummary {
        SuiteSummary::of(&self.tunnel, self.checks.iter())
    }

    /// The deviations that were expected, and what came of them.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// All that was [recorded](Measures::records) to compare two versions of a program: the check's id
    /// and the record's name, `behaviour/client-half-close/becomes`, with the value. Sorted by name, each
    /// name once; where rounds differ their values stand in one, joined by ` or `.
    ///
    /// The same program and the same suites give the same names; values are coarse, so that they are
    /// mostly the same too.
    ///
    /// ```no_run
    /// use loopback::TunnelHarness;
    /// use loopback::tunnel::{Error, Socks5, Suite};
    ///
    /// # fn main() -> Result<(), Error> {
    /// let behaviour = |program: &str| {
    ///     let tunnel = Socks5::template(format!("{program} --listen {{listen}}"));
    ///     let report = TunnelHarness::new(tunnel).suite(Suite::Behaviour).run()?;
    ///     Ok::<_, Error>(report.behaviour())
    /// };
    /// let (old, new) = (behaviour("./proxy-1.0")?, behaviour("./proxy-1.1")?);
    /// for changed in new.iter().filter(|record| !old.contains(record)) {
    ///     println!("{changed:?}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn behaviour(&self) -> Vec<(String, String)> {
        let mut seen: Vec<(String, Vec<&str>)> = Vec::new();
        for check in &self.checks {
            for (name, value) in &check.measures.records {
                let name = format!("{}/{name}", check.id);
                match seen.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, values)) if values.contains(&&value[..]) => {}
                    Some((_, values)) => values.push(value),
                    None => seen.push((name, vec![value])),
                }
            }
        }
        seen.sort_unstable();
        let line = |(name, values): (String, Vec<&str>)| (name, values.join(" or "));
        seen.into_iter().map(line).collect()
    }

    /// What is to be known of the run itself: a file that could not be written, checks that an earlier
    /// run has made, patterns that no check matches.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The tunnel's name.
    pub fn tunnel(&self) -> &str {
        &self.tunnel
    }

    /// What the random data came from: the same seed gives the same data to the same checks.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// How long the run took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Whether checks were made, all that were to be, and none failed. With nothing checked this is `false`. In a
    /// [strict](crate::TunnelHarness::strict) run every expected deviation must still be there too.
    pub fn is_success(&self) -> bool {
        self.verdict().is_ok()
    }

    /// Fails the test unless [`Report::is_success`].
    ///
    /// # Panics
    ///
    /// If a check failed, if one was [not run](Outcome::NotRun), if none was made, or if the run was strict and an expected deviation is gone:
    /// with the whole report, or, where its text was made before (`println!("{report}")`), with the
    /// counts and the checks that failed.
    #[track_caller]
    pub fn assert_passed(&self) {
        match self.verdict() {
            Ok(()) => {}
            Err(why) if self.shown.is_set() => panic!("{why}\n\n{}", self.summary()),
            Err(why) => panic!("{why}\n\n{self}"),
        }
    }

    /// The total, and each check that failed in a line.
    fn summary(&self) -> String {
        let failed = || self.checks.iter().filter(|c| c.outcome == Outcome::Failed);
        let mut lines = vec![format!("{}: {}", self.tunnel, self.counts())];
        let named = failed().take(MOST_NAMED);
        lines.extend(named.map(|check| format!("FAILED {}: {}", check.id, check.message)));
        if let more @ 1.. = failed().count().saturating_sub(MOST_NAMED) {
            lines.push(format!("and {more} more"));
        }
        lines.push("the whole report was shown before".to_owned());
        lines.join("\n")
    }

    fn verdict(&self) -> Result<(), &'static str> {
        let counts = self.counts();
        if counts.failed > 0 {
            return Err("the tunnel failed");
        }
        if counts.not_run > 0 {
            return Err("not all was run");
        }
        if counts.passed + counts.deviates == 0 {
            return Err("nothing was checked");
        }
        let gone = |one: &Expectation| one.state == ExpectationState::Gone;
        match self.strict && self.expectations.iter().any(gone) {
            true => Err("an expected deviation is gone"),
            false => Ok(()),
        }
    }

    fn suite(&self, name: &str) -> SuiteSummary {
        let own = self.checks.iter().filter(|check| check.suite() == name);
        SuiteSummary::of(name, own)
    }
}

impl SuiteSummary {
    fn of<'a>(name: &str, checks: impl Iterator<Item = &'a Check> + Clone) -> SuiteSummary {
        let measures = || checks.clone().map(|check| &check.measures);
        SuiteSummary {
            name: name.to_owned(),
            counts: Counts::of(checks.clone()),
            elapsed: checks.clone().map(|check| check.elapsed).sum(),
            bytes: measures().map(|measures| measures.bytes).sum(),
            connections: measures().map(|measures| measures.connections).sum(),
            throughput: measures().filter_map(|measures| measures.throughput).min(),
            latency: measures()
                .filter_map(|measures| measures.latency)
                .reduce(Latency::worst),
        }
    }

    /// The outcome of its checks together: [failed](Outcome::Failed) if any failed, otherwise
    /// [deviates](Outcome::Deviates) if any did, otherwise [passed](Outcome::Passed) if any did. With
    /// nothing checked, [unsupported](Outcome::Unsupported), [not run](Outcome::NotRun) or
    /// [skipped](Outcome::Skipped).
    pub fn outcome(&self) -> Outcome {
        let strongest = [
            Outcome::Failed,
            Outcome::Deviates,
            Outcome::Passed,
            Outcome::Unsupported,
            Outcome::NotRun,
        ];
        let there = strongest.into_iter().find(|of| self.counts.get(*of) > 0);
        there.unwrap_or(Outcome::Skipped)
    }
}

impl Counts {
    fn of<'a>(checks: impl IntoIterator<Item = &'a Check>) -> Counts {
        let mut counts = Counts::default();
        for check in checks {
            match check.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Deviates => counts.deviates += 1,
                Outcome::Unsupported => counts.unsupported += 1,
                Outcome::Skipped => counts.skipped += 1,
                Outcome::NotRun => counts.not_run += 1,
            }
        }
        counts
    }

    /// Each outcome with its count, in the order in which they are told.
    fn each(&self) -> [(Outcome, usize); 6] {
        Outcome::ALL.map(|outcome| (outcome, self.get(outcome)))
    }

    fn get(&self, outcome: Outcome) -> usize {
        match outcome {
            Outcome::Passed => self.passed,
            Outcome::Failed => self.failed,
            Outcome::Deviates => self.deviates,
            Outcome::Unsupported => self.unsupported,
            Outcome::Skipped => self.skipped,
            Outcome::NotRun => self.not_run,
        }
    }
}

impl ExpectationState {
    /// `met`, `gone` or `unused`.
    pub fn name(self) -> &'static str {
        match self {
            ExpectationState::Met => "met",
            ExpectationState::Gone => "gone",
            ExpectationState::Unused => "unused",
        }
    }
}

/// Where two byte strings begin to differ: at the latest at the end of the shorter one.
pub(super) fn first_difference(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b);
    same.count()
}

/// The part of many bytes that is worth showing: at most `most`, around `around`; where it begins.
fn window(bytes: &[u8], around: usize, most: usize) -> (usize, &[u8]) {
    let from = match bytes.len() <= most {
        true => 0,
        false => around.saturating_sub(most / 2).min(bytes.len() - most),
    };
    (from, &bytes[from..bytes.len().min(from + most)])
}

#[cfg(test)]
mod tests;
