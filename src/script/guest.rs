//! A client that is connected: each instruction's step on its connection. None of them blocks, but
//! for closures of the test's.

use std::io::{self, BufRead};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::check::{Check, check};
use super::frame::Frame;
use super::instruction::{Action, Instruction, Match, Matcher, Queued};
use super::state::Scripted;
use crate::connection::{Connection, came_so_far};
use crate::deadline::{Deadline, bytes_of};
use crate::net::address::Address;
use crate::server::failure::{HandlerError, HandlerFailure};
use crate::server::host::Host;
use crate::server::registry::Entry;

/// What has become of an instruction for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// It goes on when its socket can be read or written, or after this time.
    Wait(Duration),
}

/// An instruction that runs.
#[derive(Debug)]
pub(super) struct Current {
    pub(super) queued: Arc<Queued>,
    pub(super) deadline: Deadline,
    /// Bytes of it that are sent, bytes that were looked at, or clients that have connected.
    pub(super) count: usize,
    /// Reads or writes in this turn of it.
    calls: usize,
    /// The bytes of a frame that is sent.
    wire: Vec<u8>,
    /// When the next piece of it may be sent.
    next_piece: Instant,
}

/// So many reads or writes an instruction does before its time is looked at, other connections have
/// their turn, and second ones are noticed: a client could keep it busy for ever. Enough for what is
/// there already where there is no time at all.
const MOST_CALLS: usize = 16;

/// So many bytes a closure of `expect_match` is shown.
const MOST_MATCHED: usize = 1 << 20;

/// So much of what nobody expected is thrown away before a close.
const MOST_DISCARDED: usize = 1 << 20;

/// A timeout longer than this is as good as none, and some systems take no longer ones.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Current {
    pub(super) fn new(queued: Arc<Queued>) -> Current {
        let what = match queued.step.what {
            Instruction::ExpectConnect => "a client to connect",
            Instruction::ExpectConnections(_) => "the clients to connect",
            Instruction::ExpectBytes(_) => "bytes",
            Instruction::ExpectFrame(_) => "a frame",
            Instruction::ExpectLine(_) => "a line",
            Instruction::ExpectMatch(_) => "a match",
            Instruction::ExpectDisconnect => "the client to disconnect",
            Instruction::ExpectHalfClose => "the client to close its sending side",
            Instruction::ExpectReset => "the client to reset the connection",
            Instruction::SendBytes(_)
            | Instruction::SendFrame(_)
            | Instruction::SendInPieces { .. } => "the client to read",
            _ => "its end",
        };
        Current {
            deadline: Deadline::new(queued.step.within, what),
            queued,
            count: 0,
            calls: 0,
            wire: Vec::new(),
            next_piece: Instant::now(),
        }
    }

    /// Waits on, or fails with what is known when its time is over.
    pub(super) fn wait(&self, so_far: impl FnOnce() -> String) -> Result<Progress, String> {
        match self.deadline.remaining() {
            Duration::ZERO => Err(self.deadline.error(&so_far()).to_string()),
            left => Ok(Progress::Wait(left)),
        }
    }

    /// Counts a read or write: where there were many in this turn, it has to wait for the next one.
    fn turn_is_over(
        &mut self,
        so_far: impl FnOnce() -> String,
    ) -> Result<Option<Progress>, String> {
        self.calls += 1;
        match self.calls > MOST_CALLS {
            true => self
                .wait(so_far)
                .map(|_| Some(Progress::Wait(Duration::ZERO))),
            false => Ok(None),
        }
    }

    /// Waits until its time is over, which is its end.
    pub(super) fn wait_out(&self) -> Progress {
        match self.deadline.remaining() {
            Duration::ZERO => Progress::Done,
            left => Progress::Wait(left),
        }
    }
}

/// A connected client.
pub(super) struct Guest {
    pub(super) conn: Connection,
    /// Whether the system has told that the client closed its side; there may still be data.
    pub(super) has_left: bool,
    /// Whether an `expect_half_close` has seen the end of what the client sends.
    pub(super) is_half_closed: bool,
    /// Whether the script has closed the sending side.
    pub(super) is_shut: bool,
    /// Dropped after the connection, for the registry lists what is open.
    pub(super) _entry: Entry,
}

/// What has come of reading.
enum Read {
    Data,
    Nothing,
    End,
    Reset,
}

impl Guest {
    pub(super) fn peer(&self) -> &Address {
        self.conn.peer()
    }

