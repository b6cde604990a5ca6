//! The thread of a scripted server. It alone owns the listener and the connections.
//!
//! It goes on with the instruction of each lane as far as that goes, and then sleeps in a poll until
//! a socket is ready, an instruction's time is over, or the waker tells of a new instruction, a
//! failure or a stop. Nothing but a closure of the test's can block it.

use std::io;
use std::ops::Range;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Interest, Token};

use super::DEFAULT_TIMEOUT;
use super::error::ScriptError;
use super::guest::{Current, Guest, Progress};
use super::instruction::{Instruction, Queued, Step};
use super::state::Scripted;
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::net::address::Address;
use crate::net::live::{Activity, Live};
use crate::net::socket::{BoundSocket, Stream};
use crate::net::stop::StopSignal;
use crate::server::host::{Host, Run};
use crate::server::protocol::Lifecycle;
use crate::server::registry::Registry;
use crate::server::streams::{FIRST_PARKED, LISTENER};

/// How long a client may take to close its connection that has opened the next one already, before
/// that one counts as a second.
const LEAVING: Duration = Duration::from_millis(50);

/// How much the poll tells at once.
const EVENTS: usize = 64;

/// Runs until the script has failed or ended, or the server is stopped.
pub(super) fn run(run: Run<Scripted>) {
    let _ended = Ended(Arc::clone(&run.host));
    run.host
        .set_thread(Arc::clone(&run.waker), Arc::clone(&run.registry));
    let mut engine = Engine {
        host: run.host,
        poll: run.wait,
        listener: Some(run.socket),
        stop: run.stop,
        registry: run.registry,
        lanes: Vec::new(),
        next_id: FIRST_PARKED as u64,
        may_accept: true,
        early: None,
    };
    run.ready.set(true);
    if let Err(error) = engine.serve() {
        engine.host.failed(error);
    }
    engine.close();
}

/// Says that the thread has ended, however it ends.
struct Ended(Arc<Host<Scripted>>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.note_ended();
    }
}

struct Engine {
    host: Arc<Host<Scripted>>,
    poll: mio::Poll,
    listener: Option<BoundSocket>,
    stop: StopSignal,
    registry: Arc<Registry>,
    lanes: Vec<Lane>,
    next_id: u64,
    /// Whether somebody may be waiting to be accepted: the poll tells once.
    may_accept: bool,
    /// A client that was accepted before there is an instruction for it.
    early: Option<Early>,
}

/// A client that waits for its `expect_connect`.
struct Early {
    guest: Guest,
    /// The time in which one has to be queued.
    claim: Deadline,
}

/// One scripted connection, and the instruction that runs on it.
#[derive(Default)]
struct Lane {
    guest: Option<Guest>,
    current: Option<Current>,
    /// The last instruction that is done.
    last: Option<Arc<Queued>>,
    /// The instruction that has ended the last connection.
    ended_by: Option<Arc<Queued>>,
    idle: Idle,
}

/// Whether a lane has a client and no instruction.
#[derive(Default)]
enum Idle {
    #[default]
    No,
    Since(Deadline),
    Logged,
}

impl Engine {
    fn serve(&mut self) -> Result<(), ScriptError> {
        let mut events = Events::with_capacity(EVENTS);
        if let Some(listener) = &self.listener {
            let registered = listener.register(self.poll.registry(), LISTENER);
            registered.map_err(|error| self.broken(&error))?;
        }
        while !self.stop.is_set() && !self.host.has_failed() {
            if self.host.is_stopping() {
                return self.look_once(&mut events);
            }
            if self.host.is_finishing() {
                self.imply_disconnects();
            }
            let wait = self.advance()?;
            if self.host.is_finishing() && self.lanes.iter().all(|lane| lane.guest.is_none()) {
                return self.expect_nobody();
            }
            let watched = self.watch(&mut events)?;
            self.sleep(&mut events, wait.min(watched))?;
        }
        Ok(())
    }

    /// Goes on with every lane, and says how long nothing more can happen by itself.
    fn advance(&mut self) -> Result<Duration, ScriptError> {
        let mut wait = self.host.options.poll_interval;
        self.make_lanes(self.host.lanes());
        for index in 0..self.lanes.len() {
            while !self.stop.is_set() && !self.host.has_failed() {
                let next = || self.host.next(index).map(Current::new);
                let Some(mut current) = self.lanes[index].current.take().or_else(next) else {
                    break;
                };
                self.lanes[index].idle = Idle::No;
                match self.step(index, &mut current) {
                    Ok(Progress::Done) => {
                        self.lanes[index].last = Some(current.queued);
                        self.host.done(index);
                        if index > 0 {
                            // The first may have waited for it, to expect connections.
                            wait = Duration::ZERO;
                        }
                    }
                    Ok(Progress::Wait(left)) => {
                        self.lanes[index].current = Some(current);
                        wait = wait.min(left);
                        break;
                    }
                    Err(why) => return Err(self.failed(&current.queued, why)),
                }
            }
            wait = wait.min(self.watch_idle(index));
        }
        Ok(wait)
    }

