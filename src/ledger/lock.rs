//! One run per account: a kernel lock on a file of its own.
//!
//! The lock file is never renamed or removed, so the lock survives compaction of the ledger, and a dead process
//! holds nothing.

use std::fs::{File, TryLockError};
use std::io::{Read as _, Write as _};
use std::path::Path;

use super::error::Error;

/// Held until dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// True when an earlier run has held this lock.
    pub was_known: bool,
}

/// Takes the lock, or says who has it.
pub fn hold(path: &Path) -> Result<Lock, Error> {
    let mut file = super::open_own(path).map_err(Error::io("create", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(Error::Held { path: path.into(), process: process(&mut file) }),
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    let was_known = file.metadata().map_err(Error::io("read", path))?.len() > 0;
    // Appended files are written at their end, so the number is only ever truncated away.
    let owner = format!("{}\n", std::process::id());
    file.set_len(0).and_then(|()| file.write_all(owner.as_bytes())).map_err(Error::io("write", path))?;
    Ok(Lock { _file: file, was_known })
}

fn process(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
