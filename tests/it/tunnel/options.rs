//! The options of a run, on the suite whose checks stand on each other.

use std::env;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::process;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Check, Custom, ExpectationState, Family, Outcome, Report, Sizes, Strictness, Suite, Target,
    Tunnel,
};

use super::{PATIENT, SHORT, combinations, fixture, names};

/// IPv4 on both sides.
fn harness(switch: &'static str) -> TunnelHarness {
    TunnelHarness::new(fixture(switch))
        .families([(Family::V4, Family::V4)])
        .check_deadline(PATIENT)
}

fn ids(report: &Report) -> Vec<&str> {
    report.checks().iter().map(Check::id).collect()
}

#[test]
fn only_some_checks_are_told_though_others_are_made() {
    let report = harness("plain")
        .only("connectivity/*/s?op")
        .only("*/source")
        .run()
        .unwrap();
    report.assert_passed();
    assert_eq!(
        ids(&report),
        ["connectivity/44/source", "connectivity/44/stop"]
    );

    let report = harness("plain").only("no/such/check").run().unwrap();
    assert!(
        report.checks().is_empty() && !report.is_success(),
        "{report}"
    );
    let due = "only no/such/check: no check of this run has such an id";
    assert_eq!(report.warnings(), [due]);
}

#[test]
fn a_pattern_that_nothing_matches_is_told() {
    let report = harness("plain")
        .skip("connectivity/44/name*", "not our business")
        .skip("conectivity/*", "misspelt")
        .run()
        .unwrap();
    let due = "skip conectivity/*: no check of this run has such an id";
    assert_eq!(report.warnings(), [due]);
    assert!(report.to_string().contains(&format!("warning: {due}\n")));
    report.assert_passed();
}

#[test]
fn what_stands_on_a_failure_that_is_not_told_fails_too() {
    for harness in [
        harness("garbage").only("*/stop").only("*/accept"),
        harness("garbage").skip("*/handshake", "not our business"),
    ] {
        let report = harness.run().unwrap();
        let accept = report.check("connectivity/44/accept").unwrap();
        assert_eq!(accept.outcome(), Outcome::Failed);
        let text = "not reached, as handshake failed: the handshake for 127.0.0.3:";
        #[cfg(target_os = "linux")]
        assert!(accept.message().starts_with(text), "{accept}");
        assert!(!report.is_success(), "{report}");
    }
}

#[test]
fn a_skipped_check_is_not_judged_and_what_stands_on_it_is() {
    let report = harness("plain")
        .skip("*/handshake", "not our business")
        .run()
        .unwrap();
    let skipped = report.check("connectivity/44/handshake").unwrap();
    assert_eq!(skipped.outcome(), Outcome::Skipped);
    assert_eq!(skipped.message(), "not our business");
    let accept = report.check("connectivity/44/accept").unwrap();
    assert_eq!(accept.outcome(), Outcome::Passed);
    report.assert_passed();

    // Nothing is left to be judged, so no program is even started.
    let report = harness("plain").skip("*", "another day").run().unwrap();
    assert!(report.checks().iter().all(|check| check.route().is_none()));
    assert!(!report.is_success(), "{report}");
}

#[test]
fn a_known_deviation_does_not_fail_and_is_told_when_it_is_gone() {
    let known = |switch| harness(switch).known_deviation("*/source", "it tells what it likes");
    for strict in [false, true] {
        let report = known("tells-other-address").strict(strict).run().unwrap();
        let source = report.check("connectivity/44/source").unwrap();
        assert_eq!(source.outcome(), Outcome::Deviates, "{source}");
        assert_eq!(source.strictness(), Strictness::Must);
        assert_eq!(report.expectations()[0].state, ExpectationState::Met);
        report.assert_passed();
    }
    let report = known("plain").run().unwrap();
    assert_eq!(report.expectations()[0].state, ExpectationState::Gone);
    report.assert_passed();
    assert!(!known("plain").strict(true).run().unwrap().is_success());
}

