//! Bulk transfers over one connection, compared byte by byte as they come, in bounded memory.

use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::conversation::Conversation;
use super::data::{BLOCK, Data};
use crate::deadline::Deadline;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::report::{Failure, first_difference};

/// How much of a difference is shown, with as much as is known before it.
const SHOWN: usize = 64;

/// How long waits may take: each, and all together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    whole: Deadline,
    step: Duration,
}

/// One direction of a transfer.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) data: Data,
    pub(crate) bytes: u64,
}

/// What is to be carried over a connection, each way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transfer {
    pub(crate) up: Option<Load>,
    pub(crate) down: Option<Load>,
}

/// Both ends of a connection.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) client: Stream,
    pub(crate) service: Stream,
}

/// What is done at once with others.
pub(crate) type Part<'a> = Box<dyn FnOnce() -> Result<(), CheckError> + Send + 'a>;

impl Bounds {
    /// Each wait takes at most `step`, all together no longer than `whole`.
    pub(crate) fn within(whole: Deadline, step: Duration) -> Bounds {
        Bounds { whole, step }
    }

    /// For the next wait.
    pub(crate) fn next(&self, what: &'static str) -> Deadline {
        Deadline::new(self.step.min(self.whole.remaining()), what)
    }
}

impl Ends {
    pub(crate) fn of(both: Conversation) -> Ends {
        Ends {
            client: both.client.into_stream(),
            service: both.service.into_stream(),
        }
    }

    /// As it is used by any program: for measurements.
    pub(crate) fn plain(self) -> Ends {
        Ends {
            client: self.client.plain(),
            service: self.service.plain(),
        }
    }

    /// The same connection, for another thread.
    pub(crate) fn try_clone(&self) -> Result<Ends, CheckError> {
        let failed =
            |error| CheckError::Skipped(format!("cannot use a socket on two threads: {error}"));
        Ok(Ends {
            client: self.client.try_clone().map_err(failed)?,
            service: self.service.try_clone().map_err(failed)?,
        })
    }

    /// Ends the connection, also for whoever reads or writes on another thread.
    pub(crate) fn cut(&self) {
        self.client.cut();
        self.service.cut();
    }

    /// Does all parts at once, the last one on this thread. The first failure cuts the connection, so that nobody waits for what
    /// cannot come any more; failures after it come from that and are not told.
    pub(crate) fn together(&self, mut parts: Vec<Part<'_>>) -> Result<(), CheckError> {
        let own = parts.pop();
        let first = Mutex::new(None);
        let run = |part: Part<'_>| {
            if let Err(error) = part() {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert(error);
                self.cut();
            }
        };
        thread::scope(|scope| {
            for part in parts {
                scope.spawn(|| run(part));
            }
            own.into_iter().for_each(run);
        });
        let first = first.into_inner().unwrap_or_else(PoisonError::into_inner);
        first.map_or(Ok(()), Err)
    }
}

impl Transfer {
    pub(crate) fn bytes(&self) -> u64 {
        let loads = [&self.up, &self.down].into_iter().flatten();
        loads.map(|load| load.bytes).sum()
    }

    /// Carries all of it, both ways at once. The connection stays open.
    pub(crate) fn carry(self, ends: &Ends, bounds: Bounds) -> Result<(), CheckError> {
        let mut parts: Vec<Part<'_>> = Vec::new();
        for (load, is_up) in [(self.up, true), (self.down, false)] {
            let Some(load) = load else { continue };
            let Ends { client, service } = ends.try_clone()?;
            let (client, service) = ((client, "the client"), (service, "the service"));
            let ((mut from, sender), (mut to, receiver)) = match is_up {
                true => (client, service),
                false => (service, client),
            };
            let sent = load.clone();
            parts.push(Box::new(move || sent.send(&mut from, sender, bounds)));
            parts.push(Box::new(move || load.receive(&mut to, receiver, bounds)));
        }
        ends.together(parts)
    }
}

impl Load {
    pub(crate) fn new(data: Data, bytes: u64) -> Load {
        Load { data, bytes }
    }

    pub(crate) fn send(
        mut self,
        to: &mut Stream,
        who: &str,
        bounds: Bounds,
    ) -> Result<(), CheckError> {
        let mut sent = 0;
        while sent < self.bytes {
            to.set_deadline(bounds.next("the data to be taken"));
            let written = to
                .write(self.data.peek(self.bytes - sent))
                .map_err(|error| {
                    let of = self.bytes;
                    CheckError::failed(format!(
                        "{who} cannot send beyond {sent} of {of} bytes: {error}"
                    ))
                })?;
            self.data.advance(written);
            sent += written as u64;
        }
        Ok(())
    }

    /// Reads no more than what is due.
    pub(crate) fn receive(
        mut self,
        from: &mut Stream,
        who: &str,
        bounds: Bounds,
    ) -> Result<(), CheckError> {
        let mut buffer = vec![0; BLOCK];
        let mut came = 0;
        while came < self.bytes {
            came += self.receive_some(from, who, bounds, came, &mut buffer)?;
        }
        Ok(())
    }

