//! The frame with small suites, on a forwarder that is this test program itself.

mod groups;
mod options;
mod resume;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command};
use std::{env, thread};

use super::*;
use crate::tunnel::check::definition::{Checks, Routes};
use crate::tunnel::core::family::Family;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::kinds::forward::Forward;
use crate::tunnel::report::{Check, Outcome};
use crate::tunnel::route::Route;

/// What makes this program a forwarder: where it listens and where it connects to.
const ROUTE: &str = "LOOPBACK_TEST_FORWARDER";
/// Far more than any check here needs.
const PATIENT: Duration = Duration::from_secs(30);

/// Not a test of its own: in the environment that [`forwarder`] makes, the program under test.
#[test]
fn a_forwarder_for_the_other_tests() {
    let Ok(route) = env::var(ROUTE) else {
        return;
    };
    let (listen, service) = route.split_once(' ').unwrap();
    let service: SocketAddr = service.parse().unwrap();
    for client in TcpListener::bind(listen).unwrap().incoming().flatten() {
        thread::spawn(move || forward(client, service));
    }
}

fn forward(client: TcpStream, service: SocketAddr) -> io::Result<()> {
    let service = TcpStream::connect(service)?;
    service.set_nodelay(true)?;
    client.set_nodelay(true)?;
    let (up, down) = (client.try_clone()?, service.try_clone()?);
    thread::spawn(move || copy(up, service));
    copy(down, client)
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        if buffer.starts_with(b"die") {
            eprintln!("forwarder: told to die");
            process::exit(9);
        }
        to.write_all(&buffer[..length])?;
    }
}

fn forwarder() -> Forward {
    Forward::spawn(|route: &Route| {
        let mut command = Command::new(env::current_exe().unwrap());
        let name = "tunnel::run::tests::a_forwarder_for_the_other_tests";
        command.args(["--exact", name, "--nocapture"]);
        command.env(ROUTE, format!("{} {}", route.listen, route.service));
        command
    })
}

fn tunnel() -> Arc<dyn Tunnel> {
    shared(forwarder())
}

fn shared(tunnel: Forward) -> Arc<dyn Tunnel> {
    Arc::new(tunnel)
}

/// IPv4 only, with as many jobs as a usual machine has.
fn options() -> Options {
    Options {
        families: vec![(Family::V4, Family::V4)],
        check_deadline: PATIENT,
        jobs: 4,
        ..Options::default()
    }
}

fn one_job() -> Options {
    Options {
        jobs: 1,
        ..options()
    }
}

fn run_with(options: &Options, defs: &'static [CheckDef]) -> Report {
    run(&tunnel(), options, &[suite(defs)]).unwrap()
}

fn suite(defs: &'static [CheckDef]) -> &'static SuiteDef {
    named("toy", defs)
}

fn named(name: &'static str, defs: &'static [CheckDef]) -> &'static SuiteDef {
    // Tables of real suites are constants; this one costs a few bytes a test.
    Box::leak(Box::new(SuiteDef {
        name,
        routes: Routes::Each,
        applies: |_| Ok(()),
        checks: Checks::Independent(defs),
    }))
}

/// The check `toy/44/<name>`, which must have ended so.
#[track_caller]
fn check<'a>(report: &'a Report, name: &str, outcome: Outcome) -> &'a Check {
    let id = format!("toy/44/{name}");
    let found = report.check(&id);
    let check = found.unwrap_or_else(|| panic!("no {id} in\n{report}"));
    assert_eq!(check.outcome(), outcome, "{check}");
    check
}

fn ids(report: &Report) -> Vec<&str> {
    report.checks().iter().map(Check::id).collect()
}

const GOOD: CheckDef = CheckDef::must("good", "words arrive", "harness", words);
const BAD: CheckDef = CheckDef::must("bad", "it never holds", "RFC 1, section 2", bad);

fn words(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut both = context.connect()?;
    let data = context.random().bytes(100);
    both.client.send(&data)?;
    both.service.expect("the client's bytes", &data)?;
    context.carried(100);
    drop(both.client);
    both.service.expect_end()
}

