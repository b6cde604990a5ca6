//! What several suites look at: an answer to a request, a close, many bytes.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::{Backoff, Deadline};
use crate::tunnel::check::connection_group::about;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::conversation::{Conversation, Endpoint, is_reset};
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::report::{Failure, first_difference};
use crate::tunnel::route::Target;

/// How long a program may take to come to rest, and to serve again when nothing stands against it.
const RESTING: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(12);
/// How much is read and written at once.
const PIECE: usize = 64 * 1024;
/// How many bytes around a difference are shown.
const SHOWN: usize = 64;

/// One of the two ends of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Service,
}

/// How the other side of a connection closed, as far as was waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    End,
    Reset,
    Nothing,
}

/// What a program makes of a request.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It has no handshake: the request is the connection itself.
    Forwards,
    /// It tells success.
    Connected,
    /// It tells a failure or closes; in words.
    Refused(String),
}

impl Close {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Close::End => "end",
            Close::Reset => "reset",
            Close::Nothing => "nothing",
        }
    }
}

impl CheckContext<'_> {
    /// Connects through the program: the end at `near`, then the other one.
    pub(crate) fn sides(&mut self, near: Side) -> Result<(Endpoint, Endpoint), CheckError> {
        let Conversation { client, service } = self.connect()?;
        Ok(match near {
            Side::Client => (client, service),
            Side::Service => (service, client),
        })
    }

    /// Asks for `target` and takes any answer, but none at all.
    pub(crate) fn ask(
        &mut self,
        client: &mut Endpoint,
        target: &Target,
    ) -> Result<Answer, CheckError> {
        let (tunnel, deadline) = (self.tunnel(), self.deadline("an answer to the request"));
        let stream = client.stream();
        stream.set_deadline(deadline);
        let done = tunnel.handshake(stream, target);
        let spoken = !(stream.sent().is_empty() && stream.received().is_empty());
        match done {
            Ok(_) if !spoken => {
                let _ = self.connector().speak_if_waited_for(client.stream());
                Ok(Answer::Forwards)
            }
            Ok(_) => Ok(Answer::Connected),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let target = target.to_report();
                Err(client.failed(format!("the request for {target} has no answer: {error}")))
            }
            Err(error) => Ok(Answer::Refused(error.to_string())),
        }
    }

    /// What the client says in an ordinary handshake. The service sees a connection come and go.
    pub(crate) fn request(&mut self) -> Result<Vec<u8>, CheckError> {
        let mut client = self.raw()?;
        let target = Target::Address(self.route().service);
        let (connector, deadline) = (self.connector(), self.deadline("the handshake"));
        connector.handshake(client.stream(), &target, &deadline)?;
        let sent = client.stream().sent().to_vec();
        let (mut service, _) = self.accept(&mut client)?;
        connector.preamble(service.stream(), client.stream())?;
        drop(client);
        let left = self.deadline.remaining();
        match service.close_within(left)? {
            Close::Nothing => Err(service.failed("the service sees no end of the connection")),
            _ => Ok(sent),
        }
    }

    /// A connection that has carried a few words both ways.
    pub(crate) fn live(&mut self) -> Result<Conversation, CheckError> {
        let deadline = self.deadline("a live connection");
        let mut both = self.connect()?;
        both.greet_client(&deadline)?;
        both.greet_service(&deadline)?;
        Ok(both)
    }

    /// A connection on which the client has said half of what an ordinary one says.
    pub(crate) fn half_handshake(&mut self) -> Result<Endpoint, CheckError> {
        let request = self.request()?;
        if request.is_empty() {
            return Err(CheckContext::no_handshake());
        }
        let mut client = self.raw()?;
        client.send(&request[..request.len() / 2])?;
        Ok(client)
    }

    /// Turns away who comes to the service by connections that have been left, until nobody comes any more.
    pub(crate) fn clear(&mut self) {
        let deadline = Deadline::new(self.scaled_timeout(RESTING), "the program to rest");
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let nobody = self.service().is_idle();
            if (nobody && self.program.child().is_at_rest()) || deadline.expired() {
                return;
            }
            if nobody {
                pause.sleep(&deadline);
            }
        }
    }

    /// An ordinary connection works, as soon as the program has seen that what was is over.
    pub(crate) fn serves_again(&mut self, when: &'static str) -> Result<(), CheckError> {
        let limit = self.scaled_timeout(AGAIN).min(self.patience());
        let whole = Deadline::new(limit, when);
        loop {
            self.clear();
            let attempt = Deadline::new(limit / 4, when);
            self.connected(1);
            let both = self.program.open(None, &attempt);
            match both.and_then(|both| both.whole(&attempt)) {
                Ok(()) => return Ok(()),
                Err(error) if whole.expired() || !self.is_running() => {
                    return Err(about(when, error));
                }
                Err(_) => {}
            }
        }
    }

    /// Why a check of the handshake makes no sense where there is none.
    pub(crate) fn no_handshake() -> CheckError {
        CheckError::Skipped("this kind has no handshake".to_owned())
    }

    /// A part of the time left, for what need not happen.
    pub(crate) fn patience(&self) -> Duration {
        self.deadline.remaining() * 3 / 4
    }
}

