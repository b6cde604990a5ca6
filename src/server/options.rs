//! The options of every server, and the builder that gathers them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::failure::{HandlerError, HandlerResult};
use super::protocol::Protocol;
use super::record::Limit;
use crate::connection::{Connection, Limits};

/// The options that all servers have.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) poll_interval: Duration,
    pub(crate) drop_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) record: Limit,
    pub(crate) limits: Limits,
    pub(crate) preamble: Option<Preamble>,
}

/// What reads the first bytes of every connection, before its protocol begins.
#[derive(Clone)]
pub(crate) struct Preamble(Arc<Read>);

type Read = dyn Fn(&mut Connection) -> Result<(), HandlerError> + Send + Sync;

impl Preamble {
    pub(crate) fn read(&self, conn: &mut Connection) -> Result<(), HandlerError> {
        (self.0)(conn)
    }
}

impl fmt::Debug for Preamble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Preamble")
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            poll_interval: Duration::from_millis(500),
            drop_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(300),
            max_connections: 10_000,
            record: Limit {
                items: 10_000,
                bytes: 256 << 20,
            },
            limits: Limits {
                line: 1 << 20,
                frame: 64 << 20,
                rest: 1 << 30,
                read_timeout: Some(Duration::from_secs(30)),
                write_timeout: Some(Duration::from_secs(30)),
            },
            preamble: None,
        }
    }
}

/// Options first, then `bind` or `start`.
///
/// ```
/// use std::time::Duration;
/// use loopback::TestTcpServer;
///
/// let bound = TestTcpServer::builder()
///     .read_timeout(Duration::from_secs(2))
///     .bind("127.0.0.1:0", |mut conn| conn.read_line().map(drop))?;
/// let port = bound.port(); // known, and clients may connect, before anything is served
/// let server = bound.start()?;
/// assert_eq!(server.port(), port);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a builder does nothing until `bind` or `start`"]
pub struct Builder<P: Protocol> {
    pub(crate) common: Options,
    pub(crate) options: P::Options,
}

impl<P: Protocol> Default for Builder<P> {
    fn default() -> Builder<P> {
        Builder {
            common: Options::default(),
            options: P::Options::default(),
        }
    }
}

// Not derived: the derive would want the protocol itself, which holds the handler, to be `Clone`.
impl<P: Protocol> Clone for Builder<P> {
    fn clone(&self) -> Builder<P> {
        Builder {
            common: self.common.clone(),
            options: self.options.clone(),
        }
    }
}

impl<P: Protocol> Builder<P> {
    /// The longest time the server's thread sleeps, 500 ms unless told. Stopping does not wait for it:
    /// it is how late a stop would be noticed if waking the thread failed.
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.common.poll_interval = interval;
        self
    }

    /// How long a read of a [`Connection`](crate::Connection) waits, 30 s unless told. At least 1 ms.
    pub fn read_timeout(mut self, timeout: Duration) -> Self {
        self.common.limits.read_timeout = Some(timeout.max(Duration::from_millis(1)));
        self
    }

    /// How long a write waits for a client that does not read, 30 s unless told. At least 1 ms.
    pub fn write_timeout(mut self, timeout: Duration) -> Self {
        self.common.limits.write_timeout = Some(timeout.max(Duration::from_millis(1)));
        self
    }

    /// The timeout of the stop that `Drop` does, 5 s unless told.
    pub fn drop_timeout(mut self, timeout: Duration) -> Self {
        self.common.drop_timeout = timeout;
        self
    }

    /// How long a connection that is between requests is kept, 300 s unless told. Protocols whose
    /// handler holds the connection do not use it.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.common.idle_timeout = timeout;
        self
    }

    /// The most connections that may be open at once, 10,000 unless told. One more is reset, and
    /// kept as a failure.
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.common.max_connections = limit;
        self
    }

    /// The most items that the record of what arrived holds, 10,000 unless told. Later ones are
    /// counted but not kept until some are taken; 0 keeps none.
    pub fn record_limit(mut self, limit: usize) -> Self {
        self.common.record.items = limit;
        self
    }

    /// The most bytes that the record of what arrived holds, 256 MiB unless told: of bodies,
    /// messages, datagrams and what connections received. What does not fit is counted, not kept.
    pub fn record_bytes(mut self, bytes: usize) -> Self {
        self.common.record.bytes = bytes;
        self
    }

    /// The longest line that [`read_line`](crate::Connection::read_line) reads, 1 MiB unless told.
    pub fn max_line(mut self, bytes: usize) -> Self {
        self.common.limits.line = bytes;
        self
    }

    /// The longest frame that [`read_frame`](crate::Connection::read_frame) reads, 64 MiB unless told.
    pub fn max_frame(mut self, bytes: usize) -> Self {
        self.common.limits.frame = bytes;
        self
    }

    /// The most that [`read_rest`](crate::Connection::read_rest), `read_to_end` and
    /// [`read_bytes`](crate::Connection::read_bytes) gather, 1 GiB unless told.
    pub fn max_read(mut self, bytes: usize) -> Self {
        self.common.limits.rest = bytes;
        self
    }

    /// Has `read` read what comes before the protocol on each connection, such as a header of the PROXY
    /// protocol. It runs on the connection's own thread before anything is read or sent there; what it does not
    /// read is the protocol's. Its panic or error is a failure of the server, and closes the connection. Datagrams
    /// have no such thing.
    ///
    /// ```
    /// # #[cfg(all(feature = "http", feature = "tunnel"))]
    /// # fn main() -> std::io::Result<()> {
    /// use std::io::{Read, Write};
    /// use loopback::TestHttpServer;
    /// use loopback::tunnel::ProxyHeader;
    ///
    /// let service = TestHttpServer::builder()
    ///     .preamble(|conn| ProxyHeader::read(conn).map(drop))
    ///     .fixed("127.0.0.1:0", "hi")?;
    /// let mut proxy = service.connect()?;
    /// proxy.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n")?;
    /// proxy.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")?;
    /// let mut answer = String::new();
    /// proxy.read_to_string(&mut answer)?;
    /// assert!(answer.ends_with("\r\n\r\nhi"));
    /// # Ok(())
    /// # }
    /// # #[cfg(not(all(feature = "http", feature = "tunnel")))]
    /// # fn main() {}
    /// ```
    pub fn preamble<R: HandlerResult>(
        mut self,
        read: impl Fn(&mut Connection) -> R + Send + Sync + 'static,
    ) -> Self {
        let read = move |conn: &mut Connection| Ok(read(conn).into_result()?);
        self.common.preamble = Some(Preamble(Arc::new(read)));
        self
    }
}
