//! After a stop nothing is left: no thread, no descriptor. A binary of its own, for it counts those of
//! the whole process.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use loopback::{ScriptedTcpServer, TestTcpServer, TestUdpServer};

const ROUNDS: usize = 1000;
const LONG: Duration = Duration::from_secs(30);

/// One test, so that no other runs beside it.
#[test]
fn a_thousand_starts_and_stops_leave_nothing() {
    rounds("tcp", || {
        let mut server = TestTcpServer::echo("127.0.0.1:0").unwrap();
        let mut client = connect(server.local_addr());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // The client is still connected.
        server.stop(LONG).unwrap();
    });
    rounds("tcp whose handlers fail", || {
        let mut server = TestTcpServer::start("127.0.0.1:0", |_| Err::<(), _>("no")).unwrap();
        connect(server.local_addr())
            .read_to_end(&mut Vec::new())
            .unwrap();
        server.stop(LONG).unwrap_err();
    });
    rounds("udp", || {
        let mut server = TestUdpServer::echo("127.0.0.1:0").unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.send_to(b"x", server.local_addr()).unwrap();
        client.recv(&mut [0]).unwrap();
        server.stop(LONG).unwrap();
    });
    #[cfg(feature = "http")]
    rounds("http", || {
        let mut server = loopback::TestHttpServer::fixed("127.0.0.1:0", "hello").unwrap();
        let mut client = connect(server.local_addr());
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        client.read_exact(&mut [0; 64]).unwrap();
        // The client is still connected, and its connection kept alive.
        server.stop(LONG).unwrap();
    });
    #[cfg(feature = "http")]
    rounds("http with a handler", || {
        let handler = |_request| "hello";
        let mut server = loopback::TestHttpServer::start("127.0.0.1:0", handler).unwrap();
        let mut client = connect(server.local_addr());
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        client.read_exact(&mut [0; 64]).unwrap();
        server.stop(LONG).unwrap();
    });
    #[cfg(feature = "smtp")]
    rounds("smtp", || {
        let mut server = loopback::TestSmtpServer::sink("127.0.0.1:0").unwrap();
        let mut client = connect(server.local_addr());
        client.read_exact(&mut [0; 4]).unwrap();
        server.stop(LONG).unwrap();
    });
    rounds("unix streams", || {
        let server = TestTcpServer::echo(loopback::UnixAddress::temporary()).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(server.path()).unwrap();
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        // The drop stops it.
    });
    rounds("scripted peers", || {
        let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
        peer.expect_connect_within(LONG)
            .expect_bytes_within("x", LONG)
            .send_bytes_within("y", LONG);
        let mut client = connect(peer.local_addr());
        client.write_all(b"x").unwrap();
        client.read_exact(&mut [0]).unwrap();
        drop(client);
    });
    rounds("scripted peers that fail", || {
        let mut peer = ScriptedTcpServer::start("127.0.0.79:0").unwrap();
        peer.expect_connect_within(LONG)
            .expect_bytes_within("x", LONG);
        let mut client = connect(peer.local_addr());
        client.write_all(b"y").unwrap();
        client.read_to_end(&mut Vec::new()).unwrap();
        peer.stop(LONG).unwrap_err();
        peer.restart().unwrap();
    });
}

/// Counts before the rounds, after a tenth of them, and after all.
fn rounds(what: &str, round: impl Fn()) {
    let before = (count("task"), count("fd"));
    for number in 1..=ROUNDS {
        round();
        if number % (ROUNDS / 10) == 0 {
            // A thread that was joined stays in the list until the system has tidied it away.
            // Shorter than an idle worker takes to end by itself: it must have been joined.
            let end = Instant::now() + Duration::from_secs(5);
            while (count("task"), count("fd")) != before {
                assert!(
                    Instant::now() < end,
                    "{what}: {before:?} threads and descriptors before, {:?} after {number} rounds",
                    (count("task"), count("fd"))
                );
                std::thread::yield_now();
            }
        }
    }
}

fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}"))
        .unwrap()
        .count()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}
