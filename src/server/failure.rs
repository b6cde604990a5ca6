//! How a handler's panic or error reaches the test.

use std::any::Any;
use std::error::Error;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::net::address::Address;
use crate::net::stop::CutByStop;

/// What a handler of a stream may return: nothing, or a `Result` of nothing.
///
/// Implemented for `()`, for `Result<T, E>` where `E` converts into a boxed error (an
/// [`io::Error`], a `String`, a `&str`, `anyhow::Error`, …), and for `!`.
#[diagnostic::on_unimplemented(
    message = "a handler of connections cannot return `{Self}`",
    label = "not what a handler may return",
    note = "it may return `()`, or a `Result<(), E>` whose `E` becomes a boxed error, such as `io::Error` or `String`",
    note = "a closure that ends with `Ok(())` has to tell the type of the error: end it with `loopback::ok(())` for any",
    note = "a value that nobody needs is dropped by a semicolon, or within a `Result` by `.map(drop)`"
)]
pub trait HandlerResult {
    /// The outcome as a plain result.
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl HandlerResult for () {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

impl<T: HandlerResult, E: Into<Box<dyn Error + Send + Sync>>> HandlerResult for Result<T, E> {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)?.into_result()
    }
}

#[doc(hidden)]
#[diagnostic::do_not_recommend]
impl HandlerResult for Never {
    fn into_result(self) -> Result<(), Box<dyn Error + Send + Sync>> {
        match self {}
    }
}

/// `Ok`, for a closure in which nothing else tells the type of the error: it may be any, so that `?` takes all
/// errors.
///
/// The compiler asks for that type ("cannot infer type of the type parameter `E`") where a closure ends with
/// `Ok(…)`, for a handler's error may be of many types.
///
/// ```
/// # use std::net::UdpSocket;
/// use loopback::{TestTcpServer, TestUdpServer};
///
/// let tcp = TestTcpServer::start("127.0.0.1:0", |mut conn| {
///     let number: u32 = conn.read_line()?.trim().parse()?;
///     assert_ne!(number, 7);
///     loopback::ok(())
/// })?;
/// let udp = TestUdpServer::start("127.0.0.1:0", |datagram| {
///     let number: u32 = datagram.text().parse()?;
///     loopback::ok((number + 1).to_string())
/// })?;
/// # let client = UdpSocket::bind("127.0.0.1:0")?;
/// # client.send_to(b"41", udp.local_addr())?;
/// # let mut answer = [0; 9];
/// # let count = client.recv(&mut answer)?;
/// # assert_eq!(&answer[..count], b"42");
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// None.
pub fn ok<T>(value: T) -> Result<T, Box<dyn Error + Send + Sync>> {
    Ok(value)
}

/// The type `!`, which a closure that always panics has in edition 2024 and which has no name of its
/// own yet: it is named as what a function that never returns would return. That name is no reading for
/// users, so its impls are hidden from documentation and from the compiler's notes.
pub(crate) type Never = <fn() -> ! as Returns>::Output;

pub trait Returns {
    type Output;
}

impl<T> Returns for fn() -> T {
    type Output = T;
}

/// Why a handler did not end well.
#[derive(Debug)]
pub(crate) enum HandlerError {
    /// It panicked, with this message.
    Panic(String),
    /// It returned an error.
    Error(Box<dyn Error + Send + Sync>),
}

impl HandlerError {
    /// Runs a handler; a panic becomes an error with its message. The worker lives on.
    pub(crate) fn catch<T>(handler: impl FnOnce() -> T) -> Result<T, HandlerError> {
        // The handler is shared by all connections and may see what a panic left half done; that is
        // the bargain of a test server whose handler failed, and the test fails anyway.
        catch_unwind(AssertUnwindSafe(handler))
            .map_err(|payload| HandlerError::Panic(panic_message(payload)))
    }

