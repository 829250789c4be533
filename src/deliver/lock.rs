//! The locks of an mbox: a claim among our own threads, the dotlock `PATH.lock`, and the fcntl lock.
//!
//! Mail programs agree on no single lock, so all of the usual ones are held. Owns opening the file safely, too,
//! because a lock is worth something only on the file that is written. Knows nothing of what is in it.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;
use rustix::process::Pid;

use super::Error;
use super::destination::check_access;
use super::dotlockfile::{Answer, Dotlockfile};
use super::owner::Owner;
use crate::os::{self, host_name};
use crate::stop::Stop;

/// How long to wait for other programs: they hold a lock while they write, which takes moments.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Between two attempts. Nothing tells when a dotlock goes away.
const PAUSES: [Duration; 3] = [Duration::from_millis(5), Duration::from_millis(50), Duration::from_millis(200)];

/// A dotlock this old is a leftover: no program writes for so long.
const STALE: Duration = Duration::from_secs(15 * 60);

/// A dotlock that is held for long is touched this often: liblockfile(3) breaks one that is five minutes old.
pub(super) const TOUCH_INTERVAL: Duration = Duration::from_secs(60);

/// As many links as the kernel follows itself (path_resolution(7)).
const LINKS: usize = 40;

/// The file that a configured path means. Links are followed only where nobody else can have put them.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_symlink() => return Ok(path),
            Ok(_) if is_shared(folder(&path)) => return Err(Error::Untrusted { path }),
            Ok(_) => {
                let target = fs::read_link(&path).map_err(|error| Error::io("read", &path, error))?;
                path = folder(&path).join(target);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(path),
            Err(error) => return Err(Error::cannot_create(path, error)),
        }
    }
    Err(Error::cannot_create(path, Errno::LOOP))
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// True when others can put files there, as in `/tmp` or `/var/mail`.
fn is_shared(folder: &Path) -> bool {
    let owners = [0, rustix::process::geteuid().as_raw()];
    fs::metadata(folder).map_or(true, |folder| folder.mode() & 0o022 != 0 || !owners.contains(&folder.uid()))
}

/// An mbox that nobody else writes to. Dropped, it is unlocked.
#[derive(Debug)]
pub(super) struct Locked {
    // In this order: the claim goes last, or another thread's open and close would break the fcntl lock.
    file: File,
    dotlock: Option<Dotlock>,
    claim: Claim,
}

impl Locked {
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn path(&self) -> &Path {
        &self.claim.path
    }

    /// Fails when a program that knows no locks has put another file in its place, or somebody has removed the dotlock,
    /// so that another program may be at work now.
    pub(super) fn check_place(&self) -> Result<(), Error> {
        match &self.dotlock {
            _ if !is_at(&self.file, self.path()) => Err(Error::Changed { path: self.path().to_owned() }),
            Some(dotlock) if !dotlock.is_there() => Err(Error::Unlocked { path: dotlock.path.clone() }),
            _ => Ok(()),
        }
    }

    /// Makes the dotlock look new. It is our own file, whoever made it for us.
    pub(super) fn touch(&self) {
        if let Some(dotlock) = &self.dotlock {
            // One that cannot be touched is as good as before.
            let _ = dotlock.file.set_modified(SystemTime::now());
        }
    }

    /// Fails also when the file has another length.
    pub(super) fn check(&self, length: u64) -> Result<(), Error> {
        self.check_place()?;
        match self.file.metadata() {
            Ok(metadata) if metadata.len() == length => Ok(()),
            Ok(_) => Err(Error::Changed { path: self.path().to_owned() }),
            Err(error) => Err(Error::io("read", self.path(), error)),
        }
    }
}

/// Opens a resolved path, creating the file if need be, and takes its locks.
pub(super) fn lock(path: &Path, owner: &Owner, stop: &Stop) -> Result<Locked, Error> {
    wait(path, stop, LOCK_TIMEOUT, |path| attempt(path, owner))
}

/// Fails when the locks of a resolved path can never be taken, so that nothing is fetched for it.
pub(super) fn check_lockable(path: &Path, owner: &Owner) -> Result<(), Error> {
    match check_dotlockfile(path, owner)? {
        true => attempt(path, owner).map(drop),
        false => Ok(()),
    }
}

