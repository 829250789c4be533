//! What is known of a key, in one declaration: its name, where it may stand, what it excludes, whether it is a secret,
//! its default, its flag, and how it is read.
//!
//! `[defaults]`, an account and the options of the command line are three tables of the same keys, read one over the
//! other into one draft. Knows no key itself: `settings`, `target` and `oauth2` declare them.

use std::fmt;
use std::path::Path;

use super::error::{Fault, Place, Problem};
use super::forms::Expected;
use super::paths::{Environment, Paths};
use super::value::{Entry, Table, Value};
use crate::text;

/// All that is known of a key, but for what it does.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// True for a key that says which maildrop it is, and so cannot be a default.
    pub is_of_account: bool,
    /// Of the keys of one group at most one may stand in a table.
    pub group: Option<&'static str>,
    /// Other keys that it must not stand beside.
    pub excludes: &'static [&'static str],
    /// What of its value may be shown.
    pub secrecy: Secrecy,
    /// The value where it is not given.
    pub default: Option<Literal>,
    /// True when another key can change the default.
    pub is_default_conditional: bool,
    /// The words that it takes, where they are few.
    pub words: &'static [&'static str],
    /// Its names in other programs.
    pub elsewhere: &'static [&'static str],
    /// Names in other programs, and the value that says the same here.
    pub instead_of: &'static [(&'static str, &'static str)],
    /// The option that says the same.
    pub flag: Option<Flag>,
}

/// What of the value of a key may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Public,
    /// Nothing: it may hold a secret by mistake.
    Hidden,
    /// Nothing: it is a secret, and others must not be able to read its file.
    Secret,
    /// Nothing; the same as a secret when it has an `@`, which ends a login.
    Login,
}

/// A default, as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Literal {
    /// `true`
    Boolean(bool),
    /// `60`
    Integer(i64),
    /// `"auto"`
    Text(&'static str),
}

/// The option of a key.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Its name, without `--`.
    pub name: &'static str,
    /// What stands behind it.
    pub takes: Takes,
    /// A line for the help.
    pub help: &'static str,
    /// The part of the help that it belongs to.
    pub heading: &'static str,
    /// A second option that says `false`, and its line.
    pub negation: Option<(&'static str, &'static str)>,
}

/// What stands behind an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing: the option says `true`.
    Nothing,
    /// A value; the word for it in the help.
    Value(&'static str),
    /// A value behind `=`, or nothing for `true`; the word for it in the help.
    Perhaps(&'static str),
}

/// The heading of options about messages.
pub const FETCH: &str = "What to fetch, and what then";

/// The heading of options about the server.
pub const CONNECTION: &str = "Connection";

/// As the configuration writes it.
impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Boolean(value) => value.fmt(f),
            Literal::Integer(value) => value.fmt(f),
            Literal::Text(value) => write!(f, "\"{value}\""),
        }
    }
}

impl From<Literal> for Value {
    fn from(literal: Literal) -> Self {
        match literal {
            Literal::Boolean(value) => Value::Boolean(value),
            Literal::Integer(value) => Value::Integer(value),
            Literal::Text(value) => Value::String(value.to_owned()),
        }
    }
}

impl Key {
    /// True for what this key or a login in it keeps from other readers of the file.
    pub(super) fn is_secret(&self, value: &Value) -> bool {
        match self.secrecy {
            // The other texts of a table are elsewhere.
            Secrecy::Secret => {
                !matches!(value, Value::Table(table) if table.iter().all(|entry| entry.value.text().is_empty()))
            }
            Secrecy::Login => value.text().contains('@'),
            Secrecy::Public | Secrecy::Hidden => false,
        }
    }

    fn may_be_default(&self, value: &Value) -> bool {
        !self.is_default_conditional && self.default.is_some_and(|default| Value::from(default) == *value)
    }

    fn excludes(&self, other: &Key) -> bool {
        let share_a_group = self.group.is_some() && self.group == other.group;
        share_a_group || self.excludes.contains(&other.name) || other.excludes.contains(&self.name)
    }
}

