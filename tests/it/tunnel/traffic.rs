//! The suites that carry a lot, often, or at another pace: a right proxy passes them, however odd it is,
//! and a wrong one fails the checks that are about what is wrong with it, and no others.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Forward, Outcome, Report, Route, Sizes, Socks5, Suite};

use super::{PATIENT, example};

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
/// Long enough for what works on a loaded machine, and waited for in full by what does not.
const SHORT: Duration = Duration::from_secs(4);
/// How many rows of the table run at once.
const AT_ONCE: usize = 8;

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
fn a_right_proxy_passes_all_and_is_measured() {
    let report = all_pass(&socks5(&[]));
    let measures = |id: &str| report.check(id).unwrap().measures();
    let up = measures("data-quality/up");
    assert_eq!(up.bytes(), 2_000_000);
    assert!(up.throughput().is_some_and(|rate| rate > 0));
    let [(name, digest)] = up.records() else {
        panic!("{:?}", up.records());
    };
    assert_eq!((&name[..], digest.len()), ("sha256-up", 64));
    assert_eq!(measures("data-quality/both").bytes(), 4_000_000);
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
