//! A test server of one's own protocol: enough of Redis for a client's tests.
//!
//! `cargo run --example own_redis`

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::time::Duration;

use loopback::{
    BoxError, Connection, CustomProtocol, ListenOn, Recorder, StreamProtocol, TestStreamServer,
};

/// A server that speaks RESP, the protocol of Redis, and records each command.
#[derive(Debug)]
pub(crate) struct TestRedisServer(TestStreamServer<Redis>);

impl TestRedisServer {
    /// Binds and starts.
    pub(crate) fn start(
        address: impl ListenOn<Address = SocketAddr>,
    ) -> io::Result<TestRedisServer> {
        Ok(TestRedisServer(TestStreamServer::start(
            address,
            Redis::default(),
        )?))
    }

    /// The oldest command that came: its name and arguments.
    pub(crate) fn take_command(&self, timeout: Duration) -> io::Result<Vec<String>> {
        self.0.take(timeout)
    }

    /// What is stored under a key.
    pub(crate) fn value(&self, key: &str) -> Option<String> {
        self.0.protocol().values.lock().unwrap().get(key).cloned()
    }
}

// `local_addr`, `stop`, `restart`, `failures`, … as every server has them.
impl std::ops::Deref for TestRedisServer {
    type Target = TestStreamServer<Redis>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for TestRedisServer {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// What all connections share.
#[derive(Debug, Default)]
pub(crate) struct Redis {
    values: Mutex<HashMap<String, String>>,
}

impl CustomProtocol for Redis {
    const NAME: &str = "redis";
    const ITEM: &str = "a command";
    type Item = Vec<String>;

    fn size_of(command: &Vec<String>) -> usize {
        command.iter().map(String::len).sum()
    }
}

impl StreamProtocol for Redis {
    fn serve(&self, mut conn: Connection, commands: &Recorder<'_, Self>) -> Result<(), BoxError> {
        while let Some(command) = read_command(&mut conn)? {
            let unanswered = commands.record(command.clone());
            conn.write_all(self.answer(&command).as_bytes())?;
            drop(unanswered);
        }
        Ok(())
    }
}

impl Redis {
    fn answer(&self, command: &[String]) -> String {
        let mut values = self.values.lock().unwrap();
        let words: Vec<&str> = command.iter().map(String::as_str).collect();
        match (words[0].to_uppercase().as_str(), &words[1..]) {
            ("PING", []) => "+PONG\r\n".into(),
            ("SET", [key, value]) => {
                values.insert((*key).into(), (*value).into());
                "+OK\r\n".into()
            }
            ("GET", [key]) => match values.get(*key) {
                Some(value) => format!("${}\r\n{value}\r\n", value.len()),
                None => "$-1\r\n".into(),
            },
            ("DEL", keys) => {
                let gone = keys.iter().filter(|key| values.remove(**key).is_some());
                format!(":{}\r\n", gone.count())
            }
            ("INCR", [key]) => {
                let value = values.entry((*key).into()).or_insert_with(|| "0".into());
                match value.parse::<i64>() {
                    Ok(number) => {
                        *value = (number + 1).to_string();
                        format!(":{value}\r\n")
                    }
                    Err(_) => "-ERR value is not an integer or out of range\r\n".into(),
                }
            }
            (name, _) => format!("-ERR unknown command or wrong arguments: {name}\r\n"),
        }
    }
}

/// An array of bulk strings, which is how a client sends a command; `None` when it has closed.
fn read_command(conn: &mut Connection) -> Result<Option<Vec<String>>, BoxError> {
    let line = conn.read_line()?;
    if line.is_empty() {
        return Ok(None);
    }
    let mut command = Vec::new();
    for _ in 0..number_after('*', &line)? {
        let length = number_after('$', &conn.read_line()?)?;
        let text = String::from_utf8(conn.read_bytes(length)?)?;
        conn.read_bytes(2)?;
        command.push(text);
    }
    match command.is_empty() {
        true => Err("a client sent a command without a name".into()),
        false => Ok(Some(command)),
    }
}

fn number_after(mark: char, line: &str) -> Result<usize, BoxError> {
    let number = line.trim_end().strip_prefix(mark);
    number
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| format!("{line:?} came, where {mark} and a number was expected").into())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut server = TestRedisServer::start("127.0.0.1:0")?;

    // The client under test.
    let mut client = BufReader::new(TcpStream::connect(server.local_addr())?);
    let set = b"*3\r\n$3\r\nSET\r\n$4\r\nname\r\n$5\r\nworld\r\n";
    let get = b"*2\r\n$3\r\nGET\r\n$4\r\nname\r\n";
    client.get_mut().write_all(set)?;
    client.get_mut().write_all(get)?;
    let mut answer = String::new();
    client.read_line(&mut answer)?;
    assert_eq!(answer, "+OK\r\n");
    let mut answer = [0; 11];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"$5\r\nworld\r\n");

    let limit = Duration::from_secs(5);
    assert_eq!(server.take_command(limit)?, ["SET", "name", "world"]);
    assert_eq!(server.take_command(limit)?, ["GET", "name"]);
    assert_eq!(server.value("name").as_deref(), Some("world"));
    drop(client);
    server.stop(limit)?;
    println!("a client has stored and read a value, and both commands were recorded");
    Ok(())
}
