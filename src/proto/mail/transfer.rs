//! Transfer encodings (RFC 2045 section 6): what can be decoded, and what was wrong.

/// What came out of an encoded content.
pub(crate) struct Decoded {
    pub(crate) octets: Vec<u8>,
    /// In words; then not all that was sent is in `octets`, or not as it was meant.
    pub(crate) defect: Option<String>,
}

/// Decodes what is encoded as the field Content-Transfer-Encoding says.
pub(crate) fn decode(encoding: &str, octets: &[u8]) -> Decoded {
    match encoding {
        "base64" => base64(octets),
        "quoted-printable" => quoted_printable(octets),
        _ => Decoded {
            octets: octets.to_vec(),
            defect: match encoding {
                "" | "7bit" | "8bit" | "binary" => None,
                _ => Some(format!(
                    "the transfer encoding {:?} is not known",
                    encoding.chars().take(40).collect::<String>()
                )),
            },
        },
    }
}

/// Decodes up to the first octet that is not base64, to the padding, or to a blank line with
/// something else behind it: so ends a part to which somebody has put a footer.
pub(super) fn base64(octets: &[u8]) -> Decoded {
    let mut decoded = Vec::with_capacity(octets.len() / 4 * 3);
    let (mut bits, mut digits) = (0_u32, 0);
    let mut at = 0;
    let mut line_ends = 0;
    while at < octets.len() {
        let octet = octets[at];
        if octet == b'\n' {
            line_ends += 1;
            // Once for each run of blank lines, or many of them would be looked through many times.
            if line_ends == 2 && is_prose(&octets[at + 1..]) {
                break;
            }
        } else if !octet.is_ascii_whitespace() {
            let Some(digit) = digit(octet) else { break };
            line_ends = 0;
            bits = bits << 6 | digit;
            digits += 1;
            if digits == 4 {
                decoded.extend_from_slice(&bits.to_be_bytes()[1..]);
                (bits, digits) = (0, 0);
            }
        }
        at += 1;
    }
    match digits {
        2 => decoded.push((bits >> 4) as u8),
        3 => decoded.extend_from_slice(&[(bits >> 10) as u8, (bits >> 2) as u8]),
        _ => {}
    }
    let rest = &octets[at..];
    let padding = rest.iter().filter(|&&octet| octet == b'=').count();
    let behind = rest
        .iter()
        .position(|&octet| octet != b'=' && !octet.is_ascii_whitespace());
    let defect = match (behind, digits) {
        (Some(behind), _) => Some(match rest.len() - behind {
            1 => "1 octet behind its base64 is not decoded".to_owned(),
            count => format!("{count} octets behind its base64 are not decoded"),
        }),
        (None, 1) => Some("its base64 ends within an octet".to_owned()),
        (None, 2 | 3) if padding != 4 - digits => Some("its base64 is not padded".to_owned()),
        (None, 0) if padding > 0 => Some("its base64 has padding that is too much".to_owned()),
        _ => None,
    };
    Decoded {
        octets: decoded,
        defect,
    }
}

/// Whether the next line that is not blank cannot be a line of base64.
fn is_prose(octets: &[u8]) -> bool {
    let start = octets.iter().position(|octet| !octet.is_ascii_whitespace());
    let line = start.map_or(&[][..], |start| &octets[start..]);
    let end = line.iter().position(|&octet| octet == b'\n');
    let line = line[..end.unwrap_or(line.len())].trim_ascii_end();
    line.iter()
        .any(|&octet| octet != b'=' && digit(octet).is_none())
}

fn digit(octet: u8) -> Option<u32> {
    Some(u32::from(match octet {
        b'A'..=b'Z' => octet - b'A',
        b'a'..=b'z' => octet - b'a' + 26,
        b'0'..=b'9' => octet - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

/// An escape that is none stays as it was sent.
pub(super) fn quoted_printable(octets: &[u8]) -> Decoded {
    let mut decoded = Vec::with_capacity(octets.len());
    let mut wrong = 0;
    for line in octets.split_inclusive(|&octet| octet == b'\n') {
        let text = line.trim_ascii_end();
        // White space at a line's end is not the sender's (RFC 2045 section 6.7, rule 3).
        let (text, end) = match text.strip_suffix(b"=") {
            Some(text) => (text, &[][..]),
            None if line.ends_with(b"\r\n") => (text, &b"\r\n"[..]),
            None if line.ends_with(b"\n") => (text, &b"\n"[..]),
            None => (text, &[][..]),
        };
        wrong += unescape(text, b'=', &mut decoded);
        decoded.extend_from_slice(end);
    }
    Decoded {
        octets: decoded,
        defect: (wrong > 0)
            .then(|| format!("{wrong} of its quoted-printable escapes cannot be decoded")),
    }
}

/// Puts the octets that `mark` and two hexadecimal digits stand for behind `decoded`, and tells how
/// many escapes were none.
pub(super) fn unescape(text: &[u8], mark: u8, decoded: &mut Vec<u8>) -> usize {
    let hex = |octet: &u8| char::from(*octet).to_digit(16);
    let mut wrong = 0;
    let mut rest = text;
    while let Some((&octet, behind)) = rest.split_first() {
        rest = behind;
        if octet != mark {
            decoded.push(octet);
            continue;
        }
        match (behind.first().and_then(hex), behind.get(1).and_then(hex)) {
            (Some(high), Some(low)) => {
                decoded.push((high << 4 | low) as u8);
                rest = &behind[2..];
            }
            _ => {
                decoded.push(octet);
                wrong += 1;
            }
        }
    }
    wrong
}