/// How a value goes into a draft of type `D`.
type Read<D> = fn(&mut D, &Said<'_>) -> Result<(), Vec<Fault>>;

/// The declaration of a key, and what it does to a draft of type `D`.
#[derive(Debug)]
pub(super) struct Row<D> {
    pub key: Key,
    read: Read<D>,
}

impl<D> Row<D> {
    pub const fn new(name: &'static str, read: Read<D>) -> Self {
        let key = Key {
            name,
            is_of_account: false,
            group: None,
            excludes: &[],
            secrecy: Secrecy::Public,
            default: None,
            is_default_conditional: false,
            words: &[],
            elsewhere: &[],
            instead_of: &[],
            flag: None,
        };
        Row { key, read }
    }

    pub const fn of_account(mut self) -> Self {
        self.key.is_of_account = true;
        self
    }

    pub const fn one_of(mut self, group: &'static str) -> Self {
        self.key.group = Some(group);
        self
    }

    pub const fn excludes(mut self, keys: &'static [&'static str]) -> Self {
        self.key.excludes = keys;
        self
    }

    pub const fn is(mut self, secrecy: Secrecy) -> Self {
        self.key.secrecy = secrecy;
        self
    }

    pub const fn or(mut self, default: Literal) -> Self {
        self.key.default = Some(default);
        self
    }

    /// A default for the documents: another key can change it, so that it is not read.
    pub const fn mostly(mut self, default: Literal) -> Self {
        self.key.default = Some(default);
        self.key.is_default_conditional = true;
        self
    }

    pub const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.key.words = words;
        self
    }

    pub const fn elsewhere(mut self, names: &'static [&'static str]) -> Self {
        self.key.elsewhere = names;
        self
    }

    pub const fn instead_of(mut self, names: &'static [(&'static str, &'static str)]) -> Self {
        self.key.instead_of = names;
        self
    }

    pub const fn flag(mut self, heading: &'static str, name: &'static str, takes: Takes, help: &'static str) -> Self {
        self.key.flag = Some(Flag { name, takes, help, heading, negation: None });
        self
    }

    /// Adds an option that says `false`.
    pub const fn negation(mut self, name: &'static str, help: &'static str) -> Self {
        if let Some(flag) = &mut self.key.flag {
            flag.negation = Some((name, help));
        }
        self
    }
}

/// A key with a value, as its declaration reads it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    pub entry: &'a Entry,
    pub paths: Paths<'a>,
    secrecy: Secrecy,
}

impl<'a> Said<'a> {
    /// An entry whose value may be shown.
    pub fn of(entry: &'a Entry, paths: Paths<'a>) -> Self {
        Said { entry, paths, secrecy: Secrecy::Public }
    }

    /// The value, as `parse` understands it.
    pub fn value<T>(&self, parse: impl FnOnce(&Value) -> Result<T, Expected>) -> Result<T, Vec<Fault>> {
        match &self.entry.value {
            // What is wrong with it has been reported.
            Value::Broken => Err(Vec::new()),
            Value::Bare(text) => match parse(&Value::String(text.clone())) {
                Ok(_) => Err(vec![self.unquoted(text)]),
                Err(expected) => Err(self.wrong(expected)),
            },
            value => parse(value).map_err(|expected| self.wrong(expected)),
        }
    }

    /// Puts the value where it belongs.
    pub fn set<T>(&self, slot: &mut T, parse: impl FnOnce(&Value) -> Result<T, Expected>) -> Result<(), Vec<Fault>> {
        *slot = self.value(parse)?;
        Ok(())
    }

    /// [`Said::set`] for what may be absent.
    pub fn some<T>(
        &self,
        slot: &mut Option<T>,
        parse: impl FnOnce(&Value) -> Result<T, Expected>,
    ) -> Result<(), Vec<Fault>> {
        *slot = Some(self.value(parse)?);
        Ok(())
    }

    /// The table of further keys that is the value.
    pub fn table(&self, expected: Expected) -> Result<&'a Table, Vec<Fault>> {
        match &self.entry.value {
            Value::Table(table) => Ok(table),
            Value::Broken => Err(Vec::new()),
            _ => Err(self.wrong(expected)),
        }
    }

    /// The value is none of this key's.
    pub fn wrong(&self, expected: Expected) -> Vec<Fault> {
        let found = match self.is_public() {
            true => self.entry.value.shown(),
            false => self.entry.value.kind().to_owned(),
        };
        self.fault(Problem::Value { key: self.entry.key.clone(), found, expected })
    }

    /// Something is wrong with the value.
    pub fn fault(&self, problem: Problem) -> Vec<Fault> {
        vec![self.entry.at_value(problem, self.is_public())]
    }

    fn unquoted(&self, text: &str) -> Fault {
        let found = Some(text).filter(|_| self.is_public() && !self.entry.value.may_hold_login()).map(str::to_owned);
        self.entry.at_value(Problem::Unquoted { key: self.entry.key.clone(), found }, self.is_public())
    }

    fn is_public(&self) -> bool {
        self.secrecy == Secrecy::Public
    }
}

/// Reads a table over the draft, and returns all that is wrong in it.
pub(super) fn read<D>(
    rows: &'static [Row<D>],
    table: &Table,
    place: &Place,
    paths: Paths<'_>,
    draft: &mut D,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut known: Vec<(&Key, &Entry)> = Vec::new();
    for entry in table.iter() {
        let result = match row(rows, &entry.key) {
            None => Err(vec![unknown(rows, entry, place)]),
            Some(row) if row.key.is_of_account && *place == Place::Defaults => {
                Err(vec![entry.at_key(Problem::NotADefault(entry.key.clone()), row.key.secrecy == Secrecy::Public)])
            }
            Some(row) => {
                known.push((&row.key, entry));
                row.say(draft, entry, paths)
            }
        };
        faults.extend(result.err().into_iter().flatten());
    }
    for (position, second) in known.iter().enumerate() {
        if let Some((_, first)) = known[..position].iter().find(|first| are_alternatives(first, second)) {
            faults.push(alternatives(first, None, second.1, second.0, place));
        }
    }
    faults
}

