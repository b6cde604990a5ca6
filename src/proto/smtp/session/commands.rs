//! What each command does, and what follows a decision.

use std::fmt::Write as _;

use super::{Hello, MAX_ROOM, Mode, Question, Session};
use crate::proto::smtp::auth::{Exchange, Mechanism, Step};
use crate::proto::smtp::command::{self, Chunk, Verb};
use crate::proto::smtp::data::DataDecoder;
use crate::proto::smtp::params::{BadParameter, BodyType, Recipient, Sender};
use crate::proto::smtp::path::{self, Kind};
use crate::proto::smtp::reply::{Ending, Reply};
use crate::proto::smtp::{Extension, Extensions};

impl Session {
    pub(super) fn command(&mut self, verb: Verb, argument: &str) {
        if self.refused && verb != Verb::Quit {
            return self.reply(&no_service(), true);
        }
        self.utf8 &= self.transaction.is_some();
        let argument = match self.config.lenient {
            true => argument.trim_start(),
            false => argument,
        };
        match verb {
            Verb::Lhlo if self.config.lmtp => self.hello(argument, "LHLO"),
            Verb::Ehlo | Verb::Helo if self.config.lmtp => {
                self.say(500, "5.5.1 ", "this is LMTP: LHLO (RFC 2033 section 4.1)");
            }
            Verb::Ehlo => self.hello(argument, "EHLO"),
            Verb::Helo => self.hello(argument, "HELO"),
            Verb::Mail => self.mail(argument),
            Verb::Rcpt => self.rcpt(argument),
            Verb::Data => self.data(argument),
            // It is dealt with before, by its line.
            Verb::Bdat => {}
            Verb::Auth => self.auth(argument),
            Verb::StartTls => self.start_tls(argument),
            Verb::Rset if argument.is_empty() => {
                self.transaction = None;
                self.say(250, "2.0.0 ", "reset");
            }
            Verb::Quit if argument.is_empty() => {
                self.say(221, "2.0.0 ", "bye");
                self.ending = Some(Ending::Quit);
            }
            Verb::Rset | Verb::Quit => self.say(501, "5.5.4 ", "no argument allowed"),
            Verb::Noop => self.say_now(250, "2.0.0 ", "OK"),
            Verb::Help => self.say_now(214, "2.0.0 ", command::HELP),
            Verb::Vrfy if argument.is_empty() => self.say_now(501, "5.5.4 ", "VRFY needs a name"),
            Verb::Vrfy => self.say_now(252, "2.5.0 ", "not verified; try to send something"),
            Verb::NotImplemented => self.say_now(502, "5.5.1 ", "command not implemented"),
            Verb::Unknown | Verb::Lhlo => self.say(500, "5.5.2 ", "unknown command"),
        }
    }

    fn hello(&mut self, argument: &str, verb: &str) {
        if command::is_host(argument, self.config.lenient) {
            self.question = Some(Question::Hello {
                name: argument.to_owned(),
                extended: verb != "HELO",
            });
        } else {
            self.say_now(501, "", &format!("{verb} needs the client's host name"));
        }
    }

    fn mail(&mut self, argument: &str) {
        if self.hello.is_none() {
            let hello = if self.config.lmtp {
                "LHLO"
            } else {
                "EHLO or HELO"
            };
            return self.say(503, "5.5.1 ", &format!("{hello} first"));
        }
        if self.transaction.is_some() {
            return self.say(
                503,
                "5.5.1 ",
                "there is a transaction already; RSET ends it",
            );
        }
        if self.config.require_auth && self.login.is_none() {
            return self.say(530, "5.7.0 ", "authentication required");
        }
        let Some(text) = command::after_word(argument, "FROM:") else {
            return self.say(501, "5.5.4 ", "MAIL FROM:<address> expected");
        };
        let Some((address, parameters)) = self.path(text, Kind::Reverse) else {
            return self.bad_path(text, "5.1.7 ", "not a sender's address in angle brackets");
        };
        let sender = match Sender::parse(address, parameters, self.offered()) {
            Ok(sender) => sender,
            Err(error) => return self.bad_parameter(&error),
        };
        if sender.size() > Some(self.config.max_message as u64) {
            let limit = self.config.max_message;
            return self.say(552, "5.3.4 ", &format!("at most {limit} octets are taken"));
        }
        if !address.is_ascii() && !sender.smtp_utf8() {
            return self.say(553, "5.6.7 ", "an address in UTF-8 needs SMTPUTF8");
        }
        self.utf8 = sender.smtp_utf8();
        self.question = Some(Question::Mail(sender));
    }

