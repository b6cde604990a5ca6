//! Judges rows of the table: what all suites say of one mutation.

use std::cmp::Reverse;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{env, thread};

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Outcome, Report, Sizes, Strictness, Suite};

use super::super::{PATIENT, combinations};
use super::coverage::Coverage;
use super::{LIMIT, Protocol};
use crate::support::Folder;

/// Waited for in full by each check that hangs; such checks are run apart, with nothing else that would
/// have to work within it but the start of the program and what they stand on.
const SHORT: Duration = Duration::from_secs(3);
/// What a program gets to end that is known not to end.
const BRIEF: Duration = Duration::from_millis(300);
/// How many rows run at once: they wait more than they work.
const AT_ONCE: usize = 16;
/// How many checks of one row run at once, where they only wait.
const WAITING: usize = 32;
/// The variable that asks for all suites.
const WHOLE: &str = "LOOPBACK_WHOLE_TABLE";
/// The suites that are quick.
const QUICK: [Suite; 7] = [
    Suite::Connectivity,
    Suite::Echo,
    Suite::DataQuality,
    Suite::PingPong,
    Suite::Punishment,
    Suite::Closing,
    Suite::Faults,
];
/// The variable that names the mutation that is wanted, where it is not all.
const ROW: &str = "LOOPBACK_MUTATION";

/// What all suites say of one mutation, run together with quick sizes and on one combination of
/// families unless the row says otherwise. That takes minutes, so an ordinary run is made of the suites that
/// the row names and of the quick ones, without messages that are cut, which make the same check again and
/// again. With [`WHOLE`] in the environment it is all suites.
///
/// Lists are of patterns of ids, in which `*` stands for any characters; one that stands for a check stands
/// for its `/cut` too. Each must match a check that is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    mutation: &'static str,
    protocol: Protocol,
    breaks: &'static [&'static str],
    all_but: Option<&'static [&'static [&'static str]]>,
    some: &'static [&'static str],
    hangs: &'static [&'static str],
    unsupported: &'static [&'static str],
    left_out: &'static [&'static str],
    only: &'static [&'static str],
    families: &'static [(Family, Family)],
    sizes: Sizes,
    stays: Option<&'static [&'static str]>,
    unbound: bool,
    ends: bool,
}

/// A row of which nothing else is said: the mutation is right.
pub(super) const fn row(mutation: &'static str, protocol: Protocol) -> Row {
    Row {
        mutation,
        protocol,
        breaks: &[],
        all_but: None,
        some: &[],
        hangs: &[],
        unsupported: &[],
        left_out: &[],
        only: &[],
        families: &[(Family::V4, Family::V4)],
        sizes: Sizes::Quick,
        stays: None,
        unbound: false,
        ends: false,
    }
}

