//! Hostile messages: what each costs is in proportion to its length, and what is too much is left out.

use std::sync::mpsc;
use std::time::Duration;

use super::*;

/// Some seconds on any machine where the time is linear, hours where it is not.
const LONG: Duration = Duration::from_secs(120);
/// A square of it is too much for any machine; the default limit of messages is 32 MiB.
const SIZE: usize = 2 * 1024 * 1024;

/// The mail, or a failure when reading takes too long.
#[track_caller]
fn in_time(raw: Vec<u8>) -> Mail {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || drop(sender.send(Mail::parse(&raw))));
    let mail = receiver.recv_timeout(LONG);
    mail.expect("reading the message takes longer than it may")
}

/// `unit` as often as a message may hold it.
fn filled(before: &str, unit: &str) -> Vec<u8> {
    let mut raw = before.as_bytes().to_vec();
    raw.extend(unit.as_bytes().repeat((SIZE - before.len()) / unit.len()));
    raw
}

#[test]
fn encoded_words_on_one_line() {
    let mail = in_time(filled("Subject: ", "=?utf-8?q?x?= "));
    let words = (SIZE - "Subject: ".len()) / "=?utf-8?q?x?= ".len();
    assert_eq!(mail.subject().map(str::len), Some(words));
}

/// More than of the others, for its square is smaller.
#[test]
fn runs_of_utf7() {
    const RUNS: usize = 2_000_000;
    for name in ["utf-7", "csUnicode11UTF7"] {
        let mut raw = format!("Content-Type: text/plain; charset={name}\r\n\r\n").into_bytes();
        raw.extend(b"+AOk-".repeat(RUNS));
        let mail = in_time(raw);
        assert!(
            mail.text()
                .is_some_and(|text| text.chars().count() == RUNS && text.starts_with("éé")),
            "{name}"
        );
    }
}

#[test]
fn encoded_words_that_never_end() {
    let mail = in_time(filled("Subject: ", "=?utf-8?q?"));
    assert!(
        mail.subject()
            .is_some_and(|subject| subject.len() > SIZE / 2)
    );
}

#[test]
fn folded_lines() {
    let mail = in_time(filled("Subject: x", "\r\n y"));
    assert!(
        mail.subject()
            .is_some_and(|subject| subject.starts_with("x y y y"))
    );
}

#[test]
fn header_fields() {
    let mail = in_time(filled("", "a:b\n"));
    assert_eq!(mail.headers().len(), 20_000);
    let left = SIZE / 4 - 20_000;
    let defect = format!("more than 20000 header fields; {left} are not read");
    assert_eq!(mail.defects(), [defect]);
}

#[test]
fn parts() {
    let mail = in_time(filled(
        "Content-Type: multipart/mixed; boundary=b\n\n",
        "--b\n\nx\n",
    ));
    assert_eq!(mail.parts().len(), 10_000 - 1);
    let [defect] = mail.defects() else {
        panic!("{:?}", mail.defects())
    };
    let is_said = defect.starts_with("more than 10000 parts; the last ");
    assert!(
        is_said && defect.ends_with(" octets are not read"),
        "{defect}"
    );
}

#[test]
fn lines_that_are_almost_delimiters() {
    let mail = in_time(filled(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n",
        "--b--x\n--a\n--bb\n",
    ));
    assert_eq!(mail.parts().len(), 1);
    assert_eq!(mail.defects(), ["a multipart without its last delimiter"]);
}

#[test]
fn multiparts_in_each_other() {
    let mut raw = Vec::new();
    for depth in 0.. {
        let level = format!("Content-Type: multipart/mixed; boundary=b{depth}\n\n--b{depth}\n");
        if raw.len() + level.len() > SIZE / 16 {
            break;
        }
        raw.extend(level.into_bytes());
    }
    let mail = in_time(raw);
    assert_eq!(mail.parts().len(), 1);
    let deep = "more than 100 multiparts in each other; it is kept whole";
    assert!(mail.defects().iter().any(|defect| defect.ends_with(deep)));
    assert!(mail.defects().len() <= 101);
}

#[test]
fn parameters() {
    for unit in ["a=b;", "a*0=b;", ";", "(", "=?a?q?;", "x", "a=\"b\\"] {
        in_time(filled("Content-Type: text/plain;", unit));
    }
    let mut many = "Content-Type: text/plain".to_owned();
    for number in 0..2000 {
        many.push_str(&format!("; a*{number}=b"));
    }
    let mail = in_time(format!("{many}\r\n\r\nx").into_bytes());
    let [defect] = mail.defects() else {
        panic!("{:?}", mail.defects())
    };
    assert!(defect.contains("more than 1000 parameters"), "{defect}");
    assert_eq!(mail.text(), Some("x"));
}

#[test]
fn encoded_contents() {
    let start = "Content-Transfer-Encoding: base64\n\n";
    assert_eq!(in_time(filled(start, "\n")).text(), Some(""));
    in_time(filled(start, "A\n\n"));
    let start = "Content-Transfer-Encoding: quoted-printable\n\n";
    let mail = in_time(filled(start, "="));
    assert_eq!(mail.defects().len(), 1);
    in_time(filled(start, " "));
}

#[test]
fn addresses() {
    for unit in ["a@b,", "(", "<", "\"a", "[", "a:", "=?a?q?"] {
        let mail = in_time(filled("To: ", unit));
        assert!(mail.to().len() <= 10_000);
    }
    let mail = in_time(filled("To: ", "a@b,"));
    assert_eq!(mail.to().len(), 10_000);
    assert!(mail.defects()[0].starts_with("the field To: more than 10000 addresses; the last "));
}
