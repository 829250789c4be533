//! Whether the message that a server lists now is the one that the ledger knows by its unique-id.
//!
//! A unique-id may be used again once its message is gone (RFC 1939 §7), and nothing says when that was. So nothing is
//! deleted on the ledger's word unless what the server says now fits the record: the size, and, where the server has
//! TOP, the fingerprint. Sizes alone decide little: GNU mailutils rewrites `Status` between sessions.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read};

use super::error::Error;
use super::facts::{Fact, State, comparable};
use super::line::{Line, id_text};
use super::load::Loaded;
use super::rewrite::{self, Kept};
use super::{Key, Ledger, MISFIT, Recorded, Relisted};
use crate::maildrop::{Fingerprint, Listed, MessageNumber};

/// What the server answered to TOP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Top {
    /// A header section with this fingerprint.
    Head(Fingerprint),
    /// A refusal for this message, from a server that has TOP.
    Refused,
    /// It has no TOP.
    Missing,
}

/// How a listed message stands to the known one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Identity {
    /// It is the known one.
    Same(SameMessage),
    /// It is another one, and was never delivered.
    Another,
    /// It is another one, unless its text has this fingerprint.
    Compare(Fingerprint),
    /// Nothing proves that it is the known one, and nothing speaks against it: it is neither fetched nor deleted.
    Unproved,
}

/// A known message that is listed under another unique-id.
#[derive(Debug, Clone, Copy)]
pub struct Renamed<'a> {
    /// What is known of it.
    pub fact: u32,
    /// Its unique-id now, of which there is no fact yet, and which of several messages with this id it is.
    pub unique_id: &'a [u8],
    /// Counted from 1.
    pub nth: u32,
    /// Its size now.
    pub octets: Option<u64>,
}

/// Proof that the listed message is the one of this fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SameMessage(u32);

impl Ledger {
    /// Compares what the server says of a message with the fact of its unique-id and its recorded fingerprint.
    pub fn identify(&self, fact: u32, recorded: Option<Fingerprint>, listed: &Listed<'_>, top: Top) -> Identity {
        let known = self.facts().get(fact);
        let announced = comparable(listed.octets);
        let has_sizes = announced != u32::MAX && known.octets != u32::MAX;
        let is_as_large = has_sizes && announced == known.octets;
        // After a confirmed deletion the id is free again: then all must fit.
        let is_free = known.state == State::Deleted;
        let is_doubtful = self.is_doubtful(listed.unique_id);
        match (recorded, top) {
            // The header is all that would be compared, and what is missing is behind it.
            _ if is_doubtful && self.has_note(MISFIT, listed.unique_id) => Identity::Another,
            // Some servers answer TOP with another header than RETR.
            (Some(recorded), Top::Head(head)) if recorded != head => Identity::Compare(recorded),
            (Some(_), Top::Head(_)) if is_free && has_sizes && !is_as_large => Identity::Another,
            (Some(_), Top::Head(_)) => Identity::Same(SameMessage(fact)),
            (Some(recorded), Top::Refused | Top::Missing) if is_doubtful => Identity::Compare(recorded),
            (None, _) if is_doubtful => Identity::Another,
            (Some(recorded), _) if is_free || (has_sizes && !is_as_large) => Identity::Compare(recorded),
            (None, _) if has_sizes && !is_as_large => Identity::Another,
            (Some(_), Top::Refused) => Identity::Unproved,
            _ if is_as_large && !is_free => Identity::Same(SameMessage(fact)),
            _ => Identity::Unproved,
        }
    }

    /// The record of a message that an earlier run delivered, and that the server has now.
    pub fn recorded(&self, same: SameMessage, number: MessageNumber) -> Recorded {
        Recorded { number, fact: Some(same.0) }
    }

