//! The suite of UDP on a right proxy, and on one that has none.

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Outcome, Suite};

use super::mutant::Protocol;
use super::{PATIENT, combinations};

fn harness(options: &'static [&'static str]) -> TunnelHarness {
    let harness = Protocol::Socks5.harness(options).suite(Suite::Udp);
    harness.strict(true).check_deadline(PATIENT)
}

#[test]
fn a_right_relay_passes_on_each_combination() {
    let report = harness(&[]).run().unwrap();
    report.assert_passed();
    for families in combinations() {
        let check = report.check(&format!("udp/{families}/payload-60000"));
        assert_eq!(check.unwrap().outcome(), Outcome::Passed);
    }
}

#[test]
fn a_program_without_udp_says_so_in_its_protocol() {
    let report = harness(&["--mutation", "no-udp"]).run().unwrap();
    let checks = report.checks().iter();
    let mut made = checks.filter(|check| check.outcome() != Outcome::Skipped);
    let text = "UDP ASSOCIATE: reply code 07, command not supported";
    let says_so =
        |check: &Check| check.outcome() == Outcome::Unsupported && check.message() == text;
    assert!(made.clone().count() > 10 && made.all(says_so), "{report}");
}
