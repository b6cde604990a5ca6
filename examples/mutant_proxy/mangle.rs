//! The ways to be wrong with the bytes of one direction.

use std::time::Duration;

use crate::header;
use crate::mutation::Mutation;
use crate::options::Options;

/// How much `only-first-bytes` carries.
const FIRST: usize = 100_000;
/// Where `stalls-at-megabyte` stops, and where the late mutations strike.
const LATE: usize = 1_000_000;
/// Where the early ones strike.
const EARLY: usize = 20;

/// How much must be there for two bytes to be swapped.
const SWAPPED: usize = 4;
/// How much is carried by what ends early, if it comes at once.
const ALONE: usize = 32 * 1024;

/// Changes what one direction carries.
#[derive(Debug)]
pub(crate) struct Mangler {
    options: &'static Options,
    /// From the client to the service.
    up: bool,
    /// How many bytes have come before.
    offset: usize,
    begun: bool,
    /// What may be the beginning of a header.
    held: Vec<u8>,
    /// Whether a header may still come.
    heads: bool,
}

impl Mangler {
    pub(crate) fn new(options: &'static Options, up: bool) -> Mangler {
        Mangler {
            options,
            up,
            offset: 0,
            begun: false,
            held: Vec::new(),
            heads: up && options.has(Mutation::SwallowsHeader),
        }
    }

    /// How long a piece it needs to be wrong by, and how long to wait for each part of it.
    pub(crate) fn least(&self) -> (usize, Duration) {
        let has = |mutation| self.up && self.offset == 0 && self.options.has(mutation);
        match () {
            () if has(Mutation::SwapsBytes) => (SWAPPED, Duration::from_secs(1)),
            () if has(Mutation::EndsEarly) => (ALONE, Duration::from_millis(200)),
            () => (0, Duration::ZERO),
        }
    }

    /// Changes the next piece.
    pub(crate) fn piece(&mut self, data: &mut Vec<u8>) {
        if self.heads {
            self.swallow_header(data);
        }
        let from = self.offset;
        self.offset += data.len();
        let at = |offset: usize| offset.checked_sub(from);
        for &mutation in &self.options.mutations {
            match (mutation, self.up) {
                (Mutation::SwapsBytes, true) if from == 0 && data.len() >= SWAPPED => {
                    data.swap(1, 3)
                }
                (Mutation::ChangesLateByte, false) => change(data, at(LATE), |byte| vec![byte ^ 1]),
                (Mutation::DropsByte, true) => change(data, at(EARLY), |_| Vec::new()),
                (Mutation::DropsLateByte, true) => change(data, at(LATE), |_| Vec::new()),
                (Mutation::DoublesByte, false) => change(data, at(EARLY), |byte| vec![byte; 2]),
                (Mutation::DoublesUp, true) | (Mutation::DoublesDown, false) => {
                    *data = data.iter().flat_map(|byte| [*byte; 2]).collect();
                }
                (Mutation::DropsUp, true) | (Mutation::DropsDown, false) => data.clear(),
                (Mutation::OnlyFirstBytes, true) => data.truncate(FIRST.saturating_sub(from)),
                (Mutation::StallsAtMegabyte, false) => data.truncate(LATE.saturating_sub(from)),
                (Mutation::StripsHighBits, true) => data.iter_mut().for_each(|byte| *byte &= 0x7f),
                (Mutation::DropsCarriageReturns, true) => drop_carriage_returns(data),
                (Mutation::StopsAtNul, false) => {
                    data.truncate(data.iter().position(|b| *b == 0).unwrap_or(data.len()));
                }
                (Mutation::JunkAtStart, true) if !self.begun => drop(data.splice(..0, *b"JUNK")),
                _ => {}
            }
        }
        self.begun = true;
    }

    /// What comes after the last piece.
    pub(crate) fn end(&self) -> Vec<u8> {
        let mutation = match self.up {
            true => Mutation::JunkAtEndUp,
            false => Mutation::JunkAtEndDown,
        };
        let mut end = self.held.clone();
        if self.options.has(mutation) {
            end.extend(b"JUNK");
        }
        end
    }

    /// Takes the header out of what has come so far, and holds back what may be the beginning of one.
    fn swallow_header(&mut self, data: &mut Vec<u8>) {
        self.held.append(data);
        if let Some(length) = header::length(&self.held) {
            self.heads = false;
            data.extend(self.held.drain(..).skip(length));
        }
    }

    /// Whether this direction has stopped for good.
    pub(crate) fn stalls(&self) -> bool {
        !self.up && self.offset >= LATE && self.options.has(Mutation::StallsAtMegabyte)
    }
}

/// Puts something else in the place of one byte, if it is in this piece.
fn change(data: &mut Vec<u8>, at: Option<usize>, by: impl Fn(u8) -> Vec<u8>) {
    if let Some(at) = at.filter(|at| *at < data.len()) {
        let new = by(data[at]);
        data.splice(at..=at, new);
    }
}

fn drop_carriage_returns(data: &mut Vec<u8>) {
    let mut before = 0;
    let is_last_of_pair = |pair: &[u8]| pair == b"\r\n";
    while let Some(at) = data[before..].windows(2).position(is_last_of_pair) {
        data.remove(before + at);
        before += at + 1;
    }
}
