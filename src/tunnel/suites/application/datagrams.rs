//! A `TestUdpServer` behind a SOCKS5 proxy, or a forwarder of datagrams.

use std::io;
use std::net::SocketAddr;

use crate::server::datagrams::Datagram;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::check::stand_in::STOP;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::route::Kind;
use crate::tunnel::suites::udp::client::Client;
use crate::udp::TestUdpServer;

pub(super) const EXCHANGE: CheckDef = CheckDef::must(
    "udp",
    "a TestUdpServer has the datagrams that were sent, and its answers come back",
    "RFC 768; RFC 1928, section 7",
    exchange,
)
.only_for(|tunnel| matches!(tunnel.kind(), Kind::Socks5 | Kind::ForwardUdp));

/// How many datagrams there are.
const DATAGRAMS: usize = 30;

fn exchange(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let client = Client::new(context)?;
    let service = context.route().service;
    let lost = |error: io::Error| {
        CheckError::Skipped(format!("the service's port for datagrams is lost: {error}"))
    };
    match context.tunnel().kind() {
        Kind::ForwardUdp => {
            context.program.lend_datagrams(true).map_err(lost)?;
            let done = talk(context, &client, service);
            context.program.lend_datagrams(false).map_err(lost)?;
            done
        }
        _ => talk(context, &client, SocketAddr::new(service.ip(), 0)),
    }
}

fn talk(
    context: &mut CheckContext<'_>,
    client: &Client,
    address: SocketAddr,
) -> Result<(), CheckError> {
    let no_port = |error| CheckError::Skipped(format!("no port for a service: {error}"));
    let answer = |datagram: &Datagram| reversed(datagram.data());
    let mut server = TestUdpServer::start(address, answer).map_err(no_port)?;
    let mut sent = Vec::new();
    for number in 0..DATAGRAMS {
        let data = context.random().bytes(1 + 47 * number);
        client.send(server.local_addr(), &data)?;
        client.expect(server.local_addr(), &reversed(&data))?;
        sent.push(data);
    }
    let stopped = server.stop(STOP);
    stopped.map_err(|error| CheckError::failed(error.to_string()))?;
    let came = server.datagrams();
    let came: Vec<_> = came.iter().map(|one| one.data().to_vec()).collect();
    context.carried(2 * sent.iter().map(Vec::len).sum::<usize>() as u64);
    super::same_record(&sent, &came)
}

fn reversed(data: &[u8]) -> Vec<u8> {
    data.iter().rev().copied().collect()
}
