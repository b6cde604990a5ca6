//! Ports for programs that must be told where to listen.
//!
//! Between the moment when we find a port free and the moment when the program binds it, nobody else
//! may take it. The kernel gives the ports of its ephemeral range to every `bind` to port 0 and every
//! `connect` on the machine, so we choose outside of that range, and keep a lease: within the process
//! in a registry, between processes that use this crate as an abstract Unix socket name, which the
//! kernel frees when the process dies, however it dies.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError, RwLock};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::deadline::prose;
use crate::tunnel::core::ports::Ports;

/// The lowest port that we choose ourselves; below it live well-known services.
const LOWEST: u16 = 15_000;

/// The ports leased in this process.
static LEASED: Mutex<Vec<u16>> = Mutex::new(Vec::new());

/// Held for reading while a child is started, and for writing while a port is tried.
pub(crate) static SPAWNING: RwLock<()> = RwLock::new(());

/// A port that is this holder's until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    addr: SocketAddr,
    _name: name::Name,
}

impl Lease {
    /// Leases a port that is free on `ip` now.
    pub(crate) fn take(ip: IpAddr, ports: &Ports) -> io::Result<Lease> {
        let start = match ports.offset {
            Some(offset) => usize::from(offset),
            // Different starts keep concurrent processes from racing for the same ports.
            None => RandomState::new().hash_one(std::process::id()) as usize,
        };
        match &ports.range {
            Some(range) => {
                let ports = rotated(range.clone().filter(|port| *port != 0).collect(), start);
                Lease::first(ip, ports)?.ok_or_else(|| none_free(ip, range))
            }
            None => match Lease::first(ip, choices(ephemeral_range(), start))? {
                Some(lease) => Ok(lease),
                None => Lease::from_kernel(ip),
            },
        }
    }

    /// The first of `ports` that can be had.
    fn first(ip: IpAddr, ports: impl IntoIterator<Item = u16>) -> io::Result<Option<Lease>> {
        for port in ports {
            if let Some(lease) = Lease::try_take(SocketAddr::new(ip, port))? {
                return Ok(Some(lease));
            }
        }
        Ok(None)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// For a machine where every port is ephemeral: still leased among ourselves.
    fn from_kernel(ip: IpAddr) -> io::Result<Lease> {
        for _ in 0..100 {
            let addr = bind(SocketAddr::new(ip, 0))?;
            if let Some(lease) = Lease::try_take(addr)? {
                return Ok(lease);
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "every port that was tried is taken",
        ))
    }

    /// `None` when the port is leased or in use; an error when no port of this address can be bound.
    fn try_take(addr: SocketAddr) -> io::Result<Option<Lease>> {
        let mut leased = registry();
        if leased.contains(&addr.port()) {
            return Ok(None);
        }
        leased.push(addr.port());
        drop(leased);
        let taken = match name::Name::take(addr.port()) {
            // From here on dropping the lease gives the port back.
            Some(name) => Lease { addr, _name: name },
            None => {
                release(addr.port());
                return Ok(None);
            }
        };
        match bind(addr) {
            Ok(_) => Ok(Some(taken)),
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => Err(error),
            Err(_) => Ok(None),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        release(self.addr.port());
    }
}

fn release(port: u16) {
    registry().retain(|leased| *leased != port);
}

fn registry() -> std::sync::MutexGuard<'static, Vec<u16>> {
    // The list is whole after every operation, so a panic elsewhere does not spoil it.
    LEASED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Binds and lets go again; without SO_REUSEADDR, so that what a program without it meets counts as
/// taken too: a socket in TIME_WAIT, or a listener on the wildcard address.
fn bind(addr: SocketAddr) -> io::Result<SocketAddr> {
    // A child that is being started holds a copy of this socket until it runs its own program, and
    // that would keep the port taken after we have let go.
    let _alone = SPAWNING.write().unwrap_or_else(PoisonError::into_inner);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(addr))?;
    // Others start children too, without that lock: now a program with SO_REUSEADDR may bind even so.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}

/// The ports outside the ephemeral range, those above it first, each group from `start` onwards.
fn choices(ephemeral: RangeInclusive<u16>, start: usize) -> impl Iterator<Item = u16> {
    let above: Vec<u16> = (*ephemeral.end()..=u16::MAX).skip(1).collect();
    let below: Vec<u16> = (LOWEST..*ephemeral.start()).collect();
    [above, below]
        .into_iter()
        .flat_map(move |ports| rotated(ports, start))
}

/// The ports from the one at `start` onwards, then those before it.
fn rotated(mut ports: Vec<u16>, start: usize) -> Vec<u16> {
    let length = ports.len().max(1);
    ports.rotate_left(start % length);
    ports
}

fn none_free(ip: IpAddr, range: &RangeInclusive<u16>) -> io::Error {
    let (first, last) = (range.start(), range.end());
    prose(
        io::ErrorKind::AddrInUse,
        format!("of the ports {first} to {last} none is free on {ip}"),
    )
}

/// The kernel's ephemeral range, for both families.
fn ephemeral_range() -> RangeInclusive<u16> {
    // What Linux has by default; elsewhere IANA's range, which macOS and the BSDs use.
    const DEFAULT: RangeInclusive<u16> = match cfg!(target_os = "linux") {
        true => 32_768..=60_999,
        false => 49_152..=65_535,
    };
    let read = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    read.ok().and_then(|text| parse(&text)).unwrap_or(DEFAULT)
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut words = text.split_whitespace();
    let low = words.next()?.parse().ok()?;
    let high = words.next()?.parse().ok()?;
    (low <= high).then_some(low..=high)
}

/// The lease between processes.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod name {
    use std::io;
    #[cfg(target_os = "android")]
    use std::os::android::net::SocketAddrExt;
    #[cfg(target_os = "linux")]
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    /// Abstract names live in the network namespace, just as ports do.
    #[derive(Debug)]
    pub(super) struct Name {
        _socket: Option<UnixListener>,
    }

    impl Name {
        /// `None` when another holder has it. Where such names do not work, the lease goes without.
        pub(super) fn take(port: u16) -> Option<Name> {
            let name = format!("loopback-tunnel-port-{port}");
            let bound = SocketAddr::from_abstract_name(name)
                .and_then(|address| UnixListener::bind_addr(&address));
            match bound {
                Ok(socket) => Some(Name {
                    _socket: Some(socket),
                }),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                Err(_) => Some(Name { _socket: None }),
            }
        }
    }
}

/// Elsewhere nothing like it exists: processes rely on their different starts.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod name {
    #[derive(Debug)]
    pub(super) struct Name;

