//! HTTP proxies, asked by CONNECT.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use crate::deadline::prose;
use crate::proto::connect;
use crate::tunnel::ends::exchange::read_message;
use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Kind, Route, Target};

/// More than the decoder itself lets through.
const MOST_HEAD: usize = 64 * 1024;
/// The most interim responses before the one that counts.
const MOST_INTERIM: usize = 8;

/// An HTTP proxy that is asked by CONNECT (RFC 9110 section 9.3.6), by address or by name, with no
/// authentication or with Basic (RFC 7617).
///
/// ```
/// use loopback::tunnel::{HttpConnect, Template};
///
/// let tinyproxy = HttpConnect::template(
///     Template::new("tinyproxy -d -c {tmp}/tinyproxy.conf").file(
///         "tinyproxy.conf",
///         "Listen {listen_ip}\nPort {listen_port}\nBind {outgoing_ip}\nBasicAuth {user} {password}\n",
///     ),
/// )
/// .auth("me", "secret")
/// .binds_outgoing(true);
/// # let _ = tinyproxy;
/// ```
#[derive(Debug)]
pub struct HttpConnect {
    base: Base,
    names: bool,
}

kind!(HttpConnect, "http-connect");

impl HttpConnect {
    fn from_base(base: Base) -> HttpConnect {
        HttpConnect { base, names: true }
    }

    /// Logs in with `user` and `password` by Basic. The user has no colon, neither has control
    /// characters.
    #[must_use]
    pub fn auth(mut self, user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> HttpConnect {
        self.base.log_in(user, password);
        self
    }

    /// Whether the program takes destinations by name; `true` unless set.
    #[must_use]
    pub fn names(mut self, takes: bool) -> HttpConnect {
        self.names = takes;
        self
    }
}

impl Tunnel for HttpConnect {
    by_base!();

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        let authority = match target {
            Target::Address(address) => connect::authority(*address),
            Target::Name(name, port) => {
                connect::named_authority(name, *port).map_err(io::Error::other)?
            }
        };
        let request = connect::request(&authority, self.credentials()).map_err(io::Error::other)?;
        stream.write_all(&request)?;
        for _ in 0..=MOST_INTERIM {
            let what = "the response (RFC 9110 section 9.3.6)";
            let response = read_message(stream, what, MOST_HEAD, connect::response)?;
            if !response.is_interim() {
                return response.accepted().map(|()| None).map_err(io::Error::other);
            }
        }
        let text = format!("more than {MOST_INTERIM} interim responses (RFC 9110 section 15.2)");
        Err(prose(io::ErrorKind::InvalidData, text))
    }

    fn takes_names(&self) -> bool {
        self.names
    }

    fn kind(&self) -> Kind {
        Kind::HttpConnect
    }
}
