//! Commands and configuration files with gaps that a route fills.

use std::io;
use std::process::Command;

use super::setup::{Program, Setup};
use crate::deadline::prose;

/// The command lines of a tunnel's programs, and their configuration files, with placeholders.
///
/// A command is split into words as a shell does it, by spaces, with `'…'`, `"…"` and `\`; nothing else
/// of a shell is known: no variables, patterns, pipes or redirections. Then the placeholders are filled
/// in, within each word, so that a value is never split. In a configuration file they are filled in
/// everywhere.
///
/// The program must stay in the foreground: one that goes to the background has ended. It is looked for
/// as a shell does: in `PATH`, or where a path with a slash leads from the test's current folder. Start
/// it through `env` to set a variable of its environment, and a line of a shell through `sh -c`; begin
/// that with `exec` where possible, so that the program itself gets the signals.
///
/// | placeholder | value |
/// |-|-|
/// | `{listen}` `{listen_ip}` `{listen_port}` | where the program must listen |
/// | `{service}` `{service_ip}` `{service_port}` | where the test service listens |
/// | `{service_path}` | the path of a service that is a Unix-domain socket ([`RunningTunnel`](crate::RunningTunnel) only) |
/// | `{outgoing_ip}` | the address that the program should connect from |
/// | `{client_ip}` | the address that the test client connects from |
/// | `{listen_host}` `{service_host}` `{outgoing_host}` `{client_host}` | the address, IPv6 in brackets |
/// | `{family}` `{service_family}` | `4` or `6`: the family of `{listen}`, of `{service}` |
/// | `{listen_2}` … `{listen_9}`, `{port_2}` … `{port_9}` | further free ports on `{listen_ip}` |
/// | `{user}` `{password}` | what the tunnel logs in with |
/// | `{tmp}` | a folder of the run's own, where the files are; removed at the end |
///
/// `{listen}`, `{service}` and `{listen_2}` are an address and a port, with IPv6 in brackets. `{{` and
/// `}}` stand for a brace. Whatever else is in braces is an error when the program is to be started.
///
/// ```
/// use loopback::tunnel::{Forward, Socks5, Template};
///
/// let microsocks = Socks5::template("microsocks -i {listen_ip} -p {listen_port} -b {outgoing_ip}");
///
/// // The client of the pair is started when the server listens. Its files want no brackets.
/// let stunnel = Forward::template(
///     Template::new("stunnel4 {tmp}/server.conf")
///         .listens_on("{listen_2}")
///         .then("stunnel4 {tmp}/client.conf")
///         .file("server.conf", "foreground = yes\npid =\ncert = /etc/ssl/test.pem\n\
///                [s]\naccept = {listen_ip}:{port_2}\nconnect = {service_ip}:{service_port}\n")
///         .file("client.conf", "foreground = yes\npid =\n\
///                [c]\nclient = yes\naccept = {listen_ip}:{listen_port}\nconnect = {listen_ip}:{port_2}\n"),
/// );
/// # let _ = (microsocks, stunnel);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    steps: Vec<Step>,
    files: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    command: Line,
    listens_on: Option<String>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    /// To be split into words.
    Text(String),
    Words(Vec<String>),
}

/// What a template has no gap for.
const UNKNOWN: &str = "there are {listen}, {service}, each with _ip, _port and _host, {outgoing_ip}, \
    {outgoing_host}, {client_ip}, {client_host}, {family}, {service_family}, {listen_2} to {listen_9}, \
    {port_2} to {port_9}, {user}, {password}, {tmp}; a brace itself is written {{ or }}";

impl Template {
    /// A template with one command, which starts the program in the foreground.
    pub fn new(command: impl Into<String>) -> Template {
        Template::of(Line::Text(command.into()))
    }

    /// As [`Template::new`], with a command that is split into words already.
    pub fn from_words<W: Into<String>>(words: impl IntoIterator<Item = W>) -> Template {
        Template::of(Line::Words(words.into_iter().map(W::into).collect()))
    }

