//! A `TestUdpServer` behind a SOCKS5 proxy.

use std::net::SocketAddr;

use super::STOP;
use crate::proto::socks5::Host;
use crate::server::datagrams::Datagram;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::route::Kind;
use crate::tunnel::suites::udp::{Association, encoded};
use crate::udp::TestUdpServer;

pub(super) const EXCHANGE: CheckDef = CheckDef::must(
    "udp",
    "a TestUdpServer has the datagrams that were sent, and its answers come back",
    "RFC 1928, section 7",
    exchange,
)
.only_for(|tunnel| tunnel.kind() == Kind::Socks5);

/// How many datagrams there are.
const DATAGRAMS: usize = 30;

fn exchange(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let association = Association::new(context)?;
    let address = SocketAddr::new(context.route().service.ip(), 0);
    let no_port = |error| CheckError::Skipped(format!("no port for a service: {error}"));
    let mut server = TestUdpServer::start(address, |datagram: &Datagram| {
        let answer: Vec<u8> = datagram.data().iter().rev().copied().collect();
        answer
    })
    .map_err(no_port)?;
    let service = server.local_addr();
    let host = Host::Ip(service.ip());
    let mut sent = Vec::new();
    for number in 0..DATAGRAMS {
        let data = context.random().bytes(1 + 47 * number);
        association.send(&encoded(0, &host, service.port(), &data)?)?;
        let answer: Vec<u8> = data.iter().rev().copied().collect();
        association.expect(service, &host, &answer)?;
        sent.push(data);
    }
    let stopped = server.stop(STOP);
    stopped.map_err(|error| CheckError::failed(error.to_string()))?;
    let came = server.datagrams();
    let came: Vec<_> = came.iter().map(|one| one.data().to_vec()).collect();
    context.carried(2 * sent.iter().map(Vec::len).sum::<usize>() as u64);
    super::same_record(&sent, &came)
}
