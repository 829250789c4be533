//! How a run is shown: notices, failures with their hints, the summary line, JSON.

mod abridged;
mod message;
mod results;
mod row;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::json;

use abridged::abridged;
pub use message::{Message, Owner, Table, Widths};
pub use results::{Results, usage};
use row::Refused;
pub use row::{Outcome, Row};

use crate::account::{Account, Password};
use crate::failing::{Cause, Failing};
use crate::failure::{self, Failure, Kind};
use crate::maildrop::{Listing, MessageNumber};
use crate::notice::{Held, Notice};
use crate::plan::{Plan, Policy, Reason};
use crate::text::{self, counted, octets, printable};

/// What came of a word about what is known (`state known`, `forget`, `rebuild`).
#[derive(Debug)]
pub enum Marked {
    /// What is known.
    Shown(Box<Shown>),
    /// Listed messages count as fetched; so many did not before.
    Known(usize),
    /// So many messages are forgotten.
    Forgotten {
        /// How many.
        messages: usize,
        /// How many are known still.
        left: usize,
    },
    /// Listed messages were found at home.
    Found {
        /// How many count as delivered that did not before.
        messages: usize,
        /// How many are not known for all that.
        unknown: usize,
    },
    /// So many messages that targets have refused are tried there again.
    Freed(usize),
    /// The person said no.
    Declined,
}

/// What a ledger knows.
#[derive(Debug)]
pub struct Shown {
    /// When a run last succeeded: seconds since 1970.
    pub last_success: Option<u64>,
    /// Messages that may be on the server still.
    pub known: usize,
    /// Messages whose deletion the server confirmed.
    pub deleted: usize,
    /// Messages that went otherwise.
    pub gone: usize,
    /// Messages of an interrupted run.
    pub in_doubt: usize,
    /// What is noted, and of how many messages.
    pub notes: Vec<(String, usize)>,
    /// Failures in a row of the account.
    pub failing: Option<Failing>,
    /// Those of its targets.
    pub failing_targets: Vec<(String, Failing)>,
    /// The unique-ids of messages that are quarantined, and the targets at which each is.
    pub quarantined: Vec<(String, Vec<String>)>,
}

impl Marked {
    fn messages(&self) -> Option<usize> {
        match self {
            Marked::Known(messages) | Marked::Forgotten { messages, .. } => Some(*messages),
            Marked::Found { messages, .. } | Marked::Freed(messages) => Some(*messages),
            Marked::Shown(_) | Marked::Declined => None,
        }
    }

    fn shown(&self) -> Option<&Shown> {
        match self {
            Marked::Shown(shown) => Some(shown),
            _ => None,
        }
    }
}

impl Shown {
    fn json(&self) -> serde_json::Value {
        let Shown { last_success, known, deleted, gone, in_doubt, notes, failing, failing_targets, quarantined } = self;
        let of_target = |(target, failing): &(String, Failing)| {
            let mut row = self::failing(failing);
            row["target"] = json!(target);
            row
        };
        let quarantined = quarantined.iter().map(|(id, targets)| json!({ "unique_id": id, "targets": targets }));
        let notes: serde_json::Map<_, _> = notes.iter().map(|(word, count)| (word.clone(), json!(count))).collect();
        json!({
            "last_success": last_success.map(text::time),
            "known": known,
            "deleted": deleted,
            "gone": gone,
            "in_doubt": in_doubt,
            "notes": notes,
            "failing": failing.as_ref().map(self::failing),
            "failing_targets": failing_targets.iter().map(of_target).collect::<Vec<_>>(),
            "quarantined": quarantined.collect::<Vec<_>>(),
        })
    }

