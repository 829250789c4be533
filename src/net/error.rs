//! What can go wrong on the line, in facts; the wording is in one `Display`.
//!
//! An [`Error`] is small and can be cloned, because it travels through code that knows only `io::Error`
//! (the session, OpenSSL) and must come out of it unchanged.

use super::{Certificate, Deadline};
use crate::failure::{Failure, Kind};
use crate::stop::Stopped;
use crate::text::{bracketed, host_port, reason};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Why there is no connection, or no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The resolver knows no such host.
    UnknownHost {
        /// As it was asked for.
        host: String,
        /// In the resolver's words.
        reason: String,
    },
    /// The resolver could not say whether there is such a host.
    Resolver {
        /// As it was asked for.
        host: String,
        /// In the resolver's words.
        reason: String,
    },
    /// No address of the host accepted the connection.
    Connect {
        /// As it was asked for.
        host: String,
        /// The port that was tried.
        port: u16,
        /// The address of this machine that the configuration asks for.
        source: Option<IpAddr>,
        /// Each address, and what came of it.
        attempts: Vec<(SocketAddr, Errno)>,
    },
    /// The host has no address of the kind that `source_address` is.
    Family {
        /// As it was asked for.
        host: String,
        /// The address of this machine that the configuration asks for.
        source: IpAddr,
    },
    /// The proxy did not make a connection.
    Proxy {
        /// Its URL, without login.
        proxy: String,
        /// Why not.
        failure: ProxyFailure,
    },
    /// The command that is to be the line cannot be started.
    TunnelStart {
        /// The program, made printable.
        program: String,
        /// Why not, in the system's words.
        reason: String,
        /// True when it may start later.
        may_pass: bool,
    },
    /// The command that is the line has ended it.
    Tunnel {
        /// The program, made printable.
        program: String,
        /// How it ended.
        ending: String,
        /// The beginning of what it said on standard error, made printable.
        said: String,
    },
    /// The socket of this machine cannot be connected to.
    LocalSocket {
        /// As configured.
        path: PathBuf,
        /// Why not.
        errno: Errno,
    },
    /// A deadline passed.
    TimedOut {
        /// Which one.
        deadline: Deadline,
        /// How long the wait was.
        length: Duration,
        /// How much came in that time.
        octets: u64,
    },
    /// The run was asked to stop.
    Stopped(Stopped),
    /// TLS was not agreed upon.
    Tls {
        /// The name that the certificate should carry.
        host: String,
        /// Which check failed.
        failure: TlsFailure,
        /// The certificate that was seen, where the library shows it.
        certificate: Option<Box<Certificate>>,
        /// True when the server was named on the command line, where options say what keys say in a file.
        by_options: bool,
        /// True where a file says who is trusted: a pin does not replace it.
        has_ca_file: bool,
    },
    /// What came was not what TLS allows, in the middle of a session.
    Garbled {
        /// In the words of the TLS library.
        reason: String,
    },
    /// The server ended TLS with an alert, in the middle of a session.
    Alert {
        /// In the words of the TLS library.
        reason: String,
    },
    /// The file of the client's certificate and key cannot be used.
    ClientIdentity {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library cannot be used.
    Library {
        /// In its words.
        reason: String,
    },
    /// The file of certificate authorities cannot be used.
    CaFile {
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection broke.
    Broken(Errno),
}

/// Why there is no connection through a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProxyFailure {
    /// The line to the proxy failed.
    Line(Box<Error>),
    /// It said no.
    Refused {
        /// In its words, made printable.
        reason: String,
        /// True when it may say yes later.
        may_pass: bool,
    },
    /// It wants to know who we are.
    Credentials {
        /// True when it was told, and does not like it.
        given: bool,
    },
    /// It hung up.
    Closed,
    /// It does not speak that protocol.
    Garbage(String),
}

/// Which check of a TLS handshake failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFailure {
    /// Nobody who is trusted vouches for the certificate.
    UnknownAuthority {
        /// The file that says who is trusted; the system says it otherwise.
        ca_file: Option<PathBuf>,
    },
    /// The certificate vouches for itself, and is not among the trusted ones.
    SelfSigned {
        /// The file that says who is trusted; the system says it otherwise.
        ca_file: Option<PathBuf>,
    },
    /// The certificate's time is over.
    Expired,
    /// The certificate's time has not begun.
    NotYetValid,
    /// The certificate is for other names.
    WrongName,
    /// The certificate is none of those that the account names.
    Pin,
    /// The server speaks only versions before TLS 1.2.
    Version,
    /// The server does not speak TLS there.
    NotTls {
        /// What it said instead, made printable.
        said: String,
        /// True when STLS was not even asked for.
        implicit: bool,
    },
    /// The server hung up.
    Closed,
    /// Anything else, in the words of the TLS library.
    Other(String),
}