    fn rcpt(&mut self, argument: &str) {
        let offered = self.offered();
        let Some(transaction) = &self.transaction else {
            return self.say(503, "5.5.1 ", "MAIL first");
        };
        if transaction.chunks.is_some() || transaction.failed {
            return self.say(503, "5.5.1 ", "the message has begun");
        }
        let Some(text) = command::after_word(argument, "TO:") else {
            return self.say(501, "5.5.4 ", "RCPT TO:<address> expected");
        };
        let Some((address, parameters)) = self.path(text, Kind::Forward) else {
            return self.bad_path(
                text,
                "5.1.3 ",
                "not a recipient's address in angle brackets",
            );
        };
        let recipient = match Recipient::parse(address, parameters, offered) {
            Ok(recipient) => recipient,
            Err(error) => return self.bad_parameter(&error),
        };
        if !address.is_ascii() && !transaction.sender.smtp_utf8() {
            return self.say(553, "5.6.7 ", "an address in UTF-8 needs SMTPUTF8 in MAIL");
        }
        if transaction.recipients.len() >= self.config.max_recipients {
            return self.say(452, "4.5.3 ", "too many recipients");
        }
        self.question = Some(Question::Rcpt(recipient));
    }

    fn data(&mut self, argument: &str) {
        if !argument.is_empty() {
            return self.say_now(501, "5.5.4 ", "no argument allowed");
        }
        if let Some(refusal) = self.not_ready() {
            self.flush = true;
            return self.reply(&refusal, true);
        }
        let transaction = self.transaction.as_ref();
        if transaction.is_some_and(|transaction| transaction.chunks.is_some()) {
            return self.say_now(503, "5.5.1 ", "no DATA after BDAT");
        }
        let body = transaction.and_then(|transaction| transaction.sender.body());
        if body == Some(BodyType::BinaryMime) {
            return self.say_now(503, "5.5.1 ", "BODY=BINARYMIME needs BDAT");
        }
        self.question = Some(Question::Data);
    }

    /// Takes `line`, a BDAT. Its chunk follows whatever is wrong with it, and is never taken for
    /// commands: one that can be counted is read and then refused (RFC 3030 section 2), and after one
    /// that cannot be counted there is nothing left to read.
    pub(super) fn bdat(&mut self, line: &[u8], fault: Option<Reply>) {
        let (size, last, well_written) = match command::chunk(line) {
            Chunk::Good { size, last } => (size, last, true),
            Chunk::Countable { size, last } => (size, last, self.config.lenient),
            Chunk::Uncountable => return self.bdat_without_end(),
        };
        let refusal = if self.refused {
            Some(no_service())
        } else if !self.config.extensions.has(Extension::Chunking) {
            Some(Reply::new(502, "command not implemented").enhanced(5, 1))
        } else if fault.is_some() {
            fault
        } else if !well_written {
            Some(Reply::new(501, "BDAT size or BDAT size LAST expected").enhanced(5, 4))
        } else {
            self.not_ready()
        };
        let begun = self
            .transaction
            .as_ref()
            .is_some_and(|t| t.chunks.is_some());
        if refusal.is_none() && !begun {
            self.question = Some(Question::Data);
        }
        self.mode = Mode::Chunk {
            size,
            left: size,
            last,
            refusal,
            praise: None,
        };
    }

    pub(super) fn bdat_without_end(&mut self) {
        let why =
            "BDAT needs a size: where its chunk ends cannot be told, so the connection closes";
        self.say(501, "5.5.4 ", why);
        self.ending = Some(Ending::Close);
    }

    /// Why no message can come now, if so.
    fn not_ready(&self) -> Option<Reply> {
        let reply = match &self.transaction {
            None => Reply::new(503, "MAIL and RCPT first"),
            Some(transaction) if transaction.failed => {
                Reply::new(503, "a chunk failed; RSET first")
            }
            Some(transaction) if !transaction.recipients.is_empty() => return None,
            // LMTP has 503 for this too (RFC 2033 section 4.2).
            Some(transaction) if transaction.some_refused && !self.config.lmtp => {
                Reply::new(554, "no valid recipients")
            }
            Some(_) => Reply::new(503, "RCPT first"),
        };
        Some(reply.enhanced(5, 1))
    }

