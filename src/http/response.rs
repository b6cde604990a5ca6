//! What an HTTP handler answers.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::request::Request;
use crate::connection::Connection;
use crate::fault::{Fault, Pace};
use crate::proto::http1::{HeaderError, Headers, is_token, reason_phrase};
use crate::server::failure::{HandlerResult, Never};

pub(super) type BoxError = Box<dyn Error + Send + Sync>;

/// The answer to a request: status, header fields, body, and how to misbehave.
///
/// Fields are sent in the order and the case in which they were given. Content-Length or Transfer-Encoding are added
/// where they are not among them, and `Date`, `Trailer` and `Connection` where they are due. One that is given is sent
/// as it is, even if it does not fit the body, and then the connection closes behind the response, so that no client
/// waits for an end that does not come: after a Content-Length that is wrong, and after a Transfer-Encoding whose last
/// coding is not `chunked`, under which the body goes out as it is (RFC 9112, section 6.3). `close` is added to a
/// Connection field when the server closes, unless [`connection_as_given`](Response::connection_as_given) says
/// otherwise.
///
/// ```
/// use std::time::Duration;
/// use loopback::{Pace, Response};
///
/// let plain = Response::text("hello");
/// let not_found = Response::new(404).header("X-Why", "no such page");
/// let chunked = Response::text("hello").chunked().trailer("X-Sum", "5d41");
/// let streamed = Response::reader(std::io::repeat(b'x')).sized(1_000_000);
/// let slow = Response::text("hello")
///     .delay(Duration::from_millis(200))
///     .pace(Pace::Dribble { segment: 1, gap: Duration::from_millis(10) });
/// ```
#[derive(Clone)]
#[must_use = "a response is sent when the handler returns it"]
pub struct Response {
    pub(super) status: u16,
    pub(super) headers: Headers,
    pub(super) content_type: Option<&'static str>,
    pub(super) content: Content,
    pub(super) chunked: bool,
    // A response is moved several times on its way out, and few have any of it.
    rare: Option<Box<Rare>>,
}

/// What few responses have.
#[derive(Clone)]
pub(super) struct Rare {
    pub(super) reason: Option<String>,
    pub(super) chunk_size: usize,
    pub(super) trailers: Headers,
    pub(super) interims: Vec<(u16, Headers)>,
    pub(super) delay: Duration,
    pub(super) faults: Vec<Fault>,
    pub(super) pace: Option<Pace>,
    pub(super) takeover: Option<Takeover>,
    pub(super) connection_as_given: bool,
    /// The first thing that could not be sent as asked for.
    invalid: Option<HeaderError>,
}

/// What most responses have.
static USUAL: Rare = Rare {
    reason: None,
    chunk_size: CHUNK_SIZE,
    trailers: Headers::new(),
    interims: Vec::new(),
    delay: Duration::ZERO,
    faults: Vec::new(),
    pace: None,
    takeover: None,
    connection_as_given: false,
    invalid: None,
};

/// Where the body comes from.
#[derive(Clone)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// Gone once it was sent; its size where it is known.
    Reader(Arc<Mutex<Option<Reader>>>, Option<u64>),
    /// In place of head and body.
    Raw(Vec<u8>),
}

pub(super) type Reader = Box<dyn Read + Send>;
pub(super) type Takeover = Arc<dyn Fn(Connection) -> Result<(), BoxError> + Send + Sync>;

/// So many bytes of a body make a chunk, unless told otherwise.
const CHUNK_SIZE: usize = 16 * 1024;

/// Less than any system's send buffer has.
const AT_ONCE: usize = 2048;

impl Response {
    /// An empty body with this status, 200 to 599 by the book; anything from 200 to 999 is sent.
    pub fn new(status: u16) -> Response {
        Response {
            status: 200,
            headers: Headers::new(),
            content_type: None,
            content: Content::Bytes(Vec::new()),
            chunked: false,
            rare: None,
        }
        .status(status)
    }

    /// 200 with a body of plain text.
    pub fn text(text: impl Into<String>) -> Response {
        Response::typed("text/plain; charset=utf-8", text.into())
    }

    /// 200 with a body of HTML.
    pub fn html(text: impl Into<String>) -> Response {
        Response::typed("text/html; charset=utf-8", text.into())
    }

    /// 200 with a body that is JSON already. With the feature `json`, `Response::json` makes it of a value.
    pub fn json_text(text: impl Into<String>) -> Response {
        Response::typed("application/json", text.into())
    }

