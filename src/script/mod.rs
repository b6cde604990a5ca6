//! A scripted peer: what a client is expected to send, and what it is sent, one after the other.
//!
//! `builder` is the script without a server, `methods` the instructions that both have, `state` what
//! the test and the server's thread share, `run` that thread, `guest` what it does on a connection,
//! and `check`, `frame` and `diff` compare bytes with bytes.

mod builder;
mod check;
mod diff;
mod error;
mod factory;
mod frame;
mod guest;
mod instruction;
mod methods;
mod run;
mod state;
mod text;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::panic::Location;
#[cfg(unix)]
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

pub use self::builder::Script;
pub use self::error::{ScriptError, ScriptErrors};
pub use self::factory::ScriptedTcpServers;
#[cfg(fuzzing)]
pub(crate) use self::frame::fuzz as fuzz_frames;
pub use self::frame::{Frame, Framing};
pub use self::instruction::Match;
use self::instruction::{Instruction, Step, once};
use self::methods::{connections, instructions};
use self::state::Scripted;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::net::address::ListenOn;
#[cfg(unix)]
use crate::net::address::UnixAddress;
use crate::server::failure::HandlerResult;
use crate::server::host::Host;
use crate::server::options::Options;
use crate::server::{Bound, TestServer};

/// What an instruction has when no timeout is given.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a drop waits for the server's thread, which only a closure can hold up.
const DROP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a restart waits for a closure that the last stop has cut off.
const LAST_TURN: Duration = Duration::from_secs(3);

const FAILING_ALREADY: &str = "the test failed before";

/// A TCP (or, on Unix, Unix-domain stream) server that says what its client is expected to do.
///
/// Its instructions run in order, on the server's thread, each with a second of time unless
/// [`timeout`](ScriptedTcpServer::timeout) or its `_within` form says otherwise; `pause`,
/// `expect_silence`, `expect_no_connection` and the gaps of `send_in_pieces` have their own durations,
/// and `shutdown_write`, `disconnect` and `reset` need none. They may be queued before the client
/// starts, meanwhile, or when it has ended: the time of an instruction counts from when all before it
/// are done. The client is seen from the wire alone, so it may be a program in any language.
///
/// After the first failure the rest is dropped and the connection and the listener are closed, so that
/// a client that waits goes on. [`join`](ScriptedTcpServer::join) reports it. Dropping the server
/// expects the client to disconnect if it is still connected, joins, and panics with a failure that no
/// `join` or `stop` has reported; while the thread panics already it waits for nothing, and prints
/// what there is to tell.
///
/// One client is expected at a time. Another one that connects meanwhile is a failure. So is one that
/// stays connected for a second (or the default timeout, where that is longer) without an
/// `expect_connect` in the queue: it could wait for ever. So is
/// one that is left over at the end, unless the script had cut its connection by `disconnect` or
/// `reset`: a client that comes back by itself may just have done so. A client that has closed its
/// side has left, as far as this goes.
///
/// [`expect_connections`](ScriptedTcpServer::expect_connections) and
/// [`connection`](ScriptedTcpServer::connection) script several, whose instructions run side by side.
///
/// A client that still waits when the last instruction is done, for a send that was forgotten, is no
/// failure: the test may be about to queue more. If the client runs on the test's own thread, the test
/// waits with it, so give clients a read timeout. That a connection has had no instruction for a second
/// is logged, as debug under `loopback::scripted`.
///
/// ```
/// use std::io::{Read, Write};
/// use loopback::ScriptedTcpServer;
///
/// let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
/// peer.expect_connect();
/// peer.expect_bytes("Hello, server!");
/// peer.send_bytes("Hello, client!");
/// peer.expect_disconnect();
///
/// // The client under test.
/// let mut client = std::net::TcpStream::connect(peer.local_addr())?;
/// client.write_all(b"Hello, server!")?;
/// client.read_exact(&mut [0; 14])?;
/// drop(client);
///
/// peer.join()?; // Err says what was expected, what came, and after how long
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A client that has to come back:
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::TcpStream;
/// use std::time::Duration;
/// use loopback::ScriptedTcpServer;
///
/// let mut peer = ScriptedTcpServer::start("127.0.0.1:0")?;
/// peer.expect_connect().disconnect();
/// TcpStream::connect(peer.local_addr())?.read_to_end(&mut Vec::new())?;
/// peer.stop(Duration::from_secs(1))?;
/// peer.restart()?;
/// peer.expect_connect().expect_line("back again").reset();
/// let mut client = TcpStream::connect(peer.local_addr())?;
/// client.write_all(b"back again\n")?;
/// client.read(&mut [0]).unwrap_err();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a scripted server verifies it"]
pub struct ScriptedTcpServer<A = SocketAddr> {
    inner: TestServer<Scripted, A>,
    /// The factory that reports its failure, while there is one.
    factory: Weak<Mutex<Vec<Arc<Host<Scripted>>>>>,
}

