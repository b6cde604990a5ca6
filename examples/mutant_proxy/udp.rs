//! UDP ASSOCIATE (RFC 1928 section 7).

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::datagrams;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::outgoing::{self, Target};
use crate::serve::reversed;
use crate::socks5;
use crate::wire::Wire;

/// The largest datagram.
const LARGEST: usize = 65_535;
/// What the one with a small buffer takes.
const SMALL: usize = 1500;
/// How soon a waiting thread sees that the association has ended.
const LOOK: Duration = Duration::from_millis(100);

/// One association.
struct Association {
    options: &'static Options,
    /// Towards the client.
    near: UdpSocket,
    /// Towards services of each family that this machine has.
    far: Vec<UdpSocket>,
    /// The address that the client sends from; any port until its first datagram if it told none.
    client: Mutex<SocketAddr>,
    /// The name and port of the last datagram, as its header had them, if it was sent to a name.
    name: Mutex<Option<Vec<u8>>>,
    count: AtomicUsize,
    over: AtomicBool,
}

/// Serves an association until its TCP connection ends.
pub(crate) fn associate(mut wire: Wire, target: &Target) -> io::Result<()> {
    let options = wire.options;
    let association = match Association::new(&wire, target) {
        Ok(association) => association,
        Err(_) => return wire.fail(&socks5::failure(options, 1)),
    };
    let mut here = association.near.local_addr()?;
    if options.has(Mutation::UdpTellsNoPort) {
        here.set_port(0);
    }
    wire.answer(&socks5::reply(options, 0, here))?;
    let (mut tcp, _) = wire.finish()?;
    thread::scope(|scope| {
        scope.spawn(|| association.outwards());
        for far in &association.far {
            scope.spawn(|| association.inwards(far));
        }
        // Whatever comes here means nothing, but the end.
        while matches!(tcp.read(&mut [0; 512]), Ok(count) if count > 0) {}
        if !options.has(Mutation::UdpAfterClose) {
            association.over.store(true, Ordering::SeqCst);
        }
    });
    Ok(())
}

