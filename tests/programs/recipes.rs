//! How real programs are run: what a user would copy, with the configuration files in `recipes/`, and in
//! what they deviate.
//!
//! They are written for Debian 12; where a daemon is in `/usr/sbin`, the recipe says so, for that folder
//! is not in every user's path.
//!
//! A file `.deviations` has a line for each statement that does not hold for the program:
//!
//! ```text
//! expect <pattern of check ids>: <why>
//! slow <pattern of check ids>: <why, where it takes a lot of time to see that>
//! skip <pattern of check ids>: <why, where it depends on the machine's load>
//! ```
//!
//! Empty lines and those that begin with `#` are left out.

use loopback::TunnelHarness;
use loopback::tunnel::{
    Family, Forward, HttpConnect, ProxyProtocol, Socks4, Socks4a, Socks5, Template, Tunnel,
};

macro_rules! recipe {
    ($path:literal) => {
        include_str!(concat!("recipes/", $path))
    };
}

/// A program, how to run it, and what is known of it.
#[derive(Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    pub(crate) program: &'static str,
    /// Debian's.
    pub(crate) package: &'static str,
    /// Whether the recipe, as it is, works for root alone.
    pub(crate) for_root: bool,
    /// Whether it is a program of another recipe, spoken to in another way.
    pub(crate) again: bool,
    /// Whether it is in no package of Debian's, and a machine may lack it.
    pub(crate) optional: bool,
    harness: fn() -> TunnelHarness,
    deviations: &'static str,
}

impl Recipe {
    /// A harness that knows the program's deviations.
    pub(crate) fn harness(&self, slow: Slow) -> TunnelHarness {
        let lines = self.deviations.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.fold((self.harness)(), |harness, line| {
            let (words, reason) = line.split_once(": ").unwrap_or_else(|| wrong(line));
            match (words.split_once(' '), slow) {
                (Some(("expect", pattern)), _) => harness.known_deviation(pattern, reason),
                (Some(("slow", pattern)), Slow::Expect) => harness.known_deviation(pattern, reason),
                (Some(("slow" | "skip", pattern)), _) => harness.skip(pattern, reason),
                _ => wrong(line),
            }
        })
    }
}

fn wrong(line: &str) -> ! {
    panic!("not `expect`, `slow` or `skip`, a pattern, a colon and a reason: {line}")
}

/// What becomes of a deviation that is slow to see.
#[derive(Clone, Copy)]
pub(crate) enum Slow {
    Expect,
    Skip,
}

/// One line of the table below.
const fn recipe(
    name: &'static str,
    (program, package): (&'static str, &'static str),
    harness: fn() -> TunnelHarness,
    deviations: &'static str,
) -> Recipe {
    Recipe {
        name,
        program,
        package,
        for_root: false,
        again: false,
        optional: false,
        harness,
        deviations,
    }
}

impl Recipe {
    const fn for_root(mut self) -> Recipe {
        self.for_root = true;
        self
    }

    const fn optional(mut self) -> Recipe {
        self.optional = true;
        self
    }

    const fn again(mut self) -> Recipe {
        self.again = true;
        self
    }
}

const MICROSOCKS: (&str, &str) = ("microsocks", "microsocks");
const DANTED: (&str, &str) = ("danted", "dante-server");
const TINYPROXY: (&str, &str) = ("tinyproxy", "tinyproxy");
const SQUID: (&str, &str) = ("squid", "squid");
const SOCAT: (&str, &str) = ("socat", "socat");
const HAPROXY: (&str, &str) = ("haproxy", "haproxy");
const NGINX: (&str, &str) = ("nginx", "nginx-light and libnginx-mod-stream");
const NCAT: (&str, &str) = ("ncat", "ncat");
const SIMPLEPROXY: (&str, &str) = ("simpleproxy", "simpleproxy");
const SSLH: (&str, &str) = ("sslh", "sslh");
const STUNNEL: (&str, &str) = ("stunnel4", "stunnel4");
const SSHD: (&str, &str) = ("sshd", "openssh-server");

