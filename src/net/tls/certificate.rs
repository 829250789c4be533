//! What a certificate says: for people who have to decide whether it is the right one.
//!
//! Everything in it is the server's own word until somebody has verified it. So each text is escaped and cut, of many
//! names a few are kept, and what cannot be read is left out.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, NaiveDate};

use super::der::{Element, elements};
use super::names::{self, DNS_NAME, IP_ADDRESS};
use super::pin::Seen;
use crate::account::Pin;
use crate::text::printable_within;

/// So many names are kept, each of at most so many characters.
const NAMES: usize = 5;
const LONGEST: usize = 80;

/// 2.5.4.3 (commonName) and 2.5.4.10 (organizationName), as OBJECT IDENTIFIERs.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];
const ORGANIZATION: [u8; 3] = [0x55, 0x04, 0x0a];

/// Tags of text and time (X.690 §8.23, §11.7, §11.8).
const BMP_STRING: u8 = 0x1e;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `[0]` of the certificate's version.
const VERSION: u8 = 0xa0;

/// What a certificate says, made printable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The SHA-256 of the certificate.
    pub pin: Pin,
    /// That of its public key.
    pub key: Option<Pin>,
    /// The first names of servers in its subjectAltName.
    pub names: Vec<String>,
    /// How many more there are.
    pub more_names: usize,
    /// The common name of its subject, or its organization.
    pub subject: Option<String>,
    /// The same of who signed it.
    pub issuer: Option<String>,
    /// It names itself as who signed it.
    pub is_own_issuer: bool,
    /// When it begins to be valid, in seconds since 1970.
    pub not_before: Option<i64>,
    /// When it ends.
    pub not_after: Option<i64>,
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(super) fn of(der: &[u8]) -> Self {
        let Seen { certificate: pin, key } = Seen::of(der);
        let signed = Element::first(der).and_then(|whole| Element::first(whole.content));
        let parts = signed.into_iter().flat_map(|signed| elements(signed.content));
        // Serial number, signature, issuer, validity, subject (RFC 5280 §4.1).
        let parts: Vec<Element<'_>> = parts.skip_while(|element| element.tag == VERSION).take(5).collect();
        let part = |number: usize| parts.get(number).map_or(&[][..], |element| element.content);
        let (issuer, validity, subject) = (part(2), part(3), part(4));
        let mut times = elements(validity).map(|time| seconds(&time));
        let mut names = names::subject_alt_names(der).filter_map(|name| server_name(&name));
        let first: Vec<String> = names.by_ref().take(NAMES).collect();
        Certificate {
            pin,
            key,
            names: first,
            more_names: names.count(),
            subject: name(subject),
            issuer: name(issuer),
            is_own_issuer: !issuer.is_empty() && issuer == subject,
            not_before: times.next().flatten(),
            not_after: times.next().flatten(),
        }
    }

    /// The lines about it below an error.
    pub fn lines(&self) -> Vec<String> {
        let key = self.key.map(|key| format!("{key} (its public key)"));
        [format!("it is {self}"), format!("{} (the certificate)", self.pin)].into_iter().chain(key).collect()
    }
}

/// ``for `pop.example.org`, by `an authority`, from 2026-11-24 to 2026-12-24``
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.names[..], &self.subject) {
            ([], None) => f.write_str("for no server")?,
            ([], Some(subject)) => write!(f, "for no server (its subject is `{subject}`)")?,
            (names, _) => write!(f, "for `{}`", names.join("`, `"))?,
        }
        if self.more_names > 0 {
            write!(f, " and {} more", self.more_names)?;
        }
        match &self.issuer {
            _ if self.is_own_issuer => f.write_str(", by itself")?,
            Some(issuer) => write!(f, ", by `{issuer}`")?,
            None => f.write_str(", by nobody with a name")?,
        }
        match (self.not_before.and_then(date), self.not_after.and_then(date)) {
            (Some(from), Some(until)) => write!(f, ", from {from} to {until}"),
            _ => f.write_str(", with dates that cannot be read"),
        }
    }
}

fn date(seconds: i64) -> Option<NaiveDate> {
    DateTime::from_timestamp(seconds, 0).map(|time| time.date_naive())
}

fn shown(octets: &[u8]) -> String {
    printable_within(octets, LONGEST)
}

fn server_name(name: &Element<'_>) -> Option<String> {
    match name.tag {
        DNS_NAME => Some(shown(name.content)),
        IP_ADDRESS => {
            let four = || <[u8; 4]>::try_from(name.content).map(|octets| Ipv4Addr::from(octets).to_string());
            let sixteen = || <[u8; 16]>::try_from(name.content).map(|octets| Ipv6Addr::from(octets).to_string());
            four().or_else(|_| sixteen()).ok()
        }
        _ => None,
    }
}

/// The common name in a Name (RFC 5280 §4.1.2.4), or the organization.
fn name(name: &[u8]) -> Option<String> {
    let attribute = |wanted: [u8; 3]| {
        let sets = elements(name).flat_map(|set| elements(set.content));
        let mut values = sets.filter_map(|attribute| {
            let identifier = Element::first(attribute.content).filter(|identifier| identifier.content == wanted)?;
            Element::first(identifier.rest)
        });
        values.next()
    };
    attribute(COMMON_NAME).or_else(|| attribute(ORGANIZATION)).map(|value| text(&value))
}