    /// Goes on with any instruction that needs a connection and leaves it open.
    pub(super) fn step(
        &mut self,
        current: &mut Current,
        host: &Host<Scripted>,
    ) -> Result<Progress, String> {
        let queued = Arc::clone(&current.queued);
        current.calls = 0;
        match &queued.step.what {
            Instruction::ExpectMatch(matcher) => self.expect_match(matcher, current, host),
            Instruction::ExpectSilence(_) => self.expect_silence(current),
            Instruction::ExpectHalfClose => self.expect_half_close(current),
            Instruction::SendBytes(data) => self.send(data, data.len(), current),
            Instruction::SendFrame(frame) => self.send_frame(frame, current),
            Instruction::SendInPieces { data, size, gap } => {
                self.send_in_pieces(data, *size, *gap, current)
            }
            Instruction::ShutdownWrite => self.shutdown_write(),
            Instruction::Then(action) => self.run(action, current, host),
            what => self.expect(what, current),
        }
    }

    /// Expects the end, and nothing before it.
    pub(super) fn expect_end(&mut self, current: &Current) -> Result<Progress, String> {
        let wants_reset = matches!(current.queued.step.what, Instruction::ExpectReset);
        match self.has_ended(wants_reset)? {
            true => Ok(Progress::Done),
            false => current.wait(|| format!("; {} is still connected", self.peer())),
        }
    }

    /// Expects the end of what the client sends, and leaves the connection open.
    fn expect_half_close(&mut self, current: &Current) -> Result<Progress, String> {
        let end = match self.conn.buffer().is_empty() {
            true => self.receive()?,
            false => Read::Data,
        };
        match end {
            Read::Data => Err(format!(
                "data came where a half-close was expected; {}",
                came_so_far(self.conn.buffer())
            )),
            Read::Nothing => current.wait(|| format!("; {} can still send", self.peer())),
            Read::End if self.was_sent_in_vain() => Err(self.unread()),
            Read::End => {
                self.is_half_closed = true;
                Ok(Progress::Done)
            }
            Read::Reset => Err(self.was_reset()),
        }
    }

    /// Whether the end has come, as it should, or nothing at all.
    pub(super) fn has_ended(&mut self, wants_reset: bool) -> Result<bool, String> {
        let end = match self.conn.buffer().is_empty() {
            true => self.receive()?,
            false => Read::Data,
        };
        match end {
            Read::Data => Err(format!(
                "data came where a {} was expected; {}",
                if wants_reset { "reset" } else { "disconnect" },
                came_so_far(self.conn.buffer())
            )),
            Read::Nothing => Ok(false),
            // What was sent after the client had closed is answered by a reset, but reading gives the
            // end that came before it.
            Read::End if self.was_sent_in_vain() => match wants_reset {
                true => Ok(true),
                false => Err(self.unread()),
            },
            // The end that is known hides a reset, which leaves an error alone.
            Read::End if wants_reset && self.is_half_closed => {
                Ok(matches!(self.conn.stream().take_error(), Ok(Some(_))))
            }
            Read::End if wants_reset => Err("the client closed without a reset".to_owned()),
            Read::Reset if !wants_reset => Err(self.was_reset()),
            Read::End | Read::Reset => Ok(true),
        }
    }

    fn expect(&mut self, what: &Instruction, current: &mut Current) -> Result<Progress, String> {
        loop {
            let came = self.conn.buffer();
            let so_far = match check(what, came, current.count.min(came.len())) {
                Some(Check::Matched(length)) => {
                    self.conn.consume(length);
                    return Ok(Progress::Done);
                }
                Some(Check::Wrong(why)) => return Err(why),
                Some(Check::More(so_far)) => so_far,
                None => return Err(format!("{what} expects no bytes")),
            };
            current.count = came.len();
            if let Some(progress) = self.receive_or(current, &so_far)? {
                return Ok(progress);
            }
        }
    }

