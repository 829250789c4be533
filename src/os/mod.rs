//! The operating system: folders and names that last, files that are our own, programs, randomness, waiting, users,
//! limits, and who else can read a file.
//!
//! Beneath every other room, and imports none.

pub(crate) mod child;
pub mod exposure;
pub(crate) mod limits;
pub(crate) mod poll;
pub(crate) mod random;
pub mod user;

/// The name of this machine.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
