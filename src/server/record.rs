//! What arrived at a server, in order, until the test takes it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline::{Deadline, prose};

/// A bounded queue of what arrived.
///
/// An item is listed when it arrives, before it is answered: a client that has its answer finds its
/// request listed. It can be taken when it is answered: who waits for it may stop the server at once,
/// and the client must have its answer by then.
///
/// A full record keeps what it has: later items are counted, not kept, and a take that finds nothing
/// left says so.
pub(crate) struct Record<T> {
    state: Mutex<State<T>>,
    /// Who waits for an item to be answered. Counted outside of the lock, so that an answer takes the
    /// lock, and a system call, only where somebody waits.
    waiting: AtomicUsize,
    changed: Condvar,
    limit: Limit,
    /// What one item is called in messages: "a request".
    noun: &'static str,
}

/// How much a record keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

struct State<T> {
    items: VecDeque<Item<T>>,
    /// The size of the items.
    bytes: usize,
    /// How many arrived.
    total: u64,
    not_kept: u64,
    stopped: bool,
}

struct Item<T> {
    value: T,
    bytes: usize,
    answered: Arc<AtomicBool>,
}

impl<T> Item<T> {
    fn is_answered(&self) -> bool {
        self.answered.load(Ordering::SeqCst)
    }
}

/// An item that is listed and not answered yet; it can be taken from when this is dropped.
pub(crate) struct Unanswered<'a, T> {
    record: &'a Record<T>,
    answered: Arc<AtomicBool>,
}

impl<T> Record<T> {
    pub(crate) fn new(limit: Limit, noun: &'static str) -> Record<T> {
        Record {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                total: 0,
                not_kept: 0,
                stopped: false,
            }),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            limit,
            noun,
        }
    }

    /// Lists an item of so many bytes.
    #[must_use = "the item is answered when this is dropped"]
    pub(crate) fn list(&self, value: T, bytes: usize) -> Unanswered<'_, T> {
        let answered = Arc::new(AtomicBool::new(false));
        let mut state = self.lock();
        state.total += 1;
        let fits = bytes <= self.limit.bytes.saturating_sub(state.bytes);
        if fits && state.items.len() < self.limit.items {
            state.bytes += bytes;
            state.items.push_back(Item {
                value,
                bytes,
                answered: Arc::clone(&answered),
            });
        } else {
            state.not_kept += 1;
        }
        Unanswered {
            record: self,
            answered,
        }
    }

    /// Takes the first item that is answered, waiting for one at most `timeout`. A stopped server's
    /// record is no longer waited for.
    pub(crate) fn take(&self, timeout: Duration) -> io::Result<T> {
        let deadline = Deadline::new(timeout, self.noun);
        let _waits = self.wait_counted();
        let mut state = self.lock();
        loop {
            if let Some(value) = state.take_first() {
                return Ok(value);
            }
            state = self.wait(state, &deadline, "")?;
        }
    }

    /// Takes the first item that is answered and that `is_wanted` accepts, waiting for one at most
    /// `timeout`; the others stay.
    pub(crate) fn take_where(
        &self,
        mut is_wanted: impl FnMut(&T) -> bool,
        timeout: Duration,
    ) -> io::Result<T> {
        let deadline = Deadline::new(timeout, self.noun);
        let _waits = self.wait_counted();
        let mut state = self.lock();
        loop {
            if let Some(value) = state.take_first_where(&mut is_wanted) {
                return Ok(value);
            }
            state = self.wait(
                state,
                &deadline,
                "; none of those is the one that is wanted",
            )?;
        }
    }

    /// Takes the first `count` items that are answered, waiting for all of them at most `timeout`:
    /// it takes all or, with an error, none. More than the record keeps never come.
    pub(crate) fn take_many(&self, count: usize, timeout: Duration) -> io::Result<Vec<T>> {
        let deadline = Deadline::new(timeout, self.noun);
        let _waits = self.wait_counted();
        let mut state = self.lock();
        loop {
            let answered = state.items.iter().filter(|item| item.is_answered());
            if answered.take(count).count() == count {
                return Ok((0..count).map_while(|_| state.take_first()).collect());
            }
            let wanted = format!("; {count} were wanted at once");
            state = self.wait(state, &deadline, &wanted)?;
        }
    }

    /// Counts one who waits. It must be counted before it looks: an answer that comes after the look
    /// then sees that somebody waits, and takes the lock to wake it.
    fn wait_counted(&self) -> Waits<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waits(&self.waiting)
    }

    /// Waits until something has changed; an error when nothing more will, or the time is over.
    fn wait<'a>(
        &'a self,
        state: MutexGuard<'a, State<T>>,
        deadline: &Deadline,
        wanted: &str,
    ) -> io::Result<MutexGuard<'a, State<T>>> {
        if state.stopped {
            return Err(prose(
                io::ErrorKind::NotConnected,
                format!(
                    "the server stopped before {} came{state}{wanted}",
                    self.noun
                ),
            ));
        }
        let left = deadline.remaining();
        if left.is_zero() {
            return Err(deadline.error(&format!("{state}{wanted}")));
        }
        // Longer waits than the clock can add are cut to an hour and begun again.
        let waited = self
            .changed
            .wait_timeout(state, left.min(Duration::from_secs(3600)));
        Ok(waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// How many arrived, taken or not, kept or not.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// No more will come: who waits is woken.
    pub(crate) fn set_stopped(&self, stopped: bool) {
        self.lock().stopped = stopped;
        self.wake();
    }

    /// Wakes who waits, if anybody does.
    fn wake(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            // Whoever has looked in vain and not gone to sleep yet holds the lock.
            drop(self.lock());
            self.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Record<T> {
    /// All that arrived and was not taken, answered or not.
    pub(crate) fn all(&self) -> Vec<T> {
        let state = self.lock();
        state.items.iter().map(|item| item.value.clone()).collect()
    }
}

impl<T> Drop for Unanswered<'_, T> {
    fn drop(&mut self) {
        self.answered.store(true, Ordering::SeqCst);
        self.record.wake();
    }
}

/// One who waits, until this is dropped.
struct Waits<'a>(&'a AtomicUsize);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<T> State<T> {
    fn take_first(&mut self) -> Option<T> {
        self.take_first_where(|_| true)
    }

