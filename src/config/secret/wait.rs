//! Waiting for octets, for a stop, or for a while.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::stop::Stop;

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// Reading will not block.
    Readable,
    /// A stop is requested.
    Stopped,
    /// The time is over.
    Late,
}

/// Waits until `source` has something to read or is at its end.
pub(super) fn readable(source: impl AsFd, stop: &Stop, limit: Option<Duration>) -> io::Result<Woken> {
    let wakes = stop.wakes();
    let mut both = [PollFd::new(&wakes, PollFlags::IN), PollFd::new(&source, PollFlags::IN)];
    poll_until(&mut both, limit)?;
    // Any event of the source will do: an end or an error is what reading then tells.
    Ok(match both[1].revents().is_empty() {
        _ if stop.is_requested() => Woken::Stopped,
        true => Woken::Late,
        false => Woken::Readable,
    })
}

/// Waits for a while, but not beyond a stop.
pub(super) fn pause(stop: &Stop, limit: Duration) -> io::Result<Woken> {
    poll_until(&mut [PollFd::new(&stop.wakes(), PollFlags::IN)], Some(limit))?;
    Ok(if stop.is_requested() { Woken::Stopped } else { Woken::Late })
}

fn poll_until(sources: &mut [PollFd<'_>], limit: Option<Duration>) -> io::Result<()> {
    let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
    match poll(sources, limit.as_ref()) {
        // A signal: whether it was one to stop, the caller sees.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
