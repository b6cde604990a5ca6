use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    line: 60,
    head: 200,
    body: 1000,
    lenient_targets: false,
};

/// What came of a head, for comparison: its fields and the bytes it took, or status and what is known.
#[derive(Debug, PartialEq)]
enum Seen {
    Partial,
    Head(String, String, Version, Headers, usize),
    Rejected(u16, String, String),
}

fn feed(pieces: &[&[u8]]) -> Seen {
    let mut parser = HeadParser::default();
    let mut buffer = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        match parser.parse(&buffer, &LIMITS) {
            Parsed::Partial => {}
            Parsed::Head(head, taken) => {
                let (method, target) = (head.method().into(), head.target().into());
                return Seen::Head(method, target, head.version, head.headers, taken);
            }
            Parsed::Rejected(head, rejection) => {
                return Seen::Rejected(
                    rejection.status,
                    rejection.reason.into(),
                    head.text().into(),
                );
            }
        }
    }
    Seen::Partial
}

fn parsed(text: &str) -> RequestHead {
    match HeadParser::default().parse(text.as_bytes(), &LIMITS) {
        Parsed::Head(head, taken) => {
            assert_eq!(taken, text.len());
            head
        }
        other => panic!("{text:?} gave {other:?}"),
    }
}

fn rejected(bytes: &[u8]) -> (u16, String) {
    match feed(&[bytes]) {
        Seen::Rejected(status, reason, _) => (status, reason),
        other => panic!("{} gave {other:?}", bytes.escape_ascii()),
    }
}

const MESSAGES: [&str; 6] = [
    "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    "\r\n\r\nPOST /a?b=c HTTP/1.1\r\nhost: [::1]:80\r\nX-a:1\r\nx-A:  2 \t\r\nEmpty:\r\nContent-Length: 5\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost:\r\n\r\n",
    "GET http://h:1/x HTTP/1.0\r\n\r\n",
    "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\nExpect: 100-continue\r\n\r\n",
    "GET /lf HTTP/1.1\nHost: h\nUpgrade: x\nConnection: upgrade\n\n",
];

#[test]
fn every_prefix_is_partial_and_every_split_gives_the_same() {
    for message in MESSAGES {
        let bytes = message.as_bytes();
        let whole = feed(&[bytes]);
        assert!(
            matches!(whole, Seen::Head(.., taken) if taken == bytes.len()),
            "{message:?}: {whole:?}"
        );
        for cut in 0..bytes.len() {
            let (front, back) = bytes.split_at(cut);
            assert_eq!(feed(&[front]), Seen::Partial, "{cut} bytes of {message:?}");
            assert_eq!(feed(&[front, back]), whole, "{message:?} cut at {cut}");
        }
        assert_eq!(
            feed(&bytes.chunks(1).collect::<Vec<_>>()),
            whole,
            "{message:?} byte by byte"
        );
    }
}

#[test]
fn what_follows_a_head_is_left() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\n\r\nbody\r\n\r\n";
    assert!(matches!(feed(&[bytes]), Seen::Head(.., 27)));
}

#[test]
fn all_parts_of_a_head() {
    let head = parsed(MESSAGES[1]);
    assert_eq!((head.method(), head.target()), ("POST", "/a?b=c"));
    assert_eq!(head.version, Version::Http11);
    let fields: Vec<_> = head.headers.iter().collect();
    let expected = [
        ("host", "[::1]:80"),
        ("X-a", "1"),
        ("x-A", "2"),
        ("Empty", ""),
        ("Content-Length", "5"),
    ];
    assert_eq!(fields, expected);
    assert_eq!(head.framing(), Framing::Length(5));
    assert!(head.keep_alive() && !head.expects_continue() && !head.upgrade());
    assert_eq!(head.text(), &MESSAGES[1][4..]);
    assert!(!parsed(MESSAGES[3]).keep_alive());
    assert!(parsed(MESSAGES[4]).expects_continue());
    assert!(parsed(MESSAGES[5]).upgrade());
}

#[test]
fn a_value_that_is_not_utf_8_is_latin_1() {
    let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nA: \xe4\xff\r\nB: \xc3\xa4\r\nC: x\r\n\r\n";
    let Seen::Head(_, _, _, headers, taken) = feed(&[bytes]) else {
        panic!("not a head");
    };
    assert_eq!(taken, bytes.len());
    let fields: Vec<_> = headers.iter().collect();
    assert_eq!(fields, [("Host", "h"), ("A", "äÿ"), ("B", "ä"), ("C", "x")]);
}