/// All recipes, those first that take longest.
pub(crate) const ALL: &[Recipe] = &[
    recipe(
        "ssh_d_socks5",
        SSHD,
        || new(ssh_d_socks5()),
        recipe!("ssh/dynamic-socks5.deviations"),
    )
    .for_root(),
    recipe(
        "ssh_l",
        SSHD,
        || new(ssh_l()),
        recipe!("ssh/local.deviations"),
    )
    .for_root(),
    recipe(
        "stunnel_pair",
        STUNNEL,
        || new(stunnel_pair()),
        recipe!("stunnel-pair/pair.deviations"),
    ),
    recipe(
        "squid",
        SQUID,
        || new(squid()).jobs(SQUIDS),
        recipe!("squid/plain.deviations"),
    ),
    recipe(
        "microsocks",
        MICROSOCKS,
        || new(microsocks()),
        recipe!("microsocks/plain.deviations"),
    ),
    recipe(
        "microsocks_login",
        MICROSOCKS,
        || new(microsocks_login()),
        recipe!("microsocks/login.deviations"),
    ),
    recipe(
        "danted_socks5",
        DANTED,
        || new(danted_socks5()),
        recipe!("danted/socks5.deviations"),
    )
    .for_root(),
    recipe(
        "danted_socks4",
        DANTED,
        || new(danted_socks4()),
        recipe!("danted/socks4.deviations"),
    )
    .for_root(),
    recipe(
        "tinyproxy",
        TINYPROXY,
        || new(tinyproxy()),
        recipe!("tinyproxy/plain.deviations"),
    ),
    recipe(
        "tinyproxy_login",
        TINYPROXY,
        || new(tinyproxy_login()),
        recipe!("tinyproxy/login.deviations"),
    ),
    recipe(
        "squid_login",
        SQUID,
        || new(squid_login()).jobs(SQUIDS),
        recipe!("squid/login.deviations"),
    )
    .again(),
    recipe(
        "socat",
        SOCAT,
        || new(socat()),
        recipe!("socat/plain.deviations"),
    ),
    recipe(
        "socat_t_60",
        SOCAT,
        || new(socat_t_60()),
        recipe!("socat/t-60.deviations"),
    ),
    recipe(
        "haproxy_tcp",
        HAPROXY,
        || new(haproxy_tcp()),
        recipe!("haproxy/tcp.deviations"),
    ),
    recipe(
        "haproxy_send_proxy",
        HAPROXY,
        || new(haproxy_send_proxy()),
        recipe!("haproxy/send-proxy.deviations"),
    ),
    recipe(
        "haproxy_tcp_checked",
        HAPROXY,
        || new(haproxy_tcp_checked()),
        recipe!("haproxy/tcp.deviations"),
    ),
    recipe(
        "haproxy_send_proxy_v2_checked",
        HAPROXY,
        || new(haproxy_send_proxy_v2_checked()),
        recipe!("haproxy/send-proxy-v2.deviations"),
    ),
    recipe(
        "haproxy_send_proxy_v2",
        HAPROXY,
        || new(haproxy_send_proxy_v2()),
        recipe!("haproxy/send-proxy-v2.deviations"),
    ),
    recipe(
        "socat_udp",
        SOCAT,
        || new(socat_udp()),
        recipe!("socat/udp.deviations"),
    ),
    recipe(
        "nginx_udp",
        NGINX,
        || new(nginx(recipe!("nginx-stream/udp.conf")).udp()),
        recipe!("nginx-stream/udp.deviations"),
    ),
    recipe(
        "sslh",
        SSLH,
        || new(Forward::template(recipe!("sslh/command"))),
        recipe!("sslh/plain.deviations"),
    ),
    recipe(
        "pproxy",
        ("pproxy", "pproxy of PyPI"),
        || new(Socks5::template(recipe!("pproxy/command"))),
        recipe!("pproxy/socks5.deviations"),
    )
    .optional(),
    recipe(
        "proxy_py",
        // Its own program has a name that others may have too.
        ("grout", "proxy.py of PyPI"),
        || new(HttpConnect::template(recipe!("proxy.py/command"))),
        recipe!("proxy.py/connect.deviations"),
    )
    .optional(),
    recipe(
        "ncat",
        NCAT,
        || new(ncat()),
        recipe!("ncat/connect.deviations"),
    ),
    recipe(
        "simpleproxy",
        SIMPLEPROXY,
        || new(simpleproxy()).families([(Family::V4, Family::V4)]),
        recipe!("simpleproxy/plain.deviations"),
    ),
    recipe(
        "nginx_stream",
        NGINX,
        || new(nginx_stream()),
        recipe!("nginx-stream/plain.deviations"),
    ),
    recipe(
        "nginx_half_close",
        NGINX,
        || new(nginx_half_close()),
        recipe!("nginx-stream/half-close.deviations"),
    ),
    recipe(
        "ssh_d_socks4",
        SSHD,
        || new(ssh_d_socks4()),
        recipe!("ssh/dynamic-socks4.deviations"),
    )
    .for_root()
    .again(),
    recipe(
        "ssh_d_socks4a",
        SSHD,
        || new(ssh_d_socks4a()),
        recipe!("ssh/dynamic-socks4a.deviations"),
    )
    .for_root()
    .again(),
];

fn new(tunnel: impl Tunnel + 'static) -> TunnelHarness {
    TunnelHarness::new(tunnel)
}

pub(crate) fn microsocks() -> Socks5 {
    Socks5::template(recipe!("microsocks/command")).binds_outgoing(true)
}

fn microsocks_login() -> Socks5 {
    let tunnel = Socks5::template(recipe!("microsocks/command-login"));
    tunnel.auth("me", "s3:cret").binds_outgoing(true)
}

/// dante's server, which speaks SOCKS5 and SOCKS4 on one port.
fn danted() -> Template {
    Template::new(recipe!("danted/command")).file("danted.conf", recipe!("danted/danted.conf"))
}

fn danted_socks5() -> Socks5 {
    Socks5::template(danted()).binds_outgoing(true)
}

fn danted_socks4() -> Socks4 {
    Socks4::template(danted()).binds_outgoing(true)
}

