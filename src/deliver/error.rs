//! What can go wrong at home: the facts in the variants, the wording in one `Display`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::failure::{Failure, Kind, make_room};
use crate::os::exposure::Exposure;
use crate::os::{self, limits, user};
use crate::stop::Stopped;
use crate::text::{self, octets, reason};

/// Why a batch, and with it the account, cannot go on. Nothing that was on its way is lost: what is not
/// recorded as delivered stays on the server, or is found by [`super::recover`].
#[derive(Debug)]
pub enum Error {
    /// The target, or a folder above it, cannot be created or used.
    CannotCreate {
        /// What was to be created.
        path: PathBuf,
        /// Why it cannot.
        source: io::Error,
    },
    /// The file is there, but is no mbox.
    NotAnMbox {
        /// The file.
        path: PathBuf,
    },
    /// The mbox may be somebody else's trap: a link, or another's file, in a folder that others can write to.
    Untrusted {
        /// The mbox.
        path: PathBuf,
    },
    /// The Maildir, or the folder of the mbox, is not there though mail was delivered to it.
    Gone {
        /// The folder.
        path: PathBuf,
    },
    /// Run by root, and another user can say what lies at the target's path.
    Others {
        /// The target, or the folder or link above it that is the user's.
        path: PathBuf,
        /// The user's number.
        user: u32,
    },
    /// Run by root, and others can put another file in the target's place.
    Exposed {
        /// The target.
        path: PathBuf,
        /// How they can.
        exposure: Exposure,
    },
    /// The rights of the account's owner cannot be taken.
    Become {
        /// The owner's name.
        user: String,
        /// Why.
        source: io::Error,
    },
    /// `tmp` and `new` of a Maildir are on different file systems, so that nothing can be renamed between them.
    Apart {
        /// The Maildir.
        path: PathBuf,
    },
    /// The MDA cannot be started.
    Mda {
        /// The program as configured.
        program: String,
        /// Why it cannot.
        source: io::Error,
    },
    /// Less is free on a disk than the account wants to stay free.
    NoRoom {
        /// A folder on it.
        path: PathBuf,
        /// Octets that are free.
        free: u64,
        /// Octets that have to stay free.
        least: u64,
    },
    /// Reading, writing or syncing failed.
    Io {
        /// The verb.
        doing: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mbox stayed locked for as long as we wait.
    Locked {
        /// The mbox.
        path: PathBuf,
        /// Who holds it, as far as one can tell.
        holder: String,
    },
    /// The mbox is not there, and only the group of its folder may create it.
    NoMbox {
        /// The mbox.
        path: PathBuf,
    },
    /// Neither this process nor dotlockfile(1) may make the dotlock of the mbox.
    NoDotlock {
        /// The dotlock.
        path: PathBuf,
        /// Why the program did not make it; `None` when there is no such program.
        refused: Option<String>,
    },
    /// The run was asked to stop while it waited for the lock of the mbox.
    Stopped {
        /// The mbox.
        path: PathBuf,
        /// By what.
        stopped: Stopped,
    },
    /// Another program changed or replaced the mbox although it was locked.
    Changed {
        /// The mbox.
        path: PathBuf,
    },
    /// Another program removed our lock, and may be at work in the mbox.
    Unlocked {
        /// The lock.
        path: PathBuf,
    },
    /// A server, or the way to it, failed.
    Server(Box<dyn Failure + Sync>),
}

impl Error {
    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::Io { doing, path: path.into(), source: source.into() }
    }

    pub(super) fn cannot_create(path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Error::CannotCreate { path: path.into(), source: source.into() }
    }

