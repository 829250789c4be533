//! What a person looks for in a header section: when, from whom, and about what.
//!
//! Decodes what a stranger wrote, in linear time: a field is taken apart at its white space, because the decoder of
//! `mailparse` looks through a long text of encoded words (RFC 2047) again and again.

use std::borrow::Cow;

use chrono::{DateTime, Datelike as _};

use super::{LONGEST, fields};
use crate::text;

/// A longer word that is no single encoded word is shown as it stands.
const LONGEST_WORD: usize = 200;

/// A longer field is no date.
const LONGEST_DATE: usize = 200;

/// The fields of a header section that a list shows, as text that is safe to print. Of a field that stands there more
/// than once the first one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Heading {
    /// `Date`, in seconds since 1970.
    pub date: Option<i64>,
    /// `From`, decoded, in one line.
    pub from: Option<String>,
    /// `Subject`, decoded, in one line.
    pub subject: Option<String>,
}

impl Heading {
    /// Reads a header section, with LF or CRLF line ends; what is beyond [`LONGEST`] octets is not looked at.
    pub fn read(head: &[u8]) -> Self {
        let mut heading = Heading::default();
        for field in fields(&head[..head.len().min(LONGEST)]) {
            let (key, value) = (field.get_key_raw(), field.get_value_raw());
            if key.eq_ignore_ascii_case(b"Date") && heading.date.is_none() {
                heading.date = date(value);
            } else if key.eq_ignore_ascii_case(b"From") {
                heading.from.get_or_insert_with(|| decoded(value));
            } else if key.eq_ignore_ascii_case(b"Subject") {
                heading.subject.get_or_insert_with(|| decoded(value));
            }
        }
        heading
    }
}

/// When a message came, as far as its header section tells: seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrival {
    /// The date of the topmost `Received`, which the last server has put there.
    pub received: Option<i64>,
    /// `Date`, which its author has written.
    pub written: Option<i64>,
}

impl Arrival {
    /// Reads a header section, with LF or CRLF line ends; what is beyond [`LONGEST`] octets is not looked at.
    pub fn read(head: &[u8]) -> Self {
        let (mut received, mut written) = (None, None);
        for field in fields(&head[..head.len().min(LONGEST)]) {
            let (key, value) = (field.get_key_raw(), field.get_value_raw());
            if key.eq_ignore_ascii_case(b"Received") && received.is_none() {
                // RFC 5322 §3.6.7: the date stands behind the last semicolon.
                received = Some(memchr::memrchr(b';', value).and_then(|end| date(&value[end + 1..])));
            } else if key.eq_ignore_ascii_case(b"Date") && written.is_none() {
                written = Some(date(value));
            }
        }
        Arrival { received: received.flatten(), written: written.flatten() }
    }
}

fn date(value: &[u8]) -> Option<i64> {
    let value = Some(value).filter(|value| value.len() <= LONGEST_DATE)?;
    let words: Vec<&str> = std::str::from_utf8(value).ok()?.split_ascii_whitespace().collect();
    let words = words.join(" ");
    // Words without a date in them are 0 to mailparse.
    mailparse::dateparse(&words).ok().filter(|date| *date > 0 && is_of_the_calendar(&words))
}

/// False for a day, a year or a time that no calendar and no clock has, and that `mailparse` counts on: 29 Feb 2023 is
/// 1 March to it, the year 0000 is 2000. `words` is a date to it.
fn is_of_the_calendar(words: &str) -> bool {
    let tokens = words.split([' ', ':']).filter(|token| !token.is_empty());
    let mut tokens = tokens.skip_while(|token| token.parse::<u8>().is_err());
    let (Some(day), Some(month), Some(year)) = (tokens.next(), tokens.next(), tokens.next()) else { return false };
    let midnight = mailparse::dateparse(&format!("{day} {month} {year}")).ok();
    let counted = midnight.and_then(|midnight| DateTime::from_timestamp(midnight, 0)).map(|date| date.day());
    // RFC 5322 §4.3: two digits are a year of this century or of the last one.
    let is_a_year = year.len() == 2 || year.parse::<u32>().is_ok_and(|year| year >= 100);
    let is_a_time =
        |(token, limit): (&str, u8)| token.len() > 2 || token.parse::<u8>().is_ok_and(|value| value < limit);
    is_a_year && counted.is_some() && counted == day.parse().ok() && tokens.zip([24, 60, 61]).all(is_a_time)
}

