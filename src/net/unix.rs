//! Addresses of Unix-domain sockets, and the files that listening on them makes.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io;
#[cfg(any(target_os = "linux", target_os = "android"))]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::address::Address;
use crate::deadline::prose;

/// The address of a Unix-domain socket: a path, an abstract name (Linux), or unnamed as most clients'
/// ends are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct UnixAddress(Name);

#[derive(Clone, PartialEq, Eq, Hash)]
enum Name {
    Unnamed,
    Path(PathBuf),
    /// Without the NUL byte that stands before it in the system's structure.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    Abstract(Vec<u8>),
}

/// The bytes that a path, or an abstract name, can have: one of `sun_path` is a NUL's.
const LONGEST: usize =
    size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

impl UnixAddress {
    /// A path in the system's temporary folder that no other server of any process has, to listen on.
    /// Where that folder (`TMPDIR`) has too long a name for the path of a socket, it is in `/tmp`.
    ///
    /// The file appears with the bind and is removed when the server stops.
    ///
    /// ```
    /// use loopback::{TestTcpServer, UnixAddress};
    ///
    /// let mut server = TestTcpServer::echo(UnixAddress::temporary())?;
    /// let client = std::os::unix::net::UnixStream::connect(server.path())?;
    /// # drop(client);
    /// server.stop(std::time::Duration::from_secs(1))?;
    /// assert!(!server.path().exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn temporary() -> UnixAddress {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed();
        let stamp = since_epoch.map_or(0, |time| time.subsec_nanos());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("loopback-{}-{stamp:x}-{number}.sock", std::process::id());
        UnixAddress::temporary_in(&std::env::temp_dir(), &name)
    }

    fn temporary_in(folder: &Path, name: &str) -> UnixAddress {
        let path = std::path::absolute(folder.join(name)).unwrap_or_else(|_| folder.join(name));
        match path.as_os_str().len() > LONGEST {
            true => Path::new("/tmp").join(name).into(),
            false => path.into(),
        }
    }

    /// A name in Linux's abstract namespace (unix(7)), of 1 to 107 bytes: no file appears for it, and
    /// it is free again when the server stops. The NUL byte that the system puts before it is not
    /// part of `name`.
    ///
    /// ```
    /// use loopback::{TestTcpServer, UnixAddress};
    ///
    /// let name = UnixAddress::abstract_name(format!("loopback-doc-{}", std::process::id()));
    /// let server = TestTcpServer::echo(name.clone())?;
    /// let client = std::os::unix::net::UnixStream::connect_addr(&name.to_std()?)?;
    /// # drop((client, server));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn abstract_name(name: impl AsRef<[u8]>) -> UnixAddress {
        UnixAddress(Name::Abstract(name.as_ref().to_vec()))
    }

    /// The path, if it has one.
    pub fn path(&self) -> Option<&Path> {
        match &self.0 {
            Name::Path(path) => Some(path),
            _ => None,
        }
    }

    /// The abstract name, if it has one, without the NUL byte before it.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub fn as_abstract_name(&self) -> Option<&[u8]> {
        match &self.0 {
            Name::Abstract(name) => Some(name),
            _ => None,
        }
    }

    /// The same for std's sockets, such as `UnixStream::connect_addr`.
    ///
    /// # Errors
    /// `InvalidInput` for an unnamed address, an empty path or abstract name, a NUL byte in a path, and
    /// for what is longer than the system's limit (107 bytes on Linux, 103 on macOS).
    pub fn to_std(&self) -> io::Result<SocketAddr> {
        self.check().map_err(|why| {
            let text = format!("cannot use {self} as a socket's address: {why}");
            prose(io::ErrorKind::InvalidInput, text)
        })?;
        self.std_address()
    }

    fn std_address(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Name::Unnamed => Err(io::ErrorKind::InvalidInput.into()),
            Name::Path(path) => SocketAddr::from_pathname(path),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Name::Abstract(name) => SocketAddr::from_abstract_name(name),
        }
    }

    pub(crate) fn from_std(address: &SocketAddr) -> UnixAddress {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(name) = address.as_abstract_name() {
            return UnixAddress::abstract_name(name);
        }
        match address.as_pathname() {
            Some(path) => path.into(),
            None => UnixAddress(Name::Unnamed),
        }
    }

    /// The same with a path that does not change its meaning with the current folder, if it can be
    /// listened on.
    pub(crate) fn to_listen_on(&self) -> io::Result<UnixAddress> {
        let refused = |why: String| prose(io::ErrorKind::InvalidInput, why);
        self.check().map_err(refused)?;
        let Name::Path(path) = &self.0 else {
            return Ok(self.clone());
        };
        let absolute = std::path::absolute(path)?;
        match absolute.as_os_str().len() {
            length @ ..=LONGEST => {
                debug_assert!(length > 0, "an absolute path has its root");
                Ok(absolute.into())
            }
            length => Err(refused(format!(
                "with the current folder before it the path has {length} bytes, and a socket's can \
                 have {LONGEST}: UnixAddress::temporary() makes a short one"
            ))),
        }
    }

    /// What keeps it from being any socket's address.
    fn check(&self) -> Result<(), String> {
        match &self.0 {
            Name::Unnamed => Err("an unnamed address leads to no socket".into()),
            Name::Path(path) => check_path(path.as_os_str()),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Name::Abstract(name) => match name.len() {
                0 => Err("the abstract name is empty".into()),
                1..=LONGEST => Ok(()),
                length => Err(format!(
                    "the abstract name has {length} bytes, and one can have {LONGEST}"
                )),
            },
        }
    }

    /// As the system wants it for a bind.
    pub(crate) fn to_socket2(&self) -> io::Result<socket2::SockAddr> {
        match &self.0 {
            Name::Unnamed => Err(io::ErrorKind::InvalidInput.into()),
            Name::Path(path) => socket2::SockAddr::unix(path),
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Name::Abstract(name) => {
                let with_nul = [&[0], name.as_slice()].concat();
                socket2::SockAddr::unix(OsStr::from_bytes(&with_nul))
            }
        }
    }
}

