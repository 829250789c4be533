//! From addresses to one connection: several attempts side by side, the first that succeeds wins (RFC 8305).
//!
//! So an address that swallows packets costs a quarter of a second, not the whole deadline, and one that
//! refuses costs nothing.

use super::deadline::{Allowance, obey};
use super::error::Error;
use crate::os::poll::{PollFd, PollFlags};
use crate::stop::Stop;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// How long an attempt is given before the next one starts beside it (RFC 8305 §5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum Failure {
    /// Every address failed, each for its reason.
    Everywhere(Vec<(SocketAddr, Errno)>),
    /// Dialling was ended.
    Ended(Error),
}

impl Failure {
    /// The failure of dialling `host`.
    pub(super) fn named(self, host: &str, port: u16, source: Option<IpAddr>) -> Error {
        match self {
            Failure::Everywhere(attempts) => Error::Connect { host: host.to_owned(), port, source, attempts },
            Failure::Ended(error) => error,
        }
    }
}

/// Connects to whichever of the addresses answers first; earlier ones have a head start. All come
/// from `source`, if there is one. `meanwhile` is done once the first attempt is under way.
pub(super) fn dial(
    addresses: Vec<SocketAddr>,
    source: Option<IpAddr>,
    mut allowance: Allowance,
    stop: &Stop,
    meanwhile: impl FnOnce(),
) -> Result<TcpStream, Failure> {
    let mut meanwhile = Some(meanwhile);
    let mut waiting = addresses.into_iter();
    let mut attempts = Attempts::default();
    let mut due = Instant::now();
    loop {
        obey(stop).map_err(Failure::Ended)?;
        if let Some(connected) = attempts.connected() {
            return Ok(connected);
        }
        if attempts.pending.is_empty() || due <= Instant::now() {
            if let Some(address) = waiting.next() {
                attempts.start(address, source);
                due = Instant::now() + HEAD_START;
                if let Some(meanwhile) = meanwhile.take() {
                    meanwhile();
                }
                continue;
            }
            if attempts.pending.is_empty() {
                return Err(Failure::Everywhere(attempts.failed));
            }
        }
        let nap = if waiting.len() > 0 { due.saturating_duration_since(Instant::now()) } else { Duration::MAX };
        match allowance.wait(attempts.events(), nap, stop) {
            Err(Error::TimedOut { .. }) => return Err(Failure::Everywhere(attempts.abandoned())),
            Err(error) => return Err(Failure::Ended(error)),
            Ok(()) => {}
        }
    }
}

/// The attempts so far.
#[derive(Default)]
struct Attempts {
    pending: Vec<(TcpStream, SocketAddr)>,
    failed: Vec<(SocketAddr, Errno)>,
}

impl Attempts {
    fn start(&mut self, address: SocketAddr, source: Option<IpAddr>) {
        match begin(address, source) {
            Ok(tcp) => self.pending.push((tcp, address)),
            Err(errno) => self.failed.push((address, errno)),
        }
    }

    /// The first attempt that has succeeded; those that have failed are put aside.
    fn connected(&mut self) -> Option<TcpStream> {
        for (tcp, address) in std::mem::take(&mut self.pending) {
            match sockopt::socket_error(&tcp).and_then(|outcome| outcome) {
                Err(errno) => self.failed.push((address, errno)),
                Ok(()) if tcp.peer_addr().is_ok() => return Some(tcp),
                Ok(()) => self.pending.push((tcp, address)),
            }
        }
        None
    }

    fn events(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.pending.iter().map(|(tcp, _)| PollFd::new(tcp, PollFlags::OUT))
    }

    /// Every failure, once there is no time left for what is still pending.
    fn abandoned(mut self) -> Vec<(SocketAddr, Errno)> {
        self.failed.extend(self.pending.iter().map(|(_, address)| (*address, Errno::TIMEDOUT)));
        self.failed
    }
}

fn begin(address: SocketAddr, source: Option<IpAddr>) -> Result<TcpStream, Errno> {
    let socket = socket(if address.is_ipv6() { AddressFamily::INET6 } else { AddressFamily::INET })?;
    // Commands are small and written in whole flights; none should wait for the acknowledgement of the last.
    sockopt::set_tcp_nodelay(&socket, true)?;
    if let Some(source) = source {
        rustix::net::bind(&socket, &SocketAddr::new(source, 0))?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno),
    }
}

/// A socket that does not block and that no child inherits.
#[cfg(not(target_vendor = "apple"))]
pub(super) fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    use rustix::net::{SocketFlags, socket_with};
    socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)
}

/// The same in three calls, for systems whose socket(2) takes no flags.
#[cfg(target_vendor = "apple")]
pub(super) fn socket(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let socket = rustix::net::socket(family, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    Ok(socket)
}
