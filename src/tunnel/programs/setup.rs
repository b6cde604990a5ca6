//! What a tunnel's programs need before they start: their place, further ports, a folder.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{self, Component, Path, PathBuf};
use std::process::{self, Command};
use std::{env, fmt, mem};

#[cfg(unix)]
use super::cleanup::Cleanup;
use super::environment;
use super::port::Lease;
use crate::deadline::prose;
use crate::process::Maker;
use crate::tunnel::core::ports::Ports;
use crate::tunnel::route::Route;

/// How often to try for a name of a folder that nobody has.
const ATTEMPTS: usize = 20;

/// One program of a tunnel, for [`Tunnel::programs`](crate::tunnel::Tunnel::programs).
#[derive(Debug)]
pub struct Program {
    pub(crate) command: Command,
    pub(crate) listens_on: Option<SocketAddr>,
}

impl Program {
    /// A program that runs in the foreground. Its standard input, output and error, and its process
    /// group, are set by the harness; so is `LC_ALL`, to a UTF-8 locale of this machine, unless the
    /// command sets `LC_ALL`, `LC_CTYPE` or `LANG`. A relative path of a program is relative to the
    /// test's current folder, also when the command sets another.
    pub fn new(command: Command) -> Program {
        Program {
            command,
            listens_on: None,
        }
    }

    /// The next program is started when this one listens here; otherwise at once. On Linux the kernel
    /// is asked for that, elsewhere this is found out by connecting. The last program needs none: the
    /// harness waits until it can connect to [`Route::listen`].
    #[must_use]
    pub fn listens_on(mut self, address: SocketAddr) -> Program {
        self.listens_on = Some(address);
        self
    }

    /// Lets it open so many descriptors, by util-linux's `prlimit`: the system's own call needs unsafe code.
    pub(crate) fn limit_descriptors(&mut self, limit: usize) {
        let command = environment::prepare(mem::replace(&mut self.command, Command::new("")));
        let limit = format!("--nofile={limit}:{limit}");
        let before = [OsStr::new(&limit), command.get_program()];
        self.command = environment::again(&command, OsStr::new("prlimit"), &before);
    }
}

impl From<Command> for Program {
    fn from(command: Command) -> Program {
        Program::new(command)
    }
}

/// Where a tunnel's programs are to run, and what they need there. All of it is theirs until they have
/// ended.
pub struct Setup {
    route: Route,
    ports: Ports,
    service_path: Option<PathBuf>,
    leases: Vec<(u8, Lease)>,
    tmp: Option<Folder>,
}

impl Setup {
    pub(crate) fn new(route: Route, ports: Ports) -> Setup {
        Setup {
            route,
            ports,
            service_path: None,
            leases: Vec::new(),
            tmp: None,
        }
    }

    pub(crate) fn set_service_path(&mut self, path: PathBuf) {
        self.service_path = Some(path);
    }

    /// The path of the Unix-domain socket that is the service of a [`RunningTunnel`](crate::RunningTunnel), if it is
    /// one; nobody listens on [`Route::service`] then.
    pub fn service_path(&self) -> Option<&Path> {
        self.service_path.as_deref()
    }

    /// The addresses of the run.
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// A further port for the programs, on the address of [`Route::listen`]. The same `number` gives
    /// the same port.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub fn further(&mut self, number: u8) -> io::Result<SocketAddr> {
        if let Some((_, lease)) = self.leases.iter().find(|(known, _)| *known == number) {
            return Ok(lease.addr());
        }
        let lease = Lease::take(self.route.listen.ip(), &self.ports)?;
        let addr = lease.addr();
        self.leases.push((number, lease));
        Ok(addr)
    }

    /// A folder of the run's own, which only this user can enter. It is removed when the programs have
    /// ended.
    ///
    /// # Errors
    ///
    /// If it cannot be made in the system's folder for temporary files.
    pub fn tmp(&mut self) -> io::Result<&Path> {
        let folder = match self.tmp.take() {
            Some(folder) => folder,
            None => Folder::create()?,
        };
        Ok(&self.tmp.insert(folder).path)
    }

    /// Writes a file into [`Setup::tmp`] that only this user can read, and gives its path.
    ///
    /// # Errors
    ///
    /// If `name` is not plain, as `../other` is not; if the file is there already, or cannot be written.
    pub fn file(&mut self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.tmp()?.join(plain(name)?);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        match written {
            Ok(()) => Ok(path),
            Err(error) => {
                let text = format!("cannot write {}: {error}", path.display());
                Err(prose(error.kind(), text))
            }
        }
    }
}

