//! Whole messages, and what is in each.

use super::*;

/// A message, and what it is expected to hold; `..Row::default()` is nothing.
#[derive(Default)]
struct Row {
    /// Lines, whose ends become CRLF.
    raw: &'static [u8],
    subject: Option<&'static str>,
    text: Option<&'static str>,
    html: Option<&'static str>,
    /// File name, type and content.
    attachments: &'static [(Option<&'static str>, &'static str, &'static [u8])],
    defects: &'static [&'static str],
}

impl Row {
    #[track_caller]
    fn check(&self) {
        let raw = String::from_utf8_lossy(self.raw);
        let mut sent = Vec::new();
        for line in self.raw.split_inclusive(|&octet| octet == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    sent.extend(text);
                    sent.extend(b"\r\n");
                }
                None => sent.extend(line),
            }
        }
        let mail = Mail::parse(&sent);
        let text = |text: Option<&str>| text.map(|text| text.replace("\r\n", "\n"));
        assert_eq!(mail.subject(), self.subject, "subject of:\n{raw}");
        assert_eq!(text(mail.text()).as_deref(), self.text, "text of:\n{raw}");
        assert_eq!(text(mail.html()).as_deref(), self.html, "HTML of:\n{raw}");
        let attachments: Vec<_> = mail
            .attachments()
            .iter()
            .map(|part| (part.file_name(), part.content_type(), part.content()))
            .collect();
        assert_eq!(attachments, self.attachments, "attachments of:\n{raw}");
        assert_eq!(mail.defects(), self.defects, "defects of:\n{raw}");
        assert_eq!(mail.defect(), self.defects.first().copied());
    }
}

#[track_caller]
fn text(raw: &'static [u8], text: &'static str, defects: &'static [&'static str]) {
    Row {
        raw,
        text: Some(text),
        defects,
        ..Row::default()
    }
    .check();
}

#[track_caller]
fn subject(raw: &'static [u8], subject: &'static str, defects: &'static [&'static str]) {
    Row {
        raw,
        subject: Some(subject),
        text: Some(""),
        defects,
        ..Row::default()
    }
    .check();
}

#[track_caller]
fn file(
    raw: &'static [u8],
    file: (Option<&'static str>, &'static str, &'static [u8]),
    defects: &'static [&'static str],
) {
    Row {
        raw,
        attachments: vec![file].leak(),
        defects,
        ..Row::default()
    }
    .check();
}

#[test]
fn base64() {
    let attached = |encoded: &str| -> &'static [u8] {
        format!("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n{encoded}")
            .into_bytes()
            .leak()
    };
    let holds = |octets: &'static [u8]| (None, "image/png", octets);
    file(attached("AAEC\n"), holds(&[0, 1, 2]), &[]);
    file(attached("AA EC\nAA==\n"), holds(&[0, 1, 2, 0]), &[]);
    file(attached("AA\n\nEC\n\nAA==\n"), holds(&[0, 1, 2, 0]), &[]);
    file(
        attached("AAEC*"),
        holds(&[0, 1, 2]),
        &["1 octet behind its base64 is not decoded"],
    );
    file(
        attached("AAE\n"),
        holds(&[0, 1]),
        &["its base64 is not padded"],
    );
    file(attached("AA\n"), holds(&[0]), &["its base64 is not padded"]);
    file(
        attached("AAECA\n"),
        holds(&[0, 1, 2]),
        &["its base64 ends within an octet"],
    );
    file(
        attached("AA==\n-- \nA list\n"),
        holds(&[0]),
        &["13 octets behind its base64 are not decoded"],
    );
    file(
        attached("AAEC\n\nSent by a list\n"),
        holds(&[0, 1, 2]),
        &["16 octets behind its base64 are not decoded"],
    );
    file(
        attached("AAEC=\n"),
        holds(&[0, 1, 2]),
        &["its base64 has padding that is too much"],
    );
    let mail = Mail::parse(b"Content-Transfer-Encoding: base64\r\n\r\naGk*\r\nx");
    assert_eq!(mail.text(), Some("hi"));
    assert_eq!(mail.parts()[0].raw(), Some(&b"aGk*\r\nx"[..]));
}

