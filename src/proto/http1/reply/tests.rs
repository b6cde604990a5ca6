use super::*;

const GET: Exchange = Exchange {
    version: Version::Http11,
    head: false,
    connect: false,
    keep_alive: true,
};
const HEAD: Exchange = Exchange { head: true, ..GET };
const OLD: Exchange = Exchange {
    version: Version::Http10,
    keep_alive: false,
    ..GET
};
const OLD_KEPT: Exchange = Exchange {
    keep_alive: true,
    ..OLD
};
const CONNECT: Exchange = Exchange {
    connect: true,
    ..GET
};

fn headers(fields: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in fields {
        headers.append(name, value).unwrap();
    }
    headers
}

/// The head after its status line, and whether body and connection follow.
fn sent(
    exchange: Exchange,
    status: u16,
    size: Option<u64>,
    chunked: bool,
    fields: &[(&str, &str)],
) -> (String, bool, bool) {
    let headers = headers(fields);
    let plan = Plan::new(exchange, status, size, chunked, &headers);
    let mut out = Vec::new();
    ReplyHead::plain(status, &headers).encode(&mut out, exchange, plan);
    let text = String::from_utf8(out).unwrap();
    let (_, rest) = text.split_once("\r\n").unwrap();
    (rest.replace("\r\n", "|"), plan.body, plan.keep_alive)
}

#[test]
fn framing_follows_version_method_and_status() {
    let row = |text: &str, body, kept| (text.to_string(), body, kept);
    let length = "Content-Length: 5||";
    let chunks = "Transfer-Encoding: chunked||";
    assert_eq!(sent(GET, 200, Some(5), false, &[]), row(length, true, true));
    assert_eq!(
        sent(GET, 200, Some(0), false, &[]),
        row("Content-Length: 0||", true, true)
    );
    assert_eq!(sent(GET, 200, Some(5), true, &[]), row(chunks, true, true));
    assert_eq!(sent(GET, 200, None, false, &[]), row(chunks, true, true));
    assert_eq!(
        sent(HEAD, 200, Some(5), false, &[]),
        row(length, false, true)
    );
    assert_eq!(sent(HEAD, 200, None, false, &[]), row(chunks, false, true));
    for status in [100, 101, 103, 204, 304] {
        assert_eq!(
            sent(GET, status, Some(5), true, &[]),
            row("|", false, true),
            "{status}"
        );
    }
    assert_eq!(
        sent(CONNECT, 200, Some(5), false, &[]),
        row("|", false, true)
    );
    assert_eq!(
        sent(CONNECT, 403, Some(5), false, &[]),
        row(length, true, true)
    );
}

#[test]
fn http_1_0_gets_no_chunks() {
    let row = |text: &str, kept| (text.to_string(), true, kept);
    let closed = "Content-Length: 5|Connection: close||";
    let kept = "Content-Length: 5|Connection: keep-alive||";
    assert_eq!(sent(OLD, 200, Some(5), true, &[]), row(closed, false));
    assert_eq!(sent(OLD_KEPT, 200, Some(5), true, &[]), row(kept, true));
    assert_eq!(
        sent(OLD_KEPT, 200, None, true, &[]),
        row("Connection: close||", false)
    );
}

#[test]
fn fields_are_sent_as_given_and_ours_only_where_missing() {
    let fields = [
        ("x-B", "1"),
        ("X-a", "2"),
        ("X-B", "3"),
        ("content-length", "5"),
    ];
    let text = "x-B: 1|X-a: 2|X-B: 3|content-length: 5||";
    assert_eq!(
        sent(GET, 200, Some(5), false, &fields),
        (text.into(), true, true)
    );
    // One that lies is sent, and the connection ends.
    let lie = sent(GET, 200, Some(5), false, &[("Content-Length", "6")]);
    assert_eq!(
        lie,
        ("Content-Length: 6|Connection: close||".into(), true, false)
    );
    // The answer to HEAD has no body that it could fail to fit.
    let head = sent(HEAD, 200, Some(0), false, &[("Content-Length", "6")]);
    assert_eq!(head, ("Content-Length: 6||".into(), false, true));
    let own = sent(
        GET,
        200,
        Some(5),
        false,
        &[("Transfer-Encoding", "chunked")],
    );
    assert_eq!(own, ("Transfer-Encoding: chunked||".into(), true, true));
    let close = sent(GET, 200, Some(5), false, &[("Connection", "Close")]);
    assert_eq!(
        close,
        ("Connection: Close|Content-Length: 5||".into(), true, false)
    );
}

