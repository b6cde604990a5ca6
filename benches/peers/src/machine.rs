//! What the kernel says about this process and machine, and running a section on one core.

use crate::Options;
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io, thread};

/// Runs a section twice: pinned to one core, by starting this program again under `taskset`, and
/// free. With `--here` once, as it is.
pub fn pinned_and_free(
    section: &str,
    options: Options,
    run: fn(Options) -> io::Result<()>,
) -> io::Result<()> {
    if !options.here {
        let allowed = status("Cpus_allowed_list")?;
        let first: String = allowed.chars().take_while(char::is_ascii_digit).collect();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", &first]).arg(env::current_exe()?);
        pinned.args([section, "--here"]);
        if options.quick {
            pinned.arg("--quick");
        }
        run_to_success(&mut pinned)?;
    }
    println!("\n## {section}, cores {}", status("Cpus_allowed_list")?);
    describe()?;
    run(options)
}

/// The value of a field of `/proc/self/status`.
pub fn status(field: &str) -> io::Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| *name == field)
        .map(|(_, value)| value.trim().to_owned())
        .ok_or_else(|| io::Error::other(format!("no {field} in /proc/self/status")))
}

/// The resident memory of this process in KiB.
pub fn resident_kib() -> io::Result<u64> {
    let text = status("VmRSS")?;
    let number = text.split_whitespace().next().unwrap_or_default();
    number.parse().map_err(io::Error::other)
}

/// Prints what the figures depend on: the processor, and how busy it is with other work.
pub fn describe() -> io::Result<()> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let before = Ticks::now()?;
    thread::sleep(Duration::from_millis(500));
    let busy = Ticks::now()?.busy_since(&before);
    println!("\nProcessor: {model}; busy with other work before the first round: {busy:.0} %");
    Ok(())
}

/// Time of all cores since the machine started, in the kernel's ticks.
struct Ticks {
    idle: u64,
    total: u64,
}

impl Ticks {
    fn now() -> io::Result<Ticks> {
        let stat = fs::read_to_string("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        // "cpu user nice system idle iowait irq softirq steal ..", guests counted in user already.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|ticks| ticks.parse().ok())
            .collect();
        Ok(Ticks {
            idle: ticks.iter().skip(3).take(2).sum(),
            total: ticks.iter().sum(),
        })
    }

    fn busy_since(&self, before: &Ticks) -> f64 {
        let total = (self.total - before.total).max(1) as f64;
        100.0 * (1.0 - self.idle.saturating_sub(before.idle) as f64 / total)
    }
}

/// The names and versions of the peers, from this package's lock file.
pub fn peer_versions() -> String {
    const PEERS: [&str; 6] = [
        "tiny_http",
        "httptest",
        "wiremock",
        "axum",
        "mockito",
        "httpmock",
    ];
    let lock = include_str!("../Cargo.lock");
    PEERS
        .map(|peer| {
            let version = lock
                .split_once(&format!("name = \"{peer}\"\nversion = \""))
                .and_then(|(_, rest)| rest.split('"').next());
            format!("{peer} {}", version.unwrap_or("?"))
        })
        .join(", ")
}

/// Runs a command with our output as its own; an error names the command.
pub fn run_to_success(command: &mut Command) -> io::Result<()> {
    let status = command
        .status()
        .map_err(|error| io::Error::other(format!("running {command:?}: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("{command:?}: {status}")))
    }
}
