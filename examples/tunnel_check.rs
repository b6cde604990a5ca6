//! Checks a tunnel or proxy program, and prints a report. The exit status is 0 if it passed.
//!
//! Without arguments the program under test is this one, started again as a small SOCKS5 proxy and
//! as a small forwarder:
//!
//! ```text
//! cargo run --example tunnel_check
//! ```
//!
//! With arguments it is any program, of the kind `socks4`, `socks4a`, `socks5`, `connect`, `forward`,
//! `forward-udp` (datagrams), `proxy-v1` or `proxy-v2` (forwarders that put a header of the PROXY protocol before the
//! data). The
//! words in braces are replaced for each run; `loopback::tunnel::Template` has the list of them.
//!
//! ```text
//! cargo run --example tunnel_check -- socks5 microsocks -i {listen_ip} -p {listen_port}
//! cargo run --example tunnel_check -- socks5 --auth me:secret microsocks -u {user} -P {password} -i {listen_ip} -p {listen_port}
//! cargo run --example tunnel_check -- forward --binds-outgoing my-forwarder {listen} {service} {outgoing_ip}
//! cargo run --example tunnel_check -- connect --file p.conf my-p.conf tinyproxy -d -c {tmp}/p.conf
//! ```
//!
//! Before a release of one's own program, everything; and a report to compare the next version with:
//!
//! ```text
//! cargo run --release --example tunnel_check -- socks5 --suite all --full --json report.json my-proxy {listen}
//! ```
//!
//! `--running ADDRESS:PORT` in place of a program checks one that already runs:
//!
//! ```text
//! cargo run --example tunnel_check -- socks5 --running 127.0.0.1:1080
//! ```

use std::env;
use std::error::Error;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::{fs, thread};

use loopback::TunnelHarness;
use loopback::tunnel::{
    Attached, Forward, HttpConnect, ProxyProtocol, Report, Sizes, Socks4, Socks4a, Socks5, Suite,
    Template, Tunnel,
};

const USAGE: &str = "\
usage: tunnel_check
       tunnel_check KIND [OPTION..] program [argument..]
       tunnel_check KIND [OPTION..] --running ADDRESS:PORT

Checks a tunnel or proxy program, and prints a report. The exit status is 0 if it passed.

Without arguments it checks a small proxy and a small forwarder of its own.

  KIND               socks4, socks4a, socks5, connect, forward, forward-udp, proxy-v1 or
                     proxy-v2
  --auth USER:PASSWORD   what the proxy asks for
  --binds-outgoing   the program connects from {outgoing_ip}, and that is checked
  --file NAME PATH   a configuration file, written to {tmp}/NAME for each run
  --running          checks a program that already runs
  --suite NAME       runs this suite; may be given several times; \"all\" runs each; else connectivity
  --only PATTERN     makes only checks with such an id: \"closing/*\"; may be given several times
  --expect PATTERN REASON
                     such checks are known to fail or deviate; told when they no longer do
  --full             carries as much as a release deserves, and takes minutes
  --strict           whatever deviates fails
  --keep-going       makes all checks, also where many in a row have waited in vain
  --json FILE        writes the report as JSON too

Replaced in the program's arguments and in its files, for each run:
  {listen}  {listen_ip}  {listen_port}     where it is to listen
  {service} {service_ip} {service_port}    where connections are to end
  {client_ip}                              where the client connects from
  {outgoing_ip}                            where the program may connect from
  {listen_host} {service_host} {outgoing_host} {client_host}   these IPs, IPv6 in brackets
  {family} {service_family}                4 or 6: the family of {listen}, of {service}
  {user} {password}                        of --auth
  {tmp}                                    a folder of the run's own
