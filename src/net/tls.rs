//! TLS: the only place that knows the TLS library, and what its failures mean.
//!
//! TLS 1.2 or newer; the chain and the name are verified always, there is no option that turns it off. A
//! `tls_ca_file` replaces the system's authorities. Under the library lies a buffer of [`RECORDS`] octets,
//! because OpenSSL reads the five octets of a record's header by themselves.

use super::Deadline;
use super::error::{Error, TlsFailure, reason};
use super::socket::Socket;
use crate::account::{Tls, TlsMode};
use crate::text;
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Room for several records (16 KiB each), so that a busy line is read in few system calls.
const RECORDS: usize = 128 * 1024;

/// An encrypted connection to a server whose certificate was verified.
#[derive(Debug)]
pub(super) struct Session(TlsStream<Records>);

impl Session {
    pub(super) fn begin(mut socket: Socket, host: &str, tls: &Tls) -> Result<Self, Error> {
        let connector = connector(tls.ca_file.as_deref())?;
        socket.expect(Deadline::Handshake);
        match connector.connect(certificate_name(host), Records::of(socket)) {
            Ok(stream) => Ok(Session(stream)),
            Err(HandshakeError::Failure(failure)) => Err(explain(&failure, host, tls)),
            Err(HandshakeError::WouldBlock(_)) => unreachable!("to the library, the socket blocks"),
        }
    }

    /// A hash of the server's certificate. It outlives the versions of TLS: it is the same in 1.3.
    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        self.0.tls_server_end_point().ok().flatten()
    }

    pub(super) fn socket(&self) -> &Socket {
        self.0.get_ref().reader.get_ref()
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        self.0.get_mut().reader.get_mut()
    }
}

impl Read for Session {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf) {
            // An end without close_notify. POP3 says itself where its replies end, so the session can tell.
            Err(_) if self.0.get_ref().ended => Ok(0),
            outcome => outcome.map_err(unmasked),
        }
    }
}

impl Write for Session {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.write(buf).map_err(unmasked)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The error of the socket below when there was one, else what the library has to say.
fn unmasked(error: io::Error) -> io::Error {
    match Error::of(&error) {
        Some(_) => error,
        None => Error::Garbled { reason: essence(&error.to_string()) }.into(),
    }
}

/// The socket as the library sees it: read in large pieces, written as it comes.
#[derive(Debug)]
struct Records {
    reader: BufReader<Socket>,
    /// The first octet was looked at.
    begun: bool,
    /// The server has closed its side.
    ended: bool,
}

impl Records {
    fn of(socket: Socket) -> Self {
        Records { reader: BufReader::with_capacity(RECORDS, socket), begun: false, ended: false }
    }

    /// A record begins with its type, 20 to 23 (RFC 8446 §5.1); what begins otherwise is text in clear, which
    /// says more about the server than the library's "wrong version number".
    fn refuse_clear_text(&mut self) -> io::Result<()> {
        match self.reader.fill_buf()? {
            [] | [20..=23, ..] => Ok(()),
            clear => {
                let line = clear.split(|octet| matches!(octet, b'\r' | b'\n')).next().unwrap_or_default();
                Err(io::Error::other(ClearText(text::printable(line))))
            }
        }
    }
}

/// What a server said where TLS was due.
#[derive(Debug)]
struct ClearText(String);

impl std::fmt::Display for ClearText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for ClearText {}

impl Read for Records {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if !self.begun {
            self.refuse_clear_text()?;
            self.begun = true;
        }
        let octets = self.reader.read(buf)?;
        self.ended = octets == 0;
        Ok(octets)
    }
}

impl Write for Records {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.reader.get_mut().write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The name for SNI and for the check of the certificate: an address without brackets, a host name without
/// the dot of a fully qualified one, which neither allows (RFC 6066 §3).
fn certificate_name(host: &str) -> &str {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or_else(|| host.strip_suffix('.').unwrap_or(host))
}

/// Loads what a handshake will need, while the caller resolves and connects.
///
/// It is a favour to the user, not a duty: reading the system's authorities takes OpenSSL 3.0 some 70 ms, and
/// native-tls reads them even when a `tls_ca_file` then replaces them. Without TLS this does nothing.
pub fn prepare(tls: &Tls) -> Preparation {
    if tls.mode == TlsMode::None {
        return Preparation(None);
    }
    let ca_file = tls.ca_file.clone();
    // An error is for the handshake to find.
    Preparation(thread::Builder::new().name("tls".to_owned()).spawn(move || drop(connector(ca_file.as_deref()))).ok())
}

/// Loading in progress; to be held until the handshake. Its drop waits for the end of it, because OpenSSL must
/// not be at work while the process exits and cleans it up.
#[derive(Debug)]
#[must_use = "dropping it at once waits for the loading"]
pub struct Preparation(Option<JoinHandle<()>>);

impl Drop for Preparation {
    fn drop(&mut self) {
        if let Some(loading) = self.0.take() {
            // A panic there is found again by the handshake.
            let _ = loading.join();
        }
    }
}

/// The connectors of this run: accounts share them, for the cost of loading one see [`prepare`].
static CONNECTORS: Mutex<BTreeMap<Option<PathBuf>, TlsConnector>> = Mutex::new(BTreeMap::new());

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Error> {
    // Held while one is built, so that nobody else builds the same.
    let mut connectors = CONNECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = ca_file.map(Path::to_path_buf);
    if let Some(known) = connectors.get(&key) {
        return Ok(known.clone());
    }
    let built = build(ca_file)?;
    connectors.insert(key, built.clone());
    Ok(built)
}

fn build(ca_file: Option<&Path>) -> Result<TlsConnector, Error> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Some(path) = ca_file {
        builder.disable_built_in_roots(true);
        for authority in authorities(path)? {
            builder.add_root_certificate(authority);
        }
    }
    builder.build().map_err(|failure| Error::Library { reason: essence(&failure.to_string()) })
}

