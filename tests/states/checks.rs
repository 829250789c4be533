//! What must be true after a power cut: the next run ends well and in silence, with each message once where it belongs,
//! what others had there as it was, and nothing left over; the run behind it finds nothing new.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::Scenario;
use super::tree::{Node, Tree, brief, capture};
use crate::sandbox::{Destination, Run, Sandbox, USER, all_at_home, at_home};
use crate::server::Maildrop;

/// What a scenario wants at its end.
pub struct Wanted<'w> {
    pub sandbox: &'w Sandbox,
    pub server: &'w Maildrop,
    pub scenario: &'w Scenario,
    /// How many times a run was interrupted: an MDA may get so many messages twice.
    pub interruptions: usize,
    /// What was at home before the first run.
    pub before: &'w Tree,
}

type Checked = Result<(), String>;

impl Wanted<'_> {
    /// Runs popfetch on what is there now.
    pub fn check(&self) -> Checked {
        let state = capture(&self.sandbox.path(""));
        let mut run = self.run(self.scenario.next)?;
        if let (65, Some(words)) = (run.code(), self.scenario.decision)
            && run.stderr.contains("popfetch state known ACCOUNT")
        {
            self.none_came(&state)?;
            run = self.run(words)?;
            let is_well = run.code() == 0 || (run.code() == 65 && run.stderr.contains("cannot be read"));
            ensure(is_well, || said(&run, "the run that ends the alarm"))?;
        } else {
            // A ledger that lost blocks in its middle is worth a notice, once.
            let is_told_once = (self.has_damage(&state) || self.is_damaged_before()) && run.code() == 65;
            ensure(is_well(&run) || is_told_once, || said(&run, "the run"))?;
        }
        self.each_once()?;
        self.nothing_left_over(&state)?;
        self.others_unharmed()?;
        let retrieved = self.server.count("RETR");
        let again = self.run(&[])?;
        ensure(again.code() == 0 && again.stderr.is_empty(), || said(&again, "a second run"))?;
        ensure(self.server.count("RETR") == retrieved, || "a second run fetches something".into())?;
        self.each_once()
    }

    fn run(&self, words: &[&str]) -> Result<Run, String> {
        catch_unwind(AssertUnwindSafe(|| self.sandbox.popfetch(words))).map_err(|_| "the run panics".into())
    }

    /// A run that finds an alarm delivers nothing.
    fn none_came(&self, state: &Tree) -> Checked {
        let mail = |tree: &Tree| tree.keys().filter(|path| path.starts_with("Mail/new")).count();
        ensure(mail(&capture(&self.sandbox.path(""))) == mail(state), || "an alarm stands, and mail came".into())
    }

    /// The ledger was damaged before the run that was recorded.
    fn is_damaged_before(&self) -> bool {
        self.scenario.decision.is_some()
    }

    /// True for lines in which blocks are missing.
    fn has_damage(&self, state: &Tree) -> bool {
        let whole = |octets: &[u8]| octets.iter().rposition(|octet| *octet == b'\n').map_or(0, |end| end + 1);
        let ledgers = state.iter().filter(|(path, _)| path.extension().is_some_and(|kind| kind == "jsonl"));
        ledgers.into_iter().any(|(_, node)| matches!(node, Node::File(octets) if octets[..whole(octets)].contains(&0)))
    }

    fn each_once(&self) -> Checked {
        self.scenario.targets.iter().try_for_each(|target| self.each_once_at(*target))?;
        let Scenario { mails, keep, copies, .. } = self.scenario;
        let left = self.server.unique_ids(USER).len();
        // What was never delivered is never deleted.
        let expected = if *keep || *copies.end() == 0 { all_at_home(mails).len() } else { 0 };
        ensure(left == expected, || format!("{left} messages are left on the server instead of {expected}"))
    }

    fn each_once_at(&self, target: Destination) -> Checked {
        let delivered = catch_unwind(AssertUnwindSafe(|| target.messages(self.sandbox)));
        let delivered = delivered.map_err(|_| "the mbox is none any more".to_owned())?;
        let mut times: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        delivered.into_iter().for_each(|octets| *times.entry(octets).or_default() += 1);
        self.foreign(target).into_iter().try_for_each(|foreign| {
            ensure(times.remove(&foreign) == Some(1), || format!("harmed: {}", brief(&foreign)))
        })?;
        let Scenario { mails, copies, .. } = self.scenario;
        let mut twice = 0;
        for mail in mails {
            let count = times.remove(&at_home(&mail.octets)).unwrap_or(0);
            ensure(count >= *copies.start(), || format!("`{}` is lost at {target:?}", mail.unique_id))?;
            twice += count.saturating_sub(*copies.end());
        }
        let allowed = if target == Destination::Mda { self.interruptions } else { 0 };
        ensure(twice <= allowed, || format!("{twice} messages come twice"))?;
        ensure(times.is_empty(), || format!("at home is also {:?}", times.keys().map(|octets| brief(octets))))
    }

    /// The messages of others.
    fn foreign(&self, target: Destination) -> Vec<Vec<u8>> {
        match target {
            Destination::Maildir => {
                let is_mail = |path: &std::path::Path| path.starts_with("Mail/new") || path.starts_with("Mail/cur");
                let files = self.before.iter().filter(|(path, _)| is_mail(path));
                files
                    .filter_map(|(_, node)| if let Node::File(octets) = node { Some(octets.to_vec()) } else { None })
                    .collect()
            }
            Destination::Mbox => match self.before.get(std::path::Path::new("mbox")) {
                Some(Node::File(octets)) => {
                    // The blank line behind the last message may be ours.
                    let ended = if octets.ends_with(b"\n\n") { octets.to_vec() } else { [octets, &b"\n"[..]].concat() };
                    crate::sandbox::mboxrd(&ended).into_iter().map(|message| message.octets).collect()
                }
                _ => vec![],
            },
            Destination::Mda => vec![],
        }
    }

    fn nothing_left_over(&self, state: &Tree) -> Checked {
        let now = capture(&self.sandbox.path(""));
        let is_new = |path: &&std::path::PathBuf| !self.before.contains_key(*path);
        let is_ours = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_mail = (path.starts_with("Mail/new") || path.starts_with("Mail/cur")) && name.contains(",S=");
            let is_state =
                path.starts_with(".local/state/popfetch") && [".jsonl", ".lock"].iter().any(|end| name.ends_with(end));
            let is_damaged = self.has_damage(state) || self.is_damaged_before();
            let is_kept = path.starts_with(".local/state/popfetch") && name.contains(".damaged-") && is_damaged;
            let is_folder = now[path] == Node::Folder;
            let is_elsewhere = path.starts_with("mda") || path.starts_with("third/new");
            is_mail || is_state || is_kept || is_folder || is_elsewhere || name == "mbox"
        };
        let litter: Vec<_> = now.keys().filter(is_new).filter(|path| !is_ours(path)).collect();
        ensure(litter.is_empty(), || format!("litter: {litter:?}"))
    }

    /// Files that popfetch has nothing to do with.
    fn others_unharmed(&self) -> Checked {
        let now = capture(&self.sandbox.path(""));
        let is_ours = |path: &std::path::Path| path.ends_with("mbox") || path == self.ledger();
        let others = self.before.iter().filter(|(path, _)| !is_ours(path));
        let harmed: Vec<_> =
            others.filter(|(path, node)| now.get(*path) != Some(*node)).map(|(path, _)| path).collect();
        ensure(harmed.is_empty(), || format!("harmed: {harmed:?}"))
    }

    fn ledger(&self) -> std::path::PathBuf {
        let path = self.sandbox.ledger(USER, self.server.port);
        path.strip_prefix(self.sandbox.path("")).expect("it is at home").to_owned()
    }
}

fn said(run: &Run, who: &str) -> String {
    format!("{who} exits {} and says: {}", run.code(), run.stderr)
}

/// It ended well, and said nothing but that some messages of an interrupted run are not where they were put: a power cut
/// may have taken them, and so may a reader.
fn is_well(run: &Run) -> bool {
    // What others had put into the target is told by the first run that knows nothing.
    let expected = [" of an interrupted run not found in `", ": this is the first run for this maildrop, and `"];
    run.code() == 0 && run.stderr.lines().all(|line| expected.iter().any(|words| line.contains(words)))
}

fn ensure(is_so: bool, otherwise: impl FnOnce() -> String) -> Checked {
    if is_so { Ok(()) } else { Err(otherwise()) }
}
