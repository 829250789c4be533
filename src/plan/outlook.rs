//! What a run would do with one message, and why, for people who look: the verdict with its dates.

use super::{Allowance, By, Plan, Policy, Reason, Retention, Verdict, View};
use crate::account::{Account, Keep};
use crate::ledger::{Key, LaneSet, Lanes, Standing, is_date};

/// What a run would do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// What, and why.
    pub fate: Fate,
    /// Whose decision it is, where that is not simply the account's.
    pub by: Option<By>,
    /// Since when it is known: seconds since 1970.
    pub since: Option<u64>,
    /// When it is due to be deleted: seconds since 1970.
    pub due: Option<u64>,
    /// The lanes that get it.
    pub lanes: Lanes,
    /// It is deleted, once it has been delivered or at once.
    pub is_deleted: bool,
}

/// What becomes of a message, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is retrieved: it was never seen.
    New,
    /// It is retrieved: another message had its unique-id before.
    Reused,
    /// It is retrieved again, because everything is wanted.
    Again,
    /// It is retrieved for lanes that lack it.
    Lacking,
    /// It is retrieved to see whether it is the known one, and delivered if it is not.
    Compared,
    /// It is known, and due to be deleted now.
    Due,
    /// The server had confirmed its deletion, and is asked once more.
    Relisted,
    /// A rule, or the filter, deletes it unread.
    Discarded,
    /// It is known because a person, or a rule, said so: no lane has it.
    Counted,
    /// It waits for a lane that is closed.
    Waiting,
    /// It is due, but the account delivers to other targets than before: this run deletes nothing that is known.
    NewTarget,
    /// An interrupted run may have delivered it; the next run finds out.
    InDoubt,
    /// It is left.
    Left(Reason),
}

impl Fate {
    /// What is done with the message.
    pub fn verdict(self) -> &'static str {
        match self {
            Fate::New | Fate::Reused | Fate::Again | Fate::Lacking | Fate::Compared => "retrieve",
            Fate::Due | Fate::Relisted | Fate::Discarded => "delete",
            Fate::Counted | Fate::Waiting | Fate::NewTarget | Fate::InDoubt | Fate::Left(_) => "leave",
        }
    }

    /// Why, in a word for programs.
    pub fn reason(self) -> &'static str {
        match self {
            Fate::New => "new",
            Fate::Reused => "unique-id-reused",
            Fate::Again => "all",
            Fate::Lacking => "lacking",
            Fate::Compared => "compare",
            Fate::Due => "due",
            Fate::Relisted => "relisted",
            Fate::Discarded => "rule",
            Fate::Counted => "counted-as-known",
            Fate::Waiting => "target-closed",
            Fate::NewTarget => "new-target",
            Fate::InDoubt => "in-doubt",
            Fate::Left(reason) => reason.word(),
        }
    }
}

impl Outlook {
    /// Of a message of which nothing is known but its fate.
    pub fn of(fate: Fate) -> Self {
        Outlook { fate, by: None, since: None, due: None, lanes: Lanes::NONE, is_deleted: false }
    }

    /// The same where nothing that is known is deleted in this run.
    fn withheld(self) -> Self {
        match self.fate {
            Fate::Due | Fate::Relisted => Outlook { fate: Fate::NewTarget, is_deleted: false, ..self },
            _ => self,
        }
    }
}

/// What becomes of each message of a maildrop.
pub struct Prospects<'p> {
    view: View<'p>,
    plan: &'p Plan,
    /// Nothing that is known is deleted in this run.
    is_withheld: bool,
    /// Position, verdict, and the place of the key; in the order of positions.
    rows: Vec<(u32, Verdict, u32)>,
    retention: Retention,
}

impl<'p> Prospects<'p> {
    /// As a plan has it; `is_withheld` when the run deletes nothing that is known.
    pub fn new(view: View<'p>, plan: &'p Plan, is_withheld: bool) -> Self {
        let mut keys = 0..;
        // Keys are in the order of the rows that they belong to.
        let mut key = |verdict| if verdict == Verdict::Retrieve { keys.next().unwrap_or(u32::MAX) } else { u32::MAX };
        let mut rows: Vec<_> = plan.rows.iter().map(|row| (row.position, row.verdict, key(row.verdict))).collect();
        rows.sort_unstable_by_key(|(position, ..)| *position);
        Prospects { view, plan, is_withheld, rows, retention: view.retention() }
    }

    /// What becomes of the message at a position.
    pub fn outlook(&self, position: u32) -> Outlook {
        let row = self.rows.binary_search_by_key(&position, |(position, ..)| *position);
        let row = row.ok().map(|row| self.rows[row]);
        let key = row.and_then(|(_, _, key)| self.plan.retrieve.get(key as usize));
        let outlook = self.view.outlook(position as usize, row.map(|(_, verdict, _)| verdict), key, &self.retention);
        if self.is_withheld { outlook.withheld() } else { outlook }
    }

    /// What is not simply left because it is known: first what the plan has rows for, in the order in which they are
    /// carried out.
    pub fn remarkable(&self) -> impl Iterator<Item = (u32, Outlook)> {
        let listed = u32::try_from(self.view.listing.len()).expect("a position is below 2^32");
        let has_row = |position: &u32| self.rows.binary_search_by_key(position, |(position, ..)| *position).is_ok();
        let others = (0..listed).filter(move |position| !has_row(position));
        let all = self.plan.rows.iter().map(|row| row.position).chain(others);
        let is_known = |fate| matches!(fate, Fate::Left(Reason::Known) | Fate::Counted);
        all.map(|position| (position, self.outlook(position))).filter(move |(_, outlook)| !is_known(outlook.fate))
    }
}

