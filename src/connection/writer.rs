//! Writing to the socket: for the connection, and for the writers that other threads have of it.

use std::fmt;
use std::io::{self, IoSlice, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Connection;
use super::wire::{is_interrupted, not_read, send};
use crate::deadline::{Deadline, prose};
use crate::net::address::Address;
use crate::net::live::Live;
use crate::net::socket::Stream;

/// A second handle to a [`Connection`] that writes, for a thread that is not the handler's:
/// [`Connection::writer`] gives it.
///
/// `write_all` and [`write_frame`](ConnectionWriter::write_frame) send their data whole: what the connection
/// or another writer sends meanwhile comes before or after it. The connection is closed when it and
/// all its writers are dropped.
///
/// What it sends counts as the connection's, and a stop shuts both. A panic in a thread of the
/// handler's own reaches the test when the handler joins that thread, as
/// [`thread::scope`](std::thread::scope) does.
pub struct ConnectionWriter {
    live: Arc<Live>,
    stream: Arc<Stream>,
    timeout: Option<Duration>,
    turn: Arc<Turn>,
}

/// Who has it may write. It holds the write timeout that the socket has, which all of a connection's
/// handles share.
pub(super) type Turn = Mutex<Option<Duration>>;

impl Connection {
    /// A second handle that writes, for another thread, while this one reads. Its write timeout is
    /// the connection's, and is its own from then on.
    ///
    /// The server sees what the handler gives, and nothing of the handler's own threads: join them, and
    /// pass on what they give, or a failure there is lost.
    ///
    /// ```
    /// use std::io::{self, Read, Write};
    /// use std::thread;
    /// use loopback::TestTcpServer;
    ///
    /// let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
    ///     let mut writer = conn.writer();
    ///     thread::scope(|scope| {
    ///         let news = scope.spawn(move || writer.write_all(b"news, whatever is asked\n"));
    ///         while !conn.read_line()?.is_empty() {}
    ///         news.join().unwrap() // its error is the handler's, and its panic too
    ///     })
    /// })?;
    /// let mut client = std::net::TcpStream::connect(server.local_addr())?;
    /// client.shutdown(std::net::Shutdown::Write)?;
    /// let mut news = String::new();
    /// client.read_to_string(&mut news)?;
    /// assert_eq!(news, "news, whatever is asked\n");
    /// server.stop(std::time::Duration::from_secs(1))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(&mut self) -> ConnectionWriter {
        let timeout = self.write_timeout;
        let turn = self
            .turn
            .get_or_insert_with(|| Arc::new(Mutex::new(timeout)));
        ConnectionWriter {
            live: Arc::clone(&self.live),
            stream: Arc::clone(&self.stream),
            timeout,
            turn: Arc::clone(turn),
        }
    }

    /// The right to write, for the handler's thread.
    pub(super) fn sending(&self) -> io::Result<Sending<'_>> {
        Ok(Sending {
            live: &self.live,
            stream: &self.stream,
            timeout: self.write_timeout,
            is_handler: true,
            _turn: match &self.turn {
                Some(turn) => Some(take(turn, &self.stream, self.write_timeout)?),
                // No other handle writes, so the socket has its timeout already.
                None => None,
            },
        })
    }
}

impl ConnectionWriter {
    /// Writes a frame, as [`Connection::write_frame`].
    ///
    /// # Errors
    /// `InvalidInput` for data of 4 GiB or more, and what writing gives.
    pub fn write_frame(&mut self, data: &[u8]) -> io::Result<()> {
        self.sending()?.frame(data)
    }

    /// Closes the writing side, of the connection too: the client reads the end of the stream, and can
    /// still send.
    pub fn shutdown_write(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Sets how long this writer's writes wait for a client that does not read; `None` for ever (or
    /// until the server stops). While another handle writes they wait for that one, within its timeout.
    ///
    /// # Errors
    /// `InvalidInput` for a timeout of zero.
    pub fn set_write_timeout(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        not_zero(timeout)?;
        self.timeout = timeout;
        Ok(())
    }

    /// The client's address.
    pub fn peer(&self) -> &Address {
        &self.live.peer
    }

    fn sending(&self) -> io::Result<Sending<'_>> {
        Ok(Sending {
            live: &self.live,
            stream: &self.stream,
            timeout: self.timeout,
            is_handler: false,
            _turn: Some(take(&self.turn, &self.stream, self.timeout)?),
        })
    }
}

impl Write for ConnectionWriter {
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

impl fmt::Debug for ConnectionWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionWriter")
            .field("peer", &format_args!("{}", self.live.peer))
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Waits for the turn, and has the socket wait as long as this handle would.
fn take<'a>(
    turn: &'a Turn,
    stream: &Stream,
    timeout: Option<Duration>,
) -> io::Result<MutexGuard<'a, Option<Duration>>> {
    let mut armed = turn.lock().unwrap_or_else(PoisonError::into_inner);
    if *armed != timeout {
        stream.set_write_timeout(timeout)?;
        *armed = timeout;
    }
    Ok(armed)
}

pub(super) fn not_zero(timeout: Option<Duration>) -> io::Result<()> {
    match timeout {
        Some(Duration::ZERO) => Err(prose(
            io::ErrorKind::InvalidInput,
            "a timeout cannot be zero; None waits for ever".into(),
        )),
        _ => Ok(()),
    }
}