#[test]
fn a_body_is_chunked_only_under_a_field_that_says_so() {
    let te = "Transfer-Encoding";
    let framing = |exchange, size, chunked, fields: &[(&str, &str)]| {
        let plan = Plan::new(exchange, 200, size, chunked, &headers(fields));
        (plan.framing, plan.keep_alive)
    };
    let closed = (BodyFraming::Close, false);
    for codings in ["identity", "gzip", "chunked, gzip", "xchunked", "", ","] {
        for (size, chunked) in [(Some(5), false), (Some(5), true), (None, false)] {
            let given = framing(GET, size, chunked, &[(te, codings)]);
            assert_eq!(given, closed, "{codings:?}");
        }
        let sent = sent(GET, 200, Some(5), false, &[(te, codings)]);
        assert_eq!(sent.0, format!("{te}: {codings}|Connection: close||"));
    }
    let chunks = |kept| (BodyFraming::Chunked, kept);
    assert_eq!(
        framing(GET, None, false, &[(te, "gzip, Chunked")]),
        chunks(true)
    );
    assert_eq!(
        framing(GET, None, false, &[(te, "chunked, chunked")]),
        chunks(false)
    );
    // Several fields are one list.
    assert_eq!(
        framing(GET, Some(5), false, &[(te, "gzip"), (te, "chunked")]),
        chunks(true)
    );
    assert_eq!(
        framing(GET, Some(5), false, &[(te, "chunked"), (te, "gzip")]),
        closed
    );
    // The coding counts beside a length, and the connection ends (RFC 9112, section 6.3).
    let cl = ("Content-Length", "5");
    assert_eq!(
        framing(GET, Some(5), false, &[cl, (te, "chunked")]),
        chunks(false)
    );
    assert_eq!(framing(GET, Some(5), false, &[cl, (te, "gzip")]), closed);
    assert_eq!(framing(GET, Some(5), true, &[cl]), chunks(false));
    // A body of unknown size under a length of the caller's goes out as it is.
    assert_eq!(framing(GET, None, false, &[cl]), closed);
    assert_eq!(
        framing(GET, Some(5), false, &[cl, cl]),
        (BodyFraming::Length(5), true)
    );
    let two = [cl, ("Content-Length", "6")];
    assert_eq!(
        framing(GET, Some(5), false, &two),
        (BodyFraming::Length(5), false)
    );
    // HTTP/1.0 knows no chunks: the field is left out.
    let old = sent(OLD_KEPT, 200, Some(5), false, &[(te, "chunked")]);
    assert_eq!(old, ("Connection: close||".into(), true, false));
    let old = sent(OLD_KEPT, 200, Some(5), false, &[(te, "identity")]);
    let expected = "Transfer-Encoding: identity|Connection: close||";
    assert_eq!(old, (expected.into(), true, false));
    // What has no body may still be believed to have one.
    for field in [cl, (te, "chunked"), (te, "gzip")] {
        let (_, body, kept) = sent(GET, 204, Some(5), false, &[field]);
        assert_eq!((body, kept), (false, false), "{field:?}");
        let (_, body, kept) = sent(GET, 304, Some(5), false, &[field]);
        assert_eq!((body, kept), (false, true), "{field:?}");
    }
    let (_, body, kept) = sent(HEAD, 200, Some(5), false, &[(te, "gzip")]);
    assert_eq!((body, kept), (false, false));
}

#[test]
fn a_205_has_an_empty_body() {
    for chunked in [false, true] {
        let (text, _, kept) = sent(GET, 205, Some(5), chunked, &[]);
        assert_eq!((&*text, kept), ("Content-Length: 0||", true));
    }
    let plan = Plan::new(GET, 205, Some(5), false, &headers(&[]));
    assert!(plan.body && !plan.content);
    let lie = sent(GET, 205, Some(5), false, &[("Content-Length", "5")]);
    assert_eq!(lie.0, "Content-Length: 5|Connection: close||");
}

