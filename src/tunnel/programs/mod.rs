//! All programs of one tunnel: started in order, ended in the reverse of it.

pub(crate) mod child;
#[cfg(unix)]
pub(crate) mod cleanup;
pub(crate) mod client;
pub(crate) mod environment;
pub(crate) mod group;
pub(crate) mod listening;
pub(crate) mod output;
pub(crate) mod port;
pub(crate) mod setup;
pub(crate) mod template;
pub(crate) mod usage;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use crate::deadline::Backoff;
use crate::deadline::Deadline;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::error::Error;
use crate::tunnel::report::Ended;
use child::{Child, ExitReport, SignalReport, describe};
use group::{Signal, Whom};
use setup::{Program, Setup};

/// The most of a line of output that a message has, in characters.
const LONGEST_LINE: usize = 200;

/// The programs of a tunnel, or none of one that already runs.
#[derive(Debug)]
pub(crate) struct Programs {
    started: Vec<Child>,
    waiting: VecDeque<Program>,
    /// Where the last one that was started must listen before the next may be.
    listens_on: Option<SocketAddr>,
    /// What they need to the end; so it comes last, for fields are dropped in their order.
    setup: Option<Setup>,
}

impl Programs {
    /// None: the tunnel already runs.
    pub(crate) fn none() -> Programs {
        Programs {
            started: Vec::new(),
            waiting: VecDeque::new(),
            listens_on: None,
            setup: None,
        }
    }

    /// Starts the first of `programs`, which `setup` was made for. What follows it is started by
    /// [`Programs::start_rest`].
    pub(crate) fn start(setup: Setup, programs: Vec<Program>) -> Result<Programs, Error> {
        let mut all = Programs::none();
        all.setup = Some(setup);
        all.waiting = programs.into();
        if let Some(first) = all.waiting.pop_front() {
            all.spawn(first)?;
        }
        Ok(all)
    }

    /// Starts the others, each when the one before it is ready.
    pub(crate) fn start_rest(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        while let Some(next) = self.waiting.pop_front() {
            if let Some(address) = self.listens_on {
                self.wait_until_listening(address, deadline)?;
            }
            self.spawn(next)
                .map_err(|error| CheckError::failed(error.to_string()))?;
        }
        Ok(())
    }

    /// The process ids of those that were started, in the order of that.
    pub(crate) fn ids(&self) -> Vec<u32> {
        self.started.iter().map(Child::id).collect()
    }

    /// The last of what they wrote; with their names if there are several.
    pub(crate) fn output(&self) -> String {
        match &self.started[..] {
            [one] => one.output(),
            several => {
                let named = |child: &Child| format!("{}:\n{}", child.name(), child.output());
                several.iter().map(named).collect::<Vec<_>>().join("\n")
            }
        }
    }

    /// Sends each of them a signal, and all that they have started, the last one first. Waits for nothing.
    pub(crate) fn signal(&mut self, signal: Signal) {
        for child in self.started.iter_mut().rev() {
            child.signal(signal);
        }
    }

    /// Whether nothing was started, as the tunnel already runs.
    pub(crate) fn is_foreign(&self) -> bool {
        self.started.is_empty()
    }

    /// The process id of the last one, which is the one that the client connects to; 0 if there is none.
    pub(crate) fn id(&self) -> u32 {
        self.started.last().map_or(0, Child::id)
    }

    /// How long ago the first one was started.
    pub(crate) fn age(&self) -> Duration {
        self.started.first().map_or(Duration::ZERO, Child::age)
    }

    /// Whether any of them has ended.
    pub(crate) fn has_exited(&mut self) -> bool {
        self.started.iter_mut().any(|child| child.has_exited())
    }

    /// Sends each of them a signal, the last one first as in [`Programs::stop`], and waits for the end
    /// of each before the next is told; for all no longer than `limit`. What became of them together:
    /// they have ended when each has, and by themselves when any has. The first call counts.
    pub(crate) fn send_signal(
        &mut self,
        signal: Signal,
        whom: Whom,
        limit: Duration,
    ) -> SignalReport {
        let deadline = Deadline::new(limit, "the programs to end");
        let mut all = SignalReport {
            signal,
            by_itself: false,
            ended: true,
            elapsed: Duration::ZERO,
        };
        let by_itself = self.exited();
        for (child, by_itself) in self.started.iter_mut().zip(by_itself).rev() {
            let signalled = child.send_signal(signal, whom, deadline.remaining(), by_itself);
            all.signal = signalled.signal;
            all.by_itself |= signalled.by_itself;
            all.ended &= signalled.ended;
            all.elapsed += signalled.elapsed;
        }
        all
    }

