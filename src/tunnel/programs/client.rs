//! A program that is run to its end: a real client.

use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::Duration;

#[cfg(unix)]
use super::cleanup::Cleanup;
use super::group;
use super::port::SPAWNING;
use crate::deadline::{Backoff, Deadline};

/// What has come of it.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

/// Runs `command` with `input` until it ends, or ends it at the deadline. Input and output are of at most 32 KiB:
/// as much as every system's pipe holds while nobody reads it.
///
/// # Errors
///
/// `NotFound` where there is no such program; `TimedOut`, with what it had written to its standard error.
pub(crate) fn run(command: &mut Command, input: &[u8], deadline: &Deadline) -> io::Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    group::isolate(command);
    let spawning = SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
    let spawned = command.spawn();
    drop(spawning);
    let mut child = spawned?;
    #[cfg(unix)]
    let _cleanup = Cleanup::group(child.id());
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing says by its status what it thinks of that.
        let _ = stdin.write_all(input);
    }
    let mut pause = Backoff::new(Duration::from_millis(1));
    let ended = loop {
        if group::has_exited(&mut child) {
            break true;
        }
        if deadline.expired() {
            break false;
        }
        pause.sleep(deadline);
    };
    // What it may have left behind holds the pipes.
    group::kill_all(&mut child);
    let status = child.wait()?;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut stdout)?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_end(&mut stderr)?;
    }
    let stderr = String::from_utf8_lossy(&stderr).trim_end().to_owned();
    match ended {
        true => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        false => Err(deadline.error(&format!("; it wrote: {stderr:?}"))),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn it_gets_its_input_and_is_ended_at_the_deadline() {
        let deadline = Deadline::new(Duration::from_secs(30), "a client to end");
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo wrong >&2; exit 3"]);
        let output = run(&mut command, b"words", &deadline).unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout, &*output.stderr),
            (Some(3), &b"words"[..], "wrong")
        );

        let deadline = Deadline::new(Duration::from_millis(50), "a client to end");
        let mut command = Command::new("sh");
        command.args(["-c", "echo so far >&2; sleep 1000 & sleep 1000"]);
        let error = run(&mut command, b"", &deadline).unwrap_err();
        assert_eq!(
            error.to_string(),
            "timed out after 50ms waiting for a client to end; it wrote: \"so far\""
        );
        let missing = run(&mut Command::new("no-such-client"), b"", &deadline).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
    }
}