impl<A> ScriptedTcpServer<A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start<L: ListenOn<Address = A>>(address: L) -> io::Result<ScriptedTcpServer<A>> {
        let bound = Bound::new(Options::default(), address, Scripted::default())?;
        Ok(ScriptedTcpServer {
            inner: bound.start()?,
            factory: Weak::new(),
        })
    }

    /// Starts, and queues what the script says.
    ///
    /// # Errors
    /// As [`start`](ScriptedTcpServer::start).
    pub fn run<L: ListenOn<Address = A>>(
        address: L,
        script: &Script,
    ) -> io::Result<ScriptedTcpServer<A>> {
        let server = ScriptedTcpServer::start(address)?;
        server.play(script);
        Ok(server)
    }

    /// Queues what the script says.
    pub fn play(&self, script: &Script) -> &ScriptedTcpServer<A> {
        for step in &script.steps {
            self.inner.host.queue(step.clone());
        }
        self
    }

    /// The default timeout of the instructions that are queued after this, on any connection, and of
    /// the disconnect that a drop expects. Until then it is a second; it stays over a restart.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopback::ScriptedTcpServer;
    ///
    /// let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
    /// peer.timeout(Duration::from_secs(10)).expect_connect().expect_line("hello");
    /// # std::io::Write::write_all(&mut std::net::TcpStream::connect(peer.local_addr())?, b"hello\n")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn timeout(&self, timeout: Duration) -> &ScriptedTcpServer<A> {
        self.inner.host.set_timeout(timeout);
        self
    }

    instructions!([&self] self -> &ScriptedTcpServer<A>, then: FnOnce by once);
    connections!([&self] self -> &ScriptedTcpServer<A>);

    /// The connection with this index, of those that
    /// [`expect_connections`](ScriptedTcpServer::expect_connections) expects. Plain instructions are
    /// for the first, 0.
    ///
    /// The instructions of a connection run in order; those of different ones run side by side.
    ///
    /// ```
    /// use std::io::Write;
    /// use std::net::TcpStream;
    /// use loopback::ScriptedTcpServer;
    ///
    /// let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
    /// peer.expect_connections(2);
    /// peer.connection(0).expect_bytes("first");
    /// peer.connection(1).expect_bytes("second");
    /// let mut first = TcpStream::connect(peer.local_addr())?;
    /// let mut second = TcpStream::connect(peer.local_addr())?;
    /// second.write_all(b"second")?;
    /// first.write_all(b"first")?;
    /// peer.join()?;
    /// # drop((first, second));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn connection(&self, index: usize) -> ScriptedConnection {
        ScriptedConnection {
            host: Arc::clone(&self.inner.host),
            index,
        }
    }

    /// Waits for all instructions that are queued. Each has its own timeout, so this ends too.
    ///
    /// # Errors
    /// The first failure; the same one each time it is asked for.
    pub fn join(&self) -> Result<(), ScriptError> {
        self.check_waiter()?;
        self.inner.host.join()
    }

    /// An error for a closure of the script's, which would wait for itself, and for a process of which
    /// the script runs in the parent.
    fn check_waiter(&self) -> Result<(), ScriptError> {
        let host = &self.inner.host;
        if self.inner.is_another_process() {
            let why = "it runs in the process that this one was forked off";
            return Err(ScriptError::of_server(
                &host.name(),
                "cannot wait for it",
                why,
            ));
        }
        if self.inner.is_own_thread() {
            let error = ScriptError::of_server(&host.name(), "cannot wait for it", OWN_WAIT);
            host.failed(error.clone());
            return Err(error);
        }
        Ok(())
    }

    /// Waits for all instructions that are queued, and stops serving, within `timeout` as a whole. A
    /// client that is still connected reads the end; others are refused.
    ///
    /// Its verdict is that of a drop, with one difference: a client that is connected and quiet need
    /// not disconnect. Data that came after the last instruction is a failure, and so are a reset and a
    /// client that nobody expected.
    ///
    /// # Errors
    /// The first failure. An instruction that is not done by then is one.
    pub fn stop(&mut self, timeout: Duration) -> Result<(), ScriptError> {
        self.check_waiter()?;
        let deadline = Deadline::new(timeout, "the script");
        self.inner.host.stop(&deadline);
        self.end(deadline.remaining());
        self.inner.host.reported()
    }

    /// Serves again on the same address, with an empty script: the first instruction is
    /// `expect_connect` again. A server that runs is stopped first, within 5 s.
    ///
    /// Between a stop and a restart the port is free, and another program could take it.
    ///
    /// # Errors
    /// The address cannot be bound, a failure that nobody has been told of, or a closure that still
    /// runs.
    pub fn restart(&mut self) -> io::Result<()> {
        self.check_waiter()?;
        self.inner
            .host
            .stop(&Deadline::new(DROP_TIMEOUT, "the script"));
        self.end(DROP_TIMEOUT);
        if let Some(error) = self.inner.host.take_unreported() {
            return Err(error.into());
        }
        // Once the closure has ended, so has the thread. One that the stop has cut off may only want its turn.
        if !self.inner.host.wait_thread(LAST_TURN) {
            return Err(io::Error::other(
                "cannot restart: a closure of the script still runs",
            ));
        }
        self.inner.host.reset();
        self.inner.restart()
    }

    /// Ends the thread, and keeps it as a failure when that is not possible.
    fn end(&mut self, timeout: Duration) {
        if let Err(error) = self.inner.stop(timeout) {
            let host = &self.inner.host;
            let heading = "it did not end well";
            let text = error.to_string();
            host.failed(ScriptError::of_server(&host.name(), heading, text));
        }
    }

    fn default_timeout(&self) -> Duration {
        self.inner.host.timeout()
    }

    #[track_caller]
    fn add(&self, what: Instruction, within: Duration) -> &ScriptedTcpServer<A> {
        self.inner.host.queue(Step {
            lane: 0,
            what,
            within,
            place: Location::caller(),
        });
        self
    }
}

