//! The suite that records what the standards leave open.

use std::collections::BTreeMap;

use loopback::tunnel::{Family, Report, Suite};

use super::PATIENT;
use super::mutant::Protocol::{self, Forward, Socks5};

fn run(protocol: Protocol, options: &'static [&'static str]) -> Report {
    let harness = protocol.harness(options).suite(Suite::Behaviour);
    let harness = harness.families([(Family::V4, Family::V4)]).strict(true);
    harness.check_deadline(PATIENT).run().unwrap()
}

/// What is recorded of a proxy with these options; by name, without the suite's.
fn behaviour(protocol: Protocol, options: &'static [&'static str]) -> BTreeMap<String, String> {
    let report = run(protocol, options);
    report.assert_passed();
    assert_eq!(report.counts().deviates, 0, "{report}");
    let lines = report.behaviour();
    assert!(lines.is_sorted(), "{lines:?}");
    let own = |(name, value): (String, String)| {
        let name = name.strip_prefix("behaviour/").unwrap();
        (name.to_owned(), value)
    };
    lines.into_iter().map(own).collect()
}

/// Names and values that do not depend on the machine's speed.
fn assert_has(seen: &BTreeMap<String, String>, due: &[(&str, &str)]) {
    for (name, value) in due {
        let is = seen.get(*name).map(String::as_str);
        assert_eq!(is, Some(*value), "{name} in {seen:#?}");
    }
}

#[test]
fn what_is_seen_is_recorded_by_stable_names() {
    let seen = behaviour(Socks5, &[]);
    assert_has(
        &seen,
        &[
            ("client-half-close/becomes", "carried"),
            ("client-reset/becomes", "reset"),
            ("int-idle/status", "killed by signal 2"),
            ("int-live/status", "killed by signal 2"),
            (
                "refused/reply",
                "the proxy refused the request with reply code 05, connection refused (RFC 1928 section 6)",
            ),
            ("refused/close", "end"),
            ("service-half-close/becomes", "carried"),
            ("service-half-close/cut", "not seen"),
            ("service-reset/becomes", "reset"),
            ("term-idle/status", "killed by signal 15"),
            ("term-live/status", "killed by signal 15"),
        ],
    );
    let names = [
        "client-half-close/becomes",
        "client-half-close/cut",
        "client-half-close/end",
        "client-reset/becomes",
        "int-idle/after",
        "int-idle/status",
        "int-live/after",
        "int-live/status",
        "ready/after",
        "refused/after",
        "refused/close",
        "refused/reply",
        "service-half-close/becomes",
        "service-half-close/cut",
        "service-half-close/end",
        "service-reset/becomes",
        "term-idle/after",
        "term-idle/status",
        "term-live/after",
        "term-live/status",
        "unreachable/after",
        "unreachable/close",
        "unreachable/reply",
        "unresolvable/after",
        "unresolvable/close",
        "unresolvable/reply",
    ];
    assert!(seen.keys().eq(&names), "{seen:#?}");
    let again = behaviour(Socks5, &["--coalesce"]);
    assert!(again.keys().eq(&names), "{again:#?}");
}

#[test]
fn a_forwarder_has_no_replies() {
    let seen = behaviour(Forward, &[]);
    assert_has(
        &seen,
        &[("refused/reply", "none"), ("refused/close", "end")],
    );
    assert!(!seen.contains_key("unreachable/reply"), "{seen:#?}");
}

#[test]
fn differences_are_seen() {
    let cases: [(&[&str], &str, &str); 4] = [
        (
            &["--mutation", "no-half-close"],
            "client-half-close/becomes",
            "cut",
        ),
        (
            &["--mutation", "holds-half-close"],
            "service-half-close/becomes",
            "held",
        ),
        (
            &["--mutation", "reset-becomes-end"],
            "client-reset/becomes",
            "end",
        ),
        (
            &["--mutation", "swallows-reset"],
            "service-reset/becomes",
            "nothing",
        ),
    ];
    for (options, record, due) in cases {
        let name = format!("behaviour/{record}");
        let harness = Forward.harness(options);
        let harness = harness.only(name.strip_suffix("/becomes").unwrap());
        let report = harness.check_deadline(PATIENT).run().unwrap();
        let is = report.behaviour().into_iter().find(|(n, _)| *n == name);
        assert_eq!(is.unwrap().1, due, "{options:?}\n{report}");
    }
}

/// What cannot be seen is recorded too, so that the names stay the same; but a program must not end.
#[test]
fn what_cannot_be_seen_is_unknown() {
    let options = &["--mutation", "exits-in-transfer"];
    let report = run(Forward, options);
    let check = report.check("behaviour/client-half-close").unwrap();
    let due = "the program ended during the check: exited with status 134: \
               \"mutant: assertion failed\"";
    assert!(check.message().starts_with(due), "{check}");
    assert_eq!(report.counts().deviates, 0, "{report}");
    let seen: BTreeMap<String, String> = report.behaviour().into_iter().collect();
    let due = ("behaviour/client-half-close/becomes", "unknown");
    assert_has(&seen, &[due]);
}
