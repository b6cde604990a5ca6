//! What arrived at an HTTP server.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::pairs::Pairs;
use crate::connection::quoted;
use crate::net::address::Address;
use crate::proto::http1::{Body, Framing, Headers, RequestHead, Version};

/// A request, whole: the handler gets it, and the server's record keeps it. Cloning it is cheap.
///
/// One that was refused, or that never ended, is recorded too: [`take_refusal`](crate::TestServer::take_refusal) gives
/// it, [`error`](Request::error) says why, and the other parts are what could be read of it.
///
/// ```
/// # use std::io::Write;
/// # use std::time::Duration;
/// use loopback::{Response, TestHttpServer};
///
/// let server = TestHttpServer::start("127.0.0.1:0", |_| Response::new(204))?;
/// # let mut client = std::net::TcpStream::connect(server.local_addr())?;
/// client.write_all(b"PUT /a?b=1 HTTP/1.1\r\nhost: h\r\nX-Tag: 1\r\nX-TAG: 2\r\nContent-Length: 2\r\n\r\nhi")?;
///
/// let request = server.take_request(Duration::from_secs(1))?;
/// assert_eq!((request.method(), request.path(), request.query()), ("PUT", "/a", Some("b=1")));
/// assert_eq!(request.headers().get_all("x-tag").collect::<Vec<_>>(), ["1", "2"]);
/// assert_eq!(request.body(), b"hi");
/// assert_eq!(request.error(), None);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct Request {
    inner: Arc<Inner>,
}

struct Inner {
    head: RequestHead,
    /// Most requests have none, and it is large.
    body: Option<Box<Body>>,
    error: Option<String>,
    peer: Address,
    place: Place,
    /// What few tests ask for, once one has.
    decoded: OnceLock<Box<Decoded>>,
}

#[derive(Default)]
struct Decoded {
    query: OnceLock<Pairs>,
    form: OnceLock<Pairs>,
    cookies: OnceLock<Pairs>,
}

static NO_BODY: Body = Body::new();

/// Which request of which connection it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) connection: u64,
    pub(super) exchange: u64,
}

impl Request {
    pub(super) fn new(
        head: RequestHead,
        body: Option<Box<Body>>,
        error: Option<String>,
        peer: Address,
        place: Place,
    ) -> Request {
        let inner = Inner {
            head,
            body,
            error,
            peer,
            place,
            decoded: OnceLock::new(),
        };
        Request {
            inner: Arc::new(inner),
        }
    }

    /// The method as sent: `GET`. Empty when the request line could not be read.
    #[must_use]
    pub fn method(&self) -> &str {
        self.inner.head.method()
    }

    /// The target as sent: `/path?query`, `http://host/path`, `host:port` or `*` (RFC 9112, section 3.2).
    #[must_use]
    pub fn target(&self) -> &str {
        self.inner.head.target()
    }

