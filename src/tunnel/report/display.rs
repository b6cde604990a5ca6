//! The report as a text for people.

use std::fmt::{self, Write as _};

use super::{
    Check, Counts, Expectation, ExpectationState, Failure, Outcome, Report, Strictness, window,
};
use crate::deadline::bytes_of;

/// The most bytes of each dump.
const SHOWN: usize = 64;
/// The most lines of each program's output under one failure.
const OUTPUT_LINES: usize = 30;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (check, alike) in alike(&self.checks, Outcome::Failed) {
            write!(f, "{check}")?;
            write_alike(f, &alike)?;
            writeln!(f)?;
        }
        for (check, alike) in alike(&self.checks, Outcome::Deviates) {
            writeln!(f, "deviates {}: {}", Numbered(check), check.message)?;
            writeln!(f, "  {}", Statement(check))?;
            write_alike(f, &alike)?;
        }
        for one in &self.expectations {
            write_expectation(f, one)?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        let mut rest = &self.checks[..];
        while let Some(first) = rest.first() {
            let same = |c: &&Check| (c.group(), c.round) == (first.group(), first.round);
            let length = rest.iter().take_while(same).count();
            write_group(f, &rest[..length])?;
            rest = &rest[length..];
        }
        write_total(f, self)?;
        self.shown.set();
        Ok(())
    }
}

/// The checks of one outcome, each with those behind it in its group that say the same: they have one cause,
/// which is told once.
fn alike(checks: &[Check], outcome: Outcome) -> Vec<(&Check, Vec<&Check>)> {
    let mut causes: Vec<(&Check, Vec<&Check>)> = Vec::new();
    for check in with(checks, outcome) {
        let key = |check: &Check| (check.group.clone(), check.round, check.message.clone());
        match causes
            .iter_mut()
            .find(|(first, _)| key(first) == key(check))
        {
            Some((_, alike)) => alike.push(check),
            None => causes.push((check, Vec::new())),
        }
    }
    causes
}

fn write_alike(f: &mut fmt::Formatter<'_>, alike: &[&Check]) -> fmt::Result {
    if alike.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = alike.iter().map(|check| check.name()).collect();
    writeln!(f, "  so too: {}", names.join(", "))
}

/// One check with everything about it; the lines end with a line break.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            Outcome::Failed => "FAILED",
            other => other.name(),
        };
        writeln!(f, "{word} {} after {:.1?}", Numbered(self), self.elapsed)?;
        writeln!(f, "  statement: {}", Statement(self))?;
        if !self.message.is_empty() {
            writeln!(f, "  {}", self.message)?;
        }
        if let Some(route) = &self.route {
            writeln!(f, "  route: {route}")?;
        }
        for note in &self.notes {
            writeln!(f, "  noted: {note}")?;
        }
        let measured = self.measures.line();
        if !measured.is_empty() {
            writeln!(f, "  measured: {measured}")?;
        }
        for (name, value) in &self.measures.records {
            writeln!(f, "  recorded: {name}: {value}")?;
        }
        self.failure.as_ref().map_or(Ok(()), |x| x.fmt(f))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let around = self.around();
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
        let several = self.programs.len() > 1;
        for (index, program) in self.programs.iter().enumerate() {
            match several {
                true => write!(f, "  program {} of {}", index + 1, self.programs.len())?,
                false => f.write_str("  program")?,
            }
            writeln!(f, ": {}", program.command)?;
            writeln!(f, "  its end: {}", program.exit)?;
            write_output(f, &program.output)?;
        }
        Ok(())
    }
}

/// In words: always those of a plain run, the others when there are any.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let always = |outcome| {
            matches!(
                outcome,
                Outcome::Passed | Outcome::Failed | Outcome::Skipped
            )
        };
        let told = self.each();
        let told = told.iter().filter(|(of, count)| *count > 0 || always(*of));
        let words = told.map(|(outcome, count)| match outcome {
            // A verb among participles.
            Outcome::Deviates if *count > 1 => format!("{count} deviate"),
            outcome => format!("{count} {}", outcome.name()),
        });
        f.write_str(&words.collect::<Vec<_>>().join(", "))
    }
}

/// The id, and the round if it is not the first.
struct Numbered<'a>(&'a Check);

impl fmt::Display for Numbered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.id)?;
        match self.0.round {
            1 => Ok(()),
            round => write!(f, ", round {round}"),
        }
    }
}

