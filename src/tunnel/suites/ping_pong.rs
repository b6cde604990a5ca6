//! How long a message and its answer take.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::{Bounds, Ends, Part, repeat};

/// The length of a message.
const MESSAGE: usize = 500;
/// How much more time than others the check may take in all.
const PATIENCE: u32 = 3;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "ping-pong",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[Plan::must(
        "500-bytes",
        "messages of 500 bytes come back, each before the next is sent",
        "RFC 9293, section 2.2",
        play,
    )
    .alone()
    .patience(PATIENCE)]),
};

fn play(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let rounds = match trial.sizes() {
        Sizes::Quick => 100,
        Sizes::Full => 1000,
    };
    let messages = Data::new(trial.random()).take(rounds * MESSAGE);
    let ends = Ends::of(trial.connect()?).plain();
    let waits = rally(&ends, &messages, trial.bounds(PATIENCE))?;
    trial.carried(2 * messages.len() as u64);
    trial.latencies(waits);
    Ok(())
}

/// Sends each message when the last one has come back; how long each took.
fn rally(ends: &Ends, messages: &[u8], bounds: Bounds) -> Result<Vec<Duration>, Stop> {
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
                let about = |error| Stop::failed(format!("message {}: {error}", round + 1));
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
