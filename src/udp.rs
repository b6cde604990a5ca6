//! The UDP server: a handler gets a datagram, and what it returns is the reply.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::connection::quoted;
use crate::deadline::Deadline;
use crate::server::address::{Address, ListenOn};
use crate::server::failure::{HandlerError, Never};
use crate::server::host::Run;
use crate::server::options::Builder;
use crate::server::protocol::sealed::Sealed;
use crate::server::protocol::{Protocol, Session};
use crate::server::registry::Live;
use crate::server::socket::BoundSocket;
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
            max_datagram: 65_536,
        }
    }
}

/// A datagram that arrived, with who sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct Datagram {
    data: Vec<u8>,
    peer: Address,
    truncated: bool,
}

impl Datagram {
    /// Its bytes; none for an empty datagram, which is one all the same.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// Its bytes as text, with U+FFFD for what is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).into_owned()
    }

    /// Who sent it.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// Whether it was longer than the builder's `max_datagram`, so that its end is missing.
    pub fn truncated(&self) -> bool {
        self.truncated
    }
}

impl fmt::Debug for Datagram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 400;
        f.debug_struct("Datagram")
            .field("length", &self.data.len())
            .field("data", &format_args!("{}", quoted(&self.data, SHOWN)))
            .field("peer", &format_args!("{}", self.peer))
            .field("truncated", &self.truncated)
            .finish()
    }
}

/// The replies to a datagram, in the order they are sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Replies(Vec<Vec<u8>>);

/// What a handler of datagrams may return.
///
/// `()` and `None` send nothing; bytes and text send one datagram (an empty one where they are
/// empty); a `Vec` of replies sends each; an `Err` sends nothing and is kept as a failure.
#[diagnostic::on_unimplemented(
    message = "a handler of datagrams cannot return `{Self}`",
    label = "not what a handler may return",
    note = "it may return `()` for no reply, bytes or text (`Vec<u8>`, `&[u8]`, `[u8; N]`, `String`, `&str`) for one, a `Vec` of these for several, or an `Option` or a `Result` of any of these"
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

    /// The datagrams that were handled, without those that were taken, in order.
    pub fn datagrams(&self) -> Vec<Arc<Datagram>> {
        self.host.record.all()
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

impl Sealed for Udp {}

impl Protocol for Udp {
    const NAME: &'static str = "udp";
    const TARGET: &'static str = "loopback::udp";
    const NOUN: &'static str = "a datagram";
    type Kind = Datagrams;
    type Options = UdpOptions;
    type Item = Arc<Datagram>;

    fn size_of(datagram: &Arc<Datagram>) -> usize {
        datagram.data.len()
    }

    fn run(run: Run<Udp>) {
        serve(run);
    }
}

impl fmt::Debug for Udp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Udp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The server's thread: receives and handles datagrams until the server stops; what had arrived by
/// then is still handled.
fn serve(run: Run<Udp>) {
    // One byte more than may come tells a datagram that is too long from one that just fits.
    let limit = run.host.protocol.options.max_datagram;
    let mut buffer = vec![0; limit.max(run.wait.len()) + 1];
    let nobody = Address::Inet(SocketAddr::from(([0, 0, 0, 0], 0)));
    let live = Arc::new(Live::datagram(0, nobody, run.stop.clone()));
    let mut thread = Thread { run, live };
    let interval = thread.run.host.options.poll_interval;
    if let Err(error) = thread.run.socket.set_receive_timeout(interval) {
        thread.run.host.fail(None, error.into());
    }
    thread.run.ready.set(true);
    let ended = thread.serve(&mut buffer);
    if let Err(error) = ended {
        let error = format!("receiving ended: {error}");
        thread.run.host.fail(None, error.into());
    }
}

const MOST_WHILE_STOPPING: u64 = 10_000;

/// What a receive brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    Datagram,
    /// The word by which a stop wakes the thread.
    Wake,
    /// Nothing, within the socket's timeout.
    Nothing,
}

/// The most that is set aside for a datagram.
const LARGEST_DATAGRAM: usize = 16 << 20;

struct Thread {
    run: Run<Udp>,
    /// The last datagram's place in the registry, which the next one takes over: no memory is needed
    /// for it, and no time.
    live: Arc<Live>,
}

impl Thread {
    fn serve(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        while !self.run.stop.is_set() {
            if self.receive_one(buffer)? == Came::Wake {
                // The stop's own: all that had come before it is handled.
                return Ok(());
            }
        }
        self.run.socket.set_nonblocking()?;
        // The word is still to come, or was dropped by a full queue. In no case is more handled than
        // a queue can have held, or than the stop has time for.
        for _ in 0..MOST_WHILE_STOPPING {
            if self.receive_one(buffer)? != Came::Datagram {
                return Ok(());
            }
            if self.run.stop.is_nearly_over() {
                return Err(io::Error::other(
                    "the stop's time ended before all datagrams that had come were handled",
                ));
            }
        }
        Ok(())
    }

    /// Receives and handles a datagram.
    fn receive_one(&mut self, buffer: &mut [u8]) -> io::Result<Came> {
        match self.run.socket.receive_from(buffer) {
            Ok((length, _)) if buffer[..length] == self.run.wait => Ok(Came::Wake),
            Ok((length, peer)) => {
                let limit = self.run.host.protocol.options.max_datagram;
                let datagram = Datagram {
                    data: buffer[..length.min(limit)].to_vec(),
                    peer,
                    truncated: length > limit,
                };
                self.handle(datagram);
                Ok(Came::Datagram)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Ok(Came::Nothing),
                // A reply that reached nobody comes back as an error on some systems.
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::Interrupted => Ok(Came::Datagram),
                _ => Err(error),
            },
        }
    }

    fn handle(&mut self, datagram: Datagram) {
        let next_id = self.live.id + 1;
        self.live.reuse(next_id, &datagram.peer);
        let (run, live) = (&self.run, &self.live);
        let _entry = run.registry.enter(Arc::clone(live));
        let session = Session {
            host: &run.host,
            live,
        };
        live.note_received(&datagram.data);
        let datagram = Arc::new(datagram);
        let _unanswered = session.list(Arc::clone(&datagram));
        let reply = |reply: &[u8]| {
            if let Err(error) = send(&run.socket, reply, &datagram.peer) {
                let length = reply.len();
                session.fail(format!("cannot send a reply of {length} bytes: {error}"));
            }
        };
        match &run.host.protocol.handler {
            Handler::Echo => reply(&datagram.data),
            Handler::Fixed(answer) => reply(answer),
            Handler::Run(handler) => {
                let outcome = session.run(|| {
                    // A handler that panicked once gets the next datagram all the same.
                    let mut handler = handler.lock().unwrap_or_else(PoisonError::into_inner);
                    handler(&datagram)
                });
                match outcome.and_then(|outcome| outcome) {
                    Ok(replies) => replies.0.iter().for_each(|one| reply(one)),
                    Err(error) => session.fail(error),
                }
            }
        }
    }
}

fn send(socket: &BoundSocket, reply: &[u8], peer: &Address) -> io::Result<()> {
    let deadline = Deadline::new(Duration::from_secs(5), "room in the socket's buffer");
    loop {
        match socket.send_to(reply, peer) {
            // Only while the server stops, when the socket does not block.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                deadline.check()?;
                std::thread::yield_now();
            }
            // Each signal begins the socket's whole timeout again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => drop(deadline.check()?),
            outcome => return outcome.map(drop),
        }
    }
}
