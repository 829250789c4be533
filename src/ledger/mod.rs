//! The ledger: which messages of a maildrop were delivered, when and where, and which were deleted.
//!
//! One append-only file of JSON lines per account (see `line.rs`), held under a kernel lock for the whole run. It is
//! the only thing that makes a DELE possible ([`Committed`]) and a publication ([`Intended`]). What a message is made
//! of, and how it is stored, is not its business.
//!
//! Its steps of a commit stand between those of a target, which `deliver` describes. Each takes what the one before
//! gives:
//!
//! | step | what it does | when the machine stops just after it |
//! | --- | --- | --- |
//! | [`Ledger::intend`] | a line per message and lane: its id and the exact place; durable where the place can be asked | the next run asks the place |
//! | [`Ledger::record`] | which messages a lane has; [`Recorded`] for those that all lanes of their verdict have | not fetched again, where the line is on the disk or the place tells the same |
//! | [`Ledger::discard`] | which messages a rule deletes unread; [`Recorded`] for them | deleted by the next run |
//! | [`Ledger::commit`] | one sync makes [`Recorded`] into [`Committed`] | deleted by the next run, if that is wanted |
//! | [`Ledger::deleted`] | after `+OK` to QUIT: the messages are deleted | the next listing tells |
//! | [`Ledger::settle`] | forgets what is over | the old file is valid until the new one is durable |
//!
//! Three facts, where a reader of RFC 1939 might expect two: *delivered*, *deleted* (the server said `+OK` to QUIT), and
//! *gone*: no longer listed, and not because of us. A gone id is remembered for [`GONE`], because an empty listing may
//! be a server's bad day, and everything would be fetched again.

mod brief;
mod door;
mod error;
mod facts;
mod failing;
mod identity;
mod kin;
mod lane;
mod line;
mod load;
mod lock;
mod notes;
mod quarantine;
mod rewrite;
mod start;
mod takeover;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use chrono::DateTime;

pub use door::{Alarm, Door, Opened};
pub use error::Error;
pub use facts::{Decided, Fact, Facts, Standing, Standings, State, comparable};
pub use identity::{Identity, Renamed, SameMessage, Top};
pub use kin::{Kin, Known};
pub use lane::{LaneSet, Lanes};
pub use line::KEYS;
pub use notes::Noted;
pub use start::Begun;
pub use takeover::Former;
pub use text::fingerprint;

use rustix::fs::Access;

use crate::account::{Keep, Target};
use crate::deliver::{Found, Intents, Keeps, Outcome, Place, Recovered, Synced};
use crate::maildrop::sealed::OfTheLedger;
use crate::maildrop::{Durable, Fingerprint, Listing, MessageNumber};
use crate::os;
use crate::os::file::Replacement;
use crate::text;
use line::{Line, VERSION, id_text};
use load::{Loaded, Seen};
use lock::Lock;
use notes::RECEIVED;

/// How long an id is remembered that the server no longer lists.
pub const GONE: Duration = Duration::from_secs(30 * 86400);

/// The note of a lane that is new to a maildrop, when that was said.
const NEW_TARGET: &str = "new-target";

/// The note of a maildrop that an account of the configuration fetches.
const ACCOUNT: &str = "account";

/// The note about a message that may have come in the place of another one. With an empty id: about all that are known.
pub const DOUBTFUL: &str = "doubtful";

/// The note about a doubtful message whose size did not fit: its header proves nothing, for the rest may be missing.
pub const MISFIT: &str = "misfit";

/// No clock that is right is before this: 2026-11-01.
const RELEASE: u64 = 1_793_491_200;

/// Dates that are recorded count from here (2020) to here (2060). Others were noted by a clock that was wrong.
const EARLIEST: u64 = 1_577_836_800;
const LATEST: u64 = 2_840_140_800;

/// True when a recorded time can be right.
pub fn is_date(at: u64) -> bool {
    (EARLIEST..LATEST).contains(&at)
}

/// The ending of the file that is to take a ledger's place.
const REPLACEMENT: &str = "new";

/// A ledger smaller than this is never worth rewriting.
const COMPACTION: u64 = 64 << 10;

/// The ledger of one account, open and locked.
#[derive(Debug)]
pub struct Ledger {
    path: PathBuf,
    maildrop: String,
    file: File,
    /// Octets of the file, all of them whole lines.
    octets: u64,
    loaded: Loaded,
    is_closed: bool,
    /// All that stands in the file is durable. What an earlier run wrote may not be.
    is_synced: bool,
    /// Nothing is written.
    is_pretended: bool,
    /// A merged ledger that nobody has written.
    memory: Option<Vec<u8>>,
    /// Ledgers of an earlier kind are to be taken over.
    is_old: bool,
    /// A person has decided about an alarm, and that is still to be done.
    is_undecided: bool,
    /// The newest date that it had when it was opened.
    newest: u64,
    wanted: Wanted,
    /// What some of its lanes have got in this session, and which ones are left.
    partly: HashMap<MessageNumber, Lanes>,
    /// Messages that have begun a new generation in this session.
    renewed: HashSet<u32>,
    /// Batches of this run whose outcome is not recorded: their intents must stay, for the next run asks the places.
    under_way: usize,
    /// Ids of messages of which only a mended place would tell whether they were delivered.
    in_doubt: HashSet<Vec<u8>>,
    /// Held by who may write.
    lock: Option<Lock>,
}

/// What a person should hear about a ledger that was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notices {
    /// The account was fetched before, but its ledger is not there, or empty.
    pub is_missing: bool,
    /// Lines that made no sense; the rest is used.
    pub damaged: Vec<u32>,
    /// Where the damaged file was kept.
    pub kept: Option<PathBuf>,
}

/// Which messages a run wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wanted {
    /// Those that are not settled, for the lanes that lack them: an account of the configuration.
    #[default]
    Unsettled,
    /// Those that a lane lacks, settled or not: an account with `--fill`.
    Lacking,
    /// Those that the lane of a run by URL lacks. It settles nothing.
    ByUrl,
}

impl Wanted {
    /// What a run by URL wants, or an account, with `--fill` or without.
    pub fn of(is_by_url: bool, fills: bool) -> Self {
        match (is_by_url, fills) {
            (true, _) => Wanted::ByUrl,
            (false, true) => Wanted::Lacking,
            (false, false) => Wanted::Unsettled,
        }
    }
}

/// Which message an intent speaks of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// In this session.
    pub number: MessageNumber,
    /// For ever; empty where the server has no UIDL.
    pub unique_id: Vec<u8>,
    /// Which of several with this id.
    pub nth: u32,
    /// The size that LIST announced.
    pub octets: Option<u64>,
    /// True when the ledger already speaks of its id.
    pub again: bool,
    /// True when it is another message than the one that the ledger speaks of.
    pub reused: bool,
    /// The lanes that it goes to: those of its verdict that lack it. When they have it, it is settled.
    pub lanes: Lanes,
    /// What a rule says in the place of the account's `keep`. There may be a million keys, and few of them have it.
    pub keep: Option<Box<Keep>>,
    /// What its header says of it, as soon as that has been read.
    pub head: Option<Fingerprint>,
    /// With this fingerprint it is the message that the ledger speaks of, after all.
    pub known_head: Option<Box<Fingerprint>>,
    /// Then these lanes lack it.
    pub known_lanes: Lanes,
    /// If it is the message that the ledger speaks of, it is due to be deleted.
    pub is_due: bool,
    /// It stays on the server though it is delivered: the account has not done with it.
    pub is_held_back: bool,
    /// Those of the lanes that are owed it, and do not get it: it is quarantined there.
    pub quarantined: Lanes,
}

impl Key {
    /// A new message without a unique-id.
    pub fn new(number: MessageNumber) -> Self {
        let (unique_id, octets, again, reused, lanes, keep, head) = Default::default();
        let (known_head, known_lanes, is_due, is_held_back) = Default::default();
        Key {
            number,
            unique_id,
            nth: 1,
            octets,
            again,
            reused,
            lanes,
            keep,
            head,
            known_head,
            known_lanes,
            is_due,
            is_held_back,
            quarantined: Lanes::NONE,
        }
    }

    /// The lanes that it is brought to.
    pub fn bound_for(&self) -> Lanes {
        self.lanes.less(self.quarantined)
    }

    /// True for a message whose text tells whether it is the known one, and so which lanes get it.
    pub fn is_compared(&self) -> bool {
        self.known_head.is_some() && self.known_lanes != self.lanes
    }

    /// The lanes that get it whatever its text tells.
    pub fn certain_lanes(&self) -> Lanes {
        let lanes = if self.is_compared() { self.known_lanes } else { self.lanes };
        lanes.less(self.quarantined)
    }
}

/// A batch whose intents are durable: what [`crate::deliver::Publisher::publish`] takes, and nothing else makes one.
#[derive(Debug)]
pub struct Intended(Vec<Synced>);

impl OfTheLedger for Intended {}

impl Intents for Intended {
    fn into_synced(self: Box<Self>) -> Vec<Synced> {
        self.0
    }
}

/// A listed message that was found in a Maildir.
#[derive(Debug)]
pub struct AtHome<'a> {
    /// Its unique-id, which no other message has.
    pub unique_id: &'a [u8],
    /// Its announced size.
    pub octets: Option<u64>,
    /// Since when it is there: seconds since 1970.
    pub at: u64,
    /// Its file, without its flags.
    pub name: &'a str,
    /// Which message it is.
    pub head: Fingerprint,
    /// True when the ledger already speaks of its id.
    pub again: bool,
}

/// The ledger's half of a batch between intent and record.
#[derive(Debug)]
pub struct Batch {
    number: u64,
    lane: usize,
    first_line: u32,
    keys: Vec<Key>,
    at: u32,
}

/// A message that a rule has decided about, without retrieving it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruled {
    /// In this session.
    pub number: MessageNumber,
    /// For ever. Without one nothing can be remembered.
    pub unique_id: Vec<u8>,
    /// Which of several with this id.
    pub nth: u32,
    /// The size that LIST announced.
    pub octets: Option<u64>,
    /// True when the ledger already speaks of it.
    pub is_known: bool,
    /// What its header says of it, where that was read.
    pub head: Option<Fingerprint>,
}

