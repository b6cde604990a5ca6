//! The examples of own protocols, from programs that are not ours.

use std::net::Ipv4Addr;
use std::time::Duration;

use libtest_mimic::Trial;

use crate::{needs, run, succeeded};

#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../../examples/own_dns.rs"]
mod own_dns;
#[allow(dead_code, reason = "its `main` is the example's")]
#[path = "../../examples/own_redis.rs"]
mod own_redis;

const LONG: Duration = Duration::from_secs(20);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        needs("redis-cli", "redis-tools", "custom::redis_cli", redis_cli),
        needs("dig", "bind9-dnsutils", "custom::dig", dig),
    ]
}

fn redis_cli() {
    let mut server = own_redis::TestRedisServer::start("127.0.0.1:0").unwrap();
    let port = server.port().to_string();
    let redis = |words: &[&str]| {
        let arguments = ["-h", "127.0.0.1", "-p", port.as_str()];
        succeeded("redis-cli", run("redis-cli", arguments.iter().chain(words)))
    };
    assert_eq!(redis(&["SET", "name", "two words"]), "OK\n");
    assert_eq!(redis(&["GET", "name"]), "two words\n");
    assert_eq!(redis(&["INCR", "count"]), "1\n");
    assert_eq!(
        redis(&["INCR", "name"]).trim_end(),
        "ERR value is not an integer or out of range"
    );
    assert_eq!(redis(&["DEL", "name", "count", "other"]), "2\n");
    assert_eq!(redis(&["GET", "name"]), "\n");
    let commands = std::iter::from_fn(|| server.take_command(Duration::from_millis(1)).ok());
    // It asks for the server's commands before it sends its own, in some versions.
    let own: Vec<_> = commands.filter(|words| words[0] != "COMMAND").collect();
    assert_eq!(own[0], ["SET", "name", "two words"]);
    assert_eq!(own.len(), 6, "{own:?}");
    server.stop(LONG).unwrap();
}

fn dig() {
    let mut names = vec![("printer.test", Ipv4Addr::new(192, 0, 2, 7))];
    // Too many for a datagram: it has to ask again over TCP.
    names.extend((0..100).map(|last| ("many.test", Ipv4Addr::new(192, 0, 2, last))));
    let mut server = own_dns::TestDnsServer::start("127.0.0.1:0", &names).unwrap();
    let port = server.port().to_string();
    let dig = |words: &[&str]| {
        let options = ["@127.0.0.1", "-p", &port, "+noedns", "+tries=1", "+time=20"];
        succeeded("dig", run("dig", options.iter().chain(words)))
    };
    assert_eq!(dig(&["+short", "printer.test"]), "192.0.2.7\n");
    assert_eq!(dig(&["+short", "+tcp", "Printer.test"]), "192.0.2.7\n");
    assert_eq!(dig(&["+short", "many.test"]).lines().count(), 100);
    assert!(dig(&["nobody.test"]).contains("status: NXDOMAIN"));
    let came = (0..5).map(|_| server.take_query(LONG).unwrap());
    let came: Vec<_> = came.map(|query| (query.name, query.over_tcp)).collect();
    let expected = [
        ("printer.test", false),
        ("printer.test", true),
        ("many.test", false),
        ("many.test", true),
        ("nobody.test", false),
    ];
    assert_eq!(came, expected.map(|(name, tcp)| (name.to_owned(), tcp)));
    server.stop(LONG).unwrap();
}
