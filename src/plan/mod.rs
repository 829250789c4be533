//! What to do with each message of a maildrop: a function of the listing, the ledger, the account's wishes and the time.
//!
//! No I/O and no clock, so every rule can be read here and tested as a table. A ledger is a belief about another machine:
//! before it makes anything be deleted, [`View::sizes_needed`] and [`View::heads_needed`] say what the server is to be
//! asked, and [`View::plan`] weighs the answers.

mod batches;
mod order;
mod outlook;
mod retention;
mod ruling;
mod start;

use std::collections::HashMap;
use std::fmt;

use crate::account::{Keep, Order};
use crate::failure::{Failure, Kind};
use crate::ledger::{
    DOUBTFUL, Decided, Fact, Identity, Key, LaneSet, Lanes, Ledger, MISFIT, Noted, Recorded, Ruled, Standing,
    Standings, State, comparable,
};
use crate::maildrop::Listing;
pub use batches::{BATCHES, Batch, are_handed_out, is_like_a_batch};
pub use outlook::{Fate, Outlook, Prospects, SoFar};
pub use retention::{Retention, is_due};
pub use ruling::{By, Decision, NeedsHead, Ruling, Rulings, rule};
pub use start::{Border, NoStart};

/// The ledger's note about a message behind which a session got out of step.
pub const OUT_OF_STEP: &str = "out-of-step";

/// The ledger's note about a message that the MDA refused when it took none at all: others are tried before it.
pub const REFUSED: &str = "refused";

/// The ledger's notes about a message during which the line broke, once and again: all others are tried before it.
pub const CUT: &str = "cut";
/// See [`CUT`].
pub const CUT_AGAIN: &str = "cut-again";

/// The wishes of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What happens on the server to what is safe at home.
    pub keep: Keep,
    /// So many of the newest messages stay on the server, and older ones only as long as `keep` says.
    pub keep_newest: Option<u64>,
    /// While the maildrop has more octets than this, its oldest messages are deleted.
    pub delete_over: Option<u64>,
    /// Known messages are fetched again.
    pub all: bool,
    /// The order of retrieval.
    pub order: Order,
    /// Larger messages stay where they are.
    pub max_size: Option<u64>,
    /// No more messages than this in one run.
    pub max_messages: Option<u64>,
    /// No more octets than this, in one run and in one day.
    pub max_octets: [Option<Allowance>; 2],
    /// The lanes of a message about which no rule has decided.
    pub own: Lanes,
    /// Rules, or a filter, are asked about messages that no run has settled.
    pub has_rules: bool,
    /// They may delete what was never fetched.
    pub may_discard: bool,
    /// Octets for which there is room on the disks of the targets, as far as that matters.
    pub room: Option<u64>,
    /// The lanes that take messages now. What only others lack waits, and is not deleted.
    pub open: Lanes,
}

/// A limit of what is fetched, in octets, and how much of it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// All that may come.
    pub limit: u64,
    /// What has come.
    pub used: u64,
}

impl Allowance {
    /// True when so many octets more may come. What is larger than the limit comes alone: it never would otherwise.
    fn admits(self, octets: u64) -> bool {
        self.used == 0 || self.used.saturating_add(octets) <= self.limit
    }
}

/// What is to become of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is retrieved.
    Retrieve,
    /// An earlier run has delivered it, and it is due to be deleted now.
    Delete {
        /// The server had confirmed its deletion before.
        again: bool,
    },
    /// A rule deletes it unread.
    Discard,
    /// It stays on the server.
    Leave(Reason),
}

/// Why a message stays on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is known and not due, or waits for a lane that is closed.
    Known,
    /// It is from before the account's `start`, and counts as known.
    BeforeStart,
    /// It is larger than the account wants.
    TooLarge,
    /// It is beyond the account's `max_messages`; the next run takes it.
    Later,
    /// It is too much for the account's `max_octets` now; a later run takes it.
    OverOctets,
    /// It would leave less than `min_free` on the disk of a target.
    NoRoom,
    /// The lanes that it is owed to have refused it too often.
    Quarantined,
    /// It has no unique-id, so that keeping it would fetch it again on every run.
    Nameless,
    /// It is delivered, but not deleted: its id is listed more than once and proves nothing.
    Repeated,
    /// It is due to be deleted, but nothing proves that it is the message that was delivered.
    Unproved,
    /// This run by URL would delete it, but the account of the configuration has not done with it.
    Owed,
    /// The server had confirmed its deletion, and it is not certainly the same message.
    Unsure,
    /// Behind it a session got out of step before, and this one has something to delete.
    Distrusted,
    /// A rule, or the filter, leaves it there.
    Ruled,
    /// Nothing was decided about it, because its header section could not be read, or the filter gave no answer.
    Undecided,
    /// It is for lanes that are closed.
    Closed,
}

impl Reason {
    /// The reason as programs read it.
    pub fn word(self) -> &'static str {
        match self {
            Reason::Known => "known",
            Reason::BeforeStart => "before-start",
            Reason::TooLarge => "too-large",
            Reason::Later => "later",
            Reason::OverOctets => "over-octets",
            Reason::NoRoom => "no-room",
            Reason::Quarantined => "quarantined",
            Reason::Nameless => "no-unique-id",
            Reason::Repeated => "repeated-unique-id",
            Reason::Unproved => "unproved",
            Reason::Owed => "owed",
            Reason::Unsure => "unsure",
            Reason::Distrusted => "distrusted",
            Reason::Ruled => "rule",
            Reason::Undecided => "undecided",
            Reason::Closed => "target-closed",
        }
    }
}

impl Verdict {
    /// True when the message is known from an earlier run, and not retrieved again.
    pub fn is_known(self) -> bool {
        use Reason::{Known, Owed, Repeated, Unproved, Unsure};
        matches!(self, Verdict::Delete { .. } | Verdict::Leave(Known | Owed | Repeated | Unproved | Unsure))
    }
}

/// A verdict on the message at a position of the listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// The position.
    pub position: u32,
    /// The verdict.
    pub verdict: Verdict,
}

/// What to do in one session: a verdict on each message, and what carrying it out takes.
#[derive(Debug, Default)]
pub struct Plan {
    /// The verdicts in the order in which they are carried out. A message without a row is left because it is known:
    /// those are by far the most, and cost nothing.
    pub rows: Vec<Row>,
    /// To retrieve, in the order that the account wants; then those that were refused before, and last of all those behind which a
    /// session got out of step.
    pub retrieve: Vec<Key>,
    /// Delivered by an earlier run, and due to be deleted now.
    pub delete: Vec<Recorded>,
    /// Facts of messages that all lanes of their verdicts have, and that no run of the account has settled so far; with
    /// what a rule says in the place of its `keep`.
    pub settle: Vec<(u32, Option<Keep>)>,
    /// To settle without retrieving them: a rule skips them.
    pub skip: Vec<Ruled>,
    /// To delete unread: so does a rule.
    pub discard: Vec<Ruled>,
    /// Facts that are settled, and that the account wants for lanes that lack them (`--fill`, `--all`).
    pub unsettle: Vec<u32>,
    /// Nothing can become due for deletion in this session.
    pub deletes_nothing: bool,
    /// Messages had unique-ids before, and those without one may have been delivered under theirs.
    pub had_ids: bool,
}

