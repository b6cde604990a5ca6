//! What clients are told when the server stops.

use std::sync::{Mutex, mpsc};
use std::thread;

use super::*;

#[test]
fn many_idle_clients_are_held_and_told_of_the_stop() {
    // The first one says nothing until the last one has come.
    let mut server = sink_with(|builder| builder.read_timeout(10 * LONG));
    let address = server.local_addr();
    let mut clients: Vec<Client> = (0..300).map(|_| Client::ready(address)).collect();
    assert_eq!(server.open_connections(), 300);
    for client in &mut clients {
        client.say("NOOP", 250);
    }
    server.stop(LONG).unwrap();
    for client in &mut clients {
        assert_eq!(client.code(), 421);
        client.ended();
    }
}

#[test]
fn stopping_tells_an_idle_client() {
    let mut server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    server.stop(LONG).unwrap();
    assert_eq!(client.reply(), "421 4.3.2 shutting down");
    client.ended();
}

/// The stop shuts the reading side, but Linux takes in what is sent to it all the same.
#[test]
fn a_client_that_never_ceases_to_send_is_told_of_the_stop_and_let_go() {
    // Each message that is handled brings another before it is answered, so there is always one to read.
    let (wants, wanted) = mpsc::channel();
    let (sends, sent) = mpsc::channel();
    let sent = Mutex::new(sent);
    let mut server = TestSmtpServer::start("127.0.0.1:0", move |_: &Message| {
        wants.send(()).unwrap();
        sent.lock().unwrap().recv_timeout(LONG)
    })
    .unwrap();
    let mut client = Client::ready(server.local_addr());
    let text = format!("{}\r\n", "x".repeat(98)).repeat(160);
    let mail = format!("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\n{text}.\r\n");
    client.send(&mail);
    let (pumps, pumping) = mpsc::channel();
    let client = thread::spawn(move || {
        for () in wanted {
            client.send(&mail);
            sends.send(()).unwrap();
            let _ = pumps.send(());
        }
        client
    });
    pumping.recv_timeout(LONG).unwrap();
    server.stop(LONG).unwrap();
    drop(server);
    let mut client = client.join().unwrap();
    let mut replies = String::new();
    client.stream.read_to_string(&mut replies).unwrap();
    assert!(
        replies.ends_with("\r\n421 4.3.2 shutting down\r\n"),
        "{replies}"
    );
}

/// What it has been told and does not read fills every buffer on the way.
#[test]
fn a_client_that_floods_and_never_reads_is_let_go_soon() {
    let mut server = sink();
    let client = Client::greeted(server.local_addr());
    let mut stream = client.stream.get_ref();
    stream
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut other = Client::ready(server.local_addr());
    // Nothing can be written for a while, in which the server has turns: it waits for room.
    let flood = b"HELP\r\n".repeat(1000);
    let mut in_vain = 0;
    while in_vain < 5 {
        match stream.write_all(&flood) {
            Ok(()) => in_vain = 0,
            Err(_) => in_vain += 1,
        }
        for _ in 0..10 {
            other.say("NOOP", 250);
        }
    }
    let begun = std::time::Instant::now();
    server.stop(LONG).unwrap();
    // It used to be all of the time that a stop has but its last quarter of a second.
    assert!(begun.elapsed() < LONG / 2, "{:?}", begun.elapsed());
    let said = server.transcripts().concat();
    assert!(said.contains("which does not read"), "{said}");
}
