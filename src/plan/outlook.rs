//! What a run would do with one message, and why, for people who look: the verdict with its dates.

use super::{Policy, Reason, Verdict, View};
use crate::account::Keep;
use crate::ledger::{Key, LaneSet, Lanes, Standing, is_date};

/// What a run would do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// What, and why.
    pub fate: Fate,
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
    /// It is known because a person said so: no lane has it.
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
            Fate::Due | Fate::Relisted => "delete",
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
            Fate::Counted => "counted-as-known",
            Fate::Waiting => "target-closed",
            Fate::NewTarget => "new-target",
            Fate::InDoubt => "in-doubt",
            Fate::Left(reason) => reason.word(),
        }
    }
}

impl Policy {
    /// True when a message that is delivered as its key says is then deleted on the server.
    pub fn deletes(&self, key: &Key) -> bool {
        (self.keep == Keep::Never || key.is_due) && !key.is_held_back && key.lanes.and(self.open) == key.lanes
    }
}

impl View<'_> {
    /// What becomes of the message at a position: its verdict in the plan, if it has a row there, and its key, if it is to
    /// be retrieved.
    pub fn outlook(&self, position: usize, verdict: Option<Verdict>, key: Option<&Key>) -> Outlook {
        let fact = match self.standings.get(position) {
            Standing::Known(fact) => Some(self.ledger.facts().get(fact)),
            Standing::New { .. } => None,
        };
        let since = fact.map(|fact| u64::from(fact.at)).filter(|at| is_date(*at));
        let fate = match (verdict, key) {
            (Some(Verdict::Retrieve), Some(key)) if key.is_compared() => Fate::Compared,
            (Some(Verdict::Retrieve), Some(key)) if key.reused && key.known_head.is_none() => Fate::Reused,
            (Some(Verdict::Retrieve), Some(key)) if key.again && self.policy.all => Fate::Again,
            (Some(Verdict::Retrieve), Some(key)) if key.again => Fate::Lacking,
            (Some(Verdict::Retrieve), _) => Fate::New,
            (Some(Verdict::Delete { again: false }), _) => Fate::Due,
            (Some(Verdict::Delete { again: true }), _) => Fate::Relisted,
            (Some(Verdict::Leave(reason)), _) => Fate::Left(reason),
            (None, _) if self.ledger.is_in_doubt(self.listing.get(position).unique_id) => Fate::InDoubt,
            (None, _) => match fact {
                Some(fact) if !self.ledger.lacks(&fact).is_empty() => Fate::Waiting,
                Some(fact) if fact.lanes == LaneSet::EMPTY => Fate::Counted,
                _ => Fate::Left(Reason::Known),
            },
        };
        let time = match self.policy.keep {
            Keep::For(time) => Some(time.as_secs()),
            Keep::Never | Keep::Forever => None,
        };
        let becomes_due = matches!(fate, Fate::Left(Reason::Known) | Fate::Due)
            && fact.is_some_and(|fact| self.ledger.may_be_deleted(&fact));
        Outlook {
            fate,
            since,
            due: time.zip(since).filter(|_| becomes_due).map(|(time, since)| since.saturating_add(time)),
            lanes: key.map_or(Lanes::NONE, |key| key.lanes.and(self.policy.open)),
            is_deleted: fate.verdict() == "delete" || key.is_some_and(|key| self.policy.deletes(key)),
        }
    }
}
