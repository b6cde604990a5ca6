//! BDAT (RFC 3030).

use loopback::smtp::Extension;

use super::*;

#[test]
fn s41_chunks_are_raw_octets() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.send("BDAT 7\r\n.\r\n..\r\nNOOP\r\n");
    assert_eq!(client.codes(), [250, 250]);
    client.send("BDAT 3\r\na\n.");
    assert_eq!(client.code(), 250);
    client.say("BDAT 0 LAST", 250);
    assert_eq!(next_text(&server), ".\r\n..\r\na\n.");
    client.say("BDAT 0 LAST", 503);
}

#[test]
fn s41_a_chunk_in_pieces() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    for piece in ["BDAT 5 LA", "ST\r", "\n12", "345NO", "OP\r\n"] {
        client.send(piece);
    }
    assert_eq!(client.codes(), [250, 250]);
    assert_eq!(next_text(&server), "12345");
}

#[test]
fn s42_a_failed_chunk_is_consumed_before_the_reply() {
    let server = sink_with(|builder| builder.max_message(4));
    let mut client = Client::ready(server.local_addr());
    client.send("BDAT 6\r\nQUIT\r\n");
    assert_eq!(client.code(), 503);
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<a@b>", 250);
    client.send("BDAT 3\r\n123BDAT 2\r\n45BDAT 1 LAST\r\n6");
    assert_eq!(client.codes(), [250, 552, 503]);
    client.say("DATA", 503);
    client.say("RSET", 250);
    assert!(server.messages().is_empty());
}

#[test]
fn s42_out_of_order() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.send("BDAT 1\r\nx");
    assert_eq!(client.code(), 250);
    client.say("DATA", 503);
    client.say("RCPT TO:<late@x>", 503);
    client.say("BDAT 0 LAST", 250);
    client.send("BDAT 1 LAST\r\nx");
    assert_eq!(client.code(), 503);
    client.say("MAIL FROM:<a@b> BODY=BINARYMIME", 250);
    client.say("RCPT TO:<a@b>", 250);
    client.say("DATA", 503);
    client.send("BDAT 2 LAST\r\n\0\n");
    assert_eq!(client.code(), 250);
}

#[test]
fn a_malformed_or_unoffered_bdat() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("BDAT 0 FIRST", 501);
    let server = sink_with(|builder| builder.without(Extension::Chunking));
    let mut client = Client::in_transaction(server.local_addr());
    client.say("BDAT 0 LAST", 502);
    client.send("BDAT 6\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(client.codes(), [502, 250]);
    assert!(!client.say("EHLO c", 250).contains("BINARYMIME"));
}

/// RFC 3030 section 2: the octets follow, whatever the server thinks of the command.
#[test]
fn the_octets_of_a_chunk_that_is_refused_are_never_commands() {
    let long = format!("BDAT 7 {}", "x".repeat(600));
    for (command, code) in [
        ("BDAT 7 FIRST", 501),
        ("BDAT  7", 501),
        ("BDAT\t7", 501),
        ("BDAT 7 LAST LAST", 501),
        ("BDAT 7 \u{e9}", 501),
        ("BDAT 7 \0", 500),
        (&long, 500),
    ] {
        let server = sink();
        let mut client = Client::in_transaction(server.local_addr());
        client.send(format!("{command}\r\nRSET\r\n.NOOP\r\n"));
        assert_eq!(client.codes(), [code, 250], "{command:?}");
        // RSET has not run: the transaction is there, and has failed.
        client.say("DATA", 503);
        client.say("MAIL FROM:<a@b>", 503);
        client.say("RSET", 250);
        client.say("MAIL FROM:<a@b>", 250);
        assert!(server.messages().is_empty());
    }
    let refusing = sink_with(|builder| builder.on_connect(|_| false));
    let mut client = Client::connect(refusing.local_addr());
    client.send("BDAT 6\r\nQUIT\r\nNOOP\r\n");
    assert_eq!(client.codes(), [554, 503, 503]);
}

#[test]
fn a_chunk_that_cannot_be_counted_ends_the_connection() {
    let endless = format!("BDAT 7 {}", "x".repeat(20_000));
    for command in [
        "BDAT",
        "BDAT LAST",
        "BDAT +7",
        "BDAT -7",
        "BDAT 7LAST",
        "BDAT 10000000000000000000",
        "BDAT 99999999999999999999",
        "BDAT 7\nRSET",
        &endless,
    ] {
        let server = sink();
        let mut client = Client::in_transaction(server.local_addr());
        client.send(format!("{command}\r\nRSET\r\n.NOOP\r\n"));
        assert_eq!(client.code(), 501, "{command:.40?}");
        client.ended();
    }
}
