//! The four forms of a request target (RFC 9112, section 3.2) and what may stand in a Host field.

use std::net::Ipv6Addr;

use super::{Rejection, table};

/// The form of a request target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum TargetForm {
    /// `/where?q=now`
    #[default]
    Origin,
    /// `http://www.example.org/where?q=now`: the path starts at this offset, which is the target's length when
    /// there is none.
    Absolute { path: usize },
    /// `www.example.com:80`, of CONNECT only.
    Authority,
    /// `*`, of OPTIONS only.
    Asterisk,
}

impl TargetForm {
    /// Finds the form that `target` has, given that `method` asks for it.
    pub(super) fn of(method: &str, target: &str) -> Result<TargetForm, Rejection> {
        if target.contains('#') {
            return Err(Rejection::bad("a request target has no fragment (#)"));
        }
        if method == "CONNECT" {
            return match authority_port(target) {
                Some(1..) => Ok(TargetForm::Authority),
                _ => Err(Rejection::bad("the target of CONNECT must be host:port")),
            };
        }
        if target.starts_with('/') {
            return Ok(TargetForm::Origin);
        }
        if target == "*" {
            return match method {
                "OPTIONS" => Ok(TargetForm::Asterisk),
                _ => Err(Rejection::bad("only OPTIONS may ask for the target *")),
            };
        }
        absolute(target).ok_or(Rejection::bad(
            "the target is neither a path nor an absolute URI",
        ))
    }

    /// The path of `target`, without the query.
    pub(crate) fn path<'a>(&self, target: &'a str) -> &'a str {
        match self.path_and_query(target).split_once('?') {
            Some(("", _)) => "/",
            Some((path, _)) => path,
            None => match (self, self.path_and_query(target)) {
                (TargetForm::Absolute { .. }, "") => "/",
                (_, path) => path,
            },
        }
    }

    /// The query of `target`, without its question mark.
    pub(crate) fn query<'a>(&self, target: &'a str) -> Option<&'a str> {
        Some(self.path_and_query(target).split_once('?')?.1)
    }

    /// The host and port which `target` names itself.
    pub(crate) fn authority<'a>(&self, target: &'a str) -> Option<&'a str> {
        match *self {
            TargetForm::Authority => Some(target),
            TargetForm::Absolute { path } => Some(target[..path].split_once("://")?.1),
            TargetForm::Origin | TargetForm::Asterisk => None,
        }
    }

    fn path_and_query<'a>(&self, target: &'a str) -> &'a str {
        match *self {
            TargetForm::Origin | TargetForm::Asterisk => target,
            TargetForm::Absolute { path } => &target[path..],
            TargetForm::Authority => "",
        }
    }
}

/// Refuses a target with a character that no URI has (RFC 3986, section 2), whatever its form.
pub(super) fn check_characters(target: &str) -> Result<(), Rejection> {
    // The fragment's # has a refusal of its own.
    const INSIDE: [bool; 256] = table(b"-._~:/?#[]@!$&'()*+,;=%");
    if let Some(bad) = target.bytes().find(|&byte| !INSIDE[byte as usize]) {
        return Err(Rejection::bad(format!(
            "the character '{}' in the target, where it has to be written as %{bad:02X}",
            char::from(bad)
        )));
    }
    if !has_whole_triplets(target) {
        return Err(Rejection::bad(
            "a % in the target that no two hexadecimal digits follow",
        ));
    }
    Ok(())
}

/// Whether two hexadecimal digits follow each `%` (RFC 3986, section 2.1).
fn has_whole_triplets(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut digit = || bytes.next().is_some_and(|byte| byte.is_ascii_hexdigit());
        if byte == b'%' && !(digit() && digit()) {
            return false;
        }
    }
    true
}

/// Whether `value` may stand in a Host field: nothing, or `uri-host [":" port]` (RFC 9110, section 7.2).
pub(super) fn is_host(value: &str) -> bool {
    let (host, port) = split_port(value);
    is_uri_host(host) && port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
}

fn absolute(target: &str) -> Option<TargetForm> {
    let (scheme, rest) = target.split_once("://")?;
    let in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        || !scheme.bytes().all(in_scheme)
    {
        return None;
    }
    let authority = rest.split(['/', '?']).next()?;
    // User information is not for the wire (RFC 9110, section 4.2.4), but it is for a test to see it.
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    if host.is_empty() || !is_host(host) {
        return None;
    }
    let path = scheme.len() + "://".len() + authority.len();
    Some(TargetForm::Absolute { path })
}

