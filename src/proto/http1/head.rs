//! The head of a request: request line and header section, out of a buffer that grows.

use std::borrow::Cow;

use super::fields::{Framing, Meaning, meaning};
use super::headers::{Field, Headers, Span, is_forbidden_in_value};
use super::target::{TargetForm, check_characters};
use super::{Limits, Rejection, Version, is_token, is_token_byte, quoted};

/// Empty lines before a request line that are ignored (RFC 9112, section 2.2).
const MAX_EMPTY_LINES: usize = 8;
/// Fields in one header or trailer section; one more gives 431.
pub(super) const MAX_FIELDS: usize = 256;
/// So much of a request line is kept for the record when the head could not be read, in bytes.
const MAX_FRAGMENT: usize = 1024;
/// So many fields are nearly never there; the array for them is cheap to set up.
const USUAL_FIELDS: usize = 24;

/// The head of a request, or as much of it as could be read before it was rejected.
#[derive(Debug, Clone, Default)]
pub(crate) struct RequestHead {
    /// Its text is the whole head, request line and all.
    pub(crate) headers: Headers,
    method: Span,
    target: Span,
    /// The form that the target has.
    pub(crate) form: TargetForm,
    /// The version, 1.1 when it could not be read.
    pub(crate) version: Version,
    meaning: Meaning,
}

/// What a buffer holds.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// The beginning of a request, or nothing.
    Partial,
    /// A head, which takes up this many bytes of the buffer.
    Head(RequestHead, usize),
    /// No valid request. Where the next one would begin is not known, so the connection has to end.
    Rejected(Box<RequestHead>, Rejection),
}

impl RequestHead {
    pub(crate) fn method(&self) -> &str {
        self.method.of(self.text())
    }

    pub(crate) fn target(&self) -> &str {
        self.target.of(self.text())
    }

    /// Request line and header section as they came.
    pub(crate) fn text(&self) -> &str {
        self.headers.text()
    }

    /// How the end of the body is known.
    pub(crate) fn framing(&self) -> Framing {
        self.meaning.framing
    }

    /// Whether the connection may serve another request.
    pub(crate) fn keep_alive(&self) -> bool {
        self.meaning.keep_alive
    }

    /// Whether the client waits for 100 before it sends the body.
    pub(crate) fn expects_continue(&self) -> bool {
        self.meaning.expects_continue
    }

    /// Whether the client asks for another protocol on this connection.
    pub(crate) fn upgrade(&self) -> bool {
        self.meaning.upgrade
    }

    /// A request of which no more than the request line, or a part of it, is known.
    pub(crate) fn of_line(line: &[u8]) -> RequestHead {
        let text = decoded(&line[..line.len().min(MAX_FRAGMENT)]).into_owned();
        let mut head = RequestHead::default();
        if let Ok((method, target, version)) = request_line(trim_line_end(text.as_bytes())) {
            head.method = Span::new(0, method.len());
            head.target = Span::new(method.len() + 1, method.len() + 1 + target.len());
            head.version = version;
        }
        head.headers = Headers::from_parts(text, Vec::new());
        head
    }
}

/// Finds the head of one request in a buffer that grows at its end.
///
/// It remembers how far it has looked, so that a head that comes byte by byte costs no more than one in one piece.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    /// Where the request line begins, after empty lines.
    start: usize,
    empty_lines: usize,
    /// Looked at so far.
    scanned: usize,
    /// Where the header section begins.
    section: Option<usize>,
}

impl HeadParser {
    /// Looks at `buffer`, which begins where it began at the first call, and which has grown.
    pub(crate) fn parse(&mut self, buffer: &[u8], limits: &Limits) -> Parsed {
        self.try_parse(buffer, limits).unwrap_or_else(|rejection| {
            // No more than the bytes that led to this, so that the segmentation does not matter.
            let end = self.section.unwrap_or(buffer.len().min(self.scanned + 1));
            let head = RequestHead::of_line(&buffer[self.start..end]);
            Parsed::Rejected(Box::new(head), rejection)
        })
    }