    /// The rows: one for the account, and one for each target that fails. Where nothing fails, there are no columns about
    /// that.
    fn rows(&self, account: &str, has_failing: bool) -> Vec<Vec<String>> {
        let Shown { last_success, known, in_doubt, notes, failing, failing_targets, quarantined, .. } = self;
        let note = |(word, count): &(String, usize)| if *count == 1 { word.clone() } else { format!("{word} {count}") };
        let quarantined = Some(("quarantined".to_owned(), quarantined.len())).filter(|(_, count)| *count > 0);
        let notes: Vec<String> = quarantined.iter().chain(notes).map(note).collect();
        let last = last_success.map_or_else(|| "never".into(), text::time);
        let columns = |failing: Option<&Failing>| match failing {
            _ if !has_failing => vec![],
            None => vec![String::new(); 3],
            Some(Failing { since, times, not_before, .. }) => {
                let until = if *not_before > 0 { text::time(*not_before) } else { String::new() };
                vec![text::time(*since), times.to_string(), until]
            }
        };
        let head = vec![account.to_owned(), last, known.to_string(), in_doubt.to_string()];
        let of_account = [head, columns(failing.as_ref()), vec![notes.join(", ")]].concat();
        let of_target = |(target, failing): &(String, Failing)| {
            let head = [&[format!("  {target}")], &[const { String::new() }; 3][..]].concat();
            [head, columns(Some(failing)), vec![String::new()]].concat()
        };
        [of_account].into_iter().chain(failing_targets.iter().map(of_target)).collect()
    }
}

/// Failures in a row, for programs.
fn failing(failing: &Failing) -> serde_json::Value {
    let Failing { trouble, since, at, times, not_before, .. } = failing;
    json!({
        "cause": trouble.cause.word(),
        "since": text::time(*since),
        "last": text::time(*at),
        "times": times,
        "not_before": (*not_before > 0).then(|| text::time(*not_before)),
    })
}

/// What the ledgers of accounts know, as a table.
pub fn table(summaries: &[Summary]) -> Vec<String> {
    const HEAD: [&str; 4] = ["ACCOUNT", "LAST SUCCESS", "KNOWN", "IN DOUBT"];
    const FAILING: [&str; 3] = ["FAILING SINCE", "TIMES", "NOT BEFORE"];
    const RIGHT: [&str; 3] = ["KNOWN", "IN DOUBT", "TIMES"];
    let shown = summaries.iter().filter_map(|summary| Some((summary, summary.marked.as_ref()?.shown()?)));
    let shown: Vec<(&Summary, &Shown)> = shown.collect();
    if shown.is_empty() {
        return vec![];
    }
    let has_failing = shown.iter().any(|(_, shown)| shown.failing.is_some() || !shown.failing_targets.is_empty());
    let head = [&HEAD[..], if has_failing { &FAILING } else { &[] }, &["NOTES"]].concat();
    let rows = shown.iter().flat_map(|(summary, shown)| shown.rows(&summary.account, has_failing));
    let rows: Vec<Vec<String>> =
        [head.iter().map(|word| (*word).to_owned()).collect()].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let cell = |((cell, head), width): ((&String, &&str), &usize)| match RIGHT.contains(head) {
        true => format!("{cell:>width$}"),
        false => format!("{cell:<width$}"),
    };
    let line = |row: &Vec<String>| row.iter().zip(&head).zip(&widths).map(cell).collect::<Vec<_>>().join("  ");
    rows.iter().map(|row| line(row).trim_end().to_owned()).collect()
}

