//! The file of a run, from which an interrupted one goes on.
//!
//! The first line tells what run it is; each further one is a task with its checks, appended as it ends.
//! A last line without its end was being written when the run was interrupted, and does not count.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::deadline::prose;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::core::options::Options;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::json::Value;
use crate::tunnel::report::{Check, read_check, write_check};

/// The schema's name and version.
const SCHEMA: (&str, u64) = ("loopback-tunnel-run", 1);
/// The longest file that is read.
const LONGEST: u64 = 256 << 20;

/// An open file of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    /// What an earlier run has written and this one has not yet taken.
    known: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    task: String,
    round: u64,
    checks: Vec<Check>,
}

impl Journal {
    /// Opens the file that the options name, if they do. It may be new, or that of the same run.
    pub(crate) fn open(options: &Options, tunnel: &str) -> Result<Option<Journal>, Error> {
        let Some(path) = &options.resume else {
            return Ok(None);
        };
        let journal = Journal::read(path, &header(options, tunnel));
        journal.map(Some).map_err(|error| {
            let message = format!("cannot go on with the run in {}", path.display());
            Error::new(ErrorKind::Resume, message, Some(error))
        })
    }

    /// The checks of this task, if an earlier run has made them.
    pub(crate) fn take(&mut self, task: &str, round: u32) -> Option<Vec<Check>> {
        let same = |one: &Entry| one.task == task && one.round == u64::from(round);
        let at = self.known.iter().position(same)?;
        Some(self.known.swap_remove(at).checks)
    }

    /// Appends the checks of a task that has ended; the error is a whole sentence's part.
    pub(crate) fn add(&mut self, task: &str, round: u32, checks: &[Check]) -> Result<(), String> {
        let line = Value::object([
            ("task", task.into()),
            ("round", u64::from(round).into()),
            (
                "checks",
                Value::List(checks.iter().map(write_check).collect()),
            ),
        ]);
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|error| format!("cannot write to {}: {error}", self.path.display()))
    }

    /// Nothing is changed of a file that is not this run's.
    fn read(path: &Path, header: &str) -> io::Result<Journal> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path)?;
        // Reading of anything else may never end.
        if !file.metadata()?.is_file() {
            return Err(invalid("it is not a regular file".to_owned()));
        }
        let mut bytes = Vec::new();
        (&mut file).take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            let text = format!("it is longer than {} MiB", LONGEST >> 20);
            return Err(invalid(text));
        }
        let whole = bytes
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |at| at + 1);
        let (lines, rest) = bytes.split_at(whole);
        let known = match whole {
            // The run may have been interrupted while it wrote its first line.
            0 if header.as_bytes().starts_with(rest) => None,
            0 => return Err(of_another("its first line does not tell of a run")),
            _ => Some(entries(lines, header)?),
        };
        file.set_len(whole as u64)?;
        if known.is_none() {
            file.write_all(format!("{header}\n").as_bytes())?;
        }
        Ok(Journal {
            path: path.to_owned(),
            file,
            known: known.unwrap_or_default(),
        })
    }
}

/// What the whole lines of a file tell, the first of which must be `header`.
fn entries(lines: &[u8], header: &str) -> io::Result<Vec<Entry>> {
    let text = std::str::from_utf8(lines).map_err(|_| invalid("it is not UTF-8".to_owned()))?;
    let mut lines = text.lines();
    let first = lines.next().unwrap_or_default();
    if first != header {
        return Err(of_another(&difference(first, header)));
    }
    lines
        .zip(2..)
        .map(|(line, number)| {
            entry(line).map_err(|error| invalid(format!("line {number}: {error}")))
        })
        .collect()
}

fn of_another(difference: &str) -> io::Error {
    invalid(format!("it is of another run: {difference}"))
}

fn invalid(text: String) -> io::Error {
    prose(io::ErrorKind::InvalidData, text)
}

/// What must be the same for checks to be those of one run.
fn header(options: &Options, tunnel: &str) -> String {
    let segment_size = options.segment_size.map(|size| size as u64);
    let known = |patterns: &[(Glob, String)]| {
        Value::list(patterns.iter().map(|(pattern, _)| pattern.pattern()))
    };
    Value::object([
        ("schema", SCHEMA.0.into()),
        ("version", SCHEMA.1.into()),
        ("tunnel", tunnel.into()),
        ("seed", options.seed.into()),
        (
            "sizes",
            format!("{:?}", options.sizes).to_lowercase()[..].into(),
        ),
        ("segment_size", segment_size.into()),
        ("strict", Value::Bool(options.strict)),
        ("only", Value::list(options.only.iter().map(Glob::pattern))),
        ("skip", known(&options.skip)),
        ("expect", known(&options.expect)),
    ])
    .to_string()
}

/// The first thing in which the run of the file differs from this one.
fn difference(there: &str, here: &str) -> String {
    let (there, here) = (Value::parse(there), Value::parse(here));
    let (Ok(there), Ok(Value::Object(here))) = (there, here) else {
        return "its first line does not tell of a run".to_owned();
    };
    let differs = |(name, value): &&(String, Value)| there.get(name) != Some(value);
    match here.iter().find(differs) {
        Some((name, value)) => match there.get(name) {
            Some(other) => format!("{name} is {other} there, and {value} here"),
            None => format!("it does not tell its {name}"),
        },
        None => "it tells more than this one".to_owned(),
    }
}

fn entry(line: &str) -> Result<Entry, String> {
    let value = Value::parse(line)?;
    let task = value.get("task").and_then(Value::text);
    let round = value.get("round").and_then(Value::number);
    let checks = value.get("checks").and_then(Value::items);
    let (Some(task), Some(round), Some(checks)) = (task, round, checks) else {
        return Err("it is not the checks of a task".to_owned());
    };
    Ok(Entry {
        task: task.to_owned(),
        round,
        checks: checks.iter().map(read_check).collect::<Result<_, _>>()?,
    })
}
