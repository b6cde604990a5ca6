//! DATA (RFC 5321 sections 3.3, 4.1.1.4 and 4.5.2).

use std::net::Shutdown;

use super::*;

#[test]
fn s24_one_reply_and_the_next_transaction_needs_no_reset() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.say("one\r\n.", 250);
    client.say("RCPT TO:<a@b>", 503);
    client.say("MAIL FROM:<c@d>", 250);
    client.say("RCPT TO:<e@f>", 250);
    client.say("DATA", 354);
    client.say("two\r\n.", 250);
    assert_eq!(next_text(&server), "one\r\n");
    let second = server.take_message(LONG).unwrap();
    assert_eq!((second.from(), second.to()), ("c@d", vec!["e@f"]));
    assert_eq!(second.raw(), b"two\r\n");
}

#[test]
fn s25_dots_are_unstuffed() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.say("..x\r\n.x\r\n..\r\na.\r\n.", 250);
    assert_eq!(next_text(&server), ".x\r\nx\r\n.\r\na.\r\n");
}

#[test]
fn s26_nothing_else_ends_the_data() {
    let server = sink();
    for end in ["\n.\r\n", "\n.\n", "\r.\r", "\r\n.\n", "\r\n.\r", "\r.\r\n"] {
        let mut client = Client::in_transaction(server.local_addr());
        client.say("DATA", 354);
        // Had it ended, there would be a 500 for "more" before the 250.
        client.send(format!("text{end}more\r\n"));
        client.say("MAIL FROM:<evil@x>\r\n.", 250);
        client.say("QUIT", 221);
        let expected = format!("text{end}more\r\nMAIL FROM:<evil@x>\r\n").replace("\r\n.", "\r\n");
        assert_eq!(next_text(&server), expected, "{end:?}");
    }
    assert!(server.messages().is_empty());
}

#[test]
fn s27_an_end_in_pieces_is_found() {
    let server = sink();
    let mut client = Client::ready(server.local_addr());
    let text = "x\r\n.\r\n";
    for at in 0..=text.len() {
        client.say("MAIL FROM:<a@b>", 250);
        client.say("RCPT TO:<a@b>", 250);
        client.say("DATA", 354);
        client.send(&text[..at]);
        client.send(&text[at..]);
        assert_eq!(client.code(), 250, "at {at}");
        assert_eq!(next_text(&server), "x\r\n");
    }
}

#[test]
fn s28_an_empty_message() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.say(".", 250);
    assert_eq!(next_text(&server), "");
}

#[test]
fn s29_text_lines_of_a_thousand_octets() {
    let server = sink();
    let line = "x".repeat(998);
    for (text, code) in [
        (line.clone(), 250),
        (format!("..{}", &line[1..]), 250),
        (line + "x", 500),
    ] {
        let mut client = Client::in_transaction(server.local_addr());
        client.say("DATA", 354);
        client.send(format!("{text}\r\n"));
        // Refused after the end only: this line still belongs to the message.
        client.say("NOOP\r\n.", code);
        client.say("NOOP", 250);
    }
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn s30_a_client_that_goes_in_mid_data() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.say("kept\r\n.", 250);
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<a@b>", 250);
    client.say("DATA", 354);
    client.send("lost\r\n");
    drop(client);
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.say("later\r\n.", 250);
    assert_eq!(next_text(&server), "kept\r\n");
    assert_eq!(next_text(&server), "later\r\n");
    assert!(server.messages().is_empty());
}

#[test]
fn a_client_that_has_gone_already_is_noticed() {
    let builder = TestSmtpServer::builder();
    let bound = builder.bind("127.0.0.1:0", |_: &Message| {}).unwrap();
    let mut client = TcpStream::connect(bound.local_addr()).unwrap();
    client.write_all(b"EHLO c\r\nNOOP\r\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    // The server finds all of it at once, the end too.
    let server = bound.start().unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    let mut said = String::new();
    client.read_to_string(&mut said).unwrap();
    assert!(said.ends_with("\r\n250 2.0.0 OK\r\n"), "{said}");
    drop(server);
}

#[test]
fn s33_data_after_refused_recipients_only() {
    let server = sink_with(|builder| builder.on_rcpt(|_| false));
    let mut client = Client::ready(server.local_addr());
    client.send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n");
    assert_eq!(client.codes(), [250, 550, 554]);
    client.say("NOOP", 250);
    assert!(server.messages().is_empty());
}

#[test]
fn a_large_message_comes_whole() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    let text: String = (0..100_000)
        .map(|number| format!(".line {number}\r\n"))
        .collect();
    client.send(text.replace("\r\n.", "\r\n..").replacen('.', "..", 1));
    client.say(".", 250);
    assert_eq!(next_text(&server), text);
}