impl Plan {
    /// What a session with this plan finds and does, when so many messages are listed.
    pub fn batch(&self, listed: usize) -> Batch {
        let Plan { retrieve, delete, discard, .. } = self;
        let new = retrieve.iter().filter(|key| !key.again).count() + discard.len();
        let known = self.known(listed).saturating_sub(delete.len());
        let postponed = self.left(Reason::Distrusted);
        Batch { listed, known, taken: retrieve.len() + delete.len() + discard.len(), new, postponed }
    }

    /// The positions of messages with this verdict.
    pub fn with(&self, verdict: Verdict) -> impl Iterator<Item = usize> {
        self.rows.iter().filter(move |row| row.verdict == verdict).map(|row| row.position as usize)
    }

    /// How many messages stay for this reason, of which there are rows.
    pub fn left(&self, reason: Reason) -> usize {
        self.with(Verdict::Leave(reason)).count()
    }

    /// How many messages stay for a later run, because the account wants no more in this one.
    pub fn later(&self) -> usize {
        self.left(Reason::Later) + self.left(Reason::OverOctets)
    }

    /// How many of so many listed messages are known from earlier runs, and not retrieved again.
    pub fn known(&self, listed: usize) -> usize {
        listed - self.rows.iter().filter(|row| !row.verdict.is_known()).count()
    }

    /// How many messages are not brought to a lane that is owed them, because it has refused them too often.
    pub fn quarantined(&self) -> usize {
        let brought = self.retrieve.iter().filter(|key| !key.quarantined.is_empty()).count();
        self.left(Reason::Quarantined) + brought
    }

    /// How many of those to retrieve are not deleted for all that: the account has not done with them.
    pub fn held_back(&self) -> usize {
        self.retrieve.iter().filter(|key| key.is_held_back).count()
    }

    fn may_delete(&self, keep: Keep) -> bool {
        let is_deleted = |key: &Key| key.is_due || key.keep.as_deref().copied().unwrap_or(keep) == Keep::Never;
        let has_due = !self.delete.is_empty() || !self.discard.is_empty();
        has_due || keep == Keep::Never || self.retrieve.iter().any(is_deleted)
    }
}

/// Why a maildrop without unique-ids cannot be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoUniqueIds {
    /// Nothing can be remembered, so that each run would deliver everything again.
    Kept,
    /// The server had them before: what was delivered and could not be deleted would come twice.
    Known,
}

impl Failure for NoUniqueIds {
    fn kind(&self) -> Kind {
        match self {
            NoUniqueIds::Kept => Kind::Unavailable,
            NoUniqueIds::Known => Kind::Temporary,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            NoUniqueIds::Kept => "write `keep = false` to fetch and delete everything, or run once with `--all`",
            NoUniqueIds::Known => {
                "the next run tries again; should the server have given UIDL up for good, `--all` fetches everything, \
                 also what came before"
            }
        };
        Some(hint.to_owned())
    }
}

impl fmt::Display for NoUniqueIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NoUniqueIds::Kept => "the server has no UIDL, so messages that are kept cannot be remembered",
            NoUniqueIds::Known => {
                "the server gives no unique-ids (UIDL), though it did before: messages cannot be told from known ones"
            }
        })
    }
}

/// How listed messages stand to known ones, by their position in the listing.
pub type Identities = HashMap<usize, Identity>;

/// Everything that a decision is made of, but for what the server has to be asked.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The maildrop.
    pub listing: &'a Listing,
    /// The listing compared with the ledger.
    pub standings: &'a Standings,
    /// What is known.
    pub ledger: &'a Ledger,
    /// What is wanted.
    pub policy: &'a Policy,
    /// What rules have decided so far.
    pub rulings: &'a Rulings,
    /// Seconds since 1970.
    pub now: u64,
}

