//! The suites by name.
//!
//! A new one is a file with its [`Table`], and here a variant, its place in [`Suite::ALL`] and its table.

use super::connectivity;
use super::plan::Table;

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// The program starts, connects, carries a few bytes both ways, closes and stops, for each
    /// combination of IPv4 and IPv6 on its two sides.
    Connectivity,
}

impl Suite {
    /// Every suite, in the order in which they run.
    pub const ALL: &[Suite] = &[Suite::Connectivity];

    /// The first part of its checks' ids.
    pub fn name(self) -> &'static str {
        self.table().name
    }

    pub(super) fn table(self) -> &'static Table {
        match self {
            Suite::Connectivity => &connectivity::TABLE,
        }
    }
}
