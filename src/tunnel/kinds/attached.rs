//! Tunnels that already run.

use std::io;
use std::net::SocketAddr;

use crate::tunnel::{Family, Kind, Program, Route, Running, Setup, Stream, Target, Tunnel};

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

    /// Where the program forwards to, which only a proxy can be told: the test service listens
    /// there.
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

    fn handshake(&self, stream: &mut Stream, target: &Target) -> io::Result<Option<SocketAddr>> {
        self.tunnel.handshake(stream, target)
    }

    fn preamble(&self, service: &mut Stream, client: SocketAddr, route: &Route) -> io::Result<()> {
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
        let other = |address: SocketAddr, family| {
            let own = Family::of(address.ip());
            (own != family).then(|| format!("it runs with the address {address}"))
        };
        other(self.running.listen, listen)
            .or_else(|| other(self.running.service?, service))
            .or_else(|| self.tunnel.unsupported(listen, service))
    }

    fn kind(&self) -> Kind {
        self.tunnel.kind()
    }

    fn credentials(&self) -> Option<(&[u8], &[u8])> {
        self.tunnel.credentials()
    }
}
