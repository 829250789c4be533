//! Header fields of a message, as far as popfetch needs them: its envelope sender, its identity, what a list shows, and
//! what rules ask for.
//!
//! Reads octets that a stranger wrote: junk gives `None`, never an error. Looks at the header section only, and no
//! further than [`LONGEST`] octets into it. Knows nothing of delivery or sessions.

mod heading;
mod identity;
mod marks;
mod ruled;

use mailparse::{MailAddr, MailHeader};

pub use heading::{Arrival, Heading};
pub use identity::Identity;
pub use marks::Marks;
pub use ruled::head;

/// No more of a message is looked at. Real header sections seldom pass 16 KiB.
pub const LONGEST: usize = 64 * 1024;

/// The longest addr-spec believed: a path of RFC 5321 §4.5.3.1 has at most 256 octets.
const LONGEST_ADDRESS: usize = 256;

/// A longer field names nobody: the decoder of `mailparse` takes longer than linear time for it.
const LONGEST_FIELD: usize = 8 * 1024;

/// Who sent the message: the addr-spec of `Return-Path`, else of `Sender`, else the first one of `From`.
///
/// `None` when there is none, and for the null path `<>` of a bounce. Never holds white space or controls.
/// `head` is the beginning of the message, with LF or CRLF line ends.
pub fn envelope_sender(head: &[u8]) -> Option<String> {
    let mut sender = None;
    let mut from = None;
    for field in fields(&head[..head.len().min(LONGEST)]) {
        let key = field.get_key_raw();
        // The final delivery put it on top, so the first one is the last hop's word (RFC 5321 §4.4).
        if key.eq_ignore_ascii_case(b"Return-Path") {
            return address(&field);
        }
        if key.eq_ignore_ascii_case(b"Sender") && sender.is_none() {
            sender = address(&field);
        }
        if key.eq_ignore_ascii_case(b"From") && from.is_none() {
            from = address(&field);
        }
    }
    sender.or(from)
}

fn fields(mut rest: &[u8]) -> impl Iterator<Item = MailHeader<'_>> {
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() || rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
                return None;
            }
            let Ok((field, length)) = mailparse::parse_header(rest) else {
                rest = after_line(rest);
                continue;
            };
            rest = &rest[length..];
            return Some(field);
        }
    })
}

fn after_line(octets: &[u8]) -> &[u8] {
    octets.iter().position(|octet| *octet == b'\n').map_or(&[], |end| &octets[end + 1..])
}

fn address(field: &MailHeader<'_>) -> Option<String> {
    if field.get_value_raw().len() > LONGEST_FIELD {
        return None;
    }
    let addresses = mailparse::addrparse_header(field).ok()?.into_inner();
    let first = addresses.into_iter().find_map(|address| match address {
        MailAddr::Single(single) => Some(single.addr),
        MailAddr::Group(group) => group.addrs.into_iter().next().map(|single| single.addr),
    })?;
    is_plausible(&first).then_some(first)
}

fn is_plausible(address: &str) -> bool {
    !address.is_empty()
        && address.len() <= LONGEST_ADDRESS
        && !address.starts_with('@')
        && !address.ends_with('@')
        && !address.contains(|c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sender(head: &str) -> Option<String> {
        envelope_sender(head.as_bytes())
    }

    #[test]
    fn return_path_wins_over_sender_and_sender_over_from() {
        assert_eq!(sender("From: A <a@x>\nSender: b@x\nReturn-Path: <c@x>\n\n").as_deref(), Some("c@x"));
        assert_eq!(sender("From: A <a@x>\nSender: b@x\n\n").as_deref(), Some("b@x"));
        assert_eq!(sender("From: \"A, B\" <a@x>, c@x\r\n\r\n").as_deref(), Some("a@x"));
        assert_eq!(sender("from: team: a@x, b@x;\n\n").as_deref(), Some("a@x"));
    }

    #[test]
    fn a_bounce_has_no_sender() {
        assert_eq!(sender("Return-Path: <>\nFrom: MAILER-DAEMON@x\n\n"), None);
        assert_eq!(sender("Return-Path:\nFrom: MAILER-DAEMON@x\n\n"), None);
    }

    #[test]
    fn the_body_is_not_looked_at() {
        assert_eq!(sender("Subject: x\n\nFrom: a@x\n"), None);
        assert_eq!(sender("\nFrom: a@x\n"), None);
        let far = format!("{}From: a@x\n\n", "X: y\n".repeat(LONGEST / 5 + 1));
        assert_eq!(sender(&far), None);
    }

    #[test]
    fn a_field_that_would_take_long_names_nobody() {
        let long = |octets: usize| format!("From: {}<a@x>\n\n", "=? ".repeat(octets / 3));
        assert_eq!(sender(&long(LONGEST_FIELD + 3)), None);
        assert!(sender(&format!("From: {} <a@x>\n\n", "x ".repeat(4000))).is_some());
        assert_eq!(sender(&format!("Sender: b@x\n{}", long(LONGEST))).as_deref(), Some("b@x"));
    }

    #[test]
    fn junk_lines_are_stepped_over() {
        assert_eq!(sender("From a@y Mon Jan 1\n junk\nno colon\nFrom:\n A\n <a@x>\n\n").as_deref(), Some("a@x"));
    }

    #[test]
    fn an_address_with_controls_or_blanks_is_none() {
        assert_eq!(sender("From: <a\x1b[2J@x>\n\n"), None);
        assert_eq!(sender("From: <\"a b\"@x>\n\n"), None);
        assert_eq!(sender(&format!("From: <{}@x>\n\n", "a".repeat(300))), None);
    }

    #[test]
    fn an_address_without_a_local_part_or_a_domain_is_none() {
        for none in ["@", "@x", "a@", "<@>", "A <@x>"] {
            assert_eq!(sender(&format!("From: {none}\n\n")), None, "{none}");
            assert_eq!(sender(&format!("From: b@y\nSender: {none}\n\n")).as_deref(), Some("b@y"), "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_give_an_address_without_controls_or_nothing(head: Vec<u8>) {
            let _ = envelope_sender(&head);
        }

        #[test]
        fn any_text_that_looks_like_a_field_gives_a_clean_address_or_nothing(value in "[ -~\\t\\n\\x00-\\x1f<>@,:;\"()=?é]{0,80}") {
            let found = envelope_sender(format!("From:{value}\n\n").as_bytes());
            prop_assert!(found.is_none_or(|address| is_plausible(&address)));
        }
    }
}
