//! haproxy's PROXY protocol, at the end where the header arrives.

use super::statements;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{Checks, Routes, SuiteDef};
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::CheckError;

/// How often a connection is made to compare the headers of several.
const SEVERAL: usize = 3;

/// The suite for the PROXY protocol. The families of the client stand in the header, so it is run on
/// each combination.
pub(super) const SUITE: SuiteDef = SuiteDef {
    name: "proxy-protocol",
    routes: Routes::Each,
    applies: |_| Ok(()),
    checks: Checks::RequireConnection(statements! {
        cut {
            Must "early-data" "the header comes before data that the client sends at once" "PROXY protocol, section 2" early_data;
            Must "nested" "a header among the client's data is data" "PROXY protocol, section 2" nested;
            Must "binary" "data that looks like the header's end is data" "PROXY protocol, section 2" binary;
        }
        whole {
            Must "silent" "the header comes though the client says nothing, and names it" "PROXY protocol, section 2" silent;
            Must "each" "each connection has its own header, once" "PROXY protocol, section 2" each;
        }
    }),
};

fn early_data(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    data_follows(context, wire, b"Hello, service!\r\n")
}

fn nested(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    data_follows(context, wire, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
}

fn binary(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    data_follows(context, wire, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\r\n")
}

fn silent(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    data_follows(context, wire, b"")
}

fn each(context: &mut CheckContext<'_>, wire: &mut Wire) -> Result<(), CheckError> {
    // The one that is there, and then further ones.
    data_follows(context, wire, b"")?;
    (1..SEVERAL).try_for_each(|_| context.still_works())
}

/// The service has a right header, then the client's data, then what follows in both directions.
fn data_follows(
    context: &mut CheckContext<'_>,
    wire: &mut Wire,
    data: &[u8],
) -> Result<(), CheckError> {
    if !data.is_empty() {
        wire.send(data)?;
    }
    wire.carries(context, None, data).map(drop)
}
