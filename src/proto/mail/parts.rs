//! A message cut into its parts (RFC 2046 section 5.1).

use std::collections::HashMap;

use super::header::Field;
use super::parameters::Structured;

/// How deep multiparts may lie in each other.
const MOST_DEPTH: usize = 100;
/// How many parts are read.
const MOST_PARTS: usize = 10_000;
/// How many header fields are read, those of all parts together.
const MOST_FIELDS: usize = 20_000;
/// How many defects are kept.
const MOST_DEFECTS: usize = 100;

/// A part that is no multipart, or one that cannot be taken apart.
#[derive(Debug)]
pub(crate) struct RawPart<'a> {
    pub(crate) fields: Vec<Field>,
    pub(crate) content_type: Structured,
    /// The content as it was sent.
    pub(crate) body: &'a [u8],
    /// As `2.1`; empty for the message itself.
    pub(crate) path: String,
}

/// What was wrong, in words; the first of them.
#[derive(Debug, Default)]
pub(crate) struct Defects {
    pub(crate) found: Vec<String>,
    more: usize,
}

impl Defects {
    pub(crate) fn add(&mut self, path: &str, defect: impl std::fmt::Display) {
        if self.found.len() == MOST_DEFECTS {
            self.more += 1;
        } else if path.is_empty() {
            self.found.push(defect.to_string());
        } else {
            self.found.push(format!("part {path}: {defect}"));
        }
    }

    pub(crate) fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.found.push(format!("and {} more", self.more));
        }
        self.found
    }
}

/// Reads a message: its header fields, and its parts in their order.
pub(crate) fn read<'a>(raw: &'a [u8], defects: &mut Defects) -> (Vec<Field>, Vec<RawPart<'a>>) {
    let mut reader = Reader {
        raw,
        at: 0,
        open: Vec::new(),
        depths: HashMap::new(),
        fields: 0,
        parts: Vec::new(),
        defects,
    };
    let own = reader.message();
    (own, reader.parts)
}

struct Reader<'a, 'd> {
    raw: &'a [u8],
    at: usize,
    open: Vec<Multipart>,
    /// By boundary, where in `open` it is; the innermost last.
    depths: HashMap<Vec<u8>, Vec<usize>>,
    fields: usize,
    parts: Vec<RawPart<'a>>,
    defects: &'d mut Defects,
}

struct Multipart {
    boundary: Vec<u8>,
    /// How many of its parts have begun.
    count: usize,
    is_digest: bool,
    closed: bool,
}

/// A line `--boundary` or `--boundary--`.
struct Delimiter {
    depth: usize,
    closes: bool,
}

