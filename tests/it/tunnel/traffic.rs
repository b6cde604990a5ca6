//! The suites that carry a lot, often, or at another pace: a right proxy passes them, however odd it is,
//! and a wrong one fails the checks that are about what is wrong with it, and no others.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Check, Family, Forward, Outcome, ProxyProtocol, Report, Route, Sizes, Socks5, Suite,
};

use super::{PATIENT, example, in_two_runs};

/// The suites that are tested here.
const SUITES: &[Suite] = &[
    Suite::Echo,
    Suite::DataQuality,
    Suite::PingPong,
    Suite::Concurrency,
    Suite::Punishment,
    Suite::Turnover,
    Suite::Pace,
];
/// How many rows of the table run at once.
const AT_ONCE: usize = 10;

fn socks5(options: &'static [&'static str]) -> TunnelHarness {
    let tunnel = Socks5::spawn(move |route| mutant("socks5", route, options));
    all_suites(TunnelHarness::new(tunnel.binds_outgoing(true)))
}

fn forward(options: &'static [&'static str]) -> TunnelHarness {
    let tunnel = Forward::spawn(move |route| {
        let mut command = mutant("forward", route, options);
        command.args(["--service", &route.service.to_string()]);
        command
    });
    all_suites(TunnelHarness::new(tunnel.binds_outgoing(true)))
}

/// A forwarder that puts a header of this version before the data.
fn with_header(version: &'static str) -> ProxyProtocol {
    let tunnel = ProxyProtocol::spawn(move |route| {
        let mut command = mutant(version, route, &[]);
        command.args(["--service", &route.service.to_string()]);
        command
    });
    tunnel.binds_outgoing(true)
}

fn mutant(protocol: &str, route: &Route, options: &[&str]) -> Command {
    let mut command = Command::new(example("mutant_proxy"));
    command.arg(protocol);
    command.args(["--listen", &route.listen.to_string()]);
    command.args(["--outgoing", &route.outgoing.to_string()]);
    command.args(options);
    command
}

/// Strict, so that what breaks a rule of the harness fails too.
fn all_suites(harness: TunnelHarness) -> TunnelHarness {
    harness
        .suites(SUITES)
        .families([(Family::V4, Family::V4)])
        .strict(true)
        .check_deadline(PATIENT)
}

fn ids(report: &Report, outcome: Outcome) -> BTreeSet<&str> {
    let of = report.checks().iter().filter(|c| c.outcome() == outcome);
    of.map(Check::id).collect()
}

/// All checks of these suites.
const ALL: &[&str] = &[
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "concurrency/20-in-a-row",
    "data-quality/both",
    "data-quality/down",
    "data-quality/up",
    "echo/44/again",
    "echo/44/lengths",
    "echo/44/stream",
    "echo/44/values",
    "pace/byte-by-byte",
    "pace/idle",
    "pace/memory",
    "pace/service-first",
    "pace/slow-reader",
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
    "turnover/connections",
    "turnover/descriptors",
];

fn all_pass(harness: &TunnelHarness) -> Report {
    let report = harness.run().unwrap();
    report.assert_passed();
    let mut due: BTreeSet<&str> = ALL.iter().copied().collect();
    if cfg!(not(target_os = "linux")) {
        due.remove("pace/memory");
        due.remove("turnover/descriptors");
    }
    assert_eq!(ids(&report, Outcome::Passed), due, "{report}");
    report
}

#[test]
fn many_connections_at_once_each_have_their_own_header() {
    all_pass(&all_suites(TunnelHarness::new(
        with_header("proxy-v1").v1(),
    )));
    let wrong = TunnelHarness::new(with_header("proxy-v1").v2());
    let report = wrong.only("concurrency/10-at-once").run().unwrap();
    let check = report.check("concurrency/10-at-once").unwrap();
    assert_eq!(check.outcome(), Outcome::Failed, "{check}");
    let due = "byte 0 of the header (signature) is 50";
    assert!(check.message().contains(due), "{check}");
}

#[test]
fn a_right_proxy_passes_all_and_is_measured() {
    let report = all_pass(&socks5(&[]));
    let measures = |id: &str| report.check(id).unwrap().measures();
    let up = measures("data-quality/up");
    assert_eq!(up.bytes(), 1_200_000);
    assert!(up.throughput().is_some_and(|rate| rate > 0));
    let [(name, digest)] = up.records() else {
        panic!("{:?}", up.records());
    };
    assert_eq!((&name[..], digest.len()), ("sha256-up", 64));
    assert_eq!(measures("data-quality/both").bytes(), 2_400_000);
    assert_eq!(measures("data-quality/both").records().len(), 2);
    let latency = measures("ping-pong/500-bytes").latency().unwrap();
    assert_eq!(latency.count, 100);
    assert!(latency.p50 <= latency.p99 && latency.p99 <= latency.max);
    assert_eq!(measures("ping-pong/500-bytes").bytes(), 100_000);
    assert_eq!(measures("concurrency/100-at-once").connections(), 100);
    assert_eq!(measures("punishment/transfers").connections(), 12);
    assert_eq!(measures("turnover/connections").connections(), 150);
}

