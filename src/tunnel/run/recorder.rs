//! The book in which the checks of a run are written down, by all its threads.

use std::borrow::Cow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hope::Hope;
use super::journal::Journal;
use crate::deadline::Deadline;
use crate::tunnel::check::context::Evidence;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::core::options::Options;
use crate::tunnel::core::requirement::Requirement;
use crate::tunnel::error::Error;
use crate::tunnel::report::{
    Check, Ended, Expectation, ExpectationState, Measures, Outcome, Progress, Report, Strictness,
};
use crate::tunnel::route::Route;

/// The target of log records.
const TARGET: &str = "loopback::tunnel";
/// How long a program may take to end after TERM when nobody judges that, or when the run's time is
/// over.
pub(crate) const LAST_GRACE: Duration = Duration::from_secs(1);

/// What becomes of a whole combination that is not run.
const COMBINATION: Requirement = Requirement::new(
    Strictness::Must,
    "",
    "every combination of address families is run",
    "harness",
);

/// All checks of a run as they are made.
pub(crate) struct RunRecorder<'a> {
    pub(crate) options: &'a Options,
    begun: Instant,
    run: Deadline,
    /// How many checks there are.
    total: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The checks of each task that has ended, with its place in the report.
    done: Vec<(usize, Vec<Check>)>,
    journal: Option<Journal>,
    /// Why a combination could not be run, in the same way.
    errors: Vec<(usize, Error)>,
    warnings: Vec<String>,
    /// How many checks were taken from the journal.
    taken: usize,
    /// How many checks, or combinations of families, the run had no time for.
    not_run: usize,
    /// The check that ended the run.
    ended_by: Option<String>,
    hope: Hope,
    done_checks: usize,
    failed_checks: usize,
}

/// The checks of one task, on their way into the book.
pub(crate) struct TaskRecorder<'a> {
    recorder: &'a RunRecorder<'a>,
    /// The task's place in the report.
    place: usize,
    /// The task's name in the journal.
    task: String,
    group: String,
    round: u32,
    route: Option<Route>,
    checks: Vec<Check>,
    /// Whether the journal gets it: a run that goes on does not make its checks again then.
    keep: bool,
    /// Whether it is told even where nobody asked for it.
    report_all: bool,
    /// The last check whose statement does not hold: what stands on it is not reached.
    broken: Option<Broken>,
}

struct Broken {
    name: String,
    message: String,
    /// Whether the report has it as something that does not hold.
    told: bool,
}

/// Why a check is not made for which the run has no time left.
fn not_run(run: &Deadline) -> String {
    format!(
        "not run: the time of the whole run is over, {:?} (TunnelHarness::deadline)",
        run.limit()
    )
}

impl<'a> RunRecorder<'a> {
    pub(crate) fn open(options: &'a Options, tunnel: &str) -> Result<RunRecorder<'a>, Error> {
        let state = State {
            journal: Journal::open(options, tunnel)?,
            ..State::default()
        };
        Ok(RunRecorder {
            options,
            begun: Instant::now(),
            run: Deadline::new(options.deadline, "the run"),
            total: AtomicUsize::new(0),
            state: Mutex::new(state),
        })
    }

    /// Says how many checks there are, for who is told how far the run has come.
    pub(crate) fn expect(&self, checks: usize) {
        self.total.store(checks, Ordering::Relaxed);
    }

    fn tell(&self, state: &mut State, checks: &[Check]) {
        for last in checks {
            state.done_checks += 1;
            state.failed_checks += usize::from(last.outcome == Outcome::Failed);
            if let Some(hook) = &self.options.on_progress {
                hook.tell(Progress {
                    done: state.done_checks,
                    // What others require is told where it fails, and was not counted.
                    total: self.total.load(Ordering::Relaxed).max(state.done_checks),
                    failed: state.failed_checks,
                    last,
                });
            }
        }
    }

    /// Takes the checks of a task from an earlier run's journal; `false` if it is not in there.
    pub(crate) fn knows(&self, place: usize, task: &str, round: u32) -> bool {
        let mut state = self.state();
        let known = state.journal.as_mut().and_then(|j| j.take(task, round));
        match known {
            Some(checks) => {
                state.taken += checks.len();
                self.tell(&mut state, &checks);
                state.done.push((place, checks));
                true
            }
            None => false,
        }
    }

    pub(crate) fn record(
        &self,
        place: usize,
        task: String,
        group: String,
        round: u32,
    ) -> TaskRecorder<'_> {
        TaskRecorder {
            recorder: self,
            place,
            task,
            group,
            round,
            route: None,
            checks: Vec::new(),
            keep: true,
            report_all: false,
            broken: None,
        }
    }

