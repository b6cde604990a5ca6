//! One session, as a state machine.
//!
//! Give it what came with [`Session::advance`] and do what the [`Event`] says; replies gather in its
//! output until taken, so the replies to pipelined commands leave in one write (RFC 2920).

mod commands;
mod output;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::Config;
use super::auth::{Exchange, Login};
use super::command::{self, Verb};
use super::data::{DataDecoder, Text};
use super::line::{Line, LineReader};
use super::params::{Recipient, Sender};
use super::reply::{Ending, Reply};

/// Replies are to be written when more than this has gathered, whatever else has come.
const MAX_HELD: usize = 16 * 1024;
/// Octets that the log shows of a message that was not finished.
const MAX_LAST: usize = 100;
/// Room made at once for a message that is announced larger.
const MAX_ROOM: usize = 1024 * 1024;

/// A server's side of one connection.
#[derive(Debug)]
pub(crate) struct Session {
    config: Arc<Config>,
    /// What challenges of this session are made unique with.
    unique: String,
    challenges: u32,
    mode: Mode,
    lines: LineReader,
    /// The greeting was a refusal, so only QUIT is left (RFC 5321 section 3.1).
    refused: bool,
    hello: Option<Hello>,
    login: Option<Arc<Login>>,
    transaction: Option<Transaction>,
    question: Option<Question>,
    out: Vec<u8>,
    log: String,
    /// AUTH was the last command that is known, so that a line which is none may be a credential, of a
    /// client that did not wait for its AUTH to be refused.
    after_auth: bool,
    /// The transaction's MAIL has asked for SMTPUTF8, so that replies may be in UTF-8 until it is over
    /// (RFC 6531 section 3.7.4.1).
    utf8: bool,
    flush: bool,
    ending: Option<Ending>,
    /// The size of the last message, for the next is often about as long.
    last_size: usize,
}

/// What the caller is to do.
#[derive(Debug)]
pub(crate) enum Event {
    /// Write what is in the output, then read on: all input is used up.
    More,
    /// Write what is in the output: it must not wait for more input.
    Flush,
    /// [`Session::question`] is to be answered with [`Session::decide`].
    Ask,
    /// A message has come and is to be answered with [`Session::answer`].
    Message(Box<Incoming>),
    /// Write what is in the output, then end the connection.
    Close(Ending),
}

/// What is to be decided.
#[derive(Debug)]
pub(crate) enum Question {
    Connect,
    Hello { name: String, extended: bool },
    Mail(Sender),
    Rcpt(Recipient),
    Auth(Login),
    Data,
}

/// What a hook decides.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Accepted, with the usual reply.
    Accept,
    /// Refused, with the usual reply.
    Refuse,
    /// Answered in other words; the code says whether it is accepted.
    Answer(Reply),
}

/// A message with its envelope.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) hello: Arc<str>,
    pub(crate) login: Option<Arc<Login>>,
    pub(crate) sender: Sender,
    pub(crate) recipients: Vec<Recipient>,
    pub(crate) body: Vec<u8>,
}

#[derive(Debug)]
enum Mode {
    Command,
    Auth(Exchange),
    Data(DataDecoder),
    /// Within BDAT; a refused chunk is read all the same, for the next command comes after it.
    Chunk {
        size: u64,
        left: u64,
        last: bool,
        refusal: Option<Reply>,
        /// What a hook wants said of the chunk when it is taken.
        praise: Option<Reply>,
    },
}

#[derive(Debug)]
struct Hello {
    name: Arc<str>,
    extended: bool,
}

#[derive(Debug, Default)]
struct Transaction {
    sender: Sender,
    recipients: Vec<Recipient>,
    /// A recipient was refused.
    some_refused: bool,
    /// The chunks so far.
    chunks: Option<Vec<u8>>,
    /// A chunk was refused, so RSET has to come (RFC 3030 section 2).
    failed: bool,
}

impl Session {
    /// A session that has yet to greet. `unique` is a word no other session has, for the challenges
    /// of CRAM-MD5.
    pub(crate) fn new(config: Arc<Config>, unique: String) -> Session {
        Session {
            config,
            unique,
            challenges: 0,
            mode: Mode::Command,
            lines: LineReader::default(),
            refused: false,
            hello: None,
            login: None,
            transaction: None,
            question: Some(Question::Connect),
            out: Vec::new(),
            log: String::new(),
            after_auth: false,
            utf8: false,
            flush: false,
            ending: None,
            last_size: 0,
        }
    }

