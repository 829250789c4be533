//! mbox: one file, to whose end messages are appended under its locks.
//!
//! Owns the spool file that a batch waits in, the append, and how to finish one that was cut off. The format is
//! `mboxrd`'s, the locks are `lock`'s. An append is no atomic step, so the spool keeps the same octets until
//! the outcome is recorded: what is in the mbox can then be told from what is missing.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use chrono::Local;
use memchr::memmem;

use super::destination::{BatchLimit, Destination, Ends, Found, GROUP, Guarantee, Kind, Tried};
use super::destination::{check_access, check_creatable, read_path};
use super::lock::{self, Locked};
use super::mboxrd::{self, Quoter};
use super::owner::{self, Owner};
use super::spool::{self, Range, Spool, Spools};
use super::{Context, Error, Intents, Outcome, Place, Receipt, Recovered, Staged, Synced};
use crate::account::Target;
use crate::notice::Held;
use crate::os::{
    self,
    exposure::{self, Exposure},
};
use crate::stop::Stop;

/// The envelope sender is looked for in this much of a message.
const HEAD: usize = 64 * 1024;

/// Quoted octets are written when there are this many, or the message ends.
const FLUSH: usize = 64 * 1024;

/// `mbox:PATH`.
pub(super) const KIND: Kind = Kind { word: "mbox", read: read_path, destination: |target| Box::new(Mbox::of(target)) };

#[derive(Debug)]
struct Mbox {
    path: PathBuf,
}

impl Mbox {
    fn of(target: &Target) -> Self {
        Mbox { path: target.path().expect("an mbox is a path").to_owned() }
    }
}

impl Destination for Mbox {
    fn guarantee(&self) -> Guarantee {
        Guarantee::ExactlyOnce
    }

    /// Its barriers cost what there is to write, which is better done while more arrives.
    fn batch_limit(&self) -> BatchLimit {
        GROUP
    }

    fn open(&self, context: &Context) -> Result<Ends, Error> {
        let (stager, publisher) = open(&self.path, context)?;
        Ok((Box::new(stager), Box::new(publisher)))
    }

    fn exposure(&self) -> Option<Exposure> {
        exposure::of_path_of_root(&self.path, true)
    }

    fn folders(&self, context: &Context) -> Result<Vec<PathBuf>, Error> {
        let path = lock::resolve(&self.path)?;
        Ok(vec![path.parent().unwrap_or(Path::new("/")).to_owned(), context.spool_dir.clone()])
    }

    /// An mbox itself may be missing: some readers remove an empty one.
    fn missing(&self) -> Result<Option<PathBuf>, Error> {
        let path = lock::resolve(&self.path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        Ok((!folder.is_dir()).then(|| folder.to_owned()))
    }

    fn try_out(&self, context: &Context) -> Result<Tried, Error> {
        let path = lock::resolve(&self.path)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        let can_be_written = folder.is_dir() && check_access(folder, &context.owner).is_ok();
        if can_be_written {
            os::file::try_out(folder)?;
        }
        match path.symlink_metadata() {
            Ok(_) => {
                lock::check_dotlockfile(&path, &context.owner)?;
                let holder = lock::try_out(&path, |file| checked_length(file, &path))?;
                Ok(holder.map_or(Tried::Ready, Tried::Locked))
            }
            Err(_) => check_creatable(folder, &context.owner).map(|()| Tried::Creatable),
        }
    }

    fn held(&self, before: SystemTime) -> Option<Held> {
        let metadata = fs::metadata(&self.path).ok()?;
        let is_older = metadata.modified().is_ok_and(|modified| modified < before);
        (is_older && metadata.len() > 0).then_some(Held::Octets(metadata.len()))
    }

    fn look(&self, places: &[Place], context: &Context) -> Result<Vec<Found>, Error> {
        look(&self.path, places, context)
    }

    fn mend(&self, places: &[Place], context: &Context) -> Result<Vec<Recovered>, Error> {
        mend(&self.path, places, context)
    }

    /// Removes the dotlock of a run that was killed.
    fn sweep(&self, context: &Context) -> Result<usize, Error> {
        let _acting = owner::act_as(&context.owner)?;
        Ok(lock::sweep(&lock::resolve(&self.path)?, &context.owner))
    }
}

fn open(path: &Path, context: &Context) -> Result<(Stager, Publisher), Error> {
    let _acting = owner::act_as(&context.owner)?;
    os::folder::create(path.parent().unwrap_or(Path::new("")))?;
    let path = lock::resolve(path)?;
    lock::look(&path, &context.stop, |file| checked_length(file, &path))?;
    lock::check_lockable(&path, &context.owner)?;
    let stager = Stager {
        spools: Spools::new("mbox", context),
        writer: Arc::default(),
        envelope_sender: context.envelope_sender,
    };
    let (stop, owner) = (context.stop.clone(), context.owner.clone());
    Ok((stager, Publisher { path, owner, stop, locked: None, needed: Vec::new() }))
}

/// Writes messages to spool files, in the form they will have in the mbox.
#[derive(Debug)]
struct Stager {
    spools: Spools,
    /// The spool file that is being filled, while no message is being written to it.
    writer: Arc<Mutex<Option<Writer>>>,
    envelope_sender: fn(&[u8]) -> Option<String>,
}

impl super::Stager for Stager {
    fn stage(&mut self, _unique_id: &[u8], _nth: u32) -> Result<Box<dyn super::Stage>, Error> {
        let idle = take(&self.writer).filter(Writer::has_room);
        let writer = match idle {
            Some(writer) => writer,
            None => Writer { spool: Arc::new(self.spools.create()?), length: 0, messages: 0, quoted: Vec::new() },
        };
        Ok(Box::new(Stage {
            begin: writer.length,
            writer: Some(writer),
            home: self.writer.clone(),
            head: Some(Vec::new()),
            quoter: Quoter::new(),
            octets: 0,
            envelope_sender: self.envelope_sender,
        }))
    }
}

fn take(writer: &Mutex<Option<Writer>>) -> Option<Writer> {
    writer.lock().expect("nobody panics while holding it").take()
}

/// The end of a spool file.
#[derive(Debug)]
struct Writer {
    spool: Arc<Spool>,
    length: u64,
    messages: usize,
    /// What is not written yet; empty between messages.
    quoted: Vec<u8>,
}

impl Writer {
    /// About a batch goes into one file, so that its octets can be given back soon.
    fn has_room(&self) -> bool {
        self.messages < GROUP.messages && self.length < GROUP.octets
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.spool.write_at(&self.quoted, self.length)?;
        self.length += self.quoted.len() as u64;
        self.quoted.clear();
        Ok(())
    }

