//! What the body of a check works with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::{Conversation, End};
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::Bounds;
use crate::tunnel::link::program::{Line, Program};
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::child::{End as ProgramEnd, Told};
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::programs::usage::Usage;
use crate::tunnel::report::{Latency, Measures};
use crate::tunnel::route::Route;

/// How many times as long as a connection something may take that a program need not do at once.
const UNHURRIED: u32 = 20;

/// One check while it runs: a started program, a service, a deadline, and a place for what is seen.
///
/// A body leaves the program as it found it, unless its plan says [`own`](crate::tunnel::run::plan::Plan::own): idle,
/// and with no connection on its way to the service.
pub(in crate::tunnel) struct Trial<'a> {
    pub(in crate::tunnel) program: Program<'a>,
    pub(in crate::tunnel) deadline: Deadline,
    /// What one connection may take to be made, however patient the check is.
    pub(in crate::tunnel) opening: Duration,
    pub(in crate::tunnel) random: Random,
    pub(in crate::tunnel) seen: Seen,
    pub(in crate::tunnel) sizes: Sizes,
    pub(in crate::tunnel) grace: Duration,
    pub(in crate::tunnel) kept: Kept,
}

/// What the checks of a sequence leave to each other.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct Kept {
    /// Whether the program has listened.
    pub(in crate::tunnel) listened: bool,
    /// The client's end, until there are both.
    pub(in crate::tunnel) client: Option<Stream>,
    /// Where the program says that it connects from.
    pub(in crate::tunnel) says: Option<SocketAddr>,
    /// Where it has connected from.
    pub(in crate::tunnel) peer: Option<SocketAddr>,
    /// Both ends.
    pub(in crate::tunnel) both: Option<Conversation>,
}

impl Kept {
    /// What a check before this one has left.
    ///
    /// # Panics
    ///
    /// If it has not: each check of a sequence stands on those before it.
    pub(in crate::tunnel) fn both(&mut self) -> &mut Conversation {
        self.both
            .as_mut()
            .expect("a check before this one has connected")
    }
}

/// What a trial leaves behind.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct Seen {
    pub(in crate::tunnel) notes: Vec<String>,
    pub(in crate::tunnel) measures: Measures,
    /// The program may have ended.
    pub(in crate::tunnel) may_end: bool,
    /// The longest that a connection took to be made.
    pub(in crate::tunnel) pace: Duration,
}

