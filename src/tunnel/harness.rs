//! The harness as its users see it: a tunnel and the options of a run.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::tunnel::check::definition::SuiteDef;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::core::options::{OnProgress, Options, Sizes};
use crate::tunnel::error::Error;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::report::{Progress, Report};
use crate::tunnel::run;
use crate::tunnel::suites::Suite;

/// Runs a real tunnel program between a test client and a test service. See the [module](super).
pub struct TunnelHarness {
    tunnel: Arc<dyn Tunnel>,
    suites: Vec<Suite>,
    options: Options,
}

impl TunnelHarness {
    /// A harness for `tunnel`, with every option at its default.
    pub fn new(tunnel: impl Tunnel + 'static) -> TunnelHarness {
        TunnelHarness {
            tunnel: Arc::new(tunnel),
            suites: Vec::new(),
            options: Options::default(),
        }
    }

    /// Adds a suite to the run, once. Without any, [`Suite::Connectivity`] is run; or with
    /// [`only`](TunnelHarness::only) all those that have such a check.
    #[must_use]
    pub fn suite(mut self, suite: Suite) -> TunnelHarness {
        if !self.suites.contains(&suite) {
            self.suites.push(suite);
        }
        self
    }

    /// Adds several suites to the run, each once: `Suite::ALL` for all.
    #[must_use]
    pub fn suites(self, suites: &[Suite]) -> TunnelHarness {
        let add = |harness: TunnelHarness, suite: &Suite| harness.suite(*suite);
        suites.iter().fold(self, add)
    }

    /// Runs only these combinations of address families: of the client's half and of the service's.
    /// All four unless set; one that this machine does not have is skipped with the reason.
    ///
    /// ```
    /// # use loopback::TunnelHarness;
    /// # use loopback::tunnel::{Family, Forward};
    /// # fn only_ipv4(tunnel: Forward) -> TunnelHarness {
    /// TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)])
    /// # }
    /// ```
    #[must_use]
    pub fn families(
        mut self,
        combinations: impl IntoIterator<Item = (Family, Family)>,
    ) -> TunnelHarness {
        self.options.families.clear();
        for combination in combinations {
            if !self.options.families.contains(&combination) {
                self.options.families.push(combination);
            }
        }
        self
    }

    /// Whether to prefer the addresses of this machine's network interfaces over its loopback ones.
    /// `false` unless set: then nothing listens where another machine could reach it.
    #[must_use]
    pub fn interfaces(mut self, use_them: bool) -> TunnelHarness {
        self.options.interfaces = use_them;
        self
    }

    /// Gives the program ports of this range only. Unless set, they are outside of the range that the
    /// system gives to everybody, and another choice in each process. If none of them is free, nothing
    /// can be run.
    #[must_use]
    pub fn ports(mut self, range: RangeInclusive<u16>) -> TunnelHarness {
        self.options.ports.range = Some(range);
        self
    }

    /// The place, within the ports to choose from, of the first one that is tried; it is counted from
    /// the beginning again at the end. Unless set, another one in each process.
    #[must_use]
    pub fn port_offset(mut self, offset: u16) -> TunnelHarness {
        self.options.ports.offset = Some(offset);
        self
    }

    /// Makes only checks whose id matches this pattern as a whole, or one of several. `*` stands for
    /// any characters, slashes too, and `?` for a single one. What a check stands on is made too, and not
    /// told; unless it fails, and then what stands on it fails too. A pattern that matches no check is in
    /// [`Report::warnings`].
    ///
    /// ```
    /// # use loopback::TunnelHarness;
    /// # use loopback::tunnel::Forward;
    /// # fn only_stops(tunnel: Forward) -> TunnelHarness {
    /// TunnelHarness::new(tunnel).only("connectivity/*/stop")
    /// # }
    /// ```
    #[must_use]
    pub fn only(mut self, pattern: impl Into<String>) -> TunnelHarness {
        self.options.only.push(Glob::new(pattern));
        self
    }

    /// Skips the checks whose id matches this pattern, for `reason`: they are in the report as
    /// [skipped](crate::tunnel::Outcome::Skipped). What others stand on is made nevertheless, and not judged.
    /// A pattern that matches no check is in [`Report::warnings`].
    #[must_use]
    pub fn skip(mut self, pattern: impl Into<String>, reason: impl Into<String>) -> TunnelHarness {
        let entry = (Glob::new(pattern), reason.into());
        self.options.skip.push(entry);
        self
    }

    /// Says that the statements of the checks whose id matches this pattern do not hold for this
    /// program, and why that is known. Such a check [deviates](crate::tunnel::Outcome::Deviates) and does not
    /// fail, also in a strict run. If none of them deviates any more, the report says so, and a
    /// [strict](TunnelHarness::strict) run is no success.
    ///
    /// ```
    /// # use loopback::TunnelHarness;
    /// # use loopback::tunnel::Forward;
    /// # fn known(tunnel: Forward) -> TunnelHarness {
    /// TunnelHarness::new(tunnel).known_deviation("connectivity/6?/source", "it has no option for IPv6 sources")
    /// # }
    /// ```
    #[must_use]
    pub fn known_deviation(
        mut self,
        pattern: impl Into<String>,
        reason: impl Into<String>,
    ) -> TunnelHarness {
        let entry = (Glob::new(pattern), reason.into());
        self.options.expect.push(entry);
        self
    }

