//! What arrived at a server, in order, until the test takes it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::deadline::Deadline;

/// A bounded queue of what arrived. A full record keeps what it has: later items are counted, not
/// kept, and a take that finds nothing left says so.
pub(crate) struct Record<T> {
    state: Mutex<State<T>>,
    arrived: Condvar,
    limit: usize,
    /// What one item is called in messages: "request".
    noun: &'static str,
}

struct State<T> {
    items: VecDeque<T>,
    total: u64,
    not_kept: u64,
    stopped: bool,
    /// Waking nobody would still cost a system call an item.
    waiting: usize,
}

impl<T> Record<T> {
    pub(crate) fn new(limit: usize, noun: &'static str) -> Record<T> {
        Record {
            state: Mutex::new(State {
                items: VecDeque::new(),
                total: 0,
                not_kept: 0,
                stopped: false,
                waiting: 0,
            }),
            arrived: Condvar::new(),
            limit,
            noun,
        }
    }

    /// Adds an item and wakes who waits for one.
    pub(crate) fn push(&self, item: T) {
        let mut state = self.lock();
        state.total += 1;
        if state.items.len() < self.limit {
            state.items.push_back(item);
        } else {
            state.not_kept += 1;
        }
        if state.waiting > 0 {
            self.arrived.notify_all();
        }
    }

    /// Takes the oldest item, waiting for one at most `timeout`. A stopped server's record is no
    /// longer waited for.
    pub(crate) fn take(&self, timeout: Duration) -> io::Result<T> {
        let deadline = Deadline::new(timeout, self.noun);
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Ok(item);
            }
            let left = deadline.remaining();
            if state.stopped {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    format!("the server stopped before {} came{state}", self.noun),
                ));
            }
            if left.is_zero() {
                return Err(deadline.error(&state.to_string()));
            }
            state.waiting += 1;
            state = self
                .arrived
                // Longer waits than the clock can add are cut to an hour and begun again.
                .wait_timeout(state, left.min(Duration::from_secs(3600)))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting -= 1;
        }
    }

    /// How many arrived, taken or not, kept or not.
    pub(crate) fn total(&self) -> u64 {
        self.lock().total
    }

    /// No more will come: who waits is woken.
    pub(crate) fn set_stopped(&self, stopped: bool) {
        self.lock().stopped = stopped;
        self.arrived.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> Record<T> {
    /// All that arrived and was not taken.
    pub(crate) fn all(&self) -> Vec<T> {
        self.lock().items.iter().cloned().collect()
    }
}

/// What had come so far, for the message of a take that found nothing.
impl<T> fmt::Display for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total - self.not_kept {
            0 => f.write_str("; none came so far")?,
            n => write!(f, "; {n} came before and were taken")?,
        }
        if self.not_kept > 0 {
            write!(
                f,
                ", {} more were not kept because the record was full (builder().record_limit)",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_out_in_order_and_once() {
        let record = Record::new(10, "a thing");
        record.push(1);
        record.push(2);
        assert_eq!(record.all(), [1, 2]);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
        assert_eq!(record.all(), [2]);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
        assert_eq!(record.total(), 2);
    }

    #[test]
    fn a_take_that_finds_nothing_says_what_came() {
        let record = Record::new(1, "a thing");
        let message = |record: &Record<i32>| record.take(Duration::ZERO).unwrap_err().to_string();
        assert_eq!(
            message(&record),
            "timed out after 0ns waiting for a thing; none came so far"
        );
        record.push(1);
        record.push(2);
        record.take(Duration::ZERO).unwrap();
        assert_eq!(
            message(&record),
            "timed out after 0ns waiting for a thing; 1 came before and were taken, \
             1 more were not kept because the record was full (builder().record_limit)"
        );
        record.set_stopped(true);
        assert!(
            message(&record).starts_with("the server stopped before a thing came; 1 came before")
        );
    }

    #[test]
    fn stopping_wakes_who_waits() {
        let record = Record::<i32>::new(1, "a thing");
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| record.take(Duration::from_secs(60)));
            record.set_stopped(true);
            assert!(waiter.join().unwrap().is_err());
        });
    }
}
