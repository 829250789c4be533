//! A connected socket that keeps its deadlines: non-blocking inside, blocking for its caller.
//!
//! Octets go straight from the kernel to the caller's buffer. Tries first and polls only when there is
//! nothing, so a busy line costs one system call a read.

use super::deadline::{Allowance, Deadline, obey};
use super::error::Error;
use super::tunnel::Tunnel;
use crate::os::poll::{PollFd, PollFlags};
use crate::stop::Stop;
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Socket {
    line: OwnedFd,
    /// Behind `line`, which must be closed first; fields are dropped in this order.
    tunnel: Option<Box<Tunnel>>,
    is_tcp: bool,
    timeout: Duration,
    stop: Stop,
    reading: Allowance,
    writing: Allowance,
    acknowledges_at_once: bool,
    /// A read waits until something comes.
    is_patient: bool,
}

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(super) fn new(line: OwnedFd, is_tcp: bool, timeout: Duration, stop: Stop) -> Self {
        let reading = Allowance::new(Deadline::Greeting, timeout);
        let writing = Allowance::new(Deadline::Write, timeout);
        Socket {
            line,
            tunnel: None,
            is_tcp,
            timeout,
            stop,
            reading,
            writing,
            acknowledges_at_once: false,
            is_patient: true,
        }
    }

    /// The other end of the line is the input and output of this program.
    pub(super) fn with_tunnel(self, tunnel: Tunnel) -> Self {
        Socket { tunnel: Some(Box::new(tunnel)), ..self }
    }

    /// Starts `deadline` for what is read, and a fresh one for what is written.
    pub(super) fn expect(&mut self, deadline: Deadline) {
        self.expect_within(deadline, Duration::MAX);
    }

    /// The same, for this long at most.
    pub(super) fn expect_within(&mut self, deadline: Deadline, longest: Duration) {
        self.reading = Allowance::new(deadline, self.timeout.min(longest));
        self.writing = Allowance::new(Deadline::Write, self.timeout);
    }

    /// The same, for this long at least.
    pub(super) fn expect_at_least(&mut self, deadline: Deadline, shortest: Duration) {
        self.expect(deadline);
        self.reading = Allowance::new(deadline, self.timeout.max(shortest));
    }

    /// From now on no stop ends a wait; all of them together last so long at most.
    pub(super) fn outlast_stop(&mut self, length: Duration) -> io::Result<()> {
        self.stop = Stop::new()?;
        self.reading = Allowance::new(Deadline::Reply, length);
        Ok(())
    }

    /// Notes octets that reached the caller. Not counted in [`Socket::read`], because under TLS a drip of one
    /// octet is a record of two dozen.
    pub(super) fn arrived(&mut self, octets: usize) {
        self.reading.arrived(octets as u64);
    }

    /// Only TCP has acknowledgements, not a tunnel or a socket of this machine.
    pub(super) fn acknowledge_at_once(&mut self) {
        self.acknowledges_at_once = self.is_tcp;
    }

    /// Whether a read waits until something comes. One that does not fails as that of a non-blocking socket does.
    pub(super) fn be_patient(&mut self, is_patient: bool) {
        self.is_patient = is_patient;
    }

    /// Linux falls back to delayed acknowledgements by itself (tcp(7)), so this is said again before each wait. What
    /// came is acknowledged by it at once; where that cannot be had, the line is slower, and nothing else.
    fn acknowledge(&self) {
        if self.acknowledges_at_once {
            #[cfg(target_os = "linux")]
            let _ = rustix::net::sockopt::set_tcp_quickack(&self.line, true);
        }
    }

    /// A line that has failed; of a tunnel the program can say why.
    fn broken(&mut self, errno: Errno) -> Error {
        self.tunnel.as_mut().map_or(Error::Broken(errno), |tunnel| tunnel.ended())
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        obey(&self.stop)?;
        loop {
            match rustix::io::read(&self.line, &mut *buf) {
                Ok(0) if self.tunnel.is_some() && !buf.is_empty() => return Err(self.broken(Errno::PIPE).into()),
                Ok(octets) => return Ok(octets),
                Err(Errno::WOULDBLOCK) if !self.is_patient => return Err(io::ErrorKind::WouldBlock.into()),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(self.broken(errno).into()),
            }
            self.acknowledge();
            self.reading.wait([PollFd::new(&self.line, PollFlags::IN)], Duration::MAX, &self.stop)?;
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        obey(&self.stop)?;
        loop {
            match rustix::io::write(&self.line, buf) {
                Ok(octets) => return Ok(octets),
                Err(Errno::WOULDBLOCK | Errno::INTR) => {}
                Err(errno) => return Err(self.broken(errno).into()),
            }
            self.writing.wait([PollFd::new(&self.line, PollFlags::OUT)], Duration::MAX, &self.stop)?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
