//! Bind, start, ready, stop, restart, drop: the same for every server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use loopback::{TestTcpServer, TestUdpServer};

#[cfg(target_os = "linux")]
use crate::support::thread_names;
use crate::support::{LONG, connect, eventually, exchange};

#[test]
fn the_port_is_real_from_the_moment_of_binding() {
    let bound = TestTcpServer::builder()
        .bind("127.0.0.1:0", |_| ())
        .unwrap();
    assert_ne!(bound.port(), 0);
    assert_eq!(bound.local_addr().port(), bound.port());
    let address = bound.local_addr();
    let server = bound.start().unwrap();
    assert_eq!(server.local_addr(), address);
}

#[test]
fn clients_queue_between_bind_and_start() {
    let bound = TestTcpServer::builder()
        .bind("127.0.0.1:0", |mut conn| conn.write_all(b"at last"))
        .unwrap();
    let mut client = connect(bound.local_addr());
    let mut server = bound.start().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "at last");
    server.stop(LONG).unwrap();
}

#[test]
fn ready_is_set_by_start_and_cleared_by_stop() {
    let mut server = TestTcpServer::sink("127.0.0.86:0").unwrap();
    let ready = server.ready();
    assert!(ready.is_set());
    assert!(ready.wait(Duration::ZERO));
    server.stop(LONG).unwrap();
    assert!(!ready.is_set());
    assert!(!ready.wait(Duration::from_millis(1)));
    server.restart().unwrap();
    assert!(ready.wait(LONG));
}

#[test]
fn both_families_and_names_are_served() {
    for address in ["127.0.0.1:0", "[::1]:0", "localhost:0"] {
        let server = TestTcpServer::echo(address).unwrap();
        assert_eq!(
            exchange(server.local_addr(), b"hello"),
            b"hello",
            "{address}"
        );
    }
    let server = TestTcpServer::echo(("::1", 0)).unwrap();
    assert!(server.local_addr().is_ipv6());
}

#[test]
fn an_address_that_cannot_be_bound_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = TestTcpServer::sink(address).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot bind {address}: ")),
        "{error}"
    );
}

#[test]
fn stop_is_idempotent_and_refuses_later_clients() {
    let mut server = TestTcpServer::echo("127.0.0.9:0").unwrap();
    server.stop(LONG).unwrap();
    server.stop(LONG).unwrap();
    let error = TcpStream::connect(server.local_addr()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

/// The client is connected and says nothing; a stop that waited for it would take a minute.
#[test]
fn stop_does_not_wait_for_idle_clients() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        conn.set_read_timeout(None)?;
        conn.read_line().map(drop)
    })
    .unwrap();
    let _idle: Vec<_> = (0..10).map(|_| connect(server.local_addr())).collect();
    eventually("all are served", || server.open_connections() == 10);
    let start = Instant::now();
    server.stop(Duration::from_secs(60)).unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

/// What stopping cuts short is not the handler's failure.
#[test]
fn a_read_that_stopping_ends_is_no_failure() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        let mut buffer = [0; 10];
        conn.read_exact(&mut buffer)
    })
    .unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    server.stop(LONG).unwrap();
}

/// Who had connected and written before the stop has an answer.
#[test]
fn what_came_before_the_stop_is_still_answered() {
    for _ in 0..50 {
        let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
            let line = conn.read_line()?;
            conn.write_all(line.to_uppercase().as_bytes())
        })
        .unwrap();
        let mut client = connect(server.local_addr());
        client.write_all(b"quick\n").unwrap();
        server.stop(LONG).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "QUICK\n");
    }
}

#[test]
fn a_handler_that_never_ends_is_named_at_the_timeout() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = std::sync::mpsc::channel();
    let held = std::sync::Mutex::new(held);
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        conn.read_line().unwrap();
        begins.send(()).unwrap();
        let _ = held.lock().unwrap().recv();
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"go\n").unwrap();
    let peer = client.local_addr().unwrap();
    begun.recv_timeout(LONG).unwrap();
    let start = Instant::now();
    let error = server.stop(Duration::from_millis(200)).unwrap_err();
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    let [stuck] = error.stuck() else {
        panic!("{error}");
    };
    assert_eq!(*stuck.peer(), peer);
    assert!(stuck.age() >= Duration::from_millis(200));
    assert_eq!(stuck.state(), "in the handler's own code");
    let text = error.to_string();
    let start = format!(
        "tcp server on {}: 1 handler did not end within 200ms\n  handler for {peer} still runs, begun ",
        server.local_addr()
    );
    assert!(text.starts_with(&start), "{text}");
    assert!(
        text.ends_with(" ago, in the handler's own code; 3 bytes received, 0 sent"),
        "{text}"
    );
    // It is reported once; the client is not left waiting either.
    server.stop(LONG).unwrap();
    let mut rest = Vec::new();
    let _ = client.read_to_end(&mut rest);
    drop(release);
}

