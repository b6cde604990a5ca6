//! The program under test as a child process that leaves nothing behind.

use std::io;
use std::path::Path;
use std::process::{self, Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[cfg(unix)]
use super::cleanup::Cleanup;
use super::group::{Mark, Signal, Whom};
use super::output::Output;
use super::port::SPAWNING;
use crate::deadline::{Backoff, Deadline};
use crate::process::Maker;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::programs::group;

/// Marks all that a child starts, so that what leaves its process group is found.
pub(crate) const VARIABLE: &str = "LOOPBACK_TUNNEL_CHILD";
/// How long a killed process may take to be gone: the kernel's work only.
const KILL_LIMIT: Duration = Duration::from_secs(5);
/// How long `Drop` lets the program end by itself.
const DROP_LIMIT: Duration = Duration::from_secs(1);
/// How long a program may work on before it is told to end.
const REST_LIMIT: Duration = Duration::from_millis(250);

/// A started program.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    maker: Maker,
    name: String,
    command: String,
    mark: Mark,
    /// What ends it when this process is killed.
    #[cfg(unix)]
    cleanup: Option<Cleanup>,
    output: Output,
    started: Instant,
    /// See [`Child::signal`].
    signals: Vec<Signal>,
    signalled: Option<SignalReport>,
    end: Option<ExitReport>,
}

/// What became of telling a program to end. What it has started may still run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignalReport {
    pub(crate) signal: Signal,
    /// It had ended before.
    pub(crate) by_itself: bool,
    /// It has ended in the time that it was given.
    pub(crate) ended: bool,
    /// From the signal to its end, or to the end of that time.
    pub(crate) elapsed: Duration,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub(crate) struct ExitReport {
    /// `None` if not even KILL ended it in time, or somebody else has waited for it.
    pub(crate) status: Option<ExitStatus>,
    /// It had ended before it was told to.
    pub(crate) by_itself: bool,
    /// What it was told to end by, TERM unless a check chose another.
    pub(crate) signal: Signal,
    /// That did not end it in time, KILL had to.
    pub(crate) killed: bool,
    /// From the signal to the end.
    pub(crate) elapsed: Duration,
    /// How many processes that it had started still ran when it had ended by itself.
    pub(crate) left: usize,
    /// How many processes had left its group and had to be killed.
    pub(crate) strays: usize,
    /// Which of several programs it was; empty for the only one.
    pub(crate) who: String,
}

