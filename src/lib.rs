//! Blocking test servers for plain `#[test]` functions, and a harness that proves tunnels.
//!
//! - [`TestTcpServer`], [`TestUdpServer`]: a port, a closure, a bounded `stop`.
//! - [`ScriptedTcpServer`]: what a client has to send, and what it is sent, step by step.
//! - [`TestStreamServer`], [`TestDatagramServer`], [`TestBothServer`]: a protocol of your own, with a
//!   record of what it understood.
#![cfg_attr(
    feature = "http",
    doc = "- [`TestHttpServer`]: HTTP/1.0 and 1.1, with faults on purpose."
)]
#![cfg_attr(
    feature = "smtp",
    doc = "- [`TestSmtpServer`]: RFC 5321 with the usual extensions."
)]
#![cfg_attr(
    feature = "tunnel",
    doc = "- [`TunnelHarness`]: puts a real program between a test client and a test service."
)]
//!
//! There is no async runtime in it. Each server has a poll loop on a thread of its own, and runs
//! handlers on worker threads (datagrams: on its own thread, in order).
//!
//! ```
//! use std::io::Write;
//! use loopback::TestTcpServer;
//!
//! let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
//!     let line = conn.read_line()?;
//!     conn.write_all(line.as_bytes())
//! })?;
//! let mut client = std::net::TcpStream::connect(server.local_addr())?;
//! client.write_all(b"ping\n")?;
//! server.stop(std::time::Duration::from_secs(1))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What all servers have in common
//!
//! They are one type, [`TestServer`], with four names. `start(address, handler)` binds, starts the
//! server's thread and returns once it is ready; `builder()` takes options first, and its `bind`
//! stops halfway. [`stop`](TestServer::stop) is bounded by its timeout as a whole (what it may take beyond
//! it stands there), and its error names the handlers that panicked, returned an error or are stuck; so does the drop, by a panic,
//! for what nobody took. [`restart`](TestServer::restart) serves on the same address again.
//!
//! # Features
//!
//! `http`, `pktinfo` (a UDP server on `0.0.0.0` or `[::]` answers from the address that was asked, on
//! Linux), `smtp` and `tunnel` (which has `http` and `smtp` with it), all on by default. TCP and UDP alone need 7 crates. `json` is off
//! by default: it adds `Request::json` and `Response::json`, on `serde_json`.
//!
//! # Logging
//!
//! Records of the [`log`] crate under `loopback::tcp`, `loopback::udp`, `loopback::http`,
//! `loopback::smtp`, `loopback::scripted`, `loopback::custom` and `loopback::tunnel`: failures as warnings, lives of
//! servers and connections as debug.

// Implementation notes
//
// - `net` is addresses, sockets and the signal to stop; `connection` is what a handler gets; `server` is the life
//   of every server and knows no protocol; `proto` is the protocols and knows no socket, thread or clock; a module
//   each (`tcp`, `udp`, `http`, `smtp`, `script`, `custom`) joins the two; `tunnel` has them at both ends of a program,
//   and sockets of std where single bytes and ends are looked at. Each imports downwards only, which a test holds.
// - **The poll loop** of a server of streams is a `mio` poll with the listener, a waker, and the
//   connections that are between requests, which need no thread. Accepted connections go to worker
//   threads that are kept for reuse and block on their sockets.
// - **SMTP's connections** get turns on the poll loop's own thread until the test's code has to run
//   or a client sends in bulk: a thread switch a round trip would be most of a short mail's time. So
//   does an HTTP client's first request where the answer is fixed: who asks once costs no worker.
// - **A server of datagrams** blocks in its receive instead, with the poll interval as the socket's
//   timeout, and is woken by a datagram of its own: a poll would cost two system calls a datagram.
//   Where a test's own protocol has both on one port, the poll loop of the streams handles the datagrams.
// - **Stop** sets a flag and wakes the thread, which accepts who has come, closes the listener and
//   ends. The reading side of live connections is then shut, so that blocked handlers see the end
//   of the stream; near the timeout both sides are. An error that a connection gave because it was
//   cut like that carries a mark, and a handler that returns it has not failed.
// - **A connection's socket** belongs to the handler's `Connection` and its writers, and under TCP
//   also to the worker, until the handler's outcome is recorded. The registry of live connections
//   holds a weak reference, by which stopping shuts it.
// - **A scripted server** has its own poll loop, on the same thread of the same lifecycle. That thread
//   owns the listener and the connections, none of which blocks, and takes the instruction of each
//   connection as far as it goes; it sleeps until a socket is ready, an instruction's time is over, or
//   a waker tells of a new instruction or a stop. So a second client is noticed at any time, and only
//   a closure of the test's can hold it up. A failure is recorded before anything is closed.
// - **What arrived** is listed before it is answered and can be taken after.

