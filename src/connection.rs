//! The stream a handler gets.

use std::any::Any;
use std::fmt;
use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::deadline::{Deadline, prose};
use crate::server::address::Address;
use crate::server::failure::CutByStop;
use crate::server::registry::{Activity, Live};
use crate::server::socket::Stream;

/// A client's connection, as a handler gets it: [`Read`], [`Write`], [`BufRead`] and helpers.
///
/// Every call is bounded. A read waits at most the read timeout, which the server's builder sets
/// (30 s unless told) and [`set_read_timeout`](Connection::set_read_timeout) changes; helpers such as
/// [`read_line`](Connection::read_line) are bounded by it as a whole, however many pieces come. The
/// error of a wait that ran out says what was waited for and what had come.
///
/// When the server stops, reads end as if the client had closed; what was received before is still
/// read, and what the handler writes is still sent.
///
/// Dropping it closes the connection: in a handler of a [`TestTcpServer`](crate::TestTcpServer) when
/// the handler has ended and its outcome is known, so that a client that reads the end finds it
/// recorded. A connection that a handler gives away lives on; a stop shuts it.
///
/// ```
/// use std::io::{Read, Write};
/// use loopback::TestTcpServer;
///
/// let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
///     let name = conn.read_line()?;
///     write!(conn, "Hello, {name}")
/// })?;
/// let mut client = std::net::TcpStream::connect(server.local_addr())?;
/// client.write_all(b"world\n")?;
/// let mut greeting = String::new();
/// client.read_to_string(&mut greeting)?;
/// assert_eq!(greeting, "Hello, world\n");
/// server.stop(std::time::Duration::from_secs(1))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Connection {
    live: Arc<Live>,
    stream: Arc<Stream>,
    local: Address,
    limits: Limits,
    /// What was read ahead: `buffer[start..end]`.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    read_timeout: Option<Duration>,
    /// The timeout that the socket has now, so that it is set only when it changes.
    armed: Option<Duration>,
    /// Whether a line reader has been told the end of the stream.
    end_told: bool,
    write_timeout: Option<Duration>,
    /// What the room keeps of it between turns.
    kept: Option<Box<dyn Any + Send>>,
    /// Requests it has carried, counted by the room: they outlast being parked.
    #[cfg(feature = "http")]
    pub(crate) exchanges: u64,
}

/// The bounds of what the helpers gather in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes of a line, its end included.
    pub(crate) line: usize,
    /// Bytes of a frame, its length not counted.
    pub(crate) frame: usize,
    /// Bytes of everything until the end of the stream.
    pub(crate) rest: usize,
    pub(crate) read_timeout: Option<Duration>,
    pub(crate) write_timeout: Option<Duration>,
}

/// What came of waiting for a client that owes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Idle {
    /// There is something to read.
    Ready,
    /// Nothing came in time.
    Quiet,
    /// The client has closed, or the server stops.
    Ended,
}

const FIRST_BUFFER: usize = 8 * 1024;
/// A larger buffer is not kept when it is empty.
const USUAL_BUFFER: usize = 256 * 1024;

/// Re-arming the socket's timeout is a system call; a wait may be longer by this much to spare it.
const SLACK: Duration = Duration::from_millis(2);

impl Connection {
    pub(crate) fn new(
        stream: Arc<Stream>,
        live: Arc<Live>,
        local: Address,
        limits: Limits,
    ) -> io::Result<Connection> {
        stream.set_write_timeout(limits.write_timeout)?;
        Ok(Connection {
            live,
            stream,
            local,
            limits,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            read_timeout: limits.read_timeout,
            // The read timeout is set by the first read that waits, for rooms have their own.
            armed: None,
            end_told: false,
            write_timeout: limits.write_timeout,
            kept: None,
            #[cfg(feature = "http")]
            exchanges: 0,
        })
    }