/// A name of a file that stays in its folder.
fn plain(name: &str) -> io::Result<&str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(name),
        _ => {
            let text = format!("{name:?} is not the plain name of a file");
            Err(prose(io::ErrorKind::InvalidInput, text))
        }
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("route", &self.route)
            .field("tmp", &self.tmp.as_ref().map(|folder| &folder.path))
            .finish_non_exhaustive()
    }
}

/// A folder that is removed when dropped, with all that is in it.
struct Folder {
    path: PathBuf,
    maker: Maker,
    /// What removes it when this process is killed.
    #[cfg(unix)]
    _cleanup: Option<Cleanup>,
}

impl Folder {
    fn create() -> io::Result<Folder> {
        let mut builder = DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        // The programs may run in another folder than we.
        let parent = path::absolute(env::temp_dir())?;
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..ATTEMPTS {
            let random = RandomState::new().hash_one(0);
            let path = parent.join(format!("loopback-tunnel-{}-{random:016x}", process::id()));
            match builder.create(&path) {
                Ok(()) => {
                    return Ok(Folder {
                        #[cfg(unix)]
                        _cleanup: Cleanup::folder(&path),
                        path,
                        maker: Maker::this(),
                    });
                }
                Err(error) => last = error,
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
        let text = format!("cannot make a folder in {}: {last}", parent.display());
        Err(prose(last.kind(), text))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.maker.is_this() {
            return;
        }
        let removed = fs::remove_dir_all(&self.path).or_else(|_| {
            open_up(&self.path);
            fs::remove_dir_all(&self.path)
        });
        if let Err(error) = removed {
            log::warn!(
                target: "loopback::tunnel",
                "cannot remove {}: {error}",
                self.path.display()
            );
        }
    }
}

/// Makes folders of ours removable again that a program has made read-only, as some do with caches.
#[cfg(unix)]
fn open_up(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    // What cannot be opened is not removed, and that is told.
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // A link to a folder is none.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path());
        }
    }
}

/// Elsewhere it is not folders that are read-only.
#[cfg(not(unix))]
fn open_up(_folder: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup() -> Setup {
        let route = Route {
            listen: "127.0.0.1:9".parse().unwrap(),
            service: "127.0.0.1:10".parse().unwrap(),
            client: [127, 0, 0, 1].into(),
            outgoing: [127, 0, 0, 1].into(),
        };
        Setup::new(route, Ports::default())
    }

    #[cfg(unix)]
    #[test]
    fn the_folder_is_private_and_goes_with_the_setup() {
        use std::os::unix::fs::PermissionsExt;
        let mut setup = setup();
        let tmp = setup.tmp().unwrap().to_owned();
        assert_eq!(setup.tmp().unwrap(), tmp);
        let file = setup.file("a.conf", "text").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "text");
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&tmp), mode(&file)), (0o700, 0o600));
        let error = setup.file("a.conf", "again").unwrap_err().to_string();
        assert!(error.starts_with("cannot write "), "{error}");
        fs::write(tmp.join("left by the program"), "x").unwrap();
        drop(setup);
        assert!(!tmp.exists());
    }

    #[test]
    fn a_further_port_stays_the_same_and_differs_from_others() {
        let mut setup = setup();
        let second = setup.further(2).unwrap();
        assert_eq!(setup.further(2).unwrap(), second);
        assert_ne!(setup.further(3).unwrap(), second);
        assert_eq!(second.ip(), setup.route().listen.ip());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_a_program_has_locked_is_removed_too() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let lock = |path: &Path| {
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        };
        let mut setup = setup();
        let mut elsewhere = tests::setup();
        let other = elsewhere.tmp().unwrap().join("other");
        fs::create_dir(&other).unwrap();
        lock(&other);
        let tmp = setup.tmp().unwrap().to_owned();
        fs::create_dir_all(tmp.join("a/b")).unwrap();
        fs::write(tmp.join("a/b/file"), "").unwrap();
        symlink(&other, tmp.join("a/link")).unwrap();
        lock(&tmp.join("a/b"));
        lock(&tmp.join("a"));
        drop(setup);
        assert!(!tmp.exists());
        let mode = fs::metadata(&other).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0, "what a link leads to stays as it is");
    }
}
