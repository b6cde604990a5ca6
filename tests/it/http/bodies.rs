//! The requests' bodies and targets, as handlers and the record see them.

use loopback::{Response, TestHttpServer};

use super::{Client, get, start};
use crate::support::LONG;

#[test]
fn order_case_and_repetition_of_fields_are_kept() {
    let mut server = TestHttpServer::fixed("127.0.0.1:0", "x").unwrap();
    let mut client = Client::new(server.local_addr());
    client.ask("GET / HTTP/1.1\r\nx-B: 1\r\nHOST: h\r\nX-a:2  \r\nX-B: \r\nx-b: 3, 4\r\n\r\n");
    let request = server.take_request(LONG).unwrap();
    let fields: Vec<_> = request.headers().iter().collect();
    let expected = [
        ("x-B", "1"),
        ("HOST", "h"),
        ("X-a", "2"),
        ("X-B", ""),
        ("x-b", "3, 4"),
    ];
    assert_eq!(fields, expected);
    assert!(request.raw_head().contains("X-a:2  \r\n"));
    assert_eq!(
        request.peer(),
        &client.stream.get_ref().local_addr().unwrap()
    );
    server.stop(LONG).unwrap();
}

#[test]
fn a_sized_body_of_any_bytes() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    for size in [0, 1, 8191, 8192, 8193, 1 << 20] {
        let body: Vec<u8> = (0..size).map(|at| (at * 7 % 256) as u8).collect();
        let head = start("PUT /") + &format!("Content-Type: a/b\r\nContent-Length: {size}\r\n\r\n");
        client.send(head);
        let mut sender = client.stream.get_ref().try_clone().unwrap();
        let sent = body.clone();
        let writer =
            std::thread::spawn(move || std::io::Write::write_all(&mut sender, &sent).unwrap());
        let reply = client.reply();
        writer.join().unwrap();
        assert!(
            reply.body == body,
            "{size} bytes came back as {}",
            reply.body.len()
        );
        assert_eq!(reply.field("content-type"), Some("a/b"));
        let request = server.take_request(LONG).unwrap();
        assert_eq!(request.body_size(), size as u64);
        assert!(!request.is_chunked());
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_chunked_body_with_extensions_and_trailers() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    let body = "5;a=\"b\"\r\nhello\r\n00A\r\n, world..!\r\n0;last\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n";
    let reply = client.ask(start("POST /") + "Transfer-Encoding: chunked\r\n\r\n" + body);
    assert_eq!(reply.text(), "hello, world..!");
    let request = server.take_request(LONG).unwrap();
    assert_eq!(request.text(), "hello, world..!");
    assert_eq!(request.chunk_sizes(), [5, 10]);
    let trailers: Vec<_> = request.trailers().iter().collect();
    assert_eq!(trailers, [("X-Sum", "1"), ("x-sum", "2")]);
    assert!(request.is_chunked() && request.header("x-sum").is_none());
    server.stop(LONG).unwrap();
}

#[test]
fn a_client_that_expects_100_gets_it_before_it_sends_the_body() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    let head = start("POST /") + "Content-Length: 4\r\nExpect: 100-Continue\r\n\r\n";
    client.send(&head);
    assert_eq!(client.head().head, "HTTP/1.1 100 Continue");
    assert_eq!(client.ask("body").text(), "body");
    // A body that has come already needs no leave (RFC 9110, section 10.1.1).
    let reply = client.ask(head + "body");
    assert_eq!((reply.status, reply.text()), (200, "body"));
    // No body, nothing to wait for.
    let reply = client.ask(start("GET /") + "Expect: 100-continue\r\n\r\n");
    assert_eq!(reply.status, 200);
    server.stop(LONG).unwrap();
}