#[test]
fn the_transcript_shows_how_a_client_went() {
    for (sent, shown) in [
        (
            "DATA\r\nSubject: x\r\n\r\nhel",
            "C: (17 octets of an unfinished message, which end in \"Subject: x\\r\\n\\r\\nhel\")\n\
             C: (closed the connection)\n",
        ),
        (
            "BDAT 9\r\nabc",
            "C: (3 octets of an unfinished message, which end in \"abc\")\nC: (closed the connection)\n",
        ),
        (
            "RCPT TO:",
            "C: (an unfinished line)\nC: (closed the connection)\n",
        ),
        ("", "C: (closed the connection)\n"),
    ] {
        let server = sink();
        let mut client = Client::in_transaction(server.local_addr());
        client.send(sent);
        let stream = client.stream.get_ref();
        stream.shutdown(Shutdown::Write).unwrap();
        // The server closes when it has seen the end, and its transcript is whole by then.
        client.stream.read_to_string(&mut String::new()).unwrap();
        let said = server.transcripts().concat();
        assert!(said.ends_with(shown), "{sent}: {said}");
    }
}

/// What other servers refuse or misread is marked, and refused where the test wants that.
#[test]
fn irregular_octets_are_marked_or_refused() {
    use loopback::smtp::Irregularity::{BareCr, BareLf, Nul, Undeclared8Bit};

    for (body, declared, found, told) in [
        ("\r\na\nb\r\n", "", &[BareLf(3)][..], "a bare LF at octet 3"),
        ("\r\na\rb\r\n", "", &[BareCr(3)], "a bare CR at octet 3"),
        (
            "\r\na\0b\r\n",
            " BODY=8BITMIME",
            &[Nul(3)],
            "a NUL at octet 3",
        ),
        (
            "\r\nh\u{e4}llo\r\n",
            " BODY=7BIT",
            &[Undeclared8Bit(3)],
            "an 8-bit octet that BODY did not declare at octet 3",
        ),
        ("\r\nh\u{e4}llo\r\n", " BODY=8BITMIME", &[], ""),
        ("\r\nh\u{e4}llo\r\n", " SMTPUTF8", &[], ""),
    ] {
        let deliver = |server: &TestSmtpServer, by_chunk: bool| {
            let mut client = Client::ready(server.local_addr());
            client.say(&format!("MAIL FROM:<a@b>{declared}"), 250);
            client.say("RCPT TO:<c@d>", 250);
            if by_chunk {
                client.send(format!("BDAT {} LAST\r\n{body}", body.len()));
            } else {
                client.say("DATA", 354);
                client.send(format!("{body}.\r\n"));
            }
            client.reply().to_owned()
        };
        for by_chunk in [false, true] {
            let server = sink();
            assert!(deliver(&server, by_chunk).starts_with("250"), "{body:?}");
            let message = server.take_message(LONG).unwrap();
            assert_eq!(message.irregularities(), found, "{body:?}");

            let strict = sink_with(|builder| builder.refuse_irregular());
            let reply = deliver(&strict, by_chunk);
            match found.is_empty() {
                true => assert!(reply.starts_with("250"), "{reply}"),
                false => {
                    assert_eq!(
                        reply.trim_end(),
                        format!("554 5.6.0 the message has {told}")
                    );
                    assert!(strict.messages().is_empty());
                }
            }
        }
    }
    // Binary is whatever it is.
    let strict = sink_with(|builder| builder.refuse_irregular());
    let mut client = Client::ready(strict.local_addr());
    client.say("MAIL FROM:<a@b> BODY=BINARYMIME", 250);
    client.say("RCPT TO:<c@d>", 250);
    client.send("BDAT 4 LAST\r\n\0\n\r\u{7f}");
    assert_eq!(client.code(), 250);
}
