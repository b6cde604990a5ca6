//! Several connections to one server.

use std::io::{Read, Write};
use std::time::Duration;

use loopback::{Script, ScriptedTcpServer};

use super::{failure, full, told_of, wait_end};
use crate::support::{LONG, connect};

#[test]
fn each_connection_has_its_own_order() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connections_within(3, LONG);
    for index in 0..3 {
        peer.connection(index)
            .expect_bytes_within([b'0' + index as u8], LONG)
            .send_bytes_within([b'a' + index as u8], LONG)
            .expect_disconnect_within(LONG);
    }
    let mut clients: Vec<_> = (0..3).map(|_| connect(peer.local_addr())).collect();
    // The last one first: none waits for another.
    for index in (0..3).rev() {
        clients[index].write_all(&[b'0' + index as u8]).unwrap();
        let mut answer = [0];
        clients[index].read_exact(&mut answer).unwrap();
        assert_eq!(answer[0], b'a' + index as u8);
    }
    drop(clients);
    peer.join().unwrap();
}

#[test]
fn a_script_of_two() {
    let script = Script::new()
        .expect_connections_within(2, LONG)
        .expect_bytes_within("first", LONG)
        .connection(1)
        .expect_bytes_within("second", LONG);
    let peer = ScriptedTcpServer::run("127.0.0.1:0", &script).unwrap();
    let (mut first, mut second) = (connect(peer.local_addr()), connect(peer.local_addr()));
    second.write_all(b"second").unwrap();
    first.write_all(b"first").unwrap();
    peer.join().unwrap();
}

#[test]
fn one_of_several_comes_back() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connections_within(2, LONG);
    peer.connection(1).disconnect();
    let (first, second) = (connect(peer.local_addr()), connect(peer.local_addr()));
    wait_end(&second);
    let mut again = connect(peer.local_addr());
    again.write_all(b"again").unwrap();
    peer.connection(1)
        .expect_connect_within(LONG)
        .expect_bytes_within("again", LONG);
    peer.join().unwrap();
    drop((first, again));
}

/// Each round waits for the one before it to end on all of them.
#[test]
fn all_of_several_come_back() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    for round in [b"one", b"two"] {
        peer.expect_connections_within(2, LONG);
        for index in 0..2 {
            peer.connection(index)
                .expect_bytes_within(round, LONG)
                .disconnect();
        }
    }
    for round in [b"one", b"two"] {
        let clients = [connect(peer.local_addr()), connect(peer.local_addr())];
        for mut client in &clients {
            client.write_all(round).unwrap();
        }
        for client in &clients {
            assert_eq!(wait_end(client), b"");
        }
    }
    peer.join().unwrap();
}

/// Nothing is left to wait for ever, whether its connection will ever come or not.
#[test]
fn a_pause_needs_no_connection() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.connection(2).pause(Duration::ZERO);
    peer.join().unwrap();
    let client = connect(peer.local_addr());
    peer.connection(1)
        .pause(Duration::ZERO)
        .expect_connect_within(LONG)
        .disconnect();
    assert_eq!(wait_end(&client), b"");
    peer.join().unwrap();
}

#[test]
fn some_do_not_come() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    let client = connect(peer.local_addr());
    peer.expect_connections_within(3, Duration::from_millis(300));
    let line = line!() - 1;
    peer.connection(2).expect_bytes("never");
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &[]),
        full(
            "instruction 1, expect_connections(3) failed",
            line,
            "timed out after 300ms waiting for the clients to connect; 1 of 3 came"
        )
    );
    wait_end(&client);
}

#[test]
fn a_failure_names_its_connection() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connections_within(2, LONG);
    peer.connection(1)
        .expect_disconnect_within(Duration::from_millis(20));
    let line = line!() - 1;
    let (first, second) = (connect(peer.local_addr()), connect(peer.local_addr()));
    let clients = [first.local_addr().unwrap(), second.local_addr().unwrap()];
    assert_eq!(
        told_of(&failure(&peer).to_string(), peer.local_addr(), &clients),
        full(
            "instruction 2, connection(1).expect_disconnect failed",
            line,
            "timed out after 20ms waiting for the client to disconnect; SECOND is still connected"
        )
    );
    // All of them go on.
    wait_end(&first);
    wait_end(&second);
}

#[test]
fn one_more_than_expected() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connections_within(2, LONG);
    let clients: Vec<_> = (0..3).map(|_| connect(peer.local_addr())).collect();
    wait_end(&clients[2]);
    let addresses: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().unwrap())
        .collect();
    let text = told_of(&failure(&peer).to_string(), peer.local_addr(), &addresses);
    assert!(
        text.ends_with(
            "\n  one connection too many came, from THIRD, while there were those from CLIENT and \
             SECOND already"
        ),
        "{text}"
    );
}

#[test]
fn a_connection_that_nobody_expects() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.connection(1).send_bytes("x");
    assert_eq!(
        failure(&peer).message(),
        "there is no connection(1): neither its expect_connect nor an expect_connections of at \
         least 2 comes before it"
    );

    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.connection(usize::MAX).send_bytes("x");
    assert_eq!(
        failure(&peer).message(),
        "at most 10000 connections can be scripted"
    );
}
