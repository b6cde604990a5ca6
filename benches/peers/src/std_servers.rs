//! Hand-written servers on std alone: the limit that the others are measured against. They do the
//! least that is correct, stop by a flag and a connection to themselves, and join every thread.

use crate::client::BODY;
use crate::subject::Running;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// HTTP: thread per connection, blocking reads until the blank line, one write.
pub fn http() -> io::Result<Running> {
    tcp(|mut stream| {
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{BODY}",
            BODY.len()
        );
        let mut buffer = [0; 8192];
        let mut filled = 0;
        loop {
            if let Some(head) = find_blank_line(&buffer[..filled]) {
                if !buffer.starts_with(b"GET / ") {
                    return Err(io::Error::other("not a request that this server knows"));
                }
                stream.write_all(answer.as_bytes())?;
                buffer.copy_within(head..filled, 0);
                filled -= head;
                continue;
            }
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                count => filled += count,
            }
        }
    })
}

/// TCP echo: thread per connection.
pub fn tcp_echo() -> io::Result<Running> {
    tcp(|mut stream| {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                count => stream.write_all(&buffer[..count])?,
            }
        }
    })
}

/// UDP echo: one thread, one buffer for the largest datagram.
pub fn udp_echo() -> io::Result<Running> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    let thread = thread::spawn(move || -> io::Result<()> {
        let mut buffer = vec![0; 65_535];
        loop {
            let (count, peer) = socket.recv_from(&mut buffer)?;
            if stopping.load(Ordering::Acquire) {
                return Ok(());
            }
            socket.send_to(&buffer[..count], peer)?;
        }
    });
    Ok(Running::new(address, move || {
        stop.store(true, Ordering::Release);
        UdpSocket::bind("127.0.0.1:0")?.send_to(&[0], address)?;
        join(thread)
    }))
}

fn tcp(serve: fn(TcpStream) -> io::Result<()>) -> io::Result<Running> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let stopping = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&stopping);
    let acceptor = thread::spawn(move || -> io::Result<()> {
        let mut connections = Vec::new();
        loop {
            let (stream, _) = listener.accept()?;
            if stopping.load(Ordering::Acquire) {
                break;
            }
            connections.push(thread::spawn(move || serve(stream)));
        }
        connections.into_iter().try_for_each(join)
    });
    Ok(Running::new(address, move || {
        stop.store(true, Ordering::Release);
        TcpStream::connect(address)?;
        join(acceptor)
    }))
}

fn join(thread: thread::JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("a server thread panicked")))
}

/// Where the bytes after the first blank line begin.
fn find_blank_line(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    Some(at + 4)
}
