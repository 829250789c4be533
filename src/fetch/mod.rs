//! One account from connect to QUIT: survey → plan → transfer → update → settle.
//!
//! Here the skills meet, and only here. Each step hands the next one what it needs; what goes wrong becomes a
//! [`Failure`] in the account's [`Summary`], and what was complete by then stays committed.

mod again;
mod failure;
mod in_step;
mod mark;
mod pace;
mod quarantine;
mod side_by_side;
mod start;
mod transfer;

use std::any::Any;
use std::collections::HashSet;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use again::Seen;
pub use failure::Failure;
pub use mark::{Forgotten, Mark};
use quarantine::Takings;
pub use side_by_side::{Jobs, side_by_side};
use transfer::{Lane, Transfer};

use crate::account::{Account, Keep, Secret, Start, Target};
use crate::deliver::{self, Disks, Guarantee, Place, Recovered, Room};
use crate::failing::{Cause, Failing, Trouble};
use crate::failure::{Failure as _, Kind, worst};
use crate::ledger::{self, Committed, Decided, Door, Lanes, Ledger, Opened, Recorded, Standings, Wanted};
use crate::listings::{Budget, Share};
use crate::maildrop::{Durable as _, Listing};
use crate::notice::Notice;
use crate::os::clock::now;
use crate::plan::{self, Batch, Outlook, Plan, Policy, Prospects, Reason, Rulings, SoFar, Verdict, View};
use crate::pop3::{self, Credentials, Expire, Survey, Transaction};
use crate::progress::{Bar, Progress, Watch};
use crate::report::{Message, Outcome, Row, Summary};
use crate::session::{self, AtHome, Judge, Ledgers, Line, Manner, Opener, Surveyed, Terms, Wishes};
use crate::stop::Stop;

/// What all accounts of a run share.
pub struct Run<'r> {
    /// The folder of the ledgers.
    pub state_dir: PathBuf,
    /// When it began.
    pub began: SystemTime,
    /// Bars and lines for people.
    pub progress: &'r Arc<Progress>,
    /// The wish to stop.
    pub stop: Stop,
    /// Say what would be done, and do none of it.
    pub dry_run: bool,
    /// Create a target that is gone, too.
    pub create: bool,
    /// Give every target what it lacks, settled or not.
    pub fill: bool,
    /// Do not wait after failures in a row.
    pub now: bool,
    /// Fetch nothing: a person says what is known.
    pub mark: Option<Mark>,
    /// A person is asked before, on the terminal.
    pub asks: bool,
    /// 1: a line per message; 2: the wire as well.
    pub verbose: u8,
    /// A person watches: standard error is a terminal.
    pub is_watched: bool,
    /// That person hears how long a large first run takes.
    pub tells_pace: bool,
    /// Memory for the listings of all accounts.
    pub listings: Budget,
    /// The ledgers of all maildrops.
    pub ledgers: Ledgers,
}

/// The ledger's note about a message that `max_size` leaves on the server.
const TOO_LARGE: &str = "too-large";

/// Fetches one account. Whatever happens is in the summary.
pub fn fetch(account: &Account, run: &Run<'_>) -> Summary {
    let began = Instant::now();
    let mut summary = Summary::new(account);
    let bar = run.progress.account(&account.name);
    let watch = Watch { progress: run.progress, bar: &bar, shows_wire: run.verbose >= 2 };
    let mut fetch = Fetch {
        account,
        run,
        bar: &bar,
        watch: &watch,
        summary: &mut summary,
        closed: vec![],
        ended: vec![],
        used: vec![],
        is_first: false,
        received: 0,
        held: vec![],
        seen: None,
        after: None,
        is_at_new_targets: false,
        is_starting: false,
        parts: 0,
        room: None,
        takings: Takings::default(),
    };
    let ended = caught(|| fetch.run()).unwrap_or_else(Err);
    fetch.run_after();
    let closed = fetch.closed_lane().map(left_out);
    let held = std::mem::take(&mut fetch.held);
    summary.notices.extend(closed);
    if summary.known == 0 && summary.delivered + summary.would_retrieve > 0 {
        summary.notices.extend(held);
    }
    if let Err(failure) = ended {
        summary.is_update_unknown = matches!(failure, Failure::Update { .. });
        summary.failure = Some(Box::new(failure));
    }
    bar.finish();
    summary.elapsed = began.elapsed();
    summary
}

/// Runs what must not end the accounts beside this one when it panics, which is a mistake of popfetch's own.
fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Failure> {
    panic::catch_unwind(AssertUnwindSafe(run)).map_err(|cause| Failure::Panic(words_of(&*cause)))
}

/// The words of a panic.
fn words_of(cause: &(dyn Any + Send)) -> String {
    let words = cause.downcast_ref::<&str>().copied();
    words.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("no words").to_owned()
}

/// A target that took no more messages.
struct Ended {
    number: usize,
    words: String,
    /// It got none, because it is too early for another try.
    is_waiting: bool,
    /// It failed in a way that will pass, but that nobody here sees pass.
    is_setback: bool,
    /// Seconds that it wants to be left alone.
    retry_after: Option<u64>,
}

struct Fetch<'f> {
    account: &'f Account,
    run: &'f Run<'f>,
    bar: &'f Bar,
    watch: &'f Watch<'f>,
    summary: &'f mut Summary,
    /// Targets that take no more messages in this run, by their position, and why.
    closed: Vec<(usize, Failure)>,
    /// Targets that were closed, and reported.
    ended: Vec<Ended>,
    /// Targets that were opened.
    used: Vec<usize>,
    /// Nobody has fetched this maildrop before, as far as anybody knows.
    is_first: bool,
    /// Octets that have come.
    received: u64,
    /// What the targets held before the first run.
    held: Vec<Notice>,
    /// What the session has come to, once it has logged in.
    seen: Option<Seen>,
    /// What the session before this one has brought, where this one looks for more.
    after: Option<Batch>,
    /// The account delivers elsewhere than before, and that was said by this run: it deletes nothing that is known.
    is_at_new_targets: bool,
    /// The session has found messages from before `start`, and another one may find more.
    is_starting: bool,
    /// How many sessions have found such messages.
    parts: u32,
    /// What there is room for at home, in this session, where that matters.
    room: Option<Room>,
    /// What the targets have taken and refused.
    takings: Takings,
}