    /// 200 with a body of bytes, and no Content-Type.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Response {
        Response::new(200).body(bytes)
    }

    /// 200 with a body that is read while it is sent: in chunks, one for each read, unless [`sized`](Response::sized)
    /// tells its size.
    ///
    /// It is read once: a clone of the response has no body left when the other was sent, which is a failure of the
    /// handler.
    pub fn reader(reader: impl Read + Send + 'static) -> Response {
        let reader: Reader = Box::new(reader);
        let mut response = Response::new(200);
        response.content = Content::Reader(Arc::new(Mutex::new(Some(reader))), None);
        response
    }

    /// These bytes in place of a head and a body, and then the end of the connection.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Response {
        let mut response = Response::new(200);
        response.content = Content::Raw(bytes.into());
        response
    }

    /// No answer: the connection closes.
    pub fn close() -> Response {
        Response::raw(Vec::new())
    }

    /// No answer: the connection is reset.
    pub fn reset() -> Response {
        Response::close().fault(Fault::Reset(crate::fault::At::Start))
    }

    /// 101, with which the connection is handed to `handler` to speak `protocol` on it: the answer to a request whose
    /// [`upgrade`](Request::upgrade) asks for it. What the client sent after its request is read first. It goes out as
    /// given to a client that has not asked, too, which RFC 9110, section 7.8, forbids: a handler that is to be right
    /// looks at [`upgrade`](Request::upgrade) first.
    ///
    /// ```
    /// use std::io::{BufRead, Read, Write};
    /// use loopback::{Response, TestHttpServer};
    ///
    /// let server = TestHttpServer::start("127.0.0.1:0", |_| {
    ///     Response::upgrade("shout", |mut conn| {
    ///         let line = conn.read_line()?;
    ///         conn.write_all(line.to_uppercase().as_bytes())
    ///     })
    /// })?;
    /// let mut client = std::net::TcpStream::connect(server.local_addr())?;
    /// client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nhello\n")?;
    /// let mut answer = String::new();
    /// client.read_to_string(&mut answer)?;
    /// assert!(answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"));
    /// assert!(answer.ends_with("\r\n\r\nHELLO\n"));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn upgrade<R: HandlerResult>(
        protocol: &str,
        handler: impl Fn(Connection) -> R + Send + Sync + 'static,
    ) -> Response {
        let mut response = Response::tunnel(handler)
            .header("Connection", "Upgrade")
            .header("Upgrade", protocol);
        response.status = 101;
        response
    }

    /// 200 without a body, after which the connection is handed to `handler`: the answer to CONNECT.
    pub fn tunnel<R: HandlerResult>(
        handler: impl Fn(Connection) -> R + Send + Sync + 'static,
    ) -> Response {
        let mut response = Response::new(200);
        response.rare_mut().takeover = Some(Arc::new(move |conn| handler(conn).into_result()));
        response
    }

    /// Sets the status.
    pub fn status(mut self, status: u16) -> Response {
        if !(200..=999).contains(&status) {
            let why = "is not from 200 to 999; interim answers are sent by Response::interim";
            self.refuse(format!("the status {status} {why}"));
        }
        self.status = status;
        self
    }

    /// Sets the reason phrase, which is the status's own unless told.
    pub fn reason(mut self, reason: impl Into<String>) -> Response {
        let reason = reason.into();
        if reason
            .bytes()
            .any(|byte| byte.is_ascii_control() && byte != b'\t')
        {
            self.refuse(format!("the reason {reason:?} has a control character"));
        }
        self.rare_mut().reason = Some(reason);
        self
    }

    /// Adds a header field after the others. A name or value with a line end or another control character makes the
    /// response a failure of the handler; [`raw`](Response::raw) can send it.
    pub fn header(mut self, name: &str, value: impl AsRef<str>) -> Response {
        if let Err(error) = self.headers.append(name, value.as_ref()) {
            self.refuse(error.0);
        }
        self
    }

    /// Adds a Set-Cookie field: a name, a value, and attributes such as `"Path=/"` and `"HttpOnly"`. What a cookie
    /// cannot have (RFC 6265, section 4.1.1) makes the response a failure of the handler;
    /// [`header`](Response::header) can send it.
    ///
    /// ```
    /// use loopback::{Response, TestHttpServer};
    ///
    /// let server = TestHttpServer::start("127.0.0.1:0", |request| match request.cookie("session") {
    ///     Some(session) => Response::text(format!("welcome back, {session}")),
    ///     None => Response::new(401).set_cookie("session", "42", &["Path=/", "HttpOnly"]),
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn set_cookie(
        mut self,
        name: &str,
        value: impl AsRef<str>,
        attributes: &[&str],
    ) -> Response {
        match set_cookie(name, value.as_ref(), attributes) {
            Ok(field) => self.header("Set-Cookie", field),
            Err(why) => {
                self.refuse(why);
                self
            }
        }
    }

    /// Sends the Connection fields that were given without adding `close` (or `keep-alive` for HTTP/1.0) to say what the
    /// server will do: a server that promises to keep a connection and closes it.
    ///
    /// ```
    /// use loopback::Response;
    /// // Closes after this response, as every server does that has `max_requests(1)`, and does not say so.
    /// let lie = Response::text("hi").header("Connection", "keep-alive").connection_as_given();
    /// ```
    pub fn connection_as_given(mut self) -> Response {
        self.rare_mut().connection_as_given = true;
        self
    }

    /// Adds a trailer field, which makes the body chunked. HTTP/1.0 clients do not get it.
    pub fn trailer(mut self, name: &str, value: impl AsRef<str>) -> Response {
        let added = self.rare_mut().trailers.append(name, value.as_ref());
        if let Err(error) = added {
            self.refuse(error.0);
        }
        self.chunked()
    }

    /// Sets the body.
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Response {
        self.content = Content::Bytes(bytes.into());
        self
    }

    /// Sends the body in chunks, though its size may be known. HTTP/1.0 clients get it without.
    pub fn chunked(mut self) -> Response {
        self.chunked = true;
        self
    }

    /// Sends the body in chunks of so many bytes at most, 16 KiB unless told; 0 counts as 1.
    pub fn chunk_size(mut self, bytes: usize) -> Response {
        self.rare_mut().chunk_size = bytes.max(1);
        self.chunked()
    }

    /// Tells the size of what [`reader`](Response::reader) will give, which is sent as Content-Length. No more is
    /// read; less is a failure of the handler.
    pub fn sized(mut self, bytes: u64) -> Response {
        if let Content::Reader(_, size) = &mut self.content {
            *size = Some(bytes);
        }
        self
    }

    /// Sends an interim answer first, such as 103 Early Hints. HTTP/1.0 clients do not get it.
    pub fn interim(mut self, status: u16, headers: &[(&str, &str)]) -> Response {
        if !(100..=199).contains(&status) || status == 101 {
            self.refuse(format!("the status {status} is not an interim one"));
        }
        let mut fields = Headers::new();
        for (name, value) in headers {
            if let Err(error) = fields.append(name, value) {
                self.refuse(error.0);
            }
        }
        self.rare_mut().interims.push((status, fields));
        self
    }

    /// Waits before the first byte. Ends early, with the connection, when the server stops.
    pub fn delay(mut self, delay: Duration) -> Response {
        self.rare_mut().delay = delay;
        self
    }

    /// Adds a fault. Several happen in the order of their places.
    pub fn fault(mut self, fault: Fault) -> Response {
        self.rare_mut().faults.push(fault);
        self
    }

    /// Sets how fast it flows.
    pub fn pace(mut self, pace: Pace) -> Response {
        self.rare_mut().pace = Some(pace);
        self
    }

    /// What few responses have.
    pub(super) fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&USUAL)
    }

    /// The response, unless a part of it cannot be sent.
    pub(super) fn checked(self) -> Result<Response, BoxError> {
        match &self.rare().invalid {
            Some(error) => Err(format!("the response cannot be sent: {error}").into()),
            None => Ok(self),
        }
    }

    /// Whether it goes out in one write that needs no room but what an empty send buffer always has, and leaves the
    /// connection open.
    pub(super) fn goes_out_at_once(&self) -> bool {
        let Content::Bytes(body) = &self.content else {
            return false;
        };
        let fields = self
            .headers
            .iter()
            .map(|(name, value)| name.len() + value.len());
        let may_close = ["Connection", "Content-Length", "Transfer-Encoding"];
        self.rare.is_none()
            && self.status != 101
            && may_close
                .iter()
                .all(|name| self.headers.get(name).is_none())
            && body.len() + fields.sum::<usize>() <= AT_ONCE
    }

    fn typed(content_type: &'static str, text: String) -> Response {
        let mut response = Response::bytes(text);
        response.content_type = Some(content_type);
        response
    }

    pub(super) fn refuse(&mut self, why: String) {
        let invalid = &mut self.rare_mut().invalid;
        invalid.get_or_insert(HeaderError(why));
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_with(|| Box::new(USUAL.clone()))
    }
}

