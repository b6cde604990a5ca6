//! The crate through its public face, one binary.

mod custom;
mod failures;
#[cfg(feature = "http")]
mod http;
mod layers;
mod lifecycle;
mod logging;
mod parting;
#[cfg(all(feature = "http", feature = "smtp"))]
mod preamble;
mod reading;
mod script;
#[cfg(feature = "smtp")]
mod smtp;
mod stopping;
mod support;
mod tcp;
#[cfg(feature = "tunnel")]
mod tunnel;
mod udp;
#[cfg(unix)]
mod unix;
mod writers;
