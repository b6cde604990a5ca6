//! Real clients before the program, and the crate's own servers behind it.

use std::ffi::OsStr;
use std::io;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use super::{smtp, stop};
use crate::deadline::Deadline;
use crate::http::{Http, Request, Response, TestHttpServer};
use crate::tunnel::check::context::CheckContext;
use crate::tunnel::check::definition::CheckDef;
use crate::tunnel::check::stand_in::{Place, stand_in};
use crate::tunnel::core::check_error::CheckError;
use crate::tunnel::link::running_tunnel::proxy_url;
use crate::tunnel::programs::client::{self, Output};
use crate::tunnel::report::Failure;
use crate::tunnel::route::Kind;

pub(super) const CURL: CheckDef = CheckDef::harness(
    "client/curl",
    "curl has its upload answered by a TestHttpServer through the program",
    curl,
)
.timeout_factor(TIMEOUT_FACTOR);
pub(super) const CURL_MAIL: CheckDef = CheckDef::harness(
    "client/curl-mail",
    "curl sends a mail to a TestSmtpServer through the program",
    curl_mail,
)
.timeout_factor(TIMEOUT_FACTOR);
pub(super) const PYTHON: CheckDef = CheckDef::harness(
    "client/python",
    "Python's http.client has two requests answered by a TestHttpServer through the program",
    python,
)
.timeout_factor(TIMEOUT_FACTOR);
pub(super) const SWAKS: CheckDef = CheckDef::harness(
    "client/swaks",
    "swaks sends a mail to a TestSmtpServer through the program",
    swaks,
)
.timeout_factor(TIMEOUT_FACTOR);

/// How much more time than others the checks may take: a program is started for each.
const TIMEOUT_FACTOR: u32 = 2;
/// How much a client uploads: no more than a pipe holds.
const UPLOAD: usize = 20_000;
/// The least time that a client is told it has, in whole seconds.
const LEAST: Duration = Duration::from_secs(1);

/// Two requests on one connection: `how`, where the program is, and the service.
const PYTHON_CLIENT: &str = r#"
import base64, http.client, sys
how, program, port, host, service, login, seconds, source = sys.argv[1:]
body = sys.stdin.buffer.read()
conn = http.client.HTTPConnection(program, int(port), timeout=float(seconds), source_address=(source, 0))
if how == "connect":
    headers = {}
    if login:
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(bytes.fromhex(login)).decode()
    conn.set_tunnel(host, int(service), headers)
for path in "/one", "/two":
    conn.request("POST", path, body)
    sys.stdout.buffer.write(conn.getresponse().read()[:10_000])
"#;

/// Answers with what came, from the last byte to the first.
fn serve(place: &Place) -> io::Result<TestHttpServer<SocketAddr>> {
    let answer = |request: Request| Response::bytes(reversed(request.body()));
    place.builder::<Http>().start(place.addr, answer)
}

fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// How a client is to reach the service.
enum Way {
    /// It connects to the program as if that were the service.
    Direct(SocketAddr),
    /// It speaks the program's protocol itself.
    Proxy { url: String, tunnel: bool },
}

fn way(context: &CheckContext<'_>) -> Result<Way, CheckError> {
    let tunnel = context.tunnel();
    let listen = context.route().listen;
    match tunnel.kind() {
        Kind::Forward | Kind::ProxyProtocol => Ok(Way::Direct(listen)),
        Kind::ForwardUdp | Kind::Other => Err(CheckError::Skipped(
            "no client is known to speak this kind of tunnel".to_owned(),
        )),
        kind => Ok(Way::Proxy {
            url: proxy_url(tunnel, listen),
            tunnel: kind == Kind::HttpConnect,
        }),
    }
}

/// curl, told how to reach `url` at the service, and that URL.
fn curl_command(
    context: &CheckContext<'_>,
    scheme: &str,
    path: &str,
) -> Result<Command, CheckError> {
    let mut command = Command::new("curl");
    let seconds = seconds(context);
    let source = format!("host!{}", context.route().client);
    // Not what the user's own configuration says.
    command.args(["-q", "--silent", "--show-error", "--max-time", &seconds]);
    command.args(["--interface", &source]);
    let host = match way(context)? {
        Way::Direct(listen) => {
            command.args(["--noproxy", "*"]);
            listen
        }
        Way::Proxy { url, tunnel } => {
            command.args(["--noproxy", "", "--proxy", &url]);
            if tunnel {
                command.arg("--proxytunnel");
            }
            context.route().service
        }
    };
    command.arg(format!("{scheme}://{host}{path}"));
    Ok(command)
}

fn curl(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let body = context.random().bytes(UPLOAD);
    let mut command = curl_command(context, "http", "/upload")?;
    command.args(["--data-binary", "@-"]);
    let requests = stand_in(context, serve, |context, mut server| {
        let output = run(context, &mut command, &body);
        let output = output.and_then(|output| is_answer(&output, &reversed(&body)));
        stop(&mut server, output)?;
        Ok(server.requests())
    })?;
    context.carried(2 * UPLOAD as u64);
    have_body(&requests, &body, 1)
}