/// True where `dotlockfile` is needed: in a folder to which other programs may write, but we may not. Fails where it is
/// missing, also when there is a dotlock: a stale one could not be removed.
pub(super) fn check_dotlockfile(path: &Path, owner: &Owner) -> Result<bool, Error> {
    let folder = folder(path);
    let is_needed = matches!(check_access(folder, owner), Err(Errno::ACCESS | Errno::PERM)) && is_shared(folder);
    if is_needed {
        find_dotlockfile(&dotlock_path(path), owner)?;
    }
    Ok(is_needed)
}

fn find_dotlockfile(dotlock: &Path, owner: &Owner) -> Result<Dotlockfile, Error> {
    Dotlockfile::find(owner).ok_or_else(|| Error::NoDotlock { path: dotlock.to_owned(), refused: None })
}

/// Opens a resolved path, creating the file if need be, only to look at it.
pub(super) fn look<T>(path: &Path, stop: &Stop, examine: impl Fn(&File) -> Result<T, Error>) -> Result<T, Error> {
    wait(path, stop, LOCK_TIMEOUT, |path| match Claim::take(path) {
        Ok(_claim) => examine(&open(path)?).map(Ok),
        Err(busy) => Ok(Err(busy)),
    })
}

/// Opens a resolved path only to read it. `None` when there is no file.
pub(super) fn peek<T>(
    path: &Path,
    stop: &Stop,
    examine: impl Fn(&File) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    // The claim: closing the file would break the fcntl lock of another thread.
    wait(path, stop, LOCK_TIMEOUT, |path| {
        let _claim = match Claim::take(path) {
            Ok(claim) => claim,
            Err(busy) => return Ok(Err(busy)),
        };
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => examine(&file).map(Some).map(Ok),
            Err(error) if matches!(error.kind(), NotFound | NotADirectory) => Ok(Ok(None)),
            Err(error) => Err(Error::io("read", path, error)),
        }
    })
}

/// Opens a resolved path where there is a file, and asks whether it is locked; who holds it then. No lock is left, and no
/// dotlock is made.
pub(super) fn try_out<T>(
    path: &Path,
    examine: impl FnOnce(&File) -> Result<T, Error>,
) -> Result<Option<String>, Error> {
    let _claim = match Claim::take(path) {
        Ok(claim) => claim,
        Err(busy) => return Ok(Some(busy)),
    };
    let file = open_present(path)?;
    examine(&file)?;
    file.sync_all().map_err(|error| Error::io("sync", path, error))?;
    let dotlock = dotlock_path(path);
    if let Some(found) = Found::look(&dotlock).filter(|found| !found.is_stale()) {
        return Ok(Some(found.holder(&dotlock)));
    }
    // Closing the file ends it.
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::ACCESS | Errno::AGAIN) => Ok(Some("another program".to_owned())),
        Err(error) => Err(Error::io("lock", path, error)),
        Ok(()) => Ok(None),
    }
}

/// Why a lock cannot be had now: who holds it.
type Busy = String;

fn wait<T>(
    path: &Path,
    stop: &Stop,
    patience: Duration,
    attempt: impl Fn(&Path) -> Result<Result<T, Busy>, Error>,
) -> Result<T, Error> {
    let end = Instant::now() + patience;
    let mut pauses = PAUSES.into_iter();
    let mut pause = PAUSES[0];
    loop {
        let holder = match attempt(path)? {
            Ok(locked) => return Ok(locked),
            Err(holder) => holder,
        };
        if Instant::now() >= end {
            return Err(Error::Locked { path: path.to_owned(), holder });
        }
        pause = pauses.next().unwrap_or(pause);
        // A wait that fails only makes the next attempt come earlier.
        let _ = stop.pause(pause);
        stop.check().map_err(|stopped| Error::Stopped { path: path.to_owned(), stopped })?;
    }
}

