//! Two ends that talk through a tunnel, and every byte of it accounted for.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::stream::Stream;
use crate::deadline::{Deadline, bytes_of};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::report::{Failure, first_difference};

/// What the service says first.
const HELLO_CLIENT: &[u8] = b"Hello, client!\r\n";
/// What the client says.
const HELLO_SERVICE: &[u8] = b"Hello, service!\r\n";
/// The last that an end sends before it closes its sending half.
const LAST: &[u8] = b"Last words.\r\n";
/// What the other end sends after it has seen that.
const LATE: &[u8] = b"Late reply.\r\n";
/// The most bytes beyond the expected ones that are read to be shown.
const MOST_EXTRA: usize = 4096;
/// The most bytes of each direction that are kept of a failure, and read at once.
const KEPT: usize = 64 * 1024;
/// How long to wait at most for what a program need not do.
const PATIENCE: Duration = Duration::from_secs(2);

/// A wait for what need not happen: it leaves most of the check's time for what must.
fn patient(deadline: &Deadline) -> Deadline {
    Deadline::new(PATIENCE.min(deadline.remaining() / 4), "an end")
}

/// One end of a connection through the tunnel, after the handshake.
#[derive(Debug)]
pub(crate) struct Endpoint {
    stream: Stream,
    who: &'static str,
    /// All that must have come, from the connection's beginning.
    expected: Vec<u8>,
    received: Vec<u8>,
    closed: Option<Closed>,
}

/// How the other side of an end's socket closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closed {
    Eof,
    Reset,
}

/// What a program makes of one end's "I have sent all". None of it is wrong by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HalfClose {
    Carried,
    Cut,
    Held,
}

/// The client's and the service's end of one connection.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) client: Endpoint,
    pub(crate) service: Endpoint,
}

impl Conversation {
    pub(crate) fn new(mut client: Stream, service: Stream) -> Conversation {
        client.forget();
        Conversation {
            client: Endpoint::new(client, "the client"),
            service: Endpoint::new(service, "the service"),
        }
    }

    /// The service speaks.
    pub(crate) fn greet_client(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        self.service.say(HELLO_CLIENT, &mut self.client, deadline)?;
        self.client.receive(deadline)
    }

    /// The client speaks.
    pub(crate) fn greet_service(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        self.client
            .say(HELLO_SERVICE, &mut self.service, deadline)?;
        self.service.receive(deadline)
    }

    /// The client says that it has sent all, then the service answers and closes too.
    pub(crate) fn client_half_close(
        &mut self,
        deadline: &Deadline,
        notes: &mut Vec<String>,
    ) -> Result<(), CheckError> {
        half_close(&mut self.client, &mut self.service, deadline, notes)
    }

    /// The service says that it has sent all, then the client answers and closes too.
    pub(crate) fn service_half_close(
        &mut self,
        deadline: &Deadline,
        notes: &mut Vec<String>,
    ) -> Result<(), CheckError> {
        half_close(&mut self.service, &mut self.client, deadline, notes)
    }

    /// Nothing more may come to either end, and closing the client must close the service's side.
    pub(crate) fn end(
        mut self,
        deadline: &Deadline,
        notes: &mut Vec<String>,
    ) -> Result<(), CheckError> {
        let patient = patient(deadline);
        if !self.client.receive_end(&patient)? {
            notes.push("the client sees no end until it closes the connection".to_owned());
        }
        self.close(deadline)
    }

    /// A short conversation: both greetings, then the client closes.
    pub(crate) fn whole(mut self, deadline: &Deadline) -> Result<(), CheckError> {
        self.greet_client(deadline)?;
        self.greet_service(deadline)?;
        self.close(deadline)
    }

    /// The client goes, which the service must see.
    fn close(self, deadline: &Deadline) -> Result<(), CheckError> {
        let Conversation {
            client,
            mut service,
        } = self;
        drop(client);
        match service.receive_end(deadline)? {
            true => Ok(()),
            false => {
                let message = deadline.error("; the client has closed the connection");
                Err(service.differs(format!("the service: {message}")))
            }
        }
    }
}

/// `near` sends its last words and closes its sending half; they must arrive at `far` whole. Then
/// `far` answers: whether that still arrives is the program's way, but it must not be something else.
fn half_close(
    near: &mut Endpoint,
    far: &mut Endpoint,
    deadline: &Deadline,
    notes: &mut Vec<String>,
) -> Result<(), CheckError> {
    near.say(LAST, far, deadline)?;
    near.stream.shutdown_write().map_err(|error| {
        near.differs(format!(
            "{} cannot close its sending half: {error}",
            near.who
        ))
    })?;
    far.receive(deadline)?;
    let patient = patient(deadline);
    let seen = far.receive_end(&patient)?;
    if far.closed == Some(Closed::Reset) {
        notes.push(format!("{} sees a reset in place of the end", far.who));
    }
    // An error here is a program that has closed both ways, which `late` finds out.
    far.stream.set_deadline(*deadline);
    let _ = far
        .stream
        .write_all(LATE)
        .and_then(|()| far.stream.shutdown_write());
    let late = near.receive_late(deadline)?;
    let way = match (seen, late) {
        (false, _) => HalfClose::Held,
        (true, true) => HalfClose::Carried,
        (true, false) => HalfClose::Cut,
    };
    notes.push(match way {
        HalfClose::Carried => "half-close carried".to_owned(),
        HalfClose::Cut => format!("half-close cut: {}'s late reply is lost", far.who),
        HalfClose::Held => format!("half-close held: {} sees no end", far.who),
    });
    Ok(())
}

