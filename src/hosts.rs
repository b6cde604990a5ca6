//! What becomes of servers in processes that are not as a Rust test's: where signals come all the time,
//! where SIGPIPE has its default action, and after a fork. Doc tests, for only they may hold the unsafe code that it takes to get there.

/// A write to a client that has gone is an error, not the end of the process.
///
/// ```standalone_crate
/// use std::io::{self, IoSlice, Write};
/// use std::net::{Shutdown, TcpStream};
/// use std::os::unix::net::UnixStream;
/// use std::time::Duration;
/// use loopback::{Connection, ScriptedTcpServer, TestTcpServer, UnixAddress};
///
/// const PIECE: &[u8] = &[0; 64 * 1024];
/// const WRITES: [fn(&mut Connection) -> io::Result<()>; 5] = [
///     |conn| conn.write_frame(PIECE),
///     |conn| conn.write_all(PIECE),
///     |conn| conn.write_vectored(&[IoSlice::new(PIECE)]).map(drop),
///     |conn| conn.writer().write_all(PIECE),
///     |conn| conn.writer().write_frame(PIECE),
/// ];
/// // SAFETY: nobody relies on what the signal did before.
/// unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
/// for write in WRITES {
///     let handler = move |mut conn: Connection| -> io::Result<()> {
///         loop {
///             write(&mut conn)?;
///         }
///     };
///     let tcp = TestTcpServer::start("127.0.0.1:0", handler)?;
///     drop(TcpStream::connect(tcp.local_addr())?);
///     tcp.take_connection(Duration::from_secs(30))?;
///     assert_eq!(tcp.take_failures().len(), 1);
///
///     let unix = TestTcpServer::start(UnixAddress::temporary(), handler)?;
///     drop(UnixStream::connect(unix.path())?);
///     unix.take_connection(Duration::from_secs(30))?;
///     assert_eq!(unix.take_failures().len(), 1);
/// }
///
/// let peer = ScriptedTcpServer::start(UnixAddress::temporary())?;
/// let client = UnixStream::connect(peer.path())?;
/// peer.expect_connect();
/// peer.join()?;
/// drop(client);
/// peer.send_bytes(PIECE);
/// peer.join().unwrap_err();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg_attr(
    feature = "http",
    doc = "
```standalone_crate
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;
use loopback::{TestHttpServer, UnixAddress};

// SAFETY: nobody relies on what the signal did before.
unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
let mut server = TestHttpServer::fixed(UnixAddress::temporary(), vec![0; 16 << 20])?;
let mut client = UnixStream::connect(server.path())?;
client.write_all(b\"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n\")?;
client.read_exact(&mut [0])?;
drop(client);
server.stop(Duration::from_secs(30))?;
# Ok::<(), Box<dyn std::error::Error>>(())
```"
)]
struct SigPipe;

/// In a child that was forked off, the drop of a server leaves the parent's alone: its clients, its
/// listener, its socket file.
///
/// ```standalone_crate
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
/// use std::os::unix::net::UnixStream;
/// use std::time::{Duration, Instant};
/// use loopback::{ScriptedTcpServer, ScriptedTcpServers, TestTcpServer, TestUdpServer, UnixAddress};
///
/// const LONG: Duration = Duration::from_secs(30);
/// let mut tcp = TestTcpServer::echo("127.0.0.1:0")?;
/// let unix = TestTcpServer::echo(UnixAddress::temporary())?;
/// let mut udp = TestUdpServer::echo("127.0.0.1:0")?;
/// let failing = TestTcpServer::start("127.0.0.1:0", |_| panic!("the parent's to tell"))?;
/// let bound = TestTcpServer::builder().bind(UnixAddress::temporary(), |_| ())?;
/// let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
/// peer.expect_connect_within(LONG);
/// let peers = ScriptedTcpServers::new();
/// let other = peers.start("127.0.0.1:0")?;
/// other.expect_connect_within(LONG);
/// let mut client = TcpStream::connect(tcp.local_addr())?;
/// client.set_read_timeout(Some(LONG))?;
/// client.write_all(b"x")?;
/// client.read_exact(&mut [0])?;
/// TcpStream::connect(failing.local_addr())?.read(&mut [0])?;
/// failing.take_connection(LONG)?;
///
/// // SAFETY: the child drops the servers, which waits for nothing there, and ends.
/// let child = unsafe { libc::fork() };
/// assert!(child >= 0);
/// if child == 0 {
///     tcp.stop(LONG)?;
///     peer.join().unwrap_err();
///     drop((tcp, unix, udp, failing, bound, peer, other, peers));
///     // SAFETY: it ends without what the parent has yet to do at its own end.
///     unsafe { libc::_exit(7) };
/// }
/// let (mut status, begun) = (0, Instant::now());
/// // SAFETY: the pointer is that of the variable.
/// while unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == 0 {
///     std::thread::yield_now();
///     if begun.elapsed() > LONG {
///         // SAFETY: the child has not been waited for, so the number is its own.
///         unsafe { libc::kill(child, libc::SIGKILL) };
///     }
/// }
/// assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 7, "{status:#x}");
/// client.write_all(b"y")?;
/// client.read_exact(&mut [0])?;
/// TcpStream::connect(tcp.local_addr())?;
/// UnixStream::connect(unix.path())?;
/// assert!(bound.path().exists());
/// assert_eq!(failing.take_failures().len(), 1);
/// TcpStream::connect(peer.local_addr())?;
/// peer.join()?;
/// TcpStream::connect(other.local_addr())?;
/// peers.verify()?;
/// tcp.stop(LONG)?;
/// udp.stop(LONG)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
struct Fork;

