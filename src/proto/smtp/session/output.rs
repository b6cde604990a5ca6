//! Replies into the output, and both sides' words into the transcript.

use std::fmt::Write as _;

use super::Session;
use crate::proto::smtp::Extension;
use crate::proto::smtp::reply::{self, Reply};

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

    pub(super) fn say(&mut self, code: u16, status: &'static str, text: &str) {
        let start = self.out.len();
        let status = if self.is_enhanced() { status } else { "" };
        reply::render(&mut self.out, code, status, text);
        self.log_said(start);
    }

    pub(super) fn reply(&mut self, reply: &Reply, enhanced: bool) {
        let start = self.out.len();
        let enhanced = enhanced && self.is_enhanced();
        reply.render(&mut self.out, enhanced);
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
