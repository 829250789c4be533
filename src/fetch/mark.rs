//! What a person says of the messages that are known: all of them, some of them, those that are at home already.
//!
//! The ledger is opened as for a fetch, so that nothing of an interrupted run is lost.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{Failure, Fetch};
use crate::account::Target;
use crate::deliver::{self, Owner};
use crate::failing::Failing;
use crate::header::Identity;
use crate::ledger::{AtHome, Begun, Fact, Lanes, Ledger, Standing, State, Top};
use crate::maildrop::{Fingerprint, Listing};
use crate::os::clock::now;
use crate::pop3::Transaction;
use crate::report::{Marked, Shown};
use crate::session::{self, Line, Surveyed};
use crate::stop::{Stop, Stopped, Woken};
use crate::text::{counted, printable};

/// What a person says of messages, instead of fetching.
#[derive(Debug, Clone, PartialEq)]
pub enum Mark {
    /// Nothing: what is known is shown.
    Show,
    /// What is on the server counts as fetched; with unique-ids, only those messages.
    Known(Vec<Vec<u8>>),
    /// These are to be as if no run had ever seen them.
    Forget(Forgotten),
    /// Those that are in this Maildir count as delivered there.
    AtHome(PathBuf),
    /// What targets have refused is given to them again; with unique-ids, only those messages.
    Retry(Vec<Vec<u8>>),
}

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq)]
pub enum Forgotten {
    /// Every message.
    All,
    /// Messages with these unique-ids.
    Ids(Vec<Vec<u8>>),
    /// Messages that were first seen before this time, in seconds since 1970.
    Before(u64),
}

impl Mark {
    /// True for what ends an alarm of the ledger.
    pub fn is_decision(&self) -> bool {
        match self {
            Mark::Known(ids) => ids.is_empty(),
            Mark::Forget(forgotten) => *forgotten == Forgotten::All,
            Mark::AtHome(_) => true,
            Mark::Show | Mark::Retry(_) => false,
        }
    }

    /// True for what comes with a question.
    pub fn asks(&self) -> bool {
        matches!(self, Mark::Known(_) | Mark::Forget(_))
    }

    /// True for what changes a ledger: a person says of which account.
    pub fn changes(&self) -> bool {
        *self != Mark::Show
    }

    /// True for what needs no server.
    pub fn is_offline(&self) -> bool {
        matches!(self, Mark::Show | Mark::Forget(_) | Mark::Retry(_))
    }
}

impl Forgotten {
    fn has(&self, fact: &Fact, unique_id: &[u8]) -> bool {
        match self {
            Forgotten::All => true,
            Forgotten::Ids(ids) => ids.iter().any(|id| id == unique_id),
            Forgotten::Before(time) => u64::from(fact.at) < *time,
        }
    }
}