    fn expect_match(
        &mut self,
        matcher: &Arc<Matcher>,
        current: &mut Current,
        host: &Host<Scripted>,
    ) -> Result<Progress, String> {
        loop {
            let came = self.conn.buffer();
            let came = &came[..came.len().min(MOST_MATCHED)];
            // Asked once for the same bytes.
            if current.count < came.len() {
                current.count = came.len();
                let (queued, deadline) = (&current.queued, &current.deadline);
                let outcome =
                    host.with_closure(queued, deadline, || HandlerError::catch(|| matcher(came)));
                match outcome.map_err(told)? {
                    Match::Matched(length) if length <= came.len() => {
                        self.conn.consume(length);
                        return Ok(Progress::Done);
                    }
                    Match::Matched(length) => {
                        let length = bytes_of(length);
                        return Err(format!(
                            "its closure matched {length}, which are more than there are; {}",
                            came_so_far(came)
                        ));
                    }
                    Match::Mismatch(why) => return Err(format!("{why}\n{}", came_so_far(came))),
                    Match::NeedMore if came.len() == MOST_MATCHED => {
                        let most = bytes_of(MOST_MATCHED);
                        return Err(format!(
                            "no match in the first {most}; {}",
                            came_so_far(came)
                        ));
                    }
                    Match::NeedMore => {}
                }
            }
            let so_far = came_so_far(came);
            if let Some(progress) = self.receive_or(current, &so_far)? {
                return Ok(progress);
            }
        }
    }

    /// Reads more: `None` when more is there, or how long to wait for it.
    fn receive_or(
        &mut self,
        current: &mut Current,
        so_far: &str,
    ) -> Result<Option<Progress>, String> {
        let told = |guest: &Guest| format!(" from {}; {so_far}", guest.peer());
        if let Some(progress) = current.turn_is_over(|| told(self))? {
            return Ok(Some(progress));
        }
        match self.receive()? {
            Read::Data => Ok(None),
            Read::Nothing => current.wait(|| told(self)).map(Some),
            Read::End if self.was_sent_in_vain() => Err(format!("{}; {so_far}", self.unread())),
            Read::End if self.is_half_closed => Err(format!(
                "the client has closed its sending side, as expect_half_close has seen; {so_far}"
            )),
            Read::End => Err(format!("the client closed early; {so_far}")),
            Read::Reset => Err(format!("{}; {so_far}", self.was_reset())),
        }
    }

    fn expect_silence(&mut self, current: &Current) -> Result<Progress, String> {
        let read = match self.conn.buffer().is_empty() {
            true => self.receive()?,
            false => Read::Data,
        };
        let limit = current.deadline.limit();
        match read {
            Read::End if self.was_sent_in_vain() => Err(self.unread()),
            Read::End if self.is_half_closed => Ok(current.wait_out()),
            Read::Nothing => Ok(current.wait_out()),
            Read::Data => Err(format!(
                "data came in a silence of {limit:?}; {}",
                came_so_far(self.conn.buffer())
            )),
            Read::End => Err(format!("the client closed in a silence of {limit:?}")),
            Read::Reset => Err(format!("{}, in a silence of {limit:?}", self.was_reset())),
        }
    }

    /// Sends what is left of the data up to `end`.
    fn send(&mut self, data: &[u8], end: usize, current: &mut Current) -> Result<Progress, String> {
        while current.count < end {
            let sent = current.count;
            let so_far = || format!("{sent} of {}", bytes_of(data.len()));
            let told = || format!("; the system took {}", so_far());
            if let Some(progress) = current.turn_is_over(told)? {
                return Ok(progress);
            }
            match self.conn.stream().write(&data[sent..end]) {
                Ok(count) => {
                    current.count += count;
                    self.conn.live().note_sent(count);
                }
                Err(error) => {
                    return match error.kind() {
                        io::ErrorKind::Interrupted => continue,
                        io::ErrorKind::WouldBlock => current.wait(told),
                        io::ErrorKind::BrokenPipe if self.is_shut => Err(format!(
                            "shutdown_write has closed the sending side before: {} were sent",
                            so_far()
                        )),
                        io::ErrorKind::BrokenPipe => Err(format!(
                            "the client had closed before all was sent to it: {}",
                            so_far()
                        )),
                        _ if is_reset(&error) => {
                            Err(format!("{}; {} were sent", self.was_reset(), so_far()))
                        }
                        _ => Err(format!("cannot send: {error}; {} were sent", so_far())),
                    };
                }
            }
        }
        Ok(Progress::Done)
    }

    fn send_frame(&mut self, frame: &Frame, current: &mut Current) -> Result<Progress, String> {
        // Made once: a client that reads slowly takes it in many turns.
        if current.wire.is_empty() {
            current.wire = frame.encode();
        }
        let wire = std::mem::take(&mut current.wire);
        let progress = self.send(&wire, wire.len(), current);
        current.wire = wire;
        progress
    }