    /// Logs a client that may wait for what the script does not have, and says when to look again. It
    /// is no failure, for the test may queue more at any time.
    fn watch_idle(&mut self, index: usize) -> Duration {
        let lane = &mut self.lanes[index];
        let (Some(guest), None) = (&lane.guest, &lane.current) else {
            lane.idle = Idle::No;
            return Duration::MAX;
        };
        match &lane.idle {
            Idle::No => {
                lane.idle = Idle::Since(Deadline::new(DEFAULT_TIMEOUT, "an instruction"));
                DEFAULT_TIMEOUT
            }
            Idle::Since(deadline) if deadline.expired() => {
                log::debug!(
                    target: Scripted::TARGET,
                    "{} has had no instruction for {} for {:?}: if the client waits, the script \
                     lacks a send or an end",
                    self.host.name(), guest.peer(), deadline.limit()
                );
                lane.idle = Idle::Logged;
                Duration::MAX
            }
            Idle::Since(deadline) => deadline.remaining(),
            Idle::Logged => Duration::MAX,
        }
    }

    fn make_lanes(&mut self, count: usize) {
        if self.lanes.len() < count {
            self.lanes.resize_with(count, Lane::default);
        }
    }

    fn step(&mut self, index: usize, current: &mut Current) -> Result<Progress, String> {
        let queued = Arc::clone(&current.queued);
        match queued.step.what {
            Instruction::Pause(_) => return Ok(current.wait_out()),
            Instruction::ExpectNoConnection(_) => return self.expect_no_connection(current),
            Instruction::ExpectConnect => return self.connect(index..index + 1, current),
            Instruction::ExpectConnections(count) => return self.connect(0..count, current),
            _ => {}
        }
        let lane = &mut self.lanes[index];
        let Some(guest) = &mut lane.guest else {
            return Err(match &lane.ended_by {
                Some(last) if !queued.is_early => format!(
                    "there is no connection: it ended with {last}, queued at {}",
                    last.step.place
                ),
                _ if index > 0 => format!(
                    "there is no connection({index}): neither its expect_connect nor an \
                     expect_connections of at least {} comes before it",
                    index + 1
                ),
                _ => "no client is connected yet: queue an expect_connect before this".to_owned(),
            });
        };
        let progress = match queued.step.what {
            Instruction::ExpectDisconnect | Instruction::ExpectReset => {
                guest.expect_end(current)?
            }
            Instruction::Disconnect | Instruction::Reset => Progress::Done,
            _ => return guest.step(current, &self.host),
        };
        if progress == Progress::Done
            && let Some(guest) = lane.guest.take()
        {
            lane.ended_by = Some(Arc::clone(&queued));
            match queued.step.what {
                Instruction::Reset => guest.reset()?,
                _ => guest.close(),
            }
        }
        Ok(progress)
    }

    /// Accepts a client for each of these lanes, in order.
    fn connect(&mut self, lanes: Range<usize>, current: &mut Current) -> Result<Progress, String> {
        // The test may have queued this one since the lanes were made.
        self.make_lanes(lanes.end);
        while let Some(lane) = lanes.clone().nth(current.count) {
            if let Some(guest) = &self.lanes[lane].guest {
                return Err(format!(
                    "the connection from {} is still open: expect_disconnect, expect_reset, \
                     disconnect or reset comes first",
                    guest.peer()
                ));
            }
            let Some(guest) = self.accept()? else {
                let came = format!("; {} of {} came", current.count, lanes.len());
                return current.wait(|| if lanes.len() > 1 { came } else { String::new() });
            };
            self.lanes[lane].guest = Some(guest);
            current.count += 1;
        }
        Ok(Progress::Done)
    }

    fn expect_no_connection(&mut self, current: &Current) -> Result<Progress, String> {
        self.may_accept = true;
        let limit = current.deadline.limit();
        match self.first_in_line()? {
            None => Ok(current.wait_out()),
            Some(peer) => Err(format!(
                "a connection came, from {peer}, where none was expected for {limit:?}"
            )),
        }
    }

