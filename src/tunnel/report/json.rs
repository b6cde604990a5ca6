//! The report as JSON. The keys are told in the documentation of the module `tunnel`.

use std::borrow::Cow;
use std::time::Duration;

use super::{Check, Counts, Ended, Expectation, Failure, Measures, Outcome, Report, Strictness};
use super::{Latency, SuiteSummary, window};
use crate::tunnel::json::Value;
use crate::tunnel::route::Route;

/// The schema's name and its version, which grows when a key changes its meaning or goes.
const SCHEMA: (&str, u64) = ("loopback-tunnel-report", 1);
/// The most bytes of each dump.
const SHOWN: usize = 4096;

impl Report {
    /// The whole report as one line of JSON; its keys are told in the documentation of the
    /// [module](crate::tunnel#the-report-as-json).
    pub fn to_json(&self) -> String {
        Value::object([
            ("schema", SCHEMA.0.into()),
            ("version", SCHEMA.1.into()),
            ("tunnel", (&self.tunnel[..]).into()),
            ("success", Value::Bool(self.is_success())),
            ("strict", Value::Bool(self.strict)),
            ("seed", self.seed.into()),
            ("elapsed_ns", nanos(self.elapsed)),
            ("total", suite(&self.total())),
            (
                "suites",
                Value::List(self.suites().iter().map(suite).collect()),
            ),
            (
                "expectations",
                Value::List(self.expectations.iter().map(expectation).collect()),
            ),
            (
                "warnings",
                Value::list(self.warnings.iter().map(|w| &w[..])),
            ),
            (
                "checks",
                Value::List(self.checks.iter().map(write_check).collect()),
            ),
        ])
        .to_string()
    }
}

/// One check as it stands in a report and in the file of a run.
pub(crate) fn write_check(check: &Check) -> Value {
    Value::object([
        ("id", (&check.id[..]).into()),
        ("group", (&check.group[..]).into()),
        ("round", u64::from(check.round).into()),
        ("statement", (&check.statement[..]).into()),
        ("source", (&check.source[..]).into()),
        ("strictness", check.strictness.name().into()),
        ("outcome", check.outcome.name().into()),
        ("message", (&check.message[..]).into()),
        ("route", check.route.as_ref().map_or(Value::Null, route)),
        ("elapsed_ns", nanos(check.elapsed)),
        ("notes", Value::list(check.notes.iter().map(|n| &n[..]))),
        ("measures", measures(&check.measures)),
        ("failure", check.failure().map_or(Value::Null, failure)),
    ])
}

/// Reads what [`write_check`] has written; the error names the key that is missing or wrong. Of long
/// dumps only what was written comes back.
pub(crate) fn read_check(value: &Value) -> Result<Check, String> {
    let found = Fields(value);
    let optional = |name| value.get(name).filter(|v| **v != Value::Null);
    let strictness = Strictness::from_name(found.text("strictness")?);
    let outcome = Outcome::from_name(found.text("outcome")?);
    Ok(Check {
        id: found.text("id")?.to_owned(),
        group: found.text("group")?.to_owned(),
        round: u32::try_from(found.number("round")?).map_err(|_| wrong("round"))?,
        statement: Cow::Owned(found.text("statement")?.to_owned()),
        source: Cow::Owned(found.text("source")?.to_owned()),
        strictness: strictness.ok_or_else(|| wrong("strictness"))?,
        route: optional("route").map(read_route).transpose()?,
        outcome: outcome.ok_or_else(|| wrong("outcome"))?,
        message: found.text("message")?.to_owned(),
        failure: optional("failure")
            .map(read_failure)
            .transpose()?
            .map(Box::new),
        notes: found
            .items("notes")?
            .map(|note| text(note, "notes"))
            .collect::<Result<_, _>>()?,
        measures: read_measures(found.member("measures")?)?,
        elapsed: Duration::from_nanos(found.number("elapsed_ns")?),
    })
}

