//! Nothing outlives a run: no process, no port.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use loopback::tunnel::{Family, Forward, Outcome, Report};
use loopback::{RunningTunnel, TestTcpServer, TunnelHarness};

use super::{PATIENT, combinations, example, fixture, names, run};

/// The command lines of all running processes that have `text` in them.
#[cfg(target_os = "linux")]
fn running(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap();
    let lines = entries.filter_map(|entry| {
        let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        // One that has ended and waits for its adopted parent has an empty line.
        Some(String::from_utf8_lossy(&line).replace('\0', " "))
    });
    lines.filter(|line| line.contains(text)).collect()
}

/// Checks that nothing runs that was told to listen on a port of this report.
#[cfg(target_os = "linux")]
#[track_caller]
fn nothing_runs(report: &Report) {
    let routes = report.checks().iter().filter_map(|check| check.route());
    let begun = Instant::now();
    for route in routes {
        // What was killed may need a moment to be gone.
        loop {
            let left = running(&route.listen.to_string());
            if left.is_empty() {
                break;
            }
            assert!(begun.elapsed() < PATIENT, "still there: {left:?}");
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_of_good_and_bad_children() {
    let limit = Duration::from_millis(200);
    for switch in [
        "plain",
        "garbage",
        "hangs",
        "never-listens",
        "exits-in-transfer",
    ] {
        let harness = TunnelHarness::new(fixture(switch)).check_deadline(limit);
        nothing_runs(&harness.run().unwrap());
    }
}

#[test]
fn a_child_that_ignores_term_is_killed_and_fails() {
    let harness = TunnelHarness::new(fixture("ignores-term")).check_deadline(PATIENT);
    let harness = harness.stop_deadline(Duration::from_millis(300));
    let report = harness.run().unwrap();
    for families in combinations() {
        assert_eq!(
            names(&report, families, Outcome::Failed),
            ["stop"],
            "{report}"
        );
    }
    let stop = report.check("connectivity/44/stop").unwrap();
    assert!(
        stop.message()
            .starts_with("killed by signal 9, as TERM had not ended it"),
        "{stop}"
    );
    #[cfg(target_os = "linux")]
    nothing_runs(&report);
}

#[cfg(target_os = "linux")]
#[test]
fn a_grandchild_that_ignores_term_and_forwards_does_not_survive() {
    let report = run(fixture("leaves-grandchild"));
    report.assert_passed();
    nothing_runs(&report);
}

#[cfg(target_os = "linux")]
#[test]
fn a_daemon_that_left_the_group_and_forwards_does_not_survive() {
    let report = run(fixture("leaves-daemon"));
    report.assert_passed();
    nothing_runs(&report);
    let stop = report.check("connectivity/44/stop").unwrap();
    assert!(
        stop.notes()
            .join("\n")
            .contains("killed 1 process that had left"),
        "{stop}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_found_and_still_listens_is_a_failure() {
    let harness = TunnelHarness::new(fixture("leaves-hidden-daemon"));
    let harness = harness.families([(Family::V4, Family::V4)]);
    let report = harness
        .check_deadline(Duration::from_secs(10))
        .run()
        .unwrap();
    let failed = names(&report, "44", Outcome::Failed);
    let check = report.check("connectivity/44/port-closed").unwrap();
    let output = check
        .failure()
        .map_or("", |failure| &failure.programs()[0].output);
    let pid = output.lines().find_map(|line| line.strip_prefix("pid="));
    // What this test has started it also ends.
    if let Some(pid) = pid {
        Command::new("kill").args(["-KILL", pid]).status().unwrap();
    }
    assert_eq!(failed, ["port-closed"], "{report}");
    nothing_runs(&report);
}

#[test]
fn a_crash_on_term_is_a_failure() {
    let report = run(fixture("crashes-on-term"));
    for families in combinations() {
        assert_eq!(
            names(&report, families, Outcome::Failed),
            ["stop"],
            "{report}"
        );
    }
    let stop = report.check("connectivity/44/stop").unwrap();
    assert!(stop.message().contains("crashed"), "{stop}");
}

#[test]
fn runs_side_by_side_do_not_take_each_others_ports() {
    let threads: Vec<_> = (0..8)
        .map(|_| thread::spawn(|| run(fixture("plain"))))
        .collect();
    for thread in threads {
        thread.join().unwrap().assert_passed();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_and_no_descriptor_is_left_behind() {
    // In a process of its own, where no other test opens anything.
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "tunnel::life::counted_alone"]);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Threads and descriptors of this process before and after ten runs.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "the test above runs it in a process of its own"]
fn counted_alone() {
    let open = || {
        let count = |dir| fs::read_dir(dir).unwrap().count();
        (count("/proc/self/task"), count("/proc/self/fd"))
    };
    let harness = TunnelHarness::new(fixture("plain")).check_deadline(PATIENT);
    let before = open();
    for _ in 0..10 {
        harness.run().unwrap().assert_passed();
    }
    assert_eq!(open(), before, "threads and descriptors");
}

/// Runs the example as a job whose parent ignores the signals that end programs, as a shell without
/// job control does for its background jobs.
#[cfg(target_os = "linux")]
fn with_ignored_signals(arguments: &[&str]) -> std::process::Output {
    let script = "trap '' TERM INT QUIT HUP; exec \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(example("tunnel_check"));
    command.args(arguments).output().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn signals_that_our_parent_ignores_are_not_ignored_by_the_child() {
    let output = with_ignored_signals(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("stop: killed by signal 15"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_missing_program_is_named_whatever_our_parent_ignores() {
    let output = with_ignored_signals(&["socks5", "no-such-proxy"]);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("no program no-such-proxy in PATH"), "{text}");
}

/// The command that the README gives for a fresh machine.
#[test]
fn the_example_checks_itself_and_any_program() {
    let output = Command::new(example("tunnel_check")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("embedded SOCKS5 proxy: "), "{text}");

    let mutant = example("mutant_proxy");
    let check = [
        "socks5",
        mutant.to_str().unwrap(),
        "socks5",
        "--listen",
        "{listen}",
    ];
    let mut good = Command::new(example("tunnel_check"));
    assert!(good.args(check).status().unwrap().success());
    let mut bad = Command::new(example("tunnel_check"));
    bad.args(check).args(["--mutation", "garbage"]);
    let output = bad.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.starts_with("FAILED connectivity/44/handshake"),
        "{text}"
    );
}

#[test]
fn the_example_tells_its_usage() {
    let told = |args: &[&str]| {
        let output = Command::new(example("tunnel_check")).args(args).output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, usage, errors) = told(&["--help"]);
    assert_eq!((code, &*errors), (Some(0), ""));
    assert!(usage.starts_with("usage: tunnel_check\n"), "{usage}");
    assert_eq!(told(&["-h"]).1, usage);
    let (code, _, errors) = told(&["socks5"]);
    assert_eq!(code, Some(1));
    assert_eq!(errors, "Error: \"which program? --help tells the usage\"\n");
}

#[cfg(target_os = "linux")]
#[test]
fn a_program_that_goes_to_the_background_is_told_to_stay() {
    let tunnel = Forward::template("sh -c 'setsid sleep 1000 & exit 0'");
    let report = TunnelHarness::new(tunnel).run().unwrap();
    let check = report.check("connectivity/44/start").unwrap();
    let due = ": exited with status 0; it has gone to the background, and must be told to stay in the foreground";
    assert!(check.message().ends_with(due), "{check}");
}

/// The variable by which a test is one that waits to be killed, and the time that its daemon sleeps.
#[cfg(target_os = "linux")]
const KILLED: &str = "LOOPBACK_TEST_KILLED";

/// Not a test of its own: it starts what the next one looks for, and waits.
#[cfg(target_os = "linux")]
#[test]
fn a_test_that_is_killed() {
    let Ok(mark) = env::var(KILLED) else {
        return;
    };
    let service = TestTcpServer::echo("127.0.0.1:0").unwrap();
    let mutant = example("mutant_proxy");
    let command = format!(
        "sh -c 'echo {{tmp}}; setsid sleep {mark} & exec {} forward --listen {{listen}} \
         --service {{service}} --outgoing 127.0.0.1 --pid-files {{tmp}}'",
        mutant.display()
    );
    let tunnel = RunningTunnel::start(Forward::template(command), service.local_addr()).unwrap();
    tunnel.connect().unwrap();
    let output = tunnel.output();
    println!("\nstarted {}", output.lines().next().unwrap());
    loop {
        thread::park();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_when_the_test_itself_is_killed() {
    for (number, signal) in ["KILL", "TERM", "INT", "HUP"].iter().enumerate() {
        // Seconds that no other sleeps.
        let mark = format!("{}{number}.25", 100_000 + std::process::id());
        let mut test = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "tunnel::life::a_test_that_is_killed",
                "--nocapture",
            ])
            .env(KILLED, &mark)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(test.stdout.take().unwrap()).lines();
        let folder = lines
            .map(Result::unwrap)
            .find_map(|line| Some(line.strip_prefix("started ")?.to_owned()))
            .unwrap();
        assert!(Path::new(&folder).is_dir());
        let left = || [running(&mark), running(&folder)].concat();
        assert_eq!(left().len(), 2, "a daemon and the proxy");
        let id = test.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(sent.unwrap().success());
        test.wait().unwrap();
        let begun = Instant::now();
        while Path::new(&folder).exists() || !left().is_empty() {
            let left = left();
            assert!(
                begun.elapsed() < PATIENT,
                "{signal} leaves {folder}, {left:?}"
            );
            thread::yield_now();
        }
    }
}
