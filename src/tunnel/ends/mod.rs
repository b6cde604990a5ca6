//! Both ends of a tunnel: the client, the service, and what goes from one to the other.

pub(in crate::tunnel) mod address;
#[allow(
    dead_code,
    reason = "words for suites, and not every suite is written yet"
)]
pub(in crate::tunnel) mod conversation;
pub(in crate::tunnel) mod crowd;
pub(in crate::tunnel) mod data;
pub(in crate::tunnel) mod random;
pub(in crate::tunnel) mod service;
pub(in crate::tunnel) mod stream;
pub(in crate::tunnel) mod transfer;
