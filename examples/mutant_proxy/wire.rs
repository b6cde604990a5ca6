//! A client's connection during its handshake.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use crate::mutation::Mutation;
use crate::options::Options;
use crate::process::sleep_for_ever;

/// How long a client has to see the end after the last answer, and how much it may send meanwhile.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
/// How long after a byte the slow one writes the next, so that most are read alone.
const ALONE: Duration = Duration::from_micros(100);

/// Reads and answers within one deadline. What has come beyond the handshake is kept.
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    pub(crate) options: &'static Options,
    pending: Vec<u8>,
    /// Whether a part of the present message has been read.
    begun: bool,
    deadline: Option<Instant>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, options: &'static Options) -> Wire {
        let deadline = Instant::now() + options.patience;
        Wire {
            stream,
            options,
            pending: Vec::new(),
            begun: false,
            deadline: (!options.has(Mutation::WaitsForEver)).then_some(deadline),
        }
    }

    /// Another message begins.
    pub(crate) fn begin(&mut self) {
        self.begun = !self.pending.is_empty();
    }

    /// Loses what has come and was not read.
    pub(crate) fn forget(&mut self) {
        self.pending.clear();
    }

    pub(crate) fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let bytes = self.bytes(N)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < count {
            self.fill()?;
        }
        Ok(self.pending.drain(..count).collect())
    }

    /// Up to and without `end`; `None` when that has not come within `limit` bytes.
    pub(crate) fn until(&mut self, end: &[u8], limit: usize) -> io::Result<Option<Vec<u8>>> {
        let mut from = 0;
        loop {
            let found = self.pending[from..].windows(end.len());
            if let Some(at) = found.clone().position(|window| window == end) {
                let text = self.pending[..from + at].to_vec();
                self.pending.drain(..from + at + end.len());
                return Ok(Some(text));
            }
            if self.pending.len() > limit {
                return Ok(None);
            }
            from = self.pending.len().saturating_sub(end.len() - 1);
            self.fill()?;
        }
    }

    /// The first byte of what comes next.
    pub(crate) fn peek(&mut self) -> io::Result<u8> {
        while self.pending.is_empty() {
            self.fill()?;
        }
        Ok(self.pending[0])
    }

    /// Writes an answer that is right as it is.
    pub(crate) fn answer(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.options.has(Mutation::Late) {
            thread::sleep(Duration::from_millis(200));
        }
        if !self.options.slow {
            return self.stream.write_all(bytes);
        }
        for byte in bytes {
            self.stream.write_all(&[*byte])?;
            thread::sleep(ALONE);
        }
        Ok(())
    }

    /// Tells a failure and closes.
    pub(crate) fn fail(mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = match () {
            () if self.options.has(Mutation::ClosesForFailure) => &[],
            () if self.options.has(Mutation::CutsFailureReply) => &bytes[..bytes.len() / 2],
            () => bytes,
        };
        self.answer(shown)?;
        if self.options.has(Mutation::StaysOpenAfterFailure) {
            sleep_for_ever();
        }
        self.close()
    }

    /// Closes so that the last answer is not lost: a close with unread data would reset.
    pub(crate) fn close(mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        let end = Instant::now() + LINGER;
        let mut left = LINGER_BYTES;
        let mut buffer = [0; 4096];
        while let Some(time) = end.checked_duration_since(Instant::now()) {
            self.stream.set_read_timeout(Some(at_least(time)))?;
            match self.stream.read(&mut buffer) {
                Ok(count) if count > 0 && count < left => left -= count,
                _ => break,
            }
        }
        Ok(())
    }

    /// The connection and what has come beyond the handshake, which is over.
    pub(crate) fn finish(self) -> io::Result<(TcpStream, Vec<u8>)> {
        self.stream.set_read_timeout(None)?;
        self.stream.set_write_timeout(None)?;
        if self.options.has(Mutation::DiesOnEarlyData) && !self.pending.is_empty() {
            eprintln!("mutant: unexpected data");
            process::exit(134);
        }
        let early = match self.options.has(Mutation::DropsEarlyData) {
            true => Vec::new(),
            false => self.pending,
        };
        Ok((self.stream, early))
    }

    /// Reads once.
    fn fill(&mut self) -> io::Result<()> {
        if self.begun && self.options.has(Mutation::NeedsWholeMessages) {
            return Err(invalid("a message in two segments"));
        }
        let mut buffer = [0; 4096];
        let count = loop {
            let left = self
                .deadline
                .map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "half a handshake"));
            }
            self.stream.set_read_timeout(left.map(at_least))?;
            self.stream.set_write_timeout(left.map(at_least))?;
            match self.stream.read(&mut buffer) {
                Err(error) if is_passing(&error) => {}
                done => break done?,
            }
        };
        if count == 0 {
            if self.options.has(Mutation::HangsOnHalfClose) {
                sleep_for_ever();
            }
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.begun = true;
        self.pending.extend_from_slice(&buffer[..count]);
        Ok(())
    }
}

/// A client that breaks the protocol.
pub(crate) fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Whether a read ended only because of its timeout, which is looked at again.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

/// Sockets take no timeout of zero.
fn at_least(time: Duration) -> Duration {
    time.max(Duration::from_millis(1))
}
