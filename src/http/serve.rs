//! One connection of an HTTP server: requests in, responses out, in order.

use std::io::{self, BufRead, Write};
use std::time::Duration;

use super::request::{Place, Request};
use super::response::{BoxError, Response};
use super::send::{Cut, send};
use super::{Answer, Http};
use crate::connection::discarding::Discarding;
use crate::connection::{Connection, Idle};
use crate::deadline::{Deadline, bytes_of};
use crate::net::live::Activity;
use crate::proto::http1::{
    Body, BodyDecoder, Exchange, Framing, HeadParser, Parsed, Rejection, RequestHead, Version,
};
use crate::proto::http2;
use crate::server::failure::HandlerError;
use crate::server::protocol::{Lifecycle, Next, Session, Turn};
use crate::server::record::Unanswered;
use crate::server::streams::FIRST_PARKED;

/// A worker waits so long for the next request before it leaves the connection to the poll loop: long enough for a
/// client that asks again at once, short enough that idle connections have no threads.
const LINGER: Duration = Duration::from_millis(25);

/// Serves requests until the connection ends or is idle.
pub(super) fn serve(http: &Http, mut conn: Connection, session: &Session<'_, Http>) -> Next {
    let mut served = Served::new(http, &mut conn, session);
    loop {
        match served.conn.wait_idle(LINGER) {
            Ok(Idle::Ready) => {}
            Ok(Idle::Quiet) => return Next::Park(conn),
            Ok(Idle::Ended) | Err(_) => return Next::Close,
        }
        match served.exchange() {
            Flow::Keep => {}
            Flow::Close => {
                conn.close_in_order(Discarding::USUAL);
                return Next::Close;
            }
            Flow::Drop => return Next::Close,
            Flow::Reset => {
                // It fails when the client has gone already, and then there is nothing to reset.
                let _ = conn.reset();
                return Next::Close;
            }
            Flow::HandOver(answer) => {
                hand_over(conn, session, &answer);
                return Next::Close;
            }
        }
    }
}

/// Serves a connection's first request on the poll loop's thread, where the answer is known and goes out in one write:
/// a client that asks once costs no worker. One that asks again may have much to ask, and gets one.
pub(super) fn turn(
    http: &Http,
    conn: &mut Connection,
    drain: bool,
    session: &Session<'_, Http>,
) -> Turn {
    loop {
        match conn.fill_now() {
            Ok(None) => return Turn::Park,
            Ok(Some(0)) | Err(_) => return Turn::Close,
            Ok(Some(_)) => {}
        }
        if conn.exchanges > 0 {
            return Turn::Work;
        }
        let parsed = HeadParser::default().parse(conn.buffer(), &http.options.limits);
        let Parsed::Head(head, length) = parsed else {
            // A worker reads it again: what is incomplete may take its time.
            return Turn::Work;
        };
        if !is_simple(&head) {
            return Turn::Work;
        }
        conn.consume(length);
        let mut served = Served::new(http, conn, session);
        served.is_turn = true;
        let place = served.place();
        match served.respond(head, None, place) {
            Flow::Keep if !conn.buffer().is_empty() => return Turn::Work,
            Flow::Keep if drain => {}
            Flow::Keep => return Turn::Park,
            // Only writing can have failed.
            _ => return Turn::Close,
        }
    }
}

/// Whether a request has no body, and its answer leaves the connection open.
fn is_simple(head: &RequestHead) -> bool {
    head.framing() == Framing::Length(0)
        && head.keep_alive()
        && head.version > Version::Http10
        && head.method() != "CONNECT"
}

struct Served<'a> {
    http: &'a Http,
    session: &'a Session<'a, Http>,
    conn: &'a mut Connection,
    /// Scratch for what is sent.
    out: Vec<u8>,
    /// When the request that is being read has to be there.
    deadline: Option<Deadline>,
    /// Whether this is the poll loop's thread, where nothing may be waited for.
    is_turn: bool,
}

/// What becomes of the connection after a request.
enum Flow {
    Keep,
    Close,
    Drop,
    Reset,
    HandOver(Answer),
}

/// How to answer a request that cannot be read on, if at all, and why.
type Failed = (Option<u16>, String);

/// A request that was not read to its end.
struct Halt {
    head: RequestHead,
    body: Option<Box<Body>>,
    /// The status to answer with, while the client can still be told.
    status: Option<u16>,
    why: String,
}

