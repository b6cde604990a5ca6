//! The HTTP server: a handler gets each request and returns a response.

#[cfg(feature = "json")]
mod json;
mod options;
mod pairs;
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
pub use self::pairs::Pairs;
pub use self::request::Request;
pub use self::response::{IntoResponse, Response};
use crate::connection::Connection;
use crate::net::address::ListenOn;
use crate::server::connect::reachable;
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::{Lifecycle, Next, Serve, Session, Turn};
use crate::server::wake::Streams;
use crate::server::{Bound, TestServer, streams};

/// An HTTP/1.0 and HTTP/1.1 server whose handler gets each [`Request`] and returns a [`Response`], or text, or
/// whatever else is [`IntoResponse`].
///
/// It keeps connections open and answers pipelined requests in order. Handlers run on worker threads, one for each
/// connection that has a request; idle connections take none. What RFC 9112 calls invalid is refused without asking
/// the handler, with a status and a text that says why, and is recorded.
///
/// It has kept connections, pipelining, chunked bodies with trailers both ways, `Expect: 100-continue`, HEAD,
/// `OPTIONS *`, absolute-form targets, CONNECT and Upgrade (the handler gets the raw connection). What RFC 9112 calls
/// invalid is refused with a status and a text that says why, and is recorded with it: `take_refusal` gives what no
/// handler got, such as a TLS client's first bytes. `sequence` gives answers in turn, for clients that try again.
///
/// A handler that may fail returns a `Result`; [`ok`](crate::ok) ends a closure in which nothing else tells the type of
/// the error.
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

    /// Takes the oldest request that was answered, waiting for one at most `timeout`. What the server has refused
    /// itself, or what never ended, is no request: [`take_refusal`](TestServer::take_refusal) gives it.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that came before the
    /// stop can still be taken. The error tells by method and target what came instead, and what was refused and why.
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
    ///
    /// # Panics
    /// If `is_wanted` does ask it.
    pub fn take_request_where(
        &self,
        is_wanted: impl FnMut(&Request) -> bool,
        timeout: Duration,
    ) -> io::Result<Request> {
        self.host.record.take_where(is_wanted, timeout)
    }

    /// The requests that came and were not taken, answered or not, in the order in which they came; without the
    /// [`refusals`](TestServer::refusals). No more than the builder's `record_limit` and `record_bytes` are kept; where
    /// some are missing, a line on standard error says so, and [`total_requests`](TestServer::total_requests) counts
    /// them.
    pub fn requests(&self) -> Vec<Request> {
        self.host.arrived()
    }

    /// How many requests came since the server was first started, taken or not, kept or not; without those that were
    /// refused.
    pub fn total_requests(&self) -> u64 {
        self.host.record.total()
    }

    /// Takes the oldest request that the server has refused itself, or that never ended, waiting for one at most
    /// `timeout`. Its [`error`](Request::error) says why; the rest is what could be read of it.
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # use std::net::TcpStream;
    /// # use std::time::Duration;
    /// use loopback::TestHttpServer;
    ///
    /// let server = TestHttpServer::fixed("127.0.0.1:0", "hello")?;
    /// // A client that speaks TLS.
    /// TcpStream::connect(server.local_addr())?.write_all(b"\x16\x03\x01\x02\x00\x01")?;
    /// let refusal = server.take_refusal(Duration::from_secs(5))?;
    /// let why = "the bytes look like a TLS handshake, and this server speaks plain HTTP";
    /// assert_eq!(refusal.error(), Some(why));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`take_request`](TestServer::take_request).
    pub fn take_refusal(&self, timeout: Duration) -> io::Result<Request> {
        self.host.record.take_refused(timeout)
    }

    /// The requests that the server has refused itself, or that never ended, and that were not taken, in the order in
    /// which they came. They share the record with the [`requests`](TestServer::requests).
    pub fn refusals(&self) -> Vec<Request> {
        self.host.refused()
    }

    /// How many requests were refused or never ended since the server was first started, taken or not, kept or not.
    pub fn total_refusals(&self) -> u64 {
        self.host.record.total_refused()
    }
}

impl TestServer<Http> {
    /// The URL of a path (and query) on this server: `http://127.0.0.1:8080/path`. A `/` is put before a path that does
    /// not begin with one. A server on all addresses (`0.0.0.0`, `[::]`) is asked at the loopback one.
    ///
    /// ```
    /// use loopback::TestHttpServer;
    ///
    /// let server = TestHttpServer::fixed("[::1]:0", "hello")?;
    /// assert_eq!(server.url("/tea?milk=1"), format!("http://[::1]:{}/tea?milk=1", server.port()));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn url(&self, path: &str) -> String {
        url(self.local_addr(), path)
    }

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

impl Bound<Http> {
    /// The URL of a path on this server, as [`TestServer::url`].
    pub fn url(&self, path: &str) -> String {
        url(self.local_addr(), path)
    }
}

/// The URL of a path at an address, or at the loopback address in place of all.
fn url(address: SocketAddr, path: &str) -> String {
    // RFC 6874: the % before a zone is written as %25.
    let authority = reachable(address).to_string().replace('%', "%25");
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("http://{authority}{slash}{path}")
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

    fn describe(request: &Request) -> String {
        let line = [request.method(), request.target()].join(" ");
        match (line.trim(), request.error()) {
            (line, None) => line.to_owned(),
            ("", Some(why)) => why.to_owned(),
            (line, Some(why)) => format!("{line}: {why}"),
        }
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

#[cfg(test)]
mod tests {
    use super::url;

    #[test]
    fn urls() {
        for (address, path, expected) in [
            ("127.0.0.1:80", "/", "http://127.0.0.1:80/"),
            ("127.0.0.1:8080", "/a?b#c", "http://127.0.0.1:8080/a?b#c"),
            ("127.0.0.1:1", "", "http://127.0.0.1:1/"),
            ("127.0.0.1:1", "?q", "http://127.0.0.1:1/?q"),
            ("[::1]:1", "a", "http://[::1]:1/a"),
            ("0.0.0.0:1", "/", "http://127.0.0.1:1/"),
            ("[::]:1", "/", "http://[::1]:1/"),
            ("[fe80::1%3]:1", "/%41", "http://[fe80::1%253]:1/%41"),
        ] {
            assert_eq!(url(address.parse().unwrap(), path), expected);
        }
    }
}
