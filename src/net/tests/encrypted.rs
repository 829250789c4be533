use super::*;
use crate::account::{Tls, TlsMode};
use crate::failure::{Failure as _, Kind};
use crate::net::{TlsFailure, Wait};
use crate::stop::Stopped;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a server shows: its chain and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

impl Identity {
    fn named(name: &str, issuer: &Authority) -> Self {
        Self::with(CertificateParams::new([name.to_owned()]).unwrap(), issuer)
    }

    fn with(params: CertificateParams, issuer: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        Identity { chain: vec![params.signed_by(&key, issuer).unwrap().der().clone()], key }
    }

    fn self_signed() -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        (Identity { chain: vec![made.cert.der().clone()], key: made.signing_key }, made.cert.pem())
    }

    fn valid(years: (i32, i32), issuer: &Authority) -> Self {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.0, 1, 1);
        params.not_after = date_time_ymd(years.1, 1, 1);
        Self::with(params, issuer)
    }

    /// Serves one connection, once its handshake is done.
    fn serve(self, script: impl FnOnce(StreamOwned<ServerConnection, TcpStream>) + Send + 'static) -> u16 {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.chain, key)
            .unwrap();
        serve(move |tcp| {
            let mut tls = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), tcp);
            if tls.conn.complete_io(&mut tls.sock).is_ok() {
                script(tls);
            }
        })
    }
}

/// A folder with the file `ca.pem`, and the options that trust what is in it.
fn trusting(pem: &str) -> (TempDir, Tls) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, pem).unwrap();
    let tls = Tls { ca_file: Some(path), ..SYSTEM };
    (folder, tls)
}

const SYSTEM: Tls = Tls::new(TlsMode::Implicit);

fn encrypted(port: u16, tls: &Tls) -> Result<Stream, Error> {
    promptly(|| dialled(port).handshake("127.0.0.1", tls, None))
}

fn failure(error: Error) -> TlsFailure {
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    let Error::Tls { failure, .. } = error else { panic!("{error}") };
    failure
}

#[test]
fn a_file_with_two_authorities_trusts_both() {
    let (one, two) = (authority("one"), authority("two"));
    let (_folder, tls) = trusting(&[one.pem(), two.pem()].concat());
    for issuer in [one, two] {
        let port = Identity::named("127.0.0.1", &issuer).serve(|mut tls| tls.write_all(b"+OK\r\n").unwrap());
        let mut stream = encrypted(port, &tls).unwrap();
        assert!(stream.is_encrypted());
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!(&greeting, b"+OK\r\n");
    }
}

#[test]
fn the_server_end_point_is_the_digest_of_the_certificate_and_only_under_tls() {
    use sha2::Digest as _;
    let (identity, pem) = Identity::self_signed();
    let (_folder, tls) = trusting(&pem);
    // Signed with SHA-256, so hashed with it (RFC 5929 §4.1).
    let digest = sha2::Sha256::digest(&identity.chain[0]).to_vec();
    let stream = encrypted(identity.serve(|_| {}), &tls).unwrap();
    assert_eq!(stream.server_end_point(), Some(digest));
    assert_eq!(promptly(|| dialled(serve(|_| {}))).server_end_point(), None);
}

#[test]
fn a_self_signed_certificate_is_refused_until_it_is_named() {
    let (identity, _) = Identity::self_signed();
    let error = encrypted(identity.serve(|_| {}), &SYSTEM).unwrap_err();
    assert_eq!(error.to_string(), "the certificate of `127.0.0.1` is self-signed, and this system does not trust it");
    assert!(error.hint().unwrap().contains("`tls_pin = \"sha256:"));

    let (identity, pem) = Identity::self_signed();
    let (_folder, tls) = trusting(&pem);
    encrypted(identity.serve(|_| {}), &tls).unwrap();
}

#[test]
fn a_certificate_file_replaces_the_trust_in_all_others() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let (_folder, tls) = trusting(&ours.pem());
    let error = encrypted(Identity::named("127.0.0.1", &theirs).serve(|_| {}), &tls).unwrap_err();
    assert!(error.hint().unwrap().ends_with("in place of `tls_ca_file`"));
    assert_eq!(failure(error), TlsFailure::UnknownAuthority { ca_file: tls.ca_file });

    let error = encrypted(Identity::named("127.0.0.1", &theirs).serve(|_| {}), &SYSTEM).unwrap_err();
    assert!(error.hint().unwrap().contains("`tls_ca_file`"));
    assert_eq!(failure(error), TlsFailure::UnknownAuthority { ca_file: None });
}

#[test]
fn a_certificate_has_its_time() {
    let issuer = authority("one");
    let (_folder, tls) = trusting(&issuer.pem());
    let error = encrypted(Identity::valid((2001, 2002), &issuer).serve(|_| {}), &tls).unwrap_err();
    assert_eq!(failure(error), TlsFailure::Expired);
    let error = encrypted(Identity::valid((2901, 2902), &issuer).serve(|_| {}), &tls).unwrap_err();
    assert_eq!(failure(error), TlsFailure::NotYetValid);
}

#[test]
fn a_certificate_for_another_name_or_address_is_refused() {
    let issuer = authority("one");
    let (_folder, tls) = trusting(&issuer.pem());
    let error = encrypted(Identity::named("192.0.2.1", &issuer).serve(|_| {}), &tls).unwrap_err();
    assert_eq!(error.to_string(), "the certificate of the server is not for `127.0.0.1`");
    assert!(error.hint().unwrap().contains("`server`"));

    let port = Identity::named("pop.example.org", &issuer).serve(|_| {});
    let error = dialled(port).handshake("pop.example.com", &tls, None).unwrap_err();
    assert_eq!(failure(error), TlsFailure::WrongName);
    let port = Identity::named("pop.example.org", &issuer).serve(|_| {});
    dialled(port).handshake("pop.example.org", &tls, None).unwrap();
}