fn attempt(path: &Path, owner: &Owner) -> Result<Result<Locked, Busy>, Error> {
    let claim = match Claim::take(path) {
        Ok(claim) => claim,
        Err(busy) => return Ok(Err(busy)),
    };
    let dotlock = match Dotlock::take(path, owner)? {
        Ok(dotlock) => dotlock,
        Err(busy) => return Ok(Err(busy)),
    };
    let file = open(path)?;
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::ACCESS | Errno::AGAIN) => return Ok(Err("another program".to_owned())),
        Err(error) => return Err(Error::io("lock", path, error)),
        Ok(()) => {}
    }
    // A mail reader may have put a new file in its place while we waited for the lock of the old one.
    if !is_at(&file, path) {
        return Ok(Err("a program that replaced it".to_owned()));
    }
    Ok(Ok(Locked { file, dotlock, claim }))
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::symlink_metadata(path)) else { return false };
    os::file::is_same(&open, &named)
}

/// Opens the mbox, which is created if need be. Follows no link, waits for no FIFO, and takes no file of
/// somebody else's in a folder where anybody may have put it.
fn open(path: &Path) -> Result<File, Error> {
    match open_present(path) {
        Err(Error::CannotCreate { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            match os::file::options().read(true).write(true).create_new(true).open(path) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_shared(folder(path)) => {
                    Err(Error::NoMbox { path: path.to_owned() })
                }
                created => checked(created, path),
            }
        }
        result => result,
    }
}

/// The same where there is a file.
fn open_present(path: &Path) -> Result<File, Error> {
    match os::file::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => Err(Error::NotAnMbox { path: path.to_owned() }),
        result => checked(result, path),
    }
}

fn checked(opened: io::Result<File>, path: &Path) -> Result<File, Error> {
    let file = opened.map_err(|error| Error::cannot_create(path, error))?;
    let metadata = file.metadata().map_err(|error| Error::io("read", path, error))?;
    if !metadata.is_file() {
        return Err(Error::NotAnMbox { path: path.to_owned() });
    }
    let user = rustix::process::geteuid();
    let is_ours = metadata.uid() == user.as_raw() && metadata.nlink() == 1;
    if !is_ours && is_shared(folder(path)) {
        return Err(Error::Untrusted { path: path.to_owned() });
    }
    // An empty one may be new, made by us or by a run that was killed here.
    if metadata.len() == 0 {
        os::folder::sync(folder(path))?;
        os::folder::sync_name(folder(path))?;
    }
    Ok(file)
}

/// The mboxes that threads of this process are working on.
static CLAIMED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// One thread's right to have an mbox open. fcntl locks belong to the process: they do not keep out its other
/// threads, and closing any descriptor of the file gives them all up (fcntl(2)).
#[derive(Debug)]
struct Claim {
    path: PathBuf,
    key: PathBuf,
}

impl Claim {
    fn take(path: &Path) -> Result<Self, Busy> {
        let folder = folder(path).canonicalize().unwrap_or_else(|_| folder(path).to_owned());
        let key = folder.join(path.file_name().unwrap_or_default());
        let is_free = CLAIMED.lock().expect("nobody panics while holding it").insert(key.clone());
        if !is_free {
            return Err("another account of this run".to_owned());
        }
        Ok(Claim { path: path.to_owned(), key })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.lock().expect("nobody panics while holding it").remove(&self.key);
    }
}

/// `PATH.lock`, ours. It holds `PID:HOST`: readers that take it for a plain number see the process, others
/// also see on which host to look for it. One that `dotlockfile` made holds the number alone.
#[derive(Debug)]
struct Dotlock {
    path: PathBuf,
    /// Open, so that no other file gets its number.
    file: File,
    made_by: Option<Dotlockfile>,
}

