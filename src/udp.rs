//! The UDP server: a handler gets a datagram, and what it returns is the reply.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::connection::quoted;
use crate::net::address::ListenOn;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::net::address::UnixAddress;
use crate::server::datagrams::{self, Datagram, LARGEST_DATAGRAM, ServeDatagrams, WHOLE_DATAGRAM};
use crate::server::failure::{HandlerError, Never};
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::{Lifecycle, Session};
use crate::server::wake::Datagrams;
use crate::server::{Bound, TestServer};

/// A UDP (or, on Unix, Unix-domain datagram) server whose handler gets each [`Datagram`].
///
/// The handler runs on the server's own thread, so datagrams are handled in the order they arrive.
/// Its return value is the reply: nothing (`()` or `None`), one (bytes or text), or several (a `Vec`
/// of them); see [`IntoReplies`].
///
/// So a handler that sleeps holds up all datagrams behind it, and a reply that comes late while others
/// are answered is not offered. A test that needs one binds a [`UdpSocket`](std::net::UdpSocket) of its
/// own in place of the server and answers in a thread: what another socket than the asked one sends has
/// another source address, and a client that has connected its socket would not get it.
///
/// ```
/// use std::net::UdpSocket;
/// use std::time::Duration;
/// use loopback::TestUdpServer;
///
/// let server = TestUdpServer::start("127.0.0.1:0", |datagram| datagram.data().to_ascii_uppercase())?;
/// let client = UdpSocket::bind("127.0.0.1:0")?;
/// client.send_to(b"ping", server.local_addr())?;
/// let mut answer = [0; 16];
/// let (length, _) = client.recv_from(&mut answer)?;
/// assert_eq!(&answer[..length], b"PING");
/// assert_eq!(server.take_datagram(Duration::from_secs(1))?.data(), b"ping");
/// # Ok::<(), std::io::Error>(())
/// ```
pub type TestUdpServer<A = SocketAddr> = TestServer<Udp, A>;

/// The UDP protocol of a [`TestUdpServer`]: datagrams, as they come.
pub struct Udp {
    handler: Handler,
    options: UdpOptions,
}

/// What answers.
enum Handler {
    /// The test's code.
    Run(Mutex<Box<HandlerFn>>),
    Echo,
    Fixed(Vec<u8>),
}

type HandlerFn = dyn FnMut(&Datagram) -> Result<Replies, HandlerError> + Send;

/// The UDP server's own options.
#[derive(Debug, Clone)]
pub struct UdpOptions {
    max_datagram: usize,
}

impl Default for UdpOptions {
    fn default() -> UdpOptions {
        UdpOptions {
            max_datagram: WHOLE_DATAGRAM,
        }
    }
}

/// The replies to a datagram, in the order they are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies(Vec<Vec<u8>>);

impl Replies {
    /// Hands them out one by one.
    pub(crate) fn send(&self, reply: &mut dyn FnMut(&[u8])) {
        self.0.iter().for_each(|one| reply(one));
    }
}

/// What a handler of datagrams may return.
///
/// `()` and `None` send nothing; bytes and text send one datagram (an empty one where they are
/// empty); a `Vec` of replies sends each; an `Err` sends nothing and is kept as a failure.
#[diagnostic::on_unimplemented(
    message = "a handler of datagrams cannot return `{Self}`",
    label = "not what a handler may return",
    note = "it may return `()` for no reply, bytes or text (`Vec<u8>`, `&[u8]`, `[u8; N]`, `String`, `&str`) for one, a `Vec` of these for several, or an `Option` or a `Result` of any of these",
    note = "a closure that ends with `Ok(…)` has to tell the type of the error: end it with `loopback::ok(…)` for any"
)]
pub trait IntoReplies {
    /// The replies, or the handler's error.
    ///
    /// # Errors
    /// What the handler returned.
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>>;
}

macro_rules! one_reply {
    ($($type:ty),*) => {$(
        impl IntoReplies for $type {
            fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
                Ok(Replies(vec![self.into()]))
            }
        }
    )*};
}

one_reply!(Vec<u8>, &[u8], String, &str, Box<[u8]>);

impl<const N: usize> IntoReplies for [u8; N] {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        Ok(Replies(vec![self.into()]))
    }
}

impl<const N: usize> IntoReplies for &[u8; N] {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        Ok(Replies(vec![self.into()]))
    }
}

impl IntoReplies for () {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        Ok(Replies::default())
    }
}

impl IntoReplies for Replies {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        Ok(self)
    }
}

macro_rules! several_replies {
    ($($type:ty),*) => {$(
        impl IntoReplies for Vec<$type> {
            fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
                Ok(Replies(self.into_iter().map(Into::into).collect()))
            }
        }
    )*};
}

