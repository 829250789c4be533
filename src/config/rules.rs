//! The key `rules`: a list of tables, each with conditions and what then becomes of a message.
//!
//! A key is the name of a header field, unless it is one of [`KEYS`]. So a slip in one of these is no unknown key by
//! itself: it is told where the name is hardly that of a field.

use std::sync::Arc;

use super::error::{Fault, Place, Problem, differ};
use super::forms::{self, Expected};
use super::keys::{self, Key, Row, Said};
use super::paths::{self, Paths};
use super::settings;
use super::target::{self, Targets};
use super::value::{Entry, Table, Value};
use crate::account::{Account, Keep, Target};
use crate::rules::{Action, Bound, Condition, Pattern, Rule};
use crate::text;

/// Every key of a rule that is no header field.
pub(super) static KEYS: &[Row<Draft>] = &[
    Row::<Draft>::new("size", |draft, said| {
        let octets = said.value(|value| bound(value.text(), SIZE, |text| forms::size(text).ok()))?;
        draft.conditions.push(Condition::Size(octets));
        Ok(())
    })
    .elsewhere(&["larger", "bigger", "larger_than", "smaller", "octets", "max_size", "min_size"]),
    Row::<Draft>::new("age", |draft, said| {
        let seconds = |text: &str| forms::duration(text).ok().map(|age| age.as_secs());
        draft.conditions.push(Condition::Age(said.value(|value| bound(value.text(), AGE, seconds))?));
        Ok(())
    })
    .elsewhere(&["older", "older_than", "newer", "newer_than"]),
    Row::<Draft>::new("any", |draft, said| {
        let Value::Array(items) = &said.entry.value else { return Err(said.wrong(ANY)) };
        let mut groups = Vec::new();
        let mut faults = Vec::new();
        for item in items {
            match group(&item.entry("any"), "any", ANY, said.paths) {
                Ok(conditions) => groups.push(conditions),
                Err(more) => faults.extend(more),
            }
        }
        if items.is_empty() {
            faults.extend(said.wrong(ANY));
        }
        draft.conditions.push(Condition::Any(groups));
        if faults.is_empty() { Ok(()) } else { Err(faults) }
    })
    .elsewhere(&["or", "anyof", "any_of"]),
    Row::<Draft>::new("not", |draft, said| {
        draft.conditions.push(Condition::Not(group(said.entry, "not", NOT, said.paths)?));
        Ok(())
    })
    .elsewhere(&["unless", "except"]),
    Row::<Draft>::new("deliver", |draft, said| {
        draft.deliver = Some(target::read(said, &draft.named)?);
        Ok(())
    })
    .excludes(&["skip", "delete"])
    .elsewhere(&["folder", "maildir", "mbox", "mda", "fileinto", "move", "target", "delivery", "store"]),
    Row::<Draft>::new("keep", |draft, said| said.some(&mut draft.keep, settings::keep)).excludes(&["skip", "delete"]),
    Row::<Draft>::new("skip", |draft, said| said.set(&mut draft.skips, is_true))
        .excludes(&["delete"])
        .elsewhere(&["ignore", "leave", "pass"]),
    Row::<Draft>::new("delete", |draft, said| said.set(&mut draft.deletes, is_true))
        .elsewhere(&["discard", "drop", "trash", "remove", "reject"]),
];

/// Those that say what becomes of a message.
const ACTIONS: [&str; 4] = ["deliver", "keep", "skip", "delete"];

/// Header fields whose names have no hyphen. Others of one word may well be slips.
const FIELDS: [&str; 19] = [
    "from",
    "to",
    "cc",
    "bcc",
    "subject",
    "date",
    "sender",
    "received",
    "comments",
    "keywords",
    "references",
    "precedence",
    "organization",
    "status",
    "lines",
    "approved",
    "priority",
    "importance",
    "sensitivity",
];

/// Fields with a hyphen, which may be written with something else by mistake.
const HYPHENATED: [&str; 8] = [
    "list-id",
    "reply-to",
    "delivered-to",
    "return-path",
    "message-id",
    "in-reply-to",
    "content-type",
    "auto-submitted",
];

/// The most rules of one account.
const MOST: usize = 1000;

const RULES: Expected = Expected::new("at most 1000 tables such as `[[accounts.work.rules]]`");
const SIZE: Expected =
    Expected::new("`>` or `<` and octets, such as \">1M\" or \"<10k\" (k, M, G: powers of 1024), not zero");
