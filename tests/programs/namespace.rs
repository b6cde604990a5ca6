//! All suites on a machine that has only 127.0.0.1 and ::1: a network namespace made for the test.

use std::env;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::Trial;
use loopback::TunnelHarness;
use loopback::tunnel::{Forward, Kind, Outcome, Report, Socks5, Suite, Tunnel};

use crate::{find, finish, needs};

/// In the environment of this binary when it runs in the namespace.
const INSIDE: &str = "LOOPBACK_TEST_NAMESPACE";
/// Both outside of the ephemeral range that a new namespace has, 32768 to 60999.
const PORTS: RangeInclusive<u16> = 61_000..=65_535;
/// Far more than any check needs.
const PATIENT: Duration = Duration::from_secs(60);
/// For all of them together, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(300);

/// A namespace has 127.0.0.1/8 once its loopback interface is up, which is 16 million addresses.
const SETUP: &str = "ip link set lo up && ip address del 127.0.0.1/8 dev lo && \
    ip address add 127.0.0.1/32 dev lo && exec \"$@\"";

pub(crate) fn trials() -> Vec<Trial> {
    if env::var_os(INSIDE).is_some() {
        let inside = || {
            only_one_address_of_each_family();
            Ok(())
        };
        return vec![Trial::test("namespace::inside", inside)];
    }
    let name = "namespace::all_suites_pass_with_one_address_of_each_family";
    // These two are on every Debian; that the kernel lets them is another matter.
    let missing = ["unshare", "ip"].iter().any(|one| find(one).is_none());
    if missing || namespace().is_some() {
        return vec![needs("ip", "iproute2", name, in_a_namespace)];
    }
    let lack = "needs a kernel that permits network namespaces";
    vec![Trial::test(format!("{name} ({lack})"), || Ok(())).with_ignored_flag(true)]
}

/// What `unshare` has to be told to make a namespace, if it may: as root without another user
/// namespace, which some systems forbid.
fn namespace() -> Option<&'static str> {
    let may = |how: &&&str| {
        let mut unshare = Command::new("unshare");
        let done = unshare.args([**how, "true"]).output();
        done.is_ok_and(|output| output.status.success())
    };
    ["-n", "-Urn"].iter().find(may).copied()
}

/// This binary again, in a namespace.
fn in_a_namespace() {
    let how = namespace().expect("it was permitted before");
    let own = env::current_exe().unwrap();
    let variable = format!("{INSIDE}=1");
    let own = own.to_str().unwrap();
    let inside = ["sh", "-c", SETUP, "sh", "env", &variable, own];
    let arguments = [how].into_iter().chain(inside);
    let mut unshare = Command::new("unshare");
    unshare.args(arguments.chain(["--exact", "namespace::inside"]));
    let output = finish(&mut unshare, b"", LIMIT).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "{text}");
}

/// What is right passes all suites, on ports above 32767.
fn only_one_address_of_each_family() {
    let mutant = |arguments: &[&str]| {
        let mut command = Command::new(mutant_proxy());
        command.args(arguments);
        command
    };
    passes_all_suites(Socks5::spawn(move |route| {
        mutant(&["socks5", "--listen", &route.listen.to_string()])
    }));
    passes_all_suites(Forward::spawn(move |route| {
        let (listen, service) = (route.listen.to_string(), route.service.to_string());
        mutant(&["forward", "--listen", &listen, "--service", &service])
    }));
}

fn passes_all_suites(tunnel: impl Tunnel + 'static) {
    let is_proxy = tunnel.kind() != Kind::Forward;
    let harness = TunnelHarness::new(tunnel).suites(Suite::ALL).ports(PORTS);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    passed_something(&report, is_proxy);
    for route in report.checks().iter().filter_map(|check| check.route()) {
        let (client, service) = (route.client, route.service.ip());
        for ip in [route.listen.ip(), client, route.outgoing, service] {
            assert!(["127.0.0.1", "::1"].contains(&&*ip.to_string()), "{route}");
        }
        assert!(PORTS.contains(&route.listen.port()), "{route}");
        assert!(route.service.port() > 32_767, "{route}");
    }
}

/// Every suite did, and connectivity on all combinations. A forwarder has no handshake.
fn passed_something(report: &Report, is_proxy: bool) {
    let suites = report.suites();
    let empty = suites.iter().filter(|suite| suite.counts.passed == 0);
    let empty: Vec<&str> = empty.map(|suite| &*suite.name).collect();
    let due: &[&str] = match is_proxy {
        true => &[],
        false => &["conformance", "udp"],
    };
    assert_eq!(empty, due, "{report}");
    assert!(suites.len() >= Suite::ALL.len(), "{report}");
    for families in ["44", "46", "64", "66"] {
        let stop = report.check(&format!("connectivity/{families}/stop"));
        assert_eq!(stop.unwrap().outcome(), Outcome::Passed);
    }
}

/// The mutant proxy, which without a mutation is right: `cargo test` has built it beside the tests.
fn mutant_proxy() -> PathBuf {
    let test = env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    profile.join("examples/mutant_proxy")
}
