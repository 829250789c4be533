//! The shape that nearly every line of a ledger has, read and written without the machinery of JSON.
//!
//! A ledger of 200,000 messages is read on every run, and nothing of a line matters then but its id, four numbers and the
//! lane, which nearly always is that of the line before. A
//! line is written for each message. What does not look exactly so is left to [`super::line`], which knows all of JSON.

use super::{Key, is_again};
use crate::deliver::Place;

/// The facts of an intent or a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief<'t> {
    /// `None` for a delivery.
    pub batch: Option<u64>,
    pub id: &'t [u8],
    pub nth: Option<u32>,
    pub again: bool,
    pub reused: bool,
    pub owed: bool,
    pub octets: Option<u64>,
    pub at: Option<u64>,
    /// Its place, and what follows it.
    pub place: &'t [u8],
}

/// Reads a line with its LF.
pub fn brief(line: &[u8]) -> Option<Brief<'_>> {
    let (rest, is_intent) = match line.strip_prefix(b"{\"intend\":\"") {
        Some(rest) => (rest, true),
        None => (line.strip_prefix(b"{\"delivered\":\"")?, false),
    };
    let end = memchr::memchr2(b'"', b'\\', rest)?;
    let (id, rest) = (&rest[..end], &rest[end..]);
    if rest[0] == b'\\' || !id.is_ascii() || !line.ends_with(b"}\n") {
        return None;
    }
    let (batch, nth, octets, at, again, reused, owed) = Default::default();
    let mut brief = Brief { batch, id, nth, again, reused, owed, octets, at, place: &[] };
    let place = numbers(&rest[1..], &mut brief)?;
    brief.place = place;
    let known = [&b"}\n"[..], b",\"maildir\":\"", b",\"mbox\":\"", b",\"imap\":\"", b",\"mda\":true", b",\"head\":\""];
    let is_whole = known.iter().any(|start| place.starts_with(start)) && brief.batch.is_some() == is_intent;
    is_whole.then_some(brief)
}

/// Appends the line of an intent; false, and nothing is appended, when it does not go to a Maildir or needs escapes.
pub fn write(text: &mut Vec<u8>, key: &Key, owed: bool, batch: u64, at: u64, place: &Place) -> bool {
    let Place::Maildir { maildir, name } = place else { return false };
    let maildir = maildir.as_os_str().as_encoded_bytes();
    if ![&key.unique_id, maildir, name.as_bytes()].into_iter().all(is_plain) {
        return false;
    }
    text.extend_from_slice(b"{\"intend\":\"");
    text.extend_from_slice(&key.unique_id);
    text.extend_from_slice(b"\",\"batch\":");
    push_number(text, batch);
    if key.nth > 1 {
        text.extend_from_slice(b",\"nth\":");
        push_number(text, key.nth.into());
    }
    if is_again(key) {
        text.extend_from_slice(b",\"again\":true");
    }
    if owed {
        text.extend_from_slice(b",\"owed\":true");
    }
    if let Some(octets) = key.octets {
        text.extend_from_slice(b",\"octets\":");
        push_number(text, octets);
    }
    text.extend_from_slice(b",\"at\":");
    push_number(text, at);
    text.extend_from_slice(b",\"maildir\":\"");
    text.extend_from_slice(maildir);
    text.extend_from_slice(b"\",\"name\":\"");
    text.extend_from_slice(name.as_bytes());
    if let Some(head) = key.head {
        text.extend_from_slice(b"\",\"head\":\"");
        text.extend_from_slice(&head.digits());
    }
    text.extend_from_slice(b"\"}\n");
    true
}

/// True for what stands for itself between the quotes of JSON. Without a branch, many octets are looked at in one step.
fn is_plain(text: &[u8]) -> bool {
    let is_odd = |octet: u8| !(0x20..0x7f).contains(&octet) | (octet == b'"') | (octet == b'\\');
    !text.iter().fold(false, |odd, octet| odd | is_odd(*octet))
}

fn push_number(text: &mut Vec<u8>, number: u64) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Takes the numbers in front of the place, and returns what begins there.
fn numbers<'t>(mut rest: &'t [u8], brief: &mut Brief<'_>) -> Option<&'t [u8]> {
    loop {
        // The beginning of a key tells which one it can be.
        let value: u64;
        match rest.get(..4) {
            Some(b",\"at") => {
                (value, rest) = number(rest.strip_prefix(b",\"at\":")?)?;
                brief.at = Some(value);
            }
            Some(b",\"oc") => {
                (value, rest) = number(rest.strip_prefix(b",\"octets\":")?)?;
                brief.octets = Some(value);
            }
            Some(b",\"ba") => {
                (value, rest) = number(rest.strip_prefix(b",\"batch\":")?)?;
                brief.batch = Some(value);
            }
            Some(b",\"nt") => {
                (value, rest) = number(rest.strip_prefix(b",\"nth\":")?)?;
                brief.nth = Some(u32::try_from(value).ok()?);
            }
            Some(b",\"ag") => (brief.again, rest) = (true, rest.strip_prefix(b",\"again\":true")?),
            Some(b",\"re") => (brief.reused, rest) = (true, rest.strip_prefix(b",\"reused\":true")?),
            Some(b",\"ow") => (brief.owed, rest) = (true, rest.strip_prefix(b",\"owed\":true")?),
            _ => return Some(rest),
        }
    }
}

