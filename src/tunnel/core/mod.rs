//! What every layer above it knows: requirements, how a check fails, options, families, patterns, ports.

pub(in crate::tunnel) mod check_error;
pub(in crate::tunnel) mod family;
pub(in crate::tunnel) mod glob;
pub(in crate::tunnel) mod options;
pub(in crate::tunnel) mod ports;
pub(in crate::tunnel) mod requirement;
