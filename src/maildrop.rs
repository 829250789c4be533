//! RFC 1939's nouns: message-number, unique-id, octets, listing.
//!
//! Values only. A listing may hold a million messages, so it is one arena and a small record a message.

use std::ops::Range;

/// A message-number: valid in one session only (RFC 1939 §5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageNumber(pub u32);

impl std::fmt::Display for MessageNumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// One message of a listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its message-number.
    pub number: MessageNumber,
    /// Its unique-id; empty when the server has no UIDL, or left this message out of it.
    pub unique_id: &'a [u8],
    /// Its size as announced by LIST, a soft promise; `None` when it was not asked for or left out.
    pub octets: Option<u64>,
}

/// What the maildrop holds, in the server's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    ids: Vec<u8>,
    records: Vec<Record>,
    /// Sizes from the first position on that has one: of a large maildrop, often only the last few are asked for.
    octets: Vec<u64>,
    octets_start: usize,
    /// True when the server answered UIDL.
    pub has_unique_ids: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Record {
    number: u32,
    /// Where the id ends in the arena; it begins where the one before ends.
    end: u32,
}

/// In `octets`: not announced. No server has a message of that size.
const UNKNOWN: u64 = u64::MAX;

impl Listing {
    /// Adds a message at the end. Fails (returns false, adds nothing) when the ids together pass 4 GiB.
    #[must_use]
    pub fn push(&mut self, number: MessageNumber, unique_id: &[u8]) -> bool {
        let Ok(end) = u32::try_from(self.ids.len() + unique_id.len()) else { return false };
        self.ids.extend_from_slice(unique_id);
        self.records.push(Record { number: number.0, end });
        true
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when the maildrop is empty.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The message at a position (not message-number) of the listing.
    ///
    /// # Panics
    /// When `position` is not below [`Listing::len`].
    pub fn get(&self, position: usize) -> Listed<'_> {
        Listed {
            number: MessageNumber(self.records[position].number),
            unique_id: &self.ids[self.id_range(position)],
            octets: self.octets_at(position),
        }
    }

    /// Every message in the server's order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Listed<'_>> {
        (0..self.len()).map(|position| self.get(position))
    }

    /// Notes an announced size. Positions without one stay unknown.
    ///
    /// # Panics
    /// When `position` is not below [`Listing::len`].
    pub fn set_octets(&mut self, position: usize, octets: u64) {
        assert!(position < self.len(), "position {position} is beyond the listing");
        if self.octets.is_empty() {
            self.octets_start = position;
        }
        let before = self.octets_start.saturating_sub(position);
        self.octets.splice(0..0, std::iter::repeat_n(UNKNOWN, before));
        self.octets_start -= before;
        let index = position - self.octets_start;
        if self.octets.len() <= index {
            self.octets.resize(index + 1, UNKNOWN);
        }
        self.octets[index] = octets.min(UNKNOWN - 1);
    }

    /// No message before this position has a size.
    pub fn first_measured(&self) -> usize {
        if self.octets.is_empty() { self.len() } else { self.octets_start }
    }

    fn octets_at(&self, position: usize) -> Option<u64> {
        let octets = *self.octets.get(position.checked_sub(self.octets_start)?)?;
        (octets != UNKNOWN).then_some(octets)
    }

    fn id_range(&self, position: usize) -> Range<usize> {
        let start = if position == 0 { 0 } else { self.records[position - 1].end };
        start as usize..self.records[position].end as usize
    }
}

/// A short fingerprint of a message's identity: what its header says, without what servers change in it.
///
/// 64 bits, because it only has to tell messages of one unique-id apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub u64);

impl Fingerprint {
    /// As the ledger writes it: sixteen hexadecimal digits.
    pub fn digits(&self) -> [u8; 16] {
        std::array::from_fn(|place| b"0123456789abcdef"[(self.0 >> (60 - 4 * place)) as usize & 15])
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.digits().iter().try_for_each(|digit| std::fmt::Write::write_char(f, char::from(*digit)))
    }
}

impl std::str::FromStr for Fingerprint {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Fingerprint)
    }
}

/// Proof that a message is durable at home, so that DELE may be sent.
///
/// Only the ledger implements it, for records that it has synced: what is not recorded cannot be deleted.
///
/// ```compile_fail,E0277
/// struct Hope(popfetch::maildrop::MessageNumber);
///
/// impl popfetch::maildrop::Durable for Hope {
///     fn number(&self) -> popfetch::maildrop::MessageNumber {
///         self.0
///     }
/// }
/// ```
pub trait Durable: sealed::OfTheLedger {
    /// The message of this session that is safe.
    fn number(&self) -> MessageNumber;
}

/// Closes traits that only the ledger may implement: no other crate can, and `tests/floors.rs` looks for other rooms.
pub(crate) mod sealed {
    pub trait OfTheLedger {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_gives_back_what_was_pushed() {
        let mut listing = Listing::default();
        assert!(listing.push(MessageNumber(1), b"a"));
        assert!(listing.push(MessageNumber(3), b""));
        assert!(listing.push(MessageNumber(4), b"ccc"));
        listing.set_octets(2, 99);
        assert_eq!(listing.get(0).octets, None);
        listing.set_octets(1, 98);
        let all: Vec<_> = listing.iter().map(|m| (m.number.0, m.unique_id.to_vec(), m.octets)).collect();
        assert_eq!(all, [(1, b"a".to_vec(), None), (3, vec![], Some(98)), (4, b"ccc".to_vec(), Some(99))]);
    }
}
