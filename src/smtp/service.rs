//! One connection: what comes goes into the protocol's state machine, its replies go out.

use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::answer::Answer;
use super::message::Message;
use super::options::{Envelope, SmtpOptions, Stage};
use super::transcript::{Transcript, Transcripts};
use crate::connection::Connection;
use crate::deadline::Deadline;
use crate::proto::smtp::{
    Config, Decision, Ending, Event, Incoming, Login, Question, Reply, Session as Machine,
};
use crate::server::failure::HandlerError;
use crate::server::host::Run;
use crate::server::protocol::{Next, Protocol, Serve, Session};
use crate::server::streams;
use crate::server::wake::Streams;

/// How long a client that was hung up on is listened to, so that it can read the last reply: closing
/// on unread data would reset the connection, and the reply with it.
const LINGER: Duration = Duration::from_secs(1);
const MAX_LINGERED: usize = 1024 * 1024;
/// Reads grow up to this for clients that fill them.
const LARGEST_READ: usize = 128 * 1024;

type Handler = dyn Fn(&Message) -> Result<Reply, HandlerError> + Send + Sync;

/// The SMTP protocol of a [`TestSmtpServer`](crate::TestSmtpServer).
pub struct Smtp {
    handler: Box<Handler>,
    options: SmtpOptions,
    config: Arc<Config>,
    pub(crate) transcripts: Transcripts,
    /// How often each stage was reached.
    reached: [AtomicU64; 7],
    sessions: AtomicU64,
}

impl Smtp {
    pub(crate) fn new<H, R>(options: SmtpOptions, handler: H) -> Smtp
    where
        H: Fn(&Message) -> R + Send + Sync + 'static,
        R: Answer,
    {
        Smtp {
            handler: Box::new(move |message| {
                handler(message).into_reply().map_err(HandlerError::Error)
            }),
            config: Arc::new(options.settled()),
            options,
            transcripts: Transcripts::default(),
            reached: Default::default(),
            sessions: AtomicU64::new(0),
        }
    }

    /// The reply that the test has set for this time that `stage` is reached.
    fn set_reply(&self, stage: Stage) -> Option<Reply> {
        if self.options.replies.is_empty() {
            return None;
        }
        let nth = self.reached[stage as usize].fetch_add(1, Ordering::Relaxed) + 1;
        let mut replies = self.options.replies.iter();
        let found = replies.find(|(at, number, _)| *at == stage && *number == nth);
        found.map(|(.., reply)| reply.clone())
    }

    fn check(&self, login: &Login) -> Decision {
        let mut known = self.options.credentials.iter();
        if known.any(|(user, password)| login.user() == user && login.proves(password)) {
            return Decision::Accept;
        }
        match &self.options.on_auth {
            Some(hook) => hook(login),
            None => Decision::Refuse,
        }
    }

    /// A word that no other session has.
    fn unique(&self) -> String {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed();
        let stamp = since_epoch.map_or(0, |time| time.as_nanos());
        format!("{}.{number}.{stamp}", std::process::id())
    }
}

impl Protocol for Smtp {
    const NAME: &'static str = "smtp";
    const TARGET: &'static str = "loopback::smtp";
    const NOUN: &'static str = "a message";
    type Kind = Streams;
    type Options = SmtpOptions;
    type Item = Arc<Message>;

    fn run(run: Run<Smtp>) {
        streams::serve(run);
    }
}

impl Serve for Smtp {
    fn serve(&self, conn: Connection, session: &Session<'_, Smtp>) -> Next {
        let mut visit = Visit {
            machine: Machine::new(Arc::clone(&self.config), self.unique()),
            transcript: self.transcripts.begin(conn.peer().to_string()),
            smtp: self,
            session,
            conn,
            deadline: None,
            largest_read: 0,
        };
        match visit.talk() {
            Ok(ending) => visit.end(ending),
            Err(error) => {
                log::debug!(target: Smtp::TARGET, "{} has gone: {error}", visit.conn.peer());
            }
        }
        Next::Close
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A client's connection while it is served.
struct Visit<'a> {
    smtp: &'a Smtp,
    session: &'a Session<'a, Smtp>,
    machine: Machine,
    conn: Connection,
    transcript: Arc<Transcript>,
    /// Of the command that is awaited.
    deadline: Option<Deadline>,
    largest_read: usize,
}

impl Visit<'_> {
    /// Talks until one side ends it.
    fn talk(&mut self) -> io::Result<Ending> {
        loop {
            let (used, event) = self.machine.advance(self.conn.buffer());
            self.conn.consume(used);
            match event {
                Event::Ask => self.decide(),
                Event::Message(incoming) => self.message(*incoming),
                Event::Flush => self.flush()?,
                Event::More => {
                    self.flush()?;
                    self.fill()?;
                }
                Event::Close(ending) => {
                    self.flush()?;
                    return Ok(ending);
                }
            }
        }
    }

