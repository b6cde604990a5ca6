//! A child's process group and signals: all that belongs to Unix, and where it is Linux's own.

pub(crate) use imp::{
    Mark, SETTLING, default_signals, has_exited, has_members, is_at_rest, isolate, kill_all, left,
    may_be_ending, members, send, sweep,
};

/// A signal that ends programs, or makes them read their configuration again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// TERM: end in order.
    Term,
    /// INT: as by Ctrl-C on a terminal.
    Int,
    /// KILL: ends at once, and cannot be caught.
    Kill,
    /// HUP: the terminal is gone; for servers, most often: read the configuration again.
    Hup,
}

/// Who gets a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// All that the program has started, as from a terminal or a service manager.
    Group,
    /// The program's own process, as from `kill`.
    Leader,
}

impl Signal {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Signal::Term => "TERM",
            Signal::Int => "INT",
            Signal::Kill => "KILL",
            Signal::Hup => "HUP",
        }
    }

    /// Its number, the same on all systems that have it.
    pub(crate) fn number(self) -> i32 {
        match self {
            Signal::Term => 15,
            Signal::Int => 2,
            Signal::Kill => 9,
            Signal::Hup => 1,
        }
    }
}

#[cfg(unix)]
mod imp {
    use std::os::unix::process::CommandExt;
    use std::process::{Child, Command};

    use nix::sys::signal::{self, kill, killpg};
    use nix::unistd::Pid;

    use super::{Signal, Whom};
    #[cfg(not(target_os = "linux"))]
    use crate::deadline::Deadline;

    /// Gives the command a process group of its own.
    pub(crate) fn isolate(command: &mut Command) {
        command.process_group(0);
    }

    /// Ends the whole group. Only while its leader has not been waited for: until then the kernel
    /// gives its id to nobody else.
    pub(crate) fn kill_all(leader: &mut Child) {
        send(leader, Signal::Kill, Whom::Group);
    }

    /// Sends a signal; only while the leader has not been waited for.
    pub(crate) fn send(leader: &mut Child, signal: Signal, whom: Whom) {
        let signal = match signal {
            Signal::Term => signal::Signal::SIGTERM,
            Signal::Int => signal::Signal::SIGINT,
            Signal::Kill => signal::Signal::SIGKILL,
            Signal::Hup => signal::Signal::SIGHUP,
        };
        // The only failure is that nobody is left.
        let _ = match whom {
            Whom::Group => killpg(pid(leader), signal),
            Whom::Leader => kill(pid(leader), signal),
        };
    }

    /// Whether anybody belongs to the group, one who has ended and was not waited for included.
    pub(crate) fn has_members(group: u32) -> bool {
        killpg(Pid::from_raw(group.cast_signed()), None).is_ok()
    }

    fn pid(child: &Child) -> Pid {
        // Process ids are positive and fit: the kernel gave it as this type.
        Pid::from_raw(child.id().cast_signed())
    }

    /// Whether the child has ended. Leaves it to be waited for where the system can, so that its
    /// group's id stays taken.
    #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
    pub(crate) fn has_exited(child: &mut Child) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        !matches!(
            waitid(Id::Pid(pid(child)), flags),
            Ok(WaitStatus::StillAlive)
        )
    }

    /// Whether the child has ended; here this also waits for it.
    #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
    pub(crate) fn has_exited(child: &mut Child) -> bool {
        !matches!(child.try_wait(), Ok(None))
    }

    #[cfg(target_os = "linux")]
    pub(crate) use super::linux::{
        Mark, SETTLING, default_signals, is_at_rest, left, may_be_ending, members, sweep,
    };

    #[cfg(not(target_os = "linux"))]
    pub(crate) use super::blind::{Mark, SETTLING, is_at_rest, left, may_be_ending, members};

    /// Nothing needs to be done, or nothing can be without unsafe code.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn default_signals(command: Command) -> Command {
        command
    }

    /// Elsewhere a process that left the group cannot be found.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn sweep(_mark: &Mark, _group: u32, _deadline: &Deadline) -> usize {
        0
    }
}

#[cfg(not(unix))]
mod imp {
    use std::process::{Child, Command};

    pub(crate) use super::blind::{Mark, SETTLING, is_at_rest, left, may_be_ending, members};
    use super::{Signal, Whom};
    use crate::deadline::Deadline;

    pub(crate) fn isolate(_command: &mut Command) {}