/// Every certificate of a PEM file.
fn authorities(path: &Path) -> Result<Vec<Certificate>, Error> {
    let unusable = |reason: String| Error::CaFile { path: path.to_path_buf(), reason };
    let pem = fs::read(path).map_err(|failure| unusable(reason(&failure)))?;
    let certificates = Certificate::stack_from_pem(&pem).map_err(|failure| unusable(essence(&failure.to_string())))?;
    match certificates.is_empty() {
        true => Err(unusable("there is no PEM certificate in it".to_owned())),
        false => Ok(certificates),
    }
}

/// What a failed handshake means: an error of the socket comes out as it went in, the rest is in OpenSSL's
/// text, the only thing that native-tls passes on.
fn explain(failure: &native_tls::Error, host: &str, tls: &Tls) -> Error {
    let below = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(error) = below.and_then(Error::of) {
        return error.clone();
    }
    let clear = below.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<ClearText>());
    let failure = match clear {
        Some(ClearText(said)) => TlsFailure::NotTls { said: said.clone(), implicit: tls.mode == TlsMode::Implicit },
        None => classify(&failure.to_string(), tls.ca_file.as_deref()),
    };
    Error::Tls { host: host.to_owned(), failure }
}

/// OpenSSL 1.1 writes `self signed`, OpenSSL 3 `self-signed`.
fn classify(text: &str, ca_file: Option<&Path>) -> TlsFailure {
    let text_has = |words: &[&str]| words.iter().any(|word| text.to_lowercase().contains(word));
    let ca_file = ca_file.map(Path::to_path_buf);
    if text_has(&["issuer certificate", "in certificate chain", "unable to verify the first certificate"]) {
        return TlsFailure::UnknownAuthority { ca_file };
    }
    if text_has(&["self-signed certificate", "self signed certificate"]) {
        return TlsFailure::SelfSigned { ca_file };
    }
    if text_has(&["certificate has expired"]) {
        return TlsFailure::Expired;
    }
    if text_has(&["certificate is not yet valid"]) {
        return TlsFailure::NotYetValid;
    }
    if text_has(&["hostname mismatch", "ip address mismatch"]) {
        return TlsFailure::WrongName;
    }
    if text_has(&["unsupported protocol", "alert protocol version", "wrong ssl version", "wrong version number"]) {
        return TlsFailure::Version;
    }
    if text_has(&["unexpected eof"]) {
        return TlsFailure::Closed;
    }
    TlsFailure::Other(essence(text))
}

/// The reason inside `error:0A000086:SSL routines:function:reason:file:line:data (verify result)`.
fn essence(text: &str) -> String {
    let inner = text.strip_prefix("error:").and_then(|rest| rest.split(':').nth(3)).unwrap_or(text);
    let verify = text.rsplit_once(" (").filter(|_| text.ends_with(')')).map(|(_, verify)| verify.trim_end_matches(')'));
    let whole = match verify {
        Some(verify) if inner != text => format!("{inner}: {verify}"),
        _ => inner.to_owned(),
    };
    text::printable(whole.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_picked_from_the_librarys_text() {
        let alert =
            "error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:../r.c:1605:SSL alert number 40";
        assert_eq!(essence(alert), "sslv3 alert handshake failure");
        let weak = "error:0A000086:SSL routines:f:certificate verify failed:../s.c:1889: (EE certificate key too weak)";
        assert_eq!(essence(weak), "certificate verify failed: EE certificate key too weak");
        assert_eq!(essence("unexpected EOF"), "unexpected EOF");
    }

    #[test]
    fn a_certificate_is_asked_for_without_brackets_and_final_dot() {
        assert_eq!(certificate_name("[::1]"), "::1");
        assert_eq!(certificate_name("pop.example.org."), "pop.example.org");
    }
}
