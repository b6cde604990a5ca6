//! Groups of connections, and what a check works with.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::tunnel::check::connection_group;
use crate::tunnel::core::options::Sizes;

/// Few wait here for what does not come.
fn soon() -> Options {
    Options {
        check_deadline: Duration::from_secs(3),
        ..options()
    }
}

#[test]
fn each_client_of_a_group_finds_its_own_end() {
    const PLANS: &[CheckDef] = &[CheckDef::must(
        "all",
        "no ends are mixed",
        "harness",
        |context| {
            let bounds = context.bounds(1);
            let met = AtomicUsize::new(0);
            connection_group::run(context, bounds, 8, |index, group| {
                for round in 0..5 {
                    let mut ends = group.open()?;
                    group.wait_for_all(8 * (round + 1))?;
                    let word = format!("client {index}, round {round}");
                    ends.client.write_all(word.as_bytes()).unwrap();
                    let mut came = vec![0; word.len()];
                    ends.service.read_exact(&mut came).unwrap();
                    assert_eq!(came, word.as_bytes());
                    met.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })?;
            assert_eq!(met.into_inner(), 40);
            Ok(())
        },
    )];
    let report = run_with(&options(), PLANS);
    let all = check(&report, "all", Outcome::Passed);
    assert_eq!(all.measures().connections(), 40);
}

#[test]
fn the_first_failure_of_a_group_ends_it_and_is_told() {
    const PLANS: &[CheckDef] = &[
        CheckDef::must(
            "one",
            "one fails, and all others wait",
            "harness",
            |context| {
                let bounds = context.bounds(1);
                connection_group::run(context, bounds, 4, |index, group| match index {
                    0 => Err(CheckError::failed("the first")),
                    _ => group.wait_for_all(4),
                })
            },
        ),
        CheckDef::must("few", "not all come", "harness", |context| {
            let bounds = context.bounds(1);
            connection_group::run(context, bounds, 2, |index, group| match index {
                0 => Ok(()),
                _ => group.wait_for_all(2),
            })
        }),
        GOOD,
    ];
    let report = run_with(&soon(), PLANS);
    assert_eq!(
        check(&report, "one", Outcome::Failed).message(),
        "the first"
    );
    let few = check(&report, "few", Outcome::Failed).message();
    let due = " waiting for all connections to be open at once; 1 of 2 are";
    assert!(
        few.starts_with("timed out after ") && few.ends_with(due),
        "{few}"
    );
    check(&report, "good", Outcome::Passed);
}

#[test]
fn a_row_of_conversations_says_which_one_it_was_and_how_long_each_took() {
    const PLANS: &[CheckDef] = &[CheckDef::must(
        "row",
        "five in a row",
        "harness",
        |context| {
            let bounds = context.bounds(1);
            let waits = connection_group::in_a_row(context, bounds, 5)?;
            assert_eq!(waits.len(), 5);
            Ok(())
        },
    )];
    let report = run_with(&options(), PLANS);
    let row = check(&report, "row", Outcome::Passed);
    assert_eq!(row.measures().connections(), 5);

    const ENDS: &[CheckDef] =
        &[
            CheckDef::must("ends", "its program is ended", "harness", |context| {
                let bounds = context.bounds(1);
                let pid = context.pid();
                context.may_end();
                let ended = AtomicUsize::new(0);
                connection_group::run(context, bounds, 1, |_, group| {
                    drop(group.open()?);
                    if ended.fetch_add(1, Ordering::SeqCst) == 0 {
                        Command::new("kill")
                            .args(["-KILL", &pid.to_string()])
                            .status()
                            .unwrap();
                    }
                    loop {
                        drop(group.open()?);
                    }
                })
            })
            .fresh_process(),
        ];
    let report = run_with(&options(), ENDS);
    let ends = check(&report, "ends", Outcome::Failed);
    let texts = [
        "the program has ended",
        "cannot connect to",
        "Connection reset",
    ];
    assert!(
        texts.iter().any(|text| ends.message().contains(text)),
        "{ends}"
    );
}

#[test]
fn what_a_check_works_with_knows_its_time_its_data_and_its_program() {
    const PLANS: &[CheckDef] = &[CheckDef::must("context", "it is so", "harness", |context| {
        assert_eq!(context.deadline("anything").limit(), PATIENT);
        assert_eq!(context.sizes(), Sizes::Quick);
        assert!(context.is_running());
        // By how long a connection took, short waits are longer.
        let short = Duration::from_millis(10);
        assert_eq!(context.scaled_timeout(short), short);
        drop(context.connect()?);
        assert!(context.scaled_timeout(short) > short);
        let usage = context.usage()?;
        assert!(usage.processes >= 1 && usage.descriptors > 0);

        context.refuse(true)?;
        let refused = context.works("a connection while the service refuses");
        let Err(CheckError::Failed(message, _)) = refused else {
            panic!("{refused:?}");
        };
        assert!(
            message.starts_with("a connection while the service refuses: "),
            "{message}"
        );
        context.refuse(false)?;
        context.works("a connection after that")?;

        let ends = context.stop();
        assert_eq!(ends.len(), 1);
        context.port_closed()?;
        context.start_again()?;
        context.still_works()
    })
    .fresh_process()];
    let report = run_with(&options(), PLANS);
    check(&report, "context", Outcome::Passed);
}
