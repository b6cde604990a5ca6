//! What a run is told, and does.

use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use super::*;
use crate::tunnel::core::glob::Glob;
use crate::tunnel::core::options::{OnProgress, Sizes};
use crate::tunnel::report::ExpectationState;

fn pattern(text: &str, reason: &str) -> (Glob, String) {
    (Glob::new(text), reason.to_owned())
}

#[test]
fn only_the_checks_asked_for_are_made_and_told() {
    let options = Options {
        only: vec![Glob::new("*/good"), Glob::new("toy/?4/other*")],
        ..options()
    };
    const OTHER: CheckDef = CheckDef::must("others", "words arrive", "harness", words);
    let report = run_with(&options, &[BAD, OTHER, GOOD]);
    assert_eq!(ids(&report), ["toy/44/others", "toy/44/good"]);
    report.assert_passed();

    let nothing = Options {
        only: vec![Glob::new("*/typo")],
        ..options
    };
    let report = run_with(&nothing, &[BAD, GOOD]);
    assert!(ids(&report).is_empty() && !report.is_success(), "{report}");
}

#[test]
fn what_is_skipped_is_told_with_the_reason() {
    let options = Options {
        skip: vec![pattern("toy/*/bad", "known since 1.0")],
        ..options()
    };
    let report = run_with(&options, &[BAD, GOOD]);
    let bad = check(&report, "bad", Outcome::Skipped);
    assert_eq!(bad.message(), "known since 1.0");
    assert!(bad.route().is_none(), "it was not even tried");
    report.assert_passed();
}

#[test]
fn an_expected_failure_deviates_and_one_that_is_gone_is_told() {
    for strict in [false, true] {
        let options = Options {
            expect: vec![
                pattern("*/bad", "it never holds"),
                pattern("*/good", "it did not use to"),
                pattern("*/typo", "nobody knows"),
            ],
            strict,
            ..options()
        };
        let report = run_with(&options, &[BAD, GOOD]);
        let bad = check(&report, "bad", Outcome::Deviates);
        assert!(
            bad.message().ends_with(" (expected: it never holds)"),
            "{bad}"
        );
        let good = check(&report, "good", Outcome::Passed);
        let note = "expected to deviate, and does not: it did not use to";
        assert_eq!(good.notes(), [note]);
        let states = report.expectations().iter().map(|one| one.state);
        assert_eq!(
            states.collect::<Vec<_>>(),
            [
                ExpectationState::Met,
                ExpectationState::Gone,
                ExpectationState::Unused
            ]
        );
        let line = "gone: */good was expected to deviate (it did not use to)";
        assert!(report.to_string().contains(line), "{report}");
        assert_eq!(report.is_success(), !strict, "{report}");
    }
}

#[test]
fn the_first_failure_ends_the_run_if_asked() {
    let options = Options {
        fail_fast: true,
        ..one_job()
    };
    const LATE: CheckDef = CheckDef::must("late", "words arrive", "harness", words);
    let report = run_with(&options, &[GOOD, BAD, LATE]);
    check(&report, "good", Outcome::Passed);
    check(&report, "bad", Outcome::Failed);
    let late = check(&report, "late", Outcome::NotRun);
    let reason = "not run, as toy/44/bad failed and the first failure ends the run";
    assert_eq!(late.message(), reason);
}

#[test]
fn every_check_is_made_in_each_round_with_data_of_its_own() {
    const NOTES: CheckDef = CheckDef::must("notes", "data is noted", "harness", |context| {
        let (data, sizes) = (context.random().next(), context.sizes());
        context.note(format!("{data} {sizes:?}"));
        words(context)
    });
    let noted = |options: &Options| {
        let report = run_with(options, &[NOTES]);
        report.assert_passed();
        let rounds: Vec<u32> = report.checks().iter().map(Check::round).collect();
        assert_eq!(rounds, (1..=options.repeat).collect::<Vec<_>>());
        let notes = report.checks().iter().map(|check| check.notes()[0].clone());
        notes.collect::<Vec<_>>()
    };
    let three = Options {
        repeat: 3,
        ..options()
    };
    let first = noted(&three);
    assert!(
        first[0].ends_with(" Quick") && first[0] != first[1],
        "{first:?}"
    );
    assert_eq!(noted(&three), first);
    assert_eq!(noted(&options()), first[..1]);
    let other = Options {
        seed: 2,
        sizes: Sizes::Full,
        ..options()
    };
    let other = noted(&other).remove(0);
    assert!(other.ends_with(" Full"), "{other}");
    assert_ne!(other.split(' ').next(), first[0].split(' ').next());
}

#[test]
fn checks_run_side_by_side_and_measurements_after_all_others() {
    static ARRIVED: AtomicU32 = AtomicU32::new(0);
    /// Waits for the other one, which only comes if both run at the same time.
    fn meet(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
        words(context)?;
        ARRIVED.fetch_add(1, Ordering::SeqCst);
        let deadline = context.deadline("the other check");
        while ARRIVED.load(Ordering::SeqCst) < 2 {
            if deadline.expired() {
                return Err(CheckError::failed("the other check did not come"));
            }
            thread::yield_now();
        }
        Ok(())
    }
    const PLANS: &[CheckDef] = &[
        CheckDef::must("measures", "it is alone", "harness", |_| {
            match ARRIVED.load(Ordering::SeqCst) {
                2 => Ok(()),
                others => Err(CheckError::failed(format!("{others} have come before"))),
            }
        })
        .exclusive(),
        CheckDef::must("one", "they meet", "harness", meet),
        CheckDef::must("two", "they meet", "harness", meet),
    ];
    let options = Options {
        jobs: 2,
        ..options()
    };
    let report = run_with(&options, PLANS);
    report.assert_passed();
    assert_eq!(
        ids(&report),
        ["toy/44/measures", "toy/44/one", "toy/44/two"]
    );
    let route = |name| *check(&report, name, Outcome::Passed).route().unwrap();
    assert_ne!(route("one"), route("two"), "each with its own process");
}

