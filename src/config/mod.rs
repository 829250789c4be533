//! Files and options become [`Account`]s.
//!
//! One tree of values with their places is read from TOML and from JSON (`value`), and one declaration per key gives it
//! its meaning (`keys`, `settings`). All mistakes are reported at once, each with its line, its column and an excerpt.
//! Everything is checked here, before anybody connects, except passwords, of which only the places are known. Knows
//! nothing of networks, and writes nothing.

mod document;
mod error;
mod excerpt;
pub mod forms;
mod keys;
mod oauth2;
mod paths;
mod placeholder;
mod proxy;
mod rules;
mod settings;
mod shell;
mod shown;
mod target;
mod url;
mod value;

use std::collections::{HashMap, HashSet};
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::account::Account;
use crate::os::exposure;
use crate::text;
use document::Document;
use error::Fault;
pub use error::{Error, Mistake, Place, Problem};
pub use excerpt::Excerpt;
use forms::Expected;
pub use keys::{CONNECTION, FETCH, Flag, Key, Literal, Secrecy, Takes};
use paths::{Environment, Paths};
use settings::{Draft, Incomplete};
pub use shown::shown;
use target::{Named, Targets, Written};
pub use url::Error as UrlError;
use url::Url;
use value::{Entry, Parsed, Table, Value};

/// Where a part of the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In this file, or in the files of this folder.
    Path(PathBuf),
    /// On standard input.
    Stdin,
}

impl Source {
    /// As options and variables name it.
    pub fn named(name: PathBuf) -> Self {
        if name.as_os_str() == "-" { Source::Stdin } else { Source::Path(name) }
    }
}

/// What the options of the command line say about every account of the run: a table of the same keys, read last.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags(Table);

impl Flags {
    /// What stands behind the option of this key.
    pub fn word(&mut self, key: &str, text: impl Into<OsString>) {
        self.0.push(Entry::of_option(key, Value::Word(text.into())));
    }

    /// An option with nothing behind it.
    pub fn boolean(&mut self, key: &str, value: bool) {
        self.0.push(Entry::of_option(key, Value::Boolean(value)));
    }

    /// True when the option of this key is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|entry| &*entry.key == key)
    }

    /// Checks the text behind an option of an account's key. A target's name is looked up in the configuration later.
    pub fn check(key: &str, text: OsString) -> Result<OsString, Problem> {
        if key == "deliver" && text.to_str().is_some_and(target::is_name) {
            return Ok(text);
        }
        let mut flags = Flags::default();
        flags.word(key, text.clone());
        match flags.say(&mut Draft::new(), &Environment::of_process()) {
            None => Ok(text),
            Some(problem) => Err(problem),
        }
    }

    /// Reads them over the draft, and returns the first problem. Their paths are relative to the current folder.
    fn say(&self, draft: &mut Draft, environment: &Environment) -> Option<Problem> {
        let here = env::current_dir().unwrap_or_default();
        let paths = Paths { environment, folder: &here };
        let faults = keys::read(settings::KEYS, &self.0, &Place::Options, paths, draft);
        faults.into_iter().next().map(|fault| fault.problem)
    }
}

/// Refuses accounts of which two are one maildrop, as one of the configuration and a URL may be: a run holds its ledger
/// once.
///
/// # Errors
/// Names both.
pub fn check_distinct(accounts: &[Account]) -> Result<(), Error> {
    let mut maildrops = HashMap::new();
    for second in accounts {
        if let Some(first) = maildrops.insert(second.maildrop(), &second.name) {
            let (first, second, maildrop) = (first.clone(), second.name.clone(), second.maildrop());
            return Err(Error::SameMaildrop { first, second, maildrop });
        }
    }
    Ok(())
}

/// The folder of a Maildir that is written as `maildir:PATH`, relative to the current folder.
///
/// # Errors
/// Says what is expected instead.
pub fn maildir(text: &str) -> Result<PathBuf, String> {
    let here = env::current_dir().unwrap_or_default();
    let (environment, folder) = (&Environment::of_process(), &*here);
    let resolved = forms::target(text).and_then(|target| Paths { environment, folder }.resolve_target(target));
    let target = resolved.map_err(|expected| expected.to_string())?;
    let path = target.path().filter(|path| target == crate::account::Target::maildir(*path));
    path.map(PathBuf::from).ok_or_else(|| "expected `maildir:PATH`".to_owned())
}

/// Midnight UTC of a day such as `2026-01-31`, in seconds since 1970.
///
/// # Errors
/// Says what is expected instead.
pub fn day(text: &str) -> Result<u64, &'static str> {
    forms::day(text).ok_or("expected a day such as `2026-01-31`")
}

/// The keys of an account, in the order of the manual.
pub fn account_keys() -> impl Iterator<Item = &'static Key> {
    settings::KEYS.iter().map(|row| &row.key)
}

/// Every key of every table.
fn all_keys() -> impl Iterator<Item = &'static Key> {
    account_keys().chain(oauth2_keys()).chain(target_keys()).chain(named_target_keys()).chain(rule_keys())
}

/// The keys of a rule, besides the names of header fields.
pub fn rule_keys() -> impl Iterator<Item = &'static Key> {
    rules::KEYS.iter().map(|row| &row.key)
}

/// The keys of the table `oauth2`.
pub fn oauth2_keys() -> impl Iterator<Item = &'static Key> {
    oauth2::KEYS.iter().map(|row| &row.key)
}

/// The keys of a target that has a name.
pub fn named_target_keys() -> impl Iterator<Item = &'static Key> {
    target::KEYS_OF_NAMED.iter().map(|row| &row.key)
}

/// The keys of `deliver` as a table.
pub fn target_keys() -> impl Iterator<Item = &'static Key> {
    target::KEYS.iter().map(|row| &row.key)
}

/// The accounts to fetch, in the order of `wanted`, or every enabled one in the order of the file.
///
/// Without sources the configuration is in `$POPFETCH_CONFIG`, or in `$XDG_CONFIG_HOME/popfetch/config.toml`, which may
/// be absent when only URLs are wanted. `wanted` are names and URLs; a repeated one counts once. The whole configuration
/// is checked, whatever is wanted. Passwords are not asked for yet.
pub fn accounts(sources: &[Source], flags: &Flags, wanted: &[String]) -> Result<Vec<Account>, Error> {
    let environment = Environment::of_process();
    Configuration::read(sources, &environment, flags)?.pick(wanted)
}

