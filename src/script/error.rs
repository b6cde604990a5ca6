//! What a script's failure says.

use std::error::Error;
use std::fmt;
use std::io;
use std::panic::Location;

use super::instruction::Queued;
use crate::server::failure::indented;

/// The first thing that went wrong with a [`ScriptedTcpServer`](crate::ScriptedTcpServer).
///
/// `Debug` prints the same text as `Display`, so that `unwrap` and a test that returns it show it as
/// it is meant to be read.
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptError {
    server: String,
    /// "instruction 3, expect_bytes(\"abc\"), failed", or what failed without one.
    heading: String,
    number: Option<usize>,
    place: Option<&'static Location<'static>>,
    message: String,
}

impl ScriptError {
    /// With an instruction's number and place; the heading is to name it.
    pub(super) fn new(
        server: &impl fmt::Display,
        queued: &Queued,
        heading: impl Into<String>,
        message: impl Into<String>,
    ) -> ScriptError {
        ScriptError {
            number: queued.number,
            place: queued.number.map(|_| queued.step.place),
            ..ScriptError::of_server(server, heading, message)
        }
    }

    /// Of no instruction.
    pub(super) fn of_server(
        server: &impl fmt::Display,
        heading: impl Into<String>,
        message: impl Into<String>,
    ) -> ScriptError {
        ScriptError {
            server: server.to_string(),
            heading: heading.into(),
            number: None,
            place: None,
            message: message.into(),
        }
    }

    /// The number of the instruction that failed, from 1 in the order they were queued. `None` for a
    /// failure that is not an instruction's, and for the disconnect that is implied at the end.
    pub fn instruction(&self) -> Option<usize> {
        self.number
    }

    /// Where the instruction that failed was queued.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.place
    }

    /// What happened, without the server's and the instruction's names.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.heading)?;
        if let Some(place) = self.place {
            write!(f, "\n  queued at {place}")?;
        }
        if !self.message.is_empty() {
            write!(f, "\n  {}", indented(&self.message))?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ScriptError {}

impl From<ScriptError> for io::Error {
    fn from(error: ScriptError) -> io::Error {
        io::Error::other(error)
    }
}

/// The failures of all the servers of a [`ScriptedTcpServers`](crate::ScriptedTcpServers).
#[derive(Clone, PartialEq, Eq)]
pub struct ScriptErrors {
    pub(super) servers: usize,
    pub(super) errors: Vec<ScriptError>,
}

impl ScriptErrors {
    /// The failures, in the order in which the servers were started.
    pub fn errors(&self) -> &[ScriptError] {
        &self.errors
    }
}

impl fmt::Display for ScriptErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} scripted servers failed",
            self.errors.len(),
            self.servers
        )?;
        for error in &self.errors {
            write!(f, "\n{error}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ScriptErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for ScriptErrors {}
