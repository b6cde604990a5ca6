//! Single reads and writes of the socket, told to the registry, and what their errors say.

use std::io;
use std::sync::atomic::Ordering;

use crate::deadline::{bytes_of, prose};
use crate::net::live::{Activity, Live};
use crate::net::socket::Stream;
use crate::net::stop::CutByStop;

/// One read of the socket, told to the registry. A signal that interrupts it shows as `Interrupted`: who
/// begins again knows how much of the timeout is left, which the socket does not. All that had come before
/// a stop is followed by the end of the stream, unless the connection is only being closed.
pub(super) fn receive(
    stream: &Stream,
    live: &Live,
    activity: Activity,
    into: &mut [u8],
) -> io::Result<usize> {
    if live.is_read_out() && activity != Activity::Closing {
        return Ok(0);
    }
    let before = live.set_activity(activity);
    let outcome = stream.read(into);
    live.set_activity(before);
    match &outcome {
        Ok(0) => live.note_ended(),
        Ok(count) => live.note_received(&into[..*count]),
        Err(error) if is_timeout(error) || is_interrupted(error) => {}
        Err(_) => live.note_ended(),
    }
    outcome.map_err(|error| match is_timeout(&error) || is_interrupted(&error) {
        true => error,
        false => told(live, "reading from", &error),
    })
}

/// One write to the socket, told to the registry if the handler's own thread does it.
pub(super) fn send(
    live: &Live,
    is_handler: bool,
    write: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let before = is_handler.then(|| live.set_activity(Activity::Writing));
    let outcome = write();
    if let Some(before) = before {
        live.set_activity(before);
    }
    match outcome {
        Ok(count) => {
            live.note_sent(count);
            Ok(count)
        }
        Err(error) if is_timeout(&error) => Err(not_read(live)),
        Err(error) if is_interrupted(&error) => Err(error),
        Err(error) => Err(told(live, "writing to", &error)),
    }
}

pub(super) fn not_read(live: &Live) -> io::Error {
    prose(
        io::ErrorKind::TimedOut,
        format!(
            "timed out writing to {}, which does not read (write_timeout); {} sent before",
            live.peer,
            bytes_were(live.sent.load(Ordering::Relaxed))
        ),
    )
}

fn bytes_were(count: u64) -> String {
    let were = if count == 1 { "was" } else { "were" };
    format!("{} {were}", bytes_of(count))
}

pub(super) fn not_utf8(error: std::string::FromUtf8Error) -> io::Error {
    prose(
        io::ErrorKind::InvalidData,
        format!("what came is not UTF-8 ({error}); read_line_bytes and read_bytes take any bytes"),
    )
}

/// An error of the socket, with what was tried and how far it had come, or with the mark of a stop
/// that caused it.
pub(super) fn told(live: &Live, doing: &str, error: &io::Error) -> io::Error {
    let text = format!(
        "{doing} {}: {error}; {} received and {} sent before",
        live.peer,
        bytes_were(live.received.load(Ordering::Relaxed)),
        live.sent.load(Ordering::Relaxed)
    );
    match live.is_shut_by_stop() {
        true => cut(error.kind(), text),
        false => prose(error.kind(), text),
    }
}

/// An error that is the stop's doing, so that the handler that returns it has not failed.
pub(super) fn cut(kind: io::ErrorKind, text: String) -> io::Error {
    io::Error::new(kind, CutByStop(text))
}

/// A socket's timeout shows as either, by platform.
pub(super) fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// A signal has ended the call.
pub(super) fn is_interrupted(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::Interrupted
}

/// How much came, and its first bytes as text.
pub(crate) fn came_so_far(bytes: &[u8]) -> String {
    match bytes.len() {
        0 => "nothing came so far".to_owned(),
        count => format!("{} came so far: {}", bytes_of(count), quoted(bytes, 64)),
    }
}

/// The first `most` bytes as text in quotation marks, with dots behind them if there are more.
pub(crate) fn quoted(bytes: &[u8], most: usize) -> String {
    let shown = bytes[..bytes.len().min(most)].escape_ascii();
    let more = if bytes.len() > most { "..." } else { "" };
    format!("\"{shown}\"{more}")
}
