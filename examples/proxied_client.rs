//! A test of an HTTP client that has to go through a SOCKS5 proxy: a real proxy program between the client and the
//! test's own server, which knows what arrived, and the proxy ended and started again under the client.
//!
//! Needs `microsocks`; any other SOCKS5 proxy is a command with placeholders:
//!
//! ```text
//! cargo run --example proxied_client
//! cargo run --example proxied_client -- 'my-proxy --listen {listen}'
//! ```

use std::error::Error;
use std::io::{self, Read, Write};
use std::time::Duration;

use loopback::tunnel::Socks5;
use loopback::{Response, RunningTunnel, TestHttpServer};

const LIMIT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let command = std::env::args().nth(1);
    let command =
        command.unwrap_or_else(|| "microsocks -i {listen_ip} -p {listen_port}".to_owned());

    let mut service = TestHttpServer::start("127.0.0.1:0", |request| match request.path() {
        "/weather" => Response::text("fine"),
        _ => Response::text("no such page").status(404),
    })?;
    let mut proxy = RunningTunnel::start(Socks5::template(command), &service)?;
    println!("the client goes through {}", proxy.url());

    assert_eq!(weather(&proxy)?, "fine");
    assert_eq!(service.take_request(LIMIT)?.path(), "/weather");

    // A client that keeps a connection has to notice that the proxy has gone, and come back.
    proxy.restart()?;
    assert_eq!(weather(&proxy)?, "fine");
    assert_eq!(service.take_request(LIMIT)?.path(), "/weather");

    // Fails if the proxy has ended by itself, had to be killed, or leaves processes behind.
    proxy.stop(LIMIT)?;
    service.stop(LIMIT)?;
    println!("two requests went through two lives of the proxy");
    Ok(())
}

/// The client under test; here one of a few lines. One that speaks SOCKS5 itself would get `proxy.url()`.
fn weather(proxy: &RunningTunnel) -> io::Result<String> {
    let mut stream = proxy.connect()?;
    stream
        .write_all(b"GET /weather HTTP/1.1\r\nHost: weather.test\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    body.ok_or_else(|| io::Error::other(format!("no whole answer: {answer:?}")))
}