/// A handler that writes to a client that does not read is freed near the timeout, not left.
#[test]
fn a_blocked_write_is_freed_within_the_timeout() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        conn.set_write_timeout(None)?;
        loop {
            conn.write_all(&[0; 65536])?;
        }
        #[allow(unreachable_code, reason = "gives the closure its error type")]
        Ok::<(), std::io::Error>(())
    })
    .unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    let start = Instant::now();
    server.stop(Duration::from_secs(2)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
}

/// It is nobody's to wait for, and nobody's to leave open.
#[test]
fn a_connection_that_a_handler_gave_away_is_shut_by_the_stop() {
    let (give, given) = std::sync::mpsc::channel();
    let mut server =
        TestTcpServer::start("127.0.0.1:0", move |conn| give.send(conn).unwrap()).unwrap();
    let mut client = connect(server.local_addr());
    let mut conn: loopback::Connection = given.recv_timeout(LONG).unwrap();
    server.take_connection(LONG).unwrap();
    conn.write_all(b"still").unwrap();
    client.read_exact(&mut [0; 5]).unwrap();
    let start = Instant::now();
    server.stop(LONG).unwrap();
    assert!(start.elapsed() < LONG / 2);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    conn.write_all(b"gone").unwrap_err();
}

/// More clients than the poll tells of at once, most of them idle before and ready when it stops.
#[cfg(feature = "http")]
#[test]
fn a_stop_serves_all_that_had_come_however_many() {
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    fn answer(client: &mut TcpStream) -> bool {
        let mut piece = [0; 1024];
        let mut answer = Vec::new();
        while !answer.ends_with(b"fine") {
            match client.read(&mut piece) {
                Ok(0) | Err(_) => return false,
                Ok(count) => answer.extend_from_slice(&piece[..count]),
            }
        }
        true
    }
    // Which of them the poll tells of first is chance.
    for _ in 0..5 {
        let mut server = loopback::TestHttpServer::fixed("127.0.0.1:0", "fine").unwrap();
        let mut clients: Vec<_> = (0..400)
            .map(|_| {
                let mut client = connect(server.local_addr());
                client.write_all(REQUEST).unwrap();
                assert!(answer(&mut client));
                client
            })
            .collect();
        for client in &mut clients {
            client.write_all(REQUEST).unwrap();
        }
        let mut late = connect(server.local_addr());
        late.write_all(REQUEST).unwrap();
        clients.push(late);
        // Whoever does not have its turn in that time is refused.
        server.stop(10 * LONG).unwrap();
        let unanswered = clients
            .iter_mut()
            .map(answer)
            .filter(|answered| !answered)
            .count();
        assert_eq!(unanswered, 0);
    }
}

/// The interval of the poll loop has no say in it.
#[cfg(feature = "http")]
#[test]
fn idle_connections_are_closed_when_their_time_is_over() {
    let server = loopback::TestHttpServer::builder()
        .poll_interval(Duration::from_secs(3600))
        // Time enough for a client that has connected to ask.
        .idle_timeout(Duration::from_secs(2))
        .start("127.0.0.1:0", |_| ())
        .unwrap();
    let mut client = connect(server.local_addr());
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "));
}