    /// Goes on with `input`, up to the next event; returns how many octets it took.
    pub(crate) fn advance(&mut self, input: &[u8]) -> (usize, Event) {
        let mut used = 0;
        loop {
            if self.question.is_some() {
                return (used, Event::Ask);
            }
            if let Some(ending) = self.ending {
                return (used, Event::Close(ending));
            }
            if std::mem::take(&mut self.flush) || self.out.len() > MAX_HELD {
                return (used, Event::Flush);
            }
            let rest = &input[used..];
            if let Mode::Chunk { left: 0, .. } = self.mode {
                if let Some(message) = self.end_chunk() {
                    return (used, Event::Message(message));
                }
                continue;
            }
            if rest.is_empty() {
                return (used, Event::More);
            }
            used += match &mut self.mode {
                Mode::Command | Mode::Auth(_) => self.read_line(rest),
                Mode::Data(decoder) => {
                    let taken = decoder.decode(rest);
                    if decoder.ended()
                        && let Some(message) = self.end_data()
                    {
                        return (used + taken, Event::Message(message));
                    }
                    taken
                }
                Mode::Chunk { .. } => self.read_chunk(rest),
            };
        }
    }

    /// What is to be decided after [`Event::Ask`].
    pub(crate) fn question(&self) -> Option<&Question> {
        self.question.as_ref()
    }

