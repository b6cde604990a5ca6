//! Where servers listen and who their peers are: internet and Unix-domain addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6, ToSocketAddrs};
#[cfg(unix)]
use std::path::{Path, PathBuf};

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

/// `127.0.0.1:8080`, `[::1]:8080`, `unix:/run/x.sock` or `unix:(unnamed)`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Inet(address) => address.fmt(f),
            #[cfg(unix)]
            Address::Unix(address) => address.fmt(f),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Address {
        Address::Inet(address)
    }
}

impl PartialEq<SocketAddr> for Address {
    fn eq(&self, other: &SocketAddr) -> bool {
        self.as_inet() == Some(*other)
    }
}

/// The address of a Unix-domain socket: a path, or unnamed as most clients' ends are.
#[cfg(unix)]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UnixAddress(Option<PathBuf>);

#[cfg(unix)]
impl UnixAddress {
    /// A path in the system's temporary folder that no other server of any process has, to listen on.
    ///
    /// The file appears with the bind and is removed when the server stops.
    ///
    /// ```
    /// use loopback::{TestTcpServer, UnixAddress};
    ///
    /// let mut server = TestTcpServer::echo(UnixAddress::temporary())?;
    /// let client = std::os::unix::net::UnixStream::connect(server.path())?;
    /// # drop(client);
    /// server.stop(std::time::Duration::from_secs(1))?;
    /// assert!(!server.path().exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn temporary() -> UnixAddress {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let stamp = since_epoch.map_or(0, |time| time.subsec_nanos());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loopback-{}-{stamp:x}-{number}.sock", std::process::id());
        UnixAddress(Some(std::env::temp_dir().join(name)))
    }

    /// The path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    pub(crate) fn from_std(address: &std::os::unix::net::SocketAddr) -> UnixAddress {
        UnixAddress(address.as_pathname().map(Path::to_owned))
    }
}

#[cfg(unix)]
impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "unix:{}", path.display()),
            None => f.write_str("unix:(unnamed)"),
        }
    }
}

#[cfg(unix)]
impl From<&Path> for UnixAddress {
    fn from(path: &Path) -> UnixAddress {
        UnixAddress(Some(path.to_owned()))
    }
}

#[cfg(unix)]
impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> UnixAddress {
        UnixAddress(Some(path))
    }
}

/// What a server can be told to listen on.
///
/// Anything std can resolve (`"127.0.0.1:0"`, `("::1", 0)`, a [`SocketAddr`], …) gives an internet
/// server; on Unix a [`Path`] or a [`UnixAddress`] gives a server on a Unix-domain socket.
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
    SocketAddrV4,
    SocketAddrV6,
    (&str, u16),
    (String, u16),
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

/// What a text stands for. Where its port was forgotten, the error says how to write it.
fn resolve_text(text: &str) -> io::Result<Vec<Address>> {
    resolve(&text).map_err(|error| match text.parse::<IpAddr>() {
        Ok(ip) => {
            let whole = SocketAddr::new(ip, 0).to_string();
            let text = format!("{error}; it has no port: {whole:?} takes a free one");
            prose(error.kind(), text)
        }
        Err(_) => error,
    })
}

/// What a name stands for. Its errors show it as the caller has written it.
fn resolve(name: &(impl ToSocketAddrs + fmt::Debug)) -> io::Result<Vec<Address>> {
    match name.to_socket_addrs() {
        Ok(found) => Ok(found.map(Address::Inet).collect()),
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
            r#"cannot resolve "127.0.0.1:http": invalid port value"#
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
        assert_ne!(UnixAddress::temporary(), UnixAddress::temporary());
    }
}
