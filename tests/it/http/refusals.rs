//! Requests that are refused, and those that break off.

use std::io::Write;
use std::time::Duration;

use loopback::{TestHttpServer, Version};

use super::{Client, get, start};
use crate::support::{LONG, connect, exchange};

fn server() -> TestHttpServer {
    TestHttpServer::builder()
        .max_request_line(100)
        .max_head(1000)
        .max_body(1000)
        .start("127.0.0.1:0", |_| "taken")
        .unwrap()
}

/// Sends a request with a good one behind it: the connection must close, without an answer to that.
#[track_caller]
fn refused(server: &TestHttpServer, request: &[u8], status: u16, why: &str) {
    let mut client = Client::new(server.local_addr());
    client.send([request, get("/after").as_bytes()].concat());
    let reply = client.reply();
    let shown = request.escape_ascii();
    assert_eq!(reply.status, status, "{shown}: {reply:?}");
    assert!(reply.has("Connection: close"), "{shown}: {reply:?}");
    assert!(reply.text().contains(why), "{shown}: {:?}", reply.text());
    assert_eq!(client.rest(), b"", "{shown}");
    let record = server.take_refusal(LONG).unwrap();
    assert_eq!(
        record.error().map(|error| format!("{error}\n")),
        Some(reply.text().into())
    );
    assert!(server.refusals().is_empty(), "{shown}");
    assert!(server.requests().is_empty(), "{shown}");
}

