//! Logins of SOCKS5 and of CONNECT.

use super::super::Protocol::{ConnectLogin, Socks5Login};
use super::super::judge::{Row, row};

/// Whatever is wrong with a login.
const DENIALS: &[&str] = &[
    "socks5/rfc1929/2/longest",
    "socks5/rfc1929/2/password-*",
    "socks5/rfc1929/2/wrong-*",
];
const ALL_DENIALS: &[&str] = &[
    "socks5/rfc1929/2/empty",
    "socks5/rfc1929/2/longest",
    "socks5/rfc1929/2/password-*",
    "socks5/rfc1929/2/wrong-*",
];
const BASIC_DENIALS: &[&str] = &[
    "connect/rfc7617/2/bad-base64",
    "connect/rfc7617/2/no-colon",
    "connect/rfc7617/2/password-*",
    "connect/rfc7617/2/wrong-*",
    "connect/rfc9110/11.7.1/no-credentials",
    "connect/rfc9110/11.7.2/*",
];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    row("accepts-any-password", Socks5Login)
        .breaks(&["socks5/rfc1929/2/password-*", "socks5/rfc1929/2/wrong-password"]),
    row("accepts-any-password", ConnectLogin)
        .breaks(&["connect/rfc7617/2/password-*", "connect/rfc7617/2/wrong-password"]),
    row("accepts-any-user", Socks5Login).breaks(&["socks5/rfc1929/2/wrong-user"]),
    row("accepts-any-user", ConnectLogin).breaks(&["connect/rfc7617/2/wrong-user"]),
    row("accepts-prefix", Socks5Login).breaks(&["socks5/rfc1929/2/password-prefix"]),
    row("accepts-prefix", ConnectLogin).breaks(&["connect/rfc7617/2/password-prefix"]),
    row("cuts-at-nul", Socks5Login).breaks(&["socks5/rfc1929/2/password-nul"]),
    row("cuts-at-colon", Socks5Login).breaks(&["socks5/rfc1929/2/password-*"]),
    row("cuts-at-colon", ConnectLogin).breaks(&["connect/rfc7617/2/password-*"]),
    row("accepts-after-good-login", Socks5Login).breaks(ALL_DENIALS),
    row("accepts-after-good-login", ConnectLogin).breaks(BASIC_DENIALS),
    // After each of them an ordinary login is refused.
    row("caches-bad-login", Socks5Login).breaks(ALL_DENIALS),
    row("caches-bad-login", ConnectLogin).breaks(BASIC_DENIALS),
    row("needs-no-login", Socks5Login)
        .breaks(&["socks5/rfc1928/3/login-chosen", "socks5/rfc1928/3/login-required"]),
    row("needs-no-login", ConnectLogin).breaks(BASIC_DENIALS),
    row("skips-login", Socks5Login).breaks(&["socks5/rfc1929/2/left-out"]),
    row("goes-on-after-bad-login", Socks5Login).breaks(DENIALS),
    row("dies-on-long-login", Socks5Login).breaks(&["socks5/rfc1929/2/longest"]).by_its_end(),
    row("method-not-offered", Socks5Login).breaks_all_but(super::NOTHING),
    row("login-version-five", Socks5Login).breaks_all_but(super::NOTHING),
    row("ignores-login-version", Socks5Login).breaks(&["socks5/rfc1929/2/version"]),
    row("no-challenge", ConnectLogin).breaks(&["connect/rfc9110/11.7.1/no-credentials"]),
    row("scheme-by-case", ConnectLogin).breaks(&["connect/rfc9110/11.1/case"]),
    row("takes-authorization", ConnectLogin).breaks(&["connect/rfc9110/11.7.2/authorization"]),
];
