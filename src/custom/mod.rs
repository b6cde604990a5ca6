//! A server of the test's own protocol: the life of every server, with a handler and a record of its
//! own.

mod transport;

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::transport::{OverBoth, OverDatagrams, OverStreams, Transport};
use crate::connection::Connection;
use crate::net::address::ListenOn;
use crate::net::stop::StopSignal;
use crate::server::datagrams::{Datagram, LARGEST_DATAGRAM, WHOLE_DATAGRAM};
use crate::server::failure::HandlerError;
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::{Lifecycle, Session};
use crate::server::record::{Record, Unanswered};
use crate::server::{Bound, TestServer, parting};
use crate::udp::Replies;

/// Any error that a handler of a protocol of one's own may end with; `?` makes one of all that
/// implements [`Error`], and `.into()` of text.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a server of your own protocol is called, and what it records.
///
/// Implement this with [`StreamProtocol`], [`DatagramProtocol`], or both, on a type that holds what the
/// server's connections share. [`TestStreamServer`], [`TestDatagramServer`] and [`TestBothServer`] then
/// serve it, with all that the crate's own servers have: `stop`, `restart`, failures, limits, a record.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use loopback::{BoxError, Connection, CustomProtocol, Recorder, StreamProtocol, TestStreamServer};
///
/// /// Answers each line with its length.
/// struct Lengths;
///
/// impl CustomProtocol for Lengths {
///     const NAME: &str = "lengths";
///     const ITEM: &str = "a line";
///     type Item = String;
/// }
///
/// impl StreamProtocol for Lengths {
///     fn serve(&self, mut conn: Connection, lines: &Recorder<'_, Self>) -> Result<(), BoxError> {
///         loop {
///             let line = conn.read_line()?;
///             if line.is_empty() {
///                 return Ok(()); // the client has closed
///             }
///             let line = line.trim_end().to_owned();
///             let unanswered = lines.record(line.clone());
///             conn.write_all(format!("{}\n", line.len()).as_bytes())?;
///             drop(unanswered); // a `take` that waits for it goes on only now
///         }
///     }
/// }
///
/// let server = TestStreamServer::start("127.0.0.1:0", Lengths)?;
/// let mut client = TcpStream::connect(server.local_addr())?;
/// client.write_all(b"hello\n")?;
/// assert_eq!(server.take(Duration::from_secs(5))?, "hello");
/// client.read_exact(&mut [0; 2])?; // one that leaves without its answer resets the connection
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no protocol that can be served so",
    note = "it takes a type of yours that implements `CustomProtocol`; a closure goes to `TestTcpServer` or `TestUdpServer`"
)]
pub trait CustomProtocol: Send + Sync + Sized + 'static {
    /// The protocol's name in messages, logs and threads' names: `"redis"`.
    const NAME: &'static str;

    /// What one item of the record is called in messages, with its article: `"a command"`.
    const ITEM: &'static str = "an item";

    /// What the record keeps of each thing that arrives: a command, a query.
    type Item: Clone + fmt::Debug + Send + Sync + 'static;

    /// How many bytes an item weighs in the record, of which the builder's `record_bytes` is the limit.
    /// Unless told the size of the type, without what it points to.
    fn size_of(item: &Self::Item) -> usize {
        size_of_val(item)
    }
}

