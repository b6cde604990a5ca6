//! Tunnels that already run.

use std::io;
use std::net::SocketAddr;

use crate::tunnel::core::family::Family;
use crate::tunnel::link::tunnel::{ReadWrite, Running, Tunnel};
use crate::tunnel::programs::setup::{Program, Setup};
use crate::tunnel::route::{Kind, Route, Target};

/// A program that already runs: the harness starts and ends nothing, and what is checked about that is
/// skipped. The other kind says what it speaks.
///
/// ```no_run
/// use loopback::TunnelHarness;
/// use loopback::tunnel::{Attached, Socks5};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = Attached::new("127.0.0.1:1080".parse()?, Socks5::new().auth("user", "secret"));
/// TunnelHarness::new(proxy).run()?.assert_passed();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Attached<T> {
    tunnel: T,
    running: Running,
}

impl<T: Tunnel> Attached<T> {
    /// The program listens at `listen` and speaks as `tunnel` does, which is only asked for that. Only
    /// the combinations with the family of `listen` are run.
    pub fn new(listen: SocketAddr, tunnel: T) -> Attached<T> {
        let service = None;
        let running = Running { listen, service };
        Attached { tunnel, running }
    }

    /// Where the program forwards to: the test service listens there. Without this no check is made of
    /// a forwarder; a proxy is told by the handshake, and needs none.
    #[must_use]
    pub fn service(mut self, address: SocketAddr) -> Attached<T> {
        self.running.service = Some(address);
        self
    }
}

impl<T: Tunnel> Tunnel for Attached<T> {
    fn slug(&self) -> String {
        self.tunnel.slug()
    }

    fn programs(&self, _setup: &mut Setup) -> io::Result<Vec<Program>> {
        Ok(Vec::new())
    }

    fn handshake(
        &self,
        stream: &mut dyn ReadWrite,
        target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        self.tunnel.handshake(stream, target)
    }

    fn preamble(
        &self,
        service: &mut dyn ReadWrite,
        client: SocketAddr,
        route: &Route,
    ) -> io::Result<()> {
        self.tunnel.preamble(service, client, route)
    }

    fn running(&self) -> Option<Running> {
        Some(self.running)
    }

    fn binds_outgoing(&self) -> bool {
        // Nobody has told it the address of this run.
        false
    }

    fn takes_names(&self) -> bool {
        self.tunnel.takes_names()
    }

    fn unsupported(&self, listen: Family, service: Family) -> Option<String> {
        let Running {
            listen: near,
            service: far,
        } = self.running;
        if far.is_none() && self.kind().forwards() {
            let reason = "where it forwards to is not known; see `Attached::service`";
            return Some(reason.to_owned());
        }
        let other = |address: SocketAddr, family| Family::of(address.ip()) != family;
        if other(near, listen) {
            return Some(format!("it already runs, and listens on {near}"));
        }
        match far {
            Some(far) if other(far, service) => {
                Some(format!("it already runs, and forwards to {far}"))
            }
            _ => self.tunnel.unsupported(listen, service),
        }
    }

    fn kind(&self) -> Kind {
        self.tunnel.kind()
    }

    fn credentials(&self) -> Option<(&[u8], &[u8])> {
        self.tunnel.credentials()
    }
}
