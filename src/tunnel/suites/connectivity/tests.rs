use std::net::Ipv6Addr;
use std::time::Duration;

use super::*;
use crate::tunnel::kinds::socks5::Socks5;
use crate::tunnel::programs::group::Signal;

/// A route with IPv4 on both sides.
fn route() -> Route {
    Route {
        listen: addr("127.0.0.1:1"),
        service: addr("127.0.0.3:1"),
        client: [127, 0, 0, 2].into(),
        outgoing: [127, 0, 0, 4].into(),
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn no_command(_: &Route) -> std::process::Command {
    unreachable!("nothing is started here")
}

fn message(error: CheckError) -> String {
    match error {
        CheckError::Failed(message, _) => format!("failed: {message}"),
        CheckError::Skipped(message) => format!("skipped: {message}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_connection_of_the_other_family_fails() {
    assert!(right_family(&route(), addr("127.0.0.9:5")).is_ok());
    let other = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 5);
    assert_eq!(
        message(right_family(&route(), other).unwrap_err()),
        "failed: the connection from [::1]:5 is IPv6, not IPv4"
    );
}

#[test]
fn the_source_is_judged_by_what_is_known_of_it() {
    let (peer, wrong) = (addr("127.0.0.4:700"), addr("127.0.0.1:700"));
    let judge = |tunnel: &dyn Tunnel, peer, told: Option<&str>| {
        let mut notes = Vec::new();
        let done = judge_source(tunnel, &route(), peer, told.map(addr), &mut notes);
        assert_eq!(notes, [format!("came from {}", peer.ip())]);
        done.map_err(message)
    };
    let bound = Socks5::spawn(no_command).binds_outgoing(true);
    assert_eq!(judge(&bound, peer, None), Ok(()));
    assert_eq!(
        judge(&bound, wrong, None).unwrap_err(),
        "failed: the connection came from 127.0.0.1, not from 127.0.0.4"
    );
    let free = Socks5::spawn(no_command);
    assert!(
        judge(&free, peer, None)
            .unwrap_err()
            .starts_with("skipped: ")
    );
    for zeros in ["0.0.0.0:0", "[::]:0", "0.0.0.0:700"] {
        assert!(judge(&free, peer, Some(zeros)).is_err(), "{zeros}");
        assert_eq!(judge(&bound, peer, Some(zeros)), Ok(()), "{zeros}");
    }
    assert_eq!(judge(&free, peer, Some("127.0.0.4:700")), Ok(()));
    assert_eq!(judge(&free, peer, Some("127.0.0.4:0")), Ok(()));
    for untrue in ["127.0.0.4:701", "127.0.0.1:700", "127.0.0.1:0"] {
        let error = judge(&free, peer, Some(untrue)).unwrap_err();
        assert!(error.starts_with("failed: the program says"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn ends_are_told_apart() {
    use std::os::unix::process::ExitStatusExt;
    let end = |raw, by_itself, killed| ExitReport {
        status: Some(ExitStatus::from_raw(raw)),
        by_itself,
        signal: Signal::Term,
        killed,
        elapsed: Duration::from_millis(1),
        left: 0,
        strays: 0,
        who: String::new(),
    };
    let judge = |end: ExitReport, listened| {
        let mut notes = Vec::new();
        judge_end(&end, listened, &mut notes).map_err(message)
    };
    // A raw status is the signal, or the exit code times 256.
    for fine in [15, 2, 0, 143 << 8, 1 << 8] {
        assert_eq!(judge(end(fine, false, false), true), Ok(()), "{fine}");
    }
    for crash in [11, 6, 4, 8, 7, 139 << 8, 134 << 8] {
        let error = judge(end(crash, false, false), true).unwrap_err();
        assert!(error.contains("the program crashed"), "{error}");
    }
    let alone = judge(end(0, true, false), true).unwrap_err();
    assert!(
        alone.starts_with("failed: the program ended before"),
        "{alone}"
    );
    let early = judge(end(0, true, false), false).unwrap_err();
    assert!(early.starts_with("skipped: "), "{early}");
    let killed = judge(end(9, false, true), true).unwrap_err();
    assert!(
        killed.starts_with("failed: killed by signal 9, as TERM"),
        "{killed}"
    );
    let stuck = ExitReport {
        status: None,
        ..end(0, false, true)
    };
    assert!(
        judge(stuck, true)
            .unwrap_err()
            .contains("still there after KILL")
    );
}

#[cfg(unix)]
#[test]
fn of_several_ends_all_are_noted_and_the_failure_is_told() {
    use std::os::unix::process::ExitStatusExt;
    let end = |who: &str, code, by_itself| ExitReport {
        status: Some(ExitStatus::from_raw(code << 8)),
        by_itself,
        signal: Signal::Term,
        killed: false,
        elapsed: Duration::from_millis(1),
        left: 0,
        strays: 0,
        who: who.to_owned(),
    };
    let judge = |ends: &[ExitReport]| {
        let mut notes = Vec::new();
        let judged = judge_ends(ends, true, &mut notes).map_err(message);
        assert_eq!(notes.len(), ends.len());
        judged
    };
    let fine = [end("sshd", 0, false), end("ssh", 255, false)];
    assert_eq!(judge(&fine), Ok(()));
    assert_eq!(
        judge(&[
            end("sshd", 0, false),
            end("ssh", 255, true),
            end("x", 139, false)
        ])
        .unwrap_err(),
        "failed: the program ended before it was told to: ssh: exited with status 255, by itself"
    );
    assert_eq!(judge(&[]), Ok(()));
}
