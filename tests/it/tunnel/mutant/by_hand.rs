//! The mutant's protocols by hand: what it says without a mutation is right, byte by byte, so that it
//! can be trusted where no suite looks yet.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{
    IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket,
};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::{PATIENT, combinations, example};

pub(super) const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Base64 of `user:sec:ret`.
pub(super) const CREDENTIALS: &str = "dXNlcjpzZWM6cmV0";

/// A running mutant.
pub(super) struct Mutant {
    child: Child,
    pub(super) address: SocketAddr,
}

/// Starts one on a port of the system's choice.
pub(super) fn mutant(protocol: &str, options: &[&str]) -> Mutant {
    mutant_on(LOCALHOST, protocol, options)
}

fn mutant_on(ip: IpAddr, protocol: &str, options: &[&str]) -> Mutant {
    let mut command = Command::new(example("mutant_proxy"));
    let listen = SocketAddr::new(ip, 0).to_string();
    command.args([protocol, "--listen", &listen]).args(options);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let stdout = child.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").unwrap();
    let address = address.parse().unwrap();
    Mutant { child, address }
}

impl Mutant {
    pub(super) fn connect(&self) -> TcpStream {
        bounded(TcpStream::connect(self.address).unwrap())
    }

    /// Sends `bytes` and checks that exactly `reply` comes, then the end.
    #[track_caller]
    fn answers(&self, bytes: &[u8], reply: &[u8]) {
        let mut client = self.connect();
        client.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, reply);
    }
}

impl Drop for Mutant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn bounded(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(PATIENT)).unwrap();
    stream.set_write_timeout(Some(PATIENT)).unwrap();
    stream
}

pub(super) fn listener() -> TcpListener {
    TcpListener::bind((LOCALHOST, 0)).unwrap()
}

pub(super) fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let (stream, peer) = listener.accept().unwrap();
    (bounded(stream), peer)
}

/// A port at which nothing listens.
fn refusing() -> u16 {
    listener().local_addr().unwrap().port()
}

#[track_caller]
pub(super) fn expect(stream: &mut TcpStream, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got, bytes);
}

pub(super) fn end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}

/// Each side speaks and ends, the service first.
fn converse(mut client: TcpStream, mut service: TcpStream) {
    service.write_all(b"from the service").unwrap();
    service.shutdown(Shutdown::Write).unwrap();
    expect(&mut client, b"from the service");
    end(&mut client);
    client.write_all(b"from the client").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    expect(&mut service, b"from the client");
    end(&mut service);
}

pub(super) fn two(port: u16) -> [u8; 2] {
    port.to_be_bytes()
}

/// A SOCKS5 request with its greeting.
pub(super) fn socks5(command: u8, address: &[u8], port: u16) -> Vec<u8> {
    [&[5, 1, 0, 5, command, 0], address, &two(port)].concat()
}

