//! What a ledger knows, in memory: per message its unique-id, since when, which lanes have it, and what became of it.
//!
//! Compact (twenty-four octets and the id), because accounts with hundreds of thousands of messages exist. Both the ledger
//! and the server list messages in the order of their arrival, so two cursors find nearly all of them; a hash index is
//! built only for what they miss.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;

use super::is_date;
use super::lane::LaneSet;
use crate::account::Keep;
use crate::maildrop::Listing;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Delivered, and still on the server as far as we know.
    Delivered,
    /// Deleted by us; the server confirmed it.
    Deleted,
    /// No longer listed; somebody else deleted it.
    Gone,
}

/// One message, without its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// When it was first seen: seconds since 1970.
    pub at: u32,
    /// Its announced size. `u32::MAX` stands for unknown and for everything larger: sizes are only compared.
    pub octets: u32,
    /// Which of several messages with this id, counted from 1.
    pub nth: u32,
    /// What became of it.
    pub state: State,
    /// The account of the configuration has done with it what it wanted.
    pub is_settled: bool,
    /// Which lanes have it.
    pub lanes: LaneSet,
    /// What a rule has decided about it.
    pub decided: Option<Decided>,
    /// The line of the file that says so.
    pub line: u32,
}

/// What a rule has decided about a message that is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decided {
    /// What happens to it on the server, whatever the account's `keep` says.
    Keep(Keep),
    /// It is to be deleted, though no lane has it.
    Discard,
}

/// A [`Fact`] as it is stored: twenty octets, and four for what becomes of it beside them.
#[derive(Debug)]
struct Record {
    at: u32,
    octets: u32,
    nth: u32,
    line: u32,
    /// Where the id ends in the arena.
    end: u32,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    lanes: LaneSet,
    is_settled: bool,
    state: State,
}

/// All messages of one maildrop.
#[derive(Debug, Default)]
pub struct Facts {
    ids: Vec<u8>,
    records: Vec<Record>,
    marks: Vec<Mark>,
    /// How many are not settled.
    unsettled: usize,
    /// How many are not simply delivered: deleted or gone, or without a date.
    odd: usize,
    /// How many are not the only message with their id.
    seconds: usize,
    /// Since when a message is gone, by its number.
    gone_since: HashMap<u32, u32>,
    /// What rules have decided, by the numbers of the messages.
    decided: HashMap<u32, Decided>,
    /// Where the next one is expected when lines refer back in order.
    cursor: usize,
    index: Option<HashTable<u32>>,
    hasher: RandomState,
}

/// How a message of a listing stands to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Never seen. `nth` tells messages with the same id apart.
    New {
        /// Counted from 1.
        nth: u32,
    },
    /// Seen before: the number of its fact.
    Known(u32),
}

/// [`Standing`] in four octets a message, as it was when the maildrop was listed.
#[derive(Debug, Default)]
pub struct Standings {
    known: Vec<u32>,
    /// How many facts there were.
    facts: usize,
    /// The `nth` of new messages whose id is not theirs alone.
    nths: HashMap<u32, u32>,
    /// Positions whose id is listed more than once.
    repeated: HashSet<u32>,
}

const NEW: u32 = u32::MAX;

fn is_odd(state: State, at: u32) -> bool {
    state != State::Delivered || !is_date(u64::from(at))
}

impl Standings {
    /// How the message at a position of the listing stands.
    pub fn get(&self, position: usize) -> Standing {
        match self.known[position] {
            NEW => Standing::New { nth: self.nths.get(&(position as u32)).copied().unwrap_or(1) },
            fact => Standing::Known(fact),
        }
    }

    /// For each fact that there was: whether the listing has its message.
    pub fn listed(&self) -> Vec<bool> {
        let mut listed = vec![false; self.facts];
        self.known.iter().filter(|fact| **fact != NEW).for_each(|fact| listed[*fact as usize] = true);
        listed
    }

    /// True when the message at a position was never seen.
    pub fn is_new(&self, position: usize) -> bool {
        self.known[position] == NEW
    }

