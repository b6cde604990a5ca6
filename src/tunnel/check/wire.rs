//! A client that speaks a handshake byte by byte, and cuts what it sends.

use std::fmt::Display;
use std::io::Write;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use crate::deadline::{Deadline, bytes_of};
use crate::proto::decode::Decoded;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::conversation::{Endpoint, is_reset};
use crate::tunnel::ends::service::Service;

/// The longest time between a failure and the close of its connection (RFC 1928 section 6); a rule of
/// the harness for the other protocols.
pub(crate) const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// The longest time between the client's end in the middle of a handshake and the program's.
pub(crate) const HALF_LIMIT: Duration = Duration::from_secs(2);

/// Between two pieces, so that a program reads them one by one. On a loaded machine it may find both at
/// once; then a check sees less, and never something wrong.
const GAP: Duration = Duration::from_micros(300);
/// The most bytes of an answer that is read for its end only.
const MOST_REST: usize = 64 * 1024;
/// What is sent both ways to see that a connection carries; neither is text of a protocol.
const UP: &[u8] = b"\x00up\xff\r\n";
const DOWN: &[u8] = b"\xffdown\x00\n";

/// How the client's bytes are cut.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cut {
    Whole,
    Bytes,
    /// In two, after so many bytes of the connection.
    At(usize),
}

/// A connection to the program on which a check speaks the protocol itself.
pub(crate) struct Wire {
    pub(crate) end: Endpoint,
    cut: Cut,
    /// Where each message ended, in bytes of the connection.
    ends: Vec<usize>,
}

impl Wire {
    /// Speaks on `end`, to which nothing was said yet.
    pub(crate) fn new(end: Endpoint, cut: Cut) -> Wire {
        let ends = Vec::new();
        Wire { end, cut, ends }
    }

    /// Where each message ended that was sent, in bytes of the connection.
    pub(crate) fn into_message_ends(self) -> Vec<usize> {
        self.ends
    }

