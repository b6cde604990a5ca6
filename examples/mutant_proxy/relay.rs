//! Carries the bytes both ways.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::mangle::Mangler;
use crate::mutation::Mutation;
use crate::options::Options;
use crate::process::sleep_for_ever;
use crate::wire::is_passing;

/// The most that is held of a direction, beside what the system holds.
const BUFFER: usize = 32 * 1024;
/// How long what coalesces gathers.
const GATHER: Duration = Duration::from_millis(2);
/// How much is kept by what keeps the last bytes.
const LAST: usize = 4096;
/// How soon after a piece an end must come to count as right behind it.
const BEHIND: Duration = Duration::from_secs(1);
/// How late the last piece is passed on by what delays it.
const DELAY: Duration = Duration::from_secs(2);
/// How long a connection may be idle for what cuts idle ones.
const IDLE: Duration = Duration::from_millis(500);

/// How many bytes of a direction the slow one writes one at a time, and how many at once after them.
const SINGLE: usize = 1_000;
const FEW: usize = 1_000;
/// How many connections must be live to be mixed up.
const MANY: usize = 10;

/// What the two ways of a connection know of each other.
struct Link {
    options: &'static Options,
    client: TcpStream,
    service: TcpStream,
    /// One side was reset: the other one will be.
    broken: AtomicBool,
    /// Which ways have ended, up and down.
    ended: [AtomicBool; 2],
    /// Which sides have spoken, the client and the service.
    spoken: [AtomicBool; 2],
    begun: Instant,
    /// When something was carried, in milliseconds since the beginning.
    busy: AtomicU64,
}

/// One way of it.
struct Way<'a> {
    link: &'a Link,
    from: &'a TcpStream,
    to: &'a TcpStream,
    up: bool,
    mangler: Mangler,
    /// The last bytes that have come, where they are kept.
    kept: Vec<u8>,
    /// How many bytes the slow one still writes one at a time.
    single: usize,
    /// With an unbounded buffer: what another thread has read.
    queue: Option<Receiver<io::Result<Vec<u8>>>>,
}

/// Carries both ways until both have ended. What has been read already goes first.
pub(crate) fn run(
    options: &'static Options,
    client: TcpStream,
    early_up: Vec<u8>,
    service: TcpStream,
    early_down: Vec<u8>,
) -> io::Result<()> {
    let link = Link {
        options,
        client,
        service,
        broken: AtomicBool::new(false),
        ended: [AtomicBool::new(false), AtomicBool::new(false)],
        spoken: [AtomicBool::new(false), AtomicBool::new(false)],
        begun: Instant::now(),
        busy: AtomicU64::new(0),
    };
    if options.has(Mutation::CutsIdle) {
        link.client.set_read_timeout(Some(IDLE))?;
        link.service.set_read_timeout(Some(IDLE))?;
    }
    let _live = match options.has(Mutation::MixesConnections) {
        true => Some(Live::add(&link.client)?),
        false => None,
    };
    thread::scope(|scope| {
        let up = scope.spawn(|| Way::new(&link, true).carry(early_up));
        let down = Way::new(&link, false).carry(early_down);
        up.join().expect("carrying does not panic").and(down)
    })
}