fn bad(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut both = context.connect()?;
    both.client.send(b"abc")?;
    both.service.expect("what was promised", b"abd")
}

#[test]
fn what_breaks_is_judged_by_strictness() {
    const PLANS: &[CheckDef] = &[
        GOOD,
        BAD,
        CheckDef::should("should", "it never holds", "RFC 1, section 2", bad),
        CheckDef::may("may", "it never holds", "RFC 1, section 2", bad),
        CheckDef::harness("harness", "it never holds", bad),
        CheckDef::must("no", "it says no", "RFC 1", |_| {
            Err(CheckError::Unsupported("reply code 07".to_owned()))
        }),
        CheckDef::must("unclear", "it cannot be seen", "RFC 1", |_| {
            Err(CheckError::Skipped("no such family".to_owned()))
        }),
    ];
    for strict in [false, true] {
        let options = Options {
            strict,
            ..options()
        };
        let report = run_with(&options, PLANS);
        // They are in the order of the table however many ran at once.
        let names: Vec<&str> = report.checks().iter().map(Check::name).collect();
        let order: Vec<&str> = PLANS.iter().map(|def| def.requirement.name).collect();
        assert_eq!(names, order);
        check(&report, "good", Outcome::Passed);
        check(&report, "bad", Outcome::Failed);
        check(&report, "may", Outcome::Deviates);
        let no = check(&report, "no", Outcome::Unsupported);
        assert_eq!(no.message(), "reply code 07");
        check(&report, "unclear", Outcome::Skipped);
        let softer = match strict {
            true => Outcome::Failed,
            false => Outcome::Deviates,
        };
        check(&report, "should", softer);
        check(&report, "harness", softer);
    }
}

#[test]
fn a_failure_tells_what_was_sent_and_received_and_all_about_the_program() {
    let report = run_with(&one_job(), &[BAD, GOOD]);
    let bad = check(&report, "bad", Outcome::Failed);
    let message = "the service has what was promised, but byte 2 is another than was sent; the connection is still open";
    assert_eq!(bad.message(), message);
    let failure = bad.failure().unwrap();
    assert_eq!(failure.expected(), Some(&b"abd"[..]));
    assert_eq!(failure.received(), Some(&b"abc"[..]));
    assert!(
        failure.programs()[0].command.contains("a_forwarder"),
        "{bad}"
    );
    assert!(
        failure.programs()[0]
            .exit
            .starts_with("killed by signal 15"),
        "{bad}"
    );
    // The next one gets a fresh process.
    let good = check(&report, "good", Outcome::Passed);
    assert_ne!(good.route(), bad.route());
    assert_eq!(good.measures().bytes(), 100);
    assert_eq!(good.measures().connections(), 1);
}

#[test]
fn a_program_that_dies_and_a_check_that_panics_are_failures() {
    const PLANS: &[CheckDef] = &[
        CheckDef::may("dies", "it survives", "harness", |context| {
            let mut both = context.connect()?;
            both.client.send(b"die")?;
            let deadline = context.deadline("the process to be gone");
            while context.is_running() && !deadline.expired() {
                thread::yield_now();
            }
            Ok(())
        }),
        CheckDef::must("may-die", "it may die", "harness", |context| {
            context.may_end();
            let mut both = context.connect()?;
            both.client.send(b"die")?;
            both.client.expect_end()
        }),
        CheckDef::may("panics", "our own fault", "harness", |_| {
            panic!("no such case")
        }),
        GOOD,
    ];
    let report = run_with(&options(), PLANS);
    let dies = check(&report, "dies", Outcome::Failed);
    // The harness of tests writes behind what the program has said.
    let message = dies.message();
    let due = "the program ended during the check: exited with status 9: ";
    assert!(message.starts_with(due), "{message}");
    let [program] = dies.failure().unwrap().programs() else {
        panic!("one program\n{dies}")
    };
    assert_eq!(program.exit, "exited with status 9, by itself");
    assert!(program.output.contains("told to die"), "{dies}");
    check(&report, "may-die", Outcome::Passed);
    let panics = check(&report, "panics", Outcome::Failed);
    assert_eq!(panics.message(), "the check panicked: no such case");
    check(&report, "good", Outcome::Passed);
}

