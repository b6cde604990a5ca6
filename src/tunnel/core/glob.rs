//! Patterns of checks' ids.

/// A pattern in which `*` stands for any characters, none too, and `?` for any single one. It matches
/// an id as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob(String);

impl Glob {
    pub(crate) fn new(pattern: impl Into<String>) -> Glob {
        Glob(pattern.into())
    }

    pub(crate) fn pattern(&self) -> &str {
        &self.0
    }

    /// Takes at most as many steps as the product of both lengths.
    pub(crate) fn matches(&self, id: &str) -> bool {
        let (pattern, id) = (self.0.as_bytes(), id.as_bytes());
        let (mut p, mut i) = (0, 0);
        // Where to go on if what follows the last star does not match: the star takes one more.
        let mut again = None;
        while i < id.len() {
            match pattern.get(p) {
                Some(b'*') => {
                    p += 1;
                    again = Some((p, i));
                }
                Some(c) if *c == b'?' || *c == id[i] => {
                    p += 1;
                    i += 1;
                }
                _ => match again {
                    Some((after_star, taken)) => {
                        p = after_star;
                        i = taken + 1;
                        again = Some((after_star, taken + 1));
                    }
                    None => return false,
                },
            }
        }
        pattern[p..].iter().all(|c| *c == b'*')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        let id = "socks5/rfc1928/6/refused";
        let matching = [
            id,
            "*",
            "socks5/*",
            "*/refused",
            "*/6/*",
            "socks?/rfc*/?/*",
            "**s*d*",
            "socks5/rfc1928/6/refused*",
        ];
        for pattern in matching {
            assert!(Glob::new(pattern).matches(id), "{pattern}");
        }
        let others = [
            "",
            "socks5",
            "socks5/",
            "*/6",
            "socks5/*/7/*",
            "?socks5/*",
            "*refused?",
            "SOCKS5/*",
        ];
        for pattern in others {
            assert!(!Glob::new(pattern).matches(id), "{pattern}");
        }
        assert!(Glob::new("").matches("") && Glob::new("*").matches(""));
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = Glob::new("*a".repeat(1000));
        assert!(!pattern.matches(&"b".repeat(1000)));
        assert!(pattern.matches(&"a".repeat(1000)));
    }
}
