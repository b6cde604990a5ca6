//! Each kind of tunnel, on programs that are right and on programs that are not.

use std::io;
use std::net::SocketAddr;
use std::process::Command;

use loopback::TunnelHarness;
use loopback::tunnel::{
    Custom, ErrorKind, Family, Forward, HttpConnect, Outcome, Program, ProxyProtocol, ReadWrite,
    Report, Route, Setup, Socks4, Socks4a, Socks5, Suite, Target, Template, Tunnel,
};

use super::{PATIENT, combinations, example, names};

/// A command line of the fixture; the rest of it is filled in.
fn fixture(protocol: &str, rest: &str) -> String {
    let path = example("fixture_kinds");
    format!("'{}' {protocol} --listen {{listen}} {rest}", path.display())
}

pub(super) fn run(tunnel: impl Tunnel + 'static) -> Report {
    let harness = TunnelHarness::new(tunnel).check_deadline(PATIENT);
    harness.run().unwrap()
}

/// Checks that all of it passed, in these combinations and no others.
#[track_caller]
fn passes(tunnel: impl Tunnel + 'static, due: &[&str]) -> Report {
    let report = run(tunnel);
    report.assert_passed();
    for families in combinations() {
        let stopped = names(&report, families, Outcome::Passed);
        let ran = stopped.iter().any(|name| name == "port-closed");
        assert_eq!(ran, due.contains(families), "{families}\n{report}");
    }
    report
}

/// The only check that fails with IPv4 on both sides, and what it says.
#[track_caller]
fn fails(tunnel: impl Tunnel + 'static, check: &str) -> String {
    let harness = TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)]);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    assert_eq!(names(&report, "44", Outcome::Failed), [check], "{report}");
    report.to_string()
}

/// Why nothing could be run.
#[track_caller]
fn error(tunnel: impl Tunnel + 'static) -> String {
    let error = TunnelHarness::new(tunnel).run().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Program);
    error.to_string()
}

/// A failure on purpose, so that the report shows the program's command and output.
fn spoilt(tunnel: Custom) -> Custom {
    tunnel.handshake(|_, _| Err(io::Error::other("on purpose")))
}

const ALL: &[&str] = &["44", "46", "64", "66"];
const TO_IPV4: &[&str] = &["44", "64"];

#[test]
fn socks4_reaches_services_on_ipv4_and_says_why_no_others() {
    let tunnel = Socks4::template(fixture("socks4a", "")).user("me");
    let report = passes(tunnel, TO_IPV4);
    assert!(report.to_string().contains("socks4: "), "{report}");
    if combinations().contains(&"46") {
        let left_out = report.check("connectivity/46").unwrap();
        assert_eq!(left_out.message(), "SOCKS4 has no IPv6 addresses");
    }
    assert!(report.check("connectivity/44/name-literal").is_none());
}

#[test]
fn socks4a_reaches_names_too() {
    let report = passes(Socks4a::template(fixture("socks4a", "")), TO_IPV4);
    let by_name = report.check("connectivity/44/name-literal").unwrap();
    assert_eq!(by_name.outcome(), Outcome::Passed);
}

#[test]
fn a_refusal_of_socks4_says_its_code() {
    let text = fails(
        Socks4::template(fixture("socks4a", "")).user("eve"),
        "handshake",
    );
    let due = "the proxy refused the request with reply code 5b, request rejected or failed (SOCKS4 memo)";
    assert!(text.contains(due), "{text}");
}

#[test]
fn connect_reaches_addresses_of_both_families_and_names() {
    let report = passes(HttpConnect::template(fixture("connect", "")), ALL);
    let by_name = report.check("connectivity/44/name-literal").unwrap();
    assert_eq!(by_name.outcome(), Outcome::Passed);
}

#[test]
fn connect_logs_in_and_a_refusal_says_its_status() {
    let command = fixture("connect", "--user {user} --password {password}");
    passes(HttpConnect::template(&*command).auth("me", "secret"), ALL);
    let text = fails(
        HttpConnect::template(command).auth("me", "secre"),
        "handshake",
    );
    let due = "the proxy refused the request with status 407 Proxy Authentication Required";
    assert!(text.contains(due), "{text}");
}

