//! What a tunnel is, and where it runs.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;

use super::Stream;

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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Address(address) => write!(f, "{address}"),
            Target::Name(name, port) => write!(f, "{name}:{port} by name"),
        }
    }
}

/// A kind of tunnel: how to start its program, and how to ask it for a connection.
///
/// [`Socks5`](super::Socks5) and [`Forward`](super::Forward) are ready-made; implement this for
/// another protocol.
pub trait Tunnel: Send + Sync {
    /// A short name for reports: `socks5`.
    fn slug(&self) -> String;

    /// The command that starts the program for `route`, in the foreground.
    ///
    /// Its standard input, output and error, and its process group, are set by the harness.
    ///
    /// # Errors
    ///
    /// What stands in the way of making it, such as a configuration file that cannot be written.
    fn command(&self, route: &Route) -> io::Result<Command>;

    /// Asks for a connection to `target` on a fresh connection to the program. Every read and write
    /// on `stream` is bounded by the check's deadline. Must not read beyond the program's answer.
    ///
    /// Returns the address that the program says it connects from, if the protocol tells.
    ///
    /// # Errors
    ///
    /// What was wrong with the program's answer; the report adds the bytes of both directions.
    fn handshake(&self, stream: &mut Stream, target: &Target) -> io::Result<Option<SocketAddr>>;

    /// Whether the command binds the program to [`Route::outgoing`], so that the source of its
    /// connections is checked. Otherwise it is only noted. `false` unless overridden.
    fn binds_outgoing(&self) -> bool {
        false
    }

    /// Whether [`Tunnel::handshake`] can ask for a [`Target::Name`]. `false` unless overridden.
    fn takes_names(&self) -> bool {
        false
    }
}