    /// The recorded fingerprints of facts, as far as there are any, read from the file.
    pub fn heads(&self, facts: impl IntoIterator<Item = u32>) -> Result<HashMap<u32, Fingerprint>, Error> {
        let mut heads = HashMap::new();
        let wanted = facts.into_iter().map(|fact| (self.facts().get(fact).line, fact)).collect();
        let collect = |fact, line: Line<'_>| {
            heads.extend(line.head.as_ref().and_then(|head| head.parse().ok()).map(|head| (fact, head)));
        };
        lines_of(|| self.reader(), wanted, collect)?;
        Ok(heads)
    }

    /// Writes down, durably, that known messages have other unique-ids now: what is known of them goes over to these, and
    /// the old ids are gone.
    pub fn renamed(&mut self, renamed: &[Renamed<'_>], now: u64) -> Result<(), Error> {
        let mut loaded = std::mem::take(&mut self.loaded);
        let copies = copies(|| self.reader(), &mut loaded, renamed);
        self.loaded = loaded;
        let mut text = copies?;
        let gone: Vec<u32> = renamed.iter().map(|renamed| renamed.fact).collect();
        text.extend(self.ended(&gone, State::Gone, now));
        self.append_whole(&text)
    }

    /// Writes down sizes that a known message has now.
    pub fn resized(&mut self, sizes: impl IntoIterator<Item = (SameMessage, u64)>) -> Result<(), Error> {
        let is_news = |fact: u32, octets| self.facts().get(fact).octets != comparable(Some(octets));
        let news = sizes.into_iter().filter(|(same, octets)| is_news(same.0, *octets));
        let news: Vec<_> =
            news.map(|(same, octets)| Relisted { fact: same.0, octets: Some(octets), at: None }).collect();
        self.relist(&news)
    }

    /// Writes down the sizes of messages whose text has shown that they are the known ones, and gives the records of
    /// those that are due to be deleted.
    pub fn compared(&mut self, keys: &[Key]) -> Result<Vec<Recorded>, Error> {
        let facts = &mut self.loaded.facts;
        let same = keys.iter().filter_map(|key| Some((SameMessage(facts.find(&key.unique_id, key.nth)?), key)));
        let same: Vec<_> = same.collect();
        self.resized(same.iter().filter_map(|(same, key)| Some((*same, key.octets?))))?;
        let may_be_deleted = |same: &SameMessage| self.may_be_deleted(&self.facts().get(same.0));
        let due = same.iter().filter(|(same, key)| key.is_due && may_be_deleted(same));
        Ok(due.map(|(same, key)| self.recorded(*same, key.number)).collect())
    }
}

