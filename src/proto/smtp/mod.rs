//! SMTP as a server speaks it: RFC 5321 and its extensions, as a state machine over bytes.
//!
//! [`Session`] is the whole of it; the other modules each read or write one part of the wire format.

mod auth;
mod command;
mod data;
mod line;
mod octets;
mod params;
mod path;
mod reply;
mod scram;
mod session;

pub(crate) use auth::Users;
pub use auth::{Login, Mechanism};
pub use octets::Irregularity;
pub(crate) use octets::irregularities;
pub use params::{BodyType, Notify, Recipient, Ret, Sender};
pub(crate) use reply::Ending;
pub use reply::Reply;
pub use session::Decision;
pub(crate) use session::{Event, Incoming, Question, Session};

/// An extension of SMTP that the server offers in its reply to EHLO.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Extension {
    /// Commands may be sent before the replies to earlier ones have come (RFC 2920).
    Pipelining,
    /// The size of messages is announced by both sides (RFC 1870).
    Size,
    /// Text with octets above 127 (RFC 6152).
    EightBitMime,
    /// Addresses and header fields in UTF-8 (RFC 6531).
    SmtpUtf8,
    /// Messages in chunks of a known size: BDAT (RFC 3030).
    Chunking,
    /// Messages that are not lines of text (RFC 3030); offered with [`Chunking`](Extension::Chunking) only.
    BinaryMime,
    /// Replies that begin with a status code (RFC 2034).
    EnhancedStatusCodes,
    /// Wishes for delivery reports (RFC 3461).
    Dsn,
    /// Logging in (RFC 4954); offered when there is something to check a login against.
    Auth,
}

/// A set of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extensions(u16);

impl Extensions {
    pub(crate) const fn none() -> Extensions {
        Extensions(0)
    }

    pub(crate) const fn all() -> Extensions {
        Extensions(u16::MAX)
    }

    pub(crate) const fn without(self, extension: Extension) -> Extensions {
        Extensions(self.0 & !(1 << extension as u16))
    }

    pub(crate) const fn has(self, extension: Extension) -> bool {
        self.0 & 1 << extension as u16 != 0
    }
}

/// What a server allows; the same for all of its sessions.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// How the server calls itself.
    pub(crate) hostname: String,
    pub(crate) extensions: Extensions,
    /// Whether MAIL needs a login before it.
    pub(crate) require_auth: bool,
    pub(crate) users: Users,
    /// Whether `users` are all that may log in.
    pub(crate) offers_scram: bool,
    /// Whether a password may be sent as it is.
    pub(crate) plaintext_auth: bool,
    /// In octets, unstuffed.
    pub(crate) max_message: usize,
    pub(crate) max_recipients: usize,
    /// In octets with CRLF, before what extensions add.
    pub(crate) max_command: usize,
    /// In octets with CRLF, without a stuffed dot.
    pub(crate) max_text_line: usize,
    /// Whether a message is refused for octets that its text must not have.
    pub(crate) refuse_irregular: bool,
    /// Whether LMTP is spoken (RFC 2033).
    pub(crate) lmtp: bool,
    /// Whether paths may be written otherwise than RFC 5321 says.
    pub(crate) lenient: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            hostname: "localhost".to_owned(),
            extensions: Extensions::all().without(Extension::Auth),
            require_auth: false,
            users: Users::default(),
            offers_scram: false,
            plaintext_auth: true,
            max_message: 32 * 1024 * 1024,
            max_recipients: 1000,
            max_command: 512,
            max_text_line: 1000,
            refuse_irregular: false,
            lmtp: false,
            lenient: false,
        }
    }
}
