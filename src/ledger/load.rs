//! Reading a ledger: lines to facts, and the intents whose outcome nobody recorded.

use std::io::{BufRead, Read as _};
use std::path::Path;

use super::error::Error;
use super::facts::{Facts, State, comparable};
use super::line::{Line, VERSION, id_octets};
use crate::deliver::Place;

/// A line longer than this is nobody's fact.
const LINE: u64 = 64 << 10;

/// Ids together, so that offsets fit 32 bits.
const IDS: usize = 1 << 31;

/// An intent, until its batch is known to be published or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Intent {
    pub batch: u64,
    pub id: Vec<u8>,
    pub nth: u32,
    pub again: bool,
    pub octets: u32,
    pub at: u32,
    pub line: u32,
    pub place: Place,
}

/// A ledger as it was found.
#[derive(Debug, Default)]
pub struct Loaded {
    pub facts: Facts,
    /// Intents without outcome, in the order of the file.
    pub pending: Vec<Intent>,
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
    /// The last line that makes sense and is no intent: what is damaged after it may have been an intent.
    settled: u32,
}

/// Reads everything. Only a file that is no ledger, or one of a newer format or of another maildrop, is an error; a
/// damaged line is noted.
pub fn load(mut file: impl BufRead, path: &Path, maildrop: &str) -> Result<Loaded, Error> {
    let mut loaded = Loaded::default();
    let mut text = vec![];
    loop {
        text.clear();
        let octets = file.by_ref().take(LINE).read_until(b'\n', &mut text).map_err(Error::io("read", path))?;
        if octets == 0 {
            return Ok(loaded);
        }
        loaded.octets += octets as u64;
        if text.last() != Some(&b'\n') {
            let skipped = skip_line(&mut file).map_err(Error::io("read", path))?;
            loaded.octets += skipped.octets;
            if !skipped.is_ended {
                return loaded.cut_off(&text, path, maildrop);
            }
            text.clear();
        }
        loaded.lines += 1;
        loaded.whole = loaded.octets;
        let line = serde_json::from_slice::<Line<'_>>(&text).ok();
        if loaded.lines == 1 {
            check_header(line.as_ref(), path, maildrop)?;
            loaded.settled = 1;
            continue;
        }
        match line.and_then(|line| loaded.apply(&line).map(|()| line.intend.is_some())) {
            None => loaded.damaged.push(loaded.lines),
            Some(true) => {}
            Some(false) => loaded.settled = loaded.lines,
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

fn check_header(line: Option<&Line<'_>>, path: &Path, maildrop: &str) -> Result<(), Error> {
    let Some(Line { popfetch: Some(version), maildrop: owner, .. }) = line else {
        return Err(Error::Alien { path: path.into() });
    };
    if *version > VERSION {
        return Err(Error::Future { path: path.into(), version: *version });
    }
    match owner.as_deref() {
        Some(owner) if owner != maildrop => Err(Error::Foreign { path: path.into(), maildrop: owner.into() }),
        _ => Ok(()),
    }
}

impl Loaded {
    /// The file ends within a line. A first one is thrown away only when it is surely what a run that was stopped left
    /// while it began this ledger: a part of its header, or blocks that a power loss left empty.
    fn cut_off(self, text: &[u8], path: &Path, maildrop: &str) -> Result<Self, Error> {
        let mut header = vec![];
        Line::header(maildrop).write(&mut header);
        let is_ours = header.starts_with(text) || text.iter().all(|octet| *octet == 0);
        if self.lines > 0 || is_ours { Ok(self) } else { Err(Error::Alien { path: path.into() }) }
    }

    /// Takes one line in; `None` when it makes no sense.
    fn apply(&mut self, line: &Line<'_>) -> Option<()> {
        let at = line.at.map(|at| u32::try_from(at).unwrap_or(u32::MAX));
        if let Some(id) = &line.intend {
            return self.intend(line, &id_octets(id)?, at?);
        }
        if let Some(batch) = line.published {
            let but = line.but.as_deref().unwrap_or_default();
            self.batch = self.batch.max(checked(batch)?);
            if but.is_empty() || !self.has_lost_intents() {
                self.publish(batch, but);
            }
            return Some(());
        }
        if let Some(id) = &line.delivered {
            let (id, octets) = (id_octets(id)?, comparable(line.octets));
            self.deliver(&id, line.nth.unwrap_or(1), line.again, octets, at?, self.lines);
            return Some(());
        }
        let (id, state) = match (&line.deleted, &line.gone) {
            (Some(id), None) => (id, State::Deleted),
            (None, Some(id)) => (id, State::Gone),
            _ => return None,
        };
        let fact = self.facts.find(&id_octets(id)?, line.nth.unwrap_or(1))?;
        self.facts.set(fact, |fact| {
            fact.state = state;
            if state == State::Gone {
                fact.at = at.unwrap_or(fact.at);
            }
        });
        Some(())
    }

    /// True when a damaged line may have been an intent of the batch that ends here: then nobody knows which of the
    /// others its exceptions mean. They stay pending, and recovery looks at their places.
    fn has_lost_intents(&self) -> bool {
        self.damaged.last().is_some_and(|line| *line > self.settled)
    }

    fn intend(&mut self, line: &Line<'_>, id: &[u8], at: u32) -> Option<()> {
        let batch = checked(line.batch?)?;
        self.batch = self.batch.max(batch);
        self.pending.push(Intent {
            batch,
            id: id.to_vec(),
            nth: line.nth.unwrap_or(1),
            again: line.again,
            octets: comparable(line.octets),
            at,
            line: self.lines,
            place: line.place()?,
        });
        Some(())
    }

    /// The batch reached its places, but for the intents at these positions.
    pub fn publish(&mut self, batch: u64, but: &[u32]) {
        let (published, pending) =
            std::mem::take(&mut self.pending).into_iter().partition(|intent| intent.batch == batch);
        self.pending = pending;
        for (position, intent) in (0..).zip::<Vec<Intent>>(published) {
            if !but.contains(&position) {
                self.deliver(&intent.id, intent.nth, intent.again, intent.octets, intent.at, intent.line);
            }
        }
    }

    fn deliver(&mut self, id: &[u8], nth: u32, again: bool, octets: u32, at: u32, line: u32) {
        // Without a unique-id there is nothing to know it by later.
        if !id.is_empty() && self.facts.id_octets() + id.len() <= IDS {
            deliver(&mut self.facts, id, nth, again, octets, at, line);
        }
    }
}

/// A batch number that leaves room for the next one.
fn checked(batch: u64) -> Option<u64> {
    Some(batch).filter(|batch| *batch < u64::MAX / 2)
}

/// Notes a delivery; `again` when another line already speaks of the same message. The date stays that of the first
/// delivery, unless the message is another one under a used id.
pub fn deliver(facts: &mut Facts, id: &[u8], nth: u32, again: bool, octets: u32, at: u32, line: u32) -> u32 {
    let Some(known) = again.then(|| facts.find(id, nth)).flatten() else {
        return facts.push(id, at, octets, nth, line);
    };
    facts.set(known, |fact| {
        if fact.state != State::Delivered {
            fact.at = at;
        }
        (fact.octets, fact.line, fact.state) = (octets, line, State::Delivered);
    });
    known
}
