//! One letter in whole; the tables are in modules of their own.

mod cost;
mod table;

use super::*;
use proptest::prelude::*;

const LETTER: &str = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
    To: bob@example.com\r\n\
    Content-Type: multipart/mixed; boundary=outer\r\n\r\n\
    --outer\r\nContent-Type: multipart/alternative; boundary=inner\r\n\r\n\
    --inner\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHall=C3=B6\r\n\
    --inner\r\nContent-Type: text/html\r\n\r\n<p>Hi</p>\r\n--inner--\r\n\
    --outer\r\nContent-Type: text/plain; name=notes.txt\r\n\r\nnotes\r\n\
    --outer\r\nContent-Type: text/html\r\nContent-Disposition: attachment\r\n\r\n<p>page</p>\r\n\
    --outer\r\nContent-Type: Application/Octet-Stream\r\nContent-Disposition: attachment; filename=\"a.bin\"\r\nContent-Transfer-Encoding: base64\r\n\r\nAAEC\r\n\
    --outer--\r\n";

#[test]
fn a_letter_with_everything() {
    let mail = Mail::parse(LETTER.as_bytes());
    assert_eq!(mail.subject(), Some("Grüße"));
    assert_eq!(mail.header("TO"), Some("bob@example.com"));
    assert_eq!(mail.headers().len(), 3);
    assert_eq!(mail.text(), Some("Hallö"));
    assert_eq!(mail.html(), Some("<p>Hi</p>"));
    let names: Vec<_> = mail
        .attachments()
        .iter()
        .map(Attachment::file_name)
        .collect();
    assert_eq!(names, [Some("notes.txt"), None, Some("a.bin")]);
    assert_eq!(mail.attachments()[2].content(), [0, 1, 2]);
    assert_eq!(
        mail.attachments()[2].content_type(),
        "application/octet-stream"
    );
    assert_eq!(mail.defect(), None);
}

#[test]
fn a_plain_letter_and_no_letter() {
    let mail = Mail::parse(b"Subject: x\r\n\r\nhello\r\n");
    assert_eq!(
        (mail.subject(), mail.text()),
        (Some("x"), Some("hello\r\n"))
    );
    assert_eq!(Mail::parse(b"").subject(), None);
}

#[test]
fn an_attached_text_is_not_the_text() {
    for kind in ["text/plain", "text/html"] {
        let letter =
            format!("Content-Type: {kind}\r\nContent-Disposition: attachment\r\n\r\nx\r\n");
        let mail = Mail::parse(letter.as_bytes());
        assert_eq!((mail.text(), mail.html()), (None, None));
        assert_eq!(mail.attachments()[0].content_type(), kind);
    }
}

#[test]
fn content_that_is_not_what_it_claims_is_kept() {
    let mail = Mail::parse(
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n",
    );
    assert_eq!(mail.text(), Some(""));
    assert_eq!(mail.parts()[0].raw(), Some(&b"!!!\r\n"[..]));
    assert_eq!(
        mail.defects(),
        ["5 octets behind its base64 are not decoded"]
    );
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in any::<Vec<u8>>(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        Mail::parse(&bytes);
        let mut letter = LETTER.as_bytes().to_vec();
        let at = at.index(letter.len());
        letter[at] = byte;
        Mail::parse(&letter);
        Mail::parse(&LETTER.as_bytes()[..at]);
    }
}
