//! Pins: is it the certificate, or the key, that the account names?
//!
//! A key outlives its certificate, so its pin stays good when the certificate is renewed. The key is found by a walk
//! over the DER, which the TLS library has already accepted: seven elements are no reason for a parser of X.509.

use super::der::{Element, SEQUENCE};
use crate::account::Pin;
use sha2::{Digest, Sha256};

/// `[0]` of the certificate's version.
const VERSION: u8 = 0xa0;

/// What may be pinned of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub certificate: Pin,
    /// Of the SubjectPublicKeyInfo, as in RFC 7469 §2.4.
    pub key: Option<Pin>,
}

impl Seen {
    /// In a certificate as it came, in DER.
    pub(super) fn of(certificate: &[u8]) -> Self {
        Seen { certificate: pin(certificate), key: public_key(certificate).map(pin) }
    }

    pub(super) fn matches(&self, pins: &[Pin]) -> bool {
        pins.iter().any(|pin| *pin == self.certificate || Some(pin) == self.key.as_ref())
    }
}

fn pin(der: &[u8]) -> Pin {
    Pin(Sha256::digest(der).into())
}

/// The SubjectPublicKeyInfo (RFC 5280 §4.1): the sixth or seventh element of what is signed.
fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    let signed = Element::first(Element::first(certificate)?.content)?.content;
    let mut element = Element::first(signed)?;
    if element.tag == VERSION {
        element = Element::first(element.rest)?;
    }
    // From the serial number over signature, issuer, validity and subject.
    for _ in 0..5 {
        element = Element::first(element.rest)?;
    }
    (element.tag == SEQUENCE).then_some(element.whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::PublicKeyData;

    #[test]
    fn certificate_and_key_have_a_pin_each() {
        let made = rcgen::generate_simple_self_signed(["pop.example.org".to_owned()]).unwrap();
        let seen = Seen::of(made.cert.der());
        assert_eq!(seen.key, Some(pin(&made.signing_key.subject_public_key_info())));
        assert_eq!(seen.certificate, pin(made.cert.der()));
        assert!(seen.matches(&[pin(b"another"), seen.certificate]));
        assert!(seen.matches(&[seen.key.unwrap()]));
        assert!(!seen.matches(&[pin(b"another")]));
    }

    #[test]
    fn every_cut_certificate_has_no_key_or_a_whole_one() {
        let made = rcgen::generate_simple_self_signed(["pop.example.org".to_owned()]).unwrap();
        let der = made.cert.der();
        for cut in 0..der.len() {
            assert_eq!(public_key(&der[..cut]), None, "{cut}");
        }
        assert_eq!(public_key(b"\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff"), None);
    }
}
