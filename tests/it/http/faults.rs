//! Misbehaviour on purpose.

use std::io::{ErrorKind, Read};
use std::time::{Duration, Instant};

use loopback::{At, Fault, Pace, Response, TestHttpServer};

use super::{Client, get};
use crate::support::LONG;

const MS: Duration = Duration::from_millis(1);

/// A server whose answers have the same bytes every time.
fn undated(response: Response) -> TestHttpServer {
    let builder = TestHttpServer::builder().without_date();
    builder.fixed("127.0.0.1:0", response).unwrap()
}

/// What a client reads until the end, or until the error that it sees.
fn read(response: Response) -> (String, Option<ErrorKind>) {
    let mut server = undated(response);
    let mut client = Client::new(server.local_addr());
    client.send(get("/"));
    let mut bytes = Vec::new();
    let error = client
        .stream
        .read_to_end(&mut bytes)
        .err()
        .map(|error| error.kind());
    server.take_request(LONG).unwrap();
    server.stop(LONG).unwrap();
    (String::from_utf8(bytes).unwrap(), error)
}

/// As [`read`], timed.
fn timed(response: Response) -> (String, Duration) {
    let start = Instant::now();
    let (text, error) = read(response.header("Connection", "close"));
    assert_eq!(error, None);
    (text, start.elapsed())
}

fn hello() -> Response {
    Response::bytes("hello, world")
}

#[test]
fn closed_before_answering() {
    assert_eq!(read(Response::close()), (String::new(), None));
    assert_eq!(
        read(hello().fault(Fault::Close(At::Start))),
        (String::new(), None)
    );
}

#[test]
fn reset_before_answering_and_after() {
    let reset = Some(ErrorKind::ConnectionReset);
    assert_eq!(read(Response::reset()), (String::new(), reset));
    assert_eq!(
        read(hello().fault(Fault::Reset(At::Start))),
        (String::new(), reset)
    );
    // What was sent before a reset may be lost, so only the reset is sure.
    for at in [At::Head(10), At::Body(3), At::End] {
        assert_eq!(read(hello().fault(Fault::Reset(at))).1, reset, "{at:?}");
    }
}

#[test]
fn cut_in_the_head_or_the_body() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nhello, world";
    let cut = |at| read(hello().fault(Fault::Close(at))).0;
    assert_eq!(cut(At::Head(0)), "");
    assert_eq!(cut(At::Head(10)), whole[..10]);
    assert_eq!(cut(At::Head(1000)), whole[..39]);
    assert_eq!(cut(At::Body(0)), whole[..39]);
    assert_eq!(cut(At::Body(5)), whole[..44]);
    assert_eq!(cut(At::Body(1000)), whole);
    assert_eq!(cut(At::End), whole);
    // A large body, a chunked one, and one from a reader are cut as well.
    let size = |response: Response| read(response.fault(Fault::Close(At::Body(20)))).0;
    let body = |text: String| text.split_once("\r\n\r\n").unwrap().1.len();
    assert_eq!(body(size(Response::bytes(vec![b'x'; 1 << 20]))), 20);
    assert_eq!(
        body(size(Response::bytes(vec![b'x'; 100]).chunk_size(7))),
        20
    );
    assert_eq!(body(size(Response::reader(std::io::repeat(b'x')))), 20);
}

#[test]
fn a_delay_and_a_stall_make_the_client_wait() {
    let (text, time) = timed(hello().delay(20 * MS));
    assert!(
        text.ends_with("hello, world") && time >= 20 * MS,
        "{time:?}"
    );
    for at in [At::Start, At::Head(5), At::Body(5), At::End] {
        let (text, time) = timed(hello().fault(Fault::Stall(at, 20 * MS)));
        assert!(
            text.ends_with("hello, world") && time >= 20 * MS,
            "{at:?} {time:?}"
        );
    }
}

#[test]
fn a_stall_sends_what_is_before_it() {
    let mut server = TestHttpServer::fixed(
        "127.0.0.1:0",
        hello().fault(Fault::Stall(At::Body(5), LONG)),
    )
    .unwrap();
    let mut client = Client::new(server.local_addr());
    client.send(get("/"));
    let head = client.head();
    assert_eq!(head.field("content-length"), Some("12"));
    let mut body = [0; 5];
    client.stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"hello");
    server.stop(LONG).unwrap();
}

