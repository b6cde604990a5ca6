use std::time::Duration;

use super::display::dump;
use super::*;
use crate::tunnel::Route;

fn check(id: &str, outcome: Outcome) -> Check {
    Check {
        id: id.to_owned(),
        group: id
            .rsplit_once('/')
            .map_or(id, |(group, _)| group)
            .to_owned(),
        round: 1,
        statement: "it works".into(),
        source: "harness".into(),
        strictness: Strictness::Must,
        route: None,
        outcome,
        message: String::new(),
        failure: None,
        notes: Vec::new(),
        measures: Measures::default(),
        elapsed: Duration::from_millis(2),
    }
}

fn report(checks: Vec<Check>) -> Report {
    Report {
        tunnel: "toy".to_owned(),
        checks,
        expectations: Vec::new(),
        warnings: Vec::new(),
        seed: 1,
        strict: false,
        elapsed: Duration::from_millis(12),
    }
}

fn failed() -> Check {
    Check {
        message: "the client has 19 of 16 bytes".to_owned(),
        route: Some(Route {
            listen: "127.0.0.1:61022".parse().unwrap(),
            service: "[::1]:4000".parse().unwrap(),
            client: "127.0.0.2".parse().unwrap(),
            outgoing: "::1".parse().unwrap(),
        }),
        failure: Some(Box::new(Failure {
            expected: Some(b"Hello".to_vec()),
            received: Some(b"Hello\x00JUNK".to_vec()),
            command: "toy -p 61022".to_owned(),
            exit: "exited with status 3, by itself".to_owned(),
            output: "one\n\u{1b}[2Jtwo\n".to_owned(),
            ..Failure::default()
        })),
        ..check("connectivity/46/end", Outcome::Failed)
    }
}

#[test]
fn a_report_is_readable_on_its_own_with_the_failures_first() {
    let noted = Check {
        notes: vec!["ready after 9ms".to_owned()],
        ..check("connectivity/46/start", Outcome::Passed)
    };
    let skipped = Check {
        message: "nothing to ask".to_owned(),
        ..check("connectivity/46/name", Outcome::Skipped)
    };
    let text = report(vec![noted, failed(), skipped]).to_string();
    let expected = r#"FAILED connectivity/46/end after 2.0ms
  statement: it works (MUST, harness)
  the client has 19 of 16 bytes
  route: client 127.0.0.2 -> program 127.0.0.1:61022, from ::1 -> service [::1]:4000
  expected: 5 bytes: 48 65 6c 6c 6f "Hello"
  received: 10 bytes: 48 65 6c 6c 6f 00 4a 55 4e 4b "Hello\x00JUNK"
  program: toy -p 61022
  its end: exited with status 3, by itself
  its output:
    | one
    | ?[2Jtwo

connectivity/46: 1 passed, 1 failed, 1 skipped
  route: client 127.0.0.2 -> program 127.0.0.1:61022, from ::1 -> service [::1]:4000
  skipped: name: nothing to ask
  noted: start: ready after 9ms
toy: 1 passed, 1 failed, 1 skipped in 12.0ms"#;
    assert_eq!(text, expected);
}

#[test]
fn counts_and_verdict() {
    let passed = check("a/b/c", Outcome::Passed);
    let skipped = check("a/b/d", Outcome::Skipped);
    let good = report(vec![passed.clone(), skipped.clone()]);
    assert_eq!((good.passed(), good.failed(), good.skipped()), (1, 0, 1));
    assert!(good.is_success());
    assert_eq!(good.check("a/b/d").unwrap().outcome(), Outcome::Skipped);
    assert!(good.check("a/b").is_none());
    good.assert_passed();

    assert!(!report(vec![passed, failed()]).is_success());
    assert!(!report(vec![skipped]).is_success());
    assert!(!report(vec![]).is_success());
}

#[test]
#[should_panic(expected = "nothing was checked")]
fn a_report_without_checks_fails() {
    report(vec![]).assert_passed();
}

#[test]
#[should_panic(expected = "nothing was checked")]
fn a_report_with_only_skipped_checks_fails() {
    report(vec![check("a/b/c", Outcome::Skipped)]).assert_passed();
}

#[test]
#[should_panic(expected = "FAILED connectivity/46/end")]
fn a_failed_report_fails_with_its_text() {
    report(vec![check("a/b/c", Outcome::Passed), failed()]).assert_passed();
}

#[test]
fn long_dumps_show_where_the_bytes_differ() {
    let expected: Vec<u8> = (0..=255).collect();
    let mut received = expected.clone();
    received[200] = b'!';
    assert_eq!(first_difference(&expected, &received), 200);
    let text = dump(&received, 200);
    assert!(
        text.starts_with("256 bytes, here 168 to 232: a8 "),
        "{text}"
    );
    assert!(text.contains(" c7 21 c9 "), "{text}");
    assert!(dump(&received, 255).starts_with("256 bytes, here 192 to 256: "));
    assert_eq!(dump(b"", 0), "0 bytes");
    assert_eq!(dump(b"x", 0), "1 byte: 78 \"x\"");
}

#[test]
fn the_first_difference_is_at_most_the_shorter_length() {
    assert_eq!(first_difference(b"abc", b"abc"), 3);
    assert_eq!(first_difference(b"abc", b"ab"), 2);
    assert_eq!(first_difference(b"", b"x"), 0);
}
