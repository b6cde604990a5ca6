//! Servers of a test's own protocol: the life of every server, over streams, datagrams and both.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use loopback::{
    BoxError, Connection, CustomProtocol, Datagram, DatagramProtocol, IntoReplies, Recorder,
    Replies, StreamProtocol, TestBothServer, TestDatagramServer, TestStreamServer,
};

use crate::support::{LONG, connect, eventually, exchange};

/// Gives back what comes, in capitals, and records it; fails on "fail" and panics on "panic".
#[derive(Debug, Default)]
struct Capitals;

impl CustomProtocol for Capitals {
    const NAME: &str = "capitals";
    const ITEM: &str = "a word";
    type Item = String;

    fn size_of(word: &String) -> usize {
        word.len()
    }
}

impl Capitals {
    fn answer_to(&self, word: &str) -> Result<String, BoxError> {
        assert_ne!(word, "panic", "a word");
        match word {
            "fail" => Err("it was told to fail".into()),
            word => Ok(word.to_uppercase()),
        }
    }
}

impl StreamProtocol for Capitals {
    fn serve(&self, mut conn: Connection, words: &Recorder<'_, Self>) -> Result<(), BoxError> {
        loop {
            let line = conn.read_line()?;
            if line.is_empty() {
                return Ok(());
            }
            let word = line.trim_end();
            let unanswered = words.record(word.to_owned());
            writeln!(conn, "{}", self.answer_to(word)?)?;
            drop(unanswered);
        }
    }
}

impl DatagramProtocol for Capitals {
    fn answer(&self, datagram: &Datagram, words: &Recorder<'_, Self>) -> Result<Replies, BoxError> {
        let word = datagram.text();
        words.record(word.clone());
        self.answer_to(&word)?.into_replies()
    }
}