impl<'f> Fetch<'f> {
    fn run(&mut self) -> Result<(), Failure> {
        if let Some(mark) = self.run.mark.as_ref().filter(|mark| mark.is_offline()) {
            return self.mark_offline(mark);
        }
        // A password may take its time, and the account should not be held meanwhile. But nobody should be asked for one
        // in vain.
        if !matches!(self.account.secret, Secret::Literal(_)) && !self.run.dry_run {
            Ledger::check_free(&self.run.state_dir, &self.ledger_name())?;
        }
        let credentials = if self.seems_to_wait() { None } else { Some(self.opener().credentials()) };
        let credentials = match credentials.transpose() {
            Ok(credentials) => credentials,
            Err(error) => return self.end_without_secret(error.into()),
        };
        let mut ledger = self.open_ledger()?;
        let ended = match self.open().is_empty() {
            true => Err(self.closed_lane().expect("a lane that is not open is closed")),
            false => self.sessions_when_due(&mut ledger, credentials),
        };
        self.note_end(&mut ledger, ended)
    }

    /// True when nobody is to be asked for a password, because the account waits. The ledger is looked at only when the
    /// last run has failed.
    fn seems_to_wait(&self) -> bool {
        let has_failed = || Ledger::is_newer_than_success(&self.run.state_dir, &self.ledger_name());
        if matches!(self.account.secret, Secret::Literal(_)) || !self.may_wait() || !has_failed() {
            return false;
        }
        let looked = self.run.ledgers.look(self.account, self.wanted(), self.account.all, &self.run.stop);
        looked.is_ok_and(|(ledger, _)| ledger.waiting_altogether(now()).is_some())
    }

    fn may_wait(&self) -> bool {
        !self.run.now && self.run.mark.is_none()
    }

    /// Sessions with the server, unless it is too early for another try. Targets for which it is get nothing.
    fn sessions_when_due(&mut self, ledger: &mut Ledger, credentials: Option<Credentials>) -> Result<(), Failure> {
        if self.may_wait() {
            let now = now();
            if let Some(failing) = ledger.waiting(None, now) {
                return Err(Failure::Waiting(failing.clone()));
            }
            for number in 0..self.account.targets.len() {
                if let Some(failing) = ledger.waiting(Some(number), now).filter(|_| self.open().has(number)) {
                    self.leave_out(number, Failure::Waiting(failing.clone()))?;
                }
            }
        }
        let credentials = credentials.map_or_else(|| self.opener().credentials(), Ok)?;
        self.summary.secret = Some(credentials.password.clone());
        self.note_unverified();
        let ended = self.sessions(ledger, &credentials);
        let ended = if self.counts_failures() { ended.and(self.note_refusals(ledger)) } else { ended };
        ended.map_err(|failure| match failure {
            Failure::Session(error) => Failure::Session(error.after_success(ledger.last_success(), now())),
            failure => failure,
        })
    }

    /// Ends a run whose password cannot be had. Where that will pass, the ledger remembers it like a server that cannot be
    /// reached.
    fn end_without_secret(&mut self, failure: Failure) -> Result<(), Failure> {
        if !failure.is_transient() || !self.counts_failures() {
            return Err(failure);
        }
        match self.open_ledger() {
            Ok(mut ledger) => self.note_end(&mut ledger, Err(failure)),
            Err(_) => Err(failure),
        }
    }

    /// False for runs that a person has asked for to look at something, or to say something.
    fn counts_failures(&self) -> bool {
        !self.run.dry_run && self.run.mark.is_none()
    }

    /// Remembers how the run has ended, and whether that is to be reported.
    fn note_end(&mut self, ledger: &mut Ledger, ended: Result<(), Failure>) -> Result<(), Failure> {
        if !self.counts_failures() {
            return ended;
        }
        let closed = self.closed_lane().map(left_out);
        self.summary.notices.extend(closed);
        let kinds = [ended.as_ref().err().map(Failure::kind), self.summary.kind()];
        let kind = worst(kinds.into_iter().flatten());
        if matches!(kind, Some(Kind::Stopped(_))) {
            return ended;
        }
        let noted = self.note_lanes(ledger);
        match kind {
            Some(Kind::Temporary) => self.note_failing(ledger, ended.as_ref().err()),
            Some(_) => drop(ledger.note_mended(None)),
            None => {
                noted?;
                let mended = ledger.note_mended(None)?.filter(Failing::ends_in_silence);
                let notice = |failing: Failing| Notice::Mended { length: failing.length(now()), times: failing.times };
                self.summary.notices.extend(mended.map(notice));
                ledger.succeeded();
            }
        }
        ended
    }

    /// Remembers which targets have failed for a while, and which ones work again.
    fn note_lanes(&mut self, ledger: &mut Ledger) -> Result<(), Failure> {
        let is_only = self.account.targets.len() == 1;
        for Ended { number, words, is_waiting, is_setback, retry_after } in &self.ended {
            if *is_setback {
                let (before, trouble) = (ledger.failing(Some(*number)), Trouble::new(Cause::Target, words));
                let has_progress = is_only && self.summary.delivered > 0;
                let failing = Failing::of_target(before, trouble, has_progress, *retry_after, now());
                ledger.note_failing(Some(*number), failing)?;
            } else if !is_waiting {
                ledger.note_mended(Some(*number))?;
            }
        }
        let has_ended = |number: &usize| self.ended.iter().any(|ended| ended.number == *number);
        for number in self.used.iter().filter(|number| !has_ended(number)) {
            ledger.note_mended(Some(*number))?;
        }
        Ok(())
    }

