//! Frames: how a payload's bounds are written on the wire.

use std::borrow::Cow;

use super::text::quoted;
use crate::connection::came_so_far;
use crate::deadline::bytes_of;

/// How the bounds of a frame are told: by a length before the payload, or by a delimiter after it.
///
/// The length counts the payload alone. [`U32Be`](Framing::U32Be) is what a plain payload has where a
/// [`Frame`] is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Framing {
    /// A length of 1 byte.
    U8,
    /// A length of 2 bytes, big-endian.
    U16Be,
    /// A length of 2 bytes, little-endian.
    U16Le,
    /// A length of 4 bytes, big-endian.
    #[default]
    U32Be,
    /// A length of 4 bytes, little-endian.
    U32Le,
    /// A length of 8 bytes, big-endian.
    U64Be,
    /// A length of 8 bytes, little-endian.
    U64Le,
    /// These bytes after the payload, which must not hold them. They must not be empty. What breaks
    /// this fails when it is queued, as does a payload that is too long for its length.
    Delimiter(Vec<u8>),
}

/// A payload and how it is framed: what `expect_frame` and `send_frame` take.
///
/// ```
/// use loopback::{Frame, Framing, Script};
///
/// let script = Script::new()
///     .expect_connect()
///     .expect_frame("4 bytes of length, big-endian")
///     .expect_frame((Framing::U16, "2 bytes, big-endian"))
///     .expect_frame(Framing::U16Le.frame("2 bytes, little-endian"))
///     .send_frame(Framing::delimiter("\0").frame("until a zero"));
/// # drop(script);
/// assert_eq!(Frame::from("hi"), Framing::U32Be.frame("hi"));
/// assert_eq!(Frame::from((Framing::U16, "hi")), Framing::U16Be.frame("hi"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    framing: Framing,
    payload: Vec<u8>,
}

impl Framing {
    /// Frames that end with these bytes.
    pub fn delimiter(bytes: impl Into<Vec<u8>>) -> Framing {
        Framing::Delimiter(bytes.into())
    }

    /// A length of 2 bytes in network byte order.
    pub const U16: Framing = Framing::U16Be;
    /// A length of 4 bytes in network byte order.
    pub const U32: Framing = Framing::U32Be;
    /// A length of 8 bytes in network byte order.
    pub const U64: Framing = Framing::U64Be;

    /// A frame of this kind.
    pub fn frame(self, payload: impl Into<Vec<u8>>) -> Frame {
        Frame {
            framing: self,
            payload: payload.into(),
        }
    }

    fn bounds(&self) -> Bounds<'_> {
        let (width, is_big) = match self {
            Framing::U8 => (1, true),
            Framing::U16Be => (2, true),
            Framing::U16Le => (2, false),
            Framing::U32Be => (4, true),
            Framing::U32Le => (4, false),
            Framing::U64Be => (8, true),
            Framing::U64Le => (8, false),
            Framing::Delimiter(bytes) => return Bounds::Delimited(bytes),
        };
        Bounds::Counted { width, is_big }
    }

    /// Those with a length, the likely ones first.
    const COUNTED: [Framing; 7] = [
        Framing::U32Be,
        Framing::U16Be,
        Framing::U8,
        Framing::U32Le,
        Framing::U16Le,
        Framing::U64Be,
        Framing::U64Le,
    ];

    /// The length at the beginning of what came, if all its bytes are there.
    fn read_length(&self, came: &[u8]) -> Option<u64> {
        let Bounds::Counted { width, is_big } = self.bounds() else {
            return None;
        };
        let head = came.get(..width)?.iter();
        let fold = |length: u64, byte: &u8| length << 8 | u64::from(*byte);
        Some(match is_big {
            true => head.fold(0, fold),
            false => head.rev().fold(0, fold),
        })
    }

    /// How its bounds are written, for messages: "2-byte little-endian length".
    pub(super) fn told(&self) -> String {
        match self.bounds() {
            Bounds::Counted { width: 1, .. } => "1-byte length".to_owned(),
            Bounds::Counted { width, is_big } => {
                let order = if is_big { "big" } else { "little" };
                format!("{width}-byte {order}-endian length")
            }
            Bounds::Delimited(delimiter) => format!("delimiter {}", quoted(delimiter)),
        }
    }
}

