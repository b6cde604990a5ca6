//! A forwarder of datagrams: a socket towards the service for each client.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::mutation::Mutation;
use crate::options::Options;
use crate::outgoing;

/// The largest datagram, and what the one with a small buffer takes.
const LARGEST: usize = 65_535;
const SMALL: usize = 1500;
/// How long a client is known that is to be forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(500);

/// A client, and the socket for what it sends.
struct Client {
    far: Arc<UdpSocket>,
    last: Instant,
    sent: u32,
}

/// Forwards for ever.
pub(crate) fn run(options: &'static Options) -> io::Result<()> {
    let near = UdpSocket::bind(near_address(options, options.listen))?;
    println!("listening on {}", near.local_addr()?);
    let near = Arc::new(near);
    let last = Arc::new(Mutex::new(None));
    let is_waiting = Arc::new(AtomicBool::new(false));
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let has = |mutation| options.has(mutation);
    let mut buffer = vec![
        0;
        if has(Mutation::UdpSmallBuffer) {
            SMALL
        } else {
            LARGEST
        }
    ];
    loop {
        let Ok((length, from)) = near.recv_from(&mut buffer) else {
            continue;
        };
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(from);
        let client = match clients.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(_)
                if has(Mutation::UdpLosesBursts) && is_waiting.swap(true, Ordering::SeqCst) =>
            {
                continue;
            }
            Entry::Vacant(new) => {
                let far = Arc::new(connect(options)?);
                let carry = {
                    let (far, near) = (Arc::clone(&far), Arc::clone(&near));
                    let (last, is_waiting) = (Arc::clone(&last), Arc::clone(&is_waiting));
                    move || carry_back(options, &far, &near, from, &last, &is_waiting)
                };
                thread::spawn(carry);
                new.insert(Client {
                    far,
                    last: Instant::now(),
                    sent: 0,
                })
            }
        };
        client.sent += 1;
        let idle = client.last.elapsed();
        client.last = Instant::now();
        let lost = has(Mutation::UdpForgetsIdle) && idle > FORGOTTEN_AFTER
            || has(Mutation::UdpOnce) && client.sent > 1
            || has(Mutation::UdpDropsEmpty) && length == 0;
        if !lost {
            let _ = client.far.send(&buffer[..length]);
        }
    }
}

/// What the service answers to one client.
fn carry_back(
    options: &Options,
    far: &UdpSocket,
    near: &UdpSocket,
    client: SocketAddr,
    last: &Mutex<Option<SocketAddr>>,
    is_waiting: &AtomicBool,
) {
    let mut buffer = vec![0; LARGEST];
    loop {
        // A service that is gone refuses, and may come back.
        let Ok(length) = far.recv(&mut buffer) else {
            continue;
        };
        let mut answer = buffer[..length].to_vec();
        if options.has(Mutation::UdpJunk) {
            answer.extend(b"JUNK");
        }
        let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
        let to = match last {
            Some(last) if options.has(Mutation::UdpMixesClients) => last,
            _ => client,
        };
        // Before anybody who has the answer can send again.
        is_waiting.store(false, Ordering::SeqCst);
        let _ = near.send_to(&answer, to);
    }
}

fn connect(options: &Options) -> io::Result<UdpSocket> {
    let service = options.service.ok_or(io::ErrorKind::InvalidInput)?;
    outgoing::permit(service)?;
    let any = outgoing::zeros(service.ip());
    let from = outgoing::source(options, service.ip()).unwrap_or(any);
    let far = UdpSocket::bind((from, 0))?;
    far.connect(service)?;
    Ok(far)
}

/// Where datagrams of clients are taken that were told `address`.
pub(crate) fn near_address(options: &Options, address: SocketAddr) -> SocketAddr {
    match (options.has(Mutation::UdpEverywhere), address) {
        (false, address) => address,
        (true, SocketAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, address.port()).into(),
        (true, SocketAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, address.port()).into(),
    }
}
