//! One check and what became of it.

use std::borrow::Cow;
use std::time::Duration;

use super::Measures;
use crate::tunnel::route::Route;

/// One check and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    pub(crate) id: String,
    /// The part of the id that is common to all that ran on one route.
    pub(crate) group: String,
    pub(crate) round: u32,
    pub(crate) statement: Cow<'static, str>,
    pub(crate) source: Cow<'static, str>,
    pub(crate) strictness: Strictness,
    pub(crate) route: Option<Route>,
    pub(crate) outcome: Outcome,
    pub(crate) message: String,
    pub(crate) failure: Option<Box<Failure>>,
    pub(crate) notes: Vec<String>,
    pub(crate) measures: Measures,
    pub(crate) elapsed: Duration,
}

/// How binding a statement is: what becomes of a check whose statement does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Strictness {
    /// A program that breaks it is wrong: the check fails.
    Must,
    /// There may be reasons to break it (RFC 2119, section 3): the check deviates, and fails only in
    /// a [strict](crate::TunnelHarness::strict) run.
    Should,
    /// It is the program's choice (RFC 2119, section 5): the check deviates at most.
    May,
    /// A rule of this harness, in no standard: as [`Strictness::Should`].
    Harness,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// What the statement says was seen.
    Passed,
    /// It was not.
    Failed,
    /// It was not, which is no failure: the statement does not bind, or this was
    /// [expected](crate::TunnelHarness::known_deviation).
    Deviates,
    /// The program says in its protocol's own way that it does not do this.
    Unsupported,
    /// It was not looked at; the message says why.
    Skipped,
    /// The run was over before it was made: its time was up, its first failure was its last, or it was given up. A
    /// report with such checks is no success.
    NotRun,
}

/// What there is to understand a failure.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    pub(crate) sent: Option<Vec<u8>>,
    pub(crate) expected: Option<Vec<u8>>,
    pub(crate) received: Option<Vec<u8>>,
    pub(crate) programs: Vec<Ended>,
}

/// What is known of one program of the tunnel after its end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// Its name without a path.
    pub name: String,
    /// Its command line, as one would type it.
    pub command: String,
    /// How it ended: `exited with status 1, by itself`.
    pub exit: String,
    /// The last of what it wrote to its standard output and error, at most 16 KiB.
    pub output: String,
}

impl Check {
    /// The id: suite, families where they matter (`46` is a client on IPv4 and a service on IPv6), and
    /// name. `connectivity/46/handshake`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The suite's name: the first part of the id.
    pub fn suite(&self) -> &str {
        self.id.split('/').next().unwrap_or_default()
    }

    /// Which repetition of the run this belongs to, from 1 on.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// What must hold, in one line.
    pub fn statement(&self) -> &str {
        &self.statement
    }

    /// Where the statement comes from: `RFC 1928, section 6`, or `harness`.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// How binding the statement is.
    pub fn strictness(&self) -> Strictness {
        self.strictness
    }

    /// Where it ran; `None` when there was no route to run on.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why it did not pass; empty when it did.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about a failure or deviation.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// What was seen and is not judged: times, kinds of half-close, the exit status.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// What was measured.
    pub fn measures(&self) -> &Measures {
        &self.measures
    }

    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// The id within the group.
    pub(crate) fn name(&self) -> &str {
        let within = self.id.strip_prefix(&self.group);
        let name = within.and_then(|name| name.strip_prefix('/'));
        name.unwrap_or(&self.id)
    }
}

impl Strictness {
    const ALL: [Strictness; 4] = [
        Strictness::Must,
        Strictness::Should,
        Strictness::May,
        Strictness::Harness,
    ];

    /// `MUST`, `SHOULD` and `MAY` as in the standards, or `harness`.
    pub fn name(self) -> &'static str {
        match self {
            Strictness::Must => "MUST",
            Strictness::Should => "SHOULD",
            Strictness::May => "MAY",
            Strictness::Harness => "harness",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Strictness> {
        Strictness::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The outcome of a check of this strictness whose statement does not hold.
    pub(crate) fn when_broken(self, strict: bool) -> Outcome {
        match (self, strict) {
            (Strictness::Must, _) | (Strictness::Should | Strictness::Harness, true) => {
                Outcome::Failed
            }
            _ => Outcome::Deviates,
        }
    }
}

impl Outcome {
    pub(super) const ALL: [Outcome; 6] = [
        Outcome::Passed,
        Outcome::Failed,
        Outcome::Deviates,
        Outcome::Unsupported,
        Outcome::Skipped,
        Outcome::NotRun,
    ];

    /// `passed`, `failed`, `deviates`, `unsupported` or `skipped`.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Deviates => "deviates",
            Outcome::Unsupported => "unsupported",
            Outcome::Skipped => "skipped",
            Outcome::NotRun => "not run",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Outcome> {
        Outcome::ALL.into_iter().find(|one| one.name() == name)
    }
}

impl Failure {
    /// What was sent before, if that explains anything: the first bytes, at most 4096.
    pub fn sent(&self) -> Option<&[u8]> {
        self.sent.as_deref()
    }

    /// What should have come: of many bytes those around the first that differs, of which the check's
    /// message tells where it is.
    pub fn expected(&self) -> Option<&[u8]> {
        self.expected.as_deref()
    }

    /// What came instead, the same part of it.
    pub fn received(&self) -> Option<&[u8]> {
        self.received.as_deref()
    }

    /// The programs of the tunnel, in the order in which they were started. Empty where none was: it
    /// already ran, or could not be started.
    pub fn programs(&self) -> &[Ended] {
        &self.programs
    }

    /// Where expected and received begin to differ, to show what is there.
    pub(super) fn around(&self) -> usize {
        match (&self.expected, &self.received) {
            (Some(expected), Some(received)) => super::first_difference(expected, received),
            _ => 0,
        }
    }
}
