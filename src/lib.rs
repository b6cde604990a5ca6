//! Blocking test servers on threads, and a harness that proves tunnels.

mod connection;
mod deadline;
pub(crate) mod proto;
mod server;
mod tcp;
#[cfg(feature = "tunnel")]
pub mod tunnel;
mod udp;

pub use crate::connection::Connection;
#[cfg(unix)]
pub use crate::server::address::UnixAddress;
pub use crate::server::address::{Address, ListenOn};
pub use crate::server::failure::{HandlerFailure, HandlerResult, StopError, StuckHandler};
pub use crate::server::options::Builder;
pub use crate::server::ready::Ready;
pub use crate::server::{Bound, TestServer};
pub use crate::tcp::{ConnectionRecord, Tcp, TestTcpServer};
pub use crate::udp::{Datagram, IntoReplies, Replies, TestUdpServer, Udp};