    fn start_tls(&mut self, argument: &str) {
        // Never offered. What follows in the same write is read as the clear text it is: there is
        // no protected session that it could slip into (RFC 3207 section 6).
        if argument.is_empty() {
            self.say_now(454, "4.7.0 ", "TLS not available");
        } else {
            self.say_now(501, "5.5.4 ", "no argument allowed");
        }
    }

    fn auth(&mut self, argument: &str) {
        if !self.config.extensions.has(Extension::Auth) {
            return self.say(502, "5.5.1 ", "command not implemented");
        }
        if !self.hello.as_ref().is_some_and(|hello| hello.extended) {
            return self.say(503, "5.5.1 ", "EHLO first");
        }
        if self.login.is_some() {
            return self.say(503, "5.5.1 ", "already logged in");
        }
        if self.transaction.is_some() {
            return self.say(503, "5.5.1 ", "not within a transaction");
        }
        let (name, initial) = match argument.split_once(' ') {
            Some((name, initial)) => (name, Some(initial)),
            None => (argument, None),
        };
        if name.is_empty() {
            return self.say(501, "5.5.4 ", "AUTH needs a mechanism");
        }
        let known = Mechanism::from_name(name).filter(|mechanism| self.offers(*mechanism));
        let Some(mechanism) = known else {
            return self.say(504, "5.5.4 ", "unknown mechanism");
        };
        if mechanism.is_plaintext() && !self.config.plaintext_auth {
            return self.say(538, "5.7.11 ", "encryption required for this mechanism");
        }
        self.challenges += 1;
        let (exchange, step) = Exchange::begin(mechanism, initial, &self.config.users, || {
            format!(
                "<{}.{}@{}>",
                self.unique, self.challenges, self.config.hostname
            )
        });
        self.auth_step(exchange, step);
    }

    pub(super) fn auth_response(&mut self, line: &[u8]) {
        let Mode::Auth(mut exchange) = std::mem::replace(&mut self.mode, Mode::Command) else {
            return;
        };
        if line.len() + 2 > command::MAX_AUTH_LINE {
            return self.say(500, "5.5.6 ", "response too long");
        }
        let step = match std::str::from_utf8(line) {
            Ok(line) => exchange.respond(line, &self.config.users),
            Err(_) => Step::Malformed,
        };
        self.auth_step(exchange, step);
    }

    fn offers(&self, mechanism: Mechanism) -> bool {
        mechanism != Mechanism::ScramSha256 || self.config.offers_scram
    }

    fn auth_step(&mut self, exchange: Exchange, step: Step) {
        match step {
            Step::Challenge(text) => {
                // The password could be guessed from the server's signature.
                let is_secret = matches!(exchange, Exchange::ScramEnd(_));
                self.mode = Mode::Auth(exchange);
                self.challenge(&text, is_secret);
            }
            Step::Done(login) => self.question = Some(Question::Auth(login)),
            Step::Cancelled => self.say(501, "5.7.0 ", "authentication cancelled"),
            Step::Malformed => self.say(501, "5.5.2 ", "not what the mechanism expects, in base64"),
        }
    }

    // What follows a decision.

    pub(super) fn connected(&mut self, reply: Option<Reply>, accepted: bool) {
        self.refused = !accepted;
        self.flush = true;
        match reply {
            Some(reply) => self.reply(&reply, false),
            None => {
                let protocol = if self.config.lmtp { "LMTP" } else { "ESMTP" };
                let text = format!("{} {protocol} loopback", self.config.hostname);
                self.say(220, "", &text);
            }
        }
    }

    pub(super) fn hello_decided(
        &mut self,
        name: String,
        extended: bool,
        reply: Option<Reply>,
        accepted: bool,
    ) {
        self.flush = true;
        if let Some(reply) = reply.as_ref().filter(|_| !accepted || !extended) {
            self.reply(reply, false);
        } else {
            let greeting = match &reply {
                Some(reply) => reply.text().to_owned(),
                None => format!("{} hello", self.config.hostname),
            };
            let text = if extended {
                greeting + &self.extension_lines()
            } else {
                greeting
            };
            let utf8 = reply.is_some_and(|reply| reply.is_utf8());
            let greeting = Reply::new(250, text);
            self.reply(&if utf8 { greeting.utf8() } else { greeting }, false);
        }
        if accepted {
            // As RSET (RFC 5321 section 4.1.4); who is logged in stays so.
            self.transaction = None;
            self.hello = Some(Hello {
                name: name.into(),
                extended,
            });
        }
    }

