//! A blocking SMTP client that waits for each reply.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long a reply may take.
const SILENCE: Duration = Duration::from_secs(10);

/// The transaction that every message has, up to the text.
const ENVELOPE: [(&str, &str); 3] = [
    ("MAIL FROM:<alice@example.com>\r\n", "250"),
    ("RCPT TO:<bob@example.com>\r\n", "250"),
    ("DATA\r\n", "354"),
];

#[derive(Debug)]
pub struct MailClient {
    reader: BufReader<TcpStream>,
}

impl MailClient {
    /// Connects and says EHLO. `nodelay` as in TCP_NODELAY.
    pub fn connect(address: SocketAddr, nodelay: bool) -> io::Result<MailClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(nodelay)?;
        stream.set_read_timeout(Some(SILENCE))?;
        let reader = BufReader::new(stream);
        let mut client = MailClient { reader };
        client.reply("220")?;
        client.say("EHLO client.example\r\n", "250")?;
        Ok(client)
    }

    /// Sends a message whose text and final dot are written in these pieces.
    pub fn send(&mut self, pieces: &[&str]) -> io::Result<()> {
        for (command, code) in ENVELOPE {
            self.say(command, code)?;
        }
        for piece in pieces {
            self.reader.get_mut().write_all(piece.as_bytes())?;
        }
        self.reply("250")
    }

    pub fn quit(mut self) -> io::Result<()> {
        self.say("QUIT\r\n", "221")
    }

    fn say(&mut self, command: &str, code: &str) -> io::Result<()> {
        self.reader.get_mut().write_all(command.as_bytes())?;
        self.reply(code)
    }

    fn reply(&mut self, code: &str) -> io::Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            if !line.starts_with(code) {
                return Err(io::Error::other(format!(
                    "{line:?} where {code} was expected"
                )));
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return Ok(());
            }
        }
    }
}
