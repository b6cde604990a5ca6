//! What the server says: a code, an enhanced status and lines of text (RFC 5321 section 4.2, RFC 2034).

use std::borrow::Cow;
use std::fmt::{self, Write as _};

/// The longest reply line, its CRLF counted (RFC 5321 section 4.5.3.1.5).
const MAX_LINE: usize = 512;

/// A reply of the server's: what a handler or a hook answers with.
///
/// ```
/// # use loopback::smtp::Reply;
/// let busy = Reply::new(451, "try again in a minute").enhanced(3, 2);
/// assert_eq!(busy.to_string(), "451 4.3.2 try again in a minute");
/// ```
///
/// A text with line breaks, or too long for one line of 512 octets, becomes a reply of several lines.
/// A reply with code 421 closes the connection after it (RFC 5321 section 3.8).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "it is sent when the handler returns it"]
pub struct Reply {
    code: u16,
    status: Option<(u16, u16)>,
    text: Cow<'static, str>,
    is_utf8: bool,
    ending: Option<Ending>,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The client has said its last word: the stream ends.
    Quit,
    /// What was said is delivered, then the stream ends.
    Close,
    /// The connection is reset.
    Reset,
}

impl Reply {
    /// A reply with `code` and `text`. A text that begins with an enhanced status code of the same
    /// class (`"5.1.1 no such user"`) sets it, as [`enhanced`](Reply::enhanced) does.
    ///
    /// # Panics
    ///
    /// When `code` is not from 200 to 599, for no client could read it.
    #[track_caller]
    pub fn new(code: u16, text: impl Into<Cow<'static, str>>) -> Reply {
        assert!(
            (200..600).contains(&code),
            "an SMTP reply code is from 200 to 599, not {code}"
        );
        let mut text = text.into();
        let status = leading_status(&text).filter(|(class, ..)| *class == code / 100);
        let status = status.map(|(_, subject, detail, length)| {
            text = Cow::Owned(text[length..].trim_start_matches(' ').to_owned());
            (subject, detail)
        });
        Reply {
            code,
            status,
            text,
            is_utf8: false,
            ending: None,
        }
    }

    /// `250 OK`.
    pub fn ok() -> Reply {
        Reply::new(250, "OK")
    }

    /// No reply at all: the connection closes, as when a server has died.
    pub fn hang_up() -> Reply {
        Reply {
            ending: Some(Ending::Close),
            ..Reply::new(421, "")
        }
    }

    /// No reply at all: the connection is reset (RST).
    pub fn reset() -> Reply {
        Reply {
            ending: Some(Ending::Reset),
            ..Reply::new(421, "")
        }
    }

    /// Sets subject and detail of the enhanced status code (RFC 3463); its class is the code's first
    /// digit. Without this it is `x.0.0`. It is sent while ENHANCEDSTATUSCODES is offered, and never
    /// in the greeting, in the reply to EHLO or HELO, or with a 3xx code (RFC 2034 section 4).
    pub fn enhanced(mut self, subject: u16, detail: u16) -> Reply {
        self.status = Some((subject, detail));
        self
    }

    /// Sends a text outside ASCII as it is to every client.
    ///
    /// Without this only a client that has asked for SMTPUTF8 in its MAIL gets it, in that transaction (RFC
    /// 6531 section 3.7.4.1), for no other need understand it. All others get `\x{F6}` for `ö`, the form that
    /// RFC 6533 section 3 has for characters.
    pub fn utf8(mut self) -> Reply {
        self.is_utf8 = true;
        self
    }

    /// The code, from 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text without code and enhanced status; several lines are separated by `\n`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the code says success or "go on" (2xx and 3xx).
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    pub(crate) fn is_utf8(&self) -> bool {
        self.is_utf8
    }

    /// How the connection ends after this reply, if it does.
    pub(crate) fn ending(&self) -> Option<Ending> {
        self.ending.or((self.code == 421).then_some(Ending::Close))
    }

    /// Appends the reply's lines to `out`; nothing for a connection that ends without a word.
    pub(crate) fn render(&self, out: &mut Vec<u8>, enhanced: bool, utf8: bool) {
        if self.ending.is_some() {
            return;
        }
        let status = match self.status {
            _ if !enhanced || self.code / 100 == 3 => String::new(),
            Some((subject, detail)) => format!("{}.{subject}.{detail} ", self.code / 100),
            None => format!("{}.0.0 ", self.code / 100),
        };
        if self.is_utf8 || utf8 || self.text.is_ascii() {
            render(out, self.code, &status, &self.text);
        } else {
            render(out, self.code, &status, &escaped(&self.text));
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ending {
            Some(Ending::Quit | Ending::Close) => f.write_str("no reply, the connection closed"),
            Some(Ending::Reset) => f.write_str("no reply, the connection reset"),
            None => {
                write!(f, "{} ", self.code)?;
                if let Some((subject, detail)) = self.status {
                    write!(f, "{}.{subject}.{detail} ", self.code / 100)?;
                }
                f.write_str(&self.text)
            }
        }
    }
}

/// Appends one reply; `status` is empty or ends in a space, and stands on each line (RFC 2034).
pub(crate) fn render(out: &mut Vec<u8>, code: u16, status: &str, text: &str) {
    let room = MAX_LINE - "250 ".len() - status.len() - "\r\n".len();
    let digits = [code / 100, code / 10 % 10, code % 10].map(|digit| b'0' + digit as u8);
    let mut lines = text.lines().flat_map(|line| pieces(line, room)).peekable();
    if lines.peek().is_none() {
        put_line(out, digits, b' ', status, "");
    }
    while let Some(line) = lines.next() {
        let mark = if lines.peek().is_some() { b'-' } else { b' ' };
        put_line(out, digits, mark, status, line);
    }
}

/// `text` in ASCII.
fn escaped(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len() * 2);
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            let _ = write!(ascii, "\\x{{{:02X}}}", u32::from(c));
        }
    }
    ascii
}