    /// Reads a line of text, its end (`\n` or `\r\n`) included; the last line without an end if it
    /// has none, and an empty string, once, at the end of the stream.
    ///
    /// ```
    /// use std::io::{self, Write};
    /// use loopback::TestTcpServer;
    ///
    /// let server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
    ///     loop {
    ///         let line = conn.read_line()?;
    ///         if line.is_empty() {
    ///             return Ok(()); // the client has closed its side
    ///         }
    ///         conn.write_all(line.to_uppercase().as_bytes())?;
    ///     }
    /// })?;
    /// # drop(server);
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `TimedOut` after the read timeout, with what had come; `InvalidData` where the line is not
    /// UTF-8 or longer than the builder's `max_line` (1 MiB unless told); `UnexpectedEof` when it is
    /// called again after the end of the stream, for a loop that overlooks the end would never end.
    pub fn read_line(&mut self) -> io::Result<String> {
        let line = self.line(b'\n', "a line")?;
        if line.is_empty() && std::mem::replace(&mut self.end_told, true) {
            return Err(self.ended(1, "the last line, and the end was told by an empty one"));
        }
        String::from_utf8(line).map_err(not_utf8)
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` or `TimedOut`, with how many came; the bytes themselves stay readable.
    /// `InvalidInput` for more than the builder's `max_read` (1 GiB unless told).
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > self.limits.rest {
            return Err(self.too_long("a read", count, self.limits.rest, "max_read"));
        }
        let deadline = Deadline::new(self.timeout(), "bytes");
        // Gathered in the buffer, which grows with what comes: a wrong count costs no memory, and
        // after an error the bytes are still there.
        while self.end - self.start < count {
            if self.fill(&deadline)? == 0 {
                let came = self.end - self.start;
                return Err(self.ended(came, &format!("{came} of {count} bytes")));
            }
        }
        Ok(self.take(count))
    }

    /// Reads everything until the client closes its side.
    ///
    /// # Errors
    /// `TimedOut` when it has not closed within the read timeout; `InvalidData` beyond the builder's
    /// `max_read` (1 GiB unless told).
    pub fn read_rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.read_to_end(&mut rest)?;
        Ok(rest)
    }

    /// Reads a frame: a length of 4 bytes, big-endian, and so many bytes. `None` where the stream
    /// ends before one begins.
    ///
    /// This is the framing of pytest-tcpclient and of Python's `SocketHandler`.
    ///
    /// # Errors
    /// `UnexpectedEof` for a frame cut short, with how much of it came; `TimedOut`; `InvalidData` for
    /// a length above the builder's `max_frame` (64 MiB unless told).
    pub fn read_frame(&mut self) -> io::Result<Option<Vec<u8>>> {
        let deadline = Deadline::new(self.timeout(), "a frame");
        while self.end - self.start < 4 {
            let had = self.end - self.start;
            if self.fill(&deadline)? == 0 {
                return match had {
                    0 => Ok(None),
                    n => Err(self.ended(n, &format!("{n} of the 4 bytes of a frame's length"))),
                };
            }
        }
        let length: [u8; 4] = std::array::from_fn(|i| self.buffer[self.start + i]);
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limits.frame {
            return Err(self.too_long("a frame", length, self.limits.frame, "max_frame"));
        }
        while self.end - self.start < 4 + length {
            if self.fill(&deadline)? == 0 {
                let came = self.end - self.start - 4;
                return Err(self.ended(4, &format!("{came} of {length} bytes of a frame")));
            }
        }
        self.start += 4;
        Ok(Some(self.take(length)))
    }

    /// Writes a frame: the length of `data` in 4 bytes, big-endian, and `data`, in one segment where
    /// it fits.
    ///
    /// # Errors
    /// `InvalidInput` for data of 4 GiB or more, and what writing gives.
    pub fn write_frame(&mut self, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a frame of {} bytes does not fit its length", data.len()),
            )
        })?;
        self.write_all_of(&length.to_be_bytes(), data)
    }

    /// Closes the writing side: the client reads the end of the stream, and can still send.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes the connection with a RST (linger of zero seconds), so that the client's next read or
    /// write fails with `ConnectionReset`. On a Unix-domain socket this is a plain close.
    pub fn reset(self) -> io::Result<()> {
        self.stream.set_reset_on_close()
    }

    /// Closes both sides at once, where the drop of the connection waits for the handler's end.
    pub fn close(self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Both)
    }

    /// Waits, as a handler that is slow would. Ends at once when the server stops, with an error of
    /// kind `ConnectionAborted`.
    pub fn pause(&self, duration: Duration) -> io::Result<()> {
        let before = self.live.set_activity(Activity::Pausing);
        let stopped = self.live.stop.wait(duration);
        self.live.set_activity(before);
        if stopped {
            return Err(cut(
                io::ErrorKind::ConnectionAborted,
                "the server stopped during a pause".into(),
            ));
        }
        Ok(())
    }

    /// Whether the server is stopping, for handlers that loop.
    pub fn is_stopping(&self) -> bool {
        self.live.stop.is_set()
    }

    /// How long reads wait; `None` for ever (or until the server stops).
    pub fn read_timeout(&self) -> Option<Duration> {
        self.read_timeout
    }

    /// Sets how long reads wait; `None` for ever (or until the server stops).
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn set_read_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_read_timeout(timeout)?;
        self.armed = timeout;
        self.read_timeout = timeout;
        Ok(())
    }

    /// Sets how long a write waits for a client that does not read; `None` for ever (or until the
    /// server stops).
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.stream.set_write_timeout(timeout)?;
        self.write_timeout = timeout;
        Ok(())
    }

    /// The client's address.
    pub fn peer(&self) -> &Address {
        &self.live.peer
    }

    /// The address the client connected to.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The client's IP address and port.
    ///
    /// # Errors
    /// `InvalidInput` on a Unix-domain socket.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.live.peer.to_inet()
    }

    /// The IP address and port the client connected to.
    ///
    /// # Errors
    /// `InvalidInput` on a Unix-domain socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local.to_inet()
    }

    /// The bytes that were read ahead and not consumed.
    pub(crate) fn buffer(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads more into the buffer, behind what is there; 0 at the end of the stream.
    pub(crate) fn fill(&mut self, deadline: &Deadline) -> io::Result<usize> {
        self.make_room();
        let mut waited = false;
        loop {
            let left = deadline.check().map_err(|_| self.timed_out(deadline))?;
            self.arm(left, waited)?;
            let (stream, live) = (&self.stream, &self.live);
            match receive(
                stream,
                live,
                Activity::Reading,
                &mut self.buffer[self.end..],
            ) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if is_timeout(&error) => waited = true,
                Err(error) => return Err(error),
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
            Err(error) if is_timeout(&error) => Ok(None),
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
            Err(error) if is_timeout(&error) => Ok(Idle::Quiet),
            Err(error) => Err(error),
        }
    }

    /// Writes both, in one segment where they fit.
    pub(crate) fn write_all_of(&mut self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let sent = match self.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(error) => return Err(error),
        };
        if sent < first.len() {
            self.write_all(&first[sent..])?;
            self.write_all(second)
        } else {
            self.write_all(&second[sent - first.len()..])
        }
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

    /// Gives the buffer's memory back while nothing is read ahead: thousands of idle connections
    /// then cost a few hundred bytes each.
    pub(crate) fn release_buffer(&mut self) {
        if self.start == self.end {
            self.buffer = Vec::new();
            self.start = 0;
            self.end = 0;
        }
    }

    fn timeout(&self) -> Duration {
        self.read_timeout.unwrap_or(Duration::MAX)
    }

    /// Makes the socket wait no longer than `left`. A shorter wait that is already set is kept, for
    /// most reads need not wait at all; only one that did wait in vain is set anew.
    fn arm(&mut self, left: Duration, waited: bool) -> io::Result<()> {
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
    fn take(&mut self, count: usize) -> Vec<u8> {
        let bytes = self.buffer[self.start..self.start + count].to_vec();
        self.start += count;
        if self.buffer.len() > USUAL_BUFFER {
            self.release_buffer();
        }
        bytes
    }

    /// Moves what was read ahead to the front, and grows a buffer that is full of it.
    fn make_room(&mut self) {
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

    fn line(&mut self, end: u8, what: &'static str) -> io::Result<Vec<u8>> {
        let limit = self.limits.line;
        let deadline = Deadline::new(self.timeout(), what);
        let mut searched = 0;
        loop {
            let ahead = &self.buffer[self.start..self.end];
            let found = ahead[searched..].iter().position(|byte| *byte == end);
            let length = found.map(|at| searched + at + 1);
            if length.unwrap_or(ahead.len()) > limit {
                return Err(self.too_long(what, ahead.len(), limit, "max_line"));
            }
            if let Some(length) = length {
                let line = ahead[..length].to_vec();
                self.start += length;
                return Ok(line);
            }
            searched = ahead.len();
            if self.fill(&deadline)? == 0 {
                let line = self.buffer[self.start..self.end].to_vec();
                self.start = self.end;
                return Ok(line);
            }
        }
    }

    fn timed_out(&self, deadline: &Deadline) -> io::Error {
        deadline.error(&format!(
            " from {}; {}",
            self.live.peer,
            came_so_far(self.buffer())
        ))
    }

    /// A timeout's error for a reader that has taken what came out of the buffer already.
    fn retold(&self, error: io::Error, deadline: &Deadline, came: &[u8]) -> io::Error {
        match error.kind() {
            io::ErrorKind::TimedOut => {
                let came = came_so_far(came);
                deadline.error(&format!(" from {}; {came}", self.live.peer))
            }
            _ => error,
        }
    }

    /// The error of an end that came too early, after `had` bytes of what was to be read. A stop is
    /// an excuse for a client that was silent, not for one that had begun.
    fn ended(&self, had: usize, came: &str) -> io::Error {
        let kind = io::ErrorKind::UnexpectedEof;
        match (self.live.is_shut_by_stop(), had) {
            (true, 0) => cut(kind, format!("the server stopped after {came}")),
            (true, _) => prose(kind, format!("the server stopped after {came}")),
            (false, _) => prose(kind, format!("{} closed after {came}", self.live.peer)),
        }
    }

    fn too_long(&self, what: &str, length: usize, limit: usize, option: &str) -> io::Error {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{what} from {} has {length} bytes or more, the limit is {limit} (builder().{option})",
                self.live.peer
            ),
        )
    }
}

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
        receive(&self.stream, &self.live, Activity::Reading, into).map_err(|error| {
            if !is_timeout(&error) {
                return error;
            }
            prose(
                io::ErrorKind::TimedOut,
                format!(
                    "timed out after {:?} waiting for bytes from {}; {} came before",
                    self.timeout(),
                    self.live.peer,
                    self.live.received.load(Ordering::Relaxed)
                ),
            )
        })
    }

    fn read_to_end(&mut self, into: &mut Vec<u8>) -> io::Result<usize> {
        let deadline = Deadline::new(self.timeout(), "the end of the stream");
        let before = into.len();
        loop {
            into.extend_from_slice(&self.buffer[self.start..self.end]);
            self.start = self.end;
            let length = into.len() - before;
            if length > self.limits.rest {
                return Err(self.too_long("the stream", length, self.limits.rest, "max_read"));
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
                        return Err(self.ended(done, &format!("{done} of {} bytes", into.len())));
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
        send(&self.live, || self.stream.write(data))
    }

    fn write_vectored(&mut self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        send(&self.live, || self.stream.write_vectored(data))
    }

    /// Writes all, within the write timeout as a whole.
    fn write_all(&mut self, data: &[u8]) -> io::Result<()> {
        let sent = self.write_some(data)?;
        if sent == data.len() {
            return Ok(());
        }
        self.write_rest(&data[sent..])
    }

    /// Does nothing: what is written is sent at once.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection {
    /// Writes once, whatever signals interrupt it.
    fn write_some(&mut self, data: &[u8]) -> io::Result<usize> {
        loop {
            match self.write(data) {
                Ok(0) if !data.is_empty() => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// The rest of a write that the client's window cut: each further one waits only for what is left
    /// of the timeout.
    fn write_rest(&mut self, mut data: &[u8]) -> io::Result<()> {
        let timeout = self.write_timeout;
        let deadline = Deadline::new(timeout.unwrap_or(Duration::MAX), "the client to read");
        let mut outcome = Ok(());
        while outcome.is_ok() && !data.is_empty() {
            if timeout.is_some() {
                let left = deadline.remaining().max(Duration::from_millis(1));
                self.stream.set_write_timeout(Some(left))?;
            }
            outcome = match self.write_some(data) {
                Ok(_) if timeout.is_some() && deadline.expired() => Err(not_read(&self.live)),
                Ok(sent) => {
                    data = &data[sent..];
                    Ok(())
                }
                Err(error) => Err(error),
            };
        }
        self.stream.set_write_timeout(timeout)?;
        outcome
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

/// One read of the socket, told to the registry; begun again when a signal interrupts it.
fn receive(stream: &Stream, live: &Live, activity: Activity, into: &mut [u8]) -> io::Result<usize> {
    let before = live.set_activity(activity);
    let outcome = loop {
        match stream.read(into) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => break outcome,
        }
    };
    live.set_activity(before);
    match &outcome {
        Ok(count) if *count > 0 => live.note_received(&into[..*count]),
        _ => {}
    }
    outcome.map_err(|error| match is_timeout(&error) {
        true => error,
        false => told(live, "reading from", &error),
    })
}

fn send(live: &Live, write: impl FnOnce() -> io::Result<usize>) -> io::Result<usize> {
    let before = live.set_activity(Activity::Writing);
    let outcome = write();
    live.set_activity(before);
    match outcome {
        Ok(count) => {
            live.note_sent(count);
            Ok(count)
        }
        Err(error) if is_timeout(&error) => Err(not_read(live)),
        Err(error) => Err(told(live, "writing to", &error)),
    }
}

fn not_read(live: &Live) -> io::Error {
    prose(
        io::ErrorKind::TimedOut,
        format!(
            "timed out writing to {}, which does not read; {} bytes were sent before",
            live.peer,
            live.sent.load(Ordering::Relaxed)
        ),
    )
}

fn not_utf8(error: std::string::FromUtf8Error) -> io::Error {
    prose(
        io::ErrorKind::InvalidData,
        format!("what came is not UTF-8: {error}"),
    )
}

/// An error of the socket, with what was tried and how far it had come, or with the mark of a stop
/// that caused it.
fn told(live: &Live, doing: &str, error: &io::Error) -> io::Error {
    let text = format!(
        "{doing} {}: {error}; {} bytes were received and {} sent before",
        live.peer,
        live.received.load(Ordering::Relaxed),
        live.sent.load(Ordering::Relaxed)
    );
    match live.is_shut_by_stop() {
        true => cut(error.kind(), text),
        false => prose(error.kind(), text),
    }
}

/// An error that is the stop's doing, so that the handler that returns it has not failed.
fn cut(kind: io::ErrorKind, text: String) -> io::Error {
    io::Error::new(kind, CutByStop(text))
}

/// A socket's timeout shows as either, by platform.
fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// How much came, and its first bytes as text.
fn came_so_far(bytes: &[u8]) -> String {
    const MOST: usize = 64;
    match bytes {
        [] => "nothing came so far".to_owned(),
        _ => format!(
            "{} bytes came so far: \"{}\"{}",
            bytes.len(),
            bytes[..bytes.len().min(MOST)].escape_ascii(),
            if bytes.len() > MOST { "..." } else { "" }
        ),
    }
}
