//! One of the crate's own servers in place of the service.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use crate::connection::Connection;
use crate::deadline::{Backoff, Deadline};
use crate::server::options::Builder;
use crate::server::protocol::Protocol;
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::ends::proxy_header::ProxyHeader;
use crate::tunnel::route::Kind;

/// How long a server may take to stop: its handlers have ended, or see their connection shut.
pub(crate) const STOP: Duration = Duration::from_secs(2);
/// How long the service's port may seem taken, by a copy of its listener in a program that is just being started.
const PORT: Duration = Duration::from_secs(2);

/// Where one of the crate's servers is to serve.
pub(crate) struct Place {
    pub(crate) addr: SocketAddr,
    /// Whether each connection begins with a header of the PROXY protocol.
    pub(crate) has_header: bool,
}

impl Place {
    /// The options of a server that serves there.
    pub(crate) fn builder<P: Protocol>(&self) -> Builder<P> {
        let builder = Builder::default();
        match self.has_header {
            true => builder.preamble(skip_header),
            false => builder,
        }
    }
}

/// A connection that ends in its header, or whose header is of no client, is the program's own, to see whether the
/// service lives: there the server then sees the end.
pub(crate) fn skip_header(conn: &mut Connection) -> io::Result<()> {
    use io::ErrorKind::{ConnectionReset, UnexpectedEof};
    match ProxyHeader::read(conn) {
        Ok(ProxyHeader::Proxied { .. }) => Ok(()),
        Ok(_) => {
            let _ = io::copy(conn, &mut io::sink());
            Ok(())
        }
        Err(error) if matches!(error.kind(), UnexpectedEof | ConnectionReset) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Has one of the crate's servers serve where the service does, for as long as `body` takes, which stops it.
pub(crate) fn stand_in<S, T>(
    context: &mut CheckContext<'_>,
    start: impl Fn(&Place) -> io::Result<S>,
    body: impl FnOnce(&mut CheckContext<'_>, S) -> Result<T, CheckError>,
) -> Result<T, CheckError> {
    // The connection that found a forwarder listening is on its way to the service already.
    let kind = context.tunnel().kind();
    if context.program.has_first() && (kind.forwards() || kind == Kind::Other) {
        let deadline = context.deadline("a connection through the program");
        drop(context.program.open(None, &deadline)?);
    }
    let place = Place {
        addr: context.route().service,
        has_header: context.tunnel().kind() == Kind::ProxyProtocol,
    };
    context.refuse(true)?;
    let done = serve(&place, start).and_then(|server| body(context, server));
    context.refuse(false)?;
    done
}

fn serve<S>(place: &Place, start: impl Fn(&Place) -> io::Result<S>) -> Result<S, CheckError> {
    let deadline = Deadline::new(PORT, "the service's port");
    let mut pause = Backoff::new(Duration::from_millis(1));
    loop {
        match start(place) {
            Ok(server) => return Ok(server),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && !deadline.expired() => {
                pause.sleep(&deadline);
            }
            Err(error) => {
                return Err(CheckError::Skipped(format!(
                    "the service's port is lost: {error}"
                )));
            }
        }
    }
}
