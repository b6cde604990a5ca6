//! What ends programs and removes folders when the test's process is gone before it could: killed, by whatever
//! signal, KILL included.
//!
//! A process cannot do that for itself: what a signal may do is little, and KILL leaves it nothing. So a shell
//! is told of each program and folder while there are any, and when its input ends it ends what it still
//! knows. There is one for all of them, and it ends with the last.

use std::io;
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{self, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::child::VARIABLE;
use super::group;
use super::port::SPAWNING;
use crate::net::socket::send_quietly;
use crate::process::Maker;

/// Each line is `+` or `-`, and a thing: `g` and the id of a group of processes, `d` and a folder. Groups go first,
/// for they may write into folders; then what has left its group, which is known by its environment. The signals
/// that end the test must not end this first.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
newline='
'
held=$newline
while IFS= read -r line; do
    thing=${line#?}
    case $line in
    +*) held=$held$thing$newline ;;
    -*) case $held in *"$newline$thing$newline"*)
            held=${held%%"$newline$thing$newline"*}$newline${held#*"$newline$thing$newline"} ;;
        esac ;;
    esac
done
[ "$held" = "$newline" ] && exit
IFS=$newline
set -f
for thing in $held; do
    case $thing in g*) kill -KILL -- "-${thing#g}" ;; esac
done
set +f
for process in /proc/[0-9]*; do
    grep -qs -e "$1" "$process/environ" && kill -KILL "${process#/proc/}"
done
set -f
for thing in $held; do
    case $thing in d*) rm -rf -- "${thing#d}" ;; esac
done
"#;

static CLEANER: Mutex<Option<Cleaner>> = Mutex::new(None);

/// The shell's process.
struct Cleaner {
    process: process::Child,
    input: UnixStream,
    things: usize,
    maker: Maker,
}

/// Something that is ended or removed when this process is gone before this has been dropped.
#[derive(Debug)]
pub(crate) struct Cleanup {
    thing: String,
    maker: Maker,
}

impl Cleanup {
    /// A program's group of processes.
    pub(crate) fn group(leader: u32) -> Option<Cleanup> {
        Cleanup::new(format!("g{leader}"))
    }

    /// A folder.
    pub(crate) fn folder(path: &Path) -> Option<Cleanup> {
        // A line of its own must be one.
        let path = path.to_str().filter(|path| !path.contains('\n'))?;
        Cleanup::new(format!("d{path}"))
    }

    /// `None` where there is no shell: then a killed test leaves what it has started, as any process does.
    fn new(thing: String) -> Option<Cleanup> {
        let mut cleaner = CLEANER.lock().unwrap_or_else(PoisonError::into_inner);
        if cleaner.as_ref().is_none_or(|one| !one.maker.is_this()) {
            match Cleaner::start() {
                Ok(started) => *cleaner = Some(started),
                Err(error) => {
                    log::debug!(target: "loopback::tunnel", "nobody ends programs when this process is killed: {error}");
                    return None;
                }
            }
        }
        let one = cleaner.as_mut()?;
        one.tell('+', &thing);
        one.things += 1;
        let maker = Maker::this();
        Some(Cleanup { thing, maker })
    }
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if !self.maker.is_this() {
            return;
        }
        let mut cleaner = CLEANER.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(one) = cleaner.as_mut() else {
            return;
        };
        one.tell('-', &self.thing);
        one.things -= 1;
        if one.things == 0
            && let Some(last) = cleaner.take()
        {
            last.end();
        }
    }
}

impl Cleaner {
    fn start() -> io::Result<Cleaner> {
        let (input, theirs) = UnixStream::pair()?;
        // All that this process has started bears it.
        let mark = format!("{VARIABLE}={}-", process::id());
        let mut command = Command::new("sh");
        command
            .args(["-c", SCRIPT, "sh", &mark])
            .env_remove(VARIABLE)
            .current_dir("/")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        group::isolate(&mut command);
        let spawning = SPAWNING.read().unwrap_or_else(PoisonError::into_inner);
        let spawned = command.spawn();
        drop(spawning);
        Ok(Cleaner {
            process: spawned?,
            input,
            things: 0,
            maker: Maker::this(),
        })
    }

    /// If it is gone, nothing is to be done about that.
    fn tell(&mut self, sign: char, thing: &str) {
        let line = format!("{sign}{thing}\n");
        let _ = send_quietly(&self.input, line.as_bytes());
    }

    /// It knows of nothing any more, and ends at once.
    fn end(mut self) {
        let _ = self.input.shutdown(Shutdown::Both);
        drop(self.input);
        let _ = self.process.wait();
    }
}