#[test]
fn http_1_0_clients_get_no_100() {
    let server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    client.send("POST / HTTP/1.0\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.ask("body").status, 200);
}

#[test]
fn a_request_can_be_answered_before_its_body_is_asked_for() {
    let mut server = TestHttpServer::builder()
        .before_body(|request| (request.path() == "/no").then(|| Response::new(403)))
        .start("127.0.0.1:0", |request| request.text().into_owned())
        .unwrap();
    let mut client = Client::new(server.local_addr());
    let head = |path: &str| {
        start(&format!("POST {path}")) + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    };
    client.send(head("/yes"));
    assert_eq!(client.head().status, 100);
    assert_eq!(client.ask("body").text(), "body");
    let reply = client.ask(head("/no"));
    assert!(
        reply.status == 403 && reply.has("Connection: close"),
        "{reply:?}"
    );
    assert_eq!(client.rest(), b"");
    let refused = server.requests().pop().unwrap();
    assert_eq!((refused.path(), refused.body_size()), ("/no", 0));
    // Without a body the connection is kept.
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/no")).status, 403);
    assert_eq!(client.ask(get("/yes")).status, 200);
    server.stop(LONG).unwrap();
}

#[test]
fn the_four_forms_of_a_target() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| {
        let parts = (request.path(), request.query(), request.authority());
        format!("{parts:?}")
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    for (line, parts) in [
        ("GET /a%20b?c=d?e", r#"("/a%20b", Some("c=d?e"), None)"#),
        (
            "GET http://other:81/x?y",
            r#"("/x", Some("y"), Some("other:81"))"#,
        ),
        ("GET http://other", r#"("/", None, Some("other"))"#),
        ("OPTIONS *", r#"("*", None, None)"#),
    ] {
        assert_eq!(client.ask(start(line) + "\r\n").text(), parts, "{line}");
    }
    client.send("CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n");
    // A 2xx to CONNECT has no body and no framing, even from a handler that does not know, and
    // no further request comes behind it.
    assert_eq!(client.rest(), b"HTTP/1.1 200 OK\r\n\r\n");
    let request = server.requests().pop().unwrap();
    assert_eq!(
        (request.target(), request.authority()),
        ("[::1]:443", Some("[::1]:443"))
    );
    server.stop(LONG).unwrap();
}

#[test]
fn no_more_of_a_body_is_kept_than_asked_for() {
    let mut server = TestHttpServer::builder()
        .keep_body(3)
        .start("127.0.0.1:0", |_| ())
        .unwrap();
    let mut client = Client::new(server.local_addr());
    client.ask(start("POST /") + "Content-Length: 5\r\n\r\nhello");
    let request = server.take_request(LONG).unwrap();
    assert_eq!((request.body(), request.body_size()), (&b"hel"[..], 5));
    server.stop(LONG).unwrap();
}

#[test]
fn a_request_weighs_in_the_record_what_it_takes() {
    let chunked = start("POST /") + "Transfer-Encoding: chunked\r\n\r\n";
    for (request, asked, kept) in [
        // However small, a request is something to keep: one fits, two do not.
        (get("/"), 2, 1),
        (chunked.clone() + "1\r\nx\r\n0\r\n\r\n", 1, 1),
        // The sizes of chunks can take more than their bytes.
        (
            chunked.clone() + &"1\r\nx\r\n".repeat(100) + "0\r\n\r\n",
            1,
            0,
        ),
        (chunked + "0\r\nSum: " + &"x".repeat(500) + "\r\n\r\n", 1, 0),
    ] {
        let mut server = TestHttpServer::builder()
            .record_bytes(1000)
            .start("127.0.0.1:0", |_| ())
            .unwrap();
        let mut client = Client::new(server.local_addr());
        for _ in 0..asked {
            client.ask(&request);
        }
        assert_eq!(server.requests().len(), kept, "{request}");
        server.stop(LONG).unwrap();
    }
}

#[test]
fn queries_forms_and_cookies_are_decoded() {
    let server = TestHttpServer::sink("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    let cookies = "Cookie: a=1; b=%41\r\ncookie: a=2\r\n";
    let post = |content_type: &str, body: &str| {
        let fields = format!(
            "Content-Type: {content_type}\r\nContent-Length: {}",
            body.len()
        );
        format!(
            "{}{cookies}{fields}\r\n\r\n{body}",
            start("POST /?q=%20+&q=2")
        )
    };
    let form = "Application/X-www-form-urlencoded; charset=utf-8";
    client.ask(post(form, "a=b%26c&d"));
    let request = server.take_request(LONG).unwrap();
    assert_eq!(request.query_pairs(), [("q", "  "), ("q", "2")]);
    assert_eq!(*request.form_pairs(), [("a", "b&c"), ("d", "")]);
    assert_eq!(*request.cookies(), [("a", "1"), ("b", "%41"), ("a", "2")]);
    assert_eq!(
        (request.cookie("b"), request.cookie("B")),
        (Some("%41"), None)
    );
    assert_eq!(
        format!("{:?}", request.query_pairs()),
        r#"[("q", "  "), ("q", "2")]"#
    );
    client.ask(post("text/plain", "a=b"));
    assert!(server.take_request(LONG).unwrap().form_pairs().is_empty());
    client.ask(get("/"));
    let request = server.take_request(LONG).unwrap();
    assert!(request.query_pairs().is_empty() && request.cookies().is_empty());
}
