//! What both libraries must do alike.

use super::*;
use crate::account::{Password, Pin};
use crate::failure::Failure as _;
use crate::stop::Stop;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// A server for one handshake with a certificate that nobody vouches for: its PEM, and a socket to it.
fn self_signed() -> (String, Socket) {
    showing(CertificateParams::new(["127.0.0.1".to_owned()]).unwrap())
}

/// The same for a certificate with these names.
fn showing(params: CertificateParams) -> (String, Socket) {
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let _ = ServerConnection::new(Arc::new(config)).unwrap().complete_io(&mut tcp);
    });
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let socket = Socket::new(tcp.into(), true, Duration::from_secs(60), Stop::new().unwrap());
    (certificate.pem(), socket)
}

/// One connector of each library.
fn connectors(trust: &Trust) -> Vec<Box<dyn Connector>> {
    let both = [native::connector(trust, None).ok(), openssl::connector(trust, None).ok()];
    both.into_iter().flatten().collect()
}

/// What becomes of a session with a server that nobody vouches for, by either library.
fn outcomes(trust: impl Fn(String) -> Trust, name: &str, tls: &Tls) -> Vec<Option<String>> {
    outcomes_of(self_signed, trust, name, tls)
}

/// The same with a server of another kind.
fn outcomes_of(
    server: impl Fn() -> (String, Socket),
    trust: impl Fn(String) -> Trust,
    name: &str,
    tls: &Tls,
) -> Vec<Option<String>> {
    errors(server, trust, name, tls).into_iter().map(|error| error.map(|error| error.to_string())).collect()
}

fn errors(
    server: impl Fn() -> (String, Socket),
    trust: impl Fn(String) -> Trust,
    name: &str,
    tls: &Tls,
) -> Vec<Option<Error>> {
    let libraries = connectors(&Trust::Anybody).len();
    let outcome = |library: usize| {
        let (pem, socket) = server();
        let connector = connectors(&trust(pem)).swap_remove(library);
        Session::with(&*connector, socket, name, tls).err()
    };
    (0..libraries).map(outcome).collect()
}

#[test]
fn both_libraries_trust_the_same() {
    let tls = Tls::new(TlsMode::Implicit);
    let named = |pem: String| Trust::Authorities(pem.into_bytes());
    assert_eq!(outcomes(named, "127.0.0.1", &tls), [None, None]);
    let wrong = "the certificate of the server is not for `192.0.2.1`".to_owned();
    assert_eq!(outcomes(named, "192.0.2.1", &tls), [Some(wrong.clone()), Some(wrong)]);
    let stranger = |_| Trust::Authorities(self_signed().0.into_bytes());
    let unknown = "the certificate of `127.0.0.1` is self-signed, and this system does not trust it".to_owned();
    assert_eq!(outcomes(stranger, "127.0.0.1", &tls), [Some(unknown.clone()), Some(unknown)]);
}

#[test]
fn both_libraries_want_the_name_in_the_subject_alt_name() {
    let tls = Tls::new(TlsMode::Implicit);
    let named = |pem: String| Trust::Authorities(pem.into_bytes());
    let address = SanType::IpAddress("192.0.2.1".parse().unwrap());
    let host = SanType::DnsName("pop.example.org".try_into().unwrap());
    for alternatives in [vec![], vec![address], vec![host]] {
        let server = || {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, "localhost");
            params.subject_alt_names = alternatives.clone();
            showing(params)
        };
        let refused = Some("the certificate of the server is not for `localhost`".to_owned());
        assert_eq!(outcomes_of(server, named, "localhost", &tls), [refused.clone(), refused], "{alternatives:?}");
        assert_eq!(outcomes_of(server, |_| Trust::Anybody, "localhost", &tls), [None, None]);
    }
}

#[test]
fn both_libraries_show_the_certificate_to_be_pinned() {
    let tls = Tls { pins: vec![Pin([0; 32])], ..Tls::new(TlsMode::Implicit) };
    for outcome in errors(self_signed, |_| Trust::Anybody, "127.0.0.1", &tls) {
        let error = outcome.unwrap();
        assert_eq!(error.to_string(), "the certificate of `127.0.0.1` matches no `tls_pin`");
        let [says, certificate, key] = &error.details()[..] else { panic!("{error:?}") };
        assert!(says.starts_with("it is for `127.0.0.1`, by itself, from "), "{says}");
        assert!(certificate.starts_with("sha256:") && key.ends_with(" (its public key)"), "{certificate}, {key}");
        assert!(error.hint().unwrap().contains(&certificate[..71]), "{error:?}");
    }
}

#[test]
fn both_libraries_read_an_identity() {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["petar".to_owned()]).unwrap().self_signed(&key).unwrap();
    let read = |octets: Vec<u8>| {
        let identity = Identity { path: "me".into(), octets: octets.into(), password: Some(Password::new("")) };
        let by_openssl = openssl::connector(&Trust::Anybody, Some(&identity)).is_ok();
        [native::connector(&Trust::Anybody, Some(&identity)).is_ok(), by_openssl]
    };
    assert_eq!(read([certificate.pem(), key.serialize_pem()].concat().into()), [true, true]);
    assert_eq!(read([key.serialize_pem(), certificate.pem()].concat().into()), [true, true]);
    assert_eq!(read(certificate.pem().into()), [false, false]);
    assert_eq!(read(b"neither".to_vec()), [false, false]);
}
