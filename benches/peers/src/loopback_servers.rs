//! Our servers, as a user would start them.

use crate::subject::Running;
use std::io;
use std::time::Duration;

const ANY_PORT: &str = "127.0.0.1:0";
const STOP: Duration = Duration::from_secs(5);

pub fn http() -> io::Result<Running> {
    use crate::client::BODY;
    use loopback::{Response, TestHttpServer};
    let mut server = TestHttpServer::start(ANY_PORT, |_request| Response::text(BODY))
        .map_err(io::Error::other)?;
    Ok(Running::new(server.local_addr(), move || {
        server.stop(STOP).map_err(io::Error::other)
    }))
}

pub fn http_fixed() -> io::Result<Running> {
    let mut server = loopback::TestHttpServer::fixed(ANY_PORT, crate::client::BODY)?;
    Ok(Running::new(server.local_addr(), move || {
        server.stop(STOP).map_err(io::Error::other)
    }))
}

pub fn tcp_echo() -> io::Result<Running> {
    let mut server = loopback::TestTcpServer::echo(ANY_PORT).map_err(io::Error::other)?;
    Ok(Running::new(server.local_addr(), move || {
        server.stop(STOP).map_err(io::Error::other)
    }))
}

pub fn udp_echo() -> io::Result<Running> {
    let mut server = loopback::TestUdpServer::echo(ANY_PORT).map_err(io::Error::other)?;
    Ok(Running::new(server.local_addr(), move || {
        server.stop(STOP).map_err(io::Error::other)
    }))
}

pub fn smtp_sink() -> io::Result<Running> {
    let mut server = loopback::TestSmtpServer::sink(ANY_PORT).map_err(io::Error::other)?;
    Ok(Running::new(server.local_addr(), move || {
        server.stop(STOP).map_err(io::Error::other)
    }))
}
