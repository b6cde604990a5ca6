//! A handler's panic or error reaches the test, once, and never more than a test's failure.

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use loopback::{TestTcpServer, TestUdpServer};

use crate::support::{LONG, connect, eventually, exchange};

fn message(outcome: std::thread::Result<()>) -> String {
    let payload = outcome.unwrap_err();
    match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
    }
}

#[test]
fn a_panic_comes_out_of_stop_with_message_and_peer() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        let line = conn.read_line().unwrap();
        assert_eq!(line, "hello\n", "the client's greeting");
    })
    .unwrap();
    let mut client = connect(server.local_addr());
    client.write_all(b"goodbye\n").unwrap();
    client.read_to_end(&mut Vec::new()).unwrap();
    let error = server.stop(LONG).unwrap_err();
    let peer = client.local_addr().unwrap();
    let [failure] = error.failures() else {
        panic!("{error}");
    };
    assert!(failure.panicked());
    assert_eq!(*failure.peer().unwrap(), peer);
    assert_eq!(
        error.to_string(),
        format!(
            "tcp server on {}: 1 failure\n  handler for {peer} panicked: assertion `left == right` \
             failed: the client's greeting\n      left: \"goodbye\\n\"\n     right: \"hello\\n\"",
            server.local_addr()
        )
    );
    // Reported once.
    server.stop(LONG).unwrap();
}

#[test]
fn an_error_comes_out_of_stop_with_its_causes() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |_| Err::<(), _>("no such user")).unwrap();
    exchange(server.local_addr(), b"");
    let error = server.stop(LONG).unwrap_err();
    assert!(!error.failures()[0].panicked());
    assert_eq!(error.failures()[0].message(), "no such user");
}

#[test]
fn a_failure_that_nobody_took_comes_out_of_the_drop() {
    let server = TestTcpServer::start("127.0.0.1:0", |_| panic!("out of cheese")).unwrap();
    exchange(server.local_addr(), b"");
    let text = message(catch_unwind(AssertUnwindSafe(|| drop(server))));
    assert!(text.contains("panicked: out of cheese"), "{text}");
}

/// Two panics at once would abort the test binary.
#[test]
fn a_drop_while_the_test_fails_already_does_not_panic_again() {
    let outcome = catch_unwind(|| {
        let server = TestTcpServer::start("127.0.0.1:0", |_| panic!("the handler's")).unwrap();
        exchange(server.local_addr(), b"");
        panic!("the test's own");
    });
    assert_eq!(message(outcome), "the test's own");
}

#[test]
fn a_panic_harms_no_other_client() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        let line = conn.read_line().unwrap();
        assert_ne!(line, "bad\n");
        conn.write_all(b"fine").unwrap();
    })
    .unwrap();
    for _ in 0..3 {
        assert_eq!(exchange(server.local_addr(), b"bad\n"), b"");
        assert_eq!(exchange(server.local_addr(), b"good\n"), b"fine");
    }
    assert_eq!(server.take_failures().len(), 3);
    server.stop(LONG).unwrap();
}

/// Also one that the handler makes out of what stopping did to it.
#[test]
fn a_panic_after_the_stop_is_still_a_failure() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        assert_eq!(conn.read_line().unwrap(), "never sent\n");
    })
    .unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    assert_eq!(server.stop(LONG).unwrap_err().failures().len(), 1);
}

/// The same error, returned, fails nothing: see `tcp::a_pause_ends_early_when_the_server_stops`.
#[test]
fn what_the_stop_has_cut_reads_well_when_it_is_unwrapped() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |conn| conn.pause(2 * LONG).unwrap()).unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(
        error.failures()[0].message(),
        "called `Result::unwrap()` on an `Err` value: \
         Custom { kind: ConnectionAborted, error: the server stopped during a pause }"
    );
}

/// An error that is not the stop's doing is a failure, whenever it is returned.
#[test]
fn an_error_of_the_handlers_own_after_the_stop_is_a_failure() {
    let mut server =
        TestTcpServer::start("127.0.0.1:0", |mut conn| match conn.read_line()?.as_str() {
            "" => Err("the client said nothing".into()),
            _ => Ok::<(), Box<dyn std::error::Error + Send + Sync>>(()),
        })
        .unwrap();
    let _client = connect(server.local_addr());
    eventually("it is served", || server.open_connections() == 1);
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(error.failures()[0].message(), "the client said nothing");
}

/// Also one of the handler's own that looks like the socket's.
#[test]
fn an_io_error_of_the_handlers_own_is_a_failure_although_the_server_stops() {
    for _ in 0..20 {
        let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| -> io::Result<()> {
            match conn.read_rest()?.as_slice() {
                b"x" => Ok(()),
                _ => Err(io::Error::other("wrong data")),
            }
        })
        .unwrap();
        let mut client = connect(server.local_addr());
        client.write_all(b"y").unwrap();
        drop(client);
        let error = server.stop(LONG).unwrap_err();
        assert_eq!(error.failures()[0].message(), "wrong data");
    }
}