/// What has come before a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SoFar {
    /// Messages that this run has delivered.
    pub messages: u64,
    /// Octets that have come in this run.
    pub octets: u64,
    /// Octets that have come today.
    pub octets_today: u64,
}

impl Policy {
    /// What an account wants, for these lanes, when so much has come.
    pub fn of(account: &Account, open: Lanes, so_far: SoFar) -> Self {
        let Account { keep, keep_newest, delete_over, all, order, max_size, max_octets, .. } = *account;
        let max_messages = account.max_messages.map(|most| most.saturating_sub(so_far.messages));
        let per_run = max_octets.per_run.map(|limit| Allowance { limit, used: so_far.octets });
        let per_day = max_octets.per_day.map(|limit| Allowance { limit, used: so_far.octets_today });
        let max_octets = [per_run, per_day];
        // Whether what this run has brought is among the newest, the next one finds out.
        let is_first = so_far.messages == 0;
        let (keep_newest, delete_over) = (keep_newest.filter(|_| is_first), delete_over.filter(|_| is_first));
        let own = Lanes::first(account.own_targets);
        let (has_rules, may_discard) = (account.has_rules(), account.allow_delete_unread && !account.one_off);
        Policy {
            keep,
            keep_newest,
            delete_over,
            all,
            order,
            max_size,
            max_messages,
            max_octets,
            room: None,
            own,
            has_rules,
            may_discard,
            open,
        }
    }

    /// True when nothing more may come in this run, or today.
    pub fn is_used_up(&self) -> bool {
        let is_used_up = |allowance: Allowance| allowance.used >= allowance.limit;
        self.max_messages == Some(0) || self.max_octets.into_iter().flatten().any(is_used_up)
    }

    /// True when a message that is delivered as its key says is then deleted on the server.
    pub fn deletes(&self, key: &Key) -> bool {
        let is_due = key.is_due || key.keep.as_deref().copied().unwrap_or(self.keep) == Keep::Never;
        is_due && !key.is_held_back && key.bound_for().and(self.open) == key.lanes
    }
}

impl View<'_> {
    /// True for a message that is deleted, once it is delivered, if its text shows that it is the known one.
    fn is_due_by_text(&self, key: &Key) -> bool {
        key.known_head.is_some() && key.is_due && !self.policy.all
    }

    /// What becomes of the message at a position: its verdict in the plan, if it has a row there, and its key, if it is to
    /// be retrieved.
    fn outlook(&self, position: usize, verdict: Option<Verdict>, key: Option<&Key>, retention: &Retention) -> Outlook {
        let fact = match self.standings.get(position) {
            Standing::Known(fact) => Some(self.ledger.facts().get(fact)),
            Standing::New { .. } => None,
        };
        let since = fact.map(|fact| u64::from(fact.at)).filter(|at| is_date(*at));
        let fate = match (verdict, key) {
            (Some(Verdict::Retrieve), Some(key)) if key.is_compared() || self.is_due_by_text(key) => Fate::Compared,
            (Some(Verdict::Retrieve), Some(key)) if key.reused && key.known_head.is_none() => Fate::Reused,
            (Some(Verdict::Retrieve), Some(key)) if key.again && self.policy.all => Fate::Again,
            (Some(Verdict::Retrieve), Some(key)) if key.again => Fate::Lacking,
            (Some(Verdict::Retrieve), _) => Fate::New,
            (Some(Verdict::Delete { again: false }), _) => Fate::Due,
            (Some(Verdict::Delete { again: true }), _) => Fate::Relisted,
            (Some(Verdict::Discard), _) => Fate::Discarded,
            (Some(Verdict::Leave(reason)), _) => Fate::Left(reason),
            (None, _) if self.ledger.is_in_doubt(self.listing.get(position).unique_id) => Fate::InDoubt,
            (None, _) => match fact {
                Some(fact) if !self.lacks(position, &fact).is_empty() => Fate::Waiting,
                Some(fact) if fact.lanes == LaneSet::EMPTY => Fate::Counted,
                _ => Fate::Left(Reason::Known),
            },
        };
        let due =
            fact.filter(|fact| self.ledger.may_be_deleted(fact)).and_then(|fact| retention.due_at(position, &fact));
        let is_told = |due: &u64| match fate {
            Fate::Left(Reason::Known) => *due > self.now,
            // What is due because of others has no time of its own.
            Fate::Due => *due < self.now,
            _ => false,
        };
        let is_ruled =
            matches!(fate.verdict(), "retrieve") || matches!(fate, Fate::Discarded | Fate::Left(Reason::Ruled));
        Outlook {
            fate,
            by: self.rulings.of(position).and_then(|ruling| ruling.by).filter(|_| is_ruled),
            since,
            due: due.filter(is_told),
            lanes: key.map_or(Lanes::NONE, |key| key.bound_for().and(self.policy.open)),
            is_deleted: fate.verdict() == "delete" || key.is_some_and(|key| self.policy.deletes(key)),
        }
    }
}
