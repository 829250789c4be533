//! A connected socket that keeps its deadlines: non-blocking inside, blocking for its caller.
//!
//! Octets go straight from the kernel to the caller's buffer. Tries first and polls only when there is
//! nothing, so a busy line costs one system call a read.

use super::deadline::{Allowance, Deadline, obey};
use super::error::Error;
use crate::stop::Stop;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Socket {
    tcp: TcpStream,
    peer: SocketAddr,
    timeout: Duration,
    /// None once the stop no longer counts.
    stop: Option<Stop>,
    reading: Allowance,
    writing: Allowance,
}

impl Socket {
    /// Takes over a connected, non-blocking socket.
    pub(super) fn new(tcp: TcpStream, peer: SocketAddr, timeout: Duration, stop: Stop) -> Self {
        let reading = Allowance::new(Deadline::Greeting, timeout);
        let writing = Allowance::new(Deadline::Write, timeout);
        Socket { tcp, peer, timeout, stop: Some(stop), reading, writing }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Starts `deadline` for what is read, and a fresh one for what is written.
    pub(super) fn expect(&mut self, deadline: Deadline) {
        self.reading = Allowance::new(deadline, self.timeout);
        self.writing = Allowance::new(Deadline::Write, self.timeout);
    }

    /// See [`super::Stream::farewell`].
    pub(super) fn farewell(&mut self, timeout: Duration) {
        self.stop = None;
        self.timeout = timeout;
        self.expect(Deadline::Reply);
    }

    /// Notes octets that reached the caller. Not counted in [`Socket::read`], because under TLS a drip of one
    /// octet is a record of two dozen.
    pub(super) fn arrived(&mut self, octets: usize) {
        self.reading.arrived(octets as u64);
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        obey(self.stop.as_ref())?;
        loop {
            match self.tcp.read(buf) {
                Ok(octets) => return Ok(octets),
                Err(error) => must_wait(&error)?,
            }
            self.reading.wait([PollFd::new(&self.tcp, PollFlags::IN)], Duration::MAX, self.stop.as_ref())?;
        }
    }
}

impl Write for Socket {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        obey(self.stop.as_ref())?;
        loop {
            match self.tcp.write(buf) {
                Ok(octets) => return Ok(octets),
                Err(error) => must_wait(&error)?,
            }
            self.writing.wait([PollFd::new(&self.tcp, PollFlags::OUT)], Duration::MAX, self.stop.as_ref())?;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Fails unless the error only says "not yet".
fn must_wait(error: &io::Error) -> Result<(), Error> {
    match Errno::from_io_error(error) {
        Some(Errno::WOULDBLOCK | Errno::INTR) => Ok(()),
        errno => Err(Error::Broken(errno.unwrap_or(Errno::IO))),
    }
}