/// It had begun, so the stop is no excuse for what is missing.
#[test]
fn a_client_that_sent_too_little_fails_the_test_although_the_server_stops() {
    for _ in 0..20 {
        let mut server =
            TestTcpServer::start("127.0.0.1:0", |mut conn| conn.read_bytes(4).map(drop)).unwrap();
        let mut client = connect(server.local_addr());
        client.write_all(b"ab").unwrap();
        drop(client);
        let error = server.stop(LONG).unwrap_err();
        // On a loaded machine its end may come after the stop.
        let message = error.failures()[0].message();
        assert!(message.ends_with(" after 2 of 4 bytes"), "{message}");
    }
}

/// A client that has read the end can ask at once.
#[test]
fn a_failure_is_kept_before_the_client_reads_the_end() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        conn.read_line().unwrap();
        panic!("on purpose");
    })
    .unwrap();
    for _ in 0..200 {
        exchange(server.local_addr(), b"x\n");
        assert_eq!(server.take_failures().len(), 1);
        assert_eq!(server.take_connection(LONG).unwrap().received(), b"x\n");
    }
    server.stop(LONG).unwrap();
}

#[test]
fn a_datagram_handlers_failures_come_out_too() {
    let mut server = TestUdpServer::start("127.0.0.1:0", |datagram| match datagram.data() {
        b"panic" => panic!("as told"),
        b"error" => Err("as asked"),
        _ => Ok("fine"),
    })
    .unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    for data in ["panic", "error", "other"] {
        client
            .send_to(data.as_bytes(), server.local_addr())
            .unwrap();
    }
    let mut answer = [0; 16];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"fine");
    let error = server.stop(LONG).unwrap_err();
    let messages: Vec<_> = error.failures().iter().map(|f| f.message()).collect();
    assert_eq!(messages, ["as told", "as asked"]);
    let peer = client.local_addr().unwrap();
    assert!(error.failures().iter().all(|f| *f.peer().unwrap() == peer));
}

#[test]
fn a_datagram_handler_that_never_ends_is_named() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let mut server = TestUdpServer::start("127.0.0.1:0", move |_| {
        let _ = held.recv();
    })
    .unwrap();
    let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", server.local_addr()).unwrap();
    eventually("it is handled", || server.open_connections() == 1);
    let error = server
        .stop(std::time::Duration::from_millis(50))
        .unwrap_err();
    assert_eq!(*error.stuck()[0].peer(), client.local_addr().unwrap());
    drop(release);
}

/// What a user sees: the test's own failure, the handler's beside it, an ordinary exit.
#[test]
fn a_failing_test_with_a_failing_handler_is_one_ordinary_failure() {
    let output = run_fixture("failures::fixture_both_fail");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert!(
        text.contains("test result: FAILED. 0 passed; 1 failed;"),
        "{text}"
    );
    assert!(text.contains("the test's assertion"), "{text}");
    assert!(text.contains("panicked: the handler's assertion"), "{text}");
}

#[test]
fn a_failing_handler_alone_fails_the_test() {
    let output = run_fixture("failures::fixture_handler_fails");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(101), "{text}");
    assert!(
        text.contains("test result: FAILED. 0 passed; 1 failed;"),
        "{text}"
    );
    assert!(text.contains("panicked: the handler's assertion"), "{text}");
}

#[test]
fn a_list_that_is_too_short_says_so_once() {
    let output = run_fixture("failures::fixture_lists_too_few");
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("loopback: "))
        .collect();
    let [line] = lines[..] else {
        panic!("{said}");
    };
    assert!(
        line.starts_with("loopback: tcp server on 127.0.0.1:"),
        "{line}"
    );
    let end = ": its list is not all that came: 2 more so far, not kept because the record was full \
               (builder().record_limit and record_bytes)";
    assert!(line.ends_with(end), "{line}");
}

/// Runs one of the fixtures below in this test binary, under the ordinary test harness.
fn run_fixture(name: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--ignored", "--test-threads=1"])
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

#[test]
#[ignore = "a fixture that fails, run by the tests above"]
fn fixture_both_fail() {
    let server =
        TestTcpServer::start("127.0.0.1:0", |_| panic!("the handler's assertion")).unwrap();
    exchange(server.local_addr(), b"");
    panic!("the test's assertion");
}

#[test]
#[ignore = "a fixture that fails, run by the tests above"]
fn fixture_lists_too_few() {
    let server = TestTcpServer::builder()
        .record_limit(1)
        .sink("127.0.0.1:0")
        .unwrap();
    for _ in 0..3 {
        exchange(server.local_addr(), b"");
    }
    eventually("all are counted", || server.total_connections() == 3);
    let _first = server.connections();
    assert_eq!(server.connections().len(), 3);
}

#[test]
#[ignore = "a fixture that fails, run by the tests above"]
fn fixture_handler_fails() {
    let server =
        TestTcpServer::start("127.0.0.1:0", |_| panic!("the handler's assertion")).unwrap();
    exchange(server.local_addr(), b"");
}
