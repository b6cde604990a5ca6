//! What is below a connection: addresses and sockets, what is known of one that is open, and the signal to stop.

pub(crate) mod address;
mod holder;
pub(crate) mod live;
#[cfg(all(feature = "pktinfo", target_os = "linux"))]
mod pktinfo;
pub(crate) mod socket;
pub(crate) mod stop;
#[cfg(unix)]
pub(crate) mod unix;
