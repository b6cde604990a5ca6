//! What handlers and hooks may return.

use std::error::Error;

use crate::proto::smtp::{Decision, Reply};
use crate::server::failure::Never;

/// What a message handler may return: the reply to the message.
///
/// | value | reply |
/// |-|-|
/// | `()` | `250`, the message is taken |
/// | [`Reply`] | that one |
/// | `Ok(value)` | as for the value |
/// | `Err(error)` | `451`, and the error is kept as the server's failure |
///
/// A handler that panics answers `451` too, and its panic is kept; one that always does, `!`, is a
/// handler as well.
#[diagnostic::on_unimplemented(
    message = "a handler of messages cannot return `{Self}`",
    label = "not what a handler may return",
    note = "it may return `()` to take the message, a `Reply` such as `loopback::smtp::Reply::new(550, \"no\")`, or a `Result` of either"
)]
pub trait IntoReply {
    /// The reply, or what went wrong.
    fn into_reply(self) -> Result<Reply, Box<dyn Error + Send + Sync>>;
}

impl IntoReply for () {
    fn into_reply(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        Ok(taken())
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        Ok(self)
    }
}

impl<T: IntoReply, E: Into<Box<dyn Error + Send + Sync>>> IntoReply for Result<T, E> {
    fn into_reply(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        self.map_err(Into::into)?.into_reply()
    }
}

#[doc(hidden)]
#[diagnostic::do_not_recommend]
impl IntoReply for Never {
    fn into_reply(self) -> Result<Reply, Box<dyn Error + Send + Sync>> {
        match self {}
    }
}

/// The usual reply to a message.
pub(crate) fn taken() -> Reply {
    Reply::new(250, "message taken")
}

impl From<()> for Decision {
    fn from((): ()) -> Decision {
        Decision::Accept
    }
}

impl From<bool> for Decision {
    fn from(accept: bool) -> Decision {
        if accept {
            Decision::Accept
        } else {
            Decision::Refuse
        }
    }
}

impl From<Reply> for Decision {
    fn from(reply: Reply) -> Decision {
        Decision::Answer(reply)
    }
}

impl From<Option<Reply>> for Decision {
    fn from(reply: Option<Reply>) -> Decision {
        reply.map_or(Decision::Accept, Decision::Answer)
    }
}

impl From<Result<(), Reply>> for Decision {
    fn from(result: Result<(), Reply>) -> Decision {
        result.err().into()
    }
}
