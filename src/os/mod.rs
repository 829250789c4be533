//! The operating system: folders and names that last, files that are our own, programs, randomness, waiting, users,
//! limits, the clock, and who else can read a file.
//!
//! Beneath every other room, and imports only the words of [`crate::text`].

pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod credentials;
pub mod exposure;
pub(crate) mod file;
pub(crate) mod folder;
pub(crate) mod holder;
pub(crate) mod limits;
pub(crate) mod poll;
pub(crate) mod random;
pub(crate) mod terminal;
pub mod user;

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::text::reason;

/// A call about a file or a folder that failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What was tried: `create`, `read`, `write`, …
    pub doing: &'static str,
    /// On which file or folder.
    pub path: PathBuf,
    /// How it failed.
    pub source: io::Error,
}

impl Failure {
    fn new(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Failure { doing, path: path.into(), source }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} `{}`: {}", self.doing, self.path.display(), reason(&self.source))
    }
}

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