#[test]
fn a_server_that_speaks_in_clear_is_quoted() {
    let port = serve(|mut tcp| {
        tcp.write_all(b"+OK POP3 \x1b[2Jready\r\n").unwrap();
        stall();
    });
    let error = encrypted(port, &SYSTEM).unwrap_err();
    assert_eq!(error.to_string(), "`127.0.0.1` does not speak TLS on this port; it said: +OK POP3 \\x1b[2Jready");
    assert!(error.hint().unwrap().contains("tls = \"starttls\""));
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[test]
fn old_versions_are_refused() {
    // A fatal alert, protocol_version (RFC 8446 §6.2).
    let alert = b"\x15\x03\x01\x00\x02\x02\x46".to_vec();
    // A ServerHello that chooses TLS 1.1 (RFC 4346 §7.4.1.3), with TLS_RSA_WITH_AES_128_CBC_SHA.
    let hello = [&b"\x16\x03\x02\x00\x2a\x02\x00\x00\x26\x03\x02"[..], &[7; 32], b"\x00\x00\x2f\x00"].concat();
    for answer in [alert, hello] {
        let port = serve(move |mut tcp| {
            tcp.write_all(&answer).unwrap();
            stall();
        });
        let error = encrypted(port, &SYSTEM).unwrap_err();
        assert_eq!(failure(error), TlsFailure::Version);
    }
}

#[test]
fn other_alerts_are_given_in_the_librarys_words() {
    let port = serve(|mut tcp| {
        tcp.write_all(b"\x15\x03\x03\x00\x02\x02\x28").unwrap();
        stall();
    });
    let text = encrypted(port, &SYSTEM).unwrap_err().to_string();
    assert!(text.starts_with("no TLS with `127.0.0.1`: ") && text.ends_with("handshake failure"), "{text}");
}

#[test]
fn a_server_that_hangs_up_in_the_handshake_is_said_so() {
    let port = serve(|mut tcp| {
        // All of the ClientHello is read, so that the close is no reset.
        assert!(tcp.read(&mut [0; 4096]).unwrap() > 0);
    });
    assert_eq!(failure(encrypted(port, &SYSTEM).unwrap_err()), TlsFailure::Closed);
}

#[test]
fn a_silent_handshake_meets_its_deadline() {
    let error = encrypted(serve(|_tcp| stall()), &SYSTEM).unwrap_err();
    assert_eq!(error.to_string(), "no TLS within 0.3 s (timeout `handshake`)");
    assert!(error.is_transient());
}

#[test]
fn a_stop_ends_a_handshake() {
    let stop = Stop::new().unwrap();
    let stream = connect("127.0.0.1", serve(|_tcp| stall()), Duration::from_secs(60), &stop).unwrap();
    stop_soon(&stop);
    assert_eq!(stream.handshake("127.0.0.1", &SYSTEM, None).unwrap_err(), Error::Stopped(Stopped { signal: 15 }));
}

#[test]
fn a_file_without_certificates_is_an_error_of_the_configuration() {
    let (folder, empty) = trusting("no certificate\n");
    let missing = Tls { ca_file: Some(folder.path().join("missing.pem")), ..SYSTEM };
    for (tls, reason) in [(empty, "there is no PEM certificate in it"), (missing, "no such file or directory")] {
        let error = encrypted(serve(|_tcp| stall()), &tls).unwrap_err();
        let path = tls.ca_file.as_deref().map(Path::display).unwrap();
        assert_eq!(error.to_string(), format!("cannot use `{path}`: {reason}"));
        assert_eq!(error.kind(), Kind::Configuration);
    }
}

#[test]
fn a_large_transfer_arrives_whole_and_its_cut_end_is_an_end() {
    let issuer = authority("one");
    let (_folder, tls) = trusting(&issuer.pem());
    let sent: Vec<u8> = (0..8_u32 << 20).map(|position| (position / 3) as u8).collect();
    let expected = sent.clone();
    // Dropped without close_notify.
    let port = Identity::named("127.0.0.1", &issuer).serve(move |mut tls| tls.write_all(&sent).unwrap());
    let mut stream = encrypted(port, &tls).unwrap();
    stream.expect(Wait::Body);
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    assert!(received == expected);
    assert_eq!(stream.read(&mut [0; 9]).unwrap(), 0);
}

#[test]
fn a_drip_of_records_meets_the_deadline() {
    let issuer = authority("one");
    let (_folder, tls) = trusting(&issuer.pem());
    let port = Identity::named("127.0.0.1", &issuer).serve(|mut tls| {
        // 120 records of 23 octets in each deadline: much on the wire, little in it.
        while tls.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(2));
        }
    });
    let mut stream = encrypted(port, &tls).unwrap();
    stream.expect(Wait::Body);
    let error = promptly(|| stream.read_to_end(&mut Vec::new()).unwrap_err());
    assert!(cause(&error).ends_with("octets came within 0.3 s (timeout `body`)"), "{error}");
}

#[test]
fn garbage_in_a_session_is_an_error_of_tls() {
    let issuer = authority("one");
    let (_folder, tls) = trusting(&issuer.pem());
    let port = Identity::named("127.0.0.1", &issuer).serve(|mut tls| {
        tls.sock.write_all(b"+OK in the clear, all of a sudden\r\n").unwrap();
        stall();
    });
    let mut stream = encrypted(port, &tls).unwrap();
    let error = promptly(|| stream.read(&mut [0; 99]).unwrap_err());
    assert_eq!(Error::of(&error).unwrap().kind(), Kind::Unavailable);
}
