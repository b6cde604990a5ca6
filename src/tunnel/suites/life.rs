//! The suite about the program's own life: it comes up, and goes when it is told to.

use std::time::Duration;

use super::connectivity;
use super::probe::Close;
use crate::deadline::Deadline;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Conversation;
use crate::tunnel::programs::child::ExitReport;
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::report::Strictness;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "life",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(&[
        CheckDef::harness(
            "ready",
            "started several times, it listens each time",
            ready,
        )
        .fresh_process()
        .exclusive()
        .timeout_factor(3),
        def("term-idle/ends", ENDS_BY_TERM, |t| ends(t, TERM_IDLE)),
        def("term-idle/status", STATUS, |t| status(t, TERM_IDLE)),
        def("term-idle/gone", GONE, |t| gone(t, TERM_IDLE)),
        def("term-idle/again", AGAIN, |t| again(t, TERM_IDLE)),
        def("term-live/ends", ENDS_BY_TERM, |t| ends(t, TERM_LIVE)),
        def("term-live/status", STATUS, |t| status(t, TERM_LIVE)),
        def("term-live/gone", GONE, |t| gone(t, TERM_LIVE)),
        def("term-live/again", AGAIN, |t| again(t, TERM_LIVE)),
        def("int-idle/ends", ENDS_BY_INT, |t| ends(t, INT_IDLE)),
        def("int-idle/status", STATUS, |t| status(t, INT_IDLE)),
        def("int-idle/gone", GONE, |t| gone(t, INT_IDLE)),
        def("int-idle/again", AGAIN, |t| again(t, INT_IDLE)),
        def("int-live/ends", ENDS_BY_INT, |t| ends(t, INT_LIVE)),
        def("int-live/status", STATUS, |t| status(t, INT_LIVE)),
        def("int-live/gone", GONE, |t| gone(t, INT_LIVE)),
        def("int-live/again", AGAIN, |t| again(t, INT_LIVE)),
        CheckDef::harness(
            "leaves-nobody",
            "when TERM has ended the program's own process, nothing that it has started runs",
            leaves_nobody,
        )
        .fresh_process()
        .timeout_factor(2),
        CheckDef::harness(
            "leaves-nobody-live",
            "the same with a live connection",
            leaves_nobody_live,
        )
        .fresh_process()
        .timeout_factor(2),
    ]),
};

/// How long the processes of a live connection may take to end when the program has.
const CARRIED_ON: Duration = Duration::from_secs(2);

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

const fn def(
    name: &'static str,
    (strictness, statement): Statement,
    run: fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
) -> CheckDef {
    // Ending alone may take as long as a check.
    let def = CheckDef::new(strictness, name, statement, "harness", run);
    def.fresh_process().timeout_factor(2)
}

/// Measures how long it takes to listen.
fn ready(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let starts = match context.sizes() {
        Sizes::Quick => 3,
        Sizes::Full => 10,
    };
    let mut waits = vec![context.ready_after()];
    while waits.len() < starts {
        // Not left open: where the program is the one who closes, its port stays taken for a while.
        context.still_works()?;
        restart(context)?;
        waits.push(context.ready_after());
    }
    context.latencies(waits);
    Ok(())
}

fn ends(context: &mut CheckContext<'_>, scene: Scene) -> Result<(), CheckError> {
    let _live = signalled(context, scene)?;
    let ends = context.stop();
    connectivity::judge_ends(&ends, true, &mut context.evidence.notes)
}

fn status(context: &mut CheckContext<'_>, scene: Scene) -> Result<(), CheckError> {
    let _live = ended(context, scene)?;
    let number = scene.signal.number();
    let fine = |end: &ExitReport| {
        end.status.is_some_and(|status| {
            let of_signal = status.code() == Some(128 + number) || signal(status) == Some(number);
            status.success() || of_signal
        })
    };
    let ends = context.stop();
    for end in &ends {
        context.note(end.describe());
    }
    match ends.iter().find(|end| !fine(end)) {
        None => Ok(()),
        Some(end) => Err(CheckError::failed(end.describe())),
    }
}

