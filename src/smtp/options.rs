//! The SMTP server's own options.

use std::fmt;
use std::io;
use std::path::{self, Path, PathBuf};
use std::sync::Arc;

use super::message::Message;
use super::reply::IntoReply;
use super::reply::taken;
use super::service::Smtp;
use crate::net::address::{Address, ListenOn};
use crate::proto::smtp::{
    Config, Decision, Extension, Extensions, Login, Recipient, Reply, Sender,
};
use crate::server::options::Builder;
use crate::server::{Bound, TestServer};

/// What a server decides on: where a hook or a reply of the test's can step in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Stage {
    /// A client has connected; usually `220`.
    Connect,
    /// EHLO or HELO; usually `250`.
    Helo,
    /// MAIL; usually `250`.
    Mail,
    /// RCPT; usually `250`.
    Rcpt,
    /// The credentials of AUTH; usually `235`.
    Auth,
    /// DATA, usually `354`, or a transaction's first BDAT.
    Data,
    /// The whole message; what the handler answers.
    Message,
    /// With [`lmtp`](Builder::lmtp), the reply to the message for one of its recipients.
    Delivery,
}

/// The envelope that a message is about to come for.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    pub(crate) peer: &'a Address,
    pub(crate) helo: &'a str,
    pub(crate) auth_user: Option<&'a str>,
    pub(crate) sender: &'a Sender,
    pub(crate) recipients: &'a [Recipient],
}

impl<'a> Envelope<'a> {
    /// The client's address.
    pub fn peer(&self) -> &'a Address {
        self.peer
    }

    /// The name that the client gave itself.
    pub fn helo(&self) -> &'a str {
        self.helo
    }

    /// Who the client has logged in as.
    pub fn auth_user(&self) -> Option<&'a str> {
        self.auth_user
    }

    /// The sender with the parameters of MAIL.
    pub fn sender(&self) -> &'a Sender {
        self.sender
    }

    /// The recipients with the parameters of RCPT.
    pub fn recipients(&self) -> &'a [Recipient] {
        self.recipients
    }
}

type Hook<T> = Option<Arc<dyn Fn(&T) -> Decision + Send + Sync>>;
type DeliveryHook = Option<Arc<dyn Fn(&Message, &Recipient) -> Decision + Send + Sync>>;
type DataHook = Option<Arc<dyn Fn(&Envelope<'_>) -> Decision + Send + Sync>>;

/// The SMTP server's own options.
#[derive(Clone)]
#[allow(unnameable_types, reason = "behind the builder")]
pub struct SmtpOptions {
    pub(crate) config: Config,
    /// Where messages are saved.
    pub(crate) folder: Option<PathBuf>,
    /// Each for the n-th time its stage is reached.
    pub(crate) replies: Vec<(Stage, u64, Reply)>,
    pub(crate) on_connect: Hook<Address>,
    pub(crate) on_helo: Hook<str>,
    pub(crate) on_mail: Hook<Sender>,
    pub(crate) on_rcpt: Hook<Recipient>,
    pub(crate) on_auth: Hook<Login>,
    pub(crate) on_data: DataHook,
    pub(crate) on_delivery: DeliveryHook,
}

impl Default for SmtpOptions {
    fn default() -> SmtpOptions {
        SmtpOptions {
            config: Config {
                extensions: Extensions::all(),
                ..Config::default()
            },
            folder: None,
            replies: Vec::new(),
            on_connect: None,
            on_helo: None,
            on_mail: None,
            on_rcpt: None,
            on_auth: None,
            on_data: None,
            on_delivery: None,
        }
    }
}

impl SmtpOptions {
    /// The configuration, with what depends on other options settled.
    pub(crate) fn settled(&self) -> Config {
        let mut config = self.config.clone();
        if config.users.is_empty() && self.on_auth.is_none() {
            config.extensions = config.extensions.without(Extension::Auth);
        }
        config.offers_scram = !config.users.is_empty() && self.on_auth.is_none();
        if !config.extensions.has(Extension::Chunking) {
            config.extensions = config.extensions.without(Extension::BinaryMime);
        }
        config
    }
}

impl fmt::Debug for SmtpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpOptions")
            .field("config", &self.config)
            .field("folder", &self.folder)
            .field("replies", &self.replies)
            .finish_non_exhaustive()
    }
}