/// What a listing says of a known message that the ledger did not know.
#[derive(Debug)]
struct Relisted {
    fact: u32,
    /// Its size now.
    octets: Option<u64>,
    /// Since when its time on the server counts.
    at: Option<u64>,
}

/// A message that is durable and recorded at every lane that it was for. [`Ledger::commit`] makes the record durable as well.
///
/// The record is not what DELE takes:
///
/// ```compile_fail,E0277
/// use popfetch::{ledger::Recorded, pop3};
///
/// fn delete<T: pop3::Transport>(transaction: pop3::Transaction<T>, recorded: &[Recorded]) {
///     let _ = transaction.update(recorded);
/// }
/// ```
///
/// A durable one is:
///
/// ```
/// use popfetch::{ledger::Committed, pop3};
///
/// fn delete<T: pop3::Transport>(transaction: pop3::Transaction<T>, committed: &[Committed]) {
///     let _ = transaction.update(committed);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    number: MessageNumber,
    /// `None` without a unique-id: there is nothing to note after its deletion.
    fact: Option<u32>,
}

/// A message whose record is durable: it may be deleted on the server. Only [`Ledger::commit`] makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed(Recorded);

impl Recorded {
    /// The message of this session.
    pub fn number(&self) -> MessageNumber {
        self.number
    }
}

impl OfTheLedger for Committed {}

impl Durable for Committed {
    fn number(&self) -> MessageNumber {
        self.0.number
    }
}

impl Ledger {
    /// Fails when another run has the account at this moment.
    ///
    /// # Errors
    /// [`Error::Held`], as [`Ledger::open`] would.
    pub fn check_free(folder: &Path, name: &str) -> Result<(), Error> {
        let path = lock_path(folder, name);
        if path.exists() { lock::hold(&path).map(drop) } else { Ok(()) }
    }

    /// The run that holds the account at this moment, where the system tells it. Takes no lock itself.
    pub fn holder(folder: &Path, name: &str) -> Option<u32> {
        os::holder::of(&os::file::read(&lock_path(folder, name)).ok()?)
    }

    /// Fails when the folder of the state cannot be written into, or made.
    pub fn check_folder(folder: &Path) -> Result<(), Error> {
        let is_present = folder.is_dir();
        let present = folder.ancestors().find(|above| above.exists()).unwrap_or(folder);
        if !present.is_dir() {
            return Err(Error::io("create", present)(io::ErrorKind::NotADirectory.into()));
        }
        let action = if is_present { "write into" } else { "create" };
        rustix::fs::access(present, Access::WRITE_OK | Access::EXEC_OK)
            .map_err(|error| Error::io(action, folder)(error.into()))
    }

    /// Cuts off half a line at the end: its write was never finished, so nothing was done because of it.
    fn repair(&mut self) -> Result<(), Error> {
        if self.loaded.whole < self.octets {
            self.file.set_len(self.loaded.whole).map_err(Error::io("repair", &self.path))?;
            self.octets = self.loaded.whole;
        }
        Ok(())
    }

    /// Makes a new ledger durable, its name and that of its folder, also when another run has made them: it may have been
    /// killed before it could do this.
    fn make_names_last(&mut self) -> Result<(), Error> {
        self.sync()?;
        let folder = self.path.parent().expect("what is ours is in a folder");
        os::folder::sync(folder)?;
        Ok(os::folder::sync_name(folder)?)
    }

    /// Rewrites a damaged ledger, as soon as no intent in it waits for an answer.
    fn leave_damage_behind(&mut self) -> Result<(), Error> {
        if self.loaded.damaged.is_empty() || !self.loaded.pending.is_empty() || self.is_old || self.is_pretended {
            return Ok(());
        }
        self.compact(|_, _| true, |_| true)
    }

    /// Rewrites a ledger of an earlier format, as soon as no intent in it waits for an answer. An earlier release
    /// refuses it from then on: it would take new lines for damage, and drop them.
    fn upgrade(&mut self) -> Result<(), Error> {
        let is_current = self.loaded.version == VERSION || self.loaded.version == 0;
        if is_current || !self.loaded.pending.is_empty() || self.is_old || self.is_pretended {
            return Ok(());
        }
        self.is_old = true;
        self.take_over(vec![]).map(drop)
    }

    /// True for a ledger of an account that an earlier build wrote.
    fn is_of_an_old_account(&self) -> bool {
        (1..VERSION).contains(&self.loaded.version)
    }

