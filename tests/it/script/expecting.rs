//! What the client has to send.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use loopback::{Framing, Match};

use super::{failure, full, pair, told, wait_end};
use crate::support::LONG;

const SHORT: Duration = Duration::from_millis(20);

#[test]
fn everything_that_can_be_expected() {
    let (peer, mut client) = pair();
    peer.expect_bytes_within("bytes", LONG)
        .expect_line_within("a line", LONG)
        .expect_line_within("another\r\n", LONG)
        .expect_frame_within("payload", LONG)
        .expect_frame_within(Framing::U8.frame("1"), LONG)
        .expect_frame_within(Framing::U16Be.frame("2"), LONG)
        .expect_frame_within(Framing::U16Le.frame("2"), LONG)
        .expect_frame_within(Framing::U32Le.frame("4"), LONG)
        .expect_frame_within(Framing::U64Be.frame("8"), LONG)
        .expect_frame_within(Framing::U64Le.frame("8"), LONG)
        .expect_frame_within(Framing::delimiter("\0").frame("until a zero"), LONG)
        .expect_match_within(digits, LONG)
        .expect_bytes_within("rest", LONG)
        .expect_disconnect_within(LONG);
    let all = b"bytesa line\nanother\r\n\0\0\0\x07payload\x011\0\x012\x01\x002\x01\0\0\x004\
                \0\0\0\0\0\0\0\x018\x01\0\0\0\0\0\0\x008until a zero\x0012345;rest";
    // In pieces of every size the same is expected.
    for piece in all.chunks(7) {
        client.write_all(piece).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    peer.join().unwrap();
    assert_eq!(wait_end(&client), b"");
}

/// Digits, and a semicolon.
fn digits(came: &[u8]) -> Match {
    match came.iter().position(|byte| !byte.is_ascii_digit()) {
        None => Match::NeedMore,
        Some(at) if came[at] == b';' => Match::Matched(at + 1),
        Some(_) => Match::mismatch("only digits may come before the semicolon"),
    }
}

#[test]
fn a_message_in_single_bytes_is_the_same_message() {
    let (peer, mut client) = pair();
    peer.expect_frame_within("payload", LONG)
        .expect_match_within(digits, LONG)
        .expect_line_within("line", LONG);
    for byte in b"\0\0\0\x07payload123;line\r\n" {
        client.write_all(&[*byte]).unwrap();
    }
    drop(client);
    peer.join().unwrap();
}

#[test]
fn bytes_that_do_not_come() {
    let (peer, mut client) = pair();
    peer.expect_bytes_within("Hello, world!", SHORT);
    let line = line!() - 1;
    let error = failure(&peer);
    assert_eq!(
        told(&peer, &client, &error),
        full(
            "instruction 2, expect_bytes(\"Hello, world!\") failed",
            line,
            "timed out after 20ms waiting for bytes from CLIENT; nothing came so far"
        )
    );
    assert_eq!(error.instruction(), Some(2));
    assert_eq!(error.location().unwrap().line(), line);
    assert!(error.message().starts_with("timed out after 20ms"));
    assert_eq!(format!("{error:?}"), error.to_string());
    // The client that waits for an answer goes on.
    assert_eq!(wait_end(&client), b"");
    let _ = client.write_all(b"late");
}

#[test]
fn bytes_that_come_in_part() {
    let (peer, mut client) = pair();
    client.write_all(b"Hello").unwrap();
    peer.expect_bytes_within("Hello, world!", Duration::from_millis(300));
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_bytes(\"Hello, world!\") failed",
            line,
            "timed out after 300ms waiting for bytes from CLIENT; 5 bytes came so far: \"Hello\""
        )
    );
}