impl Endpoint {
    /// Waits until the other side closes, no longer than `limit`. A byte in its place is a failure.
    pub(crate) fn close_within(&mut self, limit: Duration) -> Result<Close, CheckError> {
        let who = self.who();
        let mut byte = [0];
        match self.read_within(limit, &mut byte) {
            Ok(Some(0)) => Ok(Close::End),
            Ok(Some(_)) => Err(self.failed(format!("{who} has bytes that nobody sent"))),
            Ok(None) => Ok(Close::Nothing),
            Err(error) if is_reset(&error) => Ok(Close::Reset),
            Err(error) => Err(self.failed(format!("{who} cannot read: {error}"))),
        }
    }

    /// Reads whatever comes until the other side closes, no longer than `limit`.
    pub(crate) fn drain(&mut self, limit: Duration) -> Close {
        let deadline = Deadline::new(limit, "an end");
        let mut buffer = vec![0; PIECE];
        loop {
            match self.read_within(deadline.remaining(), &mut buffer) {
                Ok(Some(0)) => return Close::End,
                Ok(Some(_)) => {}
                Ok(None) => return Close::Nothing,
                Err(_) => return Close::Reset,
            }
        }
    }

    /// The next bytes must be `data`, in pieces of any size. Holds none of them.
    pub(crate) fn receive_all(&mut self, data: &[u8]) -> Result<(), CheckError> {
        let who = self.who();
        let (mut buffer, mut came) = (vec![0; PIECE], 0);
        self.stream().wait_for("all that was sent");
        while came < data.len() {
            let most = PIECE.min(data.len() - came);
            let why = match self.stream().read(&mut buffer[..most]) {
                Ok(0) => "then the connection ended".to_owned(),
                Ok(length) => {
                    differs(who, data, came, &buffer[..length])?;
                    came += length;
                    continue;
                }
                Err(error) if is_reset(&error) => "then the connection was reset".to_owned(),
                Err(error) => error.to_string(),
            };
            let due = data.len();
            return Err(CheckError::failed(format!(
                "{who} has {came} of {due} bytes; {why}"
            )));
        }
        Ok(())
    }

    /// Reads once; `None` at `limit`. The stream then has its own deadline again.
    fn read_within(&mut self, limit: Duration, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let stream = self.stream();
        let own = stream.deadline();
        stream.set_deadline(Deadline::new(limit.min(own.remaining()), "an end"));
        let read = stream.read(buffer);
        stream.set_deadline(own);
        match read {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok(None),
            done => done.map(Some),
        }
    }
}

/// Sends `data` on one thread, then does `then` with the end that sent it; `far` must get all of it.
/// Gives back both.
pub(crate) fn carry<T: Send>(
    near: Endpoint,
    mut far: Endpoint,
    data: &[u8],
    then: impl FnOnce(Stream) -> T + Send,
) -> Result<(T, Endpoint), CheckError> {
    let who = near.who();
    let mut stream = near.into_stream();
    thread::scope(|scope| {
        let sender = scope.spawn(move || {
            let sent = stream.write_all(data);
            sent.map(|()| then(stream))
        });
        let received = far.receive_all(data);
        // A sender whose receiver has given up must not wait for it.
        let far = received.map(|()| far);
        let sent = sender.join();
        let far = far?;
        match sent {
            Ok(Ok(then)) => Ok((then, far)),
            Ok(Err(error)) => Err(CheckError::failed(format!("{who} cannot send: {error}"))),
            Err(_) => Err(CheckError::failed(format!("{who} panicked while it sent"))),
        }
    })
}