    fn decide(&mut self) {
        let Some(question) = self.machine.question() else {
            return;
        };
        let decision = match self.smtp.set_reply(stage(question)) {
            Some(reply) => Decision::Answer(reply),
            None => match self.session.run(|| self.ask(question)) {
                Ok(decision) => decision,
                Err(error) => {
                    self.session.fail(error);
                    Decision::Answer(handler_failed())
                }
            },
        };
        self.machine.decide(decision);
    }

    fn ask(&self, question: &Question) -> Decision {
        let options = &self.smtp.options;
        match question {
            Question::Connect => ask(&options.on_connect, self.conn.peer()),
            Question::Hello { name, .. } => ask(&options.on_helo, name.as_str()),
            Question::Mail(sender) => ask(&options.on_mail, sender),
            Question::Rcpt(recipient) => ask(&options.on_rcpt, recipient),
            Question::Auth(login) => self.smtp.check(login),
            Question::Data => match (&options.on_data, self.machine.envelope()) {
                (Some(hook), Some((sender, recipients))) => {
                    let (helo, auth_user) = self.machine.client();
                    hook(&Envelope {
                        peer: self.conn.peer(),
                        helo: helo.unwrap_or_default(),
                        auth_user,
                        sender,
                        recipients,
                    })
                }
                _ => Decision::Accept,
            },
        }
    }

    fn message(&mut self, incoming: Incoming) {
        let message = Arc::new(Message::new(self.conn.peer().clone(), incoming));
        let unanswered = self.session.list(Arc::clone(&message));
        let reply = match self.smtp.set_reply(Stage::Message) {
            Some(reply) => reply,
            None => self.handle(&message),
        };
        self.machine.answer(&reply);
        message.set_reply(reply);
        // The client has its reply before a waiting test wakes. One that has gone does not hear it,
        // and the next read finds that out; the message has come all the same.
        if let Err(error) = self.flush() {
            log::debug!(target: Smtp::TARGET, "{} did not read: {error}", self.conn.peer());
        }
        drop(unanswered);
    }

    fn handle(&self, message: &Message) -> Reply {
        let outcome = self.session.run(|| (self.smtp.handler)(message));
        outcome.flatten().unwrap_or_else(|error| {
            self.session.fail(error);
            handler_failed()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        let log = self.machine.log();
        if !log.is_empty() {
            self.transcript.add(log);
            log::trace!(target: Smtp::TARGET, "{}:\n{log}", self.conn.peer());
            log.clear();
        }
        let output = self.machine.output();
        if output.is_empty() {
            return Ok(());
        }
        // The client may take its time for its next command from here.
        self.deadline = None;
        let written = self.conn.write_all(output);
        output.clear();
        written
    }

    /// Reads more; at the end of the stream, and when the client takes too long, ends the session.
    fn fill(&mut self) -> io::Result<()> {
        let timeout = self.conn.read_timeout().unwrap_or(Duration::MAX);
        if self.machine.is_text() {
            // A long message may take long, as long as it goes on (RFC 5321 section 4.5.3.2.5).
            self.deadline = None;
        }
        let awaited = self.machine.awaited();
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Deadline::new(timeout, awaited));
        match self.conn.fill(&deadline) {
            Ok(0) if self.session.stopping() => self.machine.shut_down(),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => self.grow(count),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => self.machine.time_out(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Larger reads for a client that sends much: each read costs the same whatever it brings.
    fn grow(&mut self, count: usize) {
        if count >= self.largest_read.max(8 * 1024) && self.largest_read < LARGEST_READ {
            self.largest_read = LARGEST_READ;
            self.conn.reserve(LARGEST_READ);
        }
    }

    fn end(mut self, ending: Ending) {
        let outcome = match ending {
            Ending::Reset => self.conn.reset(),
            Ending::Close => self.linger(),
        };
        if let Err(error) = outcome {
            log::debug!(target: Smtp::TARGET, "a connection ended early: {error}");
        }
    }

    fn linger(&mut self) -> io::Result<()> {
        self.conn.shutdown_write()?;
        let deadline = Deadline::new(LINGER, "the client to close");
        let mut lingered = 0;
        while lingered < MAX_LINGERED && !self.session.stopping() {
            let ahead = self.conn.buffer().len();
            self.conn.consume(ahead);
            match self.conn.fill(&deadline)? {
                0 => break,
                count => lingered += count,
            }
        }
        Ok(())
    }
}

fn stage(question: &Question) -> Stage {
    match question {
        Question::Connect => Stage::Connect,
        Question::Hello { .. } => Stage::Helo,
        Question::Mail(_) => Stage::Mail,
        Question::Rcpt(_) => Stage::Rcpt,
        Question::Auth(_) => Stage::Auth,
        Question::Data => Stage::Data,
    }
}

fn ask<T: ?Sized>(hook: &Option<Arc<dyn Fn(&T) -> Decision + Send + Sync>>, about: &T) -> Decision {
    hook.as_ref().map_or(Decision::Accept, |hook| hook(about))
}

fn handler_failed() -> Reply {
    Reply::new(451, "the test's handler failed").enhanced(3, 0)
}
