//! What SOCKS5 can do beside CONNECT, for a test's own clients: BIND and UDP ASSOCIATE.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use crate::deadline::{Deadline, prose};
use crate::proto::socks5::{self, Bound, Host, udp};
use crate::tunnel::ends::exchange::read_message;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::route::Target;

/// The longest reply: a name of 255 bytes.
const LONGEST_REPLY: usize = 4 + 1 + 255 + 2;
/// The largest datagram that UDP can carry.
const LARGEST: usize = 65_535;

/// A port that a SOCKS5 proxy holds open for one connection to the client (RFC 1928 section 4, BIND).
/// [`RunningTunnel::bind`](crate::RunningTunnel::bind) makes one.
#[derive(Debug)]
pub struct BoundPort {
    control: Stream,
    addr: SocketAddr,
}

impl BoundPort {
    pub(crate) fn new(control: Stream, bound: &Bound, proxy: SocketAddr) -> BoundPort {
        let addr = place(bound, proxy);
        BoundPort { control, addr }
    }

    /// Where the proxy listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits at most `timeout` until somebody has connected there: the stream to them, with the timeouts of
    /// [`RunningTunnel::connect`](crate::RunningTunnel::connect), and where the proxy says that they came from;
    /// all zeros is how some say that they do not tell.
    ///
    /// # Errors
    ///
    /// `TimedOut` if nobody comes in time; if the proxy's second reply refuses or is none.
    pub fn accept(mut self, timeout: Duration) -> io::Result<(TcpStream, Target)> {
        let deadline = Deadline::new(timeout, "a connection to the proxy's port");
        self.control.set_deadline(deadline);
        let what = "the second reply to BIND";
        let reply = read_message(&mut self.control, what, LONGEST_REPLY, socks5::reply)?;
        match reply.code {
            0 => Ok((self.control.into_client()?, target(&reply.bound))),
            code => {
                let meaning = socks5::meaning(code);
                let text = format!("{what} has code {code:02x}, {meaning}");
                Err(prose(io::ErrorKind::ConnectionRefused, text))
            }
        }
    }
}

/// An association for datagrams through a SOCKS5 proxy (RFC 1928 section 7), for as long as this lives.
/// [`RunningTunnel::udp`](crate::RunningTunnel::udp) makes one.
pub struct UdpAssociation {
    /// The association lasts as long as this connection.
    control: TcpStream,
    socket: UdpSocket,
    relay: SocketAddr,
}

impl UdpAssociation {
    pub(crate) fn new(
        control: Stream,
        bound: &Bound,
        proxy: SocketAddr,
        client: IpAddr,
    ) -> io::Result<UdpAssociation> {
        let relay = place(bound, proxy);
        let socket = UdpSocket::bind((client, 0))?;
        socket.connect(relay)?;
        let control = control.into_client()?;
        socket.set_read_timeout(control.read_timeout()?)?;
        Ok(UdpAssociation {
            control,
            socket,
            relay,
        })
    }

    /// Where the proxy takes datagrams.
    pub fn relay_addr(&self) -> SocketAddr {
        self.relay
    }

    /// Sends a datagram to `target` by the proxy: an address, or a name and a port.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a name that is empty or longer than 255 bytes; what sending gives.
    pub fn send_to(&self, data: &[u8], target: impl Into<Target>) -> io::Result<()> {
        let (host, port) = host(&target.into());
        let datagram = udp::encode(0, &host, port, data)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.socket.send(&datagram).map(drop)
    }

    /// The next datagram, and where the proxy says that it comes from. Waits 30 s unless
    /// [set](UdpAssociation::set_timeout).
    ///
    /// # Errors
    ///
    /// `InvalidData` for one with a header that RFC 1928 does not know, or a fragment of a larger one; what
    /// receiving gives.
    pub fn recv_from(&self) -> io::Result<(Vec<u8>, Target)> {
        let mut buffer = vec![0; LARGEST];
        let length = self.socket.recv(&mut buffer)?;
        let datagram = udp::decode(&buffer[..length])
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if datagram.fragment != 0 {
            let text = format!("it is fragment {} of a datagram", datagram.fragment);
            return Err(prose(io::ErrorKind::InvalidData, text));
        }
        Ok((datagram.data.to_vec(), target(&datagram.peer)))
    }

    /// How long [`UdpAssociation::recv_from`] waits, more than nothing.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for a zero duration.
    pub fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(timeout))
    }
}

impl fmt::Debug for UdpAssociation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UdpAssociation")
            .field("relay", &self.relay)
            .field("socket", &self.socket)
            .field("control", &self.control)
            .finish()
    }
}

/// As a request names it.
pub(crate) fn host(target: &Target) -> (Host, u16) {
    match target {
        Target::Address(address) => (Host::Ip(address.ip()), address.port()),
        Target::Name(name, port) => (Host::Name(name.as_bytes().to_vec()), *port),
    }
}

fn target(bound: &Bound) -> Target {
    match &bound.host {
        Host::Ip(ip) => Target::Address(SocketAddr::new(*ip, bound.port)),
        Host::Name(name) => Target::Name(String::from_utf8_lossy(name).into_owned(), bound.port),
    }
}

/// The address that a reply tells. One that means all of the proxy's addresses is the one that is known, and
/// so is a name, which RFC 1928 allows there and which means what only the proxy knows.
pub(crate) fn place(bound: &Bound, proxy: SocketAddr) -> SocketAddr {
    match bound.host {
        Host::Ip(ip) if !ip.is_unspecified() => SocketAddr::new(ip.to_canonical(), bound.port),
        _ => SocketAddr::new(proxy.ip(), bound.port),
    }
}
