//! The head and the framing of a response (RFC 9112, sections 4, 6 and 7).

use super::Version;
use super::headers::Headers;

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
    /// Whether the connection may be kept.
    pub(crate) keep_alive: bool,
}

impl Plan {
    /// Decides the framing of a body of `size`, if that is known, and whether the connection outlives it.
    ///
    /// A Content-Length or Transfer-Encoding among `headers` is left as it is: when it does not fit the body, the
    /// connection has to end after it.
    pub(crate) fn new(
        exchange: Exchange,
        status: u16,
        size: Option<u64>,
        chunked: bool,
        headers: &Headers,
    ) -> Plan {
        let mut keep_alive = exchange.keep_alive && !headers.lists("Connection", "close");
        if has_no_body(exchange, status) {
            return Plan {
                framing: BodyFraming::None,
                body: false,
                keep_alive,
            };
        }
        let framing = match size {
            _ if headers.lists("Transfer-Encoding", "chunked") => BodyFraming::Chunked,
            Some(size) if !chunked => BodyFraming::Length(size),
            // There are no chunks in HTTP/1.0.
            Some(size) if exchange.version == Version::Http10 => BodyFraming::Length(size),
            None if exchange.version == Version::Http10 => BodyFraming::Close,
            _ => BodyFraming::Chunked,
        };
        if let Some(announced) = headers.get("Content-Length") {
            keep_alive &= exchange.head
                || matches!(framing, BodyFraming::Length(size) if announced.parse() == Ok(size));
        }
        keep_alive &= framing != BodyFraming::Close;
        Plan {
            framing,
            body: !exchange.head,
            keep_alive,
        }
    }
}

/// Appends the head of a response to `out`: the fields as given, and those that `plan` asks for where they are not
/// among them. `content_type` is sent unless there is one, or no body.
pub(crate) fn encode_head(
    out: &mut Vec<u8>,
    exchange: Exchange,
    plan: Plan,
    status: u16,
    reason: Option<&str>,
    headers: &Headers,
    content_type: Option<&str>,
) {
    status_line(out, status, reason);
    let mut own = Own::default();
    for (name, value) in headers.iter() {
        own.note(name);
        field(out, name, value.as_bytes());
    }
    if let Some(content_type) =
        content_type.filter(|_| !own.content_type && plan.framing != BodyFraming::None)
    {
        field(out, "Content-Type", content_type.as_bytes());
    }
    match plan.framing {
        _ if own.framing => {}
        BodyFraming::Length(size) => {
            out.extend_from_slice(b"Content-Length: ");
            decimal(out, size);
            out.extend_from_slice(b"\r\n");
        }
        BodyFraming::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        BodyFraming::None | BodyFraming::Close => {}
    }
    // An interim or a tunnel's answer is not the last of its connection.
    if !own.connection && !is_interim_or_tunnel(exchange, status) {
        if !plan.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        } else if exchange.version == Version::Http10 {
            out.extend_from_slice(b"Connection: keep-alive\r\n");
        }
    }
    out.extend_from_slice(b"\r\n");
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

/// Fields of the caller's that leave no room for ours.
#[derive(Default)]
struct Own {
    content_type: bool,
    framing: bool,
    connection: bool,
}

