//! What a handler can do with its `Connection`.

use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use loopback::{Connection, TestTcpServer};

use crate::support::{LONG, connect, exchange};

/// Serves one client with `handler` and gives what `client` made of it; the handler's failure fails
/// the test.
fn serve<T>(
    handler: impl Fn(Connection) -> std::io::Result<()> + Send + Sync + 'static,
    client: impl FnOnce(std::net::TcpStream) -> T,
) -> T {
    let mut server = TestTcpServer::start("127.0.0.1:0", handler).unwrap();
    let outcome = client(connect(server.local_addr()));
    server.stop(LONG).unwrap();
    outcome
}

/// What a handler that must fail failed with.
fn failure(
    handler: impl Fn(Connection) -> std::io::Result<()> + Send + Sync + 'static,
    client: impl FnOnce(&mut std::net::TcpStream),
) -> (String, String) {
    let mut server = TestTcpServer::start("127.0.0.1:0", handler).unwrap();
    let mut stream = connect(server.local_addr());
    client(&mut stream);
    server.take_connection(LONG).unwrap();
    let error = server.stop(LONG).unwrap_err();
    let peer = stream.local_addr().unwrap().to_string();
    (error.failures()[0].message().to_owned(), peer)
}

#[test]
fn lines_come_with_their_ends_and_the_last_without() {
    let (lines, received) = mpsc::channel();
    let handler = move |mut conn: Connection| loop {
        let line = conn.read_line()?;
        lines.send(line.clone()).unwrap();
        if line.is_empty() {
            return Ok(());
        }
    };
    serve(handler, |mut client| {
        for piece in ["one\r", "\ntw", "o\n", "three"] {
            client.write_all(piece.as_bytes()).unwrap();
        }
    });
    let lines: Vec<_> = received.iter().collect();
    assert_eq!(lines, ["one\r\n", "two\n", "three", ""]);
}

#[test]
fn reads_of_every_kind_can_be_mixed() {
    let handler = |mut conn: Connection| {
        assert_eq!(conn.read_line()?, "line\n");
        assert_eq!(conn.read_bytes(3)?, b"abc");
        let mut two = [0; 2];
        conn.read_exact(&mut two)?;
        assert_eq!(&two, b"de");
        assert_eq!(conn.read_frame()?.as_deref(), Some(&b"framed"[..]));
        assert_eq!(conn.fill_buf()?[0], b'r');
        let mut text = String::new();
        conn.read_to_string(&mut text)?;
        assert_eq!(text, "rest");
        assert_eq!(conn.read_frame()?, None);
        assert_eq!(conn.read(&mut two)?, 0);
        conn.write_all(b"ok")
    };
    let mut server = TestTcpServer::start("127.0.0.1:0", handler).unwrap();
    let data = b"line\nabcde\0\0\0\x06framedrest";
    assert_eq!(exchange(server.local_addr(), data), b"ok");
    // The same in pieces of one byte.
    let mut client = connect(server.local_addr());
    client.set_nodelay(true).unwrap();
    for byte in data {
        client.write_all(&[*byte]).unwrap();
    }
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "ok");
    server.stop(LONG).unwrap();
}

#[test]
fn frames_of_every_size_go_both_ways() {
    let handler = |mut conn: Connection| {
        while let Some(frame) = conn.read_frame()? {
            conn.write_frame(&frame)?;
        }
        Ok(())
    };
    serve(handler, |mut client| {
        for size in [0, 1, 255, 8191, 8192, 8193, 100_000, 3_000_000] {
            let data: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let mut sender = client.try_clone().unwrap();
            let copy = data.clone();
            let send = std::thread::spawn(move || {
                sender.write_all(&(size as u32).to_be_bytes()).unwrap();
                sender.write_all(&copy).unwrap();
            });
            let mut length = [0; 4];
            client.read_exact(&mut length).unwrap();
            assert_eq!(u32::from_be_bytes(length), size as u32);
            let mut back = vec![0; size];
            client.read_exact(&mut back).unwrap();
            assert!(back == data, "{size} bytes came back changed");
            send.join().unwrap();
        }
    });
}