#[test]
fn a_connection_field_of_the_callers_says_what_the_server_does() {
    let closing = Exchange {
        keep_alive: false,
        ..GET
    };
    let sent = |exchange, value| sent(exchange, 200, Some(0), false, &[("connection", value)]).0;
    let rest = "|Content-Length: 0||";
    assert_eq!(
        sent(closing, "keep-alive"),
        format!("connection: keep-alive, close{rest}")
    );
    assert_eq!(sent(closing, ""), format!("connection: close{rest}"));
    assert_eq!(
        sent(closing, "x, Close"),
        format!("connection: x, Close{rest}")
    );
    assert_eq!(
        sent(GET, "keep-alive"),
        format!("connection: keep-alive{rest}")
    );
    assert_eq!(
        sent(OLD_KEPT, "x"),
        format!("connection: x, keep-alive{rest}")
    );
    // Only the first is changed: some clients read no other.
    let fields = headers(&[("Connection", "a"), ("Connection", "b")]);
    let plan = Plan::new(closing, 200, Some(0), false, &fields);
    let text = |connection_as_given| {
        let mut out = Vec::new();
        let head = ReplyHead {
            connection_as_given,
            ..ReplyHead::plain(204, &fields)
        };
        head.encode(&mut out, closing, plan);
        String::from_utf8(out).unwrap()
    };
    assert!(text(false).contains("Connection: a, close\r\nConnection: b\r\n"));
    assert!(text(true).contains("Connection: a\r\nConnection: b\r\n"));
    assert!(!text(true).contains("close"));
}

#[test]
fn date_and_trailer_are_sent_where_the_caller_has_none() {
    let text = |exchange, chunked, fields: &[(&str, &str)]| {
        let (fields, trailers) = (
            headers(fields),
            headers(&[("A", "1"), ("b", "2"), ("a", "3")]),
        );
        let plan = Plan::new(exchange, 200, Some(0), chunked, &fields);
        let mut out = Vec::new();
        let head = ReplyHead {
            date: Some(HttpDate::of(std::time::UNIX_EPOCH)),
            trailers: &trailers,
            ..ReplyHead::plain(200, &fields)
        };
        head.encode(&mut out, exchange, plan);
        String::from_utf8(out).unwrap().replace("\r\n", "|")
    };
    let date = "Date: Thu, 01 Jan 1970 00:00:00 GMT|";
    let chunks = "Transfer-Encoding: chunked|";
    let ok = "HTTP/1.1 200 OK|";
    assert_eq!(
        text(GET, true, &[]),
        format!("{ok}{date}{chunks}Trailer: A, b||")
    );
    assert_eq!(
        text(GET, false, &[]),
        format!("{ok}{date}Content-Length: 0||")
    );
    let own = [("date", "now"), ("trailer", "x")];
    assert_eq!(
        text(GET, true, &own),
        format!("{ok}date: now|trailer: x|{chunks}|")
    );
}

#[test]
fn a_default_type_gives_way_to_the_callers() {
    let with = |fields, status| {
        let headers = headers(fields);
        let plan = Plan::new(GET, status, Some(1), false, &headers);
        let mut out = Vec::new();
        let head = ReplyHead {
            reason: Some("Fine"),
            content_type: Some("text/plain"),
            ..ReplyHead::plain(status, &headers)
        };
        head.encode(&mut out, GET, plan);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        with(&[], 200),
        "HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n"
    );
    assert_eq!(with(&[], 204), "HTTP/1.1 204 Fine\r\n\r\n");
    let own = "HTTP/1.1 200 Fine\r\ncontent-type: a/b\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(with(&[("content-type", "a/b")], 200), own);
}

#[test]
fn chunks_and_trailers() {
    let mut out = Vec::new();
    encode_chunk(&mut out, b"hello, world, hello");
    encode_chunk(&mut out, b"");
    encode_last_chunk(&mut out, &headers(&[("X-Sum", "1")]));
    assert_eq!(out, b"13\r\nhello, world, hello\r\n0\r\nX-Sum: 1\r\n\r\n");
}

#[test]
fn interim_answers_and_tunnels_do_not_announce_an_end() {
    let closing = |exchange| Exchange {
        keep_alive: false,
        ..exchange
    };
    for (exchange, status) in [(GET, 103), (GET, 101), (OLD_KEPT, 103), (CONNECT, 200)] {
        let sent = sent(closing(exchange), status, Some(0), false, &[]);
        assert_eq!(sent, ("|".into(), false, false), "{status}");
    }
    let refused = sent(closing(CONNECT), 403, Some(0), false, &[]);
    assert_eq!(refused.0, "Content-Length: 0|Connection: close||");
}

#[test]
fn usual_statuses_have_phrases() {
    assert_eq!(reason_phrase(404), "Not Found");
    let known = [
        100..=103,
        200..=206,
        300..=304,
        307..=308,
        400..=417,
        500..=505,
    ];
    for status in known.into_iter().flatten() {
        assert!(!reason_phrase(status).is_empty(), "{status}");
    }
    assert_eq!(reason_phrase(599), "");
}

#[test]
fn numbers() {
    for number in [0, 9, 10, 200, u64::MAX] {
        let mut out = Vec::new();
        decimal(&mut out, number);
        assert_eq!(out, number.to_string().into_bytes());
    }
}
