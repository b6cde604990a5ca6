//! The head and the framing of a response (RFC 9112, sections 4, 6 and 7).

use super::Version;
use super::date::HttpDate;
use super::headers::{Headers, members};

/// What a request decides about its response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exchange {
    pub(crate) version: Version,
    /// The method is HEAD: no body, whatever the head says.
    pub(crate) head: bool,
    /// The method is CONNECT: after 2xx the connection is a tunnel.
    pub(crate) connect: bool,
    /// The connection may serve another request after this one.
    pub(crate) keep_alive: bool,
}

/// How the end of a response's body is made known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyFraming {
    /// By nothing: the status or the method has no body, and neither field is sent.
    None,
    /// By Content-Length.
    Length(u64),
    /// By a last chunk.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// How a response goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) framing: BodyFraming,
    /// Whether the body itself is sent; the answer to HEAD has its framing, and no body.
    pub(crate) body: bool,
    /// Whether there is anything in the body.
    pub(crate) content: bool,
    /// Whether the connection may be kept.
    pub(crate) keep_alive: bool,
}

impl Plan {
    /// Decides the framing of a body of `size`, if that is known, and whether the connection outlives it.
    ///
    /// A Content-Length or Transfer-Encoding among the fields is left as it is: when a client could not tell by it
    /// where the body ends, the connection ends there.
    pub(crate) fn new(
        exchange: Exchange,
        status: u16,
        size: Option<u64>,
        chunked: bool,
        headers: &Headers,
    ) -> Plan {
        let own = Own::of(headers);
        let http10 = exchange.version == Version::Http10;
        let mut keep_alive = exchange.keep_alive && !own.close;
        if has_no_body(exchange, status) {
            // Some clients believe a length even here; 304 has that of the response it stands for.
            keep_alive &= status == 304 || !(own.lengths || own.coding);
            return Plan {
                framing: BodyFraming::None,
                body: false,
                content: false,
                keep_alive,
            };
        }
        // RFC 9110, section 15.3.6: there is a body, and it is empty.
        let content = status != 205;
        let (size, chunked) = match content {
            true => (size, chunked && !http10),
            false => (Some(0), false),
        };
        let framing = if own.coding {
            // RFC 9112, section 6.3: what is not chunked in the end is ended by the close. In HTTP/1.0 nothing is.
            match own.chunks > 0 && own.chunked_last && !http10 {
                true => BodyFraming::Chunked,
                false => BodyFraming::Close,
            }
        } else if chunked {
            BodyFraming::Chunked
        } else if let Some(size) = size {
            BodyFraming::Length(size)
        } else if own.lengths || http10 {
            BodyFraming::Close
        } else {
            BodyFraming::Chunked
        };
        if own.lengths && !exchange.head {
            keep_alive &= matches!(framing, BodyFraming::Length(size)
                if headers.get_all("Content-Length").all(|announced| announced.parse() == Ok(size)));
        }
        keep_alive &= framing != BodyFraming::Close && own.chunks <= 1;
        Plan {
            framing,
            body: !exchange.head,
            content,
            keep_alive,
        }
    }
}

/// What stands in the head of a response, beside what its [`Plan`] asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyHead<'a> {
    pub(crate) status: u16,
    pub(crate) reason: Option<&'a str>,
    /// The caller's fields, which are sent as they are.
    pub(crate) headers: &'a Headers,
    /// Sent unless there is one among the fields, or no body.
    pub(crate) content_type: Option<&'static str>,
    /// Sent unless there is one among the fields.
    pub(crate) date: Option<HttpDate>,
    /// What will come behind a chunked body.
    pub(crate) trailers: &'a Headers,
    /// Whether the caller's Connection field is sent without what the server will do.
    pub(crate) connection_as_given: bool,
}

