//! How a connection begins and ends, as it should or not.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use loopback::ScriptedTcpServer;

use super::{failure, full, pair, reset, told, told_of, wait_end};
use crate::support::{LONG, connect};

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn nobody_connects() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connect_within(SHORT);
    let line = line!() - 1;
    peer.expect_bytes("never");
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &[]),
        full(
            "instruction 1, expect_connect failed",
            line,
            "timed out after 20ms waiting for a client to connect"
        )
    );
}

#[test]
fn an_instruction_before_expect_connect() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.pause(Duration::ZERO);
    peer.send_bytes("hello");
    let line = line!() - 1;
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &[]),
        full(
            "instruction 2, send_bytes(\"hello\") failed",
            line,
            "no client is connected yet: queue an expect_connect before this"
        )
    );
}

#[test]
fn an_instruction_after_the_end() {
    let (peer, client) = pair();
    peer.disconnect();
    let end = line!() - 1;
    peer.send_bytes("hello");
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 3, send_bytes(\"hello\") failed",
            line,
            &format!(
                "there is no connection: it ended with instruction 2, disconnect, queued at \
             ends.rs:{end}:10"
            )
        )
    );
}

#[test]
fn a_connect_that_comes_too_soon() {
    let (peer, client) = pair();
    peer.expect_connect();
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_connect failed",
            line,
            "the connection from CLIENT is still open: expect_disconnect, expect_reset, \
             disconnect or reset comes first"
        )
    );
}

#[test]
fn a_client_that_does_not_disconnect() {
    let (peer, client) = pair();
    peer.expect_disconnect_within(SHORT);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_disconnect failed",
            line,
            "timed out after 20ms waiting for the client to disconnect; CLIENT is still connected"
        )
    );
    assert_eq!(wait_end(&client), b"");
}

#[test]
fn a_client_that_closes_early() {
    let (peer, mut client) = pair();
    client.write_all(b"Hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    peer.expect_bytes_within("Hello, world!", LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_bytes(\"Hello, world!\") failed",
            line,
            "the client closed early; 5 bytes came so far: \"Hello\""
        )
    );
}

#[test]
fn data_where_the_end_was_expected() {
    let (peer, mut client) = pair();
    client.write_all(b"one more thing").unwrap();
    peer.expect_disconnect_within(LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_disconnect failed",
            line,
            "data came where a disconnect was expected; 14 bytes came so far: \"one more thing\""
        )
    );
}

#[test]
fn a_reset_by_the_client() {
    let (peer, client) = pair();
    peer.expect_disconnect_within(LONG);
    let line = line!() - 1;
    let clients = [client.local_addr().unwrap()];
    reset(client);
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &clients),
        full(
            "instruction 2, expect_disconnect failed",
            line,
            "the client reset the connection"
        )
    );
}

#[test]
fn a_reset_by_the_client_in_the_midst() {
    let (peer, mut client) = pair();
    client.write_all(b"Hel").unwrap();
    peer.expect_bytes_within("Hel", LONG).join().unwrap();
    client.write_all(b"lo").unwrap();
    reset(client);
    peer.expect_bytes_within("lo, world!", LONG);
    let message = failure(&peer).message().to_owned();
    // A reset may overtake what was sent before it on other systems than Linux.
    assert!(
        message == "the client reset the connection; 2 bytes came so far: \"lo\""
            || message == "the client reset the connection; nothing came so far",
        "{message}"
    );
}

#[test]
fn a_reset_that_is_expected() {
    let (peer, client) = pair();
    reset(client);
    peer.expect_reset_within(LONG);
    peer.join().unwrap();
}

#[test]
fn a_reset_that_does_not_come() {
    let (peer, client) = pair();
    peer.expect_reset_within(SHORT);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_reset failed",
            line,
            "timed out after 20ms waiting for the client to reset the connection; CLIENT is still connected"
        )
    );

    let (peer, client) = pair();
    peer.expect_reset_within(LONG);
    drop(client);
    assert_eq!(
        failure(&peer).message(),
        "the client closed without a reset"
    );

    let (peer, mut client) = pair();
    client.write_all(b"no").unwrap();
    peer.expect_reset_within(LONG);
    assert_eq!(
        failure(&peer).message(),
        "data came where a reset was expected; 2 bytes came so far: \"no\""
    );
}

