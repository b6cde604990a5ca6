//! The TCP server: a handler gets the connection.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use crate::connection::{Connection, quoted};
use crate::deadline::prose;
use crate::net::address::{Address, ListenOn};
use crate::net::live::Live;
use crate::server::failure::{HandlerError, HandlerResult};
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::{Lifecycle, Next, Serve, Session};
use crate::server::wake::Streams;
use crate::server::{Bound, TestServer, parting, streams};

/// A TCP (or, on Unix, Unix-domain stream) server whose handler gets each client's [`Connection`].
///
/// Handlers run on worker threads, as many at once as there are clients.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use loopback::TestTcpServer;
///
/// let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
///     let line = conn.read_line()?;
///     conn.write_all(line.as_bytes())
/// })?;
/// let mut client = TcpStream::connect(server.local_addr())?;
/// client.write_all(b"ping\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert_eq!(answer, "ping\n");
///
/// let record = server.take_connection(Duration::from_secs(1))?;
/// assert_eq!(record.received(), b"ping\n");
/// server.stop(Duration::from_secs(1))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type TestTcpServer<A = SocketAddr> = TestServer<Tcp, A>;

type Handler = dyn Fn(Connection) -> Result<(), HandlerError> + Send + Sync;

/// The TCP protocol of a [`TestTcpServer`]: bytes, as they come.
pub struct Tcp {
    handler: Box<Handler>,
    options: TcpOptions,
}

/// The TCP server's own options.
#[derive(Debug, Clone)]
pub struct TcpOptions {
    keep_received: usize,
    tolerates_silent_clients: bool,
}

impl Default for TcpOptions {
    fn default() -> TcpOptions {
        TcpOptions {
            keep_received: 64 * 1024,
            tolerates_silent_clients: false,
        }
    }
}

impl<A> TestServer<Tcp, A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// The handler returns `()` or a `Result`; its panic or error comes out of
    /// [`stop`](TestServer::stop) or of the drop.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start<L, H, R>(address: L, handler: H) -> io::Result<TestServer<Tcp, A>>
    where
        L: ListenOn<Address = A>,
        H: Fn(Connection) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        Builder::<Tcp>::default().bind(address, handler)?.start()
    }

    /// A server that sends back what it receives, until the client closes.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn echo<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Tcp, A>> {
        Builder::<Tcp>::default().echo(address)
    }

    /// A server that sends `answer` to each client that connects, and then closes its side.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn fixed<L: ListenOn<Address = A>>(
        address: L,
        answer: impl Into<Vec<u8>>,
    ) -> io::Result<TestServer<Tcp, A>> {
        Builder::<Tcp>::default().fixed(address, answer)
    }

    /// A server that reads all and answers nothing.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn sink<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Tcp, A>> {
        Builder::<Tcp>::default().sink(address)
    }

    /// Takes the record of the oldest connection whose handler has ended, waiting for one at most
    /// `timeout`.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that
    /// came before the stop can still be taken.
    pub fn take_connection(&self, timeout: Duration) -> io::Result<Arc<ConnectionRecord>> {
        self.say_how_many_are_open(self.host.record.take(timeout))
    }

    /// Takes the records of the oldest `count` connections whose handlers have ended, waiting for all of
    /// them at most `timeout`. They have to fit into the server's record together (the builder's
    /// `record_limit` and `record_bytes`).
    ///
    /// # Errors
    /// As [`take_connection`](TestServer::take_connection), when fewer ended; those are not taken.
    pub fn take_connections(
        &self,
        count: usize,
        timeout: Duration,
    ) -> io::Result<Vec<Arc<ConnectionRecord>>> {
        self.say_how_many_are_open(self.host.record.take_many(count, timeout))
    }

    /// Takes the record of the first ended connection that `is_wanted` accepts, waiting for one at most
    /// `timeout`; the others stay. `is_wanted` is called while the record is locked, so it must not ask the
    /// server for anything.
    ///
    /// # Errors
    /// As [`take_connection`](TestServer::take_connection).
    ///
    /// # Panics
    /// If `is_wanted` does ask it.
    pub fn take_connection_where(
        &self,
        mut is_wanted: impl FnMut(&ConnectionRecord) -> bool,
        timeout: Duration,
    ) -> io::Result<Arc<ConnectionRecord>> {
        let is_wanted = |record: &Arc<ConnectionRecord>| is_wanted(record);
        self.say_how_many_are_open(self.host.record.take_where(is_wanted, timeout))
    }

    /// What is waited for in vain is most often still open: its handler has not ended.
    fn say_how_many_are_open<T>(&self, taken: io::Result<T>) -> io::Result<T> {
        taken.map_err(|error| {
            let open = match self.open_connections() {
                0 => return error,
                1 => "1 connection is open".to_owned(),
                open => format!("{open} connections are open"),
            };
            prose(error.kind(), format!("{error}; {open}"))
        })
    }

    /// The connections whose handlers have ended, without those that were taken, in the order of
    /// their ends. A client that has read the end of its connection finds it here. No more than the
    /// builder's `record_limit` and `record_bytes` are kept; where some are missing, a line on standard
    /// error says so, and [`total_connections`](TestServer::total_connections) counts them.
    pub fn connections(&self) -> Vec<Arc<ConnectionRecord>> {
        self.host.arrived()
    }

    /// How many connections have ended since the server was first started, taken or not, kept or not.
    pub fn total_connections(&self) -> u64 {
        self.host.record.total()
    }
}

