//! What a scripted server's thread shares with the test: the queues, and what came of them.

use std::collections::VecDeque;
use std::fmt;
use std::net::Shutdown;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::DEFAULT_TIMEOUT;
use super::error::ScriptError;
use super::instruction::{Instruction, Queued, Step};
use crate::deadline::Deadline;
use crate::server::host::{Host, Run};
use crate::server::protocol::Lifecycle;
use crate::server::registry::Registry;
use crate::server::wake::Streams;

/// The protocol of a scripted server: whatever the script says.
#[derive(Default)]
pub(super) struct Scripted {
    state: Mutex<State>,
    /// An instruction has ended, or the whole script.
    changed: Condvar,
}

/// So many instructions may wait, and so many connections may be scripted.
const MOST_WAITING: usize = 1_000_000;
const MOST_LANES: usize = 10_000;

/// What a closure gets beyond its time before a join gives it up. It cannot be ended from outside.
const CLOSURE_GRACE: Duration = Duration::from_secs(1);

/// What a stop whose own time is over gives the thread for its last look.
const LAST_LOOK: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct State {
    lanes: Vec<Lane>,
    /// Instructions that were ever queued since the start: the number of the last one.
    numbered: usize,
    /// Those that wait or run.
    unfinished: usize,
    life: Life,
    /// What the test has set as the default timeout.
    timeout: Option<Duration>,
    failure: Option<ScriptError>,
    /// Whether the test has been told of the failure.
    reported: bool,
    /// The closure of the test's that runs now.
    closure: Option<(Arc<Queued>, Deadline)>,
    /// The number of the last `expect_connections` that is done.
    brought: usize,
    waker: Option<Arc<mio::Waker>>,
    registry: Option<Arc<Registry>>,
}

/// The instructions of one connection.
#[derive(Default)]
struct Lane {
    waiting: VecDeque<Arc<Queued>>,
    running: Option<Arc<Queued>>,
    /// Whether an instruction that brings its connection has been queued.
    is_planned: bool,
    /// The number of the last `expect_connections` that was queued for it.
    after: usize,
}

/// How far the server's life has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Life {
    /// Instructions may come.
    #[default]
    Open,
    /// None will come: the server ends when all are done.
    Finishing,
    /// None will come: the server ends when all are done, whoever is still connected.
    Stopping,
    /// The thread has ended.
    Ended,
    /// The test has stopped it, and may restart it.
    Stopped,
}

impl Lifecycle for Scripted {
    // Its thread may be in a closure of the test's, which need not end.
    const GRACE: Duration = Duration::from_secs(1);
    const NAME: &'static str = "scripted";
    const TARGET: &'static str = "loopback::scripted";
    const NOUN: &'static str = "nothing";
    type Kind = Streams;
    type Options = ();
    type Item = ();

    fn size_of((): &()) -> usize {
        0
    }

    fn describe((): &()) -> String {
        Self::NOUN.into()
    }

    fn run(run: Run<Scripted>) {
        super::run::run(run);
    }
}

/// The test's side.
impl Host<Scripted> {
    /// Queues an instruction. After a failure it is dropped; after a stop it is the failure.
    pub(super) fn queue(&self, step: Step) {
        let mut state = self.state();
        if state.failure.is_some() {
            return;
        }
        state.numbered += 1;
        let lane = step.lane;
        let mut queued = Queued {
            number: Some(state.numbered),
            step,
            after: 0,
            is_early: false,
        };
        if let Err(why) = state.admit(&mut queued) {
            let heading = format!("{queued} cannot be queued");
            self.settle(state, ScriptError::new(&self.name(), &queued, heading, why));
            return;
        }
        state.lanes[lane].waiting.push_back(Arc::new(queued));
        state.unfinished += 1;
        state.wake();
    }

    /// Waits until all that is queued is done, and gives the first failure.
    pub(super) fn join(&self) -> Result<(), ScriptError> {
        self.wait(None);
        self.reported()
    }

    /// Waits until all that is queued is done, or the deadline; what is not done then has failed. The
    /// thread has a last look at its clients.
    pub(super) fn stop(&self, deadline: &Deadline) {
        if !self.wait(Some(deadline)) {
            self.give_up(&format!(
                "the stop's time of {:?} was over before",
                deadline.limit()
            ));
        }
        self.begin(Life::Stopping);
        // It has only to get its turn.
        let time = deadline.remaining().max(LAST_LOOK);
        self.wait(Some(&Deadline::new(time, "the last look")));
        self.state().life = Life::Stopped;
    }

    /// Says that no more instructions will come, so that the implied disconnects are expected.
    pub(super) fn begin_end(&self) {
        self.begin(Life::Finishing);
    }

    fn begin(&self, end: Life) {
        let mut state = self.state();
        if state.life == Life::Open {
            state.life = end;
            state.wake();
        }
    }

