//! How a run is shown: notices, failures with their hints, the summary line, JSON.

mod abridged;
mod results;

use std::time::Duration;

use serde_json::json;

use abridged::abridged;
pub use results::{Results, usage};

use crate::account::{Account, Password, Target};
use crate::deliver;
use crate::failure::{self, Failure, Kind};
use crate::ledger::Key;
use crate::maildrop::{Listed, MessageNumber};
use crate::notice::Notice;
use crate::text::{counted, octets, printable};

/// A message that stays on the server because it was refused; the others went on.
#[derive(Debug)]
pub struct Refused {
    number: MessageNumber,
    unique_id: Vec<u8>,
    kind: Kind,
    /// The target that refused it, where the account has several.
    lane: Option<String>,
    reason: String,
}

impl Refused {
    /// The server answered RETR with `-ERR`.
    pub fn by_server(key: &Key, text: &[u8]) -> Self {
        let reason = format!("the server refused RETR: `{}`", printable(text));
        Refused { number: key.number, unique_id: key.unique_id.clone(), kind: Kind::Temporary, lane: None, reason }
    }

    /// Behind it the session got out of step.
    pub fn out_of_step(key: &Key) -> Self {
        let reason = "it is not delivered, because the server sent more behind its end: it may be cut short there";
        Refused::distrusted_because(key.number, &key.unique_id, reason)
    }

    /// The session got out of step behind it in an earlier run.
    pub fn distrusted(message: &Listed<'_>) -> Self {
        let reason = "an earlier session broke off behind it; it is retrieved by a run that has nothing to delete";
        Refused::distrusted_because(message.number, message.unique_id, reason)
    }

    fn distrusted_because(number: MessageNumber, unique_id: &[u8], reason: &str) -> Self {
        Refused { number, unique_id: unique_id.to_vec(), kind: Kind::Protocol, lane: None, reason: reason.into() }
    }

    /// The unique-id, or nothing where the server has none.
    pub fn unique_id(&self) -> &[u8] {
        &self.unique_id
    }

    /// The exit status that it deserves.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The target did not take it; `lane` names it where there are others.
    pub fn by_target(
        number: MessageNumber,
        unique_id: &[u8],
        lane: Option<&Target>,
        refusal: &deliver::Refusal,
    ) -> Self {
        let lane = lane.map(|target| printable(target.to_string().as_bytes()));
        Refused { number, unique_id: unique_id.to_vec(), kind: refusal.kind(), lane, reason: refusal.to_string() }
    }
}

impl Refused {
    /// The line for people; `unique_id` is its unique-id as it is shown.
    fn line(&self, unique_id: &str) -> String {
        let Refused { number, lane, reason, .. } = self;
        let lane = lane.as_ref().map_or_else(String::new, |lane| format!(" for `{lane}`"));
        format!("message {number} (`{unique_id}`) stays on the server{lane}: {reason}")
    }
}

/// What came of `state known`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marked {
    /// Every listed message counts as fetched; so many did not before.
    Known(usize),
    /// The person said no.
    Declined,
}

impl Marked {
    fn messages(self) -> Option<usize> {
        match self {
            Marked::Known(news) => Some(news),
            Marked::Declined => None,
        }
    }
}

/// A message whose DELE the server refused.
#[derive(Debug)]
pub struct Undeleted {
    /// Its number.
    pub number: MessageNumber,
    /// Its unique-id, or nothing where the server has none.
    pub unique_id: Vec<u8>,
    /// The server's words.
    pub text: Vec<u8>,
}

/// A message that `max_size` leaves on the server.
#[derive(Debug, Clone, Copy)]
pub struct TooLarge {
    /// Its number.
    pub number: MessageNumber,
    /// Its size by LIST, or what came of it.
    pub octets: u64,
    /// It was not said before.
    pub is_news: bool,
}

