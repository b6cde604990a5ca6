//! A proxy that is right, and that can be made wrong in one way at a time: it proves that the
//! harness's verdicts can be trusted. For tests only; an example to copy is `tunnel_check`.
//!
//! ```text
//! mutant_proxy <protocol> --listen ADDR:PORT [--service ADDR:PORT] [--outgoing IP]
//!              [--user U --password P] [--patience MS] [--slow] [--coalesce]
//!              [--pid-files FOLDER] [--mutation NAME]...
//! mutant_proxy --list
//! ```
//!
//! The protocols: `forward`, `forward-udp`, `socks4`, `socks4a`, `socks5`, `connect`, `proxy-v1` and `proxy-v2`; the
//! last two and the forwarders need `--service`. `--slow` writes one byte at a time (many at once after the first
//! 1,000), `--coalesce` gathers for up to 2 ms what it carries: both are odd and right.
//!
//! It connects to loopback addresses only, and names other than `localhost` and addresses in text
//! form are unknown to it: nothing that a test asks for leaves the machine.
//! TERM and INT end it as they end any program.

mod base64;
mod connect;
mod datagrams;
mod header;
mod login;
mod mangle;
mod mutation;
mod options;
mod outgoing;
mod process;
mod relay;
mod serve;
mod socks4;
mod socks5;
mod udp;
mod wire;

use std::{env, process as std_process};

use crate::mutation::Mutation;
use crate::options::Options;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    if args == ["--list"] {
        for mutation in Mutation::ALL {
            println!("{}: {}", mutation.name(), mutation.line());
        }
        return;
    }
    let options = match Options::parse(&args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("mutant_proxy: {error}");
            std_process::exit(64);
        }
    };
    process::prepare(&options, &args);
    if let Err(error) = serve::run(options) {
        eprintln!("mutant_proxy: {error}");
        std_process::exit(1);
    }
}