const AGE: Expected = Expected::new("`>` or `<` and a duration, such as \">30d\" or \"<12h\" (units s, m, h, d, w)");
const ANY: Expected = Expected::new("an array of tables with conditions, such as [{ from = \"@a\" }, { to = \"@b\" }]");
const NOT: Expected = Expected::new("a table with conditions, such as { from = \"@a\" }");
const TRUE: Expected = Expected::new("`true`; leave the key out otherwise");
const PATTERN: Expected = Expected::new("a regular expression in quotes");

/// What has been written of a rule.
#[derive(Debug)]
pub(super) struct Draft {
    /// The targets that have a name.
    named: Arc<Targets>,
    conditions: Vec<Condition>,
    deliver: Option<Vec<target::Written>>,
    keep: Option<Keep>,
    skips: bool,
    deletes: bool,
}

/// A rule, before it is that of an account.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    rule: Rule,
    /// Where it delivers to.
    deliver: Option<Vec<target::Written>>,
}

impl Written {
    /// The rule of this account. What it delivers to becomes a target of the account.
    pub fn for_account(self, account: &mut Account) -> Result<Rule, Problem> {
        let Written { mut rule, deliver } = self;
        let Action::Take { targets, .. } = &mut rule.action else { return Ok(rule) };
        let Some(deliver) = deliver else { return Ok(rule) };
        let mut positions = Vec::new();
        for written in deliver {
            let target = written.for_account(account)?;
            let known = account.targets.iter().position(|other| paths::is_same(other, &target));
            let position = known.unwrap_or(account.targets.len());
            match known.map(|known| &account.targets[known]) {
                Some(other) if positions.contains(&position) || differ(&target, other) => {
                    return Err(Problem::same_target(&target, other));
                }
                _ => {}
            }
            if position == account.targets.len() {
                account.targets.push(target);
            }
            positions.push(position);
        }
        if account.targets.len() > Target::MOST {
            let expected = Expected::with(format!("at most {} in all, those of the rules included", Target::MOST));
            return Err(Problem::Value { key: "deliver".into(), found: "so many targets".into(), expected });
        }
        *targets = Some(positions);
        Ok(rule)
    }
}

