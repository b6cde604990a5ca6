//! Any handshake: requests, replies and failures.

use super::super::Protocol::{Connect, Forward, Socks4, Socks4a, Socks5};
use super::super::judge::{Row, row};
use super::{NO_TCP, NOTHING, udp};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("garbage", Socks5).breaks_all_but(NOTHING),
    row("garbage", Connect).breaks_all_but(NOTHING),
    row("closes-in-handshake", Socks5).breaks_all_but(NOTHING),
    row("hangs", Socks5).breaks_all_but(NOTHING).hangs(&["*"]),
    row("exits-in-handshake", Socks5)
        .breaks_all_but(&[&["connectivity/44/start", "connectivity/44/port-closed"], udp::ALL])
        .by_its_end(),
    row("wrong-version", Socks4a).breaks_all_but(NOTHING),
    row("wrong-version", Socks5).breaks_all_but(NOTHING),
    row("wrong-version", Connect).breaks_all_but(NOTHING),
    row("refuses", Socks5).breaks_all_but(NO_TCP),
    row("refuses", Connect).breaks_all_but(NOTHING),
    row("cuts-reply", Socks4a).breaks_all_but(NOTHING),
    row("cuts-reply", Socks5).breaks_all_but(NO_TCP),
    row("cuts-reply", Connect).breaks_all_but(NOTHING),
    row("says-yes-and-closes", Socks5)
        .breaks_all_but(&[&["connectivity/44/handshake", "connectivity/44/start", "connectivity/44/stop", "connectivity/44/port-closed"], udp::ALL]),
    row("says-yes-and-hangs", Socks5)
        .breaks_all_but(&[&["connectivity/44/handshake", "connectivity/44/start", "connectivity/44/stop", "connectivity/44/port-closed"]])
        .left_out(&["udp/*"])
        .hangs(&["*"]),
    row("signed-ports", Socks5).breaks_all_but(NO_TCP),
    row("reserved-not-zero", Socks5).breaks_all_but(NOTHING),
    row("wrong-address-type", Socks5).breaks_all_but(NOTHING).hangs(&["*"]),
    row("other-method", Socks5).breaks_all_but(NOTHING),
    row("no-method", Socks5).breaks_all_but(NOTHING),
    row("no-empty-line", Connect).breaks_all_but(NOTHING).hangs(&["*"]),
    // Four bytes more at the client, and nothing else is wrong.
    row("junk-after-reply", Socks5).breaks_all_but(&[&["connectivity/44/start", "connectivity/44/handshake", "connectivity/44/accept", "connectivity/44/source", "connectivity/44/stop", "connectivity/44/port-closed", "data-quality/up", "pace/memory", "closing/client-half-close/bytes", "closing/client-reset*"], udp::ALL]),
    row("late", Socks5),
    // On a loaded machine not every cut is seen, but only checks of cuts see any.
    row("needs-whole-messages", Socks4a).breaks_some(&["socks4a/*/cut"]),
    row("needs-whole-messages", Socks5).breaks_some(&["socks5/*/cut"]),
    row("needs-whole-messages", Connect).breaks_some(&["connect/*/cut"]),
    row("dies-on-early-data", Socks5).breaks(&["socks5/early-data"]).by_its_end(),
    row("dies-on-early-data", Connect).breaks(&["connect/early-data"]).by_its_end(),
    row("tells-other-address", Socks5).breaks(TOLD),
    row("tells-reversed-address", Socks5).breaks(TOLD),
    row("tells-other-port", Socks5).breaks(TOLD),
    row("tells-reversed-port", Socks5).breaks(TOLD),
    // Right for CONNECT; but where it listens, a client must know.
    row("tells-ipv6-zeros", Socks5).breaks(&["socks5/rfc1928/4/bind*", "socks5/rfc1928/6/type"]),
    row("tells-mapped", Socks5).breaks(&["socks5/rfc1928/6/type"]),
    row("tells-name", Socks5).breaks(&["socks5/rfc1928/6/type"]),
    row("tells-empty-name", Socks5).breaks(&["socks5/rfc1928/6/type"]),
    row("no-bind", Socks5)
        .unsupported(&["socks5/rfc1928/4/bind*"])
        .breaks(&["socks5/rfc1928/6/bind-code"]),
    row("tells-nothing", Socks5).breaks(&["socks5/rfc1928/4/bind*"]),
    row("no-names", Socks4a)
        .breaks(&["connectivity/44/name-literal", "socks4a/name", "socks4a/name-literal"]),
    row("no-names", Socks5).breaks(&[
        "connectivity/44/name-literal", "socks5/rfc1928/5/name", "socks5/rfc1928/5/name-literal",
        "udp/44/name", "udp/44/name-literal",
    ]).hangs(&["udp/44/name*"]),
    row("no-lookup", Socks5)
        .breaks(&["connectivity/44/name", "socks5/rfc1928/5/name", "udp/44/name"])
        .hangs(&["udp/44/name*"]),
    row("no-lookup", Connect).breaks(&["connectivity/44/name", "connect/rfc9110/9.3.6/name"]),
    row("drops-early-data", Socks4a).breaks_by_hanging(&["socks4a/early-data"]),
    row("drops-early-data", Socks5).breaks_by_hanging(&["socks5/early-data"]),
    row("drops-early-data", Connect).breaks_by_hanging(&["connect/early-data"]),
    row("hangs-on-half-close", Socks4a)
        .breaks_by_hanging(&["socks4a/half-request"]),
    row("hangs-on-half-close", Socks5)
        .breaks_by_hanging(&["socks5/half-*"]),
    row("hangs-on-half-close", Connect)
        .breaks_by_hanging(&["connect/half-request"]),
    // It is waited for with full sizes only.
    row("waits-for-ever", Socks5).full()
        .only(&["faults/half-handshake/ended"])
        .breaks_by_hanging(&["faults/half-handshake/ended"]),
    row("bind-replies-once", Socks4).breaks_by_hanging(&["socks4/bind"]),
    row("bind-replies-once", Socks5)
        .breaks_by_hanging(&["socks5/rfc1928/4/bind"]),
    row("bind-tells-no-port", Socks4).breaks(&["socks4/bind"]),
    row("bind-tells-no-port", Socks4a).breaks(&["socks4a/bind"]),
    row("bind-tells-no-port", Socks5).breaks(&["socks5/rfc1928/4/bind*"]),
    row("bind-takes-anyone", Socks5).breaks(&["socks5/rfc1928/4/bind-stranger"]),
    row("method-not-offered", Socks5).breaks(&[
        "socks5/rfc1928/3/closes", "socks5/rfc1928/3/gssapi", "socks5/rfc1928/3/no-methods",
        "socks5/rfc1928/3/private", "socks5/rfc1928/3/user-password",
    ]),
    row("signed-method-count", Socks5).breaks(&["socks5/rfc1928/3/most-methods"]),
    row("last-method-only", Socks5).breaks(&["socks5/rfc1928/3/choice"]),
    row("drops-pipelined", Socks5).breaks(&["socks5/pipelined", "socks5/early-data"]),
    row("checks-reserved", Socks5).breaks(&["socks5/rfc1928/4/reserved"]),
    row("grants-socks4", Socks5).breaks(&["socks5/socks4"]),
    row("takes-any-address-type", Socks5).breaks(&["socks5/rfc1928/6/type-*"]),
    row("ignores-version", Socks4a).breaks(&["socks4a/version-*"]),
    row("ignores-version", Socks5)
        .breaks(&["socks5/rfc1928/3/version-*", "socks5/rfc1928/4/version", "socks5/http"]),
    // Right: HTTP/9.9 may be taken for the latest that is known.
    row("ignores-version", Connect),
    row("takes-any-command", Socks4a).breaks(&["socks4a/command"]),
    row("takes-any-command", Socks5).breaks(&["socks5/rfc1928/6/command-*"]),
    row("takes-any-command", Connect).breaks(&["connect/rfc9112/3/method"]),
    row("ipv4-only", Socks5).each_family().breaks(&[
        "connectivity/46/handshake", "connectivity/66/handshake", "echo/46/*", "echo/66/*",
        "udp/46/associate", "udp/66/associate",
    ]),
    // An ordinary connection does without.
    row("ipv4-only", Socks5).unbound().breaks(&["socks5/rfc1928/5/ipv6"]),
    row("ipv4-only", Connect).unbound().breaks(&["connect/rfc9110/9.3.6/ipv6"]),
    row("ipv4-only", Forward).each_family().breaks(&[
        "connectivity/46/accept", "connectivity/66/accept", "echo/46/*", "echo/66/*",
    ]),
];

const TOLD: &[&str] = &[
    "connectivity/44/source",
    "socks5/rfc1928/4/bind*",
    "socks5/rfc1928/6/bound",
];
