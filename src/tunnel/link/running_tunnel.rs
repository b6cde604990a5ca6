//! A started tunnel between anybody's client and anybody's service.

mod builder;

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io, thread};

use socket2::Socket;

use crate::deadline::{Backoff, Deadline, prose};
use crate::process::Maker;
use crate::proto::socks5::{self, Bound};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::address::connect_from;
use crate::tunnel::ends::socks5::request;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::launch::{Means, Place, start};
use crate::tunnel::link::socks5::{BoundPort, UdpAssociation, host};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::child::ExitReport;
use crate::tunnel::programs::group::Signal;
use crate::tunnel::programs::listening;
use crate::tunnel::programs::port::Lease;
use crate::tunnel::report::Ended;
use crate::tunnel::route::{Kind, Route, Target};

pub use builder::{RunningTunnelBuilder, TunnelService};

/// How long its programs may take to listen, and a connection to be made, unless told.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long a program may take to end after TERM, unless told.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

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
    tunnel: Arc<dyn Tunnel>,
    route: Route,
    /// Whether a service was given; otherwise the route has an address where nobody listens.
    has_service: bool,
    means: Means,
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

    /// Starts its first program on a route that somebody else has chosen, who also finds out when it listens and
    /// judges how it ends.
    pub(crate) fn launch(
        tunnel: Arc<dyn Tunnel>,
        route: Route,
        place: Place,
        means: Means,
    ) -> Result<RunningTunnel, Error> {
        Ok(RunningTunnel {
            programs: Mutex::new(start(&*tunnel, &route, &means, None)?),
            tunnel,
            route,
            has_service: true,
            means,
            first: Mutex::new(None),
            deadline: DEADLINE,
            stop_timeout: STOP_TIMEOUT,
            stopped: true,
            maker: Maker::this(),
            _lease: place.lease,
            _nobody: None,
        })
    }

    /// The same again, where what it had started has ended; with so many descriptors at most, if that is said.
    pub(crate) fn launch_again(&mut self, descriptors: Option<usize>) -> Result<(), Error> {
        *self.programs_mut() = start(&*self.tunnel, &self.route, &self.means, descriptors)?;
        Ok(())
    }

    pub(crate) fn programs_mut(&mut self) -> &mut Programs {
        // It is whole after every operation.
        let programs = self.programs.get_mut();
        programs.unwrap_or_else(PoisonError::into_inner)
    }

    /// The options of one, each at its default.
    pub fn builder(tunnel: impl Tunnel + 'static) -> RunningTunnelBuilder {
        RunningTunnelBuilder::new(Arc::new(tunnel))
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
    /// CONNECT; `udp://` for a forwarder of datagrams, `tcp://` for all else that has no
    /// name there. Bytes that a URL cannot have are escaped.
    pub fn url(&self) -> String {
        proxy_url(&*self.tunnel, self.route.listen)
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
        if !self.tunnel.kind().carries_connections() {
            let listen = self.route.listen;
            let text = format!("it forwards datagrams: send them to {listen} by a UdpSocket");
            return Err(prose(io::ErrorKind::Unsupported, text));
        }
        let there = Target::Address(self.route.service);
        if self.tunnel.kind().forwards() && target != there {
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
        // A program may have tired of the one that found it listening.
        let first = self.take_first().map(|tcp| Stream::new(tcp, *deadline));
        if let Some(first) = first.filter(|first| !first.has_ended()) {
            return Ok(first);
        }
        let tcp = connect_from(self.route.client, self.route.listen, deadline.check()?)?;
        Ok(Stream::new(tcp, *deadline))
    }

    fn take_first(&self) -> Option<TcpStream> {
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.take()
    }

    /// Has a SOCKS5 proxy listen for one connection, of `peer` (RFC 1928 section 4, BIND).
    ///
    /// # Errors
    ///
    /// For another kind of tunnel; if the proxy refuses, as many do that do not know BIND.
    pub fn bind(&self, peer: impl Into<Target>) -> io::Result<BoundPort> {
        let (control, bound) = self.request(socks5::BIND, &peer.into())?;
        Ok(BoundPort::new(control, &bound, self.route.listen))
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

    /// The process ids of its programs, in the order of their start; after a stop nobody's, or somebody
    /// else's.
    pub fn pids(&self) -> Vec<u32> {
        self.programs().ids()
    }

    /// The last 16 KiB of what each of its programs has written, standard output and error in one; with
    /// their names if there are several.
    pub fn output(&self) -> String {
        self.programs().output()
    }

    /// Sends a signal to its programs and all that they have started, and does not wait for what comes of it.
    /// A program that ends after TERM, INT or KILL, or by HUP, has not ended by itself for
    /// [`RunningTunnel::stop`]. One that has ended gets nothing, nor does what [already
    /// ran](crate::tunnel::Attached).
    pub fn signal(&self, signal: Signal) {
        if self.maker.is_this() {
            self.programs().signal(signal);
        }
    }

    /// Ends the programs, whatever state they are in, starts them again at the same addresses, and waits until
    /// they listen. How they ended is not judged: a test that wants to know stops first.
    ///
    /// # Errors
    ///
    /// As those of a start; and of what [already ran](crate::tunnel::Attached), or was started before a fork.
    pub fn restart(&mut self) -> Result<(), Error> {
        if !self.maker.is_this() || self.programs().is_foreign() {
            let slug = self.tunnel.slug();
            let text =
                format!("{slug}: its program was not started here, so it cannot be restarted");
            return Err(Error::new(ErrorKind::Program, text, None));
        }
        self.take_first();
        self.programs().stop(self.stop_timeout);
        // What comes of a start that fails is its error's to say, and not the drop's.
        self.stopped = true;
        self.launch_again(None)?;
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
        self.take_first();
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
                false if !self.tunnel.kind().carries_connections() => {
                    Some(listening::takes_datagrams_at(listen))
                }
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
        | CheckError::Died(message, _)
        | CheckError::NotMade(message)
        | CheckError::NotRun(message)
        | CheckError::Unsupported(message)
        | CheckError::Skipped(message) => message,
    }
}

/// See [`RunningTunnel::url`].
pub(crate) fn proxy_url(tunnel: &dyn Tunnel, listen: SocketAddr) -> String {
    let scheme = match tunnel.kind() {
        Kind::Socks4 => "socks4",
        Kind::Socks4a => "socks4a",
        Kind::Socks5 => "socks5h",
        Kind::HttpConnect => "http",
        Kind::ForwardUdp => "udp",
        Kind::Forward | Kind::ProxyProtocol | Kind::Other => "tcp",
    };
    let login = tunnel.credentials().map_or_else(String::new, |login| {
        format!("{}:{}@", escaped(login.0), escaped(login.1))
    });
    format!("{scheme}://{login}{}", listen)
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
