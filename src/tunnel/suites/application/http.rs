//! A `TestHttpServer` behind the program.

use std::io::{self, Write};
use std::net::SocketAddr;

use super::{Turn, Until, compare, compare_at_once, connect, hold_alone, stop, turn};
use crate::connection::Connection;
use crate::fault::{At, Fault};
use crate::http::{Http, Request, Response, TestHttpServer};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::check::stand_in::{Place, stand_in};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::report::{Failure, first_difference};

pub(super) const KEPT: CheckDef = CheckDef::must(
    "http/kept",
    "requests one after the other on a kept connection, and their answers, are the same as without the program",
    "RFC 9112, section 9.3",
    kept,
);
pub(super) const PIPELINED: CheckDef = CheckDef::must(
    "http/pipelined",
    "requests that were sent at once are answered in their order, as without the program",
    "RFC 9112, section 9.3.2",
    pipelined,
);
pub(super) const CHUNKED: CheckDef = CheckDef::must(
    "http/chunked",
    "chunks and trailers both ways are the same as without the program",
    "RFC 9112, section 7.1",
    chunked,
);
pub(super) const CONTINUE: CheckDef = CheckDef::must(
    "http/continue",
    "the interim answer to Expect: 100-continue comes before the body is sent",
    "RFC 9110, section 10.1.1",
    expect_continue,
);
pub(super) const LARGE: CheckDef = CheckDef::must(
    "http/large",
    "bodies of 1 MB each way are the same as without the program",
    "RFC 9293, section 2.2",
    large,
);
pub(super) const UPGRADE: CheckDef = CheckDef::must(
    "http/upgrade",
    "after an upgrade the other protocol's bytes are the same as without the program",
    "RFC 9110, section 7.8",
    upgrade,
);
pub(super) const CUT: CheckDef = CheckDef::must(
    "http/cut",
    "a response that the server closes in the midst of ends where it did, and is never whole",
    "RFC 9112, section 8",
    |context| broken(context, "/sized", Fault::Close(At::Body(CUT_AT as u64))),
);
pub(super) const CUT_CHUNKED: CheckDef = CheckDef::must(
    "http/cut-chunked",
    "a chunked response that the server closes in the midst of ends where it did, and is never whole",
    "RFC 9112, section 8",
    |context| broken(context, "/chunked", Fault::Close(At::Body(CUT_AT as u64))),
);
pub(super) const RESET: CheckDef = CheckDef::must(
    "http/reset",
    "a response that the server resets in the midst of arrives in part at most, and then an end or a reset",
    "RFC 9112, section 8",
    |context| broken(context, "/sized", Fault::Reset(At::Body(CUT_AT as u64))),
);
pub(super) const MANY: CheckDef = CheckDef::must(
    "http/many",
    "sixteen clients of a TestHttpServer at once get what is theirs",
    "harness",
    many,
);

/// How many clients there are at once.
const CLIENTS: usize = 16;
/// The body of a response that is broken off, and after how many bytes of it that happens.
const WHOLE: usize = 60_000;
const CUT_AT: usize = 33_333;
/// What a client reads at most of an answer that is broken off.
const MOST: usize = 2 * WHOLE;
/// How a body ends whose client goes on with another request.
const END: &[u8] = b"|end";

/// Echoes bodies, in the way that the path says.
fn serve(place: &Place) -> io::Result<TestHttpServer<SocketAddr>> {
    let answer = |request: Request| match request.path() {
        "/chunked" => Response::bytes(request.body())
            .chunk_size(777)
            .trailer("Bytes", request.body_size().to_string()),
        "/shout" => Response::upgrade("shout", |mut conn: Connection| {
            loop {
                match conn.read_line()?.as_str() {
                    "" => return Ok(()),
                    line => conn.write_all(line.to_uppercase().as_bytes())?,
                }
                if conn.is_stopping() {
                    return io::Result::Ok(());
                }
            }
        }),
        _ => Response::bytes(request.body()),
    };
    let builder = place.builder::<Http>().without_date();
    builder.start(place.addr, answer)
}

/// What the server has of each request.
fn record(server: &TestHttpServer<SocketAddr>) -> Vec<Vec<u8>> {
    let of = |request: &Request| {
        let mut text = format!(
            "{}{:?}{:?}{:?}",
            request.raw_head(),
            request.chunk_sizes(),
            request.trailers(),
            request.error()
        )
        .into_bytes();
        text.extend_from_slice(request.body());
        text
    };
    server.requests().iter().map(of).collect()
}

/// A request whose body ends with what its answer ends with.
fn post(path: &str, body: &[u8], last: bool) -> Vec<u8> {
    let connection = if last { "Connection: close\r\n" } else { "" };
    let length = body.len() + END.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: service.test\r\n{connection}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body, END].concat()
}

