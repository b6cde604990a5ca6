//! A test server of one's own protocol over UDP and TCP on one port: a name server for tests.
//!
//! `cargo run --example own_dns`

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use loopback::{
    BoxError, Connection, CustomProtocol, Datagram, DatagramProtocol, IntoReplies, ListenOn,
    Recorder, Replies, StreamProtocol, TestBothServer,
};

/// A name server that knows what the test tells it, and records each query.
#[derive(Debug)]
pub(crate) struct TestDnsServer(TestBothServer<Dns>);

impl TestDnsServer {
    /// Binds and starts, knowing these names. Several addresses of one name are given together.
    pub(crate) fn start(
        address: impl ListenOn<Address = SocketAddr>,
        names: &[(&str, Ipv4Addr)],
    ) -> io::Result<TestDnsServer> {
        let mut dns = Dns::default();
        for (name, address) in names {
            dns.names
                .entry(name.to_string())
                .or_default()
                .push(*address);
        }
        Ok(TestDnsServer(TestBothServer::start(address, dns)?))
    }

    /// The oldest query that came.
    pub(crate) fn take_query(&self, timeout: Duration) -> io::Result<Query> {
        self.0.take(timeout)
    }
}

// `local_addr`, `stop`, `restart`, `failures`, … as every server has them.
impl std::ops::Deref for TestDnsServer {
    type Target = TestBothServer<Dns>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for TestDnsServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Query {
    /// The name, without the dot at its end.
    pub(crate) name: String,
    /// The type: 1 is A, 28 is AAAA (RFC 1035 3.2.2, RFC 3596).
    pub(crate) kind: u16,
    /// Whether it came over TCP.
    pub(crate) over_tcp: bool,
}

/// The names that are known.
#[derive(Debug, Default)]
pub(crate) struct Dns {
    names: HashMap<String, Vec<Ipv4Addr>>,
}

/// More does not fit into a datagram: the client asks again over TCP (RFC 1035 4.2.1).
const LONGEST_OVER_UDP: usize = 512;

const TYPE_A: u16 = 1;

impl CustomProtocol for Dns {
    const NAME: &str = "dns";
    const ITEM: &str = "a query";
    type Item = Query;
}

impl DatagramProtocol for Dns {
    fn answer(
        &self,
        datagram: &Datagram,
        queries: &Recorder<'_, Self>,
    ) -> Result<Replies, BoxError> {
        let (query, answer) = self.answer_to(datagram.data(), false)?;
        queries.record(query);
        answer.into_replies()
    }
}

impl StreamProtocol for Dns {
    fn serve(&self, mut conn: Connection, queries: &Recorder<'_, Self>) -> Result<(), BoxError> {
        // Each message has its length before it (RFC 1035 4.2.2).
        let mut length = [0; 2];
        while conn.read(&mut length[..1])? > 0 {
            conn.read_exact(&mut length[1..])?;
            let message = conn.read_bytes(u16::from_be_bytes(length).into())?;
            let (query, answer) = self.answer_to(&message, true)?;
            let unanswered = queries.record(query);
            let length = u16::try_from(answer.len())?;
            conn.write_all(&[&length.to_be_bytes(), &answer[..]].concat())?;
            drop(unanswered);
        }
        Ok(())
    }
}

impl Dns {
    fn answer_to(&self, message: &[u8], over_tcp: bool) -> Result<(Query, Vec<u8>), BoxError> {
        let (name, end) = read_name(message).ok_or("a message without a whole question came")?;
        let kind = u16::from_be_bytes([message[end], message[end + 1]]);
        let known = self.names.get(&name);
        let addresses = match (known, kind) {
            (Some(addresses), TYPE_A) => &addresses[..],
            _ => &[],
        };
        let question = &message[12..end + 4];
        let fits = over_tcp || 12 + question.len() + addresses.len() * 16 <= LONGEST_OVER_UDP;
        let addresses = if fits { addresses } else { &[] };

        // The header (RFC 1035 4.1.1): an authoritative answer, perhaps truncated, perhaps NXDOMAIN.
        let truncated = if fits { 0 } else { 0x02 };
        let code = if known.is_some() { 0 } else { 3 };
        let recursion_desired = message[2] & 0x01;
        let mut answer = message[..2].to_vec();
        answer.extend([0x84 | truncated | recursion_desired, code, 0, 1]);
        answer.extend(u16::try_from(addresses.len())?.to_be_bytes());
        answer.extend([0; 4]);
        answer.extend(question);
        for address in addresses {
            // The question's name, A, IN, a TTL of no time, four bytes.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            answer.extend(address.octets());
        }
        let query = Query {
            name,
            kind,
            over_tcp,
        };
        Ok((query, answer))
    }
}

/// The question's name, and where its type begins; `None` where the message ends before the class does.
fn read_name(message: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(message.get(at..at + length)?));
        at += length;
    }
    message.get(at..at + 4)?;
    Some((labels.join(".").to_lowercase(), at))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let names = [("printer.test", Ipv4Addr::new(192, 0, 2, 7))];
    let mut server = TestDnsServer::start("127.0.0.1:0", &names)?;

    // The client under test.
    let question = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x07printer\x04test\0\0\x01\0\x01";
    let udp = UdpSocket::bind("127.0.0.1:0")?;
    udp.send_to(question, server.local_addr())?;
    let mut answer = [0; 512];
    let (length, _) = udp.recv_from(&mut answer)?;
    assert_eq!(&answer[length - 4..length], [192, 0, 2, 7]);

    let mut tcp = TcpStream::connect(server.local_addr())?;
    tcp.write_all(&[&[0, question.len() as u8], &question[..]].concat())?;
    let mut same = vec![0; length + 2];
    tcp.read_exact(&mut same)?;
    assert_eq!(same[2..], answer[..length]);

    let limit = Duration::from_secs(5);
    for over_tcp in [false, true] {
        let query = server.take_query(limit)?;
        assert_eq!((query.name.as_str(), query.kind), ("printer.test", TYPE_A));
        assert_eq!(query.over_tcp, over_tcp);
    }
    drop(tcp);
    server.stop(limit)?;
    println!("a client has asked for a name over UDP and over TCP, and both queries were recorded");
    Ok(())
}