/// What became of one account.
#[derive(Debug)]
pub struct Summary {
    account: String,
    /// Never printed: a server that repeats it is not repeated.
    pub secret: Option<Password>,
    targets: Vec<String>,
    /// Messages in the maildrop.
    pub listed: usize,
    /// Octets of them, where a list has asked for all sizes.
    pub listed_octets: Option<u64>,
    /// Known from earlier runs.
    pub known: usize,
    /// Delivered now.
    pub delivered: usize,
    /// Octets of them, as stored.
    pub octets: u64,
    /// Deleted on the server now.
    pub deleted: usize,
    /// Left for a later run by `max_messages` or `max_octets`.
    pub later: usize,
    /// Messages that count as known from now on, or would, because of `start`.
    pub before_start: usize,
    /// Not given to a target that has refused them too often.
    pub quarantined: usize,
    /// Messages that stay on the server, and why.
    pub rows: Vec<Row>,
    /// Failures in a row, the one of this run among them.
    pub failing: Option<Failing>,
    /// Nothing failed anew: it is too early for another try.
    pub is_waiting: bool,
    /// A temporary failure that was reported before is not reported again.
    pub is_silent: bool,
    /// With `state`: what came of it.
    pub marked: Option<Marked>,
    /// Left on the server by rules, now and from now on.
    pub skipped: usize,
    /// With `--dry-run`: what would be retrieved.
    pub would_retrieve: usize,
    /// With `--dry-run`: how many of them each target would get.
    would_get: Vec<usize>,
    /// Octets of them, as far as the server tells.
    pub would_octets: u64,
    /// With `--dry-run`: what would be deleted, also of what is retrieved.
    pub would_delete: usize,
    /// With `--dry-run` and `-v`: what would become of messages that are not simply known.
    pub foreseen: Vec<Message<'static>>,
    /// What a person should hear.
    pub notices: Vec<Notice>,
    /// Why the account was not fetched to its end.
    pub failure: Option<Box<dyn Failure>>,
    /// The server has no unique-ids, so that nothing can be recorded under one.
    pub is_nameless: bool,
    /// What may help besides the failure's own hint.
    pub proposal: Option<String>,
    /// The session ended in QUIT, so that the server alone knows what it deleted.
    pub is_update_unknown: bool,
    /// How long it took.
    pub elapsed: Duration,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// A person watches: every account gets a summary line.
    pub is_terminal: bool,
    /// Only failures.
    pub quiet: bool,
    /// `-v`.
    pub verbose: bool,
    /// `--dry-run`: what would be done is the result.
    pub dry_run: bool,
}

impl Summary {
    /// Nothing has happened yet.
    pub fn new(account: &Account) -> Self {
        Summary {
            account: printable(account.name.as_bytes()),
            secret: None,
            targets: account.targets.iter().map(|target| printable(target.to_string().as_bytes())).collect(),
            listed: 0,
            listed_octets: None,
            known: 0,
            delivered: 0,
            octets: 0,
            deleted: 0,
            later: 0,
            quarantined: 0,
            before_start: 0,
            rows: vec![],
            failing: None,
            is_waiting: false,
            is_silent: false,
            marked: None,
            skipped: 0,
            would_retrieve: 0,
            would_get: vec![],
            would_octets: 0,
            would_delete: 0,
            foreseen: vec![],
            notices: vec![],
            failure: None,
            is_nameless: false,
            proposal: None,
            is_update_unknown: false,
            elapsed: Duration::ZERO,
        }
    }

    /// Notes why the account cannot be brought to its end; where that is known already, it becomes a notice.
    pub fn fail(&mut self, failure: Box<dyn Failure>) {
        if let Some(before) = self.failure.replace(failure) {
            self.notices.push(Notice::LeftOut { kind: before.kind(), failure: before.to_string() });
        }
    }

    /// All targets.
    fn target(&self) -> String {
        self.targets.join(", ")
    }

