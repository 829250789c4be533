//! Written forms that flags and files share: `14d`, `20M`, `starttls`, `maildir:~/Mail/inbox`.
//!
//! Functions of text only. A refusal is an [`Expected`], which tells the accepted form and never repeats what was
//! written, so that it is safe for secrets too. Paths are taken as they stand; `paths` makes them absolute.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use chrono::{NaiveDate, NaiveTime};

use super::shell;
use crate::account::{Address, Auth, Order, Pin, Start, Target, TlsMode};
use crate::deliver::parse;
use crate::relay::parse as parse_server;

/// What should have been written instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expected(Cow<'static, str>);

impl Expected {
    /// In words that never change.
    pub const fn new(text: &'static str) -> Self {
        Expected(Cow::Borrowed(text))
    }

    /// In words for this case.
    pub fn with(text: String) -> Self {
        Expected(Cow::Owned(text))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {}", self.0)
    }
}

impl std::error::Error for Expected {}

/// The names of the TLS modes, as flags and files write them.
pub const TLS_MODES: [&str; 3] = ["implicit", "starttls", "none"];

/// The names of the ways to log in, as flags and files write them.
pub const AUTHS: [&str; 13] = [
    "auto",
    "user",
    "plain",
    "apop",
    "login",
    "cram-md5",
    "scram-sha-1",
    "scram-sha-1-plus",
    "scram-sha-256",
    "scram-sha-256-plus",
    "external",
    "xoauth2",
    "oauthbearer",
];

/// What can be fetched first, as flags and files write it.
pub const ORDERS: [&str; 3] = ["oldest", "newest", "smallest"];

/// The longest duration. Later dates would be beyond what clocks and calendars calculate with.
const CENTURY: u64 = 100 * 365 * DAY;

/// The longest time-out: whoever waits longer than a day waits for nothing.
const DAY: u64 = 24 * 60 * 60;

const DURATION: Expected = Expected::new("a duration such as `14d`, `36h` or `1d12h` (units s, m, h, d, w), not zero");
const TIMEOUT: Expected = Expected::new("seconds such as `60`, or a duration such as `90s` or `5m`, from 1s to 1d");
const SIZE: Expected = Expected::new("octets such as `500000`, or `20M` (k, M, G: powers of 1024), not zero");
const TLS: Expected = Expected::new("`implicit`, `starttls` or `none`");
const ORDER: Expected = Expected::new("`oldest`, `newest` or `smallest`");
const START: Expected =
    Expected::new("`all`, `now`, a duration such as `30d` (units s, m, h, d, w), or a day such as `2026-11-01`");
const PIN: Expected = Expected::new("`sha256:` and the 32 octets of a SHA-256 in hexadecimal digits or in Base64");
const AUTH: Expected = Expected::new(
    "`auto`, `user`, `plain`, `apop`, `login`, `cram-md5`, `scram-sha-1`, `scram-sha-256` (both also with `-plus`), \
     `external`, `xoauth2` or `oauthbearer`",
);
pub(super) const ENDPOINT: Expected = Expected::new("a URL that begins with `https://`");

/// `14d`, `1d12h`: numbers with units s, m, h, d, w; more than zero.
pub fn duration(text: &str) -> Result<Duration, Expected> {
    seconds(text, CENTURY).ok_or(DURATION)
}

/// A [`duration`], or a bare number of seconds.
pub fn timeout(text: &str) -> Result<Duration, Expected> {
    match text.parse() {
        Ok(number) => timeout_seconds(number),
        Err(_) => seconds(text, DAY).ok_or(TIMEOUT),
    }
}

/// A number of seconds from 1 to a day.
pub fn timeout_seconds(number: i64) -> Result<Duration, Expected> {
    u64::try_from(number).ok().and_then(|number| within(number, DAY)).ok_or(TIMEOUT)
}

fn seconds(text: &str, limit: u64) -> Option<Duration> {
    let mut rest = text;
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        let unit = match unit {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => DAY,
            'w' => 7 * DAY,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = after;
    }
    within(total, limit)
}

fn within(seconds: u64, limit: u64) -> Option<Duration> {
    (1..=limit).contains(&seconds).then(|| Duration::from_secs(seconds))
}

/// Takes digits and the character after them off the text.
fn number_and_unit(text: &str) -> Option<(u64, char, &str)> {
    let digits = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, rest) = text.split_at(digits);
    let unit = rest.chars().next()?;
    Some((number.parse().ok()?, unit, &rest[unit.len_utf8()..]))
}

