//! A client of a program that carries datagrams, whatever it speaks.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use super::association::{Association, Exchange, encoded};
use super::far::{BUFFER, Far, answered, receive, same};
use crate::deadline::Deadline;
use crate::proto::socks5::udp::decode;
use crate::proto::socks5::{Bound, Host};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::route::Kind;

pub(crate) enum Client {
    /// Of SOCKS5.
    Association(Box<Association>),
    /// Of a forwarder: the datagrams themselves.
    Plain(Plain),
}

/// A client of a forwarder.
pub(crate) struct Plain {
    near: UdpSocket,
    program: SocketAddr,
    deadline: Deadline,
}

impl Client {
    pub(crate) fn new(context: &mut CheckContext<'_>) -> Result<Client, CheckError> {
        if context.tunnel().kind() == Kind::Socks5 {
            return Ok(Client::Association(Box::new(Association::new(context)?)));
        }
        let route = context.route();
        let near = UdpSocket::bind((route.client, 0)).and_then(|near| {
            near.connect(route.listen)?;
            Ok(near)
        });
        let near = near.map_err(|error| {
            let (client, listen) = (route.client, route.listen);
            CheckError::failed(format!("{client} cannot send to {listen}: {error}"))
        })?;
        Ok(Client::Plain(Plain {
            near,
            program: route.listen,
            deadline: context.deadline("the answer"),
        }))
    }

    /// Until when it waits for answers.
    pub(super) fn set_deadline(&mut self, deadline: Deadline) {
        match self {
            Client::Association(association) => association.deadline = deadline,
            Client::Plain(plain) => plain.deadline = deadline,
        }
    }

    /// There and back again: where it came from at the service, and what the answer's header tells, if it has one.
    pub(super) fn exchange(
        &self,
        service: &Far,
        payload: &[u8],
    ) -> Result<(SocketAddr, Option<Bound>), CheckError> {
        match self {
            Client::Association(association) => {
                let Exchange { from, told } = association.exchange(service, payload)?;
                Ok((from, Some(told)))
            }
            Client::Plain(plain) => {
                let from = loop {
                    plain.send(payload)?;
                    // A forwarder may lose a datagram while it makes its arrangements for another client.
                    let soon = AGAIN.min(plain.deadline.remaining());
                    let soon = Deadline::new(soon, "the datagram to come to the service");
                    match service.answers(payload, &soon) {
                        Err(_) if soon.expired() && !plain.deadline.expired() => {}
                        Err(_) if soon.expired() => {
                            let late = plain
                                .deadline
                                .waiting_for("the datagram to come to the service");
                            return Err(CheckError::failed(late.error("").to_string()));
                        }
                        answered => break answered?,
                    }
                };
                plain.expect(&answered(payload))?;
                Ok((from, None))
            }
        }
    }

    /// Sends to the service.
    pub(crate) fn send(&self, service: SocketAddr, payload: &[u8]) -> Result<(), CheckError> {
        match self {
            Client::Association(association) => {
                let host = Host::Ip(service.ip());
                association.send(&encoded(0, &host, service.port(), payload)?)
            }
            Client::Plain(plain) => plain.send(payload),
        }
    }

    /// The next datagram must be this answer of the service.
    pub(crate) fn expect(&self, service: SocketAddr, answer: &[u8]) -> Result<(), CheckError> {
        match self {
            Client::Association(association) => {
                let host = Host::Ip(service.ip());
                association.expect(service, &host, answer).map(drop)
            }
            Client::Plain(plain) => plain.expect(answer),
        }
    }

    /// Where the program takes its datagrams.
    pub(super) fn program(&self) -> SocketAddr {
        match self {
            Client::Association(association) => association.relay,
            Client::Plain(plain) => plain.program,
        }
    }

    /// An exchange from another socket of the client's address, with the program at `asked`: where the answer came
    /// from.
    pub(super) fn asks(
        &self,
        near: &UdpSocket,
        asked: SocketAddr,
        service: &Far,
        payload: &[u8],
    ) -> Result<SocketAddr, CheckError> {
        let (datagram, deadline) = match self {
            Client::Association(association) => {
                let (host, port) = service.named();
                (encoded(0, &host, port, payload)?, association.deadline)
            }
            Client::Plain(plain) => (payload.to_vec(), plain.deadline),
        };
        near.send_to(&datagram, asked).map_err(|error| {
            CheckError::failed(format!("the client cannot send to {asked}: {error}"))
        })?;
        service.answers(
            payload,
            &deadline.waiting_for("the datagram to come to the service"),
        )?;
        let mut buffer = vec![0; BUFFER];
        let (came, from) = receive(near, &mut buffer, &deadline)?;
        let came = match self {
            Client::Association(_) => decode(came)
                .map_err(|error| CheckError::failed(error.to_string()))?
                .data
                .to_vec(),
            Client::Plain(_) => came.to_vec(),
        };
        same(OTHER_ANSWER, &answered(payload), &came)?;
        Ok(from)
    }
}

/// How soon a datagram is sent again that has not come.
const AGAIN: Duration = Duration::from_secs(1);

/// What is said of an answer that is another.
pub(super) const OTHER_ANSWER: &str = "the client has another payload than was answered";

impl Plain {
    fn send(&self, payload: &[u8]) -> Result<(), CheckError> {
        let sent = self.near.send(payload);
        sent.map(drop).map_err(|error| {
            CheckError::failed(format!(
                "the client cannot send to {}: {error}",
                self.program
            ))
        })
    }

    fn expect(&self, answer: &[u8]) -> Result<(), CheckError> {
        let mut buffer = vec![0; BUFFER];
        let (came, _) = receive(&self.near, &mut buffer, &self.deadline)?;
        same(OTHER_ANSWER, answer, came)
    }
}
