//! Maildir: a file a message, written below `tmp` and renamed into `new`.
//!
//! Owns unique names, the rename, and how to find out after a crash what became of one. Nobody needs a lock.
//! A message costs four system calls besides the shared barrier: open, write, close, rename.

use std::collections::HashMap;
use std::fs::{self, File, Metadata};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::barrier::{self, Barrier};
use super::destination::{BatchLimit, Destination, Ends, Found, GROUP, Guarantee, Kind, Tried};
use super::destination::{check_access, check_creatable, read_path};
use super::owner::{self, Owner};
use super::{Context, Error, Intents, Outcome, Place, Reason, Receipt, Recovered, Refusal, Staged, Synced};
use crate::account::Target;
use crate::notice::Held;
use crate::os::{
    self,
    exposure::{self, Exposure},
};
use crate::text;

/// Staged messages that keep their descriptor: enough for every batch that is synced file by file and few
/// enough for twenty accounts below the usual limit of 1024. Beyond, the file is opened again to be synced.
const KEPT_OPEN: usize = 32;

/// A message this large is sent on its way to the disk while the rest of it comes, this much at a time.
const WRITE_BACK: u64 = 8 << 20;

/// `maildir:PATH`.
pub(super) const KIND: Kind =
    Kind { word: "maildir", read: read_path, destination: |target| Box::new(Maildir::of(target)) };

#[derive(Debug)]
struct Maildir {
    path: PathBuf,
}

impl Maildir {
    fn of(target: &Target) -> Self {
        Maildir { path: target.path().expect("a Maildir is a path").to_owned() }
    }
}

impl Destination for Maildir {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    /// Its barriers cost the same for many files as for few: a slow disk gets large groups, and a fast one is never
    /// waited for.
    fn batch_limit(&self) -> BatchLimit {
        BatchLimit { growth: 8, ahead: 1, ..GROUP }
    }

    fn open(&self, context: &Context) -> Result<Ends, Error> {
        let (stager, publisher) = open(&self.path, context)?;
        Ok((Box::new(stager), Box::new(publisher)))
    }

    /// A message's name is looked up in each of its folders.
    fn exposure(&self) -> Option<Exposure> {
        ["tmp/_", "new/_", "cur/_"].iter().find_map(|name| exposure::of_path_of_root(&self.path.join(name), false))
    }

    fn folders(&self, _context: &Context) -> Result<Vec<PathBuf>, Error> {
        Ok(vec![self.path.clone()])
    }

    fn missing(&self) -> Result<Option<PathBuf>, Error> {
        Ok(is_gone(&self.path)?.then(|| self.path.clone()))
    }

    fn try_out(&self, context: &Context) -> Result<Tried, Error> {
        let mut is_whole = true;
        for folder in ["tmp", "new", "cur"].map(|name| self.path.join(name)) {
            match folder.is_dir() {
                true => check_access(&folder, &context.owner)
                    .map_err(|error| Error::cannot_create(folder.join("…"), error))?,
                false => check_creatable(&folder, &context.owner)?,
            }
            is_whole &= folder.is_dir();
        }
        if !is_whole {
            return Ok(Tried::Creatable);
        }
        Folders::open(&self.path, &context.owner)
            .map_err(|error| Error::io("open", &self.path, error))?
            .check_together()?;
        os::file::try_out(&self.path.join("tmp"))?;
        os::folder::sync(&self.path.join("new"))?;
        Ok(Tried::Ready)
    }

    fn held(&self, before: SystemTime) -> Option<Held> {
        let entries = ["new", "cur"].map(|folder| fs::read_dir(self.path.join(folder)).into_iter().flatten().flatten());
        let (process, before) = (process(), before.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs());
        // Another account of this run may be delivering there.
        let is_older = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let seconds = name.split('.').next().and_then(|seconds| seconds.parse::<u64>().ok());
            let is_ours = name.contains(&process) && seconds.is_some_and(|seconds| seconds >= before);
            !name.starts_with('.') && !is_ours
        };
        let count = entries.into_iter().flatten().filter(is_older).take(Held::COUNTED).count();
        (count > 0).then_some(Held::Messages(count))
    }

    fn look(&self, places: &[Place], context: &Context) -> Result<Vec<Found>, Error> {
        look(&self.path, places, context)
    }

    fn mend(&self, places: &[Place], context: &Context) -> Result<Vec<Recovered>, Error> {
        mend(&self.path, places, context)
    }

    fn sweep(&self, context: &Context) -> Result<usize, Error> {
        sweep(&self.path, context)
    }
}