    pub(crate) fn send(leader: &mut Child, _signal: Signal, _whom: Whom) {
        kill_all(leader);
    }

    pub(crate) fn kill_all(leader: &mut Child) {
        // It fails only when the child has ended.
        let _ = leader.kill();
    }

    pub(crate) fn has_exited(child: &mut Child) -> bool {
        !matches!(child.try_wait(), Ok(None))
    }

    pub(crate) fn default_signals(command: Command) -> Command {
        command
    }

    pub(crate) fn sweep(_mark: &Mark, _group: u32, _deadline: &Deadline) -> usize {
        0
    }

    pub(crate) fn has_members(_group: u32) -> bool {
        false
    }
}

/// Where nothing tells that a process is about to end.
#[cfg(not(target_os = "linux"))]
mod blind {
    use std::process::Child;
    use std::time::Duration;

    /// How long to wait for an end that may be coming.
    pub(crate) const SETTLING: Duration = Duration::from_millis(100);

    pub(crate) fn may_be_ending(_child: &Child) -> bool {
        true
    }

    /// Nothing tells that it is not.
    pub(crate) fn is_at_rest(_mark: &Mark, _group: u32) -> bool {
        true
    }

    /// Nothing tells them.
    pub(crate) fn members(_group: u32) -> Option<Vec<i32>> {
        None
    }

    pub(crate) fn left(_mark: &Mark, _group: u32) -> Option<usize> {
        None
    }

    /// Nobody can look for it.
    #[derive(Debug)]
    pub(crate) struct Mark;

    impl Mark {
        pub(crate) fn new(_variable: &str, _value: &str) -> Mark {
            Mark
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::fs::{self, File};
    use std::io::Read;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};
    use std::sync::OnceLock;
    use std::time::Duration;

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use crate::deadline::{Backoff, Deadline};
    use crate::tunnel::programs::environment;

    /// How long to wait for an end that is surely coming.
    pub(crate) const SETTLING: Duration = Duration::from_secs(5);

    /// How long a process may take from the end of its old program to the beginning of its new one. One that
    /// has wiped its arguments and its environment looks like it.
    const EXEC_LIMIT: Duration = Duration::from_secs(1);

    /// How often a process with arguments must have no environment to be one without.
    const EMPTY: usize = 5;

    /// How often at most to look for processes that left their group.
    const SWEEPS: usize = 10;

    /// Fewer than there are ids of processes on any system: 32,768 and more.
    const FEW: u64 = 16_000;

    const RESET: &str = "--default-signal=HUP,INT,QUIT,TERM";

    /// A child inherits what its parent ignores: started from a background job of a shell, INT; from
    /// `nohup`, HUP. It would then not stop as its users know it. Resetting that between fork and
    /// exec needs unsafe code, so coreutils' `env` does it for us, when it has to be done.
    pub(crate) fn default_signals(command: Command) -> Command {
        static WRAP: OnceLock<bool> = OnceLock::new();
        let wrap = *WRAP.get_or_init(|| {
            let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
            ignores_any(&status) && env_can_reset()
        });
        // A missing program must be an error of spawning, not env's exit status.
        match wrap && is_there(&command) {
            true => wrapped(&command),
            false => command,
        }
    }

