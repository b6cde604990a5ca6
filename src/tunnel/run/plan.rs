//! What a run is to do: its tasks, in the order of the report.

use std::sync::Arc;

use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::family::Family;
use crate::tunnel::core::options::Options;
use crate::tunnel::ends::address::Addresses;
use crate::tunnel::link::connector::Manners;
use crate::tunnel::link::program::LaunchSpec;
use crate::tunnel::link::tunnel::Tunnel;

/// What one thread does at a time.
pub(super) struct Task<'a> {
    /// Its place in the report.
    pub(super) place: usize,
    pub(super) round: u32,
    /// The part of the id that is common to all on these families.
    pub(super) group: String,
    pub(super) work: Work<'a>,
}

pub(super) enum Work<'a> {
    /// And whether it requires that an ordinary connection works.
    Single(LaunchSpec<'a>, &'static CheckDef, bool),
    /// Those that concern the tunnel.
    Sequence(LaunchSpec<'a>, Vec<CheckDef>),
    /// It cannot be run; why.
    LeaveOut(String),
}

impl Task<'_> {
    /// Its name in the journal: that of the check, or of the sequence.
    pub(super) fn name(&self) -> String {
        match &self.work {
            Work::Single(_, def, _) => format!("{}/{}", self.group, def.requirement.name),
            _ => self.group.clone(),
        }
    }

    /// How many checks it makes.
    pub(super) fn checks(&self) -> usize {
        match &self.work {
            Work::Sequence(_, defs) => defs.len(),
            Work::Single(..) | Work::LeaveOut(_) => 1,
        }
    }

    /// The suite, as its checks have it in their ids.
    pub(super) fn suite(&self) -> &str {
        self.group
            .split_once('/')
            .map_or(&self.group, |(suite, _)| suite)
    }

    pub(super) fn is_exclusive(&self) -> bool {
        matches!(self.work, Work::Single(_, def, _) if def.exclusive)
    }
}

/// All that is to be done, in the order of the report.
pub(super) fn tasks<'a>(
    tunnel: &'a Arc<dyn Tunnel>,
    options: &'a Options,
    suites: &[&'static SuiteDef],
    addresses: &Addresses,
    manners: &'a Manners,
) -> Vec<Task<'a>> {
    let mut tasks = Vec::new();
    for round in 1..=options.repeat.max(1) {
        for suite in suites {
            for (group, spec) in specs(tunnel, options, suite, addresses, manners) {
                for work in works(options, suite, &group, spec) {
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
fn specs<'a>(
    tunnel: &'a Arc<dyn Tunnel>,
    options: &'a Options,
    suite: &SuiteDef,
    addresses: &Addresses,
    manners: &'a Manners,
) -> Vec<(String, Result<LaunchSpec<'a>, String>)> {
    let spec = |&(listen, service): &(Family, Family)| {
        if let Some(reason) = tunnel.unsupported(listen, service) {
            return Err(reason);
        }
        let picked = match tunnel.running() {
            Some(running) => addresses.pick_at(running.listen.ip(), service),
            None => addresses.pick(listen, service),
        };
        let (front, back) = picked.ok_or_else(|| missing(addresses, (listen, service)))?;
        (suite.applies)(&**tunnel)?;
        Ok(LaunchSpec {
            tunnel,
            options,
            manners,
            front,
            back,
        })
    };
    match suite.routes {
        Routes::Each => {
            let each = options.families.iter();
            let digits =
                |(near, far): &(Family, Family)| format!("{}{}", near.digit(), far.digit());
            each.map(|families| {
                (
                    format!("{}/{}", suite.name, digits(families)),
                    spec(families),
                )
            })
            .collect()
        }
        Routes::First => {
            let mut each = options.families.iter().map(spec);
            let first = each.clone().find(Result::is_ok).or_else(|| each.next());
            first
                .map(|spec| (suite.name.to_owned(), spec))
                .into_iter()
                .collect()
        }
    }
}

/// Those checks of a suite that are asked for.
fn works<'a>(
    options: &Options,
    suite: &'static SuiteDef,
    group: &str,
    spec: Result<LaunchSpec<'a>, String>,
) -> Vec<Work<'a>> {
    let asked_for = |def: &&CheckDef| options.selects(&format!("{group}/{}", def.requirement.name));
    if !suite.defs().iter().any(|def| asked_for(&def)) {
        return Vec::new();
    }
    let spec = match spec {
        Ok(spec) => spec,
        Err(reason) => return vec![Work::LeaveOut(reason)],
    };
    let concerns = |def: &&CheckDef| (def.concerns)(&**spec.tunnel);
    if !suite.defs().iter().any(|def| concerns(&def)) {
        let why = "it is about connections, and the program carries datagrams alone";
        return vec![Work::LeaveOut(why.to_owned())];
    }
    match &suite.checks {
        Checks::Sequence(defs) => {
            let defs = defs.iter().filter(concerns).copied().collect();
            vec![Work::Sequence(spec, defs)]
        }
        Checks::Independent(defs) | Checks::RequireConnection(defs) => {
            let requires = matches!(suite.checks, Checks::RequireConnection(_))
                && spec.tunnel.kind().carries_connections();
            let defs = defs.iter().filter(concerns).filter(asked_for);
            defs.map(|def| Work::Single(spec, def, requires)).collect()
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
