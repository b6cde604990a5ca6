//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::mutation::Mutation;

/// What clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Forward,
    ForwardUdp,
    Socks4,
    Socks4a,
    Socks5,
    Connect,
    ProxyV1,
    ProxyV2,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) protocol: Protocol,
    pub(crate) listen: SocketAddr,
    pub(crate) service: Option<SocketAddr>,
    pub(crate) outgoing: Option<IpAddr>,
    pub(crate) login: Option<(Vec<u8>, Vec<u8>)>,
    /// How long a client may take for its handshake.
    pub(crate) patience: Duration,
    pub(crate) slow: bool,
    pub(crate) coalesce: bool,
    /// Ends by itself after this time, for one that nobody finds.
    pub(crate) life: Option<Duration>,
    /// Where `stale-pid-file` leaves its file.
    pub(crate) pid_files: Option<PathBuf>,
    pub(crate) mutations: Vec<Mutation>,
}

impl Options {
    pub(crate) fn parse(args: &[String]) -> Result<Options, String> {
        let (protocol, rest) = args.split_first().ok_or("a protocol or --list is wanted")?;
        let mut options = Options {
            protocol: Protocol::parse(protocol)?,
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            service: None,
            outgoing: None,
            login: None,
            patience: Duration::from_secs(5),
            slow: false,
            coalesce: false,
            life: None,
            pid_files: None,
            mutations: Vec::new(),
        };
        let (mut listen, mut user, mut password) = (None, None, None);
        let mut words = rest.iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value"));
            match word.as_str() {
                "--slow" => options.slow = true,
                "--coalesce" => options.coalesce = true,
                "--listen" => listen = Some(parse(word, value()?)?),
                "--service" => options.service = Some(parse(word, value()?)?),
                "--outgoing" => options.outgoing = Some(parse(word, value()?)?),
                "--user" => user = Some(value()?.clone().into_bytes()),
                "--password" => password = Some(value()?.clone().into_bytes()),
                "--patience" => options.patience = Duration::from_millis(parse(word, value()?)?),
                "--life" => options.life = Some(Duration::from_millis(parse(word, value()?)?)),
                "--pid-files" => options.pid_files = Some(value()?.into()),
                "--mutation" => options.mutations.push(Mutation::parse(value()?)?),
                other => return Err(format!("unknown option {other}")),
            }
        }
        options.listen = listen.ok_or("--listen is wanted")?;
        options.login = user.map(|user| (user, password.unwrap_or_default()));
        if options.protocol.forwards() && options.service.is_none() {
            return Err(format!("{protocol} wants --service"));
        }
        Ok(options)
    }

    /// Whether it is to be wrong in this way.
    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutations.contains(&mutation)
    }
}

impl Protocol {
    fn parse(name: &str) -> Result<Protocol, String> {
        Ok(match name {
            "forward" => Protocol::Forward,
            "forward-udp" => Protocol::ForwardUdp,
            "socks4" => Protocol::Socks4,
            "socks4a" => Protocol::Socks4a,
            "socks5" => Protocol::Socks5,
            "connect" => Protocol::Connect,
            "proxy-v1" => Protocol::ProxyV1,
            "proxy-v2" => Protocol::ProxyV2,
            other => return Err(format!("unknown protocol {other}")),
        })
    }

    fn forwards(self) -> bool {
        matches!(
            self,
            Protocol::Forward | Protocol::ForwardUdp | Protocol::ProxyV1 | Protocol::ProxyV2
        )
    }
}

fn parse<T: std::str::FromStr>(word: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{word} cannot be {value:?}"))
}
