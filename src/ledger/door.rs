//! The doors of a ledger: to fetch, under its lock, and to look, without one.
//!
//! Who looks creates no file, mends nothing, and may do so while a run holds the account. Who fetches finishes what an
//! interrupted run left, and takes over ledgers of an earlier kind. Neither goes on where a known maildrop would come
//! again in silence: an [`Alarm`] stands until a person has decided.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufReader, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::failing;
use super::line::{Line, VERSION};
use super::load::{self, Loaded};
use super::lock::{self, Lock};
use super::takeover::{self, Former, TAKING_OVER};
use super::{Error, Ledger, Notices, REPLACEMENT, Wanted, is_date, is_same, lock_path};
use crate::os;

/// Why a known maildrop would come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// The ledger is gone, or empty, while its lock file says that there was one.
    Missing,
    /// Its first line is damaged.
    Headless,
    /// So many of so many lines are damaged.
    Damaged(usize, u32),
    /// An earlier run began a new ledger on somebody's word, and failed before it could act on it.
    Undecided,
}

/// The note of a ledger that was begun anew on somebody's word, until that was acted on.
const UNDECIDED: &str = "undecided";

/// So many damaged lines are only worth a notice, and so are fewer than one in a hundred.
const FEW: usize = 3;

/// The way to one ledger.
pub struct Door<'d> {
    /// The folder of the ledgers.
    pub folder: &'d Path,
    /// The name of the file, without its ending.
    pub name: &'d str,
    /// The maildrop.
    pub maildrop: &'d str,
    /// The ledgers in the folder: asked for only where some of an earlier kind may be among them.
    pub ledgers: &'d dyn Fn() -> &'d [PathBuf],
    /// A person has decided what is to happen should there be an alarm.
    pub is_decided: bool,
}

/// A ledger, and those of an earlier kind that are to become a part of it ([`Ledger::take_over`]).
pub struct Opened {
    /// The ledger of the maildrop.
    pub ledger: Ledger,
    /// Those of runs by URL.
    pub former: Vec<Former>,
    /// What a person should hear.
    pub notices: Notices,
}

