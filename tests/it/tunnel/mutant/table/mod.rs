//! Which checks must fail for which mutation.

mod bytes;
mod connections;
mod failures;
mod flow;
mod handshake;
mod header;
mod login;
mod process;
mod resources;
mod udp;

use std::collections::BTreeSet;
use std::process::Command;

use super::super::example;
use super::judge::{Row, judge};

/// All that holds when nothing gets through.
const NOTHING: &[&[&str]] = &[PROCESS];
/// The same where datagrams do. With `associate` goes an ordinary connection.
const NO_TCP: &[&[&str]] = &[PROCESS, udp::ALL];
const PROCESS: &[&str] = &[
    "connectivity/44/start",
    "connectivity/44/stop",
    "connectivity/44/port-closed",
];

/// `life` tests it, as it leaves a daemon that nobody finds.
const APART: &str = "leaves-hidden-daemon";

fn rows() -> impl Iterator<Item = &'static Row> {
    let tables = [
        bytes::ROWS,
        connections::ROWS,
        failures::ROWS,
        flow::ROWS,
        handshake::ROWS,
        header::ROWS,
        login::ROWS,
        process::ROWS,
        resources::ROWS,
        udp::ROWS,
    ];
    tables.into_iter().flatten()
}

#[test]
fn every_mutation_is_judged_as_its_row_says() {
    judge(rows());
}

#[test]
fn every_mutation_is_in_the_table() {
    let output = Command::new(example("mutant_proxy")).arg("--list").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let names = text.lines().map(|line| line.split_once(": ").unwrap().0);
    let names: BTreeSet<&str> = names.collect();
    let known: BTreeSet<&str> = rows().map(Row::mutation).chain([APART]).collect();
    // Some can be seen on Linux only.
    #[cfg(target_os = "linux")]
    assert_eq!(names, known);
    #[cfg(not(target_os = "linux"))]
    assert!(names.is_superset(&known));
}
