//! Hooks, replies of the test's own, and faults.

use std::io::ErrorKind;

use loopback::smtp::{BodyType, Decision, Mechanism, Reply, Ret, Stage};

use super::*;

#[test]
fn each_stage_can_be_refused_in_the_tests_words() {
    let server = sink_with(|builder| {
        builder
            .on_connect(|peer| {
                peer.as_inet()
                    .is_some_and(|address| address.ip().is_loopback())
            })
            .on_helo(|name| (name == "bad").then(|| Reply::new(550, "5.7.1 not you")))
            .on_mail(|sender| sender.address() != "bad@x")
            .on_rcpt(|recipient| match recipient.address() {
                "bad@x" => Err(Reply::new(450, "4.2.1 busy")),
                _ => Ok(()),
            })
            .on_data(|envelope| {
                assert_eq!(envelope.helo(), "good");
                assert_eq!(envelope.auth_user(), None);
                envelope.recipients().len() == 1 && envelope.sender().address() == "good@x"
            })
    });
    let mut client = Client::greeted(server.local_addr());
    // No enhanced code in a reply to EHLO (RFC 2034 section 4).
    assert_eq!(client.say("EHLO bad", 550), "550 not you");
    client.say("EHLO good", 250);
    assert_eq!(
        client.say("MAIL FROM:<bad@x>", 550),
        "550 5.7.1 sender refused"
    );
    client.say("MAIL FROM:<good@x>", 250);
    assert_eq!(client.say("RCPT TO:<bad@x>", 450), "450 4.2.1 busy");
    client.say("RCPT TO:<one@x>", 250);
    client.say("DATA", 354);
    client.say(".", 250);
    client.send("MAIL FROM:<good@x>\r\nRCPT TO:<one@x>\r\nRCPT TO:<two@x>\r\n");
    assert_eq!(client.codes(), [250, 250, 250]);
    client.say("DATA", 554);
    // The transaction goes on after a refused DATA; a chunk of a refused BDAT is consumed.
    client.send("BDAT 6\r\nQUIT\r\n");
    assert_eq!(client.code(), 554);
    client.say("NOOP", 250);
}

#[test]
fn a_positive_reply_to_the_data_loses_no_message() {
    let server = sink_with(|builder| builder.on_data(|_| Reply::new(250, "2.0.0 go ahead")));
    let mut client = Client::in_transaction(server.local_addr());
    client.send("BDAT 2 LAST\r\nab");
    assert_eq!(client.code(), 250);
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<c@d>", 250);
    assert_eq!(client.say("DATA", 354), "354 go ahead");
    client.say("QUIT\r\n.", 250);
    assert_eq!(next_text(&server), "ab");
    assert_eq!(next_text(&server), "QUIT\r\n");
}

#[test]
fn a_refused_connection_leaves_quit_only() {
    let server = sink_with(|builder| builder.on_connect(|_| false));
    let mut client = Client::connect(server.local_addr());
    assert_eq!(client.code(), 554);
    client.say("EHLO c", 503);
    client.say("QUIT", 221);
    client.ended();
}

#[test]
fn a_421_closes_at_any_stage() {
    for stage in [
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Auth,
        Stage::Data,
        Stage::Message,
    ] {
        let server = sink_with(|builder| {
            let builder = builder.credentials("bob", "secret");
            builder.reply_once(stage, 1, Reply::new(421, "4.3.2 going down"))
        });
        let mut client = Client::connect(server.local_addr());
        client.send(
            "EHLO c\r\nAUTH PLAIN AGJvYgBzZWNyZXQ=\r\n\
             MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n.\r\n",
        );
        while client.code() != 421 {}
        client.ended();
    }
}

/// More stages, mechanisms and so on may come, and break no one's match: were one of these enums
/// complete to its users, the last arm here would be an error.
#[deny(unreachable_patterns)]
#[test]
fn what_may_grow_is_matched_with_a_rest() {
    fn stage(stage: Stage) -> u8 {
        match stage {
            Stage::Connect | Stage::Helo | Stage::Mail | Stage::Rcpt => 1,
            Stage::Auth | Stage::Data | Stage::Message => 1,
            _ => 0,
        }
    }
    fn others(decision: &Decision, mechanism: Mechanism, body: BodyType, ret: Ret) -> [u8; 4] {
        [
            match decision {
                Decision::Accept | Decision::Refuse | Decision::Answer(_) => 1,
                _ => 0,
            },
            match mechanism {
                Mechanism::Plain | Mechanism::Login | Mechanism::CramMd5 => 1,
                _ => 0,
            },
            match body {
                BodyType::SevenBit | BodyType::EightBitMime | BodyType::BinaryMime => 1,
                _ => 0,
            },
            match ret {
                Ret::Full | Ret::Headers => 1,
                _ => 0,
            },
        ]
    }
    assert_eq!(stage(Stage::Rcpt), 1);
    let others = others(
        &Decision::Accept,
        Mechanism::Plain,
        BodyType::SevenBit,
        Ret::Full,
    );
    assert_eq!(others, [1; 4]);
}

