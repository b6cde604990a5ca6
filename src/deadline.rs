//! A wait's deadline, computed once, that knows what it waits for.
//!
//! Every wait in this crate is bounded by one of these. The end is fixed when the wait begins, so a
//! wait that wakes up many times still ends on time, and the error of a wait that ran out names it.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

/// The end of one wait.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline {
    started: Instant,
    limit: Duration,
    what: &'static str,
}

impl Deadline {
    /// Starts a wait of at most `limit` for `what` ("a line", "the client to connect").
    pub(crate) fn new(limit: Duration, what: &'static str) -> Deadline {
        Deadline {
            started: Instant::now(),
            limit,
            what,
        }
    }

    /// The same end, of a wait for something else.
    #[cfg(feature = "tunnel")]
    pub(crate) fn waiting_for(self, what: &'static str) -> Deadline {
        Deadline { what, ..self }
    }

    /// The time that it had when it began.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The time left, zero when it has passed.
    pub(crate) fn remaining(&self) -> Duration {
        self.limit.saturating_sub(self.started.elapsed())
    }

    /// The time since the wait began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it has passed.
    pub(crate) fn expired(&self) -> bool {
        self.remaining().is_zero()
    }

    /// The time left, or the error that says which wait ran out.
    pub(crate) fn check(&self) -> io::Result<Duration> {
        match self.remaining() {
            Duration::ZERO => Err(self.error("")),
            left => Ok(left),
        }
    }

    /// The error of this wait having run out; `so_far` says what had come ("; 3 bytes came").
    pub(crate) fn error(&self, so_far: &str) -> io::Error {
        prose(
            io::ErrorKind::TimedOut,
            format!(
                "timed out after {:?} waiting for {}{so_far}",
                readable(self.limit),
                self.what
            ),
        )
    }
}

/// Pauses that double from a first one up to 10 ms: early exits are still noticed at once.
#[cfg(feature = "tunnel")]
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

#[cfg(feature = "tunnel")]
impl Backoff {
    const LONGEST: Duration = Duration::from_millis(10);

    pub(crate) fn new(first: Duration) -> Backoff {
        Backoff { next: first }
    }

    /// Sleeps, but not beyond `deadline`.
    pub(crate) fn sleep(&mut self, deadline: &Deadline) {
        std::thread::sleep(self.next.min(deadline.remaining()));
        self.next = (self.next * 2).min(Backoff::LONGEST);
    }
}

/// What was left of another wait is no round number: only its milliseconds are told.
fn readable(limit: Duration) -> Duration {
    let whole = || u64::try_from((limit.as_micros() + 500) / 1000).ok();
    match limit >= Duration::from_millis(20) {
        true => whole().map_or(limit, Duration::from_millis),
        false => limit,
    }
}

/// "1 byte", "2 bytes".
pub(crate) fn bytes_of(count: impl fmt::Display) -> String {
    match count.to_string() {
        one if one == "1" => "1 byte".to_owned(),
        count => format!("{count} bytes"),
    }
}

/// An error whose text is shown as it is by `Debug` too, for that is what `unwrap` prints.
pub(crate) fn prose(kind: io::ErrorKind, text: String) -> io::Error {
    struct Prose(String);
    impl fmt::Display for Prose {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl fmt::Debug for Prose {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(&self.0)
        }
    }
    impl std::error::Error for Prose {}
    io::Error::new(kind, Prose(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passed_deadline_names_its_wait() {
        let deadline = Deadline::new(Duration::ZERO, "a line");
        assert!(deadline.expired());
        let error = deadline.check().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), "timed out after 0ns waiting for a line");
        assert_eq!(
            deadline.error("; 3 bytes came").to_string(),
            "timed out after 0ns waiting for a line; 3 bytes came"
        );
    }

    #[test]
    fn a_long_wait_is_told_in_milliseconds() {
        for (nanos, due) in [
            (1_999_948_704, "2s"),
            (3_998_958_539, "3.999s"),
            (1_500_000_000, "1.5s"),
            (977_746_451, "978ms"),
            (20_000_001, "20ms"),
            (19_000_001, "19.000001ms"),
        ] {
            assert_eq!(format!("{:?}", readable(Duration::from_nanos(nanos))), due);
        }
        assert_eq!(readable(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn time_left_shrinks_and_never_underflows() {
        let deadline = Deadline::new(Duration::from_secs(3600), "nothing");
        assert!(!deadline.expired());
        assert!(deadline.remaining() <= Duration::from_secs(3600));
        assert!(deadline.check().unwrap() > Duration::from_secs(3590));
        let left = deadline.remaining();
        while deadline.remaining() == left {}
        assert!(!deadline.elapsed().is_zero());
        assert!(Deadline::new(Duration::MAX, "ever").remaining() > Duration::from_secs(1 << 40));
    }
}
