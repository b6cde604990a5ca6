//! The tunnel that is tested, started with all that belongs to it, and the ways to and through it.

pub(in crate::tunnel) mod program;
pub(in crate::tunnel) mod tunnel;
