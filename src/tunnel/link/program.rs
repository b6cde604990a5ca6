//! A started program with all that belongs to it, and the ways to and through it.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use crate::deadline::{Backoff, Deadline};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Options;
use crate::tunnel::ends::address::Pair;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::error::Error;
use crate::tunnel::link::connector::{Connector, Manners, Opener};
use crate::tunnel::link::launch::{Means, Place, no_port};
use crate::tunnel::link::running_tunnel::RunningTunnel;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::listening;
use crate::tunnel::report::Ended;
use crate::tunnel::route::{Route, Target};

/// How often to try for a port that is free for datagrams too.
const ATTEMPTS: u32 = 20;

/// Where a program can be started: one combination of address families.
#[derive(Clone, Copy)]
pub(crate) struct LaunchSpec<'a> {
    pub(crate) tunnel: &'a Arc<dyn Tunnel>,
    pub(crate) options: &'a Options,
    pub(crate) manners: &'a Manners,
    pub(crate) front: Pair,
    pub(crate) back: Pair,
}

/// A running tunnel between a client and a service of the harness's own. Dropping it ends the program; how that
/// ends is for a check to judge.
pub(crate) struct StartedProgram<'a> {
    tunnel: RunningTunnel,
    connector: Connector<'a>,
    service: Service,
    /// Where a forwarder of datagrams sends them: on the service's port.
    datagrams: Option<UdpSocket>,
    /// The connection that found it listening, until it is used.
    first: Option<Stream>,
    ready_after: Duration,
}

impl<'a> LaunchSpec<'a> {
    /// Starts the program; it need not listen yet.
    pub(crate) fn start(&self) -> Result<StartedProgram<'a>, Error> {
        let far = self.back.server;
        let running = self.tunnel.running();
        let place = Place::take(&**self.tunnel, self.front.server, &self.options.ports)?;
        let has_datagrams = !self.tunnel.kind().carries_connections();
        let service = match running.and_then(|running| running.service) {
            Some(address) => Service::bind_at(address).and_then(|service| {
                let datagrams = has_datagrams.then(|| UdpSocket::bind(address));
                Ok((service, datagrams.transpose()?))
            }),
            None => bind_service(far, has_datagrams),
        };
        let (service, datagrams) = service.map_err(no_port("the service", far))?;
        let route = Route {
            listen: place.listen,
            service: service.addr(),
            client: self.front.client,
            outgoing: self.back.client,
        };
        let connector = Connector {
            tunnel: &**self.tunnel,
            route,
            segment_size: self.options.segment_size,
            manners: self.manners,
        };
        let means = Means {
            ports: self.options.ports.clone(),
            ..Means::default()
        };
        Ok(StartedProgram {
            tunnel: RunningTunnel::launch(Arc::clone(self.tunnel), route, place, means)?,
            connector,
            service,
            datagrams,
            first: None,
            ready_after: Duration::ZERO,
        })
    }
}