    /// Reads the file from its beginning.
    fn reader(&self) -> Result<Box<dyn Read + '_>, Error> {
        if let Some(text) = &self.memory {
            return Ok(Box::new(&text[..]));
        }
        // The file that was opened, whatever has taken its place since.
        let mut file = self.file.try_clone().map_err(Error::io("read", &self.path))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::io("read", &self.path))?;
        Ok(Box::new(file))
    }

    /// The maildrop that it is about.
    pub fn maildrop(&self) -> &str {
        &self.maildrop
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Intents whose outcome is unknown, because a run died between intent and record: to be looked up by
    /// [`crate::deliver::recover`], batch by batch.
    pub fn pending(&self) -> BTreeMap<u64, Vec<Place>> {
        let mut batches: BTreeMap<u64, Vec<Place>> = BTreeMap::new();
        for intent in &self.loaded.pending {
            batches.entry(intent.batch).or_default().push(self.loaded.place(intent));
        }
        batches
    }

    /// Takes for granted what a look at the places of a pending batch found.
    pub fn suppose(&mut self, batch: u64, found: &[Found]) {
        let intents = self.loaded.pending.iter().filter(|intent| intent.batch == batch);
        let in_doubt = intents.zip(found).filter(|(_, found)| **found == Found::InDoubt);
        let in_doubt: Vec<Vec<u8>> = in_doubt.map(|(intent, _)| self.loaded.id_of(intent).to_vec()).collect();
        self.in_doubt.extend(in_doubt);
        self.loaded.publish(batch, &absent(found.iter().map(|found| *found == Found::Delivered)));
    }

    /// True for a message of which only the next run finds out whether it was delivered.
    pub fn is_in_doubt(&self, unique_id: &[u8]) -> bool {
        !self.in_doubt.is_empty() && self.in_doubt.contains(unique_id)
    }

    /// How many these are.
    pub fn in_doubt(&self) -> usize {
        self.in_doubt.len()
    }

    /// Records what recovery found for a pending batch.
    pub fn resolve(&mut self, batch: u64, found: &[Recovered]) -> Result<(), Error> {
        let but = absent(found.iter().map(|found| matches!(found, Recovered::Delivered(_))));
        self.append_line(&published(batch, found.len(), &but))?;
        self.sync()?;
        self.loaded.publish(batch, &but);
        self.upgrade()?;
        self.leave_damage_behind()
    }

    /// Says which targets this run delivers to, in the order of their lanes, and which messages it wants.
    pub fn serve(&mut self, targets: &[Target], wanted: Wanted) {
        self.loaded.lanes.serve(targets);
        self.wanted = wanted;
    }

    /// The lane before this one that is the same place, by another name.
    pub fn has_place_of_another(&self, lane: usize) -> Option<usize> {
        self.loaded.lanes.same_before(lane)
    }

    /// The lanes of this run.
    pub fn lanes(&self) -> Lanes {
        self.loaded.lanes.own()
    }

    /// The lanes of this run to which a known message is to go.
    pub fn lacks(&self, fact: &Fact) -> Lanes {
        match self.wanted {
            Wanted::Unsettled if fact.is_settled => Lanes::NONE,
            _ => self.loaded.lanes.lacking(fact.lanes),
        }
    }

    /// True when no known message is news for this run: nothing of it is to be delivered or settled.
    pub fn wants_nothing_known(&self) -> bool {
        match self.wanted {
            Wanted::Unsettled => self.loaded.facts.are_settled(),
            Wanted::Lacking | Wanted::ByUrl => {
                self.loaded.facts.lanes().all(|set| self.loaded.lanes.lacking(set).is_empty())
            }
        }
    }

    /// True for a message that this run, once none of these lanes lacks it, settles.
    pub fn is_to_be_settled(&self, fact: &Fact, wanted: Lanes) -> bool {
        self.settles(fact) && self.loaded.lanes.lacking(fact.lanes).and(wanted).is_empty()
    }

    fn settles(&self, fact: &Fact) -> bool {
        self.wanted != Wanted::ByUrl && !fact.is_settled
    }

    /// True for a message that is settled, though one of these lanes lacks it.
    pub fn is_lacked_though_settled(&self, fact: &Fact, wanted: Lanes) -> bool {
        let lacking = self.loaded.lanes.lacking(fact.lanes).and(wanted);
        fact.is_settled && self.wanted != Wanted::ByUrl && !lacking.is_empty()
    }

    /// True for a run that gives every lane what it lacks, settled or not.
    pub fn fills(&self) -> bool {
        self.wanted == Wanted::Lacking
    }

    /// True for a run by URL.
    pub fn is_by_url(&self) -> bool {
        self.wanted == Wanted::ByUrl
    }

    /// Compares a listing with what is known.
    pub fn locate(&mut self, listing: &Listing) -> Standings {
        // Another session may have other message-numbers.
        self.partly.clear();
        self.loaded.facts.locate(listing)
    }

    /// What is known.
    pub fn facts(&self) -> &Facts {
        &self.loaded.facts
    }

    /// Writes down, durably, where each message of a batch is about to go by a lane. `at` is now, in seconds since 1970.
    pub fn intend(&mut self, lane: usize, messages: Vec<(Key, Synced)>, at: u64) -> Result<(Intended, Batch), Error> {
        // A date of a clock that is wrong is worse than none.
        let at = if self.trusts_clock(at) { at } else { 0 };
        let number = self.loaded.batch + 1;
        let mut text = Vec::with_capacity(messages.len() * 256);
        let renewed = self.renew(messages.iter().map(|(key, _)| key), at, &mut text);
        let lane_name = self.loaded.lanes.own_name(lane);
        for (key, synced) in &messages {
            let owed = self.is_owed(key);
            if !brief::write(&mut text, key, owed, number, at, synced.place()) {
                let lane = lane_name.as_deref().filter(|_| *synced.place() == Place::Mda).map(Into::into);
                Line { lane, ..intent(key, owed, number, at) }.to(synced.place()).write(&mut text);
            }
        }
        let first_line = self.loaded.lines + renewed + 1;
        self.append(&text, renewed + messages.len() as u32)?;
        // An MDA, and a server that cannot be asked, leaves no place to look at: such intents prove nothing, so nobody waits
        // for them.
        if messages.iter().any(|(_, synced)| *synced.place() != Place::Mda) {
            self.sync()?;
        }
        self.loaded.batch = number;
        self.under_way += 1;
        let (keys, synced) = messages.into_iter().unzip();
        let batch = Batch { number, lane, first_line, keys, at: load::seconds(at) };
        Ok((Intended(synced), batch))
    }

    /// True when one delivery of the message settles nothing: other lanes lack it, or what a rule has decided has to be
    /// written on the line that settles it.
    fn is_owed(&self, key: &Key) -> bool {
        self.wanted == Wanted::ByUrl || key.lanes.len() > 1 || key.keep.is_some()
    }

    /// Begins a new generation for each message that is another one under a used unique-id, and returns how many lines
    /// that takes. The first lane does it for all.
    fn renew<'k>(&mut self, keys: impl Iterator<Item = &'k Key>, at: u64, text: &mut Vec<u8>) -> u32 {
        let mut lines = 0;
        for key in keys.filter(|key| key.reused) {
            let known = self.loaded.facts.find(&key.unique_id, key.nth);
            if known.is_some_and(|fact| self.renewed.contains(&fact)) {
                continue;
            }
            let Key { nth, octets, head, .. } = key;
            Line {
                another: Some(id_text(&key.unique_id)),
                nth: Some(*nth).filter(|nth| *nth > 1),
                octets: *octets,
                at: Some(at),
                head: head.map(|head| head.to_string().into()),
                ..Line::default()
            }
            .write(text);
            lines += 1;
            let seen = Seen::new(comparable(*octets), load::seconds(at), self.loaded.lines + lines);
            let fact = self.loaded.renew(&key.unique_id, *nth, seen);
            self.renewed.insert(fact);
        }
        lines
    }

    /// Writes down what became of a batch, and gives the record of each message that all of its lanes have now.
    ///
    /// Not synced: the next intent, or [`Ledger::commit`] before the first DELE, takes it along. Until then the intents and the
    /// places tell the same. Only the record of an MDA or a server is durable at once: no place tells what it took, or only
    /// for as long as nobody moves it.
    pub fn record(&mut self, batch: Batch, outcomes: &[Outcome]) -> Result<Vec<Option<Recorded>>, Error> {
        let but = absent(outcomes.iter().map(|outcome| matches!(outcome, Outcome::Delivered(_))));
        self.append_line(&published(batch.number, outcomes.len(), &but))?;
        self.under_way -= 1;
        let mut recorded = Vec::with_capacity(batch.keys.len());
        for ((key, outcome), line) in batch.keys.iter().zip(outcomes).zip(batch.first_line..) {
            let is_delivered = matches!(outcome, Outcome::Delivered(_));
            recorded.push(if is_delivered { self.note_delivered(key, &batch, line) } else { None });
        }
        let facts = recorded.iter().zip(&batch.keys);
        let facts = facts.filter_map(|(recorded, key)| Some((recorded.as_ref()?.fact?, key.keep.as_deref().copied())));
        let facts: Vec<(u32, Option<Keep>)> = facts.collect();
        self.settled(&facts)?;
        if outcomes.iter().any(is_taken_by_others) {
            self.sync()?;
        }
        Ok(recorded)
    }

    /// Makes records durable: one sync for all of them. From then on the messages may be deleted on the server.
    pub fn commit(&mut self, recorded: Vec<Recorded>) -> Result<Vec<Committed>, Error> {
        if !recorded.is_empty() {
            self.sync()?;
        }
        Ok(recorded.into_iter().map(Committed).collect())
    }

    fn note_delivered(&mut self, key: &Key, batch: &Batch, line: u32) -> Option<Recorded> {
        let lane = self.loaded.lanes.own_number(batch.lane);
        let (octets, is_settled) = (comparable(key.octets), !self.is_owed(key));
        let seen = Seen { again: is_again(key), is_settled, lane, ..Seen::new(octets, batch.at, line) };
        let fact = self.loaded.deliver(&key.unique_id, key.nth, seen);
        let rest = self.partly.remove(&key.number).unwrap_or(key.lanes).without(batch.lane);
        if !rest.is_empty() {
            self.partly.insert(key.number, rest);
            return None;
        }
        let is_free = fact.is_none_or(|fact| self.may_be_deleted(&self.loaded.facts.get(fact)));
        is_free.then_some(Recorded { number: key.number, fact })
    }

    /// What is known of a message that was recorded; `None` without a unique-id.
    pub fn fact(&self, recorded: &Recorded) -> Option<Fact> {
        recorded.fact.map(|fact| self.loaded.facts.get(fact))
    }

    /// False for what no lane has, unless a rule has discarded it, and, in a run by URL, for what the account has not done
    /// with.
    pub fn may_be_deleted(&self, fact: &Fact) -> bool {
        let is_discarded = fact.decided == Some(Decided::Discard) && self.wanted != Wanted::ByUrl;
        is_discarded || (fact.lanes != LaneSet::EMPTY && (fact.is_settled || !self.holds_back()))
    }

    /// True for a run by URL of a maildrop that an account fetches, too: what is not settled is not deleted.
    pub fn holds_back(&self) -> bool {
        let is_of_an_account = self.has_note(ACCOUNT, b"") || self.is_of_an_old_account();
        self.wanted == Wanted::ByUrl && is_of_an_account
    }

    /// Writes down that the account has done with these messages what it wanted: every lane of their verdicts has them.
    /// With what a rule says in the place of its `keep`. A run by URL settles nothing.
    pub fn settled(&mut self, facts: &[(u32, Option<Keep>)]) -> Result<(), Error> {
        let is_news = |(fact, _): &&(u32, Option<Keep>)| self.settles(&self.loaded.facts.get(*fact));
        let news: Vec<(u32, Option<Decided>)> =
            facts.iter().filter(is_news).map(|(fact, keep)| (*fact, keep.map(Decided::Keep))).collect();
        if news.is_empty() {
            return Ok(());
        }
        let mut text = vec![];
        for (fact, decided) in &news {
            let settled = Some(id_text(self.loaded.facts.id(*fact)));
            let nth = Some(self.loaded.facts.get(*fact).nth).filter(|nth| *nth > 1);
            Line { settled, nth, ..Line::default() }.decided(*decided).write(&mut text);
        }
        self.append(&text, news.len() as u32)?;
        for (fact, decided) in news {
            self.loaded.facts.set(fact, |fact| (fact.is_settled, fact.decided) = (true, decided));
        }
        Ok(())
    }

    /// Writes down, durably, that a rule skips these messages: the account wants nothing of them.
    pub fn skip(&mut self, ruled: &[Ruled], at: u64) -> Result<(), Error> {
        self.rule(ruled, None, at)?;
        if ruled.is_empty() { Ok(()) } else { self.sync() }
    }

    /// Writes down that a rule deletes these messages unread, and gives the records by which they may be deleted. From
    /// [`Ledger::commit`] on a later run does it, should this one not come to it.
    pub fn discard(&mut self, ruled: &[Ruled], at: u64) -> Result<Vec<Recorded>, Error> {
        self.rule(ruled, Some(Decided::Discard), at)?;
        let facts = &mut self.loaded.facts;
        let recorded = |Ruled { number, unique_id, nth, .. }: &Ruled| {
            Some(Recorded { number: *number, fact: Some(facts.find(unique_id, *nth)?) })
        };
        Ok(ruled.iter().filter_map(recorded).collect())
    }

    fn rule(&mut self, ruled: &[Ruled], decided: Option<Decided>, at: u64) -> Result<(), Error> {
        if ruled.is_empty() {
            return Ok(());
        }
        let at = if self.trusts_clock(at) { at } else { 0 };
        let mut text = vec![];
        for Ruled { unique_id, nth, octets, is_known, head, .. } in ruled {
            let (id, nth) = (Some(id_text(unique_id)), Some(*nth).filter(|nth| *nth > 1));
            if *is_known {
                Line { settled: id, nth, ..Line::default() }.decided(decided).write(&mut text);
                continue;
            }
            let head = head.map(|head| head.to_string().into());
            let line = Line { nth, octets: *octets, at: Some(at), head, ..Line::default() };
            // Another message may have had the id before. It begins a new generation, which is not settled.
            if self.loaded.facts.find(unique_id, nth.unwrap_or(1)).is_some() {
                Line { another: id.clone(), head: line.head.clone(), ..line }.write(&mut text);
                Line { settled: id, nth, ..Line::default() }.decided(decided).write(&mut text);
            } else {
                Line { settled: id, ..line }.decided(decided).write(&mut text);
            }
        }
        self.append(&text, 0)?;
        self.loaded.take_lines(&text);
        Ok(())
    }

    /// Writes down, durably, that the account wants settled messages for lanes that lack them. Should this run not bring
    /// them there, the next one does, and nothing is deleted before.
    pub fn unsettle(&mut self, facts: &[u32]) -> Result<(), Error> {
        if facts.is_empty() {
            return Ok(());
        }
        let mut text = vec![];
        for fact in facts {
            let settled = Some(id_text(self.loaded.facts.id(*fact)));
            let nth = Some(self.loaded.facts.get(*fact).nth).filter(|nth| *nth > 1);
            Line { settled, nth, over: true, ..Line::default() }.write(&mut text);
        }
        self.append(&text, facts.len() as u32)?;
        facts.iter().for_each(|fact| self.loaded.facts.set(*fact, |fact| fact.is_settled = false));
        self.sync()
    }

    /// Tells of a known message whether this target, of the account or not, ever had it.
    pub fn has_gone_to(&self, target: &Target) -> impl Fn(&Fact) -> bool + use<> {
        let sets = self.loaded.lanes.sets_with(target);
        move |fact| sets[fact.lanes.number()]
    }

    /// True while nobody has decided what a lost or damaged ledger is to count for.
    pub fn is_undecided(&self) -> bool {
        self.is_undecided
    }

    /// Writes down, durably, that these messages are in a Maildir. Unless they are `owed` to other targets, the account
    /// wants nothing more of them.
    pub fn found_at_home(&mut self, maildir: &Path, found: &[AtHome<'_>], owed: bool) -> Result<(), Error> {
        let mut text = vec![];
        for AtHome { unique_id, octets, at, name, head, again } in found {
            let place = Place::Maildir { maildir: maildir.into(), name: (*name).to_owned() };
            let (delivered, head) = (Some(id_text(unique_id)), Some(head.to_string().into()));
            let (octets, at, again) = (*octets, Some(*at), *again);
            Line { delivered, again, owed, octets, at, head, ..Line::default() }.to(&place).write(&mut text);
        }
        if !found.is_empty() {
            self.append_whole(&text)?;
        }
        self.acted()?;
        self.sync()
    }

    /// Forgets messages, durably, as if no run had ever seen them. Returns how many.
    ///
    /// # Panics
    /// When intents wait for an answer.
    pub fn forget_known(&mut self, is_meant: impl Fn(&Fact, &[u8]) -> bool) -> Result<usize, Error> {
        assert!(self.loaded.pending.is_empty() || self.is_pretended, "their intents would be lost");
        let facts = &self.loaded.facts;
        let meant: Vec<bool> =
            (0..).zip(facts.iter()).map(|(number, fact)| is_meant(&fact, facts.id(number))).collect();
        let ids: HashSet<Vec<u8>> =
            (0..).zip(&meant).filter(|(_, is_meant)| **is_meant).map(|(number, _)| facts.id(number).to_vec()).collect();
        let count = meant.iter().filter(|is_meant| **is_meant).count();
        if count > 0 && !self.is_pretended {
            self.compact(|number, _| !meant[number as usize], |id| id.is_empty() || !ids.contains(id))?;
        }
        self.acted()?;
        self.sync()?;
        Ok(count)
    }

    /// True when no lane of this account was ever one of this maildrop's, though others were.
    pub fn is_at_new_targets(&self) -> bool {
        let lanes = &self.loaded.lanes;
        let is_had = |set: LaneSet| set != LaneSet::EMPTY && lanes.lacking(set) != lanes.own();
        self.wanted == Wanted::Unsettled
            && lanes.are_own_new()
            && self.loaded.facts.lanes().any(|set| set != LaneSet::EMPTY)
            && !self.loaded.facts.lanes().any(is_had)
    }

    /// Notes that this was said, and tells whether it is news.
    pub fn note_new_targets(&mut self, at: u64) -> Result<bool, Error> {
        let name = self.loaded.lanes.own_name(0).unwrap_or_default();
        let is_news = !self.has_note(NEW_TARGET, name.as_bytes());
        self.note(NEW_TARGET, name.as_bytes(), at)?;
        Ok(is_news)
    }

    /// Writes down that the server confirmed these deletions.
    pub fn deleted(&mut self, deleted: &[Committed], at: u64) -> Result<(), Error> {
        let facts: Vec<u32> = deleted.iter().filter_map(|committed| committed.0.fact).collect();
        self.note_ended(&facts, State::Deleted, at)
    }

    /// Writes down what a complete listing did not have. A fact that is written twice, or not at all because of a
    /// crash, does no harm: the next complete listing says the same.
    fn gone(&mut self, listed: &[bool], at: u64) -> Result<(), Error> {
        let missing: Vec<u32> = (0..)
            .zip(listed)
            .filter(|(fact, is_listed)| !**is_listed && self.loaded.facts.get(*fact).state == State::Delivered)
            .map(|(fact, _)| fact)
            .collect();
        self.note_ended(&missing, State::Gone, at)
    }

    fn note_ended(&mut self, facts: &[u32], state: State, at: u64) -> Result<(), Error> {
        if facts.is_empty() {
            return Ok(());
        }
        let text = self.ended(facts, state, at);
        self.append(&text, facts.len() as u32)?;
        let known = &mut self.loaded.facts;
        for fact in facts {
            match state {
                State::Gone => known.set_gone(*fact, load::seconds(at)),
                state => known.set(*fact, |fact| fact.state = state),
            }
        }
        Ok(())
    }

    fn ended(&self, facts: &[u32], state: State, at: u64) -> Vec<u8> {
        let mut text = vec![];
        for fact in facts {
            let id = Some(id_text(self.loaded.facts.id(*fact)));
            let (deleted, gone) = if state == State::Deleted { (id, None) } else { (None, id) };
            let nth = Some(self.loaded.facts.get(*fact).nth).filter(|nth| *nth > 1);
            Line { deleted, gone, nth, at: Some(at), ..Line::default() }.write(&mut text);
        }
        text
    }

    /// Writes down something to remember about a message, or, with an empty id, about the maildrop. Durable with the
    /// next sync; once is enough. False, and nothing is written, when the word has enough messages.
    pub fn note(&mut self, word: &str, id: &[u8], at: u64) -> Result<bool, Error> {
        if self.has_note(word, id) {
            return Ok(true);
        }
        if !self.loaded.notes.has_room(word, id) {
            return Ok(false);
        }
        self.note_anew(word, id, at).map(|()| true)
    }

    /// The same, and dates it anew where it is there.
    pub fn note_again(&mut self, word: &str, id: &[u8], at: u64) -> Result<bool, Error> {
        if !self.loaded.notes.has_room(word, id) {
            return Ok(false);
        }
        self.note_anew(word, id, at).map(|()| true)
    }

    /// The same, with this date, also when the note is there.
    fn note_anew(&mut self, word: &str, id: &[u8], at: u64) -> Result<(), Error> {
        let id_of_note = Some(id_text(id));
        self.append_line(&Line { note: Some(word.into()), id: id_of_note, at: Some(at), ..Line::default() })?;
        self.loaded.others += 1;
        self.loaded.notes.insert(word, id, at);
        Ok(())
    }

    /// Writes down something about the maildrop that is so for a while ([`Ledger::has_fresh_note`]).
    pub fn note_for_now(&mut self, word: &str, at: u64) -> Result<(), Error> {
        self.note_anew(word, b"", at)
    }

    /// True when something was written down about the maildrop less than this time ago. While the clock is wrong,
    /// nothing becomes old.
    pub fn has_fresh_note(&self, word: &str, now: u64, time: Duration) -> bool {
        let at = self.noted(word).and_then(|noted| noted.at(b""));
        at.is_some_and(|at| !self.trusts_clock(now) || now.saturating_sub(at) < time.as_secs())
    }

    /// Writes down that so many octets more came today (UTC). Durable with the next sync.
    pub fn receive(&mut self, octets: u64, now: u64) -> Result<(), Error> {
        if octets == 0 {
            return Ok(());
        }
        let (day, all) = (day(now), self.received(now).saturating_add(octets));
        let (note, id) = (Some(RECEIVED.into()), Some(id_text(&day)));
        self.append_line(&Line { note, id, octets: Some(all), at: Some(now), ..Line::default() })?;
        self.loaded.others += 1;
        self.loaded.received = Some((day, all));
        Ok(())
    }

    /// How many octets came today (UTC), as far as that was written down.
    pub fn received(&self, now: u64) -> u64 {
        let today = self.loaded.received.as_ref().filter(|(on, _)| *on == day(now));
        today.map_or(0, |(_, octets)| *octets)
    }

    /// Writes down that notes are not so any more.
    pub fn note_over<'i>(&mut self, word: &str, ids: impl IntoIterator<Item = &'i [u8]>) -> Result<(), Error> {
        let ids: Vec<&[u8]> = ids.into_iter().filter(|id| self.has_note(word, id)).collect();
        let mut text = vec![];
        for id in &ids {
            Line { note: Some(word.into()), id: Some(id_text(id)), over: true, ..Line::default() }.write(&mut text);
        }
        self.append(&text, ids.len() as u32)?;
        self.loaded.others += ids.len() as u32;
        ids.into_iter().for_each(|id| self.loaded.notes.remove(word, id));
        Ok(())
    }

    /// True for a message that may be another one than it was recorded as.
    pub fn is_doubtful(&self, id: &[u8]) -> bool {
        self.noted(DOUBTFUL).is_some_and(|noted| noted.contains(id) || noted.contains(b""))
    }

    /// Notes messages that may be others than they were recorded as; all of them, where they are too many to be named.
    pub fn doubt<'i>(&mut self, ids: impl IntoIterator<Item = &'i [u8]>, at: u64) -> Result<(), Error> {
        for id in ids {
            if !self.note(DOUBTFUL, id, at)? {
                return self.note(DOUBTFUL, b"", at).map(drop);
            }
        }
        Ok(())
    }

    /// True when there is such a note.
    pub fn has_note(&self, word: &str, id: &[u8]) -> bool {
        self.noted(word).is_some_and(|noted| noted.contains(id))
    }

    /// The messages with such a note; `None` when there are none.
    pub fn noted(&self, word: &str) -> Option<&Noted> {
        self.loaded.notes.of(word)
    }

    /// Writes down that messages go to this Maildir or mbox, unless that is known.
    pub fn note_target(&mut self, target: &Target) -> Result<(), Error> {
        if self.loaded.lanes.is_noted(target) || self.has_note(&target_word(target), b"") {
            return Ok(());
        }
        let mut text = vec![];
        lane::line(target).write(&mut text);
        self.append(&text, 1)?;
        self.loaded.lanes.note(target);
        self.loaded.others += 1;
        Ok(())
    }

    /// Writes down what the mailbox of a lane of this run keeps of messages. Durable with the next sync.
    pub fn note_keeps(&mut self, lane: usize, keeps: Keeps, at: u64) -> Result<(), Error> {
        let Some(name) = self.loaded.lanes.own_name(lane) else { return Ok(()) };
        let kept = [(keeps.octets, 'o'), (keeps.size, 's'), (keeps.date, 'd')];
        let kept: String = kept.iter().filter(|(is_kept, _)| *is_kept).map(|(_, letter)| letter).collect();
        self.note(&format!("{}{kept}", keeps_word(&name)), b"", at).map(drop)
    }

    /// What the mailbox keeps of messages, where that is known.
    pub fn keeps(&self, target: &Target) -> Option<Keeps> {
        let word = keeps_word(&lane::Lane::of(target).name());
        let kept = self.loaded.notes.words().find_map(|(noted, _)| noted.strip_prefix(&word))?;
        let [octets, size, date] = ['o', 's', 'd'].map(|letter| kept.contains(letter));
        Some(Keeps { octets, size, date })
    }

    /// True when messages have gone to this Maildir or mbox, as a note or the line of one of them says.
    pub fn has_delivered_to(&self, target: &Target) -> bool {
        self.has_note(&target_word(target), b"") || self.loaded.lanes.has_history(target)
    }

    /// True while nothing has been fetched to one of these targets, nor counts as fetched, as far as anybody knows.
    pub fn is_blank(&self, targets: &[Target]) -> bool {
        self.loaded.facts.is_empty()
            && !self.is_undecided
            && !targets.iter().any(|target| self.has_delivered_to(target))
    }

    /// Writes down what the listing says of known messages.
    fn relist(&mut self, relisted: &[Relisted]) -> Result<(), Error> {
        if relisted.is_empty() {
            return Ok(());
        }
        let mut text = vec![];
        for Relisted { fact, octets, at } in relisted {
            let nth = Some(self.loaded.facts.get(*fact).nth).filter(|nth| *nth > 1);
            let listed = Some(id_text(self.loaded.facts.id(*fact)));
            Line { listed, nth, octets: *octets, at: *at, ..Line::default() }.write(&mut text);
        }
        self.append(&text, relisted.len() as u32)?;
        relisted.iter().for_each(|relisted| self.loaded.listed(relisted.fact, relisted.octets, relisted.at));
        Ok(())
    }

    /// Facts that a listing mends: those that came back, and those that were first seen while the clock was wrong.
    fn mended(&self, listed: &[bool], now: u64) -> Vec<Relisted> {
        let listed = (0..).zip(listed).filter(|(_, is_listed)| **is_listed).map(|(fact, _)| fact);
        let mended = listed.filter_map(|fact| {
            let known = self.loaded.facts.get(fact);
            let is_undated = known.state != State::Deleted && !is_date(u64::from(known.at));
            let is_back = known.state == State::Gone;
            (is_back || is_undated).then_some(Relisted { fact, octets: None, at: is_undated.then_some(now) })
        });
        mended.collect()
    }

    /// False while the clock is surely wrong: before this release, before the newest date of the ledger, or absurd.
    /// What depends on how much time has passed has to wait then.
    pub fn trusts_clock(&self, now: u64) -> bool {
        (RELEASE..LATEST).contains(&now) && self.newest <= now
    }

    /// The newest date of the ledger, when a clock that could be right stands before it, and the unique-id that has it.
    /// Either the clock is behind, or it was ahead once.
    pub fn later_date(&self, now: u64) -> Option<(u64, &[u8])> {
        let is_later = (RELEASE..LATEST).contains(&now) && self.newest > now;
        is_later.then(|| (self.newest, self.loaded.facts.id_of_date(self.newest).unwrap_or_default()))
    }

    /// Notes that a run has succeeded.
    pub fn succeeded(&self) {
        self.lock.iter().for_each(Lock::succeeded);
    }

    /// When a run of this maildrop last succeeded: seconds since 1970.
    pub fn last_success(&self) -> Option<u64> {
        let modified = fs::metadata(self.path.with_extension("lock")).and_then(|lock| lock.modified()).ok()?;
        Some(modified.duration_since(UNIX_EPOCH).ok()?.as_secs()).filter(|at| is_date(*at))
    }

    /// The words of its notes, and how many messages each is about; the maildrop itself counts as one.
    pub fn notes(&self) -> impl Iterator<Item = (&str, usize)> {
        self.loaded.notes.words()
    }

    /// Makes everything durable that was written. After a failure nothing more is written, by whichever lane: the kernel
    /// reports a lost page once, and another sync would succeed and prove nothing.
    pub fn sync(&mut self) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::Closed);
        }
        if !self.is_synced && !self.is_pretended {
            let synced = self.file.sync_data();
            self.is_closed = synced.is_err();
            synced.map_err(Error::io("sync", &self.path))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// Forgets what is over, as a complete listing tells: notes which messages are gone, and rewrites the file without
    /// those that were deleted, or gone for [`GONE`], when it is mostly made of them. What was delivered since the
    /// listing stays. The old file is valid until the new one is durable.
    ///
    /// Nothing of it is done while the clock is wrong ([`Ledger::trusts_clock`]).
    pub fn settle(&mut self, listing: &Listing, standings: &Standings, now: u64) -> Result<(), Error> {
        if !self.trusts_clock(now) {
            return Ok(());
        }
        if self.loaded.facts.are_plain() && standings.has_all() {
            let kept = self.loaded.others + self.loaded.facts.len() as u32;
            return self.forget(listing, kept, |_, _| true);
        }
        let listed = standings.listed();
        let mended = self.mended(&listed, now);
        self.relist(&mended)?;
        self.gone(&listed, now)?;
        let facts = &self.loaded.facts;
        let is_needed = |number: u32, fact: &Fact| {
            let is_remembered = match fact.state {
                State::Delivered => true,
                State::Deleted => false,
                State::Gone => {
                    let since = facts.gone_since(number).unwrap_or(u32::MAX);
                    u64::from(since) + GONE.as_secs() > now
                }
            };
            is_remembered || listed.get(number as usize).copied().unwrap_or(true)
        };
        let lines = |fact: Fact| if fact.state == State::Delivered { 1 } else { 2 };
        let needed: Vec<bool> = (0..).zip(facts.iter()).map(|(number, fact)| is_needed(number, &fact)).collect();
        let kept = facts.iter().zip(&needed).filter(|(_, is_needed)| **is_needed);
        let kept_lines = self.loaded.others + kept.map(|(fact, _)| lines(fact)).sum::<u32>();
        self.forget(listing, kept_lines, |number, _| needed[number as usize])
    }

    /// Rewrites the file without what is over, and without notes about messages that are not listed, when it is mostly
    /// made of them.
    fn forget(
        &mut self,
        listing: &Listing,
        kept_lines: u32,
        is_needed: impl Fn(u32, &Fact) -> bool,
    ) -> Result<(), Error> {
        if self.octets <= COMPACTION || !self.loaded.pending.is_empty() || self.under_way > 0 {
            return Ok(());
        }
        // Few notes are not worth a look at each.
        let has_many_notes = self.loaded.others > self.loaded.lines / 4;
        if !has_many_notes && kept_lines >= self.loaded.lines / 2 {
            return Ok(());
        }
        let ids: HashSet<&[u8]> = listing.iter().map(|message| message.unique_id).collect();
        let notes = &self.loaded.notes;
        let needless = notes.unlisted(|id| ids.contains(id)) as u32;
        if kept_lines.saturating_sub(needless) >= self.loaded.lines / 2 {
            return Ok(());
        }
        self.compact(is_needed, |id| id.is_empty() || ids.contains(id))
    }

    /// Rewrites the file: the facts and the notes that are needed, and what others have added.
    fn compact(
        &mut self,
        is_needed: impl Fn(u32, &Fact) -> bool,
        is_noted: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        let mut new = self.beside()?;
        let kept = self.loaded.kept(is_needed);
        let header = self.beginning();
        let mut lanes = std::mem::take(&mut self.loaded.lanes);
        let received = self.loaded.received.take();
        let is_noted = |id: &[u8]| is_noted(id) || received.as_ref().is_some_and(|(day, _)| *day == id);
        let old = BufReader::with_capacity(64 << 10, self.reader()?);
        let written = new
            .file()
            .write_all(&header)
            .and_then(|()| rewrite::rewrite(old, new.file(), &kept, &mut lanes, None, is_noted));
        self.loaded.lanes = lanes;
        let octets = written.map_err(Error::io("rewrite", &self.path))? + header.len() as u64;
        self.replace(new)?;
        self.reload()?;
        debug_assert_eq!(self.octets, octets, "all of it was read");
        Ok(())
    }

    /// Reads the file anew; the lanes of this run stay what they are.
    fn reload(&mut self) -> Result<(), Error> {
        let file = BufReader::with_capacity(64 << 10, self.reader()?);
        let loaded = load::load(file, &self.path, &self.maildrop)?;
        let old = std::mem::replace(&mut self.loaded, loaded);
        self.loaded.batch = self.loaded.batch.max(old.batch);
        self.octets = self.loaded.whole;
        self.loaded.lanes.serve_again(&old.lanes);
        Ok(())
    }

    /// Begins a file that is to take the ledger's place.
    fn beside(&self) -> Result<Replacement, Error> {
        // Under the account's lock the name is ours; it has no random part, so that what a kill leaves can be found.
        Ok(Replacement::begin(&self.path, self.path.with_extension(REPLACEMENT))?)
    }

    /// Puts it there, durably. The old file is valid until then.
    fn replace(&mut self, new: Replacement) -> Result<(), Error> {
        new.finish()?;
        self.file = os::file::append(&self.path)?;
        self.is_synced = true;
        Ok(())
    }

    /// Appends lines, durably, of which all must be there or none, and takes them in: one write may be cut off anywhere.
    fn append_whole(&mut self, text: &[u8]) -> Result<(), Error> {
        if self.is_pretended {
            let mut memory = vec![];
            let read = self.reader()?.take(self.loaded.whole).read_to_end(&mut memory);
            read.map_err(Error::io("read", &self.path))?;
            memory.extend_from_slice(text);
            self.loaded.whole = memory.len() as u64;
            self.memory = Some(memory);
        } else {
            let mut new = self.beside()?;
            let written = io::copy(&mut self.reader()?, new.file()).and_then(|_| new.file().write_all(text));
            written.map_err(Error::io("rewrite", &self.path))?;
            self.replace(new)?;
            self.octets += text.len() as u64;
        }
        self.loaded.take_lines(text);
        Ok(())
    }

    fn append_line(&mut self, line: &Line<'_>) -> Result<(), Error> {
        let mut text = vec![];
        line.write(&mut text);
        self.append(&text, 1)
    }

    /// One write for all lines. When it fails half-way, the half is cut off again and the ledger is closed: what was
    /// not written must not be acted on.
    fn append(&mut self, text: &[u8], lines: u32) -> Result<(), Error> {
        if self.is_closed {
            return Err(Error::Closed);
        }
        if self.is_pretended {
            return Ok(());
        }
        self.is_synced = false;
        if let Err(source) = self.file.write_all(text) {
            self.is_closed = true;
            // Should this fail as well, the next run cuts the half line off.
            let _ = self.file.set_len(self.octets);
            return Err(Error::io("write", &self.path)(source));
        }
        self.octets += text.len() as u64;
        self.loaded.lines += lines;
        Ok(())
    }
}

