//! Programs that forward every connection to one place.

use std::net::SocketAddr;
use std::process::Command;
use std::{fmt, io};

use super::{Route, Stream, Target, Tunnel};

/// A forwarder: what connects to it is connected to [`Route::service`], with no handshake.
///
/// ```no_run
/// use std::net::IpAddr;
/// use std::process::Command;
/// use loopback::tunnel::Forward;
///
/// // socat wants IPv6 addresses in brackets, and to be told the family.
/// let words = |ip| match ip {
///     IpAddr::V4(ip) => ("TCP4", ip.to_string()),
///     IpAddr::V6(ip) => ("TCP6", format!("[{ip}]")),
/// };
/// let socat = Forward::spawn(move |route| {
///     let (kind, ip) = words(route.listen.ip());
///     let near = format!("{kind}-LISTEN:{},bind={ip},reuseaddr,fork", route.listen.port());
///     let (kind, _) = words(route.service.ip());
///     let mut socat = Command::new("socat");
///     socat.args([near, format!("{kind}:{}", route.service)]);
///     socat
/// });
/// ```
pub struct Forward {
    command: Box<dyn Fn(&Route) -> Command + Send + Sync>,
    slug: String,
    binds_outgoing: bool,
}

impl Forward {
    /// A forwarder started by the command that `command` makes for a route.
    pub fn spawn(command: impl Fn(&Route) -> Command + Send + Sync + 'static) -> Forward {
        Forward {
            command: Box::new(command),
            slug: "forward".to_owned(),
            binds_outgoing: false,
        }
    }

    /// The name in reports; `forward` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Forward {
        self.slug = name.into();
        self
    }

    /// Whether the command binds the program to [`Route::outgoing`]; then the source of its
    /// connections is checked, otherwise only noted. `false` unless set.
    #[must_use]
    pub fn binds_outgoing(mut self, binds: bool) -> Forward {
        self.binds_outgoing = binds;
        self
    }
}

impl Tunnel for Forward {
    fn slug(&self) -> String {
        self.slug.clone()
    }

    fn command(&self, route: &Route) -> io::Result<Command> {
        Ok((self.command)(route))
    }

    fn handshake(&self, _stream: &mut Stream, _target: &Target) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }

    fn binds_outgoing(&self) -> bool {
        self.binds_outgoing
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward")
            .field("slug", &self.slug)
            .field("binds_outgoing", &self.binds_outgoing)
            .finish_non_exhaustive()
    }
}