#[test]
fn quoted_printable() {
    let head = "Content-Transfer-Encoding: quoted-printable\n\n";
    let sent = |encoded: &str| -> &'static [u8] { format!("{head}{encoded}").into_bytes().leak() };
    text(sent("H=C3=B6=\n he \nx=20\n"), "Hö he\nx \n", &[]);
    text(sent("h=c3=b6"), "hö", &[]);
    text(
        sent("a=ZZ b=4"),
        "a=ZZ b=4",
        &["2 of its quoted-printable escapes cannot be decoded"],
    );
    text(sent("soft=  \nbreak"), "softbreak", &[]);
    text(sent("end="), "end", &[]);
}

#[test]
fn other_transfer_encodings() {
    text(
        b"Content-Transfer-Encoding: 8Bit (as is)\n\nx\n",
        "x\n",
        &[],
    );
    text(
        b"Content-Transfer-Encoding: 8-bit\n\nx\n",
        "x\n",
        &["the transfer encoding \"8-bit\" is not known"],
    );
    text(
        b"Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\nx\n",
        "x\n",
        &["Content-Transfer-Encoding is there twice; the first counts"],
    );
}

#[test]
fn character_sets() {
    text("\nhällo\n".as_bytes(), "hällo\n", &[]);
    text(
        "Content-Type: text/plain; charset=us-ascii\n\nhällo\n".as_bytes(),
        "hällo\n",
        &[],
    );
    text(
        b"Content-Type: text/plain; charset=\"UTF-8\"\n\nh\xc3\xa4\n",
        "h\u{e4}\n",
        &[],
    );
    text(
        b"Content-Type: text/plain; charset=iso-8859-15\n\n\xa4\n",
        "\u{20ac}\n",
        &[],
    );
    text(
        b"Content-Type: text/plain; charset=iso-2022-jp\n\n\x1b$B$\"\x1b(B\n",
        "あ\n",
        &[],
    );
    text(
        b"\nh\xe4llo\n",
        "hällo\n",
        &["octets above 127 without a charset, read as Latin-1"],
    );
    text(
        b"Content-Type: text/plain; charset=utf-8\n\nh\xe4llo\n",
        "h\u{fffd}llo\n",
        &["not all of it is UTF-8"],
    );
    text(
        "Content-Type: text/plain; charset=klingon\n\nhällo\n".as_bytes(),
        "hällo\n",
        &["the charset \"klingon\" is not known"],
    );
    text(
        b"Content-Type: text/plain; charset=shift_jis\n\n\x81\n",
        "\u{fffd}\n",
        &["not all of it is in shift_jis, its charset"],
    );
}

#[test]
fn subjects() {
    subject(b"Subject: x\n\n", "x", &[]);
    subject(
        b"Subject : x\n\n",
        "x",
        &["the field Subject: white space before its colon"],
    );
    subject(b"subject:\n x\n\ty\n\n", "x y", &[]);
    subject("Subject: Grüße\n\n".as_bytes(), "Grüße", &[]);
    subject(
        b"Subject: Gr\xfc\xdfe\n\n",
        "Grüße",
        &["the field Subject: octets above 127 without a charset, read as Latin-1"],
    );
    subject(
        b"Subject: =?iso-8859-1?q?Gr=FC=DFe_x?= to =?UTF-8?B?w7w=?=\n\n",
        "Grüße x to ü",
        &[],
    );
    subject(
        b"Subject: =?utf-8?q?a?=\n =?utf-8?b?Yg==?= =?latin1?q?=E4?=\n\n",
        "abä",
        &[],
    );
    subject(b"Subject: =?utf-8*en?q?x?= y\n\n", "x y", &[]);
    // One character in two words.
    subject(b"Subject: =?utf-8?q?=C3?= =?utf-8?q?=A4?=\n\n", "ä", &[]);
    subject(b"Subject: =?utf-8?b?w7w?=\n\n", "ü", &[]);
    subject(b"Subject: a =? b ?= =?x?=\n\n", "a =? b ?= =?x?=", &[]);
    subject(
        b"Subject: a =?nope?q?x?= =?utf-8?q?y?=\n\n",
        "a =?nope?q?x?= y",
        &["the field Subject: an encoded word is left as it was: =?nope?q?x?="],
    );
    subject(
        b"Subject: =?utf-8?q?a=ZZ?=\n\n",
        "=?utf-8?q?a=ZZ?=",
        &["the field Subject: an encoded word is left as it was: =?utf-8?q?a=ZZ?="],
    );
    subject(
        b"Subject: =?utf-8?q?=FF?=\n\n",
        "\u{fffd}",
        &["the field Subject: an encoded word: not all of it is UTF-8"],
    );
}

