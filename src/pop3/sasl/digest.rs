//! The APOP digest (RFC 1939 §7), and the timestamp in a greeting that it is made of.

use md5::{Digest as _, Md5};

use crate::pop3::authorization::Credentials;

/// The digest that APOP wants: MD5 of the greeting's timestamp and the password, in lower-case hexadecimal.
pub fn apop(timestamp: &[u8], credentials: &Credentials) -> String {
    let digest = Md5::new().chain_update(timestamp).chain_update(credentials.password.reveal()).finalize();
    hexadecimal(&digest)
}

/// Lower-case hexadecimal, as APOP and CRAM-MD5 write digests.
pub fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The timestamp in a greeting: an RFC 5322 msg-id with its angle brackets (RFC 1939 §7).
///
/// Its form is checked because a server that chooses it freely can learn about the password by collisions of MD5.
pub fn timestamp(greeting: &[u8]) -> Option<Vec<u8>> {
    let open = memchr::memchr(b'<', greeting)?;
    let close = open + memchr::memchr(b'>', &greeting[open..])?;
    let inside = &greeting[open + 1..close];
    let at = memchr::memchr(b'@', inside)?;
    let is_message_id = at > 0 && at + 1 < inside.len() && inside.iter().all(|octet| octet.is_ascii_graphic());
    is_message_id.then(|| greeting[open..=close].to_vec())
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
    fn a_timestamp_must_look_like_a_message_id() {
        assert_eq!(timestamp(b"ready"), None);
        assert_eq!(timestamp(b"ready <>"), None);
        assert_eq!(timestamp(b"ready <@>"), None);
        assert_eq!(timestamp(b"ready <a\x80@b>"), None);
        assert_eq!(timestamp(b"ready <a b@c>"), None);
    }
}
