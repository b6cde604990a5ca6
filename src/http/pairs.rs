//! Names with values, as queries, forms and cookies have them.

use std::fmt;

/// Names with values in the order in which they came, repeated ones apart: a decoded query or form, or the cookies of
/// a request.
///
/// Names are compared as they are, case and all.
///
/// ```
/// # use std::io::Write;
/// # use loopback::TestHttpServer;
/// # let server = TestHttpServer::sink("127.0.0.1:0")?;
/// # let mut client = std::net::TcpStream::connect(server.local_addr())?;
/// client.write_all(b"GET /?q=a+b&q=%26&page HTTP/1.1\r\nHost: h\r\n\r\n")?;
/// let request = server.take_request(std::time::Duration::from_secs(1))?;
/// let query = request.query_pairs();
/// assert_eq!(query.get("q"), Some("a b"));
/// assert_eq!(query.get_all("q").collect::<Vec<_>>(), ["a b", "&"]);
/// assert_eq!(*query, [("q", "a b"), ("q", "&"), ("page", "")]);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    pairs: Vec<(String, String)>,
}

impl Pairs {
    /// The pairs of `application/x-www-form-urlencoded`, as the URL Standard's parser has them: `+` is a space, and a
    /// `%` that no two hexadecimal digits follow stands for itself.
    pub(super) fn of_urlencoded(text: &[u8]) -> Pairs {
        let parts = text.split(|byte| *byte == b'&');
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let mut halves = part.splitn(2, |byte| *byte == b'=');
            let mut half = || decoded(halves.next().unwrap_or_default());
            (half(), half())
        });
        Pairs {
            pairs: pairs.collect(),
        }
    }

    /// The pairs of Cookie fields (RFC 6265, section 4.2.1). One without `=` is a value without a name.
    pub(super) fn of_cookies<'a>(fields: impl Iterator<Item = &'a str>) -> Pairs {
        let parts = fields.flat_map(|field| field.split(';')).map(str::trim);
        let pairs = parts.filter(|part| !part.is_empty()).map(|part| {
            let (name, value) = part.split_once('=').unwrap_or(("", part));
            (name.trim_end().to_owned(), value.trim_start().to_owned())
        });
        Pairs {
            pairs: pairs.collect(),
        }
    }

    /// The value of the first pair of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.iter().find(|(own, _)| *own == name)?;
        Some(value)
    }

    /// The values of all pairs of this name, in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let own = self.iter().filter(move |(own, _)| *own == name);
        own.map(|(_, value)| value)
    }

    /// Whether there is a pair of this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> + '_ {
        self.pairs.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The number of pairs, each repeated one counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}

/// For assertions: `assert_eq!(request.query_pairs(), [("a", "1")])`.
impl<const N: usize> PartialEq<[(&str, &str); N]> for Pairs {
    fn eq(&self, other: &[(&str, &str); N]) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

impl<const N: usize> PartialEq<[(&str, &str); N]> for &Pairs {
    fn eq(&self, other: &[(&str, &str); N]) -> bool {
        **self == *other
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Text with `+` and `%41` decoded; what is not UTF-8 then is replaced.
fn decoded(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match (first, after) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (byte, _) => *byte,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn forms_are_decoded_as_the_url_standard_has_it() {
        let pairs = |text: &str| Pairs::of_urlencoded(text.as_bytes());
        assert_eq!(pairs(""), []);
        assert_eq!(pairs("&&"), []);
        assert_eq!(pairs("a"), [("a", "")]);
        assert_eq!(pairs("a="), [("a", "")]);
        assert_eq!(pairs("=a"), [("", "a")]);
        assert_eq!(pairs("a=b=c&a=%3D%26"), [("a", "b=c"), ("a", "=&")]);
        assert_eq!(pairs("a+b=c+%2B%2b"), [("a b", "c ++")]);
        assert_eq!(pairs("%zz=%4&%=%%41"), [("%zz", "%4"), ("%", "%A")]);
        assert_eq!(
            pairs("h=h%C3%A4llo&h=hällo&l=%E4"),
            [("h", "hällo"), ("h", "hällo"), ("l", "\u{FFFD}")]
        );
    }

    #[test]
    fn cookies_are_split_and_not_decoded() {
        let pairs = |fields: &[&str]| Pairs::of_cookies(fields.iter().copied());
        assert_eq!(pairs(&[]), []);
        assert_eq!(
            pairs(&["a=1; b=2", "a=3"]),
            [("a", "1"), ("b", "2"), ("a", "3")]
        );
        assert_eq!(
            pairs(&[" a = 1 ;;b=\"2\";c=%41=+"]),
            [("a", "1"), ("b", "\"2\""), ("c", "%41=+")]
        );
        assert_eq!(pairs(&["bare; A=1"]), [("", "bare"), ("A", "1")]);
        assert!(!pairs(&["A=1"]).contains("a"));
    }

    proptest! {
        #[test]
        fn what_was_encoded_comes_back(pairs: Vec<(String, String)>) {
            let encoded = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02x}")).collect()
            };
            let parts = pairs.iter().map(|(name, value)| encoded(name) + "=" + &encoded(value));
            let text = parts.collect::<Vec<_>>().join("&");
            prop_assert_eq!(Pairs::of_urlencoded(text.as_bytes()), Pairs { pairs });
        }

        #[test]
        fn any_bytes_have_pairs(bytes: Vec<u8>) {
            Pairs::of_urlencoded(&bytes);
            Pairs::of_cookies([String::from_utf8_lossy(&bytes).as_ref()].into_iter());
        }
    }
}
