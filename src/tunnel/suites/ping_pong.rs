//! How long a message and its answer take.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::{Bounds, Ends, Part, repeat};

/// The length of a message.
const MESSAGE: usize = 500;
/// How much more time than others the check may take in all.
const TIMEOUT_FACTOR: u32 = 3;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "ping-pong",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[CheckDef::must(
        "500-bytes",
        "messages of 500 bytes come back, each before the next is sent",
        "RFC 9293, section 2.2",
        play,
    )
    .exclusive()
    .timeout_factor(TIMEOUT_FACTOR)]),
};

fn play(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let rounds = match context.sizes() {
        Sizes::Quick => 100,
        Sizes::Full => 1000,
    };
    let messages = Data::new(context.random()).take(rounds * MESSAGE);
    let ends = Ends::of(context.connect()?).plain();
    let waits = rally(&ends, &messages, context.bounds(TIMEOUT_FACTOR))?;
    context.carried(2 * messages.len() as u64);
    context.latencies(waits);
    Ok(())
}

/// Sends each message when the last one has come back; how long each took.
fn rally(ends: &Ends, messages: &[u8], bounds: Bounds) -> Result<Vec<Duration>, CheckError> {
    let Ends {
        mut client,
        mut service,
    } = ends.try_clone()?;
    let mut waits = Vec::with_capacity(messages.len() / MESSAGE);
    let parts: Vec<Part<'_>> = vec![
        Box::new(move || repeat(&mut service, messages.len() as u64, bounds)),
        // Last, so that it runs on this thread: as whoever measures by hand would do it.
        Box::new(|| {
            for (round, message) in messages.chunks(MESSAGE).enumerate() {
                client.set_deadline(bounds.next("a message to come back"));
                let wait = ping(&mut client, message);
                let about = |error| CheckError::failed(format!("message {}: {error}", round + 1));
                waits.push(wait.map_err(about)?);
            }
            Ok(())
        }),
    ];
    ends.together(parts)?;
    Ok(waits)
}

fn ping(client: &mut Stream, message: &[u8]) -> io::Result<Duration> {
    let mut answer = [0; MESSAGE];
    let begun = Instant::now();
    client.write_all(message)?;
    client.read_exact(&mut answer[..message.len()])?;
    let wait = begun.elapsed();
    match answer[..message.len()] == *message {
        true => Ok(wait),
        false => Err(io::Error::other("other bytes came back than were sent")),
    }
}

#[cfg(test)]
mod tests;
