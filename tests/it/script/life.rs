//! A scripted server from its start to its drop.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use loopback::{Script, ScriptedTcpServer, ScriptedTcpServers};

use super::{failure, full, pair, pair_on, panic_of, reset, told, told_of, wait_end};
use crate::support::{LONG, connect};

const SHORT: Duration = Duration::from_millis(20);

/// The conversation of `pytest-tcpclient`'s first example.
#[test]
fn instructions_before_the_client() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connect_within(LONG);
    peer.expect_bytes_within(b"Hello, server!", LONG);
    peer.send_bytes_within(b"Hello, client!", LONG);
    peer.expect_disconnect_within(LONG);
    let mut client = connect(peer.local_addr());
    client.write_all(b"Hello, server!").unwrap();
    let mut answer = [0; 14];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"Hello, client!");
    drop(client);
    peer.join().unwrap();
    peer.join().unwrap();
}

#[test]
fn instructions_after_the_client() {
    let peer = ScriptedTcpServer::start("[::1]:0").unwrap();
    let mut client = connect(peer.local_addr());
    client.write_all(b"Hello, server!").unwrap();
    drop(client);
    peer.expect_connect()
        .expect_bytes("Hello, server!")
        .expect_disconnect();
    peer.join().unwrap();
}

#[test]
fn instructions_meanwhile() {
    let (peer, mut client) = pair();
    let begun = Instant::now();
    for number in 0..100 {
        peer.send_bytes_within([number], LONG)
            .expect_bytes_within([number], LONG);
        let mut answer = [0];
        client.read_exact(&mut answer).unwrap();
        client.write_all(&answer).unwrap();
        peer.join().unwrap();
    }
    drop(client);
    // Each instruction wakes the server's thread, which would sleep for half a second: 50 s in all.
    assert!(begun.elapsed() < LONG);
}

/// The time of an instruction counts from its turn, not from when it was queued.
#[test]
fn time_counts_from_an_instructions_turn() {
    let (peer, mut client) = pair();
    peer.pause(Duration::from_millis(1200))
        .expect_bytes_within("late", Duration::from_millis(1000));
    peer.send_bytes("x");
    client.write_all(b"late").unwrap();
    client.read_exact(&mut [0]).unwrap();
    drop(client);
    peer.join().unwrap();
}

#[test]
fn the_default_timeout_is_a_second() {
    let (peer, _client) = pair();
    peer.expect_bytes("never");
    let message = failure(&peer).message().to_owned();
    assert!(
        message.starts_with("timed out after 1s waiting for bytes from "),
        "{message}"
    );
}

/// Of what is queued after it, on any connection, and of the end.
#[test]
fn the_default_timeout_is_what_was_set() {
    let (peer, client) = pair();
    peer.pause(Duration::ZERO).timeout(SHORT).expect_line("x");
    peer.timeout(LONG);
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "timed out after 20ms waiting for a line from CLIENT; nothing came so far"
    );

    let (peer, client) = pair();
    peer.timeout(SHORT);
    peer.connection(0).expect_bytes("x");
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "timed out after 20ms waiting for bytes from CLIENT; nothing came so far"
    );

    let (peer, _client) = pair();
    peer.join().unwrap();
    peer.timeout(SHORT);
    let text = panic_of(|| drop(peer));
    assert!(
        text.contains("\n  timed out after 20ms waiting for the client to disconnect; "),
        "{text}"
    );

    let script = Script::new()
        .timeout(SHORT)
        .expect_connect()
        .timeout(LONG)
        .expect_connect();
    let peer = ScriptedTcpServer::run("127.0.0.1:0", &script).unwrap();
    assert_eq!(
        failure(&peer).message(),
        "timed out after 20ms waiting for a client to connect"
    );
}

