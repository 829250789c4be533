//! TLS by the system's own library, through native-tls: everywhere, but for the short cut in `openssl`.

use super::{Channel, Connector, Records, Refused, Trust};
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use std::error::Error as _;
use std::io;

/// A connector for this trust; the error is in the library's words.
pub(super) fn connector(trust: &Trust) -> Result<Box<dyn Connector>, String> {
    match build(trust) {
        Ok(connector) => Ok(Box::new(connector)),
        Err(failure) => Err(failure.to_string()),
    }
}

fn build(trust: &Trust) -> native_tls::Result<TlsConnector> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if let Trust::Authorities(pem) = trust {
        builder.disable_built_in_roots(true);
        for authority in Certificate::stack_from_pem(pem)? {
            builder.add_root_certificate(authority);
        }
    }
    builder.build()
}

impl Connector for TlsConnector {
    fn connect(&self, name: &str, records: Records) -> Result<Box<dyn Channel>, Refused> {
        match TlsConnector::connect(self, name, records) {
            Ok(stream) => Ok(Box::new(stream)),
            Err(HandshakeError::Failure(failure)) => {
                let below = failure.source().and_then(|source| source.downcast_ref::<io::Error>());
                Err(Refused::because(below, failure.to_string()))
            }
            Err(HandshakeError::WouldBlock(_)) => unreachable!("to the library, the socket blocks"),
        }
    }
}

impl Channel for TlsStream<Records> {
    fn records(&self) -> &Records {
        self.get_ref()
    }

    fn records_mut(&mut self) -> &mut Records {
        self.get_mut()
    }
}
