//! The one HTTP client, used for every server: blocking, one request at a time, bodies by
//! Content-Length or chunked. It allocates nothing once connected.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// The body that every server answers with.
pub const BODY: &str = "Hello, world!";

/// Longer than any answer here, head and body.
const BUFFER: usize = 4096;
/// A server that is silent for so long is a failure, not a figure.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Box<[u8; BUFFER]>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client {
            stream,
            request: format!("GET / HTTP/1.1\r\nHost: {address}\r\n\r\n").into_bytes(),
            buffer: Box::new([0; BUFFER]),
        })
    }

    /// Sends a request and reads its answer, which must be 200 with [`BODY`] and not a byte more.
    pub fn get(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request)?;
        let mut filled = 0;
        loop {
            match self.stream.read(&mut self.buffer[filled..])? {
                0 if filled == 0 => {
                    return Err(invalid("the server closed this connection before"));
                }
                0 => return Err(invalid("cut, or longer than expected")),
                count => filled += count,
            }
            let answer = &self.buffer[..filled];
            match answer_length(answer)? {
                Some(length) if length == filled => return Ok(()),
                Some(_) => return Err(invalid("more bytes than the one answer")),
                None => {}
            }
        }
    }
}

/// The length of the answer at the start of `bytes`; `None` while it is incomplete.
fn answer_length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let body = &bytes[head + 4..];
    let body_length = match framing(&bytes[..head])? {
        Framing::Sized(length) if body.len() < length => None,
        Framing::Sized(length) => {
            check_body(&[&body[..length]])?;
            Some(length)
        }
        Framing::Chunked => chunked_length(body)?,
    };
    Ok(body_length.map(|length| head + 4 + length))
}

enum Framing {
    Sized(usize),
    Chunked,
}

fn framing(head: &[u8]) -> io::Result<Framing> {
    let head = std::str::from_utf8(head).map_err(|_| invalid("a head that is not text"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        return Err(invalid(status));
    }
    let mut length = None;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("transfer-encoding")
            && value.trim().eq_ignore_ascii_case("chunked")
        {
            return Ok(Framing::Chunked);
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    length
        .map(Framing::Sized)
        .ok_or_else(|| invalid("neither Content-Length nor chunked"))
}

/// The length of a chunked body without extensions or trailers, its last chunk included.
fn chunked_length(body: &[u8]) -> io::Result<Option<usize>> {
    const CHUNKS: usize = 8;
    let mut chunks: [&[u8]; CHUNKS] = [&[]; CHUNKS];
    let mut at = 0;
    for count in 0..CHUNKS {
        let Some(line) = find(&body[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&body[at..at + line])
            .ok()
            .and_then(|size| usize::from_str_radix(size, 16).ok())
            .filter(|size| *size <= BUFFER)
            .ok_or_else(|| invalid("a bad chunk size"))?;
        let start = at + line + 2;
        let end = start + size + 2;
        if body.len() < end {
            return Ok(None);
        }
        if &body[end - 2..end] != b"\r\n" {
            return Err(invalid("a chunk without its line end"));
        }
        if size == 0 {
            check_body(&chunks[..count])?;
            return Ok(Some(end));
        }
        chunks[count] = &body[start..end - 2];
        at = end;
    }
    Err(invalid("too many chunks"))
}

fn check_body(parts: &[&[u8]]) -> io::Result<()> {
    if parts
        .iter()
        .flat_map(|part| part.iter())
        .eq(BODY.as_bytes())
    {
        Ok(())
    } else {
        Err(invalid("another body than the one asked for"))
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("answer: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_complete_at_their_last_byte_only() {
        let answers = [
            "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, world!",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7\r\nHello, \r\n6\r\nworld!\r\n0\r\n\r\n",
        ];
        for answer in answers {
            for end in 0..answer.len() {
                let prefix = &answer.as_bytes()[..end];
                assert_eq!(answer_length(prefix).unwrap(), None, "{end} of {answer}");
            }
            assert_eq!(
                answer_length(answer.as_bytes()).unwrap(),
                Some(answer.len())
            );
        }
    }

    #[test]
    fn another_status_body_or_framing_is_an_error() {
        for answer in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nHello, world!",
            "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, there!",
            "HTTP/1.1 200 OK\r\n\r\nHello, world!",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nHello",
        ] {
            answer_length(answer.as_bytes())
                .map(|length| assert_eq!(length, None))
                .expect_err(answer);
        }
    }
}
