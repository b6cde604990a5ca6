//! SOCKS5 proxies.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use super::{Route, Stream, Target, Tunnel};
use crate::proto::socks5::{self, Client, Host, Step};

/// A SOCKS5 proxy (RFC 1928): CONNECT by IPv4, by IPv6 and by name, with no authentication or with
/// user and password (RFC 1929). Its replies are checked byte by byte.
///
/// ```no_run
/// use std::process::Command;
/// use loopback::tunnel::Socks5;
///
/// let microsocks = Socks5::spawn(|route| {
///     let mut microsocks = Command::new("microsocks");
///     microsocks.args(["-i", &route.listen.ip().to_string(), "-p", &route.listen.port().to_string()]);
///     microsocks.args(["-b", &route.outgoing.to_string(), "-u", "user", "-P", "secret"]);
///     microsocks
/// })
/// .binds_outgoing(true)
/// .auth("user", "secret");
/// ```
pub struct Socks5 {
    command: Box<dyn Fn(&Route) -> Command + Send + Sync>,
    slug: String,
    credentials: Option<(Vec<u8>, Vec<u8>)>,
    binds_outgoing: bool,
    names: bool,
}

impl Socks5 {
    /// A proxy started by the command that `command` makes for a route.
    pub fn spawn(command: impl Fn(&Route) -> Command + Send + Sync + 'static) -> Socks5 {
        Socks5 {
            command: Box::new(command),
            slug: "socks5".to_owned(),
            credentials: None,
            binds_outgoing: false,
            names: true,
        }
    }

    /// Logs in with `user` and `password`, 1 to 255 bytes each; no other method is offered then.
    #[must_use]
    pub fn auth(mut self, user: impl Into<Vec<u8>>, password: impl Into<Vec<u8>>) -> Socks5 {
        self.credentials = Some((user.into(), password.into()));
        self
    }

    /// The name in reports; `socks5` unless set.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Socks5 {
        self.slug = name.into();
        self
    }

    /// Whether the command binds the program to [`Route::outgoing`]; then the source of its
    /// connections is checked, otherwise only noted. `false` unless set.
    #[must_use]
    pub fn binds_outgoing(mut self, binds: bool) -> Socks5 {
        self.binds_outgoing = binds;
        self
    }

    /// Whether the program takes destinations by name; `true` unless set.
    #[must_use]
    pub fn names(mut self, takes: bool) -> Socks5 {
        self.names = takes;
        self
    }
}

impl Tunnel for Socks5 {
    fn slug(&self) -> String {
        self.slug.clone()
    }

    fn command(&self, route: &Route) -> io::Result<Command> {
        Ok((self.command)(route))
    }

    fn handshake(&self, stream: &mut Stream, target: &Target) -> io::Result<Option<SocketAddr>> {
        let (host, port) = match target {
            Target::Address(address) => (Host::Ip(address.ip()), address.port()),
            Target::Name(name, port) => (Host::Name(name.as_bytes().to_vec()), *port),
        };
        let credentials = self.credentials.as_ref();
        let credentials = credentials.map(|(user, password)| (&user[..], &password[..]));
        let (mut client, greeting) =
            Client::new(socks5::CONNECT, credentials, &host, port).map_err(io::Error::other)?;
        stream.write_all(&greeting)?;
        // The longest thing to miss is a name of 255 bytes and its port.
        let mut buffer = [0; 257];
        loop {
            let length = read(stream, &client, &mut buffer)?;
            match client.feed(&buffer[..length]).map_err(io::Error::other)? {
                Step::Read => {}
                Step::Send(bytes) => stream.write_all(&bytes)?,
                Step::Done(bound) => return Ok(bound.socket_addr()),
            }
        }
    }

    fn binds_outgoing(&self) -> bool {
        self.binds_outgoing
    }

    fn takes_names(&self) -> bool {
        self.names
    }
}

impl fmt::Debug for Socks5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.credentials.as_ref().map(|(user, _)| user);
        f.debug_struct("Socks5")
            .field("slug", &self.slug)
            .field("user", &user.map(|user| String::from_utf8_lossy(user)))
            .field("binds_outgoing", &self.binds_outgoing)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

/// Reads no more than belongs to the proxy's current message: what follows is the service's.
fn read(stream: &mut Stream, client: &Client, buffer: &mut [u8]) -> io::Result<usize> {
    let room = client.missing().min(buffer.len());
    let what = client.waiting_for();
    let add = |error: io::Error| io::Error::new(error.kind(), format!("{what}: {error}"));
    match stream.read(&mut buffer[..room]).map_err(add)? {
        0 => Err(client
            .end()
            .map_or_else(|| cut_short(client), io::Error::other)),
        length => Ok(length),
    }
}

fn cut_short(client: &Client) -> io::Error {
    let message = format!(
        "the stream ended after {} bytes of {}",
        client.came(),
        client.waiting_for()
    );
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
