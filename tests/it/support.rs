//! What the tests share.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
#[cfg(any(feature = "smtp", feature = "tunnel"))]
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A stop's timeout that no healthy stop comes near, even on a loaded machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Connects, with timeouts so that a test fails rather than hangs.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends, closes the sending side, and reads to the end.
pub(crate) fn exchange(address: SocketAddr, data: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(data).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Looks again and again, without a fixed sleep, until it is so; fails after [`LONG`].
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "not within {LONG:?}: {what}");
        std::thread::yield_now();
    }
}

/// The names of this process's threads. One that has ended in between has no name any more.
#[cfg(target_os = "linux")]
pub(crate) fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.map(|name| name.trim_end().to_owned()).collect()
}

/// A folder of the test's own, which is removed with what is in it.
#[cfg(any(feature = "smtp", feature = "tunnel"))]
pub(crate) struct Folder(PathBuf);

#[cfg(any(feature = "smtp", feature = "tunnel"))]
impl Folder {
    /// `name` is one that no other folder of this process has.
    pub(crate) fn new(name: &str) -> Folder {
        let name = format!("{name}-{}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(any(feature = "smtp", feature = "tunnel"))]
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
