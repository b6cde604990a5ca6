//! Two runs of bytes side by side, with what differs marked.

use std::fmt::Write;

/// Bytes in a row.
const ROW: usize = 16;
/// Rows shown before the one with the first difference, and from that one on.
const BEFORE: usize = 1;
const AFTER: usize = 3;

/// Bytes that are compared at once.
const CHUNK: usize = 1024;

/// Where they begin to differ: the end of the shorter one counts. `None` where they are equal.
pub(super) fn first_difference(expected: &[u8], received: &[u8]) -> Option<usize> {
    // Many at once, for the comparison byte by byte is slow in a test's unoptimized build.
    let chunks = expected
        .chunks_exact(CHUNK)
        .zip(received.chunks_exact(CHUNK));
    let equal = CHUNK * chunks.take_while(|(left, right)| left == right).count();
    let rest = expected[equal..].iter().zip(&received[equal..]);
    let common = equal + rest.take_while(|(left, right)| left == right).count();
    (common < expected.len() || common < received.len()).then_some(common)
}

/// The rows around `first`, in hex and as text: what was expected above what came, and carets under
/// the bytes that differ. At most four rows of each, however long they are.
pub(super) fn diff(expected: &[u8], received: &[u8], first: usize) -> String {
    let mut text = format!(
        "the first difference is at offset {first}: expected {}, received {}",
        one(expected, first),
        one(received, first)
    );
    let longest = expected.len().max(received.len());
    let begin = (first / ROW).saturating_sub(BEFORE);
    let end = (first / ROW + AFTER).min(longest.div_ceil(ROW));
    if begin > 0 {
        let _ = write!(text, "\n  ({} equal bytes before)", begin * ROW);
    }
    for row in begin..end {
        let (left, right) = (row_of(expected, row), row_of(received, row));
        // The end of what has come so far is no difference, but for the first one.
        let differs = |at: usize| match (left.get(at), right.get(at)) {
            (Some(left), Some(right)) => left != right,
            _ => row * ROW + at == first,
        };
        push_row(&mut text, "expected", row, left);
        push_row(&mut text, "received", row, right);
        push_marks(&mut text, &differs);
    }
    for (name, bytes) in [("expected", expected), ("received", received)] {
        if let more @ 1.. = bytes.len().saturating_sub(end * ROW) {
            let _ = write!(text, "\n  ({more} more bytes {name})");
        }
    }
    text
}

fn one(bytes: &[u8], at: usize) -> String {
    match bytes.get(at) {
        Some(byte) => format!("{byte:02x} \"{}\"", byte.escape_ascii()),
        None => "the end".to_owned(),
    }
}

fn row_of(bytes: &[u8], row: usize) -> &[u8] {
    let begin = (row * ROW).min(bytes.len());
    &bytes[begin..bytes.len().min(begin + ROW)]
}

fn push_row(text: &mut String, name: &str, row: usize, bytes: &[u8]) {
    let mut hex = String::new();
    for byte in bytes {
        let _ = write!(hex, "{byte:02x} ");
    }
    let shown: String = bytes.iter().map(|byte| printable(*byte)).collect();
    let _ = write!(
        text,
        "\n  {name}  {:08x}  {hex:width$} |{shown}|",
        row * ROW,
        width = ROW * 3
    );
}

/// Carets under both columns; nothing for rows that are equal.
fn push_marks(text: &mut String, differs: &dyn Fn(usize) -> bool) {
    let mark = |at: usize, width: usize| if differs(at) { "^" } else { " " }.repeat(width);
    let hex: String = (0..ROW).map(|at| mark(at, 2) + " ").collect();
    let shown: String = (0..ROW).map(|at| mark(at, 1)).collect();
    let marks = format!("  {:8}  {:8}  {hex}  {shown}", "", "");
    if !marks.trim_end().is_empty() {
        let _ = write!(text, "\n{}", marks.trim_end());
    }
}

fn printable(byte: u8) -> char {
    match byte {
        b' '..=b'~' => char::from(byte),
        _ => '.',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_may_be_an_end() {
        assert_eq!(first_difference(b"", b""), None);
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference(b"abc", b"ab"), Some(2));
        assert_eq!(first_difference(b"", b"x"), Some(0));
        let long = vec![0; 2 * CHUNK + 1];
        assert_eq!(first_difference(&long, &long), None);
        for end in [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK] {
            assert_eq!(first_difference(&long, &long[..end]), Some(end));
            let mut other = long.clone();
            other[end] = 1;
            assert_eq!(first_difference(&long, &other), Some(end));
        }
    }

    #[test]
    fn a_short_one_is_shown_whole() {
        assert_eq!(
            diff(b"Hello, world!", b"Hello, World\n", 7),
            "\
the first difference is at offset 7: expected 77 \"w\", received 57 \"W\"
  expected  00000000  48 65 6c 6c 6f 2c 20 77 6f 72 6c 64 21           |Hello, world!|
  received  00000000  48 65 6c 6c 6f 2c 20 57 6f 72 6c 64 0a           |Hello, World.|
                                           ^^             ^^                   ^    ^"
        );
    }

    #[test]
    fn an_end_is_marked() {
        assert_eq!(
            diff(b"abc", b"ab", 2),
            "\
the first difference is at offset 2: expected 63 \"c\", received the end
  expected  00000000  61 62 63                                         |abc|
  received  00000000  61 62                                            |ab|
                            ^^                                            ^"
        );
    }

    #[test]
    fn a_long_one_is_windowed() {
        let mut received = vec![b'a'; 1000];
        received[500] = 0xff;
        let a = "61 ".repeat(16);
        let rows = |at: usize| {
            format!(
                "  expected  {at:08x}  {a} |{0}|\n  received  {at:08x}  {a} |{0}|\n",
                "a".repeat(16)
            )
        };
        assert_eq!(
            diff(&[b'a'; 900], &received, 500),
            format!(
                "\
the first difference is at offset 500: expected 61 \"a\", received ff \"\\xff\"
  (480 equal bytes before)
{}  expected  000001f0  {a} |aaaaaaaaaaaaaaaa|
  received  000001f0  61 61 61 61 ff 61 61 61 61 61 61 61 61 61 61 61  |aaaa.aaaaaaaaaaa|
                                  ^^                                        ^
{}{}  (356 more bytes expected)
  (456 more bytes received)",
                rows(0x1e0),
                rows(0x200),
                rows(0x210)
            )
        );
    }

    /// No input makes it panic, and its length is bounded.
    #[test]
    fn it_is_bounded_for_all() {
        for left in [0, 1, 15, 16, 17, 31, 32, 33, 100, 100_000] {
            for right in [0, 1, 15, 16, 17, 31, 32, 33, 100, 100_000] {
                let (expected, received) = (vec![0; left], vec![255; right]);
                for first in [0, left.min(right)] {
                    assert!(diff(&expected, &received, first).len() < 2000);
                }
            }
        }
    }
}
