//! The run: which checks are made, on which processes, and what runs side by side.

pub(in crate::tunnel) mod book;
pub(in crate::tunnel) mod journal;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::server::failure::panic_message;
use crate::tunnel::check::context::{Kept, Seen, Trial};
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::options::Options;
use crate::tunnel::core::requirement::Rule;
use crate::tunnel::ends::address::Addresses;
use crate::tunnel::ends::random::Random;
use crate::tunnel::error::{Error, ErrorKind};
use crate::tunnel::link::program::{Program, Site};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::{Ended, Report, Strictness};
use book::{Book, LAST_GRACE, Page};

/// How long finding addresses may take.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(10);

/// Written down only when it does not hold: what is then left of the group is not reached.
const START: Rule = Rule::new(
    Strictness::Must,
    "start",
    "the program listens where it was told to, and a client can connect",
    "harness",
);

/// Written down in the same way.
const ORDINARY: Rule = Rule::new(
    Strictness::Must,
    "ordinary",
    "an ordinary connection works: without that, nothing else here says anything",
    "harness",
);

/// Runs the suites of `tables`.
pub(in crate::tunnel) fn run(
    tunnel: &dyn Tunnel,
    options: &Options,
    tables: &[&'static Table],
) -> Result<Report, Error> {
    let book = Book::open(options, &tunnel.slug())?;
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
    let tasks = tasks(tunnel, options, tables, &addresses);
    let (alone, together): (Vec<&Task<'_>>, _) = tasks.iter().partition(|task| task.is_alone());
    let groups = Groups::default();
    let jobs = match tunnel.running() {
        // What already runs may have one service for all.
        Some(_) => 1,
        None => options.jobs.max(1),
    };
    // Measurements come last, when nobody else is left.
    for (tasks, jobs) in [(together, jobs), (alone, 1)] {
        let next = AtomicUsize::new(0);
        let work = || Lane::new(&book, &groups).work(&tasks, &next);
        thread::scope(|scope| {
            let others = 1..jobs.min(tasks.len());
            // Where no more threads can be had, the others do all.
            let lane = |_| thread::Builder::new().spawn_scoped(scope, work).ok();
            let others: Vec<_> = others.filter_map(lane).collect();
            work();
            for lane in others {
                // The user's own code may panic: the test gets that panic, not one about a thread.
                lane.join().unwrap_or_else(|payload| resume_unwind(payload));
            }
        });
    }
    book.into_report(tunnel.slug())
}

/// What one thread does at a time.
struct Task<'a> {
    /// Its place in the report.
    place: usize,
    round: u32,
    /// The part of the id that is common to all on these families.
    group: String,
    work: Work<'a>,
}

enum Work<'a> {
    /// And whether it stands on an ordinary connection.
    Plan(Site<'a>, &'static Plan, bool),
    /// Those that concern the tunnel.
    Sequence(Site<'a>, Vec<Plan>),
    /// It cannot be run; why.
    LeaveOut(String),
}

impl Task<'_> {
    /// Its name in the journal: that of the check, or of the checks that stand on each other.
    fn name(&self) -> String {
        match &self.work {
            Work::Plan(_, plan, _) => format!("{}/{}", self.group, plan.rule.name),
            _ => self.group.clone(),
        }
    }

    fn is_alone(&self) -> bool {
        matches!(self.work, Work::Plan(_, plan, _) if plan.alone)
    }
}

/// All that is to be done, in the order of the report.
fn tasks<'a>(
    tunnel: &'a dyn Tunnel,
    options: &'a Options,
    tables: &[&'static Table],
    addresses: &Addresses,
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for round in 1..=options.repeat.max(1) {
        for table in tables {
            for (group, site) in sites(tunnel, options, table, addresses) {
                for work in works(options, table, &group, site) {
                    tasks.push(Task {
                        place: tasks.len(),
                        round,
                        group: group.clone(),
                        work,
                    });
                }
            }
        }
    }
    tasks
}

