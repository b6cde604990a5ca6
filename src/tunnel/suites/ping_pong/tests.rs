use std::net::{TcpListener, TcpStream};
use std::thread;

use super::*;
use crate::deadline::Deadline;
use crate::tunnel::ends::random::Random;
use crate::tunnel::report::Latency;

const LIMIT: Duration = Duration::from_secs(30);

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (service, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    service.set_nodelay(true).unwrap();
    (client, service)
}

fn direct() -> Ends {
    let (client, service) = pair();
    let stream = |tcp| Stream::new(tcp, Deadline::new(LIMIT, "the test"));
    Ends {
        client: stream(client),
        service: stream(service),
    }
    .plain()
}

fn messages(rounds: usize) -> Vec<u8> {
    Data::new(&mut Random::new(1)).take(rounds * MESSAGE)
}

fn bounds() -> Bounds {
    Bounds::within(Deadline::new(LIMIT, "the test"), LIMIT)
}

#[test]
fn each_message_has_its_wait() {
    let waits = rally(&direct(), &messages(20), bounds()).unwrap();
    assert_eq!(waits.len(), 20);
    assert!(waits.iter().all(|wait| !wait.is_zero()));
}

/// What anybody would write to measure this.
fn by_hand(messages: &[u8]) -> Vec<Duration> {
    let (mut client, mut service) = pair();
    let rounds = messages.len() / MESSAGE;
    let echo = thread::spawn(move || {
        let mut message = [0; MESSAGE];
        for _ in 0..rounds {
            service.read_exact(&mut message).unwrap();
            service.write_all(&message).unwrap();
        }
    });
    let mut waits = Vec::new();
    let mut answer = [0; MESSAGE];
    for message in messages.chunks(MESSAGE) {
        let begun = Instant::now();
        client.write_all(message).unwrap();
        client.read_exact(&mut answer).unwrap();
        waits.push(begun.elapsed());
        assert_eq!(answer[..], *message);
    }
    echo.join().unwrap();
    waits
}

/// `cargo test --release --lib ping_pong -- --ignored --nocapture`: how far the figures of the suite
/// are from those of a loop written by hand, on a direct connection.
#[test]
#[ignore = "a measurement: run it by hand, in release mode, on a machine with nothing else to do"]
fn measure_direct_against_a_loop_written_by_hand() {
    let messages = messages(1000);
    let p50 = |waits| Latency::of(waits).unwrap().p50;
    let (mut suite, mut hand) = (Vec::new(), Vec::new());
    for _ in 0..21 {
        suite.push(p50(rally(&direct(), &messages, bounds()).unwrap()));
        hand.push(p50(by_hand(&messages)));
    }
    let (suite, hand) = (p50(suite), p50(hand));
    let ratio = suite.as_secs_f64() / hand.as_secs_f64();
    println!(
        "ping-pong, p50 of 1000, median of 21 rounds: {suite:?}, by hand {hand:?}, ratio {ratio:.2}"
    );
}