#[test]
fn restart_serves_on_the_same_address() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    // An address of its own: between stop and restart no other test can be given the port.
    let mut server = TestTcpServer::start("127.0.0.77:0", move |mut conn| {
        let turn = counter.fetch_add(1, Ordering::Relaxed);
        conn.write_all(&[turn as u8])
    })
    .unwrap();
    let address = server.local_addr();
    for turn in 0..20 {
        assert_eq!(exchange(address, b""), [turn]);
        if turn % 2 == 0 {
            server.stop(LONG).unwrap();
        }
        server.restart().unwrap();
        assert_eq!(server.local_addr(), address);
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_restart_that_finds_the_port_taken_says_so() {
    let mut server = TestTcpServer::sink("127.0.0.78:0").unwrap();
    server.stop(LONG).unwrap();
    let mut taken = None;
    eventually("another socket has the port", || {
        taken = TcpListener::bind(server.local_addr()).ok();
        taken.is_some()
    });
    let error = server.restart().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    let text = error.to_string();
    assert!(text.contains(&server.local_addr().to_string()), "{text}");
    #[cfg(target_os = "linux")]
    assert!(
        text.ends_with("; it is held by this process itself"),
        "{text}"
    );
}

/// A process that is being started has copies of all sockets until it runs its own program. Here one has the
/// port for longer than a restart tries for others.
#[cfg(target_os = "linux")]
#[test]
fn a_restart_waits_for_a_process_that_is_just_being_started() {
    use std::process::{Command, Stdio};
    let mut server = TestTcpServer::sink("127.0.0.90:0").unwrap();
    server.stop(LONG).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::fixture_holds_a_port", "--ignored"])
        .arg("--nocapture")
        .env("LOOPBACK_HELD_PORT", server.local_addr().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    while !told.contains("it has the port") {
        let mut piece = [0; 64];
        let count = child.stdout.as_mut().unwrap().read(&mut piece).unwrap();
        assert_ne!(count, 0, "{told}");
        told += &String::from_utf8_lossy(&piece[..count]);
    }
    let lets_go = std::thread::spawn(move || {
        // Nothing is waited for: so long it has the port.
        std::thread::sleep(Duration::from_millis(1500));
        drop(child.stdin.take());
        child.wait().unwrap()
    });
    server.restart().unwrap();
    assert!(lets_go.join().unwrap().success());
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "a fixture that needs a process of its own, run by the test above"]
fn fixture_holds_a_port() {
    let address = std::env::var("LOOPBACK_HELD_PORT").unwrap();
    let _held = TcpListener::bind(address).unwrap();
    println!("it has the port");
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_take_waits_for_what_comes_and_no_longer() {
    let mut server = TestTcpServer::sink("127.0.0.1:0").unwrap();
    let error = server
        .take_connection(Duration::from_millis(10))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 10ms waiting for a connection's end; none came so far"
    );
    let address = server.local_addr();
    let client = std::thread::spawn(move || exchange(address, b"four"));
    assert_eq!(server.take_connection(LONG).unwrap().received(), b"four");
    client.join().unwrap();
    server.stop(LONG).unwrap();
    let error = server.take_connection(LONG).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server has stopped: a connection's end cannot come any more; 1 came before and was taken"
    );
}

#[test]
fn what_came_is_taken_together_also_after_the_stop() {
    let mut tcp = TestTcpServer::sink("127.0.0.1:0").unwrap();
    let mut udp = TestUdpServer::sink("127.0.0.1:0").unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for data in [b"a", b"b", b"c"] {
        exchange(tcp.local_addr(), data);
        client.send_to(data, udp.local_addr()).unwrap();
    }
    // The client's end of a connection may be ahead of the record, but none is behind the stop.
    tcp.stop(LONG).unwrap();
    udp.stop(LONG).unwrap();
    let connections = tcp.take_connections(2, LONG).unwrap();
    let received: Vec<_> = connections.iter().map(|record| record.received()).collect();
    assert_eq!(received, [b"a", b"b"]);
    let datagrams = udp.take_datagrams(2, LONG).unwrap();
    let data: Vec<_> = datagrams.iter().map(|datagram| datagram.data()).collect();
    assert_eq!(data, [b"a", b"b"]);

    assert!(tcp.take_connections(2, LONG).is_err());
    assert_eq!(tcp.take_connection(LONG).unwrap().received(), b"c");
    assert!(udp.take_datagrams(2, LONG).is_err());
    assert_eq!(udp.take_datagram(LONG).unwrap().data(), b"c");
}

#[test]
fn a_connection_over_the_limit_is_reset_and_told() {
    let mut server = TestTcpServer::builder()
        .max_connections(1)
        .start("127.0.0.1:0", |mut conn| conn.read_rest().map(drop))
        .unwrap();
    let _first = connect(server.local_addr());
    eventually("the first is served", || server.open_connections() == 1);
    let mut second = connect(server.local_addr());
    let error = second.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    eventually("the failure is kept", || !server.failures().is_empty());
    let error = server.stop(LONG).unwrap_err();
    let peer = second.local_addr().unwrap();
    assert_eq!(
        error.failures()[0].message(),
        format!("refused {peer}: 1 connection is open already (builder().max_connections)")
    );
}

#[test]
fn a_take_that_fails_says_what_came() {
    let tcp = TestTcpServer::sink("127.0.0.1:0").unwrap();
    let mut client = connect(tcp.local_addr());
    client.write_all(b"hello").unwrap();
    let peer = client.local_addr().unwrap();
    drop(client);
    eventually("its end is listed", || tcp.total_connections() == 1);
    eventually("it has ended", || tcp.open_connections() == 0);
    let error = tcp.take_connections(2, Duration::ZERO).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "timed out after 0ns waiting for a connection's end; 1 came and can be taken (\"hello\" from {peer}); \
             2 were wanted at once"
        )
    );

    let udp = TestUdpServer::sink("127.0.0.1:0").unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let long = "x".repeat(40);
    client.send_to(long.as_bytes(), udp.local_addr()).unwrap();
    eventually("it is listed", || udp.total_datagrams() == 1);
    eventually("it is handled", || udp.open_connections() == 0);
    let error = udp.take_datagram_where(|_| false, Duration::ZERO);
    let peer = client.local_addr().unwrap();
    assert_eq!(
        error.unwrap_err().to_string(),
        format!(
            "timed out after 0ns waiting for a datagram; 1 came and can be taken ({:?}... from {peer}); \
             none of those is the one that is wanted",
            &long[..32]
        )
    );
    assert_eq!(udp.datagrams().len(), 1);
}

