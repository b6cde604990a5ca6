//! Sockets of either family behind one face: binding them, accepting on them, reading and writing.
//!
//! What is Unix's own about them stands here and in `unix.rs`.

use std::io::{self, IoSlice, Read};
#[cfg(unix)]
use std::mem::MaybeUninit;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::address::Address;
#[cfg(unix)]
use super::address::UnixAddress;
use super::holder::{Holder, holder};
#[cfg(unix)]
use super::unix::{self, SocketFile};
use crate::deadline::prose;
use crate::process::Maker;

/// What kind of socket a protocol is served on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SocketKind {
    /// A listener that accepts streams.
    Stream,
    /// A socket that receives datagrams.
    Datagram,
    /// A listener, and a socket for datagrams on the same port.
    StreamAndDatagram,
}

/// A bound socket, listening if it is a stream's. Dropping it closes it and removes its socket file.
#[derive(Debug)]
pub(crate) struct BoundSocket {
    pub(crate) socket: Listening,
    pub(crate) address: Address,
    /// For datagrams on the listener's port, where the protocol has them.
    pub(crate) datagrams: Option<Box<BoundSocket>>,
    #[cfg(unix)]
    file: Option<SocketFile>,
    /// Who made it: a copy in a forked process shares the socket and the file, which are not its own.
    maker: Maker,
}

/// A datagram that was received into the caller's buffer.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) length: usize,
    pub(crate) peer: Address,
    /// The address it was sent to, where a reply has to be told to leave from there.
    pub(crate) asked: Option<IpAddr>,
}

/// The bound socket by its kind.
#[derive(Debug)]
pub(crate) enum Listening {
    Tcp(TcpListener),
    Udp(UdpSocket),
    #[cfg(unix)]
    Unix(UnixListener),
    #[cfg(unix)]
    UnixDatagram(UnixDatagram),
}

/// Who has the last address that was tried, as far as the system tells.
fn holder_of(kind: SocketKind, candidates: &[Address]) -> Option<Holder> {
    let files: &[&str] = match kind {
        SocketKind::Stream => &["tcp", "tcp6"],
        SocketKind::Datagram => &["udp", "udp6"],
        SocketKind::StreamAndDatagram => &["tcp", "tcp6", "udp", "udp6"],
    };
    holder(candidates.last()?.as_inet()?, files)
}

impl BoundSocket {
    /// Binds the first of `candidates` that can be bound. A listener does not block, and has the
    /// largest backlog the system gives: a short one makes a server crawl under load.
    ///
    /// The error does not name who has an address that is in use: that is
    /// [`naming_holder`](BoundSocket::naming_holder)'s.
    pub(crate) fn bind(kind: SocketKind, candidates: &[Address]) -> io::Result<BoundSocket> {
        let mut last = None;
        for candidate in candidates {
            let bound = match kind {
                SocketKind::StreamAndDatagram => bind_both(candidate),
                kind => bind_one(kind, candidate),
            };
            match bound {
                Ok(bound) => return Ok(bound),
                Err(error) => {
                    let text = format!("cannot bind {candidate}: {error}");
                    last = Some(prose(error.kind(), text));
                }
            }
        }
        Err(last.unwrap_or_else(|| {
            prose(
                io::ErrorKind::InvalidInput,
                "cannot bind: the name has no address".into(),
            )
        }))
    }

    /// Adds to the error of a bind who has the address, where it is in use and the system tells.
    pub(crate) fn naming_holder(
        error: io::Error,
        kind: SocketKind,
        candidates: &[Address],
    ) -> io::Error {
        if error.kind() != io::ErrorKind::AddrInUse {
            return error;
        }
        #[cfg(unix)]
        if let Some(why) = candidates.last().and_then(unix::in_the_way) {
            return prose(error.kind(), format!("{error}; {why}"));
        }
        match holder_of(kind, candidates) {
            Some(holder) => prose(error.kind(), format!("{error}; it is held by {holder}")),
            None => error,
        }
    }

    /// Whether an address that is in use will be free in a moment: a program that another thread is just
    /// starting has a copy of the last socket, or had it until now.
    pub(crate) fn is_free_soon(kind: SocketKind, candidates: &[Address]) -> bool {
        let is_told = cfg!(target_os = "linux") && candidates.iter().all(|a| a.as_inet().is_some());
        is_told
            && matches!(
                holder_of(kind, candidates),
                None | Some(Holder::Starting(_))
            )
    }

