//! HTTP's CONNECT: RFC 9110 section 9.3.6, RFC 9112, and Basic of RFC 7617.

use std::io::Write;
use std::thread;
use std::time::Duration;

use data_encoding::BASE64;

use super::{
    Refusing, credentials, impossible_name, localhost, not_reached, other_behind_colon, service_of,
    statements, takes_names,
};
use crate::proto::connect::{self, Response};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{Checks, Routes, SuiteDef};
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::family::Family;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::{Endpoint, is_reset};

/// The most interim responses before the one that counts.
const MOST_INTERIM: usize = 8;
/// The bytes that a service sends right before it closes.
const OUTSTANDING: usize = 4 << 20;
const QUICK_OUTSTANDING: usize = 256 << 10;
/// What a client sends to a service that has closed, again and again, and the most of it that a program
/// may take.
const LATE: &[u8] = &[b'x'; 4096];
const MOST_LATE: usize = 16 << 20;
/// How often to look whether a program that does not answer has connected to the service.
const LOOK: Duration = Duration::from_millis(20);
/// The bytes of a long field.
const LONG_FIELD: usize = 70 * 1024;

/// The suite for CONNECT.
pub(super) const SUITE: SuiteDef = SuiteDef {
    name: "connect",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(statements! {
        cut {
            Must "rfc9110/9.3.6/connect" "CONNECT host:port gets a 2xx and an empty line, and carries" "RFC 9110, section 9.3.6" connect;
            Must "rfc9110/9.3.6/no-length" "a 2xx has no Content-Length and no Transfer-Encoding" "RFC 9110, section 9.3.6" no_length;
            Should "rfc9112/4/form" "a 2xx has a status line with both its spaces, and lines that end in CR LF" "RFC 9112, sections 2.2 and 4" form;
            Must "rfc9110/9.3.6/ipv4" "CONNECT to an IPv4 address gets a 2xx" "RFC 9110, section 9.3.6" ipv4;
            Must "rfc9110/9.3.6/ipv6" "CONNECT to an IPv6 address in brackets gets a 2xx" "RFC 9110, section 9.3.6" ipv6;
            Must "rfc9110/9.3.6/name" "CONNECT to localhost by name gets a 2xx" "RFC 9110, section 9.3.6" name;
            Must "rfc9110/9.3.6/port-empty" "an empty port is rejected" "RFC 9110, section 9.3.6" port_empty;
            Must "rfc9110/9.3.6/port-missing" "a missing port is rejected" "RFC 9110, section 9.3.6" port_missing;
            Must "rfc9110/9.3.6/port-0" "the port 0 is rejected" "RFC 9110, section 9.3.6" port_0;
            Must "rfc9110/9.3.6/port-large" "a port beyond 65535 is rejected" "RFC 9110, section 9.3.6" port_large;
            Must "rfc9110/9.3.6/port-negative" "the port -1 is rejected" "RFC 9110, section 9.3.6" port_negative;
            Must "rfc9110/9.3.6/refused" "a refused connection gets no 2xx, but a whole response" "RFC 9110, section 9.3.6" refused;
            Should "rfc9931/7/refused" "a request behind a refused one in the same segment is not obeyed" "RFC 9931, section 7" refused_then_another;
            Should "rfc9110/15.6.3/refused-code" "a refused connection gets a 5xx" "RFC 9110, section 15.6.3" refused_code;
            Must "rfc9110/9.3.6/unknown-name" "a name that cannot exist gets a 4xx or 5xx" "RFC 9110, section 9.3.6" unknown_name;
            Must "rfc9112/3/method" "an unknown method gets a 4xx or 5xx or a close" "RFC 9112, section 3" unknown_method;
            Must "rfc9112/3.2.3/path" "a path as the target gets a 4xx or 5xx or a close" "RFC 9112, section 3.2.3" path;
            Harness "tls" "a ClientHello of TLS gets an error or a close" "harness" tls;
            Should "rfc9112/2.3/version" "HTTP/9.9 gets 505 or 400, or is taken" "RFC 9112, section 2.3" version;
            May "rfc9112/3.2/http-1.0" "HTTP/1.0 without Host gets a 2xx" "RFC 9112, section 3.2" http_1_0;
            Must "rfc9112/3.2/no-host" "HTTP/1.1 without Host gets 400, or a 2xx" "RFC 9112, section 3.2" no_host;
            Must "rfc9110/11.7.1/no-credentials" "no credentials get 407 with Proxy-Authenticate" "RFC 9110, section 11.7.1" no_credentials;
            Must "rfc7617/2/right" "the right credentials get a 2xx" "RFC 7617, section 2" right;
            Must "rfc7617/2/wrong-password" "a wrong password gets 407, also after a right one" "RFC 7617, section 2" wrong_password;
            Must "rfc7617/2/wrong-user" "a wrong user gets 407" "RFC 7617, section 2" wrong_user;
            Must "rfc7617/2/password-prefix" "the password without its last byte gets 407" "RFC 7617, section 2" password_prefix;
            Must "rfc7617/2/password-colon" "a password with another end behind its colon gets 407" "RFC 7617, section 2" password_colon;
            Must "rfc9110/11.1/case" "the scheme in lower case is taken" "RFC 9110, section 11.1" scheme_case;
            Must "rfc9110/11.7.2/bearer" "another scheme gets 407" "RFC 9110, section 11.7.2" bearer;
            Must "rfc7617/2/bad-base64" "what is no Base64 gets 407 or 400" "RFC 7617, section 2" bad_base64;
            Must "rfc7617/2/no-colon" "credentials without a colon get 407 or 400" "RFC 7617, section 2" no_colon;
            Must "rfc9110/11.7.2/authorization" "credentials in Authorization get 407" "RFC 9110, section 11.7.2" authorization;
            Harness "early-data" "data in one segment with the request reaches the service" "harness" early_data;
        }
        whole {
            Harness "long-head" "a field of 70 KB gets 431, 413 or 400, or is taken" "harness" long_head;
            Must "rfc9110/9.3.6/outstanding" "what the service sent before it closed arrives before the end" "RFC 9110, section 9.3.6" outstanding;
            Must "rfc9110/9.3.6/outstanding-up" "what the client sent before it closed arrives before the end" "RFC 9110, section 9.3.6" outstanding_up;
            Must "rfc9110/9.3.6/closes" "when the service has closed, the client's direction is closed too" "RFC 9110, section 9.3.6" closes;
            Harness "half-request" "the end after half a request is followed by a close within 2 seconds" "harness" half_request;
        }
    }),
};