/// The port of `host:port`.
fn authority_port(target: &str) -> Option<u16> {
    let (host, port) = split_port(target);
    let port = port.filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    if host.is_empty() || !is_uri_host(host) {
        return None;
    }
    port.parse().ok()
}

/// Cuts the port off; a colon in brackets belongs to an IPv6 address.
fn split_port(value: &str) -> (&str, Option<&str>) {
    let last = value.bytes().rposition(|byte| matches!(byte, b':' | b']'));
    match last {
        Some(colon) if value.as_bytes()[colon] == b':' => {
            (&value[..colon], Some(&value[colon + 1..]))
        }
        _ => (value, None),
    }
}

fn is_uri_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[') {
        return address.strip_suffix(']').is_some_and(is_ip_literal);
    }
    // reg-name of RFC 3986, section 3.2.2.
    const INSIDE: [bool; 256] = table(b"-._~%!$&'()*+,;=");
    host.bytes().all(|byte| INSIDE[byte as usize]) && has_whole_triplets(host)
}

/// What stands in the brackets of a host (RFC 3986, section 3.2.2): an IPv6 address, with a zone if it has one
/// (RFC 6874), or an address of a version to come.
fn is_ip_literal(text: &str) -> bool {
    if let Some(future) = text.strip_prefix(['v', 'V']) {
        const INSIDE: [bool; 256] = table(b"-._~!$&'()*+,;=:");
        return future.split_once('.').is_some_and(|(version, address)| {
            !version.is_empty()
                && version.bytes().all(|byte| byte.is_ascii_hexdigit())
                && !address.is_empty()
                && address.bytes().all(|byte| INSIDE[byte as usize])
        });
    }
    const ZONE: [bool; 256] = table(b"-._~%");
    let (address, zone) = match text.split_once("%25") {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    address.parse::<Ipv6Addr>().is_ok()
        && zone.is_none_or(|zone| {
            !zone.is_empty()
                && zone.bytes().all(|byte| ZONE[byte as usize])
                && has_whole_triplets(zone)
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_form_has_its_parts() {
        type Row = (
            &'static str,
            &'static str,
            &'static str,
            Option<&'static str>,
            Option<&'static str>,
        );
        let rows: [Row; 10] = [
            ("GET", "/", "/", None, None),
            ("GET", "/a?b?c", "/a", Some("b?c"), None),
            ("GET", "/a?", "/a", Some(""), None),
            ("GET", "//a/b", "//a/b", None, None),
            ("GET", "http://h:1/a?b", "/a", Some("b"), Some("h:1")),
            ("GET", "http://h", "/", None, Some("h")),
            ("GET", "http://h?b=/", "/", Some("b=/"), Some("h")),
            (
                "GET",
                "http://u:p@[::1]:80/",
                "/",
                None,
                Some("u:p@[::1]:80"),
            ),
            ("OPTIONS", "*", "*", None, None),
            ("CONNECT", "[::1]:443", "", None, Some("[::1]:443")),
        ];
        for (method, target, path, query, authority) in rows {
            let form = TargetForm::of(method, target).unwrap();
            assert_eq!(form.path(target), path, "{target}");
            assert_eq!(form.query(target), query, "{target}");
            assert_eq!(form.authority(target), authority, "{target}");
        }
    }

    #[test]
    fn a_target_that_the_method_cannot_have_is_refused() {
        for (method, target) in [
            ("GET", "*"),
            ("GET", "a"),
            ("GET", "a:80"),
            ("GET", "://h/"),
            ("GET", "1http://h/"),
            ("GET", "http:///a"),
            ("GET", "http://h b/"),
            ("GET", "/a#b"),
            ("CONNECT", "/"),
            ("CONNECT", "h"),
            ("CONNECT", "h:"),
            ("CONNECT", "h:0"),
            ("CONNECT", "h:65536"),
            ("CONNECT", "h:+1"),
            ("CONNECT", ":80"),
            ("CONNECT", "[::1:80"),
            ("CONNECT", "http://h:80"),
        ] {
            assert_eq!(
                TargetForm::of(method, target).unwrap_err().status,
                400,
                "{method} {target}"
            );
        }
    }

    #[test]
    fn host_fields() {
        for good in [
            "",
            "h",
            "h:",
            "h:80",
            "127.0.0.1:8080",
            "[::1]",
            "[::1]:80",
            "a_b.example",
            "a%7a",
            "[fe80::1%25eth0]:1",
            "[::ffff:127.0.0.1]",
            "[v1.a:b]",
        ] {
            assert!(is_host(good), "{good:?}");
        }
        for bad in [
            "h h",
            "h/",
            "u@h",
            "h:80a",
            "[::1",
            "[]",
            "::1",
            "h:1:2",
            "http://h",
            "h?",
            "h\\",
            "[zz]",
            "[1.2.3.4]",
            "a%zz",
            "a%",
            "a%7",
            "[::1%]",
            "[::1%25]",
            "[::1%25%zz]",
            "[v.a]",
            "[v1.]",
            "[vg.a]",
            "[:::]",
        ] {
            assert!(!is_host(bad), "{bad:?}");
        }
    }

    #[test]
    fn characters_that_no_uri_has_are_refused() {
        for bad in "\"<>{}|\\^`".chars() {
            let error = check_characters(&format!("/a{bad}b")).unwrap_err();
            assert_eq!(error.status, 400);
            let text = format!(
                "'{bad}' in the target, where it has to be written as %{:02X}",
                bad as u8
            );
            assert!(error.reason.contains(&text), "{}", error.reason);
        }
        for bad in ["/%", "/%4", "/%zz", "/a?%4g", "/%4%41"] {
            assert_eq!(check_characters(bad).unwrap_err().status, 400, "{bad}");
        }
        for good in ["/", "*", "/a%4f", "/-._~:/?[]@!$&'()*+,;=%00"] {
            check_characters(good).unwrap();
        }
    }

    /// Tries every place for the port's colon, where [`is_host`] knows the one that it can be.
    fn is_host_slowly(value: &str) -> bool {
        let letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let digits = "0123456789";
        let made_of = |text: &str, allowed: &[&str]| {
            let allowed = allowed.concat();
            text.chars().all(|letter| allowed.contains(letter))
        };
        let whole = |text: &str| {
            let hex = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_hexdigit);
            text.match_indices('%')
                .all(|(at, _)| hex(at + 1) && hex(at + 2))
        };
        let is_name =
            |text: &str| made_of(text, &[letters, digits, "-._~%!$&'()*+,;="]) && whole(text);
        let is_literal = |text: &str| {
            // No zone and no later version comes out of the strategy.
            text.starts_with('[')
                && text.ends_with(']')
                && text[1..text.len() - 1].parse::<Ipv6Addr>().is_ok()
        };
        let is_port =
            |text: &str| text.is_empty() || text.starts_with(':') && made_of(&text[1..], &[digits]);
        (0..=value.len())
            .filter_map(|at| value.split_at_checked(at))
            .any(|(host, port)| (is_name(host) || is_literal(host)) && is_port(port))
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a1:.%@/ \\[\\]é]{0,10}",
            "(\\[[a1:.%@\\[\\]]{0,4}\\]|[a1.!]{0,5})(:[0-9a]{0,6})?",
            "(http|a1+|1)?(://|:|/)[a1:@?/#\\[\\]é]{0,12}",
            ".{0,20}",
        ]
    }

    proptest! {
        #[test]
        fn any_target_has_parts_or_is_refused(
            method in prop_oneof![Just("GET"), Just("OPTIONS"), Just("CONNECT")], target in text(),
        ) {
            if let Ok(form) = TargetForm::of(method, &target) {
                let (path, query) = (form.path(&target), form.query(&target));
                let mark = query.map_or(0, |query| 1 + query.len());
                prop_assert!(target.len() >= mark && !path.contains('?'), "{path} {query:?}");
                let named = form.authority(&target);
                let absolute = matches!(form, TargetForm::Absolute { .. });
                prop_assert_eq!(named.is_some(), absolute || method == "CONNECT");
                prop_assert!(named.is_none_or(|named| target.contains(named) && !named.is_empty()));
            }
        }

        #[test]
        fn hosts_are_judged_as_slowly(value in text()) {
            prop_assert_eq!(is_host(&value), is_host_slowly(&value), "{:?}", value);
        }
    }
}
