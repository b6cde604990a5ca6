use std::env;
use std::process::Command;
use std::time::Duration;

use super::display::dump;
use super::*;
use crate::tunnel::json::Value;
use crate::tunnel::route::Route;

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
        shown: Shown::default(),
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
            programs: vec![Ended {
                name: "toy".to_owned(),
                command: "toy -p 61022".to_owned(),
                exit: "exited with status 3, by itself".to_owned(),
                output: "one\n\u{1b}[2Jtwo\n".to_owned(),
            }],
            ..Failure::default()
        })),
        ..check("connectivity/46/end", Outcome::Failed)
    }
}

/// What the text of [`failed`] is.
const FAILED: &str = r#"FAILED connectivity/46/end after 2.0ms
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
"#;

/// A report with something of everything.
fn full() -> Report {
    let noted = Check {
        notes: vec!["ready after 9ms".to_owned()],
        ..check("connectivity/46/start", Outcome::Passed)
    };
    let skipped = Check {
        message: "nothing to ask".to_owned(),
        ..check("connectivity/46/name", Outcome::Skipped)
    };
    let deviates = Check {
        group: "socks5".to_owned(),
        source: "RFC 1928, section 6".into(),
        strictness: Strictness::Should,
        message: "the connection is still open (expected: it is slow)".to_owned(),
        ..check("socks5/rfc1928/6/refused", Outcome::Deviates)
    };
    let unsupported = Check {
        group: "socks5".to_owned(),
        message: "reply code 07".to_owned(),
        ..check("socks5/rfc1928/4/bind", Outcome::Unsupported)
    };
    let measured = Check {
        group: "pace".to_owned(),
        round: 2,
        strictness: Strictness::Harness,
        measures: Measures {
            bytes: 1_000_000,
            connections: 20,
            throughput: Some(1_234_567_890),
            latency: Latency::of((1..=100).map(Duration::from_micros).collect()),
            records: vec![("half-close".to_owned(), "carried".to_owned())],
        },
        ..check("pace/slow", Outcome::Passed)
    };
    let expectation = |pattern: &str, state| Expectation {
        pattern: pattern.to_owned(),
        reason: "it is slow".to_owned(),
        state,
    };
    Report {
        expectations: vec![
            expectation("*/refused", ExpectationState::Met),
            expectation("pace/*", ExpectationState::Gone),
            expectation("typo", ExpectationState::Unused),
        ],
        warnings: vec!["cannot write to run.jsonl: no space".to_owned()],
        ..report(vec![
            noted,
            failed(),
            skipped,
            deviates,
            unsupported,
            measured,
        ])
    }
}