#[test]
fn the_record_keeps_to_its_limit() {
    let mut server = TestTcpServer::builder()
        .record_limit(2)
        .start("127.0.0.1:0", |mut conn| conn.read_rest().map(drop))
        .unwrap();
    for _ in 0..3 {
        exchange(server.local_addr(), b"x");
    }
    server.stop(LONG).unwrap();
    assert_eq!(server.connections().len(), 2);
    assert_eq!(server.total_connections(), 3);
    for _ in 0..2 {
        server.take_connection(LONG).unwrap();
    }
    let error = server.take_connection(LONG).unwrap_err().to_string();
    assert!(
        error.contains("1 more was not kept because the record was full"),
        "{error}"
    );
}

#[test]
fn servers_are_send_and_sync_and_show_themselves() {
    fn check<T: Send + Sync + std::fmt::Debug>(_: &T) {}
    let server = TestTcpServer::echo("127.0.0.1:0").unwrap();
    check(&server);
    let text = format!("{server:?}");
    assert!(
        text.contains(&format!("tcp server on {}", server.local_addr())),
        "{text}"
    );
    check(&TestUdpServer::echo("127.0.0.1:0").unwrap());
    check(&server.ready());
}

/// A loop that spun instead of waiting would pass every other test.
#[cfg(target_os = "linux")]
#[test]
fn a_server_that_waits_uses_no_processor() {
    let tcp = TestTcpServer::sink("127.0.0.1:0").unwrap();
    let udp = TestUdpServer::sink("127.0.0.1:0").unwrap();
    let (tcp, udp) = (format!("tcp:{}", tcp.port()), format!("udp:{}", udp.port()));
    let stat = |name: &str| {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let mut stats =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
        stats.find(|stat| stat.contains(&format!("({name})")))
    };
    let ticks = |name: &str| -> u64 {
        let mut found = None;
        // The system's list leaves some out while others end.
        eventually("it is listed", || {
            found = stat(name);
            found.is_some()
        });
        let fields = found.unwrap();
        let fields: Vec<_> = fields
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        // Fields 14 and 15 of proc(5), user and system time in hundredths of a second.
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eventually("they have their names", || {
        let names = thread_names();
        names.contains(&tcp) && names.contains(&udp)
    });
    // Nothing is waited for: this is the time that is measured.
    std::thread::sleep(Duration::from_millis(400));
    assert!(ticks(&tcp) <= 5, "{} hundredths of a second", ticks(&tcp));
    assert!(ticks(&udp) <= 5, "{} hundredths of a second", ticks(&udp));
}

#[cfg(target_os = "linux")]
#[test]
fn threads_say_which_server_they_are_of() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |mut conn| conn.read_rest().map(drop)).unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    let port = server.port();
    eventually("both threads have their names", || {
        let names = thread_names();
        names.contains(&format!("tcp:{port}")) && names.contains(&format!("tcp:{port} w1"))
    });
    server.stop(LONG).unwrap();
    eventually("both are gone", || {
        !thread_names()
            .iter()
            .any(|name| name.starts_with(&format!("tcp:{port}")))
    });
}

/// The client waits in the backlog until descriptors are there again; the test is told.
#[cfg(target_os = "linux")]
#[test]
fn a_server_out_of_descriptors_tells_it_and_goes_on() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "lifecycle::fixture_few_descriptors", "--ignored"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "a fixture that needs a process of its own, run by the test above"]
fn fixture_few_descriptors() {
    let mut server = TestTcpServer::echo("127.0.0.1:0").unwrap();
    let mut fillers: Vec<_> =
        std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()).collect();
    assert!(fillers.len() < 64);
    // Room for the client's end, and none for the server's.
    fillers.pop();
    let mut client = connect(server.local_addr());
    eventually("the server tells", || !server.failures().is_empty());
    drop(fillers);
    client.write_all(b"x").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(error.failures().len(), 1, "{error}");
    let text = error.failures()[0].to_string();
    assert!(
        text.starts_with("the server failed: cannot accept a connection: "),
        "{text}"
    );
}
