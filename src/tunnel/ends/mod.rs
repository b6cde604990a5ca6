//! Both ends of a tunnel: the client, the service, and what goes from one to the other.

pub(in crate::tunnel) mod address;
pub(in crate::tunnel) mod conversation;
pub(in crate::tunnel) mod data;
pub(in crate::tunnel) mod exchange;
pub(in crate::tunnel) mod random;
pub(in crate::tunnel) mod service;
pub(in crate::tunnel) mod socks5;
pub(in crate::tunnel) mod stream;
pub(in crate::tunnel) mod transfer;
