//! Programs that forward every connection, or every datagram, to one place.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Kind, Route, Target};

/// A forwarder: what connects to it is connected to [`Route::service`], with no handshake.
///
/// ```
/// use loopback::tunnel::Forward;
///
/// // socat wants IPv6 addresses in brackets, and to be told the family.
/// let socat = Forward::template(
///     "socat TCP{family}-LISTEN:{listen_port},bind={listen_host},reuseaddr,fork \
///      TCP{service_family}:{service},bind={outgoing_host}",
/// )
/// .binds_outgoing(true);
/// # let _ = socat;
/// ```
///
/// One of datagrams:
///
/// ```
/// use loopback::tunnel::Forward;
///
/// let socat = Forward::template(
///     "socat UDP{family}-LISTEN:{listen_port},bind={listen_host},fork UDP{service_family}:{service}",
/// )
/// .udp();
/// # let _ = socat;
/// ```
#[derive(Debug)]
pub struct Forward {
    base: Base,
    is_udp: bool,
}

kind!(Forward, "forward");

impl Forward {
    fn from_base(base: Base) -> Forward {
        let is_udp = false;
        Forward { base, is_udp }
    }

    /// What it forwards is datagrams of UDP, in place of connections: [`Route::listen`] and [`Route::service`] are
    /// ports of UDP then, and of the suites those are run that are about datagrams.
    #[must_use]
    pub fn udp(mut self) -> Forward {
        self.is_udp = true;
        self
    }
}

impl Tunnel for Forward {
    by_base!();

    fn handshake(
        &self,
        _stream: &mut dyn ReadWrite,
        _target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }

    fn kind(&self) -> Kind {
        match self.is_udp {
            true => Kind::ForwardUdp,
            false => Kind::Forward,
        }
    }
}
