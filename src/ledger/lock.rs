//! One run per account: a kernel lock on a file of its own.
//!
//! The lock file is never renamed or removed, so the lock survives compaction of the ledger, and a dead process
//! holds nothing. It gets its content when the first ledger beside it is durable, and never again: content without a
//! ledger tells of one that vanished, and never of a first run that was killed. Its time is that of the last success.

use std::fs::{File, TryLockError};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::Error;
use crate::os;

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
    let file = os::file::create(path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Held { path: path.into(), process: os::holder::of(&file) }),
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    let was_known = file.metadata().map_err(Error::io("read", path))?.len() > 0;
    Ok(Lock { path: path.into(), file, was_known })
}

impl Lock {
    /// Notes that there is a ledger now.
    pub fn mark(&self) -> Result<(), Error> {
        self.file.write_all_at(b"popfetch\n", 0).map_err(Error::io("write", &self.path))?;
        // Nothing has succeeded so far.
        let _ = self.file.set_modified(UNIX_EPOCH);
        Ok(())
    }

    /// Notes the time of a success as that of the file. Nothing depends on it.
    pub fn succeeded(&self) {
        let _ = self.file.set_modified(SystemTime::now());
    }
}

/// Closing the file is not enough: a child that another thread is just starting has it open as well, until it execs.
impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it follows, should this fail.
        let _ = self.file.unlock();
    }
}
