//! What rules say of messages, as far as a verdict needs it.

use std::collections::HashMap;

use crate::account::{Account, Keep};
use crate::ledger::Lanes;
use crate::maildrop::Fingerprint;
use crate::rules::{self, Action, Judgement, Message};

/// Whose word a ruling is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The rule with this number, from 1, in the order in which they are asked.
    Rule(u16),
    /// The account's `filter`.
    Filter,
}

/// What is to become of a message that no run has settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It goes to these lanes; `keep` stands in the place of the account's.
    Take {
        /// The lanes.
        lanes: Lanes,
        /// What happens to it then.
        keep: Option<Keep>,
    },
    /// It is settled without being retrieved.
    Skip,
    /// It is deleted unread.
    Discard,
    /// Nothing was decided. It stays for the next run.
    Nothing,
}

impl Decision {
    /// About a message that no rule fits.
    pub fn own(account: &Account) -> Self {
        Decision::Take { lanes: Lanes::first(account.own_targets), keep: None }
    }
}

/// A decision, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// Who has decided; `None` when no rule fits.
    pub by: Option<By>,
    /// What.
    pub decision: Decision,
    /// What the header section said, where it was read.
    pub head: Option<Fingerprint>,
}

/// The rulings of one session.
#[derive(Debug, Default)]
pub struct Rulings {
    by_position: HashMap<u32, Ruling>,
    /// Why nothing was decided about the messages at these positions.
    pub undecided: Vec<(u32, String)>,
}

impl Rulings {
    /// Notes a ruling.
    ///
    /// # Panics
    /// For a position that no listing has.
    pub fn insert(&mut self, position: usize, ruling: Ruling) {
        let position = u32::try_from(position).expect("a position is below 2^32");
        self.by_position.insert(position, ruling);
    }

    /// Notes why nothing is decided about a message.
    ///
    /// # Panics
    /// For a position that no listing has.
    pub fn leave(&mut self, position: usize, reason: String) {
        self.insert(position, Ruling { by: None, decision: Decision::Nothing, head: None });
        self.undecided.push((u32::try_from(position).expect("a position is below 2^32"), reason));
    }

    /// The ruling on the message at a position; `None` where no rule fits, or none was asked.
    pub fn of(&self, position: usize) -> Option<Ruling> {
        if self.by_position.is_empty() { None } else { self.by_position.get(&u32::try_from(position).ok()?).copied() }
    }
}

/// The first rule of an account that fits a message. `Ok(None)` when none does.
///
/// # Errors
/// When only the header section tells.
pub fn rule(account: &Account, message: &Message<'_>) -> Result<Option<(By, Decision)>, NeedsHead> {
    let position = match rules::judge(&account.rules, message) {
        Judgement::NeedsHead => return Err(NeedsHead),
        Judgement::NoneFits => return Ok(None),
        Judgement::Fits(position) => position,
    };
    let number = u16::try_from(position + 1).expect("an account has fewer rules");
    let decision = match &account.rules[position].action {
        Action::Skip => Decision::Skip,
        Action::Delete => Decision::Discard,
        Action::Take { targets, keep } => {
            let lanes = targets.as_ref().map_or(Lanes::first(account.own_targets), |targets| Lanes::of(targets));
            Decision::Take { lanes, keep: *keep }
        }
    };
    Ok(Some((By::Rule(number), decision)))
}

/// Only the header section tells which rule fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedsHead;
