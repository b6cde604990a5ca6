//! The words that messages are made of.

use crate::connection;

/// "1 byte", "2 bytes".
pub(super) fn bytes_of(count: usize) -> String {
    match count {
        1 => "1 byte".to_owned(),
        _ => format!("{count} bytes"),
    }
}

/// The bytes as text in quotation marks; the first of them where they are many.
pub(super) fn quoted(bytes: &[u8]) -> String {
    connection::quoted(bytes, 64)
}
