//! TCP and UDP from programs that are not ours.

use std::time::Duration;

use libtest_mimic::Trial;
use loopback::{TestTcpServer, TestUdpServer};

use crate::{needs, python, run_with_input, succeeded};

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needs(
            "python3",
            "python3",
            "tcp::python_socket_handler",
            socket_handler,
        ),
        needs(
            "python3",
            "python3",
            "tcp::python_datagram_handler",
            datagram_handler,
        ),
        needs(
            "python3",
            "python3",
            "tcp::python_syslog_handler",
            syslog_handler,
        ),
        needs("socat", "socat", "tcp::socat_half_close", socat_half_close),
        needs(
            "socat",
            "socat",
            "tcp::socat_unix_stream",
            socat_unix_stream,
        ),
        needs("socat", "socat", "tcp::socat_udp_datagram", socat_udp),
    ]
}

/// `SocketHandlerTest` of CPython's test_logging: a pickled record in a frame.
fn socket_handler() {
    let (frames, received) = std::sync::mpsc::channel();
    let frames = std::sync::Mutex::new(frames);
    let mut server = TestTcpServer::start("127.0.0.1:0", move |mut conn| {
        while let Some(frame) = conn.read_frame()? {
            frames.lock().unwrap().send(frame).unwrap();
        }
        Ok::<(), std::io::Error>(())
    })
    .unwrap();
    python(
        "import logging, logging.handlers, sys\n\
         handler = logging.handlers.SocketHandler('127.0.0.1', int(sys.argv[1]))\n\
         log = logging.getLogger('tcp'); log.addHandler(handler)\n\
         log.error('spam'); log.error('eggs'); handler.close()",
        &[&server.port().to_string()],
    );
    for message in ["spam", "eggs"] {
        let frame = received.recv_timeout(LONG).unwrap();
        let text = String::from_utf8_lossy(&frame);
        assert!(text.contains(message), "{text}");
    }
    server.stop(LONG).unwrap();
}

/// `DatagramHandlerTest`: the same record in a datagram, its length before it.
fn datagram_handler() {
    let mut server = TestUdpServer::sink("127.0.0.1:0").unwrap();
    python(
        "import logging, logging.handlers, sys\n\
         handler = logging.handlers.DatagramHandler('127.0.0.1', int(sys.argv[1]))\n\
         log = logging.getLogger('udp'); log.addHandler(handler)\n\
         log.error('spam'); handler.close()",
        &[&server.port().to_string()],
    );
    let datagram = server.take_datagram(LONG).unwrap();
    let length = u32::from_be_bytes(datagram.data()[..4].try_into().unwrap());
    assert_eq!(length as usize, datagram.data().len() - 4);
    assert!(datagram.text().contains("spam"));
    server.stop(LONG).unwrap();
}

/// `SysLogHandlerTest` and its Unix-domain sibling.
fn syslog_handler() {
    const SCRIPT: &str = "import logging, logging.handlers, sys\n\
         address = sys.argv[1] if '/' in sys.argv[1] else ('127.0.0.1', int(sys.argv[1]))\n\
         handler = logging.handlers.SysLogHandler(address)\n\
         log = logging.getLogger('slh'); log.addHandler(handler)\n\
         log.error('sp\\xe4m'); handler.close()";
    let mut server = TestUdpServer::sink("127.0.0.1:0").unwrap();
    python(SCRIPT, &[&server.port().to_string()]);
    let datagram = server.take_datagram(LONG).unwrap();
    assert_eq!(datagram.data(), "<11>sp\u{e4}m\0".as_bytes());
    server.stop(LONG).unwrap();

    let mut server = TestUdpServer::sink(loopback::UnixAddress::temporary()).unwrap();
    python(SCRIPT, &[server.path().to_str().unwrap()]);
    let datagram = server.take_datagram(LONG).unwrap();
    assert_eq!(datagram.data(), "<11>sp\u{e4}m\0".as_bytes());
    server.stop(LONG).unwrap();
}

/// The answer comes after the client's half-close, so it must not have cut the connection.
fn socat_half_close() {
    let mut server = TestTcpServer::start("127.0.0.1:0", |mut conn| {
        let text = conn.read_rest()?;
        std::io::Write::write_all(&mut conn, &text.to_ascii_uppercase())
    })
    .unwrap();
    let target = format!("TCP:{}", server.local_addr());
    let output = run_with_input("socat", ["-t", "20", "-", &target], b"half a loaf");
    assert_eq!(succeeded("socat", output), "HALF A LOAF");
    server.stop(LONG).unwrap();
}

fn socat_unix_stream() {
    let mut server = TestTcpServer::echo(loopback::UnixAddress::temporary()).unwrap();
    let target = format!("UNIX-CONNECT:{}", server.path().display());
    let output = run_with_input("socat", ["-t", "20", "-", &target], b"by path");
    assert_eq!(succeeded("socat", output), "by path");
    server.stop(LONG).unwrap();
}

fn socat_udp() {
    let mut server = TestUdpServer::sink("127.0.0.1:0").unwrap();
    let target = format!("UDP-SENDTO:{}", server.local_addr());
    let output = run_with_input("socat", ["-u", "-", &target], b"one way");
    succeeded("socat", output);
    assert_eq!(server.take_datagram(LONG).unwrap().data(), b"one way");
    server.stop(LONG).unwrap();
}
