//! One account from connect to QUIT: survey → plan → transfer → update → settle.
//!
//! Here the skills meet, and only here. Each step hands the next one what it needs; what goes wrong becomes a
//! [`Failure`] in the account's [`Summary`], and what was complete by then stays committed.

mod line;
mod transfer;

use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::account::{Account, TlsMode};
use crate::config;
use crate::deliver;
use crate::header;
use crate::ledger::{self, Committed, Ledger, Standings};
use crate::maildrop::Listing;
use crate::net::{self, Stream};
use crate::plan::{self, Plan, Policy};
use crate::pop3::{self, Authorization, Credentials, Limits, Survey, Transaction};
use crate::progress::{Bar, Progress};
use crate::report::{Failure, Notice, Summary};
use crate::stop::Stop;

use line::{Line, Tracer};

/// What all accounts of a run share.
pub struct Run<'r> {
    /// The folder of the ledgers.
    pub state_dir: PathBuf,
    /// Bars and lines for people.
    pub progress: &'r Progress,
    /// The wish to stop.
    pub stop: Stop,
    /// Say what would be done, and do none of it.
    pub dry_run: bool,
    /// 1: a line per message; 2: the wire as well.
    pub verbose: u8,
}

/// From this many known messages on, sizes are asked for one by one: LIST of everything costs the server as much as
/// UIDL, and of a large maildrop only a few messages are new.
const LARGE: usize = 1000;

/// Fetches one account. Whatever happens is in the summary.
pub fn fetch(account: &Account, run: &Run<'_>) -> Summary {
    let began = Instant::now();
    let mut summary = Summary::new(account);
    let bar = run.progress.account(&account.name);
    let mut fetch = Fetch { account, run, bar: &bar, summary: &mut summary };
    if let Err(failure) = fetch.run() {
        summary.failure = Some(failure);
    }
    bar.finish();
    summary.elapsed = began.elapsed();
    summary
}

struct Fetch<'f> {
    account: &'f Account,
    run: &'f Run<'f>,
    bar: &'f Bar,
    summary: &'f mut Summary,
}

impl<'f> Fetch<'f> {
    fn run(&mut self) -> Result<(), Failure> {
        let mut ledger = self.open_ledger()?;
        let credentials = self.credentials()?;
        self.summary.secret = Some(credentials.password.clone());
        let mut transaction = self.log_in(&credentials)?;
        self.bar.phase("listing");
        let (survey, standings, plan) = self.survey(&mut transaction, &mut ledger)?;
        self.note_skipped(&plan);
        if self.run.dry_run {
            self.summary.would_retrieve = plan.retrieve.len();
            self.summary.would_delete = plan.delete.len();
            return transaction.update(&[] as &[Committed]).map(drop).map_err(Failure::from);
        }
        let mut due = plan.delete;
        if !plan.retrieve.is_empty() {
            due.extend(self.transfer(&mut transaction, &mut ledger, plan.retrieve)?);
        }
        self.update(transaction, &mut ledger, due)?;
        self.settle(&mut ledger, &survey, &standings)
    }

    /// Locks and reads the ledger, and finishes what an interrupted run left between intent and record.
    fn open_ledger(&mut self) -> Result<Ledger, Failure> {
        let maildrop = self.account.maildrop();
        let (mut ledger, notices) = Ledger::open(&self.run.state_dir, &self.ledger_name(), &maildrop)?;
        if notices.is_missing {
            self.summary.notices.push(Notice::LedgerMissing(ledger.path().into()));
        }
        if !notices.damaged.is_empty() {
            let path = ledger.path().into();
            self.summary.notices.push(Notice::LedgerDamaged { path, lines: notices.damaged, kept: notices.kept });
        }
        for (batch, places) in ledger.pending() {
            let found = deliver::recover(&places, &self.context())?;
            ledger.resolve(batch, &found)?;
        }
        Ok(ledger)
    }

    fn ledger_name(&self) -> String {
        let destination = self.account.one_off.then(|| self.account.deliver.to_string());
        ledger::file_name(&self.account.maildrop(), destination.as_deref())
    }

    fn context(&self) -> deliver::Context {
        let name = self.ledger_name();
        deliver::Context {
            account: self.account.name.clone(),
            recipient: self.account.user.clone(),
            spool_dir: self.run.state_dir.clone(),
            tag: ledger::fingerprint(&name),
            envelope_sender: header::envelope_sender,
            mda_timeout: self.account.mda_timeout,
            stop: self.run.stop.clone(),
        }
    }

    fn credentials(&self) -> Result<Credentials, Failure> {
        let password =
            config::password(self.account, &self.run.stop).map_err(|error| match self.run.stop.signal() {
                Some(signal) => Failure::Stopped(signal),
                None => Failure::Secret(error),
            })?;
        Ok(Credentials { user: self.account.user.clone(), password, auth: self.account.auth })
    }

