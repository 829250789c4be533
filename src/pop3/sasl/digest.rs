//! The APOP digest (RFC 1939 §7), and the timestamp in a greeting that it is made of.

use md5::{Digest as _, Md5};

use crate::pop3::credentials::Credentials;

/// The digest that APOP wants: MD5 of the greeting's timestamp and the password, in lower-case hexadecimal.
pub fn apop(timestamp: &[u8], credentials: &Credentials) -> String {
    let digest = Md5::new().chain_update(timestamp).chain_update(credentials.password.reveal()).finalize();
    hexadecimal(&digest)
}

/// Lower-case hexadecimal, as APOP and CRAM-MD5 write digests.
pub fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A status line has 512 octets at most (RFC 1939 §3), and so has the timestamp in one, less `+OK ` and CRLF.
const LONGEST: usize = 512 - 6;

/// The timestamp in a greeting: an RFC 5322 §3.6.4 msg-id with its angle brackets (RFC 1939 §7).
///
/// Its form is checked because a server that chooses it freely can learn about the password by collisions of MD5
/// (CVE-2007-1558): these need octets that no msg-id has.
pub fn timestamp(greeting: &[u8]) -> Option<Vec<u8>> {
    let open = memchr::memchr(b'<', greeting)?;
    let close = open + memchr::memchr(b'>', &greeting[open..])?;
    let timestamp = &greeting[open..=close];
    let inside = &greeting[open + 1..close];
    let at = memchr::memchr(b'@', inside)?;
    let is_message_id = is_dot_atom(&inside[..at]) && is_right_side(&inside[at + 1..]);
    (is_message_id && timestamp.len() <= LONGEST).then(|| timestamp.to_vec())
}

/// `dot-atom-text`, or a `no-fold-literal` such as `[127.0.0.1]`.
fn is_right_side(text: &[u8]) -> bool {
    match text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")) {
        Some(literal) => literal.iter().all(|octet| octet.is_ascii_graphic() && !b"[]\\".contains(octet)),
        None => is_dot_atom(text),
    }
}

/// `dot-atom-text` (RFC 5322 §3.2.3).
fn is_dot_atom(text: &[u8]) -> bool {
    let is_atext = |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet);
    text.split(|octet| *octet == b'.').all(|atom| !atom.is_empty() && atom.iter().all(is_atext))
}

#[cfg(test)]
mod tests {
    use super::super::credentials;
    use super::*;

    #[test]
    fn the_digest_is_the_one_in_rfc_1939() {
        let timestamp = timestamp(b"POP3 server ready <1896.697170952@dbc.mtview.ca.us>").unwrap();
        assert_eq!(apop(&timestamp, &credentials("mrose", "tanstaaf")), "c4c9334bac560ecc979e58001b3e22fb");
    }

    #[test]
    fn a_timestamp_must_be_a_message_id() {
        for good in ["<a@b>", "<1f3a.1.5f2c.Zm9v+bar/==@mail_1.example.org>", "<1.2@[127.0.0.1]>", "<1.2@[IPv6:::1]>"] {
            let greeting = format!("ready {good} and willing");
            assert_eq!(timestamp(greeting.as_bytes()).as_deref(), Some(good.as_bytes()));
        }
        let bad = [
            "",
            "<>",
            "<@>",
            "<a@>",
            "<@b>",
            "<a\u{80}@b>",
            "<a b@c>",
            "<a@b@c>",
            "<a..b@c>",
            "<.a@b>",
            "<a@b.>",
            "<a(b@c>",
            "<a@[b>",
            "<a@[b]c]>",
            "<a\0@b>",
            "<\"a\"@b>",
            "<a@b",
            "<a<b@c>",
        ];
        for bad in bad {
            assert_eq!(timestamp(format!("ready {bad}").as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_timestamp_must_fit_a_line() {
        let of = |octets: usize| format!("<{}@b>", "a".repeat(octets - 4));
        assert!(timestamp(of(506).as_bytes()).is_some());
        assert_eq!(timestamp(of(507).as_bytes()), None);
    }
}
