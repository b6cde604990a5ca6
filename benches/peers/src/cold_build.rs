//! What a user pays once: a cold `cargo build` of loopback on two cores.

use crate::{Options, machine};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Instant;
use std::{env, fs, io};

const CORES: &str = "0,1";

pub fn run(options: Options) -> io::Result<()> {
    let rounds = options.count(3, 1);
    let variants: [(&str, &[&str]); 2] = [
        ("default features", &[]),
        (
            "--no-default-features (TCP and UDP)",
            &["--no-default-features"],
        ),
    ];
    println!("\n## build, cores {CORES}");
    machine::describe()?;
    machine::run_to_success(&mut cargo(&["fetch", "--locked", "--quiet"]))?;

    let mut seconds = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for ((_, flags), seconds) in variants.iter().zip(&mut seconds) {
            seconds.push(cold(flags, round)?);
        }
    }
    println!("\nCold `cargo build`, all downloaded, median of {rounds}\n");
    println!("| | crates | s |");
    println!("|-|-:|-:|");
    for ((name, flags), mut seconds) in variants.into_iter().zip(seconds) {
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        println!("| {name} | {} | {median:.1} |", crates(flags)?);
    }
    Ok(())
}

/// Seconds for one build into a directory that did not exist.
fn cold(flags: &[&str], round: usize) -> io::Result<f64> {
    let target = Scratch::new(round)?;
    let mut build = Command::new("taskset");
    build.args(["-c", CORES, "timeout", "300", "cargo", "build"]);
    build.args(["--offline", "--locked", "--quiet", "--manifest-path"]);
    build.arg(manifest()).args(flags);
    build.env("CARGO_TARGET_DIR", &target.0);
    build.env_remove("RUSTC_WRAPPER");
    let begin = Instant::now();
    machine::run_to_success(&mut build)?;
    Ok(begin.elapsed().as_secs_f64())
}

/// How many crates a user compiles into their program, loopback included.
fn crates(flags: &[&str]) -> io::Result<usize> {
    let output = cargo(&["tree", "--offline", "-e", "normal", "--prefix", "none"])
        .args(flags)
        .output()?;
    let tree = String::from_utf8_lossy(&output.stdout);
    let names: BTreeSet<&str> = tree
        .lines()
        .map(|line| line.trim_end_matches(" (*)"))
        .filter(|line| !line.is_empty())
        .collect();
    Ok(names.len())
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(arguments)
        .arg("--manifest-path")
        .arg(manifest());
    command
}

fn manifest() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml")
}

/// A new directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new(number: usize) -> io::Result<Scratch> {
        let name = format!("loopback-cold-build-{}-{number}", process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Left-overs in the temporary directory are no reason to fail.
        drop(fs::remove_dir_all(&self.0));
    }
}