#[test]
fn a_report_is_readable_on_its_own_with_the_failures_first() {
    let rest = r#"
deviates socks5/rfc1928/6/refused: the connection is still open (expected: it is slow)
  it works (SHOULD, RFC 1928, section 6)
gone: pace/* was expected to deviate (it is slow), and does not: remove its `known_deviation`
unused: typo was expected to deviate, and no check of that id was judged
warning: cannot write to run.jsonl: no space
connectivity/46: 1 passed, 1 failed, 1 skipped
  route: client 127.0.0.2 -> program 127.0.0.1:61022, from ::1 -> service [::1]:4000
  skipped: name: nothing to ask
  noted: start: ready after 9ms
socks5: 0 passed, 0 failed, 1 deviates, 1 unsupported, 0 skipped
  unsupported: rfc1928/4/bind: reply code 07
pace, round 2: 1 passed, 0 failed, 0 skipped
  measured: slow: 20 connections, 1000000 bytes, 1234.5 MB/s, p50 50.0µs, p99 99.0µs, max 100.0µs of 100
  recorded: slow: half-close: carried
toy: FAILED, 2 passed, 1 failed, 1 deviates, 1 unsupported, 1 skipped in 12.0ms; 20 connections, 1000000 bytes"#;
    assert_eq!(full().to_string(), format!("{FAILED}{rest}"));
}

#[test]
fn a_report_of_what_passed_is_short() {
    let timed = |id: &str| Check {
        measures: Measures {
            bytes: 500,
            connections: 3,
            ..Measures::default()
        },
        ..check(id, Outcome::Passed)
    };
    let left_out = |name: &str, reason: &str| Check {
        message: reason.to_owned(),
        ..check(&format!("socks5/{name}"), Outcome::Skipped)
    };
    let report = report(vec![
        timed("echo/44/values"),
        timed("echo/44/again"),
        left_out("login", "no user is set"),
        left_out("name", "there are no names"),
        left_out("login-wrong", "no user is set"),
        left_out("login-empty", "no user is set"),
    ]);
    let expected = "echo/44: 2 passed, 0 failed, 0 skipped
socks5: 0 passed, 0 failed, 4 skipped
  skipped: login and 2 more: no user is set
  skipped: name: there are no names
toy: ok, 2 passed, 0 failed, 4 skipped in 12.0ms; 6 connections, 1000 bytes";
    assert_eq!(report.to_string(), expected);
}

#[test]
fn what_has_one_cause_is_told_once_with_the_ids_behind_it() {
    let deaf = |id: &str, outcome| Check {
        message: "no answer".to_owned(),
        failure: Some(Box::default()),
        ..check(id, outcome)
    };
    let all = [Outcome::Failed, Outcome::Deviates].map(|outcome| {
        let text = report(vec![
            deaf("udp/44/echo", outcome),
            deaf("udp/44/several", outcome),
            deaf("udp/44/name", outcome),
            deaf("udp/46/echo", outcome),
        ]);
        text.to_string()
    });
    for text in all {
        assert_eq!(text.matches("no answer").count(), 2, "{text}");
        assert_eq!(
            text.matches("\n  so too: several, name\n").count(),
            1,
            "{text}"
        );
        assert_eq!(text.matches("so too").count(), 1, "{text}");
    }
}

#[test]
fn the_last_line_says_why_a_report_without_failures_is_none_of_success() {
    assert_eq!(
        report(vec![]).to_string(),
        "toy: FAILED, as nothing was checked: 0 passed, 0 failed, 0 skipped in 12.0ms"
    );
    let mut gone = report(vec![check("a/b", Outcome::Passed)]);
    gone.strict = true;
    gone.expectations = vec![Expectation {
        pattern: "a/*".to_owned(),
        reason: "it is slow".to_owned(),
        state: ExpectationState::Gone,
    }];
    let expected =
        "gone: a/* was expected to deviate (it is slow), and does not: remove its `known_deviation`
a: 1 passed, 0 failed, 0 skipped
toy: FAILED, as an expected deviation is gone: 1 passed, 0 failed, 0 skipped in 12.0ms";
    assert_eq!(gone.to_string(), expected);
}

/// A program that writes a lot does not hide what another one wrote.
#[test]
fn each_program_of_a_failure_is_shown_with_the_last_of_its_own_output() {
    let ended = |name: &str, output: String| Ended {
        name: name.to_owned(),
        command: format!("{name} -v"),
        exit: "killed by signal 15, 1.0ms after TERM".to_owned(),
        output,
    };
    let chatty = (1..=40).map(|number| format!("line {number}\n")).collect();
    let failure = Failure {
        programs: vec![
            ended("far", "cannot connect\n".to_owned()),
            ended("near", chatty),
            ended("mute", String::new()),
        ],
        ..Failure::default()
    };
    let lines: String = (11..=40)
        .map(|number| format!("    | line {number}\n"))
        .collect();
    let expected = format!(
        "  program 1 of 3: far -v
  its end: killed by signal 15, 1.0ms after TERM
  its output:
    | cannot connect
  program 2 of 3: near -v
  its end: killed by signal 15, 1.0ms after TERM
  its output, the last 30 lines:
{lines}  program 3 of 3: mute -v
  its end: killed by signal 15, 1.0ms after TERM
  its output: none
"
    );
    assert_eq!(failure.to_string(), expected);
}

#[test]
fn one_check_tells_all_about_itself() {
    let text = full().check("pace/slow").unwrap().to_string();
    let expected = "passed pace/slow, round 2 after 2.0ms
  statement: it works (harness)
  measured: 20 connections, 1000000 bytes, 1234.5 MB/s, p50 50.0µs, p99 99.0µs, max 100.0µs of 100
  recorded: half-close: carried
";
    assert_eq!(text, expected);
}

#[test]
fn json_has_all_of_the_report() {
    let report = Report {
        checks: vec![failed(), full().checks.pop().unwrap()],
        ..full()
    };
    let expected = concat!(
        r#"{"schema":"loopback-tunnel-report","version":1,"tunnel":"toy","success":false,"strict":false,"seed":1,"#,
        r#""elapsed_ns":12000000,"#,
        r#""total":{"name":"toy","outcome":"failed","#,
        r#""counts":{"passed":1,"failed":1,"deviates":0,"unsupported":0,"skipped":0,"not_run":0},"#,
        r#""elapsed_ns":4000000,"bytes":1000000,"connections":20,"throughput":1234567890,"#,
        r#""latency":{"count":100,"p50_ns":50000,"p99_ns":99000,"max_ns":100000}},"#,
        r#""suites":[{"name":"connectivity","outcome":"failed","#,
        r#""counts":{"passed":0,"failed":1,"deviates":0,"unsupported":0,"skipped":0,"not_run":0},"#,
        r#""elapsed_ns":2000000,"bytes":0,"connections":0,"throughput":null,"latency":null},"#,
        r#"{"name":"pace","outcome":"passed","#,
        r#""counts":{"passed":1,"failed":0,"deviates":0,"unsupported":0,"skipped":0,"not_run":0},"#,
        r#""elapsed_ns":2000000,"bytes":1000000,"connections":20,"throughput":1234567890,"#,
        r#""latency":{"count":100,"p50_ns":50000,"p99_ns":99000,"max_ns":100000}}],"#,
        r#""expectations":[{"pattern":"*/refused","reason":"it is slow","state":"met"},"#,
        r#"{"pattern":"pace/*","reason":"it is slow","state":"gone"},"#,
        r#"{"pattern":"typo","reason":"it is slow","state":"unused"}],"#,
        r#""warnings":["cannot write to run.jsonl: no space"],"checks":["#,
        r#"{"id":"connectivity/46/end","group":"connectivity/46","round":1,"statement":"it works","source":"harness","#,
        r#""strictness":"MUST","outcome":"failed","message":"the client has 19 of 16 bytes","#,
        r#""route":{"listen":"127.0.0.1:61022","service":"[::1]:4000","client":"127.0.0.2","outgoing":"::1"},"#,
        r#""elapsed_ns":2000000,"notes":[],"#,
        r#""measures":{"bytes":0,"connections":0,"throughput":null,"latency":null,"records":[]},"#,
        r#""failure":{"sent":null,"expected":{"length":5,"from":0,"hex":"48656c6c6f","text":"Hello"},"#,
        r#""received":{"length":10,"from":0,"hex":"48656c6c6f004a554e4b","text":"Hello\\x00JUNK"},"#,
        r#""programs":[{"name":"toy","command":"toy -p 61022","exit":"exited with status 3, by itself","#,
        r#""output":"one\n\u001b[2Jtwo\n"}]}},"#,
        r#"{"id":"pace/slow","group":"pace","round":2,"statement":"it works","source":"harness","#,
        r#""strictness":"harness","outcome":"passed","message":"","route":null,"elapsed_ns":2000000,"notes":[],"#,
        r#""measures":{"bytes":1000000,"connections":20,"throughput":1234567890,"#,
        r#""latency":{"count":100,"p50_ns":50000,"p99_ns":99000,"max_ns":100000},"#,
        r#""records":[{"name":"half-close","value":"carried"}]},"failure":null}]}"#,
    );
    assert_eq!(report.to_json(), expected);
}

