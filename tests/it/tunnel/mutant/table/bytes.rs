//! Bytes that are changed, lost, doubled or added.

use super::super::Protocol::{Connect, Forward, ProxyV1, Socks5};
use super::super::judge::{Row, row};

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("swaps-bytes", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/service-half-close/carried",
        "concurrency/10-at-once", "concurrency/100-at-once", "concurrency/20-in-a-row",
        "connectivity/44/client-to-service", "data-quality/both", "data-quality/up",
        "echo/44/again", "echo/44/stream", "echo/44/values", "faults/ordinary", "life/ordinary",
        "pace/byte-by-byte", "pace/idle", "pace/slow-writer", "ping-pong/500-bytes",
        "punishment/transfers", "turnover/connections", "turnover/descriptors",
    ]),
    row("swaps-bytes", Socks5).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/service-half-close/carried",
        "concurrency/10-at-once", "concurrency/100-at-once", "concurrency/20-in-a-row",
        "connectivity/44/client-to-service", "data-quality/both", "data-quality/up",
        "echo/44/again", "echo/44/stream", "echo/44/values", "faults/ordinary", "life/ordinary",
        "pace/byte-by-byte", "pace/idle", "pace/slow-writer", "ping-pong/500-bytes",
        "punishment/transfers", "socks5/ordinary", "turnover/connections", "turnover/descriptors",
        "udp/44/associate",
    ]),
    row("changes-late-byte", Forward)
        .breaks(&["data-quality/down", "data-quality/both", "pace/slow-reader", "closing/service-close"]),
    row("drops-late-byte", Forward)
        .breaks(&["data-quality/up", "data-quality/both", "closing/client-close"]),
    row("drops-byte", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/service-half-close/carried", "concurrency/10-at-once", "concurrency/100-at-once",
        "connectivity/44/client-half-close", "data-quality/both", "data-quality/up",
        "echo/44/again", "echo/44/lengths", "echo/44/stream", "echo/44/values",
        "faults/gone-reading", "faults/killed", "pace/byte-by-byte", "pace/idle",
        "pace/slow-writer", "ping-pong/500-bytes", "punishment/transfers",
    ]).hangs(&["echo/44/values", "echo/44/lengths", "echo/44/again", "ping-pong/*", "pace/slow-writer", "closing/service-half-close/carried"]),
    // The same with each protocol, and these are spoken to it by real clients.
    row("drops-byte", ProxyV1).only(&["application/*"]).breaks(&["application/*"]),
    row("doubles-byte", Forward).breaks(&[
        "closing/client-half-close/carried", "closing/service-close",
        "closing/service-half-close/bytes", "concurrency/10-at-once", "concurrency/100-at-once",
        "connectivity/44/client-half-close", "data-quality/both", "data-quality/down",
        "echo/44/again", "echo/44/lengths", "echo/44/stream", "echo/44/values",
        "faults/gone-writing", "pace/byte-by-byte", "pace/idle", "pace/service-first",
        "pace/slow-reader", "pace/slow-writer", "ping-pong/500-bytes", "punishment/transfers",
    ]),
    row("doubles-up", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/client-reset",
        "closing/service-half-close/carried", "concurrency/10-at-once",
        "concurrency/100-at-once", "concurrency/20-in-a-row",
        "connectivity/44/client-to-service", "data-quality/both", "data-quality/up",
        "echo/44/again", "echo/44/lengths", "echo/44/stream", "echo/44/values",
        "faults/ordinary", "life/ordinary", "pace/byte-by-byte", "pace/idle",
        "pace/slow-writer", "ping-pong/500-bytes", "punishment/transfers",
        "turnover/connections", "turnover/descriptors",
    ]),
    row("doubles-down", Forward).breaks(FROM_SERVICE),
    row("drops-up", Forward).breaks_by_hanging(FROM_CLIENT),
    row("drops-down", Forward).breaks_by_hanging(FROM_SERVICE),
    // Of CONNECT what no other protocol has; the rest is as with a forwarder.
    row("only-first-bytes", Connect)
        .only(&["connect/rfc9110/9.3.6/outstanding*"])
        .breaks(&["connect/rfc9110/9.3.6/outstanding-up"]),
    row("only-first-bytes", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes", "data-quality/both",
        "data-quality/up", "echo/44/lengths", "echo/44/stream", "punishment/transfers",
    ]).hangs(&["echo/44/lengths", "echo/44/stream", "data-quality/up", "data-quality/both", "punishment/transfers"]),
    row("strips-high-bits", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes", "concurrency/10-at-once",
        "concurrency/100-at-once", "data-quality/both", "data-quality/up", "echo/44/again",
        "echo/44/lengths", "echo/44/stream", "echo/44/values", "faults/gone-reading",
        "faults/killed", "pace/byte-by-byte", "pace/slow-writer", "ping-pong/500-bytes",
        "punishment/transfers",
    ]),
    row("drops-carriage-returns", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/client-reset",
        "closing/service-half-close/carried", "concurrency/*",
        "connectivity/44/client-to-service", "data-quality/both",
        "data-quality/up", "echo/44/lengths", "echo/44/stream", "echo/44/values",
        "faults/ordinary", "life/ordinary", "pace/idle", "ping-pong/500-bytes",
        "punishment/transfers", "turnover/connections", "turnover/descriptors",
    ]).hangs(&["echo/44/values", "ping-pong/*", "closing/service-half-close/carried", "closing/client-reset"]),
    row("stops-at-nul", Forward).breaks(&[
        "closing/service-close", "closing/service-half-close/bytes", "concurrency/10-at-once",
        "concurrency/100-at-once", "data-quality/both", "data-quality/down", "echo/44/again",
        "echo/44/lengths", "echo/44/stream", "echo/44/values", "faults/gone-writing",
        "pace/byte-by-byte", "pace/slow-reader", "pace/slow-writer", "ping-pong/500-bytes",
        "punishment/transfers",
    ]).hangs(&["echo/44/values", "echo/44/lengths", "echo/44/again", "ping-pong/*", "concurrency/1*", "punishment/*", "pace/slow-writer", "faults/gone-writing"]),
    row("junk-at-start", Forward).breaks(FROM_CLIENT),
    row("junk-at-end-up", Forward).breaks(&[
        "closing/client-close", "closing/client-half-close/bytes",
        "closing/client-half-close/carried", "closing/service-half-close/carried",
        "concurrency/20-in-a-row", "connectivity/44/client-half-close", "faults/ordinary",
        "life/ordinary", "pace/idle", "turnover/connections", "turnover/descriptors",
    ]),
    row("junk-at-end-down", Forward).breaks(&[
        "closing/client-half-close/carried", "closing/service-close",
        "closing/service-half-close/bytes", "closing/service-half-close/carried",
        "connectivity/44/end",
    ]),
];