    /// Answers the question.
    pub(crate) fn decide(&mut self, decision: Decision) {
        let Some(question) = self.question.take() else {
            return;
        };
        let (reply, accepted) = match decision {
            Decision::Accept => (None, true),
            Decision::Refuse => (Some(question.refusal()), false),
            Decision::Answer(reply) => {
                let accepted = question.accepts(&reply);
                (Some(reply), accepted)
            }
        };
        match question {
            Question::Connect => self.connected(reply, accepted),
            Question::Hello { name, extended } => {
                self.hello_decided(name, extended, reply, accepted);
            }
            Question::Mail(sender) => {
                if accepted {
                    self.transaction = Some(Transaction {
                        sender,
                        ..Transaction::default()
                    });
                }
                self.say_or(reply, 250, "2.1.0 ", "sender ok");
            }
            Question::Rcpt(recipient) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.some_refused |= !accepted;
                    if accepted {
                        transaction.recipients.push(recipient);
                    }
                }
                self.say_or(reply, 250, "2.1.5 ", "recipient ok");
            }
            Question::Auth(login) => {
                if accepted {
                    self.login = Some(Arc::new(login));
                }
                self.say_or(reply, 235, "2.7.0 ", "logged in");
            }
            Question::Data => self.data_decided(reply, accepted),
        }
    }

    /// Answers the message; in LMTP it is called for each recipient, in their order.
    pub(crate) fn answer(&mut self, reply: &Reply) {
        self.reply(reply, true);
    }

    /// Says that the client has been waited for too long, and ends the session.
    pub(crate) fn time_out(&mut self) {
        self.say(421, "4.4.2 ", "timed out waiting for the client");
        self.ending = Some(Ending::Close);
    }

    /// Says that the server stops, and ends the session (RFC 5321 section 3.8).
    pub(crate) fn shut_down(&mut self) {
        self.say(421, "4.3.2 ", "shutting down");
        self.ending = Some(Ending::Close);
    }

    /// Adds to the log how the client went, and what it leaves unfinished.
    pub(crate) fn gone(&mut self, how: &dyn fmt::Display) {
        let (count, last) = match &self.mode {
            Mode::Data(decoder) => (decoder.total(), decoder.last(MAX_LAST)),
            Mode::Chunk { .. } => {
                let chunks = self.transaction.as_ref().and_then(|t| t.chunks.as_deref());
                let chunks = chunks.unwrap_or_default();
                let last = &chunks[chunks.len().saturating_sub(MAX_LAST)..];
                (chunks.len(), last)
            }
            Mode::Auth(_) | Mode::Command => (0, &[][..]),
        };
        let last = last.escape_ascii();
        let _ = match &self.mode {
            Mode::Data(_) | Mode::Chunk { .. } => writeln!(
                self.log,
                "C: ({count} octets of an unfinished message, which end in \"{last}\")"
            ),
            Mode::Auth(_) | Mode::Command if self.lines.is_partial() => {
                writeln!(self.log, "C: (an unfinished line)")
            }
            Mode::Auth(_) | Mode::Command => Ok(()),
        };
        let _ = writeln!(self.log, "C: ({how})");
    }

    /// What is to be written; the caller clears it when it is.
    pub(crate) fn output(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// What both sides said since the caller cleared it, a line each.
    pub(crate) fn log(&mut self) -> &mut String {
        &mut self.log
    }

    /// What the client is to send next.
    pub(crate) fn awaited(&self) -> &'static str {
        match self.mode {
            Mode::Command if self.lines.is_partial() => "the end of a command",
            Mode::Command => "a command",
            Mode::Auth(_) => "the answer to a challenge",
            Mode::Data(_) => "the end of the message",
            Mode::Chunk { .. } => "the end of a chunk",
        }
    }

    /// Whether it has yet to greet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.question, Some(Question::Connect))
    }

    /// Whether the client has begun what it has yet to end, so that it will not be answered before more
    /// of it comes.
    pub(crate) fn is_midway(&self) -> bool {
        self.is_text() || self.lines.is_partial()
    }

    /// Whether a message is coming, not a command.
    pub(crate) fn is_text(&self) -> bool {
        matches!(self.mode, Mode::Data(_) | Mode::Chunk { .. })
    }

    /// The envelope so far: sender and recipients of the transaction.
    pub(crate) fn envelope(&self) -> Option<(&Sender, &[Recipient])> {
        let transaction = self.transaction.as_ref()?;
        Some((&transaction.sender, &transaction.recipients))
    }

    /// The name the client gave itself, and who it has logged in as.
    pub(crate) fn client(&self) -> (Option<&str>, Option<&str>) {
        let name = self.hello.as_ref().map(|hello| &*hello.name);
        (name, self.login.as_deref().map(Login::user))
    }

    // Reading.

    fn read_line(&mut self, input: &[u8]) -> usize {
        // Taken out, for a line may borrow from it while `self` acts on the line.
        let mut lines = std::mem::take(&mut self.lines);
        let longest = command::MAX_AUTH_LINE + self.config.max_command;
        let (taken, line) = lines.read(input, longest);
        match line {
            Line::Partial => {}
            Line::Whole(line) => self.line(line),
            Line::TooLong(start) => {
                self.log_line("C: ", b"(a line that is too long)");
                if command::is_chunk_command(&start) && !matches!(self.mode, Mode::Auth(_)) {
                    self.bdat_without_end();
                } else {
                    self.line_too_long();
                }
            }
        }
        self.lines = lines;
        taken
    }

    fn line(&mut self, line: &[u8]) {
        if let Mode::Auth(_) = self.mode {
            self.log_response(line);
            return self.auth_response(line);
        }
        let split = command::split(line);
        let verb = split.map_or(Verb::Unknown, |(verb, _)| verb);
        self.log_command(line, verb);
        let too_long = line.len() + 2 > command::max_line(verb, &self.config);
        let fault = match split {
            _ if too_long => Some(Reply::new(500, "line too long")),
            None => Some(Reply::new(
                500,
                "not a command: a stray CR, LF or NUL, or not UTF-8",
            )),
            Some(_) => None,
        };
        let fault = fault.map(|fault| fault.enhanced(5, 2));
        if command::is_chunk_command(line) {
            return self.bdat(line, fault);
        }
        match (fault, split) {
            (Some(fault), _) => self.reply(&fault, true),
            (None, Some((verb, argument))) => self.command(verb, argument),
            (None, None) => {}
        }
    }

    fn line_too_long(&mut self) {
        match std::mem::replace(&mut self.mode, Mode::Command) {
            Mode::Auth(_) => self.say(500, "5.5.6 ", "response too long"),
            _ => self.say(500, "5.5.2 ", "line too long"),
        }
    }

    fn read_chunk(&mut self, input: &[u8]) -> usize {
        let Mode::Chunk { left, refusal, .. } = &mut self.mode else {
            return 0;
        };
        let taken = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
        *left -= taken as u64;
        if refusal.is_none()
            && let Some(transaction) = &mut self.transaction
        {
            let chunks = transaction.chunks.get_or_insert_default();
            if chunks.len() + taken > self.config.max_message {
                *chunks = Vec::new();
                *refusal = Some(Reply::new(552, "message too large").enhanced(3, 4));
            } else {
                chunks.extend_from_slice(&input[..taken]);
            }
        }
        taken
    }

    fn end_data(&mut self) -> Option<Box<Incoming>> {
        let Mode::Data(decoder) = std::mem::replace(&mut self.mode, Mode::Command) else {
            return None;
        };
        let refusal = match decoder.finish() {
            Text::Whole(body) => return self.incoming(body),
            Text::TooLarge => Reply::new(552, "message too large").enhanced(3, 4),
            Text::LongLine => {
                let limit = self.config.max_text_line;
                let text = format!("a line of the message is longer than {limit} octets");
                Reply::new(500, text).enhanced(6, 0)
            }
        };
        self.refuse_message(&refusal);
        self.transaction = None;
        None
    }

    /// Refuses a message that has come: in LMTP for each of its recipients (RFC 2033 sections 4.2, 4.3).
    fn refuse_message(&mut self, refusal: &Reply) {
        let recipients = self.transaction.as_ref().map_or(0, |t| t.recipients.len());
        let times = if self.config.lmtp { recipients } else { 1 };
        for _ in 0..times.max(1) {
            self.reply(refusal, true);
        }
    }

    fn end_chunk(&mut self) -> Option<Box<Incoming>> {
        let chunk = std::mem::replace(&mut self.mode, Mode::Command);
        let Mode::Chunk {
            size,
            last,
            refusal,
            praise,
            ..
        } = chunk
        else {
            return None;
        };
        let transaction = self.transaction.as_mut();
        if let Some(refusal) = refusal {
            if let Some(transaction) = transaction {
                // Without a recipient there was no message to fail.
                transaction.failed = !transaction.recipients.is_empty();
                transaction.chunks = None;
            }
            if last {
                self.refuse_message(&refusal);
            } else {
                self.reply(&refusal, true);
            }
            return None;
        }
        if last {
            let body = transaction.and_then(|transaction| transaction.chunks.take());
            return self.incoming(body.unwrap_or_default());
        }
        if let Some(transaction) = transaction {
            transaction.chunks.get_or_insert_default();
        }
        self.say_or(praise, 250, "2.0.0 ", &format!("{size} octets taken"));
        None
    }

    fn incoming(&mut self, mut body: Vec<u8>) -> Option<Box<Incoming>> {
        if body.capacity() / 2 > body.len() {
            body.shrink_to_fit();
        }
        let _ = writeln!(self.log, "C: ({} octets of message)", body.len());
        self.last_size = body.len();
        let transaction = self.transaction.take()?;
        Some(Box::new(Incoming {
            hello: Arc::clone(&self.hello.as_ref()?.name),
            login: self.login.clone(),
            sender: transaction.sender,
            recipients: transaction.recipients,
            body,
        }))
    }
}

impl Question {
    /// The reply to a refusal without a reply of its own.
    fn refusal(&self) -> Reply {
        match self {
            Question::Connect => Reply::new(554, "no service here"),
            Question::Hello { .. } => Reply::new(550, "refused"),
            Question::Mail(_) => Reply::new(550, "sender refused").enhanced(7, 1),
            Question::Rcpt(_) => Reply::new(550, "no such recipient").enhanced(1, 1),
            Question::Auth(_) => Reply::new(535, "wrong credentials").enhanced(7, 8),
            Question::Data => Reply::new(554, "message refused").enhanced(7, 1),
        }
    }

    /// Whether `reply` means yes: its class is that of the usual reply. A message is begun by DATA,
    /// whose yes is 3xx, or by BDAT, whose yes is 2xx; a hook need not know by which.
    fn accepts(&self, reply: &Reply) -> bool {
        let class = reply.code() / 100;
        let is_yes = class == 2 || class == 3 && matches!(self, Question::Data);
        reply.ending().is_none() && is_yes
    }
}

#[cfg(test)]
mod tests;