    fn of(command: Line) -> Template {
        Template {
            steps: vec![Step::new(command)],
            files: Vec::new(),
        }
    }

    /// Adds a program that is started after those before it.
    #[must_use]
    pub fn then(mut self, command: impl Into<String>) -> Template {
        self.steps.push(Step::new(Line::Text(command.into())));
        self
    }

    /// Where the program of the last command listens, address and port with placeholders: the next one
    /// is started when it does. Without this the next one is started at once. See
    /// [`Program::listens_on`].
    #[must_use]
    pub fn listens_on(mut self, address: impl Into<String>) -> Template {
        if let Some(step) = self.steps.last_mut() {
            step.listens_on = Some(address.into());
        }
        self
    }

    /// A configuration file, found at `{tmp}/` and `name`. Only this user can read it.
    #[must_use]
    pub fn file(mut self, name: impl Into<String>, text: impl Into<String>) -> Template {
        self.files.push((name.into(), text.into()));
        self
    }

    /// Writes the files, and makes the programs.
    pub(crate) fn programs(
        &self,
        setup: &mut Setup,
        login: &Login<'_>,
    ) -> io::Result<Vec<Program>> {
        for (name, text) in &self.files {
            let text = fill(text, &mut |gap| value(gap, setup, login))
                .map_err(|error| within(&format!("the file {name}"), &error))?;
            setup.file(name, &text)?;
        }
        let steps = self.steps.iter();
        steps.map(|step| step.program(setup, login)).collect()
    }
}

impl From<&str> for Template {
    fn from(command: &str) -> Template {
        Template::new(command)
    }
}

impl From<String> for Template {
    fn from(command: String) -> Template {
        Template::new(command)
    }
}

/// What a tunnel logs in with.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Login<'a> {
    pub(crate) user: Option<&'a [u8]>,
    pub(crate) password: Option<&'a [u8]>,
}

impl Step {
    fn new(command: Line) -> Step {
        let listens_on = None;
        Step {
            command,
            listens_on,
        }
    }