#[test]
fn wrong_bytes() {
    let (peer, mut client) = pair();
    client.write_all(b"Hello, World!").unwrap();
    peer.expect_bytes_within("Hello, world!", LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_bytes(\"Hello, world!\") failed",
            line,
            &format!(
                "the first difference is at offset 7: expected 77 \"w\", received 57 \"W\"\n    \
               expected  00000000  48 65 6c 6c 6f 2c 20 77 6f 72 6c 64 21           |Hello, world!|\n    \
               received  00000000  48 65 6c 6c 6f 2c 20 57 6f 72 6c 64 21           |Hello, World!|\n    \
             {0:41}^^{0:34}^",
                ""
            )
        )
    );
}

#[test]
fn a_wrong_line() {
    let (peer, mut client) = pair();
    client.write_all(b"QUIT now\r\nmore").unwrap();
    peer.expect_line_within("QUIT", LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_line(\"QUIT\") failed",
            line,
            &format!(
                "the first difference is at offset 4: expected the end, received 20 \" \"\n    \
               expected  00000000  51 55 49 54                                      |QUIT|\n    \
               received  00000000  51 55 49 54 20 6e 6f 77                          |QUIT now|\n    \
             {0:32}^^{0:40}^",
                ""
            )
        )
    );
}

#[test]
fn a_line_without_its_end() {
    let (peer, mut client) = pair();
    client.write_all(b"QUIT").unwrap();
    peer.expect_line_within("QUIT", Duration::from_millis(300));
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_line(\"QUIT\") failed",
            line,
            "timed out after 300ms waiting for a line from CLIENT; 4 bytes came so far: \"QUIT\""
        )
    );
}

/// How much of it came is told, whatever that is.
#[test]
fn a_frame_in_part() {
    let cases: [(&[u8], &str); 4] = [
        (b"", "nothing of it came"),
        (b"\0\0\0", "3 of the 4 bytes of its length came"),
        (b"\0\0\0\x05", "its length and 0 of its 5 bytes came"),
        (b"\0\0\0\x05hel", "its length and 3 of its 5 bytes came"),
    ];
    for (part, how_much) in cases {
        let (peer, mut client) = pair();
        client.write_all(part).unwrap();
        peer.expect_frame_within("hello", Duration::from_millis(300));
        let line = line!() - 1;
        assert_eq!(
            told(&peer, &client, &failure(&peer)),
            format!(
                "scripted server on SERVER: instruction 2, expect_frame(\"hello\") failed\n  \
                 queued at expecting.rs:{line}:14\n  \
                 timed out after 300ms waiting for a frame from CLIENT; {how_much}"
            )
        );
    }
}

#[test]
fn a_wrong_frame() {
    let (peer, mut client) = pair();
    client.write_all(b"\0\0\0\x04help").unwrap();
    peer.expect_frame_within("hello", LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_frame(\"hello\") failed",
            line,
            &format!(
                "a frame of 4 bytes came, where one of 5 bytes was expected; \
             the first difference is at offset 3: expected 6c \"l\", received 70 \"p\"\n    \
               expected  00000000  68 65 6c 6c 6f                                   |hello|\n    \
               received  00000000  68 65 6c 70                                      |help|\n    \
             {0:29}^^{0:42}^",
                ""
            )
        )
    );
}

#[test]
fn frames_that_cannot_be() {
    let (peer, mut client) = pair();
    client.write_all(b"\xff\xff\xff\xff").unwrap();
    peer.expect_frame_within("hello", LONG);
    assert_eq!(
        failure(&peer).message(),
        "its 4-byte big-endian length is 4294967295, where 5 was expected; of its payload, nothing came \
         so far"
    );

    // Its length is enough: the rest may never come.
    let (peer, mut client) = pair();
    client.write_all(b"\x06\0hel").unwrap();
    peer.expect_frame_within(Framing::U16Le.frame("hello"), LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_frame(Framing::U16Le.frame(\"hello\")) failed",
            line,
            "its 2-byte little-endian length is 6, where 5 was expected; of its payload, 3 bytes came so \
             far: \"hel\""
        )
    );

    // All of a frame that is none, for the client counts in four bytes.
    let (peer, mut client) = pair();
    client.write_all(b"\0\0\0\x05hello").unwrap();
    peer.expect_frame_within((Framing::U16, "hello"), LONG);
    let text = failure(&peer).message().to_owned();
    assert!(
        text.starts_with(
            "a frame of 0 bytes came, where one of 5 bytes was expected (as a 4-byte big-endian length \
             it would be 5); "
        ),
        "{text}"
    );

    let (peer, _client) = pair();
    peer.expect_frame_within(Framing::delimiter("").frame("x"), LONG);
    assert_eq!(
        failure(&peer).message(),
        "the delimiter of the frame is empty"
    );
}

#[test]
fn a_mismatch() {
    let (peer, mut client) = pair();
    client.write_all(b"12x").unwrap();
    peer.expect_match_within(digits, LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_match failed",
            line,
            "only digits may come before the semicolon\n  \
             3 bytes came so far: \"12x\""
        )
    );
}

