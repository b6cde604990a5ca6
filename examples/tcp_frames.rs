//! A server that keeps a protocol of frames, and a client that is tested with it.
//!
//! `RUST_LOG=loopback=debug cargo run --example tcp_frames` shows what the server does.

use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use loopback::TestTcpServer;

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();

    // Upper-cases every frame, until the client has no more.
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        while let Some(frame) = conn.read_frame()? {
            conn.write_frame(&frame.to_ascii_uppercase())?;
        }
        Ok::<(), io::Error>(())
    })?;

    let answer = ask(server.local_addr(), b"is anybody there?")?;
    println!("the client got: {}", String::from_utf8_lossy(&answer));

    let record = server.take_connection(Duration::from_secs(1))?;
    println!(
        "the server got {} bytes from {} and sent {}",
        record.received_count(),
        record.peer(),
        record.sent_count()
    );
    server.stop(Duration::from_secs(1))?;
    Ok(())
}

/// The client under test: one frame out, one frame back.
fn ask(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server)?;
    let length = u32::try_from(question.len()).map_err(io::Error::other)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(question)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}
