//! The barrier: what was written before it is on the disk after it.
//!
//! Owns how a group of files becomes durable (one `syncfs`, or an `fsync` of each), and how folders are looked through
//! and swept. An error of a sync is final: the kernel reports it once and then takes the lost pages for clean, so a second
//! attempt would succeed and prove nothing.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Error;

/// From this many files on, one `syncfs` is cheaper than an `fsync` of each, and a cron run with a handful of
/// messages does not wait for other programs' writes.
const WORTH_SYNCFS: usize = 16;

/// A `syncfs` that takes longer writes out other programs' data: from then on only our own files are synced.
#[cfg(target_os = "linux")]
const SYNCFS_LIMIT: std::time::Duration = std::time::Duration::from_millis(250);

/// From more files than this on, `fsync` runs in several threads, whose flushes the file system can join.
const WORTH_THREADS: usize = 4;

/// Files that are synced at the same time.
const THREADS: usize = 4;

/// How the files of one file system are made durable in this run.
#[derive(Debug)]
pub(super) struct Barrier {
    has_syncfs: bool,
}

impl Barrier {
    /// For files on the file system of `folder`.
    pub(super) fn new(folder: impl AsFd) -> Self {
        Barrier { has_syncfs: can_trust_syncfs(folder) }
    }

    #[cfg(test)]
    pub(super) fn without_syncfs() -> Self {
        Barrier { has_syncfs: false }
    }

    /// Makes the contents of every file durable; `fsync` does it for one of them.
    ///
    /// `folder` must have been opened before the files were written: `syncfs` reports the failures of its file
    /// system since then (syncfs(2)).
    pub(super) fn sync<T: Sync>(
        &mut self,
        folder: impl AsFd,
        files: &[T],
        fsync: impl Fn(&T) -> Result<(), Error> + Sync,
        failed: impl Fn(io::Error) -> Error,
    ) -> Result<(), Error> {
        if self.has_syncfs && files.len() >= WORTH_SYNCFS && self.sync_all(folder).map_err(failed)? {
            return Ok(());
        }
        sync_each(files, fsync)
    }

    /// False when it turns out that there is no `syncfs` here, and nothing was done.
    #[cfg(target_os = "linux")]
    fn sync_all(&mut self, folder: impl AsFd) -> io::Result<bool> {
        use rustix::io::Errno;
        let begin = std::time::Instant::now();
        match rustix::fs::syncfs(folder) {
            // Not implemented, or forbidden by a sandbox: nothing was tried, so nothing failed.
            Err(Errno::NOSYS | Errno::PERM | Errno::OPNOTSUPP | Errno::INVAL) => {
                self.has_syncfs = false;
                Ok(false)
            }
            Err(error) => Err(error.into()),
            Ok(()) => {
                self.has_syncfs = begin.elapsed() <= SYNCFS_LIMIT;
                Ok(true)
            }
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn sync_all(&mut self, _folder: impl AsFd) -> io::Result<bool> {
        Ok(false)
    }
}

/// `syncfs` reports write-back errors since Linux 5.8 (syncfs(2)), and only for file systems that write back
/// to a disk themselves: on overlayfs the errors stay with the upper file system, and FUSE is not asked to sync.
#[cfg(target_os = "linux")]
fn can_trust_syncfs(folder: impl AsFd) -> bool {
    // The values of statfs(2).
    const EXT: u64 = 0xef53;
    const XFS: u64 = 0x5846_5342;
    const BTRFS: u64 = 0x9123_683e;
    const F2FS: u64 = 0xf2f5_2010;
    const TMPFS: u64 = 0x0102_1994;
    let release = rustix::system::uname();
    let is_new_enough = version(&release.release().to_string_lossy()) >= Some((5, 8));
    let kind = rustix::fs::fstatfs(folder).map(|statistics| statistics.f_type as u64 & 0xffff_ffff);
    is_new_enough && kind.is_ok_and(|kind| [EXT, XFS, BTRFS, F2FS, TMPFS].contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn can_trust_syncfs(_folder: impl AsFd) -> bool {
    false
}

/// Major and minor of a kernel release such as `6.1.0-13-amd64`.
#[cfg(target_os = "linux")]
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

fn sync_each<T: Sync>(files: &[T], fsync: impl Fn(&T) -> Result<(), Error> + Sync) -> Result<(), Error> {
    if files.len() <= WORTH_THREADS {
        return files.iter().try_for_each(fsync);
    }
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            fsync(file)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        // A helper that cannot be started is no harm: this thread works, too.
        let helpers: Vec<_> =
            (1..THREADS).filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok()).collect();
        let mut result = work();
        for helper in helpers {
            result = result.and(helper.join().expect("syncing does not panic"));
        }
        result
    })
}

/// The names in a folder that satisfy a condition; none when there is no such folder.
pub(super) fn names_in(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let failed = |error| Error::io("read", folder, error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is not one of ours.
        let Ok(name) = entry.map_err(failed)?.file_name().into_string() else { continue };
        if wanted(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes litter and returns how much it was. What another has removed meanwhile does not count.
pub(super) fn remove_all(folder: &Path, litter: &[String]) -> Result<usize, Error> {
    let mut removed = 0;
    for path in litter.iter().map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", path, error)),
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::fs::File;
    use std::sync::Mutex;

    fn failure() -> Error {
        Error::io("sync", "x", Errno::IO)
    }

    #[test]
    fn without_syncfs_each_file_is_synced_once() {
        for count in [0, 1, 4, 5, 100] {
            let files: Vec<usize> = (0..count).collect();
            let synced = Mutex::new(Vec::new());
            let fsync = |file: &usize| {
                synced.lock().unwrap().push(*file);
                Ok(())
            };
            let mut barrier = Barrier::without_syncfs();
            barrier.sync(File::open("/").unwrap(), &files, fsync, |_| failure()).unwrap();
            let mut synced = synced.into_inner().unwrap();
            synced.sort();
            assert_eq!(synced, files);
        }
    }

    #[test]
    fn one_file_that_fails_fails_the_batch() {
        let files: Vec<usize> = (0..40).collect();
        let fsync = |file: &usize| if *file == 17 { Err(failure()) } else { Ok(()) };
        assert!(sync_each(&files, fsync).is_err());
        assert!(sync_each(&files[17..18], fsync).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_kernel_release_is_compared_by_its_numbers() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.10"), Some((5, 10)));
        assert!(version("4.4.0-19041-Microsoft") < Some((5, 8)));
        assert!(version("strange") < Some((5, 8)));
    }
}
