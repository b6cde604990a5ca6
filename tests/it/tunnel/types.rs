//! What all types of the harness have in common.

use loopback::TunnelHarness;
use loopback::tunnel::{
    self, Attached, Custom, ErrorKind, Family, Forward, HttpConnect, Outcome, Program,
    ProxyProtocol, Report, Route, Setup, Socks4, Socks4a, Socks5, Suite, Target, Template,
};

/// What can be shown in a test's own messages, and used on any of its threads.
const fn common<T: std::fmt::Debug + Send + Sync + 'static>() {}

/// Compiled, there is nothing to run.
const _: () = {
    common::<TunnelHarness>();
    common::<Attached<Socks5>>();
    common::<Custom>();
    common::<Forward>();
    common::<HttpConnect>();
    common::<ProxyProtocol>();
    common::<Socks4>();
    common::<Socks4a>();
    common::<Socks5>();
    common::<Template>();
    common::<Program>();
    common::<Setup>();
    common::<tunnel::RunningTunnel>();
    common::<tunnel::RunningTunnelBuilder>();
    common::<tunnel::ProxyHeader>();
    common::<Route>();
    common::<Target>();
    common::<tunnel::Kind>();
    common::<tunnel::Running>();
    common::<Family>();
    common::<Suite>();
    common::<tunnel::Sizes>();
    common::<tunnel::Error>();
    common::<ErrorKind>();
    common::<Report>();
    common::<tunnel::SuiteSummary>();
    common::<tunnel::Counts>();
    common::<tunnel::Check>();
    common::<Outcome>();
    common::<tunnel::Strictness>();
    common::<tunnel::Failure>();
    common::<tunnel::Ended>();
    common::<tunnel::Measures>();
    common::<tunnel::Latency>();
    common::<tunnel::Expectation>();
    common::<tunnel::ExpectationState>();
};

#[test]
fn the_debug_text_of_a_kind_does_not_tell_its_password() {
    let login = Socks5::template("proxy --listen {listen}").auth("me", "s3cret");
    let text = format!("{login:?}");
    assert!(text.contains("me") && !text.contains("s3cret"), "{text}");
    // Nor as a list of its bytes.
    assert!(!text.contains("115"), "{text}");
    let text = format!("{:?}", TunnelHarness::new(login));
    assert!(
        text.contains("socks5") && !text.contains("s3cret"),
        "{text}"
    );
}