    /// The path in the target, as sent and without the query; `/` for an absolute target without one, `*` for `*`,
    /// and empty for `host:port`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.inner.head.form.path(self.target())
    }

    /// What stands behind the first `?` in the target, as sent.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.inner.head.form.query(self.target())
    }

    /// The names and values in the query, decoded as those of a form (`application/x-www-form-urlencoded`).
    #[must_use]
    pub fn query_pairs(&self) -> &Pairs {
        let query = || Pairs::of_urlencoded(self.query().unwrap_or_default().as_bytes());
        self.inner.decoded().query.get_or_init(query)
    }

    /// The names and values of a form in the body, decoded: none unless its Content-Type is
    /// `application/x-www-form-urlencoded`.
    ///
    /// ```
    /// # use std::io::Write;
    /// # use loopback::TestHttpServer;
    /// # let server = TestHttpServer::sink("127.0.0.1:0")?;
    /// # let mut client = std::net::TcpStream::connect(server.local_addr())?;
    /// let fields = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 20";
    /// write!(client, "POST / HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\nname=J%C3%B6rg+B&age=")?;
    /// let request = server.take_request(std::time::Duration::from_secs(1))?;
    /// assert_eq!(*request.form_pairs(), [("name", "Jörg B"), ("age", "")]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn form_pairs(&self) -> &Pairs {
        let form = || match self.has_type("application/x-www-form-urlencoded") {
            true => Pairs::of_urlencoded(self.body()),
            false => Pairs::default(),
        };
        self.inner.decoded().form.get_or_init(form)
    }

    /// The cookies of all Cookie fields, as sent: nothing is decoded, and quotes are part of a value (RFC 6265,
    /// section 4.2).
    #[must_use]
    pub fn cookies(&self) -> &Pairs {
        let cookies = || Pairs::of_cookies(self.headers().get_all("Cookie"));
        self.inner.decoded().cookies.get_or_init(cookies)
    }

    /// The value of the first cookie of this name.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies().get(name)
    }

    /// The host and port in the target, which a proxy's client and CONNECT send. The Host field is among
    /// [`headers`](Request::headers).
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.inner.head.form.authority(self.target())
    }

    /// The version; a higher 1.x is read as 1.1.
    #[must_use]
    pub fn version(&self) -> Version {
        self.inner.head.version
    }

    /// The header fields, in order and as sent.
    #[must_use]
    pub fn headers(&self) -> &Headers {
        &self.inner.head.headers
    }

    /// The value of the first header field of this name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name)
    }

    /// The protocol that the client would rather speak: the Upgrade field, where `Connection: upgrade` came with it.
    #[must_use]
    pub fn upgrade(&self) -> Option<&str> {
        let asked = self.inner.head.upgrade();
        self.header("Upgrade").filter(|_| asked)
    }

    /// Request line and header fields as text, as they came.
    #[must_use]
    pub fn raw_head(&self) -> &str {
        self.inner.head.text()
    }

    /// The body, with the framing of chunks taken off: no more of it than the builder's `keep_body`.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.inner.body().bytes
    }

    /// The body as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.body())
    }

    /// The size of the body in bytes, as far as it came, whether it was kept or not.
    #[must_use]
    pub fn body_size(&self) -> u64 {
        self.inner.body().size
    }

    /// Whether the body came in chunks.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.inner.head.framing() == Framing::Chunked
    }

    /// The sizes in bytes of the body's chunks, the last and empty one left out; no more than 1,024 of them.
    #[must_use]
    pub fn chunk_sizes(&self) -> &[u64] {
        &self.inner.body().chunk_sizes
    }

    /// The trailer fields that came after the last chunk.
    #[must_use]
    pub fn trailers(&self) -> &Headers {
        &self.inner.body().trailers
    }

    /// The client's address.
    #[must_use]
    pub fn peer(&self) -> &Address {
        &self.inner.peer
    }

    /// The number of the connection it came on, from 0 in the order in which they were accepted. A restart of the
    /// server begins again at 0.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.inner.place.connection
    }

    /// The number of the request on its connection, from 0.
    #[must_use]
    pub fn exchange(&self) -> u64 {
        self.inner.place.exchange
    }

    /// Why the server refused it, or how it broke off; `None` for a request that a handler got. Only what
    /// [`take_refusal`](crate::TestServer::take_refusal) gives has one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.inner.error.as_deref()
    }

    /// Whether the Content-Type is this one, whatever its parameters.
    fn has_type(&self, media_type: &str) -> bool {
        let own = self.header("Content-Type").unwrap_or_default();
        let own = own.split(';').next().unwrap_or_default();
        own.trim().eq_ignore_ascii_case(media_type)
    }
}

impl Inner {
    fn body(&self) -> &Body {
        self.body.as_deref().unwrap_or(&NO_BODY)
    }

    fn decoded(&self) -> &Decoded {
        self.decoded.get_or_init(Box::default)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 400;
        let mut shown = f.debug_struct("Request");
        shown
            .field("method", &self.method())
            .field("target", &self.target())
            .field("version", &self.version())
            .field("headers", self.headers())
            .field("body_size", &self.body_size())
            .field("body", &format_args!("{}", quoted(self.body(), SHOWN)))
            .field("trailers", self.trailers())
            .field("peer", &format_args!("{}", self.peer()))
            .field("connection", &self.connection())
            .field("exchange", &self.exchange());
        if let Some(error) = self.error() {
            shown.field("error", &error);
        }
        shown.finish_non_exhaustive()
    }
}
