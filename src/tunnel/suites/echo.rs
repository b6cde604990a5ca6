//! What the client sends comes back: bytes of every value, pieces of every length.

use crate::deadline::bytes_of;
use crate::tunnel::check::connection_group;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::{CheckDef, Checks, Routes, SuiteDef};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::core::options::Sizes;
use crate::tunnel::ends::data::Data;
use crate::tunnel::ends::transfer::{Bounds, Ends, Load, Part, repeat};

/// How much more time than others the checks may take in all.
const TIMEOUT_FACTOR: u32 = 3;

/// The suite.
pub(crate) const SUITE: SuiteDef = SuiteDef {
    name: "echo",
    routes: Routes::Each,
    applies: |_| Ok(()),
    checks: Checks::Independent(&[
        CheckDef::must(
            "values",
            "bytes of every value, and those that mean something elsewhere, come back as they were",
            "RFC 9293, section 2.2",
            values,
        ),
        CheckDef::must(
            "lengths",
            "pieces of 1 byte to 64 KiB come back, each before the next is sent",
            "RFC 9293, section 2.2",
            lengths,
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
            "stream",
            "what comes back while more is sent is whole and in order",
            "RFC 9293, section 2.2",
            stream,
        )
        .timeout_factor(TIMEOUT_FACTOR),
        CheckDef::must(
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

fn values(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let mut both = context.connect()?;
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let reversed: Vec<u8> = all.iter().rev().copied().collect();
    for piece in [&[&all[..], &reversed[..]], SPECIAL].concat() {
        both.client.send(piece)?;
        both.service.expect("the client's bytes", piece)?;
        both.service.send(piece)?;
        both.client.expect("the echo", piece)?;
        context.carried(2 * piece.len() as u64);
    }
    Ok(())
}

fn lengths(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let ends = Ends::of(context.connect()?);
    let mut data = Data::new(context.random());
    let bounds = context.bounds(TIMEOUT_FACTOR);
    for &length in LENGTHS {
        let load = Load::new(data.clone(), length as u64);
        there_and_back(&ends, load, bounds).map_err(|error| {
            connection_group::about(format!("a piece of {}", bytes_of(length)), error)
        })?;
        data.take(length);
        context.carried(2 * length as u64);
    }
    Ok(())
}

fn stream(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let bytes = match context.sizes() {
        Sizes::Quick => 256 << 10,
        Sizes::Full => 8 << 20,
    };
    let ends = Ends::of(context.connect()?);
    let load = Load::new(Data::new(context.random()), bytes);
    there_and_back(&ends, load, context.bounds(TIMEOUT_FACTOR))?;
    context.carried(2 * bytes);
    Ok(())
}

fn again(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    for _ in 0..10 {
        let piece = context.random().bytes(100);
        let mut both = context.connect()?;
        both.client.send(&piece)?;
        both.service.expect("the client's bytes", &piece)?;
        both.service.send(&piece)?;
        both.client.expect("the echo", &piece)?;
        context.carried(200);
    }
    Ok(())
}

/// The client sends and reads at once, the service sends back what comes.
fn there_and_back(ends: &Ends, load: Load, bounds: Bounds) -> Result<(), CheckError> {
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
