//! The tunnel harness on real tunnels and proxies.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::thread;

use libtest_mimic::Trial;
use loopback::TunnelHarness;
use loopback::tunnel::{
    Custom, Forward, HttpConnect, Outcome, Report, Route, Socks5, Suite, Tunnel,
};

use crate::{find, needs, python, recipes};

pub(crate) fn trials() -> Vec<Trial> {
    let microsocks = |name, test| needs("microsocks", "microsocks", name, test);
    let socat = |name, test| needs("socat", "socat", name, test);
    let mut trials = recipe_trials();
    trials.extend([
        microsocks("tunnel::microsocks", microsocks_plain),
        microsocks("tunnel::microsocks_bound", microsocks_bound),
        microsocks("tunnel::microsocks_auth", microsocks_auth),
        microsocks("tunnel::microsocks_bad_password", microsocks_bad_password),
        microsocks("tunnel::microsocks_ten_runs", microsocks_ten_runs),
        microsocks("tunnel::microsocks_twenty_at_once", microsocks_twenty),
        microsocks("tunnel::microsocks_traffic_ten_runs", microsocks_traffic),
        microsocks(
            "tunnel::microsocks_ends_and_faults",
            microsocks_ends_and_faults,
        ),
        needs("python3", "python3", "tunnel::json", json_is_read_by_others),
        socat("tunnel::socat", socat_plain),
        socat("tunnel::socat_bound", socat_bound),
        socat("tunnel::socat_t_60", socat_t_60),
        socat("tunnel::socat_ten_runs", socat_ten_runs),
        socat("tunnel::socat_twenty_at_once", socat_twenty),
        socat("tunnel::socat_traffic_ten_runs", socat_traffic),
        socat("tunnel::socat_t_60_traffic_ten_runs", socat_t_60_traffic),
        socat("tunnel::socat_ends_and_faults", socat_ends_and_faults),
    ]);
    trials
}

/// Each recipe once, on every combination that it can run.
fn recipe_trials() -> Vec<Trial> {
    let danted = |name, test| needs("danted", "dante-server", name, test);
    let tinyproxy = |name, test| needs("tinyproxy", "tinyproxy", name, test);
    let squid = |name, test| needs("squid", "squid", name, test);
    let haproxy = |name, test| needs("haproxy", "haproxy", name, test);
    let nginx = |name, test| needs("nginx", "nginx-light and libnginx-mod-stream", name, test);
    let stunnel = |name, test| needs("stunnel4", "stunnel4", name, test);
    let ssh = |name, test| needs("sshd", "openssh-server", name, test);
    vec![
        danted("tunnel::danted_socks5", || {
            all_note(
                &check(recipes::danted_socks5()),
                "stop",
                "exited with status 0",
            );
        }),
        danted("tunnel::danted_socks4", || {
            drop(check(recipes::danted_socks4()))
        }),
        tinyproxy("tunnel::tinyproxy", || {
            all_note(
                &check(recipes::tinyproxy()),
                "client-half-close",
                "half-close cut",
            );
        }),
        tinyproxy("tunnel::tinyproxy_auth", || {
            drop(check(recipes::tinyproxy_auth()))
        }),
        tinyproxy("tunnel::tinyproxy_bad_password", tinyproxy_bad_password),
        squid("tunnel::squid", || drop(check(recipes::squid()))),
        haproxy("tunnel::haproxy_tcp", || {
            all_note(
                &check(recipes::haproxy_tcp()),
                "client-half-close",
                "half-close carried",
            );
        }),
        haproxy("tunnel::haproxy_send_proxy", || {
            drop(check(recipes::haproxy_v1()))
        }),
        haproxy("tunnel::haproxy_send_proxy_v2", || {
            drop(check(recipes::haproxy_v2()))
        }),
        haproxy("tunnel::haproxy_other_version", haproxy_other_version),
        nginx("tunnel::nginx_stream", || {
            all_note(
                &check(recipes::nginx_stream()),
                "client-half-close",
                "half-close cut",
            );
        }),
        nginx("tunnel::nginx_half_close", || {
            let report = check(recipes::nginx_half_close());
            all_note(&report, "client-half-close", "half-close carried");
        }),
        stunnel("tunnel::stunnel_pair", || {
            all_note(
                &check(recipes::stunnel_pair()),
                "service-half-close",
                "half-close carried",
            );
        }),
        ssh("tunnel::ssh_l", || drop(check(recipes::ssh_l()))),
        ssh("tunnel::ssh_d_socks5", || {
            drop(check(recipes::ssh_d_socks5()))
        }),
        ssh("tunnel::ssh_d_socks4", || {
            drop(check(recipes::ssh_d_socks4()))
        }),
    ]
}

