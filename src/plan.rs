//! What to do with each message of a maildrop: a function of the listing, the ledger, the account's wishes and the time.
//!
//! No I/O and no clock, so every rule can be read here and tested as a table.

use std::time::Duration;

use crate::account::Keep;
use crate::ledger::{Committed, Key, Ledger, Standing, Standings, State, comparable};
use crate::maildrop::{Listing, MessageNumber};

/// The ledger's note about a message behind which a session got out of step.
pub const OUT_OF_STEP: &str = "out-of-step";

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
    /// To retrieve after all others: behind each of them a session got out of step before.
    pub distrusted: Vec<Key>,
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
    let is_distrusted = |position: &usize| ledger.has_note(OUT_OF_STEP, listing.get(*position).unique_id);
    (0..listing.len()).filter(|position| !is_distrusted(position)).for_each(|position| planner.decide(position));
    let trusted = planner.plan.retrieve.len();
    (0..listing.len()).filter(is_distrusted).for_each(|position| planner.decide(position));
    planner.plan.distrusted = planner.plan.retrieve.split_off(trusted);
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
        let (unique_id, octets) = (message.unique_id.to_vec(), message.octets);
        Key { number: message.number, unique_id, nth, octets, again, reused: false, head: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::maildrop::Durable as _;

    const DAY: u64 = 86400;
    const NOW: u64 = 1_795_423_680;

    const KEEP: Policy = Policy { keep: Keep::Forever, all: false, max_size: None, max_messages: None };
    const DELETE: Policy = Policy { keep: Keep::Never, ..KEEP };
    const FORTNIGHT: Policy = Policy { keep: Keep::For(Duration::from_secs(14 * DAY)), ..KEEP };

    /// A ledger with these lines below its header.
    fn ledger(lines: &[String]) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let header = "{\"popfetch\":2,\"maildrop\":\"u@h\"}".to_owned();
        let text = [&[header], lines].concat().join("\n") + "\n";
        std::fs::write(folder.path().join("l.jsonl"), text).unwrap();
        Ledger::open(folder.path(), "l", "u@h").unwrap().0
    }

    fn delivered(id: &str, octets: u64, days_ago: u64) -> String {
        format!("{{\"delivered\":\"{id}\",\"octets\":{octets},\"at\":{}}}", NOW - days_ago * DAY)
    }

    fn listing(messages: &[(&str, u64)]) -> Listing {
        let mut listing = Listing::default();
        listing.has_unique_ids = messages.iter().any(|(id, _)| !id.is_empty());
        for ((id, octets), number) in messages.iter().zip(1..) {
            assert!(listing.push(MessageNumber(number), id.as_bytes()));
            listing.set_octets(listing.len() - 1, *octets);
        }
        listing
    }

    fn plan(ledger: &mut Ledger, messages: &[(&str, u64)], policy: Policy) -> Plan {
        let listing = listing(messages);
        let standings = ledger.locate(&listing);
        make(&listing, &standings, ledger, &policy, NOW).unwrap()
    }

    /// Message-numbers to retrieve and to delete.
    fn numbers(plan: &Plan) -> (Vec<u32>, Vec<u32>) {
        let retrieve = plan.retrieve.iter().map(|key| key.number.0).collect();
        (retrieve, plan.delete.iter().map(|committed| committed.number().0).collect())
    }

    #[test]
    fn what_is_new_is_retrieved_and_what_is_known_is_not() {
        let mut ledger = ledger(&[delivered("a", 1, 3)]);
        let listed = [("a", 1), ("b", 2)];
        assert_eq!(numbers(&plan(&mut ledger, &listed, KEEP)), (vec![2], vec![]));
        assert_eq!(numbers(&plan(&mut ledger, &listed, DELETE)), (vec![2], vec![1]));
        assert_eq!(numbers(&plan(&mut ledger, &listed, Policy { all: true, ..KEEP })), (vec![1, 2], vec![]));
        assert!(plan(&mut ledger, &listed, Policy { all: true, ..KEEP }).retrieve[0].again);
    }

    #[test]
    fn a_message_is_deleted_that_long_after_it_was_first_seen() {
        let mut ledger = ledger(&[delivered("a", 1, 14), delivered("b", 1, 13)]);
        assert_eq!(numbers(&plan(&mut ledger, &[("a", 1), ("b", 1)], FORTNIGHT)), (vec![], vec![1]));
    }

    #[test]
    fn limits_leave_messages_for_later_or_for_ever() {
        let mut ledger = ledger(&[]);
        let listed = [("a", 10), ("b", 99), ("c", 10), ("d", 10)];
        let policy = Policy { max_size: Some(10), max_messages: Some(2), ..KEEP };
        let plan = plan(&mut ledger, &listed, policy);
        assert_eq!(numbers(&plan), (vec![1, 3], vec![]));
        assert_eq!((plan.skipped.later, plan.skipped.too_large), (1, vec![(MessageNumber(2), 99)]));
    }

    #[test]
    fn without_unique_ids_only_what_is_deleted_can_be_fetched() {
        let mut ledger = ledger(&[]);
        let listed = listing(&[("", 1)]);
        let standings = ledger.locate(&listed);
        assert_eq!(make(&listed, &standings, &ledger, &KEEP, NOW).unwrap_err(), NoUniqueIds);
        assert_eq!(numbers(&plan(&mut ledger, &[("", 1), ("", 1)], DELETE)), (vec![1, 2], vec![]));
        assert_eq!(numbers(&plan(&mut ledger, &[("", 1)], Policy { all: true, ..KEEP })), (vec![1], vec![]));
        let mixed = plan(&mut ledger, &[("", 1), ("a", 1)], KEEP);
        assert_eq!((numbers(&mixed), mixed.skipped.nameless), ((vec![2], vec![]), 1));
    }

    #[test]
    fn an_id_listed_twice_is_never_deleted_on_the_ledgers_word() {
        let mut ledger = ledger(&[delivered("x", 5, 0)]);
        let twice = plan(&mut ledger, &[("x", 5), ("x", 5)], DELETE);
        assert_eq!((numbers(&twice), twice.skipped.repeated), ((vec![2], vec![]), 1));
        assert_eq!(twice.retrieve[0].nth, 2);
        assert_eq!(numbers(&plan(&mut ledger, &[("x", 5)], DELETE)), (vec![], vec![1]));
    }

    #[test]
    fn a_used_id_is_another_message_when_its_size_is_another() {
        for over in ["deleted", "gone"] {
            let mut ledger = ledger(&[delivered("x", 5, 0), format!("{{\"{over}\":\"x\",\"at\":{NOW}}}")]);
            let other = plan(&mut ledger, &[("x", 6)], DELETE);
            assert_eq!(numbers(&other), (vec![1], vec![]), "{over}");
            assert!(other.retrieve[0].again);
            let same = plan(&mut ledger, &[("x", 5)], DELETE);
            assert_eq!(same.retrieve, [], "{over}");
            // What the server said it had deleted is left alone; what was only gone for a while is as before.
            assert_eq!((same.delete.len(), same.skipped.relisted), if over == "deleted" { (0, 1) } else { (1, 0) });
        }
    }

    #[test]
    fn only_sizes_that_decide_are_asked_for() {
        let mut ledger =
            ledger(&[delivered("a", 1, 0), delivered("b", 1, 0), format!("{{\"gone\":\"b\",\"at\":{NOW}}}")]);
        let mut listed = Listing::default();
        for (id, number) in ["a", "b", "c"].iter().zip(1..) {
            assert!(listed.push(MessageNumber(number), id.as_bytes()));
        }
        let standings = ledger.locate(&listed);
        assert_eq!(sizes_needed(&listed, &standings, &ledger, &KEEP), [1, 2]);
        assert_eq!(sizes_needed(&listed, &standings, &ledger, &Policy { all: true, ..KEEP }), [0, 1, 2]);
    }
}