/// Asks over UDP, with a timeout so that a test fails rather than hangs.
fn ask(server: std::net::SocketAddr, word: &str) -> io::Result<String> {
    let any = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let client = UdpSocket::bind(any)?;
    client.set_read_timeout(Some(LONG))?;
    client.send_to(word.as_bytes(), server)?;
    let mut answer = [0; 100];
    let (length, from) = client.recv_from(&mut answer)?;
    assert_eq!(from, server);
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn a_protocol_over_streams_answers_and_records() {
    let mut server = TestStreamServer::start("127.0.0.1:0", Capitals).unwrap();
    let answer = exchange(server.local_addr(), b"hello\nworld\n");
    assert_eq!(answer, b"HELLO\nWORLD\n");
    assert_eq!(server.items(), ["hello", "world"]);
    assert_eq!(server.take(LONG).unwrap(), "hello");
    assert_eq!(server.items(), ["world"]);
    assert_eq!(server.total_items(), 2);
    server.stop(LONG).unwrap();
    assert_eq!(server.take(LONG).unwrap(), "world");
    assert_eq!(
        server.take(LONG).unwrap_err().kind(),
        ErrorKind::NotConnected
    );
}

#[test]
fn a_protocol_over_datagrams_answers_and_records() {
    let mut server = TestDatagramServer::start("[::1]:0", Capitals).unwrap();
    assert_eq!(ask(server.local_addr(), "hello").unwrap(), "HELLO");
    assert_eq!(server.take_many(1, LONG).unwrap(), ["hello"]);
    server.stop(LONG).unwrap();
}

#[test]
fn a_protocol_over_both_has_one_port_one_record_and_one_stop() {
    // An address of its own: no other test can be given the port when it is free.
    let mut server = TestBothServer::start("127.0.0.85:0", Capitals).unwrap();
    let address = server.local_addr();
    for _ in 0..3 {
        assert_eq!(exchange(address, b"stream\n"), b"STREAM\n");
        assert_eq!(ask(address, "datagram").unwrap(), "DATAGRAM");
        assert_eq!(server.take_many(2, LONG).unwrap(), ["stream", "datagram"]);
        server.stop(LONG).unwrap();
        // Both sockets are gone, and both can be had again, but for the moment in which a process that another
        // test starts still has copies of them.
        eventually("the stream's port is free", || {
            TcpListener::bind(address).is_ok()
        });
        eventually("the datagrams' port is free", || {
            UdpSocket::bind(address).is_ok()
        });
        server.restart().unwrap();
        assert_eq!(server.local_addr(), address);
    }
    assert_eq!(server.total_items(), 6);
    server.stop(LONG).unwrap();
}

#[test]
fn failures_over_both_come_out_of_one_stop() {
    let mut server = TestBothServer::start("127.0.0.1:0", Capitals).unwrap();
    let address = server.local_addr();
    assert_eq!(exchange(address, b"fail\n"), b"");
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    silent.send_to(b"panic", address).unwrap();
    // A handler that panicked once gets the next datagram all the same.
    assert_eq!(ask(address, "next").unwrap(), "NEXT");
    let error = server.stop(LONG).unwrap_err();
    let [failed, panicked] = error.failures() else {
        panic!("{error}");
    };
    assert_eq!(failed.message(), "it was told to fail");
    assert!(panicked.panicked());
    assert_eq!(*panicked.peer().unwrap(), silent.local_addr().unwrap());
    let text = error.to_string();
    let begin = format!("capitals server on {address}: 2 failures\n");
    assert!(text.starts_with(&begin), "{text}");
}

#[test]
fn a_take_in_vain_names_the_item() {
    let server = TestStreamServer::start("127.0.0.1:0", Capitals).unwrap();
    let error = server.take(Duration::from_millis(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let text = error.to_string();
    assert!(text.contains("a word"), "{text}");
}

#[test]
fn a_full_record_counts_on() {
    let server = TestStreamServer::builder()
        .record_bytes(10)
        .start("127.0.0.1:0", Capitals)
        .unwrap();
    assert_eq!(
        exchange(server.local_addr(), b"sixsix\nsixsix\nfour\n").len(),
        19
    );
    assert_eq!(server.items(), ["sixsix", "four"]);
    assert_eq!(server.total_items(), 3);
}

/// Waits until the server stops, and tells that it did.
struct Waits(mpsc::Sender<()>);

impl CustomProtocol for Waits {
    const NAME: &str = "waits";
    type Item = ();
}

impl StreamProtocol for Waits {
    fn serve(&self, conn: Connection, record: &Recorder<'_, Self>) -> Result<(), BoxError> {
        record.record(());
        eventually("the stop", || record.is_stopping());
        assert!(conn.is_stopping());
        self.0.send(())?;
        Ok(())
    }
}

#[test]
fn a_handler_sees_the_stop() {
    let (ends, ended) = mpsc::channel();
    let mut server = TestStreamServer::start("127.0.0.1:0", Waits(ends)).unwrap();
    let client = connect(server.local_addr());
    server.take(LONG).unwrap();
    server.stop(LONG).unwrap();
    ended.try_recv().unwrap();
    drop(client);
}

#[cfg(unix)]
#[test]
fn unix_sockets_are_for_streams_or_datagrams() {
    use loopback::UnixAddress;

    let server = TestStreamServer::start(UnixAddress::temporary(), Capitals).unwrap();
    let mut client = std::os::unix::net::UnixStream::connect(server.path()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.write_all(b"hello\n").unwrap();
    let mut answer = [0; 6];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HELLO\n");
    drop(client);

    let address = UnixAddress::temporary();
    let path = address.path().unwrap().to_owned();
    let error = TestBothServer::start(address, Capitals).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(
        error.to_string(),
        format!(
            "cannot bind {}: streams and datagrams cannot share a path: only ports are for both",
            UnixAddress::from(path)
        )
    );
}

#[test]
fn a_port_taken_for_datagrams_is_an_error_that_says_so() {
    // A port that is free for streams, as far as one can know, and taken for datagrams.
    let taken = UdpSocket::bind("127.0.0.88:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = TestBothServer::start(address, Capitals).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("cannot bind {address}: for datagrams: ")),
        "{text}"
    );
}

#[test]
fn many_datagrams_hold_no_client_up() {
    let server = TestBothServer::start("127.0.0.1:0", Capitals).unwrap();
    let address = server.local_addr();
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        for _ in 0..200 {
            flood.send_to(b"x", address).unwrap();
        }
        assert_eq!(exchange(address, b"hello\n"), b"HELLO\n");
    }
}
