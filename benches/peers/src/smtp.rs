//! Messages a second from Postfix's smtp-source: our sink beside its own smtp-sink.

use crate::mail_client::MailClient;
use crate::measure::{Better, Samples, compare, interleave, ratio, show};
use crate::subject::{Running, Subject};
use crate::{Options, machine};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// One smtp-source ends by then, in seconds.
const AT_MOST: &str = "60";
/// How long smtp-sink may take to listen.
const LISTEN: Duration = Duration::from_secs(5);

pub fn run(options: Options) -> io::Result<()> {
    println!("\n## smtp, cores {}", machine::status("Cpus_allowed_list")?);
    machine::describe()?;
    let rounds = options.count(5, 1);
    let subjects = subjects();
    println!("\nMessages a second under smtp-source, median of {rounds} interleaved rounds\n");
    let names: Vec<&str> = subjects.iter().map(|subject| subject.name).collect();
    println!(
        "| message | connections | sessions | sources | {} | ratio to smtp-sink |",
        names.join(" | ")
    );
    println!("|-:|-|-:|-:|{}-:|", "-:|".repeat(names.len()));
    for load in loads(options) {
        let samples = interleave(rounds, &subjects, |subject| rate(subject, &load));
        let figures: Vec<Option<f64>> = samples.iter().map(Samples::median).collect();
        let shown: Vec<String> = samples
            .iter()
            .map(|samples| format!("{} {}", show(samples.median()), samples.failures()))
            .collect();
        println!(
            "| {} KiB | {} | {} | {} | {} | {} |",
            load.length / 1024,
            if load.kept { "kept" } else { "new" },
            load.sessions,
            load.sources,
            shown.join(" | "),
            ratio(figures.get(1).copied().flatten(), figures[0]),
        );
    }
    let count = options.count(100, 20);
    compare(
        &format!(
            "A message whose text and final dot are two writes, without TCP_NODELAY ({count} a round)"
        ),
        "ms",
        Better::Lower,
        rounds,
        &subjects,
        |subject| subject.measure(|address| in_two_writes(address, count)),
    );
    Ok(())
}

/// Milliseconds a message. The client's system holds the dot back until the text is acknowledged, which the
/// server's delays by 40 ms or more unless it is told not to.
fn in_two_writes(address: SocketAddr, count: usize) -> io::Result<f64> {
    let mut client = MailClient::connect(address, false)?;
    let begin = Instant::now();
    for _ in 0..count {
        client.send(&["Subject: two writes\r\n\r\ntext\r\n", ".\r\n"])?;
    }
    let elapsed = begin.elapsed();
    client.quit()?;
    Ok(elapsed.as_secs_f64() * 1e3 / count as f64)
}

fn subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "smtp-sink",
            note: "",
            start: smtp_sink,
        },
        Subject {
            name: "loopback",
            note: "",
            start: crate::loopback_servers::smtp_sink,
        },
    ]
}

/// What smtp-source is told to do.
struct Load {
    /// The length of a message's body in bytes.
    length: usize,
    /// Whether a session sends all its messages over one connection, or each over a new one.
    kept: bool,
    sessions: usize,
    messages: usize,
    /// How many smtp-source share the work: with new connections one alone is the limit.
    sources: usize,
}

fn loads(options: Options) -> Vec<Load> {
    let mut loads = Vec::new();
    for (length, kept, one, many) in [
        (1024, true, 2_000, 20_000),
        (1024, false, 2_000, 8_000),
        (100 * 1024, true, 1_000, 2_000),
        (100 * 1024, false, 1_000, 2_000),
    ] {
        for sessions in [1, 10, 50] {
            let messages = if sessions == 1 { one } else { many };
            loads.push(Load {
                length,
                kept,
                sessions,
                messages: options.count(messages, messages / 20),
                sources: if kept || sessions == 1 { 1 } else { 2 },
            });
        }
    }
    loads
}

/// Messages a second. The server is fresh, and its start and stop are not counted.
fn rate(subject: &Subject, load: &Load) -> io::Result<f64> {
    subject.measure(|address| {
        let begin = Instant::now();
        let sources = (0..load.sources)
            .map(|_| source(address, load))
            .collect::<io::Result<Vec<Child>>>()?;
        // All are waited for, also after one that failed.
        let outcomes: Vec<io::Result<()>> = sources.into_iter().map(finish).collect();
        let elapsed = begin.elapsed();
        outcomes.into_iter().collect::<io::Result<()>>()?;
        Ok(load.messages as f64 / elapsed.as_secs_f64())
    })
}

/// Starts an smtp-source with its share of the load.
fn source(address: SocketAddr, load: &Load) -> io::Result<Child> {
    let share = |count: usize| (count / load.sources).to_string();
    let mut command = Command::new("timeout");
    command.args([AT_MOST, "smtp-source", "-4", "-M", "x.test"]);
    if load.kept {
        command.arg("-d");
    }
    command.args(["-s", &share(load.sessions)]);
    command.args(["-m", &share(load.messages)]);
    command.args(["-l", &load.length.to_string()]);
    command.arg(address.to_string());
    command.stderr(Stdio::piped()).spawn()
}

fn finish(source: Child) -> io::Result<()> {
    let output = source.wait_with_output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or("no output").to_owned();
    Err(io::Error::other(format!(
        "smtp-source: {}: {last}",
        output.status
    )))
}

/// Postfix's sink, which drops what it gets, on a port of the kernel's choice.
fn smtp_sink() -> io::Result<Running> {
    let mut command = Command::new("smtp-sink");
    // It refuses to run as root.
    if fs::metadata("/proc/self")?.uid() == 0 {
        command.args(["-u", "nobody"]);
    }
    let mut child = command
        .args(["-4", "127.0.0.1:0", "4096"])
        .spawn()
        .map_err(|error| io::Error::other(format!("smtp-sink (package postfix): {error}")))?;
    let port = listening_port(&mut child);
    let mut stop = move || {
        child.kill()?;
        child.wait().map(drop)
    };
    match port {
        Ok(port) => Ok(Running::new((Ipv4Addr::LOCALHOST, port).into(), stop)),
        Err(error) => {
            stop()?;
            Err(error)
        }
    }
}

/// Waits for the port that the child listens on; it does not tell us, so the kernel is asked.
fn listening_port(child: &mut Child) -> io::Result<u16> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Err(io::Error::other(format!("smtp-sink ended: {status}")));
        }
        if let Some(port) = find_listener(child.id())? {
            return Ok(port);
        }
        if begin.elapsed() > LISTEN {
            return Err(io::Error::other("smtp-sink does not listen"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// The port of a listening IPv4 socket among the process's descriptors.
fn find_listener(process: u32) -> io::Result<Option<u16>> {
    let mut inodes = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // A descriptor may be gone by now.
        let Ok(target) = fs::read_link(entry?.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        let inode = target.strip_prefix("socket:[");
        inodes.extend(inode.map(|rest| rest.trim_end_matches(']').to_owned()));
    }
    const LISTENING: &str = "0A";
    let table = fs::read_to_string("/proc/net/tcp")?;
    Ok(table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..] else {
            return None;
        };
        if state != LISTENING || !inodes.iter().any(|ours| ours == inode) {
            return None;
        }
        let (_, port) = local.split_once(':')?;
        u16::from_str_radix(port, 16).ok()
    }))
}