/// The template takes the password from the tunnel, so another tunnel asks with a wrong one.
fn tinyproxy_bad_password() {
    let wrong = Custom::template(recipes::tinyproxy_template("BasicAuth me s3cret\n")).handshake(
        |stream, target| {
            HttpConnect::new()
                .auth("me", "s3cre")
                .handshake(stream, target)
        },
    );
    let report = TunnelHarness::new(wrong).run().unwrap();
    let handshake = report.check("connectivity/44/handshake").unwrap();
    assert_eq!(handshake.outcome(), Outcome::Failed, "{report}");
    // It should be 407 (RFC 9110 section 15.5.8).
    let due = "the proxy refused the request with status 401";
    assert!(handshake.message().contains(due), "{handshake}");
}

fn haproxy_other_version() {
    let report = TunnelHarness::new(recipes::haproxy_v1().v2())
        .run()
        .unwrap();
    let accept = report.check("connectivity/44/accept").unwrap();
    assert_eq!(accept.outcome(), Outcome::Failed, "{report}");
    let due = "byte 0 of the header (signature) is 50";
    assert!(accept.message().contains(due), "{accept}");
}

fn microsocks_plain() {
    let report = check(Socks5::spawn(|route| microsocks(route, &[])));
    // It closes both ways as soon as one side has sent all.
    all_note(&report, "client-half-close", "half-close cut");
    all_note(&report, "service-half-close", "half-close cut");
    all_note(&report, "stop", "killed by signal 15");
}

fn microsocks_bound() {
    let report = check(bound_microsocks());
    let ends = |name: &str| {
        let of = report.checks().iter().filter(|c| c.id().ends_with(name));
        of.map(|check| check.outcome()).collect::<Vec<_>>()
    };
    assert!(
        ends("/source").iter().all(|o| *o == Outcome::Passed),
        "{report}"
    );
}

fn microsocks_auth() {
    let tunnel = Socks5::spawn(|route| microsocks(route, &["-u", "me", "-P", "s3cret:"]));
    check(tunnel.auth("me", "s3cret:"));
}

fn microsocks_bad_password() {
    let tunnel = Socks5::spawn(|route| microsocks(route, &["-u", "me", "-P", "secret"]));
    let report = TunnelHarness::new(tunnel.auth("me", "secre"))
        .run()
        .unwrap();
    let failed = report
        .checks()
        .iter()
        .filter(|c| c.outcome() == Outcome::Failed);
    for check in failed {
        let message = check.message();
        assert!(message.contains("turned user and password down"), "{check}");
    }
    assert!(report.failed() > 0, "{report}");
}

fn microsocks_ten_runs() {
    for _ in 0..10 {
        check(bound_microsocks());
    }
}

fn microsocks_twenty() {
    at_once(bound_microsocks);
}

/// Much, often, at once and at another pace.
const TRAFFIC: &[Suite] = &[
    Suite::Echo,
    Suite::DataQuality,
    Suite::PingPong,
    Suite::Concurrency,
    Suite::Punishment,
    Suite::Turnover,
    Suite::Pace,
];

/// Strict: there is nothing in which these programs deviate.
fn traffic<T: Tunnel + 'static>(tunnel: fn() -> T) {
    for _ in 0..10 {
        let harness = TunnelHarness::new(tunnel()).suites(TRAFFIC).strict(true);
        let report = harness.run().unwrap();
        report.assert_passed();
        assert!(report.passed() >= 20, "{report}");
    }
}

fn microsocks_traffic() {
    traffic(bound_microsocks);
}

fn socat_traffic() {
    traffic(|| Forward::spawn(|route| socat(route, &[], false)));
}

fn socat_t_60_traffic() {
    traffic(patient_socat);
}

fn socat_plain() {
    let report = check(Forward::spawn(|route| socat(route, &[], false)));
    all_note(&report, "stop", "exited with status 143");
}

fn socat_bound() {
    check(Forward::spawn(|route| socat(route, &[], true)).binds_outgoing(true));
}

fn socat_t_60() {
    let report = check(patient_socat());
    all_note(&report, "client-half-close", "half-close carried");
    all_note(&report, "service-half-close", "half-close carried");
}

