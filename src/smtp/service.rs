//! One connection: what comes goes into the protocol's state machine, its replies go out.

use std::collections::HashMap;
use std::fmt;
use std::io::{self, BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::folder::Folder;
use super::message::Message;
use super::options::{Envelope, SmtpOptions, Stage};
use super::reply::{IntoReply, taken};
use super::transcript::{Transcript, Transcripts};
use crate::connection::Connection;
use crate::connection::discarding::Discarding;
use crate::deadline::Deadline;
use crate::proto::smtp::{
    Config, Decision, Ending, Event, Incoming, Login, Question, Reply, Session as Machine,
};
use crate::server::failure::HandlerError;
use crate::server::host::Run;
use crate::server::protocol::{Lifecycle, Next, Serve, Session, Turn};
use crate::server::streams;
use crate::server::wake::Streams;

/// A client that was hung up on is listened to for no longer, so that it can read the last reply.
const LINGER: Discarding = Discarding {
    silence: Duration::from_secs(1),
    time: Duration::from_secs(5),
    bytes: 1024 * 1024,
};
/// Reads grow up to this for clients that fill them.
const LARGEST_READ: usize = 128 * 1024;
/// How long a write waits before it looks whether the server stops, and how many such waits in a row a
/// client that does not read gets after that.
const WRITE_SLICE: Duration = Duration::from_millis(50);
const MOST_VAIN_WRITES: u32 = 5;
/// A read as large as this fills the buffer that a connection has at first.
const FULL_READ: usize = 8 * 1024;

/// Where the reply to a message comes from.
enum Handler {
    /// It is always this one. No code of the test's runs, so the poll loop's thread can give it.
    Fixed(Reply),
    /// The test's code.
    Run(Box<Closure>),
}

type Closure = dyn Fn(&Message) -> Result<Reply, HandlerError> + Send + Sync;

/// The SMTP protocol of a [`TestSmtpServer`](crate::TestSmtpServer).
pub struct Smtp {
    handler: Handler,
    options: SmtpOptions,
    config: Arc<Config>,
    pub(crate) transcripts: Transcripts,
    /// Where messages are saved too.
    folder: Option<Folder>,
    /// How often each stage was reached.
    reached: Mutex<HashMap<Stage, u64>>,
    /// Connections so far, and a word that no other server has.
    sessions: AtomicU64,
    unique: String,
}

impl Smtp {
    pub(crate) fn new<H, R>(options: SmtpOptions, handler: H) -> Smtp
    where
        H: Fn(&Message) -> R + Send + Sync + 'static,
        R: IntoReply,
    {
        let handler =
            move |message: &Message| handler(message).into_reply().map_err(HandlerError::Error);
        Smtp {
            handler: Handler::Run(Box::new(handler)),
            ..Smtp::fixed(options, taken())
        }
    }

    /// Gives every message this reply.
    pub(crate) fn fixed(options: SmtpOptions, reply: Reply) -> Smtp {
        Smtp {
            handler: Handler::Fixed(reply),
            config: Arc::new(options.settled()),
            folder: options.folder.clone().map(Folder::new),
            options,
            transcripts: Transcripts::default(),
            reached: Mutex::default(),
            sessions: AtomicU64::new(0),
            unique: unique(),
        }
    }

    /// What is kept of the connection's talk, which begins if there is nothing.
    fn talk(&self, conn: &mut Connection) -> Box<Talk> {
        conn.take_kept().unwrap_or_else(|| {
            Box::new(Talk {
                machine: Machine::new(Arc::clone(&self.config), self.next_session()),
                transcript: self.transcripts.begin(conn.peer().to_string()),
                arrived: None,
                deadline: None,
                largest_read: 0,
            })
        })
    }

    /// The reply that the test has set for this time that `stage` is reached.
    fn set_reply(&self, stage: Stage) -> Option<Reply> {
        if self.options.replies.is_empty() {
            return None;
        }
        let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        let nth = reached.entry(stage).or_default();
        *nth += 1;
        let mut replies = self.options.replies.iter();
        let found = replies.find(|(at, number, _)| *at == stage && number == nth);
        found.map(|(.., reply)| reply.clone())
    }

    fn check(&self, login: &Login) -> Decision {
        if self.config.users.accept(login) {
            return Decision::Accept;
        }
        match &self.options.on_auth {
            Some(hook) => hook(login),
            None => Decision::Refuse,
        }
    }

    /// A word that no other session has.
    fn next_session(&self) -> String {
        let number = self.sessions.fetch_add(1, Ordering::Relaxed);
        format!("{}.{number}", self.unique)
    }
}

impl Lifecycle for Smtp {
    const NAME: &'static str = "smtp";
    const TARGET: &'static str = "loopback::smtp";
    const NOUN: &'static str = "a message";
    type Kind = Streams;
    type Options = SmtpOptions;
    type Item = Arc<Message>;

    fn size_of(message: &Arc<Message>) -> usize {
        message.weight()
    }

    fn describe(message: &Arc<Message>) -> String {
        format!("<{}> to <{}>", message.from(), message.to().join("> <"))
    }

    fn run(run: Run<Smtp>) {
        streams::serve(run);
    }
}

impl Serve for Smtp {
    fn serve(&self, mut conn: Connection, session: &Session<'_, Smtp>) -> Next {
        let mut talk = self.talk(&mut conn);
        let mut visit = Visit {
            smtp: self,
            session,
            conn: &mut conn,
            talk: &mut talk,
            waits: true,
            is_clogged: false,
        };
        let outcome = match visit.talk() {
            Ok(Ending::Reset) => conn.reset(),
            Ok(Ending::Quit | Ending::Close) => {
                conn.close_in_order(LINGER);
                Ok(())
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            talk.gone(&error, session);
        }
        Next::Close
    }

    /// Clients are served on the poll loop's thread until code of the test's has to run, or a client
    /// sends in bulk, which a thread of its own is good for.
    fn takes_turns(&self) -> bool {
        true
    }

    fn turn(&self, conn: &mut Connection, drain: bool, session: &Session<'_, Smtp>) -> Turn {
        let mut talk = self.talk(conn);
        let mut visit = Visit {
            smtp: self,
            session,
            conn,
            talk: &mut talk,
            waits: false,
            is_clogged: false,
        };
        let turn = visit.turn(drain).unwrap_or_else(|error| {
            talk.gone(&error, session);
            Turn::Close
        });
        conn.keep(talk);
        turn
    }

    fn is_overdue(&self, conn: &Connection) -> bool {
        let talk = conn.kept::<Talk>();
        talk.is_some_and(Talk::is_overdue)
    }
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What is kept of a connection between its turns.
struct Talk {
    machine: Machine,
    transcript: Arc<Transcript>,
    /// A message for the handler, which may not run on the poll loop's thread.
    arrived: Option<Box<Incoming>>,
    /// Of what is awaited.
    deadline: Option<Deadline>,
    largest_read: usize,
}

impl Talk {
    /// Ends the transcript of a client that went without QUIT.
    fn gone(&mut self, error: &io::Error, session: &Session<'_, Smtp>) {
        log::debug!(target: Smtp::TARGET, "{} has gone: {error}", session.live.peer);
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.machine.gone(&"closed the connection"),
            _ => self.machine.gone(error),
        }
        self.transcript.add(self.machine.log());
        self.machine.log().clear();
    }

    fn is_overdue(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline.expired())
    }
}

/// A client's connection while it is served.
struct Visit<'a> {
    smtp: &'a Smtp,
    session: &'a Session<'a, Smtp>,
    conn: &'a mut Connection,
    talk: &'a mut Talk,
    /// Whether its socket blocks.
    waits: bool,
    /// The client does not read, and the socket, which does not block, takes no more.
    is_clogged: bool,
}

