//! A running tunnel between a test's own clients and servers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

#[cfg(unix)]
use loopback::UnixAddress;
use loopback::tunnel::RunningTunnelBuilder;
use loopback::tunnel::{self, Attached, Family, Forward, HttpConnect, Signal, Socks5, Target};
use loopback::{RunningTunnel, TestTcpServer, TestUdpServer};

use super::{PATIENT, example, fixture};

fn echo() -> TestTcpServer {
    TestTcpServer::echo("127.0.0.1:0").unwrap()
}

/// The mutant proxy without a mutation, as a forwarder.
fn forwarder() -> Forward {
    Forward::spawn(|route| {
        let mut command = Command::new(example("tunnel_check"));
        let (listen, service) = (route.listen.to_string(), route.service.to_string());
        command.args(["forwarder", &listen, &service]);
        command
    })
}

fn shell(script: &str) -> Socks5 {
    let script = script.to_owned();
    Socks5::spawn(move |_| {
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        command
    })
}

/// Waits for the program's end.
#[track_caller]
fn ends(tunnel: &RunningTunnel) {
    let deadline = Instant::now() + PATIENT;
    while tunnel.is_running() {
        assert!(Instant::now() < deadline, "it still runs");
        std::thread::yield_now();
    }
}

/// So many connections have come and gone, and no more.
#[track_caller]
fn served(service: &TestTcpServer, count: usize) {
    service.take_connections(count, PATIENT).unwrap();
    assert_eq!(service.total_connections(), count as u64);
}

#[track_caller]
fn answers(mut stream: std::net::TcpStream) {
    stream.write_all(b"words").unwrap();
    let mut came = [0; 5];
    stream.read_exact(&mut came).unwrap();
    assert_eq!(&came, b"words");
}

#[test]
fn a_client_talks_to_the_tests_own_server_and_to_another_one() {
    let (service, other) = (echo(), echo());
    let mut tunnel = RunningTunnel::start(fixture("plain"), &service).unwrap();
    answers(tunnel.connect().unwrap());
    answers(tunnel.connect_to(other.local_addr()).unwrap());
    answers(tunnel.connect_to(("127.0.0.1", other.port())).unwrap());
    assert_eq!(tunnel.url(), format!("socks5h://{}", tunnel.proxy_addr()));
    assert!(tunnel.is_running() && tunnel.pids().len() == 1);
    served(&other, 2);
    tunnel.stop(PATIENT).unwrap();
    tunnel.stop(PATIENT).unwrap();
    assert!(!tunnel.is_running());
    let error = tunnel.connect().unwrap_err().to_string();
    assert!(error.ends_with("; the program has ended"), "{error}");
}

#[test]
fn a_proxy_starts_without_a_service_and_one_on_ipv6() {
    let tunnel = RunningTunnel::start(fixture("plain"), ()).unwrap();
    let error = tunnel.connect().unwrap_err().to_string();
    assert_eq!(
        error,
        "no service was given at the start: say where to with connect_to"
    );
    // Where nobody listens the proxy refuses.
    let error = tunnel.connect_to(tunnel.route().service).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
    answers(tunnel.connect_to(echo_forever()).unwrap());
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let tunnel = RunningTunnel::builder(fixture("plain"))
            .family(Family::V6)
            .start()
            .unwrap();
        assert!(tunnel.proxy_addr().is_ipv6());
        answers(tunnel.connect_to(echo_forever()).unwrap());
    }
}

/// An echo server for as long as the tests run.
fn echo_forever() -> SocketAddr {
    static SERVER: std::sync::LazyLock<TestTcpServer> = std::sync::LazyLock::new(echo);
    SERVER.local_addr()
}

#[test]
fn a_forwarders_service_sees_the_clients_connections_only() {
    let service = echo();
    let tunnel = RunningTunnel::start(forwarder(), &service).unwrap();
    answers(tunnel.connect().unwrap());
    let error = tunnel.connect_to(("localhost", 1)).unwrap_err().to_string();
    let due = format!(
        "a forwarder connects to {} only, not to localhost:1",
        service.local_addr()
    );
    assert_eq!(error, due);
    drop(tunnel);
    served(&service, 1);

    let error = RunningTunnel::start(forwarder(), ()).unwrap_err();
    assert_eq!(error.kind(), tunnel::ErrorKind::Address);
    assert_eq!(
        error.to_string(),
        "forward forwards to one place, and no service was given"
    );
}

