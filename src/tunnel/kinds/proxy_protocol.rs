//! Forwarders that tell the service where a connection came from.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use crate::deadline::prose;
use crate::net::address::canonical;
use crate::proto::proxy_protocol::{self, Header};
use crate::tunnel::ends::exchange::read_message;
use crate::tunnel::ends::proxy_header::LONGEST;
use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Kind, Route, Target};

/// A forwarder that puts a header of the PROXY protocol before the data, version 1 unless
/// [set](ProxyProtocol::v2), as haproxy's `send-proxy` does. The service reads the header first; it must
/// name the client's address and port, and [`Route::listen`]; an IPv4 address may stand there as IPv6 has it
/// (`::ffff:127.0.0.2`), as haproxy's `bind :::8080 v4v6` writes it.
///
/// ```
/// use loopback::tunnel::{ProxyProtocol, Template};
///
/// let haproxy = ProxyProtocol::template(Template::new("haproxy -db -f {tmp}/haproxy.cfg").file(
///     "haproxy.cfg",
///     "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
///      listen t\n bind {listen}\n server s {service} send-proxy-v2\n",
/// ))
/// .v2();
/// # let _ = haproxy;
/// ```
#[derive(Debug)]
pub struct ProxyProtocol {
    base: Base,
    version: Version,
}

#[derive(Debug, Clone, Copy)]
enum Version {
    V1,
    V2,
}

kind!(ProxyProtocol, "proxy-protocol");

impl ProxyProtocol {
    fn from_base(base: Base) -> ProxyProtocol {
        let version = Version::V1;
        ProxyProtocol { base, version }
    }

    /// The header must be of version 1, the line of text.
    #[must_use]
    pub fn v1(mut self) -> ProxyProtocol {
        self.version = Version::V1;
        self
    }

    /// The header must be of version 2, the binary one.
    #[must_use]
    pub fn v2(mut self) -> ProxyProtocol {
        self.version = Version::V2;
        self
    }
}

impl Tunnel for ProxyProtocol {
    by_base!();

    fn handshake(
        &self,
        _stream: &mut dyn ReadWrite,
        _target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }

    fn preamble(
        &self,
        service: &mut dyn ReadWrite,
        client: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        let decode = match self.version {
            Version::V1 => proxy_protocol::v1,
            Version::V2 => proxy_protocol::v2,
        };
        let header = read_message(service, "the header (PROXY protocol)", LONGEST, decode)?;
        judge(&header, client, route.listen).map_err(|text| prose(io::ErrorKind::InvalidData, text))
    }

    fn kind(&self) -> Kind {
        Kind::ProxyProtocol
    }
}

fn judge(header: &Header, client: SocketAddr, listen: SocketAddr) -> Result<(), String> {
    let (source, destination) = match header {
        Header::Tcp {
            source,
            destination,
        } => (*source, *destination),
        Header::Local => return Err("the header says LOCAL for a client's connection".to_owned()),
        Header::Other => return Err("the header has no TCP addresses".to_owned()),
    };
    if canonical(source) != canonical(client) {
        return Err(format!(
            "the header says that the client is {source}, but it is {client}"
        ));
    }
    if canonical(destination) != canonical(listen) {
        return Err(format!(
            "the header says that the client connected to {destination}, but that was {listen}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_judged_by_what_the_harness_knows() {
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        let (client, listen) = (addr("127.0.0.2:5"), addr("127.0.0.1:6"));
        let with = |source: &str, destination: &str| {
            let (source, destination) = (addr(source), addr(destination));
            let header = Header::Tcp {
                source,
                destination,
            };
            judge(&header, client, listen)
        };
        assert_eq!(with("127.0.0.2:5", "127.0.0.1:6"), Ok(()));
        let mapped = with("[::ffff:127.0.0.2]:5", "[::ffff:127.0.0.1]:6");
        assert_eq!(mapped, Ok(()));
        assert_eq!(
            with("127.0.0.2:6", "127.0.0.1:6").unwrap_err(),
            "the header says that the client is 127.0.0.2:6, but it is 127.0.0.2:5"
        );
        assert_eq!(
            with("127.0.0.2:5", "127.0.0.3:6").unwrap_err(),
            "the header says that the client connected to 127.0.0.3:6, but that was 127.0.0.1:6"
        );
        let none = judge(&Header::Other, client, listen).unwrap_err();
        assert_eq!(none, "the header has no TCP addresses");
        let local = judge(&Header::Local, client, listen).unwrap_err();
        assert_eq!(local, "the header says LOCAL for a client's connection");
    }
}
