//! Where servers listen and who their peers are: internet and Unix-domain addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
#[cfg(unix)]
use std::path::{Path, PathBuf};

#[cfg(unix)]
pub use super::unix::UnixAddress;
use crate::deadline::prose;

/// The address of a server or of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// An IP address and a port.
    Inet(SocketAddr),
    /// A Unix-domain socket.
    #[cfg(unix)]
    Unix(UnixAddress),
}

impl Address {
    /// The IP address and port, if it has them.
    pub fn as_inet(&self) -> Option<SocketAddr> {
        match self {
            Address::Inet(address) => Some(*address),
            #[cfg(unix)]
            Address::Unix(_) => None,
        }
    }

    /// The path of a named Unix-domain socket.
    #[cfg(unix)]
    pub fn as_path(&self) -> Option<&Path> {
        match self {
            Address::Inet(_) => None,
            Address::Unix(address) => address.path(),
        }
    }

    /// The IP address and port, or the error that std's `peer_addr` would have been expected to give.
    pub(crate) fn to_inet(&self) -> io::Result<SocketAddr> {
        self.as_inet().ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{self} is not an IP address and port"),
            )
        })
    }
}

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/x.sock`, `unix:@abstract` or `unix:(unnamed)`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            #[cfg(unix)]
            Address::Unix(address) => address.fmt(f),
        }
    }
}

/// An IPv4 address that is written as an IPv6 one (`::ffff:127.0.0.1`, RFC 4291 section 2.5.5.2), as a
/// socket of both families shows its clients, becomes the IPv4 address that the client itself has.
impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(canonical(address))
    }
}

/// The address that the client itself has, of one that a socket of both families may show.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        // Its scope stays with it.
        IpAddr::V6(_) => address,
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_inet() == Some(*other)
    }
}

/// What a server can be told to listen on.
///
/// Anything std can resolve (`"127.0.0.1:0"`, `("::1", 0)`, a [`SocketAddr`], …) gives an internet
/// server, on the first of the addresses that can be bound: `"localhost:0"` serves one family, which
/// [`local_addr`](crate::TestServer::local_addr) and the server's `Debug` tell. On Unix a [`Path`] or a [`UnixAddress`] gives a server on a Unix-domain socket.
/// It cannot be implemented outside this crate.
#[diagnostic::on_unimplemented(
    message = "a server cannot listen on `{Self}`",
    label = "not an address to listen on",
    note = "an internet address has a port, and port 0 takes a free one: `\"127.0.0.1:0\"`, `(\"::1\", 0)` or a `SocketAddr`",
    note = "a Unix-domain socket is a `&Path`, a `PathBuf` or a `UnixAddress`"
)]
pub trait ListenOn: sealed::Sealed {
    /// What `local_addr()` of such a server is: [`SocketAddr`] or [`UnixAddress`].
    type Address: Clone + fmt::Debug + Send + Sync + 'static;

    #[doc(hidden)]
    fn candidates(&self) -> io::Result<Vec<Address>>;

