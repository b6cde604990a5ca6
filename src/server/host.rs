//! What a server's threads share, and what one run of it consists of.

use std::fmt;
use std::sync::Arc;

use super::failure::{Failures, HandlerError, HandlerFailure};
use super::options::Options;
use super::protocol::Lifecycle;
use super::ready::Ready;
use super::record::{FULL, Record};
use super::registry::Registry;
use super::wake::Kind;
use super::workers::Crew;
use crate::net::address::Address;
use crate::net::socket::BoundSocket;
use crate::net::stop::StopSignal;

/// The part of a server that outlives a stop: its protocol, its address, what arrived, what failed.
pub(crate) struct Host<P: Lifecycle> {
    pub(crate) protocol: P,
    pub(crate) options: Options,
    pub(crate) address: Address,
    pub(crate) record: Record<P::Item>,
    pub(crate) failures: Failures,
}

impl<P: Lifecycle> Host<P> {
    pub(crate) fn fail(&self, peer: Option<Address>, error: HandlerError) {
        self.keep(HandlerFailure::new(peer, &error));
    }

    pub(crate) fn keep(&self, failure: HandlerFailure) {
        log::warn!(target: P::TARGET, "{}: {failure}", self.name());
        self.failures.add(failure);
    }

    /// What came and was neither refused nor taken.
    pub(crate) fn arrived(&self) -> Vec<P::Item>
    where
        P::Item: Clone,
    {
        self.say_what_is_missing();
        self.record.all()
    }

    /// What was refused and not taken.
    pub(crate) fn refused(&self) -> Vec<P::Item>
    where
        P::Item: Clone,
    {
        self.say_what_is_missing();
        self.record.all_refused()
    }

    /// Says once that a list is not all that came. It goes to standard error, which a failing test shows:
    /// whoever looks at a list that is too short has no other reason to ask for a word.
    fn say_what_is_missing(&self) {
        if let Some(missing) = self.record.first_missing() {
            eprintln!(
                "loopback: {}: its list is not all that came: {missing} more so far, not kept because {FULL}",
                self.name()
            );
        }
    }

    /// "http server on 127.0.0.1:8080".
    pub(crate) fn name(&self) -> impl fmt::Display + '_ {
        struct Name<'a>(&'static str, &'a Address);
        impl fmt::Display for Name<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} server on {}", self.0, self.1)
            }
        }
        Name(P::NAME, &self.address)
    }

    /// "http:8080": the system shows at most 15 bytes of a thread's name.
    pub(crate) fn thread_name(&self) -> String {
        match self.address.as_inet() {
            Some(address) => format!("{}:{}", P::NAME, address.port()),
            None => format!("{}:unix", P::NAME),
        }
    }
}

impl<P: Lifecycle> fmt::Debug for Host<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("name", &format_args!("{}", self.name()))
            .field("options", &self.options)
            .field("record", &self.record)
            .finish_non_exhaustive()
    }
}

/// What the thread of one run of a server gets.
pub struct Run<P: Lifecycle> {
    pub(crate) host: Arc<Host<P>>,
    pub(crate) wait: <P::Kind as Kind>::Wait,
    pub(crate) waker: Arc<<P::Kind as Kind>::Waker>,
    pub(crate) socket: BoundSocket,
    pub(crate) stop: StopSignal,
    pub(crate) registry: Arc<Registry>,
    pub(crate) crew: Arc<Crew>,
    pub(crate) ready: Ready,
}

impl<P: Lifecycle> fmt::Debug for Run<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}
