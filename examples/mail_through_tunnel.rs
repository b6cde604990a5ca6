//! Mail through a real port forwarder: what the mailer sent is compared with what arrived at the test's own mail
//! server, and a mailer is seen to cope with a forwarder that goes away in the middle of a message.
//!
//! Needs `socat`; any other forwarder is a command with placeholders:
//!
//! ```text
//! cargo run --example mail_through_tunnel
//! cargo run --example mail_through_tunnel -- 'my-forwarder {listen} {service}'
//! ```

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use loopback::tunnel::{Forward, Signal};
use loopback::{RunningTunnel, TestSmtpServer};

const LIMIT: Duration = Duration::from_secs(5);
const SOCAT: &str = "socat TCP{family}-LISTEN:{listen_port},bind={listen_host},reuseaddr,fork \
    TCP{service_family}:{service}";

fn main() -> Result<(), Box<dyn Error>> {
    let command = std::env::args().nth(1).unwrap_or_else(|| SOCAT.to_owned());
    let mut server = TestSmtpServer::sink("127.0.0.1:0")?;
    let mut tunnel = RunningTunnel::start(Forward::template(command), &server)?;

    // A body of 100 KB, with lines that begin with a dot.
    let body = ".a line of the letter\r\n".repeat(4_500);
    let mut mailer = Mailer::connect(tunnel.connect()?)?;
    mailer.begin("bob@example.com")?;
    mailer.finish("Lunch?", &body)?;
    let message = server.take_message(LIMIT)?;
    assert_eq!(message.subject(), Some("Lunch?"));
    assert!(message.text() == Some(&*body), "another text arrived");
    println!("{} bytes of mail arrived as they were sent", body.len());

    // The mailer must see an error, and the server no message.
    mailer.begin("bob@example.com")?;
    tunnel.signal(Signal::Kill);
    let cut = mailer.finish("Dinner?", &body);
    println!(
        "the forwarder is killed, and the mailer says: {}",
        cut.unwrap_err()
    );
    tunnel.restart()?;
    let mut mailer = Mailer::connect(tunnel.connect()?)?;
    mailer.begin("bob@example.com")?;
    mailer.finish("Dinner, again", "At eight.\r\n")?;
    assert_eq!(server.take_message(LIMIT)?.subject(), Some("Dinner, again"));

    tunnel.stop(LIMIT)?;
    server.stop(LIMIT)?;
    Ok(())
}

/// The mailer under test; here one of a few lines.
struct Mailer(BufReader<TcpStream>);

impl Mailer {
    fn connect(stream: TcpStream) -> io::Result<Mailer> {
        let mut mailer = Mailer(BufReader::new(stream));
        mailer.reply()?;
        mailer.say("HELO me.example\r\n")?;
        Ok(mailer)
    }

    fn begin(&mut self, to: &str) -> io::Result<()> {
        self.say("MAIL FROM:<alice@example.com>\r\n")?;
        self.say(&format!("RCPT TO:<{to}>\r\n"))?;
        self.say("DATA\r\n")
    }

    fn finish(&mut self, subject: &str, body: &str) -> io::Result<()> {
        // A line that begins with a dot gets another one (RFC 5321, section 4.5.2).
        let stuffed = format!("\r\n{body}").replace("\r\n.", "\r\n..");
        self.say(&format!("Subject: {subject}\r\n{stuffed}.\r\n"))
    }

    fn say(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<()> {
        let mut reply = String::new();
        match self.0.read_line(&mut reply)? {
            0 => Err(io::Error::other(
                "the connection has ended in place of a reply",
            )),
            _ if reply.starts_with(['2', '3']) => Ok(()),
            _ => Err(io::Error::other(reply.trim_end().to_owned())),
        }
    }
}