fn open(path: &Path, context: &Context) -> Result<(Stager, Publisher), Error> {
    let names = Names::new(&tag(context));
    let _acting = owner::act_as(&context.owner)?;
    let folders = Arc::new(Folders::create(path, &context.owner)?);
    let barrier = Barrier::new(&folders.tmp);
    let stager = Stager { folders: folders.clone(), names, open: Arc::default() };
    Ok((stager, Publisher { folders, barrier }))
}

/// The open folders of a Maildir.
#[derive(Debug)]
struct Folders {
    path: PathBuf,
    owner: Owner,
    tmp: OwnedFd,
    new: OwnedFd,
}

impl Folders {
    /// Under the rights of the owner.
    fn create(path: &Path, owner: &Owner) -> Result<Self, Error> {
        for name in ["tmp", "new", "cur"] {
            let folder = path.join(name);
            os::folder::create(&folder)?;
            // Better known now than after the first message was fetched.
            check_access(&folder, owner).map_err(|error| Error::cannot_create(folder.join("…"), error))?;
        }
        let folders = Self::open(path, owner).map_err(|error| Error::io("open", path, error))?;
        folders.check_together()?;
        Ok(folders)
    }

    /// Nothing can be renamed from one file system to another.
    fn check_together(&self) -> Result<(), Error> {
        let device = |folder: &OwnedFd| rustix::fs::fstat(folder).map(|stat| stat.st_dev);
        match (device(&self.tmp), device(&self.new)) {
            (Ok(tmp), Ok(new)) if tmp != new => Err(Error::Apart { path: self.path.clone() }),
            _ => Ok(()),
        }
    }

    fn open(path: &Path, owner: &Owner) -> rustix::io::Result<Self> {
        let open = |name| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::openat(CWD, path.join(name), flags, Mode::empty())
        };
        Ok(Folders { path: path.to_owned(), owner: owner.clone(), tmp: open("tmp")?, new: open("new")? })
    }

    fn tmp_path(&self, name: &str) -> PathBuf {
        self.path.join("tmp").join(name)
    }

    /// Moves a message into `new`, where there must be none of that name.
    fn publish(&self, staged: &str, name: &str) -> rustix::io::Result<()> {
        #[cfg(any(target_os = "linux", target_vendor = "apple"))]
        {
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&self.tmp, staged, &self.new, name, flags) {
                // NFS and some FUSE file systems do not know the flag.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {}
                result => return result,
            }
        }
        // Looking first leaves a gap, but the name is unique: only somebody who can delete mail could use it.
        match rustix::fs::statat(&self.new, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => rustix::fs::renameat(&self.tmp, staged, &self.new, name),
            Err(error) => Err(error),
        }
    }

    fn sync_new(&self) -> Result<(), Error> {
        rustix::fs::fsync(&self.new).map_err(|error| Error::io("sync", self.path.join("new"), error))
    }
}

/// Unique names: `SECS.M<usec>P<pid>Q<n>R<random>_<tag>.<host>` (<https://cr.yp.to/proto/maildir.html>).
#[derive(Debug)]
struct Names {
    /// `P<pid>Q`.
    process: String,
    /// `R<random>_<tag>.<host>`.
    ending: String,
    count: u64,
}

impl Names {
    fn new(tag: &str) -> Self {
        Names { process: process(), ending: format!("R{:016x}{}", os::random::number(), tag_and_host(tag)), count: 0 }
    }

