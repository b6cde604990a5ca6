use proptest::prelude::*;

use super::super::decode::every_prefix;
use super::*;

const LOCALHOST: Host = Host::Ip(Ipv4Addr::LOCALHOST);

fn name(text: &[u8]) -> Host {
    Host::Name(text.to_vec())
}

#[test]
fn requests_are_encoded_as_the_memos_draw_them() {
    // Statement 54.
    assert_eq!(
        request(CONNECT, &LOCALHOST, 0x1234, b"u").unwrap(),
        *b"\x04\x01\x12\x34\x7f\0\0\x01u\0"
    );
    assert_eq!(
        request(BIND, &LOCALHOST, 61_022, b"").unwrap(),
        *b"\x04\x02\xee\x5e\x7f\0\0\x01\0"
    );
    // Statement 56.
    assert_eq!(
        request(CONNECT, &name(b"localhost"), 80, b"u").unwrap(),
        *b"\x04\x01\0\x50\0\0\0\x01u\0localhost\0"
    );
}

#[test]
fn what_a_request_cannot_say_is_an_error() {
    let long = vec![b'x'; 256];
    let cases = [
        (name(b""), &b"u"[..], "the name is empty"),
        (
            name(b"a\0b"),
            b"u",
            "the name has a NUL in it, which would end it",
        ),
        (name(&long), b"u", "the name has 256 bytes, more than 255"),
        (LOCALHOST, &long, "the user has 256 bytes, more than 255"),
        (
            LOCALHOST,
            b"u\0",
            "the user has a NUL in it, which would end it",
        ),
        (
            Host::Ip(Ipv4Addr::new(0, 0, 0, 9)),
            b"u",
            "the address 0.0.0.9 cannot be asked for: it says that a name follows (SOCKS4a memo)",
        ),
    ];
    for (host, user, message) in cases {
        let error = request(CONNECT, &host, 1, user).unwrap_err();
        assert_eq!(error.to_string(), message);
    }
    assert!(request(CONNECT, &name(&long[..255]), 1, &long[..255]).is_ok());
    assert!(request(CONNECT, &Host::Ip(Ipv4Addr::UNSPECIFIED), 1, b"").is_ok());
}

#[test]
fn every_prefix_of_every_reply_is_partial() {
    for code in 90..=93 {
        let bytes = [0, code, 0xee, 0x5e, 127, 0, 0, 4];
        let address = "127.0.0.4:61022".parse().unwrap();
        every_prefix(&bytes, Reply { code, address }, reply);
    }
}

#[test]
fn a_wrong_byte_is_named_as_soon_as_it_is_there() {
    let cases: [(&[u8], &str); 3] = [
        (
            &[4],
            "byte 0 of the reply (VN) is 04, expected 00 (SOCKS4 memo)",
        ),
        (
            &[0, 0],
            "byte 1 of the reply (CD) is 00, expected 5a to 5d (SOCKS4 memo)",
        ),
        (
            &[0, 94],
            "byte 1 of the reply (CD) is 5e, expected 5a to 5d (SOCKS4 memo)",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(reply(bytes).unwrap_err().to_string(), message);
        assert!(reply(&bytes[..bytes.len() - 1]).is_ok());
    }
}

#[test]
fn only_90_grants_and_the_others_say_what_they_mean() {
    let address = "0.0.0.0:0".parse().unwrap();
    let with = |code| Reply { code, address };
    assert_eq!(with(90).granted(), Ok(address));
    assert_eq!(
        with(91).granted().unwrap_err().to_string(),
        "the proxy refused the request with reply code 5b, request rejected or failed (SOCKS4 memo)"
    );
    for code in [92, 93] {
        assert_eq!(with(code).granted(), Err(Error::Refused(code)));
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_read_too_far(
        bytes in proptest::collection::vec(any::<u8>(), 0..20)
    ) {
        match reply(&bytes) {
            Ok(Decoded::Partial { missing }) => prop_assert_eq!(bytes.len() + missing, 8),
            Ok(Decoded::Complete { used, .. }) => prop_assert_eq!(used, 8),
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }

    #[test]
    fn a_request_holds_its_parts(
        ip in any::<[u8; 4]>(), port in any::<u16>(),
        user in proptest::collection::vec(1u8.., 0..=255)
    ) {
        let ip = Ipv4Addr::from(ip);
        prop_assume!(!is_name_mark(ip));
        let request = request(CONNECT, &Host::Ip(ip), port, &user).unwrap();
        prop_assert_eq!(&request[2..4], port.to_be_bytes());
        prop_assert_eq!(&request[4..8], ip.octets());
        prop_assert_eq!(&request[8..request.len() - 1], user);
        prop_assert_eq!(request.last(), Some(&0));
    }
}
