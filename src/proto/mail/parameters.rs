//! Fields with a value and parameters: Content-Type and Content-Disposition (RFC 2045, 2183, 2231).

use std::collections::BTreeMap;

use super::charset::decode_text;
use super::transfer::unescape;
use super::words::{decode_words, word_length};

/// Many more than any sender uses; a limit of memory.
const MOST_PARAMETERS: usize = 1000;

/// A field's value in lower case, and its parameters by their names in lower case.
#[derive(Debug, Default)]
pub(crate) struct Structured {
    pub(crate) value: String,
    pub(super) parameters: BTreeMap<String, String>,
    pub(crate) defects: Vec<String>,
}

/// What the parameters `x`, `x*` and `x*0`, `x*1*`, ... say about `x`.
#[derive(Default)]
struct Pieces {
    plain: Option<String>,
    /// By number; whether it is extended, that is percent-encoded.
    numbered: BTreeMap<u32, (bool, String)>,
    extended: Option<String>,
}

impl Structured {
    pub(crate) fn parse(text: &str) -> Structured {
        let mut read = Structured::default();
        let mut named: BTreeMap<String, Pieces> = BTreeMap::new();
        let mut scanner = Scanner { rest: text };
        scanner.skip_comments();
        let first = scanner.until(|c| c == ';' || c == '=' || c == '(' || c == ' ' || c == '\t');
        scanner.skip_comments();
        if scanner.rest.starts_with('=') {
            read.defects
                .push("parameters without a value before them".to_owned());
            scanner.rest = text;
        } else {
            read.value = first.to_ascii_lowercase();
            scanner.rest = scanner.rest.strip_prefix(';').unwrap_or(scanner.rest);
        }
        let mut count = 0;
        loop {
            scanner.skip_comments();
            while let Some(rest) = scanner.rest.strip_prefix(';') {
                scanner.rest = rest;
                scanner.skip_comments();
            }
            if scanner.rest.is_empty() {
                break;
            }
            count += 1;
            if count > MOST_PARAMETERS {
                let left = scanner.rest.len();
                read.defects.push(format!(
                    "more than {MOST_PARAMETERS} parameters; the last {left} octets are not read"
                ));
                break;
            }
            let name = scanner
                .until(|c| c == '=' || c == ';')
                .trim()
                .to_ascii_lowercase();
            let Some(rest) = scanner.rest.strip_prefix('=') else {
                read.defects.push("a parameter without `=`".to_owned());
                continue;
            };
            scanner.rest = rest;
            let value = scanner.value(&mut read.defects);
            put(&mut named, &name, value);
        }
        for (name, pieces) in named {
            if let Some(value) = pieces.value(&name, &mut read.defects) {
                read.parameters.insert(name, value);
            }
        }
        read
    }

    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

/// The first of several parameters of one name counts.
fn put(named: &mut BTreeMap<String, Pieces>, name: &str, value: String) {
    let (base, extended) = match name.strip_suffix('*') {
        Some(base) => (base, true),
        None => (name, false),
    };
    if let Some((base, number)) = base.rsplit_once('*')
        && let Ok(number) = number.parse()
    {
        let pieces = named.entry(base.to_owned()).or_default();
        pieces.numbered.entry(number).or_insert((extended, value));
        return;
    }
    let pieces = named.entry(base.to_owned()).or_default();
    let slot = if extended {
        &mut pieces.extended
    } else {
        &mut pieces.plain
    };
    slot.get_or_insert(value);
}

impl Pieces {
    /// The extended form is meant for those who understand it (RFC 6266 section 4.3, RFC 2231).
    fn value(mut self, name: &str, defects: &mut Vec<String>) -> Option<String> {
        if let Some(extended) = self.extended.take() {
            self.numbered = BTreeMap::from([(0, (true, extended))]);
        }
        if !self.numbered.contains_key(&0) {
            if !self.numbered.is_empty() {
                defects.push(format!("the parameter {name} lacks its first piece"));
            }
            let (value, wrong) = self.plain.as_deref().map(decode_words)?;
            defects.extend(wrong);
            return Some(value.into_owned());
        }
        let mut octets = Vec::new();
        let mut charset = None;
        for (expected, (number, (extended, piece))) in (0..).zip(self.numbered) {
            if number != expected {
                defects.push(format!("the parameter {name} lacks its piece {expected}"));
                break;
            }
            let mut piece = piece.as_str();
            if extended && number == 0 {
                let mut split = piece.splitn(3, '\'');
                match (split.next(), split.next(), split.next()) {
                    (Some(set), Some(_language), Some(text)) => {
                        charset = Some(set.to_owned());
                        piece = text;
                    }
                    _ => defects.push(format!("the parameter {name}* names no charset")),
                }
            }
            if !extended {
                octets.extend_from_slice(piece.as_bytes());
            } else if unescape(piece.as_bytes(), b'%', &mut octets) > 0 {
                defects.push(format!(
                    "the parameter {name}* has percent escapes that cannot be decoded"
                ));
            }
        }
        let (value, wrong) = decode_text(&octets, charset.as_deref());
        defects.extend(wrong.map(|wrong| format!("the parameter {name}: {wrong}")));
        Some(value)
    }
}

struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    /// Skips white space and comments, which may hold comments (RFC 5322 section 3.2.2).
    fn skip_comments(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            if !self.rest.starts_with('(') {
                return;
            }
            let (mut depth, mut escaped) = (0_usize, false);
            let end = self.rest.bytes().position(|byte| {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'(' => depth += 1,
                    b')' => depth -= 1,
                    _ => {}
                }
                depth == 0
            });
            self.rest = &self.rest[end.map_or(self.rest.len(), |end| end + 1)..];
        }
    }

    fn until(&mut self, ends: impl FnMut(char) -> bool) -> &'a str {
        let end = self.rest.find(ends).unwrap_or(self.rest.len());
        let (before, rest) = self.rest.split_at(end);
        self.rest = rest;
        before
    }

    fn value(&mut self, defects: &mut Vec<String>) -> String {
        self.skip_comments();
        if let Some(quoted) = self.rest.strip_prefix('"') {
            self.rest = quoted;
            return self.quoted(defects);
        }
        let start = self.rest;
        let mut after_space = false;
        while let Some(c) = self.rest.chars().next() {
            if let Some(length) = word_length(self.rest) {
                self.rest = &self.rest[length..];
                continue;
            }
            if c == ';' || c == '(' && after_space {
                break;
            }
            after_space = c == ' ';
            self.rest = &self.rest[c.len_utf8()..];
        }
        let value = start[..start.len() - self.rest.len()].trim();
        self.skip_comments();
        if value.contains(' ') && !value.starts_with("=?") {
            defects.push("a parameter with spaces and without quotes".to_owned());
        }
        value.to_owned()
    }

    fn quoted(&mut self, defects: &mut Vec<String>) -> String {
        let mut value = String::new();
        let mut escaped = false;
        for (at, c) in self.rest.char_indices() {
            match c {
                _ if escaped => escaped = false,
                '\\' => {
                    escaped = true;
                    continue;
                }
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return value;
                }
                _ => {}
            }
            value.push(c);
        }
        self.rest = "";
        defects.push("a quoted parameter without its closing quote".to_owned());
        value
    }
}
