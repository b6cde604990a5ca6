//! How the programs of a tunnel are started, and where.

use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::deadline::prose;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::Programs;
use crate::tunnel::programs::port::Lease;
use crate::tunnel::programs::setup::Setup;
use crate::tunnel::route::Route;

/// What a tunnel's programs are given beside their route.
#[derive(Debug, Clone, Default)]
pub(crate) struct Means {
    pub(crate) ports: Ports,
    pub(crate) service_path: Option<PathBuf>,
    /// Variables of their environment.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// Where a tunnel listens, and the lease of its port unless it already runs.
pub(crate) struct Place {
    pub(crate) listen: SocketAddr,
    pub(crate) lease: Option<Lease>,
}

impl Place {
    /// A port on `ip` that is free and kept; or where the tunnel already runs.
    pub(crate) fn take(tunnel: &dyn Tunnel, ip: IpAddr, ports: &Ports) -> Result<Place, Error> {
        if let Some(running) = tunnel.running() {
            let listen = running.listen;
            return Ok(Place {
                listen,
                lease: None,
            });
        }
        let lease = Lease::take(ip, ports).map_err(no_port("the program", ip))?;
        Ok(Place {
            listen: lease.addr(),
            lease: Some(lease),
        })
    }
}

pub(crate) fn no_port(what: &str, ip: IpAddr) -> impl FnOnce(io::Error) -> Error {
    let message = format!("no port for {what} on {ip}");
    move |error| Error::new(ErrorKind::Port, message, Some(error))
}

/// Starts the first program of `tunnel`, if it has any to start. The one that the client connects to may open as
/// many `descriptors`, if that is said.
pub(crate) fn start(
    tunnel: &dyn Tunnel,
    route: &Route,
    means: &Means,
    descriptors: Option<usize>,
) -> Result<Programs, Error> {
    if tunnel.running().is_some() {
        return Ok(Programs::none());
    }
    let fail = |source| {
        let message = format!("cannot make the command for {}", tunnel.slug());
        Error::new(ErrorKind::Program, message, Some(source))
    };
    let mut setup = Setup::new(*route, means.ports.clone());
    if let Some(path) = &means.service_path {
        setup.set_service_path(path.clone());
    }
    let mut programs = tunnel.programs(&mut setup).map_err(fail)?;
    if programs.is_empty() {
        let text = "it gives no program, and tells of none that runs".to_owned();
        return Err(fail(prose(io::ErrorKind::InvalidInput, text)));
    }
    for program in &mut programs {
        let variables = means.environment.iter().map(|(name, value)| (name, value));
        program.command.envs(variables);
    }
    if let (Some(last), Some(limit)) = (programs.last_mut(), descriptors) {
        last.limit_descriptors(limit);
    }
    Programs::start(setup, programs)
}