    impl Name {
        pub(super) fn take(_port: u16) -> Option<Name> {
            Some(Name)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn ports_come_from_outside_the_ephemeral_range_and_differ() {
        if choices(ephemeral_range(), 0).next().is_none() {
            // On this machine every port is ephemeral; another test covers that.
            return;
        }
        let leases: Vec<Lease> = (0..50)
            .map(|_| Lease::take(LOCALHOST, &Ports::default()).unwrap())
            .collect();
        let ports: std::collections::BTreeSet<u16> =
            leases.iter().map(|l| l.addr().port()).collect();
        assert_eq!(ports.len(), leases.len());
        assert!(!ports.iter().any(|port| ephemeral_range().contains(port)));
        for lease in &leases {
            assert!(Lease::try_take(lease.addr()).unwrap().is_none(), "leased");
            TcpListener::bind(lease.addr()).expect("free for the program");
        }
    }

    #[test]
    fn a_dropped_lease_gives_its_port_back_and_a_used_port_is_not_leased() {
        // Another test's lease may take the port in between, so any of several tries will do.
        let back = (0..50).any(|_| {
            let addr = Lease::take(LOCALHOST, &Ports::default()).unwrap().addr();
            matches!(Lease::try_take(addr), Ok(Some(_)))
        });
        assert!(back);
        let used = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let addr = used.local_addr().unwrap();
        assert!(Lease::try_take(addr).unwrap().is_none());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_lease_of_another_process_counts() {
        let held = (20_000..20_100).find_map(|port| Some((port, name::Name::take(port)?)));
        let (port, name) = held.unwrap();
        assert!(Lease::try_take((LOCALHOST, port).into()).unwrap().is_none());
        assert!(!registry().contains(&port));
        drop(name);
    }

    #[test]
    fn choices_leave_the_ephemeral_range_out() {
        let all: Vec<u16> = choices(32_768..=60_999, 7).collect();
        assert_eq!(all[..2], [61_007, 61_008]);
        assert_eq!(all.len(), (65_535 - 60_999) + (32_768 - 15_000));
        assert!(!all.iter().any(|port| (32_768..=60_999).contains(port)));
        assert_eq!(choices(1..=65_535, 3).count(), 0);
        assert_eq!(choices(9_000..=65_534, 3).collect::<Vec<_>>(), [65_535]);
    }

    #[test]
    fn a_range_and_an_offset_are_kept_to() {
        // Other tests may have taken some of them, so there are more than are needed.
        let ports = Ports {
            range: Some(15_100..=15_999),
            offset: Some(5),
        };
        let order = rotated((15_100..=15_999).collect(), 5);
        let leases: Vec<Lease> = (0..3)
            .map(|_| Lease::take(LOCALHOST, &ports).unwrap())
            .collect();
        let places: Vec<usize> = leases
            .iter()
            .map(|lease| {
                order
                    .iter()
                    .position(|port| *port == lease.addr().port())
                    .unwrap()
            })
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(order[..2], [15_105, 15_106]);
        assert_eq!(rotated(vec![], 3), [0; 0]);
    }

    #[test]
    fn a_range_without_a_free_port_is_an_error_that_names_it() {
        let used = TcpListener::bind((LOCALHOST, 0)).unwrap();
        let port = used.local_addr().unwrap().port();
        let ports = |range| Ports {
            range: Some(range),
            offset: None,
        };
        let error = Lease::take(LOCALHOST, &ports(port..=port)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("of the ports {port} to {port} none is free on 127.0.0.1")
        );
        assert!(Lease::take(LOCALHOST, &ports(0..=0)).is_err());
    }

    #[test]
    fn with_only_ephemeral_ports_the_kernel_chooses() {
        let lease = Lease::from_kernel(LOCALHOST).unwrap();
        assert_ne!(lease.addr().port(), 0);
        assert!(Lease::try_take(lease.addr()).unwrap().is_none());
    }

    #[test]
    fn the_range_is_read_as_the_kernel_writes_it() {
        assert_eq!(parse("32768\t60999\n"), Some(32_768..=60_999));
        for bad in ["", "1", "x y", "5 4", "1 70000"] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }
}
