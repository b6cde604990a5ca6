//! Protocols as pure state machines over bytes: no socket, no thread, no clock.

#[cfg(feature = "tunnel")]
pub(crate) mod connect;
#[cfg(feature = "tunnel")]
pub(crate) mod decode;
#[cfg(feature = "http")]
pub(crate) mod http1;
#[cfg(feature = "smtp")]
pub(crate) mod mail;
#[cfg(feature = "tunnel")]
pub(crate) mod proxy_protocol;
#[cfg(feature = "smtp")]
pub(crate) mod smtp;
#[cfg(feature = "tunnel")]
pub(crate) mod socks4;
#[cfg(feature = "tunnel")]
pub(crate) mod socks5;