fn python(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let body = context.random().bytes(UPLOAD);
    let route = context.route();
    let how = match way(context)? {
        Way::Direct(_) => "direct",
        Way::Proxy { tunnel: true, .. } => "connect",
        Way::Proxy { .. } => {
            let why = "Python's library speaks no SOCKS".to_owned();
            return Err(CheckError::Skipped(why));
        }
    };
    let login = context.tunnel().credentials();
    let login = login.map_or_else(String::new, |(user, password)| {
        let bytes = [user, b":", password].concat();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    let mut command = Command::new("python3");
    command.args(["-I", "-c", PYTHON_CLIENT, how]);
    for address in [route.listen, route.service] {
        command.args([address.ip().to_string(), address.port().to_string()]);
    }
    command.args([login, seconds(context), route.client.to_string()]);
    let due = [&reversed(&body)[..10_000], &reversed(&body)[..10_000]].concat();
    let requests = stand_in(context, serve, |context, mut server| {
        let output = run(context, &mut command, &body);
        let output = output.and_then(|output| is_answer(&output, &due));
        stop(&mut server, output)?;
        Ok(server.requests())
    })?;
    context.carried(4 * UPLOAD as u64);
    have_body(&requests, &body, 2)
}

fn have_body(requests: &[Request], body: &[u8], times: usize) -> Result<(), CheckError> {
    let bodies: Vec<_> = requests.iter().map(|one| one.body().to_vec()).collect();
    super::same_record(&vec![body.to_vec(); times], &bodies)
}

fn curl_mail(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let message = message(context);
    let mut command = curl_command(context, "smtp", "/client.test")?;
    command.args(["--mail-from", "sender@client.test"]);
    command.args(["--mail-rcpt", "recipient@service.test"]);
    command.args(["--upload-file", "-"]);
    mails(context, &mut command, &message)
}

fn swaks(context: &mut CheckContext<'_>) -> Result<(), CheckError> {
    let Way::Direct(listen) = way(context)? else {
        let why = "swaks speaks no proxy's protocol".to_owned();
        return Err(CheckError::Skipped(why));
    };
    let message = message(context);
    let mut command = Command::new("swaks");
    // Its own file and variables are left aside.
    command.args([OsStr::new("--config"), OsStr::new("/dev/null")]);
    command.args(["--server", &listen.ip().to_string()]);
    command.args(["--port", &listen.port().to_string()]);
    command.args(["--local-interface", &context.route().client.to_string()]);
    command.args(["--helo", "client.test", "--from", "sender@client.test"]);
    command.args(["--to", "recipient@service.test", "--data", "-"]);
    command.args(["--timeout", &seconds(context)]);
    mails(context, &mut command, &message)
}

/// Has a client send a message, which the server must then have.
fn mails(
    context: &mut CheckContext<'_>,
    command: &mut Command,
    message: &str,
) -> Result<(), CheckError> {
    let messages = stand_in(context, smtp::serve, |context, mut server| {
        let output = run(context, command, message.as_bytes());
        stop(&mut server, output.map(drop))?;
        Ok(server.messages())
    })?;
    // Some clients add an empty line.
    let raw = messages
        .iter()
        .map(|one| one.raw().trim_ascii_end().to_vec());
    context.carried(message.len() as u64);
    super::same_record(
        &[message.trim_ascii_end().as_bytes().to_vec()],
        &raw.collect::<Vec<_>>(),
    )
}

/// A mail with lines that need their dot doubled on the wire.
fn message(context: &mut CheckContext<'_>) -> String {
    let mut message = "From: <sender@client.test>\r\nSubject: through a program\r\n\r\n".to_owned();
    for number in 0..100 {
        let dots = ".".repeat(number % 3);
        let word = context.random().next();
        message += &format!("{dots}{number}: {word:016x}\r\n");
    }
    message
}

/// What the client may take, as it is told.
fn seconds(context: &CheckContext<'_>) -> String {
    let left = context.deadline.remaining().max(LEAST);
    left.as_secs().to_string()
}

/// Runs a client that must end well.
fn run(
    context: &CheckContext<'_>,
    command: &mut Command,
    input: &[u8],
) -> Result<Output, CheckError> {
    let name = command.get_program().to_string_lossy().into_owned();
    let deadline: Deadline = context.deadline("the client to end");
    let output = client::run(command, input, &deadline).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CheckError::Skipped(format!("{name} is not installed")),
        _ => CheckError::failed(format!("{name}: {error}")),
    })?;
    match output.status.success() {
        true => Ok(output),
        false => {
            let (status, says) = (output.status, &output.stderr);
            Err(CheckError::failed(format!("{name}: {status}: {says}")))
        }
    }
}

fn is_answer(output: &Output, due: &[u8]) -> Result<(), CheckError> {
    if output.stdout == due {
        return Ok(());
    }
    let failure = Failure {
        expected: Some(due.to_vec()),
        received: Some(output.stdout.clone()),
        ..Failure::default()
    };
    Err(CheckError::with(
        "the client has another answer than the server gave",
        failure,
    ))
}