/// The folder of the ledgers: that of the option, or `$XDG_STATE_HOME/popfetch`, or `~/.local/state/popfetch`. Others who
/// can exchange what is in it would decide what counts as delivered.
pub fn state_dir(flag: Option<PathBuf>) -> Result<PathBuf, Error> {
    let environment = Environment::of_process();
    let here = env::current_dir().unwrap_or_default();
    let paths = Paths { environment: &environment, folder: &here };
    let of_flag = flag.map(|flag| paths.resolve(&flag).unwrap_or_else(|_| here.join(flag)));
    let folder = of_flag.unwrap_or_else(|| environment.state_dir());
    match exposure::of_state(&folder) {
        Some(exposure) => Err(Error::State { folder, exposure }),
        None => Ok(folder),
    }
}

/// The keys of the file itself.
pub const TABLES: [&str; 3] = ["defaults", "accounts", "targets"];

const ACCOUNTS: Expected = Expected::new("tables such as `[accounts.work]`");
const TARGETS: Expected = Expected::new("tables such as `[targets.archive]`");
const TABLE: Expected = Expected::new("a table");
const NAMED: Expected =
    Expected::new("a table; the keys of an account stand below its name, such as `[accounts.work]`");

/// The most mistakes that are reported one by one.
const REPORTED: usize = 20;

/// What a configuration says, below the options.
#[derive(Debug)]
struct Configuration<'a> {
    /// Its names in errors.
    files: Vec<String>,
    is_absent: bool,
    environment: &'a Environment,
    flags: &'a Flags,
    defaults: Draft,
    accounts: Vec<Account>,
}

impl<'a> Configuration<'a> {
    fn read(sources: &[Source], environment: &'a Environment, flags: &'a Flags) -> Result<Self, Error> {
        Self::understand(&Document::all(sources, environment)?, environment, flags)
    }

    fn understand(documents: &[Document], environment: &'a Environment, flags: &'a Flags) -> Result<Self, Error> {
        let mut reader = Reader {
            documents,
            environment,
            flags,
            defaults: Draft::new(),
            accounts: Vec::new(),
            faults: Vec::new(),
            option: None,
        };
        let parsed = documents.iter().map(Document::parse).collect::<Result<Vec<_>, _>>()?;
        reader.read(parsed);
        let (defaults, accounts) = reader.finish()?;
        let files = match documents.is_empty() {
            true => vec![environment.config_file().display().to_string()],
            false => documents.iter().map(|document| document.name.clone()).collect(),
        };
        Ok(Configuration { files, is_absent: documents.is_empty(), environment, flags, defaults, accounts })
    }

    fn pick(self, wanted: &[String]) -> Result<Vec<Account>, Error> {
        if wanted.is_empty() {
            return self.enabled();
        }
        let mut picked: Vec<Account> = Vec::new();
        for typed in wanted {
            let account = if url::is_url(typed) { self.one_off(typed)? } else { self.named(typed)? };
            if !picked.iter().any(|other| other.name == account.name && other.one_off == account.one_off) {
                picked.push(account);
            }
        }
        Ok(picked)
    }

    fn enabled(self) -> Result<Vec<Account>, Error> {
        if self.accounts.is_empty() {
            return Err(Error::NoAccounts { files: self.files });
        }
        let enabled: Vec<_> = self.accounts.into_iter().filter(|account| account.enabled).collect();
        if enabled.is_empty() { Err(Error::AllDisabled { files: self.files }) } else { Ok(enabled) }
    }

    fn named(&self, name: &str) -> Result<Account, Error> {
        if self.is_absent {
            return Err(Error::Unreadable { file: self.files.concat(), source: Errno::NOENT.into() });
        }
        let found = self.accounts.iter().find(|account| account.name == name).cloned();
        found.ok_or_else(|| self.unknown(name))
    }

    fn unknown(&self, name: &str) -> Error {
        let known: Vec<_> = self.accounts.iter().map(|account| account.name.clone()).collect();
        Error::UnknownAccount {
            name: url::redacted(name),
            files: self.files.clone(),
            near: text::nearest(name, known.iter().map(String::as_str)).map(str::to_owned),
            known,
        }
    }

    fn one_off(&self, typed: &str) -> Result<Account, Error> {
        let shown = || url::redacted(typed);
        let url = Url::parse(typed).map_err(|problem| Error::Url { shown: shown(), problem })?;
        let mut draft = self.defaults.clone();
        draft.set_url(url);
        self.flags.say(&mut draft, self.environment).map_or(Ok(()), |problem| Err(Error::Option(problem)))?;
        match draft.account(None) {
            Ok(account) => Ok(Account { enabled: true, ..account }),
            Err(Incomplete::Missing(_)) => Err(Error::NoTarget { shown: shown() }),
            Err(Incomplete::Targets(problem)) => Err(Error::Targets { shown: shown(), problem: Box::new(problem) }),
        }
    }
}

/// Reads documents as one configuration, and collects what is wrong with them.
struct Reader<'a> {
    documents: &'a [Document],
    environment: &'a Environment,
    flags: &'a Flags,
    defaults: Draft,
    accounts: Vec<Account>,
    /// Each with the number of its document.
    faults: Vec<(usize, Fault)>,
    /// What is wrong with an option.
    option: Option<Problem>,
}

