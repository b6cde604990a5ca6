//! What a handler can answer.

use std::io::{Cursor, ErrorKind};
use std::time::{Duration, UNIX_EPOCH};

use loopback::{Builder, Http, Request, Response, TestHttpServer};

use super::{Client, get, start};
use crate::support::{LONG, eventually};

/// The answer of a server with this response to a request line.
fn answered(response: impl Fn() -> Response + Send + Sync + 'static, line: &str) -> String {
    asked_to_close(TestHttpServer::builder().without_date(), response, line)
        .replace("Connection: close|", "")
}

/// All that a client gets that asks the server to close.
fn asked_to_close(
    builder: Builder<Http>,
    response: impl Fn() -> Response + Send + Sync + 'static,
    line: &str,
) -> String {
    let asks = format!("{line}\r\nHost: h\r\nConnection: close\r\n\r\n");
    all_sent(builder, response, &asks)
}

/// All that a client gets for these bytes until the server closes.
fn all_sent(
    builder: Builder<Http>,
    response: impl Fn() -> Response + Send + Sync + 'static,
    bytes: &str,
) -> String {
    let mut server = builder.start("127.0.0.1:0", move |_| response()).unwrap();
    let mut client = Client::new(server.local_addr());
    client.send(bytes);
    let answer = String::from_utf8(client.rest()).unwrap();
    server.stop(LONG).unwrap();
    answer.replace("\r\n", "|")
}

const GET: &str = "GET / HTTP/1.1";

#[test]
fn status_headers_and_body_go_out_as_given() {
    let response = || {
        Response::text("hi")
            .status(418)
            .reason("I'm a teapot")
            .header("x-B", "1")
            .header("X-a", String::from("2"))
            .header("X-B", "3")
    };
    let expected = "HTTP/1.1 418 I'm a teapot|x-B: 1|X-a: 2|X-B: 3|Content-Type: text/plain; charset=utf-8|Content-Length: 2||hi";
    assert_eq!(answered(response, GET), expected);
    assert_eq!(
        answered(|| Response::new(404), GET),
        "HTTP/1.1 404 Not Found|Content-Length: 0||"
    );
    assert_eq!(
        answered(|| Response::new(599), GET),
        "HTTP/1.1 599 |Content-Length: 0||"
    );
    let bytes = "HTTP/1.1 200 OK|Content-Length: 3||abc";
    assert_eq!(answered(|| Response::bytes(*b"abc"), GET), bytes);
    let json = "HTTP/1.1 200 OK|Content-Type: application/json|Content-Length: 2||{}";
    assert_eq!(answered(|| Response::json_text("{}"), GET), json);
}

#[test]
fn what_has_no_body_gets_none() {
    let response = || Response::bytes("body");
    assert_eq!(
        answered(response, "HEAD / HTTP/1.1"),
        "HTTP/1.1 200 OK|Content-Length: 4||"
    );
    let chunked = || Response::bytes("body").trailer("A", "b");
    assert_eq!(
        answered(chunked, "HEAD / HTTP/1.1"),
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: A||"
    );
    let reader = || Response::reader(Cursor::new("body")).sized(4);
    assert_eq!(
        answered(reader, "HEAD / HTTP/1.1"),
        "HTTP/1.1 200 OK|Content-Length: 4||"
    );
    assert_eq!(
        answered(|| Response::bytes("body").status(204), GET),
        "HTTP/1.1 204 No Content||"
    );
    assert_eq!(
        answered(|| Response::bytes("body").status(304), GET),
        "HTTP/1.1 304 Not Modified||"
    );
}

#[test]
fn a_connection_is_kept_after_head() {
    let mut server = TestHttpServer::fixed("127.0.0.1:0", "body").unwrap();
    let mut client = Client::new(server.local_addr());
    for _ in 0..3 {
        client.send(start("HEAD /") + "\r\n");
        assert_eq!(client.head().field("content-length"), Some("4"));
    }
    assert_eq!(client.ask(get("/")).text(), "body");
    server.stop(LONG).unwrap();
}

#[test]
fn chunks_and_trailers() {
    let response = || {
        Response::bytes("hello")
            .chunk_size(2)
            .trailer("X-Sum", "1")
            .trailer("x-sum", "2")
    };
    let expected = "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Trailer: X-Sum||2|he|2|ll|1|o|0|X-Sum: 1|x-sum: 2||";
    assert_eq!(answered(response, GET), expected);
    let expected = "HTTP/1.1 200 OK|Content-Length: 5||hello";
    assert_eq!(answered(response, "GET / HTTP/1.0"), expected);
    let empty = || Response::new(200).chunked();
    assert_eq!(
        answered(empty, GET),
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||0||"
    );
}

