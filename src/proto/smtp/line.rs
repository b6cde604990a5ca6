//! Command lines out of segments. Only CRLF ends one (RFC 5321 section 2.3.8): a server that takes a
//! lone LF too reads commands that the server before it took for text.

/// Collects one line at a time.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    /// The line's beginning, from earlier segments; of a line that is too long, its last octet.
    held: Vec<u8>,
    /// The first octets of a line that is too long: they tell the command.
    start: [u8; START],
    /// The line in `held` has been given out.
    given: bool,
    too_long: bool,
}

/// What a segment brought.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// The end of the line has not come.
    Partial,
    /// A line without its CRLF.
    Whole(&'a [u8]),
    /// The end of a line longer than the limit, which was dropped but for its first octets.
    TooLong([u8; START]),
}

/// A verb, and the octet after it.
const START: usize = 5;

impl LineReader {
    /// Reads up to the end of a line, or all of `input`. Returns how many octets it took, and the
    /// line; `limit` is the longest one's length with its CRLF.
    pub(crate) fn read<'a>(&'a mut self, input: &'a [u8], limit: usize) -> (usize, Line<'a>) {
        if std::mem::take(&mut self.given) {
            self.held.clear();
        }
        let Some(taken) = end_of_line(&self.held, input) else {
            self.hold(input, limit);
            return (input.len(), Line::Partial);
        };
        if self.held.is_empty() && taken <= limit {
            return (taken, Line::Whole(&input[..taken - 2]));
        }
        self.hold(&input[..taken], limit);
        self.given = true;
        if std::mem::take(&mut self.too_long) {
            return (taken, Line::TooLong(self.start));
        }
        (taken, Line::Whole(&self.held[..self.held.len() - 2]))
    }

    /// Whether a line has begun whose end has not come.
    pub(crate) fn is_partial(&self) -> bool {
        !self.given && !self.held.is_empty()
    }

    fn hold(&mut self, segment: &[u8], limit: usize) {
        if self.too_long || self.held.len() + segment.len() > limit {
            if !self.too_long {
                let mut octets = self.held.iter().chain(segment);
                self.start = std::array::from_fn(|_| octets.next().copied().unwrap_or_default());
            }
            self.too_long = true;
            self.held.clear();
            self.held.extend(segment.last());
        } else {
            self.held.extend_from_slice(segment);
        }
    }
}

/// The length of the part of `input` that ends the line begun by `held`.
fn end_of_line(held: &[u8], input: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let feed = from + find(b'\n', &input[from..])?;
        let before = match feed {
            0 => held.last(),
            _ => input.get(feed - 1),
        };
        if before == Some(&b'\r') {
            return Some(feed + 1);
        }
        from = feed + 1;
    }
}

/// Where `byte` first is in `input`.
pub(crate) fn find(byte: u8, input: &[u8]) -> Option<usize> {
    // Reading up to a delimiter is the standard library's door to the platform's `memchr`, which is
    // several times as fast as a loop over the octets.
    let mut rest = input;
    let read = std::io::BufRead::skip_until(&mut rest, byte).ok()?;
    (read > 0 && input[read - 1] == byte).then(|| read - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every line that `segments` bring; `None` for one that was too long.
    fn lines(segments: &[&[u8]], limit: usize) -> Vec<Option<Vec<u8>>> {
        let mut reader = LineReader::default();
        let mut lines = Vec::new();
        for mut rest in segments.iter().copied() {
            while !rest.is_empty() {
                let (taken, line) = reader.read(rest, limit);
                match line {
                    Line::Partial => {}
                    Line::Whole(line) => lines.push(Some(line.to_vec())),
                    Line::TooLong(_) => lines.push(None),
                }
                rest = &rest[taken..];
            }
        }
        lines
    }

    #[test]
    fn only_crlf_ends_a_line() {
        assert_eq!(
            lines(&[b"a\nb\rc\r\n\n\r\nNOOP\n"], 512),
            [Some(b"a\nb\rc".to_vec()), Some(b"\n".to_vec())]
        );
    }

    #[test]
    fn the_limit_counts_the_line_end_and_the_next_line_is_in_step() {
        let text = b"12345678\r\n123456789\r\nnext\r\n";
        let expected = [Some(b"12345678".to_vec()), None, Some(b"next".to_vec())];
        assert_eq!(lines(&[text], 10), expected);
        for at in 0..text.len() {
            assert_eq!(lines(&[&text[..at], &text[at..]], 10), expected, "at {at}");
        }
    }

    #[test]
    fn an_endless_line_is_not_kept() {
        let mut reader = LineReader::default();
        for _ in 0..100 {
            assert_eq!(reader.read(&[b'x'; 100], 512), (100, Line::Partial));
            assert!(reader.held.capacity() <= 1024);
        }
        assert_eq!(
            reader.read(b"\r\nNOOP\r\n", 512),
            (2, Line::TooLong(*b"xxxxx"))
        );
        assert_eq!(reader.read(b"NOOP\r\n", 512), (6, Line::Whole(b"NOOP")));
    }

    #[test]
    fn find_agrees_with_a_loop() {
        for input in ["", "x", "xy", "yx", "yy"] {
            let expected = input.bytes().position(|byte| byte == b'x');
            assert_eq!(find(b'x', input.as_bytes()), expected, "{input}");
        }
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same_lines(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'a')], 0..60),
            cut in any::<proptest::sample::Index>(),
        ) {
            let whole = lines(&[&text], 8);
            let cut = cut.index(text.len() + 1);
            prop_assert_eq!(&lines(&[&text[..cut], &text[cut..]], 8), &whole);
            let octets: Vec<&[u8]> = text.chunks(1).collect();
            prop_assert_eq!(&lines(&octets, 8), &whole);
        }
    }
}