impl Error {
    /// The error of this room that an `io::Error` carries, if one is inside.
    pub fn of(error: &io::Error) -> Option<&Error> {
        error.get_ref()?.downcast_ref()
    }

    /// The same, where one must be inside: every error of a socket of this room is one.
    pub(super) fn within(error: &io::Error) -> Error {
        let errno = || Errno::from_io_error(error).unwrap_or(Errno::IO);
        Error::of(error).cloned().unwrap_or_else(|| Error::Broken(errno()))
    }
}

impl Failure for Error {
    fn kind(&self) -> Kind {
        match self {
            Error::UnknownHost { .. } => Kind::UnknownHost,
            Error::Resolver { .. } | Error::TimedOut { .. } => Kind::Temporary,
            Error::Connect { attempts, .. } if attempts.iter().any(|(_, errno)| may_pass(*errno)) => Kind::Temporary,
            Error::Broken(errno) if may_pass(*errno) => Kind::Temporary,
            Error::Connect { .. } | Error::Broken(_) => Kind::Io,
            Error::Stopped(stopped) => stopped.kind(),
            Error::Tls { .. } | Error::Garbled { .. } | Error::Alert { .. } | Error::Library { .. } => {
                Kind::Unavailable
            }
            Error::Proxy { failure, .. } => failure.kind(),
            Error::Tunnel { .. } => Kind::Temporary,
            // A server that is not running has no socket.
            Error::LocalSocket { errno: Errno::NOENT | Errno::AGAIN, .. } => Kind::Temporary,
            Error::LocalSocket { errno, .. } if may_pass(*errno) => Kind::Temporary,
            Error::LocalSocket { .. } => Kind::Io,
            Error::CaFile { .. } | Error::ClientIdentity { .. } => Kind::Configuration,
            Error::TunnelStart { may_pass: true, .. } => Kind::Temporary,
            Error::TunnelStart { .. } | Error::Family { .. } => Kind::Configuration,
        }
    }

    fn details(&self) -> Vec<String> {
        match self {
            Error::Tls { certificate: Some(certificate), .. } => certificate.lines(),
            _ => vec![],
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Tls { failure, certificate, by_options, has_ca_file, .. } => {
                let ca_file = if *by_options { "`--ca-file`" } else { "`tls_ca_file`" };
                let pin = pin(certificate.as_deref(), *by_options);
                let pin = if *has_ca_file { format!("{pin} in place of {ca_file}") } else { pin };
                failure.hint(&pin, ca_file, *by_options)
            }
            Error::Proxy { failure: ProxyFailure::Credentials { .. }, .. } => {
                Some("check USER and PASSWORD in `proxy = \"…://USER:PASSWORD@HOST:PORT\"`".to_owned())
            }
            Error::Alert { reason } if reason.contains("certificate required") => {
                Some("the server asks for a client certificate: name its file with `tls_client_identity`".to_owned())
            }
            _ => None,
        }
    }
}

/// What to write so that this certificate is trusted.
fn pin(shown: Option<&Certificate>, by_options: bool) -> String {
    match (shown, by_options) {
        (Some(shown), true) => format!("`--tls-pin {}`", shown.pin),
        (Some(shown), false) => format!("`tls_pin = \"{}\"`", shown.pin),
        (None, true) => "`--tls-pin` with its fingerprint".to_owned(),
        (None, false) => "`tls_pin` with its fingerprint".to_owned(),
    }
}

impl TlsFailure {
    fn hint(&self, pin: &str, ca_file: &str, by_options: bool) -> Option<String> {
        Some(match self {
            TlsFailure::UnknownAuthority { ca_file: None } => format!(
                "if the server has an authority of its own, name its PEM file with {ca_file}; else compare the \
                 fingerprint with what the server's owner says, and then write {pin}"
            ),
            TlsFailure::SelfSigned { .. } | TlsFailure::UnknownAuthority { .. } => {
                format!("compare the fingerprint with what the server's owner says, and then write {pin}")
            }
            TlsFailure::Expired => format!(
                "its owner has to renew it; until then, and when the owner has confirmed the fingerprint, {pin} lets it \
                 pass"
            ),
            TlsFailure::NotYetValid => "its time has not begun, or the clock of this machine is wrong".to_owned(),
            TlsFailure::WrongName if by_options => {
                format!("if it is the right server, put a name of the certificate into the URL, or write {pin}")
            }
            TlsFailure::WrongName => format!(
                "if it is the right server, write a name of the certificate as `tls_name` or `server`, or write {pin}"
            ),
            TlsFailure::Pin => format!(
                "either somebody is in between, or the server has a new certificate: let its owner confirm the \
                 fingerprint before you write {pin}"
            ),
            TlsFailure::NotTls { implicit: true, .. } if by_options => {
                "write `pop3://` if the server begins in clear on this port".to_owned()
            }
            TlsFailure::NotTls { implicit: true, .. } => {
                "write `tls = \"starttls\"` if the server begins in clear on this port".to_owned()
            }
            _ => return None,
        })
    }
}

