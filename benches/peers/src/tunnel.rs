//! The tunnel harness: its speed beside Python's test-tunnel, iperf3 and loops written by hand.

use crate::Options;
use crate::measure::{ratio, show};
use loopback::TunnelHarness;
use loopback::tunnel::{Family, Forward, Report, Route, Sizes, Socks5, Suite};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The Python package that is compared with, and the version.
const TEST_TUNNEL: &str = "test-tunnel==0.1.2";
/// What data quality carries in full size.
const BULK: u64 = 100_000_000;
/// The longest that any program here may take.
const LIMIT: &str = "120";
const MESSAGE: usize = 500;

pub fn run(options: Options) -> io::Result<()> {
    println!("\n## tunnel");
    crate::machine::describe()?;
    for (title, section) in [
        (
            "connectivity against microsocks",
            connectivity as fn(Options) -> io::Result<()>,
        ),
        ("data quality through socat", data_quality),
        ("ping-pong through microsocks", ping_pong),
        ("the quick run of everything against microsocks", everything),
    ] {
        println!("\n### {title}\n");
        // What is not installed is no reason to leave the rest out.
        if let Err(error) = section(options) {
            println!("skipped: {error}");
        }
    }
    Ok(())
}

fn connectivity(options: Options) -> io::Result<()> {
    need("microsocks")?;
    let rounds = options.count(11, 3);
    let mut ours = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        passed(&microsocks().suite(Suite::Connectivity))?;
        ours.push(begun.elapsed().as_secs_f64());
    }
    let ours = median(ours);
    println!("loopback: {} s, median of {rounds} rounds", show3(ours));
    let python = python()?;
    let mut theirs = Vec::new();
    for _ in 0..options.count(3, 1) {
        let begun = Instant::now();
        test_tunnel(&python)?;
        theirs.push(begun.elapsed().as_secs_f64());
    }
    let theirs = median(theirs);
    println!("{TEST_TUNNEL}: {} s", show3(theirs));
    println!("loopback is {} times as fast", ratio(theirs, ours));
    Ok(())
}

fn data_quality(options: Options) -> io::Result<()> {
    need("socat")?;
    let rounds = options.count(25, 2);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let report = passed(&through_socat().suite(Suite::DataQuality).only("*/up"))?;
        let rate = report
            .check("data-quality/up")
            .and_then(|check| check.measures().throughput());
        ours.push(rate.unwrap_or(0) as f64 / 1e6);
        if find("iperf3").is_some() {
            theirs.push(iperf3()? / 1e6);
        }
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "loopback: {} MB/s, {BULK} bytes, median of {rounds} rounds",
        show(ours)
    );
    need("iperf3")?;
    println!(
        "iperf3: {} MB/s; ratio {}",
        show(theirs),
        ratio(ours, theirs)
    );
    Ok(())
}

/// Through the same program by the harness and by hand: what the harness adds. On a direct connection
/// `cargo test --release --lib ping_pong -- --ignored --nocapture` measures it in the crate itself.
fn ping_pong(options: Options) -> io::Result<()> {
    need("microsocks")?;
    let rounds = options.count(15, 3);
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let harness = microsocks().suite(Suite::PingPong).sizes(Sizes::Full);
        let report = passed(&harness)?;
        let latency = report
            .check("ping-pong/500-bytes")
            .and_then(|c| c.measures().latency().copied());
        ours.extend(latency.map(|latency| latency.p50.as_secs_f64() * 1e6));
        by_hand.push(rally_by_hand()?.as_secs_f64() * 1e6);
    }
    let (ours, by_hand) = (median(ours), median(by_hand));
    println!("p50 of 1000 messages of {MESSAGE} bytes, median of {rounds} rounds");
    println!("loopback: {} µs", show(ours));
    println!(
        "by hand: {} µs; ratio {}",
        show(by_hand),
        ratio(ours, by_hand)
    );
    Ok(())
}

fn everything(_options: Options) -> io::Result<()> {
    need("microsocks")?;
    let begun = Instant::now();
    let report = microsocks()
        .suites(Suite::ALL)
        .run()
        .map_err(io::Error::other)?;
    let took = begun.elapsed();
    println!(
        "{took:.1?}: {} passed, {} failed, {} skipped",
        report.passed(),
        report.failed(),
        report.skipped()
    );
    for suite in report.suites() {
        println!("- {}: {:.2?} of checks", suite.name, suite.elapsed);
    }
    Ok(())
}

fn microsocks() -> TunnelHarness {
    TunnelHarness::new(Socks5::spawn(|route| {
        let mut command = Command::new("microsocks");
        command.args(["-i", &route.listen.ip().to_string()]);
        command.args(["-p", &route.listen.port().to_string()]);
        command
    }))
}

fn through_socat() -> TunnelHarness {
    let tunnel = Forward::spawn(|route: &Route| socat(route.listen, route.service));
    let harness = TunnelHarness::new(tunnel).sizes(Sizes::Full);
    harness.families([(Family::V4, Family::V4)])
}

/// A forwarder. The bench runs on IPv4, where it needs no brackets.
fn socat(listen: SocketAddr, service: SocketAddr) -> Command {
    let near = format!(
        "TCP4-LISTEN:{},bind={},reuseaddr,fork",
        listen.port(),
        listen.ip()
    );
    let mut command = Command::new("socat");
    command.args([near, format!("TCP4:{service}")]);
    command
}

