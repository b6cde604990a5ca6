//! The flag that a server serves.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Set just before a server's poll loop is entered, cleared when the server stops.
///
/// The counterpart of the `ready` event of CPython's `server_helper`. Clones watch the same server.
#[derive(Clone, Default)]
pub struct Ready {
    inner: Arc<(Mutex<bool>, Condvar)>,
}

impl Ready {
    /// Whether the server serves now.
    pub fn is_set(&self) -> bool {
        *self.lock()
    }

    /// Waits until the server serves, at most `timeout`, and says whether it does.
    pub fn wait(&self, timeout: Duration) -> bool {
        // A timeout too large for the clock means for ever; the loop wakes every hour then.
        let end = Instant::now().checked_add(timeout);
        let mut set = self.lock();
        while !*set {
            let left = end.map_or(Duration::from_secs(3600), |end| {
                end.saturating_duration_since(Instant::now())
            });
            if left.is_zero() {
                break;
            }
            set = self
                .inner
                .1
                .wait_timeout(set, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        *set
    }

    pub(crate) fn set(&self, value: bool) {
        *self.lock() = value;
        self.inner.1.notify_all();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, bool> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ready({})", self.is_set())
    }
}
