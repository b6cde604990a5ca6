//! What is known of how a proxy must behave, statement by statement, and which checks show it.
//!
//! The tests see to it that each statement has its checks or a reason, and that each check of the suites
//! of conformance and UDP has its statement or stands in [`BEYOND`]. The comments at those checks give
//! the numbers.

use std::collections::BTreeSet;

use crate::tunnel::core::glob::Glob;
use crate::tunnel::route::Kind;
use crate::tunnel::suites::Suite;

/// How a statement is shown.
enum Shown {
    /// By these checks. A pattern may stand for several, without the families.
    By(&'static [&'static str]),
    /// Not from outside, or not on any machine; why.
    Not(&'static str),
}
use Shown::{By, Not};

const STATEMENTS: &[(u32, &str, Shown)] = &[
    // SOCKS5: the choice of a method.
    (1, "05 01 00 gets 05 00", By(&["socks5/rfc1928/3/no-auth"])),
    (
        2,
        "05 02 00 02 without a login gets 05 00, or 02",
        By(&["socks5/rfc1928/3/choice"]),
    ),
    (
        3,
        "05 01 02 without a login gets 05 ff and a close",
        By(&["socks5/rfc1928/3/user-password", "socks5/rfc1928/3/closes"]),
    ),
    (4, "05 01 01 gets 05 ff", By(&["socks5/rfc1928/3/gssapi"])),
    (5, "05 01 80 gets 05 ff", By(&["socks5/rfc1928/3/private"])),
    (
        6,
        "05 00 gets 05 ff or a close",
        By(&["socks5/rfc1928/3/no-methods"]),
    ),
    (
        7,
        "255 methods with 00 among them get 05 00",
        By(&["socks5/rfc1928/3/most-methods"]),
    ),
    (
        8,
        "version 06 or 00 gets a close",
        By(&["socks5/rfc1928/3/version-?"]),
    ),
    (
        9,
        "GET / HTTP/1.0 gets a close, and the proxy lives on",
        By(&["socks5/http"]),
    ),
    (
        10,
        "a greeting of one byte a segment is as good",
        By(&["socks5/rfc1928/3/no-auth/cut"]),
    ),
    (
        11,
        "greeting and request in one segment get both replies",
        By(&["socks5/pipelined"]),
    ),
    (
        12,
        "data in the same segment reaches the service",
        By(&["socks5/early-data"]),
    ),
    (
        13,
        "with a login, 05 01 00 gets 05 ff and a close",
        By(&["socks5/rfc1928/3/login-required", "socks5/rfc1928/3/closes"]),
    ),
    (
        14,
        "with a login, 05 02 00 02 gets 05 02",
        By(&["socks5/rfc1928/3/login-chosen"]),
    ),
    // SOCKS5: user and password.
    (
        15,
        "the right user and password, with a colon, get 01 00",
        By(&["socks5/rfc1929/2/right", "socks5/rfc1929/2/password-colon"]),
    ),
    (
        16,
        "a wrong password gets a failure and a close",
        By(&[
            "socks5/rfc1929/2/wrong-password",
            "socks5/rfc1929/2/wrong-user",
        ]),
    ),
    (
        17,
        "the password's beginning fails",
        By(&["socks5/rfc1929/2/password-prefix"]),
    ),
    (
        18,
        "the password and a NUL fail",
        By(&["socks5/rfc1929/2/password-nul"]),
    ),
    (
        19,
        "an empty user and password fail",
        By(&["socks5/rfc1929/2/empty"]),
    ),
    (
        20,
        "a login of version 05 fails",
        By(&["socks5/rfc1929/2/version"]),
    ),
    (
        21,
        "255 bytes each get a clean failure",
        By(&["socks5/rfc1929/2/longest"]),
    ),
    (
        22,
        "a login of one byte a segment gets 01 00",
        By(&["socks5/rfc1929/2/right/cut"]),
    ),
    (
        23,
        "a request in place of the login connects to nothing",
        By(&["socks5/rfc1929/2/left-out"]),
    ),
    // SOCKS5: requests and replies.
    (
        24,
        "CONNECT by IPv4 is granted in 10 bytes with the address or zeros",
        By(&[
            "socks5/rfc1928/4/connect",
            "socks5/rfc1928/5/ipv4",
            "socks5/rfc1928/6/bound",
            "socks5/rfc1928/6/type",
        ]),
    ),
    (
        25,
        "CONNECT by IPv6 is granted",
        By(&["socks5/rfc1928/5/ipv6"]),
    ),
    (
        26,
        "CONNECT by name is granted",
        By(&["socks5/rfc1928/5/name"]),
    ),
    (
        27,
        "CONNECT by the name 127.0.0.1 is granted",
        By(&["socks5/rfc1928/5/name-literal"]),
    ),
    (
        28,
        "a refused connection gets 05, and a close within 10 s",
        By(&[
            "socks5/rfc1928/6/refused",
            "socks5/rfc1928/6/refused-code",
            "socks5/rfc1928/6/closes",
        ]),
    ),
    (
        29,
        "an unreachable host gets 04",
        Not("it needs an address where nobody answers; all of this machine's do"),
    ),
    (
        30,
        "no route gets 03",
        By(&[
            "socks5/rfc1928/6/no-route",
            "socks5/rfc1928/6/no-route-code",
        ]),
    ),
    (
        31,
        "what a rule forbids gets 02",
        Not("the rules are those of the program's own configuration"),
    ),
    (
        32,
        "a prohibited route gets 01 or 02",
        Not("it needs another routing table"),
    ),
    (
        33,
        "an unknown name gets 04 or 01",
        By(&[
            "socks5/rfc1928/6/unknown-name",
            "socks5/rfc1928/6/unknown-name-code",
        ]),
    ),
    (
        34,
        "the commands 00 and 7f get 07",
        By(&["socks5/rfc1928/6/command-*"]),
    ),
    (
        35,
        "BIND gets 07, or two replies with a port and the peer",
        By(&[
            "socks5/rfc1928/4/bind",
            "socks5/rfc1928/4/bind-stranger",
            "socks5/rfc1928/6/bind-code",
        ]),
    ),
    (
        36,
        "the address types 00, 02 and 09 get 08",
        By(&["socks5/rfc1928/6/type-*"]),
    ),
    (
        37,
        "names of 0 and 255 bytes fail, and it lives on",
        By(&[
            "socks5/rfc1928/5/empty-name",
            "socks5/rfc1928/5/longest-name",
        ]),
    ),
    (38, "port 0 fails", By(&["socks5/rfc1928/4/port-0"])),
    (
        39,
        "a request of version 04 fails",
        By(&["socks5/rfc1928/4/version"]),
    ),
    (
        40,
        "RSV other than 00 gets 01 or is taken",
        By(&["socks5/rfc1928/4/reserved"]),
    ),
    (
        41,
        "half a request and then the end get a close within 2 s",
        By(&["*/half-request", "socks5/half-greeting"]),
    ),
    (
        42,
        "one byte and then silence get a close at some time",
        By(&["socks5/silence", "faults/half-handshake/*"]),
    ),
    (
        43,
        "after each case an ordinary CONNECT works; failures are whole",
        By(&["socks5/*", "faults/garbage"]),
    ),
    // UDP ASSOCIATE.
    (
        44,
        "UDP ASSOCIATE is granted with a port",
        By(&["udp/associate"]),
    ),
    (
        45,
        "a datagram comes back with the service's address",
        By(&["udp/echo", "udp/two-services"]),
    ),
    (46, "further ones too", By(&["udp/several"])),
    (
        47,
        "payloads of 0, 1400, 9000 and 60000 bytes come back",
        By(&["udp/payload-*"]),
    ),
    (
        48,
        "a name works, and the answer tells an address",
        By(&["udp/name", "udp/name-answer", "udp/name-literal"]),
    ),
    (
        49,
        "a fragment is dropped or put together",
        By(&["udp/fragment"]),
    ),
    (50, "malformed datagrams are dropped", By(&["udp/junk"])),
    (
        51,
        "a stranger's datagrams are dropped",
        By(&["udp/stranger"]),
    ),
    (
        52,
        "when the TCP connection is closed, it is over",
        By(&["udp/closed"]),
    ),
    (53, "without UDP it says 07", By(&["udp/associate"])),
    // SOCKS4 and 4a.
    (
        54,
        "CONNECT gets 00 5a and six bytes",
        By(&["socks4*/connect"]),
    ),
    (
        55,
        "a refused connection gets 00 5b and six bytes, and a close",
        By(&["socks4*/refused", "socks4*/closes"]),
    ),
    (
        56,
        "4a: a name gets 00 5a",
        By(&["socks4a/name", "socks4a/name-literal"]),
    ),
    (
        57,
        "the command 09 gets 00 5b or a close",
        By(&["socks4*/command"]),
    ),
    (
        58,
        "a SOCKS5 server closes, and never says 00 5a",
        By(&["socks5/socks4"]),
    ),
    // CONNECT.
    (
        59,
        "CONNECT host:port gets a 2xx, then bytes both ways",
        By(&[
            "connect/rfc9110/9.3.6/connect",
            "connect/rfc9110/9.3.6/ipv4",
            "connect/rfc9110/9.3.6/name",
        ]),
    ),
    (
        60,
        "a 2xx has no length",
        By(&["connect/rfc9110/9.3.6/no-length"]),
    ),
    (
        61,
        "without Host: 1.0 gets a 2xx, 1.1 a 2xx or 400",
        By(&[
            "connect/rfc9112/3.2/http-1.0",
            "connect/rfc9112/3.2/no-host",
        ]),
    ),
    (
        62,
        "data in the same segment reaches the service",
        By(&["connect/early-data"]),
    ),
    (
        63,
        "one byte a segment gets a 2xx",
        By(&["connect/rfc9110/9.3.6/connect/cut"]),
    ),
    (
        64,
        "bad ports are rejected",
        By(&["connect/rfc9110/9.3.6/port-*"]),
    ),
    (
        65,
        "a refused connection gets a 5xx",
        By(&[
            "connect/rfc9110/9.3.6/refused",
            "connect/rfc9110/15.6.3/refused-code",
        ]),
    ),
    (
        66,
        "[::1]:port gets a 2xx",
        By(&["connect/rfc9110/9.3.6/ipv6"]),
    ),
    (
        67,
        "an unknown name gets a 4xx or 5xx",
        By(&["connect/rfc9110/9.3.6/unknown-name"]),
    ),
    (
        68,
        "what is forbidden gets 403",
        Not("the rules are those of the program's own configuration"),
    ),
    (
        69,
        "no credentials get 407 with a challenge",
        By(&["connect/rfc9110/11.7.1/no-credentials"]),
    ),
    (
        70,
        "a wrong password gets 407, also after a right one",
        By(&["connect/rfc7617/2/wrong-*", "connect/rfc7617/2/password-*"]),
    ),
    (
        71,
        "basic is taken; Bearer, bad Base64 and no colon get 407",
        By(&[
            "connect/rfc9110/11.1/case",
            "connect/rfc9110/11.7.2/bearer",
            "connect/rfc7617/2/bad-base64",
            "connect/rfc7617/2/no-colon",
            "connect/rfc7617/2/right",
        ]),
    ),
    (
        72,
        "credentials in Authorization get 407",
        By(&["connect/rfc9110/11.7.2/authorization"]),
    ),
    (
        73,
        "a head of 70 KB is refused or taken, and it lives on",
        By(&["connect/long-head"]),
    ),
    (
        74,
        "TLS, FROB and a path are not forwarded",
        By(&[
            "connect/tls",
            "connect/rfc9112/3/method",
            "connect/rfc9112/3.2.3/path",
        ]),
    ),
    (
        75,
        "HTTP/9.9 gets 505 or 400, or is taken",
        By(&["connect/rfc9112/2.3/version"]),
    ),
    (
        76,
        "what is outstanding is sent before both directions close",
        By(&[
            "connect/rfc9110/9.3.6/outstanding*",
            "connect/rfc9110/9.3.6/closes",
        ]),
    ),
    // Whatever the protocol.
    (
        77,
        "what is sent before a close arrives before the end",
        By(&["closing/client-close", "closing/service-close"]),
    ),
    (
        78,
        "a half-close is recorded, and loses nothing",
        By(&["behaviour/*-half-close", "closing/*-half-close/*"]),
    ),
    (
        79,
        "a reset is recorded; nothing is a failure",
        By(&["behaviour/*-reset", "closing/*-reset"]),
    ),
    (
        80,
        "many at once, many in a row, and no descriptors left",
        By(&["concurrency/*", "turnover/*"]),
    ),
    (
        81,
        "either side may speak first",
        By(&[
            "pace/service-first",
            "echo/values",
            "connectivity/service-to-client",
        ]),
    ),
    (
        82,
        "TERM with a live connection: status, time, port, same port again",
        By(&["life/term-live/*", "behaviour/term-live"]),
    ),
    (
        83,
        "a refused service shows by an end or a reset",
        By(&["faults/refused"]),
    ),
];

