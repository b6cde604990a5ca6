//! Many connections through one program at once, to a `TestTcpServer` in place of the service.

use std::collections::HashMap;
use std::fmt::Display;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::tcp::TestTcpServer;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::stand_in::{Place, STOP, stand_in};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::{Bounds, Ends};
use crate::tunnel::link::connector::Connector;
use crate::tunnel::route::{Kind, Target};

/// How soon a wait looks whether it is still worth it: then after twice that, and so on.
const LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// How long to wait for the first attempt to connect, twice as long for the next, and so on. A program
/// whose queue of connections is full does not answer, and the system would try again after seconds only.
const ATTEMPT: Duration = Duration::from_millis(50);
/// The longest of these.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1);

/// Stands for the number of whatever connection comes next, where they are opened one by one.
const NEXT: u64 = 0;

/// Threads that make connections to one program. The service cannot tell from where a connection
/// comes, so each begins with a number by which its two ends find each other.
pub(crate) struct ConnectionGroup<'a> {
    connector: Connector<'a>,
    bounds: Bounds,
    matching: Matching,
    /// The connection that found the program listening, for the first who needs one: a program may serve one at a
    /// time.
    first: Mutex<Option<Stream>>,
    /// What the numbers begin with, so that other bytes are not taken for one.
    salt: u64,
    opened: AtomicU64,
    /// Attempts to connect that were not answered.
    repeated: AtomicU64,
    /// Who waits for the connection of this number, or what waits for it.
    waiting: Mutex<HashMap<u64, Waiting>>,
    /// Held while a connection is opened that must be the only one then.
    turn: Mutex<()>,
    /// How many threads still run.
    busy: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
}

/// How the two ends of a connection find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Matching {
    /// By a number that the client says first.
    ByNumber,
    /// They are opened one after the other, as what the service reads first may be about the client; the number
    /// comes behind that.
    OneByOne,
    /// There is one client, and it says nothing of its own.
    Alone,
}

#[derive(Default)]
struct State {
    /// How many have come to [`ConnectionGroup::wait_for_all`].
    here: usize,
    /// The first failure. All others give up then.
    failure: Option<CheckError>,
}

/// One end that waits for the other.
enum Waiting {
    Client(Thread),
    Service(Stream),
}