    /// See [`Child::descendants_end`]; of all programs together.
    pub(crate) fn descendants_end(&self, deadline: &Deadline) -> Option<usize> {
        let left = self.started.iter().map(|c| c.descendants_end(deadline));
        left.sum()
    }

    /// Ends them and all that they started, the last one first. Takes no longer than `grace` and what
    /// the kernel needs. A second call only gives the same ends again.
    pub(crate) fn stop(&mut self, grace: Duration) -> Vec<ExitReport> {
        let deadline = Deadline::new(grace, "the programs to end");
        let several = self.started.len() > 1;
        let by_itself = self.exited();
        let mut ends = Vec::new();
        for (child, by_itself) in self.started.iter_mut().zip(by_itself).rev() {
            let mut end = child.stop_judged(deadline.remaining(), by_itself);
            if several {
                end.who = child.name().to_owned();
            }
            ends.push(end);
        }
        ends.reverse();
        ends
    }

    /// Ends them as [`Programs::stop`] does, and tells all about each in words.
    pub(crate) fn explain(&mut self, grace: Duration) -> Vec<Ended> {
        let ends = self.stop(grace);
        let each = self.started.iter().zip(ends);
        each.map(|(child, end)| Ended {
            name: child.name().to_owned(),
            command: child.command().to_owned(),
            exit: end.how(),
            output: child.output(),
        })
        .collect()
    }

    /// Ends them, and tells how those had ended that nobody told to, and what they said last: `exited with
    /// status 1: "no such file"`.
    pub(crate) fn deaths(&mut self, grace: Duration) -> String {
        let ends = self.stop(grace);
        let each = self.started.iter().zip(&ends);
        let died = each.filter(|(_, end)| end.by_itself).map(|(child, end)| {
            let how = end.named(&end.status.map_or("it is gone".to_owned(), describe));
            let how = match last_line(&child.output()) {
                Some(line) => format!("{how}: {line:?}"),
                None => how,
            };
            let well = end.status.is_some_and(|status| status.success());
            match well && end.left > 0 {
                false => how,
                true => format!(
                    "{how}; it has gone to the background, and must be told to stay in the foreground"
                ),
            }
        });
        died.collect::<Vec<_>>().join("; ")
    }

    /// Whether nothing of them works.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.started.iter().all(Child::is_at_rest)
    }

    /// See [`Child::settle`].
    pub(crate) fn settle(&mut self) {
        self.started.iter_mut().for_each(Child::settle);
    }

    /// Which have ended. Before any is told to: the end of one may well end the others.
    fn exited(&mut self) -> Vec<bool> {
        self.started.iter_mut().map(Child::has_exited).collect()
    }

    fn spawn(&mut self, program: Program) -> Result<(), Error> {
        let child = Child::spawn(environment::prepare(program.command))?;
        self.started.push(child);
        self.listens_on = program.listens_on;
        Ok(())
    }

    fn wait_until_listening(
        &mut self,
        address: SocketAddr,
        deadline: &Deadline,
    ) -> Result<(), CheckError> {
        let mut pause = Backoff::new(Duration::from_millis(1));
        while !listening::is_at(address) {
            let name = self.started.last().map_or("the program", Child::name);
            if deadline.expired() {
                let after = deadline.elapsed();
                let elsewhere = listening::elsewhere(self.id(), address);
                let text =
                    format!("{name} does not listen on {address} after {after:.1?}{elsewhere}");
                return Err(CheckError::failed(text));
            }
            let name = name.to_owned();
            if self.has_exited() {
                let text = format!("a program ended before {name} listened on {address}");
                return Err(CheckError::failed(text));
            }
            pause.sleep(deadline);
        }
        Ok(())
    }
}

