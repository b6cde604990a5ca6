//! What a protocol of one's own is served over.

use std::fmt::Debug;
use std::sync::Arc;

use super::{Custom, CustomProtocol, DatagramProtocol, StreamProtocol};
use crate::connection::Connection;
use crate::net::socket::BoundSocket;
use crate::net::stop::StopSignal;
use crate::server::datagrams::{self, Datagram, Inbox, ServeDatagrams, WaitingDatagrams};
use crate::server::host::{Host, Run};
use crate::server::protocol::{Next, Serve, Session};
use crate::server::registry::Registry;
use crate::server::streams;
use crate::server::wake::{Datagrams, Kind, Streams, StreamsAndDatagrams};

/// What a protocol of one's own is served over: [`OverStreams`], [`OverDatagrams`] or [`OverBoth`].
#[diagnostic::on_unimplemented(
    message = "`{P}` cannot be served `{Self}`",
    note = "`OverStreams` (a `TestStreamServer`) needs `StreamProtocol`, `OverDatagrams` (a `TestDatagramServer`) needs `DatagramProtocol`, `OverBoth` (a `TestBothServer`) needs both"
)]
pub trait Transport<P: CustomProtocol>: Debug + Sized + Send + Sync + 'static {
    #[doc(hidden)]
    type Kind: Kind;

    #[doc(hidden)]
    fn run(run: Run<Custom<P, Self>>);
}

/// Streams: TCP, or Unix-domain streams.
#[derive(Debug)]
pub enum OverStreams {}

/// Datagrams: UDP, or Unix-domain datagrams.
#[derive(Debug)]
pub enum OverDatagrams {}

/// TCP and UDP on the same port.
#[derive(Debug)]
pub enum OverBoth {}

impl<P: StreamProtocol> Transport<P> for OverStreams {
    type Kind = Streams;

    fn run(run: Run<Custom<P, OverStreams>>) {
        streams::serve(run);
    }
}

impl<P: DatagramProtocol> Transport<P> for OverDatagrams {
    type Kind = Datagrams;

    fn run(run: Run<Custom<P, OverDatagrams>>) {
        datagrams::serve(run);
    }
}

impl<P: StreamProtocol + DatagramProtocol> Transport<P> for OverBoth {
    type Kind = StreamsAndDatagrams;

    fn run(run: Run<Custom<P, OverBoth>>) {
        streams::serve(run);
    }
}

impl<P: StreamProtocol> Serve for Custom<P, OverStreams> {
    fn serve(&self, conn: Connection, session: &Session<'_, Self>) -> Next {
        self.serve_stream(conn, session);
        Next::Close
    }
}

impl<P: StreamProtocol + DatagramProtocol> Serve for Custom<P, OverBoth> {
    fn serve(&self, conn: Connection, session: &Session<'_, Self>) -> Next {
        self.serve_stream(conn, session);
        Next::Close
    }

    fn inbox(
        host: Arc<Host<Self>>,
        registry: Arc<Registry>,
        socket: BoundSocket,
        stop: StopSignal,
    ) -> Option<Box<dyn WaitingDatagrams>> {
        Some(Box::new(Inbox::new(host, registry, socket, stop)))
    }
}

impl<P: DatagramProtocol, T> ServeDatagrams for Custom<P, T>
where
    T: Transport<P>,
{
    fn max_datagram(&self) -> usize {
        self.options.max_datagram
    }

    fn answer(
        &self,
        datagram: &Arc<Datagram>,
        session: &Session<'_, Self>,
        reply: &mut dyn FnMut(&[u8]),
    ) {
        self.answer_datagram(datagram, session, reply);
    }
}
