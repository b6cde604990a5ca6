//! What arrived at a server, in order, until the test takes it.

use std::cell::Cell;
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
        self.take_of(Verdict::Accepted, timeout)
    }

    /// As [`take`](Record::take), of what the server has refused.
    pub(crate) fn take_refused(&self, timeout: Duration) -> io::Result<T> {
        self.take_of(Verdict::Refused, timeout)
    }

    fn take_of(&self, verdict: Verdict, timeout: Duration) -> io::Result<T> {
        self.wait_for(
            verdict,
            timeout,
            |state| state.take_first(verdict, |_| true),
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
            |state| {
                let _chooses = Chooses::of(self.place());
                state.take_first(Verdict::Accepted, &mut is_wanted)
            },
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
                    format!(
                        "the server has stopped: {noun} cannot come any more{so_far}{}",
                        wanted()
                    ),
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

    /// What tells this record from all others.
    fn place(&self) -> usize {
        std::ptr::from_ref(self).addr()
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
        // Its own lock would be waited for without an end.
        assert!(
            CHOOSING.get() != self.place(),
            "a predicate that chooses what to take cannot ask its own server for anything: it would wait for itself"
        );
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

thread_local! {
    /// The record whose lock this thread holds while code of the test's chooses from it; 0 is none.
    static CHOOSING: Cell<usize> = const { Cell::new(0) };
}

/// One whose predicate runs, until this is dropped. It may ask other servers, and choose from them too.
struct Chooses {
    before: usize,
}

impl Chooses {
    fn of(place: usize) -> Chooses {
        let before = CHOOSING.replace(place);
        Chooses { before }
    }
}

impl Drop for Chooses {
    fn drop(&mut self) {
        CHOOSING.set(self.before);
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
        if parts.is_empty() && not_kept == 0 {
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
            let more = if parts.is_empty() { "came and" } else { "more" };
            parts.push(format!("{not_kept} {more} {were} not kept because {FULL}"));
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

pub(crate) fn clipped(mut text: String) -> String {
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
mod tests;
