//! What every layer above it knows: requirements, how a check fails, options, families, patterns, ports.

pub(crate) mod check_error;
pub(crate) mod family;
pub(crate) mod glob;
pub(crate) mod options;
pub(crate) mod ports;
pub(crate) mod requirement;
