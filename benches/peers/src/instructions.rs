//! Instructions that an operation takes, counted by valgrind's callgrind. They repeat, whatever else the
//! machine does; those of the kernel are not among them.

use crate::client::Client;
use crate::mail_client::MailClient;
use crate::subject::Subject;
use crate::{Options, loopback_servers, machine, std_servers};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::time::Duration;
use std::{env, fs};

/// The first argument of the process that is counted.
pub const CHILD: &str = "instructions-child";

/// One process ends by then, in seconds: valgrind makes everything fifty times slower.
const AT_MOST: &str = "300";

/// What is counted: so many of it at first, and then so many more. The difference leaves out what a process
/// does once.
struct Operation {
    name: &'static str,
    few: usize,
    more: usize,
    subjects: Vec<Subject>,
    work: fn(&Subject, usize) -> io::Result<()>,
}

fn operations(options: Options) -> Vec<Operation> {
    let http = || {
        vec![
            subject("std, by hand", std_servers::http),
            subject("loopback, fixed answer", loopback_servers::http_fixed),
            subject("loopback, with a handler", loopback_servers::http),
        ]
    };
    vec![
        Operation {
            name: "GET on a kept connection",
            few: 500,
            more: options.count(2_000, 200),
            subjects: http(),
            work: |subject, count| with(subject, |address| kept_gets(address, count)),
        },
        Operation {
            name: "start, GET, stop",
            few: 20,
            more: options.count(100, 20),
            subjects: http(),
            work: |subject, count| {
                (0..count).try_for_each(|_| with(subject, |address| kept_gets(address, 1)))
            },
        },
        Operation {
            name: "UDP echo of 64 bytes",
            few: 500,
            more: options.count(2_000, 200),
            subjects: vec![
                subject("std, by hand", std_servers::udp_echo),
                subject("loopback", loopback_servers::udp_echo),
            ],
            work: |subject, count| with(subject, |address| datagrams(address, count)),
        },
        Operation {
            name: "message of 1 KiB by SMTP, on a kept connection",
            few: 100,
            more: options.count(500, 50),
            subjects: vec![subject("loopback", loopback_servers::smtp_sink)],
            work: |subject, count| with(subject, |address| messages(address, count)),
        },
    ]
}

fn subject(name: &'static str, start: fn() -> io::Result<crate::subject::Running>) -> Subject {
    let note = "";
    Subject { name, note, start }
}

pub fn run(options: Options) -> io::Result<()> {
    println!("\n## instructions");
    machine::describe()?;
    println!("\nOf the process alone, without the kernel's, by valgrind --tool=callgrind\n");
    println!(
        "| operation | server | on the server's threads | on the client's, which starts and stops it |"
    );
    println!("|-|-|-:|-:|");
    for operation in operations(options) {
        for subject in &operation.subjects {
            let count = |count| counted(&operation, subject, count);
            let row = count(operation.few).and_then(|few| {
                let all = count(operation.few + operation.more)?;
                let each = |all: u64, few| all.saturating_sub(few) / operation.more as u64;
                Ok(format!("{} | {}", each(all.0, few.0), each(all.1, few.1)))
            });
            let row = row.unwrap_or_else(|error| format!("failed: {error} |"));
            println!("| {} | {} | {row} |", operation.name, subject.name);
        }
    }
    Ok(())
}

/// The process that is counted.
pub fn child(operation: &str, server: &str, count: &str) -> io::Result<()> {
    let options = Options {
        quick: false,
        here: false,
    };
    let unknown = || io::Error::other(format!("no such thing to count: {operation}, {server}"));
    let all = operations(options);
    let operation = all
        .iter()
        .find(|known| known.name == operation)
        .ok_or_else(unknown)?;
    let subject = operation.subjects.iter().find(|known| known.name == server);
    let count = count.parse().map_err(io::Error::other)?;
    (operation.work)(subject.ok_or_else(unknown)?, count)
}

/// The instructions of the server's threads, and those of the client's.
fn counted(operation: &Operation, subject: &Subject, count: usize) -> io::Result<(u64, u64)> {
    let folder = env::temp_dir().join(format!("loopback-instructions-{}", process::id()));
    fs::create_dir(&folder)?;
    let totals = counted_in(&folder, operation, subject, count);
    fs::remove_dir_all(&folder)?;
    let mut totals = totals?;
    totals.sort();
    // The first thread is the process's first.
    match totals.split_first() {
        Some(((_, client), servers)) => Ok((servers.iter().map(|(_, total)| total).sum(), *client)),
        None => Err(io::Error::other("valgrind has told nothing")),
    }
}

/// The total of each thread's file.
fn counted_in(
    folder: &Path,
    operation: &Operation,
    subject: &Subject,
    count: usize,
) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut command = Command::new("timeout");
    command.args([
        AT_MOST,
        "valgrind",
        "--tool=callgrind",
        "--separate-threads=yes",
        "-q",
    ]);
    command.arg(format!(
        "--callgrind-out-file={}",
        folder.join("thread").display()
    ));
    command.arg(env::current_exe()?);
    command.args([CHILD, operation.name, subject.name, &count.to_string()]);
    machine::run_to_success(&mut command)?;
    let mut totals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
        if let Some(total) = total {
            totals.push((path, total.trim().parse().map_err(io::Error::other)?));
        }
    }
    Ok(totals)
}

fn with(subject: &Subject, work: impl FnOnce(SocketAddr) -> io::Result<()>) -> io::Result<()> {
    subject
        .measure(|address| work(address).map(|()| 0.0))
        .map(drop)
}

fn kept_gets(address: SocketAddr, count: usize) -> io::Result<()> {
    let mut client = Client::connect(address)?;
    (0..count).try_for_each(|_| client.get())
}

fn datagrams(address: SocketAddr, count: usize) -> io::Result<()> {
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    client.connect(address)?;
    let mut answer = [0; 65];
    for _ in 0..count {
        client.send(&[7; 64])?;
        if client.recv(&mut answer)? != 64 {
            return Err(io::Error::other("another answer than was sent"));
        }
    }
    Ok(())
}

/// Without pipelining: three commands and the text a message, each waited for.
fn messages(address: SocketAddr, count: usize) -> io::Result<()> {
    let mut client = MailClient::connect(address, true)?;
    let text = format!("{}\r\n", "x".repeat(62)).repeat(16) + ".\r\n";
    (0..count).try_for_each(|_| client.send(&[&text]))?;
    client.quit()
}