    /// Keeps what made it impossible to run a combination at all.
    pub(crate) fn keep_error(&self, place: usize, error: Error) {
        self.state().errors.push((place, error));
    }

    /// Why no further check is to be made, if so: no time is left, or one has failed that ends the run.
    /// Of this suite, if it is given up alone.
    pub(crate) fn closed(&self, suite: &str) -> Option<CheckError> {
        let mut state = self.state();
        if self.run.expired() {
            state.not_run += 1;
            return Some(CheckError::NotRun(not_run(&self.run)));
        }
        if let Some(ended_by) = &state.ended_by {
            let reason =
                format!("not run, as {ended_by} failed and the first failure ends the run");
            return Some(CheckError::NotRun(reason));
        }
        let lost = self.options.give_up.then(|| state.hope.is_lost(suite));
        lost.flatten().map(CheckError::NotRun)
    }

    /// The time for a check that may take `patience` times the usual.
    pub(crate) fn limit(&self, timeout_factor: u32) -> Duration {
        let limit = self.options.check_deadline.saturating_mul(timeout_factor);
        limit.min(self.run.remaining())
    }

    /// The time for a program to end: some is left even when the run's time is over, so that it can end
    /// in order.
    pub(crate) fn grace(&self) -> Duration {
        let left = self.run.remaining().max(LAST_GRACE);
        self.options.stop_deadline.min(left)
    }

    /// The report; or the first error, if that is all that there is to say.
    pub(crate) fn into_report(self, tunnel: String) -> Result<Report, Error> {
        let state = self.state.into_inner();
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.done.sort_by_key(|(place, _)| *place);
        state.errors.sort_by_key(|(place, _)| *place);
        let checks: Vec<Check> = state.done.into_iter().flat_map(|(_, c)| c).collect();
        let made = |check: &Check| check.route.is_some();
        match state.errors.into_iter().next() {
            Some((_, error)) if !checks.iter().any(made) => return Err(error),
            _ => {}
        }
        let mut warnings = state.warnings;
        warnings.extend(out_of_time(&self.run, state.not_run));
        warnings.extend(not_made(self.options, state.taken));
        warnings.extend(unmatched(self.options, &checks));
        Ok(Report {
            tunnel,
            expectations: expectations(self.options, &checks),
            checks,
            warnings,
            seed: self.options.seed,
            strict: self.options.strict,
            elapsed: self.begun.elapsed(),
            shown: Default::default(),
        })
    }