/// Some requests on one connection, with bodies that only `name` has.
fn dialogue(name: &str) -> Vec<Turn> {
    let request = |number: usize| {
        let body = format!("{name} {number} ").repeat(number * number);
        (
            post(&format!("/{number}"), body.as_bytes(), number == 5),
            number == 5,
        )
    };
    let turns = (1..=5).map(request);
    turns
        .map(|(say, last)| turn(say, if last { Until::End } else { Until::Bytes(END) }))
        .collect()
}

fn kept(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    compare(context, serve, &dialogue("kept"), record)
}

fn pipelined(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let all: Vec<u8> = dialogue("at once")
        .into_iter()
        .flat_map(|turn| turn.say)
        .collect();
    compare(context, serve, &[turn(all, Until::End)], record)
}

fn chunked(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut request = b"POST /chunked HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\n\
        Transfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n"
        .to_vec();
    for size in [1, 16, 4096, 3, 10_000] {
        request.extend(format!("{size:x};name=value\r\n").bytes());
        request.extend(context.random().bytes(size));
        request.extend(b"\r\n");
    }
    request.extend(b"0\r\nSum: 5\r\n\r\n");
    compare(context, serve, &[turn(request, Until::End)], record)
}

fn expect_continue(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let head = "POST / HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\n\
        Expect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let dialogue = [
        turn(head, Until::Bytes(b"\r\n\r\n")),
        turn("hello", Until::End),
    ];
    compare(context, serve, &dialogue, record)
}

fn large(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let body = context.random().bytes(1_000_000);
    let request = post("/large", &body, true);
    compare(context, serve, &[turn(request, Until::End)], record)
}

fn upgrade(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let head = "GET /shout HTTP/1.1\r\nHost: service.test\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n";
    let alone = hold_alone(
        context,
        &serve,
        &[
            turn(format!("{head}first\r\n"), Until::Bytes(b"FIRST\r\n")),
            turn("second\r\n", Until::Bytes(b"SECOND\r\n")),
        ],
        &record,
    )?;
    stand_in(context, serve, |context, mut server| {
        let held = connect(context).and_then(|mut client| {
            client.send(head.as_bytes())?;
            client.send(b"first\r\n")?;
            client.expect("the answer, and what is said behind it", &alone.answers[0])?;
            client.send(b"second\r\n")?;
            client.expect("what is said next", &alone.answers[1])
        });
        stop(&mut server, held)
    })
}

/// A response of [`WHOLE`] bytes that `fault` breaks off.
fn broken(context: &mut CheckContext<'_>, path: &str, fault: Fault) -> Result<(), CheckError> {
    let body = context.random().bytes(WHOLE);
    let serve = |fault: Option<Fault>| {
        let body = body.clone();
        move |place: &Place| {
            let body = body.clone();
            let answer = move |request: Request| {
                let response = match request.path() {
                    "/chunked" => Response::bytes(body.clone()).chunk_size(1000),
                    _ => Response::bytes(body.clone()),
                };
                match fault {
                    Some(fault) => response.fault(fault),
                    None => response,
                }
            };
            let builder = place.builder::<Http>().without_date();
            builder.start(place.addr, answer)
        }
    };
    let request = format!("GET {path} HTTP/1.1\r\nHost: service.test\r\nConnection: close\r\n\r\n");
    let dialogue = [turn(request.clone(), Until::End)];
    let whole = hold_alone(context, &serve(None), &dialogue, &record)?;
    let whole = &whole.answers[0];
    // What was sent before a reset may be lost, with the program or without.
    let due = match fault {
        Fault::Reset(_) => None,
        _ => Some(hold_alone(context, &serve(Some(fault)), &dialogue, &record)?.answers[0].len()),
    };
    let came = stand_in(context, serve(Some(fault)), |context, mut server| {
        let came = connect(context).and_then(|mut client| {
            client.send(request.as_bytes())?;
            client.take_up_to("the response, or its end", MOST)
        });
        stop(&mut server, Ok(()))?;
        came
    })?;
    context.carried(came.len() as u64);
    let says = |message: String| {
        let at = first_difference(whole, &came);
        let part = |bytes: &[u8]| bytes[at.saturating_sub(100).min(bytes.len())..].to_vec();
        let failure = Failure {
            sent: Some(request.as_bytes().to_vec()),
            expected: Some(part(&whole[..due.unwrap_or(whole.len())])),
            received: Some(part(&came)),
            ..Failure::default()
        };
        CheckError::with(message, failure)
    };
    let (length, all) = (came.len(), whole.len());
    match due {
        _ if !whole.starts_with(&came) => {
            let at = first_difference(whole, &came);
            Err(says(format!(
                "the client has another byte {at} than was sent, of a response that was broken off"
            )))
        }
        _ if length == all => Err(says(format!(
            "the client has all {all} bytes of a response that was broken off"
        ))),
        Some(due) if length != due => Err(says(format!(
            "the client has {length} bytes of a response that the server closed after {due}"
        ))),
        _ => Ok(()),
    }
}

fn many(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let dialogues: Vec<_> = (0..CLIENTS)
        .map(|index| dialogue(&format!("client {index}")))
        .collect();
    compare_at_once(context, serve, &dialogues, record)
}
