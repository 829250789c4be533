//! TLS by the system's own library, through native-tls, where that is not OpenSSL. The tests compare both.

use super::{Channel, Connector, PEM, Records, Refused, Trust, Unusable, names};
use crate::account::Identity;
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsConnectorBuilder, TlsStream};
use std::error::Error as _;
use std::io;

/// The library, with what it cannot be asked for.
struct Native {
    connector: TlsConnector,
    /// False: any certificate will do.
    verifies: bool,
}

/// What native-tls wants the key of a PEM file to begin with.
const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----";

/// A connector with this trust that can show this identity.
pub(super) fn connector(trust: &Trust, identity: Option<&Identity>) -> Result<Box<dyn Connector>, Unusable> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    believe(&mut builder, trust).map_err(|failure| Unusable::Trust(failure.to_string()))?;
    if let Some(identity) = identity {
        builder.identity(read(identity).map_err(|failure| Unusable::Identity(failure.to_string()))?);
    }
    match builder.build() {
        Ok(connector) => Ok(Box::new(Native { connector, verifies: !matches!(trust, Trust::Anybody) })),
        Err(failure) => Err(Unusable::Trust(failure.to_string())),
    }
}

fn believe(builder: &mut TlsConnectorBuilder, trust: &Trust) -> native_tls::Result<()> {
    match trust {
        Trust::System => {}
        Trust::Anybody => {
            builder.danger_accept_invalid_certs(true).danger_accept_invalid_hostnames(true);
        }
        Trust::Authorities(pem) => {
            builder.disable_built_in_roots(true);
            for authority in Certificate::stack_from_pem(pem)? {
                builder.add_root_certificate(authority);
            }
        }
    }
    Ok(())
}

fn read(identity: &Identity) -> native_tls::Result<native_tls::Identity> {
    let octets = &identity.octets;
    if memchr::memmem::find(octets, PEM).is_none() {
        return native_tls::Identity::from_pkcs12(octets, identity.password());
    }
    let key = memchr::memmem::find(octets, KEY).unwrap_or(octets.len());
    native_tls::Identity::from_pkcs8(octets, &octets[key..])
}

impl Connector for Native {
    fn connect(&self, name: &str, records: Records) -> Result<Box<dyn Channel>, Refused> {
        match self.connector.connect(name, records) {
            Ok(stream) if self.verifies && !has_kind_of(&stream, name) => {
                let shown = Channel::certificate(&stream).unwrap_or_default();
                Err(Refused::Certificate("hostname mismatch: no such subjectAltName".to_owned(), shown))
            }
            Ok(stream) => Ok(Box::new(stream)),
            Err(HandshakeError::Failure(failure)) => {
                let below = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
                Err(Refused::because(below, failure.to_string()))
            }
            Err(HandshakeError::WouldBlock(_)) => unreachable!("to the library, the socket blocks"),
        }
    }
}

fn has_kind_of(stream: &TlsStream<Records>, name: &str) -> bool {
    stream.certificate().is_some_and(|certificate| names::has_kind_of(&certificate, name))
}

impl Channel for TlsStream<Records> {
    fn records(&self) -> &Records {
        self.get_ref()
    }

    fn records_mut(&mut self) -> &mut Records {
        self.get_mut()
    }

    fn certificate(&self) -> Option<Vec<u8>> {
        self.peer_certificate().ok()??.to_der().ok()
    }

    /// native-tls has no such questions.
    fn version_and_cipher(&self) -> Option<(String, String)> {
        None
    }

    fn certificates(&self) -> Vec<Vec<u8>> {
        self.certificate().into_iter().collect()
    }

    fn server_end_point(&self) -> Option<Vec<u8>> {
        self.tls_server_end_point().ok().flatten()
    }
}
