//! Reading in one thread and writing in another.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use loopback::{ConnectionWriter, TestTcpServer};

use crate::support::{LONG, connect, eventually};

#[test]
fn a_writer_writes_while_the_connection_reads() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
        let mut writer = conn.writer();
        let (asks, asked) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let answering = scope.spawn(move || {
                writer.write_all(b"first\n")?;
                for () in asked {
                    writer.write_frame(b"news")?;
                }
                writer.shutdown_write()
            });
            while !conn.read_line()?.is_empty() {
                asks.send(()).unwrap();
            }
            drop(asks);
            answering.join().unwrap()
        })
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    let mut first = [0; 6];
    // Before anything is asked, so the handler is reading, or about to.
    client.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"first\n");
    client.write_all(b"ask\nask\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).unwrap();
    assert_eq!(answers, b"\0\0\0\x04news\0\0\0\x04news");
    let record = server.take_connection(LONG).unwrap();
    assert_eq!((record.received_count(), record.sent_count()), (8, 22));
    server.stop(LONG).unwrap();
}

#[test]
fn what_is_written_at_once_is_not_mixed() {
    const BLOCK: usize = 1 << 20;
    const BLOCKS: usize = 8;
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
        let writers = [b'a', b'b'].map(|letter| (conn.writer(), letter));
        let write = |target: &mut dyn Write, letter| {
            (0..BLOCKS).try_for_each(|_| target.write_all(&[letter; BLOCK]))
        };
        thread::scope(|scope| {
            let threads =
                writers.map(|(mut writer, letter)| scope.spawn(move || write(&mut writer, letter)));
            write(&mut conn, b'c')?;
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap())
        })
    })
    .unwrap();
    let mut all = Vec::new();
    connect(server.local_addr()).read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), 3 * BLOCKS * BLOCK);
    for (at, block) in all.chunks(BLOCK).enumerate() {
        assert!(block.iter().all(|byte| *byte == block[0]), "block {at}");
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_writer_has_a_timeout_of_its_own() {
    let (ends, ended) = mpsc::channel();
    let server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        let mut writer = conn.writer();
        for set in [
            writer.set_write_timeout(Some(Duration::ZERO)),
            conn.set_write_timeout(Some(Duration::ZERO)),
        ] {
            assert_eq!(set.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        writer
            .set_write_timeout(Some(Duration::from_millis(20)))
            .unwrap();
        let error = writer.write_all(&vec![0; 64 << 20]).unwrap_err();
        ends.send((error, conn.peer().clone())).unwrap();
        // The client reads now, or soon.
        conn.write_all(b"end")
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    let (error, peer) = ended.recv_timeout(LONG).unwrap();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let start = format!("timed out writing to {peer}, which does not read (write_timeout); ");
    assert!(error.to_string().starts_with(&start), "{error}");
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    assert!(all.ends_with(b"end"));
}

#[test]
fn a_stop_ends_the_reading_and_what_is_written_still_goes_out() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
        let mut writer = conn.writer();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let ticking = scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    writer.write_all(b"tick\n")?;
                }
                writer.write_all(b"over\n")
            });
            let rest = conn.read_rest();
            over.store(true, Ordering::Relaxed);
            ticking.join().unwrap()?;
            rest.map(drop)
        })
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    let mut ticks = [0; 10];
    client.read_exact(&mut ticks).unwrap();
    let reading = thread::spawn(move || {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).map(|_| rest)
    });
    server.stop(LONG).unwrap();
    let rest = reading.join().unwrap().unwrap();
    assert!(rest.ends_with(b"tick\nover\n") || rest == b"over\n");
}

#[test]
fn a_writer_that_outlives_its_handler_keeps_the_connection_until_the_stop() {
    let (gives, given) = mpsc::channel::<ConnectionWriter>();
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        gives.send(conn.writer()).unwrap();
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    let mut writer = given.recv_timeout(LONG).unwrap();
    server.take_connection(LONG).unwrap();
    eventually("the handler's end", || server.open_connections() == 0);
    writer.write_all(b"still here").unwrap();
    let mut still = [0; 10];
    client.read_exact(&mut still).unwrap();
    assert_eq!(&still, b"still here");
    assert_eq!(
        format!("{writer:?}"),
        format!(
            "ConnectionWriter {{ peer: {}, timeout: Some(30s), .. }}",
            writer.peer()
        )
    );
    server.stop(LONG).unwrap();
    assert_eq!(client.read(&mut still).unwrap(), 0);
    assert_eq!(
        writer.write(b"x").unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}
