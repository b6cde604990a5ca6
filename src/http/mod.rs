//! The HTTP server: a handler gets each request and returns a response.

mod options;
mod request;
mod response;
mod send;
mod serve;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use self::options::HttpOptions;
pub use self::request::Request;
pub use self::response::{IntoResponse, Response};
use crate::connection::Connection;
use crate::server::address::ListenOn;
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::{Lifecycle, Next, Serve, Session, Turn};
use crate::server::wake::Streams;
use crate::server::{TestServer, streams};

/// An HTTP/1.0 and HTTP/1.1 server whose handler gets each [`Request`] and returns a [`Response`], or text, or
/// whatever else is [`IntoResponse`].
///
/// It keeps connections open and answers pipelined requests in order. Handlers run on worker threads, one for each
/// connection that has a request; idle connections take none. What RFC 9112 calls invalid is refused without asking
/// the handler, with a status and a text that says why, and is recorded.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use loopback::{Response, TestHttpServer};
///
/// let mut server = TestHttpServer::start("127.0.0.1:0", |request| {
///     Response::text(format!("you asked for {}", request.path()))
/// })?;
/// let mut client = TcpStream::connect(server.local_addr())?;
/// client.write_all(b"GET /tea HTTP/1.0\r\n\r\n")?;
/// let mut answer = String::new();
/// client.read_to_string(&mut answer)?;
/// assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
/// assert!(answer.ends_with("\r\n\r\nyou asked for /tea"));
///
/// let request = server.take_request(Duration::from_secs(1))?;
/// assert_eq!(request.path(), "/tea");
/// server.stop(Duration::from_secs(1))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type TestHttpServer<A = SocketAddr> = TestServer<Http, A>;

/// The HTTP protocol of a [`TestHttpServer`].
pub struct Http {
    handler: Box<Handler>,
    /// The handler runs no code of the test's, and its answer goes out in one write that does not block.
    answers_at_once: bool,
    options: HttpOptions,
}

type Handler = dyn Fn(Request) -> serve::Outcome + Send + Sync;

/// About what a request takes in the record beside what came over the wire. Without it, a record of many small
/// requests would be several times as large as its limit.
const REQUEST_ITSELF: usize = 512;

/// A response of one request, or one that several get.
enum Answer {
    Own(Response),
    Shared(Arc<Response>),
}

