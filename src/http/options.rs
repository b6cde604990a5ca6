//! The HTTP server's own options.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::request::Request;
use super::response::{self, BoxError, IntoResponse, Response};
use super::serve::Outcome;
use super::{Answer, Http};
use crate::deadline::prose;
use crate::fault::Pace;
use crate::net::address::ListenOn;
use crate::proto::http1::{HttpDate, Limits};
use crate::server::host::Host;
use crate::server::options::Builder;
use crate::server::{Bound, TestServer};

/// The HTTP server's own options.
#[derive(Clone)]
#[allow(unnameable_types, reason = "behind the builder")]
pub struct HttpOptions {
    pub(super) limits: Limits,
    pub(super) keep_body: u64,
    pub(super) max_requests: Option<u64>,
    pub(super) before_body: Option<Hook>,
    request_timeout: Option<Duration>,
    date: Dated,
    segment_size: Option<usize>,
    segment_gap: Duration,
}

/// The Date of responses that have none of their own.
#[derive(Debug, Clone, Copy)]
enum Dated {
    Now,
    Never,
    Always(HttpDate),
}

type Hook = Arc<dyn Fn(Request) -> Result<Option<Answer>, BoxError> + Send + Sync>;

impl Default for HttpOptions {
    fn default() -> HttpOptions {
        HttpOptions {
            limits: Limits {
                line: 16 << 10,
                head: 64 << 10,
                body: 64 << 20,
                lenient_targets: false,
            },
            keep_body: u64::MAX,
            max_requests: None,
            before_body: None,
            request_timeout: None,
            date: Dated::Now,
            segment_size: None,
            segment_gap: Duration::ZERO,
        }
    }
}

impl HttpOptions {
    /// The Date of a response that goes out now and has none of its own.
    pub(super) fn date(&self) -> Option<HttpDate> {
        match self.date {
            Dated::Now => Some(HttpDate::now()),
            Dated::Never => None,
            Dated::Always(date) => Some(date),
        }
    }

    /// The pace of responses that have none of their own.
    pub(super) fn pace(&self) -> Option<Pace> {
        let segment = self.segment_size?;
        let gap = self.segment_gap;
        Some(Pace::Dribble { segment, gap })
    }
}

impl Http {
    pub(super) fn request_timeout(&self, host: &Host<Http>) -> Duration {
        let reading = host.options.limits.read_timeout;
        self.options
            .request_timeout
            .or(reading)
            .unwrap_or(Duration::MAX)
    }
}

