//! What handlers may return, and what comes of those that fail.

use std::borrow::Cow;
use std::io::{self, Read};

use loopback::{IntoResponse, Request, Response, TestHttpServer};

use super::{Client, get, start};
use crate::support::LONG;

/// The reply of a handler, which must not fail.
fn reply<R: IntoResponse>(handler: impl Fn(Request) -> R + Send + Sync + 'static) -> (u16, String) {
    let mut server = TestHttpServer::start("127.0.0.1:0", handler).unwrap();
    let reply = Client::new(server.local_addr()).ask(get("/"));
    server.stop(LONG).unwrap();
    (reply.status, reply.text().to_owned())
}

/// The reply of a handler that fails, and the failure that the stop reports.
#[track_caller]
fn failure<R: IntoResponse>(
    handler: impl Fn(Request) -> R + Send + Sync + 'static,
) -> (String, String) {
    let mut server = TestHttpServer::start("127.0.0.1:0", handler).unwrap();
    let mut client = Client::new(server.local_addr());
    let reply = client.ask(get("/"));
    assert_eq!(reply.status, 500);
    assert!(reply.has("Connection: close"), "{reply:?}");
    assert_eq!(client.rest(), b"");
    assert_eq!(server.take_request(LONG).unwrap().path(), "/");
    let error = server.stop(LONG).unwrap_err();
    let [failure] = error.failures() else {
        panic!("not one failure: {error}");
    };
    let peer = client.stream.get_ref().local_addr().unwrap();
    assert!(failure.peer().is_some_and(|own| own == &peer), "{failure}");
    (
        reply.text().trim_end().to_owned(),
        failure.message().to_owned(),
    )
}

/// That this compiles is half of the test: nothing but `ok` tells the type of the error.
#[test]
fn a_closure_that_ends_with_ok_takes_any_error() {
    let handler = |request: Request| {
        let number: u32 = request.query().ok_or("no query")?.parse()?;
        loopback::ok(Response::text(number.to_string()))
    };
    let mut server = TestHttpServer::start("127.0.0.1:0", handler).unwrap();
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/?7")).text(), "7");
    let why = "the handler failed: no query\n";
    assert_eq!(client.ask(get("/")).text(), why);
    let why = "the handler failed: invalid digit found in string\n";
    let reply = Client::new(server.local_addr()).ask(get("/?x"));
    assert_eq!(reply.text(), why);
    assert_eq!(server.stop(LONG).unwrap_err().failures().len(), 2);
}

#[test]
fn everything_that_a_handler_may_return() {
    assert_eq!(reply(|_| ()), (200, String::new()));
    assert_eq!(reply(|_| "text"), (200, "text".into()));
    assert_eq!(
        reply(|request| request.method().to_owned()),
        (200, "GET".into())
    );
    assert_eq!(reply(|_| b"bytes".to_vec()), (200, "bytes".into()));
    assert_eq!(reply(|_| b"array"), (200, "array".into()));
    assert_eq!(reply(|_| &b"slice"[..]), (200, "slice".into()));
    assert_eq!(reply(|_| Cow::from("cow")), (200, "cow".into()));
    assert_eq!(reply(|_| Some("found")), (200, "found".into()));
    assert_eq!(reply(|_| None::<&str>), (404, String::new()));
    assert_eq!(
        reply(|_| Ok::<_, io::Error>(None::<Response>)),
        (404, String::new())
    );
    assert_eq!(reply(|_| Response::new(201)), (201, String::new()));
    assert_eq!(reply(|_| Ok::<_, io::Error>("fine")), (200, "fine".into()));
    assert_eq!(reply(|_| Ok::<(), String>(())), (200, String::new()));
}

#[test]
fn a_panic_or_an_error_gives_500_and_fails_the_stop() {
    let (text, message) = failure(|_| panic!("no such luck"));
    assert_eq!(
        (&*text, &*message),
        ("the handler panicked: no such luck", "no such luck")
    );
    let (text, message) = failure(|_| Err::<(), _>("wrong"));
    assert_eq!((&*text, &*message), ("the handler failed: wrong", "wrong"));
    let (_, message) = failure(|_| Err::<Response, _>(io::Error::other("io")));
    assert_eq!(message, "io");
    let (_, message) = failure(|request| assert_eq!(request.path(), "/other"));
    assert!(message.contains("left: \"/\""), "{message}");
}

#[test]
fn a_failure_names_the_request_that_it_is_of() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| match request.path() {
        "/bad" => Err("no n"),
        _ => Ok(()),
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    client.ask(get("/good"));
    client.ask(get("/bad?n=x"));
    let error = server.stop(LONG).unwrap_err();
    let failure = &error.failures()[0];
    assert_eq!(failure.item(), Some("GET /bad?n=x"));
    let peer = failure.peer().unwrap();
    assert_eq!(
        failure.to_string(),
        format!("handler for {peer} (GET /bad?n=x) failed: no n")
    );
}

