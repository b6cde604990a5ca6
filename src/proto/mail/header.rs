//! Header fields (RFC 5322 section 2.2, with UTF-8 as RFC 6532 allows it).

use super::charset::decode_text;
use super::words::decode_words;

/// One header field.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Unfolded, with encoded words as they came.
    pub(crate) sent: String,
    /// Unfolded and decoded.
    pub(crate) value: String,
}

impl Field {
    pub(super) fn copy(&self) -> Field {
        Field {
            name: self.name.clone(),
            sent: self.sent.clone(),
            value: self.value.clone(),
        }
    }

    /// The field in its lines; `None` where they are no field, and what was wrong with it.
    pub(super) fn parse(lines: &[u8]) -> Option<(Field, Vec<String>)> {
        let colon = lines.iter().position(|&octet| octet == b':')?;
        let name = lines[..colon].trim_ascii_end();
        let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        if !is_name {
            return None;
        }
        let mut defects = Vec::new();
        let name = String::from_utf8_lossy(name).into_owned();
        if name.len() < colon {
            defects.push(format!(
                "the field {}: white space before its colon",
                short(&name)
            ));
        }
        let (sent, wrong) = decode_text(&unfold(&lines[colon + 1..]), None);
        defects.extend(wrong.map(|wrong| format!("the field {}: {wrong}", short(&name))));
        let (value, wrong) = decode_words(&sent);
        defects.extend(wrong.map(|wrong| format!("the field {}: {wrong}", short(&name))));
        let value = value.into_owned();
        Some((Field { name, sent, value }, defects))
    }
}

fn short(name: &str) -> &str {
    &name[..name.len().min(80)]
}

/// A line end and the white space behind it become one space.
fn unfold(lines: &[u8]) -> Vec<u8> {
    let mut unfolded = Vec::with_capacity(lines.len());
    for (number, line) in lines.split(|&octet| octet == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if number > 0 {
            unfolded.push(b' ');
        }
        let start = line.iter().position(|octet| !b" \t".contains(octet));
        unfolded.extend_from_slice(&line[start.unwrap_or(line.len())..]);
    }
    unfolded.trim_ascii().to_vec()
}