    fn add(&self, record: &mut TaskRecorder<'_>) {
        let checks = std::mem::take(&mut record.checks);
        let mut state = self.state();
        for check in &checks {
            state.hope.add(check);
        }
        self.tell(&mut state, &checks);
        let failed = checks.iter().find(|c| c.outcome == Outcome::Failed);
        if let (Some(check), true) = (failed, self.options.fail_fast) {
            state.ended_by.get_or_insert_with(|| check.id.clone());
        }
        let journal = state.journal.as_mut().filter(|_| record.keep);
        let written = journal.map(|j| j.add(&record.task, record.round, &checks));
        if let Some(Err(error)) = written {
            // Once is enough, and the run goes on.
            state.journal = None;
            state.warnings.push(error);
        }
        state.done.push((record.place, checks));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole after every operation.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TaskRecorder<'_> {
    /// A run that goes on from the journal makes these checks again: here they were not really made.
    pub(crate) fn make_again(&mut self) {
        self.keep = false;
    }

    /// Its checks are told even where nobody asked for them.
    pub(crate) fn report_all(&mut self) {
        self.report_all = true;
    }

    /// Whether each of these checks is to be skipped or not asked for.
    pub(crate) fn skips_all(&self, defs: &[CheckDef]) -> bool {
        let options = self.recorder.options;
        let mut ids = defs.iter().map(|def| self.id(&def.requirement));
        ids.all(|id| options.skips(&id).is_some() || !options.selects(&id))
    }

    /// Where the checks from now on are made.
    pub(crate) fn set_route(&mut self, route: Route) {
        self.route = Some(route);
    }

    /// Whether the run has time for a check.
    pub(crate) fn may_run(&mut self) -> Result<(), CheckError> {
        if !self.recorder.run.expired() {
            return Ok(());
        }
        self.keep = false;
        self.recorder.state().not_run += 1;
        Err(CheckError::NotRun(not_run(&self.recorder.run)))
    }

    /// Writes down that a check was not reached, as one before it failed; nothing if none did.
    pub(crate) fn skip(&mut self, requirement: &Requirement) {
        let Some(broken) = &self.broken else {
            return;
        };
        let name = &broken.name;
        let error = match broken.told {
            true => CheckError::Skipped(format!("not reached, as {name} failed")),
            // What is not looked at because of something that the report does not tell must not look well.
            false => {
                CheckError::NotMade(format!("not reached, as {name} failed: {}", broken.message))
            }
        };
        let before = self.broken.take();
        self.write(requirement, Err(error), Evidence::default(), Duration::ZERO);
        self.broken = before;
    }

    /// Writes down what became of a check: by its strictness, and by what the run was told of it.
    pub(crate) fn write(
        &mut self,
        requirement: &Requirement,
        done: Result<(), CheckError>,
        evidence: Evidence,
        elapsed: Duration,
    ) {
        let options = self.recorder.options;
        let mut check = self.blank(requirement);
        check.notes = evidence.notes;
        check.measures = evidence.measures;
        check.elapsed = elapsed;
        let broken = matches!(done, Err(CheckError::Failed(..) | CheckError::Died(..)));
        match done {
            Ok(()) => {}
            Err(CheckError::Failed(message, failure)) => {
                check.outcome = requirement.strictness.when_broken(options.strict);
                (check.message, check.failure) = (message, Some(failure));
            }
            Err(CheckError::Died(message, failure)) => {
                (check.outcome, check.message) = (Outcome::Failed, message);
                check.failure = Some(failure);
            }
            Err(CheckError::NotMade(message)) => {
                (check.outcome, check.message) = (Outcome::Failed, message);
                check.failure = Some(Box::default());
            }
            Err(CheckError::NotRun(message)) => {
                (check.outcome, check.message) = (Outcome::NotRun, message);
            }
            Err(CheckError::Unsupported(how)) => {
                (check.outcome, check.message) = (Outcome::Unsupported, how);
            }
            Err(CheckError::Skipped(reason)) => {
                (check.outcome, check.message) = (Outcome::Skipped, reason);
            }
        }
        if check.failure.is_some() {
            self.broken = Some(Broken {
                name: requirement.name.to_owned(),
                message: check.message.clone(),
                told: options.selects(&check.id) && options.skips(&check.id).is_none(),
            });
        }
        if let Some(reason) = options.skips(&check.id) {
            (check.outcome, check.message) = (Outcome::Skipped, reason.to_owned());
            check.failure = None;
        } else if let Some(reason) = options.expects(&check.id) {
            if broken {
                check.outcome = Outcome::Deviates;
                check.message += &format!(" (expected: {reason})");
            } else if check.outcome == Outcome::Passed {
                let note = format!("expected to deviate, and does not: {reason}");
                check.notes.push(note);
            }
        }
        if self.report_all || options.selects(&check.id) {
            self.push(check);
        }
    }

    /// Writes down that the whole combination is not run.
    pub(crate) fn leave_out(&mut self, error: CheckError) {
        self.make_again();
        let mut check = self.blank(&COMBINATION);
        (check.outcome, check.message) = match error {
            CheckError::Unsupported(message) | CheckError::Skipped(message) => {
                (Outcome::Skipped, message)
            }
            CheckError::Failed(message, _)
            | CheckError::Died(message, _)
            | CheckError::NotMade(message) => (Outcome::Failed, message),
            CheckError::NotRun(message) => (Outcome::NotRun, message),
        };
        self.push(check);
    }

    /// Adds what is known of the programs to every failure.
    pub(crate) fn explain(&mut self, programs: &[Ended]) {
        let failures = self.checks.iter_mut();
        for failure in failures.filter_map(|check| check.failure.as_deref_mut()) {
            failure.programs = programs.to_vec();
        }
    }

    /// Whether a statement did not hold so far.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// The check of `rule` as it is until something else is known.
    fn blank(&self, requirement: &Requirement) -> Check {
        Check {
            id: self.id(requirement),
            group: self.group.clone(),
            round: self.round,
            statement: Cow::Borrowed(requirement.statement),
            source: Cow::Borrowed(requirement.source),
            strictness: requirement.strictness,
            route: self.route,
            outcome: Outcome::Passed,
            message: String::new(),
            failure: None,
            notes: Vec::new(),
            measures: Measures::default(),
            elapsed: Duration::ZERO,
        }
    }

    fn push(&mut self, check: Check) {
        let (id, took) = (&check.id, check.elapsed);
        match check.outcome {
            Outcome::Failed => log::warn!(target: TARGET, "{id} failed: {}", check.message),
            outcome => log::debug!(target: TARGET, "{id} {} after {took:?}", outcome.name()),
        }
        self.checks.push(check);
    }

    fn id(&self, requirement: &Requirement) -> String {
        match requirement.name {
            "" => self.group.clone(),
            name => format!("{}/{name}", self.group),
        }
    }
}

/// The task has ended.
impl Drop for TaskRecorder<'_> {
    fn drop(&mut self) {
        self.recorder.add(self);
    }
}

