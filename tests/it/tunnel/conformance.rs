//! The suite of conformance, on proxies that are right and on some that are wrong in one way.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Check, Family, Forward, HttpConnect, Outcome, ProxyProtocol, Report, Route, Socks4, Socks4a,
    Socks5, Strictness, Suite,
};

use super::{PATIENT, example, in_two_runs};

const USER: &str = "user";
const PASSWORD: &str = "sec:ret";

/// What the mutant is made to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Socks4,
    Socks4a,
    Socks5,
    Socks5Login,
    Connect,
    ConnectLogin,
    ProxyV1,
    ProxyV2,
}
use Protocol::{Connect, ConnectLogin, ProxyV1, ProxyV2, Socks5Login};

const ALL: [Protocol; 8] = [
    Protocol::Socks4,
    Protocol::Socks4a,
    Protocol::Socks5,
    Socks5Login,
    Connect,
    ConnectLogin,
    ProxyV1,
    ProxyV2,
];

impl Protocol {
    /// A harness for the mutant with these options.
    fn harness(self, options: &'static [&'static str]) -> TunnelHarness {
        let command = move |route: &Route| self.command(route, options);
        let harness = match self {
            Protocol::Socks4 => TunnelHarness::new(Socks4::spawn(command)),
            Protocol::Socks4a => TunnelHarness::new(Socks4a::spawn(command)),
            Protocol::Socks5 => TunnelHarness::new(Socks5::spawn(command)),
            Socks5Login => TunnelHarness::new(Socks5::spawn(command).auth(USER, PASSWORD)),
            Connect => TunnelHarness::new(HttpConnect::spawn(command)),
            ConnectLogin => TunnelHarness::new(HttpConnect::spawn(command).auth(USER, PASSWORD)),
            ProxyV1 => TunnelHarness::new(ProxyProtocol::spawn(command).v1()),
            ProxyV2 => TunnelHarness::new(ProxyProtocol::spawn(command).v2()),
        };
        harness.suite(Suite::Conformance).strict(true)
    }

    fn command(self, route: &Route, options: &[&str]) -> Command {
        let mut command = Command::new(example("mutant_proxy"));
        command.arg(match self {
            Protocol::Socks4 => "socks4",
            Protocol::Socks4a => "socks4a",
            Protocol::Socks5 | Socks5Login => "socks5",
            Connect | ConnectLogin => "connect",
            ProxyV1 => "proxy-v1",
            ProxyV2 => "proxy-v2",
        });
        command.args(["--listen", &route.listen.to_string()]);
        // On a loaded machine a handshake of single bytes takes its time.
        command.args(["--patience", "60000"]);
        if matches!(self, ProxyV1 | ProxyV2) {
            command.args(["--service", &route.service.to_string()]);
        }
        if matches!(self, Socks5Login | ConnectLogin) {
            command.args(["--user", USER, "--password", PASSWORD]);
        }
        command.args(options);
        command
    }
}

/// What a program gets to end: how it ends is not judged here.
const BRIEF: Duration = Duration::from_millis(300);
/// How many rows run at once.
const AT_ONCE: usize = 6;

