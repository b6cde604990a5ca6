//! What is known of a connection while it is open, and what it is doing.

use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use super::address::Address;
use super::socket::Stream;
use super::stop::StopSignal;

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

    pub(crate) fn text(self) -> &'static str {
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
    pub(crate) fn shut(&self, how: Shutdown, poll: &mut Option<mio::Poll>) {
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

    pub(crate) fn is_open(&self) -> bool {
        self.stream.strong_count() > 0
    }

    /// Whether it is not the test's code that holds it: it has only to take in that it was shut.
    pub(crate) fn is_leaving(&self) -> bool {
        !matches!(self.activity(), Activity::Handler | Activity::ReadingBody)
    }

    /// Whether it neither is in the test's code nor waits for the client.
    pub(crate) fn is_in_own_code(&self) -> bool {
        matches!(
            self.activity(),
            Activity::Server | Activity::Idle | Activity::Answering | Activity::Closing
        )
    }

    pub(crate) fn activity(&self) -> Activity {
        let number = usize::from(self.activity.load(Ordering::Relaxed));
        Activity::ALL
            .get(number)
            .copied()
            .unwrap_or(Activity::Handler)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activities_are_listed_by_their_numbers() {
        for (number, activity) in Activity::ALL.into_iter().enumerate() {
            assert_eq!(activity as usize, number);
        }
    }
}
