//! One run per account: a kernel lock on a file of its own.
//!
//! The lock file is never renamed or removed, so the lock survives compaction of the ledger, and a dead process
//! holds nothing. It gets its first content when the ledger beside it is durable: content without a ledger tells of one
//! that vanished, and never of a first run that was killed.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::error::Error;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
    /// True when an earlier run has held this lock and had a ledger.
    pub was_known: bool,
}

/// Takes the lock, or says who has it.
pub fn hold(path: &Path) -> Result<Lock, Error> {
    let mut file = super::open_own(OpenOptions::new().write(true), path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Held { path: path.into(), process: process(&mut file) }),
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    let was_known = file.metadata().map_err(Error::io("read", path))?.len() > 0;
    let lock = Lock { path: path.into(), file, was_known };
    if was_known {
        lock.sign()?;
    }
    Ok(lock)
}

impl Lock {
    /// Writes down who holds it.
    pub fn sign(&self) -> Result<(), Error> {
        let line = format!("{}\n", std::process::id());
        // Over the old number: emptied first, the file would look like that of a first run after a kill.
        let written = self.file.write_all_at(line.as_bytes(), 0).and_then(|()| self.file.set_len(line.len() as u64));
        written.map_err(Error::io("write", &self.path))
    }
}

/// Closing the file is not enough: a child that another thread is just starting has it open as well, until it execs.
impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it follows, should this fail.
        let _ = self.file.unlock();
    }
}

fn process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