    /// Joins a thread; its panic becomes an error with its message.
    pub(crate) fn joined(thread: std::thread::JoinHandle<()>) -> Option<HandlerError> {
        let payload = thread.join().err()?;
        Some(HandlerError::Panic(panic_message(payload)))
    }

    /// The same, with what may be the reason in front.
    pub(crate) fn explained(self, reason: &str) -> HandlerError {
        match self {
            HandlerError::Panic(message) => HandlerError::Panic(format!("{reason}: {message}")),
            HandlerError::Error(error) => {
                let told = HandlerFailure::new(None, &HandlerError::Error(error));
                format!("{reason}: {}", told.message()).into()
            }
        }
    }

    /// Whether it is, or was caused by, what a connection says when stopping has cut it.
    pub(crate) fn is_cut_by_stop(&self) -> bool {
        let HandlerError::Error(error) = self else {
            return false;
        };
        let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
        while let Some(error) = cause {
            if error.is::<CutByStop>() {
                return true;
            }
            // An error's source passes over what an input or output error holds.
            let inner = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            if inner.is_some_and(|inner| inner.is::<CutByStop>()) {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        HandlerError::Error(error.into())
    }
}

pub(crate) fn panic_message(payload: Box<dyn Any + Send>) -> String {
    if let Some(text) = payload.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        // What it is we do not know, and its drop could panic again, where nobody catches it.
        std::mem::forget(payload);
        "(a panic whose payload is not text)".to_owned()
    }
}

/// One thing that went wrong in a server: most often a handler that panicked or returned an error.
#[derive(Clone, PartialEq, Eq)]
pub struct HandlerFailure {
    peer: Option<Address>,
    item: Option<String>,
    message: String,
    panicked: bool,
}

impl HandlerFailure {
    pub(crate) fn new(peer: Option<Address>, error: &HandlerError) -> HandlerFailure {
        let (message, panicked) = match error {
            HandlerError::Panic(message) => (message.clone(), true),
            // The text is made by code of the test's, which may fail too.
            HandlerError::Error(error) => {
                let text = HandlerError::catch(|| error_chain(error.as_ref()));
                let untold = "(an error whose text cannot be made: it panicked)";
                (text.unwrap_or_else(|_| untold.to_owned()), false)
            }
        };
        HandlerFailure {
            peer,
            item: None,
            message,
            panicked,
        }
    }

    /// Says what the handler had got.
    #[cfg(any(feature = "http", feature = "smtp"))]
    pub(crate) fn with_item(mut self, item: String) -> HandlerFailure {
        self.item = Some(item);
        self
    }

    /// The peer that was served; `None` where the failure is the server's own.
    pub fn peer(&self) -> Option<&Address> {
        self.peer.as_ref()
    }

    /// What the handler had got, where one connection brings many: a request's method and target, a message's
    /// sender and recipients, each at most 120 characters of it. `None` elsewhere.
    pub fn item(&self) -> Option<&str> {
        self.item.as_deref()
    }

    /// The panic's message, or the error and its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the handler panicked, rather than returned an error.
    pub fn panicked(&self) -> bool {
        self.panicked
    }
}

/// The error and its causes, each once, divided by colons.
fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}

/// Further lines of the message stand under the first.
impl fmt::Display for HandlerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.peer {
            Some(peer) => write!(f, "handler for {peer} ")?,
            None => f.write_str("the server ")?,
        }
        if let Some(item) = &self.item {
            write!(f, "({item}) ")?;
        }
        f.write_str(if self.panicked {
            "panicked: "
        } else {
            "failed: "
        })?;
        f.write_str(&indented(&self.message))
    }
}

impl fmt::Debug for HandlerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A handler that still ran when `stop` had to return.
#[derive(Clone, PartialEq, Eq)]
pub struct StuckHandler {
    pub(crate) peer: Address,
    pub(crate) age: Duration,
    pub(crate) state: &'static str,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

impl StuckHandler {
    /// The peer it serves.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// How long ago it began.
    pub fn age(&self) -> Duration {
        self.age
    }

