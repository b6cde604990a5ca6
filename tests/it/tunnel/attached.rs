//! Tunnels that already run.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{self, Child, Command, Stdio};

use loopback::TunnelHarness;
use loopback::tunnel::{Attached, Family, Forward, HttpConnect, Outcome, Socks5, Suite};

use super::kinds::{ending, run};
use super::{PATIENT, combinations, example, names};

/// The fixture, started by the test itself.
struct Running {
    child: Child,
    listen: SocketAddr,
}

impl Running {
    fn start(protocol: &str, more: &[&str]) -> Running {
        let mut command = Command::new(example("fixture_kinds"));
        command
            .args([protocol, "--listen", "127.0.0.1:0"])
            .args(more);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines().map(Result::unwrap);
        let listen = lines.find_map(|line| line.strip_prefix("listens on ")?.parse().ok());
        let listen = listen.unwrap();
        Running { child, listen }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn a_proxy_that_already_runs_is_checked_and_left_alone() {
    let mut proxy = Running::start("connect", &[]);
    let report = run(Attached::new(proxy.listen, HttpConnect::new()));
    report.assert_passed();
    for name in ["stop", "port-closed"] {
        let check = report.check(&format!("connectivity/44/{name}")).unwrap();
        assert_eq!(check.outcome(), Outcome::Skipped, "{check}");
        assert_eq!(check.message(), "it already ran, and goes on");
    }
    if combinations().contains(&"64") {
        let other = report.check("connectivity/64").unwrap();
        let due = format!("it already runs, and listens on {}", proxy.listen);
        assert_eq!(other.message(), due);
        let to_v6 = names(&report, "46", Outcome::Passed);
        assert!(
            to_v6.iter().any(|name| name == "service-half-close"),
            "{report}"
        );
    }
    assert!(proxy.child.try_wait().unwrap().is_none(), "it still runs");
}

/// The test service listens where the forwarder has been told to connect to. On Linux a port can be
/// held for it meanwhile.
#[cfg(target_os = "linux")]
#[test]
fn a_forwarder_that_already_runs_is_checked_with_the_service_that_it_knows() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    // Below those that the kernel gives away, and those of leases: when they run short, it gives one that may be
    // reused to others.
    let mut ports = (0..5000).map(|next| 10_000 + (process::id() as u16).wrapping_add(next) % 5000);
    let free = |port: &u16| {
        let address = SocketAddr::from(([127, 0, 0, 1], *port));
        socket.bind(&address.into()).is_ok()
    };
    ports.find(free).expect("a port is free");
    let service = socket.local_addr().unwrap().as_socket().unwrap();
    let forwarder = Running::start("forward", &["--service", &service.to_string()]);
    let tunnel = Attached::new(forwarder.listen, Forward::new()).service(service);
    let suites = [Suite::Connectivity, Suite::Echo];
    let harness = TunnelHarness::new(tunnel).suites(&suites);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    for id in ["connectivity/44/client-to-service", "echo/44/values"] {
        let check = report.check(id).unwrap();
        assert_eq!(check.outcome(), Outcome::Passed, "{check}");
        assert_eq!(check.route().unwrap().service, service);
    }
    if combinations().contains(&"46") {
        let other = report.check("connectivity/46").unwrap();
        assert_eq!(other.outcome(), Outcome::Skipped);
        let due = format!("it already runs, and forwards to {service}");
        assert_eq!(other.message(), due);
    }
}

#[test]
fn nothing_is_checked_of_a_forwarder_whose_destination_is_not_known() {
    let report = run(Attached::new(([127, 0, 0, 1], 1).into(), Forward::new()));
    assert!(!report.is_success(), "{report}");
    let check = report.check("connectivity/44").unwrap();
    assert_eq!(check.outcome(), Outcome::Skipped, "{check}");
    let due = "where it forwards to is not known; see `Attached::service`";
    assert_eq!(check.message(), due);
}

#[test]
fn what_already_runs_is_not_told_to_end() {
    let mut proxy = Running::start("connect", &[]);
    let report = ending(Attached::new(proxy.listen, HttpConnect::new()));
    report.assert_passed();
    let life = report
        .checks()
        .iter()
        .filter(|c| c.id().starts_with("life/"));
    for check in life {
        assert_eq!(check.outcome(), Outcome::Skipped, "{check}");
        let due = "for this check a program is started, and this one already runs";
        assert_eq!(check.message(), due);
    }
    let reset = report.check("behaviour/client-reset").unwrap();
    assert_eq!(reset.outcome(), Outcome::Passed, "{reset}");
    assert!(proxy.child.try_wait().unwrap().is_none(), "it still runs");
}

#[test]
fn nothing_that_should_run_and_does_not_is_a_failure() {
    // Bound and not listening, so that it is nobody else's meanwhile.
    let domain = socket2::Domain::IPV4;
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    socket.bind(&any.into()).unwrap();
    let nobody = socket.local_addr().unwrap().as_socket().unwrap();
    let report = TunnelHarness::new(Attached::new(nobody, Socks5::new()))
        .families([(Family::V4, Family::V4)])
        .check_deadline(std::time::Duration::from_millis(200))
        .run()
        .unwrap();
    assert_eq!(names(&report, "44", Outcome::Failed), ["start"], "{report}");
    let start = report.check("connectivity/44/start").unwrap();
    let due = format!("nothing listens on {nobody} after ");
    assert!(start.message().starts_with(&due), "{start}");
}
