//! A server that is away for a while, and a client that has to cope with it.

use std::error::Error;
use std::net::UdpSocket;
use std::time::Duration;

use loopback::TestUdpServer;

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let mut server =
        TestUdpServer::start("127.0.0.1:0", |datagram| datagram.text().to_uppercase())?;

    println!("served:        {:?}", ask(&server, "one"));
    server.stop(Duration::from_secs(1))?;
    println!("server away:   {:?}", ask(&server, "two"));
    server.restart()?;
    println!("served again:  {:?}", ask(&server, "three"));

    let arrived: Vec<_> = server
        .datagrams()
        .iter()
        .map(|datagram| datagram.text())
        .collect();
    println!("what arrived:  {arrived:?}");
    Ok(())
}

/// The client under test: one question, `None` when no answer comes.
fn ask(server: &TestUdpServer, question: &str) -> Option<String> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(300)))
        .ok()?;
    socket.connect(server.local_addr()).ok()?;
    socket.send(question.as_bytes()).ok()?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer[..length]).into_owned())
}