    /// Forgets what was written after `length`. False when that is impossible and the file must not be used.
    fn rewind(&mut self, length: u64) -> bool {
        self.quoted.clear();
        self.length = length;
        self.spool.truncate(length).is_ok()
    }
}

/// A message that is being written to the spool.
#[derive(Debug)]
struct Stage {
    /// `None` once the message is finished.
    writer: Option<Writer>,
    home: Arc<Mutex<Option<Writer>>>,
    begin: u64,
    /// What came before the header was complete: its sender stands in the line above it.
    head: Option<Vec<u8>>,
    quoter: Quoter,
    octets: u64,
    envelope_sender: fn(&[u8]) -> Option<String>,
}

impl super::Stage for Stage {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.octets += octets.len() as u64;
        match self.head.take() {
            None => self.put(octets)?,
            Some(head) if head.is_empty() && is_head(octets, 0) => self.begin(octets)?,
            Some(mut head) => {
                let seen = head.len();
                head.extend_from_slice(octets);
                match is_head(&head, seen) {
                    true => self.begin(&head)?,
                    false => self.head = Some(head),
                }
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<Staged, Error> {
        if let Some(head) = self.head.take() {
            self.begin(&head)?;
        }
        let quoter = std::mem::replace(&mut self.quoter, Quoter::new());
        let writer = self.writer();
        quoter.finish(&mut writer.quoted);
        writer.flush()?;
        writer.messages += 1;
        let writer = self.writer.take().expect("it was there in the line above");
        let spooled = Spooled { spool: writer.spool.clone(), offset: self.begin, length: writer.length - self.begin };
        self.give_back(writer);
        Ok(Staged::new(self.octets, spooled))
    }
}

impl Stage {
    fn begin(&mut self, head: &[u8]) -> Result<(), Error> {
        let sender = (self.envelope_sender)(&head[..head.len().min(HEAD)]);
        let line = mboxrd::from_line(sender.as_deref(), Local::now().naive_local());
        self.writer().quoted.extend_from_slice(line.as_bytes());
        self.put(head)
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Error> {
        let Stage { writer: Some(writer), quoter, .. } = self else { unreachable!("only finish takes it") };
        quoter.push(octets, &mut writer.quoted);
        if writer.quoted.len() >= FLUSH {
            writer.flush()?;
        }
        Ok(())
    }

    fn writer(&mut self) -> &mut Writer {
        self.writer.as_mut().expect("only finish takes it")
    }

    fn give_back(&self, writer: Writer) {
        *self.home.lock().expect("nobody panics while holding it") = Some(writer);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let Some(mut writer) = self.writer.take() else { return };
        if writer.rewind(self.begin) {
            self.give_back(writer);
        }
    }
}

/// True when the header section ends in these octets, of which `seen` were looked at before, or is too long to
/// wait for.
fn is_head(octets: &[u8], seen: usize) -> bool {
    let news = &octets[seen.saturating_sub(2)..];
    octets.len() >= HEAD
        || octets.starts_with(b"\n")
        || memmem::find(news, b"\n\n").is_some()
        || memmem::find(news, b"\n\r\n").is_some()
}

/// A message in the spool. With its last one the file goes, too.
#[derive(Debug)]
struct Spooled {
    spool: Arc<Spool>,
    offset: u64,
    length: u64,
}

impl Spooled {
    fn range(&self) -> Range<'_> {
        Range::of(&self.spool, self.offset, self.length)
    }
}

/// Appends batches to the mbox.
#[derive(Debug)]
struct Publisher {
    path: PathBuf,
    owner: Owner,
    stop: Stop,
    /// From sync to publish: the locked mbox and how long it was.
    locked: Option<(Locked, u64)>,
    /// What recovery needs until the outcomes are durable.
    needed: Vec<Arc<Spool>>,
}

impl super::Publisher for Publisher {
    /// The locks are taken here because the places depend on the length, and nobody may change that any more.
    ///
    /// A kill in here leaves at most a blank line at the end of the mbox, which changes no message and is
    /// wanted there by the next one, and a dotlock that says whose it was.
    fn sync(&mut self, batch: Vec<Staged>) -> Result<Vec<Synced>, Error> {
        self.unlock();
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let batch: Vec<(Box<Spooled>, u64)> = batch.into_iter().map(Staged::into_held).collect();
        for same in batch.chunk_by(|(one, _), (other, _)| Arc::ptr_eq(&one.spool, &other.spool)) {
            same[0].0.spool.sync()?;
        }
        // The spool is not the owner's: what belongs to it comes before this line, and is dropped after it.
        let _acting = owner::act_as(&self.owner)?;
        let locked = lock::lock(&self.path, &self.owner, &self.stop)?;
        let mut offset = separated(&locked)?;
        self.locked = Some((locked, offset));
        let place = |(spooled, octets): (Box<Spooled>, u64)| {
            let place = self.place(&spooled, offset);
            offset += spooled.length;
            Synced::new(place, octets, spooled)
        };
        Ok(batch.into_iter().map(place).collect())
    }

    /// A kill before the first octet leaves the mbox as it was, one after the last leaves it complete, and one
    /// between them leaves a prefix of the batch at its end; recovery tells them apart by the spool, and
    /// completes it. So the spool stays until the outcomes are durable, which the next batch's intents, being
    /// further down in the same journal, or `finish` tell.
    fn publish(&mut self, intended: Box<dyn Intents>) -> Result<Vec<Outcome>, Error> {
        let batch = intended.into_synced();
        self.release();
        if batch.is_empty() {
            self.unlock();
            return Ok(Vec::new());
        }
        let (batch, receipts): (Vec<Box<Spooled>>, Vec<_>) = batch.into_iter().map(Synced::into_held).unzip();
        for spooled in &batch {
            self.need(&spooled.spool);
        }
        let _acting = owner::act_as(&self.owner)?;
        let (locked, length) = self.locked.take().expect("a batch is synced before it is published");
        locked.check(length)?;
        let offsets = batch.iter().scan(length, |end, spooled| {
            let offset = *end;
            *end += spooled.length;
            Some(offset)
        });
        append(&locked, offsets.zip(batch.iter().map(|spooled| spooled.range())))?;
        // An editor or a syncer, which knows no locks, may have put a copy in its place meanwhile.
        locked.check(batch.iter().fold(length, |end, spooled| end + spooled.length))?;
        Ok(receipts.into_iter().map(Outcome::Delivered).collect())
    }

    fn finish(mut self: Box<Self>) {
        self.release();
    }
}

impl Publisher {
    fn place(&self, spooled: &Spooled, offset: u64) -> Place {
        Place::Mbox {
            path: self.path.clone(),
            offset,
            length: spooled.length,
            spool: spooled.spool.path().to_owned(),
            spool_offset: spooled.offset,
        }
    }

    fn need(&mut self, spool: &Arc<Spool>) {
        if !self.needed.last().is_some_and(|last| Arc::ptr_eq(last, spool)) {
            spool.set_needed(true);
            self.needed.push(spool.clone());
        }
    }

    fn release(&mut self) {
        for spool in self.needed.drain(..) {
            spool.set_needed(false);
        }
    }

    /// A lock that cannot be removed with the owner's rights stays: it is stale when this process has ended.
    fn unlock(&mut self) {
        let Some(locked) = self.locked.take() else { return };
        match owner::act_as(&self.owner) {
            Ok(_acting) => drop(locked),
            Err(_) => std::mem::forget(locked),
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.unlock();
    }
}

fn length_of(file: &File, path: &Path) -> Result<u64, Error> {
    Ok(file.metadata().map_err(|error| Error::io("read", path, error))?.len())
}

/// The length of what is an mbox, if only an empty one.
fn checked_length(file: &File, path: &Path) -> Result<u64, Error> {
    let length = length_of(file, path)?;
    if !is_mbox(file, path, length)? {
        return Err(Error::NotAnMbox { path: path.to_owned() });
    }
    Ok(length)
}

/// Makes sure that the file is an mbox and ends in a blank line, and returns its length then.
fn separated(locked: &Locked) -> Result<u64, Error> {
    let mbox = locked.opened();
    let length = match checked_length(mbox.file, mbox.path)? {
        // Less than a first `From ` is a first append that was cut off. With anything behind it, it would be no mbox.
        1..5 => emptied(locked)?,
        length => length,
    };
    separate_again(locked, length)?;
    let missing: &[u8] = match mbox.end(length)? {
        _ if length == 0 => b"",
        [b'\n', b'\n'] => b"",
        [_, b'\n'] => b"\n",
        _ => b"\n\n",
    };
    write_or_undo(locked, length, |file| file.write_all_at(missing, length))?;
    Ok(length + missing.len() as u64)
}

fn emptied(locked: &Locked) -> Result<u64, Error> {
    locked.file().set_len(0).map_err(|error| Error::io("write", locked.path(), error))?;
    Ok(0)
}

/// True when the first `length` octets are those of an mbox, if only of the beginning of one.
fn is_mbox(file: &File, path: &Path, length: u64) -> Result<bool, Error> {
    let mut beginning = [0; 5];
    let beginning = &mut beginning[..length.min(5) as usize];
    file.read_exact_at(beginning, 0).map_err(|error| Error::io("read", path, error))?;
    Ok(b"From ".starts_with(beginning))
}

/// Writes the ranges, each to its offset, and makes them durable. On failure the mbox is as long as it was.
fn append<'r>(locked: &Locked, ranges: impl Iterator<Item = (u64, Range<'r>)>) -> Result<(), Error> {
    let length = length_of(locked.file(), locked.path())?;
    let mut touched = Instant::now();
    // A large message on a slow disk takes longer than other programs respect a lock.
    let mut keep_locked = || {
        if touched.elapsed() >= lock::TOUCH_INTERVAL {
            locked.touch();
            touched = Instant::now();
        }
    };
    let written = (|| {
        for (offset, range) in joined(ranges) {
            range.copy_to(locked.file(), locked.path(), offset, &mut keep_locked)?;
        }
        locked.file().sync_data().map_err(|error| Error::io("sync", locked.path(), error))
    })();
    written.inspect_err(|_| undo(locked, length))
}

fn write_or_undo(locked: &Locked, length: u64, write: impl Fn(&File) -> io::Result<()>) -> Result<(), Error> {
    write(locked.file()).map_err(|error| {
        undo(locked, length);
        Error::io("write", locked.path(), error)
    })
}

/// Small messages that follow one another in spool and mbox are written at once.
fn joined<'r>(ranges: impl Iterator<Item = (u64, Range<'r>)>) -> Vec<(u64, Range<'r>)> {
    let mut all: Vec<(u64, Range<'_>)> = Vec::new();
    for (offset, range) in ranges {
        let last = all.last_mut().filter(|(begin, last)| begin.checked_add(last.length) == Some(offset));
        match last.and_then(|(_, last)| Some((last.joined(&range)?, last))) {
            Some((longer, last)) => *last = longer,
            None => all.push((offset, range)),
        }
    }
    all
}

/// Cuts off what a failed append left. When even that fails, recovery finds a prefix and completes it; so it does where
/// the end may be another program's by now.
fn undo(locked: &Locked, length: u64) {
    if locked.check_place().is_ok() {
        let _ = locked.file().set_len(length).and_then(|()| locked.file().sync_data());
    }
}

/// An intended message, as the journal tells it.
#[derive(Debug, Clone, Copy)]
struct Intended<'a> {
    offset: u64,
    length: u64,
    spool: &'a Path,
    spool_offset: u64,
}