    /// True when the file system, or the user's share of it, is full, or as full as the account lets it become.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Error::NoRoom { .. } => true,
            Error::CannotCreate { source, .. } | Error::Io { source, .. } => text::is_disk_full(source),
            _ => false,
        }
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::CannotCreate { source, .. } | Error::Io { source, .. } if limits::is_exhausted(source) => {
                Kind::Temporary
            }
            // No process to spare, or the program is being replaced at this moment.
            Error::Mda { source, .. } if limits::is_exhausted(source) || is_busy(source) => Kind::Temporary,
            Error::CannotCreate { .. } | Error::NotAnMbox { .. } | Error::Untrusted { .. } => Kind::CannotCreate,
            Error::Gone { .. } | Error::Apart { .. } | Error::Become { .. } => Kind::CannotCreate,
            Error::Others { .. } | Error::Exposed { .. } | Error::Mda { .. } => Kind::CannotCreate,
            Error::NoMbox { .. } | Error::NoDotlock { .. } => Kind::CannotCreate,
            Error::Io { .. } => Kind::Io,
            Error::Locked { .. } | Error::Changed { .. } | Error::Unlocked { .. } | Error::NoRoom { .. } => {
                Kind::Temporary
            }
            Error::Stopped { stopped, .. } => stopped.kind(),
            Error::Server(error) => error.kind(),
        }
    }

    fn details(&self) -> Vec<String> {
        if let Error::Server(error) = self { error.details() } else { vec![] }
    }

    fn retry_after(&self) -> Option<u64> {
        if let Error::Server(error) = self { error.retry_after() } else { None }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Server(error) => error.hint(),
            Error::CannotCreate { path, .. } | Error::Io { path, .. } if self.is_disk_full() => Some(make_room(path)),
            Error::Io { source, .. } if source.raw_os_error() == Some(Errno::FBIG.raw_os_error()) => Some(
                "raise the limit for the size of a file (`ulimit -f`), or that of the file system; nothing is lost"
                    .into(),
            ),
            Error::NoRoom { path, .. } => Some(format!(
                "make room on the file system of `{}`, or lower `min_free`; the mail waits on the server",
                path.display()
            )),
            Error::Mda { program, source } if source.kind() == io::ErrorKind::NotFound && !program.contains('/') => {
                Some(format!("write the whole path of `{program}` in `deliver`"))
            }
            Error::Gone { path } => Some(format!(
                "mount the disk of `{}`, or put it back; `--create` creates it anew, empty",
                path.display()
            )),
            Error::Others { user, .. } => Some(match user::name_of(*user).filter(|_| cfg!(target_os = "linux")) {
                Some(name) => format!("write `owner = \"{name}\"` for the account, or run popfetch as that user"),
                None => format!(
                    "run popfetch as that user: `sudo -u '#{user}' popfetch`, or from the user's own cron table"
                ),
            }),
            Error::Exposed { path, exposure } => Some(exposure.advice(path, false)),
            Error::Apart { path } => Some(format!(
                "put `tmp`, `new` and `cur` of `{}` on the same file system: messages are renamed between them",
                path.display()
            )),
            Error::NoMbox { path } => {
                let user = user::name_of(rustix::process::geteuid().as_raw()).unwrap_or("USER");
                let path = path.to_string_lossy();
                Some(format!("as root, run `install -m 600 -o {user} /dev/null {}`", shell_words::quote(&path)))
            }
            Error::NoDotlock { path, refused: None } => Some(format!(
                "install `dotlockfile` (Debian's package `liblockfile-bin`), or become a member of the group of `{}`",
                folder(path).display()
            )),
            Error::NoDotlock { path, refused: Some(_) } => Some(format!(
                "`dotlockfile` locks only an mbox of its user's own, and must be setgid to the group of `{}`; or become a \
                 member of that group",
                folder(path).display()
            )),
            Error::Untrusted { path } => {
                Some(format!("others can write to `{}`; deliver to a folder of your own", folder(path).display()))
            }
            _ => None,
        }
    }
}