    /// True when each fact that there was is listed. No two messages have the same.
    pub fn has_all(&self) -> bool {
        self.known.iter().filter(|fact| **fact != NEW).count() == self.facts
    }

    /// True when no id is listed more than once.
    pub fn are_distinct(&self) -> bool {
        self.repeated.is_empty()
    }

    /// True when the id at this position is listed more than once: then it proves little (RFC 1939 §7 lets a server
    /// hash the message).
    pub fn is_repeated(&self, position: usize) -> bool {
        self.repeated.contains(&(position as u32))
    }
}

/// An announced size as it is compared.
pub fn comparable(octets: Option<u64>) -> u32 {
    octets.and_then(|octets| u32::try_from(octets).ok()).unwrap_or(u32::MAX)
}

impl Facts {
    /// How many messages are known, deleted and gone ones included.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when nothing is known.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// One message.
    pub fn get(&self, fact: u32) -> Fact {
        let Record { at, octets, nth, line, .. } = self.records[fact as usize];
        let Mark { lanes, is_settled, state } = self.marks[fact as usize];
        let decided = if self.decided.is_empty() { None } else { self.decided.get(&fact).copied() };
        Fact { at, octets, nth, state, is_settled, lanes, decided, line }
    }

    /// True when no rule has decided anything that is to be remembered.
    pub fn are_undecided(&self) -> bool {
        self.decided.is_empty()
    }

