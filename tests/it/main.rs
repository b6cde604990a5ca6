//! The crate through its public face, one binary.

mod failures;
mod lifecycle;
mod support;
mod tcp;
mod udp;
#[cfg(unix)]
mod unix;