#[test]
fn headers_and_their_end() {
    const NO_END: &str =
        "no empty line behind its header: its text begins at a line that is no field";
    text(b"hello\nworld\n", "hello\nworld\n", &[NO_END]);
    text(b"\nhello\n", "hello\n", &[]);
    text(b"", "", &[]);
    text(b"To: a@b\nhello\n", "hello\n", &[NO_END]);
    text(b"To: a@b\n", "", &[]);
    text(
        b"From alice Thu Jan  1 00:00:00 2026\nTo: a@b\n\nx\n",
        "x\n",
        &["a line `From ` before the header"],
    );
}

#[test]
fn content_types() {
    let html = |raw: &'static [u8]| {
        Row {
            raw,
            html: Some("x\n"),
            ..Row::default()
        }
        .check()
    };
    html(b"Content-Type: text/html (hi)\n\nx\n");
    html(b"Content-Type: (a (b) \\) c) Text/HTML ; charset=utf-8 (d)\n\nx\n");
    html(b"Content-Type: text/html;;\n\nx\n");
    text(
        b"Content-Type: text\n\nx\n",
        "x\n",
        &["Content-Type: \"text\" is no type; it is read as text/plain"],
    );
    text(
        b"Content-Type:\n\nx\n",
        "x\n",
        &["Content-Type: \"\" is no type; it is read as text/plain"],
    );
    text(
        b"Content-Type: charset=iso-8859-15\n\n\xa4\n",
        "\u{20ac}\n",
        &[
            "Content-Type: parameters without a value before them",
            "Content-Type: \"\" is no type; it is read as text/plain",
        ],
    );
    text(
        b"Content-Type: text/plain; charset=\"utf-8\n\nx\n",
        "x\n",
        &["Content-Type: a quoted parameter without its closing quote"],
    );
    text(
        b"Content-Type: text/plain\nContent-Type: text/html\n\nx\n",
        "x\n",
        &["Content-Type is there twice; the first counts"],
    );
}

#[test]
fn file_names() {
    let named = |fields: &str, name: &'static str, defects: &'static [&'static str]| {
        let raw: &'static [u8] = format!("Content-Type: a/b\n{fields}\n\nx")
            .into_bytes()
            .leak();
        file(raw, (Some(name), "a/b", b"x"), defects);
    };
    let disposed = |parameters: &str, name: &'static str, defects: &'static [&'static str]| {
        named(
            &format!("Content-Disposition: attachment; {parameters}"),
            name,
            defects,
        );
    };
    disposed("filename=a.txt", "a.txt", &[]);
    disposed(
        "filename=\"a;\\\"b\\\" (c).txt\" (d)",
        "a;\"b\" (c).txt",
        &[],
    );
    disposed("FileName=a.txt; filename*=utf-8''%c3%a4.txt", "ä.txt", &[]);
    disposed(
        "filename*=iso-8859-1'de'%E4.txt; filename=a.txt",
        "ä.txt",
        &[],
    );
    disposed(
        "filename*1=\"b.txt\"; filename*0=\"a\"; filename=no",
        "ab.txt",
        &[],
    );
    disposed(
        "filename*0*=utf-8''%C3; filename*1*=%A4; filename*2=\"%41.t\"",
        "ä%41.t",
        &[],
    );
    disposed("filename==?utf-8?q?=C3=A4;_b?=", "ä; b", &[]);
    disposed("filename=\"=?utf-8*de?b?w6Q=?=\"", "ä", &[]);
    disposed("filename==?utf-8?q?a?= =?utf-8?q?b?=", "ab", &[]);
    disposed(
        "filename=my file.txt; size=1",
        "my file.txt",
        &["Content-Disposition: a parameter with spaces and without quotes"],
    );
    disposed(
        "filename*0=a; filename*2=c",
        "a",
        &["Content-Disposition: the parameter filename lacks its piece 1"],
    );
    disposed(
        "filename*1=a; filename=b",
        "b",
        &["Content-Disposition: the parameter filename lacks its first piece"],
    );
    disposed(
        "filename*=a%20b",
        "a b",
        &["Content-Disposition: the parameter filename* names no charset"],
    );
    disposed(
        "filename*=utf-8''a%zz",
        "a%zz",
        &[
            "Content-Disposition: the parameter filename* has percent escapes that cannot be decoded",
        ],
    );
    named("Content-Disposition: inline; filename=é", "é", &[]);
}

