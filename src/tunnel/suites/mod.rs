//! The suites by name.
//!
//! A new one is a file with its [`SuiteDef`], and here a variant, its place in [`Suite::ALL`] and its definition.

pub(crate) mod application;
pub(crate) mod behaviour;
pub(crate) mod closing;
pub(crate) mod concurrency;
pub(crate) mod conformance;
pub(crate) mod connectivity;
pub(crate) mod data_quality;
pub(crate) mod echo;
pub(crate) mod faults;
pub(crate) mod life;
pub(crate) mod pace;
pub(crate) mod ping_pong;
pub(crate) mod probe;
pub(crate) mod punishment;
pub(crate) mod resources;
#[cfg(test)]
mod statements;
pub(crate) mod turnover;
pub(crate) mod udp;

use crate::tunnel::check::definition::SuiteDef;
use crate::tunnel::route::Kind;

/// A group of checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Suite {
    /// The program starts, connects, carries a few bytes both ways, closes and stops, for each
    /// combination of IPv4 and IPv6 on its two sides.
    Connectivity,
    /// Bytes of every value and pieces of every length come back as they were, for each combination of
    /// IPv4 and IPv6.
    Echo,
    /// 1.2 MB, in full size 100 MB, each way alone and both ways at once, compared byte by byte in
    /// bounded memory.
    DataQuality,
    /// 100 or 1,000 messages of 500 bytes and back: p50, p99 and the longest.
    PingPong,
    /// Ten and a hundred connections open at once, twenty in a row.
    Concurrency,
    /// Many transfers of many sizes at once: in full size 100 of 100 KB to 250 MB, 20 at once.
    Punishment,
    /// 150 or 1,000 short connections, and the program's descriptors before and after.
    Turnover,
    /// Slow readers and writers, single bytes, a service that speaks first, silence; and the program's
    /// memory while nobody reads.
    Pace,
    /// What was sent before a close, a half-close or a reset arrives, and so does the end itself, in
    /// each direction.
    Closing,
    /// Services that refuse, stay silent or go away, clients that send garbage or half a handshake, a
    /// program that is killed: the others are served.
    Faults,
    /// What the program holds after resets, clients that leave in the handshake and services that do not read;
    /// processor time while it has only to wait; and whether it serves again when its descriptors had run out.
    Resources,
    /// How long the program takes to listen; TERM and INT, idle and with a live connection: its status,
    /// what is left of it, and whether it can start again on the same port at once. Of several programs
    /// each gets the signal, the last one started first.
    Life,
    /// What the standards leave open, recorded and not judged. See
    /// [`Report::behaviour`](crate::tunnel::Report::behaviour).
    Behaviour,
    /// What the standards say about the handshake of SOCKS4, SOCKS4a, SOCKS5, CONNECT and the PROXY
    /// protocol, as far as it shows from outside: also broken requests, cut in all ways, and logins.
    /// The ids begin with the protocol: `socks5/rfc1928/6/refused`.
    Conformance,
    /// Datagrams through SOCKS5's UDP ASSOCIATE, for each combination of IPv4 and IPv6.
    Udp,
    /// Whole protocols: the crate's own TCP, HTTP, SMTP, UDP and scripted servers behind the program, their clients
    /// before it, and curl, swaks and Python where they are installed. What both sides have is compared with the
    /// same dialogue without the program.
    Application,
}

impl Suite {
    /// Every suite, in the order in which they run.
    pub const ALL: &[Suite] = &[
        Suite::Connectivity,
        Suite::Echo,
        Suite::DataQuality,
        Suite::PingPong,
        Suite::Concurrency,
        Suite::Punishment,
        Suite::Turnover,
        Suite::Pace,
        Suite::Closing,
        Suite::Faults,
        Suite::Resources,
        Suite::Life,
        Suite::Conformance,
        Suite::Udp,
        Suite::Application,
        Suite::Behaviour,
    ];

    /// The first part of its checks' ids; those of [`Suite::Conformance`] begin with a protocol.
    pub fn name(self) -> &'static str {
        match self {
            Suite::Conformance => "conformance",
            // Its tables do not depend on the kind.
            other => other
                .suites(Kind::Other)
                .first()
                .map_or("", |suite| suite.name),
        }
    }

    /// Its checks for a tunnel of this kind.
    pub(crate) fn suites(self, kind: Kind) -> &'static [&'static SuiteDef] {
        match self {
            Suite::Connectivity => &[&connectivity::SUITE],
            Suite::Echo => &[&echo::SUITE],
            Suite::DataQuality => &[&data_quality::SUITE],
            Suite::PingPong => &[&ping_pong::SUITE],
            Suite::Concurrency => &[&concurrency::SUITE],
            Suite::Punishment => &[&punishment::SUITE],
            Suite::Turnover => &[&turnover::SUITE],
            Suite::Pace => &[&pace::SUITE],
            Suite::Closing => &[&closing::SUITE],
            Suite::Faults => &[&faults::SUITE],
            Suite::Resources => &[&resources::SUITE],
            Suite::Life => &[&life::SUITE],
            Suite::Behaviour => &[&behaviour::SUITE],
            Suite::Conformance => conformance::suites(kind),
            Suite::Udp => &[&udp::SUITE],
            Suite::Application => &[&application::SUITE],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::tunnel::check::definition::{CheckDef, Routes};

    /// Users have these in their skips and known deviations, and tools in their reports: a new id is a line
    /// more in this file, and one that goes or changes is a breaking change.
    #[test]
    fn the_ids_of_all_checks_are_those_in_the_list() {
        const KINDS: [Kind; 7] = [
            Kind::Forward,
            Kind::Socks4,
            Kind::Socks4a,
            Kind::Socks5,
            Kind::HttpConnect,
            Kind::ProxyProtocol,
            Kind::Other,
        ];
        let mut ids = BTreeSet::new();
        for suite in Suite::ALL {
            let defined = KINDS.iter().flat_map(|kind| suite.suites(*kind));
            for suite in defined {
                let group = match suite.routes {
                    Routes::Each => format!("{}/46", suite.name),
                    Routes::First => suite.name.to_owned(),
                };
                let id = |def: &CheckDef| format!("{group}/{}", def.requirement.name);
                ids.extend(suite.defs().iter().map(id));
            }
        }
        let listed: BTreeSet<String> = include_str!("ids.txt").lines().map(str::to_owned).collect();
        let lacks: Vec<&String> = ids.difference(&listed).collect();
        let gone: Vec<&String> = listed.difference(&ids).collect();
        assert!(
            lacks.is_empty() && gone.is_empty(),
            "new: {lacks:#?}\ngone: {gone:#?}"
        );
    }
}
