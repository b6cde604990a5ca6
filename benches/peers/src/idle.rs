//! Thousands of idle kept-alive connections: what they cost in memory, and that each is served again.
//!
//! Each server runs in a process of its own, so that what an earlier one left behind is not counted,
//! and its clients in another, so that their sockets and buffers are not counted.

use crate::client::Client;
use crate::subject::Subject;
use crate::{Options, machine, peer_servers};
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The first arguments of the two children.
pub const SERVER_CHILD: &str = "idle-server";
pub const CLIENT_CHILD: &str = "idle-client";

/// All that either child does ends by then.
const AT_MOST: Duration = Duration::from_secs(60);

pub fn run(options: Options) -> io::Result<()> {
    let connections = options.count(5_000, 500);
    println!("\n## idle, cores {}", machine::status("Cpus_allowed_list")?);
    machine::describe()?;
    println!(
        "\n{connections} kept-alive HTTP connections, each asked, left idle, and asked again:"
    );
    println!("resident memory of the server's process (client sockets are in another process)\n");
    println!(
        "| server | before, KiB | held, KiB | answered again, KiB | KiB a connection | threads | \
         opened and asked, s | asked again, s |"
    );
    println!("|-|-:|-:|-:|-:|-:|-:|-:|");
    for subject in peer_servers::http_keeping_alive() {
        let mut child = Command::new("timeout");
        child.arg((2 * AT_MOST).as_secs().to_string());
        child.arg(env::current_exe()?);
        child.args([SERVER_CHILD, subject.name, &connections.to_string()]);
        if let Err(error) = machine::run_to_success(&mut child) {
            println!("| {} | failed: {error} |", subject.name);
        }
    }
    Ok(())
}

/// The server's process: prints its row of the table.
pub fn server(name: &str, count: &str) -> io::Result<()> {
    let subject = find(name)?;
    let connections: u64 = count.parse().map_err(io::Error::other)?;
    let server = (subject.start)()?;
    Client::connect(server.address)?.get()?;
    let before = machine::resident_kib()?;

    let mut clients = Clients::start(server.address, count)?;
    let opened = clients.wait_for("held")?;
    let held = machine::resident_kib()?;
    let threads = machine::status("Threads")?;
    let again = clients.ask_again()?;
    let after = machine::resident_kib()?;
    clients.end()?;
    server.stop()?;

    let each = held.saturating_sub(before) as f64 / connections as f64;
    println!(
        "| {name} | {before} | {held} | {after} | {each:.1} | {threads} | {opened} | {again} |"
    );
    Ok(())
}

/// The clients' process: talks in lines over stdin and stdout.
pub fn client(address: &str, count: &str) -> io::Result<()> {
    let address: SocketAddr = address.parse().map_err(io::Error::other)?;
    let count: usize = count.parse().map_err(io::Error::other)?;

    let begin = Instant::now();
    let mut clients = Vec::with_capacity(count);
    for number in 0..count {
        let mut client = Client::connect(address)?;
        client.get().map_err(|error| at(number, &error))?;
        clients.push(client);
        in_time(begin)?;
    }
    println!("held {:.2}", begin.elapsed().as_secs_f64());

    // Anything but this line is the end of the other side.
    let mut line = String::new();
    io::stdin().read_line(&mut line)?;
    if line != "again\n" {
        return Err(io::Error::other("not asked to go on"));
    }
    let begin = Instant::now();
    for (number, client) in clients.iter_mut().enumerate() {
        client.get().map_err(|error| at(number, &error))?;
        in_time(begin)?;
    }
    println!("answered {:.2}", begin.elapsed().as_secs_f64());
    Ok(())
}

fn find(name: &str) -> io::Result<Subject> {
    peer_servers::http_keeping_alive()
        .into_iter()
        .find(|subject| subject.name == name)
        .ok_or_else(|| io::Error::other(format!("no server is called {name}")))
}

fn in_time(begin: Instant) -> io::Result<()> {
    if begin.elapsed() < AT_MOST {
        Ok(())
    } else {
        Err(io::Error::other(format!("not done after {AT_MOST:?}")))
    }
}

fn at(number: usize, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("connection {number}: {error}"))
}

/// The clients' process, seen from the server's.
struct Clients {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Clients {
    fn start(address: SocketAddr, count: &str) -> io::Result<Clients> {
        let mut child = Command::new(env::current_exe()?)
            .args([CLIENT_CHILD, &address.to_string(), count])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("the clients' process has no pipes"));
        };
        Ok(Clients {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Reads the line `word seconds` and gives the seconds.
    fn wait_for(&mut self, word: &str) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        line.trim_end()
            .strip_prefix(word)
            .map(|seconds| seconds.trim().to_owned())
            .ok_or_else(|| io::Error::other(format!("the clients said {line:?}, not {word}")))
    }

    fn ask_again(&mut self) -> io::Result<String> {
        self.input.write_all(b"again\n")?;
        self.wait_for("answered")
    }

    fn end(mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("the clients' process: {status}")))
        }
    }
}
