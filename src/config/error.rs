//! What can be wrong with files and flags, and how it is said: one line, with the place.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use super::excerpt::Excerpt;
use super::forms::{self, Expected};
use super::url;
use crate::account::{Server, Target};
use crate::failure::Kind;
use crate::os::exposure::Exposure;
use crate::text::{self, reason};

/// Why there are no accounts to fetch. Nothing has been connected to yet.
#[derive(Debug)]
pub enum Error {
    /// The configuration cannot be read.
    Unreadable {
        /// Its name.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// A folder of configurations has none.
    EmptyFolder {
        /// Its name.
        folder: String,
    },
    /// Something in the configuration is wrong.
    Mistakes {
        /// The first of them, in the order of the text; at least one.
        first: Vec<Mistake>,
        /// How many there are besides.
        more: usize,
    },
    /// Others can write the configuration, or read the password in it.
    Exposed {
        /// Its path.
        path: PathBuf,
        /// Who can, and how.
        exposure: Exposure,
        /// True when a password is the reason.
        holds_password: bool,
    },
    /// Others can exchange what is in the folder of the state.
    State {
        /// The folder.
        folder: PathBuf,
        /// How they can.
        exposure: Exposure,
    },
    /// The path behind an option makes no sense.
    Flag {
        /// The option.
        flag: &'static str,
        /// What it takes.
        expected: Expected,
    },
    /// The value behind an option makes no sense.
    Option(Problem),
    /// A URL on the command line cannot have the targets that it would have.
    Targets {
        /// The URL, in a form that may be shown.
        shown: String,
        /// What is wrong with them.
        problem: Box<Problem>,
    },
    /// A URL on the command line is wrong.
    Url {
        /// The URL, in a form that may be shown.
        shown: String,
        /// What is wrong with it.
        problem: url::Error,
    },
    /// A URL on the command line has nowhere to deliver to.
    NoTarget {
        /// The URL, in a form that may be shown.
        shown: String,
    },
    /// The command line names one maildrop twice.
    SameMaildrop {
        /// The name that comes first.
        first: String,
        /// The other one.
        second: String,
        /// The maildrop.
        maildrop: String,
    },
    /// The command line names an account that the configuration does not.
    UnknownAccount {
        /// The name as typed, in a form that may be shown.
        name: String,
        /// The configuration's names.
        files: Vec<String>,
        /// The account that was perhaps meant.
        near: Option<String>,
        /// Every account there is.
        known: Vec<String>,
    },
    /// There is nothing to fetch from: no configuration, or none with an account.
    NoAccounts {
        /// The configuration's names.
        files: Vec<String>,
    },
    /// Every account is disabled, and none was named.
    AllDisabled {
        /// The configuration's names.
        files: Vec<String>,
    },
}

/// A mistake in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The configuration's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column, in characters from 1.
    pub column: usize,
    /// What is wrong there.
    pub problem: Problem,
    /// What may be shown of the line.
    pub excerpt: Option<Excerpt>,
}

