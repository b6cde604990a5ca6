//! The words that messages are made of.

use crate::connection;

/// The bytes as text in quotation marks; the first of them where they are many.
pub(super) fn quoted(bytes: &[u8]) -> String {
    connection::quoted(bytes, 64)
}
