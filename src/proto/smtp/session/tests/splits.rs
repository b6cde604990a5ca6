//! A session is the same however the network cuts it: whole sessions, cut at every place.

use super::*;

/// What a client sends in one session, a command, response, text or chunk each. The challenge of
/// CRAM-MD5 is always `<unique.1@test>` here, so its answer can be known before.
const SESSIONS: [&[&str]; 3] = [
    &[
        "EHLO client.example\r\n",
        "AUTH PLAIN AGJvYgB3cm9uZw==\r\n",
        "AUTH PLAIN\r\n",
        "AGJvYgBzZWNyZXQ=\r\n",
        "MAIL FROM:<alice@example.com> SIZE=20 BODY=8BITMIME AUTH=<>\r\n",
        "RCPT TO:<bob@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bob@x\r\n",
        "RCPT TO:<@relay.example:\"e v e\"@[127.0.0.1]>\r\n",
        "DATA\r\n",
        "Subject: x\r\n\r\n..\r\n.dot\r\n\r.\r\n\n.\n\r\n.\r\n",
        "QUIT\r\n",
    ],
    &[
        "EHLO [IPv6:::1]\r\n",
        "AUTH LOGIN\r\n",
        "Ym9i\r\n",
        "*\r\n",
        "AUTH LOGIN Ym9i\r\n",
        "c2VjcmV0\r\n",
        "MAIL FROM:<jürgen@example.com> SMTPUTF8 BODY=BINARYMIME\r\n",
        "RCPT TO:<žofie@example.com>\r\n",
        "BDAT 7\r\n",
        "\r\n.\r\n\0\n",
        "BDAT 6 LAST\r\n",
        "QUIT\r\n",
        "RSET\r\n",
        "QUIT\r\n",
    ],
    &[
        "EHLO c\r\n",
        "AUTH CRAM-MD5\r\n",
        "Ym9iIDE4YmQxNWE0YzJjMjMwNjczYzJiNWU3YjkyZjM4MWU4\r\n",
        "MAIL FROM:<>\r\n",
        "BDAT 4\r\n",
        "NOOP",
        "RCPT TO:<postmaster>\r\n",
        "BDAT 0 LAST\r\n",
        "STARTTLS\r\n",
        "NOOP\n\r\n",
        "QUIT\r\n",
    ],
];

/// The codes of the replies, the greeting's not, so that what is compared below is known to be right.
const CODES: [&[&str]; 3] = [
    &[
        "250", "535", "334", "235", "250", "250", "250", "354", "250", "221",
    ],
    &[
        "250", "334", "334", "501", "334", "235", "250", "250", "250", "250", "250", "221",
    ],
    &[
        "250", "334", "235", "250", "503", "250", "250", "454", "500", "221",
    ],
];

fn run(segments: &[&[u8]]) -> (String, Vec<Incoming>) {
    let decide = |question: &Question| match question {
        Question::Auth(login) if !login.proves("secret") => Decision::Refuse,
        _ => Decision::Accept,
    };
    run_with(config(), decide, segments)
}

#[test]
fn the_sessions_in_one_piece() {
    for (session, expected) in SESSIONS.iter().zip(CODES) {
        let (said, messages) = run(&[session.concat().as_bytes()]);
        assert_eq!(codes(&said), expected, "{said}");
        assert_eq!(messages.len(), 1);
        assert_eq!(messages[0].login.as_deref().map(Login::user), Some("bob"));
        assert!(said.ends_with("(closed)"));
    }
}

#[test]
fn every_message_in_two_pieces() {
    for session in SESSIONS {
        let (said, messages) = run(&[session.concat().as_bytes()]);
        for (index, message) in session.iter().map(|message| message.as_bytes()).enumerate() {
            let before = session[..index].iter().map(|message| message.as_bytes());
            let after = session[index + 1..]
                .iter()
                .map(|message| message.as_bytes());
            for at in 0..=message.len() {
                let (first, second) = message.split_at(at);
                let pieces = before.clone().chain([first, second]).chain(after.clone());
                let pieces: Vec<&[u8]> = pieces.collect();
                let cut = run(&pieces);
                let place = || format!("message {index} cut at {at}: {:?}", session[index]);
                assert_eq!(cut.0, said, "{}", place());
                assert_eq!(comparable(&cut.1), comparable(&messages), "{}", place());
            }
        }
    }
}

#[test]
fn every_session_in_two_pieces() {
    for session in SESSIONS {
        let whole = session.concat().into_bytes();
        let (said, messages) = run(&[&whole]);
        for at in 0..=whole.len() {
            let (first, second) = whole.split_at(at);
            let cut = run(&[first, second]);
            assert_eq!(cut.0, said, "cut at {at}");
            assert_eq!(comparable(&cut.1), comparable(&messages), "cut at {at}");
        }
    }
}
