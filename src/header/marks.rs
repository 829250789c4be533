//! By what a message is known again in a mailbox, where servers fold and encode its header section anew.

use chrono::DateTime;

use super::heading::plain;
use super::{Heading, LONGEST, fields};
use crate::text;

/// A longer Message-ID identifies nothing.
const LONGEST_ID: usize = 500;

/// What identifies a message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// The `X-Popfetch-Id` on top, which no other message has.
    pub stamp: Option<String>,
    /// Its Message-ID, in one line, with nothing in it but printable ASCII.
    pub message_id: Option<String>,
    /// A hash of From, Date and Subject, decoded.
    pub heading: u64,
}

impl Marks {
    /// Reads a header section, with LF or CRLF line ends; what is beyond [`LONGEST`] octets is not looked at.
    pub fn read(head: &[u8]) -> Self {
        let head = &head[..head.len().min(LONGEST)];
        let mut marks = Marks { heading: hash(&Heading::read(head)), ..Marks::default() };
        let [mut stamp, mut message_id] = [None, None];
        for field in fields(head) {
            let key = field.get_key_raw();
            // Of a field that stands there more than once the first one counts.
            let place = match () {
                () if key.eq_ignore_ascii_case(b"X-Popfetch-Id") => &mut stamp,
                () if key.eq_ignore_ascii_case(b"Message-ID") => &mut message_id,
                () => continue,
            };
            place.get_or_insert_with(|| word(field.get_value_raw()));
        }
        (marks.stamp, marks.message_id) = (stamp.flatten(), message_id.flatten());
        marks
    }
}

fn word(value: &[u8]) -> Option<String> {
    let word = Some(value).filter(|value| value.len() <= 2 * LONGEST_ID).map(plain)?;
    let word = word.trim();
    let is_plain = word.bytes().all(|octet| matches!(octet, b' '..=b'~'));
    (is_plain && (1..=LONGEST_ID).contains(&word.len())).then(|| word.to_owned())
}

fn hash(heading: &Heading) -> u64 {
    let Heading { date, from, subject } = heading;
    let date = date.and_then(|date| DateTime::from_timestamp(date, 0)).map(|date| date.to_rfc3339());
    let parts = [date.as_ref(), from.as_ref(), subject.as_ref()].map(|part| part.map_or("", String::as_str));
    text::hash(parts.join("\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "X-Popfetch-Id: 0a\nMessage-ID: <1@x>\nDate: Mon, 5 Jan 2026 10:00:00 +0100\nFrom: =?utf-8?q?=C5=BDuto?= <z@x>\nSubject: a\n b\n\nbody";

    #[test]
    fn what_is_folded_and_encoded_anew_is_the_same() {
        let marks = Marks::read(HEAD.as_bytes());
        assert_eq!((marks.stamp.as_deref(), marks.message_id.as_deref()), (Some("0a"), Some("<1@x>")));
        let anew = "subject:  a b\r\nfrom: Žuto <z@x>\r\ndate: Mon, 05 Jan 2026 09:00:00 +0000 (UTC)\r\nmessage-id:\r\n <1@x>\r\nx-popfetch-id: 0a\r\n\r\n";
        assert_eq!(Marks::read(anew.as_bytes()), marks);
        for (part, other) in [("Subject: a", "Subject: c"), ("z@x", "y@x"), ("10:00:00", "10:00:01")] {
            assert_ne!(Marks::read(HEAD.replace(part, other).as_bytes()).heading, marks.heading, "{other}");
        }
    }

    #[test]
    fn what_identifies_nothing_is_none() {
        for id in ["", " ", "<é@x>", "<\x01@x>", &"x".repeat(501), &"x".repeat(5000)] {
            assert_eq!(Marks::read(format!("Message-ID: {id}\n\n").as_bytes()).message_id, None, "{id}");
        }
        assert_eq!(Marks::read(b"Message-ID: <1>\nMessage-ID: <2>\n\n").message_id.as_deref(), Some("<1>"));
        assert_eq!(Marks::read(b"Message-ID: \nMessage-ID: <2>\n\n").message_id, None);
    }
}