impl ProxyFailure {
    fn kind(&self) -> Kind {
        match self {
            ProxyFailure::Line(error) => error.kind(),
            ProxyFailure::Refused { may_pass: true, .. } | ProxyFailure::Closed => Kind::Temporary,
            ProxyFailure::Refused { .. } | ProxyFailure::Garbage(_) => Kind::Unavailable,
            ProxyFailure::Credentials { .. } => Kind::Configuration,
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProxyFailure::Line(error) => error.fmt(f),
            ProxyFailure::Refused { reason, .. } => write!(f, "it refused the connection: {reason}"),
            ProxyFailure::Credentials { given: true } => f.write_str("it refused the user and the password"),
            ProxyFailure::Credentials { given: false } => f.write_str("it asks for a user and a password"),
            ProxyFailure::Closed => f.write_str("it closed the connection"),
            ProxyFailure::Garbage(said) => write!(f, "it does not speak this protocol; it said: {said}"),
        }
    }
}

/// Refused, unreachable, dropped: states of the network or of the server's machine, not of the configuration.
pub(super) fn may_pass(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNREFUSED
            | Errno::CONNRESET
            | Errno::CONNABORTED
            | Errno::PIPE
            | Errno::TIMEDOUT
            | Errno::HOSTUNREACH
            | Errno::HOSTDOWN
            | Errno::NETUNREACH
            | Errno::NETDOWN
            | Errno::NETRESET
            // No route from here in this family, for the moment.
            | Errno::ADDRNOTAVAIL
            // This machine's own needs.
            | Errno::MFILE
            | Errno::NFILE
            | Errno::AGAIN
            | Errno::NOMEM
            | Errno::NOBUFS
    )
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::UnknownHost { host, reason } => write!(f, "unknown host `{host}`: {reason}"),
            Error::Resolver { host, reason } => write!(f, "cannot resolve `{host}` now: {reason}"),
            Error::Connect { host, port, source, attempts } => {
                write!(f, "cannot connect to `{}`", host_port(host, *port))?;
                source.map_or(Ok(()), |source| write!(f, " from `{source}`"))?;
                f.write_str(": ")?;
                write_attempts(f, host, attempts)
            }
            Error::Family { host, source } => {
                let family = if source.is_ipv6() { "IPv6" } else { "IPv4" };
                write!(f, "`{host}` has no {family} address, as `source_address` `{source}` needs")
            }
            Error::Proxy { proxy, failure } => write!(f, "no connection through the proxy `{proxy}`: {failure}"),
            Error::TunnelStart { program, reason, .. } => write!(f, "cannot run the tunnel `{program}`: {reason}"),
            Error::Tunnel { program, ending, said } if said.is_empty() => write!(f, "the tunnel `{program}` {ending}"),
            Error::Tunnel { program, ending, said } => write!(f, "the tunnel `{program}` {ending}; it said: {said}"),
            Error::LocalSocket { path, errno } => {
                write!(f, "cannot connect to the socket `{}`: {}", path.display(), reason(&(*errno).into()))
            }
            Error::TimedOut { deadline, length, octets } => {
                let length = length.as_secs_f64();
                match (deadline, octets) {
                    (Deadline::Resolve, _) => write!(f, "the resolver gave no answer within {length} s")?,
                    (Deadline::Proxy, _) => write!(f, "it has not connected within {length} s")?,
                    (Deadline::Handshake, _) => write!(f, "no TLS within {length} s")?,
                    (Deadline::Write, _) => write!(f, "the server took nothing more within {length} s")?,
                    (_, 0) => write!(f, "nothing came within {length} s")?,
                    (_, 1) => write!(f, "only 1 octet came within {length} s")?,
                    (_, octets) => write!(f, "only {octets} octets came within {length} s")?,
                }
                write!(f, " (timeout `{deadline}`)")
            }
            Error::Stopped(stopped) => stopped.fmt(f),
            Error::Tls { host, failure, .. } => failure.write(f, host),
            Error::Garbled { reason } => write!(f, "what the server sent is not valid TLS: {reason}"),
            Error::Alert { reason } => write!(f, "the server ended the TLS session: {reason}"),
            Error::ClientIdentity { path, reason } => {
                write!(f, "cannot use the client identity `{}`: {reason}", path.display())
            }
            Error::Library { reason } => write!(f, "TLS cannot be used on this system: {reason}"),
            Error::CaFile { path, reason } => write!(f, "cannot use `{}`: {reason}", path.display()),
            Error::Broken(errno) => write!(f, "the connection broke: {}", reason(&(*errno).into())),
        }
    }
}

