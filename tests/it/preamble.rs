//! What precedes the protocol on each connection is read before it, and once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use loopback::{Connection, TestHttpServer, TestSmtpServer, TestTcpServer};

use crate::support::{LONG, connect};

fn line(conn: &mut Connection) -> std::io::Result<()> {
    match conn.read_line()?.as_str() {
        "before\n" => Ok(()),
        other => Err(std::io::Error::other(format!("not before: {other:?}"))),
    }
}

#[test]
fn it_is_read_before_the_handler_and_no_byte_more() {
    let mut server = TestTcpServer::builder()
        .preamble(line)
        .echo("127.0.0.1:0")
        .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"before\nand after").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut echoed = String::new();
    client.read_to_string(&mut echoed).unwrap();
    assert_eq!(echoed, "and after");
    server.stop(LONG).unwrap();
}

#[test]
fn a_kept_connection_has_one() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let mut server = TestHttpServer::builder()
        .preamble(move |conn: &mut Connection| {
            counted.fetch_add(1, Ordering::SeqCst);
            line(conn)
        })
        .fixed("127.0.0.1:0", "hi")
        .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"before\n").unwrap();
    let mut reader = BufReader::new(client.try_clone().unwrap());
    for _ in 0..3 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
            .unwrap();
        let mut status = String::new();
        reader.read_line(&mut status).unwrap();
        assert_eq!(status, "HTTP/1.1 200 OK\r\n");
        let mut rest = String::new();
        while !rest.ends_with("\r\n\r\n") {
            reader.read_line(&mut rest).unwrap();
        }
        reader.read_exact(&mut [0; 2]).unwrap();
        // Long enough that the connection goes back to the poll loop; whatever becomes of it, there is one.
        std::thread::park_timeout(Duration::from_millis(80));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    drop((client, reader));
    server.stop(LONG).unwrap();
    assert_eq!(server.total_requests(), 3);
}

#[test]
fn a_server_that_speaks_first_waits_for_it() {
    let mut server = TestSmtpServer::builder()
        .preamble(line)
        .sink("127.0.0.1:0")
        .unwrap();
    let mut client = connect(server.local_addr());
    client.set_nonblocking(true).unwrap();
    let early = client.read(&mut [0]).unwrap_err();
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    client.set_nonblocking(false).unwrap();
    client.write_all(b"before\nQUIT\r\n").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("220 "), "{text}");
    server.stop(LONG).unwrap();
}

#[test]
fn one_that_is_wrong_is_a_failure_and_ends_the_connection() {
    let mut server = TestHttpServer::builder()
        .preamble(|conn: &mut Connection| match conn.read_line()?.as_str() {
            "panic\n" => panic!("told to"),
            _ => line(conn),
        })
        .fixed("127.0.0.1:0", "hi")
        .unwrap();
    for text in ["panic\n", "first\nwrong\n"] {
        let mut client: TcpStream = connect(server.local_addr());
        client.write_all(text.as_bytes()).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(answer.is_empty());
    }
    let error = server.stop(LONG).unwrap_err().to_string();
    for part in ["told to", r#"not before: "wrong\n""#] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(server.total_requests(), 0);
}