impl<'a> Intended<'a> {
    fn of(place: &'a Place) -> Self {
        let Place::Mbox { offset, length, spool, spool_offset, .. } = place else {
            unreachable!("recovery sorts places by their kind")
        };
        Intended { offset: *offset, length: *length, spool, spool_offset: *spool_offset }
    }

    /// Places come from a file on disk, so their sums are checked.
    fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    /// Where the spool has it; `None` when the spool, or this much of it, is not there.
    fn range(&self, spools: &'a OpenSpools<'_>) -> Option<Range<'a>> {
        let (file, length) = spools.get(self.spool)?.as_ref()?;
        let is_there = self.spool_offset.checked_add(self.length)? <= *length && self.end().is_some();
        is_there.then_some(Range { file, path: self.spool, offset: self.spool_offset, length: self.length })
    }
}

/// The spool files of a batch with their lengths.
type OpenSpools<'a> = HashMap<&'a Path, Option<(File, u64)>>;

fn open_spools<'a>(intended: &[Intended<'a>]) -> Result<OpenSpools<'a>, Error> {
    let mut spools = HashMap::new();
    for message in intended {
        if let Entry::Vacant(vacant) = spools.entry(message.spool) {
            vacant.insert(spool::open(message.spool)?);
        }
    }
    Ok(spools)
}

