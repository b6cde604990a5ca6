//! Clients of std's own types, for tests that only want to talk to the server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::TestServer;
use super::protocol::Protocol;
use super::wake::{Datagrams, Streams};
use crate::connection::Limits;
use crate::deadline::prose;
#[cfg(unix)]
use crate::net::address::UnixAddress;

/// How long a client's connect, and each of its reads and writes, may take at least.
const PATIENCE: Duration = Duration::from_secs(30);

/// The timeouts of a client's reads and writes: a builder that makes the server impatient does not
/// make its clients so.
fn timeouts(limits: &Limits) -> (Option<Duration>, Option<Duration>) {
    let patient = |timeout: Option<Duration>| Some(timeout?.max(PATIENCE));
    (patient(limits.read_timeout), patient(limits.write_timeout))
}

/// Where a client reaches a server on this address: none can connect to all addresses.
pub(crate) fn reachable(server: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match server.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        _ => return server,
    };
    SocketAddr::new(ip, server.port())
}

/// The error of a connect, with what is known of the server.
fn not_connected(server: impl std::fmt::Display, runs: bool, error: &io::Error) -> io::Error {
    let stopped = match runs {
        true => "",
        false => "; it is stopped",
    };
    let text = format!("cannot connect to the {server}: {error}{stopped}");
    prose(error.kind(), text)
}

impl<P: Protocol<Kind = Streams>> TestServer<P, SocketAddr> {
    /// Connects a client: a plain `TcpStream` whose reads and writes end after 30 s (the builder's
    /// timeouts, where they are longer), with `TCP_NODELAY` set. A server on `0.0.0.0` or `[::]` is
    /// reached on `127.0.0.1` or `[::1]`.
    ///
    /// ```
    /// use std::io::{Read, Write};
    /// use loopback::TestTcpServer;
    ///
    /// let server = TestTcpServer::fixed("127.0.0.1:0", "hello")?;
    /// let mut greeting = String::new();
    /// server.connect()?.read_to_string(&mut greeting)?;
    /// assert_eq!(greeting, "hello");
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// `ConnectionRefused` where the server is stopped, and what else connecting gives.
    pub fn connect(&self) -> io::Result<TcpStream> {
        let connected = || {
            let stream = TcpStream::connect_timeout(&reachable(self.local_addr()), PATIENCE)?;
            let (read, write) = timeouts(&self.host.options.limits);
            stream.set_read_timeout(read)?;
            stream.set_write_timeout(write)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        connected().map_err(|error| not_connected(self.host.name(), self.running.is_some(), &error))
    }
}

#[cfg(unix)]
impl<P: Protocol<Kind = Streams>> TestServer<P, UnixAddress> {
    /// Connects a client: a plain `UnixStream` whose reads and writes end after 30 s (the builder's
    /// timeouts, where they are longer).
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` where the server is stopped, and what else connecting gives.
    pub fn connect(&self) -> io::Result<UnixStream> {
        let connected = || {
            let stream = UnixStream::connect_addr(&self.local_addr().to_std()?)?;
            let (read, write) = timeouts(&self.host.options.limits);
            stream.set_read_timeout(read)?;
            stream.set_write_timeout(write)?;
            Ok(stream)
        };
        connected().map_err(|error| not_connected(self.host.name(), self.running.is_some(), &error))
    }
}

impl<P: Protocol<Kind = Datagrams>> TestServer<P, SocketAddr> {
    pub(crate) fn connect_datagrams(&self) -> io::Result<UdpSocket> {
        let server = reachable(self.local_addr());
        let any: IpAddr = match server {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
        socket.connect(server)?;
        let (read, write) = timeouts(&self.host.options.limits);
        socket.set_read_timeout(read)?;
        socket.set_write_timeout(write)?;
        Ok(socket)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl<P: Protocol<Kind = Datagrams>> TestServer<P, UnixAddress> {
    pub(crate) fn connect_unix_datagrams(&self) -> io::Result<std::os::unix::net::UnixDatagram> {
        use std::os::unix::net::UnixDatagram;
        // A reply needs an address to go to, and an abstract one leaves no file behind.
        let own = UnixAddress::temporary();
        let name = own.path().and_then(|path| path.file_name());
        let own = UnixAddress::abstract_name(name.unwrap_or_default().as_encoded_bytes());
        let socket = UnixDatagram::bind_addr(&own.to_std()?)?;
        let (read, write) = timeouts(&self.host.options.limits);
        socket.set_read_timeout(read)?;
        socket.set_write_timeout(write)?;
        let server = self.local_addr().to_std()?;
        match socket.connect_addr(&server) {
            Ok(()) => Ok(socket),
            Err(error) => Err(not_connected(
                self.host.name(),
                self.running.is_some(),
                &error,
            )),
        }
    }
}
