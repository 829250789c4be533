//! Words that a ledger remembers about messages, or about the maildrop as a whole.
//!
//! A note is about what was found out, not about what was delivered: its message need not be a known one. Notes whose
//! message is no longer listed go with compaction. A server chooses how many messages it lists and how long their
//! unique-ids are, so a word takes no more than [`MESSAGES`] and [`OCTETS`]; who notes something knows what follows
//! when it is not taken.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// The note about the octets that came on a day (UTC), which stands in the place of an id.
pub const RECEIVED: &str = "received";

/// All notes, by their word.
#[derive(Debug, Default)]
pub struct Notes(HashMap<String, Noted>);

/// The messages with a note. An empty id stands for the maildrop.
#[derive(Debug, Default)]
pub struct Noted {
    /// When it was noted, in seconds since 1970.
    at: HashMap<Vec<u8>, u64>,
    /// Octets of all ids.
    octets: usize,
}

/// A ledger that holds more different words than this was not written by us.
pub const WORDS: usize = 100;

/// Messages noted for one word.
pub const MESSAGES: usize = 10_000;

/// Octets of their unique-ids.
pub const OCTETS: usize = 1 << 20;

impl Notes {
    /// Adds a note, or dates it anew. False when there are too many words; a word that is full takes no more.
    pub fn insert(&mut self, word: &str, id: &[u8], at: u64) -> bool {
        let count = self.0.len();
        let noted = match self.0.entry(word.to_owned()) {
            Entry::Vacant(_) if count >= WORDS => return false,
            entry => entry.or_default(),
        };
        if noted.has_room(id) && noted.at.insert(id.to_owned(), at).is_none() {
            noted.octets += id.len();
        }
        true
    }

    /// Takes a note back.
    pub fn remove(&mut self, word: &str, id: &[u8]) {
        let Some(noted) = self.0.get_mut(word) else { return };
        if noted.at.remove(id).is_some() {
            noted.octets -= id.len();
        }
        if noted.at.is_empty() {
            self.0.remove(word);
        }
    }

    /// The messages with this note; `None` when there are none.
    pub fn of(&self, word: &str) -> Option<&Noted> {
        self.0.get(word)
    }

    /// Every word that some message, or the maildrop, is noted for, and how many are; in the order of the alphabet.
    pub fn words(&self) -> impl Iterator<Item = (&str, usize)> {
        let mut words: Vec<_> = self.0.iter().map(|(word, noted)| (&**word, noted.at.len())).collect();
        words.sort_unstable();
        words.into_iter()
    }

    /// True when there is room for one more.
    pub fn has_room(&self, word: &str, id: &[u8]) -> bool {
        self.of(word).is_none_or(|noted| noted.has_room(id))
    }

    /// How many notes are about a message that `is_listed` does not know.
    pub fn unlisted(&self, is_listed: impl Fn(&[u8]) -> bool) -> usize {
        let ids = self.0.values().flat_map(|noted| noted.at.keys());
        ids.filter(|id| !id.is_empty() && !is_listed(id)).count()
    }
}

impl Noted {
    /// True for a message with the note.
    pub fn contains(&self, id: &[u8]) -> bool {
        self.at.contains_key(id)
    }

    /// When it was noted.
    pub fn at(&self, id: &[u8]) -> Option<u64> {
        self.at.get(id).copied()
    }

    /// When the last one was noted.
    pub fn last(&self) -> Option<u64> {
        self.at.values().copied().max()
    }

    /// The messages.
    pub fn ids(&self) -> impl Iterator<Item = &[u8]> {
        self.at.keys().map(Vec::as_slice)
    }

    /// What is said of the maildrop as a whole always has room.
    fn has_room(&self, id: &[u8]) -> bool {
        id.is_empty() || self.contains(id) || (self.at.len() < MESSAGES && self.octets + id.len() <= OCTETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_takes_so_many_messages_and_octets_and_no_more() {
        let mut notes = Notes::default();
        (0..2 * MESSAGES).for_each(|number| assert!(notes.insert("w", number.to_string().as_bytes(), 1)));
        assert_eq!(notes.of("w").unwrap().ids().count(), MESSAGES);
        assert!(!notes.has_room("w", b"another") && notes.has_room("w", b"7") && notes.has_room("v", b"another"));
        notes.remove("w", b"7");
        assert!(notes.insert("w", b"another", 3) && notes.of("w").unwrap().contains(b"another"));
        assert!(notes.insert("w", b"", 2) && notes.of("w").unwrap().at(b"") == Some(2), "the maildrop has room");
        let mut long = Notes::default();
        (0..100u8).for_each(|number| assert!(long.insert("w", &[number; OCTETS / 10], 1)));
        assert_eq!(long.of("w").unwrap().ids().count(), 10);
    }

    #[test]
    fn what_is_taken_back_is_no_note() {
        let mut notes = Notes::default();
        assert!(notes.insert("w", b"a", 1) && notes.insert("w", b"b", 1));
        notes.remove("w", b"a");
        assert_eq!(notes.of("w").unwrap().ids().collect::<Vec<_>>(), [b"b"]);
        assert_eq!(notes.unlisted(|id| id == b"a"), 1);
        notes.remove("w", b"b");
        assert!(notes.of("w").is_none());
    }
}
