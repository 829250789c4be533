//! Messages that a lane refuses in run after run, as lines of a ledger: the newest line about a message and a lane counts.
//!
//! Of both together it knows in how many runs the lane refused the message while it took another one. After [`MOST`] of
//! them the message is quarantined there: no run brings it to that lane any more. The lane is owed it still, so nothing
//! deletes it.

use std::collections::BTreeMap;

use super::lane::Lanes;
use super::line::{Line, id_octets, id_text};
use super::notes::{MESSAGES, OCTETS};
use super::{Error, Ledger};

/// The word of such a note.
pub(super) const REFUSALS: &str = "refusals";

/// So many runs in which a lane refuses a message and takes another one are enough.
pub const MOST: u32 = 5;

/// Messages that lanes have refused, by their unique-ids.
#[derive(Debug, Default)]
pub struct Refusals {
    of: BTreeMap<Vec<u8>, Vec<Refusal>>,
    /// Octets of all ids.
    octets: usize,
}

/// What is known of a message and a lane.
#[derive(Debug)]
struct Refusal {
    lane: String,
    times: u32,
}

impl Refusals {
    /// Takes a line in; `None` when it lacks something. Beyond so many messages a line says nothing.
    pub fn take(&mut self, line: &Line<'_>) -> Option<()> {
        let (id, lane) = (id_octets(line.id.as_deref()?)?, line.lane.as_deref()?);
        match line.over {
            true => self.remove(&id, lane),
            false => self.set(&id, lane, line.times?),
        }
        Some(())
    }

    fn set(&mut self, id: &[u8], lane: &str, times: u32) {
        if !self.of.contains_key(id) {
            if self.of.len() >= MESSAGES || self.octets + id.len() > OCTETS {
                return;
            }
            self.octets += id.len();
        }
        let lanes = self.of.entry(id.to_vec()).or_default();
        match lanes.iter_mut().find(|refusal| refusal.lane == lane) {
            Some(refusal) => refusal.times = times,
            None => lanes.push(Refusal { lane: lane.to_owned(), times }),
        }
    }

    fn remove(&mut self, id: &[u8], lane: &str) {
        let Some(lanes) = self.of.get_mut(id) else { return };
        lanes.retain(|refusal| refusal.lane != lane);
        if lanes.is_empty() {
            self.of.remove(id);
            self.octets -= id.len();
        }
    }

    fn times(&self, id: &[u8], lane: &str) -> u32 {
        let lanes = self.of.get(id).into_iter().flatten();
        lanes.filter(|refusal| refusal.lane == lane).map(|refusal| refusal.times).next().unwrap_or(0)
    }
}

impl Ledger {
    /// The lanes of this run at which the message is quarantined.
    pub fn quarantined(&self, id: &[u8]) -> Lanes {
        match self.loaded.refusals.of.get(id) {
            Some(refusals) => self.quarantine_of(refusals),
            None => Lanes::NONE,
        }
    }

    fn quarantine_of(&self, refusals: &[Refusal]) -> Lanes {
        let is_over = |name: &String| refusals.iter().any(|refusal| refusal.times >= MOST && refusal.lane == *name);
        let lanes = &self.loaded.lanes;
        let own = (0..lanes.own().len()).filter(|lane| lanes.own_name(*lane).as_ref().is_some_and(is_over));
        own.fold(Lanes::NONE, Lanes::with)
    }

    /// The messages that are quarantined at a lane of this run, and at which.
    pub fn quarantine(&self) -> impl Iterator<Item = (&[u8], Lanes)> {
        let all = self.loaded.refusals.of.iter();
        all.map(|(id, refusals)| (&**id, self.quarantine_of(refusals))).filter(|(_, lanes)| !lanes.is_empty())
    }

    /// True for a message that some lane has refused while it took others.
    pub fn is_refused(&self, id: &[u8]) -> bool {
        self.loaded.refusals.of.contains_key(id)
    }

    /// True for a message that a lane of this run has.
    pub fn is_at(&mut self, lane: usize, id: &[u8]) -> bool {
        let fact = self.loaded.facts.find(id, 1).map(|fact| self.loaded.facts.get(fact));
        fact.is_some_and(|fact| !self.loaded.lanes.lacking(fact.lanes).has(lane))
    }

