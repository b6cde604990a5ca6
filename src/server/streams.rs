//! The poll loop of a server of streams: accepts, hands connections to workers, and watches those
//! that are idle.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Token};

use super::datagrams::WaitingDatagrams;
use super::failure::HandlerError;
use super::host::{Host, Run};
use super::protocol::{Next, Serve, Session, Turn};
use super::registry::{Entry, Registry};
use super::wake::WAKER;
use super::workers::Dispatcher;
use crate::connection::Connection;
use crate::net::address::Address;
use crate::net::live::{Activity, Live};
use crate::net::socket::{BoundSocket, Stream};
use crate::net::stop::StopSignal;

/// The listener's token.
pub(crate) const LISTENER: Token = Token(0);

/// The token of the socket for datagrams on the listener's port.
const DATAGRAMS: Token = Token(2);

/// How soon accepting is tried again after a limit of the system, such as that of descriptors.
const RETRY: Duration = Duration::from_millis(10);

/// So many connections are still accepted once the server stops: more than the queues of most systems
/// hold, and a bound for clients that never cease to come.
const MOST_AT_THE_END: usize = 8192;

/// How much the poll tells at once.
const EVENTS: usize = 128;

/// How often the loop looks for the next round trip of a client that it serves itself before it
/// sleeps. Waking up takes longer than most clients need to go on.
const MOST_LOOKS: u32 = 20;

/// The first id of a connection, which is its token when it is parked.
pub(crate) const FIRST_PARKED: usize = 3;

/// Accepts until the server stops. `poll` has the waker already.
pub(crate) fn serve<P: Serve>(run: Run<P>) {
    let Run {
        host,
        wait: mut poll,
        waker,
        mut socket,
        stop,
        registry,
        crew,
        ready,
    } = run;
    let lot = Arc::new(Lot(Mutex::new(Some(Vec::new()))));
    let work = {
        let host = Arc::clone(&host);
        let lot = Arc::clone(&lot);
        move |guest: Guest| {
            let mut next = Some(guest);
            while let Some(guest) = next.take() {
                let Guest {
                    mut conn,
                    entry,
                    begun,
                } = guest;
                let live = Arc::clone(conn.live());
                if live.stop.is_over() {
                    log::debug!(target: P::TARGET, "{} came too late to be served", live.peer);
                    return;
                }
                let session = Session {
                    host: &host,
                    live: &live,
                };
                if let (false, Some(preamble)) = (begun, &host.options.preamble) {
                    let read = session.run(|| preamble.read(&mut conn));
                    if let Err(error) = read.and_then(|read| read) {
                        return session.fail(error);
                    }
                }
                // The room catches its handler's panics; this one would be a defect of the room's
                // own, and must not pass for a handler that ended well.
                match HandlerError::catch(|| host.protocol.serve(conn, &session)) {
                    Ok(Next::Park(mut conn)) => {
                        conn.release_buffer();
                        live.set_activity(Activity::Idle);
                        // Refused once the loop ends. The client may have sent something since, so
                        // it is served here until the stop has shut it.
                        next = lot.park(Guest {
                            conn,
                            entry,
                            begun: true,
                        });
                        if next.is_none() {
                            let _ = waker.wake();
                        }
                    }
                    Ok(Next::Close) => {}
                    Err(error) => session.fail(error),
                }
            }
        }
    };
    let datagrams = socket.datagrams.take().and_then(|socket| {
        P::inbox(
            Arc::clone(&host),
            Arc::clone(&registry),
            *socket,
            stop.clone(),
        )
    });
    let mut poll_loop = PollLoop {
        datagrams,
        // A preamble may block.
        takes_turns: host.protocol.takes_turns() && host.options.preamble.is_none(),
        dispatcher: Dispatcher::new(host.thread_name(), crew, stop.clone(), work),
        host,
        registry,
        socket,
        next_id: FIRST_PARKED as u64,
        accepting: Accepting::WhenTold,
        parked: HashMap::new(),
        turning: HashMap::new(),
        looks: MOST_LOOKS,
        lot,
        last_sweep: Instant::now(),
        stop,
    };
    let interval = poll_loop.host.options.poll_interval;
    let mut events = Events::with_capacity(EVENTS);
    if let Err(error) = poll_loop.socket.register(poll.registry(), LISTENER) {
        poll_loop.host.fail(None, error.into());
    }
    if let Some(datagrams) = &poll_loop.datagrams
        && let Err(error) = datagrams.register(poll.registry(), DATAGRAMS)
    {
        poll_loop.host.fail(None, error.into());
    }
    ready.set(true);
    // Where there is one core only, who waits for it goes on at once, and may have a client's request
    // sent before this thread sleeps: a wake-up and two thread switches less.
    thread::yield_now();
    while !poll_loop.stop.is_set() {
        match poll.poll(&mut events, Some(poll_loop.timeout(interval))) {
            Ok(()) => {
                poll_loop.turn(&poll, &events);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                poll_loop.host.fail(None, error.into());
                break;
            }
        }
    }
    // Who had connected before the stop is still served; who comes later is refused.
    for _ in 0..MOST_AT_THE_END {
        // Time for those that have been accepted is kept; the others are refused.
        if poll_loop.stop.is_nearly_over() {
            break;
        }
        let polled = poll.poll(&mut events, Some(Duration::ZERO));
        if polled.is_err() {
            break;
        }
        let more = poll_loop.turn(&poll, &events);
        // A full batch may have left out the listener, and others that are ready.
        if !more && events.iter().count() < EVENTS {
            break;
        }
    }
    if let Some(datagrams) = &mut poll_loop.datagrams {
        datagrams.handle_last();
    }
    for guest in poll_loop.lot.close() {
        poll_loop.dispatch(guest);
    }
    for id in poll_loop.turning.keys().copied().collect::<Vec<_>>() {
        poll_loop.turn_of(&poll, id, true);
    }
}

