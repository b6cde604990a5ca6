//! Stops from where they cannot be, and starts that the system refuses.

use std::io::Write;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};

use loopback::{Ready, ScriptedTcpServer, TestTcpServer, TestUdpServer};

use crate::support::{LONG, connect, eventually, exchange};

const OWN_STOP: &str = "a handler cannot stop its own server from within: the stop would wait for the \
                        handler; have the handler tell the test, and the test stop it";

/// A server that its own handler can reach.
type Shared<S> = Arc<Mutex<Option<S>>>;

#[test]
fn a_handler_that_stops_its_own_server_is_told_at_once() {
    let shared: Shared<TestTcpServer> = Arc::default();
    let (tell, told) = mpsc::channel();
    let inner = Arc::clone(&shared);
    let server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        if conn.read_line()? == "stop\n" {
            let error = inner.lock().unwrap().as_mut().unwrap().stop(2 * LONG);
            tell.send(error.unwrap_err().to_string()).unwrap();
            let error = inner.lock().unwrap().as_mut().unwrap().restart();
            tell.send(error.unwrap_err().to_string()).unwrap();
        }
        conn.write_all(b"served\n")
    })
    .unwrap();
    let address = server.local_addr();
    *shared.lock().unwrap() = Some(server);
    assert_eq!(exchange(address, b"stop\n"), b"served\n");
    let due = format!("tcp server on {address}: 1 failure\n  the server failed: {OWN_STOP}");
    assert_eq!(told.recv_timeout(LONG).unwrap(), due);
    assert_eq!(told.recv_timeout(LONG).unwrap(), due);
    // It goes on, and the test is told too.
    assert_eq!(exchange(address, b"hello\n"), b"served\n");
    let mut server = shared.lock().unwrap().take().unwrap();
    let error = server.stop(LONG).unwrap_err();
    let messages: Vec<_> = error.failures().iter().map(|f| f.message()).collect();
    assert_eq!(messages, [OWN_STOP, OWN_STOP]);
}

#[test]
fn nor_can_a_handler_of_datagrams() {
    let shared: Shared<TestUdpServer> = Arc::default();
    let inner = Arc::clone(&shared);
    let server = TestUdpServer::start("127.0.0.1:0", move |_| {
        inner.lock().unwrap().as_mut().unwrap().stop(2 * LONG)?;
        Ok::<_, loopback::StopError>("never")
    })
    .unwrap();
    let address = server.local_addr();
    *shared.lock().unwrap() = Some(server);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", address).unwrap();
    let failures = || shared.lock().unwrap().as_ref().unwrap().failures();
    eventually("the handler has failed", || failures().len() == 2);
    assert_eq!(failures()[0].message(), OWN_STOP);
    let mut server = shared.lock().unwrap().take().unwrap();
    server.stop(LONG).unwrap_err();
}

/// A drop cannot give an error, and the test has nothing left to ask: the panic is all there is.
#[test]
fn a_handler_that_drops_its_own_server_panics_there() {
    let shared: Shared<TestTcpServer> = Arc::default();
    let (tell, told) = mpsc::channel();
    let inner = Arc::clone(&shared);
    let server = TestTcpServer::start("127.0.0.1:0", move |_| {
        let server = inner.lock().unwrap().take();
        let payload = catch_unwind(AssertUnwindSafe(|| drop(server))).unwrap_err();
        tell.send(*payload.downcast::<String>().unwrap()).unwrap();
    })
    .unwrap();
    let address = server.local_addr();
    *shared.lock().unwrap() = Some(server);
    let client = connect(address);
    assert_eq!(
        told.recv_timeout(LONG).unwrap(),
        format!("tcp server on {address}: {OWN_STOP}")
    );
    drop(client);
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(address).is_err()
    });
}

#[test]
fn a_closure_that_waits_for_its_own_script_is_told_at_once() {
    const OWN_WAIT: &str = "a closure cannot join, stop or restart its own server from within: it would \
                            wait for itself; have it tell the test, and the test do that";
    let waits: [fn(&mut ScriptedTcpServer) -> String; 3] = [
        |peer| peer.join().unwrap_err().to_string(),
        |peer| peer.stop(2 * LONG).unwrap_err().to_string(),
        |peer| peer.restart().unwrap_err().to_string(),
    ];
    for wait in waits {
        let shared: Shared<ScriptedTcpServer> = Arc::default();
        let peer = ScriptedTcpServer::start("127.0.0.1:0").unwrap();
        let address = peer.local_addr();
        let (tell, told) = mpsc::channel();
        let inner = Arc::clone(&shared);
        peer.expect_connect_within(LONG).then_within(
            move |_| {
                let text = wait(inner.lock().unwrap().as_mut().unwrap());
                tell.send(text).unwrap();
            },
            LONG,
        );
        *shared.lock().unwrap() = Some(peer);
        let client = connect(address);
        let due = format!("scripted server on {address}: cannot wait for it\n  {OWN_WAIT}");
        assert_eq!(told.recv_timeout(LONG).unwrap(), due);
        drop(client);
        let peer = shared.lock().unwrap().take().unwrap();
        assert_eq!(peer.join().unwrap_err().to_string(), due);
    }
}

