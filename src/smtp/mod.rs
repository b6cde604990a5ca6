//! The SMTP server's own words: messages, replies, and what hooks decide on.
//!
//! [`TestSmtpServer`] is the server.

mod folder;
mod mail;
mod message;
mod options;
mod reply;
mod service;
mod transcript;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use self::mail::{Attachment, Disposition, Mail, Part};
pub use self::message::Message;
pub use self::options::{Envelope, Stage};
pub use self::reply::IntoReply;
pub use self::service::Smtp;
use crate::deadline::prose;
use crate::net::address::ListenOn;
pub use crate::proto::mail::Mailbox;
pub use crate::proto::smtp::{
    BodyType, Decision, Extension, Irregularity, Login, Mechanism, Notify, Recipient, Reply, Ret,
    Sender,
};
use crate::server::TestServer;
use crate::server::options::Builder;

/// An SMTP server (RFC 5321, with the extensions of [`Extension`]) whose handler gets each
/// [`Message`], and whose return value is the reply to it ([`IntoReply`]).
///
/// Only `CRLF . CRLF` ends a message. AUTH knows PLAIN, LOGIN, CRAM-MD5 and SCRAM-SHA-256, and what it brings is masked in
/// transcripts and logs; `builder().lmtp()` serves LMTP (RFC 2033), with a reply for each recipient. A `take_message` that
/// finds nothing prints the conversations that there were; tests side by side share a server by `take_message_where`.
///
/// Every message that was handled is recorded, whatever the reply. A client that lets the server wait
/// longer than the builder's `read_timeout` for a command, or within a message, gets a 421.
///
/// ```
/// use std::io::{Read, Write};
/// use std::time::Duration;
/// use loopback::TestSmtpServer;
///
/// let mut server = TestSmtpServer::start("127.0.0.1:0", |message| {
///     assert_eq!(message.to(), ["bob@example.com"]);
/// })?;
/// // A real client would be what is tested; this one knows what the server will say.
/// let mut client = std::net::TcpStream::connect(server.local_addr())?;
/// client.write_all(b"EHLO me\r\nMAIL FROM:<alice@example.com>\r\nRCPT TO:<bob@example.com>\r\n\
///     DATA\r\nSubject: Lunch?\r\n\r\nAt one.\r\n.\r\nQUIT\r\n")?;
/// client.read_to_string(&mut String::new())?;
///
/// let message = server.take_message(Duration::from_secs(1))?;
/// assert_eq!(message.subject(), Some("Lunch?"));
/// server.stop(Duration::from_secs(1))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There is no TLS: STARTTLS is not offered, and answered with 454.
pub type TestSmtpServer<A = SocketAddr> = TestServer<Smtp, A>;

impl<A> TestServer<Smtp, A> {
    /// Binds, starts the server's thread, and returns once it is ready. Port 0 takes a free port.
    ///
    /// # Errors
    /// The address cannot be bound, or the system gives no thread.
    pub fn start<L, H, R>(address: L, handler: H) -> io::Result<TestServer<Smtp, A>>
    where
        L: ListenOn<Address = A>,
        H: Fn(&Message) -> R + Send + Sync + 'static,
        R: IntoReply,
    {
        Builder::<Smtp>::default().start(address, handler)
    }

    /// A server that takes every message.
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn sink<L: ListenOn<Address = A>>(address: L) -> io::Result<TestServer<Smtp, A>> {
        Builder::<Smtp>::default().sink(address)
    }

    /// A server that gives every message the same reply, and records it.
    ///
    /// ```
    /// use loopback::{TestSmtpServer, smtp::Reply};
    ///
    /// let full = TestSmtpServer::fixed("127.0.0.1:0", Reply::new(452, "4.2.2 mailbox full"))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`start`](TestServer::start).
    pub fn fixed<L: ListenOn<Address = A>>(
        address: L,
        reply: Reply,
    ) -> io::Result<TestServer<Smtp, A>> {
        Builder::<Smtp>::default().fixed(address, reply)
    }

    /// Takes the oldest message, waiting for one at most `timeout`.
    ///
    /// # Errors
    /// `TimedOut` when none came, `NotConnected` when the server is stopped and none is left: those that
    /// came before the stop can still be taken. The error shows what clients and server said, rejected
    /// commands too.
    pub fn take_message(&self, timeout: Duration) -> io::Result<Arc<Message>> {
        self.host
            .record
            .take(timeout)
            .map_err(|error| self.with_transcripts(&error))
    }

    /// Takes the oldest `count` messages, waiting for all of them at most `timeout`. They have to fit
    /// into the record together (the builder's `record_limit` and `record_bytes`).
    ///
    /// # Errors
    /// As [`take_message`](TestServer::take_message), when fewer came; those are not taken.
    pub fn take_messages(&self, count: usize, timeout: Duration) -> io::Result<Vec<Arc<Message>>> {
        self.host
            .record
            .take_many(count, timeout)
            .map_err(|error| self.with_transcripts(&error))
    }

    /// Takes the oldest message that `is_wanted` accepts, waiting for one at most `timeout`; the others stay
    /// for other tests that share the server.
    ///
    /// ```
    /// # use loopback::TestSmtpServer;
    /// # let server = TestSmtpServer::sink("127.0.0.1:0")?;
    /// let timeout = std::time::Duration::from_millis(1);
    /// let mine = server.take_message_where(|message| message.to().contains(&"me@example.com"), timeout);
    /// assert!(mine.is_err());
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// `is_wanted` is called while the record is locked, so it must not ask the server for anything.
    ///
    /// # Errors
    /// As [`take_message`](TestServer::take_message).
    ///
    /// # Panics
    /// If `is_wanted` does ask it.
    pub fn take_message_where(
        &self,
        mut is_wanted: impl FnMut(&Message) -> bool,
        timeout: Duration,
    ) -> io::Result<Arc<Message>> {
        self.host
            .record
            .take_where(|message| is_wanted(message), timeout)
            .map_err(|error| self.with_transcripts(&error))
    }

    /// The messages that came and were not taken, in their order; also one whose handler still runs. No
    /// more than the builder's `record_limit` and `record_bytes` are kept; where some are missing, a line on
    /// standard error says so, and [`total_messages`](TestServer::total_messages) counts them.
    pub fn messages(&self) -> Vec<Arc<Message>> {
        self.host.arrived()
    }

    /// How many messages came since the server was first started, taken or not, kept or not.
    pub fn total_messages(&self) -> u64 {
        self.host.record.total()
    }

    /// What was said on each of the last 16 connections, the oldest first: `C: ` begins a line of the
    /// client's, `S: ` one of the server's. Of each, about the last 8 KiB are kept.
    pub fn transcripts(&self) -> Vec<String> {
        self.host.protocol.transcripts.all()
    }

    fn with_transcripts(&self, error: &io::Error) -> io::Error {
        let said = match &self.transcripts()[..] {
            [] => "no client connected".to_owned(),
            said => format!("what was said:\n{}", said.concat()),
        };
        prose(error.kind(), format!("{error}; {said}"))
    }
}

impl TestServer<Smtp> {
    /// Options first.
    pub fn builder() -> Builder<Smtp> {
        Builder::default()
    }
}
