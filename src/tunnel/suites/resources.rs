//! The suite about what a program holds of the machine: after ends that nobody wishes for, and at its limit.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::probe::reset;
use crate::deadline::{Backoff, Deadline};
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::{Conversation, Endpoint};
use crate::tunnel::programs::usage::Usage;

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 6;
/// Connections before the first look: a program may open files and start threads at the first ones.
const WARM_UP: usize = 3;
/// How long a program may take to give back what the last connections had.
const GIVING_BACK: Duration = Duration::from_secs(2);
/// How long is looked whether the program works where it should wait, and how much of that time on one
/// processor is too much.
const WINDOW: Duration = Duration::from_millis(500);
const BUSY: Duration = Duration::from_millis(100);
/// A program that waits at one of so many looks only does not wait.
const RARELY: usize = 5;
/// How much memory a program keeps of each connection if it keeps any, where there are hundreds.
const KEPT_OF_EACH: u64 = 8 * 1024;
/// How many clients leave in the handshake at the same time.
const THREADS: usize = 4;
/// How many descriptors a program has left where they are to run out, and how many connections then come.
/// Some keep a part of what they have for themselves, and would have none with a few.
const SPARE: usize = 100;
const MORE: usize = 150;
/// Too much for the system and the program to hold for a service that does not read.
const TOO_MUCH: usize = 16 << 20;
/// How long a client tries to send that.
const STUCK: Duration = Duration::from_millis(50);

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "resources",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(&[
        CheckDef::harness(
            "waits",
            "with an idle connection, and after each kind of end, the program uses no processor time",
            waits,
        )
        .fresh_process()
        .exclusive()
        .timeout_factor(TIMEOUT_FACTOR),
        after(
            "after/client-reset",
            "after many clients that reset their connection the program holds as much as before",
            |context| given_back(context, client_reset, 1),
        ),
        after(
            "after/service-reset",
            "after many services that reset their connection the program holds as much as before",
            |context| given_back(context, service_reset, 1),
        ),
        after(
            "after/left-at-once",
            "after many clients that connect and leave the program holds as much as before",
            |context| given_back(context, left_at_once, 1),
        ),
        after(
            "after/left-in-handshake",
            "after many clients that leave in the handshake the program holds as much as before",
            |context| given_back(context, left_in_handshake, 1),
        ),
        after(
            "after/stuck",
            "after many clients that reset while the service does not read, it holds as much as before",
            |context| given_back(context, stuck, 10),
        ),
        CheckDef::must(
            "leaving",
            "clients that leave at every byte of the handshake, and right behind it, harm nobody",
            "harness",
            leaving,
        )
        .fresh_process()
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "exhausted",
            "when descriptors have run out and are free again, the program serves again",
            "harness",
            exhausted,
        )
        .fresh_process()
        .timeout_factor(TIMEOUT_FACTOR),
    ]),
};

const fn after(
    name: &'static str,
    statement: &'static str,
    run: fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
) -> CheckDef {
    let def = CheckDef::must(name, statement, "harness", run);
    def.fresh_process().timeout_factor(TIMEOUT_FACTOR)
}

/// What is left of a connection: to be held while it is looked at what the program does.
type Left = Vec<Endpoint>;

