//! The form of a message on the line: CRLF ends its lines and stands nowhere else (RFC 5321 §2.3.8), and a dot that
//! begins a line is doubled (§4.5.2).
//!
//! Functions of octets, in any split. Line ends come first and dots after them: whoever does it the other way round lets a
//! message end early at servers that take a bare CR or LF for a line end, and what follows would be commands (SMTP
//! smuggling). Nothing else is changed.

use memchr::memmem;

/// Makes CRLF of every line end: of an LF, which is what a CRLF becomes at home, of a bare CR, and of the two together.
#[derive(Debug, Default)]
pub struct Lines {
    is_after_cr: bool,
    is_in_line: bool,
    bare: u64,
}

impl Lines {
    /// Takes the next octets, and adds to `wire` what is to be sent for them.
    pub fn push(&mut self, octets: &[u8], wire: &mut Vec<u8>) {
        let mut rest = octets;
        if self.is_after_cr
            && let Some((first, behind)) = rest.split_first()
        {
            // The CR has ended the line.
            self.is_after_cr = false;
            rest = if *first == b'\n' { behind } else { rest };
        }
        while let Some(end) = memchr::memchr2(b'\r', b'\n', rest) {
            wire.extend_from_slice(&rest[..end]);
            wire.extend_from_slice(b"\r\n");
            let is_bare = rest[end] == b'\r';
            self.bare += u64::from(is_bare);
            self.is_in_line = false;
            rest = &rest[end + 1..];
            match rest.first() {
                Some(b'\n') if is_bare => rest = &rest[1..],
                None => self.is_after_cr = is_bare,
                Some(_) => {}
            }
        }
        self.is_in_line |= !rest.is_empty();
        wire.extend_from_slice(rest);
    }

    /// Ends the last line, where that is missing.
    pub fn finish(&mut self, wire: &mut Vec<u8>) {
        if std::mem::take(&mut self.is_in_line) {
            wire.extend_from_slice(b"\r\n");
        }
    }

    /// How many CR stood where no line end was due.
    pub fn bare(&self) -> u64 {
        self.bare
    }
}

/// Doubles the dots that begin lines, of octets whose lines all end in CRLF.
#[derive(Debug)]
pub struct Dots {
    is_at_start: bool,
}

impl Default for Dots {
    fn default() -> Self {
        Dots { is_at_start: true }
    }
}

impl Dots {
    /// Takes the next octets, and adds to `wire` what is to be sent for them.
    pub fn push(&mut self, octets: &[u8], wire: &mut Vec<u8>) {
        if self.is_at_start && octets.first() == Some(&b'.') {
            wire.push(b'.');
        }
        let mut done = 0;
        for line_end in memmem::find_iter(octets, b"\n.") {
            wire.extend_from_slice(&octets[done..=line_end]);
            wire.push(b'.');
            done = line_end + 1;
        }
        wire.extend_from_slice(&octets[done..]);
        if let Some(last) = octets.last() {
            self.is_at_start = *last == b'\n';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> (Vec<u8>, u64) {
        let (mut lines, mut wire) = (Lines::default(), vec![]);
        pieces.iter().for_each(|piece| lines.push(piece, &mut wire));
        lines.finish(&mut wire);
        (wire, lines.bare())
    }

    fn dots(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut dots, mut wire) = (Dots::default(), vec![]);
        pieces.iter().for_each(|piece| dots.push(piece, &mut wire));
        wire
    }

    /// The same in every split into three.
    fn in_every_split<T: PartialEq + std::fmt::Debug>(octets: &[u8], convert: impl Fn(&[&[u8]]) -> T) -> T {
        let whole = convert(&[octets]);
        for first in 0..=octets.len() {
            for second in first..=octets.len() {
                let pieces = [&octets[..first], &octets[first..second], &octets[second..]];
                assert_eq!(convert(&pieces), whole, "{first}, {second}");
            }
        }
        whole
    }

    #[test]
    fn every_line_end_becomes_one_crlf() {
        for (at_home, on_the_wire, bare) in [
            ("", "", 0),
            ("a\nb\n", "a\r\nb\r\n", 0),
            ("a", "a\r\n", 0),
            ("a\rb\n", "a\r\nb\r\n", 1),
            ("a\r\nb\r", "a\r\nb\r\n", 2),
            ("\r\r\n\n", "\r\n\r\n\r\n", 2),
            ("a\n\0\u{80}\n", "a\r\n\0\u{80}\r\n", 0),
        ] {
            let (wire, found) = in_every_split(at_home.as_bytes(), lines);
            assert_eq!((String::from_utf8(wire).unwrap().as_str(), found), (on_the_wire, bare), "{at_home:?}");
        }
    }

    #[test]
    fn a_dot_is_doubled_where_a_line_begins_and_nowhere_else() {
        for (plain, stuffed) in [
            (".", ".."),
            (".\r\n..\r\na.b\r\n.c\r\n", "..\r\n...\r\na.b\r\n..c\r\n"),
            ("\r\n.\r\n", "\r\n..\r\n"),
            ("", ""),
        ] {
            assert_eq!(in_every_split(plain.as_bytes(), dots), stuffed.as_bytes(), "{plain:?}");
        }
    }

    /// What servers have taken for the end of a message (CVE-2023-51764 and its kin): none of it leaves this room.
    #[test]
    fn no_message_can_end_early() {
        for end in ["\n.\n", "\r.\r", "\r\n.\n", "\n.\r\n", "\r.\r\n", "\r\n.\r", "\n\n.\r\r\n"] {
            let message = format!("before{end}MAIL FROM:<evil@example.org>\n");
            let (wire, _) = lines(&[message.as_bytes()]);
            let wire = in_every_split(&wire, dots);
            assert_eq!(memmem::find(&wire, b"\n.\r\n"), None, "{end:?}");
            assert!(memmem::find(&wire, b"\r\n..\r\n").is_some(), "{end:?}");
            let is_bare = |at: usize| wire[at] == b'\r' && wire.get(at + 1) != Some(&b'\n');
            assert!((0..wire.len()).all(|at| !is_bare(at) && (wire[at] != b'\n' || wire[at - 1] == b'\r')), "{end:?}");
        }
    }
}
