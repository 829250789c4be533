//! The line to a server: resolve, connect, TLS, and deadlines with names. Knows nothing of POP3.
//!
//! A [`Stream`] blocks its caller and nothing else: underneath, the socket never blocks, and every wait is one
//! `poll` on the socket and on [`Stop`], for as long as the running [`Deadline`] still allows. So no wait is
//! without an end, and a stop is obeyed at once wherever the program is. What went wrong travels inside
//! `io::Error` and is found again with [`Error::of`].

mod deadline;
mod dial;
mod error;
mod proxy;
mod resolve;
mod socket;
mod tls;
mod tunnel;

pub use deadline::Deadline;
pub use error::{Error, ProxyFailure, TlsFailure};
pub use tls::{Agreed, Certificate};

use crate::account::{Identity, Proxy, Route, Tls};
use crate::stop::Stop;
use deadline::Allowance;
use rustix::net::{AddressFamily, SocketAddrUnix};
use socket::Socket;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tunnel::Tunnel;

/// Connects to `host`, a name or an address literal, by this route, trying all of its addresses (RFC 8305). A tunnel or a
/// socket is the server, whatever its host and port.
///
/// `timeout` is the length of every deadline of the stream. A stop that is requested later ends whatever the stream is
/// doing. `tls` is not begun yet, but while the server is on its way to answer the library gets ready: that takes it
/// milliseconds, and many times as long where it has to read all of a system's authorities.
pub fn connect(
    route: &Route,
    host: &str,
    port: u16,
    tls: &Tls,
    timeout: Duration,
    stop: &Stop,
) -> Result<Stream, Error> {
    let meanwhile = || tls::prepare(tls);
    let socket = match route {
        Route::Tcp { source, proxy: None } => over_tcp(*source, host, port, timeout, stop, meanwhile)?,
        Route::Tcp { source, proxy: Some(proxy) } => {
            let line = over_tcp(*source, &proxy.host, proxy.port, timeout, stop, meanwhile);
            over_proxy(line, proxy, host, port)?
        }
        Route::Tunnel(words) => {
            let (line, tunnel) = Tunnel::open(words)?;
            meanwhile();
            Socket::new(line, false, timeout, stop.clone()).with_tunnel(tunnel)
        }
        Route::Socket(path) => over_socket(path, timeout, stop)?,
    };
    Ok(Stream { line: Line::Plain(socket) })
}

/// Every address of `host`, in the order in which [`connect`] tries them.
pub fn addresses(host: &str, port: u16, timeout: Duration, stop: &Stop) -> Result<Vec<IpAddr>, Error> {
    let addresses = resolve::resolve(host, port, Allowance::new(Deadline::Resolve, timeout), stop)?;
    Ok(addresses.iter().map(SocketAddr::ip).collect())
}

/// The library that encrypts, with its version where it tells one.
pub fn tls_library() -> &'static str {
    tls::library()
}

fn over_tcp(
    source: Option<IpAddr>,
    host: &str,
    port: u16,
    timeout: Duration,
    stop: &Stop,
    meanwhile: impl FnOnce(),
) -> Result<Socket, Error> {
    let mut addresses = resolve::resolve(host, port, Allowance::new(Deadline::Resolve, timeout), stop)?;
    if let Some(source) = source {
        addresses.retain(|address| address.is_ipv6() == source.is_ipv6());
        if addresses.is_empty() {
            return Err(Error::Family { host: host.to_owned(), source });
        }
    }
    let tcp = dial::dial(addresses, source, Allowance::new(Deadline::Connect, timeout), stop, meanwhile)
        .map_err(|failure| failure.named(host, port, source))?;
    Ok(Socket::new(tcp.into(), true, timeout, stop.clone()))
}

/// `line` leads to the proxy.
fn over_proxy(line: Result<Socket, Error>, proxy: &Proxy, host: &str, port: u16) -> Result<Socket, Error> {
    let line = line.map_err(|error| match error {
        Error::Stopped(_) => error,
        error => proxy::failed(proxy, ProxyFailure::Line(Box::new(error))),
    })?;
    let mut socket = proxy::connect(line, proxy, host, port)?;
    socket.expect(Deadline::Greeting);
    Ok(socket)
}

fn over_socket(path: &Path, timeout: Duration, stop: &Stop) -> Result<Socket, Error> {
    let failed = |errno| Error::LocalSocket { path: path.to_path_buf(), errno };
    let socket = dial::socket(AddressFamily::UNIX).map_err(failed)?;
    // A socket of this machine connects at once or not at all.
    let address = SocketAddrUnix::new(path).map_err(failed)?;
    rustix::net::connect(&socket, &address).map_err(failed)?;
    Ok(Socket::new(socket, false, timeout, stop.clone()))
}

/// What the owner of a [`Stream`] is about to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// The server's first line.
    Greeting,
    /// A reply of one line, or of a few: all of it must be there within the timeout.
    Reply,
    /// Many octets: at least [`Stream::PROGRESS`] of them must come in each timeout.
    Body,
    /// The reply to a whole message that was sent, for ten minutes at least: whoever gives up earlier sends it twice (RFC
    /// 5321 §4.5.3.2.6).
    Taken,
    /// The end of the connection, for a few seconds: some servers leave it to the client.
    End,
}