/// The last line of an output that says something, or its beginning.
fn last_line(output: &str) -> Option<String> {
    let mut lines = output.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty())?;
    match line.char_indices().nth(LONGEST_LINE) {
        Some((at, _)) => Some(format!("{}…", &line[..at])),
        None => Some(line.to_owned()),
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        while self.started.pop().is_some() {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::process::Command;

    use super::*;
    use crate::tunnel::core::ports::Ports;
    use crate::tunnel::programs::port::Lease;
    use crate::tunnel::route::Route;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Program {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Program::new(command)
    }

    fn programs(all: Vec<Program>) -> Programs {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let route = Route {
            listen: any,
            service: any,
            client: any.ip(),
            outgoing: any.ip(),
        };
        Programs::start(Setup::new(route, Ports::default()), all).unwrap()
    }

    fn message(error: CheckError) -> String {
        match error {
            CheckError::Failed(message, _) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_is_started_when_the_one_before_it_listens() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = listener.local_addr().unwrap();
        let first = shell("echo one; exec sleep 1000").listens_on(there);
        let mut both = programs(vec![first, shell("echo two; exec sleep 1000")]);
        assert_eq!(both.started.len(), 1);
        let deadline = Deadline::new(LIMIT, "the programs");
        both.start_rest(&deadline).unwrap();
        for (child, text) in both.started.iter().zip(["one\n", "two\n"]) {
            while child.output() != text {
                deadline.check().unwrap();
                std::thread::yield_now();
            }
        }
        let ends = both.stop(LIMIT);
        let starts = |end: &ExitReport| end.describe().starts_with("sh: killed by signal 15, ");
        assert!(ends.len() == 2 && ends.iter().all(starts), "{ends:?}");
        let signalled = both.explain(LIMIT);
        for (ended, word) in signalled.iter().zip(["one", "two"]) {
            assert_eq!(ended.name, "sh");
            assert_eq!(
                ended.command,
                format!("sh -c 'echo {word}; exec sleep 1000'")
            );
            assert!(ended.exit.starts_with("killed by signal 15, "), "{ended:?}");
            assert_eq!(ended.output, format!("{word}\n"));
        }
        assert_eq!(signalled.len(), 2);
    }

    #[test]
    fn one_that_never_listens_or_ends_is_named() {
        let lease = Lease::take(Ipv4Addr::LOCALHOST.into(), &Ports::default()).unwrap();
        let nowhere = lease.addr();
        let first = shell("exec sleep 1000").listens_on(nowhere);
        let mut both = programs(vec![first, shell("exit 0")]);
        let deadline = Deadline::new(Duration::from_millis(20), "the programs");
        let text = message(both.start_rest(&deadline).unwrap_err());
        let due = format!("sh does not listen on {nowhere} after ");
        assert!(text.starts_with(&due), "{text}");

        let mut both = programs(vec![shell("exit 3").listens_on(nowhere), shell("exit 0")]);
        let deadline = Deadline::new(LIMIT, "the programs");
        let text = message(both.start_rest(&deadline).unwrap_err());
        assert_eq!(
            text,
            format!("a program ended before sh listened on {nowhere}")
        );
        assert_eq!(
            both.stop(LIMIT)[0].describe(),
            "exited with status 3, by itself"
        );
    }

    #[test]
    fn what_ends_because_another_was_told_to_has_not_ended_by_itself() {
        let dir = std::env::temp_dir().join(format!("loopback-fifo-{}", std::process::id()));
        let fifo = dir.to_str().unwrap();
        assert!(Command::new("mkfifo").arg(fifo).status().unwrap().success());
        // The first one ends when the second one closes the pipe.
        let mut both = programs(vec![
            shell(&format!("echo reads; exec cat {fifo}")),
            shell(&format!("exec 3>{fifo}; echo open; exec sleep 1000")),
        ]);
        let deadline = Deadline::new(LIMIT, "the programs");
        both.start_rest(&deadline).unwrap();
        while both.started[1].output() != "open\n" {
            deadline.check().unwrap();
            std::thread::yield_now();
        }
        let ends = both.stop(LIMIT);
        std::fs::remove_file(fifo).unwrap();
        assert!(!ends[0].by_itself && !ends[1].by_itself, "{ends:?}");
    }

    #[test]
    fn a_signal_reaches_each_of_them_and_the_first_one_counts() {
        // The other one starts when it can be told; only INT gives these statuses.
        let traps = |status| {
            shell(&format!(
                "trap 'exit {status}' INT; echo ready; while :; do sleep 0.01; done"
            ))
        };
        let mut both = programs(vec![traps(3), traps(4)]);
        let deadline = Deadline::new(LIMIT, "the programs");
        both.start_rest(&deadline).unwrap();
        for child in &both.started {
            while child.output() != "ready\n" {
                deadline.check().unwrap();
                std::thread::yield_now();
            }
        }
        let signalled = both.send_signal(Signal::Int, Whom::Leader, LIMIT);
        assert!(signalled.ended && !signalled.by_itself, "{signalled:?}");
        assert_eq!(both.descendants_end(&deadline), Some(0));
        let again = both.send_signal(Signal::Kill, Whom::Group, LIMIT);
        assert_eq!(
            (again.signal, again.elapsed),
            (Signal::Int, signalled.elapsed)
        );
        let texts: Vec<String> = both.stop(LIMIT).iter().map(ExitReport::describe).collect();
        for (text, status) in texts.iter().zip([3, 4]) {
            let due = format!("sh: exited with status {status}, ");
            assert!(
                text.starts_with(&due) && text.ends_with(" after INT"),
                "{text}"
            );
        }
    }
}