    /// Whose messages the rows of this account are.
    pub fn owner(&self) -> Owner<'_> {
        Owner { account: &self.account, secret: self.secret.as_ref(), targets: &self.targets }
    }

    /// Takes from a plan what a run would do; `is_withheld` when nothing that is known would be deleted.
    pub fn foresee(&mut self, plan: &Plan, policy: &Policy, is_withheld: bool) {
        let delivered = || plan.retrieve.iter().filter(|key| !key.certain_lanes().is_empty());
        let deleted = plan.retrieve.iter().filter(|key| policy.deletes(key)).count();
        self.would_retrieve = delivered().count();
        self.would_octets = delivered().filter_map(|key| key.octets).fold(0, u64::saturating_add);
        self.before_start = plan.left(Reason::BeforeStart);
        let get = |lane: usize| delivered().filter(|key| key.certain_lanes().and(policy.open).has(lane)).count();
        self.would_get = (0..self.targets.len()).map(get).collect();
        self.would_delete = deleted + plan.discard.len() + if is_withheld { 0 } else { plan.delete.len() };
    }

    /// Adds what became of messages of this listing.
    pub fn add(&mut self, outcomes: Vec<(MessageNumber, Outcome)>, listing: &Listing) {
        let mut staying: HashMap<_, Vec<Outcome>> = HashMap::new();
        for (number, outcome) in outcomes {
            match outcome {
                Outcome::Delivered { octets } => {
                    self.delivered += 1;
                    self.octets += octets;
                }
                Outcome::Known => self.known += 1,
                Outcome::Deleted => self.deleted += 1,
                Outcome::TooLarge { .. } | Outcome::Refused(_) | Outcome::Undeleted(_) => {
                    staying.entry(number).or_default().push(outcome);
                }
            }
        }
        if !staying.is_empty() {
            for message in listing.iter() {
                let outcomes = staying.remove(&message.number).unwrap_or_default().into_iter();
                let (number, unique_id) = (message.number, message.unique_id);
                self.rows.extend(outcomes.map(|outcome| Row { number, unique_id: unique_id.to_vec(), outcome }));
            }
        }
    }

    /// Proposes this where the server takes no more sessions or logins at this moment.
    pub fn propose_where_throttled(&mut self, proposal: String) {
        let cause = self.failing.as_ref().map(|failing| failing.trouble.cause);
        self.proposal = Some(proposal).filter(|_| self.failure.is_some() && cause == Some(Cause::Throttled));
    }

    /// What to do about the failure.
    fn hint(&self) -> Option<String> {
        let own = self.failure.as_ref().and_then(|failure| failure.hint());
        let all: Vec<String> = own.into_iter().chain(self.proposal.clone()).collect();
        Some(all.join("; ")).filter(|hint| !hint.is_empty())
    }

    /// True when no new mail came, or would come.
    pub fn is_without_mail(&self) -> bool {
        self.delivered == 0 && self.would_retrieve == 0
    }

    /// Messages that somebody refused, and why.
    fn refused(&self) -> impl Iterator<Item = (&Row, &Refused)> {
        self.rows.iter().filter_map(|row| Some((row, row.refused()?)))
    }

    /// Messages that the server refused to delete, and its words.
    fn undeleted(&self) -> impl Iterator<Item = (&Row, &[u8])> {
        self.rows.iter().filter_map(|row| Some((row, row.undeleted()?)))
    }

    /// The sizes of messages that `max_size` leaves on the server, and whether each is news.
    fn too_large(&self) -> impl Iterator<Item = (u64, bool)> {
        self.rows.iter().filter_map(Row::too_large)
    }

    /// What decides about the exit status of the account.
    pub fn kind(&self) -> Option<Kind> {
        let failure = self.failure.as_ref().map(|failure| failure.kind());
        let rows = self.rows.iter().filter_map(|row| row.outcome.kind());
        let notices = self.notices.iter().filter_map(Notice::kind);
        failure::worst(failure.into_iter().chain(rows).chain(notices))
    }

    /// The lines for people, each with the account's name in front.
    pub fn lines(&self, style: Style) -> Vec<String> {
        let account = &self.account;
        let mut lines = vec![];
        let is_silent = |kind: Option<Kind>| self.is_silent && kind == Some(Kind::Temporary);
        let is_of_a_failure = |notice: &Notice| is_silent(notice.kind()) || matches!(notice, Notice::Redialled(_));
        for notice in self.notices.iter().filter(|notice| !(self.is_silent && is_of_a_failure(notice))) {
            if notice.needs_attention(style.quiet) || style.verbose {
                lines.push(format!("popfetch: {account}: {notice}"));
            }
        }
        if !style.quiet {
            lines.extend(self.too_large_line(style));
        }
        let is_shown = |(row, _): &(&Row, &Refused)| !is_silent(row.outcome.kind());
        let refused = self.refused().filter(is_shown);
        let refused = refused.map(|(row, refused)| (refused.reason.clone(), self.refused_line(row, refused)));
        let undeleted = self.undeleted().filter(|(row, _)| !is_silent(row.outcome.kind())).map(|(row, text)| {
            let text = printable(text);
            (text.clone(), format!("the server refused to delete message {}: `{text}`", row.number))
        });
        let refusals = abridged(refused).into_iter().chain(abridged(undeleted));
        lines.extend(refusals.map(|line| format!("popfetch: {account}: {line}")));
        if let Some(failure) = self.failure.as_ref().filter(|failure| !is_silent(Some(failure.kind()))) {
            lines.push(format!("popfetch: {account}: {failure}{}", self.standing()));
            lines.extend(failure.details().iter().map(|detail| format!("  {detail}")));
            lines.extend(self.hint().map(|hint| format!("  hint: {hint}")));
        }
        let is_counted = !self.is_silent && !self.is_waiting;
        if let Some(failing) = self.failing.as_ref().filter(|failing| failing.times > 1 && is_counted) {
            lines.push(format!(
                "popfetch: {account}: this was failure {} in a row, within {}",
                failing.times,
                failing.length(failing.at)
            ));
        }
        if self.failure.is_none()
            && self.marked.is_none()
            && !style.quiet
            && (style.is_terminal || style.verbose)
            && !style.dry_run
        {
            lines.push(self.line());
        }
        lines.into_iter().map(|line| self.without_secret(line)).collect()
    }

    fn without_secret(&self, text: String) -> String {
        self.secret.as_ref().map_or_else(|| text.clone(), |secret| secret.masked_in(&text))
    }

    /// Octets of the server, masked before they are cut: of half a secret nobody knows what it is.
    fn shown(&self, octets: &[u8]) -> String {
        match &self.secret {
            Some(secret) => secret.masked_in_shown(octets),
            None => printable(octets),
        }
    }

    fn refused_line(&self, row: &Row, refused: &Refused) -> String {
        let (number, id) = (row.number, self.shown(&row.unique_id));
        let lane = refused.lane.as_ref().map_or_else(String::new, |lane| format!(" for `{lane}`"));
        format!("message {number} (`{id}`) stays on the server{lane}: {}", refused.reason)
    }

    /// With `state`: the result, for standard output.
    pub fn mark_line(&self, style: Style) -> Option<String> {
        let Summary { account, listed, failure, .. } = self;
        let would = style.dry_run;
        let line = match self.marked.as_ref()? {
            Marked::Shown(_) => return None,
            Marked::Known(news) if would => {
                format!("{listed} on the server; {news} of them would count as fetched")
            }
            Marked::Known(news) => {
                let count = if *news == 1 { "counts" } else { "count" };
                format!("{listed} on the server; {news} {count} as fetched that did not before")
            }
            Marked::Forgotten { messages, left } => {
                format!("{messages} {}; {left} known still", if would { "would be forgotten" } else { "forgotten" })
            }
            Marked::Found { messages, unknown } => {
                let counts = match messages {
                    _ if would => "would count",
                    1 => "counts",
                    _ => "count",
                };
                let were = if *messages == 1 { "was" } else { "were" };
                let rest = match unknown {
                    0 => String::new(),
                    1 => "; 1 is not known, and comes with the next run".to_owned(),
                    unknown => format!("; {unknown} are not known, and come with the next run"),
                };
                format!(
                    "{listed} on the server; {messages} {were} found that {counts} as delivered there from now on{rest}"
                )
            }
            Marked::Freed(freed) => {
                let again = if would { "would be given again" } else { "will be given again, by the next run," };
                let them = if *freed == 1 { "it" } else { "them" };
                format!("{} {again} to targets that refused {them}", counted(*freed, "message"))
            }
            Marked::Declined => "nothing was changed".into(),
        };
        failure.is_none().then(|| format!("{account}: {line}"))
    }

    /// The line above a list, for standard output.
    pub fn list_line(&self) -> String {
        let Summary { account, listed, would_retrieve, .. } = self;
        let size = self.listed_octets.map_or_else(String::new, |size| format!(", {}", octets(size)));
        let messages = counted(*listed, "message");
        let new = octets(self.would_octets);
        format!("{account}: {messages}{size}; {would_retrieve} new, {new}{}", self.start_words())
    }

    fn start_words(&self) -> String {
        match self.before_start {
            0 => String::new(),
            messages => format!("; {messages} from before `start` would count as known"),
        }
    }

    /// With `--dry-run`: the result, for standard output.
    pub fn dry_lines(&self) -> Vec<String> {
        if self.failure.is_some() || self.marked.is_some() {
            return vec![];
        }
        let Summary { account, listed, would_retrieve, would_delete, .. } = self;
        let targets = self.would_get.iter().zip(&self.targets);
        // Where each target gets all of them, nobody wants to read that of each.
        let target = match self.would_get.iter().all(|count| count == would_retrieve) {
            true => self.target(),
            false => targets.map(|(count, target)| format!("{target} ({count})")).collect::<Vec<_>>().join(", "),
        };
        let total = format!(
            "{account}: {listed} on the server; would deliver {would_retrieve} to {target} and delete {would_delete}{}",
            self.start_words()
        );
        let of_each = self.foreseen.iter().map(|message| message.dry_line(self.owner()));
        std::iter::once(total).chain(of_each).collect()
    }

    /// Whether mail was delivered or waits, when an account fails.
    fn standing(&self) -> String {
        let recorded = if self.is_nameless { "" } else { " and recorded" };
        let delivered = format!("{} delivered{recorded}", counted(self.delivered, "message"));
        match (self.delivered, self.deleted) {
            (0, _) if self.is_update_unknown => String::new(),
            _ if self.is_update_unknown => format!("; {delivered}"),
            (0, 0) => "; nothing was delivered or deleted".into(),
            (0, deleted) => {
                format!("; nothing was delivered, {} deleted that came before", counted(deleted, "message"))
            }
            (_, 0) if self.is_nameless => format!(
                "; {delivered}, all are on the server still, which has no unique-ids (UIDL), so that these come once more; \
                 `--max-messages` ends the session sooner, and deletes what has come"
            ),
            (_, 0) => format!("; {delivered}, the rest waits on the server"),
            (_, deleted) => format!("; {delivered}, {deleted} deleted on the server, where the rest waits"),
        }
    }

    fn too_large_line(&self, style: Style) -> Option<String> {
        let is_shown = |(_, is_news): &(u64, bool)| *is_news || style.is_terminal || style.verbose;
        let shown: Vec<_> = self.too_large().filter(is_shown).collect();
        let largest = shown.iter().map(|(octets, _)| *octets).max()?;
        Some(format!(
            "popfetch: {}: {} larger than `max_size` left on the server (the largest has {})",
            self.account,
            counted(shown.len(), "message"),
            octets(largest)
        ))
    }

    fn line(&self) -> String {
        let mut line = match self.delivered {
            0 => format!("{}: no new mail", self.account),
            n => format!("{}: {} ({}) to {}", self.account, counted(n, "message"), octets(self.octets), self.target()),
        };
        let mut also = |count: usize, what: &str| {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        };
        also(self.deleted, "deleted on the server");
        also(self.later, "left for a later run");
        also(self.before_start, "from before `start`");
        also(self.skipped, "skipped");
        also(self.quarantined, "quarantined");
        also(self.known, "known");
        line.push_str(&format!(" in {:.1} s", self.elapsed.as_secs_f64()));
        line
    }

    /// True when nothing failed for a while but targets as a whole.
    pub fn is_well_but_for_targets(&self) -> bool {
        let notices = self.notices.iter().filter(|notice| !matches!(notice, Notice::LeftOut { .. }));
        let kinds = notices.filter_map(Notice::kind).chain(self.rows.iter().filter_map(|row| row.outcome.kind()));
        !kinds.into_iter().any(|kind| kind == Kind::Temporary)
    }

    /// The words of a failure, or of what has failed though the run came to its end; each of these once.
    pub fn words(&self, failure: Option<String>) -> String {
        if let Some(failure) = failure {
            return self.without_secret(failure);
        }
        let refused = self.refused().map(|(_, refused)| refused.reason.clone());
        let undeleted = self.undeleted().map(|(_, text)| printable(text));
        let notices = self.notices.iter().filter(|notice| notice.kind().is_some()).map(Notice::to_string);
        let words: BTreeSet<String> = refused.chain(undeleted).chain(notices).collect();
        self.without_secret(Vec::from_iter(words).join("\n"))
    }

    /// The unique-ids of messages that were refused, or not deleted.
    pub fn failed_ids(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.iter().filter(|row| row.outcome.kind().is_some()).map(|row| &*row.unique_id)
    }

    /// Why the account has another exit status than 0.
    fn error(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(self.without_secret(failure.to_string()));
        }
        let refused = |count: usize, what: &str| (count > 0).then(|| format!("{} {what}", counted(count, "message")));
        let notices = self.notices.iter().filter(|notice| notice.kind().is_some()).map(Notice::to_string);
        let causes: Vec<String> = refused(self.refused().count(), "refused, and left on the server")
            .into_iter()
            .chain(refused(self.undeleted().count(), "not deleted: the server refused DELE"))
            .chain(notices)
            .collect();
        (!causes.is_empty()).then(|| self.without_secret(causes.join("; ")))
    }

    /// What became of the account, for programs.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "account": self.account,
            "status": failure::exit_status(self.kind()),
            "error": self.error(),
            "details": self.failure.iter().flat_map(|failure| failure.details())
                .map(|detail| self.without_secret(detail)).collect::<Vec<_>>(),
            "hint": self.hint().map(|hint| self.without_secret(hint)),
            "target": self.without_secret(self.target()),
            "listed": self.listed,
            "listed_octets": self.listed_octets,
            "known": self.known,
            "delivered": self.delivered,
            "octets": self.octets,
            "deleted": self.deleted,
            "later": self.later,
            "quarantined": self.quarantined,
            "before_start": self.before_start,
            "skipped": self.skipped,
            "too_large": self.too_large().count(),
            "refused": self.refused().map(|(row, refused)| json!({
                "number": row.number.0,
                "unique_id": self.shown(&row.unique_id),
                "status": refused.kind.code(),
                "lane": refused.lane.as_ref().map(|lane| self.without_secret(lane.clone())),
                "reason": self.without_secret(refused.reason.clone()),
            })).collect::<Vec<_>>(),
            "undeleted": self.undeleted().map(|(row, text)| json!({
                "number": row.number.0,
                "unique_id": self.shown(&row.unique_id),
                "status": Kind::Temporary.code(),
                "reason": self.shown(text),
            })).collect::<Vec<_>>(),
            "notices": self.notices.iter().map(|notice| self.without_secret(notice.to_string())).collect::<Vec<_>>(),
            "first_run": self.notices.iter().filter_map(|notice| match notice {
                Notice::FirstRun { target, held } => Some(match held {
                    Held::Messages(messages) => json!({ "target": target, "messages": messages, "octets": null }),
                    Held::Octets(octets) => json!({ "target": target, "messages": null, "octets": octets }),
                }),
                _ => None,
            }).collect::<Vec<_>>(),
            "failing": self.failing.as_ref().map(failing),
            "marked": self.marked.as_ref().and_then(Marked::messages),
            "state": self.marked.as_ref().and_then(Marked::shown).map(Shown::json),
            "would_deliver": self.would_retrieve,
            "would_deliver_octets": self.would_octets,
            "would_deliver_to": self.would_get.iter().zip(&self.targets).map(|(messages, target)| json!({
                "target": self.without_secret(target.clone()),
                "messages": messages,
            })).collect::<Vec<_>>(),
            "would_delete": self.would_delete,
            "in_doubt": self.notices.iter().find_map(|notice| match notice {
                Notice::InDoubt(messages) => Some(*messages),
                _ => None,
            }).unwrap_or(0),
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}
