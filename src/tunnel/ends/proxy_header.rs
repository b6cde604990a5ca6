//! The header of the PROXY protocol, for a test's own service.

use std::io::{self, Read};
use std::net::SocketAddr;

use crate::proto::proxy_protocol::{self, Header};
use crate::tunnel::ends::exchange::read_message;

/// The longest header: version 2 with all that its length can tell.
pub(crate) const LONGEST: usize = 16 + u16::MAX as usize;

/// What a header of the PROXY protocol says of a connection: read by a service behind a proxy before the
/// client's data.
///
/// ```
/// use loopback::TestTcpServer;
/// use loopback::tunnel::ProxyHeader;
///
/// # fn main() -> std::io::Result<()> {
/// use std::io::{Read, Write};
///
/// let service = TestTcpServer::start("127.0.0.1:0", |mut conn| {
///     match ProxyHeader::read(&mut conn)? {
///         ProxyHeader::Proxied { source, .. } => writeln!(conn, "hello, {source}")?,
///         _ => {} // a health check
///     }
///     loopback::ok(())
/// })?;
/// # let mut client = service.connect()?;
/// # client.write_all(b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n")?;
/// # let mut line = String::new();
/// # client.read_to_string(&mut line)?;
/// # assert_eq!(line, "hello, 192.0.2.7:5000\n");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProxyHeader {
    /// The connection of a client over TCP.
    Proxied {
        /// Where the client connected from.
        source: SocketAddr,
        /// What it connected to.
        destination: SocketAddr,
    },
    /// The proxy's own, such as a health check: LOCAL of version 2 (PROXY protocol section 2.2).
    Local,
    /// Anything else that the format allows: UNKNOWN of version 1, other families of version 2.
    Unknown,
}

impl ProxyHeader {
    /// Reads a header of version 1 or 2, and nothing behind it.
    ///
    /// # Errors
    ///
    /// `InvalidData` where it is none, with the byte that is wrong; `UnexpectedEof` where it ends early; what
    /// else reading gives.
    pub fn read(conn: &mut (impl Read + ?Sized)) -> io::Result<ProxyHeader> {
        // No header of the one version begins as the other one does.
        let decode = |input: &[u8]| match input.first() {
            Some(b'\r') => proxy_protocol::v2(input),
            _ => proxy_protocol::v1(input),
        };
        let header = read_message(conn, "the header (PROXY protocol)", LONGEST, decode);
        header.map(ProxyHeader::from)
    }
}

impl From<Header> for ProxyHeader {
    fn from(header: Header) -> ProxyHeader {
        match header {
            Header::Tcp {
                source,
                destination,
            } => ProxyHeader::Proxied {
                source,
                destination,
            },
            Header::Local => ProxyHeader::Local,
            Header::Other => ProxyHeader::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read_and_not_a_byte_more() {
        let proxied = ProxyHeader::Proxied {
            source: "127.0.0.2:5".parse().unwrap(),
            destination: "127.0.0.1:6".parse().unwrap(),
        };
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x02\x7f\0\0\x01\0\x05\0\x06data";
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0data";
        for (bytes, due) in [
            (&b"PROXY TCP4 127.0.0.2 127.0.0.1 5 6\r\ndata"[..], proxied),
            (b"PROXY UNKNOWN\r\ndata", ProxyHeader::Unknown),
            (v2, proxied),
            (local, ProxyHeader::Local),
        ] {
            let mut input = bytes;
            assert_eq!(ProxyHeader::read(&mut input).unwrap(), due);
            assert_eq!(input, b"data");
        }
    }

    #[test]
    fn what_is_none_is_an_error_that_says_why() {
        let kind = |bytes: &[u8]| ProxyHeader::read(&mut &bytes[..]).unwrap_err().kind();
        assert_eq!(kind(b"GET / HTTP/1.1\r\n"), io::ErrorKind::InvalidData);
        assert_eq!(kind(b"PROXY TCP4 127.0"), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind(b""), io::ErrorKind::UnexpectedEof);
    }
}