impl Door<'_> {
    fn path(&self) -> PathBuf {
        self.folder.join(format!("{}.jsonl", self.name))
    }

    /// Locks, reads and repairs the ledger, creating it and its folder when they are not there.
    ///
    /// # Errors
    /// [`Error::Held`] when another run has the account, [`Error::Alarm`] when a person has to decide.
    pub fn fetch(&self) -> Result<Opened, Error> {
        os::folder::create(self.folder)?;
        // Better known now than after the first message was fetched.
        rustix::fs::access(self.folder, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| Error::io("write into", self.folder)(error.into()))?;
        let lock = lock::hold(&lock_path(self.folder, self.name))?;
        let path = self.path();
        os::file::remove(&path.with_extension(REPLACEMENT))?;
        let file = os::file::append(&path)?;
        let (loaded, alarm) = self.load(&file, &path, lock.was_known)?;
        let notices =
            Notices { is_missing: alarm == Some(Alarm::Missing), damaged: loaded.damaged.clone(), kept: None };
        let is_old = is_old(&loaded);
        let (former, is_alarm) = match is_old {
            true => (takeover::former(self)?, self.is_decided && takeover::is_alarm(self)?),
            false => (vec![], false),
        };
        let mut ledger = Ledger::new(path, self.maildrop, file, loaded, Some(lock));
        (ledger.is_old, ledger.is_undecided) = (is_old && !former.is_empty(), is_alarm || alarm.is_some());
        if alarm != Some(Alarm::Headless) {
            ledger.repair()?;
        }
        let kept = ledger.mend(alarm)?;
        if former.is_empty() && ledger.has_note(TAKING_OVER, b"") {
            // A run that was killed may have left headers there whose names are not durable.
            os::folder::sync(self.folder)?;
            ledger.note_over(TAKING_OVER, [&b""[..]])?;
        }
        Ok(Opened { ledger, former, notices: Notices { kept, ..notices } })
    }

    /// Reads the ledger and changes nothing, neither now nor by what is done with it later.
    ///
    /// # Errors
    /// [`Error::Alarm`] when a person has to decide.
    pub fn look(&self) -> Result<Opened, Error> {
        let path = self.path();
        let read = |path: &Path| match os::file::read(path) {
            Err(os::file::Error::Failed(failure)) if failure.source.kind() == std::io::ErrorKind::NotFound => Ok(None),
            file => file.map(Some),
        };
        let lock = lock_path(self.folder, self.name);
        let was_known = was_known(&lock);
        let mut file = read(&path)?;
        let mut seen = self.look_at(file.as_ref(), &path, was_known)?;
        let mut former = vec![];
        if is_old(&seen.0) {
            former = takeover::former_to_read(self)?;
            // A run may have taken them over meanwhile; then the ledger of the maildrop has them.
            file = read(&path)?;
            seen = self.look_at(file.as_ref(), &path, was_known)?;
        }
        let (loaded, alarm) = seen;
        let notices =
            Notices { is_missing: alarm == Some(Alarm::Missing), damaged: loaded.damaged.clone(), kept: None };
        let (is_new, is_old) = (file.is_none(), is_old(&loaded));
        let file = file.map_or_else(|| File::open("/dev/null").map_err(Error::io("read", "/dev/null")), Ok)?;
        let mut ledger = Ledger::new(path, self.maildrop, file, loaded, None);
        (ledger.is_pretended, ledger.is_old) = (true, is_old && !is_new && !former.is_empty());
        ledger.is_undecided = alarm.is_some();
        Ok(Opened { ledger, former, notices })
    }

    fn look_at(&self, file: Option<&File>, path: &Path, was_known: bool) -> Result<(Loaded, Option<Alarm>), Error> {
        match file {
            Some(file) => self.load(file, path, was_known),
            None if was_known => self.allow(path, Alarm::Missing).map(|alarm| (Loaded::default(), Some(alarm))),
            None => Ok((Loaded::default(), None)),
        }
    }

    fn load(&self, file: &File, path: &Path, was_known: bool) -> Result<(Loaded, Option<Alarm>), Error> {
        let loaded = match load::load(BufReader::with_capacity(64 << 10, file), path, self.maildrop) {
            Err(Error::Alien { .. }) => {
                let octets = file.metadata().map_err(Error::io("read", path))?.len();
                let alarm = self.allow(path, Alarm::Headless)?;
                let mut nothing = Loaded::default();
                nothing.octets = octets;
                return Ok((nothing, Some(alarm)));
            }
            loaded => loaded?,
        };
        let alarm = Alarm::of(&loaded, was_known);
        let alarm = alarm.map(|alarm| self.allow(path, alarm)).transpose()?;
        Ok((loaded, alarm))
    }

    pub(super) fn allow(&self, path: &Path, alarm: Alarm) -> Result<Alarm, Error> {
        if self.is_decided { Ok(alarm) } else { Err(Error::Alarm { path: path.into(), alarm }) }
    }
}

impl Alarm {
    /// Of a ledger that has a header, or none at all.
    pub(super) fn of(loaded: &Loaded, was_known: bool) -> Option<Self> {
        let (damaged, lines) = (loaded.damaged.len(), loaded.lines);
        match () {
            () if was_known && loaded.whole == 0 => Some(Alarm::Missing),
            () if damaged > FEW && damaged as u64 * 100 > u64::from(lines) => Some(Alarm::Damaged(damaged, lines)),
            () if loaded.notes.of(UNDECIDED).is_some() => Some(Alarm::Undecided),
            () => None,
        }
    }
}

/// True when a lock file says that there was a ledger beside it.
pub(super) fn was_known(lock: &Path) -> bool {
    fs::symlink_metadata(lock).is_ok_and(|metadata| metadata.len() > 0)
}

/// True for a ledger that may have others of an earlier kind beside it.
fn is_old(loaded: &Loaded) -> bool {
    loaded.version < VERSION || loaded.notes.of(TAKING_OVER).is_some()
}

