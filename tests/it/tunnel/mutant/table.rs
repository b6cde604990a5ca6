//! Which checks must fail for which mutation.

use loopback::tunnel::Suite;

use super::Protocol::{self, Forward, Socks5, Socks5Login};

/// The verdict of one suite on one mutation.
#[derive(Debug)]
pub(super) struct Row {
    /// The test that runs it.
    pub(super) place: &'static str,
    pub(super) mutation: &'static str,
    pub(super) protocol: Protocol,
    pub(super) suite: Suite,
    /// The checks that must fail, and no others; `*` is each combination of families.
    pub(super) fails: &'static [&'static str],
    /// It makes a check wait until its deadline.
    pub(super) hangs: bool,
    /// It takes its time, so that one combination of families is enough.
    pub(super) slow: bool,
}

const fn row(
    place: &'static str,
    mutation: &'static str,
    protocol: Protocol,
    fails: &'static [&'static str],
) -> Row {
    Row {
        place,
        mutation,
        protocol,
        suite: Suite::Connectivity,
        fails,
        hangs: false,
        slow: false,
    }
}

const fn hangs(row: Row) -> Row {
    Row { hangs: true, ..row }
}

const fn slow(row: Row) -> Row {
    Row { slow: true, ..row }
}

const START: &[&str] = &["connectivity/*/start"];
pub(super) const STOP: &[&str] = &["connectivity/*/stop"];
const HANDSHAKE: &[&str] = &["connectivity/*/handshake"];
const ACCEPT: &[&str] = &["connectivity/*/accept"];
const SOURCE: &[&str] = &["connectivity/*/source"];
#[cfg(target_os = "linux")]
const SOURCE_OF_V4: &[&str] = &["connectivity/44/source", "connectivity/64/source"];
const SERVICE_TO_CLIENT: &[&str] = &["connectivity/*/service-to-client"];
const CLIENT_TO_SERVICE: &[&str] = &["connectivity/*/client-to-service"];
const CLIENT_HALF_CLOSE: &[&str] = &["connectivity/*/client-half-close"];
const SERVICE_HALF_CLOSE: &[&str] = &["connectivity/*/service-half-close"];
const END: &[&str] = &["connectivity/*/end"];
const BY_NAME: &[&str] = &["connectivity/*/name-literal"];
/// What two protocols have in common is judged with both.
pub(super) const TABLE: &[Row] = &[
    row("process", "exits-at-once", Socks5, START),
    hangs(row("hanging", "never-listens", Socks5, START)),
    hangs(row("hanging", "ignores-term", Socks5, STOP)),
    hangs(row("hanging", "ends-late", Forward, STOP)),
    row("process", "crashes-on-term", Socks5, STOP),
    row("process", "listens-once", Socks5, SERVICE_HALF_CLOSE),
    row("process", "listens-once", Forward, SERVICE_HALF_CLOSE),
    row(
        "process",
        "exits-in-handshake",
        Socks5,
        &["connectivity/*/handshake", "connectivity/*/stop"],
    ),
    row(
        "process",
        "exits-in-transfer",
        Forward,
        &["connectivity/*/client-to-service", "connectivity/*/stop"],
    ),
    row(
        "process",
        "ipv4-only",
        Socks5,
        &["connectivity/46/handshake", "connectivity/66/handshake"],
    ),
    row(
        "process",
        "ipv4-only",
        Forward,
        &["connectivity/46/accept", "connectivity/66/accept"],
    ),
    row("process", "signed-ports", Socks5, HANDSHAKE),
    // Where there is one address only, nothing can be mixed up.
    #[cfg(target_os = "linux")]
    row("process", "ignores-outgoing", Socks5, SOURCE_OF_V4),
    #[cfg(target_os = "linux")]
    row("process", "ignores-outgoing", Forward, SOURCE_OF_V4),
    hangs(row("hanging", "hangs", Socks5, HANDSHAKE)),
    row("handshake", "garbage", Socks5, HANDSHAKE),
    row("handshake", "garbage", Socks5Login, HANDSHAKE),
    row("handshake", "closes-in-handshake", Socks5, HANDSHAKE),
    row("handshake", "wrong-version", Socks5, HANDSHAKE),
    row("handshake", "wrong-version", Socks5Login, HANDSHAKE),
    row("handshake", "refuses", Socks5, HANDSHAKE),
    row("handshake", "cuts-reply", Socks5, HANDSHAKE),
    row("handshake", "says-yes-and-closes", Socks5, ACCEPT),
    hangs(row("hanging", "says-yes-and-hangs", Socks5, ACCEPT)),
    row("handshake", "junk-after-reply", Socks5, SERVICE_TO_CLIENT),
    row("handshake", "tells-other-address", Socks5, SOURCE),
    row("handshake", "tells-reversed-address", Socks5, SOURCE),
    row("handshake", "tells-other-port", Socks5, SOURCE),
    row("handshake", "tells-reversed-port", Socks5, SOURCE),
    row("handshake", "no-names", Socks5, BY_NAME),
    row("handshake", "other-method", Socks5, HANDSHAKE),
    row("handshake", "no-method", Socks5, HANDSHAKE),
    row("handshake", "method-not-offered", Socks5Login, HANDSHAKE),
    row("handshake", "login-version-five", Socks5Login, HANDSHAKE),
    row("handshake", "reserved-not-zero", Socks5, HANDSHAKE),
    hangs(row("hanging", "wrong-address-type", Socks5, HANDSHAKE)),
    row("bytes", "swaps-bytes", Forward, CLIENT_TO_SERVICE),
    row("bytes", "swaps-bytes", Socks5, CLIENT_TO_SERVICE),
    row("bytes", "drops-byte", Forward, CLIENT_HALF_CLOSE),
    row("bytes", "doubles-byte", Forward, CLIENT_HALF_CLOSE),
    row("bytes", "doubles-up", Forward, CLIENT_HALF_CLOSE),
    row("bytes", "doubles-down", Forward, CLIENT_HALF_CLOSE),
    hangs(row("hanging", "drops-up", Forward, CLIENT_TO_SERVICE)),
    hangs(row("hanging", "drops-down", Forward, SERVICE_TO_CLIENT)),
    row(
        "bytes",
        "drops-carriage-returns",
        Forward,
        CLIENT_TO_SERVICE,
    ),
    row("bytes", "junk-at-start", Forward, CLIENT_TO_SERVICE),
    row("bytes", "junk-at-end-up", Forward, CLIENT_HALF_CLOSE),
    row("bytes", "junk-at-end-down", Forward, END),
    hangs(row(
        "hanging",
        "waits-for-client",
        Forward,
        SERVICE_TO_CLIENT,
    )),
    hangs(row("hanging", "waits-for-more", Forward, SERVICE_TO_CLIENT)),
    slow(row("end", "loses-end-up", Forward, CLIENT_HALF_CLOSE)),
    slow(row("end", "loses-end-down", Forward, SERVICE_HALF_CLOSE)),
    slow(row("end", "halves-end", Forward, CLIENT_HALF_CLOSE)),
    row("end", "ends-early", Forward, CLIENT_HALF_CLOSE),
    hangs(row("hanging", "never-closes", Forward, END)),
    // Right, or another suite's business.
    row("unseen", "late", Socks5, &[]),
    row("unseen", "tells-nothing", Socks5, &[]),
    row("unseen", "tells-ipv6-zeros", Socks5, &[]),
    row("unseen", "no-bind", Socks5, &[]),
    row("unseen", "no-half-close", Forward, &[]),
    row("unseen", "cuts-other-way", Forward, &[]),
    row("hanging", "delays-end", Forward, &[]),
    row("hanging", "holds-half-close", Forward, &[]),
    row("unseen", "resets-at-end", Forward, &[]),
    row("unseen", "swallows-reset", Forward, &[]),
    row("unseen", "reset-becomes-end", Forward, &[]),
    row("unseen", "ignores-int", Socks5, &[]),
    row("unseen", "leaves-grandchild", Socks5, &[]),
    row("unseen", "leaves-children", Socks5, &[]),
    row("unseen", "floods-output", Socks5, &[]),
    row("unseen", "dies-on-garbage", Socks5, &[]),
    row("unseen", "serialises", Socks5, &[]),
    row("unseen", "at-most-eight", Socks5, &[]),
    row("unseen", "drops-hundredth", Socks5, &[]),
    row("unseen", "stops-after-500", Socks5, &[]),
    row("unseen", "leaks-descriptors", Socks5, &[]),
    row("unseen", "cuts-failure-reply", Socks5, &[]),
    row("unseen", "closes-for-failure", Socks5, &[]),
    row("unseen", "stays-open-after-failure", Socks5, &[]),
    row("unseen", "one-failure-code", Socks5, &[]),
    row("unseen", "unknown-failure-code", Socks5, &[]),
    row("unseen", "succeeds-always", Socks5, &[]),
    row("unseen", "answers-before-it-connects", Socks5, &[]),
    row("unseen", "drops-early-data", Socks5, &[]),
    row("unseen", "needs-whole-messages", Socks5, &[]),
    row("unseen", "waits-for-ever", Socks5, &[]),
    row("unseen", "hangs-on-half-close", Socks5, &[]),
    row("unseen", "takes-any-command", Socks5, &[]),
    row("unseen", "ignores-version", Socks5, &[]),
    row("unseen", "accepts-any-password", Socks5Login, &[]),
    row("unseen", "accepts-any-user", Socks5Login, &[]),
    row("unseen", "accepts-prefix", Socks5Login, &[]),
    row("unseen", "cuts-at-nul", Socks5Login, &[]),
    row("unseen", "cuts-at-colon", Socks5Login, &[]),
    row("unseen", "accepts-after-good-login", Socks5Login, &[]),
    row("unseen", "caches-bad-login", Socks5Login, &[]),
    row("unseen", "needs-no-login", Socks5Login, &[]),
    row("unseen", "skips-login", Socks5Login, &[]),
    row("unseen", "goes-on-after-bad-login", Socks5Login, &[]),
    row("unseen", "dies-on-long-login", Socks5Login, &[]),
    row("unseen", "signed-method-count", Socks5, &[]),
    row("unseen", "takes-any-address-type", Socks5, &[]),
    row("unseen", "changes-late-byte", Forward, &[]),
    row("unseen", "drops-late-byte", Forward, &[]),
    row("unseen", "only-first-bytes", Forward, &[]),
    row("unseen", "strips-high-bits", Forward, &[]),
    row("unseen", "stops-at-nul", Forward, &[]),
    row("unseen", "unbounded-buffer", Forward, &[]),
    row("unseen", "stalls-at-megabyte", Forward, &[]),
];

/// Those whose protocol or request no suite speaks yet, and those that are tested apart.
pub(super) const NOT_YET: &[&str] = &[
    // `life` tests these, which leave a daemon.
    "leaves-daemon",
    "leaves-hidden-daemon",
    // On a loaded machine connectivity may itself be idle for so long.
    "cuts-idle",
    "bind-replies-once",
    "bind-tells-no-port",
    "bind-takes-anyone",
    "no-udp",
    "udp-tells-no-port",
    "udp-no-header",
    "udp-own-address",
    "udp-reversed-port",
    "udp-after-close",
    "udp-takes-anyone",
    "udp-ignores-frag",
    "udp-small-buffer",
    "udp-dies-on-junk",
    "udp-once",
    "udp-drops-empty",
    "udp-junk",
    "content-length",
    "transfer-encoding",
    "no-empty-line",
    "takes-any-port",
    "no-challenge",
    "scheme-by-case",
    "takes-authorization",
    "dies-on-long-head",
    "no-header",
    "header-twice",
    "header-swapped",
    "header-other-port",
    "header-other-family",
    "header-cut",
    "header-unknown",
];