/// For checks that say what they send and expect. All waits end with the check.
impl Endpoint {
    pub(crate) fn new(stream: Stream, who: &'static str) -> Endpoint {
        Endpoint {
            stream,
            who,
            expected: Vec::new(),
            received: Vec::new(),
            closed: None,
        }
    }

    /// `the client` or `the service`.
    pub(crate) fn who(&self) -> &'static str {
        self.who
    }

    /// The stream itself: for bulk data, half-closes and resets.
    pub(crate) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(crate) fn into_stream(self) -> Stream {
        self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<(), CheckError> {
        let sent = self.stream.write_all(bytes);
        sent.map_err(|error| {
            let message = format!(
                "{} cannot send {}: {error}",
                self.who,
                bytes_of(bytes.len())
            );
            self.shows(message, None, self.stream.received())
        })
    }

    /// Closes the sending half.
    pub(crate) fn shut(&mut self) -> Result<(), CheckError> {
        self.stream.shutdown_write().map_err(|error| {
            self.failed(format!(
                "{} cannot close its sending half: {error}",
                self.who
            ))
        })
    }

    /// The next bytes must be these. No more are read, and none behind one that is another.
    pub(crate) fn expect(&mut self, what: &'static str, expected: &[u8]) -> Result<(), CheckError> {
        let as_expected = |at: usize, piece: &[u8]| expected[at..].starts_with(piece);
        let came = self.take_while(what, expected.len(), as_expected)?;
        if came == expected {
            return Ok(());
        }
        let at = first_difference(expected, &came);
        let message = match at == came.len() {
            true => format!(
                "{} has {at} of the {} bytes of {what}",
                self.who,
                expected.len()
            ),
            false => format!(
                "{} has {what}, but byte {at} is another than was sent",
                self.who
            ),
        };
        Err(self.shows(message + self.so_far(), Some(expected), &came))
    }

    /// The next `length` bytes, whatever they are.
    pub(crate) fn take(
        &mut self,
        what: &'static str,
        length: usize,
    ) -> Result<Vec<u8>, CheckError> {
        let came = self.take_up_to(what, length)?;
        if came.len() == length {
            return Ok(came);
        }
        let message = format!(
            "{} has {} of the {length} bytes of {what}",
            self.who,
            came.len()
        );
        Err(self.shows(message + self.so_far(), None, &came))
    }

    /// The next `length` bytes, or fewer if the end comes first.
    pub(crate) fn take_up_to(
        &mut self,
        what: &'static str,
        length: usize,
    ) -> Result<Vec<u8>, CheckError> {
        self.take_while(what, length, |_, _| true)
    }

    /// As [`Endpoint::take_up_to`], and no more behind a piece that is not `good`, which also gets where it begins.
    fn take_while(
        &mut self,
        what: &'static str,
        length: usize,
        good: impl Fn(usize, &[u8]) -> bool,
    ) -> Result<Vec<u8>, CheckError> {
        let mut came = Vec::new();
        self.stream.wait_for(what);
        while came.len() < length && self.closed.is_none() {
            let before = came.len();
            came.resize(length.min(before + KEPT), 0);
            let read = self.stream.read(&mut came[before..]);
            came.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => self.closed = Some(Closed::Eof),
                Ok(_) if good(before, &came[before..]) => {}
                Ok(_) => break,
                Err(error) if is_reset(&error) => self.closed = Some(Closed::Reset),
                Err(error) => {
                    return Err(self.shows(format!("{}: {error}", self.who), None, &came));
                }
            }
        }
        Ok(came)
    }

    /// Nothing more comes before the other side closes, by an end or a reset.
    pub(crate) fn expect_end(&mut self) -> Result<(), CheckError> {
        let came = self.take_up_to("the connection to be closed", MOST_EXTRA)?;
        match came.len() {
            0 => Ok(()),
            length => {
                let bytes = if length == 1 { "byte" } else { "bytes" };
                let message = format!("{} has {length} {bytes} in place of the end", self.who);
                Err(self.shows(message, Some(b""), &came))
            }
        }
    }

    /// A failure with what was sent and received on this connection.
    pub(crate) fn failed(&self, message: impl Into<String>) -> CheckError {
        self.shows(message.into(), None, self.stream.received())
    }

    fn shows(&self, message: String, expected: Option<&[u8]>, received: &[u8]) -> CheckError {
        // Of very many bytes those where they begin to differ; the message tells where that is.
        let at = expected.map_or(0, |expected| first_difference(expected, received));
        let from = at.saturating_sub(KEPT / 2);
        let part = |bytes: &[u8]| {
            let bytes = bytes.get(from..).unwrap_or_default();
            bytes[..bytes.len().min(KEPT)].to_vec()
        };
        let failure = Failure {
            sent: Some(self.stream.sent().to_vec()),
            expected: expected.map(part),
            received: Some(part(received)),
            ..Failure::default()
        };
        CheckError::with(message, failure)
    }
}

