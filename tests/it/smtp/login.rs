//! AUTH (RFC 4954).

use loopback::smtp::Mechanism;

use super::*;

/// `\0bob\0secret` and `\0bob\0wrong`.
const RIGHT: &str = "AGJvYgBzZWNyZXQ=";
const WRONG: &str = "AGJvYgB3cm9uZw==";

fn server() -> TestSmtpServer {
    sink_with(|builder| builder.hostname("test").credentials("bob", "secret"))
}

#[test]
fn s38_every_outcome() {
    let server = server();
    let mut client = Client::ready(server.local_addr());
    assert!(
        client
            .say("EHLO c", 250)
            .contains("AUTH PLAIN LOGIN CRAM-MD5")
    );
    client.say("AUTH", 501);
    client.say("AUTH GSSAPI", 504);
    client.say("AUTH PLAIN", 334);
    client.say("*", 501);
    client.say("AUTH PLAIN not-base64", 501);
    client.say(&format!("AUTH PLAIN {WRONG}"), 535);
    client.say("MAIL FROM:<a@b>", 250);
    client.say(&format!("AUTH PLAIN {RIGHT}"), 503);
    client.say("RSET", 250);
    client.say(&format!("AUTH PLAIN {RIGHT}"), 235);
    client.say(&format!("AUTH PLAIN {RIGHT}"), 503);
}

#[test]
fn s39_challenges_and_empty_responses() {
    let server = server();
    let mut client = Client::ready(server.local_addr());
    assert_eq!(client.say("AUTH PLAIN", 334), "334 ");
    client.say(RIGHT, 235);
    let mut client = Client::ready(server.local_addr());
    // A response of no octets is not what PLAIN wants; that it is not "bad base64" shows that "=" was
    // understood only through on_auth, so LOGIN tells: an empty user, then the password's challenge.
    client.say("AUTH PLAIN =", 501);
    assert_eq!(client.say("AUTH LOGIN =", 334), "334 UGFzc3dvcmQ6");
    client.say("*", 501);
    let strict = sink_with(|builder| builder.credentials("bob", "secret").refuse_plaintext_auth());
    let mut client = Client::ready(strict.local_addr());
    client.say("AUTH PLAIN", 538);
    client.say("AUTH LOGIN", 538);
    client.say("AUTH CRAM-MD5", 334);
}

#[test]
fn s40_mail_wants_a_login() {
    let server = sink_with(|builder| builder.credentials("bob", "secret").require_auth());
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:<a@b>", 530);
    client.say("NOOP", 250);
    client.say(&format!("AUTH PLAIN {RIGHT}"), 235);
    client.say("MAIL FROM:<a@b>", 250);
}

#[test]
fn the_login_reaches_the_message() {
    let server = server();
    let mut client = Client::ready(server.local_addr());
    client.say("AUTH LOGIN", 334);
    client.say("Ym9i", 334);
    client.say("c2VjcmV0", 235);
    client.send("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n");
    client.codes::<3>();
    client.say(".", 250);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.auth_user(), Some("bob"));
    assert_eq!(message.helo(), "client.example");
}

#[test]
fn no_debug_shows_a_password() {
    let builder = TestSmtpServer::builder().credentials("bob", "secret");
    let shown = format!("{builder:?} {builder:#?}");
    assert!(
        shown.contains("bob") && !shown.contains("secret"),
        "{shown}"
    );

    // A digest proves a password that is guessed, so it tells as much; this one is of no password.
    let digest = "Ym9iIGRpZ2VzdA==";
    let (sender, logins) = std::sync::mpsc::channel();
    let server = sink_with(|builder| {
        builder.on_auth(move |login| {
            sender.send(format!("{login:?} {login:#?}")).unwrap();
            false
        })
    });
    let mut client = Client::ready(server.local_addr());
    client.say(&format!("AUTH PLAIN {RIGHT}"), 535);
    client.say("AUTH CRAM-MD5", 334);
    client.say(digest, 535);
    for name in ["Plain", "CramMd5"] {
        let shown = logins.recv_timeout(LONG).unwrap();
        assert!(shown.contains("bob") && shown.contains(name), "{shown}");
        for hidden in ["secret", "digest", "challenge"] {
            assert!(!shown.contains(hidden), "{shown}");
        }
    }
}

