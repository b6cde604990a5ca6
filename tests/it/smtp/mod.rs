//! What an SMTP server has to do on the wire, one test for each statement of `STATEMENTS.md`; the number in a test's
//! name is the statement's. 36 and 37 are about what follows TLS, which this server does not have, and
//! 35 is deviated from for the same reason; see its test.

mod chunks;
mod data;
mod envelope;
mod hooks;
mod lmtp;
mod login;
mod messages;
#[cfg(target_os = "linux")]
mod pieces;
mod sequence;
mod stopping;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use loopback::smtp::Message;
use loopback::{Builder, Smtp, TestSmtpServer};

/// Long enough for any machine; a test that waits for it has failed.
const LONG: Duration = Duration::from_secs(20);

/// A client that says what a test tells it to.
struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects, and reads the greeting.
    #[track_caller]
    fn greeted(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        assert!(client.reply().starts_with("220 "));
        client
    }

    /// Connects, and has EHLO answered.
    #[track_caller]
    fn ready(address: SocketAddr) -> Client {
        let mut client = Client::greeted(address);
        client.say("EHLO client.example", 250);
        client
    }

    /// Connects, and has a transaction with one recipient.
    #[track_caller]
    fn in_transaction(address: SocketAddr) -> Client {
        let mut client = Client::ready(address);
        client.say("MAIL FROM:<alice@example.com>", 250);
        client.say("RCPT TO:<bob@example.com>", 250);
        client
    }

    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// All lines of one reply, their ends as `\n`.
    #[track_caller]
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let mut line = String::new();
            self.stream.read_line(&mut line).unwrap();
            assert!(line.len() <= 512, "a reply line is too long: {line:?}");
            let text = line.strip_suffix("\r\n");
            let text = text.unwrap_or_else(|| panic!("not a reply line: {line:?}"));
            let digits = text.len() >= 4 && text[..3].bytes().all(|byte| byte.is_ascii_digit());
            assert!(digits, "not a reply line: {line:?}");
            reply.push_str(text);
            match text.as_bytes()[3] {
                b' ' => return reply,
                mark => assert_eq!(mark, b'-', "not a reply line: {line:?}"),
            }
            reply.push('\n');
        }
    }

    /// The code of the next reply.
    #[track_caller]
    fn code(&mut self) -> u16 {
        self.reply()[..3].parse().unwrap()
    }

    /// The codes of the next replies.
    #[track_caller]
    fn codes<const N: usize>(&mut self) -> [u16; N] {
        std::array::from_fn(|_| self.code())
    }

    /// Sends a command, and wants a reply of this code.
    #[track_caller]
    fn say(&mut self, command: &str, code: u16) -> String {
        self.send(format!("{command}\r\n"));
        let reply = self.reply();
        let start = format!("{code}");
        assert!(
            reply.starts_with(&start),
            "{command} got {reply:?}, not {code}"
        );
        reply
    }

    /// Wants the connection to end without another octet.
    #[track_caller]
    fn ended(&mut self) {
        let mut rest = String::new();
        self.stream.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

fn sink() -> TestSmtpServer {
    TestSmtpServer::sink("127.0.0.1:0").unwrap()
}

fn sink_with(options: impl FnOnce(Builder<Smtp>) -> Builder<Smtp>) -> TestSmtpServer {
    let builder = options(TestSmtpServer::builder());
    builder.start("127.0.0.1:0", |_: &Message| {}).unwrap()
}

/// The text of the next message.
#[track_caller]
fn next_text(server: &TestSmtpServer) -> String {
    let message = server.take_message(LONG).unwrap();
    String::from_utf8(message.raw().to_vec()).unwrap()
}
