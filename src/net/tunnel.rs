//! A program as the line to the server: what it reads and writes is the session.
//!
//! Its standard input and output are one end of a socket pair, so that the other end can be polled like any other
//! connection. Its standard error is listened to for the message of its failure. Closing the connection asks it to
//! end; soon after that it is killed, where it can be.

use super::error::{Error, may_pass};
use crate::os::child;
use crate::text::{self, reason};
use rustix::io::Errno;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How much of what the program complains of is kept: the cause stands first.
const COMPLAINT: usize = 1024;

/// How long a program that has closed its output is given to end by itself and say why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How long a program whose input is closed is given to end by itself.
const FAREWELL: Duration = Duration::from_millis(300);

/// A running program. Dropping it ends it; the connection to it must be closed before.
#[derive(Debug)]
pub(super) struct Tunnel {
    program: String,
    child: Child,
    complaint: Arc<Mutex<Vec<u8>>>,
    listener: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// Starts the program; the connection does not block.
    pub(super) fn open(words: &[String]) -> Result<(OwnedFd, Self), Error> {
        let (program, arguments) = words.split_first().expect("the configuration has no empty command");
        let cannot = |failure: io::Error| Error::TunnelStart {
            program: text::printable(program.as_bytes()),
            reason: reason(&failure),
            may_pass: Errno::from_io_error(&failure).is_some_and(may_pass),
        };
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        ours.set_nonblocking(true).map_err(cannot)?;
        let stdin = OwnedFd::from(theirs.try_clone().map_err(cannot)?);
        let mut command = Command::new(program);
        command.args(arguments).stdin(stdin).stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
        let mut child = child::spawn(&mut command).map_err(cannot)?;
        // Its end of the line must not stay open with us.
        drop(command);
        let complaint = Arc::default();
        let listener = child.stderr.take().and_then(|stderr| listen(stderr, Arc::clone(&complaint)));
        let program = text::printable(program.as_bytes());
        Ok((ours.into(), Tunnel { program, child, complaint, listener }))
    }

    /// What became of the program, now that the connection to it is over.
    pub(super) fn ended(&mut self) -> Error {
        let began = Instant::now();
        let mut status = None;
        while began.elapsed() < LAST_WORDS {
            status = self.child.try_wait().ok().flatten();
            if status.is_some() && self.listener.as_ref().is_none_or(JoinHandle::is_finished) {
                break;
            }
            thread::sleep(Duration::from_millis(2));
        }
        let complaint = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        let lines: Vec<_> = complaint.trim_ascii().split(|octet| *octet == b'\n').map(text::printable).collect();
        Error::Tunnel { program: self.program.clone(), ending: ending(status), said: lines.join("; ") }
    }
}

fn ending(status: Option<ExitStatus>) -> String {
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("ended with exit status {code}"),
        Some((None, Some(signal))) => format!("was killed by signal {signal}"),
        _ => "closed the connection".to_owned(),
    }
}

/// Reads to the end, so that the program never waits for a reader, and keeps the beginning.
fn listen(mut stderr: ChildStderr, complaint: Arc<Mutex<Vec<u8>>>) -> Option<JoinHandle<()>> {
    let listening = move || {
        let mut chunk = [0; 512];
        while let Ok(octets @ 1..) = stderr.read(&mut chunk) {
            let mut complaint = complaint.lock().unwrap_or_else(PoisonError::into_inner);
            let room = COMPLAINT.saturating_sub(complaint.len());
            complaint.extend_from_slice(&chunk[..octets.min(room)]);
        }
    };
    thread::Builder::new().name("tunnel".to_owned()).spawn(listening).ok()
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        if child::wait(&mut self.child, FAREWELL).is_none() {
            child::kill(&mut self.child);
        }
    }
}
