//! What is measured: a server that can be started, has an address, and can be stopped.

use std::fmt;
use std::io;
use std::net::SocketAddr;

/// A kind of server. The first of a list is the reference of its table.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub name: &'static str,
    /// What a reader must know to judge the figure; empty for nothing.
    pub note: &'static str,
    pub start: fn() -> io::Result<Running>,
}

impl Subject {
    /// Starts a server, measures it, and stops it whatever came out.
    pub fn measure(&self, measure: impl FnOnce(SocketAddr) -> io::Result<f64>) -> io::Result<f64> {
        let server = (self.start)()?;
        let figure = measure(server.address);
        server.stop()?;
        figure
    }
}

/// A server that is up.
pub struct Running {
    pub address: SocketAddr,
    stop: Box<dyn FnOnce() -> io::Result<()>>,
}

impl Running {
    pub fn new(address: SocketAddr, stop: impl FnOnce() -> io::Result<()> + 'static) -> Running {
        Running {
            address,
            stop: Box::new(stop),
        }
    }

    /// Stops the server; its clients must be gone, as hand-written and peers' servers may wait for them.
    pub fn stop(self) -> io::Result<()> {
        (self.stop)()
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}