    fn take_first_where(&mut self, mut is_wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let mut items = self.items.iter();
        let at = items.position(|item| item.is_answered() && is_wanted(&item.value))?;
        let item = self.items.remove(at)?;
        self.bytes -= item.bytes;
        Some(item.value)
    }
}

/// What had come so far, for the message of a take that found nothing.
impl<T> fmt::Display for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = self.items.len() as u64;
        let waiting = self.items.iter().filter(|item| item.is_answered()).count() as u64;
        let unanswered = kept - waiting;
        let taken = self.total - self.not_kept - kept;
        match (taken, waiting) {
            (0, 0) => f.write_str("; none came so far")?,
            (0, n) => write!(f, "; {n} came and can be taken")?,
            (n, 0) => write!(f, "; {n} came before and were taken")?,
            (n, m) => write!(
                f,
                "; {n} came before and were taken, {m} came and can be taken"
            )?,
        }
        if unanswered > 0 {
            write!(f, ", {unanswered} came and were not answered yet")?;
        }
        if self.not_kept > 0 {
            write!(
                f,
                ", {} more were not kept because the record was full (builder().record_limit and record_bytes)",
                self.not_kept
            )?;
        }
        Ok(())
    }
}

impl<T> fmt::Debug for Record<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Record")
            .field("kept", &state.items.len())
            .field("total", &state.total)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Unanswered<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unanswered({:?})", self.answered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(items: usize) -> Limit {
        Limit { items, bytes: 100 }
    }

    #[test]
    fn bytes_are_limited_too_and_taking_makes_room() {
        let record = Record::new(limit(10), "a thing");
        for (value, bytes) in [(1, 60), (2, 41), (3, 40), (4, 1)] {
            drop(record.list(value, bytes));
        }
        assert_eq!(record.all(), [1, 3]);
        record.take(Duration::ZERO).unwrap();
        drop(record.list(5, 60));
        drop(record.list(6, 0));
        assert_eq!(record.all(), [3, 5, 6]);
        assert_eq!(record.total(), 6);
    }

    #[test]
    fn items_come_out_in_order_and_once() {
        let record = Record::new(limit(10), "a thing");
        drop(record.list(1, 0));
        drop(record.list(2, 0));
        assert_eq!(record.all(), [1, 2]);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
        assert_eq!(record.all(), [2]);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
        assert_eq!(record.total(), 2);
    }

    #[test]
    fn an_item_is_listed_at_once_and_taken_when_answered() {
        let record = Record::new(limit(10), "a thing");
        let slow = record.list(1, 0);
        let quick = record.list(2, 0);
        assert_eq!(record.all(), [1, 2]);
        assert_eq!(
            record.take(Duration::ZERO).unwrap_err().to_string(),
            "timed out after 0ns waiting for a thing; none came so far, 2 came and were not answered yet"
        );
        drop(quick);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
        drop(slow);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
    }

    #[test]
    fn a_take_that_finds_nothing_says_what_came() {
        let record = Record::new(limit(1), "a thing");
        let message = |record: &Record<i32>| record.take(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(
            message(&record),
            "timed out after 0ns waiting for a thing; none came so far"
        );
        drop(record.list(1, 0));
        drop(record.list(2, 0));
        record.take(Duration::ZERO).unwrap();
        assert_eq!(
            message(&record),
            "timed out after 0ns waiting for a thing; 1 came before and were taken, \
             1 more were not kept because the record was full (builder().record_limit and record_bytes)"
        );
        record.set_stopped(true);
        assert!(
            message(&record).starts_with("the server stopped before a thing came; 1 came before")
        );
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let record = Record::new(limit(10), "a thing");
        let quick = [record.list(1, 10), record.list(3, 10)];
        let slow = record.list(2, 10);
        drop(quick);
        let message = |count| {
            let error = record.take_many(count, Duration::ZERO).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(3),
            "timed out after 0ns waiting for a thing; 2 came and can be taken, \
             1 came and were not answered yet; 3 were wanted at once"
        );
        assert_eq!(record.all(), [1, 3, 2]);
        assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [1, 3]);
        drop(slow);
        drop(record.list(4, 10));
        assert_eq!(
            message(3),
            "timed out after 0ns waiting for a thing; 2 came before and were taken, \
             2 came and can be taken; 3 were wanted at once"
        );
        record.set_stopped(true);
        assert!(message(3).starts_with("the server stopped before a thing came; 2 "));
        assert!(record.take_many(0, Duration::ZERO).unwrap().is_empty());
        assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [2, 4]);
        // What was taken has made room.
        drop(record.list(5, 100));
        assert_eq!(record.all(), [5]);
    }

    #[test]
    fn the_one_that_is_wanted_is_taken_and_the_others_stay() {
        let record = Record::new(limit(10), "a thing");
        for value in 1..=4 {
            drop(record.list(value, 0));
        }
        let unanswered = record.list(6, 0);
        let even = |value: &i32| value % 2 == 0;
        assert_eq!(record.take_where(even, Duration::ZERO).unwrap(), 2);
        assert_eq!(record.take_where(even, Duration::ZERO).unwrap(), 4);
        let error = record.take_where(even, Duration::ZERO).unwrap_err();
        assert_eq!(
            error.to_string(),
            "timed out after 0ns waiting for a thing; 2 came before and were taken, 2 came and can be \
             taken, 1 came and were not answered yet; none of those is the one that is wanted"
        );
        assert_eq!(record.all(), [1, 3, 6]);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| record.take_where(even, Duration::from_secs(60)));
            drop(unanswered);
            assert_eq!(waiter.join().unwrap().unwrap(), 6);
        });
    }

    #[test]
    fn who_waits_for_many_gets_those_that_come_later() {
        let record = Record::new(limit(10), "a thing");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| record.take_many(3, Duration::from_secs(60)));
            for value in 1..=3 {
                drop(record.list(value, 0));
            }
            assert_eq!(waiter.join().unwrap().unwrap(), [1, 2, 3]);
        });
    }

    #[test]
    fn answering_and_stopping_wake_who_waits() {
        let record = Record::new(limit(1), "a thing");
        let wait = || record.take(Duration::from_secs(60));
        std::thread::scope(|scope| {
            let item = record.list(7, 0);
            let waiter = scope.spawn(wait);
            drop(item);
            assert_eq!(waiter.join().unwrap().unwrap(), 7);
            let waiter = scope.spawn(wait);
            record.set_stopped(true);
            assert!(waiter.join().unwrap().is_err());
        });
    }
}
