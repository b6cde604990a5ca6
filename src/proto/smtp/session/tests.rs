mod splits;

use data_encoding::BASE64;

use super::*;
use crate::proto::smtp::scram::tests::second_message;
use crate::proto::smtp::{Extension, Extensions};
use proptest::prelude::*;

/// Runs `segments` through a session; what it said, and the messages that came.
fn run_with(
    config: Config,
    mut decide: impl FnMut(&Question) -> Decision,
    segments: &[&[u8]],
) -> (String, Vec<Incoming>) {
    let mut session = Session::new(Arc::new(config), "unique".into());
    let (mut said, mut messages) = (String::new(), Vec::new());
    for segment in segments {
        let mut rest = *segment;
        loop {
            let (used, event) = session.advance(rest);
            rest = &rest[used..];
            said.push_str(std::str::from_utf8(session.output()).unwrap());
            session.output().clear();
            match event {
                Event::More => break,
                Event::Flush => {}
                Event::Ask => {
                    let decision = decide(session.question().unwrap());
                    session.decide(decision);
                }
                Event::Message(message) => {
                    messages.push(*message);
                    session.answer(&Reply::new(250, "2.0.0 taken"));
                }
                Event::Close(ending) => {
                    said.push_str(if ending != Ending::Reset {
                        "(closed)"
                    } else {
                        "(reset)"
                    });
                    return (said, messages);
                }
            }
        }
    }
    (said, messages)
}

fn run(input: &str) -> (String, Vec<Incoming>) {
    run_with(config(), |_| Decision::Accept, &[input.as_bytes()])
}

fn config() -> Config {
    Config {
        hostname: "test".into(),
        extensions: Extensions::all(),
        ..Config::default()
    }
}

/// The codes of the replies but the greeting's.
fn codes(said: &str) -> Vec<&str> {
    let last_lines = said.lines().filter(|line| line.get(3..4) == Some(" "));
    last_lines.map(|line| &line[..3]).skip(1).collect()
}

fn assert_codes(input: &str, expected: &[&str]) {
    let (said, _) = run(input);
    assert_eq!(codes(&said), expected, "{said}");
}

const TRANSACTION: &str = "EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n";

#[test]
fn a_whole_session() {
    let input = format!("{TRANSACTION}DATA\r\nSubject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\nNOOP\r\n");
    let (said, messages) = run(&input);
    assert_eq!(
        said,
        "220 test ESMTP loopback\r\n250-test hello\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
         250-CHUNKING\r\n250-BINARYMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-SIZE 33554432\r\n\
         250-AUTH PLAIN LOGIN CRAM-MD5\r\n250 HELP\r\n250 2.1.0 sender ok\r\n250 2.1.5 recipient ok\r\n\
         354 end the message with a dot on a line of its own\r\n250 2.0.0 taken\r\n221 2.0.0 bye\r\n(closed)"
    );
    let [message] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!(&*message.hello, "c");
    assert_eq!(message.sender.address(), "a@b");
    assert_eq!(message.recipients[0].address(), "c@d");
    assert_eq!(message.body, b"Subject: x\r\n\r\n.dot\r\n");
}

