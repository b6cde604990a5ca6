//! A client that speaks a handshake byte by byte, and cuts what it sends in all ways.

use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::Once;
use crate::tunnel::check::wire::{Cut, Wire};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;

/// The most places at which a quick run splits what is sent.
const QUICK_SPLITS: usize = 12;
/// The checks for statements: each line is a strictness, a name, the statement, its source and the body.
/// Those of `cut` are checked in pieces too, those of `whole` only whole.
macro_rules! statements {
    (
        cut { $($cut:ident $name:literal $statement:literal $source:literal $once:expr;)* }
        whole { $($whole:ident $name2:literal $statement2:literal $source2:literal $once2:expr;)* }
    ) => {
        {
            use $crate::tunnel::report::Strictness;
            use $crate::tunnel::check::definition::CheckDef;
            use $crate::tunnel::core::requirement::Requirement;
            use $crate::tunnel::suites::conformance::cut;
        &[
            $(
                CheckDef::by(
                    Requirement::new(Strictness::$cut, $name, $statement, $source),
                    cut::whole,
                    $once,
                ),
                CheckDef::by(
                    Requirement::new(
                        Strictness::Harness,
                        concat!($name, "/cut"),
                        concat!($statement, "; however the client's bytes are cut"),
                        "harness",
                    ),
                    cut::in_pieces,
                    $once,
                )
                .timeout_factor(2),
            )*
            $(
                CheckDef::by(
                    Requirement::new(Strictness::$whole, $name2, $statement2, $source2),
                    cut::whole,
                    $once2,
                ),
            )*
        ]
        }
    };
}

pub(super) use statements;

/// Makes the check with whole messages.
pub(super) fn whole(context: &mut CheckContext<'_>, once: Once) -> Result<(), CheckError> {
    cut(context, Cut::Whole, once)?;
    context.still_works()
}

/// Makes the check one byte a segment, and split in two, but not where a message ends anyway.
pub(super) fn in_pieces(context: &mut CheckContext<'_>, once: Once) -> Result<(), CheckError> {
    let ends = cut(context, Cut::Bytes, once)?;
    for at in splits(&ends, context.sizes()) {
        cut(context, Cut::At(at), once)?;
    }
    context.still_works()
}

fn cut(context: &mut CheckContext<'_>, cut: Cut, once: Once) -> Result<Vec<usize>, CheckError> {
    let mut wire = Wire::new(context.raw()?, cut);
    match (once(context, &mut wire), cut) {
        (Ok(()), _) => Ok(wire.into_message_ends()),
        (Err(CheckError::Failed(message, failure)), Cut::Bytes) => {
            let message = format!("one byte a segment: {message}");
            Err(CheckError::Failed(message, failure))
        }
        (Err(CheckError::Failed(message, failure)), Cut::At(at)) => {
            let message = format!("split after byte {at}: {message}");
            Err(CheckError::Failed(message, failure))
        }
        (Err(other), _) => Err(other),
    }
}

/// Where to split what has those ends of messages: everywhere within a message, in a quick run at some
/// places of a long one.
fn splits(ends: &[usize], sizes: Sizes) -> Vec<usize> {
    let total = ends.last().copied().unwrap_or_default();
    let all: Vec<usize> = (1..total).filter(|at| !ends.contains(at)).collect();
    let step = match sizes {
        Sizes::Quick => all.len().div_ceil(QUICK_SPLITS).max(1),
        Sizes::Full => 1,
    };
    all.into_iter().step_by(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_run_splits_everywhere_but_where_a_message_ends() {
        assert_eq!(splits(&[3, 7], Sizes::Full), [1, 2, 4, 5, 6]);
        assert_eq!(splits(&[1], Sizes::Full), [0; 0]);
        assert_eq!(splits(&[], Sizes::Full), [0; 0]);
    }

    #[test]
    fn a_quick_run_splits_long_messages_at_some_places() {
        assert_eq!(splits(&[3, 7], Sizes::Quick), [1, 2, 4, 5, 6]);
        let splits = splits(&[300], Sizes::Quick);
        assert!(splits.len() <= QUICK_SPLITS && splits.len() > QUICK_SPLITS / 2);
        assert!(splits[0] == 1 && splits.is_sorted());
    }
}