impl Way<'_> {
    fn new(link: &Link, up: bool) -> Way<'_> {
        let (from, to) = match up {
            true => (&link.client, &link.service),
            false => (&link.service, &link.client),
        };
        let queue = link.options.has(Mutation::UnboundedBuffer);
        Way {
            link,
            from,
            to,
            up,
            mangler: Mangler::new(link.options, up),
            kept: Vec::new(),
            single: SINGLE,
            queue: queue.then(|| read_ahead(from)),
        }
    }

    fn carry(mut self, early: Vec<u8>) -> io::Result<()> {
        let mut early = Some(early).filter(|early| !early.is_empty());
        loop {
            let piece = match early.take() {
                Some(early) => Ok(early),
                None => self.next(BUFFER),
            };
            let mut piece = match piece {
                Ok(piece) if piece.is_empty() && self.was_reset() => {
                    let reset = io::Error::from(io::ErrorKind::ConnectionReset);
                    return self.abort(self.to, reset);
                }
                Ok(piece) if piece.is_empty() => return self.end(),
                Ok(piece) => piece,
                Err(error) => return self.abort(self.to, error),
            };
            if let Err(error) = self.gather(&mut piece) {
                return self.abort(self.to, error);
            }
            if self.link.options.has(Mutation::KeepsLastBytes) {
                self.kept.append(&mut piece);
                let count = self.kept.len().saturating_sub(LAST);
                piece.extend(self.kept.drain(..count));
            }
            if let Err(error) = self.send(piece) {
                if self.up && self.link.options.has(Mutation::HoldsWhenStuck) {
                    sleep_for_ever();
                }
                return self.abort(self.from, error);
            }
        }
    }

    /// The next piece of at most `most` bytes; an empty one is the end.
    fn next(&self, most: usize) -> io::Result<Vec<u8>> {
        if let Some(queue) = &self.queue {
            return queue.recv().unwrap_or(Ok(Vec::new()));
        }
        let mut buffer = [0; BUFFER];
        let mut from = self.from;
        loop {
            match from.read(&mut buffer[..most]) {
                Ok(count) => return Ok(buffer[..count].to_vec()),
                Err(error) if is_passing(&error) && !self.is_idle() => {}
                Err(error) if is_passing(&error) => {
                    self.link.broken.store(true, Ordering::SeqCst);
                    let _ = self.from.shutdown(Shutdown::Both);
                    let _ = self.to.shutdown(Shutdown::Both);
                    return Ok(Vec::new());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Adds to a piece what it needs to be wrong by, and what comes within the time or up to the amount that is
    /// gathered. An end that comes meanwhile comes again at the next read.
    fn gather(&self, piece: &mut Vec<u8>) -> io::Result<()> {
        let (least, wait) = self.mangler.least();
        while piece.len() < least {
            match self.peek(wait)? {
                Some(count) if count > 0 => piece.extend(self.next(BUFFER - piece.len())?),
                _ => break,
            }
        }
        if !self.link.options.coalesce {
            return Ok(());
        }
        let end = Instant::now() + GATHER;
        while piece.len() < BUFFER {
            let left = end.saturating_duration_since(Instant::now());
            match self.peek(left)? {
                Some(count) if count > 0 => piece.extend(self.next(BUFFER - piece.len())?),
                _ => break,
            }
        }
        Ok(())
    }

    fn send(&mut self, mut piece: Vec<u8>) -> io::Result<()> {
        let options = self.link.options;
        let has = |mutation| options.has(mutation);
        if self.up && has(Mutation::ExitsInTransfer) {
            eprintln!("mutant: assertion failed");
            process::exit(134);
        }
        let [client, service] = &self.link.spoken;
        let (own, awaited, waits) = match self.up {
            true => (client, service, Mutation::WaitsForService),
            false => (service, client, Mutation::WaitsForClient),
        };
        own.store(true, Ordering::SeqCst);
        while has(waits) && !awaited.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        self.before_end(&mut piece)?;
        self.mangler.piece(&mut piece);
        if has(Mutation::CutsOtherWay) && self.other_ended() {
            piece.truncate(3);
        }
        let now = self.link.begun.elapsed().as_millis();
        self.link.busy.store(now as u64, Ordering::Relaxed);
        let other = match !self.up && has(Mutation::MixesConnections) {
            true => Live::other(self.to)?,
            false => None,
        };
        let mut to = other.as_ref().unwrap_or(self.to);
        match options.slow {
            true => self.dribble(to, &piece)?,
            false => to.write_all(&piece)?,
        }
        if has(Mutation::CutsOtherWay) && self.other_ended() {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
        }
        if self.mangler.stalls() {
            sleep_for_ever();
        }
        match self.up && has(Mutation::EndsEarly) {
            true => self.to.shutdown(Shutdown::Write),
            false => Ok(()),
        }
    }

    /// Writes one byte at a time, and a few when there have been many: the system takes its time for each.
    fn dribble(&mut self, mut to: &TcpStream, piece: &[u8]) -> io::Result<()> {
        let (single, rest) = piece.split_at(piece.len().min(self.single));
        self.single -= single.len();
        let mut pieces = single.chunks(1).chain(rest.chunks(FEW));
        pieces.try_for_each(|piece| to.write_all(piece))
    }

    /// What is wrong with the last piece, if this is one.
    fn before_end(&self, piece: &mut Vec<u8>) -> io::Result<()> {
        let has = |mutation| self.link.options.has(mutation);
        let loses =
            (self.up && has(Mutation::LosesEndUp)) || (!self.up && has(Mutation::LosesEndDown));
        let halves = self.up && has(Mutation::HalvesEnd);
        let delays = self.up && has(Mutation::DelaysEnd);
        if !(loses || halves || delays) || self.peek(BEHIND)? != Some(0) {
            return Ok(());
        }
        match () {
            () if loses => piece.clear(),
            () if halves => piece.truncate(piece.len() / 2),
            () => thread::sleep(DELAY),
        }
        Ok(())
    }

    /// Passes the end on.
    fn end(&self) -> io::Result<()> {
        let this = &self.link.ended[usize::from(!self.up)];
        let has = |mutation| self.link.options.has(mutation);
        if self.link.broken.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut to = self.to;
        to.write_all(&self.kept)?;
        to.write_all(&self.mangler.end())?;
        this.store(true, Ordering::SeqCst);
        if has(Mutation::NoHalfClose) {
            let _ = self.from.shutdown(Shutdown::Both);
            let _ = self.to.shutdown(Shutdown::Both);
            return Ok(());
        }
        if self.up && has(Mutation::NeverCloses) {
            sleep_for_ever();
        }
        if self.up && has(Mutation::ResetsAtEnd) {
            return self.abort(self.to, io::Error::other("resets at the end"));
        }
        if has(Mutation::HoldsHalfClose) {
            // Both sockets close when both ways are over.
            return Ok(());
        }
        if self.up && has(Mutation::BusyAfterHalfClose) {
            let _ = self.to.shutdown(Shutdown::Write);
            while !self.other_ended() && !self.link.broken.load(Ordering::SeqCst) {}
        }
        match self.to.shutdown(Shutdown::Write) {
            // The other way has found it closed already.
            Err(_) if self.other_ended() => Ok(()),
            done => done,
        }
    }

    /// Makes `stream` reset when both ways are over, and ends the way that reads from it.
    fn abort(&self, stream: &TcpStream, error: io::Error) -> io::Result<()> {
        if self.link.options.has(Mutation::SwallowsReset) {
            sleep_for_ever();
        }
        self.link.broken.store(true, Ordering::SeqCst);
        if self.link.options.has(Mutation::ResetBecomesEnd) {
            let _ = stream.shutdown(Shutdown::Both);
        } else {
            SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
            // No end is sent by this, it wakes the other way.
            let _ = stream.shutdown(Shutdown::Read);
        }
        Err(error)
    }

    /// Whether the end that was read is a reset of which the other way, which writes there, had the
    /// error: the socket has no peer any more, and that way has not ended in order.
    fn was_reset(&self) -> bool {
        !self.other_ended() && self.from.peer_addr().is_err()
    }

    /// Whether the other way has ended in order.
    fn other_ended(&self) -> bool {
        self.link.ended[usize::from(self.up)].load(Ordering::SeqCst)
    }

    fn is_idle(&self) -> bool {
        let busy = Duration::from_millis(self.link.busy.load(Ordering::Relaxed));
        let has = self.link.options.has(Mutation::CutsIdle);
        has && self.link.begun.elapsed().saturating_sub(busy) >= IDLE
    }

    /// How many bytes can be read within `limit`; none is the end.
    fn peek(&self, limit: Duration) -> io::Result<Option<usize>> {
        let limit = limit.max(Duration::from_millis(1));
        self.from.set_read_timeout(Some(limit))?;
        let peeked = self.from.peek(&mut [0]);
        self.from.set_read_timeout(None)?;
        match peeked {
            Ok(count) => Ok(Some(count)),
            Err(error) if is_passing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The clients of all live connections, for what mixes them up.
static CLIENTS: Mutex<Vec<TcpStream>> = Mutex::new(Vec::new());

/// A live connection, known by its client's address.
struct Live(SocketAddr);

impl Live {
    fn add(client: &TcpStream) -> io::Result<Live> {
        let peer = client.peer_addr()?;
        Live::all().push(client.try_clone()?);
        Ok(Live(peer))
    }

    /// The client after this one, when there are many.
    fn other(client: &TcpStream) -> io::Result<Option<TcpStream>> {
        let clients = Live::all();
        let own = client.peer_addr()?;
        let is_own = |one: &TcpStream| one.peer_addr().is_ok_and(|peer| peer == own);
        match clients.iter().position(is_own) {
            Some(at) if clients.len() >= MANY => {
                clients[(at + 1) % clients.len()].try_clone().map(Some)
            }
            _ => Ok(None),
        }
    }

    fn all() -> MutexGuard<'static, Vec<TcpStream>> {
        CLIENTS.lock().expect("no thread panics with it")
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        Live::all().retain(|one| one.peer_addr().is_ok_and(|peer| peer != self.0));
    }
}

/// Reads on a thread of its own, as fast as it comes.
fn read_ahead(from: &TcpStream) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    let from = from.try_clone();
    thread::spawn(move || {
        let mut buffer = [0; BUFFER];
        loop {
            let read = from.as_ref().map_err(|error| error.kind().into());
            let read = read.and_then(|mut from| from.read(&mut buffer));
            let more = matches!(read, Ok(count) if count > 0);
            let sent = sender.send(read.map(|count| buffer[..count].to_vec()));
            if !more || sent.is_err() {
                return;
            }
        }
    });
    receiver
}
