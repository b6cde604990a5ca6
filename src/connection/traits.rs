//! std's traits for reading and writing, each bounded as a whole.

use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::sync::atomic::Ordering;

use super::Connection;
use super::wire::{is_interrupted, is_timeout, not_utf8, receive};
use crate::deadline::{Deadline, bytes_of};
use crate::net::live::Activity;

impl Read for Connection {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.start < self.end {
            let count = into.len().min(self.end - self.start);
            into[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
            self.start += count;
            return Ok(count);
        }
        if into.is_empty() {
            return Ok(0);
        }
        if self.armed != self.read_timeout {
            self.stream.set_read_timeout(self.read_timeout)?;
            self.armed = self.read_timeout;
        }
        let deadline = Deadline::new(self.timeout(), "bytes");
        loop {
            match receive(&self.stream, &self.live, Activity::Reading, into) {
                Err(error) if is_interrupted(&error) && !deadline.expired() => {
                    self.arm(deadline.remaining(), true)?;
                }
                Err(error) if is_timeout(&error) || is_interrupted(&error) => {
                    return Err(deadline.error(&format!(
                        " from {}; {} came before",
                        self.live.peer,
                        self.live.received.load(Ordering::Relaxed)
                    )));
                }
                outcome => return outcome,
            }
        }
    }

    fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let deadline = Deadline::new(self.timeout(), "the end of the stream");
        let before = into.len();
        loop {
            into.extend_from_slice(&self.buffer[self.start..self.end]);
            self.start = self.end;
            let length = into.len() - before;
            if length > self.limits.rest {
                let has = format!("has {} or more", bytes_of(length));
                return Err(self.over_limit("the stream", &has, self.limits.rest, "max_read"));
            }
            match self.fill(&deadline) {
                Ok(0) => return Ok(length),
                Ok(_) => {}
                Err(error) => return Err(self.retold(error, &deadline, &into[before..])),
            }
        }
    }

    fn read_to_string(&mut self, into: &mut String) -> io::Result<usize> {
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        let text = String::from_utf8(bytes).map_err(not_utf8)?;
        into.push_str(&text);
        Ok(text.len())
    }

    fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        let deadline = Deadline::new(self.timeout(), "bytes");
        let mut done = 0;
        while done < into.len() {
            if self.start == self.end {
                match self.fill(&deadline) {
                    Ok(0) => {
                        return Err(self.ended(&format!("{done} of {} bytes", into.len())));
                    }
                    Ok(_) => {}
                    Err(error) => return Err(self.retold(error, &deadline, &into[..done])),
                }
            }
            let ready = (into.len() - done).min(self.end - self.start);
            into[done..done + ready].copy_from_slice(&self.buffer[self.start..self.start + ready]);
            self.start += ready;
            done += ready;
        }
        Ok(())
    }
}

impl BufRead for Connection {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            let deadline = Deadline::new(self.timeout(), "bytes");
            self.fill(&deadline)?;
        }
        Ok(&self.buffer[self.start..self.end])
    }

    fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    fn read_until(&mut self, end: u8, into: &mut Vec<u8>) -> io::Result<usize> {
        let piece = self.line(end, "a delimiter")?;
        into.extend_from_slice(&piece);
        Ok(piece.len())
    }

    fn read_line(&mut self, into: &mut String) -> io::Result<usize> {
        let line = self.line(b'\n', "a line")?;
        let line = String::from_utf8(line).map_err(not_utf8)?;
        into.push_str(&line);
        Ok(line.len())
    }
}

impl Write for Connection {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.sending()?.some(data)
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.sending()?.vectored(data)
    }

    /// Writes all, within the write timeout as a whole.
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        self.sending()?.all(data)
    }

    /// Does nothing: what is written is sent at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("peer", &format_args!("{}", self.live.peer))
            .field("local", &format_args!("{}", self.local))
            .field("received", &self.live.received)
            .field("sent", &self.live.sent)
            .field("ahead", &(self.end - self.start))
            .finish_non_exhaustive()
    }
}
