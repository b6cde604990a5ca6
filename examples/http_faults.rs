//! A server that misbehaves on purpose, and a client that has to cope with it.
//!
//! `RUST_LOG=loopback=debug cargo run --example http_faults` shows what the server does.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use loopback::{At, Fault, Pace, Response, TestHttpServer};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let mut server = TestHttpServer::start("127.0.0.1:0", |request| {
        let hello = Response::text("hello, world");
        match request.path() {
            "/whole" => hello,
            "/delayed" => hello.delay(Duration::from_millis(50)),
            "/dribbled" => hello.pace(Pace::Dribble {
                segment: 10,
                gap: Duration::from_millis(2),
            }),
            "/cut" => hello.fault(Fault::Close(At::Body(5))),
            "/reset" => hello.fault(Fault::Reset(At::Head(10))),
            "/stalled" => hello.fault(Fault::Stall(At::Body(0), Duration::from_secs(60))),
            _ => Response::new(404),
        }
    })?;

    for path in [
        "/whole",
        "/delayed",
        "/dribbled",
        "/cut",
        "/reset",
        "/stalled",
        "/nowhere",
    ] {
        let start = Instant::now();
        let outcome = get(server.local_addr(), path);
        println!("{path:10} {outcome:?} after {:.0?}", start.elapsed());
    }

    // The stalled response is not waited for.
    let start = Instant::now();
    server.stop(Duration::from_secs(10))?;
    println!("stopped after {:.0?}", start.elapsed());
    Ok(())
}

/// The client under test: gives the body, or an error where it is not whole.
fn get(server: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(server)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .and_then(|length| length.parse().ok());
    if !head.starts_with("HTTP/1.1 200 ") {
        return Err(io::Error::other(head.lines().next().unwrap_or_default()));
    }
    if length != Some(body.len()) {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "cut short"));
    }
    Ok(body.to_owned())
}
