//! Octets as text.

use mailparse::ParsedContentType;
use mailparse::body::Body;

/// Longer than the name of any character set (RFC 2978 section 2.3 allows 40 characters).
const LONGEST_NAME: usize = 40;

/// Octets in the character set `name`, or, where that is ASCII or missing, in UTF-8 if they can be
/// that, else in Latin-1; and what was wrong.
pub(crate) fn decode_text(octets: &[u8], name: Option<&str>) -> (String, Option<String>) {
    let named = name.unwrap_or_default().trim();
    let ascii = ["", "us-ascii", "ascii"]
        .iter()
        .any(|ascii| named.eq_ignore_ascii_case(ascii));
    let utf8 = ["utf-8", "utf8"]
        .iter()
        .any(|utf8| named.eq_ignore_ascii_case(utf8));
    if ascii || utf8 {
        let without_mark = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets);
        return match str::from_utf8(without_mark) {
            Ok(text) => (text.to_owned(), None),
            Err(_) if utf8 => (
                String::from_utf8_lossy(without_mark).into_owned(),
                Some("not all of it is UTF-8".to_owned()),
            ),
            Err(_) => (
                latin1(octets),
                Some("octets above 127 without a charset, read as Latin-1".to_owned()),
            ),
        };
    }
    if !known(named) {
        let (text, _) = decode_text(octets, None);
        let shown: String = named.chars().take(LONGEST_NAME).collect();
        return (text, Some(format!("the charset {shown:?} is not known")));
    }
    let text = in_charset(octets, named);
    let wrong = text.contains('\u{fffd}');
    (
        text,
        wrong.then(|| format!("not all of it is in {named}, its charset")),
    )
}

fn latin1(octets: &[u8]) -> String {
    octets.iter().map(|&octet| char::from(octet)).collect()
}

/// Whether an encoded word can be written in this character set.
pub(super) fn known(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:+".contains(&byte);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(token) {
        return false;
    }
    let field = format!("x: =?{name}?q?x?=");
    mailparse::parse_header(field.as_bytes()).is_ok_and(|(field, _)| field.get_value() == "x")
}

fn in_charset(octets: &[u8], name: &str) -> String {
    match is_utf7(name) {
        true => utf7_pieces(octets)
            .into_iter()
            .map(|piece| whole_in_charset(piece, name))
            .collect(),
        false => whole_in_charset(octets, name),
    }
}

/// `utf-7`, and the older names of it: `unicode-1-1-utf-7`, `csUnicode11UTF7`, `x-unicode-2-0-utf-7`.
fn is_utf7(name: &str) -> bool {
    let letters = name.replace('-', "").to_ascii_lowercase();
    letters.ends_with("utf7")
}

/// Cuts UTF-7 where no run of base64 is open (RFC 2152). What decodes it takes time for each run in proportion to the
/// length of all that it is given.
fn utf7_pieces(octets: &[u8]) -> Vec<&[u8]> {
    const LEAST: usize = 1024;
    let mut pieces = Vec::new();
    let (mut start, mut is_in_run) = (0, false);
    for (at, byte) in octets.iter().enumerate() {
        if is_in_run {
            is_in_run = byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
            continue;
        }
        if at - start >= LEAST {
            pieces.push(&octets[start..at]);
            start = at;
        }
        is_in_run = *byte == b'+';
    }
    pieces.push(&octets[start..]);
    pieces
}

fn whole_in_charset(octets: &[u8], name: &str) -> String {
    let content_type = ParsedContentType {
        charset: name.to_owned(),
        ..ParsedContentType::default()
    };
    match Body::new(octets, &content_type, &None) {
        Body::SevenBit(body) | Body::EightBit(body) => body.get_as_string().ok(),
        _ => None,
    }
    .unwrap_or_else(|| latin1(octets))
}
