//! TLS by OpenSSL itself, for what native-tls cannot ask of it: not to read every authority of the system.
//!
//! native-tls loads the bundle of all of them into each connector, even when a `tls_ca_file` then replaces them: with
//! OpenSSL 3.0 some 70 ms of work, ten times as long as a session that finds nothing new. A folder with hashed names
//! (openssl-rehash(1)) holds the same certificates, and OpenSSL reads the one that it needs. A system without such a
//! folder is left to `native`.

use super::{Channel, Connector, Records, Refused, Trust};
use openssl::error::ErrorStack;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions};
use openssl::ssl::{SslMode, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::verify::X509CheckFlags;
use openssl::x509::{X509, X509VerifyResult};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// What openssl's own connector allows up to TLS 1.2: no anonymous peers, no broken ciphers.
const CIPHERS: &str = "DEFAULT:!aNULL:!eNULL:!MD5:!3DES:!DES:!RC4:!IDEA:!SEED:!aDSS:!SRP:!PSK";

/// A connector for this trust, the error in the library's words; nothing when only `native` can serve.
pub(super) fn connector(trust: &Trust) -> Option<Result<Box<dyn Connector>, String>> {
    let places = match trust {
        Trust::System => Places::of_system()?,
        Trust::Authorities(_) => Places::default(),
    };
    Some(match build(trust, &places) {
        Ok(context) => Ok(Box::new(context)),
        Err(failure) => Err(failure.to_string()),
    })
}

/// Where the system keeps its authorities.
#[derive(Debug, Default)]
struct Places {
    /// The file that the user names with `SSL_CERT_FILE`; no other is read.
    file: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Places {
    /// `SSL_CERT_DIR` and the usual folders, if one of them has hashed names.
    fn of_system() -> Option<Self> {
        let probe = openssl_probe::probe();
        let file = env::var_os(openssl_probe::ENV_CERT_FILE).and(probe.cert_file);
        let folders: Vec<_> = probe.cert_dir.into_iter().filter(|folder| is_hashed(folder)).collect();
        (!folders.is_empty()).then_some(Places { file, folders })
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

fn build(trust: &Trust, places: &Places) -> Result<SslContext, ErrorStack> {
    let mut context = SslContextBuilder::new(SslMethod::tls_client())?;
    context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    context.set_options(SslOptions::NO_COMPRESSION);
    context.set_mode(SslMode::AUTO_RETRY | SslMode::ACCEPT_MOVING_WRITE_BUFFER | SslMode::ENABLE_PARTIAL_WRITE);
    context.set_cipher_list(CIPHERS)?;
    context.set_verify(SslVerifyMode::PEER);
    if let Trust::Authorities(pem) = trust {
        for authority in X509::stack_from_pem(pem)? {
            context.cert_store_mut().add_cert(authority)?;
        }
    }
    if let Some(file) = &places.file {
        context.load_verify_locations(Some(file), None)?;
    }
    for folder in &places.folders {
        context.load_verify_locations(None, Some(folder))?;
    }
    Ok(context.build())
}

impl Connector for SslContext {
    fn connect(&self, name: &str, records: Records) -> Result<Box<dyn Channel>, Refused> {
        let session = session(self, name).map_err(|failure| Refused::Library(failure.to_string()))?;
        match session.connect(records) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(HandshakeError::SetupFailure(failure)) => Err(Refused::Library(failure.to_string())),
            Err(HandshakeError::Failure(failed)) => {
                let text = match failed.ssl().verify_result() {
                    X509VerifyResult::OK => failed.error().to_string(),
                    verdict => format!("{} ({verdict})", failed.error()),
                };
                Err(Refused::because(failed.error().io_error(), text))
            }
            Err(HandshakeError::WouldBlock(_)) => unreachable!("to the library, the socket blocks"),
        }
    }
}

/// A session with the server of this name, or address, which the certificate must carry.
fn session(context: &SslContext, name: &str) -> Result<Ssl, ErrorStack> {
    let mut session = Ssl::new(context)?;
    let Ok(address) = name.parse() else {
        session.set_hostname(name)?;
        session.param_mut().set_hostflags(X509CheckFlags::NO_PARTIAL_WILDCARDS);
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
