//! How real programs are run: what a user would copy, with the configuration files in `recipes/`.
//!
//! They are written for Debian 12 and for root; where a daemon is in `/usr/sbin`, the recipe says so,
//! for that folder is not in every user's path.
//!
//! None of them deviates in `connectivity`. What is known of them beyond that is at each recipe.

use loopback::tunnel::{Forward, HttpConnect, ProxyProtocol, Socks4, Socks5, Template};

macro_rules! recipe {
    ($path:literal) => {
        include_str!(concat!("recipes/", $path))
    };
}

/// dante's server, which speaks SOCKS5 and SOCKS4 on one port.
fn danted() -> Template {
    Template::new(recipe!("danted/command")).file("danted.conf", recipe!("danted/danted.conf"))
}

pub(crate) fn danted_socks5() -> Socks5 {
    Socks5::template(danted()).binds_outgoing(true)
}

pub(crate) fn danted_socks4() -> Socks4 {
    Socks4::template(danted()).binds_outgoing(true)
}

/// tinyproxy, with `more` at the end of its configuration.
pub(crate) fn tinyproxy_template(more: &str) -> Template {
    let config = format!("{}{more}", recipe!("tinyproxy/tinyproxy.conf"));
    Template::new(recipe!("tinyproxy/command")).file("tinyproxy.conf", config)
}

pub(crate) fn tinyproxy() -> HttpConnect {
    HttpConnect::template(tinyproxy_template("")).binds_outgoing(true)
}

/// tinyproxy with a login. It answers a wrong password with 401, where 407 is due (RFC 9110 section
/// 15.5.8).
pub(crate) fn tinyproxy_auth() -> HttpConnect {
    let template = tinyproxy_template("BasicAuth {user} {password}\n");
    let tunnel = HttpConnect::template(template).auth("me", "s3cret");
    tunnel.binds_outgoing(true)
}

/// It takes two seconds to end after TERM, whatever `shutdown_lifetime` says.
pub(crate) fn squid() -> HttpConnect {
    let command = Template::new(recipe!("squid/command"));
    HttpConnect::template(command.file("squid.conf", recipe!("squid/squid.conf")))
        .binds_outgoing(true)
}

fn haproxy(config: &str) -> Template {
    Template::new(recipe!("haproxy/command")).file("haproxy.cfg", config)
}

pub(crate) fn haproxy_tcp() -> Forward {
    Forward::template(haproxy(recipe!("haproxy/tcp.cfg"))).binds_outgoing(true)
}

pub(crate) fn haproxy_v1() -> ProxyProtocol {
    let template = haproxy(recipe!("haproxy/send-proxy.cfg"));
    ProxyProtocol::template(template).v1().binds_outgoing(true)
}

pub(crate) fn haproxy_v2() -> ProxyProtocol {
    let template = haproxy(recipe!("haproxy/send-proxy-v2.cfg"));
    ProxyProtocol::template(template).v2().binds_outgoing(true)
}

fn nginx(config: &str) -> Forward {
    let command = Template::new(recipe!("nginx-stream/command"));
    Forward::template(command.file("nginx.conf", config)).binds_outgoing(true)
}

pub(crate) fn nginx_stream() -> Forward {
    nginx(recipe!("nginx-stream/nginx.conf"))
}

/// nginx with `proxy_half_close on`.
pub(crate) fn nginx_half_close() -> Forward {
    nginx(recipe!("nginx-stream/half-close.conf"))
}

/// A pair: TLS between the client's end and the service's, with a certificate made for the run.
pub(crate) fn stunnel_pair() -> Forward {
    let pair = Template::new(recipe!("stunnel-pair/server"))
        .listens_on("{listen_2}")
        .then(recipe!("stunnel-pair/client"))
        .file("server.conf", recipe!("stunnel-pair/server.conf"))
        .file("client.conf", recipe!("stunnel-pair/client.conf"));
    Forward::template(pair).binds_outgoing(true)
}

/// An sshd with keys made for the run, and a client of it. It can only log in as the user that it runs
/// as.
fn ssh(sshd: &str, config: &str, client: &str) -> Template {
    Template::new(sshd)
        .listens_on("{listen_2}")
        .then(client)
        .file("sshd_config", config)
}

pub(crate) fn ssh_l() -> Forward {
    Forward::template(ssh(
        recipe!("ssh-l/sshd"),
        recipe!("ssh-l/sshd_config"),
        recipe!("ssh-l/command"),
    ))
}

fn ssh_d() -> Template {
    ssh(
        recipe!("ssh-d/sshd"),
        recipe!("ssh-d/sshd_config"),
        recipe!("ssh-d/command"),
    )
}

pub(crate) fn ssh_d_socks5() -> Socks5 {
    Socks5::template(ssh_d())
}

pub(crate) fn ssh_d_socks4() -> Socks4 {
    Socks4::template(ssh_d())
}
