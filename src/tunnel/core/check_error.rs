//! Why a check did not pass.

use crate::tunnel::report::Failure;

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// The statement does not hold; the check's strictness says what that means.
    Failed(String, Box<Failure>),
    /// The program ended where nobody told it to: a failure whatever the strictness.
    Died(String, Box<Failure>),
    /// The check could not be made, which nobody could expect: a failure in any case.
    NotMade(String),
    /// The run has ended before it was made; why.
    NotRun(String),
    /// The program says in its protocol's own way that it does not do this; how.
    Unsupported(String),
    /// It could not be looked at; why.
    Skipped(String),
}

impl CheckError {
    /// The statement does not hold.
    pub(crate) fn failed(message: impl Into<String>) -> CheckError {
        CheckError::Failed(message.into(), Box::default())
    }

    /// The program ended where nobody told it to.
    pub(crate) fn died(message: impl Into<String>) -> CheckError {
        CheckError::Died(message.into(), Box::default())
    }

    /// The same with what was sent, expected and received.
    pub(crate) fn with(message: impl Into<String>, failure: Failure) -> CheckError {
        CheckError::Failed(message.into(), Box::new(failure))
    }

    /// What has become of a check whose program has ended meanwhile, where nobody told it to: as `how` says,
    /// which tells more than what the check has seen of it.
    pub(crate) fn by_death(done: Result<(), CheckError>, how: &str) -> CheckError {
        let during = format!("the program ended during the check: {how}");
        match done {
            Err(CheckError::Died(message, failure)) => {
                CheckError::Died(format!("{message}: {how}"), failure)
            }
            Err(CheckError::Failed(message, failure)) => {
                CheckError::Died(format!("{during}; {message}"), failure)
            }
            Err(CheckError::NotMade(message)) => {
                CheckError::NotMade(format!("{message}; {during}"))
            }
            Err(error @ CheckError::NotRun(_)) => error,
            Ok(()) | Err(CheckError::Unsupported(_) | CheckError::Skipped(_)) => {
                CheckError::died(during)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_program_comes_before_what_was_seen_of_it_and_loses_no_bytes() {
        let how = "exited with status 134: \"assertion failed\"";
        let told = |done| match CheckError::by_death(done, how) {
            CheckError::Died(message, failure) => (message, failure.received),
            other => panic!("{other:?}"),
        };
        let during = format!("the program ended during the check: {how}");
        let plain = || (during.clone(), None);
        assert_eq!(told(Ok(())), plain());
        assert_eq!(
            told(Err(CheckError::Unsupported("no UDP".to_owned()))),
            plain()
        );
        assert_eq!(
            told(Err(CheckError::Skipped("no names".to_owned()))),
            plain()
        );
        let seen = Failure {
            received: Some(b"abc".to_vec()),
            ..Failure::default()
        };
        let cut = CheckError::with("the service has 3 of 5 bytes", seen);
        let due = format!("{during}; the service has 3 of 5 bytes");
        assert_eq!(told(Err(cut)), (due, Some(b"abc".to_vec())));
        let early = CheckError::died("the program ended before it listened on 127.0.0.1:1");
        let due = format!("the program ended before it listened on 127.0.0.1:1: {how}");
        assert_eq!(told(Err(early)), (due, None));
        // What was not made is no verdict on the program.
        let not_made = CheckError::NotMade("the check panicked: oh".to_owned());
        let CheckError::NotMade(message) = CheckError::by_death(Err(not_made), how) else {
            panic!("it was not made");
        };
        assert_eq!(message, format!("the check panicked: oh; {during}"));
    }
}
