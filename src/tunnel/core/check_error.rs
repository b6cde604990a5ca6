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
            Ok(()) | Err(CheckError::Unsupported(_) | CheckError::Skipped(_)) => {
                CheckError::died(during)
            }
        }
    }
}
