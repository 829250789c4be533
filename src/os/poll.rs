//! Waiting for descriptors: the one place that calls poll(2).

use std::time::Duration;

use rustix::event::Timespec;
pub(crate) use rustix::event::{PollFd, PollFlags};
use rustix::io::{self, Errno};

/// Waits until something happens at one of the descriptors, a signal comes, or the time is over. Which it was the
/// descriptors tell: whoever waits looks, and waits again.
pub(crate) fn wait(descriptors: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    // A limit beyond what the system can count is none.
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match rustix::event::poll(descriptors, limit.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error),
    }
}
