//! What a client is told when it cannot have what it asks for.

use super::super::Protocol::{Connect, Socks4a, Socks5};
use super::super::judge::{Row, row};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("cuts-failure-reply", Socks4a).breaks(SOCKS4_FAILURES),
    row("cuts-failure-reply", Socks5).breaks(&[
        "socks5/rfc1928/3/closes", "socks5/rfc1928/3/gssapi", "socks5/rfc1928/3/private",
        "socks5/rfc1928/3/user-password", "socks5/rfc1928/4/bind-stranger",
        "socks5/rfc1928/4/port-0", "socks5/rfc1928/4/version", "socks5/rfc1928/5/empty-name",
        "socks5/rfc1928/5/longest-name", "socks5/rfc1928/6/closes", "socks5/rfc1928/6/command-*",
        "socks5/rfc1928/6/refused*", "socks5/rfc1928/6/type-*", "socks5/rfc1928/6/unknown-name*",
    ])
    .breaks_some(ROUTE),
    row("cuts-failure-reply", Connect).breaks(CONNECT_FAILURES),
    row("unknown-failure-code", Socks4a).breaks(SOCKS4_FAILURES),
    // Unassigned is not forbidden; but for some failures there is a code.
    row("unknown-failure-code", Socks5).breaks(&[
        "socks5/rfc1928/6/command-code", "socks5/rfc1928/6/refused-code",
        "socks5/rfc1928/6/type-code", "socks5/rfc1928/6/unknown-name-code",
    ])
    .breaks_some(ROUTE),
    row("unknown-failure-code", Connect).breaks(CONNECT_FAILURES),
    row("closes-for-failure", Socks4a)
        .breaks(&["socks4a/closes", "socks4a/port-0", "socks4a/refused", "socks4a/unknown-name"]),
    row("closes-for-failure", Socks5).breaks(&[
        "socks5/rfc1928/3/closes", "socks5/rfc1928/3/gssapi", "socks5/rfc1928/3/private",
        "socks5/rfc1928/3/user-password", "socks5/rfc1928/4/port-0",
        "socks5/rfc1928/5/longest-name", "socks5/rfc1928/6/closes", "socks5/rfc1928/6/command-*",
        "socks5/rfc1928/6/refused*", "socks5/rfc1928/6/type-*", "socks5/rfc1928/6/unknown-name*",
    ])
    .breaks_some(ROUTE),
    row("closes-for-failure", Connect).breaks(&[
        "connect/rfc9110/15.6.3/refused-code", "connect/rfc9110/9.3.6/refused",
        "connect/rfc9110/9.3.6/unknown-name", "connect/rfc9112/2.3/version",
        "connect/rfc9112/3.2/no-host",
    ]),
    row("stays-open-after-failure", Socks4a).breaks_by_hanging(&["socks4a/closes"]),
    row("stays-open-after-failure", Socks5).breaks_by_hanging(OPEN),
    // Right: that an answer of HTTP has ended is told by its length.
    row("stays-open-after-failure", Connect),
    row("stays-open-after-garbage", Socks4a)
        .breaks_by_hanging(&["socks4a/http", "socks4a/version-*"]),
    row("stays-open-after-garbage", Socks5).breaks_by_hanging(&[
        "socks5/http", "socks5/rfc1928/3/version-*", "socks5/socks4",
    ]),
    row("one-failure-code", Socks5).breaks(&[
        "socks5/rfc1928/6/command-code", "socks5/rfc1928/6/refused-code",
        "socks5/rfc1928/6/type-code",
    ])
    .breaks_some(ROUTE),
    row("one-failure-code", Connect).breaks(&[
        "connect/long-head", "connect/rfc9112/2.3/version", "connect/rfc9112/3.2/no-host",
    ]),
    row("succeeds-always", Socks4a).breaks(SOCKS4_PROMISES),
    row("succeeds-always", Socks5).breaks(SOCKS5_PROMISES).breaks_some(ROUTE),
    row("succeeds-always", Connect).breaks(CONNECT_PROMISES),
    row("answers-before-it-connects", Socks4a).breaks(SOCKS4_PROMISES),
    row("answers-before-it-connects", Socks5).breaks(SOCKS5_PROMISES).breaks_some(ROUTE),
    row("answers-before-it-connects", Connect).breaks(CONNECT_PROMISES),
];

/// Made only where the machine has no route to a network; which one has is chance.
const ROUTE: &[&str] = &["socks5/rfc1928/6/no-route*"];
const SOCKS4_FAILURES: &[&str] = &[
    "socks4a/closes",
    "socks4a/command",
    "socks4a/longest-name",
    "socks4a/port-0",
    "socks4a/refused",
    "socks4a/unknown-name",
];
const CONNECT_FAILURES: &[&str] = &[
    "connect/long-head",
    "connect/tls",
    "connect/rfc9110/15.6.3/refused-code",
    "connect/rfc9110/9.3.6/port-*",
    "connect/rfc9110/9.3.6/refused",
    "connect/rfc9110/9.3.6/unknown-name",
    "connect/rfc9112/2.3/version",
    "connect/rfc9112/3.2.3/path",
    "connect/rfc9112/3.2/no-host",
    "connect/rfc9112/3/method",
];
const OPEN: &[&str] = &[
    "socks5/rfc1928/3/closes",
    "socks5/rfc1928/3/no-methods",
    "socks5/rfc1928/6/closes",
];
/// What must not be granted, and is.
const SOCKS4_PROMISES: &[&str] = &[
    "faults/refused",
    "socks4a/closes",
    "socks4a/longest-name",
    "socks4a/port-0",
    "socks4a/refused",
    "socks4a/unknown-name",
];
const SOCKS5_PROMISES: &[&str] = &[
    "faults/refused",
    "socks5/rfc1928/4/port-0",
    "socks5/rfc1928/5/empty-name",
    "socks5/rfc1928/5/longest-name",
    "socks5/rfc1928/6/closes",
    "socks5/rfc1928/6/refused*",
    "socks5/rfc1928/6/unknown-name*",
];
const CONNECT_PROMISES: &[&str] = &[
    "faults/refused",
    "connect/rfc9110/15.6.3/refused-code",
    "connect/rfc9110/9.3.6/refused",
    "connect/rfc9110/9.3.6/unknown-name",
];