/// What is wrong at a place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The text is not what the language allows.
    Syntax(String),
    /// The text is the configuration of this program.
    Foreign(&'static str),
    /// The file is not UTF-8.
    NotUtf8,
    /// A key stands twice in one table.
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first one, where it is known.
        first: Option<usize>,
    },
    /// There is no such key.
    UnknownKey {
        /// The key.
        key: String,
        /// In which table.
        place: Place,
        /// What was perhaps meant.
        advice: Option<String>,
        /// The keys that the table may have.
        known: Vec<&'static str>,
    },
    /// The key belongs to an account and not to `[defaults]`.
    NotADefault(String),
    /// The key belongs to an account or to `[defaults]` and not to the top of the file.
    NotAtTop(String),
    /// A key has a value that it cannot have.
    Value {
        /// The key.
        key: String,
        /// The value, in a form that may be shown.
        found: String,
        /// What it may be.
        expected: Expected,
    },
    /// A text is not in quotes.
    Unquoted {
        /// The key.
        key: String,
        /// The text, where it may be shown.
        found: Option<String>,
    },
    /// The value of `url` is not a URL of ours.
    Url(url::Error),
    /// Two keys of one account say the same thing in different ways.
    Alternatives {
        /// The key that stands first.
        first: String,
        /// Its file and line, if that is another file.
        at: Option<String>,
        /// The other one.
        second: String,
        /// In which table.
        place: Place,
    },
    /// An account lacks something it needs.
    Missing {
        /// The account.
        place: Place,
        /// What it lacks.
        keys: Vec<&'static str>,
    },
    /// Two documents have a different default for a key.
    OtherDefault {
        /// The key.
        key: String,
        /// The file and the line of the first one.
        at: String,
    },
    /// A rule deletes what nobody has read, and the account does not allow it: the number of the rule.
    Unread(usize),
    /// A target is there twice.
    SameTarget(String),
    /// Another target of the account has this address and recipient, and says something else besides.
    SameServer(String),
    /// A name of the account cannot stand in the path of a target.
    Placeholder {
        /// The target, as it is written.
        target: String,
        /// What stands for the name.
        placeholder: String,
        /// The name.
        value: String,
    },
    /// This cannot be a target's name.
    TargetName(String),
    /// A key of some servers, beside a target that is none.
    OnlyForServers {
        /// The key.
        key: String,
        /// Which ones.
        servers: &'static str,
    },
    /// Two documents have an account or a target of this name.
    SameName {
        /// `account` or `target`.
        what: &'static str,
        /// The name.
        name: String,
        /// The file and the line of the first one.
        at: String,
    },
    /// This cannot be an account's name.
    AccountName(String),
    /// Two accounts fetch from one maildrop.
    SameMaildrop {
        /// The account that stands later.
        name: String,
        /// The account that stands first.
        other: String,
        /// Their maildrop.
        maildrop: String,
    },
}

/// A table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file itself.
    Top,
    /// `[defaults]`.
    Defaults,
    /// The account of that name.
    Account(String),
    /// The target of that name.
    Target(String),
    /// The table that is the value of a key.
    Key(&'static str),
    /// The command line.
    Options,
}

/// A problem, where it is in the text, and what an excerpt may show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: Range<usize>,
    pub problem: Problem,
    pub piece: Option<Piece>,
}

/// A key and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub key_at: Range<usize>,
    pub value_at: Range<usize>,
    pub value: Showing,
}

/// What an excerpt shows of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Showing {
    /// The text.
    Text,
    /// That there is something.
    Outline,
    /// That there is something which may be secret.
    Asterisks,
    /// Nothing.
    Nothing,
}

impl Fault {
    /// A problem where no key is known.
    pub fn lost(at: Range<usize>, problem: Problem) -> Self {
        Fault { at, problem, piece: None }
    }
}

const NO_PASSWORD: &str = "leave the password out; see `password_command` and `password_file`, or be asked for it";

impl Error {
    /// What to tell, one text for each mistake; an excerpt makes it several lines.
    pub fn reports(&self) -> Vec<String> {
        let Error::Mistakes { first, more } = self else { return vec![self.to_string()] };
        let report = |mistake: &Mistake| match &mistake.excerpt {
            Some(excerpt) => format!("{mistake}\n{excerpt}"),
            None => mistake.to_string(),
        };
        let rest =
            Some(*more).filter(|more| *more > 0).map(|more| format!("and {}", text::counted(more, "more mistake")));
        first.iter().map(report).chain(rest).collect()
    }

    /// The exit status that it deserves.
    pub fn kind(&self) -> Kind {
        if matches!(self, Error::Option(_) | Error::SameMaildrop { .. }) { Kind::Usage } else { Kind::Configuration }
    }

    /// The mistakes behind the first of the [`Error::reports`].
    pub fn mistakes(&self) -> &[Mistake] {
        if let Error::Mistakes { first, .. } = self { first } else { &[] }
    }