impl<A> TestServer<Http, A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// The handler's panic or error gives the client 500, and comes out of [`stop`](TestServer::stop) or of the drop.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start<L, H, R>(address: L, handler: H) -> io::Result<TestServer<Http, A>>
    where
        L: ListenOn<Address = A>,
        H: Fn(Request) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        Builder::<Http>::default().bind(address, handler)?.start()
    }

    /// A server that gives every request the same answer.
    ///
    /// # Errors
    /// As [`start`](TestServer::start), and `InvalidInput` for a response that cannot be sent.
    pub fn fixed<L: ListenOn<Address = A>>(
        address: L,
        response: impl IntoResponse,
    ) -> io::Result<TestServer<Http, A>> {
        Builder::<Http>::default().fixed(address, response)
    }

    /// A server that gives these answers in turn, and then the last one again and again: "503 twice, then 200".
    ///
    /// Each request that the server would hand to a handler takes one, on whatever connection it comes; those that it
    /// refuses itself, or that a [`before_body`](Builder::before_body) answers, take none. How often a client came is
    /// in the record. Where one request more would be wrong, let the last answer be one that says so.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use std::net::TcpStream;
    /// use loopback::{Response, TestHttpServer};
    ///
    /// let busy = Response::new(503).header("Retry-After", "0");
    /// let server = TestHttpServer::sequence("127.0.0.1:0", [busy.clone(), busy, Response::text("done")])?;
    /// // A real client would be what is tested: one that tries again.
    /// let mut tries = 0;
    /// let answer = loop {
    ///     let mut client = TcpStream::connect(server.local_addr())?;
    ///     client.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    ///     let mut answer = String::new();
    ///     client.read_to_string(&mut answer)?;
    ///     tries += 1;
    ///     if !answer.starts_with("HTTP/1.1 503 ") {
    ///         break answer;
    ///     }
    /// };
    /// assert!(answer.ends_with("\r\n\r\ndone"));
    /// assert_eq!((tries, server.requests().len()), (3, 3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](TestServer::start), and `InvalidInput` for a response that cannot be sent, and for none at all.
    pub fn sequence<L: ListenOn<Address = A>>(
        address: L,
        responses: impl IntoIterator<Item = impl IntoResponse>,
    ) -> io::Result<TestServer<Http, A>> {
        Builder::<Http>::default().sequence(address, responses)
    }

    /// A server that answers with the body of the request, and its Content-Type.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn echo<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Http, A>> {
        Builder::<Http>::default().echo(address)
    }

    /// A server that reads each request to its end, and answers 204 (No Content).
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn sink<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Http, A>> {
        Builder::<Http>::default().sink(address)
    }

    /// Takes the oldest request that was answered, waiting for one at most `timeout`. Refused and unfinished requests
    /// are among them.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that came before the
    /// stop can still be taken.
    pub fn take_request(&self, timeout: Duration) -> io::Result<Request> {
        self.host.record.take(timeout)
    }

    /// Takes the oldest `count` requests that were answered, waiting for all of them at most `timeout`. They have to
    /// fit into the record together (the builder's `record_limit` and `record_bytes`).
    ///
    /// # Errors
    /// As [`take_request`](TestServer::take_request), when fewer came; those are not taken.
    pub fn take_requests(&self, count: usize, timeout: Duration) -> io::Result<Vec<Request>> {
        self.host.record.take_many(count, timeout)
    }

    /// Takes the oldest answered request that `is_wanted` accepts, waiting for one at most `timeout`; the
    /// others stay. `is_wanted` is called while the record is locked, so it must not ask the server for
    /// anything.
    ///
    /// # Errors
    /// As [`take_request`](TestServer::take_request).
    pub fn take_request_where(
        &self,
        is_wanted: impl FnMut(&Request) -> bool,
        timeout: Duration,
    ) -> io::Result<Request> {
        self.host.record.take_where(is_wanted, timeout)
    }

    /// The requests that came and were not taken, answered or not, in the order in which they came.
    pub fn requests(&self) -> Vec<Request> {
        self.host.record.all()
    }
}

impl TestServer<Http> {
    /// Options first.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopback::{Response, TestHttpServer};
    ///
    /// let server = TestHttpServer::builder()
    ///     .max_body(1 << 20)
    ///     .request_timeout(Duration::from_secs(2))
    ///     .segment_size(100) // every answer in pieces, to see that the client puts them together
    ///     .before_body(|request| match request.header("Authorization") {
    ///         Some(_) => None,
    ///         None => Some(Response::new(401).header("WWW-Authenticate", "Basic")),
    ///     })
    ///     .start("127.0.0.1:0", |request| Response::bytes(request.body()))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn builder() -> Builder<Http> {
        Builder::default()
    }
}

impl Lifecycle for Http {
    const NAME: &'static str = "http";
    const TARGET: &'static str = "loopback::http";
    const NOUN: &'static str = "a request";
    type Kind = Streams;
    type Options = HttpOptions;
    type Item = Request;

    fn size_of(request: &Request) -> usize {
        let trailers = request.trailers().iter();
        REQUEST_ITSELF
            + request.raw_head().len()
            + request.body().len()
            + size_of_val(request.chunk_sizes())
            + trailers
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }

    fn run(run: Run<Http>) {
        streams::serve(run);
    }
}

impl Serve for Http {
    fn serve(&self, conn: Connection, session: &Session<'_, Http>) -> Next {
        serve::serve(self, conn, session)
    }

    fn takes_turns(&self) -> bool {
        self.answers_at_once
            && self.options.before_body.is_none()
            && self.options.max_requests.is_none()
            && self.options.pace().is_none()
    }

    fn turn(&self, conn: &mut Connection, drain: bool, session: &Session<'_, Http>) -> Turn {
        serve::turn(self, conn, drain, session)
    }
}

impl Answer {
    fn response(&self) -> &Response {
        match self {
            Answer::Own(response) => response,
            Answer::Shared(response) => response,
        }
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Own(response)
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
