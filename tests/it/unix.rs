//! Unix-domain sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use loopback::{Bound, Protocol, TestTcpServer, TestUdpServer, UnixAddress};

use crate::support::{LONG, eventually};

#[test]
fn streams_are_served_on_a_path() {
    let mut server = TestTcpServer::start(UnixAddress::temporary(), |mut conn| {
        assert_eq!(conn.peer().to_string(), "unix:(unnamed)");
        assert!(conn.peer_addr().is_err());
        let line = conn.read_line()?;
        conn.write_all(line.to_uppercase().as_bytes())
    })
    .unwrap();
    for _ in 0..3 {
        let mut client = UnixStream::connect(server.path()).unwrap();
        client.write_all(b"hello\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "HELLO\n");
        server.restart().unwrap();
    }
    server.stop(LONG).unwrap();
    assert!(!server.path().exists());
}

#[test]
fn datagrams_are_served_on_a_path() {
    let mut server = TestUdpServer::start(UnixAddress::temporary(), |datagram| {
        datagram.data().to_ascii_uppercase()
    })
    .unwrap();
    let address = UnixAddress::temporary();
    let client = UnixDatagram::bind(address.path().unwrap()).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    for data in [&b"hello"[..], b"", &[b'x'; 65_536]] {
        client.send_to(data, server.path()).unwrap();
        let mut buffer = vec![0; 70_000];
        let length = client.recv(&mut buffer).unwrap();
        assert!(buffer[..length] == data.to_ascii_uppercase());
    }
    std::fs::remove_file(address.path().unwrap()).unwrap();
    // A sender without a name cannot be answered, and that is told.
    let nameless = UnixDatagram::unbound().unwrap();
    nameless.send_to(b"x", server.path()).unwrap();
    eventually("the failure is kept", || !server.failures().is_empty());
    let error = server.stop(LONG).unwrap_err();
    assert_eq!(
        error.failures()[0].message(),
        "cannot send a reply of 1 bytes: the sender's socket is unnamed, so no reply can reach it"
    );
    assert!(!server.path().exists());
}

#[test]
fn a_file_in_the_way_is_named_and_kept() {
    let address = UnixAddress::temporary();
    let path = address.path().unwrap();
    std::fs::write(path, "precious").unwrap();
    let error = TestTcpServer::sink(path).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot bind unix:{}: ", path.display())),
        "{error}"
    );
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
    std::fs::remove_file(path).unwrap();
    let error = TestTcpServer::sink(Path::new("/nowhere/at/all.sock")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("cannot bind unix:/nowhere/at/all.sock: ")
    );
}

#[test]
fn code_for_addresses_of_any_kind_can_tell_them() {
    fn told<P: Protocol, A: ToString>(bound: Bound<P, A>) -> String {
        let before = bound.address().to_string();
        let mut server = bound.start().unwrap();
        assert_eq!(server.address().to_string(), before);
        server.stop(LONG).unwrap();
        before
    }
    let path = UnixAddress::temporary();
    let unix = TestTcpServer::builder().bind(path.clone(), |_| ()).unwrap();
    assert_eq!(told(unix), path.to_string());
    let inet = TestUdpServer::builder()
        .bind("127.0.0.1:0", |_| ())
        .unwrap();
    let port = inet.port();
    assert_eq!(told(inet), format!("127.0.0.1:{port}"));
}
