//! The run: which checks are made, on which processes, and what runs side by side.

mod hope;
pub(crate) mod journal;
mod plan;
pub(crate) mod recorder;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::server::failure::panic_message;
use crate::tunnel::check::context::{CheckContext, Evidence, Kept};
use crate::tunnel::check::definition::{CheckDef, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Options;
use crate::tunnel::core::requirement::Requirement;
use crate::tunnel::ends::address::Addresses;
use crate::tunnel::ends::random::Random;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::connector::Manners;
use crate::tunnel::link::program::{LaunchSpec, StartedProgram};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::{Ended, Report, Strictness};
use plan::{Task, Work, tasks};
use recorder::{LAST_GRACE, RunRecorder, TaskRecorder};

/// How long finding addresses may take.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(10);

/// Written down only when it does not hold: what is then left of the group is not reached.
const START: Requirement = Requirement::new(
    Strictness::Must,
    "start",
    "the program listens where it was told to, and a client can connect",
    "harness",
);

/// Written down in the same way.
const ORDINARY: Requirement = Requirement::new(
    Strictness::Must,
    "ordinary",
    "an ordinary connection works: without that, nothing else here says anything",
    "harness",
);

/// Runs the suites of `tables`.
pub(crate) fn run(
    tunnel: &Arc<dyn Tunnel>,
    options: &Options,
    suites: &[&'static SuiteDef],
) -> Result<Report, Error> {
    let recorder = RunRecorder::open(options, &tunnel.slug())?;
    let limit = ADDRESSES_LIMIT.min(options.deadline);
    let deadline = Deadline::new(limit, "addresses that can connect");
    let addresses = Addresses::find(options.interfaces, &deadline);
    if addresses.is_empty() {
        let message = match deadline.check() {
            Ok(_) => "no two addresses of this machine can connect to each other".to_owned(),
            Err(error) => error.to_string(),
        };
        return Err(Error::new(ErrorKind::Address, message, None));
    }
    let manners = Manners::default();
    let tasks = tasks(tunnel, options, suites, &addresses, &manners);
    recorder.expect(tasks.iter().map(Task::checks).sum());
    let (exclusive, together): (Vec<&Task<'_>>, _) =
        tasks.iter().partition(|task| task.is_exclusive());
    let groups = Groups::default();
    let jobs = match tunnel.running() {
        // What already runs may have one service for all.
        Some(_) => 1,
        None => options.jobs.max(1),
    };
    // Measurements come last, when nobody else is left.
    for (tasks, jobs) in [(together, jobs), (exclusive, 1)] {
        let next = AtomicUsize::new(0);
        let work = || Worker::new(&recorder, &groups).work(&tasks, &next);
        thread::scope(|scope| {
            let others = 1..jobs.min(tasks.len());
            // Where no more threads can be had, the others do all.
            let worker = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let others: Vec<_> = others.filter_map(worker).collect();
            work();
            for worker in others {
                // The user's own code may panic: the test gets that panic, not one about a thread.
                worker
                    .join()
                    .unwrap_or_else(|payload| resume_unwind(payload));
            }
        });
    }
    recorder.into_report(tunnel.slug())
}

/// Whether the program could be started at all in a group, as the first lane there found out.
#[derive(Default)]
struct Groups {
    found: Mutex<Vec<(GroupName, Arc<Mutex<Found>>)>>,
}

/// The group and the round.
type GroupName = (String, u32);

#[derive(Default)]
enum Found {
    #[default]
    Nothing,
    Starts,
    /// This does not hold.
    Fails(&'static Requirement),
}

impl Groups {
    fn of(&self, task: &Task<'_>) -> Arc<Mutex<Found>> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |name: &GroupName| name.0 == task.group && name.1 == task.round;
        if let Some((_, known)) = found.iter().find(|(name, _)| is_it(name)) {
            return Arc::clone(known);
        }
        let new = Arc::default();
        found.push(((task.group.clone(), task.round), Arc::clone(&new)));
        new
    }
}

/// One thread of the run, with the process that its checks share.
struct Worker<'a> {
    recorder: &'a RunRecorder<'a>,
    groups: &'a Groups,
    shared: Option<Shared<'a>>,
}

struct Shared<'a> {
    group: String,
    round: u32,
    program: StartedProgram<'a>,
}

/// Why there is no program for a check.
enum NoProgram {
    /// Somebody else has said so, or does now: this does not hold.
    Reported(&'static Requirement),
    /// Why, and what became of those that were started.
    Failed(CheckError, Vec<Ended>),
}

impl<'a> Worker<'a> {
    fn new(recorder: &'a RunRecorder<'a>, groups: &'a Groups) -> Worker<'a> {
        Worker {
            recorder,
            groups,
            shared: None,
        }
    }

    fn work(mut self, tasks: &[&Task<'a>], next: &AtomicUsize) {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !self.recorder.knows(task.place, &task.name(), task.round) {
                self.make(task);
            }
        }
        self.give_back();
    }

    fn make(&mut self, task: &Task<'a>) {
        let mut record = self.record(task);
        let closed = self.recorder.closed(task.suite());
        match (&task.work, closed) {
            (Work::LeaveOut(reason), _) => record.leave_out(CheckError::Skipped(reason.clone())),
            (Work::Sequence(..), Some(error)) => record.leave_out(error),
            (Work::Single(_, def, _), Some(error)) => {
                record.make_again();
                record.write(
                    &def.requirement,
                    Err(error),
                    Evidence::default(),
                    Duration::ZERO,
                );
            }
            (Work::Sequence(_, defs), None) if record.skips_all(defs) => {
                for def in defs {
                    record.write(
                        &def.requirement,
                        Ok(()),
                        Evidence::default(),
                        Duration::ZERO,
                    );
                }
            }
            (Work::Sequence(spec, defs), None) => self.sequence(task, spec, defs, &mut record),
            (Work::Single(spec, def, _), None) => self.def(task, spec, def, &mut record),
        }
    }

    fn record(&self, task: &Task<'_>) -> TaskRecorder<'a> {
        let group = task.group.clone();
        self.recorder
            .record(task.place, task.name(), group, task.round)
    }

    /// Makes one check that requires no other.
    fn def(
        &mut self,
        task: &Task<'a>,
        spec: &LaunchSpec<'a>,
        def: &CheckDef,
        record: &mut TaskRecorder<'_>,
    ) {
        if self.recorder.options.skips(&task.name()).is_some() {
            // `write` gives the reason.
            return record.write(
                &def.requirement,
                Ok(()),
                Evidence::default(),
                Duration::ZERO,
            );
        }
        if def.fresh_process && spec.tunnel.running().is_some() {
            let error = CheckError::Skipped(
                "for this check a program is started, and this one already runs".to_owned(),
            );
            return record.write(
                &def.requirement,
                Err(error),
                Evidence::default(),
                Duration::ZERO,
            );
        }
        let program = match self.program(task, spec, def) {
            Ok(program) => program,
            Err(NoProgram::Reported(requirement)) => {
                let reason = format!("not reached, as {}/{} failed", task.group, requirement.name);
                let error = CheckError::Skipped(reason);
                record.make_again();
                return record.write(
                    &def.requirement,
                    Err(error),
                    Evidence::default(),
                    Duration::ZERO,
                );
            }
            Err(NoProgram::Failed(error, programs)) => {
                record.write(
                    &def.requirement,
                    Err(error),
                    Evidence::default(),
                    Duration::ZERO,
                );
                return record.explain(&programs);
            }
        };
        record.set_route(program.connector().route);
        let mut context = self.context(task, &task.name(), program, def.timeout_factor);
        let done = catch_unwind(AssertUnwindSafe(|| def.make(&mut context)));
        let done = done.unwrap_or_else(|payload| {
            let message = format!("the check panicked: {}", panic_message(payload));
            Err(CheckError::NotMade(message))
        });
        let elapsed = context.deadline.elapsed();
        context.note_health_checks();
        let CheckContext {
            mut program,
            evidence,
            ..
        } = context;
        let done = match evidence.may_end {
            true => done,
            false => or_death(done, &mut program),
        };
        let failed = !matches!(
            done,
            Ok(()) | Err(CheckError::Unsupported(_) | CheckError::Skipped(_))
        );
        // One that was told to end may be seen to run for a moment, when its connections have closed.
        let may_stay = !def.fresh_process && !evidence.may_end;
        record.write(&def.requirement, done, evidence, elapsed);
        if failed {
            record.explain(&program.explain(LAST_GRACE));
        } else if may_stay && program.is_as_new() {
            self.shared = Some(Shared {
                group: task.group.clone(),
                round: task.round,
                program,
            });
        } else {
            program.child().stop(LAST_GRACE);
        }
    }

    /// Makes checks one after the other, on a process that is theirs.
    fn sequence(
        &self,
        task: &Task<'a>,
        spec: &LaunchSpec<'a>,
        defs: &[CheckDef],
        record: &mut TaskRecorder<'_>,
    ) {
        let program = match spec.start() {
            Ok(program) => program,
            Err(error) => {
                record.leave_out(CheckError::failed(error.to_string()));
                return self.recorder.keep_error(task.place, error);
            }
        };
        record.set_route(program.connector().route);
        let mut context = self.context(task, &task.group, program, 1);
        let mut reached = true;
        for def in defs {
            if !reached && !def.always {
                record.skip(&def.requirement);
                continue;
            }
            if def.always {
                // Whoever still talks through the program would hold up its end.
                context.kept.close();
            }
            if def.always && record.is_broken() {
                context.program.child().settle();
            }
            let id = format!("{}/{}", task.group, def.requirement.name);
            let random = Random::for_check(self.recorder.options.seed, &id, task.round);
            context.begin(
                self.recorder.limit(def.timeout_factor),
                random,
                self.recorder.grace(),
            );
            let done = record.may_run().and_then(|()| def.make(&mut context));
            context.note_health_checks();
            let evidence = std::mem::take(&mut context.evidence);
            let done = match done {
                Err(error) if !def.always => or_death(Err(error), &mut context.program),
                done => done,
            };
            // What could not be looked at holds up nothing.
            let stops = matches!(
                done,
                Err(CheckError::Failed(..) | CheckError::Died(..) | CheckError::NotMade(_))
            );
            reached &= !stops || def.not_required;
            record.write(&def.requirement, done, evidence, context.deadline.elapsed());
        }
        record.explain(&context.program.explain(self.recorder.grace()));
    }

    /// What the check `id` works with, which may take `patience` times the usual.
    fn context(
        &self,
        task: &Task<'_>,
        id: &str,
        program: StartedProgram<'a>,
        timeout_factor: u32,
    ) -> CheckContext<'a> {
        let options = self.recorder.options;
        CheckContext {
            program,
            deadline: Deadline::new(self.recorder.limit(timeout_factor), "the check to end"),
            opening: self.recorder.limit(1),
            random: Random::for_check(options.seed, id, task.round),
            evidence: Evidence::default(),
            sizes: options.sizes,
            grace: self.recorder.grace(),
            kept: Kept::default(),
        }
    }

    /// A program for this check: this lane's, or a new one.
    fn program(
        &mut self,
        task: &Task<'a>,
        spec: &LaunchSpec<'a>,
        def: &CheckDef,
    ) -> Result<StartedProgram<'a>, NoProgram> {
        if !def.fresh_process {
            let same = |s: &mut Shared<'_>| s.group == task.group && s.round == task.round;
            if let Some(shared) = self.shared.take_if(same) {
                return Ok(shared.program);
            }
            self.give_back();
        }
        let group = self.groups.of(task);
        // Whoever comes first finds out for all; that wait is bounded by the deadlines of two checks.
        let mut found = group.lock().unwrap_or_else(PoisonError::into_inner);
        match *found {
            Found::Fails(requirement) => Err(NoProgram::Reported(requirement)),
            Found::Starts => {
                drop(found);
                let not_made = |error: Error| {
                    NoProgram::Failed(CheckError::NotMade(error.to_string()), Vec::new())
                };
                let mut program = spec.start().map_err(not_made)?;
                let error = match self.get_ready(&mut program) {
                    Ok(()) => return Ok(program),
                    // It could be started before, and what was done to that one was no reason not to.
                    Err(CheckError::Failed(message, failure)) => CheckError::Died(message, failure),
                    Err(error) => error,
                };
                let error = match program.death(LAST_GRACE) {
                    Some(how) => CheckError::by_death(Err(error), &how),
                    None => error,
                };
                Err(NoProgram::Failed(error, program.explain(LAST_GRACE)))
            }
            Found::Nothing => {
                let started = self.first_start(task, spec);
                *found = match &started {
                    Ok(_) => Found::Starts,
                    Err(requirement) => Found::Fails(requirement),
                };
                started.map_err(NoProgram::Reported)
            }
        }
    }

    /// The first start in a group, and what its checks require; what of that fails is written down.
    fn first_start(
        &self,
        task: &Task<'a>,
        spec: &LaunchSpec<'a>,
    ) -> Result<StartedProgram<'a>, &'static Requirement> {
        let begun = Instant::now();
        let mut program = spec.start().map_err(|error| {
            let failed = CheckError::failed(error.to_string());
            self.record_broken(task, &START, failed, begun.elapsed(), None);
            self.recorder.keep_error(task.place, error);
            &START
        })?;
        if let Err(error) = self.get_ready(&mut program) {
            self.record_broken(task, &START, error, begun.elapsed(), Some(program));
            return Err(&START);
        }
        if matches!(task.work, Work::Single(_, _, true)) {
            let deadline = Deadline::new(self.recorder.limit(1), "an ordinary connection");
            let both = program.open(None, &deadline);
            if let Err(error) = both.and_then(|both| both.whole(&deadline)) {
                self.record_broken(task, &ORDINARY, error, deadline.elapsed(), Some(program));
                return Err(&ORDINARY);
            }
        }
        Ok(program)
    }

    /// Writes down that `rule` does not hold in a group, whether anybody asked for it or not.
    fn record_broken(
        &self,
        task: &Task<'a>,
        requirement: &Requirement,
        error: CheckError,
        elapsed: Duration,
        program: Option<StartedProgram<'a>>,
    ) {
        let group = task.group.clone();
        let name = format!("{group}/{}", requirement.name);
        let mut record = self.recorder.record(task.place, name, group, task.round);
        record.make_again();
        record.report_all();
        let Some(mut program) = program else {
            return record.write(requirement, Err(error), Evidence::default(), elapsed);
        };
        record.set_route(program.connector().route);
        let broken = or_death(Err(error), &mut program);
        record.write(requirement, broken, Evidence::default(), elapsed);
        record.explain(&program.explain(LAST_GRACE));
    }

    fn get_ready(&self, program: &mut StartedProgram<'_>) -> Result<(), CheckError> {
        let deadline = Deadline::new(self.recorder.limit(1), "the program to listen");
        program.get_ready(&deadline)
    }

    /// Ends the shared program. How it ends is judged elsewhere, so it gets little time.
    fn give_back(&mut self) {
        if let Some(mut shared) = self.shared.take() {
            shared.program.child().stop(LAST_GRACE);
        }
    }
}

/// What has become of a check, whose program should still run.
fn or_death(
    done: Result<(), CheckError>,
    program: &mut StartedProgram<'_>,
) -> Result<(), CheckError> {
    match program.death(LAST_GRACE) {
        Some(how) => Err(CheckError::by_death(done, &how)),
        None => done,
    }
}

#[cfg(test)]
mod tests;