fn gone(context: &mut CheckContext<'_>, scene: Scene) -> Result<(), CheckError> {
    let live = ended(context, scene)?;
    let patience = Deadline::new(settling(context), "the port to close");
    context.connector().port_closed(&patience)?;
    let Some(Conversation { client, service }) = live else {
        return Ok(());
    };
    for mut end in [client, service] {
        let left = context.deadline.remaining();
        if end.close_within(left)? == Close::Nothing {
            let message = format!("the program has ended, and {} sees no end", end.who());
            return Err(end.failed(message));
        }
    }
    Ok(())
}

fn again(context: &mut CheckContext<'_>, scene: Scene) -> Result<(), CheckError> {
    let live = ended(context, scene)?;
    restart(context)?;
    drop(live);
    context.still_works()
}

/// Ends it and all that it has started, and starts it again.
fn restart(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.stop();
    // What was killed and is nobody's child any more may need a moment to be gone.
    context.port_closed()?;
    context.start_again()
}

fn leaves_nobody(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.still_works()?;
    leaves(context, None)
}

/// As a service manager that knows the program's own process alone.
fn leaves_nobody_live(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let both = context.live()?;
    leaves(context, Some(both))
}

/// Ends the program's own process; nothing may be left of the others, which may carry `live` on.
fn leaves(context: &mut CheckContext<'_>, live: Option<Conversation>) -> Result<(), CheckError> {
    let signalled = context.send_signal(Signal::Term, Whom::Leader);
    if !signalled.ended {
        return Err(not_ended(context, Signal::Term));
    }
    let limit = match live {
        None => settling(context),
        // Many see no reason to end before the connection does.
        Some(_) => context.scaled_timeout(CARRIED_ON).min(settling(context)),
    };
    let deadline = Deadline::new(limit, "all that it has started to end");
    match context.program.child().descendants_end(&deadline) {
        Some(0) => Ok(()),
        Some(left) => {
            let at_once = Deadline::new(Duration::from_millis(1), "the port to close");
            let port = match context.connector().port_closed(&at_once) {
                Ok(()) => "its port is closed",
                Err(_) => "its port is open",
            };
            let carries = live.map(|mut both| match both.client.send(b"still?") {
                Ok(()) if both.service.expect("words", b"still?").is_ok() => {
                    ", and the connection is carried on"
                }
                _ => ", and the connection is over",
            });
            let carries = carries.unwrap_or_default();
            Err(CheckError::failed(format!(
                "the program has ended, and it has left {left} running: {port}{carries}"
            )))
        }
        None => Err(CheckError::Skipped(
            "this system does not tell which processes run".to_owned(),
        )),
    }
}

/// Uses the program, tells it to end and waits for that; the live connection, if there is to be one.
fn signalled(
    context: &mut CheckContext<'_>,
    scene: Scene,
) -> Result<Option<Conversation>, CheckError> {
    let live = match scene.live {
        false => {
            context.works("an ordinary connection before")?;
            None
        }
        true => Some(context.live()?),
    };
    context.send_signal(scene.signal, Whom::Group);
    Ok(live)
}

/// As [`signalled`], where the program must have ended by that for the check to make sense.
fn ended(context: &mut CheckContext<'_>, scene: Scene) -> Result<Option<Conversation>, CheckError> {
    let live = signalled(context, scene)?;
    match context.send_signal(scene.signal, Whom::Group) {
        signalled if signalled.ended && signalled.by_itself => Err(CheckError::Skipped(format!(
            "the program had ended before {}",
            scene.signal.name()
        ))),
        signalled if signalled.ended => Ok(live),
        _ => Err(not_ended(context, scene.signal)),
    }
}

/// How long after its end something of it may still be about to end.
fn settling(context: &CheckContext<'_>) -> Duration {
    context.deadline.remaining() / 4
}

fn not_ended(context: &CheckContext<'_>, signal: Signal) -> CheckError {
    let (name, limit) = (signal.name(), context.grace);
    CheckError::Skipped(format!("{name} has not ended the program within {limit:?}"))
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