impl TlsFailure {
    fn write(&self, f: &mut fmt::Formatter<'_>, host: &str) -> fmt::Result {
        match self {
            TlsFailure::UnknownAuthority { ca_file: None } => {
                write!(f, "the certificate of `{host}` is not signed by an authority that this system trusts")
            }
            TlsFailure::UnknownAuthority { ca_file: Some(path) } => {
                write!(f, "the certificate of `{host}` is not signed by an authority in `{}`", path.display())
            }
            TlsFailure::SelfSigned { ca_file: None } => {
                write!(f, "the certificate of `{host}` is self-signed, and this system does not trust it")
            }
            TlsFailure::SelfSigned { ca_file: Some(path) } => {
                write!(f, "the certificate of `{host}` is self-signed, and not the one in `{}`", path.display())
            }
            TlsFailure::Expired => write!(f, "the certificate of `{host}` has expired"),
            TlsFailure::NotYetValid => write!(f, "the certificate of `{host}` is not valid yet"),
            TlsFailure::WrongName => write!(f, "the certificate of the server is not for `{host}`"),
            TlsFailure::Pin => write!(f, "the certificate of `{host}` matches no `tls_pin`"),
            TlsFailure::Version => write!(f, "`{host}` does not offer TLS 1.2 or newer"),
            TlsFailure::NotTls { said, .. } => write!(f, "`{host}` does not speak TLS on this port; it said: {said}"),
            TlsFailure::Closed => write!(f, "`{host}` closed the connection during the TLS handshake"),
            TlsFailure::Other(reason) => write!(f, "no TLS with `{host}`: {reason}"),
        }
    }
}

/// `connection refused`, or with several addresses `192.0.2.1: connection refused; [2001:db8::1]: …`.
fn write_attempts(f: &mut fmt::Formatter<'_>, host: &str, attempts: &[(SocketAddr, Errno)]) -> fmt::Result {
    for (position, (address, errno)) in attempts.iter().enumerate() {
        if position > 0 {
            f.write_str("; ")?;
        }
        let address = address.ip().to_string();
        if address != host {
            write!(f, "{}: ", bracketed(&address))?;
        }
        match *errno {
            Errno::TIMEDOUT => write!(f, "no answer (timeout `{}`)", Deadline::Connect)?,
            errno => f.write_str(&reason(&errno.into()))?,
        }
    }
    Ok(())
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Broken(errno) => Some(errno),
            _ => None,
        }
    }
}

impl From<Error> for io::Error {
    /// Never `Interrupted` or `WouldBlock`, on which callers would try again.
    fn from(error: Error) -> Self {
        match error {
            Error::TimedOut { .. } => io::Error::new(io::ErrorKind::TimedOut, error),
            _ => io::Error::other(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_named_with_its_reason() {
        let attempts = vec![
            ("[::1]:995".parse().unwrap(), Errno::CONNREFUSED),
            ("192.0.2.1:995".parse().unwrap(), Errno::TIMEDOUT),
        ];
        let error = Error::Connect { host: "pop.example.org".into(), port: 995, source: None, attempts };
        assert_eq!(
            error.to_string(),
            "cannot connect to `pop.example.org:995`: [::1]: connection refused; 192.0.2.1: no answer (timeout `connect`)"
        );
        assert_eq!(error.kind(), Kind::Temporary);
    }

    #[test]
    fn a_time_out_tells_how_little_came() {
        let after = |octets| {
            let length = Duration::from_secs(60);
            Error::TimedOut { deadline: Deadline::Body, length, octets }.to_string()
        };
        assert_eq!(after(0), "nothing came within 60 s (timeout `body`)");
        assert_eq!(after(17), "only 17 octets came within 60 s (timeout `body`)");
    }

    #[test]
    fn an_error_comes_out_of_io_unchanged() {
        let error = io::Error::from(Error::Stopped(Stopped { signal: 2 }));
        assert_eq!(Error::of(&error), Some(&Error::Stopped(Stopped { signal: 2 })));
        assert_eq!(error.to_string(), "stopped by signal 2");
        assert_eq!(Error::of(&io::Error::other("else")), None);
    }
}