/// A protocol of your own over streams: TCP, and on Unix Unix-domain streams.
///
/// `examples/own_redis.rs` is one, in a hundred lines.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no protocol that can be served so",
    note = "it takes a type of yours that implements `StreamProtocol`; a closure goes to `TestTcpServer`"
)]
pub trait StreamProtocol: CustomProtocol {
    /// Serves a connection to its end, on a thread of its own.
    ///
    /// # Errors
    /// Whatever the test shall fail with: an error, like a panic, comes out of
    /// [`stop`](TestServer::stop) or of the drop, with the client's address.
    fn serve(&self, conn: Connection, record: &Recorder<'_, Self>) -> Result<(), BoxError>;
}

/// A protocol of your own over datagrams: UDP, and on Unix Unix-domain datagrams.
///
/// `examples/own_dns.rs` is one, over streams and datagrams on one port.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no protocol that can be served so",
    note = "it takes a type of yours that implements `DatagramProtocol`; a closure goes to `TestUdpServer`"
)]
pub trait DatagramProtocol: CustomProtocol {
    /// Answers a datagram: with nothing, one reply, or several, as a handler of a
    /// [`TestUdpServer`](crate::TestUdpServer) does (`().into_replies()`, `bytes.into_replies()`).
    /// It runs on the server's own thread, so datagrams are answered in the order they arrive, and
    /// who blocks here holds up those behind it, and new connections of a [`TestBothServer`].
    ///
    /// # Errors
    /// As [`StreamProtocol::serve`].
    fn answer(&self, datagram: &Datagram, record: &Recorder<'_, Self>)
    -> Result<Replies, BoxError>;
}

/// A server of your own protocol over streams.
///
/// See [`CustomProtocol`] for an example.
pub type TestStreamServer<P, A = SocketAddr> = TestServer<Custom<P, OverStreams>, A>;

/// A server of your own protocol over datagrams.
///
/// ```
/// use std::net::UdpSocket;
/// use std::time::Duration;
/// use loopback::{
///     BoxError, CustomProtocol, Datagram, DatagramProtocol, IntoReplies, Recorder, Replies,
///     TestDatagramServer,
/// };
///
/// /// Tells what it was told last.
/// #[derive(Default)]
/// struct Memory(std::sync::Mutex<String>);
///
/// impl CustomProtocol for Memory {
///     const NAME: &str = "memory";
///     type Item = String;
/// }
///
/// impl DatagramProtocol for Memory {
///     fn answer(&self, datagram: &Datagram, told: &Recorder<'_, Self>) -> Result<Replies, BoxError> {
///         let before = std::mem::replace(&mut *self.0.lock().unwrap(), datagram.text());
///         told.record(datagram.text());
///         before.into_replies()
///     }
/// }
///
/// let server = TestDatagramServer::start("127.0.0.1:0", Memory::default())?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"hello", server.local_addr())?;
/// assert_eq!(server.take(Duration::from_secs(5))?, "hello");
/// assert_eq!(*server.protocol().0.lock().unwrap(), "hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type TestDatagramServer<P, A = SocketAddr> = TestServer<Custom<P, OverDatagrams>, A>;

/// A server of your own protocol over streams and over datagrams, on the same port: DNS, SIP, syslog.
///
/// Datagrams are answered on the thread that accepts connections. Both are one server, with one
/// record, one `stop`, one list of failures.
pub type TestBothServer<P, A = SocketAddr> = TestServer<Custom<P, OverBoth>, A>;

/// A protocol of the test's own, and what it is served over: what a [`TestStreamServer`],
/// [`TestDatagramServer`] or [`TestBothServer`] serves.
pub struct Custom<P, T> {
    protocol: P,
    options: CustomOptions,
    transport: PhantomData<fn() -> T>,
}

/// The options of a server of one's own protocol.
#[derive(Debug, Clone)]
pub struct CustomOptions {
    max_datagram: usize,
    tolerates_silent_clients: bool,
}

impl Default for CustomOptions {
    fn default() -> CustomOptions {
        CustomOptions {
            max_datagram: WHOLE_DATAGRAM,
            tolerates_silent_clients: false,
        }
    }
}

/// Where a protocol of one's own puts what arrives, for the test to take.
pub struct Recorder<'a, P: CustomProtocol> {
    record: &'a Record<P::Item>,
    stop: &'a StopSignal,
}

/// An item that is in the record's list. A [`take`](TestServer::take) gets it when this is dropped:
/// hold it until the answer is written, and a test that stops its server right after a take never cuts
/// its client off.
pub struct Recorded<'a, P: CustomProtocol> {
    _unanswered: Unanswered<'a, P::Item>,
}

impl<'a, P: CustomProtocol> Recorder<'a, P> {
    /// Puts an item at the end of the record. Where its answer shall be on its way before a waiting test
    /// goes on, keep what this returns until then; otherwise ignore it.
    pub fn record(&self, item: P::Item) -> Recorded<'a, P> {
        let bytes = P::size_of(&item);
        Recorded {
            _unanswered: self.record.list(item, bytes),
        }
    }

    /// Whether the server is stopping, so that a handler that works on without its client should end.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_set()
    }

    fn new<T: Transport<P>>(session: &Session<'a, Custom<P, T>>) -> Recorder<'a, P> {
        Recorder {
            record: &session.host.record,
            stop: &session.live.stop,
        }
    }
}

impl<P: CustomProtocol> fmt::Debug for Recorder<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("protocol", &P::NAME)
            .field("is_stopping", &self.is_stopping())
            .finish()
    }
}

impl<P: CustomProtocol> fmt::Debug for Recorded<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded")
            .field("protocol", &P::NAME)
            .finish_non_exhaustive()
    }
}

