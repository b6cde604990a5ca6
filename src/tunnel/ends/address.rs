//! Which addresses of this machine a route can be made of.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

#[cfg(target_os = "linux")]
use nix::sys::socket::sockopt;
use socket2::{Domain, SockAddr, Socket, Type};

use super::service::Service;
use crate::deadline::Deadline;
use crate::tunnel::core::family::Family;

/// The most addresses of one family that are tried with each other.
const MAX_ADDRESSES: usize = 6;
/// How long one pair may take to connect; within one machine it is microseconds or never.
const PAIR_LIMIT: Duration = Duration::from_millis(500);

/// Two addresses of one family, the second of which really did connect to the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) server: IpAddr,
    pub(crate) client: IpAddr,
}

/// The pairs that can connect, in order of preference.
#[derive(Debug)]
pub(crate) struct Addresses {
    pairs: Vec<Pair>,
}

impl Addresses {
    /// Finds the pairs among this machine's loopback addresses, and with `interfaces` among the
    /// addresses of its network interfaces too. Bounded by `deadline`.
    pub(crate) fn find(interfaces: bool, deadline: &Deadline) -> Addresses {
        let candidates = candidates(interfaces);
        let mut pairs = Vec::new();
        for &server in &candidates {
            for &client in &candidates {
                if deadline.expired() {
                    return Addresses { pairs };
                }
                if Family::of(server) == Family::of(client) && can_connect(server, client).is_ok() {
                    pairs.push(Pair { server, client });
                }
            }
        }
        Addresses { pairs }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Picks one pair for the client's half and one for the service's half, with as many different
    /// addresses as there are: an address that is mixed up shows only if it differs.
    pub(crate) fn pick(&self, listen: Family, service: Family) -> Option<(Pair, Pair)> {
        let fronts = self.pairs.iter().copied().filter(in_family(listen));
        self.best(fronts, service)
    }

    /// As [`Addresses::pick`], where the client's half is with a `server` that is given.
    pub(crate) fn pick_at(&self, server: IpAddr, service: Family) -> Option<(Pair, Pair)> {
        let mut fronts = self
            .pairs
            .iter()
            .copied()
            .filter(|pair| pair.server == server);
        if fronts.clone().next().is_some() {
            return self.best(&mut fronts, service);
        }
        let client = source_to(server).ok()?;
        self.best(std::iter::once(Pair { server, client }), service)
    }

    fn best(&self, fronts: impl Iterator<Item = Pair>, service: Family) -> Option<(Pair, Pair)> {
        let mut best = None;
        for front in fronts {
            for back in self.pairs.iter().copied().filter(in_family(service)) {
                let score = distinct(&[front.server, front.client, back.server, back.client]);
                // The first of equals stays: the pairs are in order of preference.
                if best.is_none_or(|(top, _)| score > top) {
                    best = Some((score, (front, back)));
                }
            }
        }
        best.map(|(_, picked)| picked)
    }
}

fn in_family(family: Family) -> impl Fn(&Pair) -> bool {
    move |pair| Family::of(pair.server) == family
}

/// The address that this machine connects from to `server`.
pub(crate) fn source_to(server: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match server {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Connecting a socket of datagrams sends nothing; the port does not matter.
    let socket = std::net::UdpSocket::bind((any, 0))?;
    socket.connect((server, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Connects to `server` from `client` with an ephemeral port, within `limit`.
pub(crate) fn connect_from(
    client: IpAddr,
    server: SocketAddr,
    limit: Duration,
) -> io::Result<std::net::TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    // Otherwise each connection keeps its port from everybody for a minute after its end, from the
    // program under test too, and a machine has some 28,000. An older kernel does without.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::socket::setsockopt(&socket, sockopt::IpBindAddressNoPort, &true);
    socket.bind(&SockAddr::from(SocketAddr::new(client, 0)))?;
    // What is left of its port for a minute must not keep a service from listening there. After thousands
    // of connections hardly a port would be free on all of several addresses.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.connect_timeout(&SockAddr::from(server), limit)?;
    let stream = std::net::TcpStream::from(socket);
    // With nobody listening, TCP lets a socket connect to itself when its own port is that port.
    if stream.local_addr()? == server {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Addresses worth trying, best first. Those that do not work here are found out by connecting.
fn candidates(interfaces: bool) -> Vec<IpAddr> {
    let mut found = Vec::new();
    let own = if_addrs::get_if_addrs().unwrap_or_default();
    if interfaces {
        let usable = |ip: &IpAddr| !ip.is_loopback() && !is_link_local(ip);
        found.extend(own.iter().map(|i| i.ip()).filter(usable));
    }
    found.push(Ipv4Addr::LOCALHOST.into());
    found.push(Ipv6Addr::LOCALHOST.into());
    found.extend(own.iter().map(|i| i.ip()).filter(IpAddr::is_loopback));
    // Linux has all of 127.0.0.0/8 on its loopback interface without listing it.
    found.extend((2..=4).map(|last| IpAddr::from([127, 0, 0, last])));

    let mut kept: Vec<IpAddr> = Vec::new();
    for ip in found {
        let same_family = kept.iter().filter(|k| Family::of(**k) == Family::of(ip));
        if same_family.count() < MAX_ADDRESSES && !kept.contains(&ip) {
            kept.push(ip);
        }
    }
    kept
}

/// Link-local addresses need a scope, which most programs cannot be told.
fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

fn can_connect(server: IpAddr, client: IpAddr) -> io::Result<()> {
    let service = Service::bind(&[server])?;
    let stream = connect_from(client, SocketAddr::new(server, service.port()), PAIR_LIMIT)?;
    let deadline = Deadline::new(PAIR_LIMIT, "the connection of two addresses");
    let (_, peer) = service.accept(&deadline)?;
    match peer == stream.local_addr()? {
        true => Ok(()),
        false => Err(io::ErrorKind::AddrNotAvailable.into()),
    }
}

fn distinct(ips: &[IpAddr]) -> usize {
    let first = |(i, ip): &(usize, &IpAddr)| !ips[..*i].contains(ip);
    ips.iter().enumerate().filter(first).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_pairs(ips: &[&str]) -> Addresses {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let mut pairs = Vec::new();
        for &server in &ips {
            for &client in &ips {
                if Family::of(server) == Family::of(client) {
                    pairs.push(Pair { server, client });
                }
            }
        }
        Addresses { pairs }
    }

    fn picked(addresses: &Addresses, listen: Family, service: Family) -> Option<[String; 4]> {
        let (front, back) = addresses.pick(listen, service)?;
        Some([front.server, front.client, back.server, back.client].map(|ip| ip.to_string()))
    }

    /// An address whose ports nobody else takes meanwhile, where a machine has so many.
    fn quiet() -> IpAddr {
        let [.., high, low] = std::process::id().to_be_bytes();
        match cfg!(target_os = "linux") {
            true => IpAddr::from([127, 83, high, low]),
            false => Ipv4Addr::LOCALHOST.into(),
        }
    }

    #[test]
    fn with_many_addresses_all_four_roles_differ() {
        let many = all_pairs(&["127.0.0.1", "::1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        assert_eq!(
            picked(&many, Family::V4, Family::V4).unwrap(),
            ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]
        );
        assert_eq!(
            picked(&many, Family::V6, Family::V4).unwrap(),
            ["::1", "::1", "127.0.0.1", "127.0.0.2"]
        );
    }

    #[test]
    fn with_one_address_of_each_family_every_combination_is_there() {
        let two = all_pairs(&["127.0.0.1", "::1"]);
        for (listen, service) in Family::COMBINATIONS {
            let ips = picked(&two, listen, service).unwrap();
            assert_eq!(ips[0].contains(':'), listen == Family::V6);
            assert_eq!(ips[2].contains(':'), service == Family::V6);
        }
        let four = all_pairs(&["127.0.0.1"]);
        assert!(picked(&four, Family::V4, Family::V4).is_some());
        assert!(picked(&four, Family::V4, Family::V6).is_none());
    }

    #[test]
    fn a_given_server_is_kept_and_the_other_roles_still_differ() {
        let many = all_pairs(&["127.0.0.1", "::1", "127.0.0.2", "127.0.0.3", "127.0.0.4"]);
        let at = |ip: &str, service| {
            let (front, back) = many.pick_at(ip.parse().unwrap(), service)?;
            let ips = [front.server, front.client, back.server, back.client];
            Some(ips.map(|ip| ip.to_string()))
        };
        let due = ["127.0.0.3", "127.0.0.1", "127.0.0.2", "127.0.0.4"];
        assert_eq!(at("127.0.0.3", Family::V4).unwrap(), due);
        // One that was not tried: the system knows where one connects from.
        let other = at("127.0.0.99", Family::V6).unwrap();
        assert_eq!(other[0], "127.0.0.99");
        assert!(other[1].starts_with("127.") && other[2..] == ["::1", "::1"]);
    }

    #[test]
    fn pairs_of_this_machine_really_connect_and_are_loopback() {
        let deadline = Deadline::new(Duration::from_secs(20), "pairs");
        let found = Addresses::find(false, &deadline);
        let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
        assert!(found.pairs.contains(&Pair {
            server: localhost,
            client: localhost
        }));
        let loopback = |pair: &Pair| pair.server.is_loopback() && pair.client.is_loopback();
        assert!(found.pairs.iter().all(loopback));
    }

    #[cfg(unix)]
    #[test]
    fn a_port_that_was_connected_from_can_be_listened_at() {
        use std::io::Read;
        let localhost = quiet();
        let listener = std::net::TcpListener::bind((localhost, 0)).unwrap();
        let limit = Duration::from_secs(20);
        let near = connect_from(localhost, listener.local_addr().unwrap(), limit).unwrap();
        let (mut far, peer) = listener.accept().unwrap();
        // Who closes first is the one whose port stays behind.
        drop(near);
        assert_eq!(far.read(&mut [0]).unwrap(), 0);
        drop(far);
        // A child that another test starts just now holds a copy of the sockets, until it runs its program.
        let deadline = Deadline::new(limit, "the port");
        while std::net::TcpListener::bind(peer).is_err() {
            deadline.check().unwrap();
            std::thread::yield_now();
        }
    }

    #[test]
    fn interfaces_come_first_when_asked_for_and_link_local_never() {
        let found = candidates(true);
        let last_outside = found.iter().rposition(|ip| !ip.is_loopback());
        let first_loopback = found.iter().position(IpAddr::is_loopback).unwrap();
        assert!(last_outside.is_none_or(|last| last < first_loopback));
        assert!(!found.iter().any(is_link_local));
        assert!(candidates(false).iter().all(IpAddr::is_loopback));
    }

    #[test]
    fn an_address_of_another_machine_cannot_connect() {
        // 192.0.2.0/24 is for documentation (RFC 5737): it is nobody's, so binding to it fails.
        let foreign = IpAddr::from([192, 0, 2, 77]);
        assert!(can_connect(Ipv4Addr::LOCALHOST.into(), foreign).is_err());
        assert!(can_connect(foreign, Ipv4Addr::LOCALHOST.into()).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_client_keeps_no_service_from_its_port() {
        let ip = quiet();
        let service = Service::bind(&[ip]).unwrap();
        let client = connect_from(ip, service.addr(), PAIR_LIMIT).unwrap();
        // While it is open and after it, for a minute, alike.
        Service::bind_at(client.local_addr().unwrap()).unwrap();
    }
}
