//! Reading a ledger: lines to facts, and the intents whose outcome nobody recorded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::{BufRead, Read as _};
use std::ops::Range;
use std::path::Path;

use super::brief::{Brief, brief};
use super::error::Error;
use super::facts::{Decided, Fact, Facts, State, comparable};
use super::failing::{self, FAILING};
use super::lane::{ELSEWHERE, LaneSet, Number, Table};
use super::line::{Line, VERSION, id_octets, is_foreign};
use super::notes::{Notes, RECEIVED, WORDS};
use super::quarantine::{REFUSALS, Refusals};
use super::rewrite::Kept;
use crate::account::Keep;
use crate::deliver::Place;
use crate::failing::Failing;

/// A line longer than this is nobody's fact.
const LINE: u64 = 64 << 10;

/// Ids together, so that offsets fit 32 bits.
const IDS: usize = 1 << 31;

/// An intent, until its batch is known to be published or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub batch: u64,
    nth: u32,
    again: bool,
    reused: bool,
    owed: bool,
    lane: Number,
    octets: u32,
    at: u32,
    line: u32,
    /// Where its id, and its whole line, stand in the text of pending intents.
    id: Range<usize>,
    text: Range<usize>,
}

/// A ledger as it was found.
#[derive(Debug, Default)]
pub struct Loaded {
    pub facts: Facts,
    /// The lanes that they speak of.
    pub lanes: Table,
    /// Intents without outcome, in the order of the file.
    pub pending: Vec<Intent>,
    /// Their ids and lines.
    pending_text: Vec<u8>,
    /// The highest batch number in use.
    pub batch: u64,
    /// Lines of the file.
    pub lines: u32,
    /// Octets up to the last line end; what follows is a line that was cut off.
    pub whole: u64,
    /// Octets in all.
    pub octets: u64,
    /// Numbers of lines that make no sense.
    pub damaged: Vec<u32>,
    /// The format of the file.
    pub version: u32,
    /// Words to remember about messages.
    pub notes: Notes,
    /// Failures in a row: of the account under an empty name, of a lane under its own.
    pub failing: BTreeMap<Vec<u8>, Failing>,
    /// Messages that lanes refuse.
    pub refusals: Refusals,
    /// The newest note about octets that came: its day, and how many.
    pub received: Option<(Vec<u8>, u64)>,
    /// Lines that are neither facts nor batches: notes, and what others have added.
    pub others: u32,
}

/// Reads everything. Only a file that is no ledger, or one of a newer format or of another maildrop, is an error; a
/// damaged line is noted.
pub fn load(mut file: impl BufRead, path: &Path, maildrop: &str) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    let mut text = vec![];
    loop {
        if loaded.lines > 0 {
            loaded.take_briefs(&mut file).map_err(Error::io("read", path))?;
        }
        text.clear();
        let octets = file.by_ref().take(LINE).read_until(b'\n', &mut text).map_err(Error::io("read", path))?;
        if octets == 0 {
            loaded.check_places();
            return Ok(loaded);
        }
        loaded.octets += octets as u64;
        if text.last() != Some(&b'\n') {
            let skipped = skip_line(&mut file).map_err(Error::io("read", path))?;
            loaded.octets += skipped.octets;
            if !skipped.is_ended {
                loaded.check_places();
                return loaded.cut_off(&text, path, maildrop);
            }
            if !is_foreign(&text) {
                text.clear();
            }
        }
        loaded.lines += 1;
        loaded.whole = loaded.octets;
        // The first line is the header, or this is no ledger.
        if let Some(brief) = brief(&text).filter(|_| loaded.lines > 1) {
            loaded.take_brief(&brief, &text);
            continue;
        }
        let line = serde_json::from_slice::<Line<'_>>(&text).ok();
        if loaded.lines == 1 {
            if is_begun(&text, maildrop) && file.fill_buf().map_err(Error::io("read", path))?.is_empty() {
                return Ok(Loaded { octets: loaded.octets, ..Loaded::default() });
            }
            loaded.version = check_header(line.as_ref(), path, maildrop)?;
            continue;
        }
        if is_foreign(&text) {
            loaded.others += 1;
            continue;
        }
        if line.and_then(|line| loaded.apply(&line, &text)).is_none() {
            loaded.damaged.push(loaded.lines);
        }
    }
}

