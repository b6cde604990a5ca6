//! Protocols as pure state machines over bytes: no socket, no thread, no clock.

#[cfg(feature = "http")]
pub(crate) mod http1;
#[cfg(feature = "smtp")]
pub(crate) mod smtp;
#[cfg(feature = "tunnel")]
pub(crate) mod socks5;