/// The day of a time, as people write it.
fn day(now: u64) -> Vec<u8> {
    let date = i64::try_from(now).ok().and_then(|now| DateTime::from_timestamp(now, 0));
    date.map_or_else(Vec::new, |date| date.format("%F").to_string().into_bytes())
}

/// How the note begins that says what the mailbox of a lane keeps: octets, size and date, a letter each.
fn keeps_word(lane: &str) -> String {
    format!("keeps-{lane}-")
}

/// The word of the note about a target; a path itself could be as long as a line.
fn target_word(target: &Target) -> String {
    format!("target-{}", fingerprint(target.to_string().trim_end_matches('/')))
}

/// True when another line may speak of the message: an earlier one, or that of another lane.
fn is_again(key: &Key) -> bool {
    key.again || key.lanes.len() > 1
}

fn intent(key: &Key, owed: bool, batch: u64, at: u64) -> Line<'_> {
    Line {
        intend: Some(id_text(&key.unique_id)),
        batch: Some(batch),
        nth: Some(key.nth).filter(|nth| *nth > 1),
        again: is_again(key),
        owed,
        octets: key.octets,
        at: Some(at),
        head: key.head.map(|head| head.to_string().into()),
        ..Line::default()
    }
}

fn published(batch: u64, of: usize, but: &[u32]) -> Line<'static> {
    let is_partial = !but.is_empty();
    let (of, but) = (is_partial.then_some(of as u32), is_partial.then(|| but.to_vec()));
    Line { published: Some(batch), of, but, ..Line::default() }
}

