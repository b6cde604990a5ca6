//! Whether and where a program listens.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::group;
#[cfg(target_os = "linux")]
use linux::of_processes;

/// Within one machine connecting is a matter of microseconds.
const LIMIT: Duration = Duration::from_millis(500);

/// Whether somebody listens at `address`, whose port is leased: whoever does is the program. The same
/// port of another address may be somebody else's.
///
/// On Linux this is found out without a connection. A program in the middle of a chain would pass one
/// on, up to the test service.
pub(crate) fn is_at(address: SocketAddr) -> bool {
    let connects = || TcpStream::connect_timeout(&address, LIMIT).is_ok();
    known_at(address).unwrap_or_else(connects)
}

/// The same without a connection in any case; `None` where the system does not tell.
pub(crate) fn known_at(address: SocketAddr) -> Option<bool> {
    #[cfg(target_os = "linux")]
    return linux::is_at(address).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = address;
        None
    }
}

/// Whether somebody takes datagrams at `address`, whose port is leased.
pub(crate) fn takes_datagrams_at(address: SocketAddr) -> bool {
    #[cfg(target_os = "linux")]
    if let Ok(takes) = linux::takes_datagrams_at(address) {
        return takes;
    }
    // Who else could have it? To try that is not without danger: the program may try at the same time.
    let bound = std::net::UdpSocket::bind(address);
    bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse)
}

/// Whether whoever takes datagrams at this port takes those to all of the machine's addresses; `None` where the
/// system does not tell.
pub(crate) fn takes_datagrams_everywhere(port: u16) -> Option<bool> {
    #[cfg(target_os = "linux")]
    return linux::takes_datagrams_everywhere(port).ok();
    #[cfg(not(target_os = "linux"))]
    {
        let _ = port;
        None
    }
}

/// What to tell of a program that does not listen at `address`: where the group that `leader` leads listens
/// instead, as far as the system tells. There is no group 0.
pub(crate) fn elsewhere(leader: u32, address: SocketAddr) -> String {
    let members = match leader {
        0 => None,
        leader => group::members(leader),
    };
    let found = members.map_or_else(Vec::new, |pids| of_processes(&pids));
    // Several workers may listen at the same place, and it may have begun to listen here since.
    let mut found = BTreeSet::from_iter(found);
    found.remove(&address);
    let found: Vec<String> = found.iter().map(SocketAddr::to_string).collect();
    match found.is_empty() {
        true => String::new(),
        false => format!("; it listens on {}", found.join(", ")),
    }
}

/// Elsewhere nobody tells.
#[cfg(not(target_os = "linux"))]
fn of_processes(_: &[i32]) -> Vec<SocketAddr> {
    Vec::new()
}