/// An endpoint of OAuth 2.0: tokens travel under TLS or not at all, but for a server on this machine.
pub fn endpoint(text: &str) -> Result<String, Expected> {
    let Some((scheme, rest)) = text.split_once("://") else { return Err(ENDPOINT) };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let is_safe = match scheme {
        "https" => !authority.is_empty(),
        "http" => is_loopback(authority),
        _ => false,
    };
    // RFC 6749 §3.1: no fragment. What stands before an `@` looks like a host and is none.
    let is_plain = rest.bytes().all(|octet| octet.is_ascii_graphic()) && !rest.contains(['#', '\\']);
    if is_safe && is_plain && !authority.contains('@') { Ok(text.to_owned()) } else { Err(ENDPOINT) }
}

fn is_loopback(authority: &str) -> bool {
    let is_port = |text: &str| text.bytes().all(|octet| octet.is_ascii_digit());
    ["127.0.0.1", "[::1]", "localhost"].iter().any(|host| match authority.strip_prefix(host) {
        Some(rest) => rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port),
        None => false,
    })
}

/// `500000`, `20M`: octets, with k, M and G as powers of 1024; more than zero.
pub fn size(text: &str) -> Result<u64, Expected> {
    if let Ok(octets) = text.parse() {
        return size_octets(octets);
    }
    let Some((number, unit, "")) = number_and_unit(text) else { return Err(SIZE) };
    let factor: u64 = match unit {
        'k' | 'K' => 1 << 10,
        'm' | 'M' => 1 << 20,
        'g' | 'G' => 1 << 30,
        _ => return Err(SIZE),
    };
    number.checked_mul(factor).filter(|octets| *octets > 0).ok_or(SIZE)
}

/// A number of octets, more than zero.
pub fn size_octets(octets: i64) -> Result<u64, Expected> {
    u64::try_from(octets).ok().filter(|octets| *octets > 0).ok_or(SIZE)
}

/// One of [`TLS_MODES`].
pub fn tls_mode(text: &str) -> Result<TlsMode, Expected> {
    match text {
        "implicit" => Ok(TlsMode::Implicit),
        "starttls" => Ok(TlsMode::Starttls),
        "none" => Ok(TlsMode::None),
        _ => Err(TLS),
    }
}

/// One of [`ORDERS`].
pub fn order(text: &str) -> Result<Order, Expected> {
    match text {
        "oldest" => Ok(Order::Oldest),
        "newest" => Ok(Order::Newest),
        "smallest" => Ok(Order::Smallest),
        _ => Err(ORDER),
    }
}

/// `all`, `now`, a [`duration`], or a day, which begins at midnight UTC.
pub fn start(text: &str) -> Result<Start, Expected> {
    match text {
        "all" => Ok(Start::All),
        "now" => Ok(Start::Now),
        _ => duration(text).map(Start::Within).ok().or_else(|| day(text).map(Start::From)).ok_or(START),
    }
}

/// Midnight UTC of a day such as `2026-01-31`, in seconds since 1970.
pub fn day(text: &str) -> Option<u64> {
    let is_plain = text.len() == "2026-01-31".len();
    let day = text.parse::<NaiveDate>().ok().filter(|_| is_plain)?;
    u64::try_from(day.and_time(NaiveTime::MIN).and_utc().timestamp()).ok()
}

/// `sha256:` and a fingerprint, as openssl(1), browsers and RFC 7469 write it: digits with or without colons, or Base64.
pub fn pin(text: &str) -> Result<Pin, Expected> {
    let (algorithm, written) = text.split_once(':').ok_or(PIN)?;
    if !algorithm.eq_ignore_ascii_case("sha256") {
        return Err(PIN);
    }
    let octets = hexadecimal(&written.replace(':', "")).or_else(|| BASE64.decode(written.trim_end_matches('=')).ok());
    octets.and_then(|octets| octets.try_into().ok()).map(Pin).ok_or(PIN)
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let is_hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pair = |at| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    if is_hexadecimal { (0..digits.len()).step_by(2).map(pair).collect() } else { None }
}

/// One of [`AUTHS`].
pub fn auth(text: &str) -> Result<Auth, Expected> {
    match text {
        "auto" => Ok(Auth::Auto),
        "user" => Ok(Auth::User),
        "plain" => Ok(Auth::Plain),
        "apop" => Ok(Auth::Apop),
        "login" => Ok(Auth::Login),
        "cram-md5" => Ok(Auth::CramMd5),
        "scram-sha-1" => Ok(Auth::ScramSha1),
        "scram-sha-1-plus" => Ok(Auth::ScramSha1Plus),
        "scram-sha-256" => Ok(Auth::ScramSha256),
        "scram-sha-256-plus" => Ok(Auth::ScramSha256Plus),
        "external" => Ok(Auth::External),
        "xoauth2" => Ok(Auth::XOAuth2),
        "oauthbearer" => Ok(Auth::OAuthBearer),
        _ => Err(AUTH),
    }
}

