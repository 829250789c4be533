//! What can go wrong with a ledger.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::door::Alarm;
use crate::failure::{Failure, Kind, make_room};
use crate::os::{self, limits};
use crate::text::{is_disk_full, reason};

/// A ledger that cannot be used, or no longer. Nothing is fetched or deleted without one.
#[derive(Debug)]
pub enum Error {
    /// Reading, writing or making durable failed.
    Io {
        /// What was tried: `create`, `read`, `write`, …
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// How it failed.
        source: io::Error,
    },
    /// Another run holds the account.
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, where the kernel says so.
        process: Option<u32>,
    },
    /// A newer popfetch wrote the ledger.
    Future {
        /// The ledger.
        path: PathBuf,
        /// Its format.
        version: u32,
    },
    /// The file does not begin as a ledger does, so that nothing in it can be trusted.
    Alien {
        /// The file.
        path: PathBuf,
    },
    /// A known maildrop would come again: a person has to decide.
    Alarm {
        /// The ledger.
        path: PathBuf,
        /// Why.
        alarm: Alarm,
    },
    /// Something is in the way that is no file of ours, so that it is neither read nor written.
    NotOurs {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The ledger was written for another maildrop.
    Foreign {
        /// The ledger.
        path: PathBuf,
        /// Whose it says it is.
        maildrop: String,
    },
    /// An earlier write failed, so that nothing more may be recorded in this run.
    Closed,
}

impl Error {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { action, path, source }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::Held { .. } => Kind::Temporary,
            Error::Io { source, .. } if limits::is_exhausted(source) => Kind::Temporary,
            Error::Io { .. } | Error::Closed => Kind::Io,
            Error::Alien { .. }
            | Error::Alarm { .. }
            | Error::Future { .. }
            | Error::Foreign { .. }
            | Error::NotOurs { .. } => Kind::BadState,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Alien { .. } => {
                Some("move it away to begin a new one; every message on the server counts as new then".into())
            }
            Error::Io { path, source, .. } if is_disk_full(source) => Some(make_room(path)),
            Error::Io { action: "create" | "write into" | "open", .. } => {
                Some("name another folder for the state with `--state-dir`, or make this one writable".into())
            }
            Error::Alarm { .. } => Some(
                "put a copy of it back, if there is one; else `popfetch state rebuild ACCOUNT --from maildir:PATH` looks \
                 what is at home, `popfetch state known ACCOUNT` lets what is on the server now count as fetched, and \
                 `--all` fetches everything again"
                    .into(),
            ),
            Error::NotOurs { .. } => Some("the state wants a folder of its own; see `--state-dir`".into()),
            Error::Future { .. } => Some("use the newer popfetch for this account".into()),
            _ => None,
        }
    }
}

impl From<os::Failure> for Error {
    fn from(failure: os::Failure) -> Self {
        let os::Failure { doing: action, path, source } = failure;
        Error::Io { action, path, source }
    }
}

impl From<os::file::Error> for Error {
    fn from(error: os::file::Error) -> Self {
        match error {
            os::file::Error::Failed(failure) => failure.into(),
            os::file::Error::NotOurs { path, what } => Error::NotOurs { path, what },
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Io { action, path, source } => write!(f, "cannot {action} `{}`: {}", path.display(), reason(source)),
            Error::Held { process: Some(process), .. } => {
                write!(f, "another run (process {process}) is fetching this account")
            }
            Error::Held { path, process: None } => {
                write!(f, "another run is fetching this account (it holds `{}`)", path.display())
            }
            Error::Future { path, version } => {
                write!(f, "`{}` was written by a newer popfetch (format {version})", path.display())
            }
            Error::Alien { path } => write!(f, "`{}` is not a ledger", path.display()),
            Error::Alarm { path, alarm: Alarm::Missing } => write!(
                f,
                "the ledger `{}` is gone or empty though this account was fetched before, so that everything on the \
                 server would come again",
                path.display()
            ),
            Error::Alarm { path, alarm: Alarm::Headless } => write!(
                f,
                "`{}` is not a ledger: its first line is damaged, so that everything on the server would come again",
                path.display()
            ),
            Error::Alarm { path, alarm: Alarm::Damaged(damaged, lines) } => write!(
                f,
                "{damaged} of {lines} lines of the ledger `{}` cannot be read: messages that only they knew would come \
                 again",
                path.display()
            ),
            Error::Alarm { path, alarm: Alarm::Undecided } => write!(
                f,
                "the ledger `{}` was begun anew, and the run that was to do what had been decided failed, so that \
                 everything on the server would come again",
                path.display()
            ),
            Error::NotOurs { path, what } => write!(f, "`{}` is {what}", path.display()),
            Error::Foreign { path, maildrop } => {
                let maildrop = crate::text::printable(maildrop.as_bytes());
                write!(f, "`{}` is the ledger of `{maildrop}`, not of this account", path.display())
            }
            Error::Closed => f.write_str("the ledger is closed after a failed write"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_full_disk_wants_room_and_a_folder_that_cannot_be_made_another_place() {
        let failed = |action, errno: Errno| Error::io(action, "/state/x.jsonl")(errno.into());
        let full = failed("write", Errno::NOSPC);
        assert_eq!(full.to_string(), "cannot write `/state/x.jsonl`: no space left");
        assert!(full.hint().unwrap().starts_with("make room"));
        let hint = failed("create", Errno::ACCESS).hint().unwrap();
        assert!(hint.contains("--state-dir"), "{hint}");
        assert_eq!(failed("sync", Errno::IO).hint(), None);
    }
}