impl Reader<'_> {
    fn read(&mut self, mut parsed: Vec<Parsed>) {
        for (number, parsed) in parsed.iter().enumerate() {
            self.report(number, parsed.table.iter().filter_map(not_at_top));
        }
        self.read_targets(&parsed);
        self.read_defaults(&parsed);
        self.read_accounts(&parsed);
        // What a line means that cannot be read is a guess, and what seems to be missing may stand in it.
        let documents = self.documents;
        let line = |number: usize, fault: &Fault| (number, documents[number].line_start(fault.at.start));
        let unread =
            parsed.iter().enumerate().flat_map(|(number, parsed)| parsed.faults.iter().map(move |f| (number, f)));
        let unread: HashSet<_> = unread.map(|(number, fault)| line(number, fault)).collect();
        self.faults.retain(|(number, fault)| {
            let may_be_written = !parsed[*number].is_whole && matches!(fault.problem, Problem::Missing { .. });
            !may_be_written && !unread.contains(&line(*number, fault))
        });
        for (number, parsed) in parsed.iter_mut().enumerate() {
            self.report(number, parsed.faults.drain(..));
        }
    }

    fn report(&mut self, number: usize, faults: impl IntoIterator<Item = Fault>) {
        self.faults.extend(faults.into_iter().map(|fault| (number, fault)));
    }

    fn paths(&self, number: usize) -> Paths<'_> {
        Paths { environment: self.environment, folder: &self.documents[number].folder }
    }

    /// Those of any document can be named in all.
    fn read_targets(&mut self, parsed: &[Parsed]) {
        let mut names = HashMap::new();
        let mut targets = Targets::new();
        for (number, parsed) in parsed.iter().enumerate() {
            let Some(table) = self.table_of(number, parsed.table.get("targets"), TARGETS) else { continue };
            for entry in table.iter() {
                if !self.stands_twice("target", &mut names, number, entry) {
                    targets.insert(entry.key.clone(), self.target(number, entry));
                }
            }
        }
        self.defaults = self.defaults.clone().with_targets(targets);
    }

    /// The target, unless something is wrong with it.
    fn target(&mut self, number: usize, entry: &Entry) -> Option<Written> {
        let name = entry.key.clone();
        if !target::is_name(&name) {
            self.report(number, [entry.at_key(Problem::TargetName(name.clone()), false)]);
        }
        let table = self.table_of(number, Some(entry), TABLE)?;
        let place = Place::Target(name);
        let mut named = Named::new();
        let mut faults = keys::read(target::KEYS_OF_NAMED, table, &place, self.paths(number), &mut named);
        let (target, in_vain) = named.finish(&entry.key, table);
        faults.extend(in_vain);
        self.report(number, faults);
        if !is_said("deliver", table) {
            let keys = vec![in_words("deliver")];
            self.report(number, [entry.at_key(Problem::Missing { place, keys }, false)]);
        }
        target
    }

    /// True for a name that an earlier document has, too, which is reported.
    fn stands_twice<'t>(
        &mut self,
        what: &'static str,
        names: &mut HashMap<&'t str, (usize, usize)>,
        number: usize,
        entry: &'t Entry,
    ) -> bool {
        let Some((other, at)) = names.insert(&entry.key, (number, entry.key_at.start)) else { return false };
        let (name, at) = (entry.key.clone(), self.documents[other].place(at));
        self.report(number, [entry.at_key(Problem::SameName { what, name, at }, false)]);
        true
    }

    /// Those of any document hold for the accounts of all; two that differ are a mistake.
    fn read_defaults(&mut self, parsed: &[Parsed]) {
        let mut earlier: Vec<(usize, &Entry)> = Vec::new();
        for (number, parsed) in parsed.iter().enumerate() {
            let Some(table) = self.table_of(number, parsed.table.get("defaults"), TABLE) else { continue };
            let mut draft = self.defaults.clone();
            let faults = keys::read(settings::KEYS, table, &Place::Defaults, self.paths(number), &mut draft);
            self.report(number, faults);
            for entry in table.iter() {
                let clash = earlier.iter().find_map(|(other, first)| self.clash((*other, first), (number, entry)));
                self.report(number, clash);
            }
            self.defaults = draft;
            earlier.extend(table.iter().map(|entry| (number, entry)));
        }
    }

    /// What two defaults of two documents say against each other.
    fn clash(&self, (other, first): (usize, &Entry), (number, second): (usize, &Entry)) -> Option<Fault> {
        let at = self.documents[other].place(first.key_at.start);
        let is_public = keys::is_public(settings::KEYS, second);
        if first.key == second.key {
            let mut draft = self.defaults.clone();
            let table = Table::from(second.clone());
            let faults = keys::read(settings::KEYS, &table, &Place::Defaults, self.paths(number), &mut draft);
            let is_other = faults.is_empty() && draft != self.defaults;
            return is_other.then(|| second.at_key(Problem::OtherDefault { key: second.key.clone(), at }, is_public));
        }
        keys::clash(settings::KEYS, first, at, second, &Place::Defaults)
    }

    fn read_accounts(&mut self, parsed: &[Parsed]) {
        let mut names = HashMap::new();
        let mut maildrops = HashMap::new();
        for (number, parsed) in parsed.iter().enumerate() {
            let Some(table) = self.table_of(number, parsed.table.get("accounts"), ACCOUNTS) else { continue };
            for entry in table.iter() {
                if self.stands_twice("account", &mut names, number, entry) {
                    continue;
                }
                let Some(account) = self.account(number, entry) else { continue };
                // A maildrop has one ledger. Two accounts would take turns with it, and each would miss what the other
                // fetched.
                if let Some(other) = maildrops.insert(account.maildrop(), account.name.clone()) {
                    let (name, maildrop) = (account.name.clone(), account.address());
                    self.report(number, [entry.at_key(Problem::SameMaildrop { name, other, maildrop }, false)]);
                }
                self.accounts.push(account);
            }
        }
    }

    /// The account, unless something is wrong with it.
    fn account(&mut self, number: usize, entry: &Entry) -> Option<Account> {
        let name = entry.key.clone();
        // A name is also that of a file among the service manager's credentials, and it is not a URL.
        if name.is_empty() || name.contains(['/', '\0']) || name.contains(char::is_control) {
            self.report(number, [entry.at_key(Problem::AccountName(name.clone()), false)]);
        }
        let is_key = account_keys().any(|key| key.name == name);
        let table = self.table_of(number, Some(entry), if is_key { NAMED } else { TABLE })?;
        let place = Place::Account(name.clone());
        let mut draft = self.defaults.clone();
        let faults = keys::read(settings::KEYS, table, &place, self.paths(number), &mut draft);
        let is_sound = faults.is_empty();
        self.report(number, faults);
        // An option that makes no sense has been refused before, but for the name of a target that is not there.
        self.option = self.flags.say(&mut draft, self.environment).or(self.option.take());
        match draft.account(Some(name)) {
            Ok(account) => {
                let unread = rules::unread(entry, table, &account);
                let is_allowed = unread.is_none();
                self.report(number, unread);
                Some(account).filter(|_| is_sound && is_allowed)
            }
            Err(Incomplete::Targets(problem)) => {
                self.report(number, [entry.at_key(problem, false)]);
                None
            }
            Err(Incomplete::Missing(mut keys)) => {
                keys.retain(|key| !is_said(key, table));
                let keys: Vec<_> = keys.into_iter().map(in_words).collect();
                let missing = Some(keys).filter(|keys| !keys.is_empty());
                let fault = missing.map(|keys| entry.at_key(Problem::Missing { place, keys }, false));
                self.report(number, fault);
                None
            }
        }
    }

    fn table_of<'t>(&mut self, number: usize, entry: Option<&'t Entry>, expected: Expected) -> Option<&'t Table> {
        let entry = entry?;
        match &entry.value {
            Value::Table(table) => return Some(table),
            Value::Broken => {}
            value => {
                let is_public = account_keys().any(|key| key.name == entry.key && key.secrecy == Secrecy::Public);
                let found = if is_public { value.shown() } else { value.kind().to_owned() };
                let problem = Problem::Value { key: entry.key.clone(), found, expected };
                self.report(number, [entry.at_value(problem, is_public)]);
            }
        }
        None
    }

    fn finish(mut self) -> Result<(Draft, Vec<Account>), Error> {
        if self.faults.is_empty() {
            return self.option.map_or(Ok((self.defaults, self.accounts)), |problem| Err(Error::Option(problem)));
        }
        self.faults.sort_by_key(|(number, fault)| (*number, fault.at.start));
        let more = self.faults.len().saturating_sub(REPORTED);
        let first = self.faults.into_iter().take(REPORTED);
        Err(Error::Mistakes {
            first: first.map(|(number, fault)| self.documents[number].mistake(fault)).collect(),
            more,
        })
    }
}