impl Builder<Http> {
    /// How long a request may take from its first byte to its last, the read timeout (30 s) unless told. Beyond it the
    /// client gets 408, and the connection closes.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.options.request_timeout = Some(timeout);
        self
    }

    /// The longest request line in bytes, 16 KiB unless told. A longer one gets 414.
    pub fn max_request_line(mut self, bytes: usize) -> Self {
        self.options.limits.line = bytes;
        self
    }

    /// The largest header section in bytes, and the largest trailer section, 64 KiB unless told; at most 1 GiB. A
    /// larger one gets 431, and so do more than 256 fields.
    pub fn max_head(mut self, bytes: usize) -> Self {
        self.options.limits.head = bytes.min(1 << 30);
        self
    }

    /// The largest body in bytes, 64 MiB unless told. A larger one gets 413.
    pub fn max_body(mut self, bytes: u64) -> Self {
        self.options.limits.body = bytes;
        self
    }

    /// How many bytes of a body are kept, all unless told. Handler and record see no more of it, and
    /// [`body_size`](Request::body_size) tells its true size.
    pub fn keep_body(mut self, bytes: u64) -> Self {
        self.options.keep_body = bytes;
        self
    }

    /// How many requests a connection serves before it is closed, any number unless told.
    pub fn max_requests(mut self, requests: u64) -> Self {
        self.options.max_requests = Some(requests);
        self
    }

    /// Leaves the Date field out, which otherwise every response has (RFC 9110, section 6.6.1): for tests that compare
    /// bytes. One that a response is given is sent all the same.
    pub fn without_date(mut self) -> Self {
        self.options.date = Dated::Never;
        self
    }

    /// Sends this time in the Date field in place of the clock's, to the second; times before 1970 and after 9999 are
    /// sent as the nearer end of that.
    pub fn date(mut self, time: SystemTime) -> Self {
        self.options.date = Dated::Always(HttpDate::of(time));
        self
    }

    /// Takes request targets with characters that no URI has (`"<>{}|\\^` and the backquote), and with a `%` that no
    /// two hexadecimal digits follow. They get 400 unless told (RFC 3986, section 2).
    pub fn lenient_targets(mut self) -> Self {
        self.options.limits.lenient_targets = true;
        self
    }

    /// Sends every response in segments of so many bytes at most, each with a write of its own; 0 counts as 1. A
    /// response's own pace comes before it.
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.options.segment_size = Some(bytes);
        self
    }

    /// The time between two segments of [`segment_size`](Builder::segment_size), none unless told.
    pub fn segment_gap(mut self, gap: Duration) -> Self {
        self.options.segment_gap = gap;
        self
    }

    /// Looks at each request when its head has come, before its body is read and before `100 Continue` is sent: a
    /// response that `hook` gives is sent at once, without reading the body, and the handler does not see the request.
    pub fn before_body(
        mut self,
        hook: impl Fn(Request) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        self.options.before_body = Some(Arc::new(move |request| {
            let early = hook(request).map(Response::checked).transpose()?;
            Ok(early.map(Answer::from))
        }));
        self
    }

    /// Binds, without serving yet: the port is known, and clients queue.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<L, H, R>(self, address: L, handler: H) -> io::Result<Bound<Http, L::Address>>
    where
        L: ListenOn,
        H: Fn(Request) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        let handler = move |request| Ok(Answer::from(handler(request).into_response()?.checked()?));
        self.bind_answers(address, handler, false)
    }

    /// Binds and starts.
    ///
    /// # Errors
    /// As [`TestHttpServer::start`](TestServer::start).
    pub fn start<L, H, R>(self, address: L, handler: H) -> io::Result<TestServer<Http, L::Address>>
    where
        L: ListenOn,
        H: Fn(Request) -> R + Send + Sync + 'static,
        R: IntoResponse,
    {
        self.bind(address, handler)?.start()
    }

    /// Binds and starts a server that gives every request the same answer.
    ///
    /// # Errors
    /// As [`TestHttpServer::fixed`](TestServer::fixed).
    pub fn fixed<L: ListenOn>(
        self,
        address: L,
        response: impl IntoResponse,
    ) -> io::Result<TestServer<Http, L::Address>> {
        let response = sendable(response)?;
        let at_once = response.goes_out_at_once();
        let handler = move |_| Ok(Answer::Shared(Arc::clone(&response)));
        self.bind_answers(address, handler, at_once)?.start()
    }

    /// Binds and starts a server that gives these answers in turn, and then the last one again and again.
    ///
    /// # Errors
    /// As [`TestHttpServer::sequence`](TestServer::sequence).
    pub fn sequence<L: ListenOn>(
        self,
        address: L,
        responses: impl IntoIterator<Item = impl IntoResponse>,
    ) -> io::Result<TestServer<Http, L::Address>> {
        let responses = responses.into_iter().map(sendable);
        let responses = responses.collect::<io::Result<Vec<_>>>()?;
        let last = responses.last().cloned().ok_or_else(|| {
            let text = "a sequence of responses needs one at least";
            prose(io::ErrorKind::InvalidInput, text.into())
        })?;
        let at_once = responses.iter().all(|response| response.goes_out_at_once());
        let given = AtomicUsize::new(0);
        let handler = move |_| {
            let next = responses.get(given.fetch_add(1, Ordering::Relaxed));
            Ok(Answer::Shared(Arc::clone(next.unwrap_or(&last))))
        };
        self.bind_answers(address, handler, at_once)?.start()
    }

    /// Binds and starts a server that answers with the body of the request, and its Content-Type.
    ///
    /// # Errors
    /// As [`TestHttpServer::start`](TestServer::start).
    pub fn echo<L: ListenOn>(self, address: L) -> io::Result<TestServer<Http, L::Address>> {
        self.start(address, |request| response::echo(&request))
    }

    /// Binds and starts a server that reads each request to its end, and answers 204 (No Content).
    ///
    /// # Errors
    /// As [`TestHttpServer::start`](TestServer::start).
    pub fn sink<L: ListenOn>(self, address: L) -> io::Result<TestServer<Http, L::Address>> {
        self.fixed(address, Response::new(204))
    }

    fn bind_answers<L: ListenOn>(
        self,
        address: L,
        handler: impl Fn(Request) -> Outcome + Send + Sync + 'static,
        answers_at_once: bool,
    ) -> io::Result<Bound<Http, L::Address>> {
        let protocol = Http {
            handler: Box::new(handler),
            answers_at_once,
            options: self.options,
        };
        Bound::new(self.common, address, protocol)
    }
}

/// A response that is given more than once, unless it cannot be sent.
fn sendable(response: impl IntoResponse) -> io::Result<Arc<Response>> {
    let response = response.into_response().and_then(Response::checked);
    response
        .map(Arc::new)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("limits", &self.limits)
            .field("keep_body", &self.keep_body)
            .field("max_requests", &self.max_requests)
            .field("before_body", &self.before_body.is_some())
            .field("request_timeout", &self.request_timeout)
            .field("date", &self.date)
            .field("pace", &self.pace())
            .finish()
    }
}