#[test]
fn a_closure_decides() {
    let server = sink_with(|builder| {
        builder.on_auth(|login| {
            assert_eq!(login.mechanism(), Mechanism::Plain);
            login.user() == "bob" && login.proves("wrong")
        })
    });
    let mut client = Client::ready(server.local_addr());
    client.say(&format!("AUTH PLAIN {RIGHT}"), 535);
    client.say(&format!("AUTH PLAIN {WRONG}"), 235);
}

#[test]
fn challenges_are_never_the_same() {
    let server = server();
    let mut challenges = Vec::new();
    for _ in 0..3 {
        let mut client = Client::ready(server.local_addr());
        for _ in 0..3 {
            challenges.push(client.say("AUTH CRAM-MD5", 334));
            client.say("*", 501);
        }
    }
    challenges.sort();
    challenges.dedup();
    assert_eq!(challenges.len(), 9);
}

/// The credentials of another character set are the hook's to judge.
#[test]
fn a_login_in_latin1_is_asked_about() {
    let server = sink_with(|builder| {
        builder.require_auth().on_auth(|login| {
            (login.user(), login.password()) == ("jörg", Some("päss"))
                && login.user_bytes() == b"j\xf6rg"
                && login.proves(b"p\xe4ss")
        })
    });
    let mut client = Client::ready(server.local_addr());
    client.say("AUTH LOGIN", 334);
    client.say("avZyZw==", 334);
    client.say("cORzcw==", 235);
    let mut client = Client::ready(server.local_addr());
    client.say("AUTH PLAIN AGr2cmcAcORzcw==", 235);
    client.send("MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nBDAT 0 LAST\r\n");
    assert_eq!(client.codes(), [250, 250, 250]);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.auth_user(), Some("jörg"));
    let login = message.login().unwrap();
    assert_eq!(login.password_bytes(), Some(&b"p\xe4ss"[..]));
}

#[test]
fn no_transcript_shows_a_credential() {
    let server = server();
    let mut client = Client::ready(server.local_addr());
    client.say("AUTH LOGIN", 334);
    client.say("Ym9i", 334);
    client.say("c2VjcmV0", 235);
    let mut client = Client::ready(server.local_addr());
    client.say(&format!("AUTH PLAIN {WRONG}"), 535);
    client.say("AUTH PLAIN", 334);
    client.say("*", 501);
    client.say(&format!("auth  plain {RIGHT}"), 501);
    client.say(&format!("AUTH {RIGHT}"), 504);
    client.say(&format!("AUTHPLAIN {RIGHT}"), 500);
    // A client that does not wait for its AUTH to be refused.
    client.send("AUTH NTLM\r\nYm9i\r\nc2VjcmV0\r\nNOOP\r\n");
    assert_eq!(client.codes(), [504, 500, 500, 250]);
    client.say("AUTH CRAM-MD5", 334);
    client.say("Ym9iIDEyMzQ=", 535);
    client.send("AUTH LOGIN\r\nYm9i\r\nc2Vj");
    assert_eq!(client.codes(), [334, 334]);
    drop(client);
    let error = server.take_message(Duration::ZERO).unwrap_err().to_string();
    for said in [error, server.transcripts().concat()] {
        for hidden in ["Ym9i", "c2Vj", RIGHT, WRONG] {
            assert!(!said.contains(hidden), "{said}");
        }
        assert!(said.contains("C: AUTH LOGIN\nS: 334 "), "{said}");
        assert!(said.contains("C: AUTH PLAIN (masked)\nS: 535 "), "{said}");
        assert!(said.contains("C: *\nS: 501 "), "{said}");
        assert!(said.contains("C: (masked)\nS: 500 5.5.2 "), "{said}");
        assert!(said.contains("C: NOOP\n"), "{said}");
    }
}
