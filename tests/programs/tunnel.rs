//! The tunnel harness on real tunnels and proxies.

use std::env;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use libtest_mimic::Trial;
use loopback::tunnel::{ExpectationState, Forward, Outcome, Report, Socks5, Suite, Tunnel};
use loopback::{RunningTunnel, TestTcpServer, TunnelHarness, UnixAddress};

use crate::recipes::{Recipe, Slow};
use crate::{find, needs, needs_for, python, recipes};

pub(crate) fn trials() -> Vec<Trial> {
    let microsocks = |name, test| needs("microsocks", "microsocks", name, test);
    let mut trials: Vec<Trial> = recipes::ALL.iter().map(recipe_trial).collect();
    trials.extend([
        microsocks("tunnel::microsocks_bad_password", microsocks_bad_password),
        microsocks("tunnel::microsocks_twenty_at_once", || {
            at_once(recipes::microsocks);
        }),
        needs("socat", "socat", "tunnel::socat_twenty_at_once", || {
            at_once(recipes::socat_t_60);
        }),
        needs(
            "haproxy",
            "haproxy",
            "tunnel::haproxy_other_version",
            haproxy_other_version,
        ),
        needs("python3", "python3", "tunnel::json", json_is_read_by_others),
        needs("socat", "socat", "tunnel::path", socat_leads_to_a_path),
    ]);
    trials
}

/// A recipe through every suite, once; or as many times as `LOOPBACK_PROGRAM_RUNS` says, and then also
/// what an ordinary run leaves out, as it would take too long for what it tells.
fn recipe_trial(recipe: &'static Recipe) -> Trial {
    let name = format!("tunnel::recipe_{}", recipe.name);
    if recipe.for_root && !is_root() {
        return Trial::test(format!("{name} (needs root)"), || Ok(())).with_ignored_flag(true);
    }
    if recipe.optional && find(recipe.program).is_none() {
        let name = format!("{name} (needs {})", recipe.package);
        return Trial::test(name, || Ok(())).with_ignored_flag(true);
    }
    needs_for(recipe.program, recipe.package, &name, || {
        match env::var("LOOPBACK_PROGRAM_RUNS") {
            Ok(runs) => {
                let runs: u32 = runs.parse().expect("LOOPBACK_PROGRAM_RUNS is a number");
                for _ in 0..runs {
                    judge(recipe.harness(Slow::Expect).suites(Suite::ALL));
                    remove_shared_memory();
                }
            }
            Err(_) => {
                let suites = if recipe.again { HANDSHAKE } else { Suite::ALL };
                judge(recipe.harness(Slow::Skip).suites(suites));
                remove_shared_memory();
            }
        }
    })
}

/// Removes what killed squids have left: files named after a folder that is gone.
fn remove_shared_memory() {
    let names = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok())
    };
    let shared = Path::new("/dev/shm");
    // In this order: what has a file by now has had its folder before.
    let files: Vec<String> = names(shared).collect();
    let folders: Vec<String> = names(&env::temp_dir()).collect();
    for file in files {
        let rest = file.strip_prefix("loopback");
        let Some((id, _)) = rest.and_then(|rest| rest.split_once("-cf__")) else {
            continue;
        };
        if !folders.iter().any(|folder| folder.ends_with(id)) {
            // Another test may remove it too.
            let _ = fs::remove_file(shared.join(file));
        }
    }
}

/// The suites that see how a program is spoken to.
const HANDSHAKE: &[Suite] = &[
    Suite::Connectivity,
    Suite::Closing,
    Suite::Conformance,
    Suite::Application,
];

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    // The owner of a process's own folder is its user. No program has to be there for that.
    fs::metadata("/proc/self").is_ok_and(|folder| folder.uid() == 0)
}