#[cfg_attr(
    not(all(feature = "http", feature = "smtp")),
    allow(dead_code, reason = "a protocol that is off leaves its part unused")
)]
mod connection;
mod custom;
#[cfg_attr(
    not(all(feature = "http", feature = "smtp")),
    allow(dead_code, reason = "a protocol that is off leaves its part unused")
)]
mod deadline;
#[cfg(feature = "http")]
mod fault;
#[cfg(fuzzing)]
pub mod fuzz;
#[cfg(all(doctest, unix))]
mod hosts;
#[cfg(feature = "http")]
mod http;
#[cfg_attr(
    not(all(feature = "http", feature = "smtp")),
    allow(dead_code, reason = "a protocol that is off leaves its part unused")
)]
mod net;
mod process;
mod proto;
mod script;
#[cfg_attr(
    not(all(feature = "http", feature = "smtp")),
    allow(dead_code, reason = "a protocol that is off leaves its part unused")
)]
mod server;
#[cfg(feature = "smtp")]
pub mod smtp;
mod tcp;
#[cfg(feature = "tunnel")]
pub mod tunnel;
mod udp;

pub use crate::connection::{Connection, ConnectionWriter, Stopped};
pub use crate::custom::{
    BoxError, Custom, CustomProtocol, DatagramProtocol, OverBoth, OverDatagrams, OverStreams,
    Recorded, Recorder, StreamProtocol, TestBothServer, TestDatagramServer, TestStreamServer,
    Transport,
};
#[cfg(feature = "http")]
pub use crate::fault::{At, Fault, Pace};
#[cfg(feature = "http")]
pub use crate::http::{Http, IntoResponse, Pairs, Request, Response, TestHttpServer};
#[cfg(unix)]
pub use crate::net::address::UnixAddress;
pub use crate::net::address::{Address, ListenOn};
#[cfg(feature = "http")]
pub use crate::proto::http1::{HeaderError, Headers, Version};
pub use crate::script::{
    Frame, Framing, Match, Script, ScriptError, ScriptErrors, ScriptedConnection,
    ScriptedTcpServer, ScriptedTcpServers,
};
pub use crate::server::datagrams::Datagram;
pub use crate::server::failure::{HandlerFailure, HandlerResult, StopError, StuckHandler, ok};
pub use crate::server::options::Builder;
pub use crate::server::protocol::Protocol;
pub use crate::server::ready::Ready;
pub use crate::server::{Bound, TestServer};
#[cfg(feature = "smtp")]
#[doc(inline)]
pub use crate::smtp::{Smtp, TestSmtpServer};
pub use crate::tcp::{ConnectionRecord, Tcp, TestTcpServer};
#[cfg(feature = "tunnel")]
#[doc(inline)]
pub use crate::tunnel::{RunningTunnel, TunnelHarness};
pub use crate::udp::{IntoReplies, Replies, TestUdpServer, Udp};

/// The README's code compiles, and runs where it can.
#[cfg(all(doctest, feature = "http", feature = "smtp", feature = "tunnel"))]
#[doc = include_str!("../README.md")]
struct Readme;