#[test]
fn a_script_is_played_by_many() {
    let script = Script::new()
        .expect_connect_within(LONG)
        .expect_line_within("name?", LONG)
        .then_within(|conn| conn.write_all(b"nobody\n"), LONG)
        .expect_disconnect_within(LONG);
    let place = line!() - 1;
    let peers: Vec<_> = (0..3)
        .map(|_| ScriptedTcpServer::run("127.0.0.1:0", &script).unwrap())
        .collect();
    for peer in &peers[..2] {
        let mut client = connect(peer.local_addr());
        client.write_all(b"name?\n").unwrap();
        let mut answer = [0; 7];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"nobody\n");
        drop(client);
        peer.join().unwrap();
    }
    let mut client = connect(peers[2].local_addr());
    client.write_all(b"name?\nand more").unwrap();
    let error = failure(&peers[2]);
    // Its number is the one in the server, its place the one in the script.
    assert_eq!(error.instruction(), Some(4));
    assert_eq!(error.location().unwrap().line(), place);
    wait_end(&client);
}

#[test]
fn a_drop_expects_the_disconnect() {
    let (peer, client) = pair();
    drop(client);
    drop(peer);

    let (peer, mut client) = pair();
    client.write_all(b"one more thing").unwrap();
    let (server, clients) = (peer.local_addr(), [client.local_addr().unwrap()]);
    let text = told_of(&panic_of(|| drop(peer)), server, &clients);
    assert_eq!(
        text,
        "scripted server on SERVER: the implied expect_disconnect failed\n  \
         data came where a disconnect was expected; 14 bytes came so far: \"one more thing\""
    );

    let (peer, _client) = pair();
    let text = panic_of(|| drop(peer));
    assert!(
        text.contains("\n  timed out after 1s waiting for the client to disconnect; "),
        "{text}"
    );
}

#[test]
fn a_drop_joins() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connect_within(SHORT);
    let text = panic_of(|| drop(peer));
    assert!(
        text.contains("instruction 1, expect_connect failed\n"),
        "{text}"
    );
}

#[test]
fn a_failure_that_was_reported_does_not_panic() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connect_within(SHORT);
    let first = failure(&peer);
    assert_eq!(failure(&peer), first);
    // What comes after it is dropped, and no other failure.
    peer.expect_connect();
    assert_eq!(failure(&peer), first);
    drop(peer);
}

/// Two panics at once would abort the test binary.
#[test]
fn a_drop_while_the_test_fails_already_does_not_panic_again() {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let factory = ScriptedTcpServers::new();
        let made = factory.start("127.0.0.1:0").unwrap();
        made.expect_connect_within(LONG);
        let waits = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
        waits.expect_connect_within(LONG);
        let failed = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
        failed.send_bytes("no client");
        panic!("{}", "the test's own");
    }));
    let text = *outcome.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(text, "the test's own");
}

#[test]
fn a_server_that_stops_and_restarts() {
    let (mut peer, mut client) = pair_on("127.0.0.80:0");
    let address = peer.local_addr();
    peer.expect_bytes_within("one", LONG).disconnect();
    client.write_all(b"one").unwrap();
    assert_eq!(wait_end(&client), b"");
    peer.stop(LONG).unwrap();
    TcpStream::connect(address).unwrap_err();
    peer.restart().unwrap();
    assert_eq!(peer.local_addr(), address);
    peer.expect_connect_within(LONG)
        .expect_bytes_within("two", LONG);
    let mut client = connect(address);
    client.write_all(b"two").unwrap();
    peer.join().unwrap();
    // A restart stops it first, and the client has its end.
    peer.restart().unwrap();
    assert_eq!(wait_end(&client), b"");
}

#[test]
fn an_instruction_after_a_stop() {
    let (mut peer, client) = pair_on("127.0.0.81:0");
    peer.stop(LONG).unwrap();
    peer.stop(LONG).unwrap();
    assert_eq!(wait_end(&client), b"");
    peer.send_bytes("hello");
    let line = line!() - 1;
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &[]),
        full(
            "instruction 2, send_bytes(\"hello\") cannot be queued",
            line,
            "the server is stopped, and has to be restarted first"
        )
    );
    // It was reported, so a new run begins without it.
    peer.restart().unwrap();
    peer.join().unwrap();
}