#[test]
fn versions() {
    for (version, status) in [
        ("HTTP/1.2", None),
        ("HTTP/1.9", None),
        ("HTTP/2.0", Some(505)),
        ("HTTP/9.9", Some(505)),
        ("HTTP/0.9", Some(505)),
        ("HTTP/1.10", Some(400)),
        ("HTTP/1", Some(400)),
        ("HTTP/11", Some(400)),
        ("HTTP/1,1", Some(400)),
        ("http/1.1", Some(400)),
        ("HTTP /1.1", Some(400)),
        ("", Some(400)),
    ] {
        let text = format!("GET / {version}\r\nHost: h\r\n\r\n");
        match (feed(&[text.as_bytes()]), status) {
            (Seen::Head(_, _, Version::Http11, ..), None) => {}
            (Seen::Rejected(status, ..), Some(due)) => assert_eq!(status, due, "{version}"),
            (other, _) => panic!("{version} gave {other:?}"),
        }
    }
    let shown = [Version::Http10, Version::Http11].map(|version| version.to_string());
    assert_eq!(shown, ["HTTP/1.0", "HTTP/1.1"]);
    let (status, _) = rejected(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(status, 505);
}

#[test]
fn bad_request_lines() {
    for line in [
        "GET /",
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        " GET / HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /a b HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "G@T / HTTP/1.1",
        " / HTTP/1.1",
        "GET * HTTP/1.1",
        "GET a HTTP/1.1",
        "CONNECT / HTTP/1.1",
        "GET /\0 HTTP/1.1",
        "GET /\rx HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET /ä HTTP/1.1",
        "\u{7f}",
    ] {
        let (status, reason) = rejected(format!("{line}\r\nHost: h\r\n\r\n").as_bytes());
        assert_eq!(status, 400, "{line:?}: {reason}");
    }
}

#[test]
fn bad_header_lines_and_the_reason_given() {
    for (line, reason) in [
        (
            "A : b",
            r#"whitespace before the colon in the header line "A : b""#,
        ),
        (
            "A\t: b",
            r#"whitespace before the colon in the header line "A\t: b""#,
        ),
        (
            " A: b",
            r#"a folded line (obs-fold) in the header line " A: b""#,
        ),
        (
            "A: b\r\n c",
            r#"a folded line (obs-fold) in the header line " c""#,
        ),
        (
            "A: b\r\n\tc",
            r#"a folded line (obs-fold) in the header line "\tc""#,
        ),
        ("A: b\rc", r#"a CR without LF in the header line "A: b\rc""#),
        ("A: b\0", r#"a NUL in the header line "A: b\x00""#),
        (
            "A: \x01",
            r#"a control character in the header line "A: \x01""#,
        ),
        (
            "A: \x7f",
            r#"a control character in the header line "A: \x7f""#,
        ),
        ("A", r#"no colon in the header line "A""#),
        (": b", r#"no name in the header line ": b""#),
        (
            "A(: b",
            r#"a name that is not a token in the header line "A(: b""#,
        ),
        (
            "A\0: b",
            r#"a name that is not a token in the header line "A\x00: b""#,
        ),
        (
            "\rA: b",
            r#"a name that is not a token in the header line "\rA: b""#,
        ),
    ] {
        let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{line}\r\n\r\n");
        assert_eq!(rejected(bytes.as_bytes()), (400, reason.into()), "{line:?}");
        let first = format!("GET / HTTP/1.1\r\n{line}\r\nHost: h\r\n\r\n");
        assert_eq!(rejected(first.as_bytes()).0, 400, "{line:?} first");
    }
}

#[test]
fn a_rejected_head_keeps_what_could_be_read() {
    let bytes = b"GET /x HTTP/1.1\r\nA: b\r\n\r\n";
    let Parsed::Rejected(head, rejection) = HeadParser::default().parse(bytes, &LIMITS) else {
        panic!("a request without Host was taken");
    };
    assert_eq!(
        rejection.reason,
        "an HTTP/1.1 request must have a Host field"
    );
    assert_eq!((head.method(), head.target()), ("GET", "/x"));
    assert_eq!(head.headers.get("a"), Some("b"));
    let large = [&b"GET /x HTTP/1.1\r\nA: "[..], &[b'x'; 300]].concat();
    let Parsed::Rejected(head, rejection) = HeadParser::default().parse(&large, &LIMITS) else {
        panic!("a head that is too large was taken");
    };
    assert_eq!(rejection.status, 431);
    assert_eq!(
        (head.method(), head.target(), head.text()),
        ("GET", "/x", "GET /x HTTP/1.1\r\n")
    );
}

#[test]
fn a_rejected_line_keeps_the_bytes_up_to_its_fault() {
    for (bytes, kept) in [
        (&b"\r\nGET /\0x HTTP/1.1\r\n"[..], "GET /\0"),
        (b"GET /\rx", "GET /\r"),
        (b"GET / HTTP/9.9\r\nA: b", "GET / HTTP/9.9\r\n"),
    ] {
        let Seen::Rejected(_, _, text) = feed(&[bytes]) else {
            panic!("{} was taken", bytes.escape_ascii());
        };
        assert_eq!(text, kept);
    }
}

#[test]
fn early_rejection_of_what_cannot_become_a_request() {
    let (status, reason) = rejected(b"\x16\x03\x01");
    assert_eq!(status, 400);
    assert!(reason.contains("TLS"), "{reason}");
    assert_eq!(rejected(b"GET / HTTP/3.0\r\n").0, 505);
    assert_eq!(rejected(b"GET /\r\n").0, 400);
}

#[test]
fn limits() {
    let line = |length: usize| format!("GET /{} HTTP/1.1\r\n", "x".repeat(length - 14));
    assert!(matches!(feed(&[line(60).as_bytes()]), Seen::Partial));
    assert_eq!(rejected(line(61).as_bytes()).0, 414);
    assert_eq!(rejected(&[b'G'; 61]).0, 414);
    // Empty lines before do not count.
    let late = format!("\r\n\r\n{}", line(60));
    assert!(matches!(feed(&[late.as_bytes()]), Seen::Partial));
    // Header section: "A: x..\r\n" and the empty line, 200 bytes in all.
    let head = |length: usize| format!("GET / HTTP/1.0\r\nA: {}\r\n\r\n", "x".repeat(length - 7));
    assert!(matches!(feed(&[head(200).as_bytes()]), Seen::Head(..)));
    assert_eq!(rejected(head(201).as_bytes()).0, 431);
    assert_eq!(rejected(&head(300).as_bytes()[..250]).0, 431);
    assert_eq!(feed(&[&[b'\n'; MAX_EMPTY_LINES]]), Seen::Partial);
    assert_eq!(rejected(&[b'\n'; MAX_EMPTY_LINES + 1]).0, 400);
}

#[test]
fn the_number_of_fields_is_limited() {
    let limits = Limits {
        head: 1 << 20,
        ..LIMITS
    };
    for (count, taken) in [(24, true), (25, true), (256, true), (257, false)] {
        let text = format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(count));
        match HeadParser::default().parse(text.as_bytes(), &limits) {
            Parsed::Head(head, _) => assert!(taken && head.headers.len() == count, "{count}"),
            Parsed::Rejected(_, rejection) => assert!(!taken && rejection.status == 431, "{count}"),
            Parsed::Partial => panic!("{count} fields are partial"),
        }
    }
}

fn noise() -> impl Strategy<Value = Vec<u8>> {
    let nearly = "(\r?\n){0,2}(GET|P ST|) ?(/|\\*|http://h|a)[ #]?(HTTP/[0-2]\\.[01])?\r?\n?\
        ((Host|A|Content-Length|Transfer-Encoding|Expect)[ :]{1,2}[0-9a-c,]{0,3}(chunked)?\r?\n?){0,4}\r?\n?\r?\n?.{0,4}";
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..300),
        nearly.prop_map(String::into_bytes),
        "GET / HTTP/1\\.[01]\r\n(Host: h\r\n)?([A-C]:[ -~]{0,9}\r\n){0,9}(\r\n)?"
            .prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn any_segmentation_gives_the_same(bytes in noise(), size in 1usize..20) {
        let pieces: Vec<_> = bytes.chunks(size).collect();
        prop_assert_eq!(feed(&pieces), feed(&[&bytes]));
    }

    #[test]
    fn fields_come_back_as_sent(
        fields in proptest::collection::vec(("[!#-'*+.0-9A-Za-z^_`|~-]{1,8}", "([!-~]([ -~]{0,9}[!-~])?)?"), 0..12),
    ) {
        let special = ["host", "connection", "content-length", "transfer-encoding", "expect", "upgrade"];
        prop_assume!(fields.iter().all(|(name, _)| !special.contains(&&*name.to_lowercase())));
        let mut text = String::from("GET / HTTP/1.0\r\n");
        for (name, value) in &fields {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        prop_assume!(text.len() - 16 <= LIMITS.head);
        let head = parsed(&text);
        let expected: Vec<_> = fields.iter().map(|(name, value)| (&**name, &**value)).collect();
        prop_assert_eq!(head.headers.iter().collect::<Vec<_>>(), expected);
    }
}
