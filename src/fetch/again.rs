//! The sessions of one run, one after the other: what comes after each, and what they know of one another.

use std::time::{Duration, Instant};

use super::{Failure, Fetch, Mark};
use crate::failure::{Failure as _, Kind};
use crate::ledger::Ledger;
use crate::notice::Notice;
use crate::os::clock::now;
use crate::plan::Batch;
use crate::pop3::Credentials;
use crate::report::Summary;
use crate::session::{LOCK_STEP, Manner, NO_TOP};

/// The longest wait before a broken line is dialled again, in seconds.
const LONGEST_PAUSE: u64 = 60;

/// The longest wait for the next batch: where nobody watches, the next run is as good.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT_WATCHED: Duration = Duration::from_secs(600);

/// What a session has come to, once it has logged in.
pub(super) struct Seen {
    /// When it did.
    pub logged_in: Instant,
    /// How long after that the server takes no other login (RFC 2449 §6.5).
    pub login_delay: Option<Duration>,
    /// What it has found, as soon as that is known.
    pub batch: Option<Batch>,
    /// The server has confirmed its end.
    pub has_quit: bool,
}

/// What comes after a session.
enum Next {
    /// Nothing; the run ends as the session did.
    Nothing(Result<(), Failure>),
    /// One that does without what the server did not answer, or without TOP, at which the line broke.
    Without(Manner, Notice, Option<Failure>),
    /// One that goes on where the line broke, after a pause.
    Redial(Failure),
    /// One that finds out, after a pause, whether there is more from before `start`.
    Start(Duration),
    /// One that looks for the next batch, after a pause.
    Follow(Batch, Duration),
    /// Nothing, though the server may have another batch: why that is left to the next run.
    Leave(String),
}

/// The sessions of this run so far.
struct Past {
    /// What the next one does without.
    manner: Manner,
    /// How often a broken line was dialled again.
    redials: u32,
    /// How it broke, while nothing has gone well since.
    broken: Option<Failure>,
    /// How the line broke at TOP, when the last one does without that.
    at_top: Option<Failure>,
    /// How many messages are known because of them.
    counted: usize,
    /// The one under way looks for more from before `start`, and the one before it has ended well.
    starts: bool,
    /// One of them was opened to look for the next batch.
    follows: bool,
    /// The last one was opened for messages that the one before it has left: without it the run has not done all.
    is_owed: bool,
    /// How many were listed and known to those that went well.
    listed: usize,
    known: usize,
    /// How many notices stand, whatever the next one says.
    said: usize,
}

