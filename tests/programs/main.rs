//! Tests against real programs, each in the package that its name tells where it is missing.
//!
//! A test whose program is not installed is reported as ignored, with the package that has it. With
//! `LOOPBACK_REQUIRE_PROGRAMS=1` in the environment it fails instead.

mod custom;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "tunnel")]
mod namespace;
#[cfg(feature = "tunnel")]
mod recipes;
mod script;
#[cfg(feature = "smtp")]
mod smtp;
mod tcp;
#[cfg(feature = "tunnel")]
mod tunnel;

use std::env;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use libtest_mimic::{Arguments, Failed, Trial};

/// How many tests run at once where the command line says nothing: they wait for programs more than they work.
const AT_ONCE: usize = 5;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(AT_ONCE);
    let mut trials = Vec::new();
    // They take longest, so they begin.
    #[cfg(feature = "tunnel")]
    trials.extend(tunnel::trials());
    trials.extend([
        needs(
            "sleep",
            "coreutils",
            "a_late_program_goes_with_its_children",
            a_late_program_goes_with_its_children,
        ),
        needs(
            "true",
            "coreutils",
            "what_a_missing_program_comes_to",
            what_a_missing_program_comes_to,
        ),
    ]);
    trials.extend(tcp::trials());
    trials.extend(custom::trials());
    trials.extend(script::trials());
    #[cfg(feature = "http")]
    trials.extend(http::trials());
    #[cfg(feature = "smtp")]
    trials.extend(smtp::trials());
    #[cfg(feature = "tunnel")]
    trials.extend(namespace::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs `program`, from Debian's `package`.
fn needs(program: &str, package: &str, name: &str, test: fn()) -> Trial {
    needs_for(program, package, name, test)
}

/// As [`needs`], with a closure.
fn needs_for(
    program: &str,
    package: &str,
    name: &str,
    test: impl FnOnce() + Send + 'static,
) -> Trial {
    if find(program).is_some() {
        return Trial::test(name, move || {
            test();
            Ok(())
        });
    }
    let lack = format!("needs {program} from the package {package}");
    if env::var_os("LOOPBACK_REQUIRE_PROGRAMS").is_some_and(|value| value == "1") {
        return Trial::test(name, move || Err(Failed::from(lack)));
    }
    Trial::test(format!("{name} ({lack})"), || Ok(())).with_ignored_flag(true)
}

/// This binary again, where no program is found.
fn what_a_missing_program_comes_to() {
    let run = |require| {
        Command::new(env::current_exe().unwrap())
            .env("PATH", "")
            .env("LOOPBACK_REQUIRE_PROGRAMS", require)
            .arg("a_late_program")
            .output()
            .unwrap()
    };
    let lack = "needs sleep from the package coreutils";
    let name = "a_late_program_goes_with_its_children";
    let (lacking, required) = (run("0"), run("1"));
    let text = String::from_utf8(lacking.stdout).unwrap();
    assert!(lacking.status.success(), "{text}");
    assert!(
        text.contains(&format!("test {name} ({lack}) ... ignored")),
        "{text}"
    );
    let text = String::from_utf8(required.stdout).unwrap();
    assert!(!required.status.success(), "{text}");
    assert!(
        text.contains(&format!("---- {name} ----\n{lack}\n")),
        "{text}"
    );
}

/// Where a program is. Daemons are in folders that are not in every user's path.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Runs a program to its end, for at most a minute, and gives what it printed.
fn run<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Output {
    run_with_input(program, arguments, b"")
}

/// As [`run`], with something on its standard input.
fn run_with_input<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
    input: &[u8],
) -> Output {
    let file = find(program).unwrap_or_else(|| panic!("{program} is not installed"));
    let mut command = Command::new(file);
    command.args(arguments).env("LC_ALL", "C.UTF-8");
    finish(&mut command, input, Duration::from_secs(60))
        .unwrap_or_else(|error| panic!("{program} {error}"))
}

/// More than this on one of a program's outputs is an error.
const MOST_OUTPUT: u64 = 256 << 20;

/// Runs a command with `input` to its end. Beyond `limit` it is killed with all that it started: what it leaves behind
/// may hold its pipes, so the end of the program alone is not the end.
fn finish(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output, String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot be started: {error}"))?;
    let group = format!("-{}", child.id());
    // Nothing is sent: it is disconnected when all four threads have dropped their ends.
    let (running, ended) = mpsc::channel::<()>();
    let mut stdin = child.stdin.take().unwrap();
    let (alive, input) = (running.clone(), input.to_vec());
    let writer = thread::spawn(move || {
        let _alive = alive;
        // A program that does not read its input closes it, which is its right.
        let _ = stdin.write_all(&input);
    });
    let stdout = read_all(child.stdout.take().unwrap(), running.clone());
    let stderr = read_all(child.stderr.take().unwrap(), running.clone());
    let waiter = thread::spawn(move || {
        let _alive = running;
        child.wait()
    });
    let is_late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
    if is_late {
        let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
        if ended.recv_timeout(Duration::from_secs(20)) == Err(RecvTimeoutError::Timeout) {
            // Joining would hang: something has left the group, and holds a pipe.
            return Err(format!(
                "left something that is not ended by a kill ({killed:?})"
            ));
        }
    }
    writer.join().unwrap();
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    let status = waiter.join().unwrap();
    if is_late {
        let (out, err) = (stdout.escape_ascii(), stderr.escape_ascii());
        return Err(format!(
            "still ran after {limit:?}\nits output: {out}\nits errors: {err}"
        ));
    }
    if stdout.len().max(stderr.len()) as u64 == MOST_OUTPUT {
        return Err(format!("printed {MOST_OUTPUT} bytes or more"));
    }
    let status = status.map_err(|error| format!("cannot be waited for: {error}"))?;
    Ok(Output {
        status,
        stdout,
        stderr,
    })
}

fn read_all(pipe: impl Read + Send + 'static, alive: Sender<()>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let _alive = alive;
        let mut all = Vec::new();
        // What came before an error is still worth showing.
        let _ = pipe.take(MOST_OUTPUT).read_to_end(&mut all);
        all
    })
}

/// A program that does not end is ended with those that it started, also where it has ended itself.
fn a_late_program_goes_with_its_children() {
    for script in ["sleep 600 & echo begun; wait", "sleep 600 & echo begun"] {
        let mut command = Command::new("sh");
        let error = finish(
            command.args(["-c", script]),
            b"",
            Duration::from_millis(500),
        );
        let error = error.unwrap_err();
        assert!(error.starts_with("still ran after 500ms"), "{error}");
    }
}

/// Runs a Python program, and gives its output; fails with its errors.
fn python(script: &str, arguments: &[&str]) -> String {
    let script = ["-c", script];
    succeeded("python3", run("python3", script.iter().chain(arguments)))
}

/// The output of a program that must have succeeded.
fn succeeded(program: &str, output: Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{program} ended with {}\nits output: {out}\nits errors: {err}",
        output.status
    );
    out
}
