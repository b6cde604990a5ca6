//! The suite about the ends of connections.

use loopback::tunnel::{Outcome, Suite};

use super::mutant::Protocol::{Forward, Socks5};
use super::verdicts::{count, hangs, judge, passes, verdict};

const CLIENT_BYTES: &str = "closing/client-half-close/bytes";
const CLIENT_CARRIED: &str = "closing/client-half-close/carried";
const CLIENT_CLOSE: &str = "closing/client-close";
const CLIENT_RESET: &str = "closing/client-reset";
const SERVICE_BYTES: &str = "closing/service-half-close/bytes";
const SERVICE_CARRIED: &str = "closing/service-half-close/carried";
const SERVICE_CLOSE: &str = "closing/service-close";
const SERVICE_RESET: &str = "closing/service-reset";

#[test]
fn right_proxies_pass() {
    for protocol in [Forward, Socks5] {
        for options in [&[][..], &["--coalesce"]] {
            let report = passes(Suite::Closing, protocol, options);
            assert_eq!(count(&report, Outcome::Passed), 8, "{report}");
        }
    }
}

#[test]
fn a_slow_one_passes() {
    passes(Suite::Closing, Forward, &["--slow"]);
}

#[test]
fn ways_to_be_right_pass() {
    let right = ["delays-end", "reset-becomes-end"];
    let verdicts = right.map(|mutation| verdict(Forward, mutation, &[]));
    judge(Suite::Closing, &verdicts);
}

#[test]
fn a_half_close_that_is_not_carried_is_told() {
    judge(
        Suite::Closing,
        &[verdict(
            Forward,
            "no-half-close",
            &[CLIENT_CARRIED, SERVICE_CARRIED],
        )],
    );
}

#[test]
fn lost_and_changed_bytes_are_found() {
    let of_client = &[CLIENT_BYTES, CLIENT_CLOSE];
    judge(
        Suite::Closing,
        &[
            verdict(Forward, "changes-late-byte", &[SERVICE_CLOSE]),
            verdict(Forward, "drops-late-byte", &[CLIENT_CLOSE]),
            verdict(Forward, "only-first-bytes", of_client),
            verdict(Socks5, "strips-high-bits", &[CLIENT_BYTES, CLIENT_CLOSE]),
            hangs(verdict(Forward, "stalls-at-megabyte", &[SERVICE_CLOSE])),
        ],
    );
}

#[test]
fn wrong_ends_are_found() {
    judge(
        Suite::Closing,
        &[
            verdict(
                Forward,
                "loses-end-up",
                &[CLIENT_BYTES, CLIENT_CARRIED, CLIENT_CLOSE],
            ),
            verdict(
                Forward,
                "loses-end-down",
                &[SERVICE_BYTES, SERVICE_CARRIED, SERVICE_CLOSE],
            ),
            verdict(
                Socks5,
                "halves-end",
                &[CLIENT_BYTES, CLIENT_CARRIED, CLIENT_CLOSE],
            ),
            verdict(Forward, "ends-early", &[CLIENT_BYTES, CLIENT_CLOSE]),
            verdict(
                Forward,
                "resets-at-end",
                &[CLIENT_BYTES, CLIENT_CARRIED, CLIENT_CLOSE],
            ),
            hangs(verdict(
                Forward,
                "never-closes",
                &[CLIENT_CARRIED, CLIENT_CLOSE, SERVICE_CARRIED],
            )),
            hangs(verdict(
                Forward,
                "holds-half-close",
                &[CLIENT_CARRIED, CLIENT_CLOSE, SERVICE_CARRIED, SERVICE_CLOSE],
            )),
            hangs(verdict(
                Forward,
                "swallows-reset",
                &[CLIENT_RESET, SERVICE_RESET],
            )),
        ],
    );
}
