//! The subjectAltName of a certificate: the only place for the name of a server (RFC 9525 §6.3).
//!
//! OpenSSL can be told so. Other libraries may look at the subject's common name when the certificate has no
//! subjectAltName of the kind that is asked for, so such a certificate is refused after them.

use super::der::{Element, SEQUENCE, elements};

/// `[3]` of the certificate's extensions.
const EXTENSIONS: u8 = 0xa3;

/// 2.5.29.17, as an OBJECT IDENTIFIER.
const SUBJECT_ALT_NAME: [u8; 3] = [0x55, 0x1d, 0x11];

/// `[2]` and `[7]` of a GeneralName (RFC 5280 §4.2.1.6).
pub(super) const DNS_NAME: u8 = 0x82;
pub(super) const IP_ADDRESS: u8 = 0x87;

/// True when the certificate has a subjectAltName of this name's kind, host name or address.
#[cfg(any(test, target_vendor = "apple"))]
pub(super) fn has_kind_of(certificate: &[u8], name: &str) -> bool {
    let kind = if name.parse::<std::net::IpAddr>().is_ok() { IP_ADDRESS } else { DNS_NAME };
    subject_alt_names(certificate).any(|name| name.tag == kind)
}

/// The GeneralNames, of whatever kind.
pub(super) fn subject_alt_names(certificate: &[u8]) -> impl Iterator<Item = Element<'_>> {
    elements(subject_alt_name(certificate).unwrap_or_default())
}

fn subject_alt_name(certificate: &[u8]) -> Option<&[u8]> {
    let signed = Element::first(Element::first(certificate)?.content)?.content;
    let extensions = elements(signed).find(|element| element.tag == EXTENSIONS)?;
    let mut extensions = elements(Element::first(extensions.content)?.content);
    let extension = extensions.find(|extension| {
        Element::first(extension.content).is_some_and(|identifier| identifier.content == SUBJECT_ALT_NAME)
    })?;
    let octets = elements(extension.content).last()?;
    Element::first(octets.content).filter(|names| names.tag == SEQUENCE).map(|names| names.content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn certificate(names: Vec<SanType>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn a_name_counts_only_beside_its_kind() {
        let [host, mail] = ["pop.example.org", "a@example.org"].map(|name| name.try_into().unwrap());
        let address = SanType::IpAddress("192.0.2.1".parse().unwrap());
        for (names, has_host, has_address) in [
            (vec![], false, false),
            (vec![SanType::Rfc822Name(mail)], false, false),
            (vec![SanType::DnsName(host)], true, false),
            (vec![address], false, true),
        ] {
            let certificate = certificate(names);
            assert_eq!(has_kind_of(&certificate, "elsewhere.example.org"), has_host);
            assert_eq!(has_kind_of(&certificate, "2001:db8::1"), has_address);
        }
    }

    #[test]
    fn a_cut_certificate_has_no_name() {
        let whole = certificate(vec![SanType::DnsName("pop.example.org".try_into().unwrap())]);
        assert!((0..whole.len()).all(|cut| !has_kind_of(&whole[..cut], "pop.example.org")));
    }
}
