//! A started tunnel between anybody's client and anybody's service.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::ops::RangeInclusive;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io, thread};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::deadline::{Backoff, Deadline, prose};
use crate::process::Maker;
use crate::proto::socks5::{self, Bound};
use crate::server::TestServer;
use crate::server::connect::reachable;
use crate::server::protocol::Protocol;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::ends::address::connect_from;
use crate::tunnel::ends::socks5::request;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::program::start;
use crate::tunnel::link::socks5::{BoundPort, UdpAssociation, host};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::child::ExitReport;
use crate::tunnel::programs::group::Signal;
use crate::tunnel::programs::listening;
use crate::tunnel::programs::port::Lease;
use crate::tunnel::report::Ended;
use crate::tunnel::route::{Kind, Route, Target};

/// How long the program may take to listen, and a connection to be made, unless set.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a drop or a restart waits for the program to end after TERM, unless set.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// A started tunnel or proxy between a test's own clients and its own service.
///
/// Its programs are started on a port that is free and kept for them, in process groups of their own, and
/// ended by [`RunningTunnel::stop`] or by a drop. That panics with what went wrong, unless the test is
/// failing already: if a program had ended before, had to be killed, or has left processes behind.
///
/// ```no_run
/// use std::time::Duration;
/// use loopback::{RunningTunnel, TestHttpServer};
/// use loopback::tunnel::Socks5;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let service = TestHttpServer::fixed("127.0.0.1:0", "hi")?;
/// let proxy = Socks5::template("microsocks -i {listen_ip} -p {listen_port}");
/// let mut tunnel = RunningTunnel::start(proxy, service.local_addr())?;
/// let stream = tunnel.connect()?; // a TcpStream; the handshake is done
/// println!("a client that speaks SOCKS5 itself uses {}", tunnel.url());
/// # drop(stream);
/// tunnel.stop(Duration::from_secs(1))?;
/// # Ok(())
/// # }
/// ```
pub struct RunningTunnel {
    tunnel: Box<dyn Tunnel>,
    route: Route,
    /// Whether a service was given; otherwise the route has an address where nobody listens.
    has_service: bool,
    ports: Ports,
    programs: Mutex<Programs>,
    /// The connection that found the program listening, where the system tells that in no other way.
    first: Mutex<Option<TcpStream>>,
    deadline: Duration,
    stop_timeout: Duration,
    stopped: bool,
    maker: Maker,
    _lease: Option<Lease>,
    /// Keeps the port where nobody listens.
    _nobody: Option<Socket>,
}

/// Options of a [`RunningTunnel`]; [`RunningTunnel::builder`] makes one.
pub struct RunningTunnelBuilder {
    tunnel: Box<dyn Tunnel>,
    service: TunnelService,
    family: Option<Family>,
    listen: Option<IpAddr>,
    client: Option<IpAddr>,
    outgoing: Option<IpAddr>,
    ports: Ports,
    deadline: Duration,
    stop_timeout: Duration,
}

/// The far end of a tunnel: an address, or a [`TestServer`] of any protocol; `()` is none, for a proxy that is
/// told by each handshake where to connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelService(Option<SocketAddr>);

impl From<SocketAddr> for TunnelService {
    fn from(address: SocketAddr) -> TunnelService {
        TunnelService(Some(address))
    }
}

impl From<()> for TunnelService {
    fn from((): ()) -> TunnelService {
        TunnelService(None)
    }
}

impl<P: Protocol> From<&TestServer<P, SocketAddr>> for TunnelService {
    fn from(server: &TestServer<P, SocketAddr>) -> TunnelService {
        TunnelService(Some(reachable(server.local_addr())))
    }
}

impl RunningTunnel {
    /// Starts the programs of `tunnel` before `service`, and waits until the last of them listens, on
    /// `127.0.0.1`, or on `::1` if the service's address is of IPv6. Nothing connects to a service for that.
    ///
    /// # Errors
    ///
    /// If a program cannot be started, ends, or does not listen within 10 s, with its output; if no port is
    /// free; if a forwarder is given no service.
    pub fn start(
        tunnel: impl Tunnel + 'static,
        service: impl Into<TunnelService>,
    ) -> Result<RunningTunnel, Error> {
        RunningTunnel::builder(tunnel).service(service).start()
    }

