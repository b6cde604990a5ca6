//! The process as a whole, and how many connections it serves.

use super::super::Protocol::{Connect, Forward, Socks5};
use super::super::judge::{Row, row};

/// All that a program does that is gone before its port is: what stays answers.
#[cfg(target_os = "linux")]
const GONE: &[&str] = &["life/*/gone", "life/leaves-nobody*"];

#[rustfmt::skip]
pub(super) const ROWS: &[Row] = &[
    // No group of checks gets beyond its start.
    row("exits-at-once", Socks5).breaks(&["*/start"]),
    row("never-listens", Socks5).breaks(&["*/start"]).hangs(&["*"]),
    row("ignores-term", Socks5).stays_but_for(&["life/int-*"]).breaks(&[
        "connectivity/44/stop", "life/term-idle/ends", "life/term-live/ends",
    ]),
    row("ignores-int", Socks5).stays_but_for(&["connectivity/*", "life/term-*"])
        .breaks(&["life/int-idle/ends", "life/int-live/ends"]),
    row("ends-late", Forward).stays_but_for(&[]).breaks(&[
        "connectivity/44/stop", "life/int-*/gone", "life/term-*/ends",
    ]).hangs(&["life/int-*/gone"]),
    row("crashes-on-term", Socks5)
        .breaks(&[
            "connectivity/44/stop",
            "life/int-idle/gone", "life/int-live/gone",
            "life/term-*/ends", "life/term-*/status",
        ])
        // INT ends the shell around it alone, whose child keeps the port.
        .hangs(&["life/int-*/gone"]),
    row("fails-on-int", Socks5).breaks(&["life/int-*/status"]),
    // Only Linux tells which processes run, and has `setsid` for sure.
    #[cfg(target_os = "linux")]
    row("leaves-grandchild", Forward).breaks_by_hanging(GONE),
    #[cfg(target_os = "linux")]
    row("leaves-daemon", Forward)
        .breaks_by_hanging(&["faults/killed", "life/*/gone", "life/leaves-nobody*"]),
    #[cfg(target_os = "linux")]
    row("leaves-children", Forward)
        .breaks(&["turnover/descriptors", "resources/after/*", "life/leaves-nobody*"])
        .hangs(&["life/leaves-nobody*"]),
    // A connection closed by the program waits for the last segments, and nobody else gets its port.
    row("keeps-address", Socks5).breaks(&["life/term-live/again", "life/int-live/again"]),
    row("stale-pid-file", Socks5).breaks(&["life/ready", "life/*/again"]),
    // Right: nobody has to read what it writes.
    row("floods-output", Socks5),
    // Elsewhere one connection ends the process of another, and which one is chance.
    row("dies-on-garbage", Socks5).left_out(&["socks5/*"]).breaks(&["faults/garbage"]).by_its_end(),
    row("dies-on-garbage", Connect).left_out(&["connect/*"]).breaks(&["faults/garbage"]).by_its_end(),
];
