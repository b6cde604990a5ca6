//! The text after DATA: dots unstuffed, its end found (RFC 5321 section 4.5.2).
//!
//! Only CRLF `.` CRLF ends it, and only a CRLF begins a line: with anything else two servers may
//! disagree where a message ends, and one can hide a second message in the first ("SMTP smuggling").

use super::line::find;

/// Decodes one message's text.
#[derive(Debug)]
pub(crate) struct DataDecoder {
    state: State,
    body: Vec<u8>,
    /// Octets decoded, those of a message too large to keep counted.
    total: usize,
    /// `total` where the current line began.
    line_start: usize,
    max_size: usize,
    max_line: usize,
    long_line: bool,
}

/// What became of the text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Text {
    /// The message, without the line that ends it.
    Whole(Vec<u8>),
    /// More octets than allowed, so they were dropped.
    TooLarge,
    /// A line has more octets than allowed.
    LongLine,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    LineStart,
    /// Within a line.
    Inside,
    /// After a CR within a line.
    Cr,
    /// After a dot at the start of a line.
    Dot,
    /// After a dot at the start of a line and a CR.
    DotCr,
    Ended,
}

impl DataDecoder {
    /// Expects a message of at most `max_size` octets with lines of at most `max_line` (their CRLF
    /// counted, a stuffed dot not); `expected` is how many octets to make room for at once.
    pub(crate) fn new(max_size: usize, max_line: usize, expected: usize) -> DataDecoder {
        DataDecoder {
            state: State::LineStart,
            body: Vec::with_capacity(expected.min(max_size)),
            total: 0,
            line_start: 0,
            max_size,
            max_line,
            long_line: false,
        }
    }

    /// Decodes `input` up to the end of the message; returns how many octets it took.
    pub(crate) fn decode(&mut self, input: &[u8]) -> usize {
        let mut at = 0;
        // Octets from here to `at` are text, not yet copied: most often many lines at once.
        let mut from = 0;
        while at < input.len() {
            match (self.state, input[at]) {
                (State::LineStart, b'.') => {
                    self.copy(&input[from..at]);
                    at += 1;
                    from = at;
                    self.state = State::Dot;
                }
                (State::Dot, b'\r') => {
                    at += 1;
                    from = at;
                    self.state = State::DotCr;
                }
                (State::DotCr, b'\n') => {
                    self.state = State::Ended;
                    return at + 1;
                }
                (State::DotCr, _) => {
                    self.copy(b"\r");
                    self.state = State::Cr;
                }
                (State::Cr, b'\n') => {
                    at += 1;
                    self.end_line(self.total + at - from);
                    self.state = State::LineStart;
                }
                (State::Ended, _) => return at,
                _ => {
                    let cr = find(b'\r', &input[at..]);
                    at = cr.map_or(input.len(), |cr| at + cr + 1);
                    self.state = cr.map_or(State::Inside, |_| State::Cr);
                }
            }
        }
        self.copy(&input[from..]);
        at
    }

    /// Whether the end has been found.
    pub(crate) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    /// How many octets have been decoded.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The last octets that were decoded, at most so many.
    pub(crate) fn last(&self, most: usize) -> &[u8] {
        &self.body[self.body.len().saturating_sub(most)..]
    }

    /// The message, after its end.
    pub(crate) fn finish(self) -> Text {
        if self.total > self.max_size {
            Text::TooLarge
        } else if self.long_line {
            Text::LongLine
        } else {
            Text::Whole(self.body)
        }
    }

    fn end_line(&mut self, total: usize) {
        self.long_line |= total - self.line_start > self.max_line;
        self.line_start = total;
    }

