//! Spool files: where messages for an mbox, an MDA or a server wait, in the folder of the account's state.
//!
//! Owns their names, which bear the account's tag and are never used twice (an old intent must not find new
//! octets), and how long they live. Knows nothing of what is in them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Context, Error, barrier};
use crate::os::{file, folder, random};

/// What is copied or compared at a time: large enough to keep the disk busy, small enough not to be noticed.
const CHUNK: u64 = 256 * 1024;

/// Creates spool files: `KIND.<tag>.<random>.<n>.spool`.
#[derive(Debug)]
pub(crate) struct Spools {
    folder: PathBuf,
    /// Everything in the names up to the count.
    prefix: String,
    count: u64,
}

impl Spools {
    pub(crate) fn new(kind: &str, context: &Context) -> Self {
        let prefix = format!("{kind}.{}.{:016x}", context.tag, random::number());
        Spools { folder: context.spool_dir.clone(), prefix, count: 0 }
    }

    pub(super) fn create(&mut self) -> Result<Spool, Error> {
        loop {
            self.count += 1;
            let path = self.folder.join(format!("{}.{}.spool", self.prefix, self.count));
            match file::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => {
                    let (is_named, is_needed) = (AtomicBool::new(false), AtomicBool::new(false));
                    return Ok(Spool { path, file, is_named, is_needed });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(Error::cannot_create(path, error)),
            }
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file without a name: it is gone with its last descriptor, so that nothing is left by a crash.
    pub(crate) fn anonymous(&mut self) -> Result<File, Error> {
        let spool = self.create()?;
        spool.file.try_clone().map_err(|error| Error::io("open", &spool.path, error))
    }
}

/// A spool file; dropped, it is removed, unless recovery may need it.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    file: File,
    /// Its name is durable.
    is_named: AtomicBool,
    is_needed: AtomicBool,
}

impl Spool {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn write_at(&self, octets: &[u8], offset: u64) -> Result<(), Error> {
        self.file.write_all_at(octets, offset).map_err(|error| Error::io("write", &self.path, error))
    }

