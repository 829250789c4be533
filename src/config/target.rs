//! The key `deliver`: where messages go. A target is a string, a table of one key, or the name of a target that
//! `[targets.NAME]` defines; several stand in an array.

use std::collections::HashMap;
use std::path::PathBuf;

use super::error::{Fault, Place, Problem, names};
use super::forms::{self, Expected};
use super::keys::{self, Row, Said};
use super::paths;
use super::placeholder::{self, Unfit};
use super::settings::words;
use super::value::Value;
use crate::account::{Account, Address, Target};
use crate::deliver::FORMS;
use crate::text;

/// The keys of a target as a table; at most one may be given.
pub(super) static KEYS: &[Row<Option<Target>>] = &[
    Row::new("maildir", |target, said| said.some(target, |value| path(value).map(Target::maildir))),
    Row::new("mbox", |target, said| said.some(target, |value| path(value).map(Target::mbox))),
    Row::new("mda", |target, said| said.some(target, |value| words(value).map(Target::mda))),
];

/// The keys of `[targets.NAME]`.
pub(super) static KEYS_OF_NAMED: &[Row<Option<Written>>] = &[Row::new("deliver", |target, said| {
    *target = Some(read_one(said, None)?);
    Ok(())
})];

const TABLE: Expected = Expected::new("a table with one of `maildir`, `mbox` and `mda`");
const PATH: Expected = Expected::new("a path");
const SOME: Expected = Expected::new("an array of 1 to 32 targets");

/// The targets that have a name; `None` for one whose definition is wrong.
pub(super) type Targets = HashMap<String, Option<Written>>;

/// A target, and how it was written where that began with `~`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    target: Target,
    at_home: Option<Target>,
}

impl Written {
    /// The target of this account, at the home of its owner if that is another user.
    pub fn for_account(self, account: &Account) -> Result<Target, Problem> {
        let target = match (&account.owner, self.at_home) {
            (Some(owner), Some(target)) => paths::at_home_of(owner, target),
            _ => self.target,
        };
        let Some(path) = target.path() else { return Ok(target) };
        match placeholder::expanded(path, &account.name, &account.user) {
            Ok(path) => Ok(Target::new(target.kind(), Address::Path(path))),
            Err(Unfit { placeholder, value }) => {
                Err(Problem::Placeholder { target: target.to_string(), placeholder, value })
            }
        }
    }
}

/// True for what can be told from a target wherever it stands.
pub(super) fn is_name(text: &str) -> bool {
    let is_kind = KEYS.iter().any(|row| row.key.name == text);
    !text.is_empty() && !is_kind && !text.contains([':', '/', '~']) && !text.contains(char::is_control)
}

/// Understands the value of an account's or of the defaults' key.
pub(super) fn read(said: &Said<'_>, targets: &Targets) -> Result<Vec<Written>, Vec<Fault>> {
    let Value::Array(items) = &said.entry.value else { return Ok(vec![read_one(said, Some(targets))?]) };
    if !(1..=Target::MOST).contains(&items.len()) {
        return Err(said.wrong(SOME));
    }
    let mut written: Vec<Written> = Vec::new();
    let mut faults = Vec::new();
    for item in items {
        let entry = item.entry(&said.entry.key);
        let said = Said::of(&entry, said.paths);
        match read_one(&said, Some(targets)) {
            Ok(target) if written.iter().any(|other| paths::is_same(&other.target, &target.target)) => {
                faults.extend(said.fault(Problem::SameTarget(target.target.to_string())));
            }
            Ok(target) => written.push(target),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(written) } else { Err(faults) }
}

/// Understands one target, which may be a name where there are `targets`.
fn read_one(said: &Said<'_>, targets: Option<&Targets>) -> Result<Written, Vec<Fault>> {
    let name = said.entry.value.text();
    if let Some(targets) = targets
        && is_name(name)
    {
        let target = said.value(|_| targets.get(name).ok_or_else(|| unknown(name, targets)))?;
        return target.clone().ok_or_else(Vec::new);
    }
    let target = match &said.entry.value {
        Value::Table(_) => read_table(said)?,
        _ => said.value(|value| forms::target(value.text()))?,
    };
    // An option is about whoever types it.
    let is_at_home = paths::is_at_home(&target) && !matches!(said.entry.value, Value::Word(_));
    let at_home = Some(target.clone()).filter(|_| is_at_home);
    let target = said.paths.resolve_target(target).map_err(|expected| said.wrong(expected))?;
    Ok(Written { target, at_home })
}

fn unknown(name: &str, targets: &Targets) -> Expected {
    let mut known: Vec<_> = targets.keys().map(String::as_str).collect();
    known.sort_unstable();
    let near = text::nearest(name, known.iter().copied());
    let known = match (near, &known[..]) {
        (Some(near), _) => format!("did you mean {}?", names(&[near])),
        (None, []) => "there is no `[targets.NAME]`".to_owned(),
        (None, known) => format!("there are {}", names(known)),
    };
    Expected::with(format!("{FORMS}, or the name of a target; {known}"))
}

fn read_table(said: &Said<'_>) -> Result<Target, Vec<Fault>> {
    let table = said.table(TABLE)?;
    let mut target = None;
    let faults = keys::read(KEYS, table, &Place::Key("deliver"), said.paths, &mut target);
    match target {
        _ if table.iter().count() != 1 => Err(said.wrong(TABLE)),
        Some(target) if faults.is_empty() => Ok(target),
        _ => Err(faults),
    }
}

fn path(value: &Value) -> Result<PathBuf, Expected> {
    match value {
        Value::String(path) => placeholder::objection(path).map_or(Ok(path.into()), Err),
        _ => Err(PATH),
    }
}
