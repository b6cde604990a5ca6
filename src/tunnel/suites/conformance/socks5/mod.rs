//! SOCKS5: RFC 1928, and RFC 1929 for user and password.

mod login;
mod negotiation;
mod request;

use super::statements;
use crate::proto::socks5::{self, Host, Reply};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{Checks, Routes, SuiteDef};
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::CheckError;

/// The suite for SOCKS5.
pub(super) const SUITE: SuiteDef = SuiteDef {
    name: "socks5",
    routes: Routes::First,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(statements! {
        cut {
            Must "rfc1928/3/no-auth" "05 01 00 is answered with 05 00" "RFC 1928, section 3" negotiation::no_auth;
            Must "rfc1928/3/choice" "of the methods 00 and 02 one is chosen" "RFC 1928, section 3" negotiation::choice;
            Must "rfc1928/3/user-password" "the one method 02, where no login is set, gets ff or itself, never 00" "RFC 1928, section 3" negotiation::only::<2>;
            Must "rfc1928/3/gssapi" "the one method 01 gets ff or itself, never 00" "RFC 1928, section 3" negotiation::only::<1>;
            Must "rfc1928/3/private" "the one method 80 gets ff or itself, never 00" "RFC 1928, section 3" negotiation::only::<0x80>;
            Must "rfc1928/3/no-methods" "no methods at all get ff or a close" "RFC 1928, section 3" negotiation::no_methods;
            Must "rfc1928/3/most-methods" "of 255 methods the last one is found" "RFC 1928, section 3" negotiation::most_methods;
            Must "rfc1928/3/version-6" "version 06 gets no method, and a close" "RFC 1928, section 3" negotiation::version::<6>;
            Must "rfc1928/3/version-0" "version 00 gets no method, and a close" "RFC 1928, section 3" negotiation::version::<0>;
            Must "rfc1928/3/login-required" "where a login is set, 05 01 00 is answered with 05 ff" "RFC 1928, section 3" negotiation::login_required;
            Must "rfc1928/3/login-chosen" "where a login is set, of 00 and 02 the method 02 is chosen" "RFC 1928, section 3" negotiation::login_chosen;
            Harness "rfc1928/3/closes" "after 05 ff the program closes" "harness" negotiation::closes;
            Harness "http" "GET / HTTP/1.0 gets no method, and a close" "harness" negotiation::http;
            Harness "socks4" "a request of SOCKS4 gets a close, or a connection of SOCKS4" "harness" negotiation::socks4;

            Must "rfc1929/2/right" "the right user and password get 01 00" "RFC 1929, section 2" login::right;
            Must "rfc1929/2/wrong-password" "a wrong password gets a failure and a close, also after a right one" "RFC 1929, section 2" login::wrong_password;
            Must "rfc1929/2/wrong-user" "a wrong user gets a failure and a close" "RFC 1929, section 2" login::wrong_user;
            Must "rfc1929/2/password-prefix" "the password without its last byte gets a failure" "RFC 1929, section 2" login::password_prefix;
            Must "rfc1929/2/password-nul" "the password and a NUL get a failure" "RFC 1929, section 2" login::password_nul;
            Must "rfc1929/2/password-colon" "a password with another end behind its colon gets a failure" "RFC 1929, section 2" login::password_colon;
            Must "rfc1929/2/empty" "an empty user and password get a failure or a close" "RFC 1929, section 2" login::empty;
            Must "rfc1929/2/version" "version 05 of the login gets a failure or a close" "RFC 1929, section 2" login::version;
            Must "rfc1929/2/longest" "a user and a password of 255 bytes get a failure" "RFC 1929, section 2" login::longest;
            Must "rfc1929/2/left-out" "a request in place of the login connects to nothing" "RFC 1929, section 2" login::left_out;

            Must "rfc1928/4/connect" "CONNECT by address is granted, and carries" "RFC 1928, section 4" request::connect;
            Must "rfc1928/4/bind" "BIND tells where it listens and who has connected, and carries" "RFC 1928, section 4" request::bind;
            Must "rfc1928/4/version" "a request of version 04 gets a failure or a close" "RFC 1928, section 4" request::version;
            May "rfc1928/4/reserved" "a request with RSV 01 is granted, or gets a failure" "RFC 1928, section 4" request::reserved;
            Must "rfc1928/4/port-0" "CONNECT to port 0 gets a failure" "RFC 1928, section 4" request::port_0;
            Must "rfc1928/5/ipv4" "CONNECT to an IPv4 address is granted" "RFC 1928, section 5" request::ipv4;
            Must "rfc1928/5/ipv6" "CONNECT to an IPv6 address is granted" "RFC 1928, section 5" request::ipv6;
            Must "rfc1928/5/name" "CONNECT to localhost by name is granted" "RFC 1928, section 5" request::name;
            Harness "rfc1928/5/name-literal" "CONNECT by a name that is an address in text form is granted" "harness" request::name_literal;
            Must "rfc1928/5/empty-name" "a name without bytes gets a failure or a close" "RFC 1928, section 5" request::empty_name;
            Must "rfc1928/5/longest-name" "a name of 255 bytes that cannot exist gets a failure" "RFC 1928, section 5" request::longest_name;
            Must "rfc1928/6/bound" "the reply to CONNECT tells where the program connects from, or zeros" "RFC 1928, section 6" request::bound;
            Harness "rfc1928/6/type" "the reply to CONNECT by IPv4 address tells an IPv4 address, and has 10 bytes" "harness" request::bound_type;
            Must "rfc1928/6/refused" "a refused connection gets a whole reply that tells a failure" "RFC 1928, section 6" request::refused;
            Should "rfc1928/6/refused-code" "a refused connection gets reply 05" "RFC 1928, section 6" request::refused_code;
            Must "rfc1928/6/closes" "within 10 seconds of a failure the program closes" "RFC 1928, section 6" request::closes;
            Must "rfc1928/6/unknown-name" "a name that cannot exist gets a failure" "RFC 1928, section 6" request::unknown_name;
            Should "rfc1928/6/unknown-name-code" "a name that cannot exist gets reply 04 or 01" "RFC 1928, section 6" request::unknown_name_code;
            Must "rfc1928/6/no-route" "an address without a route gets a failure" "RFC 1928, section 6" request::no_route;
            Should "rfc1928/6/no-route-code" "an address without a route gets reply 03, or 02 where a rule forbids it" "RFC 1928, section 6" request::no_route_code;
            Should "rfc1928/6/bind-code" "BIND, where it is not supported, gets reply 07, or 02 where a rule forbids it" "RFC 1928, section 6" request::bind_code;
            Must "rfc1928/6/command-00" "the command 00 gets a failure" "RFC 1928, section 6" request::command::<0>;
            Must "rfc1928/6/command-7f" "the command 7f gets a failure" "RFC 1928, section 6" request::command::<0x7f>;
            Should "rfc1928/6/command-code" "an unknown command gets reply 07" "RFC 1928, section 6" request::command_code;
            Must "rfc1928/6/type-00" "the address type 00 gets a failure" "RFC 1928, section 6" request::address_type::<0>;
            Must "rfc1928/6/type-02" "the address type 02 gets a failure" "RFC 1928, section 6" request::address_type::<2>;
            Must "rfc1928/6/type-09" "the address type 09 gets a failure" "RFC 1928, section 6" request::address_type::<9>;
            Should "rfc1928/6/type-code" "an unknown address type gets reply 08" "RFC 1928, section 6" request::address_type_code;
            Harness "pipelined" "greeting and request in one segment get both replies" "harness" request::pipelined;
            Harness "early-data" "data in one segment with greeting and request reaches the service" "harness" request::early_data;
        }
        whole {
            Should "rfc1928/4/bind-stranger" "BIND takes no connection from another host than it was asked for" "RFC 1928, section 4" request::bind_stranger;
            Harness "half-greeting" "the end after half a greeting is followed by a close within 2 seconds" "harness" request::half_greeting;
            Harness "half-request" "the end after half a request is followed by a close within 2 seconds" "harness" request::half_request;
            May "silence" "a client that says one byte holds nobody up, and is closed" "harness" request::silence;
        }
    }),
};

