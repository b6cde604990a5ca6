//! Messages as files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Where messages are saved, and the next number to try.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    next: AtomicU64,
}

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Folder {
        Folder {
            path,
            next: AtomicU64::new(1),
        }
    }

    /// Writes a message to a file of its own, which was not there before.
    pub(crate) fn save(&self, message: &[u8]) -> io::Result<PathBuf> {
        fs::create_dir_all(&self.path).map_err(|error| about(&self.path, error))?;
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let path = self.path.join(format!("{number}.eml"));
            // Other servers, and earlier runs, may save there too.
            let mut file = match File::create_new(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(about(&path, error)),
            };
            return match file.write_all(message) {
                Ok(()) => Ok(path),
                Err(error) => {
                    // Half a message would look like a whole one.
                    let _ = fs::remove_file(&path);
                    Err(about(&path, error))
                }
            };
        }
    }
}

fn about(path: &Path, error: io::Error) -> io::Error {
    let message = format!("the message cannot be saved: {}: {error}", path.display());
    io::Error::new(error.kind(), message)
}
