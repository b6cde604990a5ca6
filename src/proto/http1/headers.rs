//! Header fields in the order and the case in which they were sent.

use std::fmt;

use super::is_token;

/// Header or trailer fields: in order, with the case of their names kept and repeated ones apart.
///
/// Names are compared without regard to case (RFC 9110, section 5.1). A received value that is not UTF-8 is read as
/// ISO-8859-1, byte by byte.
///
/// ```
/// # use loopback::Headers;
/// let mut headers = Headers::new();
/// headers.append("X-Tag", "one")?;
/// headers.append("x-tag", "two")?;
/// assert_eq!(headers.get("X-TAG"), Some("one"));
/// assert_eq!(headers.get_all("x-tag").collect::<Vec<_>>(), ["one", "two"]);
/// assert_eq!(headers.iter().next(), Some(("X-Tag", "one")));
/// # Ok::<(), loopback::HeaderError>(())
/// ```
#[derive(Clone, Default)]
pub struct Headers {
    // One text for all names and values: a request's head is copied once, whatever the number of its fields.
    text: String,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: Span,
    pub(super) value: Span,
}

/// A part of the text that a [`Headers`] holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Span {
        let offset = |at| u32::try_from(at).expect("limits keep heads below 4 GiB");
        Span {
            start: offset(start),
            end: offset(end),
        }
    }

    pub(super) fn of<'a>(&self, text: &'a str) -> &'a str {
        &text[self.start as usize..self.end as usize]
    }
}

impl Headers {
    /// No fields.
    #[must_use]
    pub const fn new() -> Headers {
        Headers {
            text: String::new(),
            fields: Vec::new(),
        }
    }

    /// The number of fields, each repeated one counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The value of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut fields = self.iter();
        let (_, value) = fields.find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The values of all fields of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        self.iter()
            .filter(move |(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Whether there is a field of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Whether `member` is in the comma-separated list that the fields of this name make up, without regard to case,
    /// as in `Connection: keep-alive, Upgrade`.
    #[must_use]
    pub fn lists(&self, name: &str, member: &str) -> bool {
        self.get_all(name)
            .flat_map(members)
            .any(|own| own.eq_ignore_ascii_case(member))
    }

    /// Names and values in order, as they were sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + '_ {
        let pair = |field: &Field| (field.name.of(&self.text), field.value.of(&self.text));
        self.fields.iter().map(pair)
    }

    /// Adds a field after the others, and keeps those of the same name.
    ///
    /// # Errors
    ///
    /// When the name is not a token, or the value has a control character (a line end would start another field).
    pub fn append(&mut self, name: &str, value: &str) -> Result<(), HeaderError> {
        if !is_token(name) {
            return Err(HeaderError(format!(
                "the header name {name:?} is not a token"
            )));
        }
        if value.bytes().any(is_forbidden_in_value) {
            let why = "has a control character";
            return Err(HeaderError(format!(
                "the value {value:?} of header {name} {why}"
            )));
        }
        let name = self.push_text(name);
        // Spaces around a value are no part of it (RFC 9110, section 5.5).
        let value = self.push_text(value.trim_matches([' ', '\t']));
        self.fields.push(Field { name, value });
        Ok(())
    }

    /// Takes a text and the fields that are parts of it.
    pub(super) fn from_parts(text: String, fields: Vec<Field>) -> Headers {
        Headers { text, fields }
    }

    /// The text in which the fields stand, and whatever else came with them.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn push_text(&mut self, text: &str) -> Span {
        let start = self.text.len();
        self.text.push_str(text);
        Span::new(start, self.text.len())
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl PartialEq for Headers {
    fn eq(&self, other: &Headers) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Headers {}

/// A name or value that cannot be sent as a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderError(pub(crate) String);

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HeaderError {}

/// The members of a comma-separated list, empty ones left out (RFC 9110, section 5.6.1).
pub(super) fn members(value: &str) -> impl Iterator<Item = &str> {
    value
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
}

/// A control character other than the tab (RFC 9110, section 5.5).
pub(super) fn is_forbidden_in_value(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_case_and_repetition_are_kept() {
        let mut headers = Headers::new();
        for (name, value) in [("B", "1"), ("a", " 2\t"), ("b", "3")] {
            headers.append(name, value).unwrap();
        }
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [("B", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(headers.get_all("B").collect::<Vec<_>>(), ["1", "3"]);
        assert_eq!(headers.get("A"), Some("2"));
        assert_eq!(headers.len(), 3);
        assert!(!headers.is_empty());
        assert!(!headers.contains("c"));
        assert_eq!(
            format!("{headers:?}"),
            r#"[("B", "1"), ("a", "2"), ("b", "3")]"#
        );
    }

    #[test]
    fn a_list_is_searched_over_all_fields_and_without_case() {
        let mut headers = Headers::new();
        headers.append("Connection", "keep-alive,,").unwrap();
        headers.append("connection", "x ,\tUPGRADE").unwrap();
        assert!(headers.lists("Connection", "upgrade"));
        assert!(headers.lists("Connection", "Keep-Alive"));
        assert!(!headers.lists("Connection", "keep"));
        assert!(!headers.lists("Connection", ""));
    }

    #[test]
    fn what_would_start_another_field_is_refused() {
        let mut headers = Headers::new();
        for (name, value) in [
            ("", "x"),
            ("A B", "x"),
            ("A:", "x"),
            ("A\r\nB", "x"),
            ("Ä", "x"),
            ("A", "x\r\nSet-Cookie: y"),
            ("A", "x\n"),
            ("A", "\r"),
            ("A", "\0"),
            ("A", "\x7f"),
        ] {
            assert!(headers.append(name, value).is_err(), "{name:?}: {value:?}");
        }
        assert!(headers.is_empty());
        let error = headers.append("A", "x\ny").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"the value "x\ny" of header A has a control character"#
        );
    }
}
