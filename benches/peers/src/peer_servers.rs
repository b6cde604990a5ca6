//! The peers, each as its own documentation shows it, answering `GET /` with the same body.
//! Making an async runtime counts as starting, where the peer does not make its own: a plain
//! `#[test]` would pay for it too.

use crate::client::BODY;
use crate::std_servers;
use crate::subject::{Running, Subject};
use axum::routing::get;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{self, Runtime};
use tokio::sync::oneshot;

const MOCKITO: &str = "mockito";

/// Every HTTP server, the std reference first.
pub fn http() -> Vec<Subject> {
    vec![
        Subject {
            name: "std",
            note: "thread per connection, hand-written: the limit",
            start: std_servers::http,
        },
        Subject {
            name: "loopback",
            note: "a handler",
            start: crate::loopback_servers::http,
        },
        Subject {
            name: "loopback, fixed",
            note: "a fixed answer, as the others have",
            start: crate::loopback_servers::http_fixed,
        },
        Subject {
            name: "tiny_http",
            note: "one thread answering; its connection threads are not joined",
            start: tiny_http,
        },
        Subject {
            name: "httptest",
            note: "",
            start: httptest,
        },
        Subject {
            name: "wiremock",
            note: "a server of its own (`builder`); its thread is not joined",
            start: wiremock_own,
        },
        Subject {
            name: "axum, one thread",
            note: "graceful shutdown, thread joined",
            start: axum_one_thread,
        },
        Subject {
            name: "axum, all cores",
            note: "graceful shutdown, multi-thread runtime dropped",
            start: axum_all_cores,
        },
        Subject {
            name: "wiremock, pool",
            note: "`MockServer::start`: lent from a pool, never stopped",
            start: wiremock_pool,
        },
        Subject {
            name: MOCKITO,
            note: "lent from a pool, never stopped",
            start: mockito,
        },
        Subject {
            name: "httpmock",
            note: "lent from a pool, never stopped",
            start: httpmock,
        },
    ]
}

/// Those of [`http`] that serve a second request on a connection.
pub fn http_keeping_alive() -> Vec<Subject> {
    let mut subjects = http();
    // It sends `Connection: close` in every answer, and another value would only be added to it.
    subjects.retain(|subject| subject.name != MOCKITO);
    subjects
}

fn tiny_http() -> io::Result<Running> {
    let server = tiny_http::Server::http("127.0.0.1:0").map_err(io::Error::other)?;
    let address = server
        .server_addr()
        .to_ip()
        .ok_or_else(|| io::Error::other("tiny_http: no IP address"))?;
    let server = Arc::new(server);
    let answering = Arc::clone(&server);
    let thread = thread::spawn(move || {
        for request in answering.incoming_requests() {
            // A client that is gone is its own business here.
            drop(request.respond(tiny_http::Response::from_string(BODY)));
        }
    });
    Ok(Running::new(address, move || {
        server.unblock();
        thread
            .join()
            .map_err(|_| io::Error::other("tiny_http: the answering thread panicked"))
    }))
}

fn httptest() -> io::Result<Running> {
    use httptest::matchers::request;
    use httptest::responders::status_code;
    let server = httptest::Server::run();
    server.expect(
        httptest::Expectation::matching(request::method_path("GET", "/"))
            .times(..)
            .respond_with(status_code(200).body(BODY)),
    );
    Ok(Running::new(server.addr(), move || {
        drop(server);
        Ok(())
    }))
}

fn wiremock_own() -> io::Result<Running> {
    wiremock(|runtime| runtime.block_on(wiremock::MockServer::builder().start()))
}

fn wiremock_pool() -> io::Result<Running> {
    wiremock(|runtime| runtime.block_on(wiremock::MockServer::start()))
}

fn wiremock(start: fn(&Runtime) -> wiremock::MockServer) -> io::Result<Running> {
    use wiremock::matchers::{method, path};
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let server = start(&runtime);
    let mock = wiremock::Mock::given(method("GET"))
        .and(path("/"))
        .respond_with(wiremock::ResponseTemplate::new(200).set_body_string(BODY));
    runtime.block_on(mock.mount(&server));
    Ok(Running::new(*server.address(), move || {
        let _inside = runtime.enter();
        drop(server);
        Ok(())
    }))
}

fn mockito() -> io::Result<Running> {
    let mut server = mockito::Server::new();
    let mock = server.mock("GET", "/").with_body(BODY).create();
    Ok(Running::new(server.socket_address(), move || {
        drop((mock, server));
        Ok(())
    }))
}

fn httpmock() -> io::Result<Running> {
    let server = httpmock::MockServer::start();
    server.mock(|when, then| {
        when.method(httpmock::Method::GET).path("/");
        then.status(200).body(BODY);
    });
    Ok(Running::new(*server.address(), move || {
        drop(server);
        Ok(())
    }))
}

fn axum_one_thread() -> io::Result<Running> {
    let listener = nonblocking_listener()?;
    let address = listener.local_addr()?;
    let (stop, stopped) = oneshot::channel();
    let thread = thread::spawn(move || {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(serve_axum(listener, stopped))
    });
    Ok(Running::new(address, move || {
        drop(stop);
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("axum: the server thread panicked")))
    }))
}

fn axum_all_cores() -> io::Result<Running> {
    let listener = nonblocking_listener()?;
    let address = listener.local_addr()?;
    let runtime = Runtime::new()?;
    let (stop, stopped) = oneshot::channel();
    let server = runtime.spawn(serve_axum(listener, stopped));
    Ok(Running::new(address, move || {
        drop(stop);
        runtime.block_on(server).map_err(io::Error::other)?
    }))
}

fn nonblocking_listener() -> io::Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the other end of `stopped` is dropped.
async fn serve_axum(listener: TcpListener, stopped: oneshot::Receiver<()>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let app = axum::Router::new().route("/", get(|| async { BODY }));
    axum::serve(listener, app)
        .with_graceful_shutdown(async { drop(stopped.await) })
        .await
}