/// The two ways of framing.
enum Bounds<'a> {
    /// A length of `width` bytes before the payload.
    Counted { width: usize, is_big: bool },
    /// These bytes after it.
    Delimited(&'a [u8]),
}

/// How much of a frame is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed<'a> {
    /// Not all of it; how much is, in words.
    Partial(String),
    /// All of it: the payload, and how many bytes the frame takes.
    Whole(&'a [u8], usize),
    /// It cannot be the one that is expected; what is known of it, in words.
    Wrong(String),
}

/// A frame longer than the expected one by this much is not gathered to be shown.
const MOST_BEYOND: usize = 64 * 1024;

impl Frame {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// How it is framed.
    pub fn framing(&self) -> &Framing {
        &self.framing
    }

    /// As one would write it, with the beginning of its payload; for messages.
    pub(super) fn written(&self) -> String {
        let payload = quoted(&self.payload);
        match &self.framing {
            Framing::U32Be => payload,
            Framing::Delimiter(bytes) => {
                format!("Framing::delimiter({}).frame({payload})", quoted(bytes))
            }
            framing => format!("Framing::{framing:?}.frame({payload})"),
        }
    }

    /// Whether there can be such a frame, or why not.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.framing.bounds() {
            Bounds::Delimited([]) => Err("the delimiter of the frame is empty".to_owned()),
            // It could also begin in the payload and end in the delimiter.
            Bounds::Delimited(delimiter)
                if find(&self.encode(), delimiter, 0) != Some(self.payload.len()) =>
            {
                Err(format!(
                    "the payload has the frame's delimiter {} in it",
                    quoted(delimiter)
                ))
            }
            Bounds::Counted { width, .. } if self.length()[..8 - width] != [0; 8][..8 - width] => {
                Err(format!(
                    "a payload of {} does not fit a length of {}",
                    bytes_of(self.payload.len()),
                    bytes_of(width)
                ))
            }
            _ => Ok(()),
        }
    }

    /// The bytes on the wire of a frame that was checked.
    pub(super) fn encode(&self) -> Vec<u8> {
        match self.framing.bounds() {
            Bounds::Delimited(delimiter) => [&self.payload, delimiter].concat(),
            Bounds::Counted { width, is_big } => {
                let mut head = self.length()[8 - width..].to_vec();
                if !is_big {
                    head.reverse();
                }
                [head.as_slice(), self.payload.as_slice()].concat()
            }
        }
    }

    /// The payload's length, big-endian.
    fn length(&self) -> [u8; 8] {
        (self.payload.len() as u64).to_be_bytes()
    }

    /// Looks for one frame of this kind at the beginning of `came`; the first `seen` bytes were
    /// looked at before and had no whole frame.
    pub(super) fn parse<'a>(&self, came: &'a [u8], seen: usize) -> Parsed<'a> {
        match self.framing.bounds() {
            Bounds::Delimited(delimiter) => self.parse_delimited(delimiter, came, seen),
            Bounds::Counted { width, .. } => self.parse_counted(width, came),
        }
    }

    fn parse_delimited<'a>(&self, delimiter: &[u8], came: &'a [u8], seen: usize) -> Parsed<'a> {
        let from = seen.saturating_sub(delimiter.len());
        match find(came, delimiter, from) {
            Some(at) => Parsed::Whole(&came[..at], at + delimiter.len()),
            None if came.len() > self.payload.len() + MOST_BEYOND => Parsed::Wrong(format!(
                "there is no delimiter {} in the first {}",
                quoted(delimiter),
                bytes_of(came.len())
            )),
            None if came.is_empty() => Parsed::Partial("nothing of it came".to_owned()),
            None => Parsed::Partial(format!(
                "{} of it came, without its delimiter",
                bytes_of(came.len())
            )),
        }
    }

    fn parse_counted<'a>(&self, width: usize, came: &'a [u8]) -> Parsed<'a> {
        let Some(length) = self.framing.read_length(came) else {
            return Parsed::Partial(match came.len() {
                0 => "nothing of it came".to_owned(),
                count => format!("{count} of the {width} bytes of its length came"),
            });
        };
        let rest = &came[width..];
        let whole = usize::try_from(length).ok();
        match whole {
            Some(length) if length <= rest.len() => Parsed::Whole(&rest[..length], width + length),
            Some(length) if length == self.payload.len() => Parsed::Partial(format!(
                "its length and {} of its {} came",
                rest.len(),
                bytes_of(length)
            )),
            // At once: the client may wait for an answer to less than was expected.
            _ => Parsed::Wrong(format!(
                "its {} is {length}, where {} was expected{}; of its payload, {}",
                self.framing.told(),
                self.payload.len(),
                self.other_length(came),
                came_so_far(rest)
            )),
        }
    }

    /// As which other length the bytes that came would be the expected one, if there is one; for messages.
    pub(super) fn other_length(&self, came: &[u8]) -> String {
        let expected = self.payload.len() as u64;
        let others = Framing::COUNTED
            .iter()
            .filter(|other| **other != self.framing && other.read_length(came) == Some(expected));
        let has_payload = |other: &&Framing| match other.bounds() {
            Bounds::Counted { width, .. } => {
                came[width..].iter().zip(&self.payload).all(|(a, b)| a == b)
            }
            Bounds::Delimited(_) => false,
        };
        // A little-endian length begins as a shorter one does: the payload behind it tells them apart.
        let likely = others.clone().find(has_payload);
        match likely.or_else(|| others.clone().next()) {
            Some(other) => format!(" (as a {} it would be {expected})", other.told()),
            None => String::new(),
        }
    }
}

