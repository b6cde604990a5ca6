//! What the decoders of binary handshakes have in common: they look at what has come so far, and never
//! want a byte beyond their own message, for what follows belongs to the tunnel's user.

use std::fmt;

/// What a decoder made of the bytes so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Decoded<T> {
    /// So far so good; at least `missing` more bytes belong to this message.
    Partial { missing: usize },
    /// The whole message, `used` bytes long.
    Complete { value: T, used: usize },
}

/// One wrong byte of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The message: "the reply".
    pub(crate) message: &'static str,
    /// The field's name in the source.
    pub(crate) field: &'static str,
    /// The byte's offset in the message.
    pub(crate) offset: usize,
    pub(crate) got: u8,
    /// What would have been right: "05".
    pub(crate) expected: &'static str,
    pub(crate) source: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "byte {} of {} ({}) is {:02x}, expected {} ({})",
            self.offset, self.message, self.field, self.got, self.expected, self.source
        )
    }
}

/// Walks over one message's bytes as far as they have come.
pub(crate) struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    message: &'static str,
    source: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(input: &'a [u8], message: &'static str, source: &'static str) -> Reader<'a> {
        Reader {
            input,
            at: 0,
            message,
            source,
        }
    }

    /// How many bytes have been stepped over.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Steps over one byte, if it has come.
    pub(crate) fn byte(&mut self) -> Option<u8> {
        let byte = self.input.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    /// Steps over one byte that has only one right value; fine when it has not come yet.
    pub(crate) fn expect(
        &mut self,
        field: &'static str,
        value: u8,
        expected: &'static str,
    ) -> Result<(), Violation> {
        match self.byte() {
            Some(got) if got != value => Err(self.wrong(field, got, expected)),
            _ => Ok(()),
        }
    }

    /// The error about the byte just read.
    pub(crate) fn wrong(&self, field: &'static str, got: u8, expected: &'static str) -> Violation {
        Violation {
            message: self.message,
            field,
            offset: self.at - 1,
            got,
            expected,
            source: self.source,
        }
    }

    /// The message of `whole` bytes, or as many as are known to belong to it, with its value if that
    /// has come.
    pub(crate) fn finish<T>(&self, whole: usize, value: Option<T>) -> Decoded<T> {
        match value {
            Some(value) => Decoded::Complete { value, used: whole },
            None => Decoded::Partial {
                missing: whole - self.input.len().min(whole - 1),
            },
        }
    }
}

/// Checks that every prefix of `message` is partial and asks for no byte beyond it, and that what
/// follows it is left alone.
#[cfg(test)]
pub(crate) fn every_prefix<T: fmt::Debug + Clone + PartialEq, E: fmt::Debug + PartialEq>(
    message: &[u8],
    value: T,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) {
    for end in 0..message.len() {
        match decode(&message[..end]) {
            Ok(Decoded::Partial { missing }) => {
                assert!(missing > 0, "after {end} bytes");
                assert!(end + missing <= message.len(), "after {end} bytes");
            }
            other => panic!("after {end} bytes: {other:?}"),
        }
    }
    for tail in [&b""[..], &b"data of the tunnel"[..]] {
        let got = decode(&[message, tail].concat()).unwrap();
        let whole = Decoded::Complete {
            value: value.clone(),
            used: message.len(),
        };
        assert_eq!(got, whole);
    }
}
