//! A scripted peer for a client in Python, seen from the wire alone.

use std::time::Duration;

use libtest_mimic::Trial;
use loopback::{Framing, Script, ScriptedTcpServer};

use crate::{needs, python};

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    let python = |name, test| needs("python3", "python3", name, test);
    vec![
        python("script::python_every_instruction", every_instruction),
        python("script::python_frames", frames),
        python("script::python_reconnect", reconnect),
        python("script::python_unix", unix),
        python("script::python_sends_the_wrong_bytes", wrong_bytes),
        python("script::python_closes_early", closes_early),
        python("script::python_never_reads", never_reads),
        python(
            "script::python_opens_a_second_connection",
            second_connection,
        ),
    ]
}

/// What each of the clients begins with.
const BEGIN: &str = "import socket, struct, sys\n\
     def connect():\n    \
         client = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)\n    \
         return client\n\
     def read(client, count):\n    \
         data = b''\n    \
         while len(data) < count:\n        \
             piece = client.recv(count - len(data))\n        \
             assert piece, 'the end after %r' % data\n        \
             data += piece\n    \
         return data\n\
     client = connect()\n";

fn client(port: u16, script: &str) -> String {
    python(&format!("{BEGIN}{script}"), &[&port.to_string()])
}

fn every_instruction() {
    let script = Script::new()
        .expect_connect_within(LONG)
        .expect_bytes_within("Hello, server!", LONG)
        .send_bytes_within("Hello, client!", LONG)
        .expect_line_within("a line", LONG)
        .expect_match_within(
            |came| match came.iter().position(|byte| *byte == b'.') {
                Some(at) => loopback::Match::Matched(at + 1),
                None => loopback::Match::NeedMore,
            },
            LONG,
        )
        .send_in_pieces_within("pieces", 2, Duration::from_millis(2), LONG)
        .expect_silence(Duration::from_millis(10))
        .pause(Duration::from_millis(1))
        .then_within(|conn| std::io::Write::write_all(conn, b"go"), LONG)
        .shutdown_write()
        .expect_disconnect_within(LONG)
        .expect_connect_within(LONG)
        .expect_reset_within(LONG)
        // At once, the reset could come before its connect has returned.
        .expect_connect_within(LONG)
        .expect_bytes_within("?", LONG)
        .reset();
    let peer = ScriptedTcpServer::run("127.0.0.1:0", &script).unwrap();
    let output = client(
        peer.port(),
        "client.sendall(b'Hello, server!')\n\
         assert read(client, 14) == b'Hello, client!'\n\
         client.sendall(b'a line\\r\\n3.')\n\
         assert read(client, 8) == b'piecesgo'\n\
         assert client.recv(1) == b''\n\
         client.close()\n\
         client = connect()\n\
         client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))\n\
         client.close()\n\
         client = connect()\n\
         client.sendall(b'?')\n\
         try:\n    client.recv(1)\n\
         except ConnectionResetError:\n    print('reset')\n",
    );
    assert_eq!(output, "reset\n");
    peer.join().unwrap();
}

fn frames() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    peer.expect_connect_within(LONG)
        .expect_frame_within("Goodbye, world", LONG)
        .expect_frame_within(Framing::U16Le.frame("short"), LONG)
        .send_frame_within("Hello", LONG);
    client(
        peer.port(),
        "client.sendall(struct.pack('>I', 14) + b'Goodbye, world')\n\
         client.sendall(struct.pack('<H', 5) + b'short')\n\
         length, = struct.unpack('>I', read(client, 4))\n\
         assert read(client, length) == b'Hello'\n",
    );
    // The drop expects the disconnect.
}

fn reconnect() {
    let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
    for _ in 0..3 {
        peer.expect_connect_within(LONG)
            .expect_line_within("again", LONG)
            .disconnect();
    }
    client(
        peer.port(),
        "for last in (False, False, True):\n    \
             client.sendall(b'again\\n')\n    \
             assert client.recv(1) == b''\n    \
             client.close()\n    \
             if not last: client = connect()\n",
    );
    peer.join().unwrap();
}

fn unix() {
    let peer = ScriptedTcpServer::start(loopback::UnixAddress::temporary()).unwrap();
    peer.expect_connect_within(LONG)
        .expect_line_within("by path", LONG)
        .send_bytes_within("seen", LONG)
        .expect_disconnect_within(LONG);
    python(
        "import socket, sys\n\
         client = socket.socket(socket.AF_UNIX)\n\
         client.settimeout(20)\n\
         client.connect(sys.argv[1])\n\
         client.sendall(b'by path\\n')\n\
         assert client.recv(4) == b'seen'\n",
        &[peer.path().to_str().unwrap()],
    );
    peer.join().unwrap();
}

/// Runs a client against a script that fails, and gives the failure's message.
fn failure(script: &Script, text: &str) -> String {
    let peer = ScriptedTcpServer::run("127.0.0.1:0", script).unwrap();
    client(peer.port(), text);
    peer.join().unwrap_err().message().to_owned()
}

fn wrong_bytes() {
    let message = failure(
        &Script::new()
            .expect_connect_within(LONG)
            .expect_bytes_within("Hello, server!", LONG),
        // It waits for its answer, and goes on at once.
        "client.sendall(b'Hello, Server!')\nassert client.recv(1) == b''\n",
    );
    assert_eq!(
        message,
        "\
the first difference is at offset 7: expected 73 \"s\", received 53 \"S\"
  expected  00000000  48 65 6c 6c 6f 2c 20 73 65 72 76 65 72 21        |Hello, server!|
  received  00000000  48 65 6c 6c 6f 2c 20 53 65 72 76 65 72 21        |Hello, Server!|
                                           ^^                                  ^"
    );
}

fn closes_early() {
    let message = failure(
        &Script::new()
            .expect_connect_within(LONG)
            .expect_frame_within("Hello", LONG),
        "client.sendall(struct.pack('>I', 5) + b'Hel')\n",
    );
    assert_eq!(
        message,
        "the client closed early; its length and 3 of its 5 bytes came"
    );
}

fn never_reads() {
    let message = failure(
        &Script::new()
            .expect_connect_within(LONG)
            .send_bytes_within("unread", LONG)
            .expect_disconnect_within(LONG),
        "client.recv(6, socket.MSG_PEEK | socket.MSG_WAITALL)\n",
    );
    assert_eq!(
        message,
        "the client reset the connection, as one does that closes before it has read all: \
         it was sent 6 bytes"
    );
}

fn second_connection() {
    let message = failure(
        &Script::new()
            .expect_connect_within(LONG)
            .expect_disconnect_within(LONG),
        "second = connect()\nassert client.recv(1) == b''\n",
    );
    let known = "a second connection came, from 127.0.0.1:";
    assert!(message.starts_with(known), "{message}");
}