/// Something after which a program only has to wait.
type Scene = (&'static str, fn(Conversation) -> Result<Left, CheckError>);

const SCENES: &[Scene] = &[
    ("an idle connection", |both| {
        Ok(vec![both.client, both.service])
    }),
    ("the client's half-close", |mut both| {
        // The program may have closed already.
        let _ = both.client.stream().shutdown_write();
        Ok(vec![both.client, both.service])
    }),
    ("the service's half-close", |mut both| {
        let _ = both.service.stream().shutdown_write();
        Ok(vec![both.client, both.service])
    }),
    ("the client's close", |both| Ok(vec![both.service])),
    ("the service's close", |both| Ok(vec![both.client])),
    ("the client's reset", |both| {
        reset(both.client)?;
        Ok(vec![both.service])
    }),
    ("the service's reset", |both| {
        reset(both.service)?;
        Ok(vec![both.client])
    }),
];

/// All scenes at once; only a program that is busy then is looked at in each alone.
fn waits(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut left = Vec::new();
    for scene in SCENES {
        left.push(set(context, scene)?);
    }
    // Twice: what works on for a moment is not busy for ever.
    if busy(context)?.is_none() || busy(context)?.is_none() {
        return Ok(());
    }
    drop(left);
    let told = |used: Used, after: &str| {
        let Used { time, within } = used;
        CheckError::failed(format!(
            "after {after} the program uses {time:.1?} of processor time in {within:.1?}"
        ))
    };
    for scene in SCENES {
        let _left = set(context, scene)?;
        if let Some(used) = busy(context)? {
            return Err(told(used, scene.0));
        }
    }
    match busy(context)? {
        Some(used) => Err(told(used, "all kinds of ends")),
        None => Err(CheckError::failed(
            "the program works on while connections of all kinds of ends are open",
        )),
    }
}

/// Sets a scene on a connection that has worked.
fn set(context: &mut CheckContext<'_>, scene: &Scene) -> Result<Left, CheckError> {
    let both = context.live()?;
    scene.1(both)
}

/// What a busy program has used.
struct Used {
    time: Duration,
    within: Duration,
}

/// What the program uses, if it is too much.
fn busy(context: &mut CheckContext<'_>) -> Result<Option<Used>, CheckError> {
    let (begun, before) = (Instant::now(), context.usage()?.processor);
    let window = Deadline::new(context.scaled_timeout(WINDOW), "the program to work");
    let mut pause = Backoff::new(Duration::from_millis(5));
    let (mut looks, mut rests) = (0, 0);
    let mut time = Duration::ZERO;
    while !window.expired() && time < BUSY {
        pause.sleep(&window);
        looks += 1;
        rests += usize::from(context.program.child().is_at_rest());
        time = context.usage()?.processor.saturating_sub(before);
    }
    let within = begun.elapsed();
    // On a busy machine it gets little time, but it wants it whenever one looks.
    let busy = time >= BUSY || RARELY * rests < looks;
    Ok(busy.then_some(Used { time, within }))
}

/// Ends many connections in one way, and looks at what the program holds before and after.
fn given_back(
    context: &mut CheckContext<'_>,
    end: fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
    cost: usize,
) -> Result<(), CheckError> {
    let times = match context.sizes() {
        Sizes::Quick => 30,
        Sizes::Full => 300,
    } / cost;
    let times_over = |context: &mut CheckContext<'_>, times: usize| {
        for number in 1..=times {
            let what = format_args!("connection {number} of {times}");
            end(context).map_err(|error| connection_group::about(what, error))?;
        }
        Ok(())
    };
    times_over(context, WARM_UP)?;
    holds_as_before(context, times, times, |context| times_over(context, times))?;
    context.serves_again("an ordinary connection afterwards")
}

/// Looks at what the program holds before and after `work` of so many connections, and again where it then holds `most` more: what
/// grows once may be a pool, what grows twice is lost.
pub(crate) fn holds_as_before(
    context: &mut CheckContext<'_>,
    connections: usize,
    most: usize,
    work: impl Fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
) -> Result<(), CheckError> {
    let most = Growth {
        count: most,
        // A few connections are lost in what any program takes and gives back.
        bytes: match context.sizes() {
            Sizes::Quick => u64::MAX,
            Sizes::Full => connections as u64 * KEPT_OF_EACH,
        },
    };
    let told_of = |usage: &Usage| match most.bytes {
        u64::MAX => usage.held(),
        _ => format!("{}, {} KiB", usage.held(), usage.resident / 1024),
    };
    let mut before = settled(context, None)?;
    let mut told = format!("held: {}", told_of(&before));
    for _ in 0..2 {
        work(context)?;
        let after = settled(context, Some((before, most)))?;
        told += &format!("; then {}", told_of(&after));
        if !most.is_reached(before, after) {
            context.note(told);
            return Ok(());
        }
        before = after;
    }
    Err(CheckError::failed(format!(
        "{told}, with {connections} connections between"
    )))
}

/// What a program holds more than before if it keeps something of each connection.
#[derive(Debug, Clone, Copy)]
struct Growth {
    /// Of descriptors, threads or processes.
    count: usize,
    /// Of memory.
    bytes: u64,
}

impl Growth {
    fn is_reached(self, before: Usage, after: Usage) -> bool {
        let grown = |before: usize, after: usize| after >= before + self.count;
        grown(before.descriptors, after.descriptors)
            || grown(before.threads, after.threads)
            || grown(before.processes, after.processes)
            || after.resident.saturating_sub(before.resident) >= self.bytes
    }
}