impl<P: CustomProtocol, T: Transport<P>, A> TestServer<Custom<P, T>, A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread. A [`TestBothServer`] has no
    /// Unix-domain address: one path cannot be for both.
    pub fn start<L: ListenOn<Address = A>>(
        address: L,
        protocol: P,
    ) -> io::Result<TestServer<Custom<P, T>, A>> {
        Builder::<Custom<P, T>>::default().start(address, protocol)
    }

    /// The protocol, with what its connections share.
    pub fn protocol(&self) -> &P {
        &self.host.protocol.protocol
    }

    /// Takes the oldest item that was answered, waiting for one at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that
    /// came before the stop can still be taken.
    pub fn take(&self, timeout: Duration) -> io::Result<P::Item> {
        self.host.record.take(timeout)
    }

    /// Takes the oldest `count` items, waiting for all of them at most `timeout`. They have to fit into
    /// the record together (the builder's `record_limit` and `record_bytes`).
    ///
    /// # Errors
    /// As [`take`](TestServer::take), when fewer came; those are not taken.
    pub fn take_many(&self, count: usize, timeout: Duration) -> io::Result<Vec<P::Item>> {
        self.host.record.take_many(count, timeout)
    }

    /// The items that came and were not taken, answered or not, in order. No more than the builder's
    /// `record_limit` and `record_bytes` are kept; where some are missing, a line on standard error says so,
    /// and [`total_items`](TestServer::total_items) counts them.
    pub fn items(&self) -> Vec<P::Item> {
        self.host.arrived()
    }

    /// How many items came since the server was first started, taken or not, kept or not.
    pub fn total_items(&self) -> u64 {
        self.host.record.total()
    }
}

impl<P: CustomProtocol, T: Transport<P>> TestServer<Custom<P, T>> {
    /// Options first.
    pub fn builder() -> Builder<Custom<P, T>> {
        Builder::default()
    }
}

impl<P: CustomProtocol, T: Transport<P>> Builder<Custom<P, T>> {
    /// The longest datagram that is received whole, 65,536 bytes unless told, which is more than UDP
    /// can carry, and 16 MiB at most; a longer one is cut and marked as truncated.
    pub fn max_datagram(mut self, bytes: usize) -> Self {
        self.options.max_datagram = bytes.min(LARGEST_DATAGRAM);
        self
    }

    /// Lets a [`StreamProtocol`] fail, by an error or a panic, for a client that connects and leaves without
    /// sending a byte, as port probes and health checks do: that is no failure of the server's then, and
    /// only logged (debug).
    pub fn tolerate_silent_clients(mut self) -> Self {
        self.options.tolerates_silent_clients = true;
        self
    }

    /// Binds, without serving yet: the port is known, and clients queue.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<L: ListenOn>(
        self,
        address: L,
        protocol: P,
    ) -> io::Result<Bound<Custom<P, T>, L::Address>> {
        let protocol = Custom {
            protocol,
            options: self.options,
            transport: PhantomData,
        };
        Bound::new(self.common, address, protocol)
    }

    /// Binds and starts.
    ///
    /// # Errors
    /// As [`TestStreamServer::start`](TestServer::start).
    pub fn start<L: ListenOn>(
        self,
        address: L,
        protocol: P,
    ) -> io::Result<TestServer<Custom<P, T>, L::Address>> {
        self.bind(address, protocol)?.start()
    }
}

impl<P: CustomProtocol, T: Transport<P>> Lifecycle for Custom<P, T> {
    const NAME: &'static str = P::NAME;
    const TARGET: &'static str = "loopback::custom";
    const NOUN: &'static str = P::ITEM;
    type Kind = T::Kind;
    type Options = CustomOptions;
    type Item = P::Item;

    fn size_of(item: &P::Item) -> usize {
        P::size_of(item)
    }

    fn describe(item: &P::Item) -> String {
        format!("{item:?}")
    }

    fn run(run: Run<Self>) {
        T::run(run);
    }
}

impl<P: CustomProtocol, T: Transport<P>> Custom<P, T> {
    /// Runs the protocol's code for a connection.
    fn serve_stream(&self, conn: Connection, session: &Session<'_, Self>)
    where
        P: StreamProtocol,
    {
        // Held until the outcome is known: a client that reads the end finds it recorded.
        let stream = Arc::clone(conn.stream());
        let record = Recorder::new(session);
        let outcome = session.run(|| self.protocol.serve(conn, &record));
        if let Err(error) = flatten(outcome) {
            parting::keep_failure(error, session, self.options.tolerates_silent_clients);
        }
        parting::part(session.live, stream, ());
    }

    /// Runs the protocol's code for a datagram.
    fn answer_datagram(
        &self,
        datagram: &Datagram,
        session: &Session<'_, Self>,
        reply: &mut dyn FnMut(&[u8]),
    ) where
        P: DatagramProtocol,
    {
        let record = Recorder::new(session);
        let outcome = session.run(|| self.protocol.answer(datagram, &record));
        match flatten(outcome) {
            Ok(replies) => replies.send(reply),
            Err(error) => session.fail(error),
        }
    }
}

/// What a handler has returned, or how it failed.
fn flatten<R>(outcome: Result<Result<R, BoxError>, HandlerError>) -> Result<R, HandlerError> {
    outcome?.map_err(HandlerError::Error)
}

impl<P: fmt::Debug, T> fmt::Debug for Custom<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom")
            .field("protocol", &self.protocol)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
