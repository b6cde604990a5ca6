//! Checks that stand on each other.

use super::book::Page;
use super::plan::Rule;
use crate::tunnel::error::Error;
use crate::tunnel::programs::program::Site;

/// A suite whose checks stand on each other: one process, from its start to its end.
#[derive(Debug)]
pub(in crate::tunnel) struct Sequence {
    /// All that it may check.
    pub(in crate::tunnel) rules: &'static [Rule],
    /// Makes the checks with [`Page::check`]. An error means that not a single one was made.
    pub(in crate::tunnel) run: fn(&Site<'_>, &mut Page<'_>) -> Result<(), Error>,
}
