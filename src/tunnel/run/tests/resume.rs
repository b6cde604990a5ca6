//! Runs that go on where they were.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::AtomicU32;

use super::*;
use crate::tunnel::core::glob::Glob;

/// A file that goes with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> File {
        let name = format!("loopback-run-{name}-{}.jsonl", process::id());
        let file = File(env::temp_dir().join(name));
        let _ = fs::remove_file(&file.0);
        file
    }

    fn options(&self) -> Options {
        Options {
            resume: Some(self.0.clone()),
            ..options()
        }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.0).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn checks_that_are_written_down_are_not_made_again() {
    static MADE: AtomicU32 = AtomicU32::new(0);
    const COUNTED: CheckDef = CheckDef::must("counted", "words arrive", "harness", |context| {
        MADE.fetch_add(1, Ordering::SeqCst);
        words(context)
    });
    let file = File::new("again");
    let defs: &[CheckDef] = &[COUNTED, BAD, GOOD];
    let first = run_with(&file.options(), defs);
    assert_eq!(MADE.load(Ordering::SeqCst), 1);
    let text = file.text();
    assert_eq!(text.lines().count(), 4, "{text}");
    let second = run_with(&file.options(), defs);
    assert_eq!(MADE.load(Ordering::SeqCst), 1);
    assert_eq!(second.checks(), first.checks());
    assert_eq!(file.text(), text);

    // Interrupted while it wrote: what is whole counts, and what is not is made again.
    let counted = text.find("\"task\":\"toy/44/counted\"").unwrap();
    fs::write(&file.0, &text[..counted + 100]).unwrap();
    let third = run_with(&file.options(), defs);
    assert_eq!(MADE.load(Ordering::SeqCst), 2);
    assert_eq!(ids(&third), ids(&first));
    assert_eq!(file.text().lines().count(), 4);
    let another = Options {
        repeat: 2,
        ..file.options()
    };
    let fourth = run_with(&another, defs);
    assert_eq!((MADE.load(Ordering::SeqCst), fourth.checks().len()), (3, 6));
}

#[test]
fn each_round_is_looked_up_for_itself() {
    let file = File::new("rounds");
    let twice = Options {
        repeat: 2,
        ..file.options()
    };
    let first = run_with(&twice, &[GOOD]);
    let text = file.text();
    let without_first = text.lines().filter(|line| !line.contains("\"round\":1"));
    let lines: String = without_first.map(|line| format!("{line}\n")).collect();
    fs::write(&file.0, lines).unwrap();
    let second = run_with(&twice, &[GOOD]);
    assert_eq!(second.checks()[1], first.checks()[1]);
    assert_ne!(second.checks()[0], first.checks()[0], "made again");
    assert_eq!(second.checks()[0].round(), 1);
}

#[test]
fn what_was_not_really_made_is_not_written_down() {
    let file = File::new("unmade");
    let stopped = Options {
        fail_fast: true,
        jobs: 1,
        ..file.options()
    };
    let report = run_with(&stopped, &[BAD, GOOD]);
    check(&report, "good", Outcome::NotRun);
    let report = run_with(&file.options(), &[BAD, GOOD]);
    check(&report, "good", Outcome::Passed);
    check(&report, "bad", Outcome::Failed);

    let file = File::new("unstarted");
    let dead = Forward::spawn(|_| Command::new("false"));
    let suites = [suite(&[GOOD])];
    let report = run(&shared(dead), &file.options(), &suites).unwrap();
    check(&report, "start", Outcome::Failed);
    run_with(&file.options(), &[GOOD]).assert_passed();
}

#[test]
fn a_file_of_another_run_is_refused() {
    let file = File::new("other");
    run_with(&file.options(), &[GOOD]).assert_passed();
    let refused = |options: &Options| {
        let error = run(&tunnel(), options, &[suite(&[GOOD])]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Resume);
        let text = error.to_string();
        let begin = format!("cannot go on with the run in {}: ", file.0.display());
        text.strip_prefix(&begin).unwrap().to_owned()
    };
    let header = file.text().lines().next().unwrap().to_owned();
    let due = r#"{"schema":"loopback-tunnel-run","version":1,"tunnel":"forward","seed":1,"sizes":"quick","segment_size":null,"strict":false,"only":[],"skip":[],"expect":[]}"#;
    assert_eq!(header, due);
    let other = Options {
        seed: 2,
        ..file.options()
    };
    let of_another = "it is of another run: ";
    assert_eq!(
        refused(&other),
        format!("{of_another}seed is 1 there, and 2 here")
    );
    // What it judged by other words would not be judged again.
    let other = Options {
        expect: vec![(Glob::new("*/good"), "it is known".to_owned())],
        ..file.options()
    };
    assert_eq!(
        refused(&other),
        format!("{of_another}expect is [] there, and [\"*/good\"] here")
    );
    for (text, due) in [
        ("hello", "its first line does not tell of a run"),
        ("{}", "it does not tell its schema"),
    ] {
        fs::write(&file.0, format!("{text}\n")).unwrap();
        assert_eq!(refused(&file.options()), format!("{of_another}{due}"));
    }
    fs::write(&file.0, format!("{header}\n{{\"task\":1}}\n")).unwrap();
    assert_eq!(
        refused(&file.options()),
        "line 2: it is not the checks of a task"
    );
    fs::write(&file.0, format!("{header}\n[1,\n")).unwrap();
    assert_eq!(
        refused(&file.options()),
        "line 2: expected a value at byte 3"
    );
    let nowhere = Options {
        resume: Some(file.0.join("not-a-folder")),
        ..options()
    };
    let error = run(&tunnel(), &nowhere, &[suite(&[GOOD])]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Resume);
}

#[test]
fn a_file_that_is_no_runs_stays_as_it_is() {
    let file = File::new("foreign");
    let refused = |options: &Options| {
        let error = run(&tunnel(), options, &[suite(&[GOOD])]).unwrap_err();
        error.to_string()
    };
    let other = "it is of another run: its first line does not tell of a run";
    // The last line of some has no end, as one that was being written.
    for (bytes, due) in [
        (&b"somebody's only note"[..], other),
        (b"one\ntwo", other),
        (b"\xff\xfe", other),
        (b"\xff\n", "it is not UTF-8"),
    ] {
        fs::write(&file.0, bytes).unwrap();
        let text = refused(&file.options());
        assert!(text.ends_with(due), "{text}");
        assert_eq!(fs::read(&file.0).unwrap(), bytes);
    }
    if cfg!(unix) {
        let device = Options {
            resume: Some("/dev/null".into()),
            ..options()
        };
        let due = "cannot go on with the run in /dev/null: it is not a regular file";
        assert_eq!(refused(&device), due);
    }
}

#[test]
fn a_run_goes_on_wherever_its_file_was_cut() {
    let file = File::new("cut");
    run_with(&file.options(), &[GOOD]).assert_passed();
    // What a program says may be in any script.
    let text = file.text().replace("\"statement\":\"", "\"statement\":\"ü");
    let (header, letter) = (text.find('\n').unwrap(), text.find('ü').unwrap());
    for cut in [
        1,
        header,
        header + 1,
        header + 2,
        letter + 1,
        text.len() - 1,
    ] {
        fs::write(&file.0, &text.as_bytes()[..cut]).unwrap();
        run_with(&file.options(), &[GOOD]).assert_passed();
        assert_eq!(file.text().lines().count(), 2, "{cut}");
    }
}