/// It has come to the client, which closes without having read it.
#[test]
fn data_that_the_client_never_reads() {
    let (peer, mut client) = pair();
    peer.send_bytes_within("unread", LONG)
        .expect_disconnect_within(LONG);
    let line = line!() - 1;
    assert_eq!(client.peek(&mut [0; 6]).unwrap(), 6);
    let clients = [client.local_addr().unwrap()];
    client.flush().unwrap();
    drop(client);
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &clients),
        full(
            "instruction 3, expect_disconnect failed",
            line,
            "the client reset the connection, as one does that closes before it has read all: \
             it was sent 6 bytes"
        )
    );
}

/// The client had closed before it was sent, which the system tells only after the end was read.
#[test]
fn data_that_is_sent_to_a_closed_client() {
    let (peer, client) = pair();
    let clients = [client.local_addr().unwrap()];
    drop(client);
    // The pause is for a system that is late with its answer.
    peer.send_bytes_within("unread", LONG)
        .pause(Duration::from_millis(100))
        .expect_disconnect_within(LONG);
    let line = line!() - 1;
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &clients),
        full(
            "instruction 4, expect_disconnect failed",
            line,
            "the client closed and never read all of what was sent to it (6 bytes), which \
             resets the connection"
        )
    );
}

#[test]
fn a_disconnect_by_the_server() {
    let (peer, mut client) = pair();
    peer.join().unwrap();
    // What nobody expected does not turn the end into a reset.
    client.write_all(b"unexpected").unwrap();
    peer.send_bytes_within("bye", LONG).disconnect();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all, b"bye");
    peer.join().unwrap();
    assert!(client.take_error().unwrap().is_none());
}

#[test]
fn a_reset_by_the_server() {
    let (peer, mut client) = pair();
    peer.reset();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    peer.join().unwrap();
}

/// The connection is open for as long as a writer of it is.
#[test]
fn a_reset_waits_for_a_writer_that_was_kept() {
    let (peer, mut client) = pair();
    let (sender, receiver) = std::sync::mpsc::channel();
    peer.then_within(move |conn| sender.send(conn.writer()), LONG)
        .reset();
    peer.join().unwrap();
    client.set_nonblocking(true).unwrap();
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    drop(receiver.recv().unwrap());
    let error = client.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_half_close_by_the_server() {
    let (peer, mut client) = pair();
    peer.shutdown_write()
        .expect_bytes_within("still here", LONG);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    client.write_all(b"still here").unwrap();
    drop(client);
    peer.join().unwrap();
}

#[test]
fn data_after_a_half_close_by_the_server() {
    let (peer, client) = pair();
    peer.shutdown_write()
        .send_in_pieces_within("hello", 2, Duration::ZERO, LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 3, send_in_pieces(\"hello\", 2, 0ns) failed",
            line,
            "shutdown_write has closed the sending side before: 0 of 5 bytes were sent"
        )
    );
}

#[test]
fn a_second_connection() {
    let (peer, client) = pair();
    peer.expect_bytes_within("Hello", LONG);
    let line = line!() - 1;
    let second = connect(peer.local_addr());
    let clients = [client.local_addr().unwrap(), second.local_addr().unwrap()];
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &clients),
        full(
            "failed during instruction 2, expect_bytes(\"Hello\")",
            line,
            "a second connection came, from SECOND, while there was one from CLIENT already; \
             expect_connections takes several at once"
        )
    );
    wait_end(&client);
    wait_end(&second);
}