/// How long an answer is waited for although the run is to stop.
const OUTLAST: Duration = Duration::from_secs(1);

/// How long the reply to a message is waited for.
const TAKEN: Duration = Duration::from_secs(600);

/// How long the end of the connection is waited for.
const END: Duration = Duration::from_secs(2);

/// A connection, in clear or under TLS.
///
/// Reads and writes block, for no longer than the named deadline that [`Stream::expect`] has set. Only time
/// spent waiting for the server counts: a slow disk or MDA on this side is not held against it. Dropping a
/// stream closes the connection.
#[derive(Debug)]
pub struct Stream {
    line: Line,
}

#[derive(Debug)]
enum Line {
    Plain(Socket),
    Encrypted(Box<tls::Session>),
}

impl Stream {
    /// Under [`Wait::Body`], the octets that must come in each timeout. The default minute then asks for
    /// 17 octets a second: any modem passes, and a server that drips one octet a second does not.
    ///
    /// Under TLS the octets come by the record, of at most 16 KiB (RFC 8446 §5.1), so that much is asked for
    /// when the server makes its records as large as it may.
    pub const PROGRESS: u64 = deadline::PROGRESS;

    /// Begins TLS, for a connection that is encrypted from the first octet as well as after STLS. `host` is
    /// the name, or the address, that the certificate must carry, unless the account has another one for it.
    /// `identity` is shown to a server that asks for one.
    ///
    /// On an error the connection is closed. An encrypted stream is returned as it is.
    pub fn handshake(self, host: &str, tls: &Tls, identity: Option<&Identity>) -> Result<Stream, Error> {
        let Line::Plain(socket) = self.line else { return Ok(self) };
        let session = tls::Session::begin(socket, host, tls, identity)?;
        Ok(Stream { line: Line::Encrypted(Box::new(session)) })
    }

    /// Says what the owner is about to wait for, and starts that deadline afresh.
    pub fn expect(&mut self, wait: Wait) {
        let socket = self.socket_mut();
        match wait {
            Wait::Greeting => socket.expect(Deadline::Greeting),
            Wait::Reply => socket.expect(Deadline::Reply),
            Wait::Body => socket.expect(Deadline::Body),
            Wait::Taken => socket.expect_at_least(Deadline::Reply, TAKEN),
            Wait::End => socket.expect_within(Deadline::Reply, END),
        }
    }

    /// From now on, acknowledges what has come before each wait instead of some 40 ms later.
    ///
    /// For an owner that sends nothing until a reply is complete: a server that writes a reply in two pieces without
    /// TCP_NODELAY (popa3d, Twisted) keeps the second one back until the first is acknowledged (RFC 896).
    pub fn acknowledge_at_once(&mut self) {
        self.socket_mut().acknowledge_at_once();
    }

    /// From now on, reads and writes on for a moment although the run is to stop: for an answer on which much depends, and
    /// which is on its way.
    pub fn outlast_stop(&mut self) -> io::Result<()> {
        self.socket_mut().outlast_stop(OUTLAST)
    }

    /// Reads what has come already; `None` when nothing has. Nothing is waited for.
    pub fn read_ready(&mut self, buf: &mut [u8]) -> io::Result<Option<usize>> {
        self.socket_mut().be_patient(false);
        let read = self.read(buf);
        self.socket_mut().be_patient(true);
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            read => read.map(Some),
        }
    }

    /// True once TLS is on, with the certificate checked as the account asks for.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.line, Line::Encrypted(_))
    }

    /// The `tls-server-end-point` channel binding (RFC 5929 §4), under TLS and where the library can tell it.
    pub fn server_end_point(&self) -> Option<Vec<u8>> {
        match &self.line {
            Line::Plain(_) => None,
            Line::Encrypted(session) => session.server_end_point(),
        }
    }

    /// What was agreed upon, under TLS.
    pub fn agreed(&self) -> Option<Agreed> {
        match &self.line {
            Line::Plain(_) => None,
            Line::Encrypted(session) => Some(session.agreed()),
        }
    }

    fn socket_mut(&mut self) -> &mut Socket {
        match &mut self.line {
            Line::Plain(socket) => socket,
            Line::Encrypted(session) => session.socket_mut(),
        }
    }
}

/// `Ok(0)` is the end of the connection, announced (close_notify) or not: whether it was due, the protocol
/// above knows. One call gives what is there, under TLS at most one record.
impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let octets = match &mut self.line {
            Line::Plain(socket) => socket.read(buf)?,
            Line::Encrypted(session) => session.read(buf)?,
        };
        self.socket_mut().arrived(octets);
        Ok(octets)
    }
}

/// One call is one system call, and under TLS one record. Nothing is held back, so `flush` does nothing.
impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        match &mut self.line {
            Line::Plain(socket) => socket.write(buf),
            Line::Encrypted(session) => session.write(buf),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
