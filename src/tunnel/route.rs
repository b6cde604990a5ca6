//! What a tunnel is, and where it runs.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The addresses of one run of a tunnel program.
///
/// ```text
/// client ---> listen | the program | outgoing ---> service
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Route {
    /// Where the program must listen. The port is free and kept for it.
    pub listen: SocketAddr,
    /// Where the test service listens, the end of the tunnel.
    pub service: SocketAddr,
    /// The address that the test client connects from.
    pub client: IpAddr,
    /// The address that the program should connect from, if it can be told. Of the service's family.
    pub outgoing: IpAddr,
}

impl Route {
    /// The families of the two halves as two digits: `46` is a client on IPv4 and a service on IPv6.
    pub fn families(&self) -> &'static str {
        match (self.listen.is_ipv4(), self.service.is_ipv4()) {
            (true, true) => "44",
            (true, false) => "46",
            (false, true) => "64",
            (false, false) => "66",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "client {} -> program {}, from {} -> service {}",
            self.client, self.listen, self.outgoing, self.service
        )
    }
}

/// The destination that a handshake asks the program to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Target {
    /// An address and a port.
    Address(SocketAddr),
    /// A name and a port; the program has to look the name up. It may be an address in text form.
    Name(String, u16),
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Target {
        Target::Address(address)
    }
}

/// A name and a port.
impl From<(&str, u16)> for Target {
    fn from((name, port): (&str, u16)) -> Target {
        Target::Name(name.to_owned(), port)
    }
}

/// A name and a port.
impl From<(String, u16)> for Target {
    fn from((name, port): (String, u16)) -> Target {
        Target::Name(name, port)
    }
}

impl Target {
    /// As reports have it: an address and a name that reads like one are told apart.
    pub(crate) fn to_report(&self) -> String {
        match self {
            Target::Name(..) => format!("{self} by name"),
            _ => self.to_string(),
        }
    }
}

/// As protocols of text have it, `[::1]:80` and `localhost:80`; a name with a colon is in brackets too.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => write!(f, "{address}"),
            Target::Name(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Target::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// What a tunnel speaks, so that a suite knows which of its checks make sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Nothing: every connection is forwarded.
    Forward,
    /// Nothing: every datagram is forwarded, and every answer brought back.
    ForwardUdp,
    /// SOCKS version 4.
    Socks4,
    /// SOCKS version 4a.
    Socks4a,
    /// SOCKS version 5.
    Socks5,
    /// HTTP's CONNECT.
    HttpConnect,
    /// Nothing to the client, and the PROXY protocol to the service.
    ProxyProtocol,
    /// Something that this crate does not know.
    Other,
}

impl Kind {
    /// Whether it carries connections; otherwise it carries datagrams alone.
    pub(crate) fn carries_connections(self) -> bool {
        self != Kind::ForwardUdp
    }

    /// Whether it leads to one place, whatever the client says.
    pub(crate) fn forwards(self) -> bool {
        matches!(self, Kind::Forward | Kind::ForwardUdp | Kind::ProxyProtocol)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handshake of text is written by it, as in the example of `Custom`.
    #[test]
    fn a_target_is_written_as_protocols_of_text_have_it() {
        let name = |name: &str| Target::Name(name.to_owned(), 80);
        let address = |text: &str| Target::Address(text.parse().unwrap());
        let due = [
            (address("127.0.0.1:80"), "127.0.0.1:80"),
            (address("[::1]:80"), "[::1]:80"),
            (name("localhost"), "localhost:80"),
            (name("127.0.0.1"), "127.0.0.1:80"),
            (name("::1"), "[::1]:80"),
        ];
        for (target, text) in due {
            assert_eq!(target.to_string(), text);
        }
        assert_eq!(name("::1").to_report(), "[::1]:80 by name");
        assert_eq!(address("[::1]:80").to_report(), "[::1]:80");
    }
}
