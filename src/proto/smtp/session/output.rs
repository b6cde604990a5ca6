//! Replies into the output, and both sides' words into the transcript.

use std::fmt::Write as _;

use super::Session;
use crate::proto::smtp::Extension;
use crate::proto::smtp::auth::Mechanism;
use crate::proto::smtp::command::{self, Verb};
use crate::proto::smtp::reply::{self, Reply};

/// What stands for a credential in the transcript.
const MASK: &str = "(masked)";
/// Octets of a line that the transcript shows.
const MAX_SHOWN: usize = 200;

impl Session {
    pub(super) fn say_or(
        &mut self,
        reply: Option<Reply>,
        code: u16,
        status: &'static str,
        text: &str,
    ) {
        match reply {
            Some(reply) => self.reply(&reply, true),
            None => self.say(code, status, text),
        }
    }

    /// Says what must not wait for the client's next command (RFC 2920 section 3.2).
    pub(super) fn say_now(&mut self, code: u16, status: &'static str, text: &str) {
        self.say(code, status, text);
        self.flush = true;
    }

    /// The server's part of an AUTH exchange, which is one line however long it is (RFC 4954 section 4).
    pub(super) fn challenge(&mut self, text: &str, is_secret: bool) {
        reply::put_line(&mut self.out, *b"334", b' ', "", text);
        self.log_line("S: 334 ", if is_secret { MASK } else { text }.as_bytes());
        self.flush = true;
    }

    pub(super) fn say(&mut self, code: u16, status: &'static str, text: &str) {
        let start = self.out.len();
        let status = if self.is_enhanced() { status } else { "" };
        reply::render(&mut self.out, code, status, text);
        self.log_said(start);
    }

    pub(super) fn reply(&mut self, reply: &Reply, enhanced: bool) {
        let start = self.out.len();
        let enhanced = enhanced && self.is_enhanced();
        reply.render(&mut self.out, enhanced, self.utf8);
        self.log_said(start);
        if let Some(ending) = reply.ending() {
            self.ending = Some(ending);
            if self.out.len() == start {
                let _ = writeln!(self.log, "S: ({reply})");
            }
        }
    }

    fn is_enhanced(&self) -> bool {
        self.config.extensions.has(Extension::EnhancedStatusCodes)
    }

    fn log_said(&mut self, start: usize) {
        let out = std::mem::take(&mut self.out);
        for line in out[start..].split_inclusive(|&byte| byte == b'\n') {
            self.log_line("S: ", line.strip_suffix(b"\r\n").unwrap_or(line));
        }
        self.out = out;
    }

    /// A command, without what could be a credential.
    pub(super) fn log_command(&mut self, line: &[u8], verb: Verb) {
        if command::is_auth(line) {
            self.after_auth = true;
            let mut words = line[4..]
                .split(u8::is_ascii_whitespace)
                .filter(|word| !word.is_empty());
            // What stands in the mechanism's place may be something else where it is none.
            let known = words.next().and_then(Mechanism::from_octets);
            let more = words.next().is_some();
            let _ = match known {
                Some(mechanism) if more => {
                    writeln!(self.log, "C: AUTH {} {MASK}", mechanism.name())
                }
                Some(mechanism) => writeln!(self.log, "C: AUTH {}", mechanism.name()),
                None if line.len() > 4 => writeln!(self.log, "C: AUTH {MASK}"),
                None => writeln!(self.log, "C: AUTH"),
            };
        } else if let Some(end) = command::hidden_auth(line, verb) {
            self.after_auth = true;
            self.log_line("C: ", &[&line[..end], b" ", MASK.as_bytes()].concat());
        } else if self.after_auth && verb == Verb::Unknown {
            let _ = writeln!(self.log, "C: {MASK}");
        } else {
            self.after_auth = false;
            self.log_line("C: ", line);
        }
    }

    /// The answer to a challenge of AUTH.
    pub(super) fn log_response(&mut self, line: &[u8]) {
        let shown = if line == b"*" { "*" } else { MASK };
        let _ = writeln!(self.log, "C: {shown}");
    }

    pub(super) fn log_line(&mut self, who: &str, line: &[u8]) {
        self.log.push_str(who);
        let shown = &line[..line.len().min(MAX_SHOWN)];
        match std::str::from_utf8(shown) {
            Ok(text) if !text.bytes().any(|byte| byte < b' ') => self.log.push_str(text),
            _ => self.log.extend(shown.escape_ascii().map(char::from)),
        }
        self.log.push_str(if shown.len() < line.len() {
            "...\n"
        } else {
            "\n"
        });
    }
}
