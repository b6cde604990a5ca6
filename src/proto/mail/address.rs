//! Lists of addresses in header fields (RFC 5322 section 3.4, and its obsolete forms).

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;
use std::sync::Arc;

use super::words::decode_words;

/// How many addresses of one field are read.
const MOST_ADDRESSES: usize = 10_000;

/// An address of a header field as From or To, with the name before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    name: Option<String>,
    address: String,
    group: Option<Arc<str>>,
}

impl Mailbox {
    /// The display name, decoded; where there is none, the comment behind the address, as in
    /// `bob@example.com (Bob)`.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The address, as `bob@example.com`, without what is allowed around its pieces.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The name of the group that it stands in, as in `team: bob@example.com;`.
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }
}

/// As `"Bob" <bob@example.com>`, or the address alone.
impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => {
                let escaped = name.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{escaped}\" <{}>", self.address)
            }
            None => f.write_str(&self.address),
        }
    }
}

/// The addresses of a field as it was sent, unfolded, behind those that are in `found`.
pub(crate) fn read_addresses(text: &str, found: &mut Vec<Mailbox>, mut wrong: impl FnMut(String)) {
    let mut list = List {
        rest: text.chars().peekable(),
        group: None,
        found,
        wrong: &mut wrong,
    };
    let mut entry = Entry::default();
    while let Some(c) = list.rest.next() {
        if list.found.len() >= MOST_ADDRESSES {
            let left = list.rest.count();
            wrong(format!(
                "more than {MOST_ADDRESSES} addresses; the last {left} characters are not read"
            ));
            return;
        }
        match c {
            '"' => {
                let (quoted, meant) = list.quoted();
                entry.bare.push_str(&quoted);
                entry.phrase.push_str(&meant);
            }
            '(' => entry.comment = Some(list.comment()),
            '<' => entry.angle = Some(list.angle()),
            '[' => entry.bare.push_str(&list.literal()),
            ',' => list.end(std::mem::take(&mut entry)),
            ';' => {
                list.end(std::mem::take(&mut entry));
                list.group = None;
            }
            ':' => {
                let name = decode_words(entry.phrase.trim()).0;
                list.group = Some(name.as_ref().into());
                entry = Entry::default();
            }
            _ if c.is_whitespace() => entry.phrase.push(' '),
            _ => {
                entry.bare.push(c);
                entry.phrase.push(c);
            }
        }
    }
    list.end(entry);
}

/// What came since the last comma.
#[derive(Default)]
struct Entry {
    /// Without white space, quotes as they came: an address without brackets.
    bare: String,
    /// With white space and without quotes: a name.
    phrase: String,
    angle: Option<String>,
    comment: Option<String>,
}

struct List<'a, 'b> {
    rest: Peekable<Chars<'a>>,
    group: Option<Arc<str>>,
    found: &'b mut Vec<Mailbox>,
    wrong: &'b mut dyn FnMut(String),
}

impl List<'_, '_> {
    fn end(&mut self, entry: Entry) {
        let (name, address) = match entry.angle {
            Some(angle) => {
                // A route before the address (RFC 5322 section 4.4) is of no use to anybody.
                let behind = angle.split_once(':').filter(|_| angle.starts_with('@'));
                let address = behind.map(|(_route, address)| address.to_owned());
                (Some(entry.phrase), address.unwrap_or(angle))
            }
            None if entry.bare.is_empty() => return,
            None if entry.bare.contains('@') => (entry.comment, entry.bare),
            None => (entry.comment, entry.phrase.trim().to_owned()),
        };
        if !address.contains('@') {
            let shown: String = address.chars().take(80).collect();
            (self.wrong)(format!("{shown:?} is no address"));
        }
        let name = name.map(|name| decode_words(name.trim()).0.into_owned());
        self.found.push(Mailbox {
            name: name.filter(|name| !name.is_empty()),
            address,
            group: self.group.clone(),
        });
    }

    /// Behind a quote: as it came, and as it is meant.
    fn quoted(&mut self) -> (String, String) {
        let (mut quoted, mut meant) = ("\"".to_owned(), String::new());
        while let Some(c) = self.rest.next() {
            quoted.push(c);
            match c {
                '"' => return (quoted, meant),
                '\\' => {
                    if let Some(escaped) = self.rest.next() {
                        quoted.push(escaped);
                        meant.push(escaped);
                    }
                }
                _ => meant.push(c),
            }
        }
        (self.wrong)("a quote that does not end".to_owned());
        (quoted, meant)
    }

    /// Behind its parenthesis; comments may hold comments.
    fn comment(&mut self) -> String {
        let mut text = String::new();
        let mut depth = 1_usize;
        while let Some(c) = self.rest.next() {
            match c {
                '(' => depth += 1,
                ')' => depth -= 1,
                '\\' => {
                    text.extend(self.rest.next());
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                return text;
            }
            text.push(c);
        }
        (self.wrong)("a comment that does not end".to_owned());
        text
    }

    fn angle(&mut self) -> String {
        let mut address = String::new();
        while let Some(c) = self.rest.next() {
            match c {
                '>' => return address,
                '"' => address.push_str(&self.quoted().0),
                '(' => drop(self.comment()),
                _ if c.is_whitespace() => {}
                _ => address.push(c),
            }
        }
        (self.wrong)("an address whose `<` has no `>`".to_owned());
        address
    }

    /// An address's domain as a number, as `[127.0.0.1]`.
    fn literal(&mut self) -> String {
        let mut literal = "[".to_owned();
        while let Some(c) = self.rest.next_if(|&c| c != ',') {
            literal.push(c);
            if c == ']' {
                break;
            }
        }
        literal
    }
}
