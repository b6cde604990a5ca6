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
mod running;
mod traffic;
mod types;
mod udp;

use std::env::{self, consts::EXE_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{Outcome, Report, Socks5};

/// Far more than any check needs, and what a hanging one costs at most.
const PATIENT: Duration = Duration::from_secs(60);

/// For what is known to hang, and waits for this in full; nothing that works is judged by it.
const SHORT: Duration = Duration::from_secs(4);

/// What the tests start.
const EXAMPLES: [&str; 3] = ["fixture_kinds", "mutant_proxy", "tunnel_check"];

/// The path of one of [`EXAMPLES`]. `cargo test` has built them beside the tests; after `cargo test --test it`,
/// which builds no examples, the first test that wants one builds them all.
fn example(name: &str) -> PathBuf {
    static BUILT: LazyLock<Result<PathBuf, String>> = LazyLock::new(build_examples);
    match &*BUILT {
        Ok(folder) => folder.join(name),
        Err(error) => panic!("the tests need `cargo build --examples`: {error}"),
    }
}

/// The folder of the examples. Where several processes build them at once, each waits for cargo's own lock of the
/// target directory, and only the first has something to do.
fn build_examples() -> Result<PathBuf, String> {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let folder = profile.join("examples");
    let is_there = |name: &str| folder.join(format!("{name}{EXE_SUFFIX}")).exists();
    if EXAMPLES.iter().all(|name| is_there(name)) {
        return Ok(folder);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "build",
        "--quiet",
        "--no-default-features",
        "--manifest-path",
    ]);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    command.arg("--target-dir").arg(target);
    // The folder of the profile `dev` has another name, and that of another target lies in one of its own.
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let profile_name = match name(profile).as_str() {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    };
    command.args(["--profile", &profile_name]);
    let above = profile.parent().unwrap();
    if above.canonicalize().ok() != target.canonicalize().ok() {
        command.args(["--target", &name(above)]);
    }
    // Those of the tests, so that the crate is not built again.
    let features = [
        ("http", cfg!(feature = "http")),
        ("smtp", cfg!(feature = "smtp")),
        ("tunnel", true),
    ];
    for (feature, _) in features.into_iter().filter(|(_, is_on)| *is_on) {
        command.args(["--features", feature]);
    }
    for name in EXAMPLES {
        command.args(["--example", name]);
    }
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() && EXAMPLES.iter().all(|name| is_there(name)) {
        true => Ok(folder),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(format!("{command:?}: {}\n{told}", output.status))
        }
    }
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
