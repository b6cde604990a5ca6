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

#[test]
fn a_tunnel_can_be_refused_and_the_connection_goes_on() {
    let mut server =
        TestHttpServer::start("127.0.0.1:0", |_| Response::text("no").status(403)).unwrap();
    let mut client = Client::new(server.local_addr());
    for _ in 0..2 {
        let reply = client.ask("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n");
        assert_eq!((reply.status, reply.text()), (403, "no"));
    }
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
