//! What the client sends comes back: bytes of every value, pieces of every length.

use crate::deadline::bytes_of;
use crate::tunnel::check::context::Trial;
use crate::tunnel::check::crowd;
use crate::tunnel::check::definition::{Plan, Routes, Steps, Table};
use crate::tunnel::core::check_error::Stop;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::transfer::{Bounds, Ends, Load, Part, repeat};

/// How much more time than others the checks may take in all.
const PATIENCE: u32 = 3;

/// The suite.
pub(in crate::tunnel) const TABLE: Table = Table {
    name: "echo",
    routes: Routes::Each,
    applies: |_| Ok(()),
    steps: Steps::Plans(&[
        Plan::must(
            "values",
            "bytes of every value, and those that mean something elsewhere, come back as they were",
            "RFC 9293, section 2.2",
            values,
        ),
        Plan::must(
            "lengths",
            "pieces of 1 byte to 64 KiB come back, each before the next is sent",
            "RFC 9293, section 2.2",
            lengths,
        )
        .patience(PATIENCE),
        Plan::must(
            "stream",
            "what comes back while more is sent is whole and in order",
            "RFC 9293, section 2.2",
            stream,
        )
        .patience(PATIENCE),
        Plan::must(
            "again",
            "each of ten connections, one after the other, has its own bytes back",
            "harness",
            again,
        ),
    ]),
};

/// Around powers of two, where buffers end, and around the payload of an Ethernet frame.
const LENGTHS: &[usize] = &[
    1, 2, 3, 7, 8, 9, 63, 64, 65, 255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1459, 1460, 1461,
    4095, 4096, 4097, 8191, 8192, 8193, 16_384, 65_535, 65_536,
];
/// What programs may take for a command, an end of text, or text.
const SPECIAL: &[&[u8]] = &[
    b"\0\0\0\0",
    b"\r\n\r\n",
    b"\n\n\r\r",
    b"\r\n.\r\n",
    b"\x04\x1a\x03",
    b"\xff\xf4\xff\xfd\x06",
    b"\xef\xbb\xbf\xc3\x28\xed\xa0\x80",
    b"+++ATH0\r",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\x05\x01\x00",
];

fn values(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut both = trial.connect()?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let reversed: Vec<u8> = all.iter().rev().copied().collect();
    for piece in [&[&all[..], &reversed[..]], SPECIAL].concat() {
        both.client.send(piece)?;
        both.service.expect("the client's bytes", piece)?;
        both.service.send(piece)?;
        both.client.expect("the echo", piece)?;
        trial.carried(2 * piece.len() as u64);
    }
    Ok(())
}

fn lengths(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let ends = Ends::of(trial.connect()?);
    let mut data = Data::new(trial.random());
    let bounds = trial.bounds(PATIENCE);
    for &length in LENGTHS {
        let load = Load::new(data.clone(), length as u64);
        there_and_back(&ends, load, bounds)
            .map_err(|stop| crowd::about(format!("a piece of {}", bytes_of(length)), stop))?;
        data.take(length);
        trial.carried(2 * length as u64);
    }
    Ok(())
}

fn stream(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let bytes = match trial.sizes() {
        Sizes::Quick => 256 << 10,
        Sizes::Full => 8 << 20,
    };
    let ends = Ends::of(trial.connect()?);
    let load = Load::new(Data::new(trial.random()), bytes);
    there_and_back(&ends, load, trial.bounds(PATIENCE))?;
    trial.carried(2 * bytes);
    Ok(())
}

fn again(trial: &mut Trial<'_>) -> Result<(), Stop> {
    for _ in 0..10 {
        let piece = trial.random().bytes(100);
        let mut both = trial.connect()?;
        both.client.send(&piece)?;
        both.service.expect("the client's bytes", &piece)?;
        both.service.send(&piece)?;
        both.client.expect("the echo", &piece)?;
        trial.carried(200);
    }
    Ok(())
}

/// The client sends and reads at once, the service sends back what comes.
fn there_and_back(ends: &Ends, load: Load, bounds: Bounds) -> Result<(), Stop> {
    let (one, mut two) = (ends.try_clone()?, ends.try_clone()?);
    let Ends {
        mut client,
        mut service,
    } = one;
    let (sent, bytes) = (load.clone(), load.bytes);
    let parts: Vec<Part<'_>> = vec![
        Box::new(move || sent.send(&mut client, "the client", bounds)),
        Box::new(move || repeat(&mut service, bytes, bounds)),
        Box::new(move || load.receive(&mut two.client, "the client", bounds)),
    ];
    ends.together(parts)
}
