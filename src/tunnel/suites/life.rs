//! The suite about the program's own life: it comes up, and goes when it is told to.

use std::time::Duration;

use super::connectivity;
use super::probe::Close;
use crate::deadline::Deadline;
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::programs::child::End;
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::report::Strictness;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "life",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Standing(&[
        Plan::harness(
            "ready",
            "started several times, it listens each time",
            ready,
        )
        .own()
        .alone()
        .patience(3),
        plan("term-idle/ends", ENDS_BY_TERM, |t| ends(t, TERM_IDLE)),
        plan("term-idle/status", STATUS, |t| status(t, TERM_IDLE)),
        plan("term-idle/gone", GONE, |t| gone(t, TERM_IDLE)),
        plan("term-idle/again", AGAIN, |t| again(t, TERM_IDLE)),
        plan("term-live/ends", ENDS_BY_TERM, |t| ends(t, TERM_LIVE)),
        plan("term-live/status", STATUS, |t| status(t, TERM_LIVE)),
        plan("term-live/gone", GONE, |t| gone(t, TERM_LIVE)),
        plan("term-live/again", AGAIN, |t| again(t, TERM_LIVE)),
        plan("int-idle/ends", ENDS_BY_INT, |t| ends(t, INT_IDLE)),
        plan("int-idle/status", STATUS, |t| status(t, INT_IDLE)),
        plan("int-idle/gone", GONE, |t| gone(t, INT_IDLE)),
        plan("int-idle/again", AGAIN, |t| again(t, INT_IDLE)),
        plan("int-live/ends", ENDS_BY_INT, |t| ends(t, INT_LIVE)),
        plan("int-live/status", STATUS, |t| status(t, INT_LIVE)),
        plan("int-live/gone", GONE, |t| gone(t, INT_LIVE)),
        plan("int-live/again", AGAIN, |t| again(t, INT_LIVE)),
        Plan::harness(
            "leaves-nobody",
            "when TERM has ended the program's own process, nothing that it has started runs",
            leaves_nobody,
        )
        .own()
        .patience(2),
    ]),
};

/// What the program is told, and when.
#[derive(Debug, Clone, Copy)]
struct Scene {
    signal: Signal,
    /// With a live connection.
    live: bool,
}

const TERM_IDLE: Scene = scene(Signal::Term, false);
const TERM_LIVE: Scene = scene(Signal::Term, true);
const INT_IDLE: Scene = scene(Signal::Int, false);
const INT_LIVE: Scene = scene(Signal::Int, true);

