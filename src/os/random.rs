//! Randomness of the system.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;

/// Octets that nobody can guess.
pub(crate) fn octets<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut octets = [0; LENGTH];
    getrandom::fill(&mut octets)?;
    Ok(octets)
}

/// A number that no other run has, for names: the standard library's hash keys come from the system's random source.
pub(crate) fn number() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_twice() {
        assert_ne!(octets::<16>().unwrap(), octets::<16>().unwrap());
        assert_ne!(number(), number());
    }
}
