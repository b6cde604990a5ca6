//! Reading ahead, and what the rooms do with a connection beside its user.

use std::any::Any;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::time::Duration;

use super::wire::{came_so_far, cut, is_interrupted, is_timeout, quoted, receive};
use super::{Connection, FIRST_BUFFER, Idle, SLACK, USUAL_BUFFER};
use crate::connection::discarding::Discarding;
use crate::deadline::{Deadline, bytes_of, prose};
use crate::net::live::{Activity, Live};
use crate::net::socket::Stream;

impl Connection {
    /// The bytes that were read ahead and not consumed.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more into the buffer, behind what is there; 0 at the end of the stream.
    pub(crate) fn fill(&mut self, deadline: &Deadline) -> io::Result<usize> {
        self.fill_while(Activity::Reading, deadline)
    }

    fn fill_while(&mut self, activity: Activity, deadline: &Deadline) -> io::Result<usize> {
        self.make_room();
        let mut waited = false;
        loop {
            let left = deadline
                .check()
                .map_err(|_| self.timed_out(deadline, self.buffer()))?;
            self.arm(left, waited)?;
            let (stream, live) = (&self.stream, &self.live);
            match receive(stream, live, activity, &mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if is_timeout(&error) || is_interrupted(&error) => waited = true,
                Err(error) => return Err(error),
            }
        }
    }

    /// Closes our side and waits for the client to close its own, for no more than `most`. Closing on
    /// unread data resets, and the client could lose what it was told last (RFC 9112, section 9.6).
    pub(crate) fn close_in_order(&mut self, most: Discarding) {
        self.set_activity(Activity::Closing);
        if self.shutdown_write().is_err() {
            return;
        }
        let all = Deadline::new(most.time, "the client to close");
        let mut so_far = 0;
        loop {
            let ahead = self.buffer().len();
            self.consume(ahead);
            so_far += ahead;
            let Some(silence) = most.next(&all, so_far) else {
                return;
            };
            if !matches!(self.fill_while(Activity::Closing, &silence), Ok(1..)) {
                return;
            }
        }
    }