/// The statement with what it rests on.
struct Statement<'a>(&'a Check);

impl fmt::Display for Statement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Check {
            statement,
            source,
            strictness,
            ..
        } = self.0;
        match (strictness, &source[..]) {
            (Strictness::Harness, "harness") => write!(f, "{statement} (harness)"),
            (strictness, source) => write!(f, "{statement} ({}, {source})", strictness.name()),
        }
    }
}

fn with(checks: &[Check], outcome: Outcome) -> impl Iterator<Item = &Check> {
    checks.iter().filter(move |c| c.outcome == outcome)
}

fn write_expectation(f: &mut fmt::Formatter<'_>, one: &Expectation) -> fmt::Result {
    let Expectation {
        pattern, reason, ..
    } = one;
    match one.state {
        ExpectationState::Gone => {
            writeln!(
                f,
                "gone: {pattern} was expected to deviate ({reason}), and does not: remove its `known_deviation`"
            )
        }
        // It may be a slip of the pen.
        ExpectationState::Unused => {
            writeln!(
                f,
                "unused: {pattern} was expected to deviate, and no check of that id was judged"
            )
        }
        ExpectationState::Met => Ok(()),
    }
}

/// The checks of one route in a few lines: the counts, the route, what was skipped, noted, measured.
fn write_group(f: &mut fmt::Formatter<'_>, checks: &[Check]) -> fmt::Result {
    let first = &checks[0];
    f.write_str(first.group())?;
    if first.round > 1 {
        write!(f, ", round {}", first.round)?;
    }
    writeln!(f, ": {}", Counts::of(checks))?;
    // Each process has a route of its own; one of them shows what the group is about.
    if let Some(route) = checks.iter().find_map(|check| check.route.as_ref()) {
        writeln!(f, "  route: {route}")?;
    }
    for outcome in [Outcome::Unsupported, Outcome::Skipped, Outcome::NotRun] {
        write_reasons(f, checks, outcome)?;
    }
    for check in checks {
        for note in &check.notes {
            writeln!(f, "  noted: {}: {note}", check.name())?;
        }
    }
    for check in checks {
        let measures = &check.measures;
        // How much a check carried says little of the program; that is in the total.
        if measures.throughput.is_some() || measures.latency.is_some() {
            writeln!(f, "  measured: {}: {}", check.name(), measures.line())?;
        }
        for (name, value) in &measures.records {
            writeln!(f, "  recorded: {}: {name}: {value}", check.name())?;
        }
    }
    Ok(())
}

/// What was not looked at, each reason once: it is mostly the same for many.
fn write_reasons(f: &mut fmt::Formatter<'_>, checks: &[Check], outcome: Outcome) -> fmt::Result {
    let mut reasons: Vec<(&str, Vec<&Check>)> = Vec::new();
    for check in with(checks, outcome) {
        match reasons
            .iter_mut()
            .find(|(reason, _)| *reason == check.message)
        {
            Some((_, those)) => those.push(check),
            None => reasons.push((&check.message, vec![check])),
        }
    }
    for (reason, those) in reasons {
        write!(f, "  {}: {}", outcome.name(), those[0].name())?;
        match those.len() {
            1 => {}
            length => write!(f, " and {} more", length - 1)?,
        }
        writeln!(f, ": {reason}")?;
    }
    Ok(())
}

/// The verdict, the counts and what was carried, in one line.
fn write_total(f: &mut fmt::Formatter<'_>, report: &Report) -> fmt::Result {
    let total = report.total();
    write!(f, "{}: ", total.name)?;
    match report.verdict() {
        Ok(()) => f.write_str("ok, ")?,
        Err(_) if total.counts.failed > 0 => f.write_str("FAILED, ")?,
        Err(why) => write!(f, "FAILED, as {why}: ")?,
    }
    write!(f, "{} in {:.1?}", total.counts, report.elapsed)?;
    match total.connections {
        0 => Ok(()),
        _ => write!(
            f,
            "; {} connections, {} bytes",
            total.connections, total.bytes
        ),
    }
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

/// Bytes as length, hex and text; of many bytes those around `around`.
pub(super) fn dump(bytes: &[u8], around: usize) -> String {
    let (from, shown) = window(bytes, around, SHOWN);
    let mut out = bytes_of(bytes.len());
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