several_replies!(Vec<u8>, &[u8], String, &str);

impl<T: IntoReplies> IntoReplies for Option<T> {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        self.map_or_else(|| Ok(Replies::default()), T::into_replies)
    }
}

impl<T: IntoReplies, E: Into<Box<dyn Error + Send + Sync>>> IntoReplies for Result<T, E> {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)?.into_replies()
    }
}

#[doc(hidden)]
#[diagnostic::do_not_recommend]
impl IntoReplies for Never {
    fn into_replies(self) -> Result<Replies, Box<dyn Error + Send + Sync>> {
        match self {}
    }
}

impl<A> TestServer<Udp, A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// The handler's panic or error comes out of [`stop`](TestServer::stop) or of the drop.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start<L, H, R>(address: L, handler: H) -> io::Result<TestServer<Udp, A>>
    where
        L: ListenOn<Address = A>,
        H: FnMut(&Datagram) -> R + Send + 'static,
        R: IntoReplies,
    {
        Builder::<Udp>::default().bind(address, handler)?.start()
    }

    /// A server that sends each datagram back.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn echo<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Udp, A>> {
        Builder::<Udp>::default().echo(address)
    }

    /// A server that answers every datagram with `answer`.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn fixed<L: ListenOn<Address = A>>(
        address: L,
        answer: impl Into<Vec<u8>>,
    ) -> io::Result<TestServer<Udp, A>> {
        Builder::<Udp>::default().fixed(address, answer)
    }

    /// A server that answers nothing.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn sink<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Udp, A>> {
        Builder::<Udp>::default().sink(address)
    }

    /// Takes the oldest datagram that was handled, waiting for one at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that
    /// came before the stop can still be taken.
    pub fn take_datagram(&self, timeout: Duration) -> io::Result<Arc<Datagram>> {
        self.host.record.take(timeout)
    }

    /// Takes the oldest `count` datagrams, waiting for all of them at most `timeout`. They have to fit
    /// into the record together (the builder's `record_limit` and `record_bytes`).
    ///
    /// # Errors
    /// As [`take_datagram`](TestServer::take_datagram), when fewer came; those are not taken.
    pub fn take_datagrams(
        &self,
        count: usize,
        timeout: Duration,
    ) -> io::Result<Vec<Arc<Datagram>>> {
        self.host.record.take_many(count, timeout)
    }

    /// Takes the oldest datagram that `is_wanted` accepts, waiting for one at most `timeout`; the others
    /// stay. `is_wanted` is called while the record is locked, so it must not ask the server for anything.
    ///
    /// # Errors
    /// As [`take_datagram`](TestServer::take_datagram).
    ///
    /// # Panics
    /// If `is_wanted` does ask it.
    pub fn take_datagram_where(
        &self,
        mut is_wanted: impl FnMut(&Datagram) -> bool,
        timeout: Duration,
    ) -> io::Result<Arc<Datagram>> {
        let is_wanted = |datagram: &Arc<Datagram>| is_wanted(datagram);
        self.host.record.take_where(is_wanted, timeout)
    }

    /// The datagrams that were handled, without those that were taken, in order. No more than the
    /// builder's `record_limit` and `record_bytes` are kept; where some are missing, a line on standard
    /// error says so, and [`total_datagrams`](TestServer::total_datagrams) counts them.
    pub fn datagrams(&self) -> Vec<Arc<Datagram>> {
        self.host.arrived()
    }

    /// How many datagrams came since the server was first started, taken or not, kept or not.
    pub fn total_datagrams(&self) -> u64 {
        self.host.record.total()
    }
}