    /// Reads once, at most as much as the buffer holds; how much. `came` has come before.
    pub(crate) fn receive_some(
        &mut self,
        from: &mut Stream,
        who: &str,
        bounds: Bounds,
        came: u64,
        buffer: &mut [u8],
    ) -> Result<u64, CheckError> {
        let most = buffer.len() as u64;
        let due = self.data.peek(most.min(self.bytes - came));
        from.set_deadline(bounds.next("the data"));
        let why = match from.read(&mut buffer[..due.len()]) {
            Ok(0) => "then the connection ended".to_owned(),
            Ok(read) if due[..read] == buffer[..read] => {
                self.data.advance(read);
                return Ok(read as u64);
            }
            Ok(read) => return Err(differs(who, came, due, &buffer[..read])),
            Err(error) => error.to_string(),
        };
        let message = format!("{who} has {came} of {} bytes; {why}", self.bytes);
        Err(CheckError::failed(message))
    }
}

/// Sends `bytes` bytes back as they come.
pub(crate) fn repeat(service: &mut Stream, bytes: u64, bounds: Bounds) -> Result<(), CheckError> {
    let mut buffer = vec![0; BLOCK];
    let mut came = 0;
    while came < bytes {
        service.set_deadline(bounds.next("the data"));
        let most = usize::try_from(bytes - came).map_or(BLOCK, |left| left.min(BLOCK));
        let read = service.read(&mut buffer[..most]);
        let why = match read {
            Ok(0) => "then the connection ended".to_owned(),
            Ok(read) => {
                came += read as u64;
                let sent = service.write_all(&buffer[..read]);
                sent.map_err(|error| {
                    CheckError::failed(format!(
                        "the service cannot send {read} bytes back: {error}"
                    ))
                })?;
                continue;
            }
            Err(error) => error.to_string(),
        };
        return Err(CheckError::failed(format!(
            "the service has {came} of {bytes} bytes; {why}"
        )));
    }
    Ok(())
}

fn differs(who: &str, before: u64, due: &[u8], came: &[u8]) -> CheckError {
    let at = first_difference(due, came);
    let from = at.saturating_sub(SHOWN / 4);
    let shown = |bytes: &[u8]| bytes[from..bytes.len().min(from + SHOWN)].to_vec();
    let message = format!(
        "{who} has other bytes than were sent, from byte {} on",
        before + at as u64
    );
    let failure = Failure {
        expected: Some(shown(due)),
        received: Some(shown(came)),
        ..Failure::default()
    };
    CheckError::with(message, failure)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::tunnel::ends::random::Random;

    const LIMIT: Duration = Duration::from_secs(20);

    fn pair() -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        (Stream::new(near, Deadline::new(LIMIT, "the test")), far)
    }

    fn bounds(step: Duration) -> Bounds {
        Bounds::within(Deadline::new(LIMIT, "the test"), step)
    }

    fn load(bytes: u64) -> Load {
        Load::new(Data::new(&mut Random::new(1)), bytes)
    }

    /// What is said when these bytes come in place of the load's, and what is shown of them.
    fn said(came: &[u8], step: Duration) -> (String, Failure) {
        let (mut near, mut far) = pair();
        far.write_all(came).unwrap();
        // It stays open where the reader is to wait.
        let far = (step < LIMIT).then_some(far);
        let error = load(1000).receive(&mut near, "the service", bounds(step));
        drop(far);
        match error.unwrap_err() {
            CheckError::Failed(message, failure) => (message, *failure),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_first_wrong_byte_is_told_and_shown_with_what_is_around_it() {
        let sent = load(1000).data.take(1000);
        let mut came = sent.clone();
        came[500] ^= 1;
        let (message, failure) = said(&came, LIMIT);
        let text = "the service has other bytes than were sent, from byte 500 on";
        assert_eq!(message, text);
        assert_eq!(failure.expected, Some(sent[484..548].to_vec()));
        assert_eq!(failure.received, Some(came[484..548].to_vec()));
    }

    #[test]
    fn an_end_before_all_has_come_is_told() {
        let sent = load(1000).data.take(999);
        let (message, _) = said(&sent, LIMIT);
        let text = "the service has 999 of 1000 bytes; then the connection ended";
        assert_eq!(message, text);
    }

    #[test]
    fn what_hangs_is_given_up_after_a_step_and_not_at_the_very_end() {
        let sent = load(1000).data.take(10);
        let (message, _) = said(&sent, Duration::from_millis(20));
        let text = "the service has 10 of 1000 bytes; \
                    timed out after 20ms waiting for the data; 10 bytes came by this connection in all";
        assert_eq!(message, text);
    }

    #[test]
    fn the_first_failure_ends_all_parts_and_is_the_one_that_is_told() {
        let ((client, _far), (service, _other)) = (pair(), pair());
        let ends = Ends { client, service };
        let mut reader = ends.try_clone().unwrap().client;
        let parts: Vec<Part<'_>> = vec![
            Box::new(move || {
                let read = reader.read(&mut [0]);
                assert_eq!(read.unwrap(), 0, "the connection was cut");
                Err(CheckError::failed("second"))
            }),
            Box::new(|| Err(CheckError::failed("first"))),
        ];
        match ends.together(parts).unwrap_err() {
            CheckError::Failed(message, _) => assert_eq!(message, "first"),
            other => panic!("{other:?}"),
        }
    }
}