    /// The options of one, each at its default.
    pub fn builder(tunnel: impl Tunnel + 'static) -> RunningTunnelBuilder {
        RunningTunnelBuilder {
            tunnel: Box::new(tunnel),
            service: TunnelService(None),
            family: None,
            listen: None,
            client: None,
            outgoing: None,
            ports: Ports::default(),
            deadline: DEADLINE,
            stop_timeout: STOP_TIMEOUT,
        }
    }

    /// Where the program listens. For clients that speak its protocol themselves.
    pub fn proxy_addr(&self) -> SocketAddr {
        self.route.listen
    }

    /// All addresses of the tunnel.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The same as a URL: `socks5h://user:password@127.0.0.1:1080`, `socks4://`, `socks4a://`, `http://` for
    /// CONNECT; `tcp://` for all that has no name there. Bytes that a URL cannot have are escaped.
    pub fn url(&self) -> String {
        let scheme = match self.tunnel.kind() {
            Kind::Socks4 => "socks4",
            Kind::Socks4a => "socks4a",
            Kind::Socks5 => "socks5h",
            Kind::HttpConnect => "http",
            Kind::Forward | Kind::ProxyProtocol | Kind::Other => "tcp",
        };
        let login = self.tunnel.credentials().map_or_else(String::new, |login| {
            format!("{}:{}@", escaped(login.0), escaped(login.1))
        });
        format!("{scheme}://{login}{}", self.route.listen)
    }

    /// Connects through the program to the service: a plain `TcpStream` on which the handshake is done,
    /// whose reads and writes end after 30 s, with `TCP_NODELAY` set.
    ///
    /// # Errors
    ///
    /// If the program does not accept, or refuses by its protocol; if no service was given. The text says
    /// whether the program has ended.
    pub fn connect(&self) -> io::Result<TcpStream> {
        match self.has_service {
            true => self.connect_to(self.route.service),
            false => Err(prose(
                io::ErrorKind::InvalidInput,
                "no service was given at the start: say where to with connect_to".to_owned(),
            )),
        }
    }

    /// As [`RunningTunnel::connect`], to somewhere else: an address, or a name and a port, which the
    /// program looks up.
    ///
    /// # Errors
    ///
    /// Also for a forwarder, unless it is the service.
    pub fn connect_to(&self, target: impl Into<Target>) -> io::Result<TcpStream> {
        let target = target.into();
        let there = Target::Address(self.route.service);
        if forwards(self.tunnel.kind()) && target != there {
            let text = format!("a forwarder connects to {there} only, not to {target}");
            return Err(prose(io::ErrorKind::Unsupported, text));
        }
        let deadline = Deadline::new(self.deadline, "a connection through the tunnel");
        let done = self.handshake(&target, &deadline);
        done.map_err(|error| {
            let ended = match self.is_running() {
                true => "",
                false => "; the program has ended",
            };
            let what = target.to_report();
            let slug = self.tunnel.slug();
            let text = format!("no connection to {what} through {slug}: {error}{ended}");
            prose(error.kind(), text)
        })
    }

    fn handshake(&self, target: &Target, deadline: &Deadline) -> io::Result<TcpStream> {
        let mut stream = self.connect_to_proxy(deadline)?;
        self.tunnel.handshake(&mut stream, target)?;
        stream.into_client()
    }