/// What the program holds, once it has given back what it gives back: not so many `times` more than before, or
/// what it still holds in the end.
fn settled(
    context: &mut CheckContext<'_>,
    before: Option<(Usage, Growth)>,
) -> Result<Usage, CheckError> {
    let limit = GIVING_BACK.min(context.deadline("the program").remaining() / 4);
    let deadline = Deadline::new(limit, "the program to give back what it has");
    let mut pause = Backoff::new(Duration::from_millis(1));
    context.clear();
    let mut last = context.usage()?;
    let mut same = 0;
    let done = |last: Usage, same: u32| match before {
        Some((before, most)) => !most.is_reached(before, last),
        // It has given back all when nothing changes any more, if nobody knows how much that is.
        None => same >= 10,
    };
    while !done(last, same) && !deadline.expired() {
        pause.sleep(&deadline);
        let next = context.usage()?;
        same = if next.held() == last.held() {
            same + 1
        } else {
            0
        };
        last = next;
    }
    Ok(last)
}

fn client_reset(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    reset(context.live()?.client)
}

fn service_reset(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    reset(context.live()?.service)
}

fn left_at_once(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.raw().map(drop)
}

fn left_in_handshake(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.half_handshake().map(drop)
}

/// The client has sent all that anybody takes, and resets.
fn stuck(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut both = context.live()?;
    let stream = both.client.stream();
    stream.set_deadline(Deadline::new(STUCK, "the service to read"));
    // That it does not go through is what is wanted.
    let _ = stream.write_all(&vec![0; TOO_MUCH]);
    reset(both.client)
}

/// What an ordinary client says in the handshake.
fn said(context: &mut CheckContext<'_>) -> Result<Vec<u8>, CheckError> {
    let request = context.request()?;
    context.clear();
    Ok(request)
}

/// From several threads at once.
fn leaving(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let times = match context.sizes() {
        Sizes::Quick => 100,
        Sizes::Full => 1000,
    };
    // How long that takes says how busy the machine is.
    context.works("an ordinary connection before")?;
    let request = said(context)?;
    let connector = context.connector();
    let deadline = context.deadline("a connection to the program");
    let next = AtomicUsize::new(0);
    let leave = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= times || deadline.expired() {
                return;
            }
            // A program that does not listen any more is found out below.
            let Ok(mut stream) = connector.connect(&deadline) else {
                return;
            };
            let _ = stream.write_all(&request[..number % (request.len() + 1)]);
            if number.is_multiple_of(3) {
                let _ = stream.reset();
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(leave);
        }
    });
    context.connected(times as u64);
    context.serves_again("an ordinary connection after clients that have left")
}

/// Starts it again with a hundred descriptors more than it needs, and takes all of them.
fn exhausted(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.works("an ordinary connection before")?;
    context.clear();
    let used = context.usage()?;
    if used.processes > 1 {
        let reason = "of several processes each has a limit of its own";
        return Err(CheckError::Skipped(reason.to_owned()));
    }
    let limit = used.descriptors + SPARE;
    context.stop();
    context.port_closed()?;
    match context.start_again_with(Some(limit)) {
        Err(CheckError::Failed(message, _)) => {
            let reason = format!("with {limit} descriptors it does not start: {message}");
            return Err(CheckError::Skipped(reason));
        }
        done => done?,
    }
    context.evidence.may_end = false;
    let request = said(context)?;
    let connector = context.connector();
    // A program that accepts nobody lets the system answer, or not, in the end.
    let deadline = Deadline::new(
        context.scaled_timeout(WINDOW),
        "a connection to the program",
    );
    let mut clients = Vec::new();
    for _ in 0..MORE {
        let Ok(mut stream) = connector.connect(&deadline) else {
            break;
        };
        let _ = stream.write_all(&request);
        clients.push(stream);
    }
    // It is at its limit when all are taken, or soon.
    let soon = Deadline::new(context.scaled_timeout(WINDOW), "the limit");
    let mut pause = Backoff::new(Duration::from_millis(1));
    let mut most = 0;
    while most + 1 < limit && !soon.expired() && context.is_running() {
        most = most.max(context.usage().map_or(0, |usage| usage.descriptors));
        pause.sleep(&soon);
    }
    context.note(format!("{most} of {limit} descriptors were in use"));
    drop(clients);
    context.serves_again("an ordinary connection after descriptors had run out")
}