impl Dotlock {
    /// `None` where nobody can make one: on a read-only disk, and in a folder to which no other program may write either.
    /// In `/var/mail` only a group may, and it has a program for the others.
    fn take(mbox: &Path, owner: &Owner) -> Result<Result<Option<Self>, Busy>, Error> {
        let path = dotlock_path(mbox);
        for _ in 0..2 {
            match create(&path) {
                Ok(file) => return Ok(Ok(Some(Dotlock { path, file, made_by: None }))),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    return match is_shared(folder(mbox)) {
                        true => Self::have_made(path, find_dotlockfile(&dotlock_path(mbox), owner)?),
                        false => Ok(Ok(None)),
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => return Ok(Ok(None)),
                Err(error) => return Err(Error::cannot_create(path, error)),
            }
            let Some(found) = Found::look(&path) else { continue };
            if !found.is_stale() {
                return Ok(Err(found.holder(&path)));
            }
            found.remove(&path, owner);
        }
        Ok(Err(whoever_created(&path)))
    }

    fn have_made(path: PathBuf, dotlockfile: Dotlockfile) -> Result<Result<Option<Self>, Busy>, Error> {
        match dotlockfile.lock(&path)? {
            Answer::Made => {}
            Answer::Held => return Ok(Err(whoever_created(&path))),
            Answer::Refused(why) => return Err(Error::NoDotlock { path, refused: Some(why) }),
        }
        // Somebody who takes it for a leftover may have made another one since.
        let is_ours = Found::look(&path).is_some_and(|found| found.is_of_this_process());
        match os::file::options().read(true).open(&path) {
            Ok(file) if is_ours => Ok(Ok(Some(Dotlock { path, file, made_by: Some(dotlockfile) }))),
            _ => Ok(Err(whoever_created(&path))),
        }
    }

    fn is_there(&self) -> bool {
        is_at(&self.file, &self.path)
    }
}

impl Drop for Dotlock {
    fn drop(&mut self) {
        // Where somebody has removed it, the next one is another program's.
        if self.is_there() {
            // If it cannot be removed it says whose it is, and is stale when this process has ended.
            let _ = match &self.made_by {
                Some(dotlockfile) => dotlockfile.unlock(&self.path),
                None => fs::remove_file(&self.path).is_ok(),
            };
        }
    }
}

fn whoever_created(path: &Path) -> Busy {
    format!("whoever created `{}`", path.display())
}

fn dotlock_path(mbox: &Path) -> PathBuf {
    let mut path = mbox.as_os_str().to_owned();
    path.push(".lock");
    path.into()
}

/// Removes a dotlock that counts no more: a dead process of this host left it, or, after a power cut, nobody can read who
/// did and it is old. Returns how many.
pub(super) fn sweep(mbox: &Path, owner: &Owner) -> usize {
    // Another account of this run may hold it.
    let Ok(_claim) = Claim::take(mbox) else { return 0 };
    let path = dotlock_path(mbox);
    match Found::look(&path) {
        Some(found) if found.is_stale() => usize::from(found.remove(&path, owner)),
        _ => 0,
    }
}

fn create(path: &Path) -> io::Result<File> {
    let content = format!("{}:{}\n", std::process::id(), host_name());
    #[cfg(target_os = "linux")]
    match create_with_content(path, content.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {}
        result => return result,
    }
    let mut file = os::file::options().write(true).create_new(true).mode(0o644).open(path)?;
    // Without content it locks just as well; only a crash makes the next run wait longer.
    let _ = file.write_all(content.as_bytes());
    Ok(file)
}

/// The name and the content appear at once, so that no crash leaves a lock that says nothing of its owner.
#[cfg(target_os = "linux")]
fn create_with_content(path: &Path, content: &[u8]) -> io::Result<File> {
    use rustix::fs::{AtFlags, CWD};
    use std::os::fd::AsRawFd;
    let mut options = OpenOptions::new();
    options.write(true).mode(0o644).custom_flags(OFlags::TMPFILE.bits() as i32);
    let mut file = options.open(folder(path))?;
    file.write_all(content)?;
    let nameless = format!("/proc/self/fd/{}", file.as_raw_fd());
    rustix::fs::linkat(CWD, nameless, CWD, path, AtFlags::SYMLINK_FOLLOW)?;
    Ok(file)
}

/// A dotlock that is there already.
#[derive(Debug)]
struct Found {
    metadata: fs::Metadata,
    content: String,
}

impl Found {
    /// `None` when it is gone by now.
    fn look(path: &Path) -> Option<Self> {
        let metadata = fs::symlink_metadata(path).ok()?;
        Some(Found { metadata, content: read(path).unwrap_or_default() })
    }

