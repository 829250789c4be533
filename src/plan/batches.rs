//! Maildrops that the server hands out in batches.
//!
//! Gmail lists the messages of its 250 oldest conversations that were not retrieved yet, some 265, whatever there is. A
//! message is retrieved when a session with its RETR has ended in QUIT, and is not listed again then, though nobody has
//! deleted it. So the rest comes in further sessions; and what was delivered by a session that broke off is listed until
//! it is retrieved once more.
//!
//! Which server does so is learnt, as a note in the ledger; of Gmail it is known.

use std::time::Duration;

use super::View;
use crate::account::Keep;
use crate::ledger::{Ledger, Standing, State};

/// The note about a maildrop that is handed out in batches.
pub const BATCHES: &str = "batches";

/// The note about one that lists everything, and how long that counts.
pub const WHOLE: &str = "whole";
const WHOLE_FOR: Duration = Duration::from_secs(30 * 86400);

/// Fewer messages than this are no batch: there are no others.
const BATCH: usize = 250;

/// No batch of a server that is not known for them has more.
const LARGEST: usize = 400;

/// What a session has found and done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Batch {
    /// Messages that were listed.
    pub listed: usize,
    /// Those that were known, and stayed.
    pub known: usize,
    /// Those that were retrieved, among them known ones to be compared, or deleted.
    pub taken: usize,
    /// New ones among these.
    pub new: usize,
    /// Those that are retrieved by a session that has nothing to delete.
    pub postponed: usize,
}

/// True for a maildrop that is known to be handed out in batches.
pub fn are_handed_out(ledger: &Ledger, now: u64) -> bool {
    ledger.has_note(BATCHES, b"") || (is_gmail(ledger.maildrop()) && !is_whole(ledger, now))
}

/// True where a listing of this length, of a server that keeps nothing that was retrieved (EXPIRE 0), is likely a batch:
/// Gmail's is, also by way of another host.
pub fn is_like_a_batch(ledger: &Ledger, listed: usize, now: u64) -> bool {
    let may_be_gmail = !ledger.maildrop().starts_with("recent:") && !is_whole(ledger, now);
    may_be_gmail && (BATCH..=LARGEST).contains(&listed)
}

fn is_whole(ledger: &Ledger, now: u64) -> bool {
    ledger.has_fresh_note(WHOLE, now, WHOLE_FOR)
}

/// With `recent:` before the name of the user Gmail lists all messages of the last 30 days.
fn is_gmail(maildrop: &str) -> bool {
    let host = maildrop.rsplit_once('@').map_or("", |(_, host)| host);
    let host = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    ["pop.gmail.com", "pop.googlemail.com"].contains(&&*host) && !maildrop.starts_with("recent:")
}

impl Batch {
    /// True when one more session may find other messages: of a server that hands out batches, and of any other after as
    /// many messages as a batch has, most of them new, unless that was in vain lately.
    pub fn may_be_followed(&self, ledger: &Ledger, now: u64) -> bool {
        let is_like_one = || self.listed <= LARGEST && self.new * 2 >= self.listed && !is_whole(ledger, now);
        self.listed >= BATCH && self.taken > 0 && (is_like_one() || are_handed_out(ledger, now))
    }

    /// True when QUIT may take away what this session retrieves, whether or not it is safe by then.
    pub fn is_taken_by_quit(&self, ledger: &Ledger, now: u64) -> bool {
        self.may_be_followed(ledger, now) || are_handed_out(ledger, now)
    }

    /// What a listing with so many messages, and so many new ones, shows in the session after this one: the note to be
    /// written, and the one that is over.
    pub fn lesson(&self, listed: usize, new: usize) -> Option<(&'static str, &'static str)> {
        // Half-way between all that was taken and nothing of it.
        if (listed - new) * 2 > self.known * 2 + self.taken {
            Some((WHOLE, BATCHES))
        } else if listed >= BATCH && new * 2 >= listed {
            Some((BATCHES, WHOLE))
        } else {
            None
        }
    }
}

