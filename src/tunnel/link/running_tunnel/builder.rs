//! The options of a running tunnel, and its start.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
#[cfg(unix)]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{DEADLINE, RunningTunnel, STOP_TIMEOUT};
#[cfg(unix)]
use crate::net::address::{Address, UnixAddress};
use crate::server::TestServer;
use crate::server::connect::reachable;
use crate::server::protocol::Protocol;
use crate::tunnel::core::family::Family;
use crate::tunnel::ends::address::source_to;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::launch::{Means, Place, no_port};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::route::{Kind, Route};

/// Options of a [`RunningTunnel`]; [`RunningTunnel::builder`] makes one.
pub struct RunningTunnelBuilder {
    tunnel: Arc<dyn Tunnel>,
    service: TunnelService,
    family: Option<Family>,
    listen: Option<IpAddr>,
    client: Option<IpAddr>,
    outgoing: Option<IpAddr>,
    means: Means,
    deadline: Duration,
    stop_timeout: Duration,
}

/// The far end of a tunnel: an address, or a [`TestServer`] of any protocol; on Unix also the path of a socket, for
/// forwarders that are told it by [`Setup::service_path`](crate::tunnel::Setup::service_path) or `{service_path}`;
/// `()` is none, for a proxy that is told by each handshake where to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelService(Far);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Far {
    Nowhere,
    Address(SocketAddr),
    #[cfg(unix)]
    Path(UnixAddress),
}

impl From<SocketAddr> for TunnelService {
    fn from(address: SocketAddr) -> TunnelService {
        TunnelService(Far::Address(address))
    }
}

impl From<()> for TunnelService {
    fn from((): ()) -> TunnelService {
        TunnelService(Far::Nowhere)
    }
}

#[cfg(unix)]
impl From<UnixAddress> for TunnelService {
    fn from(address: UnixAddress) -> TunnelService {
        TunnelService(Far::Path(address))
    }
}

#[cfg(unix)]
impl From<&Path> for TunnelService {
    fn from(path: &Path) -> TunnelService {
        TunnelService(Far::Path(path.into()))
    }
}

#[cfg(unix)]
impl<P: Protocol> From<&TestServer<P, UnixAddress>> for TunnelService {
    fn from(server: &TestServer<P, UnixAddress>) -> TunnelService {
        TunnelService(Far::Path(server.local_addr().clone()))
    }
}

impl<P: Protocol> From<&TestServer<P, SocketAddr>> for TunnelService {
    fn from(server: &TestServer<P, SocketAddr>) -> TunnelService {
        TunnelService(Far::Address(reachable(server.local_addr())))
    }
}

impl RunningTunnelBuilder {
    pub(super) fn new(tunnel: Arc<dyn Tunnel>) -> RunningTunnelBuilder {
        RunningTunnelBuilder {
            tunnel,
            service: TunnelService(Far::Nowhere),
            family: None,
            listen: None,
            client: None,
            outgoing: None,
            means: Means::default(),
            deadline: DEADLINE,
            stop_timeout: STOP_TIMEOUT,
        }
    }

    /// Where the tunnel leads to: an address, a path, or a [`TestServer`]. None unless set.
    #[must_use]
    pub fn service(mut self, service: impl Into<TunnelService>) -> RunningTunnelBuilder {
        self.service = service.into();
        self
    }

    /// The family that the program listens on: that of the service unless set, IPv4 without one.
    #[must_use]
    pub fn family(mut self, family: Family) -> RunningTunnelBuilder {
        self.family = Some(family);
        self
    }

