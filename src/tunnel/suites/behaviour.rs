//! The suite about what the standards leave open: recorded and not judged, so that two versions of a
//! program can be compared.
//!
//! Values are coarse, so that two runs of one program say the same. A record is there in every run of
//! the same kind of tunnel: what could not be seen is `unknown`.

use std::time::{Duration, Instant};

use super::probe::{Answer, Close, Side, coarse, coarse_since};
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::End;
use crate::tunnel::programs::child;
use crate::tunnel::programs::child::End as ProgramEnd;
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::route::Target;
use crate::tunnel::suites::probe;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "behaviour",
    routes: Routes::First,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        plan(
            "client-half-close",
            "what becomes of the client's half-close",
            |trial| recorded(trial, &HALF_CLOSE, &|trial| half_close(trial, Side::Client)),
        ),
        plan(
            "service-half-close",
            "what becomes of the service's half-close",
            |trial| {
                recorded(trial, &HALF_CLOSE, &|trial| {
                    half_close(trial, Side::Service)
                })
            },
        ),
        plan(
            "client-reset",
            "what the service sees when the client resets",
            |trial| recorded(trial, &["becomes"], &|trial| reset(trial, Side::Client)),
        ),
        plan(
            "service-reset",
            "what the client sees when the service resets",
            |trial| recorded(trial, &["becomes"], &|trial| reset(trial, Side::Service)),
        ),
        plan(
            "refused",
            "what a client is told when the service refuses",
            |trial| recorded(trial, &REPLY, &refused),
        )
        .own(),
        plan(
            "unreachable",
            "what a client is told when there is no way",
            |trial| recorded(trial, &REPLY, &unreachable),
        ),
        plan(
            "unresolvable",
            "what a client is told of a name that cannot exist",
            |trial| recorded(trial, &REPLY, &unresolvable),
        ),
        plan("ready", "how long it takes to listen", |trial| {
            recorded(trial, &["after"], &ready)
        })
        .own(),
        plan("term-idle", "how it ends by TERM", |trial| {
            recorded(trial, &END, &|trial| end(trial, Signal::Term, false))
        })
        .own(),
        plan(
            "term-live",
            "how it ends by TERM with a live connection",
            |trial| recorded(trial, &END, &|trial| end(trial, Signal::Term, true)),
        )
        .own(),
        plan("int-idle", "how it ends by INT", |trial| {
            recorded(trial, &END, &|trial| end(trial, Signal::Int, false))
        })
        .own(),
        plan(
            "int-live",
            "how it ends by INT with a live connection",
            |trial| recorded(trial, &END, &|trial| end(trial, Signal::Int, true)),
        )
        .own(),
    ]),
};

const HALF_CLOSE: [&str; 3] = ["becomes", "end", "cut"];
const REPLY: [&str; 3] = ["reply", "after", "close"];
const END: [&str; 2] = ["status", "after"];

/// What is recorded of what could not be seen.
const UNKNOWN: &str = "unknown";
/// The most of a reply that is recorded, in characters.
const LONGEST: usize = 200;

