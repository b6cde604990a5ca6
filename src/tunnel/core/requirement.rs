//! What a check states.

use crate::tunnel::report::Strictness;

/// What a check states.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requirement {
    /// The last part of the id; may have several: `rfc1928/6/refused`.
    pub(crate) name: &'static str,
    pub(crate) statement: &'static str,
    /// `RFC 1928, section 6`, or `harness`.
    pub(crate) source: &'static str,
    pub(crate) strictness: Strictness,
}

impl Requirement {
    pub(crate) const fn new(
        strictness: Strictness,
        name: &'static str,
        statement: &'static str,
        source: &'static str,
    ) -> Requirement {
        Requirement {
            name,
            statement,
            source,
            strictness,
        }
    }
}