    fn connect_to_proxy(&self, deadline: &Deadline) -> io::Result<Stream> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let tcp = match first.take() {
            Some(tcp) => tcp,
            None => connect_from(self.route.client, self.route.listen, deadline.check()?)?,
        };
        Ok(Stream::new(tcp, *deadline))
    }

    /// Has a SOCKS5 proxy listen for one connection, of `peer` (RFC 1928 section 4, BIND).
    ///
    /// # Errors
    ///
    /// For another kind of tunnel; if the proxy refuses, as many do that do not know BIND.
    pub fn bind(&self, peer: impl Into<Target>) -> io::Result<BoundPort> {
        let (control, bound) = self.request(socks5::BIND, &peer.into())?;
        BoundPort::new(control, &bound, self.route.listen)
    }

    /// Asks a SOCKS5 proxy to carry datagrams (RFC 1928 section 7, UDP ASSOCIATE).
    ///
    /// # Errors
    ///
    /// For another kind of tunnel; if the proxy refuses, as many do that do not know UDP.
    pub fn udp(&self) -> io::Result<UdpAssociation> {
        // "If the client is not in possession of the information, it MUST use all zeros."
        let any = match self.route.listen {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let (control, bound) = self.request(socks5::UDP_ASSOCIATE, &any.into())?;
        UdpAssociation::new(control, &bound, self.route.listen, self.route.client)
    }

    fn request(&self, command: u8, target: &Target) -> io::Result<(Stream, Bound)> {
        if self.tunnel.kind() != Kind::Socks5 {
            let text = format!("{} does not speak SOCKS5", self.tunnel.slug());
            return Err(prose(io::ErrorKind::Unsupported, text));
        }
        let deadline = Deadline::new(self.deadline, "the proxy's reply");
        let mut control = self.connect_to_proxy(&deadline)?;
        let (host, port) = host(target);
        let login = self.tunnel.credentials();
        let bound = request(&mut control, login, command, &host, port)?;
        Ok((control, bound))
    }

    /// Whether all of its programs run. What [already ran](crate::tunnel::Attached) is taken to.
    pub fn is_running(&self) -> bool {
        !self.programs().has_exited()
    }

    /// The process ids of its programs, in the order of their start.
    pub fn pids(&self) -> Vec<u32> {
        self.programs().ids()
    }

    /// The last 16 KiB of what each of its programs has written, standard output and error in one; with
    /// their names if there are several.
    pub fn output(&self) -> String {
        self.programs().output()
    }

    /// Sends a signal to its programs and all that they have started, and does not wait for what comes of it.
    /// A program that ends by it has not ended by itself for [`RunningTunnel::stop`].
    pub fn signal(&self, signal: Signal) {
        self.programs().signal(signal);
    }

    /// Ends the programs as a drop does, whatever state they are in, starts them again at the same
    /// addresses, and waits until they listen.
    ///
    /// # Errors
    ///
    /// As those of a start.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.programs().stop(self.stop_timeout);
        // What comes of a start that fails is its error's to say, and not the drop's.
        self.stopped = true;
        *self.programs() = start(&*self.tunnel, &self.route, &self.ports)?;
        self.get_ready()?;
        self.stopped = false;
        Ok(())
    }

    /// Ends the programs and all that they have started: TERM, and KILL after `timeout`. A second call does
    /// nothing.
    ///
    /// # Errors
    ///
    /// If one had ended before it was told to, had to be killed, or had left processes outside of its
    /// process group, with its output. Nothing runs any more then.
    pub fn stop(&mut self, timeout: Duration) -> Result<(), Error> {
        // In another process they are the parent's.
        if self.stopped || !self.maker.is_this() {
            return Ok(());
        }
        self.stopped = true;
        let mut programs = self.programs();
        let ends = programs.stop(timeout);
        let wrong: Vec<String> = ends.iter().filter_map(fault).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        let mut text = format!("{}: {}", self.tunnel.slug(), wrong.join("; "));
        for ended in programs.explain(Duration::ZERO) {
            text += &wrote(&ended, " wrote");
        }
        Err(Error::new(ErrorKind::Stop, text, None))
    }

    fn programs(&self) -> MutexGuard<'_, Programs> {
        // It is whole after every operation.
        self.programs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the last of the programs listens.
    fn get_ready(&self) -> Result<(), Error> {
        let deadline = Deadline::new(self.deadline, "the program to listen");
        let mut programs = self.programs();
        let ready = programs.start_rest(&deadline).map_err(message);
        let ready = ready.and_then(|()| self.wait_until_it_listens(&mut programs, &deadline));
        ready.map_err(|mut text| {
            programs.settle();
            programs.stop(self.stop_timeout);
            for ended in programs.explain(Duration::ZERO) {
                text += &wrote(&ended, &format!(": {}, and wrote", ended.exit));
            }
            Error::new(ErrorKind::Program, text, None)
        })
    }

    fn wait_until_it_listens(
        &self,
        programs: &mut Programs,
        deadline: &Deadline,
    ) -> Result<(), String> {
        let listen = self.route.listen;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let listens = match programs.is_foreign() {
                true => Some(true),
                false => listening::known_at(listen),
            };
            match listens {
                Some(true) => return Ok(()),
                Some(false) => {}
                // A forwarder passes this one on, so it is kept for the first who needs one.
                None => {
                    let limit = deadline.remaining().max(Duration::from_millis(1));
                    if let Ok(tcp) = connect_from(self.route.client, listen, limit) {
                        *self.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(tcp);
                        return Ok(());
                    }
                }
            }
            if programs.has_exited() {
                return Err(format!("the program ended before it listened on {listen}"));
            }
            if deadline.expired() {
                let elsewhere = listening::elsewhere(programs.id(), listen);
                return Err(format!(
                    "nothing listens on {listen} after {:.1?}{elsewhere}",
                    deadline.limit()
                ));
            }
            pause.sleep(deadline);
        }
    }
}