impl TestServer<Tcp> {
    /// Options first.
    pub fn builder() -> Builder<Tcp> {
        Builder::default()
    }
}

impl Builder<Tcp> {
    /// How many of each connection's first bytes its record keeps, 64 KiB unless told.
    pub fn keep_received(mut self, bytes: usize) -> Self {
        self.options.keep_received = bytes;
        self
    }

    /// Lets a handler fail, by an error or a panic, for a client that connects and leaves without sending
    /// a byte, as port probes and health checks do: that is no failure of the server's then, and only
    /// logged (debug).
    pub fn tolerate_silent_clients(mut self) -> Self {
        self.options.tolerates_silent_clients = true;
        self
    }

    /// Binds, without serving yet: the port is known, and clients queue.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<L, H, R>(self, address: L, handler: H) -> io::Result<Bound<Tcp, L::Address>>
    where
        L: ListenOn,
        H: Fn(Connection) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        let protocol = Tcp {
            handler: Box::new(move |conn| handler(conn).into_result().map_err(HandlerError::Error)),
            options: self.options,
        };
        Bound::new(self.common, address, protocol)
    }

    /// Binds and starts.
    ///
    /// # Errors
    /// As [`TestTcpServer::start`](TestServer::start).
    pub fn start<L, H, R>(self, address: L, handler: H) -> io::Result<TestServer<Tcp, L::Address>>
    where
        L: ListenOn,
        H: Fn(Connection) -> R + Send + Sync + 'static,
        R: HandlerResult,
    {
        self.bind(address, handler)?.start()
    }

    /// Binds and starts a server that sends back what it receives, until the client closes.
    ///
    /// # Errors
    /// As [`TestTcpServer::start`](TestServer::start).
    pub fn echo<L: ListenOn>(self, address: L) -> io::Result<TestServer<Tcp, L::Address>> {
        self.start(address, ready_made(echo))
    }

    /// Binds and starts a server that sends `answer` to each client that connects, and then closes
    /// its side.
    ///
    /// # Errors
    /// As [`TestTcpServer::start`](TestServer::start).
    pub fn fixed<L: ListenOn>(
        self,
        address: L,
        answer: impl Into<Vec<u8>>,
    ) -> io::Result<TestServer<Tcp, L::Address>> {
        let answer = answer.into();
        let handler = ready_made(move |conn: &mut Connection| {
            conn.write_all(&answer)?;
            conn.shutdown_write()?;
            // Closing on unread data would reset, and the client could lose the answer.
            drain(conn)
        });
        self.start(address, handler)
    }

    /// Binds and starts a server that reads all and answers nothing.
    ///
    /// # Errors
    /// As [`TestTcpServer::start`](TestServer::start).
    pub fn sink<L: ListenOn>(self, address: L) -> io::Result<TestServer<Tcp, L::Address>> {
        self.start(address, ready_made(drain))
    }
}