    fn next(&mut self) -> String {
        // A clock before 1970 costs the sorting, not the uniqueness.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.count += 1;
        let [mut seconds, mut micros, mut count] = [itoa::Buffer::new(); 3];
        let seconds = seconds.format(now.as_secs());
        let (micros, count) = (micros.format(now.subsec_micros()), count.format(self.count));
        [seconds, ".M", micros, &self.process, count, &self.ending].concat()
    }
}

/// What the names of this process have in common.
fn process() -> String {
    format!("P{}Q", std::process::id())
}

fn tag_and_host(tag: &str) -> String {
    format!("_{tag}.{}", host())
}

/// The host's name as it may stand in a file name that ends with `,S=` and, later, with `:2,`.
fn host() -> String {
    escaped(&os::host_name())
}

/// `/` and `:` become `\057` and `\072`, as the Maildir page wants it, and so does whatever else is odd.
fn escaped(host: &str) -> String {
    let octet = |octet: u8| match octet {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => char::from(octet).to_string(),
        _ => format!("\\{octet:03o}"),
    };
    host.bytes().map(octet).collect()
}

/// Writes messages below `tmp`.
#[derive(Debug)]
struct Stager {
    folders: Arc<Folders>,
    names: Names,
    open: Arc<AtomicUsize>,
}

impl super::Stager for Stager {
    fn stage(&mut self, _unique_id: &[u8], _nth: u32) -> Result<Box<dyn super::Stage>, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let _acting = owner::act_as(&self.folders.owner)?;
        loop {
            let name = self.names.next();
            match rustix::fs::openat(&self.folders.tmp, &*name, flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => {
                    let unseen = Unseen { folders: self.folders.clone(), name, file: None, is_published: false };
                    let stage = Stage { file: file.into(), octets: 0, open: self.open.clone(), unseen };
                    return Ok(Box::new(stage));
                }
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(Error::cannot_create(self.folders.tmp_path(&name), error)),
            }
        }
    }
}

/// A message that is being written below `tmp`.
#[derive(Debug)]
struct Stage {
    file: File,
    octets: u64,
    open: Arc<AtomicUsize>,
    unseen: Unseen,
}

