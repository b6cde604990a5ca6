//! Whether what came is what was expected. Pure: bytes in, verdict out.

use super::diff::{diff, first_difference};
use super::frame::{Frame, Parsed};
use super::instruction::Instruction;
use crate::connection::came_so_far;
use crate::deadline::bytes_of;

/// What the bytes so far are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// A beginning of what is expected; how much of it, in words.
    More(String),
    /// The first so many bytes are it.
    Matched(usize),
    /// Not what is expected; why, in words.
    Wrong(String),
}

/// A line longer than the expected one by this much is not gathered to be shown.
const MOST_BEYOND: usize = 64 * 1024;

/// Compares what came with what an instruction expects. The first `seen` bytes were looked at before,
/// and more was needed. `None` for an instruction that expects no fixed bytes.
pub(super) fn check(expected: &Instruction, came: &[u8], seen: usize) -> Option<Check> {
    match expected {
        Instruction::ExpectBytes(bytes) => Some(check_bytes(bytes, came, seen)),
        Instruction::ExpectLine(line) => Some(check_line(line, came, seen)),
        Instruction::ExpectFrame(frame) => Some(check_frame(frame, came, seen)),
        _ => None,
    }
}

/// Wrong bytes are told at once: the client that sent them may wait for an answer.
fn check_bytes(expected: &[u8], came: &[u8], seen: usize) -> Check {
    let length = expected.len().min(came.len());
    let seen = seen.min(length);
    if let Some(at) = first_difference(&expected[seen..length], &came[seen..length]) {
        return Check::Wrong(diff(expected, came, seen + at));
    }
    match length == expected.len() {
        true => Check::Matched(length),
        false => Check::More(came_so_far(came)),
    }
}

/// The line's end may be `\n` or `\r\n`, and counts only where the expected line has one.
fn check_line(expected: &[u8], came: &[u8], seen: usize) -> Check {
    let end = came[seen..].iter().position(|byte| *byte == b'\n');
    let Some(length) = end.map(|at| seen + at + 1) else {
        return match came.len() > expected.len() + MOST_BEYOND {
            true => Check::Wrong(format!(
                "there is no end of a line in {}",
                bytes_of(came.len())
            )),
            false => Check::More(came_so_far(came)),
        };
    };
    let line = match expected.ends_with(b"\n") {
        true => &came[..length],
        false => without_end(&came[..length]),
    };
    match first_difference(expected, line) {
        None => Check::Matched(length),
        Some(at) => Check::Wrong(diff(expected, line, at)),
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn check_frame(expected: &Frame, came: &[u8], seen: usize) -> Check {
    match expected.parse(came, seen) {
        Parsed::Partial(how_much) => Check::More(how_much),
        Parsed::Wrong(why) => Check::Wrong(why),
        Parsed::Whole(payload, length) => match first_difference(expected.payload(), payload) {
            None => Check::Matched(length),
            Some(at) if payload.len() == expected.payload().len() => Check::Wrong(format!(
                "a frame of {} came, as expected, with another payload; {}",
                bytes_of(payload.len()),
                diff(expected.payload(), payload, at)
            )),
            Some(at) => Check::Wrong(format!(
                "a frame of {} came, where one of {} was expected{}; {}",
                bytes_of(payload.len()),
                bytes_of(expected.payload().len()),
                expected.other_length(came),
                diff(expected.payload(), payload, at)
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(expected: &str, came: &str) -> Check {
        check_bytes(expected.as_bytes(), came.as_bytes(), 0)
    }

    fn line(expected: &str, came: &str) -> Check {
        check_line(expected.as_bytes(), came.as_bytes(), 0)
    }

    #[test]
    fn every_prefix_needs_more() {
        let what = b"EHLO [127.0.0.1]\r\n";
        for end in 0..what.len() {
            for seen in 0..=end {
                for verdict in [
                    check_bytes(what, &what[..end], seen),
                    check_line(what, &what[..end], seen),
                    check_line(b"EHLO [127.0.0.1]", &what[..end], seen),
                ] {
                    assert_eq!(verdict, Check::More(came_so_far(&what[..end])));
                }
            }
        }
        assert_eq!(check_bytes(what, what, 3), Check::Matched(what.len()));
        assert_eq!(check_line(what, what, 3), Check::Matched(what.len()));
    }

    #[test]
    fn what_follows_is_left() {
        assert_eq!(bytes("ab", "abc"), Check::Matched(2));
        assert_eq!(bytes("", "abc"), Check::Matched(0));
        assert_eq!(line("ab", "ab\ncd\n"), Check::Matched(3));
    }

    #[test]
    fn a_line_has_either_end_unless_one_is_expected() {
        assert_eq!(line("ab", "ab\r\n"), Check::Matched(4));
        assert_eq!(line("ab\r\n", "ab\r\n"), Check::Matched(4));
        assert_eq!(line("", "\n"), Check::Matched(1));
        for (expected, came) in [("ab\n", "ab\r\n"), ("ab\r\n", "ab\n"), ("ab", "abc\n")] {
            assert!(
                matches!(line(expected, came), Check::Wrong(_)),
                "{expected:?} {came:?}"
            );
        }
    }

    #[test]
    fn wrong_bytes_are_told_before_all_are_there() {
        let Check::Wrong(text) = check_bytes(b"abcdef", b"abx", 2) else {
            panic!("not wrong");
        };
        assert!(
            text.starts_with("the first difference is at offset 2: "),
            "{text}"
        );
    }

    #[test]
    fn an_endless_line_is_wrong() {
        let endless = vec![b'x'; MOST_BEYOND + 3];
        assert_eq!(
            check_line(b"ab", &endless, 10),
            Check::Wrong("there is no end of a line in 65539 bytes".to_owned())
        );
    }
}