fn check_path(path: &OsStr) -> Result<(), String> {
    let bytes = path.as_bytes();
    if bytes.is_empty() {
        return Err("the path is empty: UnixAddress::temporary() makes one".into());
    }
    if bytes[0] == 0 && cfg!(any(target_os = "linux", target_os = "android")) {
        return Err(
            "the path begins with a NUL byte: an abstract name is UnixAddress::abstract_name(\"…\")"
                .into(),
        );
    }
    if let Some(place) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("the path has a NUL byte, at {place}"));
    }
    if bytes.len() > LONGEST {
        return Err(format!(
            "the path has {} bytes, and a socket's can have {LONGEST}: UnixAddress::temporary() makes \
             a short one",
            bytes.len()
        ));
    }
    Ok(())
}

/// `unix:/run/x.sock`, `unix:@name` for an abstract name, or `unix:(unnamed)`.
impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Name::Unnamed => f.write_str("unix:(unnamed)"),
            Name::Path(path) => {
                let text = path.to_string_lossy();
                match text.is_empty() || text.contains(char::is_control) {
                    true => write!(f, "unix:{text:?}"),
                    false => write!(f, "unix:{text}"),
                }
            }
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Name::Abstract(name) => write!(f, "unix:@{}", name.escape_ascii()),
        }
    }
}

impl fmt::Debug for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UnixAddress({self})")
    }
}

impl From<&Path> for UnixAddress {
    fn from(path: &Path) -> UnixAddress {
        path.to_owned().into()
    }
}

impl From<PathBuf> for UnixAddress {
    fn from(path: PathBuf) -> UnixAddress {
        UnixAddress(Name::Path(path))
    }
}

/// Why the path of this address is in use, and what to do.
pub(super) fn in_the_way(address: &Address) -> Option<&'static str> {
    let path = address.as_path()?;
    let kind = fs::symlink_metadata(path).ok()?.file_type();
    Some(match () {
        () if !kind.is_socket() => "a file is there that is no socket",
        () if is_left_behind(path) => {
            "the socket file is there, but nobody listens on it: remove what an earlier run has left, or listen on \
             UnixAddress::temporary()"
        }
        () => "a socket is there already",
    })
}

/// Whether no process has bound a socket of this file's name, as far as the system tells. To connect would tell too,
/// but somebody's server would have a client of ours then.
fn is_left_behind(path: &Path) -> bool {
    let Some(name) = path.file_name().map(OsStr::as_bytes) else {
        return false;
    };
    let Ok(lines) = fs::read("/proc/net/unix") else {
        return false;
    };
    // A path that was bound as a relative one stands there as one.
    !lines
        .split(|&byte| byte == b'\n')
        .any(|line| line.ends_with(name))
}

