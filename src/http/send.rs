//! Sends a response, with the faults and the pace that it asks for.

use std::io::{self, Read, Write};
use std::sync::Mutex;

use super::response::{Content, Reader, Response, take_reader};
use crate::connection::Connection;
use crate::fault::{Pace, Schedule, Step};
use crate::net::live::Activity;
use crate::proto::http1::{
    BodyFraming, Exchange, HttpDate, Plan, ReplyHead, Version, encode_chunk, encode_last_chunk,
};

/// A body up to this size goes out with its head in one buffer; copying it is cheaper than a second one.
const SMALL_BODY: usize = 16 * 1024;
/// So much of a chunked body is gathered for one write.
const GATHERED: usize = 64 * 1024;

/// Why a response did not go out to its end.
#[derive(Debug)]
pub(super) enum Cut {
    /// A fault closes the connection.
    Close,
    /// A fault resets the connection.
    Reset,
    /// The client has gone or does not read, or the server stops.
    Lost(io::Error),
    /// The body could not be had: the handler's failure.
    NoBody(io::Error),
}

/// Sends `response` and says whether the connection may be kept. `out` is scratch, `date` is sent unless the response
/// has its own.
pub(super) fn send(
    conn: &mut Connection,
    out: &mut Vec<u8>,
    exchange: Exchange,
    response: &Response,
    default_pace: Option<Pace>,
    date: Option<HttpDate>,
) -> Result<bool, Cut> {
    // The answer to a request that is handed over is framed like that to CONNECT: not at all.
    let connect = exchange.connect || response.rare().takeover.is_some();
    let exchange = Exchange {
        connect,
        // RFC 9931: behind a CONNECT that is refused may stand what the client meant for the tunnel, and none of it is
        // a request.
        keep_alive: exchange.keep_alive && !exchange.connect,
        ..exchange
    };
    if !response.rare().delay.is_zero() {
        conn.pause(response.rare().delay).map_err(Cut::Lost)?;
    }
    let size = response.content.size();
    let plan = Plan::new(
        exchange,
        response.status,
        size,
        response.chunked,
        &response.headers,
    );
    out.clear();
    if let Content::Raw(_) = response.content {
        let mut outgoing = Outgoing::new(conn, response, default_pace, 0);
        send_body(&mut outgoing, out, plan, response)?;
        return outgoing.finish().map(|()| false);
    }
    if exchange.version > Version::Http10 {
        for (status, headers) in &response.rare().interims {
            let plan = Plan::new(exchange, *status, Some(0), false, headers);
            ReplyHead::plain(*status, headers).encode(out, exchange, plan);
        }
    }
    let rare = response.rare();
    let head = ReplyHead {
        reason: rare.reason.as_deref(),
        content_type: response.content_type,
        // It is an origin's to date (RFC 9110, section 6.6.1): not an interim answer, nor that of a tunnel.
        date: date.filter(|_| !is_tunnel(connect, response.status)),
        trailers: &rare.trailers,
        connection_as_given: rare.connection_as_given,
        ..ReplyHead::plain(response.status, &response.headers)
    };
    head.encode(out, exchange, plan);
    let mut outgoing = Outgoing::new(conn, response, default_pace, out.len());
    send_body(&mut outgoing, out, plan, response)?;
    outgoing.finish()?;
    // An answer that only CONNECT and Upgrade may get leaves nothing to keep, unless it is handed over.
    Ok(plan.keep_alive && !is_tunnel(connect, response.status))
}

/// Whether no more of HTTP follows an answer of this status on its connection.
fn is_tunnel(connect: bool, status: u16) -> bool {
    connect && (200..=299).contains(&status) || status == 101
}

/// Sends what is in `out` and the body after it.
fn send_body(
    outgoing: &mut Outgoing<'_>,
    out: &mut Vec<u8>,
    plan: Plan,
    response: &Response,
) -> Result<(), Cut> {
    match &response.content {
        Content::Raw(bytes) => outgoing.write(bytes),
        _ if !plan.body => outgoing.write(out),
        _ if !plan.content => {
            if plan.framing == BodyFraming::Chunked {
                encode_last_chunk(out, &response.rare().trailers);
            }
            outgoing.write(out)
        }
        Content::Bytes(bytes) if plan.framing == BodyFraming::Chunked => {
            for data in bytes.chunks(response.rare().chunk_size) {
                encode_chunk(out, data);
                outgoing.write_if_much(out)?;
            }
            encode_last_chunk(out, &response.rare().trailers);
            outgoing.write(out)
        }
        Content::Bytes(bytes) if bytes.len() <= SMALL_BODY => {
            out.extend_from_slice(bytes);
            outgoing.write(out)
        }
        Content::Bytes(bytes) => outgoing.write_both(out, bytes),
        Content::Reader(slot, size) => {
            let reader = open(slot, *size)?;
            outgoing.write(out)?;
            out.clear();
            send_reader(outgoing, out, plan, response, reader)
        }
    }
}