    /// The process that made it, and the host, when it says so.
    fn owner(&self) -> Option<(Pid, Option<&str>)> {
        let (process, host) = match self.content.trim().split_once(':') {
            Some((process, host)) => (process, Some(host)),
            None => (self.content.trim(), None),
        };
        Some((Pid::from_raw(process.parse().ok().filter(|pid| *pid > 0)?)?, host))
    }

    fn is_stale(&self) -> bool {
        let age = self.metadata.modified().ok().and_then(|modified| modified.elapsed().ok());
        self.is_of_the_dead() || age.is_some_and(|age| age >= STALE)
    }

    /// A bare number is taken for a process of this host, which is how the programs that write it read it.
    fn is_of_the_dead(&self) -> bool {
        let Some((process, on)) = self.owner() else { return false };
        if on.is_some_and(|on| on != host_name()) {
            return false;
        }
        // Ours, but nobody in this process has a claim: an earlier process had our number, as the first one of
        // a container always has.
        process == rustix::process::getpid() || rustix::process::test_kill_process(process) == Err(Errno::SRCH)
    }

    fn holder(&self, path: &Path) -> Busy {
        match self.owner() {
            Some((process, Some(on))) if on != host_name() => {
                format!("process {} on {}", process.as_raw_nonzero(), crate::text::printable(on.as_bytes()))
            }
            Some((process, _)) => format!("process {}", process.as_raw_nonzero()),
            None => whoever_created(path),
        }
    }

    fn is_of_this_process(&self) -> bool {
        self.owner().is_some_and(|(process, _)| process == rustix::process::getpid())
    }

    /// Another waiting program may have replaced it since we looked: only the one that was stale goes.
    fn remove(&self, path: &Path, owner: &Owner) -> bool {
        let is_same = |now: fs::Metadata| {
            (now.dev(), now.ino(), now.mtime_nsec())
                == (self.metadata.dev(), self.metadata.ino(), self.metadata.mtime_nsec())
        };
        if !fs::symlink_metadata(path).is_ok_and(is_same) {
            return false;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Dotlockfile::find(owner).is_some_and(|dotlockfile| dotlockfile.unlock(path))
            }
            result => result.is_ok(),
        }
    }
}

