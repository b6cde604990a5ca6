//! HTTP's CONNECT as a client speaks it (RFC 9110 section 9.3.6, RFC 9112), and Basic credentials
//! (RFC 7617).

use std::fmt;
use std::io::BufRead;
use std::net::SocketAddr;

use data_encoding::BASE64;

use super::decode::{Decoded, Violation};

/// The most bytes of a response's head.
const MOST_HEAD: usize = 16 * 1024;
/// The most header fields of a response.
const MOST_FIELDS: usize = 100;
/// The most bytes of a name.
const MOST_NAME: usize = 255;
/// How every response begins (RFC 9112 section 4).
const START: &[u8] = b"HTTP/1.";
/// The shortest head, `HTTP/1.1 200` and two empty lines by a bare LF each (RFC 9112 section 2.2).
const SHORTEST: usize = 14;

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// The minor version: 0 or 1.
    pub(crate) minor: u8,
    pub(crate) status: u16,
    pub(crate) reason: String,
    pub(crate) fields: Vec<(String, Vec<u8>)>,
}

/// Why a handshake cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// The response does not begin as HTTP.
    Violation(Violation),
    /// The head is not what RFC 9112 draws.
    Malformed(&'static str),
    /// The head has no end within the limit.
    TooLong,
    /// The proxy refused the request.
    Refused { status: u16, reason: String },
    /// A name that cannot stand in a request.
    Name,
    /// A user with a colon in it, or a control character in user or password.
    Credentials,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Violation(violation) => violation.fmt(f),
            Error::Malformed(what) => {
                write!(f, "the response's head is malformed: {what} (RFC 9112)")
            }
            Error::TooLong => write!(f, "the response's head has no end within {MOST_HEAD} bytes"),
            Error::Refused { status, reason } => {
                write!(f, "the proxy refused the request with status {status}")?;
                if !reason.is_empty() {
                    write!(f, " {reason}")?;
                }
                f.write_str(" (RFC 9110 section 9.3.6)")
            }
            Error::Name => write!(
                f,
                "the name is not 1 to {MOST_NAME} visible ASCII characters without / ? # @ : \\"
            ),
            Error::Credentials => f.write_str(
                "Basic cannot carry a colon in the user, nor control characters (RFC 7617 section 2)",
            ),
        }
    }
}

impl std::error::Error for Error {}

/// The `host:port` of a request for an address: IPv6 in brackets (RFC 9112 section 3.2.3).
pub(crate) fn authority(address: SocketAddr) -> String {
    address.to_string()
}

/// The `host:port` of a request for a name (RFC 9112 section 3.2.3).
pub(crate) fn named_authority(name: &str, port: u16) -> Result<String, Error> {
    // An IPv6 address in text form is a name to our callers, and stands in brackets here.
    if let Ok(ip) = name.parse() {
        return Ok(authority(SocketAddr::new(ip, port)));
    }
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"/?#@:\\[]".contains(&byte);
    match (1..=MOST_NAME).contains(&name.len()) && name.bytes().all(fits) {
        true => Ok(format!("{name}:{port}")),
        false => Err(Error::Name),
    }
}

/// Encodes a request; `authority` is both its target and its Host field (RFC 9112 section 3.2).
pub(crate) fn request(
    authority: &str,
    credentials: Option<(&[u8], &[u8])>,
) -> Result<Vec<u8>, Error> {
    let mut out = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n");
    if let Some((user, password)) = credentials {
        let basic = basic(user, password)?;
        out += &format!("Proxy-Authorization: Basic {basic}\r\n");
    }
    out += "\r\n";
    Ok(out.into_bytes())
}

