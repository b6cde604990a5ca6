//! The little of JSON (RFC 8259) that reports need: a writer, and a reader of what it writes.

use std::fmt::{self, Write as _};

/// How deep lists and objects may be nested in what is read.
const DEPTH: usize = 32;

/// A JSON value. Numbers are whole and not negative: nothing else is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Object(Vec<(String, Value)>),
}

impl Value {
    pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Value {
        let members = members.into_iter();
        Value::Object(members.map(|(name, v)| (name.to_owned(), v)).collect())
    }

    pub(crate) fn list<T: Into<Value>>(items: impl IntoIterator<Item = T>) -> Value {
        Value::List(items.into_iter().map(Into::into).collect())
    }

    /// Reads one value that is the whole of `text`. The error says at which byte what was expected.
    pub(crate) fn parse(text: &str) -> Result<Value, String> {
        let mut reader = Reader { text, at: 0 };
        let value = reader.value(DEPTH)?;
        reader.space();
        match reader.at == text.len() {
            true => Ok(value),
            false => Err(reader.expected("the end")),
        }
    }

    /// The member of an object; `None` of anything else too.
    pub(crate) fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Object(members) => members.iter().find(|(n, _)| n == name).map(|(_, v)| v),
            _ => None,
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub(crate) fn items(&self) -> Option<&[Value]> {
        match self {
            Value::List(items) => Some(items),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// On one line, without spaces.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "{value}"),
            Value::Text(text) => write_text(f, text),
            Value::List(items) => {
                f.write_char('[')?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{item}")?;
                }
                f.write_char(']')
            }
            Value::Object(members) => {
                f.write_char('{')?;
                for (index, (name, value)) in members.iter().enumerate() {
                    f.write_str(if index == 0 { "" } else { "," })?;
                    write_text(f, name)?;
                    write!(f, ":{value}")?;
                }
                f.write_char('}')
            }
        }
    }
}

fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            // Beyond what must be escaped: the controls above ASCII, which disturb terminals too.
            c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

/// Reads from the beginning of a text on.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Result<Value, String> {
        self.space();
        match self.rest().bytes().next() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'0'..=b'9') => self.number().map(Value::Number),
            Some(b'[' | b'{') if depth == 0 => Err(self.expected("less nesting")),
            Some(b'[') => self.list(depth - 1),
            Some(b'{') => self.object(depth - 1),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let words = [
            ("null", Value::Null),
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
        ];
        for (word, value) in words {
            if self.take(word) {
                return Ok(value);
            }
        }
        Err(self.expected("a value"))
    }

    fn number(&mut self) -> Result<u64, String> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number = self.rest()[..digits].parse();
        let number = number.map_err(|_| self.expected("a number of 64 bits"))?;
        self.at += digits;
        match self.rest().starts_with(['.', 'e', 'E']) {
            true => Err(self.expected("a whole number")),
            false => Ok(number),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value, String> {
        let mut items = Vec::new();
        self.take("[");
        self.space();
        if self.take("]") {
            return Ok(Value::List(items));
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.take("]") {
                return Ok(Value::List(items));
            }
            self.need(",")?;
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, String> {
        let mut members = Vec::new();
        self.take("{");
        self.space();
        if self.take("}") {
            return Ok(Value::Object(members));
        }
        loop {
            self.space();
            let name = self.string()?;
            self.space();
            self.need(":")?;
            members.push((name, self.value(depth)?));
            self.space();
            if self.take("}") {
                return Ok(Value::Object(members));
            }
            self.need(",")?;
        }
    }

    fn string(&mut self) -> Result<String, String> {
        self.need("\"")?;
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.expected("the end of a string"));
            };
            self.at += c.len_utf8();
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    /// Only what is written here: no surrogate pairs.
    fn escape(&mut self) -> Result<char, String> {
        for (letter, c) in [("\"", '"'), ("\\", '\\'), ("n", '\n'), ("/", '/')] {
            if self.take(letter) {
                return Ok(c);
            }
        }
        let digits = self.rest().strip_prefix('u').and_then(|r| r.get(..4));
        let code = digits.and_then(|hex| u32::from_str_radix(hex, 16).ok());
        let Some(c) = code.and_then(char::from_u32) else {
            return Err(self.expected("an escaped character"));
        };
        self.at += 5;
        Ok(c)
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn take(&mut self, word: &str) -> bool {
        let there = self.rest().starts_with(word);
        if there {
            self.at += word.len();
        }
        there
    }

    fn need(&mut self, word: &str) -> Result<(), String> {
        match self.take(word) {
            true => Ok(()),
            false => Err(self.expected(word)),
        }
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what} at byte {}", self.at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Value {
        Value::object([
            ("text", "a \"b\" \\ \n\u{1b}\u{9b} ü".into()),
            ("list", Value::list([1, u64::MAX])),
            ("nothing", Value::Null),
            ("yes", Value::Bool(true)),
            ("empty", Value::List(vec![Value::object([])])),
        ])
    }

    #[test]
    fn it_is_written_on_one_line_and_read_back() {
        let text = sample().to_string();
        assert_eq!(
            text,
            r#"{"text":"a \"b\" \\ \n\u001b\u009b ü","list":[1,18446744073709551615],"nothing":null,"yes":true,"empty":[{}]}"#
        );
        assert_eq!(Value::parse(&text), Ok(sample()));
        let spaced = text.replace(',', " ,\n ").replace(':', " : ");
        assert_eq!(Value::parse(&spaced), Ok(sample()));
    }

    #[test]
    fn every_prefix_is_an_error() {
        let text = sample().to_string();
        for end in (0..text.len()).filter(|end| text.is_char_boundary(*end)) {
            assert!(Value::parse(&text[..end]).is_err(), "{}", &text[..end]);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let deep = "[".repeat(40);
        let cases = [
            ("[1,]", "expected a value at byte 3"),
            ("{} {}", "expected the end at byte 3"),
            ("1.5", "expected a whole number at byte 1"),
            (
                "99999999999999999999",
                "expected a number of 64 bits at byte 0",
            ),
            (r#""\ud800""#, "expected an escaped character at byte 2"),
            (&deep, "expected less nesting at byte 32"),
        ];
        for (text, error) in cases {
            assert_eq!(Value::parse(text), Err(error.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics(text in "[\\[\\]{}:,\"\\\\u0-9a-f ü]{0,40}") {
            let _ = Value::parse(&text);
        }

        #[test]
        fn any_text_is_read_back(text in ".*") {
            let value = Value::Text(text);
            prop_assert_eq!(Value::parse(&value.to_string()), Ok(value));
        }
    }
}
