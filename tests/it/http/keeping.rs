//! Connections: kept, pipelined, parked, ended.

use std::time::{Duration, Instant};

use loopback::{Request, Response, TestHttpServer, Version};

use super::{Client, get, start};
#[cfg(target_os = "linux")]
use crate::support::thread_names;
use crate::support::{LONG, eventually};

fn paths() -> TestHttpServer {
    TestHttpServer::start("127.0.0.1:0", |request| Response::text(request.path())).unwrap()
}

#[test]
fn a_connection_carries_many_requests_and_numbers_them() {
    let mut server = paths();
    for connection in 0..2 {
        let mut client = Client::new(server.local_addr());
        for exchange in 0..3 {
            let reply = client.ask(get(&format!("/{connection}/{exchange}")));
            assert_eq!(reply.text(), format!("/{connection}/{exchange}"));
            assert_eq!(reply.field("connection"), None);
            let request = server.take_request(LONG).unwrap();
            assert_eq!(
                (request.connection(), request.exchange()),
                (connection, exchange)
            );
        }
    }
    server.stop(LONG).unwrap();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut server = paths();
    let mut client = Client::new(server.local_addr());
    let post = start("POST /b") + "Content-Length: 14\r\n\r\nGET / HTTP/1.1";
    let chunked = start("POST /c") + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    client.send(get("/a") + &post + "\r\n" + &chunked + &get("/d"));
    for path in ["/a", "/b", "/c", "/d"] {
        assert_eq!(client.reply().text(), path);
    }
    let recorded: Vec<_> = server
        .requests()
        .iter()
        .map(|request| request.path().to_owned())
        .collect();
    assert_eq!(recorded, ["/a", "/b", "/c", "/d"]);
    server.stop(LONG).unwrap();
}

#[test]
fn a_request_in_single_bytes_is_one_request() {
    let mut server = TestHttpServer::echo("127.0.0.1:0").unwrap();
    let mut client = Client::new(server.local_addr());
    let request =
        start("POST /") + "Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n";
    for byte in request.bytes() {
        client.send([byte]);
    }
    assert_eq!(client.reply().text(), "abc");
    let request = server.take_request(LONG).unwrap();
    assert_eq!(request.trailers().get("a"), Some("b"));
    assert!(server.requests().is_empty());
    server.stop(LONG).unwrap();
}

#[test]
fn close_is_honoured_and_announced() {
    let mut server = paths();
    let mut client = Client::new(server.local_addr());
    let reply = client.ask(start("GET /") + "Connection: close\r\n\r\n");
    assert!(reply.has("Connection: close"), "{reply:?}");
    assert_eq!(client.rest(), b"");
    server.stop(LONG).unwrap();
}

#[test]
fn http_1_0_closes_unless_asked_to_keep() {
    let mut server = paths();
    let mut client = Client::new(server.local_addr());
    let reply = client.ask("GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert!(reply.has("Connection: keep-alive"), "{reply:?}");
    let reply = client.ask("GET /b HTTP/1.0\r\n\r\n");
    assert!(
        reply.has("Connection: close") && reply.text() == "/b",
        "{reply:?}"
    );
    assert_eq!(client.rest(), b"");
    assert!(
        server
            .requests()
            .iter()
            .all(|request| request.version() == Version::Http10)
    );
    server.stop(LONG).unwrap();
}

#[test]
fn an_idle_connection_is_served_again_and_does_not_hold_up_a_stop() {
    let mut server = paths();
    let mut clients: Vec<_> = (0..50).map(|_| Client::new(server.local_addr())).collect();
    for round in 0..2 {
        for client in &mut clients {
            assert_eq!(client.ask(get("/")).text(), "/", "round {round}");
        }
    }
    let request = server.requests().pop().unwrap();
    assert_eq!((request.connection(), request.exchange()), (49, 1));
    assert_eq!(server.open_connections(), 50);
    let before = Instant::now();
    server.stop(LONG).unwrap();
    // Were they not closed at once, the stop would cut them shortly before its timeout.
    assert!(before.elapsed() < LONG / 2, "{:?}", before.elapsed());
    for client in &mut clients {
        assert_eq!(client.rest(), b"");
    }
}

/// How many of this process's threads have such names.
#[cfg(target_os = "linux")]
fn count(is_one: impl Fn(&str) -> bool) -> usize {
    thread_names().iter().filter(|name| is_one(name)).count()
}

#[cfg(target_os = "linux")]
#[test]
fn idle_connections_have_no_threads() {
    // Another test's server may have the port on another address for a while, and with it the threads' names: so
    // each number is waited for.
    let mut server = paths();
    let (own, worker) = (
        format!("http:{}", server.port()),
        format!("http:{} w", server.port()),
    );
    let threads = || count(|name| name == own);
    let workers = || count(|name| name.starts_with(&worker));
    eventually("the server has one thread", || threads() == 1);
    let mut clients: Vec<_> = (0..50).map(|_| Client::new(server.local_addr())).collect();
    for client in &mut clients {
        assert_eq!(client.ask(get("/")).text(), "/");
    }
    assert!(workers() > 0, "no thread is named {worker}1");
    eventually("the workers of idle connections have ended", || {
        // They are kept for some seconds; looking all the time would only slow the other tests.
        std::thread::park_timeout(Duration::from_millis(50));
        (workers(), threads()) == (0, 1)
    });
    assert_eq!(server.open_connections(), 50);
    for client in &mut clients {
        assert_eq!(client.ask(get("/again")).text(), "/again");
    }
    server.stop(LONG).unwrap();
    // The system lists a thread for a moment after it was joined.
    eventually("all threads are gone", || threads() + workers() == 0);
}

#[test]
fn an_idle_connection_leaves_its_thread_to_others() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| {
        std::thread::current().name().unwrap_or_default().to_owned()
    })
    .unwrap();
    let mut idle = Client::new(server.local_addr());
    let thread = idle.ask(get("/")).text().to_owned();
    assert_eq!(thread, format!("http:{} w1", server.port()));
    eventually("another connection is served by that thread", || {
        Client::new(server.local_addr()).ask(get("/")).text() == thread
    });
    assert_eq!(idle.ask(get("/")).status, 200);
    server.stop(LONG).unwrap();
}

