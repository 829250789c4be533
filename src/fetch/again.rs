//! The sessions of one run, one after the other: what comes after each, and what they know of one another.

use std::time::Duration;

use super::{Failure, Fetch};
use crate::failure::{Failure as _, Kind};
use crate::ledger::Ledger;
use crate::notice::Notice;
use crate::os::clock::now;
use crate::pop3::Credentials;
use crate::report::Summary;
use crate::session::{LOCK_STEP, Manner, NO_TOP};
use crate::stop::Woken;

/// The longest wait before a broken line is dialled again, in seconds.
const LONGEST_PAUSE: u64 = 60;

/// What comes after a session.
enum Next {
    /// Nothing; the run ends as the session did.
    Nothing(Result<(), Failure>),
    /// One that does without what the server did not answer.
    Without(Manner, Notice),
    /// One that goes on where the line broke, after a pause.
    Redial(Failure),
    /// One that finds out whether there is more from before `start`.
    Start,
}

/// The sessions of this run so far.
struct Past {
    /// What the next one does without.
    manner: Manner,
    /// How often a broken line was dialled again, and how it broke.
    redials: u32,
    broken: Option<Failure>,
    /// How many messages are known because of them.
    known: usize,
    /// How many notices stand, whatever the next one says.
    said: usize,
}

impl Fetch<'_> {
    /// Opens sessions until there is no reason for one more.
    pub(super) fn sessions(&mut self, ledger: &mut Ledger, credentials: &Credentials) -> Result<(), Failure> {
        let known = Manner::known(self.account, ledger, now());
        let said = self.summary.notices.len();
        let mut past = Past { manner: known, redials: 0, broken: None, known: 0, said };
        loop {
            self.is_logged_in = false;
            let ended = self.session(ledger, credentials, past.manner);
            // What a session before this one has done, as what is from before `start`, is known, but not from an earlier run.
            self.summary.known = self.summary.known.saturating_sub(past.known);
            let ended = self.end_start(ledger, ended);
            let notice = match self.next(&past, ended) {
                Next::Nothing(ended) => {
                    // Where the line failed again, it may have been the line the first time.
                    if past.redials == 0 {
                        self.note_manner(ledger, known, past.manner, &ended)?;
                    }
                    return ended.map_err(|failure| self.why(past.broken, failure));
                }
                Next::Without(manner, notice) => {
                    past.manner = manner;
                    Some(notice)
                }
                Next::Start => None,
                Next::Redial(failure) => {
                    past.redials += 1;
                    self.pause_before_redial(past.redials)?;
                    let notice = Notice::Redialled(failure.to_string());
                    past.broken = Some(failure);
                    Some(notice)
                }
            };
            self.go_on(&mut past, notice);
        }
    }

    fn next(&self, past: &Past, ended: Result<(), Failure>) -> Next {
        let Err(failure) = ended else {
            return if self.has_more_to_start() { Next::Start } else { Next::Nothing(ended) };
        };
        if let Some((manner, notice)) = self.next_manner(past.manner, &failure) {
            return Next::Without(manner, notice);
        }
        if past.redials < self.account.retries && self.is_worth_a_redial(past, &failure) {
            return Next::Redial(failure);
        }
        Next::Nothing(Err(failure))
    }

    /// What one more session leaves out, when the server has answered badly to it. What has come is not fetched again.
    fn next_manner(&self, manner: Manner, failure: &Failure) -> Option<(Manner, Notice)> {
        let error = match failure {
            Failure::Session(error) => Some(error),
            _ => None,
        };
        manner.next(self.account, failure.is_unanswered_ahead(), error)
    }

    /// True when the line broke, which may help itself. With `--all` what has come would come again.
    fn is_worth_a_redial(&self, past: &Past, failure: &Failure) -> bool {
        let is_broken = failure.is_of_the_line() && failure.kind() == Kind::Temporary;
        let is_again = self.account.all && self.summary.delivered > 0;
        // A server that cannot be reached in the first place is the next run's.
        is_broken && (self.is_logged_in || past.redials > 0) && !is_again
    }

    /// Waits before another session, for longer each time, but not beyond a stop.
    fn pause_before_redial(&self, redials: u32) -> Result<(), Failure> {
        self.bar.phase("waiting to dial again");
        let seconds = 1u64.checked_shl(redials - 1).unwrap_or(u64::MAX).min(LONGEST_PAUSE);
        match self.run.stop.pause(Duration::from_secs(seconds)) {
            Ok(Woken::Stopped(stopped)) => Err(stopped.into()),
            _ => Ok(self.run.stop.check()?),
        }
    }

    /// Prepares for one more session: its notices take the place of those that each session gives.
    fn go_on(&mut self, past: &mut Past, notice: Option<Notice>) {
        let mut notices = self.summary.notices.split_off(past.said);
        notices.retain(|notice| !notice.is_of_each_session());
        self.summary.notices.append(&mut notices);
        self.summary.notices.extend(notice);
        self.summary.rows.retain(|row| row.refused().is_none());
        let Summary { delivered, before_start, skipped, .. } = *self.summary;
        (past.said, past.known) = (self.summary.notices.len(), delivered + before_start + skipped);
    }

    /// Why the run failed. A maildrop that the broken session still holds says nothing of why that broke.
    fn why(&self, broken: Option<Failure>, failure: Failure) -> Failure {
        let is_shut_out = !self.is_logged_in && failure.kind() == Kind::Temporary;
        broken.filter(|_| is_shut_out).unwrap_or(failure)
    }

    /// Remembers what helped.
    fn note_manner(
        &self,
        ledger: &mut Ledger,
        known: Manner,
        manner: Manner,
        ended: &Result<(), Failure>,
    ) -> Result<(), Failure> {
        let is_proved = ended.as_ref().err().is_none_or(|failure| !failure.is_of_the_line());
        if manner == known || self.run.dry_run || !is_proved {
            return Ok(());
        }
        if manner.in_lock_step && !known.in_lock_step {
            ledger.note_for_now(LOCK_STEP, now())?;
        }
        if manner.without_top && !known.without_top {
            ledger.note_for_now(NO_TOP, now())?;
        }
        Ok(ledger.sync()?)
    }
}