impl<'a> ReplyHead<'a> {
    /// A status and these fields.
    pub(crate) fn plain(status: u16, headers: &'a Headers) -> ReplyHead<'a> {
        static NONE: Headers = Headers::new();
        ReplyHead {
            status,
            reason: None,
            headers,
            content_type: None,
            date: None,
            trailers: &NONE,
            connection_as_given: false,
        }
    }

    /// Appends the head to `out`: the fields as given, and those that `plan` asks for where they are not among them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>, exchange: Exchange, plan: Plan) {
        status_line(out, self.status, self.reason);
        let own = Own::of(self.headers);
        // An interim or a tunnel's answer is not the last of its connection.
        let mut option = match plan.keep_alive {
            _ if is_interim_or_tunnel(exchange, self.status) => None,
            false if !own.close => Some("close"),
            true if exchange.version == Version::Http10 && !own.keep_alive => Some("keep-alive"),
            _ => None,
        };
        if own.connection && self.connection_as_given {
            option = None;
        }
        for (name, value) in self.headers.iter() {
            // RFC 9112, section 6.1: such a client does not know it.
            if exchange.version == Version::Http10
                && own.chunked_last
                && name.eq_ignore_ascii_case("Transfer-Encoding")
            {
                continue;
            }
            if option.is_some() && name.eq_ignore_ascii_case("Connection") {
                let option = option.take().unwrap_or_default();
                let separator = if value.is_empty() { "" } else { ", " };
                field(out, name, format!("{value}{separator}{option}").as_bytes());
                continue;
            }
            field(out, name, value.as_bytes());
        }
        if let Some(date) = self.date.filter(|_| !own.date) {
            field(out, "Date", date.as_bytes());
        }
        let has_body = plan.framing != BodyFraming::None && plan.content;
        if let Some(content_type) = self.content_type.filter(|_| !own.content_type && has_body) {
            field(out, "Content-Type", content_type.as_bytes());
        }
        match plan.framing {
            BodyFraming::Length(size) if !own.lengths => {
                out.extend_from_slice(b"Content-Length: ");
                decimal(out, size);
                out.extend_from_slice(b"\r\n");
            }
            BodyFraming::Chunked if !own.coding => {
                out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
            }
            _ => {}
        }
        if plan.framing == BodyFraming::Chunked && !self.trailers.is_empty() && !own.trailer {
            let mut names: Vec<&str> = Vec::new();
            for (name, _) in self.trailers.iter() {
                if !names.iter().any(|one| one.eq_ignore_ascii_case(name)) {
                    names.push(name);
                }
            }
            field(out, "Trailer", names.join(", ").as_bytes());
        }
        if let Some(option) = option {
            field(out, "Connection", option.as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends `data` as one chunk. An empty one would end the body, and is left out.
pub(crate) fn encode_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk and the trailers.
pub(crate) fn encode_last_chunk(out: &mut Vec<u8>, trailers: &Headers) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.iter() {
        field(out, name, value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// The phrase that stands with a status in RFC 9110 and its companions; empty for one that is unknown.
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        511 => "Network Authentication Required",
        _ => "",
    }
}

/// What the caller's own fields say, and which leave no room for ours.
#[derive(Default)]
struct Own {
    content_type: bool,
    date: bool,
    trailer: bool,
    /// There is a Content-Length.
    lengths: bool,
    /// There is a Transfer-Encoding.
    coding: bool,
    /// How many of its codings are `chunked`, over all fields.
    chunks: usize,
    /// The last of its codings is `chunked`.
    chunked_last: bool,
    connection: bool,
    close: bool,
    keep_alive: bool,
}

impl Own {
    fn of(headers: &Headers) -> Own {
        let mut own = Own::default();
        for (name, value) in headers.iter() {
            // The length of the name rules out nearly every field before its letters are compared.
            match name.len() {
                4 => own.date |= name.eq_ignore_ascii_case("Date"),
                7 => own.trailer |= name.eq_ignore_ascii_case("Trailer"),
                10 if name.eq_ignore_ascii_case("Connection") => {
                    own.connection = true;
                    for member in members(value) {
                        own.close |= member.eq_ignore_ascii_case("close");
                        own.keep_alive |= member.eq_ignore_ascii_case("keep-alive");
                    }
                }
                12 => own.content_type |= name.eq_ignore_ascii_case("Content-Type"),
                14 => own.lengths |= name.eq_ignore_ascii_case("Content-Length"),
                17 if name.eq_ignore_ascii_case("Transfer-Encoding") => {
                    own.coding = true;
                    for coding in members(value) {
                        own.chunked_last = coding.eq_ignore_ascii_case("chunked");
                        own.chunks += usize::from(own.chunked_last);
                    }
                }
                _ => {}
            }
        }
        own
    }
}

/// Responses that end with their head (RFC 9112, section 6.3), HEAD's not among them.
fn has_no_body(exchange: Exchange, status: u16) -> bool {
    matches!(status, 100..=199 | 204 | 304) || (exchange.connect && matches!(status, 200..=299))
}

fn is_interim_or_tunnel(exchange: Exchange, status: u16) -> bool {
    matches!(status, 100..=199) || (exchange.connect && matches!(status, 200..=299))
}

fn status_line(out: &mut Vec<u8>, status: u16, reason: Option<&str>) {
    if status == 200 && reason.is_none() {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    // The server's own version, whatever the request's (RFC 9110, section 6.2).
    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason.unwrap_or(reason_phrase(status)).as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
mod tests;
