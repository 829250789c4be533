//! Certificates for servers on loopback: good ones, and each kind of bad one that a client must refuse.
//!
//! Everything is made afresh for a test; nothing is read from or written to the disk here.

use std::io::{self, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, SanType, date_time_ymd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ConfigBuilder, RootCertStore, ServerConfig, ServerConnection, StreamOwned, WantsVerifier};

use super::maildrop::{Encrypted, Tls};

/// The names of a server on loopback.
pub const LOOPBACK: [&str; 2] = ["localhost", "127.0.0.1"];

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, to be trusted.
    pub pem: String,
}

/// What a server shows, and the key that proves it.
pub struct Identity {
    certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key_pem: String,
    key: Vec<u8>,
}

impl Authority {
    /// A new authority; two of the same name do not know each other's key.
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let pem = params.self_signed(&key).expect("an authority signs itself").pem();
        Authority { issuer: Issuer::new(params, key), pem }
    }

    /// A good certificate for `localhost` and `127.0.0.1`.
    pub fn good(&self) -> Identity {
        self.sign(params(&LOOPBACK))
    }

    /// Right in everything but the name.
    pub fn wrong_name(&self) -> Identity {
        self.sign(params(&["pop.example.net"]))
    }

    /// A certificate that is for this host by its common name, beside these subjectAltNames.
    pub fn by_common_name(&self, host: &str, alternatives: Vec<SanType>) -> Identity {
        let mut params = params(&[]);
        params.distinguished_name.push(DnType::CommonName, host);
        params.subject_alt_names = alternatives;
        self.sign(params)
    }

    /// Right in everything but the time: it ended in 2002.
    pub fn expired(&self) -> Identity {
        let mut params = params(&LOOPBACK);
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        self.sign(params)
    }

    /// A certificate for the client `petar`.
    pub fn client(&self) -> Identity {
        let mut params = params(&["petar"]);
        params.distinguished_name.push(DnType::CommonName, "petar");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.issuer).expect("an authority signs");
        Identity::new(certificate, &key)
    }
}

impl Identity {
    /// A good certificate that nobody vouches for.
    pub fn self_signed() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params(&LOOPBACK).self_signed(&key).expect("a key signs itself");
        Identity::new(certificate, &key)
    }

    /// One that nobody vouches for, with thousands of names, and with controls in them.
    pub fn hostile() -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let names: Vec<String> = (0..2000).map(|number| format!("n{number}.example.org")).collect();
        let mut params = params(&names.iter().map(String::as_str).collect::<Vec<_>>());
        params.distinguished_name.push(DnType::CommonName, format!("\u{1b}[2J\u{202e}\r\n{}", "x".repeat(5000)));
        Identity::new(params.self_signed(&key).expect("a key signs itself"), &key)
    }

    fn new(certificate: rcgen::Certificate, key: &KeyPair) -> Self {
        Identity {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
        }
    }

    /// The certificate in DER.
    pub fn certificate_der(&self) -> &[u8] {
        &self.certificate
    }

    /// The server's side of TLS 1.2 and 1.3 with this certificate.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let config = tls().with_no_client_auth().with_single_cert(vec![self.certificate.clone()], self.key());
        Arc::new(config.expect("the key fits its certificate"))
    }

    /// The same, for clients with a certificate of this authority alone.
    pub fn server_config_demanding(&self, authority: &Authority) -> Arc<ServerConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("an authority has a certificate");
        roots.add(root).expect("an authority may be trusted");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let config = tls()
            .with_client_cert_verifier(verifier.expect("there is an authority"))
            .with_single_cert(vec![self.certificate.clone()], self.key());
        Arc::new(config.expect("the key fits its certificate"))
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }
}

impl Tls for Arc<ServerConfig> {
    fn accept(&self, mut socket: TcpStream, goes_on: &dyn Fn(&io::Error) -> bool) -> io::Result<Box<dyn Encrypted>> {
        let mut connection = ServerConnection::new(self.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            match connection.complete_io(&mut socket) {
                Err(error) if !goes_on(&error) => return Err(error),
                _ => {}
            }
        }
        Ok(Box::new(StreamOwned::new(connection, socket)))
    }
}

impl Encrypted for StreamOwned<ServerConnection, TcpStream> {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }

    fn close_notify(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
    }
}

fn tls() -> ConfigBuilder<ServerConfig, WantsVerifier> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring knows TLS 1.2 and 1.3")
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| name.to_string()).collect();
    let mut params = CertificateParams::new(names).expect("the names are plain ASCII");
    params.distinguished_name.push(DnType::CommonName, "popfetch test server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params
}