#[test]
fn a_request_in_progress_is_answered_while_the_server_stops() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let mut server = TestHttpServer::start("127.0.0.1:0", move |_| {
        wait.lock().unwrap().recv_timeout(LONG).unwrap();
    })
    .unwrap();
    let address = server.local_addr();
    let mut client = Client::new(address);
    client.send(get("/"));
    eventually("the request came", || server.requests().len() == 1);
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| server.stop(LONG));
        // Looking by connecting would keep it open: who comes is still served.
        eventually("the listener is closed", || {
            std::net::TcpListener::bind(address).is_ok()
        });
        go.send(()).unwrap();
        let reply = client.reply();
        assert!(
            reply.status == 200 && reply.has("Connection: close"),
            "{reply:?}"
        );
        assert_eq!(client.rest(), b"");
        stop.join().unwrap().unwrap();
    });
}

#[test]
fn a_request_that_a_stop_cuts_is_recorded_and_not_answered() {
    let mut server = paths();
    let mut client = Client::new(server.local_addr());
    client.send(start("POST /") + "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().status, 100);
    server.stop(LONG).unwrap();
    assert_eq!(client.rest(), b"");
    let why = "the server stopped in the request's body, after 0 of 4 bytes";
    assert_eq!(server.refusals()[0].error(), Some(why));
    assert!(server.requests().is_empty());
}

#[test]
fn each_request_has_the_whole_timeout() {
    let (go, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let mut server = TestHttpServer::builder()
        .request_timeout(Duration::from_secs(3))
        .start("127.0.0.1:0", move |request: Request| {
            if request.path() == "/first" {
                wait.lock().unwrap().recv_timeout(LONG).unwrap();
            }
        })
        .unwrap();
    let rest = "Content-Length: 4\r\nExpect: 100-continue\r\n\r\n";
    let mut client = Client::new(server.local_addr());
    client.send(start("POST /first") + rest);
    assert_eq!(client.head().status, 100);
    // The second request begins in the first one's last segment, so the connection is not idle between them.
    client.send("body".to_owned() + &start("POST /second") + rest);
    eventually("the handler has the first", || server.requests().len() == 1);
    // That this one is given up shows that the time which the first had is over.
    let mut other = Client::new(server.local_addr());
    assert_eq!(other.ask(start("GET /")).status, 408);
    go.send(()).unwrap();
    assert_eq!(client.reply().status, 200);
    assert_eq!(client.head().status, 100);
    assert_eq!(client.ask("body").status, 200);
    server.stop(LONG).unwrap();
}

#[test]
fn the_number_of_requests_on_a_connection_can_be_limited() {
    let mut server = TestHttpServer::builder()
        .max_requests(2)
        .start("127.0.0.1:0", |_| "x")
        .unwrap();
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/")).field("connection"), None);
    assert_eq!(client.ask(get("/")).field("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
    server.stop(LONG).unwrap();
}

#[test]
fn empty_lines_between_requests_are_no_request() {
    let mut server = paths();
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/a") + "\r\n\n").text(), "/a");
    assert_eq!(client.ask(get("/b") + "\r\n").text(), "/b");
    drop(client);
    eventually("the connection is gone", || server.open_connections() == 0);
    assert_eq!(server.requests().len(), 2);
    server.stop(LONG).unwrap();
}

#[test]
fn all_kinds_of_sockets() {
    let mut server =
        TestHttpServer::start("[::1]:0", |request| request.peer().to_string()).unwrap();
    let mut client = Client::new(server.local_addr());
    let peer = client.ask(get("/")).text().to_owned();
    assert!(peer.starts_with("[::1]:"), "{peer}");
    server.stop(LONG).unwrap();
}

#[cfg(unix)]
#[test]
fn a_unix_socket() {
    use std::io::{Read, Write};
    let mut server =
        TestHttpServer::start(loopback::UnixAddress::temporary(), |_| "hello").unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(server.path()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("\r\n\r\nhello"), "{answer}");
    server.stop(LONG).unwrap();
}

#[cfg(target_os = "linux")]
#[test]
fn a_restarted_server_answers_as_before_and_numbers_anew() {
    // An address of its own: between stop and restart no other test can be given the port.
    let mut server =
        TestHttpServer::start("127.80.80.1:0", |request| request.path().to_owned()).unwrap();
    for path in ["/a", "/b"] {
        assert_eq!(Client::new(server.local_addr()).ask(get(path)).text(), path);
        let request = server.take_request(LONG).unwrap();
        assert_eq!((request.connection(), request.exchange()), (0, 0));
        server.restart().unwrap();
    }
    server.stop(LONG).unwrap();
}