/// Where a suite is run, or why it is not.
fn sites<'a>(
    tunnel: &'a dyn Tunnel,
    options: &'a Options,
    table: &Table,
    addresses: &Addresses,
) -> Vec<(String, Result<Site<'a>, String>)> {
    let site = |&(listen, service): &(Family, Family)| {
        if let Some(reason) = tunnel.unsupported(listen, service) {
            return Err(reason);
        }
        let picked = match tunnel.running() {
            Some(running) => addresses.pick_at(running.listen.ip(), service),
            None => addresses.pick(listen, service),
        };
        let (front, back) = picked.ok_or_else(|| missing(addresses, (listen, service)))?;
        (table.applies)(tunnel)?;
        Ok(Site {
            tunnel,
            options,
            front,
            back,
        })
    };
    match table.routes {
        Routes::Each => {
            let each = options.families.iter();
            let digits =
                |(near, far): &(Family, Family)| format!("{}{}", near.digit(), far.digit());
            each.map(|families| {
                (
                    format!("{}/{}", table.name, digits(families)),
                    site(families),
                )
            })
            .collect()
        }
        Routes::First => {
            let mut each = options.families.iter().map(site);
            let first = each.clone().find(Result::is_ok).or_else(|| each.next());
            first
                .map(|site| (table.name.to_owned(), site))
                .into_iter()
                .collect()
        }
    }
}

/// Those checks of a suite that are asked for.
fn works<'a>(
    options: &Options,
    table: &'static Table,
    group: &str,
    site: Result<Site<'a>, String>,
) -> Vec<Work<'a>> {
    let asked_for = |plan: &&Plan| options.selects(&format!("{group}/{}", plan.rule.name));
    if !table.plans().iter().any(|plan| asked_for(&plan)) {
        return Vec::new();
    }
    let site = match site {
        Ok(site) => site,
        Err(reason) => return vec![Work::LeaveOut(reason)],
    };
    match &table.steps {
        Steps::Sequence(plans) => {
            let concerns = |plan: &&Plan| (plan.concerns)(site.tunnel);
            let plans = plans.iter().filter(concerns).copied().collect();
            vec![Work::Sequence(site, plans)]
        }
        Steps::Plans(plans) | Steps::Standing(plans) => {
            let stands = matches!(table.steps, Steps::Standing(_));
            let plans = plans.iter().filter(asked_for);
            plans.map(|plan| Work::Plan(site, plan, stands)).collect()
        }
    }
}

/// Says which family cannot connect here.
fn missing(addresses: &Addresses, (listen, service): (Family, Family)) -> String {
    let lacks = |family: &Family| addresses.pick(*family, *family).is_none();
    let family = [listen, service].into_iter().find(lacks);
    let name = family.map_or("such", Family::name);
    format!("no two {name} addresses of this machine can connect to each other")
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
    Fails(&'static Rule),
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
struct Lane<'a> {
    book: &'a Book<'a>,
    groups: &'a Groups,
    shared: Option<Shared<'a>>,
}

struct Shared<'a> {
    group: String,
    round: u32,
    program: Program<'a>,
}

