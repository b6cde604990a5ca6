//! LMTP (RFC 2033).

use loopback::smtp::{Recipient, Reply, Stage};

use super::*;

fn server(options: impl FnOnce(Builder<Smtp>) -> Builder<Smtp>) -> TestSmtpServer {
    sink_with(|builder| options(builder.lmtp()))
}

/// Connects, and has a transaction with these recipients.
#[track_caller]
fn transaction(server: &TestSmtpServer, recipients: &[&str]) -> Client {
    let mut client = Client::connect(server.local_addr());
    assert!(client.reply().starts_with("220 localhost LMTP"));
    client.say("LHLO c", 250);
    client.say("MAIL FROM:<a@b>", 250);
    for recipient in recipients {
        client.say(&format!("RCPT TO:<{recipient}>"), 250);
    }
    client
}

#[test]
fn lhlo_is_the_only_greeting() {
    let server = server(|builder| builder);
    let mut client = Client::greeted(server.local_addr());
    client.say("EHLO c", 500);
    client.say("HELO c", 500);
    client.say("MAIL FROM:<a@b>", 503);
    client.say("LHLO", 501);
    assert!(client.say("LHLO c", 250).contains("PIPELINING"));
    client.say("MAIL FROM:<a@b> SIZE=1", 250);
    // And SMTP does not know it.
    Client::greeted(sink().local_addr()).say("LHLO c", 500);
}

#[test]
fn one_reply_for_each_recipient() {
    let server = server(|builder| {
        builder
            .on_rcpt(|recipient| recipient.address() != "nobody@x")
            .on_delivery(|message, recipient: &Recipient| {
                assert_eq!(message.from(), "a@b");
                (recipient.address() == "full@x").then(|| Reply::new(452, "4.2.2 mailbox full"))
            })
    });
    for command in ["DATA\r\n", "BDAT 2\r\nx\n", ""] {
        let mut client = transaction(&server, &["one@x", "full@x"]);
        client.say("RCPT TO:<nobody@x>", 550);
        client.say("RCPT TO:<two@x>", 250);
        client.send(command);
        if command.is_empty() {
            client.send("BDAT 1 LAST\r\nx");
        } else if command.starts_with("BDAT") {
            assert_eq!(client.code(), 250);
            client.send("BDAT 0 LAST\r\n");
        } else {
            assert_eq!(client.code(), 354);
            client.send("x\r\n.\r\n");
        }
        assert_eq!(client.reply(), "250 2.0.0 message taken");
        assert_eq!(client.reply(), "452 4.2.2 mailbox full");
        assert_eq!(client.reply(), "250 2.0.0 message taken");
        client.say("NOOP", 250);
        let message = server.take_message(LONG).unwrap();
        assert_eq!(message.to(), ["one@x", "full@x", "two@x"]);
        let codes: Vec<u16> = message.replies().iter().map(Reply::code).collect();
        assert_eq!(codes, [250, 452, 250]);
        assert_eq!(message.reply().map(Reply::code), Some(250));
    }
}

#[test]
fn a_message_that_is_refused_is_refused_for_each() {
    let server = server(|builder| builder.max_message(4));
    let mut client = transaction(&server, &["one@x", "two@x"]);
    client.say("DATA", 354);
    client.send("12345\r\n.\r\nNOOP\r\n");
    assert_eq!(client.codes(), [552, 552, 250]);
    let mut client = transaction(&server, &["one@x", "two@x"]);
    client.send("BDAT 5 LAST\r\n12345NOOP\r\n");
    assert_eq!(client.codes(), [552, 552, 250]);
    // A chunk that is not the last has one reply.
    let mut client = transaction(&server, &["one@x", "two@x"]);
    client.send("BDAT 5\r\n12345NOOP\r\n");
    assert_eq!(client.codes(), [552, 250]);
}

#[test]
fn without_a_recipient_there_is_one_503() {
    let server = server(|builder| builder.on_rcpt(|_| false));
    let mut client = transaction(&server, &[]);
    client.say("RCPT TO:<one@x>", 550);
    client.say("DATA", 503);
    client.send("BDAT 4 LAST\r\nNOOPNOOP\r\n");
    assert_eq!(client.codes(), [503, 250]);
}

#[test]
fn a_set_reply_and_the_handlers_own() {
    let busy = || Reply::new(451, "4.3.0 later");
    let server = TestSmtpServer::builder()
        .lmtp()
        .reply_once(Stage::Delivery, 2, Reply::new(421, "4.3.2 going down"))
        .start("127.0.0.1:0", move |_: &Message| busy())
        .unwrap();
    let mut client = transaction(&server, &["one@x", "two@x", "three@x"]);
    client.say("DATA", 354);
    client.send(".\r\n");
    assert_eq!(client.codes(), [451, 421]);
    client.ended();
    let mut client = transaction(&server, &["one@x", "two@x"]);
    client.say("DATA", 354);
    client.send(".\r\n");
    assert_eq!(client.codes(), [451, 451]);
}

#[test]
fn a_hook_that_panics_refuses_its_recipient_only() {
    let mut server = TestSmtpServer::builder()
        .lmtp()
        .on_delivery(|_, recipient| assert_ne!(recipient.address(), "two@x", "not that one"))
        .sink("127.0.0.1:0")
        .unwrap();
    let mut client = transaction(&server, &["one@x", "two@x", "three@x"]);
    client.say("DATA", 354);
    client.send(".\r\n");
    assert_eq!(client.codes(), [250, 451, 250]);
    let error = server.stop(LONG).unwrap_err();
    assert!(error.to_string().contains("not that one"), "{error}");
}
