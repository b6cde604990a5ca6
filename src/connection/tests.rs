//! A connection by itself, on a socket whose other end the test has.

use std::io::{BufRead, Read, Write};
use std::net::{TcpListener, TcpStream};

use super::*;
use crate::connection::discarding::Discarding;
use crate::deadline::Deadline;
use crate::net::stop::StopSwitch;
use crate::server::options::Options;

/// A connection, its client, and what stops it.
fn pair_with(limits: Limits) -> (Connection, TcpStream, StopSwitch) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, peer) = listener.accept().unwrap();
    let stream = Arc::new(Stream::Tcp(socket));
    let (switch, stop) = StopSignal::new();
    let live = Arc::new(Live::new(1, peer.into(), &stream, stop, 0));
    let conn = Connection::new(stream, live, peer.into(), limits).unwrap();
    (conn, client, switch)
}

fn limits() -> Limits {
    Options::default().limits
}

fn long() -> Deadline {
    Deadline::new(Duration::from_secs(30), "the test's bytes")
}

#[test]
fn what_was_read_ahead_stays_for_whoever_reads_next() {
    let (mut conn, mut client, _switch) = pair_with(limits());
    client.write_all(b"line\r\nfourrest").unwrap();
    drop(client);
    assert_eq!(conn.read_line().unwrap(), "line\r\n");
    assert_eq!(conn.read_bytes(4).unwrap(), b"four");
    assert_eq!(conn.fill_buf().unwrap().first(), Some(&b'r'));
    conn.consume(1);
    let mut one = [0];
    conn.read_exact(&mut one).unwrap();
    assert_eq!(&one, b"e");
    assert_eq!(conn.read_rest().unwrap(), b"st");
    // The end is told once as a line, and stays an end.
    assert_eq!(conn.read_line().unwrap(), "");
    assert_eq!(conn.read(&mut one).unwrap(), 0);
}

#[test]
fn a_line_in_many_segments_is_one_and_the_buffer_grows_for_it() {
    let (mut conn, mut client, _switch) = pair_with(limits());
    let text = "0123456789".repeat(10 * FIRST_BUFFER / 10);
    let sent = text.clone();
    let writer = std::thread::spawn(move || {
        for piece in sent.as_bytes().chunks(997) {
            client.write_all(piece).unwrap();
        }
        client.write_all(b"\nnext\n").unwrap();
        client
    });
    assert_eq!(conn.read_line().unwrap(), text + "\n");
    assert!(conn.buffer.len() > 8 * FIRST_BUFFER);
    assert_eq!(conn.read_line().unwrap(), "next\n");
    conn.release_buffer();
    assert!(conn.buffer.capacity() <= USUAL_BUFFER);
    drop(writer.join().unwrap());
}

#[test]
fn what_is_too_long_is_an_error_and_costs_no_more_memory() {
    let short = Limits {
        line: 10,
        frame: 10,
        rest: 10,
        ..limits()
    };
    let (mut conn, mut client, _switch) = pair_with(short);
    client.write_all(b"01234567890123456789\n").unwrap();
    let kind = |error: io::Error| error.kind();
    assert_eq!(
        conn.read_line().map_err(kind),
        Err(io::ErrorKind::InvalidData)
    );
    let (mut conn, mut client, _switch) = pair_with(short);
    client.write_all(&[0, 0, 0, 11]).unwrap();
    assert_eq!(
        conn.read_frame().map_err(kind),
        Err(io::ErrorKind::InvalidData)
    );
    let (mut conn, mut client, _switch) = pair_with(short);
    client.write_all(&[b'x'; 11]).unwrap();
    drop(client);
    assert_eq!(
        conn.read_rest().map_err(kind),
        Err(io::ErrorKind::InvalidData)
    );
}

#[test]
fn a_socket_that_does_not_block_says_that_nothing_has_come() {
    let (mut conn, mut client, _switch) = pair_with(limits());
    conn.stream().set_nonblocking(true).unwrap();
    assert_eq!(conn.fill_now().unwrap(), None);
    client.write_all(b"abc").unwrap();
    let deadline = long();
    let count = loop {
        match conn.fill_now().unwrap() {
            Some(count) => break count,
            None => drop(deadline.check().unwrap()),
        }
    };
    assert_eq!((count, conn.buffer()), (3, &b"abc"[..]));
    assert!(!conn.is_full());
    drop(client);
    while conn.fill_now().unwrap() != Some(0) {
        deadline.check().unwrap();
    }
}

#[test]
fn one_that_is_idle_is_told_from_one_that_has_ended() {
    let (mut conn, mut client, _switch) = pair_with(limits());
    let moment = Duration::from_millis(1);
    assert_eq!(conn.wait_idle(moment).unwrap(), Idle::Quiet);
    client.write_all(b"x").unwrap();
    assert_eq!(
        conn.wait_idle(Duration::from_secs(30)).unwrap(),
        Idle::Ready
    );
    // What was read ahead is enough.
    assert_eq!(conn.wait_idle(moment).unwrap(), Idle::Ready);
    conn.consume(1);
    drop(client);
    assert_eq!(
        conn.wait_idle(Duration::from_secs(30)).unwrap(),
        Idle::Ended
    );
}

#[test]
fn what_is_kept_comes_back_as_what_it_was() {
    let (mut conn, _client, _switch) = pair_with(limits());
    conn.keep(Box::new(7_u32));
    assert_eq!(conn.kept::<u32>(), Some(&7));
    assert_eq!(conn.kept::<String>(), None);
    assert_eq!(conn.take_kept::<u32>(), Some(Box::new(7)));
    assert_eq!(conn.take_kept::<u32>(), None);
}

#[test]
fn it_closes_when_its_client_has_and_waits_for_that_in_bounds() {
    let (mut conn, mut client, _switch) = pair_with(limits());
    client.write_all(b"unread").unwrap();
    let closer = std::thread::spawn(move || {
        conn.close_in_order(Discarding::USUAL);
        conn
    });
    // The end comes although the client has not closed.
    assert_eq!(client.read(&mut [0; 9]).unwrap(), 0);
    client.write_all(b"and more").unwrap();
    drop(client);
    drop(closer.join().unwrap());

    let (mut conn, _client, _switch) = pair_with(limits());
    conn.close_in_order(Discarding {
        silence: Duration::from_millis(1),
        ..Discarding::USUAL
    });
}

#[test]
fn a_stop_ends_a_pause_and_marks_the_error() {
    let (conn, _client, switch) = pair_with(limits());
    let pausing = std::thread::spawn(move || {
        let stopped = conn.stopped();
        let error = conn.pause(Duration::from_secs(600)).unwrap_err();
        (error.kind(), stopped.is_set(), conn.is_stopping())
    });
    switch.stop(&long());
    assert_eq!(
        pausing.join().unwrap(),
        (io::ErrorKind::ConnectionAborted, true, true)
    );
}
