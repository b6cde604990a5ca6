//! What a run is told.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::tunnel::core::family::Family;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::report::Progress;

/// How long one check may take unless set.
const CHECK_DEADLINE: Duration = Duration::from_secs(10);
/// How long a program may take to end after TERM unless set.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// How long a run may take unless set.
const DEADLINE: Duration = Duration::from_secs(300);
/// How many checks run side by side unless set, on a machine with as many cores.
const JOBS: usize = 4;

/// How much a check does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sizes {
    /// Enough to find what is wrong in most programs, within seconds.
    #[default]
    Quick,
    /// All that the checks are made for: hundreds of megabytes, thousands of connections.
    Full,
}

/// Who is told how far a run has come.
#[derive(Clone)]
pub(crate) struct OnProgress(Arc<Hook>);

type Hook = dyn Fn(Progress<'_>) + Send + Sync;

impl OnProgress {
    pub(crate) fn new(hook: impl Fn(Progress<'_>) + Send + Sync + 'static) -> OnProgress {
        OnProgress(Arc::new(hook))
    }

    pub(crate) fn tell(&self, progress: Progress<'_>) {
        (self.0)(progress);
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// What a run is told; each has a method of [`TunnelHarness`](crate::tunnel::TunnelHarness).
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) families: Vec<(Family, Family)>,
    pub(crate) interfaces: bool,
    pub(crate) ports: Ports,
    pub(crate) only: Vec<Glob>,
    pub(crate) skip: Vec<(Glob, String)>,
    pub(crate) expect: Vec<(Glob, String)>,
    pub(crate) strict: bool,
    pub(crate) sizes: Sizes,
    pub(crate) seed: u64,
    pub(crate) jobs: usize,
    pub(crate) repeat: u32,
    pub(crate) fail_fast: bool,
    pub(crate) give_up: bool,
    pub(crate) segment_size: Option<usize>,
    pub(crate) check_deadline: Duration,
    pub(crate) stop_deadline: Duration,
    pub(crate) deadline: Duration,
    pub(crate) resume: Option<PathBuf>,
    pub(crate) on_progress: Option<OnProgress>,
}

impl Default for Options {
    fn default() -> Options {
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        Options {
            families: Family::COMBINATIONS.to_vec(),
            interfaces: false,
            ports: Ports::default(),
            only: Vec::new(),
            skip: Vec::new(),
            expect: Vec::new(),
            strict: false,
            sizes: Sizes::Quick,
            seed: 1,
            jobs: JOBS.min(cores),
            repeat: 1,
            fail_fast: false,
            give_up: true,
            segment_size: None,
            check_deadline: CHECK_DEADLINE,
            stop_deadline: STOP_DEADLINE,
            deadline: DEADLINE,
            resume: None,
            on_progress: None,
        }
    }
}

impl Options {
    /// Whether the check is asked for.
    pub(crate) fn selects(&self, id: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|glob| glob.matches(id))
    }

    /// Why the check is to be skipped, if it is.
    pub(crate) fn skips(&self, id: &str) -> Option<&str> {
        reason(&self.skip, id)
    }

    /// Why the check is expected to deviate, if it is.
    pub(crate) fn expects(&self, id: &str) -> Option<&str> {
        reason(&self.expect, id)
    }
}

fn reason<'a>(patterns: &'a [(Glob, String)], id: &str) -> Option<&'a str> {
    let found = patterns.iter().find(|(glob, _)| glob.matches(id));
    found.map(|(_, reason)| &reason[..])
}
