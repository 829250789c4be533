//! One ledger out of several: up to format 2, each target of a run by URL had a ledger of its own.
//!
//! Such a ledger bears the hash of its target behind a comma in its name (`USER@HOST,HASH.jsonl`). What it knows becomes
//! part of the ledger of the maildrop, as lanes of the places that it names, and settles nothing. A header of the
//! present format stays at its name, so that an earlier build refuses instead of starting afresh.
//!
//! All of the locks are held meanwhile. The merged ledger is written beside the old one and takes its place by a rename;
//! until the headers stand at the old names, a note in it tells the next run to go on.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use super::door::{Alarm, Door, was_known};
use super::facts::{Fact, State};
use super::identity::lines_of;
use super::lane::LaneSet;
use super::line::{Line, VERSION};
use super::load::{self, Loaded};
use super::rewrite::{Kept, rewrite};
use super::{ACCOUNT, Error, Ledger, REPLACEMENT, is_date, lock, lock_path};
use crate::maildrop::Fingerprint;
use crate::os;

/// The note of a ledger that holds what those of runs by URL knew, while their headers may not stand yet.
pub(super) const TAKING_OVER: &str = "taking-over";

/// A ledger of a run by URL, as an earlier build left it, and its lock.
#[derive(Debug)]
pub struct Former {
    pub(super) ledger: Ledger,
    name: String,
    kept: Option<PathBuf>,
}

impl Former {
    /// The name of its file, without the ending.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The ledger itself: what a run left in it between intent and record is to be finished first.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The numbers of damaged lines in it, and where a copy of it is kept.
    pub fn damage(&self) -> (&Path, &[u32], Option<&Path>) {
        (&self.ledger.path, &self.ledger.loaded.damaged, self.kept.as_deref())
    }

    /// True while intents in it wait for an answer.
    pub fn is_pending(&self) -> bool {
        !self.ledger.loaded.pending.is_empty()
    }

    /// The hash of its target; that of an MDA is the name of its lane.
    fn hash(&self) -> &str {
        hash_in(&self.name).expect("its name has one")
    }

    /// Leaves a header alone.
    fn close(mut self) -> Result<(), Error> {
        let mut new = self.ledger.beside()?;
        let mut header = vec![];
        Line::header(&self.ledger.maildrop).write(&mut header);
        new.file().write_all(&header).map_err(Error::io("rewrite", &self.ledger.path))?;
        self.ledger.replace(new)
    }
}

/// The hash at the end of the name of a former ledger.
fn hash_in(name: &str) -> Option<&str> {
    let (_, hash) = name.rsplit_once(',')?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then_some(hash)
}

/// Of paths of ledgers, those of runs by URL of the maildrop whose ledger has this name; and their names.
fn of_runs_by_url<'p>(paths: &'p [PathBuf], name: &'p str) -> impl Iterator<Item = (&'p Path, &'p str)> {
    paths.iter().filter_map(move |path| {
        let theirs = path.file_stem()?.to_str()?;
        let hash = theirs.strip_prefix(name)?;
        (hash.len() == 17 && hash.starts_with(',') && hash_in(theirs).is_some()).then_some((path.as_path(), theirs))
    })
}

/// Opens one, under its lock; `None` when there is nothing in it that is not known elsewhere.
fn open(door: &Door<'_>, path: &Path, name: &str) -> Result<Option<Former>, Error> {
    // A look first: the lock of what is over need not be taken.
    if look(door, path, name)?.is_none() {
        return Ok(None);
    }
    let lock = lock::hold(&lock_path(door.folder, name))?;
    os::file::remove(&path.with_extension(REPLACEMENT))?;
    let file = os::file::append(path)?;
    let loaded = load::load(BufReader::with_capacity(64 << 10, &file), path, door.maildrop)?;
    let mut ledger = Ledger::new(path.into(), door.maildrop, file, loaded, Some(lock));
    ledger.is_old = true;
    ledger.repair()?;
    let kept = if ledger.loaded.damaged.is_empty() { None } else { Some(ledger.keep_copy()?) };
    Ok(Some(Former { ledger, name: name.into(), kept }).filter(|former| has_news(&former.ledger.loaded)))
}

