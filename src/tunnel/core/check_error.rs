//! Why a check did not pass.

use crate::tunnel::report::Failure;

/// Why a check did not pass.
#[derive(Debug)]
pub(crate) enum CheckError {
    /// The statement does not hold; the check's strictness says what that means.
    Failed(String, Box<Failure>),
    /// The program never got ready or did not survive: a failure whatever the strictness.
    Died(String),
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

    /// The same with what was sent, expected and received.
    pub(crate) fn with(message: impl Into<String>, failure: Failure) -> CheckError {
        CheckError::Failed(message.into(), Box::new(failure))
    }
}
