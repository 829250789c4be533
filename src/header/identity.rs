//! The fingerprint of a message's identity, read from its header section as it passes by.
//!
//! Message-ID, Date and From say which message it is. Where there is no Message-ID, the whole header section does, but
//! for the fields that servers write into messages they keep. Blanks and folds do not count, because software that
//! moves mail folds anew.

use memchr::{memchr, memmem};

use super::LONGEST;
use crate::maildrop::Fingerprint;

/// Fields that servers change in the messages they hold: GNU mailutils and UW IMAP write `Status`, others the rest.
const CHANGING: [&[u8]; 6] = [b"Status", b"X-Status", b"X-UID", b"X-Keywords", b"Content-Length", b"Lines"];

/// Reads a message, or only its header section, piece by piece.
#[derive(Debug, Default)]
pub struct Identity {
    /// What has come of a header section that is not complete yet.
    head: Vec<u8>,
    found: Option<Fingerprint>,
}

impl Identity {
    /// Takes the next octets, with LF line ends.
    pub fn push(&mut self, octets: &[u8]) {
        if self.found.is_some() {
            return;
        }
        if self.head.is_empty() {
            match head_of(octets, 0) {
                Some(head) => self.found = Some(fingerprint(head)),
                None => self.head.extend_from_slice(octets),
            }
            return;
        }
        let seen = self.head.len();
        self.head.extend_from_slice(octets);
        self.found = head_of(&self.head, seen).map(fingerprint);
    }

    /// The fingerprint, once everything was pushed.
    pub fn fingerprint(self) -> Fingerprint {
        self.found.unwrap_or_else(|| fingerprint(&self.head))
    }
}

/// The header section, when it ends in these octets, of which `seen` were looked at before, or is longer than anybody
/// reads.
fn head_of(octets: &[u8], seen: usize) -> Option<&[u8]> {
    let beginning = &octets[..octets.len().min(LONGEST)];
    if beginning.starts_with(b"\n") {
        return Some(b"");
    }
    let from = seen.saturating_sub(1).min(beginning.len());
    match memmem::find(&beginning[from..], b"\n\n") {
        Some(at) => Some(&beginning[..from + at + 1]),
        None => (beginning.len() == LONGEST).then_some(beginning),
    }
}

fn fingerprint(head: &[u8]) -> Fingerprint {
    let [mut id, mut date, mut from] = [&b""[..]; 3];
    for (name, value) in fields(head) {
        let place = match name.len() {
            10 if name.eq_ignore_ascii_case(b"Message-ID") => &mut id,
            4 if name.eq_ignore_ascii_case(b"Date") => &mut date,
            4 if name.eq_ignore_ascii_case(b"From") => &mut from,
            _ => continue,
        };
        // A second one was added by somebody on the way, or is there to confuse.
        if place.is_empty() {
            *place = value;
        }
    }
    let mut hash = Hash::new();
    if !id.trim_ascii().is_empty() {
        [id, date, from].iter().for_each(|value| hash.take(value));
        return hash.0;
    }
    for (name, value) in fields(head) {
        if !CHANGING.iter().any(|changing| changing.eq_ignore_ascii_case(name)) {
            hash.take(name);
            hash.take(value);
        }
    }
    hash.0
}

/// Names and values, folds included. A line without a colon is a name without a value.
fn fields(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = head;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (field, behind) = rest.split_at(end_of_field(rest));
        rest = behind;
        let colon = memchr(b':', field).unwrap_or(field.len());
        Some((field[..colon].trim_ascii(), field.get(colon + 1..).unwrap_or_default()))
    })
}

/// Behind the line end that no blank follows.
fn end_of_field(octets: &[u8]) -> usize {
    let mut end = 0;
    while let Some(at) = memchr(b'\n', &octets[end..]) {
        end += at + 1;
        if !matches!(octets.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    octets.len()
}

/// FNV-1a, 64 bits. Who could make two messages collide could as well send the same Message-ID twice.
struct Hash(Fingerprint);

impl Hash {
    fn new() -> Self {
        Hash(Fingerprint(0xcbf2_9ce4_8422_2325))
    }

    /// Takes one value, blanks aside, and its end.
    fn take(&mut self, value: &[u8]) {
        value.iter().filter(|octet| !octet.is_ascii_whitespace()).for_each(|octet| self.octet(*octet));
        self.octet(0);
    }

    fn octet(&mut self, octet: u8) {
        self.0.0 = (self.0.0 ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn identity(message: &str) -> Fingerprint {
        let mut identity = Identity::default();
        identity.push(message.as_bytes());
        identity.fingerprint()
    }

    const MESSAGE: &str =
        "Received: by x\nMessage-ID: <1@x>\nDate: Mon, 1 Jan 2026 00:00:00 +0000\nFrom: a@x\n\nbody\n";

    #[test]
    fn message_id_date_and_from_make_the_identity() {
        let same =
            "X: y\nfrom:  a@x\nDATE:\n Mon, 1 Jan\n\t2026 00:00:00 +0000\nMessage-Id: <1@x>\nStatus: RO\n\nother\n";
        assert_eq!(identity(MESSAGE), identity(same));
        for (part, other) in [("<1@x>", "<2@x>"), ("Mon,", "Tue,"), ("a@x", "b@x")] {
            assert_ne!(identity(MESSAGE), identity(&MESSAGE.replace(part, other)), "{other}");
        }
        assert_ne!(identity("Message-ID: a\nDate: b\n\n"), identity("Message-ID: ab\nDate: \n\n"));
    }

    #[test]
    fn without_a_message_id_all_counts_but_what_servers_change() {
        let plain = "Subject: x\nDate: y\n\n";
        let changed = "Subject: x\nStatus: RO\nX-UID: 7\nX-Keywords: a\n b\nDate: y\ncontent-length: 9\nLines: 1\nX-Status: A\n\n";
        assert_eq!(identity(plain), identity(changed));
        assert_ne!(identity(plain), identity("Subject: x\nDate: y\nX-Other: z\n\n"));
        assert_eq!(identity("Message-ID: \nSubject: x\n\n"), identity("Message-ID:\nSubject: x\n\nbody"));
    }

    #[test]
    fn the_body_and_the_blank_line_before_it_do_not_count() {
        for head in ["Message-ID: 1\n", "Subject: x\n", ""] {
            let alone = identity(head);
            assert_eq!(alone, identity(&format!("{head}\n")));
            assert_eq!(alone, identity(&format!("{head}\nMessage-ID: 2\n")));
        }
    }

    #[test]
    fn a_head_too_long_to_be_read_is_known_by_its_beginning() {
        let long = "X: y\n".repeat(LONGEST);
        assert_eq!(identity(&long), identity(&long[..LONGEST]));
        assert_ne!(identity(&long), identity(&long[..LONGEST - 1]));
    }

    proptest! {
        #[test]
        fn every_split_gives_the_same(message in "([MDFS]:? ?x?\n?|Message-ID: 1\n|\n){0,12}", cuts in prop::collection::vec(0usize..99, 0..4)) {
            let octets = message.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(octets.len())).collect();
            cuts.sort_unstable();
            let mut split = Identity::default();
            let mut start = 0;
            for cut in cuts.into_iter().chain([octets.len()]) {
                split.push(&octets[start..cut]);
                start = cut;
            }
            prop_assert_eq!(split.fingerprint(), identity(&message));
        }

        #[test]
        fn any_octets_have_an_identity(octets: Vec<u8>) {
            let mut identity = Identity::default();
            identity.push(&octets);
            identity.fingerprint();
        }
    }
}