/// What became of one account.
#[derive(Debug)]
pub struct Summary {
    account: String,
    /// Never printed: a server that repeats it is not repeated.
    pub secret: Option<Password>,
    target: String,
    /// Messages in the maildrop.
    pub listed: usize,
    /// Known from earlier runs.
    pub known: usize,
    /// Delivered now.
    pub delivered: usize,
    /// Octets of them, as stored.
    pub octets: u64,
    /// Deleted on the server now.
    pub deleted: usize,
    /// DELE that the server refused.
    pub undeleted: Vec<Undeleted>,
    /// Left for the next run by `max_messages`.
    pub later: usize,
    /// Left on the server by `max_size`.
    pub too_large: Vec<TooLarge>,
    /// Left on the server because somebody refused them.
    pub refused: Vec<Refused>,
    /// With `state known`: what came of it.
    pub marked: Option<Marked>,
    /// With `--dry-run`: what would be retrieved.
    pub would_retrieve: usize,
    /// With `--dry-run`: what would be deleted, also of what is retrieved.
    pub would_delete: usize,
    /// What a person should hear.
    pub notices: Vec<Notice>,
    /// Why the account was not fetched to its end.
    pub failure: Option<Box<dyn Failure>>,
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
            target: account
                .targets
                .iter()
                .map(|target| printable(target.to_string().as_bytes()))
                .collect::<Vec<_>>()
                .join(", "),
            listed: 0,
            known: 0,
            delivered: 0,
            octets: 0,
            deleted: 0,
            undeleted: vec![],
            later: 0,
            too_large: vec![],
            refused: vec![],
            marked: None,
            would_retrieve: 0,
            would_delete: 0,
            notices: vec![],
            failure: None,
            is_update_unknown: false,
            elapsed: Duration::ZERO,
        }
    }

    /// What decides about the exit status of the account.
    pub fn kind(&self) -> Option<Kind> {
        let failure = self.failure.as_ref().map(|failure| failure.kind());
        let refused = self.refused.iter().map(|refused| refused.kind);
        let undeleted = self.undeleted.iter().map(|_| Kind::Temporary);
        let notices = self.notices.iter().filter_map(Notice::kind);
        failure::worst(failure.into_iter().chain(refused).chain(undeleted).chain(notices))
    }

    /// The lines for people, each with the account's name in front.
    pub fn lines(&self, style: Style) -> Vec<String> {
        let account = &self.account;
        let mut lines = vec![];
        for notice in &self.notices {
            if notice.needs_attention() || style.verbose {
                lines.push(format!("popfetch: {account}: {notice}"));
            }
        }
        if !style.quiet {
            lines.extend(self.too_large_line(style));
        }
        let refused =
            self.refused.iter().map(|refused| (refused.reason.clone(), refused.line(&self.shown(&refused.unique_id))));
        let undeleted = self.undeleted.iter().map(|refusal| {
            let (number, text) = (refusal.number, printable(&refusal.text));
            (text.clone(), format!("the server refused to delete message {number}: `{text}`"))
        });
        let refusals = abridged(refused).into_iter().chain(abridged(undeleted));
        lines.extend(refusals.map(|line| format!("popfetch: {account}: {line}")));
        if let Some(failure) = &self.failure {
            lines.push(format!("popfetch: {account}: {failure}{}", self.standing()));
            lines.extend(failure.hint().map(|hint| format!("  hint: {hint}")));
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

    /// With `state known`: the result, for standard output.
    pub fn mark_line(&self, style: Style) -> Option<String> {
        let Summary { account, listed, .. } = self;
        self.marked.map(|marked| match marked {
            Marked::Known(news) if style.dry_run => {
                format!("{account}: {listed} on the server; {news} of them would count as fetched")
            }
            Marked::Known(news) => format!("{account}: {listed} on the server, all of them known now; {news} were not"),
            Marked::Declined => format!("{account}: {listed} on the server; nothing was changed"),
        })
    }

    /// With `--dry-run`: the result, for standard output.
    pub fn dry_line(&self) -> Option<String> {
        (self.failure.is_none() && self.marked.is_none()).then(|| {
            format!(
                "{}: {} on the server; would deliver {} to {} and delete {}",
                self.account, self.listed, self.would_retrieve, self.target, self.would_delete
            )
        })
    }

    /// Whether mail was delivered or waits, when an account fails.
    fn standing(&self) -> String {
        let delivered = format!("{} delivered and recorded", counted(self.delivered, "message"));
        match (self.delivered, self.deleted) {
            (0, _) if self.is_update_unknown => String::new(),
            _ if self.is_update_unknown => format!("; {delivered}"),
            (0, 0) => "; nothing was delivered or deleted".into(),
            (0, deleted) => {
                format!("; nothing was delivered, {} deleted that came before", counted(deleted, "message"))
            }
            (_, 0) => format!("; {delivered}, the rest waits on the server"),
            (_, deleted) => format!("; {delivered}, {deleted} deleted on the server, where the rest waits"),
        }
    }

    fn too_large_line(&self, style: Style) -> Option<String> {
        let is_shown = |large: &&TooLarge| large.is_news || style.is_terminal || style.verbose;
        let shown: Vec<_> = self.too_large.iter().filter(is_shown).collect();
        let largest = shown.iter().map(|large| large.octets).max()?;
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
            n => format!("{}: {} ({}) to {}", self.account, counted(n, "message"), octets(self.octets), self.target),
        };
        let mut also = |count: usize, what: &str| {
            if count > 0 {
                line.push_str(&format!(", {count} {what}"));
            }
        };
        also(self.deleted, "deleted on the server");
        also(self.later, "left for the next run");
        also(self.known, "known");
        line.push_str(&format!(" in {:.1} s", self.elapsed.as_secs_f64()));
        line
    }

    /// Why the account has another exit status than 0.
    fn error(&self) -> Option<String> {
        if let Some(failure) = &self.failure {
            return Some(self.without_secret(failure.to_string()));
        }
        let refused = |count: usize, what: &str| (count > 0).then(|| format!("{} {what}", counted(count, "message")));
        let notices = self.notices.iter().filter(|notice| notice.kind().is_some()).map(Notice::to_string);
        let causes: Vec<String> = refused(self.refused.len(), "refused, and left on the server")
            .into_iter()
            .chain(refused(self.undeleted.len(), "not deleted: the server refused DELE"))
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
            "hint": self.failure.as_ref().and_then(|failure| failure.hint()).map(|hint| self.without_secret(hint)),
            "target": self.without_secret(self.target.clone()),
            "listed": self.listed,
            "known": self.known,
            "delivered": self.delivered,
            "octets": self.octets,
            "deleted": self.deleted,
            "later": self.later,
            "too_large": self.too_large.len(),
            "refused": self.refused.iter().map(|refused| json!({
                "number": refused.number.0,
                "unique_id": self.shown(&refused.unique_id),
                "status": refused.kind.code(),
                "lane": refused.lane.as_ref().map(|lane| self.without_secret(lane.clone())),
                "reason": self.without_secret(refused.reason.clone()),
            })).collect::<Vec<_>>(),
            "undeleted": self.undeleted.iter().map(|refusal| json!({
                "number": refusal.number.0,
                "unique_id": self.shown(&refusal.unique_id),
                "status": Kind::Temporary.code(),
                "reason": self.shown(&refusal.text),
            })).collect::<Vec<_>>(),
            "notices": self.notices.iter().map(|notice| self.without_secret(notice.to_string())).collect::<Vec<_>>(),
            "marked": self.marked.and_then(Marked::messages),
            "would_deliver": self.would_retrieve,
            "would_delete": self.would_delete,
            "seconds": self.elapsed.as_secs_f64(),
        })
    }
}