#[test]
fn the_service_reads_the_headers_of_the_proxy_protocol() {
    let v1 = || fixture("proxy-v1", "--service {service}");
    let v2 = || fixture("proxy-v2", "--service {service}");
    passes(ProxyProtocol::template(v1()), ALL);
    passes(ProxyProtocol::template(v2()).v2(), ALL);
    let text = fails(ProxyProtocol::template(v2()), "accept");
    assert!(
        text.contains(
            "what the service reads first is wrong: byte 0 of the header (signature) is 0d"
        ),
        "{text}"
    );
    assert!(text.contains("received: 15 bytes: 0d 0a"), "{text}");
    let text = fails(ProxyProtocol::template(v1()).v2(), "accept");
    assert!(
        text.contains("byte 0 of the header (signature) is 50"),
        "{text}"
    );
}

#[test]
fn without_a_header_the_first_data_are_told() {
    let plain = fixture("forward", "--service {service}");
    let report = TunnelHarness::new(ProxyProtocol::template(plain))
        .families([(Family::V4, Family::V4)])
        .check_deadline(std::time::Duration::from_millis(500))
        .run()
        .unwrap();
    let accept = report.check("connectivity/44/accept").unwrap();
    // Nobody speaks: the client waits for the service.
    assert!(accept.message().contains("nothing came"), "{accept}");
    assert_eq!(accept.outcome(), Outcome::Failed);
}

/// The header comes with every connection, also with those that say nothing else.
#[test]
fn a_header_is_not_taken_for_bytes_that_nobody_sent() {
    let v1 = fixture("proxy-v1", "--service {service}");
    let report = ending(ProxyProtocol::template(v1));
    report.assert_passed();
    for name in ["faults/garbage", "behaviour/unreachable"] {
        let check = report.check(name).unwrap();
        assert_eq!(check.message(), "this kind has no handshake", "{check}");
    }
}

#[test]
fn a_custom_kind_is_made_of_closures() {
    let tunnel = Custom::template(fixture("connect", ""))
        .named("by-closures")
        .names(true)
        .handshake(|stream, target| {
            let target = match target {
                Target::Name(name, port) if name.contains(':') => format!("[{name}]:{port}"),
                Target::Name(name, port) => format!("{name}:{port}"),
                other => other.to_string(),
            };
            write!(stream, "CONNECT {target} HTTP/1.1\r\n\r\n")?;
            stream.read_exact(&mut [0; 28 + 27])?;
            Ok(None)
        });
    let report = passes(tunnel, ALL);
    assert!(report.to_string().contains("by-closures: "), "{report}");

    let tunnel = Custom::template(fixture("proxy-v1", "--service {service}")).preamble(
        |service, client, route| {
            let mut line = vec![0; line_of(client, route).len()];
            service.read_exact(&mut line)?;
            match line == line_of(client, route).as_bytes() {
                true => Ok(()),
                false => Err(io::Error::other(String::from_utf8_lossy(&line))),
            }
        },
    );
    passes(tunnel, ALL);
}

fn line_of(client: SocketAddr, route: &Route) -> String {
    let family = if client.is_ipv4() { 4 } else { 6 };
    let (ip, listen) = (client.ip(), route.listen);
    let (from, to) = (client.port(), listen.port());
    format!("PROXY TCP{family} {ip} {} {from} {to}\r\n", listen.ip())
}

/// A forwarder to a forwarder, the first of which takes its time.
fn chain() -> Template {
    let path = example("fixture_kinds");
    let far = format!(
        "'{}' late --listen {{listen_2}} --service {{service}}",
        path.display()
    );
    Template::new(far)
        .listens_on("{listen_2}")
        .then(fixture("forward", "--service {listen_2}"))
}

#[test]
fn a_chain_of_programs_is_started_in_order_and_ended_whole() {
    let report = passes(Forward::template(chain()), ALL);
    let stop = report.check("connectivity/44/stop").unwrap();
    let notes = stop.notes();
    assert_eq!(notes.len(), 2, "{stop}");
    for note in notes {
        assert!(
            note.starts_with("fixture_kinds: killed by signal 15, "),
            "{note}"
        );
    }
}

/// The suites that end programs in every way.
pub(super) fn ending(tunnel: impl Tunnel + 'static) -> Report {
    let harness = TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)]);
    let suites = [Suite::Faults, Suite::Life, Suite::Behaviour];
    let harness = harness.skip("faults/gone-writing", "the fixture passes no reset on");
    let report = harness.suites(&suites).check_deadline(PATIENT).run();
    report.unwrap()
}

