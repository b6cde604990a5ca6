//! The flag that a server serves.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Set just before a server's poll loop is entered, cleared when the server stops.
///
/// The counterpart of the `ready` event of CPython's `server_helper`. Clones watch the same server.
#[derive(Clone, Default)]
pub struct Ready {
    inner: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    set: bool,
    /// Waking nobody would still cost a system call.
    waiting: usize,
}

impl Ready {
    /// Whether the server serves now.
    pub fn is_set(&self) -> bool {
        self.lock().set
    }

    /// Waits until the server serves, at most `timeout`, and says whether it does.
    pub fn wait(&self, timeout: Duration) -> bool {
        // A timeout too large for the clock means for ever; the loop wakes every hour then.
        let end = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        while !state.set {
            let left = end.map_or(Duration::from_secs(3600), |end| {
                end.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break;
            }
            state.waiting += 1;
            state = self
                .inner
                .1
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            state.waiting -= 1;
        }
        state.set
    }

    pub(crate) fn set(&self, value: bool) {
        let mut state = self.lock();
        state.set = value;
        if state.waiting > 0 {
            self.inner.1.notify_all();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({})", self.is_set())
    }
}
