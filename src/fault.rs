//! Misbehaviour on purpose: where a response breaks off, and how fast it flows.

use std::time::Duration;

/// A place in a response, at which a [`Fault`] happens.
///
/// Bytes are counted as they go over the wire, the framing of chunks included. A place beyond the end of the head or
/// of the response is its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum At {
    /// Before the first byte.
    Start,
    /// After so many bytes of the head.
    Head(usize),
    /// After the head and so many bytes of the body.
    Body(u64),
    /// After the last byte.
    End,
}

/// What a server does wrong in the midst of a response.
///
/// ```
/// # use loopback::{At, Fault, Response};
/// # use std::time::Duration;
/// // The client sees the connection reset when it has read half of the body.
/// let response = Response::text("hello, world").fault(Fault::Reset(At::Body(6)));
/// // Nothing comes for a while in the middle of the head, and then the rest.
/// let response = Response::text("hello").fault(Fault::Stall(At::Head(20), Duration::from_secs(2)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Closes the connection: the client reads the end of the stream.
    Close(At),
    /// Resets the connection. What was sent shortly before may be lost to the client.
    Reset(At),
    /// Sends nothing for so long, and then goes on. Ends early, with the connection, when the server stops.
    Stall(At, Duration),
}

/// How fast a response flows. Both end early, with the connection, when the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pace {
    /// In segments of so many bytes, with a gap between.
    Dribble {
        /// Bytes sent at once; 0 counts as 1.
        segment: usize,
        /// The time between two segments.
        gap: Duration,
    },
    /// So many bytes a second, in up to 50 segments a second; 0 counts as 1.
    Throttle {
        /// Bytes a second.
        bytes_per_second: u64,
    },
}

/// Turns faults and pace into the steps of sending; it neither sends nor waits itself.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    /// Where each fault happens, in bytes from the start; the first to come last.
    faults: Vec<(u64, Effect)>,
    segment: Option<(usize, Duration)>,
    /// Sent so far.
    sent: u64,
    /// Sent of the current segment.
    in_segment: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Close,
    Reset,
    Stall(Duration),
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Send so many of the bytes at hand, and then ask again.
    Send(usize),
    Pause(Duration),
    Close,
    Reset,
    /// All bytes at hand are sent.
    Done,
}

impl Schedule {
    /// A response with a head of `head` bytes.
    pub(crate) fn new(faults: &[Fault], pace: Option<Pace>, head: usize) -> Schedule {
        let mut faults: Vec<_> = faults.iter().map(|fault| fault.placed(head)).collect();
        // The sort is stable, so that faults at one place happen in the order in which they were given.
        faults.sort_by_key(|(offset, _)| *offset);
        faults.reverse();
        Schedule {
            faults,
            segment: pace.map(Pace::segments),
            ..Schedule::default()
        }
    }

    /// Whether it asks for nothing but sending all at once.
    pub(crate) fn is_plain(&self) -> bool {
        self.faults.is_empty() && self.segment.is_none()
    }

    /// The next step when `pending` bytes are at hand.
    pub(crate) fn next(&mut self, pending: usize) -> Step {
        let to_fault = match self.faults.last() {
            Some(&(offset, effect)) if offset <= self.sent => {
                self.faults.pop();
                return effect.step();
            }
            Some((offset, _)) => offset - self.sent,
            None => u64::MAX,
        };
        if pending == 0 {
            return Step::Done;
        }
        let mut count = pending.min(usize::try_from(to_fault).unwrap_or(usize::MAX));
        if let Some((segment, gap)) = self.segment {
            if self.in_segment == segment {
                self.in_segment = 0;
                return Step::Pause(gap);
            }
            count = count.min(segment - self.in_segment);
            self.in_segment += count;
        }
        self.sent += count as u64;
        Step::Send(count)
    }

    /// The next step after the last byte of the response.
    pub(crate) fn finish(&mut self) -> Step {
        match self.faults.pop() {
            Some((_, effect)) => effect.step(),
            None => Step::Done,
        }
    }
}

impl Fault {
    fn placed(&self, head: usize) -> (u64, Effect) {
        let (at, effect) = match *self {
            Fault::Close(at) => (at, Effect::Close),
            Fault::Reset(at) => (at, Effect::Reset),
            Fault::Stall(at, time) => (at, Effect::Stall(time)),
        };
        let offset = match at {
            At::Start => 0,
            At::Head(count) => count.min(head) as u64,
            At::Body(count) => count.saturating_add(head as u64),
            At::End => u64::MAX,
        };
        (offset, effect)
    }
}

impl Effect {
    fn step(self) -> Step {
        match self {
            Effect::Close => Step::Close,
            Effect::Reset => Step::Reset,
            Effect::Stall(time) => Step::Pause(time),
        }
    }
}