fn failed(code: u8) -> Vec<u8> {
    vec![5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}

const V4: &[u8] = &[1, 127, 0, 0, 1];
pub(super) const V4_ZEROS: &[u8] = &[1, 0, 0, 0, 0];

#[test]
fn socks4_connects_and_tells_its_address_or_that_it_was_rejected() {
    let (mutant, service) = (mutant("socks4", &[]), listener());
    let port = service.local_addr().unwrap().port();
    let mut client = mutant.connect();
    let request = [&[4, 1][..], &two(port), b"\x7f\0\0\x01user\0"].concat();
    client.write_all(&request).unwrap();
    let (service, peer) = accept(&service);
    let reply = [&[0, 0x5a][..], &two(peer.port()), &[127, 0, 0, 1]].concat();
    expect(&mut client, &reply);
    converse(client, service);

    let rejected = [0, 0x5b, 0, 0, 0, 0, 0, 0];
    let request = [&[4, 1][..], &two(refusing()), b"\x7f\0\0\x01u\0"].concat();
    mutant.answers(&request, &rejected);
    mutant.answers(b"\x04\x09\0\x50\x7f\0\0\x01u\0", &rejected);
    mutant.answers(b"\x05\x01\0", b"");
    mutant.answers(
        &[&b"\x04\x01\0\x50\x7f\0\0\x01"[..], &[b'u'; 300]].concat(),
        b"",
    );
}

#[test]
fn socks4a_looks_the_name_up_and_early_data_is_carried() {
    let (mutant, service) = (mutant("socks4a", &[]), listener());
    let port = service.local_addr().unwrap().port();
    let mut client = mutant.connect();
    let request = [&[4, 1][..], &two(port), b"\0\0\0\x01u\x00127.0.0.1\0early"].concat();
    client.write_all(&request).unwrap();
    let (mut service, peer) = accept(&service);
    let reply = [&[0, 0x5a][..], &two(peer.port()), &[127, 0, 0, 1]].concat();
    expect(&mut client, &reply);
    expect(&mut service, b"early");
    converse(client, service);
    let unknown = b"\x04\x01\0\x50\0\0\0\x01u\0no-such.invalid\0";
    mutant.answers(unknown, &[0, 0x5b, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn bind_replies_twice_and_takes_only_the_address_that_was_asked_for() {
    let mutant = mutant("socks5", &[]);
    let bound = |address: &[u8]| {
        let mut client = mutant.connect();
        client.write_all(&socks5(2, address, 0)).unwrap();
        expect(&mut client, &[5, 0, 5, 0, 0, 1, 127, 0, 0, 1]);
        let mut port = [0; 2];
        client.read_exact(&mut port).unwrap();
        let port = u16::from_be_bytes(port);
        let service = bounded(TcpStream::connect((LOCALHOST, port)).unwrap());
        (client, service)
    };
    for address in [V4, V4_ZEROS] {
        let (mut client, service) = bound(address);
        let port = service.local_addr().unwrap().port();
        expect(
            &mut client,
            &[&[5, 0, 0, 1, 127, 0, 0, 1][..], &two(port)].concat(),
        );
        converse(client, service);
    }
    let (mut client, mut other) = bound(&[1, 127, 9, 9, 9]);
    expect(&mut client, &[5, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
    end(&mut client);
    assert!(!matches!(other.read(&mut [0]), Ok(1..)));
}

#[test]
fn socks5_failures_have_their_codes() {
    let mutant = mutant("socks5", &[]);
    mutant.answers(&[5, 1, 2], &[5, 0xff]);
    mutant.answers(&[5, 0], &[5, 0xff]);
    mutant.answers(b"GET / HTTP/1.0\r\n\r\n", b"");
    mutant.answers(&socks5(1, V4, refusing()), &failed(5));
    // Only loopback addresses are permitted, and this one would be tried here in any case.
    mutant.answers(&socks5(1, V4_ZEROS, refusing()), &failed(2));
    mutant.answers(&socks5(1, b"\x03\x0fno-such.invalid", 80), &failed(4));
    mutant.answers(&socks5(1, b"\x03\0", 80), &failed(4));
    mutant.answers(&socks5(0, V4, 80), &failed(7));
    mutant.answers(&socks5(0x7f, V4, 80), &failed(7));
    mutant.answers(&socks5(1, &[2, 127, 0, 0, 1], 80), &failed(8));
    mutant.answers(&[5, 1, 0, 4, 1, 0, 1, 127, 0, 0, 1, 0, 80], &failed(1));
}

#[test]
fn socks5_logins_are_compared_whole() {
    let mutant = mutant("socks5", &["--user", "user", "--password", "sec:ret"]);
    mutant.answers(&[5, 1, 0], &[5, 0xff]);
    let login = |password: &[u8]| {
        let length = u8::try_from(password.len()).unwrap();
        [b"\x05\x02\0\x02\x01\x04user", &[length][..], password].concat()
    };
    for wrong in [
        &b""[..],
        b"sec",
        b"sec:re",
        b"sec:ret\0",
        b"SEC:RET",
        &[b'x'; 255],
    ] {
        mutant.answers(&login(wrong), &[5, 2, 1, 1]);
        let mut client = mutant.connect();
        client.write_all(&login(b"sec:ret")).unwrap();
        expect(&mut client, &[5, 2, 1, 0]);
    }
    // A request in place of the login.
    mutant.answers(&[5, 1, 2, 5, 1, 0, 1, 127, 0, 0, 1, 0, 80], &[5, 2, 1, 1]);
}

#[test]
fn udp_carries_datagrams_with_their_headers_until_the_connection_ends() {
    let families: &[IpAddr] = match combinations().len() {
        1 => &[LOCALHOST],
        _ => &[LOCALHOST, IpAddr::V6(Ipv6Addr::LOCALHOST)],
    };
    for near in families {
        for far in families {
            udp(*near, *far);
        }
    }
}

fn udp(near: IpAddr, far: IpAddr) {
    let mutant = mutant_on(near, "socks5", &[]);
    let mut tcp = mutant.connect();
    tcp.write_all(&socks5(3, V4_ZEROS, 0)).unwrap();
    let kind = |ip: IpAddr| if ip.is_ipv4() { 1 } else { 4 };
    let octets = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    expect(
        &mut tcp,
        &[&[5, 0, 5, 0, 0, kind(near)], &octets(near)[..]].concat(),
    );
    let mut port = [0; 2];
    tcp.read_exact(&mut port).unwrap();
    let relay = SocketAddr::new(near, u16::from_be_bytes(port));

    let socket = |ip: IpAddr| {
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENT)).unwrap();
        socket
    };
    let (client, other, service) = (socket(near), socket(near), socket(far));
    let to = service.local_addr().unwrap();
    let header = |fragment: u8| {
        let head = [0, 0, fragment, kind(far)];
        [&head[..], &octets(far), &two(to.port())].concat()
    };
    let datagram = |fragment, payload: &[u8]| [&header(fragment), payload].concat();
    let mut buffer = vec![0; 65_535];
    for payload in [&b"one"[..], b"", &[7; 1400], &[8; 9000], &[9; 60_000]] {
        client.send_to(&datagram(0, payload), relay).unwrap();
        let (count, from) = service.recv_from(&mut buffer).unwrap();
        assert_eq!(&buffer[..count], payload);
        service.send_to(payload, from).unwrap();
        let (count, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(from, relay);
        assert!(
            buffer[..count] == datagram(0, payload),
            "{} bytes",
            payload.len()
        );
    }
    // These are dropped: only what follows arrives.
    client.send_to(&[0], relay).unwrap();
    client
        .send_to(&[0, 0, 0, 9, 1, 2, 3, 4, 0, 80], relay)
        .unwrap();
    client.send_to(&datagram(1, b"fragment"), relay).unwrap();
    other.send_to(&datagram(0, b"another's"), relay).unwrap();
    let name = far.to_string();
    let length = u8::try_from(name.len()).unwrap();
    let head = [0, 0, 0, 3, length];
    let named = [&head, name.as_bytes(), &two(to.port()), b"by name"].concat();
    client.send_to(&named, relay).unwrap();
    let (count, _) = service.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..count], b"by name");

    // When the relay's socket is closed, the association is over.
    drop(tcp);
    let begun = Instant::now();
    client.connect(relay).unwrap();
    while client.send(&datagram(9, b"")).is_ok() {
        assert!(begun.elapsed() < PATIENT, "the relay's port is still open");
        std::thread::yield_now();
    }
}

#[test]
fn connect_answers_and_carries() {
    let (mutant, service) = (mutant("connect", &[]), listener());
    let address = service.local_addr().unwrap();
    for request in [
        format!("CONNECT {address} HTTP/1.1\r\nHost: {address}\r\n\r\nearly"),
        format!("CONNECT localhost:{} HTTP/1.0\r\n\r\nearly", address.port()),
    ] {
        let mut client = mutant.connect();
        client.write_all(request.as_bytes()).unwrap();
        let (mut service, _) = accept(&service);
        expect(&mut client, b"HTTP/1.1 200 Connection established\r\n\r\n");
        expect(&mut service, b"early");
        converse(client, service);
    }
}

#[test]
fn connect_refuses_in_http() {
    let mutant = mutant("connect", &[]);
    let refused = |status: &str, extra: &str| {
        let rest = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        format!("HTTP/1.1 {status}\r\n{extra}{rest}")
    };
    let bad = refused("400 Bad Request", "");
    for target in [
        "h:", "h", "h:0", "h:99999", "h:-1", "h:+1", ":80", "[::1:80", "a@b:80",
    ] {
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        mutant.answers(request.as_bytes(), bad.as_bytes());
    }
    mutant.answers(b"CONNECT h:80 HTTP/1.1\r\n\r\n", bad.as_bytes());
    mutant.answers(b"\x16\x03\x01\x02\0", bad.as_bytes());
    let refused_by_service = format!("CONNECT 127.0.0.1:{} HTTP/1.0\r\n\r\n", refusing());
    let gateway = refused("502 Bad Gateway", "");
    mutant.answers(refused_by_service.as_bytes(), gateway.as_bytes());
    let unknown = b"CONNECT no-such.invalid:80 HTTP/1.0\r\n\r\n";
    mutant.answers(unknown, gateway.as_bytes());
    let method = refused("405 Method Not Allowed", "Allow: CONNECT\r\n");
    mutant.answers(b"FROB h:80 HTTP/1.1\r\nHost: h\r\n\r\n", method.as_bytes());
    let version = refused("505 HTTP Version Not Supported", "");
    mutant.answers(
        b"CONNECT h:80 HTTP/9.9\r\nHost: h\r\n\r\n",
        version.as_bytes(),
    );
    let long = [&b"CONNECT h:80 HTTP/1.1\r\nX: "[..], &[b'x'; 70_000]].concat();
    let too_large = refused("431 Request Header Fields Too Large", "");
    mutant.answers(&long, too_large.as_bytes());
}

#[test]
fn connect_wants_its_credentials_each_time() {
    let mutant = mutant("connect", &["--user", "user", "--password", "sec:ret"]);
    let service = listener();
    let address = service.local_addr().unwrap();
    let request = |field: &str| format!("CONNECT {address} HTTP/1.0\r\n{field}\r\n");
    let challenge = "HTTP/1.1 407 Proxy Authentication Required\r\n\
        Proxy-Authenticate: Basic realm=\"mutant\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let wrong = [
        String::new(),
        format!("Authorization: Basic {CREDENTIALS}\r\n"),
        format!("Proxy-Authorization: Bearer {CREDENTIALS}\r\n"),
        "Proxy-Authorization: Basic dXNlcjpzZWM=\r\n".to_owned(),
        "Proxy-Authorization: Basic dXNlcg==\r\n".to_owned(),
        "Proxy-Authorization: Basic !!!!\r\n".to_owned(),
    ];
    for wrong in wrong {
        mutant.answers(request(&wrong).as_bytes(), challenge.as_bytes());
        let mut client = mutant.connect();
        let right = request(&format!("proxy-authorization: basic {CREDENTIALS}\r\n"));
        client.write_all(right.as_bytes()).unwrap();
        let (service, _) = accept(&service);
        expect(&mut client, b"HTTP/1.1 200 Connection established\r\n\r\n");
        converse(client, service);
    }
}

#[test]
fn the_proxy_header_comes_first_and_is_true() {
    let service = listener();
    let address = service.local_addr().unwrap().to_string();
    for protocol in ["proxy-v1", "proxy-v2", "forward"] {
        let mutant = mutant(protocol, &["--service", &address]);
        let client = mutant.connect();
        let (mut service, _) = accept(&service);
        let (from, to) = (client.local_addr().unwrap().port(), mutant.address.port());
        let header = header(protocol, from, to);
        expect(&mut service, &header);
        converse(client, service);
    }
}

/// What a protocol says first of a connection between these ports of 127.0.0.1.
pub(super) fn header(protocol: &str, from: u16, to: u16) -> Vec<u8> {
    match protocol {
        "proxy-v1" => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into_bytes(),
        "proxy-v2" => {
            let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";
            let ips = [127, 0, 0, 1, 127, 0, 0, 1];
            [&signature[..], &ips, &two(from), &two(to)].concat()
        }
        _ => Vec::new(),
    }
}

#[test]
fn a_reset_is_passed_on_and_half_a_handshake_is_given_up() {
    let (mutant, service) = (mutant("socks5", &["--patience", "300"]), listener());
    let port = service.local_addr().unwrap().port();
    for from_client in [true, false] {
        let mut client = mutant.connect();
        client.write_all(&socks5(1, V4, port)).unwrap();
        let (service, _) = accept(&service);
        client.read_exact(&mut [0; 12]).unwrap();
        let (near, mut far) = match from_client {
            true => (client, service),
            false => (service, client),
        };
        socket2::SockRef::from(&near)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(near);
        let error = far.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    for half in [&[5, 1][..], &socks5(1, V4, 80)[..9], b""] {
        let mut client = mutant.connect();
        client.write_all(half).unwrap();
        let begun = Instant::now();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        // It ends at once when the client has said that no more will come.
        let mut client = mutant.connect();
        client.write_all(half).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        client.read_to_end(&mut answer).unwrap();
    }
}

#[test]
fn four_mebibytes_arrive_before_the_end_and_no_more_is_buffered_than_has_room() {
    let service = listener();
    let address = service.local_addr().unwrap().to_string();
    let mutant = mutant("forward", &["--service", &address]);
    let data: Vec<u8> = (0..4 << 20).map(|i: u32| (i % 251) as u8).collect();
    for up in [true, false] {
        let client = mutant.connect();
        let (service, _) = accept(&service);
        let (mut from, mut to) = if up {
            (client, service)
        } else {
            (service, client)
        };
        std::thread::scope(|scope| {
            // Closed whole, not by half.
            scope.spawn(|| {
                from.write_all(&data).unwrap();
                drop(from);
            });
            let mut got = Vec::new();
            to.read_to_end(&mut got).unwrap();
            assert!(got == data, "{} bytes", got.len());
        });
    }
    // Nobody reads: writing must stop long before this.
    let client = mutant.connect();
    let (_service, _) = accept(&service);
    client
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let (mut sent, mut client) = (0, &client);
    while let Ok(count) = client.write(&data) {
        sent += count;
        assert!(sent < 64 << 20, "buffers without bound");
    }
}
