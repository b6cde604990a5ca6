//! Datagrams: what arrived, and the thread that receives them and hands out the replies.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::host::{Host, Run};
use super::protocol::{Lifecycle, Session};
use super::registry::Registry;
use super::wake::{Datagrams, WakeWord};
use crate::connection::quoted;
use crate::deadline::{Deadline, bytes_of, prose};
use crate::net::address::Address;
use crate::net::live::{Activity, Live};
use crate::net::socket::{BoundSocket, Received};
use crate::net::stop::StopSignal;

/// A protocol on datagrams.
pub(crate) trait ServeDatagrams: Lifecycle {
    /// The longest datagram that is received whole.
    fn max_datagram(&self) -> usize;

    /// Handles a datagram and hands out its replies, on the thread that has received it.
    fn answer(
        &self,
        datagram: &Arc<Datagram>,
        session: &Session<'_, Self>,
        reply: &mut dyn FnMut(&[u8]),
    );
}

/// Datagrams that come beside the streams of a port, as the poll loop sees them.
pub(crate) trait WaitingDatagrams {
    /// Has the poll tell when one comes.
    fn register(&self, registry: &mio::Registry, token: mio::Token) -> io::Result<()>;

    /// Handles some of those that have come, and has the poll tell of more.
    fn handle_some(&mut self, registry: &mio::Registry, token: mio::Token);

    /// Handles those that had come before the server stopped.
    fn handle_last(&mut self);
}

/// The most that is set aside for a datagram.
pub(crate) const LARGEST_DATAGRAM: usize = 16 << 20;

/// More than any datagram of UDP carries.
pub(crate) const WHOLE_DATAGRAM: usize = 65_536;

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

/// The server's thread: receives and handles datagrams until the server stops; what had arrived by
/// then is still handled.
pub(crate) fn serve<P: ServeDatagrams<Kind = Datagrams>>(run: Run<P>) {
    let mut inbox = Inbox::new(run.host, run.registry, run.socket, run.stop);
    inbox.wake_word = Some(run.wait);
    let interval = inbox.host.options.poll_interval;
    if let Err(error) = inbox.socket.set_receive_timeout(interval) {
        inbox.host.fail(None, error.into());
    }
    run.ready.set(true);
    if let Err(error) = inbox.serve() {
        inbox.fail_to_receive(&error);
    }
}

/// How long a reply waits for a client that has not read those before.
const PATIENCE: Duration = Duration::from_secs(2);
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

/// The first datagram's id: above those of all connections that the same server may have.
const FIRST_DATAGRAM: u64 = 1 << 63;

/// So many datagrams are handled before it is looked whether a client wants to connect.
const MOST_AT_ONCE: u32 = 64;

/// A socket of datagrams with those who answer what comes there.
pub(crate) struct Inbox<P: ServeDatagrams> {
    host: Arc<Host<P>>,
    registry: Arc<Registry>,
    pub(crate) socket: BoundSocket,
    stop: StopSignal,
    wake_word: Option<WakeWord>,
    /// The last datagram's place in the registry, which the next one takes over: no memory is needed
    /// for it, and no time.
    live: Arc<Live>,
    limit: usize,
    buffer: Vec<u8>,
    /// Who has not read what was sent before, so that the last reply had to be given up.
    unread: Option<Address>,
}

impl<P: ServeDatagrams> Inbox<P> {
    pub(crate) fn new(
        host: Arc<Host<P>>,
        registry: Arc<Registry>,
        socket: BoundSocket,
        stop: StopSignal,
    ) -> Inbox<P> {
        let limit = host.protocol.max_datagram();
        let nobody = Address::Inet(SocketAddr::from(([0, 0, 0, 0], 0)));
        Inbox {
            live: Arc::new(Live::datagram(FIRST_DATAGRAM, nobody, stop.clone())),
            limit,
            // One byte more than may come tells a datagram that is too long from one that just fits.
            buffer: vec![0; limit.max(size_of::<WakeWord>()) + 1],
            wake_word: None,
            unread: None,
            host,
            registry,
            socket,
            stop,
        }
    }

    fn serve(&mut self) -> io::Result<()> {
        while !self.stop.is_set() {
            if self.receive_one()? == Came::Wake {
                // The stop's own: all that had come before it is handled.
                return Ok(());
            }
        }
        self.socket.set_nonblocking()?;
        self.finish()
    }