#[test]
fn a_check_is_read_back_as_it_was_written_and_any_key_that_is_missing_is_named() {
    for check in full().checks {
        let value = write_check(&check);
        assert_eq!(read_check(&value), Ok(check));
        let Value::Object(members) = value else {
            unreachable!("a check is an object")
        };
        for (name, _) in members
            .iter()
            .filter(|(n, _)| n != "route" && n != "failure")
        {
            let others = members.iter().filter(|(other, _)| other != name).cloned();
            let error = read_check(&Value::Object(others.collect())).unwrap_err();
            assert_eq!(error, format!("\"{name}\" is missing or wrong"));
        }
    }
}

#[test]
fn of_very_many_bytes_json_has_those_that_differ() {
    let mut received = vec![b'x'; 100_000];
    received[70_000] = b'!';
    let check = Check {
        failure: Some(Box::new(Failure {
            expected: Some(vec![b'x'; 100_000]),
            received: Some(received.clone()),
            ..Failure::default()
        })),
        ..check("a/b", Outcome::Failed)
    };
    let value = write_check(&check);
    let dump = value
        .get("failure")
        .and_then(|f| f.get("received"))
        .unwrap();
    assert_eq!(dump.get("length").unwrap().number(), Some(100_000));
    assert_eq!(dump.get("from").unwrap().number(), Some(70_000 - 2048));
    let read = read_check(&value).unwrap().failure.unwrap();
    assert_eq!(read.received.unwrap(), received[67_952..72_048]);
}

#[test]
fn suites_are_summed_up_in_their_order() {
    let suites = full().suites();
    let names: Vec<&str> = suites.iter().map(|suite| &suite.name[..]).collect();
    assert_eq!(names, ["connectivity", "socks5", "pace"]);
    assert_eq!(
        suites[0].counts.to_string(),
        "1 passed, 1 failed, 1 skipped"
    );
    assert_eq!(suites[0].elapsed, Duration::from_millis(6));
    assert_eq!((suites[2].bytes, suites[2].connections), (1_000_000, 20));
    let outcomes: Vec<Outcome> = suites.iter().map(SuiteSummary::outcome).collect();
    let due = [Outcome::Failed, Outcome::Deviates, Outcome::Passed];
    assert_eq!(outcomes, due);
    let of = |outcome| report(vec![check("a/b", outcome)]).total().outcome();
    assert_eq!(of(Outcome::Unsupported), Outcome::Unsupported);
    assert_eq!(report(vec![]).total().outcome(), Outcome::Skipped);
}

