//! A proxy that misbehaves on purpose, for the tests of the harness itself. Not an example to copy:
//! that is `tunnel_check`.
//!
//! ```text
//! fixture_tunnel <switch> <listen>     a SOCKS5 proxy with one fault
//! fixture_tunnel counts-leaks -        runs the harness on itself, fails if that leaves anything open
//! ```

use std::env;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use loopback::TunnelHarness;
use loopback::tunnel::Socks5;

fn main() {
    let args: Vec<String> = env::args().skip(1).collect();
    let [switch, listen] = &args[..] else {
        eprintln!("usage: fixture_tunnel <switch> <listen>");
        process::exit(64);
    };
    let fault: &'static str = Box::leak(switch.clone().into_boxed_str());
    println!("fixture {fault} on {listen}");
    match fault {
        "exits-at-once" => {
            eprintln!("fixture: cannot read its configuration");
            process::exit(3);
        }
        "counts-leaks" => count_leaks(),
        "never-listens" => sleep_for_ever(),
        "ignores-term" => replace("trap '' TERM; exec \"$0\" plain \"$1\"", listen),
        "crashes-on-term" => replace("trap 'exit 139' TERM; \"$0\" plain \"$1\" & wait", listen),
        "leaves-grandchild" => {
            replace(
                "(trap '' TERM; exec \"$0\" plain \"$1\") & echo pid=$!; wait",
                listen,
            );
        }
        "leaves-daemon" => {
            replace(
                "setsid \"$0\" plain \"$1\" & echo pid=$!; exec sleep 1000",
                listen,
            );
        }
        // It cleans its environment too, as some daemons do, and then nothing tells whose it is.
        "leaves-hidden-daemon" => {
            let script = "setsid env -i \"$0\" ends-by-itself \"$1\" & exec sleep 1000";
            replace(script, listen);
        }
        "ends-by-itself" => {
            thread::spawn(|| {
                thread::sleep(Duration::from_secs(60));
                process::exit(0);
            });
            println!("pid={}", process::id());
            serve(fault, listen);
        }
        "floods-output" => {
            thread::spawn(|| while io::stdout().write_all(&[b'f'; 1000]).is_ok() {});
            serve(fault, listen);
        }
        _ => serve(fault, listen),
    }
}

/// Goes on as a shell that runs `script` with this program as `$0` and `listen` as `$1`: only a shell
/// can set what signals do without unsafe code.
fn replace(script: &str, listen: &str) {
    use std::os::unix::process::CommandExt;
    let me = env::current_exe().expect("the path of this program");
    let error = Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(me)
        .arg(listen)
        .exec();
    panic!("cannot run sh: {error}");
}

fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

/// Threads and descriptors of this process before and after ten runs.
fn count_leaks() {
    let me = env::current_exe().expect("the path of this program");
    let tunnel = Socks5::spawn(move |route| {
        let mut command = Command::new(&me);
        command.args(["plain", &route.listen.to_string()]);
        command
    });
    let harness = TunnelHarness::new(tunnel);
    let open = || {
        let count = |dir| std::fs::read_dir(dir).expect("/proc").count();
        (count("/proc/self/task"), count("/proc/self/fd"))
    };
    let before = open();
    for _ in 0..10 {
        harness.run().expect("a run").assert_passed();
    }
    assert_eq!(open(), before, "threads and descriptors");
}

fn serve(fault: &'static str, listen: &str) {
    let listener = match TcpListener::bind(listen) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("cannot listen on {listen}: {error}");
            process::exit(1);
        }
    };
    for client in listener.incoming().flatten() {
        if fault == "listens-once" {
            // The port closes while the first connection goes on.
            drop(listener);
            let _ = proxy(client, fault);
            sleep_for_ever();
        }
        thread::spawn(move || {
            if let Err(error) = proxy(client, fault) {
                eprintln!("{error}");
            }
        });
    }
}