/// At most eighteen digits: no overflow, and no size or time has more.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, octet) in text.iter().enumerate().take(19) {
        let digit = octet.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0).then(|| (value, &text[at..]));
        }
        value = value * 10 + u64::from(digit);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Appended;
    use crate::ledger::line::{Line, id_text};
    use crate::maildrop::{Fingerprint, MessageNumber};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_brief_line_says_what_the_whole_line_says(
            id in prop::collection::vec(prop_oneof![32u8..127, any::<u8>()], 1..12),
            batch in prop::option::of(any::<u64>()),
            nth in prop::option::of(any::<u32>()),
            again: bool,
            reused: bool,
            owed: bool,
            octets in prop::option::of(any::<u64>()),
            at in prop::option::of(0..=u64::from(u32::MAX)),
            mda in prop::option::of(0..3_usize),
            head in prop::option::of(any::<u64>()),
        ) {
            let maildir = Place::Maildir { maildir: "/m".into(), name: "1.x,S=4".into() };
            let (target, digest) = ("imaps://u@h/INBOX".to_owned(), [7; 32]);
            let (validity, next, date, heading, octets_sent) = (1, 2, 3, 4, 5);
            let (stamp, message_id, prefix) = (None, Some("<1@x>".to_owned()), 0);
            let imap = Place::Imap(Box::new(Appended {
                target, validity, next, date, stamp, message_id, heading, octets: octets_sent, prefix, digest,
            }));
            let place = mda.map(|mda| [Place::Mda, maildir, imap][mda].clone());
            let head = head.map(|head| Fingerprint(head).to_string().into());
            let name = Some(id_text(&id));
            let (intend, delivered) = if batch.is_some() { (name, None) } else { (None, name) };
            let mut text = vec![];
            let line = Line { intend, delivered, batch, nth, again, reused, owed, octets, at, head, ..Line::default() };
            match &place {
                Some(place) => line.to(place).write(&mut text),
                None => line.write(&mut text),
            }
            if let Some(brief) = brief(&text) {
                let end = text.len() - brief.place.len();
                let begins_well = brief.place == b"}\n" || brief.place.starts_with(b",\"");
                prop_assert!(begins_well && text[end - 1] != b',', "{}", String::from_utf8_lossy(brief.place));
                prop_assert_eq!(brief, Brief { batch, id: &id, nth, again, reused, owed, octets, at, place: &text[end..] });
            } else {
                let is_odd = !id.is_ascii() || id.iter().any(|octet| matches!(octet, b'"' | b'\\' | 0..32 | 127));
                let is_huge = [batch, octets].into_iter().flatten().any(|value| value >= 10u64.pow(18));
                prop_assert!(is_odd || is_huge, "{}", String::from_utf8_lossy(&text));
            }
        }
    }

    proptest! {
        #[test]
        fn a_line_is_written_as_json_writes_it(
            unique_id in prop::collection::vec(prop_oneof![9 => 32u8..127, 1 => any::<u8>()], 0..9),
            batch: u64,
            at: u64,
            nth: u32,
            again: bool,
            owed: bool,
            octets in prop::option::of(any::<u64>()),
            head in prop::option::of(any::<u64>()),
            maildir in "/[ -~é]{0,9}",
            name in "[ -~\n]{0,9}",
        ) {
            let number = MessageNumber(1);
            let head = head.map(Fingerprint);
            let key = Key { unique_id, nth, octets, again, head, ..Key::new(number) };
            let place = Place::Maildir { maildir: maildir.into(), name };
            let mut expected = vec![];
            crate::ledger::intent(&key, owed, batch, at).to(&place).write(&mut expected);
            let mut text = vec![];
            match write(&mut text, &key, owed, batch, at, &place) {
                true => prop_assert_eq!(text, expected),
                false => prop_assert!(text.is_empty() && expected.iter().any(|octet| *octet == b'\\' || !octet.is_ascii())),
            }
        }
    }

    #[test]
    fn what_is_not_exactly_so_is_left_alone() {
        for line in [
            "{\"intend\":\"a\",\"octets\":1,\"at\":2,\"mda\":true}\n",
            "{\"delivered\":\"a\",\"at\":-2}\n",
            "{\"delivered\":\"a\",\"at\":99999999999999999999999999999999}\n",
            "{\"delivered\":\"a\",\"at\":2",
            "{\"delivered\":\"a\",\"at\":2,\"new\":3}\n",
            "{\"delivered\":\"a\\u0001\",\"at\":2}\n",
            "{\"deleted\":\"a\",\"at\":2}\n",
            "",
        ] {
            assert_eq!(brief(line.as_bytes()), None, "{line}");
        }
    }
}