/// So many writes a client may cost in one turn: with more, as for a burst of NOOPs, a worker serves
/// it, so that the others need not wait. A drained one may cost as many reads.
const MOST_FLUSHES: u32 = 32;

impl Visit<'_> {
    /// Talks until one side ends it.
    fn talk(&mut self) -> io::Result<Ending> {
        let limit = self.write_slice();
        self.conn.set_write_timeout(Some(limit))?;
        if let Some(incoming) = self.talk.arrived.take() {
            self.message(*incoming);
        }
        loop {
            match self.advance() {
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

    /// How long a single write waits, so that a stop is noticed.
    fn write_slice(&self) -> Duration {
        let limit = self.session.host.options.limits.write_timeout;
        limit.map_or(WRITE_SLICE, |limit| limit.min(WRITE_SLICE))
    }

    /// Talks for as long as nothing has to be waited for.
    fn turn(&mut self, drain: bool) -> io::Result<Turn> {
        // A new client has sent nothing yet, and would not before the greeting.
        let mut all_read = self.talk.machine.is_new() && !drain;
        let mut flushes = 0;
        while !self.is_clogged && flushes < MOST_FLUSHES {
            match self.advance() {
                Event::Ask if self.asks_the_test() => return Ok(Turn::Work),
                Event::Ask => self.decide(),
                Event::Message(incoming) if self.asks_the_test_about_messages() => {
                    self.talk.arrived = Some(incoming);
                    return Ok(Turn::Work);
                }
                Event::Message(incoming) => self.message(*incoming),
                Event::Flush => {
                    self.flush()?;
                    flushes += 1;
                }
                Event::More => {
                    self.flush()?;
                    flushes += 1;
                    if self.is_clogged {
                        break;
                    }
                    if all_read || !self.read_now()? {
                        self.acknowledge();
                        self.start_waiting();
                        return Ok(Turn::Wait);
                    }
                    if self.conn.is_full() {
                        break;
                    }
                    all_read = !drain;
                }
                Event::Close(ending) => {
                    self.flush()?;
                    // A client that may still be sending has to be listened to for a while, so that
                    // it can read the last reply.
                    let quit = ending == Ending::Quit && self.conn.buffer().is_empty();
                    let over = quit || self.session.stopping() && ending != Ending::Reset;
                    return Ok(if over && !self.is_clogged {
                        Turn::Close
                    } else {
                        Turn::Work
                    });
                }
            }
        }
        Ok(Turn::Work)
    }

    fn advance(&mut self) -> Event {
        let (used, event) = self.talk.machine.advance(self.conn.buffer());
        self.conn.consume(used);
        event
    }

    /// Whether the question is one for a hook, which may block.
    fn asks_the_test(&self) -> bool {
        let options = &self.smtp.options;
        match self.talk.machine.question() {
            Some(Question::Connect) => options.on_connect.is_some(),
            Some(Question::Hello { .. }) => options.on_helo.is_some(),
            Some(Question::Mail(_)) => options.on_mail.is_some(),
            Some(Question::Rcpt(_)) => options.on_rcpt.is_some(),
            Some(Question::Auth(_)) => options.on_auth.is_some(),
            Some(Question::Data) => options.on_data.is_some(),
            None => false,
        }
    }

    fn asks_the_test_about_messages(&self) -> bool {
        let may_block = self.smtp.options.on_delivery.is_some() || self.smtp.folder.is_some();
        may_block || matches!(self.smtp.handler, Handler::Run(_))
    }

    fn decide(&mut self) {
        let Some(question) = self.talk.machine.question() else {
            return;
        };
        let decision = match self.smtp.set_reply(stage(question)) {
            Some(reply) => Decision::Answer(reply),
            None => self.asked(|| self.ask(question)),
        };
        self.talk.machine.decide(decision);
    }

    fn ask(&self, question: &Question) -> Decision {
        let options = &self.smtp.options;
        match question {
            Question::Connect => ask(options.on_connect.as_deref(), self.conn.peer()),
            Question::Hello { name, .. } => ask(options.on_helo.as_deref(), name.as_str()),
            Question::Mail(sender) => ask(options.on_mail.as_deref(), sender),
            Question::Rcpt(recipient) => ask(options.on_rcpt.as_deref(), recipient),
            Question::Auth(login) => self.smtp.check(login),
            Question::Data => match (&options.on_data, self.talk.machine.envelope()) {
                (Some(hook), Some((sender, recipients))) => {
                    let (helo, auth_user) = self.talk.machine.client();
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
        if let Some(folder) = &self.smtp.folder {
            match folder.save(message.raw()) {
                Ok(path) => message.set_file(path),
                Err(error) => self.session.fail(HandlerError::Error(error.into())),
            }
        }
        let unanswered = self.session.list(Arc::clone(&message));
        let reply = match self.smtp.set_reply(Stage::Message) {
            Some(reply) => reply,
            None => self.handle(&message),
        };
        let deliveries = self.deliveries(&message, &reply);
        match &deliveries[..] {
            [] => self.talk.machine.answer(&reply),
            each => each
                .iter()
                .for_each(|reply| self.talk.machine.answer(reply)),
        }
        message.set_replies(reply, deliveries);
        // The client has its reply before a waiting test wakes. One that has gone does not hear it,
        // and the next read finds that out; the message has come all the same.
        if let Err(error) = self.flush() {
            log::debug!(target: Smtp::TARGET, "{} did not read: {error}", self.conn.peer());
        }
        drop(unanswered);
    }

    /// The reply for each recipient, in LMTP, up to one that ends the connection.
    fn deliveries(&self, message: &Message, reply: &Reply) -> Vec<Reply> {
        let mut replies = Vec::new();
        if !self.smtp.config.lmtp || reply.ending().is_some() {
            return replies;
        }
        for recipient in message.recipients() {
            let decision = match (
                self.smtp.set_reply(Stage::Delivery),
                &self.smtp.options.on_delivery,
            ) {
                (Some(reply), _) => Decision::Answer(reply),
                (None, Some(hook)) => self.asked(|| hook(message, recipient)),
                (None, None) => Decision::Accept,
            };
            let reply = match decision {
                Decision::Accept => reply.clone(),
                Decision::Refuse => Reply::new(550, "not delivered").enhanced(2, 0),
                Decision::Answer(reply) => reply,
            };
            let ends = reply.ending().is_some();
            replies.push(reply);
            if ends {
                break;
            }
        }
        replies
    }

    /// What a hook decides; one that panics is kept as a failure.
    fn asked(&self, hook: impl FnOnce() -> Decision) -> Decision {
        self.session.run(hook).unwrap_or_else(|error| {
            self.session.fail(error);
            Decision::Answer(handler_failed())
        })
    }

    fn handle(&self, message: &Arc<Message>) -> Reply {
        let handler = match &self.smtp.handler {
            Handler::Fixed(reply) => return reply.clone(),
            Handler::Run(handler) => handler,
        };
        let outcome = self.session.run(|| handler(message));
        outcome.and_then(|outcome| outcome).unwrap_or_else(|error| {
            self.session.fail_with(message, error);
            handler_failed()
        })
    }

    /// Writes the replies that have gathered: all of them, or on a socket that does not block as many
    /// as it takes.
    fn flush(&mut self) -> io::Result<()> {
        let log = self.talk.machine.log();
        if !log.is_empty() {
            self.talk.transcript.add(log);
            log::trace!(target: Smtp::TARGET, "{}:\n{log}", self.conn.peer());
            log.clear();
        }
        let output = self.talk.machine.output();
        if output.is_empty() {
            return Ok(());
        }
        // The client may take its time for its next command from here.
        self.talk.deadline = None;
        if self.waits {
            return self.write_all();
        }
        while !output.is_empty() {
            match self.conn.write(output) {
                Ok(count) => drop(output.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    self.is_clogged = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes all that has gathered, within the write timeout as a whole. Once the server stops, a client
    /// that reads none of it is not waited for any longer: it may never.
    fn write_all(&mut self) -> io::Result<()> {
        let limit = self.session.host.options.limits.write_timeout;
        let deadline = Deadline::new(limit.unwrap_or(Duration::MAX), "the client to read");
        let mut output = std::mem::take(self.talk.machine.output());
        let (mut sent, mut vain) = (0, 0);
        while sent < output.len() {
            match self.conn.write(&output[sent..]) {
                Ok(count) => {
                    sent += count;
                    vain = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    vain += u32::from(self.session.stopping());
                    if vain >= MOST_VAIN_WRITES || deadline.expired() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        output.clear();
        *self.talk.machine.output() = output;
        Ok(())
    }

    /// Has the system acknowledge at once what has come of something longer. It would wait with that for
    /// our answer, which cannot come yet, while the client's system waits for the acknowledgement before it
    /// sends the rest (RFC 1122 section 4.2.3.2 meets RFC 896).
    fn acknowledge(&self) {
        if self.talk.machine.is_midway() {
            self.conn.stream().acknowledge();
        }
    }

    /// Reads more; at the end of the stream, and when the client takes too long, ends the session.
    fn fill(&mut self) -> io::Result<()> {
        self.acknowledge();
        let deadline = self.start_waiting();
        match self.conn.fill(&deadline) {
            Ok(0) => return self.ended(),
            Ok(count) => {
                self.received();
                self.grow(count);
            }
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                self.talk.machine.time_out();
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Reads what has come, or ends a session that has waited for too long; whether it goes on.
    fn read_now(&mut self) -> io::Result<bool> {
        match self.conn.fill_now()? {
            Some(0) => self.ended()?,
            Some(_) => self.received(),
            None if self.session.stopping() => self.talk.machine.shut_down(),
            None if self.talk.is_overdue() => self.talk.machine.time_out(),
            None => return Ok(false),
        }
        Ok(true)
    }

    /// A long message may take long, as long as it goes on (RFC 5321 section 4.5.3.2.5).
    fn received(&mut self) {
        if self.talk.machine.is_text() {
            self.talk.deadline = None;
        }
    }

    fn start_waiting(&mut self) -> Deadline {
        let timeout = self.conn.read_timeout().unwrap_or(Duration::MAX);
        let awaited = self.talk.machine.awaited();
        let deadline = &mut self.talk.deadline;
        *deadline.get_or_insert_with(|| Deadline::new(timeout, awaited))
    }

    /// What the end of the stream means: that the server stops, or that the client has gone.
    fn ended(&mut self) -> io::Result<()> {
        if !self.session.stopping() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.talk.machine.shut_down();
        Ok(())
    }

    /// Larger reads for a client that sends much: each read costs the same whatever it brings.
    fn grow(&mut self, count: usize) {
        if count >= FULL_READ && self.talk.largest_read < LARGEST_READ {
            self.talk.largest_read = LARGEST_READ;
            self.conn.reserve(LARGEST_READ);
        }
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

type Hook<T> = dyn Fn(&T) -> Decision + Send + Sync;

fn ask<T: ?Sized>(hook: Option<&Hook<T>>, about: &T) -> Decision {
    hook.map_or(Decision::Accept, |hook| hook(about))
}

fn unique() -> String {
    static SERVERS: AtomicU64 = AtomicU64::new(0);
    let number = SERVERS.fetch_add(1, Ordering::Relaxed);
    let since_epoch = SystemTime::UNIX_EPOCH.elapsed();
    let stamp = since_epoch.map_or(0, |time| time.as_nanos());
    format!("{}.{stamp}.{number}", std::process::id())
}

fn handler_failed() -> Reply {
    Reply::new(451, "the test's handler failed").enhanced(3, 0)
}
