//! Elements of DER (X.690): enough to walk through a certificate that a TLS library could read.

/// The tag of `SEQUENCE` (X.690 §8.1.2).
pub(super) const SEQUENCE: u8 = 0x30;

/// An element of DER, and what follows it.
pub(super) struct Element<'d> {
    pub tag: u8,
    pub content: &'d [u8],
    pub whole: &'d [u8],
    pub rest: &'d [u8],
}

impl<'d> Element<'d> {
    pub(super) fn first(der: &'d [u8]) -> Option<Self> {
        let (&tag, after) = der.split_first()?;
        let (&short, after) = after.split_first()?;
        // Up to 127 in one octet, else the number of octets that hold it (X.690 §8.1.3).
        let octets = if short < 0x80 { 0 } else { usize::from(short & 0x7f) };
        let (long, after) = after.split_at_checked(octets).filter(|_| octets <= 4)?;
        let length = match octets {
            0 => usize::from(short),
            _ => long.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)),
        };
        let (content, rest) = after.split_at_checked(length)?;
        Some(Element { tag, content, whole: &der[..der.len() - rest.len()], rest })
    }
}

/// The elements that follow one another.
pub(super) fn elements(der: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::successors(Element::first(der), |element| Element::first(element.rest))
}