/// What a ledger says of facts, under their new unique-ids.
pub(super) fn copies<R: Read>(
    open: impl FnOnce() -> Result<R, Error>,
    loaded: &mut Loaded,
    renamed: &[Renamed<'_>],
) -> Result<Vec<u8>, Error> {
    let by_fact: HashMap<u32, &Renamed<'_>> = renamed.iter().map(|renamed| (renamed.fact, renamed)).collect();
    let wanted = by_fact.keys().map(|fact| (loaded.facts.get(*fact).line, *fact)).collect();
    let mut text = vec![];
    lines_of(open, wanted, |number, line| {
        let Renamed { unique_id, nth, octets, .. } = *by_fact[&number];
        let known = loaded.facts.get(number);
        let octets = octets.map_or(known.octets, |octets| comparable(Some(octets)));
        let fact = Fact { nth, octets, state: State::Delivered, ..known };
        let kept = Kept { fact, gone_since: None, again: false, begins: false, head: None };
        rewrite::write(&mut text, &kept, &id_text(unique_id), line, "", &mut loaded.lanes, None);
    })?;
    Ok(text)
}

/// Calls `each` with the line that speaks of each fact; `wanted` has the number of the line and of the fact.
pub(super) fn lines_of<R: Read>(
    open: impl FnOnce() -> Result<R, Error>,
    mut wanted: Vec<(u32, u32)>,
    mut each: impl FnMut(u32, Line<'_>),
) -> Result<(), Error> {
    wanted.sort_unstable();
    let mut wanted = wanted.into_iter().peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let mut file = BufReader::with_capacity(64 << 10, open()?);
    let mut text = vec![];
    for number in 1.. {
        text.clear();
        if wanted.peek().is_none() || file.read_until(b'\n', &mut text).map_err(Error::io("read", "the ledger"))? == 0 {
            return Ok(());
        }
        while let Some((_, fact)) = wanted.next_if(|(line, _)| *line == number) {
            serde_json::from_slice(&text).into_iter().for_each(|line| each(fact, line));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::Listing;

    const ONE: Fingerprint = Fingerprint(1);
    const TWO: Fingerprint = Fingerprint(2);

    fn identify(state: &str, recorded: Option<Fingerprint>, octets: Option<u64>, top: Top) -> Identity {
        let folder = tempfile::tempdir().unwrap();
        let over = if state.is_empty() { String::new() } else { format!("{{\"{state}\":\"x\",\"at\":2}}\n") };
        let text =
            format!("{{\"popfetch\":3,\"maildrop\":\"u@h\"}}\n{{\"delivered\":\"x\",\"octets\":9,\"at\":1}}\n{over}");
        std::fs::write(folder.path().join("l.jsonl"), text).unwrap();
        let ledger = Ledger::open(folder.path(), "l", "u@h").unwrap().0;
        let mut listing = Listing::default();
        assert!(listing.push(MessageNumber(1), b"x"));
        octets.into_iter().for_each(|octets| listing.set_octets(0, octets));
        ledger.identify(0, recorded, &listing.get(0), top)
    }

    #[test]
    fn a_fingerprint_decides_whatever_the_size() {
        for octets in [None, Some(9), Some(10)] {
            for state in ["", "gone"] {
                assert_eq!(identify(state, Some(ONE), octets, Top::Head(ONE)), Identity::Same(SameMessage(0)));
                assert_eq!(identify(state, Some(ONE), octets, Top::Head(TWO)), Identity::Compare(ONE));
            }
        }
    }

    #[test]
    fn after_a_confirmed_deletion_all_must_fit() {
        assert_eq!(identify("deleted", Some(ONE), Some(9), Top::Head(ONE)), Identity::Same(SameMessage(0)));
        assert_eq!(identify("deleted", Some(ONE), Some(10), Top::Head(ONE)), Identity::Another);
        assert_eq!(identify("deleted", Some(ONE), Some(9), Top::Head(TWO)), Identity::Compare(ONE));
        assert_eq!(identify("deleted", Some(ONE), Some(9), Top::Missing), Identity::Compare(ONE));
    }

    #[test]
    fn without_top_an_equal_size_decides_unless_the_id_is_free_again() {
        assert_eq!(identify("deleted", None, Some(9), Top::Missing), Identity::Unproved);
        for recorded in [None, Some(ONE)] {
            assert_eq!(identify("", recorded, Some(9), Top::Missing), Identity::Same(SameMessage(0)));
            assert_eq!(identify("gone", recorded, Some(9), Top::Missing), Identity::Same(SameMessage(0)));
            assert_eq!(identify("", recorded, None, Top::Missing), Identity::Unproved);
        }
    }

    #[test]
    fn another_size_without_top_makes_the_text_decide_where_a_fingerprint_is_recorded() {
        for state in ["", "gone", "deleted"] {
            assert_eq!(identify(state, Some(ONE), Some(10), Top::Missing), Identity::Compare(ONE));
            assert_eq!(identify(state, Some(ONE), Some(10), Top::Refused), Identity::Compare(ONE));
            assert_eq!(identify(state, None, Some(10), Top::Missing), Identity::Another);
        }
    }

    #[test]
    fn a_refusal_of_top_proves_nothing() {
        assert_eq!(identify("", Some(ONE), Some(9), Top::Refused), Identity::Unproved);
        assert_eq!(identify("", Some(ONE), None, Top::Refused), Identity::Unproved);
    }
}