#[test]
fn boundaries() {
    // `=_X` is the beginning of `=_X_alt`.
    Row {
        raw: b"Content-Type: multipart/mixed; boundary=\"=_X\"\n\n--=_X\n\
            Content-Type: multipart/alternative; boundary=\"=_X_alt\"\n\n\
            --=_X_alt\n\ntext\n--=_X_alt\nContent-Type: text/html\n\nhtml\n--=_X_alt--\n\
            --=_X\nContent-Type: a/b\n\nx\n--=_X--\n",
        text: Some("text"),
        html: Some("html"),
        attachments: &[(None, "a/b", b"x")],
        ..Row::default()
    }
    .check();
    text(
        b"Content-Type: multipart/mixed; boundary=b\n\npreamble\n--b \t\n\n\
            one\n--better\n --b\n--b--x\ntwo\n\n--b--  \nepilogue\n--b\n\nno part\n",
        "one\n--better\n --b\n--b--x\ntwo\n",
        &[],
    );
    text(
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n",
        "one\n",
        &["a multipart without its last delimiter"],
    );
    // A delimiter of the outer multipart ends the inner one.
    Row {
        raw: b"Content-Type: multipart/mixed; boundary=o\n\n--o\n\
            Content-Type: multipart/alternative; boundary=i\n\n--i\n\ntext\n\
            --o\nContent-Type: a/b\n\nx\n--o--\n",
        text: Some("text"),
        attachments: &[(None, "a/b", b"x")],
        defects: &["part 1: a multipart without its last delimiter"],
        ..Row::default()
    }
    .check();
    text(
        b"Content-Type: multipart/mixed\n\n--b\n\none\n--b--\n",
        "--b\n\none\n--b--\n",
        &["a multipart without a boundary; it is read as text"],
    );
    text(
        b"Content-Type: multipart/mixed; boundary=b\n\none\n",
        "one\n",
        &["a multipart whose boundary is on no line; it is read as text"],
    );
}

#[test]
fn parts() {
    // A second text is an attachment.
    Row {
        raw: b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\n\
            two\n--b\nContent-Type: text/html\n--b--\n",
        text: Some("one"),
        html: Some(""),
        attachments: &[(None, "text/plain", b"two")],
        ..Row::default()
    }
    .check();
    // Never the lines of its header.
    Row {
        raw: b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: a/b\n\
            Content-Transfer-Encoding: base64\n\n\n*\n--b--\n",
        attachments: &[(None, "a/b", b"")],
        defects: &["part 1: 1 octet behind its base64 is not decoded"],
        ..Row::default()
    }
    .check();
    Row {
        raw: b"Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: in\n\nx\n--b--\n",
        attachments: &[(None, "message/rfc822", b"Subject: in\r\n\r\nx")],
        ..Row::default()
    }
    .check();
}

#[test]
fn what_is_said_of_a_part() {
    let mail = Mail::parse(
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n\
        --b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<img src=cid:1@x>\r\n\
        --b\r\nContent-Type: image/png\r\nContent-ID: <1@x>\r\nContent-Disposition: inline\r\n\
        X-Own: =?utf-8?q?=C3=A4?=\r\n\r\npng\r\n\
        --b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n\
        --b\r\nContent-Disposition: form-data\r\n\r\nfile\r\n--b--\r\n",
    );
    let image = &mail.attachments()[0];
    assert_eq!(image.content_id(), Some("1@x"));
    assert_eq!(image.disposition(), Some(Disposition::Inline));
    assert_eq!(image.header("x-own"), Some("ä"));
    assert_eq!(image.headers().len(), 4);
    assert_eq!((image.raw(), image.text()), (None, None));
    let file = mail.attachments().last().unwrap();
    assert_eq!(file.disposition(), Some(Disposition::Attachment));
    let texts: Vec<_> = mail.text_parts().into_iter().map(Part::text).collect();
    assert_eq!(texts, [Some("<img src=cid:1@x>"), Some("one"), Some("two")]);
    let charsets: Vec<_> = mail.parts().into_iter().map(Part::charset).collect();
    assert_eq!(charsets, [Some("utf-8"), None, None, None, None]);
}

#[test]
fn line_ends_are_crlf() {
    let mail = Mail::parse(b"\r\na\nb\rc\r\nd\n\r\re");
    assert_eq!(mail.text(), Some("a\r\nb\r\nc\r\nd\r\n\r\n\r\ne"));
    let mail = Mail::parse(b"Content-Transfer-Encoding: base64\n\nYQpiDQpj");
    assert_eq!(mail.text(), Some("a\r\nb\r\nc"));
}