    /// Counts one more run in which these lanes refused these messages, though they took others. Returns those that are
    /// quarantined by that, durably.
    pub fn note_refusals(&mut self, refused: Vec<(usize, Vec<u8>)>, at: u64) -> Result<Vec<(usize, Vec<u8>)>, Error> {
        let (mut text, mut lines, mut quarantined) = (vec![], 0, vec![]);
        for (position, id) in refused {
            let Some(name) = self.loaded.lanes.own_name(position) else { continue };
            let times = self.loaded.refusals.times(&id, &name).saturating_add(1);
            self.loaded.refusals.set(&id, &name, times);
            let (note, at) = (Some(REFUSALS.into()), Some(at));
            let lane = Some((&*name).into());
            Line { note, id: Some(id_text(&id)), at, times: Some(times), lane, ..Line::default() }.write(&mut text);
            lines += 1;
            if times == MOST {
                quarantined.push((position, id));
            }
        }
        if lines > 0 {
            self.append(&text, lines)?;
            self.loaded.others += lines;
        }
        if !quarantined.is_empty() {
            self.sync()?;
        }
        Ok(quarantined)
    }

    /// Forgets, durably, that lanes refused these messages, so that they are tried there again. Returns how many there are
    /// of them.
    pub fn free(&mut self, is_meant: impl Fn(&[u8]) -> bool) -> Result<usize, Error> {
        let ids: Vec<Vec<u8>> = self.loaded.refusals.of.keys().filter(|id| is_meant(id)).cloned().collect();
        let (mut text, mut lines) = (vec![], 0);
        for id in &ids {
            for Refusal { lane, .. } in self.loaded.refusals.of.remove(id).unwrap_or_default() {
                let (note, lane) = (Some(REFUSALS.into()), Some((&*lane).into()));
                Line { note, id: Some(id_text(id)), over: true, lane, ..Line::default() }.write(&mut text);
                lines += 1;
            }
            self.loaded.refusals.octets -= id.len();
        }
        if lines > 0 {
            self.append(&text, lines)?;
            self.loaded.others += lines;
            self.sync()?;
        }
        Ok(ids.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Target;
    use crate::ledger::Wanted;

    #[test]
    fn refusals_are_counted_by_lane_and_survive_a_rewrite() {
        let folder = tempfile::tempdir().unwrap();
        let open = |words: &str| {
            let mut ledger = Ledger::open(folder.path(), "l", "u@h").unwrap().0;
            ledger.serve(&[Target::maildir("/m"), Target::mda([words])], Wanted::Unsettled);
            ledger
        };
        for times in 1..=MOST + 1 {
            let mut ledger = open("a");
            let news = ledger.note_refusals(vec![(1, b"x".to_vec())], 1).unwrap();
            assert_eq!(news.len(), usize::from(times == MOST), "{times}");
            ledger.compact(|_, _| true, |_| true).unwrap();
            assert_eq!(ledger.quarantined(b"x") == Lanes::NONE.with(1), times >= MOST, "{times}");
        }
        assert_eq!(open("b").quarantined(b"x"), Lanes::NONE);
        assert_eq!(open("a").quarantine().collect::<Vec<_>>(), [(&b"x"[..], Lanes::NONE.with(1))]);
        assert_eq!(open("b").free(|id| id == b"x").unwrap(), 1);
        assert!(!open("a").is_refused(b"x"));
    }

    #[test]
    fn no_more_messages_are_remembered_than_there_is_room_for() {
        let mut refusals = Refusals::default();
        (0..2 * MESSAGES).for_each(|number| refusals.set(number.to_string().as_bytes(), "a", 1));
        assert_eq!(refusals.of.len(), MESSAGES);
        refusals.remove(b"7", "a");
        refusals.set(b"another", "a", 1);
        assert!(refusals.times(b"another", "a") == 1 && refusals.times(b"7", "a") == 0);
        (0..100u8).for_each(|number| refusals.set(&[number; OCTETS / 10], "a", 1));
        assert!(refusals.octets <= OCTETS);
    }
}
