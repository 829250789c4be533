//! The first run of an account: what is there already counts as known, as far as its `start` says so.
//!
//! Done once per maildrop. The ids and the note that the account has begun are written together, durably, in one step:
//! when a run dies before that, nothing has been done, and the next one does all of it. Until a session finds nothing
//! more, the note [`STARTING`] says since when it goes on: what has arrived since then is new mail.

use super::facts::Standing;
use super::lane::LaneSet;
use super::line::{Line, id_text};
use super::{ACCOUNT, Error, Ledger, Standings};
use crate::maildrop::{Listed, Listing};

/// The note of a maildrop of which more may have to count as known; its date is that of the first session.
const STARTING: &str = "starting";

/// How far an account has begun with a maildrop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// It has never listed it.
    Never,
    /// It has, at this time: more that was there then may be listed now.
    Since(u64),
    /// All that comes is new.
    Wholly,
}

impl Ledger {
    /// How far an account of the configuration has begun with this maildrop.
    pub fn begun(&self) -> Begun {
        match self.noted(STARTING).and_then(|noted| noted.at(b"")) {
            Some(at) => Begun::Since(at),
            None if self.has_note(ACCOUNT, b"") || self.is_of_an_old_account() || self.is_undecided => Begun::Wholly,
            // The note may have been lost, or taken out by hand.
            None if self.loaded.facts.iter().any(|fact| fact.is_settled && fact.lanes != LaneSet::EMPTY) => {
                Begun::Wholly
            }
            None => Begun::Never,
        }
    }

    /// Notes, durably, that an account has listed this maildrop, and that the messages at these positions count as
    /// fetched. When there are none, all that comes from now on is new.
    pub fn begin(
        &mut self,
        listing: &Listing,
        standings: &Standings,
        positions: &[usize],
        now: u64,
    ) -> Result<(), Error> {
        if positions.is_empty() {
            return self.begin_wholly(now);
        }
        let is_meant = |position: usize, _: &Listed<'_>| positions.binary_search(&position).is_ok();
        let (mut text, _) = self.counting(listing, standings, is_meant, now);
        let at = Some(if self.trusts_clock(now) { now } else { 0 });
        for word in [ACCOUNT, STARTING].into_iter().filter(|word| !self.has_note(word, b"")) {
            Line { note: Some(word.into()), id: Some("".into()), at, ..Line::default() }.write(&mut text);
        }
        self.append_whole(&text)
    }

    /// Notes that an account of the configuration fetches this maildrop.
    pub fn note_account(&mut self, now: u64) -> Result<(), Error> {
        self.note(ACCOUNT, b"", now).map(drop)
    }

    /// Notes, durably, that all that comes from now on is new.
    pub fn begin_wholly(&mut self, now: u64) -> Result<(), Error> {
        self.note_account(now)?;
        self.note_over(STARTING, [&b""[..]])?;
        self.sync()
    }

    /// Writes down, durably, that what is listed and meant counts as fetched: no run of the account wants it. Returns of
    /// how many messages that is news.
    pub fn know(
        &mut self,
        listing: &Listing,
        standings: &Standings,
        is_meant: impl Fn(&[u8]) -> bool,
        now: u64,
    ) -> Result<usize, Error> {
        let (text, news) = self.counting(listing, standings, |_, message| is_meant(message.unique_id), now);
        if news > 0 {
            self.append_whole(&text)?;
        }
        self.acted()?;
        self.sync()?;
        Ok(news)
    }

    /// The lines that let what is meant count as fetched, and how many they are.
    fn counting(
        &self,
        listing: &Listing,
        standings: &Standings,
        is_meant: impl Fn(usize, &Listed<'_>) -> bool,
        now: u64,
    ) -> (Vec<u8>, usize) {
        let at = if self.trusts_clock(now) { now } else { 0 };
        let (mut text, mut news) = (vec![], 0);
        for (position, message) in listing.iter().enumerate() {
            if message.unique_id.is_empty() || !is_meant(position, &message) {
                continue;
            }
            let settled = Some(id_text(message.unique_id));
            let line = match standings.get(position) {
                Standing::New { nth } => {
                    Line { settled, nth: Some(nth), octets: message.octets, at: Some(at), ..Line::default() }
                }
                Standing::Known(fact) => match self.loaded.facts.get(fact) {
                    fact if fact.is_settled => continue,
                    fact => Line { settled, nth: Some(fact.nth), ..Line::default() },
                },
            };
            Line { nth: line.nth.filter(|nth| *nth > 1), ..line }.write(&mut text);
            news += 1;
        }
        (text, news)
    }
}
