//! What a child finds around it: its locale, and its program where the test's author meant it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, absolute};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::child::Child;
use crate::deadline::Deadline;

/// What decides on the character set of a program, strongest first (POSIX, section 8.2).
const LOCALE: [&str; 3] = ["LC_ALL", "LC_CTYPE", "LANG"];
/// What to take if it is there: its messages are English, and it needs no files.
const FAVOURITES: [&str; 3] = ["C.UTF-8", "C.utf8", "en_US.UTF-8"];
/// How long `locale -a` may take.
const LOCALE_LIMIT: Duration = Duration::from_secs(5);

/// Gives `command` a UTF-8 locale, unless it has one, and makes a relative path of its program mean
/// what it means in the test's current folder, whatever folder the program is to run in.
pub(crate) fn prepare(command: Command) -> Command {
    let mut command = anchored(command);
    let chosen = command
        .get_envs()
        .any(|(key, _)| LOCALE.iter().any(|name| key == *name));
    if let (false, Some(locale)) = (chosen, locale()) {
        command.env("LC_ALL", locale);
    }
    command
}

/// The same command, as arguments `before` and its own of another program.
pub(crate) fn again(command: &Command, program: &OsStr, before: &[&OsStr]) -> Command {
    let mut outer = Command::new(program);
    outer.args(before).args(command.get_args());
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(key, value),
            None => outer.env_remove(key),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        outer.current_dir(dir);
    }
    outer
}

/// A path such as `target/debug/proxy` is looked up after the change of folder otherwise.
fn anchored(command: Command) -> Command {
    let program = Path::new(command.get_program());
    let is_path = program.components().count() > 1 || command.get_program() == OsStr::new("./");
    match absolute(program) {
        Ok(whole) if is_path && command.get_current_dir().is_some() => {
            again(&command, whole.as_os_str(), &[])
        }
        _ => command,
    }
}

/// A UTF-8 locale that exists here; looked up once.
fn locale() -> Option<&'static OsString> {
    static FOUND: OnceLock<Option<OsString>> = OnceLock::new();
    FOUND.get_or_init(|| best(&known()?)).as_ref()
}

/// What `locale -a` prints. A system without that program, as those of musl, has `C.UTF-8`.
fn known() -> Option<String> {
    let mut command = Command::new("locale");
    command.arg("-a");
    let Ok(mut child) = Child::spawn(command) else {
        return Some(FAVOURITES[0].to_owned());
    };
    let deadline = Deadline::new(LOCALE_LIMIT, "locale -a");
    let ended = child.wait(&deadline);
    child.stop(Duration::ZERO);
    ended.then(|| child.output())
}

/// The best of a list of locales, one a line.
fn best(list: &str) -> Option<OsString> {
    let is_there = |name: &&str| list.lines().any(|line| line == *name);
    let utf8 = |line: &&str| {
        let line = line.to_ascii_lowercase();
        line.ends_with(".utf-8") || line.ends_with(".utf8")
    };
    let favourite = FAVOURITES.into_iter().find(is_there);
    favourite
        .or_else(|| list.lines().find(utf8))
        .map(OsString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_locale_is_utf8_and_english_if_there_is_one() {
        let cases = [
            ("C\nC.UTF-8\nPOSIX\nen_US.utf8\n", Some("C.UTF-8")),
            ("C\nC.utf8\nPOSIX\n", Some("C.utf8")),
            ("C\nde_DE.UTF-8\nen_US.UTF-8\n", Some("en_US.UTF-8")),
            ("C\nde_DE\nde_DE.utf8\nfr_FR.utf8\n", Some("de_DE.utf8")),
            ("C\nPOSIX\nde_DE.ISO8859-1\n", None),
            ("", None),
        ];
        for (list, due) in cases {
            assert_eq!(best(list), due.map(OsString::from), "{list:?}");
        }
    }

    #[test]
    fn a_command_keeps_the_locale_that_it_sets() {
        for name in LOCALE {
            let mut command = Command::new("p");
            command.env(name, "C");
            let prepared = prepare(command);
            let set: Vec<_> = prepared.get_envs().collect();
            assert_eq!(set, [(OsStr::new(name), Some(OsStr::new("C")))]);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_locale_exists_here() {
        let mut command = Command::new("sh");
        command.args(["-c", "locale charmap 2>&1"]);
        let Some(locale) = locale() else {
            // Then this machine has none, and there is nothing to find.
            return;
        };
        let output = prepare(command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        // Without the program `locale` the shell says so.
        assert!(
            text == "UTF-8\n" || text.contains("not found"),
            "{locale:?}: {text}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_relative_program_is_found_from_the_tests_folder() {
        // A path that leads from this folder to the shell, and from no other.
        let here = std::env::current_dir().unwrap();
        let name = here.file_name().unwrap().to_str().unwrap();
        let up = "../".repeat(here.components().count() - 1);
        let mut command = Command::new(format!("../{name}/{up}bin/sh"));
        command.args(["-c", "pwd"]).current_dir("/tmp");
        let output = prepare(command).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).ends_with("tmp\n"));
        // One from PATH stays a name.
        let mut command = Command::new("sh");
        command.current_dir("/tmp");
        assert_eq!(prepare(command).get_program(), "sh");
    }
}