    /// Remembers a temporary failure. What was reported lately is not reported again, as long as that is written down.
    fn note_failing(&mut self, ledger: &mut Ledger, failure: Option<&Failure>) {
        let now = now();
        self.summary.is_waiting = failure.is_none_or(Failure::is_waiting)
            && self.ended.iter().all(|ended| ended.is_waiting)
            && self.summary.is_well_but_for_targets();
        let before = ledger.failing(None);
        let mut failing = match before.filter(|_| self.summary.is_waiting) {
            Some(before) => before.clone(),
            None => {
                let is_no_room = |notice: &Notice| matches!(notice, Notice::NoRoom { .. });
                let is_of_a_target = !self.ended.is_empty() || self.summary.notices.iter().any(is_no_room);
                let of_a_target = is_of_a_target.then_some(Cause::Target);
                let cause = failure.map(Failure::cause).or(of_a_target).unwrap_or(Cause::Other);
                let words = self.summary.words(failure.map(Failure::to_string));
                let has_progress = self.summary.delivered + self.summary.deleted > 0;
                let delay = failure.and_then(Failure::login_delay);
                let trouble = Trouble::new(cause, &words);
                let trouble = if failure.is_none() { trouble.of_messages(self.summary.failed_ids()) } else { trouble };
                Failing::of_account(before, trouble, has_progress, delay, now)
            }
        };
        let is_shown = self.run.is_watched || self.run.verbose > 0;
        let is_silent = !is_shown && !failing.is_due(self.account.notify_every, now);
        // Who watches is not who reads what cron sends.
        if !is_silent && !self.run.is_watched {
            failing.said = now;
        }
        self.summary.failing = Some(failing.clone());
        let is_noted = before == Some(&failing) || ledger.note_failing(None, failing).is_ok();
        self.summary.is_silent = is_noted && is_silent;
    }

    /// One session, from connect to QUIT; once more when its listing had to wait for memory.
    fn session(&mut self, ledger: &mut Ledger, credentials: &Credentials, manner: Manner) -> Result<(), Failure> {
        let Run { listings, stop, .. } = self.run;
        let mut share = listings.share();
        let notices = self.summary.notices.len();
        loop {
            let ended = self.session_within(&share, ledger, credentials, manner);
            if ended.is_ok() || !share.is_exhausted() {
                return ended;
            }
            // The line is closed by now: no server is kept waiting, and nothing was asked of it but listings.
            self.summary.notices.truncate(notices);
            self.bar.phase("waiting for memory");
            match listings.wait_for_more(share, stop)? {
                Some(more) => share = more,
                None => return ended,
            }
        }
    }

    fn session_within(
        &mut self,
        share: &Arc<Share>,
        ledger: &mut Ledger,
        credentials: &Credentials,
        manner: Manner,
    ) -> Result<(), Failure> {
        let mut transaction = self.opener().log_in(credentials, share, &mut self.summary.notices)?;
        let login_delay = transaction.capabilities().login_delay.map(u64::from).map(Duration::from_secs);
        self.seen = Some(Seen { logged_in: Instant::now(), login_delay, batch: None, has_quit: false });
        if manner.in_lock_step {
            transaction.keep_in_step();
        }
        self.bar.phase("listing");
        self.room = None;
        let began = now();
        let mut surveyed = self.survey(&mut transaction, ledger, manner.without_top)?;
        self.summary.is_nameless = !surveyed.survey.listing.has_unique_ids;
        share.settle();
        self.is_first = ledger.is_blank(&self.account.targets);
        match &self.run.mark {
            Some(Mark::Known(ids)) => {
                // The server is not kept waiting while a person thinks, and nothing depends on its farewell.
                let _ = transaction.update(&[] as &[Committed]);
                return self.know(ids, ledger, &surveyed);
            }
            Some(Mark::AtHome(maildir)) => {
                self.find_at_home(maildir, &mut transaction, ledger, &surveyed)?;
                let _ = transaction.update(&[] as &[Committed]);
                return Ok(());
            }
            Some(Mark::Show | Mark::Forget(_) | Mark::Retry(_)) | None => self.begin(ledger, &surveyed)?,
        }
        if !surveyed.plan.retrieve.is_empty() && !self.account.all && self.is_first {
            self.note_held();
        }
        self.find_room(ledger, &mut surveyed)?;
        let lanes = self.open_lanes(ledger, &mut surveyed)?;
        let Surveyed { survey, standings, rulings, plan, .. } = surveyed;
        self.summary.notices.extend(session::doubtful_age(self.account, ledger));
        self.note_plan(&plan, &survey.listing, ledger)?;
        self.note_undecided(&rulings, &survey.listing);
        let is_new_target = self.summary.known > 0 && ledger.is_at_new_targets() && ledger.note_new_targets(now())?;
        self.is_at_new_targets |= is_new_target;
        let batch = plan.batch(survey.listing.len());
        self.seen.iter_mut().for_each(|seen| seen.batch = Some(batch));
        self.note_expire(&transaction, ledger)?;
        if self.run.dry_run {
            let compared = plan.retrieve.iter().filter(|key| key.is_compared()).count();
            if compared > 0 {
                self.summary.notices.push(Notice::Compared(compared));
            }
            if is_new_target {
                self.summary.notices.push(Notice::NewTarget(self.summary.known));
            }
            let policy = self.policy(ledger);
            self.summary.foresee(&plan, &policy, self.is_at_new_targets);
            if self.run.verbose > 0 {
                let listing = &survey.listing;
                let (rulings, now) = (&rulings, now());
                let view = View { listing, standings: &standings, ledger, policy: &policy, rulings, now };
                let prospects = Prospects::new(view, &plan, self.is_at_new_targets);
                let row = |(position, outlook): (u32, Outlook)| Message::of(listing.get(position as usize), outlook);
                self.summary.foreseen = prospects.remarkable().map(row).collect();
            }
            if self.may_be_followed(batch, ledger) {
                let is_known = plan::are_handed_out(ledger, now());
                self.summary.notices.push(Notice::MayBeMore { is_known });
            }
            // Nothing depends on the server's farewell.
            let _ = transaction.update(&[] as &[Committed]);
            // Where other targets get theirs, what they would get is the result.
            return if self.open().is_empty() { self.closed_lane().map_or(Ok(()), Err) } else { Ok(()) };
        }
        let Plan { retrieve: wanted, delete: mut due, deletes_nothing, settle, unsettle, skip, discard, .. } = plan;
        if self.is_at_new_targets {
            // The notice offers what a deletion would make impossible.
            due.clear();
        }
        if is_new_target {
            self.summary.notices.push(Notice::NewTarget(self.summary.known));
        }
        ledger.acted()?;
        ledger.settled(&settle)?;
        ledger.unsettle(&unsettle)?;
        ledger.skip(&skip, now())?;
        due.extend(ledger.discard(&discard, now())?);
        let closed = self.closed.len();
        let is_lost_by_quit =
            batch.is_taken_by_quit(ledger, now()) || transaction.capabilities().expire == Some(Expire::Days(0));
        // To a target at which it is quarantined.
        let is_one_owed = wanted.iter().any(|key| !key.quarantined.is_empty());
        if !lanes.is_empty() {
            let old: HashSet<_> = wanted.iter().filter(|key| key.is_due).map(|key| key.number).collect();
            let recorded = self.transfer(
                &mut transaction,
                ledger,
                &survey.listing,
                lanes,
                wanted,
                deletes_nothing && !is_lost_by_quit,
            )?;
            if is_lost_by_quit && (is_one_owed || self.is_some_unsafe()) {
                // Without QUIT the server keeps all of it (RFC 1939 §6).
                return self.closed_lane().map_or(Ok(()), Err);
            }
            let is_old = |recorded: &Recorded| old.contains(&recorded.number());
            due.extend(recorded.into_iter().filter(|recorded| self.is_due(ledger, recorded, is_old(recorded), began)));
        }
        let updated = self.update(transaction, ledger, due, &survey.listing);
        // What a lane that failed on its way has left between intent and record must stay in the ledger.
        if updated.is_ok() && closed == self.closed.len() {
            self.settle(ledger, &survey, &standings)?;
        }
        self.closed_lane().map_or(updated, Err)
    }

