//! The life of every server: bind, start, ready, stop, restart, drop. It knows no protocol, and it
//! is the only code that starts server threads.

pub(crate) mod connect;
pub(crate) mod datagrams;
pub(crate) mod failure;
pub(crate) mod host;
pub(crate) mod options;
pub(crate) mod parting;
pub(crate) mod protocol;
pub(crate) mod ready;
pub(crate) mod record;
pub(crate) mod registry;
pub(crate) mod streams;
pub(crate) mod wake;
pub(crate) mod workers;

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

use self::failure::{Failures, HandlerError, HandlerFailure, StopError, StuckHandler};
use self::host::{Host, Run};
use self::options::Options;
use self::protocol::Protocol;
use self::ready::Ready;
use self::record::Record;
use self::registry::{LastTurns, Registry};
use self::wake::Kind;
use self::workers::Crew;
use crate::deadline::{Deadline, prose};
use crate::net::address::ListenOn;
#[cfg(unix)]
use crate::net::address::UnixAddress;
use crate::net::socket::{BoundSocket, SocketKind};
use crate::net::stop::{StopSignal, StopSwitch, stop_reserve};
use crate::process::Maker;

/// A test server: an address, a handler, a poll loop on a thread of its own.
///
/// This is what [`TestTcpServer`](crate::TestTcpServer), [`TestUdpServer`](crate::TestUdpServer),
/// `TestHttpServer` and `TestSmtpServer` have in common; each adds how it is started and what it
/// records.
///
/// Dropping it stops it, and panics with the failures of handlers that no `stop` has reported, so
/// that a handler's failed assertion fails the test. While the thread panics already, the failures
/// are printed instead. The drop does not see the error that a test is about to return, and panics in its place:
/// a test whose own error matters calls [`stop`](TestServer::stop) first, or prints it.
#[must_use = "dropping a server stops it"]
pub struct TestServer<P: Protocol, A = SocketAddr> {
    pub(crate) host: Arc<Host<P>>,
    address: A,
    ready: Ready,
    running: Option<Running<P>>,
}

/// A server that is bound, so its port is known and clients queue, but does not serve yet.
#[must_use = "a bound server serves nothing until `start`"]
pub struct Bound<P: Protocol, A = SocketAddr> {
    host: Arc<Host<P>>,
    address: A,
    socket: BoundSocket,
}

/// One run of a server, from start to stop.
struct Running<P: Protocol> {
    switch: StopSwitch,
    waker: Arc<<P::Kind as Kind>::Waker>,
    thread: JoinHandle<()>,
    /// Closed when the thread's work is done: std cannot join with a timeout.
    ended: Receiver<()>,
    registry: Arc<Registry>,
    crew: Arc<Crew>,
    /// A fork copies the server into a process that has none of its threads.
    maker: Maker,
}

impl<P: Protocol, A> Bound<P, A> {
    pub(crate) fn new<L: ListenOn<Address = A>>(
        options: Options,
        address: L,
        protocol: P,
    ) -> io::Result<Bound<P, A>> {
        let candidates = address.candidates()?;
        let socket = BoundSocket::bind(P::Kind::SOCKET, &candidates)
            .map_err(|error| BoundSocket::naming_holder(error, P::Kind::SOCKET, &candidates))?;
        let narrowed = L::narrow(socket.address.clone())
            .ok_or_else(|| io::Error::other("bound to an address of another kind"))?;
        let host = Host {
            protocol,
            address: socket.address.clone(),
            record: Record::new(options.record, P::NOUN, P::describe),
            options,
            failures: Failures::default(),
        };
        Ok(Bound {
            host: Arc::new(host),
            address: narrowed,
            socket,
        })
    }

    /// Starts the server's thread, and returns once it is ready.
    ///
    /// # Errors
    /// The system gives no thread or no poll.
    pub fn start(self) -> io::Result<TestServer<P, A>> {
        let mut server = TestServer {
            host: self.host,
            address: self.address,
            ready: Ready::default(),
            running: None,
        };
        server.launch(self.socket)?;
        Ok(server)
    }

    /// The address it is bound to, for code that is generic over `A`: a `SocketAddr` with the real port,
    /// or a `UnixAddress`.
    pub fn address(&self) -> &A {
        &self.address
    }
}

impl<P: Protocol> Bound<P, SocketAddr> {
    /// The address it is bound to, with the real port.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The port it is bound to.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(unix)]
impl<P: Protocol> Bound<P, UnixAddress> {
    /// The socket's path, an absolute one; empty for an abstract name.
    pub fn path(&self) -> &Path {
        path_of(&self.address)
    }
}

impl<P: Protocol> TestServer<P, SocketAddr> {
    /// The address it serves on, with the real port. It stays the same over stop and restart.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The port it serves on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

#[cfg(unix)]
impl<P: Protocol> TestServer<P, UnixAddress> {
    /// The address it serves on.
    pub fn local_addr(&self) -> &UnixAddress {
        &self.address
    }

