//! The datagrams of UDP ASSOCIATE (RFC 1928 section 7).

use super::{Bound, Error, Host, bound, push_host};
use crate::proto::decode::Reader;

/// One datagram between a client and the proxy's relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Datagram<'a> {
    /// 0 for a datagram that stands alone.
    pub(crate) fragment: u8,
    /// Where it is to go; in an answer where it comes from.
    pub(crate) peer: Bound,
    pub(crate) data: &'a [u8],
}

/// Encodes a datagram to `host` and `port`.
pub(crate) fn encode(fragment: u8, host: &Host, port: u16, data: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0, 0, fragment];
    push_host(&mut out, host, port)?;
    out.extend_from_slice(data);
    Ok(out)
}

/// Decodes a datagram, which is always whole.
pub(crate) fn decode(input: &[u8]) -> Result<Datagram<'_>, Error> {
    let mut reader = Reader::new(input, "the datagram", "RFC 1928 section 7");
    reader.expect("RSV", 0, "00")?;
    reader.expect("RSV", 0, "00")?;
    let fragment = reader.byte();
    let short = Error::Short {
        length: input.len(),
    };
    match (fragment, bound(&mut reader, input)?) {
        (Some(fragment), Some((header, Some(peer)))) => Ok(Datagram {
            fragment,
            peer,
            data: &input[header..],
        }),
        _ => Err(short),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> Host {
        Host::Ip(text.parse().unwrap())
    }

    #[test]
    fn datagrams_are_encoded_as_the_rfc_draws_them() {
        assert_eq!(
            encode(0, &ip("127.0.0.1"), 61_022, b"hi").unwrap(),
            *b"\0\0\0\x01\x7f\0\0\x01\xee\x5ehi"
        );
        assert_eq!(
            encode(7, &Host::Name(b"h".to_vec()), 80, b"").unwrap(),
            *b"\0\0\x07\x03\x01h\0\x50"
        );
        assert_eq!(
            encode(0, &ip("::1"), 1, b"x").unwrap().len(),
            4 + 16 + 2 + 1
        );
        assert!(encode(0, &Host::Name(vec![]), 80, b"").is_err());
    }

    #[test]
    fn every_prefix_of_a_header_is_too_short_and_the_rest_is_data() {
        for host in [ip("127.0.0.1"), ip("::1"), Host::Name(vec![b'n'; 255])] {
            let header = encode(0, &host, 9, b"").unwrap();
            for length in 0..header.len() {
                let error = decode(&header[..length]).unwrap_err();
                assert_eq!(error, Error::Short { length });
            }
            let whole = [&header[..], b"data"].concat();
            let datagram = decode(&whole).unwrap();
            assert_eq!((datagram.fragment, datagram.data), (0, &b"data"[..]));
            assert_eq!((datagram.peer.host, datagram.peer.port), (host, 9));
        }
    }

    #[test]
    fn a_wrong_byte_is_named() {
        let cases: [(&[u8], &str); 3] = [
            (
                &[0, 1],
                "byte 1 of the datagram (RSV) is 01, expected 00 (RFC 1928 section 7)",
            ),
            (
                &[0, 0, 0, 2],
                "byte 3 of the datagram (ATYP) is 02, expected 01, 03 or 04 (RFC 1928 section 7)",
            ),
            (
                &[0, 0, 0, 1, 127],
                "the datagram ends after 5 bytes, in its header (RFC 1928 section 7)",
            ),
        ];
        for (bytes, message) in cases {
            assert_eq!(decode(bytes).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(0u8..6, 0..40)) {
            if let Ok(datagram) = decode(&bytes) {
                let Datagram { fragment, peer, data } = datagram;
                // It can come, and cannot be asked for.
                prop_assume!(peer.host != Host::Name(Vec::new()));
                prop_assert_eq!(encode(fragment, &peer.host, peer.port, data), Ok(bytes.clone()));
            }
        }
    }
}
