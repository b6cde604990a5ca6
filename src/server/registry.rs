//! The connections that are open, and what each is doing: who to shut when the server stops, and
//! whom to name when it cannot.

use std::net::Shutdown;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::failure::StuckHandler;
use super::yield_until;
use crate::deadline::Deadline;
use crate::net::live::Live;

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
        let mut stuck: Vec<_> = self.lock().live.iter().map(|live| stuck(live)).collect();
        stuck.sort_by_key(|handler| std::cmp::Reverse(handler.age));
        stuck
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stuck(live: &Live) -> StuckHandler {
    StuckHandler {
        peer: live.peer.clone(),
        age: live.opened.elapsed(),
        state: live.activity().text(),
        received: live.received.load(Ordering::Relaxed),
        sent: live.sent.load(Ordering::Relaxed),
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
}
