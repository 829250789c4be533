//! Failures in a row, as lines of a ledger: the newest line about an account or a lane counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::line::{Line, id_text};
use super::{Error, Ledger, lock_path};
use crate::failing::{Cause, Failing, Trouble};

/// The word of such a note.
pub(super) const FAILING: &str = "failing";

/// The id of the account as a whole, in the place of the name of a lane.
const ACCOUNT: &[u8] = b"";

/// What a line says; `None` when it lacks something.
pub(super) fn of_line(line: &Line<'_>) -> Option<Failing> {
    let why = line.why.as_deref()?;
    let (word, words) = why.split_once(' ').map_or((why, None), |(word, words)| (word, Some(words.to_owned())));
    let trouble = Trouble { cause: Cause::of_word(word), words };
    let said = line.said.unwrap_or(0);
    let not_before = line.not_before.unwrap_or(0);
    Some(Failing { trouble, since: line.since?, at: line.at?, times: line.times?, said, not_before })
}

/// True for a line about failures, also one that says that they are over.
pub(super) fn is_line(line: &[u8]) -> bool {
    line.starts_with(b"{\"note\":\"failing\",")
}

/// Appends a line for each account and lane.
pub(super) fn write(all: &BTreeMap<Vec<u8>, Failing>, text: &mut Vec<u8>) {
    for (id, failing) in all {
        let Failing { trouble: Trouble { cause, words }, since, at, times, said, not_before } = failing;
        let why = match words {
            Some(words) => format!("{} {words}", cause.word()),
            None => cause.word().to_owned(),
        };
        Line {
            note: Some(FAILING.into()),
            id: Some(id_text(id)),
            at: Some(*at),
            since: Some(*since),
            times: Some(*times),
            said: Some(*said).filter(|said| *said > 0),
            why: Some(why.into()),
            not_before: Some(*not_before).filter(|not_before| *not_before > 0),
            ..Line::default()
        }
        .write(text);
    }
}

impl Ledger {
    /// Failures in a row of the account, or of a lane of this run.
    pub fn failing(&self, lane: Option<usize>) -> Option<&Failing> {
        self.loaded.failing.get(&self.failing_id(lane))
    }

    /// Failures in a row for which the account, or a lane, waits now.
    pub fn waiting(&self, lane: Option<usize>, now: u64) -> Option<&Failing> {
        self.failing(lane).filter(|failing| failing.is_waiting(now))
    }

    /// The same where nothing is tried at all: the account waits, or each of its lanes does.
    pub fn waiting_altogether(&self, now: u64) -> Option<&Failing> {
        let lanes = self.lanes().len();
        let of_lanes = || (0..lanes).map(|lane| self.waiting(Some(lane), now)).collect::<Option<Vec<_>>>();
        self.waiting(None, now).or_else(|| of_lanes()?.first().copied())
    }

    /// Writes down failures in a row. Durable with the next sync: if the line is lost, a failure is reported, or tried
    /// again, once more.
    pub fn note_failing(&mut self, lane: Option<usize>, failing: Failing) -> Result<(), Error> {
        let all = BTreeMap::from([(self.failing_id(lane), failing)]);
        let mut text = vec![];
        write(&all, &mut text);
        self.append(&text, 1)?;
        self.loaded.failing.extend(all);
        Ok(())
    }

    /// Writes down that the account, or a lane, fails no more, and returns what had been written about it. Without that,
    /// nothing is written.
    pub fn note_mended(&mut self, lane: Option<usize>) -> Result<Option<Failing>, Error> {
        let id = self.failing_id(lane);
        if !self.loaded.failing.contains_key(&id) {
            return Ok(None);
        }
        let (note, of) = (Some(FAILING.into()), Some(id_text(&id)));
        self.append_line(&Line { note, id: of, over: true, ..Line::default() })?;
        Ok(self.loaded.failing.remove(&id))
    }

    fn failing_id(&self, lane: Option<usize>) -> Vec<u8> {
        lane.and_then(|lane| self.loaded.lanes.own_name(lane)).map_or_else(|| ACCOUNT.to_vec(), String::into_bytes)
    }

    /// True when the ledger was written to after the last success, as by a run that failed.
    pub fn is_newer_than_success(folder: &Path, name: &str) -> bool {
        let modified = |path: PathBuf| fs::metadata(path).and_then(|file| file.modified()).ok();
        let ledger = lock_path(folder, name).with_extension("jsonl");
        modified(ledger) > modified(lock_path(folder, name))
    }
}
