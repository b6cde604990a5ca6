//! When a run is given up: where check after check waits in vain, the next ones tell nothing new, and each takes
//! its whole deadline.

use crate::tunnel::report::{Check, Outcome};

/// So many checks of one suite in a row that have waited for the same thing, and none has passed between.
const OF_A_SUITE: usize = 5;
/// So many of the whole run in a row, whatever they have waited for.
const OF_THE_RUN: usize = 10;

/// What the last checks have come to.
#[derive(Debug, Default)]
pub(crate) struct Hope {
    /// The suite and what was waited for in it, and how often in a row.
    suite: Option<(String, String, usize)>,
    run: usize,
    given_up: Vec<(String, String)>,
}

impl Hope {
    pub(crate) fn add(&mut self, check: &Check) {
        match (check.outcome, waited_for(&check.message)) {
            (Outcome::Failed | Outcome::Deviates, Some(what)) => self.add_vain(check.suite(), what),
            (Outcome::Passed | Outcome::Failed | Outcome::Deviates, _) => {
                self.suite = None;
                self.run = 0;
            }
            _ => {}
        }
    }

    fn add_vain(&mut self, suite: &str, what: &str) {
        self.run += 1;
        let times = match &mut self.suite {
            Some((of, last, times)) if of == suite && last == what => {
                *times += 1;
                *times
            }
            other => {
                *other = Some((suite.to_owned(), what.to_owned(), 1));
                1
            }
        };
        if times >= OF_A_SUITE && self.of(suite).is_none() {
            self.given_up.push((suite.to_owned(), what.to_owned()));
        }
    }

    /// Why no further check of this suite is to be made, if so.
    pub(crate) fn is_lost(&self, suite: &str) -> Option<String> {
        if self.run >= OF_THE_RUN {
            return Some(format!(
                "not run, as the last {OF_THE_RUN} checks have all waited in vain (TunnelHarness::give_up)"
            ));
        }
        self.of(suite).map(|what| {
            format!(
                "not run, as {OF_A_SUITE} checks of {suite} in a row have waited in vain for {what} \
                 (TunnelHarness::give_up)"
            )
        })
    }

    fn of(&self, suite: &str) -> Option<&str> {
        let found = self.given_up.iter().find(|(of, _)| of == suite);
        found.map(|(_, what)| &what[..])
    }
}

/// What a check has waited for until its deadline, as its message says.
fn waited_for(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("timed out after ")?;
    let (_, what) = rest.split_once(" waiting for ")?;
    what.split([';', '\n']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_waited_for_is_read_from_the_message() {
        let message = "an ordinary connection: the client: timed out after 10s waiting for the answer; 2 bytes came";
        assert_eq!(waited_for(message), Some("the answer"));
        assert_eq!(
            waited_for("timed out after 3s waiting for a client"),
            Some("a client")
        );
        assert_eq!(waited_for("the program has ended"), None);
    }
}
