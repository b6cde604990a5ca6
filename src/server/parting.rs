//! The end of a connection whose handler has returned.

use std::io;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::failure::HandlerError;
use super::protocol::{Lifecycle, Session};
use crate::connection::discarding::Discarding;
use crate::deadline::Deadline;
use crate::net::live::{Activity, Live};
use crate::net::socket::Stream;

/// What the failure of a handler says whose client has sent nothing.
const SILENT_CLIENT: &str = "the client connected and left without sending a byte (a port probe or a health \
                             check? builder().tolerate_silent_clients() lets it pass)";

/// Keeps a handler's failure, and says with it when its client was a silent one, for which the server
/// may be told not to fail.
pub(crate) fn keep_failure<P: Lifecycle>(
    error: HandlerError,
    session: &Session<'_, P>,
    tolerates_silent_clients: bool,
) {
    let live = session.live;
    let is_silent = live.has_client_ended()
        && live.received.load(Ordering::Relaxed) == 0
        && !error.is_cut_by_stop();
    if !is_silent {
        session.fail(error);
    } else if tolerates_silent_clients {
        log::debug!(target: P::TARGET, "{} left without a byte: {error:?}", live.peer);
    } else {
        session.fail(error.explained(SILENT_CLIENT));
    }
}

/// Gives the client its end, and only then lets go of `unanswered`, for which a test may wait. What the
/// client still sends is discarded where closing on it could take the answer from the client.
pub(crate) fn part<U>(live: &Live, stream: Arc<Stream>, unanswered: U) {
    if has_answer_to_lose(live, &stream) && stream.shutdown(Shutdown::Write).is_ok() {
        // The client has its end; the test must not wait for what it still sends.
        drop(unanswered);
        discard(live, &stream);
        return;
    }
    drop(stream);
    drop(unanswered);
}

/// Whether closing now could reset the connection, and take what was sent from the client: it would if
/// something is unread, or still comes, as it does from a client that was answered before it asked.
fn has_answer_to_lose(live: &Live, stream: &Arc<Stream>) -> bool {
    let settled = live.sent.load(Ordering::Relaxed) == 0
        || live.has_client_ended()
        || live.is_closed_by_handler()
        // The handler has given the connection away.
        || Arc::strong_count(stream) > 1;
    !settled && (live.received.load(Ordering::Relaxed) == 0 || stream.has_unread())
}

/// Reads what the client still sends, until it closes. A stop ends it.
fn discard(live: &Live, stream: &Stream) {
    live.set_activity(Activity::Closing);
    let most = Discarding::USUAL;
    let all = Deadline::new(most.time, "the client to close");
    let mut piece = [0; 16 * 1024];
    let mut so_far = 0;
    while let Some(silence) = most.next(&all, so_far) {
        let wait = silence.remaining().max(Duration::from_millis(1));
        if stream.set_read_timeout(Some(wait)).is_err() {
            return;
        }
        match stream.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return,
            Ok(count) => so_far += count,
        }
    }
}