#[test]
fn a_signal_goes_to_each_program_of_a_chain_and_all_of_them_start_again() {
    let report = ending(Forward::template(chain()));
    report.assert_passed();
    for scene in ["term-idle", "term-live", "int-idle", "int-live"] {
        let again = report.check(&format!("life/{scene}/again")).unwrap();
        assert_eq!(again.outcome(), Outcome::Passed, "{again}");
    }
    let ends = report.check("behaviour/int-idle").unwrap();
    let status = &ends.measures().records()[0];
    let due = "fixture_kinds: killed by signal 2; fixture_kinds: killed by signal 2";
    assert_eq!((&*status.0, &*status.1), ("status", due));
}

#[test]
fn a_failure_shows_the_command_the_end_and_the_output_of_all_programs() {
    let text = fails(spoilt(Custom::template(chain())), "handshake");
    let at = |part: &str| {
        text.find(part)
            .unwrap_or_else(|| panic!("no {part:?} in\n{text}"))
    };
    assert!(at("program 1 of 2: ") < at(" late --listen "), "{text}");
    assert!(at(" late --listen ") < at("| late with "), "{text}");
    assert!(at("| late with ") < at("program 2 of 2: "), "{text}");
    assert!(at("program 2 of 2: ") < at("| forward with "), "{text}");
    assert_eq!(
        text.matches("its end: killed by signal 15, ").count(),
        2,
        "{text}"
    );
}

