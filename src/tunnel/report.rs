//! What a run found: data first, and a text that can be read on its own.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Route;

/// The most bytes of each dump.
const SHOWN: usize = 64;
/// The most lines of the program's output under one failure.
const OUTPUT_LINES: usize = 30;

/// What came out of a run: every check of every suite, in the order in which they ran.
///
/// Its `Display` is for people: the failures first with all that is needed to understand them, then
/// what was noted for each combination, then the counts.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    pub(super) tunnel: String,
    pub(super) checks: Vec<Check>,
    pub(super) elapsed: Duration,
}

/// One check and what became of it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Check {
    pub(super) id: String,
    pub(super) statement: &'static str,
    pub(super) route: Option<Route>,
    pub(super) outcome: Outcome,
    pub(super) message: String,
    pub(super) failure: Option<Box<Failure>>,
    pub(super) notes: Vec<String>,
    pub(super) elapsed: Duration,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// What the statement says was seen.
    Passed,
    /// It was not.
    Failed,
    /// It was not looked at; the message says why.
    Skipped,
}

/// What there is to understand a failure.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Failure {
    pub(super) sent: Option<Vec<u8>>,
    pub(super) expected: Option<Vec<u8>>,
    pub(super) received: Option<Vec<u8>>,
    pub(super) command: String,
    pub(super) exit: String,
    pub(super) output: String,
}

impl Report {
    /// How many checks passed.
    pub fn passed(&self) -> usize {
        self.count(Outcome::Passed)
    }

    /// How many checks failed.
    pub fn failed(&self) -> usize {
        self.count(Outcome::Failed)
    }

    /// How many checks were skipped, each with a reason.
    pub fn skipped(&self) -> usize {
        self.count(Outcome::Skipped)
    }

    /// Every check, in the order in which they ran.
    pub fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// The check with this id: `connectivity/46/handshake`.
    pub fn check(&self, id: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.id == id)
    }

    /// The tunnel's name.
    pub fn tunnel(&self) -> &str {
        &self.tunnel
    }

    /// How long the run took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Whether checks passed and none failed. With nothing checked this is `false`.
    pub fn is_success(&self) -> bool {
        self.failed() == 0 && self.passed() > 0
    }

    /// Fails the test unless [`Report::is_success`].
    ///
    /// # Panics
    ///
    /// With the whole report if a check failed, or if none was made.
    #[track_caller]
    pub fn assert_passed(&self) {
        assert!(self.failed() == 0, "the tunnel failed\n\n{self}");
        assert!(self.passed() > 0, "nothing was checked\n\n{self}");
    }

    fn count(&self, outcome: Outcome) -> usize {
        let same = |check: &&Check| check.outcome == outcome;
        self.checks.iter().filter(same).count()
    }
}

impl Check {
    /// The id: suite, families (`46` is a client on IPv4 and a service on IPv6), and name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What must hold, in one line.
    pub fn statement(&self) -> &str {
        self.statement
    }

    /// Where it ran; `None` when there was no route to run on.
    pub fn route(&self) -> Option<&Route> {
        self.route.as_ref()
    }

    /// How it ended.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Why it failed or was skipped; empty when it passed.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// More about a failure.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_deref()
    }

    /// What was seen and is not judged: times, kinds of half-close, the exit status.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How long it took.
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

impl Failure {
    /// What was sent before, if that explains anything: the first bytes.
    pub fn sent(&self) -> Option<&[u8]> {
        self.sent.as_deref()
    }

    /// What should have come.
    pub fn expected(&self) -> Option<&[u8]> {
        self.expected.as_deref()
    }

    /// What came instead: the first bytes.
    pub fn received(&self) -> Option<&[u8]> {
        self.received.as_deref()
    }

    /// The program's command line; empty if it was not started.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// How the program ended.
    pub fn exit(&self) -> &str {
        &self.exit
    }

    /// The last of what the program wrote to its standard output and error.
    pub fn output(&self) -> &str {
        &self.output
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = |check: &&Check| check.outcome == Outcome::Failed;
        for check in self.checks.iter().filter(failed) {
            writeln!(f, "{check}")?;
        }
        let mut rest = &self.checks[..];
        while let Some(first) = rest.first() {
            let same = |check: &Check| check.group() == first.group();
            let length = rest.iter().take_while(|check| same(check)).count();
            write_group(f, &rest[..length])?;
            rest = &rest[length..];
        }
        let (passed, failed, skipped) = (self.passed(), self.failed(), self.skipped());
        write!(
            f,
            "{}: {passed} passed, {failed} failed, {skipped} skipped in {:.1?}",
            self.tunnel, self.elapsed
        )?;
        match (failed, passed) {
            (0, 0) => f.write_str(": nothing was checked, which is a failure"),
            _ => Ok(()),
        }
    }
}

