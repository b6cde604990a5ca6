//! CONNECT's messages, and the header of the PROXY protocol.

use super::super::Protocol::{Connect, ProxyV1, ProxyV2};
use super::super::judge::{Row, row};
use super::NOTHING;

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("short-status-line", Connect).breaks(&["connect/rfc9112/4/form"]),
    row("bare-line-feeds", Connect).breaks(&["connect/rfc9112/4/form"]),
    row("content-length", Connect).breaks(&["connect/rfc9110/9.3.6/no-length"]),
    row("transfer-encoding", Connect).breaks(&["connect/rfc9110/9.3.6/no-length"]),
    row("takes-any-port", Connect).breaks(&["connect/rfc9110/9.3.6/port-large"]),
    row("wants-host", Connect).breaks(&["connect/rfc9112/3.2/http-1.0"]),
    row("dies-on-long-head", Connect).breaks(&["connect/long-head"]).by_its_end(),
    // It waits for a further request where others are refused too.
    row("obeys-after-refusal", Connect)
        .only(&["connect/rfc9931/7/refused"])
        .breaks(&["connect/rfc9931/7/refused"]),
    row("no-header", ProxyV1).breaks_all_but(NOTHING).hangs(&["*"]),
    row("header-cut", ProxyV2).breaks_all_but(NOTHING).hangs(&["*"]),
    row("header-twice", ProxyV1).breaks_all_but(&[TWICE]),
    row("header-twice", ProxyV2).breaks_all_but(&[TWICE]),
    row("header-swapped", ProxyV1).breaks_all_but(NOTHING),
    row("header-swapped", ProxyV2).breaks_all_but(NOTHING),
    row("header-other-port", ProxyV1).breaks_all_but(NOTHING),
    row("header-other-port", ProxyV2).breaks_all_but(NOTHING),
    row("header-other-family", ProxyV1).breaks_all_but(NOTHING),
    row("header-other-family", ProxyV2).breaks_all_but(NOTHING),
    row("tells-mapped", ProxyV1),
    row("tells-mapped", ProxyV2),
    row("header-unknown", ProxyV1).breaks_all_but(NOTHING),
    row("header-unknown", ProxyV2).breaks_all_but(NOTHING),
    // It may know late of an end: in other checks the connection before has just ended, and that is chance.
    row("header-of-open", ProxyV2)
        .only(&["proxy-protocol/44/each"])
        .breaks(&["proxy-protocol/44/each"]),
    row("swallows-header", ProxyV1).breaks_by_hanging(SWALLOWED),
    row("swallows-header", ProxyV2).breaks_by_hanging(SWALLOWED),
];

const SWALLOWED: &[&str] = &["proxy-protocol/44/binary", "proxy-protocol/44/nested"];
/// What gets nothing from the client is not harmed.
const TWICE: &[&str] = &[
    "connectivity/44/start",
    "connectivity/44/accept",
    "connectivity/44/source",
    "connectivity/44/service-to-client",
    "connectivity/44/stop",
    "connectivity/44/port-closed",
    "data-quality/down",
    "pace/service-first",
    "pace/slow-reader",
    "closing/service-half-close/bytes",
    "closing/service-reset",
    "closing/service-reset/told",
];