fn nanos(duration: Duration) -> Value {
    // 64 bits are enough for 584 years.
    Value::Number(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn counts(counts: &Counts) -> Value {
    let each = counts.each().into_iter();
    Value::Object(
        each.map(|(of, count)| (of.name().replace(' ', "_"), (count as u64).into()))
            .collect(),
    )
}

fn suite(summary: &SuiteSummary) -> Value {
    Value::object([
        ("name", (&summary.name[..]).into()),
        ("outcome", summary.outcome().name().into()),
        ("counts", counts(&summary.counts)),
        ("elapsed_ns", nanos(summary.elapsed)),
        ("bytes", summary.bytes.into()),
        ("connections", summary.connections.into()),
        ("throughput", summary.throughput.into()),
        ("latency", latency(summary.latency)),
    ])
}

fn expectation(one: &Expectation) -> Value {
    Value::object([
        ("pattern", (&one.pattern[..]).into()),
        ("reason", (&one.reason[..]).into()),
        ("state", one.state.name().into()),
    ])
}

fn route(route: &Route) -> Value {
    Value::object([
        ("listen", (&route.listen.to_string()[..]).into()),
        ("service", (&route.service.to_string()[..]).into()),
        ("client", (&route.client.to_string()[..]).into()),
        ("outgoing", (&route.outgoing.to_string()[..]).into()),
    ])
}

fn read_route(value: &Value) -> Result<Route, String> {
    let found = Fields(value);
    Ok(Route {
        listen: found.parsed("listen")?,
        service: found.parsed("service")?,
        client: found.parsed("client")?,
        outgoing: found.parsed("outgoing")?,
    })
}

fn measures(measures: &Measures) -> Value {
    let records = measures.records.iter().map(|(name, value)| {
        Value::object([("name", (&name[..]).into()), ("value", (&value[..]).into())])
    });
    Value::object([
        ("bytes", measures.bytes.into()),
        ("connections", measures.connections.into()),
        ("throughput", measures.throughput.into()),
        ("latency", latency(measures.latency)),
        ("records", Value::List(records.collect())),
    ])
}

fn latency(latency: Option<Latency>) -> Value {
    latency.map_or(Value::Null, |latency| {
        Value::object([
            ("count", latency.count.into()),
            ("p50_ns", nanos(latency.p50)),
            ("p99_ns", nanos(latency.p99)),
            ("max_ns", nanos(latency.max)),
        ])
    })
}

fn read_measures(value: &Value) -> Result<Measures, String> {
    let found = Fields(value);
    let latency = match found.member("latency")? {
        Value::Null => None,
        value => {
            let found = Fields(value);
            Some(Latency {
                count: found.number("count")?,
                p50: Duration::from_nanos(found.number("p50_ns")?),
                p99: Duration::from_nanos(found.number("p99_ns")?),
                max: Duration::from_nanos(found.number("max_ns")?),
            })
        }
    };
    let record = |value: &Value| {
        let found = Fields(value);
        Ok::<_, String>((
            found.text("name")?.to_owned(),
            found.text("value")?.to_owned(),
        ))
    };
    Ok(Measures {
        bytes: found.number("bytes")?,
        connections: found.number("connections")?,
        throughput: found.member("throughput")?.number(),
        latency,
        records: found
            .items("records")?
            .map(record)
            .collect::<Result<_, _>>()?,
    })
}

fn failure(failure: &Failure) -> Value {
    let around = failure.around();
    let dump = |bytes: Option<&[u8]>, around| bytes.map_or(Value::Null, |b| dump(b, around));
    Value::object([
        ("sent", dump(failure.sent(), 0)),
        ("expected", dump(failure.expected(), around)),
        ("received", dump(failure.received(), around)),
        (
            "programs",
            Value::List(failure.programs.iter().map(ended).collect()),
        ),
    ])
}

fn ended(program: &Ended) -> Value {
    Value::object([
        ("name", (&program.name[..]).into()),
        ("command", (&program.command[..]).into()),
        ("exit", (&program.exit[..]).into()),
        ("output", (&program.output[..]).into()),
    ])
}

fn read_failure(value: &Value) -> Result<Failure, String> {
    let found = Fields(value);
    Ok(Failure {
        sent: read_dump(found.member("sent")?)?,
        expected: read_dump(found.member("expected")?)?,
        received: read_dump(found.member("received")?)?,
        programs: found
            .items("programs")?
            .map(read_ended)
            .collect::<Result<_, _>>()?,
    })
}

fn read_ended(value: &Value) -> Result<Ended, String> {
    let found = Fields(value);
    Ok(Ended {
        name: found.text("name")?.to_owned(),
        command: found.text("command")?.to_owned(),
        exit: found.text("exit")?.to_owned(),
        output: found.text("output")?.to_owned(),
    })
}

/// Bytes as hex and text; of very many those around `around`.
fn dump(bytes: &[u8], around: usize) -> Value {
    let (from, shown) = window(bytes, around, SHOWN);
    let hex: String = shown.iter().map(|byte| format!("{byte:02x}")).collect();
    Value::object([
        ("length", (bytes.len() as u64).into()),
        ("from", (from as u64).into()),
        ("hex", (&hex[..]).into()),
        ("text", (&shown.escape_ascii().to_string()[..]).into()),
    ])
}

fn read_dump(value: &Value) -> Result<Option<Vec<u8>>, String> {
    if *value == Value::Null {
        return Ok(None);
    }
    let hex = Fields(value).text("hex")?.as_bytes();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = hex.chunks(2).map(byte).collect();
    bytes.map(Some).ok_or_else(|| wrong("hex"))
}

/// An object whose members must be there.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a Value);

impl<'a> Fields<'a> {
    fn member(self, name: &str) -> Result<&'a Value, String> {
        self.0.get(name).ok_or_else(|| wrong(name))
    }

    fn text(self, name: &str) -> Result<&'a str, String> {
        self.member(name)?.text().ok_or_else(|| wrong(name))
    }

    fn number(self, name: &str) -> Result<u64, String> {
        self.member(name)?.number().ok_or_else(|| wrong(name))
    }

    fn items(self, name: &str) -> Result<std::slice::Iter<'a, Value>, String> {
        let items = self.member(name)?.items();
        items.map(<[Value]>::iter).ok_or_else(|| wrong(name))
    }

    fn parsed<T: std::str::FromStr>(self, name: &str) -> Result<T, String> {
        self.text(name)?.parse().map_err(|_| wrong(name))
    }
}

fn text(value: &Value, name: &str) -> Result<String, String> {
    value.text().map(str::to_owned).ok_or_else(|| wrong(name))
}

fn wrong(name: &str) -> String {
    format!("\"{name}\" is missing or wrong")
}
