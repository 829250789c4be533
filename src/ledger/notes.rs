//! Words that a ledger remembers about messages, or about the maildrop as a whole.
//!
//! A note is about what was found out, not about what was delivered: its message need not be a known one. Notes whose
//! message is no longer listed go with compaction.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// All notes: by their word, the ids of messages. An empty id stands for the maildrop.
#[derive(Debug, Default)]
pub struct Notes(HashMap<String, HashSet<Vec<u8>>>);

/// A ledger that holds more different words than this was not written by us.
const WORDS: usize = 100;

impl Notes {
    /// Adds a note. False, and nothing is added, when there are too many words.
    pub fn insert(&mut self, word: &str, id: &[u8]) -> bool {
        let count = self.0.len();
        match self.0.entry(word.to_owned()) {
            Entry::Vacant(_) if count >= WORDS => return false,
            entry => entry.or_default().insert(id.to_owned()),
        };
        true
    }

    /// The messages with this note; `None` when there are none.
    pub fn of(&self, word: &str) -> Option<&HashSet<Vec<u8>>> {
        self.0.get(word)
    }
}
