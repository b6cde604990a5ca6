//! How many connections it serves, and from where.

use super::super::Protocol::{Forward, Socks5};
use super::super::judge::{Row, row};
use super::resources::LIMIT;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // Which check of a shared process is its second connection is chance: those that have their own.
    row("listens-once", Socks5)
        .only(&["connectivity/*", "concurrency/1*", "punishment/*", "turnover/*"])
        .breaks(&["connectivity/44/service-half-close", "concurrency/*", "punishment/*", "turnover/*"]),
    row("listens-once", Forward)
        .only(&["connectivity/*", "concurrency/1*", "punishment/*", "turnover/*"])
        .breaks(&["connectivity/44/service-half-close", "concurrency/*", "punishment/*", "turnover/*"]),
    row("serialises", Socks5)
        .breaks_by_hanging(SERIAL),
    row("at-most-fifty", Forward).breaks(&["concurrency/100-at-once"]),
    // Some of the twelve transfers may have ended without the program having had a turn to see it.
    row("mixes-connections", Socks5).breaks(MIXED).breaks_some(&["punishment/*"]).hangs(MANY),
    row("mixes-connections", Forward).breaks(MIXED).breaks_some(&["punishment/*"]).hangs(MANY),
    // Which check makes the hundredth connection of a shared process is chance.
    row("drops-hundredth", Forward)
        .breaks(&["concurrency/100-at-once", "turnover/*"]),
    // So many are made with full sizes only, which would take the other suites minutes.
    row("stops-after-500", Forward)
        .full().only(&["turnover/connections"])
        .breaks_by_hanging(&["turnover/connections"]),
    #[cfg(target_os = "linux")]
    row("leaks-descriptors", Socks5).breaks(&["turnover/descriptors", "resources/after/*"])
        .breaks_some(LIMIT),
    #[cfg(target_os = "linux")]
    row("leaks-descriptors", Forward).breaks(&["turnover/descriptors", "resources/after/*"])
        .breaks_some(LIMIT),
    // Where there is one address only, nothing can be mixed up.
    #[cfg(target_os = "linux")]
    row("ignores-outgoing", Socks5).breaks(&["connectivity/44/source", "udp/44/echo"]),
    #[cfg(target_os = "linux")]
    row("ignores-outgoing", Forward).breaks(&["connectivity/44/source"]),
];

const MIXED: &[&str] = &["concurrency/10-at-once", "concurrency/100-at-once"];
const MANY: &[&str] = &[
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "punishment/*",
];
const SERIAL: &[&str] = &[
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "faults/silent",
    "faults/half-handshake/others",
    "socks5/silence",
];