    /// What to do about it, where that is sure.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Url { problem: url::Error::Password, .. } => Some(NO_PASSWORD.to_owned()),
            Error::Mistakes { first, .. } => {
                let is_password = |mistake: &Mistake| mistake.problem == Problem::Url(url::Error::Password);
                first.iter().any(is_password).then(|| NO_PASSWORD.to_owned())
            }
            Error::Url { shown, problem: url::Error::NoUser } => {
                url::with_user(shown).map(|url| format!("write `{url}` if that is your name there"))
            }
            Error::UnknownAccount { name, .. } if forms::duration(name).is_ok() => {
                Some(format!("a duration stands behind `=`: `--keep={name}`"))
            }
            Error::UnknownAccount { name, near: None, .. } if name.contains('.') && url::host(name).is_ok() => {
                Some(format!("a server needs a user before it: `pop3s://USER@{name}`"))
            }
            Error::NoTarget { shown } => Some(format!("say where: popfetch {shown} --deliver maildir:~/Mail/inbox")),
            Error::NoAccounts { files } => files.first().map(|file| first_steps(file)),
            Error::EmptyFolder { .. } => Some(
                "write a file such as `work.toml` into it, or name a file; other endings and hidden files are not read"
                    .to_owned(),
            ),
            Error::Unreadable { file, source } if source.kind() == io::ErrorKind::NotFound => Some(first_steps(file)),
            Error::AllDisabled { .. } => Some("name an account to fetch it all the same".to_owned()),
            _ => None,
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreadable { source, .. } => Some(source),
            Error::Url { problem, .. } => Some(problem),
            Error::Flag { expected, .. } => Some(expected),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable { file, source } => write!(f, "cannot read `{file}`: {}", reason(source)),
            Error::Mistakes { first, more } => {
                let mistake = first.first().ok_or(fmt::Error)?;
                mistake.fmt(f)?;
                match first.len() - 1 + more {
                    0 => Ok(()),
                    more => write!(f, " (and {})", text::counted(more, "more mistake")),
                }
            }
            Error::Exposed { path, exposure, holds_password: true } => {
                f.write_str(&exposure.of_secret(path, "a password"))
            }
            Error::Exposed { path, exposure, holds_password: false } => {
                write!(f, "`{}` {exposure}; {}", path.display(), exposure.advice(path, false))
            }
            Error::State { folder, exposure } => {
                write!(f, "the state in `{}` {exposure}; {}", folder.display(), exposure.advice(folder, false))
            }
            Error::Flag { flag, expected } => write!(f, "`{flag}`: {expected}"),
            Error::Option(problem) => match problem {
                Problem::Value { key, expected, .. } => write!(f, "`--{}`: {expected}", key.replace('_', "-")),
                problem => problem.fmt(f),
            },
            Error::Targets { shown, problem } => write!(f, "`{shown}`: {problem}"),
            Error::Url { shown, problem } => write!(f, "`{shown}`: {problem}"),
            Error::NoTarget { shown } => write!(f, "`{shown}`: nothing says where its messages go"),
            Error::SameMaildrop { first, second, maildrop } => write!(
                f,
                "`{}` and `{}` are the same maildrop `{}`, and a run fetches a maildrop once; leave one of them out, or \
                 fetch it in a run of its own",
                shown(first),
                shown(second),
                shown(maildrop)
            ),
            Error::EmptyFolder { folder } => {
                write!(f, "there is no file in `{folder}` whose name ends in `.toml` or `.json`")
            }
            Error::UnknownAccount { name, files, near, known } => {
                write!(f, "no account `{name}` in {}", names(files))?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None if known.is_empty() => Ok(()),
                    None => write!(f, "; there are {}", names(known)),
                }
            }
            Error::NoAccounts { files } => {
                write!(f, "there is no account in {}, and none on the command line", names(files))
            }
            Error::AllDisabled { files } => write!(f, "every account in {} has `enabled = false`", names(files)),
        }
    }
}

impl Problem {
    /// The same, for whoever names the key and repeats the value.
    pub fn expected(&self) -> String {
        match self {
            Problem::Value { expected, .. } => expected.to_string(),
            other => other.to_string(),
        }
    }
}

impl Problem {
    /// Two targets of an account that are one.
    pub(super) fn same_target(one: &Target, other: &Target) -> Self {
        if differ(one, other) { Problem::SameServer(one.to_string()) } else { Problem::SameTarget(one.to_string()) }
    }
}

