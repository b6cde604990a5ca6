//! SOCKS5 proxies.

use std::io::{self};
use std::net::SocketAddr;
use std::process::Command;

use crate::proto::socks5;
use crate::tunnel::ends::socks5::request;
use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::socks5::host;
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Kind, Route, Target};

/// A SOCKS5 proxy (RFC 1928): CONNECT by IPv4, by IPv6 and by name, with no authentication or with
/// user and password (RFC 1929). Its replies are checked byte by byte.
///
/// ```
/// use loopback::tunnel::Socks5;
///
/// let microsocks = Socks5::template(
///     "microsocks -i {listen_ip} -p {listen_port} -b {outgoing_ip} -u {user} -P {password}",
/// )
/// .binds_outgoing(true)
/// .auth("user", "secret");
/// # let _ = microsocks;
/// ```
#[derive(Debug)]
pub struct Socks5 {
    base: Base,
    names: bool,
}

kind!(Socks5, "socks5");

impl Socks5 {
    fn from_base(base: Base) -> Socks5 {
        Socks5 { base, names: true }
    }

    /// Logs in with `user` and `password`, 1 to 255 bytes each; no other method is offered then.
    #[must_use]
    pub fn auth(mut self, user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Socks5 {
        self.base.log_in(user, password);
        self
    }

    /// Whether the program takes destinations by name; `true` unless set.
    #[must_use]
    pub fn names(mut self, takes: bool) -> Socks5 {
        self.names = takes;
        self
    }
}

impl Tunnel for Socks5 {
    by_base!();

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        let (host, port) = host(target);
        let bound = request(stream, self.credentials(), socks5::CONNECT, &host, port)?;
        Ok(bound.socket_addr())
    }

    fn takes_names(&self) -> bool {
        self.names
    }

    fn kind(&self) -> Kind {
        Kind::Socks5
    }
}