impl Child {
    /// Starts `command` in a process group of its own.
    pub(crate) fn spawn(command: Command) -> Result<Child, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let text = render(&command);
        let name = name(&command);
        let fail = |source| {
            let message = format!("cannot start `{text}`");
            Error::new(ErrorKind::Program, message, Some(source))
        };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let value = format!("{}-{count}", process::id());
        let output = Output::capture().map_err(fail)?;
        let mut command = group::default_signals(command);
        group::isolate(&mut command);
        command
            .env(VARIABLE, &value)
            .stdin(Stdio::null())
            .stdout(output.stdio().map_err(fail)?)
            .stderr(output.stdio().map_err(fail)?);
        let mark = Mark::new(VARIABLE, &value);
        let started = Instant::now();
        let spawning = SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
        let spawned = command.spawn();
        drop(spawning);
        let process = spawned.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => fail(not_found(&command)),
            _ => fail(error),
        })?;
        Ok(Child {
            #[cfg(unix)]
            cleanup: Cleanup::group(process.id()),
            process,
            maker: Maker::this(),
            name,
            command: text.clone(),
            mark,
            output,
            started,
            signals: Vec::new(),
            signalled: None,
            end: None,
        })
    }

    /// The program's name without its path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The command line, for messages.
    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// How long ago it was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        self.end.is_some() || group::has_exited(&mut self.process)
    }

    /// Whether all its threads, and those of what it has started, wait for something.
    pub(crate) fn is_at_rest(&self) -> bool {
        group::is_at_rest(&self.mark, self.process.id())
    }

    /// The last of what it wrote; complete once it is stopped.
    pub(crate) fn output(&self) -> String {
        self.output.text()
    }

    /// Sends its group a signal, and waits for nothing. What ends it by that has not ended by itself.
    pub(crate) fn signal(&mut self, signal: Signal) {
        // Its id may be somebody else's once it was waited for.
        if self.end.is_some() || self.has_exited() {
            return;
        }
        self.signals.push(signal);
        group::send(&mut self.process, signal, Whom::Group);
    }

    /// Whether one of [`Child::signal`] has ended it. A program that was asked to read its configuration again
    /// (HUP) is only excused if that has killed it.
    fn was_ended_by_signal(&self, status: Option<ExitStatus>) -> bool {
        let killed = status.map(describe);
        let ends = |signal: &Signal| match signal {
            Signal::Hup => killed == Some(format!("killed by signal {}", signal.number())),
            Signal::Term | Signal::Int | Signal::Kill => true,
        };
        self.signals.iter().any(ends)
    }

    /// Sends it a signal once it is at rest, and waits for its end, no longer than `limit`. The caller knows
    /// whether it had ended `by_itself`, before anything was done that may have ended it. The first call
    /// counts.
    pub(crate) fn send_signal(
        &mut self,
        signal: Signal,
        whom: Whom,
        limit: Duration,
        by_itself: bool,
    ) -> SignalReport {
        if let Some(signalled) = self.signalled {
            return signalled;
        }
        let deadline = to_end(limit);
        if !by_itself {
            self.come_to_rest(&deadline);
        }
        let begun = Instant::now();
        if !by_itself {
            group::send(&mut self.process, signal, whom);
        }
        let ended = self.wait(&deadline);
        let elapsed = begun.elapsed();
        *self.signalled.insert(SignalReport {
            signal,
            by_itself,
            ended,
            elapsed,
        })
    }

    /// Waits until all its threads wait, for a while: many programs lose a signal that comes between their
    /// look for one and their wait for a connection (tinyproxy 1.11, one of some hundred times), and whether
    /// the last connection has let them come that far is chance.
    fn come_to_rest(&mut self, deadline: &Deadline) {
        let deadline = to_end(REST_LIMIT.min(deadline.remaining() / 4));
        let mut pause = Backoff::new(Duration::from_micros(100));
        while !self.has_exited() && !self.is_at_rest() && !deadline.expired() {
            pause.sleep(&deadline);
        }
    }

    /// Waits until nothing runs that it has started; how many do at the deadline. `None` where the
    /// system does not tell.
    pub(crate) fn descendants_end(&self, deadline: &Deadline) -> Option<usize> {
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            match group::left(&self.mark, self.process.id())? {
                left if left > 0 && !deadline.expired() => pause.sleep(deadline),
                left => return Some(left),
            }
        }
    }

    /// Ends it and all that it started: TERM unless it was told already, then at `grace` KILL. Takes no
    /// longer than that and what the kernel needs. A second call only gives the same end again.
    pub(crate) fn stop(&mut self, grace: Duration) -> ExitReport {
        let by_itself = self.has_exited();
        self.stop_judged(grace, by_itself)
    }

    /// As [`Child::stop`], where it is known whether it had ended `by_itself` before anything was done
    /// that may have ended it.
    pub(crate) fn stop_judged(&mut self, grace: Duration, by_itself: bool) -> ExitReport {
        if let Some(end) = &self.end {
            return end.clone();
        }
        let signalled = self.send_signal(Signal::Term, Whom::Group, grace, by_itself);
        let left = match by_itself {
            true => group::left(&self.mark, self.process.id()).unwrap_or(0),
            false => 0,
        };
        // What it started may still run, ignore TERM and forward: the group ends now in any case.
        group::kill_all(&mut self.process);
        let gone = signalled.ended || self.wait(&to_end(KILL_LIMIT));
        let strays = group::sweep(&self.mark, self.process.id(), &to_end(KILL_LIMIT));
        let status = match gone {
            true => self.process.wait().ok(),
            false => None,
        };
        // What was killed beside it is gone too, though a busy machine may need a moment for that.
        if group::has_members(self.process.id()) {
            self.descendants_end(&to_end(KILL_LIMIT));
        }
        self.output.finish();
        #[cfg(unix)]
        if gone {
            self.cleanup = None;
        }
        let end = ExitReport {
            status,
            by_itself: signalled.by_itself && !self.was_ended_by_signal(status),
            signal: signalled.signal,
            killed: !signalled.ended,
            elapsed: signalled.elapsed,
            left,
            strays,
            who: String::new(),
        };
        self.end.insert(end).clone()
    }

    /// Lets it end if it is about to, so that an end of its own is not taken for one by TERM: what it
    /// had open closes before it can be waited for.
    pub(crate) fn settle(&mut self) {
        if group::may_be_ending(&self.process) {
            self.wait(&to_end(group::SETTLING));
        }
    }

    /// Waits until it has ended; `false` at the deadline.
    pub(crate) fn wait(&mut self, deadline: &Deadline) -> bool {
        let mut pause = Backoff::new(Duration::from_micros(100));
        while !self.has_exited() {
            if deadline.expired() {
                return false;
            }
            pause.sleep(deadline);
        }
        true
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.maker.is_this() {
            self.stop(DROP_LIMIT);
        }
    }
}