fn passed(harness: &TunnelHarness) -> io::Result<Report> {
    let report = harness.run().map_err(io::Error::other)?;
    match report.is_success() {
        true => Ok(report),
        false => Err(io::Error::other(report.to_string())),
    }
}

/// What iperf3 carries through socat, in bytes a second.
fn iperf3() -> io::Result<f64> {
    let [listen, service] = [free()?, free()?];
    let mut server = Command::new("iperf3");
    server.args(["--server", "--one-off", "--bind", &service.ip().to_string()]);
    let server = server.args(["--port", &service.port().to_string()]);
    let _server = Ended::spawn(server)?;
    let _socat = Ended::spawn(&mut socat(listen, service))?;
    // A connection through socat would be taken for iperf3's own.
    wait_until_bound(&[listen, service])?;
    let bytes = BULK.to_string();
    let port = listen.port().to_string();
    let ip = listen.ip().to_string();
    let output = limited(&[
        "iperf3", "--client", &ip, "--port", &port, "--bytes", &bytes, "--json",
    ])?;
    let text = String::from_utf8_lossy(&output.stdout);
    let received = text
        .split_once("\"sum_received\"")
        .map_or("", |(_, rest)| rest);
    let rate = received
        .split_once("\"bits_per_second\":")
        .map_or("", |(_, rest)| rest);
    let rate: String = rate
        .trim_start()
        .chars()
        .take_while(|c| c.is_ascii_digit() || "+-.e".contains(*c))
        .collect();
    let bits: f64 = rate
        .parse()
        .map_err(|_| io::Error::other(format!("iperf3 said {text}")))?;
    Ok(bits / 8.0)
}

/// A loop that anybody would write, through microsocks.
fn rally_by_hand() -> io::Result<Duration> {
    let proxy = free()?;
    let mut command = Command::new("microsocks");
    command.args([
        "-i",
        &proxy.ip().to_string(),
        "-p",
        &proxy.port().to_string(),
    ]);
    let _proxy = Ended::spawn(&mut command)?;
    wait_until_bound(&[proxy])?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let echo = thread::spawn(move || -> io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let mut message = [0; MESSAGE];
        while stream.read_exact(&mut message).is_ok() {
            stream.write_all(&message)?;
        }
        Ok(())
    });
    let mut client = TcpStream::connect(proxy)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(10)))?;
    client.write_all(&[5, 1, 0])?;
    client.read_exact(&mut [0; 2])?;
    let [high, low] = port.to_be_bytes();
    client.write_all(&[5, 1, 0, 1, 127, 0, 0, 1, high, low])?;
    client.read_exact(&mut [0; 10])?;
    let (message, mut answer) = ([7; MESSAGE], [0; MESSAGE]);
    let mut waits = Vec::new();
    for _ in 0..1000 {
        let begun = Instant::now();
        client.write_all(&message)?;
        client.read_exact(&mut answer)?;
        waits.push(begun.elapsed());
    }
    drop(client);
    echo.join()
        .map_err(|_| io::Error::other("the echo panicked"))??;
    waits.sort_unstable();
    Ok(waits[waits.len() / 2 - 1])
}

/// A Python that has test-tunnel, in an environment of its own that is kept for the next run.
fn python() -> io::Result<PathBuf> {
    let folder = env::temp_dir().join("loopback-bench-test-tunnel");
    let python = folder.join("bin/python");
    if !python.exists() {
        let folder = folder.to_string_lossy();
        limited(&["python3", "-m", "venv", &folder])?;
    }
    let python_text = python.to_string_lossy().into_owned();
    limited(&[&python_text, "-m", "pip", "install", "--quiet", TEST_TUNNEL])?;
    Ok(python)
}

/// Its whole test of the program.
fn test_tunnel(python: &Path) -> io::Result<()> {
    let program = find("microsocks").map(|path| path.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    let python = python.to_string_lossy();
    let module = "test_tunnel.cmd_test.microsocks";
    limited(&[&python, "-m", module, "--prog", &program]).map(drop)
}

/// An address where nobody listens; nobody is likely to take it in the next moment.
fn free() -> io::Result<SocketAddr> {
    TcpListener::bind((IpAddr::from(Ipv4Addr::LOCALHOST), 0))?.local_addr()
}

/// Waits until somebody listens at these addresses, by looking at the system's table.
fn wait_until_bound(addresses: &[SocketAddr]) -> io::Result<()> {
    let end = Instant::now() + Duration::from_secs(10);
    for address in addresses {
        let hex = format!(":{:04X} 00000000:0000 0A", address.port());
        while !fs::read_to_string("/proc/net/tcp")?.contains(&hex) {
            if Instant::now() > end {
                return Err(io::Error::other(format!("nothing listens on {address}")));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
    Ok(())
}

/// Runs a program to its end, bounded in time.
fn limited(words: &[&str]) -> io::Result<Output> {
    let output = Command::new("timeout").arg(LIMIT).args(words).output()?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let errors = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!(
                "`{}`: {}: {errors}",
                words.join(" "),
                output.status
            )))
        }
    }
}

/// A program that is ended with this.
struct Ended(Child);

impl Ended {
    fn spawn(command: &mut Command) -> io::Result<Ended> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Ended)
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn need(program: &str) -> io::Result<()> {
    match find(program) {
        Some(_) => Ok(()),
        None => Err(io::Error::other(format!("{program} is not installed"))),
    }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied()
}

fn show3(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.3}"))
}