    /// Accepts a connection that is waiting; `WouldBlock` when none is.
    pub(crate) fn accept(&self) -> io::Result<(Stream, Address)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept()?;
                // The BSDs hand the listener's non-blocking mode down, Linux does not.
                #[cfg(not(target_os = "linux"))]
                stream.set_nonblocking(false)?;
                // Replies leave as they are written: a test peer must not wait for Nagle's algorithm.
                // A client that has gone already makes it fail on some systems, which is no matter.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), Address::from(peer)))
            }
            #[cfg(unix)]
            Listening::Unix(listener) => {
                let (stream, peer) = listener.accept()?;
                #[cfg(not(target_os = "linux"))]
                stream.set_nonblocking(false)?;
                let peer = Address::Unix(UnixAddress::from_std(&peer));
                Ok((Stream::Unix(stream), peer))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Receives a datagram that is waiting; `WouldBlock` when none is.
    pub(crate) fn receive_from(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match &self.socket {
            #[cfg(all(feature = "pktinfo", target_os = "linux"))]
            Listening::Udp(socket) if self.is_on_all_addresses() => {
                let (length, peer, asked) = super::pktinfo::receive_from(socket, buffer)?;
                Ok(Received {
                    length,
                    peer: Address::from(peer),
                    asked,
                })
            }
            Listening::Udp(socket) => {
                let (length, peer) = socket.recv_from(buffer)?;
                Ok(Received {
                    length,
                    peer: Address::from(peer),
                    asked: None,
                })
            }
            #[cfg(unix)]
            Listening::UnixDatagram(socket) => {
                let (length, peer) = socket.recv_from(buffer)?;
                Ok(Received {
                    length,
                    peer: Address::Unix(UnixAddress::from_std(&peer)),
                    asked: None,
                })
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends a datagram, from the address that was asked if this is one of several.
    pub(crate) fn send_to(
        &self,
        data: &[u8],
        peer: &Address,
        asked: Option<IpAddr>,
    ) -> io::Result<usize> {
        match (&self.socket, peer) {
            (Listening::Udp(socket), Address::Inet(peer)) => {
                let peer = self.in_own_family(*peer);
                match asked {
                    #[cfg(all(feature = "pktinfo", target_os = "linux"))]
                    Some(from) => super::pktinfo::send_to(socket, data, peer, from),
                    _ => socket.send_to(data, peer),
                }
            }
            #[cfg(unix)]
            (Listening::UnixDatagram(socket), Address::Unix(peer)) => match peer.to_std() {
                Ok(peer) => socket.send_to_addr(data, &peer),
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the sender's socket is unnamed, so no reply can reach it",
                )),
            },
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    #[cfg(all(feature = "pktinfo", target_os = "linux"))]
    fn is_on_all_addresses(&self) -> bool {
        matches!(&self.address, Address::Inet(own) if own.ip().is_unspecified())
    }

    /// A peer as this socket's family writes it.
    fn in_own_family(&self, peer: SocketAddr) -> SocketAddr {
        match (&self.address, peer) {
            (Address::Inet(SocketAddr::V6(_)), SocketAddr::V4(peer)) => {
                SocketAddr::new(peer.ip().to_ipv6_mapped().into(), peer.port())
            }
            _ => peer,
        }
    }

    /// Makes a socket of datagrams receive for at most `timeout`, and send for at most a moment: whoever sends looks at
    /// the clock and at the stop in between.
    pub(crate) fn set_receive_timeout(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        let send = Some(Duration::from_millis(1));
        match &self.socket {
            Listening::Udp(socket) => {
                socket.set_write_timeout(send)?;
                socket.set_read_timeout(timeout)
            }
            #[cfg(unix)]
            Listening::UnixDatagram(socket) => {
                socket.set_write_timeout(send)?;
                socket.set_read_timeout(timeout)
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes a socket of datagrams return at once when none is there.
    pub(crate) fn set_nonblocking(&self) -> io::Result<()> {
        match &self.socket {
            Listening::Udp(socket) => socket.set_nonblocking(true),
            #[cfg(unix)]
            Listening::UnixDatagram(socket) => socket.set_nonblocking(true),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Registers the socket for reading with a poll, which tells once when it can be read.
    #[cfg(unix)]
    pub(crate) fn register(&self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        let fd = self.fd();
        registry.register(
            &mut mio::unix::SourceFd(&fd),
            token,
            mio::Interest::READABLE,
        )
    }

    /// Has the poll tell again, at once if it can be read now.
    #[cfg(unix)]
    pub(crate) fn reregister(&self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        let fd = self.fd();
        registry.reregister(
            &mut mio::unix::SourceFd(&fd),
            token,
            mio::Interest::READABLE,
        )
    }

    #[cfg(unix)]
    fn fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd;
        match &self.socket {
            Listening::Tcp(socket) => socket.as_raw_fd(),
            Listening::Udp(socket) => socket.as_raw_fd(),
            Listening::Unix(socket) => socket.as_raw_fd(),
            Listening::UnixDatagram(socket) => socket.as_raw_fd(),
        }
    }
}

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if !self.maker.is_this() {
            #[cfg(unix)]
            std::mem::forget(self.file.take());
            return;
        }
        // A program that another thread is just starting holds a copy of the socket until it runs.
        // Closing ours would leave the port listening for that long.
        match &self.socket {
            Listening::Tcp(listener) => drop(SockRef::from(listener).shutdown(Shutdown::Both)),
            #[cfg(unix)]
            Listening::Unix(listener) => drop(SockRef::from(listener).shutdown(Shutdown::Both)),
            _ => {}
        }
    }
}

/// How many ports of the system's choice are tried until one is free for streams and datagrams alike.
const PORTS_TRIED: u32 = 100;

/// A listener, and a socket for datagrams on its port.
fn bind_both(candidate: &Address) -> io::Result<BoundSocket> {
    let Some(wanted) = candidate.as_inet() else {
        return Err(prose(
            io::ErrorKind::InvalidInput,
            "streams and datagrams cannot share a path: only ports are for both".into(),
        ));
    };
    let mut left = PORTS_TRIED;
    loop {
        left -= 1;
        let mut bound = bind_one(SocketKind::Stream, candidate)?;
        match bind_one(SocketKind::Datagram, &bound.address) {
            Ok(datagrams) => {
                bound.datagrams = Some(Box::new(datagrams));
                return Ok(bound);
            }
            // The system chose a port that is free for streams; another program has it for datagrams.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && wanted.port() == 0 && left > 0 => {}
            Err(error) => {
                return Err(prose(error.kind(), format!("for datagrams: {error}")));
            }
        }
    }
}

fn bind_one(kind: SocketKind, candidate: &Address) -> io::Result<BoundSocket> {
    match candidate {
        Address::Inet(address) => {
            let ty = match kind {
                SocketKind::Datagram => Type::DGRAM,
                _ => Type::STREAM,
            };
            let socket = Socket::new(Domain::for_address(*address), ty, None)?;
            // A restart must not wait for the last run's connections to leave TIME_WAIT. On Windows
            // the option means that others may take the port, so it is Unix's only; for datagrams
            // it would mean the same everywhere.
            #[cfg(unix)]
            if kind != SocketKind::Datagram {
                socket.set_reuse_address(true)?;
            }
            socket.bind(&(*address).into())?;
            let (socket, address) = match kind {
                SocketKind::Datagram => {
                    let socket = UdpSocket::from(socket);
                    let address = socket.local_addr()?;
                    #[cfg(all(feature = "pktinfo", target_os = "linux"))]
                    if address.ip().is_unspecified() {
                        super::pktinfo::enable(&socket, address)?;
                    }
                    (Listening::Udp(socket), address)
                }
                _ => {
                    socket.listen(i32::MAX)?;
                    let listener = TcpListener::from(socket);
                    listener.set_nonblocking(true)?;
                    let address = listener.local_addr()?;
                    (Listening::Tcp(listener), address)
                }
            };
            Ok(BoundSocket {
                socket,
                address: Address::from(address),
                datagrams: None,
                #[cfg(unix)]
                file: None,
                maker: Maker::this(),
            })
        }
        #[cfg(unix)]
        Address::Unix(unix) => {
            let unix = unix.to_listen_on()?;
            let socket = match kind {
                SocketKind::Datagram => {
                    Listening::UnixDatagram(UnixDatagram::bind_addr(&unix.to_std()?)?)
                }
                _ => {
                    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                    socket.bind(&unix.to_socket2()?)?;
                    socket.listen(i32::MAX)?;
                    let listener = UnixListener::from(socket);
                    listener.set_nonblocking(true)?;
                    Listening::Unix(listener)
                }
            };
            let file = SocketFile::of(&unix);
            Ok(BoundSocket {
                socket,
                address: Address::Unix(unix),
                datagrams: None,
                file,
                maker: Maker::this(),
            })
        }
    }
}

/// A connected stream of either family. All of it works through a shared reference, so that stopping
/// can shut a stream that a handler is blocked on.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

/// A write to a client that has gone is an error, also in a process that has left SIGPIPE at its default
/// action, which is its end. Where there is no such flag, the socket has been told when it was made.
#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
))]
const NO_SIGNAL: i32 = libc::MSG_NOSIGNAL;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "dragonfly"
)))]
const NO_SIGNAL: i32 = 0;

