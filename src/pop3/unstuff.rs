//! Byte-unstuffing of multi-line replies (RFC 1939 §3), and CRLF to LF in the same pass.
//!
//! Works on slices only: the caller reads, the caller writes. A dot that begins a line is dropped; a line that is
//! only a dot ends the reply. Only CRLF ends a line: a bare LF or CR is content, so that `LF . LF` inside a message
//! is never taken for its end. Splits may fall anywhere, so the state between two octets is an enum.

/// Where the decoder stands between two octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    /// At the beginning of a line.
    #[default]
    LineStart,
    /// Behind the dot that began a line.
    Dot,
    /// Behind a line's first dot and a CR.
    DotCr,
    /// Inside a line.
    Inside,
    /// Behind a CR inside a line; the CR is not written yet.
    Cr,
    /// Behind the final CRLF.
    End,
}

/// Decodes one multi-line reply, from the octet after its status line to its final dot.
#[derive(Debug, Clone, Default)]
pub struct Unstuffer {
    state: State,
    dropped: u64,
}

impl Unstuffer {
    /// Decodes as much of `wire` as belongs to the reply, appends what it means to `plain`, and returns how many
    /// octets of `wire` were used: all of them, unless the reply ends before.
    pub fn feed(&mut self, wire: &[u8], plain: &mut Vec<u8>) -> usize {
        // Decoding only ever shortens, but for a dot's CR that was held back.
        plain.reserve(wire.len() + 2);
        let mut at = 0;
        while at < wire.len() && self.state != State::End {
            at += self.step(&wire[at..], plain);
        }
        at
    }

    /// True once the line that is only a dot was met.
    pub fn is_ended(&self) -> bool {
        self.state == State::End
    }

    /// How many dots were dropped that the server had added.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Takes one step from a state: at least the first octet is used, or the state changes.
    fn step(&mut self, rest: &[u8], plain: &mut Vec<u8>) -> usize {
        match (self.state, rest[0]) {
            (State::LineStart, b'.') => self.become_after(State::Dot, 1),
            (State::LineStart | State::Inside, _) => self.lines(rest, plain),
            (State::Dot, b'\r') => self.become_after(State::DotCr, 1),
            // The dot was stuffed: it is dropped, and what follows it is the line.
            (State::Dot, _) => self.drop_dot(State::Inside),
            (State::DotCr, b'\n') => self.become_after(State::End, 1),
            (State::DotCr, _) => self.drop_dot(State::Cr),
            (State::Cr, b'\n') => {
                plain.push(b'\n');
                self.become_after(State::LineStart, 1)
            }
            (State::Cr, _) => {
                plain.push(b'\r');
                self.become_after(State::Inside, 0)
            }
            (State::End, _) => 0,
        }
    }

    fn drop_dot(&mut self, state: State) -> usize {
        self.dropped += 1;
        self.become_after(state, 0)
    }

    fn become_after(&mut self, state: State, used: usize) -> usize {
        self.state = state;
        used
    }

    /// The fast path: whole lines that do not begin with a dot, found by their LF.
    fn lines(&mut self, rest: &[u8], plain: &mut Vec<u8>) -> usize {
        let mut start = 0;
        for lf in memchr::memchr_iter(b'\n', rest) {
            if lf == start || rest[lf - 1] != b'\r' {
                continue;
            }
            plain.extend_from_slice(&rest[start..lf - 1]);
            plain.push(b'\n');
            start = lf + 1;
            if rest.get(start).is_none_or(|octet| *octet == b'.') {
                return self.become_after(State::LineStart, start);
            }
        }
        let (line, state) = match rest[start..].strip_suffix(b"\r") {
            Some(line) => (line, State::Cr),
            None => (&rest[start..], State::Inside),
        };
        plain.extend_from_slice(line);
        self.become_after(state, rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What RFC 1939 §3 says, one octet at a time, with no thought of speed. `None`: no end yet.
    fn reference(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
        let mut plain = vec![];
        let mut start = 0;
        loop {
            let end = start + wire[start..].windows(2).position(|pair| pair == b"\r\n")?;
            let line = &wire[start..end];
            start = end + 2;
            if line == b"." {
                return Some((plain, start));
            }
            plain.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            plain.push(b'\n');
        }
    }

    fn decode(pieces: &[&[u8]]) -> (Vec<u8>, usize, bool) {
        let mut unstuffer = Unstuffer::default();
        let mut plain = vec![];
        let mut used = 0;
        for piece in pieces {
            used += unstuffer.feed(piece, &mut plain);
        }
        (plain, used, unstuffer.is_ended())
    }

    fn plain(wire: &[u8]) -> Vec<u8> {
        let (plain, used, ended) = decode(&[wire]);
        assert!(ended && used == wire.len(), "{wire:?} should end exactly at its end");
        plain
    }

    #[test]
    fn dots_are_unstuffed_and_crlf_becomes_lf() {
        assert_eq!(plain(b"a\r\n..b\r\n...\r\n\r\n.\r\n"), b"a\n.b\n..\n\n");
        assert_eq!(plain(b".\r\n"), b"");
    }

    #[test]
    fn dots_that_were_added_are_counted() {
        let mut unstuffer = Unstuffer::default();
        unstuffer.feed(b"..a\r\n.\r\r\n b.\r\n...\r\n.\r\n", &mut vec![]);
        assert_eq!(unstuffer.dropped(), 3);
    }

    #[test]
    fn only_crlf_dot_crlf_is_an_end() {
        assert_eq!(plain(b"a\n.\nb\r\n.\r\n"), b"a\n.\nb\n");
        assert_eq!(plain(b"a\r.\r\nb\r\n.\r\n"), b"a\r.\nb\n");
        assert_eq!(plain(b"a\n.\r\nb\r\n.\r\n"), b"a\n.\nb\n");
        assert_eq!(plain(b"a\r\n.\nb\r\n.\r\n"), b"a\n\nb\n");
        assert_eq!(plain(b"a\r\n.\r\r\nb\r\n.\r\n"), b"a\n\r\nb\n");
    }

    #[test]
    fn nul_and_bare_cr_are_content() {
        assert_eq!(plain(b"\0\r\r\n\xff\r\n.\r\n"), b"\0\r\n\xff\n");
    }

    #[test]
    fn what_follows_the_end_is_left_for_the_next_reply() {
        let wire = b"x\r\n.\r\n+OK next\r\n";
        assert_eq!(decode(&[wire]), (b"x\n".to_vec(), 6, true));
    }

    #[test]
    fn every_split_gives_the_same_result() {
        let wire = b"a\r\n..b\n.\n\r.\r\r\n\r\n.\r\r\n.c\r\n\r\n.\r\n";
        let whole = decode(&[wire]);
        assert_eq!((whole.0.clone(), whole.1), reference(wire).unwrap());
        for first in 0..=wire.len() {
            for second in first..=wire.len() {
                let split = decode(&[&wire[..first], &wire[first..second], &wire[second..]]);
                assert_eq!(split, whole, "split at {first} and {second}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn decoding_agrees_with_the_rfc(octets in prop::collection::vec(prop::sample::select(b"\r\n.\r\n.ab\0".to_vec()), 0..60), cut in 0..60usize) {
            let mut wire = octets;
            wire.extend_from_slice(b"\r\n.\r\n");
            let cut = cut.min(wire.len());
            let (plain, used, ended) = decode(&[&wire[..cut], &wire[cut..]]);
            prop_assert!(ended);
            prop_assert_eq!(Some((plain, used)), reference(&wire));
        }
    }
}
