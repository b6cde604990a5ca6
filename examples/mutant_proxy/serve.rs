//! The listener, and what all handshakes have in common.

use std::fs::File;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{mem, thread};

use socket2::{Domain, Socket, Type};

use crate::login::Logins;
use crate::mutation::Mutation;
use crate::options::{Options, Protocol};
use crate::outgoing::{self, Target};
use crate::process::sleep_for_ever;
use crate::wire::Wire;
use crate::{connect, datagrams, header, relay, socks4, socks5};

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) options: &'static Options,
    pub(crate) logins: Logins,
    count: AtomicUsize,
    live: AtomicUsize,
}

/// How a protocol tells success, with an address, and failure.
pub(crate) struct Replies {
    pub(crate) success: fn(&Options, SocketAddr) -> Vec<u8>,
    pub(crate) failure: fn(&Options, &io::Error) -> Vec<u8>,
}

/// Serves for ever.
pub(crate) fn run(options: Options) -> io::Result<()> {
    let proxy: &'static Proxy = Box::leak(Box::new(Proxy {
        options: Box::leak(Box::new(options)),
        logins: Logins::default(),
        count: AtomicUsize::new(0),
        live: AtomicUsize::new(0),
    }));
    let options = proxy.options;
    if options.protocol == Protocol::ForwardUdp {
        return datagrams::run(options);
    }
    let listener = listen(options).map_err(|error| {
        let message = format!("cannot listen on {}: {error}", options.listen);
        io::Error::new(error.kind(), message)
    })?;
    // The tests of the proxy itself let the system choose the port.
    println!("listening on {}", listener.local_addr()?);
    if options.has(Mutation::BusyWhenIdle) {
        thread::spawn(|| while !std::hint::black_box(false) {});
    }
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                eprintln!("cannot accept: {error}");
                if options.has(Mutation::DeafWithoutDescriptors) {
                    sleep_for_ever();
                }
                thread::sleep(Duration::from_millis(10));
                continue;
            }
        };
        if options.has(Mutation::ListensOnce) {
            drop(listener);
            proxy.serve(client);
            sleep_for_ever();
        }
        match options.has(Mutation::Serialises) {
            true => proxy.serve(client),
            false => drop(thread::spawn(move || proxy.serve(client))),
        }
    }
}

fn listen(options: &Options) -> io::Result<TcpListener> {
    if !options.has(Mutation::KeepsAddress) {
        // This sets SO_REUSEADDR.
        return TcpListener::bind(options.listen);
    }
    let socket = Socket::new(Domain::for_address(options.listen), Type::STREAM, None)?;
    socket.bind(&options.listen.into())?;
    socket.listen(128)?;
    Ok(socket.into())
}

impl Proxy {
    fn serve(&'static self, client: TcpStream) {
        let live = self.live.fetch_add(1, Ordering::Relaxed) + 1;
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        match () {
            () if self.options.has(Mutation::AtMostFifty) && live > 50 => {}
            () if self.options.has(Mutation::KeepsSlots) && live > 20 => {}
            () if self.options.has(Mutation::DropsHundredth) && count.is_multiple_of(100) => {}
            () if self.options.has(Mutation::StopsAfterFiveHundred) && count > 500 => {
                mem::forget(client);
            }
            () => {
                // The connection is open as long as this is held.
                let has = |mutation| self.options.has(mutation);
                let stays = has(Mutation::StaysOpenAfterGarbage);
                let kept = stays.then(|| client.try_clone().expect("descriptors are left"));
                if let Err(error) = self.talk(client) {
                    let _ = writeln!(io::stderr(), "connection {count}: {error}");
                    let is_garbage = error.kind() == io::ErrorKind::InvalidData;
                    if is_garbage && has(Mutation::DiesOnGarbage) {
                        process::exit(101);
                    }
                    if error.kind() == io::ErrorKind::UnexpectedEof && has(Mutation::DiesWhenLeft) {
                        process::exit(134);
                    }
                    if is_garbage && kept.is_some() {
                        sleep_for_ever();
                    }
                    if has(Mutation::LeaksOnReset) {
                        mem::forget(File::open("/dev/null"));
                    }
                    if has(Mutation::LeaksMemory) {
                        mem::forget(vec![1_u8; 64 * 1024]);
                    }
                    if has(Mutation::KeepsSlots) {
                        return;
                    }
                }
            }
        }
        self.live.fetch_sub(1, Ordering::Relaxed);
    }

    fn talk(&'static self, client: TcpStream) -> io::Result<()> {
        if self.options.has(Mutation::LeaksDescriptors) {
            mem::forget(File::open("/dev/null")?);
        }
        if self.options.has(Mutation::LeavesChildren) {
            Command::new("sleep").arg("60").spawn()?;
        }
        client.set_nodelay(true)?;
        let wire = Wire::new(client, self.options);
        match self.options.protocol {
            Protocol::Forward | Protocol::ProxyV1 | Protocol::ProxyV2 => header::serve(wire),
            Protocol::Socks4 | Protocol::Socks4a => socks4::serve(wire),
            Protocol::Socks5 => socks5::serve(self, wire),
            Protocol::Connect => connect::serve(self, wire),
            // It accepts nobody.
            Protocol::ForwardUdp => Ok(()),
        }
    }
}

