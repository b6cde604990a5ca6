//! The suite of UDP, on a proxy that is right and on some that are wrong in one way.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Outcome, Socks5, Suite};

use super::{PATIENT, combinations, example};

/// Long enough for what works on a loaded machine, and waited for in full by what does not.
const SHORT: Duration = Duration::from_secs(5);

/// The checks that fail with a mutation; `*` is all that need an exchange.
const TABLE: &[(&str, &[&str])] = &[
    ("udp-no-header", &["*"]),
    ("udp-own-address", &["*"]),
    ("udp-reversed-port", &["*"]),
    ("udp-junk", &["*"]),
    ("udp-tells-no-port", &["*", "associate"]),
    ("udp-takes-anyone", &["stranger"]),
    ("udp-ignores-frag", &["fragment"]),
    ("udp-small-buffer", &["payload-9000", "payload-60000"]),
    ("udp-after-close", &["closed"]),
    // A fragment is as malformed to it.
    ("udp-dies-on-junk", &["fragment", "junk"]),
    ("udp-drops-empty", &["payload-0"]),
    (
        "udp-once",
        &["several", "two-services", "fragment", "junk", "stranger"],
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
    let judge = |mutation: &'static str, patterns: &[&str]| {
        let harness = harness(vec!["--mutation", mutation].leak());
        let harness = harness.families([(Family::V4, Family::V4)]);
        let report = harness.check_deadline(SHORT).run().unwrap();
        let name = |check: &Check| check.id().replace("udp/44/", "");
        let checks = report.checks().iter();
        let failed = checks.clone().filter(|c| c.outcome() == Outcome::Failed);
        let failed: BTreeSet<String> = failed.map(name).collect();
        let is_due = |name: &String| {
            let all = patterns.contains(&"*") && name != "associate";
            all || patterns.contains(&&name[..])
        };
        let made = checks.filter(|check| check.outcome() != Outcome::Skipped);
        let due: BTreeSet<String> = made.map(name).filter(is_due).collect();
        assert_eq!(failed, due, "{mutation}\n{report}");
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