/// The file that a bind has made. Dropping it removes it, and nothing else that stands there by then.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

/// What tells a file from another that has the same path. File systems give a number again soon, so
/// the time of its making, where they tell it, belongs to it.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    created: Option<SystemTime>,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Option<Identity>> {
        let found = fs::symlink_metadata(path)?;
        Ok(found.file_type().is_socket().then(|| Identity {
            device: found.dev(),
            inode: found.ino(),
            created: found.created().ok(),
        }))
    }
}

impl SocketFile {
    /// The file of a socket that has just been bound to this address; an abstract name has none.
    pub(crate) fn of(address: &UnixAddress) -> Option<SocketFile> {
        let path = address.path()?;
        let identity = Identity::of(path).ok()??;
        let path = path.to_owned();
        Some(SocketFile { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let path = self.path.display();
        match Identity::of(&self.path) {
            Ok(Some(identity)) if identity == self.identity => {
                if let Err(error) = fs::remove_file(&self.path) {
                    log::debug!(target: "loopback", "cannot remove {path}: {error}");
                }
            }
            Ok(_) => {
                log::debug!(target: "loopback", "{path} is another file by now, and stays");
            }
            Err(error) => log::debug!(target: "loopback", "{path} is gone already: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(path: &str) -> String {
        let address = UnixAddress::from(Path::new(path));
        let error = address.to_listen_on().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        assert_eq!(
            refusal(""),
            "the path is empty: UnixAddress::temporary() makes one"
        );
        assert_eq!(refusal("/tmp/a\0b"), "the path has a NUL byte, at 6");
        assert!(
            UnixAddress::from(Path::new(&*format!("/{}", "x".repeat(LONGEST - 1))))
                .to_listen_on()
                .is_ok()
        );
        let long = format!("/{}", "x".repeat(LONGEST));
        assert_eq!(
            refusal(&long),
            format!(
                "the path has {} bytes, and a socket's can have {LONGEST}: UnixAddress::temporary() \
                 makes a short one",
                LONGEST + 1
            )
        );
        let here = std::env::current_dir().unwrap().as_os_str().len();
        let relative = "x".repeat(LONGEST);
        assert_eq!(
            refusal(&relative),
            format!(
                "with the current folder before it the path has {} bytes, and a socket's can have \
                 {LONGEST}: UnixAddress::temporary() makes a short one",
                here + 1 + LONGEST
            )
        );
        assert_eq!(
            UnixAddress::from(Path::new("/tmp/a\0b")).to_string(),
            r#"unix:"/tmp/a\0b""#
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn abstract_names_have_a_constructor_and_a_limit() {
        assert_eq!(LONGEST, 107);
        assert_eq!(
            refusal("\0name"),
            "the path begins with a NUL byte: an abstract name is UnixAddress::abstract_name(\"…\")"
        );
        let name = UnixAddress::abstract_name(b"a\0b");
        assert_eq!(name.to_string(), r"unix:@a\x00b");
        assert_eq!(name.as_abstract_name(), Some(&b"a\0b"[..]));
        assert_eq!(name.path(), None);
        assert_eq!(UnixAddress::from_std(&name.to_std().unwrap()), name);
        assert!(UnixAddress::abstract_name([b'x'; 107]).to_std().is_ok());
        assert_eq!(
            UnixAddress::abstract_name("")
                .to_std()
                .unwrap_err()
                .to_string(),
            "cannot use unix:@ as a socket's address: the abstract name is empty"
        );
        let long = UnixAddress::abstract_name([b'x'; 108]);
        assert_eq!(
            long.to_listen_on().unwrap_err().to_string(),
            "the abstract name has 108 bytes, and one can have 107"
        );
    }

    #[test]
    fn a_temporary_folder_with_too_long_a_name_is_not_used() {
        let in_folder = |folder: &str| UnixAddress::temporary_in(Path::new(folder), "n.sock");
        assert_eq!(
            in_folder("/var/tmp").path(),
            Some(Path::new("/var/tmp/n.sock"))
        );
        let long = format!("/{}", "x".repeat(LONGEST));
        assert_eq!(in_folder(&long).path(), Some(Path::new("/tmp/n.sock")));
        assert_ne!(UnixAddress::temporary(), UnixAddress::temporary());
    }
}