impl View<'_> {
    /// Positions whose size must be known before anything is decided, in ascending order: everything that may be
    /// retrieved or deleted, and ids of which there are, or were, several.
    pub fn sizes_needed(&self) -> Vec<usize> {
        let retention = self.retention();
        // Their sum decides.
        let needs_all = self.policy.delete_over.is_some();
        let are_known_left = self.are_known_left();
        let is_needed = |position: usize| match self.standings.get(position) {
            _ if needs_all => true,
            Standing::New { .. } => true,
            Standing::Known(_) if are_known_left => false,
            Standing::Known(fact) => {
                let fact = self.ledger.facts().get(fact);
                self.policy.all
                    || self.standings.is_repeated(position)
                    || fact.state != State::Delivered
                    || self.may_go_now(&retention, position, &fact)
                    || !self.ledger.lacks(&fact).is_empty()
            }
        };
        (0..self.listing.len())
            .filter(|position| !are_known_left || self.standings.is_new(*position))
            .filter(|position| self.listing.get(*position).octets.is_none() && is_needed(*position))
            .collect()
    }

    /// True when known messages stay as they are, unless their sizes change.
    fn are_known_left(&self) -> bool {
        let is_kept = self.policy.keep == Keep::Forever && !self.policy.all && !self.asks_for_order_of_age();
        let is_kept = is_kept && self.ledger.facts().are_plain() && self.standings.are_distinct();
        is_kept && self.ledger.facts().are_undecided() && self.ledger.wants_nothing_known()
    }

    /// False when the sizes of known messages, as recorded, and those of new ones do not add up to what STAT says: then
    /// some known message has another size, and all of them have to be asked for. True where that cannot be told.
    pub fn adds_up(&self, octets: Option<u64>) -> bool {
        let size_of = |position: usize| {
            let Standing::Known(fact) = self.standings.get(position) else { return self.listing.get(position).octets };
            let recorded = || Some(self.ledger.facts().get(fact).octets).filter(|octets| *octets != u32::MAX);
            self.listing.get(position).octets.or_else(|| recorded().map(u64::from))
        };
        let sum = (0..self.listing.len()).try_fold(0u64, |sum, position| sum.checked_add(size_of(position)?));
        let (Some(sum), Some(octets)) = (sum, octets) else { return true };
        sum == octets
    }

    /// Positions of known messages, and their facts, that must be proved to be those that were delivered: what is due to
    /// be deleted, what a lane lacks, what has another size, what had been gone or deleted, and what is in doubt.
    pub fn heads_needed(&self) -> Vec<(usize, u32)> {
        if self.policy.all {
            return vec![];
        }
        let retention = self.retention();
        let has_doubts = self.ledger.noted(DOUBTFUL).is_some();
        let is_needed = |position: usize, number: u32| {
            if has_doubts && self.ledger.is_doubtful(self.listing.get(position).unique_id) {
                return true;
            }
            let fact = self.ledger.facts().get(number);
            let has_other_size = || {
                let announced = comparable(self.listing.get(position).octets);
                announced != u32::MAX && fact.octets != u32::MAX && announced != fact.octets
            };
            let is_lacked = || {
                let lanes = self.ledger.lacks(&fact).and(self.policy.open);
                !lanes.less(self.ledger.quarantined(self.listing.get(position).unique_id)).is_empty()
            };
            // A rule may say that it is due, or lacked.
            let is_open = self.policy.has_rules && !fact.is_settled;
            let is_odd = fact.state != State::Delivered || has_other_size();
            is_odd || is_open || is_lacked() || self.may_go_now(&retention, position, &fact)
        };
        let first = if !has_doubts && self.are_known_left() { self.listing.first_measured() } else { 0 };
        (first..self.listing.len())
            .filter_map(|position| match self.standings.get(position) {
                Standing::Known(fact) => Some((position, fact)),
                Standing::New { .. } => None,
            })
            .filter(|(position, fact)| is_needed(*position, *fact) && !self.standings.is_repeated(*position))
            .collect()
    }

    /// Positions of messages about which rules are asked: those that no run has settled, and that are not from
    /// before `start`.
    pub fn unruled(&self, identities: &Identities, before_start: &[usize]) -> Vec<usize> {
        // Without unique-ids nothing comes that is not deleted at once.
        let is_nameless = !self.listing.has_unique_ids && !self.policy.all && self.policy.keep != Keep::Never;
        if !self.policy.has_rules || is_nameless {
            return vec![];
        }
        let takes_all = self.policy.all || self.ledger.fills();
        let is_another =
            |position: &usize| matches!(identities.get(position), Some(Identity::Another | Identity::Compare(_)));
        let is_open = |position: &usize| match self.standings.get(*position) {
            Standing::New { .. } => true,
            Standing::Known(fact) => !self.ledger.facts().get(fact).is_settled,
        };
        (0..self.listing.len())
            .filter(|position| takes_all || is_open(position) || is_another(position))
            .filter(|position| before_start.binary_search(position).is_err())
            .filter(|position| !self.ledger.is_in_doubt(self.listing.get(*position).unique_id))
            .collect()
    }

    /// What was decided about the message at a position; that it goes to the account's own lanes, where nothing was.
    fn decision(&self, position: usize) -> Decision {
        let own = Decision::Take { lanes: self.policy.own, keep: None };
        self.rulings.of(position).map_or(own, |ruling| ruling.decision)
    }

    /// The lanes of the verdict on the message at a position.
    fn lanes(&self, position: usize) -> Lanes {
        match self.decision(position) {
            Decision::Take { lanes, .. } => lanes,
            Decision::Skip | Decision::Discard | Decision::Nothing => Lanes::NONE,
        }
    }

    /// Decides. `before_start` are positions of messages that count as known from the start, in ascending order.
    pub fn plan(&self, identities: &Identities, before_start: &[usize]) -> Result<Plan, NoUniqueIds> {
        let knows_ids = self.knows_ids();
        if !self.listing.is_empty() && !self.listing.has_unique_ids && !self.policy.all {
            if knows_ids {
                return Err(NoUniqueIds::Known);
            }
            if self.policy.keep != Keep::Never {
                return Err(NoUniqueIds::Kept);
            }
        }
        let (retention, plan, octets) = (self.retention(), Plan::default(), 0);
        let mut planner = Planner { view: *self, identities, before_start, knows_ids, retention, plan, octets };
        planner.plan.had_ids = knows_ids;
        let are_known_left = self.are_known_left();
        let is_looked_at =
            |position: &usize| !are_known_left || self.standings.is_new(*position) || identities.contains_key(position);
        let positions = (0..self.listing.len()).filter(is_looked_at);
        let (distrusted, refused) = (self.ledger.noted(OUT_OF_STEP), self.ledger.noted(REFUSED));
        let misfits = self.ledger.noted(MISFIT);
        let is_plain = distrusted.is_none() && misfits.is_none() && refused.is_none() && identities.is_empty();
        if is_plain && self.policy.order == Order::Oldest {
            positions.for_each(|position| planner.decide(position));
            planner.plan.deletes_nothing = !planner.plan.may_delete(self.policy.keep);
            return Ok(planner.plan);
        }
        // What comes for certain is not held up by what only may come.
        let is_compared =
            |position: &usize| !self.policy.all && matches!(identities.get(position), Some(Identity::Compare(_)));
        let is_in = |ids: Option<&Noted>, position: usize| {
            ids.is_some_and(|ids| ids.contains(self.listing.get(position).unique_id))
        };
        // What cut the line twice would hold deletions up for ever.
        let cut = self.ledger.noted(CUT_AGAIN);
        let is_last = |position: &usize| [distrusted, misfits, cut].iter().any(|ids| is_in(*ids, *position));
        let mut positions: Vec<usize> = positions.collect();
        order::sort(&mut positions, self.policy.order, self.listing);
        let (mut last, others): (Vec<usize>, Vec<usize>) = positions.into_iter().partition(is_last);
        // Of those the ones that are known to have been cut are most likely to end the session.
        last.sort_by_key(|position| (is_in(cut, *position), is_in(misfits, *position)));
        let (mut later, first): (Vec<usize>, Vec<usize>) =
            others.into_iter().partition(|position| is_in(refused, *position) || is_compared(position));
        // Those that wait for the longest time come first: each has its turn.
        let refused_at = |position: usize| refused.and_then(|ids| ids.at(self.listing.get(position).unique_id));
        later.sort_by_key(|position| refused_at(*position));
        first.into_iter().chain(later).for_each(|position| planner.decide(position));
        let (trusted, rows) = (planner.plan.retrieve.len(), planner.plan.rows.len());
        last.into_iter().for_each(|position| planner.decide(position));
        let mut plan = planner.plan;
        let distrusted = plan.retrieve.split_off(trusted);
        // They may end the session before anything is deleted.
        if plan.may_delete(self.policy.keep) && !(plan.delete.is_empty() && plan.retrieve.is_empty()) {
            let retrieved = plan.rows[rows..].iter_mut().filter(|row| row.verdict == Verdict::Retrieve);
            retrieved.for_each(|row| row.verdict = Verdict::Leave(Reason::Distrusted));
        } else {
            plan.retrieve.extend(distrusted);
        }
        plan.deletes_nothing = !plan.may_delete(self.policy.keep);
        Ok(plan)
    }

    /// True when the server had unique-ids in an earlier run, and messages may still be there that were delivered.
    pub fn knows_ids(&self) -> bool {
        self.ledger.facts().iter().any(|fact| fact.state != State::Deleted)
    }

    /// The lanes to which a known message is to go.
    fn lacks(&self, position: usize, fact: &Fact) -> Lanes {
        self.ledger.lacks(fact).and(self.lanes(position))
    }

    /// The lanes at which the message is quarantined; of another one under its unique-id nobody knows that.
    fn quarantined(&self, position: usize, identity: Option<Identity>) -> Lanes {
        match identity {
            Some(Identity::Another | Identity::Compare(_)) => Lanes::NONE,
            _ => self.ledger.quarantined(self.listing.get(position).unique_id),
        }
    }

    /// True for a settled message that this run is to bring to lanes that lack it.
    fn wants_more(&self, position: usize, fact: &Fact) -> bool {
        self.ledger.is_lacked_though_settled(fact, self.lanes(position))
            && (self.policy.all || !self.lacks(position, fact).is_empty())
    }

    /// What is to be deleted, and when.
    pub fn retention(&self) -> Retention {
        Retention::of(self)
    }

    /// True for a known message that is deleted now when it is proved to be the one that was delivered.
    fn may_go_now(&self, retention: &Retention, position: usize, fact: &Fact) -> bool {
        retention.is_due(position, fact) && self.ledger.may_be_deleted(fact)
    }

    /// True when the age of messages beside one another may ask for their deletion.
    fn asks_for_order_of_age(&self) -> bool {
        let Policy { keep_newest, delete_over, .. } = self.policy;
        delete_over.is_some() || keep_newest.is_some_and(|newest| self.listing.len() as u64 > newest)
    }

    /// True for a message that all its lanes have, and whose unique-id is its own.
    fn is_deletable(&self, position: usize) -> bool {
        let Standing::Known(fact) = self.standings.get(position) else { return false };
        let fact = self.ledger.facts().get(fact);
        // What rules have not decided about may be for any lane.
        let is_at_home = self.ledger.may_be_deleted(&fact) && self.ledger.lacks(&fact).is_empty();
        let is_kept = !self.ledger.is_by_url() && retention::is_kept_for_ever(&fact);
        is_at_home && !is_kept && !self.standings.is_repeated(position)
    }
}

