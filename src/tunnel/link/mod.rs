//! The tunnel that is tested, started with all that belongs to it, and the ways to and through it.

pub(crate) mod connector;
pub(crate) mod launch;
pub(crate) mod program;
pub(crate) mod running_tunnel;
pub(crate) mod socks5;
pub(crate) mod tunnel;
