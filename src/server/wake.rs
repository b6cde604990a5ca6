//! How a server's thread waits, and how a stop wakes it: one way for streams and what comes beside
//! them, one for datagrams alone.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;

use super::connect::reachable;
use crate::net::address::Address;
#[cfg(unix)]
use crate::net::address::UnixAddress;
use crate::net::socket::SocketKind;

/// What a protocol is served on, and how its thread waits.
pub trait Kind: 'static {
    /// The kind of socket.
    const SOCKET: SocketKind;
    /// What the thread waits with.
    type Wait: Send + 'static;
    /// What a worker or a stop wakes it with.
    type Waker: Send + Sync + 'static;

    /// Makes both, for a server on this address.
    fn prepare(address: &Address) -> io::Result<(Self::Wait, Self::Waker)>;

    /// Wakes the thread.
    fn wake(waker: &Self::Waker) -> io::Result<()>;
}

/// Streams: a poll, for the listener and for idle connections, and its waker.
#[derive(Debug)]
pub struct Streams;

/// Streams, and datagrams on the same port: the same poll tells of both.
#[derive(Debug)]
pub struct StreamsAndDatagrams;

/// The token that a poll's waker has; others are the listener's, the datagrams' and the connections'.
pub(crate) const WAKER: mio::Token = mio::Token(1);

impl Kind for Streams {
    const SOCKET: SocketKind = SocketKind::Stream;
    type Wait = mio::Poll;
    type Waker = mio::Waker;

    fn prepare(_: &Address) -> io::Result<(mio::Poll, mio::Waker)> {
        let poll = mio::Poll::new()?;
        let waker = mio::Waker::new(poll.registry(), WAKER)?;
        Ok((poll, waker))
    }

    fn wake(waker: &mio::Waker) -> io::Result<()> {
        waker.wake()
    }
}

impl Kind for StreamsAndDatagrams {
    const SOCKET: SocketKind = SocketKind::StreamAndDatagram;
    type Wait = mio::Poll;
    type Waker = mio::Waker;

    fn prepare(address: &Address) -> io::Result<(mio::Poll, mio::Waker)> {
        Streams::prepare(address)
    }

    fn wake(waker: &mio::Waker) -> io::Result<()> {
        Streams::wake(waker)
    }
}

/// Datagrams: a plain blocking receive, woken by a datagram of our own.
///
/// A poll would cost two more system calls a datagram, which is a sixth of an echo's time.
#[derive(Debug)]
pub struct Datagrams;

/// The bytes of the datagram that wakes; so many that no other datagram has them by chance.
pub(crate) type WakeWord = [u8; 32];

/// Where to send the word, and the socket to send it from: there may be none left when it is needed.
#[derive(Debug)]
pub struct DatagramWaker {
    socket: WakeSocket,
    word: WakeWord,
}

#[derive(Debug)]
enum WakeSocket {
    Udp(UdpSocket, SocketAddr),
    #[cfg(unix)]
    Unix(UnixDatagram, UnixAddress),
}

impl Kind for Datagrams {
    const SOCKET: SocketKind = SocketKind::Datagram;
    type Wait = WakeWord;
    type Waker = DatagramWaker;

    fn prepare(address: &Address) -> io::Result<(WakeWord, DatagramWaker)> {
        let mut word = WakeWord::default();
        for piece in word.chunks_exact_mut(8) {
            // The keys are random; what is hashed with them does not matter.
            piece.copy_from_slice(&RandomState::new().hash_one(0).to_ne_bytes());
        }
        let socket = match address {
            Address::Inet(address) => {
                let (from, to) = wake_addresses(*address);
                let socket = UdpSocket::bind(from)?;
                // A queue that is full drops the word, but then the thread has something to receive.
                socket.set_nonblocking(true)?;
                WakeSocket::Udp(socket, to)
            }
            #[cfg(unix)]
            Address::Unix(address) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                WakeSocket::Unix(socket, address.clone())
            }
        };
        Ok((word, DatagramWaker { socket, word }))
    }

    fn wake(waker: &DatagramWaker) -> io::Result<()> {
        let sent = match &waker.socket {
            WakeSocket::Udp(socket, to) => socket.send_to(&waker.word, to),
            #[cfg(unix)]
            WakeSocket::Unix(socket, to) => socket.send_to_addr(&waker.word, &to.to_std()?),
        };
        sent.map(drop)
    }
}

/// Where to send the word from, and where to: one cannot send to all addresses.
fn wake_addresses(server: SocketAddr) -> (SocketAddr, SocketAddr) {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    (SocketAddr::new(any, 0), reachable(server))
}