impl Association {
    fn new(wire: &Wire, target: &Target) -> io::Result<Association> {
        let options = wire.options;
        let peer = wire.stream.peer_addr()?.ip();
        let client = match target {
            Target::Address(told) if !told.ip().is_unspecified() => *told,
            Target::Address(told) => SocketAddr::new(peer, told.port()),
            Target::Name(_, port) => SocketAddr::new(peer, *port),
        };
        let here = SocketAddr::new(wire.stream.local_addr()?.ip(), 0);
        let near = UdpSocket::bind(datagrams::near_address(options, here))?;
        near.set_read_timeout(Some(LOOK))?;
        let families = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let bound = families.map(|ip: IpAddr| {
            let far = UdpSocket::bind((outgoing::source(options, ip).unwrap_or(ip), 0))?;
            far.set_read_timeout(Some(LOOK))?;
            Ok::<_, io::Error>(far)
        });
        Ok(Association {
            options,
            near,
            far: bound.into_iter().flatten().collect(),
            client: Mutex::new(client),
            name: Mutex::new(None),
            count: AtomicUsize::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// From the client to services.
    fn outwards(&self) {
        let mut buffer = vec![0; self.largest()];
        while !self.over.load(Ordering::SeqCst) {
            let Ok((count, from)) = self.near.recv_from(&mut buffer) else {
                continue;
            };
            // The association may have ended while this waited.
            if self.over.load(Ordering::SeqCst) || !self.is_client(from) {
                continue;
            }
            let has = |mutation| self.options.has(mutation);
            let Some((target, payload)) = parse(&buffer[..count], has(Mutation::UdpIgnoresFrag))
            else {
                match has(Mutation::UdpDiesOnJunk) {
                    true => return self.over.store(true, Ordering::SeqCst),
                    false => continue,
                }
            };
            *self.client() = from;
            let header = &buffer[3..count - payload.len()];
            *self.name() = (header[0] == 3).then(|| header.to_vec());
            let number = self.count.fetch_add(1, Ordering::Relaxed);
            if has(Mutation::UdpOnce) && number > 0 {
                continue;
            }
            if has(Mutation::UdpDropsEmpty) && payload.is_empty() {
                continue;
            }
            self.forward(&target, payload);
        }
    }

    /// What cannot be sent is lost, as datagrams are.
    fn forward(&self, target: &Target, payload: &[u8]) {
        let found = outgoing::resolve(self.options, target).unwrap_or_default();
        for address in found {
            let suits = |far: &&UdpSocket| {
                let here = far.local_addr();
                here.is_ok_and(|here| here.is_ipv4() == address.is_ipv4())
            };
            let far = self.far.iter().find(suits);
            let permitted = outgoing::permit(address).is_ok();
            if permitted && far.is_some_and(|far| far.send_to(payload, address).is_ok()) {
                return;
            }
        }
    }

    /// From services to the client.
    fn inwards(&self, far: &UdpSocket) {
        let mut buffer = vec![0; self.largest()];
        while !self.over.load(Ordering::SeqCst) {
            let Ok((count, mut from)) = far.recv_from(&mut buffer) else {
                continue;
            };
            let has = |mutation| self.options.has(mutation);
            if has(Mutation::UdpOwnAddress) {
                from = far.local_addr().unwrap_or(from);
            }
            if has(Mutation::UdpReversedPort) {
                from.set_port(reversed(from.port()));
            }
            let mut datagram = Vec::with_capacity(count + 22);
            if !has(Mutation::UdpNoHeader) {
                datagram.extend([0, 0, 0]);
                match *self.name() {
                    Some(ref name) if has(Mutation::UdpTellsName) => datagram.extend(name),
                    _ => datagram.extend(socks5::encode(self.options, from)),
                }
            }
            datagram.extend_from_slice(&buffer[..count]);
            if has(Mutation::UdpJunk) {
                datagram.extend(b"JUNK");
            }
            let client = *self.client();
            let _ = self.near.send_to(&datagram, client);
        }
    }

    /// Whether a datagram's source is the client's.
    fn is_client(&self, from: SocketAddr) -> bool {
        let client = *self.client();
        let same_port = client.port() == 0 || client.port() == from.port();
        let same = client.ip() == from.ip() && same_port;
        same || self.options.has(Mutation::UdpTakesAnyone)
    }

    fn client(&self) -> std::sync::MutexGuard<'_, SocketAddr> {
        self.client.lock().expect("no thread panics with it")
    }

    fn name(&self) -> std::sync::MutexGuard<'_, Option<Vec<u8>>> {
        self.name.lock().expect("no thread panics with it")
    }

    fn largest(&self) -> usize {
        match self.options.has(Mutation::UdpSmallBuffer) {
            true => SMALL,
            false => LARGEST,
        }
    }
}

/// The header, and what follows it: RSV, FRAG, ATYP, address, port. `None` is to be dropped.
fn parse(datagram: &[u8], takes_fragments: bool) -> Option<(Target, &[u8])> {
    let [0, 0, fragment, kind, rest @ ..] = datagram else {
        return None;
    };
    if *fragment != 0 && !takes_fragments {
        return None;
    }
    let (host, rest) = match kind {
        1 => rest.split_at_checked(4)?,
        4 => rest.split_at_checked(16)?,
        3 => {
            let (length, rest) = rest.split_first()?;
            rest.split_at_checked((*length).into())?
        }
        _ => return None,
    };
    let (port, payload) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*port);
    let address = |ip: IpAddr| Target::Address(SocketAddr::new(ip, port));
    let target = match kind {
        1 => address(<[u8; 4]>::try_from(host).ok()?.into()),
        4 => address(<[u8; 16]>::try_from(host).ok()?.into()),
        _ => Target::Name(String::from_utf8_lossy(host).into_owned(), port),
    };
    Some((target, payload))
}