/// A service that is a Unix-domain socket, and a client of TCP.
fn socat_leads_to_a_path() {
    let mut service = TestTcpServer::echo(UnixAddress::temporary()).unwrap();
    let socat = "socat TCP-LISTEN:{listen_port},bind={listen_ip},reuseaddr,fork UNIX-CONNECT:{service_path}";
    let mut tunnel = RunningTunnel::start(Forward::template(socat), &service).unwrap();
    let mut client = tunnel.connect().unwrap();
    client.write_all(b"to a path").unwrap();
    let mut echoed = [0; 9];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"to a path");
    drop(client);
    tunnel.stop(Duration::from_secs(30)).unwrap();
    service.stop(Duration::from_secs(30)).unwrap();
}

/// All that is not expected must pass, and all that is expected must happen.
fn judge(harness: TunnelHarness) {
    let report = harness
        .strict(true)
        // Only a program that hangs takes so long; but to start one takes its time on a loaded machine.
        .check_deadline(Duration::from_secs(60))
        .deadline(Duration::from_secs(1200))
        .run()
        .unwrap();
    report.assert_passed();
    assert_all_known(&report);
}

/// Also what is a program's choice must be expected where it deviates. An expectation of a suite that did
/// not run is no matter.
fn assert_all_known(report: &Report) {
    let checks = report.checks();
    for check in checks.iter().filter(|c| c.outcome() == Outcome::Deviates) {
        assert!(check.message().contains(" (expected: "), "{check}");
    }
    let ran = |pattern: &str| {
        let suite = pattern.split('/').next();
        checks.iter().any(|check| Some(check.suite()) == suite)
    };
    for expected in report.expectations() {
        let is_met = expected.state == ExpectationState::Met;
        assert!(is_met || !ran(&expected.pattern), "not seen: {expected:?}");
    }
}

fn haproxy_other_version() {
    let report = TunnelHarness::new(recipes::haproxy_send_proxy().v2())
        .run()
        .unwrap();
    let accept = report.check("connectivity/44/accept").unwrap();
    assert_eq!(accept.outcome(), Outcome::Failed, "{report}");
    let due = "byte 0 of the header (signature) is 50";
    assert!(accept.message().contains(due), "{accept}");
}

fn microsocks_bad_password() {
    let tunnel = Socks5::template("microsocks -i {listen_ip} -p {listen_port} -u me -P secret");
    let report = TunnelHarness::new(tunnel.auth("me", "secre"))
        .run()
        .unwrap();
    let failed = report
        .checks()
        .iter()
        .filter(|c| c.outcome() == Outcome::Failed);
    for check in failed {
        let message = check.message();
        assert!(message.contains("turned user and password down"), "{check}");
    }
    assert!(report.failed() > 0, "{report}");
}

/// A report of a program that ends at once, with bytes that are no text in its output.
fn json_is_read_by_others() {
    let tunnel = Forward::spawn(|_| {
        let mut command = Command::new("printf");
        command.arg("\\001\\033[1m\\377\"\\\\");
        command
    });
    let report = TunnelHarness::new(tunnel).run().unwrap();
    let script = "
import json, sys
report = json.loads(sys.argv[1])
checks = report['checks']
assert report['total']['counts']['failed'] == len([c for c in checks if c['outcome'] == 'failed']) > 0
start = [c for c in checks if c['id'] == 'connectivity/44/start'][0]
print(report['schema'], report['version'], ascii(start['failure']['programs'][0]['output']))
";
    let said = python(script, &[&report.to_json()]);
    assert_eq!(
        said,
        "loopback-tunnel-report 1 '\\x01\\x1b[1m\\ufffd\"\\\\'\n"
    );
}

/// Runs the harness on every combination; all of it must pass.
fn check(tunnel: impl Tunnel + 'static) {
    let harness = TunnelHarness::new(tunnel).suite(Suite::Connectivity);
    harness.run().unwrap().assert_passed();
}

/// Twenty harnesses side by side: ports, children and checks must not get into each other's way.
fn at_once<T: Tunnel + 'static>(tunnel: fn() -> T) {
    let threads: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || check(tunnel())))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}