#[test]
fn commands_out_of_order() {
    for (input, expected) in [
        (
            "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n",
            &["503", "503", "503"][..],
        ),
        (
            "NOOP\r\nRSET\r\nVRFY x\r\nHELP\r\n",
            &["250", "250", "252", "214"],
        ),
        (
            "EHLO c\r\nRCPT TO:<c@d>\r\nDATA\r\nMAIL FROM:<>\r\nDATA\r\nMAIL FROM:<>\r\n",
            &["250", "503", "503", "250", "503", "503"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<>\r\nEHLO c\r\nRCPT TO:<c@d>\r\n",
            &["250", "250", "250", "503"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<>\r\nEHLO\r\nHELO a b\r\nRCPT TO:<c@d>\r\n",
            &["250", "250", "501", "501", "250"],
        ),
        (
            "EHLO c\r\nMAIL FROM:<>\r\nRSET\r\nRCPT TO:<c@d>\r\n",
            &["250", "250", "250", "503"],
        ),
        (
            "HELO c\r\nMAIL FROM:<> SIZE=1\r\nAUTH PLAIN\r\n",
            &["250", "555", "503"],
        ),
    ] {
        assert_codes(input, expected);
    }
}

#[test]
fn a_line_at_the_limit_and_over_it() {
    let line =
        |verb: &str, length: usize| format!("{verb}{}\r\n", "x".repeat(length - verb.len() - 2));
    assert_codes(&line("NOOP ", 512), &["250"]);
    assert_codes(&(line("NOOP ", 513) + "NOOP\r\n"), &["500", "250"]);
    assert_codes(&(line("NOOP ", 100_000) + "NOOP\r\n"), &["500", "250"]);
    let mail = |length| format!("EHLO c\r\n{}", line("MAIL FROM:<> ENVID=", length));
    assert_codes(&mail(119), &["250", "250"]);
    let mail = |length| format!("EHLO c\r\n{}", line("MAIL FROM:<", length));
    assert_codes(&mail(512 + 660), &["250", "501"]);
    assert_codes(&mail(512 + 661), &["250", "500"]);
}

#[test]
fn a_refused_greeting_leaves_quit_only() {
    let (said, _) = run_with(
        config(),
        |_| Decision::Refuse,
        &[b"EHLO c\r\nNOOP\r\nQUIT\r\n"],
    );
    assert!(
        said.starts_with("554 no service here\r\n503 5.5.1 "),
        "{said}"
    );
    assert_eq!(codes(&said), ["503", "503", "221"]);
}

#[test]
fn decisions_in_other_words() {
    let answer = |code, text| Decision::Answer(Reply::new(code, text));
    let decide = |question: &Question| match question {
        Question::Connect => answer(220, "welcome"),
        Question::Hello { .. } => answer(250, "hi"),
        Question::Rcpt(recipient) if recipient.address() == "moved@x" => {
            answer(251, "will forward")
        }
        Question::Rcpt(_) => answer(451, "4.2.1 later"),
        Question::Data => answer(421, "4.3.0 bye"),
        _ => Decision::Accept,
    };
    let input = b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<moved@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nNOOP\r\n";
    let config = Config {
        extensions: Extensions::none(),
        ..config()
    };
    let (said, _) = run_with(config, decide, &[input]);
    assert_eq!(
        said,
        "220 welcome\r\n250-hi\r\n250 HELP\r\n250 sender ok\r\n251 will forward\r\n451 later\r\n421 bye\r\n(closed)"
    );
    let (said, _) = run_with(self::config(), |_| Decision::Answer(Reply::reset()), &[b""]);
    assert_eq!(said, "(reset)");
}

#[test]
fn no_data_without_a_recipient() {
    let decide = |question: &Question| match question {
        Question::Rcpt(_) => Decision::Refuse,
        _ => Decision::Accept,
    };
    let input = format!("{TRANSACTION}DATA\r\nRSET\r\nBDAT 3\r\nxyzNOOP\r\n");
    let (said, _) = run_with(config(), decide, &[input.as_bytes()]);
    assert_eq!(
        codes(&said),
        ["250", "250", "550", "554", "250", "503", "250"]
    );
}

#[test]
fn chunks_are_taken_as_they_are() {
    let (said, messages) = run(&format!(
        "{TRANSACTION}BDAT 6\r\n.\r\n..\rBDAT 1\r\n\nBDAT 0 LAST\r\nNOOP\r\n"
    ));
    assert_eq!(codes(&said)[3..], ["250", "250", "250", "250"], "{said}");
    assert_eq!(messages[0].body, b".\r\n..\r\n");
}

#[test]
fn failed_chunks_are_consumed_and_need_a_reset() {
    assert_codes(
        &format!(
            "BDAT 4\r\nNOOP{TRANSACTION}BDAT 2\r\nabDATA\r\nRCPT TO:<x@y>\r\nBDAT 0 x\r\nBDAT 2 LAST\r\ncdBDAT 1 LAST\r\nx"
        ),
        &[
            "503", "250", "250", "250", "250", "503", "503", "501", "503", "503",
        ],
    );
    let small = Config {
        max_message: 3,
        ..config()
    };
    let input = format!(
        "{TRANSACTION}BDAT 3\r\nabcBDAT 1\r\ndBDAT 1 LAST\r\neDATA\r\nRSET\r\nMAIL FROM:<>\r\n"
    );
    let (said, messages) = run_with(small, |_| Decision::Accept, &[input.as_bytes()]);
    assert_eq!(
        codes(&said)[3..],
        ["250", "552", "503", "503", "250", "250"]
    );
    assert!(messages.is_empty());
}

#[test]
fn a_binary_message_needs_chunks() {
    let input =
        TRANSACTION.replace("<a@b>", "<a@b> BODY=BINARYMIME") + "DATA\r\nBDAT 2 LAST\r\n\0\n";
    let (said, messages) = run(&input);
    assert_eq!(codes(&said)[3..], ["503", "250"]);
    assert_eq!(messages[0].body, b"\0\n");
}

#[test]
fn too_much_data_is_refused_after_its_end_and_the_transaction_is_over() {
    let small = || Config {
        max_message: 6,
        max_text_line: 5,
        ..config()
    };
    for (text, code) in [
        ("..\r\nx\r\n", "250"),
        ("..\r\nxy\r\n", "552"),
        ("1234\r\n", "500"),
    ] {
        let input = format!(
            "{TRANSACTION}DATA\r\n{text}.\r\nMAIL FROM:<> SIZE=6\r\nRSET\r\nMAIL FROM:<> SIZE=7\r\n"
        );
        let (said, _) = run_with(small(), |_| Decision::Accept, &[input.as_bytes()]);
        assert_eq!(
            codes(&said)[3..],
            ["354", code, "250", "250", "552"],
            "{text}"
        );
    }
}

#[test]
fn logging_in() {
    let decide = |question: &Question| match question {
        Question::Auth(login) if !login.proves("secret") => Decision::Refuse,
        _ => Decision::Accept,
    };
    let run = |input: &str| run_with(config(), decide, &[input.as_bytes()]);
    let (said, _) = run(
        "AUTH PLAIN\r\nEHLO c\r\nAUTH\r\nAUTH X\r\nAUTH PLAIN\r\n*\r\nAUTH PLAIN =\r\nAUTH PLAIN !\r\nAUTH PLAIN AGJvYgB3cm9uZw==\r\nAUTH PLAIN\r\nAGJvYgBzZWNyZXQ=\r\nAUTH PLAIN\r\n",
    );
    assert_eq!(
        codes(&said),
        [
            "503", "250", "501", "504", "334", "501", "501", "501", "535", "334", "235", "503"
        ]
    );
    assert!(said.contains("\r\n334 \r\n"));
    let (said, messages) = run(&format!(
        "EHLO c\r\nAUTH login Ym9i\r\nc2VjcmV0\r\n{TRANSACTION}AUTH PLAIN\r\nDATA\r\n.\r\n"
    ));
    assert_eq!(codes(&said)[1..3], ["334", "235"]);
    assert_eq!(messages[0].login.as_deref().map(Login::user), Some("bob"));
    let (said, _) = run("EHLO c\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\n");
    assert_eq!(codes(&said), ["250", "250", "503"]);
    let (said, _) = run("EHLO c\r\nAUTH CRAM-MD5\r\nx\r\nAUTH CRAM-MD5 x\r\n");
    // "<unique.1@test>" in base64.
    assert!(said.contains("334 PHVuaXF1ZS4xQHRlc3Q+\r\n501"), "{said}");
    assert_eq!(codes(&said), ["250", "334", "501", "501"]);
}

#[test]
fn a_long_response_is_one_error() {
    for (length, code) in [(12288, "501"), (12289, "500"), (40_000, "500")] {
        let input = format!("EHLO c\r\nAUTH PLAIN\r\n{}\r\nNOOP\r\n", "!".repeat(length));
        assert_codes(&input, &["250", "334", code, "250"]);
    }
}

#[test]
fn login_wanted_and_passwords_unwanted() {
    let strict = Config {
        require_auth: true,
        plaintext_auth: false,
        ..config()
    };
    let input =
        b"EHLO c\r\nMAIL FROM:<>\r\nAUTH PLAIN\r\nAUTH LOGIN\r\nAUTH CRAM-MD5\r\n*\r\nNOOP\r\n";
    let (said, _) = run_with(strict, |_| Decision::Accept, &[input]);
    assert_eq!(
        codes(&said),
        ["250", "530", "538", "538", "334", "501", "250"]
    );
    assert!(said.contains("250-AUTH CRAM-MD5\r\n"));
}

#[test]
fn scram_is_offered_where_the_server_knows_passwords() {
    let input = b"EHLO c\r\nAUTH SCRAM-SHA-256\r\n*\r\n";
    let (said, _) = run_with(config(), |_| Decision::Accept, &[input]);
    assert!(said.contains("250-AUTH PLAIN LOGIN CRAM-MD5\r\n"), "{said}");
    assert_eq!(codes(&said), ["250", "504", "500"]);
    let (said, _) = run_with(knowing_bob(), |_| Decision::Accept, &[input]);
    assert!(said.contains(" CRAM-MD5 SCRAM-SHA-256\r\n"), "{said}");
    assert_eq!(codes(&said), ["250", "334", "501"]);
}

fn knowing_bob() -> Config {
    let mut config = config();
    config.users.add("bob".to_owned(), "secret".to_owned());
    config.offers_scram = true;
    config
}

/// With a nonce that makes the server's answer longer than other replies' lines.
#[test]
fn a_scram_login_is_lines_of_any_length_and_secret_ones_are_masked() {
    let opening = format!("n,,n=bob,r={}", "x".repeat(1000));
    let users = knowing_bob().users;
    let mut session = Session::new(Arc::new(knowing_bob()), "unique".into());
    let mut transcript = String::new();
    let mut say = |session: &mut Session, text: &str| {
        let mut rest = text.as_bytes();
        let mut said = String::new();
        loop {
            let (used, event) = session.advance(rest);
            rest = &rest[used..];
            said.push_str(std::str::from_utf8(session.output()).unwrap());
            session.output().clear();
            transcript.push_str(&std::mem::take(session.log()));
            match event {
                Event::More => return said,
                Event::Flush => {}
                Event::Ask => {
                    let decision = match session.question() {
                        Some(Question::Auth(login)) => users.accept(login).into(),
                        _ => Decision::Accept,
                    };
                    session.decide(decision);
                }
                event => panic!("{event:?}"),
            }
        }
    };
    say(&mut session, "EHLO c\r\n");
    let first = BASE64.encode(opening.as_bytes());
    let answer = say(&mut session, &format!("AUTH SCRAM-SHA-256 {first}\r\n"));
    let answer = answer.strip_prefix("334 ").unwrap().trim_end();
    let answer = String::from_utf8(BASE64.decode(answer.as_bytes()).unwrap()).unwrap();
    let second = second_message(&opening, &answer, "secret");
    let second = BASE64.encode(second.as_bytes());
    let signature = say(&mut session, &format!("{second}\r\n"));
    assert!(signature.starts_with("334 dj"), "{signature}");
    assert!(say(&mut session, "\r\n").starts_with("235 "));
    assert!(transcript.contains("\nS: 334 (masked)\n"), "{transcript}");
    let signature = signature.trim_end().strip_prefix("334 ").unwrap();
    assert!(
        !transcript.contains(signature) && !transcript.contains(&second[..40]),
        "{transcript}"
    );
}

#[test]
fn what_auth_brings_is_masked_wherever_it_stands_in_a_line_that_is_no_command() {
    for (line, shown) in [
        (" AUTH PLAIN AGJvYgBzZWNyZXQ=", "C:  AUTH (masked)\n"),
        (
            "NOOP\nauth plain AGJvYgBzZWNyZXQ=",
            "C: NOOP\\nauth (masked)\n",
        ),
        ("XAUTH PLAIN AGJvYgBzZWNyZXQ=", "C: XAUTH (masked)\n"),
        ("\u{feff}AUTH PLAIN AGJvYgBzZWNyZXQ=", "AUTH (masked)\n"),
        ("MAIL FROM:<a@b> AUTH=<>", "C: MAIL FROM:<a@b> AUTH=<>\n"),
        ("RCPT TO:<auth@b>", "C: RCPT TO:<auth@b>\n"),
    ] {
        let mut session = Session::new(Arc::new(knowing_bob()), "unique".into());
        let input = format!("EHLO c\r\n{line}\r\n");
        let mut rest = input.as_bytes();
        while !rest.is_empty() {
            let (used, event) = session.advance(rest);
            rest = &rest[used..];
            if matches!(event, Event::Ask) {
                session.decide(Decision::Accept);
            }
        }
        let transcript = std::mem::take(session.log());
        assert!(transcript.contains(shown), "{transcript}");
        assert!(!transcript.contains("AGJv"), "{transcript}");
    }
}

#[test]
fn utf8_addresses_need_smtputf8() {
    assert_codes(
        "EHLO c\r\nMAIL FROM:<ü@b>\r\nMAIL FROM:<ü@b> SMTPUTF8\r\nRCPT TO:<ö@d>\r\n",
        &["250", "553", "250", "250"],
    );
    assert_codes(
        "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<ö@d>\r\n",
        &["250", "250", "553"],
    );
}

#[test]
fn recipients_over_the_limit_are_refused_and_the_others_kept() {
    let two = Config {
        max_recipients: 2,
        ..config()
    };
    let input = format!("{TRANSACTION}RCPT TO:<e@f>\r\nRCPT TO:<g@h>\r\nDATA\r\n.\r\n");
    let (said, messages) = run_with(two, |_| Decision::Accept, &[input.as_bytes()]);
    assert_eq!(codes(&said)[2..], ["250", "250", "452", "354", "250"]);
    assert_eq!(messages[0].recipients.len(), 2);
}

#[test]
fn what_cannot_wait_asks_to_be_written() {
    let mut session = Session::new(Arc::new(config()), "unique".into());
    let input = b"EHLO c\r\nMAIL FROM:<>\r\nNOOP\r\nRSET\r\n";
    let (mut at, mut flushes) = (0, Vec::new());
    loop {
        let (used, event) = session.advance(&input[at..]);
        at += used;
        match event {
            Event::Ask => session.decide(Decision::Accept),
            Event::Flush => flushes.push(at),
            _ => break,
        }
    }
    assert_eq!(flushes, [0, 8, 28]);
}

#[test]
fn many_replies_are_not_held_without_limit() {
    let mut session = Session::new(Arc::new(config()), "unique".into());
    session.advance(b"");
    session.decide(Decision::Accept);
    session.advance(b"");
    let input = b"RSET\r\n".repeat(100_000);
    let (used, event) = session.advance(&input);
    assert!(matches!(event, Event::Flush));
    assert!(used < input.len() && session.output().len() < MAX_HELD + 512);
}

#[test]
fn the_log_shows_both_sides() {
    let mut session = Session::new(Arc::new(config()), "unique".into());
    session.advance(b"");
    session.decide(Decision::Refuse);
    session.advance(b"");
    session.advance(b"NO\x07\xffOP\r\n");
    session.advance(&[&[b'x'; 300][..], b"\r\n"].concat());
    let expected = format!(
        "S: 554 no service here\nC: NO\\x07\\xffOP\nS: 500 5.5.2 not a command: a stray CR, LF or NUL, or not UTF-8\n\
         C: {}...\nS: 503 5.5.1 there is no service here; only QUIT is left\n",
        "x".repeat(200)
    );
    assert_eq!(session.log().as_str(), expected);
}

#[test]
fn what_is_awaited() {
    let mut session = Session::new(Arc::new(config()), "unique".into());
    let mut feed = |input: &[u8]| {
        let mut rest = input;
        loop {
            let (used, event) = session.advance(rest);
            rest = &rest[used..];
            match event {
                Event::Ask => session.decide(Decision::Accept),
                Event::More => return (session.awaited(), session.is_text()),
                _ => {}
            }
        }
    };
    assert_eq!(feed(b""), ("a command", false));
    assert_eq!(feed(b"EHLO"), ("the end of a command", false));
    assert_eq!(
        feed(b" c\r\nAUTH PLAIN\r\n"),
        ("the answer to a challenge", false)
    );
    assert_eq!(feed(b"*\r\nBDAT 1\r\n"), ("the end of a chunk", true));
    assert_eq!(feed(b"x"), ("a command", false));
    assert_eq!(
        feed(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n"),
        ("the end of the message", true)
    );
}

/// A message as a tuple, to compare.
fn comparable(messages: &[Incoming]) -> Vec<(String, Vec<String>, Vec<u8>)> {
    let one = |message: &Incoming| {
        let recipients = message.recipients.iter().map(ToString::to_string);
        (
            message.sender.to_string(),
            recipients.collect(),
            message.body.clone(),
        )
    };
    messages.iter().map(one).collect()
}

fn commands() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![
        4 => Just(TRANSACTION.as_bytes().to_vec()),
        2 => Just(b"MAIL FROM:<a@b> SIZE=4 BODY=8BITMIME\r\n".to_vec()),
        2 => Just(b"RCPT TO:<\"x y\"@d> NOTIFY=NEVER\r\n".to_vec()),
        3 => Just(b"DATA\r\na\r\n..b\r\n.\r\n".to_vec()),
        1 => Just(b"DATA\r\n\r\n.\r\n".to_vec()),
        2 => Just(b"BDAT 3\r\n\r\n.".to_vec()),
        2 => Just(b"BDAT 2 LAST\r\nab".to_vec()),
        1 => Just(b"AUTH PLAIN\r\nAGJvYgBzZWNyZXQ=\r\n".to_vec()),
        1 => Just(b"AUTH LOGIN\r\n*\r\n".to_vec()),
        1 => Just(b"RSET\r\n".to_vec()),
        1 => Just(b"STARTTLS\r\n".to_vec()),
        1 => Just([&[b'x'; 600][..], b"\r\n"].concat()),
        1 => Just(b"NOOP\n\r\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(command, 0..12).prop_map(|commands| commands.concat())
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same_session(input in commands(), cut in any::<proptest::sample::Index>(), size in 1..7usize) {
        let accept = |_: &Question| Decision::Accept;
        let (said, messages) = run_with(config(), accept, &[&input]);
        let cut = cut.index(input.len() + 1);
        let pieces: Vec<&[u8]> = input.chunks(size).collect();
        for segments in [&[&input[..cut], &input[cut..]][..], &pieces] {
            // An empty segment stands for the connection itself.
            let segments: Vec<&[u8]> = [&[&b""[..]], segments].concat();
            let (split_said, split_messages) = run_with(config(), accept, &segments);
            prop_assert_eq!(&split_said, &said);
            prop_assert_eq!(comparable(&split_messages), comparable(&messages));
        }
    }

    #[test]
    fn any_bytes_with_any_decisions_are_survived(input in proptest::collection::vec(any::<u8>(), 0..200), tail in commands(), seed in any::<u64>()) {
        let mut seed = seed;
        let decide = |_: &Question| {
            seed = seed.rotate_left(7).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            match seed % 5 {
                0 => Decision::Refuse,
                1 => Decision::Answer(Reply::new(200 + (seed >> 8) as u16 % 400, "x")),
                _ => Decision::Accept,
            }
        };
        let (said, _) = run_with(config(), decide, &[&input, b"\r\n", &tail]);
        prop_assert!(said.starts_with(|c: char| c.is_ascii_digit()));
    }
}

#[test]
fn extensions_that_are_off_are_not_offered() {
    for (extension, keyword) in [
        (Extension::Pipelining, "PIPELINING"),
        (Extension::Size, "SIZE"),
        (Extension::EightBitMime, "8BITMIME"),
        (Extension::SmtpUtf8, "SMTPUTF8"),
        (Extension::Chunking, "CHUNKING"),
        (Extension::BinaryMime, "BINARYMIME"),
        (Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
        (Extension::Dsn, "DSN"),
        (Extension::Auth, "AUTH"),
    ] {
        let config = Config {
            extensions: Extensions::all().without(extension),
            ..config()
        };
        let (said, _) = run_with(config, |_| Decision::Accept, &[b"EHLO c\r\n"]);
        assert!(!said.contains(&format!("-{keyword}")), "{said}");
        assert!(run("EHLO c\r\n").0.contains(&format!("-{keyword}")));
    }
}

/// A positive reply from a hook accepts the message, in whatever way it comes, and the client gets a
/// reply that goes with its command.
#[test]
fn a_positive_reply_accepts_data_and_chunks_alike() {
    for (code, chunk) in [(250, "250 2.0.0 fine"), (354, "250 2.0.0 2 octets taken")] {
        let run = |commands: &str| {
            let decide = |question: &Question| match question {
                Question::Data => Decision::Answer(Reply::new(code, "fine")),
                _ => Decision::Accept,
            };
            let input = format!("{TRANSACTION}{commands}NOOP\r\n");
            let (said, messages) = run_with(config(), decide, &[input.as_bytes()]);
            let replies = said.split_once("recipient ok\r\n").unwrap().1.to_owned();
            let bodies: Vec<_> = messages.into_iter().map(|message| message.body).collect();
            (replies, bodies)
        };
        let rest = "250 2.0.0 taken\r\n250 2.0.0 OK\r\n";
        assert_eq!(
            run("BDAT 2 LAST\r\nab"),
            (rest.to_owned(), vec![b"ab".to_vec()])
        );
        assert_eq!(
            run("BDAT 2\r\nabBDAT 1 LAST\r\nc"),
            (format!("{chunk}\r\n{rest}"), vec![b"abc".to_vec()])
        );
        assert_eq!(
            run("DATA\r\nRSET\r\n.\r\n"),
            (format!("354 fine\r\n{rest}"), vec![b"RSET\r\n".to_vec()])
        );
    }
}