/// Hooks decide in the place of the server. Each returns `()` or `true` to accept, `false` to refuse
/// with the usual reply, or a [`Reply`] (or `Option<Reply>`, or `Result<(), Reply>`), whose code says
/// whether it accepts. A hook that panics answers `451`, and its panic is kept as a failure.
impl Builder<Smtp> {
    /// Decides whether a client may talk at all; refused it gets `554` and can only QUIT.
    pub fn on_connect<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Address) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_connect = Some(Arc::new(move |peer: &Address| hook(peer).into()));
        self
    }

    /// Decides on EHLO and HELO by the name that the client gives itself.
    pub fn on_helo<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&str) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_helo = Some(Arc::new(move |name: &str| hook(name).into()));
        self
    }

    /// Decides on the sender.
    pub fn on_mail<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Sender) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_mail = Some(Arc::new(move |sender: &Sender| hook(sender).into()));
        self
    }

    /// Decides on each recipient.
    ///
    /// ```
    /// use loopback::{TestSmtpServer, smtp::Reply};
    ///
    /// let builder = TestSmtpServer::builder().on_rcpt(|recipient| {
    ///     (recipient.address() != "bob@example.com").then(|| Reply::new(550, "5.1.1 who is that?"))
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_rcpt<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Recipient) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_rcpt = Some(Arc::new(move |recipient: &Recipient| {
            hook(recipient).into()
        }));
        self
    }

    /// Offers AUTH, and decides on credentials; those of [`credentials`](Builder::credentials) are
    /// accepted without asking. SCRAM-SHA-256 is not offered then, for the server itself must know the passwords
    /// for it.
    pub fn on_auth<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Login) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_auth = Some(Arc::new(move |login: &Login| hook(login).into()));
        self
    }

    /// Decides on DATA, or a transaction's first BDAT, before the message comes.
    ///
    /// A reply accepts with a code of 2xx or 3xx, so that one hook serves both commands. The client
    /// gets the code that its command asks for: after DATA a 2xx becomes 354 with the same text, for
    /// it is 354 that the client sends its message after. A chunk is answered when it has come, with
    /// the hook's 2xx reply or, after a 3xx, the usual one; one that is `LAST` ends the message, which
    /// is answered by the handler.
    pub fn on_data<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Envelope<'_>) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_data = Some(Arc::new(move |envelope: &Envelope<'_>| {
            hook(envelope).into()
        }));
        self
    }

    /// Speaks LMTP (RFC 2033): LHLO in the place of EHLO and HELO, and after a message one reply for each
    /// recipient that was accepted, in their order. What the handler answers is said for each, unless
    /// [`on_delivery`](Builder::on_delivery) has something else for one.
    ///
    /// ```
    /// use loopback::{TestSmtpServer, smtp::Reply};
    ///
    /// let server = TestSmtpServer::builder()
    ///     .lmtp()
    ///     .on_delivery(|_, recipient| match recipient.address() {
    ///         "full@example.com" => Some(Reply::new(452, "4.2.2 mailbox full")),
    ///         _ => None,
    ///     })
    ///     .sink("127.0.0.1:0")?;
    /// # drop(server);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn lmtp(mut self) -> Self {
        self.options.config.lmtp = true;
        self
    }

    /// Decides, with [`lmtp`](Builder::lmtp), what is said of a message for each recipient, when the
    /// handler has answered it: accepted, it is what the handler said; refused, `550`. It is not asked
    /// where the handler's reply ends the connection.
    pub fn on_delivery<F, R>(mut self, hook: F) -> Self
    where
        F: Fn(&Message, &Recipient) -> R + Send + Sync + 'static,
        R: Into<Decision>,
    {
        self.options.on_delivery = Some(Arc::new(move |message: &Message, to: &Recipient| {
            hook(message, to).into()
        }));
        self
    }

    /// Refuses a message with a bare LF or CR, a NUL, or 8-bit octets without `BODY=8BITMIME`, with `554`
    /// and which of them it has (RFC 5321 sections 2.3.8, 4.1.1.4). Otherwise such a message is taken, and
    /// [`Message::irregularities`] tells.
    pub fn refuse_irregular(mut self) -> Self {
        self.options.config.refuse_irregular = true;
        self
    }

    /// Saves each message in a file of its own, which every mail program opens: `1.eml`, `2.eml` and so on,
    /// the next number that is free, in this folder, which is made if it is not there. A relative folder is
    /// that of now. [`Message::file`] tells the file; a message that cannot be saved is taken all the same, and
    /// is a failure of the server. Also those are saved that are refused afterwards. Nothing removes the
    /// files: a CI job keeps the folder when a test fails.
    ///
    /// ```no_run
    /// use loopback::TestSmtpServer;
    ///
    /// let server = TestSmtpServer::builder()
    ///     .save_messages(concat!(env!("CARGO_MANIFEST_DIR"), "/target/mail"))
    ///     .sink("127.0.0.1:0")?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn save_messages(mut self, folder: impl AsRef<Path>) -> Self {
        let folder = folder.as_ref();
        let absolute = path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        self.options.folder = Some(absolute);
        self
    }

    /// Offers AUTH, and SCRAM-SHA-256 too unless there is a hook for [`on_auth`](Builder::on_auth), and accepts this
    /// user with this password. More calls add more users.
    pub fn credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        let users = &mut self.options.config.users;
        users.add(user.into(), password.into());
        self
    }

    /// Refuses MAIL with `530` until the client has logged in.
    pub fn require_auth(mut self) -> Self {
        self.options.config.require_auth = true;
        self
    }

    /// Refuses PLAIN and LOGIN with `538`, as servers do without TLS; CRAM-MD5 and SCRAM-SHA-256 are left.
    pub fn refuse_plaintext_auth(mut self) -> Self {
        self.options.config.plaintext_auth = false;
        self
    }

    /// Gives the `nth` client that reaches a stage this reply, once: "the second RCPT gets 451".
    /// `nth` counts from 1, over all connections. No hook is asked then; a reply to
    /// [`Stage::Message`] is given without running the handler, and the message is recorded with it.
    ///
    /// # Panics
    /// When `nth` is 0, for that time never comes.
    ///
    /// ```
    /// use loopback::{TestSmtpServer, smtp::{Reply, Stage}};
    ///
    /// let builder = TestSmtpServer::builder()
    ///     .reply_once(Stage::Rcpt, 2, Reply::new(451, "4.2.1 try again"))
    ///     .reply_once(Stage::Data, 1, Reply::reset());
    /// # drop(builder);
    /// ```
    #[track_caller]
    pub fn reply_once(mut self, stage: Stage, nth: u64, reply: Reply) -> Self {
        assert!(
            nth > 0,
            "the times that a stage is reached count from 1: a reply to the 0th is never given"
        );
        self.options.replies.push((stage, nth, reply));
        self
    }

    /// How the server calls itself, `localhost` unless told.
    pub fn hostname(mut self, name: impl Into<String>) -> Self {
        self.options.config.hostname = name.into();
        self
    }

    /// Does not offer an extension, and refuses what belongs to it.
    pub fn without(mut self, extension: Extension) -> Self {
        let extensions = &mut self.options.config.extensions;
        *extensions = extensions.without(extension);
        self
    }

    /// The largest message in octets, without the dots that DATA adds; 32 MiB unless told.
    pub fn max_message(mut self, octets: usize) -> Self {
        self.options.config.max_message = octets;
        self
    }

    /// The most recipients of a message, 1,000 unless told.
    pub fn max_recipients(mut self, count: usize) -> Self {
        self.options.config.max_recipients = count;
        self
    }

    /// The longest command in octets, its CRLF counted, before what extensions add; 512 unless told
    /// (RFC 5321 section 4.5.3.1.4).
    pub fn max_command(mut self, octets: usize) -> Self {
        self.options.config.max_command = octets;
        self
    }

    /// The longest line of a message sent by DATA in octets, its CRLF counted; 1,000 unless told
    /// (RFC 5321 section 4.5.3.1.6).
    pub fn max_text_line(mut self, octets: usize) -> Self {
        self.options.config.max_text_line = octets;
        self
    }

    /// Accepts what many servers accept and RFC 5321 does not: spaces after the colon of `MAIL FROM:`
    /// and `RCPT TO:`, addresses without angle brackets or without a domain, text lines of any
    /// length, several spaces after a command's word, and EHLO and HELO with several words (`EHLO PhpStorm
    /// 9.0.3`) or none. Unless told, what a client does wrong is refused, for that is what a test is after.
    pub fn lenient(mut self) -> Self {
        self.options.config.lenient = true;
        self.max_text_line(usize::MAX)
    }

    /// Binds and starts a server that takes every message; hooks can still refuse, before one comes.
    ///
    /// # Errors
    /// As [`TestSmtpServer::start`](TestServer::start).
    pub fn sink<L: ListenOn>(self, address: L) -> io::Result<TestServer<Smtp, L::Address>> {
        self.fixed(address, taken())
    }

    /// Binds and starts a server that gives every message this reply.
    ///
    /// # Errors
    /// As [`TestSmtpServer::start`](TestServer::start).
    pub fn fixed<L: ListenOn>(
        self,
        address: L,
        reply: Reply,
    ) -> io::Result<TestServer<Smtp, L::Address>> {
        Bound::new(self.common, address, Smtp::fixed(self.options, reply))?.start()
    }

    /// Binds, without serving yet: the port is known, and clients queue.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn bind<L, H, R>(self, address: L, handler: H) -> io::Result<Bound<Smtp, L::Address>>
    where
        L: ListenOn,
        H: Fn(&Message) -> R + Send + Sync + 'static,
        R: IntoReply,
    {
        Bound::new(self.common, address, Smtp::new(self.options, handler))
    }

    /// Binds and starts.
    ///
    /// # Errors
    /// As [`TestSmtpServer::start`](TestServer::start).
    pub fn start<L, H, R>(self, address: L, handler: H) -> io::Result<TestServer<Smtp, L::Address>>
    where
        L: ListenOn,
        H: Fn(&Message) -> R + Send + Sync + 'static,
        R: IntoReply,
    {
        self.bind(address, handler)?.start()
    }
}
