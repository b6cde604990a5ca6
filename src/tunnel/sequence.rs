//! Checks that stand on each other.

use super::book::Page;
use super::error::Error;
use super::plan::Rule;
use super::program::Site;

/// A suite whose checks stand on each other: one process, from its start to its end.
#[derive(Debug)]
pub(super) struct Sequence {
    /// All that it may check.
    pub(super) rules: &'static [Rule],
    /// Makes the checks with [`Page::check`]. An error means that not a single one was made.
    pub(super) run: fn(&Site<'_>, &mut Page<'_>) -> Result<(), Error>,
}