#[test]
fn a_stop_before_the_script_is_done() {
    let (mut peer, client) = pair();
    peer.join().unwrap();
    peer.expect_bytes_within("never", LONG);
    let line = line!() - 1;
    let error = peer.stop(SHORT).unwrap_err();
    assert_eq!(
        told_of(
            &error.to_string(),
            peer.local_addr(),
            &[client.local_addr().unwrap()]
        ),
        full(
            "instruction 2, expect_bytes(\"never\") was not done",
            line,
            "the stop's time of 20ms was over before"
        )
    );
    wait_end(&client);
}

/// Only who is connected and quiet may stay.
#[test]
fn a_stop_judges_as_a_drop_does() {
    for timeout in [LONG, Duration::ZERO] {
        let (mut peer, client) = pair();
        peer.join().unwrap();
        peer.stop(timeout).unwrap();
        wait_end(&client);

        let (mut peer, mut client) = pair();
        peer.join().unwrap();
        client.write_all(b"one more thing").unwrap();
        let (server, clients) = (peer.local_addr(), [client.local_addr().unwrap()]);
        let error = peer.stop(timeout).unwrap_err();
        assert_eq!(
            told_of(&error.to_string(), server, &clients),
            "scripted server on SERVER: the implied expect_disconnect failed\n  \
             data came where a disconnect was expected; 14 bytes came so far: \"one more thing\""
        );
        assert_eq!(peer.stop(timeout).unwrap_err(), error);
        wait_end(&client);

        let (mut peer, client) = pair();
        peer.join().unwrap();
        reset(client);
        let error = peer.stop(timeout).unwrap_err();
        assert_eq!(error.message(), "the client reset the connection");

        let (mut peer, client) = pair();
        peer.join().unwrap();
        let second = connect(peer.local_addr());
        let message = peer.stop(timeout).unwrap_err().message().to_owned();
        assert!(
            message.starts_with("a second connection came, from "),
            "{message}"
        );
        wait_end(&client);
        wait_end(&second);

        let (mut peer, client) = pair();
        peer.expect_disconnect_within(LONG);
        drop(client);
        peer.join().unwrap();
        let second = connect(peer.local_addr());
        let message = peer.stop(timeout).unwrap_err().message().to_owned();
        assert!(
            message.starts_with("a connection that nobody expected, from "),
            "{message}"
        );
        wait_end(&second);

        let (mut peer, client) = pair();
        peer.disconnect().join().unwrap();
        wait_end(&client);
        let _again = connect(peer.local_addr());
        peer.stop(timeout).unwrap();
    }
}

/// Closures run on the server's thread, and a stop has to end that.
#[test]
fn a_stop_ends_a_closure_that_reads() {
    let (mut peer, client) = pair_on("127.0.0.82:0");
    let (begins, begun) = std::sync::mpsc::channel();
    peer.then_within(
        move |conn| {
            begins.send(()).unwrap();
            conn.read_line().map(drop)
        },
        LONG,
    );
    begun.recv_timeout(LONG).unwrap();
    let error = peer.stop(SHORT).unwrap_err();
    assert_eq!(error.message(), "the stop's time of 20ms was over before");
    wait_end(&client);
    peer.restart().unwrap();
}

#[test]
fn a_restart_waits_for_a_closure_that_does_not_end() {
    let (mut peer, client) = pair_on("127.0.0.84:0");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = std::sync::mpsc::channel();
    peer.then_within(
        move |_| {
            begins.send(()).unwrap();
            held.recv().unwrap_or(());
        },
        LONG,
    );
    begun.recv_timeout(LONG).unwrap();
    peer.stop(SHORT).unwrap_err();
    wait_end(&client);
    assert_eq!(
        peer.restart().unwrap_err().to_string(),
        "cannot restart: a closure of the script still runs"
    );
    drop(release);
    let end = Instant::now() + LONG;
    // The server's thread is on its way out.
    while let Err(error) = peer.restart() {
        assert!(Instant::now() < end, "{error}");
        std::thread::yield_now();
    }
    peer.expect_connect_within(LONG);
    let client = connect(peer.local_addr());
    peer.join().unwrap();
    drop(client);
}