impl Fetch<'_> {
    /// Opens sessions until there is no reason for one more.
    pub(super) fn sessions(&mut self, ledger: &mut Ledger, credentials: &Credentials) -> Result<(), Failure> {
        let manner = Manner::known(self.account, ledger, now());
        let said = self.summary.notices.len();
        let (known, counted, listed) = (manner, 0, 0);
        let (starts, follows) = (false, false);
        let mut past = Past {
            manner,
            redials: 0,
            broken: None,
            at_top: None,
            counted,
            starts,
            follows,
            is_owed: false,
            listed,
            known: 0,
            said,
        };
        loop {
            self.seen = None;
            let ended = self.session(ledger, credentials, past.manner);
            self.add_up(&past);
            let before = self.after.take();
            let ended = if std::mem::take(&mut past.starts) { self.end_start(ledger, ended) } else { ended };
            let notice = match self.next(&past, before, ended, ledger) {
                Next::Nothing(ended) => {
                    // Where the line failed again, it may have been the line the first time.
                    if past.redials == 0 || past.manner.without_top {
                        self.note_manner(ledger, known, past.manner, &ended)?;
                    }
                    return ended.map_err(|failure| self.why(past, failure));
                }
                Next::Leave(why) => {
                    self.summary.notices.push(Notice::Batches { why, is_shown: self.run.is_watched });
                    return Ok(());
                }
                Next::Without(manner, notice, broken) => {
                    past.manner = manner;
                    past.at_top = broken;
                    Some(notice)
                }
                Next::Start(pause) => {
                    self.pause("waiting to list once more", pause)?;
                    past.starts = true;
                    None
                }
                Next::Redial(failure) => {
                    past.redials += 1;
                    let seconds = 1u64.checked_shl(past.redials - 1).unwrap_or(u64::MAX).min(LONGEST_PAUSE);
                    self.pause("waiting to dial again", Duration::from_secs(seconds))?;
                    let notice = Notice::Redialled(failure.to_string());
                    past.broken = Some(failure);
                    Some(notice)
                }
                Next::Follow(batch, pause) => {
                    self.note_manner(ledger, known, past.manner, &Ok(()))?;
                    self.pause("waiting for the next batch", pause)?;
                    past.is_owed = batch.postponed > 0;
                    (self.after, past.follows, past.broken) = (Some(batch), true, None);
                    (past.listed, past.known) = (self.summary.listed, self.summary.known);
                    None
                }
            };
            self.go_on(&mut past, notice);
        }
    }

    fn next(&self, past: &Past, before: Option<Batch>, ended: Result<(), Failure>, ledger: &Ledger) -> Next {
        let failure = match ended {
            // Where that takes too long, the next run goes on.
            Ok(()) if self.has_more_to_start() => {
                return self.before_login().map_or(Next::Nothing(Ok(())), Next::Start);
            }
            Ok(()) => {
                return self
                    .postponed(before)
                    .map_or_else(|| self.follow(before, ledger), |(batch, pause)| Next::Follow(batch, pause));
            }
            Err(failure) => failure,
        };
        let may_redial = past.redials < self.account.retries && self.is_worth_a_redial(past, &failure);
        // It may be the line.
        let is_at_top = matches!(&failure, Failure::Session(error) if error.is_broken_off_at_top());
        if is_at_top && may_redial {
            return Next::Redial(failure);
        }
        if let Some((manner, notice)) = self.next_manner(past.manner, &failure) {
            return Next::Without(manner, notice, is_at_top.then_some(failure));
        }
        // The session before this one has ended well.
        let is_refused_anew = past.follows && !past.is_owed && self.seen.is_none() && past.broken.is_none();
        if is_refused_anew && !matches!(failure.kind(), Kind::Stopped(_)) {
            return Next::Leave(failure.to_string());
        }
        if may_redial { Next::Redial(failure) } else { Next::Nothing(Err(failure)) }
    }

    /// The batch behind which one more session retrieves what might have ended this one before its deletions.
    fn postponed(&self, before: Option<Batch>) -> Option<(Batch, Duration)> {
        let is_once = before.is_none_or(|before| before.postponed == 0);
        let seen = self.seen.as_ref().filter(|seen| is_once && seen.has_quit && !self.run.dry_run)?;
        let batch = seen.batch.filter(|batch| batch.postponed > 0)?;
        Some((batch, self.before_login()?))
    }

    /// What comes after a session that has ended well.
    fn follow(&self, before: Option<Batch>, ledger: &Ledger) -> Next {
        let is_new = |batch: Option<Batch>| batch.is_none_or(|batch| batch.new > 0);
        // What was retrieved once more in vain is not retrieved for ever.
        let is_over = !is_new(before) && !is_new(self.seen.as_ref().and_then(|seen| seen.batch));
        if self.run.dry_run || is_over {
            return Next::Nothing(Ok(()));
        }
        let seen = self.seen.as_ref().and_then(|seen| Some((seen, seen.batch?)));
        let Some((seen, batch)) = seen.filter(|(_, batch)| self.may_be_followed(*batch, ledger)) else {
            return Next::Nothing(Ok(()));
        };
        // The wish to stop may have come while nothing but the farewell was awaited.
        if let Err(stopped) = self.run.stop.check() {
            return Next::Nothing(Err(stopped.into()));
        }
        if !seen.has_quit {
            return Next::Nothing(Ok(()));
        }
        let delay = seen.login_delay.unwrap_or(Duration::ZERO);
        match self.before_login() {
            None => Next::Leave(format!("it wants {} s between two logins (LOGIN-DELAY)", delay.as_secs())),
            Some(pause) => Next::Follow(batch, pause),
        }
    }

    /// How long to wait before another login; `None` where that is too long for this run.
    fn before_login(&self) -> Option<Duration> {
        let Some(seen) = &self.seen else { return Some(Duration::ZERO) };
        let delay = seen.login_delay.unwrap_or(Duration::ZERO);
        let longest = if self.run.is_watched { LONGEST_WAIT_WATCHED } else { LONGEST_WAIT };
        (delay <= longest).then(|| delay.saturating_sub(seen.logged_in.elapsed()))
    }

    /// True when one more session may find other messages, and this run may fetch them.
    pub(super) fn may_be_followed(&self, batch: Batch, ledger: &Ledger) -> bool {
        let is_fetched = self.run.mark.is_none() && !self.account.all && self.summary.later == 0;
        // What was refused is not tried again in the same run.
        is_fetched
            && batch.may_be_followed(ledger, now())
            && self.summary.kind().is_none()
            && !self.policy(ledger).is_used_up()
    }

    /// Makes one run of several sessions.
    fn add_up(&mut self, past: &Past) {
        let Some(Seen { batch: Some(_), .. }) = self.seen else {
            if past.follows {
                (self.summary.listed, self.summary.known) = (past.listed, past.known);
            }
            return;
        };
        // What a session before this one has done, as what is from before `start`, is known, but not from an earlier run.
        self.summary.known = self.summary.known.saturating_sub(past.counted).max(past.known);
        if past.follows {
            // A batch is not listed any more when the next one is.
            let Summary { known, delivered, before_start, skipped, later, rows, .. } = &*self.summary;
            let all = known + delivered + before_start + skipped + later + rows.len();
            self.summary.listed = self.summary.listed.max(all);
        }
    }

    /// What one more session leaves out, when the server has answered badly to it. What has come is not fetched again, so
    /// that there is none where nothing tells what has.
    fn next_manner(&self, manner: Manner, failure: &Failure) -> Option<(Manner, Notice)> {
        if self.summary.is_nameless && self.summary.delivered > 0 {
            return None;
        }
        let error = match failure {
            // Without TOP nothing can be found at home.
            Failure::Session(error) if !matches!(self.run.mark, Some(Mark::AtHome(_))) => Some(error),
            _ => None,
        };
        manner.next(self.account, failure.is_unanswered_ahead(), error)
    }

    /// True when the line broke, which may help itself. With `--all`, or without unique-ids, what has come would come again.
    fn is_worth_a_redial(&self, past: &Past, failure: &Failure) -> bool {
        let is_broken = failure.is_of_the_line() && failure.kind() == Kind::Temporary;
        let is_again = (self.account.all || self.summary.is_nameless) && self.summary.delivered > 0;
        // A server that cannot be reached in the first place is the next run's.
        is_broken && (self.seen.is_some() || past.broken.is_some()) && !is_again
    }

    /// Waits before another session, but not beyond a stop.
    fn pause(&self, what: &str, pause: Duration) -> Result<(), Failure> {
        if !pause.is_zero() {
            self.bar.phase(what);
            // A wait that fails is a short one.
            let _ = self.run.stop.pause(pause);
        }
        Ok(self.run.stop.check()?)
    }

    /// Prepares for one more session: its notices take the place of those that each session gives.
    fn go_on(&mut self, past: &mut Past, notice: Option<Notice>) {
        let mut notices = self.summary.notices.split_off(past.said);
        notices.retain(|notice| !notice.is_of_each_session());
        self.summary.notices.append(&mut notices);
        self.summary.notices.extend(notice);
        self.summary.rows.retain(|row| row.refused().is_none());
        let Summary { delivered, before_start, skipped, .. } = *self.summary;
        (past.said, past.counted) = (self.summary.notices.len(), delivered + before_start + skipped);
    }

    /// Why the run failed. A maildrop that the broken session still holds says nothing of why that broke.
    /// One that needs TOP says nothing of it when the line broke there.
    fn why(&self, past: Past, failure: Failure) -> Failure {
        let is_shut_out = self.seen.is_none() && failure.kind() == Kind::Temporary;
        let needs_top = matches!(&failure, Failure::Session(error) if error.is_for_want_of_top());
        let broken = past.broken.filter(|_| is_shut_out);
        broken.or(past.at_top.filter(|_| needs_top)).unwrap_or(failure)
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
        // Without it nothing was better where header sections are needed.
        let is_any_better = !matches!(ended, Err(Failure::Session(_)));
        if manner.without_top && !known.without_top && is_any_better {
            ledger.note_for_now(NO_TOP, now())?;
        }
        Ok(ledger.sync()?)
    }
}