#[test]
fn a_reader_in_chunks_or_sized_or_to_the_end() {
    let reader = || Response::reader(Cursor::new("hello"));
    let chunked = "HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|0||";
    assert_eq!(answered(reader, GET), chunked);
    assert_eq!(answered(reader, "GET / HTTP/1.0"), "HTTP/1.1 200 OK||hello");
    let sized = || Response::reader(std::io::repeat(b'x')).sized(5);
    assert_eq!(
        answered(sized, GET),
        "HTTP/1.1 200 OK|Content-Length: 5||xxxxx"
    );
}

#[test]
fn large_bodies_of_every_kind() {
    const SIZE: usize = 3_000_000;
    let mut server = TestHttpServer::start("127.0.0.1:0", |request: Request| {
        let body = vec![b'x'; SIZE];
        match request.path() {
            "/sized" => Response::bytes(body),
            "/chunked" => Response::bytes(body).chunk_size(100_000),
            "/reader" => Response::reader(Cursor::new(body)),
            _ => Response::reader(Cursor::new(body)).sized(SIZE as u64),
        }
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    for path in ["/sized", "/chunked", "/reader", "/reader/sized"] {
        let reply = client.ask(get(path));
        assert!(
            reply.body == [b'x'; SIZE],
            "{path}: {} bytes",
            reply.body.len()
        );
    }
    server.stop(LONG).unwrap();
}

#[test]
fn interim_answers_come_first_and_not_to_http_1_0() {
    let response = || {
        Response::new(200)
            .interim(103, &[("Link", "</a>")])
            .interim(102, &[])
    };
    let expected = "HTTP/1.1 103 Early Hints|Link: </a>||HTTP/1.1 102 Processing||HTTP/1.1 200 OK|Content-Length: 0||";
    assert_eq!(answered(response, GET), expected);
    assert_eq!(
        answered(response, "GET / HTTP/1.0"),
        "HTTP/1.1 200 OK|Content-Length: 0||"
    );
}

#[test]
fn a_field_of_the_callers_is_sent_even_when_it_lies() {
    let lie = || Response::bytes("body").header("Content-Length", "9");
    assert_eq!(
        answered(lie, GET),
        "HTTP/1.1 200 OK|Content-Length: 9||body"
    );
}

#[test]
fn a_body_whose_coding_does_not_tell_its_end_is_ended_by_the_close() {
    let twice = get("/").repeat(2);
    let plain = || TestHttpServer::builder().without_date();
    for coding in ["identity", "gzip", "chunked, gzip"] {
        for body in [
            || Response::bytes("hello"),
            || Response::bytes("hello").chunked(),
            || Response::reader(Cursor::new("hello")),
            || Response::reader(Cursor::new("hello")).sized(5),
        ] {
            let response = move || body().header("Transfer-Encoding", coding);
            assert_eq!(
                all_sent(plain(), response, &twice),
                format!("HTTP/1.1 200 OK|Transfer-Encoding: {coding}|Connection: close||hello")
            );
        }
    }
    // One that tells it is kept; both of a length and a coding cannot be.
    let kept = || Response::bytes("hi").header("Transfer-Encoding", "gzip, chunked");
    let one = "HTTP/1.1 200 OK|Transfer-Encoding: gzip, chunked||2|hi|0||";
    let two = get("/") + &start("GET /") + "Connection: close\r\n\r\n";
    let sent = all_sent(plain(), kept, &two).replace("Connection: close|", "");
    assert_eq!(sent, one.repeat(2));
    // A body that is read is not chunked under a length.
    let lie = || Response::reader(Cursor::new("hello")).header("Content-Length", "3");
    assert_eq!(
        all_sent(plain(), lie, &twice),
        "HTTP/1.1 200 OK|Content-Length: 3|Connection: close||hello"
    );
    // HTTP/1.0 has no chunks, and no field that says so.
    let chunked = || Response::bytes("hello").header("Transfer-Encoding", "chunked");
    let old = "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".repeat(2);
    assert_eq!(
        all_sent(plain(), chunked, &old),
        "HTTP/1.1 200 OK|Connection: close||hello"
    );
}

#[test]
fn a_fixed_answer_that_ends_with_the_connection_is_not_cut_by_a_reset() {
    for field in ["Transfer-Encoding", "Content-Length"] {
        let response = Response::text("hello").header(field, "9");
        let mut server = TestHttpServer::fixed("127.0.0.1:0", response).unwrap();
        let mut client = Client::new(server.local_addr());
        client.send(get("/") + &get("/unread").repeat(10_000));
        let answer = String::from_utf8(client.rest()).unwrap();
        assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
        server.stop(LONG).unwrap();
    }
}

#[test]
fn a_connection_field_of_the_callers_says_close_when_the_server_closes() {
    let once = || TestHttpServer::builder().without_date().max_requests(1);
    let kept = || Response::bytes("hi").header("connection", "keep-alive");
    let twice = get("/").repeat(2);
    assert_eq!(
        all_sent(once(), kept, &twice),
        "HTTP/1.1 200 OK|connection: keep-alive, close|Content-Length: 2||hi"
    );
    assert_eq!(
        all_sent(once(), move || kept().connection_as_given(), &twice),
        "HTTP/1.1 200 OK|connection: keep-alive|Content-Length: 2||hi"
    );
    let plain = || TestHttpServer::builder().without_date();
    assert_eq!(
        asked_to_close(plain(), kept, GET),
        "HTTP/1.1 200 OK|connection: keep-alive, close|Content-Length: 2||hi"
    );
    assert_eq!(
        all_sent(plain(), kept, "GET / HTTP/1.0\r\n\r\n"),
        "HTTP/1.1 200 OK|connection: keep-alive, close|Content-Length: 2||hi"
    );
    // A handler that closes does so.
    let closes = || Response::bytes("hi").header("Connection", "x, Close");
    assert_eq!(
        all_sent(plain(), closes, &twice),
        "HTTP/1.1 200 OK|Connection: x, Close|Content-Length: 2||hi"
    );
}

#[test]
fn a_stop_adds_close_to_the_callers_connection_field() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let mut server = TestHttpServer::start("127.0.0.1:0", move |_| {
        // Ends when the test drops its side.
        let _ = wait.lock().unwrap().recv_timeout(LONG);
        Response::text("hi").header("Connection", "keep-alive")
    })
    .unwrap();
    let address = server.local_addr();
    let mut client = Client::new(address);
    client.send(get("/"));
    eventually("the request came", || server.requests().len() == 1);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop(LONG));
        eventually("the listener is closed", || {
            std::net::TcpListener::bind(address).is_ok()
        });
        drop(go);
        let reply = client.reply();
        assert!(reply.has("Connection: keep-alive, close"), "{reply:?}");
        stop.join().unwrap().unwrap();
    });
}