impl<'a> StartedProgram<'a> {
    pub(crate) fn connector(&self) -> Connector<'a> {
        self.connector
    }

    pub(crate) fn child(&mut self) -> &mut Programs {
        self.tunnel.programs_mut()
    }

    pub(crate) fn service(&self) -> &Service {
        &self.service
    }

    /// What receives the datagrams that are forwarded, if that is what the program does.
    pub(crate) fn datagrams(&self) -> Option<&UdpSocket> {
        self.datagrams.as_ref()
    }

    /// Leaves the service's port for datagrams to somebody else, or takes it again.
    pub(crate) fn lend_datagrams(&mut self, lend: bool) -> io::Result<()> {
        match lend {
            true => self.datagrams = None,
            false => self.datagrams = Some(UdpSocket::bind(self.service.addr())?),
        }
        Ok(())
    }

    pub(crate) fn service_mut(&mut self) -> &mut Service {
        &mut self.service
    }

    /// Waits until it listens. The connection that finds that out is kept for the first who needs one.
    pub(crate) fn get_ready(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        self.tunnel.programs_mut().start_rest(deadline)?;
        match self.datagrams {
            Some(_) => self.wait_for_its_port(deadline)?,
            None => self.first = Some(self.first_connection(deadline)?),
        }
        self.ready_after = self.tunnel.programs_mut().age();
        Ok(())
    }

    /// Whether nobody has used the connection yet that found it listening.
    pub(crate) fn has_first(&self) -> bool {
        self.first.is_some()
    }

    /// The connection that found it listening, if nobody has used it.
    pub(crate) fn take_first(&mut self) -> Option<Stream> {
        self.first.take()
    }

    /// From its start until it listened.
    pub(crate) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A connection to the program: the one that found it listening, or a fresh one.
    pub(crate) fn connect(&mut self, deadline: &Deadline) -> Result<Stream, CheckError> {
        match self.first.take() {
            Some(mut stream) => {
                stream.set_deadline(*deadline);
                Ok(stream)
            }
            None => self.connector.connect_again(deadline),
        }
    }

    /// Starts it again where it was, once it has ended; with so many descriptors at most, if that is said.
    pub(crate) fn start_again(&mut self, descriptors: Option<usize>) -> Result<(), Error> {
        self.first = None;
        self.tunnel.launch_again(descriptors)
    }

    /// Whether another check can use it as if nothing had been done with it: it runs, and nobody is on
    /// the way to the service.
    pub(crate) fn is_as_new(&mut self) -> bool {
        // What came late is the next check's to ignore no more than a connection is.
        let is_quiet = self.datagrams.as_ref().is_none_or(|socket| {
            let peeked = socket
                .set_nonblocking(true)
                .and_then(|()| socket.recv_from(&mut [0]));
            socket.set_nonblocking(false).is_ok() && peeked.is_err()
        });
        is_quiet
            && !self.has_first()
            && !self.tunnel.programs_mut().has_exited()
            && self.service.is_idle()
    }

    /// Whether it has ended, or is about to: how, if anything of it ended by itself.
    pub(crate) fn death(&mut self, grace: Duration) -> Option<String> {
        self.tunnel.programs_mut().settle();
        match self.tunnel.programs_mut().has_exited() {
            true => Some(self.tunnel.programs_mut().deaths(grace)).filter(|how| !how.is_empty()),
            false => None,
        }
    }

    /// Ends it, and tells all about it in words.
    pub(crate) fn explain(&mut self, grace: Duration) -> Vec<Ended> {
        self.tunnel.programs_mut().settle();
        self.tunnel.programs_mut().explain(grace)
    }

    /// Connects as soon as the program listens. This connection is to be used: with a forwarder every
    /// connection already reaches the service.
    pub(crate) fn first_connection(&mut self, deadline: &Deadline) -> Result<Stream, CheckError> {
        let Route { listen, client, .. } = self.connector.route;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            let error = match self.connector.connect(deadline) {
                Ok(stream) => return Ok(stream),
                Err(error) => error,
            };
            if self.tunnel.programs_mut().has_exited() {
                let message = format!("the program ended before it listened on {listen}");
                return Err(CheckError::died(message));
            }
            if !may_come_later(&error) {
                let message = format!("cannot connect to {listen} from {client}: {error}");
                return Err(CheckError::failed(message));
            }
            if deadline.expired() {
                return Err(CheckError::failed(format!(
                    "nothing listens on {listen} after {:.1?}: connecting from {client}: {error}{}",
                    deadline.elapsed(),
                    listening::elsewhere(self.tunnel.programs_mut().id(), listen),
                )));
            }
            pause.sleep(deadline);
        }
    }

    /// Waits until the program takes datagrams.
    fn wait_for_its_port(&mut self, deadline: &Deadline) -> Result<(), CheckError> {
        let listen = self.connector.route.listen;
        let mut pause = Backoff::new(Duration::from_millis(1));
        loop {
            // One that was not started here says nothing of its port.
            if self.tunnel.programs_mut().is_foreign() || listening::takes_datagrams_at(listen) {
                return Ok(());
            }
            if self.tunnel.programs_mut().has_exited() {
                let message = format!("the program ended before it took datagrams on {listen}");
                return Err(CheckError::died(message));
            }
            if deadline.expired() {
                return Err(CheckError::failed(format!(
                    "nothing takes datagrams on {listen} after {:.1?}",
                    deadline.elapsed()
                )));
            }
            pause.sleep(deadline);
        }
    }

    /// A connection through the running program to the service, asked for as `target`.
    pub(crate) fn open_to(
        &mut self,
        target: &Target,
        deadline: &Deadline,
    ) -> Result<Conversation, CheckError> {
        let mut client = self.connect(deadline)?;
        self.connector.handshake(&mut client, target, deadline)?;
        let (mut service, _) = self.accept(&mut client, deadline)?;
        self.connector.preamble(&mut service, &client)?;
        Ok(Conversation::new(client, service))
    }

    /// A connection through the running program: to the service unless told otherwise.
    pub(crate) fn open(
        &mut self,
        to: Option<(&Target, &Service)>,
        deadline: &Deadline,
    ) -> Result<Conversation, CheckError> {
        let Some((target, service)) = to else {
            let own = Target::Address(self.connector.route.service);
            return self.open_to(&own, deadline);
        };
        let mut client = self.connect(deadline)?;
        self.connector.handshake(&mut client, target, deadline)?;
        let (mut service, _, opener) =
            self.accept_by_name(service, &mut client, deadline, false)?;
        self.connector.preamble(&mut service, &client)?;
        opener.take(&mut service)?;
        Ok(Conversation::new(client, service))
    }

    /// See [`Connector::accept_by_name`].
    pub(crate) fn accept_by_name(
        &mut self,
        service: &Service,
        client: &mut Stream,
        deadline: &Deadline,
        has_spoken: bool,
    ) -> Result<(Stream, SocketAddr, Opener), CheckError> {
        self.connector.accept_by_name(
            service,
            client,
            self.tunnel.programs_mut(),
            deadline,
            has_spoken,
        )
    }

    /// See [`Connector::accept`].
    pub(crate) fn accept(
        &mut self,
        client: &mut Stream,
        deadline: &Deadline,
    ) -> Result<(Stream, SocketAddr), CheckError> {
        self.connector
            .accept(&self.service, client, self.tunnel.programs_mut(), deadline)
    }
}

/// A service on a free port, and what takes datagrams on the same port if that is wanted.
fn bind_service(ip: IpAddr, has_datagrams: bool) -> io::Result<(Service, Option<UdpSocket>)> {
    let mut attempts = 0..ATTEMPTS;
    loop {
        let service = Service::bind(&[ip])?;
        if !has_datagrams {
            return Ok((service, None));
        }
        match UdpSocket::bind(service.addr()) {
            Ok(datagrams) => return Ok((service, Some(datagrams))),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempts.next().is_some() => {
            }
            Err(error) => return Err(error),
        }
    }
}

/// Whether a failed connect may succeed once the program listens.
fn may_come_later(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, Interrupted, TimedOut, WouldBlock};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | Interrupted | TimedOut | WouldBlock
    )
}
