//! Reading one message of a handshake and not a byte more: what follows is somebody else's.

use std::io::{self, Read};

use crate::deadline::bytes_of;
use crate::proto::decode::Decoded;

/// The most bytes read at once; a longer message takes several reads.
const CHUNK: usize = 512;

/// Reads the message that `decode` knows, of at most `most` bytes; `what` names it in errors.
pub(crate) fn read_message<T, E>(
    stream: &mut (impl Read + ?Sized),
    what: &str,
    most: usize,
    decode: impl Fn(&[u8]) -> Result<Decoded<T>, E>,
) -> io::Result<T>
where
    E: std::error::Error + Send + Sync + 'static,
{
    let mut input = Vec::new();
    let mut buffer = [0; CHUNK];
    loop {
        let missing = match decode(&input).map_err(invalid)? {
            Decoded::Complete { value, .. } => return Ok(value),
            Decoded::Partial { missing } => missing,
        };
        let room = missing.min(CHUNK).min(most - input.len());
        if room == 0 {
            let text = format!("{what} is longer than {most} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        match stream.read(&mut buffer[..room]) {
            Ok(0) => return Err(cut_short(what, input.len())),
            Ok(length) => input.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(named(what, &error)),
        }
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// The error of a read, with what was being read.
pub(crate) fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// The error of a stream that ends in the middle of a message.
pub(crate) fn cut_short(what: &str, came: usize) -> io::Error {
    let message = match came {
        0 => format!("the program closed in place of {what}"),
        _ => format!("the program closed after {} of {what}", bytes_of(came)),
    };
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::proto::{connect, socks4};
    use crate::tunnel::ends::stream::tests::pair;

    #[test]
    fn what_follows_a_message_is_left_in_the_stream() {
        let (mut near, mut far) = pair();
        far.write_all(b"HTTP/1.1 200 OK\r\n\r\nHello").unwrap();
        let response = read_message(&mut near, "the response", 1000, connect::response).unwrap();
        assert_eq!(response.status, 200);
        let mut rest = [0; 5];
        near.read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"Hello");
    }

    #[test]
    fn a_message_that_does_not_end_is_an_error_that_says_how_far_it_came() {
        let (mut near, mut far) = pair();
        far.write_all(&[0, 90, 1]).unwrap();
        drop(far);
        let error = read_message(&mut near, "the reply", 8, socks4::reply).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the program closed after 3 bytes of the reply"
        );

        let (mut near, mut far) = pair();
        far.write_all(b"HTTP/1.1 200 OK\r\nA: b").unwrap();
        let error = read_message(&mut near, "the head", 20, connect::response).unwrap_err();
        assert_eq!(error.to_string(), "the head is longer than 20 bytes");
    }
}