/// A process of its own, whose memory is limited, for a thread needs room for its stack.
#[cfg(target_os = "linux")]
#[test]
fn a_restart_without_a_thread_says_what_lacked() {
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -v 1000000 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "stopping::fixture_no_thread", "--ignored"])
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("test result: ok. 1 passed"), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
#[ignore = "a fixture that needs a process of its own, run by the test above"]
fn fixture_no_thread() {
    let mut server = TestTcpServer::sink("127.0.0.89:0").unwrap();
    server.stop(LONG).unwrap();
    // Others have the memory that there is for stacks.
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let (begin, begun) = mpsc::channel();
    let idle = || {
        let (held, begin) = (held.clone(), begin.clone());
        let wait = move || {
            begin.send(()).unwrap();
            held.recv().unwrap_or(())
        };
        let thread = std::thread::Builder::new().spawn(wait).ok()?;
        // What it takes while it begins is taken by then.
        begun.recv_timeout(LONG).unwrap();
        Some(thread)
    };
    let idlers: Vec<_> = std::iter::from_fn(idle).take(10_000).collect();
    assert!((10..10_000).contains(&idlers.len()), "{}", idlers.len());
    let error = server.restart().unwrap_err();
    let take = server.take_connection(LONG).unwrap_err();
    drop(release);
    for idler in idlers {
        idler.join().unwrap();
    }
    let due = format!(
        "cannot start tcp server on {}: the system gives no thread: ",
        server.local_addr()
    );
    assert!(error.to_string().starts_with(&due), "{error}");
    assert_eq!(
        take.to_string(),
        "the server has stopped: a connection's end cannot come any more; none came so far"
    );
    server.restart().unwrap();
    assert_eq!(exchange(server.local_addr(), b"x"), b"");
}

/// All of them wait in the backlog, and a stop that short serves some: none is stuck, for each is gone as
/// soon as it has its turn.
#[test]
fn a_short_stop_before_a_long_queue_names_nobody() {
    for _ in 0..3 {
        let bound = TestTcpServer::builder()
            .bind("127.0.0.1:0", |mut conn| conn.read_line().map(drop))
            .unwrap();
        let clients: Vec<_> = (0..200).map(|_| connect(bound.local_addr())).collect();
        let mut server = bound.start().unwrap();
        server.stop(Duration::from_millis(20)).unwrap();
        drop(clients);
    }
}

/// They are in their own code when the time is over, and their next turns are their last.
#[test]
fn handlers_that_end_with_the_stop_are_not_named_by_one_without_time() {
    let (begins, begun) = mpsc::channel();
    let runs: Arc<OnceLock<Ready>> = Arc::default();
    let until_it_stops = |runs: &Arc<OnceLock<Ready>>| {
        let (begins, runs) = (begins.clone(), Arc::clone(runs));
        move || {
            begins.send(()).unwrap();
            while runs.get().is_none_or(Ready::is_set) {
                std::thread::yield_now();
            }
            // Longer than a stop looks without giving its turn away.
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_millis(1) {}
        }
    };
    let handler = until_it_stops(&runs);
    let mut server = TestTcpServer::start("127.0.0.1:0", move |_| handler()).unwrap();
    runs.set(server.ready()).unwrap();
    let _client = connect(server.local_addr());
    begun.recv_timeout(LONG).unwrap();
    server.stop(Duration::ZERO).unwrap();

    let runs: Arc<OnceLock<Ready>> = Arc::default();
    let handler = until_it_stops(&runs);
    let mut server = TestUdpServer::start("127.0.0.1:0", move |_| handler()).unwrap();
    runs.set(server.ready()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.send_to(b"x", server.local_addr()).unwrap();
    begun.recv_timeout(LONG).unwrap();
    server.stop(Duration::ZERO).unwrap();
}