    /// Reads what has come into the buffer, from a socket that does not block; `None` when nothing
    /// has.
    pub(crate) fn fill_now(&mut self) -> io::Result<Option<usize>> {
        self.make_room();
        match receive(
            &self.stream,
            &self.live,
            Activity::Reading,
            &mut self.buffer[self.end..],
        ) {
            Ok(count) => {
                self.end += count;
                Ok(Some(count))
            }
            Err(error) if is_timeout(&error) || is_interrupted(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether the last read filled the buffer, so that there may be more to read.
    pub(crate) fn is_full(&self) -> bool {
        self.end == self.buffer.len()
    }

    /// Keeps what the room needs at this connection's next turn.
    pub(crate) fn keep<T: Any + Send>(&mut self, kept: Box<T>) {
        self.kept = Some(kept);
    }

    /// What was kept.
    pub(crate) fn kept<T: Any>(&self) -> Option<&T> {
        self.kept.as_ref()?.downcast_ref()
    }

    /// Takes what was kept.
    pub(crate) fn take_kept<T: Any>(&mut self) -> Option<Box<T>> {
        self.kept.take()?.downcast().ok()
    }

    /// Makes the buffer at least `bytes` long, for a client that sends in bulk: one read then brings
    /// as much.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
    }

    /// Waits up to `linger` for a client that need not send anything.
    pub(crate) fn wait_idle(&mut self, linger: Duration) -> io::Result<Idle> {
        if self.start < self.end {
            return Ok(Idle::Ready);
        }
        self.make_room();
        if self.armed != Some(linger) {
            self.stream.set_read_timeout(Some(linger))?;
            self.armed = Some(linger);
        }
        let (stream, live) = (&self.stream, &self.live);
        match receive(stream, live, Activity::Idle, &mut self.buffer[self.end..]) {
            Ok(0) => Ok(Idle::Ended),
            Ok(count) => {
                self.end += count;
                Ok(Idle::Ready)
            }
            Err(error) if is_timeout(&error) || is_interrupted(&error) => Ok(Idle::Quiet),
            Err(error) => Err(error),
        }
    }

    /// Writes both, in one segment where they fit.
    pub(crate) fn write_all_of(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        self.sending()?.all_of(first, second)
    }

    /// Says what the handler is doing, for `stop` to name it by.
    pub(crate) fn set_activity(&self, activity: Activity) {
        self.live.set_activity(activity);
    }

    pub(crate) fn live(&self) -> &Arc<Live> {
        &self.live
    }

    pub(crate) fn stream(&self) -> &Arc<Stream> {
        &self.stream
    }

    /// The socket itself once more, for a connection over TCP.
    #[cfg(feature = "tunnel")]
    pub(crate) fn try_clone_tcp(&self) -> io::Result<std::net::TcpStream> {
        match &*self.stream {
            Stream::Tcp(tcp) => tcp.try_clone(),
            #[cfg(unix)]
            Stream::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Gives the buffer's memory back while nothing is read ahead: thousands of idle connections
    /// then cost a few hundred bytes each.
    pub(crate) fn release_buffer(&mut self) {
        if self.start == self.end {
            self.buffer = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.read_timeout.unwrap_or(Duration::MAX)
    }

    /// Makes the socket wait no longer than `left`. A shorter wait that is already set is kept, for
    /// most reads need not wait at all; only one that did wait in vain is set anew.
    pub(super) fn arm(&mut self, left: Duration, waited: bool) -> io::Result<()> {
        let kept = match self.armed {
            Some(armed) => armed <= left.saturating_add(SLACK) && !waited,
            None => left == Duration::MAX,
        };
        if !kept {
            let timeout =
                (left < Duration::from_secs(1 << 31)).then(|| left.max(Duration::from_millis(1)));
            self.stream.set_read_timeout(timeout)?;
            self.armed = timeout;
        }
        Ok(())
    }

    /// Takes bytes that were read ahead; a buffer that had to grow for them is given back.
    pub(super) fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        if self.buffer.len() > USUAL_BUFFER {
            self.release_buffer();
        }
        bytes
    }

    /// Moves what was read ahead to the front, and grows a buffer that is full of it.
    pub(super) fn make_room(&mut self) {
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        } else if self.end == self.buffer.len() && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let length = (self.buffer.len() * 2).max(FIRST_BUFFER);
            self.buffer.resize(length, 0);
        }
    }

    pub(super) fn line(&mut self, end: u8, what: &'static str) -> io::Result<Vec<u8>> {
        let limit = self.limits.line;
        let deadline = Deadline::new(self.timeout(), what);
        let mut searched = 0;
        loop {
            let ahead = &self.buffer[self.start..self.end];
            let found = ahead[searched..].iter().position(|byte| *byte == end);
            let length = found.map(|at| searched + at + 1);
            if length.unwrap_or(ahead.len()) > limit {
                let has = format!("has {} or more", bytes_of(ahead.len()));
                return Err(self.over_limit(what, &has, limit, "max_line"));
            }
            if let Some(length) = length {
                let line = ahead[..length].to_vec();
                self.start += length;
                return Ok(line);
            }
            searched = ahead.len();
            if self.fill(&deadline)? == 0 {
                // Half a line is the client's last one only where it is the client that has ended.
                if searched > 0 && self.live.is_shut_by_stop() {
                    let came = quoted(self.buffer(), 64);
                    let missing = match end {
                        b'\n' => "the end of the line",
                        _ => "a delimiter",
                    };
                    return Err(self.ended(&format!("{came}, before {missing}")));
                }
                let line = self.buffer[self.start..self.end].to_vec();
                self.start = self.end;
                return Ok(line);
            }
        }
    }

    fn timed_out(&self, deadline: &Deadline, came: &[u8]) -> io::Error {
        let came = came_so_far(came);
        deadline.error(&format!(" from {}; {came}", self.live.peer))
    }

    /// A timeout's error for a reader that has taken what came out of the buffer already.
    pub(super) fn retold(&self, error: io::Error, deadline: &Deadline, came: &[u8]) -> io::Error {
        match error.kind() {
            io::ErrorKind::TimedOut => self.timed_out(deadline, came),
            _ => error,
        }
    }

    /// The error of an end that came too early. A stop is an excuse: the client, which had not closed,
    /// could have gone on.
    pub(super) fn ended(&self, came: &str) -> io::Error {
        let kind = io::ErrorKind::UnexpectedEof;
        match self.live.is_shut_by_stop() {
            true => cut(kind, format!("the server stopped after {came}")),
            false => prose(kind, format!("{} closed after {came}", self.live.peer)),
        }
    }

    /// The error of something that is longer than the test allows; `says` is how long it is.
    pub(super) fn over_limit(
        &self,
        what: &str,
        says: &str,
        limit: usize,
        option: &str,
    ) -> io::Error {
        let peer = &self.live.peer;
        let text = format!("{what} from {peer} {says}, the limit is {limit} (builder().{option})");
        io::Error::new(io::ErrorKind::InvalidData, text)
    }
}
