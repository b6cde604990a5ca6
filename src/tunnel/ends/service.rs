//! The listening end of a route.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::deadline::Backoff;
use crate::deadline::Deadline;

/// How often to try for a port that is free on several addresses.
const BIND_ATTEMPTS: usize = 20;
/// How long a port that was ours a moment ago may seem taken.
const HOLD_LIMIT: Duration = Duration::from_secs(2);
/// How many may wait at a service that listens again.
const BACKLOG: i32 = 128;

/// Listens on one port of one or several addresses and accepts within a deadline.
#[derive(Debug)]
pub(crate) struct Service {
    listeners: Vec<TcpListener>,
    /// Instead of listeners while it refuses: they keep its port.
    refusing: Vec<Socket>,
    poll: Mutex<Poll>,
    addr: SocketAddr,
    /// How many connections came to see whether it lives, since that was asked last.
    health_checks: AtomicUsize,
    /// Whether any did.
    is_checked: AtomicBool,
    /// Whether any has come at all.
    used: AtomicBool,
}

impl Service {
    /// Binds to this one address and port.
    pub(crate) fn bind_at(address: SocketAddr) -> io::Result<Service> {
        Service::try_bind(&[address.ip()], address.port())
    }

    /// Binds to a free port, the same on each of `ips`.
    pub(crate) fn bind(ips: &[IpAddr]) -> io::Result<Service> {
        let mut last = io::Error::from(io::ErrorKind::InvalidInput);
        for _ in 0..BIND_ATTEMPTS {
            match Service::try_bind(ips, 0) {
                // The port that the kernel gave for the first address is taken on another.
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => last = error,
                done => return done,
            }
        }
        Err(last)
    }

    fn try_bind(ips: &[IpAddr], mut port: u16) -> io::Result<Service> {
        let first = *ips.first().ok_or(io::ErrorKind::InvalidInput)?;
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for (token, &ip) in ips.iter().enumerate() {
            let listener = TcpListener::bind(SocketAddr::new(ip, port))?;
            listener.set_nonblocking(true)?;
            port = listener.local_addr()?.port();
            register(&poll, &listener, Token(token))?;
            listeners.push(listener);
        }
        Ok(Service {
            listeners,
            refusing: Vec::new(),
            poll: Mutex::new(poll),
            addr: SocketAddr::new(first, port),
            health_checks: AtomicUsize::new(0),
            is_checked: AtomicBool::new(false),
            used: AtomicBool::new(false),
        })
    }

    /// Refuses connections from now on, and keeps its port. Whoever waits is turned away.
    pub(crate) fn refuse(&mut self) -> io::Result<()> {
        for listener in std::mem::take(&mut self.listeners) {
            let address = listener.local_addr()?;
            // Only one of the two can have the port: for a moment nobody has it.
            drop(listener);
            self.refusing.push(hold(address)?);
        }
        Ok(())
    }

    /// Listens again after [`Service::refuse`].
    pub(crate) fn listen_again(&mut self) -> io::Result<()> {
        let poll = self.poll.get_mut().unwrap_or_else(PoisonError::into_inner);
        for socket in std::mem::take(&mut self.refusing) {
            socket.listen(BACKLOG)?;
            let listener = TcpListener::from(socket);
            listener.set_nonblocking(true)?;
            register(poll, &listener, Token(self.listeners.len()))?;
            self.listeners.push(listener);
        }
        Ok(())
    }

    /// The address that was asked for first, and the port.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Whether it listens on more than one address.
    pub(crate) fn has_several(&self) -> bool {
        self.listeners.len() > 1
    }

    /// All addresses, with the port.
    pub(crate) fn addrs(&self) -> Vec<SocketAddr> {
        let addrs = self.listeners.iter().map(TcpListener::local_addr);
        addrs.filter_map(io::Result::ok).collect()
    }

    /// The port, the same on each address.
    pub(crate) fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Whether nobody waits to be accepted. Whoever does is turned away.
    pub(crate) fn is_idle(&self) -> bool {
        self.listeners
            .iter()
            .all(|listener| listener.accept().is_err())
    }

    /// How many connections came to see whether it lives, since this was asked last.
    pub(crate) fn take_health_checks(&self) -> usize {
        self.health_checks.swap(0, Ordering::Relaxed)
    }