struct Planner<'a> {
    view: View<'a>,
    identities: &'a Identities,
    before_start: &'a [usize],
    /// Messages may have been delivered under a unique-id that they do not have now.
    knows_ids: bool,
    retention: Retention,
    plan: Plan,
    /// Octets that are to be retrieved so far.
    octets: u64,
}

impl Planner<'_> {
    fn decide(&mut self, position: usize) {
        if self.view.ledger.is_in_doubt(self.view.listing.get(position).unique_id) {
            return;
        }
        let is_before_start = self.before_start.binary_search(&position).is_ok();
        let Standing::Known(number) = self.view.standings.get(position) else {
            return match is_before_start {
                true => self.row(position, Verdict::Leave(Reason::BeforeStart)),
                false => self.ruled(position, None),
            };
        };
        let identity = self.identities.get(&position).copied();
        let fact = self.view.ledger.facts().get(number);
        if self.view.wants_more(position, &fact) {
            self.plan.unsettle.push(number);
        }
        match identity {
            Some(Identity::Another | Identity::Compare(_)) if self.view.policy.all => self.ruled(position, identity),
            _ if self.view.policy.all => self.ruled(position, None),
            // It may well be at home: what is too large to be looked at is no news.
            Some(Identity::Compare(_)) if self.is_too_large(position) => self.known(position, number, identity),
            Some(Identity::Another | Identity::Compare(_)) => self.ruled(position, identity),
            _ if is_before_start => self.row(position, Verdict::Leave(Reason::BeforeStart)),
            _ if !fact.is_settled && self.is_ruled_out(position, identity) => {}
            _ if !self.view.lacks(position, &fact).and(self.view.policy.open).is_empty() => self.wanted(position, None),
            // It waits for a lane that is closed.
            _ if !self.view.lacks(position, &fact).is_empty() => {}
            Some(Identity::Same(_) | Identity::Unproved) | None => self.known(position, number, identity),
        }
    }

    /// Decides about a message that was never seen, or may be another one than was: as a rule says, or it is wanted.
    fn ruled(&mut self, position: usize, identity: Option<Identity>) {
        let is_new = self.view.standings.is_new(position) || identity == Some(Identity::Another);
        let is_named = !self.view.listing.get(position).unique_id.is_empty();
        let verdict = match self.view.decision(position) {
            Decision::Take { .. } if self.view.lanes(position).and(self.view.policy.open).is_empty() => {
                Verdict::Leave(Reason::Closed)
            }
            Decision::Take { .. } => return self.wanted(position, identity),
            Decision::Skip if is_new && is_named => {
                self.plan.skip.push(self.ruled_message(position, false));
                Verdict::Leave(Reason::Ruled)
            }
            // Nobody could remember it, should the session end before the deletion is confirmed.
            Decision::Discard if !is_named => Verdict::Leave(Reason::Nameless),
            Decision::Discard if is_new && self.view.policy.may_discard => {
                self.plan.discard.push(self.ruled_message(position, false));
                Verdict::Discard
            }
            // It may be a known one, about which a rule is not asked.
            Decision::Skip | Decision::Discard => Verdict::Leave(Reason::Ruled),
            Decision::Nothing => Verdict::Leave(Reason::Undecided),
        };
        self.row(position, verdict);
    }

    /// True for a known message that no run has settled, and that rules keep from being retrieved now.
    fn is_ruled_out(&mut self, position: usize, identity: Option<Identity>) -> bool {
        let verdict = match self.view.decision(position) {
            // What lanes have is as it would be without the others.
            Decision::Take { .. } | Decision::Skip => return false,
            Decision::Nothing => Verdict::Leave(Reason::Undecided),
            Decision::Discard => match identity {
                Some(Identity::Same(_)) if self.view.policy.may_discard => {
                    let ruled = self.ruled_message(position, true);
                    self.plan.discard.push(ruled);
                    Verdict::Discard
                }
                _ => Verdict::Leave(Reason::Unproved),
            },
        };
        self.row(position, verdict);
        true
    }

    fn ruled_message(&self, position: usize, is_known: bool) -> Ruled {
        let message = self.view.listing.get(position);
        let nth = match self.view.standings.get(position) {
            Standing::New { nth } => nth,
            Standing::Known(fact) => self.view.ledger.facts().get(fact).nth,
        };
        let (number, unique_id, octets) = (message.number, message.unique_id.to_vec(), message.octets);
        let head = self.view.rulings.of(position).and_then(|ruling| ruling.head);
        Ruled { number, unique_id, nth, octets, is_known, head }
    }

    /// What a rule says in the place of the account's `keep`.
    fn keep(&self, position: usize) -> Option<Keep> {
        match self.view.decision(position) {
            Decision::Take { keep, .. } => keep,
            // It is left on the server, also where a lane has it.
            Decision::Skip => Some(Keep::Forever),
            Decision::Discard | Decision::Nothing => None,
        }
    }

    /// What is known of a message, as it will be when it is settled.
    fn once_settled(&self, position: usize, fact: Fact) -> Fact {
        let decided = if fact.is_settled { fact.decided } else { self.keep(position).map(Decided::Keep) };
        Fact { decided, ..fact }
    }

    fn known(&mut self, position: usize, number_of_fact: u32, identity: Option<Identity>) {
        let fact = self.once_settled(position, self.view.ledger.facts().get(number_of_fact));
        if self.view.ledger.is_to_be_settled(&fact, self.view.lanes(position)) {
            self.plan.settle.push((number_of_fact, self.keep(position)));
        }
        let number = self.view.listing.get(position).number;
        if !self.retention.is_due(position, &fact) {
            return;
        }
        let verdict = match identity {
            _ if !self.view.ledger.may_be_deleted(&fact) && fact.lanes == LaneSet::EMPTY => return,
            _ if !self.view.ledger.may_be_deleted(&fact) => Verdict::Leave(Reason::Owed),
            _ if self.view.standings.is_repeated(position) => Verdict::Leave(Reason::Repeated),
            Some(Identity::Same(same)) => {
                self.plan.delete.push(self.view.ledger.recorded(same, number));
                Verdict::Delete { again: fact.state == State::Deleted }
            }
            _ if fact.state == State::Deleted => Verdict::Leave(Reason::Unsure),
            _ => Verdict::Leave(Reason::Unproved),
        };
        self.row(position, verdict);
    }

    fn row(&mut self, position: usize, verdict: Verdict) {
        // A listing has no more messages than message-numbers.
        let position = u32::try_from(position).expect("a position is below 2^32");
        self.plan.rows.push(Row { position, verdict });
    }

    fn wanted(&mut self, position: usize, identity: Option<Identity>) {
        let message = self.view.listing.get(position);
        let is_full = || self.view.policy.max_messages.is_some_and(|limit| self.plan.retrieve.len() as u64 >= limit);
        let quarantined = self.view.quarantined(position, identity);
        let rest = || self.owed(position, identity).less(quarantined);
        let verdict = match message.unique_id {
            _ if !quarantined.is_empty() && rest().is_empty() => Verdict::Leave(Reason::Quarantined),
            _ if !quarantined.is_empty() && rest().and(self.view.policy.open).is_empty() => {
                Verdict::Leave(Reason::Closed)
            }
            [] if !self.takes_nameless(position) => Verdict::Leave(Reason::Nameless),
            _ if self.is_too_large(position) => Verdict::Leave(Reason::TooLarge),
            _ if is_full() => Verdict::Leave(Reason::Later),
            _ if !self.has_room_for(message.octets.unwrap_or(0)) => Verdict::Leave(Reason::OverOctets),
            _ if !self.is_room_for(message.octets.unwrap_or(0)) => Verdict::Leave(Reason::NoRoom),
            _ => Verdict::Retrieve,
        };
        self.row(position, verdict);
        if verdict == Verdict::Retrieve {
            self.octets = self.octets.saturating_add(message.octets.unwrap_or(0));
            self.plan.retrieve.push(self.key(position, identity));
        }
    }

    /// True when a message without a unique-id may come: nobody could remember it, nor that it waits for a lane that is
    /// closed.
    fn takes_nameless(&self, position: usize) -> bool {
        let lanes = self.view.lanes(position);
        let is_deleted = self.keep(position).unwrap_or(self.view.policy.keep) == Keep::Never;
        let is_for_all = lanes.and(self.view.policy.open) == lanes;
        self.view.policy.all || (is_deleted && is_for_all && !self.knows_ids)
    }

    /// True when so many octets more may come. A message of unknown size does not count before it has come.
    fn has_room_for(&self, octets: u64) -> bool {
        let allowances = self.view.policy.max_octets.into_iter().flatten();
        let left =
            allowances.map(|Allowance { limit, used }| Allowance { limit, used: used.saturating_add(self.octets) });
        left.into_iter().all(|allowance| allowance.admits(octets))
    }

    /// True when the disks of the targets have room for so many octets more.
    fn is_room_for(&self, octets: u64) -> bool {
        self.view.policy.room.is_none_or(|room| self.octets.saturating_add(octets) <= room)
    }

    fn is_too_large(&self, position: usize) -> bool {
        let octets = self.view.listing.get(position).octets;
        octets.zip(self.view.policy.max_size).is_some_and(|(octets, limit)| octets > limit)
    }

    fn key(&self, position: usize, identity: Option<Identity>) -> Key {
        let message = self.view.listing.get(position);
        let (nth, again) = match self.view.standings.get(position) {
            Standing::New { nth } => (nth, false),
            Standing::Known(fact) => (self.view.ledger.facts().get(fact).nth, true),
        };
        let known_head = match identity {
            Some(Identity::Compare(head)) => Some(head),
            _ => None,
        };
        let (number, unique_id, octets) = (message.number, message.unique_id.to_vec(), message.octets);
        let known = match self.view.standings.get(position) {
            Standing::Known(fact) => Some(self.view.ledger.facts().get(fact)),
            Standing::New { .. } => None,
        };
        let may_be_known = identity != Some(Identity::Another);
        // With another size it waits for the next run, which knows by the text of this one what it is.
        let is_as_large = |fact: &Fact| !self.view.policy.all || fact.octets == comparable(octets);
        let keep = self.keep(position);
        // The time of what no lane has begins with the first one.
        let is_due_by_time = |fact: &Fact| {
            fact.lanes != LaneSet::EMPTY && self.retention.is_due_by_time(&self.once_settled(position, *fact))
        };
        let is_due = may_be_known && known.is_some_and(|fact| is_as_large(&fact) && is_due_by_time(&fact));
        let lacking = known.map(|fact| self.view.lacks(position, &fact));
        let lanes = self.owed(position, identity);
        let known_lanes = lacking.filter(|_| !self.view.policy.all).unwrap_or(lanes);
        let reused = identity.is_some();
        let is_settled = may_be_known && known.is_some_and(|fact| fact.is_settled);
        let is_held_back = !is_settled
            && !message.unique_id.is_empty()
            && (keep.unwrap_or(self.view.policy.keep) == Keep::Never || is_due)
            && self.view.ledger.holds_back();
        Key {
            number,
            unique_id,
            nth,
            octets,
            again,
            reused,
            lanes,
            keep: keep.map(Box::new),
            head: None,
            known_head: known_head.map(Box::new),
            known_lanes,
            is_due,
            is_held_back,
            quarantined: self.view.quarantined(position, identity).and(lanes),
        }
    }

    /// The lanes that a message is to go to.
    fn owed(&self, position: usize, identity: Option<Identity>) -> Lanes {
        match self.view.standings.get(position) {
            Standing::Known(fact) if !self.view.policy.all && identity.is_none() => {
                self.view.lacks(position, &self.view.ledger.facts().get(fact))
            }
            _ => self.view.lanes(position),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ledger::Top;
    use crate::maildrop::MessageNumber;

    const DAY: u64 = 86400;
    const NOW: u64 = 1_795_423_680;

    const KEEP: Policy = Policy {
        keep: Keep::Forever,
        keep_newest: None,
        delete_over: None,
        all: false,
        order: Order::Oldest,
        max_size: None,
        max_messages: None,
        max_octets: [None, None],
        own: Lanes::ALL,
        has_rules: false,
        may_discard: false,
        room: None,
        open: Lanes::ALL,
    };
    const DELETE: Policy = Policy { keep: Keep::Never, ..KEEP };
    const FORTNIGHT: Policy = Policy { keep: Keep::For(Duration::from_secs(14 * DAY)), ..KEEP };

    /// A ledger with these lines below its header.
    fn ledger(lines: &[String]) -> Ledger {
        let folder = tempfile::tempdir().unwrap();
        let header = "{\"popfetch\":3,\"maildrop\":\"u@h\"}".to_owned();
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

    /// The plan when the server has no TOP.
    fn plan(ledger: &mut Ledger, messages: &[(&str, u64)], policy: Policy) -> Plan {
        let listing = listing(messages);
        let standings = ledger.locate(&listing);
        let view = View {
            listing: &listing,
            standings: &standings,
            ledger,
            policy: &policy,
            rulings: &Rulings::default(),
            now: NOW,
        };
        let identify = |(position, fact): (usize, u32)| {
            (position, ledger.identify(fact, None, &listing.get(position), Top::Missing))
        };
        let identities = view.heads_needed().into_iter().map(identify).collect();
        view.plan(&identities, &[]).unwrap()
    }

    /// Message-numbers to retrieve and to delete.
    fn numbers(plan: &Plan) -> (Vec<u32>, Vec<u32>) {
        let retrieve = plan.retrieve.iter().map(|key| key.number.0).collect();
        (retrieve, plan.delete.iter().map(|recorded| recorded.number().0).collect())
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
    fn a_ruling_says_which_lanes_a_message_goes_to_and_when_it_is_settled() {
        let owed = |id: &str| {
            format!(
                "{{\"delivered\":\"{id}\",\"owed\":true,\"octets\":9,\"at\":{NOW},\"maildir\":\"/a\",\"name\":\"1.x\"}}"
            )
        };
        let discarded = format!("{{\"settled\":\"gone\",\"octets\":9,\"at\":{NOW},\"discarded\":true}}");
        let mut ledger = ledger(&[owed("a"), owed("b"), owed("c"), owed("d"), owed("e"), discarded]);
        let targets = ["/a", "/b"].map(crate::account::Target::maildir);
        ledger.serve(&targets, crate::ledger::Wanted::Unsettled);
        let ids = ["a", "b", "c", "d", "e", "gone", "m", "n", "o", "p", "q"];
        let listing = listing(&ids.map(|id| (id, 9)));
        let standings = ledger.locate(&listing);
        let take = |lanes: &[usize], keep| Decision::Take { lanes: Lanes::of(lanes), keep };
        let fortnight = Some(FORTNIGHT.keep);
        let decisions = [
            ("a", take(&[0], fortnight)),
            ("b", take(&[0, 1], None)),
            ("c", Decision::Skip),
            ("d", Decision::Nothing),
            ("e", Decision::Discard),
            ("m", take(&[1], fortnight)),
            ("n", Decision::Skip),
            ("o", Decision::Discard),
            ("p", Decision::Nothing),
            ("q", take(&[0], None)),
        ];
        let position = |id: &str| ids.iter().position(|known| *known == id).unwrap();
        let mut rulings = Rulings::default();
        for (id, decision) in decisions {
            rulings.insert(position(id), Ruling { by: Some(By::Rule(1)), decision, head: None });
        }
        let policy = Policy { has_rules: true, may_discard: true, own: Lanes::of(&[0]), open: Lanes::of(&[1]), ..KEEP };
        let planned = |policy: &Policy| {
            let view =
                View { listing: &listing, standings: &standings, ledger: &ledger, policy, rulings: &rulings, now: NOW };
            let identify = |(position, fact): (usize, u32)| {
                (position, ledger.identify(fact, None, &listing.get(position), Top::Missing))
            };
            let identities: Identities = view.heads_needed().into_iter().map(identify).collect();
            assert!(view.unruled(&identities, &[]).iter().all(|unruled| ids[*unruled] != "gone"), "it is settled");
            view.plan(&identities, &[]).unwrap()
        };
        let plan = planned(&policy);
        let retrieved: Vec<_> = plan
            .retrieve
            .iter()
            .map(|key| (ids[key.number.0 as usize - 1], key.lanes, key.keep.as_deref().copied()))
            .collect();
        assert_eq!(retrieved, [("b", Lanes::of(&[1]), None), ("m", Lanes::of(&[1]), fortnight)]);
        // What is skipped stays, also where a lane has it.
        assert_eq!(plan.settle, [(0, fortnight), (2, Some(Keep::Forever))]);
        let ruled = |ruled: &[Ruled]| ruled.iter().map(|ruled| ids[ruled.number.0 as usize - 1]).collect::<Vec<_>>();
        assert_eq!((ruled(&plan.skip), ruled(&plan.discard)), (vec!["n"], vec!["e", "o"]));
        let left = |reason| plan.with(Verdict::Leave(reason)).map(|position| ids[position]).collect::<Vec<_>>();
        assert_eq!((left(Reason::Undecided), left(Reason::Closed)), (vec!["d", "p"], vec!["q"]));
        assert_eq!(numbers(&plan).1, [position("gone") as u32 + 1], "what an earlier run has discarded");
        assert!(!plan.deletes_nothing);
        // Without permission nothing is deleted unread, whatever was decided.
        let plan = planned(&Policy { may_discard: false, ..policy });
        assert_eq!((plan.discard.len(), numbers(&plan).1.len(), plan.deletes_nothing), (0, 0, true));
    }

    #[test]
    fn limits_leave_messages_for_later_or_for_ever() {
        let mut ledger = ledger(&[]);
        let listed = [("a", 10), ("b", 99), ("c", 10), ("d", 10)];
        let policy = Policy { max_size: Some(10), max_messages: Some(2), ..KEEP };
        let plan = plan(&mut ledger, &listed, policy);
        assert_eq!(numbers(&plan), (vec![1, 3], vec![]));
        let with = |reason| plan.with(Verdict::Leave(reason)).collect::<Vec<_>>();
        assert_eq!((with(Reason::Later), with(Reason::TooLarge)), (vec![3], vec![1]));
    }

    #[test]
    fn the_account_says_what_is_retrieved_first() {
        let listed = [("a", 30), ("b", 10), ("c", 20), ("d", 10), ("e", 99)];
        let note = |word: &str, id: &str| format!("{{\"note\":\"{word}\",\"id\":\"{id}\",\"at\":1}}");
        let cut = [note(REFUSED, "a"), note(REFUSED, "c"), note(CUT_AGAIN, "a")];
        let cut = plan(&mut ledger(&cut), &listed, Policy { max_size: Some(30), ..KEEP });
        assert_eq!(numbers(&cut).0, [2, 4, 3, 1], "what cut the line twice holds nothing up");
        let notes = [note(REFUSED, "b"), note(OUT_OF_STEP, "d")];
        for (order, expected, with_notes) in [
            (Order::Oldest, [1, 2, 3, 4], [1, 3, 2, 4]),
            (Order::Newest, [4, 3, 2, 1], [3, 1, 2, 4]),
            (Order::Smallest, [2, 4, 3, 1], [3, 1, 2, 4]),
        ] {
            let policy = Policy { order, max_size: Some(30), ..KEEP };
            assert_eq!(numbers(&plan(&mut ledger(&[]), &listed, policy)).0, expected, "{order:?}");
            assert_eq!(numbers(&plan(&mut ledger(&notes), &listed, policy)).0, with_notes, "{order:?}");
            // Limits take the first ones in that order.
            let two = Policy { max_messages: Some(2), ..policy };
            assert_eq!(numbers(&plan(&mut ledger(&[]), &listed, two)).0, expected[..2], "{order:?}");
            let known = [delivered("a", 30, 0), delivered("c", 20, 0)];
            let mut rest = expected.to_vec();
            rest.retain(|number| [2, 4].contains(number));
            assert_eq!(numbers(&plan(&mut ledger(&known), &listed, policy)).0, rest, "{order:?}");
        }
        let mut unknown = listing(&[("a", 5), ("b", 1)]);
        assert!(unknown.push(MessageNumber(3), b"c"));
        let mut positions = [0, 1, 2];
        order::sort(&mut positions, Order::Smallest, &unknown);
        assert_eq!(positions, [1, 0, 2], "a size that is not known may be any");
    }

    #[test]
    fn octets_beyond_the_limits_are_left_for_a_later_run() {
        let listed = [("a", 40), ("b", 70), ("c", 50), ("d", 10), ("e", 1)];
        let allowance = |limit, used| Some(Allowance { limit, used });
        for (run, day, expected) in [
            (None, None, vec![1, 2, 3, 4, 5]),
            // What is smaller, and comes later, has the room that is left.
            (allowance(100, 0), None, vec![1, 3, 4]),
            (None, allowance(100, 0), vec![1, 3, 4]),
            (allowance(100, 0), allowance(500, 450), vec![1, 4]),
            (None, allowance(100, 100), vec![]),
            (None, allowance(100, 120), vec![]),
            (None, allowance(100, 99), vec![5]),
            // The first one comes, however large: it never would otherwise.
            (allowance(30, 0), None, vec![1]),
            (allowance(30, 0), allowance(1000, 0), vec![1]),
            (allowance(30, 0), allowance(1000, 1), vec![1]),
            (allowance(30, 1), None, vec![4, 5]),
        ] {
            let policy = Policy { max_octets: [run, day], ..KEEP };
            let plan = plan(&mut ledger(&[]), &listed, policy);
            let later = listed.len() - expected.len();
            assert_eq!((plan.left(Reason::OverOctets), plan.later()), (later, later), "{run:?} {day:?}");
            assert_eq!(numbers(&plan).0, expected, "{run:?} {day:?}");
        }
        let smallest = Policy { max_octets: [allowance(70, 0), None], order: Order::Smallest, ..KEEP };
        assert_eq!(numbers(&plan(&mut ledger(&[]), &listed, smallest)).0, [5, 4, 1]);
        let large = Policy { max_octets: [allowance(60, 0), None], max_size: Some(50), ..KEEP };
        let large = plan(&mut ledger(&[]), &listed, large);
        assert_eq!((large.left(Reason::TooLarge), large.later()), (1, 1), "{:?}", large.rows);
    }

    #[test]
    fn the_oldest_of_too_many_or_too_large_a_maildrop_are_deleted() {
        // In another order than they were seen in.
        let known = [("c", 10, 3), ("a", 10, 9), ("b", 10, 5), ("d", 10, 3)];
        let listed = [("c", 10), ("a", 10), ("b", 10), ("d", 10), ("new", 60)];
        let lines = known.map(|(id, octets, days)| delivered(id, octets, days));
        let newest = |count| Policy { keep_newest: Some(count), ..KEEP };
        let over = |octets| Policy { delete_over: Some(octets), ..KEEP };
        for (policy, expected) in [
            (newest(9), vec![]),
            (newest(5), vec![]),
            (newest(4), vec![2]),
            (newest(3), vec![2, 3]),
            // Of those that were seen at one moment the first one of the listing is the oldest.
            (newest(2), vec![1, 2, 3]),
            (newest(1), vec![1, 2, 3, 4]),
            (over(100), vec![]),
            (over(99), vec![2]),
            (over(90), vec![2]),
            (over(89), vec![2, 3]),
            (over(1), vec![1, 2, 3, 4]),
            // Any one of them that asks decides.
            (Policy { keep: Keep::For(Duration::from_secs(5 * DAY)), ..newest(4) }, vec![2, 3]),
            (Policy { keep_newest: Some(2), ..over(90) }, vec![1, 2, 3]),
            (Policy { keep: Keep::For(Duration::from_secs(99 * DAY)), ..over(90) }, vec![2]),
            (Policy { all: true, ..over(1) }, vec![]),
        ] {
            let mut ledger = ledger(&lines);
            assert_eq!(sorted(&plan(&mut ledger, &listed, policy)), expected, "{policy:?}");
        }
    }

    fn sorted(plan: &Plan) -> Vec<u32> {
        let mut deleted = numbers(plan).1;
        deleted.sort_unstable();
        deleted
    }

    #[test]
    fn what_is_not_surely_at_home_is_never_the_oldest_that_is_deleted() {
        let settled = format!("{{\"settled\":\"known\",\"octets\":10,\"at\":{}}}", NOW - 99 * DAY);
        let undated = "{\"delivered\":\"undated\",\"octets\":10,\"at\":0}".to_owned();
        let lines = [settled, undated, delivered("twice", 10, 50), delivered("a", 10, 9), delivered("b", 10, 5)];
        let listed = [("new", 10), ("known", 10), ("undated", 10), ("twice", 10), ("twice", 10), ("a", 10), ("b", 10)];
        for policy in [Policy { keep_newest: Some(1), ..KEEP }, Policy { delete_over: Some(1), ..KEEP }] {
            assert_eq!(sorted(&plan(&mut ledger(&lines), &listed, policy)), [6, 7], "{policy:?}");
        }
        // They count all the same: three are newer than `a`, and three than that which is known.
        let fewer = Policy { keep_newest: Some(4), ..KEEP };
        assert_eq!(sorted(&plan(&mut ledger(&lines), &listed, fewer)), [6]);
        // Of what only lies there nothing is taken for gone.
        let over = Policy { delete_over: Some(60), ..KEEP };
        assert_eq!(sorted(&plan(&mut ledger(&lines), &listed, over)), [6]);
    }

    #[test]
    fn what_may_be_deleted_is_measured_and_proved_whatever_asks_for_it() {
        let mut ledger = ledger(&[delivered("a", 1, 5), delivered("b", 1, 3)]);
        let mut listed = Listing::default();
        listed.has_unique_ids = true;
        for (id, number) in ["a", "b", "c"].iter().zip(1..) {
            assert!(listed.push(MessageNumber(number), id.as_bytes()));
        }
        let standings = ledger.locate(&listed);
        let needed = |policy: Policy| {
            let view = View {
                listing: &listed,
                standings: &standings,
                ledger: &ledger,
                policy: &policy,
                rulings: &Rulings::default(),
                now: NOW,
            };
            (view.sizes_needed(), view.heads_needed())
        };
        for (policy, sizes, heads) in [
            (KEEP, vec![2], vec![]),
            (Policy { keep_newest: Some(3), ..KEEP }, vec![2], vec![]),
            (Policy { keep_newest: Some(2), ..KEEP }, vec![0, 2], vec![(0, 0)]),
            (Policy { delete_over: Some(9), ..KEEP }, vec![0, 1, 2], vec![]),
        ] {
            assert_eq!(needed(policy), (sizes, heads), "{policy:?}");
        }
        (0..3).for_each(|position| listed.set_octets(position, 5));
        let policy = Policy { delete_over: Some(9), ..KEEP };
        let measured = View {
            listing: &listed,
            standings: &standings,
            ledger: &ledger,
            policy: &policy,
            rulings: &Rulings::default(),
            now: NOW,
        };
        assert_eq!(measured.heads_needed(), [(0, 0), (1, 1)]);
    }

    #[test]
    fn when_a_known_message_is_deleted_can_be_told() {
        let mut ledger = ledger(&[delivered("a", 1, 5), delivered("b", 1, 3)]);
        let listed = listing(&[("a", 1), ("b", 1)]);
        let standings = ledger.locate(&listed);
        let due = |policy: Policy| {
            let view = View {
                listing: &listed,
                standings: &standings,
                ledger: &ledger,
                policy: &policy,
                rulings: &Rulings::default(),
                now: NOW,
            };
            let retention = view.retention();
            [0, 1].map(|fact| retention.due_at(fact as usize, &ledger.facts().get(fact)))
        };
        assert_eq!(due(KEEP), [None, None]);
        assert_eq!(due(DELETE), [Some(NOW), Some(NOW)]);
        assert_eq!(due(FORTNIGHT), [Some(NOW + 9 * DAY), Some(NOW + 11 * DAY)]);
        assert_eq!(due(Policy { keep_newest: Some(1), ..FORTNIGHT }), [Some(NOW), Some(NOW + 11 * DAY)]);
    }

    #[test]
    fn each_message_has_one_verdict_and_a_known_one_that_stays_has_no_row() {
        let mut ledger = ledger(&[delivered("a", 1, 20), delivered("b", 1, 0), delivered("x", 1, 20)]);
        let listed = [("a", 1), ("b", 1), ("x", 1), ("x", 1), ("", 1), ("new", 1), ("large", 99), ("late", 1)];
        let policy = Policy { max_size: Some(10), max_messages: Some(2), ..FORTNIGHT };
        let plan = plan(&mut ledger, &listed, policy);
        use Reason::{Later, Nameless, Repeated, TooLarge};
        let expected = [
            (0, Verdict::Delete { again: false }),
            (2, Verdict::Leave(Repeated)),
            (3, Verdict::Retrieve),
            (4, Verdict::Leave(Nameless)),
            (5, Verdict::Retrieve),
            (6, Verdict::Leave(TooLarge)),
            (7, Verdict::Leave(Later)),
        ];
        let rows: Vec<_> = plan.rows.iter().map(|row| (row.position, row.verdict)).collect();
        assert_eq!(rows, expected);
        assert_eq!((plan.known(listed.len()), plan.retrieve.len(), plan.delete.len()), (3, 2, 1));
        assert_eq!(size_of::<Row>(), 8);
        let kept = super::tests::plan(&mut ledger, &listed[..2], KEEP);
        assert_eq!((kept.rows.capacity(), kept.known(2)), (0, 2), "nothing is allocated");
    }

    fn refusal(ledger: &mut Ledger, policy: Policy) -> NoUniqueIds {
        let listing = listing(&[("", 1)]);
        let standings = ledger.locate(&listing);
        let view = View {
            listing: &listing,
            standings: &standings,
            ledger,
            policy: &policy,
            rulings: &Rulings::default(),
            now: NOW,
        };
        view.plan(&Identities::new(), &[]).unwrap_err()
    }

    #[test]
    fn without_unique_ids_only_what_is_deleted_can_be_fetched() {
        let mut ledger = ledger(&[]);
        assert_eq!(refusal(&mut ledger, KEEP), NoUniqueIds::Kept);
        assert_eq!(numbers(&plan(&mut ledger, &[("", 1), ("", 1)], DELETE)), (vec![1, 2], vec![]));
        assert_eq!(numbers(&plan(&mut ledger, &[("", 1)], Policy { all: true, ..KEEP })), (vec![1], vec![]));
        let mixed = plan(&mut ledger, &[("", 1), ("a", 1)], KEEP);
        assert_eq!((numbers(&mixed), mixed.left(Reason::Nameless)), ((vec![2], vec![]), 1));
    }

    #[test]
    fn what_has_no_unique_id_any_more_may_be_a_known_message() {
        let mut ledger = ledger(&[delivered("a", 1, 0)]);
        for policy in [KEEP, DELETE, FORTNIGHT] {
            assert_eq!(refusal(&mut ledger, policy), NoUniqueIds::Known);
        }
        let mixed = plan(&mut ledger, &[("", 1), ("b", 1)], DELETE);
        assert_eq!((numbers(&mixed), mixed.left(Reason::Nameless)), ((vec![2], vec![]), 1));
        assert_eq!(numbers(&plan(&mut ledger, &[("", 1)], Policy { all: true, ..DELETE })), (vec![1], vec![]));
    }

    #[test]
    fn an_id_listed_twice_is_never_deleted_on_the_ledgers_word() {
        let mut ledger = ledger(&[delivered("x", 5, 0)]);
        let twice = plan(&mut ledger, &[("x", 5), ("x", 5)], DELETE);
        assert_eq!((numbers(&twice), twice.left(Reason::Repeated)), ((vec![2], vec![]), 1));
        assert_eq!(twice.retrieve[0].nth, 2);
        assert_eq!(numbers(&plan(&mut ledger, &[("x", 5)], DELETE)), (vec![], vec![1]));
    }

    #[test]
    fn a_used_id_is_another_message_when_its_size_is_another() {
        for over in ["", "deleted", "gone"] {
            let mut lines = vec![delivered("x", 5, 0)];
            lines.extend((!over.is_empty()).then(|| format!("{{\"{over}\":\"x\",\"at\":{NOW}}}")));
            let mut ledger = ledger(&lines);
            for policy in [KEEP, DELETE, FORTNIGHT] {
                let other = plan(&mut ledger, &[("x", 6)], policy);
                assert_eq!(numbers(&other), (vec![1], vec![]), "{over}");
                assert!(other.retrieve[0].again && other.retrieve[0].reused);
            }
            let same = plan(&mut ledger, &[("x", 5)], DELETE);
            assert_eq!(same.retrieve, [], "{over}");
            // After a confirmed deletion an equal size proves nothing.
            assert_eq!((same.delete.len(), same.left(Reason::Unsure)), if over == "deleted" { (0, 1) } else { (1, 0) });
        }
    }

    #[test]
    fn what_is_due_is_not_deleted_without_a_size() {
        let mut ledger = ledger(&[delivered("x", 5, 0)]);
        let mut listing = Listing::default();
        listing.has_unique_ids = true;
        assert!(listing.push(MessageNumber(1), b"x"));
        let standings = ledger.locate(&listing);
        let view = View {
            listing: &listing,
            standings: &standings,
            ledger: &ledger,
            policy: &DELETE,
            rulings: &Rulings::default(),
            now: NOW,
        };
        assert_eq!((view.sizes_needed(), view.heads_needed()), (vec![0], vec![(0, 0)]));
        let unproved = ledger.identify(0, None, &listing.get(0), Top::Missing);
        let plan = view.plan(&Identities::from([(0, unproved)]), &[]).unwrap();
        assert_eq!((numbers(&plan), plan.left(Reason::Unproved)), ((vec![], vec![]), 1));
    }

    #[test]
    fn a_wrong_clock_makes_nothing_due() {
        let mut undated = ledger(&["{\"delivered\":\"a\",\"octets\":1,\"at\":50}".to_owned()]);
        assert_eq!(numbers(&plan(&mut undated, &[("a", 1)], FORTNIGHT)), (vec![], vec![]), "seen in 1970");
        let mut ahead =
            ledger(&[delivered("a", 1, 14), format!("{{\"delivered\":\"b\",\"octets\":1,\"at\":{}}}", NOW + 1)]);
        assert_eq!(
            numbers(&plan(&mut ahead, &[("a", 1), ("b", 1)], FORTNIGHT)),
            (vec![], vec![]),
            "older than the ledger"
        );
        assert_eq!(numbers(&plan(&mut ahead, &[("a", 1), ("b", 1)], DELETE)), (vec![], vec![1, 2]));
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
        let needed = |policy: &Policy| {
            View {
                listing: &listed,
                standings: &standings,
                ledger: &ledger,
                policy,
                rulings: &Rulings::default(),
                now: NOW,
            }
            .sizes_needed()
        };
        assert_eq!(needed(&KEEP), [1, 2]);
        assert_eq!(needed(&DELETE), [0, 1, 2]);
        assert_eq!(needed(&Policy { all: true, ..KEEP }), [0, 1, 2]);
    }

    #[test]
    fn sizes_that_do_not_add_up_show_that_a_message_has_changed() {
        let mut ledger = ledger(&[delivered("a", 10, 0), delivered("b", 20, 0)]);
        let mut listed = Listing::default();
        for (id, number) in ["a", "b", "c"].iter().zip(1..) {
            assert!(listed.push(MessageNumber(number), id.as_bytes()));
        }
        let standings = ledger.locate(&listed);
        let adds_up = |listing: &Listing, octets: Option<u64>| {
            View {
                listing,
                standings: &standings,
                ledger: &ledger,
                policy: &KEEP,
                rulings: &Rulings::default(),
                now: NOW,
            }
            .adds_up(octets)
        };
        assert!(adds_up(&listed, Some(99)), "the size of a new message is not known");
        let mut sized = listed.clone();
        sized.set_octets(2, 5);
        assert!(adds_up(&sized, Some(35)) && adds_up(&sized, None));
        assert!(!adds_up(&sized, Some(36)));
    }
}