#[test]
fn one_that_starts_only_once_is_shown_with_what_it_said() {
    let starts = AtomicUsize::new(0);
    let tunnel = Forward::spawn(move |route| match starts.fetch_add(1, Ordering::SeqCst) {
        0 => forwarder().command(route).unwrap(),
        _ => {
            let mut command = Command::new("sh");
            command.args(["-c", "echo once is enough; exit 4"]);
            command
        }
    });
    const PLANS: &[CheckDef] = &[
        CheckDef::must("first", "words arrive", "harness", words).fresh_process(),
        CheckDef::may("second", "words arrive", "harness", words).fresh_process(),
    ];
    let report = run(&shared(tunnel), &one_job(), &[suite(PLANS)]).unwrap();
    check(&report, "first", Outcome::Passed);
    // Though nothing binds the program to the statement.
    let second = check(&report, "second", Outcome::Failed);
    assert!(second.message().starts_with("the program ended before"));
    let [program] = second.failure().unwrap().programs() else {
        panic!("one program\n{second}")
    };
    assert_eq!(program.exit, "exited with status 4, by itself");
    assert_eq!(program.output, "once is enough\n");
}

#[test]
fn processes_are_shared_in_turn_unless_a_check_wants_its_own_or_leaves_something() {
    const PLANS: &[CheckDef] = &[
        CheckDef::must("one", "words arrive", "harness", words),
        CheckDef::must("own", "words arrive", "harness", words).fresh_process(),
        CheckDef::must("two", "words arrive", "harness", words),
        // It leaves the connection that found the program ready, and that is on its way.
        CheckDef::must("idle", "nothing is done", "harness", |context| {
            context.stop();
            context.port_closed()?;
            context.start_again()
        })
        .fresh_process(),
        CheckDef::must("dead", "it is ended", "harness", |context| {
            let ends = context.stop();
            context.note(ends[0].describe());
            Ok(())
        }),
        CheckDef::must("three", "words arrive", "harness", words),
        CheckDef::must("four", "words arrive", "harness", words),
    ];
    let report = run_with(&one_job(), PLANS);
    let route = |name| *check(&report, name, Outcome::Passed).route().unwrap();
    assert_eq!(route("one"), route("two"));
    assert_ne!(route("one"), route("own"));
    assert_ne!(route("two"), route("idle"));
    assert_eq!(route("two"), route("dead"));
    assert_ne!(route("dead"), route("three"));
    assert_eq!(route("three"), route("four"));
}

