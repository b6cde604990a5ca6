//! Echo over TCP and UDP against hand-written std loops.

use crate::measure::{Better, compare};
use crate::subject::Subject;
use crate::{Options, std_servers};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);
const MESSAGE: usize = 64;
/// The size of the client's writes and reads in bulk.
const BLOCK: usize = 64 * 1024;

pub fn run(options: Options) -> io::Result<()> {
    let rounds = options.count(21, 3);
    let trips = options.count(5_000, 500);
    let mebibytes = options.count(64, 8);

    let tcp = tcp_subjects();
    compare(
        &format!("TCP echo, round trip of {MESSAGE} bytes ({trips} a round)"),
        "µs",
        Better::Lower,
        rounds,
        &tcp,
        |subject| subject.measure(|address| tcp_trips(address, trips)),
    );
    compare(
        &format!("TCP echo in bulk ({mebibytes} MiB there and back a round)"),
        "MiB a second",
        Better::Higher,
        rounds,
        &tcp,
        |subject| subject.measure(|address| tcp_bulk(address, mebibytes)),
    );
    let udp = udp_subjects();
    compare(
        &format!("UDP echo, round trip of {MESSAGE} bytes ({trips} a round)"),
        "µs",
        Better::Lower,
        rounds,
        &udp,
        |subject| subject.measure(|address| udp_trips(address, trips)),
    );
    Ok(())
}

fn tcp_subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "std",
            note: "thread per connection, hand-written",
            start: std_servers::tcp_echo,
        },
        Subject {
            name: "loopback",
            note: "",
            start: crate::loopback_servers::tcp_echo,
        },
    ]
}

fn udp_subjects() -> Vec<Subject> {
    vec![
        Subject {
            name: "std",
            note: "one thread, hand-written",
            start: std_servers::udp_echo,
        },
        Subject {
            name: "loopback",
            note: "",
            start: crate::loopback_servers::udp_echo,
        },
    ]
}

fn tcp_trips(address: SocketAddr, trips: usize) -> io::Result<f64> {
    let mut stream = connect(address)?;
    let mut answer = [0; MESSAGE];
    time_trips(trips, |message| {
        stream.write_all(message)?;
        stream.read_exact(&mut answer)?;
        same(message, &answer)
    })
}

fn udp_trips(address: SocketAddr, trips: usize) -> io::Result<f64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut answer = [0; MESSAGE + 1];
    time_trips(trips, |message| {
        socket.send(message)?;
        let count = socket.recv(&mut answer)?;
        same(message, &answer[..count])
    })
}

/// The mean time of a round trip in µs, after some that are not counted.
fn time_trips(
    trips: usize,
    mut trip: impl FnMut(&[u8; MESSAGE]) -> io::Result<()>,
) -> io::Result<f64> {
    let mut message = [b'x'; MESSAGE];
    let mut many = |count: usize| {
        for number in 0..count {
            // No two in a row are alike, so that an answer to an earlier one is seen.
            message[0] = number as u8;
            trip(&message)?;
        }
        io::Result::Ok(())
    };
    many(trips / 10)?;
    let begin = Instant::now();
    many(trips)?;
    Ok(begin.elapsed().as_secs_f64() / trips as f64 * 1e6)
}

fn tcp_bulk(address: SocketAddr, mebibytes: usize) -> io::Result<f64> {
    let mut stream = connect(address)?;
    let mut writing = stream.try_clone()?;
    let total = mebibytes * 1024 * 1024;
    let begin = Instant::now();
    let writer = thread::spawn(move || {
        let block = vec![b'x'; BLOCK];
        for _ in 0..total / BLOCK {
            writing.write_all(&block)?;
        }
        writing.shutdown(Shutdown::Write)
    });
    let mut buffer = vec![0; BLOCK];
    let mut read = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            count => read += count,
        }
    }
    let elapsed = begin.elapsed();
    writer
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the writer panicked")))?;
    if read != total {
        let message = format!("echo gave back {read} of {total} bytes");
        return Err(io::Error::other(message));
    }
    Ok(mebibytes as f64 / elapsed.as_secs_f64())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn same(sent: &[u8], received: &[u8]) -> io::Result<()> {
    if sent == received {
        Ok(())
    } else {
        Err(io::Error::other("echo gave back something else"))
    }
}
