//! The poll loop of a server of streams: accepts, hands connections to workers, and watches those
//! that are idle.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use mio::{Events, Token};

use super::address::Address;
use super::failure::HandlerError;
use super::host::{Host, Run};
use super::protocol::{Next, Serve, Session};
use super::registry::{Entry, Live, Registry, StopSignal};
use super::socket::{BoundSocket, Stream};
use super::wake::WAKER;
use super::workers::Dispatcher;
use crate::connection::Connection;

const LISTENER: Token = Token(0);

/// How soon accepting is tried again after a limit of the system, such as that of descriptors.
const RETRY: Duration = Duration::from_millis(10);

/// So many connections are accepted before the loop looks at anything else. Few listeners' queues are
/// longer than this, so at the end one turn takes all who had connected.
const MOST_AT_ONCE: usize = 8192;
/// The first id of a connection, which is its token when it is parked.
pub(crate) const FIRST_PARKED: usize = 2;

/// Accepts until the server stops. `poll` has the waker already.
pub(crate) fn serve<P: Serve>(run: Run<P>) {
    let Run {
        host,
        wait: mut poll,
        waker,
        socket,
        stop,
        registry,
        crew,
        ready,
    } = run;
    let (park, parked_in) = crossbeam_channel::unbounded();
    let work = {
        let host = Arc::clone(&host);
        move |guest: Guest| {
            let Guest { conn, entry } = guest;
            let live = Arc::clone(conn.live());
            let session = Session {
                host: &host,
                live: &live,
            };
            // The room catches its handler's panics; this one would be a defect of the room's own,
            // and must not pass for a handler that ended well.
            match HandlerError::catch(|| host.protocol.serve(conn, &session)) {
                Ok(Next::Park(mut conn)) if !live.stop.is_set() => {
                    conn.release_buffer();
                    live.set_activity("idle");
                    // Refused once the loop has ended, which closes the connection.
                    if park.send(Guest { conn, entry }).is_ok() {
                        let _ = waker.wake();
                    }
                }
                Ok(_) => {}
                Err(error) => session.fail(error),
            }
        }
    };
    let mut poll_loop = PollLoop {
        dispatcher: Dispatcher::new(host.thread_name(), crew, work),
        host,
        registry,
        socket,
        next_id: FIRST_PARKED as u64,
        accepting: Accepting::All,
        parked: HashMap::new(),
        parked_in,
        last_sweep: Instant::now(),
        stop,
    };
    let interval = poll_loop.host.options.poll_interval;
    let mut events = Events::with_capacity(256);
    if let Err(error) = poll_loop.socket.register(poll.registry(), LISTENER) {
        poll_loop.host.fail(None, error.into());
    }
    ready.set(true);
    while !poll_loop.stop.is_set() {
        let timeout = match poll_loop.accepting {
            Accepting::All => interval,
            Accepting::More => Duration::ZERO,
            Accepting::AtLimit => interval.min(RETRY),
        };
        match poll.poll(&mut events, Some(timeout)) {
            Ok(()) => poll_loop.turn(&poll, &events),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                poll_loop.host.fail(None, error.into());
                break;
            }
        }
    }
    // Who had connected before the stop is still served; who comes later is refused.
    poll_loop.accept_all();
}

/// How accepting last ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// Nobody waits: the poll tells when somebody does.
    All,
    /// There may be more, of which the poll does not tell again.
    More,
    /// At a limit of the system.
    AtLimit,
}

/// A connection with its place in the registry.
struct Guest {
    conn: Connection,
    entry: Entry,
}

struct PollLoop<P: Serve> {
    host: Arc<Host<P>>,
    registry: Arc<Registry>,
    socket: BoundSocket,
    dispatcher: Dispatcher<Guest>,
    next_id: u64,
    accepting: Accepting,
    /// Connections that wait for their client without a thread, by their id, which is their token.
    parked: HashMap<u64, (Guest, Instant)>,
    parked_in: Receiver<Guest>,
    last_sweep: Instant,
    stop: StopSignal,
}