impl TestServer<Udp, SocketAddr> {
    /// A client: a `UdpSocket` that is connected to the server, and whose `recv` and `send` end after
    /// 30 s (the builder's timeouts, where they are longer). A server on `0.0.0.0` or `[::]` is
    /// reached on `127.0.0.1` or `[::1]`.
    ///
    /// ```
    /// use loopback::TestUdpServer;
    ///
    /// let server = TestUdpServer::echo("127.0.0.1:0")?;
    /// let client = server.connect()?;
    /// client.send(b"ping")?;
    /// let mut answer = [0; 16];
    /// let length = client.recv(&mut answer)?;
    /// assert_eq!(&answer[..length], b"ping");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// The system gives no socket. That the server is stopped shows at the first `recv` or `send`.
    pub fn connect(&self) -> io::Result<UdpSocket> {
        self.connect_datagrams()
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl TestServer<Udp, UnixAddress> {
    /// A client: a `UnixDatagram` that is connected to the server, and whose `recv` and `send` end
    /// after 30 s (the builder's timeouts, where they are longer). It has an abstract name, so that
    /// replies reach it and it leaves no file behind: Linux only.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` where the server is stopped, and what else connecting gives.
    pub fn connect(&self) -> io::Result<std::os::unix::net::UnixDatagram> {
        self.connect_unix_datagrams()
    }
}

impl TestServer<Udp> {
    /// Options first.
    pub fn builder() -> Builder<Udp> {
        Builder::default()
    }
}

impl Builder<Udp> {
    /// The longest datagram that is received whole, 65,536 bytes unless told, which is more than UDP
    /// can carry (65,507 over IPv4), and 16 MiB at most; a longer one is cut and marked as truncated.
    pub fn max_datagram(mut self, bytes: usize) -> Self {
        self.options.max_datagram = bytes.min(LARGEST_DATAGRAM);
        self
    }

    /// Binds, without serving yet: the port is known, and datagrams queue.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<L, H, R>(self, address: L, mut handler: H) -> io::Result<Bound<Udp, L::Address>>
    where
        L: ListenOn,
        H: FnMut(&Datagram) -> R + Send + 'static,
        R: IntoReplies,
    {
        let handler = move |datagram: &Datagram| {
            let replies = handler(datagram).into_replies();
            replies.map_err(HandlerError::Error)
        };
        self.bind_handler(address, Handler::Run(Mutex::new(Box::new(handler))))
    }

    /// Binds and starts.
    ///
    /// # Errors
    /// As [`TestUdpServer::start`](TestServer::start).
    pub fn start<L, H, R>(self, address: L, handler: H) -> io::Result<TestServer<Udp, L::Address>>
    where
        L: ListenOn,
        H: FnMut(&Datagram) -> R + Send + 'static,
        R: IntoReplies,
    {
        self.bind(address, handler)?.start()
    }

    /// Binds and starts a server that sends each datagram back.
    ///
    /// # Errors
    /// As [`TestUdpServer::start`](TestServer::start).
    pub fn echo<L: ListenOn>(self, address: L) -> io::Result<TestServer<Udp, L::Address>> {
        self.bind_handler(address, Handler::Echo)?.start()
    }

    /// Binds and starts a server that answers every datagram with `answer`.
    ///
    /// # Errors
    /// As [`TestUdpServer::start`](TestServer::start).
    pub fn fixed<L: ListenOn>(
        self,
        address: L,
        answer: impl Into<Vec<u8>>,
    ) -> io::Result<TestServer<Udp, L::Address>> {
        self.bind_handler(address, Handler::Fixed(answer.into()))?
            .start()
    }

    /// Binds and starts a server that answers nothing.
    ///
    /// # Errors
    /// As [`TestUdpServer::start`](TestServer::start).
    pub fn sink<L: ListenOn>(self, address: L) -> io::Result<TestServer<Udp, L::Address>> {
        self.start(address, |_: &Datagram| ())
    }

    fn bind_handler<L: ListenOn>(
        self,
        address: L,
        handler: Handler,
    ) -> io::Result<Bound<Udp, L::Address>> {
        let protocol = Udp {
            handler,
            options: self.options,
        };
        Bound::new(self.common, address, protocol)
    }
}

impl Lifecycle for Udp {
    const NAME: &'static str = "udp";
    const TARGET: &'static str = "loopback::udp";
    const NOUN: &'static str = "a datagram";
    type Kind = Datagrams;
    type Options = UdpOptions;
    type Item = Arc<Datagram>;

    fn size_of(datagram: &Arc<Datagram>) -> usize {
        datagram.data().len()
    }

    fn describe(datagram: &Arc<Datagram>) -> String {
        format!("{} from {}", quoted(datagram.data(), 32), datagram.peer())
    }

    fn run(run: Run<Udp>) {
        datagrams::serve(run);
    }
}

impl ServeDatagrams for Udp {
    fn max_datagram(&self) -> usize {
        self.options.max_datagram
    }

    fn answer(
        &self,
        datagram: &Arc<Datagram>,
        session: &Session<'_, Udp>,
        reply: &mut dyn FnMut(&[u8]),
    ) {
        let _unanswered = session.list(Arc::clone(datagram));
        match &self.handler {
            Handler::Echo => reply(datagram.data()),
            Handler::Fixed(answer) => reply(answer),
            Handler::Run(handler) => {
                let outcome = session.run(|| {
                    // A handler that panicked once gets the next datagram all the same.
                    let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                    handler(datagram)
                });
                match outcome.and_then(|outcome| outcome) {
                    Ok(replies) => replies.send(reply),
                    Err(error) => session.fail(error),
                }
            }
        }
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
