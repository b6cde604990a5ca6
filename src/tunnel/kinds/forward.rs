//! Programs that forward every connection to one place.

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
#[derive(Debug)]
pub struct Forward {
    base: Base,
}

kind!(Forward, "forward");

impl Forward {
    fn from_base(base: Base) -> Forward {
        Forward { base }
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
        Kind::Forward
    }
}
