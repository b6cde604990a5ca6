//! A mail server that is busy once, and a mailer that has to try again.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use loopback::TestSmtpServer;
use loopback::smtp::{Reply, Stage};

fn main() -> Result<(), Box<dyn Error>> {
    env_logger::init();
    let mut server = TestSmtpServer::builder()
        .reply_once(Stage::Rcpt, 1, Reply::new(451, "4.2.1 mailbox busy"))
        .on_mail(|sender| sender.address().ends_with("@example.com"))
        .start("127.0.0.1:0", |message| {
            assert_eq!(message.subject(), Some("Lunch?"));
        })?;

    for attempt in 1..=2 {
        let sent = send(server.local_addr(), "bob@example.com", "Lunch?");
        println!("attempt {attempt}: {sent:?}");
    }

    let message = server.take_message(Duration::from_secs(1))?;
    println!(
        "from {} to {:?}: {:?}",
        message.from(),
        message.to(),
        message.text()
    );
    println!(
        "what was said in the first attempt, by {}",
        server.transcripts()[0]
    );
    server.stop(Duration::from_secs(1))?;
    Ok(())
}

/// The mailer under test: one letter, an error for a reply that refuses.
fn send(server: SocketAddr, to: &str, subject: &str) -> Result<(), Box<dyn Error>> {
    let mut stream = BufReader::new(TcpStream::connect(server)?);
    let commands = [
        String::new(),
        "HELO me.example\r\n".to_owned(),
        "MAIL FROM:<alice@example.com>\r\n".to_owned(),
        format!("RCPT TO:<{to}>\r\n"),
        "DATA\r\n".to_owned(),
        format!("Subject: {subject}\r\n\r\nAt one.\r\n.\r\n"),
        "QUIT\r\n".to_owned(),
    ];
    for command in commands {
        stream.get_mut().write_all(command.as_bytes())?;
        let mut reply = String::new();
        stream.read_line(&mut reply)?;
        if !reply.starts_with(['2', '3']) {
            return Err(reply.trim_end().into());
        }
    }
    Ok(())
}