impl<D> Row<D> {
    fn say(&self, draft: &mut D, entry: &Entry, paths: Paths<'_>) -> Result<(), Vec<Fault>> {
        (self.read)(draft, &Said { entry, paths, secrecy: self.key.secrecy })
    }
}

/// The declaration of a key.
pub(super) fn row<D>(rows: &'static [Row<D>], name: &str) -> Option<&'static Row<D>> {
    rows.iter().find(|row| row.key.name == name)
}

/// What two tables that are read as one say against each other: keys of which only one may be given. `at` is where the
/// first one is.
pub(super) fn clash<D>(
    rows: &'static [Row<D>],
    first: &Entry,
    at: String,
    second: &Entry,
    place: &Place,
) -> Option<Fault> {
    let (one, other) = (&row(rows, &first.key)?.key, &row(rows, &second.key)?.key);
    are_alternatives(&(one, first), &(other, second)).then(|| alternatives(first, Some(at), second, other, place))
}

/// True for two keys of which only one may be given. A key with its default changes nothing, and excludes nothing.
fn are_alternatives((one, first): &(&Key, &Entry), (other, second): &(&Key, &Entry)) -> bool {
    one.name != other.name
        && one.excludes(other)
        && !one.may_be_default(&first.value)
        && !other.may_be_default(&second.value)
}

fn alternatives(first: &Entry, at: Option<String>, second: &Entry, key: &Key, place: &Place) -> Fault {
    let problem =
        Problem::Alternatives { first: first.key.clone(), at, second: second.key.clone(), place: place.clone() };
    second.at_key(problem, key.secrecy == Secrecy::Public)
}

/// True when an excerpt may show the value.
pub(super) fn is_public<D>(rows: &'static [Row<D>], entry: &Entry) -> bool {
    row(rows, &entry.key).is_some_and(|row| row.key.secrecy == Secrecy::Public)
}

pub(super) fn unknown<D>(rows: &'static [Row<D>], entry: &Entry, place: &Place) -> Fault {
    let is_allowed = |key: &Key| !(key.is_of_account && *place == Place::Defaults);
    let known: Vec<_> = rows.iter().map(|row| row.key).filter(is_allowed).collect();
    let advice = meant(&entry.key, &known);
    let known = known.iter().map(|key| key.name).collect();
    entry.at_key(Problem::UnknownKey { key: entry.key.clone(), place: place.clone(), advice, known }, false)
}

/// What was meant by a name: a slip, or the name of another program's key.
pub(super) fn meant(typed: &str, known: &[Key]) -> Option<String> {
    let question = |word: &str| format!("did you mean `{word}`?");
    let name = typed.to_ascii_lowercase().replace('-', "_");
    let is_name = |key: &&Key| key.name == name || key.elsewhere.contains(&name.as_str());
    if let Some(key) = known.iter().find(is_name) {
        return Some(question(key.name));
    }
    let instead = known.iter().find_map(|key| Some((key, key.instead_of.iter().find(|(other, _)| *other == name)?)));
    if let Some((key, (_, value))) = instead {
        return Some(question(&format!("{} = {value}", key.name)));
    }
    let no_key = NO_KEYS.iter().find(|(names, _)| names.contains(&name.as_str()));
    let advice = no_key.map(|(_, advice)| (*advice).to_owned());
    advice.or_else(|| text::nearest(typed, known.iter().map(|key| key.name)).map(question))
}

/// Keys of other programs that no key here stands for.
const NO_KEYS: [(&[&str], &str); 6] = [
    (
        &["interval", "poll", "poll_interval", "daemon", "cron", "schedule", "refresh", "every"],
        "popfetch runs once; cron or a systemd timer starts it again",
    ),
    (&["protocol", "proto", "type"], "popfetch knows POP3 alone"),
    (
        &["preconnect", "postconnect", "before", "after", "hook", "filter"],
        "popfetch runs no program before or after a fetch; a script can",
    ),
    (&["smtphost", "smtp", "lmtp"], "`deliver` names a mail server: `smtp://HOST`, `smtps://USER@HOST` or `lmtp:PATH`"),
    (&["idfile", "uidls_file", "cache", "state", "state_dir"], "the option `--state-dir` says where the state is kept"),
    (
        &["verbose", "quiet", "json", "jobs", "log", "logfile", "syslog"],
        "only an option of the command line can say this",
    ),
];

/// A draft in which every key has its default.
pub(super) fn defaults<D>(rows: &'static [Row<D>], mut draft: D) -> D {
    let environment = Environment::default();
    let paths = Paths { environment: &environment, folder: Path::new("/") };
    for row in rows {
        let Some(default) = row.key.default.filter(|_| !row.key.is_default_conditional) else { continue };
        let entry = Entry::of_option(row.key.name, default.into());
        row.say(&mut draft, &entry, paths).expect("a default is a value of its key");
    }
    draft
}
