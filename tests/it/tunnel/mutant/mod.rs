//! The harness's verdicts on the mutant proxy: a right proxy passes, and each way to be wrong fails
//! the checks that are about it and no others.

mod by_hand;
mod coverage;
mod judge;
mod table;

use std::collections::BTreeSet;
use std::process::Command;
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Family, Forward, HttpConnect, Outcome, ProxyProtocol, Report, Route, Socks4, Socks4a, Socks5,
    Suite,
};

use super::example;

/// Far more than all suites need together.
const LIMIT: Duration = Duration::from_secs(1800);
const USER: &str = "user";
const PASSWORD: &str = "sec:ret";

/// What the mutant is made to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Forward,
    ForwardUdp,
    Socks4,
    Socks4a,
    Socks5,
    /// With user and password.
    Socks5Login,
    Connect,
    /// With Basic credentials.
    ConnectLogin,
    ProxyV1,
    ProxyV2,
}

impl Protocol {
    /// Those that carry connections.
    const ALL: [Protocol; 9] = [
        Protocol::Forward,
        Protocol::Socks4,
        Protocol::Socks4a,
        Protocol::Socks5,
        Protocol::Socks5Login,
        Protocol::Connect,
        Protocol::ConnectLogin,
        Protocol::ProxyV1,
        Protocol::ProxyV2,
    ];

    /// A harness for the mutant with these options, which connects from the address it is told.
    pub(super) fn harness(self, options: &'static [&'static str]) -> TunnelHarness {
        self.harness_binding(true, options)
    }

    /// As [`Protocol::harness`], with the harness told whether the mutant `binds` to that address. If not, it
    /// may be asked for services of the other family.
    fn harness_binding(self, binds: bool, options: &'static [&'static str]) -> TunnelHarness {
        let command = self.spawn(options);
        macro_rules! harness {
            ($tunnel:expr) => {
                TunnelHarness::new($tunnel.binds_outgoing(binds))
            };
        }
        match self {
            Protocol::Forward => harness!(Forward::spawn(command)),
            Protocol::ForwardUdp => harness!(Forward::spawn(command).udp()),
            Protocol::Socks4 => harness!(Socks4::spawn(command)),
            Protocol::Socks4a => harness!(Socks4a::spawn(command)),
            Protocol::Socks5 => harness!(Socks5::spawn(command)),
            Protocol::Socks5Login => harness!(Socks5::spawn(command).auth(USER, PASSWORD)),
            Protocol::Connect => harness!(HttpConnect::spawn(command)),
            Protocol::ConnectLogin => harness!(HttpConnect::spawn(command).auth(USER, PASSWORD)),
            Protocol::ProxyV1 => harness!(ProxyProtocol::spawn(command).v1()),
            Protocol::ProxyV2 => harness!(ProxyProtocol::spawn(command).v2()),
        }
    }

    /// Starts it, for a kind of the test's own.
    pub(crate) fn spawn(self, options: &'static [&'static str]) -> impl Fn(&Route) -> Command {
        move |route| self.command(route, options)
    }

    fn command(self, route: &Route, options: &[&str]) -> Command {
        let mut command = Command::new(example("mutant_proxy"));
        command.arg(match self {
            Protocol::Forward => "forward",
            Protocol::ForwardUdp => "forward-udp",
            Protocol::Socks4 => "socks4",
            Protocol::Socks4a => "socks4a",
            Protocol::Socks5 | Protocol::Socks5Login => "socks5",
            Protocol::Connect | Protocol::ConnectLogin => "connect",
            Protocol::ProxyV1 => "proxy-v1",
            Protocol::ProxyV2 => "proxy-v2",
        });
        command.args(["--listen", &route.listen.to_string()]);
        command.args(["--outgoing", &route.outgoing.to_string()]);
        // On a loaded machine a handshake of single bytes takes its time.
        command.args(["--patience", "60000"]);
        command.args(["--service", &route.service.to_string()]);
        if matches!(self, Protocol::Socks5Login | Protocol::ConnectLogin) {
            command.args(["--user", USER, "--password", PASSWORD]);
        }
        command.args(options);
        command
    }
}

/// Checks that all suites pass with these options; gives the report.
#[track_caller]
fn all_pass(protocol: Protocol, options: &'static [&'static str]) -> Report {
    let harness = protocol.harness(options).suites(Suite::ALL).strict(true);
    let harness = harness.families([(Family::V4, Family::V4)]);
    // Nothing hangs: only a machine that has a lot to do needs it.
    let harness = harness.check_deadline(LIMIT / 3).deadline(LIMIT);
    let harness = match options.is_empty() || protocol == Protocol::Socks5 {
        true => harness,
        false => harness.skip(
            "turnover/*",
            "the same for each protocol, and hundreds of pauses",
        ),
    };
    let report = harness.run().unwrap();
    report.assert_passed();
    report
}

/// Checks that all suites pass whatever it speaks; what further there is to say of the reports.
fn all_protocols_pass(
    options: &'static [&'static str],
    further: impl Fn(Protocol, &Report) + Sync,
) {
    thread::scope(|scope| {
        for protocol in Protocol::ALL {
            let further = &further;
            scope.spawn(move || further(protocol, &all_pass(protocol, options)));
        }
    });
}

#[test]
fn without_a_mutation_it_is_right() {
    all_protocols_pass(&[], |protocol, report| {
        for name in ["client-half-close", "service-half-close"] {
            let check = report.check(&format!("connectivity/44/{name}")).unwrap();
            assert_eq!(check.notes(), ["half-close carried"], "{protocol:?}");
        }
        assert_eq!(report.counts().unsupported, 0, "{report}");
        let ready = report.check("life/ready").unwrap();
        assert_eq!(ready.measures().latency().unwrap().count, 3);
    });
}

#[test]
fn a_forwarder_of_datagrams_is_right_too() {
    let report = all_pass(Protocol::ForwardUdp, &[]);
    let made = report
        .checks()
        .iter()
        .filter(|c| c.outcome() == Outcome::Passed);
    let suites: BTreeSet<&str> = made.map(|check| check.suite()).collect();
    assert_eq!(suites, BTreeSet::from(["application", "udp"]), "{report}");
}

#[test]
fn slow_it_is_right_too() {
    all_protocols_pass(&["--slow"], |_, _| ());
}

#[test]
fn gathering_it_is_right_too() {
    all_protocols_pass(&["--coalesce"], |_, _| ());
}
