//! The service of datagrams, and what is said of them.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use crate::deadline::Deadline;
use crate::proto::socks5::Host;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::report::Failure;

/// More than the largest datagram.
pub(super) const BUFFER: usize = 65_536;
/// The bytes of a datagram that are shown.
pub(super) const MOST_SHOWN: usize = 256;

/// The service: a socket, or one for each address of a name.
pub(super) struct Far {
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Far {
    pub(super) fn new(context: &CheckContext<'_>) -> Result<Far, CheckError> {
        // Where a forwarder sends them there is one place.
        if let Some(datagrams) = context.program.datagrams() {
            let socket = datagrams.try_clone();
            let socket = socket.map_err(|error| CheckError::Skipped(error.to_string()))?;
            return Ok(Far {
                sockets: vec![socket],
                addresses: vec![context.route().service],
            });
        }
        let ip = context.route().service.ip();
        let bound = UdpSocket::bind((ip, 0)).and_then(|socket| {
            let addresses = vec![socket.local_addr()?];
            Ok(Far {
                sockets: vec![socket],
                addresses,
            })
        });
        bound
            .map_err(|error| CheckError::Skipped(format!("no port for a service on {ip}: {error}")))
    }

    /// The same port on each of `addresses`.
    pub(super) fn at(addresses: Vec<SocketAddr>, deadline: &Deadline) -> Result<Far, CheckError> {
        loop {
            let mut far = Far {
                sockets: Vec::new(),
                addresses: Vec::new(),
            };
            let mut port = 0;
            for address in &addresses {
                let Ok(socket) = UdpSocket::bind((address.ip(), port)) else {
                    break;
                };
                let Ok(here) = socket.local_addr() else { break };
                port = here.port();
                far.sockets.push(socket);
                far.addresses.push(here);
            }
            if far.sockets.len() == addresses.len() {
                return Ok(far);
            }
            if deadline.expired() {
                return Err(CheckError::Skipped(
                    "no port for a service on localhost".to_owned(),
                ));
            }
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// As a header names it.
    pub(super) fn named(&self) -> (Host, u16) {
        (Host::Ip(self.address().ip()), self.address().port())
    }

    /// The next datagram: on which socket, its payload, and where it came from.
    pub(super) fn receive(
        &self,
        deadline: &Deadline,
    ) -> Result<(usize, Vec<u8>, SocketAddr), CheckError> {
        let mut buffer = vec![0; BUFFER];
        loop {
            for (index, socket) in self.sockets.iter().enumerate() {
                // With several, a short look at each in turn.
                let most = match self.sockets.len() {
                    1 => deadline.remaining(),
                    _ => Duration::from_millis(5),
                };
                let limit = most.min(deadline.remaining()).max(Duration::from_millis(1));
                let read = socket
                    .set_read_timeout(Some(limit))
                    .and_then(|()| socket.recv_from(&mut buffer));
                match read {
                    Ok((length, from)) => return Ok((index, buffer[..length].to_vec(), from)),
                    Err(error) if is_passing(&error) => {}
                    Err(error) => {
                        return Err(CheckError::failed(format!(
                            "the service cannot receive: {error}"
                        )));
                    }
                }
            }
            deadline
                .check()
                .map_err(|error| CheckError::failed(error.to_string()))?;
        }
    }

    /// Answers the next datagram, which must be this one; where it came from.
    pub(super) fn answers(
        &self,
        payload: &[u8],
        deadline: &Deadline,
    ) -> Result<SocketAddr, CheckError> {
        self.answers_by(payload, deadline).map(|(_, from)| from)
    }

    /// The same, with the number of the socket that it came to.
    pub(super) fn answers_by(
        &self,
        payload: &[u8],
        deadline: &Deadline,
    ) -> Result<(usize, SocketAddr), CheckError> {
        let deadline = deadline.waiting_for("the datagram to come to the service");
        let (index, came, from) = self.receive(&deadline)?;
        same(
            "the service has another payload than was sent",
            payload,
            &came,
        )?;
        self.answer(index, &answered(payload), from)?;
        Ok((index, from))
    }

    pub(super) fn answer(
        &self,
        index: usize,
        payload: &[u8],
        to: SocketAddr,
    ) -> Result<(), CheckError> {
        let sent = self.sockets[index].send_to(payload, to);
        sent.map(drop)
            .map_err(|error| CheckError::failed(format!("the service cannot answer {to}: {error}")))
    }
}

/// What the service answers: something else than it was sent, so that an echo by the program itself is none.
pub(super) fn answered(payload: &[u8]) -> Vec<u8> {
    payload.iter().rev().map(|byte| byte ^ 0x55).collect()
}

/// The next datagram within the deadline, and where it came from.
pub(super) fn receive<'a>(
    socket: &UdpSocket,
    buffer: &'a mut [u8],
    deadline: &Deadline,
) -> Result<(&'a [u8], SocketAddr), CheckError> {
    loop {
        let left = deadline.check();
        let left = left.map_err(|error| CheckError::failed(error.to_string()))?;
        let read = socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))
            .and_then(|()| socket.recv_from(buffer));
        match read {
            Ok((length, from)) => return Ok((&buffer[..length], from)),
            Err(error) if is_passing(&error) => {}
            Err(error) => {
                return Err(CheckError::failed(format!(
                    "the client cannot receive: {error}"
                )));
            }
        }
    }
}

pub(super) fn same(message: &str, expected: &[u8], received: &[u8]) -> Result<(), CheckError> {
    if expected == received {
        return Ok(());
    }
    let (due, came) = (expected.len(), received.len());
    let failure = Failure {
        expected: Some(first(expected).to_vec()),
        received: Some(first(received).to_vec()),
        ..Failure::default()
    };
    Err(CheckError::with(
        format!("{message}: {came} bytes, {due} were due"),
        failure,
    ))
}

pub(super) fn first(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(MOST_SHOWN)]
}

/// A timeout of the socket, which is judged by the deadline.
pub(super) fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}

#[cfg(test)]
mod tests;