    /// Leaves on the server what would leave less than `min_free` on a disk.
    fn find_room(&mut self, ledger: &Ledger, surveyed: &mut Surveyed) -> Result<(), Failure> {
        if self.account.min_free.is_none() {
            return Ok(());
        }
        loop {
            let AtHome { full, room } = AtHome::of(&surveyed.plan, self.account, self.open(), &self.context());
            let is_settled = full.is_empty();
            if is_settled && room.is_none() {
                return Ok(());
            }
            self.closed.extend(full.into_iter().map(|(number, error)| (number, error.into())));
            self.room = room;
            surveyed.decide(ledger, &self.policy(ledger), now())?;
            // Without a target, other messages may have their turn, and want others.
            if is_settled {
                return Ok(());
            }
        }
    }

    /// True when some target lacks a message that was retrieved.
    fn is_some_unsafe(&self) -> bool {
        let is_unsafe = |row: &Row| row.refused().is_some_and(|refused| refused.is_retrieved);
        !self.closed.is_empty() || self.summary.rows.iter().any(is_unsafe)
    }

    /// Opens the lanes that some message is to go to. What only lacks one that cannot be opened is not wanted any more.
    fn open_lanes(&mut self, ledger: &mut Ledger, surveyed: &mut Surveyed) -> Result<Vec<Lane<'f>>, Failure> {
        let mut lanes: Vec<Lane<'f>> = vec![];
        if self.run.dry_run || surveyed.plan.retrieve.is_empty() {
            return Ok(lanes);
        }
        let mut context = self.context();
        loop {
            let (open, closed) = (self.open(), self.closed.len());
            for (number, target) in self.account.targets.iter().enumerate().filter(|(number, _)| open.has(*number)) {
                let is_wanted = surveyed.plan.retrieve.iter().any(|key| key.bound_for().has(number));
                if !is_wanted || lanes.iter().any(|lane| lane.number == number) {
                    continue;
                }
                context.network.keeps = ledger.keeps(target);
                let disks = self.account.min_free.map(|least| Disks::of(target, least, &context)).transpose();
                match disks.and_then(|disks| Ok((disks, deliver::open(target, &context)?))) {
                    Ok((disks, (stager, publisher))) => {
                        self.used.push(number);
                        let limit = deliver::batch_limit(target, &context);
                        lanes.push(Lane { number, target, stager, publisher, disks, limit });
                    }
                    Err(error) => self.closed.push((number, error.into())),
                }
            }
            if self.closed.len() == closed {
                break;
            }
            // Other messages may have their turn now, and want lanes that none has wanted so far.
            surveyed.decide(ledger, &self.policy(ledger), now())?;
        }
        for lane in lanes.iter().filter(|lane| deliver::guarantee(lane.target, &context) == Guarantee::ExactlyOnce) {
            ledger.note_target(lane.target)?;
        }
        // What is safe is deleted also when every target is full.
        if self.open().is_empty() && !self.closed.iter().all(|(_, failure)| failure.is_full()) {
            return Err(self.closed_lane().expect("a lane that is not open is closed"));
        }
        Ok(lanes)
    }

    /// The lanes that take messages.
    fn open(&self) -> Lanes {
        let own = Lanes::first(self.account.targets.len());
        self.closed.iter().fold(own, |lanes, (number, _)| lanes.without(*number))
    }

    /// Goes on without a target, where there are others.
    fn leave_out(&mut self, number: usize, failure: Failure) -> Result<(), Failure> {
        self.closed.push((number, failure));
        if self.open().is_empty() { Err(self.closed_lane().expect("it was just closed")) } else { Ok(()) }
    }

    /// Why the first lane is closed, if one is. The others become notices.
    fn closed_lane(&mut self) -> Option<Failure> {
        let targets = &self.account.targets;
        let named = |(number, failure): (usize, Failure)| match &targets[..] {
            [_] => failure,
            _ => Failure::Lane { target: targets[number].to_string(), failure: Box::new(failure) },
        };
        let ended = |(number, failure): &(usize, Failure)| Ended {
            number: *number,
            words: failure.to_string(),
            is_waiting: failure.is_waiting(),
            is_setback: failure.is_setback_of_a_lane(),
            retry_after: failure.retry_after(),
        };
        self.ended.extend(self.closed.iter().map(ended));
        let mut failures = std::mem::take(&mut self.closed).into_iter().map(named);
        let first = failures.next();
        self.summary.notices.extend(failures.map(left_out));
        first
    }

    /// Reads the ledger. Without `--dry-run` it is locked, and what an interrupted run left between intent and record is
    /// finished.
    fn open_ledger(&mut self) -> Result<Ledger, Failure> {
        let (maildrop, name) = (self.account.maildrop(), self.ledger_name());
        let door = Door {
            folder: &self.run.state_dir,
            name: &name,
            maildrop: &maildrop,
            ledgers: &|| self.run.ledgers.beginning_with(&name),
            is_decided: self.account.all || self.run.mark.as_ref().is_some_and(Mark::is_decision),
        };
        let Opened { mut ledger, mut former, notices } = if self.run.dry_run { door.look()? } else { door.fetch()? };
        self.summary.notices.extend(session::damage(&ledger, notices, &former));
        ledger.serve(&self.account.targets, self.wanted());
        // What is forgotten may have been in a target that is gone.
        if !self.run.mark.as_ref().is_some_and(Mark::is_offline) {
            self.check_targets(&ledger)?;
        }
        for former in &mut former {
            let context = self.context_of(former.name());
            self.finish(former.ledger(), &context)?;
            if former.is_pending() {
                // What it knows of them would be lost.
                return Err(self.why_pending(former.ledger()));
            }
        }
        let context = self.context();
        self.finish(&mut ledger, &context)?;
        if !former.is_empty() {
            if !ledger.pending().is_empty() {
                return Err(self.why_pending(&ledger));
            }
            ledger.take_over(former)?;
            if !self.run.mark.as_ref().is_some_and(Mark::is_offline) {
                self.check_targets(&ledger)?;
            }
        }
        if self.run.dry_run && ledger.in_doubt() > 0 {
            self.summary.notices.push(Notice::InDoubt(ledger.in_doubt()));
        }
        Ok(ledger)
    }

    /// Looks what the targets hold, of which nobody can know whether it came from this maildrop.
    fn note_held(&mut self) {
        let context = self.context();
        let held = |target| Some((target, deliver::held(target, self.run.began, &context)?));
        let held = self.account.targets.iter().filter_map(held);
        self.held = held.map(|(target, held)| Notice::FirstRun { target: target.to_string(), held }).collect();
    }

    /// Leaves targets out that cannot be used, where there are others.
    fn check_targets(&mut self, ledger: &Ledger) -> Result<(), Failure> {
        for (number, target) in self.account.targets.iter().enumerate() {
            if self.open().has(number) {
                self.check_target(number, target, ledger).or_else(|failure| self.leave_out(number, failure))?;
            }
        }
        Ok(())
    }

    /// Finishes what an interrupted run left between intent and record; a dry run only looks what became of it.
    fn finish(&mut self, ledger: &mut Ledger, context: &deliver::Context) -> Result<(), Failure> {
        if self.run.dry_run {
            session::suppose(ledger, context);
            return Ok(());
        }
        let pending = ledger.pending();
        if !pending.is_empty() {
            // A run may have been killed before they were durable, and what recovery makes of them is.
            ledger.sync()?;
        }
        let mut is_in_doubt = false;
        for (batch, places) in pending {
            let is_of = |(_, target): &(usize, &Target)| places.iter().any(|place| place.is_in(target));
            let lane = self.account.targets.iter().enumerate().find(is_of).map(|(number, _)| number);
            let is_on_a_server = places.iter().any(Place::is_on_a_server);
            if is_on_a_server && (lane.is_none() || self.run.mark.is_some()) {
                // Nothing is sent there in this run, and only a fetch calls a target.
                self.note_unasked(&places);
                continue;
            }
            if let Some(number) = lane.filter(|number| is_on_a_server && self.may_wait() && self.open().has(*number)) {
                let waiting = ledger.waiting(Some(number), now()).or(ledger.waiting(None, now()));
                if let Some(failing) = waiting {
                    self.closed.push((number, Failure::Waiting(failing.clone())));
                    continue;
                }
            }
            if lane.is_some_and(|number| !self.open().has(number)) {
                is_in_doubt = true;
                continue;
            }
            let mut context = context.clone();
            context.network.keeps = lane.and_then(|number| ledger.keeps(&self.account.targets[number]));
            match (self.recover(&places, lane.is_none(), &context), lane) {
                (Ok(found), _) => ledger.resolve(batch, &found)?,
                // A server may be away for days: that is remembered, as when it is away later in a run.
                (Err(failure), Some(number)) if is_on_a_server => self.closed.push((number, failure)),
                (Err(failure), Some(number)) => {
                    self.leave_out(number, failure)?;
                    is_in_doubt = true;
                }
                (Err(failure), None) => return Err(failure),
            }
        }
        // What has not been asked for needs what it left. Also when there will be nothing to fetch: a dead run's lock on an
        // mbox keeps other programs out.
        if !is_in_doubt {
            self.sweep(ledger, context)?;
        }
        Ok(())
    }

    fn sweep(&mut self, ledger: &mut Ledger, context: &deliver::Context) -> Result<(), Failure> {
        let open = self.open();
        deliver::sweep_spool(context, || ledger.sync().map_err(Failure::from))?;
        for (number, target) in self.account.targets.iter().enumerate().filter(|(number, _)| open.has(*number)) {
            deliver::sweep(target, context).map(drop).or_else(|error| self.leave_out(number, error.into()))?;
        }
        Ok(())
    }

    /// A Maildir that is gone may be on a disk that is not mounted: with a history, it is not made anew in silence.
    fn check_target(&self, number: usize, target: &Target, ledger: &Ledger) -> Result<(), Failure> {
        if let Some(other) = ledger.has_place_of_another(number) {
            return Err(Failure::SamePlace(self.account.targets[other].to_string()));
        }
        let context = self.context();
        deliver::check_owner(target, &context)?;
        match deliver::check_present(target, &context) {
            Err(deliver::Error::Gone { .. }) if self.run.create && self.run.dry_run => Ok(()),
            Err(deliver::Error::Gone { .. }) if self.run.create => Ok(deliver::open(target, &context).map(drop)?),
            Err(error @ deliver::Error::Gone { .. }) if ledger.has_delivered_to(target) => Err(error.into()),
            // Others are for those to tell who need the target.
            _ => Ok(()),
        }
    }

    /// What became of the messages of a batch. A place to which the account no longer delivers, and which cannot be used
    /// any more, holds nothing up.
    fn recover(
        &mut self,
        places: &[Place],
        is_former: bool,
        context: &deliver::Context,
    ) -> Result<Vec<Recovered>, Failure> {
        let place = match places.first() {
            Some(Place::Imap(appended)) => appended.target.clone(),
            _ => places.iter().find_map(Place::path).map(|path| path.display().to_string()).unwrap_or_default(),
        };
        if places.iter().any(Place::is_on_a_server) {
            self.bar.phase("asking for what an interrupted run has sent");
        }
        let found = deliver::recover(places, &self.account.targets, context);
        if is_former {
            deliver::tidy(places, context);
        }
        let found = match found {
            Err(error) if is_former && matches!(error.kind(), Kind::CannotCreate | Kind::Io) => {
                self.summary.notices.push(Notice::Unreachable { messages: places.len(), reason: error.to_string() });
                return Ok(places.iter().map(|_| Recovered::Absent).collect());
            }
            found => found?,
        };
        let is_missing =
            |(place, found): &(&Place, &Recovered)| **place != Place::Mda && matches!(found, Recovered::Absent);
        let messages = places.iter().zip(&found).filter(is_missing).count();
        // A power cut takes all of a batch that was not published yet; a reader deletes one or the other message.
        let may_be_deleted = messages < places.len() || is_former || places.iter().any(Place::is_on_a_server);
        if messages > 0 {
            self.summary.notices.push(Notice::NotFound { messages, place, may_be_deleted });
        }
        Ok(found)
    }

    /// Messages of an interrupted run are in a mailbox, or not, and it is none of the account's targets.
    fn note_unasked(&mut self, places: &[Place]) {
        if let (Some(Place::Imap(appended)), None) = (places.first(), &self.run.mark) {
            let (messages, target) = (places.len(), appended.target.clone());
            self.summary.notices.push(Notice::Unasked { messages, target });
        }
    }

    /// Why intents of a ledger have no outcome: the lane that cannot be asked, or nobody has asked so far.
    fn why_pending(&mut self, ledger: &Ledger) -> Failure {
        let messages = ledger.pending().values().map(Vec::len).sum();
        self.closed_lane().unwrap_or(Failure::Unasked { messages })
    }

    /// Runs what the account wants run when mail has come. The ledger is closed by now, and another run may have it.
    fn run_after(&mut self) {
        let Some(words) = self.account.after.as_ref().filter(|_| self.summary.delivered > 0) else { return };
        self.bar.phase("running `after`");
        let ended = deliver::run_after(words, self.summary.delivered, &self.context());
        self.summary.notices.extend(ended.err().map(Notice::After));
    }

    fn wanted(&self) -> Wanted {
        Wanted::of(self.account.one_off, self.run.fill)
    }

    fn ledger_name(&self) -> String {
        ledger::file_name(&self.account.maildrop())
    }

    fn context(&self) -> deliver::Context {
        self.context_of(&self.ledger_name())
    }

    /// For what runs with a ledger of this name have left.
    fn context_of(&self, name: &str) -> deliver::Context {
        let mut context = session::context(self.account, &self.run.state_dir, name, &self.run.stop);
        let say = || -> deliver::Wire {
            let progress = Arc::clone(self.run.progress);
            Arc::new(move |line| progress.println(line))
        };
        context.network.talk = (self.run.verbose >= 1).then(say);
        context.network.wire = (self.run.verbose >= 2).then(say);
        context
    }

    fn note_unverified(&mut self) {
        if self.account.tls.is_unverified() {
            self.summary.notices.push(Notice::Unverified);
        }
    }

    fn opener(&self) -> Opener<'f> {
        let Run { state_dir, stop, .. } = self.run;
        Opener { account: self.account, state_dir, stop, observer: self.watch }
    }

    /// Lists the maildrop, compares it with the ledger, and decides.
    fn survey(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        ledger: &mut Ledger,
        without_top: bool,
    ) -> Result<Surveyed, Failure> {
        let needs_ids = !self.account.all || self.run.mark.is_some();
        let survey = session::list(transaction, ledger, Wishes { needs_ids, needs_sizes: false })?;
        self.summary.listed = survey.listing.len();
        let mut notices = vec![];
        let start = if self.run.mark.is_some() { Start::All } else { self.start() };
        let context = self.context();
        let judge = self.run.mark.is_none().then_some(Judge { account: self.account, context: &context });
        let terms = Terms { policy: self.policy(ledger), start, now: now(), without_top, judge, after: self.after };
        let surveyed = session::compare(
            survey,
            transaction,
            ledger,
            terms,
            |own| self.run.ledgers.kin(self.account, own),
            &mut notices,
        );
        self.summary.notices.append(&mut notices);
        Ok(surveyed?)
    }

    /// What the account wants, less what sessions before this one have brought.
    fn policy(&self, ledger: &Ledger) -> Policy {
        let messages = self.summary.delivered as u64;
        let so_far = SoFar { messages, octets: self.received, octets_today: ledger.received(now()) };
        let room = self.room.as_ref().map(|room| room.octets);
        Policy { room, ..Policy::of(self.account, self.open(), so_far) }
    }

    /// Messages about which nothing was decided stay, and the account's status says so.
    fn note_undecided(&mut self, rulings: &Rulings, listing: &Listing) {
        let number = |position: u32| listing.get(position as usize).number;
        let undecided = rulings.undecided.iter().map(|(at, why)| (number(*at), Outcome::undecided(why.clone())));
        self.summary.add(undecided.collect(), listing);
    }

    /// Says once that the server may delete what is to be kept.
    fn note_expire(&mut self, transaction: &Transaction<Line<'_>>, ledger: &mut Ledger) -> Result<(), Failure> {
        let Some(days) = session::expires_early(transaction.capabilities(), self.account.keep) else { return Ok(()) };
        let word = format!("expire-{days}");
        if !ledger.has_note(&word, b"") {
            ledger.note(&word, b"", now())?;
            self.summary.notices.push(Notice::Expires { days });
        }
        Ok(())
    }

    /// Takes from the verdicts what a person should hear of them.
    fn note_plan(&mut self, plan: &Plan, listing: &Listing, ledger: &mut Ledger) -> Result<(), Failure> {
        let sizeless = plan.retrieve.iter().filter(|key| key.octets.is_none()).count();
        let nameless = |messages| Notice::Nameless { messages, had_ids: plan.had_ids };
        let relisted = plan.with(Verdict::Delete { again: true }).count();
        let owed = plan.left(Reason::Owed) + plan.held_back();
        let notices = [
            (owed, Notice::Owed { messages: owed, ledger: ledger.path().into() }),
            (sizeless, Notice::Sizeless(sizeless)),
            (plan.left(Reason::Nameless), nameless(plan.left(Reason::Nameless))),
            (plan.left(Reason::Unproved), Notice::Unproved(plan.left(Reason::Unproved))),
            (plan.left(Reason::Unsure), Notice::Unsure(plan.left(Reason::Unsure))),
            (plan.left(Reason::Repeated), Notice::Repeated(plan.left(Reason::Repeated))),
            (relisted, Notice::Relisted(relisted)),
        ];
        let notices = notices.into_iter().filter(|(messages, _)| *messages > 0);
        let waiting = plan.left(Reason::NoRoom);
        self.summary.notices.extend(self.room.clone().and_then(|room| session::no_room(waiting, room)));
        self.summary.notices.extend(notices.map(|(_, notice)| notice));
        self.summary.known = plan.known(listing.len());
        self.summary.later = plan.later();
        self.summary.quarantined = plan.quarantined();
        self.summary.skipped += plan.left(Reason::Ruled);
        let found = std::mem::take(&mut self.summary.rows);
        let outcomes = plan.rows.iter().filter_map(|row| {
            let message = listing.get(row.position as usize);
            let octets = message.octets.unwrap_or(u64::MAX);
            let outcome = match row.verdict {
                Verdict::Leave(Reason::TooLarge) => Outcome::TooLarge { octets, is_news: false },
                Verdict::Leave(Reason::Distrusted) if ledger.has_note(plan::CUT_AGAIN, message.unique_id) => {
                    Outcome::cut()
                }
                Verdict::Leave(Reason::Distrusted) => Outcome::distrusted(),
                _ => return None,
            };
            Some((message.number, outcome))
        });
        self.summary.add(outcomes.collect(), listing);
        // A session before this one may have noted it, and nobody has heard of it so far.
        let news = found.into_iter().filter(|row| row.too_large().is_some_and(|(_, is_news)| is_news));
        self.note_too_large(ledger, &news.map(|row| row.unique_id).collect())
    }

    /// What `max_size` leaves on the server is news once; these messages are.
    fn note_too_large(&mut self, ledger: &mut Ledger, news: &HashSet<Vec<u8>>) -> Result<(), Failure> {
        for Row { unique_id, outcome, .. } in &mut self.summary.rows {
            if let Outcome::TooLarge { is_news, .. } = outcome
                && !*is_news
            {
                *is_news = self::is_news(self.run, ledger, unique_id)? || news.contains(unique_id);
            }
        }
        Ok(())
    }

    /// Brings the messages to their targets. Returns what all of these have, also when a lane has ended meanwhile.
    fn transfer(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        ledger: &mut Ledger,
        listing: &Listing,
        lanes: Vec<Lane<'f>>,
        wanted: Vec<ledger::Key>,
        deletes_nothing: bool,
    ) -> Result<Vec<Recorded>, Failure> {
        self.free_reused(&wanted, ledger)?;
        let opened = lanes.len();
        let in_doubt = wanted.iter().map(|key| &key.unique_id).filter(|id| ledger.is_doubtful(id));
        let in_doubt: Vec<Vec<u8>> = in_doubt.cloned().collect();
        let transfer = Transfer {
            run: self.run,
            account: self.account,
            secret: self.summary.secret.clone(),
            bar: self.bar,
            transaction,
            wanted,
            deletes_nothing,
            tells_pace: self.is_first && self.run.tells_pace,
        };
        let moved = transfer.run(lanes, ledger);
        self.received += moved.received;
        self.takings.add(&moved.takings, listing);
        if self.account.max_octets.per_day.is_some() {
            ledger.receive(moved.uncounted, now())?;
        }
        self.summary.add(moved.rows, listing);
        self.note_too_large(ledger, &HashSet::new())?;
        if let Some(short) = Notice::short(moved.short) {
            self.summary.notices.push(short);
        }
        if !moved.doubtful.is_empty() {
            let doubtful: HashSet<_> = moved.doubtful.iter().collect();
            let messages = listing.iter().filter(|message| doubtful.contains(&message.number));
            ledger.doubt(messages.map(|message| message.unique_id).filter(|id| !id.is_empty()), now())?;
            let misfits: HashSet<_> = moved.misfits.iter().collect();
            for message in listing.iter().filter(|message| misfits.contains(&message.number)) {
                ledger.note(ledger::MISFIT, message.unique_id, now())?;
            }
            ledger.sync()?;
        }
        if moved.failure.is_none() && moved.ended.is_empty() && !in_doubt.is_empty() {
            let refused: HashSet<_> = self.refused_ids().collect();
            let settled = in_doubt.iter().map(Vec::as_slice).filter(|id| !refused.contains(id));
            let settled: Vec<&[u8]> = settled.collect();
            ledger.note_over(ledger::DOUBTFUL, settled.iter().copied())?;
            ledger.note_over(ledger::MISFIT, settled)?;
        }
        let takes_none = |(_, failure): &(usize, Failure)| matches!(failure, Failure::TakesNone { .. });
        if self.summary.later > 0 || moved.ended.iter().any(takes_none) {
            self.note_refused(ledger)?;
        }
        let is_stopped = matches!(moved.failure, Some(Failure::Stopped(_)));
        let mut failure = moved.failure;
        // It may be why the session ended: the next one begins with others.
        if let Some(key) = moved.broken.filter(|key| !key.unique_id.is_empty()) {
            ledger.note_again(plan::REFUSED, &key.unique_id, last_turn(ledger))?;
            if !is_stopped {
                let is_first = !ledger.has_note(plan::CUT, &key.unique_id);
                ledger.note(if is_first { plan::CUT } else { plan::CUT_AGAIN }, &key.unique_id, now())?;
                let cut = |failure| Failure::Cut { number: key.number, octets: key.octets, failure: Box::new(failure) };
                failure = if is_first { failure } else { failure.map(cut) };
            }
            ledger.sync()?;
        }
        if let Some(key) = moved.out_of_step.filter(|key| !key.unique_id.is_empty()) {
            ledger.note(plan::OUT_OF_STEP, &key.unique_id, now())?;
            ledger.sync()?;
        }
        let mut due = ledger.compared(&moved.known)?;
        let are_all_ended = moved.ended.len() == opened;
        // What came before is safe however full the target is, and whatever the MDA says of these messages.
        let are_sound = moved.ended.iter().all(|ended| ended.1.is_full() || takes_none(ended));
        self.closed.extend(moved.ended);
        if are_all_ended && !(are_sound && moved.is_in_order) {
            // Why no lane goes on is why the session does not, and not the other way round.
            return Err(self.closed_lane().expect("a lane has ended"));
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        due.extend(moved.recorded);
        Ok(due)
    }

    /// True for a delivered message that is to be deleted at once, or that was due when the session began (`is_old`):
    /// another one under its unique-id is not.
    fn is_due(&self, ledger: &Ledger, recorded: &Recorded, is_old: bool, began: u64) -> bool {
        let fact = ledger.fact(recorded);
        let keep = match fact.and_then(|fact| fact.decided) {
            Some(Decided::Keep(keep)) if !self.account.one_off => keep,
            _ => self.account.keep,
        };
        let clock = ledger.trusts_clock(began).then_some(began);
        keep == Keep::Never || (is_old && fact.is_some_and(|fact| plan::is_due(keep, &fact, clock)))
    }

    /// Lets the next run begin with other messages, in case that the MDA is right about these.
    fn note_refused(&self, ledger: &mut Ledger) -> Result<(), Failure> {
        let last = last_turn(ledger);
        self.refused_ids()
            .filter(|id| !id.is_empty())
            .try_for_each(|id| ledger.note_again(plan::REFUSED, id, last).map(drop))?;
        Ok(ledger.sync()?)
    }

    fn refused_ids(&self) -> impl Iterator<Item = &[u8]> {
        let refused = self.summary.rows.iter().filter(|row| row.refused().is_some());
        refused.map(|row| &*row.unique_id)
    }

    /// Deletes what is safe at home, and ends the session (RFC 1939 §6).
    fn update(
        &mut self,
        transaction: Transaction<Line<'_>>,
        ledger: &mut Ledger,
        due: Vec<Recorded>,
        listing: &Listing,
    ) -> Result<(), Failure> {
        let due = ledger.commit(due)?;
        if due.is_empty() {
            // Nothing depends on the server's farewell, but for what it lists the next time.
            let has_quit = transaction.update(&due).is_ok();
            self.seen.iter_mut().for_each(|seen| seen.has_quit = has_quit);
            return Ok(());
        }
        self.bar.phase("deleting");
        let update = transaction.update(&due).map_err(|error| update_failure(error, due.len()))?;
        let refused: HashSet<_> = update.refused.iter().map(|refusal| refusal.number).collect();
        let deleted: Vec<Committed> =
            due.into_iter().filter(|committed| !refused.contains(&committed.number())).collect();
        let undeleted = update.refused.into_iter().map(|refusal| (refusal.number, Outcome::Undeleted(refusal.text)));
        let outcomes = deleted.iter().map(|committed| (committed.number(), Outcome::Deleted));
        self.summary.add(outcomes.chain(undeleted).collect(), listing);
        self.seen.iter_mut().for_each(|seen| seen.has_quit = true);
        Ok(ledger.deleted(&deleted, now())?)
    }

    /// Forgets what is over.
    fn settle(&self, ledger: &mut Ledger, survey: &Survey, standings: &Standings) -> Result<(), Failure> {
        if !is_complete(survey) {
            return Ok(());
        }
        Ok(ledger.settle(&survey.listing, standings, now())?)
    }
}