impl<P: Serve> PollLoop<P> {
    fn turn(&mut self, poll: &mio::Poll, events: &Events) {
        while let Ok(guest) = self.parked_in.try_recv() {
            self.park(poll, guest);
        }
        let mut accept = self.accepting != Accepting::All;
        for event in events {
            match event.token() {
                LISTENER => accept = true,
                WAKER => {}
                Token(id) => self.wake(poll, id as u64),
            }
        }
        if accept {
            self.accept_all();
        }
        self.sweep(poll);
    }

    fn accept_all(&mut self) {
        let before = self.accepting;
        self.accepting = Accepting::More;
        for _ in 0..MOST_AT_ONCE {
            match self.socket.accept() {
                Ok((stream, peer)) => self.welcome(stream, peer),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.accepting = Accepting::All;
                        return;
                    }
                    // The client has gone already, or a signal came.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => {}
                    _ => {
                        // Out of descriptors, most often. The clients wait in the backlog.
                        if before != Accepting::AtLimit {
                            let error = format!("cannot accept a connection: {error}");
                            self.host.fail(None, error.into());
                        }
                        self.accepting = Accepting::AtLimit;
                        return;
                    }
                },
            }
        }
    }

    fn welcome(&mut self, stream: Stream, peer: Address) {
        let limit = self.host.options.max_connections;
        if self.registry.len() >= limit {
            // It cannot be told in words, so it is told by a RST, and the test by a failure.
            let _ = stream.set_reset_on_close();
            let error = format!(
                "refused {peer}: {limit} connections are open already (builder().max_connections)"
            );
            self.host.fail(None, error.into());
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        let stream = Arc::new(stream);
        let keep = self.host.protocol.keeps_received();
        let live = Live::new(id, peer, &stream, self.stop.clone(), keep);
        let live = Arc::new(live);
        let conn = match self.connection(stream, &live) {
            Ok(conn) => conn,
            Err(error) => {
                log::debug!(target: P::TARGET, "{} has gone already: {error}", live.peer);
                return;
            }
        };
        log::debug!(target: P::TARGET, "{} accepted {}", self.host.name(), live.peer);
        let entry = self.registry.enter(live);
        self.dispatch(Guest { conn, entry });
    }

    fn connection(&self, stream: Arc<Stream>, live: &Arc<Live>) -> io::Result<Connection> {
        let local = match &self.socket.address {
            // Bound to all addresses: only the connection knows which one the client used.
            Address::Inet(address) if address.ip().is_unspecified() => stream.local_address()?,
            address => address.clone(),
        };
        Connection::new(stream, Arc::clone(live), local, self.host.options.limits)
    }

    fn dispatch(&mut self, guest: Guest) {
        let peer = guest.conn.peer().clone();
        if let Err(error) = self.dispatcher.dispatch(guest) {
            self.host.fail(Some(peer), error.into());
        }
    }

    fn park(&mut self, poll: &mio::Poll, guest: Guest) {
        let id = guest.conn.live().id;
        let token = Token(id as usize);
        match guest.conn.stream().register(poll.registry(), token) {
            Ok(()) => {
                self.parked.insert(id, (guest, Instant::now()));
            }
            // A worker can wait for it just as well.
            Err(_) => self.dispatch(guest),
        }
    }

    fn wake(&mut self, poll: &mio::Poll, id: u64) {
        if let Some((guest, _)) = self.parked.remove(&id) {
            let _ = guest.conn.stream().deregister(poll.registry());
            self.dispatch(guest);
        }
    }

    /// Closes connections that have been idle for too long; looks once a second, for there may be
    /// thousands.
    fn sweep(&mut self, poll: &mio::Poll) {
        if self.parked.is_empty() || self.last_sweep.elapsed() < Duration::from_secs(1) {
            return;
        }
        self.last_sweep = Instant::now();
        let limit = self.host.options.idle_timeout;
        self.parked.retain(|_, (guest, since)| {
            let keep = since.elapsed() < limit;
            if !keep {
                let _ = guest.conn.stream().deregister(poll.registry());
            }
            keep
        });
    }
}
