//! Finds a secret in words of others, who may have repeated it: as it is, percent-encoded, or in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MASK: &[u8] = b"****";

/// A shorter one stands in common words and numbers, where asterisks would give it away.
const LONG: usize = 4;

/// The text with a secret of at least four octets masked wherever it stands.
pub(crate) fn anywhere(secret: &[u8], text: &[u8]) -> Vec<u8> {
    if secret.len() < LONG {
        return text.to_vec();
    }
    let pieces = pieces(secret);
    let text = replaced(text, |_, rest| occurrence(secret, rest));
    replaced_runs(&text, |run| {
        let run = standard(run);
        pieces.iter().any(|piece| memchr::memmem::find(&run, piece).is_some())
    })
}

/// The text with a secret of any length masked, a short one only as a word of its own: for answers to what had the
/// secret in it.
pub(crate) fn as_word(secret: &[u8], text: &[u8]) -> Vec<u8> {
    if secret.len() >= LONG || secret.is_empty() {
        return anywhere(secret, text);
    }
    let is_letter = |octet: Option<&u8>| octet.is_some_and(|octet| octet.is_ascii_alphanumeric() || *octet >= 0x80);
    let text = replaced(text, |before, rest| {
        occurrence(secret, rest).filter(|length| !is_letter(before.last()) && !is_letter(rest.get(*length)))
    });
    let encoded = STANDARD.encode(secret);
    replaced_runs(&text, |run| unpadded(&standard(run)) == unpadded(encoded.as_bytes()))
}

/// Masks what `length` finds at any place, given what is before it and the rest.
fn replaced(text: &[u8], length: impl Fn(&[u8], &[u8]) -> Option<usize>) -> Vec<u8> {
    let mut masked = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        match length(&text[..at], &text[at..]) {
            Some(length) => {
                masked.extend_from_slice(MASK);
                at += length;
            }
            None => {
                masked.push(text[at]);
                at += 1;
            }
        }
    }
    masked
}

/// How many octets of the text's beginning are the secret, where any may be percent-encoded (RFC 3986 §2.1), and a
/// blank may be a plus sign.
fn occurrence(secret: &[u8], text: &[u8]) -> Option<usize> {
    if text.starts_with(secret) {
        return Some(secret.len());
    }
    let mut at = 0;
    for octet in secret {
        at += match text.get(at)? {
            b'%' if text.get(at + 1..at + 3).and_then(hexadecimal) == Some(*octet) => 3,
            b'+' if *octet == b' ' => 1,
            found if found == octet => 1,
            _ => return None,
        };
    }
    Some(at)
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let is_hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
    std::str::from_utf8(digits).ok().filter(|_| is_hexadecimal).and_then(|digits| u8::from_str_radix(digits, 16).ok())
}

/// What base64 makes of the secret wherever it begins in a group of three octets, without what its neighbours change.
fn pieces(secret: &[u8]) -> [Vec<u8>; 3] {
    [0, 1, 2].map(|before| {
        let encoded = STANDARD.encode([&[0; 2][..before], secret].concat());
        let (first, last) = ((before * 8).div_ceil(6), (before + secret.len()) * 8 / 6);
        encoded.as_bytes()[first..last].to_vec()
    })
}

/// Masks whole runs of base64, because the octets at both ends of a piece tell something, too.
fn replaced_runs(text: &[u8], is_secret: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let is_base64 = |octet: &u8| octet.is_ascii_alphanumeric() || b"+/-_=".contains(octet);
    let mut masked = Vec::with_capacity(text.len());
    for run in text.chunk_by(|one, other| is_base64(one) == is_base64(other)) {
        let is_masked = is_base64(&run[0]) && is_secret(run);
        masked.extend_from_slice(if is_masked { MASK } else { run });
    }
    masked
}

/// In the alphabet of RFC 4648 §4, if it was in that of §5.
fn standard(run: &[u8]) -> Vec<u8> {
    let octet = |octet: &u8| match octet {
        b'-' => b'+',
        b'_' => b'/',
        other => *other,
    };
    run.iter().map(octet).collect()
}

fn unpadded(run: &[u8]) -> &[u8] {
    let end = run.iter().rposition(|octet| *octet != b'=').map_or(0, |last| last + 1);
    &run[..end]
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

    use super::*;

    fn masked(secret: &str, text: &str) -> String {
        String::from_utf8(anywhere(secret.as_bytes(), text.as_bytes())).unwrap()
    }

    fn masked_word(secret: &str, text: &str) -> String {
        String::from_utf8(as_word(secret.as_bytes(), text.as_bytes())).unwrap()
    }

    #[test]
    fn a_secret_is_found_as_it_is_and_percent_encoded() {
        let secret = "p%ä s";
        for form in ["p%ä s", "p%25%C3%A4%20s", "%70%25%c3%a4+%73"] {
            assert_eq!(masked(secret, &format!("x{form}y {form}")), "x****y ****", "{form}");
        }
        for other in ["p%ä t", "p%25%C3", "p%", "p%2"] {
            assert_eq!(masked(secret, other), other);
        }
    }

    #[test]
    fn a_secret_is_found_in_base64_wherever_it_begins() {
        for secret in ["four", "?>~\u{ff}?>", "kanarinac-7f3a9c"] {
            for before in ["", "a", "ab", "abc", "\0user\0"] {
                for after in ["", "z", "\x01\x01"] {
                    let plain = format!("{before}{secret}{after}");
                    for encoded in [STANDARD.encode(&plain), URL_SAFE.encode(&plain), URL_SAFE_NO_PAD.encode(&plain)] {
                        assert_eq!(masked(secret, &format!("you said {encoded}!")), "you said ****!", "{plain:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_short_secret_is_masked_as_a_word_and_only_in_answers() {
        assert_eq!(masked("xyz", "wrong password xyz"), "wrong password xyz");
        assert_eq!(masked_word("xyz", "wrong password xyz, `xyz'"), "wrong password ****, `****'");
        assert_eq!(masked_word("a", "a bad answer: `a'"), "**** bad answer: `****'");
        assert_eq!(masked_word("xyz", "xyzzy eHl6 eHl6eQ== %78yz"), "xyzzy **** eHl6eQ== ****");
        assert_eq!(masked_word("xy", "eHk= eHk"), "**** ****");
        assert_eq!(masked_word("", "nothing"), "nothing");
    }
}