impl ExitReport {
    /// The end in words, with the program's name before it if there are several.
    pub(crate) fn describe(&self) -> String {
        self.named(&self.how())
    }

    /// The end in words: "killed by signal 15, 1.2ms after TERM".
    pub(crate) fn how(&self) -> String {
        let how = match self.status {
            Some(status) => describe(status),
            None if self.killed => "still there after KILL".to_owned(),
            // Somebody else has waited for it: the kernel, where the test's process ignores SIGCHLD.
            None => "ended, and the system does not tell how".to_owned(),
        };
        let (signal, elapsed) = (self.signal.name(), self.elapsed);
        match (self.by_itself, self.killed) {
            (true, _) => format!("{how}, by itself"),
            (_, true) => format!("{how}, as {signal} had not ended it after {elapsed:.1?}"),
            _ => format!("{how}, {elapsed:.1?} after {signal}"),
        }
    }

    /// `how` with the program's name before it, if there are several.
    pub(crate) fn named(&self, how: &str) -> String {
        match &*self.who {
            "" => how.to_owned(),
            who => format!("{who}: {how}"),
        }
    }
}

/// An exit status in words, without the core dump remark that depends on the machine.
pub(crate) fn describe(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return format!("killed by signal {signal}");
    }
    match status.code() {
        Some(code) => format!("exited with status {code}"),
        None => status.to_string(),
    }
}

fn to_end(limit: Duration) -> Deadline {
    Deadline::new(limit, "the program to end")
}

fn not_found(command: &Command) -> io::Error {
    let missing = |dir: &&Path| !dir.is_dir();
    let message = match command.get_current_dir().filter(missing) {
        Some(dir) => format!("there is no folder {} to run it in", dir.display()),
        None => match command.get_program().to_string_lossy() {
            path if path.contains('/') => format!("there is no program {path}"),
            name => format!("there is no program {name} in PATH; is it installed?"),
        },
    };
    io::Error::new(io::ErrorKind::NotFound, message)
}

fn name(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(command.get_program());
    name.to_string_lossy().into_owned()
}

