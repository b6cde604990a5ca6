use std::net::Ipv6Addr;

use super::super::{Forward, Socks5};
use super::*;

/// A combination with IPv4 on both sides.
fn combination(tunnel: &dyn Tunnel) -> Combination<'_> {
    let service = Service::bind(&[IpAddr::from([127, 0, 0, 1])]).unwrap();
    let route = Route {
        listen: "127.0.0.1:1".parse().unwrap(),
        service: SocketAddr::new([127, 0, 0, 1].into(), service.port()),
        client: [127, 0, 0, 2].into(),
        outgoing: [127, 0, 0, 4].into(),
    };
    Combination {
        tunnel,
        route,
        service,
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn no_command(_: &Route) -> std::process::Command {
    unreachable!("nothing is started here")
}

fn message(stop: Stop) -> String {
    match stop {
        Stop::Failed(message, _) => format!("failed: {message}"),
        Stop::Skipped(message) => format!("skipped: {message}"),
    }
}

#[test]
fn a_connection_of_the_other_family_fails() {
    let tunnel = Forward::spawn(no_command);
    let here = combination(&tunnel);
    assert!(here.right_family(addr("127.0.0.9:5")).is_ok());
    let other = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 5);
    assert_eq!(
        message(here.right_family(other).unwrap_err()),
        "failed: the connection from [::1]:5 is IPv6, not IPv4"
    );
}

#[test]
fn the_source_is_judged_by_what_is_known_of_it() {
    let (peer, wrong) = (addr("127.0.0.4:700"), addr("127.0.0.1:700"));
    let judge = |tunnel: &dyn Tunnel, peer, told: Option<&str>| {
        let mut notes = Vec::new();
        let done = combination(tunnel).source(peer, told.map(addr), &mut notes);
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

#[test]
fn nobody_who_could_connect_ends_the_wait_at_once() {
    let tunnel = Forward::spawn(no_command);
    let here = combination(&tunnel);
    let mut sleep = std::process::Command::new("sleep");
    sleep.arg("1000");
    let mut child = Child::spawn(sleep).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let deadline = Deadline::new(Duration::from_secs(30), "the program to connect");
    let client = Stream::new(client, deadline);

    let (accepted, _) = listener.accept().unwrap();
    let short = Deadline::new(Duration::from_millis(30), "the program to connect");
    let error = accept(&here.service, &client, &mut child, &short).unwrap_err();
    assert_eq!(
        message(error),
        "failed: timed out after 30ms waiting for the program to connect"
    );
    drop(accepted);
    let error = accept(&here.service, &client, &mut child, &deadline).unwrap_err();
    assert!(message(error).contains("the program has closed the client's connection"));
    child.stop(Duration::from_secs(30));
    let error = accept(&here.service, &client, &mut child, &deadline).unwrap_err();
    assert!(message(error).contains("the program has ended"));
    assert!(!deadline.expired());

    // What connected before that is not lost.
    let _early = TcpStream::connect(here.route.service).unwrap();
    assert!(accept(&here.service, &client, &mut child, &deadline).is_ok());
}

#[cfg(unix)]
#[test]
fn ends_are_told_apart() {
    use std::os::unix::process::ExitStatusExt;
    let end = |raw, by_itself, killed| End {
        status: Some(ExitStatus::from_raw(raw)),
        by_itself,
        killed,
        elapsed: Duration::from_millis(1),
        strays: 0,
    };
    let judge = |end: End, listened| {
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
    let stuck = End {
        status: None,
        ..end(0, false, true)
    };
    assert!(
        judge(stuck, true)
            .unwrap_err()
            .contains("still there after KILL")
    );
}

#[test]
fn a_port_that_still_answers_is_not_closed() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let tunnel = Forward::spawn(no_command);
    let mut here = combination(&tunnel);
    here.route.listen = listener.local_addr().unwrap();
    here.route.client = [127, 0, 0, 1].into();
    let deadline = Deadline::new(Duration::from_millis(30), "the port to close");
    let error = message(here.port_closed(&deadline).unwrap_err());
    assert!(error.ends_with("still accepts connections"), "{error}");
    drop(listener);
    let deadline = Deadline::new(Duration::from_secs(30), "the port to close");
    here.port_closed(&deadline).unwrap();
}