#[test]
fn a_right_forwarder_passes_all() {
    all_pass(&forward(&[]));
}

#[test]
fn a_proxy_that_writes_single_bytes_passes() {
    all_pass(&forward(&["--slow"]));
}

#[test]
fn a_proxy_that_gathers_what_it_carries_passes() {
    all_pass(&socks5(&["--coalesce"]));
}

#[test]
fn all_passes_when_all_is_sent_in_small_segments() {
    all_pass(&forward(&[]).segment_size(100));
}

#[test]
fn the_same_seed_carries_the_same_data_and_another_something_else() {
    let digests = |seed| {
        let harness = forward(&[]).seed(seed).only("data-quality/*");
        let report = harness.run().unwrap();
        let records = report.checks().iter().map(|c| c.measures().records());
        records.flatten().cloned().collect::<Vec<_>>()
    };
    let one = digests(1);
    assert_eq!(one.len(), 4);
    assert_eq!(one, digests(1));
    assert!(digests(2).iter().all(|record| !one.contains(record)));
}

/// Too much for the other tests' machine: run it by hand, in release mode.
#[test]
#[ignore = "takes minutes and gigabytes"]
fn a_right_proxy_passes_the_full_sizes() {
    let harness = forward(&[]).sizes(Sizes::Full);
    let report = all_pass(&harness.deadline(Duration::from_secs(600)));
    println!("{report}");
}

/// A way to be wrong, and what must come of it.
struct Row {
    mutation: &'static str,
    /// The checks that are made.
    made: &'static [&'static str],
    /// Those of them that fail; all others pass.
    fails: &'static [&'static str],
    /// It makes a check wait until its deadline.
    hangs: bool,
    sizes: Sizes,
}

const fn row(
    mutation: &'static str,
    made: &'static [&'static str],
    fails: &'static [&'static str],
) -> Row {
    Row {
        mutation,
        made,
        fails,
        hangs: false,
        sizes: Sizes::Quick,
    }
}

const fn hangs(row: Row) -> Row {
    Row { hangs: true, ..row }
}

const EVERYTHING: &[&str] = &["*"];
/// All that send something in bulk from the client, and need all of it.
const UP: &[&str] = &[
    "data-quality/both",
    "data-quality/up",
    "echo/44/lengths",
    "echo/44/stream",
    "punishment/transfers",
];
/// All that send more than text from the client.
const BINARY: &[&str] = &[
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "data-quality/both",
    "data-quality/up",
    "echo/44/again",
    "echo/44/lengths",
    "echo/44/stream",
    "echo/44/values",
    "pace/byte-by-byte",
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
];
/// All that get a million bytes from the service.
const MUCH_DOWN: &[&str] = &["data-quality/both", "data-quality/down", "pace/slow-reader"];
/// All that need many connections at once.
const AT_ONCE_ONLY: &[&str] = &["concurrency/10-at-once", "concurrency/100-at-once"];

