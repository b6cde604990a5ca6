//! Checks a tunnel or proxy program, and prints a report. The exit status is 0 if it passed.
//!
//! Without arguments the program under test is this one, started again as a small SOCKS5 proxy and
//! as a small forwarder:
//!
//! ```text
//! cargo run --example tunnel_check
//! ```
//!
//! With arguments it is any program. The words in braces are replaced for each run: `{listen_ip}
//! {listen_port} {service_ip} {service_port} {client_ip} {outgoing_ip}`, and `{listen} {service}`
//! with IPv6 addresses in brackets.
//!
//! ```text
//! cargo run --example tunnel_check -- socks5 microsocks -i {listen_ip} -p {listen_port}
//! cargo run --example tunnel_check -- socks5 --auth me:secret microsocks -u me -P secret -i {listen_ip} -p {listen_port}
//! cargo run --example tunnel_check -- forward --binds-outgoing my-forwarder {listen} {service} {outgoing_ip}
//! ```

use std::env;
use std::error::Error;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::thread;

use loopback::TunnelHarness;
use loopback::tunnel::{Forward, Report, Route, Socks5};

const USAGE: &str = "\
usage: tunnel_check
       tunnel_check socks5 [--auth user:password] [--binds-outgoing] program [argument..]
       tunnel_check forward [--binds-outgoing] program [argument..]

Checks a tunnel or proxy program, and prints a report. The exit status is 0 if it passed.

Without arguments it checks a small proxy and a small forwarder of its own.

  socks5             the program is a SOCKS5 proxy
  forward            the program forwards each connection to the service
  --auth             the user and the password that the proxy asks for
  --binds-outgoing   the program connects from {outgoing_ip}, and that is checked

Replaced in the program's arguments, for each run:
  {listen}  {listen_ip}  {listen_port}     where it is to listen
  {service} {service_ip} {service_port}    where connections are to end
  {client_ip}                              where the client connects from
  {outgoing_ip}                            where the program may connect from
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

/// Any program: its options for us come first, then its command line.
fn check_program(kind: &str, mut words: &[String]) -> Result<Report, Box<dyn Error>> {
    let mut auth = None;
    let mut binds_outgoing = false;
    loop {
        match words {
            [option, value, rest @ ..] if option == "--auth" => {
                let pair = value.split_once(':').ok_or("--auth takes user:password")?;
                auth = Some((pair.0.to_owned(), pair.1.to_owned()));
                words = rest;
            }
            [option, rest @ ..] if option == "--binds-outgoing" => {
                binds_outgoing = true;
                words = rest;
            }
            _ => break,
        }
    }
    let (program, args) = words
        .split_first()
        .ok_or("which program? --help tells the usage")?;
    let name = program.clone();
    let (program, args) = (program.clone(), args.to_vec());
    let command = move |route: &Route| {
        let mut command = Command::new(&program);
        command.args(args.iter().map(|arg| fill_in(arg, route)));
        command
    };
    let harness = match kind {
        "socks5" => {
            let mut tunnel = Socks5::spawn(command).named(name);
            if let Some((user, password)) = auth {
                tunnel = tunnel.auth(user, password);
            }
            TunnelHarness::new(tunnel.binds_outgoing(binds_outgoing))
        }
        "forward" => TunnelHarness::new(
            Forward::spawn(command)
                .named(name)
                .binds_outgoing(binds_outgoing),
        ),
        other => {
            return Err(
                format!("{other} is neither socks5 nor forward; --help tells the usage").into(),
            );
        }
    };
    Ok(harness.run()?)
}

fn fill_in(word: &str, route: &Route) -> String {
    let values = [
        ("{listen}", route.listen.to_string()),
        ("{listen_ip}", route.listen.ip().to_string()),
        ("{listen_port}", route.listen.port().to_string()),
        ("{service}", route.service.to_string()),
        ("{service_ip}", route.service.ip().to_string()),
        ("{service_port}", route.service.port().to_string()),
        ("{client_ip}", route.client.to_string()),
        ("{outgoing_ip}", route.outgoing.to_string()),
    ];
    values.iter().fold(word.to_owned(), |word, (name, value)| {
        word.replace(name, value)
    })
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