/// Takes the reader, cut to the size that was told.
fn open(slot: &Mutex<Option<Reader>>, size: Option<u64>) -> Result<io::Take<Reader>, Cut> {
    match take_reader(slot) {
        Some(reader) => Ok(reader.take(size.unwrap_or(u64::MAX))),
        None => Err(Cut::NoBody(io::Error::other(
            "the reader of the body was sent before: make one for each answer, or give bytes",
        ))),
    }
}

fn send_reader(
    outgoing: &mut Outgoing<'_>,
    out: &mut Vec<u8>,
    plan: Plan,
    response: &Response,
    mut reader: io::Take<Reader>,
) -> Result<(), Cut> {
    let mut data = vec![0; response.rare().chunk_size.min(GATHERED)];
    let mut total = 0;
    loop {
        outgoing.conn.set_activity(Activity::ReadingBody);
        let count = match reader.read(&mut data) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => {
                let text = format!("reading the body to send failed after {total} bytes: {error}");
                return Err(Cut::NoBody(io::Error::new(error.kind(), text)));
            }
        };
        total += count as u64;
        if plan.framing == BodyFraming::Chunked {
            out.clear();
            encode_chunk(out, &data[..count]);
            outgoing.write(out)?;
        } else {
            outgoing.write(&data[..count])?;
        }
    }
    match (plan.framing, response.content.size()) {
        (_, Some(size)) if total < size => {
            let text = format!("the body to send ended after {total} of {size} bytes");
            Err(Cut::NoBody(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                text,
            )))
        }
        (BodyFraming::Chunked, _) => {
            out.clear();
            encode_last_chunk(out, &response.rare().trailers);
            outgoing.write(out)
        }
        _ => Ok(()),
    }
}

/// The way out to the client, along a schedule.
struct Outgoing<'a> {
    conn: &'a mut Connection,
    schedule: Schedule,
}

impl<'a> Outgoing<'a> {
    fn new(
        conn: &'a mut Connection,
        response: &Response,
        default_pace: Option<Pace>,
        head: usize,
    ) -> Outgoing<'a> {
        let schedule = Schedule::new(
            &response.rare().faults,
            response.rare().pace.or(default_pace),
            head,
        );
        Outgoing { conn, schedule }
    }

    fn write(&mut self, mut bytes: &[u8]) -> Result<(), Cut> {
        if self.schedule.is_plain() {
            return self.conn.write_all(bytes).map_err(Cut::Lost);
        }
        loop {
            match self.schedule.next(bytes.len()) {
                Step::Done => return Ok(()),
                Step::Send(count) => {
                    self.conn.write_all(&bytes[..count]).map_err(Cut::Lost)?;
                    bytes = &bytes[count..];
                }
                step => self.take(step)?,
            }
        }
    }

    fn write_both(&mut self, first: &[u8], second: &[u8]) -> Result<(), Cut> {
        if self.schedule.is_plain() {
            return self.conn.write_all_of(first, second).map_err(Cut::Lost);
        }
        self.write(first)?;
        self.write(second)
    }

    /// Writes what has been gathered, and empties it, when it is worth a write.
    fn write_if_much(&mut self, gathered: &mut Vec<u8>) -> Result<(), Cut> {
        if gathered.len() >= GATHERED {
            self.write(gathered)?;
            gathered.clear();
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), Cut> {
        loop {
            match self.schedule.finish() {
                Step::Done => return Ok(()),
                step => self.take(step)?,
            }
        }
    }

    fn take(&mut self, step: Step) -> Result<(), Cut> {
        match step {
            Step::Pause(time) => self.conn.pause(time).map_err(Cut::Lost),
            Step::Close => Err(Cut::Close),
            Step::Reset => Err(Cut::Reset),
            Step::Send(_) | Step::Done => Ok(()),
        }
    }
}