/// The same without a lock, only to read it.
///
/// # Errors
/// [`Error::Alarm`] when a person has to decide: what it knew would come again.
fn look(door: &Door<'_>, path: &Path, name: &str) -> Result<Option<Former>, Error> {
    let file = os::file::read(path)?;
    let loaded = match load::load(BufReader::with_capacity(64 << 10, &file), path, door.maildrop) {
        // A long name was cut: it is that of another maildrop.
        Err(Error::Foreign { .. }) => return Ok(None),
        Err(Error::Alien { .. }) => return door.allow(path, Alarm::Headless).map(|_| None),
        loaded => loaded?,
    };
    let was_known = was_known(&lock_path(door.folder, name));
    if let Some(alarm) = Alarm::of(&loaded, was_known) {
        door.allow(path, alarm)?;
    }
    let ledger = Ledger::new(path.into(), door.maildrop, file, loaded, None);
    let former = Former { ledger, name: name.into(), kept: None };
    Ok(Some(former).filter(|former| has_news(&former.ledger.loaded)))
}

fn has_news(loaded: &Loaded) -> bool {
    !loaded.facts.is_empty() || !loaded.pending.is_empty() || (loaded.whole > 0 && loaded.version < VERSION)
}

/// Opens and locks the former ledgers of a maildrop.
pub(super) fn former(door: &Door<'_>) -> Result<Vec<Former>, Error> {
    check_missing(door)?;
    let all = of_runs_by_url((door.ledgers)(), door.name).map(|(path, name)| open(door, path, name));
    all.filter_map(Result::transpose).collect()
}

/// The same without a lock, only to read them.
pub(super) fn former_to_read(door: &Door<'_>) -> Result<Vec<Former>, Error> {
    check_missing(door)?;
    let all = of_runs_by_url((door.ledgers)(), door.name).map(|(path, name)| look(door, path, name));
    all.filter_map(Result::transpose).collect()
}

/// True when one of them is a reason for an alarm.
pub(super) fn is_alarm(door: &Door<'_>) -> Result<bool, Error> {
    let undecided = Door { is_decided: false, ..*door };
    match former_to_read(&undecided) {
        Err(Error::Alarm { .. }) => Ok(true),
        former => former.map(|_| false),
    }
}

/// A lock file tells of a ledger that is not there any more.
fn check_missing(door: &Door<'_>) -> Result<(), Error> {
    let entries = fs::read_dir(door.folder).into_iter().flatten().flatten();
    let locks: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "lock"))
        .collect();
    for (lock, _) in of_runs_by_url(&locks, door.name) {
        let path = lock.with_extension("jsonl");
        if was_known(lock) && !path.exists() {
            door.allow(&path, Alarm::Missing)?;
        }
    }
    Ok(())
}

/// Writes the merged ledger.
fn merge(ledger: &mut Ledger, former: &mut [Former], new: &mut impl Write) -> Result<(), Error> {
    let path = ledger.path.clone();
    let failed = |error| Error::io("rewrite", &path)(error);
    let mut text = ledger.beginning();
    let word =
        |note: &'static str| Line { note: Some(note.into()), id: Some("".into()), at: Some(0), ..Line::default() };
    // Up to format 2 only an account has written to it.
    if ledger.is_of_an_old_account() {
        word(ACCOUNT).write(&mut text);
    }
    if !former.is_empty() {
        word(TAKING_OVER).write(&mut text);
    }
    let kept = ledger.loaded.kept(|_, _| true);
    let mut lanes = std::mem::take(&mut ledger.loaded.lanes);
    let old = BufReader::with_capacity(64 << 10, ledger.reader()?);
    let written = rewrite(old, &mut text, &kept, &mut lanes, None, |_| true);
    ledger.loaded.lanes = lanes;
    written.and_then(|_| new.write_all(&text)).map_err(failed)?;
    ledger.loaded.version = VERSION;
    for former in former {
        let text = taken_over(ledger, former)?;
        new.write_all(&text).map_err(failed)?;
        ledger.loaded.take_lines(&text);
    }
    Ok(())
}

