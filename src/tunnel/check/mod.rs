//! What checks are made of: their definition, and what their bodies work with.

pub(crate) mod connection_group;
pub(crate) mod context;
pub(crate) mod definition;
pub(crate) mod stand_in;
pub(crate) mod wire;