impl Row {
    /// The checks whose statement does not hold, and no others: those of a MUST fail, all others deviate.
    pub(super) const fn breaks(mut self, checks: &'static [&'static str]) -> Row {
        self.breaks = checks;
        self
    }

    /// The only checks whose statement holds, in lists.
    pub(super) const fn breaks_all_but(
        mut self,
        checks: &'static [&'static [&'static str]],
    ) -> Row {
        self.all_but = Some(checks);
        self
    }

    /// Checks of which chance says whether their statement holds. If the row says nothing else, for one at
    /// least it does not.
    pub(super) const fn breaks_some(mut self, checks: &'static [&'static str]) -> Row {
        self.some = checks;
        self
    }

    /// The checks that wait until their deadline. They are made in a run of their own, with a short one, and
    /// what they stand on, or what stands on them, with them.
    pub(super) const fn hangs(mut self, checks: &'static [&'static str]) -> Row {
        self.hangs = checks;
        self
    }

    /// As [`Row::breaks`] and [`Row::hangs`].
    pub(super) const fn breaks_by_hanging(self, checks: &'static [&'static str]) -> Row {
        self.breaks(checks).hangs(checks)
    }

    /// The checks that the program declines in its protocol.
    pub(super) const fn unsupported(mut self, checks: &'static [&'static str]) -> Row {
        self.unsupported = checks;
        self
    }

    /// The checks that are not made; the reason stands at the row.
    pub(super) const fn left_out(mut self, checks: &'static [&'static str]) -> Row {
        self.left_out = checks;
        self
    }

    /// The only checks that are made; the reason stands at the row.
    pub(super) const fn only(mut self, checks: &'static [&'static str]) -> Row {
        self.only = checks;
        self
    }

    /// With full sizes.
    pub(super) const fn full(mut self) -> Row {
        self.sizes = Sizes::Full;
        self
    }

    /// On all four combinations of families.
    pub(super) const fn each_family(mut self) -> Row {
        self.families = &[
            (Family::V4, Family::V4),
            (Family::V4, Family::V6),
            (Family::V6, Family::V4),
            (Family::V6, Family::V6),
        ];
        self
    }

    /// It does not end when it is told to, and gets little time for that, but for these checks, in a run of
    /// their own, where it must.
    pub(super) const fn stays_but_for(mut self, checks: &'static [&'static str]) -> Row {
        self.stays = Some(checks);
        self
    }

    /// The harness takes it for one that is bound to no address, and asks it for services of both families.
    pub(super) const fn unbound(mut self) -> Row {
        self.unbound = true;
        self
    }

    /// What it breaks is broken by its end, which is a failure whatever the strictness.
    pub(super) const fn by_its_end(mut self) -> Row {
        self.ends = true;
        self
    }

    fn needs_v6(&self) -> bool {
        self.unbound || self.families.len() > 1
    }

    /// The patterns of checks that it says something of.
    fn named(&self) -> impl Iterator<Item = &'static str> {
        let lists = [
            self.breaks,
            self.some,
            self.hangs,
            self.unsupported,
            self.only,
        ];
        lists.into_iter().flatten().copied()
    }

    fn needs_cuts(&self) -> bool {
        self.named().any(|id| id.ends_with("/cut"))
    }

    fn suites(&self) -> Vec<Suite> {
        let names = |suite: &Suite| {
            let mut named = self.named().filter_map(|id| id.split_once('/'));
            match suite {
                Suite::Conformance => named.any(|(first, _)| is_protocol(first)),
                _ => named.any(|(first, _)| first == suite.name()),
            }
        };
        let all = self.all_but.is_some() || self.named().any(|id| id.starts_with('*'));
        let wanted = |suite: &&Suite| match suite {
            // What a mutation does to the bytes of whole protocols is known from the others.
            Suite::Application if !names(suite) => false,
            _ if is_whole() || QUICK.contains(suite) || names(suite) => true,
            // It judges nothing, and what hangs takes long.
            Suite::Behaviour => false,
            _ => all,
        };
        Suite::ALL.iter().filter(wanted).copied().collect()
    }

    pub(super) const fn mutation(&self) -> &'static str {
        self.mutation
    }

    /// What is only recorded: nothing of it fails, but by the program's end.
    fn is_record(&self, check: &Check) -> bool {
        let records = check.suite() == Suite::Behaviour.name();
        records && (self.ends || check.outcome() != Outcome::Failed)
    }

    /// What must become of a check.
    fn due(&self, check: &Check) -> Outcome {
        let breaks = match self.all_but {
            Some(holds) => !holds.iter().any(|holds| any(holds, check.id())),
            None => any(self.breaks, check.id()),
        };
        match () {
            () if any(self.unsupported, check.id()) => Outcome::Unsupported,
            () if any(self.some, check.id()) => check.outcome(),
            () if !breaks => Outcome::Passed,
            () if self.ends || check.strictness() == Strictness::Must => Outcome::Failed,
            () => Outcome::Deviates,
        }
    }
}

fn is_whole() -> bool {
    env::var_os(WHOLE).is_some()
}

/// Whether ids of the suite of conformance begin so.
fn is_protocol(first: &str) -> bool {
    first.starts_with("socks")
        || first.starts_with("connect") && first != "connectivity"
        || first.starts_with("proxy")
}