impl super::Stage for Stage {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.file.write_all(octets).map_err(|error| self.unseen.failed("write", error))?;
        let before = self.octets;
        self.octets += octets.len() as u64;
        if before / WRITE_BACK != self.octets / WRITE_BACK {
            begin_write_back(&self.file, before / WRITE_BACK * WRITE_BACK);
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Staged, Error> {
        let Stage { file, octets, open, mut unseen } = *self;
        unseen.file = Kept::new(file, open);
        Ok(Staged::new(octets, unseen))
    }
}

/// Starts writing 8 MiB to the disk, so that the barrier at the end has little left to wait for. "Don't need"
/// starts write-back of what is dirty and frees what is clean (posix_fadvise(2)); it is advice, so its failure
/// is of no interest.
fn begin_write_back(file: &File, from: u64) {
    #[cfg(target_os = "linux")]
    let _ = rustix::fs::fadvise(file, from, std::num::NonZeroU64::new(WRITE_BACK), rustix::fs::Advice::DontNeed);
    #[cfg(not(target_os = "linux"))]
    let _ = (file, from);
}

/// A descriptor that is worth keeping, counted.
#[derive(Debug)]
struct Kept {
    file: File,
    open: Arc<AtomicUsize>,
}

impl Kept {
    /// `None`, and the file is closed, when enough are open already.
    fn new(file: File, open: Arc<AtomicUsize>) -> Option<Self> {
        if open.fetch_add(1, Ordering::Relaxed) < KEPT_OPEN {
            return Some(Kept { file, open });
        }
        open.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A file below `tmp`; dropped before it is published, it is removed.
#[derive(Debug)]
struct Unseen {
    folders: Arc<Folders>,
    name: String,
    file: Option<Kept>,
    is_published: bool,
}

impl Unseen {
    fn failed(&self, doing: &'static str, error: impl Into<io::Error>) -> Error {
        Error::io(doing, self.folders.tmp_path(&self.name), error)
    }

    fn fsync(&self) -> Result<(), Error> {
        let synced = match &self.file {
            Some(kept) => rustix::fs::fsync(&kept.file),
            // Linux reports a write-back error that nobody has seen to descriptors opened later, too.
            None => self.reopen().and_then(rustix::fs::fsync),
        };
        synced.map_err(|error| self.failed("sync", error))
    }

    fn reopen(&self) -> rustix::io::Result<OwnedFd> {
        // Somebody may have put a FIFO there, which nobody should wait for.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(&self.folders.tmp, &*self.name, flags, Mode::empty())
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        if !self.is_published
            && let Ok(_acting) = owner::act_as(&self.folders.owner)
        {
            // What cannot be removed now is swept by the next run.
            let _ = rustix::fs::unlinkat(&self.folders.tmp, &*self.name, AtFlags::empty());
        }
    }
}

/// Renames messages into `new`.
#[derive(Debug)]
struct Publisher {
    folders: Arc<Folders>,
    barrier: Barrier,
}

impl super::Publisher for Publisher {
    /// The names below `tmp` are not synced: should a power loss take one, the message is fetched again.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, Error> {
        let _acting = owner::act_as(&self.folders.owner)?;
        let (mut unseen, octets): (Vec<Box<Unseen>>, Vec<_>) = batch.into_iter().map(Staged::into_held).unzip();
        let failed = |error| Error::io("sync", self.folders.path.join("tmp"), error);
        self.barrier.sync(&self.folders.tmp, &unseen, |unseen| unseen.fsync(), failed)?;
        unseen.iter_mut().for_each(|unseen| unseen.file = None);
        Ok(unseen.into_iter().zip(octets).map(synced).collect())
    }

    /// A kill before a rename leaves the whole, durable message below `tmp`, and recovery renames it; one after
    /// it leaves the message in `new`, where recovery finds it. A power loss may undo renames that are not
    /// synced yet, which is the first case again. So an intended file is never removed here, whatever fails.
    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, Error> {
        let batch = intended.into_synced().into_iter();
        let mut intended: Vec<(Box<Unseen>, Receipt)> = batch.map(Synced::into_held).collect();
        intended.iter_mut().for_each(|(unseen, _)| unseen.is_published = true);
        let _acting = owner::act_as(&self.folders.owner)?;
        let mut outcomes = Vec::with_capacity(intended.len());
        for (unseen, receipt) in intended {
            outcomes.push(self.rename(&unseen, receipt)?);
        }
        if !outcomes.is_empty() {
            self.folders.sync_new()?;
        }
        Ok(outcomes)
    }
}

impl Publisher {
    fn rename(&self, unseen: &Unseen, receipt: Receipt) -> Result<Outcome, Error> {
        match self.folders.publish(&unseen.name, &final_name(&unseen.name, receipt.octets)) {
            Ok(()) => Ok(Outcome::Delivered(receipt)),
            // Somebody tidied up below `tmp`: this message has to come again, the others need not.
            Err(Errno::NOENT) => Ok(Outcome::Refused(Refusal::new(Reason::Vanished, &[]))),
            // One file system may be mounted in two places.
            Err(Errno::XDEV) => Err(Error::Apart { path: self.folders.path.clone() }),
            Err(error) => Err(unseen.failed("rename", error)),
        }
    }
}

fn synced((unseen, octets): (Box<Unseen>, u64)) -> Synced {
    let place = Place::Maildir { maildir: unseen.folders.path.clone(), name: final_name(&unseen.name, octets) };
    Synced::new(place, octets, unseen)
}

/// `,S=` saves Maildir++ readers a `stat` for each message.
fn final_name(staged: &str, octets: u64) -> String {
    [staged, ",S=", itoa::Buffer::new().format(octets)].concat()
}

/// The name below `tmp`, and the octets, that a name below `new` tells; `None` if it is not one of ours.
fn staged_name(name: &str) -> Option<(&str, u64)> {
    let (staged, octets) = name.rsplit_once(",S=")?;
    (!name.contains('/')).then_some((staged, octets.parse().ok()?))
}

/// True when there is no Maildir. One of its folders tells that there is: an empty one may have been tidied up.
fn is_gone(path: &Path) -> Result<bool, Error> {
    for name in ["new", "cur", "tmp"] {
        match path.join(name).metadata() {
            Ok(metadata) if metadata.is_dir() => return Ok(false),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
            // One that is out of reach may well be there.
            Err(error) => return Err(Error::io("read", path.join(name), error)),
        }
    }
    Ok(true)
}

/// Looks for the intended messages of one batch, as [`mend`] does.
fn look(path: &Path, places: &[Place], context: &Context) -> Result<Vec<Found>, Error> {
    let _acting = owner::act_as(&context.owner)?;
    let mut found = vec![false; places.len()];
    for folder in ["new", "cur"] {
        find_renamed(&path.join(folder), places, &mut found)?;
    }
    let answer = |(place, is_found): (&Place, bool)| match staged_name(name_of(place)) {
        Some(_) if is_found => Found::Delivered,
        Some((staged, octets)) if is_staged(path.join("tmp").join(staged).symlink_metadata(), octets) => Found::InDoubt,
        _ => Found::Absent,
    };
    Ok(places.iter().zip(found).map(answer).collect())
}

fn is_staged(metadata: io::Result<Metadata>, octets: u64) -> bool {
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == octets)
}

/// Finds the intended messages of one batch, and publishes those that only lack that.
fn mend(path: &Path, places: &[Place], context: &Context) -> Result<Vec<Recovered>, Error> {
    let _acting = owner::act_as(&context.owner)?;
    if is_gone(path)? {
        return Ok(places.iter().map(|_| Recovered::Absent).collect());
    }
    let folders = Folders::create(path, &context.owner)?;
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        found.push(settle_in_new(&folders, name_of(place))?);
    }
    // A mail reader moves messages from `new` to `cur` at any moment: only one that was not in `new` any more
    // when we looked can be in `cur`, so that is looked at later.
    for folder in ["new", "cur"] {
        if found.contains(&false) {
            find_renamed(&path.join(folder), places, &mut found)?;
        }
    }
    if found.contains(&true) {
        // It may have been renamed, by us or by a reader, just before the crash.
        folders.sync_new()?;
        os::folder::sync(&path.join("cur"))?;
    }
    Ok(places.iter().zip(found).map(recovered).collect())
}

