//! Datagrams through SOCKS5.

use super::super::Protocol::{ForwardUdp, Socks5};
use super::super::judge::{Row, row};

/// All that need an answer.
pub(super) const ALL: &[&str] = &[
    "udp/44/burst",
    "udp/44/clients",
    "udp/44/closed",
    "udp/44/echo",
    "udp/44/fragment",
    "udp/44/idle",
    "udp/44/junk",
    "udp/44/name*",
    "udp/44/payload-*",
    "udp/44/several",
    "udp/44/stranger",
    "udp/44/two-services",
];
/// All that send a second datagram.
const SECOND: &[&str] = &[
    "application/udp",
    "udp/44/clients",
    "udp/44/closed",
    "udp/44/fragment",
    "udp/44/idle",
    "udp/44/junk",
    "udp/44/several",
    "udp/44/stranger",
    "udp/44/two-services",
];
/// A fragment is as malformed to it.
const MALFORMED: &[&str] = &["udp/44/fragment", "udp/44/junk"];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Right: it says so in the protocol's own way.
    row("no-udp", Socks5).unsupported(&["udp/*"]),
    row("udp-tells-no-port", Socks5).breaks(&["udp/*"]),
    row("udp-no-header", Socks5).breaks(ALL),
    row("udp-own-address", Socks5).breaks(ALL),
    row("udp-tells-name", Socks5).breaks(&["udp/44/name-answer"]),
    row("udp-reversed-port", Socks5).breaks(ALL),
    row("udp-junk", Socks5).breaks(ALL),
    row("udp-after-close", Socks5).breaks(&["udp/44/closed"]),
    row("udp-takes-anyone", Socks5).breaks(&["udp/44/stranger"]),
    row("udp-ignores-frag", Socks5).breaks(&["udp/44/fragment"]),
    row("udp-small-buffer", Socks5).breaks(&["udp/44/payload-9000", "udp/44/payload-60000"]),
    row("udp-dies-on-junk", Socks5).breaks_by_hanging(MALFORMED),
    row("udp-once", Socks5).breaks_by_hanging(SECOND),
    row("udp-everywhere", Socks5).breaks(&["udp/44/wildcard"]),
    row("udp-everywhere", ForwardUdp).breaks(&["udp/44/wildcard"]),
    row("udp-mixes-clients", ForwardUdp).breaks_by_hanging(&["udp/44/clients", "udp/44/burst"]),
    row("udp-loses-bursts", ForwardUdp).breaks(&["udp/44/burst"]),
    row("udp-forgets-idle", ForwardUdp).breaks_by_hanging(&["udp/44/idle"]),
    row("udp-small-buffer", ForwardUdp).breaks(&["udp/44/payload-9000", "udp/44/payload-60000"]),
    row("udp-junk", ForwardUdp).breaks(&[
        "application/udp", "udp/44/burst", "udp/44/clients", "udp/44/echo", "udp/44/idle", "udp/44/payload-*",
        "udp/44/several",
    ]),
    row("udp-drops-empty", Socks5).breaks_by_hanging(&["udp/44/payload-0"]),
];
