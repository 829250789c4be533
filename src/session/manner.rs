//! What a session does without, because the server does not answer it.

use std::time::Duration;

use super::Error;
use crate::account::Account;
use crate::ledger::Ledger;
use crate::notice::Notice;

/// The ledger's note about a maildrop whose server does not answer what is sent ahead, and how long it counts: servers
/// are mended, and one silence may have been the network's.
pub const LOCK_STEP: &str = "lock-step";
const LOCK_STEP_FOR: Duration = Duration::from_secs(30 * 86400);

/// The same about one that does not answer TOP. Meanwhile what TOP would prove is not deleted, so it is shorter.
pub const NO_TOP: &str = "no-top";
const NO_TOP_FOR: Duration = Duration::from_secs(86400);

/// What a session does without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// Each command waits for the reply before it.
    pub in_lock_step: bool,
    /// TOP is not asked for.
    pub without_top: bool,
}

impl Manner {
    /// What earlier runs have found out, and what the account says.
    pub fn known(account: &Account, ledger: &Ledger, now: u64) -> Self {
        let has_lock_step = || ledger.has_fresh_note(LOCK_STEP, now, LOCK_STEP_FOR);
        Manner {
            in_lock_step: !account.pipelining.unwrap_or_else(|| !has_lock_step()),
            without_top: ledger.has_fresh_note(NO_TOP, now, NO_TOP_FOR),
        }
    }

    /// What one more session leaves out, when the server has answered badly to this one. `is_unanswered_ahead` tells that
    /// it was a command sent ahead that got no answer.
    pub fn next(self, account: &Account, is_unanswered_ahead: bool, error: Option<&Error>) -> Option<(Self, Notice)> {
        let may_change = !self.in_lock_step && account.pipelining.is_none();
        match error {
            _ if is_unanswered_ahead && may_change => Some((Manner { in_lock_step: true, ..self }, Notice::LockStep)),
            Some(Error::Top(error)) if !self.without_top => {
                Some((Manner { without_top: true, ..self }, Notice::NoTop(error.to_string())))
            }
            _ => None,
        }
    }
}
