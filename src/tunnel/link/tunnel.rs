//! What a tunnel is: how its programs are started, and how it is asked for a connection.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use crate::deadline::prose;
use crate::tunnel::core::family::Family;
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::route::{Kind, Route, Target};

/// What a handshake is spoken on: any stream that can be read and written.
pub trait ReadWrite: Read + Write {}

impl<T: Read + Write + ?Sized> ReadWrite for T {}

/// Where a program already runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where it forwards to, if it cannot be told by the handshake.
    pub service: Option<SocketAddr>,
}

impl Running {
    /// A program that listens at `listen`, and is told by the handshake where to connect to.
    pub fn new(listen: SocketAddr) -> Running {
        let service = None;
        Running { listen, service }
    }
}

/// A kind of tunnel: how to start its programs, and how to ask it for a connection.
///
/// Ready-made are [`Forward`](crate::tunnel::Forward), [`Socks4`](crate::tunnel::Socks4), [`Socks4a`](crate::tunnel::Socks4a),
/// [`Socks5`](crate::tunnel::Socks5), [`HttpConnect`](crate::tunnel::HttpConnect),
/// [`ProxyProtocol`](crate::tunnel::ProxyProtocol), [`Attached`](crate::tunnel::Attached) for one that already runs, and
/// [`Custom`](crate::tunnel::Custom) with closures. Implement this for anything else: [`Tunnel::slug`],
/// [`Tunnel::handshake`], and [`Tunnel::command`] or [`Tunnel::programs`].
pub trait Tunnel: Send + Sync {
    /// A short name for reports: `socks5`.
    fn slug(&self) -> String;

    /// The command that starts the program for `route`, in the foreground. Not asked for where
    /// [`Tunnel::programs`] is overridden.
    ///
    /// See [`Program::new`] for what the harness sets.
    ///
    /// # Errors
    ///
    /// What stands in the way of making it. Unless overridden, that there is no command.
    fn command(&self, route: &Route) -> io::Result<Command> {
        let text = format!("{} has no command for: {route}", self.slug());
        Err(prose(io::ErrorKind::Unsupported, text))
    }

    /// The programs, in the order in which they are started; they are ended in the reverse of it. The
    /// one command of [`Tunnel::command`] unless overridden.
    ///
    /// # Errors
    ///
    /// What stands in the way of making them, such as a configuration file that cannot be written.
    fn programs(&self, setup: &mut Setup) -> io::Result<Vec<Program>> {
        Ok(vec![self.command(setup.route())?.into()])
    }

    /// Where the program already runs: then nothing is started. `None` unless overridden.
    fn running(&self) -> Option<Running> {
        None
    }

    /// Asks for a connection to `target` on a fresh connection to the program. Every read and write
    /// on `stream` is bounded by a deadline: the check's, or that of a [`RunningTunnel`](crate::RunningTunnel). Must not read beyond the program's answer.
    ///
    /// Returns the address that the program says it connects from, if the protocol tells.
    ///
    /// # Errors
    ///
    /// What was wrong with the program's answer; the report adds the bytes of both directions.
    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>>;

    /// Reads what the program sends to the service before the client's data, on a fresh connection.
    /// `client` is where the client connected from. Must not read beyond it. Reads nothing unless
    /// overridden.
    ///
    /// # Errors
    ///
    /// What was wrong with it; the report adds the bytes.
    fn preamble(
        &self,
        service: &mut dyn ReadWrite,
        client: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        let _ = (service, client, route);
        Ok(())
    }

    /// Whether the command binds the program to [`Route::outgoing`], so that the source of its
    /// connections is checked. Otherwise it is only noted. `false` unless overridden.
    fn binds_outgoing(&self) -> bool {
        false
    }

    /// Whether [`Tunnel::handshake`] can ask for a [`Target::Name`]. `false` unless overridden.
    fn takes_names(&self) -> bool {
        false
    }

    /// Why a client of the one family cannot reach a service of the other by this kind; such a
    /// combination is skipped for that reason. `None`, that it can, unless overridden.
    fn unsupported(&self, listen: Family, service: Family) -> Option<String> {
        let _ = (listen, service);
        None
    }

    /// What it speaks. [`Kind::Other`] unless overridden.
    fn kind(&self) -> Kind {
        Kind::Other
    }

    /// The user and the password that it logs in with. `None` unless overridden.
    fn credentials(&self) -> Option<(&[u8], &[u8])> {
        None
    }
}
