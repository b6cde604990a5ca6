//! What the client is sent, pauses, and closures.

use std::io::{BufRead, Read, Write};
use std::time::{Duration, Instant};

use loopback::Framing;

use super::{failure, full, pair, told, wait_end};
use crate::support::LONG;

#[test]
fn everything_that_can_be_sent() {
    let (peer, client) = pair();
    peer.send_bytes_within("bytes", LONG)
        .send_frame_within("payload", LONG)
        .send_frame_within(Framing::U16Le.frame("2"), LONG)
        .send_frame_within(Framing::delimiter("\n").frame("line"), LONG)
        .send_in_pieces_within("pieces", 4, Duration::from_millis(1), LONG)
        .pause(Duration::from_millis(1))
        .then_within(|conn| conn.write_all(b"anything"), LONG)
        .shutdown_write()
        .expect_disconnect_within(LONG);
    assert_eq!(
        wait_end(&client),
        b"bytes\0\0\0\x07payload\x01\x002line\npiecesanything"
    );
    drop(client);
    peer.join().unwrap();
}

#[test]
fn pieces_have_their_pauses() {
    let (peer, mut client) = pair();
    let begun = Instant::now();
    peer.send_in_pieces("abcde", 2, Duration::from_millis(20));
    let mut all = [0; 5];
    client.read_exact(&mut all).unwrap();
    assert_eq!(&all, b"abcde");
    assert!(begun.elapsed() >= Duration::from_millis(40));
    peer.send_in_pieces("", 3, Duration::ZERO);
    drop(client);
    peer.join().unwrap();
}

#[test]
fn a_pause_lasts() {
    let (peer, client) = pair();
    peer.join().unwrap();
    let begun = Instant::now();
    peer.pause(Duration::from_millis(30)).disconnect();
    wait_end(&client);
    assert!(begun.elapsed() >= Duration::from_millis(30));
    peer.join().unwrap();
}

#[test]
fn a_client_that_does_not_read() {
    let (peer, client) = pair();
    peer.send_bytes_within(vec![b'x'; 64 << 20], Duration::from_millis(300));
    let line = line!() - 1;
    let text = told(&peer, &client, &failure(&peer));
    let begin = full(
        &format!(
            "instruction 2, send_bytes(\"{}\"...) failed",
            "x".repeat(64)
        ),
        line,
        "timed out after 300ms waiting for the client to read; the system took ",
    );
    assert!(text.starts_with(&begin), "{text}");
    assert!(text.ends_with(" of 67108864 bytes"), "{text}");
}

#[test]
fn a_client_that_closes_while_it_is_sent_to() {
    let (peer, client) = pair();
    drop(client);
    // The first is answered by a reset, the next finds the connection broken.
    peer.send_in_pieces_within([b'x'; 1000], 1, Duration::from_millis(1), LONG);
    let message = failure(&peer).message().to_owned();
    let known = [
        "the client had closed before all was sent to it: ",
        "the client reset ",
    ];
    assert!(
        known.iter().any(|known| message.starts_with(known)),
        "{message}"
    );
}

/// It fails at once, not at its turn.
#[test]
fn a_frame_that_cannot_be_sent() {
    let (peer, client) = pair();
    peer.pause(LONG);
    peer.send_frame(Framing::U8.frame([0; 256]));
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            &format!(
                "instruction 3, send_frame(Framing::U8.frame(\"{}\"...)) cannot be queued",
                "\\x00".repeat(64)
            ),
            line,
            "a payload of 256 bytes does not fit a length of 1 byte"
        )
    );
}

/// It reads what the last instruction left, and leaves what it does not read.
#[test]
fn a_closure_takes_part_in_the_stream() {
    let (peer, mut client) = pair();
    peer.expect_bytes_within("a", LONG)
        .then_within(
            |conn| {
                let line = conn.read_line()?;
                conn.write_all(line.to_uppercase().as_bytes())?;
                conn.fill_buf().map(drop)
            },
            LONG,
        )
        .expect_bytes_within("end", LONG);
    client.write_all(b"abc\nend").unwrap();
    let mut answer = [0; 3];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"BC\n");
    drop(client);
    peer.join().unwrap();
}