/// For conversations, which account for every byte.
impl Endpoint {
    fn say(
        &mut self,
        bytes: &[u8],
        to: &mut Endpoint,
        deadline: &Deadline,
    ) -> Result<(), CheckError> {
        to.expected.extend_from_slice(bytes);
        self.stream.set_deadline(*deadline);
        self.stream.write_all(bytes).map_err(|error| {
            let message = format!(
                "{} cannot send {}: {error}",
                self.who,
                bytes_of(bytes.len())
            );
            self.differs(message)
        })
    }

    /// Waits until all that was sent has come, and checks that it is that and nothing else.
    fn receive(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        while self.received.len() < self.expected.len() && self.matches() && self.closed.is_none() {
            if !self.read(self.due(), deadline)? {
                let message = deadline.error(self.so_far()).to_string();
                return Err(self.differs(format!("{}: {message}", self.who)));
            }
        }
        self.compare()
    }

    /// Waits until the other side has closed; `false` if it has not at the deadline. Nothing beyond
    /// what was sent may come.
    fn receive_end(&mut self, deadline: &Deadline) -> Result<bool, CheckError> {
        while self.closed.is_none() {
            if !self.read(MOST_EXTRA, deadline)? {
                self.compare()?;
                return Ok(false);
            }
            if self.received.len() > self.expected.len() {
                break;
            }
        }
        self.compare().map(|()| true)
    }

    /// Waits for the late reply or the end; whether the reply came.
    fn receive_late(&mut self, deadline: &Deadline) -> Result<bool, CheckError> {
        let before = self.expected.len();
        self.expected.extend_from_slice(LATE);
        while self.received.len() < self.expected.len() && self.matches() && self.closed.is_none() {
            if !self.read(self.due(), deadline)? {
                let message = deadline.error("; neither the late reply nor an end came");
                return Err(self.differs(format!("{}: {message}", self.who)));
            }
        }
        if self.closed.is_some() && self.received.len() >= before && self.matches() {
            // Cut off before or in the late reply: no more is expected.
            self.expected.truncate(self.received.len());
            return Ok(false);
        }
        self.compare().map(|()| true)
    }

    /// How many bytes are still to come. Never more are read, so that a byte too many fails the next
    /// check, however the bytes were cut into segments.
    fn due(&self) -> usize {
        self.expected.len() - self.received.len()
    }

    /// Reads once, at most `most` bytes; `false` at the deadline.
    fn read(&mut self, most: usize, deadline: &Deadline) -> Result<bool, CheckError> {
        self.stream.set_deadline(*deadline);
        let mut buffer = [0; MOST_EXTRA];
        match self.stream.read(&mut buffer[..most.min(MOST_EXTRA)]) {
            Ok(0) => self.closed = Some(Closed::Eof),
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Ok(false),
            Err(error) if is_reset(&error) => self.closed = Some(Closed::Reset),
            Err(error) => {
                return Err(self.differs(format!("{} cannot read: {error}", self.who)));
            }
        }
        Ok(true)
    }

    fn matches(&self) -> bool {
        self.expected.starts_with(&self.received)
    }

    fn compare(&self) -> Result<(), CheckError> {
        if self.received == self.expected {
            return Ok(());
        }
        let at = first_difference(&self.expected, &self.received);
        let (came, due) = (self.received.len(), self.expected.len());
        let message = if at == came {
            format!("{} has {came} of {due} bytes{}", self.who, self.so_far())
        } else if at == due {
            format!("{} has {} bytes that nobody sent", self.who, came - due)
        } else {
            format!(
                "{} has other bytes than were sent, from byte {at} on",
                self.who
            )
        };
        Err(self.differs(message))
    }

    fn so_far(&self) -> &'static str {
        match self.closed {
            Some(Closed::Eof) => "; then the connection ended",
            Some(Closed::Reset) => "; then the connection was reset",
            None => "; the connection is still open",
        }
    }

    fn differs(&self, message: String) -> CheckError {
        let sent = self.stream.sent();
        let failure = Failure {
            sent: (!sent.is_empty()).then(|| sent.to_vec()),
            expected: Some(self.expected.clone()),
            received: Some(self.received.clone()),
            ..Failure::default()
        };
        CheckError::with(message, failure)
    }
}

/// Whether an error says that the other side has gone.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected};
    matches!(
        error.kind(),
        ConnectionReset | ConnectionAborted | BrokenPipe | NotConnected
    )
}