type Statement = (Strictness, &'static str);

const ENDS_BY_TERM: Statement = (
    Strictness::Must,
    "TERM ends the program in time, and it does not crash",
);
const ENDS_BY_INT: Statement = (
    Strictness::Harness,
    "INT ends the program in time, and it does not crash",
);
const STATUS: Statement = (
    Strictness::Harness,
    "its status is success or that of the signal",
);
const GONE: Statement = (
    Strictness::Must,
    "when it has ended, nothing of it listens or answers",
);
const AGAIN: Statement = (
    Strictness::Harness,
    "when it has ended, it can listen at the same port at once",
);

const fn scene(signal: Signal, live: bool) -> Scene {
    Scene { signal, live }
}

const fn plan(
    name: &'static str,
    (strictness, statement): Statement,
    run: fn(&mut Trial<'_>) -> Result<(), Stop>,
) -> Plan {
    // Ending alone may take as long as a check.
    let plan = Plan::new(strictness, name, statement, "harness", run);
    plan.own().patience(2)
}

/// Measures how long it takes to listen.
fn ready(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let starts = match trial.sizes() {
        Sizes::Quick => 3,
        Sizes::Full => 10,
    };
    let mut waits = vec![trial.ready_after()];
    while waits.len() < starts {
        // Not left open: where the program is the one who closes, its port stays taken for a while.
        trial.still_works()?;
        restart(trial)?;
        waits.push(trial.ready_after());
    }
    trial.latencies(waits);
    Ok(())
}

fn ends(trial: &mut Trial<'_>, scene: Scene) -> Result<(), Stop> {
    let _live = told(trial, scene)?;
    let ends = trial.stop();
    connectivity::judge_ends(&ends, true, &mut trial.seen.notes)
}

fn status(trial: &mut Trial<'_>, scene: Scene) -> Result<(), Stop> {
    let _live = ended(trial, scene)?;
    let number = scene.signal.number();
    let fine = |end: &End| {
        end.status.is_some_and(|status| {
            let of_signal = status.code() == Some(128 + number) || signal(status) == Some(number);
            status.success() || of_signal
        })
    };
    let ends = trial.stop();
    for end in &ends {
        trial.note(end.describe());
    }
    match ends.iter().find(|end| !fine(end)) {
        None => Ok(()),
        Some(end) => Err(Stop::failed(end.describe())),
    }
}

fn gone(trial: &mut Trial<'_>, scene: Scene) -> Result<(), Stop> {
    let live = ended(trial, scene)?;
    let patience = Deadline::new(settling(trial), "the port to close");
    trial.line().port_closed(&patience)?;
    let Some(Conversation { client, service }) = live else {
        return Ok(());
    };
    for mut end in [client, service] {
        let left = trial.deadline.remaining();
        if end.close_within(left)? == Close::Nothing {
            let message = format!("the program has ended, and {} sees no end", end.who());
            return Err(end.failed(message));
        }
    }
    Ok(())
}

fn again(trial: &mut Trial<'_>, scene: Scene) -> Result<(), Stop> {
    let live = ended(trial, scene)?;
    restart(trial)?;
    drop(live);
    trial.still_works()
}

/// Ends it and all that it has started, and starts it again.
fn restart(trial: &mut Trial<'_>) -> Result<(), Stop> {
    trial.stop();
    // What was killed and is nobody's child any more may need a moment to be gone.
    trial.port_closed()?;
    trial.start_again()
}

fn leaves_nobody(trial: &mut Trial<'_>) -> Result<(), Stop> {
    trial.still_works()?;
    let told = trial.tell(Signal::Term, Whom::Leader);
    if !told.ended {
        return Err(not_ended(trial, Signal::Term));
    }
    let deadline = Deadline::new(settling(trial), "all that it has started to end");
    match trial.program.child().descendants_end(&deadline) {
        Some(0) => Ok(()),
        Some(left) => Err(Stop::failed(format!(
            "the program has ended, and it has left {left} running"
        ))),
        None => Err(Stop::Skipped(
            "this system does not tell which processes run".to_owned(),
        )),
    }
}

/// Uses the program, tells it to end and waits for that; the live connection, if there is to be one.
fn told(trial: &mut Trial<'_>, scene: Scene) -> Result<Option<Conversation>, Stop> {
    let live = match scene.live {
        false => {
            trial.works("an ordinary connection before")?;
            None
        }
        true => {
            let deadline = trial.deadline("a live connection");
            let mut both = trial.connect()?;
            both.greet_client(&deadline)?;
            both.greet_service(&deadline)?;
            Some(both)
        }
    };
    trial.tell(scene.signal, Whom::Group);
    Ok(live)
}

/// As [`told`], where the program must have ended by that for the check to make sense.
fn ended(trial: &mut Trial<'_>, scene: Scene) -> Result<Option<Conversation>, Stop> {
    let live = told(trial, scene)?;
    match trial.tell(scene.signal, Whom::Group) {
        told if told.ended && told.by_itself => Err(Stop::Skipped(format!(
            "the program had ended before {}",
            scene.signal.name()
        ))),
        told if told.ended => Ok(live),
        _ => Err(not_ended(trial, scene.signal)),
    }
}

/// How long after its end something of it may still be about to end.
fn settling(trial: &Trial<'_>) -> Duration {
    trial.deadline.remaining() / 4
}

fn not_ended(trial: &Trial<'_>, signal: Signal) -> Stop {
    let (name, limit) = (signal.name(), trial.grace);
    Stop::Skipped(format!("{name} has not ended the program within {limit:?}"))
}

#[cfg(unix)]
fn signal(status: std::process::ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// No such thing exists there.
#[cfg(not(unix))]
fn signal(_status: std::process::ExitStatus) -> Option<i32> {
    None
}
