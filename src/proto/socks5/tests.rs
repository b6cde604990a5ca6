use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::super::decode::every_prefix;
use super::*;

fn ip(text: &str) -> Host {
    Host::Ip(text.parse().unwrap())
}

fn name(text: &str) -> Host {
    Host::Name(text.as_bytes().to_vec())
}

/// A reply of the given code and address, written by hand so that it does not lean on the encoder.
fn reply_bytes(code: u8, host: &Host, port: u16) -> Vec<u8> {
    let mut out = vec![5, code, 0];
    match host {
        Host::Ip(IpAddr::V4(ip)) => out.extend([&[1][..], &ip.octets()].concat()),
        Host::Ip(IpAddr::V6(ip)) => out.extend([&[4][..], &ip.octets()].concat()),
        Host::Name(name) => out.extend([&[3, name.len() as u8][..], name].concat()),
    }
    out.extend(port.to_be_bytes());
    out
}

#[test]
fn messages_are_encoded_as_the_rfcs_draw_them() {
    assert_eq!(greeting(&[0]).unwrap(), [5, 1, 0]);
    assert_eq!(greeting(&[0, 2]).unwrap(), [5, 2, 0, 2]);
    assert_eq!(credentials(b"u", b"pw").unwrap(), *b"\x01\x01u\x02pw");
    assert_eq!(
        request(CONNECT, &ip("127.0.0.1"), 80).unwrap(),
        [5, 1, 0, 1, 127, 0, 0, 1, 0, 80]
    );
    assert_eq!(
        request(CONNECT, &ip("::1"), 0x1234).unwrap(),
        [
            5, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x12, 0x34
        ]
    );
    assert_eq!(
        request(3, &name("localhost"), 0).unwrap(),
        *b"\x05\x03\x00\x03\x09localhost\x00\x00"
    );
}

#[test]
fn ports_above_32767_are_unsigned() {
    for port in [32767, 32768, 61022, 65535] {
        let request = request(CONNECT, &ip("127.0.0.1"), port).unwrap();
        assert_eq!(request[8..], port.to_be_bytes());
        let bytes = reply_bytes(0, &ip("127.0.0.1"), port);
        let Ok(Decoded::Complete { value, .. }) = reply(&bytes) else {
            panic!("port {port}");
        };
        assert_eq!(value.bound.port, port);
    }
}

#[test]
fn lengths_that_do_not_fit_a_byte_are_errors() {
    let long = vec![b'x'; 256];
    assert!(request(CONNECT, &Host::Name(long[..255].to_vec()), 1).is_ok());
    assert_eq!(
        request(CONNECT, &Host::Name(long.clone()), 1)
            .unwrap_err()
            .to_string(),
        "the name has 256 bytes, the protocol can carry 1 to 255"
    );
    assert!(request(CONNECT, &Host::Name(vec![]), 1).is_err());
    assert!(credentials(&long, b"p").is_err());
    assert!(credentials(b"u", b"").is_err());
    assert!(greeting(&[]).is_err());
}

#[test]
fn every_prefix_of_every_answer_is_partial() {
    every_prefix(&[5, 0], 0, method_reply);
    every_prefix(&[5, 0xff], 0xff, method_reply);
    every_prefix(&[1, 0], 0, credentials_reply);
    every_prefix(&[1, 7], 7, credentials_reply);
    let longest = "n".repeat(255);
    for host in [
        ip("127.0.0.1"),
        ip("2001:db8::7"),
        name(""),
        name("a"),
        name(&longest),
    ] {
        for code in [0, 5, 0xff] {
            let bytes = reply_bytes(code, &host, 40000);
            let bound = Bound {
                host: host.clone(),
                port: 40000,
            };
            every_prefix(&bytes, Reply { code, bound }, reply);
        }
    }
}

