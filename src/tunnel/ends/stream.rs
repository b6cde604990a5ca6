//! One end of a connection, with a deadline and a memory.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use crate::connection::Connection;
use crate::deadline::{Deadline, bytes_of};

/// How many bytes of each direction are remembered for the report.
const REMEMBERED: usize = 4096;
/// The longest that the system waits at once. Most waits have more time left, and the socket is then
/// not told a new timeout each time.
const TICK: Duration = Duration::from_millis(100);

/// How long each read and write of a client of the test's own may take.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection whose every read and write ends at the check's deadline, and which remembers what it
/// carried, for the report.
///
/// Reading gives a [`TimedOut`](io::ErrorKind::TimedOut) error at the deadline, however many reads it
/// took to get there.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    /// What a server of the crate has accepted, and is open as long as this is.
    _owner: Option<Mutex<Box<Connection>>>,
    deadline: Deadline,
    segment_size: Option<usize>,
    /// See [`Stream::plain`].
    acknowledges: bool,
    /// The timeouts that the socket was told for reading and writing.
    timeouts: [Duration; 2],
    sent: Memory,
    received: Memory,
}

/// The first bytes of one direction.
#[derive(Debug, Default)]
struct Memory {
    bytes: Vec<u8>,
    total: u64,
}

impl Stream {
    pub(crate) fn new(tcp: TcpStream, deadline: Deadline) -> Stream {
        Stream {
            tcp,
            _owner: None,
            deadline,
            segment_size: None,
            acknowledges: true,
            timeouts: [Duration::ZERO; 2],
            sent: Memory::default(),
            received: Memory::default(),
        }
    }

    /// A connection that a server of the crate has accepted, and of which nothing was read.
    pub(crate) fn of(conn: Connection, deadline: Deadline) -> io::Result<Stream> {
        let mut stream = Stream::new(conn.try_clone_tcp()?, deadline);
        stream._owner = Some(Mutex::new(Box::new(conn)));
        Ok(stream)
    }

    /// Sends no more than that many bytes at once, and so in one segment.
    pub(crate) fn in_segments(mut self, size: Option<usize>) -> Stream {
        self.segment_size = size;
        self
    }

    /// The socket itself, for a client of the test's own: its reads and writes end after 30 s.
    pub(crate) fn into_client(self) -> io::Result<TcpStream> {
        self.tcp.set_read_timeout(Some(CLIENT_TIMEOUT))?;
        self.tcp.set_write_timeout(Some(CLIENT_TIMEOUT))?;
        Ok(self.tcp)
    }

    /// Leaves it to the system when what has come is acknowledged, as any program does: for
    /// measurements.
    pub(crate) fn plain(mut self) -> Stream {
        self.acknowledges = false;
        self
    }

    /// The same connection once more, for the other direction on another thread. It remembers what it
    /// carries itself.
    pub(crate) fn try_clone(&self) -> io::Result<Stream> {
        let mut other = Stream::new(self.tcp.try_clone()?, self.deadline);
        other.acknowledges = self.acknowledges;
        Ok(other.in_segments(self.segment_size))
    }

    /// Ends both directions, also for whoever reads or writes on another thread.
    pub(crate) fn cut(&self) {
        // It has ended by itself if this fails.
        let _ = self.tcp.shutdown(Shutdown::Both);
    }

    /// Makes the system keep little of what is sent and not yet taken, or has come and is not read.
    pub(crate) fn keep_little(&self, bytes: usize) -> io::Result<()> {
        let socket = socket2::SockRef::from(&self.tcp);
        socket.set_send_buffer_size(bytes)?;
        socket.set_recv_buffer_size(bytes)
    }

