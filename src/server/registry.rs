//! The connections that are open, and what each is doing: who to shut when the server stops, and
//! whom to name when it cannot.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::address::Address;
use super::failure::StuckHandler;
use super::socket::Stream;
use super::yield_until;
use crate::deadline::Deadline;

/// What is known of one connection (or of one datagram being handled) while a handler serves it.
///
/// It does not keep the stream open: that is the handler's `Connection` alone.
///
/// Its own thread writes it with every read and write; the alignment keeps it out of the cache lines
/// of other connections' threads.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Live {
    pub(crate) id: u64,
    pub(crate) peer: Address,
    pub(crate) opened: Instant,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    /// Set when a stop has shut a side of the stream that its client had not closed.
    shut_by_stop: AtomicBool,
    /// Set when the client has been seen to close its side.
    client_ended: AtomicBool,
    /// Set when the handler has said how the connection is to be closed.
    closed_by_handler: AtomicBool,
    /// How much is received at most: all that can have come before a stop shut the reading side. Some
    /// systems take in what a client goes on to send, and its handler would never see the end.
    receives: AtomicU64,
    pub(crate) stop: StopSignal,
    /// The first bytes that were received, where the protocol wants them recorded.
    pub(crate) kept: Mutex<Vec<u8>>,
    pub(crate) keep: usize,
    stream: Weak<Stream>,
    /// An [`Activity`].
    activity: AtomicU8,
}

/// What a connection's handler is doing, for the one who asks why it does not end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Activity {
    /// In code that we know nothing of.
    Handler,
    /// On its way into the handler's code, or out of it for good.
    Server,
    Idle,
    Reading,
    Writing,
    Pausing,
    /// Sending a response, between its writes.
    Answering,
    /// In the reader that gives a response's body.
    ReadingBody,
    Closing,
}

impl Activity {
    const ALL: [Activity; 9] = [
        Activity::Handler,
        Activity::Server,
        Activity::Idle,
        Activity::Reading,
        Activity::Writing,
        Activity::Pausing,
        Activity::Answering,
        Activity::ReadingBody,
        Activity::Closing,
    ];

    fn text(self) -> &'static str {
        match self {
            Activity::Handler => "in the handler's own code",
            Activity::Server => "in the server's own code",
            Activity::Idle => "idle",
            Activity::Reading => "reading",
            Activity::Writing => "writing",
            Activity::Pausing => "pausing",
            Activity::Answering => "sending the response",
            Activity::ReadingBody => "reading the body to send",
            Activity::Closing => "closing the connection",
        }
    }
}

impl Live {
    pub(crate) fn new(
        id: u64,
        peer: Address,
        stream: &Arc<Stream>,
        stop: StopSignal,
        keep: usize,
    ) -> Live {
        Live::with_stream(id, peer, Arc::downgrade(stream), stop, keep)
    }

    /// Without a stream: a datagram.
    pub(crate) fn datagram(id: u64, peer: Address, stop: StopSignal) -> Live {
        let live = Live::with_stream(id, peer, Weak::new(), stop, 0);
        live.set_activity(Activity::Handler);
        live
    }

    /// Makes it the next datagram's, unless somebody still looks at it.
    pub(crate) fn reuse(self: &mut Arc<Live>, id: u64, peer: &Address) {
        match Arc::get_mut(self) {
            Some(live) => {
                live.id = id;
                live.peer.clone_from(peer);
                live.opened = Instant::now();
                *live.received.get_mut() = 0;
                *live.sent.get_mut() = 0;
                *live.activity.get_mut() = Activity::Handler as u8;
            }
            None => *self = Arc::new(Live::datagram(id, peer.clone(), self.stop.clone())),
        }
    }

