//! What the server keeps of requests and of refusals, and how it tells what came.

use std::io::ErrorKind;
use std::time::Duration;

use loopback::{Request, TestHttpServer};

use super::{Client, get, start};
use crate::support::{LONG, connect, eventually, exchange};

const AT_ONCE: Duration = Duration::ZERO;

/// A server that has answered two requests and refused three clients.
fn visited() -> TestHttpServer {
    let server = TestHttpServer::fixed("127.0.0.1:0", "hello").unwrap();
    let mut client = Client::new(server.local_addr());
    client.ask(get("/a?b=c"));
    client.ask(start("POST /d") + "Content-Length: 2\r\n\r\nhi");
    exchange(server.local_addr(), b"\x16\x03\x01\x02");
    exchange(server.local_addr(), b"GET /e HTTP/1.1\r\n\r\n");
    exchange(
        server.local_addr(),
        b"PUT /f HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhi",
    );
    // A client may have its answer a moment before that is written down.
    eventually("all are answered", || {
        let more_than_came = server.take_requests(3, AT_ONCE).unwrap_err();
        !more_than_came.to_string().contains("not answered")
    });
    server
}

const REFUSED: [&str; 3] = [
    "the bytes look like a TLS handshake, and this server speaks plain HTTP",
    "an HTTP/1.1 request must have a Host field",
    "the client closed its side in the request's body, after 2 of 9 bytes",
];

#[test]
fn a_take_gives_requests_and_refusals_have_one_of_their_own() {
    let mut server = visited();
    let errors = |requests: Vec<Request>| {
        let errors = requests.iter().map(|one| one.error().map(str::to_owned));
        errors.collect::<Vec<_>>()
    };
    assert_eq!(errors(server.requests()), [None, None]);
    assert_eq!(
        errors(server.refusals()),
        REFUSED.map(|why| Some(why.into()))
    );
    assert_eq!((server.total_requests(), server.total_refusals()), (2, 3));
    let taken = server.take_requests(2, LONG).unwrap();
    assert_eq!((taken[0].path(), taken[1].path()), ("/a", "/d"));
    for (method, why) in ["", "GET", "PUT"].into_iter().zip(REFUSED) {
        let refusal = server.take_refusal(LONG).unwrap();
        assert_eq!((refusal.method(), refusal.error()), (method, Some(why)));
    }
    server.stop(LONG).unwrap();
    assert!(server.requests().is_empty() && server.refusals().is_empty());
    assert_eq!((server.total_requests(), server.total_refusals()), (2, 3));
    let error = server.take_refusal(LONG).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected);
}

#[test]
fn a_take_that_fails_says_what_came_and_what_was_refused() {
    let server = visited();
    let [tls, host, body] = REFUSED;
    let refused =
        format!("3 were refused, see take_refusal ({tls}, GET /e: {host}, PUT /f: {body})");
    assert_eq!(
        server.take_requests(3, AT_ONCE).unwrap_err().to_string(),
        format!(
            "timed out after 0ns waiting for a request; 2 came and can be taken (GET /a?b=c, POST /d), \
             {refused}; 3 were wanted at once"
        )
    );
    server.take_requests(2, LONG).unwrap();
    assert_eq!(
        server.take_request(AT_ONCE).unwrap_err().to_string(),
        format!(
            "timed out after 0ns waiting for a request; 2 came before and were taken, {refused}"
        )
    );
    for _ in 0..3 {
        server.take_refusal(LONG).unwrap();
    }
    assert_eq!(
        server.take_refusal(AT_ONCE).unwrap_err().to_string(),
        "timed out after 0ns waiting for a refusal; 3 came before and were taken, 2 were not refused"
    );
}

/// Who waits for a request finds out about the client that speaks TLS.
#[test]
fn a_refusal_can_be_waited_for() {
    let server = TestHttpServer::fixed("127.0.0.1:0", "hello").unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| server.take_refusal(LONG));
        let _client = exchange(server.local_addr(), b"\x16\x03\x01\x02");
        assert_eq!(waits.join().unwrap().unwrap().error(), Some(REFUSED[0]));
    });
}

#[test]
fn the_totals_are_exact_where_the_record_is_full() {
    let server = TestHttpServer::builder()
        .record_limit(3)
        .fixed("127.0.0.1:0", "hello")
        .unwrap();
    let mut client = Client::new(server.local_addr());
    for _ in 0..5 {
        client.ask(get("/"));
    }
    for _ in 0..2 {
        exchange(server.local_addr(), b"nonsense\r\n");
    }
    assert_eq!((server.requests().len(), server.total_requests()), (3, 5));
    assert_eq!((server.refusals().len(), server.total_refusals()), (0, 2));
    let error = server.take_requests(5, AT_ONCE).unwrap_err().to_string();
    assert_eq!(
        error,
        "timed out after 0ns waiting for a request; 3 came and can be taken (GET /, GET /, GET /), \
         2 more were not kept because the record was full (builder().record_limit and record_bytes), \
         2 were refused, see take_refusal; 5 were wanted at once"
    );
    // A client that only looks whether somebody listens is neither.
    drop(connect(server.local_addr()));
    assert_eq!((server.total_requests(), server.total_refusals()), (5, 2));
}
