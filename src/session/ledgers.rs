//! The ledgers in the folder of the state, and the way of an account to its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::account::{Account, Keep, Target};
use crate::deliver::{self, Found};
use crate::failing::Failing;
use crate::header;
use crate::ledger::{self, Door, Error, Former, Kin, Ledger, Notices, Opened, Wanted};
use crate::notice::{Clock, Notice};
use crate::os::clock::now;
use crate::relay;
use crate::stop::Stop;
use crate::text::printable;

/// The folder of the ledgers, and those that were there when the first account asked.
#[derive(Debug)]
pub struct Ledgers {
    folder: PathBuf,
    paths: OnceLock<Vec<PathBuf>>,
}

impl Ledgers {
    /// Of this folder, which need not be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Ledgers { folder: folder.into(), paths: OnceLock::new() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The ledgers whose names begin so.
    pub fn beginning_with(&self, beginning: &str) -> &[PathBuf] {
        let ledgers = self.paths.get_or_init(|| {
            let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
            let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
            paths.retain(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
            paths.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
            paths
        });
        let beginning = self.folder.join(beginning);
        let begins_so =
            |path: &&PathBuf| path.as_os_str().as_encoded_bytes().starts_with(beginning.as_os_str().as_encoded_bytes());
        let from = ledgers.partition_point(|path| path.as_os_str() < beginning.as_os_str());
        &ledgers[from..from + ledgers[from..].iter().take_while(begins_so).count()]
    }

    /// Ledgers other than an account's `own` that have delivered to its targets what may be the same maildrop.
    pub fn kin(&self, account: &Account, own: &Path) -> Vec<Kin> {
        let of_user = self.beginning_with(&ledger::file_name(&format!("{}@", account.user)));
        let others = of_user.iter().filter(|path| *path != own);
        others.filter_map(|path| Kin::read(path, &account.maildrop(), &account.targets)).collect()
    }

    /// Reads an account's ledger without a lock, and changes nothing, neither now nor by what is done with it. What an
    /// interrupted run left counts as its targets show it.
    ///
    /// # Errors
    /// [`Error::Alarm`] when a person has to decide, unless one has.
    pub fn look(
        &self,
        account: &Account,
        wanted: Wanted,
        is_decided: bool,
        stop: &Stop,
    ) -> Result<(Ledger, Vec<Notice>), Error> {
        let (maildrop, name) = (account.maildrop(), ledger::file_name(&account.maildrop()));
        let ledgers = || self.beginning_with(&name);
        let door = Door { folder: &self.folder, name: &name, maildrop: &maildrop, ledgers: &ledgers, is_decided };
        let Opened { mut ledger, mut former, notices } = door.look()?;
        let mut notices = damage(&ledger, notices, &former);
        ledger.serve(&account.targets, wanted);
        for former in &mut former {
            let context = context(account, &self.folder, former.name(), stop);
            suppose(former.ledger(), &context);
        }
        suppose(&mut ledger, &context(account, &self.folder, &name, stop));
        if !former.is_empty() {
            ledger.take_over(former)?;
        }
        if ledger.in_doubt() > 0 {
            notices.push(Notice::InDoubt(ledger.in_doubt()));
        }
        Ok((ledger, notices))
    }
}

/// What a fetch would wait for: all of it, or what one of several targets gets.
pub fn waits(account: &Account, ledger: &Ledger) -> Vec<Notice> {
    let now = now();
    if let Some(failing) = ledger.waiting_altogether(now) {
        return vec![Notice::Waiting(format!("a fetch waits: {failing}"))];
    }
    let targets = account.targets.iter().enumerate();
    let waiting = targets.filter_map(|(number, target)| Some((target, ledger.waiting(Some(number), now)?)));
    let words = |(target, failing): (&Target, &Failing)| {
        format!("a fetch leaves `{}` out: {failing}", printable(target.to_string().as_bytes()))
    };
    waiting.map(words).map(Notice::Waiting).collect()
}

/// Takes for granted what the places show to which an interrupted run delivered.
pub fn suppose(ledger: &mut Ledger, context: &deliver::Context) {
    for (batch, places) in ledger.pending() {
        // What cannot be looked at now is in doubt.
        let found = deliver::look(&places, context).unwrap_or_else(|_| vec![Found::InDoubt; places.len()]);
        ledger.suppose(batch, &found);
    }
}

/// While the clock is wrong, nothing becomes old: that could go on for long without anybody noticing.
pub fn doubtful_age(account: &Account, ledger: &Ledger) -> Option<Notice> {
    let counts_days = matches!(account.keep, Keep::For(_)) && !ledger.facts().is_empty();
    doubt_of(ledger, now()).filter(|_| counts_days).map(Notice::Clock)
}

/// Why this clock cannot be trusted, if it cannot.
pub fn doubt_of(ledger: &Ledger, now: u64) -> Option<Clock> {
    let later = || ledger.later_date(now).map(|(at, id)| (at, printable(id)));
    (!ledger.trusts_clock(now)).then(|| Clock { later: later() })
}

/// What a person should hear about ledgers that were opened.
pub fn damage(ledger: &Ledger, notices: Notices, former: &[Former]) -> Vec<Notice> {
    let mut said = vec![];
    if notices.is_missing {
        said.push(Notice::LedgerMissing(ledger.path().into()));
    }
    if !notices.damaged.is_empty() {
        said.push(Notice::LedgerDamaged { path: ledger.path().into(), lines: notices.damaged, kept: notices.kept });
    }
    for (path, lines, kept) in former.iter().map(Former::damage).filter(|(_, lines, _)| !lines.is_empty()) {
        let (path, lines, kept) = (path.into(), lines.to_vec(), kept.map(PathBuf::from));
        said.push(Notice::LedgerDamaged { path, lines, kept });
    }
    said
}

/// What the targets of an account have to know, for what runs with a ledger of this name have left there.
pub fn context(account: &Account, folder: &Path, name: &str, stop: &Stop) -> deliver::Context {
    deliver::Context {
        account: account.name.clone(),
        recipient: account.user.clone(),
        spool_dir: folder.into(),
        tag: ledger::fingerprint(name),
        envelope_sender: header::envelope_sender,
        mda_timeout: account.mda_timeout,
        owner: account.owner.clone(),
        stop: stop.clone(),
        network: deliver::Network {
            keeps: None,
            destination: Some(relay::destination),
            maildrop: account.maildrop(),
            host: account.host.clone(),
            timeout: account.timeout,
            password_timeout: account.password_timeout,
            talk: None,
            wire: None,
        },
    }
}