/// Judges rows, several at once, and whether they break each check; with [`ROW`] in the environment, those
/// of that mutation only.
pub(super) fn judge(rows: impl Iterator<Item = &'static Row>) {
    let name = env::var(ROW).ok();
    let has_v6 = combinations().contains(&"66");
    let wanted = |row: &&Row| {
        name.as_ref().is_none_or(|name| row.mutation == name) && (has_v6 || !row.needs_v6())
    };
    let mut rows: Vec<&Row> = rows.filter(wanted).collect();
    assert!(!rows.is_empty(), "there is no such mutation");
    // Those that wait most first, so that they are not waited for alone.
    rows.sort_by_key(|row| (row.hangs != ["*"], Reverse(row.hangs.len())));
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let coverage = Mutex::new(Coverage::default());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(rows.len()) {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let reports = reports(row);
                    let verdict = misjudged(row, &reports);
                    wrong.lock().unwrap().extend(verdict);
                    let names = |id: &str| any(row.breaks, id) || any(row.some, id);
                    coverage.lock().unwrap().add(&reports, names);
                }
            });
        }
    });
    let mut wrong = wrong.into_inner().unwrap();
    // Some rows are there on Linux only.
    if name.is_none() && has_v6 && cfg!(target_os = "linux") {
        wrong.extend(coverage.into_inner().unwrap().gaps());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the verdicts on a row's mutation, if anything.
fn misjudged(row: &Row, reports: &[Report]) -> Option<String> {
    let checks = reports.iter().flat_map(Report::checks);
    // Why one is skipped stands in the report: it is not reached, or makes no sense for this protocol.
    let made: Vec<&Check> = checks.filter(|c| c.outcome() != Outcome::Skipped).collect();
    let mut wrong: Vec<String> = made
        .iter()
        .filter(|check| check.outcome() != row.due(check) && !row.is_record(check))
        .map(|check| format!("  must be {}: {check}", row.due(check).name()))
        .collect();
    let all_but = row.all_but.unwrap_or_default().iter().copied();
    let lists = [row.breaks, row.hangs, row.unsupported];
    for pattern in lists.into_iter().chain(all_but).flatten() {
        if !made.iter().any(|check| any(&[pattern], check.id())) {
            wrong.push(format!("  no such check is made: {pattern}"));
        }
    }
    // A row that says nothing else must not be empty by chance.
    let breaks = |check: &&&Check| matches!(check.outcome(), Outcome::Failed | Outcome::Deviates);
    if !row.some.is_empty() && made.iter().filter(breaks).count() == 0 {
        wrong.push(format!("  none of these breaks: {:?}", row.some));
    }
    if made.is_empty() {
        wrong.push("  no check is made".to_owned());
    }
    let (mutation, protocol) = (row.mutation, row.protocol);
    (!wrong.is_empty()).then(|| format!("{mutation} of {protocol:?}:\n{}", wrong.join("\n")))
}

/// All suites, and apart from that what hangs.
fn reports(row: &Row) -> Vec<Report> {
    // Where the program may leave files.
    let folder = Folder::new(&format!("{}-{:?}", row.mutation, row.protocol));
    let pid_files = folder.path().to_str().unwrap().to_owned().leak();
    let options = vec!["--pid-files", pid_files, "--mutation", row.mutation].leak();
    let harness = || {
        let harness = row
            .protocol
            .harness_binding(!row.unbound, options)
            .suites(&row.suites())
            .families(row.families.iter().copied())
            .sizes(row.sizes)
            // Each check is to say what it sees, also where all hang.
            .give_up(false)
            .deadline(LIMIT)
            .stop_deadline(if row.stays.is_some() { BRIEF } else { PATIENT });
        let only = row.only.iter();
        only.fold(harness, |harness, pattern| harness.only(*pattern))
    };
    let harness = || {
        let harness = match row.needs_cuts() || is_whole() {
            true => harness(),
            false => harness().skip("*/cut", "takes too long"),
        };
        with_cut(row.left_out).fold(harness, |harness, pattern| {
            harness.skip(pattern, "left out")
        })
    };
    let mut apart: Vec<&str> = row.hangs.iter().map(|pattern| reach(pattern)).collect();
    if !apart.is_empty() {
        apart.push("behaviour/*");
    }
    let ends = row.stays.unwrap_or_default();
    let mut reports = Vec::new();
    if !ends.is_empty() {
        let ending = with_cut(ends).fold(harness(), TunnelHarness::only);
        let ending = ending.stop_deadline(PATIENT).check_deadline(PATIENT);
        reports.push(ending.run().unwrap());
    }
    if row.hangs[..] != ["*"] && (row.only.is_empty() || row.only != row.hangs) {
        let elsewhere = [&apart[..], ends].concat();
        let together = with_cut(&elsewhere).fold(harness(), |harness, pattern| {
            harness.skip(pattern, "made apart")
        });
        let together = together.check_deadline(PATIENT);
        reports.push(together.run().unwrap());
    }
    if !row.hangs.is_empty() {
        let waiting = with_cut(&apart).fold(harness(), TunnelHarness::only);
        let waiting = waiting.check_deadline(SHORT).jobs(WAITING);
        reports.push(waiting.run().unwrap());
    }
    reports
}

/// The checks that wait when one of this pattern does: those that stand on it too.
fn reach(pattern: &str) -> &str {
    match pattern.split_once('/') {
        Some(("connectivity", _)) => "connectivity/*",
        Some(("faults", "ordinary")) => "faults/*",
        Some(("life", "ordinary")) => "life/*",
        _ => pattern,
    }
}

/// Patterns for the checks and for their `/cut`.
fn with_cut(patterns: &[&str]) -> impl Iterator<Item = String> {
    patterns
        .iter()
        .flat_map(|pattern| [(*pattern).to_owned(), format!("{pattern}/cut")])
}

fn any(patterns: &[&str], id: &str) -> bool {
    let whole = id.strip_suffix("/cut").unwrap_or(id);
    patterns
        .iter()
        .any(|pattern| matches(pattern, id) || matches(pattern, whole))
}

/// Whether the id is the pattern, in which each `*` stands for any characters.
fn matches(pattern: &str, id: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == id,
        Some((start, rest)) => id.strip_prefix(start).is_some_and(|id| {
            (0..=id.len()).any(|at| id.is_char_boundary(at) && matches(rest, &id[at..]))
        }),
    }
}