/// Checks of the suites of conformance and UDP that stand in no statement, and why they are made.
const BEYOND: &[(&str, &str)] = &[
    (
        "udp/clients",
        "answers are not mixed up, which 45 does not say of several clients",
    ),
    (
        "udp/burst",
        "a datagram may be lost, and is not on an idle machine",
    ),
    (
        "udp/idle",
        "how long an association is kept is the program's choice",
    ),
    (
        "udp/wildcard",
        "a client takes answers from where it has sent to",
    ),
    ("socks4*/bind", "the memo has BIND too"),
    ("socks4*/version-?", "a proxy of SOCKS5 has the same"),
    ("socks4*/port-0", "a proxy of SOCKS5 has the same"),
    ("socks4*/http", "a proxy of SOCKS5 has the same"),
    ("socks4*/early-data", "a proxy of SOCKS5 has the same"),
    ("socks4a/*-name", "a proxy of SOCKS5 has the same"),
    ("connect/rfc9931/7/refused", "of 2026"),
    ("connect/rfc9112/4/form", "what clients forgive"),
    ("connect/half-request", "a proxy of SOCKS5 has the same"),
    ("proxy-protocol/*", "the header's own text"),
];

/// The ids of all checks, without families.
fn ids() -> BTreeSet<String> {
    let kinds = [
        Kind::Socks4,
        Kind::Socks4a,
        Kind::Socks5,
        Kind::HttpConnect,
        Kind::ProxyProtocol,
    ];
    let of = |kind: Kind| Suite::ALL.iter().flat_map(move |suite| suite.suites(kind));
    let suites = kinds.into_iter().flat_map(of);
    let ids = suites.flat_map(|suite| {
        let requirements = suite.defs().iter().map(|def| def.requirement);
        requirements.map(|requirement| format!("{}/{}", suite.name, requirement.name))
    });
    ids.collect()
}