#[test]
fn what_rfc_9112_calls_invalid_gets_400() {
    let mut server = server();
    let host = "GET / HTTP/1.1\r\nHost: h\r\n";
    let post = "POST / HTTP/1.1\r\nHost: h\r\n";
    let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    for (request, why) in [
        (
            format!("{post}{both}"),
            "both Content-Length and Transfer-Encoding",
        ),
        (
            format!("{post}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
            "differ",
        ),
        (format!("{post}Content-Length: 3, 4\r\n\r\nabc"), "differ"),
        (
            format!("{post}Content-Length: +3\r\n\r\nabc"),
            "is not a number",
        ),
        (
            format!("{post}Transfer-Encoding: chunked, gzip\r\n\r\n"),
            "must be chunked",
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "HTTP/1.0 has no",
        ),
        (
            format!("{host}A : b\r\n\r\n"),
            "whitespace before the colon",
        ),
        (format!("{host}A: b\r\n c\r\n\r\n"), "obs-fold"),
        (format!("{host}A: b\rc\r\n\r\n"), "a CR without LF"),
        (format!("{host}A: b\0\r\n\r\n"), "a NUL"),
        (format!("{host}A\r\n\r\n"), "no colon"),
        ("GET / HTTP/1.1\r\n\r\n".into(), "must have a Host"),
        (format!("{host}Host: h\r\n\r\n"), "2 Host fields"),
        (
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(),
            "is not a host",
        ),
        ("GET /\r\n\r\n".into(), "is not method, target and version"),
        (
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "is not method, target and version",
        ),
        ("GET / http/1.1\r\nHost: h\r\n\r\n".into(), "malformed"),
        (
            "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "the byte 0x00",
        ),
        (
            "GET /\rHTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "a CR without LF",
        ),
        ("CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n".into(), "host:port"),
        (
            "GET / HTTP/1.1\r\nHost: [zz]\r\n\r\n".into(),
            "is not a host",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a%zz\r\n\r\n".into(),
            "is not a host",
        ),
        (
            "GET /a?b=\"c\" HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "the character '\"' in the target, where it has to be written as %22",
        ),
        (
            "GET http://h/{a} HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "the character '{' in the target",
        ),
        (
            "GET /a%4 HTTP/1.1\r\nHost: h\r\n\r\n".into(),
            "a % in the target that no two hexadecimal digits follow",
        ),
        ("\x16\x03\x01\x02".into(), "TLS"),
    ] {
        refused(&server, request.as_bytes(), 400, why);
    }
    server.stop(LONG).unwrap();
}

#[test]
fn bad_chunks_get_400() {
    let mut server = server();
    for chunks in [
        "x\r\n",
        "+1\r\na\r\n",
        "0x1\r\na\r\n",
        "1 \r\na\r\n",
        " 1\r\na\r\n",
        "10000000000000000\r\n",
        "1\r\nab",
        "1\na\r\n",
    ] {
        let request = start("POST /") + "Transfer-Encoding: chunked\r\n\r\n" + chunks;
        refused(&server, request.as_bytes(), 400, "");
    }
    server.stop(LONG).unwrap();
}

#[test]
fn each_other_fault_has_its_status() {
    let mut server = server();
    let long = "x".repeat(1000);
    for (request, status, why) in [
        (
            get(&format!("/{}", &long[..100])),
            414,
            "the request line is longer than 100 bytes (builder().max_request_line)",
        ),
        (
            start("GET /") + &format!("A: {long}\r\n\r\n"),
            431,
            "the header section is larger than 1000 bytes (builder().max_head)",
        ),
        (
            start("POST /") + "Content-Length: 1001\r\n\r\n",
            413,
            "1001 bytes is announced, the limit is 1000 (builder().max_body)",
        ),
        (
            start("POST /") + "Content-Length: 99999999999999999999\r\n\r\n",
            413,
            "more than 2^64",
        ),
        (
            start("POST /") + "Transfer-Encoding: chunked\r\n\r\n3e9\r\n",
            413,
            "the limit is 1000",
        ),
        (
            start("POST /") + "Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + &long,
            431,
            "the trailer section",
        ),
        (
            start("POST /") + "Transfer-Encoding: br, chunked\r\n\r\n",
            501,
            "the transfer coding \"br\"",
        ),
        (
            start("POST /") + "Expect: 200-ok\r\n\r\n",
            417,
            "the expectation \"200-ok\"",
        ),
        ("GET / HTTP/2.0\r\nHost: h\r\n\r\n".into(), 505, "HTTP/2.0"),
        ("GET / HTTP/9.9\r\nHost: h\r\n\r\n".into(), 505, "HTTP/9.9"),
    ] {
        refused(&server, request.as_bytes(), status, why);
    }
    server.stop(LONG).unwrap();
}

#[test]
fn targets_that_are_no_uri_can_be_taken() {
    let mut server = TestHttpServer::builder()
        .lenient_targets()
        .start("127.0.0.1:0", |request| request.target().to_owned())
        .unwrap();
    let mut client = Client::new(server.local_addr());
    for target in ["/a?b=\"<>{}|\\^`\"", "/a%4", "/%zz"] {
        assert_eq!(client.ask(get(target)).text(), target);
    }
    server.stop(LONG).unwrap();
}

/// RFC 9113, section 3.4: it begins with SETTINGS; GOAWAY says why it ends.
#[test]
fn a_client_that_speaks_http_2_is_told_in_its_own_words() {
    let mut server = server();
    let mut client = Client::new(server.local_addr());
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
    let why = "the client speaks HTTP/2 from its first byte (RFC 9113, section 3.4), and this server speaks HTTP/1.1";
    let length = u8::try_from(8 + why.len()).unwrap();
    let goaway = [
        &[0, 0, length, 7, 0, 0, 0, 0, 0],
        &[0, 0, 0, 0, 0, 0, 0, 13][..],
    ]
    .concat();
    let frames = [b"\0\0\0\x04\0\0\0\0\0", &goaway[..], why.as_bytes()].concat();
    assert_eq!(client.rest(), frames);
    let request = server.take_refusal(LONG).unwrap();
    assert_eq!(request.error(), Some(why));
    server.stop(LONG).unwrap();
}

#[test]
fn a_refusal_keeps_what_could_be_read() {
    let mut server = server();
    let mut client = Client::new(server.local_addr());
    // The answer to HEAD has no body, not even when the request is refused.
    client.send("HEAD /x?y HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n");
    assert_eq!(client.head().status, 400);
    assert_eq!(client.rest(), b"");
    let request = server.take_refusal(LONG).unwrap();
    assert_eq!(
        (request.method(), request.path(), request.query()),
        ("HEAD", "/x", Some("y"))
    );
    assert_eq!(request.version(), Version::Http10);
    assert_eq!(
        request.headers().get_all("host").collect::<Vec<_>>(),
        ["a", "b"]
    );
    client = Client::new(server.local_addr());
    client.ask(start("POST /") + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\nx");
    let request = server.take_refusal(LONG).unwrap();
    assert_eq!(
        (request.body(), request.chunk_sizes()),
        (&b"ab"[..], &[2][..])
    );
    assert_eq!(
        request.error(),
        Some("the byte 'x' where a chunk size should be")
    );
    server.stop(LONG).unwrap();
}

#[test]
fn an_unfinished_request_gets_408_after_the_timeout() {
    let timeout = Duration::from_millis(30);
    let mut server = TestHttpServer::builder()
        .request_timeout(timeout)
        .start("127.0.0.1:0", |_| "x")
        .unwrap();
    let expects = start("POST /") + "Content-Length: 9\r\n\r\nbody";
    for (request, why) in [
        (
            "GET / HT".to_owned(),
            "in the request's head, after 8 bytes",
        ),
        (start("GET /"), "in the request's head, after 25 bytes"),
        (expects, "in the request's body, after 4 of 9 bytes"),
        (
            start("POST /") + "Transfer-Encoding: chunked\r\n\r\n4\r\nbo",
            "after 2 bytes and no last chunk",
        ),
    ] {
        let mut client = Client::new(server.local_addr());
        let reply = client.ask(&request);
        assert_eq!(reply.status, 408, "{request:?}");
        assert!(reply.has("Connection: close"));
        assert_eq!(client.rest(), b"");
        let error = server
            .take_refusal(LONG)
            .unwrap()
            .error()
            .unwrap()
            .to_owned();
        assert!(
            error.starts_with("the request did not end within 30ms (builder().request_timeout); ")
                && error.contains(why),
            "{error}"
        );
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_request_cut_short_by_its_client_is_recorded() {
    let mut server = server();
    for (request, why) in [
        (
            "GET / HT".to_owned(),
            "the client closed its side in the request's head, after 8 bytes",
        ),
        (
            start("POST /") + "Content-Length: 9\r\n\r\nbody",
            "the client closed its side in the request's body, after 4 of 9 bytes",
        ),
    ] {
        let answer = exchange(server.local_addr(), request.as_bytes());
        assert!(
            answer.starts_with(b"HTTP/1.1 400 "),
            "{}",
            answer.escape_ascii()
        );
        let request = server.take_refusal(LONG).unwrap();
        assert_eq!(request.error(), Some(why));
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_client_that_leaves_without_a_request_is_no_request() {
    let mut server = server();
    assert_eq!(exchange(server.local_addr(), b""), b"");
    assert_eq!(exchange(server.local_addr(), b"\r\n\r\n"), b"");
    assert_eq!(exchange(server.local_addr(), b"\r\n\r"), b"");
    server.stop(LONG).unwrap();
    assert!(server.requests().is_empty());
}

#[test]
fn a_client_in_the_midst_of_a_large_body_gets_the_refusal_and_no_reset() {
    let mut server = server();
    let mut client = Client::new(server.local_addr());
    let size = 8 << 20;
    let mut sender = client.stream.get_ref().try_clone().unwrap();
    client.send(start("POST /") + &format!("Content-Length: {size}\r\n\r\n"));
    let writer = std::thread::spawn(move || sender.write_all(&vec![b'x'; size]));
    assert_eq!(client.reply().status, 413);
    writer.join().unwrap().unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn any_bytes_get_an_answer_or_an_end_and_never_a_failure() {
    let mut server = server();
    let mut seed = 1u32;
    for _ in 0..200 {
        let noise: Vec<u8> = (0..64)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (seed >> 24) as u8
            })
            .collect();
        let mut stream = connect(server.local_addr());
        stream
            .write_all(&[b"POST /", &noise[..], b"\r\n\r\n"].concat())
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        assert!(
            answer.starts_with(b"HTTP/1.1 4"),
            "{}",
            noise.escape_ascii()
        );
    }
    server.stop(LONG).unwrap();
}
