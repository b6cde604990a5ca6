//! Datagrams in, replies out.

use std::net::UdpSocket;
use std::time::Duration;

use loopback::TestUdpServer;

use crate::support::{LONG, eventually};

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket
}

fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn the_return_value_is_the_reply() {
    let client = client();
    let ask = |server: &TestUdpServer| {
        client.send_to(b"q", server.local_addr()).unwrap();
        receive(&client)
    };
    assert_eq!(
        ask(&TestUdpServer::start("127.0.0.1:0", |_| "text").unwrap()),
        b"text"
    );
    assert_eq!(
        ask(&TestUdpServer::start("127.0.0.1:0", |_| vec![1]).unwrap()),
        [1]
    );
    assert_eq!(
        ask(&TestUdpServer::start("127.0.0.1:0", |_| [1, 2]).unwrap()),
        [1, 2]
    );
    assert_eq!(
        ask(&TestUdpServer::start("127.0.0.1:0", |_| Some("x")).unwrap()),
        b"x"
    );
    assert_eq!(
        ask(&TestUdpServer::fixed("127.0.0.1:0", "same").unwrap()),
        b"same"
    );
    let ok = |_: &loopback::Datagram| Ok::<_, std::io::Error>(String::from("fine"));
    assert_eq!(
        ask(&TestUdpServer::start("127.0.0.1:0", ok).unwrap()),
        b"fine"
    );
}

#[test]
fn no_reply_and_several_replies_are_replies() {
    let client = client();
    let server = TestUdpServer::start("127.0.0.1:0", |datagram| match datagram.data() {
        b"none" => vec![],
        _ => vec!["one", "two", ""],
    })
    .unwrap();
    client.send_to(b"none", server.local_addr()).unwrap();
    client.send_to(b"three", server.local_addr()).unwrap();
    assert_eq!(receive(&client), b"one");
    assert_eq!(receive(&client), b"two");
    assert_eq!(receive(&client), b"");
}

