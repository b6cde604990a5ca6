//! What the servers tell the `log` crate: failures as warnings, lives as debug.

use std::error::Error;
use std::io::Read;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use log::{Level, LevelFilter, Log, Metadata, Record};
use loopback::{TestTcpServer, TestUdpServer};

use crate::support::{LONG, connect};

type Failed = Result<(), Box<dyn Error + Send + Sync>>;

#[test]
fn tcp_logs_its_life_and_its_failures() {
    let log = Collector::installed();
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |_| -> Failed { Err("no tcp today".into()) }).unwrap();
    let mut client = connect(server.local_addr());
    client.read_to_end(&mut Vec::new()).unwrap();
    server.stop(LONG).unwrap_err();
    let own = log.of("tcp", server.local_addr());
    own.has_life();
    own.accepted(client.local_addr().unwrap());
    own.has_failure(client.local_addr().unwrap(), "no tcp today");
}

#[test]
fn udp_logs_its_life_and_its_failures() {
    let log = Collector::installed();
    let mut server =
        TestUdpServer::start("127.0.0.1:0", |_| -> Failed { Err("no udp today".into()) }).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", server.local_addr()).unwrap();
    server.take_datagram(LONG).unwrap();
    server.stop(LONG).unwrap_err();
    let own = log.of("udp", server.local_addr());
    own.has_life();
    own.has_failure(client.local_addr().unwrap(), "no udp today");
}

#[cfg(feature = "http")]
#[test]
fn http_logs_its_life_and_its_failures() {
    use std::io::Write;
    let log = Collector::installed();
    let mut server =
        loopback::TestHttpServer::start("127.0.0.1:0", |_| Err::<(), _>("no http today")).unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"GET /tea HTTP/1.0\r\n\r\n").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let peer = client.local_addr().unwrap();
    server.stop(LONG).unwrap_err();
    let own = log.of("http", server.local_addr());
    own.has_life();
    own.accepted(peer);
    own.has_failure(peer, "no http today");
    own.has(Level::Debug, &format!("{peer}: GET /tea 500"));
}

#[cfg(feature = "smtp")]
#[test]
fn smtp_logs_its_life_and_its_failures() {
    use std::io::{BufRead, BufReader, Write};
    let log = Collector::installed();
    let mut server = loopback::TestSmtpServer::builder()
        .on_helo(|_| -> bool { panic!("no smtp today") })
        .sink("127.0.0.1:0")
        .unwrap();
    let mut client = BufReader::new(connect(server.local_addr()));
    client.read_line(&mut String::new()).unwrap();
    client.get_mut().write_all(b"HELO c\r\nQUIT\r\n").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let peer = client.get_ref().local_addr().unwrap();
    server.stop(LONG).unwrap_err();
    let own = log.of("smtp", server.local_addr());
    own.has_life();
    own.accepted(peer);
    own.has_failure(peer, "no smtp today");
}

/// A test whose client waits for what was forgotten in the script finds the reason here.
#[test]
fn a_script_logs_a_client_that_has_no_instruction() {
    let log = Collector::installed();
    let peer = loopback::ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    let client = connect(peer.local_addr());
    peer.expect_connect_within(LONG);
    let start = format!(
        "scripted server on {} has had no instruction for {} for 1s: ",
        peer.local_addr(),
        client.local_addr().unwrap()
    );
    log.wait_for(&start);
    let own = log.of("scripted", peer.local_addr());
    own.has(Level::Debug, &start);
    drop(client);
}

/// Keeps what the whole process logs: there is one logger, and each test looks for its own server's records.
struct Collector {
    lines: Mutex<Vec<Line>>,
    added: Condvar,
}

#[derive(Debug, Clone)]
struct Line {
    level: Level,
    target: String,
    text: String,
}

/// More than all tests of this binary log.
const MOST_LINES: usize = 1_000_000;

impl Collector {
    fn installed() -> &'static Collector {
        static COLLECTOR: Collector = Collector {
            lines: Mutex::new(Vec::new()),
            added: Condvar::new(),
        };
        static INSTALLED: OnceLock<()> = OnceLock::new();
        INSTALLED.get_or_init(|| {
            log::set_logger(&COLLECTOR).unwrap();
            log::set_max_level(LevelFilter::Debug);
        });
        &COLLECTOR
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a record that begins so.
    #[track_caller]
    fn wait_for(&self, start: &str) {
        let is_missing =
            |lines: &mut Vec<Line>| !lines.iter().any(|line| line.text.starts_with(start));
        let waited = self
            .added
            .wait_timeout_while(self.lock(), LONG, is_missing)
            .unwrap_or_else(PoisonError::into_inner);
        let timed_out = waited.1.timed_out();
        drop(waited);
        assert!(!timed_out, "nothing begins with {start:?}");
    }

    /// The records under the protocol's target.
    fn of(&self, protocol: &str, address: SocketAddr) -> Own {
        let target = format!("loopback::{protocol}");
        let mut lines = self.lock().clone();
        lines.retain(|line| line.target == target);
        Own {
            name: format!("{protocol} server on {address}"),
            lines,
        }
    }
}

impl Log for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("loopback::")
    }

    fn log(&self, record: &Record<'_>) {
        let line = Line {
            level: record.level(),
            target: record.target().to_owned(),
            text: record.args().to_string(),
        };
        let mut lines = self.lock();
        if self.enabled(record.metadata()) && lines.len() < MOST_LINES {
            lines.push(line);
            self.added.notify_all();
        }
    }

    fn flush(&self) {}
}

/// The records under one target, and the name of the server that is looked at. The name has the port, so that the
/// servers of tests which run at the same time are told apart.
struct Own {
    name: String,
    lines: Vec<Line>,
}

impl Own {
    #[track_caller]
    fn has_life(&self) {
        self.has(Level::Debug, &format!("{} starts", self.name));
        self.has(Level::Debug, &format!("{} stopped in ", self.name));
    }

    #[track_caller]
    fn accepted(&self, peer: SocketAddr) {
        self.has(Level::Debug, &format!("{} accepted {peer}", self.name));
    }

    #[track_caller]
    fn has_failure(&self, peer: SocketAddr, message: &str) {
        let start = format!("{}: handler for {peer} ", self.name);
        let found = |line: &&Line| line.text.starts_with(&start) && line.text.ends_with(message);
        let levels: Vec<_> = self
            .lines
            .iter()
            .filter(found)
            .map(|line| line.level)
            .collect();
        assert_eq!(levels, [Level::Warn], "{start}... {message}");
    }

    #[track_caller]
    fn has(&self, level: Level, start: &str) {
        let mut own = self
            .lines
            .iter()
            .filter(|line| line.text.starts_with(start));
        let found = own
            .next()
            .unwrap_or_else(|| panic!("nothing begins with {start:?}"));
        assert_eq!(found.level, level, "{found:?}");
    }
}