impl From<os::Failure> for Error {
    fn from(failure: os::Failure) -> Self {
        match failure.doing {
            "create" => Error::cannot_create(failure.path, failure.source),
            doing => Error::io(doing, failure.path, failure.source),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::CannotCreate { path, source } => {
                write!(f, "cannot create `{}`: {}", path.display(), reason(source))
            }
            Error::Server(error) => error.fmt(f),
            Error::NotAnMbox { path } => write!(f, "`{}` is not an mbox", path.display()),
            Error::Untrusted { path } => {
                write!(f, "`{}` is a link or another user's file in a folder others can write to", path.display())
            }
            Error::Mda { program, source } => write!(f, "cannot start the MDA `{program}`: {}", reason(source)),
            Error::Io { doing, path, source } => write!(f, "cannot {doing} `{}`: {}", path.display(), reason(source)),
            Error::Gone { path } => {
                write!(f, "`{}` is not there, though mail was delivered to it before", path.display())
            }
            Error::Others { path, user } => {
                write!(f, "`{}` belongs to user {user}, and root delivers only to what is root's", path.display())
            }
            Error::Exposed { path, exposure } => write!(f, "`{}` {exposure}", path.display()),
            Error::Become { user, source } => {
                write!(f, "cannot take the rights of user `{user}`: {}", reason(source))
            }
            Error::Apart { path } => {
                write!(f, "`tmp` and `new` of Maildir `{}` are on different file systems", path.display())
            }
            Error::NoRoom { path, free, least } => {
                let (free, least) = (octets(*free), octets(*least));
                write!(f, "only {free} are free on the disk of `{}`, and `min_free` is {least}", path.display())
            }
            Error::NoMbox { path } => write!(
                f,
                "`{}` is not there, and only the group of `{}` may create it",
                path.display(),
                folder(path).display()
            ),
            Error::NoDotlock { path, refused } => {
                write!(f, "cannot create the lock `{}`: permission denied, and ", path.display())?;
                match refused {
                    None => f.write_str("there is no `dotlockfile` in `PATH`"),
                    Some(why) => write!(f, "`dotlockfile` {why}"),
                }
            }
            Error::Locked { path, holder } => write!(f, "mbox `{}` is locked by {holder}", path.display()),
            Error::Stopped { path, stopped } => {
                write!(f, "{stopped} while waiting for the lock of mbox `{}`", path.display())
            }
            Error::Unlocked { path } => write!(f, "another program removed the lock `{}`", path.display()),
            Error::Changed { path } => {
                write!(f, "another program changed or replaced mbox `{}` in spite of its lock", path.display())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::CannotCreate { source, .. }
            | Error::Mda { source, .. }
            | Error::Io { source, .. }
            | Error::Become { source, .. } => Some(source),
            _ => None,
        }
    }
}

fn is_busy(error: &io::Error) -> bool {
    use io::ErrorKind::{ExecutableFileBusy, OutOfMemory, WouldBlock};
    matches!(error.kind(), WouldBlock | OutOfMemory | ExecutableFileBusy)
}

fn folder(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_where_and_why() {
        let error = Error::cannot_create("/m/tmp", Errno::ACCESS);
        assert_eq!(error.to_string(), "cannot create `/m/tmp`: permission denied");
        assert_eq!(error.kind(), Kind::CannotCreate);
        assert!(!error.is_transient());
    }

    #[test]
    fn a_file_that_may_not_become_so_large_has_a_hint() {
        let error = Error::io("write", "/s/spool/1", Errno::FBIG);
        assert!(error.hint().unwrap().contains("`ulimit -f`"), "{error}");
        assert!(!error.is_disk_full());
    }

    #[test]
    fn a_full_disk_is_told_from_other_failures() {
        for errno in [Errno::NOSPC, Errno::DQUOT] {
            let error = Error::io("write", "/m/tmp/1", errno);
            assert!(error.is_disk_full());
            assert_eq!(error.to_string(), "cannot write `/m/tmp/1`: no space left");
            assert_eq!(error.hint().unwrap(), "make room on the file system of `/m/tmp`; nothing is lost");
            assert_eq!(error.kind(), Kind::Io);
        }
        assert!(!Error::io("write", "/m/tmp/1", Errno::MFILE).is_disk_full());
    }

    #[test]
    fn a_locked_mbox_is_a_matter_of_time() {
        let error = Error::Locked { path: "/m/mbox".into(), holder: "process 17".into() };
        assert_eq!(error.to_string(), "mbox `/m/mbox` is locked by process 17");
        assert_eq!(error.kind(), Kind::Temporary);
    }
}
