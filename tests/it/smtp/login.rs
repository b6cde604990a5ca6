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