    /// Handles what is still queued when the server stops. The word that wakes is still to come, or was
    /// dropped by a full queue. In no case is more handled than a queue can have held, or than the stop
    /// has time for.
    fn finish(&mut self) -> io::Result<()> {
        for _ in 0..MOST_WHILE_STOPPING {
            if self.receive_one()? != Came::Datagram {
                return Ok(());
            }
            if self.stop.is_nearly_over() {
                return Err(io::Error::other(
                    "the stop's time ended before all datagrams that had come were handled",
                ));
            }
        }
        Ok(())
    }

    fn fail_to_receive(&self, error: &io::Error) {
        let error = format!("receiving ended: {error}");
        self.host.fail(None, error.into());
    }

    /// Receives and handles a datagram.
    fn receive_one(&mut self) -> io::Result<Came> {
        match self.socket.receive_from(&mut self.buffer) {
            Ok(Received { length, .. })
                if self
                    .wake_word
                    .is_some_and(|word| self.buffer[..length] == word) =>
            {
                Ok(Came::Wake)
            }
            Ok(received) => {
                let (length, asked) = (received.length, received.asked);
                let datagram = Datagram {
                    data: self.buffer[..length.min(self.limit)].to_vec(),
                    peer: received.peer,
                    truncated: length > self.limit,
                };
                self.handle(datagram, asked);
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

    fn handle(&mut self, datagram: Datagram, asked: Option<IpAddr>) {
        let next_id = self.live.id + 1;
        self.live.reuse(next_id, &datagram.peer);
        let live = &self.live;
        let _entry = self.registry.enter(Arc::clone(live));
        let session = Session {
            host: &self.host,
            live,
        };
        live.note_received(&datagram.data);
        let datagram = Arc::new(datagram);
        let unread = &mut self.unread;
        let mut reply = |reply: &[u8]| {
            let peer = &datagram.peer;
            // Everybody else waits meanwhile, so it is waited for once.
            let patience = match unread.as_ref() == Some(peer) {
                true => Duration::ZERO,
                false => PATIENCE,
            };
            let before = live.set_activity(Activity::Answering);
            let outcome = send(&self.socket, reply, peer, asked, patience, &live.stop);
            live.set_activity(before);
            match outcome {
                Ok(()) => {
                    live.note_sent(reply.len());
                    if patience.is_zero() {
                        *unread = None;
                    }
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        *unread = Some(peer.clone());
                    }
                    let length = bytes_of(reply.len());
                    session.fail(format!("cannot send a reply of {length}: {error}"));
                }
            }
        };
        self.host.protocol.answer(&datagram, &session, &mut reply);
    }
}

impl<P: ServeDatagrams> WaitingDatagrams for Inbox<P> {
    fn register(&self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        self.socket.set_nonblocking()?;
        self.socket.register(registry, token)
    }

    fn handle_some(&mut self, registry: &mio::Registry, token: mio::Token) {
        for _ in 0..MOST_AT_ONCE {
            match self.receive_one() {
                Ok(Came::Datagram) => {}
                Ok(_) => break,
                Err(error) => {
                    self.fail_to_receive(&error);
                    return;
                }
            }
        }
        if let Err(error) = self.socket.reregister(registry, token) {
            self.fail_to_receive(&error);
        }
    }

    fn handle_last(&mut self) {
        if let Err(error) = self.finish() {
            self.fail_to_receive(&error);
        }
    }
}

const UNREAD: &str = "the client has not read what was sent before";

/// Sends a reply. A client on a Unix-domain socket that does not read has no room for it in the end, and is waited for
/// so long, and no longer than to the end of a stop.
fn send(
    socket: &BoundSocket,
    reply: &[u8],
    peer: &Address,
    asked: Option<IpAddr>,
    patience: Duration,
    stop: &StopSignal,
) -> io::Result<()> {
    let deadline = Deadline::new(patience, "the client to read what was sent before");
    loop {
        match socket.send_to(reply, peer, asked) {
            Err(error) if is_full(&error) => {
                let kind = io::ErrorKind::TimedOut;
                if stop.is_nearly_over() {
                    return Err(prose(kind, format!("the server stops, and {UNREAD}")));
                }
                if patience.is_zero() {
                    return Err(prose(kind, format!("as before, {UNREAD}")));
                }
                deadline.check()?;
                // Where the socket blocks, that was a wait already.
                std::thread::sleep(Duration::from_millis(1));
            }
            // Each signal begins the socket's whole timeout again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => drop(deadline.check()?),
            outcome => return outcome.map(drop),
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}