    /// Waits for the end that was begun.
    pub(super) fn wait_end(&self) {
        self.wait(None);
    }

    /// What is not done has failed for this reason.
    pub(super) fn give_up(&self, why: &str) {
        let state = self.state();
        let running = state.lanes.iter().find_map(|lane| lane.running.as_ref());
        let waiting = state.lanes.iter().find_map(|lane| lane.waiting.front());
        if let Some(queued) = running.or(waiting).map(Arc::clone) {
            let heading = format!("{queued} was not done");
            self.settle(state, ScriptError::new(&self.name(), &queued, heading, why));
        }
    }

    /// The failure, which the test is told of by this.
    pub(super) fn reported(&self) -> Result<(), ScriptError> {
        let mut state = self.state();
        state.reported = state.failure.is_some();
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// The failure, if the test has not been told of it yet.
    pub(super) fn take_unreported(&self) -> Option<ScriptError> {
        let mut state = self.state();
        let is_new = state.failure.is_some() && !state.reported;
        state.reported |= is_new;
        state.failure.clone().filter(|_| is_new)
    }

    /// Forgets the script and what came of it, for a new run.
    pub(super) fn reset(&self) {
        let mut state = self.state();
        *state = State {
            timeout: state.timeout,
            ..State::default()
        };
    }

    /// What the instructions have that are queued without a timeout.
    pub(super) fn timeout(&self) -> Duration {
        self.state().timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// Waits until its thread has ended, which after a stop only a closure holds up; false after `limit`.
    pub(super) fn wait_thread(&self, limit: Duration) -> bool {
        let is_there = |state: &mut State| state.waker.is_some();
        let waited = self
            .protocol
            .changed
            .wait_timeout_while(self.state(), limit, is_there);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.waker.is_none()
    }

    pub(super) fn set_timeout(&self, timeout: Duration) {
        self.state().timeout = Some(timeout);
    }

    /// Waits until everything is done or has failed; false at the deadline.
    fn wait(&self, deadline: Option<&Deadline>) -> bool {
        let mut state = self.state();
        while !state.is_done() {
            if state.life == Life::Ended {
                // Only a defect of this crate's ends the thread without a failure.
                let heading = "its thread ended before the script";
                self.settle(state, ScriptError::of_server(&self.name(), heading, ""));
                return true;
            }
            let mut left = Duration::from_millis(500);
            if let Some(deadline) = deadline {
                if deadline.expired() {
                    return false;
                }
                left = left.min(deadline.remaining());
            }
            if let Some((queued, bound)) = &state.closure
                && bound.elapsed() > bound.limit().saturating_add(CLOSURE_GRACE)
            {
                let queued = Arc::clone(queued);
                let heading = format!("{queued} failed");
                let text = format!(
                    "its closure still runs {:?} after it began; its limit is {:?}",
                    bound.limit().saturating_add(CLOSURE_GRACE),
                    bound.limit()
                );
                // The thread cannot close them, and clients that wait have to go on.
                if let Some(registry) = &state.registry {
                    registry.shut_all(Shutdown::Both);
                }
                self.settle(
                    state,
                    ScriptError::new(&self.name(), &queued, heading, text),
                );
                return true;
            }
            state = self
                .protocol
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.protocol.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the first failure, drops what was queued, and wakes everybody.
    fn settle(&self, mut state: MutexGuard<'_, State>, error: ScriptError) {
        if state.failure.is_none() {
            log::warn!(target: Scripted::TARGET, "{error}");
            state.failure = Some(error);
        }
        for lane in &mut state.lanes {
            lane.waiting.clear();
        }
        state.unfinished = 0;
        state.wake();
        self.protocol.changed.notify_all();
    }
}

/// The server thread's side.
impl Host<Scripted> {
    /// How the thread is woken, and where its connections are.
    pub(super) fn set_thread(&self, waker: Arc<mio::Waker>, registry: Arc<Registry>) {
        let mut state = self.state();
        state.waker = Some(waker);
        state.registry = Some(registry);
    }

    /// How many connections are scripted so far; at least the one.
    pub(super) fn lanes(&self) -> usize {
        self.state().lanes.len().max(1)
    }

    /// The next instruction of a lane. `expect_connections` waits for what was queued before it on
    /// the connections that it brings, and what was queued after it waits for it.
    pub(super) fn next(&self, lane: usize) -> Option<Arc<Queued>> {
        let mut state = self.state();
        let first = state.lanes.get(lane)?.waiting.front()?;
        if first.after > state.brought {
            return None;
        }
        if let Instruction::ExpectConnections(count) = first.step.what {
            let is_before = |queued: &Arc<Queued>| queued.number < first.number;
            let mut others = state.lanes.iter().take(count);
            if others.any(|other| other.unfinished().any(is_before)) {
                return None;
            }
        }
        let lane = &mut state.lanes[lane];
        lane.running = lane.waiting.pop_front();
        lane.running.clone()
    }

    /// The instruction of this lane that ran is done.
    pub(super) fn done(&self, lane: usize) {
        let mut state = self.state();
        if let Some(lane) = state.lanes.get_mut(lane)
            && let Some(queued) = lane.running.take()
        {
            // After a failure none is left to count.
            state.unfinished = state.unfinished.saturating_sub(1);
            if let (Instruction::ExpectConnections(_), Some(number)) =
                (&queued.step.what, queued.number)
            {
                state.brought = number;
            }
        }
        if state.unfinished == 0 {
            self.protocol.changed.notify_all();
        }
    }

    /// Whether no more instructions will come, and none is left.
    pub(super) fn is_finishing(&self) -> bool {
        let state = self.state();
        state.life == Life::Finishing && state.unfinished == 0
    }

    /// Whether the test stops it, and no instruction is left.
    pub(super) fn is_stopping(&self) -> bool {
        let state = self.state();
        state.life == Life::Stopping && state.unfinished == 0
    }

    /// Whether an instruction is left that takes a client who has connected.
    pub(super) fn expects_connect(&self) -> bool {
        let takes_one = |queued: &Arc<Queued>| {
            matches!(
                queued.step.what,
                Instruction::ExpectConnect | Instruction::ExpectConnections(_)
            )
        };
        let state = self.state();
        let mut lanes = state.lanes.iter();
        lanes.any(|lane| lane.running.iter().chain(&lane.waiting).any(takes_one))
    }

    /// How long a client may wait that none of them is for. A test that wants its failures sooner
    /// still gets the time to queue one.
    pub(super) fn patience(&self) -> Duration {
        self.timeout().max(DEFAULT_TIMEOUT)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.state().failure.is_some()
    }

    pub(super) fn failed(&self, error: ScriptError) {
        self.settle(self.state(), error);
    }

    /// Runs a closure of the test's, so that who waits can tell when it takes too long.
    pub(super) fn with_closure<T>(
        &self,
        queued: &Arc<Queued>,
        deadline: &Deadline,
        run: impl FnOnce() -> T,
    ) -> T {
        self.state().closure = Some((Arc::clone(queued), *deadline));
        let outcome = run();
        self.state().closure = None;
        outcome
    }

    /// The thread has ended.
    pub(super) fn note_ended(&self) {
        let mut state = self.state();
        if state.life != Life::Stopped {
            state.life = Life::Ended;
        }
        state.waker = None;
        state.registry = None;
        self.protocol.changed.notify_all();
    }
}

impl Lane {
    /// What runs and what waits for it first; the rest has higher numbers.
    fn unfinished(&self) -> impl Iterator<Item = &Arc<Queued>> {
        self.running.iter().chain(self.waiting.front())
    }
}

impl State {
    /// Whether an instruction may be queued, and which kind of it; or why not.
    fn admit(&mut self, queued: &mut Queued) -> Result<(), String> {
        match self.life {
            Life::Open => {}
            Life::Stopping | Life::Stopped => {
                return Err("the server is stopped, and has to be restarted first".to_owned());
            }
            Life::Finishing | Life::Ended => return Err("the server has ended".to_owned()),
        }
        queued.step.what.check()?;
        if self.unfinished >= MOST_WAITING {
            return Err(format!("{MOST_WAITING} instructions are waiting already"));
        }
        let lanes = match queued.step.what {
            Instruction::ExpectConnections(count) => count.max(queued.step.lane + 1),
            _ => queued.step.lane.saturating_add(1),
        };
        if lanes > MOST_LANES {
            return Err(format!("at most {MOST_LANES} connections can be scripted"));
        }
        if self.lanes.len() < lanes {
            self.lanes.resize_with(lanes, Lane::default);
        }
        queued.after = self.lanes[queued.step.lane].after;
        match queued.step.what {
            Instruction::ExpectConnect => self.lanes[queued.step.lane].is_planned = true,
            Instruction::ExpectConnections(count) => {
                for lane in &mut self.lanes[..count] {
                    lane.is_planned = true;
                    lane.after = self.numbered;
                }
            }
            Instruction::Pause(_) | Instruction::ExpectNoConnection(_) => {}
            _ => queued.is_early = !self.lanes[queued.step.lane].is_planned,
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.failure.is_some()
            || match self.life {
                Life::Open | Life::Stopped | Life::Ended => self.unfinished == 0,
                Life::Finishing | Life::Stopping => false,
            }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker
            && let Err(error) = waker.wake()
        {
            // It still looks after its poll interval.
            log::debug!(target: Scripted::TARGET, "cannot wake the server's thread: {error}");
        }
    }
}

impl fmt::Debug for Scripted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Scripted")
            .field("queued", &state.numbered)
            .field("unfinished", &state.unfinished)
            .field("failure", &state.failure)
            .finish_non_exhaustive()
    }
}