    pub(super) fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    /// Makes what was written so far durable, and the file's name with it.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync_data().map_err(|error| Error::io("sync", &self.path, error))?;
        if !self.is_named.load(Ordering::Relaxed) {
            folder::sync(self.path.parent().expect("a spool file is in a folder"))?;
            self.is_named.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// From now on, or no longer, recovery may need it.
    pub(super) fn set_needed(&self, is_needed: bool) {
        self.is_needed.store(is_needed, Ordering::Relaxed);
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if !*self.is_needed.get_mut() {
            // What cannot be removed now is swept by the next run.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Octets of a spool file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Range<'a> {
    pub(super) file: &'a File,
    pub(super) path: &'a Path,
    pub(super) offset: u64,
    pub(super) length: u64,
}

impl<'a> Range<'a> {
    pub(super) fn of(spool: &'a Arc<Spool>, offset: u64, length: u64) -> Self {
        Range { file: &spool.file, path: &spool.path, offset, length }
    }

    /// Writes the octets to `target`, from its offset `at` on, and calls `progress` before each chunk.
    pub(super) fn copy_to(
        &self,
        target: &File,
        target_path: &Path,
        at: u64,
        progress: &mut impl FnMut(),
    ) -> Result<(), Error> {
        let mut buffer = self.buffer();
        for (done, chunk) in chunks(self.length) {
            progress();
            let buffer = &mut buffer[..chunk];
            self.read(buffer, done)?;
            target.write_all_at(buffer, at + done).map_err(|error| Error::io("write", target_path, error))?;
        }
        Ok(())
    }

    /// True when `target` holds the first `length` octets of this range, from its offset `at` on.
    pub(super) fn is_at(&self, target: &File, target_path: &Path, at: u64, length: u64) -> Result<bool, Error> {
        self.compare(target, target_path, at, length, |ours, theirs| ours == theirs)
    }

    /// As [`Range::is_at`], but octets of `target` may be zero instead: a power cut can leave a file its length, and
    /// blocks that were never written.
    pub(super) fn is_partly_at(&self, target: &File, target_path: &Path, at: u64, length: u64) -> Result<bool, Error> {
        let is_like = |(ours, theirs): (&u8, &u8)| *theirs == 0 || ours == theirs;
        self.compare(target, target_path, at, length, |ours, theirs| ours.iter().zip(theirs).all(is_like))
    }

    fn compare(
        &self,
        target: &File,
        target_path: &Path,
        at: u64,
        length: u64,
        are_alike: impl Fn(&[u8], &[u8]) -> bool,
    ) -> Result<bool, Error> {
        let (mut ours, mut theirs) = (self.buffer(), self.buffer());
        for (done, chunk) in chunks(length.min(self.length)) {
            let (ours, theirs) = (&mut ours[..chunk], &mut theirs[..chunk]);
            self.read(ours, done)?;
            target.read_exact_at(theirs, at + done).map_err(|error| Error::io("read", target_path, error))?;
            if !are_alike(ours, theirs) {
                return Ok(false);
            }
        }
        Ok(length <= self.length)
    }

    /// This range and the next as one, where they are neighbours in one file.
    pub(super) fn joined(&self, next: &Range<'a>) -> Option<Self> {
        let are_neighbours = self.path == next.path && self.offset + self.length == next.offset;
        are_neighbours.then_some(Range { length: self.length + next.length, ..*self })
    }

    fn buffer(&self) -> Vec<u8> {
        vec![0; self.length.min(CHUNK) as usize]
    }

    fn read(&self, buffer: &mut [u8], from: u64) -> Result<(), Error> {
        self.file.read_exact_at(buffer, self.offset + from).map_err(|error| Error::io("read", self.path, error))
    }
}

/// Offsets and sizes of the pieces of `length` octets.
fn chunks(length: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..length.div_ceil(CHUNK)).map(move |n| (n * CHUNK, (length - n * CHUNK).min(CHUNK) as usize))
}

/// Opens a spool file that an intent names, and tells its length; `None` when it is gone.
pub(super) fn open(path: &Path) -> Result<Option<(File, u64)>, Error> {
    let file = match file::options().read(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let length = file.metadata().map_err(|error| Error::io("read", path, error))?.len();
    Ok(Some((file, length)))
}

/// Removes what runs with this tag left in the state's folder.
pub(super) fn sweep<E: From<Error>>(
    context: &Context,
    make_durable: impl FnOnce() -> Result<(), E>,
) -> Result<usize, E> {
    let ours = ["mbox", "mda", "relay"].map(|kind| format!("{kind}.{}.", context.tag));
    let is_ours = |name: &str| name.ends_with(".spool") && ours.iter().any(|prefix| name.starts_with(prefix));
    let litter = barrier::names_in(&context.spool_dir, is_ours)?;
    if !litter.is_empty() {
        make_durable()?;
    }
    Ok(barrier::remove_all(&context.spool_dir, &litter)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::tests::{context, names};
    use std::fs;

    #[test]
    fn a_spool_file_lives_as_long_as_it_may_be_needed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spools = Spools::new("mbox", &context(folder.path()));
        drop(spools.create().unwrap());
        assert_eq!(names(folder.path()).len(), 0);
        let needed = spools.create().unwrap();
        needed.set_needed(true);
        drop(needed);
        assert_eq!(names(folder.path()).len(), 1);
    }

    #[test]
    fn only_spool_files_with_this_tag_are_swept() {
        let folder = tempfile::tempdir().unwrap();
        let context = context(folder.path());
        std::mem::forget(Spools::new("mbox", &context).create().unwrap());
        std::mem::forget(Spools::new("mda", &context).create().unwrap());
        let others = ["a.jsonl", "mbox.other.1.2.spool", "mbox.t4g.jsonl", "mbox.t4gg.1.2.spool"];
        for other in others {
            fs::write(folder.path().join(other), "").unwrap();
        }
        let unready = || Err(Error::io("sync", "x", rustix::io::Errno::IO));
        assert!(sweep(&context, unready).is_err());
        assert_eq!(names(folder.path()).len(), others.len() + 2);
        assert_eq!(sweep(&context, || Ok::<(), Error>(())).unwrap(), 2);
        assert_eq!(names(folder.path()), others);
    }

    #[test]
    fn pieces_cover_a_range_exactly() {
        let of = |length| chunks(length).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(1), [(0, 1)]);
        assert_eq!(of(CHUNK + 1), [(0, CHUNK as usize), (CHUNK, 1)]);
    }
}
