//! A message as the server got it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::mail::{Attachment, Mail};
use crate::net::address::Address;
use crate::proto::smtp::{Incoming, Irregularity, Login, Recipient, Reply, Sender, irregularities};

/// What a message without anything in it is taken to occupy: many small ones fill a record too.
const OWN_SIZE: usize = 256;

/// A message with its envelope, as a [`TestSmtpServer`](crate::TestSmtpServer) got it.
pub struct Message {
    peer: Address,
    hello: Arc<str>,
    login: Option<Arc<Login>>,
    sender: Sender,
    recipients: Vec<Recipient>,
    raw: Vec<u8>,
    file: OnceLock<PathBuf>,
    replies: OnceLock<Replies>,
    mail: OnceLock<Box<Mail>>,
    irregularities: OnceLock<Vec<Irregularity>>,
}

/// What was answered.
struct Replies {
    handler: Reply,
    /// One for each recipient, with LMTP.
    deliveries: Vec<Reply>,
}

impl Message {
    pub(crate) fn new(peer: Address, incoming: Incoming) -> Message {
        Message {
            peer,
            hello: incoming.hello,
            login: incoming.login,
            sender: incoming.sender,
            recipients: incoming.recipients,
            raw: incoming.body,
            file: OnceLock::new(),
            replies: OnceLock::new(),
            mail: OnceLock::new(),
            irregularities: OnceLock::new(),
        }
    }

    pub(crate) fn set_replies(&self, handler: Reply, deliveries: Vec<Reply>) {
        let _ = self.replies.set(Replies {
            handler,
            deliveries,
        });
    }

    pub(crate) fn set_file(&self, path: PathBuf) {
        let _ = self.file.set(path);
    }

    /// About how many octets of memory it takes, for the record's limit.
    pub(crate) fn weight(&self) -> usize {
        let names = self.hello.len() + self.auth_user().map_or(0, str::len);
        let recipients: usize = self.recipients.iter().map(Recipient::weight).sum();
        OWN_SIZE + names + self.sender.weight() + recipients + self.raw.len()
    }

    /// The client's address.
    pub fn peer(&self) -> &Address {
        &self.peer
    }

    /// The name that the client gave itself in EHLO or HELO.
    pub fn helo(&self) -> &str {
        &self.hello
    }

    /// Who the client has logged in as.
    pub fn auth_user(&self) -> Option<&str> {
        self.login.as_deref().map(Login::user)
    }

    /// How the client has logged in, with the password where it sent one.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_deref()
    }

    /// The envelope's sender; empty for `<>`.
    pub fn from(&self) -> &str {
        self.sender.address()
    }

    /// The envelope's recipients, in their order: those that were not refused.
    pub fn to(&self) -> Vec<&str> {
        self.recipients.iter().map(Recipient::address).collect()
    }

    /// The envelope's sender with the parameters of MAIL.
    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// The envelope's recipients with the parameters of RCPT.
    pub fn recipients(&self) -> &[Recipient] {
        &self.recipients
    }

    /// The message as it was sent, without the dots that DATA adds.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The file that it is saved in, with [`save_messages`](crate::Builder::save_messages); `None` without, or if it
    /// could not be saved.
    pub fn file(&self) -> Option<&Path> {
        self.file.get().map(PathBuf::as_path)
    }

    /// What the octets break that were sent: bare LF and CR, NUL, 8-bit octets without `BODY=8BITMIME`; each
    /// kind once, none where all is right. A test of a mailer asserts that there is none, or has the server
    /// refuse such messages
    /// ([`refuse_irregular`](crate::Builder::refuse_irregular)).
    ///
    /// ```
    /// # use std::io::{Read, Write};
    /// # use std::time::Duration;
    /// use loopback::{TestSmtpServer, smtp::Irregularity};
    ///
    /// let server = TestSmtpServer::sink("127.0.0.1:0")?;
    /// let mut client = server.connect()?;
    /// client.write_all(b"HELO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\n\r\none\ntwo\r\n.\r\n")?;
    /// let message = server.take_message(Duration::from_secs(5))?;
    /// assert_eq!(message.irregularities(), [Irregularity::BareLf(5)]);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn irregularities(&self) -> &[Irregularity] {
        let find = || irregularities(&self.raw, &self.sender);
        self.irregularities.get_or_init(find)
    }

    /// What the handler answered; `None` while it runs.
    pub fn reply(&self) -> Option<&Reply> {
        Some(&self.replies.get()?.handler)
    }

    /// What the client was told: one reply, or with LMTP one for each of [`to`](Message::to); none while
    /// the handler runs.
    pub fn replies(&self) -> &[Reply] {
        match self.replies.get() {
            None => &[],
            Some(replies) if replies.deliveries.is_empty() => {
                std::slice::from_ref(&replies.handler)
            }
            Some(replies) => &replies.deliveries,
        }
    }

    /// The decoded content. It is read at the first call, so messages nobody looks into cost nothing.
    pub fn mail(&self) -> &Mail {
        self.mail.get_or_init(|| Box::new(Mail::parse(&self.raw)))
    }

    /// The first header field called `name`, as [`Mail::header`].
    pub fn header(&self, name: &str) -> Option<&str> {
        self.mail().header(name)
    }

    /// The subject, decoded.
    pub fn subject(&self) -> Option<&str> {
        self.mail().subject()
    }

    /// The text, as [`Mail::text`]; without parts it ends in CRLF.
    pub fn text(&self) -> Option<&str> {
        self.mail().text()
    }

    /// The HTML, as [`Mail::html`].
    pub fn html(&self) -> Option<&str> {
        self.mail().html()
    }

    /// The attachments, as [`Mail::attachments`].
    pub fn attachments(&self) -> &[Attachment] {
        self.mail().attachments()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 400;
        let shown = self.raw[..self.raw.len().min(SHOWN)].escape_ascii();
        f.debug_struct("Message")
            .field("peer", &format_args!("{}", self.peer))
            .field("helo", &self.hello)
            .field("auth_user", &self.auth_user())
            .field("sender", &self.sender)
            .field("recipients", &self.recipients)
            .field("octets", &self.raw.len())
            .field("raw", &format_args!("\"{shown}\""))
            .field("irregularities", &self.irregularities())
            .finish_non_exhaustive()
    }
}
