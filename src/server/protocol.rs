//! What a room provides to be served: the seam between the life of a server and its protocol.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use super::datagrams::WaitingDatagrams;
use super::failure::{HandlerError, HandlerFailure};
use super::host::{Host, Run};
use super::record::Unanswered;
use super::registry::Registry;
use super::wake::Kind;
use crate::connection::Connection;
use crate::net::live::{Activity, Live};
use crate::net::socket::BoundSocket;
use crate::net::stop::StopSignal;

/// A protocol with its handler and options: what makes a [`TestServer`](crate::TestServer) a TCP,
/// UDP, HTTP or SMTP server. It is public so that code can be written once for all servers; a protocol of
/// your own implements [`CustomProtocol`](crate::CustomProtocol) instead.
///
/// ```
/// use std::fmt::Display;
/// use std::time::Duration;
/// use loopback::{Protocol, StopError, TestServer, TestTcpServer, TestUdpServer};
///
/// /// Stops a server of any protocol on any address, and says which.
/// fn stop_soon<P: Protocol, A: Display>(mut server: TestServer<P, A>) -> Result<String, StopError> {
///     server.stop(Duration::from_secs(1))?;
///     Ok(format!("{} is free", server.address()))
/// }
///
/// let tcp = TestTcpServer::echo("127.0.0.1:0")?;
/// let port = tcp.port();
/// assert_eq!(stop_soon(tcp)?, format!("127.0.0.1:{port} is free"));
/// stop_soon(TestUdpServer::echo("[::1]:0")?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Protocol: Lifecycle {}

impl<P: Lifecycle> Protocol for P {}

/// What the life of a server asks of its protocol. The name is not exported, so that the trait can be
/// implemented by this crate's protocols alone.
pub trait Lifecycle: Send + Sync + Sized + 'static {
    /// The word in thread names and messages: "http".
    const NAME: &'static str;
    /// The target of log records: "loopback::http".
    const TARGET: &'static str;
    /// What a thing that arrives is called in messages: "a request".
    const NOUN: &'static str;
    /// How long the server's own threads may take beyond a stop's timeout to end, once no handler runs: only
    /// a machine that gives them no time makes use of it.
    const GRACE: Duration = Duration::from_secs(10);
    /// What it is served on: streams, datagrams, or both.
    type Kind: Kind;
    /// Its own options, beside those of every server.
    type Options: Clone + Debug + Default + Send + Sync + 'static;
    /// What the server's record keeps of each thing that arrives.
    type Item: Send + Sync + 'static;

    /// How many bytes an item weighs in the record.
    fn size_of(item: &Self::Item) -> usize;

    /// Tells an item from others in messages: "GET /path".
    fn describe(item: &Self::Item) -> String;

    /// The server's thread: serves until it is told to stop. For streams this is
    /// [`streams::serve`](super::streams::serve).
    fn run(run: Run<Self>);
}

/// A protocol on streams.
pub(crate) trait Serve: Lifecycle<Kind: Kind<Wait = mio::Poll, Waker = mio::Waker>> {
    /// Serves a connection, on a worker thread, until it ends or has nothing to do.
    fn serve(&self, conn: Connection, session: &Session<'_, Self>) -> Next;

    /// Whether the poll loop gives connections turns on its own thread, before a worker gets them.
    ///
    /// A thread that waits costs its client a thread switch a round trip. For a protocol of many
    /// short ones that is most of their time, so it pays to serve all clients on one thread for as
    /// long as no code runs that may block.
    fn takes_turns(&self) -> bool {
        false
    }

    /// Serves what a connection has brought, on the poll loop's thread: the socket does not block, and
    /// nothing else may. Unless `drain` says that this is needed, a read that does not fill the
    /// buffer may be taken for all that has come. The first turn is right after the accept; a
    /// connection that a worker has parked has its next turn when it can be read.
    fn turn(&self, _: &mut Connection, _drain: bool, _: &Session<'_, Self>) -> Turn {
        Turn::Work
    }

    /// Whether a connection that waits is to have a turn although nothing came.
    fn is_overdue(&self, _: &Connection) -> bool {
        false
    }

    /// How many of a connection's first bytes are to be kept for the record.
    fn keeps_received(&self) -> usize {
        0
    }

    /// What handles the datagrams of the same port, on the poll loop's thread, if there are any.
    fn inbox(
        _: Arc<Host<Self>>,
        _: Arc<Registry>,
        _: BoundSocket,
        _: StopSignal,
    ) -> Option<Box<dyn WaitingDatagrams>> {
        None
    }
}

/// What becomes of a connection that a worker has served.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is moved once a park, and a box would be one more allocation"
)]
pub(crate) enum Next {
    /// It is closed, or the handler has kept it.
    Close,
    /// It is idle: no thread waits for it, and it is served again when it can be read.
    Park(Connection),
}

/// What becomes of a connection after a turn on the poll loop's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It waits for its client, and then has another.
    Wait,
    /// It is idle: it waits as one that a worker has parked, and then has another.
    Park,
    /// A worker serves it from here; its socket blocks again.
    Work,
    /// It is closed.
    Close,
}

/// One connection's view of its server.
#[derive(Debug)]
pub(crate) struct Session<'a, P: Lifecycle> {
    pub(crate) host: &'a Arc<Host<P>>,
    pub(crate) live: &'a Arc<Live>,
}

impl<P: Lifecycle> Session<'_, P> {
    /// Runs a handler; its panic becomes an error.
    pub(crate) fn run<T>(&self, handler: impl FnOnce() -> T) -> Result<T, HandlerError> {
        let before = self.live.set_activity(Activity::Handler);
        let outcome = HandlerError::catch(handler);
        self.live.set_activity(before);
        outcome
    }

    /// Keeps a failure of this connection's handler for `stop` and `Drop` to report.
    ///
    /// An error that a connection gave because stopping cut it is not the handler's, and is only
    /// logged.
    pub(crate) fn fail(&self, error: impl Into<HandlerError>) {
        if let Some(failure) = self.failure(error.into()) {
            self.host.keep(failure);
        }
    }

    /// As [`fail`](Session::fail), of a handler that had got this item.
    #[cfg(any(feature = "http", feature = "smtp"))]
    pub(crate) fn fail_with(&self, item: &P::Item, error: impl Into<HandlerError>) {
        if let Some(failure) = self.failure(error.into()) {
            let item = super::record::clipped(P::describe(item));
            self.host.keep(failure.with_item(item));
        }
    }

    fn failure(&self, error: HandlerError) -> Option<HandlerFailure> {
        if error.is_cut_by_stop() {
            log::debug!(target: P::TARGET, "{} cut by the stop: {error:?}", self.live.peer);
            return None;
        }
        Some(HandlerFailure::new(Some(self.live.peer.clone()), &error))
    }

    /// Puts what arrived into the server's record. Drop the guard when the answer is written.
    pub(crate) fn list(&self, item: P::Item) -> Unanswered<'_, P::Item> {
        let bytes = P::size_of(&item);
        self.host.record.list(item, bytes)
    }

    /// As [`list`](Session::list), for what the server has refused.
    pub(crate) fn list_refused(&self, item: P::Item) -> Unanswered<'_, P::Item> {
        let bytes = P::size_of(&item);
        self.host.record.list_refused(item, bytes)
    }

    pub(crate) fn stopping(&self) -> bool {
        self.live.stop.is_set()
    }
}