/// Every wait keeps its time although signals interrupt it, each of them before it is over.
///
/// ```standalone_crate
/// use std::io::{self, Read, Write};
/// use std::net::TcpStream;
/// use std::os::unix::net::{UnixDatagram, UnixStream};
/// use std::thread;
/// use std::time::{Duration, Instant};
/// use loopback::{Connection, Datagram, ScriptedTcpServer, TestTcpServer, TestUdpServer, UnixAddress};
///
/// /// Far longer than the time between two interruptions, also on a loaded machine.
/// const WAIT: Duration = Duration::from_secs(2);
/// const PATIENCE: Duration = Duration::from_secs(30);
///
/// extern "C" fn ignore(_: libc::c_int) {}
///
/// /// Interrupts every other thread of the process every few milliseconds, for ever.
/// fn interrupt() {
///     // SAFETY: these calls have no requirements.
///     let (process, own) = unsafe { (libc::getpid(), libc::gettid()) };
///     loop {
///         for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
///             let thread: i32 = task.file_name().to_str().unwrap().parse().unwrap();
///             if thread != own {
///                 // SAFETY: a thread that has ended meanwhile makes it fail.
///                 unsafe { libc::syscall(libc::SYS_tgkill, process, thread, libc::SIGUSR1) };
///             }
///         }
///         thread::sleep(Duration::from_millis(5));
///     }
/// }
///
/// // SAFETY: the handler does nothing; without SA_RESTART it interrupts what waits.
/// unsafe {
///     let mut action: libc::sigaction = std::mem::zeroed();
///     action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
///     assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
/// }
/// thread::spawn(interrupt);
///
/// type Wait = fn(&mut Connection) -> io::Result<()>;
/// let reads: [(&str, Wait); 7] = [
///     ("a line", |conn| conn.read_line().map(drop)),
///     ("a piece up to its delimiter", |conn| conn.read_bytes_until(0).map(drop)),
///     ("bytes", |conn| conn.read_bytes(4).map(drop)),
///     ("a frame", |conn| conn.read_frame().map(drop)),
///     ("the end of the stream", |conn| conn.read_rest().map(drop)),
///     ("bytes", |conn| conn.read(&mut [0; 8]).map(drop)),
///     ("bytes", |conn| conn.read_exact(&mut [0; 8])),
/// ];
/// let served = reads.map(|(what, read)| {
///     let builder = TestTcpServer::builder().read_timeout(WAIT);
///     let server = builder.start("127.0.0.1:0", move |mut conn| read(&mut conn)).unwrap();
///     let client = TcpStream::connect(server.local_addr()).unwrap();
///     (what, server, client)
/// });
/// for (what, server, client) in served {
///     server.take_connection(PATIENCE)?;
///     let failures = server.take_failures();
///     let due = format!("timed out after 2s waiting for {what} from ");
///     assert!(failures[0].message().starts_with(&due), "{failures:?}");
///     drop(client);
/// }
///
/// const LARGE: &[u8] = &[0; 1 << 20];
/// let writes: [Wait; 5] = [
///     |conn| conn.write_all(LARGE),
///     |conn| conn.write(LARGE).map(drop),
///     |conn| conn.write_frame(LARGE),
///     |conn| conn.writer().write_all(LARGE),
///     |conn| conn.writer().write_frame(LARGE),
/// ];
/// let served = writes.map(|write| {
///     let handler = move |mut conn: Connection| -> io::Result<()> {
///         loop {
///             write(&mut conn)?;
///         }
///     };
///     let builder = TestTcpServer::builder().write_timeout(WAIT);
///     let tcp = builder.clone().start("127.0.0.1:0", handler).unwrap();
///     let unix = builder.start(UnixAddress::temporary(), handler).unwrap();
///     let tcp_client = TcpStream::connect(tcp.local_addr()).unwrap();
///     let unix_client = UnixStream::connect(unix.path()).unwrap();
///     (tcp, unix, tcp_client, unix_client)
/// });
/// for (tcp, unix, tcp_client, unix_client) in served {
///     tcp.take_connection(PATIENCE)?;
///     unix.take_connection(PATIENCE)?;
///     for failures in [tcp.take_failures(), unix.take_failures()] {
///         assert!(failures[0].message().starts_with("timed out writing to "), "{failures:?}");
///     }
///     drop((tcp_client, unix_client));
/// }
///
/// let waits: [fn(&ScriptedTcpServer); 2] = [
///     |peer| drop(peer.expect_line_within("never", WAIT)),
///     |peer| drop(peer.send_bytes_within(vec![0; 64 << 20], WAIT)),
/// ];
/// for wait in waits {
///     let peer = ScriptedTcpServer::start("127.0.0.1:0")?;
///     wait(peer.expect_connect());
///     let client = TcpStream::connect(peer.local_addr())?;
///     let text = peer.join().unwrap_err().to_string();
///     assert!(text.contains("timed out after 2s waiting for"), "{text}");
///     drop((client, peer));
/// }
///
/// // A reply to a client whose queue is full waits for two seconds.
/// let replies = |_: &Datagram| vec![vec![0; 1024]; 10_000];
/// let mut server = TestUdpServer::start(UnixAddress::temporary(), replies)?;
/// let address = UnixAddress::temporary();
/// let client = UnixDatagram::bind(address.path().unwrap())?;
/// client.send_to(b"x", server.path())?;
/// let begun = Instant::now();
/// while server.failures().is_empty() && begun.elapsed() < PATIENCE {
///     thread::yield_now();
/// }
/// std::fs::remove_file(address.path().unwrap())?;
/// let failures = server.take_failures();
/// let due = "timed out after 2s waiting for the client to read what was sent before";
/// assert!(failures[0].message().contains(due), "{failures:?}");
/// // The other replies fail too, at once.
/// drop(client);
/// server.stop(Duration::from_secs(30)).unwrap_err();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(target_os = "linux")]
struct Signals;
