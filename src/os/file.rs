//! Files that are our own, and files in folders where others may have put something.
//!
//! What another user put there could have mail deleted, a link could lead anywhere, and a FIFO would make us wait for
//! ever. So every such file is opened with the same flags, and one of ours is looked at before it is used.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::{Failure, folder, random};

/// To open a file, or to create it for its owner alone: no link is followed, no FIFO waited for, and no terminal becomes
/// ours.
pub(crate) fn options() -> OpenOptions {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(flags.bits() as i32);
    options
}

/// Why a file of ours cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    /// A call failed.
    Failed(Failure),
    /// Something is in the way that is no file of ours.
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

/// Opens a file of ours for reading and appending, creating it if need be.
pub(crate) fn append(path: &Path) -> Result<File, Error> {
    open(options().read(true).append(true).create(true), path)
}

/// Opens a file of ours for reading and writing, creating it if need be.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    open(options().read(true).write(true).create(true).truncate(false), path)
}

/// Opens a file of ours only to read it.
pub(crate) fn read(path: &Path) -> Result<File, Error> {
    open(options().read(true), path)
}

fn open(options: &OpenOptions, path: &Path) -> Result<File, Error> {
    let not_ours = |what| Error::NotOurs { path: path.into(), what };
    let failed = |source| Error::Failed(Failure::new("open", path, source));
    let file = options.open(path).map_err(|source| match path.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => not_ours("a link, which is not followed here"),
        Ok(metadata) if !metadata.is_file() => not_ours("not an ordinary file"),
        _ => failed(source),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    match metadata.is_file() {
        false => Err(not_ours("not an ordinary file")),
        true if metadata.uid() != rustix::process::geteuid().as_raw() => Err(not_ours("another user's file")),
        true => Ok(file),
    }
}

/// Writes a file in a folder and makes it durable; then it is gone, and where the system lets it have no name, it never
/// was in the folder.
pub(crate) fn try_out(folder: &Path) -> Result<(), Failure> {
    let (mut file, name) = nameless(folder)?;
    let tried = file.write_all(b"popfetch\n").map_err(|error| ("write", error));
    let tried = tried.and_then(|()| file.sync_all().map_err(|error| ("sync", error)));
    if let Some(name) = name {
        remove(&name)?;
    }
    tried.map_err(|(doing, source)| Failure::new(doing, folder.join("…"), source))?;
    folder::sync(folder)
}

fn nameless(folder: &Path) -> Result<(File, Option<PathBuf>), Failure> {
    #[cfg(target_os = "linux")]
    {
        let mut options = OpenOptions::new();
        if let Ok(file) = options.write(true).mode(0o600).custom_flags(OFlags::TMPFILE.bits() as i32).open(folder) {
            return Ok((file, None));
        }
    }
    let name = folder.join(format!(".popfetch-{:016x}", random::number()));
    match options().write(true).create_new(true).open(&name) {
        Ok(file) => Ok((file, Some(name))),
        Err(source) => Err(Failure::new("create", name, source)),
    }
}

/// True when both are the same file, and not only alike.
pub(crate) fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// A file that is to take the place of another. Dropped before it has, it is gone, and nothing has happened.
#[derive(Debug)]
pub(crate) struct Replacement {
    file: File,
    new: PathBuf,
    path: PathBuf,
    is_done: bool,
}

impl Replacement {
    /// Begins one for `path`, under the name `new` of the same folder. What a killed run has left there goes; who calls
    /// holds a lock under which the name is ours.
    pub(crate) fn begin(path: &Path, new: PathBuf) -> Result<Self, Failure> {
        remove(&new)?;
        let file = options().write(true).create_new(true).open(&new);
        let file = file.map_err(|error| Failure::new("create", &new, error))?;
        Ok(Replacement { file, new, path: path.into(), is_done: false })
    }

    /// What is written to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// The failure of a call about it.
    pub(crate) fn failed(&self, doing: &'static str, source: io::Error) -> Failure {
        Failure::new(doing, &self.new, source)
    }

    /// Puts it there, durably. The old file is valid until then.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        self.file.sync_all().map_err(|error| self.failed("sync", error))?;
        fs::rename(&self.new, &self.path).map_err(|error| Failure::new("replace", &self.path, error))?;
        self.is_done = true;
        folder::sync(self.path.parent().unwrap_or(Path::new("/")))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if !self.is_done {
            // What cannot be removed now, the next one removes.
            let _ = fs::remove_file(&self.new);
        }
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove(path: &Path) -> Result<(), Failure> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::new("remove", path, error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_a_folder_and_a_fifo_are_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name| folder.path().join(name);
        fs::write(path("file"), "").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nothing"), path("dangling")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RWXU).unwrap();
        for name in ["link", "dangling", "folder", "fifo"] {
            for opened in [append(&path(name)), read(&path(name))] {
                assert!(matches!(opened, Err(Error::NotOurs { .. })), "{name}: {opened:?}");
            }
        }
        assert!(append(&path("file")).is_ok() && read(&path("file")).is_ok());
        assert!(matches!(read(&path("new")), Err(Error::Failed(_))));
        append(&path("new")).unwrap();
        assert_eq!(fs::metadata(path("new")).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn what_is_tried_out_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        try_out(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(try_out(&folder.path().join("none")).unwrap_err().doing, "create");
    }

    #[test]
    fn a_replacement_is_there_when_it_is_finished_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let (path, new) = (folder.path().join("a"), folder.path().join("a.new"));
        fs::write(&path, "old").unwrap();
        fs::write(&new, "what a killed run left").unwrap();
        for is_finished in [false, true] {
            let mut replacement = Replacement::begin(&path, new.clone()).unwrap();
            replacement.file().write_all(b"new").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"old");
            if is_finished {
                replacement.finish().unwrap();
            }
        }
        assert_eq!((fs::read(&path).unwrap(), new.exists()), (b"new".to_vec(), false));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }
}