/// It runs once, so what it has captured need not be shared, and can be given away.
#[test]
fn a_closure_gives_away_what_it_has() {
    let (peer, mut client) = pair();
    let (sender, receiver) = std::sync::mpsc::channel();
    let text = String::from("hello");
    peer.then_within(
        move |conn| -> std::io::Result<()> {
            conn.write_all(text.as_bytes())?;
            sender.send(text).map_err(std::io::Error::other)
        },
        LONG,
    );
    client.read_exact(&mut [0; 5]).unwrap();
    assert_eq!(receiver.recv_timeout(LONG).unwrap(), "hello");
    // With the closure the sender has gone.
    peer.join().unwrap();
    receiver.recv_timeout(LONG).unwrap_err();
    drop(client);
}

/// Nothing blocks the server's thread once it has ended.
#[test]
fn a_closure_leaves_the_connection_as_it_was() {
    let (peer, _client) = pair();
    let begun = Instant::now();
    peer.then_within(|_| (), LONG)
        .expect_bytes_within("never", Duration::from_millis(20));
    let message = failure(&peer).message().to_owned();
    assert!(
        message.starts_with("timed out after 20ms waiting for bytes"),
        "{message}"
    );
    assert!(begun.elapsed() < LONG / 2);
}

#[test]
fn a_closure_that_panics() {
    let (peer, client) = pair();
    peer.then_within(|_| assert_eq!(1 + 1, 3, "arithmetic"), LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, then failed",
            line,
            "its closure panicked: assertion `left == right` failed: arithmetic\n    \
               left: 2\n   right: 3"
        )
    );
    wait_end(&client);
}

#[test]
fn a_closure_that_fails() {
    let (peer, client) = pair();
    peer.then_within(|_| Err::<(), _>("no such user"), LONG);
    assert_eq!(failure(&peer).message(), "its closure failed: no such user");
    wait_end(&client);

    let (peer, client) = pair();
    peer.then_within(|conn| conn.read_line().map(drop), Duration::from_millis(50));
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "its closure failed: timed out after 50ms waiting for a line from CLIENT; \
         nothing came so far"
    );
}

#[test]
fn a_closure_that_takes_too_long() {
    let (peer, _client) = pair();
    peer.then_within(
        |conn| conn.pause(Duration::from_millis(30)),
        Duration::from_millis(10),
    );
    assert_eq!(
        failure(&peer).message(),
        "its closure took longer than 10ms"
    );
}

/// A join does not wait for it for ever, and neither does the drop.
#[test]
fn a_closure_that_does_not_end() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (peer, client) = pair();
    peer.then_within(
        move |_| held.recv().unwrap_or(()),
        Duration::from_millis(10),
    );
    let line = line!() - 4;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, then failed",
            line,
            "its closure still runs 1.01s after it began; its limit is 10ms"
        )
    );
    // The client goes on, though the closure does not end.
    assert_eq!(wait_end(&client), b"");
    drop(release);
    drop(peer);
}

/// What can never be done fails at once, at the caller's line.
#[test]
fn instructions_that_cannot_be() {
    let (peer, client) = pair();
    peer.send_in_pieces("x", 0, Duration::ZERO);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, send_in_pieces(\"x\", 0, 0ns) cannot be queued",
            line,
            "pieces of 0 bytes never end: the size is at least 1"
        )
    );
    for text in ["a\nb", "a\nb\n", "\n\n"] {
        let (peer, _client) = pair();
        peer.expect_line(text);
        assert_eq!(
            failure(&peer).message(),
            "it is more than one line: queue an expect_line for each"
        );
    }
    let (peer, _client) = pair();
    peer.expect_connections(0);
    assert_eq!(
        failure(&peer).message(),
        "it expects no client: expect_no_connection does that"
    );
}

#[test]
fn a_client_that_half_closes_is_still_sent_to() {
    let (peer, mut client) = pair();
    peer.expect_bytes_within("all", LONG)
        .expect_half_close_within(LONG)
        .expect_silence(Duration::from_millis(1))
        .send_bytes_within("answer", LONG)
        .disconnect();
    client.write_all(b"all").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(wait_end(&client), b"answer");
    peer.join().unwrap();
}

#[test]
fn a_half_close_that_does_not_come() {
    let (peer, client) = pair();
    peer.expect_half_close_within(Duration::from_millis(20));
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "timed out after 20ms waiting for the client to close its sending side; \
         CLIENT can still send"
    );
    let (peer, mut client) = pair();
    client.write_all(b"more").unwrap();
    peer.expect_half_close_within(LONG);
    assert_eq!(
        failure(&peer).message(),
        "data came where a half-close was expected; 4 bytes came so far: \"more\""
    );
}
