//! The HTTP server, spoken to byte by byte.

mod at_once;
mod bodies;
mod faults;
mod handlers;
#[cfg(feature = "json")]
mod json;
mod keeping;
mod records;
mod refusals;
mod responses;
mod takeovers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::support::connect;

/// A client that reads responses as RFC 9112 has them, and nothing else.
struct Client {
    stream: BufReader<TcpStream>,
}

/// A response as it came.
#[derive(Debug, PartialEq)]
struct Reply {
    status: u16,
    /// Status line and fields, without the empty line.
    head: String,
    body: Vec<u8>,
    /// The trailer section as it came.
    trailers: String,
}

impl Client {
    fn new(address: SocketAddr) -> Client {
        Client {
            stream: BufReader::new(connect(address)),
        }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends a request and reads its response.
    #[track_caller]
    fn ask(&mut self, request: impl AsRef<[u8]>) -> Reply {
        self.send(request);
        self.reply()
    }

    /// Reads a response with its body.
    #[track_caller]
    fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        if reply.has("transfer-encoding: chunked") {
            loop {
                let size = self.line();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                if size == 0 {
                    break;
                }
                let start = reply.body.len();
                reply.body.resize(start + size, 0);
                self.stream.read_exact(&mut reply.body[start..]).unwrap();
                assert_eq!(self.line(), "\r\n");
            }
            reply.trailers = self.section();
        } else if let Some(length) = reply.field("content-length") {
            reply.body.resize(length.parse().unwrap(), 0);
            self.stream.read_exact(&mut reply.body).unwrap();
        } else if reply.status >= 200 && reply.status != 204 && reply.status != 304 {
            self.stream.read_to_end(&mut reply.body).unwrap();
        }
        reply
    }

    /// Reads a response that has no body, whatever its head says.
    #[track_caller]
    fn head(&mut self) -> Reply {
        let head = self.section();
        let head = head.trim_end().to_owned();
        assert!(head.starts_with("HTTP/1.1 "), "{head:?}");
        Reply {
            status: head[9..12].parse().unwrap(),
            head,
            body: Vec::new(),
            trailers: String::new(),
        }
    }

    /// Asserts that the server has closed, and gives what it had sent before.
    #[track_caller]
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).unwrap();
        rest
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        assert!(line.ends_with("\r\n"), "{line:?}");
        line
    }

    fn section(&mut self) -> String {
        let mut section = String::new();
        loop {
            let line = self.line();
            if line == "\r\n" {
                return section;
            }
            section += &line;
        }
    }
}

impl Reply {
    fn text(&self) -> &str {
        str::from_utf8(&self.body).unwrap()
    }

    /// Whether this header line is there, in any case.
    fn has(&self, line: &str) -> bool {
        self.head.lines().any(|own| own.eq_ignore_ascii_case(line))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let (_, value) = lines.find(|(own, _)| own.eq_ignore_ascii_case(name))?;
        Some(value)
    }
}

/// A request line and a Host field.
fn start(line: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: h\r\n")
}

fn get(path: &str) -> String {
    start(&format!("GET {path}")) + "\r\n"
}
