//! SOCKS version 4 and its extension 4a as a client speaks them.
//!
//! Sources: "SOCKS: A protocol for TCP proxy across firewalls" (Ying-Da Lee), here "SOCKS4 memo", and
//! "SOCKS 4A: A Simple Extension to SOCKS 4 Protocol", here "SOCKS4a memo".

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use super::decode::{Decoded, Reader, Violation};

/// The protocol's version in a request (SOCKS4 memo, CONNECT).
const VERSION: u8 = 4;
/// The version of the reply code, first byte of each reply (SOCKS4 memo, CONNECT).
const REPLY_VERSION: u8 = 0;
/// The command CONNECT (SOCKS4 memo, CONNECT).
pub(crate) const CONNECT: u8 = 1;
/// The command BIND (SOCKS4 memo, BIND).
pub(crate) const BIND: u8 = 2;
/// "Request granted" (SOCKS4 memo, CONNECT).
const GRANTED: u8 = 90;
/// The length of every reply.
const REPLY_LENGTH: usize = 8;
/// The most bytes of a user or a name. The memos set no limit; this is what a name may have (RFC 1035
/// section 2.3.4), and what SOCKS5 can carry.
const MOST_TEXT: usize = 255;
/// Says that a name follows: any address 0.0.0.x with x other than 0 (SOCKS4a memo).
const NAME_FOLLOWS: Ipv4Addr = Ipv4Addr::new(0, 0, 0, 1);

/// A destination as a request names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An IPv4 address; the protocol has no others.
    Ip(Ipv4Addr),
    /// A name for the server to look up: SOCKS4a only.
    Name(Vec<u8>),
}

/// What a whole reply says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u8,
    /// Only BIND gives it a meaning: where the server listens, then who has connected (SOCKS4 memo,
    /// BIND). After CONNECT it says nothing.
    pub(crate) address: SocketAddrV4,
}

/// Why a handshake cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// A byte that the memo does not allow there.
    Violation(Violation),
    /// The server refused the request with this code.
    Refused(u8),
    /// A user or name that is too long, or an empty name.
    Length { what: &'static str, length: usize },
    /// A user or name with a NUL in it, which would end it.
    Nul { what: &'static str },
    /// An address that says "a name follows".
    Unspeakable(Ipv4Addr),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Violation(violation) => violation.fmt(f),
            Error::Refused(code) => write!(
                f,
                "the proxy refused the request with reply code {code:02x}, {} (SOCKS4 memo)",
                meaning(*code)
            ),
            Error::Length { what, length: 0 } => write!(f, "{what} is empty"),
            Error::Length { what, length } => {
                write!(f, "{what} has {length} bytes, more than {MOST_TEXT}")
            }
            Error::Nul { what } => write!(f, "{what} has a NUL in it, which would end it"),
            Error::Unspeakable(ip) => write!(
                f,
                "the address {ip} cannot be asked for: it says that a name follows (SOCKS4a memo)"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Error {
        Error::Violation(violation)
    }
}

/// Encodes a request (SOCKS4 memo, CONNECT and BIND; with a name SOCKS4a memo).
pub(crate) fn request(command: u8, host: &Host, port: u16, user: &[u8]) -> Result<Vec<u8>, Error> {
    let ip = match host {
        Host::Ip(ip) if is_name_mark(*ip) => return Err(Error::Unspeakable(*ip)),
        Host::Ip(ip) => *ip,
        Host::Name(_) => NAME_FOLLOWS,
    };
    let mut out = vec![VERSION, command];
    out.extend(port.to_be_bytes());
    out.extend(ip.octets());
    push_text(&mut out, "the user", user)?;
    match host {
        Host::Name(name) if name.is_empty() => Err(Error::Length {
            what: "the name",
            length: 0,
        }),
        Host::Name(name) => push_text(&mut out, "the name", name).map(|()| out),
        Host::Ip(_) => Ok(out),
    }
}

/// Decodes a reply, the only one to CONNECT and each of the two to BIND.
pub(crate) fn reply(input: &[u8]) -> Result<Decoded<Reply>, Error> {
    let mut reader = Reader::new(input, "the reply", "SOCKS4 memo");
    reader.expect("VN", REPLY_VERSION, "00")?;
    let code = reader.byte();
    if let Some(code) = code
        && !(GRANTED..=93).contains(&code)
    {
        return Err(reader.wrong("CD", code, "5a to 5d").into());
    }
    let value = input.get(..REPLY_LENGTH).map(|reply| Reply {
        code: reply[1],
        address: SocketAddrV4::new(
            Ipv4Addr::new(reply[4], reply[5], reply[6], reply[7]),
            u16::from_be_bytes([reply[2], reply[3]]),
        ),
    });
    Ok(reader.finish(REPLY_LENGTH, value))
}

impl Reply {
    /// The address that it tells, or the refusal.
    pub(crate) fn granted(self) -> Result<SocketAddrV4, Error> {
        match self.code {
            GRANTED => Ok(self.address),
            code => Err(Error::Refused(code)),
        }
    }
}

/// The meaning of a reply code (SOCKS4 memo, CONNECT).
pub(crate) fn meaning(code: u8) -> &'static str {
    match code {
        90 => "request granted",
        91 => "request rejected or failed",
        92 => "rejected, as the server cannot reach the client's identd",
        93 => "rejected, as the client's identd names another user",
        _ => "unassigned",
    }
}

fn is_name_mark(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [0, 0, 0, last] if last != 0)
}

fn push_text(out: &mut Vec<u8>, what: &'static str, text: &[u8]) -> Result<(), Error> {
    if text.contains(&0) {
        return Err(Error::Nul { what });
    }
    if text.len() > MOST_TEXT {
        let length = text.len();
        return Err(Error::Length { what, length });
    }
    out.extend_from_slice(text);
    out.push(0);
    Ok(())
}

#[cfg(test)]
mod tests;