fn is_shown(pattern: &str, id: &str) -> bool {
    Glob::new(pattern).matches(id)
}

#[test]
fn each_statement_has_checks_that_exist_or_a_reason() {
    let ids = ids();
    for (index, (number, statement, shown)) in STATEMENTS.iter().enumerate() {
        assert_eq!(*number as usize, index + 1, "{statement}");
        match shown {
            By(patterns) => {
                assert!(!patterns.is_empty(), "{number}: {statement}");
                for pattern in *patterns {
                    let exists = ids.iter().any(|id| is_shown(pattern, id));
                    assert!(exists, "{number}: no check {pattern}");
                }
            }
            Not(why) => assert!(!why.is_empty(), "{number}: {statement}"),
        }
    }
    assert_eq!(STATEMENTS.len(), 83);
}

#[test]
fn each_check_of_a_protocol_has_a_statement_or_a_reason() {
    // The one about all of them says nothing of any.
    let claimed = STATEMENTS.iter().filter(|(number, ..)| *number != 43);
    let claimed = claimed.flat_map(|(_, _, shown)| match shown {
        By(patterns) => *patterns,
        Not(_) => &[],
    });
    let beyond = BEYOND.iter().map(|(pattern, _)| pattern);
    let patterns: Vec<&str> = claimed.chain(beyond).copied().collect();
    let protocols = [
        "socks4/",
        "socks4a/",
        "socks5/",
        "connect/",
        "proxy-protocol/",
        "udp/",
    ];
    for id in ids() {
        // Who checks a statement in pieces checks it whole too.
        let whole = id.strip_suffix("/cut").unwrap_or(&id);
        let known = patterns.iter().any(|pattern| is_shown(pattern, whole));
        let is_protocols = protocols.iter().any(|protocol| id.starts_with(protocol));
        assert!(known || !is_protocols, "no statement for {id}");
    }
    for (pattern, _) in BEYOND {
        assert!(ids().iter().any(|id| is_shown(pattern, id)), "{pattern}");
    }
}
