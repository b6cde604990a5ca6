//! Ends that are slow, that send little by little, that wait for each other, or that are silent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::Backoff;
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::crowd;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::ends::data::{BLOCK, Data};
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::{Ends, Load, Part};

/// How much more time than others the checks may take in all.
const PATIENCE: u32 = 6;
/// How much more memory a program may have for one connection whose reader does not read.
const MOST_MEMORY: u64 = 16 << 20;
/// What the sockets at both ends keep, about: so little that the program is what holds the rest.
const LITTLE: usize = 64 << 10;
/// Nothing was taken for so long: the program waits for its reader. On a busy machine longer.
const STALLED: Duration = Duration::from_millis(500);

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "pace",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "slow-reader",
            "all arrives at a client that reads slowly and begins late",
            "RFC 9293, section 2.2",
            slow_reader,
        )
        .patience(PATIENCE),
        Plan::harness(
            "memory",
            "the program's memory does not grow by what a client has not read",
            memory,
        )
        .own()
        .patience(PATIENCE),
        Plan::must(
            "slow-writer",
            "each small piece arrives before the next one is sent",
            "harness",
            slow_writer,
        ),
        Plan::must(
            "byte-by-byte",
            "what both ends send one byte at a time arrives",
            "RFC 9293, section 2.2",
            byte_by_byte,
        )
        .patience(PATIENCE),
        Plan::must(
            "service-first",
            "what the service says arrives at a client that says nothing",
            "harness",
            service_first,
        ),
        Plan::must(
            "idle",
            "a connection that was idle still carries both ways",
            "harness",
            idle,
        )
        .patience(PATIENCE),
    ]),
};

fn slow_reader(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let (bytes, most) = match trial.sizes() {
        Sizes::Quick => (1 << 20, 32 << 10),
        Sizes::Full => (32 << 20, 128 << 10),
    };
    let ends = little(trial.connect()?)?;
    let mut load = Load::new(Data::new(trial.random()), bytes);
    let bounds = trial.bounds(PATIENCE);
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
    trial.carried(bytes);
    Ok(())
}

/// Sends to a client that does not read, until the program takes no more, and looks at the program's
/// memory meanwhile.
fn memory(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let bytes = match trial.sizes() {
        Sizes::Quick => 3 * MOST_MEMORY,
        Sizes::Full => 16 * MOST_MEMORY,
    };
    let mut both = trial.connect()?;
    // The program has now begun with this connection, whatever it needs for that.
    both.client.send(b"x")?;
    both.service.expect("the client's first byte", b"x")?;
    let before = trial.usage()?.resident;
    let ends = little(both)?;
    let load = Load::new(Data::new(trial.random()), bytes);
    let taken = AtomicU64::new(0);
    let over = AtomicBool::new(false);
    let service = ends.try_clone()?.service;
    let peak = thread::scope(|scope| {
        scope.spawn(|| {
            feed(service, load, &taken);
            over.store(true, Ordering::SeqCst);
        });
        let peak = watch(trial, &taken, &over);
        ends.cut();
        peak
    })?;
    let taken = taken.into_inner();
    let grown = peak.saturating_sub(before);
    trial.carried(taken);
    let told = format!(
        "it took {taken} bytes that were not read, and its memory grew by {} KiB",
        grown / 1024
    );
    trial.note(told.clone());
    match grown <= MOST_MEMORY {
        true => Ok(()),
        false => Err(Stop::failed(format!("{told}, from {} KiB", before / 1024))),
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
fn watch(trial: &mut Trial<'_>, taken: &AtomicU64, over: &AtomicBool) -> Result<u64, Stop> {
    let deadline = trial.deadline("the program to take no more");
    let mut pause = Backoff::new(Duration::from_millis(1));
    let (mut peak, mut last, mut since) = (0, 0, Instant::now());
    let stalled = trial.unhurried(STALLED);
    while !over.load(Ordering::SeqCst) && since.elapsed() < stalled && !deadline.expired() {
        pause.sleep(&deadline);
        peak = peak.max(trial.usage()?.resident);
        let now = taken.load(Ordering::SeqCst);
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(peak.max(trial.usage()?.resident))
}

fn slow_writer(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let pieces = match trial.sizes() {
        Sizes::Quick => 20,
        Sizes::Full => 200,
    };
    let mut both = trial.connect()?;
    for number in 1..=pieces {
        let piece = trial.random().bytes(64);
        let mut one = || {
            both.client.send(&piece)?;
            both.service.expect("the client's piece", &piece)?;
            both.service.send(&piece)?;
            both.client.expect("the service's piece", &piece)
        };
        one().map_err(|stop| crowd::about(format_args!("piece {number} of {pieces}"), stop))?;
        thread::sleep(Duration::from_millis(5));
        trial.carried(128);
    }
    Ok(())
}

fn byte_by_byte(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let bytes = match trial.sizes() {
        Sizes::Quick => 500,
        Sizes::Full => 20_000,
    };
    let ends = Ends::of(trial.connect()?);
    let bounds = trial.bounds(PATIENCE);
    let [up, down] = [(); 2].map(|()| Load::new(Data::new(trial.random()), bytes));
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
    trial.carried(2 * bytes);
    Ok(())
}

fn service_first(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let words = trial.random().bytes(300);
    let mut both = trial.connect()?;
    both.service.send(&words)?;
    both.client.expect("the service's first words", &words)?;
    trial.carried(300);
    Ok(())
}

fn idle(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let long = match trial.sizes() {
        Sizes::Quick => Duration::from_secs(1),
        Sizes::Full => Duration::from_secs(30),
    };
    let mut both = trial.connect()?;
    let bounds = trial.bounds(PATIENCE);
    let before = bounds.next("the words before it was idle");
    both.greet_client(&before)?;
    both.greet_service(&before)?;
    let long = long.min(trial.deadline("an idle connection").remaining() / 2);
    thread::sleep(long);
    let whole = both.whole(&bounds.next("the words after it was idle"));
    whole.map_err(|stop| crowd::about(format_args!("idle for {long:.0?}"), stop))
}

/// With sockets that hold little.
fn little(both: Conversation) -> Result<Ends, Stop> {
    let ends = Ends::of(both);
    for end in [&ends.client, &ends.service] {
        let failed = |error| Stop::Skipped(format!("cannot make a socket's buffer small: {error}"));
        end.keep_little(LITTLE).map_err(failed)?;
    }
    Ok(ends)
}