impl View<'_> {
    /// Positions of known messages that have to be retrieved once more, so that the server lists others in their place, and
    /// their facts. It still lists them because the sessions that brought them broke off, or because nobody has ever
    /// retrieved them.
    pub fn in_the_way(&self) -> Vec<(usize, u32)> {
        let is_batch = self.listing.len() >= BATCH && !self.policy.all;
        if !is_batch || !are_handed_out(self.ledger, self.now) {
            return vec![];
        }
        let known = (0..self.listing.len()).filter_map(|position| match self.standings.get(position) {
            Standing::Known(fact) if !self.standings.is_repeated(position) => Some((position, fact)),
            _ => None,
        });
        let is_done = |(position, number): &(usize, u32)| {
            let fact = self.ledger.facts().get(*number);
            let is_deleted = self.policy.keep == Keep::Never && self.is_deletable(*position);
            fact.state == State::Delivered && self.ledger.lacks(&fact).is_empty() && !is_deleted
        };
        let known: Vec<(usize, u32)> = known.filter(is_done).collect();
        if known.len() * 2 >= self.listing.len() { known } else { vec![] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_423_680;

    fn ledger(maildrop: &str, notes: &[(&str, u64)]) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let note = |(word, days_ago): &(&str, u64)| {
            format!("{{\"note\":\"{word}\",\"id\":\"\",\"at\":{}}}\n", NOW - days_ago * 86400)
        };
        let notes: String = notes.iter().map(note).collect();
        let text = format!("{{\"popfetch\":3,\"maildrop\":\"{maildrop}\"}}\n{notes}");
        std::fs::write(folder.path().join("l.jsonl"), text).unwrap();
        Ledger::open(folder.path(), "l", maildrop).unwrap().0
    }

    fn batch(listed: usize, known: usize, taken: usize, new: usize) -> Batch {
        Batch { listed, known, taken, new, postponed: 0 }
    }

    #[test]
    fn one_more_session_needs_a_reason() {
        const NONE: &[(&str, u64)] = &[];
        for (maildrop, notes, batch, is_followed) in [
            ("u@h", NONE, batch(249, 0, 249, 249), false),
            ("u@h", NONE, batch(250, 0, 250, 250), true),
            ("u@h", NONE, batch(400, 200, 200, 200), true),
            ("u@h", NONE, batch(400, 201, 199, 199), false),
            ("u@h", NONE, batch(401, 0, 401, 401), false),
            ("u@h", NONE, batch(300, 300, 0, 0), false),
            ("u@h", NONE, batch(300, 0, 300, 0), false),
            ("u@h", &[(WHOLE, 29)], batch(250, 0, 250, 250), false),
            ("u@h", &[(WHOLE, 31)], batch(250, 0, 250, 250), true),
            ("u@h", &[(BATCHES, 400)], batch(9000, 8999, 1, 1), true),
            ("u@h", &[(BATCHES, 400)], batch(249, 0, 249, 249), false),
            ("u@pop.gmail.com", NONE, batch(265, 264, 1, 1), true),
            ("u@g.org@POP.googlemail.com.", NONE, batch(265, 265, 265, 0), true),
            ("u@pop.gmail.com:1995", NONE, batch(265, 264, 1, 1), true),
            ("recent:u@pop.gmail.com", NONE, batch(265, 264, 1, 1), false),
            ("u@pop.gmail.com.example", NONE, batch(265, 264, 1, 1), false),
            ("u@pop.gmail.com", &[(WHOLE, 1)], batch(265, 264, 1, 1), false),
        ] {
            assert_eq!(batch.may_be_followed(&ledger(maildrop, notes), NOW), is_followed, "{maildrop} {batch:?}");
        }
    }

    #[test]
    fn the_next_listing_tells_what_the_server_does() {
        for (before, listed, new, lesson) in [
            // All of it is listed still; all of it is gone, and others came.
            (batch(250, 0, 250, 250), 250, 0, Some((WHOLE, BATCHES))),
            (batch(250, 0, 250, 250), 500, 250, Some((WHOLE, BATCHES))),
            (batch(250, 0, 250, 250), 250, 250, Some((BATCHES, WHOLE))),
            // Others cannot be told from new mail when they are few.
            (batch(250, 0, 250, 250), 40, 40, None),
            (batch(250, 0, 250, 250), 0, 0, None),
            // What a broken session left stays listed.
            (batch(250, 120, 130, 130), 250, 130, Some((BATCHES, WHOLE))),
            (batch(250, 120, 130, 130), 210, 90, None),
            (batch(250, 120, 130, 130), 250, 0, Some((WHOLE, BATCHES))),
            // Known messages were retrieved once more, and are gone, or not.
            (batch(250, 0, 250, 0), 250, 250, Some((BATCHES, WHOLE))),
            (batch(250, 0, 250, 0), 250, 0, Some((WHOLE, BATCHES))),
        ] {
            assert_eq!(before.lesson(listed, new), lesson, "{before:?} {listed} {new}");
        }
    }
}