/// Understands the value of an account's or of the defaults' key.
pub(super) fn read(said: &Said<'_>, named: &Arc<Targets>) -> Result<Vec<Written>, Vec<Fault>> {
    let items = match &said.entry.value {
        Value::Array(items) if items.len() <= MOST => items,
        Value::Broken => return Err(Vec::new()),
        _ => return Err(said.wrong(RULES)),
    };
    let mut rules = Vec::new();
    let mut faults = Vec::new();
    for item in items {
        match rule(&item.entry("rules"), named, said.paths) {
            Ok(rule) => rules.push(rule),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn rule(entry: &Entry, named: &Arc<Targets>, paths: Paths<'_>) -> Result<Written, Vec<Fault>> {
    let table = Said::of(entry, paths).table(RULES)?;
    let Draft { conditions, deliver, keep, skips, deletes, .. } =
        understood(table, &Place::Key("rules"), named, paths)?;
    let action = match (skips, deletes) {
        (true, _) => Action::Skip,
        (_, true) => Action::Delete,
        _ if deliver.is_none() && keep.is_none() => {
            let keys = vec!["`deliver`, `skip`, `delete` or `keep`"];
            return Err(vec![entry.at_key(Problem::Missing { place: Place::Key("rules"), keys }, false)]);
        }
        _ => Action::Take { targets: None, keep },
    };
    Ok(Written { rule: Rule { conditions, action }, deliver })
}

/// The conditions of a table in which nothing else may stand.
fn group(entry: &Entry, key: &'static str, expected: Expected, paths: Paths<'_>) -> Result<Vec<Condition>, Vec<Fault>> {
    let said = Said::of(entry, paths);
    let table = said.table(expected.clone())?;
    let place = Place::Key(key);
    let action = |entry: &&Entry| ACTIONS.contains(&&*entry.key);
    if let Some(entry) = table.iter().find(action) {
        let advice = Some("what becomes of a message stands in the rule itself".to_owned());
        let problem = Problem::UnknownKey { key: entry.key.clone(), place, advice, known: vec![] };
        return Err(vec![entry.at_key(problem, false)]);
    }
    if table.iter().len() == 0 {
        return Err(said.wrong(expected));
    }
    Ok(understood(table, &place, &Arc::default(), paths)?.conditions)
}

fn understood(table: &Table, place: &Place, named: &Arc<Targets>, paths: Paths<'_>) -> Result<Draft, Vec<Fault>> {
    let conditions = Vec::new();
    let mut draft =
        Draft { named: Arc::clone(named), conditions, deliver: None, keep: None, skips: false, deletes: false };
    let is_key = |entry: &&Entry| keys::row(KEYS, &entry.key).is_some();
    let known: Table = table.iter().filter(is_key).cloned().collect();
    let mut faults = keys::read(KEYS, &known, place, paths, &mut draft);
    for entry in table.iter().filter(|entry| !is_key(entry)) {
        match field(entry, place, paths) {
            Ok(condition) => draft.conditions.push(condition),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(draft) } else { Err(faults) }
}

/// A key that is the name of a header field, and the expression behind it.
fn field(entry: &Entry, place: &Place, paths: Paths<'_>) -> Result<Condition, Vec<Fault>> {
    let name = entry.key.to_ascii_lowercase();
    let is_well_known = FIELDS.contains(&&*name) || HYPHENATED.contains(&&*name);
    // RFC 5322 §3.6.8: printable, but for the colon that ends it.
    let is_name = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic() && octet != b':');
    let has_text = matches!(entry.value, Value::String(_) | Value::Bare(_) | Value::Broken);
    let advice = advice(&name).filter(|_| !is_well_known && !name.contains('-'));
    if advice.is_some() || !is_name || !(has_text || is_well_known) {
        let known = KEYS.iter().map(|row| row.key.name).chain(["the name of a header field"]).collect();
        let problem = Problem::UnknownKey { key: entry.key.clone(), place: place.clone(), advice, known };
        return Err(vec![entry.at_key(problem, false)]);
    }
    let pattern = Said::of(entry, paths).value(|value| match value {
        Value::String(text) => {
            Pattern::new(text).map_err(|why| Expected::with(format!("a regular expression, and this is none: {why}")))
        }
        _ => Err(PATTERN),
    })?;
    Ok(Condition::Field(name, pattern))
}

/// What was meant by a name that is hardly that of a header field.
fn advice(name: &str) -> Option<String> {
    let keys: Vec<Key> = KEYS.iter().map(|row| row.key).collect();
    let hyphenated = name.replace('_', "-");
    let field = HYPHENATED.iter().find(|field| **field == hyphenated);
    let near = field.copied().or_else(|| text::nearest(name, FIELDS));
    keys::meant(name, &keys).or_else(|| near.map(|near| format!("did you mean `{near}`?")))
}

fn bound(text: &str, expected: Expected, value: impl Fn(&str) -> Option<u64>) -> Result<Bound, Expected> {
    let (bound, rest): (fn(u64) -> Bound, &str) = match (text.strip_prefix('>'), text.strip_prefix('<')) {
        (Some(rest), _) => (Bound::Above, rest),
        (_, Some(rest)) => (Bound::Below, rest),
        _ => return Err(expected),
    };
    value(rest.trim_start()).map(bound).ok_or(expected)
}

fn is_true(value: &Value) -> Result<bool, Expected> {
    if *value == Value::Boolean(true) { Ok(true) } else { Err(TRUE) }
}

/// The first rule that deletes what nobody has read, where the account does not allow that. Its own rules stand before
/// those of the defaults, which have no place in its table.
pub(super) fn unread(account_entry: &Entry, table: &Table, account: &Account) -> Option<Fault> {
    let position = account.rules.iter().position(|rule| rule.action == Action::Delete)?;
    if account.allow_delete_unread {
        return None;
    }
    let problem = Problem::Unread(position + 1);
    let own = match table.get("rules").map(|entry| &entry.value) {
        Some(Value::Array(items)) => items.get(position),
        _ => None,
    };
    let delete = match own.map(|item| &item.value) {
        Some(Value::Table(rule)) => rule.get("delete"),
        _ => None,
    };
    Some(
        delete
            .map_or_else(|| account_entry.at_key(problem.clone(), false), |entry| entry.at_key(problem.clone(), true)),
    )
}