impl ScriptedTcpServer<SocketAddr> {
    /// The address it serves on, with the real port. It stays the same over stop and restart.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    /// The port it serves on.
    pub fn port(&self) -> u16 {
        self.inner.port()
    }

    /// Connects a client, as [`TestServer::connect`](crate::TestTcpServer::connect) does.
    ///
    /// # Errors
    /// What connecting gives.
    pub fn connect(&self) -> io::Result<TcpStream> {
        self.inner.connect()
    }
}

#[cfg(unix)]
impl ScriptedTcpServer<UnixAddress> {
    /// The address it serves on.
    pub fn local_addr(&self) -> &UnixAddress {
        self.inner.local_addr()
    }

    /// The socket's path, an absolute one; empty for an abstract name.
    pub fn path(&self) -> &Path {
        self.inner.path()
    }

    /// Connects a client, as the `connect` of other servers on Unix-domain sockets does.
    ///
    /// # Errors
    /// What connecting gives.
    pub fn connect(&self) -> io::Result<UnixStream> {
        self.inner.connect()
    }
}

impl<A> Drop for ScriptedTcpServer<A> {
    fn drop(&mut self) {
        // In both cases the inner server knows what to do.
        if self.inner.is_another_process() || self.inner.is_own_thread() {
            return;
        }
        let host = Arc::clone(&self.inner.host);
        if thread::panicking() {
            host.give_up(FAILING_ALREADY);
        } else {
            host.begin_end();
            host.wait_end();
        }
        self.end(DROP_TIMEOUT);
        // A factory shows it beside those of its other servers.
        if self.factory.upgrade().is_none()
            && let Some(error) = host.take_unreported()
        {
            fail_test(&error);
        }
    }
}

impl<A> fmt::Debug for ScriptedTcpServer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedTcpServer")
            .field("name", &format_args!("{}", self.inner.host.name()))
            .field("script", &self.inner.host.protocol)
            .finish_non_exhaustive()
    }
}

/// One of the connections of a [`ScriptedTcpServer`]: what is queued here is for this one.
#[derive(Clone)]
pub struct ScriptedConnection {
    host: Arc<Host<Scripted>>,
    index: usize,
}

impl ScriptedConnection {
    /// Its index, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    instructions!([&self] self -> &ScriptedConnection, then: FnOnce by once);

    fn default_timeout(&self) -> Duration {
        self.host.timeout()
    }

    #[track_caller]
    fn add(&self, what: Instruction, within: Duration) -> &ScriptedConnection {
        self.host.queue(Step {
            lane: self.index,
            what,
            within,
            place: Location::caller(),
        });
        self
    }
}

impl fmt::Debug for ScriptedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedConnection")
            .field("server", &format_args!("{}", self.host.name()))
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// What a closure is told that waits for its own script.
const OWN_WAIT: &str = "a closure cannot join, stop or restart its own server from within: it would wait for \
                        itself; have it tell the test, and the test do that";

/// Panics with it, or prints it where the test panics already: a second panic would abort the whole
/// test binary.
fn fail_test(error: &dyn fmt::Display) {
    match thread::panicking() {
        true => eprintln!("loopback: while the test was failing already: {error}"),
        false => panic!("{error}"),
    }
}
