//! The first run of an account: what is from before its `start` counts as known.

use super::{Failure, Fetch};
use crate::account::Start;
use crate::ledger::{Begun, Ledger};
use crate::os::clock::now;
use crate::plan::{Reason, Verdict};
use crate::session::{self, Surveyed};

/// The most sessions of one run that look for more of a maildrop that comes in parts; the next run goes on.
const MOST_PARTS: u32 = 100;

impl Fetch<'_> {
    /// Which messages a first run wants.
    pub(super) fn start(&self) -> Start {
        session::start(self.account, self.run.fill)
    }

    /// Notes that the account has listed the maildrop, and what counts as known from now on.
    pub(super) fn begin(&mut self, ledger: &mut Ledger, surveyed: &Surveyed) -> Result<(), Failure> {
        let Surveyed { survey, standings, plan, .. } = surveyed;
        let mut positions: Vec<usize> = plan.with(Verdict::Leave(Reason::BeforeStart)).collect();
        positions.sort_unstable();
        self.is_starting = !positions.is_empty();
        self.parts += u32::from(self.is_starting);
        if self.run.dry_run {
            return Ok(());
        }
        self.summary.before_start += positions.len();
        let is_blocked = positions.is_empty() && surveyed.is_blocked;
        match ledger.begun() {
            _ if self.account.one_off => Ok(()),
            Begun::Since(_) if is_blocked => Ok(()),
            // Should the note be lost, nothing else is.
            Begun::Never | Begun::Wholly if self.account.start == Start::All => Ok(ledger.note_account(now())?),
            Begun::Wholly => Ok(ledger.note_account(now())?),
            Begun::Never | Begun::Since(_) => Ok(ledger.begin(&survey.listing, standings, &positions, now())?),
        }
    }

    /// True when another session is to find out whether there is more from before `start`.
    pub(super) fn has_more_to_start(&self) -> bool {
        self.is_starting && !self.run.dry_run && self.parts < MOST_PARTS
    }

    /// Ends the start of an account whose server does not let it list once more: what is listed later is new then. The run
    /// has done what it had to do.
    pub(super) fn end_start(&mut self, ledger: &mut Ledger, ended: Result<(), Failure>) -> Result<(), Failure> {
        match ended {
            Err(failure) if self.seen.is_none() && !matches!(failure, Failure::Stopped(_)) => {
                self.is_starting = false;
                Ok(ledger.begin_wholly(now())?)
            }
            ended => ended,
        }
    }
}