/// The verdict on one mutation. A pattern without a `*` at its end stands for a check and its `/cut`;
/// `*` alone for all but what a program may do as it likes.
type Row = (&'static str, Protocol, &'static [&'static str]);

/// Those of which a check waits until its deadline stand in [`HANGING`].
const TABLE: &[Row] = &[
    ("wrong-version", Protocol::Socks4a, &["*"]),
    ("wrong-version", Protocol::Socks5, &["*"]),
    ("refuses", Connect, &["*"]),
    ("reserved-not-zero", Protocol::Socks5, &["*"]),
    ("junk-after-reply", Protocol::Socks5, &["*"]),
    ("login-version-five", Socks5Login, &["*"]),
    ("cuts-failure-reply", Protocol::Socks4a, SOCKS4_FAILURES),
    ("unknown-failure-code", Protocol::Socks4a, SOCKS4_FAILURES),
    (
        "closes-for-failure",
        Protocol::Socks4a,
        &["closes", "port-0", "refused", "unknown-name"],
    ),
    (
        "answers-before-it-connects",
        Protocol::Socks4a,
        &[
            "closes",
            "longest-name",
            "port-0",
            "refused",
            "unknown-name",
        ],
    ),
    (
        "answers-before-it-connects",
        Protocol::Socks5,
        &[
            "rfc1928/4/port-0",
            "rfc1928/5/empty-name",
            "rfc1928/5/longest-name",
            "rfc1928/6/closes",
            "rfc1928/6/no-route*",
            "rfc1928/6/refused*",
            "rfc1928/6/unknown-name*",
        ],
    ),
    (
        "answers-before-it-connects",
        Connect,
        &[
            "rfc9110/9.3.6/refused",
            "rfc9110/15.6.3/refused-code",
            "rfc9110/9.3.6/unknown-name",
        ],
    ),
    ("takes-any-command", Protocol::Socks4a, &["command"]),
    (
        "takes-any-command",
        Protocol::Socks5,
        &["rfc1928/6/command-*"],
    ),
    ("takes-any-command", Connect, &["rfc9112/3/method"]),
    ("no-names", Protocol::Socks4a, &["name", "name-literal"]),
    (
        "no-names",
        Protocol::Socks5,
        &["rfc1928/5/name", "rfc1928/5/name-literal"],
    ),
    (
        "one-failure-code",
        Protocol::Socks5,
        &[
            "rfc1928/6/command-code",
            "rfc1928/6/no-route-code",
            "rfc1928/6/refused-code",
            "rfc1928/6/type-code",
        ],
    ),
    (
        "one-failure-code",
        Connect,
        &["long-head", "rfc9112/2.3/version", "rfc9112/3.2/no-host"],
    ),
    ("unknown-failure-code", Connect, &CONNECT_FAILURES),
    ("cuts-failure-reply", Connect, &CONNECT_FAILURES),
    ("tells-other-address", Protocol::Socks5, TOLD),
    ("tells-reversed-address", Protocol::Socks5, TOLD),
    ("tells-other-port", Protocol::Socks5, TOLD),
    ("tells-reversed-port", Protocol::Socks5, TOLD),
    // Right for CONNECT; but where it listens, a client must know.
    ("tells-nothing", Protocol::Socks5, BIND),
    (
        "tells-ipv6-zeros",
        Protocol::Socks5,
        &["rfc1928/4/bind*", "rfc1928/6/type"],
    ),
    ("bind-tells-no-port", Protocol::Socks5, BIND),
    ("bind-tells-no-port", Protocol::Socks4, &["bind"]),
    ("no-bind", Protocol::Socks5, &["rfc1928/6/bind-code"]),
    (
        "bind-takes-anyone",
        Protocol::Socks5,
        &["rfc1928/4/bind-stranger"],
    ),
    (
        "method-not-offered",
        Protocol::Socks5,
        &[
            "rfc1928/3/closes",
            "rfc1928/3/gssapi",
            "rfc1928/3/no-methods",
            "rfc1928/3/private",
            "rfc1928/3/user-password",
        ],
    ),
    (
        "signed-method-count",
        Protocol::Socks5,
        &["rfc1928/3/most-methods"],
    ),
    (
        "takes-any-address-type",
        Protocol::Socks5,
        &["rfc1928/6/type-*"],
    ),
    ("ipv4-only", Protocol::Socks5, &["rfc1928/5/ipv6"]),
    (
        "accepts-any-password",
        Socks5Login,
        &["rfc1929/2/password-*", "rfc1929/2/wrong-password"],
    ),
    (
        "accepts-any-password",
        ConnectLogin,
        &["rfc7617/2/password-*", "rfc7617/2/wrong-password"],
    ),
    ("accepts-any-user", Socks5Login, &["rfc1929/2/wrong-user"]),
    ("accepts-any-user", ConnectLogin, &["rfc7617/2/wrong-user"]),
    (
        "accepts-prefix",
        Socks5Login,
        &["rfc1929/2/password-prefix"],
    ),
    (
        "accepts-prefix",
        ConnectLogin,
        &["rfc7617/2/password-prefix"],
    ),
    ("cuts-at-nul", Socks5Login, &["rfc1929/2/password-nul"]),
    ("cuts-at-colon", Socks5Login, &["rfc1929/2/password-*"]),
    ("cuts-at-colon", ConnectLogin, &["rfc7617/2/password-*"]),
    ("accepts-after-good-login", Socks5Login, ALL_DENIALS),
    ("accepts-after-good-login", ConnectLogin, BASIC_DENIALS),
    ("caches-bad-login", Socks5Login, ALL_DENIALS),
    ("caches-bad-login", ConnectLogin, BASIC_DENIALS),
    (
        "needs-no-login",
        Socks5Login,
        &["rfc1928/3/login-chosen", "rfc1928/3/login-required"],
    ),
    ("needs-no-login", ConnectLogin, BASIC_DENIALS),
    ("skips-login", Socks5Login, &["rfc1929/2/left-out"]),
    ("goes-on-after-bad-login", Socks5Login, DENIALS),
    ("dies-on-long-login", Socks5Login, &["rfc1929/2/longest"]),
    ("content-length", Connect, &["rfc9110/9.3.6/no-length"]),
    ("transfer-encoding", Connect, &["rfc9110/9.3.6/no-length"]),
    ("takes-any-port", Connect, &["rfc9110/9.3.6/port-large"]),
    (
        "no-challenge",
        ConnectLogin,
        &["rfc9110/11.7.1/no-credentials"],
    ),
    ("scheme-by-case", ConnectLogin, &["rfc9110/11.1/case"]),
    (
        "takes-authorization",
        ConnectLogin,
        &["rfc9110/11.7.2/authorization"],
    ),
    ("dies-on-long-head", Connect, &["long-head"]),
    (
        "only-first-bytes",
        Connect,
        &["rfc9110/9.3.6/outstanding-up"],
    ),
    ("header-twice", ProxyV1, &["*"]),
    ("header-twice", ProxyV2, &["*"]),
    ("header-swapped", ProxyV1, &["*"]),
    ("header-swapped", ProxyV2, &["*"]),
    ("header-other-port", ProxyV1, &["*"]),
    ("header-other-port", ProxyV2, &["*"]),
    ("header-other-family", ProxyV1, &["*"]),
    ("header-other-family", ProxyV2, &["*"]),
    ("header-unknown", ProxyV1, &["*"]),
    ("header-unknown", ProxyV2, &["*"]),
];

const HANGING: &[Row] = &[
    ("stays-open-after-failure", Protocol::Socks4a, &["closes"]),
    (
        "stays-open-after-failure",
        Protocol::Socks5,
        &[
            "rfc1928/3/closes",
            "rfc1928/3/no-methods",
            "rfc1928/6/closes",
        ],
    ),
    ("drops-early-data", Protocol::Socks4a, &["early-data"]),
    ("drops-early-data", Protocol::Socks5, &["early-data"]),
    ("drops-early-data", Connect, &["early-data"]),
    ("hangs-on-half-close", Protocol::Socks4a, &["half-request"]),
    (
        "hangs-on-half-close",
        Protocol::Socks5,
        &["half-greeting", "half-request"],
    ),
    ("hangs-on-half-close", Connect, &["half-request"]),
    ("swallows-reset", Connect, &["rfc9110/9.3.6/closes"]),
    ("loses-end-down", Connect, &["rfc9110/9.3.6/outstanding"]),
    ("bind-replies-once", Protocol::Socks4, &["bind"]),
    ("bind-replies-once", Protocol::Socks5, &["rfc1928/4/bind"]),
    ("no-header", ProxyV1, &["*"]),
    ("header-cut", ProxyV2, &["*"]),
];

const SOCKS4_FAILURES: &[&str] = &[
    "closes",
    "command",
    "longest-name",
    "port-0",
    "refused",
    "unknown-name",
];
const CONNECT_FAILURES: [&str; 10] = [
    "long-head",
    "tls",
    "rfc9110/15.6.3/refused-code",
    "rfc9110/9.3.6/port-*",
    "rfc9110/9.3.6/refused",
    "rfc9110/9.3.6/unknown-name",
    "rfc9112/2.3/version",
    "rfc9112/3.2.3/path",
    "rfc9112/3.2/no-host",
    "rfc9112/3/method",
];
const TOLD: &[&str] = &["rfc1928/4/bind*", "rfc1928/6/bound"];
const BIND: &[&str] = &["rfc1928/4/bind*"];
const DENIALS: &[&str] = &[
    "rfc1929/2/longest",
    "rfc1929/2/password-*",
    "rfc1929/2/wrong-*",
];
const ALL_DENIALS: &[&str] = &[
    "rfc1929/2/empty",
    "rfc1929/2/longest",
    "rfc1929/2/password-*",
    "rfc1929/2/wrong-*",
];
const BASIC_DENIALS: &[&str] = &[
    "rfc7617/2/bad-base64",
    "rfc7617/2/no-colon",
    "rfc7617/2/password-*",
    "rfc7617/2/wrong-*",
    "rfc9110/11.7.1/no-credentials",
    "rfc9110/11.7.2/*",
];

/// Judges rows by `misjudged`, a few at once.
fn judge(rows: &[Row], misjudged: fn(&Row) -> Option<String>) {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = misjudged(row);
                    wrong.lock().unwrap().extend(verdict);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is wrong with the verdict on a row's mutation, if anything.
fn misjudged(row: &Row) -> Option<String> {
    let (mutation, protocol, patterns) = *row;
    let report = run(protocol, vec!["--mutation", mutation].leak());
    let failed = failed(&report);
    let made = report.checks().iter().filter(|check| is_made(check));
    let due: BTreeSet<&str> = made
        .filter(|check| patterns.iter().any(|pattern| matches(pattern, check)))
        .map(Check::id)
        .collect();
    (due != failed || due.is_empty())
        .then(|| format!("{row:?}\nmust fail {due:?}\nhas failed {failed:?}\n{report}"))
}

/// The same where checks wait until their deadline.
fn misjudged_hanging(row: &Row) -> Option<String> {
    let (mutation, protocol, patterns) = *row;
    let options: &'static [&'static str] = vec!["--mutation", mutation].leak();
    let with_cuts = |pattern: &&str| match pattern.ends_with('*') {
        true => vec![format!("*/{pattern}")],
        false => vec![format!("*/{pattern}"), format!("*/{pattern}/cut")],
    };
    let globs: Vec<String> = patterns.iter().flat_map(with_cuts).collect();
    let [rest, hanging] = in_two_runs(brief(protocol, options), brief(protocol, options), &globs);
    let made = hanging.checks().iter().filter(|check| is_made(check));
    let due: BTreeSet<&str> = made.map(Check::id).collect();
    let wrong = due.is_empty() || due != failed(&hanging) || rest.failed() > 0;
    wrong.then(|| format!("{row:?}\nmust fail {due:?}\n{hanging}\nmust not fail\n{rest}"))
}

fn run(protocol: Protocol, options: &'static [&'static str]) -> Report {
    let harness = brief(protocol, options).check_deadline(PATIENT);
    harness.run().unwrap()
}

fn brief(protocol: Protocol, options: &'static [&'static str]) -> TunnelHarness {
    let harness = protocol.harness(options).stop_deadline(BRIEF);
    harness.families([(Family::V4, Family::V4)])
}

