//! The suite about what goes wrong around a program.

use loopback::tunnel::{Outcome, Sizes, Suite};

use super::SHORT;
use super::mutant::Protocol::{Forward, Socks5, Socks5Login};
use super::verdicts::{count, hangs, judge, passes, verdict};

const REFUSED: &str = "faults/refused";
const SILENT: &str = "faults/silent";
const READING: &str = "faults/gone-reading";
const WRITING: &str = "faults/gone-writing";
const KILLED: &str = "faults/killed";
const GARBAGE: &str = "faults/garbage";
const OTHERS: &str = "faults/half-handshake/others";

#[test]
fn right_proxies_pass() {
    for protocol in [Forward, Socks5, Socks5Login] {
        for options in [&[][..], &["--coalesce"]] {
            let report = passes(Suite::Faults, protocol, options);
            let due = if protocol == Forward { 5 } else { 7 };
            assert_eq!(count(&report, Outcome::Passed), due, "{report}");
        }
    }
}

#[test]
fn a_slow_one_passes() {
    passes(Suite::Faults, Socks5, &["--slow"]);
}

#[cfg(target_os = "linux")]
#[test]
fn faults_that_are_not_survived_are_found() {
    judge(
        Suite::Faults,
        &[
            verdict(Socks5, "succeeds-always", &[REFUSED]),
            verdict(Socks5, "answers-before-it-connects", &[REFUSED]),
            verdict(Socks5, "closes-for-failure", &[]),
            verdict(Socks5, "dies-on-garbage", &[GARBAGE]),
            hangs(verdict(Socks5, "serialises", &[SILENT, OTHERS])),
            hangs(verdict(Forward, "swallows-reset", &[READING, WRITING])),
            hangs(verdict(Forward, "leaves-daemon", &[KILLED])),
        ],
    );
}

/// Programs take their time for that, so it is looked at with full sizes only.
#[test]
fn half_a_handshake_that_is_not_ended_is_told() {
    let check = "faults/half-handshake/ended";
    let outcome = |options: &'static [&'static str], sizes| {
        let harness = Socks5.harness(options).sizes(sizes).only(check);
        let report = harness.check_deadline(SHORT).run().unwrap();
        report.check(check).unwrap().outcome()
    };
    let quick = &["--patience", "100"];
    assert_eq!(outcome(quick, Sizes::Full), Outcome::Passed);
    assert_eq!(outcome(quick, Sizes::Quick), Outcome::Skipped);
    let never = &["--mutation", "waits-for-ever"];
    assert_eq!(outcome(never, Sizes::Full), Outcome::Deviates);
}
