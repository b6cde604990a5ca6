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
/// What the server itself has refused is in the same queue and limit, and is taken and listed apart.
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
    /// Tells one item from another in messages: "GET /path".
    describe: fn(&T) -> String,
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
    accepted: Count,
    refused: Count,
    stopped: bool,
    /// Whether it was said that a list is not all that arrived.
    has_said: bool,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    /// How many arrived.
    total: u64,
    not_kept: u64,
}

struct Item<T> {
    value: T,
    bytes: usize,
    verdict: Verdict,
    answered: Arc<AtomicBool>,
}

/// What the server made of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
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
    pub(crate) fn new(limit: Limit, noun: &'static str, describe: fn(&T) -> String) -> Record<T> {
        Record {
            state: Mutex::new(State {
                items: VecDeque::new(),
                bytes: 0,
                accepted: Count::default(),
                refused: Count::default(),
                stopped: false,
                has_said: false,
            }),
            waiting: AtomicUsize::new(0),
            changed: Condvar::new(),
            limit,
            noun,
            describe,
        }
    }

    /// Lists an item of so many bytes.
    #[must_use = "the item is answered when this is dropped"]
    pub(crate) fn list(&self, value: T, bytes: usize) -> Unanswered<'_, T> {
        self.add(value, bytes, Verdict::Accepted)
    }

    /// Lists an item that the server has refused.
    #[must_use = "the item is answered when this is dropped"]
    pub(crate) fn list_refused(&self, value: T, bytes: usize) -> Unanswered<'_, T> {
        self.add(value, bytes, Verdict::Refused)
    }

    fn add(&self, value: T, bytes: usize, verdict: Verdict) -> Unanswered<'_, T> {
        let answered = Arc::new(AtomicBool::new(false));
        let mut state = self.lock();
        state.count_mut(verdict).total += 1;
        let fits = bytes <= self.limit.bytes.saturating_sub(state.bytes);
        if fits && state.items.len() < self.limit.items {
            state.bytes += bytes;
            state.items.push_back(Item {
                value,
                bytes,
                verdict,
                answered: Arc::clone(&answered),
            });
        } else {
            state.count_mut(verdict).not_kept += 1;
        }
        Unanswered {
            record: self,
            answered,
        }
    }

    /// Takes the first item that is answered, waiting for one at most `timeout`. A stopped server's
    /// record is no longer waited for.
    pub(crate) fn take(&self, timeout: Duration) -> io::Result<T> {
        self.wait_for(
            Verdict::Accepted,
            timeout,
            |state| state.take_first(Verdict::Accepted, |_| true),
            String::new,
        )
    }

    /// As [`take`](Record::take), of what the server has refused.
    pub(crate) fn take_refused(&self, timeout: Duration) -> io::Result<T> {
        self.wait_for(
            Verdict::Refused,
            timeout,
            |state| state.take_first(Verdict::Refused, |_| true),
            String::new,
        )
    }

    /// Takes the first item that is answered and that `is_wanted` accepts, waiting for one at most
    /// `timeout`; the others stay.
    pub(crate) fn take_where(
        &self,
        mut is_wanted: impl FnMut(&T) -> bool,
        timeout: Duration,
    ) -> io::Result<T> {
        self.wait_for(
            Verdict::Accepted,
            timeout,
            |state| state.take_first(Verdict::Accepted, &mut is_wanted),
            || "; none of those is the one that is wanted".into(),
        )
    }

    /// Takes the first `count` items that are answered, waiting for all of them at most `timeout`:
    /// it takes all or, with an error, none. More than the record keeps never come.
    pub(crate) fn take_many(&self, count: usize, timeout: Duration) -> io::Result<Vec<T>> {
        self.wait_for(
            Verdict::Accepted,
            timeout,
            |state| {
                let answered = state
                    .of(Verdict::Accepted)
                    .filter(|item| item.is_answered());
                (answered.take(count).count() == count).then(|| {
                    let next = |_| state.take_first(Verdict::Accepted, |_| true);
                    (0..count).map_while(next).collect()
                })
            },
            || format!("; {count} were wanted at once"),
        )
    }

    /// Waits until `take` finds what it looks for; an error, which ends with what `wanted` says, when
    /// nothing more will come, or the time is over.
    fn wait_for<R>(
        &self,
        verdict: Verdict,
        timeout: Duration,
        mut take: impl FnMut(&mut State<T>) -> Option<R>,
        wanted: impl FnOnce() -> String,
    ) -> io::Result<R> {
        let noun = match verdict {
            Verdict::Accepted => self.noun,
            Verdict::Refused => "a refusal",
        };
        let deadline = Deadline::new(timeout, noun);
        // It must be counted before it looks: an answer that comes after the look then sees that
        // somebody waits, and takes the lock to wake it.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waits = Waits(&self.waiting);
        let mut state = self.lock();
        loop {
            if let Some(taken) = take(&mut state) {
                return Ok(taken);
            }
            if state.stopped {
                let so_far = state.so_far(verdict, self.describe);
                return Err(prose(
                    io::ErrorKind::NotConnected,
                    format!("the server stopped before {noun} came{so_far}{}", wanted()),
                ));
            }
            let left = deadline.remaining();
            if left.is_zero() {
                let so_far = state.so_far(verdict, self.describe);
                return Err(deadline.error(&(so_far + &wanted())));
            }
            // Longer waits than the clock can add are cut to an hour and begun again.
            let waited = self
                .changed
                .wait_timeout(state, left.min(Duration::from_secs(3600)));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// How many arrived and were not refused, taken or not, kept or not.
    pub(crate) fn total(&self) -> u64 {
        self.lock().accepted.total
    }

    /// How many were refused, taken or not, kept or not.
    pub(crate) fn total_refused(&self) -> u64 {
        self.lock().refused.total
    }

    /// How many are missing in the lists, for want of room; the first time that it is asked when there
    /// are some.
    pub(crate) fn first_missing(&self) -> Option<u64> {
        let mut state = self.lock();
        let missing = state.accepted.not_kept + state.refused.not_kept;
        let is_first = missing > 0 && !state.has_said;
        state.has_said |= is_first;
        is_first.then_some(missing)
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
    /// All that arrived and was neither refused nor taken, answered or not.
    pub(crate) fn all(&self) -> Vec<T> {
        self.all_of(Verdict::Accepted)
    }

    /// All that was refused and not taken.
    pub(crate) fn all_refused(&self) -> Vec<T> {
        self.all_of(Verdict::Refused)
    }

    fn all_of(&self, verdict: Verdict) -> Vec<T> {
        let state = self.lock();
        state.of(verdict).map(|item| item.value.clone()).collect()
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
    fn of(&self, verdict: Verdict) -> impl Iterator<Item = &Item<T>> {
        self.items
            .iter()
            .filter(move |item| item.verdict == verdict)
    }

    fn take_first(&mut self, verdict: Verdict, mut is_wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let at = self.items.iter().position(|item| {
            item.verdict == verdict && item.is_answered() && is_wanted(&item.value)
        })?;
        let item = self.items.remove(at)?;
        self.bytes -= item.bytes;
        Some(item.value)
    }

    fn count(&self, verdict: Verdict) -> Count {
        match verdict {
            Verdict::Accepted => self.accepted,
            Verdict::Refused => self.refused,
        }
    }

    fn count_mut(&mut self, verdict: Verdict) -> &mut Count {
        match verdict {
            Verdict::Accepted => &mut self.accepted,
            Verdict::Refused => &mut self.refused,
        }
    }

    /// What had come so far, for the message of a take that found nothing.
    fn so_far(&self, verdict: Verdict, describe: fn(&T) -> String) -> String {
        let kept = self.of(verdict).count() as u64;
        let (answered, unanswered): (Vec<_>, Vec<_>) =
            self.of(verdict).partition(|item| item.is_answered());
        let Count { total, not_kept } = self.count(verdict);
        let taken = total - not_kept - kept;
        let mut parts = Vec::new();
        if taken > 0 {
            parts.push(format!("{taken} came before and {} taken", were(taken)));
        }
        if !answered.is_empty() {
            let some = some_of(&answered, describe);
            parts.push(format!("{} came and can be taken ({some})", answered.len()));
        }
        if parts.is_empty() {
            parts.push("none came so far".into());
        }
        if !unanswered.is_empty() {
            let count = unanswered.len();
            let some = some_of(&unanswered, describe);
            let were = were(count as u64);
            parts.push(format!("{count} came and {were} not answered yet ({some})"));
        }
        if not_kept > 0 {
            let were = were(not_kept);
            parts.push(format!("{not_kept} more {were} not kept because {FULL}"));
        }
        let (other, way) = match verdict {
            Verdict::Accepted => (Verdict::Refused, "refused, see take_refusal"),
            Verdict::Refused => (Verdict::Accepted, "not refused"),
        };
        let total = self.count(other).total;
        if total > 0 {
            let some = some_of(&self.of(other).collect::<Vec<_>>(), describe);
            let some = match some.is_empty() {
                true => some,
                false => format!(" ({some})"),
            };
            parts.push(format!("{total} {} {way}{some}", were(total)));
        }
        format!("; {}", parts.join(", "))
    }
}

/// Why an item is not kept.
pub(crate) const FULL: &str = "the record was full (builder().record_limit and record_bytes)";

/// So many items are told apart in a message, each by so many characters.
const TOLD: usize = 5;
const TOLD_LENGTH: usize = 120;

/// The first few of these items, and how many more there are.
fn some_of<T>(items: &[&Item<T>], describe: fn(&T) -> String) -> String {
    let told = items.iter().take(TOLD);
    let mut told: Vec<_> = told.map(|item| clipped(describe(&item.value))).collect();
    if items.len() > TOLD {
        told.push(format!("and {} more", items.len() - TOLD));
    }
    told.join(", ")
}

fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(TOLD_LENGTH) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn were(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

impl<T> fmt::Debug for Record<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Record")
            .field("kept", &state.items.len())
            .field("total", &state.accepted.total)
            .field("refused", &state.refused.total)
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

    /// A record of so many things, whose numbers tell them apart.
    fn record(items: usize) -> Record<i32> {
        let limit = Limit { items, bytes: 100 };
        Record::new(limit, "a thing", |value| format!("no. {value}"))
    }

    #[test]
    fn bytes_are_limited_too_and_taking_makes_room() {
        let record = record(10);
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
        let record = record(10);
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
        let record = record(10);
        let slow = record.list(1, 0);
        let quick = record.list(2, 0);
        assert_eq!(record.all(), [1, 2]);
        assert_eq!(
            record.take(Duration::ZERO).unwrap_err().to_string(),
            "timed out after 0ns waiting for a thing; none came so far, \
             2 came and were not answered yet (no. 1, no. 2)"
        );
        drop(quick);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 2);
        drop(slow);
        assert_eq!(record.take(Duration::ZERO).unwrap(), 1);
    }

    #[test]
    fn a_take_that_finds_nothing_says_what_came() {
        let record = record(1);
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
            "timed out after 0ns waiting for a thing; 1 came before and was taken, \
             1 more was not kept because the record was full (builder().record_limit and record_bytes)"
        );
        record.set_stopped(true);
        assert!(
            message(&record).starts_with("the server stopped before a thing came; 1 came before")
        );
    }

    #[test]
    fn many_are_taken_together_or_not_at_all() {
        let record = record(10);
        let quick = [record.list(1, 10), record.list(3, 10)];
        let slow = record.list(2, 10);
        drop(quick);
        let message = |count| {
            let error = record.take_many(count, Duration::ZERO).unwrap_err();
            error.to_string()
        };
        assert_eq!(
            message(3),
            "timed out after 0ns waiting for a thing; 2 came and can be taken (no. 1, no. 3), \
             1 came and was not answered yet (no. 2); 3 were wanted at once"
        );
        assert_eq!(record.all(), [1, 3, 2]);
        assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [1, 3]);
        drop(slow);
        drop(record.list(4, 10));
        assert_eq!(
            message(3),
            "timed out after 0ns waiting for a thing; 2 came before and were taken, \
             2 came and can be taken (no. 2, no. 4); 3 were wanted at once"
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
        let record = record(10);
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
            "timed out after 0ns waiting for a thing; 2 came before and were taken, 2 came and can be taken \
             (no. 1, no. 3), 1 came and was not answered yet (no. 6); none of those is the one that is wanted"
        );
        assert_eq!(record.all(), [1, 3, 6]);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| record.take_where(even, Duration::from_secs(60)));
            drop(unanswered);
            assert_eq!(waiter.join().unwrap().unwrap(), 6);
        });
    }

    #[test]
    fn what_was_refused_is_taken_and_counted_apart() {
        let record = record(4);
        drop(record.list(1, 0));
        drop(record.list_refused(2, 0));
        drop(record.list(3, 0));
        let unanswered = record.list_refused(4, 0);
        assert_eq!(
            (record.all(), record.all_refused()),
            (vec![1, 3], vec![2, 4])
        );
        // There is one limit for both, and each is counted.
        drop(record.list(5, 0));
        drop(record.list_refused(6, 0));
        assert_eq!((record.total(), record.total_refused()), (3, 3));
        assert_eq!(record.take_many(2, Duration::ZERO).unwrap(), [1, 3]);
        assert_eq!(
            record.take(Duration::ZERO).unwrap_err().to_string(),
            "timed out after 0ns waiting for a thing; 2 came before and were taken, \
             1 more was not kept because the record was full (builder().record_limit and record_bytes), \
             3 were refused, see take_refusal (no. 2, no. 4)"
        );
        assert_eq!(record.take_refused(Duration::ZERO).unwrap(), 2);
        assert_eq!(
            record.take_refused(Duration::ZERO).unwrap_err().to_string(),
            "timed out after 0ns waiting for a refusal; 1 came before and was taken, \
             1 came and was not answered yet (no. 4), \
             1 more was not kept because the record was full (builder().record_limit and record_bytes), \
             3 were not refused"
        );
        drop(unanswered);
        assert_eq!(record.take_refused(Duration::ZERO).unwrap(), 4);
    }

    #[test]
    fn many_items_are_told_by_the_first_of_them_and_a_long_one_is_cut() {
        let limit = Limit {
            items: 10,
            bytes: 100,
        };
        let record = Record::new(limit, "a thing", |value: &i32| "ä".repeat(*value as usize));
        for value in [1, 200, 120, 1, 1, 1, 1] {
            drop(record.list(value, 0));
        }
        let error = record.take_many(8, Duration::ZERO).unwrap_err().to_string();
        let long = "ä".repeat(120);
        let expected = format!(
            "; 7 came and can be taken (ä, {long}…, {long}, ä, ä, and 2 more); 8 were wanted at once"
        );
        assert!(error.ends_with(&expected), "{error}");
    }

    #[test]
    fn that_a_list_lacks_some_is_said_once() {
        let record = record(1);
        drop(record.list(1, 0));
        assert_eq!(record.first_missing(), None);
        drop(record.list(2, 0));
        drop(record.list_refused(3, 0));
        assert_eq!(record.first_missing(), Some(2));
        drop(record.list(4, 0));
        assert_eq!(record.first_missing(), None);
    }

    #[test]
    fn who_waits_for_many_gets_those_that_come_later() {
        let record = record(10);
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
        let record = record(1);
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