fn is_taken_by_others(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered(receipt) if matches!(receipt.place(), Place::Mda | Place::Imap(_)))
}

fn absent(is_delivered: impl Iterator<Item = bool>) -> Vec<u32> {
    (0..).zip(is_delivered).filter(|(_, is_delivered)| !is_delivered).map(|(position, _)| position).collect()
}

/// The file name of the ledger of a maildrop, without its ending.
pub fn file_name(maildrop: &str) -> String {
    text::file_name(maildrop)
}

fn lock_path(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.lock"))
}

fn is_same(one: &Path, other: &Path) -> bool {
    let metadata = [one.symlink_metadata(), other.symlink_metadata()];
    matches!(metadata, [Ok(one), Ok(other)] if os::file::is_same(&one, &other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::{self, Context};
    use crate::failure::{Failure as _, Kind};
    use crate::stop::Stop;

    const MAILDROP: &str = "petar@pop.example.com";
    const NOW: u64 = 1_795_423_680;

    struct Home {
        folder: tempfile::TempDir,
    }

    impl Home {
        fn new() -> Self {
            Home { folder: tempfile::tempdir().unwrap() }
        }

        fn open(&self) -> Result<(Ledger, Notices), Error> {
            Ledger::open(self.folder.path(), "ledger", MAILDROP)
        }

        fn ledger(&self) -> Ledger {
            self.open().unwrap().0
        }

        fn text(&self) -> Vec<u8> {
            std::fs::read(self.folder.path().join("ledger.jsonl")).unwrap()
        }

        fn write(&self, text: &[u8]) {
            std::fs::write(self.folder.path().join("ledger.jsonl"), text).unwrap();
        }

        /// Delivers one batch to a Maildir, as far as the step that `until` names.
        fn deliver(&self, ledger: &mut Ledger, ids: &[&str], until: Until) -> Vec<Option<Recorded>> {
            let keys = ids.iter().zip(1..).map(|(id, number)| key(id, number)).collect();
            self.deliver_by(0, ledger, keys, until)
        }

        fn target(&self, lane: usize) -> Target {
            Target::maildir(self.folder.path().join(["Mail", "copies"][lane]))
        }

        fn deliver_by(&self, lane: usize, ledger: &mut Ledger, keys: Vec<Key>, until: Until) -> Vec<Option<Recorded>> {
            let context = Context {
                account: "work".into(),
                recipient: "petar".into(),
                spool_dir: self.folder.path().into(),
                tag: "tag".into(),
                envelope_sender: |_| None,
                mda_timeout: Duration::from_secs(5),
                owner: None,
                stop: Stop::new().unwrap(),
                network: deliver::Network::default(),
            };
            let (mut stager, mut publisher) = deliver::open(&self.target(lane), &context).unwrap();
            let staged = keys.iter().map(|key| {
                let mut stage = stager.stage(&key.unique_id, 1).unwrap();
                stage.write(&key.unique_id).unwrap();
                stage.finish().unwrap()
            });
            let synced = publisher.sync(staged.collect()).unwrap();
            let (intended, batch) = ledger.intend(lane, keys.into_iter().zip(synced).collect(), NOW).unwrap();
            if until == Until::Intended {
                return vec![];
            }
            let outcomes = publisher.publish(Box::new(intended)).unwrap();
            if until == Until::Published { vec![] } else { ledger.record(batch, &outcomes).unwrap() }
        }
    }

    #[derive(PartialEq)]
    enum Until {
        Intended,
        Published,
        Recorded,
    }

    fn key(id: &str, number: u32) -> Key {
        Key { unique_id: id.into(), octets: Some(9), ..Key::new(MessageNumber(number)) }
    }

    fn listing(ids: &[&str]) -> Listing {
        let mut listing = Listing::default();
        for (id, number) in ids.iter().zip(1..) {
            assert!(listing.push(MessageNumber(number), id.as_bytes()));
            listing.set_octets(listing.len() - 1, 9);
        }
        listing
    }

    fn known(ledger: &mut Ledger, ids: &[&str]) -> Vec<bool> {
        let listing = listing(ids);
        let standings = ledger.locate(&listing);
        (0..ids.len()).map(|position| matches!(standings.get(position), Standing::Known(_))).collect()
    }

    #[test]
    fn what_was_recorded_is_known_to_the_next_run() {
        let home = Home::new();
        home.deliver(&mut home.ledger(), &["a", "b \"x\"", "\u{1}ü"], Until::Recorded);
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices, Notices::default());
        assert!(ledger.pending().is_empty());
        assert_eq!(known(&mut ledger, &["a", "b \"x\"", "\u{1}ü", "c"]), [true, true, true, false]);
        assert_eq!(ledger.facts().get(0).at, NOW as u32);
    }

    #[test]
    fn a_message_may_be_deleted_when_every_lane_that_it_is_for_has_it_in_one_session() {
        let home = Home::new();
        let mut ledger = home.ledger();
        ledger.serve(&[home.target(0), home.target(1)], Wanted::Unsettled);
        let both = |id: &str| vec![Key { lanes: Lanes::first(2), ..key(id, 1) }];
        assert_eq!(home.deliver_by(1, &mut ledger, both("a"), Until::Recorded), [None]);
        // In another session the same number is another message's.
        known(&mut ledger, &["b"]);
        assert_eq!(home.deliver_by(0, &mut ledger, both("b"), Until::Recorded), [None]);
        let recorded = home.deliver_by(1, &mut ledger, both("b"), Until::Recorded);
        assert!(matches!(recorded[..], [Some(_)]));
        let lacks = |ledger: &Ledger, fact: u32| ledger.lacks(&ledger.facts().get(fact));
        assert_eq!((lacks(&ledger, 0).has(0), lacks(&ledger, 0).has(1)), (true, false));
        assert!(lacks(&ledger, 1).is_empty());
    }

    #[test]
    fn an_intent_without_record_is_looked_up_and_resolved() {
        for (until, is_known) in [(Until::Intended, false), (Until::Published, true)] {
            let home = Home::new();
            home.deliver(&mut home.ledger(), &["a"], until);
            // Without the file in tmp/, an intended message is not there.
            let tmp = home.folder.path().join("Mail/tmp");
            std::fs::remove_dir_all(&tmp).unwrap();
            std::fs::create_dir(&tmp).unwrap();
            let mut ledger = home.ledger();
            let pending = ledger.pending();
            assert_eq!(pending.len(), 1);
            let found: Vec<_> = pending[&1].iter().map(recovered).collect();
            ledger.resolve(1, &found).unwrap();
            drop(ledger);
            let mut ledger = home.ledger();
            assert!(ledger.pending().is_empty());
            assert_eq!(known(&mut ledger, &["a"]), [is_known]);
        }
    }

    fn recovered(place: &Place) -> Recovered {
        let context = Context {
            account: String::new(),
            recipient: String::new(),
            spool_dir: "/nonexistent".into(),
            tag: "tag".into(),
            envelope_sender: |_| None,
            mda_timeout: Duration::ZERO,
            owner: None,
            stop: Stop::new().unwrap(),
            network: deliver::Network::default(),
        };
        deliver::recover(std::slice::from_ref(place), &[], &context).unwrap().remove(0)
    }

    #[test]
    fn a_ledger_cut_anywhere_is_repaired_and_never_invents() {
        let home = Home::new();
        home.deliver(&mut home.ledger(), &["a", "b"], Until::Recorded);
        let text = home.text();
        for cut in 0..text.len() {
            home.write(&text[..cut]);
            let (mut ledger, notices) = home.open().unwrap();
            assert_eq!(notices.damaged, [0u32; 0], "cut at {cut}");
            let header = text.iter().position(|octet| *octet == b'\n').unwrap();
            assert_eq!(notices.is_missing, cut <= header, "cut at {cut}: less than a header knows nothing");
            assert_eq!(known(&mut ledger, &["a", "b"]), [false, false], "cut at {cut}");
            drop(ledger);
            let repaired = home.text();
            assert!(repaired.ends_with(b"\n") && (text.starts_with(&repaired) || cut <= header), "cut at {cut}");
        }
    }

    #[test]
    fn damaged_lines_are_told_kept_and_passed_over() {
        let home = Home::new();
        let mut ledger = home.ledger();
        home.deliver(&mut ledger, &["a"], Until::Recorded);
        home.deliver(&mut ledger, &["b"], Until::Recorded);
        drop(ledger);
        let text = String::from_utf8(home.text()).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        let long = "x".repeat(100_000);
        lines.splice(1..1, ["{\"deleted\":\"zzz\"}", "\u{0}garbage", &long, ""]);
        home.write((lines.join("\n") + "\n").as_bytes());
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices.damaged, [2, 3, 4, 5]);
        assert!(notices.kept.unwrap().exists());
        assert_eq!(known(&mut ledger, &["a", "b"]), [true, true]);
        drop(ledger);
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices, Notices::default());
        assert_eq!(known(&mut ledger, &["a", "b"]), [true, true]);
    }

    #[test]
    fn a_damaged_intent_makes_nobody_guess_who_was_refused() {
        let intent = |id: &str| format!("{{\"intend\":\"{id}\",\"batch\":1,\"octets\":9,\"at\":1,\"mda\":true}}\n");
        let record = "{\"published\":1,\"of\":3,\"but\":[2]}\n";
        let header = format!("{{\"popfetch\":1,\"maildrop\":\"{MAILDROP}\"}}\n");
        let home = Home::new();
        home.write([&header, &intent("a"), &intent("b"), &intent("c"), record].concat().as_bytes());
        assert_eq!(known(&mut home.ledger(), &["a", "b", "c"]), [true, true, false]);
        home.write([&header, &intent("a"), "garbage\n", &intent("c"), record].concat().as_bytes());
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices.damaged, [3, 5]);
        assert_eq!(known(&mut ledger, &["a", "b", "c"]), [false, false, false]);
    }

    #[test]
    fn an_intent_whose_place_is_damaged_is_fetched_again() {
        let header = format!("{{\"popfetch\":1,\"maildrop\":\"{MAILDROP}\"}}\n");
        let home = Home::new();
        home.write([&header, "{\"intend\":\"a\",\"batch\":1,\"at\":1,\"maildir\":\"/x\",\"na}\n"].concat().as_bytes());
        let (ledger, notices) = home.open().unwrap();
        assert_eq!(notices.damaged, [2]);
        assert_eq!(ledger.pending()[&1], [Place::Mda]);
    }

    #[test]
    fn a_newer_format_and_another_maildrop_are_refused() {
        let home = Home::new();
        home.write(b"{\"popfetch\":4}\n");
        assert!(matches!(home.open(), Err(Error::Future { version: 4, .. })));
        home.write(b"{\"popfetch\":1,\"maildrop\":\"other@host\"}\n");
        let error = home.open().unwrap_err();
        assert!(error.kind() == Kind::BadState && error.to_string().contains("`other@host`"), "{error}");
    }

    #[test]
    fn one_run_holds_the_account_and_the_other_learns_who() {
        let home = Home::new();
        let held = home.ledger();
        let error = home.open().unwrap_err();
        assert!(error.is_transient());
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        home.ledger();
    }

    #[test]
    fn a_ledger_that_vanished_is_said() {
        let home = Home::new();
        assert_eq!(home.open().unwrap().1, Notices::default());
        std::fs::remove_file(home.folder.path().join("ledger.jsonl")).unwrap();
        assert!(home.open().unwrap().1.is_missing);
    }

    #[test]
    fn a_first_run_that_was_killed_before_it_had_a_ledger_is_no_loss() {
        let home = Home::new();
        home.ledger();
        std::fs::write(home.folder.path().join("ledger.lock"), "").unwrap();
        let header = format!("{{\"popfetch\":3,\"maildrop\":\"{MAILDROP}\"}}\n");
        let zeros = "\0".repeat(header.len() - 1);
        let torn = [format!("{zeros}\n"), header.replacen("popfetch", "\0\0\0fetch", 1), format!("{{{zeros}")];
        let torn = torn.iter().map(|torn| Some(torn.as_str()));
        for left in [None, Some(""), Some("{\"popfetch\":1,\"mail"), Some("\0\0\0")].into_iter().chain(torn) {
            std::fs::remove_file(home.folder.path().join("ledger.jsonl")).unwrap();
            std::fs::write(home.folder.path().join("ledger.lock"), "").unwrap();
            left.iter().for_each(|left| home.write(left.as_bytes()));
            assert_eq!(home.open().unwrap().1, Notices::default(), "{left:?}");
        }
    }

    #[test]
    fn what_is_no_ledger_is_refused_and_left_alone() {
        let home = Home::new();
        let headless = "{\"delivered\":\"x\",\"octets\":9,\"at\":1}\n";
        for text in [headless, "garbage", "garbage\n", "\n", "{\"popfetch\":", "{}\n", &"x".repeat(100_000)] {
            home.write(text.as_bytes());
            let folder = home.folder.path();
            let door = Door { folder, name: "ledger", maildrop: MAILDROP, ledgers: &|| &[], is_decided: false };
            let error = door.fetch().err();
            match text.starts_with("{\"pop") {
                true => assert!(error.is_none(), "{text:?} is the beginning of a header"),
                false => {
                    assert_eq!(error.expect("it is refused").kind(), Kind::BadState, "{text:?}");
                    assert_eq!(home.text(), text.as_bytes());
                }
            }
        }
    }

    #[test]
    fn only_an_ordinary_file_is_read() {
        let home = Home::new();
        let [ledger, lock] = ["ledger.jsonl", "ledger.lock"].map(|name| home.folder.path().join(name));
        let precious = home.folder.path().join("precious");
        for path in [&ledger, &lock] {
            let plants: [&dyn Fn(); 3] = [
                &|| std::fs::create_dir(path).unwrap(),
                &|| std::os::unix::fs::symlink(&precious, path).unwrap(),
                &|| rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::RWXU).unwrap(),
            ];
            for plant in plants {
                let _ = std::fs::remove_file(path);
                plant();
                assert!(matches!(home.open(), Err(Error::NotOurs { .. })));
                assert!(!precious.exists());
                std::fs::remove_file(path).or_else(|_| std::fs::remove_dir(path)).unwrap();
            }
        }
    }

    #[test]
    fn damage_that_has_to_wait_for_recovery_is_kept_once() {
        let home = Home::new();
        let mut ledger = home.ledger();
        home.deliver(&mut ledger, &["a"], Until::Published);
        drop(ledger);
        home.write(&[home.text(), b"nonsense\n".to_vec()].concat());
        let kept: Vec<_> = (0..2).map(|_| home.open().unwrap().1.kept.unwrap()).collect();
        assert_eq!(kept[0], kept[1]);
    }

    #[test]
    fn a_compaction_that_was_killed_leaves_nothing() {
        let home = Home::new();
        home.ledger();
        let new = home.folder.path().join("ledger.new");
        std::fs::write(&new, "half").unwrap();
        home.ledger();
        assert!(!new.exists());
    }

    #[test]
    fn no_number_in_a_line_is_too_large() {
        let home = Home::new();
        home.ledger();
        let line = format!("{{\"intend\":\"x\",\"batch\":{0},\"at\":{0},\"octets\":{0},\"mda\":true}}\n", u64::MAX);
        home.write(&[home.text(), line.into_bytes()].concat());
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices.damaged, [2]);
        home.deliver(&mut ledger, &["a"], Until::Recorded);
    }

    #[test]
    fn deleted_and_gone_are_told_apart() {
        let home = Home::new();
        let mut ledger = home.ledger();
        let recorded = home.deliver(&mut ledger, &["a", "b", "c"], Until::Recorded).into_iter().flatten().collect();
        let committed = ledger.commit(recorded).unwrap();
        ledger.deleted(&committed[..1], NOW).unwrap();
        let listed = listing(&["c"]);
        let standings = ledger.locate(&listed);
        home.deliver(&mut ledger, &["d"], Until::Recorded);
        ledger.settle(&listed, &standings, NOW + 5).unwrap();
        drop(ledger);
        let ledger = home.ledger();
        let states: Vec<_> = ledger.facts().iter().map(|fact| fact.state).collect();
        assert_eq!(states, [State::Deleted, State::Gone, State::Delivered, State::Delivered]);
        assert_eq!((ledger.facts().get(1).at, ledger.facts().gone_since(1)), (NOW as u32, Some(NOW as u32 + 5)));
    }

    #[test]
    fn a_run_that_finds_nothing_new_writes_nothing() {
        let home = Home::new();
        let ids: Vec<String> = (0..1000).map(|n| format!("a-long-unique-id-of-message-{n:06}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let mut ledger = home.ledger();
        let before = ledger.locate(&listing(&ids));
        home.deliver(&mut ledger, &ids, Until::Recorded);
        ledger.settle(&listing(&ids), &before, NOW).unwrap();
        drop(ledger);
        let text = home.text();
        assert_eq!(text.split(|octet| *octet == b'\n').count(), 1003, "header, intents, record, and nothing behind");
        let mut ledger = home.ledger();
        let standings = ledger.locate(&listing(&ids));
        ledger.settle(&listing(&ids), &standings, NOW).unwrap();
        assert!(home.text() == text);
    }

    #[test]
    fn compaction_keeps_what_is_listed_or_remembered_and_the_lock() {
        let home = Home::new();
        let mut ledger = home.ledger();
        let ids: Vec<String> = (0..400).map(|n| format!("id{n:04}-{}", "x".repeat(60))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let recorded = home.deliver(&mut ledger, &ids, Until::Recorded).into_iter().flatten().collect();
        let committed = ledger.commit(recorded).unwrap();
        ledger.deleted(&committed[..395], NOW).unwrap();
        let before = home.text().len();
        let listed = listing(&ids[394..398]);
        let standings = ledger.locate(&listed);
        ledger.settle(&listed, &standings, NOW).unwrap();
        assert!(home.text().len() < before / 10);
        assert!(home.open().unwrap_err().is_transient(), "the lock survives the rename");
        home.deliver(&mut ledger, &["later"], Until::Recorded);
        drop(ledger);
        let mut ledger = home.ledger();
        assert_eq!(ledger.facts().len(), 7);
        assert_eq!(known(&mut ledger, &ids[393..]), [false, true, true, true, true, true, true]);
        assert_eq!(known(&mut ledger, &["later"]), [true]);
        assert_eq!(ledger.facts().get(0).state, State::Deleted);
        assert!(String::from_utf8(home.text()).unwrap().contains("\"maildir\""), "where it went is kept");
    }

    /// A lane may have failed in the first session of a run, and the second one may compact.
    #[test]
    fn a_batch_without_an_outcome_is_not_compacted_away() {
        let home = Home::new();
        let mut ledger = home.ledger();
        let ids: Vec<String> = (0..400).map(|n| format!("id{n:04}-{}", "x".repeat(60))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let recorded = home.deliver(&mut ledger, &ids, Until::Recorded).into_iter().flatten().collect();
        let committed = ledger.commit(recorded).unwrap();
        ledger.deleted(&committed, NOW).unwrap();
        home.deliver(&mut ledger, &["open"], Until::Published);
        settle(&mut ledger, &[], NOW);
        drop(ledger);
        assert_eq!(home.ledger().pending().len(), 1);
    }

    fn settle(ledger: &mut Ledger, ids: &[&str], now: u64) {
        let listed = listing(ids);
        let standings = ledger.locate(&listed);
        ledger.settle(&listed, &standings, now).unwrap();
    }

    const DAY: u64 = 86400;

    #[test]
    fn what_is_listed_again_is_remembered_as_if_it_had_never_been_gone() {
        let home = Home::new();
        let ids: Vec<String> = (0..600).map(|n| format!("id{n:04}-{}", "x".repeat(60))).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        home.deliver(&mut home.ledger(), &ids, Until::Recorded);
        settle(&mut home.ledger(), &[], NOW + DAY);
        settle(&mut home.ledger(), &ids, NOW + 2 * DAY);
        let ledger = home.ledger();
        assert!(ledger.facts().iter().all(|fact| (fact.state, fact.at) == (State::Delivered, NOW as u32)));
        drop(ledger);
        settle(&mut home.ledger(), &[], NOW + 40 * DAY);
        settle(&mut home.ledger(), &[], NOW + 69 * DAY);
        assert_eq!(home.ledger().facts().len(), 600, "gone for 29 days");
        settle(&mut home.ledger(), &[], NOW + 71 * DAY);
        assert_eq!(home.ledger().facts().len(), 0, "gone for 31 days");
    }

    #[test]
    fn a_wrong_clock_settles_nothing() {
        for wrong in [0, 50, NOW - 1, RELEASE - 1, LATEST, u64::from(u32::MAX), u64::MAX] {
            let home = Home::new();
            home.deliver(&mut home.ledger(), &["a"], Until::Recorded);
            let before = home.text();
            settle(&mut home.ledger(), &[], wrong);
            assert_eq!(home.text(), before, "{wrong}");
        }
    }

    #[test]
    fn a_date_of_a_wrong_clock_counts_from_the_first_run_with_a_right_one() {
        let home = Home::new();
        home.ledger();
        let line = |at: u64, id: &str| format!("{{\"delivered\":\"{id}\",\"octets\":9,\"at\":{at}}}\n");
        let lines = [line(50, "a"), line(4_102_444_800, "b"), line(NOW - DAY, "c"), line(50, "d")].concat();
        home.write(&[home.text(), lines.into_bytes()].concat());
        settle(&mut home.ledger(), &["a", "b", "c"], NOW);
        let dates: Vec<u32> = home.ledger().facts().iter().map(|fact| fact.at).collect();
        let now = NOW as u32;
        assert_eq!(dates, [now, now, now - DAY as u32, 50]);
    }

    #[test]
    fn an_earlier_format_is_rewritten_as_soon_as_nothing_in_it_is_open() {
        let home = Home::new();
        home.deliver(&mut home.ledger(), &["a"], Until::Recorded);
        home.deliver(&mut home.ledger(), &["b"], Until::Published);
        let old = String::from_utf8(home.text()).unwrap().replacen("\"popfetch\":3", "\"popfetch\":1", 1);
        home.write(old.as_bytes());
        let mut ledger = home.ledger();
        assert!(home.text().starts_with(b"{\"popfetch\":1,"), "an intent waits for its answer");
        let found: Vec<_> = ledger.pending()[&2].iter().map(recovered).collect();
        ledger.resolve(2, &found).unwrap();
        assert!(home.text().starts_with(b"{\"popfetch\":3,"));
        assert_eq!(known(&mut ledger, &["a", "b", "c"]), [true, true, false]);
        drop(ledger);
        assert_eq!(known(&mut home.ledger(), &["a", "b", "c"]), [true, true, false]);
    }

    #[test]
    fn what_others_and_later_releases_add_is_skipped_and_kept() {
        let home = Home::new();
        home.ledger();
        let added = "{\"delivered\":\"a\",\"octets\":9,\"at\":1795000000,\"mda\":true,\"new\":{\"b\":[1]},\"ü\":\"\\u0001\"}\n\
                     {\"x-note\":1,\"deleted\":\"a\"}\nx-plain\n{\"note\":\"word\",\"id\":\"a\",\"at\":1795000000}\n\
                     {\"note\":\"word\",\"id\":\"b\",\"at\":1795000000}\n{\"note\":\"all\",\"id\":\"\",\"at\":1795000000}\n";
        home.write(&[home.text(), added.as_bytes().to_vec()].concat());
        let (mut ledger, notices) = home.open().unwrap();
        assert_eq!(notices, Notices::default());
        assert_eq!(known(&mut ledger, &["a"]), [true]);
        assert!(ledger.has_note("word", b"a") && ledger.has_note("all", b"") && !ledger.has_note("word", b"c"));
        ledger.compact(|_, _| true, |id| id != b"b").unwrap();
        assert!(ledger.has_note("word", b"a") && ledger.has_note("all", b"") && !ledger.has_note("word", b"b"));
        let text = String::from_utf8(home.text()).unwrap();
        for kept in ["\"new\":{\"b\":[1]}", "\"ü\":\"\\u0001\"", "{\"x-note\":1,\"deleted\":\"a\"}\n", "\nx-plain\n"] {
            assert!(text.contains(kept), "{kept}: {text}");
        }
        drop(ledger);
        assert_eq!(home.open().unwrap().1, Notices::default());
    }

    #[test]
    fn a_damaged_line_about_a_target_is_left_behind_like_any_other() {
        let home = Home::new();
        home.ledger();
        let lines = b"{\"maildir\":\"/m\"}\0{\"intend\":\n{\"mbox\":\"/b\"}\n";
        home.write(&[home.text(), lines.to_vec()].concat());
        assert_eq!(home.open().unwrap().1.damaged, [2]);
        assert_eq!(home.open().unwrap().1, Notices::default());
        assert!(home.text().ends_with(b"{\"mbox\":\"/b\"}\n"), "the sound one is kept");
    }

    #[test]
    fn of_failures_in_a_row_the_last_line_counts_and_compaction_keeps_no_other() {
        use crate::failing::{Cause, Failing, Trouble};
        let home = Home::new();
        let mut ledger = home.ledger();
        home.deliver(&mut ledger, &["a"], Until::Recorded);
        assert!(ledger.failing(None).is_none() && ledger.note_mended(None).unwrap().is_none());
        let mut failing = None;
        for (nth, (cause, words)) in
            [(Cause::Network, "x"), (Cause::Network, "x"), (Cause::Target, "y")].into_iter().enumerate()
        {
            let next = Failing::of_account(failing.as_ref(), Trouble::new(cause, words), false, None, NOW + nth as u64);
            ledger.note_failing(None, next.clone()).unwrap();
            failing = Some(Failing { said: NOW, ..next });
        }
        ledger.note_failing(None, failing.clone().unwrap()).unwrap();
        drop(ledger);
        let mut ledger = home.ledger();
        assert_eq!(ledger.failing(None), failing.as_ref());
        let count = |home: &Home| String::from_utf8(home.text()).unwrap().matches("\"failing\"").count();
        assert_eq!(count(&home), 4);
        ledger.compact(|_, _| true, |_| true).unwrap();
        assert_eq!((ledger.failing(None), count(&home)), (failing.as_ref(), 1));
        drop(ledger);
        let mut ledger = home.ledger();
        assert_eq!((ledger.note_mended(None).unwrap(), ledger.failing(None)), (failing, None));
        ledger.compact(|_, _| true, |_| true).unwrap();
        assert_eq!(count(&home), 0);
        // What was written by hand, or by a later release.
        let line =
            "{\"note\":\"failing\",\"id\":\"\",\"at\":5,\"since\":4,\"times\":2,\"why\":\"new words\",\"x\":1}\n";
        home.write(&[home.text(), line.as_bytes().to_vec(), b"{\"note\":\"failing\",\"id\":\"\"}\n".to_vec()].concat());
        drop(ledger);
        let (ledger, notices) = home.open().unwrap();
        assert_eq!(notices.damaged.len(), 1);
        assert_eq!(
            (ledger.failing(None).unwrap().trouble.cause, ledger.failing(None).unwrap().said),
            (Cause::Other, 0)
        );
    }

    #[test]
    fn a_note_is_written_once() {
        let home = Home::new();
        let mut ledger = home.ledger();
        ledger.note("word", b"\xff", NOW).unwrap();
        let text = home.text();
        ledger.note("word", b"\xff", NOW + 1).unwrap();
        drop(ledger);
        assert_eq!(home.text(), text);
        assert!(home.ledger().has_note("word", b"\xff"));
    }
}