#[test]
fn flowed_text() {
    let flowed = |parameters: &str, text: &str| {
        let raw = format!("Content-Type: text/plain; {parameters}\r\n\r\n{text}");
        let mail = Mail::parse(raw.as_bytes());
        assert_eq!(mail.text(), Some(text));
        mail.unfolded_text().unwrap().into_owned()
    };
    let text = "one \r\ntwo\r\n From\r\n> a \r\n> b\r\n>> c \r\nd \r\n-- \r\nme \r\n";
    assert_eq!(
        flowed("format=flowed", text),
        "one two\r\nFrom\r\n> a b\r\n>> c \r\nd \r\n-- \r\nme "
    );
    assert_eq!(
        flowed("Format=Flowed; DelSp=Yes", "on \r\ne\r\n"),
        "one\r\n"
    );
    assert_eq!(flowed("format=fixed", text), text);
}

#[test]
fn addresses() {
    let read = |field: &str| {
        let mail = Mail::parse(format!("To: {field}\r\n\r\n").as_bytes());
        let list = mail.to().iter().map(|mailbox| {
            let group = mailbox.group().map(|group| format!("{group}: "));
            format!("{}{mailbox}", group.unwrap_or_default())
        });
        (
            list.collect::<Vec<_>>().join(" | "),
            mail.defects().join(" | "),
        )
    };
    for (field, expected) in [
        ("a@b", "a@b"),
        ("a@b, <c@d>,, e@f", "a@b | c@d | e@f"),
        ("Bob <bob@x>", "\"Bob\" <bob@x>"),
        (
            "\"Smith, \\\"B\\\"\" <bob@x>",
            "\"Smith, \\\"B\\\"\" <bob@x>",
        ),
        (
            "=?utf-8?q?J=C3=B6?= =?utf-8?b?cmc=?= X <j@x>",
            "\"Jörg X\" <j@x>",
        ),
        ("\"=?utf-8?q?J=C3=B6?=\" <j@x>", "\"Jö\" <j@x>"),
        (
            "Jörg <jörg@bücher.example>",
            "\"Jörg\" <jörg@bücher.example>",
        ),
        ("bob@x (Bob (B.))", "\"Bob (B.)\" <bob@x>"),
        ("\"a, b\"@x", "\"a, b\"@x"),
        ("<@r,@s:a@x>", "a@x"),
        ("< a (c) @ x . y >", "a@x.y"),
        (
            "a@[127.0.0.1], b@[IPv6:::1]",
            "a@[127.0.0.1] | b@[IPv6:::1]",
        ),
        (
            "team: a@x, B <b@x>; c@x",
            "team: a@x | team: \"B\" <b@x> | c@x",
        ),
        ("undisclosed-recipients:;", ""),
        ("a@x,\r\n b@x", "a@x | b@x"),
    ] {
        assert_eq!(read(field), (expected.to_owned(), String::new()), "{field}");
    }
    for (field, expected, defect) in [
        (
            "Bob Smith",
            "Bob Smith",
            "the field To: \"Bob Smith\" is no address",
        ),
        ("B <>", "\"B\" <>", "the field To: \"\" is no address"),
        (
            "<a@x",
            "a@x",
            "the field To: an address whose `<` has no `>`",
        ),
        (
            "a@x (c",
            "\"c\" <a@x>",
            "the field To: a comment that does not end",
        ),
    ] {
        assert_eq!(
            read(field),
            (expected.to_owned(), defect.to_owned()),
            "{field}"
        );
    }
    let mail = Mail::parse(
        b"from: a@x\r\nSender: b@x\r\nReply-To: c@x\r\nTo: d@x\r\nTo: e@x\r\nCc: f@x\r\nBcc: g@x\r\n",
    );
    let lists = [
        mail.from(),
        mail.sender(),
        mail.reply_to(),
        mail.to(),
        mail.cc(),
        mail.bcc(),
    ];
    let addresses = lists.map(|list| list.iter().map(Mailbox::address).collect::<Vec<_>>());
    let expected = [
        vec!["a@x"],
        vec!["b@x"],
        vec!["c@x"],
        vec!["d@x", "e@x"],
        vec!["f@x"],
        vec!["g@x"],
    ];
    assert_eq!(addresses, expected);
}