/// Sends all of `bytes` to another process, which may be gone.
#[cfg(all(unix, feature = "tunnel"))]
pub(crate) fn send_quietly(stream: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let sent = SockRef::from(stream).send_with_flags(bytes, NO_SIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// The same call on whichever stream it is.
macro_rules! either {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self {
            Stream::Tcp($stream) => $call,
            #[cfg(unix)]
            Stream::Unix($stream) => $call,
        }
    };
}

impl Stream {
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => { let mut stream = stream; stream.read(buffer) })
    }

    pub(crate) fn write(&self, buffer: &[u8]) -> io::Result<usize> {
        either!(self, stream => SockRef::from(stream).send_with_flags(buffer, NO_SIGNAL))
    }

    pub(crate) fn write_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => SockRef::from(stream).send_vectored_with_flags(buffers, NO_SIGNAL))
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        either!(self, stream => stream.shutdown(how))
    }

    pub(crate) fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        either!(self, stream => stream.set_nonblocking(nonblocking))
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, stream => stream.set_read_timeout(timeout))
    }

    pub(crate) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        either!(self, stream => stream.set_write_timeout(timeout))
    }

    /// The most bytes that can have come and wait to be read, as far as the system tells.
    pub(crate) fn receive_buffer(&self) -> io::Result<usize> {
        either!(self, stream => SockRef::from(stream).recv_buffer_size())
    }

    /// Whether the client has closed its side, as far as the system can tell. `poll` is any poll that
    /// has nothing else to tell, made when it is needed.
    #[cfg(unix)]
    pub(crate) fn peer_has_closed(&self, poll: &mut Option<mio::Poll>) -> bool {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let mut byte = [MaybeUninit::uninit()];
        match either!(self, stream => SockRef::from(stream).recv_with_flags(&mut byte, flags)) {
            Ok(0) => true,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            // Only a poll tells of an end behind bytes that nobody has read yet.
            Ok(_) => self.end_is_queued(poll).unwrap_or(false),
        }
    }

    /// Whether something has come that nobody has read.
    #[cfg(unix)]
    pub(crate) fn has_unread(&self) -> bool {
        let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
        let mut byte = [MaybeUninit::uninit()];
        let peeked =
            either!(self, stream => SockRef::from(stream).recv_with_flags(&mut byte, flags));
        matches!(peeked, Ok(1..))
    }

    /// Whether something has come that nobody has read.
    #[cfg(not(unix))]
    pub(crate) fn has_unread(&self) -> bool {
        let Stream::Tcp(stream) = self;
        let peeked = stream
            .set_nonblocking(true)
            .and_then(|()| stream.peek(&mut [0]));
        let _ = stream.set_nonblocking(false);
        matches!(peeked, Ok(1..))
    }

    #[cfg(unix)]
    fn end_is_queued(&self, poll: &mut Option<mio::Poll>) -> io::Result<bool> {
        let poll = match poll {
            Some(poll) => poll,
            None => poll.insert(mio::Poll::new()?),
        };
        let mut events = mio::Events::with_capacity(1);
        self.register(poll.registry(), mio::Token(0))?;
        let polled = poll.poll(&mut events, Some(Duration::ZERO));
        self.deregister(poll.registry())?;
        polled.map(|()| events.iter().any(mio::event::Event::is_read_closed))
    }

    /// Makes the close send a RST (TCP) instead of a FIN.
    pub(crate) fn set_reset_on_close(&self) -> io::Result<()> {
        either!(self, stream => SockRef::from(stream).set_linger(Some(Duration::ZERO)))
    }

    /// Sends the acknowledgement that the system holds back, where it lets itself be told.
    pub(crate) fn acknowledge(&self) {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Stream::Tcp(stream) = self {
            // It is for speed alone, so that nothing is lost where it fails.
            let _ = SockRef::from(stream).set_tcp_quickack(true);
        }
    }

    /// Takes the error that waits on the socket, which reading an end does not give.
    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, stream => stream.take_error())
    }

    pub(crate) fn local_address(&self) -> io::Result<Address> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().map(Address::from),
            #[cfg(unix)]
            Stream::Unix(stream) => {
                let address = stream.local_addr()?;
                Ok(Address::Unix(UnixAddress::from_std(&address)))
            }
        }
    }

    #[cfg(unix)]
    pub(crate) fn register(&self, registry: &mio::Registry, token: mio::Token) -> io::Result<()> {
        self.register_for(registry, token, mio::Interest::READABLE)
    }

    #[cfg(unix)]
    pub(crate) fn register_for(
        &self,
        registry: &mio::Registry,
        token: mio::Token,
        interest: mio::Interest,
    ) -> io::Result<()> {
        let fd = self.fd();
        registry.register(&mut mio::unix::SourceFd(&fd), token, interest)
    }

    #[cfg(unix)]
    pub(crate) fn deregister(&self, registry: &mio::Registry) -> io::Result<()> {
        let fd = self.fd();
        registry.deregister(&mut mio::unix::SourceFd(&fd))
    }

    #[cfg(unix)]
    fn fd(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd;
        either!(self, stream => stream.as_raw_fd())
    }
}
