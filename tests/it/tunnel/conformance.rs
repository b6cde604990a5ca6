//! The suite of conformance, where the table of mutants does not show it.

use loopback::TunnelHarness;
use loopback::tunnel::{Forward, Suite};

use super::PATIENT;
use super::mutant::Protocol;

/// It ends a little later than the check that it ends at, so that the next one may be the first to see
/// that. Nothing else is wrong with it.
#[test]
fn one_that_dies_on_garbage_is_found() {
    for (protocol, garbage) in [
        (Protocol::Socks4a, "socks4a/version-0"),
        (Protocol::Socks5, "socks5/rfc1928/3/version-0"),
        (Protocol::Connect, "connect/rfc9110/9.3.6/port-empty"),
    ] {
        let harness = || {
            let harness = protocol.harness(&["--mutation", "dies-on-garbage"]);
            harness.suite(Suite::Conformance).check_deadline(PATIENT)
        };
        let report = harness().run().unwrap();
        assert!(report.failed() > 0, "{report}");
        // Alone nobody else can take its place; the program has ended by the time it is stopped.
        let alone = harness().only(garbage).repeat(5);
        assert!(alone.run().unwrap().failed() > 0, "{garbage}");
    }
}

#[test]
fn what_has_no_handshake_is_skipped_and_no_success() {
    let forwarder = TunnelHarness::new(Forward::template("no-such-program"));
    let report = forwarder.suite(Suite::Conformance).run().unwrap();
    assert_eq!((report.checks().len(), report.skipped()), (1, 1));
    let check = &report.checks()[0];
    assert_eq!(check.id(), "conformance");
    assert_eq!(check.message(), "a forwarder has no handshake");
    assert!(!report.is_success());
}
