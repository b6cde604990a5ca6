//! Handlers, the record, and what a failed wait shows.

use std::fs;
use std::io;

use loopback::smtp::{Reply, Stage};

use super::*;
use crate::support::Folder;
#[cfg(target_os = "linux")]
use crate::support::{eventually, thread_names};

fn deliver(address: SocketAddr) -> u16 {
    let mut client = Client::in_transaction(address);
    client.say("DATA", 354);
    client.send("Subject: x\r\n\r\nhello\r\n.\r\n");
    client.code()
}

#[test]
fn s44_the_reply_is_written_before_a_waiting_test_wakes() {
    for _ in 0..50 {
        let mut server = sink();
        let address = server.local_addr();
        let client = std::thread::spawn(move || deliver(address));
        server.take_message(LONG).unwrap();
        server.stop(LONG).unwrap();
        assert_eq!(client.join().unwrap(), 250);
    }
}

/// A Unix-domain socket has what was written to it at once, so that nothing has to be waited for.
#[cfg(unix)]
#[test]
fn s44_the_reply_is_there_when_the_message_is_taken() {
    for _ in 0..50 {
        let server = TestSmtpServer::sink(loopback::UnixAddress::temporary()).unwrap();
        let mut client = std::os::unix::net::UnixStream::connect(server.path()).unwrap();
        let session = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\nDATA\r\n.\r\n";
        client.write_all(session.as_bytes()).unwrap();
        server.take_message(LONG).unwrap();
        client.set_nonblocking(true).unwrap();
        let mut said = [0; 4096];
        let length = client.read(&mut said).unwrap();
        let said = str::from_utf8(&said[..length]).unwrap();
        assert!(said.ends_with("250 2.0.0 message taken\r\n"), "{said}");
    }
}

#[test]
fn the_handlers_value_is_the_reply() {
    let server = TestSmtpServer::start("127.0.0.1:0", |message| {
        assert_eq!(message.to(), ["bob@example.com"]);
    })
    .unwrap();
    assert_eq!(deliver(server.local_addr()), 250);

    let server = TestSmtpServer::start("127.0.0.1:0", |_| Reply::new(550, "5.7.1 spam")).unwrap();
    assert_eq!(deliver(server.local_addr()), 550);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.reply().map(Reply::code), Some(550));

    let server = TestSmtpServer::start("127.0.0.1:0", |message| {
        let ok = message.subject() == Some("x");
        ok.then(|| Reply::new(251, "ok")).ok_or("no subject")
    })
    .unwrap();
    assert_eq!(deliver(server.local_addr()), 251);
}

#[test]
fn a_fixed_reply_is_given_to_every_message() {
    let full = || Reply::new(452, "4.2.2 mailbox full");
    let server = TestSmtpServer::fixed("127.0.0.1:0", full()).unwrap();
    for _ in 0..2 {
        let mut client = Client::in_transaction(server.local_addr());
        client.say("DATA", 354);
        assert_eq!(client.say("x\r\n.", 452), "452 4.2.2 mailbox full");
        let message = server.take_message(LONG).unwrap();
        assert_eq!(
            (message.raw(), message.reply()),
            (&b"x\r\n"[..], Some(&full()))
        );
    }
    // Faults too, and the replies set for one time go before it.
    let server = TestSmtpServer::builder()
        .reply_once(Stage::Message, 1, Reply::ok())
        .fixed("127.0.0.1:0", Reply::hang_up())
        .unwrap();
    assert_eq!(deliver(server.local_addr()), 250);
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.send(".\r\n");
    client.ended();
}

#[test]
fn a_handler_that_fails_is_told_to_the_client_and_to_the_test() {
    let mut server = TestSmtpServer::start("127.0.0.1:0", |_| {
        Err::<(), _>(io::Error::other("disk full"))
    })
    .unwrap();
    assert_eq!(deliver(server.local_addr()), 451);
    let error = server.stop(LONG).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");

    let mut server = TestSmtpServer::start("127.0.0.1:0", |_| panic!("not this one")).unwrap();
    assert_eq!(deliver(server.local_addr()), 451);
    let error = server.stop(LONG).unwrap_err();
    assert!(error.to_string().contains("not this one"), "{error}");
}

