//! The tunnel harness: a real tunnel or proxy program between a test client and a test service.
//!
//! [`TunnelHarness`] finds addresses of this machine that can connect to each other, starts the
//! program for each combination of address families, connects through it as its user would, checks
//! what arrives at both ends, stops the program and reports all of it.
//!
//! ```no_run
//! use loopback::TunnelHarness;
//! use loopback::tunnel::{Socks5, Suite};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let report = TunnelHarness::new(Socks5::template("microsocks -i {listen_ip} -p {listen_port}"))
//!     .suite(Suite::Connectivity)
//!     .run()?;
//! println!("{report}");
//! report.assert_passed();
//! # Ok(())
//! # }
//! ```
//!
//! The command is a [`Template`] or a closure that makes a [`Command`](std::process::Command). Proxies
//! are [`Socks4`], [`Socks4a`], [`Socks5`] and [`HttpConnect`]; [`Forward`] and [`ProxyProtocol`] forward
//! every connection to one place, or every datagram ([`Forward::udp`]); [`Attached`] is any of them that already runs. A program that speaks
//! another protocol is a [`Custom`] kind of closures, or an implementation of [`Tunnel`].
//!
//! Guides: [reading a report](guide::report), [writing a kind](guide::kind), [a suite](guide::suite),
//! [a recipe](guide::recipe).
//!
//! # The program under test
//!
//! The program runs in a process group of its own, with nothing on its input, its output captured,
//! and signals at their defaults. It never outlives the harness, nor does anything that it started:
//! the group gets TERM, and KILL once the program itself has ended or its time is over. On Linux what
//! has left the group is found too, by a variable in its environment. If the test's own process is
//! killed, by Ctrl-C or by any other signal, a shell ends all of that and removes the
//! folders that were made; without `sh` in `PATH`, nobody does.
//!
//! A tunnel may be several programs: a pair of stunnels, an sshd and its client. They are started in
//! order, each when the one before it listens, and ended in the reverse of it.
//!
//! # Checks, suites and verdicts
//!
//! A [`Suite`] is a group of checks. Those of [`Connectivity`](Suite::Connectivity), [`Echo`](Suite::Echo)
//! and [`Udp`](Suite::Udp) are made for each combination of families, all others on the first that the
//! tunnel can do. Each [`Check`] has an id, a statement, the source of that, a [`Strictness`] and an
//! [`Outcome`]. The ids are `connectivity/46/handshake`, where 46 is a client on IPv4 and a service on
//! IPv6, and `closing/client-reset`. They are a stable interface: one that goes or changes is a breaking change of
//! this crate. A statement with [`Strictness::Must`] that
//! does not hold is a failure; any other deviates, and fails only in a
//! [strict](crate::TunnelHarness::strict) run. A program that waits for its client to speak before it connects to the
//! service is told a few words then, which are taken away again at the service. What is known of a program is said with
//! [`known_deviation`](crate::TunnelHarness::known_deviation) or [`skip`](crate::TunnelHarness::skip), with a reason.
//!
//! Two checks are in the report only where they fail, and then all others of their suite are skipped:
//! `start`, that the program listens at all (in [`Suite::Connectivity`] always), and `ordinary`, that
//! an ordinary connection works, without which the other checks of some suites say nothing.
//!
//! [`Suite::Behaviour`] judges nothing: what the standards leave open is recorded under names that stay
//! the same, for [`Report::behaviour`].
//!
//! # The report as JSON
//!
//! [`Report::to_json`] gives one object. All numbers are whole; times are in nanoseconds (`_ns`). New
//! keys may come without a new version.
//!
//! | key | value |
//! |-|-|
//! | `schema`, `version` | `"loopback-tunnel-report"`, 1 |
//! | `tunnel` | the tunnel's name |
//! | `success` | what [`Report::is_success`] gives |
//! | `strict`, `seed` | as the run was told |
//! | `elapsed_ns` | the run's duration |
//! | `total` | the whole run as a suite, with the tunnel's name |
//! | `suites` | a list of suites |
//! | `expectations` | a list of `pattern`, `reason`, `state` (`met`, `gone`, `unused`) |
//! | `warnings` | a list of texts: what is to be known of the run itself |
//! | `checks` | a list of checks, in the order of the suites |
//!
//! Each suite:
//!
//! | key | value |
//! |-|-|
//! | `name` | the first part of its checks' ids |
//! | `outcome` | the gravest of its checks, as [`SuiteSummary::outcome`] gives it |
//! | `counts` | the number of checks by outcome: `passed`, `failed`, `deviates`, `unsupported`, `skipped`, `not_run` |
//! | `elapsed_ns` | the sum of its checks' durations |
//! | `bytes`, `connections` | the sums of its checks' |
//! | `throughput`, `latency` | as of a check, the worst of them; or `null` |
//!
//! Each check:
//!
//! | key | value |
//! |-|-|
//! | `id`, `group` | the id, and its part that is common to all that ran on one combination of families |
//! | `round` | which repetition of the run, from 1 on |
//! | `statement`, `source` | what must hold, and who says so: `RFC 1928, section 6`, `harness` |
//! | `strictness` | `MUST`, `SHOULD`, `MAY` or `harness` |
//! | `outcome` | `passed`, `failed`, `deviates`, `unsupported`, `skipped` or `not run` |
//! | `message` | why it did not pass, or empty |
//! | `route` | `null`, or the addresses `listen`, `service` (with port), `client`, `outgoing` (without) |
//! | `elapsed_ns` | its duration |
//! | `notes` | a list of texts: what was seen and is not judged |
//! | `measures` | `bytes` (of payload), `connections`, `throughput` (bytes a second, or `null`), `latency` (`null`, or `count`, `p50_ns`, `p99_ns`, `max_ns`), `records` (a list of `name`, `value`) |
//! | `failure` | `null`, or `sent`, `expected`, `received`, and `programs`: a list of `name`, `command`, `exit` (how it ended) and `output` (the last of it), in the order of their start |
//!
//! `sent`, `expected` and `received` are `null`, or bytes: `length` is how many the report has (see
//! [`Failure`]), `hex` and `text` (with escapes) hold at most 4096 of them, which begin at byte `from`.
//!
//! # Implementation notes
//!
//! - The layers, each of which imports only those before it (`tests/it/layers.rs` keeps it so): `report`, with
//!   `route`, `error` and `json`, is what a run says; `core` is what all know: requirements, how a check fails,
//!   options, families; `ends` are the test's client and service and what they say to each other; `programs`
//!   start and end what runs, and know nothing of `ends`; `link` is a tunnel, started, and the ways through
//!   it; `kinds` are the tunnels that are ready-made; `check` is what checks are made of; `suites` hold them,
//!   and know a kind by its trait only; `run` makes and judges them; `harness` is the builder. `guide` is text.
//! - Where to change what. A check: a line in its suite, `suites/<name>.rs`; of a protocol in
//!   `suites/conformance`, with the statement that it shows in `suites/statements.rs`. A suite: a file,
//!   named in `suites/mod.rs`. A kind: a file in `kinds`, what it speaks in `src/proto`, a [`Kind`], and its
//!   suite in `suites/conformance/mod.rs`. An option: a method in `harness.rs` and a field in
//!   `core/options.rs`; if checks come out otherwise by it, a member of the header in `run/journal.rs`. A
//!   placeholder: a line in `programs/template.rs`. A key of the JSON: `report/json.rs`, and the tables
//!   above. What a verdict rests on: a mutation of `examples/mutant_proxy`, and its row in
//!   `tests/it/tunnel/mutant/table`; what real programs do is in `tests/programs/recipes`.
//! - A suite is a list of definitions (`check::definition`). Their bodies work with a context
//!   (`check::context`) and return what they saw; `run` starts programs, makes checks side by side, and judges
//!   by strictness and the run's options (`run::recorder`).
//! - Checks of a group share a process in turn, one process a thread, never at the same time: with a
//!   forwarder all connections come to the same service, where nothing tells them apart.
//! - The program's port is chosen outside the kernel's ephemeral range, so that nobody's `bind` to
//!   port 0 and nobody's `connect` takes it before the program does, and leased between all harnesses
//!   of the machine.
//! - The first connection is the one that finds the program ready: a forwarder passes every
//!   connection on, so one that only looks would disturb the service.
//! - For the same reason a program in the middle of a chain is not connected to: on Linux the kernel is
//!   asked whether it listens.
//! - Each check reads no more bytes than are due to it, so a byte too many always fails the same
//!   check, however the bytes were cut into segments. At the end both ends are read to the end.
//! - What the program writes goes through one pipe, of which we hold a writing end too: an end mark
//!   through it ends the reading, whoever else still holds the pipe.