/// Appends a line, however long; between the code and the text stand `mark` and `status`.
pub(crate) fn put_line(out: &mut Vec<u8>, digits: [u8; 3], mark: u8, status: &str, text: &str) {
    out.extend_from_slice(&digits);
    out.push(mark);
    out.extend_from_slice(status.as_bytes());
    // A control character would break the line or the client's terminal (RFC 5321: textstring).
    out.extend(text.bytes().map(|byte| match byte {
        b'\t' => byte,
        0..32 | 127 => b' ',
        _ => byte,
    }));
    out.extend_from_slice(b"\r\n");
}

/// Cuts `line` into pieces of at most `room` octets, between characters; an empty line is one piece.
fn pieces(line: &str, room: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        if line.len() <= room {
            rest = None;
            return Some(line);
        }
        let cut = (0..=room).rev().find(|&at| line.is_char_boundary(at))?;
        let (piece, later) = line.split_at(cut);
        rest = Some(later);
        Some(piece)
    })
}

/// Reads `5.1.1` at the start of `text`: class, subject, detail, and the length of all three.
fn leading_status(text: &str) -> Option<(u16, u16, u16, usize)> {
    let word = text.split([' ', '\n']).next()?;
    let mut parts = word.split('.').map(|part| {
        let short = (1..=3).contains(&part.len());
        let digits = short && part.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| part.parse::<u16>().ok()).flatten()
    });
    let status = (parts.next()??, parts.next()??, parts.next()??, word.len());
    parts.next().is_none().then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rendered(reply: &Reply, enhanced: bool) -> String {
        let mut out = Vec::new();
        reply.render(&mut out, enhanced, false);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_reply_of_several_lines_marks_all_but_the_last() {
        let reply = Reply::new(250, "one\ntwo\r\nthree");
        assert_eq!(
            rendered(&reply, false),
            "250-one\r\n250-two\r\n250 three\r\n"
        );
        assert_eq!(
            rendered(&reply, true),
            "250-2.0.0 one\r\n250-2.0.0 two\r\n250 2.0.0 three\r\n"
        );
        assert_eq!(rendered(&Reply::new(250, ""), false), "250 \r\n");
    }

    #[test]
    fn an_enhanced_status_is_read_from_the_text_or_set() {
        let read = Reply::new(550, "5.1.1 no such user");
        assert_eq!(read, Reply::new(550, "no such user").enhanced(1, 1));
        assert_eq!(rendered(&read, true), "550 5.1.1 no such user\r\n");
        assert_eq!(rendered(&read, false), "550 no such user\r\n");
        // Of another class, or no status at all: it is text.
        assert_eq!(Reply::new(450, "5.1.1 x").text(), "5.1.1 x");
        assert_eq!(Reply::new(550, "5.1. x").text(), "5.1. x");
        assert_eq!(Reply::new(550, "5.1.1.1 x").text(), "5.1.1.1 x");
        assert_eq!(Reply::new(550, "5.1234.1 x").text(), "5.1234.1 x");
    }

    #[test]
    fn text_outside_ascii_is_for_those_who_asked_for_it() {
        let render = |reply: &Reply, asked| {
            let mut out = Vec::new();
            reply.render(&mut out, false, asked);
            String::from_utf8(out).unwrap()
        };
        let reply = Reply::new(550, "für 😀");
        assert_eq!(render(&reply, false), "550 f\\x{FC}r \\x{1F600}\r\n");
        assert_eq!(render(&reply, true), "550 für 😀\r\n");
        assert_eq!(render(&reply.utf8(), false), "550 für 😀\r\n");
    }

    #[test]
    fn go_on_has_no_enhanced_status() {
        assert_eq!(rendered(&Reply::new(354, "go on"), true), "354 go on\r\n");
    }

    #[test]
    #[should_panic(expected = "from 200 to 599, not 99")]
    fn a_code_no_client_could_read_is_refused() {
        let _ = Reply::new(99, "?");
    }

    proptest! {
        #[test]
        fn any_text_gives_lines_a_client_can_read(text in any::<String>(), long in ".{0,1500}") {
            for text in [text, long] {
                let lines = rendered(&Reply::new(250, text), true);
                let lines = lines.strip_suffix("\r\n").unwrap();
                let count = lines.split("\r\n").count();
                for (index, line) in lines.split("\r\n").enumerate() {
                    prop_assert!(line.len() <= 510);
                    let mark = if index + 1 < count { "250-" } else { "250 " };
                    prop_assert!(line.starts_with(mark), "{line:?}");
                    prop_assert!(!line.bytes().any(|byte| byte == b'\r' || byte == b'\n' || byte == 0));
                }
            }
        }
    }
}