#[test]
fn both_ends_send_in_segments_of_the_size_that_was_asked_for() {
    const PLAN: CheckDef = CheckDef::must("cut", "7 bytes are sent", "harness", |context| {
        let mut both = context.connect()?;
        for end in [&mut both.client, &mut both.service] {
            let written = end.stream().write(&[b'x'; 100]).unwrap();
            assert_eq!(written, 7);
        }
        both.client.send(&[b'x'; 93])?;
        both.service.expect("all of it", &[b'x'; 100])
    });
    let options = Options {
        segment_size: Some(7),
        ..options()
    };
    run_with(&options, &[PLAN]).assert_passed();
}

#[test]
fn a_check_ends_at_its_deadline_or_at_a_multiple_of_it() {
    const PLANS: &[CheckDef] = &[
        CheckDef::must("waits", "it never comes", "harness", |context| {
            let mut both = context.connect()?;
            both.service.take("what nobody sends", 1).map(drop)
        })
        .fresh_process(),
        CheckDef::must("patient", "it has more time", "harness", |context| {
            let limit = context.deadline("nothing").limit();
            context.note(format!("{limit:?}"));
            Ok(())
        })
        .fresh_process()
        .timeout_factor(3),
    ];
    let options = Options {
        check_deadline: Duration::from_secs(4),
        ..options()
    };
    let report = run_with(&options, PLANS);
    let waits = check(&report, "waits", Outcome::Failed);
    let message = "the service: timed out after 4s waiting for what nobody sends; nothing came";
    assert_eq!(waits.message(), message);
    let patient = check(&report, "patient", Outcome::Passed);
    assert_eq!(patient.notes(), ["12s"]);
}

#[test]
fn a_run_whose_time_is_over_fails() {
    let short = Duration::from_secs(4);
    const PLANS: &[CheckDef] = &[
        CheckDef::must("waits", "it takes all the time", "harness", |context| {
            let mut both = context.connect()?;
            both.service.take("what nobody sends", 1).map(drop)
        }),
        // Not being made is no deviation.
        CheckDef::should("good", "words arrive", "harness", words),
    ];
    let options = Options {
        deadline: short,
        ..one_job()
    };
    let report = run_with(&options, PLANS);
    let good = check(&report, "good", Outcome::NotRun);
    assert!(!report.is_success());
    let message = "not run: the time of the whole run is over, 4s (TunnelHarness::deadline)";
    assert_eq!(good.message(), message);
}

/// Says that it has waited for what never comes, which takes no time.
fn in_vain(_: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let waited = Deadline::new(Duration::from_secs(9), "what nobody sends");
    let text = waited.error("; nothing came").to_string();
    Err(CheckError::failed(format!("the service: {text}")))
}

#[test]
fn what_waits_in_vain_again_and_again_is_given_up() {
    const fn vain(name: &'static str) -> CheckDef {
        CheckDef::must(name, "it never comes", "harness", in_vain)
    }
    const PLANS: &[CheckDef] = &[
        vain("1"),
        vain("2"),
        vain("3"),
        vain("4"),
        // What passes in between is hope.
        GOOD,
        vain("5"),
        vain("6"),
        vain("7"),
        vain("8"),
        vain("9"),
        vain("10"),
    ];
    let report = run_with(&one_job(), PLANS);
    check(&report, "9", Outcome::Failed);
    assert_eq!(
        check(&report, "10", Outcome::NotRun).message(),
        "not run, as 5 checks of toy in a row have waited in vain for what nobody sends \
         (TunnelHarness::give_up)"
    );
    let text = report.to_string();
    assert!(
        text.contains("  not run: 10: not run, as 5 checks"),
        "{text}"
    );
    assert!(
        text.contains("1 passed, 9 failed, 0 skipped, 1 not run"),
        "{text}"
    );
    let options = Options {
        give_up: false,
        ..one_job()
    };
    check(&run_with(&options, PLANS), "10", Outcome::Failed);
}

#[test]
fn a_run_in_which_nothing_comes_is_given_up_as_a_whole() {
    const DEFS: &[CheckDef] = &[
        CheckDef::must("1", "it never comes", "harness", in_vain),
        CheckDef::must("2", "it never comes", "harness", in_vain),
        CheckDef::must("3", "it never comes", "harness", in_vain),
        CheckDef::must("4", "it never comes", "harness", in_vain),
    ];
    let suites = ["toy", "other", "third"].map(|name| named(name, DEFS));
    let told = Arc::new(Mutex::new(Vec::new()));
    let tells = Arc::clone(&told);
    let options = Options {
        on_progress: Some(OnProgress::new(move |progress| {
            let (done, total, failed) = (progress.done, progress.total, progress.failed);
            let told = (done, total, failed, progress.last.id().to_owned());
            tells.lock().unwrap().push(told);
        })),
        ..one_job()
    };
    let report = run(&tunnel(), &options, &suites).unwrap();
    assert_eq!((report.failed(), report.counts().not_run), (10, 2));
    assert_eq!(
        report.check("third/44/3").unwrap().message(),
        "not run, as the last 10 checks have all waited in vain (TunnelHarness::give_up)"
    );
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 12);
    assert_eq!(told[0], (1, 12, 1, "toy/44/1".to_owned()));
    assert_eq!(told[11], (12, 12, 10, "third/44/4".to_owned()));
}