/// The kernel is asked by a netlink socket (sock_diag(7)). Its tables in /proc/net would do, but to read
/// them takes as long as the machine has sockets, and tens of milliseconds after a busy minute.
#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::io::{self, Read};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::time::Duration;
    use std::{fs, iter};

    use socket2::{Domain, Protocol, Socket, Type};

    /// NETLINK_SOCK_DIAG of linux/netlink.h.
    const SOCK_DIAG: i32 = 4;
    /// SOCK_DIAG_BY_FAMILY of linux/sock_diag.h: the type of the request and of each answer.
    const BY_FAMILY: u16 = 20;
    /// NLMSG_DONE of linux/netlink.h: there are no more answers.
    const DONE: u16 = 3;
    /// NLM_F_REQUEST and NLM_F_DUMP of linux/netlink.h: all sockets that match.
    const FLAGS: u16 = 0x301;
    /// TCP_LISTEN of the kernel's states, as a bit: of TCP's sockets those that listen.
    const LISTEN: u32 = 1 << 10;
    /// TCP_CLOSE: of UDP's sockets those that take datagrams from anybody.
    const UNCONNECTED: u32 = 1 << 7;
    /// The length of struct nlmsghdr, and of it with struct inet_diag_req_v2.
    const HEADER: usize = 16;
    const REQUEST: usize = 72;
    /// The kernel answers at once.
    const LIMIT: Duration = Duration::from_secs(5);

    /// Where an answer has its socket's own address: behind the header, four bytes and two ports.
    const SOURCE: usize = HEADER + 8;
    /// More than a port can have listeners.
    const MOST_READS: usize = 1000;

    /// Whether a socket listens there, be it on all addresses. One that listens on all of both families
    /// is among those of IPv6.
    pub(super) fn is_at(address: SocketAddr) -> io::Result<bool> {
        let takes = |source| takes(source, address);
        any(libc::IPPROTO_TCP, LISTEN, address.port(), takes)
    }

    /// Whether a socket takes datagrams there, be it on all addresses.
    pub(super) fn takes_datagrams_at(address: SocketAddr) -> io::Result<bool> {
        let takes = |source| takes(source, address);
        any(libc::IPPROTO_UDP, UNCONNECTED, address.port(), takes)
    }

    /// Whether a socket takes datagrams at this port of all addresses.
    pub(super) fn takes_datagrams_everywhere(port: u16) -> io::Result<bool> {
        any(libc::IPPROTO_UDP, UNCONNECTED, port, |source| {
            source.is_unspecified()
        })
    }

    /// Whether `suits` is true of the address of a socket with this port, of either family.
    fn any(
        protocol: i32,
        states: u32,
        port: u16,
        suits: impl Fn(IpAddr) -> bool,
    ) -> io::Result<bool> {
        for family in [libc::AF_INET, libc::AF_INET6] {
            if ask(family, &request(family, protocol, states, port), &suits)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where processes listen for TCP, by the kernel's tables in /proc: only who has failed already asks.
    pub(super) fn of_processes(pids: &[i32]) -> Vec<SocketAddr> {
        let Some(first) = pids.first() else {
            return Vec::new();
        };
        let held: HashSet<u64> = pids.iter().copied().flat_map(sockets).collect();
        let mut found = Vec::new();
        for table in ["tcp", "tcp6"] {
            // Without IPv6 the second one is missing.
            let Ok(text) = fs::read_to_string(format!("/proc/{first}/net/{table}")) else {
                continue;
            };
            let listeners = text.lines().filter_map(listener);
            found.extend(listeners.filter(|(_, inode)| held.contains(inode)));
        }
        found.into_iter().map(|(address, _)| address).collect()
    }

    /// The inodes of a process's sockets.
    fn sockets(pid: i32) -> Vec<u64> {
        let entries = fs::read_dir(format!("/proc/{pid}/fd"))
            .into_iter()
            .flatten();
        let links = entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        let inode = |link: std::path::PathBuf| {
            let text = link.to_str()?.strip_prefix("socket:[")?;
            text.strip_suffix(']')?.parse().ok()
        };
        links.filter_map(inode).collect()
    }

    /// The address and the inode of a table's line, if it is about a listener (proc_pid_net(5)).
    fn listener(line: &str) -> Option<(SocketAddr, u64)> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        let (ip, port) = local.split_once(':')?;
        let port = u16::from_str_radix(port, 16).ok()?;
        // Words of four bytes, each as this machine reads it.
        let word = |at: usize| u32::from_str_radix(ip.get(at..at + 8)?, 16).ok();
        let words = iter::successors(Some(0), |at| Some(at + 8)).map_while(word);
        let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        let ip = match <[u8; 4]>::try_from(&bytes[..]) {
            Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
            Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&bytes[..]).ok()?)),
        };
        Some((SocketAddr::new(ip, port), inode.parse().ok()?))
    }

    fn ask(family: i32, request: &[u8], suits: &impl Fn(IpAddr) -> bool) -> io::Result<bool> {
        let domain = Domain::from(libc::AF_NETLINK);
        let mut socket = Socket::new(domain, Type::DGRAM, Some(Protocol::from(SOCK_DIAG)))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.send(request)?;
        let mut buffer = [0; 8192];
        for _ in 0..MOST_READS {
            let length = socket.read(&mut buffer)?;
            let mut answers = &buffer[..length];
            while let Some((answer, rest)) = split(answers) {
                match message_type(answer) {
                    Some(BY_FAMILY) if source(family, answer).is_some_and(suits) => {
                        return Ok(true);
                    }
                    Some(BY_FAMILY) => {}
                    Some(DONE) => return Ok(false),
                    // An error, as where the kernel is built without this.
                    _ => return Err(io::ErrorKind::Unsupported.into()),
                }
                answers = rest;
            }
        }
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The first of several messages, each of which begins with its length, and those behind it.
    fn split(messages: &[u8]) -> Option<(&[u8], &[u8])> {
        let length: [u8; 4] = messages.get(..4)?.try_into().ok()?;
        let length = u32::from_ne_bytes(length) as usize;
        let message = messages.get(..length.max(HEADER))?;
        let next = message.len().next_multiple_of(4).min(messages.len());
        Some((message, &messages[next..]))
    }

    fn source(family: i32, answer: &[u8]) -> Option<IpAddr> {
        let bytes: [u8; 16] = answer.get(SOURCE..SOURCE + 16)?.try_into().ok()?;
        Some(match family {
            libc::AF_INET => IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]),
            _ => Ipv6Addr::from(bytes).to_canonical(),
        })
    }

    /// Whether a listener on `source` gets the connections to `address`.
    fn takes(source: IpAddr, address: SocketAddr) -> bool {
        source == address.ip()
            || source == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
            || source.is_unspecified() && address.is_ipv4()
    }

    /// Asks for the sockets of `family` and `protocol` in these states that are bound to `port`.
    fn request(family: i32, protocol: i32, states: u32, port: u16) -> [u8; REQUEST] {
        let mut out = [0; REQUEST];
        out[..4].copy_from_slice(&(REQUEST as u32).to_ne_bytes());
        out[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        out[6..8].copy_from_slice(&FLAGS.to_ne_bytes());
        // Families and protocols are small numbers.
        out[HEADER] = family as u8;
        out[HEADER + 1] = protocol as u8;
        out[HEADER + 4..HEADER + 8].copy_from_slice(&states.to_ne_bytes());
        out[HEADER + 8..HEADER + 10].copy_from_slice(&port.to_be_bytes());
        out
    }

    fn message_type(message: &[u8]) -> Option<u16> {
        let bytes = message.get(4..6)?;
        Some(u16::from_ne_bytes([bytes[0], bytes[1]]))
    }

    #[cfg(test)]
    mod tests {
        use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream, UdpSocket};

        use super::*;
        use crate::deadline::Deadline;
        use crate::tunnel::core::ports::Ports;
        use crate::tunnel::programs::port::Lease;

        #[test]
        fn a_line_of_the_kernels_table_is_read() {
            let line = |local: &str, state: &str| {
                format!(
                    "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 0"
                )
            };
            let one = u32::from_ne_bytes([127, 0, 0, 1]);
            let due = ("127.0.0.1:8080".parse().unwrap(), 4711);
            assert_eq!(listener(&line(&format!("{one:08X}:1F90"), "0A")), Some(due));
            assert_eq!(listener(&line(&format!("{one:08X}:1F90"), "01")), None);
            let last = u32::from_ne_bytes([0, 0, 0, 1]);
            let due = ("[::1]:80".parse().unwrap(), 4711);
            let zeros = "0".repeat(24);
            assert_eq!(
                listener(&line(&format!("{zeros}{last:08X}:0050"), "0A")),
                Some(due)
            );
            for other in [
                "",
                "sl local_address",
                &line("7F000001", "0A"),
                &line("7F:1", "0A"),
            ] {
                assert_eq!(listener(other), None, "{other}");
            }
        }

        #[test]
        fn a_listener_is_found_without_connecting() {
            let any = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            let one: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            // Another port for each: a child that another test starts just now holds a copy of a
            // listener that was closed, until it runs its program.
            let mut leases = Vec::new();
            for ip in one.into_iter().chain(any) {
                // A leased port, which nobody else takes.
                let Ok(lease) = Lease::take(ip, &Ports::default()) else {
                    continue;
                };
                let address = lease.addr();
                assert!(!is_at(address).unwrap());
                let listener = TcpListener::bind(address).unwrap();
                assert!(is_at(address).unwrap(), "{address}");
                listener.set_nonblocking(true).unwrap();
                assert!(listener.accept().is_err(), "nobody has connected");
                leases.push(lease);
            }
        }

        #[test]
        fn who_takes_datagrams_is_found_without_one() {
            let one = UdpSocket::bind("127.0.0.1:0").unwrap();
            let here = one.local_addr().unwrap();
            assert!(takes_datagrams_at(here).unwrap());
            let there = SocketAddr::new([127, 0, 0, 2].into(), here.port());
            assert!(!takes_datagrams_at(there).unwrap());
            assert!(!takes_datagrams_everywhere(here.port()).unwrap());
            let all = UdpSocket::bind("0.0.0.0:0").unwrap();
            let port = all.local_addr().unwrap().port();
            assert!(takes_datagrams_everywhere(port).unwrap());
            let anywhere = SocketAddr::new([127, 0, 0, 7].into(), port);
            assert!(takes_datagrams_at(anywhere).unwrap());
            all.connect(here).unwrap();
            assert!(
                !takes_datagrams_everywhere(port).unwrap(),
                "it takes those of one peer only"
            );
        }

        #[test]
        fn the_same_port_of_another_address_is_not_found() {
            let lease = Lease::take(Ipv4Addr::LOCALHOST.into(), &Ports::default()).unwrap();
            let port = lease.addr().port();
            let _listener = TcpListener::bind(lease.addr()).unwrap();
            for other in ["127.0.0.2", "::1"] {
                let other = SocketAddr::new(other.parse().unwrap(), port);
                assert!(!is_at(other).unwrap(), "{other}");
            }
        }

        #[test]
        fn several_listeners_on_a_port_are_told_apart() {
            let lease = Lease::take(Ipv4Addr::LOCALHOST.into(), &Ports::default()).unwrap();
            let at = |last: u8| SocketAddr::new([127, 0, 0, last].into(), lease.addr().port());
            let _listeners: Vec<_> = (1..200)
                .map(|last| TcpListener::bind(at(last)).unwrap())
                .collect();
            for last in 1..200 {
                assert!(is_at(at(last)).unwrap(), "{last}");
            }
            assert!(!is_at(at(200)).unwrap());
        }

        #[test]
        fn a_port_that_is_only_connected_is_not_found() {
            let lease = Lease::take(Ipv4Addr::LOCALHOST.into(), &Ports::default()).unwrap();
            let listener = TcpListener::bind(lease.addr()).unwrap();
            let _client = TcpStream::connect(lease.addr()).unwrap();
            let _accepted = listener.accept().unwrap();
            drop(listener);
            // A child that another test starts holds a copy of it for a moment.
            let deadline = Deadline::new(Duration::from_secs(60), "the listener's end");
            while is_at(lease.addr()).unwrap() {
                deadline.check().unwrap();
                std::thread::yield_now();
            }
        }
    }
}
