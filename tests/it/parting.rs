//! How a connection ends whose handler has returned: the answer is not lost, and a client that only
//! looked in can be let pass.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use loopback::{
    BoxError, Connection, CustomProtocol, Recorder, StreamProtocol, TestStreamServer,
    TestTcpServer, UnixAddress,
};

use crate::support::{LONG, connect, eventually};

const ANSWER: &[u8] = &[b'a'; 100_000];

/// Answers without reading.
struct Hasty;

impl CustomProtocol for Hasty {
    const NAME: &str = "hasty";
    type Item = ();
}

impl StreamProtocol for Hasty {
    fn serve(&self, mut conn: Connection, _: &Recorder<'_, Self>) -> Result<(), BoxError> {
        Ok(conn.write_all(ANSWER)?)
    }
}

/// Reads a line, and fails without one.
struct Lines;

impl CustomProtocol for Lines {
    const NAME: &str = "lines";
    type Item = ();
}

impl StreamProtocol for Lines {
    fn serve(&self, mut conn: Connection, _: &Recorder<'_, Self>) -> Result<(), BoxError> {
        match conn.read_line()?.as_str() {
            "" => Err("no line".into()),
            _ => Ok(()),
        }
    }
}

/// Asks, in many bytes, before it reads: closing on those would reset the connection.
fn ask(mut client: impl Read + Write) {
    for _ in 0..10 {
        client.write_all(&[b'q'; 10_000]).unwrap();
    }
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer == ANSWER, "{} bytes", answer.len());
}

#[test]
fn an_answer_before_the_question_is_not_lost() {
    let mut tcp = TestTcpServer::start("127.0.0.1:0", |mut conn| conn.write_all(ANSWER)).unwrap();
    let mut custom = TestStreamServer::start("127.0.0.1:0", Hasty).unwrap();
    for _ in 0..20 {
        ask(connect(tcp.local_addr()));
        ask(connect(custom.local_addr()));
    }
    tcp.stop(LONG).unwrap();
    custom.stop(LONG).unwrap();
}

#[cfg(unix)]
#[test]
fn nor_on_a_path() {
    let handler = |mut conn: Connection| conn.write_all(ANSWER);
    let mut server = TestTcpServer::start(UnixAddress::temporary(), handler).unwrap();
    for _ in 0..20 {
        ask(std::os::unix::net::UnixStream::connect(server.path()).unwrap());
    }
    server.stop(LONG).unwrap();
}

/// Also where the handler has read some of it.
#[test]
fn nor_is_one_to_the_first_of_many_bytes() {
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(gone);
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| -> io::Result<()> {
        conn.read_line()?;
        gone.lock().unwrap().recv_timeout(LONG).unwrap();
        conn.write_all(ANSWER)
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"first\n").unwrap();
    client.write_all(&[b'q'; 100_000]).unwrap();
    go.send(()).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer == ANSWER, "{} bytes", answer.len());
    server.stop(LONG).unwrap();
}

/// The test that takes the record need not wait for the client's leave, and nor does a stop.
#[test]
fn nobody_waits_for_a_client_that_stays() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |mut conn| conn.write_all(b"bye")).unwrap();
    let mut clients: Vec<_> = (0..10).map(|_| connect(server.local_addr())).collect();
    let records = server.take_connections(10, LONG).unwrap();
    assert!(records.iter().all(|record| record.sent_count() == 3));
    for client in &mut clients {
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, b"bye");
    }
    server.stop(LONG).unwrap();
}

/// They are let go after two seconds, although they never close.
#[test]
fn a_client_that_never_closes_is_let_go() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |mut conn| conn.write_all(b"bye")).unwrap();
    let client = connect(server.local_addr());
    server.take_connection(LONG).unwrap();
    eventually("it is closed", || server.open_connections() == 0);
    drop(client);
    server.stop(LONG).unwrap();
}

/// Two seconds are for its silence only.
#[test]
fn a_client_that_goes_on_sending_is_read_from() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |mut conn| conn.write_all(b"bye")).unwrap();
    let mut client = connect(server.local_addr());
    send_for_three_seconds(&mut client);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"bye");
    server.stop(LONG).unwrap();
}

