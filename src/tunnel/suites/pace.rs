//! Ends that are slow, that send little by little, that wait for each other, or that are silent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::Backoff;
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::data::{BLOCK, Data};
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::{Ends, Load, Part};

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 6;
/// How much more memory a program may have for one connection whose reader does not read.
const MOST_MEMORY: u64 = 16 << 20;
/// What the sockets at both ends keep, about: so little that the program is what holds the rest.
const LITTLE: usize = 64 << 10;
/// Nothing was taken for so long: the program waits for its reader. On a busy machine longer.
const STALLED: Duration = Duration::from_millis(500);

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "pace",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "slow-reader",
            "all arrives at a client that reads slowly and begins late",
            "RFC 9293, section 2.2",
            slow_reader,
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::harness(
            "memory",
            "the program's memory does not grow by what a client has not read",
            memory,
        )
        .fresh_process()
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "slow-writer",
            "each small piece arrives before the next one is sent",
            "harness",
            slow_writer,
        ),
        CheckDef::must(
            "byte-by-byte",
            "what both ends send one byte at a time arrives",
            "RFC 9293, section 2.2",
            byte_by_byte,
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "service-first",
            "what the service says arrives at a client that says nothing",
            "harness",
            service_first,
        ),
        CheckDef::must(
            "idle",
            "a connection that was idle still carries both ways",
            "harness",
            idle,
        )
        .timeout_factor(TIMEOUT_FACTOR),
    ]),
};

fn slow_reader(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let (bytes, most) = match context.sizes() {
        Sizes::Quick => (1 << 20, 32 << 10),
        Sizes::Full => (32 << 20, 128 << 10),
    };
    let ends = little(context.connect()?)?;
    let mut load = Load::new(Data::new(context.random()), bytes);
    let bounds = context.bounds(TIMEOUT_FACTOR);
    let Ends {
        mut client,
        mut service,
    } = ends.try_clone()?;
    let sent = load.clone();
    let parts: Vec<Part<'_>> = vec![
        Box::new(move || sent.send(&mut service, "the service", bounds)),
        Box::new(move || {
            let mut buffer = vec![0; most];
            let mut came = 0;
            thread::sleep(Duration::from_millis(100));
            while came < bytes {
                thread::sleep(Duration::from_millis(2));
                came += load.receive_some(&mut client, "the client", bounds, came, &mut buffer)?;
            }
            Ok(())
        }),
    ];
    ends.together(parts)?;
    context.carried(bytes);
    Ok(())
}

/// Sends to a client that does not read, until the program takes no more, and looks at the program's
/// memory meanwhile.
fn memory(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let bytes = match context.sizes() {
        Sizes::Quick => 3 * MOST_MEMORY,
        Sizes::Full => 16 * MOST_MEMORY,
    };
    let mut both = context.connect()?;
    // The program has now begun with this connection, whatever it needs for that.
    both.client.send(b"x")?;
    both.service.expect("the client's first byte", b"x")?;
    let before = context.usage()?.resident;
    let ends = little(both)?;
    let load = Load::new(Data::new(context.random()), bytes);
    let taken = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let service = ends.try_clone()?.service;
    let peak = thread::scope(|scope| {
        scope.spawn(|| {
            feed(service, load, &taken);
            over.store(true, Ordering::SeqCst);
        });
        let peak = watch(context, &taken, &over);
        ends.cut();
        peak
    })?;
    let taken = taken.into_inner();
    let grown = peak.saturating_sub(before);
    context.carried(taken);
    let told = format!(
        "it took {taken} bytes that were not read, and its memory grew by {} KiB",
        grown / 1024
    );
    context.note(told.clone());
    match grown <= MOST_MEMORY {
        true => Ok(()),
        false => Err(CheckError::failed(format!(
            "{told}, from {} KiB",
            before / 1024
        ))),
    }
}

/// Sends until all is taken or the connection is cut. That it is not taken is what is hoped for.
fn feed(mut service: Stream, mut load: Load, taken: &AtomicU64) {
    use std::io::Write;
    let mut left = load.bytes;
    while left > 0 {
        match service.write(load.data.peek(left.min(BLOCK as u64 / 4))) {
            Ok(written) => {
                load.data.advance(written);
                left -= written as u64;
                taken.fetch_add(written as u64, Ordering::SeqCst);
            }
            Err(_) => return,
        }
    }
}

