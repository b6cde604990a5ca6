//! The suite of UDP, on a proxy that is right and on some that are wrong in one way.

use std::process::Command;
use std::thread;

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Outcome, Socks5, Suite};

use super::{PATIENT, combinations, example, in_two_runs};

/// All checks that need an exchange.
const EXCHANGES: &[&str] = &[
    "closed",
    "echo",
    "fragment",
    "junk",
    "name*",
    "payload-*",
    "several",
    "stranger",
    "two-services",
];

/// The checks that fail with a mutation.
const TABLE: &[(&str, &[&[&str]])] = &[
    ("udp-no-header", &[EXCHANGES]),
    ("udp-own-address", &[EXCHANGES]),
    ("udp-reversed-port", &[EXCHANGES]),
    ("udp-junk", &[EXCHANGES]),
    ("udp-tells-no-port", &[EXCHANGES, &["associate"]]),
    ("udp-takes-anyone", &[&["stranger"]]),
    ("udp-ignores-frag", &[&["fragment"]]),
    ("udp-small-buffer", &[&["payload-9000", "payload-60000"]]),
    ("udp-after-close", &[&["closed"]]),
    // A fragment is as malformed to it.
    ("udp-dies-on-junk", &[&["fragment", "junk"]]),
    ("udp-drops-empty", &[&["payload-0"]]),
    (
        "udp-once",
        &[&["several", "two-services", "fragment", "junk", "stranger"]],
    ),
];

fn harness(options: &'static [&'static str]) -> TunnelHarness {
    let mutant = Socks5::spawn(move |route| {
        let mut command = Command::new(example("mutant_proxy"));
        command.args(["socks5", "--listen", &route.listen.to_string()]);
        command.args(["--outgoing", &route.outgoing.to_string()]);
        command.args(options);
        command
    });
    TunnelHarness::new(mutant.binds_outgoing(true))
        .suite(Suite::Udp)
        .strict(true)
        .check_deadline(PATIENT)
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
fn each_mutation_fails_the_checks_that_are_about_it_and_no_others() {
    let judge = |mutation: &'static str, patterns: &[&[&str]]| {
        let options: &'static [&'static str] = vec!["--mutation", mutation].leak();
        let harness = || harness(options).families([(Family::V4, Family::V4)]);
        let patterns = patterns.concat();
        let globs: Vec<String> = patterns.iter().map(|p| format!("udp/44/{p}")).collect();
        let [rest, hanging] = in_two_runs(harness(), harness(), &globs);
        let mut made = hanging
            .checks()
            .iter()
            .filter(|c| c.outcome() != Outcome::Skipped);
        let all_fail = made.clone().count() > 0 && made.all(|c| c.outcome() == Outcome::Failed);
        assert!(all_fail, "{mutation}\n{hanging}");
        assert_eq!(rest.failed(), 0, "{mutation}\n{rest}");
    };
    thread::scope(|scope| {
        for (mutation, patterns) in TABLE {
            scope.spawn(move || judge(mutation, patterns));
        }
    });
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
