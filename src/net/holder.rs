//! Who has the port that cannot be bound, as far as the system tells: on Linux, by proc(5).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// A process that has a port.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Holder {
    ThisProcess,
    /// One that this process is just starting: until it runs its own program it has a copy of every descriptor.
    Starting(String),
    Other(String),
    /// One that we may not look into.
    Unknown,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::ThisProcess => f.write_str("this process itself"),
            Holder::Starting(who) | Holder::Other(who) => f.write_str(who),
            Holder::Unknown => f.write_str("a process that this one may not look into"),
        }
    }
}

/// Who has this address; `None` is nobody, or a system that does not tell. `files` are those of /proc/net that
/// list sockets of the kind.
pub(super) fn holder(address: SocketAddr, files: &[&str]) -> Option<Holder> {
    let sockets = || -> Vec<String> {
        files
            .iter()
            .filter_map(|file| std::fs::read_to_string(format!("/proc/net/{file}")).ok())
            .flat_map(|table| sockets_on(&table, address))
            .map(|inode| format!("socket:[{inode}]"))
            .collect()
    };
    let before = sockets();
    if before.is_empty() {
        return None;
    }
    process_with(&before).or_else(|| {
        // It may have gone while it was looked for.
        let after = sockets();
        let stays = before.iter().any(|socket| after.contains(socket));
        stays.then_some(Holder::Unknown)
    })
}

/// The inodes of the sockets that a table of /proc/net lists on this port, for the same address or all.
fn sockets_on(table: &str, address: SocketAddr) -> Vec<u64> {
    let in_the_way = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        let (ip, port) = (parse_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
        let overlaps = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        let inode = fields.get(9)?.parse().ok()?;
        // A socket without an inode is one that nobody has any more.
        (port == address.port() && overlaps && inode != 0).then_some(inode)
    };
    table.lines().skip(1).filter_map(in_the_way).collect()
}

/// Addresses are written as 32-bit words in hexadecimal, each in the machine's order.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let mut bytes = Vec::new();
    for at in (0..text.len()).step_by(8) {
        let word = u32::from_str_radix(text.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    if let Ok(four) = <[u8; 4]>::try_from(&bytes[..]) {
        return Some(IpAddr::from(four));
    }
    <[u8; 16]>::try_from(&bytes[..])
        .ok()
        .map(|sixteen| IpAddr::from(sixteen).to_canonical())
}

/// The process that has one of these open, of those that we may look into.
fn process_with(links: &[String]) -> Option<Holder> {
    let has_it = |process: &Path| {
        let files = std::fs::read_dir(process.join("fd")).into_iter().flatten();
        let mut open = files.filter_map(|file| std::fs::read_link(file.ok()?.path()).ok());
        open.any(|link| {
            links
                .iter()
                .any(|wanted| link.as_os_str() == wanted.as_str())
        })
    };
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for number in numbers {
        let folder = std::path::PathBuf::from(format!("/proc/{number}"));
        if !has_it(&folder) {
            continue;
        }
        if number == std::process::id() {
            return Some(Holder::ThisProcess);
        }
        let name = std::fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let who = format!("{} (process {number})", name.trim_end());
        return Some(match is_starting(&folder) {
            true => Holder::Starting(who),
            false => Holder::Other(who),
        });
    }
    None
}

/// Whether the process with this folder in /proc is one of ours that does not run its own program yet.
fn is_starting(process: &Path) -> bool {
    let program = |folder: &Path| std::fs::read_link(folder.join("exe")).ok();
    let own = program(Path::new("/proc/self"));
    parent(process) == Some(std::process::id()) && own.is_some() && program(process) == own
}

/// The process that has started the one with this folder in /proc.
fn parent(process: &Path) -> Option<u32> {
    let status = std::fs::read_to_string(process.join("status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    parent.trim().parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn the_process_that_has_a_port_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = tcp.local_addr().unwrap();
        assert_eq!(holder(address, &["tcp", "tcp6"]), Some(Holder::ThisProcess));
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let address = udp.local_addr().unwrap();
        assert_eq!(holder(address, &["udp", "udp6"]), Some(Holder::ThisProcess));
        drop(udp);
        // A program that another test starts has a copy of the socket until it runs.
        let limit = Instant::now() + Duration::from_secs(30);
        let left = loop {
            match holder(address, &["udp", "udp6"]) {
                Some(Holder::Starting(_)) if Instant::now() < limit => std::thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(left, None);
    }

    #[test]
    fn a_child_that_runs_its_own_program_is_not_one_that_is_starting() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let folder = format!("/proc/{}", child.id());
        let folder = Path::new(&folder);
        assert_eq!(parent(folder), Some(std::process::id()));
        // `spawn` returns when it runs its own program.
        assert!(!is_starting(folder));
        assert!(!is_starting(Path::new("/proc/self")));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(parent(folder), None);
    }

    #[test]
    fn a_table_is_read_for_the_port_on_the_same_address_or_all() {
        let (here, all, six) = match cfg!(target_endian = "little") {
            true => ("0100007F", "00000000", "00000000000000000000000001000000"),
            false => ("7F000001", "00000000", "00000000000000000000000000000001"),
        };
        let line = |ip: &str, port: &str, inode: u32| {
            format!("  0: {ip}:{port} 00000000:0000 0A 0:0 00:0 0 0 0 {inode} 1 0 100\n")
        };
        let table = ["  sl  local_address ...\n".to_owned()]
            .into_iter()
            .chain([
                line(here, "1F90", 1),
                line(all, "1F90", 2),
                line(six, "1F90", 3),
                line(here, "1F91", 4),
                line(here, "1F90", 0),
                "garbage\n".to_owned(),
            ])
            .collect::<String>();
        let on = |address: &str| sockets_on(&table, address.parse().unwrap());
        assert_eq!(on("127.0.0.1:8080"), [1, 2]);
        assert_eq!(on("[::1]:8080"), [2, 3]);
        assert_eq!(on("0.0.0.0:8081"), [4]);
        assert!(on("127.0.0.1:8082").is_empty());
    }
}
