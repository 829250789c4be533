//! When a message that is safe at home is deleted on the server: `keep`, `keep_newest` and `delete_over`, of which any
//! one that asks decides.
//!
//! Whether it may be deleted at all is for the plan to say.

use super::View;
use crate::account::Keep;
use crate::ledger::{Decided, Fact, Standing, is_date};

/// What the account asks of the messages of one listing.
pub struct Retention {
    keep: Keep,
    now: u64,
    trusts_clock: bool,
    /// What rules have decided about a message stands in the place of `keep`.
    heeds_rules: bool,
    /// A rule may delete what was never fetched.
    may_discard: bool,
    /// By position: older than the newest, or too much for the server. Empty where nobody asks for it.
    beyond: Vec<bool>,
}

impl Retention {
    pub(super) fn of(view: &View<'_>) -> Self {
        let keep = view.policy.keep;
        // It takes a moment to find out, and matters to no other.
        let counts_days = matches!(keep, Keep::For(_)) || view.policy.has_rules || !view.ledger.facts().are_undecided();
        let trusts_clock = counts_days && view.ledger.trusts_clock(view.now);
        let beyond = if view.asks_for_order_of_age() { beyond(view) } else { vec![] };
        // A run by URL is about what it says itself.
        let (heeds_rules, may_discard) = (!view.ledger.is_by_url(), view.policy.may_discard);
        Retention { keep, now: view.now, trusts_clock, heeds_rules, may_discard, beyond }
    }

    /// From when on a known message is to be deleted, in seconds since 1970; `None`: nothing asks for it, or the clock
    /// is wrong. A time that has passed is the next run's.
    pub fn due_at(&self, position: usize, fact: &Fact) -> Option<u64> {
        match self.beyond.get(position) {
            _ if self.heeds_rules && is_kept_for_ever(fact) => None,
            Some(true) => Some(self.now),
            _ => self.due_by_time(fact),
        }
    }

    fn due_by_time(&self, fact: &Fact) -> Option<u64> {
        let keep = match fact.decided.filter(|_| self.heeds_rules) {
            Some(Decided::Discard) if !self.may_discard => Keep::Forever,
            Some(Decided::Discard) => Keep::Never,
            Some(Decided::Keep(keep)) => keep,
            None => self.keep,
        };
        match keep {
            Keep::Forever => None,
            Keep::Never => Some(self.now),
            Keep::For(time) => {
                let since = u64::from(fact.at);
                (self.trusts_clock && is_date(since)).then(|| since.saturating_add(time.as_secs()))
            }
        }
    }

    pub(super) fn is_due(&self, position: usize, fact: &Fact) -> bool {
        self.due_at(position, fact).is_some_and(|at| at <= self.now)
    }

    /// The same as `keep` alone says it: of what is retrieved, only the next run knows whether it is among the newest.
    pub(super) fn is_due_by_time(&self, fact: &Fact) -> bool {
        self.due_by_time(fact).is_some_and(|at| at <= self.now)
    }
}

/// True for a message that stays on the server whatever the account says.
pub(super) fn is_kept_for_ever(fact: &Fact) -> bool {
    fact.decided == Some(Decided::Keep(Keep::Forever))
}

/// True for a message that `keep` asks to delete as soon as all lanes have it; `clock` is now, where that can be trusted.
pub fn is_due(keep: Keep, fact: &Fact, clock: Option<u64>) -> bool {
    let (now, trusts_clock) = (clock.unwrap_or_default(), clock.is_some());
    Retention { keep, now, trusts_clock, heeds_rules: false, may_discard: false, beyond: vec![] }.is_due_by_time(fact)
}

/// Finds what `keep_newest` and `delete_over` ask to delete: the messages that were seen first are the oldest, and of
/// those of one moment the first ones of the listing. What was never seen, or when the clock was wrong, is the newest.
///
/// What cannot be deleted takes its place among the newest, and its octets, all the same.
fn beyond(view: &View<'_>) -> Vec<bool> {
    let listing = view.listing;
    let octets = |position: usize| listing.get(position).octets.unwrap_or(0);
    let mut total = (0..listing.len()).fold(0u64, |sum, position| sum.saturating_add(octets(position)));
    let first_seen = |position: usize| match view.standings.get(position) {
        Standing::Known(fact) => Some(view.ledger.facts().get(fact).at).filter(|at| is_date(u64::from(*at))),
        Standing::New { .. } => None,
    };
    let mut by_age: Vec<(u32, usize)> =
        (0..listing.len()).filter_map(|position| Some((first_seen(position)?, position))).collect();
    by_age.sort_unstable();
    let newest = view.policy.keep_newest.unwrap_or(u64::MAX);
    let most = view.policy.delete_over.unwrap_or(u64::MAX);
    let mut beyond = vec![false; listing.len()];
    for (age, (_, position)) in by_age.into_iter().enumerate() {
        let is_beyond = (listing.len() - age) as u64 > newest || total > most;
        if !is_beyond {
            break;
        }
        if view.is_deletable(position) {
            beyond[position] = true;
            total = total.saturating_sub(octets(position));
        }
    }
    beyond
}