/// Looks for the messages of one batch, as [`mend`] does, but takes no lock: other programs may be writing.
fn look(path: &Path, places: &[Place], context: &Context) -> Result<Vec<Found>, Error> {
    let intended: Vec<_> = places.iter().map(Intended::of).collect();
    // The spool is not the owner's.
    let spools = open_spools(&intended)?;
    let _acting = owner::act_as(&context.owner)?;
    let ranges: Vec<_> = intended.iter().map(|message| message.range(&spools)).collect();
    let found = lock::peek(path, &context.stop, |file| {
        let mbox = Opened { file, path };
        let whole = mbox.find(&intended, &ranges)?;
        Ok((mbox.can_continue(&intended, &ranges, &whole)?, whole))
    })?;
    let Some((can_continue, whole)) = found else { return Ok(vec![Found::Absent; places.len()]) };
    let first_missing = whole.iter().position(|is_whole| !is_whole).unwrap_or(whole.len());
    let answer = |(position, is_whole): (usize, &bool)| match is_whole {
        true => Found::Delivered,
        false if can_continue && position >= first_missing => Found::InDoubt,
        false => Found::Absent,
    };
    Ok(whole.iter().enumerate().map(answer).collect())
}

/// Finds the messages of one batch in the mbox by comparing it with their spool, and finishes an append that
/// was cut off.
///
/// What differs from the spool is left alone: another program has changed the mbox since, and an octet written
/// to a wrong place would be worse than a message that is fetched again. Without its spool nothing is proved,
/// and the message is fetched again, too: the spool is removed only when its outcomes are durable, or when
/// nothing of it had been published.
fn mend(path: &Path, places: &[Place], context: &Context) -> Result<Vec<Recovered>, Error> {
    use io::ErrorKind::{NotADirectory, NotFound};
    let acting = owner::act_as(&context.owner)?;
    if matches!(path.symlink_metadata(), Err(error) if matches!(error.kind(), NotFound | NotADirectory)) {
        return Ok(places.iter().map(|_| Recovered::Absent).collect());
    }
    drop(acting);
    let intended: Vec<_> = places.iter().map(Intended::of).collect();
    // The spool is not the owner's.
    let spools = open_spools(&intended)?;
    let _acting = owner::act_as(&context.owner)?;
    let ranges: Vec<_> = intended.iter().map(|message| message.range(&spools)).collect();
    let locked = lock::lock(path, &context.owner, &context.stop)?;
    let mut whole = locked.opened().find(&intended, &ranges)?;
    if locked.opened().can_continue(&intended, &ranges, &whole)? {
        whole.fill(true);
    }
    if let (Some(first), Some(true)) = (intended.first(), whole.first()) {
        separate_again(&locked, first.offset)?;
    }
    // Also what is there already: after a sync that failed, memory may hold octets that the disk does not, and
    // only writing them again makes the kernel write them again.
    let found = intended.iter().zip(&ranges).zip(&whole).filter(|(_, is_whole)| **is_whole);
    append(&locked, found.map(|((message, range), _)| (message.offset, range.expect("it was found by its spool"))))?;
    locked.check_place()?;
    Ok(places.iter().zip(whole).map(recovered).collect())
}