/// Why there is no program for a check.
enum NoProgram {
    /// Somebody else has said so, or does now: this does not hold.
    Told(&'static Rule),
    /// Why, and what became of those that were started.
    Stop(Stop, Vec<Ended>),
}

impl<'a> Lane<'a> {
    fn new(book: &'a Book<'a>, groups: &'a Groups) -> Lane<'a> {
        Lane {
            book,
            groups,
            shared: None,
        }
    }

    fn work(mut self, tasks: &[&Task<'a>], next: &AtomicUsize) {
        while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
            if !self.book.knows(task.place, &task.name(), task.round) {
                self.make(task);
            }
        }
        self.give_back();
    }

    fn make(&mut self, task: &Task<'a>) {
        let mut page = self.page(task);
        let closed = self.book.closed();
        match (&task.work, closed) {
            (Work::LeaveOut(reason), _) => page.leave_out(Stop::Skipped(reason.clone())),
            (Work::Sequence(..), Some(stop)) => page.leave_out(stop),
            (Work::Plan(_, plan, _), Some(stop)) => {
                page.make_again();
                page.write(&plan.rule, Err(stop), Seen::default(), Duration::ZERO);
            }
            (Work::Sequence(_, plans), None) if page.skips_all(plans) => {
                for plan in plans {
                    page.write(&plan.rule, Ok(()), Seen::default(), Duration::ZERO);
                }
            }
            (Work::Sequence(site, plans), None) => self.sequence(task, site, plans, &mut page),
            (Work::Plan(site, plan, _), None) => self.plan(task, site, plan, &mut page),
        }
    }

    fn page(&self, task: &Task<'_>) -> Page<'a> {
        let group = task.group.clone();
        self.book.page(task.place, task.name(), group, task.round)
    }

    /// Makes one check that stands on its own.
    fn plan(&mut self, task: &Task<'a>, site: &Site<'a>, plan: &Plan, page: &mut Page<'_>) {
        if self.book.options.skips(&task.name()).is_some() {
            // `write` gives the reason.
            return page.write(&plan.rule, Ok(()), Seen::default(), Duration::ZERO);
        }
        if plan.own && site.tunnel.running().is_some() {
            let stop = Stop::Skipped(
                "for this check a program is started, and this one already runs".to_owned(),
            );
            return page.write(&plan.rule, Err(stop), Seen::default(), Duration::ZERO);
        }
        let program = match self.program(task, site, plan) {
            Ok(program) => program,
            Err(NoProgram::Told(rule)) => {
                let reason = format!("not reached, as {}/{} failed", task.group, rule.name);
                let stop = Stop::Skipped(reason);
                page.make_again();
                return page.write(&plan.rule, Err(stop), Seen::default(), Duration::ZERO);
            }
            Err(NoProgram::Stop(stop, programs)) => {
                page.write(&plan.rule, Err(stop), Seen::default(), Duration::ZERO);
                return page.explain(&programs);
            }
        };
        page.set_route(program.line().route);
        let mut trial = self.trial(task, &task.name(), program, plan.patience);
        let done = catch_unwind(AssertUnwindSafe(|| plan.make(&mut trial)));
        let done = done.unwrap_or_else(|payload| {
            let message = format!("the check panicked: {}", panic_message(payload));
            Err(Stop::NotMade(message))
        });
        let elapsed = trial.deadline.elapsed();
        let Trial {
            mut program, seen, ..
        } = trial;
        let done = match done {
            Ok(()) if !seen.may_end && program.child().has_exited() => {
                Err(Stop::Died("the program ended during the check".to_owned()))
            }
            done => done,
        };
        let failed = !matches!(done, Ok(()) | Err(Stop::Unsupported(_) | Stop::Skipped(_)));
        // One that was told to end may be seen to run for a moment, when its connections have closed.
        let may_stay = !plan.own && !seen.may_end;
        page.write(&plan.rule, done, seen, elapsed);
        if failed {
            page.explain(&program.explain(LAST_GRACE));
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

    /// Makes checks that stand on each other, on a process that is theirs.
    fn sequence(&self, task: &Task<'a>, site: &Site<'a>, plans: &[Plan], page: &mut Page<'_>) {
        let program = match site.start() {
            Ok(program) => program,
            Err(error) => {
                page.leave_out(Stop::failed(error.to_string()));
                return self.book.keep_error(task.place, error);
            }
        };
        page.set_route(program.line().route);
        let mut trial = self.trial(task, &task.group, program, 1);
        let mut reached = true;
        for plan in plans {
            if !reached && !plan.regardless {
                page.skip(&plan.rule);
                continue;
            }
            if plan.regardless && page.is_broken() {
                trial.program.child().settle();
            }
            let id = format!("{}/{}", task.group, plan.rule.name);
            let random = Random::for_check(self.book.options.seed, &id, task.round);
            trial.begin(self.book.limit(plan.patience), random, self.book.grace());
            let done = page.may_run().and_then(|()| plan.make(&mut trial));
            let seen = std::mem::take(&mut trial.seen);
            // What could not be looked at holds up nothing.
            let stops = matches!(
                done,
                Err(Stop::Failed(..) | Stop::Died(_) | Stop::NotMade(_))
            );
            reached &= !stops || plan.apart;
            page.write(&plan.rule, done, seen, trial.deadline.elapsed());
        }
        page.explain(&trial.program.explain(self.book.grace()));
    }

    /// What the check `id` works with, which may take `patience` times the usual.
    fn trial(&self, task: &Task<'_>, id: &str, program: Program<'a>, patience: u32) -> Trial<'a> {
        let options = self.book.options;
        Trial {
            program,
            deadline: Deadline::new(self.book.limit(patience), "the check to end"),
            opening: self.book.limit(1),
            random: Random::for_check(options.seed, id, task.round),
            seen: Seen::default(),
            sizes: options.sizes,
            grace: self.book.grace(),
            kept: Kept::default(),
        }
    }

    /// A program for this check: this lane's, or a new one.
    fn program(
        &mut self,
        task: &Task<'a>,
        site: &Site<'a>,
        plan: &Plan,
    ) -> Result<Program<'a>, NoProgram> {
        if !plan.own {
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
            Found::Fails(rule) => Err(NoProgram::Told(rule)),
            Found::Starts => {
                drop(found);
                let not_made =
                    |error: Error| NoProgram::Stop(Stop::NotMade(error.to_string()), Vec::new());
                let mut program = site.start().map_err(not_made)?;
                let stop = match self.get_ready(&mut program) {
                    Ok(()) => return Ok(program),
                    // It could be started before, and what was done to that one was no reason not to.
                    Err(Stop::Failed(message, _)) => Stop::Died(message),
                    Err(stop) => stop,
                };
                Err(NoProgram::Stop(stop, program.explain(LAST_GRACE)))
            }
            Found::Nothing => {
                let started = self.first_start(task, site);
                *found = match &started {
                    Ok(_) => Found::Starts,
                    Err(rule) => Found::Fails(rule),
                };
                started.map_err(NoProgram::Told)
            }
        }
    }

    /// The first start in a group, and what it stands on; what of that fails is written down.
    fn first_start(&self, task: &Task<'a>, site: &Site<'a>) -> Result<Program<'a>, &'static Rule> {
        let begun = Instant::now();
        let mut program = site.start().map_err(|error| {
            let stop = Stop::failed(error.to_string());
            self.tell(task, &START, stop, begun.elapsed(), None);
            self.book.keep_error(task.place, error);
            &START
        })?;
        if let Err(stop) = self.get_ready(&mut program) {
            self.tell(task, &START, stop, begun.elapsed(), Some(program));
            return Err(&START);
        }
        if matches!(task.work, Work::Plan(_, _, true)) {
            let deadline = Deadline::new(self.book.limit(1), "an ordinary connection");
            let both = program.open(None, &deadline);
            if let Err(stop) = both.and_then(|both| both.whole(&deadline)) {
                self.tell(task, &ORDINARY, stop, deadline.elapsed(), Some(program));
                return Err(&ORDINARY);
            }
        }
        Ok(program)
    }

    /// Writes down that `rule` does not hold in a group, whether anybody asked for it or not.
    fn tell(
        &self,
        task: &Task<'a>,
        rule: &Rule,
        stop: Stop,
        elapsed: Duration,
        program: Option<Program<'a>>,
    ) {
        let group = task.group.clone();
        let name = format!("{group}/{}", rule.name);
        let mut page = self.book.page(task.place, name, group, task.round);
        page.make_again();
        page.tell_all();
        let Some(mut program) = program else {
            return page.write(rule, Err(stop), Seen::default(), elapsed);
        };
        page.set_route(program.line().route);
        page.write(rule, Err(stop), Seen::default(), elapsed);
        page.explain(&program.explain(LAST_GRACE));
    }

    fn get_ready(&self, program: &mut Program<'_>) -> Result<(), Stop> {
        let deadline = Deadline::new(self.book.limit(1), "the program to listen");
        program.get_ready(&deadline)
    }

    /// Ends the shared program. How it ends is judged elsewhere, so it gets little time.
    fn give_back(&mut self) {
        if let Some(mut shared) = self.shared.take() {
            shared.program.child().stop(LAST_GRACE);
        }
    }
}

#[cfg(test)]
mod tests;
