//! The suite about what the standards leave open: recorded and not judged, so that two versions of a
//! program can be compared.
//!
//! Values are coarse, so that two runs of one program say the same. A record is there in every run of
//! the same kind of tunnel: what could not be seen is `unknown`.

use std::time::{Duration, Instant};

use super::probe::{Answer, Close, Side, coarse, coarse_since};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::Endpoint;
use crate::tunnel::programs::child;
use crate::tunnel::programs::child::ExitReport;
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::route::Target;
use crate::tunnel::suites::probe;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "behaviour",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        def(
            "client-half-close",
            "what becomes of the client's half-close",
            |context| {
                recorded(context, &HALF_CLOSE, &|context| {
                    half_close(context, Side::Client)
                })
            },
        ),
        def(
            "service-half-close",
            "what becomes of the service's half-close",
            |context| {
                recorded(context, &HALF_CLOSE, &|context| {
                    half_close(context, Side::Service)
                })
            },
        ),
        def(
            "client-reset",
            "what the service sees when the client resets",
            |context| {
                recorded(context, &["becomes"], &|context| {
                    reset(context, Side::Client)
                })
            },
        ),
        def(
            "service-reset",
            "what the client sees when the service resets",
            |context| {
                recorded(context, &["becomes"], &|context| {
                    reset(context, Side::Service)
                })
            },
        ),
        def(
            "refused",
            "what a client is told when the service refuses",
            |context| recorded(context, &REPLY, &refused),
        )
        .fresh_process(),
        def(
            "unreachable",
            "what a client is told when there is no way",
            |context| recorded(context, &REPLY, &unreachable),
        ),
        def(
            "unresolvable",
            "what a client is told of a name that cannot exist",
            |context| recorded(context, &REPLY, &unresolvable),
        ),
        def("ready", "how long it takes to listen", |context| {
            recorded(context, &["after"], &ready)
        })
        .fresh_process(),
        def("term-idle", "how it ends by TERM", |context| {
            recorded(context, &END, &|context| end(context, Signal::Term, false))
        })
        .fresh_process(),
        def(
            "term-live",
            "how it ends by TERM with a live connection",
            |context| recorded(context, &END, &|context| end(context, Signal::Term, true)),
        )
        .fresh_process(),
        def("int-idle", "how it ends by INT", |context| {
            recorded(context, &END, &|context| end(context, Signal::Int, false))
        })
        .fresh_process(),
        def(
            "int-live",
            "how it ends by INT with a live connection",
            |context| recorded(context, &END, &|context| end(context, Signal::Int, true)),
        )
        .fresh_process(),
    ]),
};

const HALF_CLOSE: [&str; 3] = ["becomes", "end", "cut"];
const REPLY: [&str; 3] = ["reply", "after", "close"];
const END: [&str; 2] = ["status", "after"];

/// What is recorded of what could not be seen.
const UNKNOWN: &str = "unknown";
/// The most of a reply that is recorded, in characters.
const LONGEST: usize = 200;

const fn def(
    name: &'static str,
    statement: &'static str,
    run: fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
) -> CheckDef {
    // When something was seen is part of most records.
    CheckDef::may(name, statement, "harness", run)
        .exclusive()
        .timeout_factor(2)
}

