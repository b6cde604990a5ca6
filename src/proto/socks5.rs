//! SOCKS version 5 as a client speaks it: RFC 1928, and RFC 1929 for user and password.
//!
//! The encoders write one message each. The decoders look at what has come so far and either ask for
//! more, or give the whole message, or say which byte is wrong as soon as that byte is there. None of
//! them ever wants a byte beyond its own message: what follows belongs to the tunnel's user.
//! [`Client`] puts them together to the handshake for one request, [`udp`] has the datagrams.

pub(crate) mod udp;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::decode::{Decoded, Reader, Violation};

/// The protocol's version in greeting, request and reply (RFC 1928 section 3).
const VERSION: u8 = 5;
/// The version of the user/password sub-negotiation (RFC 1929 section 2).
const PASSWORD_VERSION: u8 = 1;
/// The method "no authentication required" (RFC 1928 section 3).
pub(crate) const NO_AUTHENTICATION: u8 = 0x00;
/// The method "username/password" (RFC 1928 section 3).
pub(crate) const USER_PASSWORD: u8 = 0x02;
/// The answer "no acceptable methods" (RFC 1928 section 3).
pub(crate) const NO_METHOD: u8 = 0xff;
/// The command CONNECT (RFC 1928 section 4).
pub(crate) const CONNECT: u8 = 0x01;
/// The command BIND (RFC 1928 section 4).
pub(crate) const BIND: u8 = 0x02;
/// The command UDP ASSOCIATE (RFC 1928 section 4).
pub(crate) const UDP_ASSOCIATE: u8 = 0x03;

const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A reply with a name of no bytes: what a reader can ask for at once.
const SHORTEST_REPLY: usize = 7;

/// A host as a request or a reply names it (RFC 1928 section 5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// An address: ATYP 01 or 04.
    Ip(IpAddr),
    /// A name, in a request of 1 to 255 bytes: ATYP 03. Bytes, because nothing promises that they are text.
    Name(Vec<u8>),
}

/// The address and port that a reply tells (BND.ADDR and BND.PORT, RFC 1928 section 6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

/// What a whole reply says: the code REP, and the address and port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u8,
    pub(crate) bound: Bound,
}

