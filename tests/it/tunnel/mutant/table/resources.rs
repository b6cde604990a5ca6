//! What it holds of the machine.

use super::super::Protocol::{Forward, Socks5};
use super::super::judge::{Row, row};

/// All who do not end in order; those that are stuck are few.
const MANY: &[&str] = &[
    "resources/after/client-reset",
    "resources/after/left-at-once",
    "resources/after/left-in-handshake",
    "resources/after/service-reset",
    "resources/leaving",
];

/// What is kept may leave it none at its limit.
pub(super) const LIMIT: &[&str] = &["resources/exhausted"];

// Only Linux tells what a process holds.
#[cfg(target_os = "linux")]
#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("leaks-on-reset", Socks5).breaks(&["resources/after/*"]).breaks_some(LIMIT),
    // With full sizes only: a few connections do not show.
    row("leaks-memory", Socks5).full().only(&["resources/after/client-reset", "resources/after/left-at-once"])
        .breaks(&["resources/after/*"]),
    row("keeps-slots", Socks5).only(&["resources/after/*", "resources/leaving"]).breaks(MANY),
    // The processor's time is what others have left.
    row("busy-after-half-close", Forward).only(&["resources/waits"]).breaks(&["resources/waits"]),
    row("busy-when-idle", Forward).only(&["resources/waits"]).breaks(&["resources/waits"]),
    row("deaf-without-descriptors", Socks5).breaks(&["resources/exhausted"]),
    row("dies-when-left", Socks5).only(&["resources/*"]).breaks(&[
        "resources/after/left-*", "resources/leaving",
    ]).by_its_end(),
    row("holds-when-stuck", Forward).only(&["resources/after/stuck"]).breaks(&["resources/after/stuck"]),
];
#[cfg(not(target_os = "linux"))]
pub(super) const ROWS: &[Row] = &[];
