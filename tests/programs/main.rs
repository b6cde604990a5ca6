//! Tests against real programs, each in the package that its name tells where it is missing.
//!
//! A test whose program is not installed is reported as ignored, with the package that has it. With
//! `LOOPBACK_REQUIRE_PROGRAMS=1` in the environment it fails instead.

#[cfg(feature = "http")]
mod http;
#[cfg(feature = "smtp")]
mod smtp;
mod tcp;
#[cfg(feature = "tunnel")]
mod tunnel;

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    trials.extend(tcp::trials());
    #[cfg(feature = "http")]
    trials.extend(http::trials());
    #[cfg(feature = "smtp")]
    trials.extend(smtp::trials());
    #[cfg(feature = "tunnel")]
    trials.extend(tunnel::trials());
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// A test that needs `program`, from Debian's `package`.
fn needs(program: &str, package: &str, name: &str, test: fn()) -> Trial {
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
    let mut child = Command::new(file)
        .args(arguments)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {program}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    std::thread::spawn(move || {
        use std::io::Write;
        // A program that does not read its input closes it, which is its right.
        let _ = stdin.write_all(&input);
    });
    let (id, (done, ended)) = (child.id(), std::sync::mpsc::channel::<()>());
    let program = program.to_owned();
    let guard = std::thread::spawn(move || {
        let start = Instant::now();
        let timeout = ended.recv_timeout(Duration::from_secs(60))
            == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if timeout {
            let _ = Command::new("kill")
                .args(["-KILL", &id.to_string()])
                .status();
            panic!("{program} still ran after {:?}", start.elapsed());
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    guard.join().unwrap();
    output
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