/// True when the key stands in the table, even if its value is wrong.
fn is_said(key: &str, table: &Table) -> bool {
    table.get(key).is_some() || (key != "deliver" && table.get("url").is_some())
}

fn in_words(missing: &'static str) -> &'static str {
    match missing {
        "server" => "`server` (or `url`)",
        "user" => "`user`",
        _ => "`deliver`",
    }
}

fn not_at_top(entry: &Entry) -> Option<Fault> {
    let key = entry.key.clone();
    if TABLES.contains(&key.as_str()) {
        return None;
    }
    let problem = match account_keys().any(|known| known.name == key) {
        true => Problem::NotAtTop(key),
        false => Problem::UnknownKey { advice: table_meant(entry), key, place: Place::Top, known: TABLES.to_vec() },
    };
    Some(entry.at_key(problem, false))
}

/// A table that was meant: one with a slip in its name, or an account without `accounts`.
fn table_meant(entry: &Entry) -> Option<String> {
    if let Some(near) = text::nearest(&entry.key, TABLES) {
        return Some(format!("did you mean `{near}`?"));
    }
    let Value::Table(table) = &entry.value else { return None };
    let is_account = table.iter().any(|entry| account_keys().any(|key| key.name == entry.key));
    is_account.then(|| format!("did you mean `[accounts.{}]`?", text::printable_within(entry.key.as_bytes(), 60)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;
    use std::time::Duration;

    use crate::os::exposure::Contents;

    use crate::account::{
        Auth, Keep, MaxOctets, Order, Password, Proxy, ProxyKind, Route, Secret, Start, Target, Tls, TlsMode,
    };

    /// A home folder with a configuration in it.
    struct Home {
        folder: tempfile::TempDir,
        environment: Environment,
    }

    impl Home {
        fn empty() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let environment = Environment { home: folder.path().into(), ..Environment::default() };
            Home { folder, environment }
        }

        fn with(text: impl AsRef<[u8]>) -> Self {
            let home = Home::empty();
            home.write("config.toml", text);
            home
        }

        fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
            let path = self.path(".config/popfetch").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        fn accounts(&self, sources: &[Source], flags: &Flags, wanted: &[&str]) -> Result<Vec<Account>, Error> {
            let wanted: Vec<_> = wanted.iter().map(|name| (*name).to_owned()).collect();
            Configuration::read(sources, &self.environment, flags)?.pick(&wanted)
        }

        fn wanted(&self, wanted: &[&str]) -> Result<Vec<Account>, Error> {
            self.accounts(&[], &Flags::default(), wanted)
        }

        fn account(&self, wanted: &str) -> Account {
            let mut accounts = self.wanted(&[wanted]).unwrap_or_else(|error| panic!("{error}"));
            accounts.remove(0)
        }

        /// The error, with the home folder as `~`.
        fn refused(&self, result: Result<Vec<Account>, Error>) -> String {
            let error = result.expect_err("is accepted");
            let message = error.to_string();
            assert!(!message.contains('\n'), "more than a line: {message}");
            let reports = error.reports().concat();
            assert!(!reports.contains("canary"), "{reports}");
            message.replace(&self.folder.path().display().to_string(), "~")
        }
    }

    /// The error that a configuration is refused with, without the path before the line.
    fn refused(text: &str) -> String {
        let home = Home::with(text);
        let message = home.refused(home.wanted(&[]));
        message.strip_prefix("~/.config/popfetch/config.toml:").unwrap_or(&message).to_owned()
    }

    /// Every mistake of a configuration, without the path before the line.
    fn mistakes(text: &str) -> Vec<String> {
        let home = Home::with(text);
        let Err(Error::Mistakes { first, more }) = home.wanted(&[]) else { panic!("no mistakes in {text}") };
        assert_eq!(more, 0);
        let told = |mistake: Mistake| format!("{}:{}: {}", mistake.line, mistake.column, mistake.problem);
        first.into_iter().map(told).collect()
    }

    /// The second of two mistakes.
    fn second(text: &str) -> String {
        let mistakes = mistakes(text);
        assert_eq!(mistakes.len(), 2, "{mistakes:?}");
        mistakes[1].clone()
    }

    const WORK: &str = "[accounts.work]\nserver = \"pop.example.com\"\nuser = \"petar\"\ndeliver = \"maildir:in\"\n";

    fn work(line: &str) -> String {
        format!("{WORK}{line}\n")
    }

    fn flags<const N: usize>(said: [(&str, &str); N]) -> Flags {
        let mut flags = Flags::default();
        said.into_iter().for_each(|(key, text)| flags.word(key, text));
        flags
    }

    fn urls_to(target: &str) -> Flags {
        flags([("deliver", target)])
    }

    #[test]
    fn an_account_needs_a_server_a_user_and_a_target() {
        let home = Home::with(WORK);
        let expected = Account {
            name: "work".to_owned(),
            host: "pop.example.com".to_owned(),
            port: 995,
            route: Route::default(),
            tls: Tls::new(TlsMode::Implicit),
            user: "petar".to_owned(),
            secret: Secret::Ambient,
            auth: Auth::Auto,
            targets: vec![Target::maildir(home.path(".config/popfetch/in"))],
            keep: Keep::Forever,
            keep_newest: None,
            delete_over: None,
            all: false,
            start: Start::All,
            order: Order::Oldest,
            max_size: None,
            max_messages: None,
            max_octets: MaxOctets::default(),
            min_free: None,
            pipelining: None,
            retries: 2,
            timeout: Duration::from_secs(60),
            mda_timeout: Duration::from_secs(300),
            after: None,
            own_targets: 1,
            rules: vec![],
            filter: None,
            allow_delete_unread: false,
            owner: None,
            password_timeout: None,
            notify_every: Duration::from_secs(6 * 3600),
            enabled: true,
            one_off: false,
        };
        assert_eq!(home.wanted(&[]).unwrap(), [expected]);
    }

    #[test]
    fn octets_are_limited_for_a_run_for_a_day_or_for_both() {
        let limits = |value: &str| Home::with(work(&format!("max_octets = {value}"))).account("work").max_octets;
        let (run, day) = (Some(500 << 20), Some(1 << 30));
        assert_eq!(limits("\"500M\""), MaxOctets { per_run: run, per_day: None });
        assert_eq!(limits("\"1G/day\""), MaxOctets { per_run: None, per_day: day });
        assert_eq!(limits("[\"1G/day\", \"500M\"]"), MaxOctets { per_run: run, per_day: day });
        assert_eq!(limits("1000"), MaxOctets { per_run: Some(1000), per_day: None });
    }

    #[test]
    fn every_key_has_its_place_in_the_account() {
        let home = Home::with(work(
            "port = 1110\ntls = \"none\"\nauth = \"apop\"\nkeep = \"14d\"\nall = true\nmax_size = \"20M\"\n\
             max_messages = 100\npipelining = false\ntimeout = 30\nmda_timeout = \"2m\"\npassword_timeout = 3\ntls_ca_file = \"~/ca.pem\"\nenabled = false\n\
             password_command = [\"pass\", \"show\", \"mail\"]",
        ));
        let account = home.account("work");
        assert_eq!((account.port, account.tls.mode, account.auth), (1110, TlsMode::None, Auth::Apop));
        assert_eq!(account.tls.ca_file, Some(home.path("ca.pem")));
        assert_eq!((account.keep, account.all), (Keep::For(Duration::from_secs(14 * 86400)), true));
        assert_eq!((account.max_size, account.max_messages), (Some(20 << 20), Some(100)));
        assert_eq!(account.pipelining, Some(false));
        assert_eq!((account.timeout.as_secs(), account.mda_timeout.as_secs()), (30, 120));
        assert_eq!(account.password_timeout, Some(Duration::from_secs(3)));
        assert_eq!(account.secret, Secret::Command(["pass", "show", "mail"].map(String::from).to_vec()));
        assert!(!account.enabled);
    }

    #[test]
    fn json_says_the_same_as_toml() {
        let toml = "[defaults]\nkeep = false\n[accounts.z]\nurl = \"pop3://a@h\"\ndeliver = { mda = [\"lda\", \"-d\"] }\n\
                    [accounts.a]\nurl = \"pop3s://b@h:99\"\ndeliver = \"mbox:/m\"\npassword = \"p\"\nmax_size = 5\n";
        let json = r#"{ "defaults": { "keep": false }, "accounts": {
            "z": { "url": "pop3://a@h", "deliver": { "mda": ["lda", "-d"] } },
            "a": { "url": "pop3s://b@h:99", "deliver": "mbox:/m", "password": "p", "max_size": 5 } } }"#;
        let home = Home::with(toml);
        let by_name = [Source::Path(home.write("accounts.json", json))];
        let by_brace = [Source::Path(home.write("accounts", json))];
        let accounts = home.wanted(&[]).unwrap();
        assert_eq!(accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(), ["z", "a"]);
        assert_eq!(home.accounts(&by_name, &Flags::default(), &[]).unwrap(), accounts);
        assert_eq!(home.accounts(&by_brace, &Flags::default(), &[]).unwrap(), accounts);
    }

    #[test]
    fn accounts_are_read_over_the_defaults_and_flags_go_over_both() {
        let home =
            Home::with(format!("[defaults]\ntimeout = 5\nkeep = false\nauth = \"plain\"\n{}", work("keep = true")));
        let account = home.account("work");
        assert_eq!((account.timeout.as_secs(), account.keep, account.auth), (5, Keep::Forever, Auth::Plain));
        let mut flags = flags([("deliver", "mbox:/m"), ("timeout", "7")]);
        flags.boolean("keep", false);
        let account = home.accounts(&[], &flags, &[]).unwrap().remove(0);
        assert_eq!((account.timeout.as_secs(), account.keep), (7, Keep::Never));
        assert_eq!(account.targets, [Target::mbox("/m")]);
    }

    #[test]
    fn the_order_of_keys_and_tables_does_not_matter() {
        let home = Home::with(format!("{WORK}[defaults]\nkeep = false\n"));
        assert_eq!(home.account("work").keep, Keep::Never);
    }

    #[test]
    fn the_port_follows_the_mode_unless_it_is_written() {
        for (lines, mode, port) in [
            ("", TlsMode::Implicit, 995),
            ("tls = \"starttls\"", TlsMode::Starttls, 110),
            ("tls = \"none\"", TlsMode::None, 110),
            ("port = 110", TlsMode::Starttls, 110),
            ("port = 110\ntls = \"implicit\"", TlsMode::Implicit, 110),
            ("port = 2995", TlsMode::Implicit, 2995),
        ] {
            let account = Home::with(work(lines)).account("work");
            assert_eq!((account.tls.mode, account.port), (mode, port), "{lines}");
        }
    }

    #[test]
    fn a_flag_for_tls_moves_the_port_unless_it_is_written() {
        let home = Home::with(work(""));
        let flags = flags([("deliver", "mbox:/m"), ("tls", "none")]);
        let wanted = ["work", "pop3s://a@h", "pop3s://a@h:995", "pop3s://b@h:1995"];
        let accounts = home.accounts(&[], &flags, &wanted).unwrap();
        let ports: Vec<_> = accounts.iter().map(|account| (account.tls.mode, account.port)).collect();
        // The second URL is the same maildrop as the first.
        assert_eq!(ports, [(TlsMode::None, 110), (TlsMode::None, 110), (TlsMode::None, 1995)]);
    }

    #[test]
    fn targets_are_strings_or_tables() {
        for (written, expected) in [
            ("\"mbox:~/m\"", "mbox:~/m"),
            ("{ maildir = \"/a:b\" }", "maildir:/a:b"),
            ("{ mbox = \"x\" }", "mbox:~/.config/popfetch/x"),
            ("\"mda:~/bin/lda -d 'a b'\"", "mda:~/bin/lda -d 'a b'"),
            ("{ mda = [\"lda\", \"~\", \"%F\"] }", "mda:lda '~' '%F'"),
        ] {
            let home = Home::with(format!("[accounts.a]\nurl = \"pop3s://p@h\"\ndeliver = {written}\n"));
            let home_folder = home.folder.path().display().to_string();
            assert_eq!(home.account("a").targets[0].to_string().replace(&home_folder, "~"), expected, "{written}");
        }
    }

    #[test]
    fn an_unknown_key_is_told_with_its_place_and_its_neighbour() {
        assert_eq!(
            refused(&work("pasword = \"x\"")),
            "5:1: unknown key `pasword` in account `work`; did you mean `password`?"
        );
        assert_eq!(
            refused("[defaults]\n  timout = 3\n"),
            "2:3: unknown key `timout` in `[defaults]`; did you mean `timeout`?"
        );
        assert_eq!(refused("[account.work]\n"), "1:2: unknown key `account` at the top; did you mean `accounts`?");
        assert_eq!(
            refused("zebra = 1\n"),
            "1:1: unknown key `zebra` at the top; expected `defaults`, `accounts`, `targets`"
        );
        let elsewhere = refused("[accounts.a]\nurl = \"pop3s://p@h\"\ndeliver = { mailbox = \"x\" }\n");
        assert_eq!(elsewhere, "3:13: unknown key `mailbox` in `deliver`; expected `maildir`, `mbox`, `mda`");
    }

    #[test]
    fn a_key_in_the_wrong_table_is_told_where_it_belongs() {
        assert_eq!(refused("[defaults]\nuser = \"x\"\n"), "2:1: `user` belongs to an account, not to `[defaults]`");
        assert_eq!(
            refused("keep = true\n"),
            "1:1: `keep` belongs to `[defaults]` or `[accounts.NAME]`, not to the top"
        );
    }

    #[test]
    fn a_wrong_value_is_told_with_its_place_and_what_is_accepted() {
        const DAYS: &str =
            "`true`, `false`, or a duration such as \"14d\" or \"1d12h\" (units s, m, h, d, w), not zero";
        for (line, expected) in [
            ("keep = \"14\"", format!("8: `keep` cannot be \"14\"; expected {DAYS}")),
            ("keep = 14", format!("8: `keep` cannot be 14; expected {DAYS}")),
            ("keep = \"0d\"", format!("8: `keep` cannot be \"0d\"; expected {DAYS}")),
            ("port = 65536", "8: `port` cannot be 65536; expected an integer from 1 to 65535".into()),
            ("port = \"110\"", "8: `port` cannot be \"110\"; expected an integer from 1 to 65535".into()),
            ("tls = true", "7: `tls` cannot be true; expected `implicit`, `starttls` or `none`".into()),
            ("auth =   \"pop\"", format!("10: `auth` cannot be \"pop\"; {}", forms::auth("pop").unwrap_err())),
            ("all = \"yes\"", "7: `all` cannot be \"yes\"; expected `true` or `false`".into()),
            ("max_messages = 0", "16: `max_messages` cannot be 0; expected an integer from 1".into()),
            ("max_messages = 1.5", "16: `max_messages` cannot be a float; expected an integer from 1".into()),
            ("timeout = []", "11: `timeout` cannot be an empty array; expected seconds such as `60`, or a duration such as `90s` or `5m`, from 1s to 1d".into()),
            ("max_size = -1", "12: `max_size` cannot be -1; expected octets such as `500000`, or `20M` (k, M, G: powers of 1024), not zero".into()),
            ("tls_ca_file = \"~no such user/x\"", "15: `tls_ca_file` cannot be \"~no such user/x\"; expected a path whose `~user` stands in `/etc/passwd`".into()),
        ] {
            assert_eq!(refused(&work(line)), format!("5:{expected}"));
        }
    }

    #[test]
    fn servers_users_and_targets_are_checked() {
        for (line, expected) in [
            (
                "server = \"pop.example.com:995\"",
                "2:10: `server` cannot be \"pop.example.com:995\"; expected a host name in ASCII or an address, without port, blanks and slashes",
            ),
            (
                "user = \"petar\\r\\nDELE 1\"",
                "2:8: `user` cannot be \"petar\\x0d\\x0aDELE 1\"; expected a user name of 1 to 255 octets, without control characters",
            ),
            ("url = \"pop3s://petar@host/inbox\"", "2:7: nothing may follow the host and the port in a URL"),
            ("url = 3", "2:7: `url` cannot be an integer; expected a string such as \"pop3s://USER@HOST\""),
            (
                "deliver = \"~/Mail\"",
                "2:11: `deliver` cannot be \"~/Mail\"; expected `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, `lmtp:PATH`, `lmtp://HOST`, `smtp://HOST`, `smtps://USER@HOST`, `imaps://USER@HOST/MAILBOX` or `https://HOST/PATH`",
            ),
            (
                "deliver = { mda = [] }",
                "2:19: `mda` cannot be an empty array; expected an array of strings: the program and its arguments, such as [\"pass\", \"show\", \"mail\"]",
            ),
            (
                "deliver = { mbox = \"a\", maildir = \"b\" }",
                "2:11: `deliver` cannot be a table; expected a table with one of `maildir`, `mbox` and `mda`",
            ),
        ] {
            assert_eq!(second(&format!("[accounts.a]\n{line}\n")), expected);
        }
    }

    #[test]
    fn what_is_missing_is_told_at_the_account() {
        assert_eq!(
            refused("\n[accounts.work]\nuser = \"x\"\n"),
            "2:11: `server` (or `url`) and `deliver` are missing in account `work`"
        );
        assert_eq!(
            refused("[accounts.work]\nserver = \"x\"\n"),
            "1:11: `user` and `deliver` are missing in account `work`"
        );
        assert_eq!(refused("[accounts.work]\nurl = \"pop3s://p@h\"\n"), "1:11: `deliver` is missing in account `work`");
        assert_eq!(
            refused("accounts = 3\n"),
            "1:12: `accounts` cannot be an integer; expected tables such as `[accounts.work]`"
        );
        assert_eq!(refused("[accounts]\nwork = \"x\"\n"), "2:8: `work` cannot be that string; expected a table");
        assert_eq!(
            mistakes("[accounts.'a/b']\n")[0],
            "1:11: `a/b` cannot be the name of an account; expected a word without `/`"
        );
    }

    #[test]
    fn two_ways_to_say_the_same_exclude_each_other() {
        let twice = refused(&work("password = \"x\"\npassword_file = \"y\""));
        assert_eq!(twice, "6:1: `password` and `password_file` exclude each other in account `work`");
        assert_eq!(
            refused(&work("url = \"pop3s://p@h\"")),
            "5:1: `server` and `url` exclude each other in account `work`"
        );
        let later = second("[accounts.a]\nurl = \"pop3s://p@h\"\ntls = \"none\"\n");
        assert_eq!(later, "3:1: `url` and `tls` exclude each other in account `a`");
    }

    #[test]
    fn a_route_has_its_keys() {
        let route = |line: &str| Home::with(work(line)).account("work").route;
        let words = ["ssh", "relay", "-W", "%h:%p"].map(String::from).to_vec();
        assert_eq!(route("tunnel = [\"ssh\", \"relay\", \"-W\", \"%h:%p\"]"), Route::Tunnel(words));
        assert_eq!(route("socket = \"/run/pop3\""), Route::Socket("/run/pop3".into()));
        let login = Some(("petar".to_owned(), Password::new("secret")));
        let proxy = Proxy { kind: ProxyKind::Socks5, host: "h".to_owned(), port: 1080, login };
        let source = Some([192, 0, 2, 1].into());
        let both = route("proxy = \"socks5://petar:secret@h:1080\"\nsource_address = \"192.0.2.1\"");
        assert_eq!(both, Route::Tcp { source, proxy: Some(proxy) });
    }

    #[test]
    fn an_account_has_one_route_and_leaves_that_of_the_defaults() {
        for (line, keys) in [
            ("tunnel = [\"a\"]\nsocket = \"/s\"", "`tunnel` and `socket`"),
            ("proxy = \"http://h:1\"\ntunnel = [\"a\"]", "`proxy` and `tunnel`"),
            ("socket = \"/s\"\nsource_address = \"::1\"", "`socket` and `source_address`"),
        ] {
            assert_eq!(refused(&work(line)), format!("6:1: {keys} exclude each other in account `work`"));
        }
        let defaults = "[defaults]\nproxy = \"http://h:1\"\n";
        let home = Home::with(format!("{defaults}{}", work("socket = \"/s\"")));
        assert_eq!(home.account("work").route, Route::Socket("/s".into()));
        assert_eq!(
            refused(&work("source_address = \"here\"")),
            "5:18: `source_address` cannot be \"here\"; expected an address of this machine such as \"192.0.2.1\" or \"2001:db8::1\""
        );
    }

    #[test]
    fn the_url_of_an_account_is_stronger_than_a_default() {
        let home =
            Home::with("[defaults]\ntls = \"none\"\ndeliver = \"mbox:/m\"\n[accounts.a]\nurl = \"pop3s://p@h\"\n");
        assert_eq!(home.account("a").tls.mode, TlsMode::Implicit);
        assert_eq!(home.account("pop3://p@other").tls.mode, TlsMode::Starttls);
    }

    #[test]
    fn mistakes_of_syntax_and_repetitions_are_told_in_one_line() {
        assert_eq!(refused("[accounts.work\n"), "1:15: not TOML: unclosed table, expected `]`");
        assert_eq!(refused(&work("user = \"x\"")), "5:1: key `user` stands twice; first in line 3");
        assert_eq!(refused("{\n \"accounts\": {,} }"), "2:15: not JSON: key must be a string");
        assert_eq!(
            second("{\"accounts\": {\"é\": {\"user\": 1}}}"),
            "1:29: `user` cannot be 1; expected a user name of 1 to 255 octets, without control characters"
        );
        assert_eq!(
            second("{\"accounts\": {\"a\": {\n  \"usr\": 1}}}"),
            "2:3: unknown key `usr` in account `a`; did you mean `user`?"
        );
    }

    #[test]
    fn a_column_counts_characters_and_a_mark_at_the_beginning_none() {
        assert_eq!(
            second("accounts.'ä'.user = 1"),
            "1:21: `user` cannot be 1; expected a user name of 1 to 255 octets, without control characters"
        );
        assert_eq!(
            refused("\u{feff}zebra = 1"),
            "1:1: unknown key `zebra` at the top; expected `defaults`, `accounts`, `targets`"
        );
    }

    #[test]
    fn every_prefix_of_a_configuration_has_an_answer_without_the_secret() {
        let toml = "[accounts.é]\nurl = \"pop3s://p@h\"\npassword = \"canary\\u00e9\"\nkeep = false # é\n";
        let json = "{\"accounts\": {\"é\": {\"password\": \"canary\\u00e9\", \"port\": 1, \"keep\": [null, 1.5e3]}}} ";
        for text in [toml, json] {
            for cut in 0..text.len() {
                let home = Home::with(&text.as_bytes()[..cut]);
                let message = home.refused(home.wanted(&[]));
                assert!(!message.contains("canary"), "{message}");
            }
        }
    }

    #[test]
    fn what_the_table_calls_secret_is_not_shown_and_not_for_others() {
        let not_public: Vec<_> = account_keys().filter(|key| key.secrecy != Secrecy::Public).collect();
        assert!(not_public.len() > 5, "{not_public:?}");
        for key in not_public {
            for value in ["\"canary\\n\"", "[\"canary\", 1]", "canary", "\"canary\" x", "{ x = \"canary\" }"] {
                let home = Home::with(work(&format!("{} = {value}", key.name)));
                let reports = home.wanted(&[]).map_or_else(|error| error.reports().concat(), |_| String::new());
                assert!(!reports.contains("canary"), "{reports}");
            }
        }
        for key in all_keys().filter(|key| key.secrecy == Secrecy::Secret) {
            let home = Home::with(work(&format!("{} = \"canary\"", key.name)));
            let path = home.path(".config/popfetch/config.toml");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let message = home.refused(home.wanted(&[]));
            assert!(message.contains("holds a password but is open to others"), "{}: {message}", key.name);
        }
    }

    #[test]
    fn no_slip_of_the_finger_shows_the_secret() {
        let toml = "[accounts.work]\nuser = \"petar\" # me\npassword = \"canary\"\ntunnel = [\"a\", \"b\"]\n\
                    oauth2 = { client_secret = \"canary\", flow = 1 }\nport = \"x\"\n[defaults]\nserver = \"x\"\n";
        let json = "{\"accounts\": {\"work\": {\"user\": 1,\n\"password\": \"canary\", \"port\": [1, \"x\"],\n\
                    \"proxy\": \"http://a:canary@h:1\"}}}";
        let (environment, flags) = (Environment::default(), Flags::default());
        let reports_of = |name: &str, text: &str| {
            let contents = Contents { octets: text.as_bytes().to_vec().into(), exposure: None };
            let document = Document::new(name.to_owned(), Path::new("/c"), contents).unwrap();
            Configuration::understand(&[document], &environment, &flags)
                .map_or_else(|error| error.reports(), |_| vec![])
        };
        for (name, text) in [("c.toml", toml), ("c.json", json)] {
            for at in 0..text.len() {
                let inserted = "\"'\n=#]{,".chars().map(|slip| format!("{}{slip}{}", &text[..at], &text[at..]));
                let removed = [1, 2].map(|count| format!("{}{}", &text[..at], &text[text.len().min(at + count)..]));
                for slip in inserted.chain(removed).filter(|text| text.contains("canary")) {
                    let reports = reports_of(name, &slip).concat();
                    assert!(!reports.contains("canary"), "{slip}\n{reports}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let home = Home::with(b"# ok\n# \xff\n");
        assert_eq!(home.refused(home.wanted(&[])), "~/.config/popfetch/config.toml:2:3: not UTF-8");
        let absent = [Source::Path(home.path("absent.toml"))];
        let message = home.refused(home.accounts(&absent, &Flags::default(), &["pop3s://p@h"]));
        assert_eq!(message, "cannot read `~/absent.toml`: no such file or directory");
    }

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let home = Home::with(work("password = \"canary\""));
        let path = home.path(".config/popfetch/config.toml");
        assert_eq!(home.account("work").secret, Secret::Literal(Password::new("canary")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let message = home.refused(home.wanted(&[]));
        assert_eq!(
            message,
            "`~/.config/popfetch/config.toml` holds a password but is open to others (mode 0644); \
             run `chmod 600 ~/.config/popfetch/config.toml`"
        );
        fs::write(&path, work("password_command = [\"pass\"]")).unwrap();
        assert!(home.wanted(&[]).is_ok(), "a command is no secret");
    }

    #[test]
    fn no_error_repeats_a_secret() {
        for line in [
            "password = \"canary\\n\"",
            "password = [\"canary\"]",
            "password = \"canary",
            "password = canary",
            "password = \"canary\"\npassword = \"canary\"",
            "password = \"canary\"\npassword_file = \"canary\"",
            "password_command = \"canary\"",
            "password_command = [3, \"canary\"]",
            "password_file = \"~canary/x\"",
            "url = \"pop3s://petar:canary@host\"",
            "url = \"pop3s://petar:canary\"",
            "url = [\"pop3s://petar:canary@host\"]",
            "url = \"pop3s://petar@host:canary\"",
            "proxy = \"http://petar:canary@host\"",
            "proxy = [\"http://petar:canary@host:1\"]",
            "tls_client_identity_password = \"canary\\n\"",
        ] {
            let message = refused(&work(line));
            assert!(!message.contains("canary"), "{message}");
        }
        let home = Home::with(work("password = \"canary\""));
        assert!(!format!("{:?}", home.account("work")).contains("canary"));
        for wanted in ["pop3s://petar:canary@host", "petar:canary@host", "pop3s://host:canary", "http://p:canary@h"] {
            let error = home.wanted(&[wanted]).unwrap_err();
            assert!(!format!("{error} {error:?} {:?}", error.hint()).contains("canary"), "{error:?}");
        }
    }

    #[test]
    fn a_url_needs_no_file_but_a_target() {
        let home = Home::empty();
        let account = home.accounts(&[], &urls_to("maildir:~/in"), &["pop3://petar%40x@h"]).unwrap().remove(0);
        assert_eq!((account.name.as_str(), account.user.as_str()), ("petar@x@h", "petar@x"));
        assert_eq!(account.targets, [Target::maildir(home.path("in"))]);
        assert!(account.one_off);
        assert_eq!(home.refused(home.wanted(&["pop3s://p@h"])), "`pop3s://p@h`: nothing says where its messages go");
        let message = home.refused(home.wanted(&["pop3s://p:x@h"]));
        assert_eq!(message, "`pop3s://p:****@h`: a password does not belong in a URL, where others can see it");
    }

    #[test]
    fn the_defaults_are_for_urls_too() {
        let home = Home::with("[defaults]\ndeliver = \"mbox:/m\"\nenabled = false\nmax_messages = 3\n");
        let account = home.account("pop3s://p@h");
        assert_eq!((account.targets, account.max_messages, account.enabled), (vec![Target::mbox("/m")], Some(3), true));
    }

    #[test]
    fn what_is_wanted_runs_once_in_its_order_and_even_if_disabled() {
        let home = Home::with(
            "[defaults]\ndeliver = \"mbox:/m\"\n[accounts.b]\nurl = \"pop3s://b@h\"\n[accounts.a]\n\
             url = \"pop3s://a@h\"\nenabled = false\n",
        );
        let names = |wanted: &[&str]| -> Vec<String> {
            home.wanted(wanted).unwrap().into_iter().map(|account| account.name).collect()
        };
        assert_eq!(names(&[]), ["b"]);
        assert_eq!(names(&["a", "b", "a"]), ["a", "b"]);
        assert_eq!(names(&["pop3s://x@h", "b", "pop3://x@h", "pop3s://x@h:1"]), ["x@h", "b", "x@h:1"]);
    }

    #[test]
    fn an_account_that_is_not_there_is_told_with_those_that_are() {
        let home = Home::with(WORK);
        assert_eq!(
            home.refused(home.wanted(&["wrok"])),
            "no account `wrok` in `~/.config/popfetch/config.toml`; did you mean `work`?"
        );
        assert_eq!(
            home.refused(home.wanted(&["zebra"])),
            "no account `zebra` in `~/.config/popfetch/config.toml`; there are `work`"
        );
        let home = Home::empty();
        assert_eq!(
            home.refused(home.wanted(&["work"])),
            "cannot read `~/.config/popfetch/config.toml`: no such file or directory"
        );
    }

    #[test]
    fn nothing_to_fetch_is_told_with_the_first_steps() {
        let home = Home::empty();
        let error = home.wanted(&[]).unwrap_err();
        let hint = error.hint().unwrap();
        assert!(hint.contains(".config/popfetch/config.toml") && hint.contains("--deliver"), "{hint}");
        assert_eq!(
            home.refused(Err(error)),
            "there is no account in `~/.config/popfetch/config.toml`, and none on the command line"
        );
        let disabled = refused(&work("enabled = false"));
        assert_eq!(disabled, "every account in `~/.config/popfetch/config.toml` has `enabled = false`");
    }

    #[test]
    fn a_relative_password_file_is_a_credential_if_there_is_one() {
        let mut home = Home::with(work("password_file = \"mail\""));
        assert_eq!(home.account("work").secret, Secret::File(home.path(".config/popfetch/mail")));
        home.environment.credentials.0 = Some(home.path("credentials"));
        assert_eq!(home.account("work").secret, Secret::File(home.path(".config/popfetch/mail")));
        fs::create_dir(home.path("credentials")).unwrap();
        fs::write(home.path("credentials/mail"), "x").unwrap();
        assert_eq!(home.account("work").secret, Secret::File(home.path("credentials/mail")));
    }

    #[test]
    fn paths_in_flags_are_relative_to_the_current_folder() {
        let here = env::current_dir().unwrap();
        let home = Home::empty();
        let account = home.accounts(&[], &urls_to("maildir:in"), &["pop3s://p@h"]).unwrap().remove(0);
        assert_eq!(account.targets, [Target::maildir(here.join("in"))]);
        assert_eq!(state_dir(Some(Path::new("state").into())).unwrap(), here.join("state"));
        assert!(state_dir(None).unwrap().is_absolute());
    }

    #[test]
    fn folders_follow_the_xdg_variables() {
        let mut environment = Environment { home: "/h".into(), ..Environment::default() };
        assert_eq!(environment.config_file(), Path::new("/h/.config/popfetch/config.toml"));
        assert_eq!(environment.state_dir(), Path::new("/h/.local/state/popfetch"));
        environment.config_home = Some("/c".into());
        environment.state_home = Some("/s".into());
        assert_eq!(environment.config_file(), Path::new("/c/popfetch/config.toml"));
        assert_eq!(environment.state_dir(), Path::new("/s/popfetch"));
    }
}