    fn send_in_pieces(
        &mut self,
        data: &[u8],
        size: usize,
        gap: Duration,
        current: &mut Current,
    ) -> Result<Progress, String> {
        while current.count < data.len() {
            let pause = current.next_piece.saturating_duration_since(Instant::now());
            if !pause.is_zero() {
                return Ok(Progress::Wait(pause));
            }
            let piece_end = (current.count / size + 1)
                .saturating_mul(size)
                .min(data.len());
            match self.send(data, piece_end, current)? {
                Progress::Done => {
                    let now = Instant::now();
                    current.next_piece = now.checked_add(gap).unwrap_or(now + LONGEST);
                }
                wait => return Ok(wait),
            }
        }
        Ok(Progress::Done)
    }

    fn shutdown_write(&mut self) -> Result<Progress, String> {
        match self.conn.shutdown_write() {
            Ok(()) => {
                self.is_shut = true;
                Ok(Progress::Done)
            }
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Err(self.was_reset()),
            Err(error) => Err(format!("cannot shut the sending side: {error}")),
        }
    }

    /// Runs a closure with the connection, which blocks meanwhile.
    fn run(
        &mut self,
        action: &Arc<Action>,
        current: &Current,
        host: &Host<Scripted>,
    ) -> Result<Progress, String> {
        let limit = current.deadline.limit();
        let timeout = Some(limit.clamp(Duration::from_millis(1), LONGEST));
        let conn = &mut self.conn;
        let ready = conn
            .stream()
            .set_nonblocking(false)
            .and_then(|()| conn.set_read_timeout(timeout))
            .and_then(|()| conn.set_write_timeout(timeout));
        ready.map_err(|error| format!("cannot make the connection block: {error}"))?;
        let outcome = host.with_closure(&current.queued, &current.deadline, || {
            HandlerError::catch(|| action(conn))
        });
        let restored = conn.stream().set_nonblocking(true);
        outcome.and_then(|outcome| outcome).map_err(told)?;
        restored.map_err(|error| format!("cannot keep the connection from blocking: {error}"))?;
        match current.deadline.expired() {
            false => Ok(Progress::Done),
            true => Err(format!("its closure took longer than {limit:?}")),
        }
    }

    fn receive(&mut self) -> Result<Read, String> {
        match self.conn.fill_now() {
            Ok(None) => Ok(Read::Nothing),
            Ok(Some(0)) => Ok(Read::End),
            Ok(Some(_)) => Ok(Read::Data),
            Err(error) if is_reset(&error) => Ok(Read::Reset),
            Err(error) => Err(error.to_string()),
        }
    }

    fn sent(&self) -> u64 {
        self.conn.live().sent.load(Ordering::Relaxed)
    }

    /// Whether the client's system has refused what was sent after the client had closed.
    fn was_sent_in_vain(&self) -> bool {
        self.sent() > 0 && matches!(self.conn.stream().take_error(), Ok(Some(_)))
    }

    fn unread(&self) -> String {
        format!(
            "the client closed and never read all of what was sent to it ({}), which resets the \
             connection",
            bytes_of(self.sent())
        )
    }

    /// Why a reset came. On a Unix-domain socket there is one reason only.
    fn was_reset(&self) -> String {
        match (self.sent(), self.peer().as_inet()) {
            (0, _) => "the client reset the connection".to_owned(),
            (_, None) => self.unread(),
            (sent, Some(_)) => format!(
                "the client reset the connection, as one does that closes before it has read all: \
                 it was sent {}",
                bytes_of(sent)
            ),
        }
    }

    /// Closes it so that the client reads an end rather than a reset.
    pub(super) fn close(self) {
        let stream = self.conn.stream();
        // A client that has gone already needs none of this.
        let _ = stream.set_nonblocking(true);
        let _ = stream.shutdown(Shutdown::Write);
        let mut piece = [0; 8 * 1024];
        let mut discarded = 0;
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            discarded += count;
            if discarded > MOST_DISCARDED {
                break;
            }
        }
    }

    /// Closes it with a reset.
    pub(super) fn reset(self) -> Result<(), String> {
        let reset = self.conn.stream().set_reset_on_close();
        reset.map_err(|error| format!("cannot reset the connection: {error}"))
    }
}

fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

/// What a closure's panic or error says.
fn told(error: HandlerError) -> String {
    let failure = HandlerFailure::new(None, &error);
    match failure.panicked() {
        true => format!("its closure panicked: {}", failure.message()),
        false => format!("its closure failed: {}", failure.message()),
    }
}