    /// Its id.
    pub fn id(&self, fact: u32) -> &[u8] {
        let fact = fact as usize;
        let start = if fact == 0 { 0 } else { self.records[fact - 1].end };
        &self.ids[start as usize..self.records[fact].end as usize]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Fact> {
        (0..self.len() as u32).map(|fact| self.get(fact))
    }

    /// True when every message is delivered and has a date, so that no listing of it is news.
    pub fn are_plain(&self) -> bool {
        self.odd == 0
    }

    /// True when the account has done with every message what it wanted.
    pub fn are_settled(&self) -> bool {
        self.unsettled == 0
    }

    /// The lanes of every message.
    pub fn lanes(&self) -> impl Iterator<Item = LaneSet> {
        self.marks.iter().map(|mark| mark.lanes)
    }

    /// Adds a message that no other fact speaks of.
    pub fn push(&mut self, id: &[u8], fact: Fact) -> u32 {
        let Fact { at, octets, nth, state, is_settled, lanes, decided, line } = fact;
        self.ids.extend_from_slice(id);
        let end = u32::try_from(self.ids.len()).expect("a ledger of 4 GiB of ids is refused when it is loaded");
        self.records.push(Record { at, octets, nth, line, end });
        self.marks.push(Mark { lanes, is_settled, state });
        self.unsettled += usize::from(!is_settled);
        self.odd += usize::from(is_odd(state, at));
        self.seconds += usize::from(nth > 1);
        let fact = (self.len() - 1) as u32;
        self.decide(fact, decided);
        if let Some(mut index) = self.index.take() {
            index.insert_unique(self.hash(id), fact, |fact| self.hash(self.id(*fact)));
            self.index = Some(index);
        }
        fact
    }

    /// Octets of all ids.
    pub fn id_octets(&self) -> usize {
        self.ids.len()
    }

    /// Changes a fact.
    pub fn set(&mut self, fact: u32, change: impl FnOnce(&mut Fact)) {
        let mut changed = self.get(fact);
        change(&mut changed);
        let Fact { at, octets, nth, state, is_settled, lanes, decided, line } = changed;
        let record = &mut self.records[fact as usize];
        let mark = &mut self.marks[fact as usize];
        self.odd -= usize::from(is_odd(mark.state, record.at));
        self.odd += usize::from(is_odd(state, at));
        (record.at, record.octets, record.nth, record.line) = (at, octets, nth, line);
        self.unsettled = self.unsettled + usize::from(!is_settled) - usize::from(!mark.is_settled);
        *mark = Mark { lanes, is_settled, state };
        self.decide(fact, decided);
    }

    fn decide(&mut self, fact: u32, decided: Option<Decided>) {
        match decided {
            Some(decided) => drop(self.decided.insert(fact, decided)),
            None if self.decided.is_empty() => {}
            None => drop(self.decided.remove(&fact)),
        }
    }

    /// Since when a message is gone: seconds since 1970.
    pub fn gone_since(&self, fact: u32) -> Option<u32> {
        self.gone_since.get(&fact).copied()
    }

    /// The server does not list the message any more. When it was first seen stays known.
    pub fn set_gone(&mut self, fact: u32, since: u32) {
        self.set(fact, |fact| fact.state = State::Gone);
        self.gone_since.insert(fact, since);
    }

    /// The server lists a gone message again: it is delivered, as before.
    pub fn set_listed(&mut self, fact: u32) {
        self.gone_since.remove(&fact);
        self.set(fact, |fact| {
            if fact.state == State::Gone {
                fact.state = State::Delivered;
            }
        });
    }

    /// Every date: when messages were first seen, and since when they are gone.
    pub fn dates(&self) -> impl Iterator<Item = u64> {
        let first_seen = self.records.iter().map(|record| record.at);
        first_seen.chain(self.gone_since.values().copied()).map(u64::from)
    }

    /// The unique-id of a message that was first seen, or is gone, since this time.
    pub fn id_of_date(&self, at: u64) -> Option<&[u8]> {
        let has = |fact: &u32| u64::from(self.get(*fact).at) == at || self.gone_since(*fact).map(u64::from) == Some(at);
        (0..self.len() as u32).find(has).map(|fact| self.id(fact))
    }

    /// The fact about the `nth` message with this id.
    pub fn find(&mut self, id: &[u8], nth: u32) -> Option<u32> {
        let next = self.cursor as u32;
        if self.cursor < self.len() && self.id(next) == id && self.get(next).nth == nth {
            self.cursor += 1;
            return Some(next);
        }
        let found = self.all(id).into_iter().find(|fact| self.get(*fact).nth == nth)?;
        self.cursor = found as usize + 1;
        Some(found)
    }

    /// Every fact with this id, oldest first.
    fn all(&mut self, id: &[u8]) -> Vec<u32> {
        if self.is_empty() {
            return vec![];
        }
        let hash = self.hash(id);
        let mut facts: Vec<u32> = self.indexed().iter_hash(hash).copied().collect();
        facts.retain(|fact| self.id(*fact) == id);
        facts.sort_unstable();
        facts
    }

    fn indexed(&mut self) -> &HashTable<u32> {
        if self.index.is_none() {
            let mut index = HashTable::with_capacity(self.len());
            for fact in 0..self.len() as u32 {
                index.insert_unique(self.hash(self.id(fact)), fact, |fact| self.hash(self.id(*fact)));
            }
            self.index = Some(index);
        }
        self.index.as_ref().expect("it was just built")
    }

    fn hash(&self, id: &[u8]) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Compares a whole listing with what is known.
    pub fn locate(&mut self, listing: &Listing) -> Standings {
        let known = vec![NEW; listing.len()];
        let mut standings = Standings { known, facts: self.len(), ..Standings::default() };
        let missed = self.walk(listing, &mut standings);
        let shared = self.look_up(listing, &missed, &mut standings);
        if !shared.is_empty() {
            self.tell_apart(listing, &shared, &mut standings);
        }
        standings
    }

    /// Both in order: pairs what stands side by side, and returns the positions that did not.
    fn walk(&self, listing: &Listing, standings: &mut Standings) -> Vec<u32> {
        /// How many facts in a row may have been deleted before the index is the better way.
        const AHEAD: u32 = 8;
        let mut missed = vec![];
        let mut next = 0;
        for (position, message) in listing.iter().enumerate() {
            let ahead = (next..(next + AHEAD).min(self.len() as u32))
                .find(|fact| self.get(*fact).nth == 1 && self.id(*fact) == message.unique_id);
            match ahead {
                Some(fact) => {
                    standings.known[position] = fact;
                    next = fact + 1;
                }
                None => missed.push(position as u32),
            }
        }
        missed
    }

    /// Finds the missed ones by their id, in one pass over what is known. Returns the ids that are not one message's
    /// alone.
    fn look_up<'l>(&self, listing: &'l Listing, missed: &[u32], standings: &mut Standings) -> HashSet<&'l [u8]> {
        let mut shared = HashSet::new();
        let mut wanted: HashMap<&[u8], (u32, Option<u32>)> = HashMap::with_capacity(missed.len());
        for position in missed {
            let id = listing.get(*position as usize).unique_id;
            if !id.is_empty() && wanted.insert(id, (*position, None)).is_some() {
                shared.insert(id);
            }
        }
        // Most runs miss nothing, or very little.
        let claimed = if wanted.is_empty() { vec![] } else { standings.listed() };
        for fact in 0..claimed.len() as u32 {
            let Some((position, found)) = wanted.get_mut(self.id(fact)) else { continue };
            if found.replace(fact).is_some() || claimed[fact as usize] {
                shared.insert(listing.get(*position as usize).unique_id);
            }
        }
        for (position, fact) in wanted.into_values() {
            standings.known[position as usize] = fact.unwrap_or(NEW);
        }
        self.add_seconds(listing, &mut shared);
        shared
    }

    /// A fact that is the second with its id makes the first one's position worth a second look, too.
    fn add_seconds<'l>(&self, listing: &'l Listing, shared: &mut HashSet<&'l [u8]>) {
        if self.seconds == 0 {
            return;
        }
        let seconds: HashSet<&[u8]> =
            (0..self.len() as u32).filter(|fact| self.get(*fact).nth > 1).map(|fact| self.id(fact)).collect();
        let ids = (0..listing.len()).map(|position| listing.get(position).unique_id);
        shared.extend(ids.filter(|id| seconds.contains(id)));
    }

    /// Messages that share an id are told apart by their sizes: as many of one id and size are known as were
    /// delivered, in the order of the listing.
    fn tell_apart(&mut self, listing: &Listing, shared: &HashSet<&[u8]>, standings: &mut Standings) {
        let mut positions: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (position, message) in listing.iter().enumerate() {
            if shared.contains(message.unique_id) {
                positions.entry(message.unique_id).or_default().push(position as u32);
            }
        }
        for (id, positions) in positions {
            let facts = self.all(id);
            self.pair(listing, facts, &positions, standings);
        }
    }

    fn pair(&self, listing: &Listing, mut facts: Vec<u32>, positions: &[u32], standings: &mut Standings) {
        let mut nth = facts.iter().map(|fact| self.get(*fact).nth).max().unwrap_or(0);
        let is_alone = positions.len() == 1;
        for position in positions {
            let octets = comparable(listing.get(*position as usize).octets);
            // A single listed message is one of those delivered under its id, whatever size is announced now.
            let same = facts
                .iter()
                .position(|fact| self.get(*fact).octets == octets)
                .or((is_alone && !facts.is_empty()).then_some(0));
            standings.known[*position as usize] = match same {
                Some(found) => facts.remove(found),
                None => {
                    nth += 1;
                    standings.nths.insert(*position, nth);
                    NEW
                }
            };
            if !is_alone {
                standings.repeated.insert(*position);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::MessageNumber;

    fn listing(messages: &[(&str, u64)]) -> Listing {
        let mut listing = Listing::default();
        listing.has_unique_ids = true;
        for (position, (id, octets)) in messages.iter().enumerate() {
            assert!(listing.push(MessageNumber(position as u32 + 1), id.as_bytes()));
            listing.set_octets(position, *octets);
        }
        listing
    }

    fn facts(messages: &[(&str, u32, u32)]) -> Facts {
        let mut facts = Facts::default();
        for (id, octets, nth) in messages {
            facts.push(id.as_bytes(), fact(*octets, *nth));
        }
        facts
    }

    fn fact(octets: u32, nth: u32) -> Fact {
        let (state, lanes) = (State::Delivered, LaneSet::EMPTY);
        Fact { at: 0, octets, nth, state, is_settled: true, lanes, decided: None, line: 0 }
    }

    fn standings(facts: &mut Facts, messages: &[(&str, u64)]) -> Vec<Standing> {
        let listing = listing(messages);
        let standings = facts.locate(&listing);
        (0..listing.len()).map(|position| standings.get(position)).collect()
    }

    const fn new(nth: u32) -> Standing {
        Standing::New { nth }
    }

    use Standing::Known;

    #[test]
    fn what_is_known_is_found_in_any_order_and_at_any_size() {
        let mut facts = facts(&[("a", 1, 1), ("b", 1, 1), ("c", 1, 1)]);
        assert_eq!(standings(&mut facts, &[("a", 1), ("c", 9), ("d", 1)]), [Known(0), Known(2), new(1)]);
        assert_eq!(standings(&mut facts, &[("c", 1), ("a", 1), ("b", 1)]), [Known(2), Known(0), Known(1)]);
        assert_eq!(standings(&mut facts, &[]), []);
    }

    #[test]
    fn many_deleted_messages_in_a_row_do_not_hide_the_rest() {
        let many: Vec<(String, u32, u32)> = (0..100).map(|n| (format!("id{n}"), 1, 1)).collect();
        let many: Vec<(&str, u32, u32)> = many.iter().map(|(id, octets, nth)| (id.as_str(), *octets, *nth)).collect();
        let mut facts = facts(&many);
        assert_eq!(
            standings(&mut facts, &[("id0", 1), ("id98", 1), ("id99", 1), ("x", 1)]),
            [Known(0), Known(98), Known(99), new(1)]
        );
    }

    #[test]
    fn a_second_message_with_the_same_id_is_new() {
        let mut facts = facts(&[("x", 100, 1)]);
        assert_eq!(standings(&mut facts, &[("x", 100), ("x", 100)]), [Known(0), new(2)]);
        assert_eq!(standings(&mut facts, &[("x", 250), ("x", 100)]), [new(2), Known(0)]);
        assert_eq!(standings(&mut facts, &[("x", 250)]), [Known(0)]);
    }

    #[test]
    fn several_delivered_under_one_id_are_counted_by_size() {
        let mut facts = facts(&[("a", 7, 1), ("x", 100, 1), ("x", 100, 2), ("b", 7, 1)]);
        let listed = [("a", 7), ("x", 100), ("x", 100), ("x", 100), ("b", 7)];
        assert_eq!(standings(&mut facts, &listed), [Known(0), Known(1), Known(2), new(3), Known(3)]);
        assert_eq!(standings(&mut facts, &[("x", 100), ("b", 7)]), [Known(1), Known(3)]);
        let both = listing(&[("x", 100), ("b", 7), ("x", 100)]);
        let standings = facts.locate(&both);
        assert!(standings.is_repeated(0) && standings.is_repeated(2) && !standings.is_repeated(1));
    }

    #[test]
    fn all_new_messages_with_one_id_get_numbers_of_their_own() {
        let mut facts = Facts::default();
        assert_eq!(
            standings(&mut facts, &[("x", 1), ("y", 1), ("x", 1), ("", 1), ("", 1)]),
            [new(1), new(1), new(2), new(1), new(1)]
        );
    }

    #[test]
    fn lines_that_refer_back_find_their_fact() {
        let mut facts = facts(&[("a", 1, 1), ("b", 1, 1), ("b", 2, 2)]);
        assert_eq!(facts.find(b"a", 1), Some(0));
        assert_eq!(facts.find(b"b", 2), Some(2));
        assert_eq!(facts.find(b"b", 1), Some(1));
        assert_eq!(facts.find(b"c", 1), None);
        facts.push(b"c", fact(0, 1));
        assert_eq!(facts.find(b"c", 1), Some(3));
    }
}