    fn log_in(&self, credentials: &Credentials) -> Result<Transaction<Line<'f>>, Failure> {
        let account = self.account;
        self.bar.phase("connecting");
        let stream = net::connect(&account.host, account.port, account.timeout, &self.run.stop)?;
        let stream = match account.tls.mode {
            TlsMode::Implicit => self.handshake(stream)?,
            TlsMode::Starttls | TlsMode::None => stream,
        };
        let mut session = Authorization::greet(self.line(stream, credentials), Limits::default())?;
        session.capa()?;
        if account.tls.mode == TlsMode::Starttls {
            let (line, greeting) = session.stls()?;
            let stream = self.handshake(line.into_stream())?;
            session = Authorization::resume(self.line(stream, credentials), greeting, Limits::default());
            session.capa()?;
        }
        self.bar.phase("logging in");
        session.authenticate(credentials).map_err(|error| self.login_failure(error))
    }

    fn login_failure(&self, error: pop3::Error) -> Failure {
        if !error.is_login() {
            return error.into();
        }
        let Account { host, port, user, .. } = self.account;
        Failure::Login { server: format!("{host}:{port}"), user: user.clone(), error }
    }

    fn handshake(&self, stream: Stream) -> Result<Stream, Failure> {
        Ok(stream.handshake(&self.account.host, &self.account.tls)?)
    }

    fn line(&self, stream: Stream, credentials: &Credentials) -> Line<'f> {
        let trace = (self.run.verbose >= 2).then(|| Tracer {
            progress: self.run.progress,
            account: &self.account.name,
            secret: credentials.password.clone(),
        });
        Line::new(stream, trace)
    }

    /// Lists the maildrop, compares it with the ledger, and decides.
    fn survey(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        ledger: &mut Ledger,
    ) -> Result<(Survey, Standings, Plan), Failure> {
        let policy = self.policy();
        let mut survey = transaction.survey(ledger.facts().len() < LARGE)?;
        let listing = &mut survey.listing;
        let mut standings = ledger.locate(listing);
        let needed = plan::sizes_needed(listing, &standings, ledger, &policy);
        if !needed.is_empty() {
            transaction.list_some(listing, &needed)?;
            standings = ledger.locate(listing);
        }
        self.summary.listed = listing.len();
        let plan = plan::make(listing, &standings, ledger, &policy, now()).map_err(|_| Failure::NoUniqueIds)?;
        Ok((survey, standings, plan))
    }

    fn policy(&self) -> Policy {
        let Account { keep, all, max_size, max_messages, .. } = *self.account;
        Policy { keep, all, max_size, max_messages }
    }

    fn note_skipped(&mut self, plan: &Plan) {
        let skipped = &plan.skipped;
        self.summary.known = skipped.known;
        self.summary.later = skipped.later;
        self.summary.too_large = skipped.too_large.clone();
        if skipped.nameless > 0 {
            self.summary.notices.push(Notice::Nameless(skipped.nameless));
        }
        if skipped.repeated > 0 {
            self.summary.notices.push(Notice::Repeated(skipped.repeated));
        }
        if skipped.relisted > 0 {
            self.summary.notices.push(Notice::Relisted(skipped.relisted));
        }
    }

    /// Brings the messages home. Returns what may be deleted now.
    fn transfer(
        &mut self,
        transaction: &mut Transaction<Line<'_>>,
        ledger: &mut Ledger,
        wanted: Vec<ledger::Key>,
    ) -> Result<Vec<Committed>, Failure> {
        let context = self.context();
        deliver::sweep(&self.account.deliver, &context)?;
        let (stager, publisher) = deliver::open(&self.account.deliver, &context)?;
        let transfer =
            transfer::Transfer { run: self.run, account: self.account, bar: self.bar, transaction, stager, wanted };
        let moved = transfer.run(publisher, ledger);
        self.summary.delivered += moved.delivered;
        self.summary.octets += moved.octets;
        self.summary.refused.extend(moved.refused);
        match moved.failure {
            Some(failure) => Err(failure),
            None if self.account.keep == crate::account::Keep::Never => Ok(moved.committed),
            None => Ok(vec![]),
        }
    }

    /// Deletes what is safe at home, and ends the session (RFC 1939 §6).
    fn update(
        &mut self,
        transaction: Transaction<Line<'_>>,
        ledger: &mut Ledger,
        due: Vec<Committed>,
    ) -> Result<(), Failure> {
        if due.is_empty() {
            // Nothing depends on the server's farewell.
            let _ = transaction.update(&due);
            return Ok(());
        }
        self.bar.phase("deleting");
        let update = transaction.update(&due).map_err(|error| update_failure(error, due.len()))?;
        let refused: Vec<_> = update.refused.iter().map(|refusal| refusal.number).collect();
        let deleted: Vec<Committed> = due
            .into_iter()
            .filter(|committed| !refused.contains(&crate::maildrop::Durable::number(committed)))
            .collect();
        self.summary.deleted = deleted.len();
        self.summary.undeleted = update.refused;
        Ok(ledger.deleted(&deleted, now())?)
    }

    /// Forgets what is over.
    fn settle(&self, ledger: &mut Ledger, survey: &Survey, standings: &Standings) -> Result<(), Failure> {
        if !is_complete(survey) {
            return Ok(());
        }
        let now = now();
        ledger.gone(&survey.listing, standings, now)?;
        let mut listed = vec![false; ledger.facts().len()];
        for position in 0..survey.listing.len() {
            if let ledger::Standing::Known(fact) = standings.get(position) {
                listed[fact as usize] = true;
            }
        }
        ledger.settle(&self.account.maildrop(), |fact| listed[fact as usize], now)?;
        Ok(())
    }
}

/// An octet too many is noticed before QUIT is sent, and without QUIT nothing is deleted (RFC 1939 §6).
fn update_failure(error: pop3::Error, messages: usize) -> Failure {
    match error {
        pop3::Error::Unasked { .. } => error.into(),
        error => Failure::Update { error, messages },
    }
}

/// True when the listing surely has every message: only then does an absent id mean an absent message.
fn is_complete(survey: &Survey) -> bool {
    let Survey { stat, listing } = survey;
    let is_named = |listing: &Listing| listing.iter().all(|message| !message.unique_id.is_empty());
    stat.is_some_and(|(messages, _)| messages == listing.len() as u64) && listing.has_unique_ids && is_named(listing)
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}