    /// The bytes of `buffer` that begin a request: empty lines before it are not among them.
    pub(crate) fn begun<'a>(&self, buffer: &'a [u8]) -> &'a [u8] {
        match &buffer[self.start..] {
            b"\r" => &[],
            begun => begun,
        }
    }

    fn try_parse(&mut self, buffer: &[u8], limits: &Limits) -> Result<Parsed, Rejection> {
        let section = match self.section {
            Some(section) => section,
            None => {
                if !self.skip_empty_lines(buffer)? {
                    return Ok(Parsed::Partial);
                }
                let Some(section) = self.find_line_end(buffer, limits.line)? else {
                    return Ok(Parsed::Partial);
                };
                self.section = Some(section);
                // The blank line is found from the end of the request line on.
                self.scanned = section - 1;
                section
            }
        };
        match self.find_section_end(buffer, section, limits.head) {
            Ok(Some(end)) => {
                let line = section - self.start;
                Ok(read_head(&buffer[self.start..end], line, end, limits))
            }
            unfinished => {
                // A bad request line is answered without waiting for the rest.
                request_line(trim_line_end(&buffer[self.start..section]))?;
                unfinished.map(|_| Parsed::Partial)
            }
        }
    }

    /// False when more bytes are needed to see the beginning of the request line.
    fn skip_empty_lines(&mut self, buffer: &[u8]) -> Result<bool, Rejection> {
        loop {
            let skip = match &buffer[self.start..] {
                [] | [b'\r'] => return Ok(false),
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                _ => return Ok(true),
            };
            self.empty_lines += 1;
            if self.empty_lines > MAX_EMPTY_LINES {
                return Err(Rejection::bad(
                    "too many empty lines before the request line",
                ));
            }
            self.start += skip;
            self.scanned = self.start;
        }
    }

    /// Finds where the request line ends. Rejects by the first bad byte, so that the segmentation does not matter.
    fn find_line_end(&mut self, buffer: &[u8], max: usize) -> Result<Option<usize>, Rejection> {
        let ahead = &buffer[self.scanned..];
        let plain = ahead.iter().take_while(|byte| matches!(byte, b' '..=b'~'));
        self.scanned += plain.count();
        let length = self.scanned - self.start;
        let special = match (buffer.get(self.scanned), buffer.get(self.scanned + 1)) {
            _ if length > max => None,
            (None, _) | (Some(b'\r'), None) => return Ok(None),
            (Some(b'\n'), _) => return Ok(Some(self.scanned + 1)),
            (Some(b'\r'), Some(b'\n')) => return Ok(Some(self.scanned + 2)),
            (Some(_), _) if length == max => None,
            (Some(byte), _) => Some(*byte),
        };
        match special {
            Some(byte) => Err(bad_line_byte(byte, length)),
            None => {
                self.scanned = self.start + max;
                let reason = format!(
                    "the request line is longer than {max} bytes (builder().max_request_line)"
                );
                Err(Rejection::new(414, reason))
            }
        }
    }

    /// Finds where the head ends: after the first empty line.
    fn find_section_end(
        &mut self,
        buffer: &[u8],
        section: usize,
        max: usize,
    ) -> Result<Option<usize>, Rejection> {
        let mut found = None;
        while let Some(offset) = find_newline(&buffer[self.scanned..]) {
            let newline = self.scanned + offset;
            found = match &buffer[newline + 1..] {
                [b'\n', ..] => Some(newline + 2),
                [b'\r', b'\n', ..] => Some(newline + 3),
                // This line end is looked at again when more has come.
                [] | [b'\r'] => {
                    self.scanned = newline;
                    break;
                }
                _ => None,
            };
            if found.is_some() {
                break;
            }
            self.scanned = newline + 1;
        }
        let seen = found.unwrap_or(buffer.len());
        if seen - section > max {
            let reason =
                format!("the header section is larger than {max} bytes (builder().max_head)");
            return Err(Rejection::new(431, reason));
        }
        Ok(found)
    }
}

/// Reads the fields of a trailer section, which ends with an empty line.
pub(super) fn read_trailers(section: &[u8]) -> Result<Headers, Rejection> {
    let text = decoded(section).into_owned();
    let fields = read_fields(&text, 0)?;
    Ok(Headers::from_parts(text, fields))
}

/// Reads a whole head; its first `line` bytes are the request line.
fn read_head(bytes: &[u8], line: usize, consumed: usize, limits: &Limits) -> Parsed {
    let (method, target, version) = match request_line(trim_line_end(&bytes[..line])) {
        Ok(parts) => parts,
        Err(rejection) => {
            let head = RequestHead::of_line(&bytes[..line]);
            return Parsed::Rejected(Box::new(head), rejection);
        }
    };
    // Only values can hold bytes beyond ASCII, so the request line keeps its length.
    let text = decoded(bytes).into_owned();
    let (fields, failed) = match read_fields(&text, line) {
        Ok(fields) => (fields, None),
        Err(rejection) => (Vec::new(), Some(rejection)),
    };
    let target_start = method.len() + 1;
    let mut head = RequestHead {
        headers: Headers::from_parts(text, fields),
        method: Span::new(0, method.len()),
        target: Span::new(target_start, target_start + target.len()),
        version,
        ..RequestHead::default()
    };
    let judged = match failed {
        Some(rejection) => Err(rejection),
        None => judge(&mut head, method, target, limits),
    };
    match judged {
        Ok(()) => Parsed::Head(head, consumed),
        Err(rejection) => Parsed::Rejected(Box::new(head), rejection),
    }
}

/// Finds out what a head that could be read asks for, and whether it may.
fn judge(
    head: &mut RequestHead,
    method: &str,
    target: &str,
    limits: &Limits,
) -> Result<(), Rejection> {
    if !limits.lenient_targets {
        check_characters(target)?;
    }
    head.form = TargetForm::of(method, target)?;
    head.meaning = meaning(method, head.version, &head.headers, limits.body)?;
    Ok(())
}