impl RunningTunnelBuilder {
    /// Where the tunnel leads to: an address, or a [`TestServer`]. None unless set.
    #[must_use]
    pub fn service(mut self, service: impl Into<TunnelService>) -> RunningTunnelBuilder {
        self.service = service.into();
        self
    }

    /// The family that the program listens on: that of the service unless set, IPv4 without one.
    #[must_use]
    pub fn family(mut self, family: Family) -> RunningTunnelBuilder {
        self.family = Some(family);
        self
    }

    /// The address that the program listens on: the loopback address of its [family](Self::family) unless
    /// set.
    #[must_use]
    pub fn listen_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.listen = Some(ip);
        self
    }

    /// The address that [`RunningTunnel::connect`] connects from: the one that the program listens on unless
    /// set.
    #[must_use]
    pub fn client_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.client = Some(ip);
        self
    }

    /// The address that the program is told to connect from, [`Route::outgoing`]: the loopback address of the
    /// service's family unless set.
    #[must_use]
    pub fn outgoing_ip(mut self, ip: IpAddr) -> RunningTunnelBuilder {
        self.outgoing = Some(ip);
        self
    }

    /// Gives the programs ports of this range only. Unless set, they are outside of the range that the system
    /// gives to everybody.
    #[must_use]
    pub fn ports(mut self, range: RangeInclusive<u16>) -> RunningTunnelBuilder {
        self.ports.range = Some(range);
        self
    }

    /// The place, within the ports to choose from, of the first one that is tried. Unless set, another one in
    /// each process.
    #[must_use]
    pub fn port_offset(mut self, offset: u16) -> RunningTunnelBuilder {
        self.ports.offset = Some(offset);
        self
    }

    /// How long the programs may take to listen, and each connection to be made: 10 s unless set.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> RunningTunnelBuilder {
        self.deadline = limit;
        self
    }

    /// How long a drop, and a restart, let a program end after TERM before it is killed: 1 s unless set.
    #[must_use]
    pub fn drop_timeout(mut self, limit: Duration) -> RunningTunnelBuilder {
        self.stop_timeout = limit;
        self
    }

    /// Starts it. See [`RunningTunnel::start`].
    ///
    /// # Errors
    ///
    /// As those of [`RunningTunnel::start`].
    pub fn start(self) -> Result<RunningTunnel, Error> {
        let running = self.tunnel.running();
        let service = running
            .and_then(|running| running.service)
            .or(self.service.0);
        if service.is_none() && forwards(self.tunnel.kind()) {
            let text = format!(
                "{} forwards to one place, and no service was given",
                self.tunnel.slug()
            );
            return Err(Error::new(ErrorKind::Address, text, None));
        }
        let no_port = |what: &str, ip: IpAddr| {
            let message = format!("no port for {what} on {ip}");
            move |error| Error::new(ErrorKind::Port, message, Some(error))
        };
        let far = service.map_or(Family::V4, |address| Family::of(address.ip()));
        let near = self.listen.map(Family::of).or(self.family).unwrap_or(far);
        let ip = self.listen.unwrap_or(localhost(near));
        let (listen, lease) = match running {
            Some(running) => (running.listen, None),
            None => {
                let lease = Lease::take(ip, &self.ports).map_err(no_port("the program", ip))?;
                (lease.addr(), Some(lease))
            }
        };
        let (service_addr, nobody) = match service {
            Some(address) => (address, None),
            None => {
                let ip = localhost(near);
                let (address, socket) = nobody(ip).map_err(no_port("the service", ip))?;
                (address, Some(socket))
            }
        };
        let own = listen.ip();
        let route = Route {
            listen,
            service: service_addr,
            client: self.client.unwrap_or(own),
            outgoing: self
                .outgoing
                .unwrap_or(localhost(Family::of(service_addr.ip()))),
        };
        let mut tunnel = RunningTunnel {
            programs: Mutex::new(start(&*self.tunnel, &route, &self.ports)?),
            tunnel: self.tunnel,
            route,
            has_service: service.is_some(),
            ports: self.ports,
            first: Mutex::new(None),
            deadline: self.deadline,
            stop_timeout: self.stop_timeout,
            // Until it listens, a drop has nothing to complain of.
            stopped: true,
            maker: Maker::this(),
            _lease: lease,
            _nobody: nobody,
        };
        tunnel.get_ready()?;
        tunnel.stopped = false;
        Ok(tunnel)
    }
}

