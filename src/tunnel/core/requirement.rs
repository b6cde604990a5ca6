//! What a check states.

use crate::tunnel::report::Strictness;

/// What a check states.
#[derive(Debug, Clone, Copy)]
pub(in crate::tunnel) struct Rule {
    /// The last part of the id; may have several: `rfc1928/6/refused`.
    pub(in crate::tunnel) name: &'static str,
    pub(in crate::tunnel) statement: &'static str,
    /// `RFC 1928, section 6`, or `harness`.
    pub(in crate::tunnel) source: &'static str,
    pub(in crate::tunnel) strictness: Strictness,
}

impl Rule {
    pub(in crate::tunnel) const fn new(
        strictness: Strictness,
        name: &'static str,
        statement: &'static str,
        source: &'static str,
    ) -> Rule {
        Rule {
            name,
            statement,
            source,
            strictness,
        }
    }
}
