//! The ways to be wrong that concern the process as a whole.

use std::fs::File;
use std::io::{self, Write};
use std::process::{self, Command};
use std::time::Duration;
use std::{env, thread};

use crate::mutation::Mutation;
use crate::options::Options;

/// What comes before listening. Comes back unless this process is to be something else.
pub(crate) fn prepare(options: &Options, args: &[String]) {
    for &mutation in &options.mutations {
        // In the scripts "$0" "$@" is this program without this mutation.
        let script = match mutation {
            Mutation::ExitsAtOnce => {
                eprintln!("mutant: cannot read its configuration");
                process::exit(3);
            }
            Mutation::NeverListens => {
                println!("mutant never-listens on {}", options.listen);
                sleep_for_ever();
            }
            Mutation::StalePidFile => {
                leave_pid_file(options);
                continue;
            }
            Mutation::FloodsOutput => {
                thread::spawn(|| while io::stdout().write_all(&[b'f'; 1000]).is_ok() {});
                continue;
            }
            Mutation::IgnoresTerm => "trap '' TERM; exec \"$0\" \"$@\"",
            Mutation::IgnoresInt => "trap '' INT; exec \"$0\" \"$@\"",
            // The trap is set first: the other one may listen, and TERM come, before the next word is read.
            Mutation::EndsLate => {
                "trap 'sleep 3; kill -KILL $!; exit 0' TERM; (trap '' TERM; exec \"$0\" \"$@\") & wait"
            }
            Mutation::CrashesOnTerm => {
                "trap 'kill $!; wait $!; exit 139' TERM; \"$0\" \"$@\" & wait; exit 139"
            }
            // What a shell starts so ignores INT.
            Mutation::FailsOnInt => {
                "end() { kill $!; wait $!; exit $1; }; trap 'end 1' INT; trap 'end 0' TERM; \"$0\" \"$@\" & wait"
            }
            Mutation::LeavesGrandchild => "(trap '' TERM; exec \"$0\" \"$@\") & echo pid=$!; wait",
            Mutation::LeavesDaemon => "setsid \"$0\" \"$@\" & echo pid=$!; exec sleep 1000",
            // It cleans its environment too, as some daemons do, and then nothing tells whose it
            // is: it ends by itself.
            Mutation::LeavesHiddenDaemon => {
                "setsid env -i \"$0\" \"$@\" --life 60000 & exec sleep 1000"
            }
            _ => continue,
        };
        replace(script, args, mutation);
    }
    if let Some(life) = options.life {
        println!("pid={}", process::id());
        thread::spawn(move || {
            thread::sleep(life);
            process::exit(0);
        });
    }
}

/// Ends if the file is there, as programs do that take it for another one that still runs.
fn leave_pid_file(options: &Options) {
    let folder = options.pid_files.as_ref().expect("--pid-files is wanted");
    // Another check may listen at the same port later; its service has another one.
    let service = options.service.map_or(0, |service| service.port());
    let file = folder.join(format!("{}-{service}", options.listen.port()));
    if let Err(error) = File::create_new(&file) {
        eprintln!("mutant: {}: {error}", file.display());
        process::exit(2);
    }
}

pub(crate) fn sleep_for_ever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(1000));
    }
}

/// Goes on as a shell that runs `script`: only a shell can set what signals do without unsafe code.
fn replace(script: &str, args: &[String], without: Mutation) {
    use std::os::unix::process::CommandExt;
    let me = env::current_exe().expect("the path of this program");
    let at = args.iter().position(|arg| arg == without.name());
    let at = at.expect("the mutation is on the command line");
    let (before, after) = (&args[..at - 1], &args[at + 1..]);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(me).args(before).args(after);
    let error = shell.exec();
    panic!("cannot run sh: {error}");
}