/// That the run's time was over before all was made: what was not looked at is no fault of the program.
fn out_of_time(run: &Deadline, not_run: usize) -> Option<String> {
    let left = match not_run {
        0 => return None,
        1 => "1 check was".to_owned(),
        more => format!("{more} checks were"),
    };
    let limit = run.limit();
    Some(format!(
        "the time of the whole run was over after {limit:?} (TunnelHarness::deadline): {left} not made"
    ))
}

/// That checks are an earlier run's, maybe of another program. A run of a file that nobody has removed
/// makes none, and must not look as if it had.
fn not_made(options: &Options, taken: usize) -> Option<String> {
    let path = options.resume.as_ref().filter(|_| taken > 0)?;
    let checks = match taken {
        1 => "1 check was".to_owned(),
        _ => format!("{taken} checks were"),
    };
    let file = path.display();
    Some(format!(
        "{checks} made by an earlier run, and taken from {file}"
    ))
}

/// The patterns that choose or skip and match nothing: most often they are misspelt.
fn unmatched(options: &Options, checks: &[Check]) -> Vec<String> {
    let unused = |pattern: &&Glob| !checks.iter().any(|check| pattern.matches(&check.id));
    // What is not chosen is not in the report, so that nothing is known of what would skip it.
    let skip = options.skip.iter().filter(|_| options.only.is_empty());
    let only = options.only.iter().map(|pattern| (pattern, "only"));
    let all = only.chain(skip.map(|(pattern, _)| (pattern, "skip")));
    all.filter(|(pattern, _)| unused(pattern))
        .map(|(pattern, option)| {
            let pattern = pattern.pattern();
            format!("{option} {pattern}: no check of this run has such an id")
        })
        .collect()
}

/// What came of each expected deviation.
fn expectations(options: &Options, checks: &[Check]) -> Vec<Expectation> {
    let state = |pattern: &Glob| {
        let mut outcomes = checks
            .iter()
            .filter(|check| pattern.matches(&check.id))
            .map(|check| check.outcome);
        match outcomes.clone().any(|o| o == Outcome::Deviates) {
            true => ExpectationState::Met,
            false if outcomes.any(|o| o == Outcome::Passed) => ExpectationState::Gone,
            false => ExpectationState::Unused,
        }
    };
    let one = |(pattern, reason): &(Glob, String)| Expectation {
        pattern: pattern.pattern().to_owned(),
        reason: reason.clone(),
        state: state(pattern),
    };
    options.expect.iter().map(one).collect()
}
