//! Blocking test servers and a tunnel harness.

mod deadline;
pub mod proto;
#[cfg(feature = "tunnel")]
pub mod tunnel;