fn name_of(place: &Place) -> &str {
    let Place::Maildir { name, .. } = place else { unreachable!("recovery sorts places by their kind") };
    name
}

fn recovered((place, is_found): (&Place, bool)) -> Recovered {
    match staged_name(name_of(place)) {
        Some((_, octets)) if is_found => Recovered::Delivered(Receipt { place: place.clone(), octets }),
        _ => Recovered::Absent,
    }
}

fn settle_in_new(folders: &Folders, name: &str) -> Result<bool, Error> {
    let failed = |error: Errno| Error::io("look for", folders.path.join("new").join(name), error);
    let Some((staged, octets)) = staged_name(name) else { return Ok(false) };
    match rustix::fs::statat(&folders.new, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Ok(true),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(failed(error)),
    }
    // Its contents were durable before it was intended; with another size it is not what was intended.
    match rustix::fs::statat(&folders.tmp, staged, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_file() && stat.st_size as u64 == octets => {
            folders.publish(staged, name).map_err(failed)?;
            Ok(true)
        }
        Ok(_) | Err(Errno::NOENT) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// What readers and servers add to a name comes behind a mark, in `new` as well as in `cur`: flags behind `:2,` (`;` or
/// `!` where `:` cannot be), sizes behind `,S=` and `,W=`. So a message is known by what comes before the first mark.
fn find_renamed(folder: &Path, places: &[Place], found: &mut [bool]) -> Result<(), Error> {
    let unique = |name: &str| name.split([',', ':', ';', '!']).next().unwrap_or_default().to_owned();
    let missing: HashMap<String, usize> = places
        .iter()
        .enumerate()
        .filter(|(i, place)| !found[*i] && staged_name(name_of(place)).is_some())
        .map(|(i, place)| (unique(name_of(place)), i))
        .collect();
    for name in barrier::names_in(folder, |name| missing.contains_key(&unique(name)))? {
        found[missing[&unique(&name)]] = true;
    }
    Ok(())
}

/// Two states may know the same account, each with a lock of its own: the tag tells their files apart. An owner of the
/// target may not be able to look for the state.
fn tag(context: &Context) -> String {
    let folder = context.spool_dir.canonicalize().unwrap_or_else(|_| context.spool_dir.clone());
    text::fingerprint(&folder.join(&context.tag).to_string_lossy())
}

/// Removes what runs with this tag, on this host, left below `tmp`; and what earlier releases left there, whose tag
/// does not know the state, when it is too old for a run of another state to be still at work on it.
fn sweep(path: &Path, context: &Context) -> Result<usize, Error> {
    let tmp = path.join("tmp");
    let names = {
        let _acting = owner::act_as(&context.owner)?;
        barrier::names_in(&tmp, has_our_beginning)?
    };
    // Nearly always: then nobody has to find out how our names end.
    if names.is_empty() {
        return Ok(0);
    }
    let (ours, earlier) = (tag_and_host(&tag(context)), tag_and_host(&context.tag));
    let _acting = owner::act_as(&context.owner)?;
    let is_marked = |name: &str, ending: &str| name.strip_suffix(ending).is_some_and(has_our_form);
    let is_old = |name: &str| {
        let modified = tmp.join(name).symlink_metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > ABANDONED))
    };
    let is_litter = |name: &String| is_marked(name, &ours) || (is_marked(name, &earlier) && is_old(name));
    let litter: Vec<String> = names.into_iter().filter(is_litter).collect();
    barrier::remove_all(&tmp, &litter)
}