impl Drop for RunningTunnel {
    fn drop(&mut self) {
        if let Err(error) = self.stop(self.stop_timeout) {
            if thread::panicking() {
                // A second panic would abort the whole test binary.
                eprintln!("loopback: while the test was failing already: {error}");
            } else {
                panic!("{error}");
            }
        }
    }
}

impl fmt::Debug for RunningTunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningTunnel")
            .field("tunnel", &self.tunnel.slug())
            .field("route", &self.route)
            .field("pids", &self.pids())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RunningTunnelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningTunnelBuilder")
            .field("tunnel", &self.tunnel.slug())
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}

/// What is wrong with how a program ended, if anything is.
fn fault(end: &ExitReport) -> Option<String> {
    let how = end.describe();
    match end {
        end if end.by_itself => Some(format!("it ended before it was told to: {how}")),
        end if end.killed => Some(how),
        end if end.strays > 0 => Some(format!(
            "{how}; {} of its processes had left its group and were killed",
            end.strays
        )),
        _ => None,
    }
}

/// What a program, which has ended, was and wrote.
fn wrote(program: &Ended, how: &str) -> String {
    let mut text = format!("\n  `{}`{how}", program.command);
    match program.output.trim_end() {
        "" => text += " nothing",
        output => {
            text += ":";
            for line in output.lines() {
                text += &format!("\n    {line}");
            }
        }
    }
    text
}

fn message(error: CheckError) -> String {
    match error {
        CheckError::Failed(message, _)
        | CheckError::Died(message)
        | CheckError::NotMade(message)
        | CheckError::Unsupported(message)
        | CheckError::Skipped(message) => message,
    }
}

/// Whether it leads to one place, whatever the client says.
fn forwards(kind: Kind) -> bool {
    matches!(kind, Kind::Forward | Kind::ProxyProtocol)
}

fn localhost(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    }
}

/// An address where nobody listens for as long as the socket lives, which is bound there.
fn nobody(ip: IpAddr) -> io::Result<(SocketAddr, Socket)> {
    let any = SocketAddr::new(ip, 0);
    let socket = Socket::new(Domain::for_address(any), Type::STREAM, None)?;
    socket.bind(&SockAddr::from(any))?;
    let address = socket.local_addr()?.as_socket();
    Ok((address.ok_or(io::ErrorKind::AddrNotAvailable)?, socket))
}

/// As the user information of a URL has it (RFC 3986, section 3.2.1): unreserved characters stay.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'-' | b'.' | b'_' | b'~' => text.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => text.push(char::from(*byte)),
            byte => text += &format!("%{byte:02X}"),
        }
    }
    text
}
