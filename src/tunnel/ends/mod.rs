//! Both ends of a tunnel: the client, the service, and what goes from one to the other.

pub(crate) mod address;
pub(crate) mod conversation;
pub(crate) mod data;
pub(crate) mod exchange;
pub(crate) mod proxy_header;
pub(crate) mod random;
pub(crate) mod service;
pub(crate) mod socks5;
pub(crate) mod stream;
pub(crate) mod transfer;
