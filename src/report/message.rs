//! A message as a row: what its header says, and what a run would do with it. A line of a table for people, an event for
//! programs.

use std::borrow::Cow;

use chrono::{DateTime, Local, SecondsFormat};
use serde_json::{Value, json};

use crate::account::Password;
use crate::header::Heading;
use crate::maildrop::{Listed, MessageNumber};
use crate::plan::{By, Fate, Outlook, Reason};
use crate::text::{columns, fitted, octets, printable_within};

/// A message of a maildrop.
#[derive(Debug)]
pub struct Message<'m> {
    /// Its number in this session.
    pub number: MessageNumber,
    /// Its unique-id, or nothing where the server has none.
    pub unique_id: Cow<'m, [u8]>,
    /// Its size, as far as the server tells.
    pub octets: Option<u64>,
    /// What a run would do with it.
    pub outlook: Outlook,
    /// What its header says, as far as the server tells.
    pub heading: Option<&'m Heading>,
}

/// Whose messages these are.
#[derive(Debug, Clone, Copy)]
pub struct Owner<'o> {
    /// The account's name, as it is shown.
    pub account: &'o str,
    /// Never printed: a server that repeats it is not repeated.
    pub secret: Option<&'o Password>,
    /// The targets, as they are shown, by their lanes.
    pub targets: &'o [String],
}

impl Owner<'_> {
    fn without_secret(&self, text: String) -> String {
        self.secret.map_or_else(|| text.clone(), |secret| secret.masked_in(&text))
    }

    /// All of a unique-id.
    fn id(&self, unique_id: &[u8]) -> String {
        let masked = self.secret.map_or_else(|| unique_id.to_vec(), |secret| secret.masked_in_octets(unique_id));
        self.without_secret(printable_within(&masked, usize::MAX))
    }

    fn targets(&self, outlook: &Outlook) -> Vec<String> {
        let of_lanes = self.targets.iter().enumerate().filter(|(lane, _)| outlook.lanes.has(*lane));
        of_lanes.map(|(_, target)| self.without_secret(target.clone())).collect()
    }
}

impl Message<'static> {
    /// A listed message, of whose header nothing is known.
    pub fn of(Listed { number, unique_id, octets }: Listed<'_>, outlook: Outlook) -> Self {
        Message { number, unique_id: unique_id.to_vec().into(), octets, outlook, heading: None }
    }
}

impl Message<'_> {
    /// The row for programs.
    pub fn json(&self, owner: Owner<'_>) -> Value {
        let Outlook { fate, by, since, due, is_deleted, .. } = self.outlook;
        let reason = match (fate.reason(), by) {
            ("rule", Some(By::Filter)) => "filter",
            (reason, _) => reason,
        };
        let rule = match by {
            Some(By::Rule(number)) => Some(number),
            Some(By::Filter) | None => None,
        };
        let text = |text: Option<&String>| text.map(|text| owner.without_secret(text.clone()));
        json!({
            "account": owner.account,
            "number": self.number.0,
            "unique_id": owner.id(&self.unique_id),
            "octets": self.octets,
            "date": self.heading.and_then(|heading| heading.date).and_then(time),
            "from": text(self.heading.and_then(|heading| heading.from.as_ref())),
            "subject": text(self.heading.and_then(|heading| heading.subject.as_ref())),
            "verdict": fate.verdict(),
            "reason": reason,
            "rule": rule,
            "known_since": since.and_then(time),
            "due": due.and_then(time),
            "targets": owner.targets(&self.outlook),
            "deleted": is_deleted,
        })
    }

    /// What a dry run says of it.
    pub fn dry_line(&self, owner: Owner<'_>) -> String {
        let (id, Message { number, outlook, .. }) = (owner.id(&self.unique_id), self);
        let size = self.octets.map_or_else(|| "size unknown".into(), octets);
        let then = if outlook.is_deleted { ", then delete it" } else { "" };
        let targets = owner.targets(outlook).iter().map(|target| format!("`{target}`")).collect::<Vec<_>>().join(", ");
        let what = match outlook.fate.verdict() {
            "retrieve" if outlook.fate == Fate::Compared => {
                format!("retrieve, and deliver to {targets} if it is not the known one{then}")
            }
            "retrieve" => format!("deliver to {targets}{then}{}", whose(outlook, " (", ")")),
            "delete" => format!("delete ({})", phrase(outlook)),
            _ => format!("leave ({})", phrase(outlook)),
        };
        format!("{}: message {number} (`{id}`, {size}): {what}", owner.account)
    }
}

