//! What a child writes: captured by one thread, bounded, and never waited for longer than needed.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use crate::deadline::Deadline;
use crate::process::Maker;

/// How many of the last bytes are kept.
const KEPT: usize = 16 * 1024;
/// The length of the end mark, which is kept too until it is found and cut off.
const MARK: usize = 16;
/// How much is read at once; the end mark is looked for in this much of the tail.
const CHUNK: usize = 8 * 1024;
/// How long the reader may take to meet the end mark. Only what nobody can find and end makes it miss it.
const FINISH_LIMIT: Duration = Duration::from_secs(5);
/// After which time the mark is written again.
const AGAIN: Duration = Duration::from_millis(2);

/// The output of a child and of all that it starts, standard output and error in one, in the order
/// in which they were written.
#[derive(Debug)]
pub(crate) struct Output {
    shared: Arc<Shared>,
    /// Our own writing end. Reading a pipe ends when its last writer is gone, and a grandchild may
    /// stay a writer for as long as it likes; so the reader is told by an end mark through here.
    writer: PipeWriter,
    reader: Option<Reader>,
    maker: Maker,
}

#[derive(Debug)]
struct Reader {
    thread: JoinHandle<()>,
    /// Is disconnected when the thread has nothing more to do.
    done: Receiver<()>,
}

#[derive(Debug)]
struct Shared {
    tail: Mutex<Tail>,
    ending: AtomicBool,
    /// The reader ends with whatever it reads next.
    given_up: AtomicBool,
    mark: [u8; MARK],
}

#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    /// How many bytes came before those that are kept.
    dropped: u64,
}

impl Output {
    /// Starts to read a new pipe.
    pub(crate) fn capture() -> io::Result<Output> {
        let (reader, writer) = io::pipe()?;
        let shared = Arc::new(Shared {
            tail: Mutex::default(),
            ending: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            mark: mark(),
        });
        let for_thread = Arc::clone(&shared);
        let (ends, done) = crossbeam_channel::bounded(0);
        let thread = thread::Builder::new()
            .name("loopback-tunnel-output".into())
            .spawn(move || for_thread.read(reader, ends))?;
        Ok(Output {
            shared,
            writer,
            reader: Some(Reader { thread, done }),
            maker: Maker::this(),
        })
    }

    /// A writing end for a child.
    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        Ok(self.writer.try_clone()?.into())
    }

    /// Ends the reading once all that was written before this call has been read.
    ///
    /// A full pipe does not hold this up: the reader empties it until it meets the mark, and a write of
    /// this length is never mixed with others (PIPE_BUF). But whoever has left the group and hides its
    /// environment still shares the pipe. It may have made it non-blocking for all, so that the mark does
    /// not get in, or read from it, so that the mark is lost: then it is written again.
    pub(crate) fn finish(&mut self) {
        let Some(reader) = self.reader.take() else {
            return;
        };
        self.shared.ending.store(true, Ordering::SeqCst);
        let deadline = Deadline::new(FINISH_LIMIT, "the output to end");
        loop {
            // It fails where the pipe is full, or the reader has ended.
            let _ = self.writer.write(&self.shared.mark);
            match reader.done.recv_timeout(AGAIN) {
                Err(RecvTimeoutError::Timeout) if !deadline.expired() => {}
                Err(RecvTimeoutError::Timeout) => break,
                // A panic in it can only mean that some output is missing.
                _ => return drop(reader.thread.join()),
            }
        }
        self.shared.given_up.store(true, Ordering::SeqCst);
    }

    /// The text so far; says so when its beginning is missing.
    pub(crate) fn text(&self) -> String {
        let tail = self.shared.tail();
        let text = String::from_utf8_lossy(&tail.bytes);
        match tail.dropped {
            0 => text.into_owned(),
            dropped => format!("[{dropped} bytes before this are left out]\n{text}"),
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // The mark would end the parent's reading.
        if self.maker.is_this() {
            self.finish();
        }
    }
}

impl Shared {
    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, mut pipe: PipeReader, _ends: Sender<()>) {
        let mut chunk = [0; CHUNK];
        loop {
            match pipe.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) if self.given_up.load(Ordering::SeqCst) => return,
                Ok(length) => {
                    let mut tail = self.tail();
                    tail.bytes.extend_from_slice(&chunk[..length]);
                    // Cut before anything is dropped: behind the mark there may be another one.
                    if self.ending.load(Ordering::SeqCst) && tail.cut_at(&self.mark) {
                        return tail.keep(KEPT);
                    }
                    tail.keep(KEPT + MARK);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }
}

