//! Many scripted servers, verified together.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use super::error::{ScriptError, ScriptErrors};
use super::state::Scripted;
use super::{Script, ScriptedTcpServer};
use crate::net::address::ListenOn;
use crate::process::Maker;
use crate::server::host::Host;

/// Starts scripted servers, and verifies all of them when it goes, or when it is told to: its failure
/// shows what went wrong with each, and not only with the first.
///
/// Its servers are used as any others, and fail their test through it: a server that is dropped
/// before leaves its failure here.
///
/// ```
/// use std::io::Write;
/// use loopback::ScriptedTcpServers;
///
/// let servers = ScriptedTcpServers::new();
/// let (first, second) = (servers.start("127.0.0.1:0")?, servers.start("127.0.0.1:0")?);
/// for (peer, word) in [(&first, "one"), (&second, "two")] {
///     peer.expect_connect();
///     peer.expect_bytes(word);
///     std::net::TcpStream::connect(peer.local_addr())?.write_all(word.as_bytes())?;
/// }
/// servers.verify()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it verifies its servers"]
pub struct ScriptedTcpServers {
    hosts: Arc<Mutex<Vec<Arc<Host<Scripted>>>>>,
    /// A fork copies it into a process that has none of its servers' threads.
    maker: Maker,
}

impl Default for ScriptedTcpServers {
    fn default() -> ScriptedTcpServers {
        ScriptedTcpServers {
            hosts: Arc::default(),
            maker: Maker::this(),
        }
    }
}

impl ScriptedTcpServers {
    /// A factory without servers yet.
    pub fn new() -> ScriptedTcpServers {
        ScriptedTcpServers::default()
    }

    /// As [`ScriptedTcpServer::start`].
    ///
    /// # Errors
    /// As [`ScriptedTcpServer::start`].
    pub fn start<L: ListenOn>(&self, address: L) -> io::Result<ScriptedTcpServer<L::Address>> {
        let mut server = ScriptedTcpServer::<L::Address>::start(address)?;
        server.factory = Arc::downgrade(&self.hosts);
        self.hosts().push(Arc::clone(&server.inner.host));
        Ok(server)
    }

    /// As [`ScriptedTcpServer::run`].
    ///
    /// # Errors
    /// As [`ScriptedTcpServer::run`].
    pub fn run<L: ListenOn>(
        &self,
        address: L,
        script: &Script,
    ) -> io::Result<ScriptedTcpServer<L::Address>> {
        let server = self.start(address)?;
        server.play(script);
        Ok(server)
    }

    /// Waits for all that is queued on all servers, which end with it: no more can be queued. Clients
    /// that are still connected have their server's default timeout to disconnect.
    ///
    /// In a process that was forked off it does nothing: the servers are the parent's.
    ///
    /// # Errors
    /// The failure of each server that has one.
    pub fn verify(&self) -> Result<(), ScriptErrors> {
        self.outcome(|host| host.reported().err())
    }

    /// The failures that `of` gives of each server when all have ended.
    fn outcome(
        &self,
        of: impl Fn(&Host<Scripted>) -> Option<ScriptError>,
    ) -> Result<(), ScriptErrors> {
        if !self.maker.is_this() {
            return Ok(());
        }
        let hosts = self.hosts().clone();
        // All are told first, so that their clients' time runs at once.
        hosts.iter().for_each(|host| host.begin_end());
        hosts.iter().for_each(|host| host.wait_end());
        let errors: Vec<_> = hosts.iter().filter_map(|host| of(host)).collect();
        match errors.is_empty() {
            true => Ok(()),
            false => Err(ScriptErrors {
                servers: hosts.len(),
                errors,
            }),
        }
    }

    fn hosts(&self) -> MutexGuard<'_, Vec<Arc<Host<Scripted>>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Verifies, and panics with the failures that the test has not been told of.
impl Drop for ScriptedTcpServers {
    fn drop(&mut self) {
        if thread::panicking() && self.maker.is_this() {
            self.hosts()
                .iter()
                .for_each(|host| host.give_up(super::FAILING_ALREADY));
        }
        if let Err(errors) = self.outcome(Host::take_unreported) {
            super::fail_test(&errors);
        }
    }
}

impl fmt::Debug for ScriptedTcpServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.hosts().iter()).finish()
    }
}