/// Splits a request line: method, target, version, with one space between (RFC 9112, section 3).
fn request_line(line: &[u8]) -> Result<(&str, &str, Version), Rejection> {
    let text = str::from_utf8(line).map_err(|_| Rejection::bad("the request line is not ASCII"))?;
    let mut spaces = (0..line.len()).filter(|at| line[*at] == b' ');
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        let line = quoted(line);
        let parts = "method, target and version with one space between";
        return Err(Rejection::bad(format!(
            "the request line {line} is not {parts}"
        )));
    };
    let (method, target) = (&text[..first], &text[first + 1..second]);
    let version = &text[second + 1..];
    if !is_token(method) {
        let method = quoted(method.as_bytes());
        return Err(Rejection::bad(format!(
            "the method {method} is not a token"
        )));
    }
    if target.is_empty() {
        return Err(Rejection::bad("the request line has no target"));
    }
    if line == b"PRI * HTTP/2.0" {
        let reason = "the client speaks HTTP/2 from its first byte (RFC 9113, section 3.4), and this server speaks HTTP/1.1";
        return Err(Rejection::new(505, reason));
    }
    Ok((method, target, read_version(version)?))
}

fn read_version(text: &str) -> Result<Version, Rejection> {
    match text.strip_prefix("HTTP/").map(str::as_bytes) {
        Some(b"1.0") => Ok(Version::Http10),
        Some([b'1', b'.', b'1'..=b'9']) => Ok(Version::Http11),
        Some([b'0'..=b'9', b'.', b'0'..=b'9']) => Err(Rejection::new(
            505,
            format!("the version {text} is unknown"),
        )),
        _ => {
            let text = quoted(text.as_bytes());
            Err(Rejection::bad(format!("the version {text} is malformed")))
        }
    }
}

/// Reads the fields of `text` from `start` to its end, where an empty line stands.
fn read_fields(text: &str, start: usize) -> Result<Vec<Field>, Rejection> {
    let section = &text.as_bytes()[start..];
    let mut usual = [httparse::EMPTY_HEADER; USUAL_FIELDS];
    let mut many;
    let mut read = httparse::parse_headers(section, &mut usual);
    if matches!(read, Err(httparse::Error::TooManyHeaders)) {
        many = [httparse::EMPTY_HEADER; MAX_FIELDS];
        read = httparse::parse_headers(section, &mut many);
    }
    match read {
        Ok(httparse::Status::Complete((_, fields))) => {
            let base = text.as_ptr().addr();
            let field = |field: &httparse::Header<'_>| Field {
                name: span(base, field.name.as_bytes()),
                value: span(base, field.value),
            };
            Ok(fields.iter().map(field).collect())
        }
        Err(httparse::Error::TooManyHeaders) => {
            let reason = format!("there are more than {MAX_FIELDS} fields");
            Err(Rejection::new(431, reason))
        }
        _ => Err(Rejection::bad(explain(section))),
    }
}

/// Where `part` stands in the text that begins at the address `base`.
fn span(base: usize, part: &[u8]) -> Span {
    if part.is_empty() {
        return Span::default();
    }
    let start = part.as_ptr().addr() - base;
    Span::new(start, start + part.len())
}

/// Says what is wrong with a section whose fields could not be read.
fn explain(section: &[u8]) -> String {
    section
        .split_inclusive(|&byte| byte == b'\n')
        .map(trim_line_end)
        .find_map(|line| {
            Some(format!(
                "{} in the header line {}",
                fault_of(line)?,
                quoted(line)
            ))
        })
        .unwrap_or_else(|| "the header section is malformed".into())
}

fn fault_of(line: &[u8]) -> Option<&'static str> {
    if line.is_empty() {
        return None;
    }
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Some("a folded line (obs-fold)");
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Some("no colon");
    };
    let (name, value) = line.split_at(colon);
    match name {
        [] => Some("no name"),
        [.., b' ' | b'\t'] => Some("whitespace before the colon"),
        _ if !name.iter().copied().all(is_token_byte) => Some("a name that is not a token"),
        _ if value.contains(&0) => Some("a NUL"),
        _ if value.contains(&b'\r') => Some("a CR without LF"),
        _ if value.iter().copied().any(is_forbidden_in_value) => Some("a control character"),
        _ => None,
    }
}

fn bad_line_byte(byte: u8, at: usize) -> Rejection {
    let what = match (byte, at) {
        (0x16, 0) => {
            "the bytes look like a TLS handshake, and this server speaks plain HTTP".into()
        }
        (b'\r', _) => "a CR without LF in the request line".into(),
        _ => format!("the byte 0x{byte:02x} in the request line"),
    };
    Rejection::bad(what)
}

/// Bytes as text: what is not UTF-8 is taken for ISO-8859-1, line by line (RFC 9110, section 5.5).
fn decoded(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        match str::from_utf8(line) {
            Ok(line) => text.push_str(line),
            Err(_) => text.extend(line.iter().copied().map(char::from)),
        }
    }
    Cow::Owned(text)
}

fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn find_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

#[cfg(test)]
mod tests;
