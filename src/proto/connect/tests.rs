use proptest::prelude::*;

use super::super::decode::every_prefix;
use super::*;

fn whole(status: u16, reason: &str, fields: &[(&str, &str)]) -> Response {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), value.as_bytes().to_vec());
    Response {
        minor: 1,
        status,
        reason: reason.to_owned(),
        fields: fields.iter().map(owned).collect(),
    }
}

fn text(input: &[u8]) -> String {
    response(input).unwrap_err().to_string()
}

#[test]
fn requests_are_encoded_as_the_rfcs_draw_them() {
    // Statements 59 and 66.
    let v6 = authority("[::1]:61022".parse().unwrap());
    assert_eq!(
        request(&v6, None).unwrap(),
        b"CONNECT [::1]:61022 HTTP/1.1\r\nHost: [::1]:61022\r\n\r\n"
    );
    let name = named_authority("localhost", 80).unwrap();
    // Statement 69; the Base64 text is the one of RFC 7617 section 2.
    assert_eq!(
        request(&name, Some((b"Aladdin", b"open sesame"))).unwrap(),
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\
          Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
    );
    assert_eq!(named_authority("::1", 80).unwrap(), "[::1]:80");
    assert_eq!(named_authority("127.0.0.1", 80).unwrap(), "127.0.0.1:80");
}

#[test]
fn what_a_request_cannot_carry_is_an_error() {
    let long = "n".repeat(256);
    for bad in ["", "a b", "a\r\nX: y", "a/b", "a:1", "u@h", "ä", &long] {
        assert_eq!(named_authority(bad, 1), Err(Error::Name), "{bad:?}");
    }
    assert!(named_authority(&long[..255], 1).is_ok());
    for (user, password) in [("a:b", "c"), ("a", "b\r"), ("\0", "b")] {
        let credentials = Some((user.as_bytes(), password.as_bytes()));
        assert_eq!(request("h:1", credentials), Err(Error::Credentials));
    }
    assert!(request("h:1", Some((b"", b"with:colon"))).is_ok());
}

#[test]
fn every_prefix_of_a_response_is_partial() {
    every_prefix(b"HTTP/1.1 200 OK\r\n\r\n", whole(200, "OK", &[]), response);
    every_prefix(b"HTTP/1.1 200\n\n", whole(200, "", &[]), response);
    every_prefix(b"HTTP/1.1 200 \n\r\n", whole(200, "", &[]), response);
    let fields = [("Proxy-Agent", "p/1"), ("A", "")];
    every_prefix(
        b"HTTP/1.1 200 Connection established\r\nProxy-Agent: p/1\r\nA:\r\n\r\n",
        whole(200, "Connection established", &fields),
        response,
    );
}

#[test]
fn only_2xx_accepts_and_1xx_is_followed_by_another() {
    for status in [200, 204, 299] {
        assert_eq!(whole(status, "", &[]).accepted(), Ok(()));
    }
    for status in [101, 199, 300, 407, 502] {
        assert!(whole(status, "", &[]).accepted().is_err(), "{status}");
    }
    assert!(whole(100, "Continue", &[]).is_interim());
    assert!(!whole(200, "", &[]).is_interim());
    assert_eq!(
        whole(407, "Proxy Authentication Required", &[])
            .accepted()
            .unwrap_err()
            .to_string(),
        "the proxy refused the request with status 407 Proxy Authentication Required (RFC 9110 section 9.3.6)"
    );
}

#[test]
fn another_protocol_is_told_at_its_first_wrong_byte() {
    assert_eq!(
        text(&[5]),
        "byte 0 of the response (HTTP-version) is 05, expected the next of \"HTTP/1.\" (RFC 9112 section 4)"
    );
    assert!(text(b"HTTP/2").starts_with("byte 5 of the response (HTTP-version) is 32"));
    assert!(text(b"\r\nHTTP/1.1 200\r\n\r\n").starts_with("byte 0 "));
}

#[test]
fn malformed_heads_say_what_is_wrong() {
    let cases: [(&[u8], &str); 6] = [
        (
            b"HTTP/1.9 200 OK\r\n\r\n",
            "the version is not HTTP/1.0 or HTTP/1.1",
        ),
        (
            b"HTTP/1.1 20x OK\r\n\r\n",
            "the status line is not a version, three digits and a reason",
        ),
        (
            b"HTTP/1.1 999 OK\r\n\r\n",
            "the status is not of 100 to 599",
        ),
        (
            b"HTTP/1.1 200 OK\r\na b: c\r\n\r\n",
            "a field has a bad name",
        ),
        (b"HTTP/1.1 200 OK\r\n: c\r\n\r\n", "a field has a bad name"),
        (
            b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n",
            "a field has a bad value",
        ),
    ];
    for (bytes, what) in cases {
        let due = format!("the response's head is malformed: {what} (RFC 9112)");
        assert_eq!(text(bytes), due);
    }
}

#[test]
fn the_head_is_limited_in_bytes_and_fields() {
    let endless = [b"HTTP/1.1 200 OK\r\nA: ", &[b'x'; MOST_HEAD][..]].concat();
    assert!(response(&endless[..MOST_HEAD - 1]).is_ok());
    assert_eq!(
        text(&endless[..MOST_HEAD]),
        "the response's head has no end within 16384 bytes"
    );
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(101));
    assert!(text(many.as_bytes()).contains("more than 100 fields"));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic_or_read_too_far(
        start in prop_oneof![Just(&b""[..]), Just(&b"HTTP/1.1 200"[..]), Just(&b"HTTP/1.1 200 OK\r\n"[..])],
        bytes in proptest::collection::vec(
            prop_oneof![Just(b'\r'), Just(b'\n'), Just(b':'), any::<u8>()], 0..60)
    ) {
        let input = [start, &bytes].concat();
        match response(&input) {
            Ok(Decoded::Partial { missing }) => prop_assert!((1..=SHORTEST).contains(&missing)),
            Ok(Decoded::Complete { used, .. }) => {
                prop_assert!(used <= input.len());
                // A byte less is never the whole head: nothing beyond it was read.
                let shorter = response(&input[..used - 1]);
                let is_partial = matches!(shorter, Ok(Decoded::Partial { .. }));
                prop_assert!(is_partial);
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}