    #[doc(hidden)]
    fn narrow(address: Address) -> Option<Self::Address>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! listen_on_inet {
    ($resolve:ident: $($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl ListenOn for $type {
            type Address = SocketAddr;

            fn candidates(&self) -> io::Result<Vec<Address>> {
                $resolve(self)
            }

            fn narrow(address: Address) -> Option<SocketAddr> {
                address.as_inet()
            }
        }
    )*};
}

listen_on_inet!(resolve_text: &str, String, &String);
listen_on_inet!(
    resolve:
    SocketAddr,
    &SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (&str, u16),
    (String, u16),
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl sealed::Sealed for &[SocketAddr] {}
impl ListenOn for &[SocketAddr] {
    type Address = SocketAddr;

    fn candidates(&self) -> io::Result<Vec<Address>> {
        Ok(self.iter().copied().map(Address::from).collect())
    }

    fn narrow(address: Address) -> Option<SocketAddr> {
        address.as_inet()
    }
}

/// What a text stands for. Where that is no internet address with a port, the error says how to write
/// what may have been meant.
fn resolve_text(text: &str) -> io::Result<Vec<Address>> {
    resolve(&text).map_err(|error| match hint(text) {
        Some(hint) => prose(error.kind(), format!("{error}; {hint}")),
        None => error,
    })
}

fn hint(text: &str) -> Option<String> {
    let without_port = |whole: &str| format!("it has no port: {whole:?} takes a free one");
    let by_path = |path: &str| format!("a Unix-domain socket is given as `Path::new({path:?})`");
    if text.is_empty() {
        return Some("\"127.0.0.1:0\" takes a free port".into());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Some(without_port(&SocketAddr::new(ip, 0).to_string()));
    }
    if let Some(path) = text.strip_prefix("unix:") {
        return Some(match path.strip_prefix('@') {
            Some(name) => format!(
                "an abstract name is given as `UnixAddress::abstract_name({name:?})` (Linux)"
            ),
            None => by_path(path),
        });
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(format!("a port alone is {:?}", format!("127.0.0.1:{text}")));
    }
    if let Some(port) = text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
        return Some(format!(
            "all interfaces are {:?}",
            format!("0.0.0.0:{port}")
        ));
    }
    if let Some((address, _)) = text.split_once('/')
        && address.parse::<SocketAddr>().is_ok()
    {
        return Some(format!("the address alone is {address:?}"));
    }
    let is_path = text.contains('/') && !text.contains("://");
    if is_path || text.ends_with(".sock") {
        return Some(by_path(text));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let authority = rest.split('/').next().unwrap_or_default();
        return Some(format!(
            "it is a URL: the address alone, without {:?}, is {authority:?}",
            format!("{scheme}://")
        ));
    }
    // IPv6 addresses have colons too, and those without brackets no port.
    if let Some((host, port)) = text.rsplit_once(':')
        && (!host.contains(':') || host.ends_with(']'))
        && port.parse::<u16>().is_err()
    {
        let free = format!("{host}:0");
        return Some(format!(
            "a port is a number up to 65535: {free:?} takes a free one"
        ));
    }
    let is_name = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
    };
    is_name(text).then(|| without_port(&format!("{text}:0")))
}

/// What a name stands for. Its errors show it as the caller has written it.
fn resolve(name: &(impl ToSocketAddrs + fmt::Debug)) -> io::Result<Vec<Address>> {
    match name.to_socket_addrs() {
        Ok(found) => Ok(found.map(Address::from).collect()),
        Err(error) => Err(unresolved(name, &error)),
    }
}

fn unresolved(name: &dyn fmt::Debug, error: &io::Error) -> io::Error {
    let text = format!("cannot resolve {name:?}: {error}");
    prose(error.kind(), text)
}

#[cfg(unix)]
macro_rules! listen_on_unix {
    ($($type:ty),*) => {$(
        impl sealed::Sealed for $type {}
        impl ListenOn for $type {
            type Address = UnixAddress;

            fn candidates(&self) -> io::Result<Vec<Address>> {
                Ok(vec![Address::Unix(self.clone().into())])
            }

            fn narrow(address: Address) -> Option<UnixAddress> {
                match address {
                    Address::Unix(address) => Some(address),
                    Address::Inet(_) => None,
                }
            }
        }
    )*};
}