    fn copy(&mut self, text: &[u8]) {
        self.total = self.total.saturating_add(text.len());
        if self.total > self.max_size {
            self.body = Vec::new();
        } else {
            self.body.extend_from_slice(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes the segments; the octets left over after the end, or `None` when it was not found.
    fn decode(segments: &[&[u8]], max_size: usize, max_line: usize) -> Option<(Text, Vec<u8>)> {
        let mut decoder = DataDecoder::new(max_size, max_line, 0);
        let mut left = Vec::new();
        for segment in segments {
            let taken = decoder.decode(segment);
            left.extend_from_slice(&segment[taken..]);
        }
        decoder.ended().then(|| (decoder.finish(), left))
    }

    fn whole(text: &[u8]) -> Option<(Text, Vec<u8>)> {
        decode(&[text], 1000, 1000)
    }

    fn body(text: &str) -> Option<(Text, Vec<u8>)> {
        Some((Text::Whole(text.as_bytes().to_vec()), Vec::new()))
    }

    #[test]
    fn dots_are_unstuffed() {
        assert_eq!(
            whole(b"..x\r\n.x\r\n...\r\na.b\r\n.\r\n"),
            body(".x\r\nx\r\n..\r\na.b\r\n")
        );
        assert_eq!(whole(b".\r\n"), body(""));
        assert_eq!(whole(b"\r\n.\r\n"), body("\r\n"));
    }

    #[test]
    fn nothing_but_crlf_dot_crlf_ends_the_text() {
        for end in [
            "\n.\r\n",
            "\n.\n",
            "\r.\r",
            "\r\n.\n",
            "\r\n.\r",
            "\r.\r\n",
            "\n\n.\n\n",
            "\r\n.\r\r\n",
        ] {
            let text = format!("x{end}");
            assert_eq!(whole(text.as_bytes()), None, "{end:?}");
            let mut decoder = DataDecoder::new(1000, 1000, 0);
            decoder.decode(text.as_bytes());
            decoder.decode(b"y\r\n.\r\n");
            assert!(decoder.ended(), "{end:?}");
            let expected = text.replace("\r\n.", "\r\n") + "y\r\n";
            assert_eq!(
                decoder.finish(),
                Text::Whole(expected.into_bytes()),
                "{end:?}"
            );
        }
    }

    #[test]
    fn the_end_is_found_split_anywhere_and_nothing_after_it_is_taken() {
        let text = b"one\r\n..two\r\n.\rx\r\n\r\n.\r\nQUIT\r\n";
        let expected = Some((
            Text::Whole(b"one\r\n.two\r\n\rx\r\n\r\n".to_vec()),
            b"QUIT\r\n".to_vec(),
        ));
        for at in 0..text.len() {
            assert_eq!(
                decode(&[&text[..at], &text[at..]], 1000, 1000),
                expected,
                "at {at}"
            );
        }
        for end in 0..text.len() - 6 {
            assert_eq!(whole(&text[..end]), None, "at {end}");
        }
    }

    #[test]
    fn size_and_line_limits_do_not_count_stuffed_dots() {
        let text = b"..34\r\n..34\r\n.\r\n";
        assert_eq!(decode(&[text], 10, 5), body(".34\r\n.34\r\n"));
        assert_eq!(decode(&[text], 9, 5), Some((Text::TooLarge, Vec::new())));
        assert_eq!(decode(&[text], 10, 4), Some((Text::LongLine, Vec::new())));
        for at in 0..text.len() {
            let split = [&text[..at], &text[at..]];
            assert_eq!(decode(&split, 10, 5), body(".34\r\n.34\r\n"));
            assert_eq!(decode(&split, 10, 4), Some((Text::LongLine, Vec::new())));
        }
    }

    #[test]
    fn too_much_text_is_not_kept() {
        let mut decoder = DataDecoder::new(100, 1000, 1 << 40);
        for _ in 0..100 {
            decoder.decode(&[b'x'; 64]);
            assert!(decoder.body.capacity() <= 256);
        }
    }

    proptest! {
        /// What a client stuffs comes back, in any two pieces and octet by octet.
        #[test]
        fn stuffed_text_comes_back(
            text in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'.'), Just(b'a')], 0..80),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut text = text;
            text.extend_from_slice(b"\r\n");
            let stuffed = stuff(&text);
            let cut = cut.index(stuffed.len() + 1);
            let expected = Some((Text::Whole(text), Vec::new()));
            let octets: Vec<&[u8]> = stuffed.chunks(1).collect();
            prop_assert_eq!(&decode(&[&stuffed], 1000, 1000), &expected);
            prop_assert_eq!(&decode(&[&stuffed[..cut], &stuffed[cut..]], 1000, 1000), &expected);
            prop_assert_eq!(&decode(&octets, 1000, 1000), &expected);
        }
    }

    fn stuff(text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for (at, &byte) in text.iter().enumerate() {
            if byte == b'.' && (at == 0 || text[..at].ends_with(b"\r\n")) {
                out.push(b'.');
            }
            out.push(byte);
        }
        out.extend_from_slice(b".\r\n");
        out
    }
}