/// The first place of `what` at or after `from`. An empty one is nowhere.
fn find(bytes: &[u8], what: &[u8], from: usize) -> Option<usize> {
    if what.is_empty() {
        return None;
    }
    let mut windows = bytes.get(from..)?.windows(what.len());
    windows
        .position(|window| window == what)
        .map(|at| from + at)
}

/// A payload and how it is framed.
impl<P: Into<Vec<u8>>> From<(Framing, P)> for Frame {
    fn from((framing, payload): (Framing, P)) -> Frame {
        framing.frame(payload)
    }
}

/// Each of these is a payload with a length of 4 bytes, big-endian. What is bytes in general cannot be it
/// as well as a pair, for it could be a pair.
macro_rules! payloads {
    ($([$($generics:tt)*] $payload:ty),+ $(,)?) => {$(
        impl<$($generics)*> From<$payload> for Frame {
            fn from(payload: $payload) -> Frame {
                Framing::default().frame(payload)
            }
        }
    )+};
}
payloads! {
    [] &str,
    [] String,
    [] &[u8],
    [] &mut [u8],
    [] Vec<u8>,
    [] Box<[u8]>,
    ['a] Cow<'a, [u8]>,
    [const N: usize] [u8; N],
    [const N: usize] &[u8; N],
}
impl From<&String> for Frame {
    fn from(payload: &String) -> Frame {
        payload.as_str().into()
    }
}
impl From<&Vec<u8>> for Frame {
    fn from(payload: &Vec<u8>) -> Frame {
        payload.as_slice().into()
    }
}

/// A frame that has come whole is the same frame, whatever was looked at before; and as it is written again it is
/// the bytes that came.
#[cfg(fuzzing)]
pub(crate) fn fuzz(input: &[u8], seen: usize) {
    use Framing::*;
    let mut all = vec![U8, U16Be, U16Le, U32Be, U32Le, U64Be, U64Le];
    all.extend([Framing::delimiter("\n"), Framing::delimiter("abab")]);
    for framing in all {
        let expected = framing.clone().frame("hello");
        let whole = expected.parse(input, 0);
        if matches!(expected.parse(&input[..seen], 0), Parsed::Partial(_)) {
            assert_eq!(expected.parse(input, seen), whole, "{framing:?}");
        }
        if let Parsed::Whole(payload, used) = whole {
            let frame = framing.clone().frame(payload);
            assert_eq!(frame.check(), Ok(()), "{framing:?}");
            assert_eq!(frame.encode(), input[..used], "{framing:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Framing> {
        use Framing::*;
        let mut all = vec![U8, U16Be, U16Le, U32Be, U32Le, U64Be, U64Le];
        all.extend([Framing::delimiter("\n"), Framing::delimiter("abab")]);
        all
    }

    #[test]
    fn lengths_are_written_in_their_width_and_order() {
        let wire = |framing: Framing| framing.frame("hi!").encode();
        assert_eq!(wire(Framing::U8), b"\x03hi!");
        assert_eq!(wire(Framing::U16Be), b"\0\x03hi!");
        assert_eq!(wire(Framing::U16Le), b"\x03\0hi!");
        assert_eq!(wire(Framing::U32Be), b"\0\0\0\x03hi!");
        assert_eq!(wire(Framing::U32Le), b"\x03\0\0\0hi!");
        assert_eq!(wire(Framing::U64Be), b"\0\0\0\0\0\0\0\x03hi!");
        assert_eq!(wire(Framing::U64Le), b"\x03\0\0\0\0\0\0\0hi!");
        assert_eq!(wire(Framing::delimiter("--")), b"hi!--");
    }

    #[test]
    fn every_prefix_of_every_frame_is_partial() {
        for framing in all() {
            for payload in ["", "x", "hello, world"] {
                let frame = framing.clone().frame(payload);
                let mut wire = frame.encode();
                let length = wire.len();
                for end in 0..length {
                    for seen in 0..=end {
                        let parsed = frame.parse(&wire[..end], seen);
                        assert!(
                            matches!(parsed, Parsed::Partial(_)),
                            "{framing:?} {parsed:?}"
                        );
                    }
                }
                wire.extend_from_slice(b"next");
                for seen in 0..length {
                    let parsed = frame.parse(&wire, seen);
                    assert_eq!(
                        parsed,
                        Parsed::Whole(payload.as_bytes(), length),
                        "{framing:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_is_partial_is_told() {
        let frame = Frame::from("hello");
        let told = |came: &[u8]| match frame.parse(came, 0) {
            Parsed::Partial(text) | Parsed::Wrong(text) => text,
            Parsed::Whole(..) => "whole".to_owned(),
        };
        assert_eq!(told(b""), "nothing of it came");
        assert_eq!(told(b"\0\0"), "2 of the 4 bytes of its length came");
        assert_eq!(told(b"\0\0\0\x05"), "its length and 0 of its 5 bytes came");
        assert_eq!(
            told(b"\0\0\0\x05hel"),
            "its length and 3 of its 5 bytes came"
        );
        assert_eq!(told(b"\0\0\0\x07hello, w"), "whole");
        assert_eq!(
            told(b"\0\0\0\x07hel"),
            "its 4-byte big-endian length is 7, where 5 was expected; of its payload, 3 bytes came so far: \"hel\""
        );
        assert_eq!(
            told(b"\xff\xff\xff\xff"),
            "its 4-byte big-endian length is 4294967295, where 5 was expected; of its payload, nothing came \
             so far"
        );
        // What a client sends that counts in another width or order.
        assert_eq!(
            told(b"\0\x05GET x"),
            "its 4-byte big-endian length is 345925, where 5 was expected (as a 2-byte big-endian length \
             it would be 5); of its payload, 3 bytes came so far: \"T x\""
        );
        for (framing, guess) in [
            (Framing::U8, "1-byte length"),
            (Framing::U16Le, "2-byte little-endian length"),
            (Framing::U32Le, "4-byte little-endian length"),
            (Framing::U64Le, "8-byte little-endian length"),
        ] {
            let text = told(&framing.frame("hello").encode());
            let guess = format!(", where 5 was expected (as a {guess} it would be 5); ");
            assert!(text.contains(&guess), "{text}");
        }
        let endless = vec![b'x'; MOST_BEYOND + 10];
        let frame = Framing::delimiter("\n").frame("hi");
        assert_eq!(
            frame.parse(&endless, 0),
            Parsed::Wrong("there is no delimiter \"\\n\" in the first 65546 bytes".to_owned())
        );
    }

    #[test]
    fn a_frame_that_cannot_be_is_told() {
        let told = |frame: Frame| frame.check().unwrap_err();
        assert_eq!(
            told(Framing::U8.frame(vec![0; 256])),
            "a payload of 256 bytes does not fit a length of 1 byte"
        );
        assert_eq!(
            told(Framing::delimiter("").frame("x")),
            "the delimiter of the frame is empty"
        );
        assert_eq!(
            told(Framing::delimiter("\r\n").frame("a\r\nb")),
            "the payload has the frame's delimiter \"\\r\\n\" in it"
        );
        // Read back, it would end after "xa".
        assert_eq!(
            told(Framing::delimiter("aba").frame("xab")),
            "the payload has the frame's delimiter \"aba\" in it"
        );
        assert!(Framing::U8.frame(vec![0; 255]).check().is_ok());
        assert!(Framing::delimiter("aba").frame("xb").check().is_ok());
    }
}
