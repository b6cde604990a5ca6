//! The stream a handler gets: what users call. `buffer` is what the rooms and the rest of it use,
//! `traits` std's reading and writing, `writer` writing from more than one thread, `wire` single reads
//! and writes of the socket and their errors.

mod buffer;
pub(crate) mod discarding;
mod traits;
mod wire;
mod writer;

use std::any::Any;
use std::fmt;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::wire::{came_so_far, quoted};
use self::wire::{cut, not_utf8};
pub use self::writer::ConnectionWriter;
use self::writer::{Turn, not_zero};
use crate::deadline::{Deadline, bytes_of};
use crate::net::address::Address;
use crate::net::live::{Activity, Live};
use crate::net::socket::Stream;
use crate::net::stop::StopSignal;

/// A client's connection, as a handler gets it: [`Read`], [`Write`](io::Write), [`BufRead`](io::BufRead) and helpers.
///
/// Every call is bounded. A read waits at most the read timeout, which the server's builder sets
/// (30 s unless told) and [`set_read_timeout`](Connection::set_read_timeout) changes; helpers such as
/// [`read_line`](Connection::read_line) are bounded by it as a whole, however many pieces come. The
/// error of a wait that ran out says what was waited for and what had come.
///
/// When the server stops, reads end as if the client had closed; what was received before is still
/// read, and what the handler writes is still sent. A pause ends at once, and near the stop's timeout
/// writes do too, with an error that carries the stop's mark: a handler that returns it, as it is or as
/// the cause of its own, does not fail the test. An `unwrap` of it is a panic like any other, and does;
/// so prefer `?`.
///
/// A [`writer`](Connection::writer) of it writes in another thread.
///
/// Dropping it closes the connection: in a handler of a [`TestTcpServer`](crate::TestTcpServer) when
/// the handler has ended and its outcome is known, so that a client that reads the end finds it
/// recorded. A connection that a handler gives away lives on; a stop shuts it. A handler that has sent nothing, and
/// has not read all that had come, resets the connection by that, as any program does: its client reads no end, but
/// an error.
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
    /// Where there are [`ConnectionWriter`]s: who has it may write.
    turn: Option<Arc<Turn>>,
    /// What the room keeps of it between turns.
    kept: Option<Box<dyn Any + Send>>,
    /// Requests it has carried, counted by the room: they outlast being parked.
    #[cfg(feature = "http")]
    pub(crate) exchanges: u64,
}

/// Whether a server stops, and a wait that ends with it: [`Connection::stopped`] gives it.
#[derive(Clone)]
pub struct Stopped {
    signal: StopSignal,
}

impl Stopped {
    /// Whether the server is stopping.
    pub fn is_set(&self) -> bool {
        self.signal.is_set()
    }

    /// Waits until the server stops, at most `timeout`, and says whether it does.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.signal.wait(timeout)
    }
}