fn is_made(check: &Check) -> bool {
    !matches!(check.outcome(), Outcome::Skipped | Outcome::Unsupported)
}

fn failed(report: &Report) -> BTreeSet<&str> {
    let checks = report.checks().iter();
    let failed = checks.filter(|check| check.outcome() == Outcome::Failed);
    failed.map(Check::id).collect()
}

/// The pattern is that of the id without the protocol, and without the families.
fn matches(pattern: &str, check: &Check) -> bool {
    let (_, name) = check.id().split_once('/').unwrap();
    let whole = name.strip_suffix("/cut").unwrap_or(name);
    match pattern.strip_suffix('*') {
        Some("") => check.strictness() != Strictness::May,
        Some(start) => whole.starts_with(start),
        None => whole == pattern,
    }
}

#[test]
fn without_a_mutation_it_is_right() {
    for protocol in ALL {
        let report = protocol.harness(&[]).check_deadline(PATIENT).run().unwrap();
        report.assert_passed();
    }
}

#[test]
fn slow_or_coalescing_it_is_right_too() {
    for protocol in [Protocol::Socks4a, Socks5Login, ConnectLogin, ProxyV2] {
        for options in [&["--slow"], &["--coalesce"]] {
            let harness = protocol.harness(options).check_deadline(PATIENT);
            let harness = harness.families([(Family::V4, Family::V4)]);
            let harness = harness.skip("*/outstanding", "too much for one byte a write");
            harness.run().unwrap().assert_passed();
        }
    }
}

