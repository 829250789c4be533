//! Names of mailboxes: as the configuration writes them, and in modified UTF-7 (RFC 3501 §5.1.3), as a server takes them.

use base64::Engine as _;
use base64::alphabet::IMAP_MUTF7;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};

use crate::authority;

/// Longest name accepted.
const LONGEST: usize = 500;

const BASE64: GeneralPurpose = GeneralPurpose::new(&IMAP_MUTF7, NO_PAD);

/// Reads what follows the slash behind a server. INBOX is the default, and the same in any case (RFC 3501 §5.1).
pub(super) fn read(text: &str) -> Option<String> {
    let name = String::from_utf8(authority::percent_decoded(text)?).ok()?;
    if name.is_empty() || name.eq_ignore_ascii_case("INBOX") {
        return Some("INBOX".to_owned());
    }
    (name.len() <= LONGEST && !name.contains(char::is_control)).then_some(name)
}

/// The name as a quoted string of a command.
pub(super) fn quoted(name: &str) -> String {
    super::quoted(&utf7(name))
}

/// Modified UTF-7: printable ASCII stands for itself, `&` is `&-`, and all else is UTF-16 in base64 between `&` and `-`.
fn utf7(name: &str) -> String {
    let (mut encoded, mut run) = (String::new(), vec![]);
    for character in name.chars() {
        if matches!(character, ' '..='~') {
            end_run(&mut encoded, &mut run);
            encoded.push(character);
            if character == '&' {
                encoded.push('-');
            }
        } else {
            run.extend(character.encode_utf16(&mut [0; 2]).iter().flat_map(|unit| unit.to_be_bytes()));
        }
    }
    end_run(&mut encoded, &mut run);
    encoded
}

fn end_run(encoded: &mut String, run: &mut Vec<u8>) {
    if !run.is_empty() {
        *encoded += &format!("&{}-", BASE64.encode(run.as_slice()));
        run.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        for (written, name) in [
            ("", "INBOX"),
            ("inbox", "INBOX"),
            ("Archive/2026", "Archive/2026"),
            ("Sent%20Items", "Sent Items"),
            ("Entw%C3%BCrfe", "Entwürfe"),
            ("Entwürfe", "Entwürfe"),
            ("inbox/a", "inbox/a"),
        ] {
            assert_eq!(read(written).as_deref(), Some(name), "{written}");
        }
        for wrong in ["a%0d%0ab", "%ff", "%", "%zz", "a\nb", &"x".repeat(501)] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    /// The examples of RFC 3501 §5.1.3, and what Dovecot makes of some names.
    #[test]
    fn names_are_sent_in_modified_utf_7() {
        for (name, sent) in [
            ("INBOX", "\"INBOX\""),
            ("~peter/mail/台北/日本語", "\"~peter/mail/&U,BTFw-/&ZeVnLIqe-\""),
            ("a&b", "\"a&-b\""),
            ("Entwürfe", "\"Entw&APw-rfe\""),
            ("\u{1f4ec}", "\"&2D3c7A-\""),
            ("a \"b\" \\c", "\"a \\\"b\\\" \\\\c\""),
        ] {
            assert_eq!(quoted(name), sent, "{name}");
        }
    }

    fn decoded(encoded: &str) -> String {
        let (mut units, mut rest) = (vec![], encoded);
        while let Some(first) = rest.chars().next() {
            if first != '&' {
                units.push(first as u16);
                rest = &rest[1..];
                continue;
            }
            let (run, behind) = rest[1..].split_once('-').unwrap();
            match run {
                "" => units.push(u16::from(b'&')),
                run => units
                    .extend(BASE64.decode(run).unwrap().chunks(2).map(|unit| u16::from_be_bytes([unit[0], unit[1]]))),
            }
            rest = behind;
        }
        String::from_utf16(&units).unwrap()
    }

    proptest! {
        #[test]
        fn modified_utf_7_is_printable_ascii_and_can_be_read_back(name in "\\PC{0,20}|[ -~]{0,20}|.{0,9}") {
            let encoded = utf7(&name);
            prop_assert!(encoded.bytes().all(|octet| matches!(octet, b' '..=b'~')), "{encoded}");
            prop_assert_eq!(decoded(&encoded), name);
        }
    }
}