    /// The socket's path, an absolute one; empty for an abstract name.
    pub fn path(&self) -> &Path {
        path_of(&self.address)
    }
}

#[cfg(unix)]
fn path_of(address: &UnixAddress) -> &Path {
    address.path().unwrap_or(Path::new(""))
}

impl<P: Protocol, A> TestServer<P, A> {
    /// The address it serves on, for code that is generic over `A`: a `SocketAddr` with the real port,
    /// or a `UnixAddress`. It stays the same over stop and restart.
    pub fn address(&self) -> &A {
        &self.address
    }

    /// The flag that it serves: set just before the poll loop is entered, cleared by a stop.
    pub fn ready(&self) -> Ready {
        self.ready.clone()
    }

    /// The failures of handlers so far that no `stop` has reported, the first 100 of them.
    ///
    /// A server in a `static` (a `LazyLock`) is never dropped, so nothing reports its handlers' failures:
    /// a test that uses one asks here, or with [`take_failures`](TestServer::take_failures), at its end.
    /// Each failure is also logged, as a warning, when it happens.
    pub fn failures(&self) -> Vec<HandlerFailure> {
        self.host.failures.all()
    }

    /// Takes the failures, for a test that expects them: no `stop` and no drop reports them then.
    pub fn take_failures(&self) -> Vec<HandlerFailure> {
        self.host.failures.take().0
    }

    /// How many connections are open now (for datagrams: how many are being handled).
    pub fn open_connections(&self) -> usize {
        self.running
            .as_ref()
            .map_or(0, |running| running.registry.len())
    }

    /// Stops serving, within `timeout` as a whole. A server that is stopped already stays so.
    ///
    /// The listener is closed. Connections that have come are still served: their reading side is
    /// shut, so that a handler that waits for its client sees the end of the stream, and may finish
    /// what it writes; idle connections close at once. Shortly before the timeout both sides are
    /// shut. All threads and sockets are gone when it returns, but for handlers that do not end and
    /// connections that handlers have given away, which are shut. Clients whose turn to be accepted does not
    /// come within the timeout are refused. Handlers that only have to take in that their connection was
    /// shut are waited for up to three seconds more, and the server's own threads up to ten, which they only
    /// need on a machine that gives them no time. Any other handler has a tenth of a second more, and up to three
    /// seconds on a machine that gives the stop's own thread its turns late.
    ///
    /// # Errors
    /// The handlers that panicked or returned an error since the last stop, and those that still
    /// run at the timeout, each with its peer. A handler that returns the error of a connection which
    /// this stop has cut has not failed; one that unwraps it has panicked, and so has failed.
    ///
    /// A handler cannot stop its own server, for the stop would wait for that handler: it has an error at
    /// once, the server goes on, and the failure comes out of the test's own stop too.
    ///
    /// In a process that was forked off after the start it does nothing: the server is the parent's.
    pub fn stop(&mut self, timeout: Duration) -> Result<(), StopError> {
        let deadline = Deadline::new(timeout, "the server to stop");
        let mut stuck = Vec::new();
        let mut server_stuck = false;
        if self.is_another_process() {
            // Its threads and its clients are the parent's, and its locks may be held for ever.
            std::mem::forget(self.running.take());
            return Ok(());
        }
        if self.is_own_thread() {
            let error = HandlerError::from(OWN_STOP);
            let failure = HandlerFailure::new(None, &error);
            self.host.fail(None, error);
            return Err(StopError {
                server: self.host.name().to_string(),
                timeout,
                failures: vec![failure],
                more_failures: 0,
                stuck,
                server_stuck,
            });
        }
        if let Some(running) = self.running.take() {
            self.ready.set(false);
            let ended = running.stop(&deadline);
            stuck = ended.stuck;
            server_stuck = ended.server_stuck;
            if let Some(panic) = ended.panic {
                self.host.fail(None, panic);
            }
            self.host.record.set_stopped(true);
            log::debug!(
                target: P::TARGET, "{} stopped in {:?}", self.host.name(), deadline.elapsed()
            );
        }
        let (failures, more_failures) = self.host.failures.take();
        if failures.is_empty() && stuck.is_empty() && !server_stuck {
            return Ok(());
        }
        Err(StopError {
            server: self.host.name().to_string(),
            timeout,
            failures,
            more_failures,
            stuck,
            server_stuck,
        })
    }

