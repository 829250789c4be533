//! The shape that nearly every line of a ledger has, read without the machinery of JSON.
//!
//! A ledger of 200,000 messages is read on every run, and nothing of a line matters then but its id and four numbers.
//! What does not look exactly as this program writes it is left to [`super::line`], which reads all of JSON.

/// The facts of an intent or a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Brief<'t> {
    /// `None` for a delivery.
    pub batch: Option<u64>,
    pub id: &'t [u8],
    pub nth: Option<u32>,
    pub again: bool,
    pub reused: bool,
    pub octets: Option<u64>,
    pub at: Option<u64>,
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
    let mut brief = Brief { batch: None, id, nth: None, again: false, reused: false, octets: None, at: None };
    let place = numbers(&rest[1..], &mut brief)?;
    let is_known = [&b"}\n"[..], b",\"maildir\":\"", b",\"mbox\":\"", b",\"mda\":true", b",\"head\":\""];
    let is_whole = is_known.iter().any(|start| place.starts_with(start)) && brief.batch.is_some() == is_intent;
    is_whole.then_some(brief)
}

/// Takes the numbers in front of the place, and returns what begins there.
fn numbers<'t>(mut rest: &'t [u8], brief: &mut Brief<'_>) -> Option<&'t [u8]> {
    loop {
        let value: u64;
        if let Some(digits) = rest.strip_prefix(b",\"at\":") {
            (value, rest) = number(digits)?;
            brief.at = Some(value);
        } else if let Some(digits) = rest.strip_prefix(b",\"octets\":") {
            (value, rest) = number(digits)?;
            brief.octets = Some(value);
        } else if let Some(digits) = rest.strip_prefix(b",\"batch\":") {
            (value, rest) = number(digits)?;
            brief.batch = Some(value);
        } else if let Some(digits) = rest.strip_prefix(b",\"nth\":") {
            (value, rest) = number(digits)?;
            brief.nth = Some(u32::try_from(value).ok()?);
        } else if let Some(behind) = rest.strip_prefix(b",\"again\":true") {
            (brief.again, rest) = (true, behind);
        } else if let Some(behind) = rest.strip_prefix(b",\"reused\":true") {
            (brief.reused, rest) = (true, behind);
        } else {
            return Some(rest);
        }
    }
}

/// At most eighteen digits: no overflow, and no size or time has more.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    if !(1..=18).contains(&digits) {
        return None;
    }
    let value = text[..digits].iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
    Some((value, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deliver::Place;
    use crate::ledger::line::{Line, id_text};
    use crate::maildrop::Fingerprint;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_brief_line_says_what_the_whole_line_says(
            id in prop::collection::vec(prop_oneof![32u8..127, any::<u8>()], 1..12),
            batch in prop::option::of(any::<u64>()),
            nth in prop::option::of(any::<u32>()),
            again: bool,
            reused: bool,
            octets in prop::option::of(any::<u64>()),
            at in prop::option::of(0..=u64::from(u32::MAX)),
            mda in prop::option::of(any::<bool>()),
            head in prop::option::of(any::<u64>()),
        ) {
            let maildir = Place::Maildir { maildir: "/m".into(), name: "1.x,S=4".into() };
            let place = mda.map(|mda| if mda { Place::Mda } else { maildir });
            let head = head.map(|head| Fingerprint(head).to_string().into());
            let name = Some(id_text(&id));
            let (intend, delivered) = if batch.is_some() { (name, None) } else { (None, name) };
            let mut text = vec![];
            let line = Line { intend, delivered, batch, nth, again, reused, octets, at, head, ..Line::default() };
            match &place {
                Some(place) => line.to(place).write(&mut text),
                None => line.write(&mut text),
            }
            if let Some(brief) = brief(&text) {
                prop_assert_eq!(brief, Brief { batch, id: &id, nth, again, reused, octets, at });
            } else {
                let is_odd = !id.is_ascii() || id.iter().any(|octet| matches!(octet, b'"' | b'\\' | 0..32 | 127));
                let is_huge = [batch, octets].into_iter().flatten().any(|value| value >= 10u64.pow(18));
                prop_assert!(is_odd || is_huge, "{}", String::from_utf8_lossy(&text));
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