/// A time as RFC 3339 writes it; nothing for one that no calendar has.
fn time(seconds: impl TryInto<i64>) -> Option<String> {
    let time = DateTime::from_timestamp(seconds.try_into().ok()?, 0)?;
    Some(time.to_rfc3339_opts(SecondsFormat::Secs, true)).filter(|text| text.len() == "2026-11-24T18:33:41Z".len())
}

/// The day, here.
fn day(seconds: impl TryInto<i64>) -> Option<String> {
    let time = DateTime::from_timestamp(seconds.try_into().ok()?, 0)?.with_timezone(&Local);
    Some(time.format("%Y-%m-%d").to_string()).filter(|text| text.len() == "2026-11-24".len())
}

/// Whose decision it is, where that is not simply the account's, between these.
fn whose(outlook: &Outlook, before: &str, behind: &str) -> String {
    match outlook.by {
        Some(By::Rule(number)) => format!("{before}rule {number}{behind}"),
        Some(By::Filter) => format!("{before}filter{behind}"),
        None => String::new(),
    }
}

/// The verdict and its reason in words.
fn phrase(outlook: &Outlook) -> String {
    let is_retrieved = outlook.fate.verdict() == "retrieve";
    let whose = if is_retrieved { whose(outlook, ", ", "") } else { String::new() };
    reason(outlook) + &whose
}

fn reason(outlook: &Outlook) -> String {
    let since = outlook.since.and_then(day);
    let known = || since.as_ref().map_or_else(|| "known".to_owned(), |since| format!("known since {since}"));
    let due = outlook.due.and_then(day);
    match outlook.fate {
        Fate::New => "new".into(),
        Fate::Reused => "new: another message had its unique-id".into(),
        Fate::Again => format!("again, {}", known()),
        Fate::Lacking => format!("lacking at a target, {}", known()),
        Fate::Compared => format!("to be compared, {}", known()),
        Fate::Due => due.map_or_else(|| format!("to be deleted, {}", known()), |due| format!("due since {due}")),
        Fate::Relisted => "to be deleted once more".into(),
        Fate::Discarded => whose(outlook, "to be deleted: ", ""),
        Fate::Counted => format!("counts as {}", known()),
        Fate::Waiting => "waits for a target".into(),
        Fate::NewTarget => format!("{}; `deliver` is new", known()),
        Fate::InDoubt => "in doubt".into(),
        Fate::Left(reason) => match reason {
            Reason::Known => due.map_or_else(known, |due| format!("due on {due}")),
            Reason::BeforeStart => "before `start`: counts as known".into(),
            Reason::TooLarge => "too large".into(),
            Reason::Later => "later".into(),
            Reason::OverOctets => "later: `max_octets`".into(),
            Reason::NoRoom => "waits for room".into(),
            Reason::Quarantined => "quarantined".into(),
            Reason::Nameless => "left: no unique-id".into(),
            Reason::Repeated => format!("{}; its unique-id is listed twice", known()),
            Reason::Unproved => "left: not proved to be the known one".into(),
            Reason::Owed => "left: the account has not fetched it".into(),
            Reason::Unsure => "left: deleted before, and may be another".into(),
            Reason::Distrusted => "left: a session broke off behind it".into(),
            Reason::Ruled => whose(outlook, "skipped: ", ""),
            Reason::Undecided => "left: nothing decided".into(),
            Reason::Closed => "waits for a target".into(),
        },
    }
}

/// The same where there is little room.
fn word(outlook: &Outlook) -> String {
    match (outlook.fate, outlook.due.and_then(day)) {
        (Fate::Left(Reason::Known), Some(due)) => format!("due {due}"),
        (Fate::New | Fate::Reused, _) => "new".into(),
        (Fate::Again, _) => "again".into(),
        (Fate::Lacking, _) => "lacking".into(),
        (Fate::Compared, _) => "compare".into(),
        (Fate::Due | Fate::Relisted, _) => "due".into(),
        (Fate::Discarded, _) => "delete".into(),
        (Fate::Left(Reason::Ruled), _) => "skipped".into(),
        (Fate::Left(Reason::Closed), _) => "waits".into(),
        (Fate::Counted | Fate::NewTarget | Fate::Left(Reason::Known | Reason::Repeated | Reason::BeforeStart), _) => {
            "known".into()
        }
        (Fate::Waiting | Fate::Left(Reason::NoRoom), _) => "waits".into(),
        (Fate::Left(Reason::Quarantined), _) => "quarantined".into(),
        (Fate::InDoubt, _) => "in doubt".into(),
        (Fate::Left(Reason::TooLarge), _) => "too large".into(),
        (Fate::Left(Reason::Later | Reason::OverOctets), _) => "later".into(),
        (Fate::Left(_), _) => "left".into(),
    }
}

