//! What a program uses of the machine.

use std::time::Duration;

use super::group;

/// What all processes of a program's group hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    pub(crate) threads: usize,
    /// Open files, sockets among them.
    pub(crate) descriptors: usize,
    /// Memory that is in use and not swapped out, in bytes.
    pub(crate) resident: u64,
    /// Time on a processor, of the processes that still run; in hundredths of a second.
    pub(crate) processor: Duration,
}

impl Usage {
    /// Of the group that `leader` leads. `None` where the system does not tell: elsewhere than on Linux,
    /// or of another user's process.
    pub(crate) fn of(leader: u32) -> Option<Usage> {
        let mut usage = Usage {
            processes: 0,
            threads: 0,
            descriptors: 0,
            resident: 0,
            processor: Duration::ZERO,
        };
        for pid in group::members(leader)? {
            // One that ends meanwhile holds nothing.
            let Some(one) = of_process(pid) else { continue };
            usage.processes += 1;
            usage.threads += one.threads;
            usage.descriptors += one.descriptors;
            usage.resident += one.resident;
            usage.processor += one.processor;
        }
        (usage.processes > 0).then_some(usage)
    }

    /// What must not grow by connection, in words: `12 descriptors, 3 threads in 1 process`.
    pub(crate) fn held(&self) -> String {
        let processes = match self.processes {
            1 => "1 process".to_owned(),
            more => format!("{more} processes"),
        };
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            more => format!("{more} threads"),
        };
        format!("{} descriptors, {threads} in {processes}", self.descriptors)
    }
}

fn of_process(pid: i32) -> Option<Usage> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(Usage {
        processes: 1,
        threads,
        descriptors,
        resident: resident(&status)?,
        processor: processor(&stat)?,
    })
}

/// `utime` and `stime` of a stat file. Their unit is a hundredth of a second on all systems that Rust has (proc(5),
/// time(7)).
fn processor(stat: &str) -> Option<Duration> {
    // The name stands in parentheses and may hold anything; the twelfth and thirteenth field behind it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields = after_name.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
    Some(Duration::from_millis(10 * ticks))
}

/// `VmRSS` of a status file, in bytes. One that has ended and was not waited for has none.
fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::deadline::Deadline;
    use crate::tunnel::programs::child::Child;

    #[test]
    fn time_on_a_processor_is_that_in_user_and_system_mode() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 100 0 0 0 12 30 5 6 20 0 1 0 99 1 2";
        assert_eq!(processor(stat), Some(Duration::from_millis(420)));
        assert_eq!(processor("no process"), None);
    }

    #[test]
    fn resident_memory_is_read_and_a_zombie_has_none() {
        let status = "Name:\tsh\nVmRSS:\t    1692 kB\nThreads:\t1\n";
        assert_eq!(resident(status), Some(1692 * 1024));
        assert_eq!(resident("Name:\tsh\nState:\tZ (zombie)\n"), None);
    }

    #[test]
    fn all_processes_of_the_group_count_and_an_ended_one_does_not() {
        let mut command = Command::new("sh");
        command.args([
            "-c",
            "exec 9</dev/null; sleep 1000 & sleep 1000 & echo ready; wait",
        ]);
        let mut child = Child::spawn(command).unwrap();
        let deadline = Deadline::new(Duration::from_secs(20), "three processes");
        let usage = loop {
            deadline.check().unwrap();
            match Usage::of(child.id()) {
                Some(usage) if usage.processes == 3 => break usage,
                _ => std::thread::yield_now(),
            }
        };
        // The three standard ones and the one that was opened, each; a fork may hold more for a moment.
        assert!(usage.descriptors >= 12, "{usage:?}");
        assert!(usage.resident > 100_000, "{usage:?}");
        child.stop(Duration::from_secs(20));
        assert_eq!(Usage::of(child.id()), None);
    }
}
