//! HTTP/1.0 and HTTP/1.1 as a server sees them (RFC 9112, with the meaning of fields from RFC 9110):
//! requests in, responses out, bytes only.

mod body;
mod date;
mod fields;
mod head;
mod headers;
mod reply;
mod target;

use std::borrow::Cow;
use std::fmt;

pub(crate) use body::{Body, BodyDecoder};
pub(crate) use date::HttpDate;
pub(crate) use fields::Framing;
pub(crate) use head::{HeadParser, Parsed, RequestHead};
pub use headers::{HeaderError, Headers};
pub(crate) use reply::{
    BodyFraming, Exchange, Plan, ReplyHead, encode_chunk, encode_last_chunk, reason_phrase,
};

/// The version of a request, as far as it changes what the server may answer.
///
/// A higher minor version than 1.1 is read as 1.1 (RFC 9110, section 2.5); every other major version is refused
/// with 505.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Version {
    /// HTTP/1.0: no chunked bodies, and the connection closes unless `keep-alive` was asked for.
    Http10,
    /// HTTP/1.1.
    #[default]
    Http11,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
        })
    }
}

/// Why a request is refused, and with which status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rejection {
    /// The status that is due: 400, 413, 414, 417, 431, 501 or 505.
    pub(crate) status: u16,
    /// A lowercase fragment in prose.
    pub(crate) reason: Cow<'static, str>,
}

impl Rejection {
    pub(crate) fn new(status: u16, reason: impl Into<Cow<'static, str>>) -> Rejection {
        let reason = reason.into();
        Rejection { status, reason }
    }

    fn bad(reason: impl Into<Cow<'static, str>>) -> Rejection {
        Rejection::new(400, reason)
    }
}

/// How much of a request is taken before it is refused. All in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The request line without its end: beyond it 414.
    pub(crate) line: usize,
    /// The header section, and the trailer section: beyond it 431.
    pub(crate) head: usize,
    /// The decoded body: beyond it 413.
    pub(crate) body: u64,
    /// Whether characters that a URI has not are taken in a target.
    pub(crate) lenient_targets: bool,
}

/// At most `max` bytes of `bytes`, quoted for a message.
fn quoted(bytes: &[u8]) -> String {
    const SHOWN: usize = 60;
    let more = if bytes.len() > SHOWN { ".." } else { "" };
    let shown = &bytes[..bytes.len().min(SHOWN)];
    format!("\"{}{more}\"", shown.escape_ascii())
}

/// Whether `byte` may stand in a token (RFC 9110, section 5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~");
    TOKEN[byte as usize]
}

/// A table of ASCII's letters and digits and these bytes. Every request passes through a few of them,
/// and a look-up is the fastest way to judge a byte.
const fn table(others: &[u8]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}
