//! What is said of TLS and of the server's certificate.

use super::Checking;
use super::row::{Point, Row};
use crate::net::{Agreed, Certificate};
use crate::notice::Notice;
use crate::os::clock::now;

/// A certificate that ends sooner is worth a warning.
const FEW_DAYS: i64 = 14;

const DAY: i64 = 86400;

impl Checking<'_> {
    pub(super) fn agreed(&mut self, agreed: Option<Agreed>) {
        let Some(Agreed { version_and_cipher, chain }) = agreed else { return };
        let tls = &self.account.tls;
        let words = match version_and_cipher {
            Some((version, cipher)) => format!("{version}, {cipher}"),
            None => "on; the library of this system does not tell its version".to_owned(),
        };
        self.row(match tls.is_unverified() {
            true => Row { hint: None, ..Row::doubtful(Point::Tls, format!("{words}; {}", Notice::Unverified), "") },
            false => Row::good(Point::Tls, words),
        });
        let Some(certificate) = chain.first() else { return };
        let counts_dates = tls.verify && (tls.pins.is_empty() || tls.ca_file.is_some());
        let mut row = certificate_row(certificate, counts_dates, now());
        row.details = certificate.lines().into_iter().skip(1).collect();
        let others: Vec<String> = chain.iter().skip(1).map(subject).collect();
        if !others.is_empty() {
            row.details.push(format!("signed by `{}`", others.join("`, that by `")));
        }
        self.row(row);
    }
}

fn certificate_row(certificate: &Certificate, counts_dates: bool, now: u64) -> Row {
    let left = certificate.not_after.map(|end| (end - i64::try_from(now).unwrap_or(i64::MAX)).div_euclid(DAY));
    let words = match left {
        Some(left) if left >= 0 => format!("{certificate}, {left} days left"),
        _ => certificate.to_string(),
    };
    match left {
        Some(left) if left < FEW_DAYS && counts_dates => Row::doubtful(
            Point::Certificate,
            words,
            "the owner of the server has to renew it; after its end nothing is fetched",
        ),
        _ => Row::good(Point::Certificate, words),
    }
}

fn subject(certificate: &Certificate) -> String {
    certificate.subject.clone().unwrap_or_else(|| "somebody without a name".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Pin;

    #[test]
    fn a_certificate_that_ends_soon_is_told_where_its_dates_count() {
        let certificate = Certificate {
            pin: Pin([0; 32]),
            key: None,
            names: vec!["h".into()],
            more_names: 0,
            subject: None,
            issuer: None,
            is_own_issuer: true,
            not_before: Some(0),
            not_after: Some(100 * DAY),
        };
        let row = |day: u64, counts| certificate_row(&certificate, counts, day * 86400);
        assert_eq!(row(86, true).finding.name(), "ok");
        assert!(row(86, true).words.ends_with(", 14 days left"), "{}", row(86, true).words);
        assert_eq!((row(87, true).finding.name(), row(87, false).finding.name()), ("warning", "ok"));
        assert!(!row(101, false).words.contains("left"));
    }
}