#[test]
fn a_wrong_byte_is_named_as_soon_as_it_is_there() {
    let cases: [(&[u8], &str); 5] = [
        (
            &[4],
            "byte 0 of the reply (VER) is 04, expected 05 (RFC 1928 section 6)",
        ),
        (
            &[5, 0, 1],
            "byte 2 of the reply (RSV) is 01, expected 00 (RFC 1928 section 6)",
        ),
        (
            &[5, 0, 0, 2],
            "byte 3 of the reply (ATYP) is 02, expected 01, 03 or 04 (RFC 1928 section 6)",
        ),
        (
            &[5, 5, 0, 0],
            "the proxy refused the request with reply code 05, connection refused (RFC 1928 section 6); \
             and byte 3 of the reply (ATYP) is 00, expected 01, 03 or 04 (RFC 1928 section 6)",
        ),
        (
            &[5, 0xf0, 1],
            "the proxy refused the request with reply code f0, unassigned (RFC 1928 section 6); \
             and byte 2 of the reply (RSV) is 01, expected 00 (RFC 1928 section 6)",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(reply(bytes).unwrap_err().to_string(), message);
        assert!(reply(&bytes[..bytes.len() - 1]).is_ok());
    }
    assert!(method_reply(b"H").is_err());
    assert!(credentials_reply(&[5]).is_err());
}

/// A right conversation: what the client must send at each step, and what the server answers.
fn conversation(password: bool, host: &Host) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bound = reply_bytes(0, &ip("127.0.0.4"), 65000);
    let last = (request(CONNECT, host, 61022).unwrap(), bound);
    match password {
        false => vec![(vec![5, 1, 0], vec![5, 0]), last],
        true => vec![
            (vec![5, 1, 2], vec![5, 2]),
            (b"\x01\x04user\x04pass".to_vec(), vec![1, 0]),
            last,
        ],
    }
}

/// Runs a client against `turns`, cutting each answer at the given offset, and at every `missing`.
fn run(password: bool, host: &Host, turns: &[(Vec<u8>, Vec<u8>)], cut: usize) -> Bound {
    let credentials = password.then_some((&b"user"[..], &b"pass"[..]));
    let (mut client, mut sent) = Client::new(CONNECT, credentials, host, 61022).unwrap();
    for (expected, answer) in turns {
        assert_eq!(&sent, expected);
        let cut = cut.min(answer.len());
        let mut step = Step::Read;
        for mut piece in [&answer[..cut], &answer[cut..]] {
            while !piece.is_empty() {
                assert_eq!(step, Step::Read);
                assert!(client.missing() > 0);
                let (now, later) = piece.split_at(piece.len().min(client.missing()));
                step = client.feed(now).unwrap();
                piece = later;
            }
        }
        match step {
            Step::Send(bytes) => sent = bytes,
            Step::Done(bound) => {
                assert_eq!(client.missing(), 0);
                return bound;
            }
            Step::Read => panic!("wants more after {answer:02x?}"),
        }
    }
    panic!("not done at the end");
}

#[test]
fn a_handshake_may_be_cut_anywhere() {
    for host in [ip("127.0.0.1"), ip("::1"), name("localhost")] {
        for password in [false, true] {
            let turns = conversation(password, &host);
            for cut in 0..10 {
                let bound = run(password, &host, &turns, cut);
                assert_eq!(
                    bound.socket_addr(),
                    Some("127.0.0.4:65000".parse().unwrap())
                );
            }
        }
    }
}

#[test]
fn a_handshake_asks_for_the_command_it_was_made_for() {
    for command in [CONNECT, BIND, UDP_ASSOCIATE] {
        let host = ip("127.0.0.1");
        let (mut client, _) = Client::new(command, None, &host, 61022).unwrap();
        let step = client.feed(&[5, 0]);
        assert_eq!(step, Ok(Step::Send(reply_bytes(command, &host, 61022))));
    }
}

#[test]
fn a_method_that_was_not_offered_is_a_violation() {
    let host = ip("127.0.0.1");
    let (mut plain, _) = Client::new(CONNECT, None, &host, 1).unwrap();
    assert_eq!(
        plain.feed(&[5, 2]).unwrap_err().to_string(),
        "byte 1 of the method reply (METHOD) is 02, expected 00, the only one offered (RFC 1928 section 3)"
    );
    let (mut locked, _) = Client::new(CONNECT, Some((b"u", b"p")), &host, 1).unwrap();
    assert!(matches!(locked.feed(&[5, 0]), Err(Error::Violation(_))));
    let (mut none, _) = Client::new(CONNECT, None, &host, 1).unwrap();
    assert_eq!(none.feed(&[5, 0xff]), Err(Error::NoMethod));
}