impl Ledger {
    pub(super) fn new(path: PathBuf, maildrop: &str, file: File, loaded: Loaded, lock: Option<Lock>) -> Self {
        let newest = loaded.facts.dates().filter(|at| is_date(*at)).max().unwrap_or(0);
        Ledger {
            path,
            maildrop: maildrop.to_owned(),
            file,
            memory: None,
            octets: loaded.octets,
            loaded,
            is_closed: false,
            is_synced: false,
            is_pretended: false,
            is_old: false,
            is_undecided: false,
            newest,
            wanted: Wanted::default(),
            partly: HashMap::new(),
            renewed: HashSet::new(),
            under_way: 0,
            in_doubt: HashSet::new(),
            lock,
        }
    }

    /// Opens a ledger as after a decision about every alarm, without those of an earlier kind beside it.
    ///
    /// # Errors
    /// [`Error::Held`] when another run has the account.
    pub fn open(folder: &Path, name: &str, maildrop: &str) -> Result<(Ledger, Notices), Error> {
        let door = Door { folder, name, maildrop, ledgers: &|| &[], is_decided: true };
        let Opened { mut ledger, notices, .. } = door.fetch()?;
        ledger.acted()?;
        Ok((ledger, notices))
    }

    /// Begins a new ledger, leaves damage behind, or writes an earlier format anew, whatever is needed.
    fn mend(&mut self, alarm: Option<Alarm>) -> Result<Option<PathBuf>, Error> {
        let kept = match alarm {
            Some(Alarm::Headless) => Some(self.keep_copy()?),
            _ => None,
        };
        let is_empty = self.octets == 0 && !self.is_old;
        if alarm == Some(Alarm::Headless) || (is_empty && self.is_undecided) {
            self.begin_anew()?;
        } else if is_empty {
            let beginning = self.beginning();
            self.append(&beginning, 1)?;
        }
        if !self.is_old {
            self.mark_lock()?;
        }
        // Before the damaged lines are left behind, also by an upgrade.
        let kept = if self.loaded.damaged.is_empty() { kept } else { Some(self.keep_copy()?) };
        self.upgrade()?;
        self.leave_damage_behind()?;
        Ok(kept)
    }

    /// A new ledger in the place of what is none, in one step.
    fn begin_anew(&mut self) -> Result<(), Error> {
        let mut new = self.beside()?;
        new.file().write_all(&self.beginning()).map_err(Error::io("write", &self.path))?;
        self.replace(new)?;
        self.reload()
    }

    /// The header, failures in a row, and that nobody has acted on a decision so far.
    pub(super) fn beginning(&self) -> Vec<u8> {
        let mut text = vec![];
        Line::header(&self.maildrop).write(&mut text);
        failing::write(&self.loaded.failing, &mut text);
        if self.is_undecided && !self.has_note(UNDECIDED, b"") {
            Line { note: Some(UNDECIDED.into()), id: Some("".into()), at: Some(0), ..Line::default() }.write(&mut text);
        }
        text
    }

    /// Says, durably, that what a person decided about an alarm is being done.
    pub fn acted(&mut self) -> Result<(), Error> {
        self.is_undecided = false;
        if !self.has_note(UNDECIDED, b"") {
            return Ok(());
        }
        self.note_over(UNDECIDED, [&b""[..]])?;
        self.sync()
    }

    /// Notes in the lock file that there is a durable ledger.
    pub(super) fn mark_lock(&mut self) -> Result<(), Error> {
        if self.lock.as_ref().is_none_or(|lock| lock.was_known) {
            return Ok(());
        }
        self.make_names_last()?;
        self.lock.as_ref().map_or(Ok(()), Lock::mark)
    }

    /// Keeps a damaged ledger beside the new one.
    pub(super) fn keep_copy(&self) -> Result<PathBuf, Error> {
        let kept = (1..)
            .map(|n| self.path.with_extension(format!("damaged-{n}")))
            .find(|path| !path.exists() || is_same(path, &self.path))
            .expect("a free number is found");
        // It is there already when a run was killed before it could write the intact part.
        if !kept.exists() {
            fs::hard_link(&self.path, &kept).map_err(Error::io("keep a copy of", &self.path))?;
        }
        Ok(kept)
    }
}
