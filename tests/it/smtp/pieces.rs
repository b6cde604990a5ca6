//! Clients that write a message in small pieces, and wait for the system to acknowledge each.

use std::time::Instant;

use super::*;

/// The shortest delay of an acknowledgement is 40 ms on Linux. One message of many that takes less shows
/// that there was none, however loaded the machine is.
const NO_DELAY: Duration = Duration::from_millis(30);

#[track_caller]
fn assert_undelayed(pieces: &[&str], replies: usize) {
    let server = sink();
    let mut client = Client::ready(server.local_addr());
    client.stream.get_ref().set_nodelay(false).unwrap();
    let mut times = Vec::new();
    for _ in 0..40 {
        client.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n");
        assert_eq!(client.codes(), [250, 250]);
        let begun = Instant::now();
        for piece in pieces {
            client.send(piece);
            if *piece == "DATA\r\n" {
                assert_eq!(client.code(), 354);
            }
        }
        for _ in 0..replies {
            assert_eq!(client.code(), 250);
        }
        times.push(begun.elapsed());
    }
    // A new connection's first segments are acknowledged at once anyway.
    let times = &times[20..];
    assert!(times.iter().any(|time| *time < NO_DELAY), "{times:?}");
}

#[test]
fn a_text_and_its_end_in_two_writes() {
    assert_undelayed(&["DATA\r\n", "Subject: x\r\n\r\ntext", "\r\n.\r\n"], 1);
}

#[test]
fn a_chunk_behind_its_command() {
    assert_undelayed(&["BDAT 4\r\n", "text", "BDAT 4 LAST\r\n", "more"], 2);
}

#[test]
fn a_command_in_two_writes() {
    assert_undelayed(&["NO", "OP\r\n", "RS", "ET\r\n"], 2);
}