    /// Closes it with a reset in place of an end.
    pub(crate) fn reset(self) -> io::Result<()> {
        socket2::SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO))
    }

    /// This end's address.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The other end's address.
    #[cfg(test)]
    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.peer_addr()
    }

    /// The time left for the check.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.remaining()
    }

    /// Says what is waited for until the same deadline.
    pub(crate) fn wait_for(&mut self, what: &'static str) {
        self.deadline = self.deadline.waiting_for(what);
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// Begins another wait.
    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    /// Says that nothing more will be sent.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        self.tcp.shutdown(Shutdown::Write)
    }

    /// The first bytes sent.
    pub(crate) fn sent(&self) -> &[u8] {
        &self.sent.bytes
    }

    /// The first bytes received.
    pub(crate) fn received(&self) -> &[u8] {
        &self.received.bytes
    }

    /// Forgets what it carried: the handshake is over.
    pub(crate) fn forget(&mut self) {
        self.sent = Memory::default();
        self.received = Memory::default();
    }

    /// Whether the other side has closed or reset it and nothing is left to read. Does not wait.
    pub(crate) fn has_ended(&self) -> bool {
        let mut byte = [0];
        let peeked = self
            .tcp
            .set_nonblocking(true)
            .and_then(|()| self.tcp.peek(&mut byte));
        // If this fails, the next read says why.
        let _ = self.tcp.set_nonblocking(false);
        match peeked {
            Ok(length) => length == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Whether there is something to read. Does not wait.
    pub(crate) fn has_data(&self) -> bool {
        let peeked = self
            .tcp
            .set_nonblocking(true)
            .and_then(|()| self.tcp.peek(&mut [0]));
        // If this fails, the next read says why.
        let _ = self.tcp.set_nonblocking(false);
        matches!(peeked, Ok(1..))
    }

    /// What can be read now, and stays there. Waits for the first byte.
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.peek(buffer)
    }

    /// Whether anything comes within `limit`, an end included. It is left there.
    pub(crate) fn has_more_within(&mut self, limit: Duration) -> bool {
        let limit = limit.min(self.deadline.remaining());
        let deadline = Deadline::new(limit, "anything");
        loop {
            let left = deadline.remaining().max(Duration::from_millis(1));
            self.timeouts[0] = left;
            let set = self.tcp.set_read_timeout(Some(left));
            match set.and_then(|()| self.tcp.peek(&mut [0])) {
                Ok(_) => return true,
                // A signal is not the end of the wait, and each would begin the socket's time again.
                Err(error) if may_go_on(&error) && !deadline.expired() => {}
                Err(error) => return !may_go_on(&error),
            }
        }
    }

    fn timed_out(&self) -> io::Error {
        let so_far = match self.received.total {
            0 => "; nothing came".to_owned(),
            bytes => format!("; {} came by this connection in all", bytes_of(bytes)),
        };
        self.deadline.error(&so_far)
    }
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.deadline.check().map_err(|_| self.timed_out())?;
            let tick = tick(left);
            if self.timeouts[0] != tick {
                self.tcp.set_read_timeout(Some(tick))?;
                self.timeouts[0] = tick;
            }
            if self.acknowledges {
                acknowledge_at_once(&self.tcp);
            }
            match self.tcp.read(buf) {
                Ok(length) => {
                    self.received.add(&buf[..length]);
                    return Ok(length);
                }
                Err(error) if may_go_on(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        loop {
            let left = self.deadline.check()?;
            let tick = tick(left);
            if self.timeouts[1] != tick {
                self.tcp.set_write_timeout(Some(tick))?;
                self.timeouts[1] = tick;
            }
            // A program sees the cuts, for the system is told not to gather what is written.
            let most = self.segment_size.unwrap_or(usize::MAX).min(buf.len());
            match self.tcp.write(&buf[..most]) {
                Ok(length) => {
                    self.sent.add(&buf[..length]);
                    return Ok(length);
                }
                Err(error) if may_go_on(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Memory {
    fn add(&mut self, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = REMEMBERED - self.bytes.len();
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A program that leaves Nagle's algorithm on holds its second small write back until its first is
/// acknowledged, and the system delays that by some 40 ms: all of a check's time. Waiting for the next
/// bytes is the moment to say that the last ones are here.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(tcp: &TcpStream) {
    // It only makes things faster.
    let _ = socket2::SockRef::from(tcp).set_tcp_quickack(true);
}

/// Nothing like it exists elsewhere.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_tcp: &TcpStream) {}

/// A timeout of the socket is ours to judge by the deadline; its kind depends on the system.
fn may_go_on(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

/// The system rounds down to its clock's tick, and takes zero for "wait for ever".
fn tick(left: Duration) -> Duration {
    left.clamp(Duration::from_millis(1), TICK)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;

    use super::*;

    /// One end, and the other as a plain socket.
    pub(crate) fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let deadline = Deadline::new(Duration::from_secs(20), "the reply");
        (Stream::new(near, deadline), far)
    }

    #[test]
    fn a_deadline_holds_over_many_reads_and_its_error_says_what_came() {
        let (mut near, mut far) = pair();
        far.write_all(b"abc").unwrap();
        near.read_exact(&mut [0; 3]).unwrap();
        near.set_deadline(Deadline::new(Duration::from_millis(20), "the reply"));
        let error = near.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let text =
            "timed out after 20ms waiting for the reply; 3 bytes came by this connection in all";
        assert_eq!(error.to_string(), text);
    }

    #[test]
    fn it_remembers_the_first_bytes_only_until_told_to_forget() {
        let (mut near, mut far) = pair();
        far.write_all(&[7; 5000]).unwrap();
        near.read_exact(&mut [0; 5000]).unwrap();
        near.write_all(b"hi").unwrap();
        assert_eq!(near.received(), [7; REMEMBERED]);
        assert_eq!(near.sent(), b"hi");
        near.forget();
        assert!(near.received().is_empty() && near.sent().is_empty());
    }

    #[test]
    fn it_sends_in_segments_and_so_does_its_clone() {
        let (near, mut far) = pair();
        let mut near = near.in_segments(Some(3));
        assert_eq!(near.write(b"abcdef").unwrap(), 3);
        assert_eq!(near.try_clone().unwrap().write(b"defghi").unwrap(), 3);
        let mut came = [0; 6];
        far.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"abcdef");
    }

    #[test]
    fn a_reset_is_no_end() {
        let (near, mut far) = pair();
        near.reset().unwrap();
        let error = far.read(&mut [0; 8]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn what_comes_within_a_limit_is_left_there() {
        let (mut near, mut far) = pair();
        assert!(!near.has_more_within(Duration::from_millis(1)));
        far.write_all(b"x").unwrap();
        assert!(near.has_more_within(Duration::from_secs(20)));
        near.read_exact(&mut [0]).unwrap();
        drop(far);
        assert!(near.has_more_within(Duration::from_secs(20)));
    }

    #[test]
    fn an_end_is_seen_without_waiting_and_only_when_all_is_read() {
        let (mut near, mut far) = pair();
        assert!(!near.has_ended());
        far.write_all(b"x").unwrap();
        drop(far);
        near.read_exact(&mut [0]).unwrap();
        assert_eq!(near.read(&mut [0]).unwrap(), 0);
        assert!(near.has_ended());
    }
}