/// One check with everything about it; the lines end with a line break.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Passed => "passed",
            Outcome::Failed => "FAILED",
            Outcome::Skipped => "skipped",
        };
        writeln!(f, "{word} {} after {:.1?}", self.id, self.elapsed)?;
        writeln!(f, "  statement: {}", self.statement)?;
        if !self.message.is_empty() {
            writeln!(f, "  {}", self.message)?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "  route: {route}")?;
        }
        for note in &self.notes {
            writeln!(f, "  noted: {note}")?;
        }
        self.failure.as_ref().map_or(Ok(()), |x| x.fmt(f))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let around = match (&self.expected, &self.received) {
            (Some(expected), Some(received)) => first_difference(expected, received),
            _ => 0,
        };
        let dumps = [
            ("sent", &self.sent, 0),
            ("expected", &self.expected, around),
            ("received", &self.received, around),
        ];
        for (name, bytes, around) in dumps {
            if let Some(bytes) = bytes {
                writeln!(f, "  {name}: {}", dump(bytes, around))?;
            }
        }
        if self.command.is_empty() {
            return Ok(());
        }
        writeln!(f, "  program: {}", self.command)?;
        writeln!(f, "  its end: {}", self.exit)?;
        write_output(f, &self.output)
    }
}

impl Check {
    /// The id without the check's own name: what ran on one route.
    fn group(&self) -> &str {
        self.id.rsplit_once('/').map_or("", |(group, _)| group)
    }

    pub(super) fn name(&self) -> &str {
        self.id.rsplit_once('/').map_or(&self.id, |(_, name)| name)
    }
}

/// The checks of one route in a few lines: the route, the names by outcome, the notes.
fn write_group(f: &mut fmt::Formatter<'_>, checks: &[Check]) -> fmt::Result {
    let route = checks.iter().find_map(|check| check.route.as_ref());
    match route {
        Some(route) => writeln!(f, "{}: {route}", checks[0].group())?,
        None => writeln!(f, "{}", checks[0].group())?,
    }
    for (outcome, word) in [(Outcome::Passed, "passed"), (Outcome::Failed, "FAILED")] {
        let of = checks.iter().filter(|check| check.outcome == outcome);
        let names: Vec<&str> = of.map(Check::name).collect();
        if !names.is_empty() {
            writeln!(f, "  {word}: {}", names.join(", "))?;
        }
    }
    for check in checks.iter().filter(|c| c.outcome == Outcome::Skipped) {
        writeln!(f, "  skipped: {}: {}", check.name(), check.message)?;
    }
    for check in checks {
        for note in &check.notes {
            writeln!(f, "  noted: {}: {note}", check.name())?;
        }
    }
    Ok(())
}

fn write_output(f: &mut fmt::Formatter<'_>, output: &str) -> fmt::Result {
    if output.is_empty() {
        return writeln!(f, "  its output: none");
    }
    let lines: Vec<&str> = output.lines().collect();
    let from = lines.len().saturating_sub(OUTPUT_LINES);
    match from {
        0 => writeln!(f, "  its output:")?,
        _ => writeln!(f, "  its output, the last {OUTPUT_LINES} lines:")?,
    }
    for line in &lines[from..] {
        // Control characters of a foreign program must not reach a terminal.
        writeln!(
            f,
            "    | {}",
            line.replace(|c: char| c.is_control() && c != '\t', "?")
        )?;
    }
    Ok(())
}

/// Where two byte strings begin to differ: at the latest at the end of the shorter one.
pub(super) fn first_difference(a: &[u8], b: &[u8]) -> usize {
    let same = a.iter().zip(b).take_while(|(a, b)| a == b);
    same.count()
}

/// Bytes as length, hex and text; of many bytes those around `around`.
fn dump(bytes: &[u8], around: usize) -> String {
    let from = match bytes.len() <= SHOWN {
        true => 0,
        false => around.saturating_sub(SHOWN / 2).min(bytes.len() - SHOWN),
    };
    let shown = &bytes[from..bytes.len().min(from + SHOWN)];
    let mut out = match bytes.len() {
        1 => "1 byte".to_owned(),
        length => format!("{length} bytes"),
    };
    if shown.len() < bytes.len() {
        let _ = write!(out, ", here {from} to {}", from + shown.len());
    }
    if !shown.is_empty() {
        out.push(':');
    }
    for byte in shown {
        let _ = write!(out, " {byte:02x}");
    }
    if !shown.is_empty() {
        let _ = write!(out, " \"{}\"", shown.escape_ascii());
    }
    out
}

#[cfg(test)]
mod tests;
