//! A server's side of TLS, and its certificate, by OpenSSL: popfetch is built with it anyway, and other libraries would
//! take some twenty seconds more to build.

use std::io;
use std::net::TcpStream;

use anyhow::{Context as _, Result};
use openssl::asn1::Asn1Time;
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{HandshakeError, SslAcceptor, SslMethod, SslStream};
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};

use crate::maildrop::{Encrypted, Tls};

/// A server on loopback.
pub struct Server {
    acceptor: SslAcceptor,
    /// The certificate of its authority, to be trusted.
    pub authority: String,
}

impl Server {
    /// With a certificate for `127.0.0.1` that is good for a day.
    pub fn new() -> Result<Self> {
        let (key_of_authority, key) = (key()?, key()?);
        let authority = certificate(&key_of_authority, None)?;
        let certificate = certificate(&key, Some((&authority, &key_of_authority)))?;
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        acceptor.set_private_key(&key)?;
        acceptor.set_certificate(&certificate)?;
        let pem = String::from_utf8(authority.to_pem()?).context("PEM is ASCII")?;
        Ok(Server { acceptor: acceptor.build(), authority: pem })
    }
}

fn key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// The certificate of an authority, or of a server that this one signs for.
fn certificate(key: &PKey<Private>, issuer: Option<(&X509, &PKey<Private>)>) -> Result<X509> {
    let mut name = X509Name::builder()?;
    name.append_entry_by_nid(Nid::COMMONNAME, if issuer.is_some() { "popfetch demo" } else { "popfetch demo CA" })?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::ONE, false)?;
    let mut builder = X509::builder()?;
    builder.set_version(2)?;
    builder.set_serial_number(&*serial.to_asn1_integer()?)?;
    builder.set_subject_name(&name)?;
    builder.set_issuer_name(issuer.map_or(&*name, |(issuer, _)| issuer.subject_name()))?;
    builder.set_not_before(&*Asn1Time::days_from_now(0)?)?;
    builder.set_not_after(&*Asn1Time::days_from_now(1)?)?;
    builder.set_pubkey(key)?;
    match issuer {
        None => builder.append_extension(BasicConstraints::new().critical().ca().build()?)?,
        Some(_) => {
            let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None))?;
            builder.append_extension(names)?;
        }
    }
    builder.sign(issuer.map_or(key, |(_, key)| key), MessageDigest::sha256())?;
    Ok(builder.build())
}

impl Tls for Server {
    fn accept(&self, socket: TcpStream, goes_on: &dyn Fn(&io::Error) -> bool) -> io::Result<Box<dyn Encrypted>> {
        let mut session = self.acceptor.accept(socket);
        loop {
            match session {
                Ok(stream) => return Ok(Box::new(stream)),
                Err(HandshakeError::WouldBlock(paused)) if paused.error().io_error().is_none_or(goes_on) => {
                    session = paused.handshake();
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
    }
}

impl Encrypted for SslStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref()
    }

    fn close_notify(&mut self) {
        let _ = self.shutdown();
    }
}
