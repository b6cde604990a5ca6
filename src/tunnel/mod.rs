//! The tunnel harness: a real tunnel or proxy program between a test client and a test service.
//!
//! [`TunnelHarness`] finds addresses of this machine that can connect to each other, starts the
//! program for each combination of address families, connects through it as its user would, checks
//! what arrives at both ends, stops the program and reports all of it.
//!
//! ```no_run
//! use std::process::Command;
//!
//! use loopback::TunnelHarness;
//! use loopback::tunnel::{Socks5, Suite};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = TunnelHarness::new(Socks5::spawn(|route| {
//!         let mut microsocks = Command::new("microsocks");
//!         microsocks.args(["-i", &route.listen.ip().to_string(), "-p", &route.listen.port().to_string()]);
//!         microsocks
//!     }))
//!     .suite(Suite::Connectivity)
//!     .run()?;
//! println!("{report}");
//! report.assert_passed();
//! # Ok(())
//! # }
//! ```
//!
//! A program that speaks another protocol is one implementation of [`Tunnel`] away.
//!
//! # The program under test
//!
//! The program runs in a process group of its own, with nothing on its input, its output captured,
//! and signals at their defaults. It never outlives the harness, nor does anything that it started:
//! the group gets TERM, and KILL once the program itself has ended or its time is over. On Linux what
//! has left the group is found too, by a variable in its environment. Only if the test's own process
//! is killed, by Ctrl-C for instance, nobody is left to end the program.
//!
//! # Implementation notes
//!
//! - The program's port is chosen outside the kernel's ephemeral range, so that nobody's `bind` to
//!   port 0 and nobody's `connect` takes it before the program does, and leased between all harnesses
//!   of the machine.
//! - The first connection is the one that finds the program ready: a forwarder passes every
//!   connection on, so one that only looks would disturb the service.
//! - Each check reads no more bytes than are due to it, so a byte too many always fails the same
//!   check, however the bytes were cut into segments. At the end both ends are read to the end.
//! - What the program writes goes through one pipe, of which we hold a writing end too: an end mark
//!   through it ends the reading, whoever else still holds the pipe.

mod address;
mod book;
mod child;
mod connectivity;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
mod conversation;
mod error;
mod forward;
mod glob;
mod group;
mod harness;
mod journal;
mod json;
mod options;
mod output;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
mod plan;
mod port;
mod program;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
mod random;
mod report;
mod route;
mod run;
mod sequence;
mod service;
mod socks5;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
mod stream;
mod suite;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
mod trial;

pub use address::Family;
pub use error::{Error, ErrorKind};
pub use forward::Forward;
pub use harness::TunnelHarness;
pub use options::Sizes;
pub use report::{
    Check, Counts, Expectation, ExpectationState, Failure, Latency, Measures, Outcome, Report,
    Strictness, SuiteSummary,
};
pub use route::{Route, Target, Tunnel};
pub use socks5::Socks5;
pub use stream::Stream;
pub use suite::Suite;

use conversation::Stop;
