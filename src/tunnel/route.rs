//! What a tunnel is, and where it runs.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use crate::deadline::prose;
use crate::tunnel::{Family, Program, Setup, Stream};

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

impl Target {
    /// As reports have it: an address and a name that reads like one are told apart.
    pub(in crate::tunnel) fn told(&self) -> String {
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

/// Where a program already runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it forwards to, if it cannot be told by the handshake.
    pub service: Option<SocketAddr>,
}

impl Running {
    /// A program that listens at `listen`, and is told by the handshake where to connect to.
    pub fn new(listen: SocketAddr) -> Running {
        let service = None;
        Running { listen, service }
    }
}

/// A kind of tunnel: how to start its programs, and how to ask it for a connection.
///
/// Ready-made are [`Forward`](crate::tunnel::Forward), [`Socks4`](crate::tunnel::Socks4), [`Socks4a`](crate::tunnel::Socks4a),
/// [`Socks5`](crate::tunnel::Socks5), [`HttpConnect`](crate::tunnel::HttpConnect),
/// [`ProxyProtocol`](crate::tunnel::ProxyProtocol), [`Attached`](crate::tunnel::Attached) for one that already runs, and
/// [`Custom`](crate::tunnel::Custom) with closures. Implement this for anything else: [`Tunnel::slug`],
/// [`Tunnel::handshake`], and [`Tunnel::command`] or [`Tunnel::programs`].
pub trait Tunnel: Send + Sync {
    /// A short name for reports: `socks5`.
    fn slug(&self) -> String;

    /// The command that starts the program for `route`, in the foreground. Not asked for where
    /// [`Tunnel::programs`] is overridden.
    ///
    /// See [`Program::new`] for what the harness sets.
    ///
    /// # Errors
    ///
    /// What stands in the way of making it. Unless overridden, that there is no command.
    fn command(&self, route: &Route) -> io::Result<Command> {
        let text = format!("{} has no command for: {route}", self.slug());
        Err(prose(io::ErrorKind::Unsupported, text))
    }

    /// The programs, in the order in which they are started; they are ended in the reverse of it. The
    /// one command of [`Tunnel::command`] unless overridden.
    ///
    /// # Errors
    ///
    /// What stands in the way of making them, such as a configuration file that cannot be written.
    fn programs(&self, setup: &mut Setup) -> io::Result<Vec<Program>> {
        Ok(vec![self.command(setup.route())?.into()])
    }

    /// Where the program already runs: then nothing is started. `None` unless overridden.
    fn running(&self) -> Option<Running> {
        None
    }

    /// Asks for a connection to `target` on a fresh connection to the program. Every read and write
    /// on `stream` is bounded by the check's deadline. Must not read beyond the program's answer.
    ///
    /// Returns the address that the program says it connects from, if the protocol tells.
    ///
    /// # Errors
    ///
    /// What was wrong with the program's answer; the report adds the bytes of both directions.
    fn handshake(&self, stream: &mut Stream, target: &Target) -> io::Result<Option<SocketAddr>>;

    /// Reads what the program sends to the service before the client's data, on a fresh connection.
    /// `client` is where the client connected from. Must not read beyond it. Reads nothing unless
    /// overridden.
    ///
    /// # Errors
    ///
    /// What was wrong with it; the report adds the bytes.
    fn preamble(&self, service: &mut Stream, client: SocketAddr, route: &Route) -> io::Result<()> {
        let _ = (service, client, route);
        Ok(())
    }

    /// Whether the command binds the program to [`Route::outgoing`], so that the source of its
    /// connections is checked. Otherwise it is only noted. `false` unless overridden.
    fn binds_outgoing(&self) -> bool {
        false
    }

    /// Whether [`Tunnel::handshake`] can ask for a [`Target::Name`]. `false` unless overridden.
    fn takes_names(&self) -> bool {
        false
    }

    /// Why a client of the one family cannot reach a service of the other by this kind; such a
    /// combination is skipped for that reason. `None`, that it can, unless overridden.
    fn unsupported(&self, listen: Family, service: Family) -> Option<String> {
        let _ = (listen, service);
        None
    }

    /// What it speaks. [`Kind::Other`] unless overridden.
    fn kind(&self) -> Kind {
        Kind::Other
    }

    /// The user and the password that it logs in with. `None` unless overridden.
    fn credentials(&self) -> Option<(&[u8], &[u8])> {
        None
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
        assert_eq!(name("::1").told(), "[::1]:80 by name");
        assert_eq!(address("[::1]:80").told(), "[::1]:80");
    }
}