impl Fetch<'_> {
    /// Lets what is on the server, or a part of it, count as fetched.
    pub(super) fn know(&mut self, ids: &[Vec<u8>], ledger: &mut Ledger, surveyed: &Surveyed) -> Result<(), Failure> {
        let Surveyed { survey, standings, .. } = surveyed;
        check_listed(ids, &survey.listing)?;
        let messages = match ids.len() {
            0 => format!("{} on the server count", counted(survey.listing.len(), "message")),
            1 => "1 message counts".to_owned(),
            count => format!("{count} messages count"),
        };
        let never = if ids.len() == 1 { "comes never" } else { "never come" };
        if !self.may(&format!("{messages} as fetched from now on, and {never}"))? {
            return Ok(());
        }
        let is_meant = |id: &[u8]| ids.is_empty() || ids.iter().any(|meant| meant == id);
        // Whoever names messages says nothing of the others, and a first run is still a first run.
        if ids.is_empty() {
            ledger.begin_wholly(now())?;
        }
        self.summary.marked = Some(Marked::Known(ledger.know(&survey.listing, standings, is_meant, now())?));
        Ok(())
    }

    /// Shows what is known.
    fn show(&mut self, ledger: &Ledger) {
        let count = |state: State| ledger.facts().iter().filter(|fact| fact.state == state).count();
        self.summary.marked = Some(Marked::Shown(Box::new(Shown {
            last_success: ledger.last_success(),
            known: count(State::Delivered),
            deleted: count(State::Deleted),
            gone: count(State::Gone),
            in_doubt: ledger.in_doubt(),
            failing: ledger.failing(None).cloned(),
            failing_targets: self.failing_targets(ledger),
            quarantined: ledger.quarantine().map(|(id, lanes)| (printable(id), self.names(lanes))).collect(),
            notes: ledger.notes().map(|(word, messages)| (printable(word.as_bytes()), messages)).collect(),
        })));
    }

    fn failing_targets(&self, ledger: &Ledger) -> Vec<(String, Failing)> {
        let targets = self.account.targets.iter().enumerate();
        let failing = targets.filter_map(|(number, target)| Some((target, ledger.failing(Some(number))?)));
        failing.map(|(target, failing)| (printable(target.to_string().as_bytes()), failing.clone())).collect()
    }

    /// The targets of these lanes.
    fn names(&self, lanes: Lanes) -> Vec<String> {
        let targets = self.account.targets.iter().enumerate().filter(|(lane, _)| lanes.has(*lane));
        targets.map(|(_, target)| printable(target.to_string().as_bytes())).collect()
    }

    /// Does what needs no server.
    pub(super) fn mark_offline(&mut self, mark: &Mark) -> Result<(), Failure> {
        let mut ledger = self.open_ledger()?;
        match mark {
            Mark::Forget(forgotten) => self.forget(forgotten, &mut ledger)?,
            Mark::Retry(ids) => self.retry(ids, &mut ledger)?,
            _ => self.show(&ledger),
        }
        Ok(())
    }

    /// Lets targets have what they refused once more.
    fn retry(&mut self, ids: &[Vec<u8>], ledger: &mut Ledger) -> Result<(), Failure> {
        if let Some(id) = ids.iter().find(|id| !ledger.is_refused(id)) {
            return Err(Failure::NotRefused(printable(id)));
        }
        let freed = ledger.free(|id| ids.is_empty() || ids.iter().any(|meant| meant == id))?;
        self.summary.marked = Some(Marked::Freed(freed));
        Ok(())
    }

    /// Forgets messages, without the server.
    fn forget(&mut self, forgotten: &Forgotten, ledger: &mut Ledger) -> Result<(), Failure> {
        if !ledger.pending().is_empty() && !self.run.dry_run {
            return Err(self.why_pending(ledger));
        }
        // What is forgotten comes again, and does not count as known once more.
        let is_begun = ledger.begun() != Begun::Never;
        let facts = ledger.facts();
        let known: Vec<bool> =
            (0..).zip(facts.iter()).map(|(number, fact)| forgotten.has(&fact, facts.id(number))).collect();
        if let Forgotten::Ids(ids) = forgotten {
            let is_known = |id: &Vec<u8>| (0..facts.len() as u32).any(|fact| facts.id(fact) == *id);
            if let Some(id) = ids.iter().find(|id| !is_known(id)) {
                return Err(Failure::NoSuchMessage { id: printable(id), is_of_the_ledger: true });
            }
        }
        let (of, count) = (counted(known.len(), "known message"), known.iter().filter(|is_meant| **is_meant).count());
        let come = "forgotten: what is still on the server comes again";
        if !self.may(&format!("{count} of {of} are {come}"))? {
            return Ok(());
        }
        if is_begun {
            ledger.begin_wholly(now())?;
        }
        let messages = ledger.forget_known(|fact, id| forgotten.has(fact, id))?;
        self.summary.marked = Some(Marked::Forgotten { messages, left: known.len() - messages });
        Ok(())
    }

    /// Lets those messages on the server count as delivered that are in a Maildir: Message-ID, Date, From and the size
    /// say which. Of several that look alike none counts unless all are there. What other targets of the account lack is
    /// owed to them. Also what is known by another target is looked for: the Maildir may have been moved.
    pub(super) fn find_at_home(
        &mut self,
        maildir: &Path,
        transaction: &mut Transaction<Line<'_>>,
        ledger: &mut Ledger,
        surveyed: &Surveyed,
    ) -> Result<(), Failure> {
        self.bar.phase("comparing");
        let Surveyed { survey, standings, .. } = surveyed;
        let listing = &survey.listing;
        let target = Target::maildir(maildir);
        let is_owed = self.account.targets.len() > 1;
        if is_owed && !self.account.targets.contains(&target) {
            return Err(Failure::NoTarget(maildir.into()));
        }
        let has_gone_there = ledger.has_gone_to(&target);
        let known = |position: usize| match standings.get(position) {
            Standing::Known(fact) => Some(ledger.facts().get(fact)),
            Standing::New { .. } => None,
        };
        let has_own_id =
            |position: &usize| !listing.get(*position).unique_id.is_empty() && !standings.is_repeated(*position);
        let positions: Vec<usize> = (0..listing.len()).filter(has_own_id).collect();
        let failed = |source| Failure::Maildir { path: maildir.into(), source };
        let owner = &self.account.owner;
        let mut kept = Kept::read(maildir, owner).map_err(failed)?;
        let tops = session::tops(transaction, listing, &positions)?;
        if !tops.is_empty() && !tops.iter().any(|top| matches!(top, Top::Head(_))) {
            return Err(Failure::NoTop);
        }
        // Also those that are there as the ledger knows: a file is one message's only.
        let mut alike: HashMap<(Fingerprint, u64), Vec<usize>> = HashMap::new();
        for (position, top) in positions.iter().zip(&tops) {
            if let (Top::Head(head), Some(octets)) = (top, listing.get(*position).octets) {
                alike.entry((*head, octets)).or_default().push(*position);
            }
        }
        let mut files = vec![];
        for ((head, octets), positions) in alike {
            let at_home: Vec<Message> = positions.iter().map_while(|_| kept.take(head, octets)).collect();
            // Which of them is missing nobody can tell, and what does not count comes once more.
            if at_home.len() == positions.len() {
                let here = positions.into_iter().zip(at_home).map(|(position, file)| (position, file, head));
                files.extend(here.filter(|(position, ..)| !known(*position).is_some_and(|fact| has_gone_there(&fact))));
            }
        }
        files.sort_by_key(|(position, ..)| *position);
        let is_new = |position: &usize| matches!(standings.get(*position), Standing::New { .. });
        let found = files.iter().filter(|(position, ..)| is_new(position)).count();
        let unknown = (0..listing.len()).filter(is_new).count() - found;
        if ledger.is_undecided()
            && unknown > 0
            && files.is_empty()
            && !ledger.facts().iter().any(|fact| has_gone_there(&fact))
        {
            return Err(Failure::NoneAtHome { path: maildir.into(), messages: unknown });
        }
        if !self.run.dry_run {
            // They may be deleted on the server from now on.
            let paths = files.iter().map(|(_, file, _)| &*file.path);
            deliver::make_durable(maildir, paths, owner).map_err(failed)?;
        }
        let now = now();
        let found: Vec<AtHome<'_>> = files
            .iter()
            .map(|(position, file, head)| AtHome {
                unique_id: listing.get(*position).unique_id,
                octets: listing.get(*position).octets,
                // The date stays that of the first lane.
                at: known(*position).filter(|fact| fact.at > 0).map_or(file.modified.min(now), |fact| fact.at.into()),
                name: &file.name,
                head: *head,
                again: known(*position).is_some(),
            })
            .collect();
        ledger.begin_wholly(now)?;
        ledger.found_at_home(maildir, &found, is_owed)?;
        self.summary.marked = Some(Marked::Found { messages: found.len(), unknown });
        Ok(())
    }

    /// Asks, where a person is to be asked.
    fn may(&mut self, what: &str) -> Result<bool, Failure> {
        let account = printable(self.account.name.as_bytes());
        let question = format!("{account}: {what}; go on? [y/N] ");
        let mut answer = Ok(true);
        if self.run.asks && !self.run.dry_run {
            self.run.progress.aside(&question, &mut || answer = says_yes(&question, &self.run.stop));
        }
        let is_wanted = answer?;
        if !is_wanted {
            self.summary.marked = Some(Marked::Declined);
        }
        Ok(is_wanted)
    }
}