/// How accepting last ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Accepting {
    /// The poll tells when somebody waits.
    WhenTold,
    /// At a limit of the system: to be tried again.
    AtLimit,
}

/// Where workers leave connections that are idle, for the loop to fetch; `None` when it has ended.
struct Lot(Mutex<Option<Vec<Guest>>>);

impl Lot {
    /// Leaves a connection, or gives it back when nobody will fetch it.
    fn park(&self, guest: Guest) -> Option<Guest> {
        match &mut *self.lock() {
            Some(guests) => {
                guests.push(guest);
                None
            }
            None => Some(guest),
        }
    }

    fn fetch(&self) -> Vec<Guest> {
        self.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    fn close(&self) -> Vec<Guest> {
        self.lock().take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Guest>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with its place in the registry.
struct Guest {
    conn: Connection,
    entry: Entry,
    /// Whether its protocol has begun: what precedes that has been read.
    begun: bool,
}

struct PollLoop<P: Serve> {
    host: Arc<Host<P>>,
    registry: Arc<Registry>,
    socket: BoundSocket,
    /// Those that come on the listener's port, where the protocol has them.
    datagrams: Option<Box<dyn WaitingDatagrams>>,
    dispatcher: Dispatcher<Guest>,
    next_id: u64,
    accepting: Accepting,
    /// Connections that wait for their client without a thread, by their id, which is their token.
    parked: HashMap<u64, (Guest, Instant)>,
    lot: Arc<Lot>,
    /// Whether this thread serves connections itself, as long as no code runs that may block.
    takes_turns: bool,
    /// Those that it does, by their id, which is their token.
    turning: HashMap<u64, Guest>,
    /// How often nothing had come for them since something did.
    looks: u32,
    last_sweep: Instant,
    stop: StopSignal,
}

impl<P: Serve> PollLoop<P> {
    fn timeout(&self, interval: Duration) -> Duration {
        match self.accepting {
            Accepting::AtLimit => interval.min(RETRY),
            Accepting::WhenTold if self.turning.is_empty() && self.parked.is_empty() => interval,
            Accepting::WhenTold if self.takes_turns && self.looks < MOST_LOOKS => Duration::ZERO,
            Accepting::WhenTold => interval.min(self.patience()),
        }
    }

    /// Deals with what the poll told, and says whether it may have more to tell at once.
    fn turn(&mut self, poll: &mio::Poll, events: &Events) -> bool {
        if !events.is_empty() {
            self.looks = 0;
        } else if self.looks < MOST_LOOKS {
            self.looks += 1;
            thread::yield_now();
        }
        let guests = self.lot.fetch();
        let parked = !guests.is_empty();
        for guest in guests {
            self.park(poll, guest);
        }
        let mut accept = self.accepting == Accepting::AtLimit;
        for event in events {
            match event.token() {
                LISTENER => accept = true,
                WAKER => {}
                DATAGRAMS => {
                    if let Some(datagrams) = &mut self.datagrams {
                        datagrams.handle_some(poll.registry(), DATAGRAMS);
                    }
                }
                Token(id) if self.turning.contains_key(&(id as u64)) => {
                    self.turn_of(poll, id as u64, event.is_read_closed());
                }
                Token(id) => self.wake(poll, id as u64, event.is_read_closed()),
            }
        }
        self.sweep(poll);
        (accept && self.accept(poll)) || parked
    }

    /// Accepts one connection, and has the poll tell of the next: to try for it would cost more where
    /// there is none, for the system makes a socket before it looks.
    fn accept(&mut self, poll: &mio::Poll) -> bool {
        let before = self.accepting;
        self.accepting = Accepting::WhenTold;
        match self.socket.accept() {
            Ok((stream, peer)) => self.welcome(poll, stream, peer),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => return false,
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
                    return false;
                }
            },
        }
        if let Err(error) = self.socket.reregister(poll.registry(), LISTENER) {
            self.host.fail(None, error.into());
            self.accepting = Accepting::AtLimit;
        }
        true
    }

    fn welcome(&mut self, poll: &mio::Poll, stream: Stream, peer: Address) {
        let limit = self.host.options.max_connections;
        if self.registry.len() >= limit {
            // It cannot be told in words, so it is told by a RST, and the test by a failure.
            let _ = stream.set_reset_on_close();
            let are = if limit == 1 {
                "connection is"
            } else {
                "connections are"
            };
            let error =
                format!("refused {peer}: {limit} {are} open already (builder().max_connections)");
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
        let guest = Guest {
            conn,
            entry,
            begun: false,
        };
        if self.takes_turns {
            self.seat(poll, guest);
        } else {
            self.dispatch(guest);
        }
    }

    /// Serves a new connection on this thread.
    fn seat(&mut self, poll: &mio::Poll, guest: Guest) {
        let id = guest.conn.live().id;
        let stream = guest.conn.stream();
        let ready = stream
            .set_nonblocking(true)
            .and_then(|()| stream.register(poll.registry(), Token(id as usize)));
        self.turning.insert(id, guest);
        match ready {
            Ok(()) => self.turn_of(poll, id, false),
            // A worker can serve it just as well.
            Err(_) => self.give_up(poll, id),
        }
    }

    /// Gives a connection its turn on this thread.
    fn turn_of(&mut self, poll: &mio::Poll, id: u64, drain: bool) {
        let Some(guest) = self.turning.get_mut(&id) else {
            return;
        };
        let live = Arc::clone(guest.conn.live());
        let session = Session {
            host: &self.host,
            live: &live,
        };
        let protocol = &self.host.protocol;
        let outcome = HandlerError::catch(|| protocol.turn(&mut guest.conn, drain, &session));
        let turn = outcome.unwrap_or_else(|error| {
            session.fail(error);
            Turn::Close
        });
        match turn {
            Turn::Wait => {
                live.set_activity(Activity::Idle);
            }
            Turn::Park => {
                live.set_activity(Activity::Idle);
                if let Some(mut guest) = self.turning.remove(&id) {
                    guest.conn.release_buffer();
                    self.parked.insert(id, (guest, Instant::now()));
                }
            }
            Turn::Work => self.give_up(poll, id),
            Turn::Close => {
                self.turning.remove(&id);
            }
        }
    }

    /// Hands a connection that had its turns here to a worker.
    fn give_up(&mut self, poll: &mio::Poll, id: u64) {
        let Some(guest) = self.turning.remove(&id) else {
            return;
        };
        let stream = guest.conn.stream();
        let _ = stream.deregister(poll.registry());
        match stream.set_nonblocking(false) {
            Ok(()) => self.dispatch(guest),
            Err(error) => self
                .host
                .fail(Some(guest.conn.peer().clone()), error.into()),
        }
    }

    /// How late it may be noticed that a connection is overdue.
    fn patience(&self) -> Duration {
        let options = &self.host.options;
        let read = options.limits.read_timeout.unwrap_or(Duration::MAX);
        (options.idle_timeout.min(read) / 4).clamp(RETRY, Duration::from_secs(1))
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
        let stream = guest.conn.stream();
        let ready = match self.takes_turns {
            true => stream.set_nonblocking(true),
            false => Ok(()),
        };
        match ready.and_then(|()| stream.register(poll.registry(), Token(id as usize))) {
            Ok(()) => {
                self.parked.insert(id, (guest, Instant::now()));
            }
            // A worker can wait for it just as well.
            Err(_) => {
                let _ = guest.conn.stream().set_nonblocking(false);
                self.dispatch(guest);
            }
        }
    }

    fn wake(&mut self, poll: &mio::Poll, id: u64, drain: bool) {
        let Some((guest, _)) = self.parked.remove(&id) else {
            return;
        };
        if self.takes_turns {
            self.turning.insert(id, guest);
            self.turn_of(poll, id, drain);
        } else {
            let _ = guest.conn.stream().deregister(poll.registry());
            self.dispatch(guest);
        }
    }

    /// Closes connections that have been idle for too long; looks once a second or so, for there may
    /// be thousands.
    fn sweep(&mut self, poll: &mio::Poll) {
        if self.parked.is_empty() && self.turning.is_empty() {
            return;
        }
        if self.last_sweep.elapsed() < self.patience() {
            return;
        }
        self.last_sweep = Instant::now();
        let turning = self.turning.iter();
        let overdue = turning.filter(|(_, guest)| self.host.protocol.is_overdue(&guest.conn));
        for id in overdue.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.turn_of(poll, id, true);
        }
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
