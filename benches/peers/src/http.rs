//! The HTTP servers: their life, one connection, and sixteen at once.

use crate::client::Client;
use crate::measure::{Better, compare};
use crate::subject::Subject;
use crate::{Options, machine, peer_servers};
use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{io, thread};

const CONNECTIONS: usize = 16;
/// A slow server ends its measurement here, with what it has done by then.
const AT_MOST: Duration = Duration::from_secs(2);

pub fn run(options: Options) -> io::Result<()> {
    println!("Peers: {}", machine::peer_versions());

    compare(
        "Start, one GET on a new connection, stop",
        "µs",
        Better::Lower,
        options.count(301, 21),
        &peer_servers::http(),
        whole_life,
    );

    let subjects = peer_servers::http_keeping_alive();
    let requests = options.count(2_000, 200);
    compare(
        &format!("GET on one kept-alive connection ({requests} a round)"),
        "µs",
        Better::Lower,
        options.count(15, 3),
        &subjects,
        |subject| subject.measure(|address| kept_alive(address, requests)),
    );

    let requests = options.count(2_000, 50);
    compare(
        &format!("{CONNECTIONS} kept-alive connections at once ({requests} GETs on each a round)"),
        "requests a second",
        Better::Higher,
        options.count(11, 3),
        &subjects,
        |subject| subject.measure(|address| at_once(address, requests)),
    );
    Ok(())
}

fn whole_life(subject: &Subject) -> io::Result<f64> {
    let begin = Instant::now();
    let server = (subject.start)()?;
    let mut client = Client::connect(server.address)?;
    client.get()?;
    drop(client);
    server.stop()?;
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}

fn kept_alive(address: SocketAddr, requests: usize) -> io::Result<f64> {
    let mut client = Client::connect(address)?;
    for _ in 0..requests / 10 {
        client.get()?;
    }
    let begin = Instant::now();
    let done = get_many(&mut client, requests)?;
    Ok(begin.elapsed().as_secs_f64() / done as f64 * 1e6)
}

fn at_once(address: SocketAddr, requests: usize) -> io::Result<f64> {
    // Opened one after the other: a server that is bad at many arriving together still has a figure.
    let clients = (0..CONNECTIONS)
        .map(|_| {
            let mut client = Client::connect(address)?;
            client.get()?;
            Ok(client)
        })
        .collect::<io::Result<Vec<Client>>>()?;
    let gate = Barrier::new(CONNECTIONS);
    let parts: Vec<io::Result<Part>> = thread::scope(|scope| {
        let threads: Vec<_> = clients
            .into_iter()
            .map(|client| scope.spawn(|| one_of_many(client, &gate, requests)))
            .collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a client panicked")))
            })
            .collect()
    });
    let parts = parts.into_iter().collect::<io::Result<Vec<Part>>>()?;
    let begin = parts.iter().map(|part| part.begin).min();
    let end = parts.iter().map(|part| part.end).max();
    let elapsed = begin.zip(end).map(|(begin, end)| end - begin);
    let answers: usize = parts.iter().map(|part| part.answers).sum();
    Ok(answers as f64 / elapsed.unwrap_or_default().as_secs_f64())
}

/// What one of the clients did, and when: a clock outside of them could start late on one core.
struct Part {
    begin: Instant,
    end: Instant,
    answers: usize,
}

fn one_of_many(mut client: Client, gate: &Barrier, requests: usize) -> io::Result<Part> {
    gate.wait();
    let begin = Instant::now();
    let answers = get_many(&mut client, requests)?;
    Ok(Part {
        begin,
        end: Instant::now(),
        answers,
    })
}

/// Sends up to `requests` and gives how many were answered in the time allowed.
fn get_many(client: &mut Client, requests: usize) -> io::Result<usize> {
    let begin = Instant::now();
    for done in 1..=requests {
        client.get()?;
        if begin.elapsed() > AT_MOST {
            return Ok(done);
        }
    }
    Ok(requests)
}
