//! What checks are made of: their definition, and what their bodies work with.

pub(in crate::tunnel) mod context;
pub(in crate::tunnel) mod crowd;
pub(in crate::tunnel) mod definition;
pub(in crate::tunnel) mod wire;