impl Own {
    fn note(&mut self, name: &str) {
        match name.len() {
            10 => self.connection |= name.eq_ignore_ascii_case("Connection"),
            12 => self.content_type |= name.eq_ignore_ascii_case("Content-Type"),
            14 => self.framing |= name.eq_ignore_ascii_case("Content-Length"),
            17 => self.framing |= name.eq_ignore_ascii_case("Transfer-Encoding"),
            _ => {}
        }
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
mod tests {
    use super::*;

    const GET: Exchange = Exchange {
        version: Version::Http11,
        head: false,
        connect: false,
        keep_alive: true,
    };
    const HEAD: Exchange = Exchange { head: true, ..GET };
    const OLD: Exchange = Exchange {
        version: Version::Http10,
        keep_alive: false,
        ..GET
    };
    const OLD_KEPT: Exchange = Exchange {
        keep_alive: true,
        ..OLD
    };
    const CONNECT: Exchange = Exchange {
        connect: true,
        ..GET
    };

    fn headers(fields: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in fields {
            headers.append(name, value).unwrap();
        }
        headers
    }

    /// The head after its status line, and whether body and connection follow.
    fn sent(
        exchange: Exchange,
        status: u16,
        size: Option<u64>,
        chunked: bool,
        fields: &[(&str, &str)],
    ) -> (String, bool, bool) {
        let headers = headers(fields);
        let plan = Plan::new(exchange, status, size, chunked, &headers);
        let mut out = Vec::new();
        encode_head(&mut out, exchange, plan, status, None, &headers, None);
        let text = String::from_utf8(out).unwrap();
        let (_, rest) = text.split_once("\r\n").unwrap();
        (rest.replace("\r\n", "|"), plan.body, plan.keep_alive)
    }

    #[test]
    fn framing_follows_version_method_and_status() {
        let row = |text: &str, body, kept| (text.to_string(), body, kept);
        let length = "Content-Length: 5||";
        let chunks = "Transfer-Encoding: chunked||";
        assert_eq!(sent(GET, 200, Some(5), false, &[]), row(length, true, true));
        assert_eq!(
            sent(GET, 200, Some(0), false, &[]),
            row("Content-Length: 0||", true, true)
        );
        assert_eq!(sent(GET, 200, Some(5), true, &[]), row(chunks, true, true));
        assert_eq!(sent(GET, 200, None, false, &[]), row(chunks, true, true));
        assert_eq!(
            sent(HEAD, 200, Some(5), false, &[]),
            row(length, false, true)
        );
        assert_eq!(sent(HEAD, 200, None, false, &[]), row(chunks, false, true));
        for status in [100, 101, 103, 204, 304] {
            assert_eq!(
                sent(GET, status, Some(5), true, &[]),
                row("|", false, true),
                "{status}"
            );
        }
        assert_eq!(
            sent(CONNECT, 200, Some(5), false, &[]),
            row("|", false, true)
        );
        assert_eq!(
            sent(CONNECT, 403, Some(5), false, &[]),
            row(length, true, true)
        );
    }

    #[test]
    fn http_1_0_gets_no_chunks() {
        let row = |text: &str, kept| (text.to_string(), true, kept);
        let closed = "Content-Length: 5|Connection: close||";
        let kept = "Content-Length: 5|Connection: keep-alive||";
        assert_eq!(sent(OLD, 200, Some(5), true, &[]), row(closed, false));
        assert_eq!(sent(OLD_KEPT, 200, Some(5), true, &[]), row(kept, true));
        assert_eq!(
            sent(OLD_KEPT, 200, None, true, &[]),
            row("Connection: close||", false)
        );
    }

    #[test]
    fn fields_are_sent_as_given_and_ours_only_where_missing() {
        let fields = [
            ("x-B", "1"),
            ("X-a", "2"),
            ("X-B", "3"),
            ("content-length", "5"),
        ];
        let text = "x-B: 1|X-a: 2|X-B: 3|content-length: 5||";
        assert_eq!(
            sent(GET, 200, Some(5), false, &fields),
            (text.into(), true, true)
        );
        // One that lies is sent, and the connection ends.
        let lie = sent(GET, 200, Some(5), false, &[("Content-Length", "6")]);
        assert_eq!(
            lie,
            ("Content-Length: 6|Connection: close||".into(), true, false)
        );
        // The answer to HEAD has no body that it could fail to fit.
        let head = sent(HEAD, 200, Some(0), false, &[("Content-Length", "6")]);
        assert_eq!(head, ("Content-Length: 6||".into(), false, true));
        let own = sent(
            GET,
            200,
            Some(5),
            false,
            &[("Transfer-Encoding", "chunked")],
        );
        assert_eq!(own, ("Transfer-Encoding: chunked||".into(), true, true));
        let close = sent(GET, 200, Some(5), false, &[("Connection", "Close")]);
        assert_eq!(
            close,
            ("Connection: Close|Content-Length: 5||".into(), true, false)
        );
    }

    #[test]
    fn a_default_type_gives_way_to_the_callers() {
        let with = |fields, status| {
            let headers = headers(fields);
            let plan = Plan::new(GET, status, Some(1), false, &headers);
            let mut out = Vec::new();
            encode_head(
                &mut out,
                GET,
                plan,
                status,
                Some("Fine"),
                &headers,
                Some("text/plain"),
            );
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            with(&[], 200),
            "HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\n"
        );
        assert_eq!(with(&[], 204), "HTTP/1.1 204 Fine\r\n\r\n");
        let own = "HTTP/1.1 200 Fine\r\ncontent-type: a/b\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(with(&[("content-type", "a/b")], 200), own);
    }

    #[test]
    fn chunks_and_trailers() {
        let mut out = Vec::new();
        encode_chunk(&mut out, b"hello, world, hello");
        encode_chunk(&mut out, b"");
        encode_last_chunk(&mut out, &headers(&[("X-Sum", "1")]));
        assert_eq!(out, b"13\r\nhello, world, hello\r\n0\r\nX-Sum: 1\r\n\r\n");
    }

    #[test]
    fn interim_answers_and_tunnels_do_not_announce_an_end() {
        let closing = |exchange| Exchange {
            keep_alive: false,
            ..exchange
        };
        for (exchange, status) in [(GET, 103), (GET, 101), (OLD_KEPT, 103), (CONNECT, 200)] {
            let sent = sent(closing(exchange), status, Some(0), false, &[]);
            assert_eq!(sent, ("|".into(), false, false), "{status}");
        }
        let refused = sent(closing(CONNECT), 403, Some(0), false, &[]);
        assert_eq!(refused.0, "Content-Length: 0|Connection: close||");
    }

    #[test]
    fn usual_statuses_have_phrases() {
        assert_eq!(reason_phrase(404), "Not Found");
        let known = [
            100..=103,
            200..=206,
            300..=304,
            307..=308,
            400..=417,
            500..=505,
        ];
        for status in known.into_iter().flatten() {
            assert!(!reason_phrase(status).is_empty(), "{status}");
        }
        assert_eq!(reason_phrase(599), "");
    }

    #[test]
    fn numbers() {
        for number in [0, 9, 10, 200, u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
