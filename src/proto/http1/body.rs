//! The body of a request, out of pieces of any size (RFC 9112, sections 6 and 7).

use super::fields::Framing;
use super::head::read_trailers;
use super::headers::Headers;
use super::{Limits, Rejection};

/// The sizes of so many chunks are kept.
pub(crate) const MAX_CHUNK_SIZES: usize = 1024;
/// Bytes of chunk extensions in one body; they serve no purpose, and are one way to keep a server busy.
const MAX_EXTENSIONS: usize = 16 * 1024;
/// Digits of a chunk size, leading zeros counted: what fits 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;
/// A body that was only announced gets no more room than this at once.
const MAX_RESERVED: u64 = 256 * 1024;

/// Takes the bytes of one body and tells where it ends.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    max_body: u64,
    max_trailers: usize,
    /// So much of the body is kept.
    keep: u64,
    body: Vec<u8>,
    size: u64,
    chunk_sizes: Vec<u64>,
    extensions: usize,
    trailer_section: Vec<u8>,
    trailers: Headers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes of a sized body are to come.
    Sized(u64),
    Size {
        size: u64,
        digits: u8,
    },
    /// After spaces behind a size, which only an extension may follow.
    Spaces {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// What a body has come to.
#[derive(Debug)]
pub(crate) struct Body {
    /// What was kept of it.
    pub(crate) bytes: Vec<u8>,
    /// Its true size as far as it came.
    pub(crate) size: u64,
    /// The sizes of its chunks, of the first [`MAX_CHUNK_SIZES`] only.
    pub(crate) chunk_sizes: Vec<u64>,
    pub(crate) trailers: Headers,
}

impl Body {
    /// That of a request without one.
    pub(crate) const fn new() -> Body {
        Body {
            bytes: Vec::new(),
            size: 0,
            chunk_sizes: Vec::new(),
            trailers: Headers::new(),
        }
    }
}

impl BodyDecoder {
    /// Starts a body of which up to `keep` bytes are kept.
    pub(crate) fn new(framing: Framing, limits: &Limits, keep: u64) -> BodyDecoder {
        let (state, announced) = match framing {
            Framing::Length(0) => (State::Done, 0),
            Framing::Length(length) => (State::Sized(length), length),
            Framing::Chunked => (State::Size { size: 0, digits: 0 }, 0),
        };
        BodyDecoder {
            state,
            max_body: limits.body,
            max_trailers: limits.head,
            keep,
            body: Vec::with_capacity(announced.min(keep).min(MAX_RESERVED) as usize),
            size: 0,
            chunk_sizes: Vec::new(),
            extensions: 0,
            trailer_section: Vec::new(),
            trailers: Headers::new(),
        }
    }

    /// Whether the whole body has come.
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes what belongs to the body from the front of `input` and returns how many bytes that was: all of them,
    /// unless the body ends before.
    pub(crate) fn decode(&mut self, input: &[u8]) -> Result<usize, Rejection> {
        let mut at = 0;
        while at < input.len() && self.state != State::Done {
            at += match self.state {
                State::Sized(left) => {
                    let (taken, left) = self.take_data(&input[at..], left);
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Sized(left)
                    };
                    taken
                }
                State::Data { left } => {
                    let (taken, left) = self.take_data(&input[at..], left);
                    self.state = if left == 0 {
                        State::DataCr
                    } else {
                        State::Data { left }
                    };
                    taken
                }
                _ => {
                    self.state = self.step(input[at])?;
                    1
                }
            };
        }
        Ok(at)
    }

    /// Where an unfinished body stands, for a message.
    pub(crate) fn progress(&self) -> String {
        match self.state {
            State::Sized(left) => format!("{} of {} bytes", self.size, self.size + left),
            State::Trailers => format!("{} bytes and no end of the trailers", self.size),
            _ => format!("{} bytes and no last chunk", self.size),
        }
    }

    /// What has come.
    pub(crate) fn into_body(self) -> Body {
        Body {
            bytes: self.body,
            size: self.size,
            chunk_sizes: self.chunk_sizes,
            trailers: self.trailers,
        }
    }

    /// Takes data of which `left` bytes are to come; what is beyond the part to keep is counted only.
    fn take_data(&mut self, input: &[u8], left: u64) -> (usize, u64) {
        let taken = left.min(input.len() as u64);
        let room = self.keep.saturating_sub(self.body.len() as u64).min(taken);
        self.body.extend_from_slice(&input[..room as usize]);
        self.size += taken;
        (taken as usize, left - taken)
    }

    /// Takes one byte of what stands between the data.
    fn step(&mut self, byte: u8) -> Result<State, Rejection> {
        match self.state {
            State::Size { size, digits } => self.size_byte(size, digits, byte),
            State::Spaces { size } => match byte {
                b' ' | b'\t' => self.extension_byte(size),
                b';' => self.extension_byte(size).map(|_| State::Extension { size }),
                _ => Err(bad_size(byte, "after the space behind a chunk size")),
            },
            State::Extension { size } => match byte {
                b'\r' => Ok(State::SizeLf { size }),
                b'\t' | b' '..=b'~' | 0x80.. => {
                    self.extension_byte(size).map(|_| State::Extension { size })
                }
                _ => Err(bad_size(byte, "in a chunk extension")),
            },
            State::SizeLf { size } => match byte {
                b'\n' => self.start_chunk(size),
                _ => Err(bad_size(byte, "after the CR of a chunk size")),
            },
            State::DataCr => match byte {
                b'\r' => Ok(State::DataLf),
                _ => Err(bad_size(byte, "where the chunk should end")),
            },
            State::DataLf => match byte {
                b'\n' => Ok(State::Size { size: 0, digits: 0 }),
                _ => Err(bad_size(byte, "after the CR of a chunk's end")),
            },
            State::Trailers => self.trailer_byte(byte),
            state @ (State::Sized(_) | State::Data { .. } | State::Done) => Ok(state),
        }
    }

    fn size_byte(&mut self, size: u64, digits: u8, byte: u8) -> Result<State, Rejection> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if digits == MAX_SIZE_DIGITS {
                return Err(Rejection::bad("a chunk size has more than 16 digits"));
            }
            return Ok(State::Size {
                size: size << 4 | u64::from(digit),
                digits: digits + 1,
            });
        }
        match byte {
            _ if digits == 0 => Err(bad_size(byte, "where a chunk size should be")),
            b'\r' => Ok(State::SizeLf { size }),
            b';' => self.extension_byte(size).map(|_| State::Extension { size }),
            b' ' | b'\t' => self.extension_byte(size),
            _ => Err(bad_size(byte, "in a chunk size")),
        }
    }

    fn extension_byte(&mut self, size: u64) -> Result<State, Rejection> {
        self.extensions += 1;
        if self.extensions > MAX_EXTENSIONS {
            let reason = format!("the chunk extensions are larger than {MAX_EXTENSIONS} bytes");
            return Err(Rejection::bad(reason));
        }
        Ok(State::Spaces { size })
    }

    fn start_chunk(&mut self, size: u64) -> Result<State, Rejection> {
        if size == 0 {
            return Ok(State::Trailers);
        }
        if self.size.saturating_add(size) > self.max_body {
            let so_far = self.size;
            let reason = format!(
                "a chunk of {size} bytes after {so_far} is too much, the limit is {} (builder().max_body)",
                self.max_body
            );
            return Err(Rejection::new(413, reason));
        }
        if self.chunk_sizes.len() < MAX_CHUNK_SIZES {
            self.chunk_sizes.push(size);
        }
        Ok(State::Data { left: size })
    }

    /// Takes one byte of the trailer section, which ends at an empty line. Between chunks a line ends with CRLF only.
    fn trailer_byte(&mut self, byte: u8) -> Result<State, Rejection> {
        let section = &mut self.trailer_section;
        if section.len() >= self.max_trailers {
            let reason = format!(
                "the trailer section is larger than {} bytes",
                self.max_trailers
            );
            return Err(Rejection::new(431, reason));
        }
        section.push(byte);
        if byte != b'\n' {
            return Ok(State::Trailers);
        }
        if !section.ends_with(b"\r\n") {
            return Err(Rejection::bad("a trailer line ends without CR"));
        }
        if section.len() > 2 && !section.ends_with(b"\r\n\r\n") {
            return Ok(State::Trailers);
        }
        self.trailers = read_trailers(section)?;
        Ok(State::Done)
    }
}