fn check_listed(ids: &[Vec<u8>], listing: &Listing) -> Result<(), Failure> {
    let is_listed = |id: &Vec<u8>| listing.iter().any(|message| message.unique_id == *id);
    match ids.iter().find(|id| !is_listed(id)) {
        Some(id) => Err(Failure::NoSuchMessage { id: printable(id), is_of_the_ledger: false }),
        None => Ok(()),
    }
}

/// The messages of a Maildir, by what their header sections say of them.
struct Kept<'o> {
    owner: &'o Owner,
    messages: HashMap<Fingerprint, Vec<Message>>,
}

/// A message of a Maildir.
struct Message {
    path: PathBuf,
    /// Its file, without its flags.
    name: String,
    /// Seconds since 1970.
    modified: u64,
    octets: u64,
}

impl<'o> Kept<'o> {
    fn read(maildir: &Path, owner: &'o Owner) -> io::Result<Self> {
        let mut messages: HashMap<Fingerprint, Vec<Message>> = HashMap::new();
        for path in deliver::messages(maildir, owner)? {
            match Message::read(path, owner) {
                Ok(Some((head, message))) => messages.entry(head).or_default().push(message),
                Ok(None) => {}
                // A reader may have moved or deleted it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Kept { owner, messages })
    }

    /// The message with this header section and size, which is then taken.
    fn take(&mut self, head: Fingerprint, octets: u64) -> Option<Message> {
        let alike = self.messages.get_mut(&head)?;
        let at = alike.iter().position(|message| message.has_size(octets, self.owner))?;
        Some(alike.swap_remove(at))
    }
}

impl Message {
    fn read(path: PathBuf, owner: &Owner) -> io::Result<Option<(Fingerprint, Message)>> {
        let name = path.file_name().and_then(OsStr::to_str);
        let Some(name) = name.map(|name| name.split([':', ';', '!']).next().unwrap_or_default().to_owned()) else {
            return Ok(None);
        };
        let mut file = deliver::open_message(&path, owner)?;
        let metadata = file.metadata()?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut identity = Identity::default();
        let mut chunk = [0; 8192];
        while !identity.is_complete() {
            match file.read(&mut chunk)? {
                0 => break,
                count => identity.push(&chunk[..count]),
            }
        }
        Ok(Some((identity.fingerprint(), Message { path, name, modified, octets: metadata.len() })))
    }

    /// True when LIST may announce this size for it: servers count a line end as one octet or, as they should, as two.
    fn has_size(&self, announced: u64, owner: &Owner) -> bool {
        let has_lines = || self.lines(owner).is_ok_and(|lines| self.octets + lines == announced);
        announced == self.octets || (announced > self.octets && has_lines())
    }

    fn lines(&self, owner: &Owner) -> io::Result<u64> {
        let (mut file, mut lines) = (deliver::open_message(&self.path, owner)?, 0);
        let mut chunk = vec![0; 64 << 10];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(lines),
                count => lines += memchr::memchr_iter(b'\n', &chunk[..count]).count() as u64,
            }
        }
    }
}

/// Asks on the terminal. What cannot be read is no.
fn says_yes(question: &str, stop: &Stop) -> Result<bool, Stopped> {
    let _ = io::stderr().write_all(question.as_bytes());
    let mut answer = vec![];
    while !answer.contains(&b'\n') {
        let mut chunk = [0; 64];
        match stop.readable(io::stdin(), None) {
            Ok(Woken::Stopped(stopped)) => return Err(stopped),
            Ok(Woken::Late) => continue,
            Ok(Woken::Readable) => {}
            Err(_) => return Ok(false),
        }
        match rustix::io::read(io::stdin(), &mut chunk) {
            Ok(count @ 1..) => answer.extend_from_slice(&chunk[..count]),
            _ => return Ok(false),
        }
    }
    Ok(matches!(answer.trim_ascii(), b"y" | b"Y" | b"yes"))
}