#[test]
fn reset_content_has_none() {
    for response in [
        || Response::text("hello").status(205),
        || Response::text("hello").chunked().status(205),
        || Response::reader(Cursor::new("hello")).status(205),
    ] {
        assert_eq!(
            answered(response, GET),
            "HTTP/1.1 205 Reset Content|Content-Length: 0||"
        );
    }
}

#[test]
fn responses_have_the_date() {
    let fixed = || TestHttpServer::builder().date(UNIX_EPOCH + Duration::from_secs(784_111_777));
    let date = "Date: Sun, 06 Nov 1994 08:49:37 GMT";
    let response = || Response::bytes("hi").interim(103, &[]);
    assert_eq!(
        asked_to_close(fixed(), response, GET),
        format!(
            "HTTP/1.1 103 Early Hints||HTTP/1.1 200 OK|{date}|Content-Length: 2|Connection: close||hi"
        )
    );
    let own = || Response::bytes("hi").header("date", "today");
    assert_eq!(
        asked_to_close(fixed(), own, GET),
        "HTTP/1.1 200 OK|date: today|Content-Length: 2|Connection: close||hi"
    );
    let refused = asked_to_close(fixed(), response, "GET");
    assert!(refused.contains(date), "{refused}");
    // Unless told it is the clock's.
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| ()).unwrap();
    let reply = Client::new(server.local_addr()).ask(get("/"));
    let date = reply.field("date").unwrap();
    assert!(date.len() == 29 && date.ends_with(" GMT"), "{date}");
    assert!(!date.contains(" 1970 "), "{date}");
    server.stop(LONG).unwrap();
    let mut server = TestHttpServer::builder()
        .without_date()
        .fixed("127.0.0.1:0", "x")
        .unwrap();
    let reply = Client::new(server.local_addr()).ask(get("/"));
    assert_eq!(reply.field("date"), None);
    server.stop(LONG).unwrap();
}

#[test]
fn raw_bytes_in_place_of_a_response() {
    let raw = || Response::raw("HTTP/1.1 200 OK\nBroken\n\n");
    assert_eq!(answered(raw, GET), "HTTP/1.1 200 OK\nBroken\n\n");
    assert_eq!(answered(Response::close, GET), "");
}

