//! Figures of loopback's servers beside other test servers and hand-written std loops.
//! `benches/README.md` says how to run each section and what it shows.

mod client;
mod cold_build;
mod echo;
mod http;
mod idle;
mod instructions;
mod loopback_servers;
mod machine;
mod mail_client;
mod measure;
mod peer_servers;
mod smtp;
mod std_servers;
mod subject;
mod tunnel;

use std::process::ExitCode;
use std::{env, io};

const USAGE: &str = "\
usage: peers [SECTION..] [--quick] [--here]

sections (all of them when none is named):
  http     start + GET + stop; GETs on one kept connection; 16 connections at once
  echo     TCP and UDP echo against hand-written std loops
  idle     5,000 idle kept-alive connections: resident memory, and each answered again
  smtp     messages a second under Postfix's smtp-source, beside its smtp-sink
  instructions
           what a request, a server's life, a datagram and a message take, by valgrind's callgrind
  tunnel   the harness beside Python's test-tunnel, iperf3 and a loop written by hand
  build    cold `cargo build` of loopback on two cores

options:
  --quick  fewer rounds and smaller counts: to see that it works, not to quote
  --here   measure http and echo once under the affinity given by the caller,
           in place of once pinned to one core and once free";

/// What the command line asks of every section.
#[derive(Clone, Copy, Debug)]
struct Options {
    quick: bool,
    here: bool,
}

impl Options {
    /// The full count, or the small one under `--quick`.
    fn count(self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> io::Result<()> {
    // Children of the sections idle and instructions: this program started again.
    match arguments {
        [child, name, count] if child == idle::SERVER_CHILD => return idle::server(name, count),
        [child, address, count] if child == idle::CLIENT_CHILD => {
            return idle::client(address, count);
        }
        [child, operation, server, count] if child == instructions::CHILD => {
            return instructions::child(operation, server, count);
        }
        _ => {}
    }

    let (flags, mut sections): (Vec<&str>, Vec<&str>) = arguments
        .iter()
        .map(String::as_str)
        .partition(|argument| argument.starts_with('-'));
    let mut options = Options {
        quick: false,
        here: false,
    };
    for flag in flags {
        match flag {
            "--quick" => options.quick = true,
            "--here" => options.here = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => return Err(io::Error::other(format!("unknown option {flag}\n{USAGE}"))),
        }
    }
    if sections.is_empty() {
        sections = vec![
            "http",
            "echo",
            "idle",
            "smtp",
            "instructions",
            "tunnel",
            "build",
        ];
    }
    for section in sections {
        match section {
            "http" => machine::pinned_and_free("http", options, http::run)?,
            "echo" => machine::pinned_and_free("echo", options, echo::run)?,
            "idle" => idle::run(options)?,
            "smtp" => smtp::run(options)?,
            "instructions" => instructions::run(options)?,
            "tunnel" => tunnel::run(options)?,
            "build" => cold_build::run(options)?,
            _ => {
                return Err(io::Error::other(format!(
                    "unknown section {section}\n{USAGE}"
                )));
            }
        }
    }
    Ok(())
}
