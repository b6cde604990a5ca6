//! The run: its options, and the book in which its checks are written down.

use std::time::{Duration, Instant};
use std::{fmt, io};

use super::address::{Addresses, Family};
use super::connectivity;
use super::conversation::Stop;
use super::error::{Error, ErrorKind};
use super::report::{Check, Failure, Outcome, Report};
use super::{Route, Tunnel};
use crate::deadline::Deadline;

/// The target of log records.
const TARGET: &str = "loopback::tunnel";
/// How long one check may take unless set.
const CHECK_DEADLINE: Duration = Duration::from_secs(10);
/// How long a program may take to end after TERM unless set.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long a run may take unless set.
const DEADLINE: Duration = Duration::from_secs(300);
/// How long a program may take to end after TERM when the run's time is over.
const LAST_GRACE: Duration = Duration::from_secs(1);
/// How long finding addresses may take.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(10);

/// Runs a real tunnel program between a test client and a test service. See the [module](super).
pub struct TunnelHarness {
    tunnel: Box<dyn Tunnel>,
    suites: Vec<Suite>,
    families: Vec<(Family, Family)>,
    interfaces: bool,
    check_deadline: Duration,
    stop_deadline: Duration,
    deadline: Duration,
}

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// The program starts, connects, carries a few bytes both ways, closes and stops, for each
    /// combination of IPv4 and IPv6 on its two sides.
    Connectivity,
}

impl TunnelHarness {
    /// A harness for `tunnel`, with every option at its default.
    pub fn new(tunnel: impl Tunnel + 'static) -> TunnelHarness {
        TunnelHarness {
            tunnel: Box::new(tunnel),
            suites: Vec::new(),
            families: Family::COMBINATIONS.to_vec(),
            interfaces: false,
            check_deadline: CHECK_DEADLINE,
            stop_deadline: STOP_DEADLINE,
            deadline: DEADLINE,
        }
    }

    /// Adds a suite to the run, once. Without any, [`Suite::Connectivity`] is run.
    #[must_use]
    pub fn suite(mut self, suite: Suite) -> TunnelHarness {
        if !self.suites.contains(&suite) {
            self.suites.push(suite);
        }
        self
    }

    /// Runs only these combinations of address families: of the client's half and of the service's.
    /// All four unless set; one that this machine does not have is skipped with the reason.
    ///
    /// ```
    /// # use loopback::TunnelHarness;
    /// # use loopback::tunnel::{Family, Forward};
    /// # fn only_ipv4(tunnel: Forward) -> TunnelHarness {
    /// TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)])
    /// # }
    /// ```
    #[must_use]
    pub fn families(
        mut self,
        combinations: impl IntoIterator<Item = (Family, Family)>,
    ) -> TunnelHarness {
        self.families.clear();
        for combination in combinations {
            if !self.families.contains(&combination) {
                self.families.push(combination);
            }
        }
        self
    }

    /// Whether to prefer the addresses of this machine's network interfaces over its loopback ones.
    /// `false` unless set: then nothing listens where another machine could reach it.
    #[must_use]
    pub fn interfaces(mut self, use_them: bool) -> TunnelHarness {
        self.interfaces = use_them;
        self
    }

    /// How long each check may take: 10 seconds unless set.
    #[must_use]
    pub fn check_deadline(mut self, limit: Duration) -> TunnelHarness {
        self.check_deadline = limit;
        self
    }

    /// How long the program may take to end after TERM, before it is killed and the check fails: 10
    /// seconds unless set.
    #[must_use]
    pub fn stop_deadline(mut self, limit: Duration) -> TunnelHarness {
        self.stop_deadline = limit;
        self
    }

    /// How long the whole run may take: 5 minutes unless set. Checks that are then left fail.
    /// Stopping a program that ignores TERM may add a second.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> TunnelHarness {
        self.deadline = limit;
        self
    }

    /// Runs the suites.
    ///
    /// # Errors
    ///
    /// If nothing could be run at all: no two addresses can connect, no port is free, or the program
    /// cannot be started. Whatever goes wrong with a started program is in the report.
    pub fn run(&self) -> Result<Report, Error> {
        let begun = Instant::now();
        let mut book = Book {
            checks: Vec::new(),
            check_limit: self.check_deadline,
            stop_limit: self.stop_deadline,
            run: Deadline::new(self.deadline, "the run"),
        };
        let limit = ADDRESSES_LIMIT.min(self.deadline);
        let deadline = Deadline::new(limit, "addresses that can connect");
        let addresses = Addresses::find(self.interfaces, &deadline);
        if addresses.is_empty() {
            let message = "no two addresses of this machine can connect to each other".to_owned();
            return Err(Error::new(ErrorKind::Address, message, None));
        }
        let suites = match &self.suites[..] {
            [] => &[Suite::Connectivity],
            suites => suites,
        };
        for suite in suites {
            match suite {
                Suite::Connectivity => {
                    connectivity::run(&*self.tunnel, &self.families, &addresses, &mut book)?;
                }
            }
        }
        Ok(Report {
            tunnel: self.tunnel.slug(),
            checks: book.checks,
            elapsed: begun.elapsed(),
        })
    }
}