/// Statement 59.
fn connect(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask(context, wire, &own(context))?;
    accepted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 60.
fn no_length(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask(context, wire, &own(context))?;
    let response = accepted(wire)?;
    wire.carries(context, None, b"")?;
    let forbidden = ["content-length", "transfer-encoding"];
    let is_forbidden = |name: &str| forbidden.iter().any(|f| name.eq_ignore_ascii_case(f));
    match response.fields.iter().find(|(name, _)| is_forbidden(name)) {
        None => Ok(()),
        Some((name, _)) => Err(wire.failed(format!("the {} has {name}", response.status))),
    }
}

/// Clients take what is not so, as they are asked to; servers must not send it.
fn form(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask(context, wire, &own(context))?;
    accepted(wire)?;
    let head = wire.end.stream().received().to_vec();
    wire.carries(context, None, b"")?;
    let bare = |(at, byte): (usize, &u8)| *byte == b'\n' && (at == 0 || head[at - 1] != b'\r');
    if let Some(at) = head.iter().enumerate().position(bare) {
        return Err(wire.failed(format!(
            "the line that ends at byte {at} of the head has no CR"
        )));
    }
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    // HTTP-version SP status-code SP, and a reason that may be absent.
    match line {
        [
            b'H',
            b'T',
            b'T',
            b'P',
            b'/',
            _,
            b'.',
            _,
            b' ',
            _,
            _,
            _,
            b' ',
            ..,
        ] => Ok(()),
        line => Err(wire.failed(format!(
            "the status line is {:?}",
            line.escape_ascii().to_string()
        ))),
    }
}

fn ipv4(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    connect_by(context, wire, Family::V4)
}

/// Statement 66.
fn ipv6(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    connect_by(context, wire, Family::V6)
}

fn connect_by(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    family: Family,
) -> Result<(), CheckError> {
    let service = service_of(context, family)?;
    ask(context, wire, &connect::authority(service.addr()))?;
    accepted(wire)?;
    wire.carries(context, Some(&service), b"").map(drop)
}

fn name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let service = localhost(context)?;
    ask(context, wire, &format!("localhost:{}", service.port()))?;
    accepted(wire)?;
    wire.carries(context, Some(&service), b"").map(drop)
}