#[cfg(unix)]
listen_on_unix!(&Path, PathBuf, UnixAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_as_one_would_write_them() {
        let v4: SocketAddr = "127.0.0.1:80".parse().unwrap();
        let v6: SocketAddr = "[::1]:80".parse().unwrap();
        assert_eq!(Address::from(v4).to_string(), "127.0.0.1:80");
        assert_eq!(Address::from(v6).to_string(), "[::1]:80");
        assert_eq!(Address::from(v4), v4);
        assert_ne!(Address::from(v4), v6);
    }

    #[test]
    fn a_name_that_cannot_be_resolved_is_named() {
        // None of these asks a name server.
        let error = "no port".candidates().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(
            error.to_string(),
            r#"cannot resolve "no port": invalid socket address"#
        );
        assert_eq!(format!("{:?}", error.get_ref().unwrap()), error.to_string());
        let error = String::from("127.0.0.1:http").candidates().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resolve \"127.0.0.1:http\": invalid port value; \
             a port is a number up to 65535: \"127.0.0.1:0\" takes a free one"
        );
        let error = "127.0.0.1".candidates().unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot resolve \"127.0.0.1\": invalid socket address; \
             it has no port: \"127.0.0.1:0\" takes a free one"
        );
        let error = ("a\0b", 0).candidates().unwrap_err().to_string();
        assert!(
            error.starts_with(r#"cannot resolve ("a\0b", 0): "#),
            "{error}"
        );
    }

    #[test]
    fn a_text_that_is_no_address_is_told_how_it_would_be_written() {
        let hint = |text: &str| {
            let error = text.candidates().unwrap_err().to_string();
            // What std says between them is std's.
            let plain = format!("cannot resolve {text:?}: invalid ");
            assert!(error.starts_with(&plain), "{error}");
            error[error.find("; ").unwrap_or(error.len())..].to_owned()
        };
        for (text, whole) in [
            ("localhost", "localhost:0"),
            ("[::1]", "[::1]:0"),
            ("127.0.0.1", "127.0.0.1:0"),
        ] {
            assert_eq!(
                hint(text),
                format!("; it has no port: {whole:?} takes a free one")
            );
        }
        assert_eq!(hint(""), "; \"127.0.0.1:0\" takes a free port");
        for (text, meant) in [
            ("8080", "a port alone is \"127.0.0.1:8080\""),
            (
                "x.sock",
                "a Unix-domain socket is given as `Path::new(\"x.sock\")`",
            ),
            ("127.0.0.1:0/path", "the address alone is \"127.0.0.1:0\""),
            (
                "127.0.0.1:",
                "a port is a number up to 65535: \"127.0.0.1:0\" takes a free one",
            ),
            (
                "localhost:http",
                "a port is a number up to 65535: \"localhost:0\" takes a free one",
            ),
            (
                "[::1]:99999",
                "a port is a number up to 65535: \"[::1]:0\" takes a free one",
            ),
        ] {
            assert_eq!(hint(text), format!("; {meant}"));
        }
        for text in [":80", "*:80"] {
            let error = text.candidates().unwrap_err().to_string();
            assert!(
                error.ends_with("; all interfaces are \"0.0.0.0:80\""),
                "{error}"
            );
        }
        let path = "; a Unix-domain socket is given as `Path::new(\"/tmp/x\")`";
        assert_eq!(hint("unix:/tmp/x".trim_start_matches("unix:")), path);
        let error = "unix:/tmp/x".candidates().unwrap_err().to_string();
        assert!(error.ends_with(path), "{error}");
        let error = "unix:@x".candidates().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "; an abstract name is given as `UnixAddress::abstract_name(\"x\")` (Linux)"
            ),
            "{error}"
        );
        let error = "http://127.0.0.1:0/".candidates().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "; it is a URL: the address alone, without \"http://\", is \"127.0.0.1:0\""
            ),
            "{error}"
        );
    }

    #[test]
    fn an_ipv4_address_in_ipv6_form_is_the_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:127.0.0.1]:80".parse().unwrap();
        assert_eq!(Address::from(mapped).to_string(), "127.0.0.1:80");
        let scoped: SocketAddr = "[fe80::1%3]:80".parse().unwrap();
        assert_eq!(Address::from(scoped), scoped);
    }

    #[cfg(unix)]
    #[test]
    fn unix_addresses_have_paths_and_no_port() {
        let address = Address::Unix(Path::new("/run/x.sock").into());
        assert_eq!(address.to_string(), "unix:/run/x.sock");
        assert_eq!(address.as_path(), Some(Path::new("/run/x.sock")));
        assert_eq!(
            address.to_inet().unwrap_err().to_string(),
            "unix:/run/x.sock is not an IP address and port"
        );
    }
}