#[test]
fn a_restart_tells_a_failure_that_nobody_took() {
    let mut peer = ScriptedTcpServer::start("127.0.0.83:0").unwrap();
    peer.expect_connect_within(SHORT);
    let error = peer.restart().unwrap_err().to_string();
    assert!(
        error.contains("instruction 1, expect_connect failed"),
        "{error}"
    );
    peer.restart().unwrap();
}

/// Those of a loop are queued at the same place, and told apart by their servers.
#[test]
fn a_factory_shows_all_failures() {
    let mut addresses = Vec::new();
    let text = panic_of(|| {
        let factory = ScriptedTcpServers::new();
        let servers: Vec<_> = (0..4)
            .map(|_| factory.start("127.0.0.1:0").unwrap())
            .collect();
        addresses.extend(servers.iter().map(|server| server.local_addr()));
        for server in &servers[..2] {
            server.send_bytes("x");
        }
        servers[2].pause(Duration::ZERO);
        servers[3].expect_reset();
        // This one was told already.
        servers[3].join().unwrap_err();
    });
    let line = line!() - 7;
    let one = |address: &SocketAddr| {
        format!(
            "\nscripted server on {address}: instruction 1, send_bytes(\"x\") failed\n  \
             queued at tests/it/script/life.rs:{line}:20\n  \
             no client is connected yet: queue an expect_connect before this"
        )
    };
    assert_eq!(
        text,
        format!(
            "2 of 4 scripted servers failed{}{}",
            one(&addresses[0]),
            one(&addresses[1])
        )
    );
}

#[test]
fn a_factory_verifies_when_it_is_told() {
    let factory = ScriptedTcpServers::new();
    let (first, second) = (
        factory.start("127.0.0.1:0").unwrap(),
        factory
            .run("127.0.0.1:0", &Script::new().expect_connect_within(LONG))
            .unwrap(),
    );
    first.expect_connect_within(SHORT);
    let client = connect(second.local_addr());
    drop(client);
    let errors = factory.verify().unwrap_err();
    assert_eq!(errors.errors(), [failure(&first)]);
    assert_eq!(
        errors.to_string(),
        format!("1 of 2 scripted servers failed\n{}", failure(&first))
    );
    // Nothing can follow a verification.
    second.expect_connect();
    assert_eq!(failure(&second).message(), "the server has ended");
}

/// A test may share it.
#[test]
fn it_is_used_from_several_threads() {
    fn shared<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let (peer, client) = pair();
    shared(&peer);
    shared(&peer.connection(0));
    shared(&Script::new());
    shared(&ScriptedTcpServers::new());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    peer.send_bytes_within("x", LONG);
                    peer.join().unwrap();
                }
            });
        }
    });
    peer.disconnect();
    assert_eq!(wait_end(&client), [b'x'; 200]);
    assert!(
        format!("{peer:?}").starts_with("ScriptedTcpServer"),
        "{peer:?}"
    );
}

#[cfg(unix)]
#[test]
fn over_a_unix_socket() {
    let script = Script::new()
        .expect_connect_within(LONG)
        .expect_line_within("ping", LONG)
        .send_bytes_within("pong\n", LONG);
    let mut peer = ScriptedTcpServer::run(loopback::UnixAddress::temporary(), &script).unwrap();
    for _ in 0..2 {
        let mut client = std::os::unix::net::UnixStream::connect(peer.path()).unwrap();
        client.write_all(b"ping\n").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        drop(client);
        peer.expect_disconnect_within(LONG);
        peer.stop(LONG).unwrap();
        assert!(!peer.path().exists());
        peer.restart().unwrap();
        peer.play(&script);
    }
    let mut client = std::os::unix::net::UnixStream::connect(peer.path()).unwrap();
    client.write_all(b"ping\n").unwrap();
    peer.join().unwrap();
    // It leaves with five bytes unread, which on such a socket is the only reason for a reset.
    peer.expect_disconnect_within(LONG);
    drop(client);
    assert_eq!(
        peer.join().unwrap_err().message(),
        "the client closed and never read all of what was sent to it (5 bytes), which resets \
         the connection"
    );
}
