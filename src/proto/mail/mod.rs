//! Messages as bytes: header fields, parts and their encodings (RFC 5322, RFC 2045 to 2047, RFC 2231).
//!
//! All of it is linear in the size of the message, and reads on behind what is wrong: what is
//! noticed on the way is a defect in words.

mod address;
mod charset;
mod flowed;
mod header;
mod parameters;
mod parts;
mod transfer;
mod words;

pub use address::Mailbox;
pub(crate) use address::read_addresses;
pub(crate) use charset::decode_text;
pub(crate) use flowed::unfold;
pub(crate) use header::Field;
pub(crate) use parameters::Structured;
pub(crate) use parts::{Defects, RawPart, read};
pub(crate) use transfer::{Decoded, decode};
