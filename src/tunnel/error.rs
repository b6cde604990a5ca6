//! What went wrong with a tunnel, where no report tells of it.

use std::{error, fmt, io};

/// Nothing could be run at all, or a [`RunningTunnel`](crate::RunningTunnel) did not end well. What a harness
/// finds wrong with a tunnel that ran is not this: it is in the report.
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<io::Error>,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program could not be started: most often it is not installed.
    Program,
    /// No two addresses of this machine can connect to each other.
    Address,
    /// No port could be kept for the program, or none bound for the test service.
    Port,
    /// The program ended before it was told to, had to be killed, or has left processes behind.
    Stop,
    /// The file to [go on from](crate::TunnelHarness::resume) cannot be used.
    Resume,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: String, source: Option<io::Error>) -> Error {
        Error {
            kind,
            message,
            source,
        }
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

// `unwrap` in a test prints Debug; it must be as readable as Display.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl error::Error for Error {}