    fn extension_lines(&self) -> String {
        let offered = self.config.extensions;
        let mut lines = String::new();
        for (extension, keyword) in [
            (Extension::Pipelining, "PIPELINING"),
            (Extension::EightBitMime, "8BITMIME"),
            (Extension::SmtpUtf8, "SMTPUTF8"),
            (Extension::Chunking, "CHUNKING"),
            (Extension::BinaryMime, "BINARYMIME"),
            (Extension::EnhancedStatusCodes, "ENHANCEDSTATUSCODES"),
            (Extension::Dsn, "DSN"),
        ] {
            if offered.has(extension) {
                lines.push('\n');
                lines.push_str(keyword);
            }
        }
        if offered.has(Extension::Size) {
            let _ = write!(lines, "\nSIZE {}", self.config.max_message);
        }
        if offered.has(Extension::Auth) {
            lines.push_str("\nAUTH");
            for mechanism in Mechanism::ALL {
                let may = self.config.plaintext_auth || !mechanism.is_plaintext();
                if may && self.offers(mechanism) {
                    lines.push(' ');
                    lines.push_str(mechanism.name());
                }
            }
        }
        lines.push_str("\nHELP");
        lines
    }

    pub(super) fn data_decided(&mut self, reply: Option<Reply>, accepted: bool) {
        if let Mode::Chunk {
            refusal, praise, ..
        } = &mut self.mode
        {
            // The chunk comes whatever is decided, so the reply waits for its end.
            match reply {
                Some(reply) if !accepted => *refusal = Some(reply),
                // "Go on" is no reply to a chunk, which has come already.
                reply => *praise = reply.filter(|reply| reply.code() / 100 == 2),
            }
            return;
        }
        self.flush = true;
        // A client sends its message after a 354 and nothing else (RFC 5321 section 4.3.2): told 250
        // it would not, or its message would be read as commands.
        let reply = match reply {
            Some(reply) if reply.code() / 100 == 2 => {
                Some(Reply::new(354, reply.text().to_owned()))
            }
            reply => reply,
        };
        if accepted {
            let announced = self.transaction.as_ref().and_then(|t| t.sender.size());
            let expected = announced.map_or(self.last_size, |size| {
                usize::try_from(size).unwrap_or(MAX_ROOM)
            });
            self.mode = Mode::Data(DataDecoder::new(
                self.config.max_message,
                self.config.max_text_line,
                expected.min(MAX_ROOM),
            ));
        }
        self.say_or(
            reply,
            354,
            "",
            "end the message with a dot on a line of its own",
        );
    }

    fn path<'a>(&self, text: &'a str, kind: Kind) -> Option<(&'a str, &'a str)> {
        if self.config.lenient {
            path::parse_leniently(text, kind)
        } else {
            path::parse(text, kind)
        }
    }

    /// Refuses the path in `text`, unless it is what stands before it that is wrong.
    fn bad_path(&mut self, text: &str, status: &'static str, why: &str) {
        if text.starts_with(' ') && !self.config.lenient {
            let why = "no space is allowed after the colon (RFC 5321 section 3.3)";
            return self.say(501, "5.5.4 ", why);
        }
        self.say(501, status, why);
    }

    fn offered(&self) -> Extensions {
        match &self.hello {
            Some(hello) if hello.extended => self.config.extensions,
            _ => Extensions::none(),
        }
    }

    fn bad_parameter(&mut self, error: &BadParameter) {
        match error {
            BadParameter::Syntax => {
                self.say(501, "5.5.4 ", "parameters are KEYWORD or KEYWORD=value")
            }
            BadParameter::Value(keyword) => {
                self.say(
                    501,
                    "5.5.4 ",
                    &format!("bad value of the parameter {keyword}"),
                );
            }
            BadParameter::Unknown(keyword) => {
                self.say(555, "5.5.4 ", &format!("unknown parameter {keyword}"));
            }
        }
    }
}

fn no_service() -> Reply {
    Reply::new(503, "there is no service here; only QUIT is left").enhanced(5, 1)
}