#[test]
fn ready_made_servers_can_have_options() {
    let client = client();
    let builder = TestUdpServer::builder().max_datagram(2);
    let echo = builder.clone().echo("127.0.0.1:0").unwrap();
    client.send_to(b"abc", echo.local_addr()).unwrap();
    assert_eq!(receive(&client), b"ab");
    let fixed = builder.clone().fixed("127.0.0.1:0", "x").unwrap();
    client.send_to(b"abc", fixed.local_addr()).unwrap();
    assert_eq!(receive(&client), b"x");
    let sink = builder.sink("127.0.0.1:0").unwrap();
    client.send_to(b"abc", sink.local_addr()).unwrap();
    for mut server in [echo, fixed, sink] {
        assert_eq!(server.take_datagram(LONG).unwrap().data(), b"ab");
        server.stop(LONG).unwrap();
    }
    client.set_nonblocking(true).unwrap();
    let more = client.recv_from(&mut [0; 8]).unwrap_err();
    assert_eq!(more.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_datagram_shows_its_bytes_as_text() {
    let server = TestUdpServer::sink("127.0.0.1:0").unwrap();
    let client = client();
    client.send_to(b"a\"\n\0", server.local_addr()).unwrap();
    let datagram = server.take_datagram(LONG).unwrap();
    assert_eq!(
        format!("{datagram:?}"),
        format!(
            r#"Datagram {{ length: 4, data: "a\"\n\x00", peer: {}, truncated: false }}"#,
            client.local_addr().unwrap()
        )
    );
}

#[test]
fn datagrams_of_every_size_come_whole() {
    let server = TestUdpServer::echo("127.0.0.1:0").unwrap();
    let client = client();
    for size in [0, 1, 1400, 9000, 65_506, 65_507] {
        let data: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        client.send_to(&data, server.local_addr()).unwrap();
        assert!(receive(&client) == data, "{size} bytes came back changed");
        let datagram = server.take_datagram(LONG).unwrap();
        assert!(datagram.data() == data);
        assert!(!datagram.truncated());
        assert_eq!(*datagram.peer(), client.local_addr().unwrap());
    }
}

#[test]
fn a_datagram_reads_as_text() {
    let server = TestUdpServer::sink("127.0.0.1:0").unwrap();
    client()
        .send_to(b"caf\xc3\xa9 \xff", server.local_addr())
        .unwrap();
    assert_eq!(
        server.take_datagram(LONG).unwrap().text(),
        "caf\u{e9} \u{fffd}"
    );
}

#[test]
fn a_datagram_over_the_limit_is_cut_and_marked() {
    let server = TestUdpServer::builder()
        .max_datagram(4)
        .start("127.0.0.1:0", |_| ())
        .unwrap();
    let client = client();
    client.send_to(b"1234", server.local_addr()).unwrap();
    client.send_to(b"12345", server.local_addr()).unwrap();
    let fits = server.take_datagram(LONG).unwrap();
    assert_eq!((fits.data(), fits.truncated()), (&b"1234"[..], false));
    let cut = server.take_datagram(LONG).unwrap();
    assert_eq!((cut.data(), cut.truncated()), (&b"1234"[..], true));
}

#[test]
fn datagrams_are_handled_in_order_by_one_handler() {
    let mut count = 0;
    let server = TestUdpServer::start("[::1]:0", move |_| {
        count += 1;
        format!("{count}")
    })
    .unwrap();
    let client = UdpSocket::bind("[::1]:0").unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    for expected in 1..=50 {
        client.send_to(b"x", server.local_addr()).unwrap();
        assert_eq!(receive(&client), expected.to_string().into_bytes());
    }
    assert_eq!(server.datagrams().len(), 50);
}

#[test]
fn what_was_sent_before_the_stop_is_handled() {
    for _ in 0..20 {
        let mut server = TestUdpServer::sink("127.0.0.1:0").unwrap();
        let client = client();
        for number in 0..20u8 {
            client.send_to(&[number], server.local_addr()).unwrap();
        }
        server.stop(LONG).unwrap();
        assert_eq!(server.datagrams().len(), 20);
    }
}

/// A queue that takes too long is given up, and that is told.
#[test]
fn a_stop_does_not_wait_for_a_long_queue() {
    let (begun, begins) = std::sync::mpsc::channel();
    let mut server = TestUdpServer::start("127.0.0.79:0", move |_| {
        begun.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
    })
    .unwrap();
    let client = client();
    for _ in 0..150 {
        client.send_to(b"x", server.local_addr()).unwrap();
    }
    begins.recv_timeout(LONG).unwrap();
    let error = server.stop(Duration::from_millis(500)).unwrap_err();
    let handled = server.datagrams().len();
    assert!(handled < 150, "it has waited for the whole queue");
    // A machine that gives the thread no turn for long lets the stop end within a handler: it names that
    // one then, and what became of the queue is told once the handler has ended.
    if error.failures().is_empty() {
        assert_eq!(error.stuck().len(), 1, "{error}");
        eventually("the queue is given up", || !server.failures().is_empty());
    }
    let failures = match error.failures() {
        [] => server.stop(LONG).unwrap_err().failures().to_vec(),
        failures => failures.to_vec(),
    };
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(
        failures[0].message(),
        "receiving ended: the stop's time ended before all datagrams that had come were handled"
    );
    // Nothing of it is left.
    server.restart().unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn datagrams_queue_between_bind_and_start() {
    let bound = TestUdpServer::builder()
        .bind("127.0.0.1:0", |_| "late")
        .unwrap();
    let client = client();
    client.send_to(b"early", bound.local_addr()).unwrap();
    let _server = bound.start().unwrap();
    assert_eq!(receive(&client), b"late");
}

#[test]
fn a_reply_that_cannot_be_sent_is_a_failure() {
    let mut server = TestUdpServer::start("127.0.0.1:0", |_| vec![0; 65_508]).unwrap();
    client().send_to(b"x", server.local_addr()).unwrap();
    server.take_datagram(LONG).unwrap();
    let error = server.stop(LONG).unwrap_err();
    let message = error.failures()[0].message();
    assert!(
        message.starts_with("cannot send a reply of 65508 bytes: "),
        "{message}"
    );
}

#[test]
fn restart_serves_on_the_same_address() {
    let mut server = TestUdpServer::echo("127.0.0.79:0").unwrap();
    let address = server.local_addr();
    let client = client();
    for _ in 0..5 {
        server.restart().unwrap();
        client.send_to(b"again", address).unwrap();
        assert_eq!(receive(&client), b"again");
    }
    server.stop(Duration::from_secs(10)).unwrap();
}

/// A socket of both families shows IPv4 clients as they see themselves, and answers them.
#[test]
fn an_ipv4_client_of_an_ipv6_server_has_its_own_address() {
    let server = TestUdpServer::echo("[::]:0").unwrap();
    let client = client();
    client
        .send_to(b"hello", ("127.0.0.1", server.port()))
        .unwrap();
    assert_eq!(receive(&client), b"hello");
    let datagram = server.take_datagram(LONG).unwrap();
    assert_eq!(*datagram.peer(), client.local_addr().unwrap());
}

/// A client that has connected its socket sees no reply that comes from another address than it asked.
#[cfg(all(feature = "pktinfo", target_os = "linux"))]
#[test]
fn a_reply_leaves_from_the_address_that_was_asked() {
    for (server, asked) in [
        ("0.0.0.0:0", "127.0.0.1"),
        ("0.0.0.0:0", "127.1.2.3"),
        ("[::]:0", "127.1.2.3"),
        ("[::]:0", "::1"),
    ] {
        let mut server = TestUdpServer::echo(server).unwrap();
        let asked: std::net::IpAddr = asked.parse().unwrap();
        // Bound to the same address, or the system would choose 127.0.0.1 for a client too.
        let client = UdpSocket::bind((asked, 0)).unwrap();
        client.set_read_timeout(Some(LONG)).unwrap();
        client.connect((asked, server.port())).unwrap();
        for _ in 0..2 {
            client.send(b"hello").unwrap();
            let mut answer = [0; 16];
            assert_eq!(client.recv(&mut answer).unwrap(), 5, "{asked}");
            let datagram = server.take_datagram(LONG).unwrap();
            assert_eq!(*datagram.peer(), client.local_addr().unwrap());
            server.restart().unwrap();
        }
    }
}

#[test]
fn a_client_can_be_had_from_the_server() {
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        let server = TestUdpServer::echo(address).unwrap();
        let client = server.connect().unwrap();
        assert_eq!(client.read_timeout().unwrap(), Some(LONG));
        assert_eq!(client.write_timeout().unwrap(), Some(LONG));
        client.send(b"ping").unwrap();
        let mut answer = [0; 16];
        assert_eq!(client.recv(&mut answer).unwrap(), 4, "{address}");
    }
}
