//! Messages that a target refuses again and again, though it takes others.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::transfer::Taking;
use super::{Failure, Fetch};
use crate::ledger::{Key, Ledger};
use crate::maildrop::{Listing, MessageNumber};
use crate::notice::Notice;
use crate::os::clock::now;

/// What lanes have taken and refused in one run, in all its sessions.
#[derive(Debug, Default)]
pub(super) struct Takings {
    /// Lanes that took a message.
    took: BTreeSet<usize>,
    /// Lanes, and the unique-ids of messages that they refused.
    refused: BTreeSet<(usize, Vec<u8>)>,
}

impl Takings {
    /// Adds those of one session. An id that is listed twice proves nothing.
    pub fn add(&mut self, takings: &[Taking], listing: &Listing) {
        self.took.extend(takings.iter().filter(|taking| taking.took).map(|taking| taking.lane));
        let refused = takings.iter().flat_map(|taking| taking.refused.iter().map(|number| (*number, taking.lane)));
        let refused: Vec<(MessageNumber, usize)> = refused.collect();
        if refused.is_empty() {
            return;
        }
        let mut listed: HashMap<&[u8], u32> = HashMap::new();
        listing.iter().for_each(|message| *listed.entry(message.unique_id).or_default() += 1);
        let ids: HashMap<MessageNumber, &[u8]> =
            listing.iter().map(|message| (message.number, message.unique_id)).collect();
        let named = refused.iter().filter_map(|(number, lane)| Some((*lane, *ids.get(number)?)));
        let named = named.filter(|(_, id)| !id.is_empty() && listed[id] == 1);
        self.refused.extend(named.map(|(lane, id)| (lane, id.to_vec())));
    }
}

impl Fetch<'_> {
    /// What is another message under a used unique-id was never refused.
    pub(super) fn free_reused(&self, wanted: &[Key], ledger: &mut Ledger) -> Result<(), Failure> {
        let reused: BTreeSet<&[u8]> = wanted.iter().filter(|key| key.reused).map(|key| &*key.unique_id).collect();
        if !reused.is_empty() {
            ledger.free(|id| reused.contains(id))?;
        }
        Ok(())
    }

    /// Counts, once a run, what lanes refused while they took others, and says what is quarantined by that.
    pub(super) fn note_refusals(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        let Takings { took, refused } = std::mem::take(&mut self.takings);
        let mut is_counted = |(lane, id): &(usize, Vec<u8>)| took.contains(lane) && !ledger.is_at(*lane, id);
        let refused = refused.into_iter().filter(|refused| is_counted(refused)).collect();
        let mut quarantined: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
        for (lane, id) in ledger.note_refusals(refused, now())? {
            quarantined.entry(lane).or_default().push(id);
        }
        let notice = |(lane, ids): (usize, Vec<Vec<u8>>)| Notice::Quarantined {
            target: self.account.targets[lane].to_string(),
            ids,
        };
        self.summary.notices.extend(quarantined.into_iter().map(notice));
        Ok(())
    }
}