/// A date behind those of all messages that were refused before: each has its turn, also within one second.
fn last_turn(ledger: &Ledger) -> u64 {
    let last = ledger.noted(plan::REFUSED).and_then(|noted| noted.last());
    last.map_or(0, |at| at.saturating_add(1)).max(now())
}

fn left_out(failure: Failure) -> Notice {
    Notice::LeftOut { kind: failure.kind(), failure: failure.to_string() }
}

/// True the first time that a message is found too large, and every time when too many are to be remembered.
fn is_news(run: &Run<'_>, ledger: &mut Ledger, unique_id: &[u8]) -> Result<bool, Failure> {
    let is_news = unique_id.is_empty() || !ledger.has_note(TOO_LARGE, unique_id);
    if is_news && !run.dry_run && !unique_id.is_empty() {
        ledger.note(TOO_LARGE, unique_id, now())?;
    }
    Ok(is_news)
}

/// An octet too many is noticed before QUIT is sent, and without QUIT nothing is deleted (RFC 1939 §6).
fn update_failure(error: pop3::Error, messages: usize) -> Failure {
    match error {
        pop3::Error::Unasked { .. } => error.into(),
        error => Failure::Update { error: error.into(), messages },
    }
}

/// True when the listing surely has every message: only then does an absent id mean an absent message.
fn is_complete(survey: &Survey) -> bool {
    let Survey { messages, listing, .. } = survey;
    let is_named = |listing: &Listing| listing.iter().all(|message| !message.unique_id.is_empty());
    *messages == Some(listing.len() as u64) && listing.has_unique_ids && is_named(listing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_of_its_account_alone() {
        let failure = caught(|| panic!("no such thing as {}", 7)).map(|_: ()| ()).unwrap_err();
        assert_eq!(failure.to_string(), "popfetch made a mistake: no such thing as 7");
        assert_eq!(failure.kind(), Kind::Io);
        assert_eq!(caught(|| 5).ok(), Some(5));
    }
}