#[test]
fn a_response_that_cannot_be_sent_is_a_failure_and_injects_nothing() {
    let (text, message) = failure(|_| Response::new(200).header("A", "b\r\nSet-Cookie: c"));
    let why = r#"the response cannot be sent: the value "b\r\nSet-Cookie: c" of header A has a control character"#;
    assert_eq!(message, why);
    assert_eq!(text, format!("the handler failed: {why}"));
    for (response, why) in [
        (Response::new(200).header("A B", ""), "is not a token"),
        (Response::new(200).trailer("A", "\n"), "control character"),
        (Response::new(200).reason("a\r\nb"), "control character"),
        (
            Response::new(200).interim(103, &[("A", "\r")]),
            "control character",
        ),
        (Response::new(200).interim(200, &[]), "not an interim one"),
        (Response::new(101), "is not from 200 to 999"),
        (Response::new(1000), "is not from 200 to 999"),
        (Response::upgrade("a\nb", |_| ()), "control character"),
    ] {
        let (_, message) = failure(move |_| response.clone());
        assert!(message.contains(why), "{message}");
    }
}

#[test]
fn other_connections_are_served_while_one_handler_fails() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| {
        assert_ne!(request.path(), "/bad");
    })
    .unwrap();
    let mut good = Client::new(server.local_addr());
    assert_eq!(good.ask(get("/a")).status, 200);
    assert_eq!(
        Client::new(server.local_addr()).ask(get("/bad")).status,
        500
    );
    assert_eq!(good.ask(get("/b")).status, 200);
    assert_eq!(server.take_failures().len(), 1);
    server.stop(LONG).unwrap();
}

#[test]
fn a_body_that_fails_while_it_is_sent_cuts_the_answer_and_fails_the_stop() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the disk is gone"))
        }
    }
    let failed = |response: fn() -> Response| {
        let mut server = TestHttpServer::start("127.0.0.1:0", move |_| response()).unwrap();
        let mut client = Client::new(server.local_addr());
        client.send(get("/"));
        let answer = String::from_utf8(client.rest()).unwrap();
        server.take_request(LONG).unwrap();
        let error = server.stop(LONG).unwrap_err();
        (answer, error.failures()[0].message().to_owned())
    };
    let (answer, message) = failed(|| Response::reader(io::Cursor::new("ab").chain(Broken)));
    assert!(answer.ends_with("\r\n\r\n2\r\nab\r\n"), "{answer:?}");
    assert_eq!(
        message,
        "reading the body to send failed after 2 bytes: the disk is gone"
    );
    let (answer, message) = failed(|| Response::reader(io::Cursor::new("ab")).sized(3));
    assert!(answer.ends_with("\r\n\r\nab"), "{answer:?}");
    assert_eq!(message, "the body to send ended after 2 of 3 bytes");
}

#[test]
fn a_reader_can_be_sent_once() {
    let response = Response::reader(io::Cursor::new("once"));
    let mut server = TestHttpServer::fixed("127.0.0.1:0", response).unwrap();
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/")).text(), "once");
    client.send(get("/"));
    client.rest();
    server.take_request(LONG).unwrap();
    server.take_request(LONG).unwrap();
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(
        error.failures()[0].message(),
        "the reader of the body was sent before: make one for each answer, or give bytes"
    );
}

#[test]
fn a_client_that_leaves_before_its_answer_is_no_failure() {
    let (leave, left) = channel();
    let mut server = TestHttpServer::start("127.0.0.1:0", move |_| {
        left.lock().unwrap().recv_timeout(LONG).unwrap();
        Response::bytes(vec![0; 1 << 20])
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    client.send(get("/"));
    drop(client);
    leave.send(()).unwrap();
    assert_eq!(server.take_request(LONG).unwrap().path(), "/");
    server.stop(LONG).unwrap();
}

#[test]
fn a_request_is_listed_while_it_is_answered_and_taken_after() {
    let (go, wait) = channel();
    let mut server = TestHttpServer::start("127.0.0.1:0", move |_| {
        wait.lock().unwrap().recv_timeout(LONG).unwrap();
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    client.send(start("POST /") + "Content-Length: 1\r\n\r\nx");
    crate::support::eventually("the request is listed", || server.requests().len() == 1);
    let error = server.take_request(std::time::Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    go.send(()).unwrap();
    assert_eq!(server.take_request(LONG).unwrap().body(), b"x");
    assert_eq!(client.reply().status, 200);
    server.stop(LONG).unwrap();
}

#[test]
fn requests_are_taken_together_also_after_the_stop() {
    let mut server = TestHttpServer::sink("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    for path in ["/a", "/b", "/c"] {
        client.ask(get(path));
    }
    let wait = std::time::Duration::ZERO;
    let error = server.take_requests(4, wait).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    let two = server.take_requests(2, LONG).unwrap();
    assert_eq!((two[0].path(), two[1].path()), ("/a", "/b"));
    server.stop(LONG).unwrap();
    assert_eq!(server.take_request(wait).unwrap().path(), "/c");
    let error = server.take_request(wait).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotConnected);
}

/// A channel whose receiver a handler can share.
fn channel() -> (
    std::sync::mpsc::Sender<()>,
    std::sync::Mutex<std::sync::mpsc::Receiver<()>>,
) {
    let (sender, receiver) = std::sync::mpsc::channel();
    (sender, std::sync::Mutex::new(receiver))
}

#[test]
fn a_sink_reads_all_and_answers_nothing() {
    let mut server = TestHttpServer::sink("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    for body in ["one", "two"] {
        let reply = client.ask(start("POST /in") + "Content-Length: 3\r\n\r\n" + body);
        assert_eq!((reply.status, reply.text()), (204, ""));
        assert_eq!(server.take_request(LONG).unwrap().body(), body.as_bytes());
    }
    server.stop(LONG).unwrap();
}
