//! TLS by OpenSSL itself, for what native-tls cannot ask of it: to look for the server's name in the subjectAltName
//! alone, and not to read every authority of the system.
//!
//! native-tls loads the bundle of all of them into each connector, even when a `tls_ca_file` then replaces them: with
//! OpenSSL 3.0 some 70 ms of work, ten times as long as a session that finds nothing new. A folder with hashed names
//! (openssl-rehash(1)) holds the same certificates, and OpenSSL reads the one that it needs.

use super::{Channel, Connector, PEM, Records, Refused, Trust, Unusable};
use crate::account::Identity;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions};
use openssl::ssl::{SslMode, SslRef, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509VerifyResult};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{env, fs};

/// What openssl's own connector allows up to TLS 1.2: no anonymous peers, no broken ciphers.
const CIPHERS: &str = "DEFAULT:!aNULL:!eNULL:!MD5:!3DES:!DES:!RC4:!IDEA:!SEED:!aDSS:!SRP:!PSK";

/// `OpenSSL 3.0.17 1 Jul 2025`: of the library that is used, not of the one that was built against.
pub(super) fn version() -> &'static str {
    openssl::version::version()
}

/// A connector with this trust that can show this identity.
pub(super) fn connector(trust: &Trust, identity: Option<&Identity>) -> Result<Box<dyn Connector>, Unusable> {
    let places = match trust {
        Trust::System => Places::of_system(),
        Trust::Authorities(_) | Trust::Anybody => Places::default(),
    };
    build(trust, &places, identity).map(|context| Box::new(context) as Box<dyn Connector>)
}

/// Where the system keeps its authorities.
#[derive(Debug, Default)]
struct Places {
    /// The bundle of all of them; read where there is no other place, or where the user names it with `SSL_CERT_FILE`.
    file: Option<PathBuf>,
    /// Folders with hashed names.
    folders: Vec<PathBuf>,
}

impl Places {
    /// `SSL_CERT_DIR` and the usual folders, if one of them has hashed names, else the usual bundle.
    fn of_system() -> Self {
        let probe = openssl_probe::probe();
        let folders: Vec<_> = probe.cert_dir.into_iter().filter(|folder| is_hashed(folder)).collect();
        let is_wanted = folders.is_empty() || env::var_os(openssl_probe::ENV_CERT_FILE).is_some();
        Places { file: probe.cert_file.filter(|_| is_wanted), folders }
    }
}

/// True when a file in the folder has the name that OpenSSL looks for: eight hexadecimal digits, a dot, a number.
fn is_hashed(folder: &Path) -> bool {
    let Ok(mut files) = fs::read_dir(folder) else { return false };
    files.any(|file| file.is_ok_and(|file| is_hash(&file.file_name())))
}

fn is_hash(name: &OsStr) -> bool {
    let Some((hash, number)) = name.to_str().and_then(|name| name.split_once('.')) else { return false };
    hash.len() == 8 && hash.bytes().all(|digit| digit.is_ascii_hexdigit()) && number.parse::<u32>().is_ok()
}

fn build(trust: &Trust, places: &Places, identity: Option<&Identity>) -> Result<SslContext, Unusable> {
    let mut context = believing(trust, places).map_err(|failure| Unusable::Trust(failure.to_string()))?;
    if let Some(identity) = identity {
        show(&mut context, identity).map_err(|failure| Unusable::Identity(failure.to_string()))?;
    }
    Ok(context.build())
}

fn believing(trust: &Trust, places: &Places) -> Result<SslContextBuilder, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_options(SslOptions::NO_COMPRESSION);
    context.set_mode(SslMode::AUTO_RETRY | SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE);
    context.set_cipher_list(CIPHERS)?;
    context.set_verify(match trust {
        Trust::Anybody => SslVerifyMode::NONE,
        Trust::System | Trust::Authorities(_) => SslVerifyMode::PEER,
    });
    if let Trust::Authorities(pem) = trust {
        for authority in X509::stack_from_pem(pem)? {
            context.cert_store_mut().add_cert(authority)?;
        }
    }
    if matches!(trust, Trust::System) && places.file.is_none() && places.folders.is_empty() {
        context.set_default_verify_paths()?;
    }
    if let Some(file) = &places.file {
        context.load_verify_locations(Some(file), None)?;
    }
    for folder in &places.folders {
        context.load_verify_locations(None, Some(folder))?;
    }
    Ok(context)
}

fn show(context: &mut SslContextBuilder, identity: &Identity) -> Result<(), ErrorStack> {
    let (key, chain) = read(identity)?;
    let mut chain = chain.into_iter();
    if let Some(certificate) = chain.next() {
        context.set_certificate(&certificate)?;
    }
    chain.try_for_each(|authority| context.add_extra_chain_cert(authority))?;
    context.set_private_key(&key)?;
    context.check_private_key()
}

