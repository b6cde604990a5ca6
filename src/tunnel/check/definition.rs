//! What a suite is made of: the inner interface that every suite is written against.
//!
//! A suite is a [`SuiteDef`] in a file of its own, and most are a list of [`CheckDef`]s:
//!
//! ```text
//! pub(crate) const SUITE: SuiteDef = SuiteDef {
//!     name: "echo",
//!     routes: Routes::Each,
//!     applies: |_| Ok(()),
//!     checks: Checks::Independent(&[
//!         CheckDef::must("whole", "what the client sends comes back", "harness", whole),
//!         CheckDef::harness("late", "…", late).fresh_process().exclusive().timeout_factor(3),
//!     ]),
//! };
//!
//! fn whole(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
//!     let data = context.random().bytes(1000);
//!     let mut both = context.connect()?;
//!     both.client.send(&data)?;
//!     both.service.expect("the client's bytes", &data)
//! }
//! ```
//!
//! The body tells what it saw: `Ok` if the statement holds, otherwise a [`CheckError`]. What becomes of that
//! (failed or deviating, expected, skipped by an option) is the frame's to say.

use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::requirement::Requirement;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::Strictness;

/// A suite.
#[derive(Debug)]
pub(crate) struct SuiteDef {
    /// The first part of its checks' ids.
    pub(crate) name: &'static str,
    pub(crate) routes: Routes,
    /// Whether it makes sense for this kind of tunnel; otherwise why not, and it is skipped so.
    pub(crate) applies: fn(&dyn Tunnel) -> Result<(), String>,
    pub(crate) checks: Checks,
}

/// On which combinations of address families a suite is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Routes {
    /// On each. The families are the second part of the ids then: `echo/46/whole`.
    Each,
    /// On the first that this machine has, for the families change nothing: `socks5/rfc1928/6/refused`.
    First,
}

/// The checks of a suite.
#[derive(Debug)]
pub(crate) enum Checks {
    /// Checks that require nothing of each other. They run side by side.
    Independent(&'static [CheckDef]),
    /// The same, where none of them says anything of a program through which an ordinary connection does
    /// not work: that is tried first, and told once.
    RequireConnection(&'static [CheckDef]),
    /// Checks that are made one after the other on one process, from its start to its end, which are
    /// checks too. Each requires those before it, but for those that are
    /// [`not_required`](CheckDef::not_required), and unless it is made [`always`](CheckDef::always).
    Sequence(&'static [CheckDef]),
}

/// A check as its suite defines it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CheckDef {
    pub(crate) requirement: Requirement,
    /// See [`CheckDef::fresh_process`].
    pub(crate) fresh_process: bool,
    /// See [`CheckDef::exclusive`].
    pub(crate) exclusive: bool,
    /// See [`CheckDef::timeout_factor`].
    pub(crate) timeout_factor: u32,
    /// See [`CheckDef::not_required`].
    pub(crate) not_required: bool,
    /// See [`CheckDef::always`].
    pub(crate) always: bool,
    /// See [`CheckDef::only_for`].
    pub(crate) concerns: fn(&dyn Tunnel) -> bool,
    run: Run,
}

/// What a plan does.
pub(crate) type Body = fn(&mut CheckContext<'_>) -> Result<(), CheckError>;

/// What a plan does on a connection that a way of its suite opens for it.
pub(crate) type Once = fn(&mut CheckContext<'_>, &mut Wire) -> Result<(), CheckError>;

#[derive(Debug, Clone, Copy)]
enum Run {
    Body(Body),
    /// Data in place of a closure around each of two hundred bodies, which would all be compiled.
    By(
        fn(&mut CheckContext<'_>, Once) -> Result<(), CheckError>,
        Once,
    ),
}

impl CheckDef {
    /// A check that fails when its statement does not hold.
    pub(crate) const fn must(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> CheckDef {
        CheckDef::new(Strictness::Must, name, statement, source, run)
    }

    /// A check that deviates when its statement does not hold.
    pub(crate) const fn should(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> CheckDef {
        CheckDef::new(Strictness::Should, name, statement, source, run)
    }

    /// A check of what is the program's choice.
    pub(crate) const fn may(
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> CheckDef {
        CheckDef::new(Strictness::May, name, statement, source, run)
    }

    /// A check of what stands in no standard.
    pub(crate) const fn harness(
        name: &'static str,
        statement: &'static str,
        run: Body,
    ) -> CheckDef {
        CheckDef::new(Strictness::Harness, name, statement, "harness", run)
    }

    pub(crate) const fn new(
        strictness: Strictness,
        name: &'static str,
        statement: &'static str,
        source: &'static str,
        run: Body,
    ) -> CheckDef {
        CheckDef::of(
            Requirement::new(strictness, name, statement, source),
            Run::Body(run),
        )
    }

    /// A check of a statement in one `way` of several.
    pub(crate) const fn by(
        requirement: Requirement,
        way: fn(&mut CheckContext<'_>, Once) -> Result<(), CheckError>,
        once: Once,
    ) -> CheckDef {
        CheckDef::of(requirement, Run::By(way, once))
    }

    const fn of(requirement: Requirement, run: Run) -> CheckDef {
        CheckDef {
            requirement,
            fresh_process: false,
            exclusive: false,
            timeout_factor: 1,
            not_required: false,
            always: false,
            concerns: |tunnel| tunnel.kind().carries_connections(),
            run,
        }
    }

    /// Makes the check.
    pub(crate) fn make(&self, context: &mut CheckContext<'_>) -> Result<(), CheckError> {
        match self.run {
            Run::Body(body) => body(context),
            Run::By(way, once) => way(context, once),
        }
    }

    /// It gets a process of its own, started for it and ended after it: for what may disturb another
    /// check, or must not be disturbed. Others share a process, one after the other.
    pub(crate) const fn fresh_process(mut self) -> CheckDef {
        self.fresh_process = true;
        self
    }

    /// Nothing else runs at the same time: for measurements.
    pub(crate) const fn exclusive(mut self) -> CheckDef {
        self.exclusive = true;
        self
    }

    /// What follows it in a sequence does not require it.
    pub(crate) const fn not_required(mut self) -> CheckDef {
        self.not_required = true;
        self
    }

    /// It is made in a sequence whatever became of those before it.
    pub(crate) const fn always(mut self) -> CheckDef {
        self.always = true;
        self
    }

    /// It is about nothing, and not in the report, with tunnels of which this is not true: unless said, with those
    /// that carry no connections.
    pub(crate) const fn only_for(mut self, concerns: fn(&dyn Tunnel) -> bool) -> CheckDef {
        self.concerns = concerns;
        self
    }

    /// It may take that many times the deadline of a check.
    pub(crate) const fn timeout_factor(mut self, times: u32) -> CheckDef {
        self.timeout_factor = times;
        self
    }
}

impl SuiteDef {
    /// Its checks.
    pub(crate) fn defs(&self) -> &'static [CheckDef] {
        match self.checks {
            Checks::Independent(defs)
            | Checks::RequireConnection(defs)
            | Checks::Sequence(defs) => defs,
        }
    }
}
