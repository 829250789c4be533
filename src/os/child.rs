//! Programs that popfetch runs: how they are started, and their end when nobody wants them any longer.
//!
//! A program may have become another user (setuid, `sudo`), whom we may not kill, and one that waits for a dead disk
//! does not die at once. So nobody is waited for without a limit.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use super::limits;

/// How long a program that was killed is waited for.
const KILL_LIMIT: Duration = Duration::from_secs(1);

const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Starts the program, with the limits of whoever started us.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn().inspect(limits::give_back)
}

/// Kills the program and collects it; does nothing to one that was collected already. `None` when it goes on running.
pub(crate) fn kill(child: &mut Child) -> Option<ExitStatus> {
    let limit = if child.kill().is_ok() { KILL_LIMIT } else { Duration::ZERO };
    wait(child, limit)
}

/// Waits for the program to end by itself.
pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let began = Instant::now();
    loop {
        match child.try_wait() {
            Ok(None) if began.elapsed() < limit => thread::sleep(POLL_INTERVAL),
            ended => return ended.ok().flatten(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_killed_and_collected_once() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert!(wait(&mut child, Duration::from_millis(5)).is_none());
        let status = kill(&mut child).unwrap();
        assert_eq!((status.code(), kill(&mut child)), (None, Some(status)));
    }
}
