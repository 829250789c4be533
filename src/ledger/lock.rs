//! One run per account: a kernel lock on a file of its own.
//!
//! The lock file is never renamed or removed, so the lock survives compaction of the ledger, and a dead process
//! holds nothing. It gets its content when the first ledger beside it is durable, and never again: content without a
//! ledger tells of one that vanished, and never of a first run that was killed.

use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

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
        Err(TryLockError::WouldBlock) => return Err(Error::Held { path: path.into(), process: holder(&file) }),
        Err(TryLockError::Error(source)) => return Err(Error::io("lock", path)(source)),
    }
    let was_known = file.metadata().map_err(Error::io("read", path))?.len() > 0;
    Ok(Lock { path: path.into(), file, was_known })
}

impl Lock {
    /// Notes that there is a ledger now.
    pub fn mark(&self) -> Result<(), Error> {
        self.file.write_all_at(b"popfetch\n", 0).map_err(Error::io("write", &self.path))
    }
}

/// Closing the file is not enough: a child that another thread is just starting has it open as well, until it execs.
impl Drop for Lock {
    fn drop(&mut self) {
        // Closing it follows, should this fail.
        let _ = self.file.unlock();
    }
}

/// Who holds the lock, where the kernel has a list (proc_locks(5)). Written into the file, the number would be one more
/// write to the disk in each run that finds nothing.
fn holder(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.dev(), metadata.ino());
    let id = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    named(&fs::read_to_string("/proc/locks").ok()?, &id)
}

/// The process in the line of the flock(2) on the file `major:minor:inode`.
fn named(locks: &str, id: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, "WRITE", process, file, ..] if file == id => process.parse().ok(),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_in_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 11 fd:01:7 0 EOF\n\
                     2: FLOCK  ADVISORY  READ 12 fd:01:7 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 13 fd:01:7 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 14 fd:01:77 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 15 fd:01:7 0 EOF\n";
        assert_eq!(named(locks, "fd:01:7"), Some(15));
        assert_eq!(named(locks, "fd:01:8"), None);
        assert_eq!(named("strange\n", "fd:01:7"), None);
    }
}