mod check;
mod core;
mod ends;
mod error;
#[cfg(any(doc, doctest))]
pub mod guide;
mod harness;
mod json;
mod kinds;
mod link;
mod programs;
mod report;
mod route;
mod run;
mod suites;

pub use self::core::family::Family;
pub use self::core::options::Sizes;
pub use ends::proxy_header::ProxyHeader;
pub use error::{Error, ErrorKind};
pub use harness::TunnelHarness;
pub use kinds::attached::Attached;
pub use kinds::custom::Custom;
pub use kinds::forward::Forward;
pub use kinds::http_connect::HttpConnect;
pub use kinds::proxy_protocol::ProxyProtocol;
pub use kinds::socks4::{Socks4, Socks4a};
pub use kinds::socks5::Socks5;
pub use link::running_tunnel::{RunningTunnel, RunningTunnelBuilder, TunnelService};
pub use link::socks5::{BoundPort, UdpAssociation};
pub use link::tunnel::{ReadWrite, Running, Tunnel};
pub use programs::group::Signal;
pub use programs::setup::{Program, Setup};
pub use programs::template::Template;
pub use report::{
    Check, Counts, Ended, Expectation, ExpectationState, Failure, Latency, Measures, Outcome,
    Progress, Report, Strictness, SuiteSummary,
};
pub use route::{Kind, Route, Target};
pub use suites::Suite;
