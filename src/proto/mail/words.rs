//! Encoded words (RFC 2047, with the languages of RFC 2231 section 5).

use std::borrow::Cow;

use super::charset::{decode_text, known};
use super::transfer::{base64, unescape};

/// Text with its encoded words decoded, and the first word that could not be.
///
/// White space between two encoded words goes (RFC 2047 section 6.2), and the octets of words that
/// stand together are one text, for some senders cut characters in two.
pub(super) fn decode_words(text: &str) -> (Cow<'_, str>, Option<String>) {
    if !text.contains("=?") {
        return (Cow::Borrowed(text), None);
    }
    let mut decoded = String::with_capacity(text.len());
    let mut defect = None;
    let mut run: Option<(String, Vec<u8>)> = None;
    let flush = |run: &mut Option<(String, Vec<u8>)>, decoded: &mut String| {
        let (charset, octets) = run.take()?;
        let (text, wrong) = decode_text(&octets, Some(&charset));
        decoded.push_str(&text);
        wrong.map(|wrong| format!("an encoded word: {wrong}"))
    };
    let mut rest = text;
    while let Some(start) = rest.find("=?") {
        let (before, from_here) = rest.split_at(start);
        let Some((word, length)) = Word::at(from_here) else {
            let wrong = flush(&mut run, &mut decoded);
            defect = defect.or(wrong);
            decoded.push_str(&rest[..start + 2]);
            rest = &from_here[2..];
            continue;
        };
        let octets = word.octets();
        let joins = run.as_ref().is_some_and(|(charset, _)| {
            charset.eq_ignore_ascii_case(word.charset) && before.trim().is_empty()
        });
        let adjacent = run.is_some() && before.trim().is_empty();
        if !joins || octets.is_none() {
            let wrong = flush(&mut run, &mut decoded);
            defect = defect.or(wrong);
            if !adjacent || octets.is_none() {
                decoded.push_str(before);
            }
        }
        match octets {
            Some(octets) => {
                run.get_or_insert_with(|| (word.charset.to_owned(), Vec::new()))
                    .1
                    .extend(octets);
            }
            None => {
                decoded.push_str(&from_here[..length]);
                let shown: String = from_here[..length].chars().take(80).collect();
                defect =
                    defect.or_else(|| Some(format!("an encoded word is left as it was: {shown}")));
            }
        }
        rest = &from_here[length..];
    }
    let wrong = flush(&mut run, &mut decoded);
    decoded.push_str(rest);
    (Cow::Owned(decoded), defect.or(wrong))
}

/// How long the encoded word at the beginning of `text` is.
pub(super) fn word_length(text: &str) -> Option<usize> {
    Word::at(text).map(|(_, length)| length)
}

struct Word<'a> {
    charset: &'a str,
    base64: bool,
    text: &'a str,
}

impl<'a> Word<'a> {
    /// Each of its three pieces ends at a question mark, so no octet is looked at more than a few times.
    fn at(text: &'a str) -> Option<(Word<'a>, usize)> {
        let inner = text.strip_prefix("=?")?;
        let (charset, inner) = inner.split_once('?')?;
        let (encoding, inner) = inner.split_once('?')?;
        let (encoded, inner) = inner.split_once('?')?;
        let behind = inner.strip_prefix('=')?;
        let base64 = match encoding {
            "B" | "b" => true,
            "Q" | "q" => false,
            _ => return None,
        };
        let charset = charset
            .split_once('*')
            .map_or(charset, |(charset, _language)| charset);
        let word = Word {
            charset,
            base64,
            text: encoded,
        };
        Some((word, text.len() - behind.len()))
    }

    fn octets(&self) -> Option<Vec<u8>> {
        let plain = ["us-ascii", "utf-8", "utf8"];
        let usual = plain
            .iter()
            .any(|plain| plain.eq_ignore_ascii_case(self.charset));
        if !usual && !known(self.charset) {
            return None;
        }
        if self.base64 {
            let decoded = base64(self.text.as_bytes());
            let lost = decoded
                .defect
                .is_some_and(|defect| !defect.ends_with("not padded"));
            return (!lost).then_some(decoded.octets);
        }
        let spaced = self.text.replace('_', " ");
        let mut octets = Vec::new();
        (unescape(spaced.as_bytes(), b'=', &mut octets) == 0).then_some(octets)
    }
}