/// What is wrong in the same way with every handshake, once its first message was read. `None` means
/// that the client has had its answer.
pub(crate) fn opening(mut wire: Wire, garbage: &[u8]) -> io::Result<Option<Wire>> {
    if wire.options.has(Mutation::Hangs) {
        sleep_for_ever();
    }
    if wire.options.has(Mutation::Garbage) {
        wire.answer(garbage)?;
        return wire.close().map(|()| None);
    }
    if wire.options.has(Mutation::ClosesInHandshake) {
        return wire.close().map(|()| None);
    }
    Ok(Some(wire))
}

/// Serves a request to connect, from the connect to the last byte.
pub(crate) fn establish(mut wire: Wire, target: &Target, replies: &Replies) -> io::Result<()> {
    let options = wire.options;
    let nothing = SocketAddr::from(([0; 4], 0));
    if options.has(Mutation::ExitsInHandshake) {
        eprintln!("mutant: out of memory");
        process::exit(7);
    }
    if options.has(Mutation::Refuses) {
        let refused = io::ErrorKind::ConnectionRefused.into();
        return wire.fail(&(replies.failure)(options, &refused));
    }
    let early = options.has(Mutation::AnswersBeforeItConnects);
    let empty = options.has(Mutation::SaysYesAndCloses) || options.has(Mutation::SaysYesAndHangs);
    if early || empty {
        wire.answer(&(replies.success)(options, nothing))?;
        match () {
            () if options.has(Mutation::SaysYesAndHangs) => sleep_for_ever(),
            () if options.has(Mutation::SaysYesAndCloses) => return wire.close(),
            () => {}
        }
    }
    let service = match outgoing::connect(options, target) {
        Ok(service) => service,
        Err(_) if early => return wire.close(),
        Err(_) if options.has(Mutation::SucceedsAlways) => {
            wire.answer(&(replies.success)(options, nothing))?;
            return wire.close();
        }
        Err(error) => return wire.fail(&(replies.failure)(options, &error)),
    };
    let reply = match early {
        true => Vec::new(),
        false => (replies.success)(options, told(options, service.local_addr()?)),
    };
    promise(wire, service, reply)
}

/// Serves a request to wait for a connection: replies when it listens, and when somebody has come.
pub(crate) fn bind(mut wire: Wire, target: &Target, replies: &Replies) -> io::Result<()> {
    let options = wire.options;
    let listening = outgoing::resolve(options, target).and_then(|found| {
        let expected = found.first().ok_or(io::ErrorKind::NotFound)?.ip();
        let here = wire.stream.local_addr()?.ip();
        let ip = match outgoing::source(options, expected) {
            Some(ip) => ip,
            None if here.is_ipv4() == expected.is_ipv4() => here,
            None => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        Ok((TcpListener::bind((ip, 0))?, expected))
    });
    let (listener, mut expected) = match listening {
        Ok(listening) => listening,
        Err(error) => return wire.fail(&(replies.failure)(options, &error)),
    };
    if options.has(Mutation::BindTakesAnyone) {
        expected = outgoing::zeros(expected);
    }
    let mut here = told(options, listener.local_addr()?);
    if options.has(Mutation::BindTellsNoPort) {
        here.set_port(0);
    }
    wire.answer(&(replies.success)(options, here))?;
    let (service, peer) = match outgoing::accept(&listener, expected, &wire.stream) {
        Ok(accepted) => accepted,
        Err(error) => return wire.fail(&(replies.failure)(options, &error)),
    };
    drop(listener);
    let reply = match options.has(Mutation::BindRepliesOnce) {
        true => Vec::new(),
        false => (replies.success)(options, peer),
    };
    promise(wire, service, reply)
}

/// Tells success, and carries.
pub(crate) fn promise(mut wire: Wire, service: TcpStream, mut reply: Vec<u8>) -> io::Result<()> {
    let options = wire.options;
    if options.has(Mutation::CutsReply) {
        wire.answer(&reply[..reply.len() / 2])?;
        return wire.close();
    }
    if options.has(Mutation::JunkAfterReply) {
        reply.extend(b"JUNK");
    }
    // What gathers, gathers the reply and the service's first words too.
    if !options.coalesce {
        wire.answer(&reply)?;
        reply.clear();
    }
    let (client, early) = wire.finish()?;
    relay::run(options, client, early, service, reply)
}

/// The port with its bytes reversed, or another wrong one if that makes no difference.
pub(crate) fn reversed(port: u16) -> u16 {
    match port.swap_bytes() {
        same if same == port => port ^ 1,
        other => other,
    }
}

/// The address that is told for `true_address`.
fn told(options: &Options, true_address: SocketAddr) -> SocketAddr {
    let mut told = true_address;
    if options.has(Mutation::TellsOtherAddress) {
        told.set_ip([192, 0, 2, 1].into());
    }
    if options.has(Mutation::TellsReversedAddress) {
        told.set_ip(match told.ip() {
            IpAddr::V4(ip) => u32::from(ip).swap_bytes().to_be_bytes().into(),
            IpAddr::V6(ip) => u128::from(ip).swap_bytes().to_be_bytes().into(),
        });
    }
    if options.has(Mutation::TellsOtherPort) {
        told.set_port(told.port() ^ 1);
    }
    if options.has(Mutation::TellsReversedPort) {
        told.set_port(reversed(told.port()));
    }
    if options.has(Mutation::TellsNothing) {
        told = SocketAddr::from(([0; 4], 0));
    }
    if options.has(Mutation::TellsIpv6Zeros) {
        told = SocketAddr::from(([0u16; 8], 0));
    }
    told
}
