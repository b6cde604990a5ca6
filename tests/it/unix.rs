//! Unix-domain sockets.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

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
        "cannot send a reply of 1 byte: the sender's socket is unnamed, so no reply can reach it"
    );
    assert!(!server.path().exists());
}

/// It has room for some replies, and then is waited for once.
#[test]
fn a_datagram_client_that_does_not_read_holds_up_nobody_and_no_stop() {
    let mut server = TestUdpServer::echo(UnixAddress::temporary()).unwrap();
    let [deaf, other] = [(); 2].map(|()| UnixAddress::temporary());
    // Not connected: Linux would have room for all that its peer sends to one that is.
    let client = UnixDatagram::bind(deaf.path().unwrap()).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    let begun = Instant::now();
    for _ in 0..100 {
        client.send_to(b"x", server.path()).unwrap();
    }
    let second = UnixDatagram::bind(other.path().unwrap()).unwrap();
    second.connect(server.path()).unwrap();
    second.set_read_timeout(Some(LONG)).unwrap();
    second.set_write_timeout(Some(LONG)).unwrap();
    second.send(b"hello").unwrap();
    second.recv(&mut [0; 8]).unwrap();
    // Each of some ninety replies would be waited for two seconds.
    assert!(begun.elapsed() < Duration::from_secs(60));
    client.send_to(b"x", server.path()).unwrap();
    let error = server.stop(LONG).unwrap_err();
    assert!(error.stuck().is_empty(), "{error}");
    assert!(!server.path().exists());
    let message = error.failures()[0].message();
    assert_eq!(
        message,
        "cannot send a reply of 1 byte: timed out after 2s waiting for the client to read what was sent before"
    );
    for address in [deaf, other] {
        std::fs::remove_file(address.path().unwrap()).unwrap();
    }
}

#[test]
fn a_file_in_the_way_is_named_and_kept() {
    let address = UnixAddress::temporary();
    let path = address.path().unwrap();
    std::fs::write(path, "precious").unwrap();
    let refused = |why: &str| {
        let error = TestTcpServer::sink(path).unwrap_err();
        let text = error.to_string();
        let start = format!("cannot bind unix:{}: ", path.display());
        assert!(text.starts_with(&start) && text.ends_with(why), "{text}");
    };
    refused("; a file is there that is no socket");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
    std::fs::remove_file(path).unwrap();
    let other = UnixListener::bind(path).unwrap();
    refused("; a socket is there already");
    drop(other);
    #[cfg(target_os = "linux")]
    refused(
        "; the socket file is there, but nobody listens on it: remove what an earlier run has left, or listen on \
         UnixAddress::temporary()",
    );
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

/// A server's file is its own only as long as nothing else has been put at its path.
#[test]
fn what_was_put_at_the_path_since_stays() {
    let mut server = TestTcpServer::echo(UnixAddress::temporary()).unwrap();
    let path = server.path().to_owned();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    server.stop(LONG).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    std::fs::remove_file(&path).unwrap();
    // Another program's socket is nothing of ours either.
    server.restart().unwrap();
    std::fs::remove_file(&path).unwrap();
    let other = UnixDatagram::bind(&path).unwrap();
    server.stop(LONG).unwrap();
    assert!(path.exists());
    drop(other);
    std::fs::remove_file(&path).unwrap();
}

/// In a process of its own, for the current folder is the whole process's.
#[test]
fn a_relative_path_is_that_of_the_bind() {
    let folder = UnixAddress::temporary();
    let folder = folder.path().unwrap();
    for name in ["first", "second"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "unix::fixture_changes_folder", "--ignored"])
        .current_dir(folder.join("first"))
        .output()
        .unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "a fixture, run by the test above"]
fn fixture_changes_folder() {
    let first = std::env::current_dir().unwrap();
    let second = first.with_file_name("second");
    std::fs::write(second.join("x.sock"), "precious").unwrap();
    let mut server = TestTcpServer::echo(Path::new("x.sock")).unwrap();
    assert_eq!(server.path(), first.join("x.sock"));
    std::env::set_current_dir(&second).unwrap();
    server.connect().unwrap();
    server.restart().unwrap();
    server.connect().unwrap();
    server.stop(LONG).unwrap();
    assert!(!first.join("x.sock").exists());
    let kept = std::fs::read_to_string(second.join("x.sock")).unwrap();
    assert_eq!(kept, "precious");
}

#[test]
fn a_path_that_cannot_be_bound_is_told_why() {
    let refused = |path: &str| {
        let error = TestTcpServer::sink(Path::new(path)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        error.to_string()
    };
    assert_eq!(
        refused(""),
        "cannot bind unix:\"\": the path is empty: UnixAddress::temporary() makes one"
    );
    assert_eq!(
        refused("/tmp/a\0b"),
        "cannot bind unix:\"/tmp/a\\0b\": the path has a NUL byte, at 6"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn abstract_names_are_served_and_answered() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;

    let name = |which: &str| format!("loopback-it-{}-{which}", std::process::id());

    let at = UnixAddress::abstract_name(name("datagrams"));
    let mut server = TestUdpServer::echo(at.clone()).unwrap();
    assert_eq!(
        server.local_addr().to_string(),
        format!("unix:@{}", name("datagrams"))
    );
    // A program that another test is just starting has a copy of the last client's socket for a moment.
    for own in ["client", "another client"] {
        let client = SocketAddr::from_abstract_name(name(own)).unwrap();
        let socket = UnixDatagram::bind_addr(&client).unwrap();
        socket.set_read_timeout(Some(LONG)).unwrap();
        socket
            .send_to_addr(b"hello", &at.to_std().unwrap())
            .unwrap();
        let mut buffer = [0; 16];
        assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
        let peer = server.take_datagram(LONG).unwrap().peer().to_string();
        assert_eq!(peer, format!("unix:@{}", name(own)));
        server.restart().unwrap();
    }
    server.stop(LONG).unwrap();

    let at = UnixAddress::abstract_name(name("streams"));
    let server = TestTcpServer::fixed(at, "hi").unwrap();
    assert_eq!(server.path(), Path::new(""));
    // Bound by socket2, for std's streams cannot have a name of their own.
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    let own = UnixAddress::abstract_name(name("client"));
    let as_path = |name: &str| socket2::SockAddr::unix(format!("\0{name}")).unwrap();
    socket.bind(&as_path(&name("client"))).unwrap();
    socket.connect(&as_path(&name("streams"))).unwrap();
    let mut stream = UnixStream::from(socket);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hi");
    drop(stream);
    let record = server.take_connection(LONG).unwrap();
    assert_eq!(record.peer().to_string(), own.to_string());
}

#[test]
fn a_client_can_be_had_from_the_server() {
    let mut server = TestTcpServer::echo(UnixAddress::temporary()).unwrap();
    let mut client = server.connect().unwrap();
    client.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
    assert_eq!(client.read_timeout().unwrap(), Some(LONG));
    assert_eq!(client.write_timeout().unwrap(), Some(LONG));
    drop(client);
    server.stop(LONG).unwrap();
    let error = server.connect().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().ends_with("; it is stopped"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn a_datagram_client_from_the_server_is_answered() {
    let server = TestUdpServer::echo(UnixAddress::temporary()).unwrap();
    let client = server.connect().unwrap();
    assert_eq!(client.read_timeout().unwrap(), Some(LONG));
    client.send(b"hello").unwrap();
    let mut answer = [0; 16];
    assert_eq!(client.recv(&mut answer).unwrap(), 5);
}
