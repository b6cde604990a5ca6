//! Fixed answers, which the poll loop's own thread gives to a connection's first request.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use loopback::{Response, TestHttpServer};

use super::{Client, get, start};
#[cfg(target_os = "linux")]
use crate::support::thread_names;
use crate::support::{LONG, connect, eventually};

fn fixed() -> TestHttpServer {
    TestHttpServer::fixed("127.0.0.1:0", "hello").unwrap()
}

/// How many threads of this server handle requests.
#[cfg(target_os = "linux")]
fn workers(server: &TestHttpServer) -> usize {
    let prefix = format!("http:{} w", server.port());
    let names = thread_names();
    names
        .iter()
        .filter(|name| name.starts_with(&prefix))
        .count()
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_asks_once_takes_no_worker() {
    let mut server = fixed();
    for connection in 0..3 {
        let mut client = Client::new(server.local_addr());
        assert_eq!(client.ask(get("/")).text(), "hello");
        let request = server.take_request(LONG).unwrap();
        assert_eq!((request.connection(), request.exchange()), (connection, 0));
        assert_eq!(server.open_connections(), 1);
        drop(client);
        eventually("it is closed", || server.open_connections() == 0);
        assert_eq!(workers(&server), 0);
    }
    let mut client = Client::new(server.local_addr());
    for exchange in 0..3 {
        assert_eq!(client.ask(get("/")).text(), "hello");
        assert_eq!(server.take_request(LONG).unwrap().exchange(), exchange);
    }
    eventually("who asks again has a worker", || workers(&server) == 1);
    server.stop(LONG).unwrap();
}

#[test]
fn every_request_gets_the_same_as_from_a_handler() {
    let large = "x".repeat(100_000);
    for body in ["hello", "", large.as_str()] {
        let response = Response::text(body).header("X-Own", "1");
        let builder = TestHttpServer::builder().without_date();
        let fixed = builder
            .clone()
            .fixed("127.0.0.1:0", response.clone())
            .unwrap();
        let handled = builder
            .start("127.0.0.1:0", move |_request| response.clone())
            .unwrap();
        let (once, post) = (get("/"), start("POST /") + "Content-Length: 3\r\n\r\nabc");
        let requests = [
            once.clone(),
            once.repeat(3),
            once.clone() + &post + &once,
            post.clone(),
            start("POST /") + "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            start("HEAD /") + "\r\n",
            start("OPTIONS *") + "\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n".to_owned(),
            start("GET /") + "Connection: close\r\n\r\n",
            start("GET /") + "Expect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
            start("GET /") + "Connection: upgrade\r\nUpgrade: tea\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n".to_owned(),
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: h\r\n".to_owned(),
            "nonsense\r\n\r\n".to_owned(),
            "\r\n".to_owned() + &once,
            String::new(),
        ];
        for request in requests {
            let wanted = conversation(handled.local_addr(), [request.as_bytes()]);
            let whole = conversation(fixed.local_addr(), [request.as_bytes()]);
            assert_eq!(whole, wanted, "{request:?}");
            let bytes = request.as_bytes().chunks(1);
            assert_eq!(
                conversation(fixed.local_addr(), bytes),
                wanted,
                "{request:?}"
            );
            let (taken, refused) = (handled.requests().len(), handled.refusals().len());
            assert_eq!(fixed.requests().len(), 2 * taken, "{request:?}");
            assert_eq!(fixed.refusals().len(), 2 * refused, "{request:?}");
        }
    }
}

/// Sends the pieces, closes the sending side, and reads to the end.
fn conversation<'a>(address: SocketAddr, pieces: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut client = connect(address);
    client.set_nodelay(true).unwrap();
    for piece in pieces {
        // A server that has refused the request already may have closed.
        let _ = client.write_all(piece);
    }
    let _ = client.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    // Whether the client has to be told to go on depends on how much of it has come.
    let go_on = "HTTP/1.1 100 Continue\r\n\r\n";
    answer
        .strip_prefix(go_on)
        .map_or(answer.clone(), str::to_owned)
}

#[test]
fn a_client_that_does_not_go_on_holds_up_nobody() {
    let mut server = fixed();
    let mut slow = Client::new(server.local_addr());
    let request = get("/slow");
    slow.send(&request[..20]);
    let _silent = connect(server.local_addr());
    for _ in 0..10 {
        assert_eq!(
            Client::new(server.local_addr()).ask(get("/")).text(),
            "hello"
        );
    }
    slow.send(&request[20..]);
    assert_eq!(slow.reply().text(), "hello");
    server.stop(LONG).unwrap();
}

#[test]
fn who_had_asked_before_the_stop_is_answered() {
    for _ in 0..20 {
        let mut server = fixed();
        let mut clients: Vec<_> = (0..10).map(|_| connect(server.local_addr())).collect();
        for client in &mut clients {
            client.write_all(get("/").as_bytes()).unwrap();
        }
        server.stop(LONG).unwrap();
        for mut client in clients {
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            assert!(answer.ends_with("\r\n\r\nhello"), "{answer:?}");
        }
        assert_eq!(server.requests().len(), 10);
    }
}

#[test]
fn idle_clients_are_closed_in_time() {
    // Time enough for a client that has connected to ask.
    let idle = std::time::Duration::from_secs(2);
    let mut server = TestHttpServer::builder()
        .idle_timeout(idle)
        .fixed("127.0.0.1:0", "hello")
        .unwrap();
    let mut silent = Client::new(server.local_addr());
    let mut asked = Client::new(server.local_addr());
    assert_eq!(asked.ask(get("/")).text(), "hello");
    assert_eq!(silent.rest(), b"");
    assert_eq!(asked.rest(), b"");
    server.stop(LONG).unwrap();
}

#[test]
fn a_sequence_is_given_at_once_too() {
    let mut server = TestHttpServer::sequence("127.0.0.1:0", ["one", "two"]).unwrap();
    for wanted in ["one", "two", "two"] {
        let mut client = Client::new(server.local_addr());
        assert_eq!(client.ask(get("/")).text(), wanted);
        drop(client);
        #[cfg(target_os = "linux")]
        assert_eq!(workers(&server), 0);
    }
    server.stop(LONG).unwrap();
}
