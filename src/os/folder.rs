//! Folders, and names in them, that outlast a power loss.
//!
//! A name is durable when the folder that it stands in is synced; the sync of a file does nothing for its name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Failure;

/// Creates a folder and those above it, mode 0700, and makes their names durable.
pub(crate) fn create(path: &Path) -> Result<(), Failure> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    // Nothing is above the root: one that cannot be looked at is an error of what follows.
    let above = path.parent().unwrap_or(path);
    if above != path {
        create(above)?;
    }
    // A run that made it may have been killed before its name was durable.
    sync_name(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => sync(above),
        // Another account of this run, or another program, may do the same.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Failure::new("create", path, io::ErrorKind::NotADirectory.into()))
        }
        // As in /proc.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new("create", path, io::Error::new(io::ErrorKind::NotFound, "nothing can be created there")))
        }
        Err(error) => Err(Failure::new("create", path, error)),
    }
}

/// Makes the names in a folder durable.
pub(crate) fn sync(path: &Path) -> Result<(), Failure> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    open(path).and_then(|folder| folder.sync_all()).map_err(|error| Failure::new("sync", path, error))
}

/// Makes the name of a folder durable, where the folder above may be read.
pub(crate) fn sync_name(path: &Path) -> Result<(), Failure> {
    match path.parent().filter(|above| open(above).is_ok()) {
        Some(above) => sync(above),
        None => Ok(()),
    }
}

/// Octets that may still be written to the disk of a folder; of one that is not there, to the disk on which it would be
/// made. A quota is not asked for.
pub(crate) fn free(path: &Path) -> Result<u64, Failure> {
    let mut above = path;
    loop {
        match (rustix::fs::statvfs(above), above.parent()) {
            (Ok(disk), _) => return Ok(disk.f_bavail.saturating_mul(disk.f_frsize)),
            (Err(Errno::NOENT | Errno::NOTDIR), Some(parent)) => above = parent,
            (Err(error), _) => return Err(Failure::new("look for room in", path, error.into())),
        }
    }
}

/// Somebody may have put a FIFO there, which nobody should wait for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn folders_are_created_for_their_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/c");
        create(&path).unwrap();
        create(&path).unwrap();
        for created in ["a", "a/b", "a/b/c"] {
            let mode = fs::metadata(folder.path().join(created)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn room_is_that_of_the_disk_on_which_a_folder_would_be_made() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(&folder.path().join("a/b")).unwrap() > 0);
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let failure = create(&path).unwrap_err();
            let expected = format!("cannot create `{}`: not a directory", file.display());
            assert_eq!(failure.to_string(), expected);
        }
    }

    #[test]
    fn a_fifo_in_the_place_of_a_folder_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("cur");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        assert!(sync(&fifo).is_err());
    }
}
