//! What the body of a check works with.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::deadline::Deadline;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::conversation::{Conversation, Endpoint};
use crate::tunnel::ends::random::Random;
use crate::tunnel::ends::service::Service;
use crate::tunnel::ends::stream::Stream;
use crate::tunnel::ends::transfer::Bounds;
use crate::tunnel::link::connector::{Connector, Opener};
use crate::tunnel::link::program::StartedProgram;
use crate::tunnel::link::tunnel::Tunnel;
use crate::tunnel::programs::child::{ExitReport, SignalReport};
use crate::tunnel::programs::group::{Signal, Whom};
use crate::tunnel::programs::usage::Usage;
use crate::tunnel::report::{Latency, Measures};
use crate::tunnel::route::Route;

/// How many times as long as a connection something may take that a program need not do at once.
const SCALE: u32 = 20;

/// One check while it runs: a started program, a service, a deadline, and a place for what is seen.
///
/// A body leaves the program as it found it, unless it has a [`fresh_process`](crate::tunnel::check::definition::CheckDef::fresh_process):
/// idle, and with no connection on its way to the service.
pub(crate) struct CheckContext<'a> {
    pub(crate) program: StartedProgram<'a>,
    pub(crate) deadline: Deadline,
    /// What one connection may take to be made, however patient the check is.
    pub(crate) opening: Duration,
    pub(crate) random: Random,
    pub(crate) evidence: Evidence,
    pub(crate) sizes: Sizes,
    pub(crate) grace: Duration,
    pub(crate) kept: Kept,
}

/// What the checks of a sequence leave to each other.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Whether the program has listened.
    pub(crate) listened: bool,
    /// The client's end, until there are both.
    pub(crate) client: Option<Stream>,
    /// Where the program says that it connects from.
    pub(crate) says: Option<SocketAddr>,
    /// Where it has connected from.
    pub(crate) peer: Option<SocketAddr>,
    /// Both ends.
    pub(crate) both: Option<Conversation>,
}

impl Kept {
    /// Closes what is still open.
    pub(crate) fn close(&mut self) {
        self.client = None;
        self.both = None;
    }

    /// What a check before this one has left.
    ///
    /// # Panics
    ///
    /// If it has not: each check of a sequence stands on those before it.
    pub(crate) fn both(&mut self) -> &mut Conversation {
        self.both
            .as_mut()
            .expect("a check before this one has connected")
    }
}

/// What is seen by a check, and by what was seen how busy the machine is.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) notes: Vec<String>,
    pub(crate) measures: Measures,
    /// The program may have ended.
    pub(crate) may_end: bool,
    /// The longest that a connection took to be made.
    pub(crate) pace: Duration,
}