impl<'a> Served<'a> {
    fn new(http: &'a Http, conn: &'a mut Connection, session: &'a Session<'a, Http>) -> Served<'a> {
        Served {
            http,
            session,
            conn,
            out: Vec::new(),
            deadline: None,
            is_turn: false,
        }
    }

    /// Where the next request stands among those of the server.
    fn place(&mut self) -> Place {
        let place = Place {
            connection: self.session.live.id - FIRST_PARKED as u64,
            exchange: self.conn.exchanges,
        };
        self.conn.exchanges += 1;
        place
    }

    /// Reads one request and answers it.
    fn exchange(&mut self) -> Flow {
        let place = self.place();
        self.deadline = None;
        let head = match self.read_head() {
            Ok(Some(head)) => head,
            Ok(None) => return Flow::Drop,
            Err(halt) => return self.halt(*halt, place),
        };
        if let Some(hook) = &self.http.options.before_body {
            let mut exchange = self.exchange_of(&head);
            let request = self.request(head.clone(), None, None, place);
            let early = self.session.run(|| hook(request.clone()));
            let early = early.and_then(|early| early.map_err(HandlerError::Error));
            if let Some(answer) = early.transpose() {
                // The new protocol begins behind the whole request (RFC 9110, section 7.8).
                if head.framing() != Framing::Length(0) && is_takeover(&answer) {
                    return match self.read_body(head) {
                        Ok((head, body)) => {
                            let request = self.request(head, Some(body), None, place);
                            let listed = self.session.list(request.clone());
                            self.answer(exchange, answer, &request, listed)
                        }
                        Err(halt) => self.halt(*halt, place),
                    };
                }
                // The body is not read, so where the next request begins is not known.
                exchange.keep_alive &= head.framing() == Framing::Length(0);
                let listed = self.session.list(request.clone());
                return self.answer(exchange, answer, &request, listed);
            }
        }
        if head.framing() == Framing::Length(0) {
            return self.respond(head, None, place);
        }
        match self.read_body(head) {
            Ok((head, body)) => self.respond(head, Some(body), place),
            Err(halt) => self.halt(*halt, place),
        }
    }

    /// Answers a request that was read to its end.
    fn respond(&mut self, head: RequestHead, body: Option<Box<Body>>, place: Place) -> Flow {
        let exchange = self.exchange_of(&head);
        let request = self.request(head, body, None, place);
        let listed = self.session.list(request.clone());
        let handler = &self.http.handler;
        let outcome = self.session.run(|| handler(request.clone()));
        let answer = outcome.and_then(|answer| answer.map_err(HandlerError::Error));
        self.answer(exchange, answer, &request, listed)
    }

    /// Reads a head. `None` when the connection ends where no request has begun.
    fn read_head(&mut self) -> Result<Option<RequestHead>, Box<Halt>> {
        let mut parser = HeadParser::default();
        loop {
            match parser.parse(self.conn.buffer(), &self.http.options.limits) {
                Parsed::Partial => {}
                Parsed::Head(head, length) => {
                    self.conn.consume(length);
                    return Ok(Some(head));
                }
                Parsed::Rejected(head, rejection) => return Err(Halt::rejected(*head, rejection)),
            }
            if let Err((status, why)) = self.read_more() {
                let begun = parser.begun(self.conn.buffer());
                if begun.is_empty() {
                    return Ok(None);
                }
                return Err(Box::new(Halt {
                    head: RequestHead::of_line(begun),
                    body: None,
                    status,
                    why: format!(
                        "{why} in the request's head, after {}",
                        bytes_of(begun.len())
                    ),
                }));
            }
        }
    }

    /// Reads the body.
    fn read_body(&mut self, head: RequestHead) -> Result<(RequestHead, Box<Body>), Box<Halt>> {
        let options = &self.http.options;
        let mut decoder = BodyDecoder::new(head.framing(), &options.limits, options.keep_body);
        let outcome = self.decode_body(head.expects_continue(), &mut decoder);
        let body = Box::new(decoder.into_body());
        match outcome {
            Ok(()) => Ok((head, body)),
            Err((status, why)) => Err(Box::new(Halt {
                head,
                body: Some(body),
                status,
                why,
            })),
        }
    }

    /// Reads what `decoder` asks for, and tells a client that waits for it to go on.
    fn decode_body(
        &mut self,
        expects_continue: bool,
        decoder: &mut BodyDecoder,
    ) -> Result<(), Failed> {
        if expects_continue && !decoder.is_done() && self.conn.buffer().is_empty() {
            let told = self.conn.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            told.map_err(|error| (None, format!("sending 100 failed: {error}")))?;
        }
        loop {
            let taken = decoder.decode(self.conn.buffer());
            self.conn.consume(
                taken.map_err(|rejection| (Some(rejection.status), rejection.reason.into()))?,
            );
            if decoder.is_done() {
                return Ok(());
            }
            self.read_more().map_err(|(status, why)| {
                let progress = decoder.progress();
                (
                    status,
                    format!("{why} in the request's body, after {progress}"),
                )
            })?;
        }
    }

    /// Reads more of a request that has begun. On failure, says how to answer, if at all, and why.
    fn read_more(&mut self) -> Result<(), Failed> {
        let timeout = self.http.request_timeout(self.session.host);
        let deadline = *self
            .deadline
            .get_or_insert_with(|| Deadline::new(timeout, "the rest of the request"));
        match self.conn.fill(&deadline) {
            Ok(0) if self.session.stopping() => Err((None, "the server stopped".into())),
            Ok(0) => Err((Some(400), "the client closed its side".into())),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let why = format!(
                    "the request did not end within {timeout:?} (builder().request_timeout); the time ran out"
                );
                Err((Some(408), why))
            }
            Err(error) => Err((None, error.to_string())),
        }
    }

    /// Answers a request that was not read to its end, and records it.
    fn halt(&mut self, halt: Halt, place: Place) -> Flow {
        let mut exchange = self.exchange_of(&halt.head);
        exchange.keep_alive = false;
        let answer = halt.status.map(|status| match is_http2(&halt.head) {
            true => Response::raw(http2::refusal(&halt.why)).status(status),
            false => Response::text(format!("{}\n", halt.why)).status(status),
        });
        log::debug!(target: Http::TARGET, "{}: refused a request: {}", self.conn.peer(), halt.why);
        let request = self.request(halt.head, halt.body, Some(halt.why), place);
        match answer {
            Some(answer) => {
                let listed = self.session.list_refused(request.clone());
                self.answer(exchange, Ok(answer.into()), &request, listed)
            }
            None => {
                drop(self.session.list_refused(request));
                Flow::Drop
            }
        }
    }

    /// Sends the answer. The request can be taken from the record when that is done.
    fn answer(
        &mut self,
        mut exchange: Exchange,
        answer: Result<Answer, HandlerError>,
        request: &Request,
        listed: Unanswered<'_, Request>,
    ) -> Flow {
        let answer = answer.unwrap_or_else(|error| {
            exchange.keep_alive = false;
            let text = match &error {
                HandlerError::Panic(message) => format!("the handler panicked: {message}\n"),
                HandlerError::Error(error) => format!("the handler failed: {error}\n"),
            };
            self.session.fail_with(request, error);
            Response::text(text).status(500).into()
        });
        // Only now, for the stop may have come while the handler ran. Closing in an orderly way would have to wait for
        // the client, so a turn leaves it to the end of the server.
        exchange.keep_alive &= self.is_turn || !self.session.stopping();
        let response = answer.response();
        self.conn.set_activity(Activity::Answering);
        let sent = send(
            self.conn,
            &mut self.out,
            exchange,
            response,
            self.http.options.pace(),
            self.http.options.date(),
        );
        log::debug!(
            target: Http::TARGET,
            "{}: {} {} {}", self.conn.peer(), request.method(), request.target(), response.status
        );
        let flow = match sent {
            Ok(_) if response.rare().takeover.is_some() => Flow::HandOver(answer),
            Ok(true) => Flow::Keep,
            Ok(false) | Err(Cut::Close) => Flow::Close,
            Err(Cut::Reset) => Flow::Reset,
            Err(Cut::Lost(error)) => {
                log::debug!(target: Http::TARGET, "{}: the answer was cut: {error}", self.conn.peer());
                Flow::Drop
            }
            Err(Cut::NoBody(error)) => {
                self.session.fail_with(request, error);
                Flow::Drop
            }
        };
        drop(listed);
        flow
    }

    fn exchange_of(&self, head: &RequestHead) -> Exchange {
        let more = self
            .http
            .options
            .max_requests
            .is_none_or(|max| self.conn.exchanges < max);
        Exchange {
            version: head.version,
            head: head.method() == "HEAD",
            connect: head.method() == "CONNECT",
            keep_alive: head.keep_alive() && more,
        }
    }

    fn request(
        &self,
        head: RequestHead,
        body: Option<Box<Body>>,
        error: Option<String>,
        place: Place,
    ) -> Request {
        Request::new(head, body, error, self.conn.peer().clone(), place)
    }
}

/// Whether the connection is to be handed over.
fn is_takeover(answer: &Result<Answer, HandlerError>) -> bool {
    let response = answer.as_ref().map(Answer::response);
    response.is_ok_and(|response| response.rare().takeover.is_some())
}

/// Leaves the connection to the response's own handler.
fn hand_over(conn: Connection, session: &Session<'_, Http>, answer: &Answer) {
    let Some(takeover) = &answer.response().rare().takeover else {
        return;
    };
    let outcome = session.run(|| takeover(conn));
    if let Err(error) = outcome.and_then(|outcome| outcome.map_err(HandlerError::Error)) {
        session.fail(error);
    }
}

impl Halt {
    fn rejected(head: RequestHead, rejection: Rejection) -> Box<Halt> {
        Box::new(Halt {
            head,
            body: None,
            status: Some(rejection.status),
            why: rejection.reason.into_owned(),
        })
    }
}

/// Whether a request is the beginning of HTTP/2's connection preface (RFC 9113, section 3.4).
fn is_http2(head: &RequestHead) -> bool {
    head.text().starts_with("PRI * HTTP/2.0")
}

/// What the handler of a server makes of a request.
pub(super) type Outcome = Result<Answer, BoxError>;