    /// The address that the program listens on: the loopback address of its [family](Self::family) unless
    /// set.
    #[must_use]
    pub fn listen_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.listen = Some(ip);
        self
    }

    /// The address that [`RunningTunnel::connect`] connects from: the one that the program listens on unless
    /// set; for what [already runs](crate::tunnel::Attached), the one that the system chooses.
    #[must_use]
    pub fn client_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.client = Some(ip);
        self
    }

    /// The address that the program is told to connect from, [`Route::outgoing`]: the loopback address of the
    /// service's family unless set.
    #[must_use]
    pub fn outgoing_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.outgoing = Some(ip);
        self
    }

    /// Gives the programs ports of this range only. Unless set, they are outside of the range that the system
    /// gives to everybody.
    #[must_use]
    pub fn ports(mut self, range: RangeInclusive<u16>) -> RunningTunnelBuilder {
        self.means.ports.range = Some(range);
        self
    }

    /// The place, within the ports to choose from, of the first one that is tried. Unless set, another one in
    /// each process.
    #[must_use]
    pub fn port_offset(mut self, offset: u16) -> RunningTunnelBuilder {
        self.means.ports.offset = Some(offset);
        self
    }

    /// Sets a variable of the environment of all of its programs. They also have those of the test.
    #[must_use]
    pub fn env(
        mut self,
        name: impl Into<OsString>,
        value: impl Into<OsString>,
    ) -> RunningTunnelBuilder {
        self.means.environment.push((name.into(), value.into()));
        self
    }

    /// How long the programs may take to listen, and each connection to be made: 10 s unless set.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> RunningTunnelBuilder {
        self.deadline = limit;
        self
    }

    /// How long a drop, and a restart, let a program end after TERM before it is killed: 10 s unless set.
    #[must_use]
    pub fn drop_timeout(mut self, limit: Duration) -> RunningTunnelBuilder {
        self.stop_timeout = limit;
        self
    }

    /// Starts it. See [`RunningTunnel::start`].
    ///
    /// # Errors
    ///
    /// As those of [`RunningTunnel::start`].
    pub fn start(mut self) -> Result<RunningTunnel, Error> {
        let running = self.tunnel.running();
        let service = match (running.and_then(|running| running.service), &self.service.0) {
            (Some(address), _) => Some(address),
            (None, Far::Address(address)) => Some(*address),
            (None, _) => None,
        };
        #[cfg(unix)]
        if let Far::Path(address) = &self.service.0 {
            self.means.service_path = Some(self.path_of(address)?);
        }
        let has_path = self.means.service_path.is_some();
        if service.is_none() && !has_path && self.tunnel.kind().forwards() {
            let text = format!(
                "{} forwards to one place, and no service was given",
                self.tunnel.slug()
            );
            return Err(Error::new(ErrorKind::Address, text, None));
        }
        let far = service.map_or(Family::V4, |address| Family::of(address.ip()));
        let near = self.listen.map(Family::of).or(self.family).unwrap_or(far);
        let ip = self.listen.unwrap_or(localhost(near));
        let place = Place::take(&*self.tunnel, ip, &self.means.ports)?;
        let listen = place.listen;
        let (service_addr, nobody) = match service {
            Some(address) => (address, None),
            None => {
                let ip = localhost(near);
                let (address, socket) = nobody(ip).map_err(no_port("the service", ip))?;
                (address, Some(socket))
            }
        };
        // What already runs may be elsewhere.
        let own = match running {
            Some(running) => source_to(running.listen.ip()).map_err(|error| {
                let text = format!("no way to {}", running.listen);
                Error::new(ErrorKind::Address, text, Some(error))
            })?,
            None => listen.ip(),
        };
        let route = Route {
            listen,
            service: service_addr,
            client: self.client.unwrap_or(own),
            outgoing: self
                .outgoing
                .unwrap_or(localhost(Family::of(service_addr.ip()))),
        };
        let mut tunnel = RunningTunnel::launch(self.tunnel, route, place, self.means)?;
        tunnel.has_service = service.is_some() || has_path;
        tunnel.deadline = self.deadline;
        tunnel.stop_timeout = self.stop_timeout;
        tunnel._nobody = nobody;
        // Until it listens, a drop has nothing to complain of.
        tunnel.get_ready()?;
        tunnel.stopped = false;
        Ok(tunnel)
    }

    /// The path of a service, where the tunnel can lead to one.
    #[cfg(unix)]
    fn path_of(&self, address: &UnixAddress) -> Result<PathBuf, Error> {
        let slug = self.tunnel.slug();
        let fail = |why: &str| {
            let address = Address::Unix(address.clone());
            let text = format!("{slug} cannot lead to {address}: {why}");
            Err(Error::new(ErrorKind::Address, text, None))
        };
        let Some(path) = address.path() else {
            return fail("it has no path");
        };
        match self.tunnel.kind() {
            _ if self.tunnel.running().is_some() => fail("it already runs"),
            Kind::Forward | Kind::ProxyProtocol | Kind::Other => Ok(path.to_owned()),
            Kind::ForwardUdp => fail("it forwards datagrams of UDP"),
            _ => fail("its protocol asks for addresses and names"),
        }
    }
}

impl fmt::Debug for RunningTunnelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningTunnelBuilder")
            .field("tunnel", &self.tunnel.slug())
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

fn localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// An address where nobody listens for as long as the socket lives, which is bound there.
fn nobody(ip: IpAddr) -> io::Result<(SocketAddr, Socket)> {
    let any = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(any))?;
    let address = socket.local_addr()?.as_socket();
    Ok((address.ok_or(io::ErrorKind::AddrNotAvailable)?, socket))
}