/// tinyproxy, with `more` at the end of its configuration.
fn tinyproxy_template(more: &str) -> Template {
    let config = format!("{}{more}", recipe!("tinyproxy/tinyproxy.conf"));
    Template::new(recipe!("tinyproxy/command")).file("tinyproxy.conf", config)
}

fn tinyproxy() -> HttpConnect {
    HttpConnect::template(tinyproxy_template("")).binds_outgoing(true)
}

/// Its passwords cannot have a colon.
fn tinyproxy_login() -> HttpConnect {
    let template = tinyproxy_template("BasicAuth {user} {password}\n");
    let tunnel = HttpConnect::template(template).auth("me", "s3cret");
    tunnel.binds_outgoing(true)
}

/// It takes two seconds to end after TERM, whatever `shutdown_lifetime` says: several of them wait side by
/// side.
const SQUIDS: usize = 8;

/// Each has a name of its own (`-n`), as those of one name share memory. One that is killed leaves three
/// files with that name in `/dev/shm`.
fn squid() -> HttpConnect {
    let command = Template::new(recipe!("squid/command"));
    HttpConnect::template(command.file("squid.conf", recipe!("squid/squid.conf")))
        .binds_outgoing(true)
}

/// The file of passwords is made by the command.
fn squid_login() -> HttpConnect {
    let command = Template::new(recipe!("squid/command-login"));
    HttpConnect::template(command.file("squid.conf", recipe!("squid/login.conf")))
        .auth("me", "s3:cret")
        .binds_outgoing(true)
}

/// Without `-t` socat waits half a second for the other way when one way has ended.
fn socat() -> Forward {
    Forward::template(recipe!("socat/command")).binds_outgoing(true)
}

pub(crate) fn socat_t_60() -> Forward {
    Forward::template(recipe!("socat/command-t-60")).binds_outgoing(true)
}

fn socat_udp() -> Forward {
    Forward::template(recipe!("socat/command-udp"))
        .udp()
        .binds_outgoing(true)
}

fn ncat() -> HttpConnect {
    HttpConnect::template(recipe!("ncat/command"))
}

/// It knows IPv4 alone.
fn simpleproxy() -> Forward {
    Forward::template(recipe!("simpleproxy/command"))
}

fn haproxy(config: &str) -> Template {
    Template::new(recipe!("haproxy/command")).file("haproxy.cfg", config)
}

fn haproxy_tcp() -> Forward {
    Forward::template(haproxy(recipe!("haproxy/tcp.cfg"))).binds_outgoing(true)
}

/// Which looks every 50 ms whether the service lives.
fn haproxy_tcp_checked() -> Forward {
    let config = recipe!("haproxy/tcp-checked.cfg");
    Forward::template(haproxy(config)).binds_outgoing(true)
}

fn haproxy_send_proxy_v2_checked() -> ProxyProtocol {
    let template = haproxy(recipe!("haproxy/send-proxy-v2-checked.cfg"));
    ProxyProtocol::template(template).v2().binds_outgoing(true)
}

pub(crate) fn haproxy_send_proxy() -> ProxyProtocol {
    let template = haproxy(recipe!("haproxy/send-proxy.cfg"));
    ProxyProtocol::template(template).v1().binds_outgoing(true)
}

fn haproxy_send_proxy_v2() -> ProxyProtocol {
    let template = haproxy(recipe!("haproxy/send-proxy-v2.cfg"));
    ProxyProtocol::template(template).v2().binds_outgoing(true)
}

fn nginx(config: &str) -> Forward {
    let command = Template::new(recipe!("nginx-stream/command"));
    Forward::template(command.file("nginx.conf", config)).binds_outgoing(true)
}

fn nginx_stream() -> Forward {
    nginx(recipe!("nginx-stream/nginx.conf"))
}

/// nginx with `proxy_half_close on`.
fn nginx_half_close() -> Forward {
    nginx(recipe!("nginx-stream/half-close.conf"))
}

/// A pair: TLS between the client's end and the service's, with a certificate made for the run.
fn stunnel_pair() -> Forward {
    let pair = Template::new(recipe!("stunnel-pair/server"))
        .listens_on("{listen_2}")
        .then(recipe!("stunnel-pair/client"))
        .file("server.conf", recipe!("stunnel-pair/server.conf"))
        .file("client.conf", recipe!("stunnel-pair/client.conf"));
    Forward::template(pair).binds_outgoing(true)
}

/// An sshd with keys made for the run, and a client of it. It can only log in as the user that it runs
/// as.
fn ssh(client: &str) -> Template {
    Template::new(recipe!("ssh/sshd"))
        .listens_on("{listen_2}")
        .then(client)
        .file("sshd_config", recipe!("ssh/sshd_config"))
}

fn ssh_l() -> Forward {
    Forward::template(ssh(recipe!("ssh/local")))
}

fn ssh_d_socks5() -> Socks5 {
    Socks5::template(ssh(recipe!("ssh/dynamic")))
}

fn ssh_d_socks4() -> Socks4 {
    Socks4::template(ssh(recipe!("ssh/dynamic")))
}

fn ssh_d_socks4a() -> Socks4a {
    Socks4a::template(ssh(recipe!("ssh/dynamic")))
}