impl Pace {
    /// The bytes sent at once and the gap after them.
    fn segments(self) -> (usize, Duration) {
        match self {
            Pace::Dribble { segment, gap } => (segment.max(1), gap),
            Pace::Throttle { bytes_per_second } => {
                let rate = bytes_per_second.max(1);
                let segment = (rate / 50).max(1);
                let gap = Duration::from_secs_f64(segment as f64 / rate as f64);
                (usize::try_from(segment).unwrap_or(usize::MAX), gap)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// All steps of a response that comes in these pieces, without `Done`, the first of which is the head.
    fn steps(faults: &[Fault], pace: Option<Pace>, pieces: &[usize]) -> Vec<Step> {
        let mut schedule = Schedule::new(faults, pace, pieces[0]);
        let mut steps = Vec::new();
        for &piece in pieces {
            let mut pending = piece;
            loop {
                let step = schedule.next(pending);
                match step {
                    Step::Done => break,
                    Step::Send(count) => pending -= count,
                    Step::Pause(_) => {}
                    Step::Close | Step::Reset => {
                        steps.push(step);
                        return steps;
                    }
                }
                steps.push(step);
            }
        }
        loop {
            match schedule.finish() {
                Step::Done => return steps,
                step => steps.push(step),
            }
        }
    }

    #[test]
    fn faults_happen_at_their_places() {
        let at = |fault| steps(&[fault], None, &[10, 5]);
        assert_eq!(at(Fault::Close(At::Start)), [Step::Close]);
        assert_eq!(at(Fault::Reset(At::Head(3))), [Step::Send(3), Step::Reset]);
        assert_eq!(
            at(Fault::Close(At::Head(99))),
            [Step::Send(10), Step::Close]
        );
        assert_eq!(at(Fault::Close(At::Body(0))), [Step::Send(10), Step::Close]);
        let half = [Step::Send(10), Step::Send(2), Step::Reset];
        assert_eq!(at(Fault::Reset(At::Body(2))), half);
        let end = [Step::Send(10), Step::Send(5), Step::Close];
        assert_eq!(at(Fault::Close(At::Body(5))), end);
        assert_eq!(at(Fault::Close(At::Body(u64::MAX))), end);
        assert_eq!(at(Fault::Close(At::End)), end);
        let stalled = [
            Step::Send(10),
            Step::Send(1),
            Step::Pause(MS),
            Step::Send(4),
        ];
        assert_eq!(at(Fault::Stall(At::Body(1), MS)), stalled);
    }

    #[test]
    fn several_faults_happen_in_order() {
        let faults = [
            Fault::Close(At::Body(1)),
            Fault::Stall(At::Head(2), MS),
            Fault::Stall(At::Head(2), 2 * MS),
        ];
        let expected = [
            Step::Send(2),
            Step::Pause(MS),
            Step::Pause(2 * MS),
            Step::Send(8),
            Step::Send(1),
            Step::Close,
        ];
        assert_eq!(steps(&faults, None, &[10, 5]), expected);
    }

    #[test]
    fn a_dribble_has_gaps_between_segments_only() {
        let pace = Pace::Dribble {
            segment: 4,
            gap: MS,
        };
        let expected = [
            Step::Send(4),
            Step::Pause(MS),
            Step::Send(2),
            Step::Send(2),
            Step::Pause(MS),
            Step::Send(2),
        ];
        // The second segment is filled across the two pieces.
        assert_eq!(steps(&[], Some(pace), &[6, 4]), expected);
    }

    #[test]
    fn a_throttle_spreads_the_bytes_over_the_second() {
        let segments = |bytes_per_second| Pace::Throttle { bytes_per_second }.segments();
        assert_eq!(segments(1000), (20, 20 * MS));
        assert_eq!(segments(10), (1, 100 * MS));
        assert_eq!(segments(0), (1, 1000 * MS));
        let (segment, gap) = segments(u64::MAX);
        assert!(segment > 1 << 40 && gap.as_millis() <= 20);
    }

    proptest! {
        #[test]
        fn everything_is_sent_once_when_nothing_cuts_it(
            pieces in proptest::collection::vec(0usize..50, 1..5),
            stalls in proptest::collection::vec(0u64..100, 0..4),
            segment in 0usize..9,
        ) {
            let faults: Vec<_> = stalls.iter().map(|at| Fault::Stall(At::Body(*at), MS)).collect();
            let steps = steps(&faults, Some(Pace::Dribble { segment, gap: MS }), &pieces);
            let sent: usize = steps.iter().map(|step| match step { Step::Send(count) => *count, _ => 0 }).sum();
            prop_assert_eq!(sent, pieces.iter().sum::<usize>());
            prop_assert!(!steps.contains(&Step::Send(0)));
        }

        #[test]
        fn a_cut_after_n_bytes_sends_n_bytes(
            pieces in proptest::collection::vec(0usize..50, 1..5), at in 0u64..200, segment in 1usize..9,
        ) {
            let steps = steps(&[Fault::Close(At::Body(at))], Some(Pace::Dribble { segment, gap: MS }), &pieces);
            let sent: usize = steps.iter().map(|step| match step { Step::Send(count) => *count, _ => 0 }).sum();
            let all = pieces.iter().sum::<usize>();
            prop_assert_eq!(sent, all.min(pieces[0] + at as usize));
            prop_assert_eq!(steps.last(), Some(&Step::Close));
        }
    }
}