/// The text of a field, safe to print.
fn decoded(value: &[u8]) -> String {
    text::defused(&plain(value))
}

/// The text of a field: folds and runs of blanks are one blank, encoded words are decoded, what is not UTF-8 counts as
/// ISO 8859-1.
pub(super) fn plain(value: &[u8]) -> String {
    let value = match std::str::from_utf8(value) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => value.iter().copied().map(char::from).collect::<String>().into(),
    };
    let mut line = String::new();
    let mut was_encoded = false;
    for word in value.split_ascii_whitespace() {
        let (text, is_encoded) = decoded_word(word);
        // White space between two encoded words is none (RFC 2047 §6.2).
        if !(line.is_empty() || was_encoded && is_encoded) {
            line.push(' ');
        }
        line.push_str(&text);
        was_encoded = is_encoded;
    }
    line
}

/// A word, and true when all of it was an encoded word.
fn decoded_word(word: &str) -> (Cow<'_, str>, bool) {
    let is_whole = word.starts_with("=?") && word.ends_with("?=") && word.matches('?').count() == 4;
    if !word.contains("=?") || !(is_whole || word.len() <= LONGEST_WORD) {
        return (word.into(), false);
    }
    let field = format!("X: {word}");
    let Ok((field, _)) = mailparse::parse_header(field.as_bytes()) else { return (word.into(), false) };
    let text = field.get_value();
    let is_encoded = is_whole && text != word;
    (text.into(), is_encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn subject(value: &str) -> String {
        Heading::read(format!("Subject: {value}\n\n").as_bytes()).subject.unwrap_or_default()
    }

    #[test]
    fn a_heading_has_the_first_of_each_field() {
        let head = b"Received: x\r\ndate: Tue, 24 Nov 2026\r\n\t18:33:41 +0100 (CET)\r\nFROM: Ana <a@x>\r\n\
                     From: Eve <e@x>\r\nSubject: Lunch\r\nSubject: none\r\n\r\nSubject: body\r\n";
        let heading = Heading::read(head);
        assert_eq!(heading.date, Some(1_795_541_621));
        assert_eq!((heading.from.as_deref(), heading.subject.as_deref()), (Some("Ana <a@x>"), Some("Lunch")));
        assert_eq!(Heading::read(b"To: x\n\nSubject: y\n"), Heading::default());
        assert_eq!(Heading::read(b""), Heading::default());
        assert_eq!(Heading::read(b"Subject:\n\n").subject.as_deref(), Some(""));
    }

    #[test]
    fn encoded_words_are_decoded() {
        for (value, expected) in [
            ("=?utf-8?q?Pozdrav_iz_=C5=BDupanje?=", "Pozdrav iz Županje"),
            ("=?UTF-8?B?xb11dG8=?=\n =?iso-8859-2?Q?_=BEuto?= x", "Žuto žuto x"),
            ("Re: =?utf-8?q?a?= =?utf-8?q?b?= c", "Re: ab c"),
            ("\"=?utf-8?q?J=C3=B6rg?=\" <j@x>", "\"Jörg\" <j@x>"),
            ("=?windows-1252?q?=80_5?=", "€ 5"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
            ("=?x-nonsense?q?a=20b?=", "=?x-nonsense?q?a=20b?="),
            ("=?utf-8?x?abc?= =?utf-8?q?b", "=?utf-8?x?abc?= =?utf-8?q?b"),
            ("=?utf-8?b?!!!?=", "=?utf-8?b?!!!?="),
            ("a\n  folded\n\tfield  with   blanks", "a folded field with blanks"),
            ("žuto", "žuto"),
        ] {
            assert_eq!(subject(value), expected, "{value:?}");
        }
        assert_eq!(Heading::read(b"Subject: caf\xe9\n\n").subject.as_deref(), Some("caf\u{e9}"));
        let long = format!("=?utf-8?q?{}?=", "=C5=BD".repeat(1000));
        assert_eq!(subject(&long), "Ž".repeat(1000));
    }

    #[test]
    fn what_drives_a_terminal_is_escaped_also_in_an_encoded_word() {
        assert_eq!(subject("=?utf-8?q?=1B[2J=0Aa=00?="), "\\x1b[2J\\x0aa\\x00");
        assert_eq!(subject("=?utf-8?q?=E2=80=AEtxt.exe?="), "\\u{202e}txt.exe");
        assert_eq!(subject("\u{2764}\u{fe0f} a\u{200d}b"), "\u{2764} ab", "what is only invisible goes");
        assert_eq!(Heading::read(b"Subject: a\x9bb\xff\n\n").subject.as_deref(), Some("a\\x9bb\u{ff}"));
    }

    #[test]
    fn a_date_that_is_none_is_none() {
        for value in ["", "yesterday", "32 Nov 2026 10:00:00 +0000", "1 Foo 2026", "24 Nov 99999999999 1:1:1 +0"] {
            assert_eq!(Heading::read(format!("Date: {value}\n\n").as_bytes()).date, None, "{value}");
        }
        let date = |value: &str| Heading::read(format!("Date: {value}\n\n").as_bytes()).date;
        for value in [
            "29 Feb 2023 10:00:00 +0000",
            "30 Feb 2024",
            "31 Apr 2026 10:00:00 +0000",
            "1 Jan 0000 00:00:00 +0000",
            "1 Jan 0026 00:00:00 +0000",
            "24 Nov 2026 24:00:00 +0000",
            "24 Nov 2026 10:60:00 +0000",
            "24 Nov 2026 10:00:61 +0000",
        ] {
            assert_eq!(date(value), None, "{value}");
        }
        for (value, seconds) in [
            ("Thu, 29 Feb 2024 10:00:00 +0000", 1_709_200_800),
            ("31 Dec 26 23:59:60 GMT", 1_798_761_600),
            ("24 Nov 2026 10:00:00 +0100 (CET)", 1_795_510_800),
            ("01 Jan 99 00:00:00 -0100", 915_152_400),
        ] {
            assert_eq!(date(value), Some(seconds), "{value}");
        }
        let second = b"Date: soon\nDate: Tue, 24 Nov 2026 18:33:41 +0100\n\n";
        assert_eq!(Heading::read(second).date, Some(1_795_541_621));
    }

    #[test]
    fn a_message_came_when_the_topmost_hop_says() {
        let (day, written) = (1_795_541_621, "Date: Tue, 24 Nov 2026 18:33:41 +0100\n");
        let hop = |day: u32| format!("Received: from a; b\n by c;\n Tue, {day} Nov 2026 18:33:41 +0100 (CET)\n");
        let read = |text: &str| {
            let Arrival { received, written } = Arrival::read(text.as_bytes());
            (received, written)
        };
        assert_eq!(read(written), (None, Some(day)));
        assert_eq!(read(&[written, &hop(25), &hop(23)].concat()), (Some(day + 86400), Some(day)));
        assert_eq!(read(&["Received: by c\n", &hop(23), written].concat()), (None, Some(day)));
        assert_eq!(read("Received: by c; soon\nDate: then\n\nDate: Tue, 24 Nov 2026 18:33:41 +0100\n"), (None, None));
    }

    #[test]
    fn a_long_field_is_read_in_linear_time() {
        // Cubic for a decoder that looks for the end of each word anew: hours, in place of milliseconds.
        for value in [" =?".repeat(8000) + &"?=x".repeat(8000), "=??==?".repeat(9000), " =?a?q?b?=".repeat(6000)] {
            subject(&value);
        }
    }

    proptest! {
        #[test]
        fn any_octets_give_safe_text(head: Vec<u8>) {
            let _ = Heading::read(&head);
        }

        #[test]
        fn any_field_gives_safe_text(
            value in "(=\\?|\\?=|utf-8|\\?q\\?|\\?B\\?|=[0-9A-F]{2}|[ -~\\t\\x00-\\x1f\\u{200b}-\\u{202e}é]|\\r?\\n ){0,60}"
        ) {
            let shown = subject(&value);
            prop_assert!(!shown.chars().any(text::is_unsafe), "{shown:?}");
            for columns in [0, 1, 7, 40] {
                prop_assert!(text::columns(&text::fitted(&shown, columns)) <= columns);
            }
        }

        #[test]
        fn any_date_gives_a_date_or_none(value in "[A-Za-z0-9:,+ -]{0,40}") {
            let _ = Heading::read(format!("Date: {value}\n\n").as_bytes());
        }
    }
}