#[test]
fn each_mutation_fails_the_checks_that_are_about_it_and_no_others() {
    judge(TABLE, misjudged);
}

#[test]
fn mutations_that_hang_are_judged_right() {
    judge(HANGING, misjudged_hanging);
}

/// On a loaded machine not every cut is seen, but only checks of cuts see any.
#[test]
fn whoever_needs_whole_messages_fails_where_they_are_cut() {
    for protocol in [Protocol::Socks4a, Protocol::Socks5, Connect] {
        let report = run(protocol, &["--mutation", "needs-whole-messages"]);
        let failed = failed(&report);
        assert!(!failed.is_empty(), "{report}");
        assert!(failed.iter().all(|id| id.ends_with("/cut")), "{report}");
    }
}

/// It ends a little later than the check that it ends at, so that the next one may be the first to see
/// that. Nothing else is wrong with it.
#[test]
fn one_that_dies_on_garbage_is_found() {
    for (protocol, garbage) in [
        (Protocol::Socks4a, "socks4a/version-0"),
        (Protocol::Socks5, "socks5/rfc1928/3/version-0"),
        (Connect, "connect/rfc9110/9.3.6/port-empty"),
    ] {
        let harness = protocol.harness(&["--mutation", "dies-on-garbage"]);
        let report = harness.check_deadline(PATIENT).run().unwrap();
        assert!(report.failed() > 0, "{report}");
        // Alone nobody else can take its place; the program has ended by the time it is stopped.
        let alone = protocol.harness(&["--mutation", "dies-on-garbage"]);
        let alone = alone.check_deadline(PATIENT).only(garbage).repeat(5);
        assert!(alone.run().unwrap().failed() > 0, "{garbage}");
    }
}

#[test]
fn what_has_no_handshake_is_skipped_and_no_success() {
    let forwarder = TunnelHarness::new(Forward::template("no-such-program"));
    let report = forwarder.suite(Suite::Conformance).run().unwrap();
    assert_eq!((report.checks().len(), report.skipped()), (1, 1));
    let check = &report.checks()[0];
    assert_eq!(check.id(), "conformance");
    assert_eq!(check.message(), "a forwarder has no handshake");
    assert!(!report.is_success());
}

#[test]
fn microsocks_conforms_but_for_cut_messages() {
    let microsocks = Socks5::template("microsocks -i {listen_ip} -p {listen_port}");
    let harness = TunnelHarness::new(microsocks).suite(Suite::Conformance);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    for check in report.checks() {
        let id = check.id();
        let is_known = |what: &str| id.ends_with("/cut") || id == what;
        match check.outcome() {
            Outcome::Deviates => assert!(
                is_known("socks5/pipelined") || is_known("socks5/early-data"),
                "{report}"
            ),
            Outcome::Unsupported => assert!(id.contains("/bind"), "{report}"),
            _ => {}
        }
    }
}
