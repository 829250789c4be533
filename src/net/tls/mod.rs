//! TLS: the only place that knows the TLS libraries, and what their failures mean.
//!
//! TLS 1.2 or newer; the chain and the name are verified, unless `tls_verify` is false. A `tls_ca_file` replaces the
//! system's authorities. A `tls_pin` replaces them, too, and with them the name and the dates: who holds that key is
//! the server. Pins beside a `tls_ca_file` are checked as well as it. Under the library lies a buffer of [`RECORDS`] octets,
//! because OpenSSL reads the five octets of a record's header by themselves.

mod certificate;
mod der;
mod names;
#[cfg(any(test, target_vendor = "apple"))]
mod native;
#[cfg(not(target_vendor = "apple"))]
mod openssl;
mod pin;
#[cfg(all(test, not(target_vendor = "apple")))]
mod tests_of_both;

use super::Deadline;
use super::error::{Error, TlsFailure};
use super::socket::Socket;
use crate::account::{Identity, Tls, TlsMode};
use crate::os::exposure::{self, Exposure};
use crate::text::{self, reason};
pub use certificate::Certificate;
use pin::Seen;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Room for several records (16 KiB each), so that a busy line is read in few system calls.
const RECORDS: usize = 64 << 10;

/// How every block of a PEM file begins (RFC 7468 §2).
const PEM: &[u8] = b"-----BEGIN ";

/// Makes sessions, by one of the libraries.
trait Connector: Send + Sync {
    /// `name` is asked for (SNI), and the certificate must carry it.
    fn connect(&self, name: &str, records: Records) -> Result<Box<dyn Channel>, Refused>;
}

/// What is encrypted by one of the libraries.
trait Channel: Read + Write + Send + fmt::Debug {
    fn records(&self) -> &Records;
    fn records_mut(&mut self) -> &mut Records;
    /// What the server has shown, in DER.
    fn certificate(&self) -> Option<Vec<u8>>;
    /// The version of TLS and the cipher suite, where the library tells them.
    fn version_and_cipher(&self) -> Option<(String, String)>;
    /// The certificates from the server's up to the authority, or as far as they are known, in DER.
    fn certificates(&self) -> Vec<Vec<u8>>;
    /// The `tls-server-end-point` channel binding (RFC 5929 §4): a hash of the server's certificate.
    fn server_end_point(&self) -> Option<Vec<u8>>;
}

/// Whose word counts for a certificate.
enum Trust {
    /// That of the system's authorities.
    System,
    /// That of the certificates in this PEM text alone.
    Authorities(Vec<u8>),
    /// Nobody's: any certificate will do for the library.
    Anybody,
}

/// What a connector cannot be made of, in the words of the library.
enum Unusable {
    Trust(String),
    Identity(String),
}

/// Why there is no session.
enum Refused {
    /// The socket below failed.
    Below(Error),
    /// The server does not speak TLS.
    ClearText(String),
    /// In the words of the library.
    Library(String),
    /// The same about this certificate, in DER.
    Certificate(String, Vec<u8>),
}

impl Refused {
    /// An error of the socket comes out as it went in; the rest is in the library's text.
    fn because(below: Option<&io::Error>, text: String) -> Self {
        if let Some(error) = below.and_then(Error::of) {
            return Refused::Below(error.clone());
        }
        let clear = below.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<ClearText>());
        clear.map_or(Refused::Library(text), |ClearText(said)| Refused::ClearText(said.clone()))
    }
}

/// What client and server have agreed upon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed {
    /// The version of TLS and the cipher suite, where the library tells them.
    pub version_and_cipher: Option<(String, String)>,
    /// The certificates from the server's on, as far as they are known.
    pub chain: Vec<Certificate>,
}

/// An encrypted connection to a server whose certificate was checked as the account asks for.
#[derive(Debug)]
pub(super) struct Session(Box<dyn Channel>);

impl Session {
    pub(super) fn begin(socket: Socket, host: &str, tls: &Tls, identity: Option<&Identity>) -> Result<Self, Error> {
        Self::with(&*connector(tls, identity)?, socket, host, tls)
    }

    fn with(connector: &dyn Connector, mut socket: Socket, host: &str, tls: &Tls) -> Result<Self, Error> {
        let name = tls.name.as_deref().unwrap_or(host);
        socket.expect(Deadline::Handshake);
        let channel = connector.connect(certificate_name(name), Records::of(socket));
        let session = channel.map(Session).map_err(|refused| explain(refused, name, tls))?;
        session.check_pins(name, tls)?;
        Ok(session)
    }

    /// Before anything is sent to the server, or believed of it.
    fn check_pins(&self, name: &str, tls: &Tls) -> Result<(), Error> {
        if tls.pins.is_empty() {
            return Ok(());
        }
        let shown = self.0.certificate();
        let failure = match shown.as_deref().map(Seen::of) {
            Some(seen) if seen.matches(&tls.pins) => return Ok(()),
            Some(_) => TlsFailure::Pin,
            None => TlsFailure::Other("the server shows no certificate".to_owned()),
        };
        Err(tls_error(name, tls, failure, shown.as_deref()))
    }

    /// A hash of the server's certificate. It outlives the versions of TLS: it is the same in 1.3.
    pub(super) fn server_end_point(&self) -> Option<Vec<u8>> {
        self.0.server_end_point()
    }

    /// What was agreed upon.
    pub(super) fn agreed(&self) -> Agreed {
        let chain = self.0.certificates();
        Agreed {
            version_and_cipher: self.0.version_and_cipher(),
            chain: chain.iter().map(|der| Certificate::of(der)).collect(),
        }
    }

