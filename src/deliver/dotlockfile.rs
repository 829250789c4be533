//! Debian's dotlockfile(1): a setgid program that makes and removes dotlocks where only its group may, as in `/var/mail`.
//!
//! Knows its options and exit statuses, lockfile_create(3). When a lock is wanted, and which one has to go, is `lock`'s.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::Access;

use super::Error;
use super::owner::{self, Owner};
use crate::os::child;

const PROGRAM: &str = "dotlockfile";

/// It tries once and ends; only a disk that hangs makes it wait.
const LIMIT: Duration = Duration::from_secs(30);

/// The program, and the user for whom it works.
#[derive(Debug)]
pub(super) struct Dotlockfile {
    program: PathBuf,
    owner: Owner,
}

/// The answer to a request for a lock.
pub(super) enum Answer {
    Made,
    /// Another program holds the lock.
    Held,
    /// The reason, as the end of a sentence.
    Refused(String),
}

impl Dotlockfile {
    /// Looks for the program in the folders of `PATH`.
    pub fn find(owner: &Owner) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let programs = std::env::split_paths(&path).filter(|folder| folder.is_absolute());
        let mut programs = programs.map(|folder| folder.join(PROGRAM));
        let program =
            programs.find(|program| program.is_file() && rustix::fs::access(program, Access::EXEC_OK).is_ok())?;
        Some(Dotlockfile { program, owner: owner.clone() })
    }

    /// Makes a dotlock that holds the number of this process. Breaks one whose process is dead.
    pub fn lock(&self, dotlock: &Path) -> Result<Answer, Error> {
        Ok(match self.run(&["-l", "-q", "-p", "-r", "0"], dotlock)? {
            Ok(0) => Answer::Made,
            // L_MAXTRYS; L_RMSTALE: a stale lock that somebody else has replaced meanwhile.
            Ok(4 | 8) => Answer::Held,
            // L_TMPLOCK.
            Ok(2) => Answer::Refused("may not either".to_owned()),
            Ok(status) => Answer::Refused(format!("ended with exit status {status}")),
            Err(ending) => Answer::Refused(ending.to_owned()),
        })
    }

    /// Removes a dotlock; false when it could not. One that is gone already counts as removed.
    pub fn unlock(&self, dotlock: &Path) -> bool {
        matches!(self.run(&["-u", "-q"], dotlock), Ok(Ok(0)))
    }

    /// The exit status, or how else it ended.
    fn run(&self, options: &[&str], dotlock: &Path) -> Result<Result<i32, &'static str>, Error> {
        let mut command = Command::new(&self.program);
        command
            .args(options)
            .arg(dotlock)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C on the terminal is for us; the lock still has to go.
            .process_group(0);
        let started = owner::spawn(&mut command, &self.owner);
        let mut child = started.map_err(|error| Error::io("run", &self.program, error))?;
        let ended = child::wait(&mut child, LIMIT);
        if ended.is_none() {
            child::kill(&mut child);
        }
        Ok(match ended.map(|status| status.code()) {
            Some(Some(code)) => Ok(code),
            Some(None) => Err("was killed"),
            None => Err("did not end within 30 s"),
        })
    }
}
