//! The tunnel harness, on tunnels that are right and on tunnels that are wrong.

mod attached;
mod bad;
mod behaviour;
mod conformance;
mod faults;
mod good;
mod kinds;
mod life;
mod mutant;
mod options;
mod traffic;
mod types;
mod udp;

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Outcome, Report, Socks5};

/// Far more than any check needs, and what a hanging one costs at most.
const PATIENT: Duration = Duration::from_secs(60);

/// For what is known to hang, and waits for this in full; nothing that works is judged by it.
const SHORT: Duration = Duration::from_secs(4);

/// The path of one of this package's examples, which `cargo test` has built beside the tests.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let path = profile.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build --examples`",
        path.display()
    );
    path
}

/// The mutant proxy with one of its mutations; with `plain` it is right.
fn fixture(mutation: &'static str) -> Socks5 {
    Socks5::spawn(move |route| {
        let mut command = Command::new(example("mutant_proxy"));
        command.args(["socks5", "--listen", &route.listen.to_string()]);
        if mutation != "plain" {
            command.args(["--mutation", mutation]);
        }
        command
    })
}

fn run(tunnel: Socks5) -> Report {
    TunnelHarness::new(tunnel)
        .check_deadline(PATIENT)
        .run()
        .unwrap()
}

/// The names of the checks of one combination that ended so.
fn names(report: &Report, families: &str, outcome: Outcome) -> Vec<String> {
    let group = format!("connectivity/{families}/");
    let of = report.checks().iter().filter(|c| c.outcome() == outcome);
    of.filter_map(|check| check.id().strip_prefix(&group))
        .map(str::to_owned)
        .collect()
}

/// The combinations that this machine can run.
fn combinations() -> &'static [&'static str] {
    match std::net::TcpListener::bind("[::1]:0") {
        Ok(_) => &["44", "46", "64", "66"],
        Err(_) => &["44"],
    }
}