/// `maildir:PATH`, `mbox:PATH`, `mda:COMMAND`, or a server: each destination reads its own words.
pub fn target(text: &str) -> Result<Target, Expected> {
    let target = parse_server(text).unwrap_or_else(|| parse(text)).map_err(Expected::new)?;
    let (_, written) = text.split_once(':').unwrap_or_default();
    let objection = match target.address() {
        Address::Path(_) => shell::objection_to_path(written),
        Address::Command(_) => shell::objection_to_command(written),
        Address::Server(_) => None,
    };
    objection.map_or(Ok(target), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_numbers_with_units() {
        assert_eq!(duration("14d"), Ok(Duration::from_secs(14 * DAY)));
        assert_eq!(duration("1d12h"), Ok(Duration::from_secs(36 * 60 * 60)));
        assert_eq!(duration("2w"), duration("14d"));
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn a_duration_without_unit_of_zero_or_beyond_a_century_is_refused() {
        for wrong in [
            "",
            "14",
            "0d",
            "d",
            "14 d",
            "-1d",
            "1d12",
            "1y",
            "1é",
            "36501d",
            "99999999999999999999w",
            "9999999999999999999w",
        ] {
            assert_eq!(duration(wrong), Err(DURATION), "{wrong}");
        }
    }

    #[test]
    fn a_timeout_may_be_a_bare_number_of_seconds() {
        assert_eq!(timeout("90"), timeout("90s"));
        assert_eq!(timeout("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["0", "-1", "86401", "2d", "soon", ""] {
            assert_eq!(timeout(wrong), Err(TIMEOUT), "{wrong}");
        }
    }

    #[test]
    fn sizes_are_octets_or_powers_of_1024() {
        assert_eq!(size("500000"), Ok(500_000));
        assert_eq!(size("20M"), Ok(20 << 20));
        assert_eq!(size("1k"), size("1K"));
        assert_eq!(size("3G"), Ok(3 << 30));
        for wrong in ["", "0", "0M", "M", "20MB", "1.5M", "-3", "20T", "99999999999999999G"] {
            assert_eq!(size(wrong), Err(SIZE), "{wrong}");
        }
    }

    #[test]
    fn every_name_that_is_offered_is_understood() {
        assert!(TLS_MODES.iter().all(|name| tls_mode(name).is_ok()));
        assert!(AUTHS.iter().all(|name| auth(name).is_ok()));
        assert!(ORDERS.iter().all(|name| order(name).is_ok()));
        assert_eq!(tls_mode("ssl"), Err(TLS));
        assert_eq!(auth("digest-md5"), Err(AUTH));
    }

    #[test]
    fn a_start_is_a_word_a_duration_or_a_day() {
        assert_eq!([start("all"), start("now")], [Ok(Start::All), Ok(Start::Now)]);
        assert_eq!(start("4w2d"), duration("30d").map(Start::Within));
        assert_eq!(start("2026-11-01"), Ok(Start::From(1_793_491_200)));
        for wrong in ["", "never", "30", "0d", "2026-11-31", "2026-11-1", "26-11-01", "01.11.2026", "1969-12-31"] {
            assert_eq!(start(wrong), Err(START), "{wrong}");
        }
    }

    #[test]
    fn a_pin_is_hexadecimal_with_or_without_colons_or_base64() {
        let digits = "00ff".repeat(16);
        let pin_of = |written: &str| pin(&format!("sha256:{written}"));
        let expected = pin_of(&digits).unwrap();
        assert_eq!(expected.to_string(), format!("sha256:{digits}"));
        let pairs: Vec<_> = ["00", "FF"].repeat(16);
        for written in [pairs.join(":"), BASE64.encode(expected.0), format!("{}=", BASE64.encode(expected.0))] {
            assert_eq!(pin_of(&written), Ok(expected), "{written}");
        }
        for wrong in ["", "00", "zz", &digits[1..], &"00".repeat(33), "é"] {
            assert_eq!(pin_of(wrong), Err(PIN), "{wrong}");
        }
        assert_eq!(pin(&digits), Err(PIN));
        assert_eq!(pin(&format!("md5:{digits}")), Err(PIN));
    }

    #[test]
    fn endpoints_are_https_or_on_this_machine() {
        for good in
            ["https://a.example/t", "https://a?x=y@z", "http://127.0.0.1:80/t", "http://[::1]:1", "http://localhost"]
        {
            assert_eq!(endpoint(good), Ok(good.to_owned()));
        }
        for bad in [
            "",
            "https://",
            "https:///t",
            "ftp://a/t",
            "http://a.example/t",
            "http://127.0.0.1.example/t",
            "http://localhost:80@a.example/t",
            "https://user@a.example/t",
            "https://a.example/t#f",
            "https://a.example/ t",
        ] {
            assert_eq!(endpoint(bad), Err(ENDPOINT), "{bad}");
        }
    }
}
