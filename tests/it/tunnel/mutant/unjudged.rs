//! The mutations that no suite judges yet do something: with them a fixed conversation has another
//! transcript than without.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::time::Duration;

use super::super::PATIENT;
use super::by_hand::{
    CREDENTIALS, LOCALHOST, Mutant, V4_ZEROS, accept, end, expect, header, listener, mutant,
    socks5, two,
};

/// What a client reads until the end, and how that comes.
fn transcript(mut stream: TcpStream) -> String {
    let mut got = Vec::new();
    let ended = stream.read_to_end(&mut got);
    format!("{:?}, {:?}", got.escape_ascii().to_string(), ended.is_ok())
}

/// The same conversation with a right proxy, twice, is the same, and with a mutation it is another.
#[track_caller]
fn differs(
    mutation: &str,
    protocol: &str,
    options: &[&str],
    talk: impl Fn(&Mutant, bool) -> String,
) {
    let right = talk(&mutant(protocol, options), true);
    let again = talk(&mutant(protocol, options), true);
    assert_eq!(right, again, "{protocol} for {mutation}");
    let mutated = [options, &["--mutation", mutation]].concat();
    let wrong = talk(&mutant(protocol, &mutated), false);
    assert_ne!(right, wrong, "{mutation}");
}

#[test]
fn mutations_of_connect_show() {
    let cases = [
        ("content-length", 0, "Proxy-Authorization: Basic "),
        ("transfer-encoding", 0, "Proxy-Authorization: Basic "),
        ("no-empty-line", 0, "Proxy-Authorization: Basic "),
        ("takes-any-port", 65536, "Proxy-Authorization: Basic "),
        ("no-challenge", 0, "X-Nothing: "),
        ("scheme-by-case", 0, "Proxy-Authorization: bASIC "),
        ("takes-authorization", 0, "Authorization: Basic "),
        ("dies-on-long-head", 0, "X-Long: "),
    ];
    for (mutation, more, field) in cases {
        let login = ["--user", "user", "--password", "sec:ret"];
        differs(mutation, "connect", &login, |mutant, _| {
            let service = loopback::TestTcpServer::start("127.0.0.1:0", |_conn| ()).unwrap();
            let port = u32::from(service.port()) + more;
            let padding = " ".repeat(if field == "X-Long: " { 70_000 } else { 0 });
            let request = format!(
                "CONNECT 127.0.0.1:{port} HTTP/1.0\r\n{field}{CREDENTIALS}{padding}\r\n\r\n"
            );
            let mut client = mutant.connect();
            client.write_all(request.as_bytes()).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            transcript(client)
        });
    }
}

#[test]
fn mutations_of_the_proxy_header_show() {
    let service = listener();
    let address = service.local_addr().unwrap().to_string();
    for mutation in [
        "no-header",
        "header-twice",
        "header-swapped",
        "header-other-port",
        "header-other-family",
        "header-cut",
        "header-unknown",
    ] {
        for protocol in ["proxy-v1", "proxy-v2"] {
            differs(mutation, protocol, &["--service", &address], |mutant, _| {
                let client = mutant.connect();
                client.shutdown(Shutdown::Write).unwrap();
                let (mut service, _) = accept(&service);
                let mut got = Vec::new();
                service.read_to_end(&mut got).unwrap();
                // Ports differ from run to run.
                let (from, to) = (client.local_addr().unwrap().port(), mutant.address.port());
                (got == header(protocol, from, to)).to_string()
            });
        }
    }
}

#[test]
fn mutations_of_bind_show() {
    for mutation in [
        "bind-replies-once",
        "bind-tells-no-port",
        "bind-takes-anyone",
    ] {
        differs(mutation, "socks5", &[], |mutant, _| {
            let allowed: &[u8] = match mutation {
                "bind-takes-anyone" => &[1, 127, 9, 9, 9],
                _ => V4_ZEROS,
            };
            let mut client = mutant.connect();
            client.write_all(&socks5(2, allowed, 0)).unwrap();
            expect(&mut client, &[5, 0, 5, 0, 0, 1, 127, 0, 0, 1]);
            let mut port = [0; 2];
            client.read_exact(&mut port).unwrap();
            if port == [0; 2] {
                return "no port".to_owned();
            }
            client.shutdown(Shutdown::Write).unwrap();
            let service = TcpStream::connect((LOCALHOST, u16::from_be_bytes(port)));
            drop(service);
            // Without the port, which differs from run to run.
            let mut reply = Vec::new();
            let _ = client.read_to_end(&mut reply);
            reply.truncate(8);
            format!("{reply:?}")
        });
    }
}