#[test]
fn a_second_connection_while_nothing_is_expected() {
    let (peer, _client) = pair();
    peer.join().unwrap();
    let second = connect(peer.local_addr());
    wait_end(&second);
    let error = failure(&peer).to_string();
    assert!(
        error.contains(": failed after instruction 1, expect_connect\n"),
        "{error}"
    );
    assert!(error.contains("a second connection came, from "), "{error}");
}

#[test]
fn a_connection_that_is_left_over() {
    let (peer, client) = pair();
    peer.expect_disconnect_within(LONG);
    drop(client);
    peer.join().unwrap();
    let second = connect(peer.local_addr());
    let (server, clients) = (peer.local_addr(), [second.local_addr().unwrap()]);
    let text = told_of(&super::panic_of(|| drop(peer)), server, &clients);
    assert!(
        text.ends_with(
            "\n  a connection that nobody expected, from CLIENT: the script ended without an \
             expect_connect for it"
        ),
        "{text}"
    );
}

/// It was cut off by the script itself, and its reconnect logic knows no better.
#[test]
fn a_client_that_was_cut_off_may_be_left_over() {
    let (peer, client) = pair();
    peer.disconnect();
    wait_end(&client);
    let _second = connect(peer.local_addr());
    drop(peer);
}

/// It would wait for ever, and the test with it.
#[test]
fn a_client_that_was_cut_off_and_waits() {
    let (peer, client) = pair();
    peer.reset();
    let line = line!() - 1;
    wait_end(&client);
    let again = connect(peer.local_addr());
    assert_eq!(wait_end(&again), b"");
    assert_eq!(
        told(&peer, &again, &failure(&peer)),
        full(
            "failed after instruction 2, reset",
            line,
            "a connection that nobody expected, from CLIENT: no expect_connect was queued for it \
             within 1s"
        )
    );
}

/// The script may keep a client waiting for longer than it may wait unexpected, and a client that has
/// done all it had to do waits for nothing.
#[test]
fn clients_that_are_claimed_late() {
    let over = Duration::from_millis(1100);
    let (peer, client) = pair();
    peer.disconnect().pause(over).expect_connect_within(LONG);
    wait_end(&client);
    let again = connect(peer.local_addr());
    peer.disconnect().join().unwrap();
    assert_eq!(wait_end(&again), b"");

    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    let mut client = connect(peer.local_addr());
    client.write_all(b"all").unwrap();
    drop(client);
    peer.pause(over).join().unwrap();
    peer.expect_connect().expect_bytes("all");
    peer.join().unwrap();
}

#[test]
fn no_connection() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_no_connection(SHORT).join().unwrap();
    peer.expect_no_connection(LONG);
    let line = line!() - 1;
    let client = connect(peer.local_addr());
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_no_connection(30s) failed",
            line,
            "a connection came, from CLIENT, where none was expected for 30s"
        )
    );
    wait_end(&client);
}

/// One that waits already counts, as data does in a silence.
#[test]
fn no_connection_but_one_that_waits() {
    let (peer, client) = pair();
    peer.disconnect();
    wait_end(&client);
    let _again = connect(peer.local_addr());
    peer.expect_no_connection(Duration::ZERO);
    let message = failure(&peer).message().to_owned();
    assert!(
        message.ends_with(" where none was expected for 0ns"),
        "{message}"
    );
}

#[test]
fn a_client_that_comes_back() {
    let (peer, client) = pair();
    for _ in 0..50 {
        peer.expect_disconnect_within(LONG)
            .expect_connect_within(LONG);
    }
    let mut client = Some(client);
    for _ in 0..50 {
        drop(client.take());
        client = Some(connect(peer.local_addr()));
    }
    drop(client);
    peer.join().unwrap();
}

#[test]
fn a_client_that_comes_back_before_it_is_expected() {
    let (peer, client) = pair();
    peer.disconnect().join().unwrap();
    drop(client);
    let mut client = connect(peer.local_addr());
    client.write_all(b"again").unwrap();
    peer.expect_connect().expect_bytes_within("again", LONG);
    peer.join().unwrap();
    drop(client);
}