/// Those that take longest come first.
const TABLE: &[Row] = &[
    hangs(row(
        "only-first-bytes",
        &[
            "data-quality/*",
            "echo/*/lengths",
            "echo/*/stream",
            "punishment/*",
        ],
        UP,
    )),
    hangs(row(
        "stalls-at-megabyte",
        &["data-quality/*", "echo/*/stream", "pace/slow-reader"],
        MUCH_DOWN,
    )),
    hangs(row(
        "stops-at-nul",
        &[
            "data-quality/*",
            "echo/*/stream",
            "echo/*/values",
            "ping-pong/*",
        ],
        &[
            "data-quality/both",
            "data-quality/down",
            "echo/44/stream",
            "echo/44/values",
            "ping-pong/500-bytes",
        ],
    )),
    hangs(row(
        "waits-for-client",
        &[
            "data-quality/*",
            "echo/*/stream",
            "pace/service-first",
            "turnover/conn*",
        ],
        &[
            "data-quality/down",
            "pace/service-first",
            "turnover/connections",
        ],
    )),
    hangs(row(
        "waits-for-more",
        &["pace/slow-writer", "ping-pong/*"],
        &["pace/slow-writer", "ping-pong/500-bytes"],
    )),
    hangs(row(
        "drops-carriage-returns",
        &["concurrency/20*", "data-quality/*", "echo/*/values"],
        &[
            "concurrency/20-in-a-row",
            "data-quality/both",
            "data-quality/up",
            "echo/44/values",
        ],
    )),
    hangs(row(
        "never-closes",
        &[
            "concurrency/20*",
            "data-quality/*",
            "echo/*/stream",
            "turnover/conn*",
        ],
        &["concurrency/20-in-a-row", "turnover/connections"],
    )),
    hangs(row(
        "serialises",
        &["concurrency/1*", "data-quality/*", "echo/*/stream"],
        AT_ONCE_ONLY,
    )),
    hangs(Row {
        sizes: Sizes::Full,
        ..row(
            "stops-after-500",
            &["turnover/conn*"],
            &["turnover/connections"],
        )
    }),
    #[cfg(target_os = "linux")]
    row("leaks-descriptors", EVERYTHING, &["turnover/descriptors"]),
    #[cfg(target_os = "linux")]
    row(
        "leaves-children",
        &["turnover/*"],
        &["turnover/descriptors"],
    ),
    #[cfg(target_os = "linux")]
    row("unbounded-buffer", EVERYTHING, &["pace/memory"]),
    row("changes-late-byte", EVERYTHING, MUCH_DOWN),
    row(
        "drops-late-byte",
        EVERYTHING,
        &["data-quality/both", "data-quality/up"],
    ),
    row("strips-high-bits", EVERYTHING, BINARY),
    row(
        "drops-hundredth",
        EVERYTHING,
        &[
            "concurrency/100-at-once",
            "turnover/connections",
            "turnover/descriptors",
        ],
    ),
    row(
        "at-most-fifty",
        &["concurrency/*", "echo/*", "pace/*"],
        AT_ONCE_ONLY,
    ),
    row(
        "swaps-bytes",
        &[
            "concurrency/*",
            "data-quality/*",
            "echo/*/again",
            "ping-pong/*",
        ],
        &[
            "concurrency/10-at-once",
            "concurrency/100-at-once",
            "concurrency/20-in-a-row",
            "data-quality/both",
            "data-quality/up",
            "echo/44/again",
            "ping-pong/500-bytes",
        ],
    ),
    row(
        "doubles-byte",
        &[
            "data-quality/*",
            "echo/*/stream",
            "pace/byte-by-byte",
            "pace/service-first",
        ],
        &[
            "data-quality/both",
            "data-quality/down",
            "echo/44/stream",
            "pace/byte-by-byte",
            "pace/service-first",
        ],
    ),
    row(
        "exits-in-transfer",
        &[
            "concurrency/*",
            "data-quality/*",
            "echo/*",
            "ping-pong/*",
            "punishment/*",
        ],
        &[
            "concurrency/10-at-once",
            "concurrency/100-at-once",
            "concurrency/20-in-a-row",
            "data-quality/both",
            "data-quality/up",
            "echo/44/again",
            "echo/44/lengths",
            "echo/44/stream",
            "echo/44/values",
            "ping-pong/500-bytes",
            "punishment/transfers",
        ],
    ),
    row(
        "cuts-idle",
        &["pace/idle", "pace/service-first"],
        &["pace/idle"],
    ),
    row("floods-output", &["data-quality/*", "echo/*/stream"], &[]),
    row("no-half-close", EVERYTHING, &[]),
    row(
        "resets-at-end",
        &["concurrency/*", "data-quality/*", "pace/*"],
        &[],
    ),
    row(
        "reset-becomes-end",
        &["concurrency/*", "data-quality/*", "pace/*"],
        &[],
    ),
];

/// What is wrong with the verdicts on a row's mutation, if anything.
fn misjudged(row: &Row) -> Option<String> {
    match row.hangs {
        true => misjudged_hanging(row),
        false => misjudged_patiently(row),
    }
}

fn misjudged_hanging(row: &Row) -> Option<String> {
    let options: &'static [&'static str] = vec!["--mutation", row.mutation].leak();
    let fails: Vec<String> = row.fails.iter().map(|id| (*id).to_owned()).collect();
    let harness = || forward(options).sizes(row.sizes);
    let rest = row.made.iter().fold(harness(), |rest, id| rest.only(*id));
    let [rest, hanging] = in_two_runs(rest, harness(), &fails);
    let all_fail = hanging.checks().len() == fails.len() && hanging.failed() == fails.len();
    let others_pass = rest.failed() == 0;
    (!(all_fail && others_pass))
        .then(|| format!("{}\nmust fail\n{hanging}\nmust pass\n{rest}", row.mutation))
}

fn misjudged_patiently(row: &Row) -> Option<String> {
    let harness = forward(vec!["--mutation", row.mutation].leak());
    let harness = row
        .made
        .iter()
        .fold(harness, |harness, made| harness.only(*made));
    let report = harness
        .check_deadline(PATIENT)
        .sizes(row.sizes)
        .run()
        .unwrap();
    let failed = ids(&report, Outcome::Failed);
    let due: BTreeSet<&str> = row.fails.iter().copied().collect();
    let others = report.checks().len() == failed.len() + report.passed();
    let wrong = failed != due || !others;
    wrong.then(|| {
        format!(
            "{}\nmust fail {due:?}\nhas failed {failed:?}\n{report}",
            row.mutation
        )
    })
}

#[test]
fn each_way_to_be_wrong_fails_the_checks_that_are_about_it() {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = TABLE.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let verdict = misjudged(row);
                    wrong.lock().unwrap().extend(verdict);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