    /// Sends one message, cut. A program may close as soon as it has seen what is wrong: then the rest is
    /// not sent, and what it has said is judged.
    pub(crate) fn send(&mut self, message: &[u8]) -> Result<(), CheckError> {
        let begin = self.ends.last().copied().unwrap_or_default();
        self.ends.push(begin + message.len());
        let pieces: Vec<&[u8]> = match self.cut {
            Cut::Whole => vec![message],
            Cut::Bytes => message.chunks(1).collect(),
            Cut::At(at) => match message.split_at_checked(at.saturating_sub(begin)) {
                Some((first, rest)) if !first.is_empty() => vec![first, rest],
                _ => vec![message],
            },
        };
        for (index, piece) in pieces.into_iter().enumerate() {
            if index > 0 {
                thread::sleep(GAP);
            }
            match self.end.stream().write_all(piece) {
                Err(error) if is_reset(&error) => return Ok(()),
                Err(error) => return Err(self.failed(format!("the client cannot send: {error}"))),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Whether anything comes within `limit`, an end included.
    pub(crate) fn has_more_within(&mut self, limit: Duration) -> bool {
        self.end.stream().has_more_within(limit)
    }

    /// The client has sent all.
    pub(crate) fn half_close(&mut self) {
        // The program may have closed already.
        let _ = self.end.stream().shutdown_write();
    }

    /// The program's next message; `None` if it closes in place of it.
    pub(crate) fn message<T, E: Display>(
        &mut self,
        what: &'static str,
        decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
    ) -> Result<Option<T>, CheckError> {
        let mut input = Vec::new();
        let mut has_ended = false;
        loop {
            // Also at the end: what came may be wrong, and then it is not too short only.
            let missing = match decode(&input) {
                Err(error) => return Err(self.failed(error.to_string())),
                Ok(Decoded::Complete { value, .. }) => return Ok(Some(value)),
                Ok(Decoded::Partial { missing }) => missing,
            };
            match (has_ended, input.len()) {
                (false, _) => {}
                (true, 0) => return Ok(None),
                (true, length) => {
                    return Err(self.failed(format!("{what} ends after {}", bytes_of(length))));
                }
            }
            let came = self.end.take_up_to(what, missing)?;
            has_ended = came.len() < missing;
            input.extend_from_slice(&came);
        }
    }

    /// As [`Wire::message`], where the program must answer.
    pub(crate) fn answer<T, E: Display>(
        &mut self,
        what: &'static str,
        decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
    ) -> Result<T, CheckError> {
        let message = self.message(what, decode)?;
        message.ok_or_else(|| self.failed(format!("the program closes in place of {what}")))
    }

    /// All that comes before the program closes, which it must do.
    pub(crate) fn rest(&mut self) -> Result<Vec<u8>, CheckError> {
        self.rest_within(CLOSE_LIMIT)
    }

    /// As [`Wire::rest`], within `limit`.
    pub(crate) fn rest_within(&mut self, limit: Duration) -> Result<Vec<u8>, CheckError> {
        self.limit(limit);
        let came = self
            .end
            .take_up_to("the connection to be closed", MOST_REST)?;
        match came.len() {
            MOST_REST => Err(self.failed(format!("more than {MOST_REST} bytes come"))),
            _ => Ok(came),
        }
    }

    /// The client has sent all, in the middle of a handshake: the program closes within the limit for
    /// that. What it says is its own business.
    pub(crate) fn ends_half(&mut self, context: &mut CheckContext<'_>) -> Result<(), CheckError> {
        self.half_close();
        // How busy the machine is shows by this one.
        context.still_works()?;
        self.rest_within(context.scaled_timeout(HALF_LIMIT))
            .map(drop)
    }

    /// The program closes within `limit`, and says nothing more.
    pub(crate) fn closes(&mut self, limit: Duration) -> Result<(), CheckError> {
        self.limit(limit);
        let came = self.end.take_up_to("the connection to be closed", 1)?;
        match came.is_empty() {
            true => Ok(()),
            false => Err(self.failed("more comes in place of the end")),
        }
    }

    /// The program has connected to the service, and carries both ways; first what was sent `early`.
    /// Gives where it has connected from.
    pub(crate) fn carries(
        &mut self,
        context: &mut CheckContext<'_>,
        service: Option<&Service>,
        early: &[u8],
    ) -> Result<SocketAddr, CheckError> {
        let (mut far, peer, opener) = match service {
            Some(service) => {
                let (far, peer, opener) =
                    context.accept_by_name(service, &mut self.end, !early.is_empty())?;
                (far, peer, Some(opener))
            }
            None => {
                let (far, peer) = context.accept(&mut self.end)?;
                (far, peer, None)
            }
        };
        context.preamble(&mut far, &mut self.end)?;
        if let Some(opener) = opener {
            opener.take(far.stream())?;
        }
        far.expect("the data sent with the handshake", early)?;
        self.end.send(UP)?;
        far.expect("the client's data", UP)?;
        far.send(DOWN)?;
        self.end.expect("the service's data", DOWN)?;
        Ok(peer)
    }

    /// Both ways between the client and who has connected after BIND.
    pub(crate) fn carries_back(&mut self, far: &mut Endpoint) -> Result<(), CheckError> {
        far.send(b"from outside")?;
        self.end
            .expect("what has come from outside", b"from outside")?;
        self.end.send(b"to outside")?;
        far.expect("what was sent to the outside", b"to outside")
    }

    /// A failure with what was sent and received here.
    pub(crate) fn failed(&self, message: impl Into<String>) -> CheckError {
        self.end.failed(message)
    }

    fn limit(&mut self, limit: Duration) {
        let limit = limit.min(self.end.stream().remaining());
        let deadline = Deadline::new(limit, "the connection to be closed");
        self.end.stream().set_deadline(deadline);
    }
}