/// Runs `work` on `size` threads at once, each with its number from 0 on, and gives their first failure.
pub(crate) fn run(
    context: &mut CheckContext<'_>,
    bounds: Bounds,
    size: usize,
    work: impl Fn(usize, &ConnectionGroup<'_>) -> Result<(), CheckError> + Sync,
) -> Result<(), CheckError> {
    let matching = match context.tunnel().kind() {
        Kind::ProxyProtocol | Kind::Other => Matching::OneByOne,
        _ => Matching::ByNumber,
    };
    serve(context, bounds, size, matching, work)
}

fn serve(
    context: &mut CheckContext<'_>,
    bounds: Bounds,
    size: usize,
    matching: Matching,
    work: impl Fn(usize, &ConnectionGroup<'_>) -> Result<(), CheckError> + Sync,
) -> Result<(), CheckError> {
    let (connections, accepted) = crossbeam_channel::unbounded();
    let start = |place: &Place| {
        let connections = connections.clone();
        // What precedes the data is read when both ends are known, for it may tell of the client.
        TestTcpServer::builder()
            .keep_received(0)
            .record_limit(0)
            .start(place.addr, move |conn: Connection| {
                // Nobody takes what comes when the check is over.
                let _ = connections.send(conn);
            })
    };
    stand_in(context, start, |context, mut server| {
        let done = run_with(context, bounds, size, matching, &accepted, work);
        let stopped = server.stop(STOP);
        done?;
        stopped.map_err(|error| CheckError::failed(error.to_string()))
    })
}

/// Makes so many short conversations one after the other; how long each took.
pub(crate) fn in_a_row(
    context: &mut CheckContext<'_>,
    bounds: Bounds,
    times: usize,
) -> Result<Vec<Duration>, CheckError> {
    let waits = Mutex::new(Vec::with_capacity(times));
    serve(context, bounds, 1, Matching::Alone, |_, group| {
        for number in 1..=times {
            let begun = Instant::now();
            let whole = group.open().and_then(|ends| {
                let deadline = bounds.next("a short conversation");
                Conversation::new(ends.client, ends.service).whole(&deadline)
            });
            whole.map_err(|error| about(format_args!("connection {number} of {times}"), error))?;
            let mut waits = waits.lock().unwrap_or_else(PoisonError::into_inner);
            waits.push(begun.elapsed());
        }
        Ok(())
    })?;
    Ok(waits.into_inner().unwrap_or_else(PoisonError::into_inner))
}

fn run_with(
    context: &mut CheckContext<'_>,
    bounds: Bounds,
    size: usize,
    matching: Matching,
    accepted: &Receiver<Connection>,
    work: impl Fn(usize, &ConnectionGroup<'_>) -> Result<(), CheckError> + Sync,
) -> Result<(), CheckError> {
    let group = ConnectionGroup {
        connector: context.connector(),
        bounds,
        matching,
        first: Mutex::new(context.program.take_first()),
        salt: context.random().next(),
        opened: AtomicU64::new(0),
        repeated: AtomicU64::new(0),
        waiting: Mutex::default(),
        turn: Mutex::default(),
        busy: AtomicUsize::new(size),
        state: Mutex::default(),
        changed: Condvar::new(),
    };
    thread::scope(|scope| {
        let (group, work) = (&group, &work);
        for index in 0..size {
            scope.spawn(move || {
                let _busy = Busy(group);
                if let Err(error) = work(index, group) {
                    group.fail(error);
                }
            });
        }
        while group.busy.load(Ordering::SeqCst) > 0 {
            if let Ok(conn) = accepted.recv_timeout(LOOK) {
                let deadline = bounds.next("a number");
                match group.connector.accepted_by_server(conn, &deadline) {
                    Ok(mut stream) => match matching != Matching::ByNumber {
                        true if group
                            .connector
                            .is_health_check(&mut stream, context.service()) => {}
                        // Nothing is read for that, and all the others wait for it.
                        true => group.match_by_number(stream),
                        false => drop(scope.spawn(move || group.match_by_number(stream))),
                    },
                    Err(error) => {
                        let message = format!("the service cannot accept: {error}");
                        group.fail(CheckError::failed(message));
                    }
                }
            }
            if !context.is_running() {
                group.fail(CheckError::failed("the program has ended"));
            }
        }
    });
    context.connected(group.opened.load(Ordering::SeqCst));
    match group.repeated.into_inner() {
        0 => {}
        times => context.note(format!(
            "the program's queue was full: {times} attempts to connect were not answered"
        )),
    }
    let state = group.state.into_inner();
    let failure = state.unwrap_or_else(PoisonError::into_inner).failure;
    failure.map_or(Ok(()), Err)
}

/// Puts what the failure is about before it.
pub(crate) fn about(what: impl Display, error: CheckError) -> CheckError {
    match error {
        CheckError::Failed(message, failure) => {
            CheckError::Failed(format!("{what}: {message}"), failure)
        }
        other => other,
    }
}

impl ConnectionGroup<'_> {
    /// Makes a connection: both its ends.
    pub(crate) fn open(&self) -> Result<Ends, CheckError> {
        let number = self.next_number();
        if self.matching == Matching::ByNumber {
            return self.open_as(Some(number), number);
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let said = (self.matching == Matching::OneByOne).then_some(number);
        let mut ends = self.open_as(said, NEXT)?;
        let deadline = self.bounds.next("what the service reads first");
        ends.service.set_deadline(deadline);
        self.connector.preamble(&mut ends.service, &ends.client)?;
        let Some(number) = said else {
            return Ok(ends);
        };
        let mut came = [0; 8];
        ends.service.read_exact(&mut came).map_err(|error| {
            CheckError::failed(format!(
                "the service cannot read the first 8 bytes: {error}"
            ))
        })?;
        match came == number.to_be_bytes() {
            true => Ok(ends),
            false => Err(other_bytes()),
        }
    }

    fn next_number(&self) -> u64 {
        let opened = self.opened.fetch_add(1, Ordering::SeqCst);
        self.salt.wrapping_add(opened)
    }

    /// A connection on which the client says `number`; its other end is waited for as `name`.
    fn open_as(&self, number: Option<u64>, name: u64) -> Result<Ends, CheckError> {
        let deadline = self.bounds.next("a connection through the program");
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let mut client = match first {
            Some(mut stream) => {
                stream.set_deadline(deadline);
                stream
            }
            None => self.connect(&deadline)?,
        };
        self.wait_as(name);
        // Looked at behind that: a failure from now on ends the wait.
        self.go_on()?;
        let target = Target::Address(self.connector.route.service);
        self.connector.handshake(&mut client, &target, &deadline)?;
        client.forget();
        let mut opener = None;
        if let Some(number) = number {
            client.write_all(&number.to_be_bytes()).map_err(|error| {
                CheckError::failed(format!("the client cannot send its first 8 bytes: {error}"))
            })?;
        } else {
            opener = Some(self.connector.speak_if_waited_for(&mut client));
        }
        // Looks rarely whether the client was closed: a hundred that look often take a machine's time.
        let mut look = LOOK;
        loop {
            // Looked at first: what has ended may have connected before.
            let has_ended = client.has_ended();
            let wait = Deadline::new(look.min(deadline.remaining()), "the service's end");
            if let Some(mut service) = self.other_end(name, &wait)? {
                if let Some(opener) = opener {
                    service.set_deadline(deadline);
                    opener.take(&mut service)?;
                }
                return Ok(Ends { client, service });
            }
            if has_ended {
                return Err(closed());
            }
            look = (2 * look).min(LONGEST_LOOK);
            let expired = |error: io::Error| CheckError::failed(error.to_string());
            deadline.check().map_err(expired)?;
        }
    }

    /// This thread is to be woken, unless the other end is there already.
    fn wait_as(&self, name: u64) {
        let mut waiting = self.waiting();
        if !matches!(waiting.get(&name), Some(Waiting::Service(_))) {
            waiting.insert(name, Waiting::Client(thread::current()));
        }
    }

    /// The service's end of a connection, if it comes in time.
    fn other_end(&self, name: u64, wait: &Deadline) -> Result<Option<Stream>, CheckError> {
        loop {
            let mut waiting = self.waiting();
            if let Some(Waiting::Service(_)) = waiting.get(&name)
                && let Some(Waiting::Service(stream)) = waiting.remove(&name)
            {
                return Ok(Some(stream));
            }
            drop(waiting);
            self.go_on()?;
            let left = wait.remaining();
            if left.is_zero() {
                return Ok(None);
            }
            thread::park_timeout(left);
        }
    }

    fn connect(&self, deadline: &Deadline) -> Result<Stream, CheckError> {
        let mut limit = ATTEMPT;
        loop {
            self.go_on()?;
            let attempt = Deadline::new(limit.min(deadline.remaining()), "a connection");
            limit = (2 * limit).min(LONGEST_ATTEMPT);
            match self.connector.connect(&attempt) {
                Ok(mut stream) => {
                    stream.set_deadline(*deadline);
                    return Ok(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !deadline.expired() => {
                    self.repeated.fetch_add(1, Ordering::SeqCst);
                }
                Err(error) => {
                    let listen = self.connector.route.listen;
                    let message = format!("cannot connect to {listen} again: {error}");
                    return Err(CheckError::failed(message));
                }
            }
        }
    }

    /// Waits until all `size` threads are here.
    pub(crate) fn wait_for_all(&self, size: usize) -> Result<(), CheckError> {
        let deadline = self.bounds.next("all connections to be open at once");
        let mut state = self.state();
        state.here += 1;
        if state.here == size {
            self.changed.notify_all();
        }
        while state.here < size {
            if state.failure.is_some() {
                return Err(given_up());
            }
            let so_far = format!("; {} of {size} are", state.here);
            let left = deadline.remaining();
            if left.is_zero() {
                return Err(CheckError::failed(deadline.error(&so_far).to_string()));
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Reads the number that a connection at the service begins with, and hands it to who waits for it.
    fn match_by_number(&self, mut stream: Stream) {
        if self.matching != Matching::ByNumber {
            let before = self.waiting().insert(NEXT, Waiting::Service(stream));
            if let Some(Waiting::Client(thread)) = before {
                thread.unpark();
            }
            return;
        }
        let mut number = [0; 8];
        if stream.read_exact(&mut number).is_err() {
            // Its client waits, and says so.
            return;
        }
        let number = u64::from_be_bytes(number);
        let mut waiting = self.waiting();
        if let Some(Waiting::Client(thread)) = waiting.remove(&number) {
            waiting.insert(number, Waiting::Service(stream));
            thread.unpark();
            return;
        }
        drop(waiting);
        // Nobody waits any more when all have given up.
        if self.go_on().is_ok() {
            self.fail(other_bytes());
        }
    }

    fn go_on(&self) -> Result<(), CheckError> {
        match self.state().failure {
            Some(_) => Err(given_up()),
            None => Ok(()),
        }
    }

    fn fail(&self, error: CheckError) {
        self.state().failure.get_or_insert(error);
        self.changed.notify_all();
        // Whoever waits for its service's end waits no more.
        for (_, waits) in self.waiting().drain() {
            if let Waiting::Client(thread) = waits {
                thread.unpark();
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A thread that runs, also if it panics.
struct Busy<'a>(&'a ConnectionGroup<'a>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::SeqCst);
    }
}

fn closed() -> CheckError {
    CheckError::failed(
        "no connection to the service: the program has closed the client's connection",
    )
}

fn other_bytes() -> CheckError {
    CheckError::failed("the service has other bytes than were sent, in the first 8 of a connection")
}

/// Never told: another failure was first.
fn given_up() -> CheckError {
    CheckError::Skipped("given up, as another connection failed".to_owned())
}
