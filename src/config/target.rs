//! The key `deliver`: where messages go, as a string or as a table of one key.

use std::path::PathBuf;

use super::error::{Fault, Place};
use super::forms::{self, Expected};
use super::keys::{self, Row, Said};
use super::paths;
use super::settings::words;
use super::value::Value;
use crate::account::Target;
use crate::os::user::User;

/// The keys of the table; at most one may be given.
pub(super) static KEYS: [Row<Option<Target>>; 3] = [
    Row::new("maildir", |target, said| said.some(target, |value| path(value).map(Target::maildir))),
    Row::new("mbox", |target, said| said.some(target, |value| path(value).map(Target::mbox))),
    Row::new("mda", |target, said| said.some(target, |value| words(value).map(Target::mda))),
];

const TABLE: Expected = Expected::new("a table with one of `maildir`, `mbox` and `mda`");
const PATH: Expected = Expected::new("a path");

/// A target, and how it was written where that began with `~`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Written {
    target: Target,
    at_home: Option<Target>,
}

impl Written {
    /// The target, at the home of its owner if that is another user.
    pub fn for_owner(self, owner: Option<&User>) -> Target {
        match (owner, self.at_home) {
            (Some(owner), Some(target)) => paths::at_home_of(owner, target),
            _ => self.target,
        }
    }
}

/// Understands the value.
pub(super) fn read(said: &Said<'_>) -> Result<Written, Vec<Fault>> {
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

fn read_table(said: &Said<'_>) -> Result<Target, Vec<Fault>> {
    let table = said.table(TABLE)?;
    let mut target = None;
    let faults = keys::read(&KEYS, table, &Place::Key("deliver"), said.paths, &mut target);
    match target {
        _ if table.iter().count() != 1 => Err(said.wrong(TABLE)),
        Some(target) if faults.is_empty() => Ok(target),
        _ => Err(faults),
    }
}

fn path(value: &Value) -> Result<PathBuf, Expected> {
    match value {
        Value::String(path) => Ok(path.into()),
        _ => Err(PATH),
    }
}
