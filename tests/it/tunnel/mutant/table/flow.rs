//! When bytes are carried, and what becomes of ends.

use super::super::Protocol::{Connect, Forward, ProxyV1};
use super::super::judge::{Row, row};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // The harness speaks first then; of what it cannot do so with, a service that speaks first is not heard.
    row("connects-when-spoken-to", Forward).breaks(&["pace/service-first"]),
    row("looks-first", Forward),
    row("waits-for-client", Forward).breaks_by_hanging(FOR_CLIENT),
    // Of the PROXY protocol what no other has; the rest is as with a forwarder.
    row("waits-for-service", ProxyV1)
        .only(&["proxy-protocol/*"])
        .breaks_by_hanging(&["proxy-protocol/*"]),
    row("waits-for-service", Forward).breaks_by_hanging(FOR_SERVICE),
    row("keeps-last-bytes", Forward).breaks_by_hanging(LAST_BYTES),
    #[cfg(target_os = "linux")]
    row("unbounded-buffer", Forward).breaks(&["pace/memory"]),
    row("stalls-at-megabyte", Forward).breaks_by_hanging(STALLS),
    // On a loaded machine any connection may be idle for so long.
    row("cuts-idle", Forward).only(&["pace/idle"]).breaks(&["pace/idle"]),
    row("exits-in-transfer", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/client-reset", "closing/client-reset/told",
        "closing/service-half-close/carried", "concurrency/10-at-once", "concurrency/100-at-once",
        "concurrency/20-in-a-row", "connectivity/44/client-to-service", "connectivity/44/stop",
        "data-quality/both", "data-quality/up", "echo/44/again", "echo/44/lengths",
        "echo/44/stream", "echo/44/values", "faults/ordinary", "life/ordinary",
        "pace/byte-by-byte", "pace/idle", "pace/memory", "pace/slow-writer",
        "ping-pong/500-bytes", "punishment/transfers", "turnover/connections",
        "turnover/descriptors",
    ]).by_its_end(),
    row("loses-end-up", Forward).left_out(LATE).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "connectivity/44/client-half-close",
    ]),
    // Of CONNECT what no other protocol has; the rest is as with a forwarder.
    row("loses-end-down", Connect)
        .only(&["connect/rfc9110/9.3.6/outstanding*"])
        .breaks(&["connect/rfc9110/9.3.6/outstanding"]),
    row("loses-end-down", Forward).left_out(LATE).breaks(&[
        "closing/service-close", "closing/service-half-close/bytes",
        "closing/service-half-close/carried", "connectivity/44/service-half-close",
    ]),
    row("halves-end", Forward).left_out(LATE).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "connectivity/44/client-half-close",
    ]),
    row("delays-end", Forward).left_out(LATE),
    // A way to be right, which the harness tells nevertheless.
    row("no-half-close", Forward).breaks(CARRIED),
    row("cuts-other-way", Forward).breaks(CARRIED),
    row("ends-early", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes", "concurrency/10-at-once",
        "concurrency/100-at-once", "connectivity/44/client-half-close", "data-quality/both",
        "data-quality/up", "echo/44/lengths", "echo/44/stream", "echo/44/values",
        "faults/gone-reading", "pace/idle", "pace/slow-writer",
        "ping-pong/500-bytes", "punishment/transfers",
    ]),
    row("holds-half-close", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/carried", "closing/service-close",
        "closing/service-half-close/carried", "concurrency/20-in-a-row", "faults/ordinary",
        "life/ordinary", "pace/idle", "turnover/connections", "turnover/descriptors",
    ]).hangs(&["concurrency/20-in-a-row", "turnover/*", "pace/idle", "closing/*close*", "faults/*", "life/*"]),
    row("never-closes", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/carried",
        "closing/service-half-close/carried", "concurrency/20-in-a-row", "connectivity/44/end",
        "faults/ordinary", "life/ordinary", "pace/idle", "turnover/connections",
        "turnover/descriptors",
    ]).hangs(&["connectivity/44/end", "concurrency/20-in-a-row", "turnover/*", "pace/idle", "closing/*close*", "faults/*", "life/*"]),
    row("resets-at-end", Forward).breaks(&["closing/client-half-close/*", "closing/client-close"]),
    row("swallows-reset", Connect)
        .only(&["connect/rfc9110/9.3.6/closes"])
        .breaks_by_hanging(&["connect/rfc9110/9.3.6/closes"]),
    row("swallows-reset", Forward).breaks_by_hanging(RESETS),
    // A way, where a forwarder cannot know better.
    row("reset-becomes-end", Forward).breaks(&["closing/*-reset/told"]),
];

const FOR_CLIENT: &[&str] = &[
    "closing/service-close",
    "closing/service-half-close/bytes",
    "closing/service-half-close/carried",
    "closing/service-reset",
    "concurrency/20-in-a-row",
    "connectivity/44/service-to-client",
    "data-quality/down",
    "faults/ordinary",
    "life/ordinary",
    "pace/idle",
    "pace/service-first",
    "pace/slow-reader",
    "turnover/connections",
    "turnover/descriptors",
];
const FOR_SERVICE: &[&str] = &[
    "closing/client-close",
    "closing/client-half-close/bytes",
    "closing/client-half-close/carried",
    "closing/client-reset",
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "data-quality/up",
    "echo/44/again",
    "echo/44/lengths",
    "echo/44/stream",
    "echo/44/values",
    "faults/gone-reading",
    "faults/killed",
    "faults/silent",
    "pace/memory",
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
];
const LAST_BYTES: &[&str] = &[
    "closing/client-half-close/carried",
    "closing/client-reset",
    "closing/service-half-close/carried",
    "closing/service-reset",
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "concurrency/20-in-a-row",
    "connectivity/44/service-to-client",
    "data-quality/both",
    "data-quality/down",
    "data-quality/up",
    "echo/44/again",
    "echo/44/lengths",
    "echo/44/stream",
    "echo/44/values",
    "faults/ordinary",
    "life/ordinary",
    "pace/byte-by-byte",
    "pace/idle",
    "pace/memory",
    "pace/service-first",
    "pace/slow-reader",
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
    "turnover/connections",
    "turnover/descriptors",
];
const STALLS: &[&str] = &[
    "data-quality/down",
    "data-quality/both",
    "pace/slow-reader",
    "closing/service-close",
];
const CARRIED: &[&str] = &["closing/*/carried"];
const RESETS: &[&str] = &[
    "closing/client-reset",
    "closing/service-reset",
    "faults/gone-reading",
    "faults/gone-writing",
];
/// It waits a second after each piece for the end, and these carry many small ones.
const LATE: &[&str] = &[
    "echo/*",
    "ping-pong/*",
    "concurrency/*",
    "turnover/*",
    "pace/*",
    "life/*",
    "faults/*",
];