/// Statement 64.
fn port_empty(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    port(context, wire, ":")
}

fn port_missing(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    port(context, wire, "")
}

fn port_0(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    port(context, wire, ":0")
}

/// The service's port comes out where only 16 bits are kept.
fn port_large(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let large = u32::from(context.route().service.port()) + 65_536;
    port(context, wire, &format!(":{large}"))
}

fn port_negative(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    port(context, wire, ":-1")
}

fn port(context: &mut CheckContext<'_>, wire: &mut Wire, port: &str) -> Result<(), CheckError> {
    let own = own(context);
    let host = own.rsplit_once(':').map_or(&own[..], |(host, _)| host);
    ask(context, wire, &format!("{host}{port}"))?;
    rejected_or_closed(context, wire)
}

/// Statement 65.
fn refused(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    refusal(context, wire).map(drop)
}

fn refused_code(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    match refusal(context, wire)? {
        500..=599 => Ok(()),
        status => Err(wire.failed(format!("the status is {status}"))),
    }
}

fn refusal(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<u16, CheckError> {
    let refusing = Refusing::new(context)?;
    ask(context, wire, &connect::authority(refusing.address))?;
    let response = response(wire)?;
    rejected(context, wire, response)
}

/// What stands behind a request may have been meant for the tunnel, by somebody whom the client does not trust.
fn refused_then_another(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let refusing = Refusing::new(context)?;
    let login = login(context)?;
    let both = [
        request(&connect::authority(refusing.address), &login),
        request(&own(context), &login),
    ];
    wire.send(&both.concat())?;
    // How the first is refused is said elsewhere.
    match response(wire).map(|response| response.status) {
        Ok(400..=599) => {}
        Ok(status) => return Err(CheckError::Skipped(format!("the status is {status}"))),
        Err(CheckError::Failed(message, _)) => return Err(CheckError::Skipped(message)),
        Err(error) => return Err(error),
    }
    // What is left of the response, and maybe another one.
    let closed = wire.rest();
    not_reached(context, wire)?;
    closed.map(drop)
}

/// Statement 67.
fn unknown_name(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    takes_names(context)?;
    let name = String::from_utf8_lossy(&impossible_name(64)).into_owned();
    let port = context.route().service.port();
    ask(context, wire, &format!("{name}:{port}"))?;
    let response = response(wire)?;
    rejected(context, wire, response).map(drop)
}

/// Statement 74.
fn unknown_method(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let own = own(context);
    let login = login(context)?;
    wire.send(format!("FROB {own} HTTP/1.1\r\nHost: {own}\r\n{login}\r\n").as_bytes())?;
    rejected_or_closed(context, wire)
}

fn path(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    ask(context, wire, "/path")?;
    rejected_or_closed(context, wire)
}

/// The beginning of a ClientHello (RFC 8446 section 4.1.2). A program may wait for more of it.
fn tls(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let mut hello = vec![0x16, 3, 1, 0, 46, 1, 0, 0, 42, 3, 3];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x13, 1, 1, 0, 0]);
    wire.send(&hello)?;
    wire.half_close();
    rejected_or_closed(context, wire)
}

/// Statement 75.
fn version(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (own, login) = (own(context), login(context)?);
    wire.send(format!("CONNECT {own} HTTP/9.9\r\nHost: {own}\r\n{login}\r\n").as_bytes())?;
    one_of(context, wire, &[505, 400])
}