/// Less room for sender and subject than this, and the other columns say less.
const ROOM: usize = 28;

/// The widths of columns. What is cut is cut at the terminal's width; elsewhere nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    number: usize,
    size: usize,
    verdict: usize,
    /// Unique-ids, where they are shown.
    id: Option<usize>,
    /// Sender, where there is room.
    from: Option<usize>,
    has_date: bool,
    says_little: bool,
    /// The terminal's width.
    width: Option<usize>,
}

/// How wide the columns of some rows have to be.
#[derive(Debug, Default)]
pub struct Widths {
    number: usize,
    size: usize,
    phrase: usize,
    word: usize,
    id: usize,
}

impl Widths {
    /// Makes room for a row.
    pub fn admit(&mut self, message: &Message<'_>, owner: Owner<'_>) {
        let widen = |width: &mut usize, text: &str| *width = (*width).max(columns(text));
        widen(&mut self.number, &message.number.to_string());
        widen(&mut self.size, &size(message));
        widen(&mut self.phrase, &phrase(&message.outlook));
        widen(&mut self.word, &word(&message.outlook));
        widen(&mut self.id, &owner.id(&message.unique_id));
    }

    /// The columns for a terminal of this width, or for no terminal. Without `has_headings` there is no date, sender and
    /// subject.
    pub fn table(self, width: Option<usize>, has_ids: bool, has_headings: bool) -> Table {
        let Widths { number, size, phrase, word, id } = self;
        let id = has_ids.then(|| width.map_or(id, |width| id.min(width / 3)));
        let taken = |verdict: usize, has_date: bool| {
            let columns = [Some(number), has_date.then_some(10), Some(size), Some(verdict), id];
            columns.into_iter().flatten().map(|column| column + 2).sum::<usize>()
        };
        let room = |verdict, has_date| width.map_or(usize::MAX, |width| width.saturating_sub(taken(verdict, has_date)));
        let wanted = if has_headings { ROOM } else { 0 };
        let says_little = room(phrase, has_headings) < wanted;
        let verdict = if says_little { word } else { phrase };
        let has_date = has_headings && room(verdict, true) >= wanted;
        let room = room(verdict, has_date);
        let from = match room {
            _ if !has_headings || room < ROOM / 2 => None,
            _ if width.is_none() => Some(24),
            room => Some((room * 2 / 5).min(32)),
        };
        Table { number, size, verdict, id, from, has_date, says_little, width }
    }
}

fn size(message: &Message<'_>) -> String {
    message.octets.map_or_else(String::new, octets)
}

impl Table {
    /// A row in one line.
    pub fn line(&self, message: &Message<'_>, owner: Owner<'_>) -> String {
        let verdict = if self.says_little { word(&message.outlook) } else { phrase(&message.outlook) };
        let date = message.heading.and_then(|heading| heading.date).and_then(day).unwrap_or_default();
        let text = |text: Option<&String>| text.map_or_else(String::new, |text| owner.without_secret(text.clone()));
        let mut line = format!("{:>1$}  ", message.number, self.number);
        if self.has_date {
            line.push_str(&format!("{date:10}  "));
        }
        line.push_str(&format!("{:>1$}  ", size(message), self.size));
        line.push_str(&self.cell(&verdict, self.verdict));
        if let Some(width) = self.id {
            line.push_str(&self.cell(&owner.id(&message.unique_id), width));
        }
        if let Some(width) = self.from {
            line.push_str(&self.cell(&text(message.heading.and_then(|heading| heading.from.as_ref())), width));
        }
        line.push_str(&text(message.heading.and_then(|heading| heading.subject.as_ref())));
        let line = line.trim_end();
        self.width.map_or_else(|| line.to_owned(), |width| fitted(line, width))
    }

    /// A text, cut where something has to be, and blanks up to the next column.
    fn cell(&self, text: &str, width: usize) -> String {
        let mut cell = if self.width.is_some() { fitted(text, width) } else { text.to_owned() };
        cell.push_str(&" ".repeat(width.saturating_sub(columns(&cell)) + 2));
        cell
    }
}