/// The right to write to the socket, until it is dropped.
pub(super) struct Sending<'a> {
    live: &'a Live,
    stream: &'a Stream,
    timeout: Option<Duration>,
    /// Whether it is the handler's own thread that writes: that one's doing is what a stop tells.
    is_handler: bool,
    _turn: Option<MutexGuard<'a, Option<Duration>>>,
}

impl Sending<'_> {
    pub(super) fn some(&self, data: &[u8]) -> io::Result<usize> {
        self.once(&self.deadline(), || self.stream.write(data))
    }

    pub(super) fn vectored(&self, data: &[IoSlice<'_>]) -> io::Result<usize> {
        self.once(&self.deadline(), || self.stream.write_vectored(data))
    }

    /// Writes all, within the timeout as a whole.
    pub(super) fn all(&self, data: &[u8]) -> io::Result<()> {
        let deadline = self.deadline();
        let sent = self.once(&deadline, || self.stream.write(data))?;
        self.rest(&deadline, data, sent)
    }

    /// Writes both, in one segment where they fit, within the timeout as a whole.
    pub(super) fn all_of(&self, first: &[u8], second: &[u8]) -> io::Result<()> {
        let deadline = self.deadline();
        let both = [IoSlice::new(first), IoSlice::new(second)];
        let sent = self.once(&deadline, || self.stream.write_vectored(&both))?;
        self.rest(&deadline, first, sent.min(first.len()))?;
        self.rest(&deadline, second, sent.saturating_sub(first.len()))
    }

    pub(super) fn frame(&self, data: &[u8]) -> io::Result<()> {
        let length = u32::try_from(data.len()).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("a frame of {} bytes does not fit its length", data.len()),
            )
        })?;
        self.all_of(&length.to_be_bytes(), data)
    }

    fn deadline(&self) -> Deadline {
        let timeout = self.timeout.unwrap_or(Duration::MAX);
        Deadline::new(timeout, "the client to read")
    }

    /// Writes once; after a signal again, for what is left of the timeout.
    fn once(
        &self,
        deadline: &Deadline,
        mut write: impl FnMut() -> io::Result<usize>,
    ) -> io::Result<usize> {
        match send(self.live, self.is_handler, &mut write) {
            Err(error) if is_interrupted(&error) => {}
            outcome => return outcome,
        }
        let outcome = loop {
            // Each signal would begin the socket's whole timeout again.
            if let Err(error) = self.arm(deadline) {
                break Err(error);
            }
            match send(self.live, self.is_handler, &mut write) {
                Err(error) if is_interrupted(&error) => {}
                outcome => break outcome,
            }
        };
        self.stream.set_write_timeout(self.timeout)?;
        outcome
    }

    /// The rest of a write that the client's window cut behind `sent` bytes: each further one waits only
    /// for what is left of the timeout.
    fn rest(&self, deadline: &Deadline, data: &[u8], sent: usize) -> io::Result<()> {
        let mut data = &data[sent..];
        if data.is_empty() {
            return Ok(());
        }
        let mut outcome = Ok(());
        while outcome.is_ok() && !data.is_empty() {
            outcome = self
                .arm(deadline)
                .and_then(|()| send(self.live, self.is_handler, || self.stream.write(data)))
                .map(|sent| data = &data[sent..]);
            match &outcome {
                Err(error) if is_interrupted(error) => outcome = Ok(()),
                _ => {}
            }
        }
        self.stream.set_write_timeout(self.timeout)?;
        outcome
    }

    /// Makes the socket wait no longer than what is left; an error when nothing is.
    fn arm(&self, deadline: &Deadline) -> io::Result<()> {
        if self.timeout.is_none() {
            return Ok(());
        }
        if deadline.expired() {
            return Err(not_read(self.live));
        }
        let left = deadline.remaining().max(Duration::from_millis(1));
        self.stream.set_write_timeout(Some(left))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::net::stop::StopSignal;
    use crate::server::options::Options;

    #[test]
    fn each_handle_has_the_socket_wait_as_long_as_it_would() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (socket, peer) = listener.accept().unwrap();
        let same_socket = socket.try_clone().unwrap();
        let armed = || same_socket.write_timeout().unwrap();
        let stream = Arc::new(Stream::Tcp(socket));
        let (_switch, stop) = StopSignal::new();
        let live = Arc::new(Live::new(1, peer.into(), &stream, stop, 0));
        let limits = Options::default().limits;
        let mut conn = Connection::new(stream, live, peer.into(), limits).unwrap();

        let [long, short] = [limits.write_timeout, Some(Duration::from_secs(1))];
        let mut writer = conn.writer();
        writer.write_all(b"x").unwrap();
        assert_eq!(armed(), long);
        writer.set_write_timeout(short).unwrap();
        assert_eq!(armed(), long);
        writer.write_all(b"x").unwrap();
        assert_eq!(armed(), short);
        conn.write_all(b"x").unwrap();
        assert_eq!(armed(), long);
        conn.set_write_timeout(None).unwrap();
        conn.writer().write_all(b"x").unwrap();
        assert_eq!(armed(), None);
        writer.write_all(b"x").unwrap();
        assert_eq!(armed(), short);
    }
}
