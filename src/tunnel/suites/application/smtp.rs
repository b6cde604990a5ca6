//! A `TestSmtpServer` behind the program.

use std::io;
use std::net::SocketAddr;

use super::Until::{End, Replies};
use super::{compare, turn};
use crate::smtp::{Message, Smtp, TestSmtpServer};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::check::stand_in::Place;
use crate::tunnel::core::check_error::CheckError;

pub(super) const SESSION: CheckDef = CheckDef::must(
    "smtp/session",
    "a session with PIPELINING and BDAT is the same as without the program",
    "RFC 2920, section 3; RFC 3030, section 2",
    session,
);
pub(super) const LARGE: CheckDef = CheckDef::must(
    "smtp/large",
    "a message of 100 KiB is the same as without the program",
    "RFC 5321, section 4.1.1.4",
    large,
);

/// 100 KiB and more, in lines that begin with a dot now and then.
const LINES: usize = 1700;

pub(super) fn serve(place: &Place) -> io::Result<TestSmtpServer<SocketAddr>> {
    let builder = place.builder::<Smtp>().hostname("service.test");
    builder.sink(place.addr)
}

pub(super) fn record(server: &TestSmtpServer<SocketAddr>) -> Vec<Vec<u8>> {
    let of = |message: &Message| {
        let envelope = format!(
            "{} {:?} {:?} ",
            message.helo(),
            message.from(),
            message.to()
        );
        [envelope.as_bytes(), message.raw()].concat()
    };
    let messages = server.messages();
    messages.iter().map(|message| of(message)).collect()
}

/// The commands up to the message.
fn envelope(to: &str) -> String {
    format!("MAIL FROM:<sender@client.test>\r\nRCPT TO:<{to}@service.test>\r\n")
}

fn session(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let binary = context.random().bytes(5000);
    let text = "Subject: first\r\n\r\nOne line.\r\n..two dots\r\n.\r\n";
    let bdat = [
        b"MAIL FROM:<sender@client.test> BODY=BINARYMIME\r\nRCPT TO:<second@service.test>\r\n",
        &b"BDAT 24\r\nSubject: second, by BDATBDAT 5004 LAST\r\n\r\n\r\n"[..],
        &binary,
    ]
    .concat();
    let commands = format!("{}DATA\r\n", envelope("first"));
    let dialogue = [
        turn("", Replies(1)),
        turn("EHLO client.test\r\n", Replies(1)),
        turn(commands, Replies(3)),
        turn(text, Replies(1)),
        turn(bdat, Replies(4)),
        turn("QUIT\r\n", End),
    ];
    compare(context, serve, &dialogue, record)
}

fn large(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut message = b"Subject: large\r\n\r\n".to_vec();
    for number in 0..LINES {
        let dots = ".".repeat(number % 3);
        let word = context.random().next();
        message.extend(
            format!("{dots}line {number} {word:016x} and some more words to fill it\r\n").bytes(),
        );
    }
    message.extend(b".\r\n");
    let commands = format!("EHLO client.test\r\n{}DATA\r\n", envelope("large"));
    let dialogue = [
        turn(commands, Replies(5)),
        turn(message, Replies(1)),
        turn("QUIT\r\n", End),
    ];
    compare(context, serve, &dialogue, record)
}
