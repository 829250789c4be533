//! The wish to stop (SIGINT, SIGTERM, SIGHUP), as a value that every blocking wait can look at.
//!
//! A flag says which signal came; a pipe that becomes readable wakes whoever sleeps in `poll`. Nobody reads
//! the pipe, so it wakes all of them and stays awake.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::os::poll::{self, PollFd, PollFlags};

/// Tells whether the run was asked to stop. Clones share the same wish.
#[derive(Debug, Clone)]
pub struct Stop {
    signal: Arc<AtomicUsize>,
    wake: Arc<OwnedFd>,
    /// Held so that the pipe never reports end of file before a signal.
    hold: Arc<OwnedFd>,
}

impl Stop {
    /// A wish that only [`Stop::request`] can make.
    pub fn new() -> io::Result<Self> {
        let (wake, hold) = io::pipe()?;
        // A signal handler must not wait for room in the pipe.
        rustix::io::ioctl_fionbio(&hold, true)?;
        Ok(Stop { signal: Arc::default(), wake: Arc::new(wake.into()), hold: Arc::new(hold.into()) })
    }

    /// Listens to SIGINT, SIGTERM and SIGHUP. The first one asks politely; a second one ends the process at
    /// once with 128 + its number, which loses nothing either. One that was ignored from the start stays ignored.
    ///
    /// SIGXFSZ gets a handler that does nothing, so that a limit on the size of files is an error of the write that
    /// exceeds it (setrlimit(2)), and not our end.
    pub fn on_signals() -> io::Result<Self> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
        use signal_hook::flag;
        let stop = Stop::new()?;
        flag::register(SIGXFSZ, Arc::default())?;
        let ignored = ignored_signals();
        let signals: Vec<i32> = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| !ignored(*signal)).collect();
        let asked = Arc::new(AtomicBool::new(false));
        for &signal in &signals {
            // Before the flag itself is registered: the first signal must find it unset.
            flag::register_conditional_shutdown(signal, 128 + signal, asked.clone())?;
        }
        for signal in signals {
            flag::register(signal, asked.clone())?;
            flag::register_usize(signal, stop.signal.clone(), signal as usize)?;
            signal_hook::low_level::pipe::register_raw(signal, stop.hold.try_clone()?)?;
        }
        Ok(stop)
    }

    /// Makes the wish, as `signal` would.
    pub fn request(&self, signal: i32) {
        self.signal.store(signal as usize, Ordering::Relaxed);
        // A full pipe wakes as well as one more octet would.
        let _ = rustix::io::write(self.hold.as_fd(), b"!");
    }

    /// The signal that asked to stop, if one did.
    pub fn requested(&self) -> Option<Stopped> {
        match self.signal.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(Stopped { signal: signal as i32 }),
        }
    }

    /// Fails once the run should end.
    pub fn check(&self) -> Result<(), Stopped> {
        self.requested().map_or(Ok(()), Err)
    }

    /// Readable from the moment a stop is requested: to be polled beside whatever is waited for. Never read it.
    pub fn wakes(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Waits until `source` has something to read or is at its end.
    pub fn readable(&self, source: impl AsFd, limit: Option<Duration>) -> io::Result<Woken> {
        self.any_readable(&[source.as_fd()], limit)
    }

    /// Waits until one of the sources has something to read or is at its end.
    pub fn any_readable(&self, sources: &[BorrowedFd<'_>], limit: Option<Duration>) -> io::Result<Woken> {
        let wakes = self.wakes();
        let all = std::iter::once(&wakes).chain(sources);
        let mut all: Vec<_> = all.map(|source| PollFd::new(source, PollFlags::IN)).collect();
        poll::wait(&mut all, limit)?;
        // Any event of a source will do: an end or an error is what reading then tells.
        Ok(match (self.requested(), all[1..].iter().all(|source| source.revents().is_empty())) {
            (Some(stopped), _) => Woken::Stopped(stopped),
            (None, true) => Woken::Late,
            (None, false) => Woken::Readable,
        })
    }

    /// Waits for a while, but not beyond a stop.
    pub fn pause(&self, limit: Duration) -> io::Result<Woken> {
        poll::wait(&mut [PollFd::new(&self.wakes(), PollFlags::IN)], Some(limit))?;
        Ok(self.requested().map_or(Woken::Late, Woken::Stopped))
    }
}

/// The end of a wait that a signal has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// The signal's number.
    pub signal: i32,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stopped by signal {}", self.signal)
    }
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Reading will not block.
    Readable,
    /// A stop is requested.
    Stopped(Stopped),
    /// The time is over.
    Late,
}

/// Which signals whoever started us wants to be ignored: nohup(1) SIGHUP, a shell without job control SIGINT for what it
/// runs in the background. sigaction(2) would tell on any Unix, but there is no safe way to call it.
fn ignored_signals() -> impl Fn(i32) -> bool {
    let mut status = String::with_capacity(4096);
    // The kernel writes all of it anew for each read, so there should be one.
    let _ = File::open("/proc/self/status").and_then(|mut file| file.read_to_string(&mut status));
    let mask = ignored_mask(&status);
    move |signal| mask >> (signal - 1) & 1 == 1
}

/// The `SigIgn` of proc_pid_status(5); nothing where there is none.
fn ignored_mask(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_process_status() {
        assert_eq!(ignored_mask("SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSigCgt:\t1\n"), 0x1001);
        assert_eq!(ignored_mask("SigIgn:\tstrange\n"), 0);
        assert_eq!(ignored_mask(""), 0);
    }
}