/// The key, and the chain from the client's certificate on.
fn read(identity: &Identity) -> Result<(PKey<Private>, Vec<X509>), ErrorStack> {
    let octets = &identity.octets;
    if memchr::memmem::find(octets, PEM).is_some() {
        // Without a password OpenSSL would ask on the terminal.
        let key = PKey::private_key_from_pem_passphrase(octets, identity.password().as_bytes())?;
        return Ok((key, X509::stack_from_pem(octets)?));
    }
    let parsed = Pkcs12::from_der(octets)?.parse2(identity.password())?;
    // The authorities come from the far end of the chain.
    let chain = parsed.cert.into_iter().chain(parsed.ca.into_iter().flatten().rev()).collect();
    parsed.pkey.map(|key| (key, chain)).ok_or_else(ErrorStack::get)
}

impl Connector for SslContext {
    fn connect(&self, name: &str, records: Records) -> Result<Box<dyn Channel>, Refused> {
        let mut session = session(self, name).map_err(|failure| Refused::Library(failure.to_string()))?;
        let shown = Arc::new(Mutex::new(None));
        if self.verify_mode() == SslVerifyMode::PEER {
            keep_what_is_refused(&mut session, shown.clone());
        }
        match session.connect(records) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(HandshakeError::SetupFailure(failure)) => Err(Refused::Library(failure.to_string())),
            Err(HandshakeError::Failure(failed)) => {
                let text = match failed.ssl().verify_result() {
                    X509VerifyResult::OK => failed.error().to_string(),
                    verdict => format!("{} ({verdict})", failed.error()),
                };
                let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).take();
                match (Refused::because(failed.error().io_error(), text), shown) {
                    (Refused::Library(text), Some(shown)) => Err(Refused::Certificate(text, shown)),
                    (refused, _) => Err(refused),
                }
            }
            Err(HandshakeError::WouldBlock(_)) => unreachable!("to the library, the socket blocks"),
        }
    }
}

/// OpenSSL itself forgets a certificate that it refuses.
fn keep_what_is_refused(session: &mut SslRef, shown: Arc<Mutex<Option<Vec<u8>>>>) {
    session.set_verify_callback(SslVerifyMode::PEER, move |is_good, context| {
        if !is_good {
            let of_server = context.chain().and_then(|chain| chain.get(0)).or_else(|| context.current_cert());
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = of_server.and_then(|shown| shown.to_der().ok());
        }
        is_good
    });
}

/// A session with the server of this name, or address, which the certificate must carry.
fn session(context: &SslContext, name: &str) -> Result<Ssl, ErrorStack> {
    let mut session = Ssl::new(context)?;
    let Ok(address) = name.parse() else {
        session.set_hostname(name)?;
        // RFC 9525 §6.3: a common name is no name of a server.
        let flags = X509CheckFlags::NO_PARTIAL_WILDCARDS | X509CheckFlags::NEVER_CHECK_SUBJECT;
        session.param_mut().set_hostflags(flags);
        session.param_mut().set_host(name)?;
        return Ok(session);
    };
    session.param_mut().set_ip(address)?;
    Ok(session)
}

impl Channel for SslStream<Records> {
    fn records(&self) -> &Records {
        self.get_ref()
    }

    fn records_mut(&mut self) -> &mut Records {
        self.get_mut()
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.ssl().peer_certificate()?.to_der().ok()
    }

    fn version_and_cipher(&self) -> Option<(String, String)> {
        let cipher = self.ssl().current_cipher()?;
        let name = cipher.standard_name().unwrap_or_else(|| cipher.name());
        Some((self.ssl().version_str().to_owned(), name.to_owned()))
    }

    /// As it was verified, or else as it was shown.
    fn certificates(&self) -> Vec<Vec<u8>> {
        let chain =
            self.ssl().verified_chain().filter(|chain| !chain.is_empty()).or_else(|| self.ssl().peer_cert_chain());
        chain.into_iter().flatten().filter_map(|certificate| certificate.to_der().ok()).collect()
    }

    fn server_end_point(&self) -> Option<Vec<u8>> {
        let certificate = self.ssl().peer_certificate()?;
        let signed_with = certificate.signature_algorithm().object().nid().signature_algorithms()?.digest;
        // RFC 5929 §4.1: the hash that the certificate is signed with, but SHA-256 in place of the broken ones.
        let digest = match signed_with {
            Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
            other => MessageDigest::from_nid(other)?,
        };
        certificate.digest(digest).ok().map(|hash| hash.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_hashed_by_the_names_in_it() {
        for (name, expected) in
            [("002c0b4f.0", true), ("002c0b4f.12", true), ("ca-certificates.crt", false), ("002c0b4.0", false)]
        {
            assert_eq!(is_hash(OsStr::new(name)), expected, "{name}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_hashed(folder.path()));
        fs::write(folder.path().join("8c7caff2.0"), "").unwrap();
        assert!(is_hashed(folder.path()));
    }
}
