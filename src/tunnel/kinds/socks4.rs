//! SOCKS4 and SOCKS4a proxies.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use crate::deadline::prose;
use crate::proto::socks4::{self, Host};
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::exchange::read_message;
use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Kind, Route, Target};

/// The length of every reply.
const REPLY: usize = 8;

/// A SOCKS4 proxy: CONNECT by IPv4, the only address that the protocol has. Combinations with a service
/// on IPv6 are skipped.
///
/// ```
/// use loopback::tunnel::{Socks4, Template};
///
/// let danted = Socks4::template(
///     Template::new("danted -N 1 -f {tmp}/danted.conf -p {tmp}/danted.pid").file(
///         "danted.conf",
///         "logoutput: stderr\ninternal: {listen_ip} port = {listen_port}\nexternal: {outgoing_ip}\n\
///          clientmethod: none\nsocksmethod: none\n\
///          client pass {{ from: 0/0 to: 0/0 }}\nsocks pass {{ from: 0/0 to: 0/0 }}\n",
///     ),
/// )
/// .binds_outgoing(true);
/// # let _ = danted;
/// ```
#[derive(Debug)]
pub struct Socks4 {
    base: Base,
}

kind!(Socks4, "socks4");

impl Socks4 {
    fn from_base(base: Base) -> Socks4 {
        Socks4 { base }
    }

    /// The user to name in requests, at most 255 bytes without a NUL; empty unless set.
    #[must_use]
    pub fn user(mut self, user: impl Into<Vec<u8>>) -> Socks4 {
        self.base.log_in(user, "");
        self
    }
}

impl Tunnel for Socks4 {
    by_base!();

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        let Target::Address(SocketAddr::V4(address)) = target else {
            let text = format!(
                "SOCKS4 cannot ask for {}: it has only IPv4 addresses",
                target.to_report()
            );
            return Err(prose(io::ErrorKind::Unsupported, text));
        };
        let host = Host::Ip(*address.ip());
        connect(stream, &self.base, &host, address.port())
    }

    fn unsupported(&self, _listen: Family, service: Family) -> Option<String> {
        no_ipv6("SOCKS4", service)
    }

    fn kind(&self) -> Kind {
        Kind::Socks4
    }
}

/// A SOCKS4a proxy: as [`Socks4`], and CONNECT by name.
///
/// ```
/// use loopback::tunnel::{Attached, Socks4a};
///
/// // One that runs already.
/// let proxy = Attached::new("127.0.0.1:1080".parse()?, Socks4a::new().user("me"));
/// # let _ = proxy;
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct Socks4a {
    base: Base,
}

kind!(Socks4a, "socks4a");

impl Socks4a {
    fn from_base(base: Base) -> Socks4a {
        Socks4a { base }
    }

    /// The user to name in requests, at most 255 bytes without a NUL; empty unless set.
    #[must_use]
    pub fn user(mut self, user: impl Into<Vec<u8>>) -> Socks4a {
        self.base.log_in(user, "");
        self
    }
}

impl Tunnel for Socks4a {
    by_base!();

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        let (host, port) = match target {
            Target::Address(SocketAddr::V4(address)) => (Host::Ip(*address.ip()), address.port()),
            // A name may be an address in text form, and IPv6 has no other way.
            Target::Address(SocketAddr::V6(address)) => {
                let text = address.ip().to_string();
                (Host::Name(text.into_bytes()), address.port())
            }
            Target::Name(name, port) => (Host::Name(name.as_bytes().to_vec()), *port),
        };
        connect(stream, &self.base, &host, port)
    }

    fn takes_names(&self) -> bool {
        true
    }

    fn unsupported(&self, _listen: Family, service: Family) -> Option<String> {
        no_ipv6("SOCKS4a", service)
    }

    fn kind(&self) -> Kind {
        Kind::Socks4a
    }
}

fn connect(
    stream: &mut dyn ReadWrite,
    base: &Base,
    host: &Host,
    port: u16,
) -> io::Result<Option<SocketAddr>> {
    let user = base.user.as_deref().unwrap_or_default();
    let request = socks4::request(socks4::CONNECT, host, port, user).map_err(io::Error::other)?;
    stream.write_all(&request)?;
    let reply = read_message(stream, "the reply (SOCKS4 memo)", REPLY, socks4::reply)?;
    // The address of the reply means nothing here (SOCKS4 memo, CONNECT).
    reply.granted().map(|_| None).map_err(io::Error::other)
}

fn no_ipv6(protocol: &str, service: Family) -> Option<String> {
    (service == Family::V6).then(|| format!("{protocol} has no IPv6 addresses"))
}