    /// Whether one of the four signals that end a program is ignored, by the mask in `status`.
    pub(super) fn ignores_any(status: &str) -> bool {
        let mask = status
            .lines()
            .find_map(|line| line.strip_prefix("SigIgn:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        let ending = [
            Signal::SIGHUP,
            Signal::SIGINT,
            Signal::SIGQUIT,
            Signal::SIGTERM,
        ];
        ending.iter().any(|s| mask & (1 << (*s as u32 - 1)) != 0)
    }

    fn env_can_reset() -> bool {
        let quiet = || Stdio::null();
        let tried = Command::new("env")
            .args([RESET, "true"])
            .stdin(quiet())
            .stdout(quiet())
            .stderr(quiet())
            .status();
        tried.is_ok_and(|status| status.success())
    }

    fn is_there(command: &Command) -> bool {
        let program = Path::new(command.get_program());
        if program.components().count() > 1 {
            return program.exists();
        }
        let own = command.get_envs().find(|(key, _)| *key == "PATH");
        let path = match own {
            Some((_, value)) => value.map(OsStr::to_owned),
            None => std::env::var_os("PATH"),
        };
        path.is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).is_file()))
    }

    pub(super) fn wrapped(command: &Command) -> Command {
        let before = [OsStr::new(RESET), command.get_program()];
        environment::again(command, OsStr::new("env"), &before)
    }

    /// Whether a process is ending or has ended: the kernel gives its memory back before it closes its
    /// files, so whoever sees a connection closed by that finds no memory.
    pub(crate) fn may_be_ending(child: &Child) -> bool {
        has_no_memory(child.id().cast_signed())
    }

    fn has_no_memory(pid: i32) -> bool {
        let pages = fs::read_to_string(format!("/proc/{pid}/statm"));
        pages.is_ok_and(|pages| pages.starts_with("0 "))
    }

    /// Kills every process outside `group` that bears the mark, waits for their end, and gives their number:
    /// those that left the group by `setsid`, as a daemon does.
    pub(crate) fn sweep(mark: &Mark, group: u32, deadline: &Deadline) -> usize {
        let mut killed = Vec::new();
        let mut buffer = Vec::new();
        let exec = in_exec(deadline.remaining());
        // Again until nothing new is found: one may start another while we look.
        for _ in 0..SWEEPS {
            let before = killed.len();
            for pid in mark.processes_since(group) {
                let is_one = mark.is_on(pid, &mut buffer, &exec) && !is_in(pid, group);
                if is_one
                    && kill(Pid::from_raw(pid), Signal::SIGKILL).is_ok()
                    && !killed.contains(&pid)
                {
                    killed.push(pid);
                }
            }
            if killed.len() == before {
                break;
            }
        }
        let mut pause = Backoff::new(Duration::from_millis(1));
        while !killed.iter().all(|pid| has_ended(*pid)) && !deadline.expired() {
            pause.sleep(deadline);
        }
        killed.len()
    }

    /// The processes of a group; `None` where the system does not tell.
    pub(crate) fn members(group: u32) -> Option<Vec<i32>> {
        Some(processes().filter(|pid| is_in(*pid, group)).collect())
    }

    /// How many processes run that bear the mark or belong to `group`, beside its leader.
    pub(crate) fn left(mark: &Mark, group: u32) -> Option<usize> {
        let mut buffer = Vec::new();
        let exec = in_exec(EXEC_LIMIT);
        let others = mark.processes_since(group);
        let others = others.filter(|pid| pid.cast_unsigned() != group);
        // One that has ended and was not waited for stays in its group, and has no environment.
        let runs = |pid: &i32| {
            mark.is_on(*pid, &mut buffer, &exec) || (is_in(*pid, group) && !has_ended(*pid))
        };
        Some(others.filter(runs).count())
    }

    /// Whether every thread of a group waits for something.
    pub(crate) fn is_at_rest(mark: &Mark, group: u32) -> bool {
        let waits = |thread: fs::DirEntry| {
            let state = read_stat(&thread.path().join("stat"));
            state.is_none_or(|(state, _)| !matches!(&*state, "R" | "D"))
        };
        let mut members = mark.processes_since(group).filter(|pid| is_in(*pid, group));
        members.all(|pid| {
            let threads = fs::read_dir(format!("/proc/{pid}/task"));
            threads.into_iter().flatten().flatten().all(waits)
        })
    }

    fn processes() -> impl Iterator<Item = i32> {
        let entries = fs::read_dir("/proc").into_iter().flatten();
        entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
    }

    /// A variable by which all that a program has started is known. It is looked for in the environments
    /// of processes each time that a program ends: so in few of them, by few system calls, and with a
    /// search that the standard library has compiled.
    #[derive(Debug)]
    pub(crate) struct Mark {
        /// Between the bytes that end it and the one before it.
        wanted: String,
        /// How many processes and threads the system had started when the mark was made.
        started: Option<u64>,
    }

    impl Mark {
        /// To be made before the program is started.
        pub(crate) fn new(variable: &str, value: &str) -> Mark {
            Mark {
                wanted: format!("\0{variable}={value}\0"),
                started: started(),
            }
        }

        /// The processes that can have been started since `leader`. Ids are given in turn and from the
        /// lowest again behind the highest, so that most that are older can be told by theirs; unless so
        /// many were given meanwhile that the turn may have come round.
        fn processes_since(&self, leader: u32) -> impl Iterator<Item = i32> {
            let leader = leader.cast_signed();
            let newest = newest().filter(|_| {
                let since = started().zip(self.started).map(|(now, then)| now - then);
                since.is_some_and(|since| since < FEW)
            });
            processes().filter(move |pid| match newest {
                None => true,
                Some(newest) if newest < leader => *pid >= leader || *pid <= newest,
                Some(_) => *pid >= leader,
            })
        }

        /// Someone else's process cannot be read; one that has ended has an empty environment. So has one in
        /// the midst of an exec, which is waited for until `deadline`.
        fn is_on(&self, pid: i32, buffer: &mut Vec<u8>, deadline: &Deadline) -> bool {
            let mut pause = Backoff::new(Duration::from_micros(100));
            let mut empty = 0;
            while empty < EMPTY {
                let length = read_environment(pid, buffer);
                if length > 1 {
                    return String::from_utf8_lossy(&buffer[..length]).contains(&self.wanted);
                }
                match fs::read(format!("/proc/{pid}/cmdline")) {
                    Ok(_) if has_no_memory(pid) || deadline.expired() => return false,
                    // Without arguments too it is in the midst of it (proc(5)).
                    Ok(arguments) if arguments.is_empty() => pause.sleep(deadline),
                    // Its exec may have come to an end between the two looks.
                    Ok(_) => empty += 1,
                    Err(_) => return false,
                }
            }
            false
        }
    }

    /// The time for all processes together that are in the midst of an exec.
    fn in_exec(limit: Duration) -> Deadline {
        Deadline::new(limit.min(EXEC_LIMIT), "processes to start their programs")
    }

    /// The environment of a process behind one byte, for the first variable has none before it; the length
    /// with it.
    fn read_environment(pid: i32, buffer: &mut Vec<u8>) -> usize {
        let mut length = 1;
        let Ok(mut file) = File::open(format!("/proc/{pid}/environ")) else {
            return length;
        };
        loop {
            if buffer.len() < 2 * length {
                buffer.resize((2 * length).max(16 * 1024), 0);
            }
            match file.read(&mut buffer[length..]) {
                Ok(0) | Err(_) => return length,
                Ok(count) => length += count,
            }
        }
    }

    /// How many processes and threads the system has started.
    fn started() -> Option<u64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = |line: &str| line.strip_prefix("processes ")?.trim().parse().ok();
        stat.lines().rev().find_map(line)
    }

    /// The id of the process that was started last.
    fn newest() -> Option<i32> {
        let load = fs::read_to_string("/proc/loadavg").ok()?;
        load.split_whitespace().nth(4)?.parse().ok()
    }

    fn is_in(pid: i32, group: u32) -> bool {
        stat(pid).is_some_and(|(_, of)| of == group.to_string())
    }

    /// Whether it has ended, and closed all that it had open. Its status may wait for whoever adopted it.
    fn has_ended(pid: i32) -> bool {
        stat(pid).is_none_or(|(state, _)| matches!(&*state, "Z" | "X"))
    }

    /// Its state and its group; `None` of one that is not there.
    fn stat(pid: i32) -> Option<(String, String)> {
        read_stat(Path::new(&format!("/proc/{pid}/stat")))
    }

    fn read_stat(path: &Path) -> Option<(String, String)> {
        let stat = fs::read_to_string(path).ok()?;
        // The name stands in parentheses and may hold anything; then state, parent, group.
        let (_, after_name) = stat.rsplit_once(')')?;
        let mut fields = after_name.split_whitespace();
        Some((fields.next()?.to_owned(), fields.nth(1)?.to_owned()))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::linux::{ignores_any, wrapped};

    #[test]
    fn the_mask_of_ignored_signals_is_read() {
        assert!(!ignores_any("SigIgn:\t0000000000001000\n"), "only PIPE");
        assert!(!ignores_any("nothing of it"));
        for signal in [1, 2, 3, 15] {
            let mask = 1u64 << (signal - 1);
            assert!(ignores_any(&format!(
                "SigBlk:\t0\nSigIgn:\t{mask:016x}\nX:\t1"
            )));
        }
    }

    #[test]
    fn a_wrapped_command_keeps_arguments_environment_and_directory() {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $ONE$TWO; pwd; trap"])
            .env("ONE", "1")
            .env_remove("TWO")
            .current_dir("/");
        let output = wrapped(&command).output().unwrap();
        assert_eq!(output.stdout, b"1\n/\n");
    }
}