    fn with_stream(
        id: u64,
        peer: Address,
        stream: Weak<Stream>,
        stop: StopSignal,
        keep: usize,
    ) -> Live {
        Live {
            id,
            peer,
            opened: Instant::now(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            shut_by_stop: AtomicBool::new(false),
            client_ended: AtomicBool::new(false),
            closed_by_handler: AtomicBool::new(false),
            receives: AtomicU64::new(u64::MAX),
            stop,
            kept: Mutex::new(Vec::new()),
            keep,
            stream,
            activity: AtomicU8::new(Activity::Server as u8),
        }
    }

    /// Says what the handler is doing now, and gives back what it was doing. Every read and write does
    /// this, so it is no more than a load and a store; only the connection's own thread writes it.
    pub(crate) fn set_activity(&self, activity: Activity) -> Activity {
        let before = self.activity();
        self.activity.store(activity as u8, Ordering::Relaxed);
        before
    }

    /// Counts bytes that were received and keeps the first of them.
    pub(crate) fn note_received(&self, data: &[u8]) {
        let before = self
            .received
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        if before < self.keep as u64 && !data.is_empty() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = self.keep - kept.len().min(self.keep);
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }

    pub(crate) fn note_sent(&self, count: usize) {
        self.sent.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// Shuts the stream, which is the stop's doing. One that its client has closed already ends by
    /// itself, and what the handler makes of that end is the handler's.
    fn shut(&self, how: Shutdown, poll: &mut Option<mio::Poll>) {
        if let Some(stream) = self.stream.upgrade() {
            if how == Shutdown::Read && stream.peer_has_closed(poll) {
                return;
            }
            let had_come = stream.receive_buffer().unwrap_or_default() as u64;
            let most = self.received.load(Ordering::Relaxed) + had_come;
            self.receives.fetch_min(most, Ordering::Relaxed);
            self.shut_by_stop.store(true, Ordering::Release);
            // The peer may have gone already; there is nothing left to shut then.
            let _ = stream.shutdown(how);
        }
    }

    /// Whether all has been received that had come before a stop.
    pub(crate) fn is_read_out(&self) -> bool {
        self.received.load(Ordering::Relaxed) >= self.receives.load(Ordering::Relaxed)
    }

    /// Whether an end or an error of the stream is the stop's doing.
    pub(crate) fn is_shut_by_stop(&self) -> bool {
        self.shut_by_stop.load(Ordering::Acquire)
    }

    /// The stream's end or its failure was read: the client has gone, unless a stop was first.
    pub(crate) fn note_ended(&self) {
        if !self.is_shut_by_stop() {
            self.client_ended.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the client has been seen to go.
    pub(crate) fn has_client_ended(&self) -> bool {
        self.client_ended.load(Ordering::Relaxed)
    }

    pub(crate) fn note_closed_by_handler(&self) {
        self.closed_by_handler.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_closed_by_handler(&self) -> bool {
        self.closed_by_handler.load(Ordering::Relaxed)
    }

    fn is_open(&self) -> bool {
        self.stream.strong_count() > 0
    }

    /// Whether it is not the test's code that holds it: it has only to take in that it was shut.
    fn is_leaving(&self) -> bool {
        !matches!(self.activity(), Activity::Handler | Activity::ReadingBody)
    }

    /// Whether it neither is in the test's code nor waits for the client.
    fn is_in_own_code(&self) -> bool {
        matches!(
            self.activity(),
            Activity::Server | Activity::Idle | Activity::Answering | Activity::Closing
        )
    }

    fn stuck(&self) -> StuckHandler {
        StuckHandler {
            peer: self.peer.clone(),
            age: self.opened.elapsed(),
            state: self.activity().text(),
            received: self.received.load(Ordering::Relaxed),
            sent: self.sent.load(Ordering::Relaxed),
        }
    }

    fn activity(&self) -> Activity {
        let number = usize::from(self.activity.load(Ordering::Relaxed));
        Activity::ALL
            .get(number)
            .copied()
            .unwrap_or(Activity::Handler)
    }
}

/// Tells everything that waits in a server that it stops. Clones watch the same run of the server.
#[derive(Debug, Clone)]
pub(crate) struct StopSignal {
    /// When the stop has to be done; set when it begins.
    end: Arc<OnceLock<Deadline>>,
    waits: Receiver<()>,
}

/// The part of a stop's timeout that is kept for its end: a quarter, and no more than it can need.
pub(crate) fn stop_reserve(timeout: Duration) -> Duration {
    (timeout / 4).min(Duration::from_millis(250))
}

/// A little more time, at the end of a stop, for code of the test's that is about to end. A machine may stand
/// still for longer than that, or have so much to do that a thread waits for its turn for longer: so what is
/// counted is how often this thread, which waits too, had its own turn in time.
#[derive(Debug)]
pub(crate) struct LastTurns {
    left: u32,
    end: Deadline,
}

/// A tenth of a second in all, on a machine that is not late.
const LAST_TURNS: u32 = 20;
const LAST_TURN: Duration = Duration::from_millis(5);
/// Some systems' clocks tick every 16 ms only.
const IN_TIME: Duration = Duration::from_millis(25);

impl LastTurns {
    pub(crate) fn new() -> LastTurns {
        LastTurns::within(Duration::from_secs(3))
    }

    /// No more than so long in all, however late they come.
    fn within(limit: Duration) -> LastTurns {
        LastTurns {
            left: LAST_TURNS,
            end: Deadline::new(limit, "those that are about to end"),
        }
    }

    pub(crate) fn are_left(&self) -> bool {
        self.left > 0 && !self.end.expired()
    }

    /// Has `wait` wait for that long, unless what it waits for comes before.
    pub(crate) fn take<T>(&mut self, wait: impl FnOnce(Duration) -> T) -> T {
        let begun = Instant::now();
        let outcome = wait(LAST_TURN);
        if begun.elapsed() < IN_TIME {
            self.left = self.left.saturating_sub(1);
        }
        outcome
    }
}

/// The end that stops: dropping it wakes every wait.
#[derive(Debug)]
pub(crate) struct StopSwitch {
    end: Arc<OnceLock<Deadline>>,
    _wakes_by_its_drop: Sender<()>,
}

impl StopSignal {
    pub(crate) fn new() -> (StopSwitch, StopSignal) {
        let (sender, waits) = crossbeam_channel::bounded(0);
        let end = Arc::new(OnceLock::new());
        let switch = StopSwitch {
            end: Arc::clone(&end),
            _wakes_by_its_drop: sender,
        };
        (switch, StopSignal { end, waits })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.end.get().is_some()
    }

    /// Whether the stop has no more time than it needs for its own end.
    pub(crate) fn is_nearly_over(&self) -> bool {
        let nearly = |end: &Deadline| end.remaining() < stop_reserve(end.limit());
        self.end.get().is_some_and(nearly)
    }

    /// Whether the stop has no time left.
    pub(crate) fn is_over(&self) -> bool {
        self.end.get().is_some_and(Deadline::expired)
    }

    /// Waits for `duration`, or until the server stops: then true, early.
    pub(crate) fn wait(&self, duration: Duration) -> bool {
        self.waits.recv_timeout(duration) == Err(RecvTimeoutError::Disconnected)
    }
}

impl StopSwitch {
    /// Begins the stop.
    pub(crate) fn stop(self, deadline: &Deadline) {
        // It is consumed, so nobody has set it before. The drop wakes who waits.
        let _ = self.end.set(*deadline);
    }
}

/// A connection's place in the registry.
#[derive(Debug)]
pub(crate) struct Entry {
    registry: Arc<Registry>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.registry.remove(self.id);
    }
}

/// The live connections of one run of a server.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of their ids. A plain list: entering and leaving it takes no memory, which counts
    /// for datagrams.
    live: Vec<Arc<Live>>,
    /// Connections that outlive their handlers, in the hands of the test.
    kept: Vec<Arc<Live>>,
    /// Whether a stop waits for all to end; waking nobody would still cost a system call.
    awaited: bool,
}

impl Registry {
    /// Enters a connection; it is listed until the entry is dropped, wherever that happens.
    pub(crate) fn enter(self: &Arc<Registry>, live: Arc<Live>) -> Entry {
        let id = live.id;
        let mut state = self.lock();
        // Ids are given out in order, by the one thread that enters; but a datagram that comes beside
        // streams has an id above all of theirs.
        let at = match state.live.last() {
            Some(last) if last.id > id => state.live.partition_point(|live| live.id < id),
            _ => state.live.len(),
        };
        state.live.insert(at, live);
        drop(state);
        Entry {
            registry: Arc::clone(self),
            id,
        }
    }

    fn remove(&self, id: u64) {
        let mut state = self.lock();
        if let Ok(at) = state.live.binary_search_by_key(&id, |live| live.id) {
            let live = state.live.remove(at);
            if live.is_open() {
                state.kept.retain(|live| live.is_open());
                state.kept.push(live);
            }
        }
        if state.awaited && state.live.is_empty() {
            self.ended.notify_all();
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// Shuts every connection that is still there; `Read` lets handlers finish what they write.
    pub(crate) fn shut_all(&self, how: Shutdown) {
        let all: Vec<_> = self.lock().live.clone();
        let mut poll = None;
        for live in all {
            live.shut(how, &mut poll);
        }
    }

    /// Shuts the connections that handlers have given away. Nobody waits for those.
    pub(crate) fn shut_kept(&self) {
        for live in std::mem::take(&mut self.lock().kept) {
            live.shut(Shutdown::Both, &mut None);
        }
    }

    /// Waits until none is left, and says whether that is so.
    pub(crate) fn wait_empty(&self, deadline: &Deadline, reserve: Duration) -> bool {
        yield_until(|| self.len() == 0);
        let mut state = self.lock();
        state.awaited = true;
        while !state.live.is_empty() {
            let left = deadline.remaining().saturating_sub(reserve);
            if left.is_zero() {
                return false;
            }
            state = self
                .ended
                .wait_timeout(state, left.min(Duration::from_secs(3600)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Those that wait in a read or a write, or are in the server's own code: not the test's code holds them.
    pub(crate) fn leaving(&self) -> Vec<u64> {
        let state = self.lock();
        let leaving = state.live.iter().filter(|live| live.is_leaving());
        leaving.map(|live| live.id).collect()
    }

    /// Waits for those that were shut and have only to take it in: on a loaded machine that takes longer than
    /// a short stop, and they would be named although they are gone at once.
    ///
    /// Who is in the server's own code only wants its turn. What those do that were `leaving` when they were
    /// shut is the test's code again, which may take its last steps, and no more. All others get what is left of
    /// the stop's `turns`, for what was about to read or write when it was shut.
    pub(crate) fn wait_leaving(&self, mut leaving: Vec<u64>, turns: &mut LastTurns) {
        let turn = Deadline::new(Duration::from_secs(10), "those in the server's own code");
        let steps = Deadline::new(Duration::from_secs(3), "their last steps");
        leaving.extend(self.leaving());
        let is_awaited = |live: &Arc<Live>| {
            (live.is_in_own_code() && !turn.expired())
                || (leaving.contains(&live.id) && !steps.expired())
        };
        while turns.are_left() || self.lock().live.iter().any(is_awaited) {
            let is_empty = turns.take(|turn| {
                let deadline = Deadline::new(turn, "the next look");
                self.wait_empty(&deadline, Duration::ZERO)
            });
            if is_empty {
                return;
            }
        }
    }

    /// Those that are still there, the oldest first.
    pub(crate) fn stuck(&self) -> Vec<StuckHandler> {
        let mut stuck: Vec<_> = self.lock().live.iter().map(|live| live.stuck()).collect();
        stuck.sort_by_key(|handler| std::cmp::Reverse(handler.age));
        stuck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_that_come_late_do_not_count() {
        assert!(!LastTurns::within(Duration::ZERO).are_left());
        let mut turns = LastTurns::within(Duration::from_secs(3600));
        for _ in 0..2 * LAST_TURNS {
            turns.take(|_| std::thread::sleep(IN_TIME));
        }
        assert!(turns.are_left());
        // A turn of this loop may be late too.
        let mut in_time = 0;
        while turns.are_left() && in_time < 1000 {
            turns.take(|turn| assert_eq!(turn, LAST_TURN));
            in_time += 1;
        }
        assert!((LAST_TURNS..1000).contains(&in_time), "{in_time}");
    }

    #[test]
    fn activities_are_listed_by_their_numbers() {
        for (number, activity) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(activity as usize, number);
        }
    }
}
