//! What rules ask of a header section.

use std::collections::BTreeSet;

use super::heading::{Arrival, plain};
use super::{LONGEST, fields};
use crate::rules::Head;

/// Reads the fields with these names, in small letters, and the date: that of the topmost `Received`, which the last
/// server has put there, else `Date`. What is beyond [`LONGEST`] octets is not looked at.
pub fn head(head: &[u8], names: &BTreeSet<&str>) -> Head {
    let mut found = vec![];
    for field in fields(&head[..head.len().min(LONGEST)]) {
        let (name, value) = (field.get_key_raw().to_ascii_lowercase(), field.get_value_raw());
        if let Ok(name) = String::from_utf8(name)
            && names.contains(&*name)
        {
            found.push((name, plain(value)));
        }
    }
    let Arrival { received, written } = Arrival::read(head);
    Head { fields: found, date: received.or(written) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_fields_that_are_asked_for_are_decoded_each_time_they_stand_there() {
        let octets =
            b"To: a@x\r\nSUBJECT: =?utf-8?q?=C5=BDuto?=\r\n =?utf-8?q?!?=  x\r\nto: b@x\r\nX: y\r\n\r\nTo: c@x\r\n";
        let read = head(octets, &BTreeSet::from(["to", "subject"]));
        let expected = [("to", "a@x"), ("subject", "Žuto! x"), ("to", "b@x")];
        assert_eq!(read.fields, expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert_eq!(read.date, None);
    }

    #[test]
    fn the_date_is_that_of_the_topmost_hop() {
        let date = |text: &str| head(text.as_bytes(), &BTreeSet::new()).date;
        let written = "Date: Tue, 24 Nov 2026 18:33:41 +0100\n";
        let hop = |day: u32| format!("Received: from a; b\n by c;\n Tue, {day} Nov 2026 18:33:41 +0100 (CET)\n");
        assert_eq!(date(written), Some(1_795_541_621));
        assert_eq!(date(&[written, &hop(25), &hop(23)].concat()), Some(1_795_541_621 + 86400));
        assert_eq!(date(&["Received: by c\n", &hop(23), written].concat()), Some(1_795_541_621));
        assert_eq!(date("Received: by c; soon\n"), None);
    }
}