    /// What it was doing: "reading a line", "in the handler's own code", …
    pub fn state(&self) -> &str {
        self.state
    }
}

impl fmt::Display for StuckHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "handler for {} still runs, begun {:.1?} ago, {}; {} bytes received, {} sent",
            self.peer, self.age, self.state, self.received, self.sent
        )
    }
}

impl fmt::Debug for StuckHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a server did not stop well: the handlers that failed while it ran, and those that are stuck.
///
/// `Debug` prints the same text as `Display`, so that `unwrap` and a test that returns it show it as
/// it is meant to be read.
pub struct StopError {
    pub(crate) server: String,
    pub(crate) timeout: Duration,
    pub(crate) failures: Vec<HandlerFailure>,
    pub(crate) more_failures: u64,
    pub(crate) stuck: Vec<StuckHandler>,
    pub(crate) server_stuck: bool,
}

impl StopError {
    /// The failures, in the order they happened; at most the first 100.
    pub fn failures(&self) -> &[HandlerFailure] {
        &self.failures
    }

    /// The handlers that still ran at the timeout.
    pub fn stuck(&self) -> &[StuckHandler] {
        &self.stuck
    }
}

impl fmt::Display for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counts = Vec::new();
        match self.failures.len() as u64 + self.more_failures {
            0 => {}
            1 => counts.push("1 failure".to_owned()),
            n => counts.push(format!("{n} failures")),
        }
        match self.stuck.len() {
            0 if self.server_stuck => {
                counts.push(format!("its thread did not end within {:?}", self.timeout));
            }
            0 => {}
            1 => counts.push(format!("1 handler did not end within {:?}", self.timeout)),
            n => counts.push(format!(
                "{n} handlers did not end within {:?}",
                self.timeout
            )),
        }
        write!(f, "{}: {}", self.server, counts.join(", "))?;
        for failure in &self.failures {
            write!(f, "\n  {}", indented(&failure.to_string()))?;
        }
        if self.more_failures > 0 {
            write!(f, "\n  and {} more", self.more_failures)?;
        }
        for stuck in &self.stuck {
            write!(f, "\n  {stuck}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for StopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for StopError {}

impl From<StopError> for io::Error {
    fn from(error: StopError) -> io::Error {
        let kind = if error.stuck.is_empty() && !error.server_stuck {
            io::ErrorKind::Other
        } else {
            io::ErrorKind::TimedOut
        };
        io::Error::new(kind, error)
    }
}

/// Every line but the first moved to the right, to stand under its heading.
pub(crate) fn indented(text: &str) -> String {
    text.replace('\n', "\n  ")
}

/// The failures that nobody has taken yet. The first hundred are kept, the rest counted.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    kept: Mutex<(Vec<HandlerFailure>, u64)>,
}

const MOST_FAILURES: usize = 100;

impl Failures {
    pub(crate) fn add(&self, failure: HandlerFailure) {
        let mut kept = self.lock();
        if kept.0.len() < MOST_FAILURES {
            kept.0.push(failure);
        } else {
            kept.1 += 1;
        }
    }

    /// Takes the kept ones and the number of those that were not kept.
    pub(crate) fn take(&self) -> (Vec<HandlerFailure>, u64) {
        std::mem::take(&mut *self.lock())
    }

    pub(crate) fn all(&self) -> Vec<HandlerFailure> {
        self.lock().0.clone()
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<HandlerFailure>, u64)> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> Address {
        Address::Inet("127.0.0.1:4567".parse().unwrap())
    }

    #[test]
    fn a_stop_error_reads_well() {
        let error = StopError {
            server: "tcp server on 127.0.0.1:80".into(),
            timeout: Duration::from_secs(1),
            failures: vec![
                HandlerFailure::new(Some(peer()), &HandlerError::Panic("no such user".into())),
                HandlerFailure::new(Some(peer()), &"bad line\n  1\n 2".into()),
                HandlerFailure::new(None, &"cannot accept".into()),
            ],
            more_failures: 2,
            stuck: vec![StuckHandler {
                peer: peer(),
                age: Duration::from_millis(2300),
                state: "reading a line",
                received: 3,
                sent: 0,
            }],
            server_stuck: false,
        };
        assert_eq!(
            error.to_string(),
            "tcp server on 127.0.0.1:80: 5 failures, 1 handler did not end within 1s\n  \
             handler for 127.0.0.1:4567 panicked: no such user\n  \
             handler for 127.0.0.1:4567 failed: bad line\n      1\n     2\n  \
             the server failed: cannot accept\n  \
             and 2 more\n  \
             handler for 127.0.0.1:4567 still runs, begun 2.3s ago, reading a line; \
             3 bytes received, 0 sent"
        );
        assert_eq!(format!("{error:?}"), error.to_string());
        assert_eq!(
            error.failures[1].to_string(),
            "handler for 127.0.0.1:4567 failed: bad line\n    1\n   2"
        );
        assert_eq!(error.failures[1].message(), "bad line\n  1\n 2");
        assert_eq!(io::Error::from(error).kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn panics_keep_their_message() {
        let message = |outcome: Result<(), HandlerError>| match outcome.unwrap_err() {
            HandlerError::Panic(message) => message,
            other => panic!("{other:?}"),
        };
        assert_eq!(message(HandlerError::catch(|| panic!("plain"))), "plain");
        assert_eq!(
            message(HandlerError::catch(|| panic!("n = {}", 3))),
            "n = 3"
        );
        assert_eq!(
            message(HandlerError::catch(|| std::panic::panic_any(7))),
            "(a panic whose payload is not text)"
        );
    }

    #[test]
    fn payloads_and_errors_that_panic_themselves_do_no_more_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("in the drop");
            }
        }
        let outcome = HandlerError::catch(|| std::panic::panic_any(Bomb));
        assert!(matches!(outcome, Err::<(), _>(HandlerError::Panic(_))));

        #[derive(Debug)]
        struct Mute;
        impl fmt::Display for Mute {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                panic!("in the text");
            }
        }
        impl Error for Mute {}
        let failure = HandlerFailure::new(None, &HandlerError::from(Mute));
        assert_eq!(
            failure.message(),
            "(an error whose text cannot be made: it panicked)"
        );
    }

    #[test]
    fn causes_of_an_error_are_told_once() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("cannot greet")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let error = HandlerError::from(Outer(io::Error::other("pipe burst")));
        assert!(!error.is_cut_by_stop());
        let failure = HandlerFailure::new(None, &error);
        assert_eq!(failure.message(), "cannot greet: pipe burst");
        let cut = || io::Error::other(CutByStop("the server stopped".into()));
        assert!(HandlerError::from(cut()).is_cut_by_stop());
        assert!(HandlerError::from(Outer(cut())).is_cut_by_stop());
        assert!(!HandlerError::from("text").is_cut_by_stop());
    }

    #[test]
    fn failures_beyond_the_limit_are_counted() {
        let failures = Failures::default();
        for _ in 0..MOST_FAILURES + 3 {
            failures.add(HandlerFailure::new(None, &"x".into()));
        }
        assert_eq!(failures.all().len(), MOST_FAILURES);
        let (kept, more) = failures.take();
        assert_eq!((kept.len(), more), (MOST_FAILURES, 3));
        assert!(failures.take().0.is_empty());
    }

    #[test]
    fn a_closure_that_only_panics_is_a_handler() {
        fn run<R: HandlerResult>(handler: impl Fn() -> R) -> Result<(), HandlerError> {
            HandlerError::catch(|| handler().into_result())?.map_err(HandlerError::Error)
        }
        assert!(run(|| panic!("always")).is_err());
        assert!(run(|| Err::<(), _>("text")).is_err());
        assert!(run(|| Ok::<(), io::Error>(())).is_ok());
        assert!(run(|| ()).is_ok());
    }
}
