//! One instruction: what it is, and where the test queued it.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::frame::Frame;
use super::text::quoted;
use crate::connection::Connection;
use crate::server::failure::{HandlerError, HandlerResult};

/// What a closure given to `expect_match` makes of the bytes that have come so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Match {
    /// They may be the beginning of what is expected.
    NeedMore,
    /// The first so many of them are what is expected; the rest is for the next instruction.
    Matched(usize),
    /// They are not what is expected, and this is why.
    Mismatch(String),
}

impl Match {
    /// They are not what is expected, and this is why.
    pub fn mismatch(why: impl Into<String>) -> Match {
        Match::Mismatch(why.into())
    }
}

pub(super) type Matcher = dyn Fn(&[u8]) -> Match + Send + Sync;
pub(super) type Action = dyn Fn(&mut Connection) -> Result<(), HandlerError> + Send + Sync;

/// An action of a script, for any number of servers.
pub(super) fn each_time<R: HandlerResult>(
    action: impl Fn(&mut Connection) -> R + Send + Sync + 'static,
) -> Arc<Action> {
    Arc::new(move |conn| action(conn).into_result().map_err(HandlerError::Error))
}

/// An action that one server runs once.
pub(super) fn once<R: HandlerResult>(
    action: impl FnOnce(&mut Connection) -> R + Send + 'static,
) -> Arc<Action> {
    let action = Mutex::new(Some(action));
    Arc::new(move |conn| {
        let action = action.lock().unwrap_or_else(PoisonError::into_inner).take();
        match action.map(|action| action(conn).into_result()) {
            Some(result) => result.map_err(HandlerError::Error),
            None => Err(HandlerError::Error("it ran before".into())),
        }
    })
}

/// What to do or to expect.
#[derive(Clone)]
pub(super) enum Instruction {
    ExpectConnect,
    /// As many connections as this, for as many lanes.
    ExpectConnections(usize),
    ExpectNoConnection(Duration),
    ExpectBytes(Vec<u8>),
    ExpectFrame(Frame),
    ExpectLine(Vec<u8>),
    ExpectMatch(Arc<Matcher>),
    ExpectDisconnect,
    ExpectHalfClose,
    ExpectReset,
    ExpectSilence(Duration),
    SendBytes(Vec<u8>),
    SendFrame(Frame),
    SendInPieces {
        data: Vec<u8>,
        size: usize,
        gap: Duration,
    },
    Pause(Duration),
    ShutdownWrite,
    Disconnect,
    Reset,
    Then(Arc<Action>),
}

impl Instruction {
    /// Whether it can ever be done, or why not.
    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Instruction::ExpectFrame(frame) | Instruction::SendFrame(frame) => frame.check(),
            Instruction::ExpectConnections(0) => {
                Err("it expects no client: expect_no_connection does that".to_owned())
            }
            Instruction::ExpectLine(line)
                if line.strip_suffix(b"\n").unwrap_or(line).contains(&b'\n') =>
            {
                Err("it is more than one line: queue an expect_line for each".to_owned())
            }
            Instruction::SendInPieces { size: 0, .. } => {
                Err("pieces of 0 bytes never end: the size is at least 1".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// As one would write it, with the beginning of its data.
impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instruction::ExpectConnect => f.write_str("expect_connect"),
            Instruction::ExpectConnections(count) => write!(f, "expect_connections({count})"),
            Instruction::ExpectNoConnection(duration) => {
                write!(f, "expect_no_connection({duration:?})")
            }
            Instruction::ExpectBytes(data) => write!(f, "expect_bytes({})", quoted(data)),
            Instruction::ExpectFrame(frame) => write!(f, "expect_frame({})", frame.written()),
            Instruction::ExpectLine(line) => write!(f, "expect_line({})", quoted(line)),
            Instruction::ExpectMatch(_) => f.write_str("expect_match"),
            Instruction::ExpectDisconnect => f.write_str("expect_disconnect"),
            Instruction::ExpectHalfClose => f.write_str("expect_half_close"),
            Instruction::ExpectReset => f.write_str("expect_reset"),
            Instruction::ExpectSilence(duration) => write!(f, "expect_silence({duration:?})"),
            Instruction::SendBytes(data) => write!(f, "send_bytes({})", quoted(data)),
            Instruction::SendFrame(frame) => write!(f, "send_frame({})", frame.written()),
            Instruction::SendInPieces { data, size, gap } => {
                write!(f, "send_in_pieces({}, {size}, {gap:?})", quoted(data))
            }
            Instruction::Pause(duration) => write!(f, "pause({duration:?})"),
            Instruction::ShutdownWrite => f.write_str("shutdown_write"),
            Instruction::Disconnect => f.write_str("disconnect"),
            Instruction::Reset => f.write_str("reset"),
            Instruction::Then(_) => f.write_str("then"),
        }
    }
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An instruction with its bounds and its origin; not yet in a server's queue, so without a number.
#[derive(Debug, Clone)]
pub(super) struct Step {
    /// The connection it is for.
    pub(super) lane: usize,
    pub(super) what: Instruction,
    pub(super) within: Duration,
    pub(super) place: &'static Location<'static>,
}

/// A step in a server's queue.
#[derive(Debug)]
pub(super) struct Queued {
    /// From 1, in the order they were queued; `None` for the disconnect that is implied at the end.
    pub(super) number: Option<usize>,
    pub(super) step: Step,
    /// The number of the `expect_connections` that brings its connection; 0 for none.
    pub(super) after: usize,
    /// Whether it was queued before any that brings its connection.
    pub(super) is_early: bool,
}

/// What messages begin with: `instruction 3, connection(1).expect_line("QUIT")`.
impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            Some(number) => write!(f, "instruction {number}, ")?,
            None => f.write_str("the implied ")?,
        }
        if self.step.lane > 0 {
            write!(f, "connection({}).", self.step.lane)?;
        }
        write!(f, "{}", self.step.what)
    }
}