struct Skipped {
    octets: u64,
    is_ended: bool,
}

/// Passes over the rest of an overlong line in bounded memory.
fn skip_line(file: &mut impl BufRead) -> std::io::Result<Skipped> {
    let mut skipped = Skipped { octets: 0, is_ended: false };
    loop {
        let buffer = file.fill_buf()?;
        let (used, found) = match memchr::memchr(b'\n', buffer) {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        file.consume(used);
        skipped.octets += used as u64;
        if found || used == 0 {
            return Ok(Skipped { is_ended: found, ..skipped });
        }
    }
}

/// Returns the format.
fn check_header(line: Option<&Line<'_>>, path: &Path, maildrop: &str) -> Result<u32, Error> {
    let Some(Line { popfetch: Some(version), maildrop: owner, .. }) = line else {
        return Err(Error::Alien { path: path.into() });
    };
    if *version > VERSION {
        return Err(Error::Future { path: path.into(), version: *version });
    }
    match owner.as_deref() {
        Some(owner) if owner != maildrop => Err(Error::Foreign { path: path.into(), maildrop: owner.into() }),
        _ => Ok(*version),
    }
}

/// True for what a run that was stopped, or a power cut, has left of a header: not all of it, or zeros instead.
fn is_begun(text: &[u8], maildrop: &str) -> bool {
    (1..=VERSION).any(|version| {
        let mut header = vec![];
        Line { popfetch: Some(version), ..Line::header(maildrop) }.write(&mut header);
        let is_like =
            text.len() <= header.len() && text.iter().zip(&header).all(|(one, whole)| [0, *whole].contains(one));
        is_like && text != header
    })
}

impl Loaded {
    /// The file ends within a line. A first one is thrown away only when it is surely what a run that was stopped left
    /// while it began this ledger: a part of its header, or blocks that a power loss left empty.
    fn cut_off(self, text: &[u8], path: &Path, maildrop: &str) -> Result<Self, Error> {
        let is_ours = is_begun(text, maildrop) || text.iter().all(|octet| *octet == 0);
        if self.lines > 0 || is_ours { Ok(self) } else { Err(Error::Alien { path: path.into() }) }
    }

    /// Takes brief lines in, straight from the buffer, up to one that is not brief, or not wholly there.
    fn take_briefs(&mut self, file: &mut impl BufRead) -> std::io::Result<()> {
        loop {
            let buffer = file.fill_buf()?;
            let mut rest = buffer;
            while let Some(end) = memchr::memchr(b'\n', rest).filter(|end| (*end as u64) < LINE) {
                let (line, behind) = rest.split_at(end + 1);
                let Some(brief) = brief(line) else { break };
                self.lines += 1;
                self.take_brief(&brief, line);
                rest = behind;
            }
            let taken = buffer.len() - rest.len();
            file.consume(taken);
            self.octets += taken as u64;
            self.whole = self.octets;
            if taken == 0 {
                return Ok(());
            }
        }
    }

    fn take_brief(&mut self, brief: &Brief<'_>, text: &[u8]) {
        let lane = self.lanes.of_text(brief.place);
        if lane.and_then(|lane| self.take(brief, lane, &[], text)).is_none() {
            self.damaged.push(self.lines);
        }
    }

    /// Takes lines in that were just written.
    pub fn take_lines(&mut self, text: &[u8]) {
        for text in text.split_inclusive(|octet| *octet == b'\n') {
            self.lines += 1;
            if is_foreign(text) {
                self.others += 1;
                continue;
            }
            let line = serde_json::from_slice(text).ok();
            let taken = line.and_then(|line| self.apply(&line, text));
            debug_assert!(taken.is_some(), "{}", String::from_utf8_lossy(text));
        }
    }

    /// Takes one line in; `None` when it makes no sense.
    fn apply(&mut self, line: &Line<'_>, text: &[u8]) -> Option<()> {
        if let Some(id) = line.intend.as_ref().or(line.delivered.as_ref()) {
            if line.intend.is_some() && (line.batch.is_none() || line.place().is_none()) {
                return None;
            }
            let batch = line.batch.filter(|_| line.intend.is_some());
            let Line { nth, again, reused, owed, octets, at, .. } = *line;
            let lane = self.lanes.of_line(line)?;
            let decided = line.decision();
            let brief = Brief { batch, id: &id_octets(id)?, nth, again, reused, owed, octets, at, place: &[] };
            self.take(&brief, lane, line.also.as_deref().unwrap_or_default(), text)?;
            // Only a compacted line says what was decided.
            if let Some(fact) = decided.and_then(|_| self.facts.find(&id_octets(id)?, nth.unwrap_or(1))) {
                self.facts.set(fact, |fact| fact.decided = decided);
            }
            return Some(());
        }
        if line.note.as_deref() == Some(FAILING) {
            return self.take_failing(line);
        }
        if let Some(word) = &line.note {
            self.others += 1;
            if word == REFUSALS {
                return self.refusals.take(line);
            }
            let id = id_octets(line.id.as_deref()?)?;
            if line.over {
                self.notes.remove(word, &id);
                return Some(());
            }
            if let (RECEIVED, Some(octets)) = (&**word, line.octets) {
                self.received = Some((id.to_vec(), octets));
            }
            return self.notes.insert(word, &id, line.at.unwrap_or(0)).then_some(());
        }
        if let Some(batch) = line.published {
            return self.published(batch, line.of, line.but.as_deref().unwrap_or_default());
        }
        if let Some(id) = line.another.as_ref().or(line.settled.as_ref()) {
            return self.begin_generation(line, &id_octets(id)?);
        }
        let Some(id) = line.deleted.as_ref().or(line.gone.as_ref()).or(line.listed.as_ref()) else {
            self.others += 1;
            return self.lanes.note_line(line);
        };
        let fact = self.facts.find(&id_octets(id)?, line.nth.unwrap_or(1))?;
        match line {
            Line { deleted: Some(_), .. } => self.facts.set(fact, |fact| fact.state = State::Deleted),
            Line { gone: Some(_), .. } => self.facts.set_gone(fact, seconds(line.at?)),
            _ => self.listed(fact, line.octets, line.at),
        }
        Some(())
    }

    /// Takes in what is known of failures in a row. It stays with compaction, though not its lines, so these do not count.
    fn take_failing(&mut self, line: &Line<'_>) -> Option<()> {
        let id = id_octets(line.id.as_deref()?)?.into_owned();
        if line.over {
            self.failing.remove(&id);
            return Some(());
        }
        if self.failing.len() >= WORDS && !self.failing.contains_key(&id) {
            return None;
        }
        self.failing.insert(id, failing::of_line(line)?);
        Some(())
    }

    /// The server lists a known message again, or with another size. A date begins its time on the server anew: the
    /// clock was wrong when it was first seen.
    pub fn listed(&mut self, fact: u32, octets: Option<u64>, at: Option<u64>) {
        self.facts.set_listed(fact);
        self.facts.set(fact, |fact| {
            fact.octets = octets.map_or(fact.octets, |octets| comparable(Some(octets)));
            fact.at = at.map_or(fact.at, seconds);
        });
    }

    /// Takes a line in that says of a message that it is another one, or that it is settled. Either may be the first
    /// line about its unique-id; then it has a date.
    fn begin_generation(&mut self, line: &Line<'_>, id: &[u8]) -> Option<()> {
        let (nth, is_settled) = (line.nth.unwrap_or(1), line.settled.is_some());
        let known = self.facts.find(id, nth);
        if let Some(fact) = known.filter(|_| is_settled) {
            self.facts.set(fact, |fact| {
                fact.is_settled = !line.over;
                fact.decided = line.decision();
            });
            return Some(());
        }
        let (octets, at) = (comparable(line.octets), seconds(line.at?));
        let fact = self.renew(id, nth, Seen { is_settled, ..Seen::new(octets, at, self.lines) });
        if let Some(decided) = line.decision() {
            self.facts.set(fact, |fact| fact.decided = Some(decided));
        }
        Some(())
    }

    /// Under this id there is another message now, which no lane has.
    pub fn renew(&mut self, id: &[u8], nth: u32, seen: Seen) -> u32 {
        let Seen { is_settled, octets, at, line, .. } = seen;
        let (state, lanes) = (State::Delivered, LaneSet::EMPTY);
        let fact = Fact { at, octets, nth, state, is_settled, lanes, decided: None, line };
        match self.facts.find(id, nth) {
            None => self.facts.push(id, fact),
            Some(known) => {
                self.facts.set_listed(known);
                self.facts.set(known, |changed| *changed = fact);
                known
            }
        }
    }

    /// Takes an intent or a delivery in; `None` when it lacks its date.
    fn take(&mut self, brief: &Brief<'_>, lane: Number, also: &[Cow<'_, str>], text: &[u8]) -> Option<()> {
        let at = seconds(brief.at?);
        let (nth, octets) = (brief.nth.unwrap_or(1), comparable(brief.octets));
        let Some(batch) = brief.batch else {
            if brief.id.is_empty() {
                return Some(());
            }
            let Brief { again, reused, owed, .. } = *brief;
            let seen = Seen { again, reused, is_settled: !owed, lane, ..Seen::new(octets, at, self.lines) };
            let fact = self.deliver(brief.id, nth, seen)?;
            return also.iter().try_for_each(|name| {
                let lane = self.lanes.by_name(name)?;
                let lanes = self.lanes.with(self.facts.get(fact).lanes, lane)?;
                self.facts.set(fact, |fact| fact.lanes = lanes);
                Some(())
            });
        };
        self.batch = self.batch.max(checked(batch)?);
        let id = append(&mut self.pending_text, brief.id);
        let text = append(&mut self.pending_text, text);
        let Brief { again, reused, owed, .. } = *brief;
        self.pending.push(Intent { batch, nth, again, reused, owed, lane, octets, at, line: self.lines, id, text });
        Some(())
    }

    /// Its unique-id.
    pub fn id_of(&self, intent: &Intent) -> &[u8] {
        &self.pending_text[intent.id.clone()]
    }

    /// Where an intent goes. One whose place cannot be read is as good as one that cannot be looked at.
    pub fn place(&self, intent: &Intent) -> Place {
        self.read_place(intent).unwrap_or(Place::Mda)
    }

    fn read_place(&self, intent: &Intent) -> Option<Place> {
        serde_json::from_slice::<Line<'_>>(&self.pending_text[intent.text.clone()]).ok()?.place()
    }

    /// Notes the pending intents whose place was not looked at so far and makes no sense.
    fn check_places(&mut self) {
        let bad = self.pending.iter().filter(|intent| self.read_place(intent).is_none()).map(|intent| intent.line);
        let bad: Vec<u32> = bad.collect();
        self.damaged.extend(bad);
        self.damaged.sort_unstable();
    }

    /// A record. Positions count the intents as they were written: when one of those was damaged, nobody can tell which
    /// messages were left out, and it is better to fetch all of them again.
    fn published(&mut self, batch: u64, of: Option<u32>, but: &[u32]) -> Option<()> {
        if but.is_empty() {
            self.publish(batch, but);
            return Some(());
        }
        let intents = self.pending.iter().filter(|intent| intent.batch == batch).count();
        if of.is_some_and(|of| of as usize == intents) {
            self.publish(batch, but);
            return Some(());
        }
        self.publish(batch, &(0..intents as u32).collect::<Vec<u32>>());
        None
    }

    /// The batch reached its places, but for the intents at these positions.
    pub fn publish(&mut self, batch: u64, but: &[u32]) {
        let mut published = std::mem::take(&mut self.pending);
        // Nearly always no other batch waits.
        if !published.iter().all(|intent| intent.batch == batch) {
            (published, self.pending) = published.into_iter().partition(|intent| intent.batch == batch);
        }
        let mut text = std::mem::take(&mut self.pending_text);
        for (position, intent) in (0..).zip(published.drain(..)) {
            if !but.contains(&position) {
                let Intent { nth, again, reused, owed, lane, octets, at, line, .. } = intent;
                let seen = Seen { again, reused, is_settled: !owed, lane, octets, at, line };
                // With more lanes than can be counted, the message counts as not delivered.
                let _ = self.deliver(&text[intent.id], nth, seen);
            }
        }
        if self.pending.is_empty() {
            text.clear();
            self.pending = published;
        }
        self.pending_text = text;
    }

    /// The facts that are needed, in the order of their lines.
    pub fn kept(&self, is_needed: impl Fn(u32, &Fact) -> bool) -> Vec<Kept> {
        let facts = (0..).zip(self.facts.iter()).filter(|(number, fact)| is_needed(*number, fact));
        let since = |number| self.facts.gone_since(number).map(u64::from);
        let kept = facts.map(|(number, fact)| Kept {
            fact,
            gone_since: since(number),
            again: false,
            begins: false,
            head: None,
        });
        let mut kept: Vec<Kept> = kept.collect();
        kept.sort_unstable_by_key(|kept| kept.fact.line);
        kept
    }

    /// Notes a delivery. `None` when there are more lanes, or ids, than can be counted.
    pub fn deliver(&mut self, id: &[u8], nth: u32, seen: Seen) -> Option<u32> {
        let Seen { again, is_settled, lane, octets, at, line, .. } = seen;
        let Some(known) = again.then(|| self.facts.find(id, nth)).flatten() else {
            // Without a unique-id there is nothing to know it by later.
            if id.is_empty() || self.facts.id_octets() + id.len() > IDS {
                return None;
            }
            let (state, lanes) = (State::Delivered, self.lanes.alone(lane));
            let decided = None;
            return Some(self.facts.push(id, Fact { at, octets, nth, state, is_settled, lanes, decided, line }));
        };
        let old = self.facts.get(known);
        // Format 1 did not say whether it was another message: one of the same size was the same.
        let is_as_large = octets != u32::MAX && octets == old.octets;
        let is_reused = seen.reused || (self.version == 1 && !is_as_large);
        let is_first = is_reused || old.lanes == LaneSet::EMPTY;
        let is_left = !is_reused && !is_settled && old.is_settled && old.lanes == LaneSet::EMPTY;
        let lanes = if is_first { self.lanes.alone(lane) } else { self.lanes.with(old.lanes, lane)? };
        self.facts.set_listed(known);
        self.facts.set(known, |fact| {
            // The date stays that of the first lane.
            if is_first || fact.state != State::Delivered || is_earlier(at, fact.at) {
                fact.at = at;
            }
            fact.is_settled = is_settled || (fact.is_settled && !is_reused);
            fact.decided = fact.decided.filter(|_| !is_reused);
            // The account has left it on the server, and what a run by URL does with it changes nothing for it.
            if is_left {
                fact.decided = fact.decided.or(Some(Decided::Keep(Keep::Forever)));
            }
            (fact.octets, fact.line, fact.state, fact.lanes) = (octets, line, State::Delivered, lanes);
        });
        Some(known)
    }
}

/// True for a date that is known, and before another one.
fn is_earlier(at: u32, other: u32) -> bool {
    super::is_date(u64::from(at)) && at < other
}

/// A batch number that leaves room for the next one.
fn checked(batch: u64) -> Option<u64> {
    Some(batch).filter(|batch| *batch < u64::MAX / 2)
}

/// A date as it is kept: until 2106.
pub fn seconds(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn append(text: &mut Vec<u8>, more: &[u8]) -> Range<usize> {
    let start = text.len();
    text.extend_from_slice(more);
    start..text.len()
}

/// A delivery, but for its id.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    /// Another line already speaks of this id.
    pub again: bool,
    /// It speaks of another message.
    pub reused: bool,
    /// The account wants nothing more of it.
    pub is_settled: bool,
    pub lane: Number,
    pub octets: u32,
    pub at: u32,
    pub line: u32,
}

impl Seen {
    /// What is seen for the first time, elsewhere.
    pub fn new(octets: u32, at: u32, line: u32) -> Self {
        Seen { again: false, reused: false, is_settled: false, lane: ELSEWHERE, octets, at, line }
    }
}
