//! Limits of the process (getrlimit(2)): what a run needs is taken, and given back to the programs that it starts.

use std::io;
#[cfg(not(target_os = "linux"))]
use std::process::Child;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that one account has open at most, besides those of its targets: line, ledger, lock, pipes and programs.
const OF_AN_ACCOUNT: u64 = 24;

/// And for each target: thirty messages that wait, spool and folders.
const OF_A_TARGET: u64 = 40;

/// Descriptors of the whole process: standard streams, signals, and what libraries open now and then.
const OF_ALL: u64 = 32;

/// For how many accounts side by side, of so many that are wished, each with so many targets at most, there are
/// descriptors; one at least. The soft limit is raised to what they need, as far as the hard one lets it.
pub(crate) fn room_for(accounts: usize, targets: usize) -> usize {
    let of_one = (targets.max(1) as u64).saturating_mul(OF_A_TARGET).saturating_add(OF_AN_ACCOUNT);
    let needed = (accounts as u64).saturating_mul(of_one).saturating_add(OF_ALL);
    let room = descriptors(needed).saturating_sub(OF_ALL) / of_one;
    usize::try_from(room).unwrap_or(usize::MAX).clamp(1, accounts.max(1))
}

/// True when something failed for want of descriptors, in this process or in all of the system: others close theirs.
pub(crate) fn is_exhausted(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.source()?.downcast_ref::<io::Error>());
    let number = error.raw_os_error().or_else(|| inner?.raw_os_error());
    [Errno::MFILE, Errno::NFILE].iter().any(|errno| number == Some(errno.raw_os_error()))
}

/// Lets no crash write the memory of this process, which holds passwords, to a disk. It can be traced all the same.
///
/// One octet is less than any core has, as none would be; but it keeps the kernel from piping a core to a program, too
/// (core(5): there a limit of none counts for nothing).
pub(crate) fn no_core() {
    let before = getrlimit(Resource::Core);
    let limit = Rlimit { current: Some(before.maximum.unwrap_or(1).min(1)), ..before };
    if setrlimit(Resource::Core, limit).is_ok() {
        changed(Resource::Core, before);
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::give_back;
#[cfg(target_os = "linux")]
use linux::{changed, descriptors};

#[cfg(target_os = "linux")]
mod linux {
    use std::process::Child;
    use std::sync::{Mutex, PoisonError};

    use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

    /// The limits that were changed, as they were.
    static BEFORE: Mutex<Vec<(Resource, Rlimit)>> = Mutex::new(Vec::new());

    pub(super) fn changed(resource: Resource, before: Rlimit) {
        let mut changed = BEFORE.lock().unwrap_or_else(PoisonError::into_inner);
        if changed.iter().all(|(known, _)| *known != resource) {
            changed.push((resource, before));
        }
    }

    /// Tries to raise the soft limit to so many, and tells what it is then.
    pub(super) fn descriptors(needed: u64) -> u64 {
        let before = getrlimit(Resource::Nofile);
        let soft = before.current.unwrap_or(u64::MAX);
        let raised = needed.min(before.maximum.unwrap_or(u64::MAX));
        let limit = Rlimit { current: Some(raised), ..before };
        if raised <= soft || setrlimit(Resource::Nofile, limit).is_err() {
            return soft;
        }
        changed(Resource::Nofile, before);
        raised
    }

    /// Lets a program that was just started have the limits that it would have without us: there are programs that
    /// select(2) or that close every descriptor there may be. (Between fork and exec only unsafe code could do this.)
    pub(crate) fn give_back(child: &Child) {
        for (resource, before) in BEFORE.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // One that has become another user keeps ours, and one that has ended needs none.
            let _ = prlimit(Some(Pid::from_child(child)), *resource, *before);
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn descriptors(_needed: u64) -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(not(target_os = "linux"))]
fn changed(_resource: Resource, _before: Rlimit) {}

/// There is no way to give it back, and a core is all that is missing.
#[cfg(not(target_os = "linux"))]
pub(crate) fn give_back(_child: &Child) {}
