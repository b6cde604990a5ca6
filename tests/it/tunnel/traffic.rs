//! The suites that carry a lot, often, or at another pace, on a right proxy; what they say of wrong ones is
//! in the table of mutants.

use std::collections::BTreeSet;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Check, Family, Outcome, ProxyProtocol, Report, Sizes, Suite};

use super::PATIENT;
use super::mutant::Protocol;

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

/// Strict, so that what breaks a rule of the harness fails too.
fn harness(protocol: Protocol) -> TunnelHarness {
    protocol
        .harness(&[])
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
    all_pass(&harness(Protocol::ProxyV1));
    // It speaks version 1.
    let wrong = Protocol::ProxyV1.spawn(&[]);
    let wrong = TunnelHarness::new(ProxyProtocol::spawn(wrong).v2());
    let report = wrong.only("concurrency/10-at-once").run().unwrap();
    let check = report.check("concurrency/10-at-once").unwrap();
    assert_eq!(check.outcome(), Outcome::Failed, "{check}");
    let due = "byte 0 of the header (signature) is 50";
    assert!(check.message().contains(due), "{check}");
}

#[test]
fn a_right_proxy_passes_all_and_is_measured() {
    let report = all_pass(&harness(Protocol::Socks5));
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
fn all_passes_when_all_is_sent_in_small_segments() {
    all_pass(&harness(Protocol::Forward).segment_size(100));
}

#[test]
fn the_same_seed_carries_the_same_data_and_another_something_else() {
    let digests = |seed| {
        let forward = harness(Protocol::Forward).seed(seed);
        let report = forward.only("data-quality/*").run().unwrap();
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
    let forward = harness(Protocol::Forward).sizes(Sizes::Full);
    let report = all_pass(&forward.deadline(Duration::from_secs(600)));
    println!("{report}");
}
