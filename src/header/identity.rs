//! The fingerprint of a message's identity, read from its header section as it passes by.
//!
//! Message-ID, Date and From say which message it is. Where there is no Message-ID, the whole header section does, but
//! for the fields that servers write into messages they keep. A fold counts as one blank, because software that moves
//! mail folds anew.

use memchr::memchr;

use super::LONGEST;
use crate::maildrop::Fingerprint;

/// Fields that servers change in the messages they hold: GNU mailutils and UW IMAP write `Status`, others the rest.
const CHANGING: [&[u8]; 6] = [b"Status:", b"X-Status:", b"X-UID:", b"X-Keywords:", b"Content-Length:", b"Lines:"];

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
            self.found = read(octets);
            if self.found.is_none() {
                self.head.extend_from_slice(octets);
            }
            return;
        }
        let seen = self.head.len();
        self.head.extend_from_slice(octets);
        // The blank line may come in very many pieces: only the last one is looked through.
        if self.head[seen - 1..].windows(2).any(|pair| pair == b"\n\n") || self.head.len() >= LONGEST {
            self.found = read(&self.head);
        }
    }

    /// True when nothing more of the message matters.
    pub fn is_complete(&self) -> bool {
        self.found.is_some()
    }

    /// The fingerprint, once everything was pushed.
    pub fn fingerprint(self) -> Fingerprint {
        self.found.unwrap_or_else(|| read_to_the_end(&self.head))
    }
}

/// What is looked for in a header section.
#[derive(Default)]
struct Found<'h> {
    id: &'h [u8],
    date: &'h [u8],
    from: &'h [u8],
}

/// Reads the fields up to the blank line. `None` when that has not come, and more may.
fn read(octets: &[u8]) -> Option<Fingerprint> {
    let beginning = &octets[..octets.len().min(LONGEST)];
    let mut found = Found::default();
    let mut start = 0;
    while start < beginning.len() && beginning[start] != b'\n' {
        let end = end_of_field(beginning, start);
        found.note(&beginning[start..end]);
        start = end;
    }
    let is_complete = beginning.get(start) == Some(&b'\n') || beginning.len() == LONGEST;
    is_complete.then(|| found.fingerprint(&beginning[..start]))
}

/// The header section ends with the octets that are there.
fn read_to_the_end(octets: &[u8]) -> Fingerprint {
    let mut found = Found::default();
    fields(octets).for_each(|field| found.note(field));
    found.fingerprint(octets)
}

impl<'h> Found<'h> {
    fn note(&mut self, field: &'h [u8]) {
        let (length, place) = match field.first() {
            Some(b'M' | b'm') if is_named(field, b"Message-ID:") => (11, &mut self.id),
            Some(b'D' | b'd') if is_named(field, b"Date:") => (5, &mut self.date),
            Some(b'F' | b'f') if is_named(field, b"From:") => (5, &mut self.from),
            _ => return,
        };
        // A second one was added by somebody on the way, or is there to confuse.
        if place.is_empty() {
            *place = field[length..].trim_ascii();
        }
    }

    fn fingerprint(&self, head: &[u8]) -> Fingerprint {
        let mut hash = Hash::new();
        if !self.id.is_empty() {
            [self.id, self.date, self.from].iter().for_each(|value| hash.take(value));
            return hash.0;
        }
        fields(head).filter(|field| !CHANGING.iter().any(|name| is_named(field, name))).for_each(|field| {
            hash.take(field.trim_ascii());
        });
        hash.0
    }
}

fn is_named(field: &[u8], name: &[u8]) -> bool {
    field.get(..name.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(name))
}

/// Fields with their folds. A line without a colon counts as well.
fn fields(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let end = (start < head.len()).then(|| end_of_field(head, start))?;
        let field = &head[start..end];
        start = end;
        Some(field)
    })
}

/// Behind the line end that no blank follows.
fn end_of_field(octets: &[u8], start: usize) -> usize {
    let mut end = start;
    while let Some(at) = memchr(b'\n', &octets[end..]) {
        end += at + 1;
        if !matches!(octets.get(end), Some(b' ' | b'\t')) {
            return end;
        }
    }
    octets.len()
}

/// FNV-1a over words of eight octets. Who could make two messages collide could as well send the same Message-ID twice.
struct Hash(Fingerprint);

impl Hash {
    fn new() -> Self {
        Hash(Fingerprint(0xcbf2_9ce4_8422_2325))
    }

    /// Takes one value and its length, with each fold as one blank (RFC 5322 §2.2.3).
    fn take(&mut self, value: &[u8]) {
        if memchr(b'\n', value).is_none() {
            return self.words(value);
        }
        let unfolded: Vec<&[u8]> = value.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii).collect();
        self.words(&unfolded.join(&b' '));
    }

    fn words(&mut self, value: &[u8]) {
        let (words, rest) = value.as_chunks::<8>();
        words.iter().for_each(|word| self.word(u64::from_le_bytes(*word)));
        let last = rest.iter().rev().fold(0, |last, octet| last << 8 | u64::from(*octet));
        self.word(last);
        self.word(value.len() as u64);
    }

    /// The upper half goes back into the lower one, which a product alone never reaches.
    fn word(&mut self, word: u64) {
        let hash = (self.0.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0.0 = hash ^ (hash >> 32);
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