impl Content {
    /// The size of the body, where it is known.
    pub(super) fn size(&self) -> Option<u64> {
        match self {
            Content::Bytes(bytes) | Content::Raw(bytes) => Some(bytes.len() as u64),
            Content::Reader(_, size) => *size,
        }
    }
}

/// The value of a Set-Cookie field, or what cannot be in one (RFC 6265, section 4.1.1).
fn set_cookie(name: &str, value: &str, attributes: &[&str]) -> Result<String, String> {
    if !is_token(name) {
        return Err(format!("the cookie name {name:?} is not a token"));
    }
    let quoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    let is_octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
    if !quoted.unwrap_or(value).bytes().all(is_octet) {
        return Err(format!(
            "the cookie value {value:?} has a character that no cookie has"
        ));
    }
    let mut field = format!("{name}={value}");
    for attribute in attributes {
        if attribute.contains(';') {
            return Err(format!(
                "the cookie attribute {attribute:?} has a semicolon"
            ));
        }
        field = field + "; " + attribute;
    }
    Ok(field)
}

/// Takes a reader out of a response, once.
pub(super) fn take_reader(slot: &Mutex<Option<Reader>>) -> Option<Reader> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: Cow<'_, str> = match &self.content {
            Content::Bytes(bytes) => format!("{} bytes", bytes.len()).into(),
            Content::Raw(bytes) => format!("{} raw bytes", bytes.len()).into(),
            Content::Reader(_, Some(size)) => format!("a reader of {size} bytes").into(),
            Content::Reader(_, None) => "a reader".into(),
        };
        let rare = self.rare();
        let reason = rare.reason.as_deref().unwrap_or(reason_phrase(self.status));
        f.debug_struct("Response")
            .field("status", &format_args!("{} {reason}", self.status))
            .field("headers", &self.headers)
            .field("body", &body)
            .field("trailers", &rare.trailers)
            .field("delay", &rare.delay)
            .field("faults", &rare.faults)
            .field("pace", &rare.pace)
            .finish_non_exhaustive()
    }
}

