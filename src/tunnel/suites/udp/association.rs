//! A client that sends datagrams through SOCKS5 (RFC 1928 section 7).

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::client::OTHER_ANSWER;
use super::far::{BUFFER, Far, answered, first, receive, same};
use crate::deadline::Deadline;
use crate::net::address::canonical;
use crate::proto::decode::Decoded;
use crate::proto::socks5::udp::{decode, encode};
use crate::proto::socks5::{self, Bound, Host, UDP_ASSOCIATE};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::ends::socks5::request;
use crate::tunnel::link::socks5::place;
use crate::tunnel::report::Failure;
use crate::tunnel::suites::connectivity::mapped;

/// A datagram and its answer.
pub(super) struct Exchange {
    /// Where the datagram came from at the service.
    pub(super) from: SocketAddr,
    /// What the header of the answer tells.
    pub(super) told: Bound,
}

/// A client of an association.
pub(crate) struct Association {
    /// The TCP connection that keeps it alive.
    pub(super) control: Endpoint,
    pub(super) near: UdpSocket,
    pub(super) relay: SocketAddr,
    pub(super) deadline: Deadline,
}

impl Association {
    pub(crate) fn new(context: &mut CheckContext<'_>) -> Result<Association, CheckError> {
        let mut control = context.raw()?;
        let bound = associate(context, &mut control)?;
        if bound.port == 0 {
            return Err(control.failed("the reply tells port 0"));
        }
        match bound.socket_addr() {
            Some(told) => context.evidence.notes.extend(mapped(told)),
            None => context.note(format!("the reply tells {}", bound.describe())),
        }
        let route = context.route();
        let relay = place(&bound, route.listen);
        let deadline = context.deadline("the answer");
        let near = UdpSocket::bind((route.client, 0)).and_then(|near| {
            near.connect(relay)?;
            Ok(near)
        });
        let near = near.map_err(|error| {
            control.failed(format!("{} cannot send to {relay}: {error}", route.client))
        })?;
        Ok(Association {
            control,
            near,
            relay,
            deadline,
        })
    }

    /// There and back again.
    pub(super) fn exchange(&self, service: &Far, payload: &[u8]) -> Result<Exchange, CheckError> {
        let (host, _) = service.named();
        self.exchange_by(service, &host, payload)
    }

    /// As [`Association::exchange`], with another name for the service's host.
    pub(super) fn exchange_by(
        &self,
        service: &Far,
        host: &Host,
        payload: &[u8],
    ) -> Result<Exchange, CheckError> {
        let port = service.address().port();
        self.send(&encoded(0, host, port, payload)?)?;
        let (index, from) = service.answers_by(payload, &self.deadline)?;
        let told = self.expect(service.addresses[index], host, &answered(payload))?;
        Ok(Exchange { from, told })
    }

    pub(crate) fn send(&self, datagram: &[u8]) -> Result<(), CheckError> {
        let sent = self.near.send(datagram);
        sent.map(drop).map_err(|error| {
            CheckError::failed(format!("the client cannot send to {}: {error}", self.relay))
        })
    }

    /// The answer of the service at `from`, which was asked by the name `asked`; what its header tells.
    pub(crate) fn expect(
        &self,
        from: SocketAddr,
        asked: &Host,
        payload: &[u8],
    ) -> Result<Bound, CheckError> {
        let mut buffer = vec![0; BUFFER];
        let (came, _) = receive(&self.near, &mut buffer, &self.deadline)?;
        let shown = |message: String| {
            let failure = Failure {
                received: Some(first(came).to_vec()),
                ..Failure::default()
            };
            CheckError::with(message, failure)
        };
        let datagram = decode(came).map_err(|error| shown(error.to_string()))?;
        if datagram.fragment != 0 {
            return Err(shown(format!(
                "the answer has FRAG {:02x}",
                datagram.fragment
            )));
        }
        match datagram.peer.socket_addr() {
            Some(told) if canonical(told) == from => {}
            Some(told) => {
                return Err(shown(format!(
                    "the answer's header tells {told}, not {from}"
                )));
            }
            None if datagram.peer.host == *asked && datagram.peer.port == from.port() => {}
            None => {
                let told = datagram.peer.describe();
                return Err(shown(format!(
                    "the answer's header tells {told}, not {from}"
                )));
            }
        }
        same(OTHER_ANSWER, payload, datagram.data)?;
        Ok(datagram.peer)
    }

    /// The program has not closed the TCP connection.
    pub(super) fn stays(&mut self) -> Result<(), CheckError> {
        match self.control.stream().has_ended() {
            false => Ok(()),
            true => Err(self
                .control
                .failed("the program has closed the TCP connection")),
        }
    }

    /// A socket at another address of the client's family.
    pub(super) fn stranger(&self, context: &CheckContext<'_>) -> Result<UdpSocket, CheckError> {
        let route = context.route();
        let others = [route.service.ip(), route.outgoing, route.listen.ip()];
        let like = |ip: &&IpAddr| ip.is_ipv4() == route.client.is_ipv4() && **ip != route.client;
        let bound = others.iter().find(like).map(|ip| UdpSocket::bind((*ip, 0)));
        match bound {
            Some(Ok(socket)) => Ok(socket),
            _ => Err(CheckError::Skipped(
                "there is no other address here".to_owned(),
            )),
        }
    }
}

/// Asks for an association for a client that does not say where it sends from (statement 44).
fn associate(context: &CheckContext<'_>, control: &mut Endpoint) -> Result<Bound, CheckError> {
    let anyone: IpAddr = match Family::of(context.route().listen.ip()) {
        Family::V4 => [0; 4].into(),
        Family::V6 => [0; 16].into(),
    };
    let credentials = context.tunnel().credentials();
    let done = request(
        control.stream(),
        credentials,
        UDP_ASSOCIATE,
        &Host::Ip(anyone),
        0,
    );
    done.map_err(|error| match refusal(control) {
        // Statement 53; or a rule of the program's own configuration forbids it.
        Some(code @ (7 | 2)) => CheckError::Unsupported(format!(
            "UDP ASSOCIATE: reply code {code:02x}, {}",
            socks5::meaning(code)
        )),
        _ => control.failed(format!("UDP ASSOCIATE: {error}")),
    })
}

/// The code of the last reply.
fn refusal(control: &mut Endpoint) -> Option<u8> {
    let came = control.stream().received();
    // It is preceded by the method, and by the answer to a login.
    [2, 4]
        .into_iter()
        .find_map(|at| match socks5::reply(came.get(at..)?) {
            Ok(Decoded::Complete { value, used }) if at + used == came.len() => Some(value.code),
            _ => None,
        })
}

pub(crate) fn encoded(
    fragment: u8,
    host: &Host,
    port: u16,
    payload: &[u8],
) -> Result<Vec<u8>, CheckError> {
    encode(fragment, host, port, payload).map_err(|error| CheckError::failed(error.to_string()))
}
