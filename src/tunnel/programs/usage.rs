//! What a program uses of the machine.

use super::group;

/// What all processes of a program's group hold together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) processes: usize,
    /// Open files, sockets among them.
    pub(crate) descriptors: usize,
    /// Memory that is in use and not swapped out, in bytes.
    pub(crate) resident: u64,
}

impl Usage {
    /// Of the group that `leader` leads. `None` where the system does not tell: elsewhere than on Linux,
    /// or of another user's process.
    pub(crate) fn of(leader: u32) -> Option<Usage> {
        let mut usage = Usage {
            processes: 0,
            descriptors: 0,
            resident: 0,
        };
        for pid in group::members(leader)? {
            // One that ends meanwhile holds nothing.
            let Some(one) = of_process(pid) else { continue };
            usage.processes += 1;
            usage.descriptors += one.0;
            usage.resident += one.1;
        }
        (usage.processes > 0).then_some(usage)
    }
}

/// Descriptors and resident memory of one process.
fn of_process(pid: i32) -> Option<(usize, u64)> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some((descriptors, resident(&status)?))
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
    use std::time::Duration;

    use super::*;
    use crate::deadline::Deadline;
    use crate::tunnel::programs::child::Child;

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