/// Goes on where no login is set.
fn no_credentials(context: &CheckContext<'_>) -> Result<(), CheckError> {
    match context.tunnel().credentials() {
        None => Ok(()),
        Some(_) => Err(CheckError::Skipped(
            "a user and a password are set".to_owned(),
        )),
    }
}

/// The method that an ordinary client offers here.
fn own_method(context: &CheckContext<'_>) -> u8 {
    match context.tunnel().credentials() {
        None => socks5::NO_AUTHENTICATION,
        Some(_) => socks5::USER_PASSWORD,
    }
}

/// All messages of an ordinary client before its request.
fn opening(context: &CheckContext<'_>) -> Result<Vec<Vec<u8>>, CheckError> {
    let mut messages = vec![vec![5, 1, own_method(context)]];
    if let Some((user, password)) = context.tunnel().credentials() {
        let login = socks5::credentials(user, password);
        messages.push(login.map_err(|error| CheckError::Skipped(error.to_string()))?);
    }
    Ok(messages)
}

/// Reads the replies to [`opening`].
fn opened(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    method(wire, &[own_method(context)])?;
    match context.tunnel().credentials() {
        None => Ok(()),
        Some(_) => match wire.answer("the password reply", socks5::credentials_reply)? {
            0 => Ok(()),
            status => Err(wire.failed(format!("the login failed with status {status:02x}"))),
        },
    }
}

/// Greets and logs in as an ordinary client does.
fn open(context: &CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    wire.send(&[5, 1, own_method(context)])?;
    method(wire, &[own_method(context)])?;
    for message in opening(context)?.iter().skip(1) {
        wire.send(message)?;
        match wire.answer("the password reply", socks5::credentials_reply)? {
            0 => {}
            status => return Err(wire.failed(format!("the login failed with status {status:02x}"))),
        }
    }
    Ok(())
}

/// Reads the method that the program has chosen, which must be one of `right`.
fn method(wire: &mut Wire, right: &[u8]) -> Result<u8, CheckError> {
    let method = wire.answer("the method reply", socks5::method_reply)?;
    match right.contains(&method) {
        true => Ok(method),
        false => {
            let right: Vec<String> = right.iter().map(|m| format!("{m:02x}")).collect();
            let right = right.join(" or ");
            Err(wire.failed(format!(
                "the program chooses method {method:02x}, right is {right}"
            )))
        }
    }
}

/// The service of the route, as a request names it.
fn own_host(context: &CheckContext<'_>) -> (Host, u16) {
    let service = context.route().service;
    (Host::Ip(service.ip()), service.port())
}

fn request(command: u8, host: &Host, port: u16) -> Result<Vec<u8>, CheckError> {
    let request = socks5::request(command, host, port);
    request.map_err(|error| CheckError::failed(error.to_string()))
}

fn reply(wire: &mut Wire) -> Result<Option<Reply>, CheckError> {
    wire.message("the reply", socks5::reply)
}

/// Reads a reply that must grant the request.
fn granted(wire: &mut Wire) -> Result<Reply, CheckError> {
    let reply = wire.answer("the reply", socks5::reply)?;
    match reply.code {
        0 => Ok(reply),
        code => Err(wire.failed(format!(
            "the program refuses with reply code {code:02x}, {}",
            socks5::meaning(code)
        ))),
    }
}