#[test]
fn a_frame_cut_short_says_how_much_came() {
    let handler = |mut conn: Connection| conn.read_frame().map(drop);
    let (message, peer) = failure(handler, |client| {
        client.write_all(b"\0\0\0\x09half").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(
        message,
        format!("{peer} closed after 4 of 9 bytes of a frame")
    );
    let (message, peer) = failure(handler, |client| {
        client.write_all(b"\0\0").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(
        message,
        format!("{peer} closed after 2 of the 4 bytes of a frame's length")
    );
}

#[test]
fn what_is_too_long_is_refused_with_the_limit_and_its_option() {
    let handler = |mut conn: Connection| conn.read_frame().map(drop);
    let (message, peer) = failure(handler, |client| {
        client.write_all(b"\xff\xff\xff\xff").unwrap();
    });
    assert_eq!(
        message,
        format!(
            "a frame from {peer} announces 4294967295 bytes, the limit is 67108864 (builder().max_frame)"
        )
    );
    let mut server = TestTcpServer::builder()
        .max_line(10)
        .max_read(20)
        .start("127.0.0.1:0", |mut conn| {
            if conn.read_line()?.starts_with("all") {
                conn.read_rest()?;
            }
            Ok::<(), std::io::Error>(())
        })
        .unwrap();
    exchange(server.local_addr(), b"123456789\n");
    assert!(server.failures().is_empty());
    // The handler may close on unread data, so the client's end can be a reset.
    let send = |data: &[u8]| {
        connect(server.local_addr()).write_all(data).unwrap();
        server.take_connection(LONG).unwrap();
    };
    server.take_connection(LONG).unwrap();
    send(b"1234567890\n");
    send(b"all\n123456789012345678901");
    let error = server.stop(LONG).unwrap_err().to_string();
    assert!(
        error.contains("the limit is 10 (builder().max_line)"),
        "{error}"
    );
    assert!(
        error.contains("the limit is 20 (builder().max_read)"),
        "{error}"
    );
}

#[test]
fn a_read_that_times_out_says_what_came() {
    let handler = |mut conn: Connection| {
        // What the client has written is there before the time begins.
        conn.fill_buf()?;
        conn.set_read_timeout(Some(Duration::from_millis(50)))?;
        conn.read_line().map(drop)
    };
    let (message, peer) = failure(handler, |client| client.write_all(b"abc").unwrap());
    assert_eq!(
        message,
        format!(
            "timed out after 50ms waiting for a line from {peer}; 3 bytes came so far: \"abc\""
        )
    );
    let handler = |mut conn: Connection| {
        conn.set_read_timeout(Some(Duration::from_millis(50)))?;
        conn.read_line().map(drop)
    };
    let (message, _) = failure(handler, |_| ());
    assert!(message.ends_with("; nothing came so far"), "{message}");
    let handler = |mut conn: Connection| {
        conn.set_read_timeout(Some(Duration::from_millis(50)))?;
        conn.read(&mut [0; 8]).map(drop)
    };
    let (message, peer) = failure(handler, |_| ());
    assert_eq!(
        message,
        format!("timed out after 50ms waiting for bytes from {peer}; 0 came before")
    );
}

/// What came is told whatever the reader, and is still there.
#[test]
fn bytes_that_came_before_a_timeout_are_not_lost() {
    let (texts, received) = mpsc::channel();
    let handler = move |mut conn: Connection| {
        conn.fill_buf()?;
        conn.set_read_timeout(Some(Duration::from_millis(50)))?;
        let error = conn.read_bytes(10).unwrap_err();
        texts.send(error.to_string()).unwrap();
        assert_eq!(conn.read_bytes(3)?, b"abc");
        Ok(())
    };
    serve(handler, |mut client| {
        client.write_all(b"abc").unwrap();
        let peer = client.local_addr().unwrap();
        let text = received.recv_timeout(LONG).unwrap();
        assert_eq!(
            text,
            format!(
                "timed out after 50ms waiting for bytes from {peer}; 3 bytes came so far: \"abc\""
            )
        );
    });
    let handler = |mut conn: Connection| {
        conn.fill_buf()?;
        conn.set_read_timeout(Some(Duration::from_millis(50)))?;
        conn.read_exact(&mut [0; 10])
    };
    let (message, _) = failure(handler, |client| client.write_all(b"abc").unwrap());
    assert!(
        message.ends_with("; 3 bytes came so far: \"abc\""),
        "{message}"
    );
}

#[test]
fn a_write_that_times_out_says_what_was_sent() {
    let handler = |mut conn: Connection| {
        conn.set_write_timeout(Some(Duration::from_millis(50)))?;
        conn.write_all(&vec![0; 64 << 20])
    };
    let (message, peer) = failure(handler, |_| ());
    let start = format!("timed out writing to {peer}, which does not read (write_timeout); ");
    assert!(message.starts_with(&start), "{message}");
    let sent = message[start.len()..].strip_suffix(" bytes were sent before");
    assert!(sent.unwrap().parse::<u64>().unwrap() > 0, "{message}");
}

#[test]
fn buffered_reading_is_that_of_std() {
    let (texts, received) = mpsc::channel();
    let handler = move |conn: Connection| {
        for line in conn.lines() {
            texts.send(line?).unwrap();
        }
        Ok(())
    };
    serve(handler, |mut client| {
        client.write_all(b"one\r\ntwo\nthree").unwrap()
    });
    assert_eq!(received.iter().collect::<Vec<_>>(), ["one", "two", "three"]);
}

/// The traits' own methods keep to the limits and the timeouts as well as ours.
#[test]
fn the_methods_of_the_traits_are_bounded_too() {
    let mut server = TestTcpServer::builder()
        .max_line(10)
        .max_read(20)
        .start("127.0.0.1:0", |mut conn| {
            let mut text = String::new();
            let outcome = match conn.read_bytes(1)?.as_slice() {
                b"l" => BufRead::read_line(&mut conn, &mut text),
                b"u" => conn.read_until(0, &mut Vec::new()),
                _ => conn.read_to_string(&mut text),
            };
            outcome.map(drop)
        })
        .unwrap();
    for (data, limit) in [
        ("l12345678901", "the limit is 10 (builder().max_line)"),
        ("u12345678901", "the limit is 10 (builder().max_line)"),
        (
            "s123456789012345678901",
            "the limit is 20 (builder().max_read)",
        ),
    ] {
        let mut client = connect(server.local_addr());
        client.write_all(data.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        server.take_connection(LONG).unwrap();
        let failures = server.take_failures();
        assert!(failures[0].message().contains(limit), "{failures:?}");
    }
    server.stop(LONG).unwrap();
}

/// The client reads a little now and then, so that each write of the socket ends in time.
#[test]
fn a_slow_reader_does_not_prolong_a_write() {
    const TIMEOUT: Duration = Duration::from_secs(2);
    let (times, took) = mpsc::channel();
    let handler = move |mut conn: Connection| {
        conn.set_write_timeout(Some(TIMEOUT))?;
        let start = Instant::now();
        let outcome = conn.write_all(&vec![0; 256 << 20]);
        times
            .send((start.elapsed(), outcome.unwrap_err().kind()))
            .unwrap();
        Ok(())
    };
    serve(handler, |mut client| {
        let mut piece = vec![0; 256 << 10];
        let (took, kind) = loop {
            match took.recv_timeout(Duration::from_millis(100)) {
                Ok(outcome) => break outcome,
                Err(_) => drop(client.read(&mut piece).unwrap()),
            }
        };
        assert_eq!(kind, ErrorKind::TimedOut);
        // All of it would take 100 seconds and more.
        assert!(took < TIMEOUT * 20, "{took:?}");
    });
}

/// A loop that overlooks the end would never end.
#[test]
fn a_line_reader_that_goes_on_after_the_end_is_told() {
    let handler = |mut conn: Connection| -> std::io::Result<()> {
        loop {
            let line = conn.read_line()?;
            conn.write_all(line.as_bytes())?;
        }
    };
    let (message, peer) = failure(handler, |client| {
        client.write_all(b"one\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(
        message,
        format!(
            "{peer} closed after the last line, which an empty one has told already: stop reading there"
        )
    );
}

/// A client that sends a byte now and then must not stretch the wait.
#[test]
fn a_trickle_does_not_prolong_a_timeout() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let (times, took) = mpsc::channel();
    let handler = move |mut conn: Connection| {
        conn.set_read_timeout(Some(TIMEOUT))?;
        let start = Instant::now();
        let outcome = conn.read_line();
        times
            .send((start.elapsed(), outcome.unwrap_err().kind()))
            .unwrap();
        Ok(())
    };
    serve(handler, |mut client| {
        // Paced by the clock, not synchronised by it: the handler's own deadline ends the test. The
        // last byte comes late, so a wait that began anew with it would last nearly twice as long.
        let start = Instant::now();
        let (took, kind) = loop {
            match took.recv_timeout(Duration::from_millis(20)) {
                Ok(outcome) => break outcome,
                Err(_) if start.elapsed() > TIMEOUT * 5 / 6 => {}
                Err(_) => client.write_all(b"x").unwrap(),
            }
        };
        assert_eq!(kind, ErrorKind::TimedOut);
        assert!(took >= TIMEOUT, "{took:?}");
        assert!(took < TIMEOUT * 5 / 3, "{took:?}");
    });
}

#[test]
fn half_closes_go_both_ways() {
    let handler = |mut conn: Connection| {
        conn.write_all(b"first")?;
        conn.shutdown_write()?;
        assert_eq!(conn.read_rest()?, b"then");
        Ok(())
    };
    serve(handler, |mut client| {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "first");
        client.write_all(b"then").unwrap();
    });
}

#[test]
fn a_reset_is_a_reset() {
    let handler = |conn: Connection| conn.reset();
    serve(handler, |mut client| {
        let error = client.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_pause_ends_early_when_the_server_stops() {
    let (begun, begins) = mpsc::channel();
    let mut server = TestTcpServer::start("127.0.0.1:0", move |conn| {
        begun.send(()).unwrap();
        let outcome = conn.pause(Duration::from_secs(3600));
        assert!(conn.is_stopping());
        outcome
    })
    .unwrap();
    let _client = connect(server.local_addr());
    begins.recv_timeout(LONG).unwrap();
    server.stop(LONG).unwrap();
}

#[test]
fn a_connection_knows_both_ends() {
    let (ends, received) = mpsc::channel();
    let handler = move |conn: Connection| {
        assert_eq!(conn.peer().as_inet(), Some(conn.peer_addr()?));
        assert!(format!("{conn:?}").contains(&conn.peer().to_string()));
        ends.send((conn.peer_addr()?, conn.local_addr()?)).unwrap();
        Ok(())
    };
    serve(handler, |client| {
        let (peer, local) = received.recv_timeout(LONG).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(local, client.peer_addr().unwrap());
    });
    // Bound to all addresses, the local end is still the one that the client used.
    let mut server = TestTcpServer::start("0.0.0.0:0", |mut conn| {
        let local = conn.local_addr()?;
        write!(conn, "{local}")
    })
    .unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], server.port()));
    assert_eq!(exchange(address, b""), address.to_string().into_bytes());
    server.stop(LONG).unwrap();
}

#[test]
fn many_clients_are_served_at_once() {
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(100));
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        let line = conn.read_line()?;
        // No answer before all have asked: one that waited for another would never end.
        barrier.wait();
        conn.write_all(line.as_bytes())
    })
    .unwrap();
    let mut clients: Vec<_> = (0..100).map(|_| connect(server.local_addr())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        writeln!(client, "{number}").unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, format!("{number}\n"));
    }
    server.stop(LONG).unwrap();
}

#[test]
fn records_tell_what_each_connection_did() {
    let mut server = TestTcpServer::builder()
        .keep_received(4)
        .start("127.0.0.1:0", |mut conn| {
            let rest = conn.read_rest()?;
            conn.write_all(&rest[..3])
        })
        .unwrap();
    exchange(server.local_addr(), b"abcdef");
    let record = server.take_connection(LONG).unwrap();
    assert_eq!(record.received(), b"abcd");
    assert_eq!(record.received_count(), 6);
    assert_eq!(record.sent_count(), 3);
    assert_eq!(*record.local(), server.local_addr());
    server.stop(LONG).unwrap();
}

#[test]
fn a_take_that_finds_nothing_says_how_many_are_open() {
    let server = TestTcpServer::echo("127.0.0.1:0").unwrap();
    let mut clients = Vec::new();
    for (open, due) in [
        (0, ""),
        (1, "; 1 connection is open"),
        (2, "; 2 connections are open"),
    ] {
        while clients.len() < open {
            let mut client = connect(server.local_addr());
            client.write_all(b"x").unwrap();
            client.read_exact(&mut [0]).unwrap();
            clients.push(client);
        }
        let wait = Duration::from_millis(1);
        let due = format!("waiting for a connection's end; none came so far{due}");
        for error in [
            server.take_connection(wait).unwrap_err(),
            server.take_connection_where(|_| true, wait).unwrap_err(),
            server.take_connections(2, wait).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            let text = error
                .to_string()
                .replace("; none of those is the one that is wanted", "");
            let text = text.replace("; 2 were wanted at once", "");
            assert!(text.ends_with(&due), "{text}");
        }
    }
}

#[test]
fn a_record_shows_its_bytes_as_text() {
    let server = TestTcpServer::fixed("127.0.0.1:0", "ok").unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"say \"x\"\n\xff").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let peer = client.local_addr().unwrap();
    let record = server.take_connection(LONG).unwrap();
    assert_eq!(
        format!("{record:?}"),
        format!(
            r#"ConnectionRecord {{ peer: {peer}, local: {}, received: "say \"x\"\n\xff", received_count: 9, sent_count: 2, duration: {:?}, .. }}"#,
            server.local_addr(),
            record.duration()
        )
    );
    exchange(server.local_addr(), &[b'y'; 500]);
    let long = format!("{:?}", server.take_connection(LONG).unwrap());
    let shown = format!("received: \"{}\"..., received_count: 500,", "y".repeat(400));
    assert!(long.contains(&shown), "{long}");
}

