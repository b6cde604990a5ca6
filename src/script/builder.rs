//! A script that is written before there is a server, and can be played by many.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::DEFAULT_TIMEOUT;
use super::frame::Frame;
use super::instruction::{Instruction, Match, Step, each_time};
use super::methods::{connections, instructions};
use crate::connection::Connection;
use crate::server::failure::HandlerResult;

/// Instructions for any number of scripted servers. Closures in it are shared by them.
///
/// ```
/// use std::io::{Read, Write};
/// use loopback::{Script, ScriptedTcpServer};
///
/// let greeting = Script::new().expect_connect().expect_line("hello").send_bytes("welcome\n");
/// for _ in 0..3 {
///     let peer = ScriptedTcpServer::run("127.0.0.1:0", &greeting)?;
///     let mut client = std::net::TcpStream::connect(peer.local_addr())?;
///     client.write_all(b"hello\n")?;
///     client.read_exact(&mut [0; 8])?;
///     drop(client);
///     peer.expect_disconnect(); // more may follow what was played
///     peer.join()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a script does nothing until a server plays it"]
pub struct Script {
    pub(super) steps: Vec<Step>,
    lane: usize,
    timeout: Option<Duration>,
}

impl Script {
    /// An empty script.
    pub fn new() -> Script {
        Script::default()
    }

    /// What follows is for the connection with this index, of those that
    /// [`expect_connections`](Script::expect_connections) expects. Until then it is for the first, 0.
    pub fn connection(mut self, index: usize) -> Script {
        self.lane = index;
        self
    }

    /// The default timeout of the instructions that follow. Until then it is a second. It is the
    /// script's own: what is queued at the server that plays it has that server's.
    ///
    /// ```
    /// use std::time::Duration;
    /// use loopback::Script;
    ///
    /// let script = Script::new()
    ///     .timeout(Duration::from_secs(10))
    ///     .expect_connect() // within 10 s
    ///     .expect_line_within("hello", Duration::from_millis(100));
    /// # drop(script);
    /// ```
    pub fn timeout(mut self, timeout: Duration) -> Script {
        self.timeout = Some(timeout);
        self
    }

    instructions!([self] self -> Script, then: Fn + Sync by each_time);
    connections!([self] self -> Script);

    fn default_timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    #[track_caller]
    fn add(mut self, what: Instruction, within: Duration) -> Script {
        let lane = match what {
            // It brings all of them.
            Instruction::ExpectConnections(_) => 0,
            _ => self.lane,
        };
        self.steps.push(Step {
            lane,
            what,
            within,
            place: Location::caller(),
        });
        self
    }
}
