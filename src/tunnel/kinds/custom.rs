//! Tunnels whose protocol is the test's own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::process::Command;

use crate::tunnel::kinds::{Base, Start, by_base, kind};
use crate::tunnel::link::tunnel::{ReadWrite, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::programs::template::Template;
use crate::tunnel::route::{Route, Target};

type Handshake =
    dyn Fn(&mut dyn ReadWrite, &Target) -> io::Result<Option<SocketAddr>> + Send + Sync;
type Preamble = dyn Fn(&mut dyn ReadWrite, SocketAddr, &Route) -> io::Result<()> + Send + Sync;

/// A tunnel with closures for what it speaks; a forwarder unless any is set. For more than this,
/// implement [`Tunnel`].
///
/// ```
/// use std::io::{Read, Write};
/// use loopback::tunnel::Custom;
///
/// // It wants the destination in a line of text, and answers by an empty line.
/// let tunnel = Custom::template("my-tunnel --listen {listen}")
///     .named("my-tunnel")
///     .handshake(|stream, target| {
///         writeln!(stream, "{target}")?;
///         let mut line = [0];
///         stream.read_exact(&mut line)?;
///         match line {
///             [b'\n'] => Ok(None),
///             _ => Err(std::io::Error::other("it says no")),
///         }
///     });
/// # let _ = tunnel;
/// ```
pub struct Custom {
    base: Base,
    handshake: Option<Box<Handshake>>,
    preamble: Option<Box<Preamble>>,
    names: bool,
}

kind!(Custom, "custom");

impl Custom {
    fn from_base(base: Base) -> Custom {
        Custom {
            base,
            handshake: None,
            preamble: None,
            names: false,
        }
    }

    /// How to ask for a connection; see [`Tunnel::handshake`].
    #[must_use]
    pub fn handshake(
        mut self,
        handshake: impl Fn(&mut dyn ReadWrite, &Target) -> io::Result<Option<SocketAddr>>
        + Send
        + Sync
        + 'static,
    ) -> Custom {
        self.handshake = Some(Box::new(handshake));
        self
    }

    /// What the service reads before the data; see [`Tunnel::preamble`].
    #[must_use]
    pub fn preamble(
        mut self,
        preamble: impl Fn(&mut dyn ReadWrite, SocketAddr, &Route) -> io::Result<()>
        + Send
        + Sync
        + 'static,
    ) -> Custom {
        self.preamble = Some(Box::new(preamble));
        self
    }

    /// Whether the handshake can ask for a [`Target::Name`]; `false` unless set.
    #[must_use]
    pub fn names(mut self, takes: bool) -> Custom {
        self.names = takes;
        self
    }
}

impl Tunnel for Custom {
    by_base!();

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        match &self.handshake {
            Some(handshake) => handshake(stream, target),
            None => Ok(None),
        }
    }

    fn preamble(
        &self,
        service: &mut dyn ReadWrite,
        client: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        match &self.preamble {
            Some(preamble) => preamble(service, client, route),
            None => Ok(()),
        }
    }

    fn takes_names(&self) -> bool {
        self.names
    }
}

impl fmt::Debug for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Custom")
            .field("base", &self.base)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
