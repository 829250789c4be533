//! What to do with each message of a maildrop: a function of the listing, the ledger, the account's wishes and the time.
//!
//! No I/O and no clock, so every rule can be read here and tested as a table.

use std::time::Duration;

use crate::account::Keep;
use crate::ledger::{Committed, Key, Ledger, Standing, Standings, State, comparable};
use crate::maildrop::{Listing, MessageNumber};

/// The wishes of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What happens on the server to what is safe at home.
    pub keep: Keep,
    /// Known messages are fetched again.
    pub all: bool,
    /// Larger messages stay where they are.
    pub max_size: Option<u64>,
    /// No more messages than this in one run.
    pub max_messages: Option<u64>,
}

/// What to do in one session.
#[derive(Debug, Default)]
pub struct Plan {
    /// To retrieve, in the server's order.
    pub retrieve: Vec<Key>,
    /// Delivered by an earlier run, and due to be deleted now.
    pub delete: Vec<Committed>,
    /// Left where they are, and why.
    pub skipped: Skipped,
}

/// Messages that stay on the server untouched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Known from earlier runs.
    pub known: usize,
    /// Larger than the account wants: number and octets.
    pub too_large: Vec<(MessageNumber, u64)>,
    /// Beyond the account's `max_messages`; the next run takes them.
    pub later: usize,
    /// Without a unique-id, so that keeping them would fetch them again on every run.
    pub nameless: usize,
    /// Delivered, but not deleted, because the id is listed more than once and proves nothing.
    pub repeated: usize,
    /// Listed although the server had confirmed their deletion.
    pub relisted: usize,
}

/// Without unique-ids nothing can be remembered, so a maildrop that is to be kept cannot be fetched: each run would
/// deliver everything again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoUniqueIds;

/// Positions whose size must be known before [`make`] can decide, in ascending order: everything that may be retrieved,
/// and ids of which there are, or were, several.
pub fn sizes_needed(listing: &Listing, standings: &Standings, ledger: &Ledger, policy: &Policy) -> Vec<usize> {
    (0..listing.len())
        .filter(|position| listing.get(*position).octets.is_none())
        .filter(|position| match standings.get(*position) {
            Standing::New { .. } => true,
            Standing::Known(fact) => {
                policy.all || standings.is_repeated(*position) || ledger.facts().get(fact).state != State::Delivered
            }
        })
        .collect()
}

/// Decides. `now` is in seconds since 1970.
pub fn make(
    listing: &Listing,
    standings: &Standings,
    ledger: &Ledger,
    policy: &Policy,
    now: u64,
) -> Result<Plan, NoUniqueIds> {
    if !listing.is_empty() && !listing.has_unique_ids && policy.keep != Keep::Never && !policy.all {
        return Err(NoUniqueIds);
    }
    let mut planner = Planner { listing, standings, ledger, policy, now, plan: Plan::default() };
    (0..listing.len()).for_each(|position| planner.decide(position));
    Ok(planner.plan)
}

struct Planner<'a> {
    listing: &'a Listing,
    standings: &'a Standings,
    ledger: &'a Ledger,
    policy: &'a Policy,
    now: u64,
    plan: Plan,
}

impl Planner<'_> {
    fn decide(&mut self, position: usize) {
        let Standing::Known(fact) = self.standings.get(position) else { return self.wanted(position) };
        if self.is_another_message(position, fact) || self.policy.all {
            return self.wanted(position);
        }
        self.known(position, fact);
    }

    /// RFC 1939 §7 lets a server use an id again once its message is gone; a different size tells.
    fn is_another_message(&self, position: usize, fact: u32) -> bool {
        let known = self.ledger.facts().get(fact);
        known.state != State::Delivered && comparable(self.listing.get(position).octets) != known.octets
    }

    fn known(&mut self, position: usize, fact: u32) {
        let known = self.ledger.facts().get(fact);
        let number = self.listing.get(position).number;
        self.plan.skipped.known += 1;
        if known.state == State::Deleted {
            self.plan.skipped.relisted += 1;
            return;
        }
        if !self.is_due(known.at) {
            return;
        }
        if self.standings.is_repeated(position) {
            self.plan.skipped.repeated += 1;
            return;
        }
        self.plan.delete.extend(self.ledger.committed(fact, number));
    }

    fn is_due(&self, since: u32) -> bool {
        match self.policy.keep {
            Keep::Forever => false,
            Keep::Never => true,
            Keep::For(time) => Duration::from_secs(self.now.saturating_sub(u64::from(since))) >= time,
        }
    }

    fn wanted(&mut self, position: usize) {
        let message = self.listing.get(position);
        let skipped = &mut self.plan.skipped;
        if message.unique_id.is_empty() && self.policy.keep != Keep::Never && !self.policy.all {
            skipped.nameless += 1;
            return;
        }
        if let (Some(octets), Some(limit)) = (message.octets, self.policy.max_size)
            && octets > limit
        {
            skipped.too_large.push((message.number, octets));
            return;
        }
        if self.policy.max_messages.is_some_and(|limit| self.plan.retrieve.len() as u64 >= limit) {
            skipped.later += 1;
            return;
        }
        self.plan.retrieve.push(self.key(position));
    }

    fn key(&self, position: usize) -> Key {
        let message = self.listing.get(position);
        let (nth, again) = match self.standings.get(position) {
            Standing::New { nth } => (nth, false),
            Standing::Known(fact) => (self.ledger.facts().get(fact).nth, true),
        };
        Key { number: message.number, unique_id: message.unique_id.to_vec(), nth, octets: message.octets, again }
    }
}