/// What an HTTP handler may return: a [`Response`], text or bytes for a body, nothing for an empty one, or an `Option`
/// or a `Result` of these.
///
/// `None` becomes 404 (Not Found). An error becomes 500 for the client, and a failure that the server's `stop` reports. It is also implemented for
/// `!`, the type of a closure that always panics.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made into a response",
    label = "not a response",
    note = "a handler may return a `Response`, text (`String`, `&str`, `Cow<str>`) or bytes (`Vec<u8>`, `&[u8]`, `&[u8; N]`) for a body, `()` for an empty one, or an `Option` (`None` is 404) or a `Result` of any of these; a status alone is `Response::new(200)`",
    note = "a closure that ends with `Ok(…)` has to tell the type of the error: end it with `loopback::ok(…)` for any"
)]
pub trait IntoResponse {
    /// The response to send, or the error that the test is to see.
    ///
    /// # Errors
    ///
    /// The handler's own.
    fn into_response(self) -> Result<Response, Box<dyn Error + Send + Sync>>;
}

impl IntoResponse for Response {
    fn into_response(self) -> Result<Response, BoxError> {
        Ok(self)
    }
}

impl IntoResponse for () {
    fn into_response(self) -> Result<Response, BoxError> {
        Ok(Response::new(200))
    }
}

macro_rules! into_response {
    ($($type:ty => $as:path),* $(,)?) => {$(
        impl IntoResponse for $type {
            fn into_response(self) -> Result<Response, BoxError> {
                Ok($as(self))
            }
        }
    )*};
}

into_response!(
    String => Response::text,
    &str => Response::text,
    Cow<'_, str> => Response::text,
    Vec<u8> => Response::bytes,
    &[u8] => Response::bytes,
);

impl<const N: usize> IntoResponse for &[u8; N] {
    fn into_response(self) -> Result<Response, BoxError> {
        Ok(Response::bytes(self))
    }
}

impl<R: IntoResponse> IntoResponse for Option<R> {
    fn into_response(self) -> Result<Response, BoxError> {
        self.map_or_else(|| Ok(Response::new(404)), R::into_response)
    }
}

impl<R: IntoResponse, E: Into<Box<dyn Error + Send + Sync>>> IntoResponse for Result<R, E> {
    fn into_response(self) -> Result<Response, BoxError> {
        self.map_err(Into::into)?.into_response()
    }
}

#[doc(hidden)]
#[diagnostic::do_not_recommend]
impl IntoResponse for Never {
    fn into_response(self) -> Result<Response, BoxError> {
        match self {}
    }
}

/// Answers with what the request brought.
pub(super) fn echo(request: &Request) -> Response {
    let response = Response::bytes(request.body());
    match request.header("Content-Type") {
        Some(content_type) => response.header("Content-Type", content_type),
        None => response,
    }
}