#[test]
fn a_client_survives_a_restart_and_a_program_that_the_test_kills() {
    let service = echo();
    let mut tunnel = RunningTunnel::start(fixture("plain"), &service).unwrap();
    let (before, place) = (tunnel.pids(), tunnel.proxy_addr());
    let mut cut = tunnel.connect().unwrap();
    tunnel.restart().unwrap();
    assert_ne!(tunnel.pids(), before);
    assert_eq!(tunnel.proxy_addr(), place);
    // An end or a reset: it is gone in either case.
    match cut.read(&mut [0]) {
        Ok(length) => assert_eq!(length, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    answers(tunnel.connect().unwrap());

    tunnel.signal(Signal::Kill);
    ends(&tunnel);
    tunnel.restart().unwrap();
    answers(tunnel.connect().unwrap());
    // The test has ended it itself: that is no fault.
    tunnel.signal(Signal::Int);
    ends(&tunnel);
    tunnel.stop(PATIENT).unwrap();
}

#[test]
fn a_program_that_does_not_start_listen_or_stay_is_named_with_its_output() {
    let text = |kind: Socks5, limit| {
        let started = RunningTunnel::builder(kind).deadline(limit).start();
        let error = started.unwrap_err();
        assert_eq!(error.kind(), tunnel::ErrorKind::Program);
        error.to_string()
    };
    let missing = Socks5::spawn(|_| Command::new("no-such-proxy"));
    assert!(text(missing, PATIENT).contains("no program no-such-proxy"));

    let ended = text(shell("echo the port is taken >&2; exit 3"), PATIENT);
    assert!(
        ended.starts_with("the program ended before it listened on 127.0.0.1:"),
        "{ended}"
    );
    let shown = ": exited with status 3, by itself, and wrote:\n    the port is taken";
    assert!(ended.ends_with(shown), "{ended}");

    let deaf = text(shell("exec sleep 1000"), Duration::from_millis(30));
    assert!(deaf.contains(" after 30.0ms"), "{deaf}");
    assert!(deaf.ends_with(", and wrote nothing"), "{deaf}");
}

#[test]
fn a_program_that_ends_ignores_term_or_leaves_somebody_fails_its_stop() {
    let script = |line: &str| {
        let line = format!(
            "{line}; exec {} proxy \"$0\"",
            example("tunnel_check").display()
        );
        Socks5::spawn(move |route| {
            let mut command = Command::new("sh");
            command.args(["-c", &line, &route.listen.to_string()]);
            command
        })
    };
    let mut tunnel = RunningTunnel::start(script("trap '' TERM; echo deaf"), ()).unwrap();
    let error = tunnel.stop(Duration::from_millis(50)).unwrap_err();
    assert_eq!(error.kind(), tunnel::ErrorKind::Stop);
    let text = error.to_string();
    assert!(
        text.starts_with("socks5: killed by signal 9, as TERM had not ended it after "),
        "{text}"
    );
    assert!(text.contains(" wrote:\n    deaf\n"), "{text}");

    if cfg!(target_os = "linux") {
        let leaves = script("setsid sh -c 'echo left; exec sleep 1000' & :");
        let mut tunnel = RunningTunnel::start(leaves, ()).unwrap();
        let deadline = Instant::now() + PATIENT;
        while !tunnel.output().contains("left\n") {
            assert!(Instant::now() < deadline, "{}", tunnel.output());
            std::thread::yield_now();
        }
        let text = tunnel.stop(PATIENT).unwrap_err().to_string();
        assert!(
            text.contains("; 1 of its processes had left its group and were killed"),
            "{text}"
        );
    }

    let tunnel = RunningTunnel::start(fixture("dies-on-garbage"), ()).unwrap();
    let mut client = std::net::TcpStream::connect(tunnel.proxy_addr()).unwrap();
    client.write_all(b"garbage").unwrap();
    ends(&tunnel);
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(tunnel))).unwrap_err();
    let text = dropped.downcast_ref::<String>().unwrap();
    assert!(
        text.starts_with("socks5: it ended before it was told to: exited"),
        "{text}"
    );
}

#[test]
fn urls_have_the_login_escaped() {
    let url = |tunnel: RunningTunnel| tunnel.url();
    let there = SocketAddr::from(([127, 0, 0, 1], 1080));
    let socks5 = Attached::new(there, Socks5::new().auth("us er", "p@:ss/ö"));
    let tunnel = RunningTunnel::start(socks5, ()).unwrap();
    assert_eq!(
        tunnel.url(),
        "socks5h://us%20er:p%40%3Ass%2F%C3%B6@127.0.0.1:1080"
    );
    assert!(tunnel.pids().is_empty());
    let connect = Attached::new(there, HttpConnect::new());
    assert_eq!(
        url(RunningTunnel::start(connect, ()).unwrap()),
        "http://127.0.0.1:1080"
    );
    let forward = Attached::new(there, Forward::new()).service(there);
    assert_eq!(
        url(RunningTunnel::start(forward, ()).unwrap()),
        "tcp://127.0.0.1:1080"
    );
}