impl fmt::Debug for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stopped({})", self.is_set())
    }
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
            turn: None,
            kept: None,
            #[cfg(feature = "http")]
            exchanges: 0,
        })
    }

    /// Reads a line of text, its end (`\n` or `\r\n`) included; the last line without an end if it
    /// has none, and an empty string, once, at the end of the stream. A line that a stop of the server cuts
    /// is an error that carries the stop's mark; what came of it stays readable.
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
        String::from_utf8(self.read_line_bytes()?).map_err(not_utf8)
    }

    /// Reads a line as [`read_line`](Connection::read_line) does, but as bytes, for protocols that are not
    /// UTF-8: its end included, the last line without an end if it has none, and empty, once, at the end of
    /// the stream.
    ///
    /// # Errors
    /// As [`read_line`](Connection::read_line), but for the encoding.
    pub fn read_line_bytes(&mut self) -> io::Result<Vec<u8>> {
        let line = self.line(b'\n', "a line")?;
        if line.is_empty() && std::mem::replace(&mut self.end_told, true) {
            return Err(self
                .ended("the last line, which an empty one has told already: stop reading there"));
        }
        Ok(line)
    }

    /// Reads to the next byte that is `delimiter`, and gives it too; as
    /// [`read_line_bytes`](Connection::read_line_bytes) with another end of a line.
    ///
    /// # Errors
    /// As [`read_line_bytes`](Connection::read_line_bytes).
    pub fn read_bytes_until(&mut self, delimiter: u8) -> io::Result<Vec<u8>> {
        let piece = self.line(delimiter, "a piece up to its delimiter")?;
        if piece.is_empty() && std::mem::replace(&mut self.end_told, true) {
            return Err(self
                .ended("the last piece, which an empty one has told already: stop reading there"));
        }
        Ok(piece)
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` or `TimedOut`, with how many came; the bytes themselves stay readable.
    /// `InvalidData` for more than the builder's `max_read` (1 GiB unless told).
    pub fn read_bytes(&mut self, count: usize) -> io::Result<Vec<u8>> {
        if count > self.limits.rest {
            let asks = format!("asks for {}", bytes_of(count));
            return Err(self.over_limit("a read", &asks, self.limits.rest, "max_read"));
        }
        let deadline = Deadline::new(self.timeout(), "bytes");
        // Gathered in the buffer, which grows with what comes: a wrong count costs no memory, and
        // after an error the bytes are still there.
        while self.end - self.start < count {
            if self.fill(&deadline)? == 0 {
                let came = self.end - self.start;
                return Err(self.ended(&format!("{came} of {count} bytes")));
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
                    n => Err(self.ended(&format!("{n} of the 4 bytes of a frame's length"))),
                };
            }
        }
        let length: [u8; 4] = std::array::from_fn(|i| self.buffer[self.start + i]);
        let length = u32::from_be_bytes(length) as usize;
        if length > self.limits.frame {
            let announces = format!("announces {}", bytes_of(length));
            return Err(self.over_limit("a frame", &announces, self.limits.frame, "max_frame"));
        }
        while self.end - self.start < 4 + length {
            if self.fill(&deadline)? == 0 {
                let came = self.end - self.start - 4;
                return Err(self.ended(&format!("{came} of {length} bytes of a frame")));
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
        self.sending()?.frame(data)
    }

    /// Closes the writing side: the client reads the end of the stream, and can still send.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Closes the connection with a RST (linger of zero seconds), so that the client's next read or
    /// write fails with `ConnectionReset`. On a Unix-domain socket this is a plain close.
    pub fn reset(self) -> io::Result<()> {
        self.live.note_closed_by_handler();
        self.stream.set_reset_on_close()
    }

    /// Closes both sides at once, where the drop of the connection waits for the handler's end.
    pub fn close(self) -> io::Result<()> {
        self.live.note_closed_by_handler();
        self.stream.shutdown(Shutdown::Both)
    }

    /// Waits, as a handler that is slow would. Ends at once when the server stops, with an error of
    /// kind `ConnectionAborted`, which fails no test when the handler returns it, but does when it is
    /// unwrapped.
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

    /// What a handler waits on that has something else to wait for: it ends with the stop. It can be cloned
    /// and given to other threads.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::time::Duration;
    /// use loopback::TestTcpServer;
    ///
    /// let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
    ///     let stopped = conn.stopped();
    ///     while !stopped.wait(Duration::from_millis(10)) {
    ///         conn.write_all(b"tick\n")?;
    ///     }
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// let client = std::net::TcpStream::connect(server.local_addr())?;
    /// server.stop(Duration::from_secs(5))?;
    /// # drop(client);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn stopped(&self) -> Stopped {
        Stopped {
            signal: self.live.stop.clone(),
        }
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
        match self.turn {
            // The next write sets it, for another handle may write just now.
            Some(_) => not_zero(timeout)?,
            None => self.stream.set_write_timeout(timeout)?,
        }
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
}

#[cfg(test)]
mod tests;