    pub(crate) fn add_health_check(&self) {
        self.health_checks.fetch_add(1, Ordering::Relaxed);
        self.is_checked.store(true, Ordering::Relaxed);
    }

    /// Whether the program has made any such connection.
    pub(crate) fn is_checked(&self) -> bool {
        self.is_checked.load(Ordering::Relaxed)
    }

    /// Whether a connection may be one of those: nothing is known of the program yet, or it makes such.
    pub(crate) fn looks_for_health_checks(&self) -> bool {
        !self.used.swap(true, Ordering::Relaxed) || self.is_checked()
    }

    /// Accepts one connection; a [`io::ErrorKind::TimedOut`] error at the deadline.
    pub(crate) fn accept(&self, deadline: &Deadline) -> io::Result<(TcpStream, SocketAddr)> {
        loop {
            for listener in &self.listeners {
                match listener.accept() {
                    Ok((stream, peer)) => {
                        // Some systems hand the listener's mode down to what it accepts.
                        stream.set_nonblocking(false)?;
                        stream.set_nodelay(true)?;
                        return Ok((stream, peer));
                    }
                    Err(error) if is_passing(&error) => {}
                    Err(error) => return Err(error),
                }
            }
            let left = deadline.check()?;
            // While it refuses there are none, and the system takes no list of none.
            let mut events = Events::with_capacity(self.listeners.len().max(1));
            let mut poll = self.poll.lock().unwrap_or_else(PoisonError::into_inner);
            match poll.poll(&mut events, Some(left)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

/// A socket that has the port and does not listen.
fn hold(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    let deadline = Deadline::new(HOLD_LIMIT, "a port of our own");
    let mut pause = Backoff::new(Duration::from_millis(1));
    loop {
        match socket.bind(&SockAddr::from(address)) {
            // A child that is being started has a copy of the listener until it runs its own program.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !deadline.expired() => {
                pause.sleep(&deadline);
            }
            done => return done.map(|()| socket),
        }
    }
}

/// Whether accepting may go on: nobody there, or someone who has gone again.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted)
}

#[cfg(unix)]
fn register(poll: &Poll, listener: &TcpListener, token: Token) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let fd = listener.as_raw_fd();
    poll.registry()
        .register(&mut mio::unix::SourceFd(&fd), token, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_and_listens_again_on_the_same_port() {
        let mut service = Service::bind(&[[127, 0, 0, 1].into()]).unwrap();
        let connect = |port| TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.kind());
        service.refuse().unwrap();
        let refused = connect(service.port()).unwrap_err();
        assert_eq!(refused, io::ErrorKind::ConnectionRefused);
        let short = Deadline::new(Duration::from_millis(5), "a client");
        let nobody = service.accept(&short).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::TimedOut);
        service.listen_again().unwrap();
        let client = connect(service.port()).unwrap();
        let deadline = Deadline::new(Duration::from_secs(20), "a client");
        let (_, peer) = service.accept(&deadline).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
    }

    #[test]
    fn accepts_on_each_address_and_times_out_when_nobody_comes() {
        let ips = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2])];
        // Only Linux has the second one.
        let ips = &ips[..if cfg!(target_os = "linux") { 2 } else { 1 }];
        let service = Service::bind(ips).unwrap();
        for &ip in ips {
            let client = TcpStream::connect((ip, service.port())).unwrap();
            let deadline = Deadline::new(Duration::from_secs(20), "a client");
            let (_, peer) = service.accept(&deadline).unwrap();
            assert_eq!(peer, client.local_addr().unwrap());
        }
        assert!(service.looks_for_health_checks() && !service.looks_for_health_checks());
        service.add_health_check();
        assert!(service.looks_for_health_checks());
        assert_eq!([1, 0], [(); 2].map(|()| service.take_health_checks()));
        assert!(service.is_idle());
        let _client = TcpStream::connect((ips[0], service.port())).unwrap();
        assert!(
            !service.is_idle() && service.is_idle(),
            "it was turned away"
        );
        let deadline = Deadline::new(Duration::from_millis(5), "a client");
        let error = service.accept(&deadline).unwrap_err();
        assert_eq!(
            error.to_string(),
            "timed out after 5ms waiting for a client"
        );
    }
}
