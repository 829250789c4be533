//! Header fields that a target wants before each message. They are made of the configuration and of what popfetch knows
//! itself; nothing of a message gets into them.

use std::fmt::Write as _;

use chrono::DateTime;
use sha2::{Digest as _, Sha256};

use crate::account::Headers;
use crate::os;
use crate::os::clock::now;

/// Which very message it is: the same in each run, however often it is sent.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// The maildrop, as ledgers name it.
    pub(super) maildrop: String,
    /// The host of the maildrop.
    pub(super) host: String,
}

impl Origin {
    /// A digest of maildrop, unique-id, occurrence and octets. Each has its length in front of it, so that no two sets of
    /// them are alike.
    pub(super) fn id(&self, unique_id: &[u8], nth: u32, content: Sha256) -> String {
        let mut digest = Sha256::new();
        for part in [self.maildrop.as_bytes(), unique_id, nth.to_string().as_bytes(), &content.finalize()] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.finalize().iter().fold(String::new(), |mut text, octet| {
            let _ = write!(text, "{octet:02x}");
            text
        })
    }

    /// The fields, each with its CRLF. `id` is there where it is wanted.
    pub(super) fn fields(&self, wanted: Headers, recipient: &str, id: Option<&str>) -> Vec<u8> {
        let mut fields = String::new();
        if wanted.delivered_to {
            let _ = write!(fields, "Delivered-To: {recipient}\r\n");
        }
        if wanted.received {
            let time = i64::try_from(now()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            let (from, by) = (word(&self.host), word(&os::host_name()));
            let (version, date) = (env!("CARGO_PKG_VERSION"), time.unwrap_or_default().to_rfc2822());
            let _ = write!(
                fields,
                "Received: from {from}\r\n\tby {by} (popfetch {version}) with POP3\r\n\tfor <{recipient}>; {date}\r\n"
            );
        }
        if let Some(id) = id.filter(|_| wanted.id) {
            let _ = write!(fields, "X-Popfetch-Id: {id}\r\n");
        }
        fields.into_bytes()
    }
}

/// A host in a field: nothing but what a host has.
fn word(host: &str) -> String {
    let word: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-:_".contains(*c)).collect();
    if word.is_empty() { "unknown".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin() -> Origin {
        Origin { maildrop: "petar@pop.example.org".into(), host: "pop.example.org\r\nX: y".into() }
    }

    #[test]
    fn an_id_tells_messages_apart_by_all_that_makes_them_one() {
        let id = |origin: &Origin, unique_id: &[u8], nth, content: &[u8]| {
            origin.id(unique_id, nth, Sha256::new_with_prefix(content))
        };
        let first = id(&origin(), b"a", 1, b"x");
        assert_eq!(first, id(&origin(), b"a", 1, b"x"));
        assert_eq!(first.len(), 64);
        let other = Origin { maildrop: "petar@pop.example.or".into(), ..origin() };
        for different in [
            id(&origin(), b"b", 1, b"x"),
            id(&origin(), b"a", 2, b"x"),
            id(&origin(), b"a", 1, b"y"),
            id(&other, b"ga", 1, b"x"),
        ] {
            assert_ne!(first, different);
        }
    }

    #[test]
    fn fields_are_lines_of_their_own_whatever_the_host_is_called() {
        let all = Headers { received: true, delivered_to: true, id: true };
        let fields = String::from_utf8(origin().fields(all, "petar", Some("0a"))).unwrap();
        let names: Vec<&str> = fields.lines().filter(|line| !line.starts_with('\t')).collect();
        assert_eq!(names, ["Delivered-To: petar", "Received: from pop.example.orgX:y", "X-Popfetch-Id: 0a"]);
        assert!(fields.ends_with("\r\n") && !fields.contains("\r\n\r\n"));
        assert!(origin().fields(Headers::default(), "petar", Some("0a")).is_empty());
    }
}