#[test]
fn a_fixed_answer_is_the_same_every_time() {
    let mut server = TestHttpServer::builder()
        .without_date()
        .fixed("127.0.0.1:0", Response::text("same").status(202))
        .unwrap();
    let mut client = Client::new(server.local_addr());
    let first = client.ask(get("/a"));
    assert_eq!((first.status, first.text()), (202, "same"));
    assert_eq!(client.ask(get("/b")), first);
    server.stop(LONG).unwrap();
    let error =
        TestHttpServer::fixed("127.0.0.1:0", Response::new(200).header("A\n", "")).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the response cannot be sent: the header name "A\n" is not a token"#
    );
}

#[test]
fn a_sequence_ends_with_its_last_answer_again_and_again() {
    let busy = || Response::text("busy").status(503);
    let answers = [busy(), busy(), Response::text("done")];
    let mut server = TestHttpServer::sequence("127.0.0.1:0", answers).unwrap();
    // Over all connections, and a request that is refused takes none.
    let ask = || Client::new(server.local_addr()).ask(get("/")).status;
    assert_eq!(ask(), 503);
    let refused = Client::new(server.local_addr()).ask("GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.status, 400);
    assert_eq!([ask(), ask(), ask(), ask()], [503, 200, 200, 200]);
    assert_eq!((server.requests().len(), server.refusals().len()), (5, 1));
    server.stop(LONG).unwrap();
}

#[test]
fn a_sequence_can_have_faults_and_options_but_not_be_empty() {
    let mut server = TestHttpServer::builder()
        .max_requests(1)
        .sequence("127.0.0.1:0", [Response::close(), Response::text("done")])
        .unwrap();
    let mut client = Client::new(server.local_addr());
    client.send(get("/a"));
    assert_eq!(client.rest(), b"");
    let reply = Client::new(server.local_addr()).ask(get("/b"));
    assert_eq!(reply.text(), "done");
    assert!(reply.has("Connection: close"), "{reply:?}");
    assert_eq!(server.take_request(LONG).unwrap().path(), "/a");
    server.stop(LONG).unwrap();

    let texts: [&str; 0] = [];
    let error = TestHttpServer::sequence("127.0.0.1:0", texts).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        error.to_string(),
        "a sequence of responses needs one at least"
    );
    let unsendable = [Response::text("x"), Response::new(7)];
    let error = TestHttpServer::sequence("127.0.0.1:0", unsendable).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn ready_made_servers_can_have_options() {
    let builder = TestHttpServer::builder().max_body(3);
    let post =
        |body: &str| start("POST /") + &format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let fixed = builder.clone().fixed("127.0.0.1:0", "x").unwrap();
    let echo = builder.clone().echo("127.0.0.1:0").unwrap();
    let sink = builder.clone().sink("127.0.0.1:0").unwrap();
    for (server, status, text) in [(fixed, 200, "x"), (echo, 200, "abc"), (sink, 204, "")] {
        let mut client = Client::new(server.local_addr());
        let reply = client.ask(post("abc"));
        assert_eq!((reply.status, reply.text()), (status, text));
        assert_eq!(client.ask(post("abcd")).status, 413);
    }
    let unsendable = builder.fixed("127.0.0.1:0", Response::new(7));
    assert_eq!(unsendable.unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn cookies_are_set_and_what_none_can_be_is_refused() {
    let response = || {
        Response::new(204)
            .set_cookie("a", "1", &[])
            .set_cookie("b", "\"x y\"".replace(' ', "-"), &["Path=/", "HttpOnly"])
            .set_cookie("c", "", &[])
    };
    assert_eq!(
        answered(response, GET),
        "HTTP/1.1 204 No Content|Set-Cookie: a=1|Set-Cookie: b=\"x-y\"; Path=/; HttpOnly|Set-Cookie: c=||"
    );
    for (name, value, attribute, why) in [
        ("a b", "1", "", "the cookie name \"a b\" is not a token"),
        ("", "1", "", "the cookie name \"\" is not a token"),
        (
            "a",
            "1;2",
            "",
            "the cookie value \"1;2\" has a character that no cookie has",
        ),
        (
            "a",
            "1 2",
            "",
            "the cookie value \"1 2\" has a character that no cookie has",
        ),
        (
            "a",
            "\"",
            "",
            "the cookie value \"\\\"\" has a character that no cookie has",
        ),
        (
            "a",
            "1",
            "x;y",
            "the cookie attribute \"x;y\" has a semicolon",
        ),
    ] {
        let response = Response::new(204).set_cookie(name, value, &[attribute]);
        let error = TestHttpServer::fixed("127.0.0.1:0", response).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("the response cannot be sent: {why}")
        );
    }
    let split = Response::new(204).set_cookie("a", "1", &["x\r\ny: z"]);
    assert!(TestHttpServer::fixed("127.0.0.1:0", split).is_err());
}
