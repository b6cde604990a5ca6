//! The crate and its harness are made of layers that import downwards only, so that they have no circle.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders and files, lowest first. Each may import what stands before it.
struct Layers {
    /// Where they are, and how an import of one begins.
    folder: &'static str,
    root: &'static str,
    names: &'static [&'static str],
    /// Who knows nothing of whom, though it stands before it.
    strangers: &'static [(&'static str, &'static str)],
}

const CRATE: Layers = Layers {
    folder: "src",
    root: "crate::",
    names: &[
        "deadline",
        "process",
        "fault",
        "net",
        "proto",
        "connection",
        "server",
        "tcp",
        "udp",
        "http",
        "smtp",
        "script",
        "custom",
        "tunnel",
    ],
    // Protocols are told apart by more than their names.
    strangers: &[
        ("udp", "tcp"),
        ("http", "tcp"),
        ("http", "udp"),
        ("smtp", "tcp"),
        ("smtp", "udp"),
        ("smtp", "http"),
        ("script", "tcp"),
        ("script", "http"),
        ("script", "smtp"),
        ("connection", "proto"),
        ("server", "proto"),
    ],
};

const HARNESS: Layers = Layers {
    folder: "src/tunnel",
    root: "crate::tunnel::",
    names: &[
        "json", "error", "route", "report", "core", "ends", "programs", "link", "kinds", "check",
        "suites", "run", "harness", "guide",
    ],
    strangers: &[
        // What talks through a program and what runs it meet in `link`.
        ("programs", "ends"),
        // Checks know a kind of tunnel by its trait only.
        ("check", "kinds"),
        ("suites", "kinds"),
    ],
};

#[test]
fn the_harness_imports_downwards_only() {
    HARNESS.hold(50);
}

#[test]
fn the_crate_imports_downwards_only() {
    CRATE.hold(200);
}

impl Layers {
    /// Fails with every import that is wrong; there are at least so many files.
    fn hold(&self, files: usize) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.folder);
        let mut wrong = Vec::new();
        let mut seen = 0;
        for path in sources(&root) {
            let within = path.strip_prefix(&root).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let is_root = ["mod.rs", "lib.rs", "fuzz.rs", "hosts.rs"].map(Path::new);
            if is_root.contains(&within) || is_test(within) {
                continue;
            }
            seen += 1;
            wrong.extend(self.wrong_imports(within, &text));
        }
        assert!(seen > files, "only {seen} files in {}", root.display());
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    }

    fn wrong_imports(&self, path: &Path, text: &str) -> Vec<String> {
        let Layers { folder, root, .. } = self;
        let file = format!("{folder}/{}", path.display());
        let first = path.components().next().unwrap().as_os_str();
        let layer = Path::new(first).file_stem().unwrap().to_str().unwrap();
        let Some(rank) = self.names.iter().position(|one| *one == layer) else {
            return vec![format!("{file} is in no layer of this test")];
        };
        let may = |other: &str| {
            let strangers = self.strangers.contains(&(layer, other));
            self.names[..=rank].contains(&other) && !strangers
        };
        let is_top = path.components().count() == 1
            || (path.ends_with("mod.rs") && path.iter().count() == 2);
        let mut wrong = Vec::new();
        for line in code(text) {
            for hidden in ["super::super", "crate::{", "crate::tunnel as", "super::"] {
                // From deeper within a layer it leads to the layer itself.
                let leads_up = hidden != "super::" || is_top;
                if leads_up && line.contains(hidden) {
                    wrong.push(format!(
                        "{file} says {hidden}, which hides from this test what it imports"
                    ));
                }
            }
            for after in line.split(root).skip(1) {
                let name: String = after
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if !self.names.contains(&&*name) {
                    let all = after.trim_end_matches(';');
                    wrong.push(format!(
                        "{file} imports {root}{all}, not from where it is defined"
                    ));
                } else if !may(&name) {
                    let below = self.names[..rank].iter().filter(|other| may(other));
                    let below: Vec<String> = below.map(|other| format!("`{other}`")).collect();
                    wrong.push(format!(
                        "{file} imports {root}{name}, and `{layer}` may import only {}",
                        below.join(", ")
                    ));
                }
            }
        }
        wrong
    }
}

#[test]
fn an_import_upwards_is_found_with_its_rule() {
    let found = |path: &str, text: &str| HARNESS.wrong_imports(Path::new(path), text).join("\n");
    assert_eq!(
        found(
            "ends/stream.rs",
            "use crate::tunnel::run::book::Book;\nuse crate::tunnel::core::family::Family;\n"
        ),
        "src/tunnel/ends/stream.rs imports crate::tunnel::run, and `ends` may import only `json`, `error`, `route`, `report`, `core`"
    );
    assert_eq!(
        found(
            "suites/echo.rs",
            "    let socks5 = crate::tunnel::kinds::socks5::Socks5::new();"
        ),
        "src/tunnel/suites/echo.rs imports crate::tunnel::kinds, and `suites` may import only `json`, `error`, `route`, `report`, `core`, `ends`, `programs`, `link`, `check`"
    );
    assert_eq!(
        found("run/mod.rs", "use crate::tunnel::{Tunnel, Stop};"),
        "src/tunnel/run/mod.rs imports crate::tunnel::{Tunnel, Stop}, not from where it is defined"
    );
    assert_eq!(
        found("ends/stream.rs", "use super::super::run::recorder;"),
        "src/tunnel/ends/stream.rs says super::super, which hides from this test what it imports"
    );
    assert_ne!(found("ends/mod.rs", "use super::run;"), "");
    assert_ne!(
        found("ends/stream.rs", "use crate::{deadline, tunnel::run};"),
        ""
    );
    let found_in_crate =
        |path: &str, text: &str| CRATE.wrong_imports(Path::new(path), text).join("\n");
    assert_eq!(
        found_in_crate("net/socket.rs", "use crate::connection::Connection;"),
        "src/net/socket.rs imports crate::connection, and `net` may import only `deadline`, `process`, `fault`"
    );
    // Docs may speak of what stands above, and tests may use it.
    let fine = "/// See [`crate::tunnel::run`].\n#[cfg(test)]\nmod tests {\n    use crate::tunnel::run;\n}\n";
    assert_eq!(found("core/glob.rs", fine), "");
}

/// The lines that are neither comments nor texts, up to the tests at the end.
fn code(text: &str) -> impl Iterator<Item = &str> {
    let before = text
        .lines()
        .take_while(|line| !line.starts_with("mod tests"));
    before.filter(|line| !line.trim_start().starts_with(['/', '"']))
}

fn is_test(within: &Path) -> bool {
    let names = within.iter().filter_map(|name| name.to_str());
    // `statements.rs` is compiled for tests only.
    names
        .into_iter()
        .any(|name| matches!(name, "tests" | "tests.rs" | "statements.rs"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.push(path),
        }
    }
    found.retain(|path| path.extension().is_some_and(|end| end == "rs"));
    found.sort();
    found
}
