//! Deadlines: what is being waited for, and how much waiting is left.
//!
//! The one place of this room that sleeps. An allowance is spent only while it sleeps, and a sleep ends early
//! when a stop is requested. Who waits decides what to try next; nothing here reads or writes.

use super::Error;
use crate::os::poll::{self, PollFd, PollFlags};
use crate::stop::Stop;
use std::fmt;
use std::time::{Duration, Instant};

/// See [`super::Stream::PROGRESS`].
pub(super) const PROGRESS: u64 = 1024;

/// A wait that has an end, by its name in messages and in the manual.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deadline {
    /// For the addresses of the host.
    Resolve,
    /// For any address to accept the connection.
    Connect,
    /// For the proxy to connect to the server.
    Proxy,
    /// For TLS to be agreed upon.
    Handshake,
    /// For the server's first line.
    Greeting,
    /// For a whole reply.
    Reply,
    /// For the next [`super::Stream::PROGRESS`] octets of a long reply.
    Body,
    /// For the server to take what is sent.
    Write,
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Deadline::Resolve => "resolve",
            Deadline::Connect => "connect",
            Deadline::Proxy => "proxy",
            Deadline::Handshake => "handshake",
            Deadline::Greeting => "greeting",
            Deadline::Reply => "reply",
            Deadline::Body => "body",
            Deadline::Write => "write",
        })
    }
}

/// The time that may still be spent waiting under one deadline.
#[derive(Debug)]
pub(super) struct Allowance {
    deadline: Deadline,
    length: Duration,
    left: Duration,
    octets: u64,
}

impl Allowance {
    pub(super) fn new(deadline: Deadline, length: Duration) -> Self {
        Allowance { deadline, length, left: length, octets: 0 }
    }

    /// Notes octets that came. Under `body` enough of them make the allowance whole again.
    pub(super) fn arrived(&mut self, octets: u64) {
        self.octets += octets;
        if self.deadline == Deadline::Body && self.octets >= PROGRESS {
            *self = Allowance::new(self.deadline, self.length);
        }
    }

    /// Sleeps until one of `events` happens, but not longer than `nap`. It does not say which one happened,
    /// or whether any did: the caller tries again, and waits again.
    pub(super) fn wait<'a>(
        &mut self,
        events: impl IntoIterator<Item = PollFd<'a>>,
        nap: Duration,
        stop: &'a Stop,
    ) -> Result<(), Error> {
        if self.left.is_zero() {
            return Err(Error::TimedOut { deadline: self.deadline, length: self.length, octets: self.octets });
        }
        let wake = PollFd::from_borrowed_fd(stop.wakes(), PollFlags::IN);
        let mut events: Vec<_> = [wake].into_iter().chain(events).collect();
        let began = Instant::now();
        poll::wait(&mut events, Some(nap.min(self.left))).map_err(Error::Broken)?;
        self.left = self.left.saturating_sub(began.elapsed());
        obey(stop)
    }
}

/// An error once a stop is requested.
pub(super) fn obey(stop: &Stop) -> Result<(), Error> {
    stop.check().map_err(Error::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_body_deadline_is_renewed_by_progress() {
        for (deadline, renewed) in [(Deadline::Body, true), (Deadline::Reply, false)] {
            let mut allowance = Allowance::new(deadline, Duration::from_secs(1));
            allowance.left = Duration::ZERO;
            allowance.arrived(PROGRESS - 1);
            assert!(allowance.left.is_zero());
            allowance.arrived(1);
            assert_eq!(!allowance.left.is_zero(), renewed, "{deadline}");
        }
    }
}
