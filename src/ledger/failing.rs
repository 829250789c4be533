//! Failures in a row, as lines of a ledger: the newest line about an account or a lane counts.

use std::collections::BTreeMap;

use super::line::{Line, id_text};
use super::{Error, Ledger};
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
    Some(Failing { trouble, since: line.since?, at: line.at?, times: line.times?, said })
}

/// True for a line about failures, also one that says that they are over.
pub(super) fn is_line(line: &[u8]) -> bool {
    line.starts_with(b"{\"note\":\"failing\",")
}

/// Appends a line for each account and lane.
pub(super) fn write(all: &BTreeMap<Vec<u8>, Failing>, text: &mut Vec<u8>) {
    for (id, failing) in all {
        let Failing { trouble: Trouble { cause, words }, since, at, times, said } = failing;
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
            ..Line::default()
        }
        .write(text);
    }
}

impl Ledger {
    /// Failures in a row of the account.
    pub fn failing(&self) -> Option<&Failing> {
        self.loaded.failing.get(ACCOUNT)
    }

    /// Writes down failures in a row of the account. Durable with the next sync: if the line is lost, a failure is reported
    /// once more.
    pub fn note_failing(&mut self, failing: Failing) -> Result<(), Error> {
        let all = BTreeMap::from([(ACCOUNT.to_vec(), failing)]);
        let mut text = vec![];
        write(&all, &mut text);
        self.append(&text, 1)?;
        self.loaded.failing.extend(all);
        Ok(())
    }

    /// Writes down that the account fails no more, and returns what had been written about it. Without that, nothing is
    /// written.
    pub fn note_mended(&mut self) -> Result<Option<Failing>, Error> {
        if self.failing().is_none() {
            return Ok(None);
        }
        let (note, id) = (Some(FAILING.into()), Some(id_text(ACCOUNT)));
        self.append_line(&Line { note, id, over: true, ..Line::default() })?;
        Ok(self.loaded.failing.remove(ACCOUNT))
    }
}