#[test]
fn every_round_is_told_and_any_number_of_jobs_gives_the_same_order() {
    let all = |jobs| {
        let harness = TunnelHarness::new(fixture("plain")).check_deadline(PATIENT);
        let harness = harness
            .suite(Suite::Connectivity)
            .sizes(Sizes::Quick)
            .seed(3);
        let report = harness.repeat(2).jobs(jobs).run().unwrap();
        report.assert_passed();
        assert_eq!(report.seed(), 3);
        report
    };
    let (one, eight) = (all(1), all(8));
    let order = |report: &Report| {
        let each = report.checks().iter();
        let each = each.map(|check| (check.round(), check.id().to_owned()));
        each.collect::<Vec<_>>()
    };
    assert_eq!(order(&one), order(&eight));
    let suites = one.suites();
    assert_eq!(suites[0].name, "connectivity");
    assert_eq!(suites[0].counts, one.counts());
    for families in combinations() {
        let starts = names(&one, families, Outcome::Passed);
        let starts = starts.iter().filter(|name| *name == "start");
        assert_eq!(starts.count(), 2, "{families}");
    }
}

#[test]
fn the_first_failure_ends_the_run_if_asked() {
    let harness = TunnelHarness::new(fixture("garbage")).check_deadline(PATIENT);
    let report = harness.jobs(1).repeat(2).fail_fast(true).run().unwrap();
    assert_eq!(report.failed(), 1, "{report}");
    let second = report.checks().last().unwrap();
    assert_eq!((second.round(), second.outcome()), (2, Outcome::NotRun));
    let reason = "not run, as connectivity/44/handshake failed and the first failure ends the run";
    assert_eq!(second.message(), reason);
}

#[test]
fn one_connection_is_not_waited_for_longer_because_the_check_is_patient() {
    let harness = harness("hangs").suite(Suite::DataQuality);
    let report = harness.only("*/up").check_deadline(SHORT).run().unwrap();
    let check = report.check("data-quality/up").unwrap();
    let due = "timed out after 4s waiting for a connection through the program; nothing came";
    assert!(check.message().ends_with(due), "{report}");
}

#[test]
fn sending_byte_by_byte_changes_nothing() {
    harness("plain")
        .segment_size(1)
        .run()
        .unwrap()
        .assert_passed();
}

#[test]
fn a_handshake_of_the_users_own_is_sent_in_segments_too() {
    let tunnel = Custom::spawn(|route| fixture("plain").command(route).unwrap());
    let tunnel = tunnel.handshake(|stream, target| {
        // No authentication, in one write.
        let greeting = [5, 1, 0];
        match stream.write(&greeting)? {
            2 => stream.write_all(&greeting[2..])?,
            sent => return Err(io::Error::other(format!("{sent} bytes at once"))),
        }
        stream.read_exact(&mut [0; 2])?;
        let Target::Address(SocketAddr::V4(service)) = target else {
            return Err(io::Error::other("the test has only IPv4"));
        };
        let port = service.port().to_be_bytes();
        stream.write_all(&[&[5, 1, 0, 1], &service.ip().octets()[..], &port].concat())?;
        stream.read_exact(&mut [0; 10]).map(|()| None)
    });
    let harness = TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)]);
    let harness = harness.check_deadline(PATIENT).segment_size(2);
    harness.run().unwrap().assert_passed();
}

#[test]
fn a_run_goes_on_from_its_file() {
    let name = format!("loopback-tunnel-{}.jsonl", process::id());
    let path = env::temp_dir().join(name);
    let first = harness("plain").resume(&path).run().unwrap();
    // This one would fail if it made a check.
    let second = harness("exits-at-once").resume(&path).run().unwrap();
    fs::remove_file(&path).unwrap();
    second.assert_passed();
    assert_eq!(second.checks(), first.checks());
    // Otherwise nobody sees that the program was not even started.
    let (count, path) = (first.checks().len(), path.display());
    let due = format!("{count} checks were made by an earlier run, and taken from {path}");
    assert_eq!(second.warnings(), [due]);
    assert!(first.warnings().is_empty());
}
