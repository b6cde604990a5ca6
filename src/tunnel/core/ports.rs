//! Which ports the programs get.

use std::ops::RangeInclusive;

/// Which ports may be leased, where the user has asked for some.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ports {
    /// Only these; otherwise all outside of the kernel's ephemeral range.
    pub(crate) range: Option<RangeInclusive<u16>>,
    /// The place of the first one that is tried; otherwise another one for each process.
    pub(crate) offset: Option<u16>,
}