/// Statement 61.
fn http_1_0(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (own, login) = (own(context), login(context)?);
    wire.send(format!("CONNECT {own} HTTP/1.0\r\n{login}\r\n").as_bytes())?;
    accepted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

/// Statement 61. The standard wants 400; a proxy that finds all in the target does no harm.
fn no_host(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (own, login) = (own(context), login(context)?);
    wire.send(format!("CONNECT {own} HTTP/1.1\r\n{login}\r\n").as_bytes())?;
    one_of(context, wire, &[400])
}

/// Statement 62.
fn early_data(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let data = b"early\x00\xff";
    let mut message = request(&own(context), &login(context)?);
    message.extend(data);
    wire.send(&message)?;
    accepted(wire)?;
    wire.carries(context, None, data).map(drop)
}

/// Statement 69.
fn no_credentials(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    context.still_works()?;
    wire.send(&request(&own(context), ""))?;
    let response = response(wire)?;
    let is_challenge = |(name, _): &(String, _)| name.eq_ignore_ascii_case("proxy-authenticate");
    let has_challenge = response.fields.iter().any(is_challenge);
    status_is(context, wire, &response, &[407])?;
    match has_challenge {
        true => Ok(()),
        false => Err(wire.failed("the 407 has no Proxy-Authenticate")),
    }
}

fn right(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    connect(context, wire)
}

/// Statement 70.
fn wrong_password(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    let wrong: Vec<u8> = password.iter().map(|byte| byte ^ 1).collect();
    denied(context, wire, user, &wrong)
}

fn wrong_user(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    let wrong: Vec<u8> = user.iter().map(|byte| byte ^ 1).collect();
    denied(context, wire, &wrong, password)
}

fn password_prefix(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    match credentials(context)? {
        (user, [prefix @ .., _]) if !prefix.is_empty() => denied(context, wire, user, prefix),
        _ => Err(CheckError::Skipped(
            "the password has one byte only".to_owned(),
        )),
    }
}

/// Only the first colon divides (RFC 7617 section 2).
fn password_colon(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, password) = credentials(context)?;
    denied(context, wire, user, &other_behind_colon(password)?)
}

/// Statement 71.
fn scheme_case(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    let login = login(context)?.replace(": Basic ", ": basic ");
    wire.send(&request(&own(context), &login))?;
    accepted(wire)?;
    wire.carries(context, None, b"").map(drop)
}

fn bearer(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    let login = login(context)?.replace(": Basic ", ": Bearer ");
    field(context, wire, &login, &[407])
}

fn bad_base64(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    field(
        context,
        wire,
        "Proxy-Authorization: Basic !!!\r\n",
        &[407, 400],
    )
}

fn no_colon(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let (user, _) = credentials(context)?;
    let text = BASE64.encode(user);
    field(
        context,
        wire,
        &format!("Proxy-Authorization: Basic {text}\r\n"),
        &[407, 400],
    )
}

/// Statement 72.
fn authorization(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    credentials(context)?;
    let login = login(context)?.replace("Proxy-Authorization", "Authorization");
    field(context, wire, &login, &[407])
}

/// Statement 73. A program may close before it has read all, and its answer is lost then.
fn long_head(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let long = format!("X-Long: {}\r\n{}", "x".repeat(LONG_FIELD), login(context)?);
    wire.send(&request(&own(context), &long))?;
    match wire.message("the response", connect::response)? {
        None => not_reached(context, wire),
        Some(response) => taken_or(context, wire, &response, &[431, 413, 400]),
    }
}

/// Statement 76, one way.
fn outstanding(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let mut far = through(context, wire)?;
    outstanding_between(context, &mut far, &mut wire.end)
}

/// Statement 76, the other way.
fn outstanding_up(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let mut far = through(context, wire)?;
    outstanding_between(context, &mut wire.end, &mut far)
}

/// `near` sends a lot and closes; `far` has all of it, then the end.
fn outstanding_between(
    context: &mut CheckContext<'_>,
    near: &mut Endpoint,
    far: &mut Endpoint,
) -> Result<(), CheckError> {
    let length = match context.sizes() {
        Sizes::Quick => QUICK_OUTSTANDING,
        Sizes::Full => OUTSTANDING,
    };
    let data = context.random().bytes(length);
    thread::scope(|scope| {
        let sending = scope.spawn(|| {
            let sent = near.send(&data);
            near.stream().cut();
            sent
        });
        let received = far.receive_all(&data);
        let sent = sending.join().unwrap_or_else(|_| {
            let text = "sending has panicked";
            Err(CheckError::failed(text))
        });
        // What has arrived says more than that it could not be sent.
        received.and(sent)
    })?;
    context.carried(length as u64);
    far.expect_end()
}

/// Statement 76, the end.
fn closes(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let far = through(context, wire)?;
    drop(far);
    wire.end.expect_end()?;
    for _ in 0..MOST_LATE / LATE.len() {
        match wire.end.stream().write_all(LATE) {
            Ok(()) => {}
            Err(error) if is_reset(&error) => return Ok(()),
            Err(error) => {
                let message = format!("the service has closed, and the client cannot end: {error}");
                return Err(wire.failed(message));
            }
        }
    }
    let message = format!("the service has closed, and {MOST_LATE} bytes are taken after that");
    Err(wire.failed(message))
}