#[test]
fn a_delay_or_a_stall_ends_early_when_the_server_stops() {
    let forever = Duration::MAX;
    for response in [
        hello().delay(forever),
        hello().fault(Fault::Stall(At::Start, forever)),
        hello().fault(Fault::Stall(At::Body(1), forever)),
        hello().pace(Pace::Dribble {
            segment: 1,
            gap: forever,
        }),
        hello().pace(Pace::Throttle {
            bytes_per_second: 0,
        }),
    ] {
        let shown = format!("{response:?}");
        let mut server = TestHttpServer::fixed("127.0.0.1:0", response).unwrap();
        let mut client = Client::new(server.local_addr());
        client.send(get("/"));
        crate::support::eventually("the request came", || server.requests().len() == 1);
        let before = Instant::now();
        server.stop(LONG).unwrap();
        assert!(
            before.elapsed() < LONG / 2,
            "{shown} took {:?}",
            before.elapsed()
        );
        let mut bytes = Vec::new();
        let _ = client.stream.read_to_end(&mut bytes);
        assert!(!bytes.ends_with(b"hello, world"), "{shown}");
    }
}

#[test]
fn a_dribble_comes_in_segments_and_takes_its_time() {
    let mut server = undated(hello().header("Connection", "close").pace(Pace::Dribble {
        segment: 10,
        gap: 5 * MS,
    }));
    let mut client = Client::new(server.local_addr());
    let start = Instant::now();
    client.send(get("/"));
    let mut sizes = Vec::new();
    let mut piece = [0; 100];
    loop {
        match client.stream.get_mut().read(&mut piece).unwrap() {
            0 => break,
            count => sizes.push(count),
        }
    }
    // 70 bytes: six gaps. A slow reader may find two segments at once.
    assert_eq!(sizes.iter().sum::<usize>(), 70, "{sizes:?}");
    assert!(sizes.len() > 1, "{sizes:?}");
    assert!(start.elapsed() >= 30 * MS, "{:?}", start.elapsed());
    server.stop(LONG).unwrap();
}

#[test]
fn a_throttle_takes_as_long_as_its_rate_says() {
    let body = Response::bytes(vec![b'x'; 1000]);
    let (text, time) = timed(body.pace(Pace::Throttle {
        bytes_per_second: 10_000,
    }));
    assert!(text.ends_with("xxx"));
    // 1,000 bytes and a head at 10,000 a second, less the last gap.
    assert!(time >= 80 * MS, "{time:?}");
}

#[test]
fn all_that_a_server_sends_can_be_cut_in_segments() {
    let mut server = TestHttpServer::builder()
        .segment_size(1)
        .segment_gap(MS)
        .start("127.0.0.1:0", |request| request.text().into_owned())
        .unwrap();
    let mut client = Client::new(server.local_addr());
    let start = Instant::now();
    for _ in 0..3 {
        let post =
            super::start("POST /") + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(client.ask(post).text(), "hello");
    }
    // Each has more than 70 bytes.
    assert!(start.elapsed() >= 210 * MS, "{:?}", start.elapsed());
    assert_eq!(client.ask("nonsense\r\n\r\n").status, 400);
    server.stop(LONG).unwrap();
}

#[test]
fn a_kept_connection_survives_what_does_not_end_it() {
    let response = hello()
        .fault(Fault::Stall(At::Body(3), MS))
        .pace(Pace::Dribble {
            segment: 7,
            gap: Duration::ZERO,
        });
    let mut server = TestHttpServer::fixed("127.0.0.1:0", response).unwrap();
    let mut client = Client::new(server.local_addr());
    for _ in 0..3 {
        assert_eq!(client.ask(get("/")).text(), "hello, world");
    }
    assert_eq!(server.requests().len(), 3);
    server.stop(LONG).unwrap();
}

/// That this compiles is the test: the last arms can be reached, so more variants may come.
#[deny(unreachable_patterns)]
#[test]
fn there_may_be_more_faults_one_day() {
    let place = |at| match at {
        At::Start | At::Head(_) | At::Body(_) | At::End => "known",
        _ => "new",
    };
    let fault = |fault| match fault {
        Fault::Close(at) | Fault::Reset(at) | Fault::Stall(at, _) => place(at),
        _ => "new",
    };
    let pace = |pace| match pace {
        Pace::Dribble { .. } | Pace::Throttle { .. } => "known",
        _ => "new",
    };
    assert_eq!(fault(Fault::Close(At::End)), "known");
    let throttle = Pace::Throttle {
        bytes_per_second: 1,
    };
    assert_eq!(pace(throttle), "known");
}