#[test]
fn several_run_at_once_and_threads_share_one() {
    let service = echo();
    let one = RunningTunnel::start(fixture("plain"), &service).unwrap();
    let other = RunningTunnel::start(forwarder(), &service).unwrap();
    std::thread::scope(|scope| {
        for tunnel in [&one, &other] {
            for _ in 0..8 {
                scope.spawn(|| answers(tunnel.connect().unwrap()));
            }
        }
    });
    drop((one, other));
    served(&service, 16);
}

#[test]
fn datagrams_and_connections_from_outside_come_through_socks5() {
    let echo = TestUdpServer::start("127.0.0.1:0", |datagram| datagram.data().to_vec()).unwrap();
    let tunnel = RunningTunnel::start(fixture("plain"), ()).unwrap();
    let udp = tunnel.udp().unwrap();
    for data in [&b"ping"[..], b"", &[7; 1000]] {
        udp.send_to(data, echo.local_addr()).unwrap();
        let (came, from) = udp.recv_from().unwrap();
        assert_eq!(
            (&came[..], from),
            (data, Target::Address(echo.local_addr()))
        );
    }
    udp.set_timeout(Duration::from_millis(5)).unwrap();
    let none = udp.recv_from().unwrap_err().kind();
    assert!(matches!(none, ErrorKind::TimedOut | ErrorKind::WouldBlock));
    let error = udp.send_to(b"x", ("", 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);

    let bound = tunnel.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let mut outside = std::net::TcpStream::connect(bound.local_addr()).unwrap();
    let (mut inside, peer) = bound.accept(PATIENT).unwrap();
    assert_eq!(peer, Target::Address(outside.local_addr().unwrap()));
    outside.write_all(b"in").unwrap();
    inside.read_exact(&mut [0; 2]).unwrap();
    inside.write_all(b"out").unwrap();
    outside.read_exact(&mut [0; 3]).unwrap();

    let bound = tunnel.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let late = bound.accept(Duration::from_millis(5)).unwrap_err();
    assert_eq!(late.kind(), ErrorKind::TimedOut);

    let error = RunningTunnel::start(forwarder(), echo.local_addr())
        .unwrap()
        .udp()
        .unwrap_err();
    assert_eq!(error.to_string(), "forward does not speak SOCKS5");
}

#[test]
fn a_forwarder_of_datagrams_takes_a_socket_of_the_tests_own() {
    let mut service = TestUdpServer::echo("127.0.0.1:0").unwrap();
    let forwarder = Forward::spawn(super::mutant::Protocol::ForwardUdp.spawn(&[])).udp();
    let mut tunnel = RunningTunnel::start(forwarder, service.local_addr()).unwrap();
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENT)).unwrap();
    client.connect(tunnel.proxy_addr()).unwrap();
    client.send(b"through").unwrap();
    let mut answer = [0; 20];
    let length = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..length], b"through");
    assert_eq!(tunnel.url(), format!("udp://{}", tunnel.proxy_addr()));
    let error = tunnel.connect().unwrap_err().to_string();
    let due = format!(
        "it forwards datagrams: send them to {} by a UdpSocket",
        tunnel.proxy_addr()
    );
    assert_eq!(error, due);
    tunnel.stop(PATIENT).unwrap();
    service.stop(PATIENT).unwrap();
}

#[cfg(unix)]
#[test]
fn a_service_that_is_a_path_is_for_who_can_be_told_one() {
    let mut service = TestTcpServer::echo(UnixAddress::temporary()).unwrap();
    let told = |tunnel: RunningTunnelBuilder| tunnel.start().unwrap_err().to_string();
    let path = service.path().display();
    assert_eq!(
        told(RunningTunnel::builder(Socks5::template("none")).service(&service)),
        format!("socks5 cannot lead to unix:{path}: its protocol asks for addresses and names")
    );
    let somewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let addresses = RunningTunnel::builder(Forward::template("forwarder {service_path}"));
    assert_eq!(
        told(addresses.service(somewhere)),
        "cannot make the command for forward: in the command `forwarder {service_path}`: \
         the service has an address, and no path"
    );
    service.stop(PATIENT).unwrap();
}

#[test]
fn its_programs_have_the_variables_that_are_set() {
    let builder = RunningTunnel::builder(shell("echo \"it is $LOOPBACK_SET\"; exit 3"));
    let error = builder.env("LOOPBACK_SET", "so").start().unwrap_err();
    assert!(error.to_string().contains("    it is so"), "{error}");
}
