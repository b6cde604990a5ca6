use proptest::prelude::*;

use super::super::decode::every_prefix;
use super::*;

fn tcp(source: &str, destination: &str) -> Header {
    Header::Tcp {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A header of version 2, written by hand so that it does not lean on the encoder.
fn v2_bytes(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = (addresses.len() as u16).to_be_bytes();
    let start = [
        0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a,
    ];
    [&start[..], &[command, family], &length, addresses].concat()
}

#[test]
fn every_prefix_of_a_line_is_partial() {
    let longest = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let v6 = tcp(&format!("[{longest}]:65535"), &format!("[{longest}]:65535"));
    let cases = [
        (
            "PROXY TCP4 127.0.0.2 127.0.0.1 40000 61022\r\n".to_owned(),
            tcp("127.0.0.2:40000", "127.0.0.1:61022"),
        ),
        (
            "PROXY TCP6 ::1 ::1 1 0\r\n".to_owned(),
            tcp("[::1]:1", "[::1]:0"),
        ),
        (
            format!("PROXY TCP6 {longest} {longest} 65535 65535\r\n"),
            v6,
        ),
        ("PROXY UNKNOWN\r\n".to_owned(), Header::Other),
        (
            // The longest line that there is: 107 bytes.
            format!("PROXY UNKNOWN {longest} {longest} 65535 65535\r\n"),
            Header::Other,
        ),
    ];
    assert_eq!(cases[4].0.len(), V1_MOST);
    for (line, header) in cases {
        every_prefix(line.as_bytes(), header, v1);
    }
}

#[test]
fn every_prefix_of_a_binary_header_is_partial() {
    let v4 = [127, 0, 0, 2, 127, 0, 0, 1, 0x9c, 0x40, 0xee, 0x5e];
    let v4_header = tcp("127.0.0.2:40000", "127.0.0.1:61022");
    every_prefix(&v2_bytes(0x21, 0x11, &v4), v4_header.clone(), v2);
    let with_tlv = [&v4[..], &[4, 0, 1, 0]].concat();
    every_prefix(&v2_bytes(0x21, 0x11, &with_tlv), v4_header, v2);
    let mut v6 = [0; 36];
    (v6[15], v6[31], v6[33], v6[35]) = (1, 2, 3, 4);
    every_prefix(&v2_bytes(0x21, 0x21, &v6), tcp("[::1]:3", "[::2]:4"), v2);
    every_prefix(&v2_bytes(0x20, 0, &[]), Header::Local, v2);
    every_prefix(&v2_bytes(0x20, 0x11, b"xy"), Header::Local, v2);
    every_prefix(&v2_bytes(0x21, 0, b""), Header::Other, v2);
    every_prefix(&v2_bytes(0x21, 0x12, &v4), Header::Other, v2);
    every_prefix(&v2_bytes(0x21, 0x31, &[0; 216]), Header::Other, v2);
}

#[test]
fn headers_are_encoded_as_the_source_draws_them() {
    let (from, to) = ("127.0.0.2:40000", "127.0.0.1:61022");
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    assert_eq!(
        encode_v1(from, to),
        b"PROXY TCP4 127.0.0.2 127.0.0.1 40000 61022\r\n"
    );
    let v4 = [127, 0, 0, 2, 127, 0, 0, 1, 0x9c, 0x40, 0xee, 0x5e];
    assert_eq!(encode_v2(from, to), v2_bytes(0x21, 0x11, &v4));
    let v6 = "[::1]:9".parse().unwrap();
    assert_eq!(encode_v1(v6, v6), b"PROXY TCP6 ::1 ::1 9 9\r\n");
    assert_eq!(encode_v1(v6, to), b"PROXY UNKNOWN\r\n");
    assert_eq!(encode_v2(v6, to), v2_bytes(0x21, 0, &[]));
}

#[test]
fn a_wrong_line_says_what_is_wrong() {
    let cases: [(&[u8], &str); 9] = [
        (
            b"H",
            "byte 0 of the header (signature) is 48, expected the next of \"PROXY \" (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4\n",
            "byte 10 of the header (line) is 0a, expected printable ASCII, then CRLF (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4\rx",
            "byte 10 of the header (line) is 0d, expected printable ASCII, then CRLF (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n",
            "the header has \"TCP5\" for the family (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4 1.2.3.4 ::1 1 1\r\n",
            "the header has \"::1\" for the destination (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n",
            "the header has \"01\" for the source port (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n",
            "the header has \"65536\" for the destination port (PROXY protocol section 2.1)",
        ),
        (
            b"PROXY TCP4  1.2.3.4 1.2.3.4 1 1\r\n",
            "the header has \"TCP4  1.2.3.4 1.2.3.4 1 1\" for family, two addresses and two ports (PROXY protocol section 2.1)",
        ),
        (
            &[&b"PROXY "[..], &[b'x'; 101]].concat(),
            "the header has no CRLF within 107 bytes (PROXY protocol section 2.1)",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(v1(bytes).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_wrong_binary_header_says_what_is_wrong() {
    let short = v2_bytes(0x21, 0x11, &[0; 11]);
    let cases: [(&[u8], &str); 5] = [
        (
            b"PROXY",
            "byte 0 of the header (signature) is 50, expected the signature's next (PROXY protocol section 2.2)",
        ),
        (
            &v2_bytes(0x11, 0, &[])[..13],
            "byte 12 of the header (version and command) is 11, expected 20 or 21 (PROXY protocol section 2.2)",
        ),
        (
            &v2_bytes(0x21, 0x41, &[])[..14],
            "byte 13 of the header (family and transport) is 41, expected 00 to 32 (PROXY protocol section 2.2)",
        ),
        (
            &v2_bytes(0x21, 0x13, &[])[..14],
            "byte 13 of the header (family and transport) is 13, expected 00 to 32 (PROXY protocol section 2.2)",
        ),
        (
            &short[..16],
            "the header tells 11 bytes of addresses, its family has 12 (PROXY protocol section 2.2)",
        ),
    ];
    for (bytes, message) in cases {
        assert_eq!(v2(bytes).unwrap_err().to_string(), message);
        assert!(v2(&bytes[..bytes.len() - 1]).is_ok() || bytes == b"PROXY");
    }
}

fn any_pair() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let ports = (any::<u16>(), any::<u16>());
    let v4 = (any::<[u8; 4]>(), any::<[u8; 4]>());
    let v6 = (any::<[u8; 16]>(), any::<[u8; 16]>());
    let ips = prop_oneof![
        v4.prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
        v6.prop_map(|(a, b)| (IpAddr::from(a), IpAddr::from(b))),
    ];
    (ips, ports).prop_map(|((a, b), (p, q))| (SocketAddr::new(a, p), SocketAddr::new(b, q)))
}

fn check(input: &[u8], decoded: Result<Decoded<Header>, Error>, most: usize) {
    match decoded {
        Ok(Decoded::Partial { missing }) => assert!(missing > 0 && input.len() + missing <= most),
        Ok(Decoded::Complete { used, .. }) => assert!(used <= input.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic_or_read_too_far(
        start in 0usize..3, cut in 0usize..20,
        bytes in proptest::collection::vec(prop_oneof![Just(b' '), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..300)
    ) {
        let begin = [&b""[..], &b"PROXY TCP4 1.2.3.4"[..], &v2_bytes(0x21, 0x11, &[])[..14]][start].to_vec();
        let input = [&begin[..begin.len().min(cut)], &bytes].concat();
        check(&input, v1(&input), V1_MOST);
        check(&input, v2(&input), V2_FIXED + usize::from(u16::MAX));
    }

    #[test]
    fn what_is_encoded_is_decoded((source, destination) in any_pair()) {
        let header = Header::Tcp { source, destination };
        let line = encode_v1(source, destination);
        let used = line.len();
        prop_assert_eq!(v1(&line), Ok(Decoded::Complete { value: header.clone(), used }));
        let bytes = encode_v2(source, destination);
        let used = bytes.len();
        prop_assert_eq!(v2(&bytes), Ok(Decoded::Complete { value: header, used }));
    }
}

/// Encodes a header of version 1 (PROXY protocol section 2.1); UNKNOWN for two families.
fn encode_v1(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let family = match (source, destination) {
        (SocketAddr::V4(_), SocketAddr::V4(_)) => "TCP4",
        (SocketAddr::V6(_), SocketAddr::V6(_)) => "TCP6",
        _ => return b"PROXY UNKNOWN\r\n".to_vec(),
    };
    let (from, to) = (source.ip(), destination.ip());
    let (from_port, to_port) = (source.port(), destination.port());
    format!("PROXY {family} {from} {to} {from_port} {to_port}\r\n").into_bytes()
}

/// Encodes a header of version 2 (PROXY protocol section 2.2); unspecified for two families.
fn encode_v2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let (family, addresses) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (IpAddr::V6(from), IpAddr::V6(to)) => (0x21, [from.octets(), to.octets()].concat()),
        _ => (0, Vec::new()),
    };
    let mut out = [V2_START, &[0x21, family]].concat();
    match family {
        0 => out.extend([0, 0]),
        _ => {
            // 12 or 36.
            out.extend([0, addresses.len() as u8 + 4]);
            out.extend(addresses);
            out.extend(source.port().to_be_bytes());
            out.extend(destination.port().to_be_bytes());
        }
    }
    out
}