#[test]
fn a_program_that_does_not_start_is_told_once_and_its_checks_are_not_reached() {
    const ALSO: CheckDef = CheckDef::must("also-good", "words arrive", "harness", words);
    let defs = &[GOOD, ALSO];
    let tunnel = Forward::spawn(|_| Command::new("false"));
    let options = Options {
        only: vec![Glob::new("toy/44/*good")],
        ..options()
    };
    let report = run(&shared(tunnel), &options, &[suite(defs)]).unwrap();
    assert_eq!(
        ids(&report)
            .iter()
            .filter(|id| **id == "toy/44/start")
            .count(),
        1,
        "{report}"
    );
    let start = check(&report, "start", Outcome::Failed);
    assert!(
        start
            .message()
            .starts_with("the program ended before it listened"),
        "{start}"
    );
    assert!(start.elapsed() < PATIENT / 2, "noticed at once: {start}");
    for name in ["good", "also-good"] {
        let skipped = check(&report, name, Outcome::Skipped);
        assert_eq!(skipped.message(), "not reached, as toy/44/start failed");
    }

    let missing = Forward::spawn(|_| Command::new("no-such-forwarder"));
    let error = run(&shared(missing), &options, &[suite(defs)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Program);
}

#[test]
fn a_context_gives_what_suites_need() {
    const PLAN: CheckDef = CheckDef::must("all", "every word does", "harness", |context| {
        let mut client = context.raw()?;
        let (mut service, peer) = context.accept(&mut client)?;
        assert_eq!(peer.ip(), service.stream().peer_addr().unwrap().ip());
        service.send(b"abc")?;
        assert_eq!(client.take("two of three", 2)?, b"ab");
        drop(service);
        let Err(CheckError::Failed(message, failure)) = client.expect_end() else {
            panic!("a byte is left")
        };
        assert_eq!(message, "the client has 1 byte in place of the end");
        assert_eq!(failure.received(), Some(&b"c"[..]));
        assert!(context.pid() > 1 && context.ready_after() > Duration::ZERO);
        drop(client);
        context.record("half-close", "carried");
        context.latencies(vec![Duration::from_millis(1)]);
        context.throughput(1_000_000, Instant::now());
        context.still_works()
    });
    let report = run_with(&options(), &[PLAN]);
    let measures = check(&report, "all", Outcome::Passed).measures();
    assert_eq!(measures.connections(), 2);
    assert_eq!(measures.latency().unwrap().count, 1);
    assert!(measures.throughput().unwrap() > 0);
    let record = ("half-close".to_owned(), "carried".to_owned());
    assert_eq!(measures.records(), [record]);
}

#[test]
fn a_suite_may_run_on_one_combination_and_may_not_apply() {
    let once: &'static SuiteDef = Box::leak(Box::new(SuiteDef {
        name: "once",
        routes: Routes::First,
        applies: |_| Ok(()),
        checks: Checks::Independent(&[GOOD]),
    }));
    let other: &'static SuiteDef = Box::leak(Box::new(SuiteDef {
        name: "other",
        routes: Routes::First,
        applies: |tunnel| Err(format!("{} is no proxy", tunnel.slug())),
        checks: Checks::Independent(&[GOOD]),
    }));
    let options = Options {
        families: Family::COMBINATIONS.to_vec(),
        ..options()
    };
    let report = run(&tunnel(), &options, &[once, other]).unwrap();
    assert_eq!(ids(&report), ["once/good", "other"]);
    assert_eq!(report.checks()[0].outcome(), Outcome::Passed);
    let other = &report.checks()[1];
    assert_eq!(other.outcome(), Outcome::Skipped);
    assert_eq!(other.message(), "forward is no proxy");
}

/// One after the other on one process; what requires a check that failed is not reached.
#[test]
fn a_sequence_ends_where_a_check_fails_but_for_what_is_always_made() {
    fn connects(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
        let deadline = context.deadline("the program to listen");
        context.program.get_ready(&deadline)?;
        context.kept.both = Some(context.connect()?);
        Ok(())
    }
    fn still_open(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
        match context.kept.both {
            Some(_) => Err(CheckError::failed("it is open")),
            None => Ok(()),
        }
    }
    const DEFS: &[CheckDef] = &[
        CheckDef::must("connects", "a client connects", "harness", connects),
        CheckDef::must("apart", "it never holds", "harness", bad).not_required(),
        CheckDef::must("elsewhere", "nothing", "harness", bad).only_for(|_| false),
        CheckDef::must("open", "the client is gone", "harness", still_open),
        CheckDef::must("behind", "words arrive", "harness", words),
        // Whoever still talks through the program would hold up its end.
        CheckDef::must("closed", "the client is gone", "harness", still_open).always(),
    ];
    let suite = Box::leak(Box::new(SuiteDef {
        name: "toy",
        routes: Routes::Each,
        applies: |_| Ok(()),
        checks: Checks::Sequence(DEFS),
    }));
    let report = run(&tunnel(), &options(), &[suite]).unwrap();
    let due = ["connects", "apart", "open", "behind", "closed"];
    assert_eq!(ids(&report), due.map(|name| format!("toy/44/{name}")));
    check(&report, "connects", Outcome::Passed);
    check(&report, "apart", Outcome::Failed);
    assert_eq!(
        check(&report, "open", Outcome::Failed).message(),
        "it is open"
    );
    let behind = check(&report, "behind", Outcome::Skipped);
    assert_eq!(behind.message(), "not reached, as open failed");
    check(&report, "closed", Outcome::Passed);
}