/// Why a handshake cannot go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Error {
    /// A byte that the RFC does not allow there.
    Violation(Violation),
    /// The server accepts none of the offered methods.
    NoMethod,
    /// The server turned user and password down with this status.
    Denied(u8),
    /// The server refused the request with this code.
    Refused(u8),
    /// The same, with a byte in the reply that the RFC does not allow.
    MalformedRefusal { code: u8, violation: Violation },
    /// A name, user or password of a length that does not fit its length byte.
    Length { what: &'static str, length: usize },
    /// A datagram that ends in its header.
    Short { length: usize },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Violation(violation) => violation.fmt(f),
            Error::NoMethod => f.write_str(
                "the proxy accepts none of the offered methods: ff (RFC 1928 section 3)",
            ),
            Error::Denied(status) => write!(
                f,
                "the proxy turned user and password down with status {status:02x} (RFC 1929 section 2)"
            ),
            Error::Refused(code) => write!(
                f,
                "the proxy refused the request with reply code {code:02x}, {} (RFC 1928 section 6)",
                meaning(*code)
            ),
            Error::MalformedRefusal { code, violation } => {
                write!(f, "{}; and {violation}", Error::Refused(*code))
            }
            Error::Length { what, length } => {
                write!(
                    f,
                    "{what} has {length} bytes, the protocol can carry 1 to 255"
                )
            }
            Error::Short { length } => write!(
                f,
                "the datagram ends after {length} bytes, in its header (RFC 1928 section 7)"
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

/// Encodes the greeting: the methods on offer, at most 255 (RFC 1928 section 3).
pub(crate) fn greeting(methods: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![VERSION];
    push_counted(&mut out, "the list of methods", methods)?;
    Ok(out)
}

/// Encodes the user and the password (RFC 1929 section 2).
pub(crate) fn credentials(user: &[u8], password: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![PASSWORD_VERSION];
    push_counted(&mut out, "the user", user)?;
    push_counted(&mut out, "the password", password)?;
    Ok(out)
}

/// Encodes a request (RFC 1928 section 4).
pub(crate) fn request(command: u8, host: &Host, port: u16) -> Result<Vec<u8>, Error> {
    let mut out = vec![VERSION, command, 0];
    push_host(&mut out, host, port)?;
    Ok(out)
}

/// Decodes the answer to the greeting: the method that the server chose (RFC 1928 section 3).
pub(crate) fn method_reply(input: &[u8]) -> Result<Decoded<u8>, Error> {
    let mut reader = Reader::new(input, "the method reply", "RFC 1928 section 3");
    reader.expect("VER", VERSION, "05")?;
    let method = reader.byte();
    Ok(reader.finish(2, method))
}

/// Decodes the answer to user and password: 0 is success (RFC 1929 section 2).
pub(crate) fn credentials_reply(input: &[u8]) -> Result<Decoded<u8>, Error> {
    let mut reader = Reader::new(input, "the password reply", "RFC 1929 section 2");
    reader.expect("VER", PASSWORD_VERSION, "01")?;
    let status = reader.byte();
    Ok(reader.finish(2, status))
}

/// Decodes the answer to a request (RFC 1928 section 6).
pub(crate) fn reply(input: &[u8]) -> Result<Decoded<Reply>, Error> {
    let mut reader = Reader::new(input, "the reply", "RFC 1928 section 6");
    reader.expect("VER", VERSION, "05")?;
    let code = reader.byte();
    // What is wrong behind the code does not hide what it says.
    let refuses = |error: Error| match (code, error) {
        (Some(code), Error::Violation(violation)) if code != 0 => {
            Error::MalformedRefusal { code, violation }
        }
        (_, error) => error,
    };
    let reserved = reader.expect("RSV", 0, "00").map_err(Error::from);
    reserved.map_err(refuses)?;
    let (whole, bound) = match bound(&mut reader, input).map_err(refuses)? {
        // The shortest reply is the one with a name of no bytes: 4 + 1 + 0 + 2.
        None => (SHORTEST_REPLY, None),
        Some((whole, bound)) => (whole, bound),
    };
    let value = bound.map(|bound| Reply {
        code: code.unwrap_or_default(),
        bound,
    });
    Ok(reader.finish(whole, value))
}

/// The meaning of a reply code (RFC 1928 section 6).
pub(crate) fn meaning(code: u8) -> &'static str {
    match code {
        0 => "succeeded",
        1 => "general SOCKS server failure",
        2 => "connection not allowed by ruleset",
        3 => "network unreachable",
        4 => "host unreachable",
        5 => "connection refused",
        6 => "TTL expired",
        7 => "command not supported",
        8 => "address type not supported",
        _ => "unassigned",
    }
}

impl Bound {
    /// As a message shows it: `127.0.0.4:65000`, or `the name "a", port 80`.
    pub(crate) fn describe(&self) -> String {
        match &self.host {
            Host::Ip(ip) => SocketAddr::new(*ip, self.port).to_string(),
            Host::Name(name) => {
                let name = String::from_utf8_lossy(name);
                format!("the name {name:?}, port {}", self.port)
            }
        }
    }

    /// The address, unless it is a name.
    pub(crate) fn socket_addr(&self) -> Option<SocketAddr> {
        match self.host {
            Host::Ip(ip) => Some(SocketAddr::new(ip, self.port)),
            Host::Name(_) => None,
        }
    }
}

/// The client's side of one handshake, up to the request's first reply.
///
/// Send what [`Client::new`] and [`Client::feed`] give, read at most [`Client::missing`] bytes at a
/// time, feed them, until the step is [`Step::Done`].
#[derive(Debug)]
pub(crate) struct Client {
    state: State,
    credentials: Option<Vec<u8>>,
    request: Vec<u8>,
    /// The bytes of the message that is coming in; never longer than the longest reply.
    input: Vec<u8>,
    missing: usize,
    failed: Option<Error>,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Read more.
    Read,
    /// Send these bytes, then read.
    Send(Vec<u8>),
    /// Granted; what the proxy tells is for CONNECT where it connects from, for the other commands where
    /// it listens.
    Done(Bound),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Method,
    Credentials,
    Reply,
    Done,
}

impl Client {
    /// Begins a handshake for `command` with `host` and `port`; gives the bytes to send first. With
    /// `credentials` (user, password) only that method is offered, so that it cannot be left out.
    pub(crate) fn new(
        command: u8,
        credentials: Option<(&[u8], &[u8])>,
        host: &Host,
        port: u16,
    ) -> Result<(Client, Vec<u8>), Error> {
        let method = match credentials {
            Some(_) => USER_PASSWORD,
            None => NO_AUTHENTICATION,
        };
        let client = Client {
            state: State::Method,
            credentials: match credentials {
                Some((user, password)) => Some(self::credentials(user, password)?),
                None => None,
            },
            request: request(command, host, port)?,
            input: Vec::new(),
            missing: 2,
            failed: None,
        };
        Ok((client, greeting(&[method])?))
    }

    /// The bytes to read next: never more than the current message lacks; 0 when done.
    pub(crate) fn missing(&self) -> usize {
        self.missing
    }

    /// What is being waited for, for messages.
    pub(crate) fn waiting_for(&self) -> &'static str {
        match self.state {
            State::Method => "the method reply (RFC 1928 section 3)",
            State::Credentials => "the password reply (RFC 1929 section 2)",
            State::Reply => "the reply (RFC 1928 section 6)",
            State::Done => "nothing",
        }
    }

    /// Takes bytes that came, at most [`Client::missing`] of them; more are a mistake of the caller
    /// and are left out. After an error no more are wanted, and the error stays.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Step, Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let wanted = bytes.len().min(self.missing);
        self.input.extend_from_slice(&bytes[..wanted]);
        let step = self.step();
        if let Err(error) = &step {
            self.failed = Some(error.clone());
            self.missing = 0;
        }
        step
    }

    fn step(&mut self) -> Result<Step, Error> {
        match self.state {
            State::Method => match method_reply(&self.input)? {
                Decoded::Partial { missing } => Ok(self.more(missing)),
                Decoded::Complete { value, .. } => self.method(value),
            },
            State::Credentials => match credentials_reply(&self.input)? {
                Decoded::Partial { missing } => Ok(self.more(missing)),
                Decoded::Complete { value: 0, .. } => Ok(self.send_request()),
                Decoded::Complete { value, .. } => Err(Error::Denied(value)),
            },
            State::Reply => match reply(&self.input)? {
                Decoded::Partial { missing } => Ok(self.more(missing)),
                Decoded::Complete { value, .. } if value.code == 0 => {
                    self.state = State::Done;
                    self.missing = 0;
                    Ok(Step::Done(value.bound))
                }
                Decoded::Complete { value, .. } => Err(Error::Refused(value.code)),
            },
            State::Done => Ok(Step::Read),
        }
    }

    /// What the stream's end in the middle of the handshake means: a refusal if its code has come.
    pub(crate) fn end(&self) -> Option<Error> {
        match (self.state, self.input.get(1)) {
            (State::Reply, Some(&code)) if code != 0 => Some(Error::Refused(code)),
            _ => None,
        }
    }

    /// How many bytes of the current message have come.
    pub(crate) fn came(&self) -> usize {
        self.input.len()
    }

    fn method(&mut self, method: u8) -> Result<Step, Error> {
        match (method, self.credentials.take()) {
            (NO_METHOD, _) => Err(Error::NoMethod),
            (NO_AUTHENTICATION, None) => Ok(self.send_request()),
            (USER_PASSWORD, Some(message)) => {
                self.expect(State::Credentials, 2);
                Ok(Step::Send(message))
            }
            (got, credentials) => Err(Error::Violation(Violation {
                message: "the method reply",
                field: "METHOD",
                offset: 1,
                got,
                expected: match credentials {
                    Some(_) => "02, the only one offered",
                    None => "00, the only one offered",
                },
                source: "RFC 1928 section 3",
            })),
        }
    }

    fn send_request(&mut self) -> Step {
        self.expect(State::Reply, SHORTEST_REPLY);
        Step::Send(std::mem::take(&mut self.request))
    }

    fn expect(&mut self, state: State, missing: usize) {
        self.state = state;
        self.input.clear();
        self.missing = missing;
    }

    fn more(&mut self, missing: usize) -> Step {
        self.missing = missing;
        Step::Read
    }
}