impl<'a> Trial<'a> {
    /// The kind of tunnel.
    pub(in crate::tunnel) fn tunnel(&self) -> &'a dyn Tunnel {
        self.line().tunnel
    }

    /// The addresses of this check's program.
    pub(in crate::tunnel) fn route(&self) -> Route {
        self.line().route
    }

    /// What can be used on any thread: ways to the program without this trial. The connection that
    /// found the program listening is on its way to the service until [`Trial::connect`] or
    /// [`Trial::raw`] has taken it.
    pub(in crate::tunnel) fn line(&self) -> Line<'a> {
        self.program.line()
    }

    /// Begins the next check of a sequence.
    pub(in crate::tunnel) fn begin(&mut self, limit: Duration, random: Random, grace: Duration) {
        self.deadline = Deadline::new(limit, "the check to end");
        self.opening = limit;
        self.random = random;
        self.seen = Seen::default();
        self.grace = grace;
    }

    /// The end of this check, for a wait for `what`. Every stream of this trial ends with it anyway.
    pub(in crate::tunnel) fn deadline(&self, what: &'static str) -> Deadline {
        self.deadline.waiting_for(what)
    }

    /// The end of what needs no more than one ordinary connection.
    fn opening(&self, what: &'static str) -> Deadline {
        Deadline::new(self.opening.min(self.deadline.remaining()), what)
    }

    /// Of a check that may take `patience` times the usual: what hangs is given up as soon as in any other
    /// check, what goes on may take all its time.
    pub(in crate::tunnel) fn bounds(&self, patience: u32) -> Bounds {
        let whole = self.deadline("the check to end");
        Bounds::within(whole, whole.limit() / patience.max(1))
    }

    /// What the program holds of the machine now.
    pub(in crate::tunnel) fn usage(&mut self) -> Result<Usage, Stop> {
        let unknown = || Stop::Skipped("this system does not tell what a process holds".to_owned());
        Usage::of(self.pid()).ok_or_else(unknown)
    }

    /// How much to do.
    pub(in crate::tunnel) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Data from the run's seed, the same in every run of this check.
    pub(in crate::tunnel) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Connects through the program to the service: both ends.
    pub(in crate::tunnel) fn connect(&mut self) -> Result<Conversation, Stop> {
        self.seen.measures.connections += 1;
        let deadline = self.opening("a connection through the program");
        let both = self.program.open(None, &deadline);
        self.seen.pace = self.seen.pace.max(deadline.elapsed());
        let mut both = both?;
        both.client.stream().set_deadline(self.deadline);
        both.service.stream().set_deadline(self.deadline);
        Ok(both)
    }

    /// `limit`, which suits an idle machine, and more on a busy one: by the longest that a connection of
    /// this check took to be made. For short waits that a verdict hangs on.
    pub(in crate::tunnel) fn unhurried(&self, limit: Duration) -> Duration {
        limit + UNHURRIED * self.seen.pace
    }

    /// Connects to the program and says nothing: its protocol is this check's to speak.
    pub(in crate::tunnel) fn raw(&mut self) -> Result<End, Stop> {
        self.seen.measures.connections += 1;
        let deadline = self.opening("a connection to the program");
        let mut stream = self.program.connect(&deadline)?;
        stream.set_deadline(self.deadline);
        Ok(End::new(stream, "the client"))
    }

    /// The service's end of the connection that `client` has asked for, and where it came from. Ends at
    /// once when nobody is left who could connect.
    pub(in crate::tunnel) fn accept(
        &mut self,
        client: &mut End,
    ) -> Result<(End, SocketAddr), Stop> {
        let deadline = self.deadline("the program to connect");
        let (stream, peer) = self.program.accept(client.stream(), &deadline)?;
        Ok((End::new(stream, "the service"), peer))
    }

    /// As [`Trial::accept`], at another service.
    pub(in crate::tunnel) fn accept_at(
        &mut self,
        service: &Service,
        client: &mut End,
    ) -> Result<(End, SocketAddr), Stop> {
        let deadline = self.deadline("the program to connect");
        let (stream, peer) = self
            .program
            .accept_at(service, client.stream(), &deadline)?;
        Ok((End::new(stream, "the service"), peer))
    }

    /// What the service reads before the data, as the kind of tunnel does that.
    pub(in crate::tunnel) fn preamble(
        &self,
        service: &mut End,
        client: &mut End,
    ) -> Result<(), Stop> {
        self.line().preamble(service.stream(), client.stream())
    }

    /// The listening service of this route. With a forwarder all connections come here.
    pub(in crate::tunnel) fn service(&self) -> &Service {
        self.program.service()
    }

    /// An ordinary connection still works, whatever was done before.
    pub(in crate::tunnel) fn still_works(&mut self) -> Result<(), Stop> {
        self.works("an ordinary connection afterwards")
    }

    /// An ordinary connection works; `which` says when, for the message.
    pub(in crate::tunnel) fn works(&mut self, which: &str) -> Result<(), Stop> {
        self.ordinary().map_err(|stop| match stop {
            Stop::Failed(message, failure) => Stop::Failed(format!("{which}: {message}"), failure),
            other => other,
        })
    }

    /// A connection through the program, with a few words both ways.
    fn ordinary(&mut self) -> Result<(), Stop> {
        let deadline = self.opening("an ordinary connection");
        self.connect()?.whole(&deadline)
    }

    /// Writes down what is seen and not judged, for people.
    pub(in crate::tunnel) fn note(&mut self, note: impl Into<String>) {
        self.seen.notes.push(note.into());
    }

    /// Writes down what is seen and not judged, for comparing two programs.
    pub(in crate::tunnel) fn record(&mut self, name: &str, value: impl Into<String>) {
        let record = (name.to_owned(), value.into());
        self.seen.measures.records.push(record);
    }

    /// Adds to the payload that was carried.
    pub(in crate::tunnel) fn carried(&mut self, bytes: u64) {
        self.seen.measures.bytes += bytes;
    }

    /// Adds to the connections made, for those that [`Trial::line`] made.
    pub(in crate::tunnel) fn connected(&mut self, connections: u64) {
        self.seen.measures.connections += connections;
    }

    /// The rate at which `bytes` of payload were carried since `begun`.
    pub(in crate::tunnel) fn throughput(&mut self, bytes: u64, begun: Instant) {
        let nanos = begun.elapsed().as_nanos().max(1);
        let rate = u128::from(bytes) * 1_000_000_000 / nanos;
        self.seen.measures.throughput = u64::try_from(rate).ok();
    }

    /// How long single exchanges took.
    pub(in crate::tunnel) fn latencies(&mut self, waits: Vec<Duration>) {
        self.seen.measures.latency = Latency::of(waits);
    }

    /// The process id of the program that the client connects to: for /proc.
    pub(in crate::tunnel) fn pid(&mut self) -> u32 {
        self.program.child().id()
    }

    /// From the program's start until it listened.
    pub(in crate::tunnel) fn ready_after(&self) -> Duration {
        self.program.ready_after()
    }

    /// Whether the program still runs.
    pub(in crate::tunnel) fn is_running(&mut self) -> bool {
        !self.program.child().has_exited()
    }

    /// That the program ends in this check is no failure by itself.
    pub(in crate::tunnel) fn may_end(&mut self) {
        self.seen.may_end = true;
    }

    /// Ends the program by TERM, and by KILL at the deadline for that; how it ended, or each of
    /// several in the order of their start. Only for plans with a process of their
    /// [`own`](crate::tunnel::run::plan::Plan::own).
    pub(in crate::tunnel) fn stop(&mut self) -> Vec<ProgramEnd> {
        self.may_end();
        self.program.child().stop(self.grace)
    }

    /// Tells the program to end, and waits for that. What it has started may still run until
    /// [`Trial::stop`]. Only for plans with a process of their [`own`](crate::tunnel::run::plan::Plan::own).
    pub(in crate::tunnel) fn tell(&mut self, signal: Signal, whom: Whom) -> Told {
        self.may_end();
        self.program.child().tell(signal, whom, self.grace)
    }

    /// Whether the service of this route refuses connections; it listens unless told otherwise.
    pub(in crate::tunnel) fn refuse(&mut self, refuses: bool) -> Result<(), Stop> {
        let service = self.program.service_mut();
        let done = match refuses {
            true => service.refuse(),
            false => service.listen_again(),
        };
        // Another process may have got the port in between.
        done.map_err(|error| Stop::Skipped(format!("the service's port is lost: {error}")))
    }

    /// Starts the ended program again on the same route, and waits until it listens.
    pub(in crate::tunnel) fn start_again(&mut self) -> Result<(), Stop> {
        let deadline = self.deadline("the program to listen again");
        let started = self.program.start_again();
        started.map_err(|error| Stop::failed(format!("it cannot be started again: {error}")))?;
        self.program.get_ready(&deadline)
    }

    /// Nothing answers any more where the program listened.
    pub(in crate::tunnel) fn port_closed(&self) -> Result<(), Stop> {
        self.line().port_closed(&self.deadline("the port to close"))
    }
}