#[test]
fn mutations_of_udp_show() {
    for mutation in [
        "no-udp",
        "udp-tells-no-port",
        "udp-no-header",
        "udp-own-address",
        "udp-reversed-port",
        "udp-takes-anyone",
        "udp-ignores-frag",
        "udp-small-buffer",
        "udp-dies-on-junk",
        "udp-once",
        "udp-drops-empty",
        "udp-junk",
    ] {
        differs(mutation, "socks5", &[], |mutant, right| {
            udp(mutant, patience(right)).unwrap_or_else(|error| error.to_string())
        });
    }
    differs("udp-after-close", "socks5", &[], |mutant, right| {
        let (mut tcp, _client) = associate(mutant).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        tcp.set_read_timeout(Some(patience(right))).unwrap();
        format!("{:?}", tcp.read(&mut [0]).is_ok())
    });
}

/// Only a wrong proxy is given up.
fn patience(right: bool) -> Duration {
    match right {
        true => PATIENT,
        false => Duration::from_millis(500),
    }
}

/// An association, and a socket connected to its relay.
fn associate(mutant: &Mutant) -> io::Result<(TcpStream, UdpSocket)> {
    let mut tcp = mutant.connect();
    tcp.write_all(&socks5(3, V4_ZEROS, 0))?;
    let mut reply = [0; 12];
    tcp.read_exact(&mut reply)?;
    let port = u16::from_be_bytes([reply[10], reply[11]]);
    if reply[3] != 0 || port == 0 {
        return Err(io::Error::other(format!("{reply:?}")));
    }
    let client = UdpSocket::bind((LOCALHOST, 0))?;
    client.connect((LOCALHOST, port))?;
    Ok((tcp, client))
}

/// Sends datagrams of all kinds to an echo service, the last one marked; gives what comes back, with a
/// name in place of the service's port.
fn udp(mutant: &Mutant, limit: Duration) -> io::Result<String> {
    let echo = loopback::TestUdpServer::echo("127.0.0.1:0").unwrap();
    let (_tcp, client) = associate(mutant)?;
    client.set_read_timeout(Some(limit))?;
    let other = UdpSocket::bind((LOCALHOST, 0))?;
    other.connect(client.peer_addr()?)?;
    let port = two(echo.port());
    let send = |socket: &UdpSocket, fragment: u8, payload: &[u8]| {
        let header = [0, 0, fragment, 1, 127, 0, 0, 1, port[0], port[1]];
        socket.send(&[&header, payload].concat())
    };
    send(&client, 0, b"first")?;
    send(&client, 0, b"")?;
    send(&client, 0, &[7; 2000])?;
    client.send(&[0])?;
    send(&client, 1, b"fragment")?;
    send(&other, 0, b"another's")?;
    send(&client, 0, b"last")?;
    let mut all = String::new();
    let mut buffer = [0; 4096];
    loop {
        let count = client.recv(&mut buffer)?;
        let came = &buffer[..count];
        let is_service = came.get(8..10) == Some(&port[..]);
        all += &format!("{is_service} {:?}\n", came.get(10..));
        if came.ends_with(b"last") || came.ends_with(b"lastJUNK") {
            return Ok(all);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn descriptors_are_given_back_unless_it_leaks_them() {
    let service = loopback::TestTcpServer::echo("127.0.0.1:0").unwrap();
    let address = service.local_addr().to_string();
    let connections = |mutant: &Mutant| {
        for _ in 0..100 {
            let mut client = mutant.connect();
            client.write_all(b"x").unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            expect(&mut client, b"x");
            end(&mut client);
        }
    };
    let mutant_right = mutant("forward", &["--service", &address]);
    let before = mutant_right.descriptors();
    connections(&mutant_right);
    crate::support::eventually("the descriptors are closed", || {
        mutant_right.descriptors() == before
    });
    let options = ["--service", &address, "--mutation", "leaks-descriptors"];
    let leaky = mutant("forward", &options);
    let before = leaky.descriptors();
    connections(&leaky);
    assert!(leaky.descriptors() >= before + 100);
}