/// What a former ledger knows, as lines of the merged one.
fn taken_over(ledger: &mut Ledger, former: &mut Former) -> Result<Vec<u8>, Error> {
    let hash = former.hash().to_owned();
    let old = &mut former.ledger;
    let mut kept = old.loaded.kept(|_, _| true);
    let ids: HashMap<u32, u32> = (0..).zip(old.loaded.facts.iter()).map(|(number, fact)| (fact.line, number)).collect();
    let known = |ledger: &mut Ledger, old: &Ledger, fact: &Fact| {
        ledger.loaded.facts.find(old.loaded.facts.id(ids[&fact.line]), fact.nth)
    };
    // Fingerprints matter where both know a message: they decide whether it is the same, and are not to be lost.
    let pair = |kept: &Kept| {
        let ours = known(ledger, old, &kept.fact)?;
        Some((ledger.loaded.facts.get(ours).line, kept.fact.line))
    };
    let pairs: Vec<(u32, u32)> = kept.iter().filter_map(pair).collect();
    let heads = heads_of(ledger, pairs.iter().map(|(line, _)| *line))?;
    let old_heads = heads_of(old, pairs.iter().map(|(_, line)| *line))?;
    let mut merged = Vec::with_capacity(kept.len());
    for kept in kept.drain(..) {
        let fact = Fact { is_settled: false, ..kept.fact };
        let Some(number) = known(ledger, old, &fact) else {
            merged.push(Kept { fact, ..kept });
            continue;
        };
        let ours = ledger.loaded.facts.get(number);
        let (head, old_head) = (heads.get(&ours.line).copied(), old_heads.get(&fact.line).copied());
        match is_same(&ours, head, &fact, old_head) {
            true => merged.push(Kept { head, ..joined(&ours, Kept { fact, ..kept }) }),
            // Another message under a used unique-id: the later one is the one that the server may have.
            false if fact.at > ours.at => merged.push(Kept { fact, begins: true, again: true, ..kept }),
            false => {}
        }
    }
    let mut text = vec![];
    let mut lanes = std::mem::take(&mut old.loaded.lanes);
    let reader = BufReader::with_capacity(64 << 10, old.reader()?);
    let written = rewrite(reader, &mut text, &merged, &mut lanes, Some(&hash), |_| true);
    written.map_err(Error::io("read", &old.path))?;
    Ok(text)
}

fn is_same(ours: &Fact, head: Option<Fingerprint>, theirs: &Fact, their_head: Option<Fingerprint>) -> bool {
    match (head, their_head) {
        (Some(head), Some(their_head)) => head == their_head,
        _ => ours.octets == theirs.octets || [ours.octets, theirs.octets].contains(&u32::MAX),
    }
}

/// One message that both know: deleted in either is deleted, and the older date wins.
fn joined(ours: &Fact, theirs: Kept) -> Kept {
    let state = match (ours.state, theirs.fact.state) {
        (State::Deleted, _) | (_, State::Deleted) => State::Deleted,
        (State::Gone, State::Gone) => State::Gone,
        _ => State::Delivered,
    };
    let is_ours_older = is_date(ours.at.into()) && (ours.at < theirs.fact.at || !is_date(theirs.fact.at.into()));
    let (first, last) = if is_ours_older { (*ours, theirs.fact) } else { (theirs.fact, *ours) };
    let octets = if last.octets == u32::MAX { first.octets } else { last.octets };
    // Without a lane it was never delivered, and its date says nothing.
    let at = if ours.lanes == LaneSet::EMPTY { theirs.fact.at } else { first.at };
    Kept { fact: Fact { at, octets, state, ..theirs.fact }, again: true, ..theirs }
}

/// The fingerprints in these lines.
fn heads_of(ledger: &Ledger, lines: impl Iterator<Item = u32>) -> Result<HashMap<u32, Fingerprint>, Error> {
    let mut heads = HashMap::new();
    let wanted = lines.map(|line| (line, line)).collect();
    let collect = |number, line: Line<'_>| {
        heads.extend(line.head.as_ref().and_then(|head| head.parse().ok()).map(|head| (number, head)));
    };
    lines_of(|| ledger.reader(), wanted, collect)?;
    Ok(heads)
}

impl Ledger {
    /// Takes over, durably, what former ledgers know, and returns of how many messages. Their intents must be resolved.
    pub fn take_over(&mut self, mut former: Vec<Former>) -> Result<usize, Error> {
        if former.is_empty() && !self.is_old {
            return Ok(0);
        }
        let messages = former.iter().map(|former| former.ledger.loaded.facts.len()).sum();
        self.is_old = false;
        if self.is_pretended {
            let mut text = vec![];
            merge(self, &mut former, &mut text)?;
            self.memory = Some(text);
            self.in_doubt.extend(former.into_iter().flat_map(|former| former.ledger.in_doubt));
            self.reload()?;
            return Ok(messages);
        }
        let mut new = self.beside()?;
        let mut buffer = io::BufWriter::with_capacity(64 << 10, new.file());
        merge(self, &mut former, &mut buffer)?;
        let written = buffer.into_inner().map(drop).map_err(io::IntoInnerError::into_error);
        written.map_err(Error::io("rewrite", &self.path))?;
        self.replace(new)?;
        self.reload()?;
        self.mark_lock()?;
        former.into_iter().try_for_each(Former::close)?;
        self.note_over(TAKING_OVER, [&b""[..]])?;
        Ok(messages)
    }
}