impl Tail {
    /// Drops all but the last `count` bytes.
    fn keep(&mut self, count: usize) {
        let over = self.bytes.len().saturating_sub(count);
        self.bytes.drain(..over);
        self.dropped += over as u64;
    }

    /// Cuts the tail where `mark` begins, if it has come with the last chunk.
    fn cut_at(&mut self, mark: &[u8]) -> bool {
        let from = self.bytes.len().saturating_sub(CHUNK + mark.len());
        let found = self.bytes[from..]
            .windows(mark.len())
            .position(|window| window == mark);
        if let Some(at) = found {
            self.bytes.truncate(from + at);
        }
        found.is_some()
    }
}

/// Bytes that no child writes by chance.
fn mark() -> [u8; MARK] {
    let random = || RandomState::new().hash_one(0).to_be_bytes();
    let mut mark = [0; MARK];
    mark[..8].copy_from_slice(&random());
    mark[8..].copy_from_slice(&random());
    mark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_written_before_the_end_is_there_though_a_writer_stays() {
        let mut output = Output::capture().unwrap();
        // A second writing end that never closes, as a grandchild would hold it.
        let mut held = output.writer.try_clone().unwrap();
        held.write_all(b"first\n").unwrap();
        output.writer.write_all(b"second\n").unwrap();
        output.finish();
        assert_eq!(output.text(), "first\nsecond\n");
        drop(held);
    }

    #[test]
    fn only_the_last_bytes_are_kept_and_the_text_says_so() {
        let mut output = Output::capture().unwrap();
        let line = [b'x'; 1023];
        for _ in 0..100 {
            output.writer.write_all(&line).unwrap();
            output.writer.write_all(b"\n").unwrap();
        }
        output.writer.write_all(b"the end").unwrap();
        output.finish();
        let text = output.text();
        let left_out = 100 * 1024 + 7 - KEPT;
        assert!(text.starts_with(&format!("[{left_out} bytes before this are left out]\n")));
        assert!(text.ends_with("x\nthe end"));
        assert_eq!(output.shared.tail().bytes.len(), KEPT);
    }

    #[test]
    fn a_writer_that_never_stops_does_not_hold_up_the_end() {
        let mut output = Output::capture().unwrap();
        let mut flood = output.writer.try_clone().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let writer = thread::spawn(move || {
            // The pipe breaks when the reader has ended, which ends this too.
            while !stopped.load(Ordering::SeqCst) && flood.write_all(&[b'f'; 4096]).is_ok() {}
        });
        output.finish();
        stop.store(true, Ordering::SeqCst);
        writer.join().unwrap();
        assert!(output.text().bytes().all(|b| b.is_ascii()));
    }

    #[cfg(unix)]
    #[test]
    fn a_writer_that_makes_the_pipe_non_blocking_does_not_hold_up_the_end() {
        let mut output = Output::capture().unwrap();
        let flood = std::os::fd::OwnedFd::from(output.writer.try_clone().unwrap());
        let mut flood = mio::unix::pipe::Sender::from(flood);
        flood.set_nonblocking(true).unwrap();
        let ended = |result: io::Result<usize>| {
            result.is_err_and(|error| error.kind() != io::ErrorKind::WouldBlock)
        };
        // The pipe breaks when the reader has ended.
        let writer = thread::spawn(move || while !ended(flood.write(&[b'f'; 4096])) {});
        output.finish();
        drop(output);
        writer.join().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_reader_of_the_same_pipe_does_not_hold_up_the_end() {
        use std::os::fd::AsRawFd;
        let mut output = Output::capture().unwrap();
        let path = format!("/proc/self/fd/{}", output.writer.as_raw_fd());
        let thieves: Vec<_> = (0..4)
            .map(|_| {
                let mut thief = std::fs::File::open(&path).unwrap();
                thread::spawn(move || while thief.read(&mut [0; 4096]).unwrap() > 0 {})
            })
            .collect();
        output.finish();
        drop(output);
        for thief in thieves {
            thief.join().unwrap();
        }
    }

    #[test]
    fn a_mark_cut_in_two_by_the_reading_is_found() {
        let mut tail = Tail::default();
        tail.bytes.extend_from_slice(b"output12345678");
        assert!(!tail.cut_at(b"1234567890abcdef"));
        tail.bytes.extend_from_slice(b"90abcdefmore");
        assert!(tail.cut_at(b"1234567890abcdef"));
        assert_eq!(tail.bytes, b"output");
    }
}