#[test]
fn a_wait_in_vain_shows_what_was_said() {
    let server = sink();
    let error = server.take_message(Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(
        error.to_string().ends_with("; no client connected"),
        "{error}"
    );
    let mut client = Client::ready(server.local_addr());
    client.say("MAIL FROM:alice", 501);
    client.say("QUIT", 221);
    let error = server.take_message(Duration::ZERO).unwrap_err().to_string();
    assert!(
        error.contains("C: MAIL FROM:alice\nS: 501 5.1.7 "),
        "{error}"
    );
    assert_eq!(server.transcripts().len(), 1);
}

#[test]
fn messages_come_in_order_and_are_taken_once() {
    let server = sink();
    let mut client = Client::ready(server.local_addr());
    for number in 0..3 {
        client.say("MAIL FROM:<a@b>", 250);
        client.say("RCPT TO:<c@d>", 250);
        client.say("DATA", 354);
        client.say(&format!("{number}\r\n."), 250);
    }
    assert_eq!(server.messages().len(), 3);
    // A wait for more than came takes none of them.
    let error = server.take_messages(4, Duration::ZERO).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("S: 354 "), "{error}");
    // The last may have its reply and not be marked so yet.
    let came = " came and can be taken (<a@b> to <c@d>, <a@b> to <c@d>";
    assert!(error.to_string().contains(came), "{error}");
    assert_eq!(server.total_messages(), 3);
    assert_eq!(server.messages().len(), 3);
    let two = server.take_messages(2, LONG).unwrap();
    assert_eq!((two[0].raw(), two[1].raw()), (&b"0\r\n"[..], &b"1\r\n"[..]));
    assert_eq!(next_text(&server), "2\r\n");
    assert!(server.take_messages(1, Duration::ZERO).is_err());
}

#[test]
fn the_record_counts_the_envelope_too() {
    let kept = |limit: usize, helo: &str, mail: &str, rcpts: &[&str]| {
        let server = sink_with(|builder| builder.record_bytes(limit).credentials("bob", "secret"));
        let mut client = Client::greeted(server.local_addr());
        client.say(&format!("EHLO {helo}"), 250);
        client.say(&format!("MAIL FROM:<a@b>{mail}"), 250);
        for rcpt in rcpts {
            client.say(&format!("RCPT TO:<{rcpt}"), 250);
        }
        client.say("DATA", 354);
        client.say(".", 250);
        server.messages().len() == 1
    };
    // No message is as small as its text.
    assert!(!kept(256, "c", "", &["d@e>"]));
    // This is not too much, and each of those has one thing more that is.
    assert!(kept(600, "c", "", &["d@e>", "d@e>"]));
    assert!(!kept(600, "c", "", &["d@e>"; 10]));
    let domain = ["x".repeat(60).as_str(); 4].join(".");
    assert!(!kept(600, &domain, "", &["d@e>"]));
    let address = format!("d@{domain}>");
    assert!(!kept(600, "c", "", &[&*address, &*address]));
    let original = format!("d@e> ORCPT=rfc822;{}", "x".repeat(400));
    assert!(!kept(600, "c", "", &[&*original]));
    let auth = format!(" AUTH={}", "x".repeat(400));
    assert!(!kept(600, "c", &auth, &["d@e>"]));
}

#[test]
fn the_content_is_decoded() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.send(
        "Subject: =?utf-8?b?R3LDvMOfZQ==?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\n\r\ntext\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>html</p>\r\n\
         --b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\ndata\r\n--b--\r\n.\r\n",
    );
    assert_eq!(client.code(), 250);
    let message = server.take_message(LONG).unwrap();
    assert_eq!(message.subject(), Some("Grüße"));
    assert_eq!(message.text().map(str::trim_end), Some("text"));
    assert_eq!(message.html().map(str::trim_end), Some("<p>html</p>"));
    assert_eq!(message.attachments()[0].file_name(), Some("a.txt"));
    assert_eq!(
        message.peer(),
        &client.stream.get_ref().local_addr().unwrap()
    );
    assert!(format!("{message:?}").contains("bob@example.com"));
}

/// As swaks, msmtp and curl send it: UTF-8 without a word of it.
#[test]
fn what_is_wrong_with_the_content_is_told() {
    let server = sink();
    let mut client = Client::in_transaction(server.local_addr());
    client.say("DATA", 354);
    client.send(
        "From: Jörg <joerg@example.com>\r\nSubject : hällo\r\nContent-Type: multipart/mixed; boundary==_X\r\n\r\n\
         --=_X\r\n\r\nhällo\r\n--=_X_alt\r\n--=_X\r\nContent-Type: image/png\r\nContent-ID: <1@x>\r\n\
         Content-Transfer-Encoding: base64\r\n\r\nAAEC*\r\n--=_X--\r\n.\r\n",
    );
    assert_eq!(client.code(), 250);
    let message = server.take_message(LONG).unwrap();
    let mail = message.mail();
    assert_eq!(message.subject(), Some("hällo"));
    assert_eq!(message.text(), Some("hällo\r\n--=_X_alt"));
    let [author] = mail.from() else {
        panic!("{:?}", mail.from())
    };
    assert_eq!(author.to_string(), "\"Jörg\" <joerg@example.com>");
    let [image] = message.attachments() else {
        panic!("{:?}", message.attachments())
    };
    assert_eq!(image.content(), [0, 1, 2]);
    assert_eq!(image.raw(), Some(&b"AAEC*"[..]));
    assert_eq!(image.content_id(), Some("1@x"));
    let defects = [
        "the field Subject: white space before its colon",
        "part 2: 1 octet behind its base64 is not decoded",
    ];
    assert_eq!(mail.defects(), defects);
}