#[test]
fn of_several_measurements_a_summary_has_the_worst() {
    let measured = |throughput, waits: [u64; 2]| Check {
        measures: Measures {
            bytes: 10,
            throughput: Some(throughput),
            latency: Latency::of(waits.map(Duration::from_millis).to_vec()),
            ..Measures::default()
        },
        ..check("a/b", Outcome::Passed)
    };
    let unmeasured = check("a/c", Outcome::Passed);
    let total = report(vec![unmeasured, measured(7, [2, 3]), measured(5, [1, 9])]).total();
    assert_eq!((total.bytes, total.throughput), (20, Some(5)));
    let latency = total.latency.unwrap();
    assert_eq!(latency.count, 4);
    let millis = [latency.p50, latency.p99, latency.max].map(|time| time.as_millis());
    assert_eq!(millis, [2, 9, 9]);
    assert_eq!(
        (total.name, total.elapsed),
        ("toy".to_owned(), Duration::from_millis(6))
    );
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
fn of_several_rounds_the_check_that_failed_is_given() {
    let id = "a/b/c";
    let second = Check {
        round: 2,
        ..check(id, Outcome::Failed)
    };
    let report = report(vec![check(id, Outcome::Passed), second]);
    assert_eq!(report.check(id).unwrap().round(), 2);
}

#[test]
fn deviations_count_as_checked_and_refusals_do_not() {
    assert!(report(vec![check("a/b", Outcome::Deviates)]).is_success());
    assert!(!report(vec![check("a/b", Outcome::Unsupported)]).is_success());
}

#[test]
#[should_panic(expected = "an expected deviation is gone")]
fn a_strict_report_fails_for_an_expectation_that_is_gone() {
    let mut report = full();
    report.strict = true;
    report
        .checks
        .retain(|check| check.outcome != Outcome::Failed);
    report.assert_passed();
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

/// In the environment of this test program when it is to fail.
const PANICS: &str = "LOOPBACK_TEST_REPORT_PANICS";

#[test]
fn a_failed_report_fails_at_the_callers_line_with_its_text() {
    const LINE: u32 = line!() + 3;
    let failed = report(vec![check("a/b/c", Outcome::Passed), failed()]);
    if env::var_os(PANICS).is_some() {
        failed.assert_passed();
    }
    let own = "tunnel::report::tests::a_failed_report_fails_at_the_callers_line_with_its_text";
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", own, "--nocapture"])
        .envs([(PANICS, "1"), ("RUST_BACKTRACE", "0")])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let (_, panic) = text.split_once(" panicked at ").unwrap();
    let expected = format!(
        r#"{}:{LINE}:16:
the tunnel failed

{FAILED}
a/b: 1 passed, 0 failed, 0 skipped
connectivity/46: 0 passed, 1 failed, 0 skipped
  route: client 127.0.0.2 -> program 127.0.0.1:61022, from ::1 -> service [::1]:4000
toy: FAILED, 1 passed, 1 failed, 0 skipped in 12.0ms
"#,
        file!()
    );
    assert!(panic.starts_with(&expected), "{panic}\n{expected}");
}

/// Printed before, it is not printed again.
#[test]
fn a_report_that_was_shown_fails_in_short() {
    let failed = report(vec![check("a/b/c", Outcome::Passed), failed()]);
    let _ = failed.to_string();
    let panic = std::panic::catch_unwind(|| failed.assert_passed()).unwrap_err();
    assert_eq!(
        *panic.downcast::<String>().unwrap(),
        "the tunnel failed\n\n\
         toy: 1 passed, 1 failed, 0 skipped\n\
         FAILED connectivity/46/end: the client has 19 of 16 bytes\n\
         the whole report was shown before"
    );
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

#[test]
fn behaviour_has_each_name_once_in_order() {
    let seen = |round, value: &str| {
        let mut check = check("behaviour/client-reset", Outcome::Passed);
        check.round = round;
        let record = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        check.measures.records = vec![record("becomes", value), record("after", "at once")];
        check
    };
    let other = check("closing/client-reset", Outcome::Passed);
    let report = report(vec![
        seen(1, "end"),
        other,
        seen(2, "reset"),
        seen(3, "end"),
    ]);
    let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        report.behaviour(),
        [
            line("behaviour/client-reset/after", "at once"),
            line("behaviour/client-reset/becomes", "end or reset"),
        ]
    );
}
