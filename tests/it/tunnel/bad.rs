//! Tunnels that are wrong: which check must say so, and what it says.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Outcome, Report, Socks5};

use super::{PATIENT, SHORT, combinations, example, fixture, names, run};

/// Checks that in every combination exactly these checks fail, and gives those of IPv4 to IPv4.
fn fails_in(report: &Report, expected: &[&str]) -> Vec<Check> {
    for families in combinations() {
        let failed = names(report, families, Outcome::Failed);
        assert_eq!(failed, expected, "{families}\n{report}");
    }
    let check = |name: &&str| report.check(&format!("connectivity/44/{name}")).cloned();
    expected.iter().filter_map(check).collect()
}

/// The only check that fails with this mutation.
fn fails(mutation: &'static str, expected: &str) -> Check {
    fails_in(&run(fixture(mutation)), &[expected]).remove(0)
}

/// The only check that fails with this mutation, which makes it wait until its deadline.
fn hangs(mutation: &'static str, expected: &str) -> Check {
    let harness = TunnelHarness::new(fixture(mutation)).families([(Family::V4, Family::V4)]);
    let begun = Instant::now();
    let report = harness.check_deadline(SHORT).run().unwrap();
    assert!(begun.elapsed() < PATIENT);
    let failed = names(&report, "44", Outcome::Failed);
    assert_eq!(failed, [expected], "{report}");
    let id = format!("connectivity/44/{expected}");
    let check = report.check(&id).unwrap();
    assert!(check.elapsed() >= SHORT / 2, "{check}");
    check.clone()
}

#[track_caller]
fn says(check: &Check, text: &str) {
    assert!(check.to_string().contains(text), "no {text:?} in\n{check}");
}

#[test]
fn a_child_that_exits_at_once_is_reported_with_its_status_and_output() {
    let check = fails("exits-at-once", "start");
    says(&check, "the program ended before it listened on 127.0.0.1:");
    says(
        &check,
        ": exited with status 3: \"mutant: cannot read its configuration\"",
    );
    says(&check, "its end: exited with status 3, by itself");
    says(&check, "| mutant: cannot read its configuration");
    assert!(check.elapsed() < PATIENT / 2, "noticed at once");
}

#[test]
fn a_child_that_never_listens_is_given_up_at_the_deadline() {
    let limit = Duration::from_millis(200);
    let harness = TunnelHarness::new(fixture("never-listens")).check_deadline(limit);
    let check = fails_in(&harness.run().unwrap(), &["start"]).remove(0);
    says(&check, "nothing listens on 127.0.0.1:");
    says(&check, "Connection refused");
    says(&check, "| mutant never-listens on 127.0.0.1:");
    says(&check, "its end: killed by signal 15");
}

/// Only Linux tells.
#[cfg(target_os = "linux")]
#[test]
fn where_a_child_listens_in_place_of_where_it_should_is_told() {
    let elsewhere = Socks5::spawn(|route| {
        let mut command = Command::new(example("mutant_proxy"));
        let any = SocketAddr::new(route.listen.ip(), 0);
        command.args(["socks5", "--listen", &any.to_string()]);
        command
    });
    let harness = TunnelHarness::new(elsewhere).check_deadline(SHORT);
    let check = fails_in(&harness.run().unwrap(), &["start"]).remove(0);
    says(&check, "nothing listens on 127.0.0.1:");
    let output = check.failure().unwrap().programs()[0].output.clone();
    let address = output.trim().rsplit(' ').next().unwrap();
    says(&check, &format!("; it listens on {address}\n"));
}

#[test]
fn a_child_that_hangs_in_the_handshake_is_given_up_at_the_deadline() {
    let check = hangs("hangs", "handshake");
    says(
        &check,
        "timed out after 4s waiting for the handshake; nothing came",
    );
    says(&check, "sent: 3 bytes: 05 01 00");
}

#[test]
fn garbage_in_the_handshake_is_shown_in_hex_and_text() {
    let check = fails("garbage", "handshake");
    says(
        &check,
        "byte 0 of the method reply (VER) is 48, expected 05 (RFC 1928 section 3)",
    );
    says(&check, "received: 2 bytes: 48 54 \"HT\"");
}

#[test]
fn each_wrong_answer_of_the_handshake_is_told_apart() {
    let cases = [
        ("wrong-version", "byte 0 of the method reply (VER) is 04"),
        ("other-method", "byte 1 of the method reply (METHOD) is 02"),
        ("no-method", "none of the offered methods"),
        (
            "closes-in-handshake",
            "the program closed in place of the method reply",
        ),
        ("refuses", "reply code 05, connection refused"),
        (
            "cuts-reply",
            "the program closed after 5 bytes of the reply",
        ),
    ];
    for (switch, text) in cases {
        says(&fails(switch, "handshake"), text);
    }
}

#[test]
fn a_connection_that_is_promised_and_not_made_is_noticed() {
    let check = fails("says-yes-and-closes", "accept");
    says(&check, "the program has closed the client's connection");
    let check = hangs("says-yes-and-hangs", "accept");
    says(
        &check,
        "timed out after 4s waiting for the program to connect",
    );
}

