//! The half towards the service.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::mutation::Mutation;
use crate::options::Options;

/// How long a service may take to answer a connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long BIND waits for the connection.
const BIND_LIMIT: Duration = Duration::from_secs(20);
/// How often waiting for it looks whether the client has gone.
const LOOK: Duration = Duration::from_millis(2);

/// Where a client wants to go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Address(SocketAddr),
    Name(String, u16),
}

/// Connects to `target`, from the outgoing address if one is set.
pub(crate) fn connect(options: &Options, target: &Target) -> io::Result<TcpStream> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in resolve(options, target)? {
        match connect_to(options, address) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The addresses of a target. Only `localhost` is looked up, so that nobody else is asked.
pub(crate) fn resolve(options: &Options, target: &Target) -> io::Result<Vec<SocketAddr>> {
    let (name, port) = match target {
        Target::Address(address) => return Ok(vec![*address]),
        Target::Name(name, port) => (name, *port),
    };
    if options.has(Mutation::NoNames) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(name).parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)]);
    }
    if !name.eq_ignore_ascii_case("localhost") || options.has(Mutation::NoLookup) {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            format!("unknown name {name:?}"),
        ));
    }
    let found = (name.as_str(), port).to_socket_addrs()?;
    let reachable = |address: &SocketAddr| match options.outgoing {
        Some(outgoing) => outgoing.is_ipv4() == address.is_ipv4(),
        None => true,
    };
    Ok(found.filter(reachable).collect())
}

/// The address to bind to for a connection to `service`.
pub(crate) fn source(options: &Options, service: IpAddr) -> Option<IpAddr> {
    options.outgoing.filter(|outgoing| {
        outgoing.is_ipv4() == service.is_ipv4() && !options.has(Mutation::IgnoresOutgoing)
    })
}

/// Zeros of the family of `like`.
pub(crate) fn zeros(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Waits for one connection from `expected`, or from anyone if that is zeros, and for no longer than
/// `client` stays.
pub(crate) fn accept(
    listener: &TcpListener,
    expected: IpAddr,
    client: &TcpStream,
) -> io::Result<(TcpStream, SocketAddr)> {
    let end = Instant::now() + BIND_LIMIT;
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, peer)) if expected.is_unspecified() || peer.ip() == expected => {
                stream.set_nonblocking(false)?;
                stream.set_nodelay(true)?;
                return Ok((stream, peer));
            }
            Ok((_, peer)) => {
                let message = format!("{peer} is not {expected}");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if Instant::now() >= end {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody connected"));
        }
        client.set_nonblocking(true)?;
        let gone = client.peek(&mut [0]);
        client.set_nonblocking(false)?;
        match gone {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ => thread::sleep(LOOK),
        }
    }
}

/// Refuses what is not a loopback address: whatever a test asks for, nothing leaves this machine.
/// An address that looks impossible, such as 0.0.0.1, may have a route.
pub(crate) fn permit(service: SocketAddr) -> io::Result<()> {
    if service.ip().is_loopback() {
        return Ok(());
    }
    let message = format!("{service} is not a loopback address");
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

fn connect_to(options: &Options, service: SocketAddr) -> io::Result<TcpStream> {
    permit(service)?;
    if options.has(Mutation::Ipv4Only) && service.is_ipv6() {
        return Err(io::ErrorKind::NetworkUnreachable.into());
    }
    if options.has(Mutation::SignedPorts) && service.port() > 32767 {
        return Err(io::ErrorKind::AddrNotAvailable.into());
    }
    let socket = Socket::new(Domain::for_address(service), Type::STREAM, None)?;
    if let Some(ip) = source(options, service.ip()) {
        // Its port is chosen with the service's: so what is left of thousands of connections, each for a
        // minute, is in nobody's way.
        #[cfg(target_os = "linux")]
        let _ = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        );
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    socket.connect_timeout(&service.into(), CONNECT_LIMIT)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}
