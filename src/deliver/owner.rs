//! Root's delivery to another user: what happens at the target happens with that user's rights.
//!
//! Linux gives each thread rights of its own (credentials(7)), so accounts side by side may have different owners, and
//! the ledger stays root's. Only the effective ids change: while the real and the saved one are root's, the user can
//! neither signal nor trace this process, and root's rights can be taken again.

use std::io;
use std::marker::PhantomData;
#[cfg(target_os = "linux")]
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::sync::Arc;

use super::Error;
use crate::os::child;
use crate::os::user::User;

/// Whose rights the file operations at a target have: those of the process, or this user's.
pub type Owner = Option<Arc<User>>;

/// While it lives, this thread has the owner's rights, and so have threads that it starts. It must be dropped on it.
#[must_use]
pub(super) struct Acting {
    #[cfg(target_os = "linux")]
    before: Option<linux::Rights>,
    _of_this_thread: PhantomData<*const ()>,
}

/// Takes the owner's rights. Nothing changes where this thread has them already.
#[cfg(target_os = "linux")]
pub(super) fn act_as(owner: &Owner) -> Result<Acting, Error> {
    let mut acting = Acting { before: None, _of_this_thread: PhantomData };
    let Some(owner) = owner.as_ref().filter(|owner| rustix::process::geteuid().as_raw() != owner.id) else {
        return Ok(acting);
    };
    let failed = |source: rustix::io::Errno| Error::Become { user: owner.name.clone(), source: source.into() };
    // A failure halfway drops it, which undoes the first half.
    acting.before = Some(linux::Rights::of_this_thread().map_err(failed)?);
    linux::take(&linux::Rights::of(owner)).map_err(failed)?;
    Ok(acting)
}

/// The configuration accepts no owner where threads have no rights of their own.
#[cfg(not(target_os = "linux"))]
pub(super) fn act_as(owner: &Owner) -> Result<Acting, Error> {
    match owner {
        None => Ok(Acting { _of_this_thread: PhantomData }),
        Some(owner) => Err(Error::Become { user: owner.name.clone(), source: io::ErrorKind::Unsupported.into() }),
    }
}

/// Starts a program with the owner's rights for good, also where this thread has them only for a while: root starts it.
#[cfg(target_os = "linux")]
pub(super) fn spawn(command: &mut Command, owner: &Owner) -> io::Result<Child> {
    let Some(owner) = owner.as_ref().filter(|owner| rustix::process::getuid().as_raw() != owner.id) else {
        return child::spawn(command);
    };
    let before = rustix::process::geteuid();
    rustix::thread::set_thread_res_uid(None, rustix::process::Uid::ROOT, None)?;
    let started = child::spawn(command.uid(owner.id).gid(owner.group));
    if rustix::thread::set_thread_res_uid(None, before, None).is_err() {
        std::process::abort();
    }
    started
}

#[cfg(not(target_os = "linux"))]
pub(super) fn spawn(command: &mut Command, _owner: &Owner) -> io::Result<Child> {
    child::spawn(command)
}

#[cfg(target_os = "linux")]
impl Drop for Acting {
    fn drop(&mut self) {
        if let Some(before) = &self.before
            && linux::restore(before).is_err()
        {
            // Going on as somebody else would do harm that nobody could foresee.
            std::process::abort();
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use rustix::io;
    use rustix::process::{Gid, Uid, getegid, geteuid, getgroups};
    use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

    use crate::os::user::User;

    /// The rights of a thread at files.
    pub(super) struct Rights {
        user: Uid,
        group: Gid,
        groups: Vec<Gid>,
    }

    impl Rights {
        pub(super) fn of_this_thread() -> io::Result<Self> {
            Ok(Rights { user: geteuid(), group: getegid(), groups: getgroups()? })
        }

        pub(super) fn of(user: &User) -> Self {
            let groups = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
            Rights { user: Uid::from_raw(user.id), group: Gid::from_raw(user.group), groups }
        }
    }

    /// The user comes last: only root may change the others.
    pub(super) fn take(rights: &Rights) -> io::Result<()> {
        set_thread_groups(&rights.groups)?;
        set_thread_res_gid(None, rights.group, None)?;
        set_thread_res_uid(None, rights.user, None)
    }

    /// The user comes first, for the same reason.
    pub(super) fn restore(rights: &Rights) -> io::Result<()> {
        set_thread_res_uid(None, rights.user, None)?;
        set_thread_res_gid(None, rights.group, None)?;
        set_thread_groups(&rights.groups)
    }
}
