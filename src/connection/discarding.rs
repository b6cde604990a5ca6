//! How long a client is still read from that has its end.

use std::time::Duration;

use crate::deadline::Deadline;

/// For how long a client to which the server has closed is read from, until it closes too: it would be reset
/// otherwise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Discarding {
    /// After its last byte.
    pub(crate) silence: Duration,
    /// In all.
    pub(crate) time: Duration,
    pub(crate) bytes: usize,
}

impl Discarding {
    pub(crate) const USUAL: Discarding = Discarding {
        silence: Duration::from_secs(2),
        time: Duration::from_secs(15),
        bytes: 64 << 20,
    };

    /// The next read's end, or none when it is enough.
    pub(crate) fn next(&self, all: &Deadline, so_far: usize) -> Option<Deadline> {
        let goes_on = so_far < self.bytes && !all.expired();
        goes_on.then(|| Deadline::new(self.silence.min(all.remaining()), "the client to close"))
    }
}
