//! The signal to stop, and what it leaves in the errors of what it has cut.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::deadline::Deadline;

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

/// What the errors of a connection hold that stopping has cut. As with [`prose`](crate::deadline::prose),
/// its text is what `unwrap` prints.
pub(crate) struct CutByStop(pub(crate) String);

impl fmt::Display for CutByStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CutByStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for CutByStop {}