impl<'a> CheckContext<'a> {
    /// The kind of tunnel.
    pub(crate) fn tunnel(&self) -> &'a dyn Tunnel {
        self.connector().tunnel
    }

    /// The addresses of this check's program.
    pub(crate) fn route(&self) -> Route {
        self.connector().route
    }

    /// What can be used on any thread: ways to the program without this context. The connection that
    /// found the program listening is on its way to the service until [`CheckContext::connect`] or
    /// [`CheckContext::raw`] has taken it.
    pub(crate) fn connector(&self) -> Connector<'a> {
        self.program.connector()
    }

    /// Begins the next check of a sequence.
    pub(crate) fn begin(&mut self, limit: Duration, random: Random, grace: Duration) {
        self.deadline = Deadline::new(limit, "the check to end");
        self.opening = limit;
        self.random = random;
        self.evidence = Evidence::default();
        self.grace = grace;
    }

    /// The end of this check, for a wait for `what`. Every stream of this context ends with it anyway.
    pub(crate) fn deadline(&self, what: &'static str) -> Deadline {
        self.deadline.waiting_for(what)
    }

    /// The end of what needs no more than one ordinary connection.
    fn opening(&self, what: &'static str) -> Deadline {
        Deadline::new(self.opening.min(self.deadline.remaining()), what)
    }

    /// Of a check that may take `patience` times the usual: what hangs is given up as soon as in any other
    /// check, what goes on may take all its time.
    pub(crate) fn bounds(&self, timeout_factor: u32) -> Bounds {
        let whole = self.deadline("the check to end");
        Bounds::within(whole, whole.limit() / timeout_factor.max(1))
    }

    /// What the program holds of the machine now.
    pub(crate) fn usage(&mut self) -> Result<Usage, CheckError> {
        let unknown =
            || CheckError::Skipped("this system does not tell what a process holds".to_owned());
        Usage::of(self.pid()).ok_or_else(unknown)
    }

    /// How much to do.
    pub(crate) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Data from the run's seed, the same in every run of this check.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    /// Connects through the program to the service: both ends.
    pub(crate) fn connect(&mut self) -> Result<Conversation, CheckError> {
        self.evidence.measures.connections += 1;
        let deadline = self.opening("a connection through the program");
        let both = self.program.open(None, &deadline);
        self.evidence.pace = self.evidence.pace.max(deadline.elapsed());
        let mut both = both?;
        both.client.stream().set_deadline(self.deadline);
        both.service.stream().set_deadline(self.deadline);
        Ok(both)
    }

    /// `limit`, which suits an idle machine, and more on a busy one: by the longest that a connection of
    /// this check took to be made. For short waits that a verdict hangs on.
    pub(crate) fn scaled_timeout(&self, limit: Duration) -> Duration {
        limit + SCALE * self.evidence.pace
    }

    /// Connects to the program and says nothing: its protocol is this check's to speak.
    pub(crate) fn raw(&mut self) -> Result<Endpoint, CheckError> {
        self.evidence.measures.connections += 1;
        let deadline = self.opening("a connection to the program");
        let mut stream = self.program.connect(&deadline)?;
        stream.set_deadline(self.deadline);
        Ok(Endpoint::new(stream, "the client"))
    }

    /// The service's end of the connection that `client` has asked for, and where it came from. Ends at
    /// once when nobody is left who could connect.
    pub(crate) fn accept(
        &mut self,
        client: &mut Endpoint,
    ) -> Result<(Endpoint, SocketAddr), CheckError> {
        let deadline = self.deadline("the program to connect");
        let (stream, peer) = self.program.accept(client.stream(), &deadline)?;
        Ok((Endpoint::new(stream, "the service"), peer))
    }

    /// As [`CheckContext::accept`], at a service that is asked for by name, and of which several addresses may be
    /// connected to; `has_spoken` says whether the client has sent anything behind its handshake.
    pub(crate) fn accept_by_name(
        &mut self,
        service: &Service,
        client: &mut Endpoint,
        has_spoken: bool,
    ) -> Result<(Endpoint, SocketAddr, Opener), CheckError> {
        let deadline = self.deadline("the program to connect");
        let accepted =
            self.program
                .accept_by_name(service, client.stream(), &deadline, has_spoken)?;
        let (stream, peer, opener) = accepted;
        Ok((Endpoint::new(stream, "the service"), peer, opener))
    }

    /// What the service reads before the data, as the kind of tunnel does that.
    pub(crate) fn preamble(
        &self,
        service: &mut Endpoint,
        client: &mut Endpoint,
    ) -> Result<(), CheckError> {
        self.connector().preamble(service.stream(), client.stream())
    }

    /// The listening service of this route. With a forwarder all connections come here.
    pub(crate) fn service(&self) -> &Service {
        self.program.service()
    }

    /// An ordinary connection still works, whatever was done before.
    pub(crate) fn still_works(&mut self) -> Result<(), CheckError> {
        self.works("an ordinary connection afterwards")
    }

    /// An ordinary connection works; `which` says when, for the message.
    pub(crate) fn works(&mut self, which: &str) -> Result<(), CheckError> {
        self.ordinary().map_err(|error| match error {
            CheckError::Failed(message, failure) => {
                CheckError::Failed(format!("{which}: {message}"), failure)
            }
            other => other,
        })
    }

    /// A connection through the program, with a few words both ways.
    fn ordinary(&mut self) -> Result<(), CheckError> {
        let deadline = self.opening("an ordinary connection");
        self.connect()?.whole(&deadline)
    }

    /// Writes down how many connections of the program's own were left out.
    pub(crate) fn note_health_checks(&mut self) {
        let told = match self.program.service().take_health_checks() {
            0 => return,
            1 => "1 connection of the program's own was".to_owned(),
            more => format!("{more} connections of the program's own were"),
        };
        self.note(format!(
            "{told} left out, which it makes to see whether the service lives"
        ));
    }

    /// Writes down what is seen and not judged, for people.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.evidence.notes.push(note.into());
    }

    /// Writes down what is seen and not judged, for comparing two programs.
    pub(crate) fn record(&mut self, name: &str, value: impl Into<String>) {
        let record = (name.to_owned(), value.into());
        self.evidence.measures.records.push(record);
    }

    /// Adds to the payload that was carried.
    pub(crate) fn carried(&mut self, bytes: u64) {
        self.evidence.measures.bytes += bytes;
    }

    /// Adds to the connections made, for those that [`CheckContext::connector`] made.
    pub(crate) fn connected(&mut self, connections: u64) {
        self.evidence.measures.connections += connections;
    }

    /// The rate at which `bytes` of payload were carried since `begun`.
    pub(crate) fn throughput(&mut self, bytes: u64, begun: Instant) {
        let nanos = begun.elapsed().as_nanos().max(1);
        let rate = u128::from(bytes) * 1_000_000_000 / nanos;
        self.evidence.measures.throughput = u64::try_from(rate).ok();
    }

    /// How long single exchanges took.
    pub(crate) fn latencies(&mut self, waits: Vec<Duration>) {
        self.evidence.measures.latency = Latency::of(waits);
    }

    /// The process id of the program that the client connects to: for /proc.
    pub(crate) fn pid(&mut self) -> u32 {
        self.program.child().id()
    }

    /// From the program's start until it listened.
    pub(crate) fn ready_after(&self) -> Duration {
        self.program.ready_after()
    }

    /// Whether the program still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        !self.program.child().has_exited()
    }

    /// That the program ends in this check is no failure by itself.
    pub(crate) fn may_end(&mut self) {
        self.evidence.may_end = true;
    }

    /// Ends the program by TERM, and by KILL at the deadline for that; how it ended, or each of
    /// several in the order of their start. Only for checks with a
    /// [`fresh_process`](crate::tunnel::check::definition::CheckDef::fresh_process).
    pub(crate) fn stop(&mut self) -> Vec<ExitReport> {
        self.may_end();
        self.program.child().stop(self.grace)
    }

    /// Tells the program to end, and waits for that. What it has started may still run until
    /// [`CheckContext::stop`]. Only for checks with a
    /// [`fresh_process`](crate::tunnel::check::definition::CheckDef::fresh_process).
    pub(crate) fn send_signal(&mut self, signal: Signal, whom: Whom) -> SignalReport {
        self.may_end();
        self.program.child().send_signal(signal, whom, self.grace)
    }

    /// Whether the service of this route refuses connections; it listens unless told otherwise.
    pub(crate) fn refuse(&mut self, refuses: bool) -> Result<(), CheckError> {
        let service = self.program.service_mut();
        let done = match refuses {
            true => service.refuse(),
            false => service.listen_again(),
        };
        // Another process may have got the port in between.
        done.map_err(|error| CheckError::Skipped(format!("the service's port is lost: {error}")))
    }

    /// Starts the ended program again on the same route, and waits until it listens.
    pub(crate) fn start_again(&mut self) -> Result<(), CheckError> {
        self.start_again_with(None)
    }

    /// As [`CheckContext::start_again`], with so many descriptors at most.
    pub(crate) fn start_again_with(
        &mut self,
        descriptors: Option<usize>,
    ) -> Result<(), CheckError> {
        let deadline = self.deadline("the program to listen again");
        let started = self.program.start_again(descriptors);
        started
            .map_err(|error| CheckError::failed(format!("it cannot be started again: {error}")))?;
        let ready = self.program.get_ready(&deadline);
        ready.map_err(|error| match error {
            // That it must is what the check says.
            CheckError::Died(message, failure) => {
                let how = self.program.death(self.grace).unwrap_or_default();
                CheckError::Failed(format!("{message}: {how}"), failure)
            }
            error => error,
        })
    }

    /// Nothing answers any more where the program listened.
    pub(crate) fn port_closed(&self) -> Result<(), CheckError> {
        self.connector()
            .port_closed(&self.deadline("the port to close"))
    }
}