fn bad_size(byte: u8, place: &str) -> Rejection {
    let shown = [byte];
    Rejection::bad(format!("the byte '{}' {place}", shown.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        line: 100,
        head: 100,
        body: 1000,
        lenient_targets: false,
    };

    /// The body, its trailers, and the bytes that were not taken; or the status.
    type Outcome = Result<(Vec<u8>, Headers, Vec<u8>, bool), u16>;

    fn decode(framing: Framing, pieces: &[&[u8]]) -> Outcome {
        let mut decoder = BodyDecoder::new(framing, &LIMITS, u64::MAX);
        let mut rest = Vec::new();
        for piece in pieces {
            let taken = decoder
                .decode(piece)
                .map_err(|rejection| rejection.status)?;
            assert!(taken == piece.len() || decoder.is_done());
            rest.extend_from_slice(&piece[taken..]);
        }
        let done = decoder.is_done();
        let body = decoder.into_body();
        assert_eq!(body.size, body.bytes.len() as u64);
        Ok((body.bytes, body.trailers, rest, done))
    }

    fn chunked(bytes: &[u8]) -> Outcome {
        decode(Framing::Chunked, &[bytes])
    }

    const WHOLE: &[u8] =
        b"5;a=\"b\"\r\nhello\r\n0A \t; x\r\n, world..!\r\n000\r\nX-Sum: 1\r\nx-sum:2\r\n\r\n";

    #[test]
    fn chunks_with_extensions_and_trailers() {
        let (body, trailers, rest, done) = chunked(&[WHOLE, b"GET /"].concat()).unwrap();
        assert_eq!(body, b"hello, world..!");
        assert_eq!(
            trailers.iter().collect::<Vec<_>>(),
            [("X-Sum", "1"), ("x-sum", "2")]
        );
        assert_eq!(rest, b"GET /");
        assert!(done);
        let (body, trailers, _, done) = chunked(b"0\r\n\r\n").unwrap();
        assert!(body.is_empty() && trailers.is_empty() && done);
    }

    #[test]
    fn every_prefix_is_unfinished_and_every_split_gives_the_same() {
        let whole = chunked(WHOLE).unwrap();
        for cut in 0..WHOLE.len() {
            let (front, back) = WHOLE.split_at(cut);
            assert!(!chunked(front).unwrap().3, "prefix of {cut}");
            assert_eq!(
                decode(Framing::Chunked, &[front, back]).unwrap(),
                whole,
                "split at {cut}"
            );
        }
    }

    #[test]
    fn a_sized_body_takes_no_more_than_its_length() {
        let (body, _, rest, done) = decode(Framing::Length(5), &[b"he", b"llo!", b"?"]).unwrap();
        assert_eq!(
            (&body[..], &rest[..], done),
            (&b"hello"[..], &b"!?"[..], true)
        );
        assert!(decode(Framing::Length(0), &[]).unwrap().3);
        assert!(!decode(Framing::Length(5), &[b"hell"]).unwrap().3);
    }

    #[test]
    fn bad_chunks_are_refused() {
        for bad in [
            "\r\n",
            ";a\r\n",
            "g\r\n",
            "+5\r\n",
            "-5\r\n",
            "0x5\r\n",
            " 5\r\n",
            "5 \r\n",
            "5 5\r\n",
            "5\n",
            "5\rx",
            "5;a\n",
            "5;\0\r\n",
            "5;a\rb\r\n",
            "00000000000000005\r\n",
            "5_0\r\n",
            "5\r\nhello\n",
            "5\r\nhello!",
            "5\r\nhello\rX",
            "5\r\nhello0\r\n\r\n",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA : b\r\n\r\n",
            "0\r\nA\r\n\r\n",
            "0\r\n A: b\r\n\r\n",
            "0\r\nA: \0\r\n\r\n",
            "0\r\n\rA: b\r\n\r\n",
        ] {
            assert_eq!(chunked(bad.as_bytes()).unwrap_err(), 400, "{bad:?}");
        }
    }

    #[test]
    fn limits() {
        assert_eq!(chunked(b"3e9\r\n").unwrap_err(), 413);
        assert_eq!(chunked(b"ffffffffffffffff\r\n").unwrap_err(), 413);
        let many = [&b"3e8\r\n"[..], &[b'x'; 1000], b"\r\n1\r\n"].concat();
        assert_eq!(chunked(&many).unwrap_err(), 413);
        assert_eq!(
            chunked(&[&b"0\r\nA: "[..], &[b'x'; 98]].concat()).unwrap_err(),
            431
        );
        let extension = [&b"5;"[..], &[b'x'; MAX_EXTENSIONS]].concat();
        assert_eq!(chunked(&extension).unwrap_err(), 400);
        let (allowed, _) = extension.split_at(extension.len() - 1);
        assert!(chunked(&[allowed, b"\r\n"].concat()).is_ok());
    }

    #[test]
    fn the_true_size_of_a_body_is_known_when_only_a_part_is_kept() {
        let mut decoder = BodyDecoder::new(Framing::Chunked, &LIMITS, 3);
        decoder
            .decode(b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n")
            .unwrap();
        let body = decoder.into_body();
        assert_eq!((&body.bytes[..], body.size), (&b"abc"[..], 5));
        assert_eq!(body.chunk_sizes, [2, 2, 1]);
    }

    #[test]
    fn an_unfinished_body_says_how_far_it_came() {
        let progress = |framing, bytes: &[u8]| {
            let mut decoder = BodyDecoder::new(framing, &LIMITS, 0);
            decoder.decode(bytes).unwrap();
            decoder.progress()
        };
        assert_eq!(progress(Framing::Length(9), b"abc"), "3 of 9 bytes");
        assert_eq!(
            progress(Framing::Chunked, b"2\r\nab\r\n"),
            "2 bytes and no last chunk"
        );
        assert_eq!(
            progress(Framing::Chunked, b"0\r\nA"),
            "0 bytes and no end of the trailers"
        );
    }

    proptest! {
        #[test]
        fn any_segmentation_gives_the_same(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[0-9a-c;: \\r\\nxX]{0,60}".prop_map(String::into_bytes),
                "([1-3]\r\n[a-z\r\n]{1,3}\r\n){0,4}(0\r\n(A: b\r\n){0,2}\r\n)?[a-z]{0,3}".prop_map(String::into_bytes),
            ],
            size in 1usize..9,
        ) {
            let pieces: Vec<_> = bytes.chunks(size).collect();
            prop_assert_eq!(decode(Framing::Chunked, &pieces), chunked(&bytes));
        }

        #[test]
        fn any_chunking_of_a_body_gives_the_body(
            body in proptest::collection::vec(any::<u8>(), 0..300), size in 1usize..99, cut in 1usize..50,
        ) {
            let mut bytes = Vec::new();
            for chunk in body.chunks(size) {
                bytes.extend(format!("{:X}\r\n", chunk.len()).into_bytes());
                bytes.extend([chunk, b"\r\n"].concat());
            }
            bytes.extend(b"0\r\n\r\n");
            let pieces: Vec<_> = bytes.chunks(cut).collect();
            let (got, _, rest, done) = decode(Framing::Chunked, &pieces).unwrap();
            prop_assert!(done && rest.is_empty());
            prop_assert_eq!(got, body);
        }
    }
}
