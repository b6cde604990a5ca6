//! Clients at their worst, and many servers at once.

use std::io::Write;
use std::time::Duration;

use loopback::{Match, Script, ScriptedTcpServer};

use super::{failure, pair, reset, wait_end};
use crate::support::{LONG, connect};

/// A flood fills no memory: what nobody expects is not read, and what is expected has its bound.
#[test]
fn a_flood() {
    let flood = |mut client: &std::net::TcpStream| {
        let piece = [b'x'; 64 * 1024];
        // Ends when the server gives up.
        while client.write_all(&piece).is_ok() {}
    };
    let (peer, client) = pair();
    peer.pause(Duration::from_millis(50))
        .expect_line_within("a line", LONG);
    flood(&client);
    let message = failure(&peer).message().to_owned();
    assert!(
        message.starts_with("there is no end of a line in "),
        "{message}"
    );
    let gathered: usize = message.split_whitespace().nth(8).unwrap().parse().unwrap();
    assert!(gathered < 1 << 20, "{message}");

    let (peer, client) = pair();
    let most = |came: &[u8]| match came.len() <= 1 << 20 {
        true => Match::NeedMore,
        false => Match::mismatch("it is more than the most"),
    };
    peer.pause(Duration::from_millis(50))
        .expect_match_within(most, LONG);
    flood(&client);
    let message = failure(&peer).message().to_owned();
    assert!(
        message.starts_with("no match in the first 1048576 bytes; "),
        "{message}"
    );
    assert!(message.len() < 300, "{message}");

    let (peer, client) = pair();
    peer.expect_disconnect_within(LONG);
    flood(&client);
    assert!(failure(&peer).message().len() < 300);
}

/// A client that has always more to be read gets no more time by that.
#[test]
fn an_endless_trickle() {
    let (peer, client) = pair();
    peer.join().unwrap();
    (&client).write_all(b"x").unwrap();
    let clients = client.try_clone().unwrap();
    let one_more = move |came: &[u8]| match (&clients).write_all(b"x") {
        Ok(()) if came.len() < 100 => Match::NeedMore,
        outcome => Match::mismatch(format!("{outcome:?}")),
    };
    peer.expect_match_within(one_more, Duration::ZERO);
    let message = failure(&peer).message().to_owned();
    assert!(
        message.starts_with("timed out after 0ns waiting for a match from "),
        "{message}"
    );
    wait_end(&client);
}

#[test]
fn a_message_of_many_megabytes() {
    let (peer, mut client) = pair();
    let message: Vec<u8> = (0..20 << 20).map(|at: u32| (at % 251) as u8).collect();
    peer.expect_bytes_within(message.clone(), 4 * LONG)
        .expect_frame_within(message.clone(), 4 * LONG);
    client.write_all(&message).unwrap();
    client.write_all(&(20u32 << 20).to_be_bytes()).unwrap();
    client.write_all(&message).unwrap();
    drop(client);
    peer.join().unwrap();
}

/// Whether it is accepted before its reset comes or not, the script knows of it.
#[test]
fn a_client_that_connects_and_resets_at_once() {
    for _ in 0..20 {
        let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
        reset(connect(peer.local_addr()));
        peer.expect_connect_within(LONG).expect_reset_within(LONG);
        peer.join().unwrap();
    }
}

#[test]
fn hundreds_at_once() {
    // All wait from the beginning, also the one whose client comes last.
    let all = LONG * 10;
    let script = Script::new()
        .expect_connect_within(all)
        .expect_line_within("hello", LONG)
        .send_bytes_within("bye", LONG)
        .expect_disconnect_within(LONG);
    let peers: Vec<_> = (0..200)
        .map(|_| ScriptedTcpServer::run("127.0.0.1:0", &script).unwrap())
        .collect();
    // One client after the other, for some systems give a process a thousand descriptors.
    for peer in &peers {
        let mut client = connect(peer.local_addr());
        client.write_all(b"hello\n").unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(wait_end(&client), b"bye");
    }
    for peer in &peers {
        peer.join().unwrap();
    }
}

#[test]
fn a_long_script() {
    let (peer, mut client) = pair();
    for _ in 0..10_000 {
        peer.expect_bytes_within("x", LONG);
    }
    client.write_all(&[b'x'; 10_000]).unwrap();
    drop(client);
    peer.join().unwrap();
}
