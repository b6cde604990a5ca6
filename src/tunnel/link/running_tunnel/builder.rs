//! The options of a running tunnel, and its start.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use socket2::{Domain, SockAddr, Socket, Type};

use super::{DEADLINE, RunningTunnel, STOP_TIMEOUT};
use crate::server::TestServer;
use crate::server::connect::reachable;
use crate::server::protocol::Protocol;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::ends::address::source_to;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::launch::{Place, no_port};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::route::Route;

/// Options of a [`RunningTunnel`]; [`RunningTunnel::builder`] makes one.
pub struct RunningTunnelBuilder {
    tunnel: Arc<dyn Tunnel>,
    service: TunnelService,
    family: Option<Family>,
    listen: Option<IpAddr>,
    client: Option<IpAddr>,
    outgoing: Option<IpAddr>,
    ports: Ports,
    deadline: Duration,
    stop_timeout: Duration,
}

/// The far end of a tunnel: an address, or a [`TestServer`] of any protocol; `()` is none, for a proxy that is
/// told by each handshake where to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelService(Option<SocketAddr>);

impl From<SocketAddr> for TunnelService {
    fn from(address: SocketAddr) -> TunnelService {
        TunnelService(Some(address))
    }
}

impl From<()> for TunnelService {
    fn from((): ()) -> TunnelService {
        TunnelService(None)
    }
}

impl<P: Protocol> From<&TestServer<P, SocketAddr>> for TunnelService {
    fn from(server: &TestServer<P, SocketAddr>) -> TunnelService {
        TunnelService(Some(reachable(server.local_addr())))
    }
}

impl RunningTunnelBuilder {
    pub(super) fn new(tunnel: Arc<dyn Tunnel>) -> RunningTunnelBuilder {
        RunningTunnelBuilder {
            tunnel,
            service: TunnelService(None),
            family: None,
            listen: None,
            client: None,
            outgoing: None,
            ports: Ports::default(),
            deadline: DEADLINE,
            stop_timeout: STOP_TIMEOUT,
        }
    }

    /// Where the tunnel leads to: an address, or a [`TestServer`]. None unless set.
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
        self.ports.range = Some(range);
        self
    }

    /// The place, within the ports to choose from, of the first one that is tried. Unless set, another one in
    /// each process.
    #[must_use]
    pub fn port_offset(mut self, offset: u16) -> RunningTunnelBuilder {
        self.ports.offset = Some(offset);
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
    pub fn start(self) -> Result<RunningTunnel, Error> {
        let running = self.tunnel.running();
        let service = running
            .and_then(|running| running.service)
            .or(self.service.0);
        if service.is_none() && self.tunnel.kind().forwards() {
            let text = format!(
                "{} forwards to one place, and no service was given",
                self.tunnel.slug()
            );
            return Err(Error::new(ErrorKind::Address, text, None));
        }
        let far = service.map_or(Family::V4, |address| Family::of(address.ip()));
        let near = self.listen.map(Family::of).or(self.family).unwrap_or(far);
        let ip = self.listen.unwrap_or(localhost(near));
        let place = Place::take(&*self.tunnel, ip, &self.ports)?;
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
        let mut tunnel = RunningTunnel::launch(self.tunnel, route, place, self.ports)?;
        tunnel.has_service = service.is_some();
        tunnel.deadline = self.deadline;
        tunnel.stop_timeout = self.stop_timeout;
        tunnel._nobody = nobody;
        // Until it listens, a drop has nothing to complain of.
        tunnel.get_ready()?;
        tunnel.stopped = false;
        Ok(tunnel)
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