fn read(path: &Path) -> io::Result<String> {
    let file = os::file::options().read(true).open(path)?;
    let mut content = String::new();
    // Longer than any process number and host name.
    file.take(400).read_to_string(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::process::Command;
    use tempfile::TempDir;

    fn mbox() -> (TempDir, PathBuf, Stop) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mbox");
        (folder, path, Stop::new().unwrap())
    }

    fn lock_soon(path: &Path, stop: &Stop) -> Result<Locked, Error> {
        wait(path, stop, Duration::from_millis(20), |path| attempt(path, &None))
    }

    fn dead_process() -> u32 {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    }

    #[test]
    fn a_lock_says_who_holds_it_and_is_gone_when_dropped() {
        let (_folder, path, stop) = mbox();
        let locked = lock(&path, &None, &stop).unwrap();
        let content = fs::read_to_string(dotlock_path(&path)).unwrap();
        assert_eq!(content, format!("{}:{}\n", std::process::id(), host_name()));
        assert_eq!(
            lock_soon(&path, &stop).unwrap_err().to_string(),
            format!("mbox `{}` is locked by another account of this run", path.display())
        );
        drop(locked);
        assert!(!dotlock_path(&path).exists());
        lock_soon(&path, &stop).unwrap();
    }

    #[test]
    fn a_lock_that_is_touched_is_new() {
        let (_folder, path, stop) = mbox();
        let locked = lock(&path, &None, &stop).unwrap();
        let dotlock = File::open(dotlock_path(&path)).unwrap();
        dotlock.set_modified(SystemTime::now() - STALE).unwrap();
        assert!(Found::look(&dotlock_path(&path)).unwrap().is_stale());
        locked.touch();
        let age = dotlock.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
        assert!(age < STALE / 2, "{age:?}");
        locked.check(0).unwrap();
    }

    #[test]
    fn the_lock_of_another_account_is_not_swept() {
        let (_folder, path, stop) = mbox();
        let _locked = lock(&path, &None, &stop).unwrap();
        assert_eq!(sweep(&path, &None), 0);
        assert!(dotlock_path(&path).exists());
    }

    #[test]
    fn a_dotlock_that_somebody_removed_is_missed_and_that_of_another_program_stays() {
        let (_folder, path, stop) = mbox();
        let locked = lock(&path, &None, &stop).unwrap();
        locked.check(0).unwrap();
        fs::remove_file(dotlock_path(&path)).unwrap();
        let error = locked.check(0).unwrap_err();
        assert_eq!(error.to_string(), format!("another program removed the lock `{}`", dotlock_path(&path).display()));
        fs::write(dotlock_path(&path), "1\n").unwrap();
        assert!(matches!(locked.check_place(), Err(Error::Unlocked { .. })));
        drop(locked);
        assert_eq!(fs::read_to_string(dotlock_path(&path)).unwrap(), "1\n");
    }

    #[test]
    fn a_living_dotlock_is_respected() {
        let (_folder, path, stop) = mbox();
        for (content, holder) in [
            ("1\n", "process 1".to_owned()),
            ("", whoever_created(&dotlock_path(&path))),
            ("99999999:elsewhere", "process 99999999 on elsewhere".to_owned()),
        ] {
            fs::write(dotlock_path(&path), content).unwrap();
            let error = lock_soon(&path, &stop).unwrap_err();
            assert_eq!(error.to_string(), format!("mbox `{}` is locked by {holder}", path.display()));
            assert_eq!(sweep(&path, &None), 0);
        }
    }

    #[test]
    fn a_dotlock_of_a_dead_process_is_broken() {
        let (_folder, path, stop) = mbox();
        for content in [format!("{}\n", dead_process()), format!("{}:{}", dead_process(), host_name())] {
            fs::write(dotlock_path(&path), &content).unwrap();
            lock_soon(&path, &stop).unwrap();
            fs::write(dotlock_path(&path), &content).unwrap();
            assert_eq!(sweep(&path, &None), 1);
        }
    }

    #[test]
    fn an_old_dotlock_is_broken() {
        let (_folder, path, stop) = mbox();
        let file = File::create(dotlock_path(&path)).unwrap();
        let old = std::time::SystemTime::now() - STALE - Duration::from_secs(1);
        file.set_modified(old).unwrap();
        lock_soon(&path, &stop).unwrap();
        File::create(dotlock_path(&path)).unwrap().set_modified(old).unwrap();
        assert_eq!(sweep(&path, &None), 1);
    }

    #[test]
    fn a_wish_to_stop_ends_the_wait() {
        let (_folder, path, stop) = mbox();
        fs::write(dotlock_path(&path), "1").unwrap();
        stop.request(15);
        assert!(matches!(lock(&path, &None, &stop), Err(Error::Stopped { .. })));
    }

    #[test]
    fn links_are_followed_only_in_folders_of_our_own() {
        let (folder, path, stop) = mbox();
        symlink("real", &path).unwrap();
        assert_eq!(resolve(&path).unwrap(), folder.path().join("real"));
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(resolve(&path), Err(Error::Untrusted { .. })));
        assert!(lock_soon(&path, &stop).is_err());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::remove_file(&path).unwrap();
        symlink("mbox", &path).unwrap();
        assert!(matches!(resolve(&path), Err(Error::CannotCreate { .. })));
    }

    #[test]
    fn a_link_in_the_place_of_the_dotlock_is_not_followed() {
        let (folder, path, stop) = mbox();
        let precious = folder.path().join("precious");
        symlink(&precious, dotlock_path(&path)).unwrap();
        assert!(matches!(lock_soon(&path, &stop), Err(Error::Locked { .. })));
        assert!(!precious.exists());
    }

    #[test]
    fn what_is_no_file_is_no_mbox() {
        let (_folder, path, stop) = mbox();
        fs::create_dir(&path).unwrap();
        assert!(matches!(lock_soon(&path, &stop), Err(Error::NotAnMbox { .. })));
        assert!(matches!(look(&path, &stop, |_| Ok(())), Err(Error::NotAnMbox { .. })));
    }
}
