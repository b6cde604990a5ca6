//! A small client for a line of questions and answers, and a scripted peer that it is tested with.
//!
//! `cargo run --example scripted_client` shows what happens when all is well, and with `-- --fail` what
//! a failing run says, which exits with a failure.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use loopback::ScriptedTcpServer;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    env_logger::init();
    let fails = std::env::args().any(|argument| argument == "--fail");

    // What a well-behaved client does: it greets, asks, says goodbye, and closes.
    let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
    peer.expect_connect();
    peer.send_bytes("220 weather service\r\n");
    peer.expect_line("HELO client");
    peer.send_in_pieces("250 hello\r\n", 4, Duration::from_millis(10));
    peer.expect_line(if fails {
        "WEATHER Paris"
    } else {
        "WEATHER Rome"
    });
    peer.send_bytes("250 sunny\r\n");
    peer.expect_line("QUIT");
    peer.expect_disconnect();

    match ask(peer.local_addr(), "Rome") {
        Ok(answer) => println!("the client got: {answer}"),
        Err(error) => println!("the client failed: {error}"),
    }
    match peer.join() {
        Ok(()) => {
            println!("the script was followed to its end");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            println!("the script failed:\n{error}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// The client under test.
fn ask(server: SocketAddr, city: &str) -> io::Result<String> {
    let stream = TcpStream::connect(server)?;
    let mut lines = BufReader::new(&stream).lines();
    let mut answer = || {
        lines
            .next()
            .unwrap_or(Err(io::ErrorKind::UnexpectedEof.into()))
    };
    answer()?;
    (&stream).write_all(b"HELO client\r\n")?;
    answer()?;
    (&stream).write_all(format!("WEATHER {city}\r\n").as_bytes())?;
    let weather = answer()?;
    (&stream).write_all(b"QUIT\r\n")?;
    Ok(weather)
}