/// Decodes a response's head. It has no body that would matter: what follows a 2xx is the tunnel's,
/// whatever the fields say (RFC 9110 section 9.3.6).
pub(crate) fn response(input: &[u8]) -> Result<Decoded<Response>, Error> {
    begins_as_http(input)?;
    let Some(used) = head_length(input) else {
        return match input.len() < MOST_HEAD {
            true => Ok(Decoded::Partial {
                missing: missing(input),
            }),
            false => Err(Error::TooLong),
        };
    };
    parse(&input[..used]).map(|value| Decoded::Complete { value, used })
}

impl Response {
    /// Whether another response follows this one (RFC 9110 section 15.2).
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status)
    }

    /// Fine if the proxy has connected: any 2xx (RFC 9110 section 9.3.6).
    pub(crate) fn accepted(self) -> Result<(), Error> {
        match self.status {
            200..=299 => Ok(()),
            status => Err(Error::Refused {
                status,
                reason: self.reason,
            }),
        }
    }
}

/// `user:password` in Base64 (RFC 7617 section 2).
fn basic(user: &[u8], password: &[u8]) -> Result<String, Error> {
    let control = |byte: &u8| byte.is_ascii_control();
    if user.contains(&b':') || user.iter().chain(password).any(control) {
        return Err(Error::Credentials);
    }
    Ok(BASE64.encode(&[user, b":", password].concat()))
}

/// Another protocol's answer must not be waited on for an end that it does not have.
fn begins_as_http(input: &[u8]) -> Result<(), Error> {
    let wrong = input.iter().zip(START).position(|(got, due)| got != due);
    match wrong {
        None => Ok(()),
        Some(offset) => Err(Error::Violation(Violation {
            message: "the response",
            field: "HTTP-version",
            offset,
            got: input[offset],
            expected: "the next of \"HTTP/1.\"",
            source: "RFC 9112 section 4",
        })),
    }
}

/// The length of the head with its empty line, if that has come. A line may end in a bare LF (RFC 9112
/// section 2.2).
///
/// A head that must not be read too far comes in pieces of two bytes, and each time all of it is looked
/// at: so lines are skipped by the standard library, which does that fast in a debug build too.
fn head_length(input: &[u8]) -> Option<usize> {
    let mut rest = input;
    rest.skip_until(b'\n').ok()?;
    while !rest.is_empty() {
        let before = rest;
        let length = rest.skip_until(b'\n').ok()?;
        if matches!(&before[..length], b"\n" | b"\r\n") {
            return Some(input.len() - rest.len());
        }
    }
    None
}

/// How many bytes at least are still to come.
fn missing(input: &[u8]) -> usize {
    let empty_line = match input {
        [.., b'\n'] | [.., b'\n', b'\r'] => 1,
        _ => 2,
    };
    empty_line.max(SHORTEST.saturating_sub(input.len()))
}

fn parse(head: &[u8]) -> Result<Response, Error> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut parsed = httparse::Response::new(&mut fields);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(Error::Malformed("it has lines before its status line")),
        Err(error) => return Err(Error::Malformed(malformed(error))),
    }
    let field = |f: &httparse::Header<'_>| (f.name.to_owned(), f.value.to_vec());
    Ok(Response {
        minor: parsed.version.unwrap_or_default(),
        status: match parsed.code.unwrap_or_default() {
            code @ 100..=599 => code,
            _ => return Err(Error::Malformed("the status is not of 100 to 599")),
        },
        reason: parsed.reason.unwrap_or_default().to_owned(),
        fields: parsed.headers.iter().map(field).collect(),
    })
}

fn malformed(error: httparse::Error) -> &'static str {
    use httparse::Error::{
        HeaderName, HeaderValue, NewLine, Status, Token, TooManyHeaders, Version,
    };
    match error {
        Version => "the version is not HTTP/1.0 or HTTP/1.1",
        Status => "the status line is not a version, three digits and a reason",
        HeaderName => "a field has a bad name",
        HeaderValue => "a field has a bad value",
        NewLine => "a line has a bad end",
        Token => "it has a byte where none may be",
        TooManyHeaders => "it has more than 100 fields",
    }
}

#[cfg(test)]
mod tests;
