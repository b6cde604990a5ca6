//! HTTP CONNECT (RFC 9110 section 9.3.6), with Basic credentials (RFC 7617).

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process;

use crate::base64;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::outgoing::{self, Target};
use crate::serve::{self, Proxy, Replies};
use crate::wire::{Wire, invalid};

/// The longest request head.
const LONGEST: usize = 64 * 1024;

const REPLIES: Replies = Replies {
    success: |options, _| success(options),
    failure: |options, error| failure(options, status(error)),
};

pub(crate) fn serve(proxy: &Proxy, mut wire: Wire) -> io::Result<()> {
    let options = wire.options;
    wire.begin();
    // No method begins with another byte: that is a client of another protocol.
    if !wire.peek()?.is_ascii_uppercase() {
        return refuse(wire, 400, "no HTTP");
    }
    let Some(head) = wire.until(b"\r\n\r\n", LONGEST)? else {
        if options.has(Mutation::DiesOnLongHead) {
            process::exit(134);
        }
        return refuse(wire, 431, "a head beyond 64 KB");
    };
    let Some(mut wire) = serve::opening(wire, &[5, 0])? else {
        return Ok(());
    };
    let head = String::from_utf8_lossy(&head).into_owned();
    let target = match parse(options, &head) {
        Ok(target) => target,
        Err((status, why)) => return refuse(wire, status, why),
    };
    let from = wire.stream.peer_addr()?.ip();
    if options.login.is_some() && !may_pass(proxy, from, &head) {
        return wire.fail(&failure(options, 407));
    }
    if options.has(Mutation::ObeysAfterRefusal) {
        return match outgoing::connect(options, &target) {
            Ok(service) => serve::promise(wire, service, success(options)),
            Err(error) => {
                wire.answer(&failure(options, status(&error)))?;
                serve(proxy, wire)
            }
        };
    }
    serve::establish(wire, &target, &REPLIES)
}

/// Answers what is not a request for us.
fn refuse(wire: Wire, status: u16, why: &str) -> io::Result<()> {
    let reply = failure(wire.options, status);
    wire.fail(&reply)?;
    Err(invalid(why))
}

/// The target of a request head, or the status that answers it.
fn parse(options: &Options, head: &str) -> Result<Target, (u16, &'static str)> {
    let mut lines = head.split("\r\n");
    let mut words = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err((400, "a request line of other than three words"));
    };
    let needs_host = match version {
        "HTTP/1.1" => true,
        "HTTP/1.0" => options.has(Mutation::WantsHost),
        _ if options.has(Mutation::IgnoresVersion) => false,
        _ if version.starts_with("HTTP/") => return Err((505, "an unknown version")),
        _ => return Err((400, "no HTTP")),
    };
    if method != "CONNECT" && !options.has(Mutation::TakesAnyCommand) {
        return Err((405, "an unknown method"));
    }
    let mut hosts = 0;
    for line in lines {
        let name = line.split_once(':').map(|(name, _)| name);
        match name {
            Some(name) if is_token(name) => hosts += u8::from(name.eq_ignore_ascii_case("host")),
            _ => return Err((400, "a malformed field")),
        }
        if hosts > 1 {
            return Err((400, "two Hosts"));
        }
    }
    // RFC 9112 section 3.2.
    if needs_host && hosts == 0 {
        return Err((400, "no Host"));
    }
    authority(options, target).ok_or((400, "a target that is no host and port"))
}

/// `host:port` (RFC 9112 section 3.2.3).
fn authority(options: &Options, target: &str) -> Option<Target> {
    let (host, port) = match target.rsplit_once(':') {
        Some(split) => split,
        None if options.has(Mutation::TakesAnyPort) => (target, ""),
        None => return None,
    };
    let port = match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => number,
        _ if options.has(Mutation::TakesAnyPort) => port.parse::<i64>().unwrap_or(80) as u16,
        _ => return None,
    };
    if let Some(inner) = host.strip_prefix('[') {
        let ip: IpAddr = IpAddr::V6(inner.strip_suffix(']')?.parse().ok()?);
        return Some(Target::Address(SocketAddr::new(ip, port)));
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte);
    let good = !host.is_empty() && host.bytes().all(is_host);
    good.then(|| Target::Name(host.to_owned(), port))
}

/// Whether the credentials are right.
fn may_pass(proxy: &Proxy, from: IpAddr, head: &str) -> bool {
    let options = proxy.options;
    let field = match options.has(Mutation::TakesAuthorization) {
        true => "authorization",
        false => "proxy-authorization",
    };
    if options.has(Mutation::NeedsNoLogin) {
        return true;
    }
    let fields = head.split("\r\n").skip(1);
    let value = fields
        .filter_map(|line| line.split_once(':'))
        .find_map(|(name, value)| {
            let known = name.eq_ignore_ascii_case(field)
                || name.eq_ignore_ascii_case("proxy-authorization");
            known.then_some(value.trim())
        });
    let Some((scheme, credentials)) = value.and_then(|value| value.split_once(' ')) else {
        return proxy.logins.check(options, from, &[], &[]);
    };
    let is_basic = match options.has(Mutation::SchemeByCase) {
        true => scheme == "Basic",
        false => scheme.eq_ignore_ascii_case("basic"),
    };
    let pair = is_basic.then(|| base64::decode(credentials.trim().as_bytes()));
    let pair = pair.flatten().unwrap_or_default();
    let Some(colon) = pair.iter().position(|byte| *byte == b':') else {
        return proxy.logins.check(options, from, &[], &[]);
    };
    let (user, password) = (&pair[..colon], &pair[colon + 1..]);
    proxy.logins.check(options, from, user, password)
}

fn success(options: &Options) -> Vec<u8> {
    let mut reply = match options.has(Mutation::ShortStatusLine) {
        true => format!("{} 200\r\n", version(options)),
        false => format!("{} 200 Connection established\r\n", version(options)),
    };
    if options.has(Mutation::ContentLength) {
        reply += "Content-Length: 0\r\n";
    }
    if options.has(Mutation::TransferEncoding) {
        reply += "Transfer-Encoding: chunked\r\n";
    }
    if !options.has(Mutation::NoEmptyLine) {
        reply += "\r\n";
    }
    if options.has(Mutation::BareLineFeeds) {
        reply = reply.replace('\r', "");
    }
    reply.into_bytes()
}

fn failure(options: &Options, status: u16) -> Vec<u8> {
    let status = match () {
        () if options.has(Mutation::OneFailureCode) => 500,
        () if options.has(Mutation::UnknownFailureCode) => 999,
        () => status,
    };
    let reason = match status {
        400 => "Bad Request",
        403 => "Forbidden",
        405 => "Method Not Allowed",
        407 => "Proxy Authentication Required",
        431 => "Request Header Fields Too Large",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Failure",
    };
    let extra = match status {
        405 => "Allow: CONNECT\r\n",
        407 if !options.has(Mutation::NoChallenge) => {
            "Proxy-Authenticate: Basic realm=\"mutant\"\r\n"
        }
        _ => "",
    };
    let version = version(options);
    format!("{version} {status} {reason}\r\n{extra}Content-Length: 0\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

fn version(options: &Options) -> &'static str {
    match options.has(Mutation::WrongVersion) {
        true => "HTTP/3.1",
        false => "HTTP/1.1",
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(of_token)
}

fn status(error: &io::Error) -> u16 {
    match error.kind() {
        io::ErrorKind::PermissionDenied => 403,
        io::ErrorKind::TimedOut => 504,
        _ => 502,
    }
}
