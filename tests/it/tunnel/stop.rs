//! The suite about the program's own life.

use loopback::tunnel::{Outcome, Suite};

use super::mutant::Protocol::{Forward, Socks5};
use super::verdicts::{count, hangs, judge, passes, stays, verdict};

/// Somebody else keeps the port.
const GONE: &[&str] = &[
    "life/int-idle/gone",
    "life/int-live/gone",
    "life/leaves-nobody",
    "life/term-idle/gone",
    "life/term-live/gone",
];

#[test]
fn right_proxies_pass() {
    for protocol in [Forward, Socks5] {
        let report = passes(Suite::Life, protocol, &[]);
        assert_eq!(count(&report, Outcome::Passed), 18, "{report}");
        let ready = report.check("life/ready").unwrap();
        assert_eq!(ready.measures().latency().unwrap().count, 3);
    }
}

/// Only Linux tells which processes run, and has `setsid` for sure.
#[cfg(target_os = "linux")]
#[test]
fn programs_that_do_not_go_in_order_are_found() {
    judge(
        Suite::Life,
        &[
            stays(verdict(
                Socks5,
                "ignores-term",
                &["life/term-idle/ends", "life/term-live/ends"],
            )),
            stays(verdict(
                Socks5,
                "ignores-int",
                &["life/int-idle/ends", "life/int-live/ends"],
            )),
            hangs(verdict(
                Socks5,
                "crashes-on-term",
                &[
                    "life/int-idle/gone",
                    "life/int-live/gone",
                    "life/term-idle/ends",
                    "life/term-idle/status",
                    "life/term-live/ends",
                    "life/term-live/status",
                ],
            )),
            hangs(verdict(Forward, "leaves-grandchild", GONE)),
            hangs(verdict(Forward, "leaves-children", &["life/leaves-nobody"])),
            hangs(verdict(Forward, "leaves-daemon", GONE)),
        ],
    );
}