fn socat_ten_runs() {
    for _ in 0..10 {
        check(patient_socat());
    }
}

fn socat_twenty() {
    at_once(patient_socat);
}

/// Ten runs of the suites about closing, faults, the program's life and its behaviour.
fn ends_and_faults(harness: TunnelHarness) -> Report {
    let suites = [Suite::Closing, Suite::Faults, Suite::Life, Suite::Behaviour];
    let harness = harness.suites(&suites).repeat(10).strict(true);
    let report = harness.run().unwrap();
    report.assert_passed();
    report
}

fn microsocks_ends_and_faults() {
    let harness = TunnelHarness::new(bound_microsocks());
    let known = "it closes both ways at the first end";
    ends_and_faults(harness.expect("closing/*-half-close/carried", known));
}

fn socat_ends_and_faults() {
    let harness = TunnelHarness::new(patient_socat());
    println!("{}", ends_and_faults(harness));
}

fn bound_microsocks() -> Socks5 {
    let tunnel = Socks5::spawn(|route| {
        let outgoing = route.outgoing.to_string();
        microsocks(route, &["-b", &outgoing])
    });
    tunnel.binds_outgoing(true)
}

fn microsocks(route: &Route, options: &[&str]) -> Command {
    let mut command = Command::new(find("microsocks").unwrap());
    command.args(["-i", &route.listen.ip().to_string()]);
    command.args(["-p", &route.listen.port().to_string()]);
    command.args(options);
    command
}

/// A report of a program that ends at once, with bytes that are no text in its output.
fn json_is_read_by_others() {
    let tunnel = Forward::spawn(|_| {
        let mut command = Command::new("printf");
        command.arg("\\001\\033[1m\\377\"\\\\");
        command
    });
    let report = TunnelHarness::new(tunnel).run().unwrap();
    let script = "
import json, sys
report = json.loads(sys.argv[1])
checks = report['checks']
assert report['total']['counts']['failed'] == len([c for c in checks if c['outcome'] == 'failed']) > 0
start = [c for c in checks if c['id'] == 'connectivity/44/start'][0]
print(report['schema'], report['version'], ascii(start['failure']['programs'][0]['output']))
";
    let said = python(script, &[&report.to_json()]);
    assert_eq!(
        said,
        "loopback-tunnel-report 1 '\\x01\\x1b[1m\\ufffd\"\\\\'\n"
    );
}

/// Without `-t` socat waits half a second for the other way when one way has ended.
fn patient_socat() -> Forward {
    Forward::spawn(|route| socat(route, &["-t", "60"], true)).binds_outgoing(true)
}

fn socat(route: &Route, options: &[&str], bind: bool) -> Command {
    let kind = |address: SocketAddr| match address {
        SocketAddr::V4(_) => "TCP4",
        SocketAddr::V6(_) => "TCP6",
    };
    let bracketed = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let (listen, service) = (route.listen, route.service);
    let near = format!(
        "{}-LISTEN:{},bind={},reuseaddr,fork",
        kind(listen),
        listen.port(),
        bracketed(listen.ip())
    );
    let mut far = format!("{}:{service}", kind(service));
    if bind {
        far += &format!(",bind={}", bracketed(route.outgoing));
    }
    let mut command = Command::new(find("socat").unwrap());
    command.args(options).args([near, far]);
    command
}

/// Runs the harness on every combination; all of it must pass.
fn check(tunnel: impl Tunnel + 'static) -> Report {
    let harness = TunnelHarness::new(tunnel).suite(Suite::Connectivity);
    let report = harness.run().unwrap();
    report.assert_passed();
    report
}

/// Twenty harnesses side by side: ports, children and checks must not get into each other's way.
fn at_once<T: Tunnel + 'static>(tunnel: fn() -> T) {
    let threads: Vec<_> = (0..20)
        .map(|_| thread::spawn(move || check(tunnel())))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// In every combination that ran, the check has a note that begins so.
fn all_note(report: &Report, name: &str, start: &str) {
    let suffix = format!("/{name}");
    let checks = report.checks().iter().filter(|c| c.id().ends_with(&suffix));
    let mut seen = 0;
    for check in checks {
        let notes = check.notes();
        assert!(notes.iter().any(|note| note.starts_with(start)), "{check}");
        seen += 1;
    }
    assert!(seen > 0, "{report}");
}