const fn plan(
    name: &'static str,
    statement: &'static str,
    run: fn(&mut Trial<'_>) -> Result<(), Stop>,
) -> Plan {
    // When something was seen is part of most records.
    Plan::may(name, statement, "harness", run)
        .alone()
        .patience(2)
}

/// Makes sure that each of `names` is recorded, unless it makes no sense for this kind of tunnel.
fn recorded(
    trial: &mut Trial<'_>,
    names: &[&str],
    look: &dyn Fn(&mut Trial<'_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let done = look(trial);
    if !matches!(done, Err(Stop::Skipped(_))) {
        for name in names {
            let records = &trial.seen.measures.records;
            if !records.iter().any(|(known, _)| known == name) {
                trial.record(name, UNKNOWN);
            }
        }
    }
    done
}

/// How long to look for what may not come.
fn patience(trial: &Trial<'_>) -> Duration {
    let limit = match trial.sizes() {
        Sizes::Quick => Duration::from_secs(1),
        Sizes::Full => Duration::from_secs(5),
    };
    let limit = trial.unhurried(limit);
    limit.min(trial.deadline.remaining() / 4)
}

/// `near` says that it has sent all, and both wait. Some programs close the other way after a while.
fn half_close(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let (mut near, mut far) = trial.sides(near)?;
    near.send(b"All.\r\n")?;
    let failed = near.stream().shutdown_write().is_err();
    if failed {
        return Err(near.failed("the half cannot be closed"));
    }
    far.expect("the words before the half-close", b"All.\r\n")?;
    let begun = Instant::now();
    let limit = patience(trial);
    let end = far.close_within(limit)?;
    trial.record("end", when(end, begun));
    let cut = near.close_within(limit)?;
    trial.record("cut", when(cut, begun));
    trial.record(
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
fn reset(trial: &mut Trial<'_>, near: Side) -> Result<(), Stop> {
    let (mut near, mut far) = trial.sides(near)?;
    near.send(b"Here.\r\n")?;
    far.expect("the words before the reset", b"Here.\r\n")?;
    probe::reset(near)?;
    let becomes = far.close_within(patience(trial))?;
    trial.record("becomes", becomes.name());
    Ok(())
}

fn refused(trial: &mut Trial<'_>) -> Result<(), Stop> {
    trial.still_works()?;
    trial.refuse(true)?;
    let client = trial.raw()?;
    reply(trial, client, &Target::Address(trial.route().service))
}

fn unreachable(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let nowhere = probe::nowhere(trial.route().service.ip());
    speaks(trial)?;
    let client = trial.raw()?;
    reply(trial, client, &Target::Address(nowhere))
}

/// A label of 64 characters: no resolver can ask for it (RFC 1035, section 2.3.4), so none does.
fn unresolvable(trial: &mut Trial<'_>) -> Result<(), Stop> {
    if !trial.tunnel().takes_names() {
        return Err(Stop::Skipped("this kind takes no names".to_owned()));
    }
    let client = trial.raw()?;
    let name = format!("{}.invalid", "x".repeat(64));
    reply(trial, client, &Target::Name(name, 9))
}

/// Only a kind with a handshake can be asked for another destination.
fn speaks(trial: &mut Trial<'_>) -> Result<(), Stop> {
    match trial.request()?.is_empty() {
        true => Err(Trial::no_handshake()),
        false => Ok(()),
    }
}

/// Asks for `target`, and records what the client is told.
fn reply(trial: &mut Trial<'_>, mut client: End, target: &Target) -> Result<(), Stop> {
    let begun = Instant::now();
    let answer = trial.ask(&mut client, target)?;
    let after = coarse_since(begun);
    let close = client.drain(patience(trial));
    let (told, after) = match answer {
        Answer::Refused(how) => (how.chars().take(LONGEST).collect(), after),
        Answer::Connected => ("success".to_owned(), after),
        Answer::Forwards => ("none".to_owned(), when(close, begun)),
    };
    trial.record("reply", told);
    trial.record("after", after);
    trial.record("close", close.name());
    Ok(())
}

fn ready(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let after = trial.ready_after();
    trial.note(format!("ready after {after:.1?}"));
    trial.record("after", coarse(after));
    Ok(())
}

/// How the program ends by `signal`: its status, and how soon.
fn end(trial: &mut Trial<'_>, signal: Signal, live: bool) -> Result<(), Stop> {
    let both = match live {
        true => Some(trial.connect()?),
        false => trial.still_works().map(|()| None)?,
    };
    let told = trial.tell(signal, Whom::Group);
    let ends = trial.stop();
    drop(both);
    let statuses: Vec<String> = ends.iter().map(status).collect();
    for end in &ends {
        trial.note(end.describe());
    }
    trial.record("status", statuses.join("; "));
    trial.record("after", coarse(told.elapsed));
    Ok(())
}

/// How a program ended, without what differs from run to run.
fn status(end: &ProgramEnd) -> String {
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