impl fmt::Debug for TunnelHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelHarness")
            .field("tunnel", &self.tunnel.slug())
            .field("suites", &self.suites)
            .field("families", &self.families)
            .field("interfaces", &self.interfaces)
            .field("check_deadline", &self.check_deadline)
            .field("stop_deadline", &self.stop_deadline)
            .field("deadline", &self.deadline)
            .finish()
    }
}

/// All checks of a run as they are made.
#[derive(Debug)]
pub(super) struct Book {
    checks: Vec<Check>,
    check_limit: Duration,
    stop_limit: Duration,
    run: Deadline,
}

impl Book {
    /// Whether nothing has been written down yet.
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Opens the page for one route.
    pub(super) fn page(&mut self, suite: &'static str, route: Route) -> Page<'_> {
        Page {
            group: format!("{suite}/{}", route.families()),
            route,
            first: self.checks.len(),
            book: self,
        }
    }

    /// Writes down that a whole combination is not run: skipped for want of addresses, or failed.
    pub(super) fn leave_out(
        &mut self,
        suite: &str,
        (listen, service): (Family, Family),
        outcome: Outcome,
        reason: String,
    ) {
        self.write(Check {
            id: format!("{suite}/{}{}", listen.digit(), service.digit()),
            statement: "every combination of address families is run",
            route: None,
            outcome,
            message: reason,
            failure: None,
            notes: Vec::new(),
            elapsed: Duration::ZERO,
        });
    }

    /// The error that says so when the run's time is over.
    pub(super) fn time_left(&self) -> io::Result<Duration> {
        self.run.check()
    }

    fn write(&mut self, check: Check) {
        let (id, took) = (&check.id, check.elapsed);
        match check.outcome {
            Outcome::Failed => log::warn!(target: TARGET, "{id} failed: {}", check.message),
            outcome => log::debug!(target: TARGET, "{id} {outcome:?} after {took:?}"),
        }
        self.checks.push(check);
    }

    /// The time for the next check.
    fn limit(&self) -> Duration {
        self.check_limit.min(self.run.remaining())
    }
}

/// A check that a suite makes: its name within the suite, and its statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) name: &'static str,
    pub(super) statement: &'static str,
}

/// The checks of one route.
#[derive(Debug)]
pub(super) struct Page<'a> {
    book: &'a mut Book,
    group: String,
    route: Route,
    first: usize,
}

impl Page<'_> {
    /// The time for the program to end: some is left even when the run's time is over, so that it can
    /// end in order.
    pub(super) fn grace(&self) -> Duration {
        let left = self.book.run.remaining().max(LAST_GRACE);
        self.book.stop_limit.min(left)
    }

    /// Makes one check: gives `body` its deadline and a place for notes, and writes down the outcome.
    pub(super) fn check<T>(
        &mut self,
        plan: &Plan,
        waits_for: &'static str,
        body: impl FnOnce(&Deadline, &mut Vec<String>) -> Result<T, Stop>,
    ) -> Option<T> {
        let limit = self.book.limit();
        let deadline = Deadline::new(limit, waits_for);
        let mut notes = Vec::new();
        let done = match self.book.time_left() {
            Ok(_) => body(&deadline, &mut notes),
            Err(error) => Err(Stop::failed(format!("not run: {error} to end"))),
        };
        let (value, outcome, message, failure) = match done {
            Ok(value) => (Some(value), Outcome::Passed, String::new(), None),
            Err(Stop::Failed(message, failure)) => (None, Outcome::Failed, message, Some(failure)),
            Err(Stop::Skipped(reason)) => (None, Outcome::Skipped, reason, None),
        };
        self.book.write(Check {
            id: format!("{}/{}", self.group, plan.name),
            statement: plan.statement,
            route: Some(self.route),
            outcome,
            message,
            failure,
            notes,
            elapsed: deadline.elapsed(),
        });
        value
    }

    /// Writes down those of `plans` that were not reached as skipped, and why.
    pub(super) fn skip_rest(&mut self, plans: &[&Plan]) {
        let failed = |check: &&Check| check.outcome == Outcome::Failed;
        let reason = match self.checks().iter().rev().find(failed) {
            Some(check) => format!("not reached, as {} failed", check.name()),
            None => return,
        };
        for plan in plans {
            let id = format!("{}/{}", self.group, plan.name);
            if !self.checks().iter().any(|check| check.id == id) {
                let skipped = Stop::Skipped(reason.clone());
                self.check::<()>(plan, "nothing", |_, _| Err(skipped));
            }
        }
    }

    /// Adds what is known of the program to every failure.
    pub(super) fn explain(&mut self, command: &str, exit: &str, output: &str) {
        let failures = self.book.checks[self.first..].iter_mut();
        for failure in failures.filter_map(|check| check.failure.as_deref_mut()) {
            let Failure {
                command: to,
                exit: how,
                output: wrote,
                ..
            } = failure;
            *to = command.to_owned();
            *how = exit.to_owned();
            *wrote = output.to_owned();
        }
    }

    /// Whether a check of this route has failed so far.
    pub(super) fn has_failed(&self) -> bool {
        let failed = |check: &Check| check.outcome == Outcome::Failed;
        self.checks().iter().any(failed)
    }

    fn checks(&self) -> &[Check] {
        &self.book.checks[self.first..]
    }
}