#[test]
fn a_match_that_does_not_come() {
    let (peer, mut client) = pair();
    client.write_all(b"1").unwrap();
    peer.expect_match_within(digits, Duration::from_millis(300));
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "timed out after 300ms waiting for a match from CLIENT; 1 byte came so far: \"1\""
    );
}

/// A closure may look at the first byte without asking whether there is one.
#[test]
fn a_matcher_is_never_asked_about_nothing() {
    let first = |came: &[u8]| match came[0] {
        b'+' => Match::Matched(1),
        _ => Match::mismatch("no plus"),
    };
    let (peer, mut client) = pair();
    peer.expect_match_within(first, LONG)
        .expect_match_within(first, LONG);
    client.write_all(b"+").unwrap();
    client.write_all(b"+").unwrap();
    peer.join().unwrap();
    peer.expect_match_within(first, SHORT);
    assert_eq!(
        told(&peer, &client, &failure(&peer).message()),
        "timed out after 20ms waiting for a match from CLIENT; nothing came so far"
    );

    let (peer, client) = pair();
    peer.expect_match_within(first, LONG);
    drop(client);
    assert_eq!(
        failure(&peer).message(),
        "the client closed early; nothing came so far"
    );
}

#[test]
fn matchers_that_misbehave() {
    let (peer, mut client) = pair();
    client.write_all(b"ab").unwrap();
    peer.expect_match_within(|_| Match::Matched(3), LONG);
    assert_eq!(
        failure(&peer).message(),
        "its closure matched 3 bytes, which are more than there are; 2 bytes came so far: \"ab\""
    );

    let (peer, mut client) = pair();
    client.write_all(b"ab").unwrap();
    peer.expect_match_within(|_| panic!("out of cheese\nredo from start"), LONG);
    let line = line!() - 1;
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_match failed",
            line,
            "its closure panicked: out of cheese\n  redo from start"
        )
    );
}

#[test]
fn a_silence() {
    let (peer, mut client) = pair();
    peer.expect_silence(SHORT).send_bytes_within("go on", LONG);
    let mut answer = [0; 5];
    std::io::Read::read_exact(&mut client, &mut answer).unwrap();
    drop(client);
    peer.join().unwrap();
}

#[test]
fn a_silence_that_is_broken() {
    let (peer, mut client) = pair();
    peer.expect_silence(LONG);
    let line = line!() - 1;
    client.write_all(b"psst").unwrap();
    assert_eq!(
        told(&peer, &client, &failure(&peer)),
        full(
            "instruction 2, expect_silence(30s) failed",
            line,
            "data came in a silence of 30s; 4 bytes came so far: \"psst\""
        )
    );

    let (peer, client) = pair();
    peer.expect_silence(LONG);
    drop(client);
    assert_eq!(
        failure(&peer).message(),
        "the client closed in a silence of 30s"
    );

    let (peer, client) = pair();
    peer.expect_silence(LONG);
    super::reset(client);
    assert_eq!(
        failure(&peer).message(),
        "the client reset the connection, in a silence of 30s"
    );
}
