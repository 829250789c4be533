//! What can be wrong with files and flags, and how it is said: one line, with the place.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::forms::Expected;
use super::url;
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
    /// Something in the configuration is wrong.
    At {
        /// The configuration's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The column, in characters from 1.
        column: usize,
        /// What is wrong there.
        problem: Problem,
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
    /// The path behind a flag makes no sense.
    Flag {
        /// The flag.
        flag: &'static str,
        /// What it takes.
        expected: Expected,
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
    /// The command line names an account that the configuration does not.
    UnknownAccount {
        /// The name as typed, in a form that may be shown.
        name: String,
        /// The configuration's name.
        file: String,
        /// The account that was perhaps meant.
        near: Option<String>,
        /// Every account there is.
        known: Vec<String>,
    },
    /// There is nothing to fetch from: no configuration, or none with an account.
    NoAccounts {
        /// The configuration's name.
        file: String,
    },
    /// Every account is disabled, and none was named.
    AllDisabled {
        /// The configuration's name.
        file: String,
    },
}

/// What is wrong at a place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The text is not what the language allows.
    Syntax(String),
    /// The file is not UTF-8.
    NotUtf8,
    /// A key stands twice in one table.
    DuplicateKey(String),
    /// There is no such key.
    UnknownKey {
        /// The key.
        key: String,
        /// In which table.
        place: Place,
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
    /// The value of `url` is not a URL of ours.
    Url(url::Error),
    /// Two keys of one account say the same thing in different ways.
    Alternatives {
        /// The key that stands first.
        first: String,
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
        keys: &'static str,
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
    /// The table that is the value of a key.
    Key(&'static str),
}

/// A problem and its offset in the text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub problem: Problem,
}

impl Error {
    /// Never: what is wrong with a configuration stays wrong until somebody mends it.
    pub fn is_transient(&self) -> bool {
        false
    }

    /// What to do about it, where that is sure.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Url { problem: url::Error::Password, .. }
            | Error::At { problem: Problem::Url(url::Error::Password), .. } => Some(
                "leave the password out; see `password_command` and `password_file`, or be asked for it".to_owned(),
            ),
            Error::Url { shown, problem: url::Error::NoUser } => {
                url::with_user(shown).map(|url| format!("write `{url}` if that is your name there"))
            }
            Error::NoTarget { shown } => Some(format!("say where: popfetch {shown} --deliver maildir:~/Mail/inbox")),
            Error::NoAccounts { file } => Some(first_steps(file)),
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
            Error::At { file, line, column, problem } => write!(f, "{file}:{line}:{column}: {problem}"),
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
            Error::Url { shown, problem } => write!(f, "`{shown}`: {problem}"),
            Error::NoTarget { shown } => write!(f, "`{shown}`: nothing says where its messages go"),
            Error::UnknownAccount { name, file, near, known } => {
                write!(f, "no account `{name}` in `{file}`")?;
                match near {
                    Some(near) => write!(f, "; did you mean `{near}`?"),
                    None if known.is_empty() => Ok(()),
                    None => write!(f, "; there are {}", names(known)),
                }
            }
            Error::NoAccounts { file } => write!(f, "there is no account in `{file}`, and none on the command line"),
            Error::AllDisabled { file } => write!(f, "every account in `{file}` has `enabled = false`"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Syntax(message) => f.write_str(&text::printable(message.as_bytes())),
            Problem::NotUtf8 => f.write_str("not UTF-8"),
            Problem::DuplicateKey(key) => write!(f, "key `{}` stands twice", shown(key)),
            Problem::UnknownKey { key, place, known } => {
                write!(f, "unknown key `{}` {place}; ", shown(key))?;
                match text::nearest(key, known.iter().copied()) {
                    Some(near) => write!(f, "did you mean `{near}`?"),
                    None => write!(f, "expected {}", names(known)),
                }
            }
            Problem::NotADefault(key) => write!(f, "`{}` belongs to an account, not to `[defaults]`", shown(key)),
            Problem::NotAtTop(key) => {
                write!(f, "`{}` belongs to `[defaults]` or `[accounts.NAME]`, not to the top", shown(key))
            }
            Problem::Value { key, found, expected } => write!(f, "`{}` cannot be {found}; {expected}", shown(key)),
            Problem::Url(problem) => problem.fmt(f),
            Problem::Alternatives { first, second, place } => {
                write!(f, "`{}` and `{}` exclude each other {place}", shown(first), shown(second))
            }
            Problem::Missing { place, keys } => write!(f, "{keys} missing {place}"),
            Problem::SameMaildrop { name, other, maildrop } => write!(
                f,
                "`{}` and `{}` fetch from the same maildrop `{}`; one maildrop, one account",
                shown(other),
                shown(name),
                shown(maildrop)
            ),
            Problem::AccountName(name) => {
                write!(f, "`{}` cannot be the name of an account; expected a word without `/`", shown(name))
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Top => f.write_str("at the top"),
            Place::Defaults => f.write_str("in `[defaults]`"),
            Place::Account(name) => write!(f, "in account `{}`", shown(name)),
            Place::Key(key) => write!(f, "in `{key}`"),
        }
    }
}

/// A key or a name from the file, as short and safe as an error needs it.
fn shown(name: &str) -> String {
    text::printable_within(name.as_bytes(), 60)
}

fn names<T: AsRef<str>>(names: &[T]) -> String {
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