/// All that the client's first bytes matter to.
const FROM_CLIENT: &[&str] = &[
    "closing/client-close",
    "closing/client-half-close/bytes",
    "closing/client-half-close/carried",
    "closing/client-reset",
    "closing/service-half-close/carried",
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "concurrency/20-in-a-row",
    "connectivity/44/client-to-service",
    "data-quality/both",
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
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
    "turnover/connections",
    "turnover/descriptors",
];

/// All that the service's first bytes matter to.
const FROM_SERVICE: &[&str] = &[
    "closing/client-half-close/carried",
    "closing/service-close",
    "closing/service-half-close/bytes",
    "closing/service-half-close/carried",
    "closing/service-reset",
    "concurrency/10-at-once",
    "concurrency/100-at-once",
    "concurrency/20-in-a-row",
    "connectivity/44/service-to-client",
    "data-quality/both",
    "data-quality/down",
    "echo/44/again",
    "echo/44/lengths",
    "echo/44/stream",
    "echo/44/values",
    "faults/ordinary",
    "life/ordinary",
    "pace/byte-by-byte",
    "pace/idle",
    "pace/service-first",
    "pace/slow-reader",
    "pace/slow-writer",
    "ping-pong/500-bytes",
    "punishment/transfers",
    "turnover/connections",
    "turnover/descriptors",
];
