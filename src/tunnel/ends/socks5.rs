//! A client that speaks SOCKS5.

use std::io::{self, Read, Write};

use crate::proto::socks5::{Bound, Client, Host, Step};
use crate::tunnel::ends::exchange::{cut_short, named};

/// Makes a request on a fresh connection: greeting, authentication, `command` with `host` and `port`,
/// first reply. For CONNECT this is the handshake. UDP ASSOCIATE tells where the relay for datagrams
/// is, for as long as the connection lasts (RFC 1928 section 7).
pub(crate) fn request(
    stream: &mut (impl Read + Write + ?Sized),
    credentials: Option<(&[u8], &[u8])>,
    command: u8,
    host: &Host,
    port: u16,
) -> io::Result<Bound> {
    let (mut client, greeting) =
        Client::new(command, credentials, host, port).map_err(io::Error::other)?;
    stream.write_all(&greeting)?;
    // The longest thing to miss is a name of 255 bytes and its port.
    let mut buffer = [0; 257];
    loop {
        let length = read(stream, &client, &mut buffer)?;
        match client.feed(&buffer[..length]).map_err(io::Error::other)? {
            Step::Read => {}
            Step::Send(bytes) => stream.write_all(&bytes)?,
            Step::Done(bound) => return Ok(bound),
        }
    }
}

/// Reads no more than belongs to the proxy's current message: what follows is the service's.
fn read(
    stream: &mut (impl Read + ?Sized),
    client: &Client,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let room = client.missing().min(buffer.len());
    let what = client.waiting_for();
    let read = stream.read(&mut buffer[..room]);
    match read.map_err(|error| named(what, &error))? {
        0 => Err(client
            .end()
            .map_or_else(|| cut_short(what, client.came()), io::Error::other)),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::proto::socks5;
    use crate::tunnel::ends::stream::tests::pair;

    /// Answers each request of a list with the bytes beside it.
    fn answer(
        mut far: std::net::TcpStream,
        turns: &'static [(&[u8], &[u8])],
    ) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            for (request, reply) in turns {
                let mut got = vec![0; request.len()];
                far.read_exact(&mut got).unwrap();
                assert_eq!(got, *request);
                far.write_all(reply).unwrap();
            }
        })
    }

    #[test]
    fn an_association_tells_where_its_relay_is() {
        let (mut near, far) = pair();
        // Statement 44, after user and password.
        let proxy = answer(
            far,
            &[
                (b"\x05\x01\x02", b"\x05\x02"),
                (b"\x01\x01u\x01p", b"\x01\0"),
                (
                    b"\x05\x03\x00\x01\0\0\0\0\0\0",
                    b"\x05\0\0\x01\x7f\0\0\x01\xee\x5e",
                ),
            ],
        );
        let anyone = Host::Ip([0, 0, 0, 0].into());
        let login = Some((&b"u"[..], &b"p"[..]));
        let relay = request(&mut near, login, socks5::UDP_ASSOCIATE, &anyone, 0).unwrap();
        assert_eq!(relay.socket_addr(), "127.0.0.1:61022".parse().ok());
        proxy.join().unwrap();
    }
}
