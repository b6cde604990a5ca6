//! Tunnels that are right, however odd.

use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Check, ErrorKind, Family, Forward, Outcome, ReadWrite, Route, Socks5, Suite, Target, Tunnel,
};

use super::{PATIENT, combinations, example, fixture, names, run};

fn notes(report: &loopback::tunnel::Report, id: &str) -> String {
    report.check(id).unwrap().notes().join("; ")
}

#[test]
fn a_right_proxy_passes_every_check_of_every_combination() {
    let report = run(fixture("plain"));
    report.assert_passed();
    for families in combinations() {
        let passed = names(&report, families, Outcome::Passed);
        for name in [
            "start",
            "handshake",
            "accept",
            "source",
            "service-to-client",
            "client-to-service",
            "client-half-close",
            "end",
            "service-half-close",
            "name-literal",
            "stop",
            "port-closed",
        ] {
            assert!(
                passed.iter().any(|p| p == name),
                "{families}/{name}\n{report}"
            );
        }
    }
    for id in ["client-half-close", "service-half-close"] {
        let id = format!("connectivity/44/{id}");
        assert_eq!(notes(&report, &id), "half-close carried");
    }
}

#[test]
fn answers_that_come_late_are_right() {
    run(fixture("late")).assert_passed();
}

#[test]
fn last_words_may_take_their_time() {
    // More than what is waited for a half-close, which need not be carried.
    let harness = TunnelHarness::new(fixture("delays-end"))
        .families([(Family::V4, Family::V4)])
        .check_deadline(Duration::from_secs(6));
    harness.run().unwrap().assert_passed();
}

#[test]
fn closing_both_ways_at_the_first_end_is_noted_and_not_a_failure() {
    for switch in ["no-half-close", "cuts-other-way"] {
        let report = run(fixture(switch));
        report.assert_passed();
        for name in ["client-half-close", "service-half-close"] {
            let note = notes(&report, &format!("connectivity/44/{name}"));
            assert!(note.starts_with("half-close cut"), "{switch}: {note}");
        }
    }
}

#[test]
fn a_proxy_that_does_not_tell_its_address_is_not_judged_by_it() {
    let report = run(fixture("tells-nothing"));
    report.assert_passed();
    let source = report.check("connectivity/44/source").unwrap();
    assert_eq!(source.outcome(), Outcome::Skipped);
    assert_eq!(source.notes(), ["came from 127.0.0.1"]);
}

#[test]
fn endless_output_is_bounded_and_stops_nothing() {
    run(fixture("floods-output")).assert_passed();
}

#[test]
fn a_forwarder_has_no_handshake() {
    let tunnel = Forward::spawn(|route| {
        let mut command = Command::new(example("tunnel_check"));
        let (listen, service) = (route.listen.to_string(), route.service.to_string());
        command.args(["forwarder", &listen, &service]);
        command
    });
    let harness = TunnelHarness::new(tunnel).suite(Suite::Connectivity);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    let handshake = report.check("connectivity/44/handshake").unwrap();
    assert_eq!(handshake.message(), "this kind has no handshake");
    assert!(report.check("connectivity/44/name").is_none());
}

/// A tunnel of a user's own: the fixture, spoken to by hand.
struct ByHand;

impl Tunnel for ByHand {
    fn slug(&self) -> String {
        "by-hand".to_owned()
    }

    fn command(&self, route: &Route) -> io::Result<Command> {
        let mut command = Command::new(example("tunnel_check"));
        command.args(["proxy", &route.listen.to_string()]);
        Ok(command)
    }

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        let Target::Address(address) = target else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let SocketAddr::V4(v4) = address else {
            return Err(io::Error::other("only IPv4"));
        };
        stream.write_all(&[5, 1, 0, 5, 1, 0, 1])?;
        stream.write_all(&v4.ip().octets())?;
        stream.write_all(&v4.port().to_be_bytes())?;
        stream.read_exact(&mut [0; 12])?;
        Ok(None)
    }
}

#[test]
fn a_kind_of_the_users_own_is_run_and_its_errors_are_reported() {
    let harness = TunnelHarness::new(ByHand).check_deadline(PATIENT);
    let report = harness.run().unwrap();
    assert!(names(&report, "44", Outcome::Failed).is_empty(), "{report}");
    assert!(report.to_string().contains("by-hand: "), "{report}");
    if combinations().contains(&"46") {
        assert_eq!(names(&report, "46", Outcome::Failed), ["handshake"]);
        let check = report.check("connectivity/46/handshake").unwrap();
        assert!(check.message().ends_with("failed: only IPv4"), "{check}");
    }
}

#[test]
fn a_missing_program_is_an_error_that_names_it() {
    let harness = TunnelHarness::new(Socks5::spawn(|_| Command::new("no-such-proxy")));
    let error = harness.run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Program);
    assert!(
        error.to_string().contains("no program no-such-proxy"),
        "{error}"
    );
}

#[test]
fn only_the_chosen_families_are_run_and_none_is_no_success() {
    let harness = || TunnelHarness::new(fixture("plain")).check_deadline(PATIENT);
    let v4 = (Family::V4, Family::V4);
    let report = harness().families([v4, v4]).run().unwrap();
    report.assert_passed();
    let once = names(&report, "44", Outcome::Passed);
    assert_eq!(once.iter().filter(|name| *name == "start").count(), 1);
    let others = |check: &&Check| !check.id().starts_with("connectivity/44/");
    assert_eq!(report.checks().iter().filter(others).count(), 0, "{report}");

    let report = harness().families([]).run().unwrap();
    assert!(!report.is_success(), "{report}");
}

#[test]
fn a_run_may_be_repeated() {
    let harness = TunnelHarness::new(fixture("plain")).check_deadline(PATIENT);
    for _ in 0..3 {
        harness.run().unwrap().assert_passed();
    }
}