";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    env_logger::init();
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let reports = match words[..] {
        [] => check_ourselves()?,
        ["-h" | "--help", ..] => {
            print!("{USAGE}");
            return Ok(ExitCode::SUCCESS);
        }
        // What `check_ourselves` starts.
        ["proxy", listen] => return Err(serve(listen, socks5).into()),
        ["forwarder", listen, service] => {
            let service: SocketAddr = service.parse()?;
            return Err(serve(listen, move |client| forward(client, service)).into());
        }
        [kind, ..] => vec![check_program(kind, &args[1..])?],
    };
    for report in &reports {
        println!("{report}");
    }
    Ok(match reports.iter().all(Report::is_success) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// The embedded default: this program as the child.
fn check_ourselves() -> Result<Vec<Report>, Box<dyn Error>> {
    let me = env::current_exe()?;
    let myself = me.clone();
    let proxy = Socks5::spawn(move |route| {
        let mut command = Command::new(&me);
        command.args(["proxy", &route.listen.to_string()]);
        command
    });
    let forwarder = Forward::spawn(move |route| {
        let mut command = Command::new(&myself);
        command.args([
            "forwarder",
            &route.listen.to_string(),
            &route.service.to_string(),
        ]);
        command
    });
    Ok(vec![
        TunnelHarness::new(proxy.named("embedded SOCKS5 proxy")).run()?,
        TunnelHarness::new(forwarder.named("embedded forwarder")).run()?,
    ])
}

/// Our own options, which come before the program's command line.
#[derive(Default)]
struct Options {
    auth: Option<(String, String)>,
    binds_outgoing: bool,
    files: Vec<(String, String)>,
    running: Option<SocketAddr>,
    suites: Vec<Suite>,
    only: Vec<String>,
    expected: Vec<(String, String)>,
    full: bool,
    strict: bool,
    keep_going: bool,
    json: Option<String>,
}

/// Any program.
fn check_program(kind: &str, words: &[String]) -> Result<Report, Box<dyn Error>> {
    let (options, words) = read_options(words)?;
    let mut template = Template::from_words(words);
    for (name, text) in &options.files {
        template = template.file(name, text);
    }
    let name = words.first().map_or(kind, String::as_str);
    let binds = options.binds_outgoing;
    let auth = options.auth.clone();
    Ok(match kind {
        "socks5" => {
            let mut tunnel = Socks5::template(template).named(name).binds_outgoing(binds);
            if let Some((user, password)) = auth {
                tunnel = tunnel.auth(user, password);
            }
            run(tunnel, &options)?
        }
        "connect" => {
            let mut tunnel = HttpConnect::template(template).named(name);
            if let Some((user, password)) = auth {
                tunnel = tunnel.auth(user, password);
            }
            run(tunnel.binds_outgoing(binds), &options)?
        }
        "socks4" => {
            let tunnel = Socks4::template(template).named(name);
            run(tunnel.binds_outgoing(binds), &options)?
        }
        "socks4a" => {
            let tunnel = Socks4a::template(template).named(name);
            run(tunnel.binds_outgoing(binds), &options)?
        }
        "forward" => {
            let tunnel = Forward::template(template).named(name);
            run(tunnel.binds_outgoing(binds), &options)?
        }
        "forward-udp" => {
            let tunnel = Forward::template(template).named(name).udp();
            run(tunnel.binds_outgoing(binds), &options)?
        }
        "proxy-v1" | "proxy-v2" => {
            let tunnel = ProxyProtocol::template(template).named(name);
            let tunnel = match kind {
                "proxy-v1" => tunnel.v1(),
                _ => tunnel.v2(),
            };
            run(tunnel.binds_outgoing(binds), &options)?
        }
        option if OPTIONS.contains(&option) => {
            return Err(format!(
                "{option} comes behind the kind of tunnel; --help tells the usage"
            )
            .into());
        }
        other => {
            let hint = nearest(other, &KINDS);
            return Err(
                format!("{other} is no kind of tunnel{hint}; --help tells the usage").into(),
            );
        }
    })
}

const KINDS: [&str; 8] = [
    "socks4",
    "socks4a",
    "socks5",
    "connect",
    "forward",
    "forward-udp",
    "proxy-v1",
    "proxy-v2",
];

const OPTIONS: [&str; 11] = [
    "--auth",
    "--binds-outgoing",
    "--file",
    "--running",
    "--suite",
    "--only",
    "--expect",
    "--full",
    "--strict",
    "--keep-going",
    "--json",
];

/// What may have been meant, for the end of a message.
fn nearest(word: &str, known: &[&str]) -> String {
    let near = known.iter().min_by_key(|known| distance(word, known));
    match near {
        Some(near) if distance(word, near) <= 1 + word.len() / 4 => format!("; is {near} meant?"),
        _ => String::new(),
    }
}

/// How many letters are to be put in, taken out or changed to make the one word of the other; two that have changed
/// places are two.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut before = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = before + usize::from(a != *b);
            before = row[j + 1];
            row[j + 1] = changed.min(before + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

fn read_options(mut words: &[String]) -> Result<(Options, &[String]), Box<dyn Error>> {
    let mut options = Options::default();
    loop {
        match words {
            [option, value, rest @ ..] if option == "--auth" => {
                let pair = value.split_once(':').ok_or("--auth takes user:password")?;
                options.auth = Some((pair.0.to_owned(), pair.1.to_owned()));
                words = rest;
            }
            [option, name, path, rest @ ..] if option == "--file" => {
                let text = fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
                options.files.push((name.clone(), text));
                words = rest;
            }
            [option, address, rest @ ..] if option == "--running" => {
                options.running = Some(address.parse()?);
                words = rest;
            }
            [option, name, rest @ ..] if option == "--suite" => {
                options.suites.extend(suites(name)?);
                words = rest;
            }
            [option, pattern, rest @ ..] if option == "--only" => {
                options.only.push(pattern.clone());
                words = rest;
            }
            [option, pattern, reason, rest @ ..] if option == "--expect" => {
                options.expected.push((pattern.clone(), reason.clone()));
                words = rest;
            }
            [option, path, rest @ ..] if option == "--json" => {
                options.json = Some(path.clone());
                words = rest;
            }
            [option, rest @ ..] if option == "--full" => {
                options.full = true;
                words = rest;
            }
            [option, rest @ ..] if option == "--strict" => {
                options.strict = true;
                words = rest;
            }
            [option, rest @ ..] if option == "--keep-going" => {
                options.keep_going = true;
                words = rest;
            }
            [option, rest @ ..] if option == "--binds-outgoing" => {
                options.binds_outgoing = true;
                words = rest;
            }
            [] if options.running.is_none() => {
                return Err("which program? --help tells the usage".into());
            }
            [option, ..] if OPTIONS.contains(&option.as_str()) => {
                return Err(
                    format!("{option} lacks what belongs to it; --help tells the usage").into(),
                );
            }
            [option, ..] if option.starts_with("--") => {
                let hint = nearest(option, &OPTIONS);
                return Err(format!("there is no option {option}{hint}").into());
            }
            [program, arguments @ ..] => {
                let own = |word: &&String| OPTIONS.contains(&word.as_str());
                if let Some(option) = arguments.iter().find(own) {
                    eprintln!(
                        "note: {option} stands behind {program}, which gets it; the options of this program stand before it"
                    );
                }
                return Ok((options, words));
            }
            [] => return Ok((options, words)),
        }
    }
}

/// The suite of this name, or all.
fn suites(name: &str) -> Result<Vec<Suite>, String> {
    let all = Suite::ALL.iter().copied();
    let found: Vec<Suite> = all
        .filter(|suite| name == "all" || name == suite.name())
        .collect();
    match found[..] {
        [] => {
            let names: Vec<&str> = Suite::ALL.iter().map(|suite| suite.name()).collect();
            Err(format!(
                "{name} is no suite; there are {}",
                names.join(", ")
            ))
        }
        _ => Ok(found),
    }
}

fn run(tunnel: impl Tunnel + 'static, options: &Options) -> Result<Report, Box<dyn Error>> {
    let mut harness = match options.running {
        Some(listen) => TunnelHarness::new(Attached::new(listen, tunnel)),
        None => TunnelHarness::new(tunnel),
    };
    harness = harness.suites(&options.suites).strict(options.strict);
    for (pattern, reason) in &options.expected {
        harness = harness.known_deviation(pattern, reason);
    }
    for pattern in &options.only {
        harness = harness.only(pattern);
    }
    if options.full {
        harness = harness.sizes(Sizes::Full);
    }
    harness = harness.give_up(!options.keep_going);
    // A person who waits sees how far it is.
    let is_watched = io::stderr().is_terminal();
    if is_watched {
        harness = harness.on_progress(|progress| {
            let (done, total, failed) = (progress.done, progress.total, progress.failed);
            let last = progress.last.id();
            eprint!("\r\x1b[K{done} of {total} checks, {failed} failed; the last: {last}");
        });
    }
    let report = harness.run();
    if is_watched {
        eprint!("\r\x1b[K");
    }
    let report = report?;
    if let Some(path) = &options.json {
        fs::write(path, report.to_json()).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(report)
}

/// Serves each client on a thread of its own, for ever.
fn serve(
    listen: &str,
    client: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static,
) -> io::Error {
    let listener = match TcpListener::bind(listen) {
        Ok(listener) => listener,
        Err(error) => return error,
    };
    println!("listening on {listen}");
    loop {
        let client = client.clone();
        match listener.accept() {
            Ok((stream, peer)) => {
                thread::spawn(move || {
                    if let Err(error) = client(stream) {
                        eprintln!("{peer}: {error}");
                    }
                });
            }
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
}

/// Connects the client to the service, and copies both ways.
fn forward(client: TcpStream, service: SocketAddr) -> io::Result<()> {
    relay(client, TcpStream::connect(service)?)
}

/// One SOCKS5 client: no authentication, CONNECT only (RFC 1928).
fn socks5(mut client: TcpStream) -> io::Result<()> {
    let [version, count] = read_array(&mut client)?;
    let mut methods = vec![0; usize::from(count)];
    client.read_exact(&mut methods)?;
    if version != 5 || !methods.contains(&0) {
        return client.write_all(&[5, 0xff]);
    }
    client.write_all(&[5, 0])?;

    let [version, command, _reserved, kind] = read_array(&mut client)?;
    let host = match kind {
        1 => Ipv4Addr::from(read_array::<4>(&mut client)?).to_string(),
        4 => Ipv6Addr::from(read_array::<16>(&mut client)?).to_string(),
        3 => {
            let [length] = read_array(&mut client)?;
            let mut name = vec![0; usize::from(length)];
            client.read_exact(&mut name)?;
            String::from_utf8_lossy(&name).into_owned()
        }
        _ => return refuse(&mut client, 8),
    };
    let port = u16::from_be_bytes(read_array(&mut client)?);
    if version != 5 || command != 1 {
        return refuse(&mut client, 7);
    }
    let service = match TcpStream::connect((host.as_str(), port)) {
        Ok(service) => service,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return refuse(&mut client, 5);
        }
        Err(_) => return refuse(&mut client, 4),
    };
    let mut reply = vec![5, 0, 0];
    match service.local_addr()? {
        SocketAddr::V4(from) => reply.extend([&[1][..], &from.ip().octets()].concat()),
        SocketAddr::V6(from) => reply.extend([&[4][..], &from.ip().octets()].concat()),
    }
    reply.extend(service.local_addr()?.port().to_be_bytes());
    client.write_all(&reply)?;
    relay(client, service)
}

fn refuse(client: &mut TcpStream, code: u8) -> io::Result<()> {
    client.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0])
}

/// Copies both ways until both have ended; the end of one way is passed on and leaves the other open.
fn relay(client: TcpStream, service: TcpStream) -> io::Result<()> {
    let (from_client, to_client) = (client.try_clone()?, client);
    let (from_service, to_service) = (service.try_clone()?, service);
    let up = thread::spawn(move || copy(from_client, to_service));
    let down = copy(from_service, to_client);
    up.join().expect("copying does not panic").and(down)
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    match copied {
        Ok(_) => to.shutdown(Shutdown::Write),
        Err(error) => {
            // Something broke: neither side should wait for the other.
            let _ = from.shutdown(Shutdown::Both);
            let _ = to.shutdown(Shutdown::Both);
            Err(error)
        }
    }
}

fn read_array<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    stream.read_exact(&mut array)?;
    Ok(array)
}
