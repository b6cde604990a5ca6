//! Which process made a thing. A fork copies all of a process but its threads, and what the copy shares with
//! the parent is not the child's to end: servers, clients, programs, files.

use std::process;

/// The process that made what holds it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Maker(u32);

impl Maker {
    /// This process.
    pub(crate) fn this() -> Maker {
        Maker(process::id())
    }

    /// Whether it is still this process, and not one that was forked off.
    pub(crate) fn is_this(self) -> bool {
        self.0 == process::id()
    }
}