    /// Whether a check fails that breaks a [`Should`](crate::tunnel::Strictness::Should) or a rule of the
    /// [`Harness`](crate::tunnel::Strictness::Harness), and the run if an expected deviation is gone. `false`
    /// unless set.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> TunnelHarness {
        self.options.strict = strict;
        self
    }

    /// How much the checks do: [`Sizes::Quick`] unless set.
    #[must_use]
    pub fn sizes(mut self, sizes: Sizes) -> TunnelHarness {
        self.options.sizes = sizes;
        self
    }

    /// What random data comes from: 1 unless set. The same seed gives the same data to the same checks,
    /// whatever else is run.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> TunnelHarness {
        self.options.seed = seed;
        self
    }

    /// How many checks may run side by side, at least 1: 4 unless set, or as many as there are cores if
    /// those are fewer. Each has its own process where it could disturb another; measurements run alone
    /// after all others.
    #[must_use]
    pub fn jobs(mut self, jobs: usize) -> TunnelHarness {
        self.options.jobs = jobs;
        self
    }

    /// How many times to make every check, at least 1: once unless set.
    #[must_use]
    pub fn repeat(mut self, rounds: u32) -> TunnelHarness {
        self.options.repeat = rounds;
        self
    }

    /// Whether the first failure ends the run: what runs is finished, the rest is [not
    /// run](crate::tunnel::Outcome::NotRun). `false` unless set.
    #[must_use]
    pub fn fail_fast(mut self, fail_fast: bool) -> TunnelHarness {
        self.options.fail_fast = fail_fast;
        self
    }

    /// Whether checks that would hang as those before them did are left out: the rest of a suite of which five in a
    /// row have waited in vain for the same thing, and the rest of a run of which ten in a row have waited in vain,
    /// are [not run](crate::tunnel::Outcome::NotRun). `true` unless set.
    #[must_use]
    pub fn give_up(mut self, give_up: bool) -> TunnelHarness {
        self.options.give_up = give_up;
        self
    }

    /// Sends no more than so many bytes at once, at least 1, in all checks and in both directions:
    /// programs that take what one read gives for a whole message do not survive that. No limit unless
    /// set. On the way the system may still put segments together.
    #[must_use]
    pub fn segment_size(mut self, bytes: usize) -> TunnelHarness {
        self.options.segment_size = Some(bytes.max(1));
        self
    }

    /// How long each check may take: 10 seconds unless set. A few checks that do a lot take a multiple, but
    /// most of that is for data: a connection that is not made within this is given up.
    #[must_use]
    pub fn check_deadline(mut self, limit: Duration) -> TunnelHarness {
        self.options.check_deadline = limit;
        self
    }

    /// How long the program may take to end after TERM, before it is killed and the check fails: 10
    /// seconds unless set.
    #[must_use]
    pub fn stop_deadline(mut self, limit: Duration) -> TunnelHarness {
        self.options.stop_deadline = limit;
        self
    }

    /// How long the whole run may take: 5 minutes unless set. Checks that are then left are [not
    /// run](crate::tunnel::Outcome::NotRun), and the run is no success.
    /// Stopping a program that ignores TERM may add a second.
    #[must_use]
    pub fn deadline(mut self, limit: Duration) -> TunnelHarness {
        self.options.deadline = limit;
        self
    }

    /// Writes checks into this file as they end; checks that an earlier run has written there are taken
    /// from it and not made again. So an interrupted run goes on where it was. The file is made if it is
    /// not there, and stays when the run is over: remove it to begin anew.
    ///
    /// The file is of one run: the tunnel's name, seed, sizes, segment size, strictness and the patterns of
    /// checks must be the same. The program is not compared, and one that was built anew is not checked
    /// again: [`Report::warnings`] says how many checks are the earlier run's.
    #[must_use]
    pub fn resume(mut self, path: impl Into<PathBuf>) -> TunnelHarness {
        self.options.resume = Some(path.into());
        self
    }

    /// Has `hook` told of each check that ends, for a person who waits; it runs on the run's threads, one at a time,
    /// and the run waits for it. Checks that an earlier run has made are told too.
    ///
    /// ```
    /// # use loopback::TunnelHarness;
    /// # use loopback::tunnel::Forward;
    /// # fn told(tunnel: Forward) -> TunnelHarness {
    /// TunnelHarness::new(tunnel).on_progress(|progress| {
    ///     eprintln!("{} of {}: {}", progress.done, progress.total, progress.last.id());
    /// })
    /// # }
    /// ```
    #[must_use]
    pub fn on_progress(
        mut self,
        hook: impl Fn(Progress<'_>) + Send + Sync + 'static,
    ) -> TunnelHarness {
        self.options.on_progress = Some(OnProgress::new(hook));
        self
    }

    /// Runs the suites.
    ///
    /// # Errors
    ///
    /// If nothing could be run at all: no two addresses can connect, no port is free, the program
    /// cannot be started, or the file to go on from cannot be used. Whatever goes wrong with a started
    /// program is in the report.
    pub fn run(&self) -> Result<Report, Error> {
        let suites = match (&self.suites[..], &self.options.only[..]) {
            ([], []) => &[Suite::Connectivity],
            ([], _) => Suite::ALL,
            (suites, _) => suites,
        };
        let defs: Vec<&'static SuiteDef> = suites
            .iter()
            .flat_map(|suite| suite.suites(self.tunnel.kind()))
            .copied()
            .collect();
        run::run(&self.tunnel, &self.options, &defs)
    }
}

impl fmt::Debug for TunnelHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelHarness")
            .field("tunnel", &self.tunnel.slug())
            .field("suites", &self.suites)
            .field("options", &self.options)
            .finish()
    }
}