/// Also where the server closes for another reason: here it has refused the request.
#[cfg(feature = "http")]
#[test]
fn a_client_that_goes_on_with_a_refused_body_is_read_from() {
    let mut server = loopback::TestHttpServer::builder()
        .max_body(10)
        .fixed("127.0.0.1:0", "hello")
        .unwrap();
    let mut client = connect(server.local_addr());
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n")
        .unwrap();
    send_for_three_seconds(&mut client);
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 413 "),
        "{}",
        answer.escape_ascii()
    );
    server.stop(LONG).unwrap();
}

/// A little now and then, and then the end.
fn send_for_three_seconds(client: &mut TcpStream) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        client.write_all(b"more").unwrap();
        // Nothing is waited for: this is what it sends slowly.
        std::thread::sleep(Duration::from_millis(50));
    }
    client.shutdown(Shutdown::Write).unwrap();
}

/// A handler that says itself how it ends is not waited behind.
#[test]
fn an_end_of_the_handlers_own_is_final() {
    for reset in [true, false] {
        let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| -> io::Result<()> {
            conn.write_all(b"bye")?;
            match reset {
                true => conn.reset(),
                false => conn.close(),
            }
        })
        .unwrap();
        let mut client = connect(server.local_addr());
        let mut answer = Vec::new();
        let outcome = client.read_to_end(&mut answer);
        assert_eq!(outcome.is_err(), reset, "{outcome:?}");
        eventually("it is closed", || server.open_connections() == 0);
        server.stop(LONG).unwrap();
    }
}

const SILENT: &str = "the client connected and left without sending a byte (a port probe or a health check? \
                      builder().tolerate_silent_clients() lets it pass): ";

#[test]
fn a_client_that_only_looked_in_is_told_as_such() {
    let mut tcp =
        TestTcpServer::start("127.0.0.1:0", |mut conn| conn.read_bytes(4).map(drop)).unwrap();
    let mut panics = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        assert_eq!(conn.read_line().unwrap(), "hello\n");
    })
    .unwrap();
    let mut custom = TestStreamServer::start("127.0.0.1:0", Lines).unwrap();
    let look_in = |address| {
        let client = TcpStream::connect(address).unwrap();
        client.local_addr().unwrap()
    };
    let peer = look_in(tcp.local_addr());
    look_in(panics.local_addr());
    look_in(custom.local_addr());
    let error = tcp.stop(LONG).unwrap_err();
    assert_eq!(
        error.failures()[0].message(),
        format!("{SILENT}{peer} closed after 0 of 4 bytes")
    );
    let error = panics.stop(LONG).unwrap_err();
    assert!(error.failures()[0].panicked());
    let message = error.failures()[0].message();
    assert!(
        message.starts_with(&format!("{SILENT}assertion `left == right` failed")),
        "{message}"
    );
    let error = custom.stop(LONG).unwrap_err();
    assert_eq!(error.failures()[0].message(), format!("{SILENT}no line"));
}

#[test]
fn clients_that_only_look_in_can_be_tolerated_and_no_others() {
    let mut tcp = TestTcpServer::builder()
        .tolerate_silent_clients()
        .start("127.0.0.1:0", |mut conn| conn.read_bytes(4).map(drop))
        .unwrap();
    let mut custom = TestStreamServer::builder()
        .tolerate_silent_clients()
        .start("127.0.0.1:0", Lines)
        .unwrap();
    for address in [tcp.local_addr(), custom.local_addr()] {
        drop(TcpStream::connect(address).unwrap());
        // And one that resets.
        let client = TcpStream::connect(address).unwrap();
        socket2::SockRef::from(&client)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    tcp.take_connections(2, LONG).unwrap();
    // One that has sent something has no such excuse.
    let mut client = connect(tcp.local_addr());
    client.write_all(b"ab").unwrap();
    let peer = client.local_addr().unwrap();
    drop(client);
    let error = tcp.stop(LONG).unwrap_err();
    let messages: Vec<_> = error.failures().iter().map(|f| f.message()).collect();
    assert_eq!(messages, [format!("{peer} closed after 2 of 4 bytes")]);
    custom.stop(LONG).unwrap();
}