/// Makes sure that each of `names` is recorded, unless it makes no sense for this kind of tunnel.
fn recorded(
    context: &mut CheckContext<'_>,
    names: &[&str],
    look: &dyn Fn(&mut CheckContext<'_>) -> Result<(), CheckError>,
) -> Result<(), CheckError> {
    let done = look(context);
    if !matches!(done, Err(CheckError::Skipped(_))) {
        for name in names {
            let records = &context.evidence.measures.records;
            if !records.iter().any(|(known, _)| known == name) {
                context.record(name, UNKNOWN);
            }
        }
    }
    match done {
        // Nothing is judged here; but a program that ends is told by who makes the check.
        Err(CheckError::Failed(message, _)) => {
            Err(CheckError::Skipped(format!("not seen: {message}")))
        }
        done => done,
    }
}

/// How long to look for what may not come.
fn patience(context: &CheckContext<'_>) -> Duration {
    let limit = match context.sizes() {
        Sizes::Quick => Duration::from_secs(1),
        Sizes::Full => Duration::from_secs(5),
    };
    let limit = context.scaled_timeout(limit);
    limit.min(context.deadline.remaining() / 4)
}

/// `near` says that it has sent all, and both wait. Some programs close the other way after a while.
fn half_close(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let (mut near, mut far) = context.sides(near)?;
    near.send(b"All.\r\n")?;
    let failed = near.stream().shutdown_write().is_err();
    if failed {
        return Err(near.failed("the half cannot be closed"));
    }
    far.expect("the words before the half-close", b"All.\r\n")?;
    let begun = Instant::now();
    let limit = patience(context);
    let end = far.close_within(limit)?;
    context.record("end", when(end, begun));
    let cut = near.close_within(limit)?;
    context.record("cut", when(cut, begun));
    context.record(
        "becomes",
        match (end, cut) {
            (Close::Nothing, _) => "held",
            (_, Close::Nothing) => "carried",
            _ => "cut",
        },
    );
    Ok(())
}

/// `near` resets; the far end sees something or nothing.
fn reset(context: &mut CheckContext<'_>, near: Side) -> Result<(), CheckError> {
    let (mut near, mut far) = context.sides(near)?;
    near.send(b"Here.\r\n")?;
    far.expect("the words before the reset", b"Here.\r\n")?;
    probe::reset(near)?;
    let becomes = far.close_within(patience(context))?;
    context.record("becomes", becomes.name());
    Ok(())
}

fn refused(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    context.still_works()?;
    context.refuse(true)?;
    let client = context.raw()?;
    reply(context, client, &Target::Address(context.route().service))
}

fn unreachable(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let nowhere = probe::nowhere(context.route().service.ip());
    speaks(context)?;
    let client = context.raw()?;
    reply(context, client, &Target::Address(nowhere))
}

/// A label of 64 characters: no resolver can ask for it (RFC 1035, section 2.3.4), so none does.
fn unresolvable(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    if !context.tunnel().takes_names() {
        return Err(CheckError::Skipped("this kind takes no names".to_owned()));
    }
    let client = context.raw()?;
    let name = format!("{}.invalid", "x".repeat(64));
    reply(context, client, &Target::Name(name, 9))
}

/// Only a kind with a handshake can be asked for another destination.
fn speaks(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    match context.request()?.is_empty() {
        true => Err(CheckContext::no_handshake()),
        false => Ok(()),
    }
}

/// Asks for `target`, and records what the client is told.
fn reply(
    context: &mut CheckContext<'_>,
    mut client: Endpoint,
    target: &Target,
) -> Result<(), CheckError> {
    let begun = Instant::now();
    let answer = context.ask(&mut client, target)?;
    let after = coarse_since(begun);
    let close = client.drain(patience(context));
    let (told, after) = match answer {
        Answer::Refused(how) => (how.chars().take(LONGEST).collect(), after),
        Answer::Connected => ("success".to_owned(), after),
        Answer::Forwards => ("none".to_owned(), when(close, begun)),
    };
    context.record("reply", told);
    context.record("after", after);
    context.record("close", close.name());
    Ok(())
}

fn ready(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let after = context.ready_after();
    context.note(format!("ready after {after:.1?}"));
    context.record("after", coarse(after));
    Ok(())
}

/// How the program ends by `signal`: its status, and how soon.
fn end(context: &mut CheckContext<'_>, signal: Signal, live: bool) -> Result<(), CheckError> {
    let both = match live {
        true => Some(context.connect()?),
        false => context.still_works().map(|()| None)?,
    };
    let told = context.send_signal(signal, Whom::Group);
    let ends = context.stop();
    drop(both);
    let statuses: Vec<String> = ends.iter().map(status).collect();
    for end in &ends {
        context.note(end.describe());
    }
    context.record("status", statuses.join("; "));
    context.record("after", coarse(told.elapsed));
    Ok(())
}

/// How a program ended, without what differs from run to run.
fn status(end: &ExitReport) -> String {
    let how = match end.status {
        Some(status) if !end.killed => child::describe(status),
        _ => "goes on".to_owned(),
    };
    end.named(&how)
}

/// When something was seen, if it was.
fn when(close: Close, begun: Instant) -> &'static str {
    match close {
        Close::Nothing => "not seen",
        _ => coarse_since(begun),
    }
}
