//! The suite of faults, where the table of mutants does not show it.

use std::time::Duration;

use loopback::tunnel::{Outcome, Sizes};

use super::mutant::Protocol::Socks5;
use super::{PATIENT, SHORT};

/// Programs take their time for that, so it is looked at with full sizes only.
#[test]
fn half_a_handshake_that_is_not_ended_is_told() {
    let check = "faults/half-handshake/ended";
    let outcome = |options: &'static [&'static str], sizes, limit: Duration| {
        let harness = Socks5.harness(options).sizes(sizes).only(check);
        let report = harness.check_deadline(limit).run().unwrap();
        report.check(check).unwrap().outcome()
    };
    let soon = &["--patience", "100"];
    assert_eq!(outcome(soon, Sizes::Full, PATIENT), Outcome::Passed);
    assert_eq!(outcome(soon, Sizes::Quick, PATIENT), Outcome::Skipped);
    let never = &["--mutation", "waits-for-ever"];
    assert_eq!(outcome(never, Sizes::Full, SHORT), Outcome::Deviates);
}