    /// Serves again on the same address, with the same handler: for clients' reconnect logic. A
    /// server that runs is stopped first, within its drop timeout.
    ///
    /// Between a stop and a restart the port is free, and another program could take it.
    ///
    /// # Errors
    /// The address cannot be bound, the system gives no thread, or the stop found failures (the server is
    /// stopped then). An address in use is tried again for a second, and on Linux for ten when only a program
    /// that is just being started has a copy of the last socket; there the error names the process that has
    /// the port, as far as it can be found.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop(self.host.options.drop_timeout)?;
        let address = std::slice::from_ref(&self.host.address);
        let kind = P::Kind::SOCKET;
        let deadline = Deadline::new(RESTART_TIME, "the address to be free");
        let last = Deadline::new(RESTART_TIME_WHILE_STARTING, "the address to be free");
        // A program that another thread is just starting may hold a copy of the last socket.
        let pause = || match deadline.expired() {
            false => Some(Duration::from_millis(1)),
            // To find that out takes its time too.
            true if !last.expired() && BoundSocket::is_free_soon(kind, address) => {
                Some(Duration::from_millis(50))
            }
            true => None,
        };
        let socket = loop {
            let error = match BoundSocket::bind(kind, address) {
                Ok(socket) => break socket,
                Err(error) => error,
            };
            let is_in_use = error.kind() == io::ErrorKind::AddrInUse;
            match is_in_use.then(pause).flatten() {
                Some(pause) => thread::sleep(pause),
                None => return Err(BoundSocket::naming_holder(error, kind, address)),
            }
        };
        self.launch(socket)
    }

    /// Whether it runs in a process of which this one is a fork: nothing here may wait for it.
    pub(crate) fn is_another_process(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(Running::is_another_process)
    }

    /// Whether one of its own threads asks, which must not wait for itself.
    pub(crate) fn is_own_thread(&self) -> bool {
        let is_own = |running: &Running<P>| running.crew.is_own_thread();
        self.running.as_ref().is_some_and(is_own)
    }

    fn launch(&mut self, socket: BoundSocket) -> io::Result<()> {
        let lack = |what: &str, error: &io::Error| {
            let text = format!("cannot start {}: {what}: {error}", self.host.name());
            prose(error.kind(), text)
        };
        let (wait, waker) = P::Kind::prepare(&self.host.address)
            .map_err(|error| lack("the system gives no descriptor to wait with", &error))?;
        let waker = Arc::new(waker);
        let (switch, stop) = StopSignal::new();
        let (ends, ended) = crossbeam_channel::bounded::<()>(0);
        let registry = Arc::new(Registry::default());
        let crew = Arc::new(Crew::default());
        let run = Run {
            host: Arc::clone(&self.host),
            wait,
            waker: Arc::clone(&waker),
            socket,
            stop,
            registry: Arc::clone(&registry),
            crew: Arc::clone(&crew),
            ready: self.ready.clone(),
        };
        let own = Arc::clone(&crew);
        self.host.record.set_stopped(false);
        let thread = thread::Builder::new()
            .name(self.host.thread_name())
            .spawn(move || {
                let _ends = ends;
                own.claim_thread();
                P::run(run);
            })
            .map_err(|error| {
                // Nothing will come, and nobody is to wait for it.
                self.host.record.set_stopped(true);
                lack("the system gives no thread", &error)
            })?;
        self.running = Some(Running {
            switch,
            waker,
            thread,
            ended,
            registry,
            crew,
            maker: Maker::this(),
        });
        log::debug!(target: P::TARGET, "{} starts", self.host.name());
        yield_until(|| self.ready.is_set());
        // The thread sets it before it does anything that could block, so this is only a bound on
        // a machine that gives it no time at all, or for a thread that panics before.
        let deadline = Deadline::new(Duration::from_secs(60), "the server's thread");
        while !self
            .ready
            .wait(Duration::from_millis(20).min(deadline.check()?))
        {
            let ended =
                |running: &Running<P>| running.ended.try_recv() == Err(TryRecvError::Disconnected);
            if self.running.as_ref().is_some_and(ended) {
                self.stop(Duration::from_secs(1))?;
                return Err(io::Error::other(
                    "the server's thread ended before it served",
                ));
            }
        }
        Ok(())
    }
}

/// How long a restart tries to bind an address that is in use.
const RESTART_TIME: Duration = Duration::from_secs(1);

/// How long where only a program that is just being started has it.
const RESTART_TIME_WHILE_STARTING: Duration = Duration::from_secs(10);

/// What a run left when it ended.
struct Ended {
    stuck: Vec<StuckHandler>,
    server_stuck: bool,
    panic: Option<HandlerError>,
}

/// What a handler is told that stops its server.
pub(crate) const OWN_STOP: &str = "a handler cannot stop its own server from within: the stop would wait for the \
                        handler; have the handler tell the test, and the test stop it";

impl<P: Protocol> Running<P> {
    fn is_another_process(&self) -> bool {
        !self.maker.is_this()
    }

