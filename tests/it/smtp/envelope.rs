//! Paths and parameters (RFC 5321 sections 4.1.2 and 4.1.1.11, RFC 1870, RFC 3461, RFC 6531).

use loopback::smtp::{BodyType, Extension, Notify, Ret};

use super::*;

/// Sends one message with these two commands.
fn send_one(server: &TestSmtpServer, mail: &str, rcpt: &str) -> std::sync::Arc<Message> {
    let mut client = Client::ready(server.local_addr());
    client.say(mail, 250);
    client.say(rcpt, 250);
    client.say("DATA", 354);
    client.say(".", 250);
    server.take_message(LONG).unwrap()
}

#[test]
fn s17_the_empty_sender() {
    let message = send_one(&sink(), "MAIL FROM:<>", "RCPT TO:<bob@example.com>");
    assert_eq!(message.from(), "");
}

#[test]
fn s18_postmaster_needs_no_domain() {
    let server = sink();
    for name in ["postmaster", "Postmaster", "POSTMASTER"] {
        let message = send_one(&server, "MAIL FROM:<>", &format!("RCPT TO:<{name}>"));
        assert_eq!(message.to(), [name]);
    }
}

#[test]
fn s19_a_source_route_is_dropped() {
    let message = send_one(&sink(), "MAIL FROM:<@x:y@z>", "RCPT TO:<@a,@b:u@c>");
    assert_eq!((message.from(), message.to()), ("y@z", vec!["u@c"]));
}

#[test]
fn s20_quoted_names_and_address_literals() {
    let server = sink();
    for address in ["\"a b\"@c", "u@[127.0.0.1]", "u@[IPv6:::1]"] {
        let message = send_one(
            &server,
            &format!("MAIL FROM:<{address}>"),
            &format!("RCPT TO:<{address}>"),
        );
        assert_eq!((message.from(), message.to()), (address, vec![address]));
    }
    let mut client = Client::in_transaction(server.local_addr());
    for bad in [
        "<u@[127.0.0.300]>",
        "<u@[IPv6:1]>",
        "<a b@c>",
        "u@c",
        "<u@c",
        "<>",
    ] {
        client.say(&format!("RCPT TO:{bad}"), 501);
    }
}

#[test]
fn a_lenient_server_takes_what_a_strict_one_refuses() {
    let long = format!("{}\r\n.", "x".repeat(5000));
    let strict = sink();
    let mut client = Client::in_transaction(strict.local_addr());
    client.say("RCPT TO: <a@b>", 501);
    client.say("RCPT TO:a@b", 501);
    client.say("RCPT TO:<bob>", 501);
    client.say("DATA", 354);
    client.say(&long, 500);
    let lenient = sink_with(|builder| builder.lenient());
    let mut client = Client::ready(lenient.local_addr());
    client.say("MAIL FROM: a@b SIZE=1", 250);
    client.say("RCPT TO:  <a@b>", 250);
    client.say("RCPT TO:<bob>", 250);
    client.say("DATA", 354);
    client.say(&long, 250);
    let message = lenient.take_message(LONG).unwrap();
    assert_eq!((message.from(), message.to()), ("a@b", vec!["a@b", "bob"]));
}

#[test]
fn a_space_after_the_colon_is_what_is_refused() {
    let why = "501 5.5.4 no space is allowed after the colon (RFC 5321 section 3.3)";
    let server = sink();
    let mut client = Client::ready(server.local_addr());
    assert_eq!(client.say("MAIL FROM: <a@b>", 501), why);
    assert_eq!(
        client.say("MAIL FROM:a@b", 501),
        "501 5.1.7 not a sender's address in angle brackets"
    );
    client.say("MAIL FROM:<a@b>", 250);
    assert_eq!(client.say("RCPT TO: <a@b>", 501), why);
    let not_a_path = "501 5.1.3 not a recipient's address in angle brackets";
    assert_eq!(client.say("RCPT TO:a@b", 501), not_a_path);
    // A lenient server allows it, so it is never what is wrong.
    let lenient = sink_with(|builder| builder.lenient());
    let mut client = Client::in_transaction(lenient.local_addr());
    assert_eq!(client.say("RCPT TO: <a", 501), not_a_path);
}

#[test]
fn s21_unknown_parameters() {
    let server = sink();
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b> XYZ=1", 555);
    client.say("MAIL FROM:<a@b> NOTIFY=NEVER", 555);
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<a@b> SIZE=1", 555);
    let server = sink_with(|builder| builder.without(Extension::Dsn));
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b> RET=FULL", 555);
}

#[test]
fn known_parameters_reach_the_message() {
    let server = sink_with(|builder| builder.credentials("bob", "secret"));
    let message = send_one(
        &server,
        "MAIL FROM:<jürgen@exämple.com> SMTPUTF8 SIZE=5 BODY=8BITMIME RET=HDRS ENVID=a+2Bb AUTH=<>",
        "RCPT TO:<müller@c> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;old+2Bname@c",
    );
    let sender = message.sender();
    assert_eq!(message.from(), "jürgen@exämple.com");
    assert!(sender.smtp_utf8());
    assert_eq!(sender.size(), Some(5));
    assert_eq!(sender.body(), Some(BodyType::EightBitMime));
    assert_eq!(sender.ret(), Some(Ret::Headers));
    assert_eq!(sender.envelope_id(), Some("a+b"));
    assert_eq!(sender.auth(), Some("<>"));
    let recipient = &message.recipients()[0];
    assert_eq!(recipient.address(), "müller@c");
    let notify = Notify {
        success: true,
        failure: true,
        delay: false,
    };
    assert_eq!(recipient.notify(), Some(notify));
    assert_eq!(recipient.original(), Some(("rfc822", "old+name@c")));
}

#[test]
fn s22_size_is_checked_when_announced_and_when_it_came() {
    let server = sink_with(|builder| builder.max_message(10));
    let mut client = Client::ready(server.local_addr());
    assert!(client.say("EHLO c", 250).contains("250-SIZE 10\n"));
    assert!(
        client
            .say("MAIL FROM:<a@b> SIZE=11", 552)
            .starts_with("552 5.3.4 ")
    );
    for (text, code) in [("12345678", 250), ("123456789", 552), ("..\r\n.3456", 250)] {
        client.say("MAIL FROM:<a@b> SIZE=10", 250);
        client.say("RCPT TO:<a@b>", 250);
        client.say("DATA", 354);
        client.say(&format!("{text}\r\n."), code);
    }
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn s23_many_recipients() {
    let server = sink_with(|builder| builder.max_recipients(100));
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b>", 250);
    for number in 0..100 {
        client.say(&format!("RCPT TO:<r{number}@b>"), 250);
    }
    client.say("RCPT TO:<r100@b>", 452);
    client.say("DATA", 354);
    client.say(".", 250);
    let message = server.take_message(LONG).unwrap();
    assert_eq!((message.to().len(), message.to()[99]), (100, "r99@b"));
}