#[test]
fn ready_made_servers_do_what_they_say() {
    let echo = TestTcpServer::echo("127.0.0.1:0").unwrap();
    let data = vec![7; 1 << 20];
    let mut client = connect(echo.local_addr());
    let mut sender = client.try_clone().unwrap();
    let copy = data.clone();
    let send = std::thread::spawn(move || {
        sender.write_all(&copy).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    client.read_to_end(&mut back).unwrap();
    assert!(back == data);
    send.join().unwrap();

    let fixed = TestTcpServer::fixed("127.0.0.1:0", "220 hello\r\n").unwrap();
    assert_eq!(exchange(fixed.local_addr(), b"ignored"), b"220 hello\r\n");

    let sink = TestTcpServer::sink("127.0.0.1:0").unwrap();
    assert_eq!(exchange(sink.local_addr(), &data), b"");
    assert_eq!(
        sink.take_connection(LONG).unwrap().received_count(),
        1 << 20
    );
}

/// A client that resets is the ready-made servers' daily bread.
#[test]
fn ready_made_servers_can_have_options() {
    let builder = TestTcpServer::builder().keep_received(2);
    let echo = builder.clone().echo("127.0.0.1:0").unwrap();
    assert_eq!(exchange(echo.local_addr(), b"abc"), b"abc");
    let fixed = builder.clone().fixed("127.0.0.1:0", "x").unwrap();
    assert_eq!(exchange(fixed.local_addr(), b"abc"), b"x");
    let sink = builder.sink("127.0.0.1:0").unwrap();
    assert_eq!(exchange(sink.local_addr(), b"abc"), b"");
    for server in [echo, fixed, sink] {
        assert_eq!(server.take_connection(LONG).unwrap().received(), b"ab");
    }
}

#[test]
fn ready_made_servers_shrug_resets_off() {
    let mut echo = TestTcpServer::echo("127.0.0.1:0").unwrap();
    let client = connect(echo.local_addr());
    socket2::SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    echo.take_connection(LONG).unwrap();
    echo.stop(LONG).unwrap();
}

/// A listener of both families shows IPv4 clients as they see themselves.
#[test]
fn an_ipv4_client_of_an_ipv6_server_has_its_own_address() {
    let failing = |_| Err::<(), _>("for the failure's peer");
    let mut server = TestTcpServer::start("[::]:0", failing).unwrap();
    let client = connect(SocketAddr::from(([127, 0, 0, 1], server.port())));
    let record = server.take_connection(LONG).unwrap();
    assert_eq!(*record.peer(), client.local_addr().unwrap());
    assert_eq!(*record.local(), client.peer_addr().unwrap());
    let error = server.stop(LONG).unwrap_err();
    let peer = error.failures()[0].peer().unwrap();
    assert_eq!(*peer, client.local_addr().unwrap());
    let mapped = TestTcpServer::echo("[::ffff:127.0.0.1]:0").unwrap();
    assert_eq!(mapped.local_addr().ip().to_string(), "127.0.0.1");
}

#[test]
fn a_client_can_be_had_from_the_server() {
    for address in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0", "[::]:0"] {
        // The server's impatience is not the client's.
        let builder = TestTcpServer::builder().read_timeout(Duration::from_millis(1));
        let mut server = builder.fixed(address, "hello").unwrap();
        let mut client = server.connect().unwrap();
        assert_eq!(client.read_timeout().unwrap(), Some(LONG));
        assert_eq!(client.write_timeout().unwrap(), Some(LONG));
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "hello");
        drop(client);
        server.stop(LONG).unwrap();
        let error = server.connect().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let due = format!(
            "cannot connect to the tcp server on {}: ",
            server.local_addr()
        );
        assert!(error.to_string().starts_with(&due), "{error}");
        assert!(error.to_string().ends_with("; it is stopped"), "{error}");
    }
}

#[test]
fn addresses_can_be_given_as_std_has_them() {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let _ = TestTcpServer::echo(any).unwrap();
    let _ = TestTcpServer::echo(&any).unwrap();
    let _ = TestTcpServer::echo(&[any][..]).unwrap();
    let _ = TestTcpServer::echo((any.ip(), 0)).unwrap();
    let _ = TestTcpServer::echo((std::net::Ipv4Addr::LOCALHOST, 0)).unwrap();
    let _ = TestTcpServer::echo(("127.0.0.1", 0)).unwrap();
    let _ = TestTcpServer::echo(String::from("127.0.0.1:0")).unwrap();
    let _ = TestTcpServer::echo(&String::from("127.0.0.1:0")).unwrap();
    // The first that can be bound: the other is taken.
    let taken = TestTcpServer::echo(any).unwrap();
    let server = TestTcpServer::echo(&[taken.local_addr(), any][..]).unwrap();
    assert_ne!(server.port(), taken.port());
}