/// The most memory that the program has until it takes no more, or has taken all.
fn watch(
    context: &mut CheckContext<'_>,
    taken: &AtomicU64,
    over: &AtomicBool,
) -> Result<u64, CheckError> {
    let deadline = context.deadline("the program to take no more");
    let mut pause = Backoff::new(Duration::from_millis(1));
    let (mut peak, mut last, mut since) = (0, 0, Instant::now());
    let stalled = context.scaled_timeout(STALLED);
    while !over.load(Ordering::SeqCst) && since.elapsed() < stalled && !deadline.expired() {
        pause.sleep(&deadline);
        peak = peak.max(context.usage()?.resident);
        let now = taken.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(peak.max(context.usage()?.resident))
}

fn slow_writer(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let pieces = match context.sizes() {
        Sizes::Quick => 20,
        Sizes::Full => 200,
    };
    let mut both = context.connect()?;
    for number in 1..=pieces {
        let piece = context.random().bytes(64);
        let mut one = || {
            both.client.send(&piece)?;
            both.service.expect("the client's piece", &piece)?;
            both.service.send(&piece)?;
            both.client.expect("the service's piece", &piece)
        };
        one().map_err(|error| {
            connection_group::about(format_args!("piece {number} of {pieces}"), error)
        })?;
        thread::sleep(Duration::from_millis(5));
        context.carried(128);
    }
    Ok(())
}

fn byte_by_byte(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let bytes = match context.sizes() {
        Sizes::Quick => 500,
        Sizes::Full => 20_000,
    };
    let ends = Ends::of(context.connect()?);
    let bounds = context.bounds(TIMEOUT_FACTOR);
    let [up, down] = [(); 2].map(|()| Load::new(Data::new(context.random()), bytes));
    // What sends is cut into bytes, what receives is not.
    let there = ends.try_clone()?;
    let mut from_client = there.client.in_segments(Some(1));
    let mut from_service = there.service.in_segments(Some(1));
    let Ends {
        mut client,
        mut service,
    } = ends.try_clone()?;
    let (sent_up, sent_down) = (up.clone(), down.clone());
    let parts: Vec<Part<'_>> = vec![
        Box::new(move || sent_up.send(&mut from_client, "the client", bounds)),
        Box::new(move || sent_down.send(&mut from_service, "the service", bounds)),
        Box::new(move || up.receive(&mut service, "the service", bounds)),
        Box::new(move || down.receive(&mut client, "the client", bounds)),
    ];
    ends.together(parts)?;
    context.carried(2 * bytes);
    Ok(())
}

fn service_first(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let words = context.random().bytes(300);
    let mut both = context.connect()?;
    if context.connector().manners.has_waited() {
        let message =
            "the program connects to the service only when the client has spoken, or late";
        return Err(CheckError::failed(message));
    }
    both.service.send(&words)?;
    both.client.expect("the service's first words", &words)?;
    context.carried(300);
    Ok(())
}

fn idle(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let long = match context.sizes() {
        Sizes::Quick => Duration::from_secs(1),
        Sizes::Full => Duration::from_secs(30),
    };
    let mut both = context.connect()?;
    let bounds = context.bounds(TIMEOUT_FACTOR);
    let before = bounds.next("the words before it was idle");
    both.greet_client(&before)?;
    both.greet_service(&before)?;
    let long = long.min(context.deadline("an idle connection").remaining() / 2);
    thread::sleep(long);
    let whole = both.whole(&bounds.next("the words after it was idle"));
    whole.map_err(|error| connection_group::about(format_args!("idle for {long:.0?}"), error))
}

/// With sockets that hold little.
fn little(both: Conversation) -> Result<Ends, CheckError> {
    let ends = Ends::of(both);
    for end in [&ends.client, &ends.service] {
        let failed =
            |error| CheckError::Skipped(format!("cannot make a socket's buffer small: {error}"));
        end.keep_little(LITTLE).map_err(failed)?;
    }
    Ok(ends)
}