fn proxy(mut client: TcpStream, fault: &'static str) -> io::Result<()> {
    client.set_nodelay(true)?;
    let [_, count] = read_array(&mut client)?;
    client.read_exact(&mut vec![0; usize::from(count)])?;
    match fault {
        "garbage" => return client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "hangs" => sleep_for_ever(),
        "closes-in-handshake" => return Ok(()),
        "wrong-version" => return client.write_all(&[4, 0]),
        "other-method" => return client.write_all(&[5, 2]),
        "no-method" => return client.write_all(&[5, 0xff]),
        "late" => thread::sleep(Duration::from_millis(200)),
        _ => {}
    }
    answer(&mut client, &[5, 0], fault)?;
    let target = read_target(&mut client)?;
    match fault {
        "refuses" => return answer(&mut client, &[5, 5, 0, 1, 0, 0, 0, 0, 0, 0], fault),
        "cuts-reply" => return client.write_all(&[5, 0, 0, 1, 127]),
        "says-yes-and-closes" => {
            return answer(&mut client, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], fault);
        }
        "says-yes-and-hangs" => {
            answer(&mut client, &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0], fault)?;
            sleep_for_ever();
        }
        "exits-in-handshake" => {
            eprintln!("fixture: out of memory");
            process::exit(7);
        }
        _ => {}
    }
    let service = TcpStream::connect(target)?;
    service.set_nodelay(true)?;
    let mut told = service.local_addr()?;
    match fault {
        "tells-other-address" => told.set_ip(Ipv4Addr::new(192, 0, 2, 1).into()),
        "tells-other-port" => told.set_port(told.port() ^ 1),
        "tells-nothing" => told = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
        _ => {}
    }
    answer(&mut client, &reply(told), fault)?;
    relay(client, service, fault)
}

/// Sends an answer of the handshake, whole or byte by byte.
fn answer(client: &mut TcpStream, bytes: &[u8], fault: &str) -> io::Result<()> {
    if fault != "bytewise" {
        return client.write_all(bytes);
    }
    for byte in bytes {
        client.write_all(&[*byte])?;
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn reply(told: SocketAddr) -> Vec<u8> {
    let host = match told.ip() {
        IpAddr::V4(ip) => [&[1][..], &ip.octets()].concat(),
        IpAddr::V6(ip) => [&[4][..], &ip.octets()].concat(),
    };
    [&[5, 0, 0][..], &host, &told.port().to_be_bytes()].concat()
}

fn read_target(client: &mut TcpStream) -> io::Result<SocketAddr> {
    use std::net::ToSocketAddrs;
    let [_, _, _, kind] = read_array(client)?;
    let host = match kind {
        1 => Ipv4Addr::from(read_array::<4>(client)?).to_string(),
        4 => Ipv6Addr::from(read_array::<16>(client)?).to_string(),
        _ => {
            let [length] = read_array(client)?;
            let mut name = vec![0; usize::from(length)];
            client.read_exact(&mut name)?;
            String::from_utf8_lossy(&name).into_owned()
        }
    };
    let port = u16::from_be_bytes(read_array(client)?);
    (host.as_str(), port)
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn relay(client: TcpStream, service: TcpStream, fault: &'static str) -> io::Result<()> {
    let (from_client, to_client) = (client.try_clone()?, client);
    let (from_service, to_service) = (service.try_clone()?, service);
    let up = thread::spawn(move || copy(from_client, to_service, fault, true));
    let down = copy(from_service, to_client, fault, false);
    up.join().expect("copying does not panic").and(down)
}

fn copy(mut from: TcpStream, mut to: TcpStream, fault: &str, up: bool) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        let length = from.read(&mut buffer)?;
        let data = &mut buffer[..length];
        if data.is_empty() {
            break;
        }
        match (fault, up) {
            ("swaps-bytes", true) => data.swap(1, 3),
            ("loses-last-words", _) if data.starts_with(b"Last") => continue,
            ("cuts-late-reply", _) if data.starts_with(b"Late") => {
                to.write_all(&data[..3])?;
                from.shutdown(Shutdown::Both)?;
                return to.shutdown(Shutdown::Both);
            }
            ("delays-last-words", true) if data.starts_with(b"Last") => {
                thread::sleep(Duration::from_secs(2));
            }
            ("halves-last-words", _) if data.starts_with(b"Last") => {
                to.write_all(&data[..5])?;
                continue;
            }
            ("drops-down", false) => continue,
            ("exits-in-transfer", true) => {
                eprintln!("fixture: assertion failed");
                process::exit(134);
            }
            _ => {}
        }
        to.write_all(data)?;
        if let ("doubles-up", true) | ("doubles-down", false) = (fault, up) {
            to.write_all(data)?;
        }
    }
    match (fault, up) {
        ("junk-at-end-down", false) | ("junk-at-end-up", true) => to.write_all(b"JUNK")?,
        ("no-half-close", _) => {
            from.shutdown(Shutdown::Both)?;
            return to.shutdown(Shutdown::Both);
        }
        ("never-closes", true) => sleep_for_ever(),
        _ => {}
    }
    to.shutdown(Shutdown::Write)
}

fn read_array<const N: usize>(stream: &mut TcpStream) -> io::Result<[u8; N]> {
    let mut array = [0; N];
    stream.read_exact(&mut array)?;
    Ok(array)
}