#[test]
fn refusals_say_what_their_code_means() {
    let host = ip("127.0.0.1");
    let (mut client, _) = Client::new(CONNECT, None, &host, 1).unwrap();
    client.feed(&[5, 0]).unwrap();
    client.feed(&[5, 5]).unwrap();
    assert_eq!(client.end(), Some(Error::Refused(5)), "a reply cut short");
    let rest = &reply_bytes(5, &ip("0.0.0.0"), 0)[2..];
    client.feed(&rest[..5]).unwrap();
    assert_eq!(
        client.feed(&rest[5..]).unwrap_err().to_string(),
        "the proxy refused the request with reply code 05, connection refused (RFC 1928 section 6)"
    );
    let (mut client, _) = Client::new(CONNECT, Some((b"u", b"p")), &host, 1).unwrap();
    client.feed(&[5, 2]).unwrap();
    assert_eq!(client.end(), None);
    assert_eq!(client.feed(&[1, 9]), Err(Error::Denied(9)));
}

/// What the client makes of `bytes`, read in pieces of at most these sizes.
fn events(mut bytes: &[u8], sizes: &mut dyn Iterator<Item = usize>) -> Vec<Result<Step, Error>> {
    let (mut client, _) = Client::new(CONNECT, Some((b"user", b"pass")), &name("h"), 1).unwrap();
    let mut events = Vec::new();
    while !bytes.is_empty() && client.missing() > 0 {
        let size = sizes.next().unwrap().min(client.missing()).min(bytes.len());
        let (now, later) = bytes.split_at(size);
        bytes = later;
        let step = client.feed(now);
        if step != Ok(Step::Read) {
            events.push(step);
        }
    }
    events
}

fn any_host() -> impl Strategy<Value = Host> {
    prop_oneof![
        any::<[u8; 4]>().prop_map(|o| Host::Ip(Ipv4Addr::from(o).into())),
        any::<[u8; 16]>().prop_map(|o| Host::Ip(Ipv6Addr::from(o).into())),
        proptest::collection::vec(any::<u8>(), 1..=255).prop_map(Host::Name),
    ]
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_or_read_too_far(
        bytes in proptest::collection::vec(any::<u8>(), 0..300)
    ) {
        let _ = (method_reply(&bytes), credentials_reply(&bytes));
        match reply(&bytes) {
            Ok(Decoded::Partial { missing }) => prop_assert!(missing > 0 && missing <= 262),
            Ok(Decoded::Complete { used, .. }) => prop_assert!(used <= bytes.len()),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn no_bytes_make_the_client_panic_or_grow(
        pieces in proptest::collection::vec(proptest::collection::vec(0u8..6, 0..9), 0..200)
    ) {
        let (mut client, _) = Client::new(CONNECT, Some((b"u", b"p")), &name("h"), 1).unwrap();
        let mut failed = None;
        for piece in pieces {
            let step = client.feed(&piece);
            let _ = client.end();
            prop_assert!(client.input.len() <= 262);
            if let Some(error) = failed {
                prop_assert_eq!(step.as_ref(), Err(&error), "an error stays");
            }
            failed = step.err();
        }
    }

    #[test]
    fn any_segmentation_gives_the_same_events(
        // Mostly right answers, so that each state is reached.
        bytes in prop_oneof![
            Just([&[5, 2, 1, 0][..], &reply_bytes(0, &name("abc"), 9)].concat()),
            Just([&[5, 2, 1, 0][..], &reply_bytes(5, &ip("::1"), 9)].concat()),
            Just(vec![5, 2, 1, 3]),
            proptest::collection::vec(0u8..6, 0..40),
        ],
        cuts in proptest::collection::vec(1usize..9, 0..40)
    ) {
        let whole = events(&bytes, &mut std::iter::repeat(usize::MAX));
        let mut cuts = cuts.into_iter().chain(std::iter::repeat(1));
        prop_assert_eq!(events(&bytes, &mut cuts), whole);
    }

    #[test]
    fn a_reply_comes_back_as_it_was_written(
        host in any_host(), port in any::<u16>(), code in any::<u8>()
    ) {
        let bytes = reply_bytes(code, &host, port);
        let value = Reply { code, bound: Bound { host, port } };
        let used = bytes.len();
        prop_assert_eq!(reply(&bytes), Ok(Decoded::Complete { value, used }));
    }

    #[test]
    fn a_request_names_the_host_as_a_reply_does(host in any_host(), port in any::<u16>()) {
        // Request and reply have one shape (RFC 1928 sections 4 and 6).
        let encoded = request(CONNECT, &host, port).unwrap();
        prop_assert_eq!(encoded, reply_bytes(CONNECT, &host, port));
    }
}