fn recovered((place, is_whole): (&Place, bool)) -> Recovered {
    let Place::Mbox { length, .. } = place else { unreachable!("recovery sorts places by their kind") };
    match is_whole {
        true => Recovered::Delivered(Receipt { place: place.clone(), octets: *length }),
        false => Recovered::Absent,
    }
}

/// An open mbox.
#[derive(Debug, Clone, Copy)]
struct Opened<'a> {
    file: &'a File,
    path: &'a Path,
}

impl Locked {
    fn opened(&self) -> Opened<'_> {
        Opened { file: self.file(), path: self.path() }
    }
}

impl Opened<'_> {
    /// The last two octets before an offset.
    fn end(self, offset: u64) -> Result<[u8; 2], Error> {
        let mut end = [0; 2];
        if offset >= 2 {
            let read = self.file.read_exact_at(&mut end, offset - 2);
            read.map_err(|error| Error::io("read", self.path, error))?;
        }
        Ok(end)
    }

    /// Which messages are whole in the mbox.
    fn find(self, intended: &[Intended<'_>], ranges: &[Option<Range<'_>>]) -> Result<Vec<bool>, Error> {
        let length = length_of(self.file, self.path)?;
        let mut found = Vec::with_capacity(intended.len());
        for (message, range) in intended.iter().zip(ranges) {
            let is_whole = match range {
                Some(range) if message.end() <= Some(length) => {
                    range.is_at(self.file, self.path, message.offset, message.length)?
                }
                _ => false,
            };
            found.push(is_whole);
        }
        Ok(found)
    }

    /// True when those from the first one on that is not whole can be appended as if the append had never been cut off:
    /// the mbox has of them what a power cut may have left. It ends within or right before them, or blocks of them are
    /// still zeros, and nothing else is in between; and all of them can be written.
    fn can_continue(
        self,
        intended: &[Intended<'_>],
        ranges: &[Option<Range<'_>>],
        whole: &[bool],
    ) -> Result<bool, Error> {
        let length = length_of(self.file, self.path)?;
        let cut = whole.iter().position(|is_whole| !is_whole).unwrap_or(whole.len());
        let (intended, ranges) = (&intended[cut..], &ranges[cut..]);
        let Some(first) = intended.first().filter(|first| first.offset <= length) else { return Ok(false) };
        let is_in_a_row = intended.windows(2).all(|pair| pair[0].end() == Some(pair[1].offset));
        if !is_in_a_row || ranges.iter().any(Option::is_none) {
            return Ok(false);
        }
        // With not an octet of it there, it proves nothing that the lengths agree: what is there must still be an
        // mbox that ends where a message may begin.
        if !self.is_separated(first.offset)? || !is_mbox(self.file, self.path, first.offset)? {
            return Ok(false);
        }
        for (message, range) in intended.iter().zip(ranges.iter().flatten()) {
            let there = length.saturating_sub(message.offset).min(message.length);
            if !range.is_partly_at(self.file, self.path, message.offset, there)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// True when a blank line ends here, or what a power cut left of it: [`separated`] saw to it that there is one.
    fn is_separated(self, offset: u64) -> Result<bool, Error> {
        Ok(offset == 0 || offset >= 2 && self.end(offset)?.iter().all(|octet| [0, b'\n'].contains(octet)))
    }
}

fn separate_again(locked: &Locked, offset: u64) -> Result<(), Error> {
    let mbox = locked.opened();
    if offset < 2 || !mbox.end(offset)?.contains(&0) || !mbox.is_separated(offset)? {
        return Ok(());
    }
    let written = locked.file().write_all_at(b"\n\n", offset - 2);
    written.map_err(|error| Error::io("write", locked.path(), error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Target;
    use crate::deliver;
    use crate::deliver::tests::{context, deliver, die, names, places, promised, stage};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    struct Home {
        folder: TempDir,
        mbox: PathBuf,
        context: Context,
    }

    impl Home {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let spool = folder.path().join("state");
            fs::create_dir(&spool).unwrap();
            let mbox = folder.path().join("Mail/in");
            let context = context(&spool);
            Home { folder, mbox, context }
        }

        fn open(&self) -> Ends {
            deliver::open(&Target::mbox(self.mbox.clone()), &self.context).unwrap()
        }

        /// Mends, and checks that looking foretells what comes of it and changes nothing.
        fn recover(&self, places: &[Place]) -> Vec<bool> {
            deliver::tests::recover(places, &self.context, self.folder.path())
        }

        fn spools(&self) -> usize {
            names(&self.context.spool_dir).len()
        }

        /// The mbox with its times of delivery taken out.
        fn content(&self) -> String {
            let content = fs::read(&self.mbox).unwrap();
            let lines = String::from_utf8(content).unwrap();
            let timeless = |line: &str| match line.strip_prefix("From ") {
                Some(rest) => format!("From {} TIME\n", rest.split(' ').next().unwrap()),
                None => line.to_owned(),
            };
            lines.split_inclusive('\n').map(timeless).collect()
        }
    }

    #[test]
    fn messages_are_appended_with_their_sender_and_quoted() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let messages: [&[u8]; 2] = [b"Return-Path: <a@x>\n\nFrom here\n", b"Subject: x\n\nno end"];
        let outcomes = deliver(&mut stager, &mut publisher, &messages);
        let [Outcome::Delivered(receipt), _] = &outcomes[..] else { panic!("{outcomes:?}") };
        assert_eq!(receipt.octets(), messages[0].len() as u64);
        deliver(&mut stager, &mut publisher, &[b""]);
        assert_eq!(
            home.content(),
            "From a@x TIME\nReturn-Path: <a@x>\n\n>From here\n\n\
             From MAILER-DAEMON TIME\nSubject: x\n\nno end\n\n\
             From MAILER-DAEMON TIME\n\n"
        );
        assert_eq!(fs::metadata(&home.mbox).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(names(home.mbox.parent().unwrap()), ["in"]);
    }

    #[test]
    fn spool_files_go_when_their_outcomes_are_known_to_be_durable() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        deliver(&mut stager, &mut publisher, &[b"1\n"]);
        drop(stager);
        assert_eq!(home.spools(), 1);
        publisher.finish();
        assert_eq!(home.spools(), 0);

        let (mut stager, mut publisher) = home.open();
        deliver(&mut stager, &mut publisher, &[b"2\n"]);
        drop((stager, publisher));
        assert_eq!(home.spools(), 1);
        assert_eq!(deliver::tests::sweep(&Target::mbox(home.mbox.clone()), &home.context), 1);
        assert_eq!(home.spools(), 0);
    }

    #[test]
    fn a_full_spool_file_is_followed_by_another() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let message: &[u8] = b"Subject: x\n\nx\n";
        deliver(&mut stager, &mut publisher, &vec![message; GROUP.messages + 10]);
        assert_eq!(home.spools(), 2);
        assert_eq!(home.content().matches("\n\nFrom ").count(), GROUP.messages + 9);
        deliver(&mut stager, &mut publisher, &[message]);
        assert_eq!(home.spools(), 1);
    }

    #[test]
    fn a_message_that_is_dropped_leaves_no_octet() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let first = stage(&mut stager, b"1\n");
        let mut dropped = stager.stage(b"", 1).unwrap();
        dropped.write(&vec![b'x'; 3 * HEAD]).unwrap();
        let beside = stage(&mut stager, b"2\n");
        drop(dropped);
        let synced = publisher.sync(vec![first, beside]).unwrap();
        publisher.publish(promised(synced)).unwrap();
        assert_eq!(home.content(), "From MAILER-DAEMON TIME\n1\n\nFrom MAILER-DAEMON TIME\n2\n\n");
        drop(stage(&mut stager, b"3\n"));
        publisher.finish();
        drop(stager);
        assert_eq!(home.spools(), 0);
    }

    #[test]
    fn a_blank_line_is_put_before_the_first_message_where_it_is_missing() {
        for (before, after) in [("\n\n", ""), ("\n", "\n"), ("", "\n\n")] {
            let home = Home::new();
            fs::create_dir(home.mbox.parent().unwrap()).unwrap();
            fs::write(&home.mbox, format!("From a TIME\nx{before}")).unwrap();
            let (mut stager, mut publisher) = home.open();
            deliver(&mut stager, &mut publisher, &[b"y\n"]);
            assert_eq!(home.content(), format!("From a TIME\nx{before}{after}From MAILER-DAEMON TIME\ny\n\n"));
        }
    }

    #[test]
    fn a_file_that_is_no_mbox_is_left_alone() {
        let home = Home::new();
        fs::create_dir(home.mbox.parent().unwrap()).unwrap();
        for content in ["Subject: x\n", "From\n", "Fra"] {
            fs::write(&home.mbox, content).unwrap();
            let error = deliver::open(&Target::mbox(home.mbox.clone()), &home.context).unwrap_err();
            assert_eq!(error.to_string(), format!("`{}` is not an mbox", home.mbox.display()));
            assert_eq!(fs::read_to_string(&home.mbox).unwrap(), content);
        }
        assert_eq!(names(home.mbox.parent().unwrap()), ["in"]);
    }

    #[test]
    fn less_than_a_from_line_is_an_mbox_that_begins_anew() {
        for cut in 1..5 {
            let home = Home::new();
            fs::create_dir(home.mbox.parent().unwrap()).unwrap();
            fs::write(&home.mbox, &b"From "[..cut]).unwrap();
            let (mut stager, mut publisher) = home.open();
            deliver(&mut stager, &mut publisher, &[b"Subject: x\n\n"]);
            assert_eq!(home.content(), "From MAILER-DAEMON TIME\nSubject: x\n\n\n");
            home.open();
        }
    }

    #[test]
    fn an_mbox_that_grew_in_spite_of_its_lock_is_left_alone() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"x\n")]).unwrap();
        fs::write(&home.mbox, "From a b\n\n").unwrap();
        let error = publisher.publish(promised(synced)).unwrap_err();
        assert!(crate::failure::Failure::is_transient(&error));
        assert_eq!(fs::read(&home.mbox).unwrap(), b"From a b\n\n");
    }

    #[test]
    fn it_is_locked_from_sync_to_publish() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let is_locked = || home.folder.path().join("Mail/in.lock").exists();
        let synced = publisher.sync(vec![stage(&mut stager, b"x\n")]).unwrap();
        assert!(is_locked());
        publisher.publish(promised(synced)).unwrap();
        assert!(!is_locked());
        let synced = publisher.sync(vec![stage(&mut stager, b"x\n")]).unwrap();
        drop((synced, publisher));
        assert!(!is_locked());
    }

    /// A batch of three behind an older message, whose append was cut off after each number of octets.
    #[test]
    fn an_append_that_was_cut_off_anywhere_is_finished() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        deliver(&mut stager, &mut publisher, &[b"old\n"]);
        let begin = fs::metadata(&home.mbox).unwrap().len();
        let batch = vec![stage(&mut stager, b"1\n"), stage(&mut stager, b"From 2\n"), stage(&mut stager, b"")];
        let synced = publisher.sync(batch).unwrap();
        let places = places(&synced);
        publisher.publish(promised(synced)).unwrap();
        drop(publisher);
        let whole = fs::read(&home.mbox).unwrap();
        for length in begin as usize..=whole.len() {
            fs::write(&home.mbox, &whole[..length]).unwrap();
            assert_eq!(home.recover(&places), [true; 3], "cut at {length}");
            assert_eq!(fs::read(&home.mbox).unwrap(), whole, "cut at {length}");
        }
        // Shorter than where the batch began, or other octets: not our append any more.
        fs::write(&home.mbox, &whole[..begin as usize - 1]).unwrap();
        assert_eq!(home.recover(&places), [false; 3]);
        let foreign = [&whole[..begin as usize], b"From else\n\n"].concat();
        fs::write(&home.mbox, &foreign).unwrap();
        assert_eq!(home.recover(&places), [false; 3]);
        assert_eq!(fs::read(&home.mbox).unwrap(), foreign);
    }

    /// As a power cut leaves it where blocks are written in any order: the length is there, and some of the octets.
    #[test]
    fn what_a_power_cut_left_empty_is_filled_in() {
        let home = Home::new();
        fs::create_dir(home.mbox.parent().unwrap()).unwrap();
        fs::write(&home.mbox, "From a@x Thu Jan  1 00:00:00 1970\n\nold").unwrap();
        let (mut stager, mut publisher) = home.open();
        let batch = vec![stage(&mut stager, b"1\n"), stage(&mut stager, b"From 2\n")];
        let synced = publisher.sync(batch).unwrap();
        let begin = fs::metadata(&home.mbox).unwrap().len() as usize;
        let places = places(&synced);
        publisher.publish(promised(synced)).unwrap();
        drop(publisher);
        let whole = fs::read(&home.mbox).unwrap();
        let later: &[u8] = b"From another@x Thu Jan  1 00:00:00 1970\n\n\n";
        for from in begin - 2..whole.len() {
            for to in [from + 1, whole.len()] {
                for behind in [b"", later] {
                    let mut cut = [&whole, behind].concat();
                    cut[from..to].fill(0);
                    fs::write(&home.mbox, &cut).unwrap();
                    assert_eq!(home.recover(&places), [true; 2], "empty from {from} to {to}");
                    assert_eq!(fs::read(&home.mbox).unwrap(), [&whole, behind].concat(), "empty from {from} to {to}");
                }
            }
        }
        let mut foreign = [&whole[..begin], &vec![0; whole.len() - begin][..]].concat();
        *foreign.last_mut().unwrap() = b'x';
        fs::write(&home.mbox, &foreign).unwrap();
        assert_eq!(home.recover(&places), [false; 2]);
        assert_eq!(fs::read(&home.mbox).unwrap(), foreign);
    }

    #[test]
    fn a_complete_message_is_found_though_others_came_after_it() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"1\n"), stage(&mut stager, b"2\n")]).unwrap();
        let places = places(&synced);
        publisher.publish(promised(synced)).unwrap();
        drop(publisher);
        let mut content = fs::read(&home.mbox).unwrap();
        content.extend(b"From else\n\n");
        fs::write(&home.mbox, &content).unwrap();
        assert_eq!(home.recover(&places), [true, true]);
        let Place::Mbox { offset, .. } = places[1] else { panic!() };
        content[offset as usize] = b'X';
        fs::write(&home.mbox, &content).unwrap();
        assert_eq!(home.recover(&places), [true, false]);
        assert_eq!(fs::read(&home.mbox).unwrap(), content);
    }

    #[test]
    fn without_its_spool_nothing_is_proved() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"1\n"), stage(&mut stager, b"2\n")]).unwrap();
        let places = places(&synced);
        die(synced);
        drop(publisher);
        let spool = home.context.spool_dir.join(&names(&home.context.spool_dir)[0]);
        let file = fs::OpenOptions::new().write(true).open(&spool).unwrap();
        for length in (0..file.metadata().unwrap().len()).rev() {
            file.set_len(length).unwrap();
            assert!(!home.recover(&places)[1]);
            fs::write(&home.mbox, "").unwrap();
        }
        fs::remove_file(&spool).unwrap();
        assert_eq!(home.recover(&places), [false, false]);
        fs::remove_file(&home.mbox).unwrap();
        assert_eq!(home.recover(&places), [false, false]);
        assert!(!home.mbox.exists());
    }

    #[test]
    fn strange_places_are_absent() {
        let home = Home::new();
        let (mut stager, mut publisher) = home.open();
        let synced = publisher.sync(vec![stage(&mut stager, b"1\n")]).unwrap();
        let Place::Mbox { path, spool, .. } = synced[0].place().clone() else { panic!() };
        die(synced);
        drop(publisher);
        for (offset, length, spool_offset) in [(u64::MAX, 2, 0), (0, u64::MAX, 2), (2, u64::MAX, 0), (99, 3, 0)] {
            let (path, spool) = (path.clone(), spool.clone());
            assert_eq!(home.recover(&[Place::Mbox { path, offset, length, spool, spool_offset }]), [false]);
        }
        assert_eq!(home.content(), "");
    }

    #[test]
    fn the_sender_is_found_whatever_the_chunks() {
        let message = b"X: y\nReturn-Path: <a@x>\n\nbody\n";
        for cut in 0..message.len() {
            let home = Home::new();
            let (mut stager, mut publisher) = home.open();
            let mut stage = stager.stage(b"", 1).unwrap();
            stage.write(&message[..cut]).unwrap();
            stage.write(&message[cut..]).unwrap();
            let synced = publisher.sync(vec![stage.finish().unwrap()]).unwrap();
            publisher.publish(promised(synced)).unwrap();
            assert_eq!(home.content(), "From a@x TIME\nX: y\nReturn-Path: <a@x>\n\nbody\n\n", "cut at {cut}");
        }
    }
}