/// What a [`TestTcpServer`] keeps of a connection whose handler has ended.
#[derive(Clone)]
pub struct ConnectionRecord {
    peer: Address,
    local: Address,
    received: Vec<u8>,
    received_count: u64,
    sent_count: u64,
    opened: Instant,
    duration: Duration,
}

impl ConnectionRecord {
    /// The client's address.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// The address the client connected to.
    pub fn local(&self) -> &Address {
        &self.local
    }

    /// The first bytes that were received: all of them, where they are no more than the builder's
    /// `keep_received`.
    pub fn received(&self) -> &[u8] {
        &self.received
    }

    /// How many bytes were received from the client.
    pub fn received_count(&self) -> u64 {
        self.received_count
    }

    /// How many bytes were sent to the client.
    pub fn sent_count(&self) -> u64 {
        self.sent_count
    }

    /// When it was accepted.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// How long its handler ran.
    pub fn duration(&self) -> Duration {
        self.duration
    }

    fn new(live: &Live, local: Address) -> ConnectionRecord {
        let mut received = live.kept.lock().unwrap_or_else(PoisonError::into_inner);
        ConnectionRecord {
            peer: live.peer.clone(),
            local,
            received: std::mem::take(&mut received),
            received_count: live.received.load(Ordering::Relaxed),
            sent_count: live.sent.load(Ordering::Relaxed),
            opened: live.opened,
            duration: live.opened.elapsed(),
        }
    }
}

impl fmt::Debug for ConnectionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 400;
        f.debug_struct("ConnectionRecord")
            .field("peer", &format_args!("{}", self.peer))
            .field("local", &format_args!("{}", self.local))
            .field(
                "received",
                &format_args!("{}", quoted(&self.received, SHOWN)),
            )
            .field("received_count", &self.received_count)
            .field("sent_count", &self.sent_count)
            .field("duration", &self.duration)
            .finish_non_exhaustive()
    }
}

impl Lifecycle for Tcp {
    const NAME: &'static str = "tcp";
    const TARGET: &'static str = "loopback::tcp";
    const NOUN: &'static str = "a connection's end";
    type Kind = Streams;
    type Options = TcpOptions;
    type Item = Arc<ConnectionRecord>;

    fn size_of(record: &Arc<ConnectionRecord>) -> usize {
        record.received.len()
    }

    fn describe(record: &Arc<ConnectionRecord>) -> String {
        format!("{} from {}", quoted(&record.received, 32), record.peer)
    }

    fn run(run: Run<Tcp>) {
        streams::serve(run);
    }
}

impl Serve for Tcp {
    fn serve(&self, conn: Connection, session: &Session<'_, Tcp>) -> Next {
        let local = conn.local().clone();
        // Held until the outcome is known: a client that reads the end finds it recorded.
        let stream = Arc::clone(conn.stream());
        let outcome = session.run(|| (self.handler)(conn));
        if let Err(error) = outcome.and_then(|outcome| outcome) {
            parting::keep_failure(error, session, self.options.tolerates_silent_clients);
        }
        let unanswered = session.list(Arc::new(ConnectionRecord::new(session.live, local)));
        parting::part(session.live, stream, unanswered);
        Next::Close
    }

    fn keeps_received(&self) -> usize {
        self.options.keep_received
    }
}

impl fmt::Debug for Tcp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tcp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A handler that outlasts any silence, and for which a client that goes is no failure.
fn ready_made(
    serve: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static,
) -> impl Fn(Connection) + Send + Sync + 'static {
    move |mut conn| {
        let outcome = conn
            .set_read_timeout(None)
            .and_then(|()| conn.set_write_timeout(None))
            .and_then(|()| serve(&mut conn));
        if let Err(error) = outcome {
            log::debug!(target: Tcp::TARGET, "{} has gone: {error}", conn.peer());
        }
    }
}

fn echo(conn: &mut Connection) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    loop {
        match conn.read(&mut piece)? {
            0 => return Ok(()),
            count => conn.write_all(&piece[..count])?,
        }
    }
}

fn drain(conn: &mut Connection) -> io::Result<()> {
    let mut piece = vec![0; 64 * 1024];
    while conn.read(&mut piece)? > 0 {}
    Ok(())
}