/// Files below `tmp` that nobody has touched for so long may be removed (<https://cr.yp.to/proto/maildir.html>).
const ABANDONED: Duration = Duration::from_secs(36 * 3600);

/// `SECS.M`, as other programs' names begin, too.
fn has_our_beginning(name: &str) -> bool {
    let Some((seconds, rest)) = name.split_once('.') else { return false };
    seconds.bytes().all(|octet| octet.is_ascii_digit()) && rest.starts_with('M')
}

/// `SECS.M<usec>P<pid>Q<n>R<random>`.
fn has_our_form(name: &str) -> bool {
    let Some((_, rest)) = name.split_once('.') else { return false };
    has_our_beginning(name) && rest.bytes().all(|octet| octet.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Target;
    use crate::deliver::tests::{context, deliver, die, names, places, promised, stage};
    use crate::deliver::{self};
    use crate::failure::{self, Failure as _};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    struct Home {
        folder: TempDir,
        maildir: PathBuf,
        context: Context,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let maildir = folder.path().join("Mail/in");
            let context = context(folder.path());
            Home { folder, maildir, context }
        }

        fn target(&self) -> Target {
            Target::maildir(self.maildir.clone())
        }

        fn open(&self) -> Ends {
            deliver::open(&self.target(), &self.context).unwrap()
        }

        /// Mends, and checks that looking foretells what comes of it and changes nothing.
        fn recover(&self, places: &[Place]) -> Vec<bool> {
            deliver::tests::recover(places, &self.context, self.folder.path())
        }

        fn sweep(&self) -> usize {
            deliver::tests::sweep(&self.target(), &self.context)
        }

        fn count(&self, folder: &str) -> usize {
            names(self.maildir.join(folder)).len()
        }
    }

    #[test]
    fn a_message_appears_in_new_with_its_octets() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let outcomes = deliver(&mut stager, &mut publisher, &[b"Subject: x\n\nbody \xff\n", b""]);
        let [Outcome::Delivered(first), Outcome::Delivered(second)] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!((first.octets(), second.octets()), (19, 0));
        let file = home.maildir.join("new").join(name_of(first.place()));
        assert!(name_of(first.place()).ends_with(",S=19"));
        assert_eq!(fs::read(&file).unwrap(), b"Subject: x\n\nbody \xff\n");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!((home.count("tmp"), home.count("new")), (0, 2));
    }

    #[test]
    fn more_messages_than_open_descriptors_are_delivered() {
        let home = Home::new();
        for has_syncfs in [true, false] {
            let (stager, mut publisher) = open(&home.maildir, &home.context).unwrap();
            if !has_syncfs {
                publisher.barrier = Barrier::without_syncfs();
            }
            let kept_open = stager.open.clone();
            let (mut stager, mut publisher): Ends = (Box::new(stager), Box::new(publisher));
            let outcomes = deliver(&mut stager, &mut publisher, &[&b"x\n"[..]; 100]);
            assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered(_))));
            assert_eq!(kept_open.load(Ordering::Relaxed), 0);
        }
        assert_eq!(home.count("new"), 200);
    }

    #[test]
    fn what_is_dropped_before_it_is_published_leaves_nothing() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        drop(stager.stage(b"", 1).unwrap());
        drop(stage(&mut stager, b"x"));
        drop(publisher.sync(vec![stage(&mut stager, b"x")]).unwrap());
        assert_eq!((home.count("tmp"), home.count("new")), (0, 0));
    }

    #[test]
    fn after_a_crash_before_publish_recovery_publishes() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"one"), stage(&mut stager, b"two")]).unwrap();
        let places = places(&synced);
        die(synced);
        assert_eq!(home.recover(&places), [true, true]);
        assert_eq!((home.count("tmp"), home.count("new")), (0, 2));
        assert_eq!(home.recover(&places), [true, true]);
    }

    #[test]
    fn recovery_finds_what_a_mail_reader_has_taken() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced =
            publisher.sync(vec![stage(&mut stager, b"1"), stage(&mut stager, b"2"), stage(&mut stager, b"3")]).unwrap();
        let places = places(&synced);
        publisher.publish(promised(synced)).unwrap();
        let take = |i: usize, to: &str| {
            let name = name_of(&places[i]);
            fs::rename(home.maildir.join("new").join(name), home.maildir.join(to.replace("NAME", name))).unwrap();
        };
        take(0, "cur/NAME:2,FS");
        take(1, "cur/NAME");
        take(2, "cur/xNAME:2,");
        assert_eq!(home.recover(&places), [true, true, false]);
    }

    #[test]
    fn recovery_finds_what_a_server_has_renamed() {
        for name in ["cur/NAME,S=1,W=2", "cur/NAME,W=2:2,S", "cur/NAME:2,S", "new/NAME", "new/NAME,S=1,W=2"] {
            let home = Home::new();
            let (mut stager, mut publisher) = home.open();
            let synced = publisher.sync(vec![stage(&mut stager, b"1"), stage(&mut stager, b"2")]).unwrap();
            let places = places(&synced);
            publisher.publish(promised(synced)).unwrap();
            let before = name_of(&places[0]);
            let after = name.replace("NAME", staged_name(before).unwrap().0);
            fs::rename(home.maildir.join("new").join(before), home.maildir.join(after)).unwrap();
            fs::remove_file(home.maildir.join("new").join(name_of(&places[1]))).unwrap();
            assert_eq!(home.recover(&places), [true, false], "{name}");
        }
    }

    #[test]
    fn recovery_finds_a_message_though_an_empty_folder_was_tidied_up() {
        for missing in ["tmp", "cur"] {
            let home = Home::new();
            let (mut stager, mut publisher) = home.open();
            let synced = publisher.sync(vec![stage(&mut stager, b"1")]).unwrap();
            let places = places(&synced);
            publisher.publish(promised(synced)).unwrap();
            fs::remove_dir(home.maildir.join(missing)).unwrap();
            assert_eq!(home.recover(&places), [true], "{missing}");
        }
    }

    #[test]
    fn recovery_makes_no_maildir_where_there_is_none_any_more() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let places = places(&publisher.sync(vec![stage(&mut stager, b"1")]).unwrap());
        fs::remove_dir_all(&home.maildir).unwrap();
        assert_eq!(home.recover(&places), [false]);
        assert!(!home.maildir.exists());
    }

    #[test]
    fn recovery_does_not_trust_a_file_of_another_size() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"whole")]).unwrap();
        let places = places(&synced);
        die(synced);
        let cut = home.maildir.join("tmp").join(&names(home.maildir.join("tmp"))[0]);
        fs::write(cut, "who").unwrap();
        assert_eq!(home.recover(&places), [false]);
        assert_eq!((home.sweep(), home.count("tmp"), home.count("new")), (1, 0, 0));
    }

    #[test]
    fn recovery_never_leaves_the_maildir() {
        let home = Home::new();
        home.open();
        fs::write(home.folder.path().join("x"), "").unwrap();
        let place = |name: &str| Place::Maildir { maildir: home.maildir.clone(), name: name.into() };
        assert_eq!(home.recover(&[place("../../../x,S=0"), place("x"), place("x,S=x")]), [false, false, false]);
        let gone = Place::Maildir { maildir: home.folder.path().join("gone"), name: "x,S=0".into() };
        assert_eq!(home.recover(&[gone]), [false]);
    }

    #[test]
    fn only_litter_of_this_account_is_swept() {
        let home = Home::new();
        let (mut stager, _publisher) = home.open();
        die(stager.stage(b"", 1).unwrap());
        die(stage(&mut stager, b"x"));
        let ours = tag_and_host(&tag(&home.context));
        let earlier = format!("1.M2P3Q4R5{}", tag_and_host("t4g"));
        let others = ["1.M2P3Q4R5_other.host", "1.M2P3.host", "draft", &format!("x y{ours}"), &earlier];
        for other in others {
            fs::write(home.maildir.join("tmp").join(other), "").unwrap();
        }
        // An earlier release left it, long ago.
        let abandoned = home.maildir.join("tmp").join(earlier.replace("R5", "R6"));
        let long_ago = SystemTime::now() - ABANDONED - Duration::from_secs(1);
        File::create(&abandoned).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(home.sweep(), 3);
        assert_eq!(home.count("tmp"), others.len());
        assert_eq!(home.sweep(), 0);
    }

    #[test]
    fn a_name_that_is_taken_is_not_overwritten() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"ours")]).unwrap();
        let taken = home.maildir.join("new").join(name_of(synced[0].place()));
        fs::write(&taken, "theirs").unwrap();
        assert!(publisher.publish(promised(synced)).is_err());
        assert_eq!(fs::read(taken).unwrap(), b"theirs");
    }

    #[test]
    fn a_message_that_vanished_from_tmp_costs_only_itself() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"1"), stage(&mut stager, b"2")]).unwrap();
        fs::remove_file(home.maildir.join("tmp").join(staged_name(name_of(synced[0].place())).unwrap().0)).unwrap();
        let outcomes = publisher.publish(promised(synced)).unwrap();
        let [Outcome::Refused(refusal), Outcome::Delivered(_)] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(refusal.kind(), failure::Kind::Temporary);
    }

    #[test]
    fn a_maildir_that_is_a_file_is_refused() {
        let home = Home::new();
        let path = home.folder.path().join("file");
        fs::write(&path, "").unwrap();
        let error = deliver::open(&Target::maildir(path), &home.context).unwrap_err();
        assert_eq!(error.kind(), failure::Kind::CannotCreate);
    }

    #[test]
    fn names_are_unique_and_fit_for_a_file_system() {
        assert_eq!(escaped("a/b:c,d.example"), "a\\057b\\072c\\054d.example");
        let mut names = Names::new("t4g");
        let (one, two) = (names.next(), names.next());
        assert_ne!(one, two);
        assert!(has_our_form(one.strip_suffix(&tag_and_host("t4g")).unwrap()));
        assert_eq!(staged_name(&final_name(&one, 17)), Some((&*one, 17)));
    }
}