fn text(value: &Element<'_>) -> String {
    if value.tag != BMP_STRING {
        return shown(value.content);
    }
    let units: Vec<u16> = value.content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    shown(String::from_utf16_lossy(&units).as_bytes())
}

/// `YYMMDDHHMMSSZ` up to 2049, else `YYYYMMDDHHMMSSZ` (RFC 5280 §4.1.2.5).
fn seconds(time: &Element<'_>) -> Option<i64> {
    let digits = std::str::from_utf8(time.content).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = match time.tag {
        UTC_TIME => digits.split_at_checked(2)?,
        GENERALIZED_TIME => digits.split_at_checked(4)?,
        _ => return None,
    };
    let year = match (time.tag, year.parse::<i32>().ok()?) {
        (UTC_TIME, year @ ..50) => 2000 + year,
        (UTC_TIME, year) => 1900 + year,
        (_, year) => year,
    };
    let part = |at: usize| rest.get(at..at + 2).and_then(|digits| digits.parse::<u32>().ok());
    let day = NaiveDate::from_ymd_opt(year, part(0)?, part(2)?)?;
    (rest.len() == 10).then_some(())?;
    Some(day.and_hms_opt(part(4)?, part(6)?, part(8)?)?.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd};

    fn made(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let mut params = CertificateParams::default();
        (params.not_before, params.not_after) = (date_time_ymd(2026, 11, 24), date_time_ymd(2051, 1, 2));
        change(&mut params);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn names_issuer_and_dates_are_read() {
        let der = made(|params| {
            params.distinguished_name = rcgen::DistinguishedName::new();
            params.distinguished_name.push(DnType::OrganizationName, "Example");
            params.subject_alt_names = vec![
                SanType::DnsName("pop.example.org".try_into().unwrap()),
                SanType::Rfc822Name("a@example.org".try_into().unwrap()),
                SanType::IpAddress("192.0.2.1".parse().unwrap()),
                SanType::IpAddress("2001:db8::1".parse().unwrap()),
            ];
        });
        let certificate = Certificate::of(&der);
        assert_eq!(
            certificate.to_string(),
            "for `pop.example.org`, `192.0.2.1`, `2001:db8::1`, by itself, from 2026-11-24 to 2051-01-02"
        );
        assert_eq!(certificate.subject.as_deref(), Some("Example"));
        assert_eq!((certificate.not_before, certificate.not_after), (Some(1_795_478_400), Some(2_556_230_400)));
        assert_eq!(certificate.lines().len(), 3);
    }

    #[test]
    fn a_common_name_is_told_as_what_it_is() {
        let der = made(|params| params.distinguished_name.push(DnType::CommonName, "pop.example.org"));
        let told = Certificate::of(&der).to_string();
        assert!(told.starts_with("for no server (its subject is `pop.example.org`), by itself"), "{told}");
    }

    #[test]
    fn a_hostile_certificate_is_escaped_and_cut() {
        let der = made(|params| {
            params.distinguished_name.push(DnType::CommonName, format!("\u{1b}[2J\u{202e}\r\n{}", "x".repeat(10_000)));
            let name = |number: usize| format!("{number}.{}.example", "a".repeat(60)).try_into().unwrap();
            params.subject_alt_names = (0..3000).map(|number| SanType::DnsName(name(number))).collect();
        });
        let certificate = Certificate::of(&der);
        assert_eq!((certificate.names.len(), certificate.more_names), (5, 2995));
        let told = certificate.to_string() + certificate.subject.as_deref().unwrap();
        assert!(told.contains("and 2995 more") && told.contains("\\x1b[2J\\u{202e}\\x0d\\x0a"), "{told}");
        assert!(told.len() < 800 && !told.contains(char::is_control), "{told}");
    }

    #[test]
    fn every_cut_certificate_is_read_as_far_as_it_goes() {
        let der = made(|params| params.subject_alt_names = vec![SanType::DnsName("a.example".try_into().unwrap())]);
        for cut in 0..der.len() {
            let _ = Certificate::of(&der[..cut]).lines();
        }
        assert_eq!(
            Certificate::of(b"").to_string(),
            "for no server, by nobody with a name, with dates that cannot be read"
        );
    }

    #[test]
    fn times_are_of_both_forms_and_of_no_other() {
        let time = |tag, content: &[u8]| {
            let element = [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
            seconds(&Element::first(&element).unwrap())
        };
        assert_eq!(time(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), Some(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), Some(2_524_608_000));
        for wrong in [&b"7001010000Z"[..], b"700101000000", b"70010100000+Z", b"701301000000Z", b"", b"Z", b"\xff\xffZ"]
        {
            assert_eq!((time(UTC_TIME, wrong), time(GENERALIZED_TIME, wrong)), (None, None), "{wrong:?}");
        }
        assert_eq!(time(0x02, b"700101000000Z"), None);
    }
}