/// True for servers of which more is said than what they are called, and not the same.
pub(super) fn differ(one: &Target, other: &Target) -> bool {
    let said = |target: &Target| target.server().map(|server| Server { name: None, ..server.clone() });
    said(one) != said(other)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Syntax(message) => f.write_str(&text::printable(message.as_bytes())),
            Problem::Foreign(program) => {
                write!(f, "this looks like a configuration of {program}; popfetch reads TOML, see popfetch.toml(5)")
            }
            Problem::NotUtf8 => f.write_str("not UTF-8"),
            Problem::DuplicateKey { key, first } => {
                write!(f, "key `{}` stands twice", shown(key))?;
                first.map_or(Ok(()), |line| write!(f, "; first in line {line}"))
            }
            Problem::UnknownKey { key, place, advice, known } => {
                write!(f, "unknown key `{}` {place}; ", shown(key))?;
                match advice {
                    Some(advice) => f.write_str(advice),
                    None => write!(f, "expected {}", names(known)),
                }
            }
            Problem::NotADefault(key) => write!(f, "`{}` belongs to an account, not to `[defaults]`", shown(key)),
            Problem::NotAtTop(key) => {
                write!(f, "`{}` belongs to `[defaults]` or `[accounts.NAME]`, not to the top", shown(key))
            }
            Problem::Value { key, found, expected } => write!(f, "`{}` cannot be {found}; {expected}", shown(key)),
            Problem::Unquoted { key, found } => {
                write!(f, "the value of `{}` is text; put ", shown(key))?;
                match found {
                    Some(text) => write!(f, "\"{}\" in quotes", shown(text)),
                    None => f.write_str("it in quotes"),
                }
            }
            Problem::Url(problem) => problem.fmt(f),
            Problem::Alternatives { first, at, second, place } => {
                let at = at.as_ref().map(|at| format!(" of `{at}`")).unwrap_or_default();
                write!(f, "`{}`{at} and `{}` exclude each other {place}", shown(first), shown(second))
            }
            Problem::Missing { place, keys } => {
                let (last, others) = keys.split_last().ok_or(fmt::Error)?;
                match others {
                    [] => write!(f, "{last} is missing {place}"),
                    others => write!(f, "{} and {last} are missing {place}", others.join(", ")),
                }
            }
            Problem::SameMaildrop { name, other, maildrop } => write!(
                f,
                "`{}` and `{}` fetch from the same maildrop `{}`; one maildrop, one account",
                shown(other),
                shown(name),
                shown(maildrop)
            ),
            Problem::OtherDefault { key, at } => {
                write!(f, "`{}` has another value in the defaults of `{at}`; one of them has to go", shown(key))
            }
            Problem::Unread(rule) => write!(
                f,
                "rule {rule} deletes messages that no target has, which needs `allow_delete_unread = true` in the account"
            ),
            Problem::SameServer(target) => write!(
                f,
                "`{}` is the address of another target of this account, too, and what one of them has would count for both; \
                 give each a `recipient` of its own",
                shown(target)
            ),
            Problem::SameTarget(target) => {
                write!(f, "`{}` is among the targets already; each of them gets a message once", shown(target))
            }
            Problem::Placeholder { target, placeholder, value } => write!(
                f,
                "`{placeholder}` in `{}` would be `{}`, which is not the name of a file; write another name for this \
                 account",
                shown(target),
                shown(value)
            ),
            Problem::OnlyForServers { key, servers } => write!(f, "`{key}` is for targets that are {servers}"),
            Problem::TargetName(name) => {
                write!(
                    f,
                    "`{}` cannot be the name of a target; expected a word without `:`, `/` and `~`, and not a kind of target",
                    shown(name)
                )
            }
            Problem::SameName { what, name, at } => write!(f, "{what} `{}` stands in `{at}`, too", shown(name)),
            Problem::AccountName(name) => {
                write!(f, "`{}` cannot be the name of an account; expected a word without `/`", shown(name))
            }
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.problem)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top => f.write_str("at the top"),
            Place::Defaults => f.write_str("in `[defaults]`"),
            Place::Account(name) => write!(f, "in account `{}`", shown(name)),
            Place::Target(name) => write!(f, "in target `{}`", shown(name)),
            Place::Key(key) => write!(f, "in `{key}`"),
            Place::Options => f.write_str("among the options"),
        }
    }
}

/// A key or a name from the file, as short and safe as an error needs it.
fn shown(name: &str) -> String {
    text::printable_within(name.as_bytes(), 60)
}

pub(super) fn names<T: AsRef<str>>(names: &[T]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{}`", shown(name.as_ref()))).collect();
    quoted.join(", ")
}

fn first_steps(file: &str) -> String {
    format!(
        "write an account into `{file}`:\n\
         \x20     [accounts.work]\n\
         \x20     server = \"pop.example.com\"\n\
         \x20     user = \"petar\"\n\
         \x20     password_command = [\"pass\", \"show\", \"mail/work\"]\n\
         \x20     deliver = \"maildir:~/Mail/inbox\"\n\
         \x20 or fetch without one:\n\
         \x20     popfetch pop3s://petar@pop.example.com --deliver maildir:~/Mail/inbox"
    )
}