#[test]
fn the_second_rcpt_is_busy_once() {
    let server =
        sink_with(|builder| builder.reply_once(Stage::Rcpt, 2, Reply::new(451, "4.2.1 try again")));
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<one@b>", 250);
    client.say("RCPT TO:<two@b>", 451);
    client.say("RCPT TO:<two@b>", 250);
    client.say("DATA", 354);
    client.say(".", 250);
    assert_eq!(server.take_message(LONG).unwrap().to(), ["one@b", "two@b"]);
}

#[test]
#[should_panic = "count from 1: a reply to the 0th is never given"]
fn a_reply_to_no_time_at_all_is_refused() {
    let _ = TestSmtpServer::builder().reply_once(Stage::Rcpt, 0, Reply::ok());
}

#[test]
fn a_hang_up_and_a_reset() {
    let server = sink_with(|builder| {
        builder
            .reply_once(Stage::Data, 1, Reply::hang_up())
            .reply_once(Stage::Data, 2, Reply::reset())
    });
    let mut client = Client::in_transaction(server.local_addr());
    client.send("DATA\r\n");
    client.ended();
    let mut client = Client::in_transaction(server.local_addr());
    client.send("DATA\r\n");
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_hook_or_a_handler_that_waits_holds_up_nobody_else() {
    let (release, released) = std::sync::mpsc::channel();
    let released = std::sync::Arc::new(std::sync::Mutex::new(released));
    let (hook, handler) = (released.clone(), released);
    let server = TestSmtpServer::builder()
        .on_rcpt(move |_| hook.lock().unwrap().recv_timeout(LONG).unwrap())
        .start("127.0.0.1:0", move |_| {
            handler.lock().unwrap().recv_timeout(LONG).unwrap();
        })
        .unwrap();
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b>", 250);
    for step in ["RCPT TO:<c@d>\r\n", "DATA\r\n.\r\n"] {
        client.send(step);
        Client::ready(server.local_addr()).say("MAIL FROM:<a@b>", 250);
        release.send(()).unwrap();
        if step.starts_with("DATA") {
            assert_eq!(client.code(), 354);
        }
        assert_eq!(client.code(), 250);
    }
}

#[test]
fn a_hook_that_panics_is_a_failure() {
    let mut server = sink_with(|builder| {
        builder.on_rcpt(|recipient| assert_eq!(recipient.address(), "bob@x", "who is that?"))
    });
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b>", 250);
    client.say("RCPT TO:<eve@x>", 451);
    client.say("RCPT TO:<bob@x>", 250);
    let error = server.stop(LONG).unwrap_err();
    assert!(error.to_string().contains("who is that?"), "{error}");
    assert!(error.failures()[0].panicked());
}

#[test]
fn a_silent_client_is_told_and_let_go() {
    let server = sink_with(|builder| builder.read_timeout(Duration::from_millis(20)));
    let mut client = Client::greeted(server.local_addr());
    assert_eq!(client.code(), 421);
    client.ended();
}

#[test]
fn a_client_that_falls_silent_midway_is_let_go_too() {
    // Time enough for a client to say what comes before.
    let server = sink_with(|builder| builder.read_timeout(Duration::from_secs(2)));
    let silent = [
        "NO",
        "AUTH",
        "MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\ntext\r\n",
    ]
    .map(|midway| {
        let mut client = Client::ready(server.local_addr());
        client.send(midway);
        client
    });
    for mut client in silent {
        while client.code() != 421 {}
        client.ended();
    }
    assert!(server.messages().is_empty());
}

#[test]
fn a_reply_in_utf8_is_for_clients_that_ask_for_it() {
    let server = sink_with(|builder| {
        builder
            .on_helo(|_| Reply::new(250, "grüß dich"))
            .on_rcpt(|to| match to.address() {
                "raw@x" => Reply::new(550, "5.1.1 für wen?").utf8(),
                _ => Reply::new(550, "5.1.1 für wen?"),
            })
    });
    let mut client = Client::greeted(server.local_addr());
    assert!(
        client
            .say("EHLO c", 250)
            .starts_with("250-gr\\x{FC}\\x{DF} dich\n")
    );
    client.say("MAIL FROM:<a@b>", 250);
    assert_eq!(client.say("RCPT TO:<c@d>", 550), "550 5.1.1 f\\x{FC}r wen?");
    assert_eq!(client.say("RCPT TO:<raw@x>", 550), "550 5.1.1 für wen?");
    client.say("RSET", 250);
    client.say("MAIL FROM:<a@b> SMTPUTF8", 250);
    assert_eq!(client.say("RCPT TO:<c@d>", 550), "550 5.1.1 für wen?");
    // It holds for that transaction.
    client.say("RSET", 250);
    client.say("MAIL FROM:<a@b>", 250);
    assert_eq!(client.say("RCPT TO:<c@d>", 550), "550 5.1.1 f\\x{FC}r wen?");
}