#[test]
fn a_failure_shows_what_was_sent_expected_and_received() {
    // Two bytes that are no handshake to a forwarder.
    let tunnel = Custom::template(fixture("forward", "--service {service}"));
    let tunnel = tunnel.handshake(|stream, _| stream.write_all(b"xx").map(|()| None));
    let text = fails(tunnel, "client-to-service");
    for line in [
        "  the service has other bytes than were sent, from byte 0 on\n",
        "  sent: 16 bytes: 48 65 6c 6c 6f 2c 20 63 6c 69 65 6e 74 21 0d 0a \"Hello, client!\\r\\n\"\n",
        "  expected: 17 bytes: 48 65 6c 6c 6f 2c 20 73 65 72 76 69 63 65 21 0d 0a \"Hello, service!\\r\\n\"\n",
        "  received: ",
        ": 78 78",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_chatty_program_does_not_hide_what_another_one_says() {
    let path = example("fixture_kinds");
    let path = path.display();
    let quiet = format!("'{path}' forward --listen {{listen_2}} --service {{service}}");
    let chatty = format!(
        "sh -c 'i=0; while [ $i -lt 3000 ]; do echo noise $i; i=$((i + 1)); done; \
         exec \"$0\" forward --listen {{listen}} --service {{listen_2}}' '{path}'"
    );
    let chain = Template::new(quiet).listens_on("{listen_2}").then(chatty);
    let text = fails(spoilt(Custom::template(chain)), "handshake");
    assert!(text.contains("| noise 2999"), "{text}");
    let (first, second) = text.split_once("program 2 of 2: ").unwrap();
    assert!(first.contains("| forward with "), "{text}");
    assert!(second.contains("its output, the last 30 lines:"), "{text}");
}

#[test]
fn a_program_of_a_chain_that_is_missing_or_never_listens_is_named() {
    let first = || fixture("forward", "--service {service}");
    let missing = Template::new(first()).then("no-such-program {listen_2}");
    let text = fails(Forward::template(missing), "start");
    assert!(
        text.contains("there is no program no-such-program in PATH"),
        "{text}"
    );

    let deaf = Template::new("sleep 1000")
        .listens_on("{listen_2}")
        .then(first());
    let report = TunnelHarness::new(Forward::template(deaf))
        .families([(Family::V4, Family::V4)])
        .check_deadline(std::time::Duration::from_millis(200))
        .run()
        .unwrap();
    let start = report.check("connectivity/44/start").unwrap();
    assert!(
        start
            .message()
            .starts_with("sleep does not listen on 127.0.0.1:"),
        "{start}"
    );
}

#[test]
fn mistakes_of_a_template_are_errors_that_show_it() {
    let text = error(Socks5::template("microsocks -i {listenip}"));
    let due = "cannot make the command for socks5: in the command `microsocks -i {listenip}`: \
               {listenip} is no placeholder: there are {listen}, ";
    assert!(text.starts_with(due), "{text}");
    let text = error(Forward::new());
    assert_eq!(
        text,
        "cannot make the command for forward: it has no command: `spawn` and `template` give it one, and `Attached` says where one runs"
    );
}

#[cfg(unix)]
#[test]
fn the_folder_of_the_files_is_private_and_goes_at_the_end() {
    // It prints what it has got, and then serves.
    let script = format!(
        "stat -c 'mode=%a' {{tmp}}; cat {{tmp}}/x.conf; echo tmp={{tmp}}; exec {} oops",
        fixture("forward", "--service {service}").replace('\'', "")
    );
    let template = Template::new(format!("sh -c '{script}'")).file("x.conf", "service={service}\n");
    let text = fails(spoilt(Custom::template(template)), "handshake");
    let line = |start: &str| {
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start:?} in\n{text}"))
    };
    #[cfg(target_os = "linux")]
    assert_eq!(line("| mode="), "700");
    assert!(line("| service=").starts_with("127.0.0."), "{text}");
    let tmp = line("| tmp=");
    assert!(!std::path::Path::new(tmp).exists(), "{tmp}");
}

#[cfg(target_os = "linux")]
#[test]
fn the_child_has_a_utf8_locale_unless_its_command_sets_one() {
    let output = |tunnel| fails(spoilt(tunnel), "handshake");
    let command = |locale: Option<&str>| {
        let locale = locale.map(str::to_owned);
        Custom::spawn(move |route| {
            let mut command = Command::new(example("fixture_kinds"));
            let (listen, service) = (route.listen.to_string(), route.service.to_string());
            command.args(["forward", "--listen", &listen, "--service", &service]);
            command.envs(locale.iter().map(|locale| ("LC_ALL", locale)));
            command
        })
    };
    let text = output(command(None)).to_lowercase();
    assert!(
        text.contains("lc_all=some(\"c.utf") || text.contains(".utf"),
        "{text}"
    );
    let text = output(command(Some("POSIX")));
    assert!(text.contains("LC_ALL=Some(\"POSIX\")"), "{text}");
}

#[test]
fn ports_come_from_the_range_that_was_asked_for() {
    let tunnel = Forward::template(fixture("forward", "--service {service}"));
    let harness = TunnelHarness::new(tunnel)
        .ports(16_000..=29_999)
        .port_offset(50);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    let routes = report.checks().iter().filter_map(|check| check.route());
    let ports: Vec<u16> = routes.map(|route| route.listen.port()).collect();
    assert!(
        ports.iter().all(|port| (16_050..18_050).contains(port)),
        "the first ones from the offset on that are free: {ports:?}"
    );
}

/// Where port numbers as 16 bits with a sign are negative.
#[test]
fn ports_above_32767_work() {
    let proxy = HttpConnect::template(fixture("connect", ""));
    let harness = TunnelHarness::new(proxy).ports(61_000..=65_535);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    report.assert_passed();
    let routes: Vec<&Route> = report.checks().iter().filter_map(|c| c.route()).collect();
    assert!(!routes.is_empty() && routes.iter().all(|r| r.listen.port() >= 61_000));
    #[cfg(target_os = "linux")]
    {
        // The service takes a port of the range that the kernel gives to everybody.
        let file = "/proc/sys/net/ipv4/ip_local_port_range";
        let range = std::fs::read_to_string(file).unwrap();
        let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        assert!(low <= 32_767 || routes.iter().all(|r| r.service.port() > 32_767));
    }
}

/// A shell looks a path with a slash up from the current folder, wherever the program runs.
#[test]
fn a_relative_path_of_a_program_is_one_from_the_tests_folder() {
    let here = std::env::current_dir().unwrap();
    let name = here.file_name().unwrap().to_str().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let path = example("fixture_kinds");
    // By its name, as from elsewhere `..` alone may lead to the root too.
    let whole = path.to_str().unwrap().trim_start_matches('/');
    let relative = format!("../{name}/{up}{whole}");
    passes(
        Forward::template(format!(
            "'{relative}' forward --listen {{listen}} --service {{service}}"
        )),
        ALL,
    );
    passes(
        Forward::spawn(move |route| {
            let (listen, service) = (route.listen.to_string(), route.service.to_string());
            let mut command = Command::new(&relative);
            command.args(["forward", "--listen", &listen, "--service", &service]);
            command.current_dir("/");
            command
        }),
        ALL,
    );
}

/// What a template is filled with, as the program gets it.
#[cfg(unix)]
#[test]
fn every_placeholder_reaches_the_program_and_its_files() {
    let gaps = "{listen} {listen_ip} {listen_host} {listen_port} {service} {service_ip} {service_host} \
                {service_port} {outgoing_ip} {outgoing_host} {client_ip} {client_host} {family} \
                {service_family} {listen_2} {port_2} {listen_9} {port_9} {user} {password} {tmp} {{}}";
    let words = gaps.split(' ').map(|gap| format!(" '{gap}'"));
    let words: String = words.collect();
    let command = format!("sh -c 'cat \"$0\"; echo args \"$@\"; exit 1' {{tmp}}/gaps{words}");
    let template = Template::new(command).file("gaps", format!("file {gaps}\n"));
    let tunnel = HttpConnect::template(template).auth("me", "a b");
    let harness = TunnelHarness::new(tunnel).families([(Family::V4, Family::V4)]);
    let report = harness.check_deadline(PATIENT).run().unwrap();
    let start = report.check("connectivity/44/start").unwrap();
    let route = start.route().unwrap();
    let [program] = start.failure().unwrap().programs() else {
        panic!("one program\n{start}")
    };
    let line = |start: &str| {
        let mut lines = program.output.lines();
        let line = lines.find_map(|line| line.strip_prefix(start));
        line.unwrap_or_else(|| panic!("no {start} in\n{}", program.output))
    };
    assert_eq!(line("file "), line("args "));
    let (listen, service) = (route.listen, route.service);
    let (outgoing, client) = (route.outgoing, route.client);
    let (near, far) = (listen.ip(), service.ip());
    let (near_port, far_port) = (listen.port(), service.port());
    let begin = format!(
        "{listen} {near} {near} {near_port} {service} {far} {far} {far_port} {outgoing} {outgoing} \
         {client} {client} 4 4 {near}:"
    );
    let rest = line("file ").strip_prefix(&begin);
    let rest = rest.unwrap_or_else(|| panic!("{}\n{begin}", program.output));
    let words: Vec<&str> = rest.split(' ').collect();
    let [
        second,
        second_port,
        ninth,
        ninth_port,
        "me",
        "a",
        "b",
        tmp,
        "{}",
    ] = words[..]
    else {
        panic!("{words:?}")
    };
    assert_eq!(second, second_port);
    assert_eq!(ninth, format!("{near}:{ninth_port}"));
    assert_ne!(second, ninth_port);
    assert!(std::path::Path::new(tmp).is_absolute(), "{tmp}");
}

/// A kind of a user's own with several programs and a file, by hand.
struct ByHand;

impl Tunnel for ByHand {
    fn slug(&self) -> String {
        "by-hand".to_owned()
    }

    fn programs(&self, setup: &mut Setup) -> io::Result<Vec<Program>> {
        let between = setup.further(2)?;
        let file = setup.file("where", &between.to_string())?;
        let read = std::fs::read_to_string(file)?;
        assert_eq!(read, between.to_string());
        let Route {
            listen, service, ..
        } = *setup.route();
        let forward = |from: SocketAddr, to: SocketAddr| {
            let mut command = Command::new(example("fixture_kinds"));
            let (from, to) = (from.to_string(), to.to_string());
            command.args(["forward", "--listen", &from, "--service", &to]);
            command
        };
        let far = Program::new(forward(between, service)).listens_on(between);
        Ok(vec![far, forward(listen, between).into()])
    }

    fn handshake(
        &self,
        _stream: &mut dyn ReadWrite,
        _target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }
}

#[test]
fn a_kind_of_the_users_own_may_have_several_programs() {
    passes(ByHand, ALL);
}

/// A kind that forgets its programs.
struct Empty;

impl Tunnel for Empty {
    fn slug(&self) -> String {
        "empty".to_owned()
    }

    fn programs(&self, _setup: &mut Setup) -> io::Result<Vec<Program>> {
        Ok(Vec::new())
    }

    fn handshake(
        &self,
        _stream: &mut dyn ReadWrite,
        _target: &Target,
    ) -> io::Result<Option<SocketAddr>> {
        Ok(None)
    }
}

#[test]
fn a_kind_without_a_program_is_an_error_that_says_so() {
    let due = "cannot make the command for empty: it gives no program, and tells of none that runs";
    assert_eq!(error(Empty), due);
}
