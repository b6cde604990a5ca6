//! What clients are told when the server stops.

use std::io::ErrorKind;
use std::net::Shutdown;
use std::sync::mpsc;
use std::thread;
use std::time::Instant;

use super::*;

#[test]
fn many_idle_clients_are_held_and_told_of_the_stop() {
    let mut server = sink();
    let address = server.local_addr();
    let mut clients: Vec<Client> = (0..300).map(|_| Client::ready(address)).collect();
    assert_eq!(server.connections(), 300);
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

/// Stops a server while a client sends `piece` again and again and reads all replies.
fn stop_under(piece: &'static [u8], mut server: TestSmtpServer) {
    let client = Client::ready(server.local_addr());
    let mut sending = client.stream.get_ref().try_clone().unwrap();
    let sender = thread::spawn(move || {
        loop {
            if let Err(error) = sending.write_all(piece) {
                return error.kind();
            }
        }
    });
    let (pumps, pumping) = mpsc::channel();
    let reader = thread::spawn(move || read_all(client.stream, &pumps));
    pumping.recv_timeout(LONG).unwrap();
    let begun = Instant::now();
    server.stop(3 * LONG).unwrap();
    assert!(begun.elapsed() < 2 * LONG, "{:?}", begun.elapsed());
    // A session that is cut at the stop's end is not told.
    let said = server.transcripts().concat();
    assert!(said.ends_with("S: 421 4.3.2 shutting down\n"), "{said}");
    let (sender, reader) = (sender.join().unwrap(), reader.join().unwrap());
    // The system tells of a reset once: if the sender has heard of it, the reader has read an end.
    if let Some(last) = reader.filter(|_| sender != ErrorKind::ConnectionReset) {
        assert_eq!(last, "421 4.3.2 shutting down\r\n");
    }
}

/// Reads replies to their end, and tells when there were many. The last one, unless a reset may have
/// come before it: the server closes on what it does not read any more.
fn read_all(mut replies: BufReader<TcpStream>, many: &mpsc::Sender<()>) -> Option<String> {
    let mut last = String::new();
    for count in 1.. {
        let mut line = String::new();
        match replies.read_line(&mut line) {
            Ok(0) => break,
            Ok(_) => last = line,
            Err(_) => return None,
        }
        if count == 1000 {
            many.send(()).unwrap();
        }
    }
    let _ = replies.get_ref().shutdown(Shutdown::Both);
    Some(last)
}

#[test]
fn a_client_that_never_ceases_to_send_does_not_hold_up_the_stop() {
    for piece in [
        &b"NOOP\r\n"[..],
        b"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\ntext\r\n.\r\n",
    ] {
        stop_under(piece, sink());
        stop_under(piece, sink_with(|builder| builder));
    }
}