impl<'a> Reader<'a, '_> {
    fn message(&mut self) -> Vec<Field> {
        // What mailboxes and some senders have before a message; a field has no space in its name.
        if self.raw.starts_with(b"From ") {
            self.at = self.line_end(0);
            self.defects.add("", "a line `From ` before the header");
        }
        let mut own = None;
        let mut begun = 0;
        loop {
            let fields = self.header();
            let path = self.path();
            self.part(fields, path, &mut own);
            begun += 1;
            let mut next = self.next_part();
            if next && begun == MOST_PARTS {
                let left = self.raw.len() - self.at;
                self.defects.add(
                    "",
                    format_args!(
                        "more than {MOST_PARTS} parts; the last {left} octets are not read"
                    ),
                );
                self.open.clear();
                next = false;
            }
            if !next {
                return own.unwrap_or_default();
            }
        }
    }

    /// The fields up to the empty line, which ends them, or to what is none.
    fn header(&mut self) -> Vec<Field> {
        let mut fields = Vec::new();
        let mut ignored = 0_usize;
        let path = self.path();
        while self.at < self.raw.len() {
            let start = self.at;
            let mut end = self.line_end(start);
            if self.raw[start..end].trim_ascii().is_empty()
                && !self.raw[start..end].starts_with(b" ")
            {
                self.at = end;
                break;
            }
            if self.delimiter(start, end).is_some() {
                break;
            }
            while self
                .raw
                .get(end)
                .is_some_and(|octet| b" \t".contains(octet))
            {
                end = self.line_end(end);
            }
            let line = &self.raw[start..end];
            if self.fields == MOST_FIELDS {
                if !line.contains(&b':') {
                    break;
                }
                ignored += 1;
                self.at = end;
                continue;
            }
            let Some((field, wrong)) = Field::parse(line) else {
                self.defects.add(
                    &path,
                    "no empty line behind its header: its text begins at a line that is no field",
                );
                break;
            };
            for wrong in wrong {
                self.defects.add(&path, wrong);
            }
            fields.push(field);
            self.fields += 1;
            self.at = end;
        }
        if ignored > 0 {
            self.defects.add(
                &path,
                format_args!("more than {MOST_FIELDS} header fields; {ignored} are not read"),
            );
        }
        fields
    }

    /// Opens a multipart, and goes to its first part; or keeps a part.
    fn part(&mut self, fields: Vec<Field>, path: String, own: &mut Option<Vec<Field>>) {
        let digest = self.open.last().is_some_and(|open| open.is_digest);
        let mut content_type = content_type(&fields, digest, &path, self.defects);
        let start = self.at;
        let is_message = own.is_none();
        if content_type.value.starts_with("multipart/") {
            match content_type
                .parameter("boundary")
                .map(|text| text.trim_end().as_bytes())
            {
                None | Some([]) => {
                    self.defects
                        .add(&path, "a multipart without a boundary; it is read as text");
                    "text/plain".clone_into(&mut content_type.value);
                }
                Some(_) if self.open.len() == MOST_DEPTH => self.defects.add(
                    &path,
                    format_args!(
                        "more than {MOST_DEPTH} multiparts in each other; it is kept whole"
                    ),
                ),
                Some(boundary) => {
                    let depth = self.open.len();
                    self.depths
                        .entry(boundary.to_vec())
                        .or_default()
                        .push(depth);
                    self.open.push(Multipart {
                        boundary: boundary.to_vec(),
                        count: 0,
                        is_digest: content_type.value == "multipart/digest",
                        closed: false,
                    });
                    let (found, end) = self.seek();
                    let ours = found
                        .as_ref()
                        .is_some_and(|found| found.depth == depth && !found.closes);
                    if ours {
                        if is_message {
                            *own = Some(fields);
                        }
                        return;
                    }
                    self.pop(depth);
                    self.defects.add(
                        &path,
                        "a multipart whose boundary is on no line; it is read as text",
                    );
                    "text/plain".clone_into(&mut content_type.value);
                    self.keep(fields, content_type, start..end, path, own);
                    return;
                }
            }
        }
        let (_, end) = self.seek();
        self.keep(fields, content_type, start..end, path, own);
    }

    fn keep(
        &mut self,
        fields: Vec<Field>,
        content_type: Structured,
        body: std::ops::Range<usize>,
        path: String,
        own: &mut Option<Vec<Field>>,
    ) {
        if own.is_none() {
            *own = Some(fields.iter().map(Field::copy).collect());
        }
        self.parts.push(RawPart {
            fields,
            content_type,
            body: &self.raw[body],
            path,
        });
    }

    /// Goes to the next delimiter, which stays unread, and tells where what is before it ends: the line
    /// end before a delimiter belongs to that.
    fn seek(&mut self) -> (Option<Delimiter>, usize) {
        let start = self.at;
        if self.open.is_empty() {
            self.at = self.raw.len();
            return (None, self.at);
        }
        while self.at < self.raw.len() {
            let end = self.line_end(self.at);
            if let Some(found) = self.delimiter(self.at, end) {
                let before = &self.raw[start..self.at];
                let kept = before.strip_suffix(b"\n").unwrap_or(before);
                let kept = if kept.len() < before.len() {
                    kept.strip_suffix(b"\r").unwrap_or(kept)
                } else {
                    kept
                };
                return (Some(found), start + kept.len());
            }
            self.at = end;
        }
        (None, self.at)
    }

    /// Steps over delimiters up to the header of the next part, if there is one.
    fn next_part(&mut self) -> bool {
        loop {
            let (found, _) = self.seek();
            let Some(found) = found else {
                self.pop(0);
                return false;
            };
            self.at = self.line_end(self.at);
            self.pop(found.depth + 1);
            let open = &mut self.open[found.depth];
            if found.closes {
                open.closed = true;
                self.pop(found.depth);
            } else {
                open.count += 1;
                return true;
            }
        }
    }

    /// Ends the multiparts from this depth on.
    fn pop(&mut self, depth: usize) {
        while self.open.len() > depth {
            let open = self.open.pop().expect("one is open");
            if let Some(depths) = self.depths.get_mut(&open.boundary) {
                depths.pop();
            }
            if !open.closed && open.count > 0 {
                let path = self.path();
                self.defects
                    .add(&path, "a multipart without its last delimiter");
            }
        }
    }

    /// The whole line is the delimiter (RFC 2046 section 5.1.1), but for white space at its end.
    fn delimiter(&self, start: usize, end: usize) -> Option<Delimiter> {
        let line = self.raw[start..end].trim_ascii_end();
        let text = line.strip_prefix(b"--")?;
        let depth = |text: &[u8]| self.depths.get(text)?.last().copied();
        let begins = depth(text).map(|depth| Delimiter {
            depth,
            closes: false,
        });
        let closing = text.strip_suffix(b"--").and_then(depth);
        let closes = closing.map(|depth| Delimiter {
            depth,
            closes: true,
        });
        match (begins, closes) {
            (Some(begins), Some(closes)) if closes.depth > begins.depth => Some(closes),
            (begins, closes) => begins.or(closes),
        }
    }

    fn line_end(&self, start: usize) -> usize {
        let found = self.raw[start..].iter().position(|&octet| octet == b'\n');
        found.map_or(self.raw.len(), |found| start + found + 1)
    }

    fn path(&self) -> String {
        let numbers: Vec<_> = self
            .open
            .iter()
            .map(|open| open.count.to_string())
            .collect();
        numbers.join(".")
    }
}

/// The type, `text/plain` where there is none that can be understood (RFC 2045 section 5.2).
fn content_type(
    fields: &[Field],
    in_digest: bool,
    path: &str,
    defects: &mut Defects,
) -> Structured {
    let mut named = fields
        .iter()
        .filter(|field| field.name.eq_ignore_ascii_case("Content-Type"));
    let default = if in_digest {
        "message/rfc822"
    } else {
        "text/plain"
    };
    let Some(field) = named.next() else {
        return Structured {
            value: default.to_owned(),
            ..Structured::default()
        };
    };
    if named.next().is_some() {
        defects.add(path, "Content-Type is there twice; the first counts");
    }
    let mut read = Structured::parse(&field.sent);
    for wrong in read.defects.drain(..) {
        defects.add(path, format_args!("Content-Type: {wrong}"));
    }
    let is_type = read.value.split_once('/').is_some_and(|(kind, subtype)| {
        !kind.is_empty() && !subtype.is_empty() && !subtype.contains('/')
    });
    if !is_type {
        let shown: String = read.value.chars().take(80).collect();
        defects.add(
            path,
            format_args!("Content-Type: {shown:?} is no type; it is read as text/plain"),
        );
        "text/plain".clone_into(&mut read.value);
    }
    read
}