#[test]
fn a_server_restarts_on_its_address() {
    let mut server = TestSmtpServer::sink("127.0.0.87:0").unwrap();
    let address = server.local_addr();
    assert_eq!(deliver(address), 250);
    server.restart().unwrap();
    assert_eq!((server.local_addr(), deliver(address)), (address, 250));
    assert_eq!(server.messages().len(), 2);
}

#[test]
fn ipv6_serves_too() {
    let server = TestSmtpServer::start("[::1]:0", |_| {}).unwrap();
    assert!(server.local_addr().is_ipv6());
    assert_eq!(deliver(server.local_addr()), 250);
    let message = server.take_message(LONG).unwrap();
    let peer = message.peer().as_inet().unwrap();
    assert!(peer.ip().is_loopback() && peer.is_ipv6(), "{peer}");
}

/// Tools for the system's threads (top, gdb, perf) show whose they are, while a handler runs.
#[cfg(target_os = "linux")]
#[test]
fn threads_are_named_after_the_server() {
    let (sender, names) = std::sync::mpsc::channel();
    let server = TestSmtpServer::start("127.0.0.1:0", move |_| {
        let own = fs::read_to_string("/proc/thread-self/comm").unwrap();
        let server = own.trim_end().strip_suffix(" w1").unwrap().to_owned();
        let of_server = || {
            let mut names = thread_names();
            names.retain(|name| name.starts_with(&server));
            names.sort();
            names
        };
        // The system's list leaves some out while others end.
        eventually("both are listed", || of_server().len() == 2);
        sender.send(server.clone()).unwrap();
    })
    .unwrap();
    assert_eq!(deliver(server.local_addr()), 250);
    let name = names.recv_timeout(LONG).unwrap();
    assert_eq!(name, format!("smtp:{}", server.port()));
}

/// Clients share the poll loop's thread for as long as each is quick. One that is not gets a worker of
/// its own, or the others would wait for it.
#[cfg(target_os = "linux")]
#[test]
fn a_burst_of_commands_does_not_hold_up_the_others() {
    let server = TestSmtpServer::sink("127.0.0.1:0").unwrap();
    let worker = format!("smtp:{} w1", server.port());
    let has_worker = || thread_names().contains(&worker);
    assert_eq!(deliver(server.local_addr()), 250);
    assert!(!has_worker());
    let mut client = crate::support::connect(server.local_addr());
    client.write_all(&b"NOOP\r\n".repeat(1000)).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut replies = String::new();
    client.read_to_string(&mut replies).unwrap();
    assert_eq!(replies.matches("250 ").count(), 1000);
    assert!(has_worker());
}

#[cfg(unix)]
#[test]
fn a_unix_domain_socket_serves_too() {
    let server = TestSmtpServer::sink(loopback::UnixAddress::temporary()).unwrap();
    let mut stream = std::os::unix::net::UnixStream::connect(server.path()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.write_all(b"QUIT\r\n").unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(
        said.starts_with("220 ") && said.ends_with("221 2.0.0 bye\r\n"),
        "{said}"
    );
}

#[test]
fn messages_are_saved_beside_what_is_there() {
    let folder = Folder::new("messages_are_saved");
    fs::write(folder.path().join("2.eml"), "of somebody else").unwrap();
    let builder = || TestSmtpServer::builder().save_messages(folder.path());
    for number in [1, 3] {
        let server = builder().sink("127.0.0.1:0").unwrap();
        deliver(server.local_addr());
        let message = server.take_message(LONG).unwrap();
        let path = folder.path().join(format!("{number}.eml"));
        assert_eq!(message.file(), Some(&*path));
        assert_eq!(fs::read(path).unwrap(), message.raw());
    }
    let kept = fs::read_to_string(folder.path().join("2.eml")).unwrap();
    assert_eq!(kept, "of somebody else");
}

#[test]
fn a_message_that_cannot_be_saved_is_taken_and_told() {
    let folder = Folder::new("cannot_be_saved");
    let path = folder.path().join("a file");
    fs::write(&path, "").unwrap();
    let builder = TestSmtpServer::builder().save_messages(&path);
    let mut server = builder.sink("127.0.0.1:0").unwrap();
    assert_eq!(deliver(server.local_addr()), 250);
    assert_eq!(server.take_message(LONG).unwrap().file(), None);
    let error = server.stop(LONG).unwrap_err().to_string();
    let told = format!("the message cannot be saved: {}: ", path.display());
    assert!(error.contains(&told), "{error}");
}
