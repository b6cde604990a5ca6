//! haproxy's PROXY protocol, at the end where the header arrives.

use super::statements;
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::definition::{Routes, Steps, Table};
use crate::tunnel::check::wire::Wire;
use crate::tunnel::core::check_error::Stop;

/// How often a connection is made to compare the headers of several.
const SEVERAL: usize = 3;

/// The suite for the PROXY protocol. The families of the client stand in the header, so it is run on
/// each combination.
pub(super) const TABLE: Table = Table {
    name: "proxy-protocol",
    routes: Routes::Each,
    applies: |_| Ok(()),
    steps: Steps::Standing(statements! {
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

fn early_data(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    data_follows(trial, wire, b"Hello, service!\r\n")
}

fn nested(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    data_follows(trial, wire, b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
}

fn binary(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    data_follows(trial, wire, b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\r\n")
}

fn silent(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    data_follows(trial, wire, b"")
}

fn each(trial: &mut Trial<'_>, wire: &mut Wire) -> Result<(), Stop> {
    // The one that is there, and then further ones.
    data_follows(trial, wire, b"")?;
    (1..SEVERAL).try_for_each(|_| trial.still_works())
}

/// The service has a right header, then the client's data, then what follows in both directions.
fn data_follows(trial: &mut Trial<'_>, wire: &mut Wire, data: &[u8]) -> Result<(), Stop> {
    if !data.is_empty() {
        wire.send(data)?;
    }
    wire.carries(trial, None, data).map(drop)
}