/// A multicast address like `like`: no connection can be made to one, and the system says so without a
/// packet.
pub(crate) fn nowhere(like: IpAddr) -> SocketAddr {
    let ip = match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 1)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    };
    SocketAddr::new(ip, 9)
}

/// Closes it with a reset in place of an end.
pub(crate) fn reset(end: Endpoint) -> Result<(), CheckError> {
    let done = end.into_stream().reset();
    done.map_err(|error| CheckError::Skipped(format!("this machine cannot reset: {error}")))
}

/// How long something took, so coarsely that two runs of the same program say the same.
pub(crate) fn coarse(elapsed: Duration) -> &'static str {
    match elapsed.as_millis() {
        0..100 => "at once",
        100..1000 => "within a second",
        1000..10_000 => "within ten seconds",
        _ => "later",
    }
}

/// Since `begun`.
pub(crate) fn coarse_since(begun: Instant) -> &'static str {
    coarse(begun.elapsed())
}

/// An error unless `came` is what stands in `data` at `at`.
fn differs(who: &str, data: &[u8], at: usize, came: &[u8]) -> Result<(), CheckError> {
    let due = &data[at..at + came.len()];
    if due == came {
        return Ok(());
    }
    let first = first_difference(due, came);
    let shown = first..came.len().min(first + SHOWN);
    let failure = Failure {
        expected: Some(due[shown.clone()].to_vec()),
        received: Some(came[shown].to_vec()),
        ..Failure::default()
    };
    let at = at + first;
    let message = format!("{who} has other bytes than were sent, from byte {at} on");
    Err(CheckError::with(message, failure))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn pair() -> (Endpoint, Endpoint) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        let stream = |tcp| Stream::new(tcp, Deadline::new(LONG, "the check"));
        (
            Endpoint::new(stream(near), "the client"),
            Endpoint::new(stream(far), "the service"),
        )
    }

    fn message(error: CheckError) -> String {
        match error {
            CheckError::Failed(message, _) => message,
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn times_are_told_coarsely() {
        let millis = [0, 99, 100, 999, 1000, 9999, 10_000];
        let told = millis.map(|n| coarse(Duration::from_millis(n)));
        assert_eq!(told[..2], ["at once"; 2]);
        assert_eq!(told[2..4], ["within a second"; 2]);
        assert_eq!(told[4..6], ["within ten seconds"; 2]);
        assert_eq!(told[6], "later");
    }

    #[test]
    fn closes_are_told_apart() {
        let (near, mut far) = pair();
        assert_eq!(
            far.close_within(Duration::from_millis(5)).unwrap(),
            Close::Nothing
        );
        drop(near);
        assert_eq!(far.close_within(LONG).unwrap(), Close::End);

        let (near, mut far) = pair();
        near.into_stream().reset().unwrap();
        assert_eq!(far.close_within(LONG).unwrap(), Close::Reset);

        let (mut near, mut far) = pair();
        near.send(b"x").unwrap();
        let error = message(far.close_within(LONG).unwrap_err());
        assert_eq!(error, "the service has bytes that nobody sent");
        near.send(b"more").unwrap();
        drop(near);
        assert_eq!(far.drain(LONG), Close::End);
    }

    #[test]
    fn all_bytes_must_come() {
        let data: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
        let (near, far) = pair();
        let (_, mut far) = carry(near, far, &data, drop).unwrap();
        assert_eq!(far.close_within(LONG).unwrap(), Close::End);

        let (near, mut far) = pair();
        let short = &data[..299_999];
        let error = thread::scope(|scope| {
            scope.spawn(|| near.into_stream().write_all(short));
            far.receive_all(&data).unwrap_err()
        });
        let cut = "the service has 299999 of 300000 bytes; then the connection ended";
        assert_eq!(message(error), cut);

        let (near, mut far) = pair();
        let mut other = data.clone();
        other[200_000] ^= 1;
        let error = thread::scope(|scope| {
            scope.spawn(|| near.into_stream().write_all(&other));
            let error = far.receive_all(&data).unwrap_err();
            drop(far);
            error
        });
        let CheckError::Failed(text, failure) = error else {
            panic!("{error:?}");
        };
        assert_eq!(
            text,
            "the service has other bytes than were sent, from byte 200000 on"
        );
        assert_eq!(
            failure.expected.unwrap()[0] ^ 1,
            failure.received.unwrap()[0]
        );
    }
}
