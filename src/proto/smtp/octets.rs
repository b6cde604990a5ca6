//! Octets that a message's text must not have.

use std::fmt;

use super::line::find;
use super::params::{BodyType, Sender};

/// Something that the octets of a message break, at the first place of its kind.
///
/// It says how the message would fare at other servers: many refuse it, or take it for another one ("SMTP
/// smuggling").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Irregularity {
    /// An LF without a CR before it (RFC 5321 section 2.3.8). Its place is counted in octets from 0.
    BareLf(usize),
    /// A CR without an LF behind it (RFC 5321 section 2.3.8).
    BareCr(usize),
    /// An octet of value 0 (RFC 5321 section 4.1.1.4, RFC 5322 section 2.2).
    Nul(usize),
    /// An octet above 127, though MAIL had neither `BODY=8BITMIME` nor `SMTPUTF8` (RFC 5321 section 2.4,
    /// RFC 6152 section 3).
    Undeclared8Bit(usize),
}

impl fmt::Display for Irregularity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, at) = match self {
            Irregularity::BareLf(at) => ("a bare LF", at),
            Irregularity::BareCr(at) => ("a bare CR", at),
            Irregularity::Nul(at) => ("a NUL", at),
            Irregularity::Undeclared8Bit(at) => ("an 8-bit octet that BODY did not declare", at),
        };
        write!(f, "{what} at octet {at}")
    }
}

/// All kinds that a message has, in the order of [`Irregularity`]; none where the sender has declared that
/// its octets are anything (RFC 3030 section 3).
pub(crate) fn irregularities(text: &[u8], sender: &Sender) -> Vec<Irregularity> {
    if sender.body() == Some(BodyType::BinaryMime) {
        return Vec::new();
    }
    let bare_lf = places(b'\n', text).find(|at| *at == 0 || text[at - 1] != b'\r');
    let bare_cr = places(b'\r', text).find(|at| text.get(at + 1) != Some(&b'\n'));
    let nul = find(0, text);
    let is_declared = sender.body() == Some(BodyType::EightBitMime) || sender.smtp_utf8();
    let high = match is_declared || text.is_ascii() {
        true => None,
        false => text.iter().position(|octet| !octet.is_ascii()),
    };
    let found = [
        bare_lf.map(Irregularity::BareLf),
        bare_cr.map(Irregularity::BareCr),
        nul.map(Irregularity::Nul),
        high.map(Irregularity::Undeclared8Bit),
    ];
    found.into_iter().flatten().collect()
}

/// Where the text has an octet.
fn places(octet: u8, text: &[u8]) -> impl Iterator<Item = usize> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + find(octet, text.get(from..)?)?;
        from = at + 1;
        Some(at)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Irregularity::*;

    fn of(text: &[u8]) -> Vec<Irregularity> {
        irregularities(text, &Sender::default())
    }

    #[test]
    fn each_kind_is_found_at_its_first_place() {
        for (text, found) in [
            (&b""[..], vec![]),
            (b"a\r\nb\r\n", vec![]),
            (b"a\r\nb", vec![]),
            (b"\na\nb", vec![BareLf(0)]),
            (b"a\r\n\nb\n", vec![BareLf(3)]),
            (b"a\r", vec![BareCr(1)]),
            (b"a\r\r\n", vec![BareCr(1)]),
            (b"a\n\r", vec![BareLf(1), BareCr(2)]),
            (b"a\0\0", vec![Nul(1)]),
            (b"a\x7fh\xc3\xa4", vec![Undeclared8Bit(3)]),
            (
                b"\xff\0\r\n\r.\n",
                vec![BareLf(6), BareCr(4), Nul(1), Undeclared8Bit(0)],
            ),
        ] {
            assert_eq!(of(text), found, "{:?}", text.escape_ascii().to_string());
        }
    }

    #[test]
    fn they_are_told_with_their_places() {
        let told: Vec<String> = of(b"\xff\0\r\n\r.\n")
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            told,
            [
                "a bare LF at octet 6",
                "a bare CR at octet 4",
                "a NUL at octet 1",
                "an 8-bit octet that BODY did not declare at octet 0"
            ]
        );
    }
}