    pub(super) fn socket_mut(&mut self) -> &mut Socket {
        self.0.records_mut().reader.get_mut()
    }
}

impl Read for Session {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buf) {
            // An end without close_notify. POP3 says itself where its replies end, so the session can tell.
            Err(_) if self.0.records().ended => Ok(0),
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
        None if error.kind() == io::ErrorKind::WouldBlock => error,
        None => interrupted(essence(&error.to_string())).into(),
    }
}

/// Under TLS 1.3 a server judges the client's certificate after the handshake, and says so by an alert.
fn interrupted(reason: String) -> Error {
    match reason.contains(" alert ") {
        true => Error::Alert { reason },
        false => Error::Garbled { reason },
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

impl fmt::Display for ClearText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

/// The connectors of this run: accounts share them, because a library that reads all of the system's authorities takes
/// some 70 ms for one.
static CONNECTORS: Mutex<BTreeMap<Key, Arc<dyn Connector>>> = Mutex::new(BTreeMap::new());

/// Whether anybody has to vouch for the certificate, and the file that says who may.
type Key = (bool, Option<PathBuf>);

/// Makes the connector that a handshake of this account will want. What goes wrong is left to the handshake, which will
/// try again and say so.
pub(super) fn prepare(tls: &Tls) {
    if tls.mode != TlsMode::None && tls.client_identity.is_none() {
        let _ = connector(tls, None);
    }
}

fn connector(tls: &Tls, identity: Option<&Identity>) -> Result<Arc<dyn Connector>, Error> {
    if identity.is_some() {
        return build(tls, identity);
    }
    // Held while one is built, so that nobody else builds the same.
    let mut connectors = CONNECTORS.lock().unwrap_or_else(PoisonError::into_inner);
    let key = (verifies(tls), tls.ca_file.clone());
    if let Some(known) = connectors.get(&key) {
        return Ok(known.clone());
    }
    let built = build(tls, None)?;
    connectors.insert(key, built.clone());
    Ok(built)
}

/// True when somebody has to vouch for the certificate.
fn verifies(tls: &Tls) -> bool {
    tls.verify && (tls.pins.is_empty() || tls.ca_file.is_some())
}

fn build(tls: &Tls, identity: Option<&Identity>) -> Result<Arc<dyn Connector>, Error> {
    let trust = match &tls.ca_file {
        _ if !verifies(tls) => Trust::Anybody,
        Some(path) => authorities(path)?,
        None => Trust::System,
    };
    let built = choose(&trust, identity).map_err(|unusable| match (unusable, &tls.ca_file, identity) {
        (Unusable::Identity(text), _, Some(identity)) => {
            Error::ClientIdentity { path: identity.path.clone(), reason: essence(&text) }
        }
        (Unusable::Trust(text), Some(path), _) => Error::CaFile { path: path.clone(), reason: essence(&text) },
        (Unusable::Trust(text) | Unusable::Identity(text), ..) => Error::Library { reason: essence(&text) },
    })?;
    Ok(built.into())
}

/// Whose sessions these are.
pub(super) fn library() -> &'static str {
    #[cfg(not(target_vendor = "apple"))]
    return openssl::version();
    #[cfg(target_vendor = "apple")]
    "the system's TLS"
}

/// By the one library of this platform.
fn choose(trust: &Trust, identity: Option<&Identity>) -> Result<Box<dyn Connector>, Unusable> {
    #[cfg(not(target_vendor = "apple"))]
    return openssl::connector(trust, identity);
    #[cfg(target_vendor = "apple")]
    native::connector(trust, identity)
}

/// Every certificate of a PEM file.
fn authorities(path: &Path) -> Result<Trust, Error> {
    let unusable = |reason: String| Error::CaFile { path: path.to_path_buf(), reason };
    let read = |file: &mut File| {
        let mut pem = Vec::new();
        file.read_to_end(&mut pem)?;
        Ok((pem, exposure::of(path, &file.metadata()?)))
    };
    let (pem, exposure) =
        File::open(path).and_then(|mut file| read(&mut file)).map_err(|failure| unusable(reason(&failure)))?;
    // Who can write there decides whom to trust.
    if let Some(exposure) = exposure.filter(Exposure::lets_change) {
        return Err(unusable(format!("it {exposure}; {}", exposure.advice(path, false))));
    }
    match memchr::memmem::find(&pem, b"CERTIFICATE-----") {
        Some(_) => Ok(Trust::Authorities(pem)),
        None => Err(unusable("there is no PEM certificate in it".to_owned())),
    }
}

/// What a failed handshake means.
fn explain(refused: Refused, host: &str, tls: &Tls) -> Error {
    let failure = match refused {
        Refused::Below(error) => return error,
        Refused::ClearText(said) => TlsFailure::NotTls { said, implicit: tls.mode == TlsMode::Implicit },
        Refused::Library(text) => classify(&text, tls.ca_file.as_deref()),
        Refused::Certificate(text, shown) => {
            return tls_error(host, tls, classify(&text, tls.ca_file.as_deref()), Some(&shown));
        }
    };
    tls_error(host, tls, failure, None)
}

fn tls_error(host: &str, tls: &Tls, failure: TlsFailure, shown: Option<&[u8]>) -> Error {
    let certificate = shown.map(|der| Box::new(Certificate::of(der)));
    Error::Tls {
        host: host.to_owned(),
        failure,
        certificate,
        by_options: tls.by_options,
        has_ca_file: tls.ca_file.is_some(),
    }
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
