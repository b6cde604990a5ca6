//! The harness's verdicts on the mutant proxy: a right proxy passes, and each way to be wrong fails
//! the checks that are about it and no others.

mod by_hand;
mod table;
mod unjudged;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Family, Forward, Outcome, Report, Route, Socks5, Suite};

use self::table::{NOT_YET, Row, STOP, TABLE};
use super::{PATIENT, combinations, example};

/// Long enough for what works on a loaded machine, and waited for in full by what does not.
const SHORT: Duration = Duration::from_secs(4);
/// What a program gets to end that is known not to end well.
const BRIEF: Duration = Duration::from_millis(300);
/// How many rows run at once.
const AT_ONCE: usize = 16;
const USER: &str = "user";
const PASSWORD: &str = "secret";

/// What the mutant is made to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Forward,
    Socks5,
    /// With user and password.
    Socks5Login,
}

impl Protocol {
    const ALL: [Protocol; 3] = [Protocol::Forward, Protocol::Socks5, Protocol::Socks5Login];

    /// A harness for the mutant with these options.
    pub(super) fn harness(self, options: &'static [&'static str]) -> TunnelHarness {
        let command = move |route: &Route| self.command(route, options);
        match self {
            Protocol::Forward => TunnelHarness::new(Forward::spawn(command).binds_outgoing(true)),
            Protocol::Socks5 => TunnelHarness::new(Socks5::spawn(command).binds_outgoing(true)),
            Protocol::Socks5Login => {
                let socks5 = Socks5::spawn(command).auth(USER, PASSWORD);
                TunnelHarness::new(socks5.binds_outgoing(true))
            }
        }
    }

    fn command(self, route: &Route, options: &[&str]) -> Command {
        let mut command = Command::new(example("mutant_proxy"));
        command.arg(match self {
            Protocol::Forward => "forward",
            Protocol::Socks5 | Protocol::Socks5Login => "socks5",
        });
        command.args(["--listen", &route.listen.to_string()]);
        command.args(["--outgoing", &route.outgoing.to_string()]);
        if self == Protocol::Forward {
            command.args(["--service", &route.service.to_string()]);
        }
        if self == Protocol::Socks5Login {
            command.args(["--user", USER, "--password", PASSWORD]);
        }
        command.args(options);
        command
    }
}

/// Judges the rows of one place, a few at once.
fn judge(place: &str) {
    let rows: Vec<&Row> = TABLE.iter().filter(|row| row.place == place).collect();
    assert!(!rows.is_empty(), "no rows for {place}");
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = misjudged(row);
                    wrong.lock().unwrap().extend(verdict);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the verdict on a row's mutation, if anything.
fn misjudged(row: &Row) -> Option<String> {
    let options = vec!["--mutation", row.mutation].leak();
    let families = [(Family::V4, Family::V4)];
    let mut harness = row.protocol.harness(options).suite(row.suite);
    if row.is_v4_alone() {
        harness = harness.families(families);
    }
    let report = harness
        .check_deadline(if row.hangs { SHORT } else { PATIENT })
        .stop_deadline(if row.fails == STOP { BRIEF } else { PATIENT })
        .run()
        .unwrap();
    let (failed, due) = (failed(&report), row.due());
    (failed != due).then(|| format!("{row:?}\nmust fail {due:?}\nhas failed {failed:?}\n{report}"))
}

pub(super) fn failed(report: &Report) -> BTreeSet<String> {
    let checks = report.checks().iter();
    let failed = checks.filter(|check| check.outcome() == Outcome::Failed);
    failed.map(|check| check.id().to_owned()).collect()
}

impl Row {
    /// Where it waits, and where it passes, one combination is enough.
    fn is_v4_alone(&self) -> bool {
        self.hangs || self.slow || self.fails.is_empty()
    }

    /// The checks that must fail. A `*` stands for each combination of families that is run.
    fn due(&self) -> BTreeSet<String> {
        let combinations = match self.is_v4_alone() {
            true => &["44"],
            false => combinations(),
        };
        let due = self.fails.iter().flat_map(|id| {
            let runs_here = |families: &&&str| {
                let own = id.split('/').nth(1);
                own == Some("*") || own == Some(**families)
            };
            let run = combinations.iter().filter(runs_here);
            run.map(|families| id.replace('*', families))
        });
        due.collect()
    }
}

#[test]
fn without_a_mutation_it_is_right() {
    for protocol in Protocol::ALL {
        let harness = protocol.harness(&[]).suite(Suite::Connectivity);
        let report = harness.check_deadline(PATIENT).run().unwrap();
        report.assert_passed();
        for name in ["client-half-close", "service-half-close"] {
            let check = report.check(&format!("connectivity/44/{name}")).unwrap();
            assert_eq!(check.notes(), ["half-close carried"], "{protocol:?}");
        }
    }
}

#[test]
fn slow_or_coalescing_it_is_right_too() {
    for protocol in Protocol::ALL {
        for options in [&["--slow"], &["--coalesce"]] {
            let harness = protocol.harness(options).suite(Suite::Connectivity);
            let report = harness.check_deadline(PATIENT).run().unwrap();
            report.assert_passed();
        }
    }
}

#[test]
fn mutations_of_the_process_are_judged_right() {
    judge("process");
}

#[test]
fn mutations_that_hang_are_judged_right() {
    judge("hanging");
}

#[test]
fn mutations_of_the_handshake_are_judged_right() {
    judge("handshake");
}

#[test]
fn mutations_of_the_bytes_are_judged_right() {
    judge("bytes");
}

#[test]
fn mutations_of_the_end_are_judged_right() {
    judge("end");
}

/// Those that connectivity must not see: another suite's business, or right.
#[test]
fn what_is_not_its_business_passes() {
    judge("unseen");
}

#[test]
fn every_mutation_is_in_the_table_and_in_no_two_minds() {
    let output = Command::new(example("mutant_proxy")).arg("--list").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let names: BTreeSet<&str> = text
        .lines()
        .map(|line| line.split_once(": ").unwrap().0)
        .collect();
    assert!(names.len() >= 45, "{} mutations", names.len());
    let in_table = TABLE.iter().map(|row| row.mutation);
    let known: BTreeSet<&str> = in_table.chain(NOT_YET.iter().copied()).collect();
    let missing: Vec<_> = names.difference(&known).collect();
    let unknown: Vec<_> = known.difference(&names).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "{missing:?} {unknown:?}"
    );
    for name in NOT_YET {
        assert!(TABLE.iter().all(|row| row.mutation != *name), "{name}");
    }
}