    /// The client that waits for its `expect_connect`. It stays, so that it is closed only when what
    /// it is told by that is known.
    fn first_in_line(&mut self) -> Result<Option<Address>, String> {
        let Some(guest) = self.accept()? else {
            return Ok(None);
        };
        let peer = guest.peer().clone();
        let claim = Deadline::new(self.host.patience(), "an expect_connect");
        self.early = Some(Early { guest, claim });
        Ok(Some(peer))
    }

    /// Accepts a client that waits, if one does.
    fn accept(&mut self) -> Result<Option<Guest>, String> {
        if let Some(early) = self.early.take() {
            return Ok(Some(early.guest));
        }
        while let (true, Some(listener)) = (self.may_accept, &self.listener) {
            match listener.accept() {
                Ok((stream, peer)) => {
                    let guest = self.welcome(stream, peer);
                    let told = |error| format!("cannot serve the client: {error}");
                    return guest.map(Some).map_err(told);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => self.may_accept = false,
                    // It has gone already, or a signal came.
                    io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::Interrupted => {}
                    _ => return Err(format!("cannot accept a connection: {error}")),
                },
            }
        }
        Ok(None)
    }

    fn welcome(&mut self, stream: Stream, peer: Address) -> io::Result<Guest> {
        let id = self.next_id;
        self.next_id += 1;
        let stream = Arc::new(stream);
        let live = Arc::new(Live::new(id, peer, &stream, self.stop.clone(), 0));
        // Only a closure of the test's can hold it up.
        live.set_activity(Activity::Handler);
        let local = stream.local_address()?;
        let limits = self.host.options.limits;
        let conn = Connection::new(Arc::clone(&stream), Arc::clone(&live), local, limits)?;
        stream.set_nonblocking(true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        stream.register_for(self.poll.registry(), Token(id as usize), both)?;
        log::debug!(target: Scripted::TARGET, "{} accepted {}", self.host.name(), live.peer);
        Ok(Guest {
            conn,
            has_left: false,
            is_half_closed: false,
            is_shut: false,
            _entry: self.registry.enter(live),
        })
    }

    /// Looks for clients that nobody expects, and says how long there is nothing new to see.
    fn watch(&mut self, events: &mut Events) -> Result<Duration, ScriptError> {
        if self.early.is_some() {
            return self.watch_early();
        }
        let first = self.first_in_line();
        let Some(peer) = first.map_err(|why| self.at_fault(why))? else {
            return Ok(Duration::MAX);
        };
        if self.has_room() {
            return self.watch_early();
        }
        // Every scripted connection is open, and here is one more, unless its predecessor is leaving.
        let deadline = Deadline::new(LEAVING, "the last client to leave");
        while !deadline.expired() && !self.has_room() {
            self.sleep(events, deadline.remaining())?;
        }
        match self.has_room() {
            // What came meanwhile is not told again.
            true => Ok(Duration::ZERO),
            false => Err(self.second_connection(&peer)),
        }
    }

    /// A client that is not claimed would wait for ever. One that has closed its side waits for
    /// nothing, and at the end [`expect_nobody`](Self::expect_nobody) judges.
    fn watch_early(&mut self) -> Result<Duration, ScriptError> {
        let Some(early) = &mut self.early else {
            return Ok(Duration::MAX);
        };
        let limit = early.claim.limit();
        if self.host.expects_connect() || self.host.is_finishing() {
            early.claim = Deadline::new(limit, "an expect_connect");
            return Ok(Duration::MAX);
        }
        match early.claim.remaining() {
            _ if early.guest.has_left => Ok(Duration::MAX),
            Duration::ZERO => {
                let peer = early.guest.peer().clone();
                Err(self.at_fault(format!(
                    "a connection that nobody expected, from {peer}: no expect_connect was queued \
                     for it within {limit:?}"
                )))
            }
            left => Ok(left),
        }
    }

    fn second_connection(&self, peer: &Address) -> ScriptError {
        let open: Vec<String> = self
            .lanes
            .iter()
            .filter_map(|lane| Some(lane.guest.as_ref()?.peer().to_string()))
            .collect();
        self.at_fault(match &open[..] {
            [one] => format!(
                "a second connection came, from {peer}, while there was one from {one} already; \
                 expect_connections takes several at once"
            ),
            more => format!(
                "one connection too many came, from {peer}, while there were those from {} already",
                more.join(" and ")
            ),
        })
    }

    /// Whether a client may connect, now or when the script comes to it.
    fn has_room(&self) -> bool {
        let is_taken = |lane: &Lane| lane.guest.as_ref().is_some_and(|guest| !guest.has_left);
        !self.lanes.iter().all(is_taken)
    }

    /// Sleeps until something happens, and notes which clients have left.
    fn sleep(&mut self, events: &mut Events, wait: Duration) -> Result<(), ScriptError> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome.map_err(|error| self.broken(&error))?,
        }
        for event in events.iter() {
            if event.token() == LISTENER {
                self.may_accept = true;
            } else if event.is_read_closed() {
                let lanes = self.lanes.iter_mut();
                let guests = lanes.filter_map(|lane| lane.guest.as_mut());
                let early = self.early.iter_mut().map(|early| &mut early.guest);
                let left = guests
                    .chain(early)
                    .find(|guest| guest.conn.live().id == event.token().0 as u64);
                if let Some(guest) = left {
                    guest.has_left = true;
                }
            }
        }
        Ok(())
    }

    /// Has each client that is still connected disconnect.
    fn imply_disconnects(&mut self) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            if lane.guest.is_some() && lane.current.is_none() {
                let queued = implied(index, self.host.timeout());
                lane.current = Some(Current::new(Arc::new(queued)));
            }
        }
    }

    /// Judges as at any end, but for clients that are connected and quiet: they need not leave.
    fn look_once(&mut self, events: &mut Events) -> Result<(), ScriptError> {
        // For those who have left.
        self.sleep(events, Duration::ZERO)?;
        for index in 0..self.lanes.len() {
            let Some(guest) = &mut self.lanes[index].guest else {
                continue;
            };
            if let Err(why) = guest.has_ended(false) {
                return Err(self.failed(&implied(index, Duration::ZERO), why));
            }
        }
        self.expect_nobody()
    }

    /// Looks for a client that came and was never expected.
    fn expect_nobody(&mut self) -> Result<(), ScriptError> {
        self.may_accept = true;
        let first = self.first_in_line();
        let Some(peer) = first.map_err(|why| self.at_fault(why))? else {
            return Ok(());
        };
        if !self.has_room() {
            return Err(self.second_connection(&peer));
        }
        // One that the script itself has cut off may just have come back.
        let was_cut = |lane: &Lane| {
            let by = lane.ended_by.as_ref().map(|queued| &queued.step.what);
            lane.guest.is_none() && matches!(by, Some(Instruction::Disconnect | Instruction::Reset))
        };
        match self.lanes.iter().any(was_cut) {
            true => Ok(()),
            false => Err(self.at_fault(format!(
                "a connection that nobody expected, from {peer}: the script ended without an \
                 expect_connect for it"
            ))),
        }
    }

    /// The failure of an instruction.
    fn failed(&self, queued: &Queued, why: String) -> ScriptError {
        let heading = format!("{queued} failed");
        ScriptError::new(&self.host.name(), queued, heading, why)
    }

    /// A failure that is no instruction's own; it names the one that runs, or the last one.
    fn at_fault(&self, why: impl Into<String>) -> ScriptError {
        let name = self.host.name();
        let running = |lane: &Lane| {
            lane.current
                .as_ref()
                .map(|current| &current.queued)
                .cloned()
        };
        let last = self.lanes.iter().filter_map(|lane| lane.last.clone());
        if let Some(queued) = self.lanes.iter().find_map(running) {
            let heading = format!("failed during {queued}");
            ScriptError::new(&name, &queued, heading, why)
        } else if let Some(queued) = last.max_by_key(|queued| queued.number) {
            let heading = format!("failed after {queued}");
            ScriptError::new(&name, &queued, heading, why)
        } else {
            ScriptError::of_server(&name, "failed before any instruction", why)
        }
    }

    fn broken(&self, error: &io::Error) -> ScriptError {
        self.at_fault(format!("cannot wait for clients: {error}"))
    }

    /// Closes the listener first, so that a client that comes back finds nobody.
    fn close(mut self) {
        self.listener = None;
        let guests = self.lanes.into_iter().filter_map(|lane| lane.guest);
        for guest in guests.chain(self.early.map(|early| early.guest)) {
            guest.close();
        }
    }
}

/// The disconnect that is expected at the end of a connection that is still open.
fn implied(lane: usize, within: Duration) -> Queued {
    Queued {
        number: None,
        step: Step {
            lane,
            what: Instruction::ExpectDisconnect,
            within,
            place: Location::caller(),
        },
        after: 0,
        is_early: false,
    }
}
