//! Connections that CONNECT and Upgrade hand to the handler.

use std::io::{Read, Write};

use loopback::{Connection, Response, TestHttpServer};

use super::{Client, get, start};
use crate::support::LONG;

fn shout(mut conn: Connection) -> std::io::Result<()> {
    loop {
        let line = conn.read_line()?;
        if line.is_empty() {
            return Ok(());
        }
        conn.write_all(line.to_uppercase().as_bytes())?;
    }
}

#[test]
fn connect_becomes_a_tunnel() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| match request.method() {
        "CONNECT" => Response::tunnel(shout).reason("Connection established"),
        _ => Response::new(405),
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    assert_eq!(client.ask(get("/")).status, 405);
    // What follows the head at once is the tunnel's.
    client.send("CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\none\n");
    assert_eq!(client.head().head, "HTTP/1.1 200 Connection established");
    assert_eq!(
        client
            .stream
            .by_ref()
            .bytes()
            .take(4)
            .map(Result::unwrap)
            .collect::<Vec<_>>(),
        b"ONE\n"
    );
    client.send("two\n");
    client
        .stream
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(client.rest(), b"TWO\n");
    let requests = server.requests();
    assert_eq!(requests[1].authority(), Some("example.org:80"));
    server.stop(LONG).unwrap();
}

#[test]
fn an_upgrade_switches_the_protocol() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| match request.upgrade() {
        Some("shout/1") => Response::upgrade("shout/1", shout).header("X-Mood", "loud"),
        other => Response::text(format!("{other:?}")),
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    let asks = start("GET /chat") + "Upgrade: shout/1\r\n";
    // Without Connection: upgrade the field is for nobody.
    assert_eq!(client.ask(asks.clone() + "\r\n").text(), "None");
    client.send(asks + "Connection: keep-alive, Upgrade\r\n\r\n");
    let expected = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout/1\r\nX-Mood: loud";
    assert_eq!(client.head().head, expected);
    client.send("quietly\n");
    client
        .stream
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    assert_eq!(client.rest(), b"QUIETLY\n");
    server.stop(LONG).unwrap();
}

/// RFC 9931, section 7: what follows may have been meant for the tunnel, and none of it is a request.
#[test]
fn a_refused_tunnel_closes_and_what_follows_is_not_read() {
    let handled = TestHttpServer::start("127.0.0.1:0", |_| Response::text("no").status(403));
    let fixed = TestHttpServer::fixed("127.0.0.1:0", Response::text("no").status(403));
    let early = TestHttpServer::builder()
        .before_body(|_| Some(Response::text("no").status(403)))
        .start("127.0.0.1:0", |_| ());
    for server in [handled, fixed, early] {
        let mut server = server.unwrap();
        let mut client = Client::new(server.local_addr());
        client.send("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n".to_owned() + &get("/smuggled"));
        let reply = client.reply();
        assert_eq!((reply.status, reply.text()), (403, "no"));
        assert!(reply.has("Connection: close"), "{reply:?}");
        assert_eq!(client.rest(), b"");
        server.stop(LONG).unwrap();
        let methods: Vec<_> = server
            .requests()
            .iter()
            .map(|request| request.method().to_owned())
            .collect();
        assert_eq!(methods, ["CONNECT"]);
    }
}

/// RFC 9110, section 7.8: the new protocol begins behind the request's body.
#[test]
fn an_upgrade_before_the_body_begins_behind_it() {
    let mut server = TestHttpServer::builder()
        .max_body(10)
        .before_body(|request| {
            assert_eq!(request.body(), b"");
            request.upgrade().map(|_| Response::upgrade("shout", shout))
        })
        .start("127.0.0.1:0", |_| "not upgraded")
        .unwrap();
    let asks = start("POST /") + "Connection: upgrade\r\nUpgrade: shout\r\n";
    for body in [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nA: b\r\n\r\n",
    ] {
        let mut client = Client::new(server.local_addr());
        client.send(asks.clone() + body + "quietly\n");
        assert_eq!(client.head().status, 101);
        let stream = client.stream.get_ref();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.rest(), b"QUIETLY\n");
        assert_eq!(server.take_request(LONG).unwrap().body(), b"body");
    }
    // A client that waits to be told sends its body, and then speaks the new protocol.
    let mut client = Client::new(server.local_addr());
    client.send(asks.clone() + "Expect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head().status, 100);
    client.send("bodyquietly\n");
    assert_eq!(client.head().status, 101);
    // A body that is refused upgrades nothing.
    let mut client = Client::new(server.local_addr());
    let reply = client.ask(asks + "Transfer-Encoding: chunked\r\n\r\nb\r\nmuch too much");
    assert_eq!(reply.status, 413);
    assert_eq!(client.rest(), b"");
    server.stop(LONG).unwrap();
}

#[test]
fn the_failure_of_a_takeover_is_a_failure() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| {
        Response::tunnel(|mut conn| {
            assert_eq!(conn.read_line().unwrap(), "right\n");
        })
    })
    .unwrap();
    let mut client = Client::new(server.local_addr());
    client.send("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\nwrong\n");
    assert_eq!(client.head().status, 200);
    client.rest();
    crate::support::eventually("the failure is kept", || !server.failures().is_empty());
    let error = server.stop(LONG).unwrap_err();
    assert!(error.failures()[0].message().contains("wrong"), "{error}");
}

#[test]
fn a_tunnel_that_waits_ends_when_the_server_stops() {
    let mut server = TestHttpServer::start("127.0.0.1:0", |_| Response::tunnel(shout)).unwrap();
    let mut client = Client::new(server.local_addr());
    client.send("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n");
    assert_eq!(client.head().status, 200);
    server.stop(LONG).unwrap();
    assert_eq!(client.rest(), b"");
}
