//! Reading bytes that are no text, and what a stop leaves of what was being read.

use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use loopback::{Connection, TestTcpServer};

use crate::support::{LONG, connect, eventually, exchange};

#[test]
fn lines_can_be_bytes_of_any_kind() {
    let (give, given) = mpsc::channel();
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| -> io::Result<()> {
        for _ in 0..3 {
            give.send(conn.read_line_bytes()?).unwrap();
        }
        give.send(conn.read_line_bytes().unwrap_err().to_string().into())
            .unwrap();
        Ok(())
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"caf\xe9\r\n\xffno end").unwrap();
    let peer = client.local_addr().unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let next = || given.recv_timeout(LONG).unwrap();
    assert_eq!(next(), b"caf\xe9\r\n");
    assert_eq!(next(), b"\xffno end");
    assert_eq!(next(), b"");
    assert_eq!(
        String::from_utf8(next()).unwrap(),
        format!(
            "{peer} closed after the last line, which an empty one has told already: stop reading there"
        )
    );
    server.stop(LONG).unwrap();
}

#[test]
fn pieces_end_with_any_byte() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
        assert_eq!(conn.read_bytes_until(0)?, b"\xfeone\n\0");
        assert_eq!(conn.read_bytes_until(b';')?, b"two;");
        assert_eq!(conn.read_line_bytes()?, b"\n");
        assert_eq!(conn.read_bytes_until(0)?, b"rest");
        assert_eq!(conn.read_bytes_until(0)?, b"");
        let text = conn.read_bytes_until(0).unwrap_err().to_string();
        assert!(
            text.ends_with(" closed after the last piece, which an empty one has told already: stop reading there"),
            "{text}"
        );
        conn.write_all(b"fine")
    })
    .unwrap();
    let answer = exchange(server.local_addr(), b"\xfeone\n\0two;\nrest");
    assert_eq!(answer, b"fine");
    server.stop(LONG).unwrap();
}

#[test]
fn pieces_are_bounded_as_lines_are() {
    let mut server = TestTcpServer::builder()
        .max_line(8)
        .start("127.0.0.1:0", |mut conn| conn.read_bytes_until(0).map(drop))
        .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"123456789\0").unwrap();
    let _ = client.read_to_end(&mut Vec::new());
    let error = server.stop(LONG).unwrap_err();
    let message = error.failures()[0].message();
    assert!(
        message.contains("the limit is 8 (builder().max_line)"),
        "{message}"
    );
}

/// The client could have gone on, so what is missing is the stop's doing and no failure; and what came is
/// not taken for the whole.
#[test]
fn what_a_stop_cuts_in_half_is_an_error_with_its_mark() {
    type Reads = fn(&mut Connection) -> io::Result<()>;
    let reads: [(Reads, &str); 6] = [
        (
            |conn| conn.read_line().map(|line| panic!("{line:?}")),
            "the server stopped after \"hal\", before the end of the line",
        ),
        (
            |conn| conn.read_line_bytes().map(|line| panic!("{line:?}")),
            "the server stopped after \"hal\", before the end of the line",
        ),
        (
            |conn| conn.read_bytes_until(0).map(|piece| panic!("{piece:?}")),
            "the server stopped after \"hal\", before a delimiter",
        ),
        (
            |conn| {
                let mut line = String::new();
                let count = BufRead::read_line(conn, &mut line)?;
                panic!("{count} bytes");
            },
            "the server stopped after \"hal\", before the end of the line",
        ),
        (
            |conn| conn.read_bytes(8).map(|bytes| panic!("{bytes:?}")),
            "the server stopped after 3 of 8 bytes",
        ),
        (
            |conn| conn.read_frame().map(|frame| panic!("{frame:?}")),
            "the server stopped after 3 of the 4 bytes of a frame's length",
        ),
    ];
    for (read, due) in reads {
        let (give, given) = mpsc::channel();
        let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
            let error = read(&mut conn).unwrap_err();
            give.send(error.to_string()).unwrap();
            Err::<(), _>(error)
        })
        .unwrap();
        let mut client = connect(server.local_addr());
        client.write_all(b"hal").unwrap();
        eventually("it is served", || server.open_connections() == 1);
        server.stop(LONG).unwrap();
        assert_eq!(given.recv_timeout(LONG).unwrap(), due);
    }
}

/// Reading to the end is told by the end, whoever made it.
#[test]
fn the_rest_is_what_came_before_the_stop() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
        assert_eq!(conn.read_rest()?, b"hal");
        Ok(())
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"hal").unwrap();
    eventually("it is served", || server.open_connections() == 1);
    server.stop(LONG).unwrap();
}

#[test]
fn a_handler_can_wait_for_the_stop() {
    let (give, given) = mpsc::channel();
    let mut server = TestTcpServer::start("127.0.0.1:0", move |conn| {
        let stopped = conn.stopped();
        assert!(!stopped.is_set());
        assert_eq!(format!("{stopped:?}"), "Stopped(false)");
        assert!(!stopped.wait(Duration::from_millis(1)));
        let elsewhere = stopped.clone();
        let other = std::thread::spawn(move || elsewhere.wait(2 * LONG));
        give.send(()).unwrap();
        assert!(stopped.wait(2 * LONG));
        assert!(stopped.is_set() && stopped.wait(Duration::ZERO));
        assert!(other.join().unwrap());
    })
    .unwrap();
    let client = connect(server.local_addr());
    given.recv_timeout(LONG).unwrap();
    let begun = std::time::Instant::now();
    server.stop(2 * LONG).unwrap();
    assert!(begun.elapsed() < LONG);
    drop(client);
}