/// The command as one would type it.
fn render(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+[]".contains(c);
        match !word.is_empty() && word.chars().all(plain) {
            true => word.into_owned(),
            false => format!("'{}'", word.replace('\'', r"'\''")),
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(all(test, unix))]
mod tests {
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Child::spawn(command).unwrap()
    }

    /// Waits until the output has a line that starts with `start`, and gives the rest of the line.
    fn line(child: &Child, start: &str) -> String {
        let deadline = Deadline::new(LIMIT, "a line of output");
        loop {
            let output = child.output();
            let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(rest) = whole.lines().find_map(|line| line.strip_prefix(start)) {
                return rest.to_owned();
            }
            deadline.check().unwrap();
            thread::yield_now();
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_that_works_is_let_come_to_rest_before_it_is_told_to_end() {
        let mut idle = shell("sleep 60");
        let deadline = Deadline::new(LIMIT, "the shell to wait");
        while !idle.is_at_rest() {
            deadline.check().unwrap();
            thread::yield_now();
        }
        idle.stop(LIMIT);

        let mut busy = shell("echo begun; while :; do :; done");
        line(&busy, "begun");
        assert!(!busy.is_at_rest());
        let begun = Instant::now();
        let end = busy.stop(LIMIT);
        assert!(begun.elapsed() >= REST_LIMIT, "{end:?}");
        assert!(!end.killed, "{end:?}");
    }

    fn is_running(pid: &str) -> bool {
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // A zombie waits for whoever adopted it, it does not run.
        state.is_ok_and(|text| !text.contains(") Z "))
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let error = Child::spawn(Command::new("no-such-tunnel-program")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Program);
        assert_eq!(
            error.to_string(),
            "cannot start `no-such-tunnel-program`: there is no program no-such-tunnel-program in PATH; is it installed?"
        );
    }

    #[test]
    fn term_ends_a_program_and_its_output_is_kept_in_order() {
        let mut child = shell("echo out; echo err >&2; echo ready; exec sleep 1000");
        line(&child, "ready");
        assert!(!child.has_exited());
        let end = child.stop(LIMIT);
        assert!(!end.by_itself && !end.killed, "{end:?}");
        assert_eq!(describe(end.status.unwrap()), "killed by signal 15");
        assert_eq!(child.output(), "out\nerr\nready\n");
    }

    #[test]
    fn an_end_of_its_own_is_told_apart() {
        let mut child = shell("echo bye; exit 3");
        let deadline = Deadline::new(LIMIT, "the exit");
        while !child.has_exited() {
            deadline.check().unwrap();
            thread::yield_now();
        }
        let end = child.stop(LIMIT);
        assert_eq!(end.describe(), "exited with status 3, by itself");
        assert_eq!(child.output(), "bye\n");
    }

    #[test]
    fn a_program_that_ignores_term_is_killed_at_the_deadline() {
        let mut child = shell("trap '' TERM; echo ready; while :; do sleep 1000; done");
        line(&child, "ready");
        let begun = Instant::now();
        let end = child.stop(Duration::from_millis(50));
        assert!(end.killed, "{end:?}");
        assert!(begun.elapsed() < LIMIT);
        assert_eq!(describe(end.status.unwrap()), "killed by signal 9");
    }

    #[cfg(unix)]
    #[test]
    fn an_end_that_somebody_else_has_waited_for_is_an_end() {
        let mut child = shell("exit 3");
        let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
        nix::sys::wait::waitpid(pid, None).unwrap();
        let end = child.stop(LIMIT);
        let due = "ended, and the system does not tell how, by itself";
        assert_eq!(end.describe(), due);
    }

    #[test]
    fn a_grandchild_that_ignores_term_and_holds_the_output_does_not_survive() {
        let mut child = shell("(trap '' TERM; exec sleep 1000) & echo pid=$!; exit 0");
        let grandchild = line(&child, "pid=");
        child.stop(LIMIT);
        assert!(!is_running(&grandchild));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_grandchild_that_left_the_group_does_not_survive() {
        let mut child = shell("setsid sleep 1000 & echo pid=$!; exec sleep 1000");
        let grandchild = line(&child, "pid=");
        // It has left once it runs the other program.
        let deadline = Deadline::new(LIMIT, "setsid");
        let name = format!("/proc/{grandchild}/comm");
        while std::fs::read_to_string(&name).unwrap() != "sleep\n" {
            deadline.check().unwrap();
            thread::yield_now();
        }
        let end = child.stop(LIMIT);
        assert_eq!(end.strays, 1);
        assert!(!is_running(&grandchild));
    }

    /// What runs only when nobody else wants to takes its time to end.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_stop_waits_for_all_that_it_has_killed() {
        let one = "(trap '' TERM; exec chrt --idle 0 sleep 1000) & echo $!";
        let mut child = shell(&format!(
            "for i in $(seq 20); do {one}; done; echo all; exit 0"
        ));
        line(&child, "all");
        let output = child.output();
        let mut pids = output.lines().filter(|line| *line != "all");
        assert_eq!(pids.clone().count(), 20);
        let busy = std::sync::atomic::AtomicBool::new(true);
        let deadline = Deadline::new(LIMIT, "the stop");
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, |cores| cores.get()) {
                scope.spawn(|| {
                    while busy.load(Ordering::Relaxed) && !deadline.expired() {
                        std::hint::spin_loop();
                    }
                });
            }
            let begun = Instant::now();
            child.stop(LIMIT);
            // On a machine that gives them no time at all, it gives up at its limit.
            let left = begun.elapsed() < KILL_LIMIT && pids.any(is_running);
            busy.store(false, Ordering::Relaxed);
            assert!(!left, "something has survived");
        });
    }

    /// Between its old program and its new one a process has no environment to know it by.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_has_left_the_group_is_found_in_the_midst_of_an_exec() {
        let again = r#"if [ "$1" = 0 ]; then echo "pid=$$"; fi; exec sh -c "$0" "$0" $(($1 + 1))"#;
        for _ in 0..100 {
            let mut command = Command::new("setsid");
            command.args(["sh", "-c", again, again, "0"]);
            let mut outer = Command::new("sh");
            outer.args(["-c", r#""$@" & wait"#, "sh"]);
            outer.arg(command.get_program()).args(command.get_args());
            let mut child = Child::spawn(outer).unwrap();
            let pid = line(&child, "pid=");
            let strays = child.stop(LIMIT).strays;
            let survives = is_running(&pid);
            if survives {
                let _ = Command::new("kill").args(["-9", &pid]).status();
            }
            assert!(!survives && strays == 1, "{strays}");
        }
    }

    #[test]
    fn dropping_ends_it_too() {
        let child = shell("echo pid=$$; exec sleep 1000");
        let pid = line(&child, "pid=");
        drop(child);
        assert!(!is_running(&pid));
    }

    #[test]
    fn the_command_line_can_be_typed_again() {
        let mut command = Command::new("socat");
        command.args(["-t", "60", "it's", ""]);
        assert_eq!(render(&command), r"socat -t 60 'it'\''s' ''");
    }
}
