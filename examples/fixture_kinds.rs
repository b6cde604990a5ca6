//! A proxy that is right, for the tests of the kinds of tunnel. Not an example to copy: that is
//! `tunnel_check`.
//!
//! ```text
//! fixture_kinds <protocol> --listen ADDR:PORT [--service ADDR:PORT] [--user U --password P]
//! ```
//!
//! The protocols: `forward`, `socks4a`, `connect`, `proxy-v1`, `proxy-v2`; and `late`, a forwarder that
//! takes its time before it listens.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::Duration;
use std::{env, process};

type Options = HashMap<String, String>;

fn main() {
    let mut args = env::args().skip(1);
    let protocol = args.next().unwrap_or_default();
    let mut options = Options::new();
    while let (Some(name), Some(value)) = (args.next(), args.next()) {
        options.insert(name, value);
    }
    if let Err(error) = serve(&protocol, &options) {
        eprintln!("fixture_kinds: {error}");
        process::exit(1);
    }
}

fn serve(protocol: &str, options: &Options) -> io::Result<()> {
    let listen = address(options, "--listen")?;
    // Before it can be connected to, and so before it can be ended.
    println!("{protocol} with LC_ALL={:?}", env::var_os("LC_ALL"));
    if protocol == "late" {
        thread::sleep(Duration::from_millis(100));
    }
    let listener = TcpListener::bind(listen)?;
    let listen = listener.local_addr()?;
    println!("listens on {listen}");
    for client in listener.incoming().flatten() {
        let (protocol, options) = (protocol.to_owned(), options.clone());
        thread::spawn(move || {
            if let Err(error) = one(&protocol, &options, client) {
                eprintln!("fixture_kinds: {error}");
            }
        });
    }
    Ok(())
}

fn one(protocol: &str, options: &Options, mut client: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    let fixed = || address(options, "--service").and_then(TcpStream::connect);
    let service = match protocol {
        "forward" | "late" => fixed()?,
        "socks4a" => match socks4(&mut client)? {
            Some(service) => service,
            None => return Ok(()),
        },
        "connect" => match connect(&mut client, options)? {
            Some(service) => service,
            None => return Ok(()),
        },
        "proxy-v1" | "proxy-v2" => {
            let mut service = fixed()?;
            let (from, to) = (client.peer_addr()?, client.local_addr()?);
            service.write_all(&match protocol {
                "proxy-v1" => line(from, to),
                _ => binary(from, to),
            })?;
            service
        }
        other => return Err(io::Error::other(format!("no protocol {other}"))),
    };
    relay(client, service)
}

fn address(options: &Options, name: &str) -> io::Result<SocketAddr> {
    let given = options.get(name).and_then(|text| text.parse().ok());
    given.ok_or_else(|| io::Error::other(format!("{name} wants an address and a port")))
}

/// CONNECT of SOCKS4 and 4a; `None` after a refusal.
fn socks4(client: &mut TcpStream) -> io::Result<Option<TcpStream>> {
    let [version, command, high, low, ip @ ..] = read_array::<8>(client)?;
    let port = u16::from_be_bytes([high, low]);
    let user = until_nul(client)?;
    let host = match ip {
        [0, 0, 0, last] if last != 0 => until_nul(client)?,
        ip => Ipv4Addr::from(ip).to_string(),
    };
    let service = TcpStream::connect((host.as_str(), port));
    let code = match (version, command, &*user, &service) {
        (4, 1, "" | "me", Ok(_)) => 90,
        _ => 91,
    };
    client.write_all(&[0, code, 0, 0, 0, 0, 0, 0])?;
    Ok(service.ok().filter(|_| code == 90))
}

fn until_nul(stream: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        match read_array(stream)? {
            [0] => return Ok(String::from_utf8_lossy(&text).into_owned()),
            [byte] => text.push(byte),
        }
    }
}

/// CONNECT of HTTP; `None` after a refusal.
fn connect(client: &mut TcpStream, options: &Options) -> io::Result<Option<TcpStream>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(read_array::<1>(client)?);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    // "me:secret" in Base64; the tests know no other login.
    let due = "\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n";
    if options.contains_key("--user") && !head.contains(due) {
        let refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"t\"\r\n\r\n";
        return client.write_all(refusal).map(|()| None);
    }
    let target = head.split(' ').nth(1).unwrap_or_default();
    let found = target.to_socket_addrs().ok();
    match found.and_then(|addresses| TcpStream::connect(&*addresses.collect::<Vec<_>>()).ok()) {
        Some(service) => {
            // An interim response first, which a client must step over.
            client
                .write_all(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nVia: t\r\n\r\n")?;
            Ok(Some(service))
        }
        None => {
            let refusal = b"HTTP/1.1 502 Bad Gateway\r\n\r\n";
            client.write_all(refusal).map(|()| None)
        }
    }
}

/// The PROXY protocol's header of version 1.
fn line(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let family = if from.is_ipv4() { 4 } else { 6 };
    let (from_port, to_port) = (from.port(), to.port());
    format!(
        "PROXY TCP{family} {} {} {from_port} {to_port}\r\n",
        from.ip(),
        to.ip()
    )
    .into_bytes()
}

/// The PROXY protocol's header of version 2, with a TLV of no meaning at its end.
fn binary(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let mut addresses = [octets(from.ip()), octets(to.ip())].concat();
    addresses.extend(from.port().to_be_bytes());
    addresses.extend(to.port().to_be_bytes());
    addresses.extend([0xee, 0, 1, 7]);
    let family = if from.is_ipv4() { 0x11 } else { 0x21 };
    let fixed = [0x21, family, 0, addresses.len() as u8];
    [b"\r\n\r\n\0\r\nQUIT\n", &fixed[..], &addresses].concat()
}

/// Copies both ways until both have ended.
fn relay(client: TcpStream, service: TcpStream) -> io::Result<()> {
    service.set_nodelay(true)?;
    let (from_client, to_service) = (client.try_clone()?, service.try_clone()?);
    let up = thread::spawn(move || copy(from_client, to_service));
    let down = copy(service, client);
    up.join().expect("copying does not panic").and(down)
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    io::copy(&mut from, &mut to)?;
    to.shutdown(Shutdown::Write)
}

fn read_array<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    stream.read_exact(&mut array)?;
    Ok(array)
}