    /// Ends the run without waiting for it, for a thread that is one of its own.
    fn abandon(self) {
        self.switch
            .stop(&Deadline::new(Duration::ZERO, "the server to stop"));
        let _ = P::Kind::wake(&self.waker);
        self.registry.shut_all(Shutdown::Read);
    }

    fn stop(self, deadline: &Deadline) -> Ended {
        self.switch.stop(deadline);
        // Should waking it fail, the thread still ends, after its poll interval.
        if let Err(error) = P::Kind::wake(&self.waker) {
            log::debug!(target: P::TARGET, "cannot wake the server's thread: {error}");
        }
        // Workers end beside the thread; those that it still starts are shut below.
        self.registry.shut_all(Shutdown::Read);
        yield_until(|| self.ended.try_recv() == Err(TryRecvError::Disconnected));
        // The thread accepts who has come and closes the listener; a handler of datagrams runs on
        // it, so it may be stuck itself.
        let running = |time| self.ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
        let no_handler_holds_it =
            || P::Kind::SOCKET == SocketKind::Stream || self.registry.len() == 0;
        let mut server_stuck = running(deadline.remaining());
        let mut turns = LastTurns::new();
        while server_stuck && turns.are_left() && !no_handler_holds_it() {
            server_stuck = turns.take(running);
        }
        let is_held = server_stuck && !no_handler_holds_it();
        if server_stuck && !is_held {
            // It only wants its turn: the timeout was short, or the machine is loaded.
            server_stuck = running(P::GRACE);
        }
        self.registry.shut_all(Shutdown::Read);
        let reserve = stop_reserve(deadline.remaining());
        if !self.registry.wait_empty(deadline, reserve) {
            let leaving = self.registry.leaving();
            self.registry.shut_all(Shutdown::Both);
            if !self.registry.wait_empty(deadline, Duration::ZERO) {
                self.registry.wait_leaving(leaving, &mut turns);
            }
        }
        if is_held && no_handler_holds_it() {
            // Its handler has ended meanwhile.
            server_stuck = running(P::GRACE);
        }
        let panic = match server_stuck {
            true => None,
            false => HandlerError::joined(self.thread),
        };
        self.registry.shut_kept();
        let stuck = self.registry.stuck();
        if stuck.is_empty() {
            // No handler runs: what is left of the workers is their way out.
            let grace = deadline.remaining().max(P::GRACE);
            self.crew.join(&Deadline::new(grace, "the workers"));
        } else {
            self.crew.join(deadline);
        }
        Ended {
            stuck,
            server_stuck,
            panic,
        }
    }
}

/// Gives the processor away until it is so, for a fraction of a millisecond: sleeping for something
/// that is about to happen costs more than it takes, most of all on an idle virtual machine.
pub(crate) fn yield_until(mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_micros(200);
    while !is_so() && Instant::now() < end {
        thread::yield_now();
    }
}

impl<P: Protocol, A> Drop for TestServer<P, A> {
    fn drop(&mut self) {
        if !self.is_another_process()
            && self.is_own_thread()
            && let Some(running) = self.running.take()
        {
            self.ready.set(false);
            self.host.record.set_stopped(true);
            running.abandon();
            // The test has no server left to ask.
            eprintln!("loopback: {}: dropped by its own handler", self.host.name());
            if !thread::panicking() {
                panic!("{}: {OWN_STOP}", self.host.name());
            }
            return;
        }
        if let Err(error) = self.stop(self.host.options.drop_timeout) {
            if thread::panicking() {
                // A second panic would abort the whole test binary.
                eprintln!("loopback: while the test was failing already: {error}");
            } else {
                panic!("{error}");
            }
        }
    }
}

impl<P: Protocol, A> fmt::Debug for TestServer<P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestServer")
            .field("name", &format_args!("{}", self.host.name()))
            .field("ready", &self.ready.is_set())
            .field("open_connections", &self.open_connections())
            .field("arrived", &self.host.record.total())
            .field("failures", &self.host.failures.all().len())
            .finish_non_exhaustive()
    }
}

impl<P: Protocol, A: fmt::Debug> fmt::Debug for Bound<P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bound")
            .field("name", &format_args!("{}", self.host.name()))
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