    fn program(&self, setup: &mut Setup, login: &Login<'_>) -> io::Result<Program> {
        let what = match &self.command {
            Line::Text(text) => format!("the command `{text}`"),
            Line::Words(words) => format!("the command `{}`", words.join(" ")),
        };
        let mut fill = |text: &str| {
            fill(text, &mut |gap| value(gap, setup, login)).map_err(|error| within(&what, &error))
        };
        let words = match &self.command {
            Line::Text(text) => split(text).map_err(|error| within(&what, &error))?,
            Line::Words(words) => words.clone(),
        };
        let words: Vec<String> = words
            .iter()
            .map(|word| fill(word))
            .collect::<Result<_, _>>()?;
        let listens_on = self.listens_on.as_deref().map(&mut fill).transpose()?;
        let Some((program, arguments)) = words.split_first() else {
            return Err(invalid("the command is empty".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        let program = Program::new(command);
        let Some(address) = listens_on else {
            return Ok(program);
        };
        let parsed = address.parse().map_err(|_| {
            let text = format!("{address:?}, where it listens, is not an address and a port");
            within(&what, &invalid(text))
        })?;
        Ok(program.listens_on(parsed))
    }
}

/// Splits a command into words, as a shell does without any expansion.
fn split(text: &str) -> io::Result<Vec<String>> {
    let unclosed = |quote| invalid(format!("a {quote} is not closed"));
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(|| unclosed(c))? {
                        '\'' => break,
                        inner => word.push(inner),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or_else(|| unclosed(c))? {
                        '"' => break,
                        '\\' => match chars.next().ok_or_else(|| unclosed(c))? {
                            '\n' => {}
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        inner => word.push(inner),
                    }
                }
            }
            '\\' => match chars.next() {
                // The line goes on.
                Some('\n') => {}
                Some(escaped) => word.get_or_insert_default().push(escaped),
                None => return Err(invalid("nothing follows the last \\".to_owned())),
            },
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Fills the gaps of `text` with what `value` gives for their names; `None` is an unknown one.
fn fill(
    text: &str,
    value: &mut dyn FnMut(&str) -> io::Result<Option<String>>,
) -> io::Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        let after = &rest[at + 1..];
        if let Some(twice) = after.strip_prefix(brace) {
            out.push_str(brace);
            rest = twice;
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let gap = after.split_once('}').filter(|_| brace == "{");
        let gap = gap.filter(|(name, _)| !name.is_empty() && name.chars().all(is_name));
        let Some((name, later)) = gap else {
            let line = text[..text.len() - rest.len() + at].matches('\n').count() + 1;
            let message = format!("a single {brace} in line {line}: write {brace}{brace} for it");
            return Err(invalid(message));
        };
        match value(name)? {
            Some(value) => out.push_str(&value),
            None => {
                let message = format!("{{{name}}} is no placeholder: {UNKNOWN}");
                return Err(invalid(message));
            }
        }
        rest = later;
    }
    out.push_str(rest);
    Ok(out)
}

/// What the route has for a gap.
fn value(gap: &str, setup: &mut Setup, login: &Login<'_>) -> io::Result<Option<String>> {
    let route = *setup.route();
    let (listen, service) = (route.listen, route.service);
    Ok(Some(match gap {
        "listen" => listen.to_string(),
        "listen_ip" => listen.ip().to_string(),
        "listen_host" => host(listen.ip()),
        "listen_port" => listen.port().to_string(),
        "service" => service.to_string(),
        "service_ip" => service.ip().to_string(),
        "service_host" => host(service.ip()),
        "service_port" => service.port().to_string(),
        "service_path" => service_path(setup)?,
        "outgoing_ip" => route.outgoing.to_string(),
        "outgoing_host" => host(route.outgoing),
        "client_ip" => route.client.to_string(),
        "client_host" => host(route.client),
        "family" => route.families()[..1].to_owned(),
        "service_family" => route.families()[1..].to_owned(),
        "user" => secret("user", login.user)?,
        "password" => secret("password", login.password)?,
        "tmp" => tmp(setup)?,
        _ => return further_port(gap, setup),
    }))
}

fn service_path(setup: &Setup) -> io::Result<String> {
    match setup.service_path() {
        Some(path) => path
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| invalid(format!("{} is not UTF-8", path.display()))),
        None => Err(invalid(
            "the service has an address, and no path".to_owned(),
        )),
    }
}

/// `{listen_2}` or `{port_2}`.
fn further_port(gap: &str, setup: &mut Setup) -> io::Result<Option<String>> {
    let Some((kind @ ("listen" | "port"), digit)) = gap.split_once('_') else {
        return Ok(None);
    };
    let [digit @ b'2'..=b'9'] = digit.as_bytes() else {
        return Ok(None);
    };
    let address = setup.further(digit - b'0')?;
    Ok(Some(match kind {
        "listen" => address.to_string(),
        _ => address.port().to_string(),
    }))
}

/// An address as it stands before a colon and a port.
fn host(ip: std::net::IpAddr) -> String {
    match ip {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

fn tmp(setup: &mut Setup) -> io::Result<String> {
    let path = setup.tmp()?;
    let not_text = || invalid(format!("the folder {} is not UTF-8", path.display()));
    Ok(path.to_str().ok_or_else(not_text)?.to_owned())
}

fn secret(what: &str, bytes: Option<&[u8]>) -> io::Result<String> {
    let Some(bytes) = bytes else {
        let message = format!("{{{what}}} is asked for, but the tunnel has no {what}");
        return Err(invalid(message));
    };
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| invalid(format!("the {what} is not UTF-8")))?;
    Ok(text.to_owned())
}

fn within(what: &str, error: &io::Error) -> io::Error {
    prose(error.kind(), format!("in {what}: {error}"))
}

fn invalid(text: String) -> io::Error {
    prose(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests;