/// Reads address type, address and port, which end the header: its whole length once that is known,
/// and the value once it has come (RFC 1928 section 5). That a name has bytes is said of no reply.
fn bound(reader: &mut Reader<'_>, input: &[u8]) -> Result<Option<(usize, Option<Bound>)>, Error> {
    let Some(kind) = reader.byte() else {
        return Ok(None);
    };
    let host_length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => match reader.byte() {
            None => return Ok(None),
            Some(length) => usize::from(length),
        },
        other => return Err(reader.wrong("ATYP", other, "01, 03 or 04").into()),
    };
    let whole = reader.at() + host_length + 2;
    let value = input.get(reader.at()..whole).map(|rest| Bound {
        host: host(kind, &rest[..host_length]),
        port: u16::from_be_bytes([rest[host_length], rest[host_length + 1]]),
    });
    Ok(Some((whole, value)))
}

fn host(kind: u8, bytes: &[u8]) -> Host {
    if let (IPV4, Ok(octets)) = (kind, <[u8; 4]>::try_from(bytes)) {
        return Host::Ip(Ipv4Addr::from(octets).into());
    }
    if let (IPV6, Ok(octets)) = (kind, <[u8; 16]>::try_from(bytes)) {
        return Host::Ip(Ipv6Addr::from(octets).into());
    }
    Host::Name(bytes.to_vec())
}

/// Address type, address and port, as requests and datagrams have them (RFC 1928 section 5).
fn push_host(out: &mut Vec<u8>, host: &Host, port: u16) -> Result<(), Error> {
    match host {
        Host::Ip(IpAddr::V4(ip)) => {
            out.push(IPV4);
            out.extend(ip.octets());
        }
        Host::Ip(IpAddr::V6(ip)) => {
            out.push(IPV6);
            out.extend(ip.octets());
        }
        Host::Name(name) => {
            out.push(NAME);
            push_counted(out, "the name", name)?;
        }
    }
    out.extend(port.to_be_bytes());
    Ok(())
}

fn push_counted(out: &mut Vec<u8>, what: &'static str, bytes: &[u8]) -> Result<(), Error> {
    let length = bytes.len();
    match u8::try_from(length) {
        Ok(count) if count > 0 => {
            out.push(count);
            out.extend_from_slice(bytes);
            Ok(())
        }
        _ => Err(Error::Length { what, length }),
    }
}

#[cfg(test)]
mod tests;
