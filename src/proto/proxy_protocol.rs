//! haproxy's PROXY protocol, versions 1 and 2: a header before a connection's data that tells where the
//! connection came from.
//!
//! Source: "The PROXY protocol, Versions 1 & 2", here "PROXY protocol".

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::decode::{Decoded, Violation};

/// How a header of version 1 begins (PROXY protocol section 2.1).
const V1_START: &[u8] = b"PROXY ";
/// The most bytes of a header of version 1, with its CRLF (PROXY protocol section 2.1).
const V1_MOST: usize = 107;
/// How a header of version 2 begins (PROXY protocol section 2.2).
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The bytes of a header of version 2 up to its length, which is the last of them.
const V2_FIXED: usize = 16;

const V1_SOURCE: &str = "PROXY protocol section 2.1";
const V2_SOURCE: &str = "PROXY protocol section 2.2";

/// A header, of either version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Header {
    /// The connection is a proxied one, over TCP, between these two.
    Tcp {
        source: SocketAddr,
        destination: SocketAddr,
    },
    /// The connection is the sender's own, such as a health check: version 2's LOCAL.
    Local,
    /// Anything else that the format allows: version 1's UNKNOWN, version 2's other families.
    Other,
}

/// Why a header is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// A byte that the format does not allow there.
    Violation(Violation),
    /// The line of version 1 has no end within the limit.
    TooLong,
    /// A field of version 1 is not what it should be.
    Field { what: &'static str, got: String },
    /// The length of version 2 is too small for the addresses.
    Length { due: usize, got: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Violation(violation) => violation.fmt(f),
            Error::TooLong => write!(
                f,
                "the header has no CRLF within {V1_MOST} bytes ({V1_SOURCE})"
            ),
            Error::Field { what, got } => {
                write!(f, "the header has {got:?} for {what} ({V1_SOURCE})")
            }
            Error::Length { due, got } => write!(
                f,
                "the header tells {got} bytes of addresses, its family has {due} ({V2_SOURCE})"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Decodes a header of version 1, one line of text (PROXY protocol section 2.1).
pub(crate) fn v1(input: &[u8]) -> Result<Decoded<Header>, Error> {
    begins_with(V1_START, "the next of \"PROXY \"", V1_SOURCE, input)?;
    let line = &input[..input.len().min(V1_MOST)];
    if let Some(end) = line.windows(2).position(|two| two == b"\r\n") {
        let value = v1_line(&line[V1_START.len()..end])?;
        return Ok(Decoded::Complete {
            value,
            used: end + 2,
        });
    }
    if let Some(at) = line.iter().position(|byte| !is_text(*byte)) {
        // Only the last byte may still become a CRLF.
        if line[at] != b'\r' || at + 1 < line.len() {
            return Err(wrong_text(line, at));
        }
    }
    match line.len() == V1_MOST {
        true => Err(Error::TooLong),
        false => Ok(Decoded::Partial {
            missing: v1_missing(line),
        }),
    }
}

/// Decodes a header of version 2 (PROXY protocol section 2.2). What follows the addresses up to the
/// header's length, its TLVs, is stepped over.
pub(crate) fn v2(input: &[u8]) -> Result<Decoded<Header>, Error> {
    begins_with(V2_START, "the signature's next", V2_SOURCE, input)?;
    let byte = |offset: usize| input.get(offset).copied();
    let wrong = |offset, field, expected| {
        let got = input[offset];
        violation(offset, got, field, expected, V2_SOURCE)
    };
    if byte(12).is_some_and(|byte| byte != 0x20 && byte != 0x21) {
        return Err(wrong(12, "version and command", "20 or 21"));
    }
    if byte(13).is_some_and(|byte| byte >> 4 > 3 || byte & 15 > 2) {
        return Err(wrong(13, "family and transport", "00 to 32"));
    }
    let [high, low] = match input.get(14..V2_FIXED) {
        Some(length) => [length[0], length[1]],
        None => {
            return Ok(Decoded::Partial {
                missing: V2_FIXED - input.len(),
            });
        }
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (is_local, family) = (input[12] == 0x20, input[13]);
    let due = if is_local { 0 } else { address_length(family) };
    if length < due {
        return Err(Error::Length { due, got: length });
    }
    let used = V2_FIXED + length;
    match input.get(V2_FIXED..used) {
        None => Ok(Decoded::Partial {
            missing: used - input.len(),
        }),
        Some(_) if is_local => Ok(Decoded::Complete {
            value: Header::Local,
            used,
        }),
        Some(addresses) => Ok(Decoded::Complete {
            value: v2_addresses(family, addresses),
            used,
        }),
    }
}

/// A program that sends no header is told at the first byte of the data.
fn begins_with(
    start: &[u8],
    expected: &'static str,
    source: &'static str,
    input: &[u8],
) -> Result<(), Error> {
    let wrong = input.iter().zip(start).position(|(got, due)| got != due);
    match wrong {
        None => Ok(()),
        Some(at) => Err(violation(at, input[at], "signature", expected, source)),
    }
}

fn violation(
    offset: usize,
    got: u8,
    field: &'static str,
    expected: &'static str,
    source: &'static str,
) -> Error {
    Error::Violation(Violation {
        message: "the header",
        field,
        offset,
        got,
        expected,
        source,
    })
}

fn is_text(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_graphic()
}

fn wrong_text(line: &[u8], at: usize) -> Error {
    let expected = "printable ASCII, then CRLF";
    violation(at, line[at], "line", expected, V1_SOURCE)
}

/// How many bytes of version 1 at least are still to come: the shortest line is `PROXY UNKNOWN`.
fn v1_missing(line: &[u8]) -> usize {
    const SHORTEST: usize = b"PROXY UNKNOWN\r\n".len();
    let crlf = if line.ends_with(b"\r") { 1 } else { 2 };
    crlf.max(SHORTEST.saturating_sub(line.len()))
        .min(V1_MOST - line.len())
}

/// The line of version 1 after its first word.
fn v1_line(rest: &[u8]) -> Result<Header, Error> {
    if let Some(at) = rest.iter().position(|byte| !is_text(*byte)) {
        let line = [V1_START, rest].concat();
        return Err(wrong_text(&line, V1_START.len() + at));
    }
    let rest = String::from_utf8_lossy(rest);
    // What follows UNKNOWN is to be ignored.
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Ok(Header::Other);
    }
    let field = |what, got: &str| Error::Field {
        what,
        got: got.to_owned(),
    };
    let words: Vec<&str> = rest.split(' ').collect();
    let [family, from, to, from_port, to_port] = words[..] else {
        return Err(field("family, two addresses and two ports", &rest));
    };
    let is_v4 = match family {
        "TCP4" => true,
        "TCP6" => false,
        other => return Err(field("the family", other)),
    };
    let ip = |what, text: &str| match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv4() == is_v4 => Ok(ip),
        _ => Err(field(what, text)),
    };
    let port = |what, text: &str| match text.parse::<u16>() {
        Ok(port) if port.to_string() == text => Ok(port),
        _ => Err(field(what, text)),
    };
    Ok(Header::Tcp {
        source: SocketAddr::new(ip("the source", from)?, port("the source port", from_port)?),
        destination: SocketAddr::new(
            ip("the destination", to)?,
            port("the destination port", to_port)?,
        ),
    })
}

/// The bytes of the addresses of a family of version 2.
fn address_length(family: u8) -> usize {
    match family {
        0x11 | 0x12 => 12,
        0x21 | 0x22 => 36,
        0x31 | 0x32 => 216,
        _ => 0,
    }
}

/// The addresses of version 2; there are enough bytes.
fn v2_addresses(family: u8, bytes: &[u8]) -> Header {
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let tcp = |from: IpAddr, to: IpAddr, at| Header::Tcp {
        source: SocketAddr::new(from, port(at)),
        destination: SocketAddr::new(to, port(at + 2)),
    };
    match family {
        0x11 => tcp(v4(&bytes[..4]).into(), v4(&bytes[4..8]).into(), 8),
        0x21 => tcp(v6(&bytes[..16]).into(), v6(&bytes[16..32]).into(), 32),
        _ => Header::Other,
    }
}

fn v4(bytes: &[u8]) -> Ipv4Addr {
    Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3])
}

fn v6(bytes: &[u8]) -> Ipv6Addr {
    let mut octets = [0; 16];
    octets.copy_from_slice(bytes);
    Ipv6Addr::from(octets)
}

#[cfg(test)]
mod tests;