/// An ordinary connection; its other end.
fn through(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<Endpoint, CheckError> {
    ask(context, wire, &own(context))?;
    accepted(wire)?;
    context.accept(&mut wire.end).map(|(far, _)| far)
}

fn half_request(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    let message = request(&own(context), &login(context)?);
    wire.send(&message[..message.len() / 2])?;
    wire.ends_half(context)
}

/// The service of the route, as a request names it.
fn own(context: &CheckContext<'_>) -> String {
    connect::authority(context.route().service)
}

/// An ordinary request for `authority`.
fn ask(context: &CheckContext<'_>, wire: &mut Wire, authority: &str) -> Result<(), CheckError> {
    wire.send(&request(authority, &login(context)?))
}

fn request(authority: &str, fields: &str) -> Vec<u8> {
    format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n").into_bytes()
}

/// The field with the credentials that are set; nothing without any.
fn login(context: &CheckContext<'_>) -> Result<String, CheckError> {
    match context.tunnel().credentials() {
        None => Ok(String::new()),
        Some((user, password)) => Ok(basic(user, password)),
    }
}

fn basic(user: &[u8], password: &[u8]) -> String {
    let text = BASE64.encode(&[user, b":", password].concat());
    format!("Proxy-Authorization: Basic {text}\r\n")
}

/// Wrong credentials.
fn denied(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    user: &[u8],
    password: &[u8],
) -> Result<(), CheckError> {
    field(context, wire, &basic(user, password), &[407])
}

/// A request with this field in place of the right credentials, right after a good one from the same
/// address, which must change nothing.
fn field(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    field: &str,
    right: &[u16],
) -> Result<(), CheckError> {
    context.still_works()?;
    wire.send(&request(&own(context), field))?;
    let response = response(wire)?;
    status_is(context, wire, &response, right)
}

/// The response that counts.
fn response(wire: &mut Wire) -> Result<Response, CheckError> {
    match response_or_close(wire)? {
        Some(response) => Ok(response),
        None => Err(wire.failed("the program closes in place of the response")),
    }
}

fn response_or_close(wire: &mut Wire) -> Result<Option<Response>, CheckError> {
    for _ in 0..=MOST_INTERIM {
        match wire.message("the response", connect::response)? {
            Some(response) if response.is_interim() => {}
            response => return Ok(response),
        }
    }
    Err(wire.failed(format!("more than {MOST_INTERIM} interim responses")))
}

fn accepted(wire: &mut Wire) -> Result<Response, CheckError> {
    let response = response(wire)?;
    match response.clone().accepted() {
        Ok(()) => Ok(response),
        Err(error) => Err(wire.failed(error.to_string())),
    }
}

/// The response is a 4xx or 5xx, and the service was not reached; the status.
fn rejected(
    context: &CheckContext<'_>,
    wire: &Wire,
    response: Response,
) -> Result<u16, CheckError> {
    match response.status {
        400..=599 => not_reached(context, wire).map(|()| response.status),
        status => Err(wire.failed(format!("the status is {status}"))),
    }
}

fn rejected_or_closed(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    // A program that passes it on waits for the service, and does not answer before that.
    while !wire.has_more_within(LOOK) && !wire.end.stream().remaining().is_zero() {
        not_reached(context, wire)?;
    }
    match response_or_close(wire) {
        Ok(Some(response)) => rejected(context, wire, response).map(drop),
        Ok(None) => not_reached(context, wire),
        // That it was forwarded says more than that no answer comes.
        Err(error) => not_reached(context, wire).and(Err(error)),
    }
}

fn status_is(
    context: &CheckContext<'_>,
    wire: &Wire,
    response: &Response,
    right: &[u16],
) -> Result<(), CheckError> {
    match right.contains(&response.status) {
        true => not_reached(context, wire),
        false => Err(wire.failed(format!("the status is {}", response.status))),
    }
}

/// One of these, or a 2xx that is meant.
fn one_of(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    right: &[u16],
) -> Result<(), CheckError> {
    let response = response(wire)?;
    taken_or(context, wire, &response, right)
}

fn taken_or(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    response: &Response,
    right: &[u16],
) -> Result<(), CheckError> {
    match response.status {
        200..=299 => wire.carries(context, None, b"").map(drop),
        _ => status_is(context, wire, response, right),
    }
}