#[test]
fn an_address_that_is_not_true_is_noticed() {
    let check = fails("tells-other-address", "source");
    says(&check, "the program says that it connects from 192.0.2.1:");
    fails("tells-other-port", "source");
}

#[test]
fn a_proxy_that_should_bind_its_outgoing_address_and_does_not_is_noticed() {
    let report = run(fixture("plain").binds_outgoing(true));
    let source = report.check("connectivity/44/source").unwrap();
    match cfg!(target_os = "linux") {
        true => says(
            source,
            "the connection came from 127.0.0.1, not from 127.0.0.4",
        ),
        // With a single address there is nothing to mix up.
        false => assert_eq!(source.outcome(), Outcome::Passed),
    }
}

#[test]
fn changed_bytes_are_shown_with_where_they_differ() {
    let check = fails("swaps-bytes", "client-to-service");
    says(
        &check,
        "the service has other bytes than were sent, from byte 1 on",
    );
    says(&check, "\"Hello, service!\\r\\n\"");
    says(&check, "\"Hlleo, service!\\r\\n\"");
}

#[test]
fn doubled_and_dropped_bytes_are_noticed() {
    let check = fails("doubles-up", "client-to-service");
    says(
        &check,
        "the service has other bytes than were sent, from byte 1 on",
    );
    let check = hangs("drops-down", "service-to-client");
    says(
        &check,
        "waiting for the service's words; the connection is still open",
    );
}

#[test]
fn junk_after_the_last_byte_is_noticed() {
    let check = fails("junk-at-end-down", "end");
    says(&check, "the client has 4 bytes that nobody sent");
    says(&check, "4a 55 4e 4b");
    let check = fails("junk-at-end-up", "client-half-close");
    says(&check, "the service has 4 bytes that nobody sent");
}

#[test]
fn last_words_that_are_lost_or_cut_are_noticed() {
    let check = fails("loses-end-up", "client-half-close");
    says(
        &check,
        "the service has 17 of 30 bytes; then the connection ended",
    );
    fails("halves-end", "client-half-close");
}

#[test]
fn a_connection_that_is_never_closed_is_noticed() {
    let check = hangs("never-closes", "end");
    says(&check, "the client has closed the connection");
}

#[test]
fn a_port_that_closes_after_one_connection_is_noticed() {
    let check = fails("listens-once", "service-half-close");
    says(&check, "cannot connect to 127.0.0.1:");
}

#[test]
fn a_child_that_ends_in_the_middle_is_reported_with_its_status_and_output() {
    let report = run(fixture("exits-in-transfer"));
    let checks = fails_in(&report, &["client-to-service", "stop"]);
    says(
        &checks[0],
        "the program ended during the check: exited with status 134: \"mutant: assertion failed\"; the service",
    );
    says(&checks[0], "its end: exited with status 134, by itself");
    says(&checks[0], "| mutant: assertion failed");
    says(&checks[1], "the program ended before it was told to");

    let report = run(fixture("exits-in-handshake"));
    let checks = fails_in(&report, &["handshake", "stop"]);
    says(&checks[0], "| mutant: out of memory");
}

#[test]
fn checks_that_were_not_reached_are_skipped_with_the_reason() {
    let report = run(fixture("garbage"));
    let accept = report.check("connectivity/44/accept").unwrap();
    assert_eq!(accept.outcome(), Outcome::Skipped);
    assert_eq!(accept.message(), "not reached, as handshake failed");
    let passed = names(&report, "44", Outcome::Passed);
    assert_eq!(passed, ["start", "stop", "port-closed"]);
}

#[test]
#[should_panic(expected = "the tunnel failed")]
fn a_failed_report_fails_the_test() {
    run(fixture("garbage")).assert_passed();
}

#[test]
fn a_run_without_time_is_not_a_success() {
    let harness = TunnelHarness::new(fixture("plain")).deadline(Duration::ZERO);
    let error = harness.run().unwrap_err().to_string();
    let due = "timed out after 0ns waiting for addresses that can connect";
    assert_eq!(error, due);
    // Enough to begin with the first program, which then takes the rest of it.
    let limit = 2 * SHORT;
    let harness = TunnelHarness::new(fixture("never-listens"));
    let harness = harness.deadline(limit).jobs(1);
    let report = harness.run().unwrap();
    assert!(!report.is_success());
    let [warning] = report.warnings() else {
        panic!("{:?}", report.warnings());
    };
    let due = "the time of the whole run was over after 8s (TunnelHarness::deadline): ";
    assert!(warning.starts_with(due), "{warning}");
    let last = report.check("connectivity/44/port-closed").unwrap();
    assert_eq!(last.outcome(), Outcome::NotRun);
    says(
        last,
        "not run: the time of the whole run is over, 8s (TunnelHarness::deadline)",
    );
    let next = report.check("connectivity/46").unwrap();
    assert_ne!(next.outcome(), Outcome::Passed);
}
