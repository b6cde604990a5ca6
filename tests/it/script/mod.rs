//! The scripted peer: what each instruction does, and what each failure says, word for word.

mod bounds;
mod ends;
mod expecting;
mod life;
mod sending;
mod several;

use std::fmt::Display;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};

use loopback::{ScriptError, ScriptedTcpServer};

use crate::support::{LONG, connect};

/// A server with a client, connected.
fn pair() -> (ScriptedTcpServer, TcpStream) {
    pair_on("127.0.0.1:0")
}

/// As [`pair`], on an address of its own where the server restarts: between the two its port is free.
fn pair_on(address: &str) -> (ScriptedTcpServer, TcpStream) {
    let peer = ScriptedTcpServer::start(address).unwrap();
    peer.expect_connect_within(LONG);
    let client = connect(peer.local_addr());
    (peer, client)
}

/// The failure's text, with words for what no test can know: the server's address, the client's, and
/// the folder of this file.
fn told(peer: &ScriptedTcpServer, client: &TcpStream, error: &impl Display) -> String {
    told_of(
        &error.to_string(),
        peer.local_addr(),
        &[client.local_addr().unwrap()],
    )
}

fn told_of(text: &str, server: SocketAddr, clients: &[SocketAddr]) -> String {
    let mut text = text.replace(&server.to_string(), "SERVER");
    for (client, name) in clients.iter().zip(["CLIENT", "SECOND", "THIRD"]) {
        text = text.replace(&client.to_string(), name);
    }
    text.replace("tests/it/script/", "")
}

/// A failure's text as [`told`] gives it, of an instruction that this line of the caller's file queued.
#[track_caller]
fn full(what: &str, line: u32, message: &str) -> String {
    let file = Location::caller().file().replace("tests/it/script/", "");
    format!("scripted server on SERVER: {what}\n  queued at {file}:{line}:10\n  {message}")
}

/// The failure that the script must have.
#[track_caller]
fn failure(peer: &ScriptedTcpServer) -> ScriptError {
    peer.join().expect_err("the script has not failed")
}

/// What a panic says.
fn panic_of(what: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(what)).unwrap_err();
    *payload.downcast::<String>().unwrap()
}

/// Reads to the end, which must come, by a close or by a reset.
fn wait_end(mut client: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    match client.read_to_end(&mut all) {
        Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
        _ => all,
    }
}

/// A closing that resets.
fn reset(client: TcpStream) {
    let socket = socket2::Socket::from(client);
    socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
}
