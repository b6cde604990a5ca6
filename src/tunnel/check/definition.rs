//! What a suite is made of: the inner interface that every suite is written against.
//!
//! A suite is a [`Table`] in a file of its own, and most are a list of [`Plan`]s:
//!
//! ```text
//! pub(in crate::tunnel) const TABLE: Table = Table {
//!     name: "echo",
//!     routes: Routes::Each,
//!     applies: |_| Ok(()),
//!     steps: Steps::Plans(&[
//!         Plan::must("whole", "what the client sends comes back", "harness", whole),
//!         Plan::harness("late", "…", late).own().alone().patience(3),
//!     ]),
//! };
//!
//! fn whole(trial: &mut Trial<'_>) -> Result<(), Stop> {
//!     let data = trial.random().bytes(1000);
//!     let mut both = trial.connect()?;
//!     both.client.send(&data)?;
//!     both.service.expect("the client's bytes", &data)
//! }
//! ```
//!
//! The body tells what it saw: `Ok` if the statement holds, otherwise a [`Stop`]. What becomes of that
//! (failed or deviating, expected, skipped by an option) is the frame's to say.

use crate::tunnel::check::context::Trial;
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::requirement::Rule;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::Strictness;

/// A suite.
#[derive(Debug)]
pub(in crate::tunnel) struct Table {
    /// The first part of its checks' ids.
    pub(in crate::tunnel) name: &'static str,
    pub(in crate::tunnel) routes: Routes,
    /// Whether it makes sense for this kind of tunnel; otherwise why not, and it is skipped so.
    pub(in crate::tunnel) applies: fn(&dyn Tunnel) -> Result<(), String>,
    pub(in crate::tunnel) steps: Steps,
}

/// On which combinations of address families a suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tunnel) enum Routes {
    /// On each. The families are the second part of the ids then: `echo/46/whole`.
    Each,
    /// On the first that this machine has, for the families change nothing: `socks5/rfc1928/6/refused`.
    First,
}

/// The checks of a suite.
#[derive(Debug)]
pub(in crate::tunnel) enum Steps {
    /// Checks that stand on their own. They run side by side.
    Plans(&'static [Plan]),
    /// The same, where none of them says anything of a program through which an ordinary connection does
    /// not work: that is tried first, and told once.
    Standing(&'static [Plan]),
    /// Checks that are made one after the other on one process, from its start to its end, which are
    /// checks too. Each stands on those before it, unless it is [`regardless`](Plan::regardless) of them
    /// or they are [`apart`](Plan::apart).
    Sequence(&'static [Plan]),
}

/// A check that stands on its own.
#[derive(Debug, Clone, Copy)]
pub(in crate::tunnel) struct Plan {
    pub(in crate::tunnel) rule: Rule,
    /// See [`Plan::own`].
    pub(in crate::tunnel) own: bool,
    /// See [`Plan::alone`].
    pub(in crate::tunnel) alone: bool,
    /// See [`Plan::patience`].
    pub(in crate::tunnel) patience: u32,
    /// See [`Plan::apart`].
    pub(in crate::tunnel) apart: bool,
    /// See [`Plan::regardless`].
    pub(in crate::tunnel) regardless: bool,
    /// See [`Plan::only_for`].
    pub(in crate::tunnel) concerns: fn(&dyn Tunnel) -> bool,
    run: Run,
}

/// What a plan does.
pub(in crate::tunnel) type Body = fn(&mut Trial<'_>) -> Result<(), Stop>;

/// What a plan does on a connection that a way of its suite opens for it.
pub(in crate::tunnel) type Once = fn(&mut Trial<'_>, &mut Wire) -> Result<(), Stop>;

#[derive(Debug, Clone, Copy)]
enum Run {
    Body(Body),
    /// Data in place of a closure around each of two hundred bodies, which would all be compiled.
    By(fn(&mut Trial<'_>, Once) -> Result<(), Stop>, Once),
}

impl Plan {
    /// A check that fails when its statement does not hold.
    pub(in crate::tunnel) const fn must(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> Plan {
        Plan::new(Strictness::Must, name, statement, source, run)
    }

    /// A check that deviates when its statement does not hold.
    pub(in crate::tunnel) const fn should(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> Plan {
        Plan::new(Strictness::Should, name, statement, source, run)
    }

    /// A check of what is the program's choice.
    pub(in crate::tunnel) const fn may(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> Plan {
        Plan::new(Strictness::May, name, statement, source, run)
    }

    /// A check of what stands in no standard.
    pub(in crate::tunnel) const fn harness(
        name: &'static str,
        statement: &'static str,
        run: Body,
    ) -> Plan {
        Plan::new(Strictness::Harness, name, statement, "harness", run)
    }

    pub(in crate::tunnel) const fn new(
        strictness: Strictness,
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> Plan {
        Plan::of(
            Rule::new(strictness, name, statement, source),
            Run::Body(run),
        )
    }

    /// A check of a statement in one `way` of several.
    pub(in crate::tunnel) const fn by(
        rule: Rule,
        way: fn(&mut Trial<'_>, Once) -> Result<(), Stop>,
        once: Once,
    ) -> Plan {
        Plan::of(rule, Run::By(way, once))
    }

    const fn of(rule: Rule, run: Run) -> Plan {
        Plan {
            rule,
            own: false,
            alone: false,
            patience: 1,
            apart: false,
            regardless: false,
            concerns: |_| true,
            run,
        }
    }

    /// Makes the check.
    pub(in crate::tunnel) fn make(&self, trial: &mut Trial<'_>) -> Result<(), Stop> {
        match self.run {
            Run::Body(body) => body(trial),
            Run::By(way, once) => way(trial, once),
        }
    }

    /// It gets a process of its own, started for it and ended after it: for what may disturb another
    /// check, or must not be disturbed. Others share a process, one after the other.
    pub(in crate::tunnel) const fn own(mut self) -> Plan {
        self.own = true;
        self
    }

    /// Nothing else runs at the same time: for measurements.
    pub(in crate::tunnel) const fn alone(mut self) -> Plan {
        self.alone = true;
        self
    }

    /// What follows it in a sequence does not stand on it.
    pub(in crate::tunnel) const fn apart(mut self) -> Plan {
        self.apart = true;
        self
    }

    /// It is made in a sequence whatever became of the checks before it.
    pub(in crate::tunnel) const fn regardless(mut self) -> Plan {
        self.regardless = true;
        self
    }

    /// It is about nothing, and not in the report, with tunnels of which this is not true.
    pub(in crate::tunnel) const fn only_for(mut self, concerns: fn(&dyn Tunnel) -> bool) -> Plan {
        self.concerns = concerns;
        self
    }

    /// It may take that many times the deadline of a check.
    pub(in crate::tunnel) const fn patience(mut self, times: u32) -> Plan {
        self.patience = times;
        self
    }
}

impl Table {
    /// Its checks.
    pub(in crate::tunnel) fn plans(&self) -> &'static [Plan] {
        match self.steps {
            Steps::Plans(plans) | Steps::Standing(plans) | Steps::Sequence(plans) => plans,
        }
    }
}
